package Carts;

=head1 NAME

Carts - workload W2 of the benchmark: adding to carts

=head1 SYNOPSIS

    my $carts = Carts->new(shop => $shop, load => $load, peer => $peer,
                           dir => $dir, skus => "$dir/skus", n => 5000,
                           quiet => sub { ... });
    $carts->run($round, $seconds, $warmup);
    $carts->judge($sql);
    $carts->report($goal);

64 connections add to carts at random, each cart one of its ten SKUs, against
pgbench doing the same with one line per commit.  Then one client alone adds
to a cart of 1 line and to one of 100.

=cut

use strict;
use warnings;

use Commerce::Test::Client;
use Commerce::Test::Host qw(slurp spew);
use Figures qw(check note_figure last_figure med progress with_spread line);

my $clients = 64;
my @sizes = (1, 100);


sub new {
    my ($class, %self) = @_;

    my $self = bless { %self }, $class;
    my @skus = split /\n/, slurp($self->{skus});

    spew("$self->{dir}/carts", join '', map { "$_->{id}\t$_->{token}\n" }
         $self->make($self->{n}));

    for my $size (@sizes) {
        my ($cart) = $self->make(1);

        $self->add($cart, $_) for @skus[0 .. $size - 1];
        spew("$self->{dir}/carts-$size", "$cart->{id}\t$cart->{token}\n");
        spew("$self->{dir}/skus-$size",
             join '', map { "$_\n" } @skus[0 .. $size - 1]);
    }

    return $self;
}


sub make {
    my ($self, $n) = @_;

    my @answers = $self->{shop}->race(16,
        [ ([ 'POST', '/v1/carts', { currency => 'USD' } ]) x $n ], 120);

    for (@answers) {
        die "POST /v1/carts: $_->{status} $_->{body}\n"
            if $_->{status} != 201;
    }

    return map { $_->{json} } @answers;
}


sub add {
    my ($self, $cart, $sku) = @_;

    my $r = $self->{shop}->post("/v1/carts/$cart->{id}/lines",
        { sku => $sku, quantity => 1 }, 'X-Cart-Token' => $cart->{token});

    die "POST lines: $r->{status} $r->{body}\n" if $r->{status} != 200;

    $self->{added}++;
}


sub run {
    my ($self, $round, $seconds, $warmup) = @_;

    $self->{quiet}->();

    my ($tps, $mean) = $self->{peer}->adds($self->{n}, $clients, $seconds);

    note_figure('peer add', 'rate', $tps);
    progress("W2 pgbench, one line per commit, $clients",
             sprintf '%.0f adds/s, mean %.2f ms', $tps, $mean);

    $self->{quiet}->();

    my $r = $self->measure('W2', $round, c => $clients, t => $seconds,
                           warmup => $warmup, carts => "$self->{dir}/carts",
                           skus => $self->{skus}, seed => $round);

    progress("W2 adds over $clients connections",
             sprintf '%.0f adds/s, p50 %.2f ms, p99 %.2f ms', $r->{ok_rate},
             @{ $r->{latency_ms} }{qw(p50 p99)});

    for my $size (@sizes) {
        $r = $self->measure("W2 $size", $round, c => 1, t => $seconds,
                            warmup => $warmup, seed => $round,
                            carts => "$self->{dir}/carts-$size",
                            skus => "$self->{dir}/skus-$size");

        progress("W2 one client, $size lines in its cart",
                 sprintf 'p50 %.3f ms', $r->{latency_ms}{p50});
    }

    note_figure('W2 lines', 'ratio', last_figure("W2 $sizes[0]", 'p50')
                                     / last_figure("W2 $sizes[1]", 'p50'));
}


sub measure {
    my ($self, $name, $round, %options) = @_;

    my $r = $self->{load}->run('cart', %options);

    check("$name: every answer is 200, round $round",
          $r->{ok} == $r->{requests} && !$r->{abandoned}
          && !$r->{protocol_errors}, join ' ', %{ $r->{status} });

    $self->{added} += $r->{acknowledged};
    $self->{ghosts} += $r->{abandoned};

    note_figure($name, $_, $r->{$_}) for qw(rate ok_rate);
    note_figure($name, $_, $r->{latency_ms}{$_}) for qw(p50 p90 p99 max);

    return $r;
}


# Each of the carts, once, when nobody adds any more; its log, and the result.
sub checkout {
    my ($self, $sql) = @_;

    # chance leaves some without a line
    my $empty = $sql->("SELECT count(*) FROM commerce.cart"
                       . " WHERE lines = 0 AND state = 'open'");

    $self->{quiet}->();

    my $log = "$self->{dir}/checkout";
    my $r = $self->{load}->run('checkout', c => $clients, n => $self->{n},
                               log => $log,
                               carts => "$self->{dir}/carts");

    check('W2 checkout: every cart becomes an order',
          $r->{ok} >= $self->{n} - $empty, join ' ', %{ $r->{status} });
    note_figure('W2 checkout', 'rate', $r->{ok_rate});
    note_figure('W2 checkout', $_, $r->{latency_ms}{$_}) for qw(p50 p99);
    progress("W2 checkout of $self->{n} carts over $clients connections",
             sprintf '%.0f orders/s, p99 %.2f ms', $r->{ok_rate},
             $r->{latency_ms}{p99});

    return ($log, $r);
}


# Every add was of one unit.
sub judge {
    my ($self, $sql) = @_;

    my $torn = $sql->('SELECT count(*) FROM commerce.cart c LEFT JOIN ('
        . ' SELECT cart_id, count(*) AS lines, sum(quantity) AS units'
        . ' FROM commerce.cart_line GROUP BY 1) l ON l.cart_id = c.id'
        . ' WHERE (c.lines, c.version - 1) <> (coalesce(l.lines, 0),'
        . ' coalesce(l.units, 0))');

    check('every cart has its lines, and a version for each unit', $torn == 0,
          "$torn carts");

    my $more = $sql->('SELECT sum(quantity) FROM commerce.cart_line')
               - $self->{added};

    check('every acknowledged add is there, and no other',
          $more >= 0 && $more <= ($self->{ghosts} // 0), "$more more");
}


sub report {
    my ($self, $goal) = @_;

    line("W2 pgbench, one line per commit, $clients clients",
         with_spread('peer add', 'rate', '%.0f') . ' /s');
    line("W2 POST /v1/carts/{id}/lines, $clients clients",
         with_spread('W2', 'ok_rate', '%.0f') . ' /s', med('W2', 'p99'),
         med('W2', 'ok_rate') / med('peer add', 'rate'), $goal);

    line("W2 POST /v1/carts/{id}/checkout, $clients clients",
         with_spread('W2 checkout', 'rate', '%.0f') . ' /s',
         med('W2 checkout', 'p99'));
    line("W2 one client, $_ lines: p50",
         with_spread("W2 $_", 'p50', '%.3f') . ' ms', med("W2 $_", 'p99'))
        for @sizes;

    # at most 1.5 times as long
    line("W2 $sizes[0] line against $sizes[1]", '', undef,
         med('W2 lines', 'ratio'), 0.67);
}


1;
