# What the network may send to carts, orders and the staff's routes: every
# answer is one of the contract, and nobody gets what is not theirs.

use Commerce::Test;
use Commerce::Test::Provider;
use JSON::PP ();

my $acme = Commerce::Test::Provider->new('acme');
my $t = Commerce::Test->new(workers => 2, directives => {
    commerce_payment_provider => [ 'test', $acme->directive ],
})->start;

my $json = 'application/json';
my $nowhere = '01890a5d-ac96-774b-bcce-b302099a8057';
my $email = 'Zacharias.Quux@example.com';

$t->product('tea', price => 499, stock => 10_000);

my @workers = $t->workers;


sub created {
    my ($what, %body) = @_;

    my $r = $t->admin('POST', "/v1/admin/$what", \%body);

    die "$what: $r->{body}\n" if $r->{status} != 201;

    return $r->{json};
}

my $rate = created('tax-rates', country => 'DE', rate => 190_000);
my $method = created('shipping-methods', code => 'post', title => 'Post',
                     prices => { USD => 500 }, countries => [ 'DE' ]);
my $coupon = created('coupons', code => 'ONCE', kind => 'percent',
                     percent => 1_000_000, limit_per_customer => 1);


sub cart {
    my ($currency, %headers) = @_;

    return $t->post('/v1/carts', { currency => $currency // 'USD' },
                    %headers)->{json};
}


# a request of the owner
sub own {
    my ($cart, $method, $path, $body, %headers) = @_;

    return $t->request($method, "/v1/carts/$cart->{id}$path", $body,
                       'X-Cart-Token' => $cart->{token}, %headers);
}


sub filled {
    my ($quantity, %more) = @_;

    my $cart = cart();

    own($cart, 'POST', '/lines', { sku => $more{sku} // 'tea',
                                   quantity => $quantity });
    own($cart, 'PUT', '/coupon', { code => $more{coupon} }) if $more{coupon};
    own($cart, 'PUT', '/email', { email => $more{email} }) if $more{email};

    return $cart;
}


sub checkout {
    my ($cart, $body, %headers) = @_;

    return own($cart, 'POST', '/checkout', $body,
               'Idempotency-Key' => $t->key, %headers);
}


sub paid {
    my (%lines) = @_;

    my $order = $t->order(\%lines)->{json};

    $t->pay($order);

    return $order;
}


# Is it an answer of the contract?
sub sound {
    my ($r, $what, @statuses) = @_;

    my %may = map { $_ => 1 } @statuses;
    my $type = $r->{headers}{'content-type'} // '';
    my $good = $may{ $r->{status} };

    if ($r->{status} >= 400) {
        my $problem = $r->{json} // {};

        $good &&= $type =~ m{^application/problem\+json}
            && ($problem->{status} // 0) == $r->{status}
            && !grep { !defined $problem->{$_} }
               qw(type title code request_id);
        $good &&= length $r->{body} < 6000;

        # what nginx refuses before it has a location is in its own form
        $good ||= $r->{status} == 400 && $r->{body} =~ /^<html>/;
    }

    return $good ? () : "$what: $r->{status} " . substr $r->{body}, 0, 300;
}


sub none {
    my ($name, @wrong) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(scalar @wrong, 0, $name)
        or diag(join "\n", @wrong[ 0 .. ($#wrong < 19 ? $#wrong : 19) ]);
}


sub audit {
    my ($name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is($t->sql('SELECT * FROM commerce.stock_audit'), '',
       "$name: the stock agrees");
    is($t->sql('SELECT * FROM commerce.order_audit LIMIT 20'), '',
       "$name: orders agree");
    is($t->sql('SELECT c.code, c.used FROM commerce.coupon c WHERE used <>'
       . ' (SELECT count(*) FROM commerce.coupon_use u'
       . ' WHERE u.coupon_id = c.id)'), '', "$name: coupons agree");
    is_deeply([ $t->workers ], \@workers, "$name: no worker has died");
}


# Every route that takes a body, with what makes it the right one's.

my $cart = filled(2, email => $email);
my $order = paid(tea => 3);
my $unpaid = $t->order({ tea => 1 })->{json};
my $variant = $order->{lines}[0]{variant_id};
my @cart_token = ('X-Cart-Token' => $cart->{token});
my @order_token = ('X-Order-Token' => $unpaid->{token});
my @staff = (Authorization => 'Bearer ' . $t->api_key);
my $admin_order = "/v1/admin/orders/$order->{id}";

my %if_match = map { $_->{id} => [ 'If-Match' => "\"$_->{version}\"" ] }
    $rate, $method, $coupon;
my @routes = (
    [ 'POST', '/v1/carts', 1 ],
    [ 'POST', "/v1/carts/$cart->{id}/lines", 1, @cart_token ],
    [ 'PATCH', "/v1/carts/$cart->{id}/lines/$variant", 1, @cart_token ],
    [ 'PUT', "/v1/carts/$cart->{id}/coupon", 1, @cart_token ],
    [ 'PUT', "/v1/carts/$cart->{id}/shipping", 1, @cart_token ],
    [ 'PUT', "/v1/carts/$cart->{id}/email", 1, @cart_token ],
    [ 'POST', "/v1/carts/$cart->{id}/checkout", 1, @cart_token ],
    [ 'POST', '/v1/orders', 1 ],
    [ 'POST', "/v1/orders/$unpaid->{id}/cancel", 1, @order_token ],
    [ 'POST', "/v1/orders/$unpaid->{id}/payments", 1, @order_token ],
    [ 'POST', "$admin_order/fulfilments", 1, @staff ],
    [ 'POST', "$admin_order/refunds", 1, @staff ],
    [ 'POST', "/v1/admin/orders/$unpaid->{id}/cancel", 1, @staff ],
    map {
        my ($what, $object) = @$_;
        ([ 'POST', "/v1/admin/$what", 1, @staff ],
         [ 'PUT', "/v1/admin/$what/$object->{id}", 1, @staff,
           @{ $if_match{ $object->{id} } } ]);
    } [ 'tax-rates', $rate ], [ 'shipping-methods', $method ],
      [ 'coupons', $coupon ],
);


sub ask {
    my ($route, $body, %headers) = @_;

    my ($method, $path, undef, @headers) = @$route;

    return $t->request($method, $path, $body,
        'Idempotency-Key' => $t->key, 'Content-Type' => $json, @headers,
        %headers);
}


# bodies that are no JSON, or of another shape

my $deep = '[' x 5000 . ']' x 5000;
my %malformed = (
    'nothing closed' => '{"currency"', 'NUL' => "{\"a\0\":1}",
    'an escaped NUL' => '{"email":"a\u0000@b"}',
    'an escaped NUL in a name' => '{"\u0000":1}',
    'a lone surrogate' => '{"code":"\udc00"}',
    'half a pair' => '{"code":"\ud800x"}',
    'invalid UTF-8' => "{\"code\":\"\xff\"}",
    'invalid UTF-8 in a name' => "{\"\xc3\":1}",
    'CESU-8' => "{\"email\":\"\xed\xa0\xbd\xed\xb8\x80\@b\"}",
    'a duplicate member' => '{"quantity":1,"quantity":2}',
    'a duplicate member in an object' =>
        '{"address":{"country":"DE","c\u006funtry":"US"}}',
    'depth' => qq({"address":$deep}),
    'two texts' => '{}{}', 'only space' => " \n",
);
my @wrong;

for my $route (@routes) {
    for my $name (sort keys %malformed) {
        # nothing at all is allowed where the body is optional
        next if $name eq 'only space';
        push @wrong, sound(ask($route, $malformed{$name}),
                           "$route->[0] $route->[1] $name", 400);
    }
}
none('what is no JSON is 400 on every route', splice @wrong);

my @shapes = ('[]', '[{}]', 'null', '1', '"x"', 'true', '{"unknown":1}',
    '{"":1}', '{"__proto__":{}}', '[' . '1,' x 200 . '1]',
    '{' . join(',', map { qq("m$_":1) } 1 .. 200) . '}',
    '{"' . 'x' x 60_000 . '":1}');

for my $route (@routes) {
    for my $shape (@shapes) {
        push @wrong, sound(ask($route, $shape), "$route->[0] $route->[1] "
                           . substr($shape, 0, 40), 422,
                           length $shape > 10_000 ? (400, 413) : ());
    }
}
none('another shape is 422 on every route', splice @wrong);

# every known member with every kind of value that it has not

my @members = qw(currency quantity sku variant_id code address method email
    shipping expected_total lines provider outcome amount restock reason
    carrier tracking country region category rate included title countries
    prices free_over active position kind percent amounts minimum starts_at
    ends_at limit_total limit_per_customer);
my @values = ('-1', '1.0', '1e3', '1E400', '-0', '9223372036854775807',
    '9223372036854775808', '-9223372036854775808', '1' x 400, '[]', '[[]]',
    '{}', '{"a":{}}', '[null]', '""', '"\u0001"', '"\u007f"', '"\u0085"',
    '"' . 'y' x 20_000 . '"', '"\ud83d\ude00"', '{"USD":-1}', '{"USD":1e3}',
    '{"usd":1}', '{"USD":null}', '"0000-00-00T00:00:00Z"',
    '"9999-12-31T23:59:60Z"', '"9999-12-31T23:59:59-15:59"');
my %seen;
my @requests;

for my $route (@routes) {
    for my $member (@members) {
        push @requests, map {
            [ $route->[0], $route->[1], qq({"$member":$_}),
              'Idempotency-Key' => $t->key, 'Content-Type' => $json,
              @$route[3 .. $#$route] ]
        } @values;
    }
}
my @answers = $t->race(8, \@requests, 300);
for (0 .. $#answers) {
    # where all members are optional some of these are right
    push @wrong, sound($answers[$_], "$requests[$_][0] $requests[$_][1] "
        . substr($requests[$_][2], 0, 60), 400, 422, 409,
        $requests[$_][1] =~ m{/(?:shipping|email)$} ? 200 : (),
        $requests[$_][1] =~ m{/checkout$} ? (200, 201) : (),
        $requests[$_][1] =~ m{/(?:fulfilments|refunds)$} ? 201 : ());
}
none(@requests . ' values of other kinds are refused', splice @wrong);
audit('bodies');
is($t->sql("SELECT state FROM commerce.orders WHERE id = '$unpaid->{id}'"),
   'pending_payment', 'none of these took an order a step further');


# methods and media types

my %allowed;
push @{ $allowed{ $_->[1] } }, $_->[0] for @routes;
push @{ $allowed{"/v1/carts/$cart->{id}"} }, 'GET', 'HEAD';
push @{ $allowed{"/v1/carts/$cart->{id}/coupon"} }, 'DELETE';
push @{ $allowed{"/v1/carts/$cart->{id}/lines/$variant"} }, 'DELETE';
push @{ $allowed{"/v1/orders/$unpaid->{id}"} }, 'GET', 'HEAD';
push @{ $allowed{'/v1/shipping-methods'} }, 'GET', 'HEAD';
push @{ $allowed{'/v1/webhooks/acme'} }, 'POST';
push @{ $allowed{"$admin_order/events"} }, 'GET', 'HEAD';
push @{ $allowed{$admin_order} }, 'GET', 'HEAD';
push @{ $allowed{'/v1/admin/orders'} }, 'GET', 'HEAD';
push @{ $allowed{$_} }, 'GET', 'HEAD'
    for map { "/v1/admin/$_" } qw(tax-rates shipping-methods coupons);
push @{ $allowed{$_} }, 'GET', 'HEAD', 'DELETE'
    for "/v1/admin/tax-rates/$rate->{id}", "/v1/admin/coupons/$coupon->{id}",
        "/v1/admin/shipping-methods/$method->{id}";

for my $path (sort keys %allowed) {
    my %may = map { $_ => 1 } @{ $allowed{$path} };

    for my $method (qw(GET HEAD POST PUT PATCH DELETE OPTIONS MKCOL
                       PROPFIND))
    {
        next if $may{$method};

        my $r = $t->request($method, $path, undef, @cart_token, @order_token,
                            @staff);
        my %allow = map { $_ => 1 } split /, /, $r->{headers}{allow} // '';

        push @wrong, "$method $path: $r->{status} Allow: "
            . ($r->{headers}{allow} // 'none')
            if $r->{status} != 405
               || join(' ', sort keys %allow) ne join(' ', sort keys %may);
    }
}
none('other methods are 405, and Allow names the ones that there are',
     splice @wrong);

for my $route (@routes) {
    for my $type ('text/plain', 'application/x-www-form-urlencoded',
                  'application/jsonx', 'multipart/form-data; boundary=x', '')
    {
        push @wrong, sound(ask($route, '{}', 'Content-Type' => $type),
                           "$route->[1] $type", 415);
    }
}
none('other media types are 415', splice @wrong);


# somebody else's

my $other = filled(1);
my $id = $cart->{id};
my @forms = (uc $id, "{$id}", "urn:uuid:$id", $id =~ tr/-//dr, "%7B$id%7D",
    "$id%00", "$id%20", "$id%2F", "%2F$id", "./$id", "$id/.",
    "$id%2e", "..%2F$id", "%252e%252e/$id", $id =~ s/-/%2D/gr,
    $id =~ s/-/%252D/gr, substr($id, 0, -1), "${id}0", "$id;x", "$id,$id");

for my $form (@forms) {
    push @wrong, sound($t->get("/v1/carts/$form",
        'X-Cart-Token' => $other->{token}), "cart $form", 400, 404);
    push @wrong, sound($t->get("/v1/carts/$form", @cart_token),
        "cart $form, own token", 200, 400, 404);
    push @wrong, sound($t->post("/v1/carts/$form/lines", { sku => 'tea',
        quantity => 1 }, 'X-Cart-Token' => $other->{token}),
        "lines $form", 400, 404);
    push @wrong, sound($t->get("/v1/orders/$form",
        'X-Order-Token' => $order->{token}), "order $form", 400, 404);
}
none('an id has no other form that opens it', splice @wrong);

my @else = (
    [ 'GET', "/v1/carts/$cart->{id}", undef ],
    map { [ $_->[0], $_->[1], '{}' ] }
    grep { $_->[1] =~ m{^/v1/(?:carts|orders)/} } @routes,
);
for (@else) {
    my ($method, $path, $body) = @$_;
    my @more = ('Idempotency-Key' => $t->key, 'Content-Type' => $json);

    for my $token ($other->{token}, $order->{token}, $t->api_key, 'x' x 43,
                   $cart->{id})
    {
        push @wrong, sound($t->request($method, $path, $body, @more,
            'X-Cart-Token' => $token, 'X-Order-Token' => $token),
            "$method $path with another token", 404);
    }
    # the right token in the wrong header
    push @wrong, sound($t->request($method, $path, $body, @more,
        $path =~ /carts/ ? ('X-Order-Token' => $cart->{token})
                         : ('X-Cart-Token' => $unpaid->{token})),
        "$method $path with the token elsewhere", 401);
    push @wrong, sound($t->request($method, $path, $body, @more),
                       "$method $path without", 401);
    push @wrong, sound($t->request($method, $path, $body, @more, @staff),
                       "$method $path with an API key", 401);
}
none('a token is of one object', splice @wrong);

# a cart's id as an order's
my $ordered = filled(1);
my $of_cart = checkout($ordered)->{json};
is($t->get("/v1/orders/$ordered->{id}", 'X-Order-Token' =>
           $ordered->{token})->{status}, 404, 'a cart is no order');
is($t->get("/v1/orders/$of_cart->{id}", 'X-Order-Token' =>
           $ordered->{token})->{status}, 404,
   'a cart\'s token is not its order\'s');
for (grep { $_->[1] =~ m{^/v1/admin} } @routes) {
    push @wrong, sound($t->request($_->[0], $_->[1], '{',
        'X-Order-Token' => $order->{token}), "$_->[1] without a key", 401);
    push @wrong, sound($t->request($_->[0], $_->[1], '{',
        Authorization => 'Bearer ' . $t->api_key('stock:read')),
        "$_->[1] with another scope", 403);
}
none('staff is asked for before the body is looked at', splice @wrong);


# keys

for my $route (grep { $_->[1] =~ m{/(?:checkout|refunds)$|/v1/orders$} }
               @routes)
{
    push @wrong, sound(ask($route, '{}', 'Idempotency-Key' => undef),
                       "$route->[1] without", 400);
}
for my $route (@routes) {
    next if $route->[1] =~ m{^/v1/admin/(?:tax|ship|coup)};
    for my $key ('', 'k' x 256, 'k' x 5000, "k\x{e9}" x 20, "\x7f" x 20,
                 "a\tb" x 8)
    {
        push @wrong, sound(ask($route, '{"unknown":1}',
            'Idempotency-Key' => $key), "$route->[1] a key of "
            . length($key), 400);
    }
    push @wrong, sound(ask($route, '{"unknown":1}',
        'Idempotency-Key' => [ $t->key, $t->key ]), "$route->[1] two", 400);
}
none('a key is 1 to 255 printable characters, once', splice @wrong);

{
    my $key = 'k' x 255;
    my ($one, $two) = (filled(1), filled(1));
    my $first = checkout($one, undef, 'Idempotency-Key' => $key);
    my $second = checkout($two, undef, 'Idempotency-Key' => $key);

    is($first->{status}, 201, 'a key of 255');
    is($second->{status}, 201, 'in another cart it is another key');
    isnt($first->{json}{id}, $second->{json}{id}, 'and another order');

    my $buy = $t->order({ tea => 1 }, 'Idempotency-Key' => $key);
    is($buy->{status}, 201, 'and at once it is another');

    my @same = map { $t->pay($_, 'succeed', 'Idempotency-Key' => $key) }
        $first->{json}, $second->{json}, $buy->{json}, $first->{json};
    is_deeply([ map { $_->{status} } @same ], [ (201) x 4 ], 'paid by it');
    is($same[0]{json}{id}, $same[3]{json}{id}, 'once each');

    my @refunds = map { $t->admin('POST', "/v1/admin/orders/$_->{id}/refunds",
        {}, 'Idempotency-Key' => $key) } $first->{json}, $second->{json},
        $first->{json};
    is_deeply([ map { $_->{status} } @refunds ], [ (201) x 3 ], 'refunded');
    is($refunds[0]{json}{id}, $refunds[2]{json}{id}, 'once each');
    is($t->admin('POST', "/v1/admin/orders/$buy->{json}{id}/fulfilments",
       undef, 'Idempotency-Key' => $key)->{status}, 201, 'and sent by it');

    is_problem(checkout($two, { expected_total => 499 },
               'Idempotency-Key' => $key), 422, 'idempotency_key_reused',
               'the key with another body');
}


# If-Match

$cart = filled(2);
@cart_token = ('X-Cart-Token' => $cart->{token});

for my $tag ('"0"', '0', '-1', '"1", "2"', 'W/"1"', '"1', '1"', '""', '',
             '"99999999999999999999"', '"2147483648"', '" 1"', '"1.0"',
             '"0x1"', '"+1"', "\"\xb9\"", '"1";"1"', '*,*')
{
    push @wrong, sound(own($cart, 'PUT', '/email', { email => undef },
        'If-Match' => $tag), "cart If-Match $tag", 400, 412,
        $tag eq '' ? 428 : ());
    push @wrong, sound($t->admin('PUT', "/v1/admin/tax-rates/$rate->{id}",
        { country => 'DE', rate => 190_000 }, 'If-Match' => $tag),
        "rate If-Match $tag", 400, 412, 428);
}
push @wrong, sound(own($cart, 'PUT', '/email', { email => undef },
    'If-Match' => [ '"1"', '"2"' ]), 'two If-Match', 400);
none('an If-Match that is none of the cart\'s', splice @wrong);
is(own($cart, 'PUT', '/email', { email => undef }, 'If-Match' => '*')
   ->{status}, 200, 'any version');


# cursors and filters

my @lists = ('/v1/products', map { "/v1/admin/$_" } qw(products orders
    tax-rates shipping-methods coupons), "orders/$order->{id}/events");
for my $list (@lists) {
    for my $query ('after=x', 'after=%00', 'after=%ff', 'after=' . 'A' x 5000,
        'after=-1', 'after=99999999999999999999', 'after=\'', 'limit=0',
        'limit=101', 'limit=-1', 'limit=x', 'limit=1e1', 'limit=%31%30%30%30',
        "after=$nowhere", "after=%7B$nowhere%7D", 'after=' . 'f' x 32,
        'after=ffffffff-ffff-ffff-ffff-ffffffffffff',
        'after=00000000-0000-0000-0000-000000000000',
        'limit=1&limit=2&after=&after=x', 'after', '&&&=&', '%61fter=x')
    {
        push @wrong, sound($t->get("$list?$query", @staff),
                           "$list?" . substr($query, 0, 40), 200, 422);
    }
}
for my $query ('state=x', 'state=paid%00', 'email=%ff', 'email=%00',
    'email=a%00b', 'email=' . 'x' x 5000, 'customer_id=1', 'customer_id=%ff',
    'created_after=0000-01-01T00:00:00Z', 'created_after=now',
    'created_after=0001-01-01T00:00:00Z',
    'created_after=9999-12-31T23:59:59.999999Z',
    'created_before=9999-12-31T23:59:59.999999Z&created_after='
    . '0001-01-01T00:00:00Z', 'created_after=infinity',
    'created_before=2026-02-30T00:00:00Z')
{
    push @wrong, sound($t->get("/v1/admin/orders?$query", @staff),
                       "orders?" . substr($query, 0, 60), 200, 422);
}
for my $list (map { "/v1/admin/$_" } qw(tax-rates shipping-methods coupons)) {
    for my $query ('code=%ff', 'code=%00', 'country=%ff%ff', 'country=D',
        'country=%00%00', 'code=' . 'x' x 3000, 'code=%27', 'country=d%27')
    {
        push @wrong, sound($t->get("$list?$query", @staff), "$list?$query",
                           200, 422);
    }
}
for my $query ('', 'country=DE', 'currency=USD', 'country=%ff%ff&currency=USD',
    'country=DE&currency=US', 'country=%00%00&currency=USD')
{
    push @wrong, sound($t->get("/v1/shipping-methods?$query"),
                       "shipping-methods?$query", 422);
}
none('forged cursors and filters', splice @wrong);

for my $id ('%ff', '%ff%fe', '%c3', '%00', 'x' x 5000, '%27', '..', '%2e%2e',
            '%2f', $nowhere, 'ffffffff-ffff-ffff-ffff-ffffffffffff',
            '%ed%a0%80')
{
    push @wrong, sound($t->request($_->[0], $_->[1], $_->[2], @staff,
        'If-Match' => '"1"', 'Idempotency-Key' => $t->key),
        "$_->[0] $_->[1]", 400, 404, 405)
        for map { [ 'GET', $_, undef ] } map { "/v1/admin/$_/$id" }
            qw(tax-rates shipping-methods coupons orders products variants
               stock);
    push @wrong, sound($t->request($_->[0], $_->[1], $_->[2], @staff,
        'If-Match' => '"1"', 'Idempotency-Key' => $t->key),
        "$_->[0] $_->[1]", 400, 404, 405)
        for [ 'POST', "/v1/admin/orders/$id/refunds", {} ],
            [ 'POST', "/v1/admin/orders/$id/fulfilments", {} ],
            [ 'POST', "/v1/admin/orders/$id/cancel", {} ],
            [ 'DELETE', "/v1/admin/coupons/$id", undef ],
            [ 'PATCH', "/v1/admin/variants/$id", { title => 'x' } ],
            [ 'PUT', "/v1/admin/prices/$id", { prices => { USD => 1 } } ],
            [ 'POST', "/v1/admin/stock/$id/adjustments",
              { delta => 1, reason => 'x' } ],
            [ 'POST', "/v1/webhooks/$id", {} ];
    push @wrong, sound(own($cart, $_, "/lines/$id", { quantity => 1 }),
        "$_ line $id", 400, 404, 405) for qw(PATCH DELETE);
}
none('ids that are none', splice @wrong);
audit('requests');


# what was written down

my $log = join "\n", grep { !/\[debug\]/ } split /\n/, $t->log;
my $access = $t->access_log;
for ([ qr/quux/i, 'an e-mail address' ], [ qr/\Q$cart->{token}\E/,
     'a cart\'s token' ], [ qr/\Q$order->{token}\E/, 'an order\'s token' ],
     [ qr/nck_/, 'an API key' ], [ qr/\Q@{[ $acme->secret ]}\E/, 'a secret' ])
{
    unlike($log, $_->[0], "the log has not $_->[1]");
    unlike($access, $_->[0], "the access log has not $_->[1]");
}
none('nothing in it is an error', grep { /\[(?:error|crit|alert|emerg)\]/
     && /commerce/ } split /\n/, $log);

$t->finish;
