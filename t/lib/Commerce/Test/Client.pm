package Commerce::Test::Client;

=head1 NAME

Commerce::Test::Client - one HTTP connection that is kept alive

=head1 SYNOPSIS

    my $c = Commerce::Test::Client->new(port => 8080);  # connects at once
    my $r = $c->request('POST', '/v1/carts', { currency => 'USD' }, A => 'b');

    $c->send_raw($bytes);             # as they are, in one write
    my $r = $c->read_response($s);    # next response, undef when closed
    my $bytes = $c->read_some($s);    # whatever comes, '' at the end
    $c->finish_writing; $c->close;

A body that is a reference is sent as JSON; a string as it is. A response is a
hash: status, reason, headers (lower-case names; several are joined by ", "),
body, json (decoded when the type is JSON), time (seconds). A request that got
no response has status 0.

    my @responses = Commerce::Test::Client::race($port, $n, \@requests, $s);

sends requests [method, path, body, headers...] over n connections at the same
time and returns the responses in the order of the requests.

=cut

use strict;
use warnings;

use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use IO::Select;
use IO::Socket::IP;
use JSON::PP ();
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);

use Commerce::Test::Host ();

my $json = JSON::PP->new->utf8->canonical->allow_nonref;


sub new {
    my ($class, %options) = @_;

    my $socket;

    # a worker may be restarting: a refused connect is tried again shortly
    for my $try (1 .. 3) {
        $socket = IO::Socket::IP->new(
            PeerHost => '127.0.0.1', PeerPort => $options{port},
            Timeout => 10,
        );
        last if $socket;
        select undef, undef, undef, 0.05;
    }

    die "cannot connect to port $options{port}: $@\n" unless $socket;

    $socket->setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
    $socket->blocking(0);

    return bless {
        socket => $socket, port => $options{port}, in => '', method => 'GET',
    }, $class;
}


sub socket { return $_[0]{socket} }


sub close {
    my ($self) = @_;

    CORE::close($self->{socket}) if $self->{socket};
    $self->{socket} = undef;
    $self->{closed} = 1;
}


# sends FIN, can still read
sub finish_writing { $_[0]{socket}->shutdown(1) }


# The bytes of a request; the arguments of request().
sub render {
    my ($method, $path, $body, %headers) = @_;

    my %names = map { lc $_ => 1 } keys %headers;

    if (ref $body) {
        $body = $json->encode($body);
        $headers{'Content-Type'} = 'application/json'
            unless $names{'content-type'};
    }

    my $text = "$method $path HTTP/1.1\r\n";

    $text .= "Host: localhost\r\n" unless $names{host};

    if (defined $body || $method =~ /^(?:POST|PUT|PATCH)$/) {
        $body //= '';
        utf8::encode($body) if utf8::is_utf8($body);
        $text .= 'Content-Length: ' . length($body) . "\r\n"
            unless $names{'content-length'} || $names{'transfer-encoding'};
    }

    for my $name (sort keys %headers) {
        my $values = $headers{$name};

        next unless defined $values;

        $text .= "$name: $_\r\n" for ref $values ? @$values : $values;
    }

    return "$text\r\n" . ($body // '');
}


sub request {
    my ($self, $method, $path, $body, %headers) = @_;

    my $timeout = delete $headers{_timeout};
    my $start = time;

    $self->{method} = $method;
    $self->send_raw(render($method, $path, $body, %headers));

    my $response = $self->read_response($timeout)
        // { status => 0, reason => 'no response', headers => {}, body => '' };

    $response->{time} = time - $start;

    return $response;
}


sub send_raw {
    my ($self, $bytes) = @_;

    my $deadline = time + 30;

    while (length $bytes) {
        my $n = syswrite $self->{socket}, $bytes;

        if (defined $n) {
            substr $bytes, 0, $n, '';
            next;
        }

        return 0 unless $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
        return 0 if time > $deadline;

        # the server may be streaming its answer: keep reading
        my ($readable) = IO::Select->select(
            IO::Select->new($self->{socket}),
            IO::Select->new($self->{socket}), undef, 1);
        $self->fill if $readable && @$readable;
    }

    return 1;
}


# Reads what is there: bytes read, 0 at the end, undef when nothing is there.
sub fill {
    my ($self) = @_;

    my $n = sysread $self->{socket}, $self->{in}, 65_536, length $self->{in};

    if (defined $n) {
        $self->{closed} = 1 if $n == 0;
        return $n;
    }

    return undef if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;

    $self->{closed} = 1;

    return 0;
}


sub read_response {
    my ($self, $timeout) = @_;

    my $deadline = time + Commerce::Test::Host::slower($timeout // 20);

    for ( ;; ) {
        my $response = $self->parse;

        return $response if $response;
        return undef if $self->{closed};

        my $left = $deadline - time;

        return undef if $left <= 0;

        $self->fill if IO::Select->new($self->{socket})->can_read($left);
    }
}


sub read_some {
    my ($self, $timeout) = @_;

    if ($self->{in} eq '' && !$self->{closed}) {
        IO::Select->new($self->{socket})->can_read($timeout // 5);
        $self->fill;
    }

    my $bytes = $self->{in};
    $self->{in} = '';

    return $bytes;
}


# Takes one whole response off the buffer, or returns undef.
sub parse {
    my ($self) = @_;

    for ( ;; ) {
        my $end = index $self->{in}, "\r\n\r\n";

        return undef if $end < 0;

        my ($line, @fields) = split /\r\n/, substr $self->{in}, 0, $end;
        my ($status, $reason) = $line =~ m{^HTTP/1\.[01] (\d{3}) ?(.*)};

        return $self->broken("bad status line: $line") unless $status;

        if ($status == 100) {
            substr $self->{in}, 0, $end + 4, '';
            next;
        }

        my %headers;

        for (@fields) {
            my ($name, $value) = /^([^:\s]+):\s*(.*?)\s*$/
                or return $self->broken("bad header: $_");
            my $old = $headers{lc $name};
            $headers{lc $name} = defined $old ? "$old, $value" : $value;
        }

        my ($body, $after) = $self->parse_body($status, \%headers, $end + 4);

        return undef unless defined $body;

        substr $self->{in}, 0, $after, '';

        my $response = {
            status => $status + 0, reason => $reason, headers => \%headers,
            body => $body,
        };

        if (($headers{'content-type'} // '') =~ m{^application/(?:\w+\+)?json}
            && length $body)
        {
            $response->{json} = eval { $json->decode($body) };
        }

        return $response;
    }
}


sub broken {
    my ($self, $why) = @_;

    $self->{in} = '';
    $self->{closed} = 1;

    return { status => 0, reason => $why, headers => {}, body => '' };
}


# (body, offset after it), or nothing while it is not complete
sub parse_body {
    my ($self, $status, $headers, $at) = @_;

    if ($self->{method} eq 'HEAD' || $status == 204 || $status == 304) {
        return ('', $at);
    }

    if (lc($headers->{'transfer-encoding'} // '') eq 'chunked') {
        my $body = '';

        for ( ;; ) {
            my $end = index $self->{in}, "\r\n", $at;

            return if $end < 0;

            my $size = hex substr $self->{in}, $at, $end - $at;

            return if length $self->{in} < $end + 2 + $size + 2;

            return ($body, $end + 4) if $size == 0;

            $body .= substr $self->{in}, $end + 2, $size;
            $at = $end + 2 + $size + 2;
        }
    }

    if (defined $headers->{'content-length'}) {
        my $length = $headers->{'content-length'};

        return if length $self->{in} < $at + $length;

        return (substr($self->{in}, $at, $length), $at + $length);
    }

    return unless $self->{closed};

    return (substr($self->{in}, $at), length $self->{in});
}


sub race {
    my ($port, $n, $requests, $timeout) = @_;

    my $deadline = time + Commerce::Test::Host::slower($timeout // 60);
    my @responses = map {
        { status => 0, reason => 'no response', headers => {}, body => '' }
    } @$requests;
    my $next = 0;
    my $select = IO::Select->new;
    my %by_socket;

    $n = @$requests if $n > @$requests;

    for (1 .. $n) {
        my $client = Commerce::Test::Client->new(port => $port);

        $by_socket{$client->{socket}} = $client;
        $select->add($client->{socket});
    }

    my $send = sub {
        my ($client) = @_;

        if ($next >= @$requests) {
            $select->remove($client->{socket});
            $client->close;
            return;
        }

        my ($method, $path, $body, @headers) = @{ $requests->[$next] };

        $client->{slot} = $next++;
        $client->{method} = $method;
        $client->{sent} = time;
        $client->send_raw(render($method, $path, $body, @headers));
    };

    my @clients = values %by_socket;

    $send->($_) for @clients;

    while ($select->count && time < $deadline) {
        for my $socket ($select->can_read(0.5)) {
            my $client = $by_socket{$socket};

            $client->fill;

            my $response = $client->parse;

            if ($response) {
                $response->{time} = time - $client->{sent};
                $responses[ $client->{slot} ] = $response;
            }

            if ($client->{closed}
                || ($response
                    && lc($response->{headers}{connection} // '') eq 'close'))
            {
                # the request in flight has no answer; go on with the rest
                $select->remove($socket);
                delete $by_socket{$socket};
                $client->close;

                next if $next >= @$requests;

                my $fresh = eval {
                    Commerce::Test::Client->new(port => $port);
                } or next;

                $by_socket{$fresh->{socket}} = $fresh;
                $select->add($fresh->{socket});
                $send->($fresh);

            } elsif ($response) {
                $send->($client);
            }
        }
    }

    $_->close for values %by_socket;

    return @responses;
}


1;
