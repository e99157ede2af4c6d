/*
 * One op from build() to done(): its segment goes to libpq, its results come
 * back in order.
 */

#include "ngx_commerce_pg_conn.h"
#include "ngx_commerce_pg_statements.h"


#define NGX_COMMERCE_PG_OP_POOL  4096


static ngx_int_t ngx_commerce_pg_op_build(ngx_commerce_pg_link_t *link,
    ngx_commerce_pg_op_t *op);
static ngx_int_t ngx_commerce_pg_op_write(ngx_commerce_pg_link_t *link,
    ngx_commerce_pg_op_t *op);
static void ngx_commerce_pg_op_error(ngx_commerce_pg_link_t *link,
    ngx_commerce_pg_op_t *op, PGresult *res);
static ngx_int_t ngx_commerce_pg_op_synced(ngx_commerce_pg_link_t *link,
    ngx_commerce_pg_op_t *op, const char **reason);


void
ngx_commerce_pg_op_send(ngx_commerce_pg_link_t *link, ngx_commerce_pg_op_t *op)
{
    ngx_commerce_pg_pool_t  *pool;

    pool = link->pool;

    op->pool = ngx_create_pool(NGX_COMMERCE_PG_OP_POOL, pool->log);

    if (op->pool == NULL || ngx_commerce_pg_op_build(link, op) != NGX_OK) {
        op->failed = 1;
        ngx_commerce_pg_op_done(op, NGX_COMMERCE_PG_NOT_SENT, "");
        return;
    }

    op->conn = &link->conn;
    op->sent = ngx_current_msec;

    if (ngx_queue_empty(&link->ops)) {
        link->progress = ngx_current_msec;
        link->query = 0;
        link->nulls = 0;
    }

    ngx_queue_insert_tail(&link->ops, &op->queue);
    link->in_flight++;
    link->unflushed = 1;

    if (link->in_flight == 1) {
        ngx_commerce_pg_link_watch_op(link);
    }

    if (ngx_commerce_pg_op_write(link, op) != NGX_OK) {
        ngx_commerce_pg_link_lost(link, "libpq takes no query");
    }
}


static ngx_int_t
ngx_commerce_pg_op_build(ngx_commerce_pg_link_t *link,
    ngx_commerce_pg_op_t *op)
{
    ngx_int_t   rc;
    ngx_uint_t  i;

    rc = op->build(op, &link->conn);

    if (rc != NGX_OK) {
        return rc;
    }

    for (i = 0; i < op->nqueries; i++) {
        if (op->queries[i].failed) {
            ngx_log_error(NGX_LOG_ERR, link->pool->log, 0,
                          "commerce: bad parameter for \"%s\"",
                          ngx_commerce_pg_statement(
                              op->queries[i].statement)->name);
            return NGX_ERROR;
        }
    }

    return op->nqueries && link->pg ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_commerce_pg_op_write(ngx_commerce_pg_link_t *link,
    ngx_commerce_pg_op_t *op)
{
    ngx_uint_t                i;
    ngx_commerce_pg_query_t  *q;

    for (i = 0; i < op->nqueries; i++) {
        q = &op->queries[i];

        if (!PQsendQueryPrepared(link->pg,
                                 ngx_commerce_pg_statement(q->statement)->name,
                                 q->nparams, q->values, q->lengths,
                                 q->formats, 1))
        {
            return NGX_ERROR;
        }
    }

    return PQpipelineSync(link->pg) ? NGX_OK : NGX_ERROR;
}


/*
 * Each query gives its results and then NULL, the Sync only its own result.
 * After an error the rest of the segment is PGRES_PIPELINE_ABORTED.
 */

ngx_int_t
ngx_commerce_pg_op_result(ngx_commerce_pg_link_t *link, PGresult *res,
    const char **reason)
{
    ngx_commerce_pg_op_t  *op;

    op = ngx_queue_data(ngx_queue_head(&link->ops), ngx_commerce_pg_op_t,
                        queue);

    if (res == NULL) {
        link->query++;
        return NGX_OK;
    }

    switch (PQresultStatus(res)) {

    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:

        if (link->query >= op->nqueries) {
            *reason = "more results than queries";
            return NGX_ERROR;
        }

        op->answered++;
        op->result(op, link->query, res);

        return NGX_OK;

    case PGRES_FATAL_ERROR:
        ngx_commerce_pg_op_error(link, op, res);
        return NGX_OK;

    case PGRES_PIPELINE_ABORTED:
        op->failed = 1;
        return NGX_OK;

    case PGRES_PIPELINE_SYNC:
        return ngx_commerce_pg_op_synced(link, op, reason);

    default:
        *reason = "unexpected result";
        return NGX_ERROR;
    }
}


/*
 * The primary message of an error in data can quote it; the others tell of
 * the server or of the schema.
 */

static void
ngx_commerce_pg_op_error(ngx_commerce_pg_link_t *link,
    ngx_commerce_pg_op_t *op, PGresult *res)
{
    const char  *state, *message, *constraint, *name;
    ngx_uint_t   level, data;

    state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    if (state == NULL || ngx_strlen(state) != 5) {
        state = "XX000";
    }

    if (!op->failed) {
        ngx_memcpy(op->sqlstate, state, 6);
    }

    op->failed = 1;

    data = (state[0] == '2' && (state[1] == '2' || state[1] == '3'));
    /* locks that last and deadlocks are met again, who asked hears the end */
    level = (data || state[0] == '4' || ngx_strcmp(state, "55P03") == 0)
            ? NGX_LOG_WARN : NGX_LOG_ERR;

    if (!ngx_commerce_pg_pool_may_log(link->pool)) {
        return;
    }

    message = data ? "" : PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    constraint = PQresultErrorField(res, PG_DIAG_CONSTRAINT_NAME);

    name = (link->query < op->nqueries)
           ? ngx_commerce_pg_statement(op->queries[link->query].statement)->name
           : "commit";

    ngx_log_error(level, link->pool->log, 0,
                  "commerce: SQL error %s in \"%s\" %s%s", state, name,
                  message ? message : "", constraint ? constraint : "");
}


static ngx_int_t
ngx_commerce_pg_op_synced(ngx_commerce_pg_link_t *link,
    ngx_commerce_pg_op_t *op, const char **reason)
{
    ngx_int_t                  rc;
    ngx_commerce_pg_outcome_e  outcome;

    if (!op->failed && op->answered < op->nqueries) {
        *reason = "fewer results than queries";
        return NGX_ERROR;
    }

    rc = NGX_OK;
    outcome = NGX_COMMERCE_PG_COMMITTED;

    if (op->failed) {
        outcome = NGX_COMMERCE_PG_FAILED;
        link->conn.tag = 0;     /* what it stood for was rolled back */

        if (!ngx_commerce_pg_is_usable(op->sqlstate)) {
            *reason = "given up after an SQL error";
            rc = NGX_ERROR;
        }
    }

    ngx_queue_remove(&op->queue);
    link->in_flight--;

    link->query = 0;
    link->progress = ngx_current_msec;
    ngx_commerce_pg_link_watch_op(link);

    op->conn = NULL;
    ngx_commerce_pg_op_done(op, outcome, op->failed ? op->sqlstate : "");

    return rc;
}


ngx_uint_t
ngx_commerce_pg_is_usable(const char *sqlstate)
{
    if (ngx_strncmp(sqlstate, "22", 2) == 0
        || ngx_strncmp(sqlstate, "23", 2) == 0
        || ngx_strncmp(sqlstate, "42", 2) == 0)
    {
        return 1;
    }

    return ngx_strcmp(sqlstate, "40P01") == 0
           || ngx_strcmp(sqlstate, "55P03") == 0;
}


void
ngx_commerce_pg_op_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    char         state[6];
    ngx_pool_t  *mem;

    /* done() may free the op or submit it again */

    mem = op->pool;
    ngx_cpystrn((u_char *) state, (u_char *) sqlstate, sizeof(state));

    op->done(op, outcome, state);

    if (mem) {
        ngx_destroy_pool(mem);
    }
}


void
ngx_commerce_pg_op_orphans(ngx_commerce_pg_link_t *link)
{
    ngx_queue_t            ops, *q;
    ngx_commerce_pg_op_t  *op;

    if (ngx_queue_empty(&link->ops)) {
        return;
    }

    ngx_queue_init(&ops);
    ngx_queue_add(&ops, &link->ops);
    ngx_queue_init(&link->ops);

    link->in_flight = 0;

    while (!ngx_queue_empty(&ops)) {
        q = ngx_queue_head(&ops);
        ngx_queue_remove(q);

        op = ngx_queue_data(q, ngx_commerce_pg_op_t, queue);
        op->conn = NULL;

        ngx_commerce_pg_op_done(op, NGX_COMMERCE_PG_UNKNOWN, "");
    }
}
