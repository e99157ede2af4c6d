# What carts and orders cost, against another way to count: tiers, coupons,
# shipping and taxes of all kinds together, and every unit given back.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;
my ($true, $false) = (JSON::PP::true(), JSON::PP::false());
my $one = 1_000_000;
my $seed = 20_261_122;


# Deterministic: the same shop and the same orders in every run.
sub random {
    my ($below) = @_;

    $seed = ($seed * 1_103_515_245 + 12_345) % 2_147_483_648;

    return int($seed / 65_536) % $below;
}


sub half_up {
    my ($amount, $by) = @_;

    use integer;

    return (2 * $amount + $by) / (2 * $by);
}


# The shop: unit prices from quantities on, taxes from the nearest place on.

my %category = (pen => undef, book => 'books', tea => 'food', ink => undef,
                cup => 'cups', gift => 'food');
my %price = (
    pen => [ [ 1, 199 ], [ 10, 179 ], [ 40, 155 ] ],
    book => [ [ 1, 2499 ] ],
    tea => [ [ 1, 333 ], [ 3, 301 ] ],
    ink => [ [ 1, 1 ] ],
    cup => [ [ 1, 899 ], [ 2, 898 ], [ 12, 777 ], [ 30, 701 ] ],
    gift => [ [ 1, 0 ] ],
);

# [ country, region, category ] => [ rate, contained ]
my @rates = (
    [ [ 'DE', undef, undef ], [ 190_000, 1 ] ],
    [ [ 'DE', undef, 'food' ], [ 70_000, 1 ] ],
    [ [ 'DE', undef, 'books' ], [ 70_000, 1 ] ],
    [ [ 'US', undef, undef ], [ 0, 0 ] ],
    [ [ 'US', 'NY', undef ], [ 88_750, 0 ] ],
    [ [ 'US', 'NY', 'food' ], [ 0, 0 ] ],
    [ [ 'CH', undef, undef ], [ 81_000, 1 ] ],
    [ [ 'CH', undef, 'cups' ], [ 333_333, 0 ] ],
    [ [ 'CH', undef, 'shipping' ], [ 26_000, 0 ] ],
    [ [ 'ZZ', undef, undef ], [ 10 * $one, 1 ] ],
    [ [ 'ZZ', undef, 'food' ], [ 10 * $one, 0 ] ],
);
my @places = ([], [ 'DE' ], [ 'US', 'NY' ], [ 'US', 'TX' ], [ 'CH' ],
              [ 'ZZ' ], [ 'FR' ]);
my %method = (std => [ 490, 5000 ], fast => [ 1299, undef ]);
my %coupon = (
    TEN => [ 'percent', 100_000 ], THIRD => [ 'percent', 333_333 ],
    ALL => [ 'percent', $one ], FIVE => [ 'fixed', 500 ],
    MUCH => [ 'fixed', 10_000_000 ], CENT => [ 'fixed', 1 ],
    FREE => [ 'free_shipping' ],
);


sub create {
    my ($what, $body) = @_;

    my $r = $t->admin('POST', "/v1/admin/$what", $body);

    die "$what: $r->{body}\n" if $r->{status} != 201;
}


for my $sku (sort keys %price) {
    my ($base, @tiers) = @{ $price{$sku} };

    create('products', { slug => $sku, title => $sku,
        category => $category{$sku}, variants => [ {
            sku => $sku, stock => 1_000_000, prices => { USD => {
                amount => $base->[1],
                tiers => [ map { { quantity => $_->[0], amount => $_->[1] } }
                           @tiers ],
            } },
        } ] });
}

create('tax-rates', { country => $_->[0][0], region => $_->[0][1],
    category => $_->[0][2], rate => $_->[1][0],
    included => $_->[1][1] ? $true : $false }) for @rates;

create('shipping-methods', { code => $_, title => $_,
    prices => { USD => $method{$_}[0] },
    defined $method{$_}[1] ? (free_over => { USD => $method{$_}[1] }) : (),
}) for sort keys %method;

for (sort keys %coupon) {
    my ($kind, $value) = @{ $coupon{$_} };

    create('coupons', { code => $_, kind => $kind,
        $kind eq 'percent' ? (percent => $value) : (),
        $kind eq 'fixed' ? (amounts => { USD => $value }) : () });
}


# The rules as the documentation has them, in Perl.

sub unit_price {
    my ($sku, $quantity) = @_;

    my ($tier) = grep { $quantity >= $_->[0] } reverse @{ $price{$sku} };

    return $tier->[1];
}


sub rate {
    my ($country, $region, $category) = @_;

    return [ 0, 0 ] unless defined $country;

    for my $wanted ([ $region, $category ], [ $region, undef ],
                    [ undef, $category ], [ undef, undef ])
    {
        my $key = join '/', map { $_ // '' } $country, @$wanted;

        for (@rates) {
            return $_->[1] if join('/', map { $_ // '' } @{ $_->[0] }) eq $key;
        }
    }

    return [ 0, 0 ];
}


sub tax {
    my ($amount, $rate) = @_;

    return half_up($amount * $rate->[0],
                   $rate->[1] ? $one + $rate->[0] : $one);
}


# Largest remainders: what is left of whole numbers, one by one.
sub allocate {
    my ($amount, @weights) = @_;

    my $sum = 0;
    $sum += $_ for @weights;
    return map { 0 } @weights unless $sum;

    use integer;
    my @shares = map { $amount * $_ / $sum } @weights;
    my @rest = map { $amount * $_ % $sum } @weights;
    my $left = $amount;
    $left -= $_ for @shares;

    my @order = sort { $rest[$b] <=> $rest[$a] || $a <=> $b } 0 .. $#weights;
    $shares[$_]++ for @order[0 .. $left - 1];

    return @shares;
}


sub quote {
    my ($lines, $place, $method, $coupon) = @_;

    my ($kind, $value) = @{ $coupon{ $coupon // '' } // [ '' ] };
    my @lines = map { { sku => $_->[0], quantity => $_->[1],
                        unit_price => unit_price(@$_) } } @$lines;
    my %q = (subtotal => 0, discount => 0, shipping => 0, tax => 0,
             tax_included => 0, lines => \@lines);

    for (@lines) {
        $_->{total} = $_->{unit_price} * $_->{quantity};
        $q{subtotal} += $_->{total};
    }

    $q{discount} = half_up($q{subtotal} * $value, $one) if $kind eq 'percent';
    $q{discount} = $value < $q{subtotal} ? $value : $q{subtotal}
        if $kind eq 'fixed';
    my @shares = allocate($q{discount}, map { $_->{total} } @lines);
    $_->{discount} = shift @shares for @lines;

    if (defined $method) {
        my ($amount, $free_over) = @{ $method{$method} };

        $q{shipping} = $kind eq 'free_shipping' || (defined $free_over
            && $q{subtotal} - $q{discount} >= $free_over) ? 0 : $amount;
    }

    for ((map { [ $_, $_->{total} - $_->{discount}, $category{ $_->{sku} } ] }
          @lines), [ {}, $q{shipping}, 'shipping' ])
    {
        my ($line, $amount, $category) = @$_;
        my $rate = rate($place->[0], $place->[1], $category);

        $line->{tax} = tax($amount, $rate);
        $line->{cost} = $amount + ($rate->[1] ? 0 : $line->{tax});
        $q{tax} += $line->{tax};
        $q{tax_included} += $line->{tax} if $rate->[1];
    }

    $q{total} = $q{subtotal} - $q{discount} + $q{shipping} + $q{tax}
        - $q{tax_included};

    return \%q;
}


sub amounts {
    my ($json) = @_;

    return join ' ', map { $json->{$_} // 'none' }
        qw(subtotal discount shipping tax tax_included total);
}


sub lines {
    my ($json) = @_;

    return join ', ', map { my $line = $_; join ' ',
        map { $line->{$_} // 0 } qw(sku quantity unit_price total discount tax)
    } @{ $json->{lines} };
}


# Orders

sub some_lines {
    my %taken;
    my @skus = sort keys %price;

    return map { [ $_, 1 + random(random(3) ? 6 : 60) ] }
        grep { !$taken{$_}++ } map { $skus[random(scalar @skus)] }
        0 .. random(6);
}


sub some {
    my ($set, $often) = @_;

    my @names = sort keys %$set;

    return random(10) < $often ? $names[random(scalar @names)] : undef;
}


sub shipping {
    my ($place, $method) = @_;

    return unless @$place;

    return (shipping => {
        address => { country => $place->[0],
                     defined $place->[1] ? (region => $place->[1]) : () },
        defined $method ? (method => $method) : (),
    });
}


sub lists { return [ map { { sku => $_->[0], quantity => $_->[1] } } @_ ] }


sub order_now {
    my ($lines, $place, $method, $quote) = @_;

    return $t->post('/v1/orders', {
        currency => 'USD', lines => lists(@$lines),
        expected_total => $quote->{total}, shipping($place, $method),
    }, 'Idempotency-Key' => $t->key);
}


sub order_cart {
    my ($lines, $place, $method, $quote, $coupon) = @_;

    my $cart = $t->post('/v1/carts', { currency => 'USD' })->{json};
    my $path = "/v1/carts/$cart->{id}";
    my %token = ('X-Cart-Token' => $cart->{token});

    $t->post("$path/lines", $_, %token) for @{ lists(@$lines) };

    if (my (undef, $shipping) = shipping($place, $method)) {
        $t->put("$path/shipping", $shipping, %token);
    }

    $t->put("$path/coupon", { code => $coupon }, %token) if $coupon;

    my $r = $t->get($path, %token);

    return ($r, $t->post("$path/checkout", {
        expected_total => $quote->{total} }, %token,
        'Idempotency-Key' => $t->key));
}


my @orders;

for my $n (1 .. 120) {
    my $by_cart = $n % 2;
    my @lines = some_lines();
    my $place = $places[random(scalar @places)];
    my $method = @$place ? some(\%method, 7) : undef;
    my $coupon = $by_cart ? some(\%coupon, 7) : undef;
    my $quote = quote(\@lines, $place, $method, $coupon);
    my $name = join ' ', $n, @$place, grep { defined } $method, $coupon;

    my ($r, $cart);
    if ($by_cart) {
        ($cart, $r) = order_cart(\@lines, $place, $method, $quote, $coupon);
        is(amounts($cart->{json}), amounts($quote), "cart $name")
            or diag($cart->{body});
        is(lines($cart->{json}), lines($quote), "its lines");
        is_deeply($cart->{json}{warnings}, [], 'no warnings');

    } else {
        $r = order_now(\@lines, $place, $method, $quote);
    }

    is($r->{status}, 201, "order $name") or diag($r->{body});
    is(amounts($r->{json}), amounts($quote), 'costs that');
    is(lines($r->{json}), lines($quote), 'in its lines');

    my $shown = $t->get("/v1/orders/$r->{json}{id}",
                        'X-Order-Token' => $r->{json}{token})->{json};
    is(amounts($shown), amounts($quote), 'as its row has it');
    is(lines($shown), lines($quote), 'and those of its lines');

    push @orders, [ $r->{json}, $quote ];
}


# What the database has, added up.

is($t->sql('SELECT count(*) FROM commerce.orders'), 120, '120 orders');
is($t->sql('SELECT count(*) FROM commerce.orders WHERE total <> subtotal'
         . ' - discount + shipping + tax - tax_included'), 0,
   'each total is that of its parts');
is($t->sql(<<'END'), 0, 'and the parts those of the lines');
SELECT count(*) FROM commerce.orders o WHERE (subtotal, discount) <>
    (SELECT sum(l.unit_price * l.quantity), sum(l.discount)
     FROM commerce.order_line l WHERE l.order_id = o.id)
    OR shipping = 0 AND (tax, tax_included) <>
    (SELECT sum(l.tax), coalesce(sum(l.tax) FILTER (WHERE l.tax_included), 0)
     FROM commerce.order_line l WHERE l.order_id = o.id)
END


# Every unit comes back, in pieces: the pieces are the whole.

for my $n (map { 5 * $_ } 1 .. 12) {
    my ($order, $quote) = @{ $orders[$n] };
    my $returned = 0;

    next unless $order->{total};
    is($t->pay($order)->{json}{state}, 'succeeded', "order $n is paid");

    for my $line (@{ $quote->{lines} }) {
        my ($done, $cost) = (0, 0);

        # what is worth nothing is no refund when all the money is back
        while ($done < $line->{quantity}
               && $returned + $cost < $quote->{total})
        {
            my $units = 1 + random($line->{quantity} - $done);
            my $r = $t->admin('POST',
                "/v1/admin/orders/$order->{id}/refunds",
                { lines => [ { sku => $line->{sku}, quantity => $units } ] },
                'Idempotency-Key' => $t->key);
            my $wanted = half_up($line->{cost} * ($done + $units),
                                 $line->{quantity})
                - half_up($line->{cost} * $done, $line->{quantity});

            if ($r->{status} != 201 || $r->{json}{amount} != $wanted) {
                fail("$units of $line->{sku} are worth $wanted");
                diag($r->{body});
                last;
            }

            $cost += $wanted;
            $done += $units;
        }

        is($cost, $line->{cost}, "$line->{quantity} $line->{sku} in pieces");
        $returned += $cost;
    }

    if ($returned < $quote->{total}) {
        my $r = $t->admin('POST', "/v1/admin/orders/$order->{id}/refunds",
                          {}, 'Idempotency-Key' => $t->key);

        is($r->{json}{amount}, $quote->{total} - $returned,
           'what is left is the shipping with its tax') or diag($r->{body});
    }

    my $shown = $t->get("/v1/orders/$order->{id}",
                        'X-Order-Token' => $order->{token})->{json};
    is("$shown->{state} $shown->{refunded}", "refunded $quote->{total}",
       'all of it is back');
}

# At the edge of what an amount can be.

my $max = 9_007_199_254_740_991;

%price = (%price, gold => [ [ 1, $max ] ], coin => [ [ 1, 1 ] ]);
create('products', { slug => $_, title => $_,
    category => $_ eq 'gold' ? undef : 'food', variants => [ {
        sku => $_, stock => 10, prices => { USD => $price{$_}[0][1] } } ] })
    for qw(gold coin);
create('shipping-methods', { code => 'dear', title => 'dear',
                             prices => { USD => $max } });

for (
    # lines, place, method, coupon: subtotal, discount, shipping, tax,
    # tax included, total
    [ [ 'gold' ], [], undef, undef, [ $max, 0, 0, 0, 0, $max ] ],
    [ [ 'gold' ], [ 'ZZ' ], undef, undef,
      [ $max, 0, 0, (8_188_362_958_855_446) x 2, $max ] ],
    [ [ 'gold' ], [ 'DE' ], undef, 'THIRD',
      [ $max, 3_002_396_749_180_579, 0, (958_749_979_879_394) x 2,
        6_004_802_505_560_412 ] ],
    [ [ 'gold' ], [ 'DE' ], 'std', 'ALL', [ $max, $max, 490, 78, 78, 490 ] ],
    [ [ 'coin' ], [ 'FR' ], 'dear', 'CENT', [ 1, 1, $max, 0, 0, $max ] ],
    [ [ 'gold' ], [ 'FR' ], 'dear', 'FREE', [ $max, 0, 0, 0, 0, $max ] ],
    [ [ qw(gold coin) ], [], undef, undef ],
    [ [ qw(gold coin) ], [], undef, 'ALL' ],
    [ [ 'gold' ], [ 'DE' ], 'fast', undef ],
    [ [ 'gold' ], [ 'US', 'NY' ], undef, undef ],
    [ [ 'coin' ], [ 'FR' ], 'dear', undef ],
    [ [ 'coin' ], [ 'US', 'NY' ], 'dear', 'CENT' ],
) {
    my ($skus, $place, $method, $coupon, $wanted) = @$_;
    my $name = join ' ', @$skus, @$place, grep { defined } $method, $coupon;
    my ($cart, $r) = order_cart([ map { [ $_, 1 ] } @$skus ], $place, $method,
                                { total => $wanted ? $wanted->[5] : 0 },
                                $coupon);

    if ($wanted) {
        is(amounts($cart->{json}), "@$wanted", "cart of $name");
        is($r->{status}, 201, "order of $name") or diag($r->{body});
        is(amounts($r->{json}), "@$wanted", 'costs that');

    } else {
        is($cart->{json}{total}, undef, "cart of $name: no total");
        is(join(' ', map { $_->{code} } @{ $cart->{json}{warnings} }),
           'out_of_range', 'but a warning');
        is_problem($r, 422, 'invalid_request', "order of $name");
    }
}

$t->finish;
