#!/usr/bin/env perl

# Unit tests of src/json: plain C and yajl, compiled here with the sanitizers.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/unit";
use Build;

my $root = Build::root();

Build::run(Build::program("unit_json", [],
                          [map({ "$root/t/unit/unit$_.c" }
                               "", qw(_json _reader _limits _bind _writer)),
                           glob("$root/src/core/*.c $root/src/json/*.c")],
                          Build::yajl()));
