# Holds that nobody pays for come back by themselves, in time and to the unit.

use Commerce::Test;
use Time::HiRes qw(time);

my $hold = 600;         # orders are due when due() says so
my $patience = 10;      # seconds, where the machine may be busy

my $t = Commerce::Test->new(workers => 2, directives => {
    commerce_hold_time => "${hold}s", commerce_lease_ttl => '5s',
})->start;

$t->product('load', stock => 1_000_000);

my $psql = $t->session;
my %told;               # status => answers to the load


sub requests {
    my ($n, %lines) = @_;

    return [ map { [ $t->order_request({ %lines }) ] } 1 .. $n ];
}


sub units {
    my ($sku) = @_;

    my $stock = $t->stock($sku);

    return join ' ', $stock->{free} + $stock->{leased}, $stock->{held};
}


# Unpaid orders of the sku have two seconds from here, or what is said.
sub due {
    my ($sku, $seconds) = @_;

    $seconds //= 2;

    $t->sql(<<"SQL");
UPDATE commerce.orders o SET expires_at = clock_timestamp()
    + interval '$seconds s'
WHERE o.state = 'pending_payment' AND EXISTS (SELECT
    FROM commerce.order_line l WHERE l.order_id = o.id AND l.sku = '$sku')
SQL
}


# Buyers and payers of something else, in a process of their own, until the
# pipe to it is closed.
sub load {
    pipe my $stop, my $stopper or die "pipe: $!";
    pipe my $reader, my $writer or die "pipe: $!";

    my $pid = fork() // die "fork: $!";

    if ($pid) {
        close $_ for $stop, $writer;
        return { pid => $pid, stopper => $stopper, reader => $reader };
    }

    close $_ for $stopper, $reader;
    my %status;

    until (IO::Select->new($stop)->can_read(0)) {
        my @answers = $t->race(8, requests(100, load => 1), 20);

        $status{ $_->{status} }++ for @answers;
        @answers = $t->race(8, [ map { [
            'POST', "/v1/orders/$_->{json}{id}/payments",
            { provider => 'test', outcome => 'succeed' },
            'X-Order-Token' => $_->{json}{token},
        ] } grep { $_->{status} == 201 } @answers[0 .. 49] ], 20);
        $status{ $_->{status} }++ for @answers;
    }

    print {$writer} map { "$_ $status{$_}\n" } sort keys %status;
    close $writer;
    POSIX::_exit(0);
}


sub ended {
    my ($load) = @_;

    close $load->{stopper};
    my %status = map { split } readline $load->{reader};
    waitpid $load->{pid}, 0;
    $told{$_} += $status{$_} for keys %status;
}


# Polls until nothing of the sku waits any more; the longest that an order was
# seen to wait after its deadline, by the clock of the database.
sub worst {
    my ($sku) = @_;

    my $worst = 0;
    my $gone = wait_until {
        my ($waiting, $late) = split /\|/, $psql->query(<<"SQL");
SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp()
    - o.expires_at)), 0) FROM commerce.orders o WHERE o.state =
'pending_payment' AND EXISTS (SELECT FROM commerce.order_line l
    WHERE l.order_id = o.id AND l.sku = '$sku')
SQL
        $worst = $late if $late > $worst;
        $waiting == 0;
    } 60;

    return $gone ? $worst : 'never';
}


my $load = load();


# 1,000 unpaid orders, one of the last units each.  Other work on the machine
# may make a round late, not each of five; in the last one the load is not part
# of that.

my @late;

for my $round (1 .. 5) {
    my $sku = "seat-$round";

    $t->product($sku, stock => 1000);

    if ($round == 5) {
        ended($load);
        $load = undef;
    }

    my $start = time;
    my @answers = $t->race(32, requests(1000, $sku => 1), 60);

    is(scalar(grep { $_->{status} == 201 } @answers), 1000, '1,000 orders');
    note(sprintf 'in %.2f s', time - $start);
    is(units($sku), '0 1000', 'hold all units');
    is_problem($t->order({ $sku => 1 }), 409, 'out_of_stock', 'none is left');

    due($sku);
    push @late, worst($sku);
    is(units($sku), '1000 0', 'each unit is free again');
    ok((wait_until { $t->order({ $sku => 1000 })->{status} == 201 } $patience),
       'and can be sold');
    is($t->sql(<<"SQL"), '1000|1000', 'an event tells of each');
SELECT count(*), count(DISTINCT e.order_id) FROM commerce.order_event e
JOIN commerce.order_line l USING (order_id) WHERE l.sku = '$sku'
AND (e.seq, e.type, e.state, e.actor) = (2, 'expired', 'expired', 'system')
SQL
    last if $late[-1] < 2;
}

cmp_ok($late[-1], '<', 2,
       'leaked holds: all are back within 2 s of their deadline');
note("the latest after @late s");
$load //= load();
is($t->sql('SELECT * FROM commerce.stock_audit'), '', 'the audit is empty');
ok((wait_until { $t->metrics->{commerce_orders_expired_total} >= 1000 }),
   'the metric counts them');


# orders of several articles, in any order, expire and are placed at once

$t->product("part-$_", stock => 100) for 1 .. 5;
srand 11;
my @answers = $t->race(16, [ map {
    my @parts = sort { rand() <=> 0.5 } 1 .. 5;

    [ $t->order_request({ map { ("part-$_" => 1) } @parts[0 .. 2] }) ]
} 1 .. 150 ], 60);
my $sold = grep { $_->{status} == 201 } @answers;
cmp_ok($sold, '>', 100, "$sold orders of three parts");
due("part-$_") for 1 .. 5;
worst("part-$_") for 1 .. 5;
is(join(' ', map { units("part-$_") } 1 .. 5), join(' ', ('100 0') x 5),
   'all parts are back');


# leaked holds: a checkout that was rolled back gives back what it took

$t->product('pair', stock => 50);
$t->product('gone', stock => 0);
@answers = $t->race(16, requests(200, pair => 1, gone => 1), 60);
is(scalar(grep { $_->{status} == 409 } @answers), 200,
   'leaked holds: 200 orders are refused for another line');

my $price = $t->order({ pair => 1 })->{json}{total};
@answers = $t->race(16, [ map { [ 'POST', '/v1/orders', {
    currency => 'USD', lines => [ { sku => 'pair', quantity => 1 } ],
    expected_total => $price + 1,
}, 'Idempotency-Key' => $t->key ] } 1 .. 100 ], 60);
is(scalar(grep { $_->{json}{code} eq 'price_changed' } @answers), 100,
   'and 100 for their price');
is($t->order({ pair => 49 })->{status}, 201, 'no unit is missing');


# coupons that unpaid orders had

$t->product('cheap', stock => 100);
$t->sql(<<'SQL');
INSERT INTO commerce.coupon (id, code, kind, percent, used)
SELECT gen_random_uuid(), 'C' || n, 'percent', 100000, 10
FROM generate_series(1, 5) n
SQL
@answers = $t->race(8, requests(60, cheap => 1), 30);
my $list = join ', ', map { "'$_->{json}{id}'" } @answers[0 .. 49];
$t->sql(<<"SQL");
WITH o AS (
    UPDATE commerce.orders SET coupon_code = 'C' || (1 + (ascii(right(id::text,
        1)) % 5)) WHERE id IN ($list) RETURNING id, coupon_code
), k AS (
    INSERT INTO commerce.coupon_use (coupon_id, order_id)
    SELECT c.id, o.id FROM o JOIN commerce.coupon c ON c.code = o.coupon_code
    RETURNING coupon_id
)
UPDATE commerce.coupon c SET used = (SELECT count(*) FROM k
    WHERE k.coupon_id = c.id)
SQL
is($t->sql('SELECT sum(used) FROM commerce.coupon'), 50, 'fifty coupons');
due('cheap');
worst('cheap');
is($t->sql('SELECT sum(used), (SELECT count(*) FROM commerce.coupon_use)'
         . ' FROM commerce.coupon'), '0|0', 'come back with the units');
is(units('cheap'), '100 0', 'which are all there');


# those who leave before they are answered

$t->product('quiet', stock => 100);
for (1 .. 100) {
    my $body = '{"currency":"USD","lines":[{"sku":"quiet","quantity":1}]}';
    my $client = $t->client;

    $client->send_raw("POST /v1/orders HTTP/1.1\r\nHost: a\r\n"
        . "Content-Type: application/json\r\nIdempotency-Key: " . $t->key
        . "\r\nContent-Length: " . length($body) . "\r\n\r\n$body");
    $client->close;
}
ok((wait_until { due('quiet', 0); units('quiet') eq '100 0' } 30),
   'the units of those who hung up come back');
# the last of them may have come to nobody but the worker yet
ok((wait_until {
    due('quiet', 0);
    $t->order({ quiet => 100 })->{status} == 201;
} $patience), 'all of them');


# an instance that has died leaves no hold

my $second = $t->instance(workers => 1, directives => {
    commerce_hold_time => "${hold}s", commerce_lease_ttl => '5s',
})->start;
$t->product('there', stock => 60);
is(scalar(grep { $_->{status} == 201 }
          $second->race(8, requests(50, there => 1), 30)), 50,
   'fifty orders of another instance');
$second->crash;
due('there');
cmp_ok(worst('there'), '<', $patience, 'which has crashed, expire in time');
ok((wait_until { $t->order({ there => 60 })->{status} == 201 } 20),
   'and all of its units can be sold');


ended($load);
note(join ', ', map { "$_: $told{$_}" } sort keys %told);
cmp_ok($told{201} // 0, '>', 1000, "load: $told{201} answers");
is_deeply([ grep { $_ ne '201' } keys %told ], [], 'nothing else');

$psql->close;
ok((wait_until { ($t->metrics->{commerce_stock_limbo_units} // 0) == 0 } 30),
   'nothing is in limbo');

$t->finish;
