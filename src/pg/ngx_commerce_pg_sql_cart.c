/*
 * SQL of carts.  A write is a segment of three steps: lock the carts in the
 * order of their ids; in a later statement, whose snapshot has all that the
 * lock waited for, judge and write; read what is there now.
 *
 * Plans are made when the tables may be small, and a join would then read the
 * whole of an index, for ever.  "LATERAL (... OFFSET 0)" probes it for each
 * row; so does the INSERT of carts that are there, which is but an update.
 */

#include "ngx_commerce_pg_statements.h"


#define NGX_COMMERCE_SQL_ENTRY(n)  [n - NGX_COMMERCE_SQL_CARTS]

/* "k" has the carts' numbers (n) and ids */
#define NGX_COMMERCE_SQL_CARTS_OF(k, code)                                    \
    "SELECT k.n::int4, t.id, t.state, t.expires_at <= now(), t.version, "     \
        "t.currency, t.customer_id, t.email, t.delivery::text, "              \
        "upper(t.delivery #>> '{address,country}'), "                         \
        "t.delivery #>> '{address,region}', t.delivery->>'method', "          \
        "t.order_id, t.created_at, t.expires_at, t.coupon_code, coupon.* "    \
    "FROM " k ", "                                                            \
    "LATERAL (SELECT * FROM commerce.cart t WHERE t.id = k.id OFFSET 0) t "   \
    NGX_COMMERCE_SQL_COUPON(code, "t.currency")

#define NGX_COMMERCE_SQL_LINES_OF(k)                                          \
    "SELECT k.n::int4, l.* FROM " k ", "                                      \
    "LATERAL (SELECT variant_id, quantity, seen_price "                       \
        "FROM commerce.cart_line WHERE cart_id = k.id "                       \
        "ORDER BY position, variant_id OFFSET 0) l"


const ngx_commerce_pg_statement_t  ngx_commerce_pg_sql_cart[
    NGX_COMMERCE_SQL_CARTS_END - NGX_COMMERCE_SQL_CARTS] =
{
    /* $1 ids, $2 currencies, $3 idem or NULL, $4 fingerprints, $5 seconds of
       life; rows are those whose key was there already */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_CART_CREATE) = {
        "cart_create",
        "WITH a AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], "
            "$2::text[], $3::uuid[], $4::uuid[]) WITH ORDINALITY "
            "a(id, currency, idem, fingerprint, n)), "
        "k AS (INSERT INTO commerce.idempotency (idem, fingerprint, answer) "
            "SELECT idem, fingerprint, jsonb_build_object('cart', id) "
            "FROM a WHERE idem IS NOT NULL ORDER BY idem "
            "ON CONFLICT DO NOTHING RETURNING (answer->>'cart')::uuid AS id), "
        "c AS (INSERT INTO commerce.cart (id, currency, expires_at) "
            "SELECT id, currency, now() + make_interval(secs => $5::int4) "
            "FROM a WHERE idem IS NULL OR id IN (SELECT id FROM k)) "
        "SELECT n::int4 FROM a WHERE idem IS NOT NULL "
            "AND id NOT IN (SELECT id FROM k)"
    },

    /* $1 idem: the cart that it made */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_CART_BY_KEY) = {
        "cart_by_key",
        "SELECT (answer->>'cart')::uuid, fingerprint "
        "FROM commerce.idempotency WHERE idem = $1::uuid"
    },

    /* $1 ids */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_CART_LOCK) = {
        "cart_lock",
        "SELECT count(*) FROM (SELECT FROM commerce.cart "
        "WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE) c"
    },

    /*
     * After CART_LOCK; each cart once.  $1 ids, $2 kinds (1 add to a line,
     * 2 set it, 3 remove it, 4 e-mail, 5 coupon, 6 delivery), $3 expected
     * versions or NULL, $4 variants, $5 quantities, $6 texts or NULL, $7 idem
     * or NULL, $8 fingerprints, $9 lines at most, $10 units of a line at
     * most, $11 seconds of life.
     *
     * Rows (n, code) are what was not done: 1 done before with this key,
     * 2 the key came with another request, 3 no such cart, 4 ordered,
     * 5 another version, 6 no such line, 7 too many lines, 8 too many units,
     * 9 no price in the cart's currency.
     */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_CART_WRITE) = {
        "cart_write",
        "WITH w AS MATERIALIZED (SELECT x.*, CASE "
            "WHEN known = fingerprint THEN 1 WHEN known IS NOT NULL THEN 2 "
            "WHEN lives IS NOT TRUE THEN 3 WHEN state <> 'open' THEN 4 "
            "WHEN expected <> version THEN 5 "
            "WHEN kind IN (2, 3) AND had IS NULL THEN 6 "
            "WHEN kind = 1 AND had IS NULL AND lines >= $9::int4 THEN 7 "
            "WHEN units > $10::int4 THEN 8 "
            "WHEN kind = 1 AND price IS NULL THEN 9 ELSE 0 END AS code "
            "FROM (SELECT a.*, c.*, l.quantity AS had, u.units, "
                "p.amount AS price, k.fingerprint AS known "
            "FROM unnest($1::uuid[], $2::int2[], $3::int4[], $4::uuid[], "
                "$5::int4[], $6::text[], $7::uuid[], $8::uuid[]) "
                "WITH ORDINALITY a(id, kind, expected, variant_id, quantity, "
                "text, idem, fingerprint, n) "
            "LEFT JOIN LATERAL (SELECT c.version, c.state, c.lines, "
                "c.currency, c.email, c.coupon_code, c.delivery, "
                "c.expires_at, c.expires_at > now() AS lives "
                "FROM commerce.cart c WHERE c.id = a.id OFFSET 0) c ON true "
            "LEFT JOIN LATERAL (SELECT l.quantity FROM commerce.cart_line l "
                "WHERE l.cart_id = a.id AND l.variant_id = a.variant_id "
                "OFFSET 0) l ON true "
            "CROSS JOIN LATERAL (SELECT CASE WHEN a.kind = 1 "
                "THEN coalesce(l.quantity, 0) + a.quantity "
                "ELSE a.quantity END AS units) u "
            "LEFT JOIN LATERAL (SELECT p.amount FROM commerce.price p "
                "WHERE a.kind <= 2 AND p.variant_id = a.variant_id "
                "AND p.currency = c.currency AND p.min_quantity <= u.units "
                "ORDER BY p.min_quantity DESC LIMIT 1) p ON true "
            "LEFT JOIN LATERAL (SELECT k.fingerprint "
                "FROM commerce.idempotency k WHERE k.idem = a.idem OFFSET 0) "
                "k ON true OFFSET 0) x), "
        "k AS (INSERT INTO commerce.idempotency (idem, fingerprint, answer) "
            "SELECT idem, fingerprint, '{}' FROM w "
            "WHERE code = 0 AND idem IS NOT NULL), "
        "put AS (INSERT INTO commerce.cart_line AS l (cart_id, variant_id, "
            "quantity, seen_price, position) "
            "SELECT id, variant_id, units, coalesce(price, -1), version + 1 "
            "FROM w WHERE code = 0 AND kind <= 2 "
            "ON CONFLICT (cart_id, variant_id) DO UPDATE SET "
            "quantity = EXCLUDED.quantity, seen_price = CASE "
            "WHEN EXCLUDED.seen_price < 0 THEN l.seen_price "
            "ELSE EXCLUDED.seen_price END), "
        "del AS (DELETE FROM commerce.cart_line l USING w "
            "WHERE w.code = 0 AND w.kind = 3 AND l.cart_id = ANY (ARRAY("
            "SELECT id FROM w WHERE code = 0 AND kind = 3)) "
            "AND l.cart_id = w.id AND l.variant_id = w.variant_id), "
        "upd AS (INSERT INTO commerce.cart (id, currency, version, email, "
            "coupon_code, delivery, lines, expires_at) "
            "SELECT id, currency, version + 1, "
            "CASE WHEN kind = 4 THEN text ELSE email END, "
            "CASE WHEN kind = 5 THEN text ELSE coupon_code END, "
            "CASE WHEN kind = 6 THEN text::jsonb ELSE delivery END, "
            "lines + CASE WHEN kind = 1 AND had IS NULL THEN 1 "
                "WHEN kind = 3 THEN -1 ELSE 0 END, "
            "CASE WHEN expires_at < now() + make_interval(secs => $11::int4) "
                "THEN now() + make_interval("
                    "secs => $11::int4 + $11::int4 / 16) "
                "ELSE expires_at END FROM w WHERE code = 0 "
            "ON CONFLICT (id) DO UPDATE SET version = EXCLUDED.version, "
            "email = EXCLUDED.email, coupon_code = EXCLUDED.coupon_code, "
            "delivery = EXCLUDED.delivery, lines = EXCLUDED.lines, "
            "updated_at = now(), expires_at = EXCLUDED.expires_at) "
        "SELECT n::int4, code FROM w WHERE code <> 0"
    },

    /* $1 ids */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_CART) = {
        "cart",
        NGX_COMMERCE_SQL_CARTS_OF(
            "unnest($1::uuid[]) WITH ORDINALITY k(id, n)", "t.coupon_code")
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_CART_LINES) = {
        "cart_lines",
        NGX_COMMERCE_SQL_LINES_OF(
            "unnest($1::uuid[]) WITH ORDINALITY k(id, n)")
    },

    /* $1 id, $2 code of a coupon to look at instead of the cart's or NULL;
       no array, whose length a plan would have to guess, and be made anew
       each time */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_CART_ONE) = {
        "cart_one",
        NGX_COMMERCE_SQL_CARTS_OF("(VALUES (1, $1::uuid)) k(n, id)",
                                  "coalesce($2::text, t.coupon_code)")
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_CART_ONE_LINES) = {
        "cart_one_lines",
        NGX_COMMERCE_SQL_LINES_OF("(VALUES (1, $1::uuid)) k(n, id)")
    },

    /* $1 how many at most; what is locked is in use: later */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_CART_SWEEP) = {
        "cart_sweep",
        "WITH due AS MATERIALIZED (SELECT id FROM commerce.cart "
            "WHERE expires_at <= now() ORDER BY expires_at LIMIT $1::int4 "
            "FOR UPDATE SKIP LOCKED), "
        "l AS (DELETE FROM commerce.cart_line l USING due "
            "WHERE l.cart_id = due.id), "
        "c AS (DELETE FROM commerce.cart c USING due WHERE c.id = due.id) "
        "SELECT count(*) FROM due"
    },
};
