/*
 * Private to the database room: one connection's state and what the pool and
 * the connection know of each other.
 */

#ifndef NGX_COMMERCE_PG_CONN_H
#define NGX_COMMERCE_PG_CONN_H

#include "ngx_commerce_pg.h"


#define NGX_COMMERCE_PG_ADDRESSES  32
#define NGX_COMMERCE_PG_SETTINGS   16
#define NGX_COMMERCE_PG_REASON     256
#define NGX_COMMERCE_PG_LOG_EVERY  5000


typedef struct ngx_commerce_pg_remote_s  ngx_commerce_pg_remote_t;
typedef struct ngx_commerce_pg_link_s    ngx_commerce_pg_link_t;


typedef enum {
    ngx_commerce_pg_closed = 0,     /* the worker exits and nothing is to do */
    ngx_commerce_pg_turn,           /* waits until another has connected */
    ngx_commerce_pg_resolving,
    ngx_commerce_pg_connecting,
    ngx_commerce_pg_setup,
    ngx_commerce_pg_ready,
    ngx_commerce_pg_backoff
} ngx_commerce_pg_state_e;


struct ngx_commerce_pg_link_s {
    ngx_commerce_pg_conn_t      conn;       /* must stay first */
    ngx_commerce_pg_state_e     state;
    ngx_commerce_pg_pool_t     *pool;
    ngx_queue_t                 queue;      /* of the links that wait */

    PGconn                     *pg;
    ngx_connection_t           *c;
    ngx_event_t                 timer;      /* connect, back-off or op */

    ngx_uint_t                  failures;   /* rounds in a row */
    ngx_uint_t                  attempts;   /* addresses tried in this round */
    ngx_uint_t                  step;       /* query of the set-up segment */

    ngx_queue_t                 ops;        /* sent, in order */
    ngx_uint_t                  in_flight;
    ngx_uint_t                  query;      /* of the first op */
    ngx_uint_t                  nulls;      /* in a row */
    ngx_msec_t                  progress;   /* the last op that ended */
    ngx_uint_t                  unflushed;  /* unsigned  unflushed:1; */
};


struct ngx_commerce_pg_pool_s {
    ngx_pool_t                 *mem;
    ngx_log_t                  *log;
    ngx_commerce_pg_server_t   *server;
    ngx_commerce_pg_purpose_t   purpose;
    ngx_commerce_pg_link_t     *links;

    char                       *setup;      /* SQL of the settings */
    int                         nsettings;
    const char                 *settings[2 * NGX_COMMERCE_PG_SETTINGS];

    ngx_queue_t                 waiting;    /* ops */
    ngx_uint_t                  nwaiting;
    ngx_event_t                 post;
    ngx_event_t                 timer;      /* the first deadline */
    ngx_uint_t                  nready;

    void                       *hub;        /* of the lanes */
    void                      (*hub_closed)(void *hub);
    ngx_uint_t                  items;      /* that wait in lanes */

    ngx_msec_t                  logged;
    ngx_uint_t                  active;     /* event handlers on the stack */
    unsigned                    log_set:1;
    unsigned                    hold:1;
    unsigned                    troubled:1; /* lost since it was ready */
    unsigned                    closed:1;   /* takes no op any more */
    unsigned                    destroyed:1;
};


/* ngx_commerce_pg_server.c */

/*
 * NGX_OK: the address is known; NGX_AGAIN: the continuation will be called;
 * NGX_ERROR: *err says why.
 */
ngx_int_t ngx_commerce_pg_resolve(ngx_commerce_pg_server_t *server,
    void (*ready)(ngx_commerce_pg_server_t *server), const char **err);
ngx_uint_t ngx_commerce_pg_addresses(ngx_commerce_pg_server_t *server);
void ngx_commerce_pg_next_address(ngx_commerce_pg_server_t *server);
/* PQconnectStartParams(); NULL: *err says why */
PGconn *ngx_commerce_pg_start(ngx_commerce_pg_server_t *server,
    ngx_str_t *purpose, ngx_log_t *log, const char **err);


/* ngx_commerce_pg_setup.c */

/* At pool creation: the SQL from the purpose's settings. */
ngx_int_t ngx_commerce_pg_setup_prepare(ngx_commerce_pg_pool_t *pool);
ngx_int_t ngx_commerce_pg_setup_send(ngx_commerce_pg_link_t *link);
/*
 * One PQgetResult().  NGX_AGAIN: more to come; NGX_DONE: ready; NGX_ERROR:
 * "err" of "size" bytes says why.
 */
ngx_int_t ngx_commerce_pg_setup_result(ngx_commerce_pg_link_t *link,
    PGresult *res, char *err, size_t size);


/* ngx_commerce_pg_conn.c */

/* Puts a closed link in line to connect. */
void ngx_commerce_pg_link_open(ngx_commerce_pg_link_t *link);
/* Ends it for good; ops in flight become UNKNOWN. */
void ngx_commerce_pg_link_close(ngx_commerce_pg_link_t *link);
/* Ends it, then connects again after the back-off. */
void ngx_commerce_pg_link_lost(ngx_commerce_pg_link_t *link,
    const char *reason);
/* (Re)arms the timer of the first op in flight, or removes it. */
void ngx_commerce_pg_link_watch_op(ngx_commerce_pg_link_t *link);
/* The socket has something for PQconnectPoll(). */
void ngx_commerce_pg_link_poll(ngx_commerce_pg_link_t *link);
/* It is set up. */
void ngx_commerce_pg_link_up(ngx_commerce_pg_link_t *link);
/* Lost, or not even ready: the next address or the back-off. */
void ngx_commerce_pg_link_fail(ngx_commerce_pg_link_t *link,
    const char *reason);
/* The same, and libpq knows why. */
void ngx_commerce_pg_link_broken(ngx_commerce_pg_link_t *link);


/* ngx_commerce_pg_socket.c */

/* What to watch libpq's socket for; it may be another than before. */
ngx_int_t ngx_commerce_pg_link_watch(ngx_commerce_pg_link_t *link,
    ngx_uint_t rd, ngx_uint_t wr);
void ngx_commerce_pg_link_unwatch(ngx_commerce_pg_link_t *link);
/* Pushes what libpq has buffered; NGX_ERROR: the link is lost. */
ngx_int_t ngx_commerce_pg_link_flush(ngx_commerce_pg_link_t *link);


/* ngx_commerce_pg_pool.c */

void ngx_commerce_pg_enter(ngx_commerce_pg_pool_t *pool);
void ngx_commerce_pg_leave(ngx_commerce_pg_pool_t *pool);
/* The link became ready, or stopped to be. */
void ngx_commerce_pg_pool_up(ngx_commerce_pg_pool_t *pool);
void ngx_commerce_pg_pool_down(ngx_commerce_pg_pool_t *pool);
/* Sends what waits; at a graceful exit closes a pool with nothing to do. */
void ngx_commerce_pg_pool_run(ngx_commerce_pg_pool_t *pool);
/* 1 when the pool needs connections although the worker exits. */
ngx_uint_t ngx_commerce_pg_pool_wanted(ngx_commerce_pg_pool_t *pool);
/* worker_shutdown_timeout: everything ends now. */
void ngx_commerce_pg_pool_abort(ngx_commerce_pg_pool_t *pool);
/* 1 when a line may be logged: one in NGX_COMMERCE_PG_LOG_EVERY. */
ngx_uint_t ngx_commerce_pg_pool_may_log(ngx_commerce_pg_pool_t *pool);


/* ngx_commerce_pg_op.c */

/* Builds the op and hands it to libpq; what is left to flush is noted. */
void ngx_commerce_pg_op_send(ngx_commerce_pg_link_t *link,
    ngx_commerce_pg_op_t *op);
/* One PQgetResult() for the first op; NGX_ERROR: give the link up. */
ngx_int_t ngx_commerce_pg_op_result(ngx_commerce_pg_link_t *link,
    PGresult *res, const char **reason);
/* done(), then the op's memory pool */
void ngx_commerce_pg_op_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
/* Ends the ops of a link that is gone as UNKNOWN. */
void ngx_commerce_pg_op_orphans(ngx_commerce_pg_link_t *link);
/* 1 when the connection is of use after this SQLSTATE. */
ngx_uint_t ngx_commerce_pg_is_usable(const char *sqlstate);


static ngx_inline ngx_uint_t
ngx_commerce_pg_expired(ngx_msec_t deadline)
{
    return deadline
           && (ngx_msec_int_t) (ngx_current_msec - deadline) >= 0;
}


#endif
