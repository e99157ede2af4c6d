# Faults of the database: every order is answered, exactly once, and rightly.

use Commerce::Test;
use Commerce::Relay;
use Commerce::Test::Client;
use Commerce::Test::Host qw(slurp spew);

my $shared = Commerce::Test::Postgres->shared;


# where there is no answer, and the library's 10 s would be waited out
my @soon = (commerce_queue => '4096 timeout=2s');


sub with_relay {
    my (%options) = @_;

    my $relay = Commerce::Relay->new(to => $shared->port);
    my $t = Commerce::Test->new(workers => 1, database_port => $relay->port,
                                %options);

    return ($t, $relay);
}


# Sends an order and does not wait for its answer.
sub send_order {
    my ($t, $key, %more) = @_;

    my $client = $t->client;

    $client->send_raw(Commerce::Test::Client::render('POST', '/v1/orders',
        request(%more), 'Idempotency-Key' => $key));

    return $client;
}


sub request {
    return { currency => 'USD', lines => [ { sku => 'tea', quantity => 1 } ],
             @_ };
}


sub buy {
    my ($t, $key, %more) = @_;

    return $t->post('/v1/orders', request(%more), 'Idempotency-Key' => $key,
                    _timeout => 30);
}


sub orders { return $_[0]->sql('SELECT count(*) FROM commerce.orders') }


sub recovers {
    my ($t, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok((wait_until { buy($t, $t->key)->{status} == 201 } 20),
       $name // 'it recovers by itself') or diag($t->log);
}


# Every unit is somewhere; units in limbo come back within the ttl.
sub conserved {
    my ($t, $units) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $stock = $t->stock('tea');

    is($stock->{free} + $stock->{leased} + $stock->{held} + $stock->{sold},
       $units, 'every unit is accounted for') or diag(explain($stock));
    is($t->sql('SELECT coalesce(sum(quantity), 0) FROM commerce.order_line'),
       $stock->{held} + $stock->{sold}, 'as the lines say');
}


# The requests are in the database, each once, and a retry of each key gives
# the order that was acknowledged.
sub exactly_once {
    my ($t, $keys, $answers) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my (%ids, @wrong);

    for my $i (0 .. $#$keys) {
        my $again;

        wait_until {
            ($again = buy($t, $keys->[$i]))->{status} == 201;
        } 20 or push @wrong, "key $i is not served: $again->{body}";

        my $first = $answers->[$i];

        push @wrong, "key $i: $first->{json}{id}, then $again->{json}{id}"
            if ($first->{status} // 0) == 201
            && $first->{json}{id} ne ($again->{json}{id} // '');
        $ids{ $again->{json}{id} // '' } = 1;
    }

    is(scalar @wrong, 0, 'every key has one order') or diag(join "\n", @wrong);
    is(scalar keys %ids, scalar @$keys, 'each its own');
}


subtest 'no database at the start' => sub {
    my ($t, $relay) = with_relay(directives => { @soon });

    $relay->refuse;
    $t->nginx->start(ready => 0);

    is($t->get('/livez')->{status}, 200, 'alive');
    is($t->get('/readyz')->{status}, 503, 'not ready');

    for ([ 'a read', $t->get('/v1/products') ],
         [ 'an order', buy($t, $t->key) ])
    {
        my ($name, $r) = @$_;

        is_problem($r, 503, 'unavailable', "$name is refused");
        like($r->{headers}{'retry-after'} // '', qr/^[1-9]\d*$/,
             "$name: Retry-After");
    }

    my @pids = $t->workers;
    $relay->pass;
    ok((wait_until { $t->get('/readyz')->{status} == 200 } 20),
       'it gets ready when the database comes');
    (wait_until { eval { $t->product('tea', stock => 100); 1 } }) or die $@;
    recovers($t);
    is_deeply([ $t->workers ], \@pids, 'no worker has ended');
    unlike($t->log, qr/password|\Q@{[ slurp($shared->password_file) ]}/,
           'the log has no secret');
    $t->finish(more => 1);
};


subtest 'a database without the schema' => sub {
    my $empty = "e_$$";
    my $t = Commerce::Test->new(workers => 1, directives => { @soon });

    $shared->query('postgres', "CREATE DATABASE $empty");
    $t->configure(directives => {
        commerce_database => '"' . $shared->app_conninfo($empty) . '"',
    });
    $t->nginx->start(ready => 0);
    is($t->get('/livez')->{status}, 200, 'alive');
    is($t->get('/readyz')->{status}, 503, 'not ready');
    is($t->get('/v1/products')->{status}, 503, 'requests are refused');
    $shared->migrate($empty);
    ok((wait_until { $t->get('/readyz')->{status} == 200 } 20),
       'ready when the schema is there') or diag($t->log);
    ok((wait_until { $t->get('/v1/products')->{status} == 200 }),
       'and serves');
    $t->quit;
    $shared->drop_database($empty);
    $t->finish(more => 1);
};


subtest 'a database that swallows everything' => sub {
    my ($t, $relay) = with_relay(directives => {
        commerce_database_timeout => '1s',
        commerce_database_connect_timeout => '1s',
        @soon,
    });

    $t->start;
    (wait_until { eval { $t->product('tea', stock => 100); 1 } }) or die $@;
    is(buy($t, $t->key)->{status}, 201, 'all is well');
    $relay->hole;

    my @keys = map { $t->key } 1 .. 3;
    my @answers = map { buy($t, $_) } @keys;
    is(join(' ', map { $_->{status} } @answers), '503 503 503',
       'orders are told after a deadline');
    my $bound = Commerce::Test::Host::slower(20);
    is(scalar(grep { $_->{time} > $bound } @answers), 0, 'in time')
        or diag(join ' ', map { $_->{time} } @answers);
    is(scalar(grep { !$_->{headers}{'retry-after'} } @answers), 0,
       'with Retry-After')
        or diag(join "\n", map { $_->{body} } @answers);

    my $r = $t->get('/v1/products/unread', _timeout => 30);
    is($r->{status}, 503, 'reads too');
    cmp_ok($r->{time}, '<', Commerce::Test::Host::slower(8), 'in time');
    is($t->get('/livez')->{status}, 200, 'the worker lives');

    $relay->cut->pass;
    recovers($t);
    exactly_once($t, \@keys, \@answers);
    conserved($t, 100);
    $t->finish(more => 1);
};


subtest 'the connection is lost after the commit' => sub {
    my ($t, $relay) = with_relay();

    $t->start;
    $t->product('tea', stock => 100);
    buy($t, $t->key);
    $relay->mute('orders');

    my $key = $t->key;
    my $client = send_order($t, $key);

    ok(wait_until { orders($t) == 2 }, 'the order is stored');
    is($client->read_response(0.2), undef, 'and not yet answered');
    $relay->cut('orders')->pass;

    my $r = $client->read_response;
    is($r->{status}, 201, 'the client gets its order');
    is($t->sql('SELECT count(*) FROM commerce.orders WHERE id ='
             . " '$r->{json}{id}'"), 1, 'the one that is stored');
    is(orders($t), 2, 'there is no other');
    is(buy($t, $key)->{json}{id}, $r->{json}{id}, 'a retry says the same');
    conserved($t, 100);

    # a whole batch
    $relay->mute('orders');
    my @keys = map { $t->key } 1 .. 20;
    my @clients = map { send_order($t, $_) } @keys;
    ok(wait_until { orders($t) >= 3 }, 'some are stored');
    $relay->cut('orders')->pass;
    my @answers = map { $_->read_response // {} } @clients;
    is(scalar(grep { ($_->{status} // 0) == 201 } @answers), 20,
       'all twenty get an order');
    is(orders($t), 22, 'each has one');
    exactly_once($t, \@keys, \@answers);
    conserved($t, 100);
    $t->finish(more => 1);
};


subtest 'the connection is lost before the statement arrived' => sub {
    my ($t, $relay) = with_relay();

    $t->start;
    $t->product('tea', stock => 100);
    buy($t, $t->key);
    $relay->deaf('orders');

    my @keys = map { $t->key } 1 .. 5;
    my @clients = map { send_order($t, $_) } @keys;

    ok(wait_until { $relay->kept > 0 }, 'statements are on their way');
    $relay->cut('orders')->pass;

    my @answers = map { $_->read_response // {} } @clients;
    is(scalar(grep { ($_->{status} // 0) == 201 } @answers), 5,
       'the orders are stored by a second run');
    is(orders($t), 6, 'once');
    exactly_once($t, \@keys, \@answers);
    conserved($t, 100);
    $t->finish(more => 1);
};


subtest 'the units were sold meanwhile, the outcome unknown' => sub {
    my ($t, $relay) = with_relay();

    $t->start;
    $t->product('tea', stock => 3);
    $relay->mute('orders');

    my @keys = map { $t->key } 1 .. 3;
    my @clients = map { send_order($t, $_) } @keys;

    ok(wait_until { orders($t) >= 1 }, 'orders for the last units are stored');
    $t->import_rows({ type => 'price', sku => 'tea',
                      prices => { USD => 5000 } });
    $relay->cut('orders')->pass;

    my @answers = map { $_->read_response // {} } @clients;
    is(scalar(grep { ($_->{status} // 0) == 201 } @answers), 3,
       'sold out and a new price do not deny what was stored')
        or diag(join "\n", map { $_->{body} // 'none' } @answers);
    is_problem(buy($t, $t->key), 409, 'out_of_stock', 'nothing is left');
    exactly_once($t, \@keys, \@answers);
    conserved($t, 3);
    $t->finish(more => 1);
};


subtest 'the connection breaks anywhere in the answer' => sub {
    my ($t, $relay) = with_relay();

    $t->start;
    $t->product('tea', stock => 1000);
    buy($t, $t->key);

    my (@keys, @answers);

    for my $bytes (1, 5, 17, 40, 90, 140, 200, 300, 500, 900) {
        $relay->cut_after($bytes, 'orders');

        my @new = map { $t->key } 1 .. 3;
        my @clients = map { send_order($t, $_) } @new;

        push @keys, @new;
        $clients[0]->read_response(0.3);
        $relay->pass;
        push @answers, map { {} } @new;
        $_->close for @clients;
        recovers($t, "$bytes bytes");
    }

    exactly_once($t, \@keys, \@answers);
    conserved($t, 1000);
    $t->finish(more => 1);
};


subtest 'a network that is slow, or gives single bytes' => sub {
    my ($t, $relay) = with_relay(directives => {
        commerce_database_connect_timeout => '20s',
    });

    $t->start;
    $t->product('tea', stock => 1000);

    for my $mode (sub { $relay->split }, sub { $relay->delay(30) }) {
        $mode->();
        $relay->cut;

        my @keys = map { $t->key } 1 .. 20;
        recovers($t, 'connections come up');
        my @answers = $t->race(8, [ map { [ 'POST', '/v1/orders', request(),
                                            'Idempotency-Key' => $_ ] } @keys
                                  ]);
        is(scalar(grep { $_->{status} == 201 } @answers), 20,
           'orders are served');
        is($t->get('/v1/products')->{status}, 200, 'and reads');
        exactly_once($t, \@keys, \@answers);
    }

    $relay->pass;
    conserved($t, 1000);
    $t->finish(more => 1);
};


subtest 'the server closes its side' => sub {
    my ($t, $relay) = with_relay();

    $t->start;
    $t->product('tea', stock => 100);
    $relay->half_close('orders');

    my $key = $t->key;
    my $client = send_order($t, $key);

    ok(wait_until { orders($t) == 1 }, 'an order is stored');
    $relay->pass;
    is($client->read_response->{status}, 201, 'and answered');
    is(orders($t), 1, 'once');
    recovers($t);
    $t->finish(more => 1);
};


subtest 'one bad order in a batch fails alone' => sub {
    my $t = Commerce::Test->new(workers => 1, directives =>
                                { commerce_connections => 1 })->start;

    $t->allow_log(qr/23514/);
    $t->product('tea', stock => 100);
    buy($t, $t->key);
    $t->sql('ALTER TABLE commerce.orders ADD CHECK'
          . " (email <> 'poison\@example.com')");

    my $lock = $t->session;
    $lock->query('BEGIN; LOCK TABLE commerce.orders IN EXCLUSIVE MODE');

    my @clients = (send_order($t, $t->key));
    wait_until {
        $t->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '"
            . $t->database . "' AND wait_event_type = 'Lock'"
            . " AND application_name LIKE '%/orders'") > 0;
    };

    push @clients, map {
        send_order($t, $t->key, email => $_ == 7 || $_ == 12
            ? 'poison@example.com' : "jane$_\@example.com");
    } 1 .. 20;
    $t->get('/livez') for 1 .. 5;
    $lock->close;

    my @answers = map { $_->read_response // {} } @clients;
    my @good = grep { ($_->{status} // 0) == 201 } @answers;
    is(scalar @good, 19, 'its neighbours are served')
        or diag(join ' ', map { $_->{status} // 'none' } @answers);
    is_problem($answers[$_], 500, 'internal', 'the bad one fails')
        for 7, 12;
    unlike($answers[7]{body}, qr/constraint|orders_|SQL|23514/,
           'and does not tell about the inside');
    is(orders($t), 20, 'nothing half done');
    is($t->stock('tea')->{held}, 20, 'its units are back');
    conserved($t, 100);
    recovers($t, 'the next order is served');
    $t->finish(more => 1);
};


subtest 'a lock that lasts, or a deadlock, is no defect' => sub {
    my $t = Commerce::Test->new(workers => 1)->start;

    $t->product('tea', stock => 100);

    my $order = buy($t, $t->key)->{json};
    my $key = $t->key;

    $t->sql(<<'SQL');
CREATE FUNCTION public.locked() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE 'locked' USING ERRCODE = TG_ARGV[0]; END $$
SQL

    for my $state ('55P03', '40P01') {
        $t->sql('CREATE TRIGGER locked BEFORE INSERT OR UPDATE'
              . ' ON commerce.orders'
              . " FOR EACH ROW EXECUTE FUNCTION public.locked('$state')");

        for ([ 'an order', buy($t, $key) ],
             [ 'a cancel', $t->post("/v1/orders/$order->{id}/cancel", undef,
                 'X-Order-Token' => $order->{token}) ])
        {
            my ($name, $r) = @$_;

            is_problem($r, 503, 'unavailable', "$state: $name comes again");
            ok($r->{headers}{'retry-after'}, "$state: with Retry-After");
        }

        is($t->stock('tea')->{held}, 1, "$state: nothing was done");
        $t->sql('DROP TRIGGER locked ON commerce.orders');
    }

    is(buy($t, $key)->{status}, 201, 'the key is not used up');
    conserved($t, 100);
    $t->finish(more => 1);
};


subtest 'backends are terminated under load' => sub {
    my $t = Commerce::Test->new(workers => 2)->start;

    $t->product('tea', stock => 5000);

    my @keys = map { $t->key } 1 .. 600;
    my @requests = map { [ 'POST', '/v1/orders', request(),
                           'Idempotency-Key' => $_ ] } @keys;
    my $killer = fork() // die "fork: $!";

    if ($killer == 0) {
        for my $n (1 .. 8) {
            wait_until { orders($t) >= 40 * $n };
            $t->sql('SELECT count(pg_terminate_backend(pid)) FROM'
                . " pg_stat_activity WHERE datname = '" . $t->database . "'"
                . " AND usename = 'commerce'");
        }
        POSIX::_exit(0);
    }

    my @answers = $t->race(16, \@requests, 60);
    waitpid $killer, 0;

    is(scalar(grep { $_->{status} != 201 && $_->{status} != 503 } @answers), 0,
       'all are answered, with an order or 503')
        or diag(join ' ', map { $_->{status} } @answers);
    recovers($t);
    exactly_once($t, \@keys, \@answers);
    ok((wait_until {
        my $stock = $t->stock('tea');
        $stock->{free} + $stock->{leased} + $stock->{held} == 5000;
    } 20), 'all units are accounted for');
    conserved($t, 5000);
    $t->finish(more => 1);
};


subtest 'a server of its own: restart, read only, password' => sub {
    my $t = Commerce::Test->new(workers => 2, own_postgres => 1,
                                directives => { @soon })->start;
    my $pg = $t->postgres;

    $t->product('tea', stock => 5000);

    my @keys = map { $t->key } 1 .. 800;
    my @requests = map { [ 'POST', '/v1/orders', request(),
                           'Idempotency-Key' => $_ ] } @keys;
    my $restarter = fork() // die "fork: $!";

    if ($restarter == 0) {
        wait_until { orders($t) >= 100 };
        $pg->stop_server('immediate');
        $pg->start_server;
        POSIX::_exit(0);
    }

    my @answers = $t->race(16, \@requests, 90);
    waitpid $restarter, 0;

    my @good = grep { $_->{status} == 201 } @answers;
    my @refused = grep { $_->{status} == 503 } @answers;
    is(@good + @refused, 800, 'restart: all are answered')
        or diag(join ' ', map { $_->{status} } @answers);
    note(scalar(@good), ' orders, ', scalar(@refused), ' refused');

    recovers($t, 'the server is found again');
    my $ids = join ',', map { "'$_->{json}{id}'" } @good;
    is($t->sql("SELECT count(*) FROM commerce.orders WHERE id IN ($ids)"),
       scalar @good, 'every acknowledged order has survived');
    exactly_once($t, \@keys, \@answers);
    conserved($t, 5000);

    # read only, as a standby is
    $t->sql('ALTER DATABASE ' . $t->database
          . ' SET default_transaction_read_only = on');
    $t->sql('SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity'
          . " WHERE usename = 'commerce'");
    my $r;
    ok((wait_until { ($r = buy($t, $t->key))->{status} == 503 } 20),
       'a server that is read only: 503');
    ok($r->{headers}{'retry-after'}, 'with Retry-After');
    is($t->get('/v1/products')->{status}, 200, 'the catalogue is still read');
    $pg->query('postgres', 'ALTER DATABASE ' . $t->database
             . ' RESET default_transaction_read_only');
    $t->sql('SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity'
          . " WHERE usename = 'commerce'");
    recovers($t, 'writable again');

    # a new password
    $t->sql(q{ALTER ROLE commerce PASSWORD 'another'});
    $t->sql('SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity'
          . " WHERE usename = 'commerce'");
    ok((wait_until { buy($t, $t->key)->{status} == 503 } 20),
       'a password that was changed');
    spew($pg->password_file, 'another', 0644);
    recovers($t, 'the file is read anew');

    conserved($t, 5000);
    unlike($t->log, qr/another\b|PASSWORD/, 'the log has no password');
    $t->finish(more => 1);
};


done_testing;
