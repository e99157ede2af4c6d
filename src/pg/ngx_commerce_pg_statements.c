/*
 * The registry: which file has the SQL of a statement's number.
 */

#include "ngx_commerce_pg_statements.h"


static const struct {
    ngx_uint_t                          first;
    ngx_uint_t                          end;
    const ngx_commerce_pg_statement_t  *statements;
} ngx_commerce_pg_groups[] = {

    { 0, NGX_COMMERCE_SQL_STOCK_N, ngx_commerce_pg_sql_stock },

    { NGX_COMMERCE_SQL_CATALOGUE, NGX_COMMERCE_SQL_CATALOGUE_END,
      ngx_commerce_pg_sql_catalogue },

    { NGX_COMMERCE_SQL_CHECKOUTS, NGX_COMMERCE_SQL_CHECKOUT_END,
      ngx_commerce_pg_sql_checkout },

    { NGX_COMMERCE_SQL_PRICING, NGX_COMMERCE_SQL_PRICING_END,
      ngx_commerce_pg_sql_pricing },

    { NGX_COMMERCE_SQL_CARTS, NGX_COMMERCE_SQL_CARTS_END,
      ngx_commerce_pg_sql_cart },

    { NGX_COMMERCE_SQL_LIFE, NGX_COMMERCE_SQL_LIFE_END,
      ngx_commerce_pg_sql_life },

    { NGX_COMMERCE_SQL_PAYMENT, NGX_COMMERCE_SQL_PAYMENT_END,
      ngx_commerce_pg_sql_payment },
};


const ngx_commerce_pg_statement_t *
ngx_commerce_pg_statement(ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = 0; i < sizeof(ngx_commerce_pg_groups)
                    / sizeof(ngx_commerce_pg_groups[0]); i++)
    {
        if (n >= ngx_commerce_pg_groups[i].first
            && n < ngx_commerce_pg_groups[i].end)
        {
            return &ngx_commerce_pg_groups[i].statements[
                n - ngx_commerce_pg_groups[i].first];
        }
    }

    return NULL;
}
