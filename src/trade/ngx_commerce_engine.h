/*
 * Inside of trade/: the worker's engine and what its files ask of each other.
 */

#ifndef NGX_COMMERCE_ENGINE_H
#define NGX_COMMERCE_ENGINE_H

#include "ngx_commerce_trade.h"
#include "ngx_commerce_stock.h"
#include "ngx_commerce_cache.h"
#include "ngx_commerce_replay.h"
#include "ngx_commerce_pg_batch.h"
#include "ngx_commerce_pg_statements.h"
#include "commerce_uuid.h"
#include "commerce_money.h"
#include "commerce_order.h"


#define NGX_COMMERCE_LOCATION  1        /* the default location's id */


typedef struct ngx_commerce_lease_s       ngx_commerce_lease_t;
typedef struct ngx_commerce_background_s  ngx_commerce_background_t;
typedef struct ngx_commerce_exit_s        ngx_commerce_exit_t;
typedef struct ngx_commerce_rules_s       ngx_commerce_rules_t;


struct ngx_commerce_trade_s {
    ngx_commerce_conf_t        *conf;
    ngx_commerce_zone_t        *zone;
    ngx_cycle_t                *cycle;
    ngx_log_t                  *log;

    ngx_commerce_pg_pool_t     *orders;     /* batches: orders and payments */
    ngx_commerce_pg_pool_t     *leases;     /* grant, return */
    ngx_commerce_pg_pool_t     *reads;      /* any read, pipelined */
    ngx_commerce_pg_pool_t     *writes;     /* admin, cancel: one op a time */
    ngx_commerce_pg_pool_t     *carts;      /* batches, commit asynchronously */

    ngx_commerce_pg_lane_t     *checkouts;  /* ngx_commerce_checkout.c */
    ngx_commerce_pg_lane_t     *lookups;
    ngx_commerce_pg_lane_t     *payments;   /* ngx_commerce_payment_batch.c */
    ngx_commerce_pg_lane_t     *events;     /* ngx_commerce_webhook_batch.c */
    ngx_commerce_pg_lane_t     *imports[3]; /* ngx_commerce_import.c */
    ngx_commerce_pg_lane_t     *cart_writes;    /* ngx_commerce_cart_batch.c */

    ngx_commerce_lease_t       *lease;      /* ngx_commerce_lease.c */
    ngx_commerce_background_t  *background; /* ngx_commerce_background.c */

    void                       *api_keys;   /* ngx_commerce_staff.c */

    ngx_commerce_rules_t       *rules;      /* ngx_commerce_rules.c */

    ngx_commerce_exit_t        *exit;       /* ngx_commerce_exit.c */

    ngx_uint_t                  calls;      /* that have not ended */
    ngx_msec_t                  lost;       /* when orders lost the database */
    int64_t                     master;     /* names the backends */
    unsigned                    reachable:1;
    unsigned                    exiting:1;
    unsigned                    closed:1;   /* takes no order any more */
};


/* ngx_commerce_trade.c: 1 when orders have had no database for a while; for a
   shorter one (a reload, a restart) they wait in their queue. */
ngx_uint_t ngx_commerce_trade_away(ngx_commerce_trade_t *trade);


/*
 * ngx_commerce_variants.c: rows of variants from the database into the zone.
 * Set what is wanted, submit, and look at "found" in done().
 */
typedef struct ngx_commerce_variants_s  ngx_commerce_variants_t;

struct ngx_commerce_variants_s {
    ngx_commerce_pg_op_t        op;
    ngx_commerce_trade_t       *trade;
    ngx_pool_t                 *pool;       /* the caller's, outlives done() */
    ngx_array_t                 skus;       /* of ngx_str_t; may be empty */
    ngx_array_t                 ids;        /* of commerce_uuid_t */
    ngx_atomic_uint_t           stamp;
    ngx_array_t                 found;      /* of ngx_commerce_variant_t */
    unsigned                    zone_full:1;
    unsigned                    failed:1;   /* no memory for a row */
    /* rc: NGX_OK, NGX_ERROR (database away), NGX_BUSY (queue full) */
    void                      (*done)(ngx_commerce_variants_t *variants,
                                      ngx_int_t rc);
    void                       *data;
};

/* Initialises the arrays; NGX_ERROR: no memory. */
ngx_int_t ngx_commerce_variants_init(ngx_commerce_variants_t *variants,
    ngx_commerce_trade_t *trade, ngx_pool_t *pool);

/* Calls done() exactly once, never from inside. NGX_ERROR: it will not. */
ngx_int_t ngx_commerce_variants_load(ngx_commerce_variants_t *variants);


/* ngx_commerce_catalogue.c: a payload of the channel commerce_news. */
void ngx_commerce_catalogue_news(ngx_commerce_trade_t *trade,
    const char *payload);

/* Forgets everything cached: LISTEN was away. */
void ngx_commerce_catalogue_forget(ngx_commerce_trade_t *trade);


/* ngx_commerce_staff.c, ngx_commerce_import.c: at worker start; lanes on
   trade->writes. */
ngx_int_t ngx_commerce_staff_start(ngx_commerce_trade_t *trade);
ngx_int_t ngx_commerce_import_lanes(ngx_commerce_trade_t *trade);

/* ngx_commerce_checkout.c, ngx_commerce_payment_batch.c,
   ngx_commerce_webhook_batch.c */
ngx_int_t ngx_commerce_checkout_start(ngx_commerce_trade_t *trade);
ngx_int_t ngx_commerce_payment_start(ngx_commerce_trade_t *trade);
ngx_int_t ngx_commerce_webhook_start(ngx_commerce_trade_t *trade);

/* ngx_commerce_cart_batch.c: a lane on trade->carts */
ngx_int_t ngx_commerce_cart_start(ngx_commerce_trade_t *trade);


/*
 * ngx_commerce_lease.c: waiting for units.  wait() is told of every refill's
 * end of the slots it names, and at least every few milliseconds while others
 * refill.  A waiter holds no units.
 */
typedef struct ngx_commerce_waiter_s  ngx_commerce_waiter_t;

typedef struct {
    ngx_commerce_stock_ref_t    ref;
    commerce_uuid_t             id;
    uint32_t                    units;      /* asked for; 0: skip the entry */
    uint32_t                    target;     /* refills that must have ended:
                                               set by wait() */
    ngx_msec_t                  not_before; /* of the next refill; 0: now */
    ngx_msec_t                  pause;      /* grows while nothing comes */
    unsigned                    probe:1;    /* asks in spite of "sold out" */
} ngx_commerce_want_t;

struct ngx_commerce_waiter_s {
    ngx_queue_t                 queue;
    ngx_commerce_want_t        *wants;
    ngx_uint_t                  n;
    ngx_msec_t                  deadline;   /* ngx_current_msec: woken then */
    /* once; called from the event loop, never from inside wait() */
    void                      (*wake)(ngx_commerce_waiter_t *waiter);
    void                       *data;
};

ngx_int_t ngx_commerce_lease_start(ngx_commerce_trade_t *trade);
void ngx_commerce_lease_stop(ngx_commerce_trade_t *trade);
void ngx_commerce_lease_wait(ngx_commerce_trade_t *trade,
    ngx_commerce_waiter_t *waiter);
void ngx_commerce_lease_unwait(ngx_commerce_trade_t *trade,
    ngx_commerce_waiter_t *waiter);

/* Stock-up without a waiter, when a pool is low. */
void ngx_commerce_lease_refill(ngx_commerce_trade_t *trade,
    const ngx_commerce_stock_ref_t *ref);

/*
 * Returns what pools hold: of one variant (id) or of all (NULL).  done() once
 * the database has them; rc NGX_OK or NGX_ERROR.  For drain and for stock
 * adjustments that need leased units back.
 */
ngx_int_t ngx_commerce_lease_give_back(ngx_commerce_trade_t *trade,
    const commerce_uuid_t *id, void (*done)(void *data, ngx_int_t rc),
    void *data);

/* Units that could not be put back into their pool. */
void ngx_commerce_lease_return(ngx_commerce_trade_t *trade,
    const commerce_uuid_t *variant, ngx_commerce_stock_hold_t *hold);

/* Asks other instances for what they have of a variant; once per second. */
void ngx_commerce_lease_recall(ngx_commerce_trade_t *trade,
    const commerce_uuid_t *variant);

/* The answer to a recall of another instance ("r <variant> <instance>"). */
void ngx_commerce_lease_asked(ngx_commerce_trade_t *trade,
    const char *payload);

/* Pools that nothing was taken from for commerce_lease_idle go back. */
void ngx_commerce_lease_return_idle(ngx_commerce_trade_t *trade);

/* For a worker without calls: forgets what was not sent; 1 while a grant may be
   on its way. */
ngx_uint_t ngx_commerce_lease_leave(ngx_commerce_trade_t *trade);

/* Adds the fence row of the connection for "instance" where it has none. */
ngx_int_t ngx_commerce_fence(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn, int64_t instance);


/* ngx_commerce_background.c: heartbeat, LISTEN, rotation, sweeps */
ngx_int_t ngx_commerce_background_start(ngx_commerce_trade_t *trade);
void ngx_commerce_background_stop(ngx_commerce_trade_t *trade);

/* Keeps the connections of a leader that exits: its heart beats on. */
void ngx_commerce_background_hold(ngx_commerce_trade_t *trade);


/* ngx_commerce_exit.c */
ngx_int_t ngx_commerce_exit_start(ngx_commerce_trade_t *trade);
void ngx_commerce_exit_stop(ngx_commerce_trade_t *trade);


/*
 * ngx_commerce_settle.c: gives the unused units of an instance back, on a pool
 * that has the SETTLE statements.  "ttl" (msec): only if its heartbeat is
 * older; 0: it is our own or marked dying.  done() exactly once; it may run
 * before this returns when the pool's queue is full, or the database refused
 * the rows of that instance lately.
 */
ngx_int_t ngx_commerce_settle(ngx_commerce_trade_t *trade,
    ngx_commerce_pg_pool_t *pool, int64_t instance, ngx_msec_t ttl,
    void (*done)(void *data, ngx_int_t rc), void *data);


/* ngx_commerce_call.c: shared by the use cases */

/* idem = 16 bytes of SHA-256(scope, key); fingerprint of target and body. */
ngx_int_t ngx_commerce_call_key(ngx_commerce_call_t *call, ngx_str_t *scope,
    commerce_uuid_t *idem);
ngx_int_t ngx_commerce_call_fingerprint(ngx_commerce_call_t *call,
    commerce_uuid_t *fingerprint);

/* Checks length and presence; refuses and returns NGX_ERROR when wrong.
   min: 16 for guests, 1 for others. required 0: NGX_DECLINED when absent. */
ngx_int_t ngx_commerce_call_key_check(ngx_commerce_call_t *call,
    ngx_uint_t min, ngx_uint_t required);

/* A fresh UUIDv7. */
ngx_int_t ngx_commerce_call_uuid(commerce_uuid_t *id);

/* Refuses with invalid_request and the gathered errors. */
void ngx_commerce_call_invalid(ngx_commerce_call_t *call,
    commerce_json_errors_t *errors);

/* New errors list over the call's pool; NULL refuses with internal. */
commerce_json_errors_t *ngx_commerce_call_errors(ngx_commerce_call_t *call);

/* A number of the query string: dflt when absent; NGX_ERROR refused 422. */
ngx_int_t ngx_commerce_call_limit(ngx_commerce_call_t *call, ngx_uint_t dflt,
    ngx_uint_t max, ngx_uint_t *limit);

/* 1: it writes nothing. */
ngx_uint_t ngx_commerce_call_is_read(ngx_commerce_call_t *call);

/* An SQL error of a run as an outcome: FAILED is a defect; a lock that lasts
   or a deadlock has stored nothing, as if it was NOT_SENT. */
ngx_commerce_pg_outcome_e ngx_commerce_call_error(const char *sqlstate);

/* Ends the call for an outcome that is not COMMITTED. */
void ngx_commerce_call_failed(ngx_commerce_call_t *call,
    ngx_commerce_pg_outcome_e outcome);

/* Submits an op to reads or writes within the queue's time, refuses when it
   is full; op->data is the call unless it is set. */
void ngx_commerce_call_read(ngx_commerce_call_t *call,
    ngx_commerce_pg_op_t *op);
void ngx_commerce_call_write(ngx_commerce_call_t *call,
    ngx_commerce_pg_op_t *op);

/* From done(): the time that the database took, for the access log. */
void ngx_commerce_call_db_time(ngx_commerce_call_t *call,
    ngx_commerce_pg_op_t *op);


#endif
