# Staff: coupons; and how the uses of orders that came to nothing go back.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;
my ($true, $false) = (JSON::PP::true(), JSON::PP::false());
my $coupons = '/v1/admin/coupons';


sub pointers {
    my ($r) = @_;

    return join ' ', sort map { $_->{pointer} } @{ $r->{json}{errors} // [] };
}


sub coupon {
    my ($code, %more) = @_;

    my $r = $t->admin('POST', $coupons, { code => $code, kind => 'percent',
                                          percent => 100_000, %more });

    die "coupon $code: $r->{body}\n" if $r->{status} != 201;

    return $r->{json}{id};
}


# The statement of an order that has the coupon: what the checkout does.
sub used {
    my ($id, @orders) = @_;

    return sprintf q{UPDATE commerce.coupon SET used = used + %d }
        . q{WHERE id = '%s'; INSERT INTO commerce.coupon_use VALUES %s},
        scalar @orders, $id, join ', ', map { "('$id', '$_', 'a\@b')" }
        @orders;
}


sub orders { return map { $t->sql('SELECT gen_random_uuid()') } 1 .. $_[0] }


sub release {
    return 'SELECT commerce.coupon_release(ARRAY['
        . join(', ', map { "'$_'" } @_) . ']::uuid[])';
}


sub uses {
    my ($id) = @_;

    return $t->sql(qq{SELECT used, (SELECT count(*) FROM commerce.coupon_use
        WHERE coupon_id = c.id) FROM commerce.coupon c WHERE id = '$id'});
}


# create and read

my $r = $t->admin('POST', $coupons, {
    code => 'Summer-10%', kind => 'percent', percent => 100_000,
    minimum => { USD => 5000 }, starts_at => '2026-06-01T00:00:00+02:00',
    ends_at => '2026-09-01T00:00:00.5Z', limit_total => 1000,
    limit_per_customer => 1,
});
is($r->{status}, 201, 'a coupon is created') or diag($r->{body});
my $coupon = $r->{json};
my $path = "$coupons/$coupon->{id}";
is($r->{headers}{location}, $path, 'Location');
is($r->{headers}{etag}, '"1"', 'ETag');
is_deeply($t->admin('GET', $path, undef)->{json}, $coupon, 'read');
delete @{ $coupon }{qw(created_at updated_at)};
is_deeply($coupon, {
    id => $coupon->{id}, code => 'Summer-10%', kind => 'percent',
    percent => 100_000, amounts => undef, minimum => { USD => 5000 },
    starts_at => '2026-05-31T22:00:00.000000Z',
    ends_at => '2026-09-01T00:00:00.500000Z', limit_total => 1000,
    limit_per_customer => 1, used => 0, active => $true, version => 1,
}, 'as it was given, times in UTC');

for (
    [ { code => 'five', kind => 'fixed', amounts => { USD => 500 } },
      'an amount off' ],
    [ { code => 'ship', kind => 'free_shipping' }, 'free shipping' ],
) {
    is($t->admin('POST', $coupons, $_->[0])->{status}, 201, $_->[1]);
}

$r = $t->admin('POST', $coupons, { code => 'SUMMER-10%', kind => 'percent',
                                   percent => 1 });
is_problem($r, 409, 'conflict', 'a code has no case');
is(pointers($r), '/code', 'and it says where');

for (
    [ {}, '/percent', 'a percentage without one' ],
    [ { percent => 0 }, '/percent', 'nothing' ],
    [ { percent => 1_000_001 }, '/percent', 'more than all' ],
    [ { percent => 10.5 }, '/percent', 'a fraction' ],
    [ { percent => 1, amounts => { USD => 1 } }, '/amounts', 'both' ],
    [ { kind => 'fixed' }, '/amounts', 'an amount without one' ],
    [ { kind => 'fixed', amounts => {} }, '/amounts', 'none' ],
    [ { kind => 'fixed', amounts => { usd => 1 } }, '/amounts/usd',
      'a currency in small letters' ],
    [ { kind => 'fixed', amounts => { USD => -1 } }, '/amounts/USD',
      'a negative amount' ],
    [ { kind => 'fixed', amounts => { USD => 1 }, percent => 1 },
      '/percent', 'both, the other way' ],
    [ { kind => 'free_shipping', percent => 1 }, '/percent',
      'free shipping with a percentage' ],
    [ { kind => 'gift' }, '/kind', 'an unknown kind' ],
    [ { kind => undef }, '/kind', 'no kind' ],
    [ { percent => 1, code => 'a b' }, '/code', 'a blank' ],
    [ { percent => 1, code => "caf\x{e9}" }, '/code', 'what is not ASCII' ],
    [ { percent => 1, code => 'x' x 65 }, '/code', 'a long code' ],
    [ { percent => 1, minimum => { USD => 'x' } }, '/minimum/USD',
      'a text for a minimum' ],
    [ { percent => 1, starts_at => '2026-06-01' }, '/starts_at',
      'a day for a time' ],
    [ { percent => 1, starts_at => '2026-06-01T00:00:00' }, '/starts_at',
      'a time without its zone' ],
    [ { percent => 1, ends_at => '2026-02-30T00:00:00Z' }, '/ends_at',
      'a day that there is not' ],
    [ { percent => 1, starts_at => '2026-06-01T02:00:00+02:00',
        ends_at => '2026-06-01T00:00:00Z' }, '/ends_at',
      'an end at its start' ],
    [ { percent => 1, limit_total => 0 }, '/limit_total', 'a limit of 0' ],
    [ { percent => 1, limit_per_customer => -1 }, '/limit_per_customer',
      'a limit below 0' ],
    [ { percent => 1, used => 3 }, '/used', 'uses' ],
) {
    my ($body, $pointer, $name) = @$_;

    $r = $t->admin('POST', $coupons,
                   { code => 'bad', kind => 'percent', %$body });
    is_problem($r, 422, 'invalid_request', "$name is refused");
    is(pointers($r), $pointer, "$name is named");
}

is(join(' ', map { $_->{code} } @{ $t->admin('GET',
    "$coupons?code=FIVE", undef)->{json}{data} }), 'five', 'found by its code');
is(join(' ', map { $_->{code} } @{ $t->admin('GET', $coupons, undef)
    ->{json}{data} }), 'Summer-10% five ship', 'the list');


# replace: uses stay, and do not move the version

my $id = $coupon->{id};
my @orders = orders(3);
$t->sql(used($id, @orders));
is($t->admin('GET', $path, undef)->{json}{used}, 3, 'uses are shown');
my $new = { code => 'summer-15', kind => 'fixed', amounts => { USD => 15 },
            limit_total => 2 };
is_problem($t->admin('PUT', $path, $new), 428, 'precondition_required',
           'a change needs If-Match');
is_problem($t->admin('PUT', $path, $new, 'If-Match' => '2'), 412,
           'version_conflict', 'of the current version');
$r = $t->admin('PUT', $path, $new, 'If-Match' => '1');
is($r->{status}, 200, 'which uses do not move') or diag($r->{body});
is_deeply([ @{ $r->{json} }{qw(code kind percent amounts minimum starts_at
                               limit_total limit_per_customer used version)} ],
          [ 'summer-15', 'fixed', undef, { USD => 15 }, undef, undef, 2,
            undef, 3, 2 ], 'replaced; what is left out is gone, uses stay');
$r = $t->admin('PUT', $path, $new, 'If-Match' => '2');
is($r->{headers}{etag}, '"2"', 'no change is no version');
$r = $t->admin('PUT', $path, { %$new, code => 'FIVE' }, 'If-Match' => '2');
is_problem($r, 409, 'conflict', 'nor the code of another');
$r = $t->admin('PUT', $path, { %$new, code => 'SUMMER-15',
                               active => $false }, 'If-Match' => '2');
is("$r->{status} $r->{json}{code}", '200 SUMMER-15',
   'its own in another case');


# delete: not while orders have it

is_problem($t->admin('DELETE', $path, undef), 428, 'precondition_required',
           'the end needs If-Match too');
$r = $t->admin('DELETE', $path, undef, 'If-Match' => '3');
is_problem($r, 409, 'conflict', 'a coupon that orders have stays');
like($r->{json}{detail}, qr/active/, 'and what to do instead');
$t->sql(release(@orders));
is_problem($t->admin('DELETE', $path, undef, 'If-Match' => '2'), 412,
           'version_conflict', 'of the current version too');
is($t->admin('DELETE', $path, undef, 'If-Match' => '3')->{status}, 204,
   'deleted when they came to nothing');
is_problem($t->admin('GET', $path, undef), 404, 'not_found', 'gone');
is($t->admin('POST', $coupons, { code => 'summer-15', kind => 'percent',
                                 percent => 1 })->{status}, 201,
   'its code is free');


# eight of the same code

my @answers = $t->race(8, [ map { [
    'POST', $coupons, { code => $_ % 2 ? 'ONCE' : 'once', kind => 'percent',
                        percent => 1 },
    Authorization => 'Bearer ' . $t->api_key,
] } 1 .. 8 ]);
is(join(' ', sort map { $_->{status} } @answers),
   '201 409 409 409 409 409 409 409', 'of eight at once one wins');


# what a cart makes of them

sub on_cart {
    my ($method, $cart, $rest, $body) = @_;

    return $t->request($method, "/v1/carts/$cart->{id}$rest", $body,
                       'X-Cart-Token' => $cart->{token});
}


# A cart of two pens at 10.00, and what comes of a coupon on it.
sub apply {
    my ($code, $currency) = @_;

    my $cart = $t->post('/v1/carts', { currency => $currency // 'USD' })
        ->{json};

    on_cart('POST', $cart, '/lines', { sku => 'pen', quantity => 2 });

    my $r = on_cart('PUT', $cart, '/coupon', { code => $code });

    return $r->{json}{errors}[0]{code} // '' if $r->{status} != 200;

    return join ' ', $r->{json}{discount},
        map { $_->{code} } @{ $r->{json}{warnings} };
}


$t->import_rows({ type => 'product', slug => 'pen', title => 'Pen',
                  variants => [ { sku => 'pen', stock => 9,
                                  prices => { USD => 1000, EUR => 900 } } ] });

coupon('tenth');
coupon('third', percent => 333_333);
coupon('lot', kind => 'fixed', percent => undef,
       amounts => { USD => 2500, EUR => 1 });
coupon('dollars', kind => 'fixed', percent => undef,
       amounts => { USD => 700 });
coupon('over-20', minimum => { USD => 2000 });
coupon('over-20.01', minimum => { USD => 2001 });
coupon('soon', starts_at => '2999-01-01T00:00:00Z');
coupon('past', ends_at => '2001-01-01T00:00:00+14:00');
coupon('now', starts_at => '2001-01-01T00:00:00Z',
       ends_at => '2999-01-01T00:00:00Z');
coupon('off', active => $false);
$t->sql(used(coupon('gone', limit_total => 2), orders(2)));
$t->sql(used(coupon('last', limit_total => 3), orders(2)));

for (
    [ [ 'tenth' ], '200', 'a tenth, without any limit' ],
    [ [ 'TENTH' ], '200', 'in whatever case' ],
    [ [ 'tenth', 'EUR' ], '180', 'in another currency' ],
    [ [ 'third' ], '667', 'rounded once: 666.67' ],
    [ [ 'lot' ], '2000', 'never more than there is' ],
    [ [ 'lot', 'EUR' ], '1', 'its amount in the currency' ],
    [ [ 'dollars' ], '700', 'an amount' ],
    [ [ 'dollars', 'EUR' ], 'coupon_currency', 'not in the currency' ],
    [ [ 'over-20' ], '200', 'a minimum that is reached' ],
    [ [ 'over-20.01' ], '0 coupon_minimum', 'by a cent not' ],
    [ [ 'over-20', 'EUR' ], 'coupon_currency',
      'a minimum leaves out other currencies' ],
    [ [ 'soon' ], 'coupon_not_started', 'before its time' ],
    [ [ 'past' ], 'coupon_expired', 'after it' ],
    [ [ 'now' ], '200', 'in it' ],
    [ [ 'off' ], 'coupon_inactive', 'switched off' ],
    [ [ 'gone' ], 'coupon_used_up', 'used up' ],
    [ [ 'last' ], '200', 'one use left' ],
    [ [ 'none' ], 'unknown_coupon', 'unknown' ],
) {
    my ($arguments, $wanted, $name) = @$_;

    is(apply(@$arguments), $wanted, "a coupon: $name");
}


# uses go back with their orders, each once

my ($first, $second) = sort(coupon('a'), coupon('b'));
my @mine = orders(3);
my @others = orders(2);

$t->sql(used($first, @mine));
$t->sql(used($second, @others));

is($t->sql(release($mine[0])), 1, 'one order');
is(uses($first), '2|2', 'gives its use back');
is($t->sql(release($mine[0])), 0, 'once');
is(uses($first), '2|2', 'not twice');
is($t->sql(release($mine[1], $others[0], orders(1))), 2,
   'orders of several coupons, and one of none');
is(uses($first) . ' ' . uses($second), '1|1 1|1', 'each its own');
is($t->sql('SELECT commerce.coupon_release(ARRAY[]::uuid[])'), 0, 'no order');


# coupons are locked in their order, whatever the order of the orders

my ($holder, $releaser) = ($t->session, $t->session);
my $waits = q{SELECT count(*) FROM pg_stat_activity WHERE datname =}
          . q{ current_database() AND wait_event_type = 'Lock'}
          . q{ AND query LIKE '%coupon_release%' AND pid <> pg_backend_pid()};

$holder->query("BEGIN; SELECT FROM commerce.coupon WHERE id = '$first'"
             . ' FOR NO KEY UPDATE');
$releaser->send(release($others[1], $mine[2]));
ok((wait_until { $t->sql($waits) } 20), 'it waits for the first');
is($holder->query("SELECT code <> '' FROM commerce.coupon WHERE id ="
                . " '$second' FOR NO KEY UPDATE NOWAIT"), 't',
   'and has not taken the second yet');
$holder->query('ROLLBACK');
is($releaser->read, 2, 'then it gives both back');
is(uses($first) . ' ' . uses($second), '0|0 0|0', 'all are back');


# two releases of one order at the same time

my @last = orders(1);
$t->sql(used($first, @last));
$holder->query('BEGIN');
is($holder->query(release(@last)), 1, 'the first gives it back');
$releaser->send(release(@last));
ok((wait_until { $t->sql($waits) } 20), 'the second waits');
$holder->query('COMMIT');
is($releaser->read, 0, 'and finds nothing to give back');
is(uses($first), '0|0', 'used is not below what there is');

$t->finish;
