/*
 * A batch of orders as the arrays of its statements.
 */

#include "ngx_commerce_checkout.h"


/* Arrays of the checkout statement; their parameters start at $5. */
enum {
    NGX_COMMERCE_CO_ID = 0,
    NGX_COMMERCE_CO_IDEM,
    NGX_COMMERCE_CO_FINGERPRINT,
    NGX_COMMERCE_CO_CURRENCY,
    NGX_COMMERCE_CO_SUBTOTAL,
    NGX_COMMERCE_CO_TOTAL,
    NGX_COMMERCE_CO_EMAIL,
    NGX_COMMERCE_CO_DELIVERY,

    NGX_COMMERCE_CO_ORDER,
    NGX_COMMERCE_CO_LINE_NO,
    NGX_COMMERCE_CO_VARIANT,
    NGX_COMMERCE_CO_LEASE,
    NGX_COMMERCE_CO_QUANTITY,
    NGX_COMMERCE_CO_PRICE,
    NGX_COMMERCE_CO_VERSION,
    NGX_COMMERCE_CO_KNOWN,
    NGX_COMMERCE_CO_SKU,
    NGX_COMMERCE_CO_TITLE,
    NGX_COMMERCE_CO_PLAIN,

    NGX_COMMERCE_CO_DISCOUNT = NGX_COMMERCE_CO_PLAIN,
    NGX_COMMERCE_CO_TAX,
    NGX_COMMERCE_CO_TAX_INCLUDED,
    NGX_COMMERCE_CO_SHIPPING,
    NGX_COMMERCE_CO_CUSTOMER,
    NGX_COMMERCE_CO_CART,
    NGX_COMMERCE_CO_COUPON,
    NGX_COMMERCE_CO_COUPON_CODE,
    NGX_COMMERCE_CO_RULES,

    NGX_COMMERCE_CO_LINE_DISCOUNT,
    NGX_COMMERCE_CO_LINE_TAX,
    NGX_COMMERCE_CO_LINE_TAX_INCLUDED,

    NGX_COMMERCE_CO_CART_VERSION,
    NGX_COMMERCE_CO_WHOLE
};

/* Those of the claims. */
enum {
    NGX_COMMERCE_CLAIM_ID = 0,
    NGX_COMMERCE_CLAIM_CART,
    NGX_COMMERCE_CLAIM_CART_VERSION,
    NGX_COMMERCE_CLAIM_COUPON,
    NGX_COMMERCE_CLAIM_COUPON_VERSION,
    NGX_COMMERCE_CLAIM_WHO,
    NGX_COMMERCE_CLAIM_ARRAYS
};


typedef struct {
    uint32_t    type;
    unsigned    line:1;         /* one element for each line of the batch */
} ngx_commerce_checkout_array_t;


static ngx_uint_t ngx_commerce_checkout_batch_whole(
    ngx_commerce_pg_batch_t *batch);
static void ngx_commerce_checkout_push(ngx_commerce_pg_array_t *a,
    ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_push_whole(ngx_commerce_pg_array_t *a,
    ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_push_lines(ngx_commerce_pg_array_t *a,
    ngx_commerce_checkout_t *co, ngx_commerce_known_t *known,
    ngx_uint_t whole);
static void ngx_commerce_checkout_push_text(ngx_commerce_pg_array_t *a,
    const ngx_str_t *text);
static void ngx_commerce_checkout_push_id(ngx_commerce_pg_array_t *a,
    const commerce_uuid_t *id, ngx_uint_t there);
static ngx_int_t ngx_commerce_checkout_claim(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_array_t *a);
static ngx_int_t ngx_commerce_checkout_unclaim(
    ngx_commerce_pg_batch_t *batch, ngx_commerce_pg_array_t *a);


static const ngx_commerce_checkout_array_t
    ngx_commerce_checkout_arrays[NGX_COMMERCE_CO_WHOLE] =
{
    { NGX_COMMERCE_PG_UUID, 0 },
    { NGX_COMMERCE_PG_UUID, 0 },
    { NGX_COMMERCE_PG_UUID, 0 },
    { NGX_COMMERCE_PG_TEXT, 0 },
    { NGX_COMMERCE_PG_INT8, 0 },
    { NGX_COMMERCE_PG_INT8, 0 },
    { NGX_COMMERCE_PG_TEXT, 0 },
    { NGX_COMMERCE_PG_TEXT, 0 },

    { NGX_COMMERCE_PG_UUID, 1 },
    { NGX_COMMERCE_PG_INT2, 1 },
    { NGX_COMMERCE_PG_UUID, 1 },
    { NGX_COMMERCE_PG_INT8, 1 },
    { NGX_COMMERCE_PG_INT4, 1 },
    { NGX_COMMERCE_PG_INT8, 1 },
    { NGX_COMMERCE_PG_INT4, 1 },
    { NGX_COMMERCE_PG_BOOL, 1 },
    { NGX_COMMERCE_PG_TEXT, 1 },
    { NGX_COMMERCE_PG_TEXT, 1 },

    { NGX_COMMERCE_PG_INT8, 0 },
    { NGX_COMMERCE_PG_INT8, 0 },
    { NGX_COMMERCE_PG_INT8, 0 },
    { NGX_COMMERCE_PG_INT8, 0 },
    { NGX_COMMERCE_PG_UUID, 0 },
    { NGX_COMMERCE_PG_UUID, 0 },
    { NGX_COMMERCE_PG_UUID, 0 },
    { NGX_COMMERCE_PG_TEXT, 0 },
    { NGX_COMMERCE_PG_INT8, 0 },

    { NGX_COMMERCE_PG_INT8, 1 },
    { NGX_COMMERCE_PG_INT8, 1 },
    { NGX_COMMERCE_PG_BOOL, 1 },

    { NGX_COMMERCE_PG_INT4, 0 },
};


static const uint32_t
    ngx_commerce_claim_types[NGX_COMMERCE_CLAIM_ARRAYS] =
{
    NGX_COMMERCE_PG_UUID,
    NGX_COMMERCE_PG_UUID,
    NGX_COMMERCE_PG_INT4,
    NGX_COMMERCE_PG_UUID,
    NGX_COMMERCE_PG_INT4,
    NGX_COMMERCE_PG_TEXT,
};


ngx_int_t
ngx_commerce_checkout_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn)
{
    uint64_t                              sent;
    ngx_uint_t                            i, n, whole;
    ngx_commerce_known_t                 *known;
    ngx_commerce_trade_t                 *trade;
    ngx_commerce_pg_array_t               a[NGX_COMMERCE_CO_WHOLE];
    ngx_commerce_pg_array_t               claims[NGX_COMMERCE_CLAIM_ARRAYS];
    ngx_commerce_pg_query_t              *q;
    ngx_commerce_checkout_t              *co;
    const ngx_commerce_checkout_array_t  *array;

    trade = ngx_commerce_pg_lane_data(batch->lane);
    known = ngx_commerce_known(conn, trade->cycle);
    sent = ngx_commerce_clock();
    whole = ngx_commerce_checkout_batch_whole(batch);
    n = whole ? NGX_COMMERCE_CO_WHOLE : NGX_COMMERCE_CO_PLAIN;

    if (ngx_commerce_fence(&batch->op, conn, batch->group) != NGX_OK
        || (whole && ngx_commerce_checkout_claim(batch, claims) != NGX_OK))
    {
        return NGX_ERROR;
    }

    q = ngx_commerce_pg_query(&batch->op,
                              whole ? NGX_COMMERCE_SQL_CHECKOUT_WHOLE
                                    : NGX_COMMERCE_SQL_CHECKOUT,
                              4 + n);
    if (q == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        array = &ngx_commerce_checkout_arrays[i];
        ngx_commerce_pg_array(&a[i], batch->op.pool, array->type,
                              array->line ? batch->weight : batch->n);
    }

    for (i = 0; i < batch->n; i++) {
        co = (ngx_commerce_checkout_t *) batch->items[i];
        co->verdict = NGX_COMMERCE_STORED;
        co->sent = sent;

        ngx_commerce_checkout_push(a, co);
        ngx_commerce_checkout_push_lines(a, co, known, whole);

        if (whole) {
            ngx_commerce_checkout_push_whole(a, co);
        }
    }

    ngx_commerce_pg_int8(q, 1, batch->group);
    ngx_commerce_pg_int4(q, 2, (int32_t) conn->slot);
    ngx_commerce_pg_int4(q, 3, (int32_t) trade->conf->hold_time);

    ngx_commerce_pg_int8(q, 4, known ? known->epoch : 0);

    for (i = 0; i < n; i++) {
        ngx_commerce_pg_array_param(q, 5 + i, &a[i]);
    }

    if (q->failed) {
        return NGX_ERROR;
    }

    return whole ? ngx_commerce_checkout_unclaim(batch, claims) : NGX_OK;
}


static ngx_uint_t
ngx_commerce_checkout_batch_whole(ngx_commerce_pg_batch_t *batch)
{
    ngx_uint_t                i;
    ngx_commerce_checkout_t  *co;

    for (i = 0; i < batch->n; i++) {
        co = (ngx_commerce_checkout_t *) batch->items[i];

        if (ngx_commerce_checkout_is_whole(co)) {
            return 1;
        }
    }

    return 0;
}


static void
ngx_commerce_checkout_push(ngx_commerce_pg_array_t *a,
    ngx_commerce_checkout_t *co)
{
    ngx_commerce_pg_push_uuid(&a[NGX_COMMERCE_CO_ID], &co->id);
    ngx_commerce_pg_push_uuid(&a[NGX_COMMERCE_CO_IDEM], &co->idem);
    ngx_commerce_pg_push_uuid(&a[NGX_COMMERCE_CO_FINGERPRINT],
                              &co->fingerprint);
    ngx_commerce_pg_push_text(&a[NGX_COMMERCE_CO_CURRENCY], co->currency,
                              COMMERCE_CURRENCY_LEN);
    ngx_commerce_pg_push_int8(&a[NGX_COMMERCE_CO_SUBTOTAL],
                              co->quote.price.subtotal);
    ngx_commerce_pg_push_int8(&a[NGX_COMMERCE_CO_TOTAL],
                              co->quote.price.total);
    ngx_commerce_checkout_push_text(&a[NGX_COMMERCE_CO_EMAIL],
                                    &co->to.email);
    ngx_commerce_checkout_push_text(&a[NGX_COMMERCE_CO_DELIVERY],
                                    &co->to.delivery.text);
}


static void
ngx_commerce_checkout_push_whole(ngx_commerce_pg_array_t *a,
    ngx_commerce_checkout_t *co)
{
    commerce_price_t       *price;
    ngx_commerce_cart_t    *cart;
    ngx_commerce_coupon_t  *coupon;

    price = &co->quote.price;
    cart = co->cart ? &co->cart->cart : NULL;
    coupon = co->quote.coupon;

    ngx_commerce_pg_push_int8(&a[NGX_COMMERCE_CO_DISCOUNT], price->discount);
    ngx_commerce_pg_push_int8(&a[NGX_COMMERCE_CO_TAX], price->tax);
    ngx_commerce_pg_push_int8(&a[NGX_COMMERCE_CO_TAX_INCLUDED],
                              price->tax_included);
    ngx_commerce_pg_push_int8(&a[NGX_COMMERCE_CO_SHIPPING], price->shipping);
    ngx_commerce_checkout_push_id(&a[NGX_COMMERCE_CO_CUSTOMER],
                                  cart ? &cart->customer_id : NULL,
                                  cart && cart->has_customer);
    ngx_commerce_checkout_push_id(&a[NGX_COMMERCE_CO_CART],
                                  cart ? &cart->id : NULL, cart != NULL);
    ngx_commerce_checkout_push_id(&a[NGX_COMMERCE_CO_COUPON],
                                  coupon ? &coupon->id : NULL,
                                  coupon != NULL);

    if (coupon) {
        ngx_commerce_checkout_push_text(&a[NGX_COMMERCE_CO_COUPON_CODE],
                                        &coupon->code);
    } else {
        ngx_commerce_pg_push_null(&a[NGX_COMMERCE_CO_COUPON_CODE]);
    }

    ngx_commerce_pg_push_int8(&a[NGX_COMMERCE_CO_RULES], co->quote.rules);
    ngx_commerce_pg_push_int4(&a[NGX_COMMERCE_CO_CART_VERSION],
                              cart ? cart->version : 0);
}


static void
ngx_commerce_checkout_push_lines(ngx_commerce_pg_array_t *a,
    ngx_commerce_checkout_t *co, ngx_commerce_known_t *known,
    ngx_uint_t whole)
{
    ngx_uint_t                     i;
    commerce_price_line_t         *priced;
    ngx_commerce_checkout_line_t  *line;

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];
        priced = &co->quote.lines[i];

        ngx_commerce_pg_push_uuid(&a[NGX_COMMERCE_CO_ORDER], &co->id);
        ngx_commerce_pg_push_int2(&a[NGX_COMMERCE_CO_LINE_NO],
                                  (int16_t) (i + 1));
        ngx_commerce_pg_push_uuid(&a[NGX_COMMERCE_CO_VARIANT],
                                  &line->item.id);
        ngx_commerce_pg_push_int8(&a[NGX_COMMERCE_CO_LEASE],
                                  line->hold.lease);
        ngx_commerce_pg_push_int4(&a[NGX_COMMERCE_CO_QUANTITY],
                                  (int32_t) line->quantity);
        ngx_commerce_pg_push_int8(&a[NGX_COMMERCE_CO_PRICE],
                                  priced->unit_price);
        ngx_commerce_pg_push_int4(&a[NGX_COMMERCE_CO_VERSION],
                                  line->item.version);
        ngx_commerce_pg_push_bool(&a[NGX_COMMERCE_CO_KNOWN],
                                  ngx_commerce_known_line(known, line));
        ngx_commerce_pg_push_text(&a[NGX_COMMERCE_CO_SKU], line->item.sku,
                                  line->item.sku_len);
        ngx_commerce_pg_push_text(&a[NGX_COMMERCE_CO_TITLE],
                                  line->item.title, line->item.title_len);

        if (whole) {
            ngx_commerce_pg_push_int8(&a[NGX_COMMERCE_CO_LINE_DISCOUNT],
                                      priced->discount);
            ngx_commerce_pg_push_int8(&a[NGX_COMMERCE_CO_LINE_TAX],
                                      priced->tax);
            ngx_commerce_pg_push_bool(&a[NGX_COMMERCE_CO_LINE_TAX_INCLUDED],
                                      priced->tax_included);
        }
    }
}


static void
ngx_commerce_checkout_push_text(ngx_commerce_pg_array_t *a,
    const ngx_str_t *text)
{
    if (text->len) {
        ngx_commerce_pg_push_text(a, text->data, text->len);
    } else {
        ngx_commerce_pg_push_null(a);
    }
}


static void
ngx_commerce_checkout_push_id(ngx_commerce_pg_array_t *a,
    const commerce_uuid_t *id, ngx_uint_t there)
{
    if (there) {
        ngx_commerce_pg_push_uuid(a, id);
    } else {
        ngx_commerce_pg_push_null(a);
    }
}


/*
 * Carts and coupons are locked before anything else of the batch, and taken
 * by a later statement that sees what the locks waited for.
 */

static ngx_int_t
ngx_commerce_checkout_claim(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_array_t *a)
{
    ngx_uint_t                i;
    ngx_commerce_cart_t      *cart;
    ngx_commerce_coupon_t    *coupon;
    ngx_commerce_pg_query_t  *lock, *claim;
    ngx_commerce_checkout_t  *co;

    lock = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_CLAIM_LOCK, 2);
    claim = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_CLAIM,
                                  NGX_COMMERCE_CLAIM_ARRAYS);

    if (lock == NULL || claim == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < NGX_COMMERCE_CLAIM_ARRAYS; i++) {
        ngx_commerce_pg_array(&a[i], batch->op.pool,
                              ngx_commerce_claim_types[i], batch->n);
    }

    for (i = 0; i < batch->n; i++) {
        co = (ngx_commerce_checkout_t *) batch->items[i];
        cart = co->cart ? &co->cart->cart : NULL;
        coupon = co->quote.coupon;

        ngx_commerce_pg_push_uuid(&a[NGX_COMMERCE_CLAIM_ID], &co->id);
        ngx_commerce_checkout_push_id(&a[NGX_COMMERCE_CLAIM_CART],
                                      cart ? &cart->id : NULL, cart != NULL);
        ngx_commerce_pg_push_int4(&a[NGX_COMMERCE_CLAIM_CART_VERSION],
                                  cart ? cart->version : 0);
        ngx_commerce_checkout_push_id(&a[NGX_COMMERCE_CLAIM_COUPON],
                                      coupon ? &coupon->id : NULL,
                                      coupon != NULL);
        ngx_commerce_pg_push_int4(&a[NGX_COMMERCE_CLAIM_COUPON_VERSION],
                                  coupon ? coupon->version : 0);
        ngx_commerce_pg_push_text(&a[NGX_COMMERCE_CLAIM_WHO], co->who.data,
                                  co->who.len);
    }

    ngx_commerce_pg_array_param(lock, 1, &a[NGX_COMMERCE_CLAIM_CART]);
    ngx_commerce_pg_array_param(lock, 2, &a[NGX_COMMERCE_CLAIM_COUPON]);

    for (i = 0; i < NGX_COMMERCE_CLAIM_ARRAYS; i++) {
        ngx_commerce_pg_array_param(claim, i + 1, &a[i]);
    }

    return lock->failed || claim->failed ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_commerce_checkout_unclaim(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_array_t *a)
{
    ngx_commerce_pg_query_t  *q;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_UNCLAIM, 2);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array_param(q, 1, &a[NGX_COMMERCE_CLAIM_ID]);
    ngx_commerce_pg_array_param(q, 2, &a[NGX_COMMERCE_CLAIM_CART]);

    return q->failed ? NGX_ERROR : NGX_OK;
}
