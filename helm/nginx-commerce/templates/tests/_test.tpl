{{/* A pod of "helm test" in the project's own image; dict "root" "name" "weight" "script" "secrets" (true: talks to the database). */}}
{{- define "nginx-commerce.testPod" -}}
{{- $sources := "" -}}
{{- if .secrets -}}
{{- $sources = include "nginx-commerce.databaseSources" (dict "root" .root "password" (include "nginx-commerce.databaseSecret" .root | fromYaml)) | trim -}}
{{- end -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ include "nginx-commerce.fullname" .root }}-test-{{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "nginx-commerce.labels" (dict "root" .root "component" "test") | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-weight: {{ .weight | quote }}
    # it stays for "helm test --logs"
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  restartPolicy: Never
  activeDeadlineSeconds: 240
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .root.Values.podSecurityContext | nindent 4 }}
  containers:
    - name: test
      image: {{ include "nginx-commerce.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command:
        - /bin/sh
        - -c
        - |
          {{- .script | trim | nindent 10 }}
      resources:
        {{- toYaml .root.Values.tests.resources | nindent 8 }}
      securityContext:
        {{- toYaml .root.Values.securityContext | nindent 8 }}
      {{- if .secrets }}
      volumeMounts:
        - name: config
          mountPath: /etc/nginx-commerce
          readOnly: true
        {{- if $sources }}
        - name: secrets
          mountPath: /run/secrets/commerce
          readOnly: true
        {{- end }}
      {{- end }}
  {{- if .secrets }}
  volumes:
    - name: config
      configMap:
        name: {{ include "nginx-commerce.fullname" .root }}
        defaultMode: 0555
    {{- if $sources }}
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- $sources | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
