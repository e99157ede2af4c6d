# Pods that end, in order and not, with units in hand.

part_faults() {
    local pod holding watch

    use_shop
    # every pod has sold something, so every pod holds units
    load_start load-faults PEN-GEL-BLACK 40

    until_true 60 three_ready || true
    pod=$(pods | head -n 1)
    check "a container is killed and comes back" kill_container "$pod"

    until_true 60 three_ready || true
    pod=$(pods | tail -n 1)
    check "a pod is deleted by force" k delete pod "$pod" \
        --grace-period=0 --force --wait=false --ignore-not-found
    check "another one takes its place" until_true 180 three_ready
    load_stop load-faults "$work/faults"
    note "requests on their way to what is killed may fail"
    check "what they held can be sold again within the ttl" \
        until_true 30 nobody_dead_holds
    check "the audit is empty" admin audit

    # the one that is left over hands its units back before it ends
    load_start load-less PEN-GEL-BLACK 40
    check "three pods hold units" until_true 60 holders_are 3
    holding=$(sql "SELECT array_agg(DISTINCT instance_id) $holders")
    ends_watch
    check "one pod less" helm_do upgrade shop "$chart" \
        --set image.tag="${image#*:}" --set replicaCount=2 --timeout 5m
    check "it is gone" until_true 120 three_are_two
    until_true 30 grep -q 'Z$' "$work/ends" || true
    ends_unwatch
    check "its units were back before it ended" back_before_its_end
    load_stop load-less "$work/less"
    check "no request failed: $(tail -n 1 "$work/less")" \
        none_failed "$work/less"
    check "and three again" helm_do upgrade shop "$chart" \
        --set image.tag="${image#*:}" --wait --timeout 5m
    check "the audit is empty" admin audit
}

kill_container() {
    local before

    before=$(restarts "$1")
    until_true 120 kill_until_restarted "$1" "$before" || return
    until_true 120 k wait pod "$1" --for=condition=Ready --timeout=30s
}

# The exec ends with the container, or fails on its way there: the restarts tell.
kill_until_restarted() {
    # nginx is process 1 and takes no SIGKILL from its own namespace: its
    # workers die, and it by an ordinary fast stop
    command kubectl -n "$namespace" exec "$1" -c engine -- perl -e \
        'kill KILL => grep { $_ > 1 && $_ != $$ } map { m{/(\d+)$} } glob "/proc/[0-9]*"; kill TERM => 1' \
        || true
    until_true 20 restarted "$1" "$2"
}

restarts() {
    k get pod "$1" -o 'jsonpath={.status.containerStatuses[?(@.name=="engine")].restartCount}'
}

restarted() { [ "$(restarts "$1")" -gt "$2" ]; }

three_ready() { is "$(pod_count)" 3; }

# open leases are those of instances whose heart beats
nobody_dead_holds() {
    is "$(sql "SELECT count(*) FROM commerce.lease l LEFT JOIN commerce.heartbeat h
        ON h.instance_id = l.instance_id AND h.at > now() - interval '10 s'
        WHERE l.closed_at IS NULL AND h.instance_id IS NULL")" 0
}

holders="FROM commerce.lease WHERE closed_at IS NULL AND granted > returned"

holders_are() { is "$(sql "SELECT count(DISTINCT instance_id) $holders")" "$1"; }

# From here on $work/ends has a line for each state of a pod: its name, and the
# time when its engine ended.
ends_watch() {
    for _ in 1 2 3; do
        command kubectl -n "$namespace" get pods --watch \
            -l app.kubernetes.io/component=engine -o \
            'jsonpath={.metadata.name} {.status.containerStatuses[?(@.name=="engine")].state.terminated.finishedAt}{"\n"}' \
            > "$work/ends" &
        watch=$!
        ! until_true 15 test -s "$work/ends" || return 0
        ends_unwatch
    done
}

ends_unwatch() {
    kill "$watch" 2> /dev/null || true
    wait "$watch" 2> /dev/null || true
}

# Times of a pod have whole seconds. A lease that others had to settle is closed
# when the heart has not beaten for seconds.
back_before_its_end() {
    local ended

    ended=$(sed -n 's/.* \(.*Z\)$/\1/p' "$work/ends" | sort -u)
    [ -n "$ended" ] || { cat "$work/ends"; return 1; }
    until_true 40 holders_are 2 || return 1
    is "$(sql "SELECT max(closed_at) < timestamptz '$ended' + interval '1 s'
        FROM commerce.lease l WHERE instance_id = ANY ('$holding')
        AND NOT EXISTS (SELECT $holders AND instance_id = l.instance_id)")" t
}

three_are_two() {
    is "$(k get pods -l app.kubernetes.io/component=engine -o name | grep -c .)" 2
}
