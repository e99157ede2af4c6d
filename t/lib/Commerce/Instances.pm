package Commerce::Instances;

=head1 NAME

Commerce::Instances - several nginx on one database, for tests

=head1 SYNOPSIS

    use Commerce::Test;
    use Commerce::Instances;

    my ($t, @all) = shops(3, workers => 2);     # started, each sees all
    my $nginx = shop_behind($t, $relay);        # one more, behind a relay
    my $relay = relay();                        # to the shared PostgreSQL

    order_at($t, $nginx, { tea => 1 }, %headers);   # a response
    send_order($t, $nginx, { tea => 1 });           # a client, no answer yet
    drain($nginx);                                  # response of GET /drain
    is_ready($nginx);

    id_of($nginx)                the id under which it is registered
    state_of($t, $id)            'live', 'dying' or 'dead'
    becomes($t, $id, 'dead')     waits for it, far over the ttl
    placed($t, 'tea')            'free 8 leased 1 held 1'
    lines_of($t, 'tea')          units on order lines
    best_of($n, $code)           true when one of $n rounds is: for what is a
                                 matter of milliseconds
    freeze($nginx)               SIGSTOP to all of it; the pids
    leader($t, $nginx)           pid of the worker that leads
    slow_client($nginx, $worker, $head)
                                 a client of that worker that has sent $head
    ttl()                        commerce_lease_ttl of all, in seconds

=cut

use strict;
use warnings;

use Exporter 'import';

use Commerce::Relay;
use Commerce::Test;
use Commerce::Test::Client;
use Commerce::Test::Host qw(slurp);
use Commerce::Test::Postgres;

our @EXPORT = qw(
    shops shop_behind relay order_at send_order drain is_ready id_of state_of
    becomes placed lines_of best_of freeze leader slow_client ttl
);

sub ttl { return 5 }


sub options {
    my (%options) = @_;

    return (
        workers => 1, %options,
        directives => {
            commerce_lease_ttl => ttl() . 's', commerce_lease_idle => '10m',
            %{ $options{directives} // {} },
        },
    );
}


sub shops {
    my ($n, %options) = @_;

    my $t = Commerce::Test->new(options(%options));
    my @all = ($t->nginx, map { $t->instance(options(%options)) } 2 .. $n);

    $_->start for @all;
    see_all($t, @all);

    return ($t, @all);
}


sub shop_behind {
    my ($t, $relay, %options) = @_;

    my $nginx = $t->instance(options(%options,
                                     database_port => $relay->port));

    $nginx->start;
    see_all($t, $t->nginx, $nginx);

    return $nginx;
}


# Each of them knows how many there are.
sub see_all {
    my ($t, @all) = @_;

    wait_until {
        my $n = $t->sql("SELECT count(*) FROM commerce.instance WHERE state"
                      . " = 'live'");

        @all == grep { ($_->metrics->{commerce_live_instances} // 0) == $n }
            @all;
    } 20 or die "the instances do not see each other\n";
}


sub relay {
    return Commerce::Relay->new(to => Commerce::Test::Postgres->shared->port);
}


sub order_at {
    my ($t, $nginx, $lines, @headers) = @_;

    return $nginx->request($t->order_request($lines, @headers));
}


sub send_order {
    my ($t, $nginx, $lines) = @_;

    my $client = $nginx->client;

    $client->send_raw(Commerce::Test::Client::render(
        $t->order_request($lines)));

    return $client;
}


sub drain {
    my ($nginx) = @_;

    return Commerce::Test::Client->new(port => $nginx->admin_port)
        ->request('GET', '/drain', undef, _timeout => 30);
}


sub is_ready {
    my ($nginx) = @_;

    my $r = eval { $nginx->get('/readyz', _timeout => 3) };

    return $r && $r->{status} == 200;
}


sub id_of {
    my ($nginx) = @_;

    my @ids = $nginx->log =~ /this is instance (\d+) now/g;

    return $ids[-1];
}


sub state_of {
    my ($t, $id) = @_;

    return $t->sql("SELECT state FROM commerce.instance WHERE id = $id");
}


sub becomes {
    my ($t, $id, $state) = @_;

    return wait_until { state_of($t, $id) eq $state } ttl() + 40;
}


sub placed {
    my ($t, $sku) = @_;

    my $stock = $t->stock($sku);

    return join ' ', map { "$_ $stock->{$_}" } qw(free leased held);
}


sub lines_of {
    my ($t, $sku) = @_;

    return $t->sql('SELECT coalesce(sum(quantity), 0) FROM'
                 . " commerce.order_line WHERE sku = '$sku'");
}


sub best_of {
    my ($n, $code) = @_;

    for my $round (1 .. $n) {
        return $round if $code->($round);
    }

    return 0;
}


sub freeze {
    my ($nginx) = @_;

    my @pids = ($nginx->workers, $nginx->pid);

    kill 'STOP', @pids;

    return @pids;
}


# The worker that has the socket between two local ports, 0: none.
sub owner {
    my ($local, $peer) = map { sprintf '%04X', $_ } @_;

    my ($inode) = slurp('/proc/net/tcp')
        =~ /^ *\d+: \w+:$local \w+:$peer 01(?: +\S+){5} +(\d+)/m or return 0;
    my $fd = as_worker(sub {
        return (grep { (readlink($_) // '') eq "socket:[$inode]" }
                glob '/proc/[0-9]*/fd/*')[0];
    });

    return $fd ? ($fd =~ m{/proc/(\d+)/})[0] : 0;
}


# As the user of the workers: in a container root may not look at the files of
# others.
sub as_worker {
    my ($code) = @_;

    return $code->() unless Commerce::Test::Host::as_root();

    my ($uid, $gid) = (getpwnam 'www-data')[2, 3];

    local $) = "$gid $gid";
    local $> = $uid;

    return $code->();
}


# Its heart is there: behind no relay only.
sub leader {
    my ($t, $nginx) = @_;

    return wait_until {
        my $port = $t->sql('SELECT a.client_port FROM pg_stat_activity a,'
            . ' commerce.instance i WHERE i.id = ' . id_of($nginx)
            . " AND a.application_name = 'commerce/' || i.master"
            . " || '/heartbeat'");

        return $port && owner($port, $t->postgres->port);
    };
}


# The others stand still until it has accepted the connection; not for so long
# that one of them would lose the lead.
sub slow_client {
    my ($nginx, $worker, $head) = @_;

    my @others = grep { $_ != $worker } $nginx->workers;
    my $slow;

    for (1 .. 10) {
        kill 'STOP', @others;

        my $still = wait_until {
            @others == grep { slurp("/proc/$_/stat") =~ /\) T / } @others;
        } 0.5;
        my $client = $still && $nginx->client;

        $slow = $client && wait_until {
            owner($client->socket->peerport, $client->socket->sockport)
                == $worker;
        } 0.5;

        kill 'CONT', @others;

        if ($slow) {
            $client->send_raw($head);
            return $client;
        }

        $client->close if $client;
    }

    return;
}


1;
