# Real input: a year of a web shop's invoices, replayed as orders.
#
# online-retail.csv.xz is read from COMMERCE_REPLAY_DATA or ../shared/data.
# What is a sale: a line with a positive quantity and a positive price of an
# invoice whose number has no letter (C: a cancellation, A: an adjustment).
# Everything else is left out and counted.  Lines of one invoice with the same
# code are one line of the order.
#
# Prices.  A code has many prices in a year, at times two in one invoice. The
# rule here: a code has the first price of its invoice, rounded half up to the
# penny; the catalogue is repriced before each 1,000 invoices, and for these a
# code costs the average of that, weighted by the units that they take,
# rounded half up again.  So prices change under the shop's feet while every
# order still names the total that it expects, to the penny: an order at a
# stale price would be refused.
#
# COMMERCE_REPLAY_INVOICES limits how many invoices are replayed.

use Commerce::Test;

use Encode ();
use FindBin;
use JSON::PP ();
use Time::HiRes qw(time);

use lib "$FindBin::Bin/bench";

use Commerce::Test::Host qw(top temp_dir remove_tree spew slurp sanitized);
use Load;

my $chunk = 1000;           # invoices between two repricings
my $connections = 64;
my $import = 1000;          # rows of one request

my $data = $ENV{COMMERCE_REPLAY_DATA} // top() . '/../shared/data';

$data .= '/online-retail.csv.xz' if -d $data;

plan(skip_all => 'there is no online-retail.csv.xz') unless -r $data;
plan(skip_all => 'there is no xz')
    unless grep { -x "$_/xz" } split /:/, $ENV{PATH};

my $limit = $ENV{COMMERCE_REPLAY_INVOICES} // (sanitized() ? 1000 : 1e9);
my $json = JSON::PP->new->utf8->canonical;


# The file.  An invoice is a flat list: code, quantity, price, code, ...

my (@invoices, @numbers, @codes, @titles, @escaped);
my %count = map { $_ => 0 } qw(lines sale C A quantity price);
my ($units, $own, $first_prices) = (0, 0, 0);

sub read_file {
    my ($path) = @_;

    my (%code_of, %invoice_of, %at);
    my $last = '';
    my $current;

    open my $in, '-|', 'xz', '-dc', $path or die "xz: $!\n";

    <$in>;

    while (my $line = <$in>) {
        my ($number, $code, $quoted, $bare, $quantity, $whole, $part) =
            $line =~ m{\A"([^"]*)","([^"]*)",(?:"((?:[^"]|"")*)"|([^,]*)),
                       (-?\d+),"[^"]*",(-?\d+)(?:\.(\d{1,6}))?,}x
            or die "line $. is not understood: $line";

        $count{lines}++;

        if ($number =~ /\A([CA])/) {
            $count{$1}++;
            next;
        }

        if ($quantity <= 0) {
            $count{quantity}++;
            next;
        }

        # millionths of a pound
        my $price = $whole * 1_000_000 + substr(($part // '') . '000000', 0, 6);

        if ($whole =~ /^-/ || $price <= 0) {
            $count{price}++;
            next;
        }

        if ($number ne $last) {
            my $n = $invoice_of{$number};

            if (!defined $n) {
                last if @invoices >= $limit;

                $n = $invoice_of{$number} = @invoices;
                push @invoices, [];
                push @numbers, $number;
            }

            # a few invoices are in two pieces
            $last = $number;
            $current = $invoices[$n];
            %at = map { ($current->[$_ * 3] => $_ * 3) } 0 .. @$current / 3 - 1;
        }

        my $i = $code_of{$code} //= @codes;

        if ($i == @codes) {
            push @codes, $code;
            push @titles, '';
            push @escaped, substr $json->encode([ $code ]), 1, -1;
        }

        my $text = $quoted // $bare;

        $titles[$i] = $text if $titles[$i] eq '' && $text =~ /\w/;

        $count{sale}++;
        $units += $quantity;
        $own += $quantity * $price;

        my $at = $at{$i};

        if (defined $at) {
            $current->[$at + 1] += $quantity;
            $first_prices += $quantity * $current->[$at + 2];

        } else {
            my $pence = int(($price + 5_000) / 10_000);

            $at{$i} = @$current;
            push @$current, $i, $quantity, $pence;
            $first_prices += $quantity * $pence;
        }
    }

    close $in;
}


sub pounds {
    my ($pence) = @_;

    my $text = sprintf '%.2f', $pence / 100;

    1 while $text =~ s/(\d)(\d{3})(?!\d)/$1,$2/;

    return $text;
}


my $began = time;

read_file($data);

my @needed = (0) x @codes;
my $lines = 0;

for my $invoice (@invoices) {
    for (my $i = 0; $i < @$invoice; $i += 3) {
        $needed[ $invoice->[$i] ] += $invoice->[$i + 1];
    }

    $lines += @$invoice / 3;
}

diag(sprintf 'file: %d lines read in %.1f s; %d sale lines of %d invoices and'
     . ' %d codes', $count{lines}, time - $began, $count{sale},
     scalar @invoices, scalar @codes);
diag("left out: $count{C} lines of cancellations, $count{A} of adjustments,"
     . " $count{quantity} without a positive quantity, $count{price} without"
     . ' a positive price');


# The rule: prices of each chunk, and what the orders must come to.

my (@prices, @totals);

for (my $from = 0; $from < @invoices; $from += $chunk) {
    my $to = $from + $chunk > @invoices ? @invoices : $from + $chunk;
    my (%taken, %paid, %price);

    for my $invoice (@invoices[$from .. $to - 1]) {
        for (my $i = 0; $i < @$invoice; $i += 3) {
            my ($code, $quantity, $pence) = @$invoice[$i .. $i + 2];

            $taken{$code} += $quantity;
            $paid{$code} += $quantity * $pence;
        }
    }

    {
        use integer;
        $price{$_} = (2 * $paid{$_} + $taken{$_}) / (2 * $taken{$_})
            for keys %taken;
    }

    push @prices, \%price;

    for my $invoice (@invoices[$from .. $to - 1]) {
        my $total = 0;

        for (my $i = 0; $i < @$invoice; $i += 3) {
            $total += $price{ $invoice->[$i] } * $invoice->[$i + 1];
        }

        push @totals, $total;
    }
}

my $revenue = 0;
$revenue += $_ for @totals;


# The shop

my $dir = temp_dir('replay');
my $t = Commerce::Test->new(
    workers => 2,
    worker_connections => 2048,
    directives => { commerce_max_lines => 1200, commerce_hold_time => '1h' },
)->start;
my $load = Load->new(port => $t->port);


# Sends rows in pieces; returns how many have each status.
sub import_all {
    my (@rows) = @_;

    my %status;

    while (my @some = splice @rows, 0, $import) {
        my $response = $t->admin('POST', '/v1/admin/import',
            join('', map { $json->encode($_) . "\n" } @some),
            'Content-Type' => 'application/x-ndjson', _timeout => 120);

        die "import: $response->{status} $response->{body}\n"
            if $response->{status} != 200;

        for (map { $json->decode($_) } split /\n/, $response->{body}) {
            $status{ $_->{status} }++;
            diag($json->encode($_))
                if $_->{status} eq 'error' && $status{error} < 5;
        }
    }

    return \%status;
}


# Sends what was refused once more and shows what it is told now.
sub explain_refusals {
    my ($script, $log) = @_;

    my %accepted = map { /^([^\t]+)\t/ ? ($1 => 1) : () }
        split /\n/, slurp($log);
    my @refused = grep { /^([^\t]+)\t/ && !$accepted{$1} }
        split /\n/, slurp($script);

    for (splice @refused, 0, 5) {
        my ($key, $body) = split /\t/, $_, 2;
        my $response = $t->post('/v1/orders', $body, 'Idempotency-Key' => $key,
                                'Content-Type' => 'application/json');

        diag("$key, once more: $response->{status} "
             . ($response->{status} == 201 ? 'accepted'
                                           : $response->{json}{code} // ''));

        for my $line (@{ $response->{json}{lines} }) {
            next if ($line->{available} // 1e9) >= ($line->{requested} // 0);

            my ($i) = grep { $codes[$_] eq $line->{sku} } 0 .. $#codes;

            diag($json->encode($line), " of $needed[$i] in all; the database: ",
                 $json->encode($t->stock($line->{sku})));
        }
    }

    my $metrics = $t->metrics;

    diag("limbo: $_ $metrics->{$_}") for grep { /limbo/ } sort keys %$metrics;
}


my @current;        # the price that each code has in the catalogue

for my $price (reverse @prices) {
    $current[$_] = $price->{$_} for keys %$price;
}

$began = time;

my $status = import_all(map {
    my $slug = lc($codes[$_]) =~ s/[^a-z0-9._-]+/-/gr;
    my $title = Encode::decode('UTF-8', $titles[$_] =~ s/""/"/gr);

    $title =~ s/\A\s+|\s+\z//g;

    {
        type => 'product',
        slug => sprintf('%s-%d', $slug, $_ + 1),    # codes differ in case
        title => $title eq '' ? $codes[$_] : $title,
        variants => [ {
            sku => $codes[$_], prices => { GBP => $current[$_] },
            stock => $needed[$_],
        } ],
    }
} 0 .. $#codes);

is_deeply($status, { created => scalar @codes }, 'the catalogue is imported');
diag(sprintf 'catalogue: %d products in %.1f s', scalar @codes, time - $began);


# The orders

my ($ordering, $repricing, $repriced, $created) = (0, 0, 0, 0);
my (%statuses, %problems, $said, @latency);

for my $n (0 .. $#prices) {
    my $price = $prices[$n];
    my @changed = sort { $a <=> $b }
                  grep { $current[$_] != $price->{$_} } keys %$price;

    if (@changed) {
        $began = time;
        $status = import_all(map { {
            type => 'price', sku => $codes[$_],
            prices => { GBP => $price->{$_} },
        } } @changed);
        $repricing += time - $began;
        $repriced += @changed;

        if (($status->{updated} // 0) != @changed) {
            fail("prices are set before invoice $numbers[$n * $chunk]: "
                 . $json->encode($status));
            last;
        }

        $current[$_] = $price->{$_} for @changed;
    }

    my $from = $n * $chunk;
    my $to = $from + $chunk > @invoices ? @invoices : $from + $chunk;

    open my $out, '>', "$dir/script" or die "script: $!\n";

    for my $i ($from .. $to - 1) {
        my $invoice = $invoices[$i];
        my @lines;

        for (my $k = 0; $k < @$invoice; $k += 3) {
            push @lines, qq({"sku":$escaped[$invoice->[$k]],)
                       . qq("quantity":$invoice->[$k + 1]});
        }

        print {$out} "replay-invoice-$numbers[$i]\t"
            . '{"currency":"GBP","expected_total":' . $totals[$i]
            . ',"lines":[' . join(',', @lines) . "]}\n";
    }

    close $out or die "script: $!\n";

    my $result = $load->run('script', script => "$dir/script",
                            c => $connections, retry => \1,
                            log => "$dir/log.$n");

    $ordering += $result->{seconds};
    $created += $result->{status}{201} // 0;
    $statuses{$_} += $result->{status}{$_} for keys %{ $result->{status} };
    $problems{$_} += $result->{problems}{$_}
        for keys %{ $result->{problems} };
    push @latency, $result->{latency_ms};
    $said .= $result->{said};

    last if $result->{code} != 0 || $created != $to;
}

if (!is_deeply(\%statuses, { 201 => scalar @invoices },
               'every order is accepted'))
{
    diag('problems: ' . $json->encode(\%problems), "\n", $said);
    explain_refusals("$dir/script", "$dir/log.$#latency");
    remove_tree($dir);
    $t->finish;
    exit;
}

my $worst = (sort { $b <=> $a } map { $_->{p99} } @latency)[0];

diag(sprintf 'orders: %d with %d lines and %d units in %.1f s: %.0f orders/s,'
     . ' %.0f lines/s over %d connections; worst p99 of a chunk %.0f ms',
     $created, $lines, $units, $ordering, $created / $ordering,
     $lines / $ordering, $connections, $worst);
diag(sprintf 'prices: %d set in %d repricings in %.1f s', $repriced,
     @prices - 1, $repricing);


# Their payments

spew("$dir/log", join '', map { slurp("$dir/log.$_") } 0 .. $#prices);

my $paid = $load->run('pay', orders => "$dir/log", c => $connections,
                      retry => \1);

is_deeply($paid->{status}, { 201 => scalar @invoices }, 'every order is paid')
    or diag($json->encode($paid->{problems}), $paid->{said});
diag(sprintf 'payments: %d in %.1f s: %.0f/s', $paid->{ok}, $paid->{seconds},
     $paid->{rate});


# What the database holds

is($t->sql('SELECT state, count(*) FROM commerce.orders GROUP BY 1'),
   'paid|' . @invoices, 'an order for each invoice, all paid');
is($t->sql('SELECT count(*), sum(quantity) FROM commerce.order_line'),
   "$lines|$units", "the file's lines and units");
is($t->sql('SELECT sum(total), sum(subtotal) FROM commerce.orders'),
   "$revenue|$revenue", "the rule's revenue");
is($t->sql('SELECT sum(quantity * unit_price) FROM commerce.order_line'),
   $revenue, 'as the lines say too');
is($t->sql('SELECT count(*), sum(amount) FROM commerce.payment'
           . " WHERE state = 'succeeded'"), @invoices . "|$revenue",
   'and the payments');

my %sold = map { ($_->[0] => $_->[1]) }
    $t->rows('SELECT sku, sum(quantity) FROM commerce.order_line GROUP BY 1');

is(scalar(grep { ($sold{ $codes[$_] } // 0) != $needed[$_] } 0 .. $#codes), 0,
   'each code has sold the units of its sale lines');
is(scalar keys %sold, scalar @codes, 'and there are no others');

diag('revenue: ' . pounds($revenue) . " pounds under the replay's rule; "
     . pounds($first_prices) . " at each invoice's first price in pence; "
     . pounds($own / 10_000) . sprintf(' as the file has it: %+.4f %%',
     ($revenue * 10_000 - $own) / $own * 100));

is($t->sql('SELECT count(*) FROM commerce.stock WHERE free <> 0'), 0,
   'every stock is 0');
is($t->sql('SELECT sum(x.free), sum(x.leased), sum(x.held), sum(x.sold) FROM'
           . ' commerce.variant v, LATERAL commerce.stock_of(v.id) x'),
   "0|0|0|$units", 'no unit is free, leased or held');


# Nothing is left of any code, and what is no sale is refused.

spew("$dir/script", join '', map {
    "replay-one-more-$_\t{\"currency\":\"GBP\",\"lines\":[{\"sku\":"
    . "$escaped[$_],\"quantity\":1}]}\n" } 0 .. $#codes);

my $more = $load->run('script', script => "$dir/script", c => $connections,
                      retry => \1);

is_deeply($more->{problems}, { out_of_stock => scalar @codes },
          'the next order of any code is out_of_stock')
    or diag($json->encode($more->{status}));
diag(sprintf 'refused: %d in %.1f s: %.0f/s', $more->{requests},
     $more->{seconds}, $more->{rate});

for my $quantity (0, -12) {
    is_problem($t->post('/v1/orders', {
        currency => 'GBP',
        lines => [ { sku => $codes[0], quantity => $quantity } ],
    }, 'Idempotency-Key' => $t->key), 422, 'invalid_request',
    "a quantity of $quantity is refused");
}

is($t->sql('SELECT count(*) FROM commerce.orders'), scalar @invoices,
   'refusals leave no order');
is($t->sql('SELECT count(*) FROM commerce.stock_audit'), 0,
   'stock_audit is empty');

remove_tree($dir);
$t->finish;
