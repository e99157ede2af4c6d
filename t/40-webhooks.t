# Payments and events when the database fails, or several instances work.

use Commerce::Test;
use Commerce::Relay;
use Commerce::Test::Client;
use Commerce::Test::Provider;

my $shared = Commerce::Test::Postgres->shared;
my $acme = Commerce::Test::Provider->new('acme');


sub shop {
    my $t = Commerce::Test->new(workers => 1, @_, directives => {
        commerce_payment_provider => [ 'test', $acme->directive ],
    })->start;

    $t->product('tea', price => 499, stock => 100);

    return $t;
}


sub with_relay {
    my $relay = Commerce::Relay->new(to => $shared->port);

    return (shop(database_port => $relay->port), $relay);
}


sub order { return $_[0]->order({ tea => 1 })->{json} }


sub paid {
    my ($order) = @_;

    return $acme->event('payment.succeeded', order_id => $order->{id},
        payment_id => "ch_$order->{id}", amount => 499, currency => 'USD');
}


sub start_request {
    my ($t, $request) = @_;

    my $client = $t->client;

    $client->send_raw(Commerce::Test::Client::render(@$request));

    return $client;
}


sub late_request {
    my ($order, $key) = @_;

    return [ 'POST', "/v1/orders/$order->{id}/payments",
             { provider => 'test', outcome => 'succeed' },
             'X-Order-Token' => $order->{token}, 'Idempotency-Key' => $key ];
}


sub states {
    my ($t, @orders) = @_;

    return $t->sql("SELECT string_agg(DISTINCT o.state || ' ' || (SELECT"
        . " string_agg(p.state, ' ') FROM commerce.payment p"
        . ' WHERE p.order_id = o.id), \', \') FROM commerce.orders o WHERE id'
        . ' IN (' . join(', ', map { "'$_->{id}'" } @orders) . ')');
}


sub expire {
    my ($t, @orders) = @_;
    my $ids = join ', ', map { "'$_->{id}'" } @orders;

    $t->sql('UPDATE commerce.orders SET expires_at = now()'
            . " WHERE id IN ($ids)");
    wait_until {
        $t->sql("SELECT count(*) FROM commerce.orders WHERE state = 'expired'"
                . " AND id IN ($ids)") == @orders;
    } 15 or die "orders do not expire\n";
}


# An event is sent again until it is taken, as every provider does.
sub deliver {
    my ($t, $event) = @_;

    my $r;

    wait_until { ($r = $acme->send($t, $event))->{status} == 200 } 20;

    return $r;
}


subtest 'the connection is lost after the commit of events' => sub {
    my ($t, $relay) = with_relay();
    my @orders = map { order($t) } 1 .. 8;
    my @events = map { paid($_) } @orders;

    deliver($t, $acme->event('x', id => 1));
    $relay->mute('writes');

    my @clients = map { start_request($t, $acme->request($_)) } @events;

    ok((wait_until { $t->sql('SELECT count(*) FROM commerce.webhook_event'
                             . " WHERE type = 'payment.succeeded'") > 0 }),
       'events are stored');
    is($clients[0]->read_response(0.2), undef, 'and not yet answered');
    $relay->cut('writes')->pass;

    my @answers = map { $_->read_response // {} } @clients;
    my @lost = grep { ($_->{json}{code} // '') eq 'outcome_unknown' } @answers;
    ok(scalar @lost, scalar(@lost) . ' answers were lost');
    is(scalar(grep { $_->{status} != 200 && $_->{status} != 503 } @answers),
       0, 'the provider is told to send them again');

    my @again = map { deliver($t, $_) } @events;
    is(scalar(grep { $_->{json}{status} !~ /^(?:applied|duplicate)$/ } @again),
       0, 'it does') or diag(join "\n", map { $_->{body} } @again);
    is(states($t, @orders), 'paid succeeded', 'each order is paid once');
    is($t->sql('SELECT count(*) FROM commerce.order_event'), 8, 'in one step');
    $t->finish(more => 1);
};


subtest 'the connection is lost before events arrived' => sub {
    my ($t, $relay) = with_relay();
    my @orders = map { order($t) } 1 .. 4;
    my @events = map { paid($_) } @orders;

    deliver($t, $acme->event('x', id => 1));
    $relay->deaf('writes');

    my @clients = map { start_request($t, $acme->request($_)) } @events;

    ok((wait_until { $relay->kept > 0 }), 'events are on their way');
    $relay->cut('writes')->pass;
    $_->read_response for @clients;

    my @again = map { deliver($t, $_) } @events;
    is(scalar(grep { $_->{json}{status} !~ /^(?:applied|duplicate)$/ } @again),
       0, 'they come again');
    is(states($t, @orders), 'paid succeeded', 'each order is paid once');
    $t->finish(more => 1);
};


subtest 'the connection breaks anywhere in the answer' => sub {
    my ($t, $relay) = with_relay();
    my (@orders, @events);

    for my $bytes (1, 17, 90, 140, 200, 300, 500) {
        deliver($t, $acme->event('x', id => $bytes));

        my @new = (order($t), order($t));
        my @sent = map { paid($_) } @new;

        $relay->cut_after($bytes, 'writes');
        my @clients = map { start_request($t, $acme->request($_)) } @sent;
        $clients[0]->read_response(0.3);
        $relay->pass;
        $_->close for @clients;
        push @orders, @new;
        push @events, @sent;
    }

    deliver($t, $_) for @events;
    is(states($t, @orders), 'paid succeeded', 'each order is paid once');
    $t->finish(more => 1);
};


subtest 'a late payment whose answer is lost' => sub {
    my ($t, $relay) = with_relay();
    my @orders = map { order($t) } 1 .. 2;

    expire($t, @orders);
    deliver($t, $acme->event('x', id => 1));

    my $key = $t->key;
    $relay->mute('writes');
    my $client = start_request($t, late_request($orders[0], $key));
    ok((wait_until { states($t, $orders[0]) eq 'paid succeeded' }),
       'it is stored');
    $relay->cut('writes')->pass;

    my $r = $client->read_response;
    is($r->{status}, 201, 'it is looked up');
    is($r->{json}{state}, 'succeeded', 'and answered');
    is($t->request(@{ late_request($orders[0], $key) })->{json}{id},
       $r->{json}{id}, 'its key says the same');

    deliver($t, $acme->event('x', id => 2));
    $relay->deaf('writes');
    $client = start_request($t, late_request($orders[1], $t->key));
    ok((wait_until { $relay->kept > 0 }), 'one is on its way');
    $relay->cut('writes')->pass;
    is($client->read_response->{json}{state}, 'succeeded', 'it is run again');
    is(states($t, @orders), 'paid succeeded', 'each is paid once');
    is($t->stock('tea')->{sold}, 2, 'with its unit');
    $t->finish(more => 1);
};


subtest 'a payment whose answer is lost, and no room to look it up' => sub {
    my $relay = Commerce::Relay->new(to => $shared->port);
    my $t = Commerce::Test->new(workers => 1, database_port => $relay->port,
        directives => { commerce_queue => '2 timeout=30s' })->start;

    $t->product('tea', price => 499, stock => 10);

    my $order = order($t);
    my @look = ('GET', "/v1/orders/$order->{id}", undef,
                'X-Order-Token' => $order->{token});
    my $key = $t->key;

    $relay->mute('orders');
    my $client = start_request($t, late_request($order, $key));
    ok((wait_until { states($t, $order) eq 'paid succeeded' }),
       'it is stored');
    $relay->hole('reads');
    $relay->cut('reads');

    # two wait for a connection, the third finds no room

    my @looks = map { start_request($t, \@look) } 1 .. 2;
    ok((wait_until { $t->request(@look)->{status} == 503 }), 'nobody reads');
    $relay->cut('orders')->pass('orders');
    is_problem($client->read_response, 503, 'outcome_unknown',
               'nobody hears "nothing was done"');

    $relay->pass;
    $relay->cut('reads');
    is($_->read_response->{json}{state}, 'paid', 'then they read')
        for @looks;

    my $r = $t->request(@{ late_request($order, $key) });
    is($r->{status}, 201, 'the same key again');
    is($r->{headers}{'idempotent-replayed'}, 'true', 'is a replay');
    $t->finish(more => 1);
};


subtest 'a locked order holds up its own events only' => sub {
    my $t = shop();
    my @orders = map { order($t) } 1 .. 6;
    my $lock = $t->session;

    $lock->query("BEGIN; SELECT FROM commerce.orders WHERE id ="
                 . " '$orders[0]{id}' FOR UPDATE");

    my @events = map { paid($_) } @orders;
    my @clients = map { start_request($t, $acme->request($_)) } @events;
    my @answers = map { $_->read_response } @clients[1 .. 5];

    is(join(' ', map { $_->{json}{order_state} // $_->{body} } @answers),
       join(' ', ('paid') x 5), 'the others are applied');
    $lock->query('ROLLBACK');
    $lock->close;
    $clients[0]->read_response;
    deliver($t, $events[0]);
    is(states($t, @orders), 'paid succeeded', 'and then that one');
    $t->finish(more => 1);
};


subtest 'one bad stored event does not stop the others' => sub {
    my $t = shop();
    my @orders = map { order($t) } 1 .. 3;

    # what no release has stored: its effect is an error each time
    $t->sql("INSERT INTO commerce.webhook_event (provider, event_id, type,"
        . " order_id, amount, currency, body, state, next_try) SELECT 'acme',"
        . " 'evt_' || n, 'payment.succeeded', id, CASE WHEN n = 1 THEN NULL"
        . " ELSE total END, currency, '{}', 'stored', now() FROM (SELECT *,"
        . ' row_number() OVER (ORDER BY id) AS n FROM commerce.orders) o');
    ok((wait_until {
        $t->sql("SELECT string_agg(state || ' ' || coalesce(reason, ''), ', '"
            . ' ORDER BY event_id) FROM commerce.webhook_event')
            eq 'stored sqlstate_23502, applied , applied ';
    } 15), 'it waits, and says why');
    is($t->sql("SELECT count(*) FROM commerce.orders WHERE state = 'paid'"),
       2, 'the others are applied');
    $t->finish(more => 1);
};


subtest 'several instances try the same stored events' => sub {
    my $t = shop();
    my @others = map { $t->instance(workers => 1, directives => {
        commerce_payment_provider => [ 'test', $acme->directive ],
    }) } 1 .. 2;

    $_->start for @others;

    my @orders = map { order($t) } 1 .. 40;
    my $ids = join ', ', map { "'$_->{id}'" } @orders;

    # events that came while their orders were not there
    $t->sql("INSERT INTO commerce.webhook_event (provider, event_id, type,"
        . " order_id, amount, currency, body, state, next_try) SELECT 'acme',"
        . " 'evt_' || id || n, 'payment.succeeded', id, total, currency,"
        . " '{}', 'stored', now() FROM commerce.orders,"
        . " generate_series(1, 2) n WHERE id IN ($ids)");
    ok((wait_until { $t->sql('SELECT count(*) FROM commerce.webhook_event'
                             . " WHERE state = 'stored'") == 0 } 20),
       'all are done with');
    is($t->sql('SELECT string_agg(DISTINCT s, \'; \') FROM (SELECT'
        . " string_agg(state, ' ' ORDER BY state) AS s FROM commerce.payment"
        . ' GROUP BY order_id) p'), 'refund_due succeeded',
       'one of two pays its order, the other is due back');
    is($t->sql("SELECT count(*) FROM commerce.orders WHERE state = 'paid'"
               . ' AND version = 3'), 40, 'two steps each');
    $t->finish(more => 1);
};


done_testing;
