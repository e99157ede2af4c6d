# Metrics, health, access log.

use Commerce::Test;
use List::Util qw(sum0);

my $t = Commerce::Test->new(workers => 2, http => <<'END')->start;
log_format commerce '$request_method $uri $status op=$commerce_operation '
    'out=$commerce_outcome order=$commerce_order_id db=$commerce_db_time';
END


sub get_metrics { return $t->metrics }


sub value {
    my ($metrics, $name) = @_;

    return $metrics->{$name} // 0;
}


# health

for my $probe (qw(/livez /readyz)) {
    my $r = $t->get($probe);

    is($r->{status}, 200, $probe);
    is($t->head($probe)->{status}, 200, "HEAD $probe");
    is($t->post($probe)->{status}, 405, "POST $probe");
}


# metrics

my $r = $t->get('/metrics');
is($r->{status}, 200, 'metrics');
like($r->{headers}{'content-type'}, qr{^text/plain; version=0\.0\.4},
     'in the format of Prometheus');
is($t->post('/metrics')->{status}, 405, 'POST /metrics');

my (%type, %help, @wrong);

for my $line (split /\n/, $r->{body}) {
    if ($line =~ /^# HELP (\S+) (.+)$/) {
        $help{$1} = $2;
    } elsif ($line =~ /^# TYPE (\S+) (counter|gauge|histogram)$/) {
        push @wrong, "TYPE twice: $1" if $type{$1};
        $type{$1} = $2;
    } elsif ($line =~ /^([a-z_]+)(\{[a-z_]+="[^"\\]*"(?:,[a-z_]+="[^"\\]*")*\})?
                       \ [-+0-9.eE]+$/x)
    {
        my $name = $1;
        my $base = $name =~ s/_(?:bucket|sum|count)$//r;

        push @wrong, "no TYPE: $name" unless $type{$name} || $type{$base};
        push @wrong, "not commerce_: $name" unless $name =~ /^commerce_/;
        push @wrong, "counter without _total: $name"
            if ($type{$name} // '') eq 'counter' && $name !~ /_total$/;
    } else {
        push @wrong, $line;
    }
}

is(scalar @wrong, 0, 'every line is well formed') or diag(join "\n", @wrong);
is(scalar(grep { !$help{$_} } keys %type), 0, 'every metric has a HELP');
like($r->{body}, qr/\n\z/, 'the text ends with a newline');

for my $name (qw(commerce_orders_total commerce_orders_per_second
                 commerce_stock_limbo_units))
{
    ok($type{$name}, $name);
}

is($type{commerce_orders_total}, 'counter', 'orders are counted');
is($type{commerce_orders_per_second}, 'gauge', 'their rate is a gauge');
ok((grep { $type{$_} eq 'histogram' } keys %type), 'there is a histogram');


# they move

$t->product('tea', stock => 1000);
my $before = get_metrics();
my $orders = 30;
my @answers = $t->race(8, [ map { [ $t->order_request({ tea => 2 }) ] }
                            1 .. $orders ]);
is(scalar(grep { $_->{status} == 201 } @answers), $orders, 'orders');
$t->order({ tea => 5000 });

# a request is counted when its answer has been sent
my ($after, %moved);
ok((wait_until {
    $after = get_metrics();
    %moved = map { $_ => value($after, $_) - value($before, $_) } keys %$after;
    $orders + 1 == sum0(map { $moved{$_} } grep { /order_create/ } keys %moved);
}), 'each request is counted')
    or diag(join "\n", grep { $moved{$_} } sort keys %moved);
is(value($after, 'commerce_orders_total')
   - value($before, 'commerce_orders_total'), $orders,
   'commerce_orders_total, whatever worker answers');

my ($histogram) = grep { $type{$_} eq 'histogram' && /order/ } sort keys %type;
$histogram //= 'none';
is(value($after, "${histogram}_count") - value($before, "${histogram}_count"),
   value($after, "${histogram}_bucket{le=\"+Inf\"}")
   - value($before, "${histogram}_bucket{le=\"+Inf\"}"),
   'the histogram adds up');
cmp_ok(value($after, "${histogram}_count")
       - value($before, "${histogram}_count"), '>=', $orders,
       'each order is observed');

my @buckets = map { $after->{$_} }
    sort { ($a =~ /le="([^"]+)"/)[0] =~ s/\+Inf/9e9/r
           <=> ($b =~ /le="([^"]+)"/)[0] =~ s/\+Inf/9e9/r }
    grep { /^\Q$histogram\E_bucket/ } keys %$after;
is_deeply(\@buckets, [ sort { $a <=> $b } @buckets ],
          'its buckets are cumulative');

ok((grep { /order_create/ && /out_of_stock/ && $moved{$_} == 1 } keys %moved),
   'the refusal is counted by its reason');
ok((grep { /units_sold/ && $moved{$_} == 2 * $orders } keys %moved),
   'units sold');
ok((grep { /lease/ && /grant/ && $moved{$_} >= 2 * $orders } keys %moved),
   'units granted');
ok((grep { /^commerce_orders_per_second/ } keys %moved),
   'the gauge is there');
ok((wait_until {
    value(get_metrics(), 'commerce_orders_per_second') > 0;
} 8), 'and moves');

# ids, skus and paths of clients are no labels
$t->get("/v1/products/strange-$_") for 1 .. 20;
my @series = grep { /strange|tea/ } keys %{ get_metrics() };
is(scalar @series, 0, 'labels are bounded');

my $count = keys %{ get_metrics() };
$t->get("/v1/more/$_") for 1 .. 20;
$t->request('BREW', '/v1/orders', undef);
cmp_ok(keys(%{ get_metrics() }) - $count, '<=', 3,
       'unknown paths and methods make no series');


# the access log knows what was done

$t->configure(http => <<'END' . 'access_log ' . $t->prefix
log_format commerce '$request_method $uri $status op=$commerce_operation '
    'out=$commerce_outcome order=$commerce_order_id db=$commerce_db_time '
    'customer=$commerce_customer_id';
END
    . '/commerce.log commerce; limit_req_zone few zone=few:1m rate=1r/m;',
    server => 'location = /v1/few { commerce storefront;'
    . ' limit_req zone=few; limit_req_status 429; limit_req_log_level info; }');
$t->reload;

my $order = $t->order({ tea => 1 })->{json};
$t->order({ tea => 5000 });
$t->get('/v1/products');
is($t->get('/v1/few')->{status}, 404, 'under the limit of nginx');
$r = $t->get('/v1/few');
is_problem($r, 429, 'too_many_requests', 'over it');
is($r->{headers}{'retry-after'}, 1, 'with Retry-After');
$t->get('/livez');

my $log;
ok(wait_until {
    $log = Commerce::Test::Host::slurp($t->prefix . '/commerce.log');
    6 <= $log =~ tr/\n//;
}, 'an access log with our variables');
like($log, qr{POST /v1/orders 201 op=order_create out=ok order=$order->{id}},
     'an order');
like($log, qr{order=$order->{id} db=\d+\.\d{3} customer=-$}m,
     'with its time in the database');
like($log, qr{POST /v1/orders 409 op=order_create out=out_of_stock order=-},
     'a refusal');
like($log, qr{GET /v1/products 200 op=product_list}, 'a list');
like($log, qr{GET /v1/few 429 op=other out=too_many_requests}, 'a limit');
ok((wait_until {
    grep { /outcome="too_many_requests"/ } keys %{ get_metrics() };
}), 'the limit has an outcome of its own');
like($log, qr{GET /livez 200 op=- out=- order=- db=-}, 'others have none');


# drain: on the admin listener, answers when nothing is held any more

my ($instance) = $t->rows('SELECT id, state FROM commerce.instance');
$r = Commerce::Test::Client->new(port => $t->admin_port)
    ->request('GET', '/drain');
is($r->{status}, 200, 'drain');
my $units = $t->stock('tea');
is($units->{leased}, 0, 'no units are leased any more');
is($t->order({ tea => 1 })->{status}, 201, 'orders are still taken');
is($t->get('/drain')->{status}, 404,
   'the public listener has no such location');

$t->finish;
