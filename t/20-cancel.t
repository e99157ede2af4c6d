# Orders that end without money: cancelled by their owner or staff, or expired.

use Commerce::Test;
use Commerce::Relay;
use Commerce::Test::Client;

my $t = Commerce::Test->new(workers => 2)->start;

$t->product('tea', price => 499, stock => 20);
$t->product('cup', price => 900, stock => 5);


sub cancel {
    my ($order, %headers) = @_;

    return $t->post("/v1/orders/$order->{id}/cancel", undef,
                    'X-Order-Token' => $order->{token}, %headers);
}


sub units {
    my ($sku) = @_;

    my $stock = $t->stock($sku);

    return ($stock->{free} + $stock->{leased}, $stock->{held},
            $stock->{sold});
}


sub events {
    my ($order) = @_;

    return $t->sql('SELECT seq, type, state, actor FROM commerce.order_events'
                 . " WHERE order_id = '$order->{id}' ORDER BY seq");
}


# the owner cancels

my $order = $t->order({ tea => 2, cup => 5 })->{json};
is_deeply([ units('cup') ], [ 0, 5, 0 ], 'five cups are held');
is_problem($t->order({ cup => 1 }), 409, 'out_of_stock', 'no cup is left');

my $r = cancel($order);
is($r->{status}, 200, 'cancelled');
is($r->{json}{state}, 'cancelled', 'the answer is the order');
is($r->{json}{id}, $order->{id}, 'with its id');
cmp_ok($r->{json}{version}, '>', $order->{version}, 'and a new version');
is(scalar @{ $r->{json}{lines} }, 2, 'and its lines');
is(events($order), "1|placed|pending_payment|guest\n"
                 . '2|cancelled|cancelled|guest', 'and an event says so');
is($t->get("/v1/orders/$order->{id}", 'X-Order-Token' => $order->{token})
   ->{json}{state}, 'cancelled', 'for the next request too');
is_deeply([ units('cup') ], [ 5, 0, 0 ], 'the units are free');
is_deeply([ units('tea') ], [ 20, 0, 0 ], 'of every line');

ok(wait_until { $t->order({ cup => 5 })->{status} == 201 },
   'they can be sold again');
is_deeply([ units('cup') ], [ 0, 5, 0 ], 'once');

is_problem(cancel($order), 409, 'illegal_transition',
           'a cancelled order is not cancelled again');
is_problem($t->pay($order), 409, 'illegal_transition', 'nor paid');
is_deeply([ units('cup') ], [ 0, 5, 0 ], 'nothing came back twice');


# with a key

$order = $t->order({ tea => 3 })->{json};
my $key = $t->key;
$r = cancel($order, 'Idempotency-Key' => $key);
is($r->{status}, 200, 'with a key');
my $again = cancel($order, 'Idempotency-Key' => $key);
is($again->{status}, 200, 'the same key again: the same answer');
is($again->{json}{state}, 'cancelled', 'the order');
is($again->{headers}{'idempotent-replayed'}, 'true', 'marked as a replay');
is_deeply([ units('tea') ], [ 20, 0, 0 ], 'units came back once');


# at the same time

$order = $t->order({ tea => 4 })->{json};
my @answers = $t->race(8, [ map { [
    'POST', "/v1/orders/$order->{id}/cancel", undef,
    'X-Order-Token' => $order->{token},
] } 1 .. 16 ]);
is(scalar(grep { $_->{status} == 200 } @answers), 1,
   'of 16 at once one cancels');
is(scalar(grep { $_->{status} == 409 } @answers), 15, 'the others are told');
is_deeply([ units('tea') ], [ 20, 0, 0 ], 'units came back once');
is(scalar(split /\n/, events($order)), 2, 'one event tells of it');


# a coupon

$t->sql(<<'SQL');
INSERT INTO commerce.coupon (id, code, kind, percent, limit_total, used)
VALUES ('01890a5d-ac96-774b-bcce-b302099a8057', 'TEN', 'percent', 100000, 5, 3)
SQL
$order = $t->order({ tea => 1 })->{json};
my $plain = $t->order({ tea => 1 })->{json};
$t->sql(<<"SQL");
INSERT INTO commerce.coupon_use (coupon_id, order_id)
VALUES ('01890a5d-ac96-774b-bcce-b302099a8057', '$order->{id}');
UPDATE commerce.orders SET coupon_code = 'TEN' WHERE id = '$order->{id}'
SQL
is(cancel($plain)->{status}, 200, 'an order without a coupon');
is($t->sql('SELECT used FROM commerce.coupon'), 3, 'gives none back');
is(cancel($order)->{json}{coupon}, 'TEN', 'an order with one');
is($t->sql('SELECT used, (SELECT count(*) FROM commerce.coupon_use)'
         . ' FROM commerce.coupon'), '2|0', 'gives its use back');
cancel($order);
is($t->sql('SELECT used FROM commerce.coupon'), 2, 'once');


# a paid order is not cancelled by its owner

$order = $t->order({ tea => 1 })->{json};
$t->pay($order);
is_problem(cancel($order), 409, 'illegal_transition', 'a paid order');
is_deeply([ units('tea') ], [ 19, 0, 1 ], 'its unit stays sold');


# who may

$order = $t->order({ tea => 1 })->{json};
my $other = $t->order({ tea => 1 })->{json};
my $path = "/v1/orders/$order->{id}/cancel";

$r = $t->post($path);
is_problem($r, 401, 'unauthenticated', 'without a token');
ok($r->{headers}{'www-authenticate'}, 'WWW-Authenticate');
is_problem($t->post($path, undef, 'X-Order-Token' => $other->{token}), 404,
           'not_found', "with another order's token");
is_problem($t->post('/v1/orders/01890a5d-ac96-774b-bcce-b302099a8057/cancel',
                    undef, 'X-Order-Token' => $order->{token}), 404,
           'not_found', 'no such order');
$r = $t->get($path, 'X-Order-Token' => $order->{token});
is_problem($r, 405, 'method_not_allowed', 'GET');
is($r->{headers}{allow}, 'POST', 'Allow');


# an empty body or object is fine, members are not

is($t->post($path, {}, 'X-Order-Token' => $order->{token})->{status}, 200,
   'an empty object is a body');
$r = $t->post("/v1/orders/$other->{id}/cancel", { reason => 'x' },
              'X-Order-Token' => $other->{token});
is_problem($r, 422, 'invalid_request', 'an unknown member');
is($r->{json}{errors}[0]{pointer}, '/reason', 'is named');
is($r->{json}{errors}[0]{code}, 'unknown_member', 'as such');


# staff

$path = "/v1/admin/orders/$other->{id}/cancel";
is_problem($t->post($path), 401, 'unauthenticated', 'staff need a key');
$r = $t->post($path, undef,
              Authorization => 'Bearer ' . $t->api_key('stock:read'));
is_problem($r, 403, 'forbidden', 'with the scope');
like($r->{json}{detail} // '', qr/orders:write/, 'which is named');
$r = $t->admin('POST', $path, undef);
is($r->{status}, 200, 'then staff cancel');
is($r->{json}{state}, 'cancelled', 'the order');
ok(!exists $r->{json}{token}, "and do not see the guest's token");
like(events($other), qr/^2\|cancelled\|cancelled\|key:test$/m,
     'the event names the key');
is_problem($t->admin('POST', $path, undef), 409, 'illegal_transition',
           'once');

# the same key by way of two instances, while the order's row is locked

my $second = $t->instance(workers => 1);
$second->start;

$order = $t->order({ tea => 1 })->{json};
$key = $t->key;

my $lock = $t->session;
$lock->query("BEGIN; SELECT FROM commerce.orders WHERE id = '$order->{id}'"
             . ' FOR UPDATE');

my @clients = map { $_->client } $t->nginx, $second;
$_->send_raw(Commerce::Test::Client::render('POST',
    "/v1/orders/$order->{id}/cancel", undef, 'Idempotency-Key' => $key,
    'X-Order-Token' => $order->{token})) for @clients;
ok((wait_until {
    $t->sql('SELECT count(*) FROM pg_stat_activity WHERE datname ='
            . " current_database() AND wait_event_type = 'Lock'") == 2;
}), 'both wait');
$lock->query('ROLLBACK');
$lock->close;

my @both = map { $_->read_response } @clients;
is(join(' ', sort map { $_->{headers}{'idempotent-replayed'} // 'first' }
             grep { $_->{status} == 200 } @both), 'first true',
   'one cancels, the other is its replay')
    or diag(join "\n", map { $_->{body} } @both);

# 19: one was paid
is_deeply([ units('tea') ], [ 19, 0, 1 ], 'all other tea is free');

$t->finish(more => 1);


subtest 'an order that ends reads its own lines only' => sub {
    my $t = Commerce::Test->new(workers => 1)->start;
    my $tables = 'commerce.orders, commerce.order_line, commerce.lease';
    my $end = sub {
        my @orders = map { $t->order({ tea => 1 })->{json} } 1 .. 2;

        $t->post("/v1/orders/$orders[0]{id}/cancel", undef,
                 'X-Order-Token' => $orders[0]{token});
        $t->sql('UPDATE commerce.orders SET expires_at = now()'
                . " WHERE id = '$orders[1]{id}'");
        wait_until {
            $t->sql('SELECT state FROM commerce.orders WHERE id ='
                    . " '$orders[1]{id}'") eq 'expired';
        } 15 or die "the order does not expire\n";
    };

    $t->product('tea', stock => 1000);
    $end->();

    # plans are made for tables that are known to be small
    $t->sql("ANALYZE $tables");
    $end->();
    $t->sql("ALTER TABLE $_ SET (autovacuum_enabled = off)")
        for split /, /, $tables;
    $end->() for 1 .. 2;
    $t->sql(<<'SQL');
INSERT INTO commerce.order_line (order_id, line_no, variant_id, lease_id,
    quantity, unit_price, sku, title)
SELECT commerce.uuid_v7(), 1, commerce.uuid_v7(), 0, 1, 1, 'tea', 'tea'
FROM generate_series(1, 5000);
SQL
    my $read = sub {
        return $t->sql(q{SELECT idx_tup_fetch + seq_tup_read
            FROM pg_stat_user_tables WHERE relname = 'order_line'});
    };
    my $before = $read->();

    $end->() for 1 .. 5;
    # sessions that end have reported what they read
    $t->quit;
    cmp_ok($read->() - $before, '<', 5000, 'a few rows for each');
    $t->finish(more => 1, audit => 0);
};


subtest 'a cancelled order that cannot be shown' => sub {
    my $relay = Commerce::Relay->new(
        to => Commerce::Test::Postgres->shared->port);
    my $t = Commerce::Test->new(workers => 1, database_port => $relay->port,
        directives => { commerce_queue => '64 timeout=1500ms' })->start;

    $t->product('tea', stock => 10);

    my $order = $t->order({ tea => 1 })->{json};
    my @token = ('X-Order-Token' => $order->{token});
    my @cancel = ("/v1/orders/$order->{id}/cancel", undef, @token,
                  'Idempotency-Key' => $t->key);

    $relay->hole('reads');
    $relay->cut('reads');

    my $r = $t->post(@cancel);
    is_problem($r, 503, 'outcome_unknown', 'nobody hears "nothing was done"');
    is($t->sql('SELECT state FROM commerce.orders'), 'cancelled',
       'for it was');
    is_problem($t->get("/v1/orders/$order->{id}", @token), 503,
               'unavailable', 'a look is no write');

    $relay->pass;
    $relay->cut('reads');
    ok((wait_until { ($r = $t->post(@cancel))->{status} == 200 } 15),
       'the same key again');
    is($r->{headers}{'idempotent-replayed'}, 'true', 'is a replay');
    is($r->{json}{state}, 'cancelled', 'of the cancelled order');
    $t->finish(more => 1);
};


done_testing;
