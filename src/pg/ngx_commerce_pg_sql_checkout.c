/*
 * SQL of the checkout, in two forms: the plain one has what every order has;
 * the whole one also prices with rules, claims carts and uses coupons up.
 * docs/architecture.md, "The statements", has the reasons for the shapes.
 */

#include "ngx_commerce_pg_statements.h"


/*
 * $1 instance, $2 slot, $3 seconds of hold; per order $4 id, $5 idem,
 * $6 fingerprint, $7 currency, $8 subtotal, $9 total, $10 email, $11 delivery;
 * per line $12 number of its order, $13 line_no, $14 variant, $15 lease,
 * $16 quantity, $17 unit price, $18 version.
 *
 * Row n = 0: the time of the transaction and of expiry.  Other rows are
 * refused orders: 1 instance not live, 2 a line without its lease, 3 a
 * variant's version has moved, 4 the key exists; of the whole form also
 * 5 another version of the cart, 6 the coupon cannot be used, 7 other rules.
 */
#define ngx_commerce_sql_checkout(more_params, more_names, more_lines,        \
    more_line_names, allowed, columns, line_columns, refused)                 \
    "WITH fence AS MATERIALIZED (SELECT 1 FROM commerce.fence "               \
    "WHERE instance_id = $1::int8 AND slot = $2::int4 AND state = 'live' "    \
    "FOR KEY SHARE), "                                                        \
    "l AS MATERIALIZED ("                                                     \
    "SELECT l.*, v.sku, v.title, v.id IS NULL AS stale, "                     \
    "(SELECT x.instance_id = $1::int8 AND x.variant_id = l.variant_id "       \
    "AND x.closed_at IS NULL FROM commerce.lease x "                          \
    "WHERE x.id = l.lease_id) IS NOT TRUE AS loose "                          \
    "FROM unnest($12::int4[], $13::int2[], $14::uuid[], $15::int8[], "        \
    "$16::int4[], $17::int8[], $18::int4[]" more_lines ") "                   \
    "l(n, line_no, variant_id, lease_id, quantity, unit_price, version"       \
    more_line_names ") LEFT JOIN commerce.variant v "                         \
    "ON v.id = l.variant_id AND v.version = l.version), "                     \
    "bad AS MATERIALIZED (SELECT n, bool_or(loose) AS loose FROM l "          \
    "WHERE stale OR loose GROUP BY n), "                                      \
    "o AS MATERIALIZED (SELECT o.* FROM unnest($4::uuid[], $5::uuid[], "      \
    "$6::uuid[], $7::text[], $8::int8[], $9::int8[], $10::text[], "           \
    "$11::text[]" more_params ") WITH ORDINALITY o(id, idem, fingerprint, "   \
    "currency, subtotal, total, email, delivery" more_names ", n) "           \
    "WHERE EXISTS (SELECT FROM fence) "                                       \
    "AND o.n NOT IN (SELECT b.n FROM bad b)" allowed "), "                    \
    "ins AS (INSERT INTO commerce.orders (id, idem, fingerprint, "            \
    "instance_id, currency, subtotal, total, email, delivery, "               \
    "expires_at" columns ") "                                                 \
    "SELECT id, idem, fingerprint, $1::int8, currency, subtotal, total, "     \
    "email, delivery::jsonb, now() + $3::int4 * interval '1 s'" columns " "   \
    "FROM o ORDER BY idem ON CONFLICT (idem) DO NOTHING RETURNING id), "      \
    "lin AS (INSERT INTO commerce.order_line (order_id, line_no, "            \
    "variant_id, lease_id, quantity, unit_price, sku, title" line_columns     \
    ") SELECT k.id, l.line_no, l.variant_id, l.lease_id, l.quantity, "        \
    "l.unit_price, l.sku, l.title" line_columns " "                           \
    "FROM (SELECT o.id, o.n::int4 AS n "                                      \
    "FROM ins JOIN o USING (id)) k JOIN l USING (n)) "                        \
    "SELECT 0 AS n, 0 AS code, now() AS created_at, "                         \
    "now() + $3::int4 * interval '1 s' AS expires_at UNION ALL "              \
    "SELECT u.n::int4, CASE WHEN NOT EXISTS (SELECT FROM fence) THEN 1 "      \
    "WHEN b.loose THEN 2 WHEN b.n IS NOT NULL THEN 3 " refused "ELSE 4 END, " \
    "NULL, NULL FROM unnest($4::uuid[]" more_params ") "                      \
    "WITH ORDINALITY u(id" more_names ", n) "                                 \
    "LEFT JOIN bad b ON b.n = u.n "                                           \
    "WHERE u.id NOT IN (SELECT id FROM ins)"


#define ngx_commerce_sql_cart_claimed(o)                                      \
    "(" o ".cart_id IS NULL OR (SELECT c.order_id = " o ".id "                \
    "FROM commerce.cart c WHERE c.id = " o ".cart_id) IS TRUE)"

/* of a cart that another run has claimed, or a client has written to */
#define ngx_commerce_sql_cart_moved(o)                                        \
    "(" o ".cart_id IS NOT NULL AND (SELECT c.version = " o ".cart_version "   \
    "FROM commerce.cart c WHERE c.id = " o ".cart_id) IS NOT TRUE)"

#define ngx_commerce_sql_coupon_used(o)                                       \
    "(" o ".coupon_id IS NULL OR (SELECT true FROM commerce.coupon_use x "    \
    "WHERE x.order_id = " o ".id) IS TRUE)"

#define ngx_commerce_sql_rules_stand(o)                                       \
    "(" o ".rules = 0 OR " o ".rules = "                                      \
    "(SELECT version FROM commerce.pricing_rules))"


const ngx_commerce_pg_statement_t ngx_commerce_pg_sql_checkout[
    NGX_COMMERCE_SQL_CHECKOUT_END - NGX_COMMERCE_SQL_CHECKOUT] =
{

    { "checkout", ngx_commerce_sql_checkout("", "", "", "", "", "", "", "") },

    /*
     * Also per order $19 discount, $20 tax, $21 tax that prices contain,
     * $22 shipping, $23 customer, $24 cart, $25 coupon, $26 its code,
     * $27 version of the rules (0: none was used); per line $28 discount,
     * $29 tax, $30 tax contained; per order $31 version of the cart
     */
    { "checkout_whole", ngx_commerce_sql_checkout(
        ", $19::int8[], $20::int8[], $21::int8[], $22::int8[], $23::uuid[], "
        "$24::uuid[], $25::uuid[], $26::text[], $27::int8[], $31::int4[]",
        ", discount, tax, tax_included, shipping, customer_id, cart_id, "
        "coupon_id, coupon_code, rules, cart_version",
        ", $28::int8[], $29::int8[], $30::bool[]",
        ", discount, tax, tax_included",
        " AND " ngx_commerce_sql_cart_claimed("o")
        " AND " ngx_commerce_sql_coupon_used("o")
        " AND " ngx_commerce_sql_rules_stand("o"),
        ", discount, tax, tax_included, shipping, customer_id, cart_id, "
        "coupon_code",
        ", discount, tax, tax_included",
        "WHEN NOT " ngx_commerce_sql_coupon_used("u") " THEN CASE "
        "WHEN " ngx_commerce_sql_cart_moved("u") " THEN 5 ELSE 6 END "
        "WHEN NOT " ngx_commerce_sql_cart_claimed("u") " THEN 5 "
        "WHEN NOT " ngx_commerce_sql_rules_stand("u") " THEN 7 ") },

    /* $1 carts, $2 coupons: locked in one order, before any key is written;
       what hangs on them is counted by the next statement, whose snapshot has
       what these locks waited for */
    { "claim_lock",
        "WITH c AS MATERIALIZED (SELECT c.id FROM commerce.cart c "
        "WHERE c.id = ANY ($1::uuid[]) ORDER BY c.id FOR NO KEY UPDATE), "
        "k AS MATERIALIZED (SELECT k.id FROM commerce.coupon k "
        "WHERE k.id = ANY ($2::uuid[]) AND (SELECT count(*) FROM c) >= 0 "
        "ORDER BY k.id FOR NO KEY UPDATE) SELECT count(*) FROM k" },

    /*
     * Per order $1 id, $2 cart, $3 its version, $4 coupon, $5 its version,
     * $6 who.  Of orders for one cart the first has it; a coupon's last uses
     * go to the first orders, those whose customer has had his set aside.
     */
    { "claim",
        "WITH a AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], "
        "$2::uuid[], $3::int4[], $4::uuid[], $5::int4[], $6::text[]) "
        "WITH ORDINALITY a(id, cart_id, cart_version, coupon_id, "
        "coupon_version, who, n)), "
        "c AS MATERIALIZED (SELECT DISTINCT ON (a.cart_id) a.n "
        "FROM a JOIN commerce.cart c ON c.id = a.cart_id "
        "AND c.version = a.cart_version AND c.state = 'open' "
        "ORDER BY a.cart_id, a.n), "
        "p AS MATERIALIZED (SELECT a.n, a.id, a.coupon_id, a.who, k.used, "
        "k.limit_total, row_number() OVER (PARTITION BY a.coupon_id, a.who "
        "ORDER BY a.n) + (SELECT count(*) FROM commerce.coupon_use x "
        "WHERE x.coupon_id = a.coupon_id AND x.who = a.who) "
        "<= k.limit_per_customer AS may "
        "FROM a JOIN commerce.coupon k ON k.id = a.coupon_id "
        "AND k.version = a.coupon_version AND k.active "
        "AND now() >= coalesce(k.starts_at, '-infinity') "
        "AND now() < coalesce(k.ends_at, 'infinity') "
        "WHERE a.cart_id IS NULL OR a.n IN (SELECT n FROM c)), "
        "r AS MATERIALIZED (SELECT p.*, row_number() OVER "
        "(PARTITION BY coupon_id ORDER BY n) AS nth FROM p "
        "WHERE may IS NOT FALSE), "
        "x AS (INSERT INTO commerce.coupon_use (coupon_id, order_id, who) "
        "SELECT coupon_id, id, who FROM r "
        "WHERE limit_total IS NULL OR used + nth <= limit_total "
        "RETURNING coupon_id, order_id), "
        "k AS (UPDATE commerce.coupon k SET used = k.used + u.uses "
        "FROM (SELECT coupon_id, count(*) AS uses FROM x GROUP BY 1) u "
        "WHERE k.id = u.coupon_id) "
        "UPDATE commerce.cart t SET state = 'ordered', order_id = a.id, "
        "version = t.version + 1, updated_at = now() "
        "FROM a WHERE t.id = a.cart_id AND a.n IN (SELECT n FROM c) "
        "AND (a.coupon_id IS NULL "
        "OR a.id IN (SELECT order_id FROM x))" },

    /* $1 orders, $2 their carts: claims whose order was refused after all */
    { "unclaim",
        "WITH a AS MATERIALIZED (SELECT a.id, a.cart_id "
        "FROM unnest($1::uuid[], $2::uuid[]) a(id, cart_id) "
        "WHERE (SELECT true FROM commerce.orders o WHERE o.id = a.id) "
        "IS NULL), "
        "c AS (UPDATE commerce.cart c SET state = 'open', order_id = NULL, "
        "version = c.version - 1 FROM a WHERE c.id = a.cart_id "
        "AND c.order_id = a.id), "
        "x AS (DELETE FROM commerce.coupon_use x USING a "
        "WHERE x.order_id = a.id RETURNING x.coupon_id) "
        "UPDATE commerce.coupon k SET used = k.used - u.uses "
        "FROM (SELECT coupon_id, count(*) AS uses FROM x GROUP BY 1) u "
        "WHERE k.id = u.coupon_id" },
};
