# Staff: products, variants, prices, stock; keys and their scopes.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;
my $true = JSON::PP::true();


sub product {
    my ($slug, %more) = @_;

    return {
        slug => $slug, title => "The $slug",
        variants => [ { sku => $slug, prices => { USD => 1000 } } ], %more,
    };
}


sub has_error {
    my ($r, $pointer, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok((grep { $_->{pointer} eq $pointer } @{ $r->{json}{errors} // [] }),
       "$name: $pointer is named") or diag($r->{body});
}


# create

my $r = $t->admin('POST', '/v1/admin/products', product('tea',
    description => 'Dark', category => 'drinks', published => $true,
    variants => [
        { sku => 'tea-100', title => 'Tea, 100 g', stock => 7,
          options => { size => '100 g' }, prices => { USD => 499, EUR => 459 }
        },
        { sku => 'tea/500%', prices => { USD => 1999 } },
    ]));

is($r->{status}, 201, 'a product is created') or diag($r->{body});
my $product = $r->{json};
is($r->{headers}{location}, "/v1/admin/products/$product->{id}", 'Location');
like($r->{headers}{etag}, qr/^"[^"]+"$/, 'ETag');
is($product->{slug}, 'tea', 'slug');
is($product->{description}, 'Dark', 'description');
is(scalar @{ $product->{variants} }, 2, 'variants');
is_deeply($product->{variants}[0]{prices}, { USD => 499, EUR => 459 },
          'prices');
is_deeply($product->{variants}[0]{options}, { size => '100 g' }, 'options');
is($product->{variants}[0]{title}, 'Tea, 100 g', 'a title of its own');
is($product->{variants}[1]{title}, 'The tea', "else the product's");
is($t->stock('tea-100')->{free}, 7, 'stock is a receipt');
is($t->stock('tea/500%')->{free}, 0, 'a sku with / and %');
is($t->get('/v1/products/tea')->{status}, 200, 'the shop has it at once');

my $path = "/v1/admin/products/$product->{id}";
$r = $t->admin('GET', $path, undef);
is($r->{status}, 200, 'read');
is_deeply($r->{json}, $product, 'as it was answered');
my $etag = $r->{headers}{etag};

is_problem($t->admin('POST', '/v1/admin/products', product('tea')), 409,
           'conflict', 'a slug is unique');
$r = $t->admin('POST', '/v1/admin/products', product('other',
    variants => [ { sku => 'tea-100', prices => { USD => 1 } } ]));
is_problem($r, 409, 'conflict', 'a sku is unique');
has_error($r, '/variants/0/sku', 'a sku that is taken');

for (
    [ product('x', slug => 'Ä b'), '/slug', 'a bad slug' ],
    [ product('x', slug => ''), '/slug', 'an empty slug' ],
    [ product('x', slug => 'a' x 300), '/slug', 'a long slug' ],
    [ product('x', title => ''), '/title', 'an empty title' ],
    [ product('x', title => 'y' x 256), '/title', 'a long title' ],
    [ product('x', title => undef), '/title', 'a title null' ],
    [ product('x', variants => [ { sku => 'a', prices => { usd => 1 } } ]),
      '/variants/0/prices/usd', 'a currency in small letters' ],
    [ product('x', variants => [ { sku => 'a', prices => { USD => -1 } } ]),
      '/variants/0/prices/USD', 'a negative price' ],
    [ product('x', variants => [ { sku => 'a', prices => { USD => 1.5 } } ]),
      '/variants/0/prices/USD', 'a price with a fraction' ],
    [ product('x', variants => [ { sku => 'a', prices => { USD => 1 },
                                   stock => -1 } ]),
      '/variants/0/stock', 'negative stock' ],
    [ product('x', variants => [ { sku => "a\nb", prices => { USD => 1 } } ]),
      '/variants/0/sku', 'a sku with a newline' ],
    [ product('x', variants => [ { prices => { USD => 1 } } ]),
      '/variants/0/sku', 'no sku' ],
    [ product('x', variants => [ map { { sku => 'twice',
                                         prices => { USD => 1 } } } 1, 2 ]),
      '/variants/1/sku', 'a sku twice' ],
    [ product('x', published => 1), '/published', 'a number for a boolean' ],
    [ product('x', color => 1), '/color', 'an unknown member' ],
) {
    my ($body, $pointer, $name) = @$_;

    $r = $t->admin('POST', '/v1/admin/products', $body);
    is_problem($r, 422, 'invalid_request', "$name is refused");
    has_error($r, $pointer, $name);
}


# replace

my $new = product('tea', description => 'Green', variants => [
    { sku => 'tea-100', prices => { USD => 599 } },
    { sku => 'tea-200', prices => { USD => 899 }, stock => 3 },
]);

is_problem($t->admin('PUT', $path, $new), 428, 'precondition_required',
           'without If-Match');
is_problem($t->admin('PUT', $path, $new, 'If-Match' => '"99"'), 412,
           'version_conflict', 'with a stale one');
$r = $t->admin('PUT', $path, $new, 'If-Match' => $etag);
is($r->{status}, 200, 'with the current one') or diag($r->{body});
isnt($r->{headers}{etag}, $etag, 'the version moved');
is($r->{json}{description}, 'Green', 'replaced');
is_deeply([ map { $_->{sku} } grep { !$_->{archived} }
            @{ $r->{json}{variants} } ], [ 'tea-100', 'tea-200' ],
          'the variants too');
is($t->stock('tea-100')->{free}, 7, 'the stock of a kept variant stays');
is($t->order({ 'tea/500%' => 1 })->{status}, 422, 'the other is not sold');
is_problem($t->admin('PUT', $path, $new, 'If-Match' => $etag), 412,
           'version_conflict', 'the old version is gone');
is($t->order({ 'tea-100' => 1 })->{json}{total}, 599,
   'the new price is sold at once');

my @answers = $t->race(8, [ map { [
    'PUT', $path, product('tea', title => "T $_", variants => $new->{variants}),
    'If-Match' => $r->{headers}{etag},
    Authorization => 'Bearer ' . $t->api_key,
] } 1 .. 8 ]);
is(join(' ', sort map { $_->{status} } @answers),
   '200 412 412 412 412 412 412 412', 'of eight at once one wins');

is_problem($t->admin('GET', '/v1/admin/products/'
                     . '01890a5d-ac96-774b-bcce-b302099a8057', undef), 404,
           'not_found', 'an unknown product');


# the list has what is not published

$t->admin('POST', '/v1/admin/products',
          product('hidden', published => JSON::PP::false()));
$r = $t->admin('GET', '/v1/admin/products?limit=1', undef);
is($r->{status}, 200, 'the list');
is(scalar @{ $r->{json}{data} }, 1, 'in pages');
ok($r->{json}{has_more}, 'has more');
$r = $t->admin('GET', "/v1/admin/products?limit=100&after=$r->{json}{next}",
               undef);
ok((grep { $_->{slug} eq 'hidden' } @{ $r->{json}{data} }),
   'with what is not published');
is_problem($t->get('/v1/products/hidden'), 404, 'not_found',
           'which the shop does not show');


# one variant

$r = $t->admin('GET', '/v1/admin/variants/tea-100', undef);
is($r->{status}, 200, 'a variant by its sku');
is($r->{json}{sku}, 'tea-100', 'the right one');
is($t->admin('GET', '/v1/admin/variants/tea%2F500%25', undef)->{json}{sku},
   'tea/500%', 'percent-encoded, with %2F');
is_problem($t->admin('GET', '/v1/admin/variants/TEA-100', undef), 404,
           'not_found', 'case-sensitive');

my $tag = $r->{headers}{etag};
my $variant = '/v1/admin/variants/tea-100';
is_problem($t->admin('PATCH', $variant, { title => 'New' }), 428,
           'precondition_required', 'a change needs If-Match');
is_problem($t->admin('PATCH', $variant, { title => 'New' },
                     'If-Match' => '"77"'), 412, 'version_conflict',
           'the current one');
$r = $t->admin('PATCH', $variant, { title => 'New' }, 'If-Match' => $tag);
is($r->{status}, 200, 'changed') or diag($r->{body});
is($r->{json}{title}, 'New', 'the title');
is($t->order({ 'tea-100' => 1 })->{json}{lines}[0]{title}, 'New',
   'as orders show it');
$r = $t->admin('PATCH', $variant, { size => 1 },
               'If-Match' => $r->{headers}{etag});
is_problem($r, 422, 'invalid_request', 'an unknown member');

$r = $t->admin('GET', $variant, undef);
$r = $t->admin('PUT', '/v1/admin/prices/tea-100',
               { prices => { USD => 650, JPY => 700 } },
               'If-Match' => $r->{headers}{etag});
is($r->{status}, 200, 'prices are replaced') or diag($r->{body});
is($t->order({ 'tea-100' => 1 })->{json}{total}, 650, 'and sold at once');


# stock


sub adjust {
    my ($sku, $body, %headers) = @_;

    return $t->admin('POST', "/v1/admin/stock/$sku/adjustments", $body,
                     'Idempotency-Key' => $t->key, %headers);
}


$t->product('cup', stock => 10);
$r = $t->admin('GET', '/v1/admin/stock/cup', undef);
is($r->{status}, 200, 'stock');
is_deeply($r->{json}, { sku => 'cup', free => 10, leased => 0, held => 0,
                        sold => 0 }, 'of an untouched variant');

$r = adjust('cup', { delta => 5, reason => 'receipt' });
is($r->{status}, 200, 'delta') or diag($r->{body});
is_deeply($r->{json}, { sku => 'cup', free => 15, leased => 0, held => 0,
                        sold => 0 }, 'adds');
is(adjust('cup', { delta => -5, reason => 'broken' })->{json}{free}, 10,
   'and takes');
is(adjust('cup', { set => 12, expected => 10, reason => 'count' })
   ->{json}{free}, 12, 'set with what was expected');
is_problem(adjust('cup', { set => 3, expected => 10, reason => 'count' }),
           409, 'conflict', 'set when it is not so');
is_problem(adjust('cup', { delta => -13, reason => 'x' }), 409, 'conflict',
           'never below zero');
is($t->stock('cup')->{free}, 12, 'a refusal changes nothing');
is(adjust('tea%2F500%25', { delta => 2, reason => 'found' })->{json}{sku},
   'tea/500%', 'a percent-encoded sku');
is($t->sql("SELECT string_agg(m.delta || ' ' || reason, ',' ORDER BY m.id)"
         . ' FROM commerce.stock_movement m JOIN commerce.variant v'
         . " ON v.id = variant_id WHERE sku = 'cup'"),
   '10 receipt,5 receipt,-5 broken,2 count', 'the ledger has each');

my $key = $t->key;
$r = adjust('cup', { delta => 1, reason => 'a' }, 'Idempotency-Key' => $key);
my $again = adjust('cup', { delta => 1, reason => 'a' },
                   'Idempotency-Key' => $key);
is($again->{status}, 200, 'the same key again');
is_deeply($again->{json}, $r->{json}, 'the first answer');
is($again->{headers}{'idempotent-replayed'}, 'true', 'marked as a replay');
is($t->stock('cup')->{free}, 13, 'one adjustment');
is_problem(adjust('cup', { delta => 2, reason => 'a' },
                  'Idempotency-Key' => $key), 422, 'idempotency_key_reused',
           'another payload');
is_problem(adjust('tea-100', { delta => 1, reason => 'a' },
                  'Idempotency-Key' => $key), 422, 'idempotency_key_reused',
           'another sku');
is_problem(adjust('cup', { delta => 1, reason => 'a' },
                  'Idempotency-Key' => undef), 400,
           'idempotency_key_missing', 'no key');
is(adjust('cup', { delta => -1, reason => 'b' }, 'Idempotency-Key' => 's')
   ->{status}, 200, "staff's keys may be short");

@answers = $t->race(8, [ map { [
    'POST', '/v1/admin/stock/cup/adjustments', { delta => 1, reason => 'r' },
    'Idempotency-Key' => $t->key, Authorization => 'Bearer ' . $t->api_key,
] } 1 .. 20 ]);
is(scalar(grep { $_->{status} == 200 } @answers), 20, '20 at once');
is($t->stock('cup')->{free}, 32, 'each counts');

for (
    [ { reason => 'x' }, 'neither' ],
    [ { delta => 1 }, 'no reason' ],
    [ { delta => 1, set => 2, expected => 1, reason => 'x' }, 'both' ],
    [ { delta => 'x', reason => 'x' }, 'a text' ],
    [ { delta => 1.5, reason => 'x' }, 'a fraction' ],
    [ { delta => 3_000_000_000, reason => 'x' }, 'more than 2^31' ],
    [ { set => -1, expected => 32, reason => 'x' }, 'a negative set' ],
    [ { delta => 1, reason => '' }, 'an empty reason' ],
    [ { delta => 1, reason => 'x' x 1000 }, 'a long reason' ],
    [ { delta => 1, reason => 'x', who => 'me' }, 'an unknown member' ],
) {
    is_problem(adjust('cup', $_->[0]), 422, 'invalid_request',
               "$_->[1] is refused");
}

is_problem(adjust('none', { delta => 1, reason => 'x' }), 404, 'not_found',
           'an unknown sku');
$r = adjust('cup', { delta => 2_147_483_647, reason => 'x' });
is_problem($r, 409, 'conflict', 'more units than there can be');
like($r->{json}{detail}, qr/2147483647/, 'the limit is named');
is($r->{json}{stock}{free}, 32, 'with what there is');

# units that are leased but not sold can be taken away too
$t->order({ cup => 1 });
my $stock = $t->stock('cup');
is($stock->{free} + $stock->{leased}, 31, 'one of 32 is held');
my $rest = $stock->{free} + $stock->{leased};
$r = adjust('cup', { delta => -$rest, reason => 'flood' });
is($r->{status}, 200, 'all that is not held is written off')
    or diag($r->{body});
is_problem($t->order({ cup => 1 }), 409, 'out_of_stock', 'nothing to sell');
$stock = $t->stock('cup');
is("$stock->{free} $stock->{leased} $stock->{held}", '0 0 1',
   'what was held stays');


# the limit is for all that is not sold

my $max = 2_147_483_647;
$t->product('sand', stock => $max);
is($t->stock('sand')->{free}, $max, 'as many as there can be');
is_problem(adjust('sand', { delta => 1, reason => 'x' }), 409, 'conflict',
           'one more');
is($t->order({ sand => 3 })->{status}, 201, 'they are sold');
$stock = $t->stock('sand');
is("$stock->{held} " . ($stock->{free} + $stock->{leased}), '3 ' . ($max - 3),
   'three are held');
is_problem(adjust('sand', { delta => 1, reason => 'x' }), 409, 'conflict',
           'what is held counts');
is_problem(adjust('sand', { set => $max, expected => $max - 3,
                            reason => 'x' }), 409, 'conflict', 'for set too');
is(adjust('sand', { delta => -1, reason => 'x' })->{status}, 200, 'one less');
is(adjust('sand', { delta => 1, reason => 'x' })->{status}, 200, 'has room');
$stock = adjust('sand', { set => 1, expected => $max - 3, reason => 'x' })
    ->{json};
is(($stock->{free} // 0) + ($stock->{leased} // 0), 1, 'set to a few');


# the stock's row is what every grant needs: it is not locked for long

$t->product('hot', stock => 5);
my $order = $t->order({ hot => 1 })->{json};
my $hot = "(SELECT id FROM commerce.variant WHERE sku = 'hot')";
my $row = "SELECT 1 FROM commerce.stock WHERE variant_id = $hot"
        . ' FOR UPDATE NOWAIT';
my ($staff, $other) = ($t->session, $t->session);
my $waits = q{SELECT count(*) FROM pg_stat_activity WHERE datname =}
          . q{ current_database() AND wait_event_type = 'Lock'}
          . q{ AND query LIKE '%adjust_stock%' AND pid <> pg_backend_pid()};
my $add = q{SELECT status, answer->>'held', answer->>'sold' FROM}
        . q{ commerce.adjust_stock('hot', 1, NULL, NULL, 'r', 'a', %s, %s)};

$other->query('BEGIN; LOCK TABLE commerce.orders IN ACCESS EXCLUSIVE MODE');
$staff->send(sprintf $add, 'NULL', 'NULL');
ok((wait_until { $t->sql($waits) } 20), 'an adjustment reads the sales');
is($other->query($row), 1, 'while the stock is free');
$other->query('ROLLBACK');
is($staff->read, 'updated|1|0', 'then it adds');

$other->query("BEGIN; $row");
$staff->send(sprintf $add, 'NULL', 'NULL');
ok((wait_until { $t->sql($waits) } 20), 'an adjustment waits for the stock');
$t->pay($order);
$other->query('ROLLBACK');
is($staff->read, 'updated|1|0', 'held and sold were counted before');
is($t->stock('hot')->{sold}, 1, 'now it is sold');

$key = $t->key;
$r = adjust('hot', { delta => 1, reason => 'a' }, 'Idempotency-Key' => $key);
$other->query("BEGIN; $row");
$again = adjust('hot', { delta => 1, reason => 'a' },
                'Idempotency-Key' => $key);
is($again->{body}, $r->{body}, 'a replay needs no lock');
is($again->{headers}{'idempotent-replayed'}, 'true', 'and is one');
my ($idem, $print) = map { "'01890a5d-ac96-774b-bcce-b302099a805$_'" } 1, 2;
my $third = $t->session;
$_->send(sprintf $add, $idem, $print) for $staff, $third;
ok((wait_until { $t->sql($waits) == 2 } 20), 'two with one key wait');
$other->query('ROLLBACK');
is(join(' ', sort map { $_->read } $staff, $third),
   'replayed|0|1 updated|0|1', 'one adds, the other has its answer');
$_->close for $staff, $other, $third;


# who may: before the body is looked at

my $reader = 'Bearer ' . $t->api_key('stock:read');

for (
    [ GET => '/v1/admin/products', 'products:read' ],
    [ POST => '/v1/admin/products', 'products:write' ],
    [ PUT => $path, 'products:write' ],
    [ PATCH => $variant, 'products:write' ],
    [ PUT => '/v1/admin/prices/tea-100', 'products:write' ],
    [ POST => '/v1/admin/stock/cup/adjustments', 'stock:write' ],
    [ POST => '/v1/admin/import', 'products:write' ],
    [ GET => '/v1/admin/orders/01890a5d-ac96-774b-bcce-b302099a8057',
      'orders:read' ],
) {
    my ($method, $target, $scope) = @$_;
    my $body = $method eq 'GET' ? undef : '{';
    my $name = "$method $target";

    $r = $t->request($method, $target, $body);
    is_problem($r, 401, 'unauthenticated', "$name without a key");
    like($r->{headers}{'www-authenticate'} // '', qr/^Bearer/,
         'WWW-Authenticate');
    is_problem($t->request($method, $target, $body,
                           Authorization => 'Bearer nck_' . 'x' x 43), 401,
               'unauthenticated', 'with a wrong key');
    $r = $t->request($method, $target, $body, Authorization => $reader);
    is_problem($r, 403, 'forbidden', 'with a key of another scope');
    like($r->{body}, qr/\Q$scope\E/, "$scope is named");
}

is($t->get('/v1/admin/stock/cup', Authorization => $reader)->{status}, 200,
   'the scope it has is enough');
is($t->request('GET', '/v1/admin/stock/cup', undef,
               Authorization => $reader =~ s/Bearer/bearer/r)->{status}, 200,
   'the scheme in small letters');

for my $bad ('Basic dXNlcjpwYXNz', 'Bearer', 'Bearer ', "$reader=",
             "${reader}x", substr($reader, 0, -1), 'Bearer ' . 'x' x 4000)
{
    is_problem($t->get('/v1/admin/stock/cup', Authorization => $bad), 401,
               'unauthenticated', 'a key that is none');
}

$t->sql(q{UPDATE commerce.api_key SET revoked_at = now()}
      . q{ WHERE scopes = '{stock:read}'});
ok((wait_until {
    $t->get('/v1/admin/stock/cup', Authorization => $reader)->{status} == 401;
} 70), 'a revoked key is refused soon');

my $short = 'Bearer ' . $t->api_key('stock:read', 'orders:read');
is($t->get('/v1/admin/stock/cup', Authorization => $short)->{status}, 200,
   'a key of two scopes');
my $expired = $t->api_key('stock:read', 'stock:write');
$t->sql(q{UPDATE commerce.api_key SET expires_at = now() - interval '1 s'}
      . q{ WHERE scopes = '{stock:read,stock:write}'});
is_problem($t->get('/v1/admin/stock/cup', Authorization => "Bearer $expired"),
           401, 'unauthenticated', 'an expired key');

for (
    [ DELETE => '/v1/admin/products' ], [ DELETE => $path ],
    [ POST => '/v1/admin/stock/cup' ],
    [ GET => '/v1/admin/stock/cup/adjustments' ],
    [ GET => '/v1/admin/import' ],
) {
    $r = $t->admin(@$_, undef);
    is_problem($r, 405, 'method_not_allowed', "@$_");
    ok($r->{headers}{allow}, 'Allow');
}

is_problem($t->admin('GET', '/v1/admin/nothing', undef), 404, 'not_found',
           'no such path');

$t->finish;
