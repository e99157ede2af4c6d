/*
 * The table of variants: two hash indexes over slots, filled from the
 * database, with slots reused when the catalogue is larger than the zone.
 *
 * Invalidation does not look for rows.  Every forget() takes the next stamp
 * and leaves it where the variant's (or product's) id hashes to; a row is
 * valid when its copy was read at or after the stamps that it finds there.
 * So news of a variant that is not here yet count as well.
 */

#include "ngx_commerce_zone_sh.h"


#define NGX_COMMERCE_FULL_PAUSE  100    /* msec until the next full scan */


static ngx_commerce_row_t *ngx_commerce_variants_by_id(
    ngx_commerce_variants_t *variants, const commerce_uuid_t *id,
    uint32_t hash);
static ngx_commerce_row_t *ngx_commerce_variants_by_sku(
    ngx_commerce_variants_t *variants, const u_char *sku, size_t len,
    uint32_t hash);
static void ngx_commerce_variants_unlink_sku(
    ngx_commerce_variants_t *variants, ngx_commerce_row_t *row);
static void ngx_commerce_variants_unlink_id(ngx_commerce_variants_t *variants,
    ngx_commerce_row_t *row);
static ngx_commerce_row_t *ngx_commerce_variants_new(ngx_commerce_zone_t *zone);
static ngx_uint_t ngx_commerce_variants_reuse(ngx_commerce_zone_t *zone,
    ngx_commerce_slot_t *slot);
static ngx_uint_t ngx_commerce_variants_fits(
    const ngx_commerce_variant_t *variant);
static void ngx_commerce_variants_stock(ngx_commerce_slot_t *slot,
    const ngx_commerce_variant_t *variant);
static ngx_uint_t ngx_commerce_variants_valid(
    ngx_commerce_variants_t *variants, ngx_commerce_row_t *row);
static ngx_int_t ngx_commerce_variants_copy(ngx_commerce_variants_t *variants,
    ngx_commerce_row_t *row, const u_char *currency,
    ngx_commerce_stock_item_t *item);
static void ngx_commerce_variants_tiers(const ngx_commerce_variant_t *variant,
    const u_char *currency, ngx_commerce_stock_item_t *item);
static void ngx_commerce_variants_forget(uint64_t *word, uint64_t stamp);
static uint32_t ngx_commerce_variants_hash(const void *data, size_t len);


ngx_int_t
ngx_commerce_variants_create(ngx_commerce_variants_t *variants, u_char *start,
    size_t size)
{
    size_t     n;
    uint32_t   heads;

    /* both indexes have as many heads as the power of two above the slots */

    n = size / (sizeof(ngx_commerce_slot_t) + sizeof(ngx_commerce_row_t)
                + 4 * sizeof(uint32_t));

    if (n < 64 || n > 0x3fffffff) {
        return NGX_ERROR;
    }

    for (heads = 64; heads < n; heads *= 2) { /* void */ }

    variants->n = n;
    variants->mask = heads - 1;

    variants->slots = (ngx_commerce_slot_t *) start;
    variants->rows = (ngx_commerce_row_t *) (variants->slots + n);
    variants->sku_heads = (uint32_t *) (variants->rows + n);
    variants->id_heads = variants->sku_heads + heads;

    ngx_memzero(variants->sku_heads, 2 * (size_t) heads * sizeof(uint32_t));

    return NGX_OK;
}


void
ngx_commerce_variants_reset(ngx_commerce_variants_t *variants)
{
    uint32_t              i;
    ngx_commerce_slot_t  *slot;

    for (i = 0; i < variants->carved; i++) {
        slot = &variants->slots[i];

        ngx_commerce_stock_void(slot);
        (void) ngx_commerce_add(&slot->serial, 1);
        ngx_commerce_store(&slot->want, 0);
    }

    ngx_memzero(variants->sku_heads,
                2 * ((size_t) variants->mask + 1) * sizeof(uint32_t));

    ngx_commerce_store(&variants->used, 0);
    variants->hand = 0;
    ngx_commerce_store(&variants->full_at, 0);
}


ngx_int_t
ngx_commerce_stock_find_sku(ngx_commerce_zone_t *zone, const u_char *sku,
    size_t len, const u_char *currency, ngx_commerce_stock_item_t *item)
{
    uint32_t                  hash;
    ngx_int_t                 rc;
    ngx_commerce_row_t       *row;
    ngx_commerce_variants_t  *variants;

    if (len == 0 || len > COMMERCE_SKU_MAX) {
        return NGX_DECLINED;
    }

    variants = &zone->sh->variants;
    hash = ngx_commerce_variants_hash(sku, len);

    ngx_commerce_zone_lock(zone);

    row = ngx_commerce_variants_by_sku(variants, sku, len, hash);
    rc = ngx_commerce_variants_copy(variants, row, currency, item);

    ngx_commerce_zone_unlock(zone);

    return rc;
}


ngx_int_t
ngx_commerce_stock_find_id(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *id, const u_char *currency,
    ngx_commerce_stock_item_t *item)
{
    uint32_t                  hash;
    ngx_int_t                 rc;
    ngx_commerce_row_t       *row;
    ngx_commerce_variants_t  *variants;

    variants = &zone->sh->variants;
    hash = ngx_commerce_variants_hash(id, sizeof(commerce_uuid_t));

    ngx_commerce_zone_lock(zone);

    row = ngx_commerce_variants_by_id(variants, id, hash);
    rc = ngx_commerce_variants_copy(variants, row, currency, item);

    ngx_commerce_zone_unlock(zone);

    return rc;
}


static ngx_int_t
ngx_commerce_variants_copy(ngx_commerce_variants_t *variants,
    ngx_commerce_row_t *row, const u_char *currency,
    ngx_commerce_stock_item_t *item)
{
    ngx_commerce_slot_t  *slot;

    if (row == NULL || !ngx_commerce_variants_valid(variants, row)) {
        return NGX_DECLINED;
    }

    item->ref.index = row - variants->rows;

    slot = &variants->slots[item->ref.index];
    item->ref.serial = ngx_commerce_load(&slot->serial);

    if (!ngx_commerce_peek(&slot->referenced)) {
        ngx_commerce_poke(&slot->referenced, 1);
    }

    ngx_commerce_stock_item(&row->variant, currency, item);

    return NGX_OK;
}


void
ngx_commerce_stock_item(const ngx_commerce_variant_t *variant,
    const u_char *currency, ngx_commerce_stock_item_t *item)
{
    item->id = variant->id;
    item->version = variant->version;
    item->for_sale = variant->for_sale;
    item->category = variant->category;

    ngx_commerce_variants_tiers(variant, currency, item);

    item->sku_len = variant->sku_len;
    ngx_memcpy(item->sku, variant->sku, variant->sku_len);
    item->title_len = variant->title_len;
    ngx_memcpy(item->title, variant->title, variant->title_len);
}


static void
ngx_commerce_variants_tiers(const ngx_commerce_variant_t *variant,
    const u_char *currency, ngx_commerce_stock_item_t *item)
{
    ngx_uint_t                         i;
    const ngx_commerce_stock_price_t  *price;

    item->ntiers = 0;

    if (currency == NULL) {
        return;
    }

    for (i = 0; i < variant->nprices; i++) {
        price = &variant->prices[i];

        if (ngx_memcmp(price->currency, currency, COMMERCE_CURRENCY_LEN) != 0)
        {
            continue;
        }

        if (item->ntiers > COMMERCE_TIERS_MAX) {
            return;
        }

        item->tiers[item->ntiers].amount = price->amount;
        item->tiers[item->ntiers].min_quantity = price->min_quantity;
        item->ntiers++;
    }
}


ngx_atomic_uint_t
ngx_commerce_stock_stamp(ngx_commerce_zone_t *zone)
{
    return ngx_commerce_load(&zone->sh->variants.stamp);
}


ngx_int_t
ngx_commerce_stock_put(ngx_commerce_zone_t *zone,
    const ngx_commerce_variant_t *variant, ngx_atomic_uint_t stamp)
{
    uint32_t                  id_hash, sku_hash;
    ngx_int_t                 rc;
    ngx_commerce_row_t       *row, *other;
    ngx_commerce_slot_t      *slot;
    ngx_commerce_variants_t  *variants;

    if (!ngx_commerce_variants_fits(variant)) {
        return NGX_ERROR;
    }

    variants = &zone->sh->variants;
    id_hash = ngx_commerce_variants_hash(&variant->id, sizeof(variant->id));
    sku_hash = ngx_commerce_variants_hash(variant->sku, variant->sku_len);
    rc = NGX_OK;

    ngx_commerce_zone_lock(zone);

    row = ngx_commerce_variants_by_id(variants, &variant->id, id_hash);

    if (row && row->valid && row->stamp > stamp) {
        /* a copy that was read later is here already */
        goto done;
    }

    ngx_commerce_zone_write(zone);

    if (row == NULL) {
        row = ngx_commerce_variants_new(zone);

        if (row == NULL) {
            rc = NGX_BUSY;
            goto done;
        }

        row->id_hash = id_hash;
        row->id_next = variants->id_heads[id_hash & variants->mask];
        variants->id_heads[id_hash & variants->mask] =
                                                row - variants->rows + 1;
    }

    other = ngx_commerce_variants_by_sku(variants, variant->sku,
                                         variant->sku_len, sku_hash);
    if (other != row) {

        if (other) {
            ngx_commerce_variants_unlink_sku(variants, other);
            other->valid = 0;
        }

        ngx_commerce_variants_unlink_sku(variants, row);

        row->sku_hash = sku_hash;
        row->sku_next = variants->sku_heads[sku_hash & variants->mask];
        variants->sku_heads[sku_hash & variants->mask] =
                                                row - variants->rows + 1;
    }

    row->variant = *variant;
    row->stamp = stamp;
    row->valid = 1;

    slot = &variants->slots[row - variants->rows];
    ngx_commerce_variants_stock(slot, variant);

done:

    ngx_commerce_zone_unlock(zone);

    if (rc == NGX_BUSY) {
        ngx_commerce_count(zone, NGX_COMMERCE_C_ZONE_FULL, 1);
    }

    return rc;
}


/* Lengths become copies and loops later: none beyond its array comes in. */

static ngx_uint_t
ngx_commerce_variants_fits(const ngx_commerce_variant_t *variant)
{
    return variant->sku_len > 0
           && variant->sku_len <= COMMERCE_SKU_MAX
           && variant->nprices <= COMMERCE_AMOUNTS_MAX;
}


static void
ngx_commerce_variants_stock(ngx_commerce_slot_t *slot,
    const ngx_commerce_variant_t *variant)
{
    int64_t   elsewhere;
    uint64_t  pool;

    pool = ngx_commerce_load(&slot->pool);
    elsewhere = (int64_t) variant->leased - ngx_commerce_pool_units(pool);

    ngx_commerce_store(&slot->free, variant->free);
    ngx_commerce_store(&slot->elsewhere,
                       elsewhere > 0 ? (uint32_t) elsewhere : 0);
}


/*
 * A slot for a new row: one never used, else the next under the clock hand
 * that has no units, no refill, no waiting request and no recent reader.
 */

static ngx_commerce_row_t *
ngx_commerce_variants_new(ngx_commerce_zone_t *zone)
{
    uint32_t                  i, index;
    ngx_commerce_row_t       *row;
    ngx_commerce_variants_t  *variants;

    variants = &zone->sh->variants;

    if (variants->used < variants->n) {
        index = variants->used;
        row = &variants->rows[index];

        if (index == variants->carved) {
            ngx_memzero(&variants->slots[index], sizeof(ngx_commerce_slot_t));
            variants->carved++;
        }

        ngx_memzero(row, sizeof(ngx_commerce_row_t));
        ngx_commerce_store(&variants->used, index + 1);

        return row;
    }

    if (variants->full_at
        && (ngx_msec_int_t) (ngx_current_msec - variants->full_at)
           < NGX_COMMERCE_FULL_PAUSE)
    {
        (void) ngx_commerce_add(&variants->full, 1);
        return NULL;
    }

    for (i = 0; i < 2 * variants->n; i++) {

        index = variants->hand;
        variants->hand = (index + 1 == variants->n) ? 0 : index + 1;

        if (ngx_commerce_variants_reuse(zone, &variants->slots[index])) {
            row = &variants->rows[index];

            ngx_commerce_variants_unlink_sku(variants, row);
            ngx_commerce_variants_unlink_id(variants, row);
            ngx_memzero(row, sizeof(ngx_commerce_row_t));

            return row;
        }
    }

    ngx_commerce_store(&variants->full_at, (uint64_t) ngx_current_msec | 1);
    (void) ngx_commerce_add(&variants->full, 1);

    return NULL;
}


static ngx_uint_t
ngx_commerce_variants_reuse(ngx_commerce_zone_t *zone,
    ngx_commerce_slot_t *slot)
{
    uint32_t  next;
    uint64_t  pool;

    pool = ngx_commerce_load(&slot->pool);

    if (ngx_commerce_pool_units(pool)
        || ngx_commerce_load(&slot->want) > 0
        || ngx_commerce_mark_holds(zone, ngx_commerce_load(&slot->refill)))
    {
        return 0;
    }

    if (ngx_commerce_peek(&slot->referenced)) {
        ngx_commerce_poke(&slot->referenced, 0);
        return 0;
    }

    /*
     * First the generation: from here on no unit comes back to this pool, and
     * whoever holds the old serial finds nothing to take until it is seen.
     */

    next = ngx_commerce_pool_generation(pool) + 1;

    ngx_commerce_poke(&slot->lease[next & 1].id, 0);
    ngx_commerce_poke(&slot->lease[next & 1].instance, 0);

    if (!ngx_commerce_cas(&slot->pool, pool, ngx_commerce_pool_word(next, 0))) {
        return 0;
    }

    (void) ngx_commerce_add(&slot->serial, 1);

    ngx_commerce_store(&slot->refill, 0);
    ngx_commerce_store(&slot->sold_out, 0);
    ngx_commerce_store(&slot->refill_ended, 0);
    ngx_commerce_store(&slot->last_grant, 0);
    ngx_commerce_store(&slot->own, 0);
    ngx_commerce_store(&slot->others, 0);
    (void) ngx_commerce_add(&slot->news, 1);

    return 1;
}


void
ngx_commerce_stock_forget(ngx_commerce_zone_t *zone, const commerce_uuid_t *id)
{
    uint32_t                  hash;
    uint64_t                  stamp;
    ngx_commerce_variants_t  *variants;

    variants = &zone->sh->variants;
    stamp = ngx_commerce_add(&variants->stamp, 1);

    if (id == NULL) {
        ngx_commerce_variants_forget(&variants->all_forgotten, stamp);
        return;
    }

    hash = ngx_commerce_variants_hash(id, sizeof(commerce_uuid_t));

    ngx_commerce_variants_forget(
        &variants->forgotten[hash & (NGX_COMMERCE_FORGOTTEN - 1)], stamp);
}


/* Ids of products and of variants share the words: they never clash. */

void
ngx_commerce_stock_forget_product(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *product_id)
{
    ngx_commerce_stock_forget(zone, product_id);
}


static void
ngx_commerce_variants_forget(uint64_t *word, uint64_t stamp)
{
    uint64_t  old;

    do {
        old = ngx_commerce_load(word);
    } while (old < stamp && !ngx_commerce_cas(word, old, stamp));
}


static ngx_uint_t
ngx_commerce_variants_valid(ngx_commerce_variants_t *variants,
    ngx_commerce_row_t *row)
{
    uint32_t   product;
    uint64_t  *forgotten;

    if (!row->valid
        || row->stamp < ngx_commerce_load(&variants->all_forgotten))
    {
        return 0;
    }

    forgotten = variants->forgotten;
    product = ngx_commerce_variants_hash(&row->variant.product_id,
                                         sizeof(commerce_uuid_t));

    return row->stamp >= ngx_commerce_load(
                      &forgotten[row->id_hash & (NGX_COMMERCE_FORGOTTEN - 1)])
           && row->stamp >= ngx_commerce_load(
                      &forgotten[product & (NGX_COMMERCE_FORGOTTEN - 1)]);
}


ngx_commerce_slot_t *
ngx_commerce_variants_slot(ngx_commerce_variants_t *variants,
    const commerce_uuid_t *id)
{
    uint32_t             hash;
    ngx_commerce_row_t  *row;

    hash = ngx_commerce_variants_hash(id, sizeof(commerce_uuid_t));
    row = ngx_commerce_variants_by_id(variants, id, hash);

    return row ? &variants->slots[row - variants->rows] : NULL;
}


static ngx_commerce_row_t *
ngx_commerce_variants_by_id(ngx_commerce_variants_t *variants,
    const commerce_uuid_t *id, uint32_t hash)
{
    uint32_t             next;
    ngx_commerce_row_t  *row;

    next = variants->id_heads[hash & variants->mask];

    for ( /* void */ ; next; next = row->id_next) {
        row = &variants->rows[next - 1];

        if (row->id_hash == hash
            && ngx_memcmp(&row->variant.id, id, sizeof(commerce_uuid_t)) == 0)
        {
            return row;
        }
    }

    return NULL;
}


static ngx_commerce_row_t *
ngx_commerce_variants_by_sku(ngx_commerce_variants_t *variants,
    const u_char *sku, size_t len, uint32_t hash)
{
    uint32_t             next;
    ngx_commerce_row_t  *row;

    next = variants->sku_heads[hash & variants->mask];

    for ( /* void */ ; next; next = row->sku_next) {
        row = &variants->rows[next - 1];

        if (row->sku_hash == hash
            && row->variant.sku_len == len
            && ngx_memcmp(row->variant.sku, sku, len) == 0)
        {
            return row;
        }
    }

    return NULL;
}


/* A row without a sku (sku_len 0) is in no chain. */

static void
ngx_commerce_variants_unlink_sku(ngx_commerce_variants_t *variants,
    ngx_commerce_row_t *row)
{
    uint32_t  *next, index;

    if (row->variant.sku_len == 0) {
        return;
    }

    index = row - variants->rows + 1;
    next = &variants->sku_heads[row->sku_hash & variants->mask];

    while (*next && *next != index) {
        next = &variants->rows[*next - 1].sku_next;
    }

    if (*next) {
        *next = row->sku_next;
    }

    row->sku_next = 0;
    row->variant.sku_len = 0;
}


static void
ngx_commerce_variants_unlink_id(ngx_commerce_variants_t *variants,
    ngx_commerce_row_t *row)
{
    uint32_t  *next, index;

    index = row - variants->rows + 1;
    next = &variants->id_heads[row->id_hash & variants->mask];

    while (*next && *next != index) {
        next = &variants->rows[*next - 1].id_next;
    }

    if (*next) {
        *next = row->id_next;
    }

    row->id_next = 0;
}


static uint32_t
ngx_commerce_variants_hash(const void *data, size_t len)
{
    return ngx_murmur_hash2((u_char *) data, len);
}
