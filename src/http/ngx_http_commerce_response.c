/*
 * What a call has answered, as an HTTP response.
 */

#include "ngx_http_commerce.h"


static ngx_int_t ngx_http_commerce_render_problem(
    ngx_http_commerce_ctx_t *ctx, ngx_str_t *body);
static ngx_int_t ngx_http_commerce_send_headers(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx);
static ngx_int_t ngx_http_commerce_authenticate(ngx_http_request_t *r,
    ngx_commerce_call_t *call);
static void ngx_http_commerce_status(ngx_http_request_t *r,
    ngx_uint_t status);
static ngx_int_t ngx_http_commerce_output(ngx_http_request_t *r,
    ngx_str_t *body);


/* Status lines that nginx does not have. */
static ngx_str_t  ngx_http_commerce_422 =
    ngx_string("422 Unprocessable Content");
static ngx_str_t  ngx_http_commerce_428 =
    ngx_string("428 Precondition Required");


ngx_int_t
ngx_http_commerce_send(ngx_http_request_t *r, ngx_http_commerce_ctx_t *ctx)
{
    ngx_str_t             body;
    ngx_uint_t            status;
    const char           *type;
    ngx_commerce_call_t  *call;

    call = ctx->call;

    /* leaves the connection usable; a body that was read is no matter here */
    if (ngx_http_discard_request_body(r) != NGX_OK) {
        r->keepalive = 0;
    }

    if (call->problem == COMMERCE_NO_PROBLEM) {
        status = call->status;
        body = call->answer;
        type = "application/json";

    } else {
        status = commerce_problem(call->problem)->status;
        type = "application/problem+json";

        if (ngx_http_commerce_render_problem(ctx, &body) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (ngx_http_commerce_send_headers(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_commerce_status(r, status);

    if (status == NGX_HTTP_NO_CONTENT || status == NGX_HTTP_NOT_MODIFIED) {
        ngx_str_null(&body);
        r->header_only = 1;

    } else {
        r->headers_out.content_length_n = body.len;
        r->headers_out.content_type.data = (u_char *) type;
        r->headers_out.content_type.len = ngx_strlen(type);
        r->headers_out.content_type_len = r->headers_out.content_type.len;
        r->headers_out.content_type_lowcase = NULL;
    }

    return ngx_http_commerce_output(r, &body);
}


static ngx_int_t
ngx_http_commerce_render_problem(ngx_http_commerce_ctx_t *ctx,
    ngx_str_t *body)
{
    size_t                     i, len;
    u_char                    *p;
    ngx_commerce_call_t       *call;
    commerce_json_error_t     *error;
    commerce_json_writer_t     w;
    const commerce_problem_t  *problem;

    static const char  urn[] = "urn:nginx-commerce:problem:";

    call = ctx->call;
    problem = commerce_problem(call->problem);

    len = ngx_strlen(problem->code);

    p = ngx_pnalloc(call->pool, sizeof(urn) - 1 + len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(ngx_cpymem(p, urn, sizeof(urn) - 1), problem->code, len);

    commerce_json_writer_init(&w, 512, ngx_commerce_palloc, call->pool);

    commerce_json_object_open(&w);
    commerce_json_key(&w, "type");
    commerce_json_string(&w, p, sizeof(urn) - 1 + len);
    commerce_json_key(&w, "title");
    commerce_json_cstring(&w, problem->title);
    commerce_json_key(&w, "status");
    commerce_json_integer(&w, problem->status);
    commerce_json_key(&w, "detail");
    commerce_json_cstring(&w, call->detail ? call->detail : problem->title);
    commerce_json_key(&w, "code");
    commerce_json_cstring(&w, problem->code);
    commerce_json_key(&w, "request_id");
    commerce_json_string(&w, ctx->request_id.data, ctx->request_id.len);

    if (call->problem == COMMERCE_FORBIDDEN && call->scope.len) {
        commerce_json_key(&w, "scope");
        commerce_json_string(&w, call->scope.data, call->scope.len);
    }

    if (call->errors != NULL && call->errors->n != 0) {
        commerce_json_key(&w, "errors");
        commerce_json_array_open(&w);

        for (i = 0; i < call->errors->n; i++) {
            error = &call->errors->errors[i];

            commerce_json_object_open(&w);
            commerce_json_key(&w, "pointer");
            commerce_json_string(&w, error->pointer.data, error->pointer.len);
            commerce_json_key(&w, "code");
            commerce_json_cstring(&w, error->code);
            commerce_json_key(&w, "message");
            commerce_json_cstring(&w, error->message);
            commerce_json_object_close(&w);
        }

        commerce_json_array_close(&w);
    }

    if (call->extra.len) {
        commerce_json_bytes(&w, ",", 1);
        commerce_json_bytes(&w, call->extra.data, call->extra.len);
    }

    commerce_json_object_close(&w);

    if (w.failed) {
        return NGX_ERROR;
    }

    body->data = w.start;
    body->len = w.last - w.start;

    return NGX_OK;
}


static ngx_int_t
ngx_http_commerce_send_headers(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx)
{
    ngx_str_t             value;
    ngx_commerce_call_t  *call;

    call = ctx->call;

    if (ctx->request_id.len
        && ngx_http_commerce_header(r, "X-Request-Id", &ctx->request_id)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* not headers_out.location: nginx would make its own host of it */
    if (call->location.len
        && ngx_http_commerce_header(r, "Location", &call->location) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (call->etag.len) {
        if (ngx_http_commerce_header(r, "ETag", &call->etag) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    /* the preconditions were the use case's; nginx must not judge again */
    r->disable_not_modified = 1;

    if (ngx_http_commerce_header_text(r, "Cache-Control",
                                      (call->cacheable && !call->problem)
                                      ? "public, max-age=0, must-revalidate"
                                      : "no-store")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (call->retry_after) {
        value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
        if (value.data == NULL) {
            return NGX_ERROR;
        }

        value.len = ngx_sprintf(value.data, "%ui", call->retry_after)
                    - value.data;

        if (ngx_http_commerce_header(r, "Retry-After", &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (call->replayed
        && ngx_http_commerce_header_text(r, "Idempotent-Replayed", "true")
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->allow.len
        && ngx_http_commerce_header(r, "Allow", &ctx->allow) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (call->problem == COMMERCE_UNAUTHENTICATED
        || call->problem == COMMERCE_FORBIDDEN)
    {
        return ngx_http_commerce_authenticate(r, call);
    }

    return NGX_OK;
}


/* RFC 6750: what to bring along. */

static ngx_int_t
ngx_http_commerce_authenticate(ngx_http_request_t *r,
    ngx_commerce_call_t *call)
{
    u_char      *p;
    ngx_str_t    value;
    const char  *error;

    if (call->problem == COMMERCE_FORBIDDEN) {
        error = ", error=\"insufficient_scope\"";

    } else if (call->authorization.data != NULL) {
        error = ", error=\"invalid_token\"";

    } else {
        error = "";
    }

    p = ngx_pnalloc(r->pool, sizeof("Bearer realm=\"commerce\", scope=\"\"")
                             + sizeof(", error=\"insufficient_scope\"")
                             + call->scope.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;

    p = ngx_sprintf(p, "Bearer realm=\"commerce\"%s", error);

    if (call->scope.len) {
        p = ngx_sprintf(p, ", scope=\"%V\"", &call->scope);
    }

    value.len = p - value.data;

    return ngx_http_commerce_header(r, "WWW-Authenticate", &value);
}


static void
ngx_http_commerce_status(ngx_http_request_t *r, ngx_uint_t status)
{
    r->headers_out.status = status;

    switch (status) {

    case 422:
        r->headers_out.status_line = ngx_http_commerce_422;
        break;

    case 428:
        r->headers_out.status_line = ngx_http_commerce_428;
        break;

    default:
        ngx_str_null(&r->headers_out.status_line);
    }
}


static ngx_int_t
ngx_http_commerce_output(ngx_http_request_t *r, ngx_str_t *body)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    if (body->len) {
        b->pos = body->data;
        b->last = body->data + body->len;
        b->memory = 1;
    }

    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_http_commerce_send_text(ngx_http_request_t *r, ngx_uint_t status,
    const char *type, ngx_str_t *body)
{
    if (ngx_http_discard_request_body(r) != NGX_OK) {
        r->keepalive = 0;
    }

    r->disable_not_modified = 1;

    if (ngx_http_commerce_header_text(r, "Cache-Control", "no-store")
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_commerce_status(r, status);

    r->headers_out.content_length_n = body->len;
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type.len = ngx_strlen(type);
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    return ngx_http_commerce_output(r, body);
}


ngx_int_t
ngx_http_commerce_header_text(ngx_http_request_t *r, const char *name,
    const char *value)
{
    ngx_str_t  s;

    s.data = (u_char *) value;
    s.len = ngx_strlen(value);

    return ngx_http_commerce_header(r, name, &s);
}


ngx_int_t
ngx_http_commerce_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value = *value;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    /* the gzip filter has to know an ETag to weaken it */
    if (h->key.len == 4 && ngx_strcmp(name, "ETag") == 0) {
        r->headers_out.etag = h;
    }

    return NGX_OK;
}
