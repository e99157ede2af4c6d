# Webhooks: who signed, when, and with which secret.

use Commerce::Test;
use Commerce::Test::Provider;

my $acme = Commerce::Test::Provider->new('acme');
my $t = Commerce::Test->new(workers => 2, directives => {
    commerce_payment_provider => [ 'test', $acme->directive ],
})->start;

$t->product('tea', price => 499, stock => 1000);

my @secrets = $acme->secret;


sub event {
    my $order = $t->order({ tea => 1 })->{json};

    return $acme->event('payment.succeeded', order_id => $order->{id},
        amount => 499, currency => 'USD');
}


sub state_of {
    return $t->sql('SELECT state FROM commerce.orders'
                   . " WHERE id = '$_[0]{data}{order_id}'");
}


sub refused {
    my ($response, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is_problem($response, 401, 'unauthenticated', $name)
        && ok($response->{headers}{'www-authenticate'}, 'WWW-Authenticate');
}


sub taken {
    my ($response, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(($response->{json} // {})->{status}, 'applied', $name)
        or diag($response->{body});
}


# what is no signature

my $event = event();
my $body = JSON::PP->new->utf8->canonical->encode($event);
my $now = time;
my $good = $acme->sign($body, $now);
my $bad = $acme->sign($body, $now, 'another secret');

for (
    [ undef, 'no header' ],
    [ '', 'an empty header' ],
    [ 'nonsense', 'nonsense' ],
    [ "v1=$good", 'no time' ],
    [ "t=$now", 'no v1' ],
    [ "t=,v1=$good", 'an empty time' ],
    [ "t=now,v1=$good", 'a time that is none' ],
    [ "t=-1,v1=$good", 'a time before all' ],
    [ 't=' . '9' x 30 . ",v1=$good", 'a time without end' ],
    [ "t=$now,t=$now,v1=$good", 'two times' ],
    [ "t=$now,v1=", 'an empty v1' ],
    [ "t=$now,v1=" . substr($good, 1), 'a short v1' ],
    [ "t=$now,v1=${good}00", 'a long v1' ],
    [ "t=$now,v1=" . 'z' x 64, 'a v1 that is no hex' ],
    [ "t=$now,v0=$good", 'another scheme' ],
    [ "t=$now,V1=$good", 'another case' ],
    [ "t=$now,v1=$bad", 'another secret' ],
    [ 't=' . ($now - 1) . ",v1=$good", 'another time' ],
    [ "t=0$now,v1=$good", 'another spelling of the time' ],
    [ "t=$now" . ",v1=$bad" x 17, 'more signatures than anybody has' ],
) {
    my ($signature, $name) = @$_;

    refused($acme->send($t, $event, signature => $signature), $name);
}

is_problem($t->post('/v1/webhooks/acme', $body,
           'Commerce-Signature' => [ ("t=$now,v1=$good") x 2 ]), 400,
           'bad_request', 'two headers');
refused($t->post('/v1/webhooks/acme', "$body ",
                 'Commerce-Signature' => "t=$now,v1=$good"),
        'a body that is longer by a blank');
refused($t->post('/v1/webhooks/acme', $body =~ s/499/498/r,
                 'Commerce-Signature' => "t=$now,v1=$good"),
        'another amount');
refused($t->post('/v1/webhooks/acme', '{',
                 'Commerce-Signature' => "t=$now,v1=$good"),
        'a body is not parsed before it is known whose it is');
refused($t->post('/v1/webhooks/acme', $body,
                 Authorization => 'Bearer ' . $t->api_key),
        'the staff\'s keys are no signature');

is(state_of($event), 'pending_payment', 'none of these paid');
is($t->sql('SELECT count(*) FROM commerce.webhook_event'), 0, 'or was kept');


# what is one

taken($t->post('/v1/webhooks/acme', $body,
               'Commerce-Signature' => "t=$now,v1=$good"),
      'no media type is asked for');
is(state_of($event), 'paid', 'paid');

$event = event();
my $spelled = qq( {"id" : "evt_spelled" ,\n "type":"payment.succ\\u0065eded",)
    . qq( "data":{ "order_id":"$event->{data}{order_id}",)
    . qq( "amount":499 , "currency":"USD" , "note":"\\u00e9 \xc3\xa9"} }\n);
taken($acme->send($t, $spelled), 'the bytes are signed, not what they mean');

for (
    [ sub { "v1=$_[0],t=$now" }, 'in another order' ],
    [ sub { "t=$now,v0=$_[0],v1=$_[0],x" }, 'beside other schemes' ],
    [ sub { "t=$now, v1=$_[0]" }, 'with a blank' ],
    [ sub { "t=$now,v1=" . uc $_[0] }, 'in capitals' ],
    [ sub { "t=$now,v1=$bad,v1=$_[0]" }, 'beside one of another secret' ],
    [ sub { "t=$now,v1=$_[0]" . ",v1=$bad" x 15 }, 'beside many' ],
) {
    my ($how, $name) = @$_;

    $event = event();
    $body = JSON::PP->new->utf8->canonical->encode($event);
    taken($acme->send($t, $event,
                      signature => $how->($acme->sign($body, $now))), $name);
}

# the whole body, however it comes
$event = event();
$body = JSON::PP->new->utf8->canonical->encode($event);
$good = $acme->sign($body, $now);
my $client = $t->client;
$client->send_raw("POST /v1/webhooks/acme HTTP/1.1\r\nHost: localhost\r\n"
    . "Commerce-Signature: t=$now,v1=$good\r\n"
    . "Transfer-Encoding: chunked\r\n\r\n");
$client->send_raw(sprintf "%x\r\n%s\r\n", length $_, $_)
    for $body =~ /(.{1,40})/gs;
$client->send_raw("0\r\n\r\n");
taken($client->read_response, 'in chunks');
$client->close;


# when

$event = event();
taken($acme->send($t, $event, at => time - 290), 'minutes ago');
$event = event();
taken($acme->send($t, $event, at => time + 290), 'a clock that is ahead');

$event = event();
refused($acme->send($t, $event, at => time - 302), 'a replay that is too late');
refused($acme->send($t, $event, at => time + 310), 'one from the future');
is(state_of($event), 'pending_payment', 'neither paid');
taken($acme->send($t, $event), 'signed anew it is taken');
is($acme->send($t, $event)->{json}{status}, 'duplicate',
   'a replay in time meets its row');


# which secret

my $old = $acme->secret;
push @secrets, $acme->rotate;
refused($acme->send($t, event()), 'a secret that is not known yet');

$t->configure(directives => { commerce_payment_provider =>
    [ 'test', $acme->directive ] });
$t->reload;
taken($acme->send($t, event()), 'after a reload the new secret');
taken($acme->send($t, event(), secret => $old), 'and still the old one');

$event = event();
$body = JSON::PP->new->utf8->canonical->encode($event);
taken($acme->send($t, $event, signature => "t=$now,v1="
          . $acme->sign($body, $now, $old) . ',v1='
          . $acme->sign($body, $now)), 'and both together');

$acme->forget;
$t->configure(directives => { commerce_payment_provider =>
    [ 'test', $acme->directive ] });
$t->reload(wait => 1);
taken($acme->send($t, event()), 'the old one is taken out');
refused($acme->send($t, event(), secret => $old), 'and is good no more');


# what is written down

is($t->sql('SELECT count(*) FROM commerce.webhook_event'
           . " WHERE state <> 'applied'"), 0, 'nothing else was kept');
ok($t->wait_for_log(qr/webhook of provider "acme" refused: no signature/),
   'refusals are logged');
is($t->metrics->{'commerce_requests_total{operation="webhook",'
                 . 'outcome="unauthenticated"}'} > 20 ? 1 : 0, 1,
   'and counted');
unlike($t->log . $t->access_log, qr/\Q$_\E/, 'the log has no secret')
    for @secrets;

is($t->sql('SELECT * FROM commerce.order_audit'), '',
   'orders, events and payments agree');

$t->finish;
