#!/usr/bin/env perl

# Replays the corpus of each fuzz target, built with the sanitizers.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/unit";
use Build;

my $root = Build::root();

my $target = Build::program("fuzz_json_reader", ["-DREPLAY_MAIN"],
                            ["$root/t/fuzz/json_reader.c",
                             "$root/t/fuzz/json_grammar.c",
                             glob("$root/src/core/*.c $root/src/json/*.c")],
                            Build::yajl());

chdir $root or die "$root: $!";

my @corpus = sort glob("t/fuzz/corpus/json/*");

if (@corpus < 30) {
    print "Bail out!  the corpus of the JSON reader is not there\n";
    exit 1;
}

Build::run($target, @corpus);
