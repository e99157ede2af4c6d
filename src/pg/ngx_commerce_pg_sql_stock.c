/*
 * SQL of orders, stock and instances.  The rules behind the shapes (why the
 * locks are sorted, why a lock and the sum that needs it are two statements,
 * why refusals are values): docs/architecture.md, "The statements".
 */

#include "ngx_commerce_pg_statements.h"


/*
 * Plans are generic and made when tables are empty, so a predicate that must
 * not choose the index is written as "instance_id + 0", and a test of existence
 * that must probe as a scalar subquery: EXISTS may be hashed, which reads every
 * open lease.
 */

#define ngx_commerce_sql_fenced                                               \
    "SELECT 1 FROM commerce.fence "                                           \
    "WHERE instance_id = $1::int8 AND slot = $2::int4 AND state = 'live' "    \
    "FOR KEY SHARE"

/* what CTE "back" (variant_id, location_id, units) gives back to stock.free;
   rows sorted, news for those that had nothing */
#define ngx_commerce_sql_restock                                              \
    "lk AS MATERIALIZED ("                                                    \
    "SELECT s.variant_id, s.location_id, s.free, b.units "                    \
    "FROM commerce.stock s JOIN back b USING (variant_id, location_id) "      \
    "WHERE b.units > 0 ORDER BY 1, 2 FOR NO KEY UPDATE OF s), "               \
    "st AS (UPDATE commerce.stock s SET free = s.free + lk.units FROM lk "    \
    "WHERE s.variant_id = lk.variant_id "                                     \
    "AND s.location_id = lk.location_id "                                     \
    "RETURNING s.variant_id, least(s.free, 2147483647)::int4 AS free), "      \
    "news AS MATERIALIZED (SELECT commerce.news('v', variant_id) AS n "       \
    "FROM lk WHERE free = 0) "

/* CTE "orders" (id, coupon_code) left pending_payment unpaid: uses of coupons
   go back before any row of stock is locked */
#define ngx_commerce_sql_lines_back(orders)                                   \
    "coupons AS MATERIALIZED ("                                               \
    "SELECT commerce.coupon_release(array_agg(id)) AS n FROM " orders " "     \
    "WHERE coupon_code IS NOT NULL HAVING count(*) > 0), "                    \
    "back AS MATERIALIZED ("                                                  \
    "SELECT l.variant_id, x.location_id, sum(l.quantity) AS units "           \
    "FROM " orders ", LATERAL (SELECT l.variant_id, l.lease_id, l.quantity "  \
    "FROM commerce.order_line l WHERE l.order_id = " orders ".id OFFSET 0) "  \
    "l, LATERAL (SELECT x.location_id FROM commerce.lease x "                 \
    "WHERE x.id = l.lease_id OFFSET 0) x "                                    \
    "WHERE (SELECT count(n) FROM coupons) >= 0 GROUP BY 1, 2), "


const ngx_commerce_pg_statement_t
    ngx_commerce_pg_sql_stock[NGX_COMMERCE_SQL_STOCK_N] =
{

    /* $1 instance, $2 slot */
    [NGX_COMMERCE_SQL_FENCE] = { "fence",
        "WITH i AS MATERIALIZED (SELECT id FROM commerce.instance "
        "WHERE id = $1::int8 AND state = 'live' FOR KEY SHARE), "
        "f AS (INSERT INTO commerce.fence (instance_id, slot) "
        "SELECT id, $2::int4 FROM i ON CONFLICT DO NOTHING) "
        "SELECT count(*) FROM i" },

    /* $1 keys; after the batch that was refused or lost */
    [NGX_COMMERCE_SQL_ORDER_BY_KEY] = { "order_by_key",
        "SELECT k.n::int4, o.id, o.fingerprint, "
        "(SELECT l.lease_id FROM commerce.order_line l "
        "WHERE l.order_id = o.id AND l.line_no = 1) "
        "FROM unnest($1::uuid[]) WITH ORDINALITY k(idem, n) "
        "JOIN commerce.orders o USING (idem)" },

    /* $1 order, $2 for the staff; what follows a payment is version 3 */
    [NGX_COMMERCE_SQL_ORDER] = { "order",
        "SELECT " NGX_COMMERCE_SQL_ORDER_COLUMNS
        "CASE WHEN version > 2 THEN commerce.shipments_of(id) END, "
        "CASE WHEN version > 2 THEN commerce.refunds_of(id, $2::bool) END, "
        "CASE WHEN $2::bool THEN commerce.payments_of(id) END "
        "FROM commerce.orders WHERE id = $1::uuid" },

    [NGX_COMMERCE_SQL_ORDER_LINES] = { "order_lines",
        "SELECT variant_id, sku, title, quantity, unit_price, discount, tax, "
        "fulfilled, refunded FROM commerce.order_line "
        "WHERE order_id = $1::uuid ORDER BY line_no" },

    /* $1 order, $2 idem (NULL: no key), $3 fingerprint, $4 actor; the rows
       of stock last, once, sorted.  The last column is the fingerprint that
       the key had before. */
    [NGX_COMMERCE_SQL_CANCEL] = { "cancel",
        "WITH o AS MATERIALIZED (SELECT id, state, idem "
        "FROM commerce.orders WHERE id = $1::uuid FOR NO KEY UPDATE), "
        "u AS (UPDATE commerce.orders x SET state = 'cancelled', "
        "version = x.version + 1 FROM o WHERE x.id = o.id "
        "AND o.state = 'pending_payment' "
        "RETURNING x.id, x.version, x.coupon_code), "
        "e AS (INSERT INTO commerce.order_event (order_id, seq, type, state, "
        "actor) SELECT id, version, 'cancelled', 'cancelled', $4::text "
        "FROM u), "
        "k AS (INSERT INTO commerce.idempotency (idem, fingerprint, answer) "
        "SELECT $2::uuid, $3::uuid, '{}' FROM u WHERE $2::uuid IS NOT NULL "
        "ON CONFLICT DO NOTHING), "
        ngx_commerce_sql_lines_back("u") ngx_commerce_sql_restock
        "SELECT o.state, o.idem, st.variant_id, st.free, "
        "(SELECT count(n) FROM news), (SELECT i.fingerprint "
        "FROM commerce.idempotency i WHERE i.idem = $2::uuid) "
        "FROM o LEFT JOIN st ON true" },

    /* $1 how many at most; rows (order, idem) or (variant, free) */
    [NGX_COMMERCE_SQL_EXPIRE] = { "expire",
        "WITH due AS MATERIALIZED (SELECT id FROM commerce.orders "
        "WHERE state = 'pending_payment' AND expires_at <= now() "
        "ORDER BY expires_at LIMIT $1::int4 "
        "FOR NO KEY UPDATE SKIP LOCKED), "
        "u AS (UPDATE commerce.orders x SET state = 'expired', "
        "version = x.version + 1 FROM due WHERE x.id = due.id "
        "RETURNING x.id, x.idem, x.version, x.coupon_code), "
        "e AS (INSERT INTO commerce.order_event (order_id, seq, type, state, "
        "actor) SELECT id, version, 'expired', 'expired', 'system' FROM u), "
        ngx_commerce_sql_lines_back("u") ngx_commerce_sql_restock
        "SELECT true AS is_order, u.idem AS id, 0 AS free FROM u UNION ALL "
        "SELECT false, st.variant_id, st.free FROM st "
        "WHERE (SELECT count(n) FROM news) >= 0" },

    /* $1 instance, $2 slot, $3 variants: first of a segment that returns or
       grants.  Rows of stock before rows of leases, here and in settlement;
       who holds a variant's row of stock has its leases, too. */
    [NGX_COMMERCE_SQL_LOCK_STOCK] = { "lock_stock",
        "WITH me AS MATERIALIZED (" ngx_commerce_sql_fenced "), "
        "lk AS MATERIALIZED (SELECT 1 FROM commerce.stock s "
        "WHERE s.variant_id = ANY ($3::uuid[]) AND EXISTS (SELECT FROM me) "
        "ORDER BY s.variant_id, s.location_id FOR NO KEY UPDATE OF s) "
        "SELECT count(*) FROM lk" },

    /* $1 instance, $2 slot, $3 ids of the returns, $4 leases, $5 units */
    [NGX_COMMERCE_SQL_RETURN] = { "return",
        "WITH me AS MATERIALIZED (" ngx_commerce_sql_fenced "), "
        "x AS MATERIALIZED (SELECT x.id, x.variant_id, x.location_id "
        "FROM commerce.lease x WHERE x.id = ANY ($4::int8[]) "
        "AND x.instance_id + 0 = $1::int8 AND x.closed_at IS NULL "
        "AND EXISTS (SELECT FROM me) ORDER BY x.id "
        "FOR NO KEY UPDATE OF x), "
        "t AS (INSERT INTO commerce.lease_return (id, lease_id, units) "
        "SELECT a.id, a.lease_id, a.units FROM unnest($3::int8[], "
        "$4::int8[], $5::int4[]) a(id, lease_id, units) "
        "JOIN x ON x.id = a.lease_id ON CONFLICT (id) DO NOTHING "
        "RETURNING lease_id, units), "
        "r AS MATERIALIZED (SELECT lease_id, sum(units) AS units "
        "FROM t GROUP BY lease_id), "
        "u AS (UPDATE commerce.lease l SET returned = l.returned + r.units "
        "FROM r WHERE l.id = r.lease_id), "
        "back AS MATERIALIZED (SELECT x.variant_id, x.location_id, "
        "sum(r.units) AS units FROM r JOIN x ON x.id = r.lease_id "
        "GROUP BY 1, 2), "
        ngx_commerce_sql_restock
        "SELECT coalesce(sum(units), 0)::int8, (SELECT count(n) FROM news) "
        "FROM lk" },

    /* $1 instance, $2 slot, $3 new ids, $4 variants, $5 what requests wait
       for, $6 the least that helps one of them, $7 stock-up; one lease of a
       variant at a time, else both would be cut from the same units */
    [NGX_COMMERCE_SQL_GRANT] = { "grant",
        "WITH me AS MATERIALIZED (" ngx_commerce_sql_fenced "), "
        "n AS MATERIALIZED (SELECT CASE WHEN count(*) > 1 "
        "THEN 2 * count(*) ELSE 1 END::int4 AS n "
        "FROM commerce.instance WHERE state = 'live'), "
        "g AS MATERIALIZED (SELECT a.id, s.variant_id, s.location_id, "
        "CASE WHEN s.free >= a.need THEN a.need "
        "+ least(a.extra, (s.free - a.need) / n.n) ELSE s.free END "
        "AS units_ FROM (SELECT DISTINCT ON (variant_id) * "
        "FROM unnest($3::int8[], $4::uuid[], $5::int4[], $6::int4[], "
        "$7::int4[]) a(id, variant_id, need, least_, extra) "
        "ORDER BY variant_id, id) a JOIN commerce.stock s "
        "ON s.variant_id = a.variant_id AND s.location_id + 0 = 1, n "
        "WHERE s.free >= greatest(a.least_, 1) AND EXISTS (SELECT FROM me) "
        "ORDER BY s.variant_id, s.location_id FOR NO KEY UPDATE OF s), "
        "i AS (INSERT INTO commerce.lease (id, instance_id, variant_id, "
        "location_id, granted) SELECT id, $1::int8, variant_id, location_id, "
        "least(units_, 1000000000)::int4 FROM g WHERE units_ > 0 "
        "ON CONFLICT (id) DO NOTHING "
        "RETURNING variant_id, location_id, granted) "
        "UPDATE commerce.stock s SET free = s.free - i.granted FROM i "
        "WHERE s.variant_id = i.variant_id "
        "AND s.location_id = i.location_id" },

    /* the same $1 to $5: what this run or an earlier one was granted, and,
       where that is not enough, what is unused on all own leases by the rows:
       units in pools, in hand or on their way back */
    [NGX_COMMERCE_SQL_GRANTED] = { "granted",
        "SELECT n, granted, free, CASE WHEN granted >= greatest(need, 1) "
        "THEN granted::int8 ELSE (SELECT coalesce(sum(y.granted - y.returned "
        "- coalesce((SELECT sum(l.quantity) FROM commerce.order_line l "
        "WHERE l.lease_id = y.id), 0)), 0)::int8 FROM commerce.lease y "
        "WHERE y.variant_id = g.variant_id AND y.closed_at IS NULL "
        "AND y.instance_id + 0 = $1::int8) END, "
        "(SELECT true FROM commerce.lease y "
        "WHERE y.variant_id = g.variant_id AND y.closed_at IS NULL "
        "AND y.instance_id <> $1::int8 LIMIT 1) IS NOT NULL, "
        "EXISTS (SELECT FROM commerce.fence WHERE instance_id = $1::int8 "
        "AND slot = $2::int4 AND state = 'live') "
        "FROM (SELECT a.n::int4 AS n, a.variant_id, a.need, "
        "CASE WHEN x.instance_id = $1::int8 AND x.closed_at IS NULL "
        "THEN x.granted ELSE 0 END AS granted, "
        "least(coalesce(s.free, 0), 2147483647)::int4 AS free "
        "FROM unnest($3::int8[], $4::uuid[], $5::int4[]) WITH ORDINALITY "
        "a(id, variant_id, need, n) "
        "LEFT JOIN commerce.lease x ON x.id = a.id "
        "LEFT JOIN commerce.stock s ON s.variant_id = a.variant_id "
        "AND s.location_id + 0 = 1 OFFSET 0) g" },

    /* $1 instance, $2 variants, $3 what requests wait for: exact whatever is
       in flight and whoever closes, since lines and returns that add up to
       the grant leave nothing for anybody.  Those of others only where units
       are short, for a request there waits while they are open; what is
       locked its own instance is about to close. */
    [NGX_COMMERCE_SQL_CLOSE_USED] = { "close_used",
        "WITH low AS MATERIALIZED (SELECT a.variant_id "
        "FROM unnest($2::uuid[], $3::int4[]) a(variant_id, need) "
        "JOIN commerce.stock s ON s.variant_id = a.variant_id "
        "AND s.location_id + 0 = 1 WHERE s.free < a.need), "
        "u AS MATERIALIZED (SELECT x.id FROM commerce.lease x "
        "WHERE x.closed_at IS NULL AND x.variant_id = ANY ($2::uuid[]) "
        "AND (x.instance_id + 0 = $1::int8 "
        "OR x.variant_id IN (SELECT variant_id FROM low)) "
        "AND x.granted = x.returned + (SELECT coalesce(sum(l.quantity), 0) "
        "FROM commerce.order_line l WHERE l.lease_id = x.id) "
        "FOR NO KEY UPDATE OF x SKIP LOCKED) "
        "UPDATE commerce.lease x SET closed_at = now() FROM u "
        "WHERE x.id = u.id" },

    /* $1 instance, $2 after this lease, $3 leases at most: looks at so many,
       and closes those that others have replaced and that are used up.  Their
       lines are found all at once, in the order of the heap: that costs a
       fraction of what it takes lease by lease. */
    [NGX_COMMERCE_SQL_CLOSE_REPLACED] = { "close_replaced",
        "WITH c AS MATERIALIZED (SELECT x.id, x.variant_id, x.returned, "
        "x.created_at FROM commerce.lease x WHERE x.instance_id = $1::int8 "
        "AND x.closed_at IS NULL AND x.id > $2::int8 "
        "ORDER BY x.id LIMIT $3::int4), "
        "r AS MATERIALIZED (SELECT c.id FROM c WHERE c.returned > 0 "
        "OR (SELECT true FROM commerce.lease y "
        "WHERE y.variant_id = c.variant_id AND y.closed_at IS NULL "
        "AND y.instance_id + 0 = $1::int8 AND y.created_at > c.created_at "
        "LIMIT 1)), "
        "n AS MATERIALIZED (SELECT l.lease_id, sum(l.quantity) AS units "
        "FROM commerce.order_line l "
        "WHERE l.lease_id = ANY (ARRAY(SELECT r.id FROM r)) "
        "GROUP BY l.lease_id), "
        "u AS MATERIALIZED (SELECT x.id FROM commerce.lease x "
        "JOIN r ON r.id = x.id LEFT JOIN n ON n.lease_id = x.id "
        "WHERE x.closed_at IS NULL AND x.granted = x.returned "
        "+ coalesce(n.units, 0) FOR NO KEY UPDATE OF x SKIP LOCKED), "
        "d AS (UPDATE commerce.lease x SET closed_at = now() FROM u "
        "WHERE x.id = u.id) SELECT max(id), count(*)::int4 FROM c" },

    /* $1 variant, $2 the instance that asks */
    [NGX_COMMERCE_SQL_RECALL] = { "recall",
        "SELECT 1 FROM pg_notify('commerce_news', "
        "'r ' || $1::uuid || ' ' || $2::int8)" },

    /* $1 new instance, $2 the one that it replaces (0: none), $3 master */
    [NGX_COMMERCE_SQL_REGISTER] = { "register",
        "WITH old AS (UPDATE commerce.instance SET state = 'dying' "
        "WHERE id = $2::int8 AND state = 'live'), "
        "i AS (INSERT INTO commerce.instance (id, master) "
        "VALUES ($1::int8, $3::int8) "
        "ON CONFLICT DO NOTHING RETURNING id) "
        "INSERT INTO commerce.heartbeat (instance_id) SELECT id FROM i "
        "ON CONFLICT DO NOTHING" },

    /* $1 instance: alive, live instances, synchronous standby configured */
    [NGX_COMMERCE_SQL_HEARTBEAT] = { "heartbeat",
        "WITH me AS (UPDATE commerce.heartbeat h SET at = clock_timestamp() "
        "FROM commerce.instance i WHERE h.instance_id = $1::int8 "
        "AND i.id = $1::int8 AND i.state = 'live' RETURNING h.instance_id) "
        "SELECT EXISTS (SELECT FROM me), (SELECT count(*) "
        "FROM commerce.instance WHERE state = 'live'), "
        "current_setting('synchronous_standby_names') <> ''" },

    /* $1 own instance, $2 ttl in ms, $3 may judge */
    [NGX_COMMERCE_SQL_SETTLE_CANDIDATES] = { "settle_candidates",
        "SELECT i.id, i.state = 'dying' FROM commerce.instance i "
        "LEFT JOIN commerce.heartbeat h ON h.instance_id = i.id "
        "WHERE i.id <> $1::int8 AND i.state <> 'dead' "
        "AND (i.state = 'dying' OR ($3::bool "
        "AND coalesce(h.at, i.started_at) "
        "< now() - $2::int4 * interval '1 ms')) ORDER BY i.id LIMIT 16" },

    /* $1 instance, $2 ttl in ms: only if its heartbeat is still stale;
       0: whatever it is (one's own).  Its fences do not admit new batches
       from here; running ones hold theirs FOR KEY SHARE and go on. */
    [NGX_COMMERCE_SQL_SETTLE_DYING] = { "settle_dying",
        "WITH i AS (UPDATE commerce.instance i SET state = 'dying' "
        "WHERE i.id = $1::int8 AND i.state = 'live' AND ($2::int4 = 0 "
        "OR NOT EXISTS (SELECT FROM commerce.heartbeat h "
        "WHERE h.instance_id = i.id "
        "AND h.at >= now() - $2::int4 * interval '1 ms')) RETURNING i.id), "
        "f AS MATERIALIZED (SELECT f.slot FROM commerce.fence f "
        "WHERE f.instance_id = $1::int8 AND f.state = 'live' "
        "AND (EXISTS (SELECT FROM i) OR EXISTS (SELECT "
        "FROM commerce.instance y WHERE y.id = $1::int8 "
        "AND y.state = 'dying')) ORDER BY f.slot FOR NO KEY UPDATE OF f) "
        "UPDATE commerce.fence x SET state = 'dead' FROM f "
        "WHERE x.instance_id = $1::int8 AND x.slot = f.slot" },

    /* $1 instance: a torn batch lives on for as long as its peer is frozen;
       not where its master lives on with another instance */
    [NGX_COMMERCE_SQL_SETTLE_TERMINATE] = { "settle_terminate",
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name LIKE (SELECT 'commerce/' || i.master || '/%' "
        "FROM commerce.instance i WHERE i.id = $1::int8 AND NOT EXISTS ("
        "SELECT FROM commerce.instance y WHERE y.master = i.master "
        "AND y.state = 'live')) "
        "AND usename = current_user AND pid <> pg_backend_pid()" },

    [NGX_COMMERCE_SQL_SETTLE_LOCK] = { "settle_lock",
        "SELECT 1 FROM commerce.instance WHERE id = $1::int8 "
        "AND state = 'dying' FOR UPDATE" },

    [NGX_COMMERCE_SQL_SETTLE_LOCK_FENCES] = { "settle_lock_fences",
        "SELECT 1 FROM commerce.fence WHERE instance_id = $1::int8 "
        "ORDER BY slot FOR UPDATE" },

    /* $1 instance; its rows are locked by earlier statements: the sums here
       have a snapshot that sees every batch they waited for */
    [NGX_COMMERCE_SQL_SETTLE] = { "settle",
        "WITH rem AS MATERIALIZED (SELECT x.id, x.variant_id, x.location_id, "
        "(x.granted - x.returned - coalesce((SELECT sum(l.quantity) "
        "FROM commerce.order_line l WHERE l.lease_id = x.id), 0))::int8 "
        "AS rest FROM commerce.lease x WHERE x.instance_id = $1::int8 "
        "AND x.closed_at IS NULL AND EXISTS (SELECT "
        "FROM commerce.instance WHERE id = $1::int8 AND state = 'dying')), "
        "mark AS (UPDATE commerce.lease x SET closed_at = now(), "
        "returned = x.returned + greatest(rem.rest, 0) FROM rem "
        "WHERE x.id = rem.id AND x.closed_at IS NULL), "
        "back AS MATERIALIZED (SELECT variant_id, location_id, "
        "sum(greatest(rest, 0)) AS units FROM rem GROUP BY 1, 2), "
        ngx_commerce_sql_restock
        "SELECT st.variant_id, st.free, (SELECT coalesce(min(rest), 0) "
        "FROM rem) < 0, (SELECT count(n) FROM news) FROM st" },

    [NGX_COMMERCE_SQL_SETTLE_DEAD] = { "settle_dead",
        "WITH i AS (UPDATE commerce.instance SET state = 'dead', "
        "ended_at = now() WHERE id = $1::int8 AND state = 'dying' "
        "RETURNING id), "
        "f AS (UPDATE commerce.fence f SET state = 'dead' FROM i "
        "WHERE f.instance_id = i.id) "
        "DELETE FROM commerce.heartbeat h USING i "
        "WHERE h.instance_id = i.id" },

    /* $1 instance: units of its open leases that no line has */
    [NGX_COMMERCE_SQL_UNUSED] = { "unused",
        "SELECT coalesce(sum(x.granted - x.returned - coalesce((SELECT "
        "sum(l.quantity) FROM commerce.order_line l "
        "WHERE l.lease_id = x.id), 0)), 0)::int8 FROM commerce.lease x "
        "WHERE x.instance_id = $1::int8 AND x.closed_at IS NULL" },

    /* $1 seconds that a key of a write other than an order is kept */
    [NGX_COMMERCE_SQL_RETENTION] = { "retention",
        "WITH k AS (DELETE FROM commerce.idempotency "
        "WHERE created_at < now() - make_interval(secs => $1::int4)), "
        "r AS (DELETE FROM commerce.lease_return r USING commerce.lease x "
        "WHERE x.id = r.lease_id "
        "AND x.closed_at < now() - interval '1 hour') "
        "DELETE FROM commerce.fence f USING commerce.instance i "
        "WHERE i.id = f.instance_id AND i.state = 'dead' "
        "AND i.ended_at < now() - interval '1 hour'" },
};
