/*
 * The segment of a lease op: what was noted, as statements.  All of it can be
 * run again: each call builds it anew from the queues.
 */

#include "ngx_commerce_lease.h"


#define ngx_commerce_lease_int(n)                                             \
    ((int32_t) ngx_min(n, (uint32_t) INT32_MAX))


typedef struct {
    uint32_t                 index;         /* of the slot */
    uint32_t                 units;
} ngx_commerce_least_t;


static void ngx_commerce_lease_pick(ngx_commerce_lease_t *lease,
    ngx_uint_t *refills, ngx_uint_t *returns);
static ngx_uint_t ngx_commerce_lease_pick_refills(ngx_commerce_lease_t *lease,
    ngx_uint_t most);
static ngx_uint_t ngx_commerce_lease_pick_returns(ngx_commerce_lease_t *lease,
    ngx_uint_t most);
static ngx_int_t ngx_commerce_lease_least(ngx_commerce_lease_t *lease,
    ngx_uint_t n);
static int ngx_libc_cdecl ngx_commerce_lease_compare(const void *one,
    const void *two);
static ngx_int_t ngx_commerce_lease_build_lock(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_conn_t *conn, ngx_uint_t n);
static ngx_int_t ngx_commerce_lease_build_returns(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_conn_t *conn, ngx_uint_t n);
static void ngx_commerce_lease_push(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_array_t *variant, ngx_commerce_pg_array_t *need);
static ngx_int_t ngx_commerce_lease_build_grant(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_conn_t *conn, ngx_uint_t n);
static ngx_int_t ngx_commerce_lease_build_close(ngx_commerce_lease_t *lease,
    ngx_uint_t n);
static ngx_int_t ngx_commerce_lease_build_granted(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_conn_t *conn, ngx_uint_t n);


ngx_int_t
ngx_commerce_lease_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_uint_t             refills, returns;
    ngx_commerce_lease_t  *lease;

    lease = op->data;
    lease->instance = ngx_commerce_zone_instance(lease->trade->zone);

    ngx_commerce_lease_pick(lease, &refills, &returns);

    if (returns + refills == 0) {
        return NGX_DECLINED;
    }

    if (!ngx_queue_empty(&lease->refills) || !ngx_queue_empty(&lease->returns))
    {
        /* those that did not fit do not wait for others */
        lease->hurried = 1;
    }

    if (ngx_commerce_fence(op, conn, lease->instance) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_commerce_lease_build_lock(lease, conn, refills + returns)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (returns
        && ngx_commerce_lease_build_returns(lease, conn, returns) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (refills
        && (ngx_commerce_lease_least(lease, refills) != NGX_OK
            || ngx_commerce_lease_build_grant(lease, conn, refills)
               != NGX_OK))
    {
        return NGX_ERROR;
    }

    if (ngx_commerce_lease_build_close(lease, refills + returns) != NGX_OK) {
        return NGX_ERROR;
    }

    /* last: it tells of open leases of others, and some were just closed */

    return refills ? ngx_commerce_lease_build_granted(lease, conn, refills)
                   : NGX_OK;
}


/*
 * After a lock that did not come the op is small: one row that is locked for
 * long must not keep all others from their units.  At one entry refills and
 * returns take turns.
 */

static void
ngx_commerce_lease_pick(ngx_commerce_lease_t *lease, ngx_uint_t *refills,
    ngx_uint_t *returns)
{
    if (lease->most == 0) {
        *returns = ngx_commerce_lease_pick_returns(lease,
                                                   NGX_COMMERCE_LEASE_OP);
        *refills = ngx_commerce_lease_pick_refills(lease,
                                                   NGX_COMMERCE_LEASE_OP);
        return;
    }

    if (lease->refills_first) {
        *refills = ngx_commerce_lease_pick_refills(lease, lease->most);
        *returns = ngx_commerce_lease_pick_returns(lease,
                                                   lease->most - *refills);

    } else {
        *returns = ngx_commerce_lease_pick_returns(lease, lease->most);
        *refills = ngx_commerce_lease_pick_refills(lease,
                                                   lease->most - *returns);
    }

    lease->refills_first = !lease->refills_first;
}


/* Those of an instance that is left are void: settlement has their units. */

static ngx_uint_t
ngx_commerce_lease_pick_refills(ngx_commerce_lease_t *lease, ngx_uint_t most)
{
    ngx_uint_t              n;
    ngx_queue_t            *q;
    ngx_commerce_refill_t  *r;

    for (n = 0; !ngx_queue_empty(&lease->refills)
                && n < most; )
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

        /* now, not when it is answered: what came back in their time must be
           in what this op sees */

        r->recalled = ngx_commerce_lease_recalled(lease, &r->refill.id);

        ngx_queue_insert_tail(&lease->sent_refills, q);
        n++;
    }

    return n;
}


static ngx_uint_t
ngx_commerce_lease_pick_returns(ngx_commerce_lease_t *lease, ngx_uint_t most)
{
    ngx_uint_t              n;
    ngx_queue_t            *q;
    ngx_commerce_return_t  *ret;

    for (n = 0; !ngx_queue_empty(&lease->returns)
                && n < most; )
    {
        q = ngx_queue_head(&lease->returns);
        ngx_queue_remove(q);
        ret = ngx_queue_data(q, ngx_commerce_return_t, queue);

        if (ret->hold.instance != lease->instance) {
            ngx_commerce_return_free(lease, ret, NGX_OK);
            continue;
        }

        ngx_queue_insert_tail(&lease->sent_returns, q);
        n++;
    }

    return n;
}


/*
 * What helps at least one of this worker's requests: the smallest number of
 * units that one waits for, by slot, in one walk over all who wait.
 */

static ngx_int_t
ngx_commerce_lease_least(ngx_commerce_lease_t *lease, ngx_uint_t n)
{
    ngx_uint_t              i;
    ngx_queue_t            *q;
    ngx_commerce_want_t    *want;
    ngx_commerce_least_t   *least, *found, key;
    ngx_commerce_refill_t  *r;
    ngx_commerce_waiter_t  *waiter;

    least = ngx_palloc(lease->op.pool, n * sizeof(ngx_commerce_least_t));
    if (least == NULL) {
        return NGX_ERROR;
    }

    i = 0;

    for (q = ngx_queue_head(&lease->sent_refills);
         q != ngx_queue_sentinel(&lease->sent_refills);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_commerce_refill_t, queue);

        least[i].index = r->refill.ref.index;
        least[i].units = INT32_MAX;
        i++;
    }

    ngx_qsort(least, n, sizeof(ngx_commerce_least_t),
              ngx_commerce_lease_compare);

    for (q = ngx_queue_head(&lease->waiters);
         q != ngx_queue_sentinel(&lease->waiters);
         q = ngx_queue_next(q))
    {
        waiter = ngx_queue_data(q, ngx_commerce_waiter_t, queue);

        for (i = 0; i < waiter->n; i++) {
            want = &waiter->wants[i];

            if (want->units == 0) {
                continue;
            }

            key.index = want->ref.index;
            found = bsearch(&key, least, n, sizeof(ngx_commerce_least_t),
                            ngx_commerce_lease_compare);

            if (found && want->units < found->units) {
                found->units = want->units;
            }
        }
    }

    for (q = ngx_queue_head(&lease->sent_refills);
         q != ngx_queue_sentinel(&lease->sent_refills);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_commerce_refill_t, queue);
        r->least = 0;

        if (r->empty) {
            key.index = r->refill.ref.index;
            found = bsearch(&key, least, n, sizeof(ngx_commerce_least_t),
                            ngx_commerce_lease_compare);

            /* who wanted less may have gone: never more than it began for */

            r->least = ngx_max(ngx_min(found->units, r->refill.wanted), 1);
        }
    }

    return NGX_OK;
}


static int ngx_libc_cdecl
ngx_commerce_lease_compare(const void *one, const void *two)
{
    uint32_t  a, b;

    a = ((const ngx_commerce_least_t *) one)->index;
    b = ((const ngx_commerce_least_t *) two)->index;

    return (a > b) - (a < b);
}


/*
 * The rows of stock of all entries, once, before any row of a lease: returns
 * and grants would each lock theirs in order, but together in none.
 */

static ngx_int_t
ngx_commerce_lease_build_lock(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_conn_t *conn, ngx_uint_t n)
{
    ngx_commerce_pg_array_t   variant;
    ngx_commerce_pg_query_t  *query;

    query = ngx_commerce_pg_query(&lease->op, NGX_COMMERCE_SQL_LOCK_STOCK, 3);
    if (query == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&variant, lease->op.pool, NGX_COMMERCE_PG_UUID, n);
    ngx_commerce_lease_push(lease, &variant, NULL);

    ngx_commerce_pg_int8(query, 1, lease->instance);
    ngx_commerce_pg_int4(query, 2, (int32_t) conn->slot);
    ngx_commerce_pg_array_param(query, 3, &variant);

    return query->failed ? NGX_ERROR : NGX_OK;
}


/*
 * The variants of all entries; with "need", and what requests wait for of
 * each, only of those whose leases are to be closed: where requests wait, and
 * where units are given back for good.  To sum the lines of a lease costs more
 * than to grant one: those that a stock-up replaces are left to the sweep.
 */

static void
ngx_commerce_lease_push(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_array_t *variant, ngx_commerce_pg_array_t *need)
{
    ngx_queue_t            *q;
    ngx_commerce_refill_t  *r;
    ngx_commerce_return_t  *ret;

    for (q = ngx_queue_head(&lease->sent_refills);
         q != ngx_queue_sentinel(&lease->sent_refills);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_commerce_refill_t, queue);

        if (need == NULL) {
            ngx_commerce_pg_push_uuid(variant, &r->refill.id);

        } else if (r->empty || r->refill.wanted) {
            ngx_commerce_pg_push_uuid(variant, &r->refill.id);
            ngx_commerce_pg_push_int4(need,
                                   ngx_commerce_lease_int(r->refill.wanted));
        }
    }

    for (q = ngx_queue_head(&lease->sent_returns);
         q != ngx_queue_sentinel(&lease->sent_returns);
         q = ngx_queue_next(q))
    {
        ret = ngx_queue_data(q, ngx_commerce_return_t, queue);

        if (need == NULL) {
            ngx_commerce_pg_push_uuid(variant, &ret->variant);

        } else if (!ret->rest) {
            ngx_commerce_pg_push_uuid(variant, &ret->variant);
            ngx_commerce_pg_push_int4(need, 0);
        }
    }
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
ngx_commerce_lease_build_grant(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_conn_t *conn, ngx_uint_t n)
{
    ngx_queue_t              *q;
    ngx_commerce_refill_t    *r;
    ngx_commerce_pg_array_t   id, variant, need, least, extra;
    ngx_commerce_pg_query_t  *query;

    query = ngx_commerce_pg_query(&lease->op, NGX_COMMERCE_SQL_GRANT, 7);
    if (query == NULL) {
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
        ngx_commerce_pg_push_int4(&need, ngx_commerce_lease_int(
                                             r->refill.wanted));
        ngx_commerce_pg_push_int4(&least, ngx_commerce_lease_int(r->least));
        ngx_commerce_pg_push_int4(&extra, ngx_commerce_lease_int(
                                              r->refill.extra));
    }

    ngx_commerce_pg_int8(query, 1, lease->instance);
    ngx_commerce_pg_int4(query, 2, (int32_t) conn->slot);
    ngx_commerce_pg_array_param(query, 3, &id);
    ngx_commerce_pg_array_param(query, 4, &variant);
    ngx_commerce_pg_array_param(query, 5, &need);
    ngx_commerce_pg_array_param(query, 6, &least);
    ngx_commerce_pg_array_param(query, 7, &extra);

    return query->failed ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_commerce_lease_build_close(ngx_commerce_lease_t *lease, ngx_uint_t n)
{
    ngx_commerce_pg_array_t   variant, need;
    ngx_commerce_pg_query_t  *query;

    ngx_commerce_pg_array(&variant, lease->op.pool, NGX_COMMERCE_PG_UUID, n);
    ngx_commerce_pg_array(&need, lease->op.pool, NGX_COMMERCE_PG_INT4, n);
    ngx_commerce_lease_push(lease, &variant, &need);

    if (variant.n == 0) {
        return NGX_OK;
    }

    query = ngx_commerce_pg_query(&lease->op, NGX_COMMERCE_SQL_CLOSE_USED, 3);
    if (query == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_int8(query, 1, lease->instance);
    ngx_commerce_pg_array_param(query, 2, &variant);
    ngx_commerce_pg_array_param(query, 3, &need);

    return query->failed ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_commerce_lease_build_granted(ngx_commerce_lease_t *lease,
    ngx_commerce_pg_conn_t *conn, ngx_uint_t n)
{
    ngx_queue_t              *q;
    ngx_commerce_refill_t    *r;
    ngx_commerce_pg_array_t   id, variant, need;
    ngx_commerce_pg_query_t  *query;

    query = ngx_commerce_pg_query(&lease->op, NGX_COMMERCE_SQL_GRANTED, 5);
    if (query == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&id, lease->op.pool, NGX_COMMERCE_PG_INT8, n);
    ngx_commerce_pg_array(&variant, lease->op.pool, NGX_COMMERCE_PG_UUID, n);
    ngx_commerce_pg_array(&need, lease->op.pool, NGX_COMMERCE_PG_INT4, n);

    for (q = ngx_queue_head(&lease->sent_refills);
         q != ngx_queue_sentinel(&lease->sent_refills);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_commerce_refill_t, queue);

        ngx_commerce_pg_push_int8(&id, r->lease);
        ngx_commerce_pg_push_uuid(&variant, &r->refill.id);
        ngx_commerce_pg_push_int4(&need, ngx_commerce_lease_int(
                                             r->refill.wanted));
    }

    ngx_commerce_pg_int8(query, 1, lease->instance);
    ngx_commerce_pg_int4(query, 2, (int32_t) conn->slot);
    ngx_commerce_pg_array_param(query, 3, &id);
    ngx_commerce_pg_array_param(query, 4, &variant);
    ngx_commerce_pg_array_param(query, 5, &need);

    return query->failed ? NGX_ERROR : NGX_OK;
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
