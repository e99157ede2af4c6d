/*
 * The registry of prepared statements: every SQL text that a worker runs,
 * in files by what it is about.
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
    NGX_COMMERCE_SQL_CANCEL,
    NGX_COMMERCE_SQL_EXPIRE,
    NGX_COMMERCE_SQL_LOCK_STOCK,
    NGX_COMMERCE_SQL_RETURN,
    NGX_COMMERCE_SQL_GRANT,
    NGX_COMMERCE_SQL_GRANTED,
    NGX_COMMERCE_SQL_CLOSE_USED,
    NGX_COMMERCE_SQL_CLOSE_REPLACED,
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

/* ngx_commerce_pg_sql_pricing.c: tax rates, shipping methods, coupons */
#define NGX_COMMERCE_SQL_PRICING    128

enum {
    NGX_COMMERCE_SQL_RULES = NGX_COMMERCE_SQL_PRICING,
    NGX_COMMERCE_SQL_RULES_RATES,
    NGX_COMMERCE_SQL_RULES_METHODS,
    NGX_COMMERCE_SQL_TAX_RATE_PAGE,
    NGX_COMMERCE_SQL_TAX_RATE,
    NGX_COMMERCE_SQL_PUT_TAX_RATE,
    NGX_COMMERCE_SQL_DELETE_TAX_RATE,
    NGX_COMMERCE_SQL_SHIPPING_METHOD_PAGE,
    NGX_COMMERCE_SQL_SHIPPING_METHOD,
    NGX_COMMERCE_SQL_PUT_SHIPPING_METHOD,
    NGX_COMMERCE_SQL_DELETE_SHIPPING_METHOD,
    NGX_COMMERCE_SQL_COUPON_PAGE,
    NGX_COMMERCE_SQL_COUPON_ROW,
    NGX_COMMERCE_SQL_PUT_COUPON,
    NGX_COMMERCE_SQL_DELETE_COUPON,
    NGX_COMMERCE_SQL_PRICING_END
};

/*
 * Joins the coupon of that code (of whatever case) as "coupon", whose columns
 * ngx_commerce_coupon_row() reads: select coupon.*.  All are NULL when there
 * is none.  "code" and "currency" are SQL expressions of type text.
 */
#define NGX_COMMERCE_SQL_COUPON(code, currency)                               \
    "LEFT JOIN LATERAL (SELECT c.id, c.code, c.version, "                     \
    "CASE c.kind WHEN 'percent' THEN 1 WHEN 'fixed' THEN 2 ELSE 3 END "       \
        "AS kind, "                                                           \
    "CASE WHEN NOT c.minimum ? (" currency ") THEN -1 "                       \
        "WHEN c.kind = 'percent' THEN c.percent WHEN c.kind = 'fixed' "       \
        "THEN coalesce((c.amounts->>(" currency "))::bigint, -1) ELSE 0 "     \
        "END::bigint AS value, "                                              \
    "coalesce((c.minimum->>(" currency "))::bigint, 0) AS minimum, "          \
    "c.starts_at, c.ends_at, "                                                \
    "CASE WHEN c.limit_total IS NULL THEN -1 "                                \
        "ELSE greatest(c.limit_total - c.used, 0) END::bigint AS left_, "     \
    "c.active, c.limit_per_customer IS NOT NULL AS per_customer "             \
    "FROM commerce.coupon c "                                                 \
    "WHERE lower(c.code) = lower((" code ") COLLATE \"C\") OFFSET 0) "         \
    "coupon ON true "

#define NGX_COMMERCE_COUPON_COLUMNS  11

/* ngx_commerce_pg_sql_cart.c */
#define NGX_COMMERCE_SQL_CARTS  160

enum {
    NGX_COMMERCE_SQL_CART_CREATE = NGX_COMMERCE_SQL_CARTS,
    NGX_COMMERCE_SQL_CART_BY_KEY,
    NGX_COMMERCE_SQL_CART_LOCK,
    NGX_COMMERCE_SQL_CART_WRITE,
    NGX_COMMERCE_SQL_CART,
    NGX_COMMERCE_SQL_CART_LINES,
    NGX_COMMERCE_SQL_CART_ONE,
    NGX_COMMERCE_SQL_CART_ONE_LINES,
    NGX_COMMERCE_SQL_CART_SWEEP,
    NGX_COMMERCE_SQL_CARTS_END
};

/* ngx_commerce_pg_sql_life.c: what happens to an order */
#define NGX_COMMERCE_SQL_LIFE  192

enum {
    NGX_COMMERCE_SQL_FULFIL = NGX_COMMERCE_SQL_LIFE,
    NGX_COMMERCE_SQL_REFUND,
    NGX_COMMERCE_SQL_ORDER_PAGE,
    NGX_COMMERCE_SQL_ORDER_EVENTS,
    NGX_COMMERCE_SQL_LIFE_END
};

/* ngx_commerce_pg_sql_payment.c: payments, webhooks */
#define NGX_COMMERCE_SQL_PAYMENT  224

enum {
    NGX_COMMERCE_SQL_PAY = NGX_COMMERCE_SQL_PAYMENT,
    NGX_COMMERCE_SQL_PAY_LATE,
    NGX_COMMERCE_SQL_PAYMENT_BY_KEY,
    NGX_COMMERCE_SQL_TAKE_EVENTS,
    NGX_COMMERCE_SQL_RETRY_EVENTS,
    NGX_COMMERCE_SQL_WAITING_EVENTS,
    NGX_COMMERCE_SQL_OLD_EVENTS,
    NGX_COMMERCE_SQL_PAYMENT_END
};

extern const ngx_commerce_pg_statement_t
    ngx_commerce_pg_sql_stock[NGX_COMMERCE_SQL_STOCK_N];
extern const ngx_commerce_pg_statement_t ngx_commerce_pg_sql_catalogue[
    NGX_COMMERCE_SQL_CATALOGUE_END - NGX_COMMERCE_SQL_CATALOGUE];
extern const ngx_commerce_pg_statement_t ngx_commerce_pg_sql_checkout[
    NGX_COMMERCE_SQL_CHECKOUT_END - NGX_COMMERCE_SQL_CHECKOUTS];
extern const ngx_commerce_pg_statement_t ngx_commerce_pg_sql_pricing[
    NGX_COMMERCE_SQL_PRICING_END - NGX_COMMERCE_SQL_PRICING];
extern const ngx_commerce_pg_statement_t ngx_commerce_pg_sql_cart[
    NGX_COMMERCE_SQL_CARTS_END - NGX_COMMERCE_SQL_CARTS];
extern const ngx_commerce_pg_statement_t ngx_commerce_pg_sql_life[
    NGX_COMMERCE_SQL_LIFE_END - NGX_COMMERCE_SQL_LIFE];


/* What ngx_commerce_order_row() reads, less the JSON of ORDER behind it. */
#define NGX_COMMERCE_SQL_ORDER_COLUMNS                                        \
    "id, idem, state, version, currency, subtotal, discount, tax, shipping, " \
    "total, email, delivery::text, created_at, expires_at, customer_id, "     \
    "tax_included, refunded, coupon_code, "
extern const ngx_commerce_pg_statement_t ngx_commerce_pg_sql_payment[
    NGX_COMMERCE_SQL_PAYMENT_END - NGX_COMMERCE_SQL_PAYMENT];


/* NULL for a number that is none. */
const ngx_commerce_pg_statement_t *ngx_commerce_pg_statement(ngx_uint_t n);


#endif
