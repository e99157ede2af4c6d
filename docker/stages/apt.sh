# shellcheck shell=dash
# apt in a stage.  Sourced.  /stages/apt.d may hold what is needed behind a
# proxy or a mirror: *.conf for apt, *.sources and *.list instead of the base's
# sources, *.gpg, *.asc, *.crt that those name by /stages/apt.d/...

export DEBIAN_FRONTEND=noninteractive

apt_begin() {
    local file

    for file in /stages/apt.d/*.conf; do
        [ ! -f "$file" ] || cp "$file" "/etc/apt/apt.conf.d/99-${file##*/}"
    done

    # an image starts no services, so its packages shall not either
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        touch /stages/.policy
    fi

    apt_get update
}

# With sources of our own in place of the base's, which stay as they are.
apt_get() {
    local file own=

    for file in /stages/apt.d/*.sources /stages/apt.d/*.list; do
        [ ! -f "$file" ] || own=1
    done

    if [ -n "$own" ]; then
        mkdir -p /stages/sources
        for file in /stages/apt.d/*.sources /stages/apt.d/*.list; do
            [ ! -f "$file" ] || cp "$file" /stages/sources/
        done
        set -- -o Dir::Etc::SourceList=/dev/null \
               -o Dir::Etc::SourceParts=/stages/sources "$@"
    fi

    apt-get -o Acquire::Retries=3 "$@"
}

apt_install() {
    apt_get install -y --no-install-recommends "$@"
}

apt_end() {
    local file

    for file in /stages/apt.d/*.conf; do
        rm -f "/etc/apt/apt.conf.d/99-${file##*/}"
    done

    [ ! -e /stages/.policy ] || rm -f /usr/sbin/policy-rc.d
    rm -rf /var/lib/apt/lists/* /stages
}
