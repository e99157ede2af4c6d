# What nginx -t accepts, and what it refuses with a message that names it.

use Commerce::Test;
use Commerce::Test::Host qw(run_command slurp spew top temp_dir remove_tree);

my $t = Commerce::Test->new;
my $nginx = $t->nginx;
my $dir = temp_dir('configuration');
my $conninfo = $t->app_conninfo;


sub check {
    my ($directives, %options) = @_;

    my $fresh = $t->instance(directives => $directives, %options);
    my ($ok, $output) = $fresh->test_config;

    return ($ok, $output);
}


sub accepted {
    my ($name, $directives, %options) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($ok, $output) = check($directives, %options);

    ok($ok, "$name is accepted") or diag($output);
}


# Refused, in one [emerg] line that has the pattern and names file and line.
sub refused {
    my ($name, $directives, $pattern, %options) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($ok, $output) = check($directives, %options);
    my @lines = grep { /\[emerg\]/ } split /\n/, $output;

    ok(!$ok, "$name is refused") or diag($output);
    ok((grep { /$pattern/ } @lines), "the message matches $pattern")
        or diag($output);
}


# the example

my $example = top() . '/nginx.conf.example';

SKIP: {
    skip 'there is no example yet', 2 unless -r $example;

    my $text = slurp($example);
    my @ports = ($nginx->port, $nginx->admin_port);
    my $keys = 0;
    my $module = Commerce::Test::Host::build_dir()
        . '/ngx_http_commerce_module.so';

    # what a machine has of its own: paths, secrets, ports, certificates, and
    # directories that only root can make
    $text =~ s/^http\s*\{\K/join '', map { "\n    ${_}_temp_path $dir\/$_;" }
               qw(client_body proxy fastcgi uwsgi scgi)/me;
    $text =~ s/^\s*load_module\s+.*$/load_module $module;/m;
    $text =~ s/^(\s*)user\s+.*?;/$1/m;
    $text =~ s/^(\s*(?:pid|error_log|access_log)\s+)\S+/$1$dir\/file/mg;
    $text =~ s/^(\s*commerce_token_key_file\s+)\S+;/
               $1 . "$dir\/key-" . ++$keys . ';'/mgex;
    $text =~ s/^(\s*commerce_database_password_file\s+)\S+;/$1$dir\/key-1;/mg;
    $text =~ s/^(\s*commerce_database\s+).*?;/$1"$conninfo";/m;
    $text =~ s/^\s*ssl_\w+\s+.*;$//mg;
    $text =~ s/^(\s*listen\s+).*?;/$1 . '127.0.0.1:'
               . shift(@ports) . ';'/mge;

    spew("$dir/key-$_", ("k$_" x 32), 0600) for 1 .. 9;
    spew("$dir/nginx.conf", $text);

    my $env = Commerce::Test::Nginx::environment();
    local @ENV{keys %$env} = values %$env;

    my ($rc, $output) = run_command($nginx->binary, '-p', "$dir/", '-e',
        "$dir/error.log", '-t', '-c', "$dir/nginx.conf");

    is($rc, 0, 'nginx.conf.example is accepted') or diag($output);
    unlike($output, qr/\[warn\]/, 'without a warning');
}


# good values

accepted('the configuration of the tests', {});
accepted('a URI', { commerce_database =>
    qq{"postgresql://commerce\@127.0.0.1/shop?sslmode=verify-full"} });
accepted('an address without TLS', { commerce_database =>
    '"host=127.0.0.1 user=commerce dbname=shop sslmode=disable"' });
accepted('a socket', { commerce_database =>
    '"host=/var/run/postgresql user=commerce dbname=shop"' });
accepted('a zone of 8m', { commerce_zone => 'shop:8m' });

spew("$dir/second", 'b' x 48, 0600);
accepted('two token keys', { commerce_token_key_file =>
    [ $t->{dir} . '/token-key', "$dir/second" ] });


# the zone

refused('no zone', { commerce_zone => undef }, qr/commerce_zone/);
refused('a small zone', { commerce_zone => 'shop:1m' },
        qr/zone "shop:1m" is too small/);
refused('a zone without a size', { commerce_zone => 'shop' },
        qr/invalid zone "shop"/);
refused('a zone without a name', { commerce_zone => ':32m' },
        qr/invalid zone ":32m"/);
refused('a zone of no size', { commerce_zone => 'shop:x' },
        qr/invalid size of zone "shop:x"/);
refused('two zones', { commerce_zone => [ 'shop:32m', 'other:32m' ] },
        qr/"commerce_zone" directive is duplicate/);


# the database

refused('no database', { commerce_database => undef }, qr/commerce_database/);
refused('a bad conninfo', { commerce_database => '"nonsense"' },
        qr/commerce_database|nonsense/);
refused('an unknown option', { commerce_database => '"host=x colour=red"' },
        qr/"commerce_database"/);
refused('two databases', { commerce_database => [ '"host=a"', '"host=b"' ] },
        qr/"commerce_database" directive is duplicate/);
refused('a service file', { commerce_database => '"service=shop"' },
        qr/service/);
refused('a port that is none',
        { commerce_database => '"host=127.0.0.1 port=many"' }, qr/port/);
refused('an sslmode that is none',
        { commerce_database => '"host=127.0.0.1 sslmode=never"' },
        qr/sslmode/);

for my $wrong ('host=x password=s3cret colour=red', 'password=x s3cret',
               'postgresql://u:s3cret@h/db?colour=red')
{
    my ($ok, $said) = check({ commerce_database => qq{"$wrong"} });

    ok(!$ok, 'a conninfo with a password and a fault is refused');
    unlike($said, qr/s3cret/, 'the message does not have the password');
}

refused('a password file that is missing',
        { commerce_database_password_file => "$dir/missing" },
        qr{"\Q$dir\E/missing"});
refused('a password file twice', { commerce_database_password_file =>
    [ "$dir/second", "$dir/second" ] }, qr/duplicate/);


# token keys

refused('no token key', { commerce_token_key_file => undef },
        qr/commerce_token_key_file/);
refused('a token key that is missing',
        { commerce_token_key_file => "$dir/missing" }, qr{\Q$dir\E/missing});
spew("$dir/short", 'short', 0600);
refused('a short token key', { commerce_token_key_file => "$dir/short" },
        qr{\Q$dir\E/short});
spew("$dir/long", 'x' x 5000, 0600);
refused('a long token key', { commerce_token_key_file => "$dir/long" },
        qr{\Q$dir\E/long});
refused('a directory as token key', { commerce_token_key_file => $dir },
        qr{\Q$dir\E});


# providers and flags

spew("$dir/webhooks-$_", "whsec_$_" . 'x' x 20, 0600) for 1 .. 3;
my ($first, @more) = map { "secret_file=$dir/webhooks-$_" } 1 .. 3;

accepted('no provider', { commerce_payment_provider => undef });
accepted('a provider with a secret',
         { commerce_payment_provider => "acme $first" });
accepted('several with several', { commerce_payment_provider =>
    [ 'test', "acme-pay_2 $first @more", "other $first" ] });
accepted('test with a secret', { commerce_payment_provider => "test $first" });
refused('a provider without a secret',
        { commerce_payment_provider => 'acme' },
        qr/payment provider "acme" needs a "secret_file"/);
refused('a provider twice', { commerce_payment_provider => [ 'test', 'test' ]
    }, qr/duplicate payment provider "test"/);
refused('two names', { commerce_payment_provider => 'test other' },
        qr/invalid parameter "other"/);
refused('a secret without a file', { commerce_payment_provider =>
    'acme secret_file=' }, qr/invalid parameter "secret_file="/);
refused("the name \"$_\"", { commerce_payment_provider => "\"$_\" $first" },
        qr/invalid name of a payment provider/)
    for '', 'Acme', 'a/b', 'a.b', 'x' x 65;
refused('a secret that is missing', { commerce_payment_provider =>
    "acme secret_file=$dir/nothing" }, qr{secret file "\Q$dir\E/nothing"});
refused('a secret that is a directory', { commerce_payment_provider =>
    "acme secret_file=$dir" }, qr{secret file "\Q$dir\E" is not a regular});
refused('a short secret', { commerce_payment_provider =>
    "acme secret_file=$dir/short" }, qr{"\Q$dir\E/short" is too short});
refused('a long secret', { commerce_payment_provider =>
    "acme $first secret_file=$dir/long" }, qr{"\Q$dir\E/long" is too large});
refused('a flag that is none', { commerce_guest_checkout => 'maybe' },
        qr/invalid value "maybe" in "commerce_guest_checkout"/);
accepted('a flag', { commerce_guest_checkout => 'off' });


# numbers: [ name, lowest, highest, too low, too high ]

for (
    [ commerce_connections => 1, 32 ],
    [ commerce_read_connections => 1, 64 ],
    [ commerce_pipeline_depth => 1, 64 ],
    [ commerce_batch => 1, 1024 ],
    [ commerce_queue => 1, 1_048_576 ],
    [ commerce_lease_block => 1, 1_000_000 ],
    [ commerce_lease_low_water => 1, 99 ],
    [ commerce_max_lines => 1, 5000 ],
    [ commerce_cart_connections => 1, 8 ],
    [ commerce_json_depth => 1, 64 ],
    [ commerce_low_stock => 0, 1_000_000 ],
) {
    my ($name, $low, $high) = @$_;

    accepted("$name $_", { $name => $_ }) for $low, $high;

    for my $bad ($low - 1, $high + 1, 'x', '1.5', '9' x 30) {
        refused("$name $bad", { $name => $bad },
                qr/invalid value "\Q$bad\E" of "$name"/);
    }

    refused("$name twice", { $name => [ $low, $high ] },
            qr/"$name" directive is duplicate/);
}

for (
    [ commerce_database_connect_timeout => '2s', '99ms', '601s' ],
    [ commerce_database_timeout => '2s', '99ms', '601s' ],
    [ commerce_lease_ttl => '5s', '4999ms', '2h' ],
    [ commerce_lease_idle => '30s', '999ms', '25h' ],
    [ commerce_hold_time => '15m', '0', '31d' ],
    [ commerce_cart_lifetime => '7d', '0', '366d' ],
    [ commerce_idempotency_retention => '24h', '0', '2y' ],
) {
    my ($name, $good, @bad) = @$_;

    accepted("$name $good", { $name => $good });

    for my $bad (@bad, 'soon') {
        refused("$name $bad", { $name => $bad },
                qr/invalid value "$bad" of "$name"/);
    }

    refused("$name twice", { $name => [ $good, $good ] },
            qr/"$name" directive is duplicate/);
}

accepted('a queue with its timeout', { commerce_queue => '64 timeout=500ms' });
refused('a queue without a time', { commerce_queue => '64 timeout=' },
        qr/commerce_queue/);
refused('a queue that waits too long', { commerce_queue => '64 timeout=61s' },
        qr/invalid value "61s" of "commerce_queue"/);
refused('a parameter of the queue that is none',
        { commerce_queue => '64 deadline=1s' },
        qr/invalid parameter "deadline=1s"/);


# context

refused('commerce in http', {}, qr/"commerce" directive is not allowed here/,
        http => 'commerce storefront;');
refused('commerce_zone in a server', {},
        qr/"commerce_zone" directive is not allowed here/,
        server => 'commerce_zone other:32m;');
refused('commerce_metrics in http', {},
        qr/"commerce_metrics" directive is not allowed here/,
        http => 'commerce_metrics;');
refused('commerce_drain with an argument', {},
        qr/invalid number of arguments in "commerce_drain" directive/,
        server => 'location /x/ { commerce_drain now; }');
refused('an unknown API', {}, qr/"?nonsense"?/,
        server => 'location /x/ { commerce nonsense; }');
refused('commerce without arguments', {},
        qr/invalid number of arguments in "commerce" directive/,
        server => 'location /x/ { commerce; }');
refused('commerce twice', {}, qr/"commerce" directive is duplicate/,
        storefront => 'commerce storefront;');
refused('an unknown probe', {}, qr/sometimes/,
        server => 'location /x { commerce_health sometimes; }');


# reload

$t->start;
$t->product('tea', stock => 5);

my $other = $t->postgres->create_database;
my $elsewhere = $conninfo =~ s/dbname=\S+/dbname=$other/r;

$t->configure(directives => { commerce_database => qq{"$elsewhere"} });
$t->allow_log(qr/zone "shop".*database/);

my ($ok, $output) = $t->test_config;
$t->signal('HUP');
ok($t->wait_for_log(qr/\[emerg\].*zone "shop".*database/),
   'the same zone with another database is refused on reload')
    or diag($t->log);
is($t->order({ tea => 1 })->{status}, 201, 'the old configuration runs on');

$t->configure(directives => { commerce_database => qq{"$conninfo"},
                              commerce_zone => 'shop:40m' });
$t->reload;
ok((wait_until { $t->order({ tea => 1 })->{status} == 201 } 20),
   'a zone of another size is a new one');

$t->configure(directives => { commerce_zone => 'new:32m',
                              commerce_database => qq{"$elsewhere"} });
$t->reload;
ok((wait_until { ($t->get('/v1/products')->{json}{data} // [ 1 ])->@* == 0 }
    20), 'another zone may have another database');

$t->quit;
$t->postgres->drop_database($other);
remove_tree($dir);
$t->finish;
