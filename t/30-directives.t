# Every directive has the effect that its name promises.

use Commerce::Test;
use Commerce::Test::Client;
use Commerce::Test::Provider;
use JSON::PP ();

my $json = 'application/json';


sub lines {
    my (%lines) = @_;

    return [ map { { sku => $_, quantity => $lines{$_} } } sort keys %lines ];
}


sub with {
    my ($directives, %options) = @_;

    return Commerce::Test->new(workers => 1, directives => $directives,
                               %options)->start;
}


# Sends an order and does not wait for its answer.
sub send_order {
    my ($t, $lines) = @_;

    my $client = $t->client;

    $client->send_raw(Commerce::Test::Client::render(
        $t->order_request($lines)));

    return $client;
}


# Holds every order back in the database until it is released.
sub hold {
    my ($t) = @_;

    my $session = $t->session;

    $session->query('BEGIN; LOCK TABLE commerce.orders IN EXCLUSIVE MODE');

    return $session;
}


sub waits {
    my ($t) = @_;

    return wait_until {
        $t->sql('SELECT count(*) FROM pg_stat_activity'
            . " WHERE datname = '" . $t->database . "'"
            . " AND wait_event_type = 'Lock'"
            . " AND application_name LIKE '%/orders'") > 0;
    };
}


subtest 'commerce_hold_time: unpaid orders expire, their units return' => sub {
    my $t = with({ commerce_hold_time => '5s' });

    $t->product('tea', stock => 5);

    my $order = $t->order({ tea => 5 })->{json};
    my $paid;

    is($t->sql("SELECT round(extract(epoch FROM expires_at - created_at))"
             . ' FROM commerce.orders'), 5, 'expires_at is that far away');
    is_problem($t->order({ tea => 1 }), 409, 'out_of_stock', 'all are held');

    ok((wait_until { ($paid = $t->order({ tea => 5 }))->{status} == 201 } 40),
       'then they can be sold again');
    $t->pay($paid->{json});

    is($t->get("/v1/orders/$order->{id}", 'X-Order-Token' => $order->{token})
       ->{json}{state}, 'expired', 'the order has expired');
    is($t->pay($order)->{json}{state}, 'refund_due',
       'no units are left for a late payment');
    is_problem($t->post("/v1/orders/$order->{id}/cancel", undef,
               'X-Order-Token' => $order->{token}), 409,
               'illegal_transition', 'nor is it cancelled');

    # two more hold times: a paid order does not expire
    ok(!(wait_until {
        $t->sql("SELECT count(*) FROM commerce.orders WHERE state = 'paid'")
            == 0;
    } 12), 'a paid order does not expire');
    is_deeply([ @{ $t->stock('tea') }{qw(free held sold)} ], [ 0, 0, 5 ],
              'its units stay sold');
    $t->finish(more => 1);
};


subtest 'commerce_max_lines' => sub {
    my $t = with({ commerce_max_lines => 2 });

    $t->product($_, stock => 5) for qw(a b c);
    is($t->order({ a => 1, b => 1 })->{status}, 201, 'two lines');

    my $r = $t->order({ a => 1, b => 1, c => 1 });
    is_problem($r, 422, 'invalid_request', 'three are too many');
    is($r->{json}{errors}[0]{pointer}, '/lines', 'and pointed at');
    $t->finish(more => 1);

    $t = with({ commerce_max_lines => 500 });
    my @rows = map { {
        type => 'product', slug => "p-$_", title => "P $_",
        variants => [ { sku => "p-$_", prices => { USD => $_ }, stock => 1 } ],
    } } 1 .. 500;
    $t->import_rows(@rows);
    $r = $t->order({ map { ("p-$_" => 1) } 1 .. 500 });
    is($r->{status}, 201, 'five hundred when that is allowed')
        or diag($r->{body});
    is($r->{json}{total}, 500 * 501 / 2, 'with the right total');
    $t->finish(more => 1);
};


subtest 'commerce_max_lines of a cart' => sub {
    my $t = with({ commerce_max_lines => 2 });

    $t->product($_, stock => 5) for qw(a b c);

    my $cart = $t->post('/v1/carts', { currency => 'USD' })->{json};
    my $add = sub {
        return $t->post("/v1/carts/$cart->{id}/lines",
            { sku => $_[0], quantity => 1 },
            'X-Cart-Token' => $cart->{token});
    };

    is($add->($_)->{status}, 200, "a line of $_") for qw(a b);

    my $r = $add->('c');
    is_problem($r, 422, 'invalid_request', 'a third line');
    is($r->{json}{errors}[0]{code}, 'too_many', 'is one too many');
    is($add->('a')->{json}{lines}[0]{quantity}, 2, 'more of one is not');
    $t->delete("/v1/carts/$cart->{id}/lines/" . $t->sql('SELECT id FROM'
        . " commerce.variant WHERE sku = 'a'"),
        'X-Cart-Token' => $cart->{token});
    is($add->('c')->{status}, 200, 'where one went another can come');
    $t->finish(more => 1);
};


subtest 'commerce_cart_lifetime: since the last write' => sub {
    my $t = with({ commerce_cart_lifetime => '8s' });

    $t->product('tea', stock => 5);

    my ($idle, $used) = map {
        $t->post('/v1/carts', { currency => 'USD' })->{json}
    } 1 .. 2;
    my $status = sub {
        return $t->get("/v1/carts/$_[0]{id}",
                       'X-Cart-Token' => $_[0]{token})->{status};
    };
    my ($added, $writes) = (0, 0);

    # written to until the other one is gone, and for another lifetime
    for my $end ($idle, undef) {
        my $since = time;

        wait_until {
            $writes++;
            $added = $t->post("/v1/carts/$used->{id}/lines",
                { sku => 'tea', quantity => 1 },
                'X-Cart-Token' => $used->{token})->{status};
            $added != 200 || ($end ? $status->($end) == 404
                                   : time > $since + 9);
        } 30;
    }

    is($status->($idle), 404, 'a cart that nobody touches goes');
    is($added, 200, 'one that is used stays');
    is($status->($used), 200, "after $writes writes");
    ok((wait_until { $t->sql('SELECT count(*) FROM commerce.cart') == 0 } 40),
       'then both are swept');
    is($t->sql('SELECT count(*) FROM commerce.cart_line'), 0,
       'and their lines');
    $t->finish(more => 1);
};


subtest 'commerce_json_depth' => sub {
    my $t = with({ commerce_json_depth => 4 });

    $t->product('tea', stock => 5);
    is($t->order({ tea => 1 })->{status}, 201, 'an order is three deep');

    my $r = $t->post('/v1/orders', '{"a":' . '[' x 3 . ']' x 3 . '}',
        'Content-Type' => $json, 'Idempotency-Key' => $t->key);
    is_problem($r, 422, 'invalid_request', 'four levels are read');
    is(($r->{json}{errors}[0]{code} // ''), 'unknown_member',
       'and judged');
    $r = $t->post('/v1/orders', '{"a":' . '[' x 4 . ']' x 4 . '}',
        'Content-Type' => $json, 'Idempotency-Key' => $t->key);
    like($r->{status}, qr/^4(?:00|22)$/, 'five are not');
    is(scalar(grep { ($_->{code} // '') eq 'unknown_member' }
              @{ $r->{json}{errors} // [] }), 0, 'nor judged')
        or diag($r->{body});
    $t->finish(more => 1);
};


subtest 'commerce_guest_checkout off' => sub {
    my $t = with({ commerce_guest_checkout => 'off' });

    $t->product('tea', stock => 5);
    my $r = $t->order({ tea => 1 });
    is_problem($r, 401, 'unauthenticated', 'guests cannot order');
    ok($r->{headers}{'www-authenticate'}, 'WWW-Authenticate');
    is($t->post('/v1/orders', '{')->{status}, 401,
       'which is said before the body is read');
    is($t->get('/v1/products')->{status}, 200, 'but look around');
    $t->finish(more => 1);
};


subtest 'commerce_payment_provider' => sub {
    my $t = with({ commerce_payment_provider => undef });

    $t->product('tea', stock => 5);
    my $r = $t->pay($t->order({ tea => 1 })->{json});
    is_problem($r, 422, 'invalid_request', 'test is off unless configured');
    is($r->{json}{errors}[0]{pointer}, '/provider', 'the provider is named');
    is_problem($t->post('/v1/webhooks/test', '{}'), 404, 'not_found',
               'and nobody sends webhooks');
    $t->finish(more => 1);
};


subtest 'commerce_payment_provider test with a secret_file' => sub {
    my $test = Commerce::Test::Provider->new('test');
    my $t = with({ commerce_payment_provider => $test->directive });

    $t->product('tea', stock => 5);
    my $order = $t->order({ tea => 1 })->{json};
    my $intent = $t->pay($order, 'pending')->{json};
    my $event = $test->event('payment.succeeded', order_id => $order->{id},
        payment_id => $intent->{id}, amount => $order->{total},
        currency => 'USD');

    is($test->send($t, $event)->{json}{order_state}, 'paid',
       'it settles its intents by webhooks');
    $t->finish(more => 1);
};


subtest 'commerce_queue: beyond it 503 and Retry-After' => sub {
    my $t = with({ commerce_queue => '4 timeout=30s', commerce_batch => 1,
                   commerce_connections => 1 });

    $t->product('tea', stock => 100);
    is($t->order({ tea => 1 })->{status}, 201, 'at ease all is well');

    my $lock = hold($t);
    my @clients = send_order($t, { tea => 1 });
    waits($t);
    push @clients, map { send_order($t, { tea => 1 }) } 1 .. 20;

    my @early;
    my @waiting = @clients;
    wait_until {
        @waiting = grep {
            my $r = $_->read_response(0.01);
            push @early, $r if $r;
            !$r;
        } @waiting;
        @early >= 17;     # room is for four, with the one that was sent
    } 20;

    cmp_ok(scalar @early, '>=', 17, 'who finds the queue full is told at once');
    is_problem($early[0], 503, 'overloaded', 'overloaded');
    like($early[0]{headers}{'retry-after'} // '', qr/^[1-9]\d*$/,
         'with Retry-After');
    is(scalar(grep { $_->{status} != 503 } @early), 0, 'all of them');

    $lock->close;
    my @late = grep { $_ } map { $_->read_response } @waiting;
    is(scalar(grep { $_->{status} == 201 } @late), @clients - @early,
       'the others get their order');
    is($t->sql('SELECT count(*) FROM commerce.orders'),
       1 + @clients - @early, 'nothing half done');
    $t->finish(more => 1);
};


subtest 'commerce_queue timeout=' => sub {
    my $t = with({ commerce_queue => '64 timeout=1500ms', commerce_batch => 1,
                   commerce_connections => 1 });

    $t->product('tea', stock => 100);
    $t->order({ tea => 1 });

    my $lock = hold($t);
    my $first = send_order($t, { tea => 1 });
    waits($t);

    my $r = $t->order({ tea => 1 });
    is($r->{status}, 503, 'one that waits too long is told so');
    ok($r->{headers}{'retry-after'}, 'with Retry-After');
    cmp_ok($r->{time}, '>', 0.3, 'not before its time');
    cmp_ok($r->{time}, '<', Commerce::Test::Host::slower(10), 'nor long after');

    $lock->close;
    is($first->read_response->{status}, 201,
       'one that was sent waits for its end');
    is_deeply([ @{ $t->stock('tea') }{qw(held)} ], [ 2 ],
              'the units of the other are free');
    $t->finish(more => 1);
};


subtest 'commerce_batch' => sub {
    for my $size (1, 64) {
        my $t = with({ commerce_batch => $size, commerce_connections => 1 });

        $t->product('tea', stock => 1000);
        $t->order({ tea => 1 });

        my $lock = hold($t);
        my @clients = send_order($t, { tea => 1 });
        waits($t);
        my $before = $t->metrics;
        push @clients, map { send_order($t, { tea => 1 }) } 1 .. 20;
        $t->get('/livez') for 1 .. 3;
        $lock->close;

        my @answers = map { $_->read_response // {} } @clients;
        is(scalar(grep { ($_->{status} // 0) == 201 } @answers), 21,
           "$size: all are answered");

        my $commits = $t->sql('SELECT count(DISTINCT xmin::text)'
                            . ' FROM commerce.orders');
        $size == 1
            ? is($commits, 22, 'one order in each commit')
            : cmp_ok($commits, '<=', 6, 'many orders in one commit');
        $t->finish(more => 1);
    }
};


subtest 'connections of each purpose' => sub {
    my $t = with({ commerce_connections => 3, commerce_read_connections => 2,
                   commerce_cart_connections => 4 });
    my $count = sub {
        my ($purpose) = @_;

        return $t->sql('SELECT count(*) FROM pg_stat_activity WHERE datname ='
            . " '" . $t->database . "' AND application_name ~"
            . " '^commerce/-?[0-9]+/$purpose\$'");
    };

    ok(wait_until { $count->('orders') == 3 }, 'three for orders')
        or diag($t->sql('SELECT application_name FROM pg_stat_activity'));
    ok(wait_until { $count->('reads') == 2 }, 'two for reads');
    ok(wait_until { $count->('carts') == 4 }, 'four for carts');
    is($t->sql('SELECT count(*) FROM pg_stat_activity WHERE datname ='
        . " '" . $t->database . "' AND usename = 'commerce'"
        . " AND application_name !~ '^commerce/-?[0-9]+/[a-z]+\$'"), 0,
       'all have a name');
    $t->finish(more => 1);
};


subtest 'commerce_lease_block' => sub {
    my %granted;

    for my $block (2, 200) {
        my $t = with({ commerce_lease_block => $block });

        $t->product('tea', stock => 10_000);
        $t->order({ tea => 1 });
        $granted{$block} =
            $t->sql('SELECT max(granted) FROM commerce.lease');
        $t->finish(more => 1);
    }

    cmp_ok($granted{2}, '<=', 3, 'a small block: little is leased');
    cmp_ok($granted{200}, '>=', 150, 'a large block: much is leased');
};


subtest 'commerce_lease_low_water: stock comes before it is needed' => sub {
    my $t = with({ commerce_lease_block => 100,
                   commerce_lease_low_water => 50 });

    # the first is granted with a block beside it
    $t->product('tea', stock => 10_000);
    $t->order({ tea => 1 });
    $t->order({ tea => 60 });
    ok(wait_until {
        $t->sql('SELECT count(*) FROM commerce.lease') >= 2;
    }, 'a second lease is there before the first is used up');

    my $leased = $t->stock('tea')->{leased};
    cmp_ok($leased, '>=', 50, 'with units for the next order');
    $t->finish(more => 1);

    $t = with({ commerce_lease_block => 100, commerce_lease_low_water => 1 });
    $t->product('tea', stock => 10_000);
    $t->order({ tea => 1 });
    $t->order({ tea => 60 });
    ok(!(wait_until { $t->sql('SELECT count(*) FROM commerce.lease') >= 2 } 1),
       '1: not before');
    $t->finish(more => 1);
};


subtest 'commerce_lease_idle: what nobody buys goes back' => sub {
    my $t = with({ commerce_lease_idle => '3s', commerce_lease_block => 50 });

    $t->product('tea', stock => 1000);
    $t->order({ tea => 1 });
    cmp_ok($t->stock('tea')->{leased}, '>', 0, 'units are leased');
    ok((wait_until { $t->stock('tea')->{leased} == 0 } 15),
       'and go back when idle');
    is($t->stock('tea')->{free}, 999, 'all but the one that was sold');

    # all of them were leased, and none was free
    $t->product('rare', stock => 20);
    $t->order({ rare => 1 });
    ok((wait_until { $t->stock('rare')->{leased} == 0 } 15),
       'few units go back too');
    ok((wait_until {
        $t->get('/v1/products/rare')->{json}{variants}[0]{availability}
            eq 'in_stock'
    } 30), 'and are not taken for sold out');
    is($t->order({ tea => 1 })->{status}, 201, 'the next order is served');
    $t->finish(more => 1);
};


subtest 'commerce_lease_ttl: a dead instance is settled' => sub {
    my $t = with({ commerce_lease_ttl => '5s', commerce_lease_block => 50 });
    my $other = $t->instance(workers => 1,
                             directives => { commerce_lease_ttl => '5s' });

    $t->product('tea', stock => 100);
    $other->start;
    $other->request($t->order_request({ tea => 10 }));
    $t->order({ tea => 1 });
    $other->crash;

    ok((wait_until { $t->order({ tea => 89 })->{status} == 201 } 20),
       'its units can be sold by another');
    is($t->sql("SELECT count(*) FROM commerce.instance WHERE state = 'dead'"),
       1, 'it is dead');
    $t->finish(more => 1);
};


subtest 'commerce_low_stock' => sub {
    my $t = with({ commerce_low_stock => 20 });

    $t->product('few', stock => 20);
    $t->product('more', stock => 21);
    is($t->get('/v1/products/few')->{json}{variants}[0]{availability},
       'low_stock', 'at the mark');
    is($t->get('/v1/products/more')->{json}{variants}[0]{availability},
       'in_stock', 'above it');
    $t->finish(more => 1);
};


subtest 'commerce_token_key_file: the first signs, all verify' => sub {
    my $t = with({});
    my $dir = Commerce::Test::Host::temp_dir('keys');
    my $old = "$t->{dir}/token-key";
    my $new = Commerce::Test::Host::spew("$dir/new", 'n' x 48, 0600);

    $t->product('tea', stock => 10);
    my $order = $t->order({ tea => 1 })->{json};
    my $look = sub {
        return $t->get("/v1/orders/$_[0]{id}",
                       'X-Order-Token' => $_[0]{token})->{status};
    };

    $t->configure(directives => { commerce_token_key_file => [ $new, $old ] });
    $t->reload(wait => 1);
    is($look->($order), 200, "an old key's token is good while it is named");
    my $later = $t->order({ tea => 1 })->{json};

    $t->configure(directives => { commerce_token_key_file => $new });
    $t->reload(wait => 1);
    is($look->($later), 200, 'new tokens were signed with the first key');
    is($look->($order), 404, 'the old key is out');
    Commerce::Test::Host::remove_tree($dir);
    $t->finish(more => 1);
};


subtest 'commerce_database_timeout' => sub {
    my $t = with({ commerce_database_timeout => '2s' });

    $t->product('tea', stock => 10);
    $t->order({ tea => 1 });

    my $lock = $t->session;
    $lock->query('BEGIN; LOCK TABLE commerce.product IN ACCESS EXCLUSIVE MODE');
    my $r = $t->get('/v1/products/unread', _timeout => 15);
    is($r->{status}, 503, 'a read that takes too long ends');
    ok($r->{headers}{'retry-after'}, 'with Retry-After');
    $lock->close;
    ok((wait_until { $t->get('/v1/products/tea')->{status} == 200 } 15),
       'and all is well again');
    $t->finish(more => 1);
};


subtest 'commerce_idempotency_retention' => sub {
    my $t = with({ commerce_idempotency_retention => '1s' });

    $t->product('tea', stock => 10);
    $t->admin('POST', '/v1/admin/stock/tea/adjustments',
              { delta => 1, reason => 'x' }, 'Idempotency-Key' => $t->key);
    is($t->sql('SELECT count(*) FROM commerce.idempotency'), 1, 'a key');
    $t->sql("UPDATE commerce.idempotency SET created_at = now() -"
          . " interval '1 hour'");
    # it is looked for once a minute, and at the start
    $t->quit;
    $t->start;
    ok((wait_until { $t->sql('SELECT count(*) FROM commerce.idempotency') == 0
        } 70), 'is forgotten after its time');
    $t->finish(more => 1);
};


done_testing;
