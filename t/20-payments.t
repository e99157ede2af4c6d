# Payments with the provider "test": one charge for each order.

use Commerce::Test;
use Commerce::Test::Provider;

my $acme = Commerce::Test::Provider->new('acme');
my $t = Commerce::Test->new(workers => 2, directives => {
    commerce_payment_provider => [ 'test', $acme->directive ],
    commerce_hold_time => '60s',
})->start;

$t->product('tea', price => 499, stock => 100);


sub order { return $t->order({ tea => $_[0] // 1 })->{json} }


sub payments {
    return $t->sql('SELECT count(*) FROM commerce.payment'
                 . " WHERE order_id = '$_[0]{id}' AND state = 'succeeded'");
}


sub state_of {
    return $t->get("/v1/orders/$_[0]{id}", 'X-Order-Token' => $_[0]{token})
        ->{json}{state};
}


# it succeeds

my $order = order(2);
my $r = $t->pay($order);

is($r->{status}, 201, 'a payment is created');
like($r->{json}{id} // '', qr/^[0-9a-f-]{36}$/, 'with an id');
is($r->{json}{state}, 'succeeded', 'it succeeded');
is($r->{json}{provider}, 'test', 'provider');
is($r->{json}{amount}, 998, 'of the whole total');
is($r->{json}{currency}, 'USD', 'in the currency of the order');
is($r->{json}{order_id}, $order->{id}, 'for the order');
ok($r->{headers}{location}, 'Location');
is(state_of($order), 'paid', 'the order is paid for the next request');

my $view = $t->get("/v1/orders/$order->{id}",
                   'X-Order-Token' => $order->{token})->{json};
cmp_ok($view->{version}, '>', $order->{version}, 'its version moved');
is_deeply([ @{ $t->stock('tea') }{qw(held sold)} ], [ 0, 2 ],
          'held units are sold units now');


# twice

$r = $t->pay($order);
is_problem($r, 409, 'illegal_transition', 'a paid order is not paid again');
is(payments($order), 1, 'one charge');


# it is declined

$order = order();
$r = $t->pay($order, 'decline');
is($r->{status}, 201, 'a declined payment is created too');
is($r->{json}{state}, 'declined', 'declined');
is(state_of($order), 'pending_payment', 'the order waits on');
is(payments($order), 0, 'nothing was charged');
is($t->pay($order)->{json}{state}, 'succeeded', 'the next one may succeed');
is(state_of($order), 'paid', 'paid');


# with a key

$order = order();
my $key = $t->key;
$r = $t->pay($order, 'succeed', 'Idempotency-Key' => $key);
is($r->{status}, 201, 'with a key');
my $again = $t->pay($order, 'succeed', 'Idempotency-Key' => $key);
is($again->{status}, 201, 'the same key: the first status');
is($again->{json}{id}, $r->{json}{id}, 'and payment');
is($again->{headers}{'idempotent-replayed'}, 'true', 'marked as a replay');
ok(!exists $r->{headers}{'idempotent-replayed'}, 'the first was none');
is(payments($order), 1, 'one charge');
is_problem($t->pay($order, 'decline', 'Idempotency-Key' => $key), 422,
           'idempotency_key_reused', 'the same key for something else');


# at the same time

$order = order();
my @answers = $t->race(8, [ map { [
    'POST', "/v1/orders/$order->{id}/payments",
    { provider => 'test', outcome => 'succeed' },
    'X-Order-Token' => $order->{token},
] } 1 .. 16 ]);

is(scalar(grep { $_->{status} == 201 } @answers), 1,
   'of 16 payments at once one is taken');
is(scalar(grep { $_->{status} == 409 } @answers), 15, 'the others are told');
is(payments($order), 1, 'one charge');

$order = order();
$key = $t->key;
@answers = $t->race(8, [ map { [
    'POST', "/v1/orders/$order->{id}/payments",
    { provider => 'test', outcome => 'succeed' },
    'X-Order-Token' => $order->{token}, 'Idempotency-Key' => $key,
] } 1 .. 16 ]);
my %ids = map { $_->{json}{id} // '' => 1 }
    grep { $_->{status} == 201 } @answers;
is(scalar keys %ids, 1, 'with one key: one payment for all who get it');
is(scalar(grep { $_->{status} != 201 && $_->{status} != 409 } @answers), 0,
   'the others are told to wait');
is(payments($order), 1, 'one charge');

# a payment and a cancellation: one of them wins
for (1 .. 5) {
    $order = order();
    my ($paid, $cancelled) = $t->race(2, [
        [ 'POST', "/v1/orders/$order->{id}/payments",
          { provider => 'test', outcome => 'succeed' },
          'X-Order-Token' => $order->{token} ],
        [ 'POST', "/v1/orders/$order->{id}/cancel", undef,
          'X-Order-Token' => $order->{token} ],
    ]);
    my $state = state_of($order);

    is(join(' ', sort $paid->{status}, $cancelled->{status}),
       $state eq 'paid' ? '201 409' : '200 409',
       "payment against cancellation: $state")
        or diag("$paid->{status} $cancelled->{status}");
    is(payments($order), $state eq 'paid' ? 1 : 0, 'charged accordingly');
}


# an intent: the payment waits for its provider

sub intent {
    my ($order, $body, @headers) = @_;

    return $t->post("/v1/orders/$order->{id}/payments", $body,
                    'X-Order-Token' => $order->{token}, @headers);
}


for my $body ({ provider => 'acme' },
              { provider => 'test', outcome => 'pending' })
{
    $order = order();
    $key = $t->key;
    $r = intent($order, $body, 'Idempotency-Key' => $key);
    is($r->{status}, 201, "an intent of provider $body->{provider}");
    is_deeply({ map { $_ => $r->{json}{$_} } qw(provider state amount currency
                                                order_id) },
              { provider => $body->{provider}, state => 'pending',
                amount => 499, currency => 'USD', order_id => $order->{id} },
              'with what the front end needs');
    $again = intent($order, $body, 'Idempotency-Key' => $key);
    is($again->{json}{id}, $r->{json}{id}, 'the same key: the same intent');
    is($again->{headers}{'idempotent-replayed'}, 'true', 'as a replay');
    isnt(intent($order, $body)->{json}{id}, $r->{json}{id},
         'without a key another one');
    is(state_of($order), 'pending_payment', 'the order waits');
    is(payments($order), 0, 'nothing was charged');
    is($t->pay($order)->{json}{state}, 'succeeded', 'it can be paid otherwise');
    is_problem(intent($order, $body), 409, 'illegal_transition',
               'a paid order takes no intent');
}

my @orders = (order(), order(), order());
@answers = $t->race(12, [ map {
    [ 'POST', "/v1/orders/$_->{id}/payments", { provider => 'acme' },
      'X-Order-Token' => $_->{token} ]
} (@orders) x 4 ]);
is($t->sql("SELECT count(*) FROM commerce.payment WHERE state = 'pending'"
           . ' AND order_id IN (' . join(', ', map { "'$_->{id}'" } @orders)
           . ')'), 12, 'intents at the same time: all are made')
    or diag(join "\n", map { $_->{body} } @answers);


# the hold is longer while the buyer pays, up to twice its length: saleor#15246

# seconds until it expires: in the rows, as shown
sub expires_in {
    my $view = $t->get("/v1/orders/$_[0]{id}",
                       'X-Order-Token' => $_[0]{token})->{json};

    return $t->sql("SELECT round(extract(epoch FROM expires_at - now())) ||"
        . " CASE WHEN expires_at = '$view->{expires_at}' THEN '' ELSE '?' END"
        . " FROM commerce.orders WHERE id = '$_[0]{id}'");
}


sub age {
    my ($order, $seconds) = @_;

    $t->sql("UPDATE commerce.orders SET created_at = created_at - interval"
        . " '$seconds s', expires_at = expires_at - interval '$seconds s'"
        . " WHERE id = '$order->{id}'");
}


$order = order();
age($order, 40);
cmp_ok(expires_in($order), '<=', 20, 'an order of 40 s has 20 s left');
intent($order, { provider => 'acme' });
cmp_ok(abs(60 - expires_in($order)), '<=', 10, 'with an intent 60 s');
age($order, 40);
intent($order, { provider => 'acme' });
cmp_ok(abs(40 - expires_in($order)), '<=', 10, 'after 80 s only 40 s more');
intent($order, { provider => 'acme' });
cmp_ok(abs(40 - expires_in($order)), '<=', 10, 'however often it is tried');

$order = order();
age($order, 40);
$t->pay($order, 'decline');
cmp_ok(expires_in($order), '<=', 20, 'a payment that failed holds no longer');

$order = order();
$t->sql("UPDATE commerce.orders SET expires_at = now() + interval '500 s'"
        . " WHERE id = '$order->{id}'");
intent($order, { provider => 'acme' });
cmp_ok(abs(500 - expires_in($order)), '<=', 10, 'it is never made shorter');


# what is refused

$order = order();
my $other = order();
my $path = "/v1/orders/$order->{id}/payments";
my @token = ('X-Order-Token' => $order->{token});

for (
    [ {}, '/provider', 'no provider' ],
    [ { provider => 'test' }, '/outcome', 'no outcome' ],
    [ { provider => 'nobody', outcome => 'succeed' }, '/provider',
      'an unknown provider' ],
    [ { provider => 'test', outcome => 'maybe' }, '/outcome',
      'an unknown outcome' ],
    [ { provider => 1, outcome => 'succeed' }, '/provider', 'a number' ],
    [ { provider => 'test', outcome => 'succeed', amount => 1 }, '/amount',
      'an amount of the client' ],
    [ { provider => 'acme', outcome => 'succeed' }, '/outcome',
      'an outcome for a provider that decides itself' ],
    [ { provider => 'acme', amount => 1 }, '/amount', 'an amount of its own' ],
) {
    my ($body, $pointer, $name) = @$_;

    $r = $t->post($path, $body, @token);
    is_problem($r, 422, 'invalid_request', "$name is refused");
    ok((grep { $_->{pointer} eq $pointer } @{ $r->{json}{errors} // [] }),
       "$pointer is named") or diag($r->{body});
}

is_problem($t->post($path, '{', @token, 'Content-Type' => 'application/json'),
           400, 'malformed_json', 'malformed JSON');
is_problem($t->post($path, '[]', @token, 'Content-Type' => 'application/json'),
           422, 'invalid_request', 'an array');
is_problem($t->post($path, '', @token, 'Content-Type' => 'application/json'),
           400, 'malformed_json', 'no body');
is_problem($t->post($path, '{}', @token, 'Content-Type' => 'text/plain'),
           415, 'unsupported_media_type', 'text');

my $good = { provider => 'test', outcome => 'succeed' };

$r = $t->post($path, $good);
is_problem($r, 401, 'unauthenticated', 'no token');
ok($r->{headers}{'www-authenticate'}, 'WWW-Authenticate');
is_problem($t->post($path, $good, 'X-Order-Token' => $other->{token}), 404,
           'not_found', "another order's token");
is_problem($t->post('/v1/orders/01890a5d-ac96-774b-bcce-b302099a8057/payments',
                    $good, @token), 404, 'not_found', 'no such order');
is_problem($t->post('/v1/orders/xyz/payments', $good, @token), 404,
           'not_found', 'an id that is none');
$r = $t->get($path, @token);
is_problem($r, 405, 'method_not_allowed', 'GET of payments');
is($r->{headers}{allow}, 'POST', 'Allow');
is(state_of($order), 'pending_payment', 'none of these changed the order');

is($t->sql('SELECT * FROM commerce.order_audit'), '',
   'orders, events and payments agree');

$t->finish;
