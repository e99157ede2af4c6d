# Instances that leave: drained, stopped, frozen, cut off or killed, while
# others go on.

use Commerce::Test;
use Commerce::Instances;
use Commerce::Test::Client;
use List::Util qw(sum0);

my $ttl = ttl();


subtest 'the units of a drained instance are free' => sub {
    my $relay = relay();
    my ($t, $one) = shops(1);
    my $two = shop_behind($t, $relay, workers => 2,
                          directives => { commerce_lease_low_water => 90 });

    $t->product('lamp', stock => 1_000);
    order_at($t, $two, { lamp => 1 });

    # a refill is in flight when it begins
    $relay->mute('leases');
    order_at($t, $two, { lamp => 30 });
    wait_until { $relay->kept > 0 };

    my $client = Commerce::Test::Client->new(port => $two->admin_port);
    $client->send_raw(Commerce::Test::Client::render('GET', '/drain'));
    is($client->read_response(0.5), undef, 'it waits for what is in flight');
    ok((wait_until { !is_ready($two) }), 'and is not ready any more');
    $relay->pass;
    is(($client->read_response(20) // {})->{status}, 200, 'then it is drained');
    is(placed($t, 'lamp'), 'free 969 leased 0 held 31', 'its units are free');

    is(order_at($t, $two, { lamp => 4 })->{status}, 201, 'it still sells');
    is(placed($t, 'lamp'), 'free 965 leased 0 held 35',
       'but stocks up no more');
    is(order_at($t, $one, { lamp => 960 })->{status}, 201,
       'another one sells the rest');
    ok((wait_until { order_at($t, $two, { lamp => 5 })->{status} == 201 }),
       'to the last unit');

    $two->reload(wait => 1);
    ok((wait_until { is_ready($two) } 10), 'a reload ends the drain');
    $t->finish(more => 1);
};


subtest 'an instance that quits' => sub {
    my ($t, $one, $two) = shops(2, workers => 2);
    my $id = id_of($two);

    $t->product('lamp', stock => 500);
    order_at($t, $two, { lamp => 1 });
    cmp_ok($t->stock('lamp')->{leased}, '>', 0, 'it has units');
    ok($two->quit, 'QUIT');
    is(state_of($t, $id), 'dead', 'it is settled when it ends');
    is(order_at($t, $one, { lamp => 499 })->{status}, 201,
       'its units can be sold at once');

    $t->finish(more => 1);
};


subtest 'an instance that takes longer than the ttl to quit' => sub {
    my ($t, $one, $two) = shops(2, workers => 2);
    my $id = id_of($two);

    $t->product('lamp', stock => 500);
    $t->product('rope', stock => 10);
    order_at($t, $two, { lamp => 1 });
    cmp_ok($t->stock('lamp')->{leased}, '>', 0, 'it has units');

    my ($head, $body) = split /(?<=\r\n\r\n)/, Commerce::Test::Client::render(
        $t->order_request({ rope => 1 }));
    my ($worker, $slow);

    # on a slow machine the lead may move meanwhile
    ok((wait_until {
        my $leader = leader($t, $two);

        ($worker) = grep { $_ != $leader } $two->workers;
        $slow = slow_client($two, $worker, $head);
        $slow && leader($t, $two) == $leader;
    } 60), 'a slow client of a worker that does not lead')
        or return $t->finish(more => 1);

    $two->signal('QUIT');
    ok((wait_until {
        my @left = $two->shutting_down;
        @left == 1 && $left[0] == $worker;
    } 20), 'the leader leaves');

    my $at = $t->sql('SELECT clock_timestamp()');
    my $order = wait_until {
        my $r = order_at($t, $one, { lamp => 499 });
        $r->{status} == 201 && $r;
    } 30;
    ok($order, 'it still gives units back that another one needs');
    ok((wait_until {
        $t->sql("SELECT clock_timestamp() > '$at'::timestamptz +"
              . " interval '" . ($ttl + 2) . " s'") eq 't';
    } 30), 'time passes');
    is(state_of($t, $id), 'live', 'it lives on');
    $slow->send_raw($body);
    is(($slow->read_response // {})->{status}, 201, 'its client is served');
    $slow->close;
    ok((wait_until { !$two->running } 20), 'then it ends');
    is(state_of($t, $id), 'dead', 'and is settled');
    is(placed($t, 'rope'), 'free 9 leased 0 held 1', 'from the last unit');
    $t->finish(more => 1);
};


subtest 'a hung instance cannot sell what it had' => sub {
    my ($t, $one, $two) = shops(2);
    my $id = id_of($two);

    $t->product('lamp', stock => 400);
    $t->product('rope', stock => 400);
    order_at($t, $two, { lamp => 1, rope => 1 });
    cmp_ok($t->stock('lamp')->{leased}, '>', 20, 'it has units');

    # a grant is on its way when it stops
    my $lock = $t->session;
    $lock->query("BEGIN; SELECT 1 FROM commerce.stock s JOIN commerce.variant v"
               . " ON v.id = s.variant_id WHERE v.sku = 'rope' FOR UPDATE");
    my @clients = map { send_order($t, $two, { rope => 40 }) } 1 .. 2;
    wait_until {
        $t->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '"
              . $t->database . "' AND wait_event_type = 'Lock'"
              . " AND application_name LIKE '%/leases'") > 0;
    };

    my @pids = freeze($two);
    $lock->query('COMMIT');
    $lock->close;
    push @clients, map { send_order($t, $two, { $_ => 2 }) }
        ('rope') x 5, ('lamp') x 5;

    ok(becomes($t, $id, 'dead'),
       'it is settled after the ttl');
    is(placed($t, 'lamp'), 'free 399 leased 0 held 1', 'its units are free');
    is(order_at($t, $one, { lamp => 399 })->{status}, 201,
       'and sold by another one');

    kill 'CONT', @pids;

    my @answers = map { $_->read_response // {} } @clients;
    my @lamps = map { $_->{json}{code} // $_->{status} } @answers[7 .. 11];
    my @ropes = map { $_->{status} } @answers[0 .. 6];

    is(scalar(grep { /^(?:out_of_stock|overloaded|unavailable)$/ } @lamps), 5,
       'its buyers are refused') or diag("@lamps");
    is(scalar(grep { $_ == 201 || $_ == 503 } @ropes), 7,
       'or get others') or diag("@ropes");
    is(lines_of($t, 'lamp'), 400, 'nothing is sold twice');
    ok((wait_until { order_at($t, $two, { rope => 1 })->{status} == 201 } 10),
       'it goes on as a new instance');
    isnt(id_of($two), $id, 'under another id');
    ok((wait_until {
        my $sum = lines_of($t, 'rope');
        order_at($t, $one, { rope => 400 - $sum })->{status} == 201;
    } 30), 'and every other unit can be sold');
    $t->finish(more => 1);
};


subtest 'an instance without its network cannot sell what it had' => sub {
    my $relay = relay();
    my ($t, $one) = shops(1);
    my $two = shop_behind($t, $relay, workers => 2,
                          directives => { commerce_database_timeout => '5s' });

    $t->product('lamp', stock => 400);
    order_at($t, $two, { lamp => 1 });

    my $id = id_of($two);
    my @clients;

    # statements get lost on the way, and their connections stay open
    $relay->hole;
    push @clients, map { send_order($t, $two, { lamp => 2 }) } 1 .. 10;
    ok(becomes($t, $id, 'dead'),
       'it is settled after the ttl');
    is(order_at($t, $one, { lamp => 399 })->{status}, 201,
       'its units are sold by another one');
    $relay->cut->pass;

    my @answers = map { $_->read_response(30) // {} } @clients;
    is(scalar(grep { ($_->{status} // 0) =~ /^(?:409|503)$/ } @answers), 10,
       'its buyers are refused')
        or diag(join ' ', map { $_->{status} // 'none' } @answers);
    is(lines_of($t, 'lamp'), 400, 'nothing is sold twice');
    ok((wait_until {
        is_ready($two) && order_at($t, $two, { lamp => 1 })->{status} == 409;
    } 20), 'it comes back, with nothing to sell');
    $t->finish(more => 1);
};


subtest 'several settle the same one' => sub {
    my ($t, @all) = shops(4);

    $t->product('lamp', stock => 1_000);
    order_at($t, $all[3], { lamp => 1 });

    my $id = id_of($all[3]);
    my $lock = $t->session;

    # they meet there
    $lock->query('BEGIN; SELECT 1 FROM commerce.stock FOR UPDATE');
    $all[3]->crash;
    ok((wait_until {
        $t->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '"
              . $t->database . "' AND wait_event_type = 'Lock'"
              . " AND application_name LIKE '%/sweep'") == 3;
    } $ttl + 40), 'three settle it');
    $lock->query('COMMIT');
    $lock->close;

    ok(becomes($t, $id, 'dead'), 'it is settled');
    ok((wait_until {
        3 == grep { $_->metrics->{commerce_live_instances} == 3 } @all[0 .. 2];
    }), 'all know');
    my $settled = sub {
        return sum0(map { $_->metrics->{commerce_instances_settled_total} // 0 }
                    @all[0 .. 2]);
    };
    wait_until { $settled->() };
    is($settled->(), 1, 'by one of them');
    is(placed($t, 'lamp'), 'free 999 leased 0 held 1', 'once');
    $t->finish(more => 1);
};


subtest 'a heartbeat without an answer is tried again' => sub {
    my $relay = relay();
    my %slower = (directives => { commerce_lease_ttl => '10s' });
    my ($t, $one) = shops(1, %slower);
    my $two = shop_behind($t, $relay, %slower);
    my $id = id_of($two);
    my $beat = "(SELECT at FROM commerce.heartbeat WHERE instance_id = $id)";

    # it gets lost on the way, on a connection that stays open
    $relay->hole('heartbeat');
    wait_until {
        $t->sql("SELECT clock_timestamp() - $beat > interval '2.5 s'") eq 't';
    };
    $relay->pass;

    my $at = $t->sql('SELECT clock_timestamp()');
    ok((wait_until {
        $t->sql("SELECT $beat > '$at'") eq 't'
            || state_of($t, $id) ne 'live';
    } 20), 'its heart');
    is(state_of($t, $id), 'live', 'beats on in time');
    $t->finish(more => 1);
};


subtest 'nobody is refused while an instance takes a new id' => sub {
    my ($t, $one) = shops(1, workers => 2);

    my $prompt = grep {
        my $sku = "lamp-$_";

        $t->product($sku, stock => 50);
        order_at($t, $one, { $sku => 1 });

        my $leader = leader($t, $one);
        my @workers = $one->workers;

        $one->kill_worker('KILL', $workers[0] == $leader ? 1 : 0);

        my $r = order_at($t, $one, { $sku => 49 });

        note($r->{body}) if $r->{status} != 201;
        $r->{status} == 201;
    } 1 .. 5;

    cmp_ok($prompt, '>', 2, "what the old id had is sold at once ($prompt)");
    $t->finish(more => 1);
};


done_testing;
