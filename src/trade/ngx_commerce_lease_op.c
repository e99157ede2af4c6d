/*
 * The lease op: what was noted goes to the database, its answer to the pools.
 * And the question to other instances, who may have the last units.
 */

#include "ngx_commerce_lease.h"


#define NGX_COMMERCE_LEASE_PAUSE  50        /* msec before a failed op again */
#define NGX_COMMERCE_RECALL_WAYS  4


typedef struct {
    ngx_commerce_pg_op_t    op;
    ngx_commerce_trade_t   *trade;
    commerce_uuid_t         variant;
} ngx_commerce_recall_op_t;


static void ngx_commerce_lease_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_lease_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_lease_answered(ngx_commerce_lease_t *lease);
static void ngx_commerce_lease_again(ngx_commerce_lease_t *lease);
static void ngx_commerce_lease_pause(ngx_commerce_lease_t *lease);
static void ngx_commerce_lease_tried(ngx_commerce_lease_t *lease);
static void ngx_commerce_lease_forget(ngx_commerce_lease_t *lease);
static void ngx_commerce_lease_halve(ngx_commerce_lease_t *lease);
static ngx_uint_t ngx_commerce_lease_length(ngx_queue_t *queue);
static ngx_commerce_recall_t *ngx_commerce_recall_find(
    ngx_commerce_lease_t *lease, const commerce_uuid_t *variant);
static ngx_commerce_recall_t *ngx_commerce_recall_note(
    ngx_commerce_lease_t *lease, const commerce_uuid_t *variant);
static ngx_int_t ngx_commerce_recall_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_recall_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_recall_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


void
ngx_commerce_lease_flush_handler(ngx_event_t *ev)
{
    ngx_commerce_lease_t  *lease;

    lease = ev->data;

    if (lease->busy || lease->pause.timer_set
        || (ngx_queue_empty(&lease->refills)
            && ngx_queue_empty(&lease->returns)))
    {
        return;
    }

    ngx_memzero(&lease->op, sizeof(ngx_commerce_pg_op_t));
    lease->op.build = ngx_commerce_lease_build;
    lease->op.result = ngx_commerce_lease_result;
    lease->op.done = ngx_commerce_lease_done;
    lease->op.data = lease;
    lease->busy = 1;
    lease->hurried = 0;

    if (ngx_commerce_pg_submit(lease->trade->leases, &lease->op) != NGX_OK) {
        lease->busy = 0;
        lease->hurried = 1;
        ngx_commerce_lease_pause(lease);
    }
}


static void
ngx_commerce_lease_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    int                     row, n;
    ngx_queue_t            *q;
    ngx_commerce_lease_t   *lease;
    ngx_commerce_refill_t  *r;

    lease = op->data;

    if (op->queries[query].statement == NGX_COMMERCE_SQL_FENCE) {
        op->conn->tag = lease->instance;
        return;
    }

    if (op->queries[query].statement != NGX_COMMERCE_SQL_GRANTED) {
        return;
    }

    /* rows come in any order: n is the place in the arrays */

    n = 0;

    for (q = ngx_queue_head(&lease->sent_refills);
         q != ngx_queue_sentinel(&lease->sent_refills);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_commerce_refill_t, queue);
        n++;

        row = n - 1;

        if (row >= PQntuples(res)
            || ngx_commerce_pg_get_int4(res, row, 0) != n)
        {
            for (row = 0; row < PQntuples(res); row++) {
                if (ngx_commerce_pg_get_int4(res, row, 0) == n) {
                    break;
                }
            }

            if (row == PQntuples(res)) {
                continue;
            }
        }

        r->granted = ngx_commerce_pg_get_int4(res, row, 1);
        r->free = ngx_commerce_pg_get_int4(res, row, 2);
        r->own = ngx_commerce_pg_get_int8(res, row, 3);
        r->others = ngx_commerce_pg_get_bool(res, row, 4) ? 1 : 0;
        r->alive = ngx_commerce_pg_get_bool(res, row, 5) ? 1 : 0;
    }
}


static void
ngx_commerce_lease_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_lease_t  *lease;

    lease = op->data;
    lease->busy = 0;

    if (outcome == NGX_COMMERCE_PG_COMMITTED) {
        lease->most = 2 * lease->most <= NGX_COMMERCE_LEASE_OP
                      ? 2 * lease->most : 0;
        ngx_commerce_lease_answered(lease);

    } else if (outcome == NGX_COMMERCE_PG_FAILED
               && (ngx_strncmp(sqlstate, "22", 2) == 0
                   || ngx_strncmp(sqlstate, "23", 2) == 0
                   || ngx_strncmp(sqlstate, "42", 2) == 0))
    {
        /* it would fail for ever: units, if any, are left to settlement */

        ngx_log_error(NGX_LOG_ERR, lease->trade->log, 0,
                      "commerce: leases were refused by the database, "
                      "SQLSTATE %s", sqlstate);
        ngx_commerce_lease_drop(lease);
        ngx_commerce_lease_pause(lease);

    } else if (outcome == NGX_COMMERCE_PG_FAILED
               && (ngx_strcmp(sqlstate, "55P03") == 0
                   || ngx_strcmp(sqlstate, "40P01") == 0))
    {
        ngx_commerce_lease_halve(lease);

    } else {
        if (outcome != NGX_COMMERCE_PG_NOT_SENT) {
            ngx_commerce_lease_tried(lease);
        }

        ngx_commerce_lease_again(lease);
        ngx_commerce_lease_forget(lease);
    }

    ngx_commerce_lease_wake(lease);

    if (!ngx_queue_empty(&lease->refills) || !ngx_queue_empty(&lease->returns))
    {
        ngx_commerce_lease_flush(lease, lease->hurried || lease->most);
    }
}


static void
ngx_commerce_lease_answered(ngx_commerce_lease_t *lease)
{
    ngx_queue_t                *q;
    ngx_commerce_zone_t        *zone;
    ngx_commerce_refill_t      *r;
    ngx_commerce_return_t      *ret;
    ngx_commerce_stock_hold_t   left;

    zone = lease->trade->zone;

    while (!ngx_queue_empty(&lease->sent_returns)) {
        q = ngx_queue_head(&lease->sent_returns);
        ngx_queue_remove(q);
        ret = ngx_queue_data(q, ngx_commerce_return_t, queue);

        ngx_commerce_count(zone, NGX_COMMERCE_C_LEASES_RETURNED,
                           ret->hold.units);
        ngx_commerce_stock_returned(zone, &ret->variant, ret->hold.units);
        ngx_commerce_return_free(lease, ret, NGX_OK);
    }

    while (!ngx_queue_empty(&lease->sent_refills)) {
        q = ngx_queue_head(&lease->sent_refills);
        ngx_queue_remove(q);
        r = ngx_queue_data(q, ngx_commerce_refill_t, queue);

        if (!r->alive) {
            ngx_commerce_zone_doubt(zone, r->refill.instance,
                                    "a grant met the fence");
            ngx_commerce_refill_free(lease, r);
            continue;
        }

        ngx_commerce_count(zone, NGX_COMMERCE_C_LEASES_GRANTED, r->granted);

        left.units = 0;
        ngx_commerce_stock_refill_end(zone, &r->refill,
                                      r->granted ? r->lease : 0, r->granted,
                                      r->free, r->own,
                                      r->others && !r->recalled, &left);
        if (left.lease && left.units) {
            ngx_commerce_lease_add_rest(lease, &r->refill.id, &left);
        }

        ngx_free(r);
    }
}


static void
ngx_commerce_lease_again(ngx_commerce_lease_t *lease)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&lease->sent_refills)) {
        q = ngx_queue_last(&lease->sent_refills);
        ngx_queue_remove(q);
        ngx_queue_insert_head(&lease->refills, q);
    }

    while (!ngx_queue_empty(&lease->sent_returns)) {
        q = ngx_queue_last(&lease->sent_returns);
        ngx_queue_remove(q);
        ngx_queue_insert_head(&lease->returns, q);
    }

    ngx_commerce_lease_pause(lease);
}


static void
ngx_commerce_lease_pause(ngx_commerce_lease_t *lease)
{
    if (!lease->pause.timer_set) {
        ngx_add_timer(&lease->pause, NGX_COMMERCE_LEASE_PAUSE);
    }
}


/* For good: that a later run was not sent says nothing of this one. */

static void
ngx_commerce_lease_tried(ngx_commerce_lease_t *lease)
{
    ngx_queue_t            *q;
    ngx_commerce_refill_t  *r;

    for (q = ngx_queue_head(&lease->sent_refills);
         q != ngx_queue_sentinel(&lease->sent_refills);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_commerce_refill_t, queue);
        r->tried = 1;
    }
}


/* Refills that no database has seen: their marks fall, who waits for one of
   them begins it anew. */

static void
ngx_commerce_lease_forget(ngx_commerce_lease_t *lease)
{
    ngx_queue_t            *q;
    ngx_commerce_refill_t  *r;

    for (q = ngx_queue_head(&lease->refills);
         q != ngx_queue_sentinel(&lease->refills); )
    {
        r = ngx_queue_data(q, ngx_commerce_refill_t, queue);
        q = ngx_queue_next(q);

        if (!r->tried) {
            ngx_queue_remove(&r->queue);
            ngx_commerce_refill_free(lease, r);
        }
    }
}


ngx_uint_t
ngx_commerce_lease_leave(ngx_commerce_trade_t *trade)
{
    ngx_commerce_lease_forget(trade->lease);

    return !ngx_queue_empty(&trade->lease->refills)
           || !ngx_queue_empty(&trade->lease->sent_refills);
}


/* What did not go goes to the tail: half of the others are tried first. */

static void
ngx_commerce_lease_halve(ngx_commerce_lease_t *lease)
{
    ngx_uint_t  n;

    n = ngx_commerce_lease_length(&lease->sent_refills)
        + ngx_commerce_lease_length(&lease->sent_returns);

    lease->most = ngx_max(n / 2, 1);

    if (!ngx_queue_empty(&lease->sent_refills)) {
        ngx_queue_add(&lease->refills, &lease->sent_refills);
        ngx_queue_init(&lease->sent_refills);
    }

    if (!ngx_queue_empty(&lease->sent_returns)) {
        ngx_queue_add(&lease->returns, &lease->sent_returns);
        ngx_queue_init(&lease->sent_returns);
    }

    ngx_commerce_lease_again(lease);
}


static ngx_uint_t
ngx_commerce_lease_length(ngx_queue_t *queue)
{
    ngx_uint_t    n;
    ngx_queue_t  *q;

    n = 0;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        n++;
    }

    return n;
}


void
ngx_commerce_lease_drop(ngx_commerce_lease_t *lease)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&lease->sent_refills)) {
        q = ngx_queue_head(&lease->sent_refills);
        ngx_queue_remove(q);
        ngx_commerce_refill_free(lease, ngx_queue_data(q,
                                     ngx_commerce_refill_t, queue));
    }

    while (!ngx_queue_empty(&lease->sent_returns)) {
        q = ngx_queue_head(&lease->sent_returns);
        ngx_queue_remove(q);
        ngx_commerce_return_free(lease,
                                 ngx_queue_data(q, ngx_commerce_return_t,
                                                queue), NGX_ERROR);
    }
}


/* The refill did not happen: only its mark falls. */

void
ngx_commerce_refill_free(ngx_commerce_lease_t *lease,
    ngx_commerce_refill_t *r)
{
    ngx_commerce_stock_hold_t  left;

    ngx_commerce_stock_refill_end(lease->trade->zone, &r->refill, 0, 0, -1, 0,
                                  0, &left);
    ngx_free(r);
}


/* Recalls */

void
ngx_commerce_lease_recall(ngx_commerce_trade_t *trade,
    const commerce_uuid_t *variant)
{
    ngx_commerce_recall_t  *recall;

    recall = ngx_commerce_recall_find(trade->lease, variant);

    if (recall && ngx_current_msec - recall->noted < NGX_COMMERCE_RECALL_AGAIN)
    {
        return;
    }

    (void) ngx_commerce_lease_ask(trade, variant);
}


ngx_int_t
ngx_commerce_lease_ask(ngx_commerce_trade_t *trade,
    const commerce_uuid_t *variant)
{
    ngx_commerce_recall_t     *recall;
    ngx_commerce_recall_op_t  *r;

    r = ngx_calloc(sizeof(ngx_commerce_recall_op_t), trade->log);
    if (r == NULL) {
        return NGX_ERROR;
    }

    r->trade = trade;
    r->variant = *variant;
    r->op.build = ngx_commerce_recall_build;
    r->op.result = ngx_commerce_recall_result;
    r->op.done = ngx_commerce_recall_done;
    r->op.data = r;
    r->op.deadline = ngx_current_msec + NGX_COMMERCE_RECALL_AGAIN;

    if (ngx_commerce_pg_submit(trade->writes, &r->op) != NGX_OK) {
        ngx_free(r);
        return NGX_ERROR;
    }

    recall = ngx_commerce_recall_note(trade->lease, variant);
    recall->variant = *variant;
    recall->noted = ngx_max(ngx_current_msec, 1);
    recall->sent = 0;

    return NGX_OK;
}


static ngx_commerce_recall_t *
ngx_commerce_recall_find(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant)
{
    ngx_uint_t              i, first;
    ngx_commerce_recall_t  *recall;

    first = variant->bytes[15];

    for (i = 0; i < NGX_COMMERCE_RECALL_WAYS; i++) {
        recall = &lease->recalls[(first + i) % NGX_COMMERCE_RECALLS];

        if (recall->noted
            && commerce_uuid_compare(&recall->variant, variant) == 0)
        {
            return recall;
        }
    }

    return NULL;
}


/* Its entry, or the one that was noted first. */

static ngx_commerce_recall_t *
ngx_commerce_recall_note(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant)
{
    ngx_uint_t              i, first;
    ngx_commerce_recall_t  *recall, *oldest;

    recall = ngx_commerce_recall_find(lease, variant);
    if (recall) {
        return recall;
    }

    first = variant->bytes[15];
    oldest = &lease->recalls[first % NGX_COMMERCE_RECALLS];

    for (i = 1; i < NGX_COMMERCE_RECALL_WAYS; i++) {
        recall = &lease->recalls[(first + i) % NGX_COMMERCE_RECALLS];

        if (oldest->noted
            && (recall->noted == 0
                || (ngx_msec_int_t) (recall->noted - oldest->noted) < 0))
        {
            oldest = recall;
        }
    }

    return oldest;
}


ngx_uint_t
ngx_commerce_lease_recalled(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant)
{
    ngx_msec_t              since;
    ngx_commerce_recall_t  *recall;

    recall = ngx_commerce_recall_find(lease, variant);

    if (recall == NULL || recall->sent == 0) {
        return 0;
    }

    since = ngx_current_msec - recall->sent;

    return since >= NGX_COMMERCE_RECALL_WAIT
           && since < NGX_COMMERCE_RECALL_WAIT + NGX_COMMERCE_RECALL_AGAIN;
}


static ngx_int_t
ngx_commerce_recall_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_pg_query_t   *q;
    ngx_commerce_recall_op_t  *r;

    (void) conn;

    r = op->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_RECALL, 2);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(q, 1, &r->variant);
    ngx_commerce_pg_int8(q, 2, ngx_commerce_zone_instance(r->trade->zone));

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_recall_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    (void) op;
    (void) query;
    (void) res;
}


/* Who was not asked has not refused: their time runs from the commit on. */

static void
ngx_commerce_recall_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_recall_t     *recall;
    ngx_commerce_recall_op_t  *r;

    (void) sqlstate;

    r = op->data;
    recall = ngx_commerce_recall_find(r->trade->lease, &r->variant);

    if (recall) {
        if (outcome == NGX_COMMERCE_PG_COMMITTED) {
            recall->sent = ngx_max(ngx_current_msec, 1);

        } else {
            recall->noted = 0;
        }
    }

    ngx_free(r);
}
