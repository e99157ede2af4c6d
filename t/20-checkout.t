# From a cart to an order: what it costs, who comes second, what stays.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;
my ($true, $false) = (JSON::PP::true(), JSON::PP::false());

$t->product('tea', price => 1000, stock => 1000);
$t->product('cup', price => 333, stock => 1000);
$t->product('rare', price => 5000, stock => 1);

made('/v1/admin/tax-rates', { country => 'US', region => 'NY',
                              rate => 88_750 });
made('/v1/admin/tax-rates', { country => 'DE', rate => 190_000,
                              included => $true });
made('/v1/admin/tax-rates', { country => 'DE', category => 'shipping',
                              rate => 70_000, included => $true });
made('/v1/admin/shipping-methods', { code => 'post', title => 'Post',
    countries => [ 'US', 'DE' ], prices => { USD => 500 },
    free_over => { USD => 5000 } });
made('/v1/admin/coupons', { code => 'TEN', kind => 'percent',
                            percent => 100_000 });
made('/v1/admin/coupons', { code => 'TWICE', kind => 'fixed',
    amounts => { USD => 100 }, limit_total => 2 });
made('/v1/admin/coupons', { code => 'ONCE-EACH', kind => 'fixed',
    amounts => { USD => 100 }, limit_per_customer => 1 });


sub made {
    my ($path, $body) = @_;

    my $r = $t->admin('POST', $path, $body);

    die "$path: $r->{body}\n" if $r->{status} != 201;
}


sub on_cart {
    my ($method, $cart, $path, $body, %headers) = @_;

    return $t->request($method, "/v1/carts/$cart->{id}$path", $body,
                       'X-Cart-Token' => $cart->{token}, %headers);
}


# A cart with lines, and with a coupon where one is named.
sub cart {
    my ($lines, $coupon) = @_;

    my $cart = $t->post('/v1/carts', { currency => 'USD' })->{json};

    for (sort keys %$lines) {
        my $r = on_cart('POST', $cart, '/lines',
                        { sku => $_, quantity => $lines->{$_} });

        die "$_: $r->{body}\n" if $r->{status} != 200;
    }

    on_cart('PUT', $cart, '/coupon', { code => $coupon })->{status} == 200
        or die "coupon\n" if $coupon;

    return $cart;
}


sub checkout {
    my ($cart, $body, %headers) = @_;

    return on_cart('POST', $cart, '/checkout', $body,
                   'Idempotency-Key' => $t->key, %headers);
}


sub sums {
    my ($r) = @_;

    return join ' ', @{ $r->{json} }{
        qw(subtotal discount tax tax_included shipping total)};
}


sub state {
    my ($cart) = @_;

    return on_cart('GET', $cart, '')->{json}{state};
}


# a plain one

my $cart = cart({ tea => 2, cup => 1 });
my $r = checkout($cart, undef);
my $order = $r->{json};

is($r->{status}, 201, 'an order') or diag($r->{body});
is($r->{headers}{location}, "/v1/orders/$order->{id}", 'Location');
is($order->{state}, 'pending_payment', 'that waits for its payment');
is(sums($r), '2333 0 0 0 0 2333', 'at the prices of the cart');
is(join(' ', map { "$_->{sku}:$_->{quantity}" } @{ $order->{lines} }),
   'cup:1 tea:2', 'with its lines');
is(state($cart), 'ordered', 'the cart is ordered');
is(on_cart('GET', $cart, '')->{json}{order_id}, $order->{id},
   'and names its order');
is_problem(on_cart('POST', $cart, '/lines', { sku => 'tea', quantity => 1 }),
           409, 'conflict', 'it takes no line any more');
is($t->get("/v1/orders/$order->{id}", 'X-Order-Token' => $order->{token})
     ->{body}, $r->{body}, 'the order reads as it was answered');
is($t->pay($order)->{json}{state}, 'succeeded', 'and can be paid');


# who comes second: keys, double clicks, other devices

$r = checkout($cart, undef);
is("$r->{status} $r->{json}{id} $r->{json}{state}",
   "200 $order->{id} paid", 'another key gets the same order');
is($r->{headers}{'idempotent-replayed'}, undef, 'which is no replay');

$cart = cart({ tea => 1 });
my $key = $t->key;
$r = checkout($cart, { email => 'a@example.com' }, 'Idempotency-Key' => $key);
my $again = checkout($cart, { email => 'a@example.com' },
                     'Idempotency-Key' => $key);
is("$again->{status} $again->{headers}{'idempotent-replayed'}", '201 true',
   'the same key gets the same answer');
is($again->{body}, $r->{body}, 'byte by byte');
is_problem(checkout($cart, { email => 'b@example.com' },
                    'Idempotency-Key' => $key), 422,
           'idempotency_key_reused', 'with another body it is refused');

$t->nginx->stop;
$t->nginx->start;
$again = checkout($cart, { email => 'a@example.com' },
                  'Idempotency-Key' => $key);
is("$again->{status} $again->{headers}{'idempotent-replayed'}"
   . " $again->{json}{id}", "201 true $r->{json}{id}",
   'a restart forgets no key');
is_problem(checkout($cart, { email => 'b@example.com' },
                    'Idempotency-Key' => $key), 422,
           'idempotency_key_reused', 'nor its body');

is_problem(on_cart('POST', $cart, '/checkout', undef), 400,
           'idempotency_key_missing', 'a key is needed');
is_problem($t->post("/v1/carts/$cart->{id}/checkout", undef,
                    'Idempotency-Key' => $t->key), 401, 'unauthenticated',
           'so is the token');


# taxes, shipping, coupons: worked out by hand

my %us = (country => 'US', region => 'NY');

# 2 x 10.00 + 3.33 = 23.33; 10 % off: 2.33 (233.3 cents); lines 20.00 - 2.00
# and 3.33 - 0.33; 8.875 % of 18.00 is 1.5975: 1.60, of 3.00 is 0.26625: 0.27;
# shipping 5.00, tax 0.44375: 0.44
$r = checkout(cart({ tea => 2, cup => 1 }, 'ten'),
              { shipping => { address => { %us }, method => 'post' } });
is($r->{status}, 201, 'with all of it') or diag($r->{body});
is(sums($r), '2333 233 231 0 500 2831', 'tax on top');
is($r->{json}{coupon}, 'TEN', 'the order says which coupon');
is_deeply([ map { [ @$_{qw(sku total discount tax)} ] }
            @{ $r->{json}{lines} } ],
          [ [ 'cup', 333, 33, 27 ], [ 'tea', 2000, 200, 160 ] ],
          'and what each line has of discount and tax');
is_deeply($t->get("/v1/orders/$r->{json}{id}",
                  'X-Order-Token' => $r->{json}{token})->{json}, $r->{json},
          'the database has the same');

# contained: 20.00 of 19 % contain 3.193: 3.19; shipping 5.00 of 7 % contain
# 0.327: 0.33
$r = checkout(cart({ tea => 2 }),
              { shipping => { address => { country => 'de' },
                              method => 'post' } });
is(sums($r), '2000 0 352 352 500 2500', 'tax that prices contain');

$r = checkout(cart({ tea => 6 }),
              { shipping => { address => { country => 'DE' },
                              method => 'post' } });
is(sums($r), '6000 0 958 958 0 6000', 'shipping is free over an amount');

$cart = cart({ tea => 1 });
on_cart('PUT', $cart, '/shipping', { address => { %us }, method => 'post' });
on_cart('PUT', $cart, '/email', { email => 'ann@example.com' });
my $shown = on_cart('GET', $cart, '');
$r = checkout($cart, { expected_total => $shown->{json}{total} });
is($r->{status}, 201, 'what the cart knows need not be said again')
    or diag($r->{body});
is(sums($r), sums($shown), 'and costs what the cart showed');
is($r->{json}{email}, 'ann@example.com', 'the address is the order\'s');

$r = $t->post('/v1/orders', { currency => 'USD',
    lines => [ { sku => 'tea', quantity => 2 } ],
    shipping => { address => { %us }, method => 'post' } },
    'Idempotency-Key' => $t->key);
is(sums($r), '2000 0 222 0 500 2722', 'buy now has the same rules');


# refusals leave the cart open and nothing held

$cart = cart({ tea => 1, rare => 2 });
$r = checkout($cart, undef);
is_problem($r, 409, 'out_of_stock', 'more than there is');
is(state($cart), 'open', 'the cart is open');
on_cart('PATCH', $cart, '/lines/' . (grep { $_->{sku} eq 'rare' }
    @{ on_cart('GET', $cart, '')->{json}{lines} })[0]{variant_id},
    { quantity => 1 });
is(checkout($cart, undef)->{status}, 201, 'with less it goes');

$cart = cart({ tea => 1 });
$r = checkout($cart, { expected_total => 1 });
is_problem($r, 409, 'price_changed', 'not what was expected');
is($r->{json}{total}, 1000, 'it says what it costs');
is(state($cart), 'open', 'the cart is open');

is_problem(checkout($t->post('/v1/carts', { currency => 'USD' })->{json},
                    undef), 409, 'conflict', 'an empty cart');
is_problem(checkout($cart, { shipping => { address => { country => 'FR' },
                                           method => 'post' } }),
           422, 'invalid_request', 'no such method there');
is_problem(checkout($cart, { lines => [] }), 422, 'invalid_request',
           'a member that is unknown');
is_problem($t->post('/v1/carts/01890a5d-ac96-774b-bcce-b302099a8057/checkout',
                    undef, 'Idempotency-Key' => $t->key,
                    'X-Cart-Token' => $cart->{token}), 404, 'not_found',
           "somebody else's cart");

# a coupon's uses

my @orders = map { checkout(cart({ tea => 1 }, 'TWICE'), undef) } 1 .. 2;
is(join(' ', map { "$_->{status}:$_->{json}{total}" } @orders),
   '201:900 201:900', 'a coupon of two uses');
my $third = cart({ tea => 1 }, 'TEN');
$t->sql("UPDATE commerce.cart SET coupon_code = 'TWICE'"
        . " WHERE id = '$third->{id}'");
$r = checkout($third, undef);
is_problem($r, 409, 'conflict', 'has no third');
is($r->{json}{errors}[0]{code}, 'coupon_used_up', 'and says so');
is(state($third), 'open', 'the cart is open');
$t->post("/v1/orders/$orders[0]{json}{id}/cancel", undef,
         'X-Order-Token' => $orders[0]{json}{token});
is(checkout($third, undef)->{status}, 201,
   'the use of a cancelled order is free again');

is_problem(checkout(cart({ tea => 1 }, 'ONCE-EACH'), undef), 422,
           'invalid_request', 'once each needs to know who');
is(checkout(cart({ tea => 1 }, 'ONCE-EACH'), { email => 'Ann@Example.com' })
     ->{status}, 201, 'once');
$r = checkout(cart({ tea => 1 }, 'ONCE-EACH'),
              { email => 'ann@example.COM' });
is_problem($r, 409, 'conflict', 'not twice, whatever the case');
is(checkout(cart({ tea => 1 }, 'ONCE-EACH'), { email => 'bob@example.com' })
     ->{status}, 201, 'another one may');

my $renamed = cart({ tea => 1 }, 'TEN');
$t->sql("UPDATE commerce.coupon SET code = 'TENTH' WHERE code = 'TEN'");
$r = checkout($renamed, undef);
is_problem($r, 409, 'conflict', 'a coupon that is gone is not left out');
is($r->{json}{errors}[0]{code}, 'unknown_coupon', 'its buyer is told');
on_cart('DELETE', $renamed, '/coupon');
is(checkout($renamed, undef)->{json}{total}, 1000, 'who takes it out');
$t->sql("UPDATE commerce.coupon SET code = 'TEN' WHERE code = 'TENTH'");

# rules that change between two orders, on whatever worker

$t->sql('DELETE FROM commerce.tax_rate');
$t->sql('UPDATE commerce.pricing_rules SET version = version + 1');
$r = checkout(cart({ tea => 2 }), { shipping => { address => { %us } } });
is(sums($r), '2000 0 0 0 0 2000',
   'rules that a worker does not know yet are found by the commit');

is($t->sql('SELECT count(*) FROM commerce.coupon c WHERE used <> (SELECT'
           . ' count(*) FROM commerce.coupon_use u WHERE u.coupon_id = c.id)'),
   0, 'uses and their count agree');
is($t->sql(q{SELECT count(*) FROM commerce.cart c LEFT JOIN commerce.orders o
             ON o.id = c.order_id AND o.cart_id = c.id
             WHERE (c.state = 'ordered') <> (o.id IS NOT NULL)}), 0,
   'every ordered cart has its order');
is($t->sql('SELECT count(*) FROM commerce.orders WHERE total <> subtotal'
           . ' - discount + shipping + tax - tax_included'), 0,
   'every total is its parts');

$t->finish;
