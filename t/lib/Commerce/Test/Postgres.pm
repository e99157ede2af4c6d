package Commerce::Test::Postgres;

=head1 NAME

Commerce::Test::Postgres - a throwaway PostgreSQL

=head1 SYNOPSIS

    my $pg = Commerce::Test::Postgres->shared;   # one per run of ./test
    my $db = $pg->create_database;               # from the migrated template
    my $own = Commerce::Test::Postgres->start;   # a server of one's own

    $pg->conninfo($db)            superuser, for psql and the tools
    $pg->app_conninfo($db)        role commerce, without its password
    $pg->password_file            file with the password of role commerce
    $pg->query($db, $sql)         psql -XAt; dies when the SQL fails
    $pg->rows($db, $sql)          list of array references
    $pg->port, $pg->pid, $pg->data
    $pg->stop_server('fast' or 'immediate'), $pg->start_server
    $pg->set(name => value)       # postgresql.conf, for the next start

Only a server of one's own may be stopped or configured: other test files run
on the shared one at the same time.

=cut

use strict;
use warnings;

use Commerce::Test::Host qw(
    top tool as_root free_port temp_dir remove_tree slurp spew run_command
    user_command random_hex alive
);

my ($shared, @own);


# The server named by COMMERCE_TEST_POSTGRES, else one for this process.
sub shared {
    my ($class) = @_;

    return $shared if $shared;

    my $dir = $ENV{COMMERCE_TEST_POSTGRES};

    if ($dir) {
        die "no PostgreSQL in $dir\n" unless -r "$dir/port";

        $shared = bless { dir => $dir, borrowed => 1 }, $class;
        $shared->read_facts;

    } else {
        $shared = $class->start;
    }

    return $shared;
}


sub start {
    my ($class, %options) = @_;

    my $self = bless { dir => temp_dir('postgres') }, $class;
    my $dir = $self->{dir};

    push @own, $self;

    spew("$dir/superuser", random_hex(16), 0600);
    spew("$dir/password", random_hex(16), 0640);

    if (as_root()) {
        my (undef, undef, $uid, $gid) = getpwnam 'postgres'
            or die "there is no user postgres\n";
        chown $uid, $gid, $dir, "$dir/superuser";

        # workers read it at each connect
        chown 0, scalar(getgrnam "www-data"), "$dir/password";
    }

    $self->command('initdb', '-D', "$dir/data", '-U', 'postgres', '-E', 'UTF8',
                   '--locale=C.UTF-8', '-A', 'scram-sha-256', '-N',
                   "--pwfile=$dir/superuser");

    spew("$dir/port", free_port(), 0644);
    $self->read_facts;
    $self->set(
        port => $self->{port},
        listen_addresses => '127.0.0.1',
        unix_socket_directories => '',
        max_connections => 400,
        shared_buffers => '64MB',
        max_wal_size => '1GB',
        dynamic_shared_memory_type => 'mmap',
        autovacuum_naptime => '10s',
        lc_messages => 'C',
        %options,
    );

    $self->start_server;
    $self->make_template;

    return $self;
}


sub read_facts {
    my ($self) = @_;

    $self->{port} = slurp("$self->{dir}/port");
    $self->{superuser} = slurp("$self->{dir}/superuser");
}


sub port { return $_[0]{port} }
sub dir { return $_[0]{dir} }
sub data { return "$_[0]{dir}/data" }
sub password_file { return "$_[0]{dir}/password" }


sub pid {
    my ($self) = @_;

    my ($pid) = slurp($self->data . '/postmaster.pid') =~ /^(\d+)/;

    return $pid;
}


sub conninfo {
    my ($self, $database) = @_;

    return sprintf 'postgresql://postgres:%s@127.0.0.1:%d/%s',
        @$self{qw(superuser port)}, $database // 'postgres';
}


sub app_conninfo {
    my ($self, $database) = @_;

    return "host=127.0.0.1 port=$self->{port} user=commerce"
        . " dbname=$database sslmode=disable";
}


# The directory of PostgreSQL's programs, the newest when there are several.
sub bindir {
    my %version = map { m{/(\d+)/bin/initdb$} ? ($_ => $1) : () }
        glob '/usr/lib/postgresql/*/bin/initdb';
    my ($newest) = sort { $version{$b} <=> $version{$a} } keys %version;

    die "PostgreSQL is not installed\n" unless $newest;

    return $newest =~ s{/initdb$}{}r;
}


sub command {
    my ($self, $name, @arguments) = @_;

    my ($rc, $output) = run_command(user_command(
        'sh', '-c', 'cd / && exec "$@"', 'sh', bindir() . "/$name",
        @arguments));

    die "$name failed: $output\n" if $rc;

    return $output;
}


sub set {
    my ($self, %options) = @_;

    my $path = $self->data . '/postgresql.conf';

    spew($path, slurp($path)
         . join '', map { "$_ = '$options{$_}'\n" } sort keys %options);
}


sub start_server {
    my ($self) = @_;

    die "this server is not ours\n" if $self->{borrowed};

    $self->command('pg_ctl', '-w', '-t', 60, '-D', $self->data,
                   '-l', "$self->{dir}/data/server.log", 'start');
}


sub stop_server {
    my ($self, $mode) = @_;

    die "this server is not ours\n" if $self->{borrowed};

    my $pid = $self->pid;

    return unless $pid && alive($pid);

    $self->command('pg_ctl', '-w', '-t', 60, '-D', $self->data,
                   '-m', $mode // 'fast', 'stop');
}


# Every test file gets a copy of this database.
sub make_template {
    my ($self) = @_;

    my $password = slurp($self->password_file);

    $self->query('postgres', "CREATE ROLE commerce LOGIN PASSWORD '$password'");
    $self->query('postgres', 'CREATE DATABASE commerce_template');

    return unless glob top() . '/src/sql/*.sql';

    $self->migrate('commerce_template');
}


sub migrate {
    my ($self, $database, @options) = @_;

    my ($rc, $output) = run_command(
        tool('commerce-migrate'), '--database', $self->conninfo($database),
        '--directory', top() . '/src/sql', '--role', 'commerce', @options);

    die "commerce-migrate failed: $output\n" if $rc;

    return $output;
}


sub create_database {
    my ($self, $template) = @_;

    my $name = 't_' . $$ . '_' . random_hex(4);

    $template //= 'commerce_template';

    # CREATE DATABASE refuses while another file is copying the template
    for (1 .. 50) {
        my ($rc, $output) = $self->psql('postgres',
            "CREATE DATABASE $name TEMPLATE $template");

        return $name if $rc == 0;
        die $output unless $output =~ /being accessed by other users/;

        select undef, undef, undef, 0.2;
    }

    die "cannot copy $template\n";
}


sub drop_database {
    my ($self, $database) = @_;

    $self->psql('postgres', "DROP DATABASE IF EXISTS $database WITH (FORCE)");
}


sub psql {
    my ($self, $database, $sql, @options) = @_;

    return run_command('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', @options,
                       '-c', $sql, $self->conninfo($database));
}


sub query {
    my ($self, $database, $sql) = @_;

    my ($rc, $output) = $self->psql($database, $sql);

    die "psql: $output in: $sql\n" if $rc;

    chomp $output;

    return $output;
}


sub rows {
    my ($self, $database, $sql) = @_;

    my ($rc, $output) = $self->psql($database, $sql, '-F', "\x1f",
                                    '-R', "\x1e");

    die "psql: $output in: $sql\n" if $rc;

    chomp $output;

    return map { [ split /\x1f/, $_, -1 ] } split /\x1e/, $output;
}


# Ends a server of one's own and removes it.
sub destroy {
    my ($self) = @_;

    return if $self->{borrowed} || $self->{gone}++;

    eval { $self->stop_server('immediate') };
    warn $@ if $@;
    remove_tree($self->{dir});
}


END {
    if (Commerce::Test::Host::is_main_process()) {
        local $?;
        $_->destroy for @own;
    }
}


1;
