package Peer;

=head1 NAME

Peer - the same work without nginx-commerce: pgbench in the same schema

=head1 SYNOPSIS

    my $peer = Peer->new($postgres, $dir, $skus);
    my ($rate, $mean_ms) = $peer->orders($clients, $seconds);

=cut

use strict;
use warnings;

use File::Basename ();
use List::Util qw(min);

use Commerce::Test::Host qw(run_command spew);
use Commerce::Test::Postgres;


my $place = <<'END';
\set n random(1, 3)
\set a random(1, :skus)
\set b random(1, :skus)
\set c random(1, :skus)
SELECT bench.place(gen_random_uuid(), :n, :a, :b, :c);
END

my $place_hot = <<'END';
SELECT bench.place(gen_random_uuid(), 1, 0, 0, 0);
END

my $add = <<'END';
\set cart random(1, :carts)
\set sku random(0, 9)
SELECT count(*) FROM bench.add_line(:cart, (:cart * 10 + :sku) % :skus);
END

# Orders and lines of 1 to 3, two inserts in one statement and one commit.
my $place_batch = <<'END';
WITH o AS MATERIALIZED (
    SELECT commerce.uuid_v7() AS id, gen_random_uuid() AS idem,
           1 + floor(random() * 3)::integer AS lines
    FROM generate_series(1, :batch)
), a AS MATERIALIZED (
    SELECT array_agg(id) AS id, array_agg(idem) AS idem,
           array_agg(lines) AS lines FROM o
), u AS MATERIALIZED (
    SELECT x.* FROM a, unnest(a.id, a.idem, a.lines) x(id, idem, lines)
), ins AS (
    INSERT INTO commerce.orders (id, idem, fingerprint, instance_id, currency,
        subtotal, total, expires_at)
    SELECT id, idem, idem, 1, 'USD', 1999 * lines, 1999 * lines,
           now() + interval '15 minutes' FROM u
    ON CONFLICT (idem) DO NOTHING RETURNING id
), lin AS (
    INSERT INTO commerce.order_line (order_id, line_no, variant_id, lease_id,
        quantity, unit_price, sku, title)
    SELECT u.id, n, bench.variant(1 + floor(random() * :skus)::bigint), 0, 1,
           1999, 'sku-00000', 'The sku 00000'
    FROM ins JOIN u USING (id), generate_series(1, u.lines) n
)
SELECT count(*) FROM ins;
END


sub new {
    my ($class, $postgres, $dir, $skus) = @_;

    my $database = $postgres->create_database;
    my $sql = File::Basename::dirname(__FILE__) . '/peer.sql';
    my ($rc, $output) = run_command('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1',
        '-f', $sql, $postgres->conninfo($database));

    die "peer.sql: $output\n" if $rc;

    # variant 0 is the one of W4
    $postgres->query($database, 'INSERT INTO commerce.stock SELECT'
        . " bench.variant(n), 1, 1000000000 FROM generate_series(0, $skus) n");
    $postgres->query($database, 'VACUUM ANALYZE');

    return bless { postgres => $postgres, database => $database, dir => $dir,
                   skus => $skus }, $class;
}


# All of these: (transactions per second, mean milliseconds).

# One order of 1 to 3 lines in a commit.
sub orders {
    my ($self, $clients, $seconds) = @_;

    return $self->pgbench($place, $clients, $seconds, skus => $self->{skus});
}


# One order of one unit of the same variant in a commit.
sub orders_of_one {
    my ($self, $clients, $seconds) = @_;

    return $self->pgbench($place_hot, $clients, $seconds);
}


# One article into one of "carts" carts in a commit that need not be on disk;
# the cart's lines are read.
sub adds {
    my ($self, $carts, $clients, $seconds) = @_;

    $self->{postgres}->query($self->{database}, 'INSERT INTO commerce.cart'
        . ' (id, currency, expires_at) SELECT bench.variant(n),'
        . " 'USD', now() + interval '30 days'"
        . " FROM generate_series(1, $carts) n ON CONFLICT DO NOTHING");

    local $ENV{PGOPTIONS} = '-c synchronous_commit=off';

    return $self->pgbench($add, $clients, $seconds, carts => $carts,
                          skus => $self->{skus});
}


# "batch" orders in a commit.
sub batches {
    my ($self, $batch, $clients, $seconds) = @_;

    return $self->pgbench($place_batch, $clients, $seconds,
                          skus => $self->{skus}, batch => $batch);
}


sub pgbench {
    my ($self, $script, $clients, $seconds, %variables) = @_;

    spew("$self->{dir}/pgbench.sql", $script);

    my ($rc, $output) = run_command(
        Commerce::Test::Postgres::bindir() . '/pgbench', '-n', '-M',
        'prepared', '-c', $clients, '-j', min(2, $clients),
        '-T', int($seconds + 1.99),         # connecting takes some of it
        (map { ('-D', "$_=$variables{$_}") } sort keys %variables),
        '-f', "$self->{dir}/pgbench.sql",
        $self->{postgres}->conninfo($self->{database}));

    my ($tps) = $output =~ /^tps = ([\d.]+)/m;
    my ($mean) = $output =~ /^latency average = ([\d.]+)/m;

    die "pgbench: $output\n" if $rc || $output =~ /aborted/;

    # a disk that stands still leaves nothing to count
    return ($tps || 0.001, $mean // $seconds * 1000);
}


1;
