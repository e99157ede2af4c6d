/*
 * GET /v1/admin/orders/{id}/events: the steps of an order, the first first.
 */

#include "ngx_commerce_order.h"


#define NGX_COMMERCE_EVENTS_LIMIT  20
#define NGX_COMMERCE_EVENTS_MAX    100


typedef struct {
    ngx_commerce_pg_op_t         op;
    ngx_uint_t                   limit;
    int32_t                      after;     /* seq */
    commerce_json_writer_t       writer;
    unsigned                     found:1;
} ngx_commerce_events_t;


/* columns of ORDER_EVENTS */
enum {
    NGX_COMMERCE_EVENT_SEQ = 0,
    NGX_COMMERCE_EVENT_TYPE,
    NGX_COMMERCE_EVENT_STATE,
    NGX_COMMERCE_EVENT_ACTOR,
    NGX_COMMERCE_EVENT_DATA,
    NGX_COMMERCE_EVENT_CREATED
};


static ngx_int_t ngx_commerce_events_after(ngx_commerce_call_t *call,
    int32_t *after);
static ngx_int_t ngx_commerce_events_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_events_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_events_one(commerce_json_writer_t *w, PGresult *res,
    int row);
static void ngx_commerce_events_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


void
ngx_commerce_admin_order_events(ngx_commerce_call_t *call)
{
    ngx_commerce_events_t  *events;

    if (ngx_commerce_order_named(call) != NGX_OK) {
        return;
    }

    events = ngx_pcalloc(call->pool, sizeof(ngx_commerce_events_t));
    if (events == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    if (ngx_commerce_call_limit(call, NGX_COMMERCE_EVENTS_LIMIT,
                                NGX_COMMERCE_EVENTS_MAX, &events->limit)
        != NGX_OK
        || ngx_commerce_events_after(call, &events->after) != NGX_OK)
    {
        return;
    }

    call->data = events;

    events->op.build = ngx_commerce_events_build;
    events->op.result = ngx_commerce_events_result;
    events->op.done = ngx_commerce_events_done;

    ngx_commerce_call_read(call, &events->op);
}


/* A cursor is the sequence number of the last event. */

static ngx_int_t
ngx_commerce_events_after(ngx_commerce_call_t *call, int32_t *after)
{
    ngx_int_t  rc, n;
    ngx_str_t  value;

    rc = ngx_commerce_argument(call, "after", &value);

    if (rc == NGX_DECLINED) {
        return NGX_OK;
    }

    if (rc != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    n = ngx_atoi(value.data, value.len);

    if (n < 0 || n > 2147483647) {
        ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST,
                            "the argument \"after\" is not a cursor that "
                            "was given in \"next\"");
        return NGX_ERROR;
    }

    *after = (int32_t) n;

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_events_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t      *call;
    ngx_commerce_events_t    *events;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    call = op->data;
    events = call->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_ORDER_EVENTS, 3);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(q, 1, &call->order_id);
    ngx_commerce_pg_int4(q, 2, events->after);
    /* one more than asked for tells whether there are more */
    ngx_commerce_pg_int4(q, 3, (int32_t) events->limit + 1);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_events_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    int                      row, rows;
    u_char                   text[NGX_INT32_LEN], *p;
    ngx_commerce_call_t     *call;
    ngx_commerce_events_t   *events;
    commerce_json_writer_t  *w;

    (void) query;

    call = op->data;
    events = call->data;
    w = &events->writer;
    rows = ngx_min(PQntuples(res), (int) events->limit);

    events->found = rows != 0;

    commerce_json_writer_init(w, 64 + 256 * rows, ngx_commerce_palloc,
                              call->pool);

    commerce_json_object_open(w);
    commerce_json_key(w, "data");
    commerce_json_array_open(w);

    for (row = 0; row < rows; row++) {

        /* an order without events of this page has a row without */

        if (!ngx_commerce_pg_is_null(res, row, NGX_COMMERCE_EVENT_SEQ)) {
            ngx_commerce_events_one(w, res, row);
        }
    }

    commerce_json_array_close(w);

    commerce_json_key(w, "has_more");
    commerce_json_boolean(w, PQntuples(res) > rows);
    commerce_json_key(w, "next");

    if (PQntuples(res) > rows) {
        p = ngx_sprintf(text, "%D",
                        ngx_commerce_pg_get_int4(res, rows - 1,
                                                 NGX_COMMERCE_EVENT_SEQ));
        commerce_json_string(w, text, (size_t) (p - text));

    } else {
        commerce_json_null(w);
    }

    commerce_json_object_close(w);
}


static void
ngx_commerce_events_one(commerce_json_writer_t *w, PGresult *res, int row)
{
    size_t     i;
    ngx_str_t  text;

    static const struct {
        const char  *key;
        int          col;
    } texts[] = {
        { "type", NGX_COMMERCE_EVENT_TYPE },
        { "state", NGX_COMMERCE_EVENT_STATE },
        { "actor", NGX_COMMERCE_EVENT_ACTOR }
    };

    commerce_json_object_open(w);

    commerce_json_key(w, "seq");
    commerce_json_integer(w, ngx_commerce_pg_get_int4(res, row,
                                                  NGX_COMMERCE_EVENT_SEQ));

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        text = ngx_commerce_pg_get_text(res, row, texts[i].col);
        commerce_json_key(w, texts[i].key);
        commerce_json_string(w, text.data, text.len);
    }

    text = ngx_commerce_pg_get_text(res, row, NGX_COMMERCE_EVENT_DATA);
    commerce_json_key(w, "data");
    commerce_json_raw(w, text.data, text.len);

    commerce_json_key(w, "created_at");
    commerce_json_time(w, ngx_commerce_pg_get_int8(res, row,
                                                NGX_COMMERCE_EVENT_CREATED));

    commerce_json_object_close(w);
}


static void
ngx_commerce_events_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_str_t               body;
    ngx_commerce_call_t    *call;
    ngx_commerce_events_t  *events;

    (void) sqlstate;

    call = op->data;
    events = call->data;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_call_failed(call, outcome);
        return;
    }

    if (!events->found) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    if (events->writer.failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    body.data = events->writer.start;
    body.len = (size_t) (events->writer.last - events->writer.start);

    ngx_commerce_answer(call, 200, &body);
}
