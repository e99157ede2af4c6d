# Money that comes after the order's time: it takes the units anew, all or
# none, or it is due back, and everybody is told which.

use Commerce::Instances qw(best_of);
use Commerce::Test;
use Commerce::Test::Provider;

my $acme = Commerce::Test::Provider->new('acme');
my $t = Commerce::Test->new(workers => 2, directives => {
    commerce_payment_provider => [ 'test', $acme->directive ],
    commerce_lease_block => 1,
})->start;


sub expired {
    my ($lines) = @_;

    my $order = order($lines);

    expire($order);

    return $order;
}


# News of units that came free may be on its way still.
sub order {
    my ($lines) = @_;
    my $r;

    wait_until { ($r = $t->order($lines))->{status} == 201 }
        or die "no order: $r->{body}\n";

    return $r->{json};
}


# Their time is over.
sub expire {
    my (@orders) = @_;
    my $ids = join ', ', map { "'$_->{id}'" } @orders;

    $t->sql('UPDATE commerce.orders SET expires_at = now()'
            . " WHERE id IN ($ids)");
    wait_until {
        $t->sql("SELECT count(*) FROM commerce.orders WHERE state = 'expired'"
                . " AND id IN ($ids)") == @orders;
    } 10 or die "orders do not expire\n";
}


sub state_of {
    return $t->sql('SELECT state FROM commerce.orders'
                   . " WHERE id = '$_[0]{id}'");
}


sub payment_of {
    return $t->sql("SELECT state || coalesce(' ' || reason, '')"
        . " FROM commerce.payment WHERE order_id = '$_[0]{id}'");
}


sub last_event {
    return $t->sql("SELECT type || ' ' || state || coalesce(' ' ||"
        . " (data->>'reason'), '') || CASE WHEN data->>'late' = 'true'"
        . " THEN ' late' ELSE '' END FROM commerce.order_event"
        . " WHERE order_id = '$_[0]{id}' ORDER BY seq DESC LIMIT 1");
}


sub paid {
    my ($order, %data) = @_;

    return $acme->event('payment.succeeded', order_id => $order->{id},
        amount => $order->{total}, currency => 'USD', %data);
}


sub units {
    my $stock = $t->stock($_[0]);

    return "$stock->{held} $stock->{sold}";
}


# by a webhook

$t->product('tea', price => 499, stock => 100);
my $order = expired({ tea => 3 });

is(units('tea'), '0 0', 'an expired order holds nothing');
my $r = $acme->send($t, paid($order));
is($r->{json}{status}, 'applied', 'its money comes late');
is($r->{json}{order_state}, 'paid', 'and pays it all the same');
is($r->{json}{payment_state}, 'succeeded', 'the payment succeeded');
is(state_of($order), 'paid', 'the order is paid');
is(last_event($order), 'paid paid late', 'its event tells that it was late');
is(units('tea'), '0 3', 'its units are sold');
is($t->metrics->{commerce_payments_late_total}, 1, 'a metric counts it');
is($acme->send($t, paid($order))->{json}{reason}, 'already_paid',
   'paid once only');
is(units('tea'), '0 3', 'and its units are taken once');

$order = expired({ tea => 1 });
$r = $acme->send($t, paid($order, amount => 498));
is($r->{json}{reason}, 'amount_differs', 'late and too little');
is(state_of($order), 'expired', 'the order stays expired');
is(units('tea'), '0 3', 'without units');
is(last_event($order), 'payment_refund_due expired amount_differs late',
   'its event says why');

$order = $t->order({ tea => 1 })->{json};
my $intent = $t->post("/v1/orders/$order->{id}/payments",
    { provider => 'acme' }, 'X-Order-Token' => $order->{token})->{json};
expire($order);
$r = $acme->send($t, paid($order, payment_id => $intent->{id}));
is($r->{json}{order_state}, 'paid', 'a late intent pays, too');
is($r->{json}{payment_id}, $intent->{id}, 'as itself');


# by the provider "test"

$order = expired({ tea => 2 });
is_problem($t->pay($order, 'decline'), 409, 'illegal_transition',
           'an expired order has nothing to decline');
is_problem($t->pay($order, 'pending'), 409, 'illegal_transition',
           'and takes no new intent');
my $key = $t->key;
$r = $t->pay($order, 'succeed', 'Idempotency-Key' => $key);
is($r->{status}, 201, 'a late payment of provider test');
is($r->{json}{state}, 'succeeded', 'takes the same way');
is(state_of($order), 'paid', 'paid');
is(last_event($order), 'paid paid late', 'as its event tells');
my $again = $t->pay($order, 'succeed', 'Idempotency-Key' => $key);
is($again->{json}{id}, $r->{json}{id}, 'a replay of its key is itself');
is($again->{headers}{'idempotent-replayed'}, 'true', 'and says so');
is_problem($t->pay($order), 409, 'illegal_transition', 'no second payment');


# nothing is left

$t->product('mug', price => 1000, stock => 2);
my @late = map { expired({ mug => 2 }) } 1 .. 3;
my $buyer = order({ mug => 1 });
$t->pay($buyer);

$r = $acme->send($t, paid($late[0]));
is($r->{json}{reason}, 'out_of_stock', 'the units were sold to another');
is($r->{json}{payment_state}, 'refund_due', 'the money is due back');
is($r->{json}{order_state}, 'expired', 'the order stays expired');
is(last_event($late[0]), 'payment_refund_due expired out_of_stock late',
   'its event says why');
is($t->metrics->{commerce_payments_refund_due_total}, 3, 'a metric counts it');

$r = $t->pay($late[1]);
is($r->{status}, 201, 'so it is with provider test');
is("$r->{json}{state} $r->{json}{reason}", 'refund_due out_of_stock',
   'the answer says it');
is($t->sql("SELECT count(*) FROM commerce.payment WHERE state = 'refund_due'"
           . ' AND refunded < amount'), 4, 'what is due can be listed');
is($t->stock('mug')->{sold}, 1, 'nobody got what was not there');

$t->pay(order({ mug => 1 }));
is_deeply([ @{ $t->stock('mug') }{qw(free leased sold)} ], [ 0, 0, 2 ],
          'all are sold');


# its answer is today's: the key of the order gives it back as it is now

$key = $t->key;
my @request = $t->order_request({ tea => 1 }, 'Idempotency-Key' => $key);
$order = $t->request(@request)->{json};
expire($order);
ok((wait_until { $t->request(@request)->{json}{state} eq 'expired' }),
   'a replay of it: expired');
$acme->send($t, paid($order));
is($t->request(@request)->{json}{state}, 'paid', 'and paid late');


# all lines or none

$t->product('pen', price => 100, stock => 5);
$t->product('ink', price => 200, stock => 5);
$order = expired({ pen => 2, ink => 2 });
my $other = expired({ pen => 2, ink => 2 });
$t->pay(order({ ink => 4 }));
$r = $acme->send($t, paid($order));
is($r->{json}{reason}, 'out_of_stock', 'one of two lines is short');
is($t->stock('pen')->{sold}, 0, 'nothing of the other was taken');
is_deeply([ @{ $t->stock('ink') }{qw(held sold)} ], [ 0, 4 ],
          'nor of the short one');
$t->admin('POST', '/v1/admin/stock/ink/adjustments',
          { delta => 2, reason => 'receipt' }, 'Idempotency-Key' => $t->key);
is($acme->send($t, paid($other))->{json}{order_state}, 'paid',
   'with more there is enough');
is($t->stock('pen')->{sold} . $t->stock('ink')->{sold}, 26, 'of both');


# units in the pools of running instances: these are asked once, and have 0.3 s
# to give back

my $second = $t->instance(workers => 1, directives => {
    commerce_payment_provider => [ 'test', $acme->directive ],
    commerce_lease_block => 64,
});
$second->start;
ok(best_of(3, sub {
    my ($round) = @_;
    my $sku = "cup-$round";

    $t->product($sku, price => 300, stock => 10);

    my $order = expired({ $sku => 6 });

    expire(map { $second->request($t->order_request({ $sku => 1 }))->{json} }
               1 .. 3);

    my $free = $t->sql('SELECT s.free FROM commerce.stock s JOIN'
        . " commerce.variant v ON v.id = s.variant_id WHERE v.sku = '$sku'");
    cmp_ok($free, '<', 10, "$free of 10 units are free, instances have others");

    my $late = $acme->send($t, paid($order));
    note(sprintf '%s in %.2f s', $late->{body}, $late->{time});
    $late->{json}{order_state} eq 'paid' && $late->{time} < 2 or return;

    $order = expired({ $sku => 4 });
    $t->pay($order)->{json}{state} eq 'succeeded' or return;
    is_deeply([ @{ $t->stock($sku) }{qw(free leased held sold)} ],
              [ 0, 0, 0, 10 ], 'to the last unit');

    return 1;
}), 'they give back what a late payment needs, soon, for each provider');


# a payment that lands after the timeout release must not oversell:
# hfbin/Seckill#14, newbee-mall#97, codingXiaxw/seckill#41

$t->product('hat', price => 700, stock => 8);
@late = ();

for (1 .. 3) {
    my @batch = map { order({ hat => 1 }) } 1 .. 8;

    expire(@batch);
    push @late, @batch;
}

is(scalar @late, 24, '24 orders of 8 units have expired');

my @answers = $t->race(12, [
    (map { $acme->request(paid($_)) } @late[0 .. 11]),
    (map { [ 'POST', "/v1/orders/$_->{id}/payments",
             { provider => 'test', outcome => 'succeed' },
             'X-Order-Token' => $_->{token} ] } @late[12 .. 23]),
    (map { [ 'POST', '/v1/orders', { currency => 'USD',
             lines => [ { sku => 'hat', quantity => 1 } ] },
             'Idempotency-Key' => $t->key ] } 1 .. 6),
]);

is(scalar(grep { $_->{status} !~ /^(?:200|201|409)$/ } @answers), 0,
   'all are paid at once: each gets an answer')
    or diag(join "\n", map { $_->{body} } @answers);
my $sold = $t->sql("SELECT count(*) FROM commerce.orders WHERE state = 'paid'"
    . ' AND id IN (' . join(', ', map { "'$_->{id}'" } @late) . ')');
my $due = $t->sql("SELECT count(*) FROM commerce.payment WHERE state ="
    . " 'refund_due' AND reason = 'out_of_stock' AND order_id IN ("
    . join(', ', map { "'$_->{id}'" } @late) . ')');
my $held = grep { ($_->{json}{state} // '') eq 'pending_payment' } @answers;

cmp_ok($sold + $held, '<=', 8, "$sold got units, $held new orders did");
is($sold + $due, 24, 'each of the others gets its money back');
is($t->stock('hat')->{sold}, $sold, 'no unit is sold twice');


# one expired order is paid late by many at once

$t->product('cap', price => 100, stock => 50);
@late = map { $t->order({ cap => 2 })->{json} } 1 .. 4;
expire(@late);

for my $order (@late) {
    @answers = $t->race(8, [
        (map { [ 'POST', "/v1/orders/$order->{id}/payments",
                 { provider => 'test', outcome => 'succeed' },
                 'X-Order-Token' => $order->{token} ] } 1 .. 8),
        (map { $acme->request(paid($order, payment_id => "ch_$_")) } 1 .. 4),
    ]);
    my $won = grep { ($_->{json}{state} // $_->{json}{payment_state} // '')
                     eq 'succeeded' } @answers;

    is($won, 1, 'one of twelve pays it');
    cmp_ok(scalar(grep { $_->{status} == 201 } @answers[0 .. 7]), '<=', 1,
           'the browsers that are too late are told so');
    is($t->sql("SELECT count(*) FROM commerce.payment WHERE order_id ="
               . " '$order->{id}' AND state = 'succeeded'"), 1, 'once');
}

is($t->stock('cap')->{sold}, 8, 'and its units are taken once');


# the coupon's use was given back, too: vendure PR #4660, saleor#544

sub coupon {
    my ($code, %limits) = @_;

    my $r = $t->admin('POST', '/v1/admin/coupons',
        { code => $code, kind => 'percent', percent => 100_000, %limits });

    die "coupon $code: $r->{body}\n" if $r->{status} != 201;

    return $r->{json}{id};
}


# Expired orders that had the coupon, one for each e-mail address.
sub expired_with {
    my ($coupon, $code, $sku, @emails) = @_;

    my @orders = map { order({ $sku => 1 }) } @emails;

    for my $i (0 .. $#orders) {
        $t->sql("BEGIN; UPDATE commerce.orders SET coupon_code = '$code',"
            . " email = '$emails[$i]' WHERE id = '$orders[$i]{id}';"
            . ' UPDATE commerce.coupon SET used = used + 1 WHERE id ='
            . " '$coupon'; INSERT INTO commerce.coupon_use VALUES ('$coupon',"
            . " '$orders[$i]{id}', lower('$emails[$i]')); COMMIT");
    }

    expire(@orders);

    return @orders;
}


sub uses {
    return $t->sql("SELECT used || ' ' || (SELECT count(*) FROM"
        . " commerce.coupon_use u WHERE u.coupon_id = c.id)"
        . " FROM commerce.coupon c WHERE id = '$_[0]'");
}


my $coupon = coupon('ONCE', limit_total => 1);
@late = expired_with($coupon, 'once', 'tea', 'a@b', 'a@b');
is(uses($coupon), '0 0', 'expired orders use no coupon');
$sold = $t->stock('tea')->{sold};
is($acme->send($t, paid($late[0]))->{json}{order_state}, 'paid',
   'a late payment uses it anew');
is(uses($coupon), '1 1', 'once');
is($t->pay($late[1])->{json}{reason}, 'coupon_used_up',
   'the next one finds it used up');
is(uses($coupon), '1 1', 'and does not use it');
is($t->stock('tea')->{sold}, $sold + 1, 'nor units');

$coupon = coupon('EACH', limit_per_customer => 1);
@late = expired_with($coupon, 'EACH', 'tea', 'Ann@b', 'ann@B', 'bob@b');
is_deeply([ map { $t->pay($_)->{json}{state} } @late ],
          [ qw(succeeded refund_due succeeded) ],
          'a limit for each customer holds, too');
is(uses($coupon), '2 2', 'with one use each');

$coupon = coupon('NONE', limit_total => 1);
$t->product('fan', stock => 1);
($order) = expired_with($coupon, 'NONE', 'fan', 'a@b');
$t->pay(order({ fan => 1 }));
is($t->pay($order)->{json}{reason}, 'out_of_stock', 'no units');
is(uses($coupon), '0 0', 'no use of the coupon');

$coupon = coupon('RACE', limit_total => 3);
@late = expired_with($coupon, 'RACE', 'tea', map { "$_\@b" } 1 .. 8);
@answers = $t->race(8, [
    (map { $acme->request(paid($_)) } @late[0 .. 3]),
    (map { [ 'POST', "/v1/orders/$_->{id}/payments",
             { provider => 'test', outcome => 'succeed' },
             'X-Order-Token' => $_->{token} ] } @late[4 .. 7]),
]);
is(scalar(grep { ($_->{json}{reason} // '') eq 'coupon_used_up' } @answers), 5,
   'eight at once for three uses: five get their money back');
is(uses($coupon), '3 3', 'used exactly three times');


# no row of stock is locked while a provider is waited for: saleor PR #11069

$order = $t->order({ tea => 1 })->{json};
$t->post("/v1/orders/$order->{id}/payments", { provider => 'acme' },
         'X-Order-Token' => $order->{token});
my $session = $t->session;
my $rows = $t->sql('SELECT count(*) FROM commerce.stock');

# the order's instance may be stocking up just now
ok((wait_until {
    $session->query('SELECT count(*) FROM (SELECT FROM commerce.stock'
                    . ' FOR UPDATE NOWAIT) s') eq $rows;
}), 'all stock can be locked');
ok((wait_until {
    $t->sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE"
            . " 'idle in%' AND datname = current_database()") == 0;
}), 'nobody waits inside');
$session->close;

is($t->sql('SELECT * FROM commerce.order_audit'), '',
   'orders, events and payments agree');

$t->finish;
