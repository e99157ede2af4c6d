# Shipments: what of an order went to its buyer.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;

$t->product('tea', price => 499, stock => 1000);
$t->product('cup', price => 900, stock => 1000);
$t->product('pot', price => 2500, stock => 1000);


sub paid {
    my (%lines) = @_;

    my $order = $t->order({ %lines })->{json};
    $t->pay($order);

    return $order;
}


sub fulfil {
    my ($order, $body, %headers) = @_;

    return $t->admin('POST', "/v1/admin/orders/$order->{id}/fulfilments",
                     $body, %headers);
}


sub view {
    return $t->get("/v1/orders/$_[0]{id}", 'X-Order-Token' => $_[0]{token})
        ->{json};
}


sub fulfilled {
    my ($view) = @_;

    return join ' ', map { "$_->{sku}:$_->{fulfilled}" }
        sort { $a->{sku} cmp $b->{sku} } @{ $view->{lines} };
}


sub item { return { sku => $_[0], quantity => $_[1] } }


# all at once

my $order = paid(tea => 2, cup => 1);
my $before = view($order);
is(fulfilled($before), 'cup:0 tea:0', 'nothing is sent yet');

my $r = fulfil($order, { carrier => 'DHL', tracking => 'JD0146' });
is($r->{status}, 201, 'all that is left is sent') or diag($r->{body});
is($r->{headers}{location}, "/v1/orders/$order->{id}",
   'it is seen in its order');
is($r->{json}{order_id}, $order->{id}, 'of the order');
is("$r->{json}{carrier} $r->{json}{tracking}", 'DHL JD0146', 'with tracking');
is_deeply([ map { "$_->{sku}:$_->{quantity}" } @{ $r->{json}{lines} } ],
          [ 'cup:1', 'tea:2' ], 'and lines');

my $view = view($order);
is($view->{state}, 'fulfilled', 'the order is fulfilled');
is(fulfilled($view), 'cup:1 tea:2', 'every unit is');
cmp_ok($view->{version}, '>', $before->{version}, 'its version moved');
is($view->{shipments}[0]{id}, $r->{json}{id}, 'its buyer sees the shipment');
is($view->{shipments}[0]{tracking}, 'JD0146', 'and can follow it');
is($view->{total}, $before->{total}, 'the money is the same');
is_problem(fulfil($order), 409, 'illegal_transition', 'nothing is left');
is_deeply([ @{ $t->stock('tea') }{qw(held sold)} ], [ 0, 2 ],
          'sent units are sold units');


# in parts

$order = paid(tea => 5, cup => 3, pot => 1);
$r = fulfil($order, { lines => [ item(tea => 2), item(pot => 1) ] });
is($r->{status}, 201, 'a part is sent');
$view = view($order);
is($view->{state}, 'paid', 'the order is not fulfilled by it');
is(fulfilled($view), 'cup:0 pot:1 tea:2', 'some units are');

$r = fulfil($order, { lines => [ item(tea => 4) ] });
is_problem($r, 409, 'conflict', 'more than is left is not sent');
is($r->{json}{errors}[0]{pointer}, '/lines/0/quantity', 'the line is named');
is($r->{json}{errors}[0]{code}, 'too_many', 'and why');
is($r->{json}{remains}, 3, 'and what is left');
$r = fulfil($order, { lines => [ item(cup => 1), item(tea => 2),
                                 item(tea => 2) ] });
is_problem($r, 409, 'conflict', 'two entries of one line are summed');
is($r->{json}{errors}[0]{pointer}, '/lines/1/quantity', 'the first is named');
is(fulfilled(view($order)), 'cup:0 pot:1 tea:2', 'nothing of it was sent');

my ($cup) = grep { $_->{sku} eq 'cup' } @{ $order->{lines} };
$r = fulfil($order, { lines => [
    { variant_id => $cup->{variant_id}, quantity => 3 }, item(tea => 1),
    item(tea => 1) ] });
is($r->{status}, 201, 'a line may name the variant, and come twice');
is(fulfilled(view($order)), 'cup:3 pot:1 tea:4', 'its units are added');
is(fulfil($order)->{json}{lines}[0]{quantity}, 1, 'the rest goes');
$view = view($order);
is($view->{state}, 'fulfilled', 'now it is fulfilled');
is(scalar @{ $view->{shipments} }, 3, 'by three shipments');


# with a key

$order = paid(tea => 4);
my $key = $t->key;
my $body = { lines => [ item(tea => 1) ], carrier => 'UPS' };
$r = fulfil($order, $body, 'Idempotency-Key' => $key);
is($r->{status}, 201, 'with a key');
my $again = fulfil($order, $body, 'Idempotency-Key' => $key);
is($again->{status}, 201, 'the same key again: the first status');
is_deeply($again->{json}, $r->{json}, 'and shipment');
is($again->{headers}{'idempotent-replayed'}, 'true', 'marked as a replay');
is_problem(fulfil($order, { lines => [ item(tea => 2) ] },
                  'Idempotency-Key' => $key), 422, 'idempotency_key_reused',
           'the same key for something else');
is(fulfilled(view($order)), 'tea:1', 'one unit was sent');
my $other = paid(tea => 1);
is(fulfil($other, $body, 'Idempotency-Key' => $key)->{status}, 201,
   "another order's keys are its own");


# at the same time

$order = paid(tea => 10);
my @answers = $t->race(8, [ map { [
    'POST', "/v1/admin/orders/$order->{id}/fulfilments",
    { lines => [ item(tea => 3) ] },
    Authorization => 'Bearer ' . $t->api_key,
] } 1 .. 16 ]);
is(scalar(grep { $_->{status} == 201 } @answers), 3,
   'of 16 parts at once three fit');
is(scalar(grep { ($_->{json}{errors}[0]{code} // '') eq 'too_many' } @answers),
   13, 'the others are told why not');
is(fulfilled(view($order)), 'tea:9', 'not one unit too many');


# what cannot be sent

$order = $t->order({ tea => 1 })->{json};
is_problem(fulfil($order), 409, 'illegal_transition',
           'an order that waits for its payment');
$t->post("/v1/orders/$order->{id}/cancel", undef,
         'X-Order-Token' => $order->{token});
is_problem(fulfil($order), 409, 'illegal_transition', 'a cancelled one');

$order = paid(tea => 2);
for (
    [ { lines => [] }, '/lines', 'no lines' ],
    [ { lines => [ item(tea => 0) ] }, '/lines/0/quantity', 'no unit' ],
    [ { lines => [ item(tea => -1) ] }, '/lines/0/quantity', 'less' ],
    [ { lines => [ { sku => 'tea' } ] }, '/lines/0/quantity', 'how many?' ],
    [ { lines => [ { quantity => 1 } ] }, '/lines/0', 'of what?' ],
    [ { lines => [ { %{ item(tea => 1) }, variant_id => $cup->{variant_id} } ]
      }, '/lines/0', 'both names' ],
    [ { lines => [ { variant_id => 'x' x 36, quantity => 1 } ] },
      '/lines/0/variant_id', 'no UUID' ],
    [ { lines => [ { %{ item(tea => 1) }, restock => \1 } ] },
      '/lines/0/restock', 'restock belongs to refunds' ],
    [ { lines => [ item(tea => 1), item(cup => 1) ] }, '/lines/1',
      'a line of another order' ],
    [ { lines => {} }, '/lines', 'lines that are none' ],
    [ { carrier => '' }, '/carrier', 'an empty carrier' ],
    [ { tracking => 'x' x 256 }, '/tracking', 'long tracking' ],
    [ { weight => 1 }, '/weight', 'an unknown member' ],
) {
    my ($body, $pointer, $name) = @$_;

    $r = fulfil($order, $body);
    is_problem($r, 422, 'invalid_request', "$name is refused");
    is($r->{json}{errors}[0]{pointer}, $pointer, "$pointer is named")
        or diag($r->{body});
}

is_problem($t->admin('POST', '/v1/admin/orders/xyz/fulfilments'), 404,
           'not_found', 'an id that is none');
is_problem($t->admin('POST', '/v1/admin/orders/01890a5d-ac96-774b-bcce-'
                           . 'b302099a8057/fulfilments'), 404, 'not_found',
           'no such order');


# who may

my $path = "/v1/admin/orders/$order->{id}/fulfilments";

is_problem($t->post($path), 401, 'unauthenticated', 'without a key');
is_problem($t->post($path, undef, 'X-Order-Token' => $order->{token}), 401,
           'unauthenticated', 'not the buyer');
$r = $t->post($path, undef, Authorization => 'Bearer '
                                           . $t->api_key('orders:read'));
is_problem($r, 403, 'forbidden', 'without the scope');
like($r->{json}{detail} // '', qr/orders:write/, 'which is named');
is_problem($t->admin('GET', $path), 405, 'method_not_allowed', 'GET');
is(fulfilled(view($order)), 'tea:0', 'none of these sent anything');
is(fulfil($order, {})->{status}, 201, 'an empty object is a body');

$t->finish;
