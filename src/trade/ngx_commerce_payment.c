/*
 * POST /v1/orders/{id}/payments.  Provider "test" settles at once; with any
 * other the payment waits for the provider's webhook.
 */

#include "ngx_commerce_payment.h"


typedef struct {
    commerce_str_t               provider;
    commerce_str_t               outcome;
} ngx_commerce_payment_body_t;


static ngx_int_t ngx_commerce_payment_parse(ngx_commerce_payment_t *pay);
static void ngx_commerce_payment_bind(ngx_commerce_payment_t *pay,
    ngx_commerce_payment_body_t *body, commerce_json_errors_t *errors);
static ngx_int_t ngx_commerce_payment_outcome(ngx_commerce_payment_t *pay,
    commerce_str_t *outcome);
static ngx_int_t ngx_commerce_payment_identify(ngx_commerce_payment_t *pay);


static const commerce_json_field_t  ngx_commerce_payment_fields[] = {

    { "provider", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_payment_body_t, provider), 1, 64 },
    { "outcome", COMMERCE_JSON_STRING, 0,
      offsetof(ngx_commerce_payment_body_t, outcome), 1, 64 },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


static const struct {
    const char                  *outcome;
    ngx_str_t                    state;
} ngx_commerce_payment_outcomes[] = {
    { "succeed", ngx_string("succeeded") },
    { "decline", ngx_string("declined") },
    { "pending", ngx_string("pending") },
    { NULL, ngx_null_string }
};


void
ngx_commerce_payment_create(ngx_commerce_call_t *call)
{
    ngx_int_t                rc;
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

    pay->actor = call->actor;
    if (pay->actor.len == 0) {
        ngx_str_set(&pay->actor, "guest");
    }

    if (ngx_commerce_payment_parse(pay) != NGX_OK) {
        return;
    }

    if (ngx_commerce_payment_identify(pay) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    pay->item.deadline = ngx_current_msec + call->trade->conf->queue_timeout;
    ngx_commerce_payment_send(pay);
}


static ngx_int_t
ngx_commerce_payment_parse(ngx_commerce_payment_t *pay)
{
    ngx_commerce_call_t          *call;
    commerce_json_errors_t       *errors;
    ngx_commerce_payment_body_t   body;

    call = pay->call;

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&body, sizeof(ngx_commerce_payment_body_t));
    ngx_commerce_payment_bind(pay, &body, errors);

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
ngx_commerce_payment_bind(ngx_commerce_payment_t *pay,
    ngx_commerce_payment_body_t *body, commerce_json_errors_t *errors)
{
    commerce_str_t        name;
    ngx_commerce_call_t  *call;

    call = pay->call;

    (void) commerce_json_bind(call->json, ngx_commerce_payment_fields, body,
                              "", errors);

    pay->provider = ngx_commerce_provider(call->trade->conf,
                                          body->provider.data,
                                          body->provider.len);

    if (body->provider.len && pay->provider == NULL) {
        name.data = (u_char *) "provider";
        name.len = sizeof("provider") - 1;
        commerce_json_error_add(errors, "", &name, "unknown_provider",
                                "this shop takes no such payments");
    }

    name.data = (u_char *) "outcome";
    name.len = sizeof("outcome") - 1;

    if (pay->provider != NULL
        && !ngx_commerce_payment_is(&pay->provider->name, "test"))
    {
        ngx_str_set(&pay->state, "pending");

        if (commerce_json_member(call->json, "outcome") != NULL) {
            commerce_json_error_add(errors, "", &name, "unknown_member",
                                    "only provider \"test\" is told how a "
                                    "payment ends");
        }

        return;
    }

    if (commerce_json_member(call->json, "outcome") == NULL) {
        commerce_json_error_add(errors, "", &name, "required",
                                "is required");

    } else if (body->outcome.len
               && ngx_commerce_payment_outcome(pay, &body->outcome) != NGX_OK)
    {
        commerce_json_error_add(errors, "", &name, "invalid_value",
                                "must be succeed, decline or pending");
    }
}


static ngx_int_t
ngx_commerce_payment_outcome(ngx_commerce_payment_t *pay,
    commerce_str_t *outcome)
{
    ngx_str_t   text;
    ngx_uint_t  i;

    text.data = (u_char *) outcome->data;
    text.len = outcome->len;

    for (i = 0; ngx_commerce_payment_outcomes[i].outcome != NULL; i++) {
        if (ngx_commerce_payment_is(&text,
                                    ngx_commerce_payment_outcomes[i].outcome))
        {
            pay->state = ngx_commerce_payment_outcomes[i].state;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


/* The scope of the key is its order; without one a payment is itself. */

static ngx_int_t
ngx_commerce_payment_identify(ngx_commerce_payment_t *pay)
{
    u_char     text[COMMERCE_UUID_TEXT];
    ngx_str_t  scope;

    if (ngx_commerce_call_uuid(&pay->id) != NGX_OK
        || ngx_commerce_call_fingerprint(pay->call, &pay->fingerprint)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    pay->idem = pay->id;

    if (!pay->keyed) {
        return NGX_OK;
    }

    (void) commerce_uuid_format(text, &pay->order_id);
    scope.data = text;
    scope.len = COMMERCE_UUID_TEXT;

    return ngx_commerce_call_key(pay->call, &scope, &pay->idem);
}


ngx_commerce_provider_t *
ngx_commerce_provider(ngx_commerce_conf_t *conf, const u_char *name,
    size_t len)
{
    ngx_uint_t                i;
    ngx_commerce_provider_t  *provider;

    provider = conf->providers->elts;

    for (i = 0; i < conf->providers->nelts; i++) {
        if (len == provider[i].name.len
            && ngx_memcmp(name, provider[i].name.data, len) == 0)
        {
            return &provider[i];
        }
    }

    return NULL;
}


ngx_uint_t
ngx_commerce_payment_is(ngx_str_t *text, const char *word)
{
    return text->len == ngx_strlen(word)
           && ngx_memcmp(text->data, word, text->len) == 0;
}


void
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
    commerce_json_string(&w, pay->provider->name.data,
                         pay->provider->name.len);
    commerce_json_key(&w, "state");
    commerce_json_string(&w, pay->state.data, pay->state.len);

    if (pay->reason.len) {
        commerce_json_key(&w, "reason");
        commerce_json_string(&w, pay->reason.data, pay->reason.len);
    }

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
