package Commerce::Test::Provider;

=head1 NAME

Commerce::Test::Provider - a payment provider that signs its webhooks

=head1 SYNOPSIS

    my $acme = Commerce::Test::Provider->new('acme');
    my $t = Commerce::Test->new(directives => {
        commerce_payment_provider => [ 'test', $acme->directive ],
    })->start;

    my $event = $acme->event('payment.succeeded', order_id => $id,
        amount => 998, currency => 'USD');      # with an id of its own
    my $r = $acme->send($t, $event);            # a Commerce::Test or its nginx
    $acme->send($t, $event, at => time - 400);  # when it was signed
    $acme->send($t, $event, secret => 'other');
    $acme->send($t, $event, signature => 't=1'); undef: without the header
    $acme->send($t, 'bytes');                   # a body as it is

    my $request = $acme->request($event);       # for race()
    my $new = $acme->rotate;                    # one more secret: signs from
    $acme->forget;                              # now on; the old ones go
    $acme->secrets                              # files, the newest first

=cut

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use JSON::PP ();

use Commerce::Test::Host qw(temp_dir remove_tree spew random_hex);

my $json = JSON::PP->new->utf8->canonical;


sub new {
    my ($class, $name) = @_;

    my $self = bless {
        name => $name, dir => temp_dir('provider'), secrets => [], n => 0,
    }, $class;

    $self->rotate;

    return $self;
}


sub name { return $_[0]{name} }
sub secret { return $_[0]{secrets}[0] }


sub rotate {
    my ($self) = @_;

    my $secret = 'whsec_' . random_hex(16);

    unshift @{ $self->{secrets} }, $secret;
    spew("$self->{dir}/$secret", "$secret\n", 0600);

    return $secret;
}


sub forget {
    my ($self) = @_;

    splice @{ $self->{secrets} }, 1;
}


sub directive {
    my ($self) = @_;

    return join ' ', $self->{name},
        map { "secret_file=$self->{dir}/$_" } @{ $self->{secrets} };
}


sub event {
    my ($self, $type, %data) = @_;

    $data{amount} += 0 if defined $data{amount};

    return {
        id => 'evt_' . ++$self->{n} . '_' . random_hex(8), type => $type,
        created => time, data => \%data,
    };
}


sub sign {
    my ($self, $body, $at, $secret) = @_;

    return hmac_sha256_hex("$at.$body", $secret // $self->secret);
}


# method, path, body, headers
sub request {
    my ($self, $event, %how) = @_;

    my $body = ref $event ? $json->encode($event) : $event;
    my $at = $how{at} // time;
    my $signature = exists $how{signature} ? $how{signature}
        : "t=$at,v1=" . $self->sign($body, $at, $how{secret});

    return [ 'POST', '/v1/webhooks/' . ($how{name} // $self->{name}), $body,
             'Content-Type' => 'application/json',
             'Commerce-Signature' => $signature ];
}


sub send {
    my ($self, $nginx, $event, %how) = @_;

    return $nginx->request(@{ $self->request($event, %how) });
}


sub DESTROY { remove_tree($_[0]{dir}) if $_[0]{dir} }


1;
