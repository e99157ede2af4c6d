# Rules of the source that no compiler checks.

use strict;
use warnings;

use File::Basename qw(basename dirname);
use File::Find ();
use Test::More;

my $top = dirname(__FILE__) . '/..';

chdir $top or die "$top: $!\n";


sub slurp {
    my ($path) = @_;

    open my $in, '<:raw', $path or return '';
    local $/;

    return scalar(<$in>) // '';
}


# Comments and strings out, lines kept: what is left is code.
sub code {
    my ($text) = @_;

    $text =~ s{
        (/\*.*?\*/ | //[^\n]*) | ("(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
    }{ defined $1 ? $1 =~ s/[^\n]//gr : '""' }gesx;

    return $text;
}


sub none {
    my ($name, @found) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(scalar @found, 0, $name) or diag(join "\n", @found);
}


my @sources = sort glob 'src/*/*.[ch]';
my %text = map { $_ => slurp($_) } @sources;
my %code = map { $_ => code($text{$_}) } @sources;
my @tests = sort glob('t/*.t'), glob('t/*/*.[ch]'), glob('t/lib/*/*.pm'),
    glob('t/lib/*/*/*.pm'), glob('t/unit/*.pm'), glob('t/bench/*.pm');
my @programs = grep { -f } qw(start test config), glob('src/tools/*'),
    glob('.ci/*'), glob('docker/*'), glob('t/*/run');

ok(@sources > 20, 'there are sources');


# layers: a room includes only what lies below it

my %below = (
    core => [],
    json => [ qw(core) ],
    shm => [ qw(json core) ],
    pg => [ qw(json core) ],
    auth => [ qw(json core) ],
    trade => [ qw(shm pg auth json core) ],
    http => [ qw(trade shm pg auth json core) ],
    tools => [],
);

my %room_of = map { (basename($_) => basename(dirname($_))) } @sources;
my (@layers, @unknown, @foreign);

for my $file (@sources) {
    my $room = basename(dirname($file));
    my $allowed = $below{$room} or do { push @unknown, $file; next };
    my %may = map { $_ => 1 } $room, @$allowed;

    for my $include ($text{$file} =~ /^\s*#\s*include\s*[<"]([^">]+)[">]/mg) {
        my $target = $room_of{ basename($include) };

        push @layers, "$file includes $include of $target/"
            if $target && !$may{$target};
        push @foreign, "$file includes $include"
            if $include =~ m{^(?:ngx_(?!commerce|http_commerce)|ngx_http\.h)}
            && $room =~ /^(?:core|json)$/;
        push @foreign, "$file includes $include"
            if $include =~ m{^libpq} && $room !~ /^(?:pg|trade|tools)$/;
        push @foreign, "$file includes $include"
            if $include =~ m{^yajl} && $room ne 'json';
        push @foreign, "$file includes $include"
            if $include =~ m{^ngx_http\.h} && $room ne 'http';
        push @foreign, "$file includes $include"
            if $include =~ m{^openssl} && $room !~ /^(?:auth|tools)$/;
    }
}

none('every room is known', @unknown);
none('includes point only downward', @layers);
none('libraries are used in the rooms they belong to', @foreign);

my %names;
$names{ basename($_) }++ for @sources;
none('file names are unique', grep { $names{$_} > 1 } sort keys %names);

my @prefix;
for (@sources) {
    my ($room, $name) = (basename(dirname($_)), basename($_));
    my $expected = $room =~ /^(?:core|json|tools)$/ ? qr/^commerce[_-]/
        : $room eq 'http' ? qr/^ngx_http_commerce/ : qr/^ngx_commerce_/;

    push @prefix, $_ unless $name =~ $expected;
}
none('prefixes tell the layer', @prefix);


# calls that block, overflow or end the process

my @rules = (
    [ qr/\bPQ(?:exec|execParams|execPrepared|prepare|connectdb|
         connectdbParams|setdb|setdbLogin|reset|ping|pingParams|
         getCopyData|describePrepared|fn)\b/x,
      qr{^src/tools/}, 'no blocking libpq call' ],
    [ qr/\bPQgetResult\b/, qr{^src/(?:tools/|pg/)}, 'PQgetResult in pg/ only' ],
    [ qr/\b(?:strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca|system|
         popen|atoi|atol)\s*\(/x, qr/^$/, 'no unbounded or unchecked call' ],
    [ qr/\bassert\s*\(/, qr/^$/, 'no assert()' ],
    [ qr/\b(?:malloc|calloc|realloc|strdup|free)\s*\(/,
      qr{^src/(?:json|tools)/}, 'no malloc() outside json/' ],
    [ qr/\bngx_slab_/, qr{^src/shm/}, 'the slab in shm/ only' ],
    [ qr/\b(?:sleep|usleep|nanosleep|ngx_sleep|ngx_msleep)\s*\(/,
      qr{^src/tools/}, 'nothing sleeps' ],
    [ qr/\b(?:gethostbyname|getaddrinfo)\s*\(/, qr{^src/(?:tools|pg)/},
      'no synchronous DNS' ],
    [ qr/\b(?:abort|exit|_exit)\s*\(/, qr{^src/tools/},
      'nothing ends the process' ],
    [ qr/\b(?:TODO|FIXME|HACK)\b/, qr/^$/, 'nothing is left to do', 1 ],
);

for my $rule (@rules) {
    my ($pattern, $except, $name, $comments) = @$rule;
    my @found;

    for my $file (grep { $_ !~ $except } @sources) {
        my $n = 0;

        for my $line (split /\n/, ($comments ? \%text : \%code)->{$file}) {
            $n++;
            push @found, "$file:$n: $line" if $line =~ $pattern;
        }
    }

    none($name, @found);
}


# config: nginx's configure gets the files by name, so that an old object of a
# file that has gone, or a file that nobody meant, is never linked

my $config = slurp('config');
my @listed = $config =~ m{\$ngx_addon_dir/(src/\w+/[\w.]+\.[ch])\b}g;
my %listed = map { $_ => 1 } @listed;
my %built = map { $_ => 1 } grep { !m{^src/tools/} } @sources;

none('config has every file of the rooms', grep { !$listed{$_} }
     sort keys %built);
none('config has no other file', grep { !$built{$_} } sort keys %listed);

my @sorted = map { my $room = $_;
    (grep({ m{^src/$room/.*h$} } @sources),
     grep({ m{^src/$room/.*c$} } @sources))
} qw(core json shm pg auth trade http);

@sorted = grep { $listed{$_} } @sorted;
my ($wrong) = grep { $listed[$_] ne ($sorted[$_] // '') } 0 .. $#listed;
none('config is sorted, room by room', defined $wrong ? $listed[$wrong] : ());


# form

my (@long, @spaces, @tabs, @ends, @huge, @paths);

for my $file (@sources, @tests, @programs, glob('src/sql/*.sql'),
              'nginx.conf.example')
{
    my $text = $text{$file} // slurp($file);

    next if $text eq '';

    my $n = 0;

    for my $line (split /\n/, $text, -1) {
        my $wide = $line;

        $n++;
        utf8::decode($wide);
        push @long, "$file:$n: " . length $wide
            if length $wide > 80 && $file =~ /\.(?:[cht]|pm|sql)$/;
        push @spaces, "$file:$n" if $line =~ /[ \t\r]$/;
        push @tabs, "$file:$n"
            if $line =~ /\t/ && $file =~ /\.(?:[cht]|pm|sql)$/;
        push @paths, "$file:$n: $line"
            if $line =~ m{/(?:wo[r]k|tmp/n[c])/|/home/\w};
    }

    push @ends, $file if $text !~ /[^\n]\n\z/;

    # the cases of one unit stay together, as long as they can be run alone
    push @huge, "$file: $n lines"
        if $n > ($file =~ m{^t/unit/.*\.c$} ? 1301 : 701);
}

none('80 columns', @long);
none('no space at the end of a line', @spaces);
none('no tabs', @tabs);
none('files end with one newline', @ends);
none('no file is too long', @huge);
none('no path of one machine', @paths);

my @gaps;
for my $file (grep { /\.c$/ } @sources) {
    my @lines = split /\n/, $text{$file};

    # "}" at the start of a line ends a function: two empty lines follow
    for my $i (0 .. $#lines - 3) {
        next unless $lines[$i] eq '}';
        push @gaps, "$file:" . ($i + 1)
            unless $lines[$i + 1] eq '' && ($lines[$i + 2] =~ /^#/
                || ($lines[$i + 2] eq '' && $lines[$i + 3] ne ''));
    }
}
none('two empty lines between functions', @gaps);


# directives: example, manual, tests

my ($commands) = grep { /\bngx_null_command\b/ } values %text;
my %seen;
my @directives = grep { !$seen{$_}++ }
    (($commands // '') =~ /\bngx_command_t\b.*?ngx_null_command/s
     ? $& =~ /"(commerce(?:_[a-z_]+)?)"/g : ());

ok(@directives > 15, scalar(@directives) . ' directives');

my $example = slurp('nginx.conf.example');
my $docs = join '', map { slurp($_) } glob('docs/*.md'), 'README.md';
my $tested = join '', map { slurp($_) } glob('t/10-*.t'), glob('t/30-*.t');

for (
    [ 'nginx.conf.example', $example ], [ 'docs/', $docs ],
    [ 't/10-*.t or t/30-*.t', $tested ],
) {
    my ($where, $text) = @$_;

    none("$where has every directive",
         grep { $text !~ /\b$_\b(?!_)/ } @directives);
}

none('nginx.conf.example has no directive that is none',
     grep { !$seen{$_} } $example =~ /^\s*#?\s*(commerce(?:_[a-z_]+)?)\s/mg);

my ($variables) = map { $text{$_} } grep { /_variables\.c$/ } @sources;
my @variables = ($variables // '') =~ /ngx_string\("(commerce_[a-z_]+)"\)/g;
ok(@variables >= 5, scalar(@variables) . ' variables');
none('docs/ has every variable', grep { $docs !~ /\$$_\b/ } @variables);


# routes

my ($routes) = map { $text{$_} } grep { /_routes\.c$/ } @sources;
my @routes;

while (($routes // '') =~ /\{\s*NGX_HTTP_(GET|POST|PUT|PATCH|DELETE),\s*
       NGX_HTTP_COMMERCE_\w+,\s*ngx_string\("([^"]+)"\),\s*
       (?:ngx_string\("([^"]+)"\)|ngx_null_string),\s*([^,]+),/gx)
{
    my ($method, $prefix, $suffix, $flags) = ($1, $2, $3 // '', $4);

    push @routes, [ $method, $prefix, $suffix, $flags =~ /_ID/ ? 1 : 0,
                    $flags =~ /_SUB/ ? 1 : 0 ];
}

ok(@routes >= 15, scalar(@routes) . ' routes');

my $api = slurp('docs/api.md');
my @missing;

for (@routes) {
    my ($method, $prefix, $suffix, $id, $sub) = @$_;
    my $name = '\{[^}]+\}';
    my $pattern = quotemeta($prefix) . ($id ? $name : '')
        . quotemeta($suffix) . ($sub ? $name : '') . '(?![\w/{])';

    push @missing, "$method $prefix" . ($id ? '{id}' : '') . $suffix
        unless $api =~ /\b$method\b[^\n]*$pattern/;
}

none('docs/api.md has every route', @missing);

my @codes = $text{'src/core/commerce_problem.c'}
    =~ /\{ "([a-z_]+)", \d{3},/g;
my %codes = map { $_ => 1 } @codes;
ok(@codes > 15, scalar(@codes) . ' problem codes');
none('docs/api.md has every problem code', grep { $api !~ /`$_`/ }
     sort keys %codes);

my ($metrics) = map { $text{$_} } grep { /_metrics\.c$/ } @sources;
my %metric = map { $_ => 1 }
    ($metrics // '') =~ /\b(commerce_[a-z_]+(?:_total|_seconds|_units))\b/g;
none('docs/ has every metric', grep { $docs !~ /\b$_\b/ } sort keys %metric);


# links

my @dead;

for my $file (glob('*.md'), glob('docs/*.md')) {
    my $dir = dirname($file);

    for my $link (slurp($file) =~ /\]\(([^)#\s]+)(?:#[^)]*)?\)/g) {
        next if $link =~ /^[a-z]+:/;
        push @dead, "$file: $link" unless -e "$dir/$link";
    }
}

none('links lead somewhere', @dead);

done_testing;
