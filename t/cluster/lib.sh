# What the parts of t/cluster/run share. Sourced, not run.

n=0
failures=0

note() { printf '# %s\n' "$*"; }

# check NAME COMMAND...: one line, as TAP has it
check() {
    local name=$1 output

    shift
    n=$((n + 1))

    if output=$("$@" 2>&1); then
        printf 'ok %d - %s\n' "$n" "$name"
        return 0
    fi

    printf 'not ok %d - %s\n' "$n" "$name"
    printf '%s\n' "$output" | tail -n 40 | sed 's/^/#   /'
    failures=$((failures + 1))
    return 1
}

# until_true SECONDS COMMAND...: polls
until_true() {
    local end=$((SECONDS + $1))

    shift
    while ! "$@" > /dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { "$@"; return; }
        sleep 0.5
    done
}

# three_tries COMMAND...: for what needs the network
three_tries() {
    "$@" || { sleep 2; "$@"; } || { sleep 5; "$@"; }
}

is() {
    [ "$1" = "$2" ] || { printf 'got "%s", expected "%s"\n' "$1" "$2"; return 1; }
}

# kubectl and helm, again where the way to the API server breaks. Both say so on
# stderr; what they print before that is dropped.
kubectl() { api_call kubectl "$@"; }
helm() { api_call helm "$@"; }

api_call() {
    local one try rc=0 input=/dev/null said

    said=$(mktemp -d "$work/call-XXXXXX")
    for one; do
        if [ "$one" = - ]; then
            input=$said/in
            cat > "$input"
        fi
    done

    for try in 1 2 3; do
        rc=0
        command "$@" < "$input" > "$said/out" 2> "$said/err" || rc=$?
        [ "$rc" -ne 0 ] && the_way_broke "$said/err" || break
        sleep "$((try * 2))"
    done

    cat "$said/out"
    cat "$said/err" >&2
    rm -rf "$said"
    return "$rc"
}

the_way_broke() {
    grep -qE 'connection (refused|reset|lost)|i/o timeout|TLS handshake|'\
'etcdserver|unexpected EOF|[Uu]nable to connect|http2: |'\
'request did not complete within|try again later' "$1"
}

k() { kubectl -n "$namespace" "$@"; }

# A namespace of the test's own, where only restricted pods are admitted.
new_namespace() {
    namespace=commerce-test-$$-$1
    namespaces+=("$namespace")
    kubectl create namespace "$namespace" > /dev/null
    kubectl label namespace "$namespace" \
        pod-security.kubernetes.io/enforce=restricted > /dev/null
    # pods of one's own need it, and it comes a moment later
    until_true 60 k get serviceaccount default
}

# The release of the parts install, rolling, faults and upgrade.
use_shop() {
    [ -n "${shop:-}" ] || part_install
    namespace=$shop
}

# in_pod POD [OPTION...] -- COMMAND...: what it prints on stdout, and its exit
# code. It is run up to three times where the way to the pod breaks, so it shall
# only read; what the command itself says stands.
in_pod() {
    local output pod=()

    while [ "$1" != -- ]; do
        pod+=("$1")
        shift
    done
    shift

    output=$(three_tries exec_to_the_end "$@") || return
    printf '%s' "${output%$'\n'exit *}"
    return "${output##*exit }"
}

# the way was there until the end where the last line is there
exec_to_the_end() {
    local output

    output=$(k exec "${pod[@]}" -- \
        sh -c '"$@"; printf "\nexit %d" "$?"' sh "$@") \
        && [[ ${output##*$'\n'} =~ ^exit\ [0-9]+$ ]] && echo "$output"
}

# psql in the database of the namespace
sql() {
    in_pod "${database:-statefulset/shop-nginx-commerce-postgresql}" -- \
        sh -c 'PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") exec psql -XAtq \
            -h 127.0.0.1 -U postgres -d "$POSTGRES_DB" -c "$1"' sql "$1"
}

admin() {
    in_pod deploy/shop-nginx-commerce -c engine -- \
        /etc/nginx-commerce/admin "$@"
}

pods() {
    k get pods -l "app.kubernetes.io/component=engine" \
        --field-selector=status.phase=Running \
        -o jsonpath='{range .items[?(@.status.containerStatuses[0].ready==true)]}{.metadata.name}{"\n"}{end}'
}

pod_count() { pods | grep -c . || true; }

# A pod of the image, as restricted as all others, with the ConfigMap cluster-test.
client_pod() {
    local name=$1 command

    shift
    command=$(perl -MJSON::PP -e 'print encode_json(\@ARGV)' -- "$@")
    k apply -f - > /dev/null << END
apiVersion: v1
kind: Pod
metadata: {name: $name, labels: {test: client}}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext:
    {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
  volumes: [{name: test, configMap: {name: cluster-test}}]
  containers:
    - name: client
      image: $image
      imagePullPolicy: IfNotPresent
      command: $command
      volumeMounts: [{name: test, mountPath: /test}]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
END
}

# load_start NAME SKU RATE; load_stop NAME FILE: the load's output, and its sums
# as a note
load_start() {
    client_pod "$1" perl /test/load shop-nginx-commerce 80 4 "$2" "$3"
    until_true 180 load_runs "$1" || { k logs "$1"; return 1; }
}

load_runs() { k logs "$1" | grep -x running; }

load_stop() {
    until_true 60 load_told "$1" > /dev/null
    until_true 60 phase_is "$1" Succeeded > /dev/null
    until_true 60 load_sums "$1" "$2" > /dev/null
    note "$1: $(tail -n 1 "$2")"
}

# its container may end before the exec has
load_told() {
    k exec "$1" -- perl -e 'kill TERM => 1' || phase_is "$1" Succeeded
}

load_sums() { k logs "$1" > "$2" && grep -q '^sent ' "$2"; }

none_failed() { grep ' failed 0 ' "$1" || { head -n 20 "$1"; return 1; }; }

orders_of() { sed -n 's/^sent .* orders \([0-9]*\) .*/\1/p' "$1"; }

phase_is() { is "$(k get pod "$1" -o 'jsonpath={.status.phase}')" "$2"; }

explain() {
    note "namespace $namespace"
    k get pods -o wide 2>&1 | sed 's/^/#   /'
    k get events --sort-by=.lastTimestamp 2>&1 | tail -n 15 | sed 's/^/#   /'
    k logs -l app.kubernetes.io/component=engine -c engine --tail=15 2>&1 \
        | sed 's/^/#   /'
}
