/*
 * Parameters and results in PostgreSQL's binary format: big-endian integers,
 * and for arrays a header of ndim, flags, element type, length, lower bound.
 */

#include "ngx_commerce_pg.h"
#include "ngx_commerce_pg_statements.h"


#define NGX_COMMERCE_PG_ARRAY_HEADER  20
#define NGX_COMMERCE_PG_ARRAY_EMPTY   12
#define NGX_COMMERCE_PG_ARRAY_MAX     (256 * 1024 * 1024)


static u_char *ngx_commerce_pg_param(ngx_commerce_pg_query_t *q, int n,
    size_t len);
static void ngx_commerce_pg_set(ngx_commerce_pg_query_t *q, int n,
    const u_char *data, size_t len);
static u_char *ngx_commerce_pg_push(ngx_commerce_pg_array_t *a, size_t len);
static u_char *ngx_commerce_pg_push_fixed(ngx_commerce_pg_array_t *a,
    uint32_t type, size_t len);
static size_t ngx_commerce_pg_width(uint32_t type);
static const u_char *ngx_commerce_pg_value(PGresult *res, int row, int col,
    int len);


static ngx_inline void
ngx_commerce_pg_put2(u_char *p, uint16_t v)
{
    p[0] = (u_char) (v >> 8);
    p[1] = (u_char) v;
}


static ngx_inline void
ngx_commerce_pg_put4(u_char *p, uint32_t v)
{
    ngx_commerce_pg_put2(p, (uint16_t) (v >> 16));
    ngx_commerce_pg_put2(p + 2, (uint16_t) v);
}


static ngx_inline void
ngx_commerce_pg_put8(u_char *p, uint64_t v)
{
    ngx_commerce_pg_put4(p, (uint32_t) (v >> 32));
    ngx_commerce_pg_put4(p + 4, (uint32_t) v);
}


static ngx_inline uint32_t
ngx_commerce_pg_load4(const u_char *p)
{
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
           | (uint32_t) p[2] << 8 | (uint32_t) p[3];
}


ngx_commerce_pg_query_t *
ngx_commerce_pg_query(ngx_commerce_pg_op_t *op, ngx_uint_t statement,
    int nparams)
{
    int                       i;
    ngx_commerce_pg_query_t  *q;

    if (op->nqueries == NGX_COMMERCE_PG_QUERIES
        || nparams < 0 || nparams > 65535
        || ngx_commerce_pg_statement(statement) == NULL)
    {
        return NULL;
    }

    q = &op->queries[op->nqueries];
    ngx_memzero(q, sizeof(ngx_commerce_pg_query_t));

    q->statement = statement;
    q->nparams = nparams;
    q->pool = op->pool;

    if (nparams) {
        q->values = ngx_pcalloc(op->pool, nparams * sizeof(char *));
        q->lengths = ngx_pcalloc(op->pool, nparams * sizeof(int));
        q->formats = ngx_palloc(op->pool, nparams * sizeof(int));

        if (q->values == NULL || q->lengths == NULL || q->formats == NULL) {
            return NULL;
        }

        for (i = 0; i < nparams; i++) {
            q->formats[i] = 1;
        }
    }

    op->nqueries++;

    return q;
}


static u_char *
ngx_commerce_pg_param(ngx_commerce_pg_query_t *q, int n, size_t len)
{
    u_char  *p;

    if (q == NULL) {
        return NULL;
    }

    p = ngx_pnalloc(q->pool, len);
    if (p == NULL) {
        q->failed = 1;
        return NULL;
    }

    ngx_commerce_pg_set(q, n, p, len);

    return p;
}


static void
ngx_commerce_pg_set(ngx_commerce_pg_query_t *q, int n, const u_char *data,
    size_t len)
{
    if (q == NULL) {
        return;
    }

    if (n < 1 || n > q->nparams || len > NGX_COMMERCE_PG_ARRAY_MAX) {
        q->failed = 1;
        return;
    }

    /* libpq takes a null pointer for SQL's NULL */
    q->values[n - 1] = data ? (const char *) data : "";
    q->lengths[n - 1] = data ? (int) len : 0;
}


void
ngx_commerce_pg_bool(ngx_commerce_pg_query_t *q, int n, int value)
{
    u_char  *p;

    p = ngx_commerce_pg_param(q, n, 1);
    if (p) {
        *p = value ? 1 : 0;
    }
}


void
ngx_commerce_pg_int4(ngx_commerce_pg_query_t *q, int n, int32_t value)
{
    u_char  *p;

    p = ngx_commerce_pg_param(q, n, 4);
    if (p) {
        ngx_commerce_pg_put4(p, (uint32_t) value);
    }
}


void
ngx_commerce_pg_int8(ngx_commerce_pg_query_t *q, int n, int64_t value)
{
    u_char  *p;

    p = ngx_commerce_pg_param(q, n, 8);
    if (p) {
        ngx_commerce_pg_put8(p, (uint64_t) value);
    }
}


void
ngx_commerce_pg_uuid(ngx_commerce_pg_query_t *q, int n,
    const commerce_uuid_t *value)
{
    u_char  *p;

    p = ngx_commerce_pg_param(q, n, sizeof(value->bytes));
    if (p) {
        ngx_memcpy(p, value->bytes, sizeof(value->bytes));
    }
}


void
ngx_commerce_pg_text(ngx_commerce_pg_query_t *q, int n, const u_char *data,
    size_t len)
{
    ngx_commerce_pg_set(q, n, data, len);
}


void
ngx_commerce_pg_bytea(ngx_commerce_pg_query_t *q, int n, const u_char *data,
    size_t len)
{
    ngx_commerce_pg_set(q, n, data, len);
}


void
ngx_commerce_pg_array(ngx_commerce_pg_array_t *a, ngx_pool_t *pool,
    uint32_t type, ngx_uint_t n)
{
    size_t  size, width;

    ngx_memzero(a, sizeof(ngx_commerce_pg_array_t));

    a->pool = pool;
    a->type = type;

    width = ngx_commerce_pg_width(type);
    size = 4 + (width ? width : 32);

    if (n > NGX_COMMERCE_PG_ARRAY_MAX / size) {
        a->failed = 1;
        return;
    }

    size = NGX_COMMERCE_PG_ARRAY_HEADER + n * size;

    a->start = ngx_pnalloc(pool, size);
    if (a->start == NULL) {
        a->failed = 1;
        return;
    }

    a->last = a->start + NGX_COMMERCE_PG_ARRAY_HEADER;
    a->end = a->start + size;
}


/* Makes room for one element of "len" bytes and counts it. */

static u_char *
ngx_commerce_pg_push(ngx_commerce_pg_array_t *a, size_t len)
{
    size_t   used, size;
    u_char  *p;

    if (a->failed) {
        return NULL;
    }

    used = a->last - a->start;

    if (len > NGX_COMMERCE_PG_ARRAY_MAX - 4
        || used > NGX_COMMERCE_PG_ARRAY_MAX - 4 - len)
    {
        a->failed = 1;
        return NULL;
    }

    if ((size_t) (a->end - a->last) < 4 + len) {
        size = 2 * (used + 4 + len);

        p = ngx_pnalloc(a->pool, size);
        if (p == NULL) {
            a->failed = 1;
            return NULL;
        }

        ngx_memcpy(p, a->start, used);
        (void) ngx_pfree(a->pool, a->start);

        a->start = p;
        a->last = p + used;
        a->end = p + size;
    }

    ngx_commerce_pg_put4(a->last, (uint32_t) len);

    p = a->last + 4;
    a->last = p + len;
    a->n++;

    return p;
}


static u_char *
ngx_commerce_pg_push_fixed(ngx_commerce_pg_array_t *a, uint32_t type,
    size_t len)
{
    if (a->type != type) {
        a->failed = 1;
    }

    return ngx_commerce_pg_push(a, len);
}


/* The size of an element of a type whose elements all have the same size. */

static size_t
ngx_commerce_pg_width(uint32_t type)
{
    switch (type) {

    case NGX_COMMERCE_PG_BOOL:
        return 1;

    case NGX_COMMERCE_PG_INT2:
        return 2;

    case NGX_COMMERCE_PG_INT4:
        return 4;

    case NGX_COMMERCE_PG_INT8:
        return 8;

    case NGX_COMMERCE_PG_UUID:
        return 16;

    default:
        return 0;
    }
}


void
ngx_commerce_pg_push_null(ngx_commerce_pg_array_t *a)
{
    u_char  *p;

    p = ngx_commerce_pg_push(a, 0);
    if (p) {
        ngx_commerce_pg_put4(p - 4, 0xffffffff);
        a->nulls = 1;
    }
}


void
ngx_commerce_pg_push_bool(ngx_commerce_pg_array_t *a, int value)
{
    u_char  *p;

    p = ngx_commerce_pg_push_fixed(a, NGX_COMMERCE_PG_BOOL, 1);
    if (p) {
        *p = value ? 1 : 0;
    }
}


void
ngx_commerce_pg_push_int2(ngx_commerce_pg_array_t *a, int16_t value)
{
    u_char  *p;

    p = ngx_commerce_pg_push_fixed(a, NGX_COMMERCE_PG_INT2, 2);
    if (p) {
        ngx_commerce_pg_put2(p, (uint16_t) value);
    }
}


void
ngx_commerce_pg_push_int4(ngx_commerce_pg_array_t *a, int32_t value)
{
    u_char  *p;

    p = ngx_commerce_pg_push_fixed(a, NGX_COMMERCE_PG_INT4, 4);
    if (p) {
        ngx_commerce_pg_put4(p, (uint32_t) value);
    }
}


void
ngx_commerce_pg_push_int8(ngx_commerce_pg_array_t *a, int64_t value)
{
    u_char  *p;

    p = ngx_commerce_pg_push_fixed(a, NGX_COMMERCE_PG_INT8, 8);
    if (p) {
        ngx_commerce_pg_put8(p, (uint64_t) value);
    }
}


void
ngx_commerce_pg_push_uuid(ngx_commerce_pg_array_t *a,
    const commerce_uuid_t *value)
{
    u_char  *p;

    p = ngx_commerce_pg_push_fixed(a, NGX_COMMERCE_PG_UUID,
                                   sizeof(value->bytes));
    if (p) {
        ngx_memcpy(p, value->bytes, sizeof(value->bytes));
    }
}


void
ngx_commerce_pg_push_text(ngx_commerce_pg_array_t *a, const u_char *data,
    size_t len)
{
    u_char  *p;

    if (ngx_commerce_pg_width(a->type)) {
        a->failed = 1;
        return;
    }

    p = ngx_commerce_pg_push(a, len);
    if (p && len) {
        ngx_memcpy(p, data, len);
    }
}


void
ngx_commerce_pg_array_param(ngx_commerce_pg_query_t *q, int n,
    ngx_commerce_pg_array_t *a)
{
    u_char  *p;

    if (q == NULL) {
        return;
    }

    if (a->failed) {
        q->failed = 1;
        return;
    }

    p = a->start;

    ngx_commerce_pg_put4(p, a->n ? 1 : 0);
    ngx_commerce_pg_put4(p + 4, a->nulls);
    ngx_commerce_pg_put4(p + 8, a->type);

    if (a->n == 0) {
        ngx_commerce_pg_set(q, n, p, NGX_COMMERCE_PG_ARRAY_EMPTY);
        return;
    }

    ngx_commerce_pg_put4(p + 12, a->n);
    ngx_commerce_pg_put4(p + 16, 1);

    ngx_commerce_pg_set(q, n, p, a->last - p);
}


ngx_int_t
ngx_commerce_pg_is_null(PGresult *res, int row, int col)
{
    if (row < 0 || row >= PQntuples(res) || col < 0 || col >= PQnfields(res)) {
        return 1;
    }

    return PQgetisnull(res, row, col);
}


/* NULL unless the value has exactly "len" bytes. */

static const u_char *
ngx_commerce_pg_value(PGresult *res, int row, int col, int len)
{
    if (ngx_commerce_pg_is_null(res, row, col)
        || PQgetlength(res, row, col) != len)
    {
        return NULL;
    }

    return (const u_char *) PQgetvalue(res, row, col);
}


int
ngx_commerce_pg_get_bool(PGresult *res, int row, int col)
{
    const u_char  *p;

    p = ngx_commerce_pg_value(res, row, col, 1);

    return p ? *p != 0 : 0;
}


int16_t
ngx_commerce_pg_get_int2(PGresult *res, int row, int col)
{
    const u_char  *p;

    p = ngx_commerce_pg_value(res, row, col, 2);

    return p ? (int16_t) (p[0] << 8 | p[1]) : 0;
}


int32_t
ngx_commerce_pg_get_int4(PGresult *res, int row, int col)
{
    const u_char  *p;

    p = ngx_commerce_pg_value(res, row, col, 4);

    return p ? (int32_t) ngx_commerce_pg_load4(p) : 0;
}


int64_t
ngx_commerce_pg_get_int8(PGresult *res, int row, int col)
{
    const u_char  *p;

    p = ngx_commerce_pg_value(res, row, col, 8);
    if (p == NULL) {
        return 0;
    }

    return (int64_t) ((uint64_t) ngx_commerce_pg_load4(p) << 32
                      | ngx_commerce_pg_load4(p + 4));
}


void
ngx_commerce_pg_get_uuid(PGresult *res, int row, int col,
    commerce_uuid_t *value)
{
    const u_char  *p;

    p = ngx_commerce_pg_value(res, row, col, sizeof(value->bytes));

    if (p) {
        ngx_memcpy(value->bytes, p, sizeof(value->bytes));

    } else {
        ngx_memzero(value->bytes, sizeof(value->bytes));
    }
}


ngx_str_t
ngx_commerce_pg_get_text(PGresult *res, int row, int col)
{
    ngx_str_t  s;

    ngx_str_null(&s);

    if (!ngx_commerce_pg_is_null(res, row, col)) {
        s.len = PQgetlength(res, row, col);
        s.data = (u_char *) PQgetvalue(res, row, col);
    }

    return s;
}
