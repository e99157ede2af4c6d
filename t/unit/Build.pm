package Build;

# Compiles plain C programs of the tests and passes their TAP through.

use strict;
use warnings;

use Cwd ();
use File::Basename ();
use File::Temp ();
use Text::ParseWords ();

my $root = Cwd::abs_path(File::Basename::dirname(__FILE__) . "/../..");
my $dir = File::Temp::tempdir(CLEANUP => 1);

sub root { return $root }
sub directory { return $dir }


sub compiler {
    return Text::ParseWords::shellwords($ENV{CC} || "cc");
}


sub output {
    my (@command) = @_;

    open(my $out, "-|", "sh", "-c", 'exec "$@" 2>&1', "sh", @command)
        or die "$command[0]: $!";
    local $/;
    my $text = <$out>;
    close $out;

    return ($? == 0, defined $text ? $text : "");
}


# The flags of the compiler that find bad memory use, where it has them.

my $sanitizers;

sub sanitizers {
    return @$sanitizers if $sanitizers;

    my @flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                 "-fno-omit-frame-pointer");

    open(my $probe, ">", "$dir/probe.c") or die "probe.c: $!";
    print $probe "int main(void) { return 0; }\n";
    close $probe;

    my ($built) = output(compiler(), @flags, "-o", "$dir/probe",
                         "$dir/probe.c");
    my ($ran) = $built ? output("$dir/probe") : 0;

    $sanitizers = $ran ? \@flags : [];
    print "# no sanitizers: ", join(" ", compiler()), "\n" unless $ran;

    return @$sanitizers;
}


sub yajl {
    my ($good, $text) = output("sh", "-c",
                               "pkg-config --cflags --libs yajl 2>/dev/null");

    return $good ? Text::ParseWords::shellwords($text) : ("-lyajl");
}


# Returns the program's path; dies with what the compiler said.

sub program {
    my ($name, $flags, $sources, @libraries) = @_;

    my ($good, $text) = output(compiler(), qw(-std=c11 -Wall -Wextra -Werror
                                              -g -O1),
                               sanitizers(), @$flags,
                               "-I$root/src/core", "-I$root/src/json",
                               "-I$root/t/unit", "-o", "$dir/$name",
                               @$sources, @libraries);

    return "$dir/$name" if $good;

    $text =~ s/^/# /mg;
    print "Bail out!  $name does not compile\n$text";
    exit 1;
}


# Runs it and ends as it ended: a sanitizer's report fails the test.

sub run {
    my (@command) = @_;

    local $| = 1;
    system(@command);

    my $code = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    exit $code;
}


1;
