/*
 * Units between the database and the pools: refills, returns, and the requests
 * that wait for them.
 *
 * One lease op is in flight per worker; what comes up meanwhile goes together
 * in the next.  All of it can be run again: a grant's id is chosen before the
 * first try, a return carries the lease's running total.
 */

#include "ngx_commerce_engine.h"


#define NGX_COMMERCE_LEASE_TICK   2         /* msec: others' refills */
#define NGX_COMMERCE_LEASE_PAUSE  50        /* msec before a failed op again */
#define NGX_COMMERCE_LEASE_OP     1024      /* refills or returns in one op */


typedef struct {
    ngx_queue_t                  queue;
    ngx_commerce_stock_refill_t  refill;
    int64_t                      lease;
    uint32_t                     least;
    /* the database's answer */
    uint32_t                     granted;
    int32_t                      free;
    unsigned                     others:1;
    unsigned                     alive:1;
} ngx_commerce_refill_t;


typedef struct {
    ngx_uint_t                   left;      /* returns still on their way */
    ngx_int_t                    rc;
    ngx_event_t                  event;
    void                       (*done)(void *data, ngx_int_t rc);
    void                        *data;
} ngx_commerce_give_back_t;


typedef struct {
    ngx_queue_t                  queue;
    commerce_uuid_t              variant;
    ngx_commerce_stock_hold_t    hold;
    ngx_commerce_give_back_t    *owner;     /* may be NULL */
} ngx_commerce_return_t;


struct ngx_commerce_lease_s {
    ngx_commerce_trade_t        *trade;
    ngx_queue_t                  waiters;
    ngx_queue_t                  refills;   /* to be sent */
    ngx_queue_t                  returns;
    ngx_queue_t                  sent_refills;
    ngx_queue_t                  sent_returns;
    int64_t                      instance;  /* of what is sent */
    ngx_event_t                  tick;
    ngx_event_t                  flush;     /* posted */
    ngx_event_t                  pause;
    ngx_commerce_pg_op_t         op;
    unsigned                     busy:1;
};


static void ngx_commerce_lease_want(ngx_commerce_trade_t *trade,
    ngx_commerce_waiter_t *waiter, ngx_int_t sign);
static ngx_uint_t ngx_commerce_lease_served(ngx_commerce_lease_t *lease,
    ngx_commerce_waiter_t *waiter);
static void ngx_commerce_lease_begin(ngx_commerce_lease_t *lease,
    const ngx_commerce_stock_ref_t *ref, ngx_uint_t empty);
static uint32_t ngx_commerce_lease_least(ngx_commerce_lease_t *lease,
    const ngx_commerce_stock_ref_t *ref);
static void ngx_commerce_lease_wake(ngx_commerce_lease_t *lease);
static void ngx_commerce_lease_tick_handler(ngx_event_t *ev);
static void ngx_commerce_lease_flush_handler(ngx_event_t *ev);
static void ngx_commerce_lease_add_return(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant, ngx_commerce_stock_hold_t *hold,
    ngx_commerce_give_back_t *owner);
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
static void ngx_commerce_lease_drop(ngx_commerce_lease_t *lease);
static void ngx_commerce_refill_free(ngx_commerce_lease_t *lease,
    ngx_commerce_refill_t *r);
static void ngx_commerce_return_free(ngx_commerce_return_t *ret, ngx_int_t rc);
static void ngx_commerce_give_back_handler(ngx_event_t *ev);


ngx_int_t
ngx_commerce_lease_start(ngx_commerce_trade_t *trade)
{
    ngx_commerce_lease_t  *lease;

    lease = ngx_pcalloc(trade->cycle->pool, sizeof(ngx_commerce_lease_t));
    if (lease == NULL) {
        return NGX_ERROR;
    }

    lease->trade = trade;
    ngx_queue_init(&lease->waiters);
    ngx_queue_init(&lease->refills);
    ngx_queue_init(&lease->returns);
    ngx_queue_init(&lease->sent_refills);
    ngx_queue_init(&lease->sent_returns);

    lease->tick.handler = ngx_commerce_lease_tick_handler;
    lease->tick.data = lease;
    lease->tick.log = trade->log;

    lease->flush.handler = ngx_commerce_lease_flush_handler;
    lease->flush.data = lease;
    lease->flush.log = trade->log;

    lease->pause.handler = ngx_commerce_lease_flush_handler;
    lease->pause.data = lease;
    lease->pause.log = trade->log;
    lease->pause.cancelable = 1;

    trade->lease = lease;

    return NGX_OK;
}


void
ngx_commerce_lease_stop(ngx_commerce_trade_t *trade)
{
    ngx_commerce_lease_t  *lease;

    lease = trade->lease;

    if (lease->tick.timer_set) {
        ngx_del_timer(&lease->tick);
    }

    if (lease->pause.timer_set) {
        ngx_del_timer(&lease->pause);
    }

    if (lease->flush.posted) {
        ngx_delete_posted_event(&lease->flush);
    }

    ngx_commerce_lease_drop(lease);
}


/* Waiting */

void
ngx_commerce_lease_wait(ngx_commerce_trade_t *trade,
    ngx_commerce_waiter_t *waiter)
{
    ngx_uint_t                  i;
    ngx_commerce_lease_t       *lease;
    ngx_commerce_want_t        *want;
    ngx_commerce_stock_view_t   view;

    lease = trade->lease;

    for (i = 0; i < waiter->n; i++) {
        want = &waiter->wants[i];

        if (want->units == 0) {
            continue;
        }

        want->target = ngx_commerce_stock_look(trade->zone, &want->ref, &view)
                       == NGX_OK ? view.started + 1 : 0;
    }

    ngx_queue_insert_tail(&lease->waiters, &waiter->queue);
    ngx_commerce_lease_want(trade, waiter, 1);

    if (!lease->tick.timer_set) {
        ngx_add_timer(&lease->tick, NGX_COMMERCE_LEASE_TICK);
    }

    /* starts its refills; a waiter that is served at once is left to the
       tick, since wake() must not run from inside of wait() */

    (void) ngx_commerce_lease_served(lease, waiter);
}


void
ngx_commerce_lease_unwait(ngx_commerce_trade_t *trade,
    ngx_commerce_waiter_t *waiter)
{
    ngx_queue_remove(&waiter->queue);
    ngx_commerce_lease_want(trade, waiter, -1);
}


static void
ngx_commerce_lease_want(ngx_commerce_trade_t *trade,
    ngx_commerce_waiter_t *waiter, ngx_int_t sign)
{
    ngx_uint_t            i;
    ngx_commerce_want_t  *want;

    for (i = 0; i < waiter->n; i++) {
        want = &waiter->wants[i];

        if (want->units) {
            ngx_commerce_stock_want(trade->zone, &want->ref,
                                    (int32_t) (sign * want->units));
        }
    }
}


/* 1 when there is something to be had or to be known for every want. */

static ngx_uint_t
ngx_commerce_lease_served(ngx_commerce_lease_t *lease,
    ngx_commerce_waiter_t *waiter)
{
    ngx_uint_t                  i, served;
    ngx_commerce_want_t        *want;
    ngx_commerce_stock_view_t   view;

    served = 1;

    for (i = 0; i < waiter->n; i++) {
        want = &waiter->wants[i];

        if (want->units == 0) {
            continue;
        }

        if (ngx_commerce_stock_look(lease->trade->zone, &want->ref, &view)
            != NGX_OK)
        {
            return 1;
        }

        if (view.units >= want->units || view.sold_out
            || (int32_t) (view.ended - want->target) >= 0)
        {
            continue;
        }

        served = 0;

        if (view.refilling
            || (want->not_before
                && (ngx_msec_int_t) (want->not_before - ngx_current_msec) > 0))
        {
            continue;
        }

        ngx_commerce_lease_begin(lease, &want->ref, 1);
    }

    return served;
}


static void
ngx_commerce_lease_wake(ngx_commerce_lease_t *lease)
{
    ngx_queue_t             *q, woken;
    ngx_commerce_waiter_t   *waiter;

    ngx_queue_init(&woken);

    for (q = ngx_queue_head(&lease->waiters);
         q != ngx_queue_sentinel(&lease->waiters); )
    {
        waiter = ngx_queue_data(q, ngx_commerce_waiter_t, queue);
        q = ngx_queue_next(q);

        if ((ngx_msec_int_t) (waiter->deadline - ngx_current_msec) <= 0
            || ngx_commerce_lease_served(lease, waiter))
        {
            ngx_commerce_lease_unwait(lease->trade, waiter);
            ngx_queue_insert_tail(&woken, &waiter->queue);
        }
    }

    while (!ngx_queue_empty(&woken)) {
        q = ngx_queue_head(&woken);
        ngx_queue_remove(q);
        waiter = ngx_queue_data(q, ngx_commerce_waiter_t, queue);
        waiter->wake(waiter);
    }
}


static void
ngx_commerce_lease_tick_handler(ngx_event_t *ev)
{
    ngx_commerce_lease_t  *lease;

    lease = ev->data;

    ngx_commerce_lease_wake(lease);

    if (!ngx_queue_empty(&lease->waiters) && !ev->timer_set) {
        ngx_add_timer(ev, NGX_COMMERCE_LEASE_TICK);
    }
}


/* Refills */

void
ngx_commerce_lease_refill(ngx_commerce_trade_t *trade,
    const ngx_commerce_stock_ref_t *ref)
{
    if (ngx_commerce_zone_draining(trade->zone)) {
        return;     /* grants for need only */
    }

    ngx_commerce_lease_begin(trade->lease, ref, 0);
}


static void
ngx_commerce_lease_begin(ngx_commerce_lease_t *lease,
    const ngx_commerce_stock_ref_t *ref, ngx_uint_t empty)
{
    ngx_commerce_refill_t     *r;
    ngx_commerce_trade_t      *trade;
    ngx_commerce_stock_hold_t  hold;

    trade = lease->trade;

    r = ngx_calloc(sizeof(ngx_commerce_refill_t), trade->log);
    if (r == NULL) {
        return;
    }

    if (ngx_commerce_random((u_char *) &r->lease, sizeof(int64_t)) != NGX_OK
        || ngx_commerce_stock_refill_begin(trade->zone, ref,
                                           ngx_commerce_zone_draining(trade->zone)
                                           ? 0 : trade->conf->lease_block,
                                           empty, &r->refill)
           != NGX_OK)
    {
        ngx_free(r);
        return;
    }

    r->lease &= INT64_MAX;
    r->least = empty ? ngx_commerce_lease_least(lease, ref) : 0;

    if (r->refill.return_units) {
        hold.lease = r->refill.return_lease;
        hold.instance = r->refill.instance;
        hold.units = r->refill.return_units;
        hold.returned = r->refill.return_total;
        ngx_commerce_lease_add_return(lease, &r->refill.id, &hold, NULL);
    }

    ngx_queue_insert_tail(&lease->refills, &r->queue);
    ngx_post_event(&lease->flush, &ngx_posted_events);
}


/* What helps at least one of this worker's requests. */

static uint32_t
ngx_commerce_lease_least(ngx_commerce_lease_t *lease,
    const ngx_commerce_stock_ref_t *ref)
{
    uint32_t                least;
    ngx_uint_t              i;
    ngx_queue_t            *q;
    ngx_commerce_want_t    *want;
    ngx_commerce_waiter_t  *waiter;

    least = 0;

    for (q = ngx_queue_head(&lease->waiters);
         q != ngx_queue_sentinel(&lease->waiters);
         q = ngx_queue_next(q))
    {
        waiter = ngx_queue_data(q, ngx_commerce_waiter_t, queue);

        for (i = 0; i < waiter->n; i++) {
            want = &waiter->wants[i];

            if (want->units && want->ref.index == ref->index
                && (least == 0 || want->units < least))
            {
                least = want->units;
            }
        }
    }

    return least;
}


/* Returns */

static void
ngx_commerce_lease_add_return(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant, ngx_commerce_stock_hold_t *hold,
    ngx_commerce_give_back_t *owner)
{
    ngx_commerce_return_t  *ret;

    /* without memory the units stay with their lease: settlement finds them */

    ret = ngx_alloc(sizeof(ngx_commerce_return_t), lease->trade->log);
    if (ret == NULL) {
        return;
    }

    ret->variant = *variant;
    ret->hold = *hold;
    ret->owner = owner;

    if (owner) {
        owner->left++;
    }

    ngx_queue_insert_tail(&lease->returns, &ret->queue);
    ngx_post_event(&lease->flush, &ngx_posted_events);
}


ngx_int_t
ngx_commerce_lease_give_back(ngx_commerce_trade_t *trade,
    const commerce_uuid_t *id, void (*done)(void *data, ngx_int_t rc),
    void *data)
{
    uint32_t                    i, n;
    commerce_uuid_t             variant;
    ngx_commerce_give_back_t   *owner;
    ngx_commerce_stock_hold_t   hold;
    ngx_commerce_stock_item_t   item;

    owner = ngx_calloc(sizeof(ngx_commerce_give_back_t), trade->log);
    if (owner == NULL) {
        return NGX_ERROR;
    }

    owner->done = done;
    owner->data = data;
    owner->event.handler = ngx_commerce_give_back_handler;
    owner->event.data = owner;
    owner->event.log = trade->log;
    owner->left = 1;

    if (id) {
        if (ngx_commerce_stock_find_id(trade->zone, id, (u_char *) "XXX",
                                       &item)
            == NGX_OK
            && ngx_commerce_stock_empty(trade->zone, item.ref.index, &hold,
                                        &variant)
               == NGX_OK)
        {
            ngx_commerce_lease_add_return(trade->lease, &variant, &hold,
                                          owner);
        }

    } else {
        n = ngx_commerce_stock_slots(trade->zone);

        for (i = 0; i < n; i++) {
            if (ngx_commerce_stock_empty(trade->zone, i, &hold, &variant)
                == NGX_OK)
            {
                ngx_commerce_lease_add_return(trade->lease, &variant, &hold,
                                              owner);
            }
        }
    }

    if (--owner->left == 0) {
        ngx_post_event(&owner->event, &ngx_posted_events);
    }

    return NGX_OK;
}


void
ngx_commerce_lease_return_idle(ngx_commerce_trade_t *trade)
{
    uint32_t                   i, n;
    commerce_uuid_t            variant;
    ngx_commerce_stock_hold_t  hold;

    n = ngx_commerce_stock_slots(trade->zone);

    for (i = 0; i < n; i++) {
        if (ngx_commerce_stock_is_idle(trade->zone, i,
                                       trade->conf->lease_idle)
            && ngx_commerce_stock_empty(trade->zone, i, &hold, &variant)
               == NGX_OK)
        {
            ngx_commerce_lease_add_return(trade->lease, &variant, &hold, NULL);
        }
    }
}


static void
ngx_commerce_return_free(ngx_commerce_return_t *ret, ngx_int_t rc)
{
    ngx_commerce_give_back_t  *owner;

    owner = ret->owner;
    ngx_free(ret);

    if (owner == NULL) {
        return;
    }

    if (rc != NGX_OK) {
        owner->rc = rc;
    }

    if (--owner->left == 0) {
        ngx_post_event(&owner->event, &ngx_posted_events);
    }
}


static void
ngx_commerce_give_back_handler(ngx_event_t *ev)
{
    ngx_int_t                  rc;
    void                      *data;
    void                     (*done)(void *data, ngx_int_t rc);
    ngx_commerce_give_back_t  *owner;

    owner = ev->data;
    done = owner->done;
    data = owner->data;
    rc = owner->rc;
    ngx_free(owner);

    done(data, rc);
}


/* The op */

static void
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

    if (ngx_commerce_fence(op, conn, lease->instance, "leases") != NGX_OK) {
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
    ngx_commerce_pg_array_t   id, total;
    ngx_commerce_pg_query_t  *query;

    query = ngx_commerce_pg_query(&lease->op, NGX_COMMERCE_SQL_RETURN, 4);
    if (query == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&id, lease->op.pool, NGX_COMMERCE_PG_INT8, n);
    ngx_commerce_pg_array(&total, lease->op.pool, NGX_COMMERCE_PG_INT4, n);

    for (q = ngx_queue_head(&lease->sent_returns);
         q != ngx_queue_sentinel(&lease->sent_returns);
         q = ngx_queue_next(q))
    {
        ret = ngx_queue_data(q, ngx_commerce_return_t, queue);
        ngx_commerce_pg_push_int8(&id, ret->hold.lease);
        ngx_commerce_pg_push_int4(&total, (int32_t) ret->hold.returned);
    }

    ngx_commerce_pg_int8(query, 1, lease->instance);
    ngx_commerce_pg_int4(query, 2, (int32_t) conn->slot);
    ngx_commerce_pg_array_param(query, 3, &id);
    ngx_commerce_pg_array_param(query, 4, &total);

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
    granted = ngx_commerce_pg_query(&lease->op, NGX_COMMERCE_SQL_GRANTED, 4);

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
        r->others = ngx_commerce_pg_get_bool(res, row, 3) ? 1 : 0;
        r->alive = ngx_commerce_pg_get_bool(res, row, 4) ? 1 : 0;
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
                                      r->free, r->others, &left);
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


static void
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
                                  &left);
    ngx_free(r);
}


/* Fence */

ngx_int_t
ngx_commerce_fence(ngx_commerce_pg_op_t *op, ngx_commerce_pg_conn_t *conn,
    int64_t instance, const char *purpose)
{
    u_char                   *name;
    ngx_commerce_pg_query_t  *q;

    if (conn->tag == instance) {
        return NGX_OK;
    }

    name = ngx_pnalloc(op->pool, 64);
    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_FENCE, 3);

    if (name == NULL || q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_int8(q, 1, instance);
    ngx_commerce_pg_int4(q, 2, (int32_t) conn->slot);
    ngx_commerce_pg_text(q, 3, name,
                         ngx_snprintf(name, 64, "commerce/%L/%s", instance,
                                      purpose) - name);

    return q->failed ? NGX_ERROR : NGX_OK;
}
