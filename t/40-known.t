# What a connection has looked up once it does not look up again: leases, and
# versions of variants while the catalogue's epoch stands.

use Commerce::Test;
use Commerce::Relay;

my $shared = Commerce::Test::Postgres->shared;


sub buy {
    my ($t, $quantity, %more) = @_;

    return $t->post('/v1/orders', { currency => 'USD', %more,
        lines => [ { sku => 'tea', quantity => $quantity } ] },
        'Idempotency-Key' => $t->key, _timeout => 30);
}


sub epoch {
    return $_[0]->sql('SELECT epoch FROM commerce.catalogue_epoch');
}


# As from outside: no news of it reaches nginx.
sub reprice {
    my ($amount) = @_;

    return "UPDATE commerce.price SET amount = $amount;"
        . ' UPDATE commerce.variant SET version = version + 1;';
}


subtest 'a version that moves is seen on a connection that knew it' => sub {
    my $t = Commerce::Test->new(workers => 1)->start;

    $t->product('tea', price => 1000, stock => 1000);
    is(buy($t, 1)->{json}{total}, 1000, 'sold, and known now') for 1 .. 3;

    $t->sql(reprice(1100));
    is_problem(buy($t, 1, expected_total => 1000), 409, 'price_changed',
               'the first order after the change does not pass');
    is(buy($t, 1)->{json}{total}, 1100, 'the next has the new price');

    my $psql = $t->session;
    $psql->query('BEGIN;' . reprice(1200));
    is(buy($t, 1)->{json}{total}, 1100, 'a change that is not committed is'
       . ' nobody\'s business, and nobody waits for it');
    $psql->query('COMMIT');
    is(buy($t, 1)->{json}{total}, 1200, 'it counts from its commit on');

    $t->finish(more => 1);
};


subtest 'the epoch moves once in each transaction that changes a variant' =>
    sub {
    my $t = Commerce::Test->new(workers => 1)->start;

    $t->product('tea', price => 1000, stock => 10);
    my $was = epoch($t);

    $t->sql('BEGIN;' . reprice(1) . reprice(2) . 'COMMIT');
    is(epoch($t), $was + 1, 'two changes, one step');

    $t->sql('BEGIN; SAVEPOINT a;' . reprice(3) . 'SET CONSTRAINTS ALL'
            . ' IMMEDIATE; ROLLBACK TO a;' . reprice(4) . 'COMMIT');
    is(epoch($t), $was + 2, 'a savepoint rolled back does not hide a change');

    $t->sql('BEGIN;' . reprice(5) . 'ROLLBACK');
    is(epoch($t), $was + 2, 'a transaction rolled back is no change');

    $t->sql('UPDATE commerce.variant SET archived = true'
            . ' WHERE sku = \'nothing\'');
    is(epoch($t), $was + 2, 'nor is an update of no row');

    $t->sql('SET session_replication_role = replica;' . reprice(6));
    is(epoch($t), $was + 3, 'what a subscription writes is one');

    # a role is the server's, and other files use that too
    my $role = 'writer_' . $t->database;
    $t->sql("BEGIN; CREATE ROLE $role; GRANT USAGE ON SCHEMA commerce TO $role;"
            . " GRANT SELECT, UPDATE ON commerce.variant TO $role; SET LOCAL"
            . " ROLE $role; UPDATE commerce.variant SET version = version + 1;"
            . " SET CONSTRAINTS ALL IMMEDIATE; RESET ROLE; DROP OWNED BY $role;"
            . " DROP ROLE $role; COMMIT");
    is(epoch($t), $was + 4, 'who may write a variant may also move the epoch');

    $t->finish(more => 1);
};


subtest 'a primary that never heard of a lease sells none of its units' =>
    sub {
    my $relay = Commerce::Relay->new(to => $shared->port);
    my $t = Commerce::Test->new(workers => 1,
                                database_port => $relay->port)->start;

    $t->product('tea', stock => 40);
    is(buy($t, 1)->{status}, 201, 'an order from the lease') for 1 .. 3;

    # an asynchronous standby that was behind when it was promoted
    $relay->refuse;
    $t->sql('DELETE FROM commerce.order_line; DELETE FROM commerce.orders;'
            . ' DELETE FROM commerce.lease;'
            . ' UPDATE commerce.stock SET free = 40');
    $relay->pass;

    my $sold = 0;

    ok((wait_until { buy($t, 1)->{status} == 201 } 20), 'it sells again')
        or diag($t->log);
    $sold = $t->sql('SELECT count(*) FROM commerce.orders');

    while ($sold < 60) {
        my $r = buy($t, 1);

        last if $r->{status} == 409;
        $sold++ if $r->{status} == 201;
    }

    is($sold, 40, 'what the new primary has, and not one more');
    is($t->sql('SELECT count(*) FROM commerce.stock_audit'), 0,
       'stock_audit is empty');
    $t->finish(more => 1);
};


done_testing();
