/*
 * Private to the database room: what lanes and batches know of each other.
 */

#ifndef NGX_COMMERCE_PG_LANE_H
#define NGX_COMMERCE_PG_LANE_H

#include "ngx_commerce_pg_conn.h"
#include "ngx_commerce_pg_batch.h"


typedef struct {
    ngx_commerce_pg_pool_t          *pool;
    ngx_queue_t                      lanes;
    ngx_event_t                      post;
    ngx_event_t                      timer;     /* the first deadline */
} ngx_commerce_pg_hub_t;


struct ngx_commerce_pg_lane_s {
    ngx_queue_t                      queue;     /* of the hub */
    ngx_commerce_pg_hub_t           *hub;
    const ngx_commerce_pg_kind_t    *kind;
    ngx_queue_t                      again;     /* batches */
    ngx_queue_t                      items;
    ngx_uint_t                       load;      /* with those in flight */
    ngx_uint_t                       max;
    void                            *data;
};


/* ngx_commerce_pg_lane.c */

/* Arms the hub's timer unless an earlier deadline has. */
void ngx_commerce_pg_hub_deadline(ngx_commerce_pg_hub_t *hub,
    ngx_msec_t deadline);
/* The items of a batch that was not built go back, but for those too late. */
void ngx_commerce_pg_lane_unsent(ngx_commerce_pg_lane_t *lane,
    ngx_commerce_pg_batch_t *batch);
void ngx_commerce_pg_item_done(ngx_commerce_pg_lane_t *lane,
    ngx_commerce_pg_item_t *item, ngx_commerce_pg_outcome_e outcome,
    const char *sqlstate);


/* ngx_commerce_pg_batch.c */

/* NULL: no memory */
ngx_commerce_pg_batch_t *ngx_commerce_pg_batch_create(
    ngx_commerce_pg_lane_t *lane, ngx_uint_t n);
void ngx_commerce_pg_batch_add(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_item_t *item);
/* Ends each item and frees the batch. */
void ngx_commerce_pg_batch_finish(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


#endif
