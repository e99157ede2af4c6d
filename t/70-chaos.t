# Everything at once: workers are killed, nginx reloads, PostgreSQL crashes,
# while orders come in.  COMMERCE_TEST_SEED repeats a run.

use Commerce::Test;
use Time::HiRes qw(time);

my $seed = $ENV{COMMERCE_TEST_SEED} // int(rand 2 ** 31);
my $seconds = $ENV{COMMERCE_TEST_CHAOS} // 12;
my $units = 100_000;       # more than can be sold
my $ttl = 5;

diag("COMMERCE_TEST_SEED=$seed");
srand $seed;

my $t = Commerce::Test->new(
    workers => 3, own_postgres => 1,
    directives => { commerce_lease_ttl => "${ttl}s" },
)->start;

$t->allow_log(qr/exited on signal 9|shared memory zone "\w+" was locked by/);
$t->product($_, stock => $units) for qw(tea cup);


sub request {
    my ($key, $tea, $cup) = @_;

    return [ 'POST', '/v1/orders', { currency => 'USD', lines => [
        $tea ? { sku => 'tea', quantity => $tea } : (),
        $cup ? { sku => 'cup', quantity => $cup } : (),
    ] }, 'Idempotency-Key' => $key ];
}


# Buyers in a process of their own: each line of the pipe is a key, what it
# asked for, and what it was told.
sub buyers {
    my ($until) = @_;

    pipe my $reader, my $writer or die "pipe: $!";

    my $pid = fork() // die "fork: $!";

    return ($pid, $reader) if $pid;

    srand $seed;

    while (time < $until) {
        my @wants = map { [ $t->key, 1 + int rand 2, int rand 2 ] } 1 .. 60;
        my @answers = eval {
            $t->race(16, [ map { request(@$_) } @wants ], 20);
        };

        for my $i (0 .. $#answers) {
            print {$writer} join(' ', @{ $wants[$i] }, $answers[$i]{status},
                $answers[$i]{json}{id} // $answers[$i]{json}{code} // '-'),
                "\n";
        }
    }

    close $writer;
    POSIX::_exit(0);
}


my $until = time + $seconds;
my ($pid, $reader) = buyers($until);
my %done;

while (time < $until - 1) {
    my $what = (qw(kill kill kill reload restart pause))[ rand 6 ];

    $done{$what}++;

    if ($what eq 'kill') {
        my @workers = $t->workers;
        kill 'KILL', $workers[ rand @workers ] if @workers;

    } elsif ($what eq 'reload') {
        $t->signal('HUP');

    } elsif ($what eq 'restart') {
        $t->postgres->stop_server('immediate');
        $t->postgres->start_server;
    }

    # the pace of the chaos, not a wait for anything
    Time::HiRes::sleep(0.1 + rand 0.8);
}

my (@orders, %status);

while (<$reader>) {
    chomp;
    my ($key, $tea, $cup, $status, $what) = split / /;

    push @orders, { key => $key, tea => $tea + 0, cup => $cup + 0,
                    status => $status, what => $what };
    $status{ $status == 201 ? 201 : "$status $what" }++;
}

waitpid $pid, 0;
note(join ', ', map { "$_: $done{$_}" } sort keys %done);
note(join ', ', map { "$_: $status{$_}" } sort keys %status);
cmp_ok($status{201} // 0, '>', 20, 'orders were acknowledged meanwhile');
is(scalar(grep { $_ !~ /^(?:0 |201|409 in_progress|503 )/ } keys %status), 0,
   'nobody was told anything wrong') or diag(explain(\%status));


# calm again

ok((wait_until {
    my $r = eval { $t->get('/readyz') };
    $r && $r->{status} == 200;
} 20), 'it is ready again');
my $calm = time;

my @good = grep { $_->{status} == 201 } @orders;
my %stored = map { $_->[0] => 1 } $t->rows('SELECT id FROM commerce.orders');
is(scalar(grep { !$stored{ $_->{what} } } @good), 0,
   'every acknowledged order is in the database');
is(scalar keys %{ { map { $_->{what} => 1 } @good } }, scalar @good,
   'none was acknowledged for two keys');

# a retry of each key, as the clients of unanswered requests do
my @again;
my @left = @orders;

wait_until {
    my @answers = $t->race(16, [ map { request(@$_{qw(key tea cup)}) } @left ],
                           40);
    my @later;

    for my $i (0 .. $#left) {
        if ($answers[$i]{status} == 201) {
            push @again, [ $left[$i], $answers[$i]{json}{id} ];
        } else {
            push @later, $left[$i];
            note("$answers[$i]{status} $answers[$i]{body}") if $i < 2;
        }
    }

    @left = @later;
    !@left;
} 60;

is(scalar @left, 0, 'every key is served in the end');
is(scalar(grep { $_->[0]{status} == 201 && $_->[0]{what} ne $_->[1] } @again),
   0, 'a retry gives the order that was acknowledged');

my %ids = map { $_->[1] => 1 } @again;
is(scalar keys %ids, scalar @orders, 'each key has an order of its own');
is($t->sql('SELECT count(*) FROM commerce.orders'), scalar @orders,
   'there is no other order');

for my $sku (qw(tea cup)) {
    my $sum = 0;

    $sum += $_->{$sku} for @orders;
    is($t->sql('SELECT coalesce(sum(quantity), 0) FROM commerce.order_line'
             . " WHERE sku = '$sku'"), $sum, "the lines have all $sku");
    cmp_ok($sum, '<=', $units, 'nothing is oversold');
}

ok((wait_until {
    $t->sql("SELECT count(*) FROM commerce.instance WHERE state <> 'dead'")
        == 1;
} $ttl + 2 + 10), 'dead instances are settled');
note(sprintf 'calm for %.1f s', time - $calm);

is($t->sql('SELECT * FROM commerce.stock_audit'), '', 'the audit is empty');

for my $sku (qw(tea cup)) {
    my $stock = $t->stock($sku);
    my $left = $units - $stock->{held};

    is($stock->{free} + $stock->{leased}, $left,
       "every other $sku is accounted for");
    ok((wait_until { $t->order({ $sku => $left })->{status} == 201 } 15),
       'and can be sold') if $left;
}

ok((wait_until { ($t->metrics->{commerce_stock_limbo_units} // 0) == 0 } 30),
   'nothing is in limbo');

$t->finish;
