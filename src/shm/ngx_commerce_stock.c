/*
 * Pools as requests use them.  The word of a pool is changed by
 * compare-and-swap; what changes its generation or a lease (the refill's file)
 * also holds the mutex, and the swap that publishes a generation comes after
 * its lease was written.  A successful swap of a word therefore proves that
 * the lease read before it was that generation's: slot->lease[gen & 1] is
 * rewritten for gen + 2 only.
 */

#include "ngx_commerce_zone_sh.h"


#define NGX_COMMERCE_SOLD_OUT_TTL   1000    /* msec: then one probe */


static ngx_commerce_slot_t *ngx_commerce_stock_slot(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref);
static void ngx_commerce_stock_in_hand(ngx_commerce_zone_t *zone,
    int64_t units);
static uint32_t ngx_commerce_stock_live_units(ngx_commerce_zone_t *zone,
    ngx_commerce_slot_t *slot);
static ngx_uint_t ngx_commerce_stock_stale(uint64_t sold_out);


int64_t
ngx_commerce_stock_item_price(const ngx_commerce_stock_item_t *item,
    int64_t quantity)
{
    ngx_uint_t  i;

    for (i = item->ntiers; i; i--) {
        if (quantity >= item->tiers[i - 1].min_quantity) {
            return item->tiers[i - 1].amount;
        }
    }

    return -1;
}


ngx_int_t
ngx_commerce_stock_take(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref, uint32_t units,
    ngx_commerce_stock_hold_t *hold)
{
    uint64_t               pool;
    ngx_commerce_slot_t   *slot;
    ngx_commerce_lease_t  *lease;

    slot = &zone->sh->variants.slots[ref->index];

    /* before they leave the pool: an audit may count them twice, never not */

    ngx_commerce_stock_in_hand(zone, units);

    for ( ;; ) {

        pool = ngx_commerce_load(&slot->pool);

        if (ngx_commerce_load(&slot->serial) != ref->serial) {
            ngx_commerce_stock_in_hand(zone, -(int64_t) units);
            return NGX_ERROR;
        }

        lease = &slot->lease[ngx_commerce_pool_generation(pool) & 1];

        hold->lease = ngx_commerce_peek(&lease->id);
        hold->instance = ngx_commerce_peek(&lease->instance);

        if (ngx_commerce_pool_units(pool) < units
            || units == 0
            || hold->instance == 0
            || hold->instance != ngx_commerce_zone_instance(zone))
        {
            ngx_commerce_stock_in_hand(zone, -(int64_t) units);
            return NGX_DECLINED;
        }

        if (ngx_commerce_cas(&slot->pool, pool, pool - units)) {
            break;
        }
    }

    hold->generation = ngx_commerce_pool_generation(pool);
    hold->units = units;

    if (ngx_commerce_peek(&slot->last_take) != (uint64_t) ngx_current_msec) {
        ngx_commerce_poke(&slot->last_take, (uint64_t) ngx_current_msec);
    }

    ngx_commerce_stock_moved(zone);

    return NGX_OK;
}


ngx_int_t
ngx_commerce_stock_put_back(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref,
    const ngx_commerce_stock_hold_t *hold)
{
    uint64_t              pool;
    ngx_int_t             rc;
    ngx_commerce_slot_t  *slot;

    slot = &zone->sh->variants.slots[ref->index];
    rc = NGX_OK;

    /* a generation is never used twice in a slot, whoever's the slot is */

    do {
        pool = ngx_commerce_load(&slot->pool);

        if (ngx_commerce_pool_generation(pool) != hold->generation) {
            rc = NGX_DECLINED;
            break;
        }

    } while (!ngx_commerce_cas(&slot->pool, pool, pool + hold->units));

    ngx_commerce_stock_carry(zone, -(int64_t) hold->units);

    return rc;
}


void
ngx_commerce_stock_sold(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_hold_t *hold)
{
    ngx_commerce_stock_carry(zone, -(int64_t) hold->units);
}


void
ngx_commerce_stock_carry(ngx_commerce_zone_t *zone, int64_t units)
{
    /* the move goes first: an audit that misses the units sees it */

    ngx_commerce_stock_moved(zone);
    ngx_commerce_stock_in_hand(zone, units);
}


ngx_int_t
ngx_commerce_stock_look(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref, ngx_commerce_stock_view_t *view)
{
    uint64_t              sold_out;
    ngx_commerce_slot_t  *slot;

    slot = ngx_commerce_stock_slot(zone, ref);
    if (slot == NULL) {
        return NGX_ERROR;
    }

    view->units = ngx_commerce_stock_live_units(zone, slot);
    view->free = ngx_commerce_load(&slot->free);
    view->own = ngx_commerce_load(&slot->own);
    view->others = ngx_commerce_load(&slot->others);
    view->elsewhere = ngx_commerce_load(&slot->elsewhere);
    view->refilling = ngx_commerce_mark_holds(zone,
                                             ngx_commerce_load(&slot->refill));
    view->started = ngx_commerce_load(&slot->started);
    view->ended = ngx_commerce_load(&slot->ended);

    sold_out = ngx_commerce_load(&slot->sold_out);

    view->sold_out = (sold_out != 0);
    view->probe_due = ngx_commerce_stock_stale(sold_out);

    return NGX_OK;
}


ngx_uint_t
ngx_commerce_stock_probe(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref)
{
    uint64_t              sold_out;
    ngx_commerce_slot_t  *slot;

    slot = ngx_commerce_stock_slot(zone, ref);
    if (slot == NULL) {
        return 0;
    }

    sold_out = ngx_commerce_load(&slot->sold_out);

    /* a stale flag moves on by one swap */

    return ngx_commerce_stock_stale(sold_out)
           && ngx_commerce_cas(&slot->sold_out, sold_out,
                               (uint64_t) ngx_current_msec | 1);
}


ngx_uint_t
ngx_commerce_stock_is_low(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref, ngx_uint_t percent)
{
    uint64_t              units;
    ngx_commerce_slot_t  *slot;

    slot = ngx_commerce_stock_slot(zone, ref);
    if (slot == NULL) {
        return 0;
    }

    units = ngx_commerce_pool_units(ngx_commerce_load(&slot->pool));

    return units * 100
           <= (uint64_t) ngx_commerce_load(&slot->last_grant) * percent;
}


void
ngx_commerce_stock_want(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref, int32_t units)
{
    int32_t               want, sum;
    ngx_commerce_slot_t  *slot;

    slot = ngx_commerce_stock_slot(zone, ref);
    if (slot == NULL) {
        return;
    }

    /* adopt() clears it under requests that wait: never below zero */

    want = ngx_commerce_load(&slot->want);

    do {
        sum = (units > 0 && want > INT32_MAX - units) ? INT32_MAX
                                                      : want + units;
        if (sum < 0) {
            sum = 0;
        }

    } while (!__atomic_compare_exchange_n(&slot->want, &want, sum, 0,
                                          __ATOMIC_ACQ_REL,
                                          __ATOMIC_ACQUIRE));
}


uint32_t
ngx_commerce_stock_slots(ngx_commerce_zone_t *zone)
{
    return ngx_commerce_load(&zone->sh->variants.used);
}


ngx_uint_t
ngx_commerce_stock_is_idle(ngx_commerce_zone_t *zone, uint32_t index,
    ngx_msec_t idle)
{
    ngx_commerce_slot_t      *slot;
    ngx_commerce_variants_t  *variants;

    variants = &zone->sh->variants;

    if (index >= ngx_commerce_load(&variants->used)) {
        return 0;
    }

    slot = &variants->slots[index];

    return ngx_commerce_pool_units(ngx_commerce_load(&slot->pool)) != 0
           && ngx_commerce_stock_since(&slot->last_take)
              >= (ngx_msec_int_t) idle;
}


void
ngx_commerce_stock_news(ngx_commerce_zone_t *zone, const commerce_uuid_t *id)
{
    uint32_t                  i, used;
    ngx_commerce_slot_t      *slot;
    ngx_commerce_variants_t  *variants;

    variants = &zone->sh->variants;

    if (id == NULL) {
        used = ngx_commerce_load(&variants->used);

        for (i = 0; i < used; i++) {
            (void) ngx_commerce_add(&variants->slots[i].news, 1);
            ngx_commerce_store(&variants->slots[i].sold_out, 0);
        }

        return;
    }

    ngx_commerce_zone_lock(zone);

    slot = ngx_commerce_variants_slot(variants, id);

    if (slot) {
        (void) ngx_commerce_add(&slot->news, 1);
        ngx_commerce_store(&slot->sold_out, 0);
    }

    ngx_commerce_zone_unlock(zone);
}


void
ngx_commerce_stock_set_free(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id, int32_t free)
{
    ngx_commerce_slot_t  *slot;

    ngx_commerce_zone_lock(zone);

    slot = ngx_commerce_variants_slot(&zone->sh->variants, id);

    if (slot) {
        ngx_commerce_store(&slot->free, free);
    }

    ngx_commerce_zone_unlock(zone);
}


void
ngx_commerce_stock_returned(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id, uint32_t units)
{
    int64_t               free, own;
    ngx_commerce_slot_t  *slot;

    ngx_commerce_zone_lock(zone);

    slot = ngx_commerce_variants_slot(&zone->sh->variants, id);

    if (slot) {
        free = (int64_t) ngx_commerce_load(&slot->free) + units;
        own = ngx_commerce_load(&slot->own) - (int64_t) units;

        ngx_commerce_store(&slot->free, (int32_t) ngx_min(free, INT32_MAX));
        ngx_commerce_store(&slot->own, ngx_max(own, 0));
    }

    ngx_commerce_zone_unlock(zone);
}


ngx_int_t
ngx_commerce_stock_availability(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id, uint32_t low,
    ngx_commerce_availability_e *availability)
{
    int32_t               free;
    uint64_t              units;
    ngx_uint_t            others;
    ngx_commerce_slot_t  *slot;

    units = 0;
    others = 0;

    ngx_commerce_zone_lock(zone);

    slot = ngx_commerce_variants_slot(&zone->sh->variants, id);

    if (slot) {
        units = ngx_commerce_pool_units(ngx_commerce_load(&slot->pool));
        free = ngx_commerce_load(&slot->free);
        others = ngx_commerce_load(&slot->others)
                 || ngx_commerce_load(&slot->elsewhere);

        if (free > 0) {
            units += free;
        }
    }

    ngx_commerce_zone_unlock(zone);

    if (slot == NULL) {
        return NGX_DECLINED;
    }

    if (units > low) {
        *availability = NGX_COMMERCE_IN_STOCK;

    } else if (units || others) {
        *availability = NGX_COMMERCE_LOW_STOCK;

    } else {
        *availability = NGX_COMMERCE_SOLD_OUT;
    }

    return NGX_OK;
}


void
ngx_commerce_stock_stats(ngx_commerce_zone_t *zone,
    ngx_commerce_stock_stats_t *stats)
{
    uint32_t                  i;
    ngx_commerce_slot_t      *slot;
    ngx_commerce_variants_t  *variants;

    variants = &zone->sh->variants;

    ngx_memzero(stats, sizeof(ngx_commerce_stock_stats_t));

    stats->slots = variants->n;
    stats->used = ngx_commerce_load(&variants->used);
    stats->full = ngx_commerce_load(&variants->full);

    for (i = 0; i < stats->used; i++) {
        slot = &variants->slots[i];

        stats->units += ngx_commerce_pool_units(
                                              ngx_commerce_load(&slot->pool));
        stats->refilling += ngx_commerce_mark_holds(zone,
                                             ngx_commerce_load(&slot->refill));
    }
}


static ngx_commerce_slot_t *
ngx_commerce_stock_slot(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref)
{
    ngx_commerce_slot_t  *slot;

    slot = &zone->sh->variants.slots[ref->index];

    return ngx_commerce_load(&slot->serial) == ref->serial ? slot : NULL;
}


/* What take() would give: an instance in doubt has nothing to sell. */

static uint32_t
ngx_commerce_stock_live_units(ngx_commerce_zone_t *zone,
    ngx_commerce_slot_t *slot)
{
    int64_t   instance;
    uint32_t  gen;
    uint64_t  pool;

    pool = ngx_commerce_load(&slot->pool);
    gen = ngx_commerce_pool_generation(pool);
    instance = ngx_commerce_peek(&slot->lease[gen & 1].instance);

    return instance && instance == ngx_commerce_zone_instance(zone)
           ? ngx_commerce_pool_units(pool) : 0;
}


static ngx_uint_t
ngx_commerce_stock_stale(uint64_t sold_out)
{
    return sold_out
           && (ngx_msec_int_t) (ngx_current_msec - sold_out)
              >= NGX_COMMERCE_SOLD_OUT_TTL;
}


/* A worker alone writes its own: no locked instruction is needed. */

static void
ngx_commerce_stock_in_hand(ngx_commerce_zone_t *zone, int64_t units)
{
    int64_t                 sum;
    ngx_commerce_worker_t  *worker;

    worker = ngx_commerce_zone_me(zone);
    sum = (int64_t) ngx_commerce_peek(&worker->in_hand) + units;

    ngx_commerce_store(&worker->in_hand, sum > 0 ? (uint64_t) sum : 0);
}
