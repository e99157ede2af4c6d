/*
 * POST /v1/orders/{id}/payments.  Provider "test" settles at once.
 */

#include "ngx_commerce_order.h"


#define NGX_COMMERCE_PAYMENT_AGAIN  8


typedef enum {
    NGX_COMMERCE_PAY_STORED = 0,
    NGX_COMMERCE_PAY_KEY_EXISTS = 4,
    NGX_COMMERCE_PAY_NO_ORDER = 5,
    NGX_COMMERCE_PAY_AGAIN = 6,
    NGX_COMMERCE_PAY_ILLEGAL = 7
} ngx_commerce_pay_verdict_e;


typedef struct {
    commerce_str_t               provider;
    commerce_str_t               outcome;
} ngx_commerce_payment_body_t;


typedef struct {
    ngx_commerce_pg_item_t       item;      /* must stay first */
    ngx_commerce_pg_op_t         op;        /* the lookup */
    ngx_commerce_call_t         *call;
    commerce_uuid_t              order_id;
    commerce_uuid_t              id;
    commerce_uuid_t              idem;
    commerce_uuid_t              fingerprint;
    commerce_uuid_t              order_idem;
    ngx_commerce_pay_verdict_e   verdict;
    int64_t                      amount;
    int64_t                      created_at;
    u_char                       currency[COMMERCE_CURRENCY_LEN];
    ngx_uint_t                   again;
    unsigned                     succeeds:1;
    unsigned                     keyed:1;
    unsigned                     uncertain:1;
    unsigned                     found:1;
    unsigned                     reused:1;
} ngx_commerce_payment_t;


static ngx_int_t ngx_commerce_payment_parse(ngx_commerce_payment_t *pay);
static void ngx_commerce_payment_enqueue(ngx_commerce_payment_t *pay);
static ngx_int_t ngx_commerce_payment_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_payment_result(ngx_commerce_pg_batch_t *batch,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_payment_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_payment_verdict(ngx_commerce_payment_t *pay);
static void ngx_commerce_payment_lookup(ngx_commerce_payment_t *pay);
static ngx_int_t ngx_commerce_payment_lookup_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_payment_lookup_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_payment_lookup_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_payment_answer(ngx_commerce_payment_t *pay);


static const commerce_json_field_t  ngx_commerce_payment_fields[] = {

    { "provider", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_payment_body_t, provider), 1, 64 },
    { "outcome", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_payment_body_t, outcome), 1, 64 },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

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
ngx_commerce_payment_create(ngx_commerce_call_t *call)
{
    u_char                   text[COMMERCE_UUID_TEXT];
    ngx_int_t                rc;
    ngx_str_t                scope;
    ngx_commerce_payment_t  *pay;

    rc = ngx_commerce_call_key_check(call, 1, 0);
    if (rc == NGX_ERROR) {
        return;
    }

    pay = ngx_pcalloc(call->pool, sizeof(ngx_commerce_payment_t));
    if (pay == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    pay->call = call;
    pay->order_id = call->order_id;
    pay->keyed = rc == NGX_OK;

    if (ngx_commerce_payment_parse(pay) != NGX_OK) {
        return;
    }

    if (ngx_commerce_call_uuid(&pay->id) != NGX_OK
        || ngx_commerce_call_fingerprint(call, &pay->fingerprint) != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    /* the scope of the key is its order; without one a payment is itself */

    pay->idem = pay->id;

    if (pay->keyed) {
        (void) commerce_uuid_format(text, &pay->order_id);
        scope.data = text;
        scope.len = COMMERCE_UUID_TEXT;

        if (ngx_commerce_call_key(call, &scope, &pay->idem) != NGX_OK) {
            ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
            return;
        }
    }

    pay->item.deadline = ngx_current_msec + call->trade->conf->queue_timeout;
    ngx_commerce_payment_enqueue(pay);
}


static ngx_int_t
ngx_commerce_payment_parse(ngx_commerce_payment_t *pay)
{
    commerce_str_t                name;
    ngx_commerce_call_t          *call;
    commerce_json_errors_t       *errors;
    ngx_commerce_payment_body_t   body;

    call = pay->call;

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&body, sizeof(ngx_commerce_payment_body_t));

    (void) commerce_json_bind(call->json, ngx_commerce_payment_fields, &body,
                              "", errors);

    if (body.provider.len
        && (!call->trade->conf->provider_test
            || body.provider.len != sizeof("test") - 1
            || ngx_strncmp(body.provider.data, "test", 4) != 0))
    {
        name.data = (u_char *) "provider";
        name.len = sizeof("provider") - 1;
        commerce_json_error_add(errors, "", &name, "unknown_provider",
                                "this shop takes no such payments");
    }

    if (body.outcome.len == sizeof("succeed") - 1
        && ngx_strncmp(body.outcome.data, "succeed", body.outcome.len) == 0)
    {
        pay->succeeds = 1;

    } else if (body.outcome.len
               && (body.outcome.len != sizeof("decline") - 1
                   || ngx_strncmp(body.outcome.data, "decline",
                                  body.outcome.len) != 0))
    {
        name.data = (u_char *) "outcome";
        name.len = sizeof("outcome") - 1;
        commerce_json_error_add(errors, "", &name, "invalid_value",
                                "must be succeed or decline");
    }

    if (errors->failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    if (errors->n) {
        ngx_commerce_call_invalid(call, errors);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_commerce_payment_enqueue(ngx_commerce_payment_t *pay)
{
    pay->item.weight = 1;

    if (ngx_commerce_pg_enqueue(pay->call->trade->payments, &pay->item)
        == NGX_OK)
    {
        return;
    }

    if (pay->uncertain) {
        ngx_commerce_call_failed(pay->call, NGX_COMMERCE_PG_UNKNOWN);

    } else {
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
    ngx_commerce_payment_t   *pay;
    ngx_commerce_pg_array_t   order_id, id, idem, fingerprint, provider,
                              succeeds;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    pool = batch->op.pool;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_PAY, 6);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&order_id, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&id, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&idem, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&fingerprint, pool, NGX_COMMERCE_PG_UUID, batch->n);
    ngx_commerce_pg_array(&provider, pool, NGX_COMMERCE_PG_TEXT, batch->n);
    ngx_commerce_pg_array(&succeeds, pool, NGX_COMMERCE_PG_BOOL, batch->n);

    for (i = 0; i < batch->n; i++) {
        pay = (ngx_commerce_payment_t *) batch->items[i];

        ngx_commerce_pg_push_uuid(&order_id, &pay->order_id);
        ngx_commerce_pg_push_uuid(&id, &pay->id);
        ngx_commerce_pg_push_uuid(&idem, &pay->idem);
        ngx_commerce_pg_push_uuid(&fingerprint, &pay->fingerprint);
        ngx_commerce_pg_push_text(&provider, (u_char *) "test", 4);
        ngx_commerce_pg_push_bool(&succeeds, pay->succeeds);
    }

    ngx_commerce_pg_array_param(q, 1, &order_id);
    ngx_commerce_pg_array_param(q, 2, &id);
    ngx_commerce_pg_array_param(q, 3, &idem);
    ngx_commerce_pg_array_param(q, 4, &fingerprint);
    ngx_commerce_pg_array_param(q, 5, &provider);
    ngx_commerce_pg_array_param(q, 6, &succeeds);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_payment_result(ngx_commerce_pg_batch_t *batch, ngx_uint_t query,
    PGresult *res)
{
    int                      row;
    int32_t                  n;
    ngx_str_t                currency;
    ngx_commerce_payment_t  *pay;

    (void) query;

    for (row = 0; row < PQntuples(res); row++) {
        n = ngx_commerce_pg_get_int4(res, row, 0);

        if (n < 1 || (ngx_uint_t) n > batch->n) {
            continue;
        }

        pay = (ngx_commerce_payment_t *) batch->items[n - 1];

        pay->verdict = ngx_commerce_pg_get_int4(res, row, 1);
        ngx_commerce_pg_get_uuid(res, row, 2, &pay->order_idem);
        pay->amount = ngx_commerce_pg_get_int8(res, row, 4);
        currency = ngx_commerce_pg_get_text(res, row, 5);
        pay->created_at = ngx_commerce_pg_get_int8(res, row, 6);

        if (currency.len == COMMERCE_CURRENCY_LEN) {
            ngx_memcpy(pay->currency, currency.data, COMMERCE_CURRENCY_LEN);
        }
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
        pay->uncertain = 1;
        ngx_commerce_count(call->trade->zone, NGX_COMMERCE_C_UNKNOWN, 1);
        ngx_commerce_payment_lookup(pay);
        return;

    case NGX_COMMERCE_PG_FAILED:
        ngx_log_error(NGX_LOG_ERR, call->log, 0,
                      "commerce: a payment was refused by the database, "
                      "SQLSTATE %s, request %V", sqlstate, &call->request_id);

        if (pay->uncertain) {
            ngx_commerce_payment_lookup(pay);
            return;
        }

        ngx_commerce_call_failed(call, outcome);
        return;

    default:
        ngx_commerce_call_failed(call, pay->uncertain ? NGX_COMMERCE_PG_UNKNOWN
                                                      : outcome);
        return;
    }
}


static void
ngx_commerce_payment_verdict(ngx_commerce_payment_t *pay)
{
    ngx_commerce_call_t  *call;

    call = pay->call;

    switch (pay->verdict) {

    case NGX_COMMERCE_PAY_STORED:
        ngx_commerce_replay_forget(call->trade->zone, &pay->order_idem);
        ngx_commerce_count(call->trade->zone, NGX_COMMERCE_C_PAYMENTS,
                           pay->succeeds);
        ngx_commerce_payment_answer(pay);
        return;

    case NGX_COMMERCE_PAY_NO_ORDER:
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;

    case NGX_COMMERCE_PAY_AGAIN:
        ngx_commerce_payment_enqueue(pay);
        return;

    case NGX_COMMERCE_PAY_ILLEGAL:
    case NGX_COMMERCE_PAY_KEY_EXISTS:
        /* paid: perhaps by this very key, in a run whose answer was lost or
           whose commit this statement's snapshot did not see */
        ngx_commerce_payment_lookup(pay);
        return;
    }

    ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
}


static void
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
    ngx_commerce_pg_array_t   idem;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    pay = op->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_PAYMENT_BY_KEY, 1);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&idem, op->pool, NGX_COMMERCE_PG_UUID, 1);
    ngx_commerce_pg_push_uuid(&idem, &pay->idem);
    ngx_commerce_pg_array_param(q, 1, &idem);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_payment_lookup_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_str_t                text;
    commerce_uuid_t          fingerprint, id;
    ngx_commerce_payment_t  *pay;

    (void) query;

    pay = op->data;

    if (PQntuples(res) == 0) {
        return;
    }

    pay->found = 1;

    ngx_commerce_pg_get_uuid(res, 0, 1, &id);
    ngx_commerce_pg_get_uuid(res, 0, 3, &fingerprint);

    pay->reused = commerce_uuid_compare(&fingerprint, &pay->fingerprint) != 0;
    pay->call->replayed = commerce_uuid_compare(&id, &pay->id) != 0;
    pay->id = id;

    text = ngx_commerce_pg_get_text(res, 0, 5);
    pay->succeeds = text.len == sizeof("succeeded") - 1
                    && ngx_strncmp(text.data, "succeeded", text.len) == 0;

    pay->amount = ngx_commerce_pg_get_int8(res, 0, 6);

    text = ngx_commerce_pg_get_text(res, 0, 7);
    if (text.len == COMMERCE_CURRENCY_LEN) {
        ngx_memcpy(pay->currency, text.data, COMMERCE_CURRENCY_LEN);
    }

    pay->created_at = ngx_commerce_pg_get_int8(res, 0, 8);
    ngx_commerce_pg_get_uuid(res, 0, 9, &pay->order_idem);
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

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_call_failed(call, pay->uncertain ? NGX_COMMERCE_PG_UNKNOWN
                                                      : outcome);
        return;
    }

    if (pay->found && pay->reused) {
        call->replayed = 0;
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
        ngx_commerce_payment_enqueue(pay);
        return;
    }

    ngx_commerce_call_failed(call, NGX_COMMERCE_PG_UNKNOWN);
}


static void
ngx_commerce_payment_answer(ngx_commerce_payment_t *pay)
{
    ngx_str_t                body;
    ngx_commerce_call_t     *call;
    commerce_json_writer_t   w;

    call = pay->call;

    commerce_json_writer_init(&w, 384, ngx_commerce_palloc, call->pool);

    commerce_json_object_open(&w);
    commerce_json_key(&w, "id");
    commerce_json_uuid(&w, &pay->id);
    commerce_json_key(&w, "order_id");
    commerce_json_uuid(&w, &pay->order_id);
    commerce_json_key(&w, "provider");
    commerce_json_cstring(&w, "test");
    commerce_json_key(&w, "state");
    commerce_json_cstring(&w, pay->succeeds ? "succeeded" : "declined");
    commerce_json_key(&w, "amount");
    commerce_json_integer(&w, pay->amount);
    commerce_json_key(&w, "currency");
    commerce_json_string(&w, pay->currency, COMMERCE_CURRENCY_LEN);
    commerce_json_key(&w, "created_at");
    commerce_json_time(&w, pay->created_at);
    commerce_json_object_close(&w);

    if (w.failed) {
        ngx_commerce_refuse(call, COMMERCE_OUTCOME_UNKNOWN, NULL);
        return;
    }

    body.data = w.start;
    body.len = w.last - w.start;

    /* a payment is seen in its order */
    ngx_commerce_order_created(call, &pay->order_id);
    ngx_commerce_answer(call, 201, &body);
}
