/*
 * One request on a cart, shared by ngx_commerce_cart.c (what the client asks),
 * ngx_commerce_cart_batch.c (the commit), ngx_commerce_cart_row.c (rows of the
 * database) and ngx_commerce_cart_view.c (prices, warnings, JSON).
 */

#ifndef NGX_COMMERCE_CART_OP_H
#define NGX_COMMERCE_CART_OP_H

#include "ngx_commerce_cart.h"


#define NGX_COMMERCE_CART_UNITS_MAX  1000000000     /* of a line */


/* 1 to 6 are CART_WRITE's numbers. */
typedef enum {
    NGX_COMMERCE_CART_CREATE = 0,
    NGX_COMMERCE_CART_ADD,
    NGX_COMMERCE_CART_SET,
    NGX_COMMERCE_CART_REMOVE,
    NGX_COMMERCE_CART_EMAIL,
    NGX_COMMERCE_CART_COUPON,
    NGX_COMMERCE_CART_DELIVERY
} ngx_commerce_cart_kind_e;


/* What CART_WRITE says; KEY_TAKEN is CART_CREATE's. */
typedef enum {
    NGX_COMMERCE_CART_DONE = 0,
    NGX_COMMERCE_CART_REPLAYED,
    NGX_COMMERCE_CART_REUSED,
    NGX_COMMERCE_CART_GONE,
    NGX_COMMERCE_CART_IS_ORDERED,
    NGX_COMMERCE_CART_OTHER_VERSION,
    NGX_COMMERCE_CART_NO_LINE,
    NGX_COMMERCE_CART_TOO_MANY_LINES,
    NGX_COMMERCE_CART_TOO_MANY_UNITS,
    NGX_COMMERCE_CART_NO_PRICE,
    NGX_COMMERCE_CART_KEY_TAKEN
} ngx_commerce_cart_verdict_e;


typedef struct {
    ngx_commerce_pg_item_t       item;      /* must stay first */
    ngx_commerce_call_t         *call;

    ngx_commerce_cart_kind_e     kind;
    commerce_uuid_t              id;
    int32_t                      expected;  /* version; 0: any */
    ngx_str_t                    sku;       /* empty: by id */
    commerce_uuid_t              variant_id;
    int32_t                      quantity;
    ngx_str_t                    text;      /* data NULL: NULL */
    commerce_uuid_t              idem;
    commerce_uuid_t              fingerprint;

    ngx_commerce_variants_t      variants;  /* of a sku that is not known */
    ngx_commerce_pg_op_t         lookup;    /* of a key's cart */
    commerce_uuid_t              known;     /* the fingerprint it has */

    uint64_t                     sent;      /* ngx_commerce_clock() */
    ngx_uint_t                   order;     /* of arrival, in its batch */
    ngx_commerce_cart_verdict_e  verdict;
    ngx_commerce_cart_t          cart;      /* as it is now */

    unsigned                     keyed:1;
    unsigned                     again:1;   /* another write of the cart is in
                                               the batch: the next one */
    unsigned                     found:1;
    unsigned                     failed:1;  /* no memory for the rows */
    unsigned                     looked:1;
} ngx_commerce_cart_op_t;


/* ngx_commerce_cart_batch.c: takes over; the call is answered. */
void ngx_commerce_cart_send(ngx_commerce_cart_op_t *op);

/* ngx_commerce_cart.c */

/* With If-Match and Idempotency-Key looked at; NULL: refused. */
ngx_commerce_cart_op_t *ngx_commerce_cart_op(ngx_commerce_call_t *call,
    ngx_commerce_cart_kind_e kind);

/* It is committed: looks at the verdict. */
void ngx_commerce_cart_written(ngx_commerce_cart_op_t *op);

/* Refuses with one error of a member of the body. */
void ngx_commerce_cart_invalid(ngx_commerce_cart_op_t *op,
    const char *member, const char *code, const char *message);

/* The member of the request that names the variant. */
const char *ngx_commerce_cart_named(ngx_commerce_cart_op_t *op);


/* ngx_commerce_cart_row.c */

/* A row of CART. NGX_ERROR: no memory. */
ngx_int_t ngx_commerce_cart_row(ngx_pool_t *pool, PGresult *res, int row,
    ngx_commerce_cart_t *cart);

/* The rows of CART_LINES from *row on that are cart n's; moves *row. */
ngx_int_t ngx_commerce_cart_line_rows(ngx_pool_t *pool, PGresult *res,
    int *row, int32_t n, ngx_commerce_cart_t *cart);


/*
 * ngx_commerce_cart_view.c: prices the cart and answers the call with it.
 * "cart" lives in the call's pool.  The token is shown with status 201.
 */
void ngx_commerce_cart_show(ngx_commerce_call_t *call,
    ngx_commerce_cart_t *cart, ngx_uint_t status);


#endif
