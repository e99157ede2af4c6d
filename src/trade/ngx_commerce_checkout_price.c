/*
 * What an order costs, and whether it can be had at that.
 */

#include "ngx_commerce_checkout.h"


static void ngx_commerce_checkout_merge(ngx_commerce_checkout_t *co);
static ngx_int_t ngx_commerce_checkout_for_sale(ngx_commerce_checkout_t *co);
static ngx_int_t ngx_commerce_checkout_rules(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_ruled(ngx_commerce_rules_wait_t *wait,
    ngx_int_t rc);
static ngx_int_t ngx_commerce_checkout_quote_init(
    ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_quote(ngx_commerce_checkout_t *co);
static ngx_int_t ngx_commerce_checkout_coupon(ngx_commerce_checkout_t *co);
static ngx_int_t ngx_commerce_checkout_who(ngx_commerce_checkout_t *co);
static ngx_int_t ngx_commerce_checkout_expected(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_deny_at(ngx_commerce_checkout_t *co,
    commerce_problem_e problem, const char *path, const char *code,
    const char *message);


void
ngx_commerce_checkout_price(ngx_commerce_checkout_t *co)
{
    ngx_commerce_checkout_merge(co);

    if (ngx_commerce_checkout_for_sale(co) != NGX_OK) {
        return;
    }

    if (ngx_commerce_checkout_rules(co) == NGX_OK) {
        ngx_commerce_checkout_quote(co);
    }
}


/* Lines of one variant become one: demand is summed before any check. */

static int ngx_libc_cdecl
ngx_commerce_checkout_cmp_lines(const void *one, const void *two)
{
    const ngx_commerce_checkout_line_t  *a = one;
    const ngx_commerce_checkout_line_t  *b = two;

    return commerce_uuid_compare(&a->item.id, &b->item.id);
}


static int ngx_libc_cdecl
ngx_commerce_checkout_cmp_asked(const void *one, const void *two)
{
    const ngx_commerce_checkout_line_t  *a = one;
    const ngx_commerce_checkout_line_t  *b = two;

    return (a->asked > b->asked) - (a->asked < b->asked);
}


static void
ngx_commerce_checkout_merge(ngx_commerce_checkout_t *co)
{
    ngx_uint_t                     i, n;
    ngx_commerce_checkout_line_t  *lines;

    if (co->nlines == 1) {
        return;
    }

    lines = co->lines;

    ngx_qsort(lines, co->nlines, sizeof(ngx_commerce_checkout_line_t),
              ngx_commerce_checkout_cmp_lines);

    for (n = 0, i = 1; i < co->nlines; i++) {

        if (commerce_uuid_compare(&lines[n].item.id, &lines[i].item.id) == 0) {
            lines[n].quantity += lines[i].quantity;
            lines[n].asked = ngx_min(lines[n].asked, lines[i].asked);
            continue;
        }

        if (++n != i) {
            lines[n] = lines[i];
        }
    }

    co->nlines = n + 1;

    ngx_qsort(lines, co->nlines, sizeof(ngx_commerce_checkout_line_t),
              ngx_commerce_checkout_cmp_asked);
}


/* NGX_ERROR: it is not, and the call is on its way to hear so. */

static ngx_int_t
ngx_commerce_checkout_for_sale(ngx_commerce_checkout_t *co)
{
    ngx_uint_t                     i;
    const char                    *path;
    commerce_json_errors_t        *errors;
    ngx_commerce_checkout_line_t  *line;

    errors = NULL;

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        if (line->item.for_sale
            && ngx_commerce_stock_item_price(&line->item, line->quantity) >= 0
            && line->quantity <= NGX_COMMERCE_QUANTITY_MAX)
        {
            continue;
        }

        if (errors == NULL) {
            errors = ngx_commerce_checkout_errors(co);
            if (errors == NULL) {
                return NGX_ERROR;
            }
        }

        path = commerce_json_path(errors, "", "lines", line->asked);

        if (!line->item.for_sale) {
            commerce_json_error_add(errors, path, NULL, "unknown_variant",
                                    "this shop does not sell it");

        } else if (line->quantity > NGX_COMMERCE_QUANTITY_MAX) {
            commerce_json_error_add(errors, path, NULL, "out_of_range",
                                    "more units than one line can hold");

        } else {
            commerce_json_error_add(errors, path, NULL, "no_price",
                                    "it has no price in this currency");
        }
    }

    if (errors) {
        co->call->errors = errors;
        ngx_commerce_checkout_deny(co, COMMERCE_INVALID_REQUEST, NULL);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* NGX_OK: no rules are needed, or they are here.  NGX_AGAIN: they will be. */

static ngx_int_t
ngx_commerce_checkout_rules(ngx_commerce_checkout_t *co)
{
    ngx_int_t  rc;

    if (co->to.delivery.country.len == 0) {
        return NGX_OK;
    }

    co->rules.ready = ngx_commerce_checkout_ruled;
    co->rules.data = co;

    rc = ngx_commerce_rules_current(co->trade, &co->rules);

    if (rc == NGX_ERROR) {
        ngx_commerce_checkout_refuse(co, COMMERCE_UNAVAILABLE,
                                     "the database is away");
    }

    return rc;
}


static void
ngx_commerce_checkout_ruled(ngx_commerce_rules_wait_t *wait, ngx_int_t rc)
{
    ngx_commerce_checkout_t  *co;

    co = wait->data;

    if (rc != NGX_OK) {
        ngx_commerce_checkout_refuse(co, COMMERCE_UNAVAILABLE,
                                     "the database is away");
        return;
    }

    ngx_commerce_checkout_quote(co);
}


static ngx_int_t
ngx_commerce_checkout_quote_init(ngx_commerce_checkout_t *co)
{
    ngx_uint_t             i;
    ngx_commerce_quote_t  *quote;

    quote = &co->quote;

    /* the lines may be others than at the last try */

    quote->lines = ngx_pcalloc(co->call->pool,
                               co->nlines * sizeof(commerce_price_line_t));
    quote->items = ngx_palloc(co->call->pool,
                              co->nlines * sizeof(ngx_commerce_stock_item_t *));

    if (quote->lines == NULL || quote->items == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < co->nlines; i++) {
        quote->lines[i].quantity = co->lines[i].quantity;
        quote->items[i] = &co->lines[i].item;
    }

    quote->nlines = co->nlines;
    quote->currency = co->currency;
    quote->country = co->to.delivery.country;
    quote->region = co->to.delivery.region;
    quote->method = co->to.delivery.method;
    quote->coupon = co->cart && co->cart->cart.has_coupon
                    ? &co->cart->cart.coupon : NULL;

    return NGX_OK;
}


static void
ngx_commerce_checkout_quote(ngx_commerce_checkout_t *co)
{
    if (ngx_commerce_checkout_quote_init(co) != NGX_OK
        || ngx_commerce_checkout_who(co) != NGX_OK)
    {
        ngx_commerce_checkout_refuse(co, COMMERCE_INTERNAL, NULL);
        return;
    }

    switch (ngx_commerce_quote(co->trade, &co->quote)) {

    case NGX_COMMERCE_QUOTE_OVERFLOW:
        ngx_commerce_checkout_deny_at(co, COMMERCE_INVALID_REQUEST, "/lines",
            "out_of_range", "the total is more than an amount can be");
        return;

    case NGX_COMMERCE_QUOTE_METHOD:
        ngx_commerce_checkout_deny_at(co, COMMERCE_INVALID_REQUEST,
            "/shipping/method", co->quote.reason,
            "this shop does not send it there that way");
        return;

    default:
        break;
    }

    if (ngx_commerce_checkout_coupon(co) == NGX_OK
        && ngx_commerce_checkout_expected(co) == NGX_OK)
    {
        ngx_commerce_checkout_reserve(co);
    }
}


/* NGX_ERROR: the coupon of the cart stands in the way. */

static ngx_int_t
ngx_commerce_checkout_coupon(ngx_commerce_checkout_t *co)
{
    const char  *reason;

    if (co->quote.coupon == NULL
        && (co->cart == NULL || co->cart->cart.code.len == 0))
    {
        return NGX_OK;
    }

    reason = co->quote.coupon ? co->quote.coupon_reason : "unknown_coupon";

    /* refused by the statement, and neither it nor the cart has moved: the
       uses are gone, perhaps only those of this customer */

    if (reason == NULL && co->coupon_version == co->quote.coupon->version
        && co->cart_version == co->cart->cart.version)
    {
        reason = "coupon_used_up";
    }

    if (reason) {
        ngx_commerce_checkout_deny_at(co, COMMERCE_CONFLICT, "/coupon",
            reason, "the coupon does not apply: take it out of the cart");
        return NGX_ERROR;
    }

    if (co->quote.coupon->per_customer && co->who.len == 0) {
        ngx_commerce_checkout_deny_at(co, COMMERCE_INVALID_REQUEST, "/email",
            "required", "the coupon is for a number of times by customer");
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* An address is one customer whatever its case. */

static ngx_int_t
ngx_commerce_checkout_who(ngx_commerce_checkout_t *co)
{
    u_char  *p;

    ngx_str_null(&co->who);

    if (co->cart == NULL) {
        return NGX_OK;
    }

    if (co->cart->cart.has_customer) {
        p = ngx_pnalloc(co->call->pool, 2 + COMMERCE_UUID_TEXT);
        if (p == NULL) {
            return NGX_ERROR;
        }

        co->who.data = p;
        *p++ = 'c';
        *p++ = ':';
        p = commerce_uuid_format(p, &co->cart->cart.customer_id);
        co->who.len = p - co->who.data;

        return NGX_OK;
    }

    if (co->to.email.len == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(co->call->pool, co->to.email.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_strlow(p, co->to.email.data, co->to.email.len);
    co->who.data = p;
    co->who.len = co->to.email.len;

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_checkout_expected(ngx_commerce_checkout_t *co)
{
    u_char   *p;
    int64_t   total;

    total = co->quote.price.total;

    if (co->expected_total < 0 || co->expected_total == total) {
        return NGX_OK;
    }

    p = ngx_pnalloc(co->call->pool, sizeof("\"total\":,\"currency\":\"\"")
                    + NGX_INT64_LEN + COMMERCE_CURRENCY_LEN);
    if (p) {
        co->call->extra.data = p;
        co->call->extra.len = ngx_sprintf(p,
                                          "\"total\":%L,\"currency\":\"%s\"",
                                          total, co->currency)
                              - p;
    }

    ngx_commerce_checkout_deny(co, COMMERCE_PRICE_CHANGED,
                               "the total is not what was expected");
    return NGX_ERROR;
}


static void
ngx_commerce_checkout_deny_at(ngx_commerce_checkout_t *co,
    commerce_problem_e problem, const char *path, const char *code,
    const char *message)
{
    commerce_json_errors_t  *errors;

    errors = ngx_commerce_checkout_errors(co);
    if (errors == NULL) {
        return;
    }

    commerce_json_error_add(errors, path, NULL, code, message);
    co->call->errors = errors;

    ngx_commerce_checkout_deny(co, problem,
                               problem == COMMERCE_CONFLICT ? message : NULL);
}
