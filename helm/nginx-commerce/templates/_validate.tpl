{{/*
What a schema cannot say. Every rule that is broken gives one message; validate.yaml ends the rendering with all of them.
*/}}

{{- define "nginx-commerce.problems" -}}
{{- $v := .Values -}}
{{- $prod := eq $v.environment "prod" -}}

{{/*
Not in Chart.yaml: a Helm that was built without one says v1.20.0 where it has no cluster to ask, and would render nothing.
*/}}
{{- if and (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) (ne .Capabilities.KubeVersion.Version "v1.20.0") }}
{{ printf "Kubernetes %s is too old: 1.30 or newer is needed, for HPA on a container's resources, matchLabelKeys and unhealthyPodEvictionPolicy." .Capabilities.KubeVersion.Version }}
{{- end -}}

{{/* requests above limits: Kubernetes would refuse each pod, one by one and late */}}
{{- $containers := include "nginx-commerce.podContainers" . | fromJsonArray -}}
{{- range $v.extraInitContainers -}}
{{- if ne (toString .restartPolicy) "Always" -}}
{{- $containers = append $containers (dict "name" (printf "extraInitContainers %s" .name) "resources" (.resources | default dict)) -}}
{{- end -}}
{{- end -}}
{{- $containers = append $containers (dict "name" "migrations" "resources" $v.migrations.resources) -}}
{{- $containers = append $containers (dict "name" "postgresql" "resources" $v.postgresql.resources) -}}
{{- $containers = append $containers (dict "name" "tests" "resources" $v.tests.resources) -}}
{{- range $container := $containers -}}
{{- range $resource, $request := dig "requests" dict $container.resources -}}
{{- $limit := dig "limits" $resource "" $container.resources -}}
{{- $asked := include "nginx-commerce.quantity" (dict "value" $request "what" (printf "requests.%s of %s" $resource $container.name)) -}}
{{- if ne (toString $limit) "" -}}
{{- if gt (float64 $asked) (float64 (include "nginx-commerce.quantity" (dict "value" $limit "what" (printf "limits.%s of %s" $resource $container.name)))) }}
{{ printf "container %s: requests.%s %v is above limits.%s %v. A request is what the scheduler sets aside and a limit is where the kernel stops the container, so a pod that asks for more than it may use is refused by Kubernetes. Raise the limit or lower the request." $container.name $resource $request $resource $limit }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* memory: the zone is charged to the pod once it is touched */}}
{{- $workers := int64 (include "nginx-commerce.workers" .) -}}
{{- $zone := float64 (include "nginx-commerce.nginxSize" $v.engine.zoneSize) -}}
{{- $worker := float64 (include "nginx-commerce.quantity" (dict "value" $v.nginx.workerMemory "what" "nginx.workerMemory")) -}}
{{- $margin := 33554432.0 -}}
{{- $need := addf $zone (mulf $workers $worker) $margin -}}
{{- with dig "limits" "memory" "" $v.resources -}}
{{- $limit := float64 (include "nginx-commerce.quantity" (dict "value" . "what" "resources.limits.memory")) -}}
{{- if gt $need $limit }}
{{ printf "resources.limits.memory %v is too small: engine.zoneSize %v, %d workers of %v and 32Mi for the master and the hooks are %s. Raise the limit, or take a smaller zone or fewer workers." . $v.engine.zoneSize $workers $v.nginx.workerMemory (include "nginx-commerce.mebibytes" $need) }}
{{- end -}}
{{- end -}}
{{- if lt $zone 8388608.0 }}
{{ printf "engine.zoneSize %v is too small: the module needs 8m at least." $v.engine.zoneSize }}
{{- end -}}

{{/* the end of a pod */}}
{{- $sum := int64 (include "nginx-commerce.shutdownSum" .) -}}
{{- if not (kindIs "invalid" $v.terminationGracePeriodSeconds) -}}
{{- if lt (int64 $v.terminationGracePeriodSeconds) $sum }}
{{ printf "terminationGracePeriodSeconds %d is shorter than the phases of shutdown, which are %d s together: the pod would be killed with units in hand. Leave it null, or shorten the phases." (int64 $v.terminationGracePeriodSeconds) $sum }}
{{- end -}}
{{- end -}}

{{/* replicas */}}
{{- if and $v.autoscaling.enabled $v.keda.enabled }}
autoscaling.enabled and keda.enabled are both true: two controllers would fight over the replicas. Choose one.
{{- end -}}
{{- if gt (int64 $v.autoscaling.minReplicas) (int64 $v.autoscaling.maxReplicas) }}
{{ printf "autoscaling.minReplicas %d is above autoscaling.maxReplicas %d." (int64 $v.autoscaling.minReplicas) (int64 $v.autoscaling.maxReplicas) }}
{{- end -}}
{{- $a := $v.autoscaling -}}
{{- if and $a.enabled (not (or $a.cpu $a.memory $a.ordersPerSecond $a.requestsPerSecond $a.extraMetrics)) }}
autoscaling.enabled needs a metric: cpu, memory, ordersPerSecond, requestsPerSecond or extraMetrics.
{{- end -}}
{{- if and $a.enabled (or (and $a.cpu (not (dig "requests" "cpu" "" $v.resources))) (and $a.memory (not (dig "requests" "memory" "" $v.resources)))) }}
autoscaling.cpu and autoscaling.memory are percents of resources.requests, which has to name cpu and memory then.
{{- end -}}
{{- $k := $v.keda -}}
{{- if $k.enabled -}}
{{- if and (or $k.prometheus.ordersPerSecond $k.prometheus.requestsPerSecond) (not $k.prometheus.serverAddress) }}
keda.prometheus.ordersPerSecond and requestsPerSecond need keda.prometheus.serverAddress.
{{- end -}}
{{- if not (or $a.cpu $k.triggers $k.prometheus.ordersPerSecond $k.prometheus.requestsPerSecond) }}
keda.enabled needs a trigger: autoscaling.cpu, keda.prometheus or keda.triggers.
{{- end -}}
{{- end -}}
{{- if and (eq (int64 (include "nginx-commerce.share" (dict "value" $v.strategy.maxSurge "of" 100))) 0) (eq (int64 (include "nginx-commerce.share" (dict "value" $v.strategy.maxUnavailable "of" 100))) 0) }}
strategy.maxSurge and strategy.maxUnavailable are both 0: an update could replace no pod.
{{- end -}}

{{/* the database */}}
{{- if and $v.postgresql.enabled $v.database.host }}
{{ printf "postgresql.enabled is true and database.host is %q: there is one database. Set postgresql.enabled to false to use your own." $v.database.host }}
{{- end -}}
{{- if not (or $v.postgresql.enabled $v.database.host) }}
postgresql.enabled is false and database.host is empty: name the database.
{{- end -}}
{{- if and $v.postgresql.enabled (or $v.database.existingSecret $v.migrations.existingSecret $v.migrations.user $v.migrations.password) }}
database.existingSecret, migrations.user, migrations.existingSecret and migrations.password belong to an external database; the bundled one (postgresql.enabled) has passwords of its own.
{{- end -}}
{{- if and $v.database.host (not (or $v.database.existingSecret $v.database.password $v.database.clientCertSecret)) }}
database.host needs database.existingSecret with the password (or database.clientCertSecret).
{{- end -}}
{{- $c := include "nginx-commerce.connections" . | fromJson -}}
{{- if gt (int64 $c.peak) (int64 $c.max) }}
{{ printf "%d pods (the most replicas, the surge and as many that are ending) with %d database connections each, the migration and %d others need %d connections, but database.maxConnections is %d. Raise max_connections of the server and say so here, or take fewer replicas, workers or connections." (int64 $c.pods) (int64 $c.instance) (int64 $v.database.reservedConnections) (int64 $c.peak) (int64 $c.max) }}
{{- end -}}

{{/* payments */}}
{{- $names := list -}}
{{- range include "nginx-commerce.paymentProviders" . | fromJsonArray -}}
{{- if and (ne .name "test") (not .files) }}
{{ printf "engine.paymentProviders: %q needs existingSecret with the secret of its webhooks; only test settles without them." .name }}
{{- end -}}
{{- if has .name $names }}
{{ printf "engine.paymentProviders: %q is there twice." .name }}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}

{{/* the entry */}}
{{- if $v.tls.enabled -}}
{{- if and $v.tls.existingSecret $v.tls.certManager.enabled }}
tls.existingSecret and tls.certManager.enabled: choose one.
{{- end -}}
{{- if not (or $v.tls.existingSecret $v.tls.certManager.enabled) }}
tls.enabled needs tls.existingSecret or tls.certManager.enabled.
{{- end -}}
{{- if and $v.tls.certManager.enabled (or (not $v.tls.certManager.issuerRef.name) (not $v.tls.certManager.dnsNames)) }}
tls.certManager needs issuerRef.name and dnsNames.
{{- end -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) }}
httpRoute.enabled needs httpRoute.parentRefs: the Gateways that shall serve it.
{{- end -}}
{{- if and $v.rateLimit.enabled (or $v.ingress.enabled $v.httpRoute.enabled) (not $v.nginx.trustedProxies) }}
rateLimit.enabled behind an Ingress or a Gateway needs nginx.trustedProxies: all clients come from the proxy's address, and one of them would stop all.
{{- end -}}

{{/* prod */}}
{{- if $prod -}}
{{- if $v.postgresql.enabled }}
environment prod: postgresql.enabled is for development; it has no backup and no standby. Name a database.
{{- end -}}
{{- if or $v.database.password $v.migrations.password $v.postgresql.password }}
environment prod: an inline password stays in the release's history; use database.existingSecret and migrations.existingSecret.
{{- end -}}
{{- if not $v.tokenKey.existingSecret }}
environment prod: tokenKey.existingSecret is required; a key that the chart makes is lost with its Secret, and with it what guests own.
{{- end -}}
{{- if and (not $v.postgresql.enabled) (ne $v.database.sslMode "verify-full") }}
{{ printf "environment prod: database.sslMode %s does not know whom it talks to; verify-full is required." $v.database.sslMode }}
{{- end -}}
{{- if and (not $v.image.digest) (or (not $v.image.tag) (eq (toString $v.image.tag) "latest")) }}
environment prod: image.digest or an image.tag other than latest is required, so that a restart runs what was tested.
{{- end -}}
{{- if lt (int64 (include "nginx-commerce.minReplicas" .)) 2 }}
environment prod: fewer than 2 replicas have an outage with every lost node.
{{- end -}}
{{- if include "nginx-commerce.hasTestProvider" . }}
environment prod: with the payment provider test everybody can pay everything with nothing.
{{- end -}}
{{- end -}}
{{- end -}}
