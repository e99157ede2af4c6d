/*
 * Carts.  What the client asks is in this file, .._line.c and .._detail.c; it
 * goes to the database by .._batch.c and comes back to written() in here.
 * What a cart costs is .._view.c's.
 */

#include "ngx_commerce_cart_op.h"
#include "ngx_commerce_admin_fields.h"


typedef struct {
    commerce_str_t      currency;
} ngx_commerce_cart_new_t;

static ngx_int_t ngx_commerce_cart_key(ngx_commerce_cart_op_t *op);
static void ngx_commerce_cart_loaded(ngx_commerce_cart_load_t *load,
    ngx_int_t rc);
static void ngx_commerce_cart_lookup(ngx_commerce_cart_op_t *op);
static ngx_int_t ngx_commerce_cart_lookup_build(ngx_commerce_pg_op_t *pg,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_cart_lookup_result(ngx_commerce_pg_op_t *pg,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_cart_lookup_done(ngx_commerce_pg_op_t *pg,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


static const commerce_json_field_t  ngx_commerce_cart_new_fields[] = {

    { "currency", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_cart_new_t, currency), 3, 3 },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


/* Guests prove ownership; somebody else's cart is not there. */

void
ngx_commerce_guard_cart(ngx_commerce_call_t *call)
{
    if (call->cart_token.len == 0) {
        ngx_commerce_refuse(call, COMMERCE_UNAUTHENTICATED,
                            "X-Cart-Token is needed");
        return;
    }

    if (commerce_uuid_parse(&call->cart_id, call->id.data, call->id.len)
        != COMMERCE_OK
        || !ngx_commerce_token_verify(call->trade->conf->token_keys, "cart",
                                      &call->cart_id, &call->cart_token))
    {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    call->proceed(call);
}


void
ngx_commerce_cart_create(ngx_commerce_call_t *call)
{
    commerce_str_t            name;
    commerce_json_errors_t   *errors;
    ngx_commerce_cart_op_t   *op;
    ngx_commerce_cart_new_t   body;

    op = ngx_commerce_cart_op(call, NGX_COMMERCE_CART_CREATE);
    if (op == NULL) {
        return;
    }

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return;
    }

    ngx_memzero(&body, sizeof(ngx_commerce_cart_new_t));

    if (commerce_json_bind(call->json, ngx_commerce_cart_new_fields, &body,
                           "", errors)
        == COMMERCE_OK
        && !commerce_currency_valid(body.currency.data, body.currency.len))
    {
        name.data = (u_char *) "currency";
        name.len = sizeof("currency") - 1;
        commerce_json_error_add(errors, "", &name, "invalid_value",
                                "must be three capital letters (ISO 4217)");
    }

    if (errors->n || errors->failed) {
        ngx_commerce_call_invalid(call, errors);
        return;
    }

    if (ngx_commerce_call_uuid(&op->id) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    op->text.data = body.currency.data;
    op->text.len = body.currency.len;

    ngx_commerce_cart_send(op);
}


void
ngx_commerce_cart_get(ngx_commerce_call_t *call)
{
    ngx_commerce_cart_load_t  *load;

    load = ngx_pcalloc(call->pool, sizeof(ngx_commerce_cart_load_t));
    if (load == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    load->call = call;
    load->id = call->cart_id;
    load->done = ngx_commerce_cart_loaded;

    ngx_commerce_cart_read(load);
}


static void
ngx_commerce_cart_loaded(ngx_commerce_cart_load_t *load, ngx_int_t rc)
{
    if (rc != NGX_OK) {
        ngx_commerce_refuse(load->call, load->problem, NULL);
        return;
    }

    if (!load->found || load->cart.state == NGX_COMMERCE_CART_EXPIRED) {
        ngx_commerce_refuse(load->call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    /* a cart that is read because its key came again was made by it */

    ngx_commerce_cart_show(load->call, &load->cart,
                           load->call->replayed ? 201 : 200);
}


ngx_commerce_cart_op_t *
ngx_commerce_cart_op(ngx_commerce_call_t *call, ngx_commerce_cart_kind_e kind)
{
    ngx_commerce_cart_op_t  *op;

    op = ngx_pcalloc(call->pool, sizeof(ngx_commerce_cart_op_t));
    if (op == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NULL;
    }

    op->call = call;
    op->kind = kind;
    op->id = call->cart_id;
    op->item.deadline = ngx_current_msec + call->trade->conf->queue_timeout;

    if (call->if_match.data && kind != NGX_COMMERCE_CART_CREATE
        && !(call->if_match.len == 1 && call->if_match.data[0] == '*')
        && ngx_commerce_if_match(call, &op->expected) != NGX_OK)
    {
        return NULL;
    }

    return ngx_commerce_cart_key(op) == NGX_OK ? op : NULL;
}


/* The scope of a key is its cart; a new cart of a guest has none. */

static ngx_int_t
ngx_commerce_cart_key(ngx_commerce_cart_op_t *op)
{
    u_char                text[sizeof("cart:") - 1 + COMMERCE_UUID_TEXT];
    ngx_int_t             rc;
    ngx_str_t             scope;
    ngx_commerce_call_t  *call;

    call = op->call;
    scope.data = text;

    if (op->kind == NGX_COMMERCE_CART_CREATE) {
        rc = ngx_commerce_call_key_check(call, 16, 0);
        ngx_str_set(&scope, "cart:guest");

    } else {
        rc = ngx_commerce_call_key_check(call, 1, 0);
        scope.len = commerce_uuid_format(ngx_cpymem(text, "cart:",
                                                    sizeof("cart:") - 1),
                                         &op->id)
                    - text;
    }

    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? NGX_OK : NGX_ERROR;
    }

    op->keyed = 1;

    if (ngx_commerce_call_key(call, &scope, &op->idem) != NGX_OK
        || ngx_commerce_call_fingerprint(call, &op->fingerprint) != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    return NGX_OK;
}


const char *
ngx_commerce_cart_named(ngx_commerce_cart_op_t *op)
{
    return op->sku.len ? "sku" : "variant_id";
}


void
ngx_commerce_cart_invalid(ngx_commerce_cart_op_t *op, const char *member,
    const char *code, const char *message)
{
    commerce_str_t           name;
    commerce_json_errors_t  *errors;

    errors = ngx_commerce_call_errors(op->call);
    if (errors == NULL) {
        return;
    }

    name.data = (u_char *) member;
    name.len = ngx_strlen(member);
    commerce_json_error_add(errors, "", &name, code, message);

    ngx_commerce_call_invalid(op->call, errors);
}


void
ngx_commerce_cart_written(ngx_commerce_cart_op_t *op)
{
    ngx_commerce_call_t  *call;

    call = op->call;

    switch (op->verdict) {

    case NGX_COMMERCE_CART_REPLAYED:
        call->replayed = 1;
        ngx_commerce_count(call->trade->zone, NGX_COMMERCE_C_REPLAYS, 1);
        /* fall through */

    case NGX_COMMERCE_CART_DONE:
        break;

    case NGX_COMMERCE_CART_KEY_TAKEN:
        call->stored = 1;
        ngx_commerce_cart_lookup(op);
        return;

    case NGX_COMMERCE_CART_REUSED:
        ngx_commerce_refuse(call, COMMERCE_IDEMPOTENCY_KEY_REUSED,
                            "this key came with another request before");
        return;

    case NGX_COMMERCE_CART_IS_ORDERED:
        ngx_commerce_refuse(call, COMMERCE_CONFLICT,
                            "the cart is ordered already");
        return;

    case NGX_COMMERCE_CART_OTHER_VERSION:
        ngx_commerce_refuse(call, COMMERCE_VERSION_CONFLICT,
                            "the cart has changed since it was read");
        return;

    case NGX_COMMERCE_CART_TOO_MANY_LINES:
        ngx_commerce_cart_invalid(op, ngx_commerce_cart_named(op), "too_many",
                                  "more lines than a cart can have");
        return;

    case NGX_COMMERCE_CART_TOO_MANY_UNITS:
        ngx_commerce_cart_invalid(op, "quantity", "out_of_range",
                                  "more units than one line can hold");
        return;

    case NGX_COMMERCE_CART_NO_PRICE:
        ngx_commerce_cart_invalid(op, ngx_commerce_cart_named(op), "no_price",
                                  "it has no price in the cart's currency");
        return;

    default:    /* CART_GONE, CART_NO_LINE */
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    call->stored = 1;

    if (op->failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    /* a key outlives its cart */

    if (!op->found || op->cart.state == NGX_COMMERCE_CART_EXPIRED) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    ngx_commerce_cart_show(call, &op->cart,
                           op->kind == NGX_COMMERCE_CART_CREATE ? 201 : 200);
}


/* A key that made a cart before: the same one, as it is now. */

static void
ngx_commerce_cart_lookup(ngx_commerce_cart_op_t *op)
{
    op->found = 0;
    op->lookup.build = ngx_commerce_cart_lookup_build;
    op->lookup.result = ngx_commerce_cart_lookup_result;
    op->lookup.done = ngx_commerce_cart_lookup_done;
    op->lookup.data = op;

    ngx_commerce_call_read(op->call, &op->lookup);
}


static ngx_int_t
ngx_commerce_cart_lookup_build(ngx_commerce_pg_op_t *pg,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_cart_op_t   *op;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    op = pg->data;

    q = ngx_commerce_pg_query(pg, NGX_COMMERCE_SQL_CART_BY_KEY, 1);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(q, 1, &op->idem);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_cart_lookup_result(ngx_commerce_pg_op_t *pg, ngx_uint_t query,
    PGresult *res)
{
    ngx_commerce_cart_op_t  *op;

    (void) query;

    op = pg->data;

    if (PQntuples(res)) {
        op->found = 1;
        ngx_commerce_pg_get_uuid(res, 0, 0, &op->id);
        ngx_commerce_pg_get_uuid(res, 0, 1, &op->known);
    }
}


static void
ngx_commerce_cart_lookup_done(ngx_commerce_pg_op_t *pg,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t     *call;
    ngx_commerce_cart_op_t  *op;

    (void) sqlstate;

    op = pg->data;
    call = op->call;
    ngx_commerce_call_db_time(call, pg);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_call_failed(call, outcome);
        return;
    }

    /* its time was over between the two statements */

    if (!op->found) {
        ngx_commerce_refuse(call, COMMERCE_UNAVAILABLE, NULL);
        return;
    }

    if (commerce_uuid_compare(&op->known, &op->fingerprint) != 0) {
        ngx_commerce_refuse(call, COMMERCE_IDEMPOTENCY_KEY_REUSED,
                            "this key came with another request before");
        return;
    }

    ngx_commerce_count(call->trade->zone, NGX_COMMERCE_C_REPLAYS, 1);
    call->replayed = 1;
    call->cart_id = op->id;
    ngx_commerce_cart_get(call);
}
