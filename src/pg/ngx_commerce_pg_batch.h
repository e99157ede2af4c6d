/*
 * Self-clocking group commit: items of one kind that wait while a batch is in
 * flight go together in the next one.  One batch is one op: one array
 * statement (or a few) and one Sync, so one commit for all its items.
 *
 * An SQL error of class 22, 23 or 42 halves the batch until the poison stands
 * alone; 40P01 and 55P03 run it again; any other error means that the database
 * is not usable: the connection is closed and the items end as UNKNOWN.
 */

#ifndef NGX_COMMERCE_PG_BATCH_H
#define NGX_COMMERCE_PG_BATCH_H

#include "ngx_commerce_pg.h"


typedef struct ngx_commerce_pg_item_s   ngx_commerce_pg_item_t;
typedef struct ngx_commerce_pg_batch_s  ngx_commerce_pg_batch_t;
typedef struct ngx_commerce_pg_lane_s   ngx_commerce_pg_lane_t;


/* The first member of what a use case enqueues. */
struct ngx_commerce_pg_item_s {
    ngx_queue_t                 queue;
    int64_t                     group;      /* items of one group only share a
                                               batch (the instance's id) */
    ngx_uint_t                  weight;     /* rows it adds to the arrays */
    ngx_msec_t                  deadline;   /* ngx_current_msec; an item not
                                               sent by then is NOT_SENT */
    ngx_uint_t                  tries;      /* times it was in a sent batch */
};


typedef struct {
    const char                 *name;
    ngx_uint_t                  max_items;
    ngx_uint_t                  max_weight;

    /* Adds the queries to &batch->op; as op.build(). */
    ngx_int_t                 (*build)(ngx_commerce_pg_batch_t *batch,
                                       ngx_commerce_pg_conn_t *conn);
    /* Notes outcomes in the items; do not answer anybody yet. */
    void                      (*result)(ngx_commerce_pg_batch_t *batch,
                                        ngx_uint_t query, PGresult *res);
    /* Once for each item, when its fate is known: answer now.  FAILED carries
       the SQLSTATE of an item that failed alone. */
    void                      (*done)(ngx_commerce_pg_item_t *item,
                                      ngx_commerce_pg_outcome_e outcome,
                                      const char *sqlstate);
    /* Optional: the whole batch was committed, before any done(). */
    void                      (*committed)(ngx_commerce_pg_batch_t *batch);
} ngx_commerce_pg_kind_t;


struct ngx_commerce_pg_batch_s {
    ngx_commerce_pg_op_t        op;         /* must stay first */
    ngx_commerce_pg_lane_t     *lane;
    int64_t                     group;
    ngx_uint_t                  n;
    ngx_uint_t                  weight;     /* sum */
    ngx_commerce_pg_item_t    **items;      /* in order of arrival */
    void                       *data;       /* the kind's, e.g. its now() */
    ngx_uint_t                  reruns;     /* after 40P01 and 55P03 */
};


/*
 * A lane is the queue of one kind on one pool.  Several lanes of a pool take
 * turns.  "max" items may wait, counted with those in flight.  The pool's
 * purpose.idle is taken by the batch code.  NULL: no memory.
 */
ngx_commerce_pg_lane_t *ngx_commerce_pg_lane_create(ngx_cycle_t *cycle,
    ngx_commerce_pg_pool_t *pool, const ngx_commerce_pg_kind_t *kind,
    ngx_uint_t max, void *data);

/* The "data" given above. */
void *ngx_commerce_pg_lane_data(ngx_commerce_pg_lane_t *lane);

/*
 * NGX_OK, or NGX_BUSY when the lane is full: done() is then not called.
 * A lone item is sent at the end of this turn of the event loop (posted
 * event), so that requests that arrive together share a commit.
 */
ngx_int_t ngx_commerce_pg_enqueue(ngx_commerce_pg_lane_t *lane,
    ngx_commerce_pg_item_t *item);

/* Items waiting and in flight. */
ngx_uint_t ngx_commerce_pg_lane_load(ngx_commerce_pg_lane_t *lane);


#endif
