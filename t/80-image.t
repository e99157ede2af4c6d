# The container image: built from a Debian base that is there, it says what it
# is, has nothing that it does not need, and sells, read-only and without any
# capability, on a throwaway PostgreSQL until SIGQUIT.
#
# COMMERCE_TEST_BASE names the base, COMMERCE_TEST_IMAGE an image that was built
# already, DOCKER the program.

use Commerce::Test;
use Commerce::Test::Host qw(
    top free_port temp_dir remove_tree slurp spew run_command
);
use JSON::PP ();

my $docker = $ENV{DOCKER} // 'docker';
my $ready_made = $ENV{COMMERCE_TEST_IMAGE};
my $image = $ready_made // "nginx-commerce-test:$$";
my $engine = "nginx-commerce-test-$$";
my $share = '/usr/share/nginx-commerce';
my $dir;


sub docker { return run_command($docker, @_) }


# The first base that is there, else one that can be pulled.
sub find_base {
    my @bases = map { "debian:$_-slim" } qw(trixie bookworm);

    @bases = $ENV{COMMERCE_TEST_BASE} if $ENV{COMMERCE_TEST_BASE};

    for my $base (@bases) {
        return $base if !(docker('image', 'inspect', $base))[0];
    }

    for my $base (@bases) {
        return $base
            if !(run_command('timeout', 120, $docker, 'pull', '-q', $base))[0];
    }

    return undef;
}


# A container of the image as a strict orchestrator runs it.
sub strict {
    return ('--read-only', '--cap-drop', 'ALL',
            '--security-opt', 'no-new-privileges', @_);
}


# What a program of the image prints: (exit code, output)
sub in_image {
    my ($options, $program, @arguments) = @_;

    return docker('run', '--rm', strict(@$options), '--entrypoint', $program,
                  $image, @arguments);
}


sub in_engine { return docker('exec', $engine, @_) }


# The program with the password of a file, as docker/README.md shows it.
sub with_password {
    my (@command) = @_;

    return in_image([ '--network', 'host', '-v', "$dir:$dir:ro" ], '/bin/sh',
        '-c', 'PGPASSWORD=$(cat "$0") exec "$@"', "$dir/owner", @command);
}


my ($rc, $out) = docker('version', '--format', '{{.Server.Version}}');
plan skip_all => 'no Docker' if $rc;

my $base;

if (!$ready_made) {
    $base = find_base()
        // plan skip_all => 'no Debian base image, and none can be pulled';

    # the packages come from elsewhere
    for (1 .. 3) {
        ($rc, $out) = run_command(top() . '/docker/build', '-t', $image,
                                  '--base', $base);
        last if $rc == 0;
    }

    is($rc, 0, "builds on $base")
        or BAIL_OUT('docker/build: ' . substr $out, -3000);
}


# what it says of itself

my ($config) = map { $_->{Config} } @{ JSON::PP->new->utf8->decode(
    (docker('image', 'inspect', $image))[1]) };

is($config->{StopSignal}, 'SIGQUIT', 'the stop signal is the graceful one');
is($config->{User}, '10001:10001', 'the user is a number, and not root');
is_deeply($config->{Entrypoint},
    [ '/usr/sbin/nginx', '-e', 'stderr', '-g', 'daemon off;' ],
    'nginx is the entry point, without a shell');
ok(!@{ $config->{Cmd} // [] }, 'and has no other arguments');
is_deeply([ sort keys %{ $config->{ExposedPorts} } ],
          [ qw(8080/tcp 8443/tcp 9145/tcp) ], 'ports');

my $labels = $config->{Labels};
my $label = 'org.opencontainers.image';

is($labels->{"$label.title"}, 'nginx-commerce', 'label title');
is($labels->{"$label.licenses"}, 'Apache-2.0', 'label licenses');
like($labels->{"$label.base.name"}, $base ? qr/^\Q$base\E$/ : qr/./,
     'label base.name');
like($labels->{"$label.version"}, qr/^\d+\.\d+\.\d+$/, 'label version');
like($labels->{"$label.created"}, qr/^\d{4}-\d\d-\d\dT[\d:]{8}Z$/,
     'label created');
ok(exists $labels->{"$label.$_"}, "label $_")
    for qw(description revision source base.digest);

($rc, my $abi) = in_image([], 'cat', "$share/nginx-abi");
chomp $abi;
like($abi, qr/^nginx-(?:abi-)?\d/, 'the image knows the ABI of its nginx');
is($labels->{'org.nginx-commerce.nginx-abi'}, $abi, 'and the label names it');

if (!$ready_made) {
    local $ENV{NGINX_ABI} = 'nginx-abi-0';

    ($rc, $out) = run_command(top() . '/docker/build', '-t', "$image-abi",
                              '--base', $base);
    isnt($rc, 0, 'another ABI than the expected one stops the build');
    like($out, qr/\Q$abi\E, not nginx-abi-0/, 'with both names');
}


# what is in it, and what is not

($rc, $out) = in_image([], '/bin/sh', '-c', 'id -u; id -g');
is($out, "10001\n10001\n", 'runs as that user');

($rc, $out) = in_image([ '--user', '0:0' ], 'find', '/', '-xdev', '-type',
                       'f', '-perm', '/6000');
is($out, '', 'no setuid or setgid file');

($rc, $out) = in_image([], '/bin/sh', '-c',
    'for p in cc gcc g++ c99 cpp ld as make; do command -v $p; done; true');
is($out, '', 'no compiler');

($rc, $out) = in_image([], 'find', '/var/lib/apt/lists', '/var/cache/apt',
    '/var/log', '/usr/share/man', '/stages', '/src', '/image', '-type', 'f');
is(join('', grep { !/No such file/ } split /^/, $out), '',
   'no package lists, logs or traces of the build');

# a root file system that may be written
($rc, $out) = docker('run', '--rm', '--entrypoint', '/bin/sh', $image, '-c',
    'find / -xdev ! -type l -writable 2>/dev/null | sort');
is($out, "/run/nginx\n/tmp\n/var/lib/nginx\n/var/tmp\n",
   'its user may write where nginx has to, and nowhere else')
    or diag($out);

my $created = $labels->{"$label.created"};
($rc, $out) = in_image([ '--user', '0:0' ], 'find', '/', '-xdev', '-type', 'f',
    '-newermt', $created gt '2026-01-01' ? $created : '2026-01-01 UTC');
is(join('', grep { !m{^/(?:\.dockerenv|etc/(?:hosts|hostname|resolv\.conf))$} }
        split /^/, $out), '',
   'no file has the time of the build: the next one gives the same layers');

for my $path ('/usr/lib/nginx/modules/ngx_http_commerce_module.so',
              '/usr/bin/commerce-migrate', '/usr/bin/commerce-admin',
              '/usr/bin/commerce-client', "$share/demo-catalogue.ndjson",
              "$share/nginx.conf.example", '/etc/nginx/nginx.conf')
{
    is((in_image([], 'test', '-s', $path))[0], 0, "has $path");
}

($rc, $out) = in_image([], 'ls', "$share/sql");
is($out, join('', map { s{.*/}{}r . "\n" } glob top() . '/src/sql/*.sql'),
   'has the migrations');


# the SBOM

($rc, $out) = in_image([], 'cat', "$share/sbom.spdx.json");
my $sbom = eval { JSON::PP->new->utf8->decode($out) } // {};
is($sbom->{spdxVersion}, 'SPDX-2.3', 'the SBOM is SPDX');

($rc, $out) = in_image([], 'dpkg-query', '-W', '-f',
                       '${Package} ${Version}\n');
my @packages = map { "$_->{name} $_->{versionInfo}\n" }
    grep { $_->{name} ne 'nginx-commerce' } @{ $sbom->{packages} };
is(join('', sort @packages), join('', sort split /^/, $out),
   'and lists the packages of the image: ' . scalar @packages);

($rc, $out) = in_image([], 'sha256sum',
    '/usr/lib/nginx/modules/ngx_http_commerce_module.so');
my ($module) = grep { $_->{fileName} =~ /module\.so$/ } @{ $sbom->{files} };
is((grep { $_->{algorithm} eq 'SHA256' } @{ $module->{checksums} })[0]
       {checksumValue}, substr($out, 0, 64), 'and the module, by its hash');


# migration and administration, with the password in a file

my $postgres = Commerce::Test::Postgres->shared;
my $database = $postgres->create_database('template0');
my ($owner_password) = $postgres->conninfo($database) =~ m{://\w+:(\w+)@};
my $owner = 'host=127.0.0.1 port=' . $postgres->port
    . " user=postgres dbname=$database";
my ($port, $tls_port, $admin_port) = (free_port(), free_port(), free_port());

$dir = temp_dir('image');
spew("$dir/owner", "$owner_password\n", 0444);
spew("$dir/password", slurp($postgres->password_file), 0444);
spew("$dir/token-key", 'a key of the test, long enough for it ' x 2, 0444);

my @migrate = ('commerce-migrate', '--database', $owner);

is((with_password(@migrate, '--check'))[0], 1, 'nothing is migrated yet');
($rc, $out) = with_password(@migrate, '--role', 'commerce');
is($rc, 0, 'migrates') or diag($out);
is((with_password(@migrate, '--check'))[0], 0, 'and says that it has');

($rc, my $key) = with_password('commerce-admin', '--database', $owner,
    'api-key', 'create', '--name', 'test', '--scope', '*');
is($rc, 0, 'makes an API key') or diag($key);
spew("$dir/key", $key, 0444);


# the engine, on the configuration of the image but for addresses

($rc, my $nginx_conf) = in_image([], 'cat', '/etc/nginx/nginx.conf');
my %listen = (8080 => $port, 9145 => $admin_port);
is($nginx_conf =~ s/listen (\d+)/listen 127.0.0.1:$listen{$1}/g, 2,
   'the configuration listens on its two ports');

# and with a certificate on a third one
($rc, my $tls) = in_image([], 'openssl', 'req', '-x509', '-newkey', 'ec',
    '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', 1, '-subj',
    '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
    '-keyout', '/dev/stdout', '-out', '/dev/stdout');
is($rc, 0, 'openssl makes a certificate') or diag($tls);
spew("$dir/tls.pem", $tls, 0444);

my $tls_server = <<"END_SERVER";
    server {
        listen 127.0.0.1:$tls_port ssl;
        ssl_certificate $dir/tls.pem;
        ssl_certificate_key $dir/tls.pem;

        location /v1/ {
            commerce storefront;
        }

        location / {
            return 404;
        }
    }

END_SERVER

$nginx_conf =~ s/^(?= +# probes)/$tls_server/m;
spew("$dir/nginx.conf", $nginx_conf, 0444);
spew("$dir/database.conf", 'commerce_database "'
    . $postgres->app_conninfo($database) . "\";\n"
    . "commerce_database_password_file $dir/password;\n", 0444);

($rc, $out) = docker('run', '-d', '--name', $engine, '--network', 'host',
    strict(map { ('--tmpfs', $_) } qw(/run/nginx /var/lib/nginx /tmp)),
    '-v', "$dir:$dir:ro",
    '-v', "$dir/token-key:/run/secrets/commerce/token-key:ro",
    '-v', "$dir/nginx.conf:/etc/nginx/nginx.conf:ro",
    '-v', "$dir/database.conf:/etc/nginx/commerce.d/database.conf:ro",
    '-v', top() . '/docker/demo.conf:/etc/nginx/commerce.d/demo.conf:ro',
    $image);
is($rc, 0, 'the engine starts') or diag($out);

my @shop = ('--url', "http://127.0.0.1:$port", '--retry', 20);
my $admin = "http://127.0.0.1:$admin_port";

($rc, $out) = in_engine('commerce-client', 'request', '--retry', 20,
                        "$admin/readyz");
is($rc, 0, 'and gets ready') or diag($out, (docker('logs', $engine))[1]);

($rc, $out) = in_engine('commerce-client', 'smoke', @shop,
                        '--admin-url', $admin);
is($rc, 0, 'the smoke test passes') or diag($out);

my @https = ('--url', "https://localhost:$tls_port");
($rc, $out) = in_engine('commerce-client', 'smoke', @https,
                        '--cacert', "$dir/tls.pem");
is($rc, 0, 'also over https') or diag($out);
($rc, $out) = in_engine('commerce-client', 'smoke', @https);
is($rc, 1, 'but not with a certificate that nobody signed');
like($out, qr/self.signed certificate/, 'and it says so');

($rc, $out) = in_engine('commerce-client', 'order', @shop);
is($rc, 1, 'the order test fails on an empty catalogue');
like($out, qr/nothing is in stock/, 'and says why');

($rc, $out) = in_engine('commerce-client', 'order', @shop, '--key-file',
    "$dir/key", '--seed', "$share/demo-catalogue.ndjson", '--quantity', 2);
is($rc, 0, 'the order test passes on the demo catalogue') or diag($out);
is($postgres->query($database, 'SELECT state, quantity FROM commerce.orders'
    . ' JOIN commerce.order_line ON order_id = id'), 'paid|2',
   'and there is one paid order');

($rc, $out) = in_engine('commerce-client', 'order', @shop,
                        '--sku', 'TEE-M', '--end', 'cancel');
is($rc, 0, 'an order is cancelled') or diag($out);

# what an unpaid order holds goes on living after the engine
($rc, $out) = in_engine('commerce-client', 'order', @shop,
                        '--sku', 'TEE-M', '--end', 'hold');
is($rc, 0, 'an order is left unpaid') or diag($out);
cmp_ok($postgres->query($database, 'SELECT count(*) FROM commerce.lease'
       . ' WHERE closed_at IS NULL'), '>', 0, 'units are leased');


# the end

($rc, $out) = docker('stop', '-t', 40, $engine);
is($rc, 0, 'stops');
is((docker('inspect', '-f', '{{.State.ExitCode}}', $engine))[1], "0\n",
   'with exit code 0');

my $log = (docker('logs', $engine))[1];
like($log, qr/signal 3 \(SIGQUIT\) received, shutting down/, 'on SIGQUIT');
like($log, qr/op=order_create outcome=ok/, 'the access log is on stdout');
is(join('', $log =~ /^.*\[(?:warn|error|crit|alert|emerg)\].*$/mg), '',
   'no fault in the log');

is($postgres->query($database, 'SELECT DISTINCT state FROM'
    . ' commerce.instance'), 'dead', 'it settled its own instance');
is($postgres->query($database, 'SELECT count(*) FROM commerce.lease WHERE'
    . ' closed_at IS NULL'), 0, 'all leases are back');
is($postgres->query($database, 'SELECT * FROM commerce.stock_audit'), '',
   'stock_audit is empty');

done_testing;


END {
    if (Commerce::Test::Host::is_main_process()) {
        local $?;

        docker('rm', '-f', $engine) if $dir;
        docker('rmi', '-f', $image) unless $ready_made;
        $postgres->drop_database($database) if $database;
        remove_tree($dir) if $dir;
    }
}
