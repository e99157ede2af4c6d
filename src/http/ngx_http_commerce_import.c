/*
 * POST /v1/admin/import: the body is cut into rows while it arrives, and each
 * row's answer is sent while later rows still arrive.
 *
 * Memory is bounded on both sides: no row is read while trade/ has no room or
 * while the client does not take its answers.  All that can happen (room, an
 * emitted line, the end) only posts one event, so nothing here runs inside of
 * a call of trade/.
 */

#include "ngx_http_commerce_import.h"


#define NGX_HTTP_COMMERCE_ROW_FIRST  4096       /* bytes */


static void ngx_http_commerce_import_emit(ngx_commerce_import_t *import,
    const u_char *line, size_t len);
static void ngx_http_commerce_import_room(ngx_commerce_import_t *import);
static void ngx_http_commerce_import_ended(ngx_commerce_import_t *import);
static void ngx_http_commerce_import_event(ngx_event_t *ev);
static void ngx_http_commerce_import_free(void *data);

static void ngx_http_commerce_import_read(ngx_http_request_t *r);
static void ngx_http_commerce_import_run(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp);
static ngx_int_t ngx_http_commerce_import_pump(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp);
static ngx_int_t ngx_http_commerce_import_feed(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp);
static ngx_int_t ngx_http_commerce_import_give(
    ngx_http_commerce_import_t *imp);
static ngx_int_t ngx_http_commerce_import_append(
    ngx_http_commerce_import_t *imp, u_char *data, size_t len);
static ngx_int_t ngx_http_commerce_import_pause(ngx_http_request_t *r);


ngx_int_t
ngx_http_commerce_import_begin(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx)
{
    ngx_pool_cleanup_t          *cln;
    ngx_commerce_call_t         *call;
    ngx_http_commerce_import_t  *imp;

    call = ctx->call;

    cln = ngx_pool_cleanup_add(call->pool,
                               sizeof(ngx_http_commerce_import_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    imp = cln->data;
    ngx_memzero(imp, sizeof(ngx_http_commerce_import_t));

    cln->handler = ngx_http_commerce_import_free;

    imp->ctx = ctx;
    imp->last_out = &imp->out;

    imp->event.handler = ngx_http_commerce_import_event;
    imp->event.data = imp;
    imp->event.log = call->log;

    imp->import.call = call;
    imp->import.emit = ngx_http_commerce_import_emit;
    imp->import.room = ngx_http_commerce_import_room;
    imp->import.ended = ngx_http_commerce_import_ended;
    imp->import.ctx = imp;

    if (ngx_commerce_import_start(&imp->import) != NGX_OK) {

        if (!ctx->answered) {
            ngx_commerce_refuse(call, COMMERCE_UNAVAILABLE, NULL);
        }

        return NGX_OK;
    }

    ctx->import = imp;

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_post_event(&imp->event, &ngx_posted_events);

    return NGX_AGAIN;
}


void
ngx_http_commerce_import_abandon(ngx_http_commerce_ctx_t *ctx)
{
    ngx_http_commerce_import_t  *imp;

    imp = ctx->import;

    ctx->call->request = NULL;

    /* counted and freed when trade/ has ended it */
    ctx->left = 1;
    ctx->call = NULL;
    ctx->import = NULL;

    imp->ctx = NULL;

    if (!imp->over) {
        imp->over = 1;
        ngx_commerce_import_end(&imp->import);
    }

    if (imp->ended) {
        ngx_post_event(&imp->event, &ngx_posted_events);
    }
}


static void
ngx_http_commerce_import_free(void *data)
{
    ngx_http_commerce_import_t *imp = data;

    if (imp->event.posted) {
        ngx_delete_posted_event(&imp->event);
    }
}


static void
ngx_http_commerce_import_emit(ngx_commerce_import_t *import,
    const u_char *line, size_t len)
{
    ngx_buf_t                   *b;
    ngx_http_request_t          *r;
    ngx_http_commerce_import_t  *imp;

    imp = import->ctx;
    r = import->call->request;

    if (r == NULL || len == 0) {
        return;
    }

    b = ngx_http_commerce_import_buf(r, imp, len);

    if (b == NULL) {
        /* an answer is lost: no honest end is left */
        r->connection->error = 1;

    } else {
        b->last = ngx_cpymem(b->last, line, len);
    }

    ngx_post_event(&imp->event, &ngx_posted_events);
}


static void
ngx_http_commerce_import_room(ngx_commerce_import_t *import)
{
    ngx_http_commerce_import_t  *imp;

    imp = import->ctx;
    imp->blocked = 0;

    ngx_post_event(&imp->event, &ngx_posted_events);
}


static void
ngx_http_commerce_import_ended(ngx_commerce_import_t *import)
{
    ngx_http_commerce_import_t  *imp;

    imp = import->ctx;
    imp->ended = 1;

    ngx_post_event(&imp->event, &ngx_posted_events);
}


static void
ngx_http_commerce_import_event(ngx_event_t *ev)
{
    ngx_connection_t            *c;
    ngx_http_request_t          *r;
    ngx_http_commerce_import_t  *imp;

    imp = ev->data;
    r = imp->import.call->request;

    if (r == NULL) {
        if (imp->ended) {
            ngx_http_commerce_call_end(imp->import.call);
        }

        return;
    }

    c = r->connection;

    ngx_http_commerce_import_run(r, imp);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_commerce_import_read(ngx_http_request_t *r)
{
    ngx_http_commerce_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_commerce_module);

    ngx_http_commerce_import_run(r, ctx->import);
}


void
ngx_http_commerce_import_write(ngx_http_request_t *r)
{
    ngx_event_t                 *wev;
    ngx_http_commerce_ctx_t     *ctx;
    ngx_http_commerce_import_t  *imp;

    ctx = ngx_http_get_module_ctx(r, ngx_http_commerce_module);
    imp = ctx->import;

    wev = r->connection->write;

    if (wev->timedout) {
        r->connection->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    imp->writing = 0;

    ngx_http_commerce_import_run(r, imp);
}


/* r may be gone afterwards. */

static void
ngx_http_commerce_import_run(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp)
{
    ngx_int_t                 rc;
    ngx_http_commerce_ctx_t  *ctx;

    ctx = imp->ctx;

    if (r->connection->error) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    rc = ngx_http_commerce_import_pump(r, imp);

    if (rc == NGX_AGAIN) {
        rc = ngx_http_commerce_import_flush(r, imp);

        if (rc == NGX_AGAIN) {
            return;
        }

        if (rc != NGX_ERROR) {
            /* the whole answer is on its way */
            ngx_http_commerce_note(ctx, imp->import.call);
            ctx->answered = 1;
            ctx->import = NULL;

            ngx_http_finalize_request(r, rc);
            return;
        }
    }

    /* no answer of a row may come between nginx's own response and us */
    ngx_http_commerce_import_abandon(ctx);

    if (rc == NGX_ERROR) {
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_finalize_request(r, r->header_sent ? NGX_ERROR : rc);
}


/* NGX_AGAIN: waits for somebody, or all is fed; else an error or a status. */

static ngx_int_t
ngx_http_commerce_import_pump(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp)
{
    ngx_int_t  rc;

    while (!imp->over) {

        if (imp->blocked || imp->writing) {
            return ngx_http_commerce_import_pause(r);
        }

        rc = ngx_http_commerce_import_feed(r, imp);

        if (rc == NGX_AGAIN) {
            return ngx_http_commerce_import_pause(r);
        }

        if (rc != NGX_OK) {
            return rc;
        }

        if (!r->reading_body) {

            if (imp->len || imp->too_long) {
                /* the last row has no newline */
                imp->whole = 1;
                continue;
            }

            imp->over = 1;
            ngx_commerce_import_end(&imp->import);
            break;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc == NGX_ERROR || rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            return rc;
        }

        if (rc == NGX_AGAIN && r->request_body->bufs == NULL) {
            r->read_event_handler = ngx_http_commerce_import_read;
            return NGX_AGAIN;
        }
    }

    return ngx_http_commerce_import_pause(r);
}


/* Not reading: the time is not the client's, but its hang-up is seen. */

static ngx_int_t
ngx_http_commerce_import_pause(ngx_http_request_t *r)
{
    ngx_event_t  *rev;

    rev = r->connection->read;

    if (rev->timer_set) {
        ngx_del_timer(rev);
    }

    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    r->read_event_handler = ngx_http_test_reading;

    return NGX_AGAIN;
}


/* What has arrived, row by row. NGX_AGAIN: trade/ has no room for a row. */

static ngx_int_t
ngx_http_commerce_import_feed(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp)
{
    u_char     *newline;
    size_t      len;
    ngx_int_t   rc;
    ngx_str_t   piece;

    for ( ;; ) {

        if (imp->whole) {
            rc = ngx_http_commerce_import_give(imp);

            if (rc != NGX_OK) {
                return rc;
            }
        }

        rc = ngx_http_commerce_body_piece(r, imp->ctx, &piece);

        if (rc != NGX_OK) {
            return rc == NGX_DONE ? NGX_OK : rc;
        }

        newline = ngx_strlchr(piece.data, piece.data + piece.len, LF);
        len = newline ? (size_t) (newline - piece.data) : piece.len;

        if (ngx_http_commerce_import_append(imp, piece.data, len) != NGX_OK) {
            return NGX_ERROR;
        }

        if (newline != NULL) {
            imp->whole = 1;
            len++;
        }

        ngx_http_commerce_body_used(r, len);
    }
}


static ngx_int_t
ngx_http_commerce_import_append(ngx_http_commerce_import_t *imp,
    u_char *data, size_t len)
{
    size_t   size;
    u_char  *p;

    if (imp->too_long || len == 0) {
        return NGX_OK;
    }

    if (len > NGX_COMMERCE_IMPORT_ROW_MAX - imp->len) {
        imp->too_long = 1;
        imp->len = 0;
        return NGX_OK;
    }

    if (len > imp->size - imp->len) {

        size = ngx_max(imp->size * 2, NGX_HTTP_COMMERCE_ROW_FIRST);
        size = ngx_max(size, imp->len + len);
        size = ngx_min(size, NGX_COMMERCE_IMPORT_ROW_MAX);

        p = ngx_pnalloc(imp->import.call->pool, size);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (imp->row != NULL) {
            ngx_memcpy(p, imp->row, imp->len);
            (void) ngx_pfree(imp->import.call->pool, imp->row);
        }

        imp->row = p;
        imp->size = size;
    }

    ngx_memcpy(imp->row + imp->len, data, len);
    imp->len += len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_commerce_import_give(ngx_http_commerce_import_t *imp)
{
    size_t     i, len;
    ngx_int_t  rc;

    len = imp->len;

    if (len && imp->row[len - 1] == CR) {
        len--;
    }

    for (i = 0; i < len; i++) {
        if (imp->row[i] != ' ' && imp->row[i] != '\t' && imp->row[i] != CR) {
            break;
        }
    }

    if (i == len && !imp->too_long) {
        /* blank */
        imp->len = 0;
        imp->whole = 0;
        return NGX_OK;
    }

    /* set before: room() may come from inside the call */
    imp->blocked = 1;

    rc = ngx_commerce_import_row(&imp->import,
                                 imp->too_long ? NULL : imp->row,
                                 imp->too_long ? 0 : len);

    if (rc != NGX_OK) {
        return rc == NGX_AGAIN ? NGX_AGAIN : NGX_ERROR;
    }

    imp->blocked = 0;
    imp->whole = 0;
    imp->too_long = 0;
    imp->len = 0;

    return NGX_OK;
}
