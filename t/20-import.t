# POST /v1/admin/import: a stream of rows, an answer for each.

use Commerce::Test;
use JSON::PP ();
use Time::HiRes qw(time);

my $t = Commerce::Test->new(workers => 2)->start;
my $json = JSON::PP->new->utf8->canonical;
my @bearer = (Authorization => 'Bearer ' . $t->api_key);
my @type = ('Content-Type' => 'application/x-ndjson');


sub import_text {
    my ($text, %headers) = @_;

    return $t->post('/v1/admin/import', $text, @bearer, @type, %headers);
}


sub product {
    my ($slug, %variant) = @_;

    return { type => 'product', slug => $slug, title => "The $slug",
             published => JSON::PP::true(),
             variants => [ { sku => $slug, prices => { USD => 100 },
                             %variant } ] };
}


sub statuses { return join ' ', map { $_->{status} } @_ }


# each kind of row

my @rows = $t->import_rows(product('a', stock => 5), product('b', stock => 6));
is(statuses(@rows), 'created created', 'products are created');
is(join(' ', map { $_->{row} } @rows), '1 2', 'rows are numbered from 1');
like($rows[0]{id}, qr/^[0-9a-f-]{36}$/, 'with their id');
is($t->get('/v1/products/a')->{json}{id}, $rows[0]{id}, 'of the product');
is($t->stock('a')->{free}, 5, 'with their stock');

is(statuses($t->import_rows(product('a', stock => 5))), 'unchanged',
   'the same again changes nothing');
is($t->stock('a')->{free}, 5, 'stock is for new variants only');
is(statuses($t->import_rows(product('a', prices => { USD => 200 }))),
   'updated', 'another price is an update');
is($t->get('/v1/products/a')->{json}{variants}[0]{prices}{USD}, 200,
   'that is seen at once');

is(statuses($t->import_rows(
       { type => 'price', sku => 'a', prices => { USD => 300, EUR => 250 } },
       { type => 'price', sku => 'a', prices => { USD => 300, EUR => 250 } },
   )), 'updated unchanged', 'price rows');
is(statuses($t->import_rows(
       { type => 'stock', sku => 'a', delta => 3, reason => 'receipt' },
       { type => 'stock', sku => 'a', set => 20, reason => 'count' },
       { type => 'stock', sku => 'a', set => 20, reason => 'count' },
   )), 'updated updated unchanged', 'stock rows');
is($t->stock('a')->{free}, 20, 'in their order');
is($t->sql('SELECT sum(delta) FROM commerce.stock_movement m JOIN'
         . " commerce.variant v ON v.id = m.variant_id WHERE sku = 'a'"), 20,
   'the ledger agrees');

is(statuses($t->import_rows(
       { type => 'stock', sku => 'b', delta => 1, reason => 'x' },
       { type => 'stock', sku => 'a', delta => -1, reason => 'x' },
       { type => 'stock', sku => 'b', delta => -7, reason => 'x' },
       { type => 'stock', sku => 'b', delta => -1, reason => 'x' },
       { type => 'stock', sku => 'a', set => 20, reason => 'x' },
       { type => 'stock', sku => 'b', set => 6, reason => 'x' },
   )), 'updated updated updated error updated updated',
   'rows of one sku see those before them');
is($t->stock('a')->{free} . ' ' . $t->stock('b')->{free}, '20 6',
   'and add up');

my $max = 2_147_483_647;
my @sand = $t->import_rows(
    product('sand', stock => $max),
    { type => 'stock', sku => 'sand', delta => 1, reason => 'x' });
is(statuses(@sand), 'created error', 'not more units than there can be');
is($sand[1]{problem}{code}, 'conflict', 'that is a conflict');
like($sand[1]{problem}{detail}, qr/$max/, 'with the limit');
is($t->order({ sand => 2 })->{status}, 201, 'two are held');
is(statuses($t->import_rows(
       { type => 'stock', sku => 'sand', delta => 1, reason => 'x' },
       { type => 'stock', sku => 'sand', set => $max - 2, reason => 'x' },
   )), 'error unchanged', 'and count');


# rows of stock are locked in one order, whatever the order of the lines

my ($importer, $holder) = ($t->session, $t->session);
my ($low, $high) = map { $_->[0] } $t->rows("SELECT sku FROM commerce.variant"
    . " WHERE sku IN ('a', 'b') ORDER BY id");
my $lock = 'SELECT 1 FROM commerce.stock s JOIN commerce.variant v'
         . " ON v.id = s.variant_id WHERE sku = '%s' FOR UPDATE OF s NOWAIT";

$holder->query('BEGIN; ' . sprintf $lock, $low);
$importer->send("SELECT status FROM commerce.import_stock('{$high,$low}',"
              . " '{1,1}', '{NULL,NULL}', '{r,r}', '{a,a}')");
ok((wait_until {
    $t->sql(q{SELECT count(*) FROM pg_stat_activity WHERE datname =}
          . q{ current_database() AND wait_event_type = 'Lock'}
          . q{ AND query LIKE '%import_stock%' AND pid <> pg_backend_pid()});
} 20), 'an import waits for the lowest row');
is($holder->query(sprintf $lock, $high), 1, 'and has no other');
$holder->query('ROLLBACK');
is($importer->read, "updated\nupdated", 'then it goes on');
$t->import_rows(map { { type => 'stock', sku => $_, delta => -1,
                        reason => 'x' } } 'a', 'b');

my $put = "SELECT status FROM commerce.put_product('"
        . $json->encode(product('same')) . "', 'upsert', NULL, NULL, 'a')";
is($holder->query("BEGIN; $put"), 'created', 'a product is being created');
$importer->send($put);
ok((wait_until {
    $t->sql(q{SELECT count(*) FROM pg_stat_activity WHERE datname =}
          . q{ current_database() AND wait_event_type = 'Lock'}
          . q{ AND query LIKE '%put_product%' AND pid <> pg_backend_pid()});
} 20), 'another import waits for it');
$holder->query('COMMIT');
is($importer->read, 'unchanged', 'and finds it created');
$_->close for $importer, $holder;


# a bad row fails alone

my $r = import_text(join "\n",
    $json->encode(product('c')),
    '{ not json',
    '',
    '[]',
    $json->encode({ type => 'unknown' }),
    $json->encode({ %{ product('d') }, colour => 'red' }),
    $json->encode(product('d', prices => { USD => -1 })),
    $json->encode({ type => 'stock', sku => 'nope', delta => 1,
                    reason => 'x' }),
    $json->encode({ type => 'stock', sku => 'a', delta => -1000,
                    reason => 'x' }),
    $json->encode({ type => 'price', sku => 'nope', prices => { USD => 1 } }),
    $json->encode({ type => 'product', slug => 'e', title => 'E',
        variants => [ { sku => 'a', prices => { USD => 1 } } ] }),
    $json->encode(product('f')));

is($r->{status}, 200, 'bad rows do not fail the import');
like($r->{headers}{'content-type'}, qr{^application/x-ndjson}, 'NDJSON');
my @answers = map { $json->decode($_) } split /\n/, $r->{body};
my %status = map { $_->{row} => $_->{status} } @answers;
is($status{1}, 'created', 'the first is good');
is(scalar @answers, 11, 'an empty line is no row');
is($answers[-1]{status}, 'created', 'so is the last');
my @bad = grep { $_->{status} eq 'error' } @answers;
is(scalar @bad, 9, 'nine are bad') or diag($r->{body});
is(scalar(grep { !$_->{problem}{code} || !$_->{problem}{title} } @bad), 0,
   'each with its problem');
is($t->get('/v1/products/f')->{status}, 200, 'the good ones are there');
is($t->get('/v1/products/d')->{status}, 404, 'the bad ones are not');
is($t->stock('a')->{free}, 20, 'nor their stock');


# ends and sizes

is(statuses($t->import_rows()), '', 'an empty import has no answers');
$r = import_text($json->encode(product('g')));
is($json->decode($r->{body})->{status}, 'created',
   'the last row needs no newline');
$r = import_text($json->encode(product('h')) . "\r\n"
               . $json->encode(product('i')) . "\r\n");
is(statuses(map { $json->decode($_) } split /\n/, $r->{body}),
   'created created', 'lines may end in CR LF');

my $long = $json->encode({ %{ product('long') },
                           description => 'x' x 300_000 });
$r = import_text("$long\n" . $json->encode(product('after')) . "\n");
@answers = map { $json->decode($_) } split /\n/, $r->{body};
is(statuses(@answers), 'error created', 'a row that is too long fails alone')
    or diag($r->{body});
is($answers[0]{problem}{code}, 'too_large', 'as too_large');

my @many = map { $json->encode(product("m$_", stock => 1)) . "\n" } 1 .. 3000;
my $start = time;
$r = import_text(join '', @many);
@answers = map { $json->decode($_) } split /\n/, $r->{body};
is(scalar(grep { $_->{status} eq 'created' } @answers), 3000,
   '3000 rows in one import');
is_deeply([ map { $_->{row} } @answers ], [ 1 .. 3000 ], 'in order');
cmp_ok(time - $start, '<', Commerce::Test::Host::slower(20), 'in time');
is($t->sql('SELECT count(*) FROM commerce.stock s JOIN commerce.variant v'
         . " ON v.id = s.variant_id WHERE sku ~ '^m[0-9]' AND free = 1"),
   3000, 'all are there');


# answers come while rows still go

my $client = $t->client;
$client->send_raw("POST /v1/admin/import HTTP/1.1\r\nHost: x\r\n"
    . "Authorization: $bearer[1]\r\nContent-Type: application/x-ndjson\r\n"
    . "Transfer-Encoding: chunked\r\n\r\n");

my ($first) = ('');
my $row = $json->encode(product('stream-1')) . "\n";
$client->send_raw(sprintf "%x\r\n%s\r\n", length $row, $row);
ok(wait_until { ($first .= $client->read_some(0.2)) =~ /"created"/ },
   'the first row is answered while the body is open');

$row = $json->encode(product('stream-2')) . "\n";
$client->send_raw(sprintf "%x\r\n%s\r\n", length $_, $_) for split //, $row;
ok(wait_until { ($first .= $client->read_some(0.2)) =~ /"row":\s*2/ },
   'a row in chunks of one byte too');
$client->send_raw("0\r\n\r\n");
ok(wait_until { ($first .= $client->read_some(0.2)) =~ /\r\n0\r\n\r\n$/ },
   'then the answer ends');


# a client that leaves

$client = $t->client;
$client->send_raw("POST /v1/admin/import HTTP/1.1\r\nHost: x\r\n"
    . "Authorization: $bearer[1]\r\nContent-Type: application/x-ndjson\r\n"
    . "Transfer-Encoding: chunked\r\n\r\n");
for my $n (1 .. 50) {
    $row = $json->encode(product("left-$n")) . "\n";
    $client->send_raw(sprintf "%x\r\n%s\r\n", length $row, $row);
}
$client->close;
is($t->get('/v1/products')->{status}, 200, 'a client that leaves hurts nobody');

# one that never reads its answer
$client = $t->client;
my $sent = 0;
$client->socket->setsockopt(Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), 4096);
$client->send_raw("POST /v1/admin/import HTTP/1.1\r\nHost: x\r\n"
    . "Authorization: $bearer[1]\r\nContent-Type: application/x-ndjson\r\n"
    . "Transfer-Encoding: chunked\r\n\r\n");
$row = "{}\n" x 1000;
my $deadline = time + 5;
while ($sent < 20_000_000 && time < $deadline) {
    my $chunk = sprintf "%x\r\n%s\r\n", length $row, $row;
    my $n = syswrite $client->socket, $chunk;

    $n // last;
    $sent += $n;
    last if $n < length $chunk;
}
my ($memory) = sort { $b <=> $a } map {
    Commerce::Test::Host::slurp("/proc/$_/status") =~ /VmRSS:\s+(\d+)/
} $t->workers;
cmp_ok($memory, '<', 300_000, 'a client that does not read costs no memory');
$client->close;


# refused before any row

is_problem($t->post('/v1/admin/import', $row, @type), 401, 'unauthenticated',
           'without a key');
is_problem(import_text($row, Authorization => 'Bearer '
           . $t->api_key('orders:read')), 403, 'forbidden',
           'without the scope');
my @catalogue = (Authorization => 'Bearer ' . $t->api_key('products:write'));
$r = import_text(join("\n", map { $json->encode($_) }
    { type => 'stock', sku => 'a', set => 1, reason => 'x' },
    { type => 'price', sku => 'a', prices => { USD => 300 } }), @catalogue);
@answers = map { $json->decode($_) } split /\n/, $r->{body};
is(statuses(@answers), 'error updated', 'stock needs a scope of its own');
is($answers[0]{problem}{code}, 'forbidden', 'forbidden');
like($answers[0]{problem}{detail} // '', qr/stock:write/, 'the scope is named');
is($t->stock('a')->{free}, 20, 'the stock is as it was');
is_problem(import_text($row, 'Content-Type' => 'text/csv'), 415,
           'unsupported_media_type', 'CSV');


# two imports of the same rows at once

my $text = join '', map { $json->encode(product("r$_", stock => 1)) . "\n" }
    1 .. 200;
my $back = join '', map { $json->encode(product("r$_", stock => 1)) . "\n" }
    reverse 1 .. 200;
my @both = $t->race(2, [ map { [ 'POST', '/v1/admin/import', $_, @bearer,
                                 @type ] } $text, $back ]);
my @results = map { map { $json->decode($_) } split /\n/, $_->{body} } @both;
is(scalar @results, 400, 'two imports at once are both answered');
is(scalar(grep { $_->{status} eq 'error' } @results), 0, 'without an error')
    or diag($json->encode((grep { $_->{status} eq 'error' } @results)[0]));
is(scalar(grep { $_->{status} eq 'created' } @results), 200,
   'each product is created once');

$t->finish;
