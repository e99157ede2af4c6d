/*
 * Private to the database room: the conninfo taken apart, and the addresses
 * that a worker knows.
 */

#ifndef NGX_COMMERCE_PG_SERVER_H
#define NGX_COMMERCE_PG_SERVER_H

#include "ngx_commerce_pg_conn.h"

#if (NGX_THREADS)
#include <ngx_thread_pool.h>
#endif


#define NGX_COMMERCE_PG_TARGETS    16
#define NGX_COMMERCE_PG_OPTIONS    64
#define NGX_COMMERCE_PG_ADDR_LEN   64


typedef struct {
    char                       *host;       /* what TLS checks; NULL: none */
    char                       *hostaddr;
    char                       *port;
    unsigned                    name:1;     /* host must be resolved */
} ngx_commerce_pg_target_t;


typedef struct {
    ngx_uint_t                  target;
    char                        text[NGX_COMMERCE_PG_ADDR_LEN];  /* or "" */
} ngx_commerce_pg_address_t;


typedef struct {
    ngx_uint_t                  n;
    ngx_commerce_pg_address_t   list[NGX_COMMERCE_PG_ADDRESSES];
    int                         error;      /* of getaddrinfo() */
} ngx_commerce_pg_book_t;


typedef struct {
    ngx_commerce_pg_server_t   *server;
    ngx_commerce_pg_book_t      book;
} ngx_commerce_pg_task_t;


struct ngx_commerce_pg_remote_s {
    ngx_uint_t                  noptions;
    const char                 *keys[NGX_COMMERCE_PG_OPTIONS];
    const char                 *values[NGX_COMMERCE_PG_OPTIONS];

    ngx_uint_t                  ntargets;
    ngx_commerce_pg_target_t    targets[NGX_COMMERCE_PG_TARGETS];
    ngx_uint_t                  names;      /* targets to resolve */

    /* of the worker */
    ngx_commerce_pg_book_t      book;
    ngx_uint_t                  current;
    ngx_msec_t                  resolved;
    int                         error;      /* of the last getaddrinfo() */
#if (NGX_THREADS)
    ngx_thread_pool_t          *threads;
    ngx_thread_task_t          *task;
#endif
    ngx_uint_t                  resolving;  /* unsigned  resolving:1; */
    void                      (*ready)(ngx_commerce_pg_server_t *server);
};


/* ngx_commerce_pg_address.c */

/* Fills the book; blocks when a target is a name. */
void ngx_commerce_pg_lookup(ngx_commerce_pg_remote_t *remote,
    ngx_commerce_pg_book_t *book);
#if (NGX_THREADS)
void ngx_commerce_pg_lookup_task(void *data, ngx_log_t *log);
void ngx_commerce_pg_lookup_done(ngx_event_t *ev);
#endif


#endif
