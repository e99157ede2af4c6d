# Carts: what is in them, what they cost, who sees them, when they are refused.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2);

$t->sql(<<'SQL');
INSERT INTO commerce.tax_rate (id, country, region, category, rate, included)
VALUES (commerce.uuid_v7(), 'US', 'TX', NULL, 82500, false),
       (commerce.uuid_v7(), 'DE', NULL, NULL, 190000, true);
INSERT INTO commerce.shipping_method (id, code, title, countries, prices,
    free_over)
VALUES (commerce.uuid_v7(), 'parcel', 'Parcel', '{US}', '{"USD": 700}',
        '{"USD": 5000}'),
       (commerce.uuid_v7(), 'euro', 'Euro parcel', '{DE}', '{"EUR": 500}',
        NULL);
INSERT INTO commerce.coupon (id, code, kind, percent, amounts, minimum,
    ends_at, limit_total, used, active)
VALUES (commerce.uuid_v7(), 'TEN', 'percent', 100000, NULL, NULL, NULL, NULL,
        0, true),
       (commerce.uuid_v7(), 'FIVER', 'fixed', NULL, '{"USD": 500}',
        '{"USD": 4000}', NULL, NULL, 0, true),
       (commerce.uuid_v7(), 'OLD', 'percent', 1, NULL, NULL,
        now() - interval '1 second', NULL, 0, true),
       (commerce.uuid_v7(), 'GONE', 'percent', 1, NULL, NULL, NULL, 3, 3,
        true),
       (commerce.uuid_v7(), 'OFF', 'percent', 1, NULL, NULL, NULL, NULL, 0,
        false),
       (commerce.uuid_v7(), 'EURO', 'fixed', NULL, '{"EUR": 500}', NULL, NULL,
        NULL, 0, true);
SQL

$t->start;
$t->product('tea', price => 499, stock => 10_000, title => 'Green tea');
$t->product('cup', price => 1250, stock => 10_000);
$t->product('rare', price => 5000, stock => 3);
$t->product('none', price => 1, stock => 0);
$t->product('euro', price => 100, currency => 'EUR', stock => 10);

my $none = '01890a5d-ac96-774b-bcce-b302099a8057';


sub cart {
    my ($currency, %headers) = @_;

    return $t->post('/v1/carts', { currency => $currency // 'USD' }, %headers)
        ->{json};
}


# A request on a cart; the path is relative to it.
sub on {
    my ($cart, $method, $path, $body, %headers) = @_;

    return $t->request($method, "/v1/carts/$cart->{id}$path", $body,
                       'X-Cart-Token' => $cart->{token}, %headers);
}


sub add {
    my ($cart, $sku, $quantity, %headers) = @_;

    return on($cart, 'POST', '/lines',
              { sku => $sku, quantity => $quantity }, %headers);
}


sub show { return on($_[0], 'GET', '') }


sub lines {
    my ($response) = @_;

    return join ', ', map { "$_->{sku} $_->{quantity}" }
        @{ $response->{json}{lines} };
}


sub id_of {
    my ($sku) = @_;

    return $t->sql("SELECT id FROM commerce.variant WHERE sku = '$sku'");
}


sub warnings {
    my ($response) = @_;

    return join ', ', map { "$_->{code} $_->{target}" }
        @{ $response->{json}{warnings} };
}


sub is_error {
    my ($response, $pointer, $code, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is_problem($response, 422, 'invalid_request', $name);
    is(join(' ', map { "$_->{pointer} $_->{code}" }
            @{ $response->{json}{errors} // [] }), "$pointer $code",
       "with $code at $pointer");
}


# a new cart

my $r = $t->post('/v1/carts', { currency => 'USD' });
my $cart = $r->{json};

is($r->{status}, 201, 'a cart') or diag($r->{body});
is($r->{headers}{location}, "/v1/carts/$cart->{id}", 'Location');
is($r->{headers}{etag}, '"1"', 'ETag is its version');
is($r->{headers}{'cache-control'}, 'no-store', 'nobody keeps a copy');
like($cart->{id}, qr/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]/,
     'its id is a UUIDv7');
like($cart->{token}, qr/^[A-Za-z0-9_-]{43}$/, "the owner's token");
is("@$cart{qw(version state currency)}", '1 open USD', 'open and empty');
is_deeply($cart->{lines}, [], 'no lines');
is("@$cart{qw(subtotal discount tax tax_included shipping total)}",
   '0 0 0 0 0 0', 'which costs nothing');
is_deeply($cart->{warnings}, [], 'no warnings');

my $time = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/;
like($cart->{created_at}, $time, 'created_at is RFC 3339');
like($cart->{expires_at}, $time, 'expires_at too');
is($t->sql('SELECT round(extract(epoch FROM expires_at - created_at))'
         . " FROM commerce.cart WHERE id = '$cart->{id}'"), 30 * 86_400,
   'it lives for 30 days');

$r = show($cart);
is($r->{status}, 200, 'it can be read');
is($r->{headers}{etag}, '"1"', 'with its ETag');
is_deeply($r->{json}, { map { $_ => $cart->{$_} }
                        grep { $_ ne 'token' } keys %$cart },
          'as it was answered, but for the token');

for (
    [ {}, '/currency', 'required' ],
    [ { currency => 'usd' }, '/currency', 'invalid_value' ],
    [ { currency => 'USDX' }, '/currency', 'too_long' ],
    [ { currency => 1 }, '/currency', 'wrong_type' ],
    [ { currency => 'USD', lines => [] }, '/lines', 'unknown_member' ],
) {
    my ($body, $pointer, $code) = @$_;

    is_error($t->post('/v1/carts', $body), $pointer, $code, 'a bad cart');
}


# lines

$r = add($cart, 'tea', 2);
is($r->{status}, 200, 'a line') or diag($r->{body});
is($r->{headers}{etag}, '"2"', 'the version has moved');
is($r->{json}{version}, 2, 'in the body too');
ok(!exists $r->{json}{token}, 'the token is not shown again');
my ($line) = @{ $r->{json}{lines} };
is_deeply([ sort keys %$line ],
          [ qw(quantity sku title total unit_price variant_id) ],
          'the members of a line');
is("@$line{qw(sku title quantity unit_price total)}",
   'tea Green tea 2 499 998', 'its values');
is("@{ $r->{json} }{qw(subtotal total)}", '998 998', 'totals');

$r = on($cart, 'POST', '/lines', { variant_id => id_of('cup'),
                                   quantity => 1 });
is(lines($r), 'tea 2, cup 1', 'lines come in the order of their first add');
$r = add($cart, 'tea', 3);
is(lines($r), 'tea 5, cup 1', 'the same article adds to its line');
is($r->{json}{total}, 5 * 499 + 1250, 'total');
is_deeply($r->{json}{warnings}, [], 'nothing to warn of');
is($r->{json}{version}, 4, 'three writes later');
is(lines(show($cart)), 'tea 5, cup 1', 'so it is read');

my $tea = '/lines/' . id_of('tea');
my $cup = '/lines/' . id_of('cup');

$r = on($cart, 'PATCH', $tea, { quantity => 1 });
is($r->{status}, 200, 'PATCH') or diag($r->{body});
is(lines($r), 'tea 1, cup 1', 'sets the quantity');
is($r->{json}{version}, 5, 'and moves the version');
$r = on($cart, 'DELETE', $tea);
is($r->{status}, 200, 'DELETE') or diag($r->{body});
is(lines($r), 'cup 1', 'removes the line');
is($r->{json}{total}, 1250, 'it costs nothing any more');
is(lines(add($cart, 'tea', 1)), 'cup 1, tea 1', 'added again it is the last');

is_problem(on($cart, 'PATCH', "/lines/$none", { quantity => 1 }), 404,
           'not_found', 'PATCH of a line that is not there');
is_problem(on($cart, 'DELETE', "/lines/$none"), 404, 'not_found',
           'DELETE of one');
is_problem(on($cart, 'DELETE', '/lines/tea'), 404, 'not_found',
           'an id that is none');
is(show($cart)->{json}{version}, 7, 'what is refused moves nothing');

for (
    [ { sku => 'tea' }, '/quantity', 'required' ],
    [ { sku => 'tea', quantity => 0 }, '/quantity', 'out_of_range' ],
    [ { sku => 'tea', quantity => -1 }, '/quantity', 'out_of_range' ],
    [ { sku => 'tea', quantity => 1_000_000_001 }, '/quantity',
      'out_of_range' ],
    [ { sku => 'tea', quantity => '2' }, '/quantity', 'wrong_type' ],
    [ { quantity => 1 }, '', 'invalid_value' ],
    [ { sku => 'tea', variant_id => $none, quantity => 1 }, '',
      'invalid_value' ],
    [ { sku => 'TEA', quantity => 1 }, '/sku', 'unknown_variant' ],
    [ { variant_id => $none, quantity => 1 }, '/variant_id',
      'unknown_variant' ],
    [ { variant_id => 'x' x 36, quantity => 1 }, '/variant_id',
      'invalid_value' ],
    [ { sku => 'euro', quantity => 1 }, '/sku', 'no_price' ],
    [ { sku => 'tea', quantity => 1, price => 1 }, '/price',
      'unknown_member' ],
) {
    my ($body, $pointer, $code) = @$_;

    is_error(on($cart, 'POST', '/lines', $body), $pointer, $code,
             'a bad line');
}

is_error(on($cart, 'PATCH', $cup, { quantity => 0 }), '/quantity',
         'out_of_range', 'quantity 0 is no way to remove a line');
$r = add($cart, 'cup', 1_000_000_000);
is_error($r, '/quantity', 'out_of_range', 'a sum beyond what a line can hold');
is(show($cart)->{json}{version}, 7, 'none of these has moved it');


# a total that is no amount any more is told, not wrapped around

$t->import_rows({ type => 'product', slug => 'dear', title => 'Dear',
    variants => [ { sku => 'dear',
                    prices => { USD => 9_007_199_254_740_991 } } ] });
my $dear = cart();
$r = add($dear, 'dear', 3);
is($r->{status}, 200, 'too much for an amount');
is($r->{json}{total}, undef, 'has no total');
is((grep { $_->{target} eq '/total' } @{ $r->{json}{warnings} })[0]{code},
   'out_of_range', 'but a warning');


# If-Match

my $strict = cart();
is(add($strict, 'tea', 1, 'If-Match' => '"1"')->{status}, 200,
   'If-Match with the version');
$r = add($strict, 'tea', 1, 'If-Match' => '"1"');
is_problem($r, 412, 'version_conflict', 'a stale version');
is_problem(on($strict, 'DELETE', $tea, undef, 'If-Match' => '"1"'), 412,
           'version_conflict', 'for DELETE too');
is_problem(add($strict, 'tea', 1, 'If-Match' => '"x"'), 412,
           'version_conflict', 'what is no version');
is(lines(add($strict, 'tea', 1, 'If-Match' => '"2"')), 'tea 2',
   'the present one');
is(lines(add($strict, 'tea', 1, 'If-Match' => '*')), 'tea 3',
   'whatever version');


# Idempotency-Key: a retry does not add twice

my $kept = cart();
my $key = $t->key;
$r = add($kept, 'tea', 2, 'Idempotency-Key' => $key);
ok(!exists $r->{headers}{'idempotent-replayed'}, 'a key');
add($kept, 'cup', 1);
$r = add($kept, 'tea', 2, 'Idempotency-Key' => $key);
is($r->{status}, 200, 'again');
is($r->{headers}{'idempotent-replayed'}, 'true', 'is a replay');
is(lines($r), 'tea 2, cup 1', 'of the cart as it is now');
is($r->{json}{version}, 3, 'which has not moved');
is_problem(add($kept, 'tea', 3, 'Idempotency-Key' => $key), 422,
           'idempotency_key_reused', 'the key with another line');
is(lines(add(cart(), 'tea', 2, 'Idempotency-Key' => $key)), 'tea 2',
   'another cart is another scope');
is_problem(add($kept, 'tea', 1, 'Idempotency-Key' => 'x' x 256), 400,
           'idempotency_key_invalid', 'a key that is too long');

$r = add($kept, 'tea', 2, 'Idempotency-Key' => $key, 'If-Match' => '"1"');
is($r->{status}, 200, 'a retry with the version of the first try is the same');

my $made = cart('USD', 'Idempotency-Key' => $key);
$r = $t->post('/v1/carts', { currency => 'USD' }, 'Idempotency-Key' => $key);
is("$r->{status} $r->{headers}{'idempotent-replayed'}", '201 true',
   'a retry of a new cart');
is($r->{json}{id}, $made->{id}, 'is the same cart');
is($r->{json}{token}, $made->{token}, 'with its token');
is_problem($t->post('/v1/carts', { currency => 'EUR' },
                    'Idempotency-Key' => $key), 422,
           'idempotency_key_reused', 'not with another currency');
is_problem($t->post('/v1/carts', { currency => 'USD' },
                    'Idempotency-Key' => 'short'), 400,
           'idempotency_key_invalid', "a guest's key has to be long");

my $first = $t->key;
my @both = $t->race(16, [ map { [ 'POST', '/v1/carts', { currency => 'USD' },
    'Idempotency-Key' => $first ] } 1 .. 16 ]);
my %made = map { ($_->{json}{id} // $_->{status}) => 1 } @both;
is(scalar keys %made, 1, 'a shop front that starts twice has one cart');


# who sees it

my $other = cart();
my $path = "/v1/carts/$cart->{id}";

for my $method (qw(GET POST PATCH DELETE PUT)) {
    my $sub = { POST => '/lines', PATCH => $tea, DELETE => $tea,
                PUT => '/email' }->{$method} // '';
    my $body = $method =~ /^P/ ? '{' : undef;

    $r = $t->request($method, "$path$sub", $body);
    is_problem($r, 401, 'unauthenticated', "$method without a token");
    is_problem($t->request($method, "$path$sub", $body,
                           'X-Cart-Token' => $other->{token}), 404,
               'not_found', "$method with another cart's token");
}

ok($t->get($path)->{headers}{'www-authenticate'}, 'WWW-Authenticate');
is_problem($t->get("/v1/carts/$none", 'X-Cart-Token' => $cart->{token}), 404,
           'not_found', 'an unknown cart');
is_problem($t->get('/v1/carts/nonsense', 'X-Cart-Token' => $cart->{token}),
           404, 'not_found', 'an id that is none');

my $order = $t->order({ tea => 1 })->{json};
is_problem($t->get("/v1/carts/$order->{id}",
                   'X-Cart-Token' => $order->{token}), 404, 'not_found',
           "an order's token opens no cart");

$r = on($cart, 'PUT', '', {});
is_problem($r, 405, 'method_not_allowed', 'PUT of a cart');
is($r->{headers}{allow}, 'GET, HEAD', 'Allow');
$r = on($cart, 'GET', $tea);
is_problem($r, 405, 'method_not_allowed', 'GET of a line');
is($r->{headers}{allow}, 'PATCH, DELETE', 'Allow');
is_problem(on($cart, 'GET', '/lines/x/y'), 404, 'not_found',
           'a path with a segment more');
is_problem(on($cart, 'PATCH', '/lines/', { quantity => 1 }), 404, 'not_found',
           'and one with a segment less');


# warnings

my $warned = cart();
add($warned, 'tea', 1);
add($warned, 'cup', 2);
$t->import_rows({ type => 'price', sku => 'cup', prices => { USD => 1300 } });
$r = show($warned);
is(warnings($r), 'price_changed /lines/1', 'a price has moved');
is("@{ $r->{json}{warnings}[0] }{qw(unit_price previous)}", '1300 1250',
   'from and to');
is($r->{json}{total}, 499 + 2 * 1300, 'the total is that of today');
is(warnings(on($warned, 'PATCH', $cup, { quantity => 1 })), '',
   'who touches the line has seen it');
$t->import_rows({ type => 'price', sku => 'cup', prices => { USD => 1250 } });
on($warned, 'PATCH', $cup, { quantity => 1 });

$r = add($warned, 'rare', 4);
is(warnings($r), 'insufficient_stock /lines/2', 'more than there are');
is($r->{json}{warnings}[0]{available}, 3, 'how many there are');
is($r->{json}{total}, 499 + 1250 + 4 * 5000, 'it is in the cart all the same');
is(warnings(on($warned, 'PATCH', '/lines/' . id_of('rare'),
               { quantity => 3 })), '', 'as many as there are');
is($t->order({ rare => 3 })->{status}, 201, 'somebody else buys them');
is_problem($t->order({ rare => 1 }), 409, 'out_of_stock', 'all of them');
is(warnings(show($warned)), 'out_of_stock /lines/2', 'then none is left');
is(warnings(add($warned, 'none', 1)),
   'out_of_stock /lines/2, out_of_stock /lines/3',
   'nor of what was never there');

$t->import_rows({ type => 'product', slug => 'cup', title => 'The cup',
    published => JSON::PP::false(), variants => [
        { sku => 'cup', prices => { USD => 1250 } } ] });
$r = show($warned);
is(warnings($r), 'unavailable /lines/1, out_of_stock /lines/2, '
   . 'out_of_stock /lines/3', 'what is not sold any more');
is($r->{json}{lines}[1]{total}, undef, 'has no price');
is($r->{json}{lines}[1]{title}, 'The cup', 'but its name');
is($r->{json}{total}, 499 + 3 * 5000 + 1, 'and is not in the total');
is(on($warned, 'PATCH', $cup, { quantity => 3 })->{status}, 200,
   'it can be changed');
is(on($warned, 'DELETE', $cup)->{status}, 200, 'and removed');
is_error(add($warned, 'cup', 1), '/sku', 'unknown_variant',
         'but not added');
$t->product('cup', price => 1250);


# e-mail

my $full = cart();
add($full, 'tea', 2);
$r = on($full, 'PUT', '/email', { email => 'Ann@Example.com' });
is($r->{status}, 200, 'an e-mail address') or diag($r->{body});
is($r->{json}{email}, 'Ann@Example.com', 'as given');
is($r->{json}{version}, 3, 'is a write');
is_error(on($full, 'PUT', '/email', { email => 'ann' }), '/email',
         'invalid_value', 'what is none');
is_error(on($full, 'PUT', '/email', {}), '/email', 'required', 'nothing');
$r = on($full, 'PUT', '/email', { email => undef });
is($r->{status}, 200, 'null takes it back') or diag($r->{body});
ok(!exists $r->{json}{email}, 'and it is gone');
is($r->{json}{version}, 4, 'by a write');


# address and shipping method: 998 for the tea, 7.00 for the parcel, 8.25 %
# of the goods

$r = on($full, 'PUT', '/shipping', { method => 'parcel', address => {
    name => 'Ann', city => 'Austin', region => 'TX', country => 'US' } });
is($r->{status}, 200, 'address and method') or diag($r->{body});
is_deeply($r->{json}{delivery}, { method => 'parcel', address => {
    name => 'Ann', city => 'Austin', region => 'TX', country => 'US' } },
    'are kept');
is("@{ $r->{json} }{qw(subtotal shipping)}", '998 700', 'the parcel costs');
is($r->{json}{lines}[0]{tax}, 82, '998 x 0.0825 = 82.3, rounded');
is($r->{json}{total}, $r->{json}{subtotal} - $r->{json}{discount}
   + $r->{json}{shipping} + $r->{json}{tax} - $r->{json}{tax_included},
   'the total is the sum of its parts');
$r = add($full, 'cup', 4);
is("@{ $r->{json} }{qw(subtotal shipping)}", '5998 0',
   'from 50.00 on it is free');

is_error(on($full, 'PUT', '/shipping', { method => 'parcel',
         address => { country => 'DE' } }), '/method', 'unknown_method',
         'a method of another country');
is_error(on($full, 'PUT', '/shipping', { method => 'euro',
         address => { country => 'DE' } }), '/method', 'unknown_method',
         'one without a price in the currency');
is_error(on($full, 'PUT', '/shipping', { method => 'parcel' }), '/address',
         'required', 'a method without a country');
is_error(on($full, 'PUT', '/shipping', { address => { country => '1A' } }),
         '/address/country', 'invalid_value', 'what is no country');
is_error(on($full, 'PUT', '/shipping', { address => { planet => 'Mars' } }),
         '/address/planet', 'unknown_member', 'what no address has');

$r = on($full, 'PUT', '/shipping', { address => { country => 'de' } });
is($r->{status}, 200, 'an address alone, in small letters');
is($r->{json}{shipping}, 0, 'ships for nothing as yet');
is($r->{json}{tax}, $r->{json}{tax_included}, 'German prices contain the tax');
is($r->{json}{total}, 5998, 'so the total stays');
cmp_ok($r->{json}{tax}, '>', 900, 'a sixth of it is tax');
$r = on($full, 'PUT', '/shipping', {});
ok(!exists $r->{json}{delivery}, 'an empty one takes it back');
is($r->{json}{tax}, 0, 'and the tax');


# coupons

my $bought = cart();
add($bought, 'tea', 3);
$r = on($bought, 'PUT', '/coupon', { code => 'ten' });
is($r->{status}, 200, 'a coupon, whatever its case') or diag($r->{body});
is($r->{json}{coupon}, 'TEN', 'as it is spelled');
is("@{ $r->{json} }{qw(subtotal discount total)}", '1497 150 1347',
   'ten per cent of 1497, rounded half up');
is($r->{json}{lines}[0]{discount}, 150, 'on the line');

for (
    [ 'NOSUCH', 'unknown_coupon' ], [ 'OLD', 'coupon_expired' ],
    [ 'GONE', 'coupon_used_up' ], [ 'OFF', 'coupon_inactive' ],
    [ 'EURO', 'coupon_currency' ],
) {
    my ($code, $why) = @$_;

    is_error(on($bought, 'PUT', '/coupon', { code => $code }), '/code', $why,
             "the coupon $code");
}

is_error(on($bought, 'PUT', '/coupon', { code => '' }), '/code', 'too_short',
         'no code');
is(show($bought)->{json}{coupon}, 'TEN', 'the one before stays');

$r = on($bought, 'PUT', '/coupon', { code => 'FIVER' });
is($r->{status}, 200, 'one that needs more in the cart');
is(warnings($r), 'coupon_minimum /coupon', 'comes with a warning');
is($r->{json}{discount}, 0, 'and without a discount');
$r = add($bought, 'cup', 3);
is(warnings($r), '', 'until there is enough');
is("@{ $r->{json} }{qw(subtotal discount total)}", '5247 500 4747',
   'then it counts');
is($r->{json}{lines}[0]{discount} + $r->{json}{lines}[1]{discount}, 500,
   'over all lines');

$t->sql("UPDATE commerce.coupon SET active = false WHERE code = 'FIVER'");
is(warnings(show($bought)), 'coupon_inactive /coupon',
   'one that was switched off later');
$t->sql("DELETE FROM commerce.coupon WHERE code = 'FIVER'");
is(warnings(show($bought)), 'unknown_coupon /coupon', 'one that is gone');
$r = on($bought, 'DELETE', '/coupon');
is($r->{status}, 200, 'DELETE of the coupon');
ok(!exists $r->{json}{coupon}, 'takes it back');
is($r->{json}{total}, 5247, 'the discount too');


# a cart that was ordered

my $done = cart();
add($done, 'tea', 1);
$t->sql("UPDATE commerce.cart SET state = 'ordered', version = version + 1,"
      . " order_id = '$order->{id}' WHERE id = '$done->{id}'");
$r = show($done);
is("$r->{status} @{ $r->{json} }{qw(state order_id)}",
   "200 ordered $order->{id}", 'an ordered cart names its order');
is(lines($r), 'tea 1', 'and has its lines');

for (
    [ 'POST', '/lines', { sku => 'tea', quantity => 1 } ],
    [ 'PATCH', $tea, { quantity => 2 } ], [ 'DELETE', $tea ],
    [ 'PUT', '/email', { email => 'a@b.de' } ],
    [ 'PUT', '/coupon', { code => 'TEN' } ], [ 'DELETE', '/coupon' ],
    [ 'PUT', '/shipping', { method => 'parcel',
                            address => { country => 'US' } } ],
) {
    my ($method, $sub, $body) = @$_;

    is_problem(on($done, $method, $sub, $body), 409, 'conflict',
               "$method $sub");
}


# one whose time is over

my $late = cart();
$key = $t->key;
add($late, 'tea', 1, 'Idempotency-Key' => $key);
$t->sql('UPDATE commerce.cart SET expires_at = now() - interval'
      . " '1 second' WHERE id = '$late->{id}'");
is_problem(show($late), 404, 'not_found', 'an expired cart is not there');
is_problem(add($late, 'tea', 1), 404, 'not_found', 'not for writes either');
is_problem(add($late, 'tea', 1, 'Idempotency-Key' => $key), 404, 'not_found',
           'nor for one that was done before');
ok((wait_until {
    $t->sql("SELECT count(*) FROM commerce.cart WHERE id = '$late->{id}'")
        == 0
} 15), 'and swept');
is_problem(add($late, 'tea', 1, 'Idempotency-Key' => $key), 404, 'not_found',
           'a key outlives its cart');
is($t->sql('SELECT count(*) FROM commerce.cart_line'
         . " WHERE cart_id = '$late->{id}'"), 0, 'with its lines');
is(lines(show($kept)), 'tea 2, cup 1', 'no other is');


# what must agree

is($t->sql('SELECT count(*) FROM commerce.cart c WHERE lines <> (SELECT'
         . ' count(*) FROM commerce.cart_line l WHERE l.cart_id = c.id)'), 0,
   'every cart knows the number of its lines');
is($t->sql("SELECT count(*) FROM commerce.stock_movement WHERE reason !="
         . " 'receipt'"), 0, 'carts take no stock');

$t->finish;
