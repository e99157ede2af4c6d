/* Tax rates, shipping methods and coupons: create, replace, delete. */

#include "ngx_commerce_admin_pricing.h"
#include "ngx_commerce_quote.h"


static void ngx_commerce_pricing_put(ngx_commerce_call_t *call,
    ngx_commerce_pricing_t *pricing);
static ngx_int_t ngx_commerce_pricing_put_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_pricing_put_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_pricing_put_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static ngx_int_t ngx_commerce_pricing_delete_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_pricing_delete_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static ngx_int_t ngx_commerce_pricing_written(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_pricing_refuse(ngx_commerce_call_t *call,
    ngx_commerce_put_t *put);
static ngx_int_t ngx_commerce_pricing_location(ngx_commerce_call_t *call,
    ngx_commerce_pricing_t *pricing);


void
ngx_commerce_admin_pricing_create(ngx_commerce_call_t *call)
{
    ngx_commerce_pricing_t  *pricing;

    pricing = ngx_commerce_pricing_call(call);
    if (pricing == NULL) {
        return;
    }

    if (ngx_commerce_call_uuid(&pricing->id) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    ngx_commerce_pricing_put(call, pricing);
}


void
ngx_commerce_admin_pricing_replace(ngx_commerce_call_t *call)
{
    ngx_commerce_pricing_t  *pricing;

    pricing = ngx_commerce_pricing_call(call);

    if (pricing == NULL
        || ngx_commerce_pricing_target(call, pricing, 1) != NGX_OK)
    {
        return;
    }

    ngx_commerce_pricing_put(call, pricing);
}


static void
ngx_commerce_pricing_put(ngx_commerce_call_t *call,
    ngx_commerce_pricing_t *pricing)
{
    commerce_json_errors_t  *errors;

    errors = ngx_commerce_admin_errors(call);
    if (errors == NULL) {
        return;
    }

    pricing->kind->check(call->json, errors);

    if (errors->n || errors->failed) {
        ngx_commerce_call_invalid(call, errors);
        return;
    }

    if (ngx_commerce_doc_text(call->pool, call->json, call->body.len,
                              &pricing->doc)
        != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    pricing->op.build = ngx_commerce_pricing_put_build;
    pricing->op.result = ngx_commerce_pricing_put_result;
    pricing->op.done = ngx_commerce_pricing_put_done;

    ngx_commerce_call_write(call, &pricing->op);
}


/* The write, and what came of it, read in the same transaction. */

static ngx_int_t
ngx_commerce_pricing_put_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t      *call;
    ngx_commerce_pricing_t   *pricing;
    ngx_commerce_pg_query_t  *q;

    call = op->data;
    pricing = call->data;

    q = ngx_commerce_pg_query(op, pricing->kind->put, 3);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_text(q, 1, pricing->doc.data, pricing->doc.len);
    ngx_commerce_pg_uuid(q, 2, &pricing->id);

    if (pricing->expected) {
        ngx_commerce_pg_int4(q, 3, pricing->expected);
    }

    return ngx_commerce_pricing_get_build(op, conn);
}


static void
ngx_commerce_pricing_put_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_commerce_call_t     *call;
    ngx_commerce_pricing_t  *pricing;

    call = op->data;
    pricing = call->data;

    if (query == 1) {
        ngx_commerce_pricing_get_result(op, query, res);
        return;
    }

    if (PQntuples(res) != 1
        || ngx_commerce_put_row(call->pool, res, 0, &pricing->put) != NGX_OK)
    {
        pricing->failed = 1;
    }
}


static void
ngx_commerce_pricing_put_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_uint_t               created;
    ngx_commerce_call_t     *call;
    ngx_commerce_pricing_t  *pricing;

    call = op->data;
    pricing = call->data;

    if (ngx_commerce_pricing_written(op, outcome, sqlstate) != NGX_OK) {
        return;
    }

    created = pricing->put.status == NGX_COMMERCE_PUT_CREATED;

    if (!pricing->found
        || ngx_commerce_etag(call, pricing->version) != NGX_OK
        || (created && ngx_commerce_pricing_location(call, pricing) != NGX_OK))
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    ngx_commerce_pricing_send(call, pricing, created ? 201 : 200);
}


void
ngx_commerce_admin_pricing_delete(ngx_commerce_call_t *call)
{
    ngx_commerce_pricing_t  *pricing;

    pricing = ngx_commerce_pricing_call(call);

    if (pricing == NULL
        || ngx_commerce_pricing_target(call, pricing, 1) != NGX_OK)
    {
        return;
    }

    pricing->op.build = ngx_commerce_pricing_delete_build;
    pricing->op.result = ngx_commerce_pricing_put_result;
    pricing->op.done = ngx_commerce_pricing_delete_done;

    ngx_commerce_call_write(call, &pricing->op);
}


static ngx_int_t
ngx_commerce_pricing_delete_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t      *call;
    ngx_commerce_pricing_t   *pricing;
    ngx_commerce_pg_query_t  *q;

    call = op->data;
    pricing = call->data;

    q = ngx_commerce_pg_query(op, pricing->kind->delete, 2);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(q, 1, &pricing->id);
    ngx_commerce_pg_int4(q, 2, pricing->expected);

    return NGX_OK;
}


static void
ngx_commerce_pricing_delete_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    if (ngx_commerce_pricing_written(op, outcome, sqlstate) == NGX_OK) {
        ngx_commerce_answer(op->data, 204, NULL);
    }
}


/* The workers of this instance know of a write before its client does.
   NGX_ERROR: refused. */

static ngx_int_t
ngx_commerce_pricing_written(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t     *call;
    ngx_commerce_pricing_t  *pricing;

    call = op->data;
    pricing = call->data;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_admin_failed(call, outcome, sqlstate);
        return NGX_ERROR;
    }

    if (pricing->kind->rules
        && pricing->put.status != NGX_COMMERCE_PUT_ERROR
        && pricing->put.status != NGX_COMMERCE_PUT_UNCHANGED)
    {
        ngx_commerce_rules_forget(call->trade);
    }

    if (pricing->failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    if (pricing->put.status == NGX_COMMERCE_PUT_ERROR) {
        ngx_commerce_pricing_refuse(call, &pricing->put);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_commerce_pricing_refuse(ngx_commerce_call_t *call,
    ngx_commerce_put_t *put)
{
    const char              *detail;
    commerce_json_errors_t  *errors;

    if (put->problem == COMMERCE_VERSION_CONFLICT) {
        detail = "somebody else has changed it since it was read";

    } else if (put->problem != COMMERCE_CONFLICT) {
        detail = NULL;

    } else if (put->too_many) {
        detail = "there are as many as there can be";

    } else if (put->pointer.len == 0) {
        detail = "orders have used it: set \"active\" to false instead";

    } else {
        detail = "a value that must be unique is taken";

        errors = ngx_commerce_call_errors(call);
        if (errors == NULL) {
            return;
        }

        commerce_json_error_add(errors, (char *) put->pointer.data, NULL,
                                "conflict", "is taken by another one");
        call->errors = errors;
    }

    ngx_commerce_refuse(call, put->problem, detail);
}


static ngx_int_t
ngx_commerce_pricing_location(ngx_commerce_call_t *call,
    ngx_commerce_pricing_t *pricing)
{
    u_char  *p;
    size_t   len;

    len = ngx_strlen(pricing->kind->path);

    p = ngx_pnalloc(call->pool, len + COMMERCE_UUID_TEXT);
    if (p == NULL) {
        return NGX_ERROR;
    }

    call->location.data = p;

    p = ngx_cpymem(p, pricing->kind->path, len);
    p = commerce_uuid_format(p, &pricing->id);

    call->location.len = (size_t) (p - call->location.data);

    return NGX_OK;
}
