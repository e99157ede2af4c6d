/*
 * POST /v1/webhooks/{provider}: the signature over the raw bytes first, then
 * what they say.
 */

#include "ngx_commerce_webhook.h"
#include "ngx_commerce_signature.h"


#define NGX_COMMERCE_WEBHOOK_MAX     262144     /* bytes of a body */
#define NGX_COMMERCE_WEBHOOK_DEPTH   32
#define NGX_COMMERCE_WEBHOOK_VALUES  4096
#define NGX_COMMERCE_WEBHOOK_STRING  65536      /* bytes */


static ngx_int_t ngx_commerce_webhook_verify(ngx_commerce_webhook_t *hook);
static ngx_int_t ngx_commerce_webhook_json(ngx_commerce_webhook_t *hook);
static ngx_int_t ngx_commerce_webhook_parse(ngx_commerce_webhook_t *hook);
static void ngx_commerce_webhook_data(ngx_commerce_webhook_t *hook,
    commerce_json_t *data, commerce_json_errors_t *errors);
static void ngx_commerce_webhook_text(commerce_json_t *object,
    const char *path, const char *name, size_t max, ngx_uint_t required,
    ngx_str_t *text, commerce_json_errors_t *errors);
static void ngx_commerce_webhook_money(ngx_commerce_webhook_t *hook,
    commerce_json_t *data, ngx_uint_t required,
    commerce_json_errors_t *errors);
static void ngx_commerce_webhook_wrong(commerce_json_errors_t *errors,
    const char *path, const char *name, const char *code,
    const char *message);
static void ngx_commerce_webhook_member(commerce_json_writer_t *w,
    const char *name, ngx_str_t *text);


void
ngx_commerce_guard_webhook(ngx_commerce_call_t *call)
{
    ngx_commerce_provider_t  *provider;

    provider = ngx_commerce_provider(call->trade->conf, call->id.data,
                                     call->id.len);

    if (provider == NULL || provider->secrets.nelts == 0) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    if (call->signature.len == 0) {
        ngx_commerce_refuse(call, COMMERCE_UNAUTHENTICATED,
                            "Commerce-Signature is needed");
        return;
    }

    call->data = provider;
    call->proceed(call);
}


void
ngx_commerce_webhook_take(ngx_commerce_call_t *call)
{
    ngx_commerce_webhook_t  *hook;

    hook = ngx_pcalloc(call->pool, sizeof(ngx_commerce_webhook_t));
    if (hook == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    hook->call = call;
    hook->provider = call->data;
    hook->amount = -1;

    if (ngx_commerce_webhook_verify(hook) != NGX_OK
        || ngx_commerce_webhook_json(hook) != NGX_OK
        || ngx_commerce_webhook_parse(hook) != NGX_OK)
    {
        return;
    }

    hook->item.deadline = ngx_current_msec + call->trade->conf->queue_timeout;
    ngx_commerce_webhook_send(hook);
}


static ngx_int_t
ngx_commerce_webhook_verify(ngx_commerce_webhook_t *hook)
{
    const char           *detail;
    ngx_commerce_call_t  *call;

    call = hook->call;

    if (call->body.len > NGX_COMMERCE_WEBHOOK_MAX) {
        ngx_commerce_refuse(call, COMMERCE_TOO_LARGE, NULL);
        return NGX_ERROR;
    }

    switch (ngx_commerce_signature_verify(&hook->provider->secrets,
                                          &call->signature, &call->body,
                                          ngx_time()))
    {

    case NGX_COMMERCE_SIGNATURE_GOOD:
        return NGX_OK;

    case NGX_COMMERCE_SIGNATURE_MALFORMED:
        detail = "Commerce-Signature is malformed";
        break;

    case NGX_COMMERCE_SIGNATURE_OLD:
        detail = "the signature's time is not within 300 seconds";
        break;

    case NGX_COMMERCE_SIGNATURE_WRONG:
        detail = "no signature is of this shop's secrets";
        break;

    default:
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    ngx_log_error(NGX_LOG_WARN, call->log, 0,
                  "commerce: webhook of provider \"%V\" refused: %s, "
                  "request %V", &hook->provider->name, detail,
                  &call->request_id);
    ngx_commerce_refuse(call, COMMERCE_UNAUTHENTICATED, detail);

    return NGX_ERROR;
}


static ngx_int_t
ngx_commerce_webhook_json(ngx_commerce_webhook_t *hook)
{
    const char              *error;
    ngx_commerce_call_t     *call;
    commerce_json_limits_t   limits;

    call = hook->call;

    if (call->body.len == 0) {
        ngx_commerce_refuse(call, COMMERCE_MALFORMED_JSON,
                            "the body is empty");
        return NGX_ERROR;
    }

    limits.max_bytes = call->body.len;
    limits.max_depth = NGX_COMMERCE_WEBHOOK_DEPTH;
    limits.max_values = NGX_COMMERCE_WEBHOOK_VALUES;
    limits.max_string = NGX_COMMERCE_WEBHOOK_STRING;

    switch (commerce_json_read(&limits, ngx_commerce_palloc, call->pool,
                               call->body.data, call->body.len, &call->json,
                               &error))
    {

    case COMMERCE_JSON_GOOD:
        return NGX_OK;

    case COMMERCE_JSON_NO_MEMORY:
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;

    default:
        ngx_commerce_refuse(call, COMMERCE_MALFORMED_JSON, error);
        return NGX_ERROR;
    }
}


/* Members that are not known are the provider's own matter. */

static ngx_int_t
ngx_commerce_webhook_parse(ngx_commerce_webhook_t *hook)
{
    commerce_json_t         *data, *json;
    ngx_commerce_call_t     *call;
    commerce_json_errors_t  *errors;

    call = hook->call;
    json = call->json;

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return NGX_ERROR;
    }

    if (json->type != COMMERCE_JSON_OBJECT) {
        ngx_commerce_webhook_wrong(errors, "", NULL, "wrong_type",
                                   "must be an object");

    } else {
        ngx_commerce_webhook_text(json, "", "id", 255, 1, &hook->id, errors);
        ngx_commerce_webhook_text(json, "", "type", 128, 1, &hook->type,
                                  errors);

        data = commerce_json_member(json, "data");

        if (ngx_commerce_payment_is(&hook->type, "payment.succeeded")
            || ngx_commerce_payment_is(&hook->type, "payment.failed")
            || ngx_commerce_payment_is(&hook->type, "refund.succeeded"))
        {
            ngx_commerce_webhook_data(hook, data, errors);
        }
    }

    if (errors->n || errors->failed) {
        ngx_commerce_call_invalid(call, errors);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * An id that is none of ours is no error: it is stored, as one of an order
 * that is not there.
 */

static void
ngx_commerce_webhook_data(ngx_commerce_webhook_t *hook, commerce_json_t *data,
    commerce_json_errors_t *errors)
{
    ngx_str_t   order;
    ngx_uint_t  failed;

    if (data == NULL || data->type != COMMERCE_JSON_OBJECT) {
        ngx_commerce_webhook_wrong(errors, "", "data",
                                   data ? "wrong_type" : "required",
                                   "must be an object");
        return;
    }

    ngx_str_null(&order);

    ngx_commerce_webhook_text(data, "/data", "order_id", 255, 0, &order,
                              errors);
    ngx_commerce_webhook_text(data, "/data", "payment_id", 255, 0,
                              &hook->reference, errors);

    if (order.data == NULL && hook->reference.data == NULL && errors->n == 0) {
        ngx_commerce_webhook_wrong(errors, "/data", "order_id", "required",
                                   "order_id or payment_id is needed");
    }

    if (order.data != NULL
        && commerce_uuid_parse(&hook->order_id, order.data, order.len)
           == COMMERCE_OK)
    {
        hook->has_order = 1;
        hook->call->order_id = hook->order_id;
        hook->call->has_order_id = 1;
    }

    if (hook->reference.data != NULL
        && commerce_uuid_parse(&hook->payment_id, hook->reference.data,
                               hook->reference.len)
           == COMMERCE_OK)
    {
        hook->has_payment = 1;
    }

    failed = ngx_commerce_payment_is(&hook->type, "payment.failed");
    ngx_commerce_webhook_money(hook, data, !failed, errors);
}


static void
ngx_commerce_webhook_text(commerce_json_t *object, const char *path,
    const char *name, size_t max, ngx_uint_t required, ngx_str_t *text,
    commerce_json_errors_t *errors)
{
    commerce_json_t  *value;

    value = commerce_json_member(object, name);

    if (value == NULL || value->type == COMMERCE_JSON_NULL) {
        if (required) {
            ngx_commerce_webhook_wrong(errors, path, name, "required",
                                       "is required");
        }

        return;
    }

    if (value->type != COMMERCE_JSON_STRING) {
        ngx_commerce_webhook_wrong(errors, path, name, "wrong_type",
                                   "must be a string");
        return;
    }

    if (value->string.len == 0 || value->string.len > max) {
        ngx_commerce_webhook_wrong(errors, path, name, "wrong_length",
                                   "is empty or too long");
        return;
    }

    text->data = (u_char *) value->string.data;
    text->len = value->string.len;
}


static void
ngx_commerce_webhook_money(ngx_commerce_webhook_t *hook,
    commerce_json_t *data, ngx_uint_t required,
    commerce_json_errors_t *errors)
{
    commerce_json_t  *amount;

    amount = commerce_json_member(data, "amount");

    if (amount == NULL || amount->type == COMMERCE_JSON_NULL) {
        if (required) {
            ngx_commerce_webhook_wrong(errors, "/data", "amount", "required",
                                       "is required");
        }

    } else if (amount->type != COMMERCE_JSON_INTEGER || amount->integer < 0
               || amount->integer > COMMERCE_MONEY_MAX)
    {
        ngx_commerce_webhook_wrong(errors, "/data", "amount", "invalid_value",
                                   "must be an integer of minor units");

    } else {
        hook->amount = amount->integer;
    }

    ngx_commerce_webhook_text(data, "/data", "currency",
                              COMMERCE_CURRENCY_LEN, required,
                              &hook->currency, errors);

    if (hook->currency.data && hook->currency.len != COMMERCE_CURRENCY_LEN) {
        ngx_commerce_webhook_wrong(errors, "/data", "currency",
                                   "wrong_length", "must be three letters");
    }
}


static void
ngx_commerce_webhook_wrong(commerce_json_errors_t *errors, const char *path,
    const char *name, const char *code, const char *message)
{
    commerce_str_t  member;

    if (name == NULL) {
        commerce_json_error_add(errors, path, NULL, code, message);
        return;
    }

    member.data = (u_char *) name;
    member.len = ngx_strlen(name);

    commerce_json_error_add(errors, path, &member, code, message);
}


void
ngx_commerce_webhook_answer(ngx_commerce_webhook_t *hook)
{
    ngx_str_t                body;
    ngx_commerce_call_t     *call;
    commerce_json_writer_t   w;

    call = hook->call;

    commerce_json_writer_init(&w, 384, ngx_commerce_palloc, call->pool);

    commerce_json_object_open(&w);
    ngx_commerce_webhook_member(&w, "status", &hook->status);
    ngx_commerce_webhook_member(&w, "reason", &hook->reason);
    ngx_commerce_webhook_member(&w, "event_id", &hook->id);

    if (hook->has_its_order) {
        call->order_id = hook->its_order;
        call->has_order_id = 1;

        commerce_json_key(&w, "order_id");
        commerce_json_uuid(&w, &hook->its_order);
        ngx_commerce_webhook_member(&w, "order_state", &hook->order_state);
    }

    if (hook->has_its_payment) {
        commerce_json_key(&w, "payment_id");
        commerce_json_uuid(&w, &hook->its_payment);
        ngx_commerce_webhook_member(&w, "payment_state",
                                    &hook->payment_state);
    }

    commerce_json_object_close(&w);

    if (w.failed) {
        ngx_commerce_refuse(call, COMMERCE_OUTCOME_UNKNOWN, NULL);
        return;
    }

    body.data = w.start;
    body.len = w.last - w.start;

    ngx_commerce_answer(call, 200, &body);
}


static void
ngx_commerce_webhook_member(commerce_json_writer_t *w, const char *name,
    ngx_str_t *text)
{
    if (text->len) {
        commerce_json_key(w, name);
        commerce_json_string(w, text->data, text->len);
    }
}
