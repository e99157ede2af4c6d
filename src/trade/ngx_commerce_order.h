/*
 * An order as the API shows it.
 */

#ifndef NGX_COMMERCE_ORDER_H
#define NGX_COMMERCE_ORDER_H

#include "ngx_commerce_engine.h"


typedef struct {
    commerce_uuid_t             variant_id;
    ngx_str_t                   sku;
    ngx_str_t                   title;
    int32_t                     quantity;
    int64_t                     unit_price;
} ngx_commerce_order_line_t;


typedef struct {
    commerce_uuid_t             id;
    ngx_str_t                   state;
    ngx_str_t                   currency;
    ngx_str_t                   email;      /* empty: none */
    ngx_str_t                   delivery;   /* JSON; empty: none */
    commerce_order_totals_t     totals;
    int32_t                     version;
    int64_t                     created_at; /* PostgreSQL's microseconds */
    int64_t                     expires_at;
    ngx_commerce_order_line_t  *lines;
    ngx_uint_t                  nlines;
} ngx_commerce_order_view_t;


/* Body from call->pool; NGX_ERROR: no memory or no signature. */
ngx_int_t ngx_commerce_order_json(ngx_commerce_call_t *call,
    ngx_commerce_order_view_t *view, ngx_str_t *body);

/* Location, and the order's id for the access log. */
void ngx_commerce_order_created(ngx_commerce_call_t *call,
    const commerce_uuid_t *id);

/* Reads the order and answers with "status"; refuses not_found. */
void ngx_commerce_order_show(ngx_commerce_call_t *call,
    const commerce_uuid_t *id, ngx_uint_t status);


#endif
