/*
 * GET /v1/orders/{id}, cancel, and an order's JSON.
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
    /* cancel */
    unsigned                     cancelled:1;
    unsigned                     keyed:1;
    unsigned                     seen:1;
    commerce_uuid_t              idem;
    commerce_uuid_t              key;
    commerce_uuid_t              fingerprint;
    commerce_uuid_t              known;     /* fingerprint the key had */
    ngx_str_t                    state;
    ngx_array_t                  freed;     /* of ngx_commerce_freed_t */
} ngx_commerce_order_op_t;

typedef struct {
    commerce_uuid_t              variant;
    int32_t                      free;
} ngx_commerce_freed_t;


static ngx_commerce_order_op_t *ngx_commerce_order_op(
    ngx_commerce_call_t *call);
static ngx_int_t ngx_commerce_order_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_order_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static ngx_int_t ngx_commerce_order_copy(ngx_pool_t *pool, PGresult *res,
    int row, int col, ngx_str_t *to);
static ngx_int_t ngx_commerce_order_row(ngx_commerce_order_op_t *o,
    PGresult *res);
static ngx_int_t ngx_commerce_order_lines(ngx_commerce_order_op_t *o,
    PGresult *res);
static void ngx_commerce_order_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static ngx_int_t ngx_commerce_cancel_body(ngx_commerce_call_t *call);
static ngx_int_t ngx_commerce_cancel_key(ngx_commerce_order_op_t *o);
static ngx_int_t ngx_commerce_cancel_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_cancel_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_cancel_done(ngx_commerce_pg_op_t *op,
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
    if (commerce_uuid_parse(&call->order_id, call->id.data, call->id.len)
        != COMMERCE_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    call->has_order_id = 1;
    ngx_commerce_order_show(call, &call->order_id, 200);
}


static ngx_commerce_order_op_t *
ngx_commerce_order_op(ngx_commerce_call_t *call)
{
    ngx_commerce_order_op_t  *o;

    o = ngx_pcalloc(call->pool, sizeof(ngx_commerce_order_op_t));
    if (o == NULL
        || ngx_array_init(&o->freed, call->pool, 4,
                          sizeof(ngx_commerce_freed_t))
           != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NULL;
    }

    o->call = call;
    o->op.data = o;

    return o;
}


void
ngx_commerce_order_show(ngx_commerce_call_t *call, const commerce_uuid_t *id,
    ngx_uint_t status)
{
    ngx_commerce_order_op_t  *o;

    o = ngx_commerce_order_op(call);
    if (o == NULL) {
        return;
    }

    o->id = *id;
    o->status = status;
    o->op.build = ngx_commerce_order_build;
    o->op.result = ngx_commerce_order_result;
    o->op.done = ngx_commerce_order_done;

    call->order_id = *id;
    call->has_order_id = 1;

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

    order = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_ORDER, 1);
    lines = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_ORDER_LINES, 1);

    if (order == NULL || lines == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(order, 1, &o->id);
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

    rc = query == 0 ? ngx_commerce_order_row(o, res)
                    : ngx_commerce_order_lines(o, res);

    if (rc != NGX_OK) {
        o->failed = 1;
    }
}


static ngx_int_t
ngx_commerce_order_copy(ngx_pool_t *pool, PGresult *res, int row, int col,
    ngx_str_t *to)
{
    ngx_str_t  text;

    text = ngx_commerce_pg_get_text(res, row, col);

    if (text.len == 0) {
        ngx_str_null(to);
        return NGX_OK;
    }

    to->data = ngx_pstrdup(pool, &text);
    to->len = text.len;

    return to->data ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_commerce_order_row(ngx_commerce_order_op_t *o, PGresult *res)
{
    ngx_pool_t                 *pool;
    ngx_commerce_order_view_t  *view;

    if (PQntuples(res) == 0) {
        return NGX_OK;
    }

    o->found = 1;
    pool = o->call->pool;
    view = &o->view;

    ngx_commerce_pg_get_uuid(res, 0, 0, &view->id);
    view->version = ngx_commerce_pg_get_int4(res, 0, 3);
    view->totals.subtotal = ngx_commerce_pg_get_int8(res, 0, 5);
    view->totals.discount = ngx_commerce_pg_get_int8(res, 0, 6);
    view->totals.tax = ngx_commerce_pg_get_int8(res, 0, 7);
    view->totals.shipping = ngx_commerce_pg_get_int8(res, 0, 8);
    view->totals.total = ngx_commerce_pg_get_int8(res, 0, 9);
    view->created_at = ngx_commerce_pg_get_int8(res, 0, 12);
    view->expires_at = ngx_commerce_pg_get_int8(res, 0, 13);

    if (ngx_commerce_order_copy(pool, res, 0, 2, &view->state) != NGX_OK
        || ngx_commerce_order_copy(pool, res, 0, 4, &view->currency) != NGX_OK
        || ngx_commerce_order_copy(pool, res, 0, 10, &view->email) != NGX_OK
        || ngx_commerce_order_copy(pool, res, 0, 11, &view->delivery)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_order_lines(ngx_commerce_order_op_t *o, PGresult *res)
{
    int                         row, n;
    ngx_commerce_order_line_t  *line;

    n = PQntuples(res);

    line = ngx_pcalloc(o->call->pool,
                       (n + 1) * sizeof(ngx_commerce_order_line_t));
    if (line == NULL) {
        return NGX_ERROR;
    }

    o->view.lines = line;
    o->view.nlines = n;

    for (row = 0; row < n; row++, line++) {
        ngx_commerce_pg_get_uuid(res, row, 0, &line->variant_id);
        line->quantity = ngx_commerce_pg_get_int4(res, row, 3);
        line->unit_price = ngx_commerce_pg_get_int8(res, row, 4);

        if (ngx_commerce_order_copy(o->call->pool, res, row, 1, &line->sku)
            != NGX_OK
            || ngx_commerce_order_copy(o->call->pool, res, row, 2,
                                       &line->title)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
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
        call->replayed = 0;
        ngx_commerce_call_failed(call, outcome);
        return;
    }

    if (!o->found) {
        call->replayed = 0;
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


ngx_int_t
ngx_commerce_order_json(ngx_commerce_call_t *call,
    ngx_commerce_order_view_t *view, ngx_str_t *body)
{
    u_char                      token[NGX_COMMERCE_TOKEN_LEN];
    ngx_uint_t                  i;
    commerce_json_writer_t      w;
    ngx_commerce_order_line_t  *line;

    if (!call->staff
        && ngx_commerce_token_sign(call->trade->conf->token_keys, "order",
                                   &view->id, token)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    commerce_json_writer_init(&w, 512 + 256 * view->nlines,
                              ngx_commerce_palloc, call->pool);

    commerce_json_object_open(&w);
    commerce_json_key(&w, "id");
    commerce_json_uuid(&w, &view->id);

    /* staff act under their own scopes, not as the guest */

    if (!call->staff) {
        commerce_json_key(&w, "token");
        commerce_json_string(&w, token, NGX_COMMERCE_TOKEN_LEN);
    }

    commerce_json_key(&w, "state");
    commerce_json_string(&w, view->state.data, view->state.len);
    commerce_json_key(&w, "currency");
    commerce_json_string(&w, view->currency.data, view->currency.len);

    commerce_json_key(&w, "lines");
    commerce_json_array_open(&w);

    for (i = 0; i < view->nlines; i++) {
        line = &view->lines[i];

        commerce_json_object_open(&w);
        commerce_json_key(&w, "variant_id");
        commerce_json_uuid(&w, &line->variant_id);
        commerce_json_key(&w, "sku");
        commerce_json_string(&w, line->sku.data, line->sku.len);
        commerce_json_key(&w, "title");
        commerce_json_string(&w, line->title.data, line->title.len);
        commerce_json_key(&w, "quantity");
        commerce_json_integer(&w, line->quantity);
        commerce_json_key(&w, "unit_price");
        commerce_json_integer(&w, line->unit_price);
        commerce_json_key(&w, "total");
        commerce_json_integer(&w, line->unit_price * line->quantity);
        commerce_json_object_close(&w);
    }

    commerce_json_array_close(&w);

    commerce_json_key(&w, "subtotal");
    commerce_json_integer(&w, view->totals.subtotal);
    commerce_json_key(&w, "discount");
    commerce_json_integer(&w, view->totals.discount);
    commerce_json_key(&w, "tax");
    commerce_json_integer(&w, view->totals.tax);
    commerce_json_key(&w, "shipping");
    commerce_json_integer(&w, view->totals.shipping);
    commerce_json_key(&w, "total");
    commerce_json_integer(&w, view->totals.total);

    if (view->email.len) {
        commerce_json_key(&w, "email");
        commerce_json_string(&w, view->email.data, view->email.len);
    }

    if (view->delivery.len) {
        commerce_json_key(&w, "delivery");
        commerce_json_raw(&w, view->delivery.data, view->delivery.len);
    }

    commerce_json_key(&w, "version");
    commerce_json_integer(&w, view->version);
    commerce_json_key(&w, "created_at");
    commerce_json_time(&w, view->created_at);
    commerce_json_key(&w, "expires_at");
    commerce_json_time(&w, view->expires_at);
    commerce_json_object_close(&w);

    if (w.failed) {
        return NGX_ERROR;
    }

    body->data = w.start;
    body->len = w.last - w.start;

    return NGX_OK;
}


/* Cancel: units go to stock.free in the transaction that leaves
   pending_payment, never into a pool. */

void
ngx_commerce_order_cancel(ngx_commerce_call_t *call)
{
    ngx_commerce_order_do_cancel(call);
}


void
ngx_commerce_admin_order_cancel(ngx_commerce_call_t *call)
{
    if (commerce_uuid_parse(&call->order_id, call->id.data, call->id.len)
        != COMMERCE_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    call->has_order_id = 1;
    ngx_commerce_order_do_cancel(call);
}


void
ngx_commerce_order_do_cancel(ngx_commerce_call_t *call)
{
    ngx_int_t                 rc;
    ngx_commerce_order_op_t  *o;

    rc = ngx_commerce_call_key_check(call, 1, 0);
    if (rc == NGX_ERROR || ngx_commerce_cancel_body(call) != NGX_OK) {
        return;
    }

    o = ngx_commerce_order_op(call);
    if (o == NULL) {
        return;
    }

    o->id = call->order_id;
    o->keyed = rc == NGX_OK;

    if (o->keyed && ngx_commerce_cancel_key(o) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    o->op.build = ngx_commerce_cancel_build;
    o->op.result = ngx_commerce_cancel_result;
    o->op.done = ngx_commerce_cancel_done;

    ngx_commerce_call_write(call, &o->op);
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
ngx_commerce_cancel_key(ngx_commerce_order_op_t *o)
{
    u_char     text[sizeof("cancel:") - 1 + COMMERCE_UUID_TEXT];
    ngx_str_t  scope;

    (void) commerce_uuid_format(ngx_cpymem(text, "cancel:",
                                           sizeof("cancel:") - 1), &o->id);
    scope.data = text;
    scope.len = sizeof(text);

    if (ngx_commerce_call_key(o->call, &scope, &o->key) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_commerce_call_fingerprint(o->call, &o->fingerprint);
}


static ngx_int_t
ngx_commerce_cancel_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_pg_query_t  *q;
    ngx_commerce_order_op_t  *o;

    (void) conn;

    o = op->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_CANCEL, 3);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(q, 1, &o->id);

    if (o->keyed) {
        ngx_commerce_pg_uuid(q, 2, &o->key);
        ngx_commerce_pg_uuid(q, 3, &o->fingerprint);
    }

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_cancel_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    int                       row;
    ngx_commerce_freed_t     *freed;
    ngx_commerce_order_op_t  *o;

    (void) query;

    o = op->data;

    if (PQntuples(res) == 0) {
        return;
    }

    o->found = 1;
    ngx_commerce_pg_get_uuid(res, 0, 1, &o->idem);

    if (ngx_commerce_order_copy(o->call->pool, res, 0, 0, &o->state)
        != NGX_OK)
    {
        o->failed = 1;
        return;
    }

    o->seen = !ngx_commerce_pg_is_null(res, 0, 5);
    ngx_commerce_pg_get_uuid(res, 0, 5, &o->known);

    o->cancelled = o->state.len == sizeof("pending_payment") - 1
                   && ngx_strncmp(o->state.data, "pending_payment",
                                  o->state.len) == 0;

    for (row = 0; row < PQntuples(res); row++) {
        if (ngx_commerce_pg_is_null(res, row, 2)) {
            continue;
        }

        freed = ngx_array_push(&o->freed);
        if (freed == NULL) {
            o->failed = 1;
            return;
        }

        ngx_commerce_pg_get_uuid(res, row, 2, &freed->variant);
        freed->free = ngx_commerce_pg_get_int4(res, row, 3);
    }
}


static void
ngx_commerce_cancel_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_uint_t                i;
    ngx_commerce_call_t      *call;
    ngx_commerce_zone_t      *zone;
    ngx_commerce_freed_t     *freed;
    ngx_commerce_order_op_t  *o;

    (void) sqlstate;

    o = op->data;
    call = o->call;
    zone = call->trade->zone;
    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_call_failed(call, outcome);
        return;
    }

    if (!o->found) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    ngx_commerce_replay_forget(zone, &o->idem);

    freed = o->freed.elts;

    for (i = 0; i < o->freed.nelts; i++) {
        ngx_commerce_stock_set_free(zone, &freed[i].variant, freed[i].free);
        ngx_commerce_stock_news(zone, &freed[i].variant);
    }

    if (!o->cancelled && o->seen) {
        if (commerce_uuid_compare(&o->known, &o->fingerprint) != 0) {
            ngx_commerce_refuse(call, COMMERCE_IDEMPOTENCY_KEY_REUSED,
                                "this key came with another request before");
            return;
        }

        call->replayed = 1;
        ngx_commerce_order_show(call, &o->id, 200);
        return;
    }

    if (!o->cancelled) {
        ngx_commerce_refuse(call, COMMERCE_ILLEGAL_TRANSITION,
                            "only an order that waits for its payment "
                            "can be cancelled");
        return;
    }

    ngx_commerce_count(zone, NGX_COMMERCE_C_CANCELLED, 1);
    ngx_commerce_order_show(call, &o->id, 200);
}
