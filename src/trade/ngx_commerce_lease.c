/*
 * Units between the database and the pools: refills, returns, and the requests
 * that wait for them.  What is noted here goes to the database in
 * ngx_commerce_lease_op.c.
 */

#include "ngx_commerce_lease.h"


#define NGX_COMMERCE_LEASE_TICK  2          /* msec: others' refills */
/* msec that stock-ups and left-overs wait for each other: an op costs as much
   as some ten of its entries */
#define NGX_COMMERCE_LEASE_GATHER  50
#define NGX_COMMERCE_ASKED_TICK  5


static void ngx_commerce_lease_want(ngx_commerce_trade_t *trade,
    ngx_commerce_waiter_t *waiter, ngx_int_t sign);
static ngx_uint_t ngx_commerce_lease_served(ngx_commerce_lease_t *lease,
    ngx_commerce_waiter_t *waiter);
static void ngx_commerce_lease_begin(ngx_commerce_lease_t *lease,
    const ngx_commerce_stock_ref_t *ref, ngx_uint_t empty);
static ngx_commerce_return_t *ngx_commerce_lease_note_return(
    ngx_commerce_lease_t *lease, const commerce_uuid_t *variant,
    ngx_commerce_stock_hold_t *hold);
static void ngx_commerce_lease_tick_handler(ngx_event_t *ev);
static void ngx_commerce_give_back_waited(ngx_event_t *ev);
static void ngx_commerce_give_back_end(ngx_commerce_give_back_t *owner);
static void ngx_commerce_give_back_handler(ngx_event_t *ev);
static ngx_uint_t ngx_commerce_lease_stocks_up(ngx_commerce_trade_t *trade);
static void ngx_commerce_lease_asked_handler(ngx_event_t *ev);
static ngx_uint_t ngx_commerce_lease_is_refilling(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant);
static void ngx_commerce_lease_yield(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant);


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

    lease->gather.handler = ngx_commerce_lease_flush_handler;
    lease->gather.data = lease;
    lease->gather.log = trade->log;
    lease->gather.cancelable = 1;

    lease->pause.handler = ngx_commerce_lease_flush_handler;
    lease->pause.data = lease;
    lease->pause.log = trade->log;
    lease->pause.cancelable = 1;

    lease->asked_tick.handler = ngx_commerce_lease_asked_handler;
    lease->asked_tick.data = lease;
    lease->asked_tick.log = trade->log;
    lease->asked_tick.cancelable = 1;

    trade->lease = lease;

    return NGX_OK;
}


void
ngx_commerce_lease_stop(ngx_commerce_trade_t *trade)
{
    ngx_uint_t             i;
    ngx_commerce_lease_t  *lease = trade->lease;
    ngx_event_t           *timers[] = { &lease->tick, &lease->gather,
                                        &lease->pause, &lease->asked_tick };

    for (i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        if (timers[i]->timer_set) {
            ngx_del_timer(timers[i]);
        }
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

    /* first: a refill that does not count them is not the one to wait for */
    ngx_commerce_lease_want(trade, waiter, 1);

    for (i = 0; i < waiter->n; i++) {
        want = &waiter->wants[i];

        if (want->units == 0) {
            continue;
        }

        want->target = ngx_commerce_stock_look(trade->zone, &want->ref, &view)
                       == NGX_OK ? view.started + 1 : 0;
    }

    ngx_queue_insert_tail(&lease->waiters, &waiter->queue);

    if (!lease->tick.timer_set) {
        ngx_add_timer(&lease->tick, NGX_COMMERCE_LEASE_TICK);
    }

    if (!ngx_queue_empty(&lease->refills)) {
        /* perhaps it waits for one of those */
        ngx_commerce_lease_flush(lease, 1);
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
    if (ngx_commerce_lease_stocks_up(trade)) {
        ngx_commerce_lease_begin(trade->lease, ref, 0);
    }
}


/* Who leaves is granted what requests need, and no more. */

static ngx_uint_t
ngx_commerce_lease_stocks_up(ngx_commerce_trade_t *trade)
{
    return !trade->exiting && !ngx_commerce_zone_draining(trade->zone);
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

    if (!ngx_commerce_pg_is_ready(trade->leases) && !trade->exiting) {
        /* the mark would keep it from workers whose connection lives */
        return;
    }

    block = ngx_commerce_lease_stocks_up(trade) ? trade->conf->lease_block : 0;

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

    /* more than a block: it sells so fast that it may be empty soon */
    ngx_commerce_lease_flush(lease, empty || r->refill.extra > block);
}


void
ngx_commerce_lease_flush(ngx_commerce_lease_t *lease, ngx_uint_t now)
{
    if (now || !ngx_commerce_lease_stocks_up(lease->trade)) {
        lease->hurried = 1;

        if (lease->gather.timer_set) {
            ngx_del_timer(&lease->gather);
        }

        ngx_post_event(&lease->flush, &ngx_posted_events);
        return;
    }

    if (!lease->gather.timer_set && !lease->flush.posted) {
        ngx_add_timer(&lease->gather, NGX_COMMERCE_LEASE_GATHER);
    }
}


/* Returns */

void
ngx_commerce_lease_add_return(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant, ngx_commerce_stock_hold_t *hold,
    ngx_commerce_give_back_t *owner)
{
    ngx_commerce_return_t  *ret;

    ret = ngx_commerce_lease_note_return(lease, variant, hold);

    if (ret && owner) {
        ret->owner = owner;
        owner->left++;
    }

    ngx_commerce_lease_flush(lease, 1);
}


void
ngx_commerce_lease_add_rest(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant, ngx_commerce_stock_hold_t *hold)
{
    ngx_commerce_return_t  *ret;

    ret = ngx_commerce_lease_note_return(lease, variant, hold);

    if (ret) {
        ret->rest = 1;
    }
}


static ngx_commerce_return_t *
ngx_commerce_lease_note_return(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant, ngx_commerce_stock_hold_t *hold)
{
    ngx_commerce_return_t  *ret;

    /* without memory the units stay with their lease: settlement finds them */

    ret = ngx_alloc(sizeof(ngx_commerce_return_t), lease->trade->log);
    if (ret == NULL) {
        return NULL;
    }

    if (ngx_commerce_random((u_char *) &ret->id, sizeof(int64_t)) != NGX_OK) {
        ngx_free(ret);
        return NULL;
    }

    ret->id &= INT64_MAX;
    ret->variant = *variant;
    ret->hold = *hold;
    ret->owner = NULL;
    ret->rest = 0;

    ngx_commerce_stock_carry(lease->trade->zone, hold->units);

    ngx_queue_insert_tail(&lease->returns, &ret->queue);

    return ret;
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
    ngx_commerce_lease_t       *lease;
    ngx_commerce_give_back_t   *owner;
    ngx_commerce_stock_hold_t   hold;

    lease = trade->lease;

    owner = ngx_calloc(sizeof(ngx_commerce_give_back_t), trade->log);
    if (owner == NULL) {
        return NGX_ERROR;
    }

    if (!ngx_queue_empty(&lease->refills)) {
        /* their marks keep what is to be given back */
        ngx_commerce_lease_flush(lease, 1);
    }

    owner->done = done;
    owner->data = data;
    owner->event.handler = ngx_commerce_give_back_handler;
    owner->event.data = owner;
    owner->event.log = trade->log;
    owner->wait.handler = ngx_commerce_give_back_waited;
    owner->wait.data = owner;
    owner->wait.log = trade->log;
    owner->left = 1;

    if (id) {
        if (ngx_commerce_stock_empty_id(trade->zone, id, &hold) == NGX_OK) {
            ngx_commerce_lease_add_return(trade->lease, id, &hold, owner);
        }

        if (ngx_commerce_zone_live(trade->zone) > 1
            && ngx_commerce_lease_ask(trade, id) == NGX_OK)
        {
            owner->left++;
            ngx_add_timer(&owner->wait, NGX_COMMERCE_RECALL_WAIT);
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

    ngx_commerce_give_back_end(owner);

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

    ngx_commerce_give_back_end(owner);
}


static void
ngx_commerce_give_back_waited(ngx_event_t *ev)
{
    ngx_commerce_give_back_end(ev->data);
}


static void
ngx_commerce_give_back_end(ngx_commerce_give_back_t *owner)
{
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


/* "r <variant> <instance>": another instance needs what this one has. */

void
ngx_commerce_lease_asked(ngx_commerce_trade_t *trade, const char *payload)
{
    size_t                 len;
    u_char                 own[NGX_INT64_LEN + 1], *last;
    commerce_uuid_t        variant;
    ngx_commerce_asked_t  *asked;
    ngx_commerce_lease_t  *lease;

    lease = trade->lease;
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

    if (!ngx_commerce_lease_is_refilling(lease, &variant)
        || lease->nasked == NGX_COMMERCE_ASKED)
    {
        ngx_commerce_lease_yield(lease, &variant);
        return;
    }

    /* a pool cannot be emptied under a refill, and what that brings may be
       the last there is */

    asked = &lease->asked[lease->nasked++];
    asked->variant = variant;
    asked->until = ngx_current_msec + NGX_COMMERCE_RECALL_WAIT;

    if (!ngx_queue_empty(&lease->refills)) {
        ngx_commerce_lease_flush(lease, 1);
    }

    if (!lease->asked_tick.timer_set) {
        ngx_add_timer(&lease->asked_tick, NGX_COMMERCE_ASKED_TICK);
    }
}


static void
ngx_commerce_lease_asked_handler(ngx_event_t *ev)
{
    ngx_uint_t             i;
    ngx_commerce_asked_t  *asked;
    ngx_commerce_lease_t  *lease;

    lease = ev->data;

    for (i = 0; i < lease->nasked; /* void */ ) {
        asked = &lease->asked[i];

        if (ngx_commerce_lease_is_refilling(lease, &asked->variant)
            && (ngx_msec_int_t) (asked->until - ngx_current_msec) > 0)
        {
            i++;
            continue;
        }

        ngx_commerce_lease_yield(lease, &asked->variant);
        *asked = lease->asked[--lease->nasked];
    }

    if (lease->nasked) {
        ngx_add_timer(ev, NGX_COMMERCE_ASKED_TICK);
    }
}


static ngx_uint_t
ngx_commerce_lease_is_refilling(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant)
{
    ngx_commerce_zone_t        *zone;
    ngx_commerce_stock_item_t   item;
    ngx_commerce_stock_view_t   view;

    zone = lease->trade->zone;

    return ngx_commerce_stock_find_id(zone, variant, NULL, &item)
           == NGX_OK
           && ngx_commerce_stock_look(zone, &item.ref, &view) == NGX_OK
           && view.refilling;
}


static void
ngx_commerce_lease_yield(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant)
{
    ngx_commerce_stock_hold_t  hold;

    if (ngx_commerce_stock_empty_id(lease->trade->zone, variant, &hold)
        == NGX_OK)
    {
        ngx_commerce_lease_add_return(lease, variant, &hold, NULL);
    }
}
