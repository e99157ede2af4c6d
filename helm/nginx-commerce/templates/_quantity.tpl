{{/* Kubernetes' quantities as numbers, and what a pod asks for. */}}

{{/* Cores or bytes of dict "value" "what" (the key, for the message). */}}
{{- define "nginx-commerce.quantity" -}}
{{- $text := toString .value -}}
{{- if not (regexMatch "^[0-9]+([.][0-9]*)?([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?$" $text) -}}
{{- fail (printf "nginx-commerce: %s: %q is not a quantity such as 250m, 1.5 or 256Mi." .what $text) -}}
{{- end -}}
{{- $suffix := regexFind "([numkMGTPE]|[KMGTPE]i)$" $text -}}
{{- $factors := dict "" 1 "n" 1e-9 "u" 1e-6 "m" 1e-3 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
      "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- printf "%.9f" (mulf (float64 (trimSuffix $suffix $text)) (get $factors $suffix)) -}}
{{- end -}}

{{/* Bytes of one of nginx's sizes: 64m, 65536k, 8388608. */}}
{{- define "nginx-commerce.nginxSize" -}}
{{- $unit := regexFind "[kKmM]$" (toString .) -}}
{{- $number := float64 (trimSuffix $unit (toString .)) -}}
{{- printf "%.0f" (mulf $number (get (dict "" 1 "k" 1024 "m" 1048576) (lower $unit))) -}}
{{- end -}}

{{/* 0.25 cores -> 250m */}}
{{- define "nginx-commerce.cores" -}}
{{- printf "%.0fm" (mulf (float64 .) 1000) -}}
{{- end -}}

{{/* bytes -> 256Mi */}}
{{- define "nginx-commerce.mebibytes" -}}
{{- printf "%.0fMi" (ceil (divf (float64 .) 1048576)) -}}
{{- end -}}

{{/* Workers: as said, or one for each whole or begun core of the limit (else the request). */}}
{{- define "nginx-commerce.workers" -}}
{{- if .Values.nginx.workerProcesses -}}
{{- int64 .Values.nginx.workerProcesses -}}
{{- else -}}
{{- $cpu := dig "limits" "cpu" (dig "requests" "cpu" 1 .Values.resources) .Values.resources -}}
{{- max 1 (ceil (float64 (include "nginx-commerce.quantity" (dict "value" $cpu "what" "resources.limits.cpu"))) | int64) -}}
{{- end -}}
{{- end -}}

{{/* All containers that run beside each other in one of the engine's pods: JSON [{name, resources}]. */}}
{{- define "nginx-commerce.podContainers" -}}
{{- $all := list (dict "name" "engine" "resources" .Values.resources) -}}
{{- range .Values.extraContainers -}}
{{- $all = append $all (dict "name" (printf "extraContainers %s" .name) "resources" (.resources | default dict)) -}}
{{- end -}}
{{- range .Values.extraInitContainers -}}
{{- if eq (toString .restartPolicy) "Always" -}}
{{- $all = append $all (dict "name" (printf "extraInitContainers %s" .name) "resources" (.resources | default dict)) -}}
{{- end -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/*
R and L of a pod, the sums over its containers, as JSON {requestCpu, requestMemory, limitCpu, limitMemory} in cores and
bytes. A container without a request asks for its limit, as in Kubernetes.
*/}}
{{- define "nginx-commerce.podSums" -}}
{{- $sums := dict "requestCpu" 0.0 "requestMemory" 0.0 "limitCpu" 0.0 "limitMemory" 0.0 -}}
{{- range $container := include "nginx-commerce.podContainers" . | fromJsonArray -}}
{{- range $resource, $suffix := dict "cpu" "Cpu" "memory" "Memory" -}}
{{- $limit := dig "limits" $resource "" $container.resources -}}
{{- $request := dig "requests" $resource $limit $container.resources -}}
{{- range $kind, $value := dict "request" $request "limit" $limit -}}
{{- if ne (toString $value) "" -}}
{{- $key := printf "%s%s" $kind $suffix -}}
{{- $what := printf "%s of %s" $resource $container.name -}}
{{- $_ := set $sums $key (addf (get $sums $key) (float64 (include "nginx-commerce.quantity" (dict "value" $value "what" $what)))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $sums -}}
{{- end -}}

{{/*
Database connections: JSON {instance, pods, peak, max}. A worker has its order, cart and read connections, one for
leases, two for staff writes and cancels; one worker of an instance has three more. During an update maxSurge pods are new and as many
may still be ending.
*/}}
{{- define "nginx-commerce.connections" -}}
{{- $workers := int64 (include "nginx-commerce.workers" .) -}}
{{- $instance := add (mul $workers (add .Values.engine.connections .Values.engine.cartConnections 1 .Values.engine.readConnections 2)) 3 -}}
{{- $replicas := int64 (include "nginx-commerce.maxReplicas" .) -}}
{{- $surge := int64 (include "nginx-commerce.share" (dict "value" .Values.strategy.maxSurge "of" $replicas)) -}}
{{- $pods := add $replicas $surge $surge -}}
{{- $peak := add (mul $pods $instance) 1 .Values.database.reservedConnections -}}
{{- $max := int64 (.Values.database.maxConnections | default (ternary 200 100 .Values.postgresql.enabled)) -}}
{{- toJson (dict "instance" $instance "pods" $pods "peak" $peak "max" $max) -}}
{{- end -}}

{{/*
What NOTES.txt prints of sizes: JSON. R and T are the sum of the requests of the pod's containers and ceil(demand / limit
of one pod); nodes = what (replicas + maxSurge) x R, the migration and the bundled database need, at least as many as whole
pods need places.
*/}}
{{- define "nginx-commerce.capacity" -}}
{{- $sums := include "nginx-commerce.podSums" . | fromJson -}}
{{- $demand := .Values.capacity.demand -}}
{{- $terms := list -}}
{{- $target := 1.0 -}}
{{- if and $demand.cpu (gt $sums.limitCpu 0.0) -}}
{{- $value := float64 (include "nginx-commerce.quantity" (dict "value" $demand.cpu "what" "capacity.demand.cpu")) -}}
{{- $terms = append $terms (printf "%s / %s" (include "nginx-commerce.cores" $value) (include "nginx-commerce.cores" $sums.limitCpu)) -}}
{{- $target = maxf $target (ceil (divf $value $sums.limitCpu)) -}}
{{- end -}}
{{- if and $demand.memory (gt $sums.limitMemory 0.0) -}}
{{- $value := float64 (include "nginx-commerce.quantity" (dict "value" $demand.memory "what" "capacity.demand.memory")) -}}
{{- $terms = append $terms (printf "%s / %s" (include "nginx-commerce.mebibytes" $value) (include "nginx-commerce.mebibytes" $sums.limitMemory)) -}}
{{- $target = maxf $target (ceil (divf $value $sums.limitMemory)) -}}
{{- end -}}
{{- if $demand.ordersPerSecond -}}
{{- $value := float64 $demand.ordersPerSecond -}}
{{- $one := float64 .Values.capacity.ordersPerSecondPerPod -}}
{{- $terms = append $terms (printf "%.0f / %.0f orders/s" $value $one) -}}
{{- $target = maxf $target (ceil (divf $value $one)) -}}
{{- end -}}
{{- $nodeCpu := float64 (include "nginx-commerce.quantity" (dict "value" .Values.capacity.node.cpu "what" "capacity.node.cpu")) -}}
{{- $nodeMemory := float64 (include "nginx-commerce.quantity" (dict "value" .Values.capacity.node.memory "what" "capacity.node.memory")) -}}
{{- $otherCpu := 0.0 -}}
{{- $otherMemory := 0.0 -}}
{{- $others := list -}}
{{- if .Values.migrations.enabled -}}{{- $others = append $others .Values.migrations.resources -}}{{- end -}}
{{- if .Values.postgresql.enabled -}}{{- $others = append $others .Values.postgresql.resources -}}{{- end -}}
{{- range $others -}}
{{- $otherCpu = addf $otherCpu (float64 (include "nginx-commerce.quantity" (dict "value" (dig "requests" "cpu" 0 .) "what" "requests.cpu"))) -}}
{{- $otherMemory = addf $otherMemory (float64 (include "nginx-commerce.quantity" (dict "value" (dig "requests" "memory" 0 .) "what" "requests.memory"))) -}}
{{- end -}}
{{- $perNode := 1000.0 -}}
{{- if gt $sums.requestCpu 0.0 -}}{{- $perNode = minf $perNode (floor (divf $nodeCpu $sums.requestCpu)) -}}{{- end -}}
{{- if gt $sums.requestMemory 0.0 -}}{{- $perNode = minf $perNode (floor (divf $nodeMemory $sums.requestMemory)) -}}{{- end -}}
{{- $fits := ge $perNode 1.0 -}}
{{- $nodes := dict -}}
{{- if $fits -}}
{{- range $which := list "min" "max" -}}
{{- $replicas := int64 (include (printf "nginx-commerce.%sReplicas" $which) $) -}}
{{- $surge := int64 (include "nginx-commerce.share" (dict "value" $.Values.strategy.maxSurge "of" $replicas)) -}}
{{- $pods := float64 (add $replicas $surge) -}}
{{- $cpu := divf (addf (mulf $pods $sums.requestCpu) $otherCpu) $nodeCpu -}}
{{- $memory := divf (addf (mulf $pods $sums.requestMemory) $otherMemory) $nodeMemory -}}
{{- $_ := set $nodes $which (int64 (ceil (maxf $cpu $memory (divf $pods $perNode)))) -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "requests" (printf "%s CPU, %s memory" (include "nginx-commerce.cores" $sums.requestCpu) (include "nginx-commerce.mebibytes" $sums.requestMemory))
      "limits" (printf "%s CPU, %s memory" (include "nginx-commerce.cores" $sums.limitCpu) (include "nginx-commerce.mebibytes" $sums.limitMemory))
      "terms" (join ", " $terms) "target" (int64 $target) "fits" $fits "nodes" $nodes
      "requestMemory" $sums.requestMemory) -}}
{{- end -}}
