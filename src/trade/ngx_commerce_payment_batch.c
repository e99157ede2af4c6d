/*
 * The commit of payments: the statement's arrays, its verdicts, and what is
 * done when nobody knows how a run ended.
 */

#include "ngx_commerce_payment.h"


#define NGX_COMMERCE_PAYMENT_AGAIN  8


static ngx_int_t ngx_commerce_payment_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_payment_result(ngx_commerce_pg_batch_t *batch,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_payment_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_payment_facts(ngx_commerce_payment_t *pay,
    PGresult *res, int row, int col);
static void ngx_commerce_payment_stored(ngx_commerce_payment_t *pay);
static ngx_int_t ngx_commerce_payment_lookup_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_payment_lookup_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_payment_lookup_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


static const ngx_commerce_pg_kind_t  ngx_commerce_payment_kind = {
    "payment",
    256,
    256,
    ngx_commerce_payment_build,
    ngx_commerce_payment_result,
    ngx_commerce_payment_done,
    NULL
};


ngx_int_t
ngx_commerce_payment_start(ngx_commerce_trade_t *trade)
{
    trade->payments = ngx_commerce_pg_lane_create(trade->cycle, trade->orders,
                          &ngx_commerce_payment_kind, trade->conf->queue,
                          trade);

    return trade->payments ? NGX_OK : NGX_ERROR;
}


void
ngx_commerce_payment_send(ngx_commerce_payment_t *pay)
{
    pay->item.weight = 1;

    if (ngx_commerce_pg_enqueue(pay->call->trade->payments, &pay->item)
        != NGX_OK)
    {
        ngx_commerce_refuse(pay->call, COMMERCE_OVERLOADED,
                            "the queue of payments is full");
    }
}


static ngx_int_t
ngx_commerce_payment_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_uint_t                i;
    ngx_pool_t               *pool;
    ngx_commerce_trade_t     *trade;
    ngx_commerce_payment_t   *pay;
    ngx_commerce_pg_array_t   order_id, id, idem, fingerprint, provider,
                              state, actor;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    trade = ngx_commerce_pg_lane_data(batch->lane);
    pool = batch->op.pool;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_PAY, 8);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&order_id, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&id, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&idem, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&fingerprint, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&provider, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&state, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&actor, pool, NGX_COMMERCE_PG_TEXT, batch->n);

    for (i = 0; i < batch->n; i++) {
        pay = (ngx_commerce_payment_t *) batch->items[i];

        ngx_commerce_pg_push_uuid(&order_id, &pay->order_id);
        ngx_commerce_pg_push_uuid(&id, &pay->id);
        ngx_commerce_pg_push_uuid(&idem, &pay->idem);
        ngx_commerce_pg_push_uuid(&fingerprint, &pay->fingerprint);
        ngx_commerce_pg_push_text(&provider, pay->provider->name.data,
                                  pay->provider->name.len);
        ngx_commerce_pg_push_text(&state, pay->state.data, pay->state.len);
        ngx_commerce_pg_push_text(&actor, pay->actor.data, pay->actor.len);
    }

    ngx_commerce_pg_array_param(q, 1, &order_id);
    ngx_commerce_pg_array_param(q, 2, &id);
    ngx_commerce_pg_array_param(q, 3, &idem);
    ngx_commerce_pg_array_param(q, 4, &fingerprint);
    ngx_commerce_pg_array_param(q, 5, &provider);
    ngx_commerce_pg_array_param(q, 6, &state);
    ngx_commerce_pg_array_param(q, 7, &actor);
    ngx_commerce_pg_int4(q, 8, (int32_t) trade->conf->hold_time);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_payment_result(ngx_commerce_pg_batch_t *batch, ngx_uint_t query,
    PGresult *res)
{
    int      row;
    int32_t  n;

    (void) query;

    for (row = 0; row < PQntuples(res); row++) {
        n = ngx_commerce_pg_get_int4(res, row, 0);

        if (n >= 1 && (ngx_uint_t) n <= batch->n) {
            ngx_commerce_payment_row(
                (ngx_commerce_payment_t *) batch->items[n - 1], res, row);
        }
    }
}


void
ngx_commerce_payment_row(ngx_commerce_payment_t *pay, PGresult *res, int row)
{
    pay->verdict = ngx_commerce_pg_get_int4(res, row, 1);
    ngx_commerce_pg_get_uuid(res, row, 2, &pay->order_idem);

    /* a state that was not stored is still the one to be */

    if (pay->verdict == NGX_COMMERCE_PAY_STORED) {
        ngx_commerce_payment_facts(pay, res, row, 3);
    }
}


/* amount, currency, created_at, state, reason */

static void
ngx_commerce_payment_facts(ngx_commerce_payment_t *pay, PGresult *res,
    int row, int col)
{
    ngx_str_t   currency, state, reason;
    ngx_pool_t *pool;

    pool = pay->call->pool;

    pay->amount = ngx_commerce_pg_get_int8(res, row, col);
    currency = ngx_commerce_pg_get_text(res, row, col + 1);
    pay->created_at = ngx_commerce_pg_get_int8(res, row, col + 2);
    state = ngx_commerce_pg_get_text(res, row, col + 3);
    reason = ngx_commerce_pg_get_text(res, row, col + 4);

    if (currency.len == COMMERCE_CURRENCY_LEN) {
        ngx_memcpy(pay->currency, currency.data, COMMERCE_CURRENCY_LEN);
    }

    pay->state.data = ngx_pstrdup(pool, &state);
    pay->state.len = state.len;

    if (pay->state.data == NULL) {
        pay->failed = 1;
        return;
    }

    if (reason.len) {
        pay->reason.data = ngx_pstrdup(pool, &reason);
        pay->reason.len = pay->reason.data ? reason.len : 0;
    }
}


static void
ngx_commerce_payment_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t     *call;
    ngx_commerce_payment_t  *pay;

    pay = (ngx_commerce_payment_t *) item;
    call = pay->call;

    switch (outcome) {

    case NGX_COMMERCE_PG_COMMITTED:
        ngx_commerce_payment_verdict(pay);
        return;

    case NGX_COMMERCE_PG_UNKNOWN:
        call->stored = 1;
        ngx_commerce_count(call->trade->zone, NGX_COMMERCE_C_UNKNOWN, 1);
        ngx_commerce_payment_lookup(pay);
        return;

    case NGX_COMMERCE_PG_FAILED:
        ngx_log_error(NGX_LOG_ERR, call->log, 0,
                      "commerce: a payment was refused by the database, "
                      "SQLSTATE %s, request %V", sqlstate, &call->request_id);

        if (call->stored) {
            ngx_commerce_payment_lookup(pay);
            return;
        }

        ngx_commerce_call_failed(call, ngx_commerce_call_error(sqlstate));
        return;

    default:
        ngx_commerce_call_failed(call, outcome);
        return;
    }
}


void
ngx_commerce_payment_verdict(ngx_commerce_payment_t *pay)
{
    switch (pay->verdict) {

    case NGX_COMMERCE_PAY_STORED:
        ngx_commerce_payment_stored(pay);
        return;

    case NGX_COMMERCE_PAY_NO_ORDER:
        ngx_commerce_refuse(pay->call, COMMERCE_NOT_FOUND, NULL);
        return;

    case NGX_COMMERCE_PAY_AGAIN:
        ngx_commerce_payment_send(pay);
        return;

    case NGX_COMMERCE_PAY_LATE:
    case NGX_COMMERCE_PAY_LEASED:
        ngx_commerce_payment_late(pay);
        return;

    case NGX_COMMERCE_PAY_ILLEGAL:
    case NGX_COMMERCE_PAY_KEY_EXISTS:
        /* paid: perhaps by this very key, in a run whose answer was lost or
           whose commit this statement's snapshot did not see */
        pay->call->stored = 1;
        ngx_commerce_payment_lookup(pay);
        return;
    }

    ngx_commerce_refuse(pay->call, COMMERCE_INTERNAL, NULL);
}


static void
ngx_commerce_payment_stored(ngx_commerce_payment_t *pay)
{
    ngx_commerce_zone_t  *zone;

    zone = pay->call->trade->zone;

    ngx_commerce_replay_forget(zone, &pay->order_idem);

    if (ngx_commerce_payment_is(&pay->state, "succeeded")) {
        ngx_commerce_count(zone, NGX_COMMERCE_C_PAYMENTS, 1);
        ngx_commerce_count(zone, NGX_COMMERCE_C_PAYMENTS_LATE, pay->late);

    } else if (ngx_commerce_payment_is(&pay->state, "refund_due")) {
        ngx_commerce_count(zone, NGX_COMMERCE_C_REFUNDS_DUE, 1);
    }

    if (pay->failed) {
        ngx_commerce_refuse(pay->call, COMMERCE_OUTCOME_UNKNOWN, NULL);
        return;
    }

    ngx_commerce_payment_answer(pay);
}


void
ngx_commerce_payment_lookup(ngx_commerce_payment_t *pay)
{
    ngx_memzero(&pay->op, sizeof(ngx_commerce_pg_op_t));
    pay->found = 0;
    pay->op.data = pay;
    pay->op.build = ngx_commerce_payment_lookup_build;
    pay->op.result = ngx_commerce_payment_lookup_result;
    pay->op.done = ngx_commerce_payment_lookup_done;

    ngx_commerce_call_read(pay->call, &pay->op);
}


static ngx_int_t
ngx_commerce_payment_lookup_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_payment_t   *pay;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    pay = op->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_PAYMENT_BY_KEY, 1);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(q, 1, &pay->idem);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_payment_lookup_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    commerce_uuid_t          fingerprint, id;
    ngx_commerce_payment_t  *pay;

    (void) query;

    pay = op->data;

    if (PQntuples(res) == 0) {
        return;
    }

    pay->found = 1;

    ngx_commerce_pg_get_uuid(res, 0, 0, &id);
    ngx_commerce_pg_get_uuid(res, 0, 1, &fingerprint);

    pay->reused = commerce_uuid_compare(&fingerprint, &pay->fingerprint) != 0;
    pay->call->replayed = commerce_uuid_compare(&id, &pay->id) != 0;
    pay->id = id;

    ngx_commerce_pg_get_uuid(res, 0, 2, &pay->order_idem);
    ngx_commerce_payment_facts(pay, res, 0, 3);
}


static void
ngx_commerce_payment_lookup_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t     *call;
    ngx_commerce_payment_t  *pay;

    (void) sqlstate;

    pay = op->data;
    call = pay->call;
    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED || pay->failed) {
        ngx_commerce_call_failed(call, outcome);
        return;
    }

    if (pay->found && pay->reused) {
        ngx_commerce_refuse(call, COMMERCE_IDEMPOTENCY_KEY_REUSED,
                            "this key came with another request before");
        return;
    }

    if (pay->found) {
        ngx_commerce_replay_forget(call->trade->zone, &pay->order_idem);
        ngx_commerce_payment_answer(pay);
        return;
    }

    if (pay->verdict == NGX_COMMERCE_PAY_ILLEGAL) {
        ngx_commerce_refuse(call, COMMERCE_ILLEGAL_TRANSITION,
                            "the order does not wait for a payment");
        return;
    }

    /* absent: run it again with the same ids */

    if (pay->again++ < NGX_COMMERCE_PAYMENT_AGAIN) {
        pay->item.deadline = ngx_current_msec
                             + call->trade->conf->queue_timeout;
        ngx_commerce_payment_send(pay);
        return;
    }

    ngx_commerce_call_failed(call, NGX_COMMERCE_PG_UNKNOWN);
}
