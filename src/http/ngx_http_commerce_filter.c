/*
 * nginx's own errors inside a commerce location (a body over the limit, a
 * limit_req, a deny) as problem+json: the page that nginx has made is replaced
 * on its way out.  What an error_page or a "return" with a text gives instead
 * is left alone.  While the instance drains, answers also end their connection.
 */

#include "ngx_http_commerce.h"


static ngx_int_t ngx_http_commerce_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_commerce_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_uint_t ngx_http_commerce_is_page(ngx_http_request_t *r);
static ngx_int_t ngx_http_commerce_replace(ngx_http_request_t *r,
    ngx_str_t *body);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


typedef struct {
    ngx_uint_t          status;
    const char         *code;
    const char         *title;
    commerce_problem_e  problem;        /* the nearest one, for the metrics */
} ngx_http_commerce_error_t;


/* Statuses that the table of problems has not, or has several times. */
static const ngx_http_commerce_error_t  ngx_http_commerce_errors[] = {
    { 400, NULL, NULL, COMMERCE_BAD_REQUEST },
    { 401, NULL, NULL, COMMERCE_UNAUTHENTICATED },
    { 403, NULL, NULL, COMMERCE_FORBIDDEN },
    { 404, NULL, NULL, COMMERCE_NOT_FOUND },
    { 405, NULL, NULL, COMMERCE_METHOD_NOT_ALLOWED },
    { 408, "request_timeout", "The request took too long",
      COMMERCE_BAD_REQUEST },
    { 411, "length_required", "Content-Length is required",
      COMMERCE_BAD_REQUEST },
    { 413, NULL, NULL, COMMERCE_TOO_LARGE },
    { 414, "uri_too_long", "The URI is too long", COMMERCE_BAD_REQUEST },
    { 415, NULL, NULL, COMMERCE_UNSUPPORTED_MEDIA_TYPE },
    { 429, NULL, NULL, COMMERCE_TOO_MANY_REQUESTS },
    { 431, "headers_too_large", "The request's headers are too large",
      COMMERCE_BAD_REQUEST },
    { 500, NULL, NULL, COMMERCE_INTERNAL },
    { 502, "bad_gateway", "Bad gateway", COMMERCE_UNAVAILABLE },
    { 503, NULL, NULL, COMMERCE_OVERLOADED },
    { 504, "gateway_timeout", "Gateway timeout", COMMERCE_UNAVAILABLE },
    { 0, NULL, NULL, COMMERCE_NO_PROBLEM }
};


void
ngx_http_commerce_filter_install(void)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_commerce_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_commerce_body_filter;
}


commerce_problem_e
ngx_http_commerce_status_problem(ngx_uint_t status)
{
    const ngx_http_commerce_error_t  *e;

    for (e = ngx_http_commerce_errors; e->status; e++) {
        if (e->status == status) {
            return e->problem;
        }
    }

    if (status < 400) {
        return COMMERCE_NO_PROBLEM;
    }

    return status < 500 ? COMMERCE_BAD_REQUEST : COMMERCE_INTERNAL;
}


static ngx_int_t
ngx_http_commerce_header_filter(ngx_http_request_t *r)
{
    ngx_str_t                       body;
    ngx_http_commerce_ctx_t        *ctx;
    ngx_http_commerce_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_commerce_module);

    /* a client that is told does not send its next request into a close */

    if (ngx_exiting
        || (mcf->commerce.zone
            && ngx_commerce_zone_draining(mcf->commerce.zone)))
    {
        r->keepalive = 0;
    }

    if (r->headers_out.status < NGX_HTTP_BAD_REQUEST
        || !ngx_http_commerce_is_page(r))
    {
        return ngx_http_next_header_filter(r);
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_commerce_module);

    if (ctx == NULL) {
        ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_commerce_ctx_t));
        if (ctx == NULL) {
            return NGX_ERROR;
        }

        ctx->operation = NGX_COMMERCE_OP_OTHER;
        ngx_http_set_ctx(r, ctx, ngx_http_commerce_module);
    }

    if (ctx->request_id.data == NULL) {
        ctx->request_id = ngx_http_commerce_request_id(r);
    }

    if (ngx_http_commerce_replace(r, &body) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->error = body;

    ngx_http_clear_content_length(r);
    ngx_http_clear_last_modified(r);

    r->headers_out.content_length_n = body.len;
    ngx_str_set(&r->headers_out.content_type, "application/problem+json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_http_commerce_header_text(r, "Cache-Control", "no-store")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->request_id.len
        && ngx_http_commerce_header(r, "X-Request-Id", &ctx->request_id)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if ((r->headers_out.status == NGX_HTTP_SERVICE_UNAVAILABLE
         || r->headers_out.status == NGX_HTTP_TOO_MANY_REQUESTS)
        && ngx_http_commerce_header_text(r, "Retry-After", "1") != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


/* 1: the short HTML page of nginx's special responses. */

static ngx_uint_t
ngx_http_commerce_is_page(ngx_http_request_t *r)
{
    ngx_http_commerce_loc_conf_t  *lcf;

    if (r != r->main
        || r->headers_out.content_type.len != sizeof("text/html") - 1
        || ngx_strncmp(r->headers_out.content_type.data, "text/html",
                       sizeof("text/html") - 1)
           != 0)
    {
        return 0;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_commerce_module);

    return lcf->role == NGX_HTTP_COMMERCE_STOREFRONT
           || lcf->role == NGX_HTTP_COMMERCE_ADMIN;
}


static ngx_int_t
ngx_http_commerce_replace(ngx_http_request_t *r, ngx_str_t *body)
{
    u_char                           *p, *last;
    const char                       *code, *title;
    ngx_uint_t                        status;
    commerce_json_writer_t            w;
    ngx_http_commerce_ctx_t          *ctx;
    const ngx_http_commerce_error_t  *e;

    u_char  urn[128];

    ctx = ngx_http_get_module_ctx(r, ngx_http_commerce_module);
    status = r->headers_out.status;

    for (e = ngx_http_commerce_errors; e->status; e++) {
        if (e->status == status) {
            break;
        }
    }

    if (e->code != NULL) {
        code = e->code;
        title = e->title;

    } else {
        code = commerce_problem(ngx_http_commerce_status_problem(status))
               ->code;
        title = commerce_problem(ngx_http_commerce_status_problem(status))
                ->title;
    }

    p = urn;
    last = ngx_snprintf(p, sizeof(urn), "urn:nginx-commerce:problem:%s",
                        code);

    commerce_json_writer_init(&w, 256, ngx_commerce_palloc, r->pool);

    commerce_json_object_open(&w);
    commerce_json_key(&w, "type");
    commerce_json_string(&w, p, last - p);
    commerce_json_key(&w, "title");
    commerce_json_cstring(&w, title);
    commerce_json_key(&w, "status");
    commerce_json_integer(&w, status);
    commerce_json_key(&w, "detail");
    commerce_json_cstring(&w, title);
    commerce_json_key(&w, "code");
    commerce_json_cstring(&w, code);
    commerce_json_key(&w, "request_id");
    commerce_json_string(&w, ctx->request_id.data, ctx->request_id.len);
    commerce_json_object_close(&w);

    if (w.failed) {
        return NGX_ERROR;
    }

    body->data = w.start;
    body->len = w.last - w.start;

    return NGX_OK;
}


static ngx_int_t
ngx_http_commerce_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_buf_t                *b;
    ngx_chain_t              *cl, out;
    ngx_http_commerce_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_commerce_module);

    if (ctx == NULL || ctx->error.len == 0 || in == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    for (cl = in; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = ctx->error.data;
    b->last = ctx->error.data + ctx->error.len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    ngx_str_null(&ctx->error);

    out.buf = b;
    out.next = NULL;

    return ngx_http_next_body_filter(r, &out);
}
