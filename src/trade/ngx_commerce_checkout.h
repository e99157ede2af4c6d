/*
 * One order on its way: shared by ngx_commerce_checkout.c (what the client
 * asked, prices, units) and ngx_commerce_checkout_batch.c (the commit).
 */

#ifndef NGX_COMMERCE_CHECKOUT_H
#define NGX_COMMERCE_CHECKOUT_H

#include "ngx_commerce_engine.h"
#include "ngx_commerce_order.h"


#define NGX_COMMERCE_QUANTITY_MAX  1000000000   /* units of a line */


/* What the checkout statement says of an order that it did not store. */
typedef enum {
    NGX_COMMERCE_STORED = 0,
    NGX_COMMERCE_NOT_LIVE,          /* the instance was declared dead */
    NGX_COMMERCE_LEASE_GONE,
    NGX_COMMERCE_STALE,             /* a variant's version has moved */
    NGX_COMMERCE_KEY_EXISTS
} ngx_commerce_verdict_e;


typedef struct {
    ngx_str_t                   sku;        /* as asked; empty: by id */
    ngx_commerce_stock_item_t   item;       /* from the zone */
    ngx_commerce_stock_hold_t   hold;       /* units > 0: in hand */
    int64_t                     quantity;
    ngx_uint_t                  asked;      /* index in the request */
} ngx_commerce_checkout_line_t;


typedef struct {
    ngx_commerce_pg_item_t      item;       /* of the lane; must stay first */
    ngx_commerce_pg_item_t      lookup;     /* of the lane of lookups */

    ngx_commerce_call_t        *call;
    ngx_commerce_trade_t       *trade;

    commerce_uuid_t             id;
    commerce_uuid_t             idem;
    commerce_uuid_t             fingerprint;
    u_char                      currency[COMMERCE_CURRENCY_LEN + 1];
    ngx_str_t                   email;
    ngx_str_t                   delivery;   /* JSON text or empty */
    int64_t                     expected_total;     /* -1: not said */
    commerce_order_totals_t     totals;

    ngx_commerce_checkout_line_t  *lines;   /* one for each variant */
    ngx_uint_t                  nlines;
    commerce_order_sum_t       *sums;

    ngx_commerce_variants_t     variants;
    ngx_commerce_waiter_t       waiter;
    ngx_commerce_want_t        *wants;
    ngx_msec_t                  deadline;   /* ngx_current_msec */

    uint64_t                    sent;       /* ngx_commerce_clock() */
    ngx_commerce_verdict_e      verdict;
    int64_t                     created_at;
    int64_t                     expires_at;

    /* found by the lookup */
    commerce_uuid_t             found_id;
    commerce_uuid_t             found_fingerprint;
    int64_t                     found_lease;

    /* what the client hears if its key has no order yet */
    commerce_problem_e          denied;
    const char                 *denied_detail;

    ngx_uint_t                  loads;      /* bounds of the loops */
    ngx_uint_t                  refusals;

    unsigned                    marked:1;   /* the zone has our key's mark */
    unsigned                    waited:1;
    unsigned                    uncertain:1;    /* a run may still commit */
    unsigned                    found:1;
} ngx_commerce_checkout_t;


/* ngx_commerce_checkout_parse.c: NGX_ERROR when the call is answered. */
ngx_int_t ngx_commerce_checkout_parse(ngx_commerce_checkout_t *co);

/* ngx_commerce_checkout_batch.c: every line is in hand; takes over. */
void ngx_commerce_checkout_send(ngx_commerce_checkout_t *co);

/*
 * A refusal on the merits.  The key may have an order that the zone does not
 * remember (stored before a restart, or by another instance), and then that
 * order is the answer: so the key is looked up first.  Nothing is in hand.
 */
void ngx_commerce_checkout_deny(ngx_commerce_checkout_t *co,
    commerce_problem_e problem, const char *detail);

/* ngx_commerce_checkout.c: where the commit goes when it has to come back. */
void ngx_commerce_checkout_resolve(ngx_commerce_checkout_t *co);
void ngx_commerce_checkout_stored(ngx_commerce_checkout_t *co);
void ngx_commerce_checkout_refuse(ngx_commerce_checkout_t *co,
    commerce_problem_e problem, const char *detail);

/* ngx_commerce_checkout_reserve.c: all lines or none, then the commit. */
void ngx_commerce_checkout_reserve(ngx_commerce_checkout_t *co);

/* Units back into their pools: only while no run of the order may commit. */
void ngx_commerce_checkout_put_back(ngx_commerce_checkout_t *co);

/* Units are on lines, or left to settlement. */
void ngx_commerce_checkout_let_go(ngx_commerce_checkout_t *co);


#endif
