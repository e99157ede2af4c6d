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
};
