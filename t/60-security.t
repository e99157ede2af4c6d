# What the network may send: nothing breaks, nothing leaks, nobody gets what
# is not theirs.

use Commerce::Test;
use Commerce::Test::Client;
use Commerce::Test::Host qw(slurp);
use JSON::PP ();

my $t = Commerce::Test->new(workers => 2, log_level => 'debug',
    server => "client_body_timeout 2s; client_header_timeout 2s;\n"
        . 'send_timeout 5s; keepalive_timeout 5s;')->start;

$t->product('tea', price => 499, stock => 1000);
$t->product('other', price => 999, stock => 1000);

my $json = 'application/json';
my $good = '{"currency":"USD","lines":[{"sku":"tea","quantity":1}]}';
my $order = $t->order({ tea => 1 })->{json};
my @workers = $t->workers;
my $admin_key = $t->api_key;
my $orders = 1;


sub post {
    my ($body, %headers) = @_;

    return $t->post('/v1/orders', $body, 'Idempotency-Key' => $t->key,
                    'Content-Type' => $json, %headers);
}


sub count { return $t->sql('SELECT count(*) FROM commerce.orders') }


sub head {
    my ($method, $path, %headers) = @_;

    return "$method $path HTTP/1.1\r\nHost: x\r\n"
        . join('', map { "$_: $headers{$_}\r\n" } sort keys %headers)
        . "\r\n";
}


# bodies that are no JSON, or too much of it

my %bodies = (
    'invalid UTF-8' => "{\"currency\":\"\xff\xfe\"}",
    'an overlong sequence' => "{\"currency\":\"\xc0\xaf\"}",
    'a surrogate in UTF-8' => "{\"currency\":\"\xed\xa0\x80\"}",
    'a lone surrogate' => '{"currency":"\ud800"}',
    'NUL' => "{\"currency\":\"U\0D\"}",
    'an escaped NUL' => '{"currency":"U\u0000D"}',
    'a raw newline in a string' => "{\"currency\":\"U\nD\"}",
    'a byte order mark' => "\xef\xbb\xbf$good",
    'UTF-16' => join('', map { "$_\0" } split //, $good),
    'a comment' => '{/* x */"currency":"USD"}',
    'single quotes' => q({'currency':'USD'}),
    'a trailing comma' => '{"currency":"USD",}',
    'a leading zero' => '{"expected_total":0123}',
    'a plus' => '{"expected_total":+1}',
    'NaN' => '{"expected_total":NaN}',
    'hexadecimal' => '{"expected_total":0x10}',
    'a duplicate member' => '{"currency":"USD","currency":"EUR"}',
    'a duplicate member, escaped' =>
        '{"currency":"USD","curr\u0065ncy":"EUR"}',
    'something behind' => "$good x",
    'an open array' => '[' x 10,
    'an open string' => '{"currency":"US',
    'only space' => '   ',
    'bytes' => join('', map { chr } 0 .. 255),
);

for my $name (sort keys %bodies) {
    is_problem(post($bodies{$name}), 400, 'malformed_json', $name);
}

for my $depth (9, 100, 100_000) {
    my $r = post('{"a":' . '[' x $depth . ']' x $depth . '}');

    ok($r->{status} == 400 || $r->{status} == 422, "$depth levels")
        or diag("$r->{status} $r->{body}");
}

my %numbers = map { $_ => 1 } '-1', '0', '1.0', '1e0', '1e400', '-0',
    '9223372036854775807', '9223372036854775808', '-9223372036854775809',
    '9' x 400, '0.' . '1' x 400, '1E+2', 'true', 'null', '"1"', '[1]', '{}';

for my $number (sort keys %numbers) {
    my $r = post('{"currency":"USD","lines":[{"sku":"tea","quantity":'
               . "$number}]}");

    is_problem($r, 422, 'invalid_request',
               'quantity ' . substr $number, 0, 30);

    next if $number eq '0' || $number eq '-0' || $number eq 'null';

    $r = post('{"currency":"USD","lines":[{"sku":"tea","quantity":1}],'
            . "\"expected_total\":$number}");
    ok($r->{status} == 422 || $r->{status} == 409,
       'expected_total ' . substr $number, 0, 30)
        or diag("$r->{status} $r->{body}");
}

# amounts at the edge: price times quantity beyond 2^53 and 2^63
$t->product('gold', price => 9_007_199_254_740_991, stock => 2000);
for my $quantity (1, 2, 1000, 1025) {
    my $r = $t->order({ gold => $quantity });

    ok(($r->{status} == 201
        && $r->{body} =~ /"total":9007199254740991\b/ && $quantity == 1)
       || $r->{status} == 422, "a total of $quantity times 2^53 - 1")
        or diag("$r->{status} $r->{body}");
    $orders++ if $r->{status} == 201;
}

for my $length (65, 1000, 100_000) {
    my $long = 'x' x $length;

    # beyond the reader's limit it is not even read
    my $sku = post('{"currency":"USD","lines":[{"sku":"' . $long
                 . '","quantity":1}]}');
    my $name = post("{\"$long\":1}");

    like($_->{status}, $length > 10_000 ? qr/^4(?:00|22)$/ : qr/^422$/,
         "a text of $length characters") for $sku, $name;
    cmp_ok(length $_->{body}, '<', 5000, 'the answer is short')
        for $sku, $name;
}

my $r = post('{' . join(',', map { "\"m$_\":1" } 1 .. 20_000) . '}');
ok($r->{status} == 422 || $r->{status} == 400, 'twenty thousand members');
cmp_ok(length $r->{body}, '<', 10_000, 'the answer is short');


# SQL in every field

my $evil = q{x'; DROP TABLE commerce.orders; --};
my $brace = q({x,"y",\\\\}NULL);

for my $text ($evil, $brace, '$1', '%s%n', '\\', "\x{e9}\x{1F375}", '{}',
              'NULL', "a'b\"c")
{
    my $body = { currency => 'USD', lines => [ { sku => $text,
                                                 quantity => 1 } ] };
    is(post($body)->{status}, 422, 'as a sku');
    $body->{lines}[0]{sku} = 'tea';
    $body->{currency} = $text;
    is(post($body)->{status}, 422, 'as a currency');

    my $escaped = $text;
    utf8::encode($escaped);
    $escaped =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge;
    is($t->get("/v1/products/$escaped")->{status}, 404, 'as a slug');
    is($t->get("/v1/products?category=$escaped")->{status}, 200,
       'as a category');
    ok($t->get("/v1/products?after=$escaped")->{status} == 422,
       'as a cursor');
    ok($t->admin('GET', "/v1/admin/stock/$escaped", undef)->{status} == 404,
       'as a sku in a path');
}

my @rows = $t->import_rows(
    { type => 'product', slug => 'evil', title => $evil,
      description => $brace,
      variants => [ { sku => $evil, title => $brace,
                      options => { $brace => $evil }, prices => { USD => 5 },
                      stock => 5 } ] });
is($rows[0]{status}, 'created', 'a product of metacharacters')
    or diag(explain($rows[0]));
my $product = $t->get('/v1/products/evil')->{json};
is($product->{title}, $evil, 'is stored as it is');
is($product->{variants}[0]{options}{$brace}, $evil, 'options too');
$r = $t->order({ $evil => 2 });
is($r->{status}, 201, 'and can be ordered');
$orders++;
is($r->{json}{lines}[0]{sku}, $evil, 'as it is');
is($r->{json}{lines}[0]{title}, $brace, 'with its title');
is($t->stock($evil)->{held}, 2, 'and looked at');
is(count(), $orders, 'the table is still there');


# tokens

my $path = "/v1/orders/$order->{id}";
my $token = $order->{token};
my $flipped = $token;
my $last = substr $token, -1;
my @alphabet = ('A' .. 'Z', 'a' .. 'z', 0 .. 9, '-', '_');
my ($position) = grep { $alphabet[$_] eq $last } 0 .. 63;

# 32 bytes end in a character with two bits that mean nothing
substr $flipped, -1, 1, $alphabet[$position ^ 1];

my %wrong = (
    'trailing bits' => $flipped, padding => "$token=",
    'a byte more' => "${token}A", 'a byte less' => substr($token, 0, -1),
    'another spelling' => $token =~ tr/A-Za-z/a-zA-Z/r, empty => '',
    'a long one' => 'A' x 5000, 'plus and slash' => '+/' x 21 . 'A',
    spaces => "$token $token", 'two in one' => "$token,$token",
    quotes => qq{"$token"}, 'high bytes' => "\xff" x 43,
);

for my $name (sort keys %wrong) {
    my $r = $t->get($path, 'X-Order-Token' => $wrong{$name});

    ok($r->{status} == 404 || $r->{status} == 401, "a token with $name")
        or diag("$r->{status}");
    unlike($r->{body}, qr/\Q$order->{id}\E/, 'gives nothing away');
}

$r = $t->client->request('GET', $path, undef,
                         'X-Order-Token' => [ $token, $token ]);
isnt($r->{status}, 200, 'two tokens');
my $other = $t->order({ other => 1 })->{json};
$orders++;
is_problem($t->get($path, 'X-Order-Token' => $other->{token}), 404,
           'not_found', "another order's token");
is_problem($t->get('/v1/orders/01890a5d-ac96-774b-bcce-b302099a8057',
                   'X-Order-Token' => $token), 404, 'not_found',
           'an order that is none: the same answer');
is($t->admin('GET', $path, undef)->{status}, 401,
   'an API key is no order token');
is_problem($t->get('/v1/admin/orders/' . $order->{id},
                   'X-Order-Token' => $token), 401, 'unauthenticated',
           'an order token is no API key');
is($t->get($path, 'X-Order-Token' => $token)->{status}, 200,
   'the right one still works');


# requests that try to be two

for my $case (
    [ 'two lengths', "Content-Length: 5\r\nContent-Length: 50\r\n" ],
    [ 'length and chunked',
      "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" ],
    [ 'chunked twice',
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" ],
    [ 'an unknown encoding', "Transfer-Encoding: gzip\r\n" ],
    [ 'a negative length', "Content-Length: -5\r\n" ],
    [ 'a length with a plus', "Content-Length: +5\r\n" ],
    [ 'a huge length', "Content-Length: 99999999999999999999\r\n" ],
    [ 'a length of 8 EiB', "Content-Length: 9223372036854775807\r\n" ],
) {
    my ($name, $headers) = @$case;
    my $client = $t->client;

    $client->send_raw("POST /v1/orders HTTP/1.1\r\nHost: x\r\n"
        . "Content-Type: $json\r\nIdempotency-Key: " . $t->key . "\r\n"
        . "$headers\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    my $r = $client->read_response(5);
    ok($r && $r->{status} >= 400 && $r->{status} < 600, "$name is refused")
        or diag($r && "$r->{status} $r->{body}");
    is($client->read_response(1), undef, 'and nothing behind it is served');
    $client->close;
}

# an early refusal leaves the connection in step
my $client = $t->client;
$client->send_raw(head('POST', '/v1/orders', 'Content-Type' => 'text/plain',
                       'Content-Length' => length $good) . $good
                . head('GET', '/livez'));
my @seen = map { ($_ // {})->{status} // 'none' }
    $client->read_response, $client->read_response(3);
ok($seen[0] == 400 || $seen[0] == 415, 'a refusal before the body is read');
ok($seen[1] eq 'none' || $seen[1] == 200, 'the next answer is not mixed up')
    or diag("@seen");
$client->close;


# headers

is($t->get('/v1/products', 'X-Big' => 'x' x 100_000)->{status}, 400,
   'a huge header');
is($t->get('/v1/products?' . 'x' x 100_000)->{status}, 414, 'a huge URI');
ok($t->get('/v1/products?' . 'limit=1&' x 500)->{status} =~ /^(?:200|422)$/,
   'many arguments');
$r = $t->get('/v1/products', 'X-Request-Id' => "a\r\nX-Evil: 1");
ok(!exists $r->{headers}{'x-evil'}, 'no header is injected');
$r = $t->get('/v1/products/%0d%0aX-Evil:%201');
ok(!exists $r->{headers}{'x-evil'}, 'nor by a path');

for my $key ("\x01" x 20, "\xff" x 20, '"' x 20, '%00' x 10, ' ' x 20) {
    my $r = post($good, 'Idempotency-Key' => $key);
    ok($r->{status} == 201 || $r->{status} == 400, 'a strange key')
        or diag("$r->{status} $r->{body}");
    $orders++ if $r->{status} == 201;
}


# paths

for my $path ('/v1/products/%', '/v1/products/%zz', '/v1/products/%00',
    '/v1/products/%2e%2e', '/v1/products/..%2f..%2fetc', '/v1//products',
    '/v1/products/', '/v1/products/a/', '/v1/orders/../admin/products',
    '/v1/%61dmin/products', '/v1/products;x=1', '/v1/admin/../products',
    '/v1/orders/%00', "/v1/products/\xff", '/V1/products', '/v1/products%3f')
{
    my $r = $t->get($path);

    ok($r->{status} =~ /^(?:200|400|401|404|405)$/, "GET $path")
        or diag("$r->{status} $r->{body}");
}

like($t->get($_)->{status}, qr/^40[14]$/, "$_ does not get round the key")
    for '/v1/%61dmin/products', '/v1/./admin/products', '/v1//admin/products',
        '/v1/products/../admin/products', '/v1/admin%2Fproducts';

# random ones, always the same
srand 20;
my @pieces = ('/v1', '/products', '/orders', '/admin', '/stock', '/cancel',
    '/payments', '/adjustments', '/import', '/variants', '/prices',
    "/$order->{id}", '/tea', '/', '//', '/.', '/..', '%2F', '%', '%00', '?',
    '?limit=', '&', '=', ';', '%ff', '#', '*', "/'", '/"', '/%u0041');
my @methods = qw(GET POST PUT PATCH DELETE HEAD OPTIONS TRACE MKCOL X);
my @requests = map { [
    $methods[ rand @methods ],
    '/v1' . join('', map { $pieces[ rand @pieces ] } 1 .. 1 + rand 6),
    rand() < 0.3 ? '{' : undef,
    rand() < 0.3 ? ('Content-Type' => $json) : (),
    rand() < 0.3 ? ('Idempotency-Key' => $t->key) : (),
    rand() < 0.3 ? (Authorization => "Bearer $admin_key") : (),
    rand() < 0.3 ? ('X-Order-Token' => $token) : (),
] } 1 .. 3000;
my @answers = grep { $_->{status} }
    map { $t->request(@$_) } @requests;
is(scalar @answers, 3000, '3000 random requests are all answered');
is(scalar(grep { $_->{status} >= 500 && $_->{status} != 501 } @answers), 0,
   'none by an error of ours')
    or diag(join "\n", map { "$requests[$_][0] $requests[$_][1]:"
                             . " $answers[$_]{status}" }
            grep { $answers[$_]{status} >= 500 } 0 .. $#answers);
is(count(), $orders, 'none of them is an order');


# those who are slow, or leave

my @slow;
for (1 .. 20) {
    my $client = $t->client;
    $client->send_raw(head('POST', '/v1/orders', 'Content-Type' => $json,
        'Idempotency-Key' => $t->key, 'Content-Length' => 1000)
        . substr($good, 0, -2));
    push @slow, $client;
}
is($t->get('/livez')->{status}, 200, 'twenty that trickle stop nobody');
my $stock = $t->stock('tea');
is($stock->{held}, $t->sql(q{SELECT sum(quantity) FROM commerce.order_line}
   . q{ WHERE sku = 'tea'}), 'and hold no unit');
is($t->metrics->{commerce_stock_limbo_units} // 0, 0, 'nothing is in limbo');
my @ends = map { $_->read_response(8) } @slow;
is(scalar(grep { defined $_ && $_->{status} != 408 } @ends), 0,
   'they are sent away');
$_->close for @slow;

# at each byte of the request
my $whole = head('POST', '/v1/orders', 'Content-Type' => $json,
    'Idempotency-Key' => 'left-at-each-byte-1', 'Content-Length' =>
    length $good) . $good;
for my $bytes (grep { $_ % 7 == 0 || $_ > length($whole) - 5 }
               1 .. length($whole) - 1)
{
    my $client = $t->client;
    $client->send_raw(substr $whole, 0, $bytes);
    $client->close;
}
is(count(), $orders, 'who leaves before the end has ordered nothing');

# after the last byte, while the order is being stored
my $lock = $t->session;
$lock->query('BEGIN; LOCK TABLE commerce.orders IN EXCLUSIVE MODE');
my @left;
for my $n (1 .. 5) {
    my $client = $t->client;
    $client->send_raw($whole =~ s/byte-1/byte-$n-left/r);
    push @left, $client;
}
wait_until {
    $t->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '"
        . $t->database . "' AND wait_event_type = 'Lock'"
        . " AND application_name LIKE '%/orders'") > 0;
};
$_->close for @left;
$t->get('/livez') for 1 .. 5;
$lock->query('COMMIT');
$lock->close;
ok((wait_until {
    $r = $t->post('/v1/orders', $good, 'Content-Type' => $json,
                  'Idempotency-Key' => 'left-at-each-byte-1-left');
    $r->{status} == 201;
}), 'who leaves while it is stored gets the order by the key');
$orders = count();
is($t->sql(q{SELECT count(*) FROM commerce.orders o WHERE NOT EXISTS (SELECT}
   . q{ FROM commerce.order_line l WHERE l.order_id = o.id)}), 0,
   'no order is half done');

# reads that are left
for (1 .. 30) {
    my $client = $t->client;
    $client->send_raw(head('GET', "/v1/products/never-seen-$_"));
    $client->close;
}

# a pipeline that is cut
$client = $t->client;
$client->send_raw(join '', map { $whole =~ s/byte-1/byte-pipe-$_/r } 1 .. 10);
$client->read_response;
$client->close;
is($t->get('/livez')->{status}, 200, 'a pipeline that is cut');
ok((wait_until {
    my $s = $t->stock('tea');
    $s->{free} + $s->{leased} + $s->{held} == 1000;
}), 'all units are accounted for');


# what the log knows

my $log = slurp($t->prefix . '/error.log');
my $password = slurp($t->postgres->password_file);
my $secret = slurp("$t->{dir}/token-key");

# nginx's own debug log shows headers; ours must not add to it
my @ours = grep { /commerce/i && !/http header:|http process|header done/ }
    grep { !/^\S+ \S+ \[debug\]/ } split /\n/, $log;

for (
    [ $token, "an order's token" ], [ $admin_key, 'an API key' ],
    [ $password, "the database's password" ], [ $secret, 'the token key' ],
) {
    my ($text, $name) = @$_;
    is(scalar(grep { index($_, $text) >= 0 } @ours), 0,
       "the log does not have $name");
}

is(index($log, $password), -1, 'the password is not even in the debug log');
is(index($log, $secret), -1, 'nor is the token key');

is_deeply([ $t->workers ], \@workers, 'no worker has died');
is($t->order({ other => 1 })->{status}, 201, 'and all is well');

$t->finish;
