# Carts under parallel writers, on two instances, and what a request costs.

use Commerce::Test;
use Commerce::Relay;
use Commerce::Test::Host qw(slurp);
use POSIX ();

my $t = Commerce::Test->new(workers => 2)->start;
my $second = $t->instance(workers => 1);

$second->start;
$t->import_rows(map { {
    type => 'product', slug => "p-$_", title => "P $_",
    variants => [ { sku => "p-$_", prices => { USD => $_ }, stock => 1000 } ],
} } 1 .. 100);


sub cart {
    return $t->post('/v1/carts', { currency => 'USD' })->{json};
}


sub request {
    my ($cart, $method, $path, $body, %headers) = @_;

    return [ $method, "/v1/carts/$cart->{id}$path", $body,
             'X-Cart-Token' => $cart->{token}, %headers ];
}


sub add {
    my ($cart, $sku, $quantity, %headers) = @_;

    return request($cart, 'POST', '/lines',
                   { sku => $sku, quantity => $quantity }, %headers);
}


sub show {
    my ($cart) = @_;

    return $t->request(@{ request($cart, 'GET', '') })->{json};
}


# Half of the requests to each instance, all at the same time: each answer is
# its status, its code and whether it was a replay.
sub everywhere {
    my (@requests) = @_;

    my @there = splice @requests, @requests / 2;
    my $words = sub {
        return map { join ' ', $_->{status}, $_->{json}{code} // (),
            $_->{headers}{'idempotent-replayed'} ? 'replayed' : () } @_;
    };

    pipe my $reader, my $writer or die "pipe: $!";
    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        print {$writer} map { "$_\n" }
            $words->($second->race(25, \@there, 60));
        close $writer;
        POSIX::_exit(0);
    }

    close $writer;

    my @words = $words->($t->race(25, \@requests, 60));

    push @words, map { chomp; $_ } <$reader>;
    waitpid $pid, 0;

    return @words;
}


sub count {
    my (@words) = @_;

    my %n;

    $n{$_}++ for @words;

    return join ', ', map { "$n{$_} x $_" } sort keys %n;
}


subtest 'no cart line is lost under parallel writes' => sub {
    my $cart = cart();

    is(count(everywhere(map { add($cart, "p-$_", $_) } 1 .. 50)), '50 x 200',
       '50 parallel writers of one cart');

    my $now = show($cart);

    is($now->{version}, 51, 'version = 1 + writes');
    is(join(' ', sort { $a <=> $b } map { $_->{quantity} }
                 @{ $now->{lines} }), "@{[ 1 .. 50 ]}", 'all lines are there');
    my $sum = 0;
    $sum += $_ * $_ for 1 .. 50;
    is($now->{total}, $sum, 'and make the total');

    is(count(everywhere(map { add($cart, 'p-1', 1) } 1 .. 50)), '50 x 200',
       '50 that add to one line');
    $now = show($cart);
    is((grep { $_->{sku} eq 'p-1' } @{ $now->{lines} })[0]{quantity}, 51,
       'no unit of it is lost');
    is($now->{version}, 101, 'version = 1 + writes');
};


subtest 'writes of every kind at once' => sub {
    my $cart = cart();
    my %id = map { @$_ } $t->rows('SELECT sku, id FROM commerce.variant');

    $t->request(@{ add($cart, "p-$_", 1) }) for 1 .. 10;

    my @words = everywhere(
        (map { add($cart, "p-$_", 1) } 6 .. 15),
        (map { request($cart, 'PATCH', "/lines/$id{qq(p-$_)}",
                       { quantity => 7 }) } 1 .. 5),
        (map { request($cart, 'DELETE', "/lines/$id{qq(p-$_)}") } 1 .. 5),
        (map { request($cart, 'PUT', '/email', { email => "a$_\@b.de" }) }
             1 .. 10),
        (map { request($cart, 'PUT', '/shipping',
                       { address => { country => 'US' } }) } 1 .. 5));

    my $done = grep { $_ eq '200' } @words;
    my $now = show($cart);

    is(scalar(grep { $_ ne '200' && $_ ne '404 not_found' } @words), 0,
       'done, or the line is gone already') or diag(count(@words));
    is($now->{version}, 11 + $done, 'version = 1 + writes that were done');
    is(join(' ', sort map { "$_->{sku}:$_->{quantity}" }
                 @{ $now->{lines} }),
       join(' ', sort((map { "p-$_:2" } 6 .. 10),
                      map { "p-$_:1" } 11 .. 15)), 'nothing is left over');
    like($now->{email}, qr/^a\d+\@b\.de$/, 'the e-mail address is one of them');
    is_deeply($now->{delivery}, { address => { country => 'US' } },
              'no address is lost either');
};


subtest 'one version is written once' => sub {
    my $cart = cart();
    my @words = everywhere(map { add($cart, "p-$_", 1, 'If-Match' => '"1"') }
                           1 .. 30);

    is(count(@words), '1 x 200, 29 x 412 version_conflict',
       'of 30 that saw the same version');
    is(show($cart)->{version}, 2, 'the version has moved once');
};


subtest 'a request that is repeated adds once' => sub {
    my $cart = cart();
    my $key = $t->key;
    my @words = everywhere(map { add($cart, 'p-1', 3,
        'Idempotency-Key' => $key) } 1 .. 20);

    is(count(@words), '1 x 200, 19 x 200 replayed', 'of 20 one is done');

    my $now = show($cart);
    is("$now->{version} $now->{lines}[0]{quantity}", '2 3', 'once');
};


subtest 'the limit of lines holds under parallel writes' => sub {
    for ($t->nginx, $second) {
        $_->configure(directives => { commerce_max_lines => 10 });
        $_->reload(wait => 1);
    }

    my $cart = cart();
    my @words = everywhere(map { add($cart, "p-$_", 1) } 1 .. 50);

    is(count(@words), '10 x 200, 40 x 422 invalid_request',
       'ten lines, and no more');
    is(scalar @{ show($cart)->{lines} }, 10, 'are there');

    for ($t->nginx, $second) {
        $_->configure(directives => { commerce_max_lines => 100 });
        $_->reload(wait => 1);
    }
};


subtest 'carts that are written together share a commit' => sub {
    $t->configure(workers => 1);
    $t->quit;
    $t->start;

    my @carts = map { cart() } 1 .. 64;
    my $ids = join ',', map { "'$_->{id}'" } @carts;
    my $lock = $t->session;

    # one batch waits, the next one fills
    $lock->query("BEGIN; UPDATE commerce.cart SET email = 'a\@b.de'"
               . " WHERE id = '$carts[0]{id}'");

    my @clients = map { $t->client } @carts;

    for my $i (0 .. $#carts) {
        my ($method, $path, $body, %headers) = @{ add($carts[$i], 'p-1', 1) };

        $clients[$i]->send_raw(Commerce::Test::Client::render(
            $method, $path, $body, %headers));

        $i or wait_until {
            $t->sql('SELECT count(*) FROM pg_stat_activity WHERE datname = '
                . "'" . $t->database . "' AND wait_event_type = 'Lock'"
                . " AND application_name LIKE '%/carts'") > 0;
        };
    }

    $t->get('/livez') for 1 .. 3;
    $lock->query('ROLLBACK');

    my @good = grep { $_ && $_->{status} == 200 }
        map { $_->read_response } @clients;

    is(scalar @good, 64, 'all are written');
    cmp_ok($t->sql('SELECT count(DISTINCT xmin::text) FROM commerce.cart'
                 . " WHERE id IN ($ids)"), '<=', 6, 'in a few transactions');

    my %seen = map { $_->{json}{id} => 1 } @good;
    is(scalar keys %seen, 64, 'each gets its own cart');
};


subtest 'an answer that got lost does not add twice' => sub {
    my $relay = Commerce::Relay->new(to => $t->postgres->port);
    my $far = $t->instance(workers => 1, database_port => $relay->port,
        directives => { commerce_queue => '64 timeout=2s' });
    my $cart = cart();
    my $key = $t->key;

    $far->start;
    is($far->request(@{ add($cart, 'p-1', 1) })->{status}, 200,
       'through the relay');

    $relay->mute('carts');

    my $client = $far->client;
    my ($method, $path, $body, %headers) =
        @{ add($cart, 'p-1', 1, 'Idempotency-Key' => $key) };

    $client->send_raw(Commerce::Test::Client::render(
        $method, $path, $body, %headers));
    ok((wait_until { show($cart)->{version} == 3 }), 'it is committed');
    $relay->cut('carts');

    my $r = $client->read_response;
    is_problem($r, 503, 'outcome_unknown', 'nobody knows');
    $relay->pass;

    ok((wait_until {
        $r = $far->request(@{ add($cart, 'p-1', 1,
                                  'Idempotency-Key' => $key) });
        $r->{status} == 200;
    } 15), 'the same request with the same key');
    is($r->{headers}{'idempotent-replayed'}, 'true', 'is a replay');
    is($r->{json}{lines}[0]{quantity}, 2, 'it was added once');
    $far->quit;
};

subtest 'a cart of many lines costs no more round trips' => sub {
    my $t = Commerce::Test->new(workers => 1, own_postgres => {
        log_statement => 'all', log_line_prefix => '%a %v|',
    })->start;

    $t->import_rows(map { {
        type => 'product', slug => "p-$_", title => "P $_",
        variants => [ { sku => "p-$_", prices => { USD => $_ },
                        stock => 1000 } ],
    } } 1 .. 100);

    my $cart = $t->post('/v1/carts', { currency => 'USD' })->{json};
    my $log = $t->postgres->data . '/server.log';

    # the transactions and statements of a request
    my $costs = sub {
        my ($request) = @_;

        my $from = -s $log;
        my $r = $t->request(@$request);

        is($r->{status}, 200, "$request->[0] $request->[1]"
            =~ s/[0-9a-f-]{36}/../gr) or diag($r->{body});

        # the sweep has a statement of its own, at any time
        my @lines = grep { /execute (?:cart|variant)/ && !m{/sweep } }
            split /\n/, substr slurp($log), $from;
        my %transactions = map { (/ (\S+)\|/ ? $1 : '') => 1 } @lines;

        return keys(%transactions) . ' transaction, ' . @lines
            . ' statements';
    };

    # what the zone does not know yet is loaded first
    $t->request(@{ add($cart, "p-$_", 1) }) for 1 .. 100;
    my $few = $t->post('/v1/carts', { currency => 'USD' })->{json};
    $t->request(@{ add($few, 'p-1', 1) });

    for (
        [ 'an add', sub { add($_[0], 'p-1', 1) } ],
        [ 'an e-mail address', sub { request($_[0], 'PUT', '/email',
            { email => 'a@b.de' }) } ],
        [ 'a look', sub { request($_[0], 'GET', '') } ],
    ) {
        my ($name, $request) = @$_;
        my ($one, $many);

        # news of the import may come late
        ok((wait_until {
            ($one, $many) = map { $costs->($request->($_)) } $few, $cart;
            $one =~ /^1 transaction, [1-4] statements$/ && $many eq $one;
        } 10), "$name: one round trip, with 100 lines as with 1")
            or diag("$one; $many");
    }

    $t->finish(more => 1);
};


subtest 'a request reads its own cart only, whenever plans were made' => sub {
    my $t = Commerce::Test->new(workers => 1)->start;

    $t->product('tea', stock => 10);

    my $cart = $t->post('/v1/carts', { currency => 'USD' })->{json};
    $t->request(@{ add($cart, 'tea', 1) });

    # plans are made for tables that are known to be small
    $t->sql('ANALYZE commerce.cart, commerce.cart_line');
    $t->request(@{ add($cart, 'tea', 1) });
    $t->sql(<<'SQL');
ALTER TABLE commerce.cart SET (autovacuum_enabled = off);
ALTER TABLE commerce.cart_line SET (autovacuum_enabled = off);
SQL
    $t->request(@{ add($cart, 'tea', 1) });
    $t->sql(<<"SQL");
INSERT INTO commerce.cart (id, currency, lines, expires_at)
SELECT commerce.uuid_v7(), 'USD', 1, now() + interval '1 day'
FROM generate_series(1, 5000);
INSERT INTO commerce.cart_line SELECT c.id, v.id, 1, 1, 2
FROM commerce.cart c, commerce.variant v WHERE c.id <> '$cart->{id}';
SQL
    my $read = sub {
        return $t->sql(q{SELECT sum(idx_tup_fetch + seq_tup_read)
            FROM pg_stat_user_tables WHERE relname LIKE 'cart%'});
    };

    $t->request(@{ add($cart, 'tea', 1) }) for 1 .. 5;
    my $before = $read->();
    $t->request(@{ add($cart, 'tea', 1) }) for 1 .. 20;
    # sessions that end have reported what they read
    $t->quit;
    cmp_ok($read->() - $before, '<', 25 * 20,
           'a few rows for each request');
    $t->finish(more => 1);
};


subtest 'a zone without room refuses no cart' => sub {
    my $t = Commerce::Test->new(workers => 1, directives => {
        commerce_zone => 'shop:8m', commerce_max_lines => 500,
    })->start;
    my ($r, @full);

    # every slot gets units, at last one by one

    for my $n (1 .. 40) {
        my @skus = map { "n-$n-$_" } 1 .. 100;

        $t->import_rows({ type => 'product', slug => "n-$n", title => "N $n",
            variants => [ map { { sku => $_, prices => { USD => 2 },
                                  stock => 100 } } @skus ] });
        $r = $t->order({ map { $_ => 1 } @skus });
        next if $r->{status} == 201;
        is($r->{status}, 503, 'an order of more than fits is no mistake of it')
            or diag($r->{body});
        @full = grep { ($_->{json}{code} // '') eq 'zone_full' }
            map { $t->order({ $_ => 1 }) } @skus;
        last;
    }

    ok(scalar @full, 'the zone is full for orders');
    $t->product('last', price => 7, stock => 5);

    my $cart = $t->post('/v1/carts', { currency => 'USD' })->{json};

    $r = $t->request(@{ add($cart, 'last', 2) });
    is($r->{status}, 200, 'a cart is written') or diag($r->{body});
    is($r->{json}{total}, 14, 'and priced');
    is($t->request(@{ add($cart, 'n-1-1', 1) })->{json}{total}, 16,
       'with a line that the zone has');
    $r = $t->request(@{ request($cart, 'GET', '') });
    is(join(' ', map { "$_->{sku} $_->{quantity}" } @{ $r->{json}{lines} }),
       'last 2 n-1-1 1', 'and shown');
    is_deeply($r->{json}{warnings}, [], 'without a warning');
    $t->finish(more => 1);
};


subtest 'a write that cannot be shown is never "nothing was done"' => sub {
    my $relay = Commerce::Relay->new(to => $t->postgres->port);
    my $far = $t->instance(workers => 1, database_port => $relay->port,
        directives => { commerce_queue => '64 timeout=500ms' });
    my $cart = cart();
    my $key = $t->key;

    # what the far one has to ask for to show the cart, it does not hear

    $t->request(@{ add($cart, 'p-1', 1) });
    $far->start;
    $relay->hole('reads');
    $relay->cut('reads');

    my $r = $far->request(@{ request($cart, 'PUT', '/email',
        { email => 'a@b.de' }, 'Idempotency-Key' => $key) });

    is_problem($r, 503, 'outcome_unknown', 'it is stored and not shown');
    ok($r->{headers}{'retry-after'}, 'with Retry-After');
    is(show($cart)->{email}, 'a@b.de', 'elsewhere it is seen');
    is_problem($far->request(@{ request($cart, 'GET', '') }), 503,
               'unavailable', 'a look is no write');

    $r = $far->request(@{ request($cart, 'PUT', '/email',
        { email => 'a@b.de' }, 'Idempotency-Key' => $key) });
    is_problem($r, 503, 'outcome_unknown', 'nor is its replay shown');
    ok(!exists $r->{headers}{'idempotent-replayed'}, 'or marked as one');
    $relay->pass;
    $relay->cut('reads');
    ok((wait_until {
        $r = $far->request(@{ request($cart, 'PUT', '/email',
            { email => 'a@b.de' }, 'Idempotency-Key' => $key) });
        $r->{status} == 200;
    } 15), 'the same key again');
    is($r->{headers}{'idempotent-replayed'}, 'true', 'is a replay');
    is($r->{json}{version}, 3, 'written once');
    $far->quit;
};

$t->finish;
