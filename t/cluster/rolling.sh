# A new image and back, while orders come all the time.

part_rolling() {
    local before

    use_shop
    before=$(sql 'SELECT count(*) FROM commerce.orders')
    load_start load-rolling SLEEVE 60

    check "a rolling update under load" helm_do upgrade shop "$chart" \
        --set image.tag="${next#*:}" --wait --timeout 10m
    check "all pods have the new image" all_have "$next"
    check "helm rollback under load" \
        helm rollback shop -n "$namespace" --wait --timeout 10m
    check "all pods have the old image again" all_have "$image"

    load_stop load-rolling "$work/rolling"
    check "no request failed: $(tail -n 1 "$work/rolling")" \
        none_failed "$work/rolling"
    check "every acknowledged order is there, and no other" is \
        "$(($(sql 'SELECT count(*) FROM commerce.orders') - before))" \
        "$(orders_of "$work/rolling")"
    check "the audit is empty" admin audit
}

all_have() {
    until_true 120 images_are "$1"
}

images_are() {
    is "$(k get pods -l app.kubernetes.io/component=engine \
        -o 'jsonpath={.items[*].spec.containers[?(@.name=="engine")].image}' \
        | tr ' ' '\n' | sort -u | sed 's|.*/||')" "$1"
}
