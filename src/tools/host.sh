# shellcheck shell=bash
# What start and test need from a Debian machine.  Sourced; the caller has
# set "program" (for messages) and "top" (the checkout).

die() { echo "$program: $*" >&2; exit 1; }
say() { echo "$program: $*"; }


# ---- packages

# "package file": any file of the package whose absence means that it is
# missing; a pattern may match one of several versions
build_packages='nginx /usr/sbin/nginx
nginx-dev /usr/share/nginx/src/configure
gcc /usr/bin/gcc
make /usr/bin/make
pkgconf /usr/bin/pkg-config
libc6-dev /usr/include/stdio.h
libpq-dev /usr/include/postgresql/libpq-fe.h
libyajl-dev /usr/include/yajl/yajl_version.h
libssl-dev /usr/include/openssl/evp.h
libcrypt-dev /usr/include/crypt.h
libpcre2-dev /usr/include/pcre2.h
zlib1g-dev /usr/include/zlib.h
postgresql-client /usr/lib/postgresql/*/bin/psql'
server_packages='postgresql /usr/lib/postgresql/*/bin/initdb'
start_packages='curl /usr/bin/curl'
test_packages='perl /usr/bin/prove
procps /usr/bin/ps'


# install_missing LIST...: installs what is missing, and only then needs root
# and the network.
install_missing() {
    local missing=() package file found root=

    while read -r package file; do
        found=
        for file in $file; do
            [ ! -e "$file" ] || found=1
        done
        [ -n "$found" ] || missing+=("$package")
    done < <(printf '%s\n' "$@")

    [ ${#missing[@]} -gt 0 ] || return 0

    command -v apt-get >/dev/null \
        || die "needs these Debian packages: ${missing[*]}"

    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null \
            || die "no right to install ${missing[*]}:" \
                   "run apt-get install ${missing[*]} as root first"
        root=sudo
    fi

    say "installing ${missing[*]}"

    # shellcheck disable=SC2016
    $root env DEBIAN_FRONTEND=noninteractive bash -c '
        set -e
        log=$(mktemp)

        # the packages bring services along: keep them from being started
        if [ ! -e /usr/sbin/policy-rc.d ]; then
            printf "#!/bin/sh\nexit 101\n" > /usr/sbin/policy-rc.d
            chmod +x /usr/sbin/policy-rc.d
            trap "rm -f /usr/sbin/policy-rc.d \$log" EXIT
        else
            trap "rm -f \$log" EXIT
        fi

        get() { apt-get -o Acquire::Retries=3 "$@"; }

        { get update && get install -y --no-install-recommends "$@"; } \
            > "$log" 2>&1 < /dev/null || { tail -n 15 "$log" >&2; exit 1; }
    ' bash "${missing[@]}" \
        || die "cannot install ${missing[*]}"
}


# ---- users

is_root() { [ "$(id -u)" -eq 0 ]; }

# PostgreSQL refuses to run as root: the package's user runs it then.
as_postgres() {
    if is_root; then
        (cd / && setpriv --reuid=postgres --regid=postgres --init-groups \
                         -- "$@")
    else
        (cd / && "$@")
    fi
}

# can_enter USER DIR
can_enter() {
    is_root || return 0
    setpriv --reuid="$1" --regid="$(id -g "$1")" --init-groups \
        -- test -x "$2"
}


# ---- processes and ports

postgres_bin() {
    local dir

    dir=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [ -x "$dir" ] || die "PostgreSQL is not installed"
    echo "${dir%/initdb}"
}

# port_is_free PORT: prints why it is not
port_is_free() {
    perl -MSocket -e '
        socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
        setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
        bind($s, pack_sockaddr_in($ARGV[0], INADDR_LOOPBACK))
            && listen($s, 1) or do { print "$!\n"; exit 1 };
    ' "$1"
}

# t/lib draws above: it may look at a port just when this is doing so
free_port() {
    local port

    for _ in $(seq 200); do
        port=$((10000 + RANDOM % 2000))
        if port_is_free "$port" > /dev/null; then
            echo "$port"
            return
        fi
    done

    die "no free port"
}

# runs PID WORD: whether it is that process (and not another with its number)
runs() {
    [ -n "$1" ] && [ -r "/proc/$1/cmdline" ] \
        && tr '\0' ' ' < "/proc/$1/cmdline" 2>/dev/null | grep -qF -- "$2"
}

# wait_for SECONDS COMMAND...
wait_for() {
    local i=$(($1 * 20))

    shift
    while ! "$@"; do
        [ $((i--)) -gt 0 ] || return 1
        sleep 0.05
    done
}

# What stays in the background shall hold nothing of ours: no pipe of a caller
# that waits for its end.  For a subshell, before it starts a server.
close_descriptors() {
    local fd

    for fd in /proc/self/fd/*; do
        fd=${fd##*/}
        [ "$fd" -le 2 ] || [ "$fd" -eq 255 ] || eval "exec $fd>&-"
    done 2>/dev/null
}

random_hex() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
