# Double completion by browser and webhook, and a coupon used twice: what
# happens when many check out at once.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;

$t->product('tea', price => 1000, stock => 10_000);

for ([ 'TEN-USES', limit_total => 10 ], [ 'ONE-EACH', limit_per_customer => 1 ])
{
    my ($code, %limit) = @$_;
    my $r = $t->admin('POST', '/v1/admin/coupons', { code => $code,
        kind => 'fixed', amounts => { USD => 100 }, %limit });

    die $r->{body} if $r->{status} != 201;
}


sub cart {
    my ($coupon) = @_;

    my $cart = $t->post('/v1/carts', { currency => 'USD' })->{json};
    my %token = ('X-Cart-Token' => $cart->{token});

    $t->post("/v1/carts/$cart->{id}/lines", { sku => 'tea', quantity => 1 },
             %token);
    $t->put("/v1/carts/$cart->{id}/coupon", { code => $coupon }, %token)
        if $coupon;

    return $cart;
}


sub checkout {
    my ($cart, $body, $key) = @_;

    return [ 'POST', "/v1/carts/$cart->{id}/checkout", $body,
             'X-Cart-Token' => $cart->{token},
             'Idempotency-Key' => $key // $t->key ];
}


sub in_order {
    is($t->sql('SELECT count(*) FROM commerce.coupon c WHERE used <> (SELECT'
               . ' count(*) FROM commerce.coupon_use u'
               . ' WHERE u.coupon_id = c.id)'), 0, 'uses are counted right');
    is($t->sql(q{SELECT count(*) FROM commerce.cart c
                 LEFT JOIN commerce.orders o
                 ON o.id = c.order_id AND o.cart_id = c.id
                 WHERE (c.state = 'ordered') <> (o.id IS NOT NULL)}), 0,
       'a cart is ordered when it has its order');
    is($t->sql('SELECT * FROM commerce.stock_audit'), '',
       'the audit is empty');
}


# medusa#13301: one cart, completed by many at once

my $cart = cart();
my @answers = $t->race(50, [ map { checkout($cart) } 1 .. 50 ], 30);
my %ids = map { ($_->{json}{id} // $_->{body}) => 1 } @answers;

is(scalar keys %ids, 1, '50 checkouts of one cart with 50 keys: one order')
    or diag(join "\n", keys %ids);
is(scalar(grep { $_->{status} == 201 } @answers), 1, 'one made it');
is(scalar(grep { $_->{status} == 200 } @answers), 49, 'the others got it');
is($t->sql('SELECT count(*) FROM commerce.orders'), 1, 'there is no other');

# the same with few keys: replays among them

$cart = cart();
my @keys = map { $t->key } 1 .. 5;
@answers = $t->race(50, [ map { checkout($cart, undef, $keys[$_ % 5]) }
                          1 .. 50 ], 30);
my @final = grep { $_->{status} != 409 } @answers;

is(scalar(grep { $_->{json}{code} ne 'in_progress' }
          grep { $_->{status} == 409 } @answers), 0,
   'refused are only those whose key is at work');
is(scalar(keys %{ { map { $_->{json}{id} => 1 } @final } }), 1,
   'keys used twice: one order');
in_order();

# 20 carts, each by 8 at once, with 40 units to be had by 160 requests

my @carts = map { cart() } 1 .. 20;
@answers = $t->race(64, [ map { checkout($carts[$_ % 20]) } 1 .. 160 ], 30);
is(scalar(keys %{ { map { $_->{json}{id} => 1 } @answers } }), 20,
   '20 carts: 20 orders');
in_order();


# saleor#544: a single-use voucher used twice

@carts = map { cart('TEN-USES') } 1 .. 200;
@answers = $t->race(64, [ map { checkout($_) } @carts ], 60);

my @with = grep { $_->{status} == 201 } @answers;
my @late = grep { $_->{status} == 409 } @answers;

is(scalar @with, 10, 'a coupon with limit 10 under 200 checkouts: 10');
is(scalar @late, 190, 'the others are told')
    or diag(join "\n", map { "$_->{status} $_->{body}" }
            (grep { $_->{status} != 201 && $_->{status} != 409 } @answers)
            [0 .. 2]);
is(scalar(grep { $_->{json}{errors}[0]{code} ne 'coupon_used_up' } @late), 0,
   'that it is used up');
is($t->sql(q{SELECT used FROM commerce.coupon WHERE code = 'TEN-USES'}), 10,
   'exactly 10');
is($t->sql(q{SELECT count(*) FROM commerce.orders
             WHERE coupon_code = 'TEN-USES' AND discount = 100}), 10,
   '10 orders have it');
in_order();

@carts = map { cart('ONE-EACH') } 1 .. 60;
@answers = $t->race(32, [ map { checkout($carts[$_], { email =>
    'buyer' . $_ % 6 . '@example.com' }) } 0 .. 59 ], 60);
is(scalar(grep { $_->{status} == 201 } @answers), 6,
   'once for each of 6 customers');
is(scalar(grep { $_->{status} == 409 } @answers), 54, 'not twice')
    or diag(join "\n", map { "$_->{status} $_->{body}" }
            (grep { $_->{status} != 201 && $_->{status} != 409 } @answers)
            [0 .. 2]);
in_order();


# spree#11286: a line added while the order is made

@carts = map { cart() } 1 .. 20;
my @all = map { (checkout($_), [ 'POST', "/v1/carts/$_->{id}/lines",
    { sku => 'tea', quantity => 1 }, 'X-Cart-Token' => $_->{token} ]) }
    @carts;
@answers = $t->race(40, \@all, 30);
is(scalar(grep { $_->{status} !~ /^(?:200|201|409)$/ } @answers), 0,
   'each is done or refused');
is($t->sql(q{SELECT count(*) FROM commerce.cart c JOIN commerce.orders o
             ON o.id = c.order_id WHERE o.total <> 1000 * (SELECT
             sum(l.quantity) FROM commerce.cart_line l
             WHERE l.cart_id = c.id) AND c.coupon_code IS NULL}), 0,
   'no order is of another cart than the one that was ordered');
in_order();

$t->finish;
