# Staff: tax rates and shipping methods; what a buyer sees of the latter.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;
my ($true, $false) = (JSON::PP::true(), JSON::PP::false());
my $nobody = '01890a5d-ac96-774b-bcce-b302099a8057';


sub version { return $t->sql('SELECT version FROM commerce.pricing_rules') }


sub pointers {
    my ($r) = @_;

    return join ' ', sort map { $_->{pointer} } @{ $r->{json}{errors} // [] };
}


sub choices {
    my ($country, $currency, $nginx) = @_;

    my $r = ($nginx // $t->nginx)->get(
        "/v1/shipping-methods?country=$country&currency=$currency");

    return join ' ', map { "$_->{code}:$_->{price}" } @{ $r->{json}{data} };
}


# a tax rate

my $rates = '/v1/admin/tax-rates';
my $before = version();
my $r = $t->admin('POST', $rates,
                  { country => 'DE', rate => 190_000, included => $true });

is($r->{status}, 201, 'a rate is created') or diag($r->{body});
my $rate = $r->{json};
my $path = "$rates/$rate->{id}";
is($r->{headers}{location}, $path, 'Location');
is($r->{headers}{etag}, '"1"', 'ETag');
delete @{ $rate }{qw(created_at updated_at)};
is_deeply($rate, { id => $rate->{id}, country => 'DE', region => undef,
                   category => undef, rate => 190_000, included => $true,
                   version => 1 }, 'as it was given');
is(version(), $before + 1, "the rules' version moves");

$r = $t->admin('GET', $path, undef);
is("$r->{status} $r->{json}{rate} $r->{headers}{etag}", '200 190000 "1"',
   'read');

$r = $t->admin('PUT', $path, { country => 'DE', rate => 200_000 });
is_problem($r, 428, 'precondition_required', 'a change needs If-Match');
$r = $t->admin('PUT', $path, { country => 'DE', rate => 200_000 },
               'If-Match' => '"2"');
is_problem($r, 412, 'version_conflict', 'of the current version');
$r = $t->admin('PUT', $path, { country => 'DE', rate => 200_000 },
               'If-Match' => '"1"');
is("$r->{status} $r->{json}{rate} $r->{headers}{etag}", '200 200000 "2"',
   'replaced') or diag($r->{body});
is($r->{json}{included}, $false, 'what is left out is as it is by itself');
$before = version();
$r = $t->admin('PUT', $path, { country => 'DE', rate => 200_000 },
               'If-Match' => '"2"');
is($r->{headers}{etag}, '"2"', 'no change is no version');
is(version(), $before, 'and no news');

is_problem($t->admin('DELETE', $path, undef), 428, 'precondition_required',
           'the end needs If-Match too');
is_problem($t->admin('DELETE', $path, undef, 'If-Match' => '"1"'), 412,
           'version_conflict', 'of the current version too');
is($t->admin('DELETE', $path, undef, 'If-Match' => '"2"')->{status}, 204,
   'deleted');
is(version(), $before + 1, "the rules' version moves");
is_problem($t->admin('DELETE', $path, undef, 'If-Match' => '"2"'), 404,
           'not_found', 'once');
is_problem($t->admin('GET', $path, undef), 404, 'not_found', 'gone');
is_problem($t->admin('PUT', $path, { country => 'DE', rate => 1 },
                     'If-Match' => '"2"'), 404, 'not_found', 'for good');
is_problem($t->admin('GET', "$rates/x", undef), 404, 'not_found', 'no id');


# one for each place and category

for (
    [ { country => 'US', rate => 0 }, 'a country' ],
    [ { country => 'US', region => 'New York', rate => 88_750 }, 'a region' ],
    [ { country => 'US', category => 'food', rate => 0 }, 'a category' ],
    [ { country => 'US', region => 'New York', category => 'food',
        rate => 0 }, 'both' ],
    [ { country => 'US', category => 'Food', rate => 0 },
      'categories have a case' ],
) {
    is($t->admin('POST', $rates, $_->[0])->{status}, 201, $_->[1]);
    is_problem($t->admin('POST', $rates, $_->[0]), 409, 'conflict',
               "$_->[1]: once");
}

$r = $t->admin('POST', $rates, { country => 'US', region => 'NEW YORK',
                                 rate => 1 });
is_problem($r, 409, 'conflict', 'regions have none');
is(pointers($r), '/country', 'and it says where');

$r = $t->admin('POST', $rates, { country => 'CA', rate => 50_000 });
$r = $t->admin('PUT', "$rates/$r->{json}{id}", { country => 'US', rate => 0 },
               'If-Match' => '"1"');
is_problem($r, 409, 'conflict', 'nor can one become another');

for (
    [ { rate => 1 }, '/country', 'no country' ],
    [ { country => 'de', rate => 1 }, '/country', 'small letters' ],
    [ { country => 'DEU', rate => 1 }, '/country', 'three letters' ],
    [ { country => 'DE' }, '/rate', 'no rate' ],
    [ { country => 'DE', rate => -1 }, '/rate', 'a negative rate' ],
    [ { country => 'DE', rate => 10_000_001 }, '/rate', 'over 1000 %' ],
    [ { country => 'DE', rate => 0.19 }, '/rate', 'a fraction' ],
    [ { country => 'DE', rate => 1, region => '' }, '/region',
      'an empty region' ],
    [ { country => 'DE', rate => 1, category => 'x' x 129 }, '/category',
      'a long category' ],
    [ { country => 'DE', rate => 1, included => 1 }, '/included',
      'a number for a boolean' ],
    [ { country => 'DE', rate => 1, city => 'x' }, '/city',
      'an unknown member' ],
) {
    my ($body, $pointer, $name) = @$_;

    $r = $t->admin('POST', $rates, $body);
    is_problem($r, 422, 'invalid_request', "$name is refused");
    is(pointers($r), $pointer, "$name is named");
}


# lists

$r = $t->admin('GET', "$rates?limit=4", undef);
is(scalar @{ $r->{json}{data} }, 4, 'a page');
ok($r->{json}{has_more}, 'has more');
my @seen = @{ $r->{json}{data} };
$r = $t->admin('GET', "$rates?limit=4&after=$r->{json}{next}", undef);
push @seen, @{ $r->{json}{data} };
is(join(' ', map { $_->{country} } @seen), 'US US US US US CA',
   'all in the order of creation');
is_deeply([ @{ $r->{json} }{qw(has_more next)} ], [ $false, undef ],
          'and the end');
$r = $t->admin('GET', "$rates?country=ca", undef);
is(join(' ', map { $_->{country} } @{ $r->{json}{data} }), 'CA',
   'of one country');
is_problem($t->admin('GET', "$rates?country=%01", undef), 422,
           'invalid_request', 'that is no country');


# keys and scopes

is_problem($t->get($rates), 401, 'unauthenticated', 'not without a key');
my %reader = (Authorization => 'Bearer ' . $t->api_key('pricing:read'));
my %other = (Authorization => 'Bearer ' . $t->api_key('products:*'));

for my $kind (qw(tax-rates shipping-methods coupons)) {
    is($t->get("/v1/admin/$kind", %reader)->{status}, 200, "$kind: a reader");
    $r = $t->get("/v1/admin/$kind", %other);
    is_problem($r, 403, 'forbidden', "$kind: another scope");
    is($r->{json}{scope}, 'pricing:read', "$kind: the one that it takes");

    for ([ 'POST', '' ], [ 'PUT', "/$nobody" ], [ 'DELETE', "/$nobody" ]) {
        my ($method, $rest) = @$_;

        $r = $t->request($method, "/v1/admin/$kind$rest", {}, %reader);
        is_problem($r, 403, 'forbidden', "$kind: a reader and $method");
        is($r->{json}{scope}, 'pricing:write', "$kind: $method takes more");
    }
}

is($t->request('PATCH', "$rates/$nobody", {}, %reader)->{headers}{allow},
   'GET, HEAD, PUT, DELETE', 'methods');


# a shipping method

my $methods = '/v1/admin/shipping-methods';
$r = $t->admin('POST', $methods, {
    code => 'std', title => 'Standard', countries => [ qw(DE AT DE) ],
    prices => { USD => 500, EUR => 450 }, free_over => { USD => 5000 },
    position => 2,
});
is($r->{status}, 201, 'a method is created') or diag($r->{body});
my $std = $r->{headers}{location};
my $method = $r->{json};
delete @{ $method }{qw(id created_at updated_at)};
is_deeply($method, {
    code => 'std', title => 'Standard', countries => [ qw(AT DE) ],
    prices => { USD => 500, EUR => 450 }, free_over => { USD => 5000 },
    active => $true, position => 2, version => 1,
}, 'countries are sorted, each once');

$r = $t->admin('POST', $methods, { code => 'std', title => 'x',
                                   prices => { USD => 1 } });
is_problem($r, 409, 'conflict', 'a code is unique');
is(pointers($r), '/code', 'and it says where');

for (
    [ { title => 'x', prices => { USD => 1 } }, '/code', 'no code' ],
    [ { code => 'a b', title => 'x', prices => { USD => 1 } }, '/code',
      'a blank' ],
    [ { code => 'a', title => '', prices => { USD => 1 } }, '/title',
      'no title' ],
    [ { code => 'a', title => 'x' }, '/prices', 'no prices' ],
    [ { code => 'a', title => 'x', prices => {} }, '/prices', 'no price' ],
    [ { code => 'a', title => 'x', prices => { usd => 1 } }, '/prices/usd',
      'a currency in small letters' ],
    [ { code => 'a', title => 'x', prices => { USD => -1 } }, '/prices/USD',
      'a negative price' ],
    [ { code => 'a', title => 'x', prices => { USD => { amount => 1 } } },
      '/prices/USD', 'a price with tiers' ],
    [ { code => 'a', title => 'x', prices => { USD => 1 },
        free_over => { USD => '1' } }, '/free_over/USD', 'a text' ],
    [ { code => 'a', title => 'x', prices => { USD => 1 },
        countries => [] }, '/countries', 'no country' ],
    [ { code => 'a', title => 'x', prices => { USD => 1 },
        countries => [ 'DE', 'dk', 3 ] }, '/countries/1 /countries/2',
      'what is no country' ],
) {
    my ($body, $pointer, $name) = @$_;

    $r = $t->admin('POST', $methods, $body);
    is_problem($r, 422, 'invalid_request', "$name is refused");
    is(pointers($r), $pointer, "$name is named");
}

$t->admin('POST', $methods, { code => 'express', title => 'Express',
                              prices => { USD => 1900 }, position => 1 });
$r = $t->admin('POST', $methods, { code => 'boat', title => 'Boat',
                                   prices => { USD => 0 }, position => 9 });
my $boat = $r->{headers}{location};


# what a buyer can choose from

$r = $t->get('/v1/shipping-methods?country=DE&currency=USD');
is($r->{status}, 200, 'the list') or diag($r->{body});
is_deeply($r->{json}, { data => [
    { code => 'express', title => 'Express', price => 1900,
      free_over => undef },
    { code => 'std', title => 'Standard', price => 500, free_over => 5000 },
    { code => 'boat', title => 'Boat', price => 0, free_over => undef },
], has_more => $false, next => undef }, 'by position');
is(choices('DE', 'EUR'), 'std:450', 'with a price in the currency');
is(choices('FR', 'USD'), 'express:1900 boat:0', 'that serve the country');
is(choices('at', 'eur'), 'std:450', 'in whatever case');
is(choices('XX', 'JPY'), '', 'or none');

for ('', '?country=DE', '?currency=USD', '?country=DEU&currency=USD',
     '?country=DE&currency=US', '?country=D1&currency=USD',
     '?country=&currency=')
{
    is_problem($t->get("/v1/shipping-methods$_"), 422, 'invalid_request',
               "a request with \"$_\"");
}

is_problem($t->post('/v1/shipping-methods', {}), 405, 'method_not_allowed',
           'buyers only read');


# a write is seen by the next request on any worker, each time

my $version = 1;
my @wrong;

for my $price (1 .. 30) {
    $r = $t->admin('PUT', $boat, { code => 'boat', title => 'Boat',
                                   prices => { XTS => $price } },
                   'If-Match' => $version++);

    my @got = $t->race(6, [ map { [
        'GET', '/v1/shipping-methods?country=DE&currency=XTS' ] } 1 .. 6 ]);

    push @wrong, map { $_->{body} }
        grep { ($_->{json}{data}[0]{price} // -1) != $price } @got;
}

is(scalar @wrong, 0, '30 prices, each seen at once by all')
    or diag($wrong[0]);

$t->admin('PUT', $boat, { code => 'boat', title => 'Boat', active => $false,
                          prices => { XTS => 1 } }, 'If-Match' => $version);
is(choices('DE', 'XTS'), '', 'what is not active is not shown');
is($t->admin('GET', $boat, undef)->{json}{active}, $false,
   'but to the staff');
$t->admin('DELETE', $boat, undef, 'If-Match' => $version + 1);
is(choices('DE', 'USD'), 'express:1900 std:500', 'nor what is deleted');


# another instance; of one worker, so that it is the same one that is asked

my $other = $t->instance(workers => 1);
$other->start;
is(choices('DE', 'EUR', $other), 'std:450', 'another instance has it too');

for my $price (1 .. 3) {
    $t->admin('PUT', $std, { code => 'std', title => 'S',
                             prices => { EUR => $price } },
              'If-Match' => $price);
    ok((wait_until { choices('DE', 'EUR', $other) eq "std:$price" } 10),
       "and hears of a change: $price");
}

# a change whose news nobody gets, and an end of what listens
$t->sql(q{UPDATE commerce.shipping_method SET prices = '{"EUR": 4}' }
      . q{WHERE code = 'std'; SELECT count(pg_terminate_backend(pid)) FROM }
      . q{pg_stat_activity WHERE datname = current_database() AND }
      . q{application_name LIKE 'commerce/%/listen'});
ok((wait_until { choices('DE', 'EUR', $other) eq 'std:4' } 20),
   'news that was missed');


# requests that wait for the rules share one reading, and its fate

sub crowd {
    my ($answers) = @_;

    my @clients = map { $t->client } 1 .. 8;
    my $get = Commerce::Test::Client::render(
        'GET', '/v1/shipping-methods?country=DE&currency=EUR');

    $_->send_raw($get) for @clients;

    return sub {
        return join ' ', map { ($_->read_response // {})->{status} // 0 }
            @clients;
    };
}


my $holder = $t->session;
my $waiting = q{SELECT count(*) FROM pg_stat_activity WHERE datname = }
            . q{current_database() AND wait_event_type = 'Lock' AND }
            . q{query LIKE '%commerce.tax_rate%'};

$holder->query('BEGIN; LOCK TABLE commerce.tax_rate IN ACCESS EXCLUSIVE MODE');
$t->admin('PUT', $std, { code => 'std', title => 'S', prices => { EUR => 5 } },
          'If-Match' => '"4"');
my $read = crowd();
ok((wait_until { $t->sql($waiting) > 0 } 10), 'they wait');
cmp_ok($t->sql($waiting), '<=', 2, 'one reading for each worker');
$holder->query('ROLLBACK');
is($read->(), join(' ', (200) x 8), 'and are answered');
is(choices('DE', 'EUR'), 'std:5', 'with what is new');

$holder->query('BEGIN; LOCK TABLE commerce.tax_rate IN ACCESS EXCLUSIVE MODE');
$t->admin('PUT', $std, { code => 'std', title => 'S', prices => { EUR => 6 } },
          'If-Match' => '"5"');
$read = crowd();
ok((wait_until { $t->sql($waiting) > 0 } 10), 'others wait');
$t->sql($waiting =~ s/count\(\*\)/count(pg_terminate_backend(pid))/r);
$holder->query('ROLLBACK');
my @fates = split / /, $read->();
is(scalar(grep { $_ == 200 || $_ == 503 } @fates), 8, 'all are answered')
    or diag("@fates");
ok((grep { $_ == 503 } @fates), 'those whose reading was lost too');
ok((wait_until { choices('DE', 'EUR') eq 'std:6' } 10), 'the next one reads');


# writers at the same time

my @answers = $t->race(8, [ map { [
    'PUT', $std, { code => 'std', title => "T $_", prices => { EUR => 7 } },
    'If-Match' => '6', Authorization => 'Bearer ' . $t->api_key,
] } 1 .. 8 ]);
is(join(' ', sort map { $_->{status} } @answers),
   '200 412 412 412 412 412 412 412', 'of eight changes one wins');

$before = version();
@answers = $t->race(8, [ map { [
    'POST', $rates, { country => 'FR', rate => 200_000 },
    Authorization => 'Bearer ' . $t->api_key,
] } 1 .. 8 ]);
is(join(' ', sort map { $_->{status} } @answers),
   '201 409 409 409 409 409 409 409', 'of eight new ones too');
is(version(), $before + 1, 'one change of the rules');


# there is an end

$t->sql(q{INSERT INTO commerce.shipping_method (id, code, title, prices) }
      . q{SELECT commerce.uuid_v7(), 'm' || n, 'M', '{"USD": 1}' }
      . q{FROM generate_series(1, 250 - (SELECT count(*) }
      . q{FROM commerce.shipping_method)) n});
$r = $t->admin('POST', $methods, { code => 'more', title => 'M',
                                   prices => { USD => 1 } });
is_problem($r, 409, 'conflict', 'more than 250 methods');
like($r->{json}{detail}, qr/as many/, 'and why');
is($t->admin('PUT', $std, { code => 'std', title => 'S',
                            prices => { EUR => 8 } }, 'If-Match' => '7')
   ->{status}, 200, 'the ones there are can be changed');
is(scalar(split / /, choices('DE', 'USD')), 249, 'a long list');

$t->sql(q{INSERT INTO commerce.tax_rate (id, country, region, rate) }
      . q{SELECT commerce.uuid_v7(), 'IT', 'r' || n, 1 }
      . q{FROM generate_series(1, 10000 - (SELECT count(*) }
      . q{FROM commerce.tax_rate)) n});
is_problem($t->admin('POST', $rates, { country => 'ES', rate => 1 }), 409,
           'conflict', 'more than 10000 rates');

$t->finish;
