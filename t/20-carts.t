# Carts: what is in them, what they cost, who sees them.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;

$t->product('tea', price => 499, stock => 10_000, title => 'Green tea');
$t->product('cup', price => 1250, stock => 10_000);


sub cart {
    my ($currency) = @_;

    return $t->post('/v1/carts', { currency => $currency // 'USD' })->{json};
}


sub add {
    my ($cart, $sku, $quantity, %headers) = @_;

    return $t->post("/v1/carts/$cart->{id}/lines",
        { sku => $sku, quantity => $quantity },
        'X-Cart-Token' => $cart->{token}, %headers);
}


sub show {
    my ($cart) = @_;

    return $t->get("/v1/carts/$cart->{id}",
                   'X-Cart-Token' => $cart->{token});
}


# a new cart

my $r = $t->post('/v1/carts', { currency => 'USD' });
my $cart = $r->{json};

is($r->{status}, 201, 'a cart') or diag($r->{body});
is($r->{headers}{location}, "/v1/carts/$cart->{id}", 'Location');
is($r->{headers}{etag}, '"1"', 'ETag is its version');
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
$r = show($cart);
is($r->{status}, 200, 'it can be read');
is($r->{headers}{etag}, '"1"', 'with its ETag');
is_deeply($r->{json}, { map { $_ => $cart->{$_} }
                        grep { $_ ne 'token' } keys %$cart },
          'as it was answered, but for the token');

# lines

$r = add($cart, 'tea', 2);
is($r->{status}, 200, 'a line') or diag($r->{body});
is($r->{headers}{etag}, '"2"', 'the version has moved');
is($r->{json}{version}, 2, 'in the body too');
my ($line) = @{ $r->{json}{lines} };
is_deeply([ sort keys %$line ],
          [ qw(quantity sku title total unit_price variant_id) ],
          'the members of a line');
is("@$line{qw(sku title quantity unit_price total)}",
   'tea Green tea 2 499 998', 'its values');
is("@{ $r->{json} }{qw(subtotal total)}", '998 998', 'totals');

$r = add($cart, 'cup', 1);
is(join(' ', map { $_->{sku} } @{ $r->{json}{lines} }), 'tea cup',
   'lines come in the order of their first add');
$r = add($cart, 'tea', 3);
is(join(' ', map { "$_->{sku} $_->{quantity}" } @{ $r->{json}{lines} }),
   'tea 5 cup 1', 'the same article adds to its line');
is($r->{json}{total}, 5 * 499 + 1250, 'total');
is_deeply($r->{json}{warnings}, [], 'nothing to warn of');
is($r->{json}{version}, 4, 'three writes later');
$r = show($cart);
is(join(' ', map { "$_->{sku} $_->{quantity}" } @{ $r->{json}{lines} }),
   'tea 5 cup 1', 'so it is read');

$t->finish;
