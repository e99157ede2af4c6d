# ./start as a user meets it: background, second start, stop, and the things
# that may be in the way.  It runs in a run directory and on a port of its own.

use Commerce::Test;
use Commerce::Test::Client;
use Commerce::Test::Host qw(
    run_command free_port temp_dir remove_tree slurp spew top alive as_root
);

my $dir = temp_dir('start');
my $run = "$dir/run";
my $port = free_port();
my $start = top() . '/start';


# The shell that ./start gets: its output by a pipe that we read to the end, so
# that this hangs when a server holds it.
sub start {
    my ($env, @arguments) = @_;

    local @ENV{keys %$env} = values %$env;

    local $SIG{ALRM} = sub { die "./start @arguments does not return\n" };
    alarm 300;
    my ($rc, $output) = run_command($start, @arguments);
    alarm 0;

    return ($rc, $output);
}


sub get {
    my ($at, $path, %headers) = @_;

    return Commerce::Test::Client->new(port => $at)
        ->request('GET', $path, undef, %headers);
}


# (name => value) as a shell reads the file
sub environment {
    my ($from) = @_;

    my ($rc, $output) = run_command('sh', '-c', 'set -a; . "$1/env"; env', 'sh',
                                    $from);

    return $output =~ /^(COMMERCE_\w+)=(.*)$/mg;
}


# processes that have the directory in their command line
sub left_behind {
    my ($name) = @_;

    return grep {
        my $line = slurp($_) =~ tr/\0/ /r;
        index($line, $name) >= 0 && !m{^/proc/$$/} && $line !~ /^\S*perl/
    } glob '/proc/[0-9]*/cmdline';
}


my %here = (RUN => $run, PORT => $port);

my ($rc, $out) = start(\%here, '-d');
is($rc, 0, 'starts in the background') or diag($out);
like($out, qr{http://127\.0\.0\.1:$port}, 'and says where');
like($out, qr{curl .*/v1/orders}, 'and what to try');

my %env = environment($run);
is($env{COMMERCE_URL}, "http://127.0.0.1:$port", 'COMMERCE_URL');
like($env{COMMERCE_ADMIN_KEY}, qr/^nck_[\w-]{43}$/, 'COMMERCE_ADMIN_KEY');
is((stat "$run/env")[2] & 0077, 0, 'env is for its owner only');

my ($psql, $text) = run_command('psql', '-XAtc', 'SELECT rolsuper FROM'
    . ' pg_roles WHERE rolname = current_user', $env{COMMERCE_DATABASE});
is($text, "t\n", 'COMMERCE_DATABASE is the superuser\'s');

is(get($port, '/readyz')->{status}, 200, 'ready');
my $products = get($port, '/v1/products?limit=100');
is(scalar @{ $products->{json}{data} // [] }, 12, 'the demo catalogue');

my ($pid) = slurp("$run/nginx.pid") =~ /(\d+)/;
my $held = join ' ', map { readlink } glob "/proc/$pid/fd/[0-2]";
unlike($held, qr/pipe:|pts|tty/, 'nginx holds nothing of the caller');


# README's session, as printed

my ($session) = slurp(top() . '/README.md')
    =~ /^## A first order\n(.*?)^## What is guaranteed/ms;
my $script = join "\n", ". $run/env",
    grep { !m{^\./start|build/run/env} }
    map { /^ {4}(.*)/ ? $1 : () } split /\n/, $session;

($rc, $out) = run_command('bash', '-euc', $script);
is($rc, 0, "README's session runs") or diag($out);
like($out, qr/201 Created.*201 Created.*Idempotent-Replayed: true/is,
     'an order, and its replay');
like($out, qr/"state":"paid"/, 'that is paid');
like($out, qr/"total":9679/, 'a cart with tax, parcel and coupon');
like($out, qr/"tracking":"JD0146"/, 'which is sent');
like($out, qr/"state":"partially_refunded"/, 'and in part refunded');
unlike($out, qr/urn:nginx-commerce:problem/, 'nothing is refused')
    or diag($out);


# a second one

($rc, $out) = start(\%here, '-d');
isnt($rc, 0, 'a second start is refused');
like($out, qr/\Astart: it runs already at \S+:$port .*\n\z/, 'on one line');
is(get($port, '/readyz')->{status}, 200, 'and harms nothing');

($rc, $out) = start({ RUN => "$dir/other", PORT => $port }, '-d');
isnt($rc, 0, 'an occupied port is refused');
like($out, qr/\Astart: cannot listen on port $port: .*in use.*\n\z/,
     'on one line');
ok(!-e "$dir/other", 'and leaves nothing');

my $other_port = free_port();
my %other = (RUN => "$dir/other", PORT => $other_port);

($rc, $out) = start(\%other, '-d', '--database', $env{COMMERCE_DATABASE});
is($rc, 0, 'another one beside it on the same database') or diag($out);

my %other_env = environment("$dir/other");
is(get($other_port, '/readyz')->{status}, 200, 'is ready too');
is(get($other_port, '/v1/admin/stock/TOTE',
       Authorization => "Bearer $other_env{COMMERCE_ADMIN_KEY}")->{status},
   200, 'with a key of its own');
is(get($other_port, '/v1/admin/stock/TOTE',
       Authorization => "Bearer $other_env{COMMERCE_ADMIN_KEY}")
       ->{json}{free} // 'none', 6000, 'the catalogue was not seeded twice');

($rc, $out) = start(\%other, '--stop');
is($rc, 0, 'and stops alone') or diag($out);
ok(!-e "$dir/other", 'its directory is gone');
is(get($port, '/readyz')->{status}, 200, 'the first one goes on');


# stop

my $data = readlink("$run/data") // "$run/data";

($rc, $out) = start(\%here, '--stop');
is($rc, 0, 'stops');
ok((wait_until { !left_behind($run) && !left_behind($data) }),
   'no process is left')
    or diag(left_behind($run), left_behind($data));
ok(!-e $run && !-e $data, 'no file is left');

($rc, $out) = start(\%here, '--stop');
is($rc, 0, 'a second stop is fine');
like($out, qr/nothing runs/, 'and says so');

($rc, $out) = start(\%here, '-d');
is($rc, 0, 'starts anew after a stop') or diag($out);


# what a power cut leaves is no obstacle

($pid) = slurp("$run/nginx.pid") =~ /(\d+)/;
$data = readlink("$run/data") // "$run/data";
my ($postmaster) = slurp("$data/postgres/postmaster.pid") =~ /^(\d+)/;
my @workers = map { slurp($_) =~ /^(\d+) \(.*\) \S $pid /s ? $1 : () }
    glob '/proc/[0-9]*/stat';

kill 'KILL', $pid, @workers, $postmaster;
wait_until { !grep { alive($_) } $pid, @workers, $postmaster };

($rc, $out) = start(\%here, '-d');
is($rc, 0, 'starts after a crash') or diag($out);
is(get($port, '/readyz')->{status}, 200, 'and is ready');
start(\%here, '--stop');
ok(!-e $run, 'and stops');


# things in the way

my $nowhere = free_port();

($rc, $out) = start(\%here, '-d', '--database',
                    "postgresql://a:secret\@127.0.0.1:$nowhere/shop");
isnt($rc, 0, 'a dead database is refused');
is(scalar(() = $out =~ /^start: cannot .*refused.*$/mg), 1, 'on one line')
    or diag($out);
unlike($out, qr/secret/, 'without the password');
ok(!-e $run, 'and leaves nothing');

mkdir "$dir/mine";
spew("$dir/mine/letter", 'dear');
($rc, $out) = start({ %here, RUN => "$dir/mine" }, '-d');
isnt($rc, 0, 'a directory with other things is refused');
is(slurp("$dir/mine/letter"), 'dear', 'and left alone');

($rc, $out) = start({ %here, PORT => 'http' }, '-d');
isnt($rc, 0, 'a port that is none is refused');
like($out, qr/\Astart: PORT="http" is not a port\n\z/, 'on one line');

($rc, $out) = start(\%here, '--frobnicate');
isnt($rc, 0, 'an unknown argument is refused');

SKIP: {
    skip 'root may write everywhere', 1 if as_root();

    ($rc, $out) = start({ %here, RUN => '/proc/run' }, '-d');
    like($out, qr/\Astart: cannot make the directory .*\n\z/,
         'no right to write: one line');
}

remove_tree($dir);
done_testing;
