/*
 * The storefront's catalogue: a read-through cache of templates, which are
 * answers with the availability of each variant left open, since that moves
 * with every sale.
 */

#include "ngx_commerce_product.h"
#include "ngx_commerce_admin_fields.h"


#define NGX_COMMERCE_FNV_BASIS  2166136261u
#define NGX_COMMERCE_FNV_PRIME  16777619u

#define NGX_COMMERCE_WRITER_SIZE  4096


/* a read of the database, for one product or for a page of them */
typedef struct {
    ngx_commerce_pg_op_t        op;
    ngx_str_t                   key;            /* of the cache */
    ngx_atomic_uint_t           stamp;
    commerce_uuid_t             id;
    ngx_commerce_page_t         page;
    ngx_commerce_products_t     products;
    commerce_json_writer_t      writer;
    unsigned                    list:1;
    unsigned                    by_id:1;
    unsigned                    failed:1;
} ngx_commerce_catalogue_read_t;


static ngx_commerce_catalogue_read_t *ngx_commerce_catalogue_read_create(
    ngx_commerce_call_t *call, ngx_str_t *key);
static ngx_int_t ngx_commerce_catalogue_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_catalogue_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_catalogue_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static ngx_int_t ngx_commerce_catalogue_list_key(ngx_commerce_call_t *call,
    ngx_commerce_page_t *page, ngx_str_t *key);
static ngx_int_t ngx_commerce_catalogue_expand(ngx_commerce_call_t *call,
    ngx_str_t *body, ngx_array_t *units, uint32_t *hash);
static ngx_int_t ngx_commerce_catalogue_available(ngx_commerce_call_t *call,
    const commerce_uuid_t *id, ngx_array_t *units,
    ngx_commerce_availability_e *availability);
static void ngx_commerce_catalogue_send(ngx_commerce_call_t *call,
    ngx_str_t *body, uint64_t version, uint32_t hash);
static ngx_uint_t ngx_commerce_catalogue_same(ngx_str_t *header,
    ngx_str_t *etag);


static const ngx_str_t  ngx_commerce_availabilities[] = {
    [NGX_COMMERCE_SOLD_OUT] = ngx_string("sold_out"),
    [NGX_COMMERCE_LOW_STOCK] = ngx_string("low_stock"),
    [NGX_COMMERCE_IN_STOCK] = ngx_string("in_stock"),
};


void
ngx_commerce_product_get(ngx_commerce_call_t *call)
{
    u_char                          name[2 + NGX_COMMERCE_SLUG_MAX];
    uint32_t                        hash;
    uint64_t                        version;
    ngx_str_t                       key, body;
    ngx_uint_t                      by_id;
    commerce_uuid_t                 id;
    ngx_commerce_catalogue_read_t  *read;

    by_id = commerce_uuid_parse(&id, call->id.data, call->id.len)
            == COMMERCE_OK;

    if (!by_id && !ngx_commerce_slug_valid(call->id.data, call->id.len)) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    name[0] = 'p';
    name[1] = ':';

    key.data = name;

    if (by_id) {
        key.len = (size_t) (commerce_uuid_format(name + 2, &id) - name);

    } else {
        key.len = 2 + call->id.len;
        ngx_memcpy(name + 2, call->id.data, call->id.len);
    }

    if (ngx_commerce_cache_get(call->trade->zone, &key, call->pool, &body,
                               &version)
        == NGX_OK
        && ngx_commerce_catalogue_expand(call, &body, NULL, &hash) == NGX_OK)
    {
        ngx_commerce_catalogue_send(call, &body, version, hash);
        return;
    }

    read = ngx_commerce_catalogue_read_create(call, &key);
    if (read == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    read->by_id = by_id;
    read->id = id;
    read->products.limit = 1;

    ngx_commerce_call_read(call, &read->op);
}


void
ngx_commerce_product_list(ngx_commerce_call_t *call)
{
    uint32_t                        hash;
    uint64_t                        tag;
    ngx_str_t                       key, body;
    ngx_commerce_page_t             page;
    ngx_commerce_catalogue_read_t  *read;

    if (ngx_commerce_page_parse(call, &page) != NGX_OK) {
        return;
    }

    if (ngx_commerce_catalogue_list_key(call, &page, &key) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    if (ngx_commerce_cache_get(call->trade->zone, &key, call->pool, &body,
                               &tag)
        == NGX_OK
        && ngx_commerce_catalogue_expand(call, &body, NULL, &hash) == NGX_OK)
    {
        call->cacheable = 1;
        ngx_commerce_answer(call, 200, &body);
        return;
    }

    read = ngx_commerce_catalogue_read_create(call, &key);
    if (read == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    read->list = 1;
    read->page = page;
    read->products.limit = page.limit;

    ngx_commerce_call_read(call, &read->op);
}


/* One spelling for requests that mean the same; zeros part the texts. */

static ngx_int_t
ngx_commerce_catalogue_list_key(ngx_commerce_call_t *call,
    ngx_commerce_page_t *page, ngx_str_t *key)
{
    u_char  *p;

    p = ngx_pnalloc(call->pool, sizeof("l:100-") + sizeof(page->after) + 2
                                + page->category.len + page->q.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    key->data = p;

    p = ngx_sprintf(p, "l:%ui%c", page->limit, page->newest ? '-' : '+');

    /* the id is nil where there is none: no product has that */
    p = ngx_cpymem(p, page->after.bytes, sizeof(page->after.bytes));
    p = ngx_cpymem(p, page->category.data, page->category.len);
    *p++ = '\0';
    p = ngx_cpymem(p, page->q.data, page->q.len);

    key->len = (size_t) (p - key->data);

    return NGX_OK;
}


static ngx_commerce_catalogue_read_t *
ngx_commerce_catalogue_read_create(ngx_commerce_call_t *call, ngx_str_t *key)
{
    ngx_commerce_catalogue_read_t  *read;

    read = ngx_pcalloc(call->pool, sizeof(ngx_commerce_catalogue_read_t));
    if (read == NULL) {
        return NULL;
    }

    read->key.len = key->len;
    read->key.data = ngx_pstrdup(call->pool, key);
    if (read->key.data == NULL) {
        return NULL;
    }

    read->products.units = ngx_array_create(call->pool, 8,
                                       sizeof(ngx_commerce_product_units_t));
    if (read->products.units == NULL) {
        return NULL;
    }

    read->products.trade = call->trade;
    read->products.writer = &read->writer;

    read->op.build = ngx_commerce_catalogue_build;
    read->op.result = ngx_commerce_catalogue_result;
    read->op.done = ngx_commerce_catalogue_done;

    call->data = read;

    return read;
}


static ngx_int_t
ngx_commerce_catalogue_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t            *call;
    ngx_commerce_zone_t            *zone;
    ngx_commerce_pg_query_t        *q;
    ngx_commerce_catalogue_read_t  *read;

    call = op->data;
    read = call->data;
    zone = call->trade->zone;

    /* what changes from here on makes this reading stale */

    read->stamp = ngx_commerce_cache_stamp(zone);
    read->products.stamp = ngx_commerce_stock_stamp(zone);

    if (read->list) {
        return ngx_commerce_page_query(op, call->trade,
                                       NGX_COMMERCE_SQL_PRODUCT_PAGE,
                                       &read->page);
    }

    q = ngx_commerce_pg_query(op, read->by_id
                                  ? NGX_COMMERCE_SQL_PRODUCT_BY_ID
                                  : NGX_COMMERCE_SQL_PRODUCT_BY_SLUG, 3);
    if (q == NULL) {
        return NGX_ERROR;
    }

    if (read->by_id) {
        ngx_commerce_pg_uuid(q, 1, &read->id);

    } else {
        ngx_commerce_pg_text(q, 1, call->id.data, call->id.len);
    }

    ngx_commerce_pg_bool(q, 2, 0);
    ngx_commerce_pg_int8(q, 3, ngx_commerce_zone_instance(zone));

    return NGX_OK;
}


static void
ngx_commerce_catalogue_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_commerce_call_t            *call;
    ngx_commerce_catalogue_read_t  *read;

    call = op->data;
    read = call->data;

    commerce_json_writer_init(&read->writer, NGX_COMMERCE_WRITER_SIZE,
                              ngx_commerce_palloc, call->pool);

    if (read->list) {
        ngx_commerce_page_open(&read->writer);
    }

    if (ngx_commerce_products_write(&read->products, res) != NGX_OK) {
        read->failed = 1;
        return;
    }

    if (read->list) {
        ngx_commerce_page_close(&read->writer, &read->products);
    }

    read->failed = read->writer.failed;
}


static void
ngx_commerce_catalogue_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    uint32_t                        hash;
    ngx_str_t                       body;
    ngx_commerce_call_t            *call;
    ngx_commerce_catalogue_read_t  *read;

    call = op->data;
    read = call->data;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED || read->failed) {
        ngx_commerce_call_failed(call, outcome);
        return;
    }

    /* not kept: names that are not there are without end */

    if (!read->list && read->products.n == 0) {
        ngx_commerce_refuse(call, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    body.data = read->writer.start;
    body.len = (size_t) (read->writer.last - read->writer.start);

    ngx_commerce_cache_put(call->trade->zone, &read->key, &body,
                           (uint64_t) read->products.version, read->stamp);

    if (ngx_commerce_catalogue_expand(call, &body, read->products.units, &hash)
        != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    if (read->list) {
        call->cacheable = 1;
        ngx_commerce_answer(call, 200, &body);
        return;
    }

    ngx_commerce_catalogue_send(call, &body,
                                (uint64_t) read->products.version, hash);
}


/*
 * Fills in the availabilities, in place.  "units" is what the database said a
 * moment ago; without it a variant that the zone lost is NGX_DECLINED.
 */

static ngx_int_t
ngx_commerce_catalogue_expand(ngx_commerce_call_t *call, ngx_str_t *body,
    ngx_array_t *units, uint32_t *hash)
{
    u_char                       *src, *dst, *mark, *end;
    size_t                        len;
    const ngx_str_t              *word;
    commerce_uuid_t               id;
    ngx_commerce_availability_e   availability;

    src = body->data;
    dst = src;
    end = src + body->len;
    *hash = NGX_COMMERCE_FNV_BASIS;

    for ( ;; ) {

        mark = memchr(src, NGX_COMMERCE_PRODUCT_MARK, (size_t) (end - src));

        if (mark == NULL) {
            mark = end;
        }

        len = (size_t) (mark - src);

        if (dst != src) {
            ngx_memmove(dst, src, len);
        }

        dst += len;

        if (mark == end) {
            break;
        }

        if (end - mark < NGX_COMMERCE_PRODUCT_MARK_LEN) {
            return NGX_DECLINED;
        }

        ngx_memcpy(id.bytes, mark + 1, sizeof(id.bytes));

        if (ngx_commerce_catalogue_available(call, &id, units, &availability)
            != NGX_OK)
        {
            return NGX_DECLINED;
        }

        word = &ngx_commerce_availabilities[availability];
        dst = ngx_cpymem(dst, word->data, word->len);
        src = mark + NGX_COMMERCE_PRODUCT_MARK_LEN;

        *hash = (*hash ^ (uint32_t) (availability + 1))
                * NGX_COMMERCE_FNV_PRIME;
    }

    body->len = (size_t) (dst - body->data);

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_catalogue_available(ngx_commerce_call_t *call,
    const commerce_uuid_t *id, ngx_array_t *units,
    ngx_commerce_availability_e *availability)
{
    uint32_t                       low;
    ngx_uint_t                     i;
    ngx_commerce_product_units_t  *elts;

    low = (uint32_t) call->trade->conf->low_stock;

    if (ngx_commerce_stock_availability(call->trade->zone, id, low,
                                        availability)
        == NGX_OK)
    {
        return NGX_OK;
    }

    if (units == NULL) {
        return NGX_DECLINED;
    }

    elts = units->elts;

    for (i = 0; i < units->nelts; i++) {

        if (commerce_uuid_compare(&elts[i].id, id) != 0) {
            continue;
        }

        *availability = elts[i].units <= 0 ? NGX_COMMERCE_SOLD_OUT
                        : elts[i].units <= (int64_t) low
                          ? NGX_COMMERCE_LOW_STOCK : NGX_COMMERCE_IN_STOCK;

        return NGX_OK;
    }

    return NGX_DECLINED;
}


static void
ngx_commerce_catalogue_send(ngx_commerce_call_t *call, ngx_str_t *body,
    uint64_t version, uint32_t hash)
{
    u_char  *p;

    p = ngx_pnalloc(call->pool, NGX_INT64_LEN + sizeof("\"-01234567\""));
    if (p == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    call->etag.data = p;
    p = ngx_sprintf(p, "\"%uL-%08xD\"", version, hash);
    call->etag.len = (size_t) (p - call->etag.data);

    call->cacheable = 1;

    if (call->if_none_match.len
        && ngx_commerce_catalogue_same(&call->if_none_match, &call->etag))
    {
        ngx_commerce_answer(call, 304, NULL);
        return;
    }

    ngx_commerce_answer(call, 200, body);
}


/* RFC 9110 section 13.1.2: a list of tags, compared weakly, or "*". */

static ngx_uint_t
ngx_commerce_catalogue_same(ngx_str_t *header, ngx_str_t *etag)
{
    u_char  *p, *end, *close;

    p = header->data;
    end = p + header->len;

    while (p < end) {

        if (*p == ' ' || *p == '\t' || *p == ',') {
            p++;
            continue;
        }

        if (*p == '*') {
            return 1;
        }

        if (end - p > 2 && p[0] == 'W' && p[1] == '/') {
            p += 2;
        }

        if (*p != '"') {
            return 0;
        }

        close = ngx_strlchr(p + 1, end, '"');
        if (close == NULL) {
            return 0;
        }

        close++;

        if ((size_t) (close - p) == etag->len
            && ngx_memcmp(p, etag->data, etag->len) == 0)
        {
            return 1;
        }

        p = close;
    }

    return 0;
}


void
ngx_commerce_catalogue_changed(ngx_commerce_trade_t *trade,
    const commerce_uuid_t *product_id)
{
    ngx_commerce_stock_forget_product(trade->zone, product_id);
    ngx_commerce_cache_forget_all(trade->zone);
}


void
ngx_commerce_catalogue_news(ngx_commerce_trade_t *trade, const char *payload)
{
    commerce_uuid_t  id;

    if ((payload[0] != 'p' && payload[0] != 'v') || payload[1] != ' '
        || commerce_uuid_parse(&id, (u_char *) payload + 2,
                               ngx_strlen(payload + 2))
           != COMMERCE_OK)
    {
        ngx_log_error(NGX_LOG_WARN, trade->log, 0,
                      "commerce: news that is not understood");
        return;
    }

    if (payload[0] == 'p') {
        ngx_commerce_catalogue_changed(trade, &id);

    } else {
        ngx_commerce_stock_news(trade->zone, &id);
    }
}


void
ngx_commerce_catalogue_forget(ngx_commerce_trade_t *trade)
{
    ngx_commerce_stock_forget(trade->zone, NULL);
    ngx_commerce_stock_news(trade->zone, NULL);
    ngx_commerce_cache_forget_all(trade->zone);
}
