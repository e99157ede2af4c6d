package Commerce::Test::Nginx;

=head1 NAME

Commerce::Test::Nginx - one nginx with the module, on ports and a prefix of its
own

=head1 SYNOPSIS

Made by Commerce::Test; options are in its manual.

    $n->start; $n->start(ready => 0);   # dies with error.log when it cannot
    $n->quit; $n->stop; $n->crash;      # QUIT, TERM, KILL of all; they wait
    $n->reload;                         # HUP, waits for the new workers
    $n->signal('USR2');                 # to the master
    $n->kill_worker('KILL', $index);    # waits for the replacement
    $n->running, $n->pid, $n->workers, $n->shutting_down
    $n->configure(%options);            # new options for the next start, reload
    $n->test_config;                    # nginx -t: (ok, output)
    $n->port, $n->admin_port, $n->prefix, $n->config_file
    $n->log                             # error.log as text
    $n->wait_for_log(qr/.../, $s)
    $n->allow_log(qr/.../)              # lines that are no fault of the test

    $n->request($method, $path, $body, %headers), get, post, put, patch, delete
    $n->client                          # a Commerce::Test::Client
    $n->race($connections, \@requests, $s)

=cut

use strict;
use warnings;

use Commerce::Test::Client;
use Commerce::Test::Host qw(
    build_dir sanitized as_root free_port temp_dir remove_tree slurp spew
    run_command spawn wait_until alive
);

my $default_config = <<'END';
%%MAIN%%
%%USER%%
daemon off;
master_process %%MASTER%%;
worker_processes %%WORKERS%%;
pid %%PREFIX%%/nginx.pid;
error_log %%PREFIX%%/error.log %%LOG_LEVEL%%;
load_module %%MODULE%%;

events {
    worker_connections %%CONNECTIONS%%;
}

http {
    access_log %%PREFIX%%/access.log;
    client_body_temp_path %%PREFIX%%/temp/body;
    proxy_temp_path %%PREFIX%%/temp/proxy;
    fastcgi_temp_path %%PREFIX%%/temp/fastcgi;
    uwsgi_temp_path %%PREFIX%%/temp/uwsgi;
    scgi_temp_path %%PREFIX%%/temp/scgi;
    keepalive_requests 100000;

    %%DIRECTIVES%%
    %%HTTP%%

    server {
        listen 127.0.0.1:%%PORT%%;
        server_name localhost;
        %%SERVER%%

        location /v1/ {
            commerce storefront;
            %%STOREFRONT%%
        }

        location /v1/admin/ {
            commerce admin;
            client_max_body_size 0;
            %%ADMIN%%
        }

        location = /metrics {
            commerce_metrics;
        }

        location = /livez {
            commerce_health live;
        }

        location = /readyz {
            commerce_health ready;
        }
    }

    server {
        listen 127.0.0.1:%%ADMIN_PORT%%;

        location = /metrics {
            commerce_metrics;
        }

        location = /livez {
            commerce_health live;
        }

        location = /readyz {
            commerce_health ready;
        }

        location = /drain {
            commerce_drain;
        }
    }
}
END


sub new {
    my ($class, %options) = @_;

    my $self = bless {
        port => free_port(), admin_port => free_port(),
        prefix => temp_dir('nginx'), allowed => [], options => {},
    }, $class;

    mkdir "$self->{prefix}/temp";
    mkdir "$self->{prefix}/logs";
    $self->configure(%options);

    return $self;
}


sub port { return $_[0]{port} }
sub admin_port { return $_[0]{admin_port} }
sub prefix { return $_[0]{prefix} }
sub config_file { return "$_[0]{prefix}/nginx.conf" }


sub configure {
    my ($self, %options) = @_;

    my %directives = (
        %{ $self->{options}{directives} // {} },
        %{ delete $options{directives} // {} },
    );

    $self->{options} = {
        %{ $self->{options} }, %options, directives => \%directives,
    };

    spew($self->config_file, $self->render);
}


sub render {
    my ($self) = @_;

    my $options = $self->{options};
    my $directives = $options->{directives};
    my @lines;

    for my $name (sort keys %$directives) {
        my $values = $directives->{$name};

        next unless defined $values;

        push @lines, map { "$name $_;" } ref $values ? @$values : $values;
    }

    my %value = (
        MAIN => $options->{main} // '',
        USER => as_root() ? 'user www-data;' : '',
        MASTER => $options->{master} // 'on',
        WORKERS => $options->{workers} // 2,
        CONNECTIONS => $options->{worker_connections} // 1024,
        LOG_LEVEL => $ENV{COMMERCE_TEST_LOG} // $options->{log_level} // 'info',
        MODULE => build_dir() . '/ngx_http_commerce_module.so',
        PREFIX => $self->{prefix},
        DIRECTIVES => join("\n    ", @lines),
        HTTP => $options->{http} // '',
        SERVER => $options->{server} // '',
        STOREFRONT => $options->{storefront} // '',
        ADMIN => $options->{admin} // '',
        PORT => $self->{port},
        ADMIN_PORT => $self->{admin_port},
    );

    # nginx clears the environment of a new binary and of workers
    if (sanitized()) {
        $value{MAIN} .= "\nenv LD_PRELOAD;\nenv ASAN_OPTIONS;\n"
            . "env UBSAN_OPTIONS;\n";
    }

    my $text = $options->{config} // $default_config;

    $text =~ s/%%(\w+)%%/$value{$1} \/\/ die "no %%$1%% in a config\n"/ge;

    return $text;
}


sub environment {
    return {} unless sanitized();

    my ($rc, $library) = run_command('gcc', '-print-file-name=libasan.so');

    die "no libasan: install gcc\n" if $rc;

    chomp $library;

    return {
        LD_PRELOAD => $library,
        ASAN_OPTIONS => 'detect_leaks=0:abort_on_error=1:'
            . 'detect_odr_violation=0',
        UBSAN_OPTIONS => 'print_stacktrace=1',
    };
}


sub binary {
    for (map { "$_/nginx" } qw(/usr/sbin /usr/local/sbin)) {
        return $_ if -x;
    }

    die "nginx is not installed\n";
}


sub command {
    my ($self, @arguments) = @_;

    return (binary(), '-p', "$self->{prefix}/", '-e',
            "$self->{prefix}/error.log", '-c', $self->config_file, @arguments);
}


sub test_config {
    my ($self) = @_;

    my $env = environment();
    local @ENV{keys %$env} = values %$env;

    my ($rc, $output) = run_command($self->command('-t'));

    # what nginx -t says is the test's matter, not a fault of a running nginx
    spew("$self->{prefix}/error.log", '') unless $self->running;

    return ($rc == 0, $output);
}


sub start {
    my ($self, %how) = @_;

    die "nginx runs already\n" if $self->running;

    $self->{child} = spawn("$self->{prefix}/stderr.log", environment(),
                           $self->command);

    my $up = wait_until {
        $self->{child} && waitpid($self->{child}, POSIX::WNOHANG()) > 0
            and $self->{child} = undef;

        return 1 unless $self->{child};

        return $self->pid && $self->answers;
    } 20;

    if (!$up || !$self->{child}) {
        my $why = slurp("$self->{prefix}/stderr.log") . $self->log;

        $self->crash;
        die "nginx does not start:\n$why\n";
    }

    if ($how{ready} // 1) {
        wait_until {
            my $response = eval { $self->get('/readyz') };
            $response && $response->{status} == 200;
        } 15 or die "nginx does not get ready:\n" . $self->log . "\n";

        $self->all_connected;
    }

    return $self;
}


# One worker that is ready says so; the others may still be connecting.
sub all_connected {
    my ($self) = @_;

    my $options = $self->{options};
    my $directives = $options->{directives};
    my $single = ($options->{master} // 'on') eq 'off';
    my $workers = $single ? 1 : $options->{workers} // 2;
    # leases 1 and writes 2 besides
    my $each = 3 + ($directives->{commerce_connections} // 1)
        + ($directives->{commerce_read_connections} // 2)
        + ($directives->{commerce_cart_connections} // 1);

    return if $options->{config};

    return wait_until {
        my $ready = $self->metrics->{
            'commerce_database_connections{state="ready"}'} // 0;

        $ready >= $workers * $each
            && ($single || $workers == (() = $self->workers));
    } 10;
}


sub answers {
    my ($self) = @_;

    my $socket = IO::Socket::IP->new(
        PeerHost => '127.0.0.1', PeerPort => $self->{port}, Timeout => 1,
    ) or return 0;

    CORE::close $socket;

    return 1;
}


sub pid {
    my ($self) = @_;

    my ($pid) = slurp("$self->{prefix}/nginx.pid") =~ /^(\d+)/;

    return $pid;
}


sub running {
    my ($self) = @_;

    waitpid $self->{child}, POSIX::WNOHANG() if $self->{child};

    return alive($self->pid);
}


# (pid => title) of the children of the master
sub children {
    my ($self) = @_;

    my $master = $self->pid or return;
    my %children;

    for my $stat (glob '/proc/[0-9]*/stat') {
        my ($pid, $state, $parent) =
            slurp($stat) =~ /^(\d+) \(.*\) (\S) (\d+)/s or next;

        next unless $parent == $master && $state ne 'Z';

        $children{$pid} = slurp("/proc/$pid/cmdline") =~ s/\0+$//r;
    }

    return %children;
}


sub workers {
    my ($self) = @_;

    my %children = $self->children;

    return sort { $a <=> $b }
        grep { $children{$_} =~ /worker process$/ } keys %children;
}


sub shutting_down {
    my ($self) = @_;

    my %children = $self->children;

    return grep { $children{$_} =~ /worker process is shutting/ }
        keys %children;
}


sub signal {
    my ($self, $signal) = @_;

    my $pid = $self->pid or return 0;

    return kill $signal, $pid;
}


sub reload {
    my ($self, %how) = @_;

    my %old = map { $_ => 1 } $self->workers;

    $self->signal('HUP');

    wait_until {
        my @now = $self->workers;
        @now && !grep { $old{$_} } @now;
    } $how{timeout} // 20 or die "no reload:\n" . $self->log;

    if ($how{wait}) {
        wait_until { !$self->shutting_down } $how{timeout} // 20
            or die "old workers do not end\n";
    }

    return $self;
}


sub kill_worker {
    my ($self, $signal, $index) = @_;

    my @before = $self->workers;
    my $pid = $before[$index // 0] or die "no worker\n";

    # the master may have to free the zone's mutex for it
    $self->allow_log(
        qr/worker process $pid exited on signal|was locked by $pid$/);
    kill $signal // 'KILL', $pid;

    wait_until {
        my @now = $self->workers;
        !grep({ $_ == $pid } @now) && @now == @before;
    } or die "worker $pid was not replaced\n";

    return $pid;
}


sub end_by {
    my ($self, $signal, $timeout) = @_;

    my $pid = $self->pid;

    return 1 unless $pid && $self->running;

    kill $signal, $pid;

    my $ended = wait_until { !$self->running } $timeout;

    if ($ended) {
        $self->{child} = undef;
        unlink "$self->{prefix}/nginx.pid";
    }

    return $ended;
}


# They return false when nginx did not end in time.
sub quit { return $_[0]->end_by('QUIT', $_[1] // 30) }
sub stop { return $_[0]->end_by('TERM', $_[1] // 15) }


# All of it at once, as a power cut does.
sub crash {
    my ($self) = @_;

    my $master = $self->pid;
    my @all = ($master, keys %{ { $self->children } }, $self->{child});

    kill 'KILL', $_ for grep { $_ && alive($_) } @all;

    wait_until {
        waitpid $self->{child}, POSIX::WNOHANG() if $self->{child};
        !grep { $_ && alive($_) } @all;
    };

    $self->{child} = undef;
    unlink "$self->{prefix}/nginx.pid";

    return 1;
}


sub log { return slurp("$_[0]{prefix}/error.log") }
sub access_log { return slurp("$_[0]{prefix}/access.log") }


sub wait_for_log {
    my ($self, $pattern, $timeout) = @_;

    return wait_until { $self->log =~ $pattern } $timeout;
}


sub allow_log {
    my ($self, @patterns) = @_;

    push @{ $self->{allowed} }, @patterns;
}


# Lines of error.log that fail a test.
sub faults {
    my ($self) = @_;

    my @faults;
    my $text = $self->log . slurp("$self->{prefix}/stderr.log");

    for my $line (split /\n/, $text) {
        next unless $line =~ /\[(?:alert|emerg|crit)\]/
                 || $line =~ /Sanitizer|runtime error:|open socket #/
                 || $line =~ /zone was locked by/;

        next if $line !~ /Sanitizer|runtime error:/
             && grep { $line =~ $_ } @{ $self->{allowed} };

        push @faults, $line;
    }

    return @faults;
}


sub client {
    my ($self) = @_;

    return Commerce::Test::Client->new(port => $self->{port});
}


sub request {
    my ($self, @arguments) = @_;

    my $client = $self->client;
    my $response = $client->request(@arguments);

    $client->close;

    return $response;
}


for my $method (qw(get head delete)) {
    no strict 'refs';
    *$method = sub {
        my ($self, $path, @headers) = @_;

        return $self->request(uc $method, $path, undef, @headers);
    };
}

for my $method (qw(post put patch)) {
    no strict 'refs';
    *$method = sub {
        my ($self, @arguments) = @_;

        return $self->request(uc $method, @arguments);
    };
}


sub race {
    my ($self, $n, $requests, $timeout) = @_;

    return Commerce::Test::Client::race($self->{port}, $n, $requests,
                                        $timeout);
}


sub metrics {
    my ($self) = @_;

    my %metrics;

    for (split /\n/, $self->get('/metrics')->{body}) {
        next if /^#/;
        $metrics{$1} = $2 if /^(\S+(?:\{.*\})?)\s+(\S+)/;
    }

    return \%metrics;
}


sub destroy {
    my ($self) = @_;

    return if $self->{gone}++;

    $self->crash if $self->running;
    remove_tree($self->{prefix});
}


1;
