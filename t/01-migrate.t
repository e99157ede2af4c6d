# The migration tool: forward only, once, whole, and safe beside itself.

use Commerce::Test;
use Commerce::Test::Host qw(
    run_command temp_dir remove_tree spew tool top
);

my $pg = Commerce::Test::Postgres->shared;
my $dir = temp_dir('sql');
my @names;


sub fresh {
    my $name = 'm_' . $$ . '_' . Commerce::Test::Host::random_hex(4);

    $pg->query('postgres', "CREATE DATABASE $name");
    push @names, $name;

    return $name;
}


sub migrate {
    my ($database, @options) = @_;

    return run_command(tool('commerce-migrate'), '--database',
                       $pg->conninfo($database), @options);
}


# the project's own migrations

my $db = fresh();
my @own = ('--directory', top() . '/src/sql');
my ($rc, $out) = migrate($db, @own, '--check');

is($rc, 1, '--check fails on an empty database');
like($out, qr/migrations are not applied, the first is 0001_/, 'and says why');
is($pg->query($db, "SELECT to_regnamespace('commerce')"), '',
   'and changes nothing');

($rc, $out) = migrate($db, @own, '--role', 'commerce');
is($rc, 0, 'migrations apply') or diag($out);
like($out, qr/^applied 0001_/m, 'and are named');

($rc, $out) = migrate($db, @own);
is($rc, 0, 'a second run is fine');
like($out, qr/^up to date at \d{4}_\w+\.sql$/, 'and says that all is done');

($rc) = migrate($db, @own, '--check');
is($rc, 0, '--check is content');

is($pg->query($db, 'SELECT count(*) FROM commerce.schema_migration'),
   scalar(() = glob top() . '/src/sql/*.sql'), 'each is recorded');


# the application's role: DML, nothing more

my %may = map { $_->[0] => $_->[1] } $pg->rows($db, <<'SQL');
SELECT p, bool_and(has_table_privilege('commerce', c.oid, p))
FROM pg_class c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) p
WHERE c.relnamespace = 'commerce'::regnamespace AND c.relkind = 'r'
AND c.relname <> 'schema_migration' GROUP BY p
SQL

is_deeply(\%may, { SELECT => 't', INSERT => 't', UPDATE => 't', DELETE => 't',
                   TRUNCATE => 'f' }, 'DML only');
is($pg->query($db, "SELECT has_schema_privilege('commerce', 'commerce',"
                 . " 'CREATE')"), 'f', 'no DDL');
is($pg->query($db, "SELECT has_table_privilege('commerce',"
                 . " 'commerce.schema_migration', 'INSERT')"), 'f',
   'the record of migrations is not its to write');

($rc, $out) = migrate($db, @own, '--role', 'no "such" role');
is($rc, 1, 'an unknown role is refused');
like($out, qr/role "no "such" role" does not exist/, 'by its name');


# two at once

my $both = fresh();
my @running = map {
    open my $run, '-|', tool('commerce-migrate'), '--database',
        $pg->conninfo($both), @own or die "fork: $!";
    $run;
} 1 .. 2;
my @said = map { my $run = $_; local $/; my $text = <$run>; close $run; $text }
    @running;

is(scalar(grep { /^applied 0001_/m } @said), 1, 'one of two applies')
    or diag(@said);
is(scalar(grep { /^up to date/m } @said), 1, 'the other finds it done');


# faults

spew("$dir/0001_one.sql", "CREATE TABLE commerce.one (a int);\n");
spew("$dir/0002_two.sql", "CREATE TABLE commerce.two (a int);\nSELECT 1/0;\n");

my $bad = fresh();

($rc, $out) = migrate($bad, '--directory', $dir);
is($rc, 1, 'a failing migration fails');
like($out, qr/0002_two\.sql: ERROR: .*division by zero/, 'with its name');
unlike($out =~ s/^applied .*\n//mr, qr/\n./, 'on one line');
is($pg->query($bad, "SELECT to_regclass('commerce.one') IS NOT NULL,"
                  . " to_regclass('commerce.two') IS NULL"), 't|t',
   'the one before it stays, its own parts do not');

spew("$dir/0002_two.sql", "COMMIT;\n");
($rc, $out) = migrate($bad, '--directory', $dir);
is($rc, 1, 'a migration cannot end its transaction');
like($out, qr/0002_two\.sql ends the transaction/, 'and is told so');

spew("$dir/0002_two.sql", "CREATE TABLE commerce.two (a int);\n");
($rc, $out) = migrate($bad, '--directory', $dir);
is($rc, 0, 'a mended one goes on from there') or diag($out);
like($out, qr/\Aapplied 0002_two\.sql\n\z/, 'with itself only');

spew("$dir/0001_one.sql", "CREATE TABLE commerce.one (a int, b int);\n");
($rc, $out) = migrate($bad, '--directory', $dir);
is($rc, 1, 'a changed file is refused');
like($out, qr/0001_one\.sql was changed after it had been applied/, 'by name');

spew("$dir/0001_one.sql", "CREATE TABLE commerce.one (a int);\n");
spew("$dir/0004_four.sql", "SELECT 1;\n");
($rc, $out) = migrate($bad, '--directory', $dir);
is($rc, 1, 'a gap is refused');
like($out, qr/0004_four\.sql: expected number 0003/, 'with the number');

unlink "$dir/0004_four.sql";
spew("$dir/three.sql", "SELECT 1;\n");
($rc, $out) = migrate($bad, '--directory', $dir);
is($rc, 1, 'a file without a number is refused');
unlink "$dir/three.sql";

unlink "$dir/0002_two.sql";
($rc, $out) = migrate($bad, '--directory', $dir);
is($rc, 0, 'an older program runs on a newer schema');
like($out, qr/ahead of these files: 0002_two\.sql/, 'and says so');

($rc, $out) = migrate($bad, '--directory', "$dir/none");
is($rc, 1, 'a missing directory is refused');

my $nowhere = Commerce::Test::Host::free_port();

($rc, $out) = run_command(
    tool('commerce-migrate'), '--database',
    "postgresql://a:secret\@127.0.0.1:$nowhere/x", '--directory', $dir);
is($rc, 3, 'no database: exit code 3');
like($out, qr/\Acommerce-migrate: cannot connect .*refused.*\n\z/,
     'one line says why');
unlike($out, qr/secret/, 'without the password');

($rc, $out) = run_command(tool('commerce-migrate'));
is($rc, 2, 'no arguments: usage');


# the first API key

my @admin = (tool('commerce-admin'), '--database', $pg->conninfo($db));

($rc, $out) = run_command(@admin, 'api-key', 'create', '--name', 'till 1',
                          '--scope', 'orders:read', '--scope', '*');
is($rc, 0, 'a key is made') or diag($out);
like($out, qr/\Anck_[A-Za-z0-9_-]{43}\n\z/, 'and printed');
chomp(my $key = $out);
is($pg->query($db, "SELECT name, scopes, revoked_at FROM commerce.api_key"
                 . " WHERE hash = sha256('$key')"),
   'till 1|{orders:read,*}|', 'only its hash is stored');

($rc, $out) = run_command(@admin, 'api-key', 'list');
like($out, qr/^([0-9a-f-]{36})\ttill 1\t\{orders:read,\*\}\t/m, 'listed');
my ($id) = $out =~ /^([0-9a-f-]{36})/m;
unlike($out, qr/\Q$key\E/, 'without the key');

($rc) = run_command(@admin, 'api-key', 'revoke', $id);
is($rc, 0, 'revoked');
($rc, $out) = run_command(@admin, 'api-key', 'revoke', $id);
is($rc, 1, 'once');
($rc) = run_command(@admin, 'api-key', 'create', '--name', 'a',
                    '--scope', 'a"b');
is($rc, 2, 'a strange scope is refused');
($rc, $out) = run_command(@admin, 'audit');
is("$rc$out", '0', 'nothing to audit');
$pg->query($db, 'INSERT INTO commerce.order_event'
    . ' (order_id, seq, type, state, actor)'
    . " VALUES (gen_random_uuid(), 2, 'paid', 'paid', 'test')");
($rc, $out) = run_command(@admin, 'audit');
is($rc, 1, 'an event without its order');
like($out, qr/^event_missing\t/m, 'is found');


$pg->drop_database($_) for @names;
remove_tree($dir);
done_testing;
