# Prices with quantity tiers: written, read, sold, refused.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;
my $key = 'Bearer ' . $t->api_key;

my $max = 9_007_199_254_740_991;
my $tiered = {
    amount => 1999,
    tiers => [ { quantity => 10, amount => 1799 },
               { quantity => 50, amount => 1499 } ],
};


sub tiers {
    return { amount => shift, tiers => [
        map { { quantity => $_->[0], amount => $_->[1] } } @_ ] };
}


sub product {
    my ($slug, $prices, %more) = @_;

    return { slug => $slug, title => "The $slug", variants => [
        { sku => $slug, prices => $prices, stock => 1_000_000 } ], %more };
}


sub create {
    my $r = $t->admin('POST', '/v1/admin/products', product(@_));

    is($r->{status}, 201, "$_[0] is created") or diag($r->{body});

    return $r->{json};
}


sub variant { return $t->admin('GET', "/v1/admin/variants/$_[0]", undef) }


sub put_prices {
    my ($sku, $prices) = @_;

    return $t->admin('PUT', "/v1/admin/prices/$sku", { prices => $prices },
                     'If-Match' => variant($sku)->{headers}{etag});
}


sub buy {
    my ($lines, %more) = @_;

    return $t->post('/v1/orders', {
        currency => 'USD', %more,
        lines => [ map { { sku => $_->[0], quantity => $_->[1] } } @$lines ],
    }, 'Idempotency-Key' => $t->key);
}


sub unit_price {
    my ($sku, $quantity, %more) = @_;

    my $r = buy([ [ $sku, $quantity ] ], %more);
    my $line = $r->{json}{lines}[0];

    return "$r->{status} $r->{body}" if $r->{status} != 201;
    return 'total is not unit_price * quantity'
        if $line->{total} != $line->{unit_price} * $quantity
        || $r->{json}{subtotal} != $line->{total}
        || $r->{json}{total} != $line->{total};

    return $line->{unit_price};
}


# written and read

my $product = create('tea', { USD => $tiered, EUR => 1800 });
my $tea = $product->{variants}[0];

is_deeply($tea->{prices}, { USD => $tiered, EUR => 1800 },
          'prices with tiers are answered as they were written');
is_deeply(variant('tea')->{json}{prices}, $tea->{prices},
          'the staff reads them so');
is_deeply($t->get('/v1/products/tea')->{json}{variants}[0]{prices},
          $tea->{prices}, 'the shop shows them');
is_deeply($t->get('/v1/products')->{json}{data}[0]{variants}[0]{prices},
          $tea->{prices}, 'in the list too');

create('cup', { USD => { amount => 900, tiers => [] },
                EUR => { amount => 800 } });
is_deeply(variant('cup')->{json}{prices}, { USD => 900, EUR => 800 },
          'a price without tiers is an integer, however it was written');


# sold

for ([ 1, 1999 ], [ 9, 1999 ], [ 10, 1799 ], [ 11, 1799 ], [ 49, 1799 ],
     [ 50, 1499 ], [ 1000, 1499 ])
{
    my ($quantity, $price) = @$_;

    is(unit_price('tea', $quantity), $price, "$quantity at $price each");
}

is(unit_price('tea', 50, currency => 'EUR'), 1800,
   'the tiers are those of the currency');

# https://github.com/medusajs/medusa/pull/16211
my $r = $t->post('/v1/orders', { currency => 'USD', lines => [
    { sku => 'tea', quantity => 6 },
    { sku => 'cup', quantity => 1 },
    { variant_id => $tea->{id}, quantity => 4 },
] }, 'Idempotency-Key' => $t->key);

is($r->{status}, 201, 'two lines of one variant') or diag($r->{body});
is(scalar @{ $r->{json}{lines} }, 2, 'become one');
is("@{ $r->{json}{lines}[0] }{qw(quantity unit_price total)}",
   '10 1799 17990', 'the tier price is right after a line merge');
is($r->{json}{total}, 17_990 + 900, 'in the total too');

my $shown = $t->get("/v1/orders/$r->{json}{id}",
                    'X-Order-Token' => $r->{json}{token});
is_deeply($shown->{json}{lines}, $r->{json}{lines}, 'the order keeps it');
is($t->sql('SELECT sum(quantity * unit_price) FROM commerce.order_line'
         . " WHERE order_id = '$r->{json}{id}'"), 18_890, 'as its rows do');

is(buy([ [ 'tea', 10 ] ], expected_total => 17_990)->{status}, 201,
   'the expected total is that of the tier');
$r = buy([ [ 'tea', 10 ] ], expected_total => 19_990);
is_problem($r, 409, 'price_changed', 'that of the plain price');
is($r->{json}{total}, 17_990, 'is corrected');


# changed

my $before = variant('tea')->{json}{version};
$r = put_prices('tea', { USD => $tiered, EUR => 1800 });
is($r->{json}{version}, $before, 'the same prices are no change');

$r = put_prices('tea', { USD => tiers(1999, [ 10, 1799 ], [ 50, 1399 ]),
                         EUR => 1800 });
is($r->{status}, 200, 'the amount of a tier is changed') or diag($r->{body});
is($r->{json}{version}, $before + 1, 'the version moved');
is($r->{json}{prices}{USD}{tiers}[1]{amount}, 1399, 'it is answered');

for my $price (1398, 1397, 1396) {
    put_prices('tea', { USD => tiers(1999, [ 50, $price ]) });

    my @answers = $t->race(4, [ map { [ 'POST', '/v1/orders', {
        currency => 'USD', lines => [ { sku => 'tea', quantity => 50 } ],
    }, 'Idempotency-Key' => $t->key ] } 1 .. 8 ]);

    is(join(' ', map { $_->{json}{lines}[0]{unit_price} // $_->{body} }
            @answers), join(' ', ($price) x 8),
       "every worker sells at the new tier, $price");
}

is(unit_price('tea', 10), 1999, 'a tier that was left out is gone');
is(buy([ [ 'tea', 1 ] ], currency => 'EUR')->{json}{errors}[0]{code},
   'no_price', 'and so is a currency');

put_prices('tea', { USD => tiers(1999, [ 20, 1799 ]) });
is(unit_price('tea', 19), 1999, 'a tier that moved');
is(unit_price('tea', 20), 1799, 'begins where it is now');

put_prices('tea', { USD => 1999 });
is(unit_price('tea', 50), 1999, 'an integer takes the tiers away');
is($t->sql('SELECT count(*) FROM commerce.price p JOIN commerce.variant v'
         . " ON v.id = p.variant_id WHERE v.sku = 'tea'"), 1,
   'with their rows');

$r = $t->admin('PATCH', '/v1/admin/variants/tea',
               { prices => { USD => tiers(1999, [ 5, 1900 ]) } },
               'If-Match' => variant('tea')->{headers}{etag});
is_deeply($r->{json}{prices}, { USD => tiers(1999, [ 5, 1900 ]) },
          'PATCH of the variant takes tiers');
is(unit_price('tea', 5), 1900, 'and they are sold');

# behind the module's back: no news, the cache of the zone is stale
$t->sql("UPDATE commerce.price SET amount = 1850 WHERE min_quantity = 5;"
      . "UPDATE commerce.variant SET version = version + 1"
      . " WHERE sku = 'tea'");
$r = buy([ [ 'tea', 5 ] ], expected_total => 5 * 1900);
is_problem($r, 409, 'price_changed', 'a stale cache does not sell a tier');
is(unit_price('tea', 5), 1850, 'but at its price of now');


# in carts

my $cart = $t->post('/v1/carts', { currency => 'USD' })->{json};


sub add {
    my ($quantity) = @_;

    return $t->post("/v1/carts/$cart->{id}/lines",
        { sku => 'tea', quantity => $quantity },
        'X-Cart-Token' => $cart->{token})->{json};
}


put_prices('tea', { USD => $tiered });
is(add(6)->{lines}[0]{unit_price}, 1999, 'a cart below the tier');
$r = add(4);
is("@{ $r->{lines}[0] }{qw(quantity unit_price total)}", '10 1799 17990',
   'reaches it by what is added');
is_deeply($r->{warnings}, [], 'which is no change of the price');
put_prices('tea', { USD => tiers(1998, [ 10, 1799 ]) });
$r = $t->get("/v1/carts/$cart->{id}", 'X-Cart-Token' => $cart->{token});
is_deeply($r->{json}{warnings}, [], "nor is another tier's");
put_prices('tea', { USD => tiers(1998, [ 10, 1699 ]) });
$r = $t->get("/v1/carts/$cart->{id}", 'X-Cart-Token' => $cart->{token});
is($r->{json}{subtotal}, 16_990, "a change of the line's own tier is shown");
is(join(' ', map { "$_->{code} $_->{previous} $_->{unit_price}" }
        @{ $r->{json}{warnings} }), 'price_changed 1799 1699', 'and told');


# imported

my ($row) = $t->import_rows({ type => 'product',
    %{ product('ink', { USD => $tiered }) } });
is($row->{status}, 'created', 'a product with tiers is imported');
is(unit_price('ink', 10), 1799, 'and sold');

my @rows = $t->import_rows(
    { type => 'price', sku => 'ink', prices => { USD => $tiered } },
    { type => 'price', sku => 'ink',
      prices => { USD => tiers(1999, [ 10, 1 ]) } },
    { type => 'price', sku => 'ink',
      prices => { USD => tiers(1999, [ 10, 1 ], [ 9, 2 ]) } },
    { type => 'product', %{ product('ink', { USD => tiers(1999, [ 10, 1 ]) })
    } },
    { type => 'product', %{ product('ink', { USD => tiers(1999, [ 10, 3 ]) })
    } });
is(join(' ', map { $_->{status} } @rows),
   'unchanged updated error unchanged updated', 'rows with tiers');
is($rows[2]{problem}{errors}[0]{pointer}, '/prices/USD/tiers/1/quantity',
   'a bad one is named');
is(unit_price('ink', 10), 3, 'the last row counts');


# refused

sub many { return [ map { { quantity => 2 + $_, amount => 5 } } 1 .. $_[0] ] }

for (
    [ { amount => 5, tiers => [ { quantity => 10, amount => 4 },
                                { quantity => 10, amount => 3 } ] },
      '/tiers/1/quantity', 'two tiers of one quantity' ],
    [ { amount => 5, tiers => [ { quantity => 10, amount => 4 },
                                { quantity => 9, amount => 3 } ] },
      '/tiers/1/quantity', 'tiers that fall' ],
    (map { [ { amount => 5, tiers => [ { quantity => $_, amount => 4 } ] },
             '/tiers/0/quantity', "a tier from $_ on" ] }
        -1, 0, 1, 1.5, 1_000_000_001, $max + 1, 'ten'),
    (map { [ { amount => 5, tiers => [ { quantity => 2, amount => $_ } ] },
             '/tiers/0/amount', "a tier at $_" ] } -1, 0.5, $max + 1, 'free'),
    [ { amount => 5, tiers => [ { quantity => 2 } ] }, '/tiers/0/amount',
      'a tier without an amount' ],
    [ { amount => 5, tiers => [ { amount => 2 } ] }, '/tiers/0/quantity',
      'a tier without a quantity' ],
    [ { amount => 5, tiers => [ { quantity => 2, amount => 4, to => 9 } ] },
      '/tiers/0/to', 'a tier with an unknown member' ],
    [ { amount => 5, tiers => [ 4 ] }, '/tiers/0', 'a tier that is a number' ],
    [ { amount => 5, tiers => { 2 => 4 } }, '/tiers', 'tiers as an object' ],
    [ { amount => 5, tiers => undef }, '/tiers', 'tiers null' ],
    [ { amount => 5, tiers => many(9) }, '/tiers', 'nine tiers' ],
    [ { tiers => [] }, '/amount', 'tiers without an amount' ],
    [ { amount => '5' }, '/amount', 'an amount as text' ],
    [ { amount => $max + 1 }, '/amount', 'an amount too large' ],
    [ { amount => 5, tier => [] }, '/tier', 'an unknown member' ],
    [ [ 5 ], '', 'a price that is an array' ],
    [ undef, '', 'a price null' ],
) {
    my ($price, $pointer, $name) = @$_;

    for (
        [ '/variants/0/prices/USD', $t->admin('POST', '/v1/admin/products',
          product('bad', { EUR => 1, USD => $price })) ],
        [ '/prices/USD', put_prices('cup', { EUR => 1, USD => $price }) ],
    ) {
        my ($path, $r) = @$_;

        is_problem($r, 422, 'invalid_request', "$name is refused");
        is($r->{json}{errors}[0]{pointer}, $path . $pointer, 'by its place')
            or diag($r->{body});
    }
}

is_deeply(variant('cup')->{json}{prices}, { USD => 900, EUR => 800 },
          'what was refused changed nothing');


# as many as there can be

my $most = { amount => 100, tiers => many(8) };
my %most = (USD => $most, EUR => $most, GBP => $most, CHF => 1, DKK => 2,
            JPY => 3, NOK => 4, SEK => 5);

is(put_prices('cup', \%most)->{status}, 200, '32 amounts');
is_deeply(variant('cup')->{json}{prices}, \%most, 'are kept');
is(unit_price('cup', 9, currency => 'GBP'), 5, 'below the last tier');
is(unit_price('cup', 2, currency => 'USD'), 100, 'below the first');
is(unit_price('cup', 500, currency => 'JPY'), 3, 'without tiers');

$r = put_prices('cup', { %most, ZAR => 6 });
is_problem($r, 422, 'invalid_request', '33 amounts are refused');
is($r->{json}{errors}[0]{pointer}, '/prices', 'all together');
is($r->{json}{errors}[0]{code}, 'too_many', 'as too many');

put_prices('cup', { USD => tiers($max, [ 2, $max ], [ 1_000_000_000, 0 ]) });
is(unit_price('cup', 1), $max, 'the dearest');
is_problem(buy([ [ 'cup', 2 ] ]), 422, 'invalid_request',
           'no total is beyond what an amount can be');
$t->import_rows({ type => 'stock', sku => 'cup', set => 1_000_000_000,
                  reason => 'many' });
is(unit_price('cup', 1_000_000_000), 0, 'the last tier there can be');


# rows of another hand: a tier needs a price that it is a tier of

create('odd', { USD => 5 });
$t->sql('INSERT INTO commerce.price SELECT id, c, 10, 1 FROM commerce.variant,'
      . " unnest(ARRAY['AAA', 'ZZZ']) c WHERE sku = 'odd';"
      . "UPDATE commerce.variant SET version = version + 1"
      . " WHERE sku = 'odd'");
is_deeply(variant('odd')->{json}{prices}, { USD => 5 },
          'a tier alone is not shown');
is(buy([ [ 'odd', 10 ] ], currency => 'ZZZ')->{json}{errors}[0]{code},
   'no_price', 'and not sold');
is(unit_price('odd', 10), 5, 'and harms no other currency');


# the category: taxes hang on it, so the variants move with it

my $path = "/v1/admin/products/$product->{id}";


sub put_category {
    my ($category) = @_;

    my $r = $t->admin('PUT', $path,
        product('tea', { USD => 1999 }, category => $category),
        'If-Match' => $t->admin('GET', $path, undef)->{headers}{etag});

    is($r->{status}, 200, 'category ' . ($category // 'null'))
        or diag($r->{body});

    return $r->{json}{variants}[0]{version};
}


my $now = put_category('drinks');
is(put_category('drinks'), $now, 'the same category is no change');

for my $category ('food', undef, 'drinks') {
    my $was = $now;

    $now = put_category($category);
    cmp_ok($now, '>', $was, 'the variant has a new version');
}

$t->admin('POST', '/v1/admin/tax-rates', {
    country => 'DE', category => $_->[0], rate => $_->[1] })
    for [ undef, 200_000 ], [ 'food', 70_000 ];

my %there = (shipping => { address => { country => 'DE' } });
my @taxed = map { [ 'POST', '/v1/orders', {
    currency => 'USD', lines => [ { sku => 'tea', quantity => 1 } ], %there,
}, 'Idempotency-Key' => $t->key ] } 1 .. 24;

for ([ 'drinks', 400 ], [ 'food', 140 ], [ undef, 400 ]) {
    my ($category, $tax) = @$_;

    put_category($category);
    is(join(' ', map { $_->{json}{tax} // $_->{body} }
            $t->race(4, [ splice @taxed, 0, 8 ])), join(' ', ($tax) x 8),
       'every worker taxes it so');
}

$t->sql("UPDATE commerce.product SET category = 'food' WHERE slug = 'tea';"
      . "UPDATE commerce.variant SET version = version + 1"
      . " WHERE sku = 'tea'");
$r = buy([ [ 'tea', 1 ] ], %there, expected_total => 1999 + 400);
is_problem($r, 409, 'price_changed', 'a stale cache does not tax');
is($r->{json}{total}, 1999 + 140, 'by the category that was');

$t->finish;
