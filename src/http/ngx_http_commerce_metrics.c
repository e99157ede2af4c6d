/*
 * /metrics as Prometheus text, /livez and /readyz.
 */

#include "ngx_http_commerce.h"

#include "ngx_commerce_cache.h"
#include "ngx_commerce_stock.h"


#define NGX_HTTP_COMMERCE_METRICS_SIZE  131072  /* bytes; bounded by tables */


typedef struct {
    u_char                     *last;
    u_char                     *end;
} ngx_http_commerce_page_t;


typedef struct {
    const char                 *name;
    const char                 *help;
    ngx_uint_t                  index;
} ngx_http_commerce_metric_t;


static ngx_int_t ngx_http_commerce_probe(ngx_http_request_t *r);
static void ngx_http_commerce_render(ngx_http_commerce_page_t *page,
    ngx_commerce_zone_t *zone);
static void ngx_http_commerce_render_requests(ngx_http_commerce_page_t *page,
    ngx_commerce_snapshot_t *snapshot);
static void ngx_http_commerce_render_events(ngx_http_commerce_page_t *page,
    ngx_commerce_snapshot_t *snapshot);
static void ngx_http_commerce_render_latency(ngx_http_commerce_page_t *page,
    ngx_commerce_snapshot_t *snapshot);
static void ngx_http_commerce_render_database(ngx_http_commerce_page_t *page,
    ngx_commerce_snapshot_t *snapshot);
static void ngx_http_commerce_render_zone(ngx_http_commerce_page_t *page,
    ngx_commerce_zone_t *zone);
static void ngx_http_commerce_head(ngx_http_commerce_page_t *page,
    const char *name, const char *type, const char *help);
static void ngx_http_commerce_one(ngx_http_commerce_page_t *page,
    const char *name, const char *type, const char *help, uint64_t value);
static void ngx_http_commerce_print(ngx_http_commerce_page_t *page,
    const char *fmt, ...);


static const ngx_http_commerce_metric_t  ngx_http_commerce_counters[] = {
    { "commerce_orders_total", "Orders committed.",
      NGX_COMMERCE_C_ORDERS },
    { "commerce_order_batches_total", "Commits that held orders.",
      NGX_COMMERCE_C_ORDER_BATCHES },
    { "commerce_units_sold_total", "Units on committed order lines.",
      NGX_COMMERCE_C_UNITS_SOLD },
    { "commerce_payments_total", "Payments that succeeded.",
      NGX_COMMERCE_C_PAYMENTS },
    { "commerce_payments_late_total",
      "Of them, payments of orders that had expired.",
      NGX_COMMERCE_C_PAYMENTS_LATE },
    { "commerce_payments_refund_due_total",
      "Payments that their orders could not take.",
      NGX_COMMERCE_C_REFUNDS_DUE },
    { "commerce_replays_total", "Answers given again to the same key.",
      NGX_COMMERCE_C_REPLAYS },
    { "commerce_orders_cancelled_total", "Orders cancelled.",
      NGX_COMMERCE_C_CANCELLED },
    { "commerce_orders_expired_total", "Unpaid orders expired.",
      NGX_COMMERCE_C_EXPIRED },
    { "commerce_lease_units_granted_total", "Units leased from the database.",
      NGX_COMMERCE_C_LEASES_GRANTED },
    { "commerce_lease_units_returned_total", "Leased units given back.",
      NGX_COMMERCE_C_LEASES_RETURNED },
    { "commerce_rotations_total", "Changes to a new instance id.",
      NGX_COMMERCE_C_ROTATIONS },
    { "commerce_instances_settled_total", "Instances settled.",
      NGX_COMMERCE_C_SETTLED },
    { "commerce_outcome_unknown_total",
      "Commits whose outcome had to be looked up.", NGX_COMMERCE_C_UNKNOWN },
    { "commerce_cache_hits_total", "Catalogue answers from shared memory.",
      NGX_COMMERCE_C_CACHE_HITS },
    { "commerce_cache_misses_total", "Catalogue answers from the database.",
      NGX_COMMERCE_C_CACHE_MISSES },
    { "commerce_zone_full_total",
      "Articles that found no room in shared memory.",
      NGX_COMMERCE_C_ZONE_FULL },
    { NULL, NULL, 0 }
};


static const ngx_http_commerce_metric_t  ngx_http_commerce_gauges[] = {
    { "commerce_stock_limbo_units",
      "Leased units that neither a pool nor a request has.",
      NGX_COMMERCE_G_LIMBO_UNITS },
    { "commerce_lease_unused_units", "Unused units of this instance's leases.",
      NGX_COMMERCE_G_LEASED_UNUSED },
    { "commerce_heartbeat_timestamp_seconds",
      "Time of the last heartbeat in the database.",
      NGX_COMMERCE_G_LAST_BEAT },
    { "commerce_synchronous_replication",
      "1 when the database waits for a standby before it commits.",
      NGX_COMMERCE_G_SYNC_REPLICATION },
    { "commerce_webhook_events_waiting",
      "Events whose order or payment is not there yet.",
      NGX_COMMERCE_G_EVENTS_WAITING },
    { NULL, NULL, 0 }
};


static const ngx_http_commerce_metric_t  ngx_http_commerce_events[] = {
    { "applied", NULL, NGX_COMMERCE_C_EVENTS_APPLIED },
    { "duplicate", NULL, NGX_COMMERCE_C_EVENTS_DUPLICATE },
    { "stored", NULL, NGX_COMMERCE_C_EVENTS_STORED },
    { "ignored", NULL, NGX_COMMERCE_C_EVENTS_IGNORED },
    { "given_up", NULL, NGX_COMMERCE_C_EVENTS_GIVEN_UP },
    { NULL, NULL, 0 }
};


static const ngx_http_commerce_metric_t  ngx_http_commerce_states[] = {
    { "ready", NULL, NGX_COMMERCE_W_CONN_READY },
    { "connecting", NULL, NGX_COMMERCE_W_CONN_CONNECTING },
    { "down", NULL, NGX_COMMERCE_W_CONN_DOWN },
    { NULL, NULL, 0 }
};


ngx_int_t
ngx_http_commerce_metrics_handler(ngx_http_request_t *r)
{
    ngx_int_t                       rc;
    ngx_str_t                       body;
    ngx_http_commerce_page_t        page;
    ngx_http_commerce_main_conf_t  *mcf;

    rc = ngx_http_commerce_probe(r);
    if (rc != NGX_OK) {
        return rc;
    }

    body.data = ngx_palloc(r->pool, NGX_HTTP_COMMERCE_METRICS_SIZE);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_commerce_trade != NULL) {
        ngx_commerce_trade_gauges(ngx_http_commerce_trade);
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_commerce_module);

    page.last = body.data;
    page.end = body.data + NGX_HTTP_COMMERCE_METRICS_SIZE;

    ngx_http_commerce_render(&page, mcf->commerce.zone);

    body.len = page.last - body.data;

    return ngx_http_commerce_send_text(r, NGX_HTTP_OK,
                                "text/plain; version=0.0.4; charset=utf-8",
                                &body);
}


ngx_int_t
ngx_http_commerce_health_handler(ngx_http_request_t *r)
{
    ngx_int_t                      rc;
    ngx_str_t                      body;
    const char                    *why;
    commerce_json_writer_t         w;
    ngx_http_commerce_loc_conf_t  *lcf;

    rc = ngx_http_commerce_probe(r);
    if (rc != NGX_OK) {
        return rc;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_commerce_module);

    if (lcf->role == NGX_HTTP_COMMERCE_LIVE) {
        ngx_str_set(&body, "ok\n");
        return ngx_http_commerce_send_text(r, NGX_HTTP_OK, "text/plain",
                                           &body);
    }

    why = "the worker's engine could not be started";

    if (ngx_http_commerce_trade != NULL) {
        why = ngx_commerce_trade_ready(ngx_http_commerce_trade);
    }

    commerce_json_writer_init(&w, 128, ngx_commerce_palloc, r->pool);

    commerce_json_object_open(&w);
    commerce_json_key(&w, "ready");
    commerce_json_boolean(&w, why == NULL);

    if (why != NULL) {
        commerce_json_key(&w, "reason");
        commerce_json_cstring(&w, why);
    }

    commerce_json_object_close(&w);

    if (w.failed) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = w.start;
    body.len = w.last - w.start;

    return ngx_http_commerce_send_text(r, why == NULL
                                          ? NGX_HTTP_OK
                                          : NGX_HTTP_SERVICE_UNAVAILABLE,
                                       "application/json", &body);
}


static ngx_int_t
ngx_http_commerce_probe(ngx_http_request_t *r)
{
    if (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)) {
        return NGX_OK;
    }

    if (ngx_http_commerce_header_text(r, "Allow", "GET, HEAD") != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_HTTP_NOT_ALLOWED;
}


static void
ngx_http_commerce_render(ngx_http_commerce_page_t *page,
    ngx_commerce_zone_t *zone)
{
    ngx_uint_t                         whole;
    ngx_commerce_snapshot_t            snapshot;
    const ngx_http_commerce_metric_t  *m;

    ngx_commerce_counters_read(zone, &snapshot);

    for (m = ngx_http_commerce_counters; m->name != NULL; m++) {
        ngx_http_commerce_one(page, m->name, "counter", m->help,
                              snapshot.counters[m->index]);
    }

    for (m = ngx_http_commerce_gauges; m->name != NULL; m++) {
        ngx_http_commerce_one(page, m->name, "gauge", m->help,
                              snapshot.gauges[m->index]);
    }

    ngx_http_commerce_head(page, "commerce_orders_per_second", "gauge",
                           "Orders per second, over five seconds.");

    whole = (ngx_uint_t) (snapshot.orders_per_second * 1000 + 0.5);

    ngx_http_commerce_print(page, "commerce_orders_per_second %ui.%03ui\n",
                            whole / 1000, whole % 1000);

    ngx_http_commerce_render_requests(page, &snapshot);
    ngx_http_commerce_render_events(page, &snapshot);
    ngx_http_commerce_render_latency(page, &snapshot);
    ngx_http_commerce_render_database(page, &snapshot);
    ngx_http_commerce_render_zone(page, zone);
}


/* Outcomes that have not happened yet are left out, but success. */

static void
ngx_http_commerce_render_requests(ngx_http_commerce_page_t *page,
    ngx_commerce_snapshot_t *snapshot)
{
    uint64_t     n;
    ngx_uint_t   op, problem;
    const char  *outcome;

    ngx_http_commerce_head(page, "commerce_requests_total", "counter",
                           "Requests by operation and outcome.");

    for (op = NGX_COMMERCE_OP_NONE + 1; op < NGX_COMMERCE_OPS; op++) {
        for (problem = 0; problem < COMMERCE_PROBLEMS; problem++) {

            n = snapshot->requests[op][problem];

            if (n == 0 && problem != COMMERCE_NO_PROBLEM) {
                continue;
            }

            outcome = (problem == COMMERCE_NO_PROBLEM)
                      ? "ok" : commerce_problem(problem)->code;

            ngx_http_commerce_print(page, "commerce_requests_total{"
                                    "operation=\"%s\",outcome=\"%s\"} %uL\n",
                                    ngx_http_commerce_operations[op], outcome,
                                    n);
        }
    }
}


static void
ngx_http_commerce_render_events(ngx_http_commerce_page_t *page,
    ngx_commerce_snapshot_t *snapshot)
{
    const ngx_http_commerce_metric_t  *m;

    ngx_http_commerce_head(page, "commerce_webhook_events_total", "counter",
                           "Events of payment providers by what became of "
                           "them.");

    for (m = ngx_http_commerce_events; m->name != NULL; m++) {
        ngx_http_commerce_print(page, "commerce_webhook_events_total"
                                "{status=\"%s\"} %uL\n", m->name,
                                snapshot->counters[m->index]);
    }
}


static void
ngx_http_commerce_render_latency(ngx_http_commerce_page_t *page,
    ngx_commerce_snapshot_t *snapshot)
{
    u_char     *last, text[NGX_INT_T_LEN + 8];
    uint64_t    sum;
    ngx_uint_t  i, bound;

    ngx_http_commerce_head(page, "commerce_order_latency_seconds",
                           "histogram",
                           "Time from the request to its committed order.");

    sum = 0;

    for (i = 0; i < NGX_COMMERCE_LATENCY_BUCKETS - 1; i++) {
        sum += snapshot->latency[i];
        bound = ngx_commerce_latency_bounds[i];

        last = ngx_sprintf(text, "%ui.%06ui", bound / 1000000,
                           bound % 1000000);

        /* 0.0005, 2.0 */
        while (last[-1] == '0' && last[-2] != '.') {
            last--;
        }

        ngx_http_commerce_print(page, "commerce_order_latency_seconds_bucket"
                                "{le=\"%*s\"} %uL\n",
                                (size_t) (last - text), text, sum);
    }

    sum += snapshot->latency[i];

    ngx_http_commerce_print(page, "commerce_order_latency_seconds_bucket"
                            "{le=\"+Inf\"} %uL\n", sum);
    ngx_http_commerce_print(page, "commerce_order_latency_seconds_sum "
                            "%uL.%06uL\n", snapshot->latency_sum / 1000000,
                            snapshot->latency_sum % 1000000);
    ngx_http_commerce_print(page, "commerce_order_latency_seconds_count "
                            "%uL\n", sum);
}


static void
ngx_http_commerce_render_database(ngx_http_commerce_page_t *page,
    ngx_commerce_snapshot_t *snapshot)
{
    uint64_t                           usec;
    const ngx_http_commerce_metric_t  *m;

    ngx_http_commerce_head(page, "commerce_database_connections", "gauge",
                           "Connections to the database by state.");

    for (m = ngx_http_commerce_states; m->name != NULL; m++) {
        ngx_http_commerce_print(page, "commerce_database_connections"
                                "{state=\"%s\"} %uL\n", m->name,
                                snapshot->worker_gauges[m->index]);
    }

    ngx_http_commerce_one(page, "commerce_database_queue", "gauge",
                          "Operations that wait for a connection.",
                          snapshot->worker_gauges[NGX_COMMERCE_W_QUEUE]);

    ngx_http_commerce_one(page, "commerce_database_in_flight", "gauge",
                          "Operations sent and not answered yet.",
                          snapshot->worker_gauges[NGX_COMMERCE_W_IN_FLIGHT]);

    ngx_http_commerce_head(page, "commerce_database_seconds_total", "counter",
                           "Time that batches of orders were in flight.");

    usec = snapshot->counters[NGX_COMMERCE_C_DB_USEC];

    ngx_http_commerce_print(page, "commerce_database_seconds_total "
                            "%uL.%06uL\n", usec / 1000000, usec % 1000000);
}


static void
ngx_http_commerce_render_zone(ngx_http_commerce_page_t *page,
    ngx_commerce_zone_t *zone)
{
    size_t                       size, free;
    ngx_commerce_cache_stats_t   cache;
    ngx_commerce_stock_stats_t   stock;

    ngx_commerce_stock_stats(zone, &stock);
    ngx_commerce_cache_stats(zone, &cache);

    ngx_http_commerce_one(page, "commerce_stock_pool_units", "gauge",
                          "Units in the pools of this instance.",
                          stock.units);
    ngx_http_commerce_one(page, "commerce_stock_in_hand_units", "gauge",
                          "Units that requests have taken from pools.",
                          ngx_commerce_zone_in_hand(zone));
    ngx_http_commerce_one(page, "commerce_stock_refills", "gauge",
                          "Refills of pools in flight.", stock.refilling);

    ngx_http_commerce_head(page, "commerce_zone_variants", "gauge",
                           "Slots for articles in shared memory.");
    ngx_http_commerce_print(page, "commerce_zone_variants{state=\"used\"} "
                            "%ui\n", stock.used);
    ngx_http_commerce_print(page, "commerce_zone_variants{state=\"free\"} "
                            "%ui\n", stock.slots - stock.used);

    size = zone->shm_zone->shm.size;
    free = zone->shpool->pfree * ngx_pagesize;

    ngx_http_commerce_head(page, "commerce_zone_bytes", "gauge",
                           "Shared memory by state.");
    ngx_http_commerce_print(page, "commerce_zone_bytes{state=\"used\"} %uz\n",
                            size - free);
    ngx_http_commerce_print(page, "commerce_zone_bytes{state=\"free\"} %uz\n",
                            free);

    ngx_http_commerce_one(page, "commerce_cache_entries", "gauge",
                          "Catalogue answers in shared memory.",
                          cache.entries);
    ngx_http_commerce_one(page, "commerce_cache_bytes", "gauge",
                          "Bytes of the catalogue cache in use.", cache.bytes);
    ngx_http_commerce_one(page, "commerce_cache_capacity_bytes", "gauge",
                          "Bytes that the catalogue cache has.",
                          cache.capacity);
    ngx_http_commerce_one(page, "commerce_live_instances", "gauge",
                          "Instances on the database at the last heartbeat.",
                          ngx_commerce_zone_live(zone));
}


static void
ngx_http_commerce_head(ngx_http_commerce_page_t *page, const char *name,
    const char *type, const char *help)
{
    ngx_http_commerce_print(page, "# HELP %s %s\n# TYPE %s %s\n",
                            name, help, name, type);
}


static void
ngx_http_commerce_one(ngx_http_commerce_page_t *page, const char *name,
    const char *type, const char *help, uint64_t value)
{
    ngx_http_commerce_head(page, name, type, help);
    ngx_http_commerce_print(page, "%s %uL\n", name, value);
}


static void
ngx_http_commerce_print(ngx_http_commerce_page_t *page, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    page->last = ngx_vslprintf(page->last, page->end, fmt, args);
    va_end(args);
}
