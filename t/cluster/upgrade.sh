# What a release leaves as it was.

# N -> N+1, which has one more migration -> N, while orders come.
part_upgrade() {
    local secret more=nginx-commerce:$tag-more before

    use_shop
    secret=$(secret_sum)
    before=$(sql 'SELECT count(*) FROM commerce.schema_migration')
    check "an image with one more migration" one_more "$more" || return 0
    load_start load-upgrade SLEEVE 40

    check "an upgrade with a schema change" helm_do upgrade shop "$chart" \
        --set image.tag="${more#*:}" --set engine.lowStock=7 \
        --wait --wait-for-jobs --timeout 10m
    check "all pods have it" all_have "$more"
    check "the schema has it" is \
        "$(sql 'SELECT count(*) FROM commerce.schema_migration')" $((before + 1))
    check "back to the programs before, on the new schema" \
        helm_do upgrade --install --atomic shop "$chart" \
        --set image.tag="${image#*:}" --set engine.lowStock=8 \
        --wait-for-jobs --timeout 10m
    check "all pods are as before" all_have "$image"
    check "the schema has not gone back" is \
        "$(sql 'SELECT count(*) FROM commerce.schema_migration')" $((before + 1))

    load_stop load-upgrade "$work/upgrade"
    check "no request failed: $(tail -n 1 "$work/upgrade")" \
        none_failed "$work/upgrade"
    check "the secrets are what they were" is "$(secret_sum)" "$secret"
    helm history shop -n "$namespace" | sed 's/^/# /'
    check "two migrations at once: both succeed" two_migrations
    check "an order after all that" order_from_outside
    check "the audit is empty" admin audit

    check "requests above limits are refused with a word why" refused
}

one_more() {
    local number

    number=$(printf '%04d' "$(($(find src/sql -name '[0-9]*.sql' | wc -l) + 1))")
    mkdir -p "$work/more"
    cat > "$work/more/${number}_test.sql" << 'END'
ALTER TABLE commerce.orders ADD COLUMN cluster_test text;
CREATE TABLE commerce.cluster_test (id bigint PRIMARY KEY);
END
    chmod 644 "$work/more/${number}_test.sql"
    printf 'FROM %s\nCOPY %s_test.sql /usr/share/nginx-commerce/sql/\n' \
        "$image" "$number" > "$work/more/Dockerfile"
    docker build -q -t "$1" "$work/more" && three_tries $LOAD_IMAGE "$1"
}

secret_sum() {
    local data

    data=$(k get secret shop-nginx-commerce -o 'jsonpath={.data}') || return
    sha256sum <<< "$data"
}

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
