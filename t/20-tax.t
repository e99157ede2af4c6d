# What an order costs with taxes and shipping: each amount by hand.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;
my ($true, $false) = (JSON::PP::true(), JSON::PP::false());
my %rate;


sub rate {
    my ($country, $region, $category, $rate, $included) = @_;

    my $r = $t->admin('POST', '/v1/admin/tax-rates', {
        country => $country, region => $region, category => $category,
        rate => $rate, included => $included ? $true : $false,
    });

    die "tax rate: $r->{body}\n" if $r->{status} != 201;

    return $r->{headers}{location};
}


sub product {
    my ($sku, $category, %prices) = @_;

    my ($row) = $t->import_rows({
        type => 'product', slug => $sku, title => $sku,
        category => $category, variants => [
            { sku => $sku, prices => \%prices, stock => 1_000_000 },
        ],
    });

    die "product $sku\n" if $row->{status} ne 'created';
}


sub order {
    my ($lines, $shipping, %more) = @_;

    return $t->post('/v1/orders', {
        currency => 'USD', %more,
        lines => [ map { { sku => $_, quantity => $lines->{$_} } }
                   sort keys %$lines ],
        $shipping ? (shipping => $shipping) : (),
    }, 'Idempotency-Key' => $t->key);
}


sub at {
    my ($country, $region, $method) = @_;

    return {
        address => { country => $country,
                     defined $region ? (region => $region) : () },
        defined $method ? (method => $method) : (),
    };
}


# subtotal, tax and what of it prices contain, shipping, total
sub amounts {
    my ($r, $wanted, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $json = $r->{json} // {};

    is(join(' ', map { $json->{$_} // '-' }
            qw(subtotal tax tax_included shipping total)), $wanted, $name)
        or diag($r->{body});
}


product('pen', undef, USD => 1000, EUR => 950);
product('book', 'books', USD => 999);
product('tea', 'food', USD => 333);


# no rule, no tax

amounts(order({ pen => 2 }, at('DE')), '2000 0 0 0 2000', 'no rates');


# contained in prices

rate('DE', undef, undef, 190_000, 1);
amounts(order({ pen => 1 }, at('DE')), '1000 160 160 0 1000',
        '19 % in it: 159.66');
amounts(order({ book => 2 }, at('DE')), '1998 319 319 0 1998',
        'another category: the same rate');
rate('DE', undef, 'books', 70_000, 1);
amounts(order({ book => 2 }, at('DE')), '1998 131 131 0 1998',
        'until it has its own, of 7 %: 130.71');
amounts(order({ book => 2, pen => 1 }, at('DE')), '2998 291 291 0 2998',
        'each line by its own');
amounts(order({ pen => 1 }, at('de')), '1000 160 160 0 1000',
        'a country in small letters');
amounts(order({ pen => 1 }), '1000 0 0 0 1000', 'without an address: none');
amounts(order({ pen => 1 }, at('AT')), '1000 0 0 0 1000',
        'elsewhere: none');


# on top, by region

rate('US', undef, undef, 10_000);
rate('US', undef, 'food', 20_000);
amounts(order({ pen => 1 }, at('US')), '1000 10 0 0 1010', '1 % on top');
amounts(order({ tea => 1 }, at('US')), '333 7 0 0 340',
        '2 % of a category: 6.66');
amounts(order({ pen => 1 }, at('US', 'New York')), '1000 10 0 0 1010',
        'a region without a rate: the one of its country');
rate('US', 'New York', undef, 88_750);
amounts(order({ pen => 1 }, at('US', 'New York')), '1000 89 0 0 1089',
        'with one: 88.75');
amounts(order({ pen => 1 }, at('US', 'NEW york')), '1000 89 0 0 1089',
        'in whatever case');
amounts(order({ tea => 1 }, at('US', 'New York')), '333 30 0 0 363',
        "a region's rate goes before a category's: 29.55");
rate('US', 'New York', 'food', 0);
amounts(order({ tea => 1 }, at('US', 'New York')), '333 0 0 0 333',
        'and one for both before either');
amounts(order({ pen => 1 }, at('US', 'Ohio')), '1000 10 0 0 1010',
        'another region: the country');
amounts(order({ pen => 1, tea => 1, book => 1 }, at('US', 'New York')),
        '2332 178 0 0 2510', 'rounded by line: 89 + 0 + 89');
amounts(order({ book => 1 }, at('US', 'New Yor')), '999 10 0 0 1009',
        'the start of a name is no name');


# shipping

my $methods = '/v1/admin/shipping-methods';
my $std = $t->admin('POST', $methods, {
    code => 'std', title => 'Standard', countries => [ qw(DE US) ],
    prices => { USD => 500 }, free_over => { USD => 3000 },
})->{headers}{location};

amounts(order({ pen => 1 }, at('US', undef, 'std')), '1000 15 0 500 1515',
        'shipping, 1 % on it as well');
amounts(order({ pen => 1 }, at('DE', undef, 'std')),
        '1000 240 240 500 1500', 'taxes in both: 159.66 and 79.83');
amounts(order({ pen => 3 }, at('US', undef, 'std')), '3000 30 0 0 3030',
        'free from the amount on');
amounts(order({ pen => 2, book => 1 }, at('US', undef, 'std')),
        '2999 35 0 500 3534', 'and a cent below it is not');
rate('US', undef, 'shipping', 0);
amounts(order({ pen => 1 }, at('US', undef, 'std')), '1000 10 0 500 1510',
        'shipping has a category');

for (
    [ at('US', undef, 'boat'), 'an unknown method' ],
    [ at('US', undef, 'STD'), 'another case' ],
    [ at('FR', undef, 'std'), 'a country that it does not serve' ],
    [ { method => 'std' }, 'no address', 'required' ],
) {
    my $r = order({ pen => 1 }, $_->[0]);

    is_problem($r, 422, 'invalid_request', "$_->[1] is refused");
    is($r->{json}{errors}[0]{code}, $_->[2] // 'unknown_method',
       "$_->[1]: why");
}

is_problem(order({ pen => 1 }, at('DE', undef, 'std'), currency => 'EUR'),
           422, 'invalid_request', 'a method without a price in the currency');
$t->admin('PUT', $std, { code => 'std', title => 'Standard',
                         prices => { USD => 500 }, active => $false },
          'If-Match' => 1);
is_problem(order({ pen => 1 }, at('DE', undef, 'std')), 422,
           'invalid_request', 'nor one that is not active');


# rules that changed behind the worker's back do not sell

amounts(order({ pen => 1 }, at('DE')), '1000 160 160 0 1000', 'as before');
my $behind = q{UPDATE commerce.tax_rate SET rate = %d WHERE country = 'DE' }
           . q{AND category IS NULL; }
           . q{UPDATE commerce.pricing_rules SET version = version + 1};
$t->sql(sprintf $behind, 200_000);
amounts(order({ pen => 1 }, at('DE')), '1000 167 167 0 1000',
        'the rate of today: 166.67');
$t->sql(q{UPDATE commerce.tax_rate SET included = false; }
      . sprintf $behind, 250_000);
my $r = order({ pen => 1 }, at('DE'), expected_total => 1000);
is_problem($r, 409, 'price_changed', 'not at another total');
is($r->{json}{total}, 1250, 'and it says which');
amounts(order({ pen => 1 }, at('DE'), expected_total => 1250),
        '1000 250 0 0 1250', 'but at this one');


# nor do they refuse

for my $total (1200, 1250) {
    $t->sql(sprintf $behind, 1000 * $total - 1_000_000);
    amounts(order({ pen => 1 }, at('DE'), expected_total => $total),
            join(' ', 1000, $total - 1000, 0, 0, $total),
            "the new total is right: $total");
}

$t->sql(q{INSERT INTO commerce.shipping_method (id, code, title, countries, }
      . q{prices, free_over) SELECT gen_random_uuid(), 'new', title, }
      . q{countries, prices, free_over FROM commerce.shipping_method }
      . q{WHERE code = 'std'; }
      . q{UPDATE commerce.pricing_rules SET version = version + 1});
is(order({ pen => 1 }, at('DE', undef, 'new'))->{status}, 201,
   'nor is a new method unknown');

$t->finish;
