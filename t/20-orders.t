# Orders: what they hold, who sees them, when they are refused.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;

$t->product('tea', price => 499, stock => 10_000, title => 'Green tea');
$t->product('cup', price => 1250, stock => 10_000);
$t->product('Tea', slug => 'upper-tea', price => 777, stock => 100);
$t->product('rare', price => 5000, stock => 3);
$t->product('none', price => 1, stock => 0);

my $json = 'application/json';


sub lines {
    return [ map { { sku => $_->[0], quantity => $_->[1] } } @_ ];
}


sub buy {
    my ($body, %headers) = @_;

    $body = { currency => 'USD', %$body } if ref $body;

    return $t->post('/v1/orders', $body, 'Idempotency-Key' => $t->key,
                    %headers);
}


sub orders { return $t->sql('SELECT count(*) FROM commerce.orders') }


# the order

my $r = buy({ lines => lines([ 'tea', 3 ], [ 'cup', 1 ]) });
my $order = $r->{json};

is($r->{status}, 201, 'an order') or diag($r->{body});
is($r->{headers}{location}, "/v1/orders/$order->{id}", 'Location');
like($r->{headers}{'content-type'}, qr{^application/json}, 'JSON');
ok(!exists $r->{headers}{'idempotent-replayed'}, 'not a replay');
like($order->{id}, qr/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]/,
     'its id is a UUIDv7');
is($order->{state}, 'pending_payment', 'it waits for its payment');
is($order->{currency}, 'USD', 'currency');
is($order->{subtotal}, 3 * 499 + 1250, 'subtotal');
is("@$order{qw(discount tax shipping)}", '0 0 0', 'nothing else');
is($order->{total}, 3 * 499 + 1250, 'total');
like($order->{token}, qr/^[A-Za-z0-9_-]{43}$/, "the owner's token");
cmp_ok($order->{version}, '>=', 1, 'version');

my $time = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/;
like($order->{created_at}, $time, 'created_at is RFC 3339');
like($order->{expires_at}, $time, 'expires_at too');
is($t->sql("SELECT round(extract(epoch FROM expires_at - created_at))"
         . " FROM commerce.orders WHERE id = '$order->{id}'"), 900,
   'held for 15 minutes');

is(scalar @{ $order->{lines} }, 2, 'two lines');
my ($line) = grep { $_->{sku} eq 'tea' } @{ $order->{lines} };
is_deeply([ sort keys %$line ],
          [ qw(discount fulfilled quantity refunded sku tax title total
               unit_price variant_id) ],
          'the members of a line');
is("@$line{qw(quantity unit_price total)}", '3 499 1497', 'its amounts');
is($line->{title}, 'Green tea', 'its title');
is($t->sql("SELECT state, total FROM commerce.orders"
         . " WHERE id = '$order->{id}'"),
   'pending_payment|2747', 'it is in the database');
is($t->sql('SELECT sum(quantity) FROM commerce.order_line'
         . " WHERE order_id = '$order->{id}'"), 4, 'with its lines');
is_deeply([ @{ $t->stock('tea') }{qw(held sold)} ], [ 3, 0 ],
          'its units are held');

$r = $t->get("/v1/orders/$order->{id}", 'X-Order-Token' => $order->{token});
is($r->{status}, 200, 'it can be read');
is_deeply($r->{json}, $order, 'as it was answered');

is(buy({ lines => [ { variant_id => $line->{variant_id}, quantity => 1 } ] })
   ->{json}{lines}[0]{sku}, 'tea', 'a line may name the variant');
is(buy({ lines => lines([ 'Tea', 1 ]) })->{json}{total}, 777,
   'skus are case-sensitive');


# the same article twice

$r = buy({ lines => lines([ 'rare', 2 ], [ 'tea', 1 ], [ 'rare', 2 ]) });
is_problem($r, 409, 'out_of_stock',
           'two lines of one sku are summed before the check');
$r = buy({ lines => [ { sku => 'rare', quantity => 2 },
    { variant_id => $t->sql("SELECT id FROM commerce.variant"
                          . " WHERE sku = 'rare'"), quantity => 2 } ] });
is_problem($r, 409, 'out_of_stock', 'however they are named');
$r = buy({ lines => lines([ 'tea', 2 ], [ 'tea', 3 ]) });
is($r->{status}, 201, 'two lines of one sku');
is($r->{json}{total}, 5 * 499, 'are both sold');


# not enough units

my $before = orders();
$r = buy({ lines => lines([ 'tea', 1 ], [ 'rare', 9 ], [ 'none', 1 ]) });
is_problem($r, 409, 'out_of_stock', 'not enough units');

my %short = map { $_->{sku} => $_ }
    @{ $r->{json}{lines} // $r->{json}{errors} // [] };
is($short{rare}{available}, 3, 'what is available, for each line')
    or diag($r->{body});
is($short{none}{available}, 0, 'nothing of another');
is(orders(), $before, 'no order');
is_deeply([ @{ $t->stock('rare') }{qw(held sold)} ], [ 0, 0 ],
          'all lines or none');
is(buy({ lines => lines([ 'rare', 3 ]) })->{status}, 201,
   'the others can still buy them all');
is_problem(buy({ lines => lines([ 'rare', 1 ]) }), 409, 'out_of_stock',
           'then they are gone');


# what the client believes

$r = buy({ lines => lines([ 'tea', 2 ]), expected_total => 998 });
is($r->{status}, 201, 'the expected total');
$before = orders();
$r = buy({ lines => lines([ 'tea', 2 ]), expected_total => 997 });
is_problem($r, 409, 'price_changed', 'another total');
is($r->{json}{total}, 998, 'the new total');
is(orders(), $before, 'no order');

$t->import_rows({ type => 'price', sku => 'cup', prices => { USD => 1300 } });
$r = buy({ lines => lines([ 'cup', 1 ]), expected_total => 1250 });
is_problem($r, 409, 'price_changed', 'a price that has just changed');
is($r->{json}{total}, 1300, 'the new total');
is(buy({ lines => lines([ 'cup', 1 ]) })->{json}{total}, 1300,
   'it is sold at the new price');


# shipping, address, email

$r = buy({ lines => lines([ 'tea', 1 ]), email => 'Jane@Example.COM' });
is($r->{status}, 201, 'an e-mail address') or diag($r->{body});
is($t->sql("SELECT lower(email) FROM commerce.orders"
         . " WHERE id = '$r->{json}{id}'"), 'jane@example.com', 'is kept');

for my $email ('', 'jane', '@example.com', 'jane@', "a\@b\n", 'a b@c.de',
               'x' x 300 . '@example.com')
{
    $r = buy({ lines => lines([ 'tea', 1 ]), email => $email });
    is_problem($r, 422, 'invalid_request', 'a bad e-mail address');
    is($r->{json}{errors}[0]{pointer}, '/email', 'is pointed at');
}


# what is refused, with a pointer each

my @refused = (
    [ { lines => [] }, '/lines', 'no line' ],
    [ {}, '/lines', 'no lines at all' ],
    [ { lines => {} }, '/lines', 'lines as an object' ],
    [ { lines => lines([ 'tea', 0 ]) }, '/lines/0/quantity', 'quantity 0' ],
    [ { lines => lines([ 'tea', -1 ]) }, '/lines/0/quantity', 'quantity -1' ],
    [ { lines => lines([ 'tea', 1.5 ]) }, '/lines/0/quantity', 'quantity 1.5'
    ],
    [ { lines => lines([ 'tea', '2' ]) }, '/lines/0/quantity', 'a text' ],
    [ { lines => lines([ 'tea', 2_147_483_648 ]) }, '/lines/0/quantity',
      '2^31' ],
    [ { lines => [ { sku => 'tea' } ] }, '/lines/0/quantity', 'no quantity' ],
    [ { lines => [ { quantity => 1 } ] }, '/lines/0', 'no sku' ],
    [ { lines => [ 1 ] }, '/lines/0', 'a line that is none' ],
    [ { lines => lines([ 'tea', 1 ], [ 'unknown', 1 ]) }, '/lines/1/sku',
      'an unknown sku' ],
    [ { lines => lines([ 'TEA', 1 ]) }, '/lines/0/sku', 'another case' ],
    [ { lines => lines([ '', 1 ]) }, '/lines/0/sku', 'an empty sku' ],
    [ { lines => lines([ 'x' x 65, 1 ]) }, '/lines/0/sku', 'a long sku' ],
    [ { lines => [ { variant_id => 'x', quantity => 1 } ] },
      '/lines/0/variant_id', 'an id that is none' ],
    [ { lines => [ { quantity => 1,
                     variant_id => '01890a5d-ac96-774b-bcce-b302099a8057' } ]
      }, '/lines/0/variant_id', 'an unknown variant' ],
    [ { lines => lines([ 'tea', 1 ]), currency => 'EUR' }, '/lines/0',
      'no price in that currency' ],
    [ { lines => lines([ 'tea', 1 ]), currency => 'usd' }, '/currency',
      'a currency in small letters' ],
    [ { lines => lines([ 'tea', 1 ]), currency => 'USDX' }, '/currency',
      'a currency of four letters' ],
    [ { lines => lines([ 'tea', 1 ]), currency => undef }, '/currency',
      'null as currency' ],
    [ { lines => lines([ 'tea', 1 ]), expected_total => -1 },
      '/expected_total', 'a negative total' ],
    [ { lines => lines([ 'tea', 1 ]), expected_total => '499' },
      '/expected_total', 'a total as text' ],
    [ { lines => lines([ 'tea', 1 ]), colour => 'red' }, '/colour',
      'an unknown member' ],
    [ { lines => [ { sku => 'tea', quantity => 1, price => 1 } ] },
      '/lines/0/price', 'an unknown member of a line' ],
    [ { lines => lines([ 'tea', 1 ]), 'a/b~c' => 1 }, '/a~1b~0c',
      'a name that needs escapes' ],
);

$before = orders();

for (@refused) {
    my ($body, $pointer, $name) = @$_;

    $r = buy($body);
    is_problem($r, 422, 'invalid_request', "$name is refused");
    ok((grep { index($_->{pointer}, $pointer) == 0 }
        @{ $r->{json}{errors} // [] }), "$pointer is named")
        or diag($r->{body});
    ok(!(grep { !$_->{code} || !$_->{message} }
         @{ $r->{json}{errors} // [ {} ] }), 'with code and message');
}

$r = buy({ lines => lines([ 'tea', 0 ], [ 'tea', -1 ]), colour => 1 });
cmp_ok(scalar @{ $r->{json}{errors} // [] }, '>=', 3,
       'all faults are told at once');

$r = buy({ lines => lines(map { [ 'tea', 1 ] } 1 .. 101) });
is_problem($r, 422, 'invalid_request', '101 lines');
is($r->{json}{errors}[0]{pointer}, '/lines', 'are too many');
is(buy({ lines => lines(map { [ 'tea', 1 ] } 1 .. 100) })->{status}, 201,
   '100 are not');
$before++;

for (
    [ '', 400, 'malformed_json' ], [ '{', 400, 'malformed_json' ],
    [ '{"currency":"USD",}', 400, 'malformed_json' ],
    [ '{} {}', 400, 'malformed_json' ], [ 'null', 422, 'invalid_request' ],
    [ '[]', 422, 'invalid_request' ], [ '"x"', 422, 'invalid_request' ],
) {
    my ($body, $status, $code) = @$_;

    is_problem(buy($body, 'Content-Type' => $json), $status, $code,
               "the body '$body'");
}

is(orders(), $before, 'none of these is an order');


# media types, size, method

my $good = '{"currency":"USD","lines":[{"sku":"tea","quantity":1}]}';

for my $type ('text/plain', 'application/x-www-form-urlencoded', 'json', '',
              'application/jsonx', undef)
{
    is_problem(buy($good, 'Content-Type' => $type), 415,
               'unsupported_media_type', 'type ' . ($type // 'missing'));
}

for my $type ('application/json; charset=utf-8', 'Application/JSON',
              'application/json;charset=UTF-8')
{
    is(buy($good, 'Content-Type' => $type)->{status}, 201, "type $type");
}

is_problem(buy('{"a":"' . 'x' x 1_100_000 . '"}', 'Content-Type' => $json),
           413, 'too_large', 'a body above client_max_body_size');

$r = $t->request('PUT', '/v1/orders', $good, 'Content-Type' => $json);
is_problem($r, 405, 'method_not_allowed', 'PUT');
like($r->{headers}{allow} // '', qr/\bPOST\b/, 'Allow');


# who sees it

my $path = "/v1/orders/$order->{id}";
my $other = buy({ lines => lines([ 'tea', 1 ]) })->{json};

$r = $t->get($path);
is_problem($r, 401, 'unauthenticated', 'without a token');
ok($r->{headers}{'www-authenticate'}, 'WWW-Authenticate');
is_problem($t->get($path, 'X-Order-Token' => $other->{token}), 404,
           'not_found', "with another order's token");
is_problem($t->get('/v1/orders/01890a5d-ac96-774b-bcce-b302099a8057',
                   'X-Order-Token' => $order->{token}), 404, 'not_found',
           'an unknown order');
is_problem($t->get('/v1/orders/nonsense', 'X-Order-Token' => $order->{token}),
           404, 'not_found', 'an id that is none');
isnt($order->{token}, $other->{token}, 'every order has its own token');

$r = $t->request('DELETE', $path, undef, 'X-Order-Token' => $order->{token});
is_problem($r, 405, 'method_not_allowed', 'DELETE of an order');
is(join(' ', sort split /,\s*/, $r->{headers}{allow} // ''), 'GET HEAD',
   'Allow');

$r = $t->admin('GET', "/v1/admin/orders/$order->{id}", undef);
is($r->{status}, 200, 'staff see it');
is($r->{json}{total}, $order->{total}, 'as it is');
ok(!exists $r->{json}{token}, "without the guest's token");


# whatever way the body comes

my $client = $t->client;
my $head = "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: $json\r\n";

$client->send_raw($head . 'Idempotency-Key: ' . $t->key
    . "\r\nTransfer-Encoding: chunked\r\n\r\n"
    . join('', map { "1\r\n$_\r\n" } split //, $good) . "0\r\n\r\n");
is($client->read_response->{status}, 201, 'in chunks of one byte');

$client->send_raw($head . 'Idempotency-Key: ' . $t->key
    . "\r\nContent-Length: " . length($good) . "\r\n\r\n");
$client->send_raw($_) for split //, $good;
is($client->read_response->{status}, 201, 'byte by byte');

$client->send_raw($head . 'Idempotency-Key: ' . $t->key
    . "\r\nExpect: 100-continue\r\nContent-Length: " . length($good)
    . "\r\n\r\n");
like($client->read_some, qr/^HTTP\/1.1 100 /, 'after 100 Continue');
$client->send_raw($good);
is($client->read_response->{status}, 201, 'the order');

my $padded = '{"currency":"USD",' . ' ' x 200_000
    . '"lines":[{"sku":"tea","quantity":1}]}';
is(buy($padded, 'Content-Type' => $json)->{status}, 201,
   'larger than the buffer');

my @keys = map { $t->key } 1 .. 3;
$client->send_raw(join '', map { $head . "Idempotency-Key: $_\r\n"
    . 'Content-Length: ' . length($good) . "\r\n\r\n$good" } @keys);
is(join(' ', map { $client->read_response->{status} } @keys), '201 201 201',
   'three requests in one packet');

$t->finish;
