# Several instances, each an nginx master with its own zone, on one database.

use Commerce::Test;
use Commerce::Instances;
use List::Util qw(first);
use Time::HiRes qw(time);

my $ttl = ttl();


# 64 buyers of one unit each, in a process of their own, until the shop has
# none.  They go to their nginx while it is ready, else to another one, and ask
# again under their key until they are served or refused.
sub buyers {
    my ($t, $sku, @shops) = @_;

    pipe my $reader, my $writer or die "pipe: $!";

    my $pid = fork() // die "fork: $!";

    if ($pid) {
        close $writer;
        return { pid => $pid, reader => $reader };
    }

    my (@again, @told);
    my $sold_out = 0;
    my $deadline = time + Commerce::Test::Host::slower(90);

    while ((@again || !$sold_out) && time < $deadline) {
        my $shop = first { is_ready($_) } @shops or next;
        my @keys = @again;

        push @keys, map { $t->key } @keys + 1 .. 192 unless $sold_out;
        @again = ();

        my @answers = eval {
            $shop->race(64, [ map { [ $t->order_request(
                { $sku => 1 }, 'Idempotency-Key' => $_) ] } @keys ], 30);
        };

        for my $i (0 .. $#keys) {
            my $status = $answers[$i]{status} // 0;
            my $json = $answers[$i]{json} // {};

            if ($status == 201) {
                push @told, "201 $json->{id}";

            } elsif ($status == 409 && $json->{code} eq 'out_of_stock') {
                push @told, '409';
                $sold_out = 1;

            } elsif ($status == 0 || $status == 503
                     || ($json->{code} // '') eq 'in_progress')
            {
                push @again, $keys[$i];

            } else {
                push @told, "$status $answers[$i]{body}";
            }
        }
    }

    push @told, map { "unserved $_" } @again;
    print {$writer} map { "$_\n" } @told;
    close $writer;
    POSIX::_exit(0);
}


sub told {
    my (@groups) = @_;

    my @told;

    for my $group (@groups) {
        my $reader = $group->{reader};

        push @told, map { chomp; $_ } <$reader>;
        waitpid $group->{pid}, 0;
    }

    return @told;
}


subtest 'a sale: one of three is killed, one drained' => sub {
    my ($units, $sku) = (10_000, 'seat');
    my ($t, @all) = shops(3, workers => 2);
    my $orders = 'SELECT count(*) FROM commerce.orders';

    $t->product($sku, stock => $units);

    my @groups = map { buyers($t, $sku, @all[$_, $_ - 1, $_ - 2]) } 0 .. 2;

    wait_until { $t->sql($orders) > 0.3 * $units } 60;
    my $victim = id_of($all[1]);
    $all[1]->crash;

    wait_until { $t->sql($orders) > 0.6 * $units } 60;
    is(drain($all[2])->{status}, 200, 'GET /drain answers');

    my @told = told(@groups);
    my @ids = map { /^201 (\S+)/ } @told;
    my @wrong = grep { !/^(?:201|409)/ } @told;

    is(scalar @wrong, 0, 'each buyer is served or refused')
        or diag(join "\n", splice @wrong, 0, 5);
    is($t->sql('SELECT count(DISTINCT instance_id) FROM commerce.orders'), 3,
       'all three have sold');

    # what the dead one had can be sold now
    my $left = $units - @ids;
    my $last;

    note("$left units were away");
    ok((wait_until {
        ($last = order_at($t, $all[0], { $sku => $left }))->{status} == 201;
    } $ttl + 40), 'no unit is stranded') if $left;
    push @ids, $last->{json}{id} if $left;
    ok(becomes($t, $victim, 'dead'), 'the dead one is settled');

    is(lines_of($t, $sku), $units, "exactly $units units are sold");
    is(placed($t, $sku), "free 0 leased 0 held $units", 'none is left');

    my %stored = map { $_->[0] => 1 }
        $t->rows('SELECT id FROM commerce.orders');
    is(scalar(grep { !$stored{$_} } @ids), 0,
       'every acknowledged order is stored');
    is(scalar keys %{ { map { $_ => 1 } @ids } }, scalar @ids, 'once');
    is(scalar keys %stored, scalar @ids, 'and no other');

    is_problem(order_at($t, $all[0], { $sku => 1 }), 409, 'out_of_stock',
               'the next buyer is refused');
    $t->finish(more => 1);
};


subtest 'the units of a dead instance can be sold after ttl + 2 s' => sub {
    my $limit = Commerce::Test::Host::slower($ttl + 2);

    ok(best_of(3, sub {
        my ($t, @all) = shops(2);
        my $id = id_of($all[1]);
        my $r;

        $t->product('lamp', stock => 100);
        order_at($t, $all[1], { lamp => 1 });

        cmp_ok($t->stock('lamp')->{leased}, '>', 0, 'it has units');

        my $killed = $t->sql('SELECT clock_timestamp()');
        $all[1]->crash;
        ok((wait_until {
            ($r = order_at($t, $all[0], { lamp => 99 }))->{status} == 201;
        } $ttl + 40), 'they can be sold');
        ok(becomes($t, $id, 'dead'), 'it is settled');

        my $seconds = $t->sql('SELECT extract(epoch FROM greatest(i.ended_at,'
            . " o.created_at) - '$killed') FROM commerce.instance i,"
            . " commerce.orders o WHERE i.id = $id AND o.id::text = '"
            . ($r->{json}{id} // '') . "'");
        note("after $seconds s");
        $t->finish(more => 1);

        return $seconds ne '' && $seconds <= $limit;
    }), 'in time');
};


subtest 'the same key at two instances at once' => sub {
    my ($t, @all) = shops(2);

    $t->product('ring', stock => 1_000);

    my @requests = map { [ $t->order_request({ ring => 1 }) ] } 1 .. 100;

    pipe my $reader, my $writer or die "pipe: $!";
    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        print {$writer} map { ($_->{json}{id} // $_->{status}) . "\n" }
            $all[1]->race(32, \@requests, 30);
        close $writer;
        POSIX::_exit(0);
    }

    close $writer;
    my @here = map { $_->{json}{id} // $_->{status} }
        $all[0]->race(32, \@requests, 30);
    my @there = map { chomp; $_ } <$reader>;
    waitpid $pid, 0;

    is_deeply(\@here, \@there, 'both tell of the same orders');
    is($t->sql('SELECT count(*) FROM commerce.orders'), 100,
       'one order for each key');
    is($t->stock('ring')->{held}, 100, 'no unit is held twice');
    ok((wait_until { order_at($t, $all[0], { ring => 900 })->{status} == 201 }),
       'and every other one can be sold');
    $t->finish(more => 1);
};


subtest 'the last units reach the one who wants them' => sub {
    my ($t, @all) = shops(3);

    # the others are asked once, and have 0.3 s to give back
    ok(best_of(3, sub {
        my $sku = "lamp-$_[0]";

        $t->product($sku, stock => 300);
        order_at($t, $_, { $sku => 1 }) for @all[1, 2];
        cmp_ok($t->stock($sku)->{leased}, '>', 0, 'idle instances have units');

        my $r = order_at($t, $all[0], { $sku => 298 });

        note(sprintf '%d in %.0f ms', $r->{status}, 1000 * $r->{time});
        $r->{status} == 201 or return;
        is(placed($t, $sku), 'free 0 leased 0 held 300', 'none is left');

        for my $nginx (@all) {
            is_problem(order_at($t, $nginx, { $sku => 1 }), 409,
                       'out_of_stock', 'then it is sold out');
        }

        return 1;
    }), 'a buyer of another gets all of them');

    # they want the same last units, and none of them too many
    for my $round (1 .. 5) {
        ok(best_of(3, sub {
            my $sku = "bulb-$round-$_[0]";

            $t->product($sku, stock => 30);
            order_at($t, $_, { $sku => 1 }) for @all;

            my @clients = map { send_order($t, $_, { $sku => 27 }) } @all;
            my @statuses = sort map { $_->read_response->{status} } @clients;

            like("@statuses", qr/^(?:201|409) 409 409$/, 'not more than one');

            return $statuses[0] == 201;
        }), 'one of three gets the last');
    }

    $t->finish(more => 1);
};


subtest 'who has not been asked has not refused' => sub {
    my $relay = relay();
    my ($t, $two) = shops(1);
    my $one = shop_behind($t, $relay);

    ok(best_of(3, sub {
        my $sku = "lamp-$_[0]";

        $t->product($sku, stock => 40);
        order_at($t, $two, { $sku => 1 });

        $relay->deaf('writes');
        my $client = send_order($t, $one, { $sku => 39 });
        is($client->read_response(0.7), undef,
           'the buyer waits while the question is on its way');
        $relay->pass;

        return (($client->read_response // {})->{status} // 0) == 201;
    }), 'and gets what is given back');
    $t->finish(more => 1);
};


subtest 'a question is not lost in a refill' => sub {
    my $relay = relay();
    my ($t, $one) = shops(1);
    my $two = shop_behind($t, $relay,
                          directives => { commerce_lease_low_water => 90 });
    my $recalls = 'SELECT count(*) FROM pg_stat_activity WHERE datname = '
        . "'" . $t->database . "' AND application_name LIKE '%/writes'"
        . " AND query LIKE '%pg_notify%'";

    ok(best_of(10, sub {
        my ($round) = @_;

        $t->product("lamp-$round", stock => 1_000);
        order_at($t, $two, { "lamp-$round" => 1 });
        $relay->mute('leases');
        order_at($t, $two, { "lamp-$round" => 30 });
        wait_until { $relay->kept > 0 };

        # everybody's backends are new to each round's question
        $t->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
              . " WHERE datname = '" . $t->database . "'"
              . " AND application_name LIKE '%/writes'");

        my $left = 1_000 - lines_of($t, "lamp-$round");
        my $client = send_order($t, $one, { "lamp-$round" => $left });

        wait_until { $t->sql($recalls) > 0 } 3;
        $relay->pass;

        return $client->read_response->{status} == 201;
    }), 'units that were just granted come back, too');
    $t->finish(more => 1);
};


subtest 'a restock is news everywhere' => sub {
    my ($t, @all) = shops(2);

    $t->product('lamp', stock => 1);
    order_at($t, $all[1], { lamp => 1 });

    ok(best_of(10, sub {
        order_at($t, $all[1], { lamp => 1 })->{status} == 409 or return;

        my $start = time;
        $t->admin('POST', '/v1/admin/stock/lamp/adjustments',
                  { delta => 1, reason => 'found one' },
                  'Idempotency-Key' => $t->key);

        return (wait_until {
            order_at($t, $all[1], { lamp => 1 })->{status} == 201;
        } 30) && time - $start < 0.5;
    }), 'what one puts in the other sells at once');

    my $free = sub {
        my ($availability, $name) = @_;

        ok((wait_until {
            $all[1]->get('/v1/products/lamp')->{json}{variants}[0]
                {availability} eq $availability;
        } 30), $name);
    };

    is(order_at($t, $all[0], { lamp => 1 })->{status}, 409, 'sold out');
    $free->('sold_out', 'so the catalogue says');

    $t->import_rows({ type => 'stock', sku => 'lamp', delta => 3,
                      reason => 'receipt' });
    $free->('low_stock', 'the catalogue of the other one shows a receipt');

    my $order = order_at($t, $all[0], { lamp => 3 })->{json};
    order_at($t, $all[1], { lamp => 1 });
    $free->('sold_out', 'it is gone');
    $t->post("/v1/orders/$order->{id}/cancel", {},
             'X-Order-Token' => $order->{token},
             'Idempotency-Key' => $t->key);
    $free->('low_stock', 'and a cancelled order');

    $t->finish(more => 1);
};


subtest 'a change of the catalogue is news everywhere' => sub {
    my ($t, @all) = shops(2);

    $t->product('lamp', price => 1_000, stock => 1_000_000);

    my $price = sub {
        my $r = $all[1]->get('/v1/products/lamp');
        return $r->{json}{variants}[0]{prices}{USD} // $r->{body};
    };
    my $order = sub {
        my ($expected) = @_;

        my ($method, $path, $body, @headers) =
            $t->order_request({ lamp => 1 });

        return $all[1]->request($method, $path,
            { %$body, expected_total => $expected }, @headers);
    };

    is($price->(), 1_000, 'the other one shows the price');
    is($order->(1_000)->{status}, 201, 'and sells for it');

    for my $amount (map { 1_000 + $_ } 1 .. 20) {
        $t->product('lamp', price => $amount);

        my $r = order_at($t, $all[1], { lamp => 1 });

        is($r->{json}{lines}[0]{unit_price}, $amount,
           'a new price counts from when it was acknowledged')
            or diag($r->{body});
    }

    is_problem($order->(1_000), 409, 'price_changed', 'the old one is gone');
    ok((wait_until { $price->() == 1_020 } 30), 'the new one is shown');

    $t->product('lamp', price => 1_020, title => 'A better lamp');
    ok((wait_until {
        $all[1]->get('/v1/products/lamp')->{json}{title} eq 'A better lamp';
    } 30), 'so is a new title');

    # prices change while many buy: nobody pays one that was over before
    pipe my $stop, my $stopper or die "pipe: $!";
    pipe my $reader, my $writer or die "pipe: $!";
    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        close $_ for $stopper, $reader;
        my %status;

        until (IO::Select->new($stop)->can_read(0)) {
            $status{ $_->{status} }++ for $all[1]->race(8,
                [ map { [ $t->order_request({ lamp => 1 }) ] } 1 .. 100 ], 60);
        }

        print {$writer} map { "$_ $status{$_}\n" } sort keys %status;
        close $writer;
        POSIX::_exit(0);
    }

    close $_ for $stop, $writer;
    my $count = 'SELECT count(*) FROM commerce.orders';
    my $sold = sub {
        my $before = $t->sql($count);

        return wait_until { $t->sql($count) > $before };
    };
    my @since;

    ok($sold->(), 'many buy');

    for my $amount (2_001 .. 2_010) {
        $t->product('lamp', price => $amount);
        push @since, "('" . $t->sql('SELECT clock_timestamp()')
            . "'::timestamptz, $amount)";
        $sold->() or last;
    }

    is(scalar @since, 10, 'at each of ten prices');
    close $stopper;
    my %status = map { split } <$reader>;
    waitpid $pid, 0;
    is_deeply([ keys %status ], [ 201 ], 'all are served')
        or diag(explain(\%status));
    is($t->sql('SELECT count(*) FROM commerce.orders o JOIN'
             . ' commerce.order_line l ON l.order_id = o.id JOIN (VALUES '
             . join(', ', @since) . ') s(at, amount) ON o.created_at > s.at'
             . ' AND l.unit_price < s.amount'), 0, 'none at an old price');

    $t->finish(more => 1);
};


subtest 'the staff takes away what another instance has' => sub {
    my ($t, @all) = shops(2);

    ok(best_of(3, sub {
        my $sku = "lamp-$_[0]";

        $t->product($sku, stock => 100);
        order_at($t, $all[1], { $sku => 1 });
        cmp_ok($t->stock($sku)->{free}, '<', 99, 'units are leased there');

        my $r = $t->admin('POST', "/v1/admin/stock/$sku/adjustments",
                          { delta => -99, reason => 'broken' },
                          'Idempotency-Key' => $t->key);

        note($r->{body}) if $r->{status} != 200;
        $r->{status} == 200 or return;
        is(placed($t, $sku), 'free 0 leased 0 held 1', 'it is gone');
        is(order_at($t, $all[1], { $sku => 1 })->{status}, 409, 'there, too');

        return 1;
    }), 'all that nobody has bought');
    $t->finish(more => 1);
};


done_testing;
