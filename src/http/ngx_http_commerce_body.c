/*
 * The body of a request: media type, reading, JSON.
 */

#include "ngx_http_commerce.h"


/* where client_max_body_size is 0: a JSON body is held in memory */
#define NGX_HTTP_COMMERCE_BODY_MAX     (16 * 1024 * 1024)
#define NGX_HTTP_COMMERCE_BODY_FIRST   65536    /* at most, before it came */
#define NGX_HTTP_COMMERCE_BODY_WINDOW  65536    /* of a body in a file */

#define NGX_HTTP_COMMERCE_JSON_VALUES  4096
#define NGX_HTTP_COMMERCE_JSON_STRING  16384    /* bytes */


static void ngx_http_commerce_body_opened(ngx_http_request_t *r);
static ngx_int_t ngx_http_commerce_gather(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx);
static ngx_uint_t ngx_http_commerce_media_type(ngx_http_request_t *r,
    ngx_uint_t flags);
static ngx_int_t ngx_http_commerce_parse_body(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx);


static ngx_str_t  ngx_http_commerce_json_types[] = {
    ngx_string("application/json"),
    ngx_null_string
};


static ngx_str_t  ngx_http_commerce_ndjson_types[] = {
    ngx_string("application/x-ndjson"),
    ngx_string("application/ndjson"),
    ngx_string("application/jsonl"),
    ngx_null_string
};


/*
 * The body is read unbuffered, whatever its size: it never touches a file, and
 * chunked ones need no other way.
 */

ngx_int_t
ngx_http_commerce_open_body(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx)
{
    ngx_int_t   rc;
    ngx_uint_t  flags;

    flags = ctx->route->flags;

    if (!(flags & (NGX_HTTP_COMMERCE_BODY|NGX_HTTP_COMMERCE_NDJSON
                   |NGX_HTTP_COMMERCE_RAW)))
    {
        ctx->step = NGX_HTTP_COMMERCE_HANDLE;
        return NGX_OK;
    }

    /* an empty body needs no type; whether a chunked one is, shows later */

    if (!(flags & NGX_HTTP_COMMERCE_RAW)
        && (r->headers_in.content_length_n > 0
            || (r->headers_in.chunked && r->headers_in.content_type != NULL)
            || (flags & NGX_HTTP_COMMERCE_NDJSON))
        && !ngx_http_commerce_media_type(r, flags))
    {
        ngx_commerce_refuse(ctx->call, COMMERCE_UNSUPPORTED_MEDIA_TYPE, NULL);
        return NGX_OK;
    }

    ctx->step = NGX_HTTP_COMMERCE_READ_BODY;

    r->request_body_no_buffering = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_commerce_body_opened);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    if (ctx->held) {
        r->main->count--;

    } else {
        ctx->held = 1;
    }

    return NGX_OK;
}


static void
ngx_http_commerce_body_opened(ngx_http_request_t *r)
{
    ngx_http_commerce_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_commerce_module);

    ctx->body_open = 1;

    if (!ctx->running) {
        ngx_http_commerce_resume(r, ctx);
    }
}


void
ngx_http_commerce_body_handler(ngx_http_request_t *r)
{
    ngx_http_commerce_resume(r, ngx_http_get_module_ctx(r,
                                                   ngx_http_commerce_module));
}


ngx_int_t
ngx_http_commerce_read_body(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (!ctx->body_open) {
        return NGX_AGAIN;
    }

    if (ctx->route->flags & NGX_HTTP_COMMERCE_NDJSON) {
        ctx->step = NGX_HTTP_COMMERCE_WAIT;
        return ngx_http_commerce_import_begin(r, ctx);
    }

    for ( ;; ) {
        rc = ngx_http_commerce_gather(r, ctx);

        if (rc != NGX_OK || ctx->answered) {
            return rc;
        }

        if (!r->reading_body) {
            return ngx_http_commerce_parse_body(r, ctx);
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            return rc;
        }

        if (rc == NGX_AGAIN && r->request_body->bufs == NULL) {
            return NGX_AGAIN;
        }
    }
}


/* What has arrived, into call->body. */

static ngx_int_t
ngx_http_commerce_gather(ngx_http_request_t *r, ngx_http_commerce_ctx_t *ctx)
{
    size_t                size;
    u_char               *p;
    ngx_int_t             rc;
    ngx_str_t             piece, *body;
    ngx_commerce_call_t  *call;

    call = ctx->call;
    body = &call->body;

    for ( ;; ) {
        rc = ngx_http_commerce_body_piece(r, ctx, &piece);

        if (rc != NGX_OK) {
            return rc == NGX_DONE ? NGX_OK : rc;
        }

        if (piece.len > NGX_HTTP_COMMERCE_BODY_MAX - body->len) {
            ngx_commerce_refuse(call, COMMERCE_TOO_LARGE, NULL);
            return NGX_OK;
        }

        if (piece.len > ctx->body_size - body->len) {

            size = ngx_max(body->len + piece.len, 2 * ctx->body_size);

            if (ctx->body_size == 0 && r->headers_in.content_length_n > 0) {
                size = ngx_max(size,
                               (size_t) ngx_min(r->headers_in.content_length_n,
                                                NGX_HTTP_COMMERCE_BODY_FIRST));
            }

            p = ngx_pnalloc(call->pool, size);
            if (p == NULL) {
                return NGX_ERROR;
            }

            if (body->data != NULL) {
                ngx_memcpy(p, body->data, body->len);

                /* only what is too large for the pool's blocks goes back */
                (void) ngx_pfree(call->pool, body->data);
            }

            body->data = p;
            ctx->body_size = size;
        }

        ngx_memcpy(body->data + body->len, piece.data, piece.len);
        body->len += piece.len;

        ngx_http_commerce_body_used(r, piece.len);
    }
}


/*
 * A body is in a file only if another module has read it before us, e.g. for
 * a mirror; it then comes through a window of memory.
 */

ngx_int_t
ngx_http_commerce_body_piece(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx, ngx_str_t *piece)
{
    size_t                    size;
    ssize_t                   n;
    ngx_buf_t                *b, *window;
    ngx_chain_t              *cl;
    ngx_http_request_body_t  *rb;

    rb = r->request_body;

    while (rb != NULL && rb->bufs != NULL) {

        cl = rb->bufs;
        b = cl->buf;

        if (ngx_buf_in_memory(b) && b->pos != b->last) {
            piece->data = b->pos;
            piece->len = b->last - b->pos;
            return NGX_OK;
        }

        if (ngx_buf_in_memory(b) || !b->in_file
            || b->file_pos >= b->file_last)
        {
            rb->bufs = cl->next;
            ngx_free_chain(r->pool, cl);
            continue;
        }

        window = ctx->window;

        if (window == NULL) {
            window = ngx_create_temp_buf(r->pool,
                                         NGX_HTTP_COMMERCE_BODY_WINDOW);
            if (window == NULL) {
                return NGX_ERROR;
            }

            ctx->window = window;
        }

        size = (size_t) ngx_min(b->file_last - b->file_pos,
                                NGX_HTTP_COMMERCE_BODY_WINDOW);

        n = ngx_read_file(b->file, window->start, size, b->file_pos);

        if (n <= 0) {
            return NGX_ERROR;
        }

        b->file_pos += n;

        window->pos = window->start;
        window->last = window->start + n;

        cl = ngx_alloc_chain_link(r->pool);
        if (cl == NULL) {
            return NGX_ERROR;
        }

        cl->buf = window;
        cl->next = rb->bufs;
        rb->bufs = cl;
    }

    return NGX_DONE;
}


void
ngx_http_commerce_body_used(ngx_http_request_t *r, size_t n)
{
    r->request_body->bufs->buf->pos += n;
}


/* No charset but UTF-8; other parameters do not matter. */

static ngx_uint_t
ngx_http_commerce_media_type(ngx_http_request_t *r, ngx_uint_t flags)
{
    size_t      len;
    u_char     *p, *last;
    ngx_str_t  *type, *value;

    if (r->headers_in.content_type == NULL) {
        return 0;
    }

    value = &r->headers_in.content_type->value;

    p = value->data;
    last = value->data + value->len;

    type = (flags & NGX_HTTP_COMMERCE_NDJSON) ? ngx_http_commerce_ndjson_types
                                              : ngx_http_commerce_json_types;

    for ( /* void */ ; type->len; type++) {
        if (value->len >= type->len
            && ngx_strncasecmp(p, type->data, type->len) == 0
            && (value->len == type->len || p[type->len] == ';'
                || p[type->len] == ' ' || p[type->len] == '\t'))
        {
            break;
        }
    }

    if (type->len == 0) {
        return 0;
    }

    p += type->len;

    for ( ;; ) {
        while (p < last && (*p == ';' || *p == ' ' || *p == '\t')) {
            p++;
        }

        if (p == last) {
            return 1;
        }

        len = 0;

        while (p + len < last && p[len] != ';') {
            len++;
        }

        if (len > 8 && ngx_strncasecmp(p, (u_char *) "charset=", 8) == 0) {
            value = &(ngx_str_t) { len - 8, p + 8 };

            while (value->len && (value->data[value->len - 1] == ' '
                                  || value->data[value->len - 1] == '\t'))
            {
                value->len--;
            }

            if (!((value->len == 5
                   && ngx_strncasecmp(value->data, (u_char *) "utf-8", 5) == 0)
                  || (value->len == 7
                      && ngx_strncasecmp(value->data, (u_char *) "\"utf-8\"",
                                         7)
                         == 0)))
            {
                return 0;
            }
        }

        p += len;
    }
}


static ngx_int_t
ngx_http_commerce_parse_body(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx)
{
    const char                     *error;
    ngx_commerce_call_t            *call;
    commerce_json_limits_t          limits;
    ngx_http_commerce_main_conf_t  *mcf;

    call = ctx->call;
    ctx->step = NGX_HTTP_COMMERCE_HANDLE;

    /* not to be looked at before it is known whose it is */

    if (ctx->route->flags & NGX_HTTP_COMMERCE_RAW) {
        return NGX_OK;
    }

    if (call->body.len == 0) {
        if (!(ctx->route->flags & NGX_HTTP_COMMERCE_OPTIONAL)) {
            ngx_commerce_refuse(call, COMMERCE_MALFORMED_JSON,
                                "the body is empty");
        }

        return NGX_OK;
    }

    if (r->headers_in.content_type == NULL) {
        ngx_commerce_refuse(call, COMMERCE_UNSUPPORTED_MEDIA_TYPE, NULL);
        return NGX_OK;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_commerce_module);

    limits.max_bytes = call->body.len;
    limits.max_depth = mcf->commerce.json_depth;
    limits.max_values = ngx_max(NGX_HTTP_COMMERCE_JSON_VALUES,
                                64 + 8 * mcf->commerce.max_lines);
    limits.max_string = NGX_HTTP_COMMERCE_JSON_STRING;

    switch (commerce_json_read(&limits, ngx_commerce_palloc, call->pool,
                               call->body.data, call->body.len, &call->json,
                               &error))
    {

    case COMMERCE_JSON_GOOD:
        break;

    case COMMERCE_JSON_NO_MEMORY:
        return NGX_ERROR;

    case COMMERCE_JSON_BYTES:
        ngx_commerce_refuse(call, COMMERCE_TOO_LARGE, error);
        break;

    default: /* COMMERCE_JSON_MALFORMED, COMMERCE_JSON_LIMIT */
        ngx_commerce_refuse(call, COMMERCE_MALFORMED_JSON, error);
    }

    return NGX_OK;
}
