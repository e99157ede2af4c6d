/*
 * Which use case a method and a path mean.
 */

#include "ngx_http_commerce.h"


static const ngx_http_commerce_route_t *ngx_http_commerce_find(
    ngx_http_request_t *r, ngx_uint_t role, ngx_str_t *path, ngx_str_t *id,
    ngx_str_t *sub, ngx_uint_t *methods);
static ngx_int_t ngx_http_commerce_match(
    const ngx_http_commerce_route_t *route, ngx_str_t *path, ngx_str_t *id,
    ngx_str_t *sub);
static ngx_int_t ngx_http_commerce_segment(ngx_commerce_call_t *call,
    ngx_str_t *src, ngx_str_t *dst, ngx_uint_t decoded);
static ngx_uint_t ngx_http_commerce_path(ngx_http_request_t *r,
    ngx_str_t *path);
static ngx_int_t ngx_http_commerce_decode(ngx_str_t *src, ngx_str_t *dst,
    ngx_pool_t *pool);
static ngx_uint_t ngx_http_commerce_has_dots(ngx_str_t *id);
static ngx_int_t ngx_http_commerce_target(ngx_http_request_t *r,
    ngx_commerce_call_t *call, const ngx_http_commerce_route_t *route);
static ngx_int_t ngx_http_commerce_allow(ngx_http_commerce_ctx_t *ctx,
    ngx_uint_t methods);


/* The location is the path: whatever its name, it drains. */
static const ngx_http_commerce_route_t  ngx_http_commerce_drain_route = {
    NGX_HTTP_GET, NGX_HTTP_COMMERCE_DRAIN,
    ngx_null_string, ngx_null_string, 0,
    NGX_COMMERCE_OP_OTHER, ngx_null_string,
    ngx_commerce_guard_none, ngx_commerce_trade_drain
};


static const struct {
    ngx_uint_t   method;
    const char  *name;
} ngx_http_commerce_methods[] = {
    { NGX_HTTP_GET, "GET, HEAD" },
    { NGX_HTTP_POST, "POST" },
    { NGX_HTTP_PUT, "PUT" },
    { NGX_HTTP_PATCH, "PATCH" },
    { NGX_HTTP_DELETE, "DELETE" },
    { 0, NULL }
};


void
ngx_http_commerce_route(ngx_http_request_t *r, ngx_http_commerce_ctx_t *ctx,
    ngx_uint_t role)
{
    ngx_str_t                         path, id, sub;
    ngx_uint_t                        methods, decoded;
    ngx_commerce_call_t              *call;
    const ngx_http_commerce_route_t  *route;

    call = ctx->call;
    methods = 0;
    decoded = 1;
    ngx_str_null(&id);
    ngx_str_null(&sub);

    if (role == NGX_HTTP_COMMERCE_DRAIN) {
        route = &ngx_http_commerce_drain_route;

        if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
            methods = NGX_HTTP_GET;
            route = NULL;
        }

    } else {
        decoded = ngx_http_commerce_path(r, &path);
        route = ngx_http_commerce_find(r, role, &path, &id, &sub, &methods);
    }

    if (route == NULL) {
        call->operation = NGX_COMMERCE_OP_OTHER;

        if (methods == 0) {
            ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
            return;
        }

        if (ngx_http_commerce_allow(ctx, methods) != NGX_OK) {
            ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
            return;
        }

        ngx_commerce_refuse(call, COMMERCE_METHOD_NOT_ALLOWED, NULL);
        return;
    }

    call->operation = route->operation;
    call->scope = route->scope;

    if ((route->flags & NGX_HTTP_COMMERCE_ID)
        && ngx_http_commerce_segment(call, &id, &call->id, decoded) != NGX_OK)
    {
        return;
    }

    if ((route->flags & NGX_HTTP_COMMERCE_SUB)
        && ngx_http_commerce_segment(call, &sub, &call->sub, decoded)
           != NGX_OK)
    {
        return;
    }

    if (ngx_http_commerce_target(r, call, route) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    ctx->route = route;
}


/* A part of the path as the use case gets it; NGX_ERROR: refused. */

static ngx_int_t
ngx_http_commerce_segment(ngx_commerce_call_t *call, ngx_str_t *src,
    ngx_str_t *dst, ngx_uint_t decoded)
{
    ngx_int_t  rc;

    if (decoded) {
        dst->data = ngx_pstrdup(call->pool, src);
        dst->len = src->len;
        rc = dst->data ? NGX_OK : NGX_ERROR;

    } else {
        rc = ngx_http_commerce_decode(src, dst, call->pool);
    }

    if (rc == NGX_DECLINED) {
        ngx_commerce_refuse(call, COMMERCE_BAD_REQUEST,
                            "malformed percent-encoding in the path");
        return NGX_ERROR;
    }

    if (rc != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    /* nginx chose the location by the path with its dots resolved */

    if (ngx_http_commerce_has_dots(dst)) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* NULL with *methods: another method would do. */

static const ngx_http_commerce_route_t *
ngx_http_commerce_find(ngx_http_request_t *r, ngx_uint_t role,
    ngx_str_t *path, ngx_str_t *id, ngx_str_t *sub, ngx_uint_t *methods)
{
    ngx_uint_t                        method;
    const ngx_http_commerce_route_t  *route;

    method = (r->method == NGX_HTTP_HEAD) ? NGX_HTTP_GET : r->method;

    for (route = ngx_http_commerce_routes; route->prefix.len; route++) {

        if (route->role != role
            || ngx_http_commerce_match(route, path, id, sub) != NGX_OK)
        {
            continue;
        }

        if (route->method == method) {
            return route;
        }

        *methods |= route->method;
    }

    return NULL;
}


static ngx_int_t
ngx_http_commerce_match(const ngx_http_commerce_route_t *route,
    ngx_str_t *path, ngx_str_t *id, ngx_str_t *sub)
{
    u_char  *p, *last, *slash;

    if (path->len < route->prefix.len
        || ngx_memcmp(path->data, route->prefix.data, route->prefix.len) != 0)
    {
        return NGX_DECLINED;
    }

    p = path->data + route->prefix.len;
    last = path->data + path->len;

    if (!(route->flags & NGX_HTTP_COMMERCE_ID)) {
        return p == last ? NGX_OK : NGX_DECLINED;
    }

    /* a slash that is part of the id comes as %2F */

    slash = ngx_strlchr(p, last, '/');

    if (slash == NULL) {
        slash = last;
    }

    if (slash == p
        || (size_t) (last - slash) < route->suffix.len
        || ngx_memcmp(slash, route->suffix.data, route->suffix.len) != 0)
    {
        return NGX_DECLINED;
    }

    id->data = p;
    id->len = slash - p;

    p = slash + route->suffix.len;

    if (!(route->flags & NGX_HTTP_COMMERCE_SUB)) {
        return p == last ? NGX_OK : NGX_DECLINED;
    }

    sub->data = p;
    sub->len = last - p;

    return p < last && ngx_strlchr(p, last, '/') == NULL
           ? NGX_OK : NGX_DECLINED;
}


/*
 * The path as the client sent it, so that %2F is no separator; after a rewrite
 * what nginx has made of it, which is decoded: 1.
 */

static ngx_uint_t
ngx_http_commerce_path(ngx_http_request_t *r, ngx_str_t *path)
{
    u_char  *p, *last;

    if (!r->valid_unparsed_uri) {
        *path = r->uri;
        return 1;
    }

    *path = r->unparsed_uri;
    last = path->data + path->len;

    for (p = path->data; p < last; p++) {
        if (*p == '?' || *p == '#') {
            break;
        }
    }

    path->len = p - path->data;

    return 0;
}


/* NGX_DECLINED: malformed, or the zero byte. */

static ngx_int_t
ngx_http_commerce_decode(ngx_str_t *src, ngx_str_t *dst, ngx_pool_t *pool)
{
    u_char     *p, *last, *out;
    ngx_int_t   c;

    out = ngx_pnalloc(pool, src->len + 1);
    if (out == NULL) {
        return NGX_ERROR;
    }

    dst->data = out;

    last = src->data + src->len;

    for (p = src->data; p < last; p++) {

        if (*p != '%') {
            *out++ = *p;
            continue;
        }

        if (last - p < 3) {
            return NGX_DECLINED;
        }

        c = ngx_hextoi(p + 1, 2);

        if (c == NGX_ERROR || c == 0) {
            return NGX_DECLINED;
        }

        *out++ = (u_char) c;
        p += 2;
    }

    dst->len = out - dst->data;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_commerce_has_dots(ngx_str_t *id)
{
    u_char  *p, *last, *start;

    last = id->data + id->len;
    start = id->data;

    for (p = id->data; p <= last; p++) {

        if (p < last && *p != '/') {
            continue;
        }

        if ((p - start == 1 && start[0] == '.')
            || (p - start == 2 && start[0] == '.' && start[1] == '.'))
        {
            return 1;
        }

        start = p + 1;
    }

    return 0;
}


/* Only writes have a digest to take it. */

static ngx_int_t
ngx_http_commerce_target(ngx_http_request_t *r, ngx_commerce_call_t *call,
    const ngx_http_commerce_route_t *route)
{
    u_char  *p;

    if (route->method == NGX_HTTP_GET) {
        return NGX_OK;
    }

    p = ngx_pnalloc(call->pool, r->method_name.len + 1 + route->prefix.len
                                + call->id.len + route->suffix.len
                                + call->sub.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    call->target.data = p;

    p = ngx_cpymem(p, r->method_name.data, r->method_name.len);
    *p++ = ' ';
    p = ngx_cpymem(p, route->prefix.data, route->prefix.len);
    p = ngx_cpymem(p, call->id.data, call->id.len);
    p = ngx_cpymem(p, route->suffix.data, route->suffix.len);
    p = ngx_cpymem(p, call->sub.data, call->sub.len);

    call->target.len = p - call->target.data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_commerce_allow(ngx_http_commerce_ctx_t *ctx, ngx_uint_t methods)
{
    u_char      *p;
    ngx_uint_t   i;

    p = ngx_pnalloc(ctx->call->pool, sizeof("GET, HEAD, POST, PUT, PATCH, "
                                            "DELETE"));
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->allow.data = p;

    for (i = 0; ngx_http_commerce_methods[i].name != NULL; i++) {

        if (!(methods & ngx_http_commerce_methods[i].method)) {
            continue;
        }

        if (p != ctx->allow.data) {
            *p++ = ',';
            *p++ = ' ';
        }

        p = ngx_cpymem(p, ngx_http_commerce_methods[i].name,
                       ngx_strlen(ngx_http_commerce_methods[i].name));
    }

    ctx->allow.len = p - ctx->allow.data;

    return NGX_OK;
}
