/*
 * The database room: libpq connections in pipeline mode inside nginx's event
 * loop.  Nothing here blocks and nothing here knows what a statement means.
 *
 *   op     one pipeline segment: statements and one Sync, hence one implicit
 *          transaction, hence one commit.
 *   pool   the connections of one purpose in one worker and the ops that wait.
 *   batch  (ngx_commerce_pg_batch.h) many small items in one op.
 */

#ifndef NGX_COMMERCE_PG_H
#define NGX_COMMERCE_PG_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <libpq-fe.h>

#include "commerce_types.h"


typedef struct ngx_commerce_pg_pool_s  ngx_commerce_pg_pool_t;
typedef struct ngx_commerce_pg_conn_s  ngx_commerce_pg_conn_t;
typedef struct ngx_commerce_pg_op_s    ngx_commerce_pg_op_t;


/* How an op ended, as far as this side can know. */
typedef enum {
    NGX_COMMERCE_PG_COMMITTED = 0,  /* the Sync's result has arrived */
    NGX_COMMERCE_PG_FAILED,         /* an SQL error; nothing of it is stored */
    NGX_COMMERCE_PG_UNKNOWN,        /* handed to libpq, then the connection was
                                       lost: stored or not */
    NGX_COMMERCE_PG_NOT_SENT        /* never handed to libpq: deadline, build
                                       failed, or the worker ends */
} ngx_commerce_pg_outcome_e;


/* A prepared statement; the table of them is ngx_commerce_pg_statements.c. */
typedef struct {
    const char             *name;
    const char             *sql;
} ngx_commerce_pg_statement_t;


/* One Bind and Execute: all parameters and results are binary. */
typedef struct {
    ngx_uint_t              statement;      /* index in the registry */
    int                     nparams;
    const char            **values;         /* NULL is SQL's NULL */
    int                    *lengths;
    int                    *formats;
    ngx_pool_t             *pool;
    unsigned                failed:1;       /* a parameter had no memory */
} ngx_commerce_pg_query_t;


#define NGX_COMMERCE_PG_QUERIES  8


struct ngx_commerce_pg_op_s {
    ngx_queue_t             queue;          /* of the pool */

    /*
     * Called when a connection is ready to take the op, as late as possible:
     * adds its queries with ngx_commerce_pg_query().  NGX_ERROR ends the op
     * as NOT_SENT; NGX_DECLINED the same, and means "nothing to do any more".
     */
    ngx_int_t             (*build)(ngx_commerce_pg_op_t *op,
                                   ngx_commerce_pg_conn_t *conn);

    /* One call for each query that succeeded; "res" is cleared afterwards. */
    void                  (*result)(ngx_commerce_pg_op_t *op, ngx_uint_t query,
                                    PGresult *res);

    /*
     * Exactly once, never from inside submit().  sqlstate is five characters
     * with FAILED, else "".  The op's memory is the caller's; op->pool is
     * destroyed after this call.
     */
    void                  (*done)(ngx_commerce_pg_op_t *op,
                                  ngx_commerce_pg_outcome_e outcome,
                                  const char *sqlstate);

    void                   *data;           /* the caller's */
    ngx_msec_t              deadline;       /* ngx_current_msec by which it must
                                               be sent; 0: waits for ever */

    /* set by the pool */
    ngx_pool_t             *pool;           /* from build() until done() */
    ngx_commerce_pg_conn_t *conn;           /* while sent, else NULL */
    ngx_uint_t              nqueries;
    ngx_commerce_pg_query_t queries[NGX_COMMERCE_PG_QUERIES];
    ngx_uint_t              answered;       /* queries with a result */
    char                    sqlstate[6];
    ngx_msec_t              sent;           /* ngx_current_msec */
    unsigned                failed:1;
};


/* How to reach the server; one for the whole configuration. */
typedef struct {
    ngx_str_t               conninfo;       /* URI or key=value, zero-ended */
    ngx_str_t               password_file;  /* read anew at each connect,
                                               zero-ended; "" */
    ngx_msec_t              connect_timeout;    /* whole connect and set-up */
    ngx_msec_t              timeout;        /* an op without an answer */
    /* the number in application_name commerce/<instance>/<purpose>; 0: none */
    int64_t               (*instance)(void *data);
    void                   *data;
    /* set by ngx_commerce_pg_server_check() */
    struct ngx_commerce_pg_remote_s  *remote;
} ngx_commerce_pg_server_t;


typedef struct {
    ngx_str_t               name;           /* orders, leases, reads, ... */
    ngx_uint_t              connections;
    ngx_uint_t              depth;          /* ops in flight per connection */
    ngx_uint_t              max_queue;      /* ops that wait */
    ngx_uint_t              first_slot;     /* of conn->slot */
    const ngx_uint_t       *statements;     /* prepared when connecting */
    ngx_uint_t              nstatements;
    /* "-c name=value ..." set on connect by set_config, and read back */
    const char             *settings;       /* "name=value,name=value" or "" */
    /* LISTEN to this channel as soon as connected; NULL: no */
    const char             *listen;
    void                  (*notify)(void *data, const char *channel,
                                    const char *payload);
    /* connections of the pool that are ready went 0 -> 1 or 1 -> 0 */
    void                  (*ready)(void *data, ngx_uint_t ready);
    /* a connection has become idle and no op waits: a batch may go */
    void                  (*idle)(void *data);
    void                   *data;
} ngx_commerce_pg_purpose_t;


/* What a build() may use of a connection. */
struct ngx_commerce_pg_conn_s {
    ngx_uint_t              slot;           /* unique among the instance's
                                               connections that live */
    int64_t                 tag;            /* the owner's; 0 after a connect
                                               and after a failed op */
    ngx_uint_t              session;        /* another after each connect */
    void                   *data;           /* the owner's; NULL at first, kept
                                               when it connects again */
    /* ... the rest is private to the room: see ngx_commerce_pg_conn.h */
};


typedef struct {
    ngx_uint_t              ready;          /* connections */
    ngx_uint_t              connecting;
    ngx_uint_t              down;           /* waiting for the next attempt */
    ngx_uint_t              in_flight;      /* ops sent */
    ngx_uint_t              waiting;        /* ops queued */
} ngx_commerce_pg_stats_t;


/*
 * Configuration time: checks the conninfo (PQconninfoParse) and refuses what
 * would block or defeat the design (service files, several hosts without
 * their own attempt, gssencmode).  Returns NULL or a message for the log.
 */
const char *ngx_commerce_pg_server_check(ngx_pool_t *pool,
    ngx_commerce_pg_server_t *server);

/*
 * Configuration time, after the check: a host that is a name is resolved in
 * the thread pool "default".  Returns NULL or a message for the log.
 */
const char *ngx_commerce_pg_server_init(ngx_conf_t *cf,
    ngx_commerce_pg_server_t *server);

/*
 * In a worker.  Never fails for want of a database: it connects in the
 * background, with back-off and jitter, for ever.  NULL: no memory.
 */
ngx_commerce_pg_pool_t *ngx_commerce_pg_pool_create(ngx_cycle_t *cycle,
    ngx_commerce_pg_server_t *server, ngx_commerce_pg_purpose_t *purpose);

/* NGX_OK, or NGX_BUSY when the queue is full (done() is then not called). */
ngx_int_t ngx_commerce_pg_submit(ngx_commerce_pg_pool_t *pool,
    ngx_commerce_pg_op_t *op);

/* 1 when a connection could take an op at once. */
ngx_uint_t ngx_commerce_pg_has_room(ngx_commerce_pg_pool_t *pool);

/* 1 when a connection of the pool is set up. */
ngx_uint_t ngx_commerce_pg_is_ready(ngx_commerce_pg_pool_t *pool);

void ngx_commerce_pg_stats(ngx_commerce_pg_pool_t *pool,
    ngx_commerce_pg_stats_t *stats);

/*
 * A graceful exit ends a connection as soon as its pool has nothing to do; an
 * op that comes later has to connect anew.  A held pool keeps its connections
 * until it is released or destroyed.  The hold itself does not delay the exit.
 */
void ngx_commerce_pg_pool_hold(ngx_commerce_pg_pool_t *pool, ngx_uint_t on);

/*
 * Ends every connection; ops in flight become UNKNOWN, waiting ones NOT_SENT.
 * From exit_process, or when a role (election) is given up.
 */
void ngx_commerce_pg_pool_destroy(ngx_commerce_pg_pool_t *pool);


/* Adds a query to op->queries from inside build(); NULL: no memory or full. */
ngx_commerce_pg_query_t *ngx_commerce_pg_query(ngx_commerce_pg_op_t *op,
    ngx_uint_t statement, int nparams);

/* Parameters, numbered from 1 as in SQL. A failure shows at send: NOT_SENT. */
void ngx_commerce_pg_bool(ngx_commerce_pg_query_t *q, int n, int value);
void ngx_commerce_pg_int4(ngx_commerce_pg_query_t *q, int n, int32_t value);
void ngx_commerce_pg_int8(ngx_commerce_pg_query_t *q, int n, int64_t value);
void ngx_commerce_pg_uuid(ngx_commerce_pg_query_t *q, int n,
    const commerce_uuid_t *value);
/* text, json; the bytes must live until the op is sent; no bytes is '' */
void ngx_commerce_pg_text(ngx_commerce_pg_query_t *q, int n,
    const u_char *data, size_t len);
void ngx_commerce_pg_bytea(ngx_commerce_pg_query_t *q, int n,
    const u_char *data, size_t len);


/* One-dimensional arrays in the binary format. */
typedef struct {
    u_char                 *start;
    u_char                 *last;
    u_char                 *end;
    ngx_pool_t             *pool;
    uint32_t                type;           /* Oid of an element */
    uint32_t                n;
    unsigned                failed:1;
    unsigned                nulls:1;
} ngx_commerce_pg_array_t;

#define NGX_COMMERCE_PG_BOOL   16
#define NGX_COMMERCE_PG_BYTEA  17
#define NGX_COMMERCE_PG_INT8   20
#define NGX_COMMERCE_PG_INT2   21
#define NGX_COMMERCE_PG_INT4   23
#define NGX_COMMERCE_PG_TEXT   25
#define NGX_COMMERCE_PG_JSON   114
#define NGX_COMMERCE_PG_UUID   2950

void ngx_commerce_pg_array(ngx_commerce_pg_array_t *a, ngx_pool_t *pool,
    uint32_t type, ngx_uint_t n);
void ngx_commerce_pg_push_null(ngx_commerce_pg_array_t *a);
void ngx_commerce_pg_push_bool(ngx_commerce_pg_array_t *a, int value);
void ngx_commerce_pg_push_int2(ngx_commerce_pg_array_t *a, int16_t value);
void ngx_commerce_pg_push_int4(ngx_commerce_pg_array_t *a, int32_t value);
void ngx_commerce_pg_push_int8(ngx_commerce_pg_array_t *a, int64_t value);
void ngx_commerce_pg_push_uuid(ngx_commerce_pg_array_t *a,
    const commerce_uuid_t *value);
/* text, json and bytea */
void ngx_commerce_pg_push_text(ngx_commerce_pg_array_t *a,
    const u_char *data, size_t len);
void ngx_commerce_pg_array_param(ngx_commerce_pg_query_t *q, int n,
    ngx_commerce_pg_array_t *a);


/* Binary results.  A NULL reads as 0, nil uuid or the empty string. */
ngx_int_t ngx_commerce_pg_is_null(PGresult *res, int row, int col);
int ngx_commerce_pg_get_bool(PGresult *res, int row, int col);
int16_t ngx_commerce_pg_get_int2(PGresult *res, int row, int col);
int32_t ngx_commerce_pg_get_int4(PGresult *res, int row, int col);
int64_t ngx_commerce_pg_get_int8(PGresult *res, int row, int col);
void ngx_commerce_pg_get_uuid(PGresult *res, int row, int col,
    commerce_uuid_t *value);
/* points into the result: copy what must live longer than result() */
ngx_str_t ngx_commerce_pg_get_text(PGresult *res, int row, int col);


#endif
