#include "ngx_commerce_engine.h"


#define NGX_COMMERCE_KEY_MAX  255


static ngx_int_t ngx_commerce_digest_uuid(commerce_uuid_t *uuid,
    ngx_str_t *parts, ngx_uint_t n);
static void ngx_commerce_call_submit(ngx_commerce_call_t *call,
    ngx_commerce_pg_pool_t *pool, ngx_commerce_pg_op_t *op);


uint64_t
ngx_commerce_clock(void)
{
    struct timespec  ts;

    if (clock_gettime(CLOCK_MONOTONIC, &ts) == -1) {
        return 0;
    }

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


void
ngx_commerce_guard_none(ngx_commerce_call_t *call)
{
    call->proceed(call);
}


void
ngx_commerce_answer(ngx_commerce_call_t *call, ngx_uint_t status,
    ngx_str_t *body)
{
    if (call->answered) {
        ngx_log_error(NGX_LOG_ALERT, call->log, 0,
                      "commerce: a call was answered twice");
        return;
    }

    call->answered = 1;
    call->status = status;
    call->problem = COMMERCE_NO_PROBLEM;

    if (body) {
        call->answer = *body;

    } else {
        ngx_str_null(&call->answer);
    }

    call->done(call);
}


void
ngx_commerce_refuse(ngx_commerce_call_t *call, commerce_problem_e problem,
    const char *detail)
{
    if (call->answered) {
        ngx_log_error(NGX_LOG_ALERT, call->log, 0,
                      "commerce: a call was answered twice");
        return;
    }

    if (call->stored && commerce_problem(problem)->status >= 500) {
        problem = COMMERCE_OUTCOME_UNKNOWN;
        detail = "it is stored, or may be: look, or send the same key again";
        call->errors = NULL;
        ngx_str_null(&call->extra);
    }

    call->answered = 1;
    call->replayed = 0;
    call->problem = problem;
    call->status = (ngx_uint_t) commerce_problem(problem)->status;
    call->detail = detail;
    ngx_str_null(&call->answer);

    if (call->retry_after == 0
        && (call->status == 503 || problem == COMMERCE_IN_PROGRESS))
    {
        call->retry_after = 1;
    }

    call->done(call);
}


void *
ngx_commerce_palloc(void *pool, size_t size)
{
    return ngx_palloc(pool, size);
}


ngx_int_t
ngx_commerce_argument(ngx_commerce_call_t *call, const char *name,
    ngx_str_t *value)
{
    size_t   len;
    u_char  *p, *end, *next, *src, *dst;

    len = ngx_strlen(name);
    p = call->query.data;
    end = p + call->query.len;

    for ( /* void */ ; p < end; p = next + 1) {

        next = ngx_strlchr(p, end, '&');

        if (next == NULL) {
            next = end;
        }

        if ((size_t) (next - p) <= len || p[len] != '='
            || ngx_strncmp(p, name, len) != 0)
        {
            continue;
        }

        src = p + len + 1;

        dst = ngx_pnalloc(call->pool, (size_t) (next - src) + 1);
        if (dst == NULL) {
            return NGX_ERROR;
        }

        value->data = dst;
        len = (size_t) (next - src);

        /* a plus is a space in the query string only */
        for (p = src; p < next; p++) {
            dst[p - src] = *p == '+' ? ' ' : *p;
        }

        src = dst;
        ngx_unescape_uri(&dst, &src, len, 0);

        value->len = (size_t) (dst - value->data);

        return NGX_OK;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_commerce_digest_uuid(commerce_uuid_t *uuid, ngx_str_t *parts,
    ngx_uint_t n)
{
    u_char  digest[NGX_COMMERCE_DIGEST_LEN];

    if (ngx_commerce_digest(digest, parts, n) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memcpy(uuid->bytes, digest, sizeof(uuid->bytes));

    return NGX_OK;
}


ngx_int_t
ngx_commerce_call_key(ngx_commerce_call_t *call, ngx_str_t *scope,
    commerce_uuid_t *idem)
{
    ngx_str_t  parts[2];

    parts[0] = *scope;
    parts[1] = call->idempotency_key;

    return ngx_commerce_digest_uuid(idem, parts, 2);
}


ngx_int_t
ngx_commerce_call_fingerprint(ngx_commerce_call_t *call,
    commerce_uuid_t *fingerprint)
{
    ngx_str_t  parts[2];

    parts[0] = call->target;
    parts[1] = call->body;

    return ngx_commerce_digest_uuid(fingerprint, parts, 2);
}


ngx_int_t
ngx_commerce_call_key_check(ngx_commerce_call_t *call, ngx_uint_t min,
    ngx_uint_t required)
{
    size_t      i;
    ngx_str_t  *key;

    key = &call->idempotency_key;

    if (key->data == NULL) {

        if (!required) {
            return NGX_DECLINED;
        }

        ngx_commerce_refuse(call, COMMERCE_IDEMPOTENCY_KEY_MISSING, NULL);
        return NGX_ERROR;
    }

    if (key->len < min || key->len == 0) {
        ngx_commerce_refuse(call, COMMERCE_IDEMPOTENCY_KEY_INVALID,
                            min > 1 ? "a guest's key has at least 16 "
                                      "characters"
                                    : "the key is empty");
        return NGX_ERROR;
    }

    if (key->len > NGX_COMMERCE_KEY_MAX) {
        ngx_commerce_refuse(call, COMMERCE_IDEMPOTENCY_KEY_INVALID,
                            "a key has at most 255 characters");
        return NGX_ERROR;
    }

    for (i = 0; i < key->len; i++) {

        if (key->data[i] < 0x20 || key->data[i] > 0x7e) {
            ngx_commerce_refuse(call, COMMERCE_IDEMPOTENCY_KEY_INVALID,
                                "a key has printable ASCII characters only");
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_commerce_call_uuid(commerce_uuid_t *id)
{
    u_char       random[10];
    ngx_time_t  *now;

    if (ngx_commerce_random(random, sizeof(random)) != NGX_OK) {
        return NGX_ERROR;
    }

    now = ngx_timeofday();

    commerce_uuid_v7(id, (uint64_t) now->sec * 1000 + now->msec, random);

    return NGX_OK;
}


commerce_json_errors_t *
ngx_commerce_call_errors(ngx_commerce_call_t *call)
{
    commerce_json_errors_t  *errors;

    errors = ngx_palloc(call->pool, sizeof(commerce_json_errors_t));

    if (errors == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NULL;
    }

    commerce_json_errors_init(errors, ngx_commerce_palloc, call->pool);

    return errors;
}


void
ngx_commerce_call_invalid(ngx_commerce_call_t *call,
    commerce_json_errors_t *errors)
{
    if (errors->failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    call->errors = errors;

    ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST,
                        "members of the request are not valid");
}


ngx_int_t
ngx_commerce_call_limit(ngx_commerce_call_t *call, ngx_uint_t dflt,
    ngx_uint_t max, ngx_uint_t *limit)
{
    ngx_int_t  rc, n;
    ngx_str_t  value;

    *limit = dflt;

    rc = ngx_commerce_argument(call, "limit", &value);

    if (rc == NGX_DECLINED) {
        return NGX_OK;
    }

    if (rc != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    n = ngx_atoi(value.data, value.len);

    if (n < 1 || (ngx_uint_t) n > max) {
        ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST,
                            "the argument \"limit\" is out of range");
        return NGX_ERROR;
    }

    *limit = (ngx_uint_t) n;

    return NGX_OK;
}


/* A lost read harms nobody: only a write leaves a question behind, and only
   a write has a target. */

ngx_uint_t
ngx_commerce_call_is_read(ngx_commerce_call_t *call)
{
    return call->target.len == 0
           || (call->target.len > 4
               && ngx_strncmp(call->target.data, "GET ", 4) == 0);
}


ngx_commerce_pg_outcome_e
ngx_commerce_call_error(const char *sqlstate)
{
    return ngx_strcmp(sqlstate, "55P03") == 0
           || ngx_strcmp(sqlstate, "40P01") == 0
           ? NGX_COMMERCE_PG_NOT_SENT : NGX_COMMERCE_PG_FAILED;
}


void
ngx_commerce_call_failed(ngx_commerce_call_t *call,
    ngx_commerce_pg_outcome_e outcome)
{
    switch (outcome) {

    case NGX_COMMERCE_PG_NOT_SENT:
        ngx_commerce_refuse(call, COMMERCE_UNAVAILABLE, NULL);
        return;

    case NGX_COMMERCE_PG_UNKNOWN:
        ngx_commerce_refuse(call, ngx_commerce_call_is_read(call)
                                  ? COMMERCE_UNAVAILABLE
                                  : COMMERCE_OUTCOME_UNKNOWN, NULL);
        return;

    default:    /* FAILED; COMMITTED: what was read made no sense */
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
    }
}


void
ngx_commerce_call_read(ngx_commerce_call_t *call, ngx_commerce_pg_op_t *op)
{
    ngx_commerce_call_submit(call, call->trade->reads, op);
}


void
ngx_commerce_call_write(ngx_commerce_call_t *call, ngx_commerce_pg_op_t *op)
{
    ngx_commerce_call_submit(call, call->trade->writes, op);
}


void
ngx_commerce_call_db_time(ngx_commerce_call_t *call, ngx_commerce_pg_op_t *op)
{
    if (op->sent) {
        call->db_usec += (uint64_t) (ngx_current_msec - op->sent) * 1000;
    }
}


static void
ngx_commerce_call_submit(ngx_commerce_call_t *call,
    ngx_commerce_pg_pool_t *pool, ngx_commerce_pg_op_t *op)
{
    if (op->data == NULL) {
        op->data = call;
    }

    op->deadline = ngx_current_msec + call->trade->conf->queue_timeout;

    /* 0 is no deadline */
    if (op->deadline == 0) {
        op->deadline = 1;
    }

    if (ngx_commerce_pg_submit(pool, op) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_OVERLOADED, NULL);
    }
}
