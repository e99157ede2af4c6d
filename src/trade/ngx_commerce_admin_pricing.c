/*
 * Tax rates, shipping methods and coupons for the staff: lists and single
 * ones.  What differs between them is in one table, by operation.
 */

#include "ngx_commerce_admin_pricing.h"


#define NGX_COMMERCE_WRITER_SIZE  1024
#define NGX_COMMERCE_FILTER_MAX   64


static ngx_int_t ngx_commerce_pricing_filter(ngx_commerce_call_t *call,
    ngx_commerce_pricing_t *pricing);
static ngx_int_t ngx_commerce_pricing_page_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_pricing_page_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_pricing_page_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_pricing_get_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_pricing_write(ngx_commerce_pricing_t *pricing,
    PGresult *res, int row);


static const ngx_commerce_pricing_kind_t  ngx_commerce_pricing_kinds[] = {

    [NGX_COMMERCE_OP_ADMIN_TAX_RATE] = {
        "/v1/admin/tax-rates/", "country",
        NGX_COMMERCE_SQL_TAX_RATE_PAGE, NGX_COMMERCE_SQL_TAX_RATE,
        NGX_COMMERCE_SQL_PUT_TAX_RATE, NGX_COMMERCE_SQL_DELETE_TAX_RATE,
        ngx_commerce_tax_rate_check, ngx_commerce_tax_rate_write, 1
    },

    [NGX_COMMERCE_OP_ADMIN_SHIPPING] = {
        "/v1/admin/shipping-methods/", "code",
        NGX_COMMERCE_SQL_SHIPPING_METHOD_PAGE,
        NGX_COMMERCE_SQL_SHIPPING_METHOD,
        NGX_COMMERCE_SQL_PUT_SHIPPING_METHOD,
        NGX_COMMERCE_SQL_DELETE_SHIPPING_METHOD,
        ngx_commerce_shipping_method_check,
        ngx_commerce_shipping_method_write, 1
    },

    [NGX_COMMERCE_OP_ADMIN_COUPON] = {
        "/v1/admin/coupons/", "code",
        NGX_COMMERCE_SQL_COUPON_PAGE, NGX_COMMERCE_SQL_COUPON_ROW,
        NGX_COMMERCE_SQL_PUT_COUPON, NGX_COMMERCE_SQL_DELETE_COUPON,
        ngx_commerce_coupon_check, ngx_commerce_coupon_write, 0
    }
};


ngx_commerce_pricing_t *
ngx_commerce_pricing_call(ngx_commerce_call_t *call)
{
    ngx_commerce_pricing_t  *pricing;

    pricing = ngx_pcalloc(call->pool, sizeof(ngx_commerce_pricing_t));

    if (pricing == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NULL;
    }

    pricing->kind = &ngx_commerce_pricing_kinds[call->operation];

    call->data = pricing;

    return pricing;
}


ngx_int_t
ngx_commerce_pricing_target(ngx_commerce_call_t *call,
    ngx_commerce_pricing_t *pricing, ngx_uint_t write)
{
    if (commerce_uuid_parse(&pricing->id, call->id.data, call->id.len)
        != COMMERCE_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return NGX_ERROR;
    }

    return write ? ngx_commerce_if_match(call, &pricing->expected) : NGX_OK;
}


void
ngx_commerce_admin_pricing_list(ngx_commerce_call_t *call)
{
    ngx_commerce_pricing_t  *pricing;

    pricing = ngx_commerce_pricing_call(call);

    if (pricing == NULL
        || ngx_commerce_page_parse(call, &pricing->page) != NGX_OK
        || ngx_commerce_pricing_filter(call, pricing) != NGX_OK)
    {
        return;
    }

    pricing->op.build = ngx_commerce_pricing_page_build;
    pricing->op.result = ngx_commerce_pricing_page_result;
    pricing->op.done = ngx_commerce_pricing_page_done;

    ngx_commerce_call_read(call, &pricing->op);
}


/* data NULL: no filter */

static ngx_int_t
ngx_commerce_pricing_filter(ngx_commerce_call_t *call,
    ngx_commerce_pricing_t *pricing)
{
    size_t      i;
    ngx_int_t   rc;
    ngx_str_t  *filter;

    filter = &pricing->filter;
    rc = ngx_commerce_argument(call, pricing->kind->filter, filter);

    if (rc == NGX_DECLINED) {
        return NGX_OK;
    }

    if (rc != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    if (filter->len == 0 || filter->len > NGX_COMMERCE_FILTER_MAX) {
        goto invalid;
    }

    for (i = 0; i < filter->len; i++) {
        if (filter->data[i] <= ' ' || filter->data[i] > '~') {
            goto invalid;
        }
    }

    return NGX_OK;

invalid:

    ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST,
                        "the argument that filters the list is not valid");

    return NGX_ERROR;
}


static ngx_int_t
ngx_commerce_pricing_page_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t      *call;
    ngx_commerce_pricing_t   *pricing;
    ngx_commerce_pg_query_t  *q;

    call = op->data;
    pricing = call->data;

    q = ngx_commerce_pg_query(op, pricing->kind->page, 3);
    if (q == NULL) {
        return NGX_ERROR;
    }

    /* one more than asked for tells whether there are more */
    ngx_commerce_pg_int4(q, 1, (int32_t) pricing->page.limit + 1);

    if (pricing->page.has_after) {
        ngx_commerce_pg_uuid(q, 2, &pricing->page.after);
    }

    if (pricing->filter.data) {
        ngx_commerce_pg_text(q, 3, pricing->filter.data, pricing->filter.len);
    }

    return NGX_OK;
}


static void
ngx_commerce_pricing_page_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    int                       row, rows;
    ngx_commerce_call_t      *call;
    ngx_commerce_pricing_t   *pricing;
    ngx_commerce_products_t   page;

    call = op->data;
    pricing = call->data;

    ngx_memzero(&page, sizeof(ngx_commerce_products_t));

    rows = PQntuples(res);

    if ((ngx_uint_t) rows > pricing->page.limit) {
        rows = (int) pricing->page.limit;
        page.more = 1;
        ngx_commerce_pg_get_uuid(res, rows - 1, NGX_COMMERCE_PRICING_ID,
                                 &page.last);
    }

    commerce_json_writer_init(&pricing->writer, NGX_COMMERCE_WRITER_SIZE,
                              ngx_commerce_palloc, call->pool);

    ngx_commerce_page_open(&pricing->writer);

    for (row = 0; row < rows; row++) {
        ngx_commerce_pricing_write(pricing, res, row);
    }

    ngx_commerce_page_close(&pricing->writer, &page);
}


static void
ngx_commerce_pricing_page_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t  *call;

    call = op->data;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_admin_failed(call, outcome, sqlstate);
        return;
    }

    ngx_commerce_pricing_send(call, call->data, 200);
}


void
ngx_commerce_admin_pricing_get(ngx_commerce_call_t *call)
{
    ngx_commerce_pricing_t  *pricing;

    pricing = ngx_commerce_pricing_call(call);

    if (pricing == NULL
        || ngx_commerce_pricing_target(call, pricing, 0) != NGX_OK)
    {
        return;
    }

    pricing->op.build = ngx_commerce_pricing_get_build;
    pricing->op.result = ngx_commerce_pricing_get_result;
    pricing->op.done = ngx_commerce_pricing_get_done;

    ngx_commerce_call_read(call, &pricing->op);
}


ngx_int_t
ngx_commerce_pricing_get_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t      *call;
    ngx_commerce_pricing_t   *pricing;
    ngx_commerce_pg_query_t  *q;

    call = op->data;
    pricing = call->data;

    q = ngx_commerce_pg_query(op, pricing->kind->row, 1);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(q, 1, &pricing->id);

    return NGX_OK;
}


void
ngx_commerce_pricing_get_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_commerce_call_t     *call;
    ngx_commerce_pricing_t  *pricing;

    call = op->data;
    pricing = call->data;

    if (PQntuples(res) != 1) {
        return;
    }

    pricing->found = 1;
    pricing->version = ngx_commerce_pg_get_int4(res, 0,
                                                NGX_COMMERCE_PRICING_VERSION);

    commerce_json_writer_init(&pricing->writer, NGX_COMMERCE_WRITER_SIZE,
                              ngx_commerce_palloc, call->pool);

    ngx_commerce_pricing_write(pricing, res, 0);
}


static void
ngx_commerce_pricing_get_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t     *call;
    ngx_commerce_pricing_t  *pricing;

    call = op->data;
    pricing = call->data;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_admin_failed(call, outcome, sqlstate);
        return;
    }

    if (!pricing->found) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    if (ngx_commerce_etag(call, pricing->version) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    ngx_commerce_pricing_send(call, pricing, 200);
}


static void
ngx_commerce_pricing_write(ngx_commerce_pricing_t *pricing, PGresult *res,
    int row)
{
    commerce_uuid_t          id;
    commerce_json_writer_t  *w;

    w = &pricing->writer;

    ngx_commerce_pg_get_uuid(res, row, NGX_COMMERCE_PRICING_ID, &id);

    commerce_json_object_open(w);
    commerce_json_key(w, "id");
    commerce_json_uuid(w, &id);

    pricing->kind->write(w, res, row);

    commerce_json_key(w, "version");
    commerce_json_integer(w, ngx_commerce_pg_get_int4(res, row,
                                              NGX_COMMERCE_PRICING_VERSION));
    commerce_json_key(w, "created_at");
    commerce_json_time(w, ngx_commerce_pg_get_int8(res, row,
                                              NGX_COMMERCE_PRICING_CREATED));
    commerce_json_key(w, "updated_at");
    commerce_json_time(w, ngx_commerce_pg_get_int8(res, row,
                                              NGX_COMMERCE_PRICING_UPDATED));
    commerce_json_object_close(w);
}


void
ngx_commerce_pricing_send(ngx_commerce_call_t *call,
    ngx_commerce_pricing_t *pricing, ngx_uint_t status)
{
    ngx_str_t  body;

    if (pricing->writer.failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    body.data = pricing->writer.start;
    body.len = (size_t) (pricing->writer.last - pricing->writer.start);

    ngx_commerce_answer(call, status, &body);
}
