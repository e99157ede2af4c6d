/*
 * Variants and their pools of leased units.
 *
 * A pool is one 64-bit word: generation (32 bits, never repeats within a slot)
 * and count of units.  The generation names the lease: slot->lease[gen & 1]
 * holds its id and instance, written before the generation is published, and
 * is not rewritten while that generation or its successor's install is
 * current.  Take, put back and empty are compare-and-swap on the word.
 */

#ifndef NGX_COMMERCE_STOCK_H
#define NGX_COMMERCE_STOCK_H

#include "ngx_commerce_zone.h"


/* A variant's slot, as found; goes stale when the slot is reused. */
typedef struct {
    uint32_t            index;
    uint32_t            serial;
} ngx_commerce_stock_ref_t;


/*
 * A unit's price where the line has min_quantity units or more.  A variant's
 * stand sorted by currency and quantity; the first of a currency is for 1.
 */
typedef struct {
    unsigned char       currency[COMMERCE_CURRENCY_LEN + 1];
    int32_t             min_quantity;
    int64_t             amount;             /* minor units */
} ngx_commerce_stock_price_t;


/* The same, of one currency. */
typedef struct {
    int64_t             amount;
    int32_t             min_quantity;
} ngx_commerce_stock_tier_t;


/* What the database says of a variant (a row to put, a copy found). */
typedef struct {
    commerce_uuid_t             id;
    commerce_uuid_t             product_id;
    int32_t                     version;    /* of the variant's row, from 1 */
    int32_t                     free;       /* units that nobody has leased */
    int32_t                     leased;     /* unused units of open leases,
                                               anybody's */
    unsigned                    for_sale:1; /* published and not archived */
    uint8_t                     nprices;
    uint8_t                     sku_len;
    uint8_t                     title_len;
    uint64_t                    category;   /* commerce_price_category() */
    ngx_commerce_stock_price_t  prices[COMMERCE_AMOUNTS_MAX];
    unsigned char               sku[COMMERCE_SKU_MAX];
    unsigned char               title[COMMERCE_TITLE_MAX];
} ngx_commerce_variant_t;


/* What an order line needs of it. */
typedef struct {
    ngx_commerce_stock_ref_t    ref;
    commerce_uuid_t             id;
    int32_t                     version;
    unsigned                    for_sale:1;
    uint8_t                     ntiers;     /* 0: no price in the currency */
    uint8_t                     sku_len;
    uint8_t                     title_len;
    uint64_t                    category;   /* as above */
    ngx_commerce_stock_tier_t   tiers[COMMERCE_TIERS_MAX + 1];
    unsigned char               sku[COMMERCE_SKU_MAX];
    unsigned char               title[COMMERCE_TITLE_MAX];
} ngx_commerce_stock_item_t;


/* Units taken from a pool: of one lease, of the instance that was granted it */
typedef struct {
    int64_t                     lease;
    int64_t                     instance;
    uint32_t                    generation;
    uint32_t                    units;
} ngx_commerce_stock_hold_t;


/* A pool at one moment. */
typedef struct {
    uint32_t                    units;      /* in the pool, of the live
                                               instance */
    int32_t                     free;       /* in the database when the last
                                               refill saw it */
    int64_t                     own;        /* then unused on leases of this
                                               instance, by the rows: in pools,
                                               in hand or on their way back */
    uint32_t                    elsewhere;  /* on leases of others, when the
                                               variant's row was read */
    unsigned                    sold_out:1;
    unsigned                    probe_due:1;    /* sold out for 1 s: see
                                                   ngx_commerce_stock_probe() */
    unsigned                    others:1;   /* another instance has a lease */
    unsigned                    refilling:1;
    uint32_t                    started;    /* refills that were started, and */
    uint32_t                    ended;      /* that the database answered */
} ngx_commerce_stock_view_t;


/* A refill in flight: this worker owns the slot's refill mark. */
typedef struct {
    ngx_commerce_stock_ref_t    ref;
    commerce_uuid_t             id;         /* of the variant */
    uint32_t                    wanted;     /* sum that requests wait for */
    uint32_t                    extra;      /* stock-up from the recent rate */
    uint32_t                    news;       /* news counter when it started */
    int64_t                     instance;
    /* units emptied from the pool, to be returned in the same segment */
    int64_t                     return_lease;
    uint32_t                    return_units;
} ngx_commerce_stock_refill_t;


/*
 * NGX_OK; NGX_DECLINED: not in the table or its row was invalidated, read it
 * from the database and put() it.  Copies under the mutex, no allocation.
 */
ngx_int_t ngx_commerce_stock_find_sku(ngx_commerce_zone_t *zone,
    const u_char *sku, size_t len, const u_char *currency,
    ngx_commerce_stock_item_t *item);
ngx_int_t ngx_commerce_stock_find_id(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id, const u_char *currency,
    ngx_commerce_stock_item_t *item);

/* The item of a row that need not be in the table: without "ref". */
void ngx_commerce_stock_item(const ngx_commerce_variant_t *variant,
    const u_char *currency, ngx_commerce_stock_item_t *item);

/*
 * The price of each of "quantity" units, which are all that an order or cart
 * has of the variant.  -1: it has no price in the currency.
 */
int64_t ngx_commerce_stock_item_price(const ngx_commerce_stock_item_t *item,
    int64_t quantity);

/*
 * A counter to be read before the row is read from the database: put() with
 * an older stamp than the row's last invalidation leaves the row invalid.
 */
ngx_atomic_uint_t ngx_commerce_stock_stamp(ngx_commerce_zone_t *zone);

/*
 * Inserts or refreshes a row; its pool stays.  A sku that another row had is
 * taken over.  NGX_BUSY: the zone is full and every slot has units (counted).
 */
ngx_int_t ngx_commerce_stock_put(ngx_commerce_zone_t *zone,
    const ngx_commerce_variant_t *variant, ngx_atomic_uint_t stamp);

/* Invalidates rows (catalogue news); pools stay. NULL: every row. */
void ngx_commerce_stock_forget(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id);
void ngx_commerce_stock_forget_product(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *product_id);

/*
 * Takes "units" of one lease.  NGX_OK; NGX_DECLINED: not that many in the
 * pool (or no live instance); NGX_ERROR: the slot was reused, find again.
 * Counts as in hand until put_back() or sold().
 */
ngx_int_t ngx_commerce_stock_take(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref, uint32_t units,
    ngx_commerce_stock_hold_t *hold);

/*
 * Only for units whose order was never stored.  NGX_DECLINED: their generation
 * is gone, the caller returns them to the database.
 */
ngx_int_t ngx_commerce_stock_put_back(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref,
    const ngx_commerce_stock_hold_t *hold);

/* The line is committed, or its units are left to settlement. */
void ngx_commerce_stock_sold(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_hold_t *hold);

ngx_int_t ngx_commerce_stock_look(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref, ngx_commerce_stock_view_t *view);

/*
 * 1 for one caller per second of those that found a probe due: it is to ask
 * the database once more.  The flag stands until a refill or news clear it.
 */
ngx_uint_t ngx_commerce_stock_probe(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref);

/*
 * Units that are in no pool and not in hand, on their way back to the
 * database: they count as in hand from here (units > 0) until their return is
 * stored or given up (the same, negative).
 */
void ngx_commerce_stock_carry(ngx_commerce_zone_t *zone, int64_t units);

/* 1 when the pool is at or under "percent" of its last grant. */
ngx_uint_t ngx_commerce_stock_is_low(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref, ngx_uint_t percent);

/* A request starts (units > 0) or ends (the same, negative) to wait. */
void ngx_commerce_stock_want(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref, int32_t units);

/*
 * Takes the refill mark.  "empty": also empties the pool (a waiting request
 * needs more than is in it).  "block": units of stock-up at least; the rate
 * since the last refill may raise extra to 64 blocks.  NGX_OK; NGX_BUSY:
 * somebody refills; NGX_DECLINED: no live instance; NGX_ERROR: slot reused.
 */
ngx_int_t ngx_commerce_stock_refill_begin(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_ref_t *ref, uint32_t block, ngx_uint_t empty,
    ngx_commerce_stock_refill_t *refill);

/*
 * The database answered: "granted" units of "lease" (0: nothing) and what it
 * saw.  Installs the lease, unless the instance is not the zone's any more or
 * the slot was reused.  What the replaced lease had left comes back in *left
 * (lease 0: nothing) and must be returned to the database; so does the grant
 * itself when its slot was reused.  Not counted as in hand.  "free" below 0:
 * not known (the refill failed): only the mark falls, nobody is sold out, and
 * what begin() emptied is out of the pool: the caller runs the return again.
 */
void ngx_commerce_stock_refill_end(ngx_commerce_zone_t *zone,
    const ngx_commerce_stock_refill_t *refill, int64_t lease,
    uint32_t granted, int32_t free, int64_t own, ngx_uint_t others,
    ngx_commerce_stock_hold_t *left);

/*
 * Takes all units out of a pool for a return (idle or drain).  NGX_OK with
 * *hold, NGX_DECLINED: nothing there, or a refill is in flight.
 */
ngx_int_t ngx_commerce_stock_empty(ngx_commerce_zone_t *zone, uint32_t index,
    ngx_commerce_stock_hold_t *hold, commerce_uuid_t *id);

/* The same by the variant's id, whether its row is valid or not. */
ngx_int_t ngx_commerce_stock_empty_id(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id, ngx_commerce_stock_hold_t *hold);

/* Slots of the table; empty() takes 0 .. n - 1. */
uint32_t ngx_commerce_stock_slots(ngx_commerce_zone_t *zone);

/* 1 when the slot's pool has units and no take for "idle" milliseconds. */
ngx_uint_t ngx_commerce_stock_is_idle(ngx_commerce_zone_t *zone,
    uint32_t index, ngx_msec_t idle);

/* Units came free: clears the sold-out flag. NULL: of every variant. */
void ngx_commerce_stock_news(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id);

/* What the database has of the variant now; keeps availability honest. */
void ngx_commerce_stock_set_free(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id, int32_t free);

/* Units of own leases are the database's again. */
void ngx_commerce_stock_returned(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id, uint32_t units);

typedef enum {
    NGX_COMMERCE_SOLD_OUT = 0,
    NGX_COMMERCE_LOW_STOCK,
    NGX_COMMERCE_IN_STOCK
} ngx_commerce_availability_e;

/*
 * From the pool and the last known free units: low_stock at or under "low".
 * NGX_DECLINED when the variant is not in the table.
 */
ngx_int_t ngx_commerce_stock_availability(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id, uint32_t low,
    ngx_commerce_availability_e *availability);

typedef struct {
    ngx_uint_t                  slots;
    ngx_uint_t                  used;
    ngx_uint_t                  units;      /* in all pools */
    ngx_uint_t                  refilling;
    ngx_uint_t                  full;       /* put() that found no slot */
} ngx_commerce_stock_stats_t;

/* Walks the table without the mutex: for metrics and the limbo audit. */
void ngx_commerce_stock_stats(ngx_commerce_zone_t *zone,
    ngx_commerce_stock_stats_t *stats);


#endif
