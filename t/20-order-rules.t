# What C and the database both decide, they decide alike.

use Commerce::Test;

use FindBin;
use lib "$FindBin::Bin/unit";
use Build;

my $t = Commerce::Test->new;
my $root = Build::root();
my $program = Build::program('unit_rules', [],
    [ "$root/t/unit/unit_rules.c", glob("$root/src/core/*.c") ]);


# the steps of an order

my @steps = map { [ split ] } qx($program steps);
my %states = map { $_->[0] => 1 } @steps;

is(scalar @steps, 49, 'every state with every state');

my $values = join ', ', map { "('$_->[0]', '$_->[1]', $_->[2])" } @steps;
is_deeply([ $t->rows("SELECT was, becomes, may FROM (VALUES $values)"
                   . ' x(was, becomes, may) WHERE may <>'
                   . ' commerce.order_may_become(was, becomes)::integer') ],
          [], 'the database takes the same steps');
is($t->sql("SELECT count(*) FROM (VALUES $values) x(was, becomes, may)"
         . ' WHERE commerce.order_may_become(was, becomes)'),
   scalar(grep { $_->[2] } @steps), 'and as many');
is($t->sql("SELECT commerce.order_may_become('paid', 'nowhere')"), 'f',
   'a word that is no state is no step');

my $check = $t->sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint"
                  . " WHERE conname = 'orders_state_check'");
is_deeply([ sort $check =~ /'(\w+)'/g ], [ sort keys %states ],
          'the table knows the same states');


# what units of a line cost

my @portions = map { chomp; '(' . join(', ', split / /) . ')' }
    qx($program portions);
my $psql = $t->session;

cmp_ok(scalar @portions, '>', 3000, scalar(@portions) . ' portions');
$psql->query('CREATE TEMP TABLE p (cost bigint, quantity bigint,'
           . ' before bigint, units bigint, amount bigint)');
while (my @some = splice @portions, 0, 500) {
    $psql->query('INSERT INTO p VALUES ' . join ', ', @some);
}
is($psql->query('SELECT * FROM p WHERE amount <> commerce.price_portion('
              . 'cost, quantity, before, units) LIMIT 3'), '',
   'the database computes the same amounts');
is($psql->query('SELECT count(*) FROM (SELECT cost, sum('
              . 'commerce.price_portion(cost, quantity, k - 1, 1)) AS s FROM'
              . ' (SELECT DISTINCT cost, quantity FROM p WHERE quantity <= 12)'
              . ' l, generate_series(1, quantity) k GROUP BY cost, quantity)'
              . ' x WHERE s <> cost'), 0, 'units one by one sum to the line');
$psql->close;

$t->finish;
