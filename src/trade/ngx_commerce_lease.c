/*
 * Units between the database and the pools: refills, returns, recalls, and the
 * requests that wait for them.  What is noted here goes to the database in
 * ngx_commerce_lease_op.c.
 */

#include "ngx_commerce_lease.h"


#define NGX_COMMERCE_LEASE_TICK  2          /* msec: others' refills */


typedef struct {
    ngx_commerce_pg_op_t    op;
    ngx_commerce_trade_t   *trade;
    commerce_uuid_t         variant;
} ngx_commerce_recall_op_t;


static void ngx_commerce_lease_want(ngx_commerce_trade_t *trade,
    ngx_commerce_waiter_t *waiter, ngx_int_t sign);
static ngx_uint_t ngx_commerce_lease_served(ngx_commerce_lease_t *lease,
    ngx_commerce_waiter_t *waiter);
static void ngx_commerce_lease_begin(ngx_commerce_lease_t *lease,
    const ngx_commerce_stock_ref_t *ref, ngx_uint_t empty);
static void ngx_commerce_lease_tick_handler(ngx_event_t *ev);
static void ngx_commerce_give_back_handler(ngx_event_t *ev);
static ngx_commerce_recall_t *ngx_commerce_lease_recall_entry(
    ngx_commerce_lease_t *lease, const commerce_uuid_t *variant);
static ngx_int_t ngx_commerce_recall_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_recall_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_recall_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


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

    if (ngx_commerce_zone_instance(lease->trade->zone) == 0) {
        return 0;
    }

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

        if (view.units >= want->units || (view.sold_out && !want->probe)
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


void
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
    uint32_t                   block;
    ngx_commerce_refill_t     *r;
    ngx_commerce_trade_t      *trade;
    ngx_commerce_stock_hold_t  hold;

    trade = lease->trade;
    block = ngx_commerce_zone_draining(trade->zone) ? 0
                                                    : trade->conf->lease_block;

    r = ngx_calloc(sizeof(ngx_commerce_refill_t), trade->log);
    if (r == NULL) {
        return;
    }

    if (ngx_commerce_random((u_char *) &r->lease, sizeof(int64_t)) != NGX_OK
        || ngx_commerce_stock_refill_begin(trade->zone, ref, block, empty,
                                           &r->refill)
           != NGX_OK)
    {
        ngx_free(r);
        return;
    }

    r->lease &= INT64_MAX;
    r->empty = empty;

    if (r->refill.return_units) {
        hold.lease = r->refill.return_lease;
        hold.instance = r->refill.instance;
        hold.units = r->refill.return_units;
        ngx_commerce_lease_add_return(lease, &r->refill.id, &hold, NULL);
    }

    ngx_queue_insert_tail(&lease->refills, &r->queue);
    ngx_post_event(&lease->flush, &ngx_posted_events);
}


/* Returns */

void
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

    if (ngx_commerce_random((u_char *) &ret->id, sizeof(int64_t)) != NGX_OK) {
        ngx_free(ret);
        return;
    }

    ret->id &= INT64_MAX;
    ret->variant = *variant;
    ret->hold = *hold;
    ret->owner = owner;

    if (owner) {
        owner->left++;
    }

    ngx_commerce_stock_carry(lease->trade->zone, hold->units);

    ngx_queue_insert_tail(&lease->returns, &ret->queue);
    ngx_post_event(&lease->flush, &ngx_posted_events);
}


void
ngx_commerce_lease_return(ngx_commerce_trade_t *trade,
    const commerce_uuid_t *variant, ngx_commerce_stock_hold_t *hold)
{
    ngx_commerce_lease_add_return(trade->lease, variant, hold, NULL);
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
        if (ngx_commerce_stock_empty_id(trade->zone, id, &hold) == NGX_OK) {
            ngx_commerce_lease_add_return(trade->lease, id, &hold, owner);
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


void
ngx_commerce_return_free(ngx_commerce_lease_t *lease,
    ngx_commerce_return_t *ret, ngx_int_t rc)
{
    ngx_commerce_give_back_t  *owner;

    ngx_commerce_stock_carry(lease->trade->zone, -(int64_t) ret->hold.units);

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


/* Recall: the last units may be with other instances */

void
ngx_commerce_lease_recall(ngx_commerce_trade_t *trade,
    const commerce_uuid_t *variant)
{
    ngx_commerce_recall_t     *recall;
    ngx_commerce_recall_op_t  *r;

    recall = ngx_commerce_lease_recall_entry(trade->lease, variant);

    if (recall->sent
        && commerce_uuid_compare(&recall->variant, variant) == 0
        && ngx_current_msec - recall->sent < NGX_COMMERCE_RECALL_AGAIN)
    {
        return;
    }

    r = ngx_calloc(sizeof(ngx_commerce_recall_op_t), trade->log);
    if (r == NULL) {
        return;
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
        return;
    }

    recall->variant = *variant;
    recall->sent = ngx_current_msec ? ngx_current_msec : 1;
}


static ngx_commerce_recall_t *
ngx_commerce_lease_recall_entry(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant)
{
    return &lease->recalls[variant->bytes[15] % NGX_COMMERCE_RECALLS];
}


ngx_uint_t
ngx_commerce_lease_recalled(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant)
{
    ngx_msec_t              since;
    ngx_commerce_recall_t  *recall;

    recall = ngx_commerce_lease_recall_entry(lease, variant);

    if (recall->sent == 0
        || commerce_uuid_compare(&recall->variant, variant) != 0)
    {
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


static void
ngx_commerce_recall_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    (void) outcome;
    (void) sqlstate;

    ngx_free(op->data);
}


/* "r <variant> <instance>": another instance needs what this one has. */

void
ngx_commerce_lease_asked(ngx_commerce_trade_t *trade, const char *payload)
{
    size_t                     len;
    u_char                     own[NGX_INT64_LEN + 1], *last;
    commerce_uuid_t            variant;
    ngx_commerce_stock_hold_t  hold;

    len = ngx_strlen(payload);

    if (len < sizeof("r  ") - 1 + COMMERCE_UUID_TEXT
        || commerce_uuid_parse(&variant, (u_char *) payload + 2,
                               COMMERCE_UUID_TEXT)
           != COMMERCE_OK)
    {
        return;
    }

    payload += sizeof("r  ") - 1 + COMMERCE_UUID_TEXT;

    last = ngx_snprintf(own, sizeof(own) - 1, "%L",
                        ngx_commerce_zone_instance(trade->zone));
    *last = '\0';

    if (ngx_strcmp(payload, own) == 0) {
        return;
    }

    if (ngx_commerce_stock_empty_id(trade->zone, &variant, &hold) == NGX_OK) {
        ngx_commerce_lease_add_return(trade->lease, &variant, &hold, NULL);
    }
}
