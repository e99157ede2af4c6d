/*
 * The worker's engine: its pools of connections, its lanes, its end.
 */

#include "ngx_commerce_engine.h"
#include "ngx_commerce_quote.h"


/* fence slots: unique among the living connections of an instance */
#define NGX_COMMERCE_SLOTS         64       /* of one process slot */
#define NGX_COMMERCE_SLOT_LEASES   32
#define NGX_COMMERCE_SLOT_WRITES   40
#define NGX_COMMERCE_SLOT_READS    48
#define NGX_COMMERCE_SLOT_CARTS    56

/*
 * Generic plans without sequential scans: statements are prepared when the
 * tables may still be empty, and a plan from then must not last (an order
 * batch took 471 us an order instead of 33 with one).
 */
#define NGX_COMMERCE_WRITE_SETTINGS                                           \
    "plan_cache_mode=force_generic_plan,enable_seqscan=off,jit=off,"          \
    "lock_timeout=2s,statement_timeout=30s,"                                  \
    "idle_in_transaction_session_timeout=10s"
/* msec that requests wait for a database that was there a moment ago */
#define NGX_COMMERCE_AWAY          1000

/* a refill behind a locked row holds up all others of its worker */
#define NGX_COMMERCE_LEASE_SETTINGS                                           \
    "plan_cache_mode=force_generic_plan,enable_seqscan=off,jit=off,"          \
    "lock_timeout=500ms,statement_timeout=30s,"                               \
    "idle_in_transaction_session_timeout=10s"
/* for carts alone: what is not on disk yet when the server dies is lost */
#define NGX_COMMERCE_CART_SETTINGS                                            \
    NGX_COMMERCE_WRITE_SETTINGS ",synchronous_commit=off"
/* to plan a reading anew costs several times as much as to run it */
#define NGX_COMMERCE_READ_SETTINGS                                            \
    "plan_cache_mode=force_generic_plan,enable_seqscan=off,jit=off,"          \
    "statement_timeout=5s,"                                                   \
    "default_transaction_read_only=on"


static int64_t ngx_commerce_trade_master(void *data);
static void ngx_commerce_trade_orders_ready(void *data, ngx_uint_t ready);
static ngx_commerce_pg_pool_t *ngx_commerce_trade_pool(
    ngx_commerce_trade_t *trade, const char *name, ngx_uint_t connections,
    ngx_uint_t depth, ngx_uint_t slot, const ngx_uint_t *statements,
    ngx_uint_t n, const char *settings);


static const ngx_uint_t  ngx_commerce_order_statements[] = {
    NGX_COMMERCE_SQL_FENCE,
    NGX_COMMERCE_SQL_CHECKOUT,
    NGX_COMMERCE_SQL_CHECKOUT_WHOLE,
    NGX_COMMERCE_SQL_CLAIM_LOCK,
    NGX_COMMERCE_SQL_CLAIM,
    NGX_COMMERCE_SQL_UNCLAIM,
    NGX_COMMERCE_SQL_ORDER_BY_KEY,
    NGX_COMMERCE_SQL_RULES,
    NGX_COMMERCE_SQL_PAY
};

static const ngx_uint_t  ngx_commerce_lease_statements[] = {
    NGX_COMMERCE_SQL_FENCE,
    NGX_COMMERCE_SQL_LOCK_STOCK,
    NGX_COMMERCE_SQL_RETURN,
    NGX_COMMERCE_SQL_GRANT,
    NGX_COMMERCE_SQL_GRANTED,
    NGX_COMMERCE_SQL_CLOSE_USED,
    NGX_COMMERCE_SQL_SETTLE_DYING,
    NGX_COMMERCE_SQL_SETTLE_TERMINATE,
    NGX_COMMERCE_SQL_SETTLE_LOCK,
    NGX_COMMERCE_SQL_SETTLE_LOCK_FENCES,
    NGX_COMMERCE_SQL_SETTLE,
    NGX_COMMERCE_SQL_SETTLE_DEAD
};

static const ngx_uint_t  ngx_commerce_read_statements[] = {
    NGX_COMMERCE_SQL_ORDER,
    NGX_COMMERCE_SQL_ORDER_LINES,
    NGX_COMMERCE_SQL_ORDER_PAGE,
    NGX_COMMERCE_SQL_ORDER_EVENTS,
    NGX_COMMERCE_SQL_PAYMENT_BY_KEY,
    NGX_COMMERCE_SQL_VARIANTS,
    NGX_COMMERCE_SQL_PRODUCT_BY_ID,
    NGX_COMMERCE_SQL_PRODUCT_BY_SLUG,
    NGX_COMMERCE_SQL_PRODUCT_PAGE,
    NGX_COMMERCE_SQL_ADMIN_PRODUCT_PAGE,
    NGX_COMMERCE_SQL_STOCK_OF,
    NGX_COMMERCE_SQL_VARIANT_BY_SKU,
    NGX_COMMERCE_SQL_API_KEY,
    NGX_COMMERCE_SQL_RULES,
    NGX_COMMERCE_SQL_RULES_RATES,
    NGX_COMMERCE_SQL_RULES_METHODS,
    NGX_COMMERCE_SQL_TAX_RATE_PAGE,
    NGX_COMMERCE_SQL_TAX_RATE,
    NGX_COMMERCE_SQL_SHIPPING_METHOD_PAGE,
    NGX_COMMERCE_SQL_SHIPPING_METHOD,
    NGX_COMMERCE_SQL_COUPON_PAGE,
    NGX_COMMERCE_SQL_COUPON_ROW,
    NGX_COMMERCE_SQL_CART_ONE,
    NGX_COMMERCE_SQL_CART_ONE_LINES,
    NGX_COMMERCE_SQL_CART_BY_KEY
};

static const ngx_uint_t  ngx_commerce_cart_statements[] = {
    NGX_COMMERCE_SQL_CART_CREATE,
    NGX_COMMERCE_SQL_CART_LOCK,
    NGX_COMMERCE_SQL_CART_WRITE,
    NGX_COMMERCE_SQL_CART,
    NGX_COMMERCE_SQL_CART_LINES
};

static const ngx_uint_t  ngx_commerce_write_statements[] = {
    NGX_COMMERCE_SQL_CANCEL,
    NGX_COMMERCE_SQL_PAY_LATE,
    NGX_COMMERCE_SQL_TAKE_EVENTS,
    NGX_COMMERCE_SQL_RECALL,
    NGX_COMMERCE_SQL_PUT_PRODUCTS,
    NGX_COMMERCE_SQL_PUT_VARIANT,
    NGX_COMMERCE_SQL_IMPORT_STOCK,
    NGX_COMMERCE_SQL_IMPORT_PRICES,
    NGX_COMMERCE_SQL_ADJUST_STOCK,
    NGX_COMMERCE_SQL_PUT_TAX_RATE,
    NGX_COMMERCE_SQL_DELETE_TAX_RATE,
    NGX_COMMERCE_SQL_PUT_SHIPPING_METHOD,
    NGX_COMMERCE_SQL_DELETE_SHIPPING_METHOD,
    NGX_COMMERCE_SQL_PUT_COUPON,
    NGX_COMMERCE_SQL_DELETE_COUPON,
    NGX_COMMERCE_SQL_FULFIL,
    NGX_COMMERCE_SQL_REFUND,
    /* what was written is read in the same transaction */
    NGX_COMMERCE_SQL_PRODUCT_BY_ID,
    NGX_COMMERCE_SQL_PRODUCT_BY_SLUG,
    NGX_COMMERCE_SQL_VARIANT_BY_SKU,
    NGX_COMMERCE_SQL_TAX_RATE,
    NGX_COMMERCE_SQL_SHIPPING_METHOD,
    NGX_COMMERCE_SQL_COUPON_ROW
};

#define ngx_commerce_n(a)  (sizeof(a) / sizeof(a[0]))


ngx_commerce_trade_t *
ngx_commerce_trade_start(ngx_cycle_t *cycle, ngx_commerce_conf_t *conf)
{
    ngx_commerce_trade_t  *trade;

    trade = ngx_pcalloc(cycle->pool, sizeof(ngx_commerce_trade_t));
    if (trade == NULL) {
        return NULL;
    }

    trade->conf = conf;
    trade->zone = conf->zone;
    trade->cycle = cycle;
    trade->log = cycle->log;
    trade->lost = ngx_current_msec;

    conf->server.instance = ngx_commerce_trade_master;
    conf->server.data = trade;

    ngx_commerce_zone_worker_start(trade->zone);

    if (ngx_commerce_random((u_char *) &trade->master, sizeof(int64_t))
        != NGX_OK)
    {
        return NULL;
    }

    trade->master = ngx_commerce_zone_master(trade->zone,
                                             trade->master & INT64_MAX);

    trade->orders = ngx_commerce_trade_pool(trade, "orders",
                        conf->connections, 1, 0,
                        ngx_commerce_order_statements,
                        ngx_commerce_n(ngx_commerce_order_statements),
                        NGX_COMMERCE_WRITE_SETTINGS);

    trade->leases = ngx_commerce_trade_pool(trade, "leases", 1, 1,
                        NGX_COMMERCE_SLOT_LEASES,
                        ngx_commerce_lease_statements,
                        ngx_commerce_n(ngx_commerce_lease_statements),
                        NGX_COMMERCE_LEASE_SETTINGS);

    trade->reads = ngx_commerce_trade_pool(trade, "reads",
                       conf->read_connections, conf->pipeline_depth,
                       NGX_COMMERCE_SLOT_READS,
                       ngx_commerce_read_statements,
                       ngx_commerce_n(ngx_commerce_read_statements),
                       NGX_COMMERCE_READ_SETTINGS);

    trade->writes = ngx_commerce_trade_pool(trade, "writes", 2, 1,
                        NGX_COMMERCE_SLOT_WRITES,
                        ngx_commerce_write_statements,
                        ngx_commerce_n(ngx_commerce_write_statements),
                        NGX_COMMERCE_WRITE_SETTINGS);

    trade->carts = ngx_commerce_trade_pool(trade, "carts",
                       conf->cart_connections, 1, NGX_COMMERCE_SLOT_CARTS,
                       ngx_commerce_cart_statements,
                       ngx_commerce_n(ngx_commerce_cart_statements),
                       NGX_COMMERCE_CART_SETTINGS);

    if (trade->orders == NULL || trade->leases == NULL
        || trade->reads == NULL || trade->writes == NULL
        || trade->carts == NULL
        || ngx_commerce_lease_start(trade) != NGX_OK
        || ngx_commerce_checkout_start(trade) != NGX_OK
        || ngx_commerce_payment_start(trade) != NGX_OK
        || ngx_commerce_webhook_start(trade) != NGX_OK
        || ngx_commerce_staff_start(trade) != NGX_OK
        || ngx_commerce_rules_start(trade) != NGX_OK
        || ngx_commerce_import_lanes(trade) != NGX_OK
        || ngx_commerce_cart_start(trade) != NGX_OK
        || ngx_commerce_exit_start(trade) != NGX_OK
        || ngx_commerce_background_start(trade) != NGX_OK)
    {
        return NULL;
    }

    return trade;
}


static ngx_commerce_pg_pool_t *
ngx_commerce_trade_pool(ngx_commerce_trade_t *trade, const char *name,
    ngx_uint_t connections, ngx_uint_t depth, ngx_uint_t slot,
    const ngx_uint_t *statements, ngx_uint_t n, const char *settings)
{
    ngx_commerce_pg_purpose_t  purpose;

    ngx_memzero(&purpose, sizeof(ngx_commerce_pg_purpose_t));

    purpose.name.data = (u_char *) name;
    purpose.name.len = ngx_strlen(name);
    purpose.connections = connections;
    purpose.depth = depth;
    purpose.max_queue = trade->conf->queue;
    purpose.first_slot = trade->zone->slot * NGX_COMMERCE_SLOTS + slot;
    purpose.statements = statements;
    purpose.nstatements = n;
    purpose.settings = settings;
    purpose.data = trade;

    if (slot == 0) {
        purpose.ready = ngx_commerce_trade_orders_ready;
    }

    return ngx_commerce_pg_pool_create(trade->cycle, &trade->conf->server,
                                       &purpose);
}


void
ngx_commerce_trade_stop(ngx_commerce_trade_t *trade)
{
    ngx_commerce_background_stop(trade);
    ngx_commerce_exit_stop(trade);

    /* what ends here may go on to a pool further down, never up */

    ngx_commerce_pg_pool_destroy(trade->leases);
    ngx_commerce_lease_stop(trade);
    ngx_commerce_pg_pool_destroy(trade->writes);
    ngx_commerce_pg_pool_destroy(trade->orders);
    ngx_commerce_pg_pool_destroy(trade->carts);
    ngx_commerce_pg_pool_destroy(trade->reads);
}


static int64_t
ngx_commerce_trade_master(void *data)
{
    ngx_commerce_trade_t  *trade = data;

    return trade->master;
}


static void
ngx_commerce_trade_orders_ready(void *data, ngx_uint_t ready)
{
    ngx_commerce_trade_t  *trade = data;

    trade->reachable = ready ? 1 : 0;
    trade->lost = ngx_current_msec;
}


ngx_uint_t
ngx_commerce_trade_away(ngx_commerce_trade_t *trade)
{
    return !trade->reachable
           && ngx_current_msec - trade->lost > NGX_COMMERCE_AWAY;
}


/* A short outage of the database must not empty the Service. */

const char *
ngx_commerce_trade_ready(ngx_commerce_trade_t *trade)
{
    ngx_commerce_instance_e  state;

    if (ngx_commerce_zone_identity(trade->zone, &state) == 0) {
        return "no instance is registered with the database yet";
    }

    if (trade->exiting || ngx_commerce_zone_draining(trade->zone)) {
        return "draining";
    }

    return NULL;
}


void
ngx_commerce_trade_gauges(ngx_commerce_trade_t *trade)
{
    ngx_uint_t                i;
    ngx_commerce_pg_pool_t   *pools[5];
    ngx_commerce_pg_stats_t   stats, sum;

    pools[0] = trade->orders;
    pools[1] = trade->leases;
    pools[2] = trade->reads;
    pools[3] = trade->writes;
    pools[4] = trade->carts;

    ngx_memzero(&sum, sizeof(ngx_commerce_pg_stats_t));

    for (i = 0; i < 5; i++) {
        ngx_commerce_pg_stats(pools[i], &stats);
        sum.ready += stats.ready;
        sum.connecting += stats.connecting;
        sum.down += stats.down;
        sum.in_flight += stats.in_flight;
        sum.waiting += stats.waiting;
    }

    sum.waiting += ngx_commerce_pg_lane_load(trade->checkouts)
                   + ngx_commerce_pg_lane_load(trade->lookups)
                   + ngx_commerce_pg_lane_load(trade->payments)
                   + ngx_commerce_pg_lane_load(trade->cart_writes)
                   + ngx_commerce_pg_lane_load(trade->events);

    ngx_commerce_set_worker_gauge(trade->zone, NGX_COMMERCE_W_CONN_READY,
                                  sum.ready);
    ngx_commerce_set_worker_gauge(trade->zone, NGX_COMMERCE_W_CONN_CONNECTING,
                                  sum.connecting);
    ngx_commerce_set_worker_gauge(trade->zone, NGX_COMMERCE_W_CONN_DOWN,
                                  sum.down);
    ngx_commerce_set_worker_gauge(trade->zone, NGX_COMMERCE_W_QUEUE,
                                  sum.waiting);
    ngx_commerce_set_worker_gauge(trade->zone, NGX_COMMERCE_W_IN_FLIGHT,
                                  sum.in_flight);
}
