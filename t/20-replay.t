# Idempotency-Key: one intent, one order, the same answer.

use Commerce::Test;
use Commerce::Relay;

my $relay =
    Commerce::Relay->new(to => Commerce::Test::Postgres->shared->port);
my $t = Commerce::Test->new(workers => 2, database_port => $relay->port);

$t->start;

$t->product('tea', price => 499, stock => 10_000);
$t->product('cup', price => 900, stock => 10);
$t->product('rare', price => 900, stock => 0);


sub buy {
    my ($key, $lines, %headers) = @_;

    return $t->order($lines // { tea => 1 }, 'Idempotency-Key' => $key,
                     %headers);
}


sub orders { return $t->sql('SELECT count(*) FROM commerce.orders') }


sub is_replay {
    my ($r, $first, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is($r->{status}, $first->{status}, "$name: the first status");
    is_deeply($r->{json}, $first->{json}, 'and body');
    is($r->{headers}{location}, $first->{headers}{location}, 'and Location');
    is($r->{headers}{'idempotent-replayed'}, 'true', 'marked as a replay');
}


# the same request

my $key = $t->key;
my $first = buy($key);

is($first->{status}, 201, 'the first');
is_replay(buy($key), $first, 'the same key') for 1 .. 4;
is(orders(), 1, 'one order');
is_deeply([ @{ $t->stock('tea') }{qw(held)} ], [ 1 ], 'one unit is held');


# another payload

for ({ tea => 2 }, { cup => 1 }, { tea => 1, cup => 1 }) {
    is_problem(buy($key, $_), 422, 'idempotency_key_reused',
               'the same key with another payload');
}

is_replay(buy($key), $first, 'the key still stands');


# keys

my $r = $t->post('/v1/orders', { currency => 'USD',
    lines => [ { sku => 'tea', quantity => 1 } ] });
is_problem($r, 400, 'idempotency_key_missing', 'no key');

for my $bad ('', 'x' x 15, 'x' x 256) {
    $r = buy($bad);
    ok($r->{status} == 400
       && $r->{json}{code} =~ /^idempotency_key_(?:invalid|missing)$/,
       'a key of ' . length($bad) . ' characters') or diag($r->{body});
}

is(buy('x' x 16)->{status}, 201, 'a key of 16 characters');
is(buy('x' x 255)->{status}, 201, 'a key of 255 characters');

my $case = $t->key;
isnt(buy(uc $case)->{json}{id}, buy($case)->{json}{id},
     'keys are case-sensitive');

$r = $t->client->request('POST', '/v1/orders', { currency => 'USD',
    lines => [ { sku => 'tea', quantity => 1 } ] },
    'Idempotency-Key' => [ $t->key, $t->key ]);
is($r->{status}, 400, 'two keys are refused') or diag($r->{body});


# only success binds a key

$key = $t->key;
is_problem(buy($key, { rare => 1 }), 409, 'out_of_stock', 'a refusal');
$t->admin('POST', '/v1/admin/stock/rare/adjustments',
          { delta => 5, reason => 'receipt' }, 'Idempotency-Key' => $t->key);
ok(wait_until { buy($key, { rare => 1 })->{status} == 201 },
   'does not bind the key');

$key = $t->key;
$r = $t->post('/v1/orders', { currency => 'USD', lines => [] },
              'Idempotency-Key' => $key);
is($r->{status}, 422, 'nor does a bad request');
is(buy($key)->{status}, 201, 'the key is free');


# the state is today's

$key = $t->key;
$first = buy($key);
$t->pay($first->{json});
$r = buy($key);
is($r->{status}, 201, 'after the payment: the first status');
is($r->{json}{id}, $first->{json}{id}, 'the same order');
is($r->{json}{token}, $first->{json}{token}, 'with its token');
is($r->{json}{state}, 'paid', "and today's state");

$key = $t->key;
$first = buy($key);
$t->post("/v1/orders/$first->{json}{id}/cancel", undef,
         'X-Order-Token' => $first->{json}{token});
is(buy($key)->{json}{state}, 'cancelled', 'also after a cancellation');


# the price of then

$key = $t->key;
$first = buy($key, { cup => 1 });
$t->import_rows({ type => 'price', sku => 'cup', prices => { USD => 1000 } });
is_replay(buy($key, { cup => 1 }), $first, 'after a change of the price');


# a double click

my $before = orders();
$key = $t->key;

my $body = { currency => 'USD', lines => [ { sku => 'tea', quantity => 1 } ] };
my @answers = $t->race(16, [ map { [ 'POST', '/v1/orders', $body,
                                     'Idempotency-Key' => $key ] } 1 .. 32 ]);
my %ids = map { $_->{json}{id} // '' => 1 }
    grep { $_->{status} == 201 } @answers;

is(scalar keys %ids, 1, '32 clicks: one order');
is(orders(), $before + 1, 'in the database too');
is(scalar(grep { $_->{status} !~ /^(?:201|409)$/ } @answers), 0,
   'the others wait');
is(scalar(grep { $_->{status} == 409
                 && ($_->{json}{code} ne 'in_progress'
                     || !$_->{headers}{'retry-after'}) } @answers), 0,
   '409 is in_progress with Retry-After');
is(scalar(grep { $_->{status} == 201
                 && !$_->{headers}{'idempotent-replayed'} } @answers), 1,
   'one answer is the first');


# while the first runs

my $lock = $t->session;
$lock->query('BEGIN; LOCK TABLE commerce.orders IN EXCLUSIVE MODE');

$key = $t->key;
my $waiting = $t->client;
$waiting->send_raw(Commerce::Test::Client::render('POST', '/v1/orders', $body,
                                                  'Idempotency-Key' => $key));

ok(wait_until {
    $t->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '"
        . $t->database . "' AND wait_event_type = 'Lock'"
        . " AND application_name LIKE '%/orders'") > 0;
}, 'the first waits in the database');

$r = buy($key);
is_problem($r, 409, 'in_progress', 'the second is told so');
like($r->{headers}{'retry-after'} // '', qr/^[1-9]\d*$/, 'with Retry-After');
is_problem(buy($key, { tea => 5 }), 422, 'idempotency_key_reused',
           'another payload is refused even then');

$lock->query('ROLLBACK');
$lock->close;
$first = $waiting->read_response;
is($first->{status}, 201, 'the first ends');
is_replay(buy($key), $first, 'then the key replays');


# a replay asks the database nothing

$relay->hole;
is_replay(buy($key), $first, 'with the database away') for 1 .. 4;
$relay->cut->pass;

ok((wait_until { buy($t->key)->{status} == 201 } 20),
   'the database is back');
is_replay(buy($key), $first, 'after it was away');


# nor does it need this nginx

my $second = $t->instance(workers => 1);
$second->start;

sub there {
    my ($key, $lines) = @_;

    return $second->request($t->order_request($lines,
                                              'Idempotency-Key' => $key));
}

is_replay(there($key, { tea => 1 }), $first, 'on another nginx');
is_replay(there($key, { tea => 1 }), $first, 'from its memory');
is_problem(there($key, { tea => 2 }), 422, 'idempotency_key_reused',
           'another payload there');

$t->quit;
$t->start;
is_replay(buy($key), $first, 'after a restart');

# both at once
$before = orders();
my @keys = map { $t->key } 1 .. 20;
my @requests = map { [ 'POST', '/v1/orders', $body,
                       'Idempotency-Key' => $_ ] } @keys;
my $other = fork() // die "fork: $!";

if ($other == 0) {
    $second->race(4, \@requests);
    POSIX::_exit(0);
}

@answers = $t->race(4, \@requests);
waitpid $other, 0;
is(orders(), $before + @keys, 'the same keys on both: one order for each');

for my $i (0 .. $#keys) {
    my $there = there($keys[$i], { tea => 1 });

    is($there->{json}{id}, buy($keys[$i])->{json}{id},
       'both tell the same order') if $i % 5 == 0;
}

is(scalar(grep { $_->{status} != 201
                 && ($_->{json}{code} // '') ne 'in_progress' } @answers), 0,
   'nobody was refused')
    or diag(join "\n", map { "$_->{status} $_->{body}" }
            grep { $_->{status} != 201 } @answers);

$t->finish;
