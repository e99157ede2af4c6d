# No money out of nothing: quantities, coupons, currencies, refunds, webhooks
# and races, by those who would like to have it.

use Commerce::Test;
use Commerce::Test::Provider;
use JSON::PP ();

my $acme = Commerce::Test::Provider->new('acme');
my $t = Commerce::Test->new(workers => 2, directives => {
    commerce_payment_provider => [ 'test', $acme->directive ],
})->start;

my $email = 'Zacharias.Quux@example.com';

$t->product('tea', price => 499, stock => 10_000);
$t->product('gold', price => 9_007_199_254_740_991, stock => 2000);
$t->product('yen', price => 70, stock => 100, currency => 'JPY');

my @workers = $t->workers;


sub created {
    my ($what, %body) = @_;

    my $r = $t->admin('POST', "/v1/admin/$what", \%body);

    die "$what: $r->{body}\n" if $r->{status} != 201;

    return $r->{json};
}

created('tax-rates', country => 'DE', rate => 190_000);
created('shipping-methods', code => 'post', title => 'Post',
        prices => { USD => 500 }, countries => [ 'DE' ]);
created('coupons', code => 'ONCE', kind => 'percent',
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


my $order = paid(tea => 3);
my $variant = $order->{lines}[0]{variant_id};
my @staff = (Authorization => 'Bearer ' . $t->api_key);
my @wrong;

# money out of nothing

sub total_of {
    my ($r) = @_;

    return $r->{status} < 300 ? $r->{json}{total} : $r->{json}{code};
}

for my $quantity (0, -1, -0.5, 1.5, 1e10, 2_147_483_648, 4_294_967_297,
                  9_223_372_036_854_775_807, '1', JSON::PP::true())
{
    my $bad = filled(1);

    push @wrong, sound(own($bad, 'POST', '/lines', { sku => 'tea',
        quantity => $quantity }), "add $quantity", 422);
    push @wrong, sound(own($bad, 'PATCH', "/lines/$variant",
        { quantity => $quantity }), "set $quantity", 422);
    is(own($bad, 'GET', '', undef)->{json}{total}, 499, 'as before');
}
none('quantities that are none', splice @wrong);

{
    my $much = filled(1_000_000_000);
    is_problem(own($much, 'POST', '/lines', { sku => 'tea',
               quantity => 1_000_000_000 }), 422, 'invalid_request',
               'two milliards');
    is(own($much, 'GET', '', undef)->{json}{total}, 499_000_000_000,
       'a milliard of them has a price');
    is_problem(checkout($much), 409, 'out_of_stock', 'but are not there');

    my $rich = filled(1, sku => 'gold');
    own($rich, 'POST', '/lines', { sku => 'gold', quantity => 1 });
    my $seen = own($rich, 'GET', '', undef)->{json};
    is($seen->{total}, undef, 'a total beyond an amount is none');
    is($seen->{subtotal}, undef, 'nor is the subtotal');
    is_problem(checkout($rich, { expected_total => $_ }), 422,
               'invalid_request', "and cannot be had, for $_")
        for 0, 9_007_199_254_740_991;

    # taxed beyond an amount
    my $taxed = filled(1, sku => 'gold');
    is_problem(checkout($taxed, { shipping => { address =>
               { country => 'DE' } } }), 422, 'invalid_request',
               'nor with a tax on top');
    is(checkout($taxed)->{status}, 201, 'without it can');
}

# all off
{
    my $free = filled(3, coupon => 'once', email => $email);
    my $r = checkout($free, { expected_total => 0, shipping => { address =>
        { country => 'DE' }, method => 'post' } });

    is(total_of($r), 'price_changed', 'a coupon pays for no shipping');
    is($r->{json}{total}, 595, '5.00 and the tax on it');
    $r = checkout($free, { expected_total => 0 });
    is(total_of($r), 0, 'all of the goods');
    my $nothing = $r->{json};

    # the same customer by other names of his
    my @again = map { filled(1, coupon => $_->[0], email => $_->[1]) }
        [ 'ONCE', $email ], [ 'Once', lc $email ], [ 'oncE', uc $email ];
    is_problem(checkout($_), 409, 'conflict', 'no case makes another customer')
        for @again;
    is_problem(checkout($again[0], { email => ucfirst lc $email }), 409,
               'conflict', 'nor does the body\'s address');
    is_problem(checkout(filled(1, coupon => 'ONCE')), 422, 'invalid_request',
               'nobody is no customer');
    push @wrong, sound(checkout($again[0], { email => $_ }), "e-mail '$_'",
        422) for " $email", "$email ", "\t$email", "$email\r\n",
                 "a b\@c", "\@$email", "\"a\"\@$email", '';
    push @wrong, sound(own($again[0], 'PUT', '/email', { email => $_ }),
        "cart's e-mail '$_'", 422)
        for " $email", "$email ", "$email\n", "a b\@c", '', 'x@', '@x', 'x';
    none('an address has no blanks', splice @wrong);

    is($t->sql("SELECT used FROM commerce.coupon WHERE code = 'ONCE'"), 1,
       'it was used once');

    # it comes back once, however often it is cancelled
    my @cancels = $t->race(8, [ map { [ 'POST',
        "/v1/orders/$nothing->{id}/cancel", undef,
        'X-Order-Token' => $nothing->{token} ] } 1 .. 16 ]);
    is(scalar(grep { $_->{status} == 200 } @cancels), 1, 'cancelled once');
    is($t->sql("SELECT used FROM commerce.coupon WHERE code = 'ONCE'"), 0,
       'its use came back once');

    # and goes once: many carts at the same time
    my @carts = map { filled(1, coupon => 'ONCE', email => $email) } 1 .. 12;
    my @orders = $t->race(12, [ map { [ 'POST',
        "/v1/carts/$_->{id}/checkout", undef, 'X-Cart-Token' => $_->{token},
        'Idempotency-Key' => $t->key ] } @carts ]);
    is(scalar(grep { $_->{status} == 201 } @orders), 1, 'one of twelve');
    push @wrong, sound($_, 'checkout', 201, 409) for @orders;
    none('the others are refused', splice @wrong);

    # pay nothing for it, once
    my ($won) = grep { $_->{status} == 201 } @orders;
    my @pays = $t->race(8, [ map { [ 'POST',
        "/v1/orders/$won->{json}{id}/payments",
        { provider => 'test', outcome => 'succeed' },
        'X-Order-Token' => $won->{json}{token} ] } 1 .. 8 ]);
    is(scalar(grep { $_->{status} == 201 } @pays), 1, 'paid once');
    is($t->admin('POST', "/v1/admin/orders/$won->{json}{id}/refunds",
       { amount => 1 }, 'Idempotency-Key' => $t->key)->{status}, 409,
       'no money comes back of nothing');
    is($t->admin('POST', "/v1/admin/orders/$won->{json}{id}/refunds", {},
       'Idempotency-Key' => $t->key)->{json}{amount}, 0, 'but the units do');
    is_problem($t->post("/v1/orders/$won->{json}{id}/cancel", undef,
               'X-Order-Token' => $won->{json}{token}), 409,
               'illegal_transition', 'what was paid is not cancelled');
}
audit('coupons');

# currencies
{
    my $yen = cart('JPY');
    push @wrong, sound(own($yen, 'POST', '/lines', { sku => 'tea',
        quantity => 1 }), 'no price', 422);
    push @wrong, sound(own($yen, 'PUT', '/shipping', { method => 'post',
        address => { country => 'DE' } }), 'no method', 422);
    own($yen, 'POST', '/lines', { sku => 'yen', quantity => 2 });
    push @wrong, sound(checkout($yen, { shipping => { method => 'post',
        address => { country => 'DE' } } }), 'no method', 422);
    push @wrong, sound(checkout($yen, { currency => 'USD' }), 'another', 422);
    none('what has no price in the currency is not to be had',
         splice @wrong);

    created('coupons', code => 'FIVE', kind => 'fixed',
            amounts => { USD => 500 }, minimum => { USD => 400 });
    is_problem(own($yen, 'PUT', '/coupon', { code => 'FIVE' }), 422,
               'invalid_request', 'dollars off yen');

    my $small = filled(1, coupon => 'FIVE');
    my $r = checkout($small);
    is(total_of($r), 0, 'no more than all is taken off');
    is($r->{json}{discount}, 499, 'as the discount says');

    # put in while it applied
    my $less = filled(2, coupon => 'FIVE');
    $t->sql(q{UPDATE commerce.coupon SET minimum = '{"USD": 900}',}
            . q{ version = version + 1 WHERE code = 'FIVE'});
    own($less, 'PATCH', "/lines/$variant", { quantity => 1 });
    is_problem(checkout($less), 409, 'conflict', 'a minimum that is missed');
}

# a coupon that is deleted takes its discount with it, and says so
{
    my $gone = created('coupons', code => 'GONE', kind => 'percent',
                       percent => 500_000);
    my $kept = filled(2, coupon => 'GONE');

    is(own($kept, 'GET', '', undef)->{json}{total}, 499, 'half of it');
    is($t->admin('DELETE', "/v1/admin/coupons/$gone->{id}", undef,
                 'If-Match' => '"1"')->{status}, 204, 'deleted');
    my $r = checkout($kept);
    is_problem($r, 409, 'conflict', 'nobody pays more unasked');
    is_deeply([ map { "$_->{pointer} $_->{code}" } @{ $r->{json}{errors} } ],
              [ '/coupon unknown_coupon' ], 'it says why');
    own($kept, 'DELETE', '/coupon', undef);
    is(total_of(checkout($kept)), 998, 'without it at its price');
}

# the address is that of the order, not that of the quote
{
    my $moved = filled(1);
    own($moved, 'PUT', '/shipping', { address => { country => 'FR' } });
    my $quoted = own($moved, 'GET', '', undef)->{json}{total};
    my $r = checkout($moved, { expected_total => $quoted, shipping =>
        { address => { country => 'de' }, method => 'post' } });
    is(total_of($r), 'price_changed', 'another address costs another total');
    is($r->{json}{total}, (499 + 500) + 95 + 95, 'the one with its taxes');
    is_problem(checkout($moved, { shipping => { method => 'post',
               address => { country => $_ } } }), 422, 'invalid_request',
               "a method is not to be had in $_") for 'FR', 'ZZ', 'fr';
    is(total_of(checkout($moved, { shipping => { method => 'post',
       address => { country => 'dE' } } })), (499 + 500) + 95 + 95,
       'no case makes another country');
}

# refunds: units beyond all amounts
{
    my $dear = paid(gold => 1);
    my $path = "/v1/admin/orders/$dear->{id}/refunds";

    for my $lines ([ 2 ], [ 1_000_000_000 ], [ (1_000_000_000) x 100 ],
                   [ 1, 1 ])
    {
        my $r = $t->admin('POST', $path, { lines => [ map { { sku => 'gold',
            quantity => $_ } } @$lines ] }, 'Idempotency-Key' => $t->key);

        is_problem($r, 409, 'conflict', 'more units than there are: '
                   . @$lines . " times $lines->[0]");
        is($r->{json}{remains}, 1, 'and what remains');
    }
    push @wrong, sound($t->admin('POST', $path, $_,
        'Idempotency-Key' => $t->key), JSON::PP->new->encode($_), 409, 422)
        for { amount => 9_007_199_254_740_991, shipping => 1 },
            { shipping => 1 }, { shipping => 9_007_199_254_740_991 },
            { amount => 0 }, { amount => -1 },
            { lines => [ { sku => 'tea', quantity => 1 } ] },
            { lines => [ { sku => 'gold', quantity => 1,
                           variant_id => $variant } ] },
            { lines => [ { quantity => 1 } ] }, { lines => [] },
            { lines => [ { sku => 'gold', quantity => 1 } ],
              amount => 9_007_199_254_740_991, shipping => 1 };
    none('refunds of what is not there', splice @wrong);

    my @parts = $t->race(10, [ map { [ 'POST', $path,
        { amount => 3_000_000_000_000_000 }, @staff,
        'Idempotency-Key' => $t->key ] } 1 .. 10 ]);
    is(scalar(grep { $_->{status} == 201 } @parts), 3,
       'ten thirds at once: three');
    push @wrong, sound($_, 'refund', 201, 409) for @parts;
    none('the others are refused', splice @wrong);
    my @rest = $t->race(6, [ map { [ 'POST', $path, {}, @staff,
        'Idempotency-Key' => $t->key ] } 1 .. 6 ]);
    is(scalar(grep { $_->{status} == 201 } @rest), 1, 'the rest: once');
    is($t->admin('GET', "/v1/admin/orders/$dear->{id}")->{json}{refunded},
       9_007_199_254_740_991, 'to the last cent');
}
audit('money');


# races

{
    # units are sent or given back, whichever comes first
    my $both = paid(tea => 10);
    my $path = "/v1/admin/orders/$both->{id}";
    my @steps = map { ([ 'POST', "$path/fulfilments", { lines => [ {
        sku => 'tea', quantity => 1 } ] }, @staff ],
        [ 'POST', "$path/refunds", { lines => [ { sku => 'tea',
          quantity => 1, restock => JSON::PP::true() } ] }, @staff,
          'Idempotency-Key' => $t->key ]) } 1 .. 14;
    my @done = $t->race(8, \@steps);
    push @wrong, sound($_, 'step', 201, 409) for @done;
    none('sent and given back at once', splice @wrong);
    my $line = $t->admin('GET', $path)->{json}{lines}[0];
    cmp_ok($line->{fulfilled}, '<=', 10, 'no more sent than bought');
    is($line->{refunded}, 10, 'no more given back than bought');

    # paid, cancelled by the guest, cancelled by the staff, told of
    for my $round (1 .. 8) {
        my $one = $t->order({ tea => 1 })->{json};
        my $event = $acme->event('payment.succeeded', order_id => $one->{id},
                                 amount => 499, currency => 'USD');
        my @token = ('X-Order-Token' => $one->{token});
        my @all = $t->race(8, [
            [ 'POST', "/v1/orders/$one->{id}/payments",
              { provider => 'test', outcome => 'succeed' }, @token ],
            [ 'POST', "/v1/orders/$one->{id}/cancel", undef, @token ],
            [ 'POST', "/v1/admin/orders/$one->{id}/cancel", undef, @staff ],
            $acme->request($event), $acme->request($event),
            [ 'POST', "/v1/orders/$one->{id}/payments",
              { provider => 'test', outcome => 'succeed' }, @token ],
            [ 'POST', "/v1/admin/orders/$one->{id}/refunds", {}, @staff,
              'Idempotency-Key' => $t->key ],
            [ 'POST', "/v1/admin/orders/$one->{id}/fulfilments", undef,
              @staff ],
        ]);
        push @wrong, sound($_, "round $round", 200, 201, 409) for @all;
        push @wrong, "round $round: paid twice"
            if $t->sql(q{SELECT count(*) FROM commerce.payment WHERE state =}
                       . qq{ 'succeeded' AND order_id = '$one->{id}'}) > 1;
    }
    none('an order is paid once or cancelled', splice @wrong);
}
audit('races');


# webhooks: what is signed rightly, and evil all the same

{
    my $one = $t->order({ tea => 1 })->{json};
    my $event = $acme->event('payment.succeeded', order_id => $one->{id},
                             amount => 499, currency => 'USD');
    my $text = JSON::PP->new->utf8->canonical->encode($event);

    for my $name ('test', 'other', '', 'acme/', 'ACME', 'acme%00', '%61cmE') {
        push @wrong, sound($acme->send($t, $event, name => $name),
                           "provider $name", 404, 400);
    }
    none('another provider in the path', splice @wrong);

    # numbers that are JSON and no number of the database
    my $n = 0;
    for my $number ('1e400', '-1e-400', '1e131072', '1e200000', '1e-20000',
        '1e999999999999', '0.' . '0' x 20_000 . '1', '9' x 60_000, '-0.0',
        '1E+2')
    {
        my $body = $text =~ s/^\{/{"note":$number,/r;
        $body =~ s/"evt_\w+"/"evt_number_@{[ ++$n ]}"/;
        push @wrong, sound($acme->send($t, $body), 'a note of '
                           . substr($number, 0, 20), 200, 400, 422);
    }
    none('numbers beyond the database', splice @wrong);

    $one = $t->order({ tea => 1 })->{json};
    $n = 0;
    for my $data (
        { amount => -499 }, { amount => 4.99 }, { amount => '499' },
        { amount => 9_007_199_254_740_992 }, { amount => undef },
        { amount => [ 499 ] }, { currency => 'usd' }, { currency => 'US' },
        { currency => undef }, { currency => "U\x{e9}" },
        { currency => 'USDX' }, { order_id => '' }, { order_id => 1 },
        { order_id => "{$one->{id}}" }, { order_id => uc "x$one->{id}" },
        { payment_id => 'x' x 256 }, { payment_id => {} },
        { payment_id => $one->{id} }, { amount => 0 }, { amount => 498 },
        { currency => 'JPY' }, { payment_id => "\x{1F375}" x 63 },
    ) {
        my $sent = $acme->event('payment.succeeded', order_id => $one->{id},
                                amount => 499, currency => 'USD');

        %{ $sent->{data} } = (%{ $sent->{data} }, %$data);
        # of these two the money is right: not for this order
        delete $sent->{data}{amount} if exists $data->{payment_id};
        push @wrong, sound($acme->send($t, $sent),
                           JSON::PP->new->canonical->encode($data), 200, 422);
    }
    none('data that is not right', splice @wrong);
    is($t->sql("SELECT state FROM commerce.orders WHERE id = '$one->{id}'"),
       'pending_payment', 'none of them paid');

    # one id, another body: the first counts
    my $good = $acme->event('payment.succeeded', order_id => $one->{id},
                            amount => 499, currency => 'USD');
    my $third = $t->order({ tea => 1 })->{json};
    is($acme->send($t, $good)->{json}{status}, 'applied', 'paid');
    my $stolen = { %$good, data => { %{ $good->{data} },
                                     order_id => $third->{id} } };
    is($acme->send($t, $stolen)->{json}{status}, 'duplicate',
       'the same event pays no other order');
    is($t->sql("SELECT state FROM commerce.orders WHERE id = '$third->{id}'"),
       'pending_payment', 'which waits');

    # large
    push @wrong, sound($acme->send($t, ' ' x $_), "$_ blanks", 413, 400)
        for 1, 262_144, 262_145, 1_048_576, 1_048_577;
    push @wrong, sound($acme->send($t, ''), 'nothing', 400, 401);
    push @wrong, sound($acme->send($t, '[' x 200_000), 'depth', 400);
    push @wrong, sound($acme->send($t, '{"id":"x","type":"y","z":'
        . '[' x 31 . ']' x 31 . '}'), 'a little depth', 200, 400);
    push @wrong, sound($acme->send($t, $_), "shape $_", 422)
        for '[]', '1', '{}', 'null', '{"id":1,"type":"x"}',
            '{"id":"","type":"x"}', '{"id":"x","type":[]}',
            '{"id":"x","type":"payment.succeeded"}',
            '{"id":"x","type":"payment.succeeded","data":[]}',
            '{"id":"' . 'x' x 256 . '","type":"y"}';
    push @wrong, sound($acme->send($t, $_), 'malformed', 400)
        for '{"id"', "{\"id\":\"\xff\"}", '{"id":"\u0000"}',
            '{"id":"\ud800"}', '{"id":"x","id":"y"}', '{}{}';
    my $at = time;
    push @wrong, sound($t->post('/v1/webhooks/acme', $text,
        'Commerce-Signature' => $_), 'signature ' . substr($_, 0, 40), 400,
        401) for "t=$at," . 'v1=' . 'a' x 6000, ',' x 6000, '=' x 100,
                 "t=$at,v1", 't=,v1=', "t=$at;v1=" . $acme->sign($text, $at),
                 "t=9223372036854775807,v1="
                 . $acme->sign($text, '9223372036854775807'),
                 "t=$at,t=$at,v1=" . $acme->sign($text, $at);
    none('webhooks of other shapes', splice @wrong);

    # many at once, of one event
    my $fourth = $t->order({ tea => 1 })->{json};
    my $once = $acme->event('payment.succeeded', order_id => $fourth->{id},
                            amount => 499, currency => 'USD');
    my @all = $t->race(10, [ ($acme->request($once)) x 30 ]);
    is(scalar(grep { ($_->{json}{status} // '') eq 'applied' } @all), 1,
       'thirty times, taken once');
    is(scalar(grep { ($_->{json}{status} // '') eq 'duplicate' } @all), 29,
       'the others are told so');
}
audit('webhooks');


# what was written down

my $log = join "\n", grep { !/\[debug\]/ } split /\n/, $t->log;
my $access = $t->access_log;
for ([ qr/quux/i, 'an e-mail address' ],
     [ qr/\Q$order->{token}\E/, 'an order\'s token' ],
     [ qr/nck_/, 'an API key' ],
     [ qr/\Q@{[ $acme->secret ]}\E/, 'a secret' ])
{
    unlike($log, $_->[0], "the log has not $_->[1]");
    unlike($access, $_->[0], "the access log has not $_->[1]");
}
# numbers that only the database refuses are told of
none('nothing in it is an error', grep { /\[(?:error|crit|alert|emerg)\]/
     && /commerce/ && !/an event was refused by the database, SQLSTATE 22003/ }
     split /\n/, $log);

$t->finish;
