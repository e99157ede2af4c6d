/*
 * SQL of payments and of the events that providers send.  What is not the
 * common way is functions: src/sql/0006_payments.sql.
 */

#include "ngx_commerce_pg_statements.h"


#define ngx_commerce_sql_payment(name)                                        \
    [NGX_COMMERCE_SQL_##name - NGX_COMMERCE_SQL_PAYMENT]


const ngx_commerce_pg_statement_t ngx_commerce_pg_sql_payment[
    NGX_COMMERCE_SQL_PAYMENT_END - NGX_COMMERCE_SQL_PAYMENT] =
{

    /*
     * $1 order, $2 payment, $3 idem, $4 fingerprint, $5 provider, $6 state
     * that it begins with, $7 actor; $8 seconds of hold, by which an intent
     * puts expiry off, up to twice the hold in all.
     *
     * Code 0 stored, 4 the key exists, 5 no such order, 6 another payment of
     * the order is in this batch: again, 7 illegal, 8 money for an expired
     * order: pay_late.
     */
    ngx_commerce_sql_payment(PAY) = { "pay",
        "WITH p AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], "
        "$2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], "
        "$7::text[]) WITH ORDINALITY p(order_id, id, idem, fingerprint, "
        "provider, state, actor, n)), "
        "lck AS MATERIALIZED (SELECT o.id, o.idem, o.state, o.total, "
        "o.currency FROM commerce.orders o WHERE o.id = ANY ($1::uuid[]) "
        "ORDER BY o.id FOR NO KEY UPDATE), "
        "pick AS MATERIALIZED (SELECT DISTINCT ON (order_id) n FROM p "
        "ORDER BY order_id, n), "
        "seen AS MATERIALIZED (SELECT p.n FROM p JOIN commerce.payment x "
        "USING (idem)), "
        "ins AS (INSERT INTO commerce.payment (id, order_id, idem, "
        "fingerprint, provider, state, amount, currency) "
        "SELECT p.id, p.order_id, p.idem, p.fingerprint, p.provider, "
        "p.state, l.total, l.currency FROM p JOIN lck l ON l.id = p.order_id "
        "WHERE l.state = 'pending_payment' "
        "AND p.n IN (SELECT n FROM pick) "
        "AND p.n NOT IN (SELECT n FROM seen) ORDER BY p.idem "
        "ON CONFLICT (idem) DO NOTHING "
        "RETURNING id, order_id, state, created_at), "
        "upd AS (UPDATE commerce.orders o SET state = 'paid', "
        "version = o.version + 1 FROM ins WHERE o.id = ins.order_id "
        "AND ins.state = 'succeeded' "
        "RETURNING o.id, o.version, o.state, ins.id AS payment_id), "
        "ev AS (INSERT INTO commerce.order_event (order_id, seq, type, "
        "state, actor, data) SELECT u.id, u.version, 'paid', u.state, "
        "p.actor, jsonb_build_object('payment_id', p.id, 'provider', "
        "p.provider, 'amount', l.total, 'currency', l.currency) "
        "FROM upd u JOIN p ON p.id = u.payment_id JOIN lck l ON l.id = u.id), "
        "ext AS (UPDATE commerce.orders o SET expires_at = "
        "least(now() + make_interval(secs => $8::int4), "
        "o.created_at + make_interval(secs => 2 * $8::int4)) FROM ins "
        "WHERE o.id = ins.order_id AND ins.state = 'pending' "
        "AND o.expires_at < least(now() + make_interval(secs => $8::int4), "
        "o.created_at + make_interval(secs => 2 * $8::int4))) "
        "SELECT p.n::int4, CASE WHEN i.id IS NOT NULL THEN 0 "
        "WHEN l.id IS NULL THEN 5 WHEN s.n IS NOT NULL THEN 4 "
        "WHEN l.state = 'expired' AND p.state = 'succeeded' THEN 8 "
        "WHEN l.state <> 'pending_payment' OR EXISTS (SELECT FROM ins x "
        "WHERE x.order_id = l.id AND x.state = 'succeeded') THEN 7 "
        "WHEN k.n IS NULL THEN 6 ELSE 4 END, l.idem, l.total, "
        "l.currency, i.created_at, i.state, NULL::text "
        "FROM p LEFT JOIN lck l ON l.id = p.order_id "
        "LEFT JOIN ins i ON i.id = p.id LEFT JOIN pick k ON k.n = p.n "
        "LEFT JOIN seen s ON s.n = p.n" },

    /* $1 order, $2 payment, $3 idem, $4 fingerprint, $5 provider, $6 actor,
       $7 last try; columns of "pay" */
    ngx_commerce_sql_payment(PAY_LATE) = { "pay_late",
        "SELECT n, code, subject, amount, currency, created_at, state, "
        "reason FROM commerce.pay_late($1::uuid, $2::uuid, $3::uuid, "
        "$4::uuid, $5::text, $6::text, $7::bool)" },

    ngx_commerce_sql_payment(PAYMENT_BY_KEY) = { "payment_by_key",
        "SELECT p.id, p.fingerprint, o.idem, p.amount, p.currency, "
        "p.created_at, p.state, p.reason FROM commerce.payment p "
        "JOIN commerce.orders o ON o.id = p.order_id "
        "WHERE p.idem = $1::uuid" },

    /* $1 provider, $2 id, $3 type, $4 order, $5 payment, $6 reference,
       $7 amount, $8 currency, $9 body, $10 last try */
    ngx_commerce_sql_payment(TAKE_EVENTS) = { "take_events",
        "SELECT n, status, reason, order_id, order_state, order_idem, "
        "payment_id, payment_state, free, effect FROM commerce.take_events("
        "$1::text[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], "
        "$6::text[], $7::int8[], $8::text[], $9::text[], $10::bool[])" },

    /* $1 how many at most */
    ngx_commerce_sql_payment(RETRY_EVENTS) = { "retry_events",
        "SELECT n, status, reason, order_id, order_state, order_idem, "
        "payment_id, payment_state, free, effect "
        "FROM commerce.retry_events($1::int4)" },

    ngx_commerce_sql_payment(WAITING_EVENTS) = { "waiting_events",
        "SELECT count(*) FROM (SELECT FROM commerce.webhook_event "
        "WHERE state = 'stored' LIMIT 100000) e" },

    /* $1 days; a signature is good for minutes, and no provider sends an
       event again for that long */
    ngx_commerce_sql_payment(OLD_EVENTS) = { "old_events",
        "DELETE FROM commerce.webhook_event w USING ("
        "SELECT x.provider, x.event_id FROM commerce.webhook_event x "
        "WHERE x.state IN ('applied', 'ignored') "
        "AND x.received_at < now() - make_interval(days => $1::int4) "
        "ORDER BY x.received_at LIMIT 1000 FOR UPDATE SKIP LOCKED) d "
        "WHERE w.provider = d.provider AND w.event_id = d.event_id" }
};
