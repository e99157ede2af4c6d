package Commerce::Test::Session;

# A psql that stays open: transactions and locks last until it is told
# otherwise.

use strict;
use warnings;

use IO::Handle;
use IO::Select;
use IPC::Open2 ();

use Commerce::Test::Host ();


sub new {
    my ($class, $conninfo) = @_;

    my $pid = IPC::Open2::open2(my $out, my $in, 'sh', '-c',
        'exec psql -XAtq -v ON_ERROR_STOP=0 "$1" 2>&1', 'sh', $conninfo);

    $in->autoflush(1);

    return bless {
        pid => $pid, in => $in, out => $out, n => 0, buffer => '',
    }, $class;
}


# Runs SQL and waits for what it prints, errors too.
sub query {
    my ($self, $sql, $timeout) = @_;

    $self->send($sql);

    return $self->read($timeout);
}


# Runs SQL without waiting: it may wait for a lock.
sub send {
    my ($self, $sql) = @_;

    $self->{n}++;

    $sql =~ s/;?\s*$/;/;
    print { $self->{in} } "$sql\n\\echo ---$self->{n}---\n";
}


# What the last sent SQL printed, undef when it takes longer.
sub read {
    my ($self, $timeout) = @_;

    my $deadline = Time::HiRes::time() + ($timeout // 20);
    my $mark = "---$self->{n}---\n";

    while ((my $at = index $self->{buffer}, $mark) < 0) {
        my $left = $deadline - Time::HiRes::time();

        return undef if $left <= 0;
        next unless IO::Select->new($self->{out})->can_read($left);
        return undef unless
            sysread $self->{out}, $self->{buffer}, 65_536,
                    length $self->{buffer};
    }

    my $at = index $self->{buffer}, $mark;
    my $text = substr $self->{buffer}, 0, $at;

    substr $self->{buffer}, 0, $at + length $mark, '';
    $text =~ s/---\d+---\n//g;
    chomp $text;

    return $text;
}


sub close {
    my ($self) = @_;

    return unless $self->{pid};

    CORE::close($self->{in});
    CORE::close($self->{out});
    local $?;
    waitpid $self->{pid}, 0;
    $self->{pid} = undef;
}


sub DESTROY { $_[0]->close }


1;
