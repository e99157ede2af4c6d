/*
 * Cancel of an order that waits for its payment: its units go to stock.free in
 * the transaction that leaves pending_payment, never into a pool.
 */

#include "ngx_commerce_order.h"


typedef struct {
    ngx_commerce_pg_op_t         op;
    ngx_commerce_call_t         *call;
    commerce_uuid_t              id;
    commerce_uuid_t              idem;
    commerce_uuid_t              key;
    commerce_uuid_t              fingerprint;
    commerce_uuid_t              known;     /* fingerprint the key had */
    ngx_str_t                    actor;
    ngx_array_t                  freed;     /* of ngx_commerce_freed_t */
    unsigned                     found:1;
    unsigned                     cancelled:1;
    unsigned                     keyed:1;
    unsigned                     seen:1;
    unsigned                     again:1;
} ngx_commerce_cancel_t;


static void ngx_commerce_cancel(ngx_commerce_call_t *call);
static ngx_int_t ngx_commerce_cancel_body(ngx_commerce_call_t *call);
static ngx_int_t ngx_commerce_cancel_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_cancel_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_cancel_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


void
ngx_commerce_order_cancel(ngx_commerce_call_t *call)
{
    ngx_commerce_cancel(call);
}


void
ngx_commerce_admin_order_cancel(ngx_commerce_call_t *call)
{
    if (ngx_commerce_order_named(call) == NGX_OK) {
        ngx_commerce_cancel(call);
    }
}


static void
ngx_commerce_cancel(ngx_commerce_call_t *call)
{
    ngx_int_t               rc;
    ngx_commerce_cancel_t  *cancel;

    rc = ngx_commerce_call_key_check(call, 1, 0);
    if (rc == NGX_ERROR || ngx_commerce_cancel_body(call) != NGX_OK) {
        return;
    }

    cancel = ngx_pcalloc(call->pool, sizeof(ngx_commerce_cancel_t));
    if (cancel == NULL
        || ngx_array_init(&cancel->freed, call->pool, 4,
                          sizeof(ngx_commerce_freed_t))
           != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    cancel->call = call;
    cancel->id = call->order_id;
    cancel->keyed = rc == NGX_OK;
    ngx_commerce_order_actor(call, &cancel->actor);

    if (cancel->keyed
        && ngx_commerce_order_key(call, "cancel", &cancel->key,
                                  &cancel->fingerprint)
           != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    cancel->op.data = cancel;
    cancel->op.build = ngx_commerce_cancel_build;
    cancel->op.result = ngx_commerce_cancel_result;
    cancel->op.done = ngx_commerce_cancel_done;

    ngx_commerce_call_write(call, &cancel->op);
}


/* An empty body or an empty object. */

static ngx_int_t
ngx_commerce_cancel_body(ngx_commerce_call_t *call)
{
    commerce_json_errors_t              *errors;
    static const commerce_json_field_t   none[] = {
        { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
    };

    if (call->json == NULL) {
        return NGX_OK;
    }

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return NGX_ERROR;
    }

    if (commerce_json_bind(call->json, none, NULL, "", errors) != COMMERCE_OK)
    {
        ngx_commerce_call_invalid(call, errors);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_cancel_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_cancel_t    *cancel;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    cancel = op->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_CANCEL, 4);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(q, 1, &cancel->id);

    if (cancel->keyed) {
        ngx_commerce_pg_uuid(q, 2, &cancel->key);
        ngx_commerce_pg_uuid(q, 3, &cancel->fingerprint);
    }

    ngx_commerce_pg_text(q, 4, cancel->actor.data, cancel->actor.len);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_cancel_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_str_t               state;
    ngx_commerce_cancel_t  *cancel;

    (void) query;

    cancel = op->data;

    if (PQntuples(res) == 0) {
        return;
    }

    cancel->found = 1;

    state = ngx_commerce_pg_get_text(res, 0, 0);
    cancel->cancelled = state.len == sizeof("pending_payment") - 1
                        && ngx_strncmp(state.data, "pending_payment",
                                       state.len) == 0;

    ngx_commerce_pg_get_uuid(res, 0, 1, &cancel->idem);
    cancel->seen = !ngx_commerce_pg_is_null(res, 0, 5);
    ngx_commerce_pg_get_uuid(res, 0, 5, &cancel->known);

    ngx_commerce_freed_rows(&cancel->freed, res, 2);
}


static void
ngx_commerce_cancel_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t    *call;
    ngx_commerce_zone_t    *zone;
    ngx_commerce_cancel_t  *cancel;

    cancel = op->data;
    call = cancel->call;
    zone = call->trade->zone;
    ngx_commerce_call_db_time(call, op);

    if (outcome == NGX_COMMERCE_PG_FAILED) {
        outcome = ngx_commerce_call_error(sqlstate);
    }

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_call_failed(call, outcome);
        return;
    }

    if (!cancel->found) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    ngx_commerce_replay_forget(zone, &cancel->idem);
    ngx_commerce_freed_tell(zone, &cancel->freed);

    if (!cancel->cancelled && cancel->seen) {
        if (commerce_uuid_compare(&cancel->known, &cancel->fingerprint) != 0) {
            ngx_commerce_refuse(call, COMMERCE_IDEMPOTENCY_KEY_REUSED,
                                "this key came with another request before");
            return;
        }

        call->replayed = 1;
        ngx_commerce_order_show(call, &cancel->id, 200);
        return;
    }

    /* perhaps by this very key, in a run that this one's snapshot does not
       have: it waited for the order's row */

    if (!cancel->cancelled && cancel->keyed && !cancel->again) {
        cancel->again = 1;
        ngx_commerce_call_write(call, &cancel->op);
        return;
    }

    if (!cancel->cancelled) {
        ngx_commerce_refuse(call, COMMERCE_ILLEGAL_TRANSITION,
                            "only an order that waits for its payment "
                            "can be cancelled");
        return;
    }

    ngx_commerce_count(zone, NGX_COMMERCE_C_CANCELLED, 1);
    ngx_commerce_order_show(call, &cancel->id, 200);
}
