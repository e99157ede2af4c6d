# What the staff see of orders: lists and events.

use Commerce::Test;

my $t = Commerce::Test->new(workers => 2)->start;

$t->product('tea', price => 499, stock => 1000);


sub buy {
    my (%more) = @_;

    my $r = $t->post('/v1/orders', { currency => 'USD',
        lines => [ { sku => 'tea', quantity => 1 } ], %more },
        'Idempotency-Key' => $t->key);

    die "order: $r->{status} $r->{body}\n" if $r->{status} != 201;

    return $r->{json};
}


sub list {
    my ($query) = @_;

    return $t->admin('GET', '/v1/admin/orders' . ($query ? "?$query" : ''));
}


sub ids { return join ' ', map { $_->{id} } @_ }
sub listed { return ids(@{ list(@_)->{json}{data} // [] }) }


# pages, newest first

is_deeply(list()->{json}, { data => [], has_more => JSON::PP::false(),
                            next => undef }, 'no order yet');

my @orders = map { buy() } 1 .. 25;
my @newest = reverse @orders;
my $r = list();

is($r->{status}, 200, 'a list') or diag($r->{body});
is(ids(@{ $r->{json}{data} }), ids(@newest[0 .. 19]), 'twenty, newest first');
ok($r->{json}{has_more}, 'and more');

my $row = $r->{json}{data}[0];
is_deeply([ @$row{qw(state currency total version)} ],
          [ 'pending_payment', 'USD', 499, 1 ], 'an order');
ok(!exists $row->{token}, "without the guest's token");
ok(!exists $row->{lines}, 'and without its lines');
is($row->{created_at}, $newest[0]{created_at}, 'with its time');

$r = list("after=$r->{json}{next}");
is(ids(@{ $r->{json}{data} }), ids(@newest[20 .. 24]), 'the next page');
ok(!$r->{json}{has_more}, 'is the last');
is($r->{json}{next}, undef, 'without a cursor');

my ($after, @seen) = ('limit=7');
for my $n (1 .. 10) {
    $r = list($after)->{json};
    push @seen, map { $_->{id} } @{ $r->{data} };
    push @orders, buy() if $n == 2;
    last unless $r->{has_more};
    $after = "limit=7&after=$r->{next}";
}
is(join(' ', @seen), ids(@newest),
   'pages of seven: each once, whatever is ordered meanwhile');
is(listed('limit=1'), $orders[-1]{id}, 'what was ordered meanwhile is first');


# by state

my ($paid, $sent, $back, $cancelled) = @orders[3, 8, 11, 15];
$t->pay($_) for $paid, $sent, $back;
$t->admin('POST', "/v1/admin/orders/$sent->{id}/fulfilments");
$t->admin('POST', "/v1/admin/orders/$back->{id}/refunds", { amount => 1 },
          'Idempotency-Key' => $t->key);
$t->admin('POST', "/v1/admin/orders/$cancelled->{id}/cancel");

is(listed('state=paid'), $paid->{id}, 'one is paid');
is(listed('state=fulfilled'), $sent->{id}, 'one is fulfilled');
is(listed('state=partially_refunded'), $back->{id}, 'one is refunded a bit');
is(listed('state=cancelled'), $cancelled->{id}, 'one is cancelled');
is(listed('state=expired'), '', 'none is expired');
my %done = map { $_->{id} => 1 } $paid, $sent, $back, $cancelled;
is(listed('state=pending_payment&limit=100'),
   ids(grep { !$done{ $_->{id} } } reverse @orders), 'the others wait');
is(list('state=fulfilled')->{json}{data}[0]{version}, 3,
   'a row is of today');


# by who bought

my @anns = map { buy(email => $_) } 'ann@example.com', 'Ann@Example.COM';
buy(email => 'bob@example.com');
is(listed('email=ann%40example.com'), ids(reverse @anns),
   'by e-mail, without regard to case');
is(listed('email=ANN@EXAMPLE.com&limit=1'), $anns[1]{id}, 'a page of them');
$t->pay($anns[0]);
is(listed('email=ann@example.com&state=paid'), $anns[0]{id}, 'and by state');
is(listed('email=ann%25'), '', 'an e-mail is no pattern');

my $customer = '01890a5d-ac96-774b-bcce-b302099a8057';
my $theirs = join ', ', map { "'$_->{id}'" } @anns[0, 1], $orders[2];
$t->sql("UPDATE commerce.orders SET customer_id = '$customer'"
      . " WHERE id IN ($theirs)");
is(listed("customer_id=$customer"), ids($anns[1], $anns[0], $orders[2]),
   'by customer');
is(list("customer_id=$customer")->{json}{data}[0]{customer_id}, $customer,
   'who is named');
is(listed("customer_id=$customer&state=pending_payment"),
   ids($anns[1], $orders[2]), 'and by state');
is(listed("customer_id=$customer&email=ann%40example.com&state=paid"),
   $anns[0]{id}, 'and by all of them');
is(listed('customer_id=01890a5d-ac96-774b-bcce-b302099a8058'), '',
   'somebody else');


# by time

my $at = $orders[5]{created_at};
is(listed("created_before=$at&limit=100"), ids(reverse @orders[0 .. 4]),
   'before a time: not at it');
is(listed("created_after=$orders[3]{created_at}&created_before=$at"),
   $orders[4]{id}, 'between two');
is((split / /, listed("created_after=$at&limit=100"))[-1], $orders[6]{id},
   'after a time');
is(listed("created_after=$orders[0]{created_at}&created_before=$at&limit=2"
        . '&after=' . list("created_before=$at&limit=2")->{json}{next}),
   ids(@orders[2, 1]), 'pages of them');
is(listed('created_before=2000-01-01T00:00:00%2B01:00'), '', 'long ago');
is(listed("created_before=$at&state=pending_payment"),
   ids(reverse @orders[0 .. 2, 4]), 'and by state');
is(listed("created_before=$at&state=paid"), $paid->{id}, 'of any kind');

# ids are made by workers, times by the database: clocks differ
$t->sql("UPDATE commerce.orders SET created_at = created_at"
      . " + interval '10 minutes' WHERE id = '$orders[0]{id}'");
$at = $t->sql("SELECT commerce.api_time(created_at - interval '1 second')"
            . " FROM commerce.orders WHERE id = '$orders[0]{id}'");
is(listed("created_after=$at"), $orders[0]{id},
   'a clock that is ten minutes off hides no order');


# what is refused

for (
    [ 'limit=0', 'no page' ], [ 'limit=101', 'a huge page' ],
    [ 'limit=x', 'a limit that is none' ],
    [ 'after=x', 'a cursor that is none' ],
    [ 'state=lost', 'a state that is none' ],
    [ 'customer_id=1', 'an id that is none' ],
    [ 'created_after=yesterday', 'a time that is none' ],
    [ 'created_before=2026-11-22', 'a day' ],
    [ 'created_after=2026-02-30T00:00:00Z', 'a day that is none' ],
    [ 'email=' . 'x' x 255, 'a long address' ],
    [ 'email=%FF', 'what is no text' ],
) {
    my ($query, $name) = @$_;

    is_problem(list($query), 422, 'invalid_request', "$name is refused");
}

is(list('colour=red&limit=1')->{status}, 200,
   'arguments that are not understood are ignored');
is(listed('state=&limit=1'), listed('limit=1'), 'an empty one is none');

is_problem($t->get('/v1/admin/orders'), 401, 'unauthenticated', 'for whom?');
$r = $t->get('/v1/admin/orders',
             Authorization => 'Bearer ' . $t->api_key('products:read'));
is_problem($r, 403, 'forbidden', 'for those with the scope');
like($r->{json}{detail} // '', qr/orders:read/, 'which is named');
$r = $t->admin('POST', '/v1/admin/orders', {});
is_problem($r, 405, 'method_not_allowed', 'POST');
is($r->{headers}{allow}, 'GET, HEAD', 'Allow');


# events

sub events {
    my ($order, $query) = @_;

    return $t->admin('GET', "/v1/admin/orders/$order->{id}/events"
                            . ($query ? "?$query" : ''));
}


$r = events($orders[0]);
is($r->{status}, 200, 'events') or diag($r->{body});
is(scalar @{ $r->{json}{data} }, 1, 'a new order has one');
my $event = $r->{json}{data}[0];
is_deeply([ sort keys %$event ], [ qw(actor created_at data seq state type) ],
          'its members');
is_deeply([ @$event{qw(seq type state actor)} ],
          [ 1, 'placed', 'pending_payment', 'guest' ], 'it was placed');
is_deeply($event->{data}, { total => 499, currency => 'USD' }, 'for so much');

$r = events($cancelled)->{json}{data};
is_deeply([ map { @$_{qw(seq type state actor)} } $r->[1] ],
          [ 2, 'cancelled', 'cancelled', 'key:test' ], 'then cancelled');

my $order = buy();
$t->pay($order);
for (1 .. 3) {
    $t->admin('POST', "/v1/admin/orders/$order->{id}/refunds",
              { amount => 100 + $_, reason => "reason $_" },
              'Idempotency-Key' => $t->key);
}
$t->admin('POST', "/v1/admin/orders/$order->{id}/fulfilments",
          { tracking => 'JD0146' });
my @all = @{ events($order)->{json}{data} };
my ($refund) = grep { $_->{type} eq 'refunded' } @all;
is($refund->{data}{amount}, 101, 'an event has its numbers');
is($refund->{data}{reason}, 'reason 1', 'and reasons');
is($all[-1]{type}, 'fulfilled', 'the last one is the shipment');
is($all[-1]{data}{tracking}, 'JD0146', 'with its tracking');
is($all[-1]{data}{units}, 1, 'and units');
is($all[-1]{state}, 'partially_refunded', 'and the state after it');
is($all[-1]{seq}, $t->admin('GET', "/v1/admin/orders/$order->{id}")
   ->{json}{version}, 'its number is the version');

$r = events($order, 'limit=2')->{json};
is($r->{data}[1]{seq}, $all[1]{seq}, 'a page of events');
ok($r->{has_more}, 'and more');
@seen = @{ $r->{data} };
while ($r->{has_more}) {
    $r = events($order, "limit=2&after=$r->{next}")->{json};
    push @seen, @{ $r->{data} };
}
is_deeply(\@seen, \@all, 'pages have all of them');
is_deeply(events($order, 'after=99')->{json},
          { data => [], has_more => JSON::PP::false(), next => undef },
          'after the last one there is none');
is_problem(events($order, 'after=x'), 422, 'invalid_request', 'no cursor');
is_problem(events($order, 'limit=0'), 422, 'invalid_request', 'no page');
is_problem(events({ id => $customer }), 404, 'not_found', 'no such order');
is_problem(events({ id => 'xyz' }), 404, 'not_found', 'an id that is none');
is_problem($t->get("/v1/admin/orders/$order->{id}/events",
                   'X-Order-Token' => $order->{token}), 401,
           'unauthenticated', 'the buyer does not see them');

$t->finish;
