/*
 * Inside of the background work: who leads is ngx_commerce_background.c's,
 * what the leader does ngx_commerce_chores.c's.
 */

#ifndef NGX_COMMERCE_BACKGROUND_H
#define NGX_COMMERCE_BACKGROUND_H

#include "ngx_commerce_engine.h"


#define NGX_COMMERCE_CANDIDATES      16
#define NGX_COMMERCE_CAME_FREE       64
#define NGX_COMMERCE_CLOSE_STEP      4096   /* open leases looked at */


/* One op that comes again and again; at most one of a kind is in flight. */
typedef struct {
    ngx_commerce_pg_op_t        op;         /* must stay first */
    ngx_commerce_background_t  *bg;
    ngx_msec_t                  every;
    ngx_msec_t                  next;       /* ngx_current_msec */
    ngx_msec_t                  began;
    unsigned                    busy:1;
} ngx_commerce_chore_t;


struct ngx_commerce_background_s {
    ngx_commerce_trade_t       *trade;
    ngx_event_t                 tick;

    ngx_commerce_pg_server_t    server;     /* for beats: a shorter timeout */
    ngx_commerce_pg_pool_t     *beats;
    ngx_commerce_pg_pool_t     *listen;
    ngx_commerce_pg_pool_t     *sweeps;

    ngx_commerce_chore_t        registration;
    ngx_commerce_chore_t        beat;
    ngx_commerce_chore_t        expiry;
    ngx_commerce_chore_t        search;     /* of instances to settle */
    ngx_commerce_chore_t        limbo;
    ngx_commerce_chore_t        closing;    /* of used leases */
    ngx_commerce_chore_t        retention;
    ngx_commerce_chore_t        carts;      /* whose time is over */
    ngx_commerce_chore_t        events;     /* of payment providers */
    ngx_msec_t                  next_idle;

    int64_t                     new_id;     /* being registered */
    int64_t                     old_id;
    int64_t                     beat_id;    /* whose heart is beating */

    /* heartbeats since "steady" came without a gap */
    ngx_msec_t                  steady;
    ngx_msec_t                  last_beat;
    unsigned                    beating:1;
    unsigned                    alive:1;

    int64_t                     candidates[NGX_COMMERCE_CANDIDATES];
    unsigned char               stale[NGX_COMMERCE_CANDIDATES];
    ngx_uint_t                  ncandidates;
    unsigned                    settling:1;

    /* variants whose units came free elsewhere: to be read */
    commerce_uuid_t             came_free[NGX_COMMERCE_CAME_FREE];
    ngx_uint_t                  ncame_free;
    unsigned                    reading:1;

    ngx_uint_t                  expired;
    ngx_uint_t                  swept;      /* carts */
    int64_t                     closed_to;  /* leases up to this id */
    ngx_uint_t                  looked_at;
    ngx_uint_t                  step;       /* leases to look at */
    int64_t                     unused;
    int64_t                     waiting;    /* stored events */
    ngx_uint_t                  retried;
    ngx_uint_t                  given_up;
    ngx_atomic_uint_t           activity;
    ngx_atomic_uint_t           last_activity;  /* at the last tick */
    ngx_uint_t                  quiet;      /* ticks in a row */
    ngx_uint_t                  limbos;     /* times in a row above 0 */

    unsigned                    leader:1;
    unsigned                    stopped:1;
};


/* Sends it when it is due, not busy, and the pool has a connection. */
void ngx_commerce_chore(ngx_commerce_background_t *bg,
    ngx_commerce_chore_t *chore, ngx_commerce_pg_pool_t *pool);

/* ngx_commerce_webhook_retry.c: the chore of stored events. */
ngx_int_t ngx_commerce_events_build(ngx_commerce_pg_op_t *op);
void ngx_commerce_events_result(ngx_commerce_background_t *bg,
    ngx_uint_t query, PGresult *res);
void ngx_commerce_events_done(ngx_commerce_background_t *bg);


#endif
