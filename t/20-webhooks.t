# What payment providers tell: signed, taken once, never swallowed.

use Commerce::Test;
use Commerce::Test::Provider;

my $acme = Commerce::Test::Provider->new('acme');
my $other = Commerce::Test::Provider->new('other');
my $t = Commerce::Test->new(workers => 2, directives => {
    commerce_payment_provider => [
        'test', $acme->directive, $other->directive,
    ],
})->start;

$t->product('tea', price => 499, stock => 1000);


sub order { return $t->order({ tea => $_[0] // 1 })->{json} }


sub pay {
    my ($order, %how) = @_;

    return $t->post("/v1/orders/$order->{id}/payments",
        { provider => 'acme' }, 'X-Order-Token' => $order->{token}, %how);
}


sub paid {
    my ($order, %data) = @_;

    return $acme->event('payment.succeeded', order_id => $order->{id},
        amount => $order->{total}, currency => 'USD', %data);
}


sub view {
    return $t->get("/v1/orders/$_[0]{id}", 'X-Order-Token' => $_[0]{token})
        ->{json};
}


sub state_of { return view($_[0])->{state} }


# state of the order's payments, sorted
sub payments {
    return $t->sql("SELECT string_agg(state || coalesce(' ' || reason, ''),"
        . " ', ' ORDER BY state, reason) FROM commerce.payment"
        . " WHERE order_id = '$_[0]{id}'");
}


sub events {
    return $t->sql("SELECT string_agg(type, ' ' ORDER BY seq)"
        . " FROM commerce.order_events WHERE order_id = '$_[0]{id}'");
}


sub stored {
    return $t->sql("SELECT state || coalesce(' ' || reason, '')"
        . " FROM commerce.webhook_event WHERE event_id = '$_[0]{id}'");
}


sub is_event {
    my ($response, $status, $reason, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $json = $response->{json} // {};

    is(join(' ', $response->{status}, $json->{status} // '',
            $json->{reason} // ''), "200 $status $reason", $name)
        or diag($response->{body});
}


# an intent is paid by an event

my $order = order(2);
my $r = pay($order);

is($r->{status}, 201, 'an intent is made');
is($r->{json}{state}, 'pending', 'it is pending');
is($r->{json}{provider}, 'acme', 'with its provider');
is($r->{json}{amount}, 998, 'of the whole total');
is($r->{json}{currency}, 'USD', 'in the currency of the order');
is($r->{headers}{location}, "/v1/orders/$order->{id}", 'Location');
is(state_of($order), 'pending_payment', 'the order waits');

my $event = paid($order, payment_id => $r->{json}{id});
my $got = $acme->send($t, $event);

is_event($got, 'applied', '', 'the event is applied');
is_deeply($got->{json}, {
    status => 'applied', event_id => $event->{id}, order_id => $order->{id},
    order_state => 'paid', payment_id => $r->{json}{id},
    payment_state => 'succeeded',
}, 'and says what it did');
is(state_of($order), 'paid', 'the order is paid for the next request');
is(payments($order), 'succeeded', 'by its intent');
is(events($order), 'placed paid', 'which its events tell');
is($t->sql("SELECT actor || ' ' || (data->>'payment_id')"
           . " FROM commerce.order_event WHERE order_id = '$order->{id}'"),
   "provider:acme $r->{json}{id}", 'with who paid and how');
is(view($order)->{version}, 2, 'one step');

is_event($acme->send($t, $event), 'duplicate', '', 'the same event again');
is_event($acme->send($t, { %$event, type => 'payment.failed' }), 'duplicate',
         '', 'an event is known by its id');
is_event($acme->send($t, paid($order, payment_id => $r->{json}{id})),
         'ignored', 'already_settled', 'another event of the same payment');
is(payments($order), 'succeeded', 'paid once');
is(view($order)->{version}, 2, 'still one step');


# the key of the order gives it back as it is now

my @request = $t->order_request({ tea => 1 });
$order = $t->request(@request)->{json};
is($t->request(@request)->{json}{state}, 'pending_payment', 'a replay waits');
is_event($acme->send($t, paid($order)), 'applied', '', 'it is paid');
is($t->request(@request)->{json}{state}, 'paid', 'and the replay, too');


# money without an intent: the provider knows the order

$order = order();
$event = paid($order, payment_id => 'ch_1');
is_event($acme->send($t, $event), 'applied', '', 'a payment of its own');
is(state_of($order), 'paid', 'pays the order');
is($t->sql('SELECT reference FROM commerce.payment'
           . " WHERE order_id = '$order->{id}'"), 'ch_1',
   'and is known by the name that its provider has for it');
is_event($acme->send($t, paid($order, payment_id => 'ch_1')), 'ignored',
         'already_settled', 'by which it is found again');
$event = $other->event('payment.succeeded', order_id => $order->{id},
    payment_id => 'ch_1', amount => 499, currency => 'USD');
is_event($other->send($t, $event), 'applied', 'already_paid',
         'the same name at another provider is another payment');
is(payments($order), 'refund_due already_paid, succeeded', 'which is due');

$order = order();
is_event($acme->send($t, paid($order)), 'applied', '',
         'a payment without a name');
is(state_of($order), 'paid', 'pays the order, too');

$order = order();
$event = { %{ paid($order) }, id => $event->{id} };
is_event($acme->send($t, $event), 'applied', '',
         'two providers may use one event id');


# an intent decides the order

$order = order();
$r = pay($order);
my $wrong = order();
$got = $acme->send($t, paid($wrong, payment_id => $r->{json}{id}));
is("$got->{json}{order_id} $got->{json}{order_state}", "$order->{id} paid",
   'the order of the intent is paid');
is(state_of($wrong), 'pending_payment', 'not the one that the event names');
$event = $other->event('payment.succeeded', order_id => $wrong->{id},
    payment_id => pay($wrong)->{json}{id}, amount => 499, currency => 'USD');
$other->send($t, $event);
is(payments($wrong), 'pending, succeeded',
   'a provider has no say in the intents of another one');


# it failed

$order = order();
$r = pay($order);
$event = $acme->event('payment.failed', order_id => $order->{id},
                      payment_id => $r->{json}{id});
is_event($acme->send($t, $event), 'applied', '', 'a payment failed');
is(payments($order), 'declined', 'it is declined');
is(state_of($order), 'pending_payment', 'the order waits on');
is_event($acme->send($t, $acme->event('payment.failed',
             order_id => $order->{id}, payment_id => 'ch_2')), 'applied', '',
         'one without an intent failed');
is(payments($order), 'declined, declined', 'it is on record');
is_event($acme->send($t, paid($order, payment_id => $r->{json}{id})),
         'applied', '', 'it succeeds after all');
is(state_of($order), 'paid', 'paid');
is_event($acme->send($t, $acme->event('payment.failed',
             order_id => $order->{id}, payment_id => $r->{json}{id})),
         'ignored', 'already_settled', 'an old failure comes late');
is(payments($order), 'declined, succeeded', 'and changes nothing');


# money that the order cannot take: medusa#16398, vendure#3065

for my $case (
    [ amount => 498, 'less than the total' ],
    [ amount => 500, 'over-capture: more than the total' ],
    [ currency => 'EUR', 'another currency' ],
) {
    my ($member, $value, $name) = @$case;

    $order = order();
    $r = pay($order);
    $got = $acme->send($t, paid($order, payment_id => $r->{json}{id},
                                $member => $value));
    is_event($got, 'applied', 'amount_differs', $name);
    is($got->{json}{payment_state}, 'refund_due', 'it is due back');
    is(state_of($order), 'pending_payment', 'the order is not paid');
    is(events($order), 'placed payment_refund_due', 'its events tell');
    is($t->sql("SELECT amount || ' ' || currency FROM commerce.payment"
               . " WHERE id = '$r->{json}{id}'"),
       $member eq 'amount' ? "$value USD" : "499 $value",
       'with what came');
}

$order = order();
$t->post("/v1/orders/$order->{id}/cancel", undef,
         'X-Order-Token' => $order->{token});
$got = $acme->send($t, paid($order));
is_event($got, 'applied', 'order_cancelled', 'money for a cancelled order');
is($got->{json}{order_state}, 'cancelled', 'it stays cancelled');
is(payments($order), 'refund_due order_cancelled', 'the money is due back');
is($t->sql('SELECT (data->>\'reason\') FROM commerce.order_event'
           . " WHERE order_id = '$order->{id}' ORDER BY seq DESC LIMIT 1"),
   'order_cancelled', 'and the event says why');

$order = order();
is($t->pay($order)->{status}, 201, 'paid by another way');
is_event($acme->send($t, paid($order)), 'applied', 'already_paid',
         'money for a paid order');
is(payments($order), 'refund_due already_paid, succeeded', 'is due back');
is(state_of($order), 'paid', 'it stays paid');


# refunds

my $refund = sub {
    my ($order, $amount, %data) = @_;

    return $acme->event('refund.succeeded', order_id => $order->{id},
        amount => $amount, currency => 'USD', %data);
};
my $refunded = sub {
    return $t->sql('SELECT sum(refunded) FROM commerce.payment'
                   . " WHERE order_id = '$_[0]{id}'");
};

$order = order(2);
$t->pay($order);
$acme->send($t, paid($order, payment_id => 'ch_3'));
is_event($acme->send($t, $refund->($order, 999, payment_id => 'ch_3')),
         'ignored', 'over_refund', 'more back than came: medusa PR #16097');
is_event($acme->send($t, $refund->($order, 400, payment_id => 'ch_3')),
         'applied', '', 'a part of what is due comes back');
$event = $refund->($order, 598, payment_id => 'ch_3');
is_event($acme->send($t, $event), 'applied', '', 'and the rest');
is_event($acme->send($t, $event), 'duplicate', '', 'once');
is($refunded->($order), 998, 'all of it');
is_event($acme->send($t, $refund->($order, 1, payment_id => 'ch_3')),
         'ignored', 'over_refund', 'and no more than that');
is_event($acme->send($t, $refund->($order, 1, payment_id => 'ch_3',
                                   currency => 'EUR')),
         'ignored', 'amount_differs', 'nor in another currency');
is(state_of($order), 'paid', 'the order has its own money');

$order = order();
$event = $refund->($order, 499, payment_id => 'ch_4');
is_event($acme->send($t, $event), 'stored', 'unknown_payment',
         'a refund that is faster than its payment');
$t->pay($order);
$acme->send($t, paid($order, payment_id => 'ch_4'));
ok((wait_until { stored($event) eq 'applied' } 15), 'is applied after it');
is($refunded->($order), 499, 'given back');


# stored and tried again

my $real;
my $hidden = $t->sql('SELECT gen_random_uuid()');
my $rename = sub {
    $t->sql("BEGIN; UPDATE commerce.orders SET id = '$_[1]'"
        . " WHERE id = '$_[0]'; UPDATE commerce.order_line SET order_id ="
        . " '$_[1]' WHERE order_id = '$_[0]'; COMMIT");
};

my $before = $t->metrics->{
    'commerce_webhook_events_total{status="stored"}' };

@request = $t->order_request({ tea => 1 });
$order = $t->request(@request)->{json};
$real = $order->{id};
$rename->($real, $hidden);
$event = paid($order);
is_event($acme->send($t, $event), 'stored', 'unknown_order',
         'an order that is not there');
is_event($acme->send($t, $event), 'duplicate', 'unknown_order',
         'the provider need not send it again');
ok((wait_until { $t->sql('SELECT attempts FROM commerce.webhook_event'
        . " WHERE event_id = '$event->{id}'") >= 2 } 15),
   'it is tried again and again');
is(stored($event), 'stored unknown_order', 'and never swallowed');
ok((wait_until { $t->metrics->{commerce_webhook_events_waiting} == 1 }),
   'a metric tells how many wait');
is($t->metrics->{'commerce_webhook_events_total{status="stored"}'},
   $before + 1, 'and how many were stored');
$rename->($hidden, $real);
ok((wait_until { state_of($order) eq 'paid' } 15),
   'when the order is there it is paid');
is(stored($event), 'applied', 'the event is done with');
ok((wait_until { $t->request(@request)->{json}{state} eq 'paid' }),
   'for its key, too');
is(payments($order), 'succeeded', 'one payment');
is(events($order), 'placed paid', 'one step');
ok((wait_until { $t->metrics->{commerce_webhook_events_waiting} == 0 }),
   'nothing waits');

is_event($acme->send($t, paid({ id => 'INV-1', total => 1 })), 'stored',
         'unknown_order', 'an id that is none of ours');
$event = paid({ id => $hidden, total => 1 });
is_event($acme->send($t, $event), 'stored', 'unknown_order',
         'an order that never comes');
$t->sql("UPDATE commerce.webhook_event SET received_at = now() - interval"
        . " '73 hours', next_try = now() WHERE event_id = '$event->{id}'");
ok((wait_until { stored($event) eq 'given_up unknown_order' } 15),
   'is given up after three days');
ok($t->wait_for_log(qr/\[error\].*1 events of payment providers were given/),
   'which the log says');
is($t->metrics->{'commerce_webhook_events_total{status="given_up"}'}, 1,
   'and a metric');

$event = $acme->event('customer.created', id => 1);
is_event($acme->send($t, $event), 'ignored', 'unknown_type',
         'a type that is not ours');
is(stored($event), 'ignored unknown_type', 'is kept all the same');
is_event($acme->send($t, $event), 'duplicate', 'unknown_type', 'once');

$t->sql("UPDATE commerce.webhook_event SET received_at = now() - interval"
        . " '31 days' WHERE event_id = '$event->{id}'");
ok((wait_until { stored($event) eq '' } 15), 'old ones are dropped');


# at the same time

$order = order();
$event = paid($order);
my @answers = $t->race(16, [ map { $acme->request($event) } 1 .. 32 ]);
my %count;
$count{ $_->{json}{status} // $_->{status} }++ for @answers;
is_deeply(\%count, { applied => 1, duplicate => 31 },
          'of one event 32 times at once one is applied');
is(payments($order), 'succeeded', 'one payment');
is(view($order)->{version}, 2, 'one step');

$order = order();
$r = pay($order);
@answers = $t->race(16, [ map { $acme->request(paid($order,
    payment_id => $r->{json}{id})) } 1 .. 16 ]);
%count = ();
$count{ $_->{json}{status} // $_->{status} }++ for @answers;
is_deeply(\%count, { applied => 1, ignored => 15 },
          '16 events of one payment: one counts');
is(payments($order), 'succeeded', 'one payment');

# medusa#13301: browser and provider complete the same order at once
for (1 .. 8) {
    $order = order();
    my $mine = paid($order, payment_id => 'ch_' . $order->{id});
    my ($browser, @hooks) = $t->race(8, [
        [ 'POST', "/v1/orders/$order->{id}/payments",
          { provider => 'test', outcome => 'succeed' },
          'X-Order-Token' => $order->{token} ],
        map { $acme->request($mine) } 1 .. 7,
    ]);
    my ($applied) = grep { ($_->{json}{status} // '') eq 'applied' } @hooks;

    is(payments($order), $browser->{status} == 201
       ? 'refund_due already_paid, succeeded' : 'succeeded',
       "one payment is the order's: the "
       . ($browser->{status} == 201 ? 'browser was' : 'provider was')
       . ' first');
    is($browser->{status} == 201 ? 'refund_due' : 'succeeded',
       $applied->{json}{payment_state}, 'and the provider is told');
    is(events($order), $browser->{status} == 201
       ? 'placed paid payment_refund_due' : 'placed paid', 'paid once');
}

# many orders, events of each twice, in any order
my @orders = map { order() } 1 .. 40;
my @events = map { paid($_) } @orders;
@answers = $t->race(16, [ map { $acme->request($_) }
                          @events, reverse @events ]);
is(scalar(grep { $_->{status} != 200 } @answers), 0, 'all are taken');
is(scalar(grep { $_->{json}{status} eq 'applied' } @answers), 40,
   'each is applied once');
is($t->sql("SELECT count(*) FROM commerce.orders WHERE state = 'paid'"
           . ' AND id IN (' . join(', ', map { "'$_->{id}'" } @orders) . ')'),
   40, 'all orders are paid');


# what is not a webhook

$order = order();
$event = paid($order);

for (
    [ {}, '/id', 'no id' ],
    [ { id => 'e' }, '/type', 'no type' ],
    [ { %$event, id => 7 }, '/id', 'a number as id' ],
    [ { %$event, id => 'x' x 256 }, '/id', 'a long id' ],
    [ { %$event, data => undef }, '/data', 'no data' ],
    [ { %$event, data => [] }, '/data', 'an array as data' ],
    [ { %$event, data => { %{ $event->{data} }, order_id => undef } },
      '/data/order_id', 'neither order nor payment' ],
    [ { %$event, data => { %{ $event->{data} }, amount => undef } },
      '/data/amount', 'no amount' ],
    [ { %$event, data => { %{ $event->{data} }, amount => '499' } },
      '/data/amount', 'an amount as text' ],
    [ { %$event, data => { %{ $event->{data} }, amount => -499 } },
      '/data/amount', 'a negative amount' ],
    [ { %$event, data => { %{ $event->{data} }, amount => 4.5 } },
      '/data/amount', 'a fraction' ],
    [ { %$event, data => { %{ $event->{data} }, currency => 'US' } },
      '/data/currency', 'a short currency' ],
    [ { %$event, data => { %{ $event->{data} }, currency => undef } },
      '/data/currency', 'no currency' ],
) {
    my ($body, $pointer, $name) = @$_;

    $r = $acme->send($t, $body);
    is_problem($r, 422, 'invalid_request', "$name is refused");
    ok((grep { $_->{pointer} eq $pointer } @{ $r->{json}{errors} // [] }),
       "$pointer is named") or diag($r->{body});
}

is_problem($acme->send($t, '[]'), 422, 'invalid_request', 'an array');
is_problem($acme->send($t, '{'), 400, 'malformed_json', 'malformed JSON');
is_problem($acme->send($t, ''), 400, 'malformed_json', 'no body');
is_problem($acme->send($t, '{"id": "e' . $t->key
           . '", "type": "x", "n": 1e999999}'), 422, 'invalid_request',
           'a number that the database cannot have');
is_problem($acme->send($t, ' ' x 300_000), 413, 'too_large', 'a large body');
is_problem($t->post('/v1/webhooks/nobody', '{}'), 404, 'not_found',
           'an unknown provider');
is_problem($acme->send($t, $event, name => 'test'), 404, 'not_found',
           'a provider without a secret');
$r = $t->get('/v1/webhooks/acme');
is_problem($r, 405, 'method_not_allowed', 'GET');
is($r->{headers}{allow}, 'POST', 'Allow');
is(state_of($order), 'pending_payment', 'none of these paid the order');
is($t->sql('SELECT count(*) FROM commerce.webhook_event'
           . " WHERE event_id = '$event->{id}'"), 0, 'or was kept');

my %more = (%$event, livemode => JSON::PP::true(), account => { id => 'a' },
            data => { %{ $event->{data} }, method => 'card', x => [ {} ] });
is_event($acme->send($t, \%more), 'applied', '',
         'members of the provider\'s own are no matter');

is($t->sql('SELECT * FROM commerce.order_audit'), '',
   'orders, events and payments agree');

$t->finish;
