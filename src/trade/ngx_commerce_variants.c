/* Rows of variants from the database into the zone. */

#include "ngx_commerce_product.h"
#include "commerce_price.h"


static ngx_int_t ngx_commerce_variants_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_variants_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_variants_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_variants_busy(ngx_event_t *ev);
static ngx_str_t ngx_commerce_variant_text(PGresult *res, int row, int column,
    size_t max);
static void ngx_commerce_variant_prices(ngx_commerce_variant_t *variant,
    ngx_str_t *text);
static int64_t ngx_commerce_variant_number(u_char **p, u_char *end);
static ngx_uint_t ngx_commerce_variant_price_fits(
    ngx_commerce_variant_t *variant, ngx_commerce_stock_price_t *price);


ngx_int_t
ngx_commerce_variants_init(ngx_commerce_variants_t *variants,
    ngx_commerce_trade_t *trade, ngx_pool_t *pool)
{
    ngx_memzero(variants, sizeof(ngx_commerce_variants_t));

    variants->trade = trade;
    variants->pool = pool;

    if (ngx_array_init(&variants->skus, pool, 4, sizeof(ngx_str_t)) != NGX_OK
        || ngx_array_init(&variants->ids, pool, 4, sizeof(commerce_uuid_t))
           != NGX_OK
        || ngx_array_init(&variants->found, pool, 4,
                          sizeof(ngx_commerce_variant_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_commerce_variants_load(ngx_commerce_variants_t *variants)
{
    ngx_event_t           *ev;
    ngx_commerce_trade_t  *trade;

    trade = variants->trade;

    variants->op.build = ngx_commerce_variants_build;
    variants->op.result = ngx_commerce_variants_result;
    variants->op.done = ngx_commerce_variants_done;
    variants->op.data = variants;
    variants->op.deadline = ngx_current_msec + trade->conf->queue_timeout;

    if (ngx_commerce_pg_submit(trade->reads, &variants->op) == NGX_OK) {
        return NGX_OK;
    }

    /* the queue is full: done() must not be called from inside */

    ev = ngx_pcalloc(variants->pool, sizeof(ngx_event_t));
    if (ev == NULL) {
        return NGX_ERROR;
    }

    ev->handler = ngx_commerce_variants_busy;
    ev->data = variants;
    ev->log = trade->log;

    ngx_post_event(ev, &ngx_posted_events);

    return NGX_OK;
}


static void
ngx_commerce_variants_busy(ngx_event_t *ev)
{
    ngx_commerce_variants_t  *variants = ev->data;

    variants->done(variants, NGX_BUSY);
}


static ngx_int_t
ngx_commerce_variants_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_uint_t                i;
    ngx_str_t                *sku;
    commerce_uuid_t          *id;
    ngx_commerce_pg_array_t   skus, ids;
    ngx_commerce_pg_query_t  *q;
    ngx_commerce_variants_t  *variants;

    variants = op->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_VARIANTS, 3);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&skus, op->pool, NGX_COMMERCE_PG_TEXT,
                          variants->skus.nelts);
    sku = variants->skus.elts;

    for (i = 0; i < variants->skus.nelts; i++) {
        ngx_commerce_pg_push_text(&skus, sku[i].data, sku[i].len);
    }

    ngx_commerce_pg_array(&ids, op->pool, NGX_COMMERCE_PG_UUID,
                          variants->ids.nelts);
    id = variants->ids.elts;

    for (i = 0; i < variants->ids.nelts; i++) {
        ngx_commerce_pg_push_uuid(&ids, &id[i]);
    }

    ngx_commerce_pg_array_param(q, 1, &skus);
    ngx_commerce_pg_array_param(q, 2, &ids);
    ngx_commerce_pg_int8(q, 3,
                         ngx_commerce_zone_instance(variants->trade->zone));

    variants->stamp = ngx_commerce_stock_stamp(variants->trade->zone);

    return NGX_OK;
}


static void
ngx_commerce_variants_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    int                       row, n;
    ngx_commerce_variant_t   *variant;
    ngx_commerce_variants_t  *variants;

    variants = op->data;
    n = PQntuples(res);

    for (row = 0; row < n; row++) {

        variant = ngx_array_push(&variants->found);

        if (variant == NULL) {
            variants->failed = 1;
            return;
        }

        ngx_commerce_variant_row(res, row, variant);

        if (ngx_commerce_stock_put(variants->trade->zone, variant,
                                   variants->stamp)
            == NGX_BUSY)
        {
            variants->zone_full = 1;
        }
    }
}


static void
ngx_commerce_variants_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_variants_t  *variants;

    variants = op->data;

    variants->done(variants, outcome == NGX_COMMERCE_PG_COMMITTED
                             && !variants->failed ? NGX_OK : NGX_ERROR);
}


void
ngx_commerce_variant_row(PGresult *res, int row,
    ngx_commerce_variant_t *variant)
{
    ngx_str_t  text;

    ngx_memzero(variant, sizeof(ngx_commerce_variant_t));

    ngx_commerce_pg_get_uuid(res, row, 0, &variant->id);
    ngx_commerce_pg_get_uuid(res, row, 1, &variant->product_id);

    text = ngx_commerce_variant_text(res, row, 2, COMMERCE_SKU_MAX);
    variant->sku_len = (uint8_t) text.len;
    ngx_memcpy(variant->sku, text.data, variant->sku_len);

    text = ngx_commerce_variant_text(res, row, 3, COMMERCE_TITLE_MAX);
    variant->title_len = (uint8_t) text.len;
    ngx_memcpy(variant->title, text.data, variant->title_len);

    variant->version = ngx_commerce_pg_get_int4(res, row, 4);
    variant->for_sale = ngx_commerce_pg_get_bool(res, row, 5) ? 1 : 0;

    text = ngx_commerce_pg_get_text(res, row, 6);
    ngx_commerce_variant_prices(variant, &text);

    variant->free = ngx_commerce_pg_get_int4(res, row, 7);
    variant->leased = ngx_commerce_pg_get_int4(res, row, 8);

    text = ngx_commerce_pg_get_text(res, row, 9);
    variant->category = commerce_price_category(text.data, text.len);
}


/* What SQL made longer than the API takes is cut between two characters. */

static ngx_str_t
ngx_commerce_variant_text(PGresult *res, int row, int column, size_t max)
{
    ngx_str_t  text;

    text = ngx_commerce_pg_get_text(res, row, column);

    if (text.len > max) {
        text.len = max;

        while (text.len && (text.data[text.len] & 0xc0) == 0x80) {
            text.len--;
        }
    }

    return text;
}


/* "EUR:1:1999,EUR:10:1799,USD:1:2100": sorted, as the statement has them */

static void
ngx_commerce_variant_prices(ngx_commerce_variant_t *variant, ngx_str_t *text)
{
    u_char                      *p, *end;
    ngx_commerce_stock_price_t  *price;

    p = text->data;
    end = p + text->len;

    while (end - p > COMMERCE_CURRENCY_LEN
           && variant->nprices < COMMERCE_AMOUNTS_MAX)
    {
        price = &variant->prices[variant->nprices];

        ngx_memcpy(price->currency, p, COMMERCE_CURRENCY_LEN);
        p += COMMERCE_CURRENCY_LEN + 1;

        price->min_quantity = (int32_t) ngx_commerce_variant_number(&p, end);
        price->amount = ngx_commerce_variant_number(&p, end);

        if (ngx_commerce_variant_price_fits(variant, price)) {
            variant->nprices++;
        }
    }
}


/* Up to a separator.  The table's CHECKs keep it far below an overflow. */

static int64_t
ngx_commerce_variant_number(u_char **p, u_char *end)
{
    int64_t  number;

    for (number = 0; *p < end && **p >= '0' && **p <= '9'; (*p)++) {
        number = number * 10 + (**p - '0');
    }

    (*p)++;

    return number;
}


/* Rows that others than this module put: a tier needs the price below it. */

static ngx_uint_t
ngx_commerce_variant_price_fits(ngx_commerce_variant_t *variant,
    ngx_commerce_stock_price_t *price)
{
    return price->min_quantity == 1
           || (variant->nprices > 0
               && ngx_memcmp(price[-1].currency, price->currency,
                             COMMERCE_CURRENCY_LEN)
                  == 0);
}
