package Commerce::Test::Host;

# What every test module needs from the machine: paths of the build, free
# ports, processes, polling.

use strict;
use warnings;

use Cwd ();
use Exporter 'import';
use File::Basename ();
use File::Temp ();
use IO::Socket::IP;
use POSIX ();
use Socket qw(SOCK_DGRAM SOCK_STREAM);
use Time::HiRes ();

our @EXPORT_OK = qw(
    top build_dir tool sanitized as_root free_port temp_dir remove_tree
    slurp spew run_command spawn user_command wait_until alive random_hex
);

my (@port_locks, $main_pid);

$main_pid = $$;


sub top {
    return Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../../../..');
}


sub sanitized {
    my $value = $ENV{SANITIZE} // '';

    return $value ne '' && $value ne '0';
}


# Where the module under test lies: COMMERCE_BUILD, build/ or build/asan/.
sub build_dir {
    return $ENV{COMMERCE_BUILD} if $ENV{COMMERCE_BUILD};

    return top() . '/build' . (sanitized() ? '/asan' : '');
}


sub tool {
    my ($name) = @_;

    my $path = build_dir() . "/bin/$name";

    die "$path is not built: run ./test or src/tools/build\n" unless -x $path;

    return $path;
}


sub as_root {
    return $> == 0;
}


# A port below the ephemeral range and above what src/tools/host.sh draws from;
# a UDP socket on the same number, held until the process ends, keeps other test
# files away from it.
sub free_port {
    for (1 .. 500) {
        my $port = 12_000 + int(rand(18_000));

        my $lock = IO::Socket::IP->new(
            LocalHost => '127.0.0.1', LocalPort => $port, Type => SOCK_DGRAM,
        ) or next;

        my $probe = IO::Socket::IP->new(
            LocalHost => '127.0.0.1', LocalPort => $port,
            Type => SOCK_STREAM, Listen => 1, ReuseAddr => 1,
        ) or next;

        close $probe;
        push @port_locks, $lock;

        return $port;
    }

    die "no free port\n";
}


# A directory that workers and the database's user can enter.
sub temp_dir {
    my ($name) = @_;

    my $dir = File::Temp::tempdir("commerce-$name-XXXXXX", TMPDIR => 1);

    chmod 0755, $dir;

    return $dir;
}


sub remove_tree {
    my ($dir) = @_;

    return if !defined $dir || !-e $dir;
    return if $ENV{COMMERCE_TEST_KEEP};

    system 'rm', '-rf', '--', $dir;
}


sub slurp {
    my ($path) = @_;

    open my $in, '<:raw', $path or return '';
    local $/;

    return scalar(<$in>) // '';
}


sub spew {
    my ($path, $text, $mode) = @_;

    open my $out, '>:raw', $path or die "cannot write $path: $!\n";
    print {$out} $text;
    close $out or die "cannot write $path: $!\n";
    chmod $mode, $path if defined $mode;

    return $path;
}


# Runs a program without a shell: (exit code, stdout and stderr together).
sub run_command {
    my (@command) = @_;

    pipe my $reader, my $writer or die "pipe: $!";

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>&', $writer;
        open STDERR, '>&', $writer;
        close $reader;
        { no warnings; exec { $command[0] } @command; }
        print STDERR "cannot run $command[0]: $!\n";
        POSIX::_exit(127);
    }

    close $writer;
    my $output = do { local $/; <$reader> };
    waitpid $pid, 0;

    return ($? & 127 ? 128 + ($? & 127) : $? >> 8, $output // '');
}


# Starts a program in a session of its own with its output in a file.
sub spawn {
    my ($log, %env) = (shift, %{ shift() });
    my @command = @_;

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        POSIX::setsid();
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', $log;
        open STDERR, '>>', $log;
        POSIX::close($_) for 3 .. 255;
        $ENV{$_} = $env{$_} for keys %env;
        { no warnings; exec { $command[0] } @command; }
        POSIX::_exit(127);
    }

    return $pid;
}


# PostgreSQL refuses root: its programs run as the package's user then.
sub user_command {
    my (@command) = @_;

    return @command unless as_root();

    return ('setpriv', '--reuid=postgres', '--regid=postgres',
            '--init-groups', '--', @command);
}


# Calls the code until it is true or the seconds (30) are over.
sub wait_until (&;$) {
    my ($code, $timeout) = @_;

    my $deadline = Time::HiRes::time() + slower($timeout // 30);
    my $pause = 0.005;

    for ( ;; ) {
        my $value = $code->();

        return $value if $value;
        return $value if Time::HiRes::time() >= $deadline;

        Time::HiRes::sleep($pause);
        $pause *= 1.5 if $pause < 0.1;
    }
}


sub slower {
    my ($seconds) = @_;

    return $seconds * (sanitized() ? 3 : 1);
}


sub alive {
    my ($pid) = @_;

    return 0 unless $pid && -e "/proc/$pid/stat";

    # a zombie is dead
    return slurp("/proc/$pid/stat") !~ /\) Z /;
}


sub random_hex {
    my ($bytes) = @_;

    open my $in, '<:raw', '/dev/urandom' or die "no random bytes: $!\n";
    read($in, my $random, $bytes) == $bytes or die "no random bytes\n";

    return unpack 'H*', $random;
}


# A test that is interrupted shall clean up too.
$SIG{$_} = sub { exit 130 } for qw(INT TERM HUP);
$SIG{PIPE} = 'IGNORE';

sub is_main_process { return $$ == $main_pid }


1;
