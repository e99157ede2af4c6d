/*
 * Writes of carts on their way to the database: batches on connections that
 * commit asynchronously.  What a crash of the server may lose is the last
 * fraction of a second of what was put into carts, never an order.
 */

#include "ngx_commerce_cart_op.h"


/* What the segment holds, for result(). */
typedef struct {
    ngx_commerce_cart_op_t     **made;      /* CART_CREATE's */
    ngx_uint_t                   nmade;
    ngx_commerce_cart_op_t     **written;   /* CART_WRITE's */
    ngx_uint_t                   nwritten;
    ngx_commerce_cart_op_t     **read;      /* both: CART's, CART_LINES' */
} ngx_commerce_cart_batch_t;


static ngx_int_t ngx_commerce_cart_batch_build(
    ngx_commerce_pg_batch_t *batch, ngx_commerce_pg_conn_t *conn);
static ngx_int_t ngx_commerce_cart_batch_sort(ngx_commerce_pg_batch_t *batch);
static int ngx_libc_cdecl ngx_commerce_cart_batch_cmp(const void *one,
    const void *two);
static void ngx_commerce_cart_batch_key(ngx_commerce_cart_op_t *op,
    ngx_commerce_pg_array_t *idem, ngx_commerce_pg_array_t *fingerprint);
static ngx_int_t ngx_commerce_cart_batch_create(
    ngx_commerce_pg_batch_t *batch);
static ngx_int_t ngx_commerce_cart_batch_ids(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_query_t *q, ngx_uint_t written);
static ngx_int_t ngx_commerce_cart_batch_lock(ngx_commerce_pg_batch_t *batch);
static ngx_int_t ngx_commerce_cart_batch_write(
    ngx_commerce_pg_batch_t *batch);
static ngx_int_t ngx_commerce_cart_batch_read(ngx_commerce_pg_batch_t *batch);
static void ngx_commerce_cart_batch_result(ngx_commerce_pg_batch_t *batch,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_cart_batch_carts(ngx_commerce_cart_batch_t *b,
    PGresult *res);
static void ngx_commerce_cart_batch_lines(ngx_commerce_cart_batch_t *b,
    PGresult *res);
static void ngx_commerce_cart_batch_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);


static const ngx_commerce_pg_kind_t  ngx_commerce_cart_kind = {
    "cart",
    64,
    64,
    ngx_commerce_cart_batch_build,
    ngx_commerce_cart_batch_result,
    ngx_commerce_cart_batch_done,
    NULL
};


ngx_int_t
ngx_commerce_cart_start(ngx_commerce_trade_t *trade)
{
    trade->cart_writes = ngx_commerce_pg_lane_create(trade->cycle,
                             trade->carts, &ngx_commerce_cart_kind,
                             trade->conf->queue, trade);

    return trade->cart_writes ? NGX_OK : NGX_ERROR;
}


void
ngx_commerce_cart_send(ngx_commerce_cart_op_t *op)
{
    op->item.weight = 1;

    if (ngx_commerce_pg_enqueue(op->call->trade->cart_writes, &op->item)
        != NGX_OK)
    {
        ngx_commerce_refuse(op->call, COMMERCE_OVERLOADED,
                            "the queue of carts is full");
    }
}


static ngx_int_t
ngx_commerce_cart_batch_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_cart_batch_t  *b;

    (void) conn;

    if (ngx_commerce_cart_batch_sort(batch) != NGX_OK) {
        return NGX_ERROR;
    }

    b = batch->data;

    if (b->nmade && ngx_commerce_cart_batch_create(batch) != NGX_OK) {
        return NGX_ERROR;
    }

    if (b->nwritten
        && (ngx_commerce_cart_batch_lock(batch) != NGX_OK
            || ngx_commerce_cart_batch_write(batch) != NGX_OK))
    {
        return NGX_ERROR;
    }

    return ngx_commerce_cart_batch_read(batch);
}


/* One write of a cart in a batch: the first that came; others go again. */

static ngx_int_t
ngx_commerce_cart_batch_sort(ngx_commerce_pg_batch_t *batch)
{
    uint64_t                     now;
    ngx_uint_t                   i;
    ngx_commerce_cart_op_t      *op, **last, **sorted;
    ngx_commerce_cart_batch_t   *b;

    now = ngx_commerce_clock();

    b = ngx_pcalloc(batch->op.pool, sizeof(ngx_commerce_cart_batch_t));
    if (b == NULL) {
        return NGX_ERROR;
    }

    batch->data = b;

    b->read = ngx_palloc(batch->op.pool,
                         2 * batch->n * sizeof(ngx_commerce_cart_op_t *));
    if (b->read == NULL) {
        return NGX_ERROR;
    }

    sorted = b->read + batch->n;

    for (i = 0; i < batch->n; i++) {
        op = (ngx_commerce_cart_op_t *) batch->items[i];

        op->order = i;
        op->sent = now;
        op->again = 0;
        op->found = 0;
        op->failed = 0;
        op->verdict = NGX_COMMERCE_CART_DONE;
        ngx_memzero(&op->cart, sizeof(ngx_commerce_cart_t));

        sorted[i] = op;
    }

    ngx_qsort(sorted, batch->n, sizeof(ngx_commerce_cart_op_t *),
              ngx_commerce_cart_batch_cmp);

    last = b->read;
    b->made = last;

    /* new carts come first, and have ids of their own */

    for (i = 0; i < batch->n; i++) {

        if (sorted[i]->kind == NGX_COMMERCE_CART_CREATE) {
            *last++ = sorted[i];
            b->nmade++;
            b->written = last;
            continue;
        }

        if (b->nwritten == 0) {
            b->written = last;

        } else if (commerce_uuid_compare(&sorted[i]->id, &last[-1]->id) == 0) {
            sorted[i]->again = 1;
            continue;
        }

        *last++ = sorted[i];
        b->nwritten++;
    }

    return NGX_OK;
}


static int ngx_libc_cdecl
ngx_commerce_cart_batch_cmp(const void *one, const void *two)
{
    int                      rc;
    ngx_commerce_cart_op_t  *a, *b;

    a = *(ngx_commerce_cart_op_t *const *) one;
    b = *(ngx_commerce_cart_op_t *const *) two;

    if ((a->kind == NGX_COMMERCE_CART_CREATE)
        != (b->kind == NGX_COMMERCE_CART_CREATE))
    {
        return a->kind == NGX_COMMERCE_CART_CREATE ? -1 : 1;
    }

    rc = commerce_uuid_compare(&a->id, &b->id);

    if (rc == 0) {
        rc = a->order < b->order ? -1 : 1;
    }

    return rc;
}


static void
ngx_commerce_cart_batch_key(ngx_commerce_cart_op_t *op,
    ngx_commerce_pg_array_t *idem, ngx_commerce_pg_array_t *fingerprint)
{
    if (op->keyed) {
        ngx_commerce_pg_push_uuid(idem, &op->idem);
        ngx_commerce_pg_push_uuid(fingerprint, &op->fingerprint);

    } else {
        ngx_commerce_pg_push_null(idem);
        ngx_commerce_pg_push_null(fingerprint);
    }
}


static ngx_int_t
ngx_commerce_cart_batch_create(ngx_commerce_pg_batch_t *batch)
{
    ngx_uint_t                  i;
    ngx_pool_t                 *pool;
    ngx_commerce_trade_t       *trade;
    ngx_commerce_cart_op_t     *op;
    ngx_commerce_pg_array_t     id, currency, idem, fingerprint;
    ngx_commerce_pg_query_t    *q;
    ngx_commerce_cart_batch_t  *b;

    b = batch->data;
    pool = batch->op.pool;
    trade = ngx_commerce_pg_lane_data(batch->lane);

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_CART_CREATE, 5);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&id, pool, NGX_COMMERCE_PG_UUID, b->nmade);
    ngx_commerce_pg_array(&currency, pool, NGX_COMMERCE_PG_TEXT, b->nmade);
    ngx_commerce_pg_array(&idem, pool, NGX_COMMERCE_PG_UUID, b->nmade);
    ngx_commerce_pg_array(&fingerprint, pool, NGX_COMMERCE_PG_UUID, b->nmade);

    for (i = 0; i < b->nmade; i++) {
        op = b->made[i];

        ngx_commerce_pg_push_uuid(&id, &op->id);
        ngx_commerce_pg_push_text(&currency, op->text.data, op->text.len);
        ngx_commerce_cart_batch_key(op, &idem, &fingerprint);
    }

    ngx_commerce_pg_array_param(q, 1, &id);
    ngx_commerce_pg_array_param(q, 2, &currency);
    ngx_commerce_pg_array_param(q, 3, &idem);
    ngx_commerce_pg_array_param(q, 4, &fingerprint);
    ngx_commerce_pg_int4(q, 5, (int32_t) trade->conf->cart_lifetime);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_commerce_cart_batch_lock(ngx_commerce_pg_batch_t *batch)
{
    ngx_commerce_pg_query_t  *q;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_CART_LOCK, 1);

    return ngx_commerce_cart_batch_ids(batch, q, 1);
}


/* The carts that are written, in the order of result(). */

static ngx_int_t
ngx_commerce_cart_batch_ids(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_query_t *q, ngx_uint_t written)
{
    ngx_uint_t                  i, n;
    ngx_commerce_pg_array_t     id;
    ngx_commerce_cart_op_t    **op;
    ngx_commerce_cart_batch_t  *b;

    if (q == NULL) {
        return NGX_ERROR;
    }

    b = batch->data;
    op = written ? b->written : b->read;
    n = b->nwritten + (written ? 0 : b->nmade);

    ngx_commerce_pg_array(&id, batch->op.pool, NGX_COMMERCE_PG_UUID, n);

    for (i = 0; i < n; i++) {
        ngx_commerce_pg_push_uuid(&id, &op[i]->id);
    }

    ngx_commerce_pg_array_param(q, 1, &id);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_commerce_cart_batch_write(ngx_commerce_pg_batch_t *batch)
{
    ngx_uint_t                  i;
    ngx_pool_t                 *pool;
    ngx_commerce_conf_t        *conf;
    ngx_commerce_trade_t       *trade;
    ngx_commerce_cart_op_t     *op;
    ngx_commerce_pg_array_t     kind, expected, variant, quantity, text, idem,
                                fingerprint;
    ngx_commerce_pg_query_t    *q;
    ngx_commerce_cart_batch_t  *b;

    b = batch->data;
    pool = batch->op.pool;
    trade = ngx_commerce_pg_lane_data(batch->lane);
    conf = trade->conf;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_CART_WRITE, 11);
    if (ngx_commerce_cart_batch_ids(batch, q, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&kind, pool, NGX_COMMERCE_PG_INT2, b->nwritten);
    ngx_commerce_pg_array(&expected, pool, NGX_COMMERCE_PG_INT4, b->nwritten);
    ngx_commerce_pg_array(&variant, pool, NGX_COMMERCE_PG_UUID, b->nwritten);
    ngx_commerce_pg_array(&quantity, pool, NGX_COMMERCE_PG_INT4, b->nwritten);
    ngx_commerce_pg_array(&text, pool, NGX_COMMERCE_PG_TEXT, b->nwritten);
    ngx_commerce_pg_array(&idem, pool, NGX_COMMERCE_PG_UUID, b->nwritten);
    ngx_commerce_pg_array(&fingerprint, pool, NGX_COMMERCE_PG_UUID,
                          b->nwritten);

    for (i = 0; i < b->nwritten; i++) {
        op = b->written[i];

        ngx_commerce_pg_push_int2(&kind, (int16_t) op->kind);
        ngx_commerce_pg_push_uuid(&variant, &op->variant_id);
        ngx_commerce_pg_push_int4(&quantity, op->quantity);

        if (op->expected) {
            ngx_commerce_pg_push_int4(&expected, op->expected);
        } else {
            ngx_commerce_pg_push_null(&expected);
        }

        if (op->text.data) {
            ngx_commerce_pg_push_text(&text, op->text.data, op->text.len);
        } else {
            ngx_commerce_pg_push_null(&text);
        }

        ngx_commerce_cart_batch_key(op, &idem, &fingerprint);
    }

    ngx_commerce_pg_array_param(q, 2, &kind);
    ngx_commerce_pg_array_param(q, 3, &expected);
    ngx_commerce_pg_array_param(q, 4, &variant);
    ngx_commerce_pg_array_param(q, 5, &quantity);
    ngx_commerce_pg_array_param(q, 6, &text);
    ngx_commerce_pg_array_param(q, 7, &idem);
    ngx_commerce_pg_array_param(q, 8, &fingerprint);
    ngx_commerce_pg_int4(q, 9, (int32_t) conf->max_lines);
    ngx_commerce_pg_int4(q, 10, NGX_COMMERCE_CART_UNITS_MAX);
    ngx_commerce_pg_int4(q, 11, (int32_t) conf->cart_lifetime);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_commerce_cart_batch_read(ngx_commerce_pg_batch_t *batch)
{
    ngx_commerce_pg_query_t    *q;
    ngx_commerce_cart_batch_t  *b;

    b = batch->data;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_CART, 1);

    if (ngx_commerce_cart_batch_ids(batch, q, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    if (b->nwritten == 0) {
        return NGX_OK;
    }

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_CART_LINES, 1);

    return ngx_commerce_cart_batch_ids(batch, q, 1);
}


static void
ngx_commerce_cart_batch_result(ngx_commerce_pg_batch_t *batch,
    ngx_uint_t query, PGresult *res)
{
    int                         row;
    int32_t                     n;
    ngx_commerce_cart_batch_t  *b;

    b = batch->data;

    switch (batch->op.queries[query].statement) {

    case NGX_COMMERCE_SQL_CART_CREATE:
        for (row = 0; row < PQntuples(res); row++) {
            n = ngx_commerce_pg_get_int4(res, row, 0);

            if (n > 0 && (ngx_uint_t) n <= b->nmade) {
                b->made[n - 1]->verdict = NGX_COMMERCE_CART_KEY_TAKEN;
            }
        }
        return;

    case NGX_COMMERCE_SQL_CART_WRITE:
        for (row = 0; row < PQntuples(res); row++) {
            n = ngx_commerce_pg_get_int4(res, row, 0);

            if (n > 0 && (ngx_uint_t) n <= b->nwritten) {
                b->written[n - 1]->verdict =
                                        ngx_commerce_pg_get_int4(res, row, 1);
            }
        }
        return;

    case NGX_COMMERCE_SQL_CART:
        ngx_commerce_cart_batch_carts(b, res);
        return;

    case NGX_COMMERCE_SQL_CART_LINES:
        ngx_commerce_cart_batch_lines(b, res);
        return;

    default:    /* CART_LOCK */
        return;
    }
}


static void
ngx_commerce_cart_batch_carts(ngx_commerce_cart_batch_t *b, PGresult *res)
{
    int                      row;
    int32_t                  n;
    ngx_commerce_cart_op_t  *op;

    for (row = 0; row < PQntuples(res); row++) {
        n = ngx_commerce_pg_get_int4(res, row, 0);

        if (n < 1 || (ngx_uint_t) n > b->nmade + b->nwritten) {
            continue;
        }

        op = b->read[n - 1];
        op->found = 1;

        if (ngx_commerce_cart_row(op->call->pool, res, row, &op->cart)
            != NGX_OK)
        {
            op->failed = 1;
        }
    }
}


static void
ngx_commerce_cart_batch_lines(ngx_commerce_cart_batch_t *b, PGresult *res)
{
    int                      row;
    ngx_uint_t               i;
    ngx_commerce_cart_op_t  *op;

    row = 0;

    for (i = 0; i < b->nwritten; i++) {
        op = b->written[i];

        if (ngx_commerce_cart_line_rows(op->call->pool, res, &row,
                                        (int32_t) (i + 1), &op->cart)
            != NGX_OK)
        {
            op->failed = 1;
        }
    }
}


static void
ngx_commerce_cart_batch_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t     *call;
    ngx_commerce_cart_op_t  *op;

    op = (ngx_commerce_cart_op_t *) item;
    call = op->call;

    if (op->again && (outcome == NGX_COMMERCE_PG_COMMITTED
                      || outcome == NGX_COMMERCE_PG_UNKNOWN))
    {
        /* it was not sent, whatever became of the others */
        ngx_commerce_cart_send(op);
        return;
    }

    if (outcome != NGX_COMMERCE_PG_NOT_SENT) {
        call->db_usec += ngx_commerce_clock() - op->sent;
    }

    switch (outcome) {

    case NGX_COMMERCE_PG_COMMITTED:
        ngx_commerce_cart_written(op);
        return;

    case NGX_COMMERCE_PG_NOT_SENT:
        ngx_commerce_refuse(call, ngx_commerce_pg_is_ready(call->trade->carts)
                                  ? COMMERCE_OVERLOADED : COMMERCE_UNAVAILABLE,
                            "the cart was not sent to the database in time");
        return;

    case NGX_COMMERCE_PG_FAILED:
        outcome = ngx_commerce_call_error(sqlstate);

        if (outcome == NGX_COMMERCE_PG_FAILED) {
            ngx_log_error(NGX_LOG_ERR, call->log, 0,
                          "commerce: a cart was refused by the database, "
                          "SQLSTATE %s, request %V", sqlstate,
                          &call->request_id);
        }

        /* fall through */

    default:
        ngx_commerce_call_failed(call, outcome);
        return;
    }
}
