# What a release leaves as it was.

part_upgrade() {
    local secret

    secret=$(secret_sum)
    check "an upgrade with a change" helm_do upgrade shop "$chart" \
        --set image.tag="${image#*:}" --set engine.lowStock=7 --wait --timeout 10m
    check "and a second one" helm_do upgrade --install --atomic shop "$chart" \
        --set image.tag="${image#*:}" --set engine.lowStock=8 --timeout 10m
    check "the secrets are what they were" is "$(secret_sum)" "$secret"
    helm history shop -n "$namespace" | sed 's/^/# /'
    check "two migrations at once: both succeed" two_migrations
    check "an order after all that" order_from_outside
    check "the audit is empty" admin audit

    check "requests above limits are refused with a word why" refused
}

secret_sum() { k get secret shop-nginx-commerce -o 'jsonpath={.data}' | sha256sum; }

two_migrations() {
    local one job

    job=$(k get jobs -l app.kubernetes.io/component=migrate -o name | tail -n 1)
    [ -n "$job" ] || { echo "there is no migration job"; return 1; }
    for one in 1 2; do
        k get "$job" -o json | perl -MJSON::PP -e '
            my $job = decode_json(join "", <STDIN>);
            delete @{ $job }{qw(status)};
            $job->{metadata} = { name => "migrate-again-" . shift };
            delete $job->{spec}{selector};
            delete $job->{spec}{template}{metadata}{labels}{$_}
                for grep { /controller-uid|job-name/ }
                keys %{ $job->{spec}{template}{metadata}{labels} };
            print encode_json($job)' "$one" | k apply -f - > /dev/null
    done
    k wait job/migrate-again-1 job/migrate-again-2 --for=condition=Complete \
        --timeout=180s
}

refused() {
    ! helm template shop "$chart" --set resources.requests.memory=500Mi \
        --set resources.limits.memory=256Mi > "$work/refused" 2>&1 || return 1
    grep -qi 'requests.*limits\|memory' "$work/refused"
}
