/*
 * Settling an instance: its unused units go back to stock.free, from the rows.
 *
 * Three steps, each a transaction of its own: "dying" (new batches refuse at
 * once, running ones drain), the end of its backends where they may be torn,
 * and one segment that locks its rows and sums in later statements.
 *
 * One whose rows the database refuses is told in the log once and tried again
 * after a while: its units stay away, those of others do not wait for it.
 */

#include "ngx_commerce_engine.h"


#define NGX_COMMERCE_SETTLE_REFUSED  16
#define NGX_COMMERCE_SETTLE_WAIT     5000       /* msec, doubles */
#define NGX_COMMERCE_SETTLE_WAIT_MAX 300000


typedef enum {
    NGX_COMMERCE_SETTLE_MARK = 0,
    NGX_COMMERCE_SETTLE_END_BACKENDS,
    NGX_COMMERCE_SETTLE_UNITS
} ngx_commerce_settle_step_e;


typedef struct {
    ngx_commerce_pg_op_t        op;
    ngx_commerce_trade_t       *trade;
    ngx_commerce_pg_pool_t     *pool;
    int64_t                     instance;
    int32_t                     ttl;        /* msec; 0: whatever its beat */
    ngx_commerce_settle_step_e  step;
    unsigned                    terminated:1;
    unsigned                    ours:1;     /* we have locked its row */
    void                      (*done)(void *data, ngx_int_t rc);
    void                       *data;
} ngx_commerce_settle_t;


typedef struct {
    int64_t                     instance;
    ngx_msec_t                  next;
    ngx_msec_t                  wait;       /* 0: nobody is here */
} ngx_commerce_settle_refused_t;


static void ngx_commerce_settle_step(ngx_commerce_settle_t *s,
    ngx_commerce_settle_step_e step);
static ngx_int_t ngx_commerce_settle_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static ngx_int_t ngx_commerce_settle_query(ngx_commerce_settle_t *s,
    ngx_uint_t statement);
static void ngx_commerce_settle_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_settle_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_settle_end(ngx_commerce_settle_t *s, ngx_int_t rc);
static ngx_commerce_settle_refused_t *ngx_commerce_settle_find(
    int64_t instance);
static void ngx_commerce_settle_refuse(ngx_commerce_settle_t *s,
    const char *sqlstate);


/* of this worker; where it is full, the one that waits longest makes room */
static ngx_commerce_settle_refused_t
    ngx_commerce_settle_refused[NGX_COMMERCE_SETTLE_REFUSED];


ngx_int_t
ngx_commerce_settle(ngx_commerce_trade_t *trade, ngx_commerce_pg_pool_t *pool,
    int64_t instance, ngx_msec_t ttl, void (*done)(void *data, ngx_int_t rc),
    void *data)
{
    ngx_commerce_settle_t          *s;
    ngx_commerce_settle_refused_t  *refused;

    refused = ngx_commerce_settle_find(instance);

    if (refused && (ngx_msec_int_t) (refused->next - ngx_current_msec) > 0) {
        done(data, NGX_ERROR);
        return NGX_OK;
    }

    s = ngx_calloc(sizeof(ngx_commerce_settle_t), trade->log);
    if (s == NULL) {
        return NGX_ERROR;
    }

    s->trade = trade;
    s->pool = pool;
    s->instance = instance;
    s->ttl = (int32_t) ttl;
    s->done = done;
    s->data = data;

    ngx_commerce_settle_step(s, NGX_COMMERCE_SETTLE_MARK);

    return NGX_OK;
}


static void
ngx_commerce_settle_step(ngx_commerce_settle_t *s,
    ngx_commerce_settle_step_e step)
{
    s->step = step;

    ngx_memzero(&s->op, sizeof(ngx_commerce_pg_op_t));
    s->op.build = ngx_commerce_settle_build;
    s->op.result = ngx_commerce_settle_result;
    s->op.done = ngx_commerce_settle_done;
    s->op.data = s;
    s->op.deadline = ngx_current_msec + 3000;

    if (ngx_commerce_pg_submit(s->pool, &s->op) != NGX_OK) {
        ngx_commerce_settle_end(s, NGX_ERROR);
    }
}


static ngx_int_t
ngx_commerce_settle_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_pg_query_t  *q;
    ngx_commerce_settle_t    *s;

    (void) conn;

    s = op->data;

    switch (s->step) {

    case NGX_COMMERCE_SETTLE_MARK:
        q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_SETTLE_DYING, 2);
        if (q == NULL) {
            return NGX_ERROR;
        }

        ngx_commerce_pg_int8(q, 1, s->instance);
        ngx_commerce_pg_int4(q, 2, s->ttl);

        return q->failed ? NGX_ERROR : NGX_OK;

    case NGX_COMMERCE_SETTLE_END_BACKENDS:
        return ngx_commerce_settle_query(s, NGX_COMMERCE_SQL_SETTLE_TERMINATE);

    default: /* NGX_COMMERCE_SETTLE_UNITS */
        if (ngx_commerce_settle_query(s, NGX_COMMERCE_SQL_SETTLE_LOCK)
            != NGX_OK
            || ngx_commerce_settle_query(s,
                                         NGX_COMMERCE_SQL_SETTLE_LOCK_FENCES)
               != NGX_OK
            || ngx_commerce_settle_query(s, NGX_COMMERCE_SQL_SETTLE) != NGX_OK
            || ngx_commerce_settle_query(s, NGX_COMMERCE_SQL_SETTLE_DEAD)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        return NGX_OK;
    }
}


static ngx_int_t
ngx_commerce_settle_query(ngx_commerce_settle_t *s, ngx_uint_t statement)
{
    ngx_commerce_pg_query_t  *q;

    q = ngx_commerce_pg_query(&s->op, statement, 1);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_int8(q, 1, s->instance);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_settle_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    int                     row;
    commerce_uuid_t         variant;
    ngx_commerce_settle_t  *s;

    s = op->data;

    if (op->queries[query].statement == NGX_COMMERCE_SQL_SETTLE_LOCK) {
        s->ours = (PQntuples(res) == 1);
        return;
    }

    if (op->queries[query].statement != NGX_COMMERCE_SQL_SETTLE) {
        return;
    }

    /* too early is harmless here: a probe finds nothing yet and asks again */

    for (row = 0; row < PQntuples(res); row++) {
        ngx_commerce_pg_get_uuid(res, row, 0, &variant);
        ngx_commerce_stock_set_free(s->trade->zone, &variant,
                                    ngx_commerce_pg_get_int4(res, row, 1));
        ngx_commerce_stock_news(s->trade->zone, &variant);

        if (row == 0 && ngx_commerce_pg_get_bool(res, row, 2)) {
            ngx_log_error(NGX_LOG_CRIT, s->trade->log, 0,
                          "commerce: instance %L sold more units of a lease "
                          "than it was granted, see commerce.stock_audit",
                          s->instance);
        }
    }
}


static void
ngx_commerce_settle_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_settle_t          *s;
    ngx_commerce_settle_refused_t  *refused;

    s = op->data;

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {

        if (s->step == NGX_COMMERCE_SETTLE_UNITS
            && outcome == NGX_COMMERCE_PG_FAILED
            && ngx_strncmp(sqlstate, "55P03", 5) == 0 && !s->terminated)
        {
            /* a backend of its own does not end by itself */
            ngx_commerce_settle_step(s, NGX_COMMERCE_SETTLE_END_BACKENDS);
            return;
        }

        if (outcome == NGX_COMMERCE_PG_FAILED
            && (ngx_strncmp(sqlstate, "22", 2) == 0
                || ngx_strncmp(sqlstate, "23", 2) == 0))
        {
            ngx_commerce_settle_refuse(s, sqlstate);
        }

        ngx_commerce_settle_end(s, NGX_ERROR);
        return;
    }

    switch (s->step) {

    case NGX_COMMERCE_SETTLE_MARK:
        ngx_commerce_settle_step(s, s->ttl ? NGX_COMMERCE_SETTLE_END_BACKENDS
                                           : NGX_COMMERCE_SETTLE_UNITS);
        return;

    case NGX_COMMERCE_SETTLE_END_BACKENDS:
        s->terminated = 1;
        ngx_commerce_settle_step(s, NGX_COMMERCE_SETTLE_UNITS);
        return;

    case NGX_COMMERCE_SETTLE_UNITS:
        refused = ngx_commerce_settle_find(s->instance);
        if (refused) {
            refused->wait = 0;
        }

        /* all look for the dead, and one finds them */

        if (s->ours) {
            ngx_commerce_count(s->trade->zone, NGX_COMMERCE_C_SETTLED, 1);
            ngx_log_error(NGX_LOG_NOTICE, s->trade->log, 0,
                          "commerce: instance %L is settled", s->instance);
        }

        ngx_commerce_settle_end(s, NGX_OK);
        return;
    }
}


static void
ngx_commerce_settle_end(ngx_commerce_settle_t *s, ngx_int_t rc)
{
    void   *data;
    void  (*done)(void *data, ngx_int_t rc);

    done = s->done;
    data = s->data;
    ngx_free(s);

    done(data, rc);
}


static ngx_commerce_settle_refused_t *
ngx_commerce_settle_find(int64_t instance)
{
    ngx_uint_t                      i;
    ngx_commerce_settle_refused_t  *refused;

    for (i = 0; i < NGX_COMMERCE_SETTLE_REFUSED; i++) {
        refused = &ngx_commerce_settle_refused[i];

        if (refused->wait && refused->instance == instance) {
            return refused;
        }
    }

    return NULL;
}


static void
ngx_commerce_settle_refuse(ngx_commerce_settle_t *s, const char *sqlstate)
{
    ngx_uint_t                      i;
    ngx_commerce_settle_refused_t  *refused, *other;

    refused = ngx_commerce_settle_find(s->instance);

    if (refused == NULL) {
        refused = &ngx_commerce_settle_refused[0];

        for (i = 1; i < NGX_COMMERCE_SETTLE_REFUSED; i++) {
            other = &ngx_commerce_settle_refused[i];

            if (refused->wait && (other->wait == 0
                                  || other->wait > refused->wait))
            {
                refused = other;
            }
        }

        refused->instance = s->instance;
        refused->wait = NGX_COMMERCE_SETTLE_WAIT;

        ngx_log_error(NGX_LOG_CRIT, s->trade->log, 0,
                      "commerce: instance %L cannot be settled, its unused "
                      "units stay away, see commerce.stock_audit, "
                      "SQLSTATE %s", s->instance, sqlstate);
    }

    refused->next = ngx_current_msec + refused->wait;
    refused->wait = ngx_min(2 * refused->wait, NGX_COMMERCE_SETTLE_WAIT_MAX);
}
