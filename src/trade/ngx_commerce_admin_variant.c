/* Variants and their prices for the staff. */

#include "ngx_commerce_product.h"
#include "ngx_commerce_admin_fields.h"


#define NGX_COMMERCE_WRITER_SIZE  1024


typedef struct {
    ngx_commerce_pg_op_t            op;
    ngx_commerce_variant_fields_t   fields;
    ngx_str_t                       options;    /* as text; data NULL: as is */
    ngx_str_t                       prices;
    int32_t                         expected;
    ngx_commerce_put_t              put;
    ngx_commerce_variant_t          variant;
    commerce_json_writer_t          writer;
    unsigned                        write:1;
    unsigned                        found:1;
    unsigned                        failed:1;
} ngx_commerce_variant_call_t;


static ngx_commerce_variant_call_t *ngx_commerce_variant_call(
    ngx_commerce_call_t *call);
static void ngx_commerce_variant_put(ngx_commerce_call_t *call,
    ngx_commerce_variant_call_t *vc);
static ngx_int_t ngx_commerce_variant_texts(ngx_commerce_call_t *call,
    ngx_commerce_variant_call_t *vc);
static ngx_int_t ngx_commerce_variant_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static ngx_int_t ngx_commerce_variant_put_query(ngx_commerce_pg_op_t *op,
    ngx_commerce_call_t *call, ngx_commerce_variant_call_t *vc);
static void ngx_commerce_variant_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_variant_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


/* Refuses and returns NULL when the path has no sku in it. */

static ngx_commerce_variant_call_t *
ngx_commerce_variant_call(ngx_commerce_call_t *call)
{
    ngx_commerce_variant_call_t  *vc;

    if (!ngx_commerce_sku_valid(call->id.data, call->id.len)) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return NULL;
    }

    vc = ngx_pcalloc(call->pool, sizeof(ngx_commerce_variant_call_t));

    if (vc == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NULL;
    }

    vc->op.build = ngx_commerce_variant_build;
    vc->op.result = ngx_commerce_variant_result;
    vc->op.done = ngx_commerce_variant_done;

    vc->fields.archived = -1;

    call->data = vc;

    return vc;
}


void
ngx_commerce_admin_variant_get(ngx_commerce_call_t *call)
{
    ngx_commerce_variant_call_t  *vc;

    vc = ngx_commerce_variant_call(call);

    if (vc) {
        ngx_commerce_call_read(call, &vc->op);
    }
}


void
ngx_commerce_admin_variant_update(ngx_commerce_call_t *call)
{
    commerce_json_errors_t       *errors;
    ngx_commerce_variant_call_t  *vc;

    vc = ngx_commerce_variant_call(call);

    if (vc == NULL || ngx_commerce_if_match(call, &vc->expected) != NGX_OK) {
        return;
    }

    errors = ngx_commerce_admin_errors(call);
    if (errors == NULL) {
        return;
    }

    if (ngx_commerce_variant_check(call->json, &vc->fields, errors)
        != NGX_OK)
    {
        ngx_commerce_call_invalid(call, errors);
        return;
    }

    ngx_commerce_variant_put(call, vc);
}


void
ngx_commerce_admin_prices_put(ngx_commerce_call_t *call)
{
    commerce_json_errors_t       *errors;
    ngx_commerce_price_fields_t   fields;
    ngx_commerce_variant_call_t  *vc;

    vc = ngx_commerce_variant_call(call);

    if (vc == NULL || ngx_commerce_if_match(call, &vc->expected) != NGX_OK) {
        return;
    }

    errors = ngx_commerce_admin_errors(call);
    if (errors == NULL) {
        return;
    }

    if (ngx_commerce_price_check(call->json, 0, &fields, errors) != NGX_OK) {
        ngx_commerce_call_invalid(call, errors);
        return;
    }

    vc->fields.prices = fields.prices;

    ngx_commerce_variant_put(call, vc);
}


static void
ngx_commerce_variant_put(ngx_commerce_call_t *call,
    ngx_commerce_variant_call_t *vc)
{
    if (ngx_commerce_variant_texts(call, vc) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    vc->write = 1;

    ngx_commerce_call_write(call, &vc->op);
}


static ngx_int_t
ngx_commerce_variant_texts(ngx_commerce_call_t *call,
    ngx_commerce_variant_call_t *vc)
{
    if (vc->fields.options
        && ngx_commerce_doc_text(call->pool, vc->fields.options, 256,
                                 &vc->options)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (vc->fields.prices
        && ngx_commerce_doc_text(call->pool, vc->fields.prices, 256,
                                 &vc->prices)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* The change, if there is one, and the row as it then is. */

static ngx_int_t
ngx_commerce_variant_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t          *call;
    ngx_commerce_pg_query_t      *q;
    ngx_commerce_variant_call_t  *vc;

    call = op->data;
    vc = call->data;

    if (vc->write && ngx_commerce_variant_put_query(op, call, vc) != NGX_OK) {
        return NGX_ERROR;
    }

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_VARIANT_BY_SKU, 2);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_text(q, 1, call->id.data, call->id.len);
    ngx_commerce_pg_int8(q, 2, ngx_commerce_zone_instance(call->trade->zone));

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_variant_put_query(ngx_commerce_pg_op_t *op,
    ngx_commerce_call_t *call, ngx_commerce_variant_call_t *vc)
{
    ngx_commerce_pg_query_t  *q;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_PUT_VARIANT, 6);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_text(q, 1, call->id.data, call->id.len);
    ngx_commerce_pg_int4(q, 2, vc->expected);

    if (vc->fields.title.data) {
        ngx_commerce_pg_text(q, 3, vc->fields.title.data,
                             vc->fields.title.len);
    }

    if (vc->options.data) {
        ngx_commerce_pg_text(q, 4, vc->options.data, vc->options.len);
    }

    if (vc->prices.data) {
        ngx_commerce_pg_text(q, 5, vc->prices.data, vc->prices.len);
    }

    if (vc->fields.archived >= 0) {
        ngx_commerce_pg_bool(q, 6, vc->fields.archived);
    }

    return NGX_OK;
}


static void
ngx_commerce_variant_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_commerce_call_t          *call;
    ngx_commerce_variant_call_t  *vc;

    call = op->data;
    vc = call->data;

    if (vc->write && query == 0) {

        if (PQntuples(res) != 1
            || ngx_commerce_put_row(call->pool, res, 0, &vc->put) != NGX_OK)
        {
            vc->failed = 1;
        }

        return;
    }

    if (PQntuples(res) != 1) {
        return;
    }

    vc->found = 1;

    commerce_json_writer_init(&vc->writer, NGX_COMMERCE_WRITER_SIZE,
                              ngx_commerce_palloc, call->pool);

    ngx_commerce_variant_write(&vc->writer, res, 0, &vc->variant);

    vc->failed |= vc->writer.failed;
}


static void
ngx_commerce_variant_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_str_t                     body;
    ngx_commerce_call_t          *call;
    ngx_commerce_variant_call_t  *vc;

    call = op->data;
    vc = call->data;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_admin_failed(call, outcome, sqlstate);
        return;
    }

    if (vc->write && vc->put.status == NGX_COMMERCE_PUT_UPDATED && vc->found) {
        ngx_commerce_catalogue_changed(call->trade, &vc->variant.product_id);
    }

    if (vc->failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    if (vc->write && vc->put.status == NGX_COMMERCE_PUT_ERROR) {
        ngx_commerce_put_refuse(call, &vc->put);
        return;
    }

    if (!vc->found) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    if (ngx_commerce_etag(call, vc->variant.version) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    body.data = vc->writer.start;
    body.len = (size_t) (vc->writer.last - vc->writer.start);

    ngx_commerce_answer(call, 200, &body);
}
