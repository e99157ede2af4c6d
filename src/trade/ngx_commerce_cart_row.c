/*
 * Carts as the database has them, and the reader of one.
 */

#include "ngx_commerce_cart_op.h"


static ngx_int_t ngx_commerce_cart_text(ngx_pool_t *pool, PGresult *res,
    int row, int col, ngx_str_t *to);
static ngx_int_t ngx_commerce_cart_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_cart_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_cart_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


static ngx_int_t
ngx_commerce_cart_text(ngx_pool_t *pool, PGresult *res, int row, int col,
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
ngx_commerce_cart_row(ngx_pool_t *pool, PGresult *res, int row,
    ngx_commerce_cart_t *cart)
{
    ngx_int_t  rc;
    ngx_str_t  text;

    text = ngx_commerce_pg_get_text(res, row, 2);

    if (text.len == sizeof("ordered") - 1) {
        cart->state = NGX_COMMERCE_CART_ORDERED;

    } else if (ngx_commerce_pg_get_bool(res, row, 3)) {
        cart->state = NGX_COMMERCE_CART_EXPIRED;

    } else {
        cart->state = NGX_COMMERCE_CART_OPEN;
    }

    ngx_commerce_pg_get_uuid(res, row, 1, &cart->id);
    cart->version = ngx_commerce_pg_get_int4(res, row, 4);

    text = ngx_commerce_pg_get_text(res, row, 5);
    ngx_memcpy(cart->currency, text.data,
               ngx_min(text.len, COMMERCE_CURRENCY_LEN));

    cart->has_customer = !ngx_commerce_pg_is_null(res, row, 6);
    ngx_commerce_pg_get_uuid(res, row, 6, &cart->customer_id);
    cart->has_order = !ngx_commerce_pg_is_null(res, row, 12);
    ngx_commerce_pg_get_uuid(res, row, 12, &cart->order_id);
    cart->created_at = ngx_commerce_pg_get_int8(res, row, 13);
    cart->expires_at = ngx_commerce_pg_get_int8(res, row, 14);

    if (ngx_commerce_cart_text(pool, res, row, 7, &cart->email) != NGX_OK
        || ngx_commerce_cart_text(pool, res, row, 8, &cart->delivery)
           != NGX_OK
        || ngx_commerce_cart_text(pool, res, row, 9, &cart->country) != NGX_OK
        || ngx_commerce_cart_text(pool, res, row, 10, &cart->region) != NGX_OK
        || ngx_commerce_cart_text(pool, res, row, 11, &cart->method) != NGX_OK
        || ngx_commerce_cart_text(pool, res, row, 15, &cart->code) != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_commerce_coupon_row(res, row, 16, pool, &cart->coupon);
    cart->has_coupon = rc == NGX_OK;

    return rc == NGX_ERROR ? NGX_ERROR : NGX_OK;
}


ngx_int_t
ngx_commerce_cart_line_rows(ngx_pool_t *pool, PGresult *res, int *row,
    int32_t n, ngx_commerce_cart_t *cart)
{
    int                        last, rows;
    ngx_commerce_cart_line_t  *line;

    rows = PQntuples(res);

    for (last = *row;
         last < rows && ngx_commerce_pg_get_int4(res, last, 0) == n;
         last++)
    { /* void */ }

    cart->nlines = last - *row;

    if (cart->nlines == 0) {
        return NGX_OK;
    }

    line = ngx_palloc(pool, cart->nlines * sizeof(ngx_commerce_cart_line_t));
    if (line == NULL) {
        cart->nlines = 0;
        return NGX_ERROR;
    }

    cart->lines = line;

    for ( /* void */ ; *row < last; (*row)++, line++) {
        ngx_commerce_pg_get_uuid(res, *row, 1, &line->variant_id);
        line->quantity = ngx_commerce_pg_get_int4(res, *row, 2);
        line->seen_price = ngx_commerce_pg_get_int8(res, *row, 3);
    }

    return NGX_OK;
}


void
ngx_commerce_cart_read(ngx_commerce_cart_load_t *load)
{
    ngx_commerce_trade_t  *trade;

    trade = load->call->trade;

    ngx_memzero(&load->op, sizeof(ngx_commerce_pg_op_t));
    ngx_memzero(&load->cart, sizeof(ngx_commerce_cart_t));
    load->found = 0;
    load->failed = 0;

    load->op.build = ngx_commerce_cart_build;
    load->op.result = ngx_commerce_cart_result;
    load->op.done = ngx_commerce_cart_done;
    load->op.data = load;
    load->op.deadline = ngx_current_msec + trade->conf->queue_timeout;

    if (ngx_commerce_pg_submit(trade->reads, &load->op) != NGX_OK) {
        load->problem = COMMERCE_OVERLOADED;
        load->done(load, NGX_ERROR);
    }
}


static ngx_int_t
ngx_commerce_cart_build(ngx_commerce_pg_op_t *op, ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_pg_query_t   *cart, *lines;
    ngx_commerce_cart_load_t  *load;

    (void) conn;

    load = op->data;

    cart = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_CART_ONE, 2);
    lines = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_CART_ONE_LINES, 1);

    if (cart == NULL || lines == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(cart, 1, &load->id);
    ngx_commerce_pg_uuid(lines, 1, &load->id);

    if (load->code.len) {
        ngx_commerce_pg_text(cart, 2, load->code.data, load->code.len);
    }

    return cart->failed || lines->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_cart_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    int                        row;
    ngx_int_t                  rc;
    ngx_commerce_cart_load_t  *load;

    load = op->data;
    row = 0;

    if (query == 1) {
        rc = ngx_commerce_cart_line_rows(load->call->pool, res, &row, 1,
                                         &load->cart);

    } else if (PQntuples(res)) {
        load->found = 1;
        rc = ngx_commerce_cart_row(load->call->pool, res, 0, &load->cart);

    } else {
        rc = NGX_OK;
    }

    if (rc != NGX_OK) {
        load->failed = 1;
    }
}


static void
ngx_commerce_cart_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_cart_load_t  *load;

    (void) sqlstate;

    load = op->data;
    ngx_commerce_call_db_time(load->call, op);

    if (outcome == NGX_COMMERCE_PG_COMMITTED && !load->failed) {
        load->done(load, NGX_OK);
        return;
    }

    load->problem = outcome == NGX_COMMERCE_PG_NOT_SENT
                    || outcome == NGX_COMMERCE_PG_UNKNOWN
                    ? COMMERCE_UNAVAILABLE : COMMERCE_INTERNAL;
    load->done(load, NGX_ERROR);
}
