/*
 * GET /v1/orders/{id}: an order from the database.
 */

#include "ngx_commerce_order.h"


typedef struct {
    ngx_commerce_pg_op_t         op;
    ngx_commerce_call_t         *call;
    commerce_uuid_t              id;
    ngx_uint_t                   status;
    ngx_commerce_order_view_t    view;
    unsigned                     found:1;
    unsigned                     failed:1;
} ngx_commerce_order_op_t;


static ngx_int_t ngx_commerce_order_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_order_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_order_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


/* Guests prove ownership; somebody else's order is not there. */

void
ngx_commerce_guard_order(ngx_commerce_call_t *call)
{
    if (call->order_token.len == 0) {
        ngx_commerce_refuse(call, COMMERCE_UNAUTHENTICATED,
                            "X-Order-Token is needed");
        return;
    }

    if (commerce_uuid_parse(&call->order_id, call->id.data, call->id.len)
        != COMMERCE_OK
        || !ngx_commerce_token_verify(call->trade->conf->token_keys, "order",
                                      &call->order_id, &call->order_token))
    {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    call->has_order_id = 1;
    call->proceed(call);
}


void
ngx_commerce_order_get(ngx_commerce_call_t *call)
{
    ngx_commerce_order_show(call, &call->order_id, 200);
}


void
ngx_commerce_admin_order_get(ngx_commerce_call_t *call)
{
    if (ngx_commerce_order_named(call) == NGX_OK) {
        ngx_commerce_order_show(call, &call->order_id, 200);
    }
}


ngx_int_t
ngx_commerce_order_named(ngx_commerce_call_t *call)
{
    if (commerce_uuid_parse(&call->order_id, call->id.data, call->id.len)
        != COMMERCE_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return NGX_ERROR;
    }

    call->has_order_id = 1;

    return NGX_OK;
}


void
ngx_commerce_order_actor(ngx_commerce_call_t *call, ngx_str_t *actor)
{
    if (call->actor.len) {
        *actor = call->actor;

    } else {
        ngx_str_set(actor, "guest");
    }
}


void
ngx_commerce_order_show(ngx_commerce_call_t *call, const commerce_uuid_t *id,
    ngx_uint_t status)
{
    ngx_commerce_order_op_t  *o;

    o = ngx_pcalloc(call->pool, sizeof(ngx_commerce_order_op_t));
    if (o == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    o->call = call;
    o->id = *id;
    o->status = status;
    o->op.data = o;
    o->op.build = ngx_commerce_order_build;
    o->op.result = ngx_commerce_order_result;
    o->op.done = ngx_commerce_order_done;

    call->order_id = *id;
    call->has_order_id = 1;

    /* a write shows an order when it is stored */
    call->stored = !ngx_commerce_call_is_read(call);

    ngx_commerce_call_read(call, &o->op);
}


static ngx_int_t
ngx_commerce_order_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_pg_query_t  *order, *lines;
    ngx_commerce_order_op_t  *o;

    (void) conn;

    o = op->data;

    order = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_ORDER, 2);
    lines = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_ORDER_LINES, 1);

    if (order == NULL || lines == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(order, 1, &o->id);
    ngx_commerce_pg_bool(order, 2, o->call->staff);
    ngx_commerce_pg_uuid(lines, 1, &o->id);

    return order->failed || lines->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_order_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_int_t                 rc;
    ngx_commerce_order_op_t  *o;

    o = op->data;

    if (query == 0) {
        o->found = PQntuples(res) != 0;
        rc = o->found ? ngx_commerce_order_row(o->call->pool, res, 0, &o->view)
                      : NGX_OK;

    } else {
        rc = ngx_commerce_order_lines(o->call->pool, res, &o->view);
    }

    if (rc != NGX_OK) {
        o->failed = 1;
    }
}


static void
ngx_commerce_order_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_str_t                 body;
    ngx_commerce_call_t      *call;
    ngx_commerce_order_op_t  *o;

    (void) sqlstate;

    o = op->data;
    call = o->call;
    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_call_failed(call, outcome);
        return;
    }

    if (!o->found) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    if (o->failed
        || ngx_commerce_order_json(call, &o->view, &body) != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    if (o->status == 201) {
        ngx_commerce_order_created(call, &o->id);
    }

    ngx_commerce_answer(call, o->status, &body);
}


void
ngx_commerce_order_created(ngx_commerce_call_t *call,
    const commerce_uuid_t *id)
{
    u_char  *p;

    call->order_id = *id;
    call->has_order_id = 1;

    p = ngx_pnalloc(call->pool,
                    sizeof("/v1/orders/") - 1 + COMMERCE_UUID_TEXT);
    if (p == NULL) {
        return;
    }

    call->location.data = p;
    p = ngx_cpymem(p, "/v1/orders/", sizeof("/v1/orders/") - 1);
    p = commerce_uuid_format(p, id);
    call->location.len = p - call->location.data;
}


/* The scope of such a key is what is done and the order. */

ngx_int_t
ngx_commerce_order_key(ngx_commerce_call_t *call, const char *what,
    commerce_uuid_t *key, commerce_uuid_t *fingerprint)
{
    u_char     text[32 + COMMERCE_UUID_TEXT], *p;
    ngx_str_t  scope;

    p = ngx_slprintf(text, text + 32, "%s:", what);
    p = commerce_uuid_format(p, &call->order_id);

    scope.data = text;
    scope.len = (size_t) (p - text);

    if (ngx_commerce_call_key(call, &scope, key) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_commerce_call_fingerprint(call, fingerprint);
}


/* One that has no memory is found by the news of the database. */

void
ngx_commerce_freed_rows(ngx_array_t *freed, PGresult *res, int col)
{
    int                    row;
    ngx_commerce_freed_t  *f;

    for (row = 0; row < PQntuples(res); row++) {

        if (ngx_commerce_pg_is_null(res, row, col)) {
            continue;
        }

        f = ngx_array_push(freed);
        if (f == NULL) {
            return;
        }

        ngx_commerce_pg_get_uuid(res, row, col, &f->variant);
        f->free = ngx_commerce_pg_get_int4(res, row, col + 1);
    }
}


void
ngx_commerce_freed_tell(ngx_commerce_zone_t *zone, ngx_array_t *freed)
{
    ngx_uint_t             i;
    ngx_commerce_freed_t  *f;

    f = freed->elts;

    for (i = 0; i < freed->nelts; i++) {
        ngx_commerce_stock_set_free(zone, &f[i].variant, f[i].free);
        ngx_commerce_stock_news(zone, &f[i].variant);
    }
}
