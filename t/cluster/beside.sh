# Two releases side by side, as the values for dev and for staging have them,
# and a new version of one by a pipeline's lines.

part_beside() {
    local dev staging

    new_namespace dev
    dev=$namespace
    k create configmap cluster-test --from-file=t/cluster/load > /dev/null
    check "the values for dev" helm_do install shop "$chart" \
        -f "$chart/values-dev.yaml" --set image.tag="${image#*:}" \
        --wait --timeout 10m
    check "helm test" helm test shop -n "$namespace" --timeout 5m

    new_namespace staging
    staging=$namespace
    check "kinds of the Prometheus operator" operator_kinds
    check "a database with TLS, and the secrets" staging_database || return 0
    check "the values for staging, TLS at the entry and to the database" \
        staging install --wait --timeout 10m || return 0
    check "helm test" helm test shop -n "$namespace" --timeout 5m
    check "an HPA from 2 to 4, two pods are ready" until_true 480 two_of_four
    check "an order by HTTPS, the certificate verified" order_by_https
    database=pod/shop-db
    check "the engine's connections to the database have TLS" is \
        "$(sql "SELECT bool_and(s.ssl), count(*) > 0 FROM pg_stat_ssl s
            JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'commerce'")" \
        "t|t"
    check "the engine's role has no DDL" role_has_no_ddl
    check "a monitor and alerts" until_true 60 k get \
        podmonitor,prometheusrule shop-nginx-commerce
    check "staging has its two orders" is "$(orders)" 2
    database=
    namespace=$dev
    check "dev has its one" is "$(orders)" 1

    check "a pipeline: build, load, package, upgrade, test" pipeline
    check "all pods have the version's image" all_have "nginx-commerce:$version"
    check "the history has the version" in_history "nginx-commerce-$version"
    helm history shop -n "$namespace" | sed 's/^/# /'
    check "dev has one more order, paid" is "$(orders)" 2
    check "the audit of dev is empty" admin audit
    namespace=$staging
    check "the audit of staging is empty" admin audit
}

version=0.2.0-$tag

# As docs/kubernetes.md has it. There "docker/build" makes the image, and "docker
# push" takes the place of LOAD_IMAGE where there is a registry.
pipeline() {
    same_again "nginx-commerce:$version" \
        && three_tries $LOAD_IMAGE "nginx-commerce:$version" \
        && helm package "$chart" --version "$version" \
            --app-version "$version" --destination "$work" \
        && helm_do upgrade --install shop "$work/nginx-commerce-$version.tgz" \
            -f "$chart/values-dev.yaml" --atomic --timeout 10m \
        && helm test shop -n "$namespace" --timeout 5m
}

in_history() { helm history shop -n "$namespace" | grep -F "$1"; }

orders() { sql 'SELECT count(*) FROM commerce.orders'; }

two_of_four() {
    is "$(k get hpa shop-nginx-commerce -o \
        'jsonpath={.spec.minReplicas} {.spec.maxReplicas}') $(pod_count)" "2 4 2"
}

staging() {
    helm_do "$1" shop "$chart" -f "$chart/values-staging.yaml" \
        --set image.tag="${image#*:}" --set resources.requests.cpu=100m \
        --set tests.seed=true --set tls.enabled=true \
        --set tls.existingSecret=shop-tls "${@:2}"
}

order_by_https() {
    client_pod by-https commerce-client order --sku TEE-M --retry 60 \
        --cacert /test/ca.crt --end cancel \
        --url "https://shop-nginx-commerce.$namespace.svc:443"
    until_true 120 phase_is by-https Succeeded || { k logs by-https; return 1; }
}

role_has_no_ddl() {
    is "$(sql "SELECT has_schema_privilege('commerce', 'commerce', 'CREATE'),
        has_database_privilege('commerce', 'shop', 'CREATE')")" "f|f"
}

# Those that the cluster has not are brought, and removed at the end.
operator_kinds() {
    local kind plural

    for kind in PodMonitor PrometheusRule; do
        plural=$(printf '%ss' "$kind" | tr '[:upper:]' '[:lower:]')
        kubectl get crd "$plural.monitoring.coreos.com" > /dev/null 2>&1 \
            && continue
        kubectl apply -f - << END || return 1
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: $plural.monitoring.coreos.com
  labels: {nginx-commerce-test: "$tag"}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: $kind, plural: $plural, singular: ${plural%s}}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          {type: object, x-kubernetes-preserve-unknown-fields: true}
END
        kubectl wait crd "$plural.monitoring.coreos.com" \
            --for=condition=Established --timeout=60s || return 1
    done
}

# An authority and two certificates, with the image's openssl.
certificates() {
    local names=shop-nginx-commerce.$namespace.svc

    docker run --rm --network none --entrypoint sh "$image" -c '
        set -e
        cd "$(mktemp -d)"
        new() { openssl req -x509 -nodes -days 2 -newkey rsa:2048 "$@" 2>&1; }
        new -subj "/CN=cluster test" -keyout ca.key -out ca.crt \
            -addext keyUsage=critical,keyCertSign,cRLSign > log
        leaf() {
            new -subj "/CN=$2" -keyout "$1.key" -out "$1.crt" -CA ca.crt \
                -CAkey ca.key -addext "subjectAltName=DNS:$2" \
                -addext basicConstraints=critical,CA:FALSE > log
        }
        leaf db shop-db-rw || { cat log; exit 1; }
        leaf entry "$1" || { cat log; exit 1; }
        for one in ca.crt db.key db.crt entry.key entry.crt; do
            echo "file $one"
            cat "$one"
        done' sh "$names" | perl -ne '
            if (/^file (\S+)/) { open $out, ">", "$ENV{work}/$1" or die }
            else { print {$out} $_ }'
    [ -s "$work/entry.crt" ]
}

staging_database() {
    local name

    export work
    certificates || return 1
    k create configmap cluster-test --from-file="$work/ca.crt" || return 1
    k create secret tls shop-tls --cert="$work/entry.crt" \
        --key="$work/entry.key" || return 1
    k create secret tls shop-db-tls --cert="$work/db.crt" \
        --key="$work/db.key" || return 1
    k create secret generic shop-db-ca --from-file="$work/ca.crt" || return 1
    for name in shop-db-commerce shop-db-owner shop-db-super; do
        k create secret generic "$name" \
            --from-literal=password="$(random_text)" || return 1
    done
    k create secret generic shop-token-key \
        --from-literal=token-key="$(random_text)" || return 1
    database_pod | k apply -f - || return 1
    k wait pod/shop-db --for=condition=Ready --timeout=240s
}

random_text() {
    perl -e 'open my $f, "<", "/dev/urandom" or die; read $f, my $b, 32;
        print unpack "H*", $b'
}

database_pod() {
    cat << END
apiVersion: v1
kind: ConfigMap
metadata: {name: shop-db}
data:
  roles.sql: |
    \\set owner \`cat /run/secrets/owner/password\`
    \\set commerce \`cat /run/secrets/commerce/password\`
    CREATE ROLE shop_owner LOGIN PASSWORD :'owner';
    CREATE ROLE commerce LOGIN PASSWORD :'commerce';
    ALTER DATABASE shop OWNER TO shop_owner;
---
apiVersion: v1
kind: Service
metadata: {name: shop-db-rw}
spec: {clusterIP: None, selector: {test: database}, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: shop-db, labels: {test: database}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 10
  securityContext:
    {runAsNonRoot: true, runAsUser: 999, runAsGroup: 999, fsGroup: 999,
     seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: postgresql
      image: $postgres
      imagePullPolicy: IfNotPresent
      args: [-c, ssl=on, -c, ssl_cert_file=/run/secrets/tls/tls.crt,
             -c, ssl_key_file=/run/secrets/tls/tls.key]
      env:
        - {name: POSTGRES_DB, value: shop}
        - {name: POSTGRES_PASSWORD_FILE, value: /run/secrets/super/password}
        - {name: PGDATA, value: /var/lib/postgresql/data/pgdata}
      readinessProbe:
        exec: {command: [pg_isready, -q, -h, 127.0.0.1]}
        periodSeconds: 1
        timeoutSeconds: 5
      resources: {requests: {cpu: 100m, memory: 128Mi}}
      securityContext:
        {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      volumeMounts:
        - {name: data, mountPath: /var/lib/postgresql/data}
        - {name: init, mountPath: /docker-entrypoint-initdb.d}
        - {name: tls, mountPath: /run/secrets/tls}
        - {name: super, mountPath: /run/secrets/super}
        - {name: owner, mountPath: /run/secrets/owner}
        - {name: commerce, mountPath: /run/secrets/commerce}
  volumes:
    - {name: data, emptyDir: {}}
    - {name: init, configMap: {name: shop-db}}
    - {name: tls, secret: {secretName: shop-db-tls, defaultMode: 0440}}
    - {name: super, secret: {secretName: shop-db-super, defaultMode: 0440}}
    - {name: owner, secret: {secretName: shop-db-owner, defaultMode: 0440}}
    - {name: commerce, secret: {secretName: shop-db-commerce, defaultMode: 0440}}
END
}
