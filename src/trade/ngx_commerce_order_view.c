/*
 * An order's rows, and its JSON.
 */

#include "ngx_commerce_order.h"


static ngx_int_t ngx_commerce_order_copy(ngx_pool_t *pool, PGresult *res,
    int row, int col, ngx_str_t *to);
static void ngx_commerce_order_line_json(commerce_json_writer_t *w,
    ngx_commerce_order_line_t *line);
static void ngx_commerce_order_number(commerce_json_writer_t *w,
    const char *key, int64_t value);
static void ngx_commerce_order_text(commerce_json_writer_t *w,
    const char *key, ngx_str_t *value);
static void ngx_commerce_order_raw(commerce_json_writer_t *w,
    const char *key, ngx_str_t *value);


ngx_int_t
ngx_commerce_order_row(ngx_pool_t *pool, PGresult *res, int row,
    ngx_commerce_order_view_t *view)
{
    ngx_uint_t  i;

    const struct {
        int         col;
        ngx_str_t  *to;
    } texts[] = {
        { 2, &view->state },
        { 4, &view->currency },
        { 10, &view->email },
        { 11, &view->delivery },
        { 17, &view->coupon },
        { 18, &view->shipments },
        { 19, &view->refunds },
        { 20, &view->payments }
    };

    ngx_commerce_pg_get_uuid(res, row, 0, &view->id);
    view->version = ngx_commerce_pg_get_int4(res, row, 3);
    view->totals.subtotal = ngx_commerce_pg_get_int8(res, row, 5);
    view->totals.discount = ngx_commerce_pg_get_int8(res, row, 6);
    view->totals.tax = ngx_commerce_pg_get_int8(res, row, 7);
    view->totals.shipping = ngx_commerce_pg_get_int8(res, row, 8);
    view->totals.total = ngx_commerce_pg_get_int8(res, row, 9);
    view->created_at = ngx_commerce_pg_get_int8(res, row, 12);
    view->expires_at = ngx_commerce_pg_get_int8(res, row, 13);
    view->has_customer = !ngx_commerce_pg_is_null(res, row, 14);
    ngx_commerce_pg_get_uuid(res, row, 14, &view->customer_id);
    view->tax_included = ngx_commerce_pg_get_int8(res, row, 15);
    view->refunded = ngx_commerce_pg_get_int8(res, row, 16);

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (ngx_commerce_order_copy(pool, res, row, texts[i].col, texts[i].to)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_commerce_order_lines(ngx_pool_t *pool, PGresult *res,
    ngx_commerce_order_view_t *view)
{
    int                         row, n;
    ngx_commerce_order_line_t  *line;

    n = PQntuples(res);

    line = ngx_pcalloc(pool, (n + 1) * sizeof(ngx_commerce_order_line_t));
    if (line == NULL) {
        return NGX_ERROR;
    }

    view->lines = line;
    view->nlines = n;

    for (row = 0; row < n; row++, line++) {
        ngx_commerce_pg_get_uuid(res, row, 0, &line->variant_id);
        line->quantity = ngx_commerce_pg_get_int4(res, row, 3);
        line->unit_price = ngx_commerce_pg_get_int8(res, row, 4);
        line->discount = ngx_commerce_pg_get_int8(res, row, 5);
        line->tax = ngx_commerce_pg_get_int8(res, row, 6);
        line->fulfilled = ngx_commerce_pg_get_int4(res, row, 7);
        line->refunded = ngx_commerce_pg_get_int4(res, row, 8);

        if (ngx_commerce_order_copy(pool, res, row, 1, &line->sku) != NGX_OK
            || ngx_commerce_order_copy(pool, res, row, 2, &line->title)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_order_copy(ngx_pool_t *pool, PGresult *res, int row, int col,
    ngx_str_t *to)
{
    ngx_str_t  text;

    text = ngx_commerce_pg_get_text(res, row, col);

    if (text.len == 0) {
        ngx_str_null(to);
        return NGX_OK;
    }

    to->data = ngx_pstrdup(pool, &text);
    to->len = text.len;

    return to->data ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_commerce_order_json(ngx_commerce_call_t *call,
    ngx_commerce_order_view_t *view, ngx_str_t *body)
{
    ngx_uint_t              i;
    commerce_json_writer_t  w;

    commerce_json_writer_init(&w, 640 + 288 * view->nlines,
                              ngx_commerce_palloc, call->pool);

    commerce_json_object_open(&w);

    if (ngx_commerce_order_head(call, view, &w) != NGX_OK) {
        return NGX_ERROR;
    }

    commerce_json_key(&w, "lines");
    commerce_json_array_open(&w);

    for (i = 0; i < view->nlines; i++) {
        ngx_commerce_order_line_json(&w, &view->lines[i]);
    }

    commerce_json_array_close(&w);

    ngx_commerce_order_tail(call, view, &w);

    commerce_json_object_close(&w);

    if (w.failed) {
        return NGX_ERROR;
    }

    body->data = w.start;
    body->len = w.last - w.start;

    return NGX_OK;
}


/* Staff act under their own scopes, not as the guest: no token. */

ngx_int_t
ngx_commerce_order_head(ngx_commerce_call_t *call,
    ngx_commerce_order_view_t *view, commerce_json_writer_t *w)
{
    u_char  token[NGX_COMMERCE_TOKEN_LEN];

    commerce_json_key(w, "id");
    commerce_json_uuid(w, &view->id);

    if (!call->staff) {
        if (ngx_commerce_token_sign(call->trade->conf->token_keys, "order",
                                    &view->id, token)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        commerce_json_key(w, "token");
        commerce_json_string(w, token, NGX_COMMERCE_TOKEN_LEN);
    }

    ngx_commerce_order_text(w, "state", &view->state);
    ngx_commerce_order_text(w, "currency", &view->currency);

    return NGX_OK;
}


static void
ngx_commerce_order_line_json(commerce_json_writer_t *w,
    ngx_commerce_order_line_t *line)
{
    commerce_json_object_open(w);
    commerce_json_key(w, "variant_id");
    commerce_json_uuid(w, &line->variant_id);
    commerce_json_key(w, "sku");
    commerce_json_string(w, line->sku.data, line->sku.len);
    commerce_json_key(w, "title");
    commerce_json_string(w, line->title.data, line->title.len);
    ngx_commerce_order_number(w, "quantity", line->quantity);
    ngx_commerce_order_number(w, "unit_price", line->unit_price);
    ngx_commerce_order_number(w, "total", line->unit_price * line->quantity);
    ngx_commerce_order_number(w, "discount", line->discount);
    ngx_commerce_order_number(w, "tax", line->tax);
    ngx_commerce_order_number(w, "fulfilled", line->fulfilled);
    ngx_commerce_order_number(w, "refunded", line->refunded);
    commerce_json_object_close(w);
}


void
ngx_commerce_order_tail(ngx_commerce_call_t *call,
    ngx_commerce_order_view_t *view, commerce_json_writer_t *w)
{
    ngx_commerce_order_number(w, "subtotal", view->totals.subtotal);
    ngx_commerce_order_number(w, "discount", view->totals.discount);
    ngx_commerce_order_number(w, "tax", view->totals.tax);
    ngx_commerce_order_number(w, "tax_included", view->tax_included);
    ngx_commerce_order_number(w, "shipping", view->totals.shipping);
    ngx_commerce_order_number(w, "total", view->totals.total);
    ngx_commerce_order_number(w, "refunded", view->refunded);

    ngx_commerce_order_text(w, "coupon", &view->coupon);
    ngx_commerce_order_text(w, "email", &view->email);

    if (view->has_customer) {
        commerce_json_key(w, "customer_id");
        commerce_json_uuid(w, &view->customer_id);
    }

    ngx_commerce_order_raw(w, "delivery", &view->delivery);
    ngx_commerce_order_raw(w, "shipments", &view->shipments);
    ngx_commerce_order_raw(w, "refunds", &view->refunds);

    if (call->staff) {
        ngx_commerce_order_raw(w, "payments", &view->payments);
    }

    ngx_commerce_order_number(w, "version", view->version);
    commerce_json_key(w, "created_at");
    commerce_json_time(w, view->created_at);
    commerce_json_key(w, "expires_at");
    commerce_json_time(w, view->expires_at);
}


static void
ngx_commerce_order_number(commerce_json_writer_t *w, const char *key,
    int64_t value)
{
    commerce_json_key(w, key);
    commerce_json_integer(w, value);
}


/* What is empty is not there. */

static void
ngx_commerce_order_text(commerce_json_writer_t *w, const char *key,
    ngx_str_t *value)
{
    if (value->len) {
        commerce_json_key(w, key);
        commerce_json_string(w, value->data, value->len);
    }
}


static void
ngx_commerce_order_raw(commerce_json_writer_t *w, const char *key,
    ngx_str_t *value)
{
    if (value->len) {
        commerce_json_key(w, key);
        commerce_json_raw(w, value->data, value->len);
    }
}
