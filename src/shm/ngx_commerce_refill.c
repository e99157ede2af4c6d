/*
 * Refills, returns and the end of an instance: what changes the lease of a
 * pool, or takes all units of it.  Under the mutex, all of it.
 */

#include "ngx_commerce_zone_sh.h"


#define NGX_COMMERCE_RATE_WINDOW    1000    /* msec since the last refill */
#define NGX_COMMERCE_RATE_AHEAD     250     /* msec that a stock-up lasts */
#define NGX_COMMERCE_EXTRA_BLOCKS   64


static uint64_t ngx_commerce_stock_swap(ngx_commerce_slot_t *slot,
    ngx_commerce_lease_t *lease, uint32_t units);
static uint32_t ngx_commerce_stock_drain(ngx_commerce_zone_t *zone,
    ngx_commerce_slot_t *slot, ngx_commerce_stock_hold_t *hold);
static uint32_t ngx_commerce_stock_extra(ngx_commerce_slot_t *slot,
    uint32_t block);
static void ngx_commerce_stock_install(ngx_commerce_slot_t *slot,
    int64_t instance, int64_t id, uint32_t granted,
    ngx_commerce_stock_hold_t *left);
static void ngx_commerce_stock_seen(ngx_commerce_slot_t *slot,
    const ngx_commerce_stock_refill_t *refill, int32_t free, int64_t own,
    ngx_uint_t others);


ngx_int_t
ngx_commerce_stock_refill_begin(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref, uint32_t block, ngx_uint_t empty,
    ngx_commerce_stock_refill_t *refill)
{
    int32_t                     want;
    ngx_int_t                   rc;
    ngx_commerce_slot_t        *slot;
    ngx_commerce_stock_hold_t   hold;

    slot = &zone->sh->variants.slots[ref->index];

    if (ngx_commerce_zone_instance(zone) == 0) {
        return NGX_DECLINED;
    }

    /* most callers wait for a refill in flight: no mutex for them */

    if (ngx_commerce_load(&slot->serial) == ref->serial
        && ngx_commerce_mark_holds(zone, ngx_commerce_load(&slot->refill)))
    {
        return NGX_BUSY;
    }

    ngx_memzero(refill, sizeof(ngx_commerce_stock_refill_t));

    ngx_commerce_zone_lock(zone);

    refill->instance = ngx_commerce_zone_instance(zone);

    if (refill->instance == 0) {
        rc = NGX_DECLINED;
        goto done;
    }

    if (ngx_commerce_load(&slot->serial) != ref->serial) {
        rc = NGX_ERROR;
        goto done;
    }

    if (ngx_commerce_mark_holds(zone, ngx_commerce_load(&slot->refill))) {
        rc = NGX_BUSY;
        goto done;
    }

    ngx_commerce_store(&slot->refill,
                       ngx_commerce_load(&ngx_commerce_zone_me(zone)->mark));

    /* one that had no answer, or died with its worker, is made good by this:
       who waits for an answer must not judge by what was seen before */

    if (slot->ended == slot->started) {
        (void) ngx_commerce_add(&slot->started, 1);
    }

    want = ngx_commerce_load(&slot->want);

    refill->ref = *ref;
    refill->id = zone->sh->variants.rows[ref->index].variant.id;
    refill->wanted = want > 0 ? want : 0;
    refill->extra = ngx_commerce_stock_extra(slot, block);
    refill->news = ngx_commerce_load(&slot->news);

    if (empty && ngx_commerce_stock_drain(zone, slot, &hold)) {
        refill->return_lease = hold.lease;
        refill->return_units = hold.units;
    }

    rc = NGX_OK;

done:

    ngx_commerce_zone_unlock(zone);

    if (rc == NGX_OK) {
        ngx_commerce_stock_moved(zone);
    }

    return rc;
}


/*
 * What goes in a while at the rate since the last refill, when that was lately;
 * twice what went at least.
 */

static uint32_t
ngx_commerce_stock_extra(ngx_commerce_slot_t *slot, uint32_t block)
{
    uint64_t    extra, most, granted, units, gone;
    ngx_msec_t  since;

    extra = block;

    if (slot->refill_ended) {
        since = ngx_commerce_stock_since(&slot->refill_ended);
        granted = ngx_commerce_load(&slot->last_grant);
        units = ngx_commerce_pool_units(ngx_commerce_load(&slot->pool));

        if (since < NGX_COMMERCE_RATE_WINDOW && granted > units) {
            gone = granted - units;
            extra = ngx_max(extra, 2 * gone);
            extra = ngx_max(extra, gone * NGX_COMMERCE_RATE_AHEAD
                                   / ngx_max(since, 1));
        }
    }

    most = (uint64_t) block * NGX_COMMERCE_EXTRA_BLOCKS;
    extra = ngx_min(extra, most);

    return ngx_min(extra, INT32_MAX);
}


void
ngx_commerce_stock_refill_end(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_refill_t *refill, int64_t lease,
    uint32_t granted, int32_t free, int64_t own, ngx_uint_t others,
    ngx_commerce_stock_hold_t *left)
{
    ngx_uint_t            live, mine;
    ngx_commerce_mark_t   me;
    ngx_commerce_slot_t  *slot;

    slot = &zone->sh->variants.slots[refill->ref.index];
    me = ngx_commerce_load(&ngx_commerce_zone_me(zone)->mark);

    ngx_memzero(left, sizeof(ngx_commerce_stock_hold_t));

    if (free < 0) {
        granted = 0;
    }

    ngx_commerce_zone_lock(zone);

    live = (ngx_commerce_zone_instance(zone) == refill->instance);

    mine = live
           && ngx_commerce_load(&slot->serial) == refill->ref.serial
           && ngx_commerce_load(&slot->refill) == me;

    if (mine) {
        if (granted) {
            ngx_commerce_stock_install(slot, refill->instance, lease, granted,
                                       left);
        }

        if (free >= 0) {
            ngx_commerce_stock_seen(slot, refill, free, own, others);
        }

    } else if (live && granted) {

        /* nowhere to put it: the whole grant is left over */

        left->lease = lease;
        left->instance = refill->instance;
        left->units = granted;
    }

    /* under a newer instance the mark is that of a later refill */

    if (ngx_commerce_load(&slot->serial) == refill->ref.serial
        && ngx_commerce_load(&slot->refill) == me
        && (live || ngx_commerce_zone_instance(zone) == 0))
    {
        if (free >= 0) {
            ngx_commerce_store(&slot->refill_ended,
                               (uint64_t) ngx_current_msec);
            ngx_commerce_store(&slot->ended, slot->started);
        }

        ngx_commerce_store(&slot->refill, 0);
    }

    ngx_commerce_zone_unlock(zone);

    ngx_commerce_stock_moved(zone);
}


static void
ngx_commerce_stock_install(ngx_commerce_slot_t *slot, int64_t instance,
    int64_t id, uint32_t granted, ngx_commerce_stock_hold_t *left)
{
    uint64_t               pool;
    uint32_t               units, old;
    ngx_commerce_lease_t   lease;

    lease.id = id;
    lease.instance = instance;

    pool = ngx_commerce_stock_swap(slot, &lease, granted);

    units = ngx_commerce_pool_units(pool);
    old = ngx_commerce_pool_generation(pool) & 1;

    if (units && slot->lease[old].instance == instance) {
        left->lease = slot->lease[old].id;
        left->instance = instance;
        left->generation = ngx_commerce_pool_generation(pool);
        left->units = units;
    }

    ngx_commerce_store(&slot->last_grant, granted);
    ngx_commerce_poke(&slot->last_take, (uint64_t) ngx_current_msec);
}


/* The next generation with this lease; returns the last word of the old. */

static uint64_t
ngx_commerce_stock_swap(ngx_commerce_slot_t *slot, ngx_commerce_lease_t *lease,
    uint32_t units)
{
    uint32_t  next;
    uint64_t  pool;

    next = ngx_commerce_pool_generation(ngx_commerce_load(&slot->pool)) + 1;

    ngx_commerce_poke(&slot->lease[next & 1].id, lease->id);
    ngx_commerce_poke(&slot->lease[next & 1].instance, lease->instance);

    do {
        pool = ngx_commerce_load(&slot->pool);
    } while (!ngx_commerce_cas(&slot->pool, pool,
                               ngx_commerce_pool_word(next, units)));

    return pool;
}


static void
ngx_commerce_stock_seen(ngx_commerce_slot_t *slot,
    const ngx_commerce_stock_refill_t *refill, int32_t free, int64_t own,
    ngx_uint_t others)
{
    ngx_commerce_store(&slot->free, free);
    ngx_commerce_store(&slot->own, own);
    ngx_commerce_store(&slot->others, others ? 1 : 0);

    if (!others) {
        ngx_commerce_store(&slot->elsewhere, 0);
    }

    if (free == 0 && own == 0 && !others
        && ngx_commerce_load(&slot->news) == refill->news
        && ngx_commerce_pool_units(ngx_commerce_load(&slot->pool)) == 0)
    {
        ngx_commerce_store(&slot->sold_out, (uint64_t) ngx_current_msec | 1);
        return;
    }

    ngx_commerce_store(&slot->sold_out, 0);
}


ngx_int_t
ngx_commerce_stock_empty(ngx_commerce_zone_t *zone, uint32_t index,
    ngx_commerce_stock_hold_t *hold, commerce_uuid_t *id)
{
    uint32_t                  units;
    ngx_commerce_slot_t      *slot;
    ngx_commerce_variants_t  *variants;

    variants = &zone->sh->variants;

    if (index >= ngx_commerce_load(&variants->used)) {
        return NGX_DECLINED;
    }

    slot = &variants->slots[index];

    if (ngx_commerce_pool_units(ngx_commerce_load(&slot->pool)) == 0) {
        return NGX_DECLINED;
    }

    ngx_commerce_zone_lock(zone);

    units = 0;

    if (!ngx_commerce_mark_holds(zone, ngx_commerce_load(&slot->refill))) {
        units = ngx_commerce_stock_drain(zone, slot, hold);
        *id = variants->rows[index].variant.id;
    }

    ngx_commerce_zone_unlock(zone);

    if (units == 0) {
        return NGX_DECLINED;
    }

    ngx_commerce_stock_moved(zone);

    return NGX_OK;
}


ngx_int_t
ngx_commerce_stock_empty_id(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id, ngx_commerce_stock_hold_t *hold)
{
    uint32_t              index;
    commerce_uuid_t       found;
    ngx_commerce_slot_t  *slot;

    ngx_commerce_zone_lock(zone);

    slot = ngx_commerce_variants_slot(&zone->sh->variants, id);
    index = slot ? slot - zone->sh->variants.slots : UINT32_MAX;

    ngx_commerce_zone_unlock(zone);

    if (index == UINT32_MAX
        || ngx_commerce_stock_empty(zone, index, hold, &found) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/*
 * Units of the live instance out of the pool; the generation stays, so that
 * units which are put back later are found by the next return.
 */

static uint32_t
ngx_commerce_stock_drain(ngx_commerce_zone_t *zone, ngx_commerce_slot_t *slot,
    ngx_commerce_stock_hold_t *hold)
{
    uint32_t               gen;
    uint64_t               pool;
    ngx_commerce_lease_t  *lease;

    do {
        pool = ngx_commerce_load(&slot->pool);
        gen = ngx_commerce_pool_generation(pool);
        lease = &slot->lease[gen & 1];

        if (ngx_commerce_pool_units(pool) == 0
            || lease->instance == 0
            || lease->instance != ngx_commerce_zone_instance(zone))
        {
            return 0;
        }

    } while (!ngx_commerce_cas(&slot->pool, pool,
                               ngx_commerce_pool_word(gen, 0)));

    hold->lease = lease->id;
    hold->instance = lease->instance;
    hold->generation = gen;
    hold->units = ngx_commerce_pool_units(pool);

    return hold->units;
}


void
ngx_commerce_stock_void(ngx_commerce_slot_t *slot)
{
    ngx_commerce_lease_t  none;

    none.id = 0;
    none.instance = 0;

    (void) ngx_commerce_stock_swap(slot, &none, 0);

    ngx_commerce_store(&slot->refill, 0);
    ngx_commerce_store(&slot->sold_out, 0);
    ngx_commerce_store(&slot->last_grant, 0);
}


void
ngx_commerce_stock_adopt(ngx_commerce_zone_t *zone)
{
    uint32_t                  i;
    ngx_commerce_variants_t  *variants;

    variants = &zone->sh->variants;

    for (i = 0; i < variants->used; i++) {
        ngx_commerce_stock_void(&variants->slots[i]);
        ngx_commerce_store(&variants->slots[i].want, 0);
    }

    ngx_commerce_store(&variants->full_at, 0);
}
