package Commerce::Relay;

=head1 NAME

Commerce::Relay - a TCP relay in front of the database that fails on demand

=head1 SYNOPSIS

    my $relay = Commerce::Relay->new(to => $t->postgres->port);

    $relay->port
    $relay->refuse;          # connections are refused, open ones are reset
    $relay->hole;            # everything is swallowed in both directions
    $relay->mute;            # answers are kept back, questions go through
    $relay->deaf;            # questions are kept back, answers go through
    $relay->delay(200);      # milliseconds for each answer
    $relay->split;           # one byte at a time, in both directions
    $relay->cut;             # resets open connections, then goes on as before
    $relay->cut_after(10);   # each open or new connection is reset after 10
                             # more bytes of answers
    $relay->half_close;      # FIN instead of the next answer
    $relay->pass;            # all is well; what was kept back goes on
    $relay->opened, $relay->open, $relay->kept

Each takes the name of a purpose as its last argument ("orders", "leases"):
then only connections that named themselves commerce/.../<purpose> are meant.
A command has taken effect when its method returns.

    opened   connections since the start
    open     connections now
    kept     bytes that are kept back, in both directions

=cut

use strict;
use warnings;

use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use IO::Handle;
use IO::Select;
use IO::Socket::IP;
use POSIX ();
use Socket qw(AF_UNIX IPPROTO_TCP PF_UNSPEC SOCK_STREAM SOL_SOCKET SO_LINGER
    TCP_NODELAY);
use Time::HiRes qw(time);

use Commerce::Test::Host qw(free_port);


sub new {
    my ($class, %options) = @_;

    my $port = $options{port} // free_port();

    socketpair my $mine, my $its, AF_UNIX, SOCK_STREAM, PF_UNSPEC
        or die "socketpair: $!\n";
    $_->autoflush(1) for $mine, $its;

    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
        CORE::close($mine);
        eval {
            serve({ port => $port, to => $options{to}, control => $its,
                    modes => {}, links => {}, opened => 0 });
            1;
        } or print STDERR "relay: $@";
        POSIX::_exit(0);
    }

    CORE::close($its);

    my $self = bless { pid => $pid, control => $mine, port => $port }, $class;

    $self->ask('pass');

    return $self;
}


sub port { return $_[0]{port} }


for my $name (qw(refuse hole mute deaf split cut half_close pass)) {
    no strict 'refs';
    *$name = sub { my $self = shift; $self->ask($name, 0, @_); return $self };
}


for my $name (qw(delay cut_after)) {
    no strict 'refs';
    *$name = sub { my $self = shift; $self->ask($name, @_); return $self };
}


for my $name (qw(opened open kept)) {
    no strict 'refs';
    *$name = sub { return $_[0]->ask($name) };
}


sub ask {
    my ($self, $command, $number, $purpose) = @_;

    my $control = $self->{control} or die "the relay has ended\n";

    print {$control} join(' ', $command, $number // 0, $purpose // '*'), "\n";

    my $answer = <$control> // die "the relay has died\n";

    chomp $answer;

    return $answer;
}


sub close {
    my ($self) = @_;

    return unless $self->{control};

    CORE::close(delete $self->{control});
    local ($?, $!);
    waitpid $self->{pid}, 0;
}


sub DESTROY {
    my ($self) = @_;

    # a fork of the test must not end it
    $self->close if Commerce::Test::Host::is_main_process();
}


# The relay's own process from here on.

sub serve {
    my ($relay) = @_;

    listen_on($relay);

    for ( ;; ) {
        my ($read, $write) = (IO::Select->new, IO::Select->new);
        my $wait = 5;

        $read->add($relay->{control});
        $read->add($relay->{listen}) if $relay->{listen};

        for my $link (values %{ $relay->{links} }) {
            for my $side (@{ $link->{sides} }) {
                $read->add($side->{from}) unless $side->{ended};
            }

            for my $side (ready($relay, $link)) {
                my $in = $side->{not_before} - time;

                if ($in > 0) {
                    $wait = $in if $in < $wait;
                } else {
                    $write->add($side->{to});
                }
            }
        }

        my ($readable, $writable) =
            IO::Select->select($read, $write, undef, $wait);

        for my $socket (@{ $writable // [] }) {
            drain_to($relay, $socket);
        }

        for my $socket (@{ $readable // [] }) {
            if ($socket == $relay->{control}) {
                return unless obey($relay);

            } elsif ($relay->{listen} && $socket == $relay->{listen}) {
                admit($relay);

            } else {
                fill_from($relay, $socket);
            }
        }
    }
}


sub listen_on {
    my ($relay) = @_;

    return if $relay->{listen};

    for (1 .. 100) {
        $relay->{listen} = IO::Socket::IP->new(
            LocalHost => '127.0.0.1', LocalPort => $relay->{port},
            Type => SOCK_STREAM, Listen => 128, ReuseAddr => 1,
        ) and last;
        Time::HiRes::sleep(0.05);
    }

    die "cannot listen on port $relay->{port}: $@\n" unless $relay->{listen};

    $relay->{listen}->blocking(0);
}


sub admit {
    my ($relay) = @_;

    my $client = $relay->{listen}->accept or return;
    my $server = IO::Socket::IP->new(
        PeerHost => '127.0.0.1', PeerPort => $relay->{to}, Timeout => 5,
    );

    $relay->{opened}++;

    unless ($server) {
        reset_socket($client);
        return;
    }

    for ($client, $server) {
        $_->blocking(0);
        $_->setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
    }

    my $link = { client => $client, server => $server, purpose => '' };

    $link->{sides} = [
        { name => 'questions', from => $client, to => $server, data => '',
          not_before => 0 },
        { name => 'answers', from => $server, to => $client, data => '',
          not_before => 0 },
    ];

    $relay->{links}{$client} = $link;
}


# The mode that holds for a connection: its purpose's own, else everybody's.
sub mode {
    my ($relay, $link) = @_;

    return $relay->{modes}{ $link->{purpose} } // $relay->{modes}{'*'}
        // { name => 'pass', number => 0 };
}


# Sides of a connection that have bytes, or an end, to hand on.
sub ready {
    my ($relay, $link) = @_;

    my $mode = mode($relay, $link)->{name};

    return if $mode eq 'hole';

    return grep {
        (length $_->{data} || ($_->{ended} && !$_->{told}))
        && !($mode eq 'mute' && $_->{name} eq 'answers')
        && !($mode eq 'deaf' && $_->{name} eq 'questions')
    } @{ $link->{sides} };
}


sub side_by {
    my ($relay, $key, $socket) = @_;

    for my $link (values %{ $relay->{links} }) {
        for my $side (@{ $link->{sides} }) {
            return ($link, $side) if $side->{$key} == $socket;
        }
    }

    return;
}


sub fill_from {
    my ($relay, $socket) = @_;

    my ($link, $side) = side_by($relay, 'from', $socket) or return;
    my $mode = mode($relay, $link);
    my $n = sysread $socket, my $bytes, 65_536;

    if (!defined $n) {
        return if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
        return drop($relay, $link);
    }

    if ($n == 0) {
        $side->{ended} = 1;
        drop($relay, $link) if $mode->{name} eq 'hole'
            && $side->{name} eq 'questions';
        return;
    }

    if ($side->{name} eq 'questions') {
        $link->{tail} = substr(($link->{tail} // '') . $bytes, -400);
        $link->{purpose} = $1
            if $link->{tail} =~ m{commerce/[^/\0]*/(\w+)};
    }

    return if $mode->{name} eq 'hole';

    if ($side->{name} eq 'answers') {
        $side->{not_before} = time + $mode->{number} / 1000
            if $mode->{name} eq 'delay' && $side->{data} eq '';

        if ($mode->{name} eq 'half_close') {
            shutdown $link->{client}, 1;
            return;
        }
    }

    $side->{data} .= $bytes;
}


sub drain_to {
    my ($relay, $socket) = @_;

    my ($link, $side) = side_by($relay, 'to', $socket) or return;

    if ($side->{data} eq '') {
        if ($side->{ended} && !$side->{told}++) {
            shutdown $socket, 1;
            drop($relay, $link)
                if !grep { !$_->{told} } @{ $link->{sides} };
        }

        return;
    }

    my $mode = mode($relay, $link);
    my $size = length $side->{data};

    $size = 1 if $mode->{name} eq 'split';

    if ($mode->{name} eq 'cut_after' && $side->{name} eq 'answers') {
        my $left = $mode->{number} - ($link->{sent} // 0);

        return drop($relay, $link, 1) if $left <= 0;

        $size = $left if $size > $left;
    }

    my $n = syswrite $socket, $side->{data}, $size;

    if (!defined $n) {
        return if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
        return drop($relay, $link);
    }

    substr $side->{data}, 0, $n, '';
    $link->{sent} = ($link->{sent} // 0) + $n
        if $mode->{name} eq 'cut_after' && $side->{name} eq 'answers';

    drop($relay, $link, 1)
        if $mode->{name} eq 'cut_after' && $link->{sent}
        && $link->{sent} >= $mode->{number};
}


# RST, as a host that has crashed sends
sub reset_socket {
    my ($socket) = @_;

    $socket->setsockopt(SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
    CORE::close($socket);
}


sub drop {
    my ($relay, $link) = @_;

    delete $relay->{links}{ $link->{client} };
    reset_socket($_) for $link->{client}, $link->{server};

    return;
}


# False when the test has ended.
sub obey {
    my ($relay) = @_;

    my $n = sysread $relay->{control}, my $line, 200;

    return 0 unless $n;

    my ($command, $number, $purpose) = split ' ', $line;
    my @meant = grep { $purpose eq '*' || $_->{purpose} eq $purpose }
        values %{ $relay->{links} };
    my $answer = 'ok';

    if ($command eq 'opened') {
        $answer = $relay->{opened};

    } elsif ($command eq 'open') {
        $answer = keys %{ $relay->{links} };

    } elsif ($command eq 'kept') {
        $answer = 0;
        $answer += length $_->{data}
            for map { @{ $_->{sides} } } values %{ $relay->{links} };

    } elsif ($command eq 'cut') {
        drop($relay, $_) for @meant;

    } else {
        $relay->{modes} = {} if $purpose eq '*';
        $relay->{modes}{$purpose} = { name => $command, number => $number };
        $_->{sent} = 0 for @meant;

        if ($command eq 'refuse') {
            CORE::close(delete $relay->{listen}) if $relay->{listen};
            drop($relay, $_) for @meant;
        } else {
            listen_on($relay);
        }
    }

    print { $relay->{control} } "$answer\n";

    return 1;
}


1;
