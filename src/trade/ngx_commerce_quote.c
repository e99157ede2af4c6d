/*
 * What a cart or an order costs: prices of the zone's rows, rates and methods
 * of the worker's rules and a coupon, into core's arithmetic.
 */

#include "ngx_commerce_rules.h"
#include "commerce_time.h"


/* where the buyer is, for tax; both NULL where nobody knows */
typedef struct {
    const ngx_commerce_place_t  *region;
    const ngx_commerce_place_t  *country;
} ngx_commerce_quote_places_t;


/* columns of NGX_COMMERCE_SQL_COUPON */
enum {
    NGX_COMMERCE_COUPON_ID = 0,
    NGX_COMMERCE_COUPON_CODE,
    NGX_COMMERCE_COUPON_VERSION,
    NGX_COMMERCE_COUPON_KIND,
    NGX_COMMERCE_COUPON_VALUE,
    NGX_COMMERCE_COUPON_MINIMUM,
    NGX_COMMERCE_COUPON_STARTS_AT,
    NGX_COMMERCE_COUPON_ENDS_AT,
    NGX_COMMERCE_COUPON_LEFT,
    NGX_COMMERCE_COUPON_ACTIVE,
    NGX_COMMERCE_COUPON_PER_CUSTOMER
};


static void ngx_commerce_quote_find(const ngx_commerce_rules_copy_t *copy,
    ngx_commerce_quote_t *quote, ngx_commerce_quote_places_t *places);
static const ngx_commerce_rate_t *ngx_commerce_quote_rate(
    const ngx_commerce_quote_places_t *places, uint64_t category);
static void ngx_commerce_quote_lines(ngx_commerce_quote_t *quote,
    const ngx_commerce_quote_places_t *places);
static void ngx_commerce_quote_shipping(
    const ngx_commerce_rules_copy_t *copy, ngx_commerce_quote_t *quote,
    const ngx_commerce_quote_places_t *places);
static ngx_int_t ngx_commerce_quote_coupon(ngx_commerce_quote_t *quote);
static const char *ngx_commerce_quote_coupon_reason(
    const ngx_commerce_coupon_t *coupon, int64_t subtotal);
static ngx_int_t ngx_commerce_quote_subtotal(
    const ngx_commerce_quote_t *quote, int64_t *subtotal);
static int64_t ngx_commerce_quote_now(void);
static int64_t ngx_commerce_coupon_time(PGresult *res, int row, int col);


ngx_commerce_quote_e
ngx_commerce_quote(ngx_commerce_trade_t *trade, ngx_commerce_quote_t *quote)
{
    ngx_commerce_quote_places_t       places;
    const ngx_commerce_rules_copy_t  *copy;

    copy = ngx_commerce_rules_copy(trade);

    ngx_memzero(&quote->price, sizeof(commerce_price_t));
    quote->price.free_over = -1;
    quote->rules = 0;
    quote->reason = NULL;
    quote->coupon_reason = NULL;

    ngx_commerce_quote_find(copy, quote, &places);
    ngx_commerce_quote_lines(quote, &places);
    ngx_commerce_quote_shipping(copy, quote, &places);

    if (ngx_commerce_quote_coupon(quote) != NGX_OK
        || commerce_price(&quote->price, quote->lines, quote->nlines)
           != COMMERCE_OK)
    {
        return NGX_COMMERCE_QUOTE_OVERFLOW;
    }

    if (quote->reason) {
        return NGX_COMMERCE_QUOTE_METHOD;
    }

    if (quote->coupon_reason) {
        quote->reason = quote->coupon_reason;
        return NGX_COMMERCE_QUOTE_COUPON;
    }

    return NGX_COMMERCE_QUOTE_OK;
}


/* That a place has no rates is a rule too. */

static void
ngx_commerce_quote_find(const ngx_commerce_rules_copy_t *copy,
    ngx_commerce_quote_t *quote, ngx_commerce_quote_places_t *places)
{
    static const ngx_str_t  any = ngx_null_string;

    places->region = NULL;
    places->country = NULL;

    if (copy == NULL || quote->country.len != 2) {
        return;
    }

    quote->rules = copy->version;

    places->country = ngx_commerce_rules_place(copy, &quote->country, &any);

    if (quote->region.len) {
        places->region = ngx_commerce_rules_place(copy, &quote->country,
                                                  &quote->region);
    }
}


static const ngx_commerce_rate_t *
ngx_commerce_quote_rate(const ngx_commerce_quote_places_t *places,
    uint64_t category)
{
    const ngx_commerce_rate_t  *rate;

    rate = ngx_commerce_rules_rate(places->region, category);

    if (rate == NULL) {
        rate = ngx_commerce_rules_rate(places->region, 0);
    }

    if (rate == NULL) {
        rate = ngx_commerce_rules_rate(places->country, category);
    }

    if (rate == NULL) {
        rate = ngx_commerce_rules_rate(places->country, 0);
    }

    return rate;
}


static void
ngx_commerce_quote_lines(ngx_commerce_quote_t *quote,
    const ngx_commerce_quote_places_t *places)
{
    ngx_uint_t                  i;
    commerce_price_line_t      *line;
    ngx_commerce_stock_item_t  *item;
    const ngx_commerce_rate_t  *rate;

    for (i = 0; i < quote->nlines; i++) {

        line = &quote->lines[i];
        item = quote->items[i];

        line->unit_price = ngx_commerce_stock_item_price(item,
                                                         line->quantity);

        rate = ngx_commerce_quote_rate(places, item->category);

        line->tax_rate = rate ? rate->rate : 0;
        line->tax_included = rate ? rate->included : 0;
    }
}


static void
ngx_commerce_quote_shipping(const ngx_commerce_rules_copy_t *copy,
    ngx_commerce_quote_t *quote, const ngx_commerce_quote_places_t *places)
{
    int64_t                       amount;
    ngx_uint_t                    i;
    const ngx_commerce_rate_t    *rate;
    const ngx_commerce_method_t  *method;

    static const ngx_str_t  shipping = ngx_string("shipping");

    if (quote->method.len == 0) {
        return;
    }

    quote->reason = "unknown_method";

    if (quote->rules == 0) {
        return;
    }

    for (i = 0; i < copy->nmethods; i++) {

        method = &copy->methods[i];

        if (method->code.len != quote->method.len
            || ngx_memcmp(method->code.data, quote->method.data,
                          method->code.len)
               != 0)
        {
            continue;
        }

        amount = ngx_commerce_rules_amount(&method->prices, quote->currency);

        if (amount < 0 || !ngx_commerce_rules_serves(method, &quote->country))
        {
            return;
        }

        rate = ngx_commerce_quote_rate(places,
                                       ngx_commerce_rules_category(&shipping));

        quote->price.shipping_price = amount;
        quote->price.free_over = ngx_commerce_rules_amount(&method->free_over,
                                                           quote->currency);
        quote->price.shipping_tax_rate = rate ? rate->rate : 0;
        quote->price.shipping_tax_included = rate ? rate->included : 0;
        quote->reason = NULL;

        return;
    }
}


/* NGX_ERROR: more than an amount can be. */

static ngx_int_t
ngx_commerce_quote_coupon(ngx_commerce_quote_t *quote)
{
    int64_t                       subtotal;
    const ngx_commerce_coupon_t  *coupon;

    coupon = quote->coupon;

    if (coupon == NULL) {
        return NGX_OK;
    }

    if (ngx_commerce_quote_subtotal(quote, &subtotal) != NGX_OK) {
        return NGX_ERROR;
    }

    quote->coupon_reason = ngx_commerce_quote_coupon_reason(coupon, subtotal);

    if (quote->coupon_reason == NULL) {
        quote->price.discount_kind = coupon->kind;
        quote->price.discount_value = coupon->value;
    }

    return NGX_OK;
}


static const char *
ngx_commerce_quote_coupon_reason(const ngx_commerce_coupon_t *coupon,
    int64_t subtotal)
{
    int64_t  now;

    now = ngx_commerce_quote_now();

    if (!coupon->active) {
        return "coupon_inactive";
    }

    if (coupon->starts_at && now < coupon->starts_at) {
        return "coupon_not_started";
    }

    if (coupon->ends_at && now >= coupon->ends_at) {
        return "coupon_expired";
    }

    if (coupon->left == 0) {
        return "coupon_used_up";
    }

    if (coupon->value < 0) {
        return "coupon_currency";
    }

    if (subtotal < coupon->minimum) {
        return "coupon_minimum";
    }

    return NULL;
}


static ngx_int_t
ngx_commerce_quote_subtotal(const ngx_commerce_quote_t *quote,
    int64_t *subtotal)
{
    int64_t     total;
    ngx_uint_t  i;

    *subtotal = 0;

    for (i = 0; i < quote->nlines; i++) {

        if (commerce_money_multiply(&total, quote->lines[i].unit_price,
                                    quote->lines[i].quantity)
            != COMMERCE_OK
            || commerce_money_add(subtotal, *subtotal, total) != COMMERCE_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static int64_t
ngx_commerce_quote_now(void)
{
    ngx_time_t  *now;

    now = ngx_timeofday();

    return ((int64_t) now->sec - COMMERCE_TIME_PG_EPOCH) * 1000000
           + (int64_t) now->msec * 1000;
}


ngx_int_t
ngx_commerce_coupon_row(PGresult *res, int row, int col, ngx_pool_t *pool,
    ngx_commerce_coupon_t *coupon)
{
    int32_t    kind;
    ngx_str_t  text;

    ngx_memzero(coupon, sizeof(ngx_commerce_coupon_t));

    if (ngx_commerce_pg_is_null(res, row, col + NGX_COMMERCE_COUPON_ID)) {
        return NGX_DECLINED;
    }

    ngx_commerce_pg_get_uuid(res, row, col + NGX_COMMERCE_COUPON_ID,
                             &coupon->id);

    text = ngx_commerce_pg_get_text(res, row, col + NGX_COMMERCE_COUPON_CODE);
    coupon->code.len = text.len;
    coupon->code.data = ngx_pstrdup(pool, &text);

    if (coupon->code.data == NULL) {
        return NGX_ERROR;
    }

    coupon->version = ngx_commerce_pg_get_int4(res, row,
                                       col + NGX_COMMERCE_COUPON_VERSION);

    kind = ngx_commerce_pg_get_int4(res, row, col + NGX_COMMERCE_COUPON_KIND);
    coupon->kind = kind == 1 ? COMMERCE_DISCOUNT_PERCENT
                   : kind == 2 ? COMMERCE_DISCOUNT_FIXED
                   : COMMERCE_DISCOUNT_FREE_SHIPPING;

    coupon->value = ngx_commerce_pg_get_int8(res, row,
                                       col + NGX_COMMERCE_COUPON_VALUE);
    coupon->minimum = ngx_commerce_pg_get_int8(res, row,
                                       col + NGX_COMMERCE_COUPON_MINIMUM);
    coupon->starts_at = ngx_commerce_coupon_time(res, row,
                                       col + NGX_COMMERCE_COUPON_STARTS_AT);
    coupon->ends_at = ngx_commerce_coupon_time(res, row,
                                       col + NGX_COMMERCE_COUPON_ENDS_AT);
    coupon->left = ngx_commerce_pg_get_int8(res, row,
                                       col + NGX_COMMERCE_COUPON_LEFT);
    coupon->active = ngx_commerce_pg_get_bool(res, row,
                                       col + NGX_COMMERCE_COUPON_ACTIVE)
                     ? 1 : 0;
    coupon->per_customer = ngx_commerce_pg_get_bool(res, row,
                                       col + NGX_COMMERCE_COUPON_PER_CUSTOMER)
                           ? 1 : 0;

    return NGX_OK;
}


/* 0 is no time: PostgreSQL's own epoch gives way by a microsecond. */

static int64_t
ngx_commerce_coupon_time(PGresult *res, int row, int col)
{
    int64_t  time;

    if (ngx_commerce_pg_is_null(res, row, col)) {
        return 0;
    }

    time = ngx_commerce_pg_get_int8(res, row, col);

    return time ? time : 1;
}
