#!/usr/bin/env perl

# Unit and property tests of what an order costs: plain C, compiled here with
# the sanitizers.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/unit";
use Build;

my $root = Build::root();

Build::run(Build::program("unit_price", [],
                          ["$root/t/unit/unit.c", "$root/t/unit/unit_price.c",
                           glob("$root/src/core/*.c")]));
