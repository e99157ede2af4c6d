# Pods that end, in order and not, with units in hand.

part_faults() {
    local pod

    # every pod has sold something, so every pod holds units
    load_start load-faults

    pod=$(pods | head -n 1)
    check "a container is killed and comes back" kill_container "$pod"

    pod=$(pods | tail -n 1)
    check "a pod is deleted by force" \
        k delete pod "$pod" --grace-period=0 --force --wait=false
    check "another one takes its place" until_true 180 three_ready
    load_stop load-faults > "$work/faults"
    note "$(tail -n 1 "$work/faults"); requests on their way to what is killed fail"
    check "what they held can be sold again within the ttl" \
        until_true 30 nobody_dead_holds
    check "the audit is empty" admin audit

    # the one that is left over hands its units back before it ends
    check "one pod less" helm_do upgrade shop "$chart" \
        --set image.tag="${image#*:}" --set replicaCount=2 --wait --timeout 5m
    check "its units are back before its ttl could tell" \
        until_true 60 settled_itself
    check "and three again" helm_do upgrade shop "$chart" \
        --set image.tag="${image#*:}" --wait --timeout 5m
    check "the audit is empty" admin audit
}

kill_container() {
    local before

    before=$(restarts "$1")
    # nginx is process 1 and takes no SIGKILL from its own namespace: its
    # workers die, and it by an ordinary fast stop
    k exec "$1" -c engine -- perl -e \
        'kill KILL => grep { $_ > 1 && $_ != $$ } map { m{/(\d+)$} } glob "/proc/[0-9]*"; kill TERM => 1' \
        || true
    until_true 120 restarted "$1" "$before"
    k wait pod "$1" --for=condition=Ready --timeout=120s
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

settled_itself() {
    is "$(sql "SELECT count(*) FROM commerce.instance WHERE state <> 'dead'")" 2 \
        && nobody_dead_holds
}
