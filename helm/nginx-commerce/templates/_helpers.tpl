{{/* Names, labels and pieces that several objects share. */}}

{{- define "nginx-commerce.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 47 characters leave room for the longest suffix within 63. */}}
{{- define "nginx-commerce.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 47 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a selector names; it must never change within a release. */}}
{{- define "nginx-commerce.selector" -}}
app.kubernetes.io/name: {{ include "nginx-commerce.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of a pod: nothing that changes with the chart alone, which would replace it. */}}
{{- define "nginx-commerce.podLabels" -}}
{{ include "nginx-commerce.selector" . }}
app.kubernetes.io/part-of: {{ include "nginx-commerce.name" .root }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "nginx-commerce.labels" -}}
{{ include "nginx-commerce.podLabels" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "nginx-commerce.imageReference" -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | toString) -}}
{{- end -}}
{{- end -}}

{{- define "nginx-commerce.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- include "nginx-commerce.imageReference" (dict "repository" .Values.image.repository "tag" $tag "digest" .Values.image.digest) -}}
{{- end -}}

{{- define "nginx-commerce.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "nginx-commerce.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The grace period counts from the deletion and includes the preStop hook. */}}
{{- define "nginx-commerce.shutdownSum" -}}
{{- with .Values.shutdown -}}
{{- add .drainSeconds .delaySeconds .workerTimeoutSeconds .marginSeconds -}}
{{- end -}}
{{- end -}}

{{- define "nginx-commerce.gracePeriod" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- include "nginx-commerce.shutdownSum" . -}}
{{- else -}}
{{- int64 .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{/* Who counts the replicas, and between which bounds. */}}
{{- define "nginx-commerce.autoscaled" -}}
{{- if or .Values.autoscaling.enabled .Values.keda.enabled }}true{{ end -}}
{{- end -}}

{{- define "nginx-commerce.minReplicas" -}}
{{- if include "nginx-commerce.autoscaled" . -}}
{{- int64 .Values.autoscaling.minReplicas -}}
{{- else -}}
{{- int64 .Values.replicaCount -}}
{{- end -}}
{{- end -}}

{{- define "nginx-commerce.maxReplicas" -}}
{{- if include "nginx-commerce.autoscaled" . -}}
{{- int64 .Values.autoscaling.maxReplicas -}}
{{- else -}}
{{- int64 .Values.replicaCount -}}
{{- end -}}
{{- end -}}

{{/* Number or percent (rounded up) of dict "value" "of". */}}
{{- define "nginx-commerce.share" -}}
{{- $text := toString .value -}}
{{- if hasSuffix "%" $text -}}
{{- ceil (divf (mulf (float64 (trimSuffix "%" $text)) (float64 .of)) 100) | int64 -}}
{{- else -}}
{{- int64 .value -}}
{{- end -}}
{{- end -}}

{{/* Does the release have a Secret of its own, and for what? */}}
{{- define "nginx-commerce.ownSecret" -}}
{{- if or .Values.postgresql.enabled .Values.database.password (not .Values.tokenKey.existingSecret) }}true{{ end -}}
{{- end -}}

{{- define "nginx-commerce.databaseSecret" -}}
{{- if .Values.database.existingSecret -}}
{{- toYaml (dict "name" .Values.database.existingSecret "key" .Values.database.passwordKey) -}}
{{- else if or .Values.postgresql.enabled .Values.database.password -}}
{{- toYaml (dict "name" (include "nginx-commerce.fullname" .) "key" "database-password") -}}
{{- end -}}
{{- end -}}

{{/* Where the owner's password is: a hook may use what is there before it. */}}
{{- define "nginx-commerce.ownerSecret" -}}
{{- if .Values.postgresql.enabled -}}
{{- toYaml (dict "name" (include "nginx-commerce.fullname" .) "key" "owner-password") -}}
{{- else if .Values.migrations.existingSecret -}}
{{- toYaml (dict "name" .Values.migrations.existingSecret "key" .Values.migrations.passwordKey) -}}
{{- else if .Values.migrations.password -}}
{{- toYaml (dict "name" (printf "%s-migrate" (include "nginx-commerce.fullname" .)) "key" "owner-password") -}}
{{- else if .Values.database.existingSecret -}}
{{- toYaml (dict "name" .Values.database.existingSecret "key" .Values.database.passwordKey) -}}
{{- else if .Values.database.password -}}
{{- toYaml (dict "name" (printf "%s-migrate" (include "nginx-commerce.fullname" .)) "key" "owner-password") -}}
{{- end -}}
{{- end -}}

{{- define "nginx-commerce.databaseHost" -}}
{{- if .Values.postgresql.enabled -}}
{{- printf "%s-postgresql" (include "nginx-commerce.fullname" .) -}}
{{- else -}}
{{- .Values.database.host -}}
{{- end -}}
{{- end -}}

{{- define "nginx-commerce.databasePort" -}}
{{- ternary 5432 (int64 .Values.database.port) .Values.postgresql.enabled -}}
{{- end -}}

{{- define "nginx-commerce.databaseUser" -}}
{{- .Values.database.user -}}
{{- end -}}

{{- define "nginx-commerce.ownerUser" -}}
{{- if .Values.postgresql.enabled -}}
postgres
{{- else -}}
{{- .Values.migrations.user | default .Values.database.user -}}
{{- end -}}
{{- end -}}

{{- define "nginx-commerce.sslMode" -}}
{{- ternary "disable" .Values.database.sslMode .Values.postgresql.enabled -}}
{{- end -}}

{{/* One word of a conninfo, quoted where libpq asks for it. */}}
{{- define "nginx-commerce.conninfoValue" -}}
{{- if regexMatch "^[A-Za-z0-9._:/,@%+-]+$" . -}}
{{- . -}}
{{- else -}}
{{- printf "'%s'" (. | replace "\\" "\\\\" | replace "'" "\\'") -}}
{{- end -}}
{{- end -}}

{{/* libpq's conninfo without the password, for dict "root" "user" "secrets" (the directory with the certificates). */}}
{{- define "nginx-commerce.conninfo" -}}
{{- $db := .root.Values.database -}}
{{- $mode := include "nginx-commerce.sslMode" .root -}}
{{- $words := list
      (printf "host=%s" (include "nginx-commerce.conninfoValue" (include "nginx-commerce.databaseHost" .root)))
      (printf "port=%s" (include "nginx-commerce.databasePort" .root))
      (printf "user=%s" (include "nginx-commerce.conninfoValue" .user))
      (printf "dbname=%s" (include "nginx-commerce.conninfoValue" $db.name))
      (printf "sslmode=%s" $mode) -}}
{{- if hasPrefix "verify-" $mode -}}
{{- $words = append $words (printf "sslrootcert=%s" (ternary (printf "%s/database-ca.crt" .secrets) "/etc/ssl/certs/ca-certificates.crt" (ne $db.caSecret ""))) -}}
{{- end -}}
{{- if and $db.clientCertSecret (ne $mode "disable") -}}
{{- $words = append $words (printf "sslcert=%s/database-client.crt sslkey=%s/database-client.key" .secrets .secrets) -}}
{{- end -}}
{{- if and $db.options (not .root.Values.postgresql.enabled) -}}
{{- $words = append $words $db.options -}}
{{- end -}}
{{- join " " $words -}}
{{- end -}}

{{/* Sources of a projected volume that every pod needs which talks to the database; dict "root" "password" (name and key). */}}
{{- define "nginx-commerce.databaseSources" -}}
{{- with .password }}
- secret:
    name: {{ .name }}
    items:
      - key: {{ .key }}
        path: database-password
{{- end }}
{{- if and (not .root.Values.postgresql.enabled) .root.Values.database.caSecret }}
- secret:
    name: {{ .root.Values.database.caSecret }}
    items:
      - key: {{ .root.Values.database.caKey }}
        path: database-ca.crt
{{- end }}
{{- if and (not .root.Values.postgresql.enabled) .root.Values.database.clientCertSecret }}
- secret:
    name: {{ .root.Values.database.clientCertSecret }}
    items:
      - key: tls.crt
        path: database-client.crt
      - key: tls.key
        path: database-client.key
{{- end }}
{{- end -}}

{{/* Payment providers as JSON [{name, secret, files: [{key, path}]}]; a name alone is one without webhooks. */}}
{{- define "nginx-commerce.paymentProviders" -}}
{{- $all := list -}}
{{- range .Values.engine.paymentProviders -}}
{{- $provider := ternary (dict "name" .) . (kindIs "string" .) -}}
{{- $files := list -}}
{{- if $provider.existingSecret -}}
{{- range $i, $key := $provider.keys | default (list "secret") -}}
{{- $files = append $files (dict "key" $key "path" (printf "provider-%s-%d" $provider.name $i)) -}}
{{- end -}}
{{- end -}}
{{- $all = append $all (dict "name" $provider.name "secret" ($provider.existingSecret | default "") "files" $files) -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{- define "nginx-commerce.hasTestProvider" -}}
{{- range include "nginx-commerce.paymentProviders" . | fromJsonArray -}}
{{- if eq .name "test" }}true{{ end -}}
{{- end -}}
{{- end -}}

{{- define "nginx-commerce.tlsSecretName" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "nginx-commerce.fullname" .)) -}}
{{- end -}}

{{/* An extra container with the chart's security context, unless it has one. */}}
{{- define "nginx-commerce.extraContainers" -}}
{{- $root := .root -}}
{{- range .containers }}
{{- $container := deepCopy . -}}
{{- if not (hasKey $container "securityContext") -}}
{{- $_ := set $container "securityContext" $root.Values.securityContext -}}
{{- end }}
- {{ tpl (toYaml $container) $root | nindent 2 | trim }}
{{- end }}
{{- end -}}

{{/* Seconds of one of nginx's times: 10s, 1m, 500ms, 30. */}}
{{- define "nginx-commerce.seconds" -}}
{{- $unit := regexFind "[a-z]+$" (toString .) -}}
{{- $number := float64 (trimSuffix $unit (toString .)) -}}
{{- $factor := get (dict "ms" 0.001 "s" 1 "m" 60 "h" 3600 "d" 86400 "" 1) $unit -}}
{{- mulf $number $factor -}}
{{- end -}}
