/*
 * Orders for the staff: GET /v1/admin/orders, newest first.
 */

#include "ngx_commerce_order.h"
#include "ngx_commerce_product.h"
#include "commerce_time.h"


#define NGX_COMMERCE_ORDERS_LIMIT  20
#define NGX_COMMERCE_ORDERS_MAX    100
#define NGX_COMMERCE_ORDERS_EMAIL  254

/*
 * The list goes by ids, which have the time of the worker that made them: its
 * clock and the database's, and an order that waited in between, are at most
 * so far apart.
 */
#define NGX_COMMERCE_ORDERS_SLACK  INT64_C(900000)      /* msec */


/* the index that leads to the orders: sides of ORDER_PAGE */
typedef enum {
    NGX_COMMERCE_ORDERS_BY_ID = 0,
    NGX_COMMERCE_ORDERS_BY_STATE,
    NGX_COMMERCE_ORDERS_BY_CUSTOMER,
    NGX_COMMERCE_ORDERS_BY_EMAIL
} ngx_commerce_orders_side_e;


typedef struct {
    ngx_commerce_pg_op_t         op;
    ngx_uint_t                   limit;
    ngx_commerce_orders_side_e   side;
    commerce_uuid_t              below;
    commerce_uuid_t              from;
    int64_t                      created_after;
    int64_t                      created_before;
    commerce_uuid_t              customer;
    ngx_str_t                    state;     /* data NULL: any */
    ngx_str_t                    email;     /* data NULL: any */
    commerce_json_writer_t       writer;
    unsigned                     has_after:1;
    unsigned                     has_before:1;
    unsigned                     has_customer:1;
    unsigned                     failed:1;
} ngx_commerce_orders_t;


static ngx_int_t ngx_commerce_orders_parse(ngx_commerce_call_t *call,
    ngx_commerce_orders_t *orders);
static ngx_int_t ngx_commerce_orders_state(ngx_commerce_call_t *call,
    ngx_commerce_orders_t *orders);
static ngx_int_t ngx_commerce_orders_buyer(ngx_commerce_call_t *call,
    ngx_commerce_orders_t *orders);
static ngx_int_t ngx_commerce_orders_times(ngx_commerce_call_t *call,
    ngx_commerce_orders_t *orders);
static ngx_int_t ngx_commerce_orders_time(ngx_commerce_call_t *call,
    const char *name, const char *wrong, int64_t *time);
static void ngx_commerce_orders_border(commerce_uuid_t *id, int64_t time,
    int64_t slack);
static ngx_int_t ngx_commerce_orders_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_orders_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_orders_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


void
ngx_commerce_admin_order_list(ngx_commerce_call_t *call)
{
    ngx_commerce_orders_t  *orders;

    orders = ngx_pcalloc(call->pool, sizeof(ngx_commerce_orders_t));
    if (orders == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    if (ngx_commerce_orders_parse(call, orders) != NGX_OK) {
        return;
    }

    call->data = orders;

    orders->op.build = ngx_commerce_orders_build;
    orders->op.result = ngx_commerce_orders_result;
    orders->op.done = ngx_commerce_orders_done;

    ngx_commerce_call_read(call, &orders->op);
}


static ngx_int_t
ngx_commerce_orders_parse(ngx_commerce_call_t *call,
    ngx_commerce_orders_t *orders)
{
    ngx_int_t        rc;
    commerce_uuid_t  after;

    ngx_memset(orders->below.bytes, 0xff, sizeof(orders->below.bytes));

    if (ngx_commerce_call_limit(call, NGX_COMMERCE_ORDERS_LIMIT,
                                NGX_COMMERCE_ORDERS_MAX, &orders->limit)
        != NGX_OK
        || ngx_commerce_orders_state(call, orders) != NGX_OK
        || ngx_commerce_orders_buyer(call, orders) != NGX_OK
        || ngx_commerce_orders_times(call, orders) != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_commerce_page_after(call, &after);

    if (rc == NGX_OK && commerce_uuid_compare(&after, &orders->below) < 0) {
        orders->below = after;
    }

    return rc == NGX_ERROR ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_commerce_orders_state(ngx_commerce_call_t *call,
    ngx_commerce_orders_t *orders)
{
    commerce_order_state_e  state;

    if (ngx_commerce_page_text(call, "state", 64, &orders->state,
                               "the argument \"state\" is no state")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (orders->state.data == NULL) {
        return NGX_OK;
    }

    if (commerce_order_state_parse(&state, orders->state.data,
                                   orders->state.len)
        != COMMERCE_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST,
                            "the argument \"state\" is no state");
        return NGX_ERROR;
    }

    /* those that wait are among the newest: they are found by id */

    if (state != COMMERCE_ORDER_PENDING_PAYMENT) {
        orders->side = NGX_COMMERCE_ORDERS_BY_STATE;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_orders_buyer(ngx_commerce_call_t *call,
    ngx_commerce_orders_t *orders)
{
    ngx_str_t  id;

    ngx_str_null(&id);

    if (ngx_commerce_page_text(call, "email", NGX_COMMERCE_ORDERS_EMAIL,
                               &orders->email,
                               "the argument \"email\" is not valid")
        != NGX_OK
        || ngx_commerce_page_text(call, "customer_id", COMMERCE_UUID_TEXT,
                                  &id,
                                  "the argument \"customer_id\" is no UUID")
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (orders->email.data) {
        orders->side = NGX_COMMERCE_ORDERS_BY_EMAIL;
    }

    if (id.data == NULL) {
        return NGX_OK;
    }

    if (commerce_uuid_parse(&orders->customer, id.data, id.len)
        != COMMERCE_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST,
                            "the argument \"customer_id\" is no UUID");
        return NGX_ERROR;
    }

    orders->has_customer = 1;
    orders->side = NGX_COMMERCE_ORDERS_BY_CUSTOMER;

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_orders_times(ngx_commerce_call_t *call,
    ngx_commerce_orders_t *orders)
{
    ngx_int_t  rc;

    rc = ngx_commerce_orders_time(call, "created_after",
                                  "the argument \"created_after\" is no time "
                                  "of RFC 3339", &orders->created_after);
    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_OK) {
        orders->has_after = 1;
        ngx_commerce_orders_border(&orders->from, orders->created_after,
                                   -NGX_COMMERCE_ORDERS_SLACK);
    }

    rc = ngx_commerce_orders_time(call, "created_before",
                                  "the argument \"created_before\" is no time "
                                  "of RFC 3339", &orders->created_before);
    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_OK) {
        orders->has_before = 1;
        ngx_commerce_orders_border(&orders->below, orders->created_before,
                                   NGX_COMMERCE_ORDERS_SLACK);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_orders_time(ngx_commerce_call_t *call, const char *name,
    const char *wrong, int64_t *time)
{
    ngx_str_t  value;

    ngx_str_null(&value);

    if (ngx_commerce_page_text(call, name, 64, &value, wrong) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value.data == NULL) {
        return NGX_DECLINED;
    }

    if (commerce_time_parse(time, value.data, value.len) != COMMERCE_OK) {
        ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST, wrong);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* The least UUIDv7 of a time: its first 48 bits are milliseconds. */

static void
ngx_commerce_orders_border(commerce_uuid_t *id, int64_t time, int64_t slack)
{
    int         i;
    int64_t     msec;

    msec = time / 1000 + COMMERCE_TIME_PG_EPOCH * 1000 + slack;

    if (msec < 0) {
        msec = 0;
    }

    ngx_memzero(id->bytes, sizeof(id->bytes));

    for (i = 5; i >= 0; i--) {
        id->bytes[i] = (u_char) (msec & 0xff);
        msec >>= 8;
    }
}


static ngx_int_t
ngx_commerce_orders_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t      *call;
    ngx_commerce_orders_t    *orders;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    call = op->data;
    orders = call->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_ORDER_PAGE, 9);
    if (q == NULL) {
        return NGX_ERROR;
    }

    /* one more than asked for tells whether there are more */
    ngx_commerce_pg_int4(q, 1, (int32_t) orders->limit + 1);
    ngx_commerce_pg_uuid(q, 2, &orders->below);
    ngx_commerce_pg_uuid(q, 3, &orders->from);

    /* a timestamptz is sent as such a number */

    if (orders->has_after) {
        ngx_commerce_pg_int8(q, 4, orders->created_after);
    }

    if (orders->has_before) {
        ngx_commerce_pg_int8(q, 5, orders->created_before);
    }

    if (orders->state.data) {
        ngx_commerce_pg_text(q, 6, orders->state.data, orders->state.len);
    }

    if (orders->has_customer) {
        ngx_commerce_pg_uuid(q, 7, &orders->customer);
    }

    if (orders->email.data) {
        ngx_commerce_pg_text(q, 8, orders->email.data, orders->email.len);
    }

    ngx_commerce_pg_int4(q, 9, (int32_t) orders->side);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_orders_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    int                         row, rows;
    ngx_commerce_call_t        *call;
    ngx_commerce_orders_t      *orders;
    commerce_json_writer_t     *w;
    ngx_commerce_order_view_t   view;

    (void) query;

    call = op->data;
    orders = call->data;
    w = &orders->writer;
    rows = ngx_min(PQntuples(res), (int) orders->limit);

    commerce_json_writer_init(w, 64 + 640 * rows, ngx_commerce_palloc,
                              call->pool);
    ngx_commerce_page_open(w);

    ngx_memzero(&view, sizeof(ngx_commerce_order_view_t));

    for (row = 0; row < rows; row++) {

        if (ngx_commerce_order_row(call->pool, res, row, &view) != NGX_OK) {
            orders->failed = 1;
            return;
        }

        commerce_json_object_open(w);

        if (ngx_commerce_order_head(call, &view, w) != NGX_OK) {
            orders->failed = 1;
            return;
        }

        ngx_commerce_order_tail(call, &view, w);
        commerce_json_object_close(w);
    }

    ngx_commerce_page_end(w, PQntuples(res) > rows ? &view.id : NULL);
}


static void
ngx_commerce_orders_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_str_t               body;
    ngx_commerce_call_t    *call;
    ngx_commerce_orders_t  *orders;

    (void) sqlstate;

    call = op->data;
    orders = call->data;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_call_failed(call, outcome);
        return;
    }

    if (orders->failed || orders->writer.failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    body.data = orders->writer.start;
    body.len = (size_t) (orders->writer.last - orders->writer.start);

    ngx_commerce_answer(call, 200, &body);
}
