/*
 * The commit of events: each is stored with its effect, and answered then.
 */

#include "ngx_commerce_webhook.h"


static ngx_int_t ngx_commerce_webhook_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_webhook_push(ngx_commerce_pg_array_t *a,
    ngx_str_t *text);
static void ngx_commerce_webhook_result(ngx_commerce_pg_batch_t *batch,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_webhook_row(ngx_commerce_webhook_t *hook,
    PGresult *res, int row);
static void ngx_commerce_webhook_keep(ngx_commerce_webhook_t *hook,
    ngx_str_t *to, PGresult *res, int row, int col);
static void ngx_commerce_webhook_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_webhook_stored(ngx_commerce_webhook_t *hook);
static void ngx_commerce_webhook_wake(ngx_event_t *ev);


static const ngx_commerce_pg_kind_t  ngx_commerce_webhook_kind = {
    "webhook",
    64,
    64,
    ngx_commerce_webhook_build,
    ngx_commerce_webhook_result,
    ngx_commerce_webhook_done,
    NULL
};


static const struct {
    const char                  *word;
    ngx_commerce_counter_e       counter;
} ngx_commerce_webhook_counters[] = {
    { "applied", NGX_COMMERCE_C_EVENTS_APPLIED },
    { "duplicate", NGX_COMMERCE_C_EVENTS_DUPLICATE },
    { "stored", NGX_COMMERCE_C_EVENTS_STORED },
    { "ignored", NGX_COMMERCE_C_EVENTS_IGNORED },
    { "given_up", NGX_COMMERCE_C_EVENTS_GIVEN_UP },
    { "paid", NGX_COMMERCE_C_PAYMENTS },
    { "paid_late", NGX_COMMERCE_C_PAYMENTS },
    { "paid_late", NGX_COMMERCE_C_PAYMENTS_LATE },
    { "refund_due", NGX_COMMERCE_C_REFUNDS_DUE },
    { NULL, 0 }
};


ngx_int_t
ngx_commerce_webhook_start(ngx_commerce_trade_t *trade)
{
    trade->events = ngx_commerce_pg_lane_create(trade->cycle, trade->writes,
                        &ngx_commerce_webhook_kind, trade->conf->queue,
                        trade);

    return trade->events ? NGX_OK : NGX_ERROR;
}


void
ngx_commerce_webhook_send(ngx_commerce_webhook_t *hook)
{
    hook->item.weight = 1;

    if (ngx_commerce_pg_enqueue(hook->call->trade->events, &hook->item)
        != NGX_OK)
    {
        ngx_commerce_refuse(hook->call, COMMERCE_OVERLOADED,
                            "the queue of events is full");
    }
}


static ngx_int_t
ngx_commerce_webhook_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_uint_t                i;
    ngx_pool_t               *pool;
    ngx_commerce_webhook_t   *hook;
    ngx_commerce_pg_array_t   provider, id, type, order, payment, reference,
                              amount, currency, body, last;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    pool = batch->op.pool;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_TAKE_EVENTS, 10);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&provider, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&id, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&type, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&order, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&payment, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&reference, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&amount, pool, NGX_COMMERCE_PG_INT8, batch->n);
    ngx_commerce_pg_array(&currency, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&body, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&last, pool, NGX_COMMERCE_PG_BOOL, batch->n);

    for (i = 0; i < batch->n; i++) {
        hook = (ngx_commerce_webhook_t *) batch->items[i];

        ngx_commerce_webhook_push(&provider, &hook->provider->name);
        ngx_commerce_webhook_push(&id, &hook->id);
        ngx_commerce_webhook_push(&type, &hook->type);

        if (hook->has_order) {
            ngx_commerce_pg_push_uuid(&order, &hook->order_id);
        } else {
            ngx_commerce_pg_push_null(&order);
        }

        if (hook->has_payment) {
            ngx_commerce_pg_push_uuid(&payment, &hook->payment_id);
        } else {
            ngx_commerce_pg_push_null(&payment);
        }

        ngx_commerce_webhook_push(&reference, &hook->reference);

        if (hook->amount >= 0) {
            ngx_commerce_pg_push_int8(&amount, hook->amount);
        } else {
            ngx_commerce_pg_push_null(&amount);
        }

        ngx_commerce_webhook_push(&currency, &hook->currency);
        ngx_commerce_webhook_push(&body, &hook->call->body);
        ngx_commerce_pg_push_bool(&last,
                                  hook->asked >= NGX_COMMERCE_LATE_ASKS);
    }

    ngx_commerce_pg_array_param(q, 1, &provider);
    ngx_commerce_pg_array_param(q, 2, &id);
    ngx_commerce_pg_array_param(q, 3, &type);
    ngx_commerce_pg_array_param(q, 4, &order);
    ngx_commerce_pg_array_param(q, 5, &payment);
    ngx_commerce_pg_array_param(q, 6, &reference);
    ngx_commerce_pg_array_param(q, 7, &amount);
    ngx_commerce_pg_array_param(q, 8, &currency);
    ngx_commerce_pg_array_param(q, 9, &body);
    ngx_commerce_pg_array_param(q, 10, &last);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_webhook_push(ngx_commerce_pg_array_t *a, ngx_str_t *text)
{
    if (text->data) {
        ngx_commerce_pg_push_text(a, text->data, text->len);

    } else {
        ngx_commerce_pg_push_null(a);
    }
}


static void
ngx_commerce_webhook_result(ngx_commerce_pg_batch_t *batch, ngx_uint_t query,
    PGresult *res)
{
    int      row;
    int32_t  n;

    (void) query;

    for (row = 0; row < PQntuples(res); row++) {
        n = ngx_commerce_pg_get_int4(res, row, 0);

        if (n == 0) {
            ngx_commerce_payment_freed(ngx_commerce_pg_lane_data(batch->lane),
                                       res, row, 3, 8);

        } else if (n > 0 && (ngx_uint_t) n <= batch->n) {
            ngx_commerce_webhook_row(
                (ngx_commerce_webhook_t *) batch->items[n - 1], res, row);
        }
    }
}


static void
ngx_commerce_webhook_row(ngx_commerce_webhook_t *hook, PGresult *res, int row)
{
    hook->answered = 1;
    hook->has_its_order = !ngx_commerce_pg_is_null(res, row, 3);
    hook->has_its_payment = !ngx_commerce_pg_is_null(res, row, 6);

    ngx_commerce_pg_get_uuid(res, row, 3, &hook->its_order);
    ngx_commerce_pg_get_uuid(res, row, 5, &hook->order_idem);
    ngx_commerce_pg_get_uuid(res, row, 6, &hook->its_payment);

    ngx_commerce_webhook_keep(hook, &hook->status, res, row, 1);
    ngx_commerce_webhook_keep(hook, &hook->reason, res, row, 2);
    ngx_commerce_webhook_keep(hook, &hook->order_state, res, row, 4);
    ngx_commerce_webhook_keep(hook, &hook->payment_state, res, row, 7);
    ngx_commerce_webhook_keep(hook, &hook->effect, res, row, 9);
}


static void
ngx_commerce_webhook_keep(ngx_commerce_webhook_t *hook, ngx_str_t *to,
    PGresult *res, int row, int col)
{
    ngx_str_t  text;

    text = ngx_commerce_pg_get_text(res, row, col);
    ngx_str_null(to);

    if (text.len == 0) {
        return;
    }

    to->data = ngx_pstrdup(hook->call->pool, &text);

    if (to->data == NULL) {
        hook->failed = 1;
        return;
    }

    to->len = text.len;
}


static void
ngx_commerce_webhook_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t     *call;
    ngx_commerce_webhook_t  *hook;

    hook = (ngx_commerce_webhook_t *) item;
    call = hook->call;

    if (outcome == NGX_COMMERCE_PG_COMMITTED && hook->answered
        && !hook->failed)
    {
        ngx_commerce_webhook_stored(hook);
        return;
    }

    if (outcome == NGX_COMMERCE_PG_FAILED) {
        ngx_log_error(NGX_LOG_ERR, call->log, 0,
                      "commerce: an event was refused by the database, "
                      "SQLSTATE %s, request %V", sqlstate, &call->request_id);

        /* JSON to us and not to PostgreSQL, such as a number without end */

        if (ngx_strncmp(sqlstate, "22", 2) == 0) {
            ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST,
                                "the event cannot be stored");
            return;
        }

        outcome = ngx_commerce_call_error(sqlstate);
    }

    /* whatever has become of it: it comes again, and meets its row */

    ngx_commerce_call_failed(call, outcome);
}


static void
ngx_commerce_webhook_stored(ngx_commerce_webhook_t *hook)
{
    ngx_commerce_trade_t  *trade;

    trade = hook->call->trade;

    if (ngx_commerce_payment_is(&hook->status, "leased")) {
        hook->asked++;

        hook->timer.handler = ngx_commerce_webhook_wake;
        hook->timer.data = hook;
        hook->timer.log = hook->call->log;

        ngx_add_timer(&hook->timer, NGX_COMMERCE_LATE_WAIT * hook->asked);
        return;
    }

    if (hook->has_its_order) {
        ngx_commerce_replay_forget(trade->zone, &hook->order_idem);
    }

    ngx_commerce_webhook_count(trade, &hook->status, &hook->effect);
    ngx_commerce_webhook_answer(hook);
}


static void
ngx_commerce_webhook_wake(ngx_event_t *ev)
{
    ngx_commerce_webhook_t  *hook;

    hook = ev->data;

    hook->item.deadline = ngx_current_msec
                          + hook->call->trade->conf->queue_timeout;
    ngx_commerce_webhook_send(hook);
}


void
ngx_commerce_webhook_count(ngx_commerce_trade_t *trade, ngx_str_t *status,
    ngx_str_t *effect)
{
    ngx_uint_t   i;
    const char  *word;

    for (i = 0; ngx_commerce_webhook_counters[i].word != NULL; i++) {
        word = ngx_commerce_webhook_counters[i].word;

        if (ngx_commerce_payment_is(status, word)
            || ngx_commerce_payment_is(effect, word))
        {
            ngx_commerce_count(trade->zone,
                               ngx_commerce_webhook_counters[i].counter, 1);
        }
    }
}
