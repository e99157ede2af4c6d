/* The answers of an import's rows, sent while rows still arrive. */

#include "ngx_http_commerce_import.h"


#define NGX_HTTP_COMMERCE_LINES  16384      /* bytes of a buffer */


static ngx_int_t ngx_http_commerce_import_header(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp);
static ngx_int_t ngx_http_commerce_import_last(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp);
static ngx_int_t ngx_http_commerce_import_output(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp);


ngx_int_t
ngx_http_commerce_import_flush(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp)
{
    ngx_int_t                  rc;
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_core_loc_conf_t  *clcf;

    if (imp->writing) {
        return NGX_AGAIN;
    }

    c = r->connection;
    wev = c->write;

    if (imp->out == NULL && imp->busy == NULL && !imp->ended) {
        return NGX_AGAIN;
    }

    if (!imp->header) {
        rc = ngx_http_commerce_import_header(r, imp);

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (imp->ended) {
        if (wev->timer_set) {
            ngx_del_timer(wev);
        }

        return ngx_http_commerce_import_last(r, imp);
    }

    rc = ngx_http_commerce_import_output(r, imp);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc != NGX_AGAIN && !c->buffered) {
        if (wev->timer_set) {
            ngx_del_timer(wev);
        }

        r->write_event_handler = ngx_http_request_empty_handler;

        return NGX_AGAIN;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    imp->writing = 1;
    r->write_event_handler = ngx_http_commerce_import_write;

    if (!wev->delayed) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    if (ngx_handle_write_event(wev, clcf->send_lowat) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_commerce_import_header(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp)
{
    ngx_int_t  rc;

    imp->header = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->disable_not_modified = 1;

    ngx_str_set(&r->headers_out.content_type, "application/x-ndjson");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_http_commerce_header_text(r, "Cache-Control", "no-store")
        != NGX_OK
        || (imp->ctx->request_id.len
            && ngx_http_commerce_header(r, "X-Request-Id",
                                        &imp->ctx->request_id)
               != NGX_OK))
    {
        return NGX_ERROR;
    }

    rc = ngx_http_send_header(r);

    return (rc == NGX_ERROR || rc > NGX_OK) ? NGX_ERROR : NGX_OK;
}


/* The rest, with the end of the response; nginx sends on what must wait. */

static ngx_int_t
ngx_http_commerce_import_last(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    b = ngx_calloc_buf(r->pool);
    cl = ngx_alloc_chain_link(r->pool);

    if (b == NULL || cl == NULL) {
        return NGX_ERROR;
    }

    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    cl->buf = b;
    cl->next = NULL;

    *imp->last_out = cl;
    imp->last_out = &cl->next;

    return ngx_http_output_filter(r, imp->out) == NGX_ERROR ? NGX_ERROR
                                                            : NGX_OK;
}


static ngx_int_t
ngx_http_commerce_import_output(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp)
{
    ngx_int_t     rc;
    ngx_chain_t  *cl, *out;

    for (cl = imp->out; cl; cl = cl->next) {
        if (cl->next == NULL) {
            cl->buf->flush = 1;
        }
    }

    out = imp->out;

    imp->out = NULL;
    imp->last_out = &imp->out;

    rc = ngx_http_output_filter(r, out);

    ngx_chain_update_chains(r->pool, &imp->free, &imp->busy, &out,
                            (ngx_buf_tag_t) &ngx_http_commerce_module);

    return rc;
}


ngx_buf_t *
ngx_http_commerce_import_buf(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp, size_t len)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    for (cl = imp->out; cl; cl = cl->next) {
        if (cl->next == NULL && (size_t) (cl->buf->end - cl->buf->last) >= len)
        {
            return cl->buf;
        }
    }

    cl = imp->free;

    if (cl != NULL && (size_t) (cl->buf->end - cl->buf->start) >= len) {
        imp->free = cl->next;

        b = cl->buf;
        b->flush = 0;

    } else {
        cl = ngx_alloc_chain_link(r->pool);
        if (cl == NULL) {
            return NULL;
        }

        b = ngx_create_temp_buf(r->pool,
                                ngx_max(len, NGX_HTTP_COMMERCE_LINES));
        if (b == NULL) {
            return NULL;
        }

        b->tag = (ngx_buf_tag_t) &ngx_http_commerce_module;
        cl->buf = b;
    }

    cl->next = NULL;

    *imp->last_out = cl;
    imp->last_out = &cl->next;

    return b;
}
