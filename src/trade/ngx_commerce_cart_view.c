/*
 * A cart as its owner sees it: its lines from the zone (what the zone does not
 * know is loaded), what they cost now, what is to be said about them, JSON.
 */

#include "ngx_commerce_cart_view.h"
#include "ngx_commerce_admin_fields.h"


static void ngx_commerce_cart_resolve(ngx_commerce_cart_view_t *view);
static ngx_int_t ngx_commerce_cart_missing(ngx_commerce_cart_view_t *view,
    ngx_uint_t *missing);
static ngx_int_t ngx_commerce_cart_find(ngx_commerce_cart_view_t *view,
    ngx_uint_t n);
static void ngx_commerce_cart_resolved(ngx_commerce_variants_t *variants,
    ngx_int_t rc);
static void ngx_commerce_cart_row_item(ngx_commerce_cart_view_t *view,
    ngx_uint_t n);
static void ngx_commerce_cart_rules(ngx_commerce_cart_view_t *view);
static void ngx_commerce_cart_ready(ngx_commerce_rules_wait_t *wait,
    ngx_int_t rc);
static void ngx_commerce_cart_quote(ngx_commerce_cart_view_t *view);
static void ngx_commerce_cart_answer(ngx_commerce_cart_view_t *view);
static ngx_int_t ngx_commerce_cart_location(ngx_commerce_call_t *call,
    const commerce_uuid_t *id);


void
ngx_commerce_cart_show(ngx_commerce_call_t *call, ngx_commerce_cart_t *cart,
    ngx_uint_t status)
{
    ngx_uint_t                 n;
    ngx_commerce_cart_view_t  *view;

    n = cart->nlines;

    view = ngx_pcalloc(call->pool, sizeof(ngx_commerce_cart_view_t));
    if (view == NULL) {
        goto failed;
    }

    view->call = call;
    view->cart = cart;
    view->status = status;

    if (n) {
        view->items = ngx_pcalloc(call->pool,
                                  n * sizeof(ngx_commerce_cart_item_t));
        view->quote.items = ngx_palloc(call->pool,
                                       n * sizeof(ngx_commerce_stock_item_t *));
        view->quote.lines = ngx_pcalloc(call->pool,
                                        n * sizeof(commerce_price_line_t));

        if (view->items == NULL || view->quote.items == NULL
            || view->quote.lines == NULL)
        {
            goto failed;
        }
    }

    ngx_commerce_cart_resolve(view);
    return;

failed:

    ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
}


static void
ngx_commerce_cart_resolve(ngx_commerce_cart_view_t *view)
{
    ngx_uint_t            missing;
    ngx_commerce_call_t  *call;

    call = view->call;

    if (ngx_commerce_cart_missing(view, &missing) != NGX_OK) {
        goto failed;
    }

    if (missing == 0) {
        ngx_commerce_cart_rules(view);
        return;
    }

    view->variants.done = ngx_commerce_cart_resolved;
    view->variants.data = view;

    if (ngx_commerce_variants_load(&view->variants) == NGX_OK) {
        return;
    }

failed:

    ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
}


/* Looks every line up; the ids of those that the zone does not know. */

static ngx_int_t
ngx_commerce_cart_missing(ngx_commerce_cart_view_t *view, ngx_uint_t *missing)
{
    ngx_uint_t            i;
    commerce_uuid_t      *id;
    ngx_commerce_call_t  *call;
    ngx_commerce_cart_t  *cart;

    call = view->call;
    cart = view->cart;
    *missing = 0;

    for (i = 0; i < cart->nlines; i++) {

        if (ngx_commerce_cart_find(view, i) == NGX_OK) {
            continue;
        }

        if ((*missing)++ == 0
            && ngx_commerce_variants_init(&view->variants, call->trade,
                                          call->pool)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        id = ngx_array_push(&view->variants.ids);
        if (id == NULL) {
            return NGX_ERROR;
        }

        *id = cart->lines[i].variant_id;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_cart_find(ngx_commerce_cart_view_t *view, ngx_uint_t n)
{
    ngx_commerce_cart_item_t  *item;

    item = &view->items[n];

    if (ngx_commerce_stock_find_id(view->call->trade->zone,
                                   &view->cart->lines[n].variant_id,
                                   view->cart->currency, &item->item)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    item->known = 1;
    item->pooled = 1;

    return NGX_OK;
}


static void
ngx_commerce_cart_resolved(ngx_commerce_variants_t *variants, ngx_int_t rc)
{
    ngx_uint_t                 i;
    ngx_commerce_cart_view_t  *view;

    view = variants->data;

    if (rc != NGX_OK) {
        ngx_commerce_refuse(view->call, rc == NGX_BUSY ? COMMERCE_OVERLOADED
                                                       : COMMERCE_UNAVAILABLE,
                            NULL);
        return;
    }

    for (i = 0; i < view->cart->nlines; i++) {

        if (!view->items[i].known
            && ngx_commerce_cart_find(view, i) != NGX_OK)
        {
            ngx_commerce_cart_row_item(view, i);
        }
    }

    ngx_commerce_cart_rules(view);
}


/* The row that was read: the zone may be full, or have forgotten it again. */

static void
ngx_commerce_cart_row_item(ngx_commerce_cart_view_t *view, ngx_uint_t n)
{
    ngx_uint_t                 i;
    ngx_commerce_variant_t    *found;
    ngx_commerce_cart_item_t  *item;

    item = &view->items[n];
    found = view->variants.found.elts;

    for (i = 0; i < view->variants.found.nelts; i++) {

        if (commerce_uuid_compare(&view->cart->lines[n].variant_id,
                                  &found[i].id)
            == 0)
        {
            ngx_commerce_stock_item(&found[i], view->cart->currency,
                                    &item->item);
            item->known = 1;
            return;
        }
    }
}


/* Without a country there is no tax, and no method. */

static void
ngx_commerce_cart_rules(ngx_commerce_cart_view_t *view)
{
    ngx_int_t  rc;

    if (view->cart->country.len == 0) {
        ngx_commerce_cart_quote(view);
        return;
    }

    view->wait.ready = ngx_commerce_cart_ready;
    view->wait.data = view;

    rc = ngx_commerce_rules_current(view->call->trade, &view->wait);

    if (rc != NGX_AGAIN) {
        ngx_commerce_cart_ready(&view->wait, rc);
    }
}


static void
ngx_commerce_cart_ready(ngx_commerce_rules_wait_t *wait, ngx_int_t rc)
{
    ngx_commerce_cart_view_t  *view;

    view = wait->data;

    if (rc != NGX_OK) {
        ngx_commerce_refuse(view->call, COMMERCE_UNAVAILABLE, NULL);
        return;
    }

    ngx_commerce_cart_quote(view);
}


/* Lines that cannot be bought now cost nothing, and are warned of. */

static void
ngx_commerce_cart_quote(ngx_commerce_cart_view_t *view)
{
    ngx_uint_t                 i;
    ngx_commerce_cart_t       *cart;
    ngx_commerce_quote_t      *quote;
    ngx_commerce_cart_item_t  *item;

    cart = view->cart;
    quote = &view->quote;

    for (i = 0; i < cart->nlines; i++) {
        item = &view->items[i];

        if (!item->known || !item->item.for_sale
            || ngx_commerce_stock_item_price(&item->item,
                                             cart->lines[i].quantity)
               < 0)
        {
            continue;
        }

        item->line = &quote->lines[quote->nlines];
        item->line->quantity = cart->lines[i].quantity;
        quote->items[quote->nlines++] = &item->item;
    }

    quote->currency = cart->currency;
    quote->country = cart->country;
    quote->region = cart->region;
    quote->method = cart->method;
    quote->coupon = cart->has_coupon ? &cart->coupon : NULL;

    view->quoted = ngx_commerce_quote(view->call->trade, quote);

    ngx_commerce_cart_answer(view);
}


static void
ngx_commerce_cart_answer(ngx_commerce_cart_view_t *view)
{
    ngx_str_t             body;
    ngx_commerce_call_t  *call;

    call = view->call;

    if (ngx_commerce_cart_json(view, &body) != NGX_OK
        || ngx_commerce_etag(call, view->cart->version) != NGX_OK
        || (view->status == 201
            && ngx_commerce_cart_location(call, &view->cart->id) != NGX_OK))
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    ngx_commerce_answer(call, view->status, &body);
}


static ngx_int_t
ngx_commerce_cart_location(ngx_commerce_call_t *call,
    const commerce_uuid_t *id)
{
    u_char  *p;

    p = ngx_pnalloc(call->pool,
                    sizeof("/v1/carts/") - 1 + COMMERCE_UUID_TEXT);
    if (p == NULL) {
        return NGX_ERROR;
    }

    call->location.data = p;
    p = ngx_cpymem(p, "/v1/carts/", sizeof("/v1/carts/") - 1);
    p = commerce_uuid_format(p, id);
    call->location.len = p - call->location.data;

    return NGX_OK;
}
