/*
 * libpq owns the socket; nginx only watches it, level-triggered, because libpq
 * reads a bounded amount at a time.
 */

#include "ngx_commerce_pg_conn.h"

#include <sys/ioctl.h>


#define NGX_COMMERCE_PG_PASSES  64


static void ngx_commerce_pg_link_read_handler(ngx_event_t *rev);
static void ngx_commerce_pg_link_write_handler(ngx_event_t *wev);
static void ngx_commerce_pg_link_process(ngx_commerce_pg_link_t *link);
static ngx_int_t ngx_commerce_pg_link_drain(ngx_commerce_pg_link_t *link);
static ngx_int_t ngx_commerce_pg_link_result(ngx_commerce_pg_link_t *link,
    PGresult *res);
static ngx_int_t ngx_commerce_pg_link_notifies(ngx_commerce_pg_link_t *link);


ngx_int_t
ngx_commerce_pg_link_watch(ngx_commerce_pg_link_t *link, ngx_uint_t rd,
    ngx_uint_t wr)
{
    ngx_socket_t       fd;
    ngx_connection_t  *c;

    fd = (ngx_socket_t) PQsocket(link->pg);
    if (fd == (ngx_socket_t) -1) {
        return NGX_ERROR;
    }

    c = link->c;

    if (c && c->fd != fd) {
        ngx_close_connection(c);
        link->c = NULL;
        c = NULL;
    }

    if (c == NULL) {
        c = ngx_get_connection(fd, link->pool->log);
        if (c == NULL) {
            return NGX_ERROR;
        }

        /* the socket is libpq's to close */
        c->shared = 1;
        /* a graceful exit asks the read handler */
        c->idle = 1;

        c->data = link;
        c->log = link->pool->log;
        c->read->log = c->log;
        c->write->log = c->log;
        c->read->handler = ngx_commerce_pg_link_read_handler;
        c->write->handler = ngx_commerce_pg_link_write_handler;

        link->c = c;
    }

    if (rd && !c->read->active
        && ngx_add_event(c->read, NGX_READ_EVENT, NGX_LEVEL_EVENT) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (wr && !c->write->active) {
        return ngx_add_event(c->write, NGX_WRITE_EVENT, NGX_LEVEL_EVENT);
    }

    if (!wr && c->write->active) {
        return ngx_del_event(c->write, NGX_WRITE_EVENT, 0);
    }

    return NGX_OK;
}


void
ngx_commerce_pg_link_unwatch(ngx_commerce_pg_link_t *link)
{
    ngx_uint_t         flags;
    ngx_connection_t  *c;

    c = link->c;
    if (c == NULL) {
        return;
    }

    /* a socket that libpq has closed is gone from epoll too */
    flags = ((ngx_socket_t) PQsocket(link->pg) == c->fd) ? 0 : NGX_CLOSE_EVENT;

    if (c->read->active) {
        (void) ngx_del_event(c->read, NGX_READ_EVENT, flags);
    }

    if (c->write->active) {
        (void) ngx_del_event(c->write, NGX_WRITE_EVENT, flags);
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }
}


static void
ngx_commerce_pg_link_read_handler(ngx_event_t *rev)
{
    ngx_uint_t               aborted;
    ngx_connection_t        *c;
    ngx_commerce_pg_link_t  *link;
    ngx_commerce_pg_pool_t  *pool;

    c = rev->data;
    link = c->data;
    pool = link->pool;

    ngx_commerce_pg_enter(pool);

    if (c->close) {
        aborted = c->error;
        c->close = 0;
        c->error = 0;

        if (aborted) {
            ngx_commerce_pg_pool_abort(pool);

        } else {
            ngx_commerce_pg_pool_run(pool);
        }

    } else if (link->state == ngx_commerce_pg_connecting) {
        ngx_commerce_pg_link_poll(link);

    } else {
        ngx_commerce_pg_link_process(link);
    }

    ngx_commerce_pg_leave(pool);
}


static void
ngx_commerce_pg_link_write_handler(ngx_event_t *wev)
{
    ngx_connection_t        *c;
    ngx_commerce_pg_link_t  *link;
    ngx_commerce_pg_pool_t  *pool;

    c = wev->data;
    link = c->data;
    pool = link->pool;

    ngx_commerce_pg_enter(pool);

    if (link->state == ngx_commerce_pg_connecting) {
        ngx_commerce_pg_link_poll(link);

    } else {
        (void) ngx_commerce_pg_link_flush(link);
    }

    ngx_commerce_pg_leave(pool);
}


ngx_int_t
ngx_commerce_pg_link_flush(ngx_commerce_pg_link_t *link)
{
    int  rc;

    link->unflushed = 0;

    rc = PQflush(link->pg);

    if (rc < 0) {
        ngx_commerce_pg_link_broken(link);
        return NGX_ERROR;
    }

    /* a server that does not read may wait until its answers are read */

    if (ngx_commerce_pg_link_watch(link, 1, rc) != NGX_OK) {
        ngx_commerce_pg_link_fail(link, "the socket cannot be watched");
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Under TLS, decrypted bytes can wait inside OpenSSL while the socket is
 * silent.  libpq takes at least half a record at a time, so a pass that began
 * with an empty socket leaves nothing behind.
 */

static void
ngx_commerce_pg_link_process(ngx_commerce_pg_link_t *link)
{
    int                      pending, ok, tls;
    ngx_uint_t               pass;
    ngx_commerce_pg_pool_t  *pool;

    pool = link->pool;
    tls = PQsslInUse(link->pg);

    for (pass = 0; /* void */ ; pass++) {

        pending = 0;

        if (tls && ioctl(PQsocket(link->pg), FIONREAD, &pending) == -1) {
            pending = 0;
        }

        ok = PQconsumeInput(link->pg);

        if (ngx_commerce_pg_link_drain(link) != NGX_OK) {
            return;
        }

        if (!ok || PQstatus(link->pg) == CONNECTION_BAD) {
            ngx_commerce_pg_link_broken(link);
            return;
        }

        if (pending == 0) {
            break;
        }

        if (pass == NGX_COMMERCE_PG_PASSES) {
            ngx_post_event(link->c->read, &ngx_posted_next_events);
            break;
        }
    }

    if (ngx_commerce_pg_link_flush(link) == NGX_OK) {
        ngx_commerce_pg_pool_run(pool);
    }
}


/*
 * PQgetResult() blocks while PQisBusy(), and an idle pipeline is never busy:
 * it is only asked for what is expected.  NGX_ERROR: the link is gone.
 */

static ngx_int_t
ngx_commerce_pg_link_drain(ngx_commerce_pg_link_t *link)
{
    PGresult   *res;
    ngx_int_t   rc;

    while (link->state == ngx_commerce_pg_setup
           || !ngx_queue_empty(&link->ops))
    {
        if (PQisBusy(link->pg)) {
            break;
        }

        if (PQstatus(link->pg) == CONNECTION_BAD) {
            return NGX_OK;
        }

        res = PQgetResult(link->pg);

        if (res) {
            link->nulls = 0;

        } else if (link->nulls++ > NGX_COMMERCE_PG_QUERIES) {
            ngx_commerce_pg_link_fail(link, "libpq lost count of its results");
            return NGX_ERROR;
        }

        rc = ngx_commerce_pg_link_result(link, res);

        PQclear(res);

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return ngx_commerce_pg_link_notifies(link);
}


static ngx_int_t
ngx_commerce_pg_link_result(ngx_commerce_pg_link_t *link, PGresult *res)
{
    char         err[NGX_COMMERCE_PG_REASON];
    ngx_int_t    rc;
    const char  *reason;

    if (link->state == ngx_commerce_pg_setup) {
        rc = ngx_commerce_pg_setup_result(link, res, err, sizeof(err));

        if (rc == NGX_ERROR) {
            ngx_commerce_pg_link_fail(link, err);
            return NGX_ERROR;
        }

        if (rc == NGX_DONE) {
            ngx_commerce_pg_link_up(link);
        }

    } else {
        rc = ngx_commerce_pg_op_result(link, res, &reason);

        if (rc == NGX_ERROR && link->pg) {
            ngx_commerce_pg_link_lost(link, reason);
        }
    }

    /* a callback may have destroyed the pool */

    return link->pg ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_commerce_pg_link_notifies(ngx_commerce_pg_link_t *link)
{
    PGnotify                   *notify;
    ngx_commerce_pg_purpose_t  *purpose;

    purpose = &link->pool->purpose;

    while ((notify = PQnotifies(link->pg)) != NULL) {

        if (purpose->notify) {
            purpose->notify(purpose->data, notify->relname, notify->extra);
        }

        PQfreemem(notify);

        if (link->pg == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
