/*
 * A cart on its way to its owner: shared by ngx_commerce_cart_view.c (lines and
 * prices) and ngx_commerce_cart_json.c (warnings and JSON).
 */

#ifndef NGX_COMMERCE_CART_VIEW_H
#define NGX_COMMERCE_CART_VIEW_H

#include "ngx_commerce_cart_op.h"


typedef struct {
    ngx_commerce_stock_item_t    item;
    commerce_price_line_t       *line;      /* NULL: it has no price now */
    unsigned                     known:1;   /* there is such a variant */
    unsigned                     pooled:1;  /* "item" is the zone's, with its
                                               "ref" */
} ngx_commerce_cart_item_t;


typedef struct {
    ngx_commerce_call_t         *call;
    ngx_commerce_cart_t         *cart;
    ngx_uint_t                   status;

    ngx_commerce_cart_item_t    *items;     /* one for each line */
    ngx_commerce_variants_t      variants;
    ngx_commerce_rules_wait_t    wait;

    ngx_commerce_quote_t         quote;     /* of the lines with a price */
    ngx_commerce_quote_e         quoted;
} ngx_commerce_cart_view_t;


/* Body from the call's pool; NGX_ERROR: no memory or no signature. */
ngx_int_t ngx_commerce_cart_json(ngx_commerce_cart_view_t *view,
    ngx_str_t *body);


#endif
