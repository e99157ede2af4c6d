/*
 * SQL of tax rates, shipping methods and coupons.
 */

#include "ngx_commerce_pg_statements.h"


/* {"USD": 500, "EUR": 450} as "EUR:450,USD:500" */
#define ngx_commerce_sql_amounts(doc)                                         \
    "coalesce((SELECT string_agg(a.key || ':' || a.value, ',' "               \
    "ORDER BY a.key) FROM jsonb_each_text(" doc ") a), '')"

#define ngx_commerce_sql_rate_columns                                         \
    "SELECT t.id, t.version, t.created_at, t.updated_at, t.country, "         \
    "t.region, t.category, t.rate, t.included FROM commerce.tax_rate t "

#define ngx_commerce_sql_method_columns                                       \
    "SELECT m.id, m.version, m.created_at, m.updated_at, m.code, m.title, "   \
    "to_json(m.countries)::text, m.prices::text, m.free_over::text, "         \
    "m.active, m.position FROM commerce.shipping_method m "

#define ngx_commerce_sql_coupon_columns                                       \
    "SELECT c.id, c.version, c.created_at, c.updated_at, c.code, c.kind, "    \
    "c.percent, c.amounts::text, c.minimum::text, c.starts_at, c.ends_at, "   \
    "c.limit_total, c.limit_per_customer, c.used, c.active "                  \
    "FROM commerce.coupon c "

/* $1 rows at most, $2 after this id or NULL */
#define ngx_commerce_sql_after(id)                                            \
    "WHERE " id " > coalesce($2::uuid, "                                      \
    "'00000000-0000-0000-0000-000000000000') "

/* as ngx_commerce_put_row() reads them */
#define ngx_commerce_sql_put                                                  \
    "SELECT 1, x.status, x.id, x.version, x.problem, x.pointer FROM "


#define NGX_COMMERCE_SQL_ENTRY(n)  [n - NGX_COMMERCE_SQL_PRICING]


const ngx_commerce_pg_statement_t  ngx_commerce_pg_sql_pricing[
    NGX_COMMERCE_SQL_PRICING_END - NGX_COMMERCE_SQL_PRICING] =
{
    /* Each of the three has a snapshot of its own.  The version is read
       first: what changes in between makes the copy look older than it is,
       never younger. */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_RULES) = {
        "rules", "SELECT version FROM commerce.pricing_rules"
    },

    /* places together, each after that of its whole country */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_RULES_RATES) = {
        "rules_rates",
        "SELECT t.country, coalesce(lower(t.region), ''), "
            "coalesce(t.category, ''), t.rate, t.included "
        "FROM commerce.tax_rate t "
        "ORDER BY t.country, coalesce(lower(t.region), '')"
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_RULES_METHODS) = {
        "rules_methods",
        "SELECT m.code, m.title, "
            "coalesce(array_to_string(m.countries, ','), ''), "
            ngx_commerce_sql_amounts("m.prices") ", "
            ngx_commerce_sql_amounts("m.free_over") " "
        "FROM commerce.shipping_method m WHERE m.active "
        "ORDER BY m.position, m.code"
    },

    /* $3 country or NULL */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_TAX_RATE_PAGE) = {
        "tax_rate_page",
        ngx_commerce_sql_rate_columns ngx_commerce_sql_after("t.id")
        "AND ($3::text IS NULL OR t.country = upper($3::text "
            "COLLATE \"C\")) "
        "ORDER BY t.id LIMIT $1::integer"
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_TAX_RATE) = {
        "tax_rate", ngx_commerce_sql_rate_columns "WHERE t.id = $1::uuid"
    },

    /* $1 document, $2 id, $3 version or NULL: a new one */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_PUT_TAX_RATE) = {
        "put_tax_rate",
        ngx_commerce_sql_put "commerce.put_tax_rate(($1::text)::jsonb, "
            "$2::uuid, $3::integer) x"
    },

    /* $1 id, $2 version */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_DELETE_TAX_RATE) = {
        "delete_tax_rate",
        ngx_commerce_sql_put "commerce.delete_tax_rate($1::uuid, "
            "$2::integer) x"
    },

    /* $3 code or NULL */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_SHIPPING_METHOD_PAGE) = {
        "shipping_method_page",
        ngx_commerce_sql_method_columns ngx_commerce_sql_after("m.id")
        "AND ($3::text IS NULL OR m.code = $3::text) "
        "ORDER BY m.id LIMIT $1::integer"
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_SHIPPING_METHOD) = {
        "shipping_method",
        ngx_commerce_sql_method_columns "WHERE m.id = $1::uuid"
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_PUT_SHIPPING_METHOD) = {
        "put_shipping_method",
        ngx_commerce_sql_put "commerce.put_shipping_method("
            "($1::text)::jsonb, $2::uuid, $3::integer) x"
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_DELETE_SHIPPING_METHOD) = {
        "delete_shipping_method",
        ngx_commerce_sql_put "commerce.delete_shipping_method($1::uuid, "
            "$2::integer) x"
    },

    /* $3 code or NULL */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_COUPON_PAGE) = {
        "coupon_page",
        "(" ngx_commerce_sql_coupon_columns ngx_commerce_sql_after("c.id")
        "AND $3::text IS NULL ORDER BY c.id LIMIT $1::integer) UNION ALL ("
        ngx_commerce_sql_coupon_columns ngx_commerce_sql_after("c.id")
        "AND lower(c.code) = lower($3::text COLLATE \"C\") "
        "LIMIT $1::integer)"
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_COUPON_ROW) = {
        "coupon_row", ngx_commerce_sql_coupon_columns "WHERE c.id = $1::uuid"
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_PUT_COUPON) = {
        "put_coupon",
        ngx_commerce_sql_put "commerce.put_coupon(($1::text)::jsonb, "
            "$2::uuid, $3::integer) x"
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_DELETE_COUPON) = {
        "delete_coupon",
        ngx_commerce_sql_put "commerce.delete_coupon($1::uuid, "
            "$2::integer) x"
    },
};
