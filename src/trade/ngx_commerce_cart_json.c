/*
 * A cart's JSON, and the warnings in it.
 */

#include "ngx_commerce_cart_view.h"


static void ngx_commerce_cart_json_lines(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w);
static void ngx_commerce_cart_json_amounts(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w, const commerce_price_line_t *line);
static void ngx_commerce_cart_json_amount(commerce_json_writer_t *w,
    const char *name, int64_t amount, ngx_uint_t known);
static void ngx_commerce_cart_json_totals(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w);
static void ngx_commerce_cart_json_details(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w);
static void ngx_commerce_cart_warnings(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w);
static void ngx_commerce_cart_warn_line(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w, ngx_uint_t n);
static void ngx_commerce_cart_warn_details(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w);
static void ngx_commerce_cart_warn(commerce_json_writer_t *w,
    const char *code, const char *target, ngx_int_t n, const char *message);
static int64_t ngx_commerce_cart_available(ngx_commerce_cart_view_t *view,
    ngx_commerce_cart_item_t *item);


ngx_int_t
ngx_commerce_cart_json(ngx_commerce_cart_view_t *view, ngx_str_t *body)
{
    u_char                   token[NGX_COMMERCE_TOKEN_LEN];
    ngx_commerce_call_t     *call;
    ngx_commerce_cart_t     *cart;
    commerce_json_writer_t   w;

    call = view->call;
    cart = view->cart;

    commerce_json_writer_init(&w, 768 + 256 * cart->nlines,
                              ngx_commerce_palloc, call->pool);

    commerce_json_object_open(&w);
    commerce_json_key(&w, "id");
    commerce_json_uuid(&w, &cart->id);

    if (view->status == 201) {
        if (ngx_commerce_token_sign(call->trade->conf->token_keys, "cart",
                                    &cart->id, token)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        commerce_json_key(&w, "token");
        commerce_json_string(&w, token, NGX_COMMERCE_TOKEN_LEN);
    }

    commerce_json_key(&w, "version");
    commerce_json_integer(&w, cart->version);
    commerce_json_key(&w, "state");
    commerce_json_cstring(&w, cart->state == NGX_COMMERCE_CART_ORDERED
                              ? "ordered" : "open");
    commerce_json_key(&w, "currency");
    commerce_json_string(&w, cart->currency, COMMERCE_CURRENCY_LEN);

    ngx_commerce_cart_json_lines(view, &w);
    ngx_commerce_cart_json_totals(view, &w);
    ngx_commerce_cart_json_details(view, &w);
    ngx_commerce_cart_warnings(view, &w);

    commerce_json_key(&w, "created_at");
    commerce_json_time(&w, cart->created_at);
    commerce_json_key(&w, "expires_at");
    commerce_json_time(&w, cart->expires_at);

    if (cart->has_order) {
        commerce_json_key(&w, "order_id");
        commerce_json_uuid(&w, &cart->order_id);
    }

    commerce_json_object_close(&w);

    if (w.failed) {
        return NGX_ERROR;
    }

    body->data = w.start;
    body->len = w.last - w.start;

    return NGX_OK;
}


static void
ngx_commerce_cart_json_lines(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w)
{
    ngx_uint_t                 i;
    ngx_commerce_cart_line_t  *line;
    ngx_commerce_cart_item_t  *item;

    commerce_json_key(w, "lines");
    commerce_json_array_open(w);

    for (i = 0; i < view->cart->nlines; i++) {
        line = &view->cart->lines[i];
        item = &view->items[i];

        commerce_json_object_open(w);
        commerce_json_key(w, "variant_id");
        commerce_json_uuid(w, &line->variant_id);
        commerce_json_key(w, "sku");
        commerce_json_string(w, item->item.sku, item->item.sku_len);
        commerce_json_key(w, "title");
        commerce_json_string(w, item->item.title, item->item.title_len);
        commerce_json_key(w, "quantity");
        commerce_json_integer(w, line->quantity);

        ngx_commerce_cart_json_amounts(view, w, item->line);

        commerce_json_object_close(w);
    }

    commerce_json_array_close(w);
}


/* null where the line cannot be bought, or the sum is no amount any more */

static void
ngx_commerce_cart_json_amounts(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w, const commerce_price_line_t *line)
{
    ngx_uint_t  priced;

    priced = line && view->quoted != NGX_COMMERCE_QUOTE_OVERFLOW;

    ngx_commerce_cart_json_amount(w, "unit_price",
                                  line ? line->unit_price : 0, line != NULL);
    ngx_commerce_cart_json_amount(w, "total", priced ? line->total : 0,
                                  priced);

    if (priced && line->discount) {
        ngx_commerce_cart_json_amount(w, "discount", line->discount, 1);
    }

    if (priced && line->tax) {
        ngx_commerce_cart_json_amount(w, "tax", line->tax, 1);
    }
}


static void
ngx_commerce_cart_json_amount(commerce_json_writer_t *w, const char *name,
    int64_t amount, ngx_uint_t known)
{
    commerce_json_key(w, name);

    if (known) {
        commerce_json_integer(w, amount);

    } else {
        commerce_json_null(w);
    }
}


static void
ngx_commerce_cart_json_totals(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w)
{
    ngx_uint_t         known;
    commerce_price_t  *price;

    price = &view->quote.price;
    known = view->quoted != NGX_COMMERCE_QUOTE_OVERFLOW;

    ngx_commerce_cart_json_amount(w, "subtotal", price->subtotal, known);
    ngx_commerce_cart_json_amount(w, "discount", price->discount, known);
    ngx_commerce_cart_json_amount(w, "tax", price->tax, known);
    ngx_commerce_cart_json_amount(w, "tax_included", price->tax_included,
                                  known);
    ngx_commerce_cart_json_amount(w, "shipping", price->shipping, known);
    ngx_commerce_cart_json_amount(w, "total", price->total, known);
}


static void
ngx_commerce_cart_json_details(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w)
{
    ngx_commerce_cart_t  *cart;

    cart = view->cart;

    if (cart->code.len) {
        commerce_json_key(w, "coupon");
        commerce_json_string(w, cart->code.data, cart->code.len);
    }

    if (cart->email.len) {
        commerce_json_key(w, "email");
        commerce_json_string(w, cart->email.data, cart->email.len);
    }

    if (cart->delivery.len) {
        commerce_json_key(w, "delivery");
        commerce_json_raw(w, cart->delivery.data, cart->delivery.len);
    }
}


static void
ngx_commerce_cart_warnings(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w)
{
    ngx_uint_t  i;

    commerce_json_key(w, "warnings");
    commerce_json_array_open(w);

    if (view->cart->state == NGX_COMMERCE_CART_OPEN) {

        for (i = 0; i < view->cart->nlines; i++) {
            ngx_commerce_cart_warn_line(view, w, i);
        }

        ngx_commerce_cart_warn_details(view, w);
    }

    commerce_json_array_close(w);
}


static void
ngx_commerce_cart_warn_line(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w, ngx_uint_t n)
{
    int64_t                    available;
    ngx_commerce_cart_line_t  *line;
    ngx_commerce_cart_item_t  *item;

    line = &view->cart->lines[n];
    item = &view->items[n];

    if (item->line == NULL) {
        ngx_commerce_cart_warn(w, "unavailable", "/lines/", n,
                               "it is not sold any more");
        commerce_json_object_close(w);
        return;
    }

    if (item->line->unit_price != line->seen_price) {
        ngx_commerce_cart_warn(w, "price_changed", "/lines/", n,
                               "its price is not what it was");
        commerce_json_key(w, "unit_price");
        commerce_json_integer(w, item->line->unit_price);
        commerce_json_key(w, "previous");
        commerce_json_integer(w, line->seen_price);
        commerce_json_object_close(w);
    }

    available = ngx_commerce_cart_available(view, item);

    if (available >= line->quantity) {
        return;
    }

    if (available == 0) {
        ngx_commerce_cart_warn(w, "out_of_stock", "/lines/", n,
                               "none is left");

    } else {
        ngx_commerce_cart_warn(w, "insufficient_stock", "/lines/", n,
                               "not that many are left");
    }

    commerce_json_key(w, "available");
    commerce_json_integer(w, available);
    commerce_json_object_close(w);
}


static void
ngx_commerce_cart_warn_details(ngx_commerce_cart_view_t *view,
    commerce_json_writer_t *w)
{
    const char           *reason;
    ngx_commerce_cart_t  *cart;

    cart = view->cart;

    if (cart->code.len) {
        reason = cart->has_coupon ? view->quote.coupon_reason
                                  : "unknown_coupon";

        if (reason) {
            ngx_commerce_cart_warn(w, reason, "/coupon", -1,
                                   "the coupon gives no discount now");
            commerce_json_object_close(w);
        }
    }

    if (view->quoted == NGX_COMMERCE_QUOTE_METHOD) {
        ngx_commerce_cart_warn(w, view->quote.reason, "/delivery/method", -1,
                               "there is no such shipping method now");
        commerce_json_object_close(w);
    }

    if (view->quoted == NGX_COMMERCE_QUOTE_OVERFLOW) {
        ngx_commerce_cart_warn(w, "out_of_range", "/total", -1,
                               "the total is more than an amount can be");
        commerce_json_object_close(w);
    }
}


/* Opens the warning; n < 0: the target is whole. */

static void
ngx_commerce_cart_warn(commerce_json_writer_t *w, const char *code,
    const char *target, ngx_int_t n, const char *message)
{
    u_char  pointer[sizeof("/delivery/method") + NGX_INT_T_LEN], *p;

    p = ngx_cpymem(pointer, target, ngx_strlen(target));

    if (n >= 0) {
        p = ngx_sprintf(p, "%i", n);
    }

    commerce_json_object_open(w);
    commerce_json_key(w, "code");
    commerce_json_cstring(w, code);
    commerce_json_key(w, "target");
    commerce_json_string(w, pointer, p - pointer);
    commerce_json_key(w, "message");
    commerce_json_cstring(w, message);
}


/*
 * What this instance knows, or INT64_MAX: only an order finds out for sure,
 * and a warning that is wrong is worse than none.
 */

static int64_t
ngx_commerce_cart_available(ngx_commerce_cart_view_t *view,
    ngx_commerce_cart_item_t *item)
{
    ngx_commerce_stock_view_t  stock;

    if (!item->pooled
        || ngx_commerce_stock_look(view->call->trade->zone, &item->item.ref,
                                   &stock)
           != NGX_OK)
    {
        return INT64_MAX;
    }

    if (stock.sold_out) {
        return 0;
    }

    if (stock.others) {
        return INT64_MAX;
    }

    return (int64_t) stock.units + stock.elsewhere
           + (stock.free > 0 ? stock.free : 0);
}
