/*
 * The commit of orders: the checkout statement's arrays, its verdicts, and
 * what is done when nobody knows how a run ended.
 *
 * Units go back to a pool only while no run of the order may still commit
 * ("uncertain" is not set), or when its key is known to be another order's.
 */

#include "ngx_commerce_checkout.h"


#define NGX_COMMERCE_REFUSALS_MAX  8
#define NGX_COMMERCE_UNCERTAIN     15000    /* msec until 503 outcome_unknown */


static ngx_int_t ngx_commerce_checkout_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_checkout_result(ngx_commerce_pg_batch_t *batch,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_checkout_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_checkout_committed(ngx_commerce_pg_batch_t *batch);
static void ngx_commerce_checkout_verdict(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_anew(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_enqueue(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_lookup(ngx_commerce_checkout_t *co);
static ngx_int_t ngx_commerce_lookup_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_lookup_result(ngx_commerce_pg_batch_t *batch,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_lookup_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_lookup_found(ngx_commerce_checkout_t *co);
static void ngx_commerce_lookup_absent(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_unknown(ngx_commerce_checkout_t *co);


#define ngx_commerce_lookup_checkout(item)                                    \
    ((ngx_commerce_checkout_t *) ((u_char *) item                             \
                            - offsetof(ngx_commerce_checkout_t, lookup)))


static ngx_commerce_pg_kind_t  ngx_commerce_checkout_kind = {
    "checkout",
    128,                                    /* items: from commerce_batch */
    8192,                                   /* lines */
    ngx_commerce_checkout_build,
    ngx_commerce_checkout_result,
    ngx_commerce_checkout_done,
    ngx_commerce_checkout_committed
};

static const ngx_commerce_pg_kind_t  ngx_commerce_lookup_kind = {
    "lookup",
    256,
    256,
    ngx_commerce_lookup_build,
    ngx_commerce_lookup_result,
    ngx_commerce_lookup_done,
    NULL
};


ngx_int_t
ngx_commerce_checkout_start(ngx_commerce_trade_t *trade)
{
    ngx_commerce_checkout_kind.max_items = trade->conf->batch;

    trade->checkouts = ngx_commerce_pg_lane_create(trade->cycle,
                           trade->orders, &ngx_commerce_checkout_kind,
                           trade->conf->queue, trade);

    trade->lookups = ngx_commerce_pg_lane_create(trade->cycle, trade->orders,
                         &ngx_commerce_lookup_kind, trade->conf->queue, trade);

    return trade->checkouts && trade->lookups ? NGX_OK : NGX_ERROR;
}


void
ngx_commerce_checkout_send(ngx_commerce_checkout_t *co)
{
    co->item.deadline = co->uncertain
                        ? ngx_current_msec + NGX_COMMERCE_UNCERTAIN
                        : co->deadline;
    ngx_commerce_checkout_enqueue(co);
}


static void
ngx_commerce_checkout_enqueue(ngx_commerce_checkout_t *co)
{
    co->item.group = co->lines[0].hold.instance;
    co->item.weight = co->nlines;

    if (ngx_commerce_pg_enqueue(co->trade->checkouts, &co->item) == NGX_OK) {
        return;
    }

    if (co->uncertain) {
        ngx_commerce_checkout_unknown(co);
        return;
    }

    ngx_commerce_checkout_put_back(co);
    ngx_commerce_checkout_refuse(co, COMMERCE_OVERLOADED,
                                 "the queue of orders is full");
}


static ngx_int_t
ngx_commerce_checkout_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn)
{
    uint64_t                       sent;
    ngx_uint_t                     i, j;
    ngx_pool_t                    *pool;
    ngx_commerce_trade_t          *trade;
    ngx_commerce_checkout_t       *co;
    ngx_commerce_pg_query_t       *q;
    ngx_commerce_checkout_line_t  *line;
    ngx_commerce_pg_array_t        id, idem, fingerprint, currency, subtotal,
                                   total, email, delivery, n, line_no, variant,
                                   lease, quantity, price, version;

    trade = ngx_commerce_pg_lane_data(batch->lane);
    pool = batch->op.pool;
    sent = ngx_commerce_clock();

    if (ngx_commerce_fence(&batch->op, conn, batch->group) != NGX_OK) {
        return NGX_ERROR;
    }

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_CHECKOUT, 18);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&id, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&idem, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&fingerprint, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&currency, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&subtotal, pool, NGX_COMMERCE_PG_INT8, batch->n);
    ngx_commerce_pg_array(&total, pool, NGX_COMMERCE_PG_INT8, batch->n);
    ngx_commerce_pg_array(&email, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&delivery, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&n, pool, NGX_COMMERCE_PG_INT4, batch->weight);
    ngx_commerce_pg_array(&line_no, pool, NGX_COMMERCE_PG_INT2, batch->weight);
    ngx_commerce_pg_array(&variant, pool, NGX_COMMERCE_PG_UUID, batch->weight);
    ngx_commerce_pg_array(&lease, pool, NGX_COMMERCE_PG_INT8, batch->weight);
    ngx_commerce_pg_array(&quantity, pool, NGX_COMMERCE_PG_INT4,
                          batch->weight);
    ngx_commerce_pg_array(&price, pool, NGX_COMMERCE_PG_INT8, batch->weight);
    ngx_commerce_pg_array(&version, pool, NGX_COMMERCE_PG_INT4, batch->weight);

    for (i = 0; i < batch->n; i++) {
        co = (ngx_commerce_checkout_t *) batch->items[i];
        co->verdict = NGX_COMMERCE_STORED;
        co->sent = sent;

        ngx_commerce_pg_push_uuid(&id, &co->id);
        ngx_commerce_pg_push_uuid(&idem, &co->idem);
        ngx_commerce_pg_push_uuid(&fingerprint, &co->fingerprint);
        ngx_commerce_pg_push_text(&currency, co->currency,
                                  COMMERCE_CURRENCY_LEN);
        ngx_commerce_pg_push_int8(&subtotal, co->totals.subtotal);
        ngx_commerce_pg_push_int8(&total, co->totals.total);

        if (co->email.len) {
            ngx_commerce_pg_push_text(&email, co->email.data, co->email.len);
        } else {
            ngx_commerce_pg_push_null(&email);
        }

        if (co->delivery.len) {
            ngx_commerce_pg_push_text(&delivery, co->delivery.data,
                                      co->delivery.len);
        } else {
            ngx_commerce_pg_push_null(&delivery);
        }

        for (j = 0; j < co->nlines; j++) {
            line = &co->lines[j];

            ngx_commerce_pg_push_int4(&n, (int32_t) (i + 1));
            ngx_commerce_pg_push_int2(&line_no, (int16_t) (j + 1));
            ngx_commerce_pg_push_uuid(&variant, &line->item.id);
            ngx_commerce_pg_push_int8(&lease, line->hold.lease);
            ngx_commerce_pg_push_int4(&quantity, (int32_t) line->quantity);
            ngx_commerce_pg_push_int8(&price, line->item.unit_price);
            ngx_commerce_pg_push_int4(&version, line->item.version);
        }
    }

    ngx_commerce_pg_int8(q, 1, batch->group);
    ngx_commerce_pg_int4(q, 2, (int32_t) conn->slot);
    ngx_commerce_pg_int4(q, 3, (int32_t) trade->conf->hold_time);
    ngx_commerce_pg_array_param(q, 4, &id);
    ngx_commerce_pg_array_param(q, 5, &idem);
    ngx_commerce_pg_array_param(q, 6, &fingerprint);
    ngx_commerce_pg_array_param(q, 7, &currency);
    ngx_commerce_pg_array_param(q, 8, &subtotal);
    ngx_commerce_pg_array_param(q, 9, &total);
    ngx_commerce_pg_array_param(q, 10, &email);
    ngx_commerce_pg_array_param(q, 11, &delivery);
    ngx_commerce_pg_array_param(q, 12, &n);
    ngx_commerce_pg_array_param(q, 13, &line_no);
    ngx_commerce_pg_array_param(q, 14, &variant);
    ngx_commerce_pg_array_param(q, 15, &lease);
    ngx_commerce_pg_array_param(q, 16, &quantity);
    ngx_commerce_pg_array_param(q, 17, &price);
    ngx_commerce_pg_array_param(q, 18, &version);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_checkout_result(ngx_commerce_pg_batch_t *batch, ngx_uint_t query,
    PGresult *res)
{
    int                       row;
    int32_t                   n;
    int64_t                   created_at, expires_at;
    ngx_uint_t                i;
    ngx_commerce_checkout_t  *co;

    if (batch->op.queries[query].statement != NGX_COMMERCE_SQL_CHECKOUT) {
        batch->op.conn->tag = batch->group;
        return;
    }

    created_at = 0;
    expires_at = 0;

    for (row = 0; row < PQntuples(res); row++) {
        n = ngx_commerce_pg_get_int4(res, row, 0);

        if (n == 0) {
            created_at = ngx_commerce_pg_get_int8(res, row, 2);
            expires_at = ngx_commerce_pg_get_int8(res, row, 3);
            continue;
        }

        if (n > 0 && (ngx_uint_t) n <= batch->n) {
            co = (ngx_commerce_checkout_t *) batch->items[n - 1];
            co->verdict = ngx_commerce_pg_get_int4(res, row, 1);
        }
    }

    for (i = 0; i < batch->n; i++) {
        co = (ngx_commerce_checkout_t *) batch->items[i];
        co->created_at = created_at;
        co->expires_at = expires_at;
    }
}


static void
ngx_commerce_checkout_committed(ngx_commerce_pg_batch_t *batch)
{
    ngx_commerce_trade_t     *trade;
    ngx_commerce_checkout_t  *co;

    trade = ngx_commerce_pg_lane_data(batch->lane);
    co = (ngx_commerce_checkout_t *) batch->items[0];

    ngx_commerce_count(trade->zone, NGX_COMMERCE_C_ORDER_BATCHES, 1);
    ngx_commerce_count(trade->zone, NGX_COMMERCE_C_DB_USEC,
                       ngx_commerce_clock() - co->sent);
}


static void
ngx_commerce_checkout_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_checkout_t  *co;

    co = (ngx_commerce_checkout_t *) item;

    if (outcome != NGX_COMMERCE_PG_NOT_SENT) {
        co->call->db_usec += ngx_commerce_clock() - co->sent;
    }

    switch (outcome) {

    case NGX_COMMERCE_PG_COMMITTED:
        ngx_commerce_checkout_verdict(co);
        return;

    case NGX_COMMERCE_PG_UNKNOWN:
        if (!co->uncertain) {
            co->uncertain = 1;
            ngx_commerce_count(co->trade->zone, NGX_COMMERCE_C_UNKNOWN, 1);
        }
        ngx_commerce_checkout_lookup(co);
        return;

    case NGX_COMMERCE_PG_NOT_SENT:
        if (co->uncertain) {
            ngx_commerce_checkout_unknown(co);
            return;
        }

        ngx_commerce_checkout_put_back(co);
        ngx_commerce_checkout_refuse(co,
            ngx_commerce_pg_is_ready(co->trade->orders)
            ? COMMERCE_OVERLOADED : COMMERCE_UNAVAILABLE,
            "the order was not sent to the database in time");
        return;

    case NGX_COMMERCE_PG_FAILED:
        ngx_log_error(NGX_LOG_ERR, co->call->log, 0,
                      "commerce: an order was refused by the database, "
                      "SQLSTATE %s, request %V", sqlstate,
                      &co->call->request_id);

        if (co->uncertain) {
            ngx_commerce_checkout_lookup(co);
            return;
        }

        ngx_commerce_checkout_put_back(co);
        ngx_commerce_checkout_refuse(co, COMMERCE_INTERNAL, NULL);
        return;
    }
}


static void
ngx_commerce_checkout_verdict(ngx_commerce_checkout_t *co)
{
    ngx_uint_t  i;

    if (co->verdict == NGX_COMMERCE_STORED) {
        for (i = 0; i < co->nlines; i++) {
            ngx_commerce_stock_sold(co->trade->zone, &co->lines[i].hold);
            co->lines[i].hold.units = 0;
        }

        ngx_commerce_checkout_stored(co);
        return;
    }

    /* a refusal of a re-run says nothing of the run before: look it up */

    if (co->uncertain || co->verdict == NGX_COMMERCE_KEY_EXISTS) {
        ngx_commerce_checkout_lookup(co);
        return;
    }

    if (++co->refusals > NGX_COMMERCE_REFUSALS_MAX) {
        ngx_commerce_checkout_put_back(co);
        ngx_commerce_checkout_refuse(co, COMMERCE_UNAVAILABLE,
                                     "refused too often, try again");
        return;
    }

    if (co->verdict == NGX_COMMERCE_STALE) {
        ngx_commerce_checkout_put_back(co);

        for (i = 0; i < co->nlines; i++) {
            ngx_commerce_stock_forget(co->trade->zone, &co->lines[i].item.id);
        }

        ngx_commerce_checkout_resolve(co);
        return;
    }

    ngx_commerce_checkout_anew(co);
}


/* The lease or its instance is no more: other units, the same order. */

static void
ngx_commerce_checkout_anew(ngx_commerce_checkout_t *co)
{
    ngx_uint_t  i;

    ngx_commerce_zone_doubt(co->trade->zone, co->lines[0].hold.instance,
                            co->verdict == NGX_COMMERCE_NOT_LIVE
                            ? "an order met the fence"
                            : "an order's lease is gone");

    for (i = 0; i < co->nlines; i++) {
        ngx_commerce_stock_sold(co->trade->zone, &co->lines[i].hold);
        co->lines[i].hold.units = 0;
    }

    ngx_commerce_checkout_reserve(co);
}


static void
ngx_commerce_checkout_lookup(ngx_commerce_checkout_t *co)
{
    co->found = 0;
    co->lookup.weight = 1;

    if (co->lookup.deadline == 0) {
        co->lookup.deadline = ngx_current_msec + NGX_COMMERCE_UNCERTAIN;
    }

    if ((ngx_msec_int_t) (co->lookup.deadline - ngx_current_msec) <= 0
        || ngx_commerce_pg_enqueue(co->trade->lookups, &co->lookup) != NGX_OK)
    {
        ngx_commerce_checkout_unknown(co);
    }
}


void
ngx_commerce_checkout_deny(ngx_commerce_checkout_t *co,
    commerce_problem_e problem, const char *detail)
{
    co->denied = problem;
    co->denied_detail = detail;

    if (co->lookup.deadline == 0) {
        co->lookup.deadline = ngx_current_msec
                              + co->trade->conf->queue_timeout;
    }

    ngx_commerce_checkout_lookup(co);
}


static ngx_int_t
ngx_commerce_lookup_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_uint_t                i;
    ngx_commerce_pg_array_t   idem;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_ORDER_BY_KEY, 1);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&idem, batch->op.pool, NGX_COMMERCE_PG_UUID,
                          batch->n);

    for (i = 0; i < batch->n; i++) {
        ngx_commerce_pg_push_uuid(&idem,
            &ngx_commerce_lookup_checkout(batch->items[i])->idem);
    }

    ngx_commerce_pg_array_param(q, 1, &idem);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_lookup_result(ngx_commerce_pg_batch_t *batch, ngx_uint_t query,
    PGresult *res)
{
    int                       row;
    int32_t                   n;
    ngx_commerce_checkout_t  *co;

    (void) query;

    for (row = 0; row < PQntuples(res); row++) {
        n = ngx_commerce_pg_get_int4(res, row, 0);

        if (n < 1 || (ngx_uint_t) n > batch->n) {
            continue;
        }

        co = ngx_commerce_lookup_checkout(batch->items[n - 1]);
        co->found = 1;

        ngx_commerce_pg_get_uuid(res, row, 1, &co->found_id);
        ngx_commerce_pg_get_uuid(res, row, 2, &co->found_fingerprint);
        co->found_lease = ngx_commerce_pg_get_int8(res, row, 3);
    }
}


static void
ngx_commerce_lookup_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_checkout_t  *co;

    (void) sqlstate;

    co = ngx_commerce_lookup_checkout(item);

    switch (outcome) {

    case NGX_COMMERCE_PG_COMMITTED:
        if (co->found) {
            ngx_commerce_lookup_found(co);
        } else {
            ngx_commerce_lookup_absent(co);
        }
        return;

    case NGX_COMMERCE_PG_UNKNOWN:
        ngx_commerce_checkout_lookup(co);
        return;

    default:
        ngx_commerce_checkout_unknown(co);
        return;
    }
}


static void
ngx_commerce_lookup_found(ngx_commerce_checkout_t *co)
{
    ngx_uint_t  i;

    if (commerce_uuid_compare(&co->found_id, &co->id) == 0) {

        /*
         * Ours.  All lines of a run are of the leases it held, so the first
         * line tells whether the units in hand are those that were sold.
         */

        if (co->lines[0].hold.units
            && co->found_lease != co->lines[0].hold.lease)
        {
            ngx_commerce_checkout_put_back(co);
        }

        for (i = 0; i < co->nlines; i++) {
            if (co->lines[i].hold.units) {
                ngx_commerce_stock_sold(co->trade->zone, &co->lines[i].hold);
                co->lines[i].hold.units = 0;
            }
        }

        /* a run before may have had other prices: the rows are right */

        ngx_commerce_checkout_let_go(co);
        ngx_commerce_count(co->trade->zone, NGX_COMMERCE_C_ORDERS, 1);
        ngx_commerce_order_show(co->call, &co->id, 201);
        return;
    }

    /* the key is another order's: no run of ours can commit any more */

    ngx_commerce_checkout_put_back(co);
    ngx_commerce_checkout_let_go(co);

    if (ngx_memcmp(&co->found_fingerprint, &co->fingerprint,
                   sizeof(commerce_uuid_t))
        != 0)
    {
        co->call->errors = NULL;
        ngx_str_null(&co->call->extra);
        ngx_commerce_refuse(co->call, COMMERCE_IDEMPOTENCY_KEY_REUSED,
                            "this key came with another request before");
        return;
    }

    ngx_commerce_count(co->trade->zone, NGX_COMMERCE_C_REPLAYS, 1);
    co->call->replayed = 1;
    ngx_commerce_order_show(co->call, &co->found_id, 201);
}


static void
ngx_commerce_lookup_absent(ngx_commerce_checkout_t *co)
{
    if (co->denied && !co->uncertain) {
        ngx_commerce_checkout_refuse(co, co->denied, co->denied_detail);
        return;
    }

    if (co->denied) {

        /* no INSERT was tried since the run that may still commit */

        ngx_commerce_checkout_unknown(co);
        return;
    }

    if (++co->refusals > NGX_COMMERCE_REFUSALS_MAX) {
        ngx_commerce_checkout_unknown(co);
        return;
    }

    if (co->verdict == NGX_COMMERCE_STALE) {

        /* a run at the old price may still commit */

        ngx_commerce_checkout_unknown(co);
        return;
    }

    if (co->verdict == NGX_COMMERCE_NOT_LIVE
        || co->verdict == NGX_COMMERCE_LEASE_GONE
        || co->lines[0].hold.instance
           != ngx_commerce_zone_instance(co->trade->zone))
    {
        co->deadline = co->lookup.deadline;
        ngx_commerce_checkout_anew(co);
        return;
    }

    ngx_commerce_checkout_send(co);
}


/* Nobody knows, or nobody answered in time. */

static void
ngx_commerce_checkout_unknown(ngx_commerce_checkout_t *co)
{
    co->call->errors = NULL;
    ngx_str_null(&co->call->extra);

    if (!co->uncertain) {
        ngx_commerce_checkout_put_back(co);
    }

    ngx_commerce_checkout_refuse(co, COMMERCE_UNAVAILABLE,
                                 "the database did not answer in time");
}
