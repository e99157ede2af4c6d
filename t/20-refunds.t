# Refunds: money that goes back, and units with it.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;

$t->product('tea', price => 499, stock => 1000);
$t->product('cup', price => 900, stock => 7);
$t->product('pot', price => 2500, stock => 1000);
$t->product('gift', price => 0, stock => 1000);


sub paid {
    my (%lines) = @_;

    my $order = $t->order({ %lines })->{json};
    $t->pay($order);

    return $order;
}


sub refund {
    my ($order, $body, %headers) = @_;

    return $t->admin('POST', "/v1/admin/orders/$order->{id}/refunds", $body,
                     'Idempotency-Key' => $t->key, %headers);
}


sub fulfil {
    my ($order, @lines) = @_;

    return $t->admin('POST', "/v1/admin/orders/$order->{id}/fulfilments",
                     @lines ? { lines => \@lines } : undef);
}


sub view {
    return $t->admin('GET', "/v1/admin/orders/$_[0]{id}")->{json};
}


sub refunded {
    my ($view) = @_;

    return join ' ', map { "$_->{sku}:$_->{refunded}" }
        sort { $a->{sku} cmp $b->{sku} } @{ $view->{lines} };
}


sub item { return { sku => $_[0], quantity => $_[1], @_[2 .. $#_] } }
sub back { return item(@_, restock => \1) }


sub units {
    my ($sku) = @_;

    my $stock = $t->stock($sku);

    return join ' ', $stock->{free} + $stock->{leased}, $stock->{held},
        $stock->{sold};
}


# units of a line

my $order = paid(tea => 3, cup => 5);
is(view($order)->{refunded}, 0, 'nothing is refunded');

my $r = refund($order, { lines => [ item(tea => 1) ], reason => 'broken' });
is($r->{status}, 201, 'one unit is refunded') or diag($r->{body});
is($r->{headers}{location}, "/v1/orders/$order->{id}",
   'it is seen in its order');
is($r->{json}{amount}, 499, 'with what it cost');
is($r->{json}{currency}, 'USD', 'in the currency of the order');
is($r->{json}{state}, 'succeeded', 'the provider "test" pays at once');
is($r->{json}{reason}, 'broken', 'for a reason');
is($r->{json}{lines}[0]{restocked}, 0, 'a broken one is not restocked');
my $view = view($order);
is($view->{state}, 'partially_refunded', 'the order is refunded in part');
is($view->{refunded}, 499, 'by so much');
is(refunded($view), 'cup:0 tea:1', 'and that unit');
is($view->{total}, $order->{total}, 'its total is what it was');
is($view->{payments}[0]{refunded}, 499, 'the payment knows');
is($view->{refunds}[0]{reason}, 'broken', 'the staff see why');
is(units('tea'), '997 0 3', 'the unit is sold all the same');

my $seen = $t->get("/v1/orders/$order->{id}",
                   'X-Order-Token' => $order->{token})->{json};
is($seen->{refunds}[0]{amount}, 499, 'the buyer sees the refund');
ok(!exists $seen->{refunds}[0]{reason}, 'not what the staff think of it');
ok(!exists $seen->{payments}, 'nor the payments');

$r = refund($order, { lines => [ back(cup => 2), item(cup => 1) ] });
is($r->{json}{amount}, 2700, 'three cups');
is_deeply([ @{ $r->{json}{lines}[0] }{qw(quantity restocked)} ], [ 3, 2 ],
          'of which two go back to the shelf');
is(units('cup'), '4 0 3', 'they can be sold');
is($t->order({ cup => 4 })->{status}, 201, 'and are, at once');
$t->product('mug', price => 900, stock => 1000);

$r = refund($order, {});
is($r->{json}{amount}, $order->{total} - 499 - 2700, 'then all that is left');
$view = view($order);
is($view->{state}, 'refunded', 'the order is refunded');
is($view->{refunded}, $order->{total}, 'in whole');
is(refunded($view), 'cup:5 tea:3', 'and every unit');
is(scalar @{ $view->{refunds} }, 3, 'by three refunds');
is_problem(refund($order, {}), 409, 'illegal_transition', 'nothing is left');
is_problem(fulfil($order), 409, 'illegal_transition', 'and nothing is sent');


# all of it with its units: the order never was

$order = paid(pot => 2, tea => 1);
my $before = units('pot');
$r = refund($order, { restock => \1 });
is($r->{json}{amount}, $order->{total}, 'all at once, with the units');
$view = view($order);
is($view->{state}, 'cancelled', 'that cancels a paid order');
is($view->{refunded}, $order->{total}, 'the money is back');
is(units('pot'), '1000 0 0', 'so are the units') or diag("from $before");
is($t->sql('SELECT * FROM commerce.stock_audit'), '', 'none too many');

$order = paid(tea => 2);
refund($order, { lines => [ back(tea => 1) ] });
refund($order, { lines => [ back(tea => 1) ] });
is(view($order)->{state}, 'cancelled', 'in two steps too');

$order = paid(tea => 2);
refund($order, { lines => [ item(tea => 1) ] });
refund($order, { restock => \1 });
is(view($order)->{state}, 'refunded', 'not when a unit stays away');

$order = paid(tea => 2);
fulfil($order, item(tea => 1));
refund($order, { restock => \1 });
is(view($order)->{state}, 'refunded', 'nor when one had been sent');


# an amount

$order = paid(tea => 2);
$r = refund($order, { amount => 100 });
is($r->{json}{amount}, 100, 'an amount');
ok(!exists $r->{json}{lines}, 'of no unit');
is(refunded(view($order)), 'tea:0', 'counts no unit');
$r = refund($order, { amount => 899 });
is_problem($r, 409, 'conflict', 'more than is left is not given');
is($r->{json}{errors}[0]{pointer}, '/amount', 'the amount is named');
is($r->{json}{errors}[0]{code}, 'too_much', 'and why');
is($r->{json}{remains}, 898, 'and what is left');
is_problem(refund($order, { lines => [ item(tea => 2) ] }), 409, 'conflict',
           'nor when the units cost that much');
$r = refund($order, { lines => [ back(tea => 1) ], amount => 50 });
is($r->{json}{amount}, 50, 'an amount in place of what the units cost');
is($r->{json}{lines}[0]{amount}, 499, 'which is told');
is(refund($order, { amount => 848 })->{status}, 201, 'up to the last cent');
is(view($order)->{state}, 'refunded', 'then it is refunded');

$order = paid(gift => 2);
is($order->{total}, 0, 'an order that costs nothing');
is(refund($order, { lines => [ back(gift => 1) ] })->{json}{amount}, 0,
   'is refunded nothing');
is(view($order)->{state}, 'partially_refunded', 'a unit of it');
is(refund($order, { restock => \1 })->{status}, 201, 'and the other');
is(view($order)->{state}, 'cancelled', 'then it is cancelled');
is(units('gift'), '1000 0 0', 'its units are back');


# discounts, taxes and shipping, as a checkout stores them: the portions of a
# line sum exactly

$order = paid(tea => 3, mug => 1);
$t->sql(<<"SQL");
UPDATE commerce.order_line SET discount = 100, tax = 266
WHERE order_id = '$order->{id}' AND sku = 'tea';
UPDATE commerce.order_line SET tax = 144, tax_included = true
WHERE order_id = '$order->{id}' AND sku = 'mug';
UPDATE commerce.orders SET discount = 100, shipping = 500, tax = 266 + 144 + 95,
    tax_included = 144, total = 1497 + 900 - 100 + 500 + 266 + 95
WHERE id = '$order->{id}';
UPDATE commerce.payment SET amount = 3158 WHERE order_id = '$order->{id}';
SQL
my $whole = 1497 - 100 + 266;   # 1663: 554.33 each
is(join(' ', map { refund($order, { lines => [ item(tea => 1) ] })
                   ->{json}{amount} } 1 .. 3), '554 555 554',
   'a line in three parts: half up, and exact');
$r = refund($order, { shipping => 596 });
is_problem($r, 409, 'conflict', 'more shipping than was paid');
is("$r->{json}{errors}[0]{pointer} $r->{json}{remains}", '/shipping 595',
   'with its tax: 595');
$r = refund($order, { shipping => 95, lines => [ item(mug => 1) ] });
is("$r->{json}{amount} $r->{json}{shipping}", '995 95',
   'a line whose price contains its tax, and some shipping');
$r = refund($order, {});
is("$r->{json}{amount} $r->{json}{shipping}", '500 500', 'the rest of it');
is(view($order)->{refunded}, 3158, 'together: the total');


# units that were sent, and units that were not

$order = paid(tea => 4);
fulfil($order, item(tea => 1));
refund($order, { lines => [ item(tea => 2) ] });
$r = fulfil($order, item(tea => 2));
is_problem($r, 409, 'conflict', 'a refunded unit is not sent');
is($r->{json}{remains}, 1, 'those that were not sent are refunded first');
is(fulfil($order)->{json}{lines}[0]{quantity}, 1, 'the last one goes');
is_problem(fulfil($order), 409, 'illegal_transition', 'then none is left');
is(refund($order, { lines => [ back(tea => 2) ] })->{status}, 201,
   'what was sent can come back');
$r = refund($order, { lines => [ back(tea => 1) ] });
is_problem($r, 409, 'illegal_transition', 'not more than there was');
is_deeply([ map { @$_{qw(fulfilled refunded)} } @{ view($order)->{lines} } ],
          [ 2, 4 ], 'the line tells both');

$order = paid(tea => 2);
fulfil($order);
refund($order, { amount => 1 });
is(view($order)->{state}, 'partially_refunded',
   'a fulfilled order is refunded in part');


# the key

$order = paid(tea => 5);
my $path = "/v1/admin/orders/$order->{id}/refunds";
my $body = { lines => [ back(tea => 2) ] };
my $key = $t->key;
is_problem($t->admin('POST', $path, $body), 400, 'idempotency_key_missing',
           'a refund needs a key');
$before = units('tea');
$r = refund($order, $body, 'Idempotency-Key' => $key);
is($r->{status}, 201, 'with a key');
my $again = refund($order, $body, 'Idempotency-Key' => $key);
is($again->{status}, 201, 'the same key again: the first status');
is_deeply($again->{json}, $r->{json}, 'and refund');
is($again->{headers}{'idempotent-replayed'}, 'true', 'marked as a replay');
is(view($order)->{refunded}, 998, 'the money went once');
my ($free) = split / /, $before;
is((split / /, units('tea'))[0], $free + 2, 'the units came once');
is_problem(refund($order, { amount => 1 }, 'Idempotency-Key' => $key), 422,
           'idempotency_key_reused', 'the same key for something else');

my @answers = $t->race(8, [ map { [
    'POST', $path, { amount => 7 },
    Authorization => 'Bearer ' . $t->api_key, 'Idempotency-Key' => 'one',
] } 1 .. 16 ]);
is(scalar(grep { $_->{status} == 201 } @answers), 16,
   'sixteen at once with one key: one answer');
is(scalar(grep { !$_->{headers}{'idempotent-replayed'} } @answers), 1,
   'one of them did it');
is(view($order)->{refunded}, 1005, 'once');


# over-refund under parallel requests

for my $case ([ { amount => 400 }, 400, 'amounts' ],
              [ { lines => [ back(tea => 1) ] }, 499, 'units' ])
{
    my ($body, $each, $name) = @$case;

    $order = paid(tea => 10);
    $before = units('tea');
    @answers = $t->race(16, [ map { [
        'POST', "/v1/admin/orders/$order->{id}/refunds", $body,
        Authorization => 'Bearer ' . $t->api_key,
        'Idempotency-Key' => $t->key,
    ] } 1 .. 40 ], 30);

    my $good = grep { $_->{status} == 201 } @answers;
    my $fits = int(4990 / $each);

    is($good, $fits, "over-refund: $fits of 40 $name at once fit");
    is(scalar(grep { $_->{status} == 409
           && ($_->{json}{errors}[0]{code} // $_->{json}{code})
              =~ /^(?:too_much|too_many|illegal_transition)$/ } @answers),
       40 - $fits, 'the others are told why not');
    is(view($order)->{refunded}, $fits * $each, 'not one cent too many');
    is(view($order)->{payments}[0]{refunded}, $fits * $each,
       'the payment agrees');
    is($t->sql("SELECT sum(amount) FROM commerce.refund"
             . " WHERE order_id = '$order->{id}'"), $fits * $each,
       'so do the refunds');
}

is((split / /, units('tea'))[0], (split / /, $before)[0] + 10,
   'ten units came back, each once');

# everything, from many sides
$order = paid(tea => 3, pot => 1);
@answers = $t->race(8, [ map { [
    'POST', "/v1/admin/orders/$order->{id}/refunds", { restock => \1 },
    Authorization => 'Bearer ' . $t->api_key, 'Idempotency-Key' => $t->key,
], [
    'POST', "/v1/admin/orders/$order->{id}/fulfilments", undef,
    Authorization => 'Bearer ' . $t->api_key,
] } 1 .. 8 ]);
is(scalar(grep { $_->{status} == 201 && exists $_->{json}{amount} } @answers),
   1, 'of eight full refunds one is made');
$view = view($order);
is($view->{refunded}, $order->{total}, 'of the whole total');
like($view->{state}, qr/^(?:cancelled|refunded)$/, "it is $view->{state}");
is(!!grep({ $_->{fulfilled} } @{ $view->{lines} }),
   $view->{state} eq 'refunded', 'cancelled unless it was sent before');


# a provider that takes its time

$order = paid(tea => 4);
$t->sql("UPDATE commerce.payment SET provider = 'other'"
      . " WHERE order_id = '$order->{id}'");
my $payment = view($order)->{payments}[0]{id};


sub settled {
    my ($amount) = @_;

    return $t->sql('SELECT verdict FROM commerce.refund_settled('
                 . "'$payment', $amount)");
}


$r = refund($order, { lines => [ item(tea => 1) ] });
is($r->{json}{state}, 'pending', 'a refund waits for its provider');
$view = view($order);
is($view->{state}, 'partially_refunded', 'the order counts it already');
is_problem(refund($order, { amount => 1996 - 499 + 1 }), 409, 'conflict',
           'so it is not given twice');
is(settled(499), 'settled', 'the provider has paid');
$view = view($order);
is($view->{refunds}[0]{state}, 'succeeded', 'the refund says so');
ok($view->{refunds}[0]{settled_at}, 'and since when');
is($view->{refunded}, 499, 'the money is the same');
refund($order, { amount => 100 });
refund($order, { amount => 200 });
is(settled(300), 'settled', 'two refunds in one');
is(scalar(grep { $_->{state} eq 'pending' } @{ view($order)->{refunds} }), 0,
   'none waits');
is(settled(500), 'recorded', 'one that nobody asked for here is recorded');
is(view($order)->{refunded}, 1299, 'and counted');
is(settled(700), 'refused', 'one that does not fit is not');
is(settled(697), 'recorded', 'up to the last cent');
is(view($order)->{state}, 'refunded', 'then the order is refunded');
is($t->sql("SELECT verdict FROM commerce.refund_settled("
         . "'01890a5d-ac96-774b-bcce-b302099a8057', 1)"), 'unknown',
   'no such payment');


# what cannot be refunded

$order = $t->order({ tea => 1 })->{json};
is_problem(refund($order, {}), 409, 'illegal_transition',
           'an order that was not paid');
$t->post("/v1/orders/$order->{id}/cancel", undef,
         'X-Order-Token' => $order->{token});
is_problem(refund($order, {}), 409, 'illegal_transition', 'a cancelled one');

$order = paid(tea => 2);
for (
    [ { amount => 0 }, '/amount', 'nothing' ],
    [ { amount => -1 }, '/amount', 'less than nothing' ],
    [ { amount => 1.5 }, '/amount', 'a part of a cent' ],
    [ { amount => '1' }, '/amount', 'text' ],
    [ { shipping => 0 }, '/shipping', 'no shipping' ],
    [ { amount => 1, shipping => 1 }, '/shipping', 'two amounts' ],
    [ { amount => 1, restock => \1 }, '/restock', 'restock without units' ],
    [ { lines => [] }, '/lines', 'no lines' ],
    [ { lines => [ item(tea => 0) ] }, '/lines/0/quantity', 'no unit' ],
    [ { lines => [ item(tea => 1, restock => 1) ] }, '/lines/0/restock',
      'a number for restock' ],
    [ { lines => [ item(cup => 1) ] }, '/lines/0',
      'a line of another order' ],
    [ { reason => '' }, '/reason', 'an empty reason' ],
    [ { currency => 'EUR' }, '/currency', 'an unknown member' ],
) {
    my ($body, $pointer, $name) = @$_;

    $r = refund($order, $body);
    is_problem($r, 422, 'invalid_request', "$name is refused");
    is($r->{json}{errors}[0]{pointer}, $pointer, "$pointer is named")
        or diag($r->{body});
}

$r = refund($order, { lines => [ item(tea => 1), item(tea => 2) ] });
is_problem($r, 409, 'conflict', 'entries of one line are summed');
is("$r->{json}{errors}[0]{pointer} $r->{json}{remains}",
   '/lines/0/quantity 2', 'and the line is named');

$path = "/v1/admin/orders/$order->{id}/refunds";
is_problem($t->post($path, {}, 'Idempotency-Key' => $t->key), 401,
           'unauthenticated', 'without a key of the staff');
$r = $t->post($path, {}, 'Idempotency-Key' => $t->key,
              Authorization => 'Bearer ' . $t->api_key('orders:read'));
is_problem($r, 403, 'forbidden', 'without the scope');
is_problem($t->admin('POST', '/v1/admin/orders/xyz/refunds', {},
                     'Idempotency-Key' => $t->key), 404, 'not_found',
           'an id that is none');
is_problem(refund({ id => '01890a5d-ac96-774b-bcce-b302099a8057' }, {}), 404,
           'not_found', 'no such order');
is(view($order)->{refunded}, 0, 'none of these gave anything');

$t->finish;
