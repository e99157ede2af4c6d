/*
 * The registry of prepared statements: every SQL text that a worker runs,
 * in two files by what it is about.
 */

#ifndef NGX_COMMERCE_PG_STATEMENTS_H
#define NGX_COMMERCE_PG_STATEMENTS_H

#include "ngx_commerce_pg.h"


/* ngx_commerce_pg_sql_stock.c: orders, stock, instances */
enum {
    NGX_COMMERCE_SQL_FENCE = 0,
    NGX_COMMERCE_SQL_ORDER_BY_KEY,
    NGX_COMMERCE_SQL_ORDER,
    NGX_COMMERCE_SQL_ORDER_LINES,
    NGX_COMMERCE_SQL_PAY,
    NGX_COMMERCE_SQL_PAYMENT_BY_KEY,
    NGX_COMMERCE_SQL_CANCEL,
    NGX_COMMERCE_SQL_EXPIRE,
    NGX_COMMERCE_SQL_LOCK_STOCK,
    NGX_COMMERCE_SQL_RETURN,
    NGX_COMMERCE_SQL_GRANT,
    NGX_COMMERCE_SQL_GRANTED,
    NGX_COMMERCE_SQL_CLOSE_USED,
    NGX_COMMERCE_SQL_RECALL,
    NGX_COMMERCE_SQL_REGISTER,
    NGX_COMMERCE_SQL_HEARTBEAT,
    NGX_COMMERCE_SQL_SETTLE_CANDIDATES,
    NGX_COMMERCE_SQL_SETTLE_DYING,
    NGX_COMMERCE_SQL_SETTLE_TERMINATE,
    NGX_COMMERCE_SQL_SETTLE_LOCK,
    NGX_COMMERCE_SQL_SETTLE_LOCK_FENCES,
    NGX_COMMERCE_SQL_SETTLE,
    NGX_COMMERCE_SQL_SETTLE_DEAD,
    NGX_COMMERCE_SQL_UNUSED,
    NGX_COMMERCE_SQL_RETENTION,
    NGX_COMMERCE_SQL_STOCK_N
};

/* ngx_commerce_pg_sql_catalogue.c: catalogue, admin, API keys */
#define NGX_COMMERCE_SQL_CATALOGUE  64

enum {
    NGX_COMMERCE_SQL_VARIANTS = NGX_COMMERCE_SQL_CATALOGUE,
    NGX_COMMERCE_SQL_PRODUCT_BY_ID,
    NGX_COMMERCE_SQL_PRODUCT_BY_SLUG,
    NGX_COMMERCE_SQL_PRODUCT_PAGE,
    NGX_COMMERCE_SQL_ADMIN_PRODUCT_PAGE,
    NGX_COMMERCE_SQL_PUT_PRODUCTS,
    NGX_COMMERCE_SQL_PUT_VARIANT,
    NGX_COMMERCE_SQL_IMPORT_STOCK,
    NGX_COMMERCE_SQL_IMPORT_PRICES,
    NGX_COMMERCE_SQL_ADJUST_STOCK,
    NGX_COMMERCE_SQL_STOCK_OF,
    NGX_COMMERCE_SQL_VARIANT_BY_SKU,
    NGX_COMMERCE_SQL_API_KEY,
    NGX_COMMERCE_SQL_CATALOGUE_END
};

/* ngx_commerce_pg_sql_checkout.c */
#define NGX_COMMERCE_SQL_CHECKOUTS  96

enum {
    NGX_COMMERCE_SQL_CHECKOUT = NGX_COMMERCE_SQL_CHECKOUTS,
    NGX_COMMERCE_SQL_CHECKOUT_WHOLE,
    NGX_COMMERCE_SQL_CLAIM_LOCK,
    NGX_COMMERCE_SQL_CLAIM,
    NGX_COMMERCE_SQL_UNCLAIM,
    NGX_COMMERCE_SQL_CHECKOUT_END
};

extern const ngx_commerce_pg_statement_t
    ngx_commerce_pg_sql_stock[NGX_COMMERCE_SQL_STOCK_N];
extern const ngx_commerce_pg_statement_t ngx_commerce_pg_sql_catalogue[
    NGX_COMMERCE_SQL_CATALOGUE_END - NGX_COMMERCE_SQL_CATALOGUE];
extern const ngx_commerce_pg_statement_t ngx_commerce_pg_sql_checkout[
    NGX_COMMERCE_SQL_CHECKOUT_END - NGX_COMMERCE_SQL_CHECKOUTS];


/* NULL for a number that is none. */
static ngx_inline const ngx_commerce_pg_statement_t *
ngx_commerce_pg_statement(ngx_uint_t n)
{
    if (n < NGX_COMMERCE_SQL_STOCK_N) {
        return &ngx_commerce_pg_sql_stock[n];
    }

    if (n >= NGX_COMMERCE_SQL_CATALOGUE && n < NGX_COMMERCE_SQL_CATALOGUE_END)
    {
        return &ngx_commerce_pg_sql_catalogue[n - NGX_COMMERCE_SQL_CATALOGUE];
    }

    if (n >= NGX_COMMERCE_SQL_CHECKOUTS && n < NGX_COMMERCE_SQL_CHECKOUT_END) {
        return &ngx_commerce_pg_sql_checkout[n - NGX_COMMERCE_SQL_CHECKOUTS];
    }

    return NULL;
}


#endif
