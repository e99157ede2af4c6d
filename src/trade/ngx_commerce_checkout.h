/*
 * One order on its way, from a body ("buy now", ngx_commerce_checkout.c) or
 * from a cart (.._cart.c): what it costs (.._price.c), its units
 * (.._reserve.c), its commit (.._batch.c, .._build.c, .._lookup.c).
 */

#ifndef NGX_COMMERCE_CHECKOUT_H
#define NGX_COMMERCE_CHECKOUT_H

#include "ngx_commerce_engine.h"
#include "ngx_commerce_order.h"
#include "ngx_commerce_cart.h"
#include "ngx_commerce_delivery.h"


#define NGX_COMMERCE_QUANTITY_MAX  1000000000   /* units of a line */
#define NGX_COMMERCE_REFUSALS_MAX  8
#define NGX_COMMERCE_UNCERTAIN     15000    /* msec until 503 outcome_unknown */


/* What the checkout statement says of an order that it did not store. */
typedef enum {
    NGX_COMMERCE_STORED = 0,
    NGX_COMMERCE_NOT_LIVE,          /* the instance was declared dead */
    NGX_COMMERCE_LEASE_GONE,
    NGX_COMMERCE_STALE,             /* a variant's version has moved */
    NGX_COMMERCE_KEY_EXISTS,
    NGX_COMMERCE_CART_MOVED,        /* another version, or ordered already */
    NGX_COMMERCE_COUPON_REFUSED,    /* its cart has not moved */
    NGX_COMMERCE_RULES_MOVED        /* other tax rates or shipping prices */
} ngx_commerce_verdict_e;


typedef struct {
    ngx_str_t                   sku;        /* as asked; empty: by id */
    ngx_commerce_stock_item_t   item;       /* from the zone */
    ngx_commerce_stock_hold_t   hold;       /* units > 0: in hand */
    int64_t                     quantity;
    ngx_uint_t                  asked;      /* index in the request */
    ngx_uint_t                  loading;    /* the zone did not have it */
} ngx_commerce_checkout_line_t;


/* To whom and where; empty: nobody said. */
typedef struct {
    ngx_str_t                   email;
    ngx_commerce_delivery_t     delivery;
} ngx_commerce_checkout_to_t;


typedef struct {
    ngx_commerce_pg_item_t      item;       /* of the lane; must stay first */
    ngx_commerce_pg_item_t      lookup;     /* of the lane of lookups */

    ngx_commerce_call_t        *call;
    ngx_commerce_trade_t       *trade;

    commerce_uuid_t             id;
    commerce_uuid_t             idem;
    commerce_uuid_t             fingerprint;
    u_char                      currency[COMMERCE_CURRENCY_LEN + 1];
    ngx_commerce_checkout_to_t  to;
    int64_t                     expected_total;     /* -1: not said */

    ngx_commerce_checkout_line_t  *lines;   /* one for each variant */
    ngx_uint_t                  nlines;

    ngx_commerce_quote_t        quote;      /* its lines are those above */
    ngx_commerce_rules_wait_t   rules;
    ngx_str_t                   who;        /* whose uses of coupons */

    ngx_commerce_cart_load_t   *cart;       /* NULL: no cart */
    ngx_commerce_checkout_to_t  said;       /* what the body says of it */
    int32_t                     coupon_version;     /* that were refused */
    int32_t                     cart_version;

    ngx_commerce_variants_t     variants;
    ngx_commerce_waiter_t       waiter;
    ngx_commerce_want_t        *wants;      /* of this wait: another one's say
                                               nothing of what it sees */
    ngx_msec_t                  deadline;   /* ngx_current_msec */

    uint64_t                    sent;       /* ngx_commerce_clock() */
    ngx_commerce_verdict_e      verdict;
    int64_t                     created_at;
    int64_t                     expires_at;

    /* found by the lookup */
    commerce_uuid_t             found_id;
    commerce_uuid_t             found_fingerprint;
    int64_t                     found_lease;
    int64_t                     found_rules;    /* their version; 0: not read */

    /* what the client hears if its key has no order yet */
    commerce_problem_e          denied;
    const char                 *denied_detail;

    ngx_uint_t                  loads;      /* bounds of the loops */
    ngx_uint_t                  refusals;

    unsigned                    marked:1;   /* the zone has our key's mark */
    unsigned                    waited:1;
    unsigned                    uncertain:1;    /* a run may still commit */
    unsigned                    found:1;
    unsigned                    ordered:1;  /* the cart has its order */
} ngx_commerce_checkout_t;


/* A line's lease that was found, with its variant at this version. */
typedef struct {
    int64_t                     lease;
    int32_t                     version;
    uint32_t                    serial;
} ngx_commerce_known_line_t;


#define NGX_COMMERCE_KNOWN_LINES  32768         /* 512 KiB */

/* What a connection for orders has found, by the lease's id. */
typedef struct {
    ngx_uint_t                  session;        /* of the connection */
    int64_t                     epoch;          /* of the catalogue; 0: none */
    uint32_t                    serial;         /* of the entries that count */
    ngx_commerce_known_line_t   lines[NGX_COMMERCE_KNOWN_LINES];
} ngx_commerce_known_t;


/* Needs the whole form of the checkout statement. */
#define ngx_commerce_checkout_is_whole(co)                                    \
    ((co)->cart || (co)->quote.rules)


/* ngx_commerce_checkout_parse.c: NGX_ERROR when the call is answered. */
ngx_int_t ngx_commerce_checkout_parse(ngx_commerce_checkout_t *co);
ngx_int_t ngx_commerce_checkout_parse_cart(ngx_commerce_checkout_t *co);

/* ngx_commerce_checkout.c */
ngx_commerce_checkout_t *ngx_commerce_checkout_create(
    ngx_commerce_call_t *call);
/* NGX_OK: the key is ours to work on.  NGX_ERROR: the call is answered. */
ngx_int_t ngx_commerce_checkout_replay(ngx_commerce_checkout_t *co,
    ngx_str_t *scope);
/* Unlike ngx_commerce_call_errors(), lets go of the key before it refuses. */
commerce_json_errors_t *ngx_commerce_checkout_errors(
    ngx_commerce_checkout_t *co);

/*
 * ngx_commerce_checkout_known.c: what the statement need not look up again.
 * "known" may be NULL (no memory): then it looks everything up.
 */

/* Of this connection as it is now, for a statement about to be sent. */
ngx_commerce_known_t *ngx_commerce_known(ngx_commerce_pg_conn_t *conn,
    ngx_cycle_t *cycle);
ngx_uint_t ngx_commerce_known_line(ngx_commerce_known_t *known,
    ngx_commerce_checkout_line_t *line);
/* What a statement has found: the epoch first, then orders without a fault. */
void ngx_commerce_known_epoch(ngx_commerce_known_t *known, int64_t epoch);
void ngx_commerce_known_order(ngx_commerce_known_t *known,
    ngx_commerce_checkout_t *co);

/* ngx_commerce_checkout_cart.c: the cart once more, then the whole order. */
void ngx_commerce_checkout_reload(ngx_commerce_checkout_t *co);
void ngx_commerce_checkout_show_ordered(ngx_commerce_checkout_t *co);

/* ngx_commerce_checkout_price.c: every line is known; takes over. */
void ngx_commerce_checkout_price(ngx_commerce_checkout_t *co);

/* ngx_commerce_checkout_batch.c: every line is in hand; takes over. */
void ngx_commerce_checkout_send(ngx_commerce_checkout_t *co);
void ngx_commerce_checkout_anew(ngx_commerce_checkout_t *co);

/* ngx_commerce_checkout_build.c */
ngx_int_t ngx_commerce_checkout_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn);

/* ngx_commerce_checkout_lookup.c: what became of the key. */
extern const ngx_commerce_pg_kind_t  ngx_commerce_lookup_kind;
void ngx_commerce_checkout_lookup(ngx_commerce_checkout_t *co);
/* Nobody knows, or nobody answered in time. */
void ngx_commerce_checkout_unknown(ngx_commerce_checkout_t *co);

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
