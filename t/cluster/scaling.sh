# The HPA up and down, on orders per second and on CPU, in a small release of
# its own. The windows are shorter than the chart's.

part_scaling() {
    new_namespace scaling
    k create configmap cluster-test --from-file=t/cluster/load > /dev/null

    if [ -n "${CUSTOM_METRICS:-}" ] && ! custom_metrics; then
        check "custom.metrics.k8s.io is served" $CUSTOM_METRICS || return 0
    fi

    check "helm install of the values for dev" autoscaled install cpu=100 \
        ordersPerSecond=null || return 0
    check "helm test brings the catalogue" \
        helm test shop -n "$namespace" --timeout 5m

    if custom_metrics; then
        scaling_on_orders
    else
        note "no custom.metrics.k8s.io: nothing about orders per second"
    fi

    scaling_on_cpu
    check "the audit is empty" admin audit
    kubectl delete namespace "$namespace" --wait=false > /dev/null
}

custom_metrics() {
    kubectl get --raw /apis/custom.metrics.k8s.io/v1beta2 > /dev/null 2>&1
}

# 70 orders/s at 25 for each pod are three pods, and so are 51; 10 are one
scaling_on_orders() {
    check "the HPA on orders per second" autoscaled upgrade cpu=null \
        ordersPerSecond=25
    load_start load-few TEE-M 20
    load_start load-many PEN-GEL-BLACK 120
    check "70 orders/s at 25 a pod: three pods" trace 240 pods_are 3
    trace_print
    load_stop load-many "$work/many"
    check "10 orders/s: one pod" trace 240 pods_are 1
    trace_print
    load_stop load-few "$work/few"
    check "up: no request failed: $(tail -n 1 "$work/many")" \
        none_failed "$work/many"
    check "up and down: no request failed: $(tail -n 1 "$work/few")" \
        none_failed "$work/few"
}

# So little is asked for that idle pods of a slow machine use 30 % of it: two of
# them were still two at a target of 50 %.
scaling_on_cpu() {
    check "the HPA on CPU" autoscaled upgrade cpu=100 ordersPerSecond=null
    load_start load-cpu SLEEVE 400
    check "constant load: more pods, by CPU" trace 240 pods_above 1
    trace_print
    load_stop load-cpu "$work/cpu"
    check "no request failed: $(tail -n 1 "$work/cpu")" none_failed "$work/cpu"
    check "none: one pod again" trace 300 pods_are 1
    trace_print
}

# autoscaled install|upgrade METRIC...
autoscaled() {
    local verb=$1 one metrics=()

    shift
    for one; do
        metrics+=(--set "autoscaling.$one")
    done
    helm_do "$verb" shop "$chart" -f "$chart/values-dev.yaml" \
        --set image.tag="${image#*:}" --set resources.requests.cpu=20m \
        --set autoscaling.enabled=true --set autoscaling.maxReplicas=4 \
        "${metrics[@]}" --set-json 'autoscaling.behavior={
            "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]},
            "scaleDown": {"stabilizationWindowSeconds": 15, "selectPolicy": "Max",
                "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}' \
        --wait --timeout 10m
}

pods_are() {
    [ "$(wanted)" -eq "$1" ] && [ "$(pod_count)" -eq "$1" ]
}

pods_above() {
    [ "$(wanted)" -gt "$1" ] && [ "$(pod_count)" -gt "$1" ]
}

wanted() { k get deploy shop-nginx-commerce -o 'jsonpath={.spec.replicas}'; }

# trace SECONDS COMMAND...: as until_true, and notes what happens meanwhile
trace() {
    local end=$((SECONDS + $1)) count now last=0 then=0

    shift
    : > "$work/trace"
    while ! "$@"; do
        if [ "$SECONDS" -ge "$end" ]; then
            k describe hpa shop-nginx-commerce | tail -n 25
            return 1
        fi
        now=$(perl -MTime::HiRes=time -e 'printf "%.2f", time')
        count=$(sql 'SELECT count(*) FROM commerce.orders') || count=$last
        trace_line "$now" "$then" "$count" "$last"
        then=$now
        last=$count
        sleep 3
    done
    trace_line 0 0 0 0
}

# The orders are counted in the database, the metric is what the HPA read last.
trace_line() {
    local metric rate=-

    metric=$(k get hpa shop-nginx-commerce -o 'jsonpath={range .status.currentMetrics[*]}{.pods.current.averageValue}{.containerResource.current.averageUtilization}{end}')
    [ "$2" = 0 ] || rate=$(perl -e \
        'printf "%.0f", ($ARGV[2] - $ARGV[3]) / ($ARGV[0] - $ARGV[1])' "$@")
    printf '%4d s  wanted %s  ready %s  orders/s %s  metric a pod %s\n' \
        "$SECONDS" "$(wanted)" "$(pod_count)" "$rate" "${metric:--}" \
        >> "$work/trace"
}

trace_print() { sed 's/^/#   /' "$work/trace"; }
