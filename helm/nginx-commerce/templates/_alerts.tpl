{{/*
The alerts, as YAML: name, expression, how long, severity, what it says. Each has a runbook under its name in
docs/kubernetes.md, and only metrics of the engine occur.
*/}}
{{- define "nginx-commerce.alerts" -}}
{{- $pods := printf "namespace=%q,pod=~\"%s-.*\"" .Release.Namespace (include "nginx-commerce.fullname" .) -}}
{{- $ttl := include "nginx-commerce.seconds" .Values.engine.leaseTtl -}}
- alert: CommerceNoInstance
  expr: absent(commerce_live_instances{ {{- $pods -}} })
  for: 1m
  severity: critical
  summary: No pod of the shop is scraped
  description: Nothing sells, or the monitoring does not reach the pods' port 9145.
- alert: CommerceInstanceCutOff
  expr: time() - commerce_heartbeat_timestamp_seconds{ {{- $pods -}} } > {{ $ttl }}
  for: 30s
  severity: critical
  summary: A pod's heartbeat does not reach the database
  description: The database is away, or this pod is cut off from it; its orders are answered 503, and others settle it.
- alert: CommerceDatabaseConnectionsDown
  expr: commerce_database_connections{ {{- $pods -}} ,state="down"} > 0
  for: 1m
  severity: critical
  summary: Connections to the database cannot be made
  description: Login, limits or network; the pod's log names the reason.
- alert: CommerceRequestsRefused
  expr: >-
    sum by (namespace) (rate(commerce_requests_total{ {{- $pods -}} ,outcome=~"overloaded|unavailable|outcome_unknown"}[5m]))
    / sum by (namespace) (rate(commerce_requests_total{ {{- $pods -}} }[5m])) > 0.01
  for: 2m
  severity: critical
  summary: More than one request in a hundred is answered 503
  description: Queues are full, or the database is slow or away.
- alert: CommerceInternalErrors
  # a series begins with its first event, which increase() does not see
  expr: >-
    increase(commerce_requests_total{ {{- $pods -}} ,outcome="internal"}[10m]) > 0
    or (commerce_requests_total{ {{- $pods -}} ,outcome="internal"}
    unless commerce_requests_total{ {{- $pods -}} ,outcome="internal"} offset 10m)
  for: 0m
  severity: warning
  summary: Requests were answered 500
  description: A defect, or no memory; the error log has the request's id.
- alert: CommerceOrdersSlow
  expr: >-
    histogram_quantile(0.99, sum by (namespace, le) (rate(commerce_order_latency_seconds_bucket{ {{- $pods -}} }[5m])))
    > {{ .Values.metrics.prometheusRule.orderLatencySeconds }}
  for: 5m
  severity: warning
  summary: Orders take long
  description: The 99th percentile from the request to the committed order is above the bound of the release.
- alert: CommerceQueueGrows
  expr: commerce_database_queue{ {{- $pods -}} } > {{ div (int64 .Values.engine.queueLength) 2 }}
  for: 1m
  severity: warning
  summary: Operations pile up before the database
  description: More than half of the queue of one worker is in use; past it orders are refused.
- alert: CommerceOutcomeUnknown
  expr: increase(commerce_outcome_unknown_total{ {{- $pods -}} }[10m]) > 0
  for: 0m
  severity: warning
  summary: Commits had to be looked up
  description: Connections break, or answers take longer than the database timeout.
- alert: CommerceStockLimbo
  expr: commerce_stock_limbo_units{ {{- $pods -}} } > 0
  for: 1m
  severity: warning
  summary: Leased units are in no pool
  description: They cannot be sold until the pod changes its instance id, which it does by itself.
- alert: CommerceRotations
  expr: increase(commerce_rotations_total{ {{- $pods -}} }[15m]) > 2
  for: 0m
  severity: warning
  summary: A pod changes its instance id again and again
  description: Workers die, or heartbeats come too late; the log says why ("is in doubt").
- alert: CommerceZoneFull
  expr: increase(commerce_zone_full_total{ {{- $pods -}} }[10m]) > 0
  for: 0m
  severity: warning
  summary: Shared memory has no room for an article
  description: Orders for it are refused; engine.zoneSize is too small for what is on sale at once.
- alert: CommerceRefundsDue
  expr: increase(commerce_payments_refund_due_total{ {{- $pods -}} }[10m]) > 0
  for: 0m
  severity: warning
  summary: A payment has to be given back
  description: It came for an order that could not take it any more.
- alert: CommerceEventsGivenUp
  expr: increase(commerce_webhook_events_total{ {{- $pods -}} ,status="given_up"}[10m]) > 0
  for: 0m
  severity: warning
  summary: A provider's event found no order
  description: It was tried for three days; commerce.webhook_event has it.
- alert: CommerceEventsWaiting
  expr: max by (namespace) (commerce_webhook_events_waiting{ {{- $pods -}} }) > 0
  for: 30m
  severity: warning
  summary: A provider's events wait for what they are about
  description: They are of another shop, or of orders that this database has lost.
- alert: CommerceWebhooksRefused
  expr: sum by (namespace) (rate(commerce_requests_total{ {{- $pods -}} ,operation="webhook",outcome="unauthenticated"}[10m])) > 0
  for: 10m
  severity: warning
  summary: Webhooks with a wrong signature
  description: The secret does not match the provider's, a clock is wrong, or somebody tries.
- alert: CommerceClientsLimited
  expr: sum by (namespace) (rate(commerce_requests_total{ {{- $pods -}} ,outcome="too_many_requests"}[5m])) > 1
  for: 10m
  severity: info
  summary: The rate limit refuses clients
  description: An attack, a busy client, or a proxy whose clients count as one.
- alert: CommerceReplicationAsynchronous
  expr: min by (namespace) (commerce_synchronous_replication{ {{- $pods -}} }) == 0
  for: 5m
  severity: {{ ternary "warning" "info" (eq .Values.environment "prod") }}
  summary: The database commits without a standby
  description: An acknowledged order may be lost in a failover.
{{- end -}}
