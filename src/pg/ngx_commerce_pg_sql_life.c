/*
 * SQL of what happens to an order after it was placed.  Its steps are functions
 * of the database (0005_order_life.sql): refusals are values.
 */

#include "ngx_commerce_pg_statements.h"


#define NGX_COMMERCE_SQL_ENTRY(n)  [n - NGX_COMMERCE_SQL_LIFE]

/* $1 order, $2 the request, $3 actor, $4 new id, $5 idem, $6 fingerprint */
#define NGX_COMMERCE_SQL_STEP(function)                                       \
    "SELECT x.status, x.problem, x.code, x.pointer, x.remains, "              \
        "x.order_idem, x.answer, x.variant, x.free "                          \
    "FROM commerce." function "($1::uuid, ($2::text)::jsonb, $3::text, "      \
        "$4::uuid, $5::uuid, $6::uuid) x"

/*
 * Orders by one index each; the other sides' filters are false at once.  Rows
 * are compared, and ordered by both columns, so that no plan may walk the
 * primary key in the hope of meeting a rare value soon.  A side repeats the
 * predicate of its partial index, which no parameter implies.
 */
#define NGX_COMMERCE_SQL_ORDER_SIDE(side, column, value, indexed)             \
    "(SELECT o.* FROM commerce.orders o WHERE $9::int4 = " side " "           \
        "AND " indexed " "                                                    \
        "AND (" column ", o.id) < (" value ", $2::uuid) "                     \
        "AND (" column ", o.id) >= (" value ", $3::uuid) "                    \
        NGX_COMMERCE_SQL_ORDER_FILTER " "                                     \
        "ORDER BY " column " DESC, o.id DESC LIMIT $1::int4)"

#define NGX_COMMERCE_SQL_ORDER_FILTER                                         \
    "AND ($4::timestamptz IS NULL OR o.created_at > $4::timestamptz) "        \
    "AND ($5::timestamptz IS NULL OR o.created_at < $5::timestamptz) "        \
    "AND ($6::text IS NULL OR o.state = $6::text) "                           \
    "AND ($8::text IS NULL OR lower(o.email) = lower($8::text))"


const ngx_commerce_pg_statement_t  ngx_commerce_pg_sql_life[
    NGX_COMMERCE_SQL_LIFE_END - NGX_COMMERCE_SQL_LIFE] =
{
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_FULFIL) = {
        "fulfil",
        NGX_COMMERCE_SQL_STEP("fulfil_order")
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_REFUND) = {
        "refund",
        NGX_COMMERCE_SQL_STEP("refund_order")
    },

    /* $1 orders at most, $2 ids below, $3 ids from, $4 created after and
       $5 before or NULL, $6 state, $7 customer, $8 e-mail or NULL, $9 the way
       to them */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_ORDER_PAGE) = {
        "order_page",
        "SELECT " NGX_COMMERCE_SQL_ORDER_COLUMNS
            "NULL::text, NULL::text, NULL::text FROM ("
        "(SELECT o.* FROM commerce.orders o WHERE $9::int4 = 0 "
            "AND o.id < $2::uuid AND o.id >= $3::uuid "
            NGX_COMMERCE_SQL_ORDER_FILTER " ORDER BY o.id DESC LIMIT $1::int4)"
        " UNION ALL "
        NGX_COMMERCE_SQL_ORDER_SIDE("1", "o.state", "$6::text",
            "o.state <> 'pending_payment'")
        " UNION ALL "
        NGX_COMMERCE_SQL_ORDER_SIDE("2", "o.customer_id", "$7::uuid",
            "o.customer_id IS NOT NULL")
        " UNION ALL "
        NGX_COMMERCE_SQL_ORDER_SIDE("3", "lower(o.email)", "lower($8::text)",
            "o.email IS NOT NULL")
        ") o ORDER BY id DESC"
    },

    /* $1 order, $2 after this one, $3 events at most; an order without has
       one row without */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_ORDER_EVENTS) = {
        "order_events",
        "SELECT e.seq, e.type, e.state, e.actor, e.data::text, e.created_at "
        "FROM commerce.orders o LEFT JOIN LATERAL ("
            "SELECT x.* FROM commerce.order_events x "
            "WHERE x.order_id = o.id AND x.seq > $2::int4 "
            "ORDER BY x.seq LIMIT $3::int4) e ON true "
        "WHERE o.id = $1::uuid ORDER BY e.seq"
    },
};
