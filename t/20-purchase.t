# One purchase, from an empty cart to a partial refund; each total by hand.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;

$t->product('lamp', price => 4990, stock => 20, title => 'Desk lamp');
$t->product('bulb', price => 399, stock => 100, title => 'Bulb');

for (
    [ '/v1/admin/tax-rates', { country => 'US', region => 'CA',
                               rate => 72_500 } ],
    [ '/v1/admin/shipping-methods', { code => 'parcel', title => 'Parcel',
        countries => [ 'US' ], prices => { USD => 695 },
        free_over => { USD => 10_000 } } ],
    [ '/v1/admin/coupons', { code => 'WELCOME', kind => 'percent',
        percent => 150_000, minimum => { USD => 5000 } } ],
) {
    my $r = $t->admin('POST', @$_);

    die "$_->[0]: $r->{body}\n" if $r->{status} != 201;
}


sub sums {
    my ($r) = @_;

    return join ' ', @{ $r->{json} }{qw(subtotal discount tax shipping total)};
}


# a guest's cart

my $r = $t->post('/v1/carts', { currency => 'USD' });
is($r->{status}, 201, 'a guest has a cart');

my $path = $r->{headers}{location};
my %cart = ('X-Cart-Token' => $r->{json}{token});

$r = $t->post("$path/lines", { sku => 'lamp', quantity => 1 }, %cart);
is(sums($r), '4990 0 0 0 4990', 'a lamp: 49.90');

$r = $t->post("$path/lines", { sku => 'bulb', quantity => 3 }, %cart);
is(sums($r), '6187 0 0 0 6187', 'and three bulbs at 3.99: 61.87');

# 15 % of 61.87 is 9.2805: 9.28
$r = $t->put("$path/coupon", { code => 'welcome' }, %cart);
is(sums($r), '6187 928 0 0 5259', 'less 15 %: 9.28 off');

# shares of 928: lamp 928 * 4990 / 6187 = 748.46, bulbs 179.54: the cent that
# is left goes to the bulbs: 748 and 180; 7.25 % of 42.42 is 3.07545: 3.08, of
# 10.17 is 0.737: 0.74, of shipping 6.95 is 0.503875: 0.50; in all 4.32
$r = $t->put("$path/shipping", { address => { name => 'Ann', country => 'US',
    region => 'CA', line1 => '1 Main St' }, method => 'parcel' }, %cart);
is(sums($r), '6187 928 432 695 6386', 'to California by parcel: 63.86');

$r = $t->put("$path/email", { email => 'ann@example.com' }, %cart);
is($r->{status}, 200, 'an address for the receipt');

# checkout

$r = $t->post("$path/checkout", { expected_total => 6386 }, %cart,
              'Idempotency-Key' => $t->key);
is($r->{status}, 201, 'an order') or diag($r->{body});
is(sums($r), '6187 928 432 695 6386', 'that costs what the cart cost');

my $order = $r->{json};
my $id = $order->{id};

is_deeply([ map { [ @$_{qw(sku total discount tax)} ] }
            @{ $order->{lines} } ],
          [ [ 'lamp', 4990, 748, 308 ], [ 'bulb', 1197, 180, 74 ] ],
          'its lines sum to it');
is($t->stock('lamp')->{held}, 1, 'the lamp is held');

# payment

$r = $t->pay($order);
is("$r->{status} $r->{json}{state} $r->{json}{amount}",
   '201 succeeded 6386', 'paid: 63.86');

# fulfilment in two parcels

$r = $t->admin('POST', "/v1/admin/orders/$id/fulfilments",
    { lines => [ { sku => 'lamp', quantity => 1 } ], carrier => 'DHL',
      tracking => 'JD0146' });
is($r->{status}, 201, 'the lamp is sent') or diag($r->{body});
is($t->admin('GET', "/v1/admin/orders/$id")->{json}{state}, 'paid',
   'not all of it yet');

$r = $t->admin('POST', "/v1/admin/orders/$id/fulfilments", {});
is($r->{status}, 201, 'the bulbs are sent') or diag($r->{body});
is($t->admin('GET', "/v1/admin/orders/$id")->{json}{state}, 'fulfilled',
   'that is all');

# one bulb is broken: of the bulbs' 11.97 - 1.80 + 0.74 = 10.91 a third is
# 3.6367: 3.64
$r = $t->admin('POST', "/v1/admin/orders/$id/refunds",
    { lines => [ { sku => 'bulb', quantity => 1 } ], reason => 'broken' },
    'Idempotency-Key' => $t->key);
is("$r->{status} $r->{json}{amount}", '201 364', 'one bulb back: 3.64')
    or diag($r->{body});

$r = $t->get("/v1/orders/$id", 'X-Order-Token' => $order->{token});
is($r->{json}{state}, 'partially_refunded', 'the order says so');
is($r->{json}{refunded}, 364, 'and how much');
is(sums($r), '6187 928 432 695 6386', 'what was paid stays');

# each step has its event

$r = $t->admin('GET', "/v1/admin/orders/$id/events");
is(join(' ', map { "$_->{seq}:$_->{state}" } @{ $r->{json}{data} }),
   '1:pending_payment 2:paid 3:paid 4:fulfilled 5:partially_refunded',
   'one event for each step, numbered');

my $bulb = $t->stock('bulb');
is($bulb->{free} + $bulb->{leased}, 97,
   'a broken bulb is not restocked');

$t->finish;
