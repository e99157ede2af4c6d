/*
 * SQL of the checkout, in two forms: the plain one has what every order has;
 * the whole one also prices with rules, claims carts and uses coupons up.
 * docs/architecture.md, "The statements", has the reasons for the shapes.
 */

#include "ngx_commerce_pg_statements.h"


/*
 * $1 instance, $2 slot, $3 seconds of hold, $4 epoch of the catalogue; per
 * order $5 id, $6 idem, $7 fingerprint, $8 currency, $9 subtotal, $10 total,
 * $11 email, $12 delivery; per line $13 its order, $14 line_no, $15 variant,
 * $16 lease, $17 quantity, $18 unit price, $19 version, $20 known, $21 sku,
 * $22 title.
 *
 * Row n = 0: the time of the transaction and of expiry, and the epoch.  Other
 * rows are refused orders: 1 instance not live, 2 a line without its lease,
 * 3 a variant's version has moved, 4 the key exists; of the whole form also
 * 5 another version of the cart, 6 the coupon cannot be used, 7 other rules.
 *
 * A line is known when a statement on this connection has found its lease, and
 * its variant's version in epoch $4: what it need not look up again.  A lease
 * never changes hands, and is closed by rows that count its lines or behind
 * the fence; a version does not move within an epoch.
 */
#define ngx_commerce_sql_checkout(more_params, more_names, more_lines,        \
    more_line_names, allowed, columns, line_columns, refused)                 \
    "WITH fence AS MATERIALIZED (SELECT 1 FROM commerce.fence "               \
    "WHERE instance_id = $1::int8 AND slot = $2::int4 AND state = 'live' "    \
    "FOR KEY SHARE), "                                                        \
    "l AS MATERIALIZED ("                                                     \
    "SELECT l.*, (l.known AND (SELECT c.epoch = $4::int8 "                    \
    "FROM commerce.catalogue_epoch c WHERE c.one)) IS NOT TRUE "              \
    "AND (SELECT v.version = l.version FROM commerce.variant v "              \
    "WHERE v.id = l.variant_id) IS NOT TRUE AS stale, "                       \
    "l.known IS NOT TRUE "                                                    \
    "AND (SELECT x.instance_id = $1::int8 AND x.variant_id = l.variant_id "   \
    "AND x.closed_at IS NULL FROM commerce.lease x "                          \
    "WHERE x.id = l.lease_id) IS NOT TRUE AS loose "                          \
    "FROM unnest($13::uuid[], $14::int2[], $15::uuid[], $16::int8[], "        \
    "$17::int4[], $18::int8[], $19::int4[], $20::bool[], $21::text[], "       \
    "$22::text[]" more_lines ") "                                             \
    "l(order_id, line_no, variant_id, lease_id, quantity, unit_price, "       \
    "version, known, sku, title" more_line_names ")), "                       \
    "bad AS MATERIALIZED (SELECT order_id AS id, bool_or(loose) AS loose "    \
    "FROM l WHERE stale OR loose GROUP BY order_id), "                        \
    "ins AS (INSERT INTO commerce.orders (id, idem, fingerprint, "            \
    "instance_id, currency, subtotal, total, email, delivery, "               \
    "expires_at" columns ") "                                                 \
    "SELECT o.id, o.idem, o.fingerprint, $1::int8, o.currency, o.subtotal, "  \
    "o.total, o.email, o.delivery::jsonb, "                                   \
    "(SELECT now() + $3::int4 * interval '1 s')" columns " "                  \
    "FROM unnest($5::uuid[], $6::uuid[], $7::uuid[], $8::text[], "            \
    "$9::int8[], $10::int8[], $11::text[], $12::text[]" more_params ") "      \
    "o(id, idem, fingerprint, currency, subtotal, total, email, "             \
    "delivery" more_names ") "                                                \
    "WHERE EXISTS (SELECT FROM fence) "                                       \
    "AND o.id NOT IN (SELECT b.id FROM bad b)" allowed " "                    \
    "ORDER BY o.idem ON CONFLICT (idem) DO NOTHING RETURNING id), "           \
    "lin AS (INSERT INTO commerce.order_line (order_id, line_no, "            \
    "variant_id, lease_id, quantity, unit_price, sku, title" line_columns     \
    ") SELECT l.order_id, l.line_no, l.variant_id, l.lease_id, l.quantity, "  \
    "l.unit_price, l.sku, l.title" line_columns " "                           \
    "FROM ins JOIN l ON l.order_id = ins.id) "                                \
    "SELECT 0 AS n, 0 AS code, now() AS created_at, "                         \
    "now() + $3::int4 * interval '1 s' AS expires_at, "                       \
    "(SELECT c.epoch FROM commerce.catalogue_epoch c WHERE c.one) AS epoch "  \
    "UNION ALL "                                                              \
    "SELECT u.n::int4, CASE WHEN NOT EXISTS (SELECT FROM fence) THEN 1 "      \
    "WHEN b.loose THEN 2 WHEN b.id IS NOT NULL THEN 3 " refused "ELSE 4 END, " \
    "NULL, NULL, NULL FROM unnest($5::uuid[]" more_params ") "                \
    "WITH ORDINALITY u(id" more_names ", n) "                                 \
    "LEFT JOIN bad b ON b.id = u.id "                                         \
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
     * Also per order $23 discount, $24 tax, $25 tax that prices contain,
     * $26 shipping, $27 customer, $28 cart, $29 coupon, $30 its code,
     * $31 version of the rules (0: none was used); per line $32 discount,
     * $33 tax, $34 tax contained; per order $35 version of the cart
     */
    { "checkout_whole", ngx_commerce_sql_checkout(
        ", $23::int8[], $24::int8[], $25::int8[], $26::int8[], $27::uuid[], "
        "$28::uuid[], $29::uuid[], $30::text[], $31::int8[], $35::int4[]",
        ", discount, tax, tax_included, shipping, customer_id, cart_id, "
        "coupon_id, coupon_code, rules, cart_version",
        ", $32::int8[], $33::int8[], $34::bool[]",
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
