/*
 * Prices of a cart or an order: the worker's copy of tax rates and shipping
 * methods (ngx_commerce_rules.c), and the quote made with it
 * (ngx_commerce_quote.c).
 */

#ifndef NGX_COMMERCE_QUOTE_H
#define NGX_COMMERCE_QUOTE_H

#include "ngx_commerce_engine.h"
#include "commerce_price.h"


typedef struct ngx_commerce_rules_wait_s  ngx_commerce_rules_wait_t;

struct ngx_commerce_rules_wait_s {
    ngx_queue_t                 queue;
    /* once, never from inside rules_current(); rc NGX_OK or NGX_ERROR */
    void                      (*ready)(ngx_commerce_rules_wait_t *wait,
                                       ngx_int_t rc);
    void                       *data;
    uint64_t                    stamp;      /* the rules' own */
};


/* A coupon as the database has it, for one currency. */
typedef struct {
    commerce_uuid_t             id;
    ngx_str_t                   code;
    int32_t                     version;
    commerce_discount_e         kind;
    int64_t                     value;      /* -1: not in this currency */
    int64_t                     minimum;    /* of the subtotal; 0: none */
    int64_t                     starts_at;  /* PostgreSQL's microseconds; */
    int64_t                     ends_at;    /* 0: open */
    int64_t                     left;       /* uses; -1: no limit */
    unsigned                    active:1;
    unsigned                    per_customer:1; /* needs an e-mail */
} ngx_commerce_coupon_t;


typedef enum {
    NGX_COMMERCE_QUOTE_OK = 0,
    NGX_COMMERCE_QUOTE_METHOD,      /* no such method, or not for there */
    NGX_COMMERCE_QUOTE_COUPON,      /* does not apply: why, in "reason" */
    NGX_COMMERCE_QUOTE_OVERFLOW
} ngx_commerce_quote_e;


typedef struct {
    /* in */
    const u_char               *currency;
    ngx_str_t                   country;    /* empty: no tax, no method */
    ngx_str_t                   region;
    ngx_str_t                   method;     /* empty: shipping is 0 */
    ngx_commerce_coupon_t      *coupon;     /* NULL: none */
    ngx_commerce_stock_item_t **items;      /* one for each line; all have a
                                               price in the currency */
    commerce_price_line_t      *lines;      /* quantity set; the rest is not */
    ngx_uint_t                  nlines;
    /* out */
    commerce_price_t            price;
    int64_t                     rules;      /* version of the rules that were
                                               used; 0: none was */
    const char                 *reason;     /* a code of the API */
    const char                 *coupon_reason;  /* NULL: it applies, or there
                                                   is none */
} ngx_commerce_quote_t;


ngx_int_t ngx_commerce_rules_start(ngx_commerce_trade_t *trade);

/*
 * NGX_OK: the copy is current.  NGX_AGAIN: it is being read, ready() comes.
 * NGX_ERROR: the database is away.
 */
ngx_int_t ngx_commerce_rules_current(ngx_commerce_trade_t *trade,
    ngx_commerce_rules_wait_t *wait);

/* The rules changed: every worker of the instance reads them anew. */
void ngx_commerce_rules_forget(ngx_commerce_trade_t *trade);

/*
 * With current rules.  A coupon or a method that does not apply is left out
 * of the price, and says so: a cart shows it, a checkout refuses.  Where
 * neither applies it says METHOD, and "coupon_reason" has the other.
 *
 * Reasons: unknown_method; coupon_inactive, coupon_not_started,
 * coupon_expired, coupon_used_up, coupon_currency, coupon_minimum.  Times are
 * this worker's: the statement that consumes the coupon judges by its own.
 */
ngx_commerce_quote_e ngx_commerce_quote(ngx_commerce_trade_t *trade,
    ngx_commerce_quote_t *quote);

/*
 * The columns that NGX_COMMERCE_SQL_COUPON joins, from column "col" on; text
 * in "pool".  NGX_DECLINED: there is no such coupon.  NGX_ERROR: no memory.
 */
ngx_int_t ngx_commerce_coupon_row(PGresult *res, int row, int col,
    ngx_pool_t *pool, ngx_commerce_coupon_t *coupon);


#endif
