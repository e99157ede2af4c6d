/* Who the staff are: API keys and their scopes. */

#include "ngx_commerce_engine.h"


#define NGX_COMMERCE_API_KEYS        64     /* a power of two */
#define NGX_COMMERCE_API_KEY_FRESH   5000   /* milliseconds */
#define NGX_COMMERCE_API_KEY_NAME    255    /* bytes */
#define NGX_COMMERCE_API_KEY_SCOPES  1024   /* bytes */

#define NGX_COMMERCE_API_KEY_PREFIX  "nck_"


/* A key that the database knew a moment ago. */
typedef struct {
    u_char                      digest[NGX_COMMERCE_DIGEST_LEN];
    commerce_uuid_t             id;
    ngx_msec_t                  until;
    size_t                      name_len;
    size_t                      scopes_len;
    u_char                      name[NGX_COMMERCE_API_KEY_NAME];
    u_char                      scopes[NGX_COMMERCE_API_KEY_SCOPES];
    unsigned                    used:1;
} ngx_commerce_api_key_t;


typedef struct {
    ngx_commerce_pg_op_t        op;
    u_char                      digest[NGX_COMMERCE_DIGEST_LEN];
    commerce_uuid_t             id;
    ngx_str_t                   name;
    ngx_str_t                   scopes;     /* one on a line */
    unsigned                    found:1;
    unsigned                    failed:1;
} ngx_commerce_staff_t;


static ngx_commerce_api_key_t *ngx_commerce_staff_slot(
    ngx_commerce_trade_t *trade, const u_char *digest);
static ngx_int_t ngx_commerce_staff_cached(ngx_commerce_call_t *call,
    ngx_commerce_staff_t *staff);
static void ngx_commerce_staff_keep(ngx_commerce_call_t *call,
    ngx_commerce_staff_t *staff);
static ngx_int_t ngx_commerce_staff_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_staff_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_staff_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_staff_decide(ngx_commerce_call_t *call,
    ngx_commerce_staff_t *staff);
static ngx_uint_t ngx_commerce_staff_may(ngx_str_t *scopes, ngx_str_t *scope);
static void ngx_commerce_staff_forbid(ngx_commerce_call_t *call);


ngx_int_t
ngx_commerce_staff_start(ngx_commerce_trade_t *trade)
{
    trade->api_keys = ngx_pcalloc(trade->cycle->pool,
                                  NGX_COMMERCE_API_KEYS
                                  * sizeof(ngx_commerce_api_key_t));

    return trade->api_keys ? NGX_OK : NGX_ERROR;
}


void
ngx_commerce_guard_staff(ngx_commerce_call_t *call)
{
    ngx_str_t              token;
    ngx_commerce_staff_t  *staff;

    if (call->authorization.data == NULL
        || ngx_commerce_bearer(&call->authorization, &token) != NGX_OK
        || token.len > NGX_COMMERCE_API_KEY_MAX
        || token.len < sizeof(NGX_COMMERCE_API_KEY_PREFIX)
        || ngx_strncmp(token.data, NGX_COMMERCE_API_KEY_PREFIX,
                       sizeof(NGX_COMMERCE_API_KEY_PREFIX) - 1)
           != 0)
    {
        ngx_commerce_refuse(call, COMMERCE_UNAUTHENTICATED, NULL);
        return;
    }

    staff = ngx_pcalloc(call->pool, sizeof(ngx_commerce_staff_t));

    if (staff == NULL
        || ngx_commerce_digest(staff->digest, &token, 1) != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    if (ngx_commerce_staff_cached(call, staff) == NGX_OK) {
        ngx_commerce_staff_decide(call, staff);
        return;
    }

    call->data = staff;

    staff->op.build = ngx_commerce_staff_build;
    staff->op.result = ngx_commerce_staff_result;
    staff->op.done = ngx_commerce_staff_done;

    ngx_commerce_call_read(call, &staff->op);
}


/* A digest's bytes are as good as random: they are their own hash. */

static ngx_commerce_api_key_t *
ngx_commerce_staff_slot(ngx_commerce_trade_t *trade, const u_char *digest)
{
    ngx_commerce_api_key_t  *keys;

    keys = trade->api_keys;

    return &keys[digest[0] & (NGX_COMMERCE_API_KEYS - 1)];
}


static ngx_int_t
ngx_commerce_staff_cached(ngx_commerce_call_t *call,
    ngx_commerce_staff_t *staff)
{
    u_char                  *p;
    ngx_commerce_api_key_t  *key;

    key = ngx_commerce_staff_slot(call->trade, staff->digest);

    if (!key->used) {
        return NGX_DECLINED;
    }

    if ((ngx_msec_int_t) (key->until - ngx_current_msec) <= 0) {
        ngx_commerce_wipe(key, sizeof(ngx_commerce_api_key_t));
        return NGX_DECLINED;
    }

    if (!ngx_commerce_equal(key->digest, staff->digest,
                            NGX_COMMERCE_DIGEST_LEN))
    {
        return NGX_DECLINED;
    }

    /* the slot may be another key's before the call ends */

    p = ngx_pnalloc(call->pool, key->name_len + key->scopes_len + 1);
    if (p == NULL) {
        return NGX_DECLINED;
    }

    staff->id = key->id;
    staff->name.data = p;
    staff->name.len = key->name_len;
    p = ngx_cpymem(p, key->name, key->name_len);
    staff->scopes.data = p;
    staff->scopes.len = key->scopes_len;
    ngx_memcpy(p, key->scopes, key->scopes_len);

    return NGX_OK;
}


static void
ngx_commerce_staff_keep(ngx_commerce_call_t *call,
    ngx_commerce_staff_t *staff)
{
    ngx_commerce_api_key_t  *key;

    if (staff->name.len > NGX_COMMERCE_API_KEY_NAME
        || staff->scopes.len > NGX_COMMERCE_API_KEY_SCOPES)
    {
        return;
    }

    key = ngx_commerce_staff_slot(call->trade, staff->digest);

    ngx_commerce_wipe(key, sizeof(ngx_commerce_api_key_t));

    ngx_memcpy(key->digest, staff->digest, NGX_COMMERCE_DIGEST_LEN);
    key->id = staff->id;
    key->until = ngx_current_msec + NGX_COMMERCE_API_KEY_FRESH;
    key->name_len = staff->name.len;
    ngx_memcpy(key->name, staff->name.data, staff->name.len);
    key->scopes_len = staff->scopes.len;
    ngx_memcpy(key->scopes, staff->scopes.data, staff->scopes.len);
    key->used = 1;
}


static ngx_int_t
ngx_commerce_staff_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t      *call;
    ngx_commerce_staff_t     *staff;
    ngx_commerce_pg_query_t  *q;

    call = op->data;
    staff = call->data;

    q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_API_KEY, 1);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_bytea(q, 1, staff->digest, NGX_COMMERCE_DIGEST_LEN);

    return NGX_OK;
}


static void
ngx_commerce_staff_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_str_t              text;
    ngx_commerce_call_t   *call;
    ngx_commerce_staff_t  *staff;

    call = op->data;
    staff = call->data;

    if (PQntuples(res) != 1) {
        return;
    }

    staff->found = 1;

    ngx_commerce_pg_get_uuid(res, 0, 0, &staff->id);

    text = ngx_commerce_pg_get_text(res, 0, 1);
    staff->name.len = text.len;
    staff->name.data = ngx_pstrdup(call->pool, &text);

    text = ngx_commerce_pg_get_text(res, 0, 2);
    staff->scopes.len = text.len;
    staff->scopes.data = ngx_pstrdup(call->pool, &text);

    if (staff->name.data == NULL || staff->scopes.data == NULL) {
        staff->failed = 1;
    }
}


static void
ngx_commerce_staff_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t   *call;
    ngx_commerce_staff_t  *staff;

    call = op->data;
    staff = call->data;

    call->data = NULL;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_refuse(call, COMMERCE_UNAVAILABLE, NULL);
        return;
    }

    if (staff->failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    if (!staff->found) {
        ngx_commerce_refuse(call, COMMERCE_UNAUTHENTICATED, NULL);
        return;
    }

    ngx_commerce_staff_keep(call, staff);
    ngx_commerce_staff_decide(call, staff);
}


static void
ngx_commerce_staff_decide(ngx_commerce_call_t *call,
    ngx_commerce_staff_t *staff)
{
    u_char  *p;

    static ngx_str_t  stock = ngx_string("stock:write");

    if (!ngx_commerce_staff_may(&staff->scopes, &call->scope)) {
        ngx_commerce_staff_forbid(call);
        return;
    }

    p = ngx_pnalloc(call->pool, sizeof("key:") - 1 + staff->name.len);
    if (p == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    call->actor.data = p;
    p = ngx_cpymem(p, "key:", sizeof("key:") - 1);
    p = ngx_cpymem(p, staff->name.data, staff->name.len);
    call->actor.len = (size_t) (p - call->actor.data);
    call->actor_id = staff->id;

    call->staff = 1;
    call->may_stock = ngx_commerce_staff_may(&staff->scopes, &stock);

    call->proceed(call);
}


/* "*", the scope itself, or "products:*" for "products:write". */

static ngx_uint_t
ngx_commerce_staff_may(ngx_str_t *scopes, ngx_str_t *scope)
{
    size_t   len;
    u_char  *p, *end, *next;

    p = scopes->data;
    end = p + scopes->len;

    for ( /* void */ ; p < end; p = next + 1) {

        next = ngx_strlchr(p, end, '\n');

        if (next == NULL) {
            next = end;
        }

        len = (size_t) (next - p);

        if (len == 1 && *p == '*') {
            return 1;
        }

        if (len == scope->len && ngx_strncmp(p, scope->data, len) == 0) {
            return 1;
        }

        if (len > 2 && p[len - 1] == '*' && p[len - 2] == ':'
            && scope->len >= len
            && ngx_strncmp(p, scope->data, len - 1) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static void
ngx_commerce_staff_forbid(ngx_commerce_call_t *call)
{
    u_char  *detail;

    detail = ngx_pnalloc(call->pool, sizeof("the key lacks the scope ")
                                     + call->scope.len);
    if (detail) {
        ngx_sprintf(detail, "the key lacks the scope %V%Z", &call->scope);
    }

    ngx_commerce_refuse(call, COMMERCE_FORBIDDEN, (char *) detail);
}
