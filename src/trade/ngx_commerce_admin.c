/* Products for the staff: list, get, create, replace. */

#include "ngx_commerce_product.h"
#include "ngx_commerce_admin_fields.h"


#define NGX_COMMERCE_WRITER_SIZE  4096

#define NGX_COMMERCE_ADMIN_PRODUCTS  "/v1/admin/products/"


typedef struct {
    ngx_commerce_pg_op_t        op;
    ngx_commerce_page_t         page;
    ngx_commerce_products_t     products;
    commerce_json_writer_t      writer;
    commerce_uuid_t             id;
    ngx_str_t                   slug;
    unsigned                    by_id:1;
    unsigned                    failed:1;

    /* of a write */
    const char                 *mode;       /* create, replace */
    ngx_str_t                   doc;
    int32_t                     expected;
    ngx_commerce_put_t          put;
} ngx_commerce_admin_t;


static ngx_commerce_admin_t *ngx_commerce_admin_create(
    ngx_commerce_call_t *call, ngx_uint_t limit);
static ngx_int_t ngx_commerce_admin_page_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_admin_page_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_admin_page_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static ngx_int_t ngx_commerce_admin_get_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_admin_get_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_admin_get_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static ngx_int_t ngx_commerce_admin_get_query(ngx_commerce_pg_op_t *op,
    ngx_commerce_call_t *call);
static void ngx_commerce_admin_put(ngx_commerce_call_t *call,
    ngx_commerce_admin_t *admin);
static ngx_int_t ngx_commerce_admin_put_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_admin_put_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_admin_put_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_admin_send(ngx_commerce_call_t *call,
    ngx_commerce_admin_t *admin);
static ngx_int_t ngx_commerce_admin_location(ngx_commerce_call_t *call,
    const commerce_uuid_t *id);


static ngx_commerce_admin_t *
ngx_commerce_admin_create(ngx_commerce_call_t *call, ngx_uint_t limit)
{
    ngx_commerce_admin_t  *admin;

    admin = ngx_pcalloc(call->pool, sizeof(ngx_commerce_admin_t));

    if (admin == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NULL;
    }

    admin->products.trade = call->trade;
    admin->products.writer = &admin->writer;
    admin->products.limit = limit;
    admin->products.staff = 1;

    call->data = admin;

    return admin;
}


void
ngx_commerce_admin_product_list(ngx_commerce_call_t *call)
{
    ngx_commerce_page_t    page;
    ngx_commerce_admin_t  *admin;

    if (ngx_commerce_page_parse(call, &page) != NGX_OK) {
        return;
    }

    admin = ngx_commerce_admin_create(call, page.limit);
    if (admin == NULL) {
        return;
    }

    admin->page = page;

    admin->op.build = ngx_commerce_admin_page_build;
    admin->op.result = ngx_commerce_admin_page_result;
    admin->op.done = ngx_commerce_admin_page_done;

    ngx_commerce_call_read(call, &admin->op);
}


static ngx_int_t
ngx_commerce_admin_page_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t   *call;
    ngx_commerce_admin_t  *admin;

    call = op->data;
    admin = call->data;

    return ngx_commerce_page_query(op, call->trade,
                                   NGX_COMMERCE_SQL_ADMIN_PRODUCT_PAGE,
                                   &admin->page);
}


static void
ngx_commerce_admin_page_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_commerce_call_t   *call;
    ngx_commerce_admin_t  *admin;

    call = op->data;
    admin = call->data;

    commerce_json_writer_init(&admin->writer, NGX_COMMERCE_WRITER_SIZE,
                              ngx_commerce_palloc, call->pool);

    ngx_commerce_page_open(&admin->writer);

    if (ngx_commerce_products_write(&admin->products, res) != NGX_OK) {
        admin->failed = 1;
        return;
    }

    ngx_commerce_page_close(&admin->writer, &admin->products);
}


static void
ngx_commerce_admin_page_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t   *call;
    ngx_commerce_admin_t  *admin;

    call = op->data;
    admin = call->data;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_admin_failed(call, outcome, sqlstate);
        return;
    }

    ngx_commerce_admin_send(call, admin);
}


void
ngx_commerce_admin_product_get(ngx_commerce_call_t *call)
{
    ngx_commerce_admin_t  *admin;

    admin = ngx_commerce_admin_create(call, 1);
    if (admin == NULL) {
        return;
    }

    if (commerce_uuid_parse(&admin->id, call->id.data, call->id.len)
        == COMMERCE_OK)
    {
        admin->by_id = 1;

    } else if (ngx_commerce_slug_valid(call->id.data, call->id.len)) {
        admin->slug = call->id;

    } else {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    admin->op.build = ngx_commerce_admin_get_build;
    admin->op.result = ngx_commerce_admin_get_result;
    admin->op.done = ngx_commerce_admin_get_done;

    ngx_commerce_call_read(call, &admin->op);
}


static ngx_int_t
ngx_commerce_admin_get_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    return ngx_commerce_admin_get_query(op, op->data);
}


static ngx_int_t
ngx_commerce_admin_get_query(ngx_commerce_pg_op_t *op,
    ngx_commerce_call_t *call)
{
    ngx_commerce_admin_t     *admin;
    ngx_commerce_pg_query_t  *q;

    admin = call->data;

    q = ngx_commerce_pg_query(op, admin->by_id
                                  ? NGX_COMMERCE_SQL_PRODUCT_BY_ID
                                  : NGX_COMMERCE_SQL_PRODUCT_BY_SLUG, 3);
    if (q == NULL) {
        return NGX_ERROR;
    }

    if (admin->by_id) {
        ngx_commerce_pg_uuid(q, 1, &admin->id);

    } else {
        ngx_commerce_pg_text(q, 1, admin->slug.data, admin->slug.len);
    }

    ngx_commerce_pg_bool(q, 2, 1);
    ngx_commerce_pg_int8(q, 3, ngx_commerce_zone_instance(call->trade->zone));

    return NGX_OK;
}


static void
ngx_commerce_admin_get_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_commerce_call_t   *call;
    ngx_commerce_admin_t  *admin;

    call = op->data;
    admin = call->data;

    commerce_json_writer_init(&admin->writer, NGX_COMMERCE_WRITER_SIZE,
                              ngx_commerce_palloc, call->pool);

    if (ngx_commerce_products_write(&admin->products, res) != NGX_OK) {
        admin->failed = 1;
    }
}


static void
ngx_commerce_admin_get_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t   *call;
    ngx_commerce_admin_t  *admin;

    call = op->data;
    admin = call->data;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_admin_failed(call, outcome, sqlstate);
        return;
    }

    if (admin->products.n == 0 && !admin->failed) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    if (ngx_commerce_etag(call, admin->products.version) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    ngx_commerce_admin_send(call, admin);
}


void
ngx_commerce_admin_product_create(ngx_commerce_call_t *call)
{
    ngx_commerce_admin_t  *admin;

    admin = ngx_commerce_admin_create(call, 1);
    if (admin == NULL) {
        return;
    }

    admin->mode = "create";

    ngx_commerce_admin_put(call, admin);
}


void
ngx_commerce_admin_product_replace(ngx_commerce_call_t *call)
{
    ngx_commerce_admin_t  *admin;

    admin = ngx_commerce_admin_create(call, 1);
    if (admin == NULL) {
        return;
    }

    if (commerce_uuid_parse(&admin->id, call->id.data, call->id.len)
        != COMMERCE_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    if (ngx_commerce_if_match(call, &admin->expected) != NGX_OK) {
        return;
    }

    admin->mode = "replace";
    admin->by_id = 1;

    ngx_commerce_admin_put(call, admin);
}


static void
ngx_commerce_admin_put(ngx_commerce_call_t *call, ngx_commerce_admin_t *admin)
{
    commerce_json_errors_t         *errors;
    ngx_commerce_product_fields_t   fields;

    errors = ngx_commerce_admin_errors(call);
    if (errors == NULL) {
        return;
    }

    if (ngx_commerce_product_check(call->json, 0, &fields, errors) != NGX_OK) {
        ngx_commerce_call_invalid(call, errors);
        return;
    }

    if (ngx_commerce_doc_text(call->pool, call->json, call->body.len,
                              &admin->doc)
        != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    admin->slug.data = fields.slug.data;
    admin->slug.len = fields.slug.len;

    admin->op.build = ngx_commerce_admin_put_build;
    admin->op.result = ngx_commerce_admin_put_result;
    admin->op.done = ngx_commerce_admin_put_done;

    ngx_commerce_call_write(call, &admin->op);
}


/* The write, and what came of it, read in the same transaction. */

static ngx_int_t
ngx_commerce_admin_put_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t      *call;
    ngx_commerce_admin_t     *admin;
    ngx_commerce_pg_array_t   docs, actors;
    ngx_commerce_pg_query_t  *q;

    call = op->data;
    admin = call->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_PUT_PRODUCTS, 5);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&docs, op->pool, NGX_COMMERCE_PG_TEXT, 1);
    ngx_commerce_pg_push_text(&docs, admin->doc.data, admin->doc.len);
    ngx_commerce_pg_array_param(q, 1, &docs);

    ngx_commerce_pg_array(&actors, op->pool, NGX_COMMERCE_PG_TEXT, 1);
    ngx_commerce_pg_push_text(&actors, call->actor.data, call->actor.len);
    ngx_commerce_pg_array_param(q, 2, &actors);

    ngx_commerce_pg_text(q, 3, (u_char *) admin->mode,
                         ngx_strlen(admin->mode));

    if (admin->by_id) {
        ngx_commerce_pg_uuid(q, 4, &admin->id);
        ngx_commerce_pg_int4(q, 5, admin->expected);
    }

    return ngx_commerce_admin_get_query(op, call);
}


static void
ngx_commerce_admin_put_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_commerce_call_t   *call;
    ngx_commerce_admin_t  *admin;

    call = op->data;
    admin = call->data;

    if (query == 1) {

        /* after a refusal it is nobody's business who has the slug */

        if (admin->put.status != NGX_COMMERCE_PUT_ERROR) {
            ngx_commerce_admin_get_result(op, query, res);
        }

        return;
    }

    if (PQntuples(res) != 1
        || ngx_commerce_put_row(call->pool, res, 0, &admin->put) != NGX_OK)
    {
        admin->failed = 1;
    }
}


static void
ngx_commerce_admin_put_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_put_t    *put;
    ngx_commerce_call_t   *call;
    ngx_commerce_admin_t  *admin;

    call = op->data;
    admin = call->data;
    put = &admin->put;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_admin_failed(call, outcome, sqlstate);
        return;
    }

    if (put->status == NGX_COMMERCE_PUT_ERROR) {

        if (admin->failed) {
            ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
            return;
        }

        ngx_commerce_put_refuse(call, put);
        return;
    }

    if (put->status != NGX_COMMERCE_PUT_UNCHANGED) {
        ngx_commerce_catalogue_changed(call->trade, &put->id);
    }

    if (ngx_commerce_etag(call, put->version) != NGX_OK
        || (put->status == NGX_COMMERCE_PUT_CREATED
            && ngx_commerce_admin_location(call, &put->id) != NGX_OK))
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    ngx_commerce_admin_send(call, admin);
}


static void
ngx_commerce_admin_send(ngx_commerce_call_t *call,
    ngx_commerce_admin_t *admin)
{
    ngx_str_t  body;

    if (admin->failed || admin->writer.failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    body.data = admin->writer.start;
    body.len = (size_t) (admin->writer.last - admin->writer.start);

    ngx_commerce_answer(call, admin->put.status == NGX_COMMERCE_PUT_CREATED
                              ? 201 : 200, &body);
}


static ngx_int_t
ngx_commerce_admin_location(ngx_commerce_call_t *call,
    const commerce_uuid_t *id)
{
    u_char  *p;

    p = ngx_pnalloc(call->pool, sizeof(NGX_COMMERCE_ADMIN_PRODUCTS) - 1
                                + COMMERCE_UUID_TEXT);
    if (p == NULL) {
        return NGX_ERROR;
    }

    call->location.data = p;

    p = ngx_cpymem(p, NGX_COMMERCE_ADMIN_PRODUCTS,
                   sizeof(NGX_COMMERCE_ADMIN_PRODUCTS) - 1);
    p = commerce_uuid_format(p, id);

    call->location.len = (size_t) (p - call->location.data);

    return NGX_OK;
}
