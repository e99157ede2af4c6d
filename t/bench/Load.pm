package Load;

=head1 NAME

Load - builds and runs the load generator

=head1 SYNOPSIS

    my $load = Load->new(port => 8080);      # compiles it once per process
    my $r = $load->run('order', c => 64, t => 5, skus => $file, log => $log);

    $r->{rate}, $r->{status}{201}, $r->{problems}{out_of_stock}, ...

Options are those of load.c: one letter gives -c, a word --word; a value of
true (\1) an option without a value.  Dies when the generator could not run.

=cut

use strict;
use warnings;

use File::Basename ();
use File::Temp ();
use JSON::PP ();
use Text::ParseWords ();

use Commerce::Test::Host qw(run_command temp_dir remove_tree slurp);

my ($dir, $program);


sub program {
    return $program if $program;

    my $here = File::Basename::dirname(__FILE__);

    $dir = temp_dir('load');

    my ($rc, $output) = run_command(
        Text::ParseWords::shellwords($ENV{CC} || 'cc'), '-std=gnu11', '-O2',
        '-Wall', '-Wextra', '-Werror', '-o', "$dir/load",
        sort glob "$here/load*.c");

    die "load does not compile:\n$output" if $rc;

    return $program = "$dir/load";
}


sub new {
    my ($class, %self) = @_;

    program();

    return bless { host => '127.0.0.1', %self }, $class;
}


sub run {
    my ($self, $mode, %options) = @_;

    my @options;

    for my $name (sort keys %options) {
        my $value = $options{$name};

        next unless defined $value;

        push @options, (length $name == 1 ? '-' : '--') . $name,
                       ref $value ? () : $value;
    }

    my ($rc, $output) = run_command(
        program(), '--mode', $mode, @options, "$self->{host}:$self->{port}");

    my ($said, $json) = $output =~ /\A(.*?)^(\{"connections".*)\z/ms;

    die "load $mode: $output\n" if !defined $json || $rc > 1;

    my $result = JSON::PP::decode_json($json);

    $result->{said} = $said;
    $result->{code} = $rc;

    return $result;
}


END {
    if ($dir && Commerce::Test::Host::is_main_process()) {
        local $?;
        remove_tree($dir);
    }
}


1;
