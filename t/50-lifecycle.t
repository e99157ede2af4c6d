# What happens to units and requests when nginx reloads, ends or is killed.

use Commerce::Test;
use Commerce::Test::Client;
use Commerce::Test::Host qw(alive run_command slurp);

my $instances = "SELECT count(*) FROM commerce.instance";


sub shop {
    my (%options) = @_;

    my $t = Commerce::Test->new(workers => 2, %options);

    $t->start;
    $t->product('tea', stock => 10_000);

    return $t;
}


# nginx ignores USR2 while the parent that it was started by is there.
sub start_orphan {
    my ($t) = @_;

    my $nginx = $t->nginx;
    my $env = Commerce::Test::Nginx::environment();
    my $prefix = $t->prefix;

    local @ENV{ keys %$env } = values %$env;

    run_command('sh', '-c', 'prefix=$1; shift; "$@" < /dev/null'
        . ' >> "$prefix/stderr.log" 2>&1 &'
        . ' n=0; until [ -s "$prefix/nginx.pid" ] || [ $((n += 1)) -gt 600 ];'
        . ' do sleep 0.05; done', 'sh', $prefix, $nginx->command);

    (wait_until {
        my $r = eval { $t->get('/readyz') };
        $r && $r->{status} == 200;
    } 20) or die 'nginx does not get ready: ' . $t->log;
}


sub request {
    return { currency => 'USD', lines => [ { sku => 'tea', quantity => 1 } ] };
}


sub requests {
    my ($t, @keys) = @_;

    return [ map { [ 'POST', '/v1/orders', request(),
                     'Idempotency-Key' => $_ ] } @keys ];
}


sub orders { return $_[0]->sql('SELECT count(*) FROM commerce.orders') }


sub units {
    my ($t, $expected, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $stock = $t->stock('tea');

    is($stock->{free} + $stock->{leased} + $stock->{held} + $stock->{sold},
       $expected, $name // 'every unit is accounted for');
}


# Runs code while orders come in; returns their answers.  A kept connection
# may be closed by nginx just when a request is sent, so there are none.
sub under_load {
    my ($t, $n, $code) = @_;

    my @keys = map { $t->key } 1 .. $n;

    pipe my $reader, my $writer or die "pipe: $!";
    my $before = orders($t);
    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        my @answers = $t->race(8, [ map { [ @$_, Connection => 'close' ] }
                                    @{ requests($t, @keys) } ], 60);

        print {$writer} map {
            join(' ', $_->{status}, $_->{json}{id} // '-',
                 $_->{json}{detail} // '') . "\n"
        } @answers;
        close $writer;
        POSIX::_exit(0);
    }

    close $writer;
    wait_until { orders($t) > $before + 20 };
    $code->();

    my @answers = map { chomp; [ split / /, $_, 3 ] } <$reader>;
    waitpid $pid, 0;

    return (\@keys, \@answers);
}


# How many answers of each kind there are.
sub summary {
    my ($answers) = @_;

    my %kinds;

    $kinds{ $_->[0] == 201 ? 201 : "$_->[0] $_->[2]" }++ for @$answers;

    return join ', ', map { "$_: $kinds{$_}" } sort keys %kinds;
}


# Each key has exactly the order that was acknowledged.
sub exactly_once {
    my ($t, $keys, $answers) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my (@wrong, %ids, @again);
    my @left = 0 .. $#$keys;

    wait_until {
        my @answers = $t->race(8, requests($t, @$keys[@left]), 60);

        $again[ $left[$_] ] = $answers[$_]{json}{id}
            for grep { $answers[$_]{status} == 201 } 0 .. $#left;
        @left = grep { !defined $again[$_] } @left;
        !@left;
    } 20;

    for my $i (0 .. $#$keys) {
        my $id = $again[$i] // '-';

        $ids{$id} = 1;
        push @wrong, "$answers->[$i][1] is now $id"
            if $answers->[$i][0] == 201 && $answers->[$i][1] ne $id;
    }

    is(scalar @wrong, 0, 'each acknowledged order is the only one')
        or diag(join "\n", @wrong);
    is(scalar keys %ids, scalar @$keys, 'one order for each key');
}


subtest 'reload under load' => sub {
    my $t = shop();

    $t->order({ tea => 1 });

    my ($keys, $answers) = under_load($t, 1000, sub {
        $t->reload for 1 .. 3;
    });

    is(scalar(grep { $_->[0] != 201 } @$answers), 0, 'no request is lost')
        or diag(summary($answers));
    is(orders($t), 1001, 'each order is there');
    is($t->sql($instances), 1, 'the zone is kept: one instance');
    is($t->sql("SELECT state FROM commerce.instance"), 'live', 'it lives on');
    units($t, 10_000);
    ok((wait_until { !$t->shutting_down } 20), 'old workers end');
    is($t->order({ tea => 1 })->{status}, 201, 'and it sells on');
    $t->finish(more => 1);
};


subtest 'who was connected before a reload orders after it' => sub {
    my $t = shop();
    my @clients = map { $t->client } 1 .. 8;

    $t->get('/livez') for 1 .. 8;
    $t->reload;
    $t->order({ tea => 1 }) for 1 .. 20;
    ok(scalar(() = $t->shutting_down), 'old workers wait for them');
    $_->send_raw(Commerce::Test::Client::render(
        @{ requests($t, $t->key)->[0] })) for @clients;
    is(scalar(grep { (($_->read_response // {})->{status} // 0) == 201 }
              @clients), 8, 'all are served');
    ok((wait_until { !$t->shutting_down } 20), 'then old workers end');
    is(orders($t), 28, 'each order is there');
    $t->finish(more => 1);
};


subtest 'reload changes values' => sub {
    my $t = shop();

    $t->configure(directives => { commerce_max_lines => 1 });
    $t->product('cup', stock => 1);
    $t->reload(wait => 1);
    is($t->order({ tea => 1, cup => 1 })->{status}, 422, 'a new limit');
    is($t->sql($instances), 1, 'one instance');

    $t->configure(workers => 4);
    $t->reload(wait => 1);
    ok((wait_until { 4 == (() = $t->workers) }), 'more workers');
    my @answers = $t->race(16, requests($t, map { $t->key } 1 .. 200));
    is(scalar(grep { $_->{status} != 201 } @answers), 0, 'that all serve');
    is($t->sql($instances), 1, 'still one instance');
    $t->finish(more => 1);
};


subtest 'a broken configuration changes nothing' => sub {
    my $t = shop();

    $t->order({ tea => 1 });
    $t->allow_log(qr/commerce_max_lines/);
    $t->configure(directives => { commerce_max_lines => 'many' });
    $t->signal('HUP');
    ok($t->wait_for_log(qr/\[emerg\].*commerce_max_lines/), 'it is refused');
    is($t->order({ tea => 1 })->{status}, 201, 'nginx sells on');
    $t->finish(more => 1);
};


subtest 'QUIT answers what is in flight and returns the leases' => sub {
    for my $workers (1, 4) {
        my $t = shop(workers => $workers);

        $t->order({ tea => 1 });
        cmp_ok($t->stock('tea')->{leased}, '>', 0, 'units are leased');

        my $lock = $t->session;
        $lock->query('BEGIN; LOCK TABLE commerce.orders IN EXCLUSIVE MODE');

        my @clients = map { $t->client } 1 .. 5;
        $_->send_raw(Commerce::Test::Client::render(
            @{ requests($t, $t->key)->[0] })) for @clients;
        ok(wait_until {
            $t->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '"
                . $t->database . "' AND wait_event_type = 'Lock'"
                . " AND application_name LIKE '%/orders'") > 0;
        }, 'orders are in flight');

        # a request that has not reached nginx when it ends is not answered
        my $pid = $t->pid;
        $t->get('/livez') for 1 .. 5;
        $t->signal('QUIT');
        ok(wait_until { !eval { $t->client->close; 1 } }, 'QUIT');
        ok(alive($pid), 'it waits for them');
        $lock->query('COMMIT');
        $lock->close;

        my @answers = map { $_->read_response // {} } @clients;
        is(scalar(grep { ($_->{status} // 0) == 201 } @answers), 5,
           'each gets its order')
            or diag(join ' ', map { $_->{status} // 'none' } @answers);
        ok((wait_until { !$t->running } 20), 'then nginx ends');

        is(orders($t), 6, 'they are stored');
        is($t->sql('SELECT state FROM commerce.instance'), 'dead',
           'the instance is settled');
        is($t->sql('SELECT count(*) FROM commerce.lease'
                 . ' WHERE closed_at IS NULL'), 0, 'no lease is open');
        is($t->sql('SELECT free FROM commerce.stock'), 9994,
           'all other units are free');
        ok((wait_until {
            $t->sql("SELECT count(*) FROM pg_stat_activity WHERE usename ="
                  . " 'commerce' AND datname = '" . $t->database . "'") == 0;
        }), 'no connection is left');
        $t->finish(more => 1);
    }
};


subtest 'TERM ends at once, the units come back later' => sub {
    my $t = shop(directives => { commerce_lease_ttl => '5s' });

    $t->order({ tea => 1 });
    ok($t->stop, 'nginx ends');
    $t->start;
    ok((wait_until {
        $t->sql("SELECT count(*) FROM commerce.instance"
              . " WHERE state = 'live'") == 1;
    } 20), 'one instance is left');
    units($t, 10_000);
    is($t->order({ tea => 9_000 })->{status}, 201, 'which can sell them all');
    $t->finish(more => 1);
};


subtest 'kill -9 of a worker with units in hand' => sub {
    my $t = shop(directives => { commerce_lease_ttl => '5s' });

    $t->order({ tea => 1 });
    my ($first) = $t->sql('SELECT id FROM commerce.instance');

    my $lock = $t->session;
    $lock->query('BEGIN; LOCK TABLE commerce.orders IN EXCLUSIVE MODE');
    my @keys = map { $t->key } 1 .. 10;
    my @clients = map { $t->client } @keys;

    for my $i (0 .. $#keys) {
        $clients[$i]->send_raw(Commerce::Test::Client::render(
            @{ requests($t, $keys[$i])->[0] }));
    }

    wait_until {
        $t->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '"
            . $t->database . "' AND wait_event_type = 'Lock'"
            . " AND application_name LIKE '%/orders'") > 0;
    };

    my @workers = $t->workers;
    $t->allow_log(qr/exited on signal 9|zone "\w+" was locked by/);
    kill 'KILL', @workers;
    ok((wait_until {
        my @now = $t->workers;
        @now == @workers && !grep { my $w = $_; grep { $w == $_ } @now }
            @workers;
    }), 'all workers are replaced');
    $lock->query('COMMIT');
    $lock->close;

    ok((wait_until {
        $t->sql("SELECT state FROM commerce.instance WHERE id = $first")
            eq 'dead';
    } 20), 'the instance is left and settled') or diag($t->log);
    is($t->sql("SELECT count(*) FROM commerce.instance"
             . " WHERE state = 'live'"), 1, 'there is a new one');
    units($t, 10_000);
    is($t->stock('tea')->{held}, orders($t), 'units of orders, no others');

    my %ids;
    for my $key (@keys) {
        my $r = $t->post('/v1/orders', request(), 'Idempotency-Key' => $key);
        $ids{ $r->{json}{id} // '' }++;
        is($r->{status}, 201, 'a retry is served') or diag($r->{body});
    }
    is(scalar keys %ids, 10, 'each has its order');
    is(orders($t), 11, 'once');

    my $rest = 10_000 - 11;
    ok((wait_until { $t->order({ tea => $rest })->{status} == 201 } 10),
       'every other unit can be sold');
    $t->finish(more => 1);
};


subtest 'one worker is killed again and again under load' => sub {
    my $t = shop(workers => 4, directives => { commerce_lease_ttl => '5s' });

    my ($keys, $answers) = under_load($t, 1000, sub {
        $t->kill_worker('KILL', $_) for 0 .. 3;
    });

    note(summary($answers));
    exactly_once($t, $keys, $answers);
    is(orders($t), 1000, 'no other orders');
    ok((wait_until {
        $t->sql("SELECT count(*) FROM commerce.instance"
              . " WHERE state <> 'dead'") == 1;
    } 20), 'one instance lives');
    units($t, 10_000);
    ok((wait_until { $t->order({ tea => 9_000 })->{status} == 201 } 10),
       'every other unit can be sold');
    $t->finish(more => 1);
};


subtest 'a crash of everything' => sub {
    my $t = shop(directives => { commerce_lease_ttl => '5s' });
    my $old = $t->order({ tea => 1 })->{json};

    $t->crash;
    $t->start;
    is($t->order({ tea => 1 })->{status}, 201, 'a new start sells at once');
    is($t->get("/v1/orders/$old->{id}", 'X-Order-Token' => $old->{token})
       ->{status}, 200, 'old orders and tokens are good');
    ok((wait_until { $t->order({ tea => 9_998 })->{status} == 201 } 20),
       'and all units come back');
    units($t, 10_000);
    $t->finish(more => 1);
};


subtest 'USR2: a new binary' => sub {
    my $t = Commerce::Test->new(workers => 2, directives =>
                                { commerce_lease_ttl => '5s' });
    my $pidfile = $t->prefix . '/nginx.pid';

    start_orphan($t);
    $t->product('tea', stock => 10_000);

    my $master = $t->pid;

    $t->order({ tea => 1 });
    $t->signal('USR2');
    ok((wait_until {
        -e "$pidfile.oldbin" && slurp($pidfile) =~ /^\d+/
            && $t->pid != $master;
    } 20), 'a second master runs') or diag($t->log);
    ok((wait_until {
        $t->sql("SELECT count(*) FROM commerce.instance"
              . " WHERE state = 'live'") == 2;
    } 20), 'as an instance of its own');

    my @answers = $t->race(8, requests($t, map { $t->key } 1 .. 200));
    is(scalar(grep { $_->{status} != 201 } @answers), 0, 'both serve');

    kill 'QUIT', $master;
    ok((wait_until { !alive($master) } 30), 'the old one ends');
    is($t->sql("SELECT count(*) FROM commerce.instance"
             . " WHERE state = 'live'"), 1, 'and is settled');
    is($t->order({ tea => 1 })->{status}, 201, 'the new one sells on');
    units($t, 10_000);
    $t->finish(more => 1);
};


subtest 'master_process off' => sub {
    my $t = shop(workers => 1, master => 'off',
                 directives => { commerce_lease_ttl => '5s' });
    my $first = $t->sql('SELECT id FROM commerce.instance');

    is($t->order({ tea => 2 })->{status}, 201, 'it sells');
    is(scalar(grep { $_->{status} == 201 }
              $t->race(4, requests($t, map { $t->key } 1 .. 50))), 50,
       'much');
    units($t, 10_000);

    # nginx has no graceful end without a master: the next one settles
    ok($t->quit, 'it ends');
    $t->start;
    ok((wait_until {
        $t->sql("SELECT state FROM commerce.instance WHERE id = $first")
            eq 'dead';
    } 20), 'its instance is settled by the next');
    is($t->order({ tea => 9_948 })->{status}, 201, 'all units are back');
    $t->finish(more => 1);
};


subtest 'drain' => sub {
    my $t = shop(workers => 4);

    $t->race(8, requests($t, map { $t->key } 1 .. 40));
    my $admin = Commerce::Test::Client->new(port => $t->admin_port);
    is($admin->request('POST', '/drain')->{status}, 405, 'POST');

    my ($keys, $answers) = under_load($t, 600, sub {
        is($admin->request('GET', '/drain', undef, _timeout => 30)->{status},
           200, 'it answers when it is done');
    });
    is(scalar(grep { $_->[0] != 201 } @$answers), 0,
       'no order is refused meanwhile') or diag(summary($answers));
    $admin = Commerce::Test::Client->new(port => $t->admin_port);
    is($admin->request('GET', '/drain', undef, _timeout => 30)->{status}, 200,
       'again');
    is($t->stock('tea')->{leased}, 0, 'nothing is leased');
    is($t->client->request('GET', '/v1/products')->{headers}{connection},
       'close', 'clients are told not to come back on their connection');
    units($t, 10_000);
    $t->finish(more => 1);
};


subtest 'leases that are used up are closed while it sells' => sub {
    my $t = shop(workers => 1, directives => {
        commerce_lease_block => 8, commerce_lease_low_water => 50,
    });

    is($t->order({ tea => 1 })->{status}, 201, 'sold') for 1 .. 60;
    ok($t->sql('SELECT count(*) FROM commerce.lease') > 1,
       'from several leases');
    ok((wait_until {
        $t->sql('SELECT count(*) FROM commerce.lease'
                . ' WHERE closed_at IS NULL') == 1;
    } 20), 'the last one is open') or diag($t->log);
    units($t, 10_000);
    $t->finish(more => 1);
};


subtest 'units that were granted to a worker that leaves are sold' => sub {
    my $t = shop(workers => 1, directives => {
        commerce_lease_block => 8, commerce_lease_low_water => 50,
    });

    $t->order({ tea => 1 });

    my $lock = $t->session;
    $lock->query('BEGIN; SELECT FROM commerce.stock FOR UPDATE');
    is($t->order({ tea => 1 })->{status}, 201, 'sold') for 1 .. 6;
    ok((wait_until {
        $t->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '"
            . $t->database . "' AND wait_event_type = 'Lock'"
            . " AND application_name LIKE '%/leases'") > 0;
    }), 'a stock-up is on its way');

    $t->reload;
    $lock->query('COMMIT');
    $lock->close;
    ok((wait_until { !$t->shutting_down } 40), 'the old worker ends');

    my $stock = $t->stock('tea');
    my $all = $stock->{free} + $stock->{leased};
    is($all, 9993, 'every unit is accounted for');
    is($t->order({ tea => $all })->{status}, 201, 'and can be sold');
    is($t->sql($instances), 1, 'by the same instance');
    $t->finish(more => 1);
};


subtest 'an idle nginx keeps its lease of life' => sub {
    my $t = shop(directives => { commerce_lease_ttl => '5s' });
    my $beat = $t->sql('SELECT at FROM commerce.heartbeat');

    ok((wait_until {
        $t->sql("SELECT max(at) > '$beat'::timestamptz + interval '6 s'"
              . ' FROM commerce.heartbeat') eq 't';
    } 20), 'its heart beats');
    is($t->sql($instances), 1, 'it never rotated');
    is($t->sql('SELECT state FROM commerce.instance'), 'live', 'it is live');
    $t->finish(more => 1);
};


done_testing;
