/*
 * The life of a request: headers, guard, body, JSON, handler, answer.
 *
 * ngx_http_commerce_advance() walks these steps as far as it can.  Where it
 * has to wait it returns NGX_AGAIN, and whatever happens next calls
 * ngx_http_commerce_resume().  A call that trade/ works on when its client
 * leaves is cut off from the request and ends on its own.
 */

#include "ngx_http_commerce.h"


#define NGX_HTTP_COMMERCE_GET_POOL     2048     /* bytes, to begin with */
#define NGX_HTTP_COMMERCE_POST_POOL    8192

#define NGX_HTTP_COMMERCE_REQUEST_ID   128      /* bytes */


static ngx_http_commerce_ctx_t *ngx_http_commerce_create(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_commerce_headers(ngx_http_request_t *r,
    ngx_commerce_call_t *call);
static ngx_int_t ngx_http_commerce_copy(ngx_commerce_call_t *call,
    ngx_str_t *dst, ngx_str_t *src);
static void ngx_http_commerce_make_request_id(ngx_http_request_t *r,
    ngx_http_variable_value_t *vv);
static ngx_uint_t ngx_http_commerce_request_id_valid(ngx_str_t *value);
static ngx_int_t ngx_http_commerce_advance(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx);
static ngx_int_t ngx_http_commerce_step(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx);
static ngx_int_t ngx_http_commerce_wait(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx);
static void ngx_http_commerce_proceed(ngx_commerce_call_t *call);
static void ngx_http_commerce_done(ngx_commerce_call_t *call);
static void ngx_http_commerce_left(void *data);
static void ngx_http_commerce_free(void *data);


typedef struct {
    ngx_str_t   name;       /* lower case */
    size_t      offset;     /* of an ngx_str_t in the call */
} ngx_http_commerce_header_t;


static const ngx_http_commerce_header_t  ngx_http_commerce_headers_in[] = {
    { ngx_string("idempotency-key"),
      offsetof(ngx_commerce_call_t, idempotency_key) },
    { ngx_string("x-order-token"), offsetof(ngx_commerce_call_t, order_token) },
    { ngx_string("x-cart-token"), offsetof(ngx_commerce_call_t, cart_token) },
    { ngx_string("authorization"),
      offsetof(ngx_commerce_call_t, authorization) },
    { ngx_string("if-match"), offsetof(ngx_commerce_call_t, if_match) },
    { ngx_string("if-none-match"),
      offsetof(ngx_commerce_call_t, if_none_match) },
    { ngx_string("commerce-signature"),
      offsetof(ngx_commerce_call_t, signature) },
    { ngx_null_string, 0 }
};


ngx_int_t
ngx_http_commerce_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_http_commerce_ctx_t  *ctx;

    ctx = ngx_http_commerce_create(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_commerce_advance(r, ctx);

    if (rc == NGX_AGAIN) {
        if (!ctx->held) {
            r->main->count++;
            ctx->held = 1;
        }

        return NGX_DONE;
    }

    /* the caller finalizes its own count; this one was the body's */

    if (ctx->held) {
        r->main->count--;
        ctx->held = 0;
    }

    return rc;
}


static ngx_http_commerce_ctx_t *
ngx_http_commerce_create(ngx_http_request_t *r)
{
    ngx_pool_t               *pool;
    ngx_pool_cleanup_t       *cln;
    ngx_http_cleanup_t       *hcln;
    ngx_commerce_call_t      *call;
    ngx_http_commerce_ctx_t  *ctx;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_commerce_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_commerce_ctx_t));

    hcln = ngx_http_cleanup_add(r, 0);
    if (hcln == NULL) {
        return NULL;
    }

    pool = ngx_create_pool((r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
                           ? NGX_HTTP_COMMERCE_GET_POOL
                           : NGX_HTTP_COMMERCE_POST_POOL, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    call = ngx_pcalloc(pool, sizeof(ngx_commerce_call_t));
    if (call == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    call->pool = pool;
    call->log = ngx_cycle->log;
    call->trade = ngx_http_commerce_trade;
    ngx_commerce_trade_enter(call->trade);
    call->request = r;
    call->done = ngx_http_commerce_done;
    call->proceed = ngx_http_commerce_proceed;
    call->operation = NGX_COMMERCE_OP_OTHER;
    call->started = ngx_commerce_clock();
    call->ctx = ctx;

    ctx->call = call;
    ctx->operation = NGX_COMMERCE_OP_OTHER;

    cln->handler = ngx_http_commerce_free;

    hcln->handler = ngx_http_commerce_left;
    hcln->data = ctx;

    ngx_http_set_ctx(r, ctx, ngx_http_commerce_module);

    return ctx;
}


/* NGX_OK, NGX_DECLINED: a header came twice, or NGX_ERROR. */

static ngx_int_t
ngx_http_commerce_headers(ngx_http_request_t *r, ngx_commerce_call_t *call)
{
    ngx_str_t                         *value;
    ngx_uint_t                         i, n;
    ngx_list_part_t                   *part;
    ngx_table_elt_t                   *h;
    const ngx_http_commerce_header_t  *known;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        /* the shortest and the longest name of the table */
        if (h[i].key.len < 8 || h[i].key.len > 18) {
            continue;
        }

        for (n = 0; ngx_http_commerce_headers_in[n].name.len; n++) {

            known = &ngx_http_commerce_headers_in[n];

            if (h[i].key.len != known->name.len
                || ngx_memcmp(h[i].lowcase_key, known->name.data,
                              known->name.len)
                   != 0)
            {
                continue;
            }

            value = (ngx_str_t *) ((u_char *) call + known->offset);

            if (value->data != NULL) {
                return NGX_DECLINED;
            }

            if (ngx_http_commerce_copy(call, value, &h[i].value) != NGX_OK) {
                return NGX_ERROR;
            }

            break;
        }
    }

    return NGX_OK;
}


/* The copy of an empty string has data, too: it is there. */

static ngx_int_t
ngx_http_commerce_copy(ngx_commerce_call_t *call, ngx_str_t *dst,
    ngx_str_t *src)
{
    dst->data = ngx_pnalloc(call->pool, src->len + 1);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, src->data, src->len);
    dst->data[src->len] = '\0';
    dst->len = src->len;

    return NGX_OK;
}


/* The client's, if it is fit to be logged; else nginx's. */

ngx_str_t
ngx_http_commerce_request_id(ngx_http_request_t *r)
{
    ngx_str_t                       id;
    ngx_uint_t                      i;
    ngx_list_part_t                *part;
    ngx_table_elt_t                *h;
    ngx_http_variable_value_t      *vv;
    ngx_http_commerce_main_conf_t  *mcf;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == sizeof("x-request-id") - 1
            && ngx_memcmp(h[i].lowcase_key, "x-request-id",
                          sizeof("x-request-id") - 1)
               == 0)
        {
            if (ngx_http_commerce_request_id_valid(&h[i].value)) {
                return h[i].value;
            }

            break;
        }
    }

    ngx_str_null(&id);

    mcf = ngx_http_get_module_main_conf(r, ngx_http_commerce_module);

    vv = &r->variables[mcf->request_id];

    if (!vv->valid) {
        ngx_http_commerce_make_request_id(r, vv);
    }

    if (vv->valid) {
        id.len = vv->len;
        id.data = vv->data;
    }

    return id;
}


/*
 * $request_id, in nginx's own form, but from buffered randomness: nginx asks
 * OpenSSL anew for each request, which is a good part of a cached answer.
 */

static void
ngx_http_commerce_make_request_id(ngx_http_request_t *r,
    ngx_http_variable_value_t *vv)
{
    u_char  *p, bytes[16];

    p = ngx_pnalloc(r->pool, 2 * sizeof(bytes));

    if (p == NULL || ngx_commerce_random(bytes, sizeof(bytes)) != NGX_OK) {
        return;
    }

    ngx_hex_dump(p, bytes, sizeof(bytes));

    vv->data = p;
    vv->len = 2 * sizeof(bytes);
    vv->valid = 1;
    vv->no_cacheable = 0;
    vv->not_found = 0;
}


static ngx_uint_t
ngx_http_commerce_request_id_valid(ngx_str_t *value)
{
    u_char  *p, *last;

    if (value->len == 0 || value->len > NGX_HTTP_COMMERCE_REQUEST_ID) {
        return 0;
    }

    last = value->data + value->len;

    for (p = value->data; p < last; p++) {
        if (!((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z')
              || (*p >= '0' && *p <= '9') || *p == '.' || *p == '_'
              || *p == ':' || *p == '-'))
        {
            return 0;
        }
    }

    return 1;
}


/* NGX_AGAIN: waits; anything else is for ngx_http_finalize_request(). */

static ngx_int_t
ngx_http_commerce_advance(ngx_http_request_t *r, ngx_http_commerce_ctx_t *ctx)
{
    ngx_int_t  rc;

    ctx->running = 1;
    rc = NGX_OK;

    while (!ctx->answered && rc == NGX_OK) {
        rc = ngx_http_commerce_step(r, ctx);
    }

    ctx->running = 0;

    if (ctx->answered) {
        return ngx_http_commerce_send(r, ctx);
    }

    if (rc == NGX_AGAIN && ctx->import == NULL) {
        return ngx_http_commerce_wait(r, ctx);
    }

    return rc == NGX_ERROR ? NGX_HTTP_INTERNAL_SERVER_ERROR : rc;
}


static ngx_int_t
ngx_http_commerce_step(ngx_http_request_t *r, ngx_http_commerce_ctx_t *ctx)
{
    ngx_int_t                      rc;
    ngx_commerce_call_t           *call;
    ngx_http_commerce_loc_conf_t  *lcf;

    call = ctx->call;

    switch (ctx->step) {

    case NGX_HTTP_COMMERCE_ROUTE:
        ctx->step = NGX_HTTP_COMMERCE_GUARD;
        ctx->request_id = ngx_http_commerce_request_id(r);

        if (ngx_http_commerce_copy(call, &call->request_id, &ctx->request_id)
            != NGX_OK
            || ngx_http_commerce_copy(call, &call->query, &r->args) != NGX_OK)
        {
            return NGX_ERROR;
        }

        lcf = ngx_http_get_module_loc_conf(r, ngx_http_commerce_module);

        ngx_http_commerce_route(r, ctx, lcf->role);

        return NGX_OK;

    case NGX_HTTP_COMMERCE_GUARD:
        rc = ngx_http_commerce_headers(r, call);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_DECLINED) {
            ngx_commerce_refuse(call, COMMERCE_BAD_REQUEST,
                                "a header came more than once");
            return NGX_OK;
        }

        if (call->trade == NULL) {
            ngx_commerce_refuse(call, COMMERCE_UNAVAILABLE, NULL);
            return NGX_OK;
        }

        ctx->step = NGX_HTTP_COMMERCE_OPEN_BODY;
        ctx->in_trade = 1;

        ctx->route->guard(call);

        return NGX_OK;

    case NGX_HTTP_COMMERCE_OPEN_BODY:
        if (!ctx->proceeded) {
            return NGX_AGAIN;
        }

        return ngx_http_commerce_open_body(r, ctx);

    case NGX_HTTP_COMMERCE_READ_BODY:
        return ngx_http_commerce_read_body(r, ctx);

    case NGX_HTTP_COMMERCE_HANDLE:
        ctx->step = NGX_HTTP_COMMERCE_WAIT;
        ctx->in_trade = 1;

        ctx->route->handler(call);

        return NGX_OK;

    default: /* NGX_HTTP_COMMERCE_WAIT */
        return NGX_AGAIN;
    }
}


/* Lets a hang-up be seen while the request waits. */

static ngx_int_t
ngx_http_commerce_wait(ngx_http_request_t *r, ngx_http_commerce_ctx_t *ctx)
{
    ngx_event_t  *rev;

    if (r != r->main) {
        return NGX_AGAIN;
    }

    if (ctx->step == NGX_HTTP_COMMERCE_READ_BODY) {

        if (ctx->body_open) {
            r->read_event_handler = ngx_http_commerce_body_handler;
        }

        return NGX_AGAIN;
    }

    rev = r->connection->read;

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);

    } else if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_AGAIN;
}


/* From an event; r may be gone afterwards. */

void
ngx_http_commerce_resume(ngx_http_request_t *r, ngx_http_commerce_ctx_t *ctx)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    c = r->connection;

    rc = ngx_http_commerce_advance(r, ctx);

    if (rc != NGX_AGAIN) {
        ngx_http_finalize_request(r, rc);
    }

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_commerce_proceed(ngx_commerce_call_t *call)
{
    ngx_http_commerce_ctx_t  *ctx;

    if (call->request == NULL) {
        call->problem = COMMERCE_BAD_REQUEST;
        ngx_http_commerce_call_end(call);
        return;
    }

    ctx = call->ctx;

    ctx->in_trade = 0;
    ctx->proceeded = 1;

    if (!ctx->running) {
        ngx_http_commerce_resume(call->request, ctx);
    }
}


static void
ngx_http_commerce_done(ngx_commerce_call_t *call)
{
    ngx_http_commerce_ctx_t  *ctx;

    if (call->request == NULL) {
        ngx_http_commerce_call_end(call);
        return;
    }

    ctx = call->ctx;

    ctx->in_trade = 0;
    ctx->answered = 1;

    ngx_http_commerce_note(ctx, call);

    if (!ctx->running) {
        ngx_http_commerce_resume(call->request, ctx);
    }
}


void
ngx_http_commerce_call_end(ngx_commerce_call_t *call)
{
    if (call->trade != NULL) {
        ngx_http_commerce_main_conf_t  *mcf;

        mcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                                  ngx_http_commerce_module);

        if (mcf != NULL && mcf->commerce.zone != NULL) {
            ngx_commerce_count_request(mcf->commerce.zone, call->operation,
                                       call->problem);
        }
    }

    ngx_commerce_trade_leave(call->trade);
    ngx_destroy_pool(call->pool);
}


void
ngx_http_commerce_note(ngx_http_commerce_ctx_t *ctx, ngx_commerce_call_t *call)
{
    ctx->operation = call->operation;
    ctx->problem = call->problem;
    ctx->order_id = call->order_id;
    ctx->has_order_id = call->has_order_id;
    ctx->db_usec = call->db_usec;
    ctx->replayed = call->replayed;
}


/* The client hung up, or nginx has ended the request, answered or not. */

static void
ngx_http_commerce_left(void *data)
{
    ngx_http_commerce_ctx_t *ctx = data;

    ngx_commerce_call_t  *call;

    call = ctx->call;

    if (call == NULL || ctx->answered) {
        return;
    }

    ngx_http_commerce_note(ctx, call);

    if (ctx->import != NULL) {
        ngx_http_commerce_import_abandon(ctx);
        return;
    }

    call->request = NULL;

    if (ctx->in_trade) {
        ctx->left = 1;
        ctx->call = NULL;
    }
}


/* With r->pool: the answer's bytes are sent by then. */

static void
ngx_http_commerce_free(void *data)
{
    ngx_http_commerce_ctx_t *ctx = data;

    if (ctx->call != NULL) {
        ngx_commerce_trade_leave(ctx->call->trade);
        ngx_destroy_pool(ctx->call->pool);
    }
}
