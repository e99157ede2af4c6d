# The public catalogue: pages, filters, one product, caching by ETag.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;

my $r = $t->get('/v1/products');
is($r->{status}, 200, 'an empty catalogue is a list');
is_deeply($r->{json}{data}, [], 'without data');
ok(!$r->{json}{has_more}, 'and without more');
ok(exists $r->{json}{has_more}, 'which is said');
ok(!defined $r->{json}{next}, 'there is no cursor');
like($r->{headers}{'content-type'}, qr{^application/json}, 'it is JSON');


# pages

my @rows = $t->import_rows(map { {
    type => 'product', slug => sprintf('item-%02d', $_),
    title => "Item $_", category => $_ % 3 ? 'tea' : 'Cups & more',
    published => JSON::PP::true(),
    variants => [ { sku => "sku-$_", prices => { USD => 100 + $_ },
                    stock => 50 } ],
} } 1 .. 25);

is(scalar(grep { $_->{status} eq 'created' } @rows), 25, '25 are imported');


sub pages {
    my ($query) = @_;

    my ($after, @items, $pages) = ('');

    for (1 .. 50) {
        my $page = $t->get('/v1/products?' . $query
            . ($after ne '' ? "&after=$after" : ''));

        $page->{status} == 200
            or return diag("$query: $page->{status} $page->{body}");
        $pages++;
        push @items, @{ $page->{json}{data} };

        return ($pages, @items) unless $page->{json}{has_more};

        $after = $page->{json}{next} // return diag('no cursor');
        $after =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ge;
    }

    return diag('pages without an end');
}


$r = $t->get('/v1/products');
is(scalar @{ $r->{json}{data} }, 20, 'a page has 20 unless asked otherwise');
ok($r->{json}{has_more}, 'has_more');
ok(length $r->{json}{next}, 'and the cursor of the next');

for my $limit (1, 7, 25, 100) {
    my ($pages, @items) = pages("limit=$limit");
    my %seen = map { $_->{slug} => 1 } @items;

    is(scalar @items, 25, "limit=$limit: all of them");
    is(scalar keys %seen, 25, 'each once');
    is($pages, int((25 + $limit - 1) / $limit), 'no empty page');
}

my ($pages, @cups) = pages('category=Cups%20%26%20more&limit=3');
is(scalar @cups, 8, 'category filters');
is(scalar(grep { $_->{category} ne 'Cups & more' } @cups), 0, 'rightly');
(undef, my @none) = pages('category=cups%20%26%20more');
is(scalar @none, 0, 'categories are compared as they are');

# a product that comes while somebody pages shifts nothing
$r = $t->get('/v1/products?limit=10');
my $cursor = $r->{json}{next};
$t->product('late', stock => 1);
my %first = map { $_->{id} => 1 } @{ $r->{json}{data} };
my $second = $t->get("/v1/products?limit=100&after=$cursor");
is(scalar(grep { $first{ $_->{id} } } @{ $second->{json}{data} }), 0,
   'a page never repeats the one before');

for my $bad ('limit=0', 'limit=101', 'limit=-1', 'limit=x', 'limit=',
             'limit=1.5', 'limit=99999999999999999999', 'after=nonsense',
             'after=', "after=$cursor" . 'x')
{
    $r = $t->get("/v1/products?$bad");
    is_problem($r, 422, 'invalid_request', "?$bad is refused");
}


# one product

my ($item) = grep { $_->{slug} eq 'item-07' }
    @{ $t->get('/v1/products?limit=100')->{json}{data} };

like($item->{id}, qr/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]/,
     'ids are UUIDv7');

my $by_id = $t->get("/v1/products/$item->{id}");
my $by_slug = $t->get('/v1/products/item-07');

is($by_id->{status}, 200, 'by id');
is($by_slug->{status}, 200, 'by slug');
is_deeply($by_id->{json}, $by_slug->{json}, 'the same');
is($by_id->{headers}{etag}, $by_slug->{headers}{etag}, 'with the same ETag');
like($by_id->{headers}{etag}, qr/^(?:W\/)?"[^"]+"$/, 'which is well formed');

my $product = $by_id->{json};
is($product->{title}, 'Item 7', 'title');
is($product->{category}, 'tea', 'category');
is(scalar @{ $product->{variants} }, 1, 'its variant');
my $variant = $product->{variants}[0];
is($variant->{sku}, 'sku-7', 'sku');
is($variant->{prices}{USD}, 107, 'price in minor units');
is($variant->{availability}, 'in_stock', 'availability');
like($variant->{id}, qr/^[0-9a-f-]{36}$/, 'variant id');
unlike($by_id->{body}, qr/"(?:free|leased|held|sold)"/,
       'the shop does not tell how many units it has');
is_deeply($item, $product, 'the list shows the same as the product');

my $upper = uc $item->{id};
is($t->get("/v1/products/$upper")->{status}, 200, 'an id in capitals');

is_problem($t->get('/v1/products/no-such-slug'), 404, 'not_found',
           'an unknown slug');
is_problem($t->get('/v1/products/01890a5d-ac96-774b-bcce-b302099a8057'), 404,
           'not_found', 'an unknown id');
is_problem($t->get('/v1/products/ITEM-07'), 404, 'not_found',
           'slugs are compared as they are');
is($t->get('/v1/products/item%2D07')->{status}, 200,
   'a percent-encoded slug');
is_problem($t->get('/v1/products/' . 'a' x 2000), 404, 'not_found',
           'a slug that is too long');

my $head = $t->head('/v1/products/item-07');
is($head->{status}, 200, 'HEAD');
is($head->{body}, '', 'without a body');
is($head->{headers}{etag}, $by_id->{headers}{etag}, 'with the ETag');
is($head->{headers}{'content-length'}, length $by_id->{body},
   'and the length of the body');


# conditional requests

my $etag = $by_id->{headers}{etag};
my $strong = $etag =~ s{^W/}{}r;

for my $match ($etag, "W/$strong", qq{"other", $etag}, '*') {
    $r = $t->get('/v1/products/item-07', 'If-None-Match' => $match);
    is($r->{status}, 304, "If-None-Match: $match");
    is($r->{body}, '', 'has no body');
    is($r->{headers}{etag}, $etag, 'has the ETag');
}

for my $match ('"other"', $strong =~ s/"//gr, '"', '""') {
    $r = $t->get('/v1/products/item-07', 'If-None-Match' => $match);
    is($r->{status}, 200, "If-None-Match: $match does not match");
}


# a write is visible to the next request, on any worker

for my $price (200 .. 210) {
    $t->import_rows({ type => 'price', sku => 'sku-7',
                      prices => { USD => $price } });

    my @answers = $t->race(4, [ map { [ 'GET', '/v1/products/item-07' ] }
                                1 .. 8 ]);
    my @stale = grep { ($_->{json}{variants}[0]{prices}{USD} // 0) != $price }
        @answers;

    is(scalar @stale, 0, "price $price is seen everywhere at once");
}

$r = $t->get('/v1/products/item-07', 'If-None-Match' => $etag);
is($r->{status}, 200, 'the old ETag matches no longer');
isnt($r->{headers}{etag}, $etag, 'there is a new one');


# what is not published is not there

$t->import_rows({ type => 'product', slug => 'item-07', title => 'Item 7',
    published => JSON::PP::false(),
    variants => [ { sku => 'sku-7', prices => { USD => 107 } } ] });

is_problem($t->get('/v1/products/item-07'), 404, 'not_found',
           'an unpublished product by slug');
is_problem($t->get("/v1/products/$item->{id}"), 404, 'not_found',
           'and by id');
(undef, my @rest) = pages('limit=100');
is(scalar(grep { $_->{slug} eq 'item-07' } @rest), 0, 'nor in the list');

my $order = $t->order({ 'sku-7' => 1 });
is($order->{status}, 422, 'nor can it be ordered')
    or diag($order->{body});


# availability

$t->product('plenty', stock => 1000);
$t->product('few', stock => 3);
$t->product('gone', stock => 0);

sub availability {
    return $t->get("/v1/products/$_[0]")->{json}{variants}[0]{availability};
}

is(availability('plenty'), 'in_stock', 'in_stock');
is(availability('few'), 'low_stock', 'low_stock');
is(availability('gone'), 'sold_out', 'sold_out');

is($t->order({ few => 3 })->{status}, 201, 'the last units are bought');
ok(wait_until { availability('few') eq 'sold_out' },
   'and shown as sold out shortly after');

$t->admin('POST', '/v1/admin/stock/gone/adjustments',
          { delta => 100, reason => 'receipt' }, 'Idempotency-Key' => $t->key);
ok(wait_until { availability('gone') eq 'in_stock' },
   'new units are shown shortly after');


# methods, hosts, ids of requests

for my $method (qw(POST PUT PATCH DELETE)) {
    $r = $t->request($method, '/v1/products', undef);
    is_problem($r, 405, 'method_not_allowed', "$method /v1/products");
    is(join(' ', sort split /,\s*/, $r->{headers}{allow} // ''), 'GET HEAD',
       'Allow names what is');
}

$r = $t->request('DELETE', '/v1/products/item-08', undef);
is_problem($r, 405, 'method_not_allowed', 'DELETE of a product');

is_problem($t->get('/v1/nothing'), 404, 'not_found', 'no such path');
is_problem($t->get('/v1/'), 404, 'not_found', 'the root');
is_problem($t->get('/v1/products/item-08/more'), 404, 'not_found',
           'nothing below a product');

$r = $t->get('/v1/products', 'X-Request-Id' => 'abc-123.x_y');
is($r->{headers}{'x-request-id'}, 'abc-123.x_y',
   'X-Request-Id of the client is given back');
$r = $t->get('/v1/products/none', 'X-Request-Id' => 'abc-124');
is($r->{json}{request_id}, 'abc-124', 'and is in a problem');
$r = $t->get('/v1/products/none');
like($r->{headers}{'x-request-id'} // '', qr/^[0-9a-f]{32}$/,
     "else nginx's own");
is($r->{json}{request_id}, $r->{headers}{'x-request-id'}, 'both agree');

for my $id ('x' x 300, "a\tb", 'a"b', 'a<b>') {
    $r = $t->get('/v1/products/none', 'X-Request-Id' => $id);
    like($r->{json}{request_id} // '', qr/^[0-9a-f]{32}$/,
         'an id that is too long or strange is replaced');
}

$t->finish;
