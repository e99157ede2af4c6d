/*
 * Counters in stripes: workers seldom share a cache line, and a reader adds
 * the stripes up.
 */

#include "ngx_commerce_zone_sh.h"


#define NGX_COMMERCE_RATE_SECONDS  5


static ngx_commerce_stripe_t *ngx_commerce_stripe(ngx_commerce_zone_t *zone);
static void ngx_commerce_tick_order(ngx_commerce_stripe_t *stripe,
    ngx_uint_t n);
static ngx_uint_t ngx_commerce_lately(ngx_commerce_stripe_t *stripe,
    uint32_t now);
static void ngx_commerce_counters_sum(ngx_commerce_stripe_t *stripe,
    ngx_commerce_snapshot_t *snapshot);
static void ngx_commerce_gauges_read(ngx_commerce_zone_t *zone,
    ngx_commerce_snapshot_t *snapshot);


const ngx_uint_t
    ngx_commerce_latency_bounds[NGX_COMMERCE_LATENCY_BUCKETS - 1] =
{
    500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
    1000000, 2500000, 5000000
};


void
ngx_commerce_count(ngx_commerce_zone_t *zone, ngx_commerce_counter_e counter,
    ngx_uint_t n)
{
    ngx_commerce_stripe_t  *stripe;

    stripe = ngx_commerce_stripe(zone);

    (void) ngx_commerce_add(&stripe->counters[counter], n);

    if (counter == NGX_COMMERCE_C_ORDERS) {
        ngx_commerce_tick_order(stripe, n);
    }
}


void
ngx_commerce_count_request(ngx_commerce_zone_t *zone,
    ngx_commerce_operation_e operation, commerce_problem_e problem)
{
    if ((ngx_uint_t) operation >= NGX_COMMERCE_OPS) {
        operation = NGX_COMMERCE_OP_OTHER;
    }

    if ((ngx_uint_t) problem >= COMMERCE_PROBLEMS) {
        problem = COMMERCE_INTERNAL;
    }

    (void) ngx_commerce_add(
        &ngx_commerce_stripe(zone)->requests[operation][problem], 1);
}


void
ngx_commerce_observe_order(ngx_commerce_zone_t *zone, uint64_t usec)
{
    ngx_uint_t              i;
    ngx_commerce_stripe_t  *stripe;

    stripe = ngx_commerce_stripe(zone);

    for (i = 0; i < NGX_COMMERCE_LATENCY_BUCKETS - 1; i++) {
        if (usec <= ngx_commerce_latency_bounds[i]) {
            break;
        }
    }

    (void) ngx_commerce_add(&stripe->latency[i], 1);
    (void) ngx_commerce_add(&stripe->latency_sum, usec);
}


void
ngx_commerce_set_gauge(ngx_commerce_zone_t *zone, ngx_commerce_gauge_e gauge,
    uint64_t value)
{
    ngx_commerce_store(&zone->sh->gauges[gauge], value);
}


void
ngx_commerce_set_worker_gauge(ngx_commerce_zone_t *zone,
    ngx_commerce_worker_gauge_e gauge, uint64_t value)
{
    ngx_commerce_store(&ngx_commerce_zone_me(zone)->gauges[gauge], value);
}


void
ngx_commerce_counters_read(ngx_commerce_zone_t *zone,
    ngx_commerce_snapshot_t *snapshot)
{
    uint32_t    now;
    ngx_uint_t  i, orders;

    ngx_memzero(snapshot, sizeof(ngx_commerce_snapshot_t));

    now = (uint32_t) ngx_time();
    orders = 0;

    for (i = 0; i < NGX_COMMERCE_STRIPES; i++) {
        ngx_commerce_counters_sum(&zone->sh->stripes[i], snapshot);
        orders += ngx_commerce_lately(&zone->sh->stripes[i], now);
    }

    snapshot->orders_per_second = (double) orders / NGX_COMMERCE_RATE_SECONDS;

    ngx_commerce_gauges_read(zone, snapshot);
}


static void
ngx_commerce_counters_sum(ngx_commerce_stripe_t *stripe,
    ngx_commerce_snapshot_t *snapshot)
{
    ngx_uint_t  i, k;

    for (i = 0; i < NGX_COMMERCE_COUNTERS; i++) {
        snapshot->counters[i] += ngx_commerce_peek(&stripe->counters[i]);
    }

    for (i = 0; i < NGX_COMMERCE_OPS; i++) {
        for (k = 0; k < COMMERCE_PROBLEMS; k++) {
            snapshot->requests[i][k] +=
                                   ngx_commerce_peek(&stripe->requests[i][k]);
        }
    }

    for (i = 0; i < NGX_COMMERCE_LATENCY_BUCKETS; i++) {
        snapshot->latency[i] += ngx_commerce_peek(&stripe->latency[i]);
    }

    snapshot->latency_sum += ngx_commerce_peek(&stripe->latency_sum);
}


static void
ngx_commerce_gauges_read(ngx_commerce_zone_t *zone,
    ngx_commerce_snapshot_t *snapshot)
{
    ngx_uint_t              i, k, top;
    ngx_commerce_worker_t  *worker;

    for (i = 0; i < NGX_COMMERCE_GAUGES; i++) {
        snapshot->gauges[i] = ngx_commerce_load(&zone->sh->gauges[i]);
    }

    top = ngx_commerce_load(&zone->sh->top);

    for (i = 0; i < top; i++) {
        worker = &zone->sh->workers[i];

        if (ngx_commerce_load(&worker->mark) == 0) {
            continue;
        }

        for (k = 0; k < NGX_COMMERCE_WORKER_GAUGES; k++) {
            snapshot->worker_gauges[k] +=
                                       ngx_commerce_load(&worker->gauges[k]);
        }
    }
}


static ngx_commerce_stripe_t *
ngx_commerce_stripe(ngx_commerce_zone_t *zone)
{
    return &zone->sh->stripes[zone->slot % NGX_COMMERCE_STRIPES];
}


static void
ngx_commerce_tick_order(ngx_commerce_stripe_t *stripe, ngx_uint_t n)
{
    uint32_t   now;
    uint64_t  *word, old, new;

    now = (uint32_t) ngx_time();
    word = &stripe->ring[now % NGX_COMMERCE_RING];

    do {
        old = ngx_commerce_load(word);
        new = (uint32_t) (old >> 32) == now ? old : (uint64_t) now << 32;
    } while (!ngx_commerce_cas(word, old, new + n));
}


/* The current second is not over: the whole ones before it. */

static ngx_uint_t
ngx_commerce_lately(ngx_commerce_stripe_t *stripe, uint32_t now)
{
    uint32_t    second;
    uint64_t    word;
    ngx_uint_t  n;

    n = 0;

    for (second = now - NGX_COMMERCE_RATE_SECONDS; second != now; second++) {
        word = ngx_commerce_load(&stripe->ring[second % NGX_COMMERCE_RING]);

        if ((uint32_t) (word >> 32) == second) {
            n += (uint32_t) word;
        }
    }

    return n;
}
