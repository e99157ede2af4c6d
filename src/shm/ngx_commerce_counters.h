/*
 * Counters of the whole instance: striped by worker, added atomically, summed
 * when read.
 */

#ifndef NGX_COMMERCE_COUNTERS_H
#define NGX_COMMERCE_COUNTERS_H

#include "ngx_commerce_zone.h"
#include "commerce_problem.h"


typedef enum {
    NGX_COMMERCE_OP_NONE = 0,
    NGX_COMMERCE_OP_PRODUCT_LIST,
    NGX_COMMERCE_OP_PRODUCT_GET,
    NGX_COMMERCE_OP_ORDER_CREATE,
    NGX_COMMERCE_OP_ORDER_GET,
    NGX_COMMERCE_OP_ORDER_CANCEL,
    NGX_COMMERCE_OP_PAYMENT_CREATE,
    NGX_COMMERCE_OP_CART_CREATE,
    NGX_COMMERCE_OP_CART_GET,
    NGX_COMMERCE_OP_CART_LINE_ADD,
    NGX_COMMERCE_OP_CART_LINE_SET,
    NGX_COMMERCE_OP_CART_LINE_REMOVE,
    NGX_COMMERCE_OP_CART_COUPON,
    NGX_COMMERCE_OP_CART_SHIPPING,
    NGX_COMMERCE_OP_CART_EMAIL,
    NGX_COMMERCE_OP_CART_CHECKOUT,
    NGX_COMMERCE_OP_SHIPPING_LIST,
    NGX_COMMERCE_OP_WEBHOOK,
    NGX_COMMERCE_OP_ADMIN_PRODUCT,
    NGX_COMMERCE_OP_ADMIN_VARIANT,
    NGX_COMMERCE_OP_ADMIN_PRICE,
    NGX_COMMERCE_OP_ADMIN_STOCK,
    NGX_COMMERCE_OP_ADMIN_ORDER,
    NGX_COMMERCE_OP_ADMIN_IMPORT,
    NGX_COMMERCE_OP_ADMIN_TAX_RATE,
    NGX_COMMERCE_OP_ADMIN_SHIPPING,
    NGX_COMMERCE_OP_ADMIN_COUPON,
    NGX_COMMERCE_OP_OTHER,
    NGX_COMMERCE_OPS
} ngx_commerce_operation_e;


typedef enum {
    NGX_COMMERCE_C_ORDERS = 0,          /* orders committed */
    NGX_COMMERCE_C_ORDER_BATCHES,
    NGX_COMMERCE_C_UNITS_SOLD,
    NGX_COMMERCE_C_PAYMENTS,
    NGX_COMMERCE_C_PAYMENTS_LATE,       /* of them: for expired orders */
    NGX_COMMERCE_C_REFUNDS_DUE,         /* payments that came too late */
    NGX_COMMERCE_C_EVENTS_APPLIED,      /* of providers */
    NGX_COMMERCE_C_EVENTS_DUPLICATE,
    NGX_COMMERCE_C_EVENTS_STORED,
    NGX_COMMERCE_C_EVENTS_IGNORED,
    NGX_COMMERCE_C_EVENTS_GIVEN_UP,
    NGX_COMMERCE_C_REPLAYS,
    NGX_COMMERCE_C_CANCELLED,
    NGX_COMMERCE_C_EXPIRED,
    NGX_COMMERCE_C_LEASES_GRANTED,      /* units */
    NGX_COMMERCE_C_LEASES_RETURNED,     /* units */
    NGX_COMMERCE_C_ROTATIONS,
    NGX_COMMERCE_C_SETTLED,             /* instances */
    NGX_COMMERCE_C_UNKNOWN,             /* outcomes that had to be looked up */
    NGX_COMMERCE_C_CACHE_HITS,
    NGX_COMMERCE_C_CACHE_MISSES,
    NGX_COMMERCE_C_ZONE_FULL,
    NGX_COMMERCE_C_DB_USEC,             /* microseconds of ops in flight */
    NGX_COMMERCE_COUNTERS
} ngx_commerce_counter_e;


typedef enum {
    NGX_COMMERCE_G_LIMBO_UNITS = 0,
    NGX_COMMERCE_G_LEASED_UNUSED,       /* units, by the rows */
    NGX_COMMERCE_G_LAST_BEAT,           /* ngx_time() of the last heartbeat */
    NGX_COMMERCE_G_SYNC_REPLICATION,    /* 1: a synchronous standby is set */
    NGX_COMMERCE_G_EVENTS_WAITING,      /* stored, to be tried again */
    NGX_COMMERCE_GAUGES
} ngx_commerce_gauge_e;


/* Per-worker gauges, summed: pg connections by state and queues. */
typedef enum {
    NGX_COMMERCE_W_CONN_READY = 0,
    NGX_COMMERCE_W_CONN_CONNECTING,
    NGX_COMMERCE_W_CONN_DOWN,
    NGX_COMMERCE_W_QUEUE,
    NGX_COMMERCE_W_IN_FLIGHT,
    NGX_COMMERCE_WORKER_GAUGES
} ngx_commerce_worker_gauge_e;


#define NGX_COMMERCE_LATENCY_BUCKETS  14    /* the last is +Inf */

/* Upper bounds in microseconds of all but the last bucket. */
extern const ngx_uint_t
    ngx_commerce_latency_bounds[NGX_COMMERCE_LATENCY_BUCKETS - 1];


typedef struct {
    uint64_t    counters[NGX_COMMERCE_COUNTERS];
    uint64_t    gauges[NGX_COMMERCE_GAUGES];
    uint64_t    worker_gauges[NGX_COMMERCE_WORKER_GAUGES];
    /* by operation and problem; COMMERCE_NO_PROBLEM is success */
    uint64_t    requests[NGX_COMMERCE_OPS][COMMERCE_PROBLEMS];
    /* of order creation: count per bucket (not cumulative), sum in usec */
    uint64_t    latency[NGX_COMMERCE_LATENCY_BUCKETS];
    uint64_t    latency_sum;
    /* orders per second over the last whole 5 seconds */
    double      orders_per_second;
} ngx_commerce_snapshot_t;


void ngx_commerce_count(ngx_commerce_zone_t *zone,
    ngx_commerce_counter_e counter, ngx_uint_t n);
void ngx_commerce_count_request(ngx_commerce_zone_t *zone,
    ngx_commerce_operation_e operation, commerce_problem_e problem);
void ngx_commerce_observe_order(ngx_commerce_zone_t *zone, uint64_t usec);
void ngx_commerce_set_gauge(ngx_commerce_zone_t *zone,
    ngx_commerce_gauge_e gauge, uint64_t value);
void ngx_commerce_set_worker_gauge(ngx_commerce_zone_t *zone,
    ngx_commerce_worker_gauge_e gauge, uint64_t value);

void ngx_commerce_counters_read(ngx_commerce_zone_t *zone,
    ngx_commerce_snapshot_t *snapshot);


#endif
