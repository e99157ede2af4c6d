{{/* nginx.conf of the engine. Paths are the image's: docker/README.md. */}}
{{- define "nginx-commerce.nginxConf" -}}
{{- $v := .Values -}}
{{- $conninfo := include "nginx-commerce.conninfo" (dict "root" . "user" (include "nginx-commerce.databaseUser" .) "secrets" "/run/secrets/commerce") -}}
load_module modules/ngx_http_commerce_module.so;

worker_processes {{ include "nginx-commerce.workers" . }};
worker_rlimit_nofile {{ add (mul 2 $v.nginx.workerConnections) 1024 }};
worker_shutdown_timeout {{ int64 $v.shutdown.workerTimeoutSeconds }}s;
pid /run/nginx/nginx.pid;
error_log stderr {{ $v.nginx.logLevel }};
{{- with $v.nginx.extraMain }}
{{ tpl . $ | trim }}
{{- end }}

events {
    worker_connections {{ int64 $v.nginx.workerConnections }};
}

http {
    client_body_temp_path /var/lib/nginx/body;
    proxy_temp_path /var/lib/nginx/proxy;
    fastcgi_temp_path /var/lib/nginx/fastcgi;
    uwsgi_temp_path /var/lib/nginx/uwsgi;
    scgi_temp_path /var/lib/nginx/scgi;

    commerce_zone shop:{{ $v.engine.zoneSize }};
    commerce_database "{{ $conninfo | replace "\\" "\\\\" | replace "\"" "\\\"" }}";
{{- if include "nginx-commerce.databaseSecret" . }}
    commerce_database_password_file /run/secrets/commerce/database-password;
{{- end }}
{{- range $i, $key := $v.tokenKey.keys }}
    commerce_token_key_file /run/secrets/commerce/token-key-{{ $i }};
{{- end }}

    commerce_guest_checkout {{ ternary "on" "off" $v.engine.guestCheckout }};
{{- range include "nginx-commerce.paymentProviders" . | fromJsonArray }}
    commerce_payment_provider {{ .name }}
{{- range .files }} secret_file=/run/secrets/commerce/{{ .path }}{{ end }};
{{- end }}
    commerce_hold_time {{ $v.engine.holdTime }};
    commerce_max_lines {{ int64 $v.engine.maxLines }};
    commerce_low_stock {{ int64 $v.engine.lowStock }};
    commerce_json_depth {{ int64 $v.engine.jsonDepth }};
    commerce_idempotency_retention {{ $v.engine.idempotencyRetention }};
    commerce_connections {{ int64 $v.engine.connections }};
    commerce_read_connections {{ int64 $v.engine.readConnections }};
    commerce_cart_connections {{ int64 $v.engine.cartConnections }};
    commerce_cart_lifetime {{ $v.engine.cartLifetime }};
    commerce_pipeline_depth {{ int64 $v.engine.pipelineDepth }};
    commerce_batch {{ int64 $v.engine.batch }};
    commerce_queue {{ int64 $v.engine.queueLength }} timeout={{ $v.engine.queueTimeout }};
    commerce_database_connect_timeout {{ $v.engine.databaseConnectTimeout }};
    commerce_database_timeout {{ $v.engine.databaseTimeout }};
    commerce_lease_block {{ int64 $v.engine.leaseBlock }};
    commerce_lease_low_water {{ int64 $v.engine.leaseLowWater }};
    commerce_lease_idle {{ $v.engine.leaseIdle }};
    commerce_lease_ttl {{ $v.engine.leaseTtl }};

    server_tokens off;
    client_header_timeout 10s;
    client_body_timeout 10s;
    send_timeout 10s;
    reset_timedout_connection on;
    keepalive_timeout 60s;
    keepalive_requests 10000;
    client_max_body_size {{ $v.nginx.clientMaxBodySize }};
{{- range $v.nginx.trustedProxies }}
    set_real_ip_from {{ . }};
{{- end }}
{{- if $v.nginx.trustedProxies }}
    real_ip_header X-Forwarded-For;
    real_ip_recursive on;
{{- end }}
{{- if $v.rateLimit.enabled }}

    limit_req_zone $binary_remote_addr zone=orders:10m rate={{ int64 $v.rateLimit.ordersPerSecond }}r/s;
    limit_conn_zone $binary_remote_addr zone=clients:10m;
    limit_req_status 429;
    limit_conn_status 429;
{{- end }}
{{- if $v.nginx.accessLog }}

    log_format shop escape=json '{"time":"$time_iso8601","client":"$remote_addr",'
        '"method":"$request_method","uri":"$uri","status":"$status",'
        '"seconds":"$request_time","request_id":"$request_id",'
        '"operation":"$commerce_operation","outcome":"$commerce_outcome",'
        '"order_id":"$commerce_order_id","customer_id":"$commerce_customer_id",'
        '"database_seconds":"$commerce_db_time"}';
    # a write of 4k is one line after another, whoever else writes
    access_log /dev/stdout shop buffer=4k flush=1s;
{{- else }}

    access_log off;
{{- end }}
{{- if $v.tls.enabled }}

    # a name with a variable is read at each handshake: renewal needs no restart
    map $ssl_protocol $tls_pair {
        default tls;
    }
{{- end }}
{{- with $v.nginx.extraHttp }}
{{ tpl . $ | trim | indent 4 }}
{{- end }}

    server {
        listen 8080 backlog=4096;
{{- if $v.nginx.ipv6 }}
        listen [::]:8080 backlog=4096;
{{- end }}
{{- if $v.tls.enabled }}
        listen 8443 ssl backlog=4096;
{{- if $v.nginx.ipv6 }}
        listen [::]:8443 ssl backlog=4096;
{{- end }}
        ssl_certificate /run/secrets/tls/$tls_pair.crt;
        ssl_certificate_key /run/secrets/tls/$tls_pair.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:tls:10m;
        ssl_session_timeout 1h;
{{- end }}
        server_name _;
{{- if $v.rateLimit.enabled }}
        limit_conn clients {{ int64 $v.rateLimit.connections }};
{{- end }}
{{- with $v.nginx.extraServer }}
{{ tpl . $ | trim | indent 8 }}
{{- end }}

        location /v1/ {
            commerce storefront;
        }
{{- if $v.rateLimit.enabled }}

        location = /v1/orders {
            commerce storefront;
            limit_req zone=orders burst={{ int64 $v.rateLimit.ordersBurst }} nodelay;
        }

        location ~ ^/v1/carts/[^/]+/checkout$ {
            commerce storefront;
            limit_req zone=orders burst={{ int64 $v.rateLimit.ordersBurst }} nodelay;
        }
{{- end }}
{{- if $v.adminApi.enabled }}

        location /v1/admin/ {
            commerce admin;
{{- include "nginx-commerce.allow" $v.adminApi.allow }}
        }

        location = /v1/admin/import {
            commerce admin;
            client_max_body_size 0;
            client_body_timeout 60s;
            send_timeout 60s;
{{- include "nginx-commerce.allow" $v.adminApi.allow }}
        }
{{- else }}

        location /v1/admin/ {
            return 404;
        }
{{- end }}

        location / {
            return 404;
        }
    }

    server {
        listen 9145;
{{- if $v.nginx.ipv6 }}
        listen [::]:9145;
{{- end }}
        server_name _;
        access_log off;

        location = /metrics {
            commerce_metrics;
        }

        location = /livez {
            commerce_health live;
        }

        location = /readyz {
            commerce_health ready;
        }

        # the preStop hook asks from inside the pod
        location = /drain {
            commerce_drain;
            allow 127.0.0.1;
            deny all;
        }

        location / {
            return 404;
        }
    }
}
{{ end -}}

{{- define "nginx-commerce.allow" -}}
{{- range . }}
            allow {{ . }};
{{- end }}
{{- if . }}
            deny all;
{{- end }}
{{- end -}}
