package Commerce::Test;

=head1 NAME

Commerce::Test - test nginx-commerce on throwaway servers, with core Perl only

=head1 SYNOPSIS

    use strict;
    use warnings;

    use Commerce::Test;      # exports Test::More, wait_until, is_problem

    my $t = Commerce::Test->new(
        workers => 2,                                  # these are optional
        directives => { commerce_hold_time => '2s' },  # undef removes one
    )->start;

    $t->product('tea', price => 499, stock => 10);

    my $r = $t->post('/v1/orders',
        { currency => 'USD', lines => [ { sku => 'tea', quantity => 1 } ] },
        'Idempotency-Key' => $t->key);

    is($r->{status}, 201, 'ordered');
    is($r->{json}{state}, 'pending_payment', 'not paid yet');
    is($t->sql('SELECT count(*) FROM commerce.orders'), 1, 'one row');

    $t->finish;              # instead of done_testing

Run it with C<prove -I t/lib t/20-orders.t> or C<./test t/20-orders.t>. Each
file has a database of its own (a copy of the migrated template) on the
PostgreSQL that ./test started, or on one of its own when it is run alone.
C<finish> ends nginx with QUIT and fails when error.log has [alert], [crit] or
[emerg], a sanitizer's report or a leaked socket, or when commerce.stock_audit
or order_audit has rows (skip that with C<< finish(audit => 0) >>).

SANITIZE=1 tests the module of build/asan. COMMERCE_TEST_LOG=debug sets nginx's
log level, COMMERCE_TEST_KEEP=1 keeps the directories.

=head1 METHODS

Options of C<new> (and of C<instance> and C<configure>): workers,
worker_connections, master ('off'), log_level, directives => { name => value or
[values] }, and text for places of the config: main, http, server, storefront,
admin; config => a whole config with %%PORT%%, %%PREFIX%%, %%MODULE%%,
%%DIRECTIVES%%, ... (see Commerce::Test::Nginx). own_postgres => 1 or
{ name => value } gives the file a server of its own that it may stop:
C<< $t->postgres->stop_server >>. database_port => a relay's port.

    $t->start, quit, stop, crash, reload, signal, kill_worker, workers, pid,
        configure, test_config, log, access_log, wait_for_log, allow_log,
        port, admin_port, prefix, metrics (hash reference: name => value)
                                 on the first nginx: $t->nginx
    $t->instance(%options)       one more nginx on the same database and token
                                 key, not started: a Commerce::Test::Nginx

    $t->get($path, %headers)     a connection for each request; a response is
    $t->head, $t->delete         { status, reason, headers, body, json, time }
    $t->post($path, $body, %headers), put, patch; request($method, ...)
                                 a reference is sent as JSON
    $t->client                   a kept connection: request, send_raw,
                                 read_response, read_some, close
    $t->race($n, [ [ $method, $path, $body, %headers ], ... ], $seconds)
                                 list of responses, by $n connections at once

    $t->admin($method, $path, $body, %headers)   with a key of all scopes
    $t->api_key(@scopes)         text of a new or remembered key, '*' if empty
    $t->import_rows(@rows)       POST /v1/admin/import: list of result rows
    $t->product($sku, price => 1999, stock => 5, title, slug, currency)
                                 imports it; dies when that fails; the row
    $t->order({ sku => quantity }, %headers)     POST /v1/orders as a guest
    $t->pay($order, $outcome)    provider test, 'succeed' unless named
    $t->stock($sku)              GET /v1/admin/stock: decoded
    $t->key                      a fresh Idempotency-Key

    $t->sql($text)               psql -XAt as superuser: text; dies on error
    $t->rows($text)              list of array references
    $t->session                  a psql that stays open (holds locks):
                                 ->query($text) returns text, ->send, ->read,
                                 ->close
    $t->postgres, $t->database, $t->conninfo, $t->app_conninfo

    wait_until { ... } $seconds  polls; returns the value, false when too late
    is_problem($response, $status, $code, $name)

=cut

use strict;
use warnings;

use Exporter ();
use Test::More;

use Commerce::Test::Client;
use Commerce::Test::Host qw(
    tool temp_dir remove_tree spew run_command random_hex wait_until
);
use Commerce::Test::Nginx;
use Commerce::Test::Postgres;
use Commerce::Test::Session;

our @EXPORT = (@Test::More::EXPORT, qw(wait_until is_problem));

my @all;


sub import {
    strict->import;
    warnings->import;
    goto &Exporter::import;
}


sub new {
    my ($class, %options) = @_;

    my $own = delete $options{own_postgres};
    my $postgres = $own
        ? Commerce::Test::Postgres->start(ref $own ? %$own : ())
        : Commerce::Test::Postgres->shared;

    my $self = bless {
        dir => temp_dir('test'), postgres => $postgres, keys => {},
        database => $postgres->create_database, nginx => [],
    }, $class;

    push @all, $self;

    spew("$self->{dir}/token-key", pack('H*', random_hex(48)), 0600);
    $self->instance(%options);

    return $self;
}


sub instance {
    my ($self, %options) = @_;

    my $conninfo = $self->app_conninfo;
    my $relay = delete $options{database_port};

    $conninfo =~ s/port=\d+/port=$relay/ if $relay;

    my $nginx = Commerce::Test::Nginx->new(
        %options,
        directives => {
            # on a busy machine orders wait for longer than the default of 2 s
            commerce_queue => '4096 timeout=10s',
            commerce_zone => 'shop:32m',
            commerce_database => qq{"$conninfo"},
            commerce_database_password_file =>
                $self->{postgres}->password_file,
            commerce_token_key_file => "$self->{dir}/token-key",
            commerce_payment_provider => 'test',
            %{ $options{directives} // {} },
        },
    );

    push @{ $self->{nginx} }, $nginx;

    return $nginx;
}


sub nginx { return $_[0]{nginx}[ $_[1] // 0 ] }
sub postgres { return $_[0]{postgres} }
sub database { return $_[0]{database} }
sub conninfo { return $_[0]{postgres}->conninfo($_[0]{database}) }
sub app_conninfo { return $_[0]{postgres}->app_conninfo($_[0]{database}) }


sub start {
    my ($self, @how) = @_;

    $self->nginx->start(@how);

    return $self;
}


for my $name (qw(quit stop crash reload signal kill_worker workers pid
    shutting_down configure test_config log access_log wait_for_log allow_log
    port admin_port prefix metrics running request get head post put patch
    delete client race))
{
    no strict 'refs';
    *$name = sub { my $self = shift; return $self->nginx->$name(@_) };
}


sub sql {
    my ($self, $text) = @_;

    return $self->{postgres}->query($self->{database}, $text);
}


sub rows {
    my ($self, $text) = @_;

    return $self->{postgres}->rows($self->{database}, $text);
}


sub session {
    my ($self) = @_;

    return Commerce::Test::Session->new($self->conninfo);
}


sub key { return 'key-' . random_hex(16) }


sub api_key {
    my ($self, @scopes) = @_;

    @scopes = '*' unless @scopes;

    return $self->{keys}{"@scopes"} //= do {
        my ($rc, $output) = run_command(
            tool('commerce-admin'), '--database', $self->conninfo,
            'api-key', 'create', '--name', 'test',
            map { ('--scope', $_) } @scopes);

        die "commerce-admin: $output\n" if $rc;

        chomp $output;
        $output;
    };
}


sub admin {
    my ($self, $method, $path, $body, %headers) = @_;

    return $self->request($method, $path, $body,
        Authorization => 'Bearer ' . $self->api_key, %headers);
}


sub import_rows {
    my ($self, @rows) = @_;

    my $json = JSON::PP->new->utf8->canonical;
    my $response = $self->admin('POST', '/v1/admin/import',
        join('', map { $json->encode($_) . "\n" } @rows),
        'Content-Type' => 'application/x-ndjson');

    die "import: $response->{status} $response->{body}\n"
        if $response->{status} != 200;

    return map { $json->decode($_) } split /\n/, $response->{body};
}


sub product {
    my ($self, $sku, %options) = @_;

    my $slug = lc($options{slug} // $sku) =~ s/[^a-z0-9]+/-/gr;

    my ($row) = $self->import_rows({
        type => 'product', slug => $slug,
        title => $options{title} // "The $sku", published => JSON::PP::true(),
        variants => [ {
            sku => $sku,
            prices => {
                ($options{currency} // 'USD') => $options{price} // 1999,
            },
            defined $options{stock} ? (stock => $options{stock} + 0) : (),
        } ],
    });

    die "product $sku: " . JSON::PP->new->encode($row // {}) . "\n"
        if !$row || $row->{status} !~ /^(?:created|updated|unchanged)$/;

    return $row;
}


sub order_request {
    my ($self, $lines, %headers) = @_;

    return ('POST', '/v1/orders', {
        currency => 'USD',
        lines => [ map { { sku => $_, quantity => $lines->{$_} } }
                   sort keys %$lines ],
    }, 'Idempotency-Key' => $self->key, %headers);
}


sub order {
    my ($self, $lines, %headers) = @_;

    return $self->request($self->order_request($lines, %headers));
}


sub pay {
    my ($self, $order, $outcome, %headers) = @_;

    return $self->post("/v1/orders/$order->{id}/payments",
        { provider => 'test', outcome => $outcome // 'succeed' },
        'X-Order-Token' => $order->{token}, %headers);
}


sub stock {
    my ($self, $sku) = @_;

    my $escaped = $sku =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger;

    return $self->admin('GET', "/v1/admin/stock/$escaped")->{json};
}


sub is_problem {
    my ($response, $status, $code, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $name //= "$status $code";

    my $json = $response->{json} // {};
    my $type = $response->{headers}{'content-type'} // '';
    my $good = $response->{status} == $status
        && ($json->{code} // '') eq $code
        && $type =~ m{^application/problem\+json}
        && ($json->{status} // 0) == $status
        && !grep { !defined $json->{$_} } qw(type title request_id);

    ok($good, $name)
        or diag("got $response->{status} $type $response->{body}");

    return $good;
}


# nginx ends, then what it wrote and left behind is judged.
sub finish {
    my ($self, %how) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $self->{finished} = 1;

    for my $nginx (@{ $self->{nginx} }) {
        ok($nginx->quit, 'nginx ends on QUIT') if $nginx->running;

        my @faults = $nginx->faults;

        is(scalar @faults, 0, 'no alert, sanitizer report or leaked socket')
            or diag(join "\n", splice @faults, 0, 20);
    }

    if (($how{audit} // 1) && $self->{postgres}->pid
        && $self->sql("SELECT to_regclass('commerce.stock_audit')") ne '')
    {
        is($self->sql('SELECT * FROM commerce.stock_audit'), '',
           'stock_audit is empty');
        is($self->sql('SELECT * FROM commerce.order_audit LIMIT 20'), '',
           'order_audit is empty');
    }

    $self->destroy;
    done_testing() unless $how{more};
}


sub destroy {
    my ($self) = @_;

    return if $self->{gone}++;

    $_->destroy for @{ $self->{nginx} };

    eval { $self->{postgres}->drop_database($self->{database}) }
        unless $ENV{COMMERCE_TEST_KEEP};

    remove_tree($self->{dir});
}


END {
    if (Commerce::Test::Host::is_main_process()) {
        my $code = $?;

        for my $self (@all) {
            if (!$self->{finished} && $code == 0) {
                print STDERR "# finish() was not called\n";
                $code = 1;
            }

            if (!$self->{finished} && $ENV{TEST_VERBOSE}) {
                print STDERR map { "# $_\n" } $_->faults
                    for @{ $self->{nginx} };
            }

            $self->destroy;
        }

        $? = $code;
    }
}


1;
