#!/usr/bin/env perl

# Unit tests of src/core: plain C, compiled here with the sanitizers.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/unit";
use Build;

my $root = Build::root();

Build::run(Build::program("unit_core", [],
                          ["$root/t/unit/unit.c", "$root/t/unit/unit_core.c",
                           glob("$root/src/core/*.c")]));
