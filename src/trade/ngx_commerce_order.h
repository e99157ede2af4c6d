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
    int32_t                     fulfilled;
    int32_t                     refunded;
    int64_t                     unit_price;
    int64_t                     discount;   /* shares of the order's */
    int64_t                     tax;
} ngx_commerce_order_line_t;


typedef struct {
    commerce_uuid_t             id;
    ngx_str_t                   state;
    ngx_str_t                   currency;
    ngx_str_t                   email;      /* empty: none */
    ngx_str_t                   delivery;   /* JSON; empty: none */
    ngx_str_t                   coupon;     /* its code; empty: none */
    ngx_str_t                   shipments;  /* JSON; empty: none */
    ngx_str_t                   refunds;
    ngx_str_t                   payments;   /* the staff's */
    commerce_uuid_t             customer_id;
    commerce_order_totals_t     totals;
    int64_t                     tax_included;
    int64_t                     refunded;
    int32_t                     version;
    int64_t                     created_at; /* PostgreSQL's microseconds */
    int64_t                     expires_at;
    ngx_commerce_order_line_t  *lines;
    ngx_uint_t                  nlines;
    unsigned                    has_customer:1;
} ngx_commerce_order_view_t;


/* A variant whose units came back to stock.free. */
typedef struct {
    commerce_uuid_t             variant;
    int32_t                     free;
} ngx_commerce_freed_t;


/* Rows of ORDER (or of a statement with its columns) and of ORDER_LINES;
   texts are copied to the pool.  NGX_ERROR: no memory. */
ngx_int_t ngx_commerce_order_row(ngx_pool_t *pool, PGresult *res, int row,
    ngx_commerce_order_view_t *view);
ngx_int_t ngx_commerce_order_lines(ngx_pool_t *pool, PGresult *res,
    ngx_commerce_order_view_t *view);

/* Body from call->pool; NGX_ERROR: no memory or no signature. */
ngx_int_t ngx_commerce_order_json(ngx_commerce_call_t *call,
    ngx_commerce_order_view_t *view, ngx_str_t *body);

/* The members before "lines" and those behind; NGX_ERROR: no signature. */
ngx_int_t ngx_commerce_order_head(ngx_commerce_call_t *call,
    ngx_commerce_order_view_t *view, commerce_json_writer_t *w);
void ngx_commerce_order_tail(ngx_commerce_call_t *call,
    ngx_commerce_order_view_t *view, commerce_json_writer_t *w);

/* Location, and the order's id for the access log. */
void ngx_commerce_order_created(ngx_commerce_call_t *call,
    const commerce_uuid_t *id);

/* Reads the order and answers with "status"; refuses not_found. */
void ngx_commerce_order_show(ngx_commerce_call_t *call,
    const commerce_uuid_t *id, ngx_uint_t status);

/* {id} of an admin path into call->order_id; NGX_ERROR: refused. */
ngx_int_t ngx_commerce_order_named(ngx_commerce_call_t *call);

/* Who acts, as events have it: "key:<name>", "guest". */
void ngx_commerce_order_actor(ngx_commerce_call_t *call, ngx_str_t *actor);

/* The Idempotency-Key of something that is done to call->order_id. */
ngx_int_t ngx_commerce_order_key(ngx_commerce_call_t *call, const char *what,
    commerce_uuid_t *key, commerce_uuid_t *fingerprint);

/* Columns "col" (variant, NULL: none) and the next (free): noted in result(),
   told to the zone once they are committed. */
void ngx_commerce_freed_rows(ngx_array_t *freed, PGresult *res, int col);
void ngx_commerce_freed_tell(ngx_commerce_zone_t *zone, ngx_array_t *freed);


#endif
