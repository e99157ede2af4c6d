/*
 * The lease op: what was noted goes to the database, its answer to the pools.
 */

#include "ngx_commerce_lease.h"


#define NGX_COMMERCE_LEASE_PAUSE  50        /* msec before a failed op again */
#define NGX_COMMERCE_LEASE_OP     1024      /* refills or returns in one op */


static ngx_int_t ngx_commerce_lease_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static ngx_uint_t ngx_commerce_lease_pick_refills(ngx_commerce_lease_t *lease);
static ngx_uint_t ngx_commerce_lease_pick_returns(ngx_commerce_lease_t *lease);
static ngx_int_t ngx_commerce_lease_build_returns(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_conn_t *conn, ngx_uint_t n);
static ngx_int_t ngx_commerce_lease_build_refills(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_conn_t *conn, ngx_uint_t n);
static ngx_int_t ngx_commerce_lease_build_close(ngx_commerce_lease_t *lease,
    ngx_uint_t n);
static void ngx_commerce_lease_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_lease_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_lease_answered(ngx_commerce_lease_t *lease);
static void ngx_commerce_lease_again(ngx_commerce_lease_t *lease);
static void ngx_commerce_refill_free(ngx_commerce_lease_t *lease,
    ngx_commerce_refill_t *r);


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

    if (ngx_commerce_pg_submit(lease->trade->leases, &lease->op) != NGX_OK) {
        lease->busy = 0;
        ngx_add_timer(&lease->pause, NGX_COMMERCE_LEASE_PAUSE);
    }
}


static ngx_int_t
ngx_commerce_lease_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_uint_t             refills, returns;
    ngx_commerce_lease_t  *lease;

    lease = op->data;
    lease->instance = ngx_commerce_zone_instance(lease->trade->zone);

    returns = ngx_commerce_lease_pick_returns(lease);
    refills = ngx_commerce_lease_pick_refills(lease);

    if (returns + refills == 0) {
        return NGX_DECLINED;
    }

    if (ngx_commerce_fence(op, conn, lease->instance) != NGX_OK) {
        return NGX_ERROR;
    }

    if (returns
        && ngx_commerce_lease_build_returns(lease, conn, returns) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (refills
        && ngx_commerce_lease_build_refills(lease, conn, refills) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_commerce_lease_build_close(lease, refills + returns);
}


/* Those of an instance that is left are void: settlement has their units. */

static ngx_uint_t
ngx_commerce_lease_pick_refills(ngx_commerce_lease_t *lease)
{
    ngx_uint_t              n;
    ngx_queue_t            *q;
    ngx_commerce_refill_t  *r;

    for (n = 0; !ngx_queue_empty(&lease->refills)
                && n < NGX_COMMERCE_LEASE_OP; )
    {
        q = ngx_queue_head(&lease->refills);
        ngx_queue_remove(q);
        r = ngx_queue_data(q, ngx_commerce_refill_t, queue);

        if (r->refill.instance != lease->instance) {
            ngx_commerce_refill_free(lease, r);
            continue;
        }

        r->granted = 0;
        r->free = -1;
        ngx_queue_insert_tail(&lease->sent_refills, q);
        n++;
    }

    return n;
}


static ngx_uint_t
ngx_commerce_lease_pick_returns(ngx_commerce_lease_t *lease)
{
    ngx_uint_t              n;
    ngx_queue_t            *q;
    ngx_commerce_return_t  *ret;

    for (n = 0; !ngx_queue_empty(&lease->returns)
                && n < NGX_COMMERCE_LEASE_OP; )
    {
        q = ngx_queue_head(&lease->returns);
        ngx_queue_remove(q);
        ret = ngx_queue_data(q, ngx_commerce_return_t, queue);

        if (ret->hold.instance != lease->instance) {
            ngx_commerce_return_free(ret, NGX_OK);
            continue;
        }

        ngx_queue_insert_tail(&lease->sent_returns, q);
        n++;
    }

    return n;
}


static ngx_int_t
ngx_commerce_lease_build_returns(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_conn_t *conn, ngx_uint_t n)
{
    ngx_queue_t              *q;
    ngx_commerce_return_t    *ret;
    ngx_commerce_pg_array_t   id, lease_id, units;
    ngx_commerce_pg_query_t  *query;

    query = ngx_commerce_pg_query(&lease->op, NGX_COMMERCE_SQL_RETURN, 5);
    if (query == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&id, lease->op.pool, NGX_COMMERCE_PG_INT8, n);
    ngx_commerce_pg_array(&lease_id, lease->op.pool, NGX_COMMERCE_PG_INT8, n);
    ngx_commerce_pg_array(&units, lease->op.pool, NGX_COMMERCE_PG_INT4, n);

    for (q = ngx_queue_head(&lease->sent_returns);
         q != ngx_queue_sentinel(&lease->sent_returns);
         q = ngx_queue_next(q))
    {
        ret = ngx_queue_data(q, ngx_commerce_return_t, queue);
        ngx_commerce_pg_push_int8(&id, ret->id);
        ngx_commerce_pg_push_int8(&lease_id, ret->hold.lease);
        ngx_commerce_pg_push_int4(&units, (int32_t) ret->hold.units);
    }

    ngx_commerce_pg_int8(query, 1, lease->instance);
    ngx_commerce_pg_int4(query, 2, (int32_t) conn->slot);
    ngx_commerce_pg_array_param(query, 3, &id);
    ngx_commerce_pg_array_param(query, 4, &lease_id);
    ngx_commerce_pg_array_param(query, 5, &units);

    return query->failed ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_commerce_lease_build_refills(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_conn_t *conn, ngx_uint_t n)
{
    ngx_queue_t              *q;
    ngx_commerce_refill_t    *r;
    ngx_commerce_pg_array_t   id, variant, need, least, extra;
    ngx_commerce_pg_query_t  *grant, *granted;

    grant = ngx_commerce_pg_query(&lease->op, NGX_COMMERCE_SQL_GRANT, 7);
    granted = ngx_commerce_pg_query(&lease->op, NGX_COMMERCE_SQL_GRANTED, 5);

    if (grant == NULL || granted == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&id, lease->op.pool, NGX_COMMERCE_PG_INT8, n);
    ngx_commerce_pg_array(&variant, lease->op.pool, NGX_COMMERCE_PG_UUID, n);
    ngx_commerce_pg_array(&need, lease->op.pool, NGX_COMMERCE_PG_INT4, n);
    ngx_commerce_pg_array(&least, lease->op.pool, NGX_COMMERCE_PG_INT4, n);
    ngx_commerce_pg_array(&extra, lease->op.pool, NGX_COMMERCE_PG_INT4, n);

    for (q = ngx_queue_head(&lease->sent_refills);
         q != ngx_queue_sentinel(&lease->sent_refills);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_commerce_refill_t, queue);

        ngx_commerce_pg_push_int8(&id, r->lease);
        ngx_commerce_pg_push_uuid(&variant, &r->refill.id);
        ngx_commerce_pg_push_int4(&need, (int32_t)
                              ngx_min(r->refill.wanted, (uint32_t) INT32_MAX));
        ngx_commerce_pg_push_int4(&least, (int32_t)
                                  ngx_min(r->least, (uint32_t) INT32_MAX));
        ngx_commerce_pg_push_int4(&extra, (int32_t)
                               ngx_min(r->refill.extra, (uint32_t) INT32_MAX));
    }

    ngx_commerce_pg_int8(grant, 1, lease->instance);
    ngx_commerce_pg_int4(grant, 2, (int32_t) conn->slot);
    ngx_commerce_pg_array_param(grant, 3, &id);
    ngx_commerce_pg_array_param(grant, 4, &variant);
    ngx_commerce_pg_array_param(grant, 5, &need);
    ngx_commerce_pg_array_param(grant, 6, &least);
    ngx_commerce_pg_array_param(grant, 7, &extra);

    ngx_commerce_pg_int8(granted, 1, lease->instance);
    ngx_commerce_pg_int4(granted, 2, (int32_t) conn->slot);
    ngx_commerce_pg_array_param(granted, 3, &id);
    ngx_commerce_pg_array_param(granted, 4, &variant);
    ngx_commerce_pg_array_param(granted, 5, &need);

    return grant->failed || granted->failed ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_commerce_lease_build_close(ngx_commerce_lease_t *lease, ngx_uint_t n)
{
    ngx_queue_t              *q;
    ngx_commerce_pg_array_t   variant;
    ngx_commerce_pg_query_t  *query;

    query = ngx_commerce_pg_query(&lease->op, NGX_COMMERCE_SQL_CLOSE_USED, 2);
    if (query == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&variant, lease->op.pool, NGX_COMMERCE_PG_UUID, n);

    for (q = ngx_queue_head(&lease->sent_refills);
         q != ngx_queue_sentinel(&lease->sent_refills);
         q = ngx_queue_next(q))
    {
        ngx_commerce_pg_push_uuid(&variant,
            &(ngx_queue_data(q, ngx_commerce_refill_t, queue))->refill.id);
    }

    for (q = ngx_queue_head(&lease->sent_returns);
         q != ngx_queue_sentinel(&lease->sent_returns);
         q = ngx_queue_next(q))
    {
        ngx_commerce_pg_push_uuid(&variant,
            &(ngx_queue_data(q, ngx_commerce_return_t, queue))->variant);
    }

    ngx_commerce_pg_int8(query, 1, lease->instance);
    ngx_commerce_pg_array_param(query, 2, &variant);

    return query->failed ? NGX_ERROR : NGX_OK;
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

    } else {
        ngx_commerce_lease_again(lease);
    }

    ngx_commerce_lease_wake(lease);

    if (!ngx_queue_empty(&lease->refills) || !ngx_queue_empty(&lease->returns))
    {
        ngx_post_event(&lease->flush, &ngx_posted_events);
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
        ngx_commerce_return_free(ret, NGX_OK);
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
                                      r->others
                                      && !ngx_commerce_lease_recalled(lease,
                                              &r->refill.id),
                                      &left);
        if (left.lease && left.units) {
            ngx_commerce_lease_add_return(lease, &r->refill.id, &left, NULL);
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

    if (!lease->pause.timer_set
        && (!ngx_queue_empty(&lease->refills)
            || !ngx_queue_empty(&lease->returns)))
    {
        ngx_add_timer(&lease->pause, NGX_COMMERCE_LEASE_PAUSE);
    }
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
        ngx_commerce_return_free(ngx_queue_data(q, ngx_commerce_return_t,
                                                queue), NGX_ERROR);
    }
}


/* The refill did not happen: only its mark falls. */

static void
ngx_commerce_refill_free(ngx_commerce_lease_t *lease,
    ngx_commerce_refill_t *r)
{
    ngx_commerce_stock_hold_t  left;

    ngx_commerce_stock_refill_end(lease->trade->zone, &r->refill, 0, 0, -1, 0,
                                  0, &left);
    ngx_free(r);
}


ngx_int_t
ngx_commerce_fence(ngx_commerce_pg_op_t *op, ngx_commerce_pg_conn_t *conn,
    int64_t instance)
{
    ngx_commerce_pg_query_t  *q;

    if (conn->tag == instance) {
        return NGX_OK;
    }

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_FENCE, 2);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_int8(q, 1, instance);
    ngx_commerce_pg_int4(q, 2, (int32_t) conn->slot);

    return q->failed ? NGX_ERROR : NGX_OK;
}
