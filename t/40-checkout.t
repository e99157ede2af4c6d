# Checkouts of carts with coupons when the database fails at any step: one
# order or none, the coupon used as often as it has orders, and the cart ordered
# when its order is there.

use Commerce::Test;
use Commerce::Relay;
use Commerce::Test::Client;

my $shared = Commerce::Test::Postgres->shared;


sub with_relay {
    my (%directives) = @_;

    my $relay = Commerce::Relay->new(to => $shared->port);
    my $t = Commerce::Test->new(workers => 1, database_port => $relay->port,
                                directives => \%directives)->start;

    $t->product('tea', price => 1000, stock => 1000);
    coupon($t, 'TEN');
    coupon($t, 'ONE-EACH', limit_per_customer => 1);
    coupon($t, 'SIX-USES', limit_total => 6);

    return ($t, $relay);
}


sub coupon {
    my ($t, $code, %limit) = @_;

    my $r = $t->admin('POST', '/v1/admin/coupons', { code => $code,
        kind => 'percent', percent => 100_000, %limit });

    die $r->{body} if $r->{status} != 201;
}


sub cart {
    my ($t, $coupon, $email) = @_;

    my $cart = $t->post('/v1/carts', { currency => 'USD' })->{json};
    my %token = ('X-Cart-Token' => $cart->{token});
    my $path = "/v1/carts/$cart->{id}";

    $t->post("$path/lines", { sku => 'tea', quantity => 2 }, %token);
    $t->put("$path/coupon", { code => $coupon // 'TEN' }, %token);
    $t->put("$path/email", { email => $email }, %token) if $email;

    return { %$cart, key => $t->key };
}


sub request {
    my ($cart, $key) = @_;

    return ('POST', "/v1/carts/$cart->{id}/checkout", undef,
            'X-Cart-Token' => $cart->{token},
            'Idempotency-Key' => $key // $cart->{key});
}


# Sends a checkout and does not wait for its answer.
sub start_checkout {
    my ($t, $cart) = @_;

    my $client = $t->client;

    $client->send_raw(Commerce::Test::Client::render(request($cart)));

    return $client;
}


# A checkout until it is answered for good.
sub checkout {
    my ($t, $cart, $key) = @_;

    my $r;

    wait_until {
        ($r = $t->request(request($cart, $key)))->{status} < 500
            && ($r->{json}{code} // '') ne 'in_progress';
    } 20;

    return $r;
}


sub orders { return $_[0]->sql('SELECT count(*) FROM commerce.orders') }


# Connections of this purpose are up, and their statements prepared.
sub warm_up {
    my ($t) = @_;

    my $r = checkout($t, cart($t));

    die $r->{body} if $r->{status} != 201;
}


sub agrees {
    my ($t, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is($t->sql('SELECT code, used FROM commerce.coupon c WHERE used <> (SELECT'
               . ' count(*) FROM commerce.coupon_use u'
               . ' WHERE u.coupon_id = c.id)'), '',
       "$name: uses are counted right");
    is($t->sql('SELECT u.order_id FROM commerce.coupon_use u FULL JOIN'
               . ' (SELECT * FROM commerce.orders'
               . ' WHERE coupon_code IS NOT NULL) o ON o.id = u.order_id'
               . ' WHERE o.id IS NULL OR u.order_id IS NULL'), '',
       "$name: each is an order's, and each such order has one");
    is($t->sql(q{SELECT c.id FROM commerce.cart c FULL JOIN commerce.orders o
                 ON o.cart_id = c.id WHERE (c.state = 'ordered')
                 IS DISTINCT FROM (o.id IS NOT NULL)
                 OR c.order_id IS DISTINCT FROM o.id}), '',
       "$name: a cart is ordered when it has its order");
    is($t->sql('SELECT cart_id FROM commerce.orders GROUP BY 1'
               . ' HAVING count(*) > 1'), '', "$name: never two");
}


# Each cart has one order, whoever asks with whatever key, and it is the one
# that was acknowledged.
sub exactly_once {
    my ($t, $carts, $answers, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my (@wrong, %ids);

    for my $i (0 .. $#$carts) {
        my $first = $answers->[$i];
        my $again = checkout($t, $carts->[$i]);
        my $other = checkout($t, $carts->[$i], $t->key);
        my $id = $again->{json}{id} // '';

        push @wrong, "cart $i: $again->{body}"
            if $again->{status} !~ /^20[01]$/;
        push @wrong, "cart $i: another key, another order"
            if ($other->{json}{id} // '') ne $id;
        push @wrong, "cart $i: $first->{json}{id}, then $id"
            if ($first->{status} // 0) =~ /^20[01]$/
            && $first->{json}{id} ne $id;
        push @wrong, "cart $i: a total of $again->{json}{total}"
            if $again->{json}{total} != 1800;
        $ids{$id} = 1;
    }

    is(scalar @wrong, 0, "$name: every cart has one order")
        or diag(join "\n", @wrong);
    is(scalar keys %ids, scalar @$carts, "$name: each its own");
}


sub conserved {
    my ($t) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $stock = $t->stock('tea');

    is($stock->{free} + $stock->{leased} + $stock->{held} + $stock->{sold},
       1000, 'every unit is accounted for') or diag(explain($stock));
    is($stock->{held}, 2 * orders($t), 'as the orders say');
}


subtest 'the connection is lost after the commit' => sub {
    my ($t, $relay) = with_relay();

    warm_up($t);

    my @carts = map { cart($t) } 1 .. 8;

    $relay->mute('orders');
    my @clients = map { start_checkout($t, $_) } @carts;
    ok((wait_until { orders($t) >= 2 }), 'orders are stored');
    is($clients[0]->read_response(0.2), undef, 'and not yet answered');
    $relay->cut('orders')->pass;

    my @answers = map { $_->read_response // {} } @clients;
    is(scalar(grep { ($_->{status} // 0) == 201 } @answers), 8,
       'all get their orders')
        or diag(join "\n", map { $_->{body} // 'none' } @answers);
    agrees($t, 'lost answers');
    exactly_once($t, \@carts, \@answers, 'lost answers');
    is(orders($t), 9, 'there is no other');
    conserved($t);
    $t->finish(more => 1);
};


subtest 'an order that is found and cannot be shown' => sub {
    my ($t, $relay) = with_relay(commerce_queue => '64 timeout=2s');

    warm_up($t);

    my $cart = cart($t);

    $relay->mute('orders');
    my $client = start_checkout($t, $cart);
    ok((wait_until { orders($t) == 2 }), 'it is stored');
    $relay->hole('reads');
    $relay->cut('reads');
    $relay->cut('orders')->pass('orders');
    is_problem($client->read_response, 503, 'outcome_unknown',
               'nobody hears "nothing was done"');

    $relay->pass;
    $relay->cut('reads');
    is(checkout($t, $cart)->{headers}{'idempotent-replayed'}, 'true',
       'the same key again is a replay');
    is(orders($t), 2, 'of the one order');
    $t->finish(more => 1);
};


subtest 'the connection is lost before the statements arrived' => sub {
    my ($t, $relay) = with_relay();

    warm_up($t);

    my @carts = map { cart($t) } 1 .. 8;

    $relay->deaf('orders');
    my @clients = map { start_checkout($t, $_) } @carts;
    ok((wait_until { $relay->kept > 0 }), 'statements are on their way');
    agrees($t, 'nothing arrived');
    $relay->cut('orders')->pass;

    my @answers = map { $_->read_response // {} } @clients;
    is(scalar(grep { ($_->{status} // 0) == 201 } @answers), 8,
       'a second run stores them')
        or diag(join "\n", map { $_->{body} // 'none' } @answers);
    agrees($t, 'second run');
    exactly_once($t, \@carts, \@answers, 'second run');
    conserved($t);
    $t->finish(more => 1);
};


subtest 'the connection breaks anywhere in the answer' => sub {
    my ($t, $relay) = with_relay();
    my (@carts, @answers);

    for my $bytes (1, 5, 17, 40, 60, 90, 120, 160, 200, 250, 300, 400, 500) {
        warm_up($t);

        my @new = map { cart($t) } 1 .. 3;

        $relay->cut_after($bytes, 'orders');
        my @clients = map { start_checkout($t, $_) } @new;
        $clients[0]->read_response(0.3);
        $relay->pass;
        push @carts, @new;
        push @answers, map { $_->read_response // {} } @clients;
    }

    agrees($t, 'broken answers');
    exactly_once($t, \@carts, \@answers, 'broken answers');
    agrees($t, 'after the retries');
    conserved($t);
    $t->finish(more => 1);
};


subtest 'the connection breaks at each statement of the transaction' => sub {
    my ($t, $relay) = with_relay();
    my (@carts, @answers);

    # a lock of the test's own holds the transaction there

    for ([ 'a cart', sub { 'SELECT FROM commerce.cart WHERE id ='
                           . " '$_[0]{id}' FOR UPDATE" } ],
         [ 'the coupon', sub { 'SELECT FROM commerce.coupon FOR UPDATE' } ],
         [ 'uses', sub { 'LOCK TABLE commerce.coupon_use IN EXCLUSIVE MODE' } ],
         [ 'orders', sub { 'LOCK TABLE commerce.orders IN EXCLUSIVE MODE' } ],
         [ 'lines', sub { 'LOCK TABLE commerce.order_line IN EXCLUSIVE'
                          . ' MODE' } ])
    {
        my ($name, $lock) = @$_;

        warm_up($t);

        my $cart = cart($t);
        my $session = $t->session;

        $session->query('BEGIN; ' . $lock->($cart));

        my $client = start_checkout($t, $cart);

        ok((wait_until {
            $t->sql('SELECT count(*) FROM pg_stat_activity WHERE datname ='
                . " current_database() AND wait_event_type = 'Lock'"
                . " AND application_name LIKE '%/orders'") > 0;
        }), "$name: the checkout waits");
        $relay->cut('orders');
        $session->close;

        my $r = $client->read_response // {};

        is($r->{status}, 201, "$name: it gets its order")
            or diag($r->{body});
        push @carts, $cart;
        push @answers, $r;
        agrees($t, $name);
    }

    exactly_once($t, \@carts, \@answers, 'held up');
    conserved($t);
    $t->finish(more => 1);
};


subtest 'the last uses of a coupon, the outcome unknown' => sub {
    my ($t, $relay) = with_relay();

    warm_up($t);

    my @carts = map { cart($t, 'SIX-USES') } 1 .. 10;
    my @mine = map { cart($t, 'ONE-EACH', 'jane@example.com') } 1 .. 4;

    $relay->mute('orders');
    my @clients = map { start_checkout($t, $_) } @carts, @mine;
    ok((wait_until { orders($t) >= 2 }), 'some are stored');
    $relay->cut('orders')->pass;
    $_->read_response for @clients;
    agrees($t, 'last uses');

    my @r = map { checkout($t, $_) } @carts;
    is(scalar(grep { $_->{status} =~ /^20[01]$/ } @r), 6, 'six have it');
    is(scalar(grep { $_->{status} == 409
                     && $_->{json}{errors}[0]{code} eq 'coupon_used_up' } @r),
       4, 'the others hear that it is used up')
        or diag(join "\n", map { $_->{body} } @r);
    @r = map { checkout($t, $_) } @mine;
    is(scalar(grep { $_->{status} =~ /^20[01]$/ } @r), 1,
       'one of a customer has it') or diag(join "\n", map { $_->{body} } @r);
    agrees($t, 'last uses');
    conserved($t);
    $t->finish(more => 1);
};


subtest 'the cart is changed while nobody knows' => sub {
    my ($t, $relay) = with_relay();

    warm_up($t);

    my $cart = cart($t);

    # the statements never arrive, and the cart is another one afterwards

    $relay->deaf('orders');
    my $client = start_checkout($t, $cart);
    ok((wait_until { $relay->kept > 0 }), 'statements are on their way');
    $t->post("/v1/carts/$cart->{id}/lines", { sku => 'tea', quantity => 1 },
             'X-Cart-Token' => $cart->{token});
    $relay->cut('orders')->pass;

    my $r = $client->read_response;
    is($r->{status}, 201, 'it is ordered') or diag($r->{body});
    is($r->{json}{lines}[0]{quantity}, 3, 'as it is now');
    is($r->{json}{total}, 2700, 'at what that costs');
    is(orders($t), 2, 'once');
    agrees($t, 'a changed cart');
    is($t->sql("SELECT sum(quantity) FROM commerce.order_line"), 5,
       'the units of the lines');
    $t->finish(more => 1);
};


subtest 'backends are terminated under load' => sub {
    my ($t, $relay) = with_relay();

    warm_up($t);

    my @carts = map { cart($t) } 1 .. 150;
    my $killer = fork() // die "fork: $!";

    if ($killer == 0) {
        for my $n (1 .. 5) {
            wait_until { orders($t) >= 20 * $n };
            $t->sql('SELECT count(pg_terminate_backend(pid)) FROM'
                . ' pg_stat_activity WHERE datname = current_database()'
                . " AND usename = 'commerce'");
        }
        POSIX::_exit(0);
    }

    my @answers = $t->race(8, [ map { [ request($_) ] } @carts ], 60);
    waitpid $killer, 0;

    is(scalar(grep { $_->{status} !~ /^(?:200|201|503)$/ } @answers), 0,
       'all are answered, with an order or 503')
        or diag(join ' ', map { $_->{status} } @answers);
    agrees($t, 'terminated');
    exactly_once($t, \@carts, \@answers, 'terminated');
    agrees($t, 'after the retries');
    $t->finish(more => 1);
};


done_testing;
