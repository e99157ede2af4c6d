# The chart as it comes, in a namespace that admits restricted pods only.

part_install() {
    new_namespace shop
    shop=$namespace
    k create configmap cluster-test --from-file=t/cluster/load > /dev/null

    check "helm install with three replicas and the bundled database" \
        helm_do install shop "$chart" --set image.tag="${image#*:}" \
        --wait --timeout 10m || exit 1
    check "three pods are ready" until_true 60 three_ready
    check "helm test: smoke and an order" \
        helm test shop -n "$namespace" --timeout 5m
    check "an order from outside" order_from_outside
    check "an order from a pod by its DNS name" order_from_pod
    check "the audit is empty" admin audit
}

# Again where the way broke, and not where the order did.
order_from_outside() {
    local rc

    for _ in 1 2 3; do
        rc=0
        order_by_forward || rc=$?
        [ "$rc" -ne 0 ] && forward_broke || break
    done
    return "$rc"
}

forward_broke() {
    ! grep -q '^Forwarding from 127' "$work/forward" \
        || grep -qE 'lost connection|error (creating|forwarding)' "$work/forward"
}

order_by_forward() {
    local port pid url rc=0

    rm -f "$work/forward"
    command kubectl -n "$namespace" port-forward service/shop-nginx-commerce :80 \
        > "$work/forward" 2>&1 &
    pid=$!
    if until_true 30 grep -q 'Forwarding from 127' "$work/forward"; then
        port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$work/forward" | head -n 1)
        url=http://127.0.0.1:$port
        docker run --rm --network host --entrypoint commerce-client "$image" \
            order --url "$url" --sku TEE-M --retry 60 || rc=$?
    else
        cat "$work/forward"
        rc=1
    fi
    kill "$pid" 2> /dev/null || true
    wait "$pid" 2> /dev/null || true
    return "$rc"
}

order_from_pod() {
    client_pod by-name commerce-client order --sku TEE-M --retry 60 \
        --url "http://shop-nginx-commerce.$namespace.svc:80"
    until_true 120 phase_is by-name Succeeded || { k logs by-name; return 1; }
}
