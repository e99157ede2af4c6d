/*
 * One batch: its op, and what becomes of its items when the op has ended.
 */

#include "ngx_commerce_pg_lane.h"


/* how often 40P01 and 55P03 run a batch again as it is */
#define NGX_COMMERCE_PG_DEADLOCKS  5
#define NGX_COMMERCE_PG_LOCKED     1


static ngx_int_t ngx_commerce_pg_batch_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_pg_batch_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_pg_batch_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static ngx_int_t ngx_commerce_pg_batch_again(ngx_commerce_pg_batch_t *batch,
    const char *sqlstate);
static void ngx_commerce_pg_batch_requeue(ngx_commerce_pg_batch_t *batch);
static ngx_int_t ngx_commerce_pg_batch_split(ngx_commerce_pg_batch_t *batch);


ngx_commerce_pg_batch_t *
ngx_commerce_pg_batch_create(ngx_commerce_pg_lane_t *lane, ngx_uint_t n)
{
    size_t                    size;
    ngx_commerce_pg_batch_t  *batch;

    size = sizeof(ngx_commerce_pg_batch_t)
           + n * sizeof(ngx_commerce_pg_item_t *);

    batch = ngx_calloc(size, lane->hub->pool->log);
    if (batch == NULL) {
        return NULL;
    }

    batch->op.build = ngx_commerce_pg_batch_build;
    batch->op.result = ngx_commerce_pg_batch_result;
    batch->op.done = ngx_commerce_pg_batch_done;

    batch->lane = lane;
    batch->items = (ngx_commerce_pg_item_t **) (batch + 1);

    return batch;
}


void
ngx_commerce_pg_batch_add(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_item_t *item)
{
    ngx_commerce_pg_op_t  *op;

    batch->items[batch->n++] = item;
    batch->weight += item->weight;

    op = &batch->op;

    if (item->deadline
        && (op->deadline == 0
            || (ngx_msec_int_t) (item->deadline - op->deadline) < 0))
    {
        op->deadline = item->deadline;
    }
}


static ngx_int_t
ngx_commerce_pg_batch_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_int_t                 rc;
    ngx_uint_t                i;
    ngx_commerce_pg_batch_t  *batch;

    batch = (ngx_commerce_pg_batch_t *) op;

    rc = batch->lane->kind->build(batch, conn);

    if (rc == NGX_OK) {
        for (i = 0; i < batch->n; i++) {
            batch->items[i]->tries++;
        }
    }

    return rc;
}


static void
ngx_commerce_pg_batch_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_commerce_pg_batch_t  *batch;

    batch = (ngx_commerce_pg_batch_t *) op;

    batch->lane->kind->result(batch, query, res);
}


static void
ngx_commerce_pg_batch_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_int_t                 rc;
    ngx_commerce_pg_lane_t   *lane;
    ngx_commerce_pg_batch_t  *batch;

    batch = (ngx_commerce_pg_batch_t *) op;
    lane = batch->lane;

    switch (outcome) {

    case NGX_COMMERCE_PG_COMMITTED:

        if (lane->kind->committed) {
            lane->kind->committed(batch);
        }

        break;

    case NGX_COMMERCE_PG_FAILED:

        if (!ngx_commerce_pg_is_usable(sqlstate)) {
            outcome = NGX_COMMERCE_PG_UNKNOWN;
            sqlstate = "";
            break;
        }

        rc = ngx_commerce_pg_batch_again(batch, sqlstate);

        if (rc == NGX_OK) {
            return;
        }

        if (rc == NGX_ERROR) {
            /* known not to be stored, and nothing against the items */
            outcome = NGX_COMMERCE_PG_NOT_SENT;
            sqlstate = "";
        }

        break;

    case NGX_COMMERCE_PG_NOT_SENT:

        /* only the first deadline has passed: build() was not called */

        if (op->pool == NULL && !op->failed && batch->items[0]->tries == 0
            && !lane->hub->pool->closed)
        {
            ngx_commerce_pg_lane_unsent(lane, batch);
            return;
        }

        break;

    default:
        break;
    }

    ngx_commerce_pg_batch_finish(batch, outcome, sqlstate);
}


/*
 * NGX_OK: it, or its halves, will run again; NGX_DECLINED: its one item has
 * failed; NGX_ERROR: it cannot run again.
 */

static ngx_int_t
ngx_commerce_pg_batch_again(ngx_commerce_pg_batch_t *batch,
    const char *sqlstate)
{
    ngx_uint_t  limit;

    if (batch->lane->hub->pool->closed) {
        return NGX_ERROR;
    }

    limit = 0;

    if (ngx_strcmp(sqlstate, "40P01") == 0) {
        limit = NGX_COMMERCE_PG_DEADLOCKS;

    } else if (ngx_strcmp(sqlstate, "55P03") == 0) {
        /* a lock that lasts is not to keep the neighbours waiting */
        limit = (batch->n == 1) ? NGX_COMMERCE_PG_DEADLOCKS
                                : NGX_COMMERCE_PG_LOCKED;
    }

    if (batch->reruns < limit) {
        batch->reruns++;
        ngx_commerce_pg_batch_requeue(batch);
        return NGX_OK;
    }

    if (batch->n == 1) {
        return NGX_DECLINED;
    }

    return ngx_commerce_pg_batch_split(batch);
}


/* It has been sent: the deadlines of its items no longer count. */

static void
ngx_commerce_pg_batch_requeue(ngx_commerce_pg_batch_t *batch)
{
    ngx_commerce_pg_hub_t   *hub;
    ngx_commerce_pg_lane_t  *lane;

    lane = batch->lane;
    hub = lane->hub;

    batch->data = NULL;
    batch->op.deadline = ngx_current_msec + hub->pool->server->timeout;

    ngx_queue_insert_head(&lane->again, &batch->op.queue);
    hub->pool->items += batch->n;

    ngx_commerce_pg_hub_deadline(hub, batch->op.deadline);
    ngx_post_event(&hub->post, &ngx_posted_events);
}


static ngx_int_t
ngx_commerce_pg_batch_split(ngx_commerce_pg_batch_t *batch)
{
    ngx_uint_t                i, half;
    ngx_commerce_pg_batch_t  *first, *second, *to;

    half = batch->n / 2;

    first = ngx_commerce_pg_batch_create(batch->lane, half);
    if (first == NULL) {
        return NGX_ERROR;
    }

    second = ngx_commerce_pg_batch_create(batch->lane, batch->n - half);
    if (second == NULL) {
        ngx_free(first);
        return NGX_ERROR;
    }

    for (i = 0; i < batch->n; i++) {
        to = (i < half) ? first : second;
        ngx_commerce_pg_batch_add(to, batch->items[i]);
    }

    first->group = batch->group;
    first->reruns = batch->reruns;
    second->group = batch->group;
    second->reruns = batch->reruns;

    ngx_commerce_pg_batch_requeue(second);
    ngx_commerce_pg_batch_requeue(first);

    ngx_free(batch);

    return NGX_OK;
}


void
ngx_commerce_pg_batch_finish(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_uint_t  i;

    for (i = 0; i < batch->n; i++) {
        ngx_commerce_pg_item_done(batch->lane, batch->items[i], outcome,
                                  sqlstate);
    }

    ngx_free(batch);
}
