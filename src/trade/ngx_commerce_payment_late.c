/*
 * A payment for an order that has expired: it takes the units anew, from
 * stock.free, or is due back.  Units that instances have leased are asked for
 * first, and waited for with no row locked.
 */

#include "ngx_commerce_payment.h"


static void ngx_commerce_payment_wake(ngx_event_t *ev);
static void ngx_commerce_payment_late_send(ngx_commerce_payment_t *pay);
static ngx_int_t ngx_commerce_payment_late_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_payment_late_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_payment_late_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


void
ngx_commerce_payment_late(ngx_commerce_payment_t *pay)
{
    pay->late = 1;

    if (pay->verdict != NGX_COMMERCE_PAY_LEASED) {
        ngx_commerce_payment_late_send(pay);
        return;
    }

    pay->asked++;

    pay->timer.handler = ngx_commerce_payment_wake;
    pay->timer.data = pay;
    pay->timer.log = pay->call->log;

    ngx_add_timer(&pay->timer, NGX_COMMERCE_LATE_WAIT * pay->asked);
}


static void
ngx_commerce_payment_wake(ngx_event_t *ev)
{
    ngx_commerce_payment_late_send(ev->data);
}


static void
ngx_commerce_payment_late_send(ngx_commerce_payment_t *pay)
{
    ngx_memzero(&pay->op, sizeof(ngx_commerce_pg_op_t));
    pay->op.data = pay;
    pay->op.build = ngx_commerce_payment_late_build;
    pay->op.result = ngx_commerce_payment_late_result;
    pay->op.done = ngx_commerce_payment_late_done;

    ngx_commerce_call_write(pay->call, &pay->op);
}


static ngx_int_t
ngx_commerce_payment_late_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_payment_t   *pay;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    pay = op->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_PAY_LATE, 7);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(q, 1, &pay->order_id);
    ngx_commerce_pg_uuid(q, 2, &pay->id);
    ngx_commerce_pg_uuid(q, 3, &pay->idem);
    ngx_commerce_pg_uuid(q, 4, &pay->fingerprint);
    ngx_commerce_pg_text(q, 5, pay->provider->name.data,
                         pay->provider->name.len);
    ngx_commerce_pg_text(q, 6, pay->actor.data, pay->actor.len);
    ngx_commerce_pg_bool(q, 7, pay->asked >= NGX_COMMERCE_LATE_ASKS);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_payment_late_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    int                      row;
    ngx_commerce_payment_t  *pay;

    (void) query;

    pay = op->data;

    for (row = 0; row < PQntuples(res); row++) {
        if (ngx_commerce_pg_get_int4(res, row, 0) == 1) {
            ngx_commerce_payment_row(pay, res, row);

        } else {
            ngx_commerce_payment_freed(pay->call->trade, res, row, 2, 3);
        }
    }
}


static void
ngx_commerce_payment_late_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t     *call;
    ngx_commerce_payment_t  *pay;

    pay = op->data;
    call = pay->call;
    ngx_commerce_call_db_time(call, op);

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
                      "commerce: a late payment was refused by the database, "
                      "SQLSTATE %s, request %V", sqlstate, &call->request_id);

        outcome = ngx_commerce_call_error(sqlstate);
        break;

    default:
        break;
    }

    ngx_commerce_call_failed(call, outcome);
}


void
ngx_commerce_payment_freed(ngx_commerce_trade_t *trade, PGresult *res,
    int row, int id, int free)
{
    commerce_uuid_t  variant;

    ngx_commerce_pg_get_uuid(res, row, id, &variant);

    ngx_commerce_stock_set_free(trade->zone, &variant,
                           (int32_t) ngx_commerce_pg_get_int8(res, row, free));
}
