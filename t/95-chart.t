# The Helm chart: lint, schemas, unit tests, score, and that what it renders
# fits the engine: nginx.conf, metrics, directives, documentation.
#
# The tools are built with Go (t/chart/tools); without it this skips, unless
# COMMERCE_CHART=required.

use strict;
use warnings;

use File::Basename qw(basename dirname);
use Test::More;

use Commerce::Test::Host qw(
    top build_dir free_port temp_dir remove_tree slurp spew run_command
);
use Commerce::Test::Nginx;

my $top = top();

chdir $top or die "$top: $!\n";

my $chart = 'helm/nginx-commerce';
my $readme = slurp('docs/kubernetes.md');
my $dir = temp_dir('chart');

END {
    my $status = $?;

    remove_tree($dir) if defined $dir;
    $? = $status;
}


# tools

my ($rc, $tools) = run_command('t/chart/tools');

if ($rc == 3) {
    chomp $tools;
    plan skip_all => "the chart is not tested: $tools"
        if ($ENV{COMMERCE_CHART} // '') ne 'required';
    die "COMMERCE_CHART=required, but $tools\n";
}

$rc == 0 or die "t/chart/tools fails: $tools\n";

($tools) = $tools =~ m{^(/\S+)$}m;
my $bin = "$tools/bin";

# a helm of one's own may have plugins and repositories, which have no part here
local $ENV{HELM_CONFIG_HOME} = "$dir/helm";
local $ENV{HELM_CACHE_HOME} = "$dir/helm";
local $ENV{HELM_DATA_HOME} = "$dir/helm";
delete local @ENV{qw(KUBECONFIG HELM_NAMESPACE HELM_DRIVER)};

# name in the messages => arguments for helm
my @files = (
    [ values => [] ],
    map { [ s{^\Q$chart\E/|\.yaml$}{}gr => [ '-f', $_ ] ] }
        sort(glob("$chart/values-*.yaml"), glob("$chart/ci/*-values.yaml")),
);

ok(@files >= 7, scalar(@files) . ' values files');


sub helm {
    my (@arguments) = @_;

    return run_command("$bin/helm", @arguments);
}


# What the chart renders: text, and the test fails when it does not.
sub render {
    my ($name, @arguments) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($status, $text) = helm('template', 'shop', $chart, '-n', 'market',
                               @arguments);

    is($status, 0, "$name renders") or diag($text);

    return $text;
}


sub none {
    my ($name, @found) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(scalar @found, 0, $name) or diag(join "\n", @found);
}


# lint, template, schemas

my %rendered;

for (@files) {
    my ($name, $arguments) = @$_;

    my ($status, $text) = helm('lint', '--strict', $chart, @$arguments);
    is($status, 0, "$name passes helm lint") or diag($text);

    $rendered{$name} = render($name, @$arguments);
    spew("$dir/rendered.yaml", $rendered{$name});

    # kinds of others' API groups, of which Kubernetes has no schema
    ($status, $text) = run_command("$bin/kubeconform", '-strict',
        '-schema-location',
        "$tools/schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json",
        '-skip', 'Certificate,HTTPRoute,PodMonitor,PrometheusRule,'
            . 'ScaledObject', "$dir/rendered.yaml");
    is($status, 0, "$name fits Kubernetes' schemas") or diag($text);
}

{
    my ($status, $text) = run_command('sh', '-c', 'sed s/minReadySeconds/'
        . 'minReadySecond/ "$1" | "$2" -strict -schema-location "$3"', 'sh',
        "$dir/rendered.yaml", "$bin/kubeconform",
        "$tools/schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json");

    isnt($status, 0, 'a misspelt member does not');
}

{
    my ($status, $text) = run_command("$bin/helm-unittest", '-f',
        'unittests/*_test.yaml', $chart);

    is($status, 0, 'the unit tests pass') or diag($text);
    my ($passed) = $text =~ /^Tests:\s+(\d+) passed/m;
    cmp_ok($passed // 0, '>', 150, 'and are there: ' . ($passed // 0));
}


# score

my (@exceptions, %used, @scores);

for (split /\n/, slurp('t/chart/exceptions')) {
    next if /^#|^\s*$/;

    my ($file, $says, $why) = split /\s*\|\s*/;

    $says = 'The container (?:is )?running with a low (?:user|group) ID'
        if $says =~ /low user or group/;
    push @exceptions, [ $file, qr/$says/, "$file: $says" ];
    ok($why, "a reason for: $says");
}

for (@files) {
    my ($name, $arguments) = @$_;

    spew("$dir/rendered.yaml", $rendered{$name});

    my (undef, $text) = run_command("$bin/kube-score", 'score', '-o', 'ci',
        '--kubernetes-version', 'v1.30', "$dir/rendered.yaml");

    like($text, qr/^\[OK\]/m, "$name has a score");

    for my $line ($text =~ /^\[(?:WARNING|CRITICAL)\].*/mg) {
        my ($exception) = grep {
            ($_->[0] eq '*' || $_->[0] eq $name) && $line =~ $_->[1]
        } @exceptions;

        $exception ? $used{ $exception->[2] }++
                   : push @scores, "$name: $line";
    }
}

none('kube-score has nothing to say but what is listed', @scores);
none('every exception is one', grep { !$used{$_} } map { $_->[2] }
     @exceptions);


# nginx.conf, with the real module

my $module = build_dir() . '/ngx_http_commerce_module.so';
my $nginx = (grep { -x } '/usr/sbin/nginx', '/usr/local/sbin/nginx')[0];


# The member of the ConfigMap, as a file has it.
sub nginx_conf {
    my ($text) = @_;

    my ($conf) = $text =~ /^  nginx\.conf: \|\n((?:    .*\n|[ ]*\n)+)/m;

    return ($conf // '') =~ s/^    //mgr;
}


# ... and as it runs here: ports, paths and secrets of this test
sub at_home {
    my ($conf) = @_;

    $conf =~ s/^load_module .*$/load_module $module;/m;
    $conf =~ s{/run/nginx/}{$dir/}g;
    $conf =~ s{/var/lib/nginx/}{$dir/}g;
    $conf =~ s{/run/secrets/(?:commerce|tls)/}{$dir/}g;
    $conf =~ s{/dev/stdout}{$dir/access.log}g;
    $conf =~ s/^(\s*listen )(?:\[::\]:)?\d+/$1 . '127.0.0.1:' . free_port()/emg;

    return $conf;
}

spew("$dir/$_", 'k' x 32) for map { "token-key-$_" } 0 .. 1;
spew("$dir/provider-$_", 's' x 32) for qw(acme-0 acme-1 other-0);
spew("$dir/database-password", 'secret');

SKIP: {
    skip 'the module is not built', scalar @files unless -r $module && $nginx;

    my $env = Commerce::Test::Nginx::environment();
    local @ENV{keys %$env} = values %$env;

    for (@files) {
        my ($name) = @$_;

        spew("$dir/nginx.conf", at_home(nginx_conf($rendered{$name})));

        my ($status, $text) = run_command($nginx, '-p', "$dir/", '-e',
            'stderr', '-t', '-c', "$dir/nginx.conf");

        is($status, 0, "nginx takes the configuration of $name")
            or diag($text);
        unlike($text, qr/\[(?:warn|emerg)\]/, 'without a warning');
    }
}

my $everything = nginx_conf($rendered{'ci/everything-values'})
    . nginx_conf($rendered{values});
my ($commands) = slurp('src/http/ngx_http_commerce_module.c')
    =~ /\bngx_command_t\b.*?ngx_null_command/s ? $& : '';
my %directives = map { $_ => 1 } $commands =~ /"(commerce(?:_[a-z_]+)?)"/g;

cmp_ok(scalar keys %directives, '>', 15, 'the module has directives');
none('the chart can set every directive',
     grep { $everything !~ /^\s*$_[\s;]/m } sort keys %directives);
# what the chart counts connections by
my %pools = map { $_ => 1 } slurp('src/trade/ngx_commerce_trade.c')
    =~ /ngx_commerce_trade_pool\(trade, "(\w+)"/g;
is(join(' ', sort keys %pools), 'carts leases orders reads writes',
   'the connections of a worker are those that the chart counts');

none('and sets no other directive', grep { !$directives{$_} }
     $everything =~ /^\s*(commerce(?:_[a-z_]+)?)\s/mg);


# metrics and outcomes that alerts, autoscalers and the dashboard use

my %metric = map { $_ => 1 } slurp('src/http/ngx_http_commerce_metrics.c')
    =~ /"(commerce_[a-z_]+?)(?:[ {\\%][^"]*)?"/g;
$metric{"commerce_order_latency_seconds_$_"} = 1 for qw(bucket sum count);

my %outcome = map { $_ => 1 } slurp('src/core/commerce_problem.c')
    =~ /\{ "([a-z_]+)", \d{3},/g;

# an adapter's rule makes this one of commerce_requests_total
my %derived = (commerce_requests_per_second => 1);

my $dashboard = slurp("$chart/dashboards/nginx-commerce.json");
my $watchers = join "\n", $dashboard, map { $rendered{$_} =~
    s/^  nginx\.conf: \|\n(?:    .*\n|[ ]*\n)+//mr } qw(
        ci/everything-values ci/keda-values values-prod
    );
my %watched = map { $_ => 1 } $watchers =~ /\b(commerce_[a-z_]+)\b/g;

cmp_ok(scalar keys %watched, '>', 20, scalar(keys %watched) . ' metrics');
none('every metric that is watched exists',
     grep { !$metric{$_} && !$derived{$_} } sort keys %watched);
none('every outcome that is watched exists', grep { !$outcome{$_} }
     map { split /\|/ } $watchers =~ /outcome=~?\\"([a-z_|]+)\\"/g);
my %operation = map { $_ => 1 } slurp('src/http/ngx_http_commerce_variables.c')
    =~ /\[NGX_COMMERCE_OP_\w+\] = "(\w+)"/g;
none('every operation that is watched exists', grep { !$operation{$_} }
     $watchers =~ /operation=\\"(\w+)\\"/g);
like($watchers, qr/outcome=~\\"overloaded\|/, 'and some are watched');
none('every metric of the engine is on the dashboard',
     grep { !/_(?:sum|count)$|^commerce_order_latency_seconds$/
            && $dashboard !~ /\b$_\b/ } sort keys %metric);


# runbooks

my @alerts = $rendered{'values-prod'} =~ /^\s*- alert: (\w+)$/mg;
my @runbooks = $readme =~ /^### (Commerce\w+)$/mg;
my %runbook = map { $_ => 1 } @runbooks;
my %alert = map { $_ => 1 } @alerts;

cmp_ok(scalar @alerts, '>', 10, scalar(@alerts) . ' alerts');
none('every alert has a runbook', grep { !$runbook{$_} } @alerts);
none('every runbook has an alert', grep { !$alert{$_} } @runbooks);


# documentation

{
    my ($status, $table) = run_command('t/chart/values-table');
    my ($there) = slurp("$chart/README.md")
        =~ /<!-- values -->\n(.*?)<!-- end -->/s;

    is($status, 0, 'the table of values can be made');
    ok($there eq $table, 'README.md has it as it is')
        or diag('t/chart/values-table --write');
}

{
    my @dead;

    for my $link (slurp("$chart/README.md") =~ /\]\(([^)#\s]+)/g) {
        push @dead, $link unless $link =~ /^[a-z]+:/ || -e "$chart/$link";
    }

    none('its links lead somewhere', @dead);
}

# the paths of the image that the chart uses
my $image = slurp('docker/README.md');

SKIP: {
    skip 'there is no image yet', 1 if $image eq '';

    my %path = map { $_ => 1 } map { $rendered{$_} =~
        m{(?<![\w./-])(/usr/[\w./-]+|commerce-(?:client|migrate|admin))\b}g }
        keys %rendered;

    none('docker/README.md has every path and program that the chart uses',
         grep { $image !~ /\Q$_\E/ } sort keys %path);
}

# what the documentation shows as values
for my $name (qw(extraObjects extraContainers)) {
    my ($block) = $readme =~ /^(    $name:\n(?:    +.*\n|\n(?=    ))+)/m;

    ok($block, "docs/kubernetes.md shows $name") or next;
    spew("$dir/values.yaml", $block =~ s/^    //mgr);
    spew("$dir/rendered.yaml", render("the $name there", '-f',
                                      "$dir/values.yaml"));

    my ($status, $text) = run_command("$bin/kubeconform", '-strict',
        '-schema-location',
        "$tools/schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json",
        "$dir/rendered.yaml");
    is($status, 0, 'and it fits the schemas') or diag($text);
}


# what replaces pods, and what does not

sub deployment {
    my (@arguments) = @_;

    my ($status, $text) = helm('template', 'shop', '-s',
                               'templates/deployment.yaml', @arguments);

    $status == 0 or die "helm template: $text\n";

    return $text;
}


sub pod_template {
    my ($text) = @_;

    my ($template) = $text =~ /^  template:\n(.*)/ms;

    return $template;
}

my $before = pod_template(deployment($chart));
my ($sum) = $before =~ m{checksum/config: (\w+)};

isnt(pod_template(deployment($chart, '--set', 'engine.holdTime=20m')), $before,
     'another configuration replaces the pods');
isnt(pod_template(deployment($chart, '--set', 'secretRevision=2')), $before,
     'another secretRevision does');
is(pod_template(deployment($chart, '--set', 'replicaCount=7')), $before,
   'another number of replicas does not');
is(pod_template(deployment($chart, '--is-upgrade')), $before,
   'an upgrade to the same does not, whatever random passwords it makes');

{
    my $newer = "$dir/chart";

    run_command('cp', '-R', $chart, $newer);
    spew("$newer/Chart.yaml", slurp("$chart/Chart.yaml")
                              =~ s/^version: .*/version: 99.0.0/mr);

    my $text = deployment($newer);

    like($text, qr/nginx-commerce-99\.0\.0/, 'a newer version of the chart');
    is(pod_template($text), $before, 'alone does not replace them');
}


# the package

{
    my ($status, $text) = helm('package', $chart, '--destination', $dir);
    is($status, 0, 'the chart can be packaged') or diag($text);

    my ($package) = glob "$dir/nginx-commerce-*.tgz";
    my (undef, $list) = run_command('tar', '-tzf', $package);

    like($list, qr{^nginx-commerce/values\.schema\.json$}m, 'with its schema');
    like($list, qr{^nginx-commerce/values-prod\.yaml$}m, 'and environments');
    unlike($list, qr{unittests/|/ci/}, 'without its tests');

    ($status, $text) = helm('template', 'shop', $package);
    is($status, 0, 'and the package renders') or diag($text);
}

done_testing;
