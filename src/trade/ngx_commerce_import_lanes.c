/* Rows of an import as batches: one statement and one commit for many rows. */

#include "ngx_commerce_import.h"


#define NGX_COMMERCE_IMPORT_LANE    4096    /* rows that wait */
#define NGX_COMMERCE_IMPORT_BATCH   64      /* rows in one commit */
#define NGX_COMMERCE_IMPORT_WEIGHT  1000    /* variants in one commit */


static void ngx_commerce_import_product_check(
    ngx_commerce_import_item_t *item, commerce_json_t *root, size_t size);
static void ngx_commerce_import_stock_check(ngx_commerce_import_item_t *item,
    commerce_json_t *root);
static void ngx_commerce_import_price_check(ngx_commerce_import_item_t *item,
    commerce_json_t *root);
static void ngx_commerce_import_invalid(ngx_commerce_import_item_t *item);
static ngx_int_t ngx_commerce_import_copy(ngx_commerce_import_item_t *item,
    ngx_str_t *to, commerce_str_t *from);
static ngx_int_t ngx_commerce_import_products_build(
    ngx_commerce_pg_batch_t *batch, ngx_commerce_pg_conn_t *conn);
static ngx_int_t ngx_commerce_import_stock_build(
    ngx_commerce_pg_batch_t *batch, ngx_commerce_pg_conn_t *conn);
static ngx_int_t ngx_commerce_import_prices_build(
    ngx_commerce_pg_batch_t *batch, ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_import_result(ngx_commerce_pg_batch_t *batch,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_import_products_committed(
    ngx_commerce_pg_batch_t *batch);
static void ngx_commerce_import_stock_committed(
    ngx_commerce_pg_batch_t *batch);
static void ngx_commerce_import_done(ngx_commerce_pg_item_t *it,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static ngx_int_t ngx_commerce_import_ask(ngx_commerce_import_item_t *item);
static void ngx_commerce_import_returned(void *data, ngx_int_t rc);


static const ngx_commerce_pg_kind_t  ngx_commerce_import_kinds[] = {

    [NGX_COMMERCE_IMPORT_PRODUCT] = {
        "import_products",
        NGX_COMMERCE_IMPORT_BATCH,
        NGX_COMMERCE_IMPORT_WEIGHT,
        ngx_commerce_import_products_build,
        ngx_commerce_import_result,
        ngx_commerce_import_done,
        ngx_commerce_import_products_committed
    },

    [NGX_COMMERCE_IMPORT_STOCK] = {
        "import_stock",
        NGX_COMMERCE_IMPORT_BATCH,
        NGX_COMMERCE_IMPORT_WEIGHT,
        ngx_commerce_import_stock_build,
        ngx_commerce_import_result,
        ngx_commerce_import_done,
        ngx_commerce_import_stock_committed
    },

    [NGX_COMMERCE_IMPORT_PRICE] = {
        "import_prices",
        NGX_COMMERCE_IMPORT_BATCH,
        NGX_COMMERCE_IMPORT_WEIGHT,
        ngx_commerce_import_prices_build,
        ngx_commerce_import_result,
        ngx_commerce_import_done,
        ngx_commerce_import_products_committed
    }
};


static const ngx_str_t  ngx_commerce_import_types[] = {
    [NGX_COMMERCE_IMPORT_PRODUCT] = ngx_string("product"),
    [NGX_COMMERCE_IMPORT_STOCK] = ngx_string("stock"),
    [NGX_COMMERCE_IMPORT_PRICE] = ngx_string("price")
};


ngx_int_t
ngx_commerce_import_lanes(ngx_commerce_trade_t *trade)
{
    ngx_uint_t  i;

    for (i = 0; i < 3; i++) {

        trade->imports[i] = ngx_commerce_pg_lane_create(trade->cycle,
                                trade->writes, &ngx_commerce_import_kinds[i],
                                NGX_COMMERCE_IMPORT_LANE, trade);

        if (trade->imports[i] == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


void
ngx_commerce_import_check(ngx_commerce_import_item_t *item, ngx_pool_t *pool,
    commerce_json_t *root, size_t size)
{
    ngx_uint_t        i;
    commerce_str_t    name;
    commerce_json_t  *type;

    item->pool = pool;
    item->errors = ngx_palloc(pool, sizeof(commerce_json_errors_t));

    if (item->errors == NULL) {
        ngx_commerce_import_refuse(item, COMMERCE_INTERNAL, NULL);
        return;
    }

    commerce_json_errors_init(item->errors, ngx_commerce_palloc, pool);

    type = commerce_json_member(root, "type");

    for (i = 0; i < 3; i++) {

        if (type && type->type == COMMERCE_JSON_STRING
            && type->string.len == ngx_commerce_import_types[i].len
            && ngx_strncmp(type->string.data, ngx_commerce_import_types[i].data,
                           type->string.len)
               == 0)
        {
            break;
        }
    }

    item->type = i;
    item->item.weight = 1;

    switch (i) {

    case NGX_COMMERCE_IMPORT_PRODUCT:
        ngx_commerce_import_product_check(item, root, size);
        return;

    case NGX_COMMERCE_IMPORT_STOCK:
        ngx_commerce_import_stock_check(item, root);
        return;

    case NGX_COMMERCE_IMPORT_PRICE:
        ngx_commerce_import_price_check(item, root);
        return;
    }

    name.data = (u_char *) "type";
    name.len = 4;

    commerce_json_error_add(item->errors, "", &name,
                            type ? "invalid" : "required",
                            "must be \"product\", \"stock\" or \"price\"");

    ngx_commerce_import_invalid(item);
}


static void
ngx_commerce_import_product_check(ngx_commerce_import_item_t *item,
    commerce_json_t *root, size_t size)
{
    ngx_commerce_product_fields_t  fields;

    if (ngx_commerce_product_check(root, 1, &fields, item->errors) != NGX_OK) {
        ngx_commerce_import_invalid(item);
        return;
    }

    item->item.weight = fields.variants->count;

    if (ngx_commerce_doc_text(item->pool, root, size, &item->doc) != NGX_OK) {
        ngx_commerce_import_refuse(item, COMMERCE_INTERNAL, NULL);
    }
}


static void
ngx_commerce_import_stock_check(ngx_commerce_import_item_t *item,
    commerce_json_t *root)
{
    ngx_commerce_stock_fields_t  fields;

    if (!item->may_stock) {
        ngx_commerce_import_refuse(item, COMMERCE_FORBIDDEN,
                                   "the key lacks the scope stock:write");
        return;
    }

    if (ngx_commerce_stock_check(root, 1, &fields, item->errors) != NGX_OK) {
        ngx_commerce_import_invalid(item);
        return;
    }

    /* a file says what is to be, not what it believes there was */

    item->set = fields.has_set;
    item->units = (int32_t) (fields.has_set ? fields.set : fields.delta);

    if (ngx_commerce_import_copy(item, &item->sku, &fields.sku) != NGX_OK
        || ngx_commerce_import_copy(item, &item->reason, &fields.reason)
           != NGX_OK)
    {
        ngx_commerce_import_refuse(item, COMMERCE_INTERNAL, NULL);
    }
}


static void
ngx_commerce_import_price_check(ngx_commerce_import_item_t *item,
    commerce_json_t *root)
{
    ngx_commerce_price_fields_t  fields;

    if (ngx_commerce_price_check(root, 1, &fields, item->errors) != NGX_OK) {
        ngx_commerce_import_invalid(item);
        return;
    }

    if (ngx_commerce_import_copy(item, &item->sku, &fields.sku) != NGX_OK
        || ngx_commerce_doc_text(item->pool, fields.prices, 256, &item->doc)
           != NGX_OK)
    {
        ngx_commerce_import_refuse(item, COMMERCE_INTERNAL, NULL);
    }
}


static void
ngx_commerce_import_invalid(ngx_commerce_import_item_t *item)
{
    ngx_commerce_import_refuse(item, item->errors->failed
                                     ? COMMERCE_INTERNAL
                                     : COMMERCE_INVALID_REQUEST, NULL);
}


static ngx_int_t
ngx_commerce_import_copy(ngx_commerce_import_item_t *item, ngx_str_t *to,
    commerce_str_t *from)
{
    to->data = ngx_pnalloc(item->pool, from->len);
    if (to->data == NULL) {
        return NGX_ERROR;
    }

    to->len = from->len;
    ngx_memcpy(to->data, from->data, from->len);

    return NGX_OK;
}


ngx_int_t
ngx_commerce_import_enqueue(ngx_commerce_trade_t *trade,
    ngx_commerce_import_item_t *item)
{
    item->item.deadline = ngx_current_msec + trade->conf->queue_timeout;

    return ngx_commerce_pg_enqueue(trade->imports[item->type], &item->item);
}


static ngx_int_t
ngx_commerce_import_products_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_uint_t                   i;
    ngx_commerce_pg_array_t      docs, actors;
    ngx_commerce_pg_query_t     *q;
    ngx_commerce_import_item_t  *item;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_PUT_PRODUCTS, 5);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&docs, batch->op.pool, NGX_COMMERCE_PG_TEXT,
                          batch->n);
    ngx_commerce_pg_array(&actors, batch->op.pool, NGX_COMMERCE_PG_TEXT,
                          batch->n);

    for (i = 0; i < batch->n; i++) {
        item = (ngx_commerce_import_item_t *) batch->items[i];

        ngx_commerce_pg_push_text(&docs, item->doc.data, item->doc.len);
        ngx_commerce_pg_push_text(&actors, item->actor.data, item->actor.len);
    }

    ngx_commerce_pg_array_param(q, 1, &docs);
    ngx_commerce_pg_array_param(q, 2, &actors);
    ngx_commerce_pg_text(q, 3, (u_char *) "upsert", sizeof("upsert") - 1);

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_import_stock_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_uint_t                   i;
    ngx_commerce_pg_array_t      skus, deltas, sets, reasons, actors;
    ngx_commerce_pg_query_t     *q;
    ngx_commerce_import_item_t  *item;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_IMPORT_STOCK, 5);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&skus, batch->op.pool, NGX_COMMERCE_PG_TEXT,
                          batch->n);
    ngx_commerce_pg_array(&deltas, batch->op.pool, NGX_COMMERCE_PG_INT4,
                          batch->n);
    ngx_commerce_pg_array(&sets, batch->op.pool, NGX_COMMERCE_PG_INT4,
                          batch->n);
    ngx_commerce_pg_array(&reasons, batch->op.pool, NGX_COMMERCE_PG_TEXT,
                          batch->n);
    ngx_commerce_pg_array(&actors, batch->op.pool, NGX_COMMERCE_PG_TEXT,
                          batch->n);

    for (i = 0; i < batch->n; i++) {
        item = (ngx_commerce_import_item_t *) batch->items[i];

        ngx_commerce_pg_push_text(&skus, item->sku.data, item->sku.len);

        if (item->set) {
            ngx_commerce_pg_push_null(&deltas);
            ngx_commerce_pg_push_int4(&sets, item->units);

        } else {
            ngx_commerce_pg_push_int4(&deltas, item->units);
            ngx_commerce_pg_push_null(&sets);
        }

        ngx_commerce_pg_push_text(&reasons, item->reason.data,
                                  item->reason.len);
        ngx_commerce_pg_push_text(&actors, item->actor.data, item->actor.len);
    }

    ngx_commerce_pg_array_param(q, 1, &skus);
    ngx_commerce_pg_array_param(q, 2, &deltas);
    ngx_commerce_pg_array_param(q, 3, &sets);
    ngx_commerce_pg_array_param(q, 4, &reasons);
    ngx_commerce_pg_array_param(q, 5, &actors);

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_import_prices_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_uint_t                   i;
    ngx_commerce_pg_array_t      skus, prices;
    ngx_commerce_pg_query_t     *q;
    ngx_commerce_import_item_t  *item;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_IMPORT_PRICES, 2);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&skus, batch->op.pool, NGX_COMMERCE_PG_TEXT,
                          batch->n);
    ngx_commerce_pg_array(&prices, batch->op.pool, NGX_COMMERCE_PG_TEXT,
                          batch->n);

    for (i = 0; i < batch->n; i++) {
        item = (ngx_commerce_import_item_t *) batch->items[i];

        ngx_commerce_pg_push_text(&skus, item->sku.data, item->sku.len);
        ngx_commerce_pg_push_text(&prices, item->doc.data, item->doc.len);
    }

    ngx_commerce_pg_array_param(q, 1, &skus);
    ngx_commerce_pg_array_param(q, 2, &prices);

    return NGX_OK;
}


static void
ngx_commerce_import_result(ngx_commerce_pg_batch_t *batch, ngx_uint_t query,
    PGresult *res)
{
    int                          row, rows;
    ngx_uint_t                   n;
    ngx_commerce_import_item_t  *item;

    rows = PQntuples(res);

    for (row = 0; row < rows; row++) {

        n = (ngx_uint_t) ngx_commerce_pg_get_int4(res, row, 0);

        if (n < 1 || n > batch->n) {
            continue;
        }

        item = (ngx_commerce_import_item_t *) batch->items[n - 1];

        if (ngx_commerce_put_row(item->pool, res, row, &item->put) != NGX_OK) {
            item->put.problem = COMMERCE_INTERNAL;
        }
    }
}


/* Prices name their variant, whose row the zone knows by the same id. */

static void
ngx_commerce_import_products_committed(ngx_commerce_pg_batch_t *batch)
{
    ngx_uint_t                   i, changed;
    ngx_commerce_trade_t        *trade;
    ngx_commerce_import_item_t  *item;

    trade = ngx_commerce_pg_lane_data(batch->lane);
    changed = 0;

    for (i = 0; i < batch->n; i++) {
        item = (ngx_commerce_import_item_t *) batch->items[i];

        if (item->put.status != NGX_COMMERCE_PUT_CREATED
            && item->put.status != NGX_COMMERCE_PUT_UPDATED)
        {
            continue;
        }

        changed = 1;

        if (item->type == NGX_COMMERCE_IMPORT_PRICE) {
            ngx_commerce_stock_forget(trade->zone, &item->put.id);

        } else {
            ngx_commerce_stock_forget_product(trade->zone, &item->put.id);
        }
    }

    if (changed) {
        ngx_commerce_cache_forget_all(trade->zone);
    }
}


static void
ngx_commerce_import_stock_committed(ngx_commerce_pg_batch_t *batch)
{
    ngx_uint_t                   i;
    ngx_commerce_trade_t        *trade;
    ngx_commerce_import_item_t  *item;

    trade = ngx_commerce_pg_lane_data(batch->lane);

    for (i = 0; i < batch->n; i++) {
        item = (ngx_commerce_import_item_t *) batch->items[i];

        if (item->put.status == NGX_COMMERCE_PUT_UPDATED) {
            ngx_commerce_stock_set_free(trade->zone, &item->put.id,
                                        item->put.version);
            ngx_commerce_stock_news(trade->zone, &item->put.id);
        }
    }
}


static void
ngx_commerce_import_done(ngx_commerce_pg_item_t *it,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_import_item_t  *item;

    item = (ngx_commerce_import_item_t *) it;

    switch (outcome) {

    case NGX_COMMERCE_PG_COMMITTED:

        if (item->put.leased && ngx_commerce_import_ask(item) == NGX_OK) {
            return;
        }

        if (item->put.status == NGX_COMMERCE_PUT_ERROR) {
            item->detail = ngx_commerce_put_detail(&item->put, item->errors);
        }

        break;

    case NGX_COMMERCE_PG_NOT_SENT:
        ngx_commerce_import_refuse(item, COMMERCE_UNAVAILABLE, NULL);
        break;

    case NGX_COMMERCE_PG_UNKNOWN:
        ngx_commerce_import_refuse(item, COMMERCE_OUTCOME_UNKNOWN, NULL);
        break;

    default:
        ngx_commerce_import_refuse(item, ngx_strcmp(sqlstate, "23505") == 0
                                         ? COMMERCE_CONFLICT
                                         : COMMERCE_INTERNAL, NULL);
    }

    ngx_commerce_import_settled(item);
}


/*
 * Units that this instance has leased come back once, and the row is tried
 * again: unless a later row is about the same units, which it must not follow.
 */

static ngx_int_t
ngx_commerce_import_ask(ngx_commerce_import_item_t *item)
{
    if (item->asked || !ngx_commerce_import_is_last(item)) {
        return NGX_DECLINED;
    }

    item->asked = 1;

    return ngx_commerce_lease_give_back(item->trade, &item->put.id,
                                        ngx_commerce_import_returned, item);
}


static void
ngx_commerce_import_returned(void *data, ngx_int_t rc)
{
    ngx_commerce_import_item_t *item = data;

    if (ngx_commerce_import_enqueue(item->trade, item) == NGX_OK) {
        return;
    }

    ngx_commerce_import_refuse(item, COMMERCE_OVERLOADED, NULL);
    ngx_commerce_import_settled(item);
}
