#!/usr/bin/env perl

# The tables of shared memory with threads as workers, once with the
# sanitizers that find bad memory use, once with the one that finds races.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/unit";
use Build;

my $root = Build::root();
my $tests = 0;
my $failed = 0;

my @flags = ("-std=gnu11", "-pthread", "-I$root/t/unit/fake_nginx",
             "-I$root/src/shm", "-I$root/src/core");
my @sources = ("$root/t/unit/stock_pool.c",
               "$root/t/unit/fake_nginx/fake_nginx.c",
               glob("$root/src/shm/*.c"));

$| = 1;

report("memory", Build::program("stock_pool", \@flags, \@sources));
report("races", races(), "threads");

print "1..$tests\n";
exit($failed ? 1 : 0);


# The same program for the race finder; undef where that does not work.

sub races {
    my $program = Build::directory() . "/stock_races";

    open(my $probe, ">", "$program.c") or die "$program.c: $!";
    print $probe "int main(void) { return 0; }\n";
    close $probe;

    my @command = (Build::compiler(), "-fsanitize=thread", "-g", "-O1");

    my ($built) = Build::output(@command, "-o", $program, "$program.c");
    my ($ran) = $built ? Build::output($program) : 0;

    return undef unless $ran;

    my ($good, $text) = Build::output(@command, @flags, "-o", $program,
                                      @sources);
    return $program if $good;

    $text =~ s/^/# /mg;
    print "Bail out!  stock_races does not compile\n$text";
    exit 1;
}


# Passes a program's TAP on under running numbers; its end is a test too.

sub report {
    my ($name, @command) = @_;

    if (!defined $command[0]) {
        $tests++;
        print "ok $tests - $name # SKIP the compiler has no such sanitizer\n";
        return;
    }

    my ($good, $text) = Build::output(@command);

    for my $line (split /\n/, $text) {
        next if $line =~ /^1\.\.\d+$/;

        if ($line =~ /^(not )?ok \d+ - (.*)/) {
            $tests++;
            $failed++ if $1;
            print $1 || "", "ok $tests - $name: $2\n";
            next;
        }

        print "# $line\n";
    }

    $tests++;
    $failed++ unless $good;
    print $good ? "" : "not ", "ok $tests - $name: the program ends well\n";
}
