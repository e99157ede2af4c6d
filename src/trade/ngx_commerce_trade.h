/*
 * The use cases: what http/ may ask of trade/.  No HTTP type comes in here; a
 * request is an opaque pointer that http/ sets to NULL when its client leaves.
 */

#ifndef NGX_COMMERCE_TRADE_H
#define NGX_COMMERCE_TRADE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "commerce_types.h"
#include "commerce_problem.h"
#include "commerce_json_reader.h"
#include "commerce_json_writer.h"
#include "ngx_commerce_zone.h"
#include "ngx_commerce_counters.h"
#include "ngx_commerce_pg.h"
#include "ngx_commerce_token.h"


/* A worker has no more fence rows for its order connections. */
#define NGX_COMMERCE_ORDER_CONNECTIONS  32


/* A payment provider; without secrets it sends no webhooks. */
typedef struct {
    ngx_str_t                   name;
    ngx_commerce_token_keys_t   secrets;    /* all verify */
} ngx_commerce_provider_t;


/* Values of the directives; filled by http/, one for the configuration. */
typedef struct {
    ngx_commerce_zone_t        *zone;
    ngx_commerce_pg_server_t    server;
    ngx_commerce_token_keys_t  *token_keys;

    ngx_uint_t                  connections;        /* orders, per worker */
    ngx_uint_t                  read_connections;   /* per worker */
    ngx_uint_t                  pipeline_depth;     /* of reads */
    ngx_uint_t                  batch;              /* orders in one commit */
    ngx_uint_t                  queue;              /* orders that wait */
    ngx_msec_t                  queue_timeout;

    ngx_uint_t                  lease_block;        /* units */
    ngx_msec_t                  lease_ttl;
    ngx_uint_t                  lease_low_water;    /* percent */
    ngx_msec_t                  lease_idle;

    time_t                      hold_time;          /* seconds */
    ngx_uint_t                  max_lines;
    ngx_uint_t                  cart_connections;   /* per worker */
    time_t                      cart_lifetime;      /* seconds */
    ngx_uint_t                  json_depth;
    ngx_uint_t                  low_stock;          /* units: "low_stock" */
    ngx_flag_t                  guest_checkout;
    ngx_array_t                *providers;  /* of ngx_commerce_provider_t */
    time_t                      idempotency_retention;  /* seconds */
} ngx_commerce_conf_t;


typedef struct ngx_commerce_trade_s   ngx_commerce_trade_t;
typedef struct ngx_commerce_call_s    ngx_commerce_call_t;
typedef struct ngx_commerce_import_s  ngx_commerce_import_t;


/* The worker's engine: pools, lanes, timers. */
ngx_commerce_trade_t *ngx_commerce_trade_start(ngx_cycle_t *cycle,
    ngx_commerce_conf_t *conf);
void ngx_commerce_trade_stop(ngx_commerce_trade_t *trade);

/* NULL when ready to serve, else why not, in words. */
const char *ngx_commerce_trade_ready(ngx_commerce_trade_t *trade);

/* A call begins and ends: a worker that exits waits for those that began. */
void ngx_commerce_trade_enter(ngx_commerce_trade_t *trade);
void ngx_commerce_trade_leave(ngx_commerce_trade_t *trade);

/*
 * Drain: grants for need only, leases go back; "done" is called once, when
 * nothing is held any more (status 200) or time is up (503).
 */
void ngx_commerce_trade_drain(ngx_commerce_call_t *call);

/* Refreshes this worker's gauges in the zone before metrics are rendered. */
void ngx_commerce_trade_gauges(ngx_commerce_trade_t *trade);


/*
 * A call: one request's use case.  http/ makes it with a pool of its own and
 * fills the input; a handler ends it by exactly one ngx_commerce_answer() or
 * ngx_commerce_refuse(), now or from a later event.  It outlives its request:
 * a commit in flight is never cancelled by a hang-up.
 */
struct ngx_commerce_call_s {
    ngx_pool_t                 *pool;
    ngx_log_t                  *log;        /* outlives the request */
    ngx_commerce_trade_t       *trade;
    void                       *request;    /* NULL: the client has gone */

    /* http/'s; called once, by answer() or refuse() */
    void                      (*done)(ngx_commerce_call_t *call);
    /* http/'s; a guard calls it when the caller may go on (reads the body) */
    void                      (*proceed)(ngx_commerce_call_t *call);

    ngx_commerce_operation_e    operation;

    /* input; the bytes live in call->pool */
    ngx_str_t                   id;         /* {id}, {sku}, {id or slug};
                                               percent-decoded */
    ngx_str_t                   sub;        /* /v1/carts/{id}/lines/{sub} */
    ngx_str_t                   query;      /* arguments as they came */
    ngx_str_t                   request_id;
    ngx_str_t                   idempotency_key;    /* data NULL: absent */
    ngx_str_t                   order_token;
    ngx_str_t                   cart_token;
    ngx_str_t                   authorization;
    ngx_str_t                   if_match;
    ngx_str_t                   if_none_match;
    ngx_str_t                   signature;  /* Commerce-Signature */
    ngx_str_t                   body;       /* whole, contiguous */
    commerce_json_t            *json;       /* its tree; NULL: no body */
    ngx_str_t                   target;     /* "POST /v1/orders": method and
                                               normalised path, for digests */

    /* output */
    ngx_uint_t                  status;
    ngx_str_t                   answer;     /* body; empty: none */
    ngx_str_t                   location;
    ngx_str_t                   etag;       /* with its quotes */
    ngx_uint_t                  retry_after;        /* seconds; 0: none */
    ngx_str_t                   scope;      /* for 401 and 403 */
    unsigned                    replayed:1;
    unsigned                    answered:1;
    unsigned                    stored:1;   /* what it writes is, or may be:
                                               see refuse() */
    unsigned                    cacheable:1;        /* public catalogue */
    commerce_problem_e          problem;
    const char                 *detail;     /* of a problem; may be NULL */
    commerce_json_errors_t     *errors;     /* of a problem; may be NULL */
    ngx_str_t                   extra;      /* members of a problem besides,
                                               as JSON text without braces */

    /* who calls, set by guard_staff: "key:<name>" and the key's id */
    ngx_str_t                   actor;
    commerce_uuid_t             actor_id;
    unsigned                    staff:1;
    unsigned                    may_stock:1;    /* has "stock:write" too */

    commerce_uuid_t             cart_id;    /* set by guard_cart */

    /* for variables and metrics */
    commerce_uuid_t             order_id;
    unsigned                    has_order_id:1;
    uint64_t                    db_usec;
    uint64_t                    started;    /* microseconds, monotonic */

    void                       *ctx;        /* http/'s */
    void                       *data;       /* the use case's */
};


typedef void (*ngx_commerce_handler_pt)(ngx_commerce_call_t *call);


/* body may be NULL (no body). */
void ngx_commerce_answer(ngx_commerce_call_t *call, ngx_uint_t status,
    ngx_str_t *body);

/*
 * detail: a constant or in call->pool; never what the client sent.  With
 * call->stored a 5xx becomes outcome_unknown: the others promise that nothing
 * was done.
 */
void ngx_commerce_refuse(ngx_commerce_call_t *call, commerce_problem_e problem,
    const char *detail);

/* Microseconds of the monotonic clock. */
uint64_t ngx_commerce_clock(void);

/* commerce_json_alloc_pt over an ngx_pool_t. */
void *ngx_commerce_palloc(void *pool, size_t size);

/* Value of a query argument, percent-decoded; NGX_DECLINED: not there. */
ngx_int_t ngx_commerce_argument(ngx_commerce_call_t *call, const char *name,
    ngx_str_t *value);


/* Guards: run before the body is read; end in proceed() or refuse(). */
void ngx_commerce_guard_none(ngx_commerce_call_t *call);
void ngx_commerce_guard_checkout(ngx_commerce_call_t *call);
void ngx_commerce_guard_order(ngx_commerce_call_t *call);   /* {id}'s owner */
void ngx_commerce_guard_cart(ngx_commerce_call_t *call);
void ngx_commerce_guard_cart_checkout(ngx_commerce_call_t *call);
void ngx_commerce_guard_webhook(ngx_commerce_call_t *call); /* {provider} */
/* needs call->scope, e.g. "stock:write" */
void ngx_commerce_guard_staff(ngx_commerce_call_t *call);


/* Storefront */
void ngx_commerce_product_list(ngx_commerce_call_t *call);
void ngx_commerce_product_get(ngx_commerce_call_t *call);
void ngx_commerce_cart_checkout(ngx_commerce_call_t *call);
void ngx_commerce_order_create(ngx_commerce_call_t *call);
void ngx_commerce_order_get(ngx_commerce_call_t *call);
void ngx_commerce_order_cancel(ngx_commerce_call_t *call);
void ngx_commerce_payment_create(ngx_commerce_call_t *call);
void ngx_commerce_cart_create(ngx_commerce_call_t *call);
void ngx_commerce_cart_get(ngx_commerce_call_t *call);
void ngx_commerce_cart_line_add(ngx_commerce_call_t *call);
void ngx_commerce_shipping_method_list(ngx_commerce_call_t *call);
void ngx_commerce_cart_line_set(ngx_commerce_call_t *call);
void ngx_commerce_cart_line_remove(ngx_commerce_call_t *call);
void ngx_commerce_cart_coupon_put(ngx_commerce_call_t *call);
void ngx_commerce_cart_coupon_remove(ngx_commerce_call_t *call);
void ngx_commerce_cart_shipping_put(ngx_commerce_call_t *call);
void ngx_commerce_cart_email_put(ngx_commerce_call_t *call);
void ngx_commerce_webhook_take(ngx_commerce_call_t *call);

/* NULL: it is not configured. */
ngx_commerce_provider_t *ngx_commerce_provider(ngx_commerce_conf_t *conf,
    const u_char *name, size_t len);

/* Admin */
void ngx_commerce_admin_product_list(ngx_commerce_call_t *call);
void ngx_commerce_admin_product_get(ngx_commerce_call_t *call);
void ngx_commerce_admin_product_create(ngx_commerce_call_t *call);
void ngx_commerce_admin_product_replace(ngx_commerce_call_t *call);
void ngx_commerce_admin_variant_get(ngx_commerce_call_t *call);
void ngx_commerce_admin_variant_update(ngx_commerce_call_t *call);
void ngx_commerce_admin_prices_put(ngx_commerce_call_t *call);
void ngx_commerce_admin_stock_get(ngx_commerce_call_t *call);
void ngx_commerce_admin_stock_adjust(ngx_commerce_call_t *call);
void ngx_commerce_admin_order_get(ngx_commerce_call_t *call);
void ngx_commerce_admin_order_cancel(ngx_commerce_call_t *call);
/* of tax rates, shipping methods and coupons, by call->operation */
void ngx_commerce_admin_pricing_list(ngx_commerce_call_t *call);
void ngx_commerce_admin_pricing_get(ngx_commerce_call_t *call);
void ngx_commerce_admin_pricing_create(ngx_commerce_call_t *call);
void ngx_commerce_admin_pricing_replace(ngx_commerce_call_t *call);
void ngx_commerce_admin_pricing_delete(ngx_commerce_call_t *call);
void ngx_commerce_admin_order_list(ngx_commerce_call_t *call);
void ngx_commerce_admin_order_events(ngx_commerce_call_t *call);
void ngx_commerce_admin_fulfilment_create(ngx_commerce_call_t *call);
void ngx_commerce_admin_refund_create(ngx_commerce_call_t *call);


/*
 * NDJSON import.  http/ cuts the body into rows while it arrives; rows go to
 * the database in groups; each row's answer is emitted as one line while later
 * rows still arrive.  Memory is bounded by one group.
 */
#define NGX_COMMERCE_IMPORT_ROW_MAX  262144     /* bytes of a row */

struct ngx_commerce_import_s {
    ngx_commerce_call_t        *call;
    /* http/'s: one whole line with its newline; the bytes are the caller's */
    void                      (*emit)(ngx_commerce_import_t *import,
                                      const u_char *line, size_t len);
    /* http/'s: there is room again after NGX_AGAIN */
    void                      (*room)(ngx_commerce_import_t *import);
    /* http/'s: every row is answered (after import_end()) */
    void                      (*ended)(ngx_commerce_import_t *import);
    void                       *ctx;        /* http/'s */
    void                       *data;       /* trade/'s */
};

ngx_int_t ngx_commerce_import_start(ngx_commerce_import_t *import);

/* NGX_OK: taken (copied); NGX_AGAIN: wait for room(), then give it again.
   A NULL row stands for one that was too long. */
ngx_int_t ngx_commerce_import_row(ngx_commerce_import_t *import,
    const u_char *row, size_t len);

/* No more rows (end of body, or the client has gone). */
void ngx_commerce_import_end(ngx_commerce_import_t *import);


#endif
