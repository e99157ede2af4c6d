/* Stock for the staff: where the units are, and the ledger's adjustments. */

#include "ngx_commerce_product.h"
#include "ngx_commerce_admin_fields.h"


typedef struct {
    ngx_commerce_pg_op_t            op;
    ngx_commerce_stock_fields_t     fields;
    commerce_uuid_t                 idem;
    commerce_uuid_t                 fingerprint;
    ngx_commerce_put_t              put;
    ngx_str_t                       answer;     /* what the key is bound to */
    unsigned                        asked:1;    /* for leased units back */
    unsigned                        failed:1;
} ngx_commerce_adjust_t;


typedef struct {
    ngx_commerce_pg_op_t            op;
    commerce_json_writer_t          writer;
    unsigned                        found:1;
} ngx_commerce_stock_read_t;


static ngx_int_t ngx_commerce_stock_of_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_stock_of_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_stock_of_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static ngx_int_t ngx_commerce_adjust_keys(ngx_commerce_call_t *call,
    ngx_commerce_adjust_t *adjust);
static void ngx_commerce_adjust_submit(ngx_commerce_call_t *call);
static ngx_int_t ngx_commerce_adjust_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_adjust_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_adjust_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_adjust_returned(void *data, ngx_int_t rc);
static void ngx_commerce_adjust_refuse(ngx_commerce_call_t *call,
    ngx_commerce_adjust_t *adjust);


void
ngx_commerce_admin_stock_get(ngx_commerce_call_t *call)
{
    ngx_commerce_stock_read_t  *read;

    if (!ngx_commerce_sku_valid(call->id.data, call->id.len)) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    read = ngx_pcalloc(call->pool, sizeof(ngx_commerce_stock_read_t));

    if (read == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    read->op.build = ngx_commerce_stock_of_build;
    read->op.result = ngx_commerce_stock_of_result;
    read->op.done = ngx_commerce_stock_of_done;

    call->data = read;

    ngx_commerce_call_read(call, &read->op);
}


static ngx_int_t
ngx_commerce_stock_of_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t      *call;
    ngx_commerce_pg_query_t  *q;

    call = op->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_STOCK_OF, 1);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_text(q, 1, call->id.data, call->id.len);

    return NGX_OK;
}


static void
ngx_commerce_stock_of_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    int                         i;
    ngx_str_t                   sku;
    ngx_commerce_call_t        *call;
    commerce_json_writer_t     *w;
    ngx_commerce_stock_read_t  *read;

    static const char  *names[] = { "free", "leased", "held", "sold" };

    call = op->data;
    read = call->data;

    if (PQntuples(res) != 1) {
        return;
    }

    read->found = 1;
    w = &read->writer;

    commerce_json_writer_init(w, 256, ngx_commerce_palloc, call->pool);

    sku = ngx_commerce_pg_get_text(res, 0, 0);

    commerce_json_object_open(w);
    commerce_json_key(w, "sku");
    commerce_json_string(w, sku.data, sku.len);

    for (i = 0; i < 4; i++) {
        commerce_json_key(w, names[i]);
        commerce_json_integer(w, ngx_commerce_pg_get_int8(res, 0, i + 1));
    }

    commerce_json_object_close(w);
}


static void
ngx_commerce_stock_of_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_str_t                   body;
    ngx_commerce_call_t        *call;
    ngx_commerce_stock_read_t  *read;

    call = op->data;
    read = call->data;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_admin_failed(call, outcome, sqlstate);
        return;
    }

    if (!read->found) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    if (read->writer.failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    body.data = read->writer.start;
    body.len = (size_t) (read->writer.last - read->writer.start);

    ngx_commerce_answer(call, 200, &body);
}


void
ngx_commerce_admin_stock_adjust(ngx_commerce_call_t *call)
{
    ngx_commerce_adjust_t   *adjust;
    commerce_json_errors_t  *errors;

    if (!ngx_commerce_sku_valid(call->id.data, call->id.len)) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    if (ngx_commerce_call_key_check(call, 1, 1) != NGX_OK) {
        return;
    }

    errors = ngx_commerce_admin_errors(call);
    if (errors == NULL) {
        return;
    }

    adjust = ngx_pcalloc(call->pool, sizeof(ngx_commerce_adjust_t));

    if (adjust == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    if (ngx_commerce_stock_check(call->json, 0, &adjust->fields, errors)
        != NGX_OK)
    {
        ngx_commerce_call_invalid(call, errors);
        return;
    }

    if (ngx_commerce_adjust_keys(call, adjust) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    call->data = adjust;

    ngx_commerce_adjust_submit(call);
}


/* Each API key has keys of its own. */

static ngx_int_t
ngx_commerce_adjust_keys(ngx_commerce_call_t *call,
    ngx_commerce_adjust_t *adjust)
{
    u_char     text[sizeof("stock:") - 1 + COMMERCE_UUID_TEXT], *p;
    ngx_str_t  scope;

    p = ngx_cpymem(text, "stock:", sizeof("stock:") - 1);
    p = commerce_uuid_format(p, &call->actor_id);

    scope.data = text;
    scope.len = (size_t) (p - text);

    if (ngx_commerce_call_key(call, &scope, &adjust->idem) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_commerce_call_fingerprint(call, &adjust->fingerprint);
}


static void
ngx_commerce_adjust_submit(ngx_commerce_call_t *call)
{
    ngx_commerce_adjust_t  *adjust;

    adjust = call->data;

    ngx_memzero(&adjust->op, sizeof(ngx_commerce_pg_op_t));

    adjust->op.build = ngx_commerce_adjust_build;
    adjust->op.result = ngx_commerce_adjust_result;
    adjust->op.done = ngx_commerce_adjust_done;

    ngx_commerce_call_write(call, &adjust->op);
}


static ngx_int_t
ngx_commerce_adjust_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t          *call;
    ngx_commerce_adjust_t        *adjust;
    ngx_commerce_pg_query_t      *q;
    ngx_commerce_stock_fields_t  *fields;

    call = op->data;
    adjust = call->data;
    fields = &adjust->fields;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_ADJUST_STOCK, 8);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_text(q, 1, call->id.data, call->id.len);

    if (fields->has_delta) {
        ngx_commerce_pg_int4(q, 2, (int32_t) fields->delta);

    } else {
        ngx_commerce_pg_int4(q, 3, (int32_t) fields->set);
        ngx_commerce_pg_int4(q, 4, (int32_t) fields->expected);
    }

    ngx_commerce_pg_text(q, 5, fields->reason.data, fields->reason.len);
    ngx_commerce_pg_text(q, 6, call->actor.data, call->actor.len);
    ngx_commerce_pg_uuid(q, 7, &adjust->idem);
    ngx_commerce_pg_uuid(q, 8, &adjust->fingerprint);

    return NGX_OK;
}


static void
ngx_commerce_adjust_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_str_t               text;
    ngx_commerce_call_t    *call;
    ngx_commerce_adjust_t  *adjust;

    call = op->data;
    adjust = call->data;

    if (PQntuples(res) != 1
        || ngx_commerce_put_row(call->pool, res, 0, &adjust->put) != NGX_OK)
    {
        adjust->failed = 1;
        return;
    }

    text = ngx_commerce_pg_get_text(res, 0, 6);

    adjust->answer.len = text.len;
    adjust->answer.data = ngx_pstrdup(call->pool, &text);

    if (adjust->answer.data == NULL) {
        adjust->failed = 1;
    }
}


static void
ngx_commerce_adjust_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_put_t     *put;
    ngx_commerce_call_t    *call;
    ngx_commerce_zone_t    *zone;
    ngx_commerce_adjust_t  *adjust;

    call = op->data;
    adjust = call->data;
    put = &adjust->put;
    zone = call->trade->zone;

    ngx_commerce_call_db_time(call, op);

    if (outcome == NGX_COMMERCE_PG_FAILED
        && ngx_strcmp(sqlstate, "23505") == 0)
    {
        /* of one variant the row's lock lets one go at a time, and the key is
           looked up behind it: another variant's adjustment took it */
        ngx_commerce_refuse(call, COMMERCE_IDEMPOTENCY_KEY_REUSED, NULL);
        return;
    }

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_admin_failed(call, outcome, sqlstate);
        return;
    }

    if (put->status == NGX_COMMERCE_PUT_UPDATED) {
        ngx_commerce_stock_set_free(zone, &put->id, put->version);
        ngx_commerce_stock_news(zone, &put->id);
    }

    if (adjust->failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    if (put->status != NGX_COMMERCE_PUT_ERROR) {
        call->replayed = put->status == NGX_COMMERCE_PUT_REPLAYED;
        ngx_commerce_answer(call, 200, &adjust->answer);
        return;
    }

    if (put->leased && !adjust->asked) {

        adjust->asked = 1;

        if (ngx_commerce_lease_give_back(call->trade, &put->id,
                                         ngx_commerce_adjust_returned, call)
            == NGX_OK)
        {
            return;
        }
    }

    ngx_commerce_adjust_refuse(call, adjust);
}


/* Whatever came back: the database knows best whether it is enough. */

static void
ngx_commerce_adjust_returned(void *data, ngx_int_t rc)
{
    ngx_commerce_adjust_submit(data);
}


static void
ngx_commerce_adjust_refuse(ngx_commerce_call_t *call,
    ngx_commerce_adjust_t *adjust)
{
    u_char  *p;

    if (adjust->put.problem == COMMERCE_CONFLICT && adjust->answer.len) {

        p = ngx_pnalloc(call->pool, sizeof("\"stock\":") + adjust->answer.len);

        if (p) {
            call->extra.data = p;
            p = ngx_cpymem(p, "\"stock\":", sizeof("\"stock\":") - 1);
            p = ngx_cpymem(p, adjust->answer.data, adjust->answer.len);
            call->extra.len = (size_t) (p - call->extra.data);
        }
    }

    ngx_commerce_put_refuse(call, &adjust->put);
}
