/*
 * A cart as the database has it.
 */

#ifndef NGX_COMMERCE_CART_H
#define NGX_COMMERCE_CART_H

#include "ngx_commerce_engine.h"
#include "ngx_commerce_quote.h"


typedef enum {
    NGX_COMMERCE_CART_OPEN = 0,
    NGX_COMMERCE_CART_ORDERED,
    NGX_COMMERCE_CART_EXPIRED
} ngx_commerce_cart_state_e;


typedef struct {
    commerce_uuid_t             variant_id;
    int32_t                     quantity;
    int64_t                     seen_price; /* of a unit, when it was put */
} ngx_commerce_cart_line_t;


typedef struct {
    commerce_uuid_t             id;
    ngx_commerce_cart_state_e   state;
    int32_t                     version;
    u_char                      currency[COMMERCE_CURRENCY_LEN + 1];
    commerce_uuid_t             customer_id;
    ngx_str_t                   email;      /* empty: none */
    ngx_str_t                   delivery;   /* JSON as in orders; or empty */
    ngx_str_t                   country;    /* of its address; or empty */
    ngx_str_t                   region;
    ngx_str_t                   method;
    ngx_str_t                   code;       /* of the coupon; or empty */
    ngx_commerce_coupon_t       coupon;     /* has_coupon: there is one */
    commerce_uuid_t             order_id;
    int64_t                     created_at; /* PostgreSQL's microseconds */
    int64_t                     expires_at;
    ngx_commerce_cart_line_t   *lines;      /* in order of first add */
    ngx_uint_t                  nlines;
    unsigned                    has_customer:1;
    unsigned                    has_coupon:1;
    unsigned                    has_order:1;
} ngx_commerce_cart_t;


typedef struct ngx_commerce_cart_load_s  ngx_commerce_cart_load_t;

struct ngx_commerce_cart_load_s {
    ngx_commerce_pg_op_t        op;
    ngx_commerce_call_t        *call;       /* its pool holds the cart */
    commerce_uuid_t             id;
    ngx_str_t                   code;       /* the coupon to read instead of
                                               the cart's; or empty */
    ngx_commerce_cart_t         cart;
    unsigned                    found:1;
    unsigned                    failed:1;
    /* rc: NGX_OK (look at found); NGX_ERROR: refuse the call with it */
    commerce_problem_e          problem;
    void                      (*done)(ngx_commerce_cart_load_t *load,
                                      ngx_int_t rc);
    void                       *data;
};


/* Reads a cart with its lines and its coupon in one round trip.  done() once,
   perhaps before this returns (the queue is full). */
void ngx_commerce_cart_read(ngx_commerce_cart_load_t *load);


#endif
