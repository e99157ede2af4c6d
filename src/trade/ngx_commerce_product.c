/* Products as JSON, and the pages of them. */

#include "ngx_commerce_product.h"
#include "commerce_json_text.h"


#define NGX_COMMERCE_PAGE_LIMIT  20
#define NGX_COMMERCE_PAGE_MAX    100
#define NGX_COMMERCE_PAGE_Q_MAX  100    /* bytes */
#define NGX_COMMERCE_CURSOR_LEN  22     /* base64url of 16 bytes */


/* behind the columns that ngx_commerce_variant_row() reads */
enum {
    NGX_COMMERCE_COL_OPTIONS = 10,
    NGX_COMMERCE_COL_ARCHIVED,
    NGX_COMMERCE_COL_OWN_TITLE,
    NGX_COMMERCE_COL_ID,
    NGX_COMMERCE_COL_SLUG,
    NGX_COMMERCE_COL_TITLE,
    NGX_COMMERCE_COL_DESCRIPTION,
    NGX_COMMERCE_COL_CATEGORY,
    NGX_COMMERCE_COL_PUBLISHED,
    NGX_COMMERCE_COL_VERSION,
    NGX_COMMERCE_COL_CREATED,
    NGX_COMMERCE_COL_UPDATED
};


static void ngx_commerce_product_open(ngx_commerce_products_t *products,
    PGresult *res, int row);
static void ngx_commerce_product_close(commerce_json_writer_t *w);
static ngx_int_t ngx_commerce_product_variant(
    ngx_commerce_products_t *products, PGresult *res, int row);
static void ngx_commerce_variant_members(commerce_json_writer_t *w,
    PGresult *res, int row, ngx_commerce_variant_t *variant);
static void ngx_commerce_variant_prices_members(commerce_json_writer_t *w,
    ngx_commerce_variant_t *variant);
static void ngx_commerce_variant_tiers_write(commerce_json_writer_t *w,
    ngx_commerce_stock_price_t *price, ngx_uint_t n);
static void ngx_commerce_variant_staff_members(commerce_json_writer_t *w,
    PGresult *res, int row, ngx_commerce_variant_t *variant);
static void ngx_commerce_json_str(commerce_json_writer_t *w,
    const char *key, ngx_str_t value);
static ngx_int_t ngx_commerce_page_sort(ngx_commerce_call_t *call,
    ngx_commerce_page_t *page);


ngx_int_t
ngx_commerce_products_write(ngx_commerce_products_t *products, PGresult *res)
{
    int               row, rows;
    commerce_uuid_t   id;

    products->n = 0;
    products->more = 0;
    rows = PQntuples(res);

    for (row = 0; row < rows; row++) {

        ngx_commerce_pg_get_uuid(res, row, NGX_COMMERCE_COL_ID, &id);

        if (products->n == 0
            || commerce_uuid_compare(&id, &products->last) != 0)
        {
            if (products->n) {
                ngx_commerce_product_close(products->writer);
            }

            if (products->n == products->limit) {
                products->more = 1;
                return products->writer->failed ? NGX_ERROR : NGX_OK;
            }

            products->n++;
            products->last = id;

            ngx_commerce_product_open(products, res, row);
        }

        /* a product that has no variants to show */
        if (ngx_commerce_pg_is_null(res, row, 0)) {
            continue;
        }

        if (ngx_commerce_product_variant(products, res, row) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (products->n) {
        ngx_commerce_product_close(products->writer);
    }

    return products->writer->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_product_open(ngx_commerce_products_t *products, PGresult *res,
    int row)
{
    commerce_json_writer_t  *w;

    w = products->writer;

    products->version = ngx_commerce_pg_get_int4(res, row,
                                                 NGX_COMMERCE_COL_VERSION);

    commerce_json_object_open(w);

    commerce_json_key(w, "id");
    commerce_json_uuid(w, &products->last);

    ngx_commerce_json_str(w, "slug",
             ngx_commerce_pg_get_text(res, row, NGX_COMMERCE_COL_SLUG));
    ngx_commerce_json_str(w, "title",
             ngx_commerce_pg_get_text(res, row, NGX_COMMERCE_COL_TITLE));
    ngx_commerce_json_str(w, "description",
             ngx_commerce_pg_get_text(res, row,
                                      NGX_COMMERCE_COL_DESCRIPTION));

    if (ngx_commerce_pg_is_null(res, row, NGX_COMMERCE_COL_CATEGORY)) {
        commerce_json_key(w, "category");
        commerce_json_null(w);

    } else {
        ngx_commerce_json_str(w, "category",
                 ngx_commerce_pg_get_text(res, row,
                                          NGX_COMMERCE_COL_CATEGORY));
    }

    if (products->staff) {
        commerce_json_key(w, "published");
        commerce_json_boolean(w, ngx_commerce_pg_get_bool(res, row,
                                                NGX_COMMERCE_COL_PUBLISHED));
    }

    commerce_json_key(w, "version");
    commerce_json_integer(w, products->version);
    commerce_json_key(w, "created_at");
    commerce_json_time(w, ngx_commerce_pg_get_int8(res, row,
                                                   NGX_COMMERCE_COL_CREATED));
    commerce_json_key(w, "updated_at");
    commerce_json_time(w, ngx_commerce_pg_get_int8(res, row,
                                                   NGX_COMMERCE_COL_UPDATED));

    commerce_json_key(w, "variants");
    commerce_json_array_open(w);
}


static void
ngx_commerce_product_close(commerce_json_writer_t *w)
{
    commerce_json_array_close(w);
    commerce_json_object_close(w);
}


static ngx_int_t
ngx_commerce_product_variant(ngx_commerce_products_t *products, PGresult *res,
    int row)
{
    u_char                         mark[NGX_COMMERCE_PRODUCT_MARK_LEN + 2];
    ngx_commerce_variant_t         variant;
    commerce_json_writer_t        *w;
    ngx_commerce_product_units_t  *units;

    w = products->writer;

    ngx_commerce_variant_row(res, row, &variant);

    commerce_json_object_open(w);

    if (products->staff) {
        ngx_commerce_variant_staff_members(w, res, row, &variant);
        commerce_json_object_close(w);

        return NGX_OK;
    }

    ngx_commerce_variant_members(w, res, row, &variant);

    mark[0] = '"';
    mark[1] = NGX_COMMERCE_PRODUCT_MARK;
    ngx_memcpy(mark + 2, variant.id.bytes, sizeof(variant.id.bytes));
    mark[sizeof(mark) - 1] = '"';

    commerce_json_key(w, "availability");
    commerce_json_raw(w, mark, sizeof(mark));

    commerce_json_object_close(w);

    units = ngx_array_push(products->units);
    if (units == NULL) {
        return NGX_ERROR;
    }

    units->id = variant.id;
    units->units = (int64_t) variant.free + variant.leased;

    (void) ngx_commerce_stock_put(products->trade->zone, &variant,
                                  products->stamp);

    return NGX_OK;
}


void
ngx_commerce_variant_write(commerce_json_writer_t *w, PGresult *res, int row,
    ngx_commerce_variant_t *variant)
{
    ngx_commerce_variant_row(res, row, variant);

    commerce_json_object_open(w);
    commerce_json_key(w, "product_id");
    commerce_json_uuid(w, &variant->product_id);
    ngx_commerce_variant_staff_members(w, res, row, variant);
    commerce_json_object_close(w);
}


static void
ngx_commerce_variant_members(commerce_json_writer_t *w, PGresult *res,
    int row, ngx_commerce_variant_t *variant)
{
    ngx_str_t  options;

    commerce_json_key(w, "id");
    commerce_json_uuid(w, &variant->id);
    commerce_json_key(w, "sku");
    commerce_json_string(w, variant->sku, variant->sku_len);
    commerce_json_key(w, "title");
    commerce_json_string(w, variant->title, variant->title_len);

    options = ngx_commerce_pg_get_text(res, row, NGX_COMMERCE_COL_OPTIONS);

    commerce_json_key(w, "options");
    commerce_json_raw(w, options.data, options.len);

    ngx_commerce_variant_prices_members(w, variant);
}


static void
ngx_commerce_variant_prices_members(commerce_json_writer_t *w,
    ngx_commerce_variant_t *variant)
{
    ngx_uint_t                   n;
    ngx_commerce_stock_price_t  *price, *end;

    commerce_json_key(w, "prices");
    commerce_json_object_open(w);

    price = variant->prices;
    end = price + variant->nprices;

    for ( /* void */ ; price < end; price += n) {

        for (n = 1; price + n < end && price[n].min_quantity != 1; n++) {
            /* void */
        }

        commerce_json_key(w, (char *) price->currency);

        if (n == 1) {
            commerce_json_integer(w, price->amount);

        } else {
            ngx_commerce_variant_tiers_write(w, price, n);
        }
    }

    commerce_json_object_close(w);
}


/* A price and the n - 1 tiers above it, which are of the same currency. */

static void
ngx_commerce_variant_tiers_write(commerce_json_writer_t *w,
    ngx_commerce_stock_price_t *price, ngx_uint_t n)
{
    ngx_uint_t  i;

    commerce_json_object_open(w);

    commerce_json_key(w, "amount");
    commerce_json_integer(w, price->amount);
    commerce_json_key(w, "tiers");
    commerce_json_array_open(w);

    for (i = 1; i < n; i++) {
        commerce_json_object_open(w);
        commerce_json_key(w, "quantity");
        commerce_json_integer(w, price[i].min_quantity);
        commerce_json_key(w, "amount");
        commerce_json_integer(w, price[i].amount);
        commerce_json_object_close(w);
    }

    commerce_json_array_close(w);
    commerce_json_object_close(w);
}


static void
ngx_commerce_variant_staff_members(commerce_json_writer_t *w, PGresult *res,
    int row, ngx_commerce_variant_t *variant)
{
    ngx_commerce_variant_members(w, res, row, variant);

    commerce_json_key(w, "own_title");
    commerce_json_boolean(w, ngx_commerce_pg_get_bool(res, row,
                                                NGX_COMMERCE_COL_OWN_TITLE));
    commerce_json_key(w, "archived");
    commerce_json_boolean(w, ngx_commerce_pg_get_bool(res, row,
                                                NGX_COMMERCE_COL_ARCHIVED));
    commerce_json_key(w, "version");
    commerce_json_integer(w, variant->version);
}


static void
ngx_commerce_json_str(commerce_json_writer_t *w, const char *key,
    ngx_str_t value)
{
    commerce_json_key(w, key);
    commerce_json_string(w, value.data, value.len);
}


ngx_int_t
ngx_commerce_page_parse(ngx_commerce_call_t *call, ngx_commerce_page_t *page)
{
    ngx_int_t  rc;

    ngx_memzero(page, sizeof(ngx_commerce_page_t));

    if (ngx_commerce_call_limit(call, NGX_COMMERCE_PAGE_LIMIT,
                                NGX_COMMERCE_PAGE_MAX, &page->limit)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_commerce_page_after(call, &page->after);

    if (rc == NGX_ERROR || ngx_commerce_page_sort(call, page) != NGX_OK) {
        return NGX_ERROR;
    }

    page->has_after = rc == NGX_OK;

    if (ngx_commerce_page_text(call, "category", 128, &page->category,
                               "the argument \"category\" is not valid")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_commerce_page_text(call, "q", NGX_COMMERCE_PAGE_Q_MAX,
                                  &page->q,
                                  "the argument \"q\" is not valid");
}


ngx_int_t
ngx_commerce_page_after(ngx_commerce_call_t *call, commerce_uuid_t *after)
{
    u_char     bytes[ngx_base64_decoded_length(NGX_COMMERCE_CURSOR_LEN) + 1];
    ngx_int_t  rc;
    ngx_str_t  value, id;

    rc = ngx_commerce_argument(call, "after", &value);

    if (rc == NGX_DECLINED) {
        return NGX_DECLINED;
    }

    if (rc != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    id.data = bytes;

    if (value.len != NGX_COMMERCE_CURSOR_LEN
        || ngx_decode_base64url(&id, &value) != NGX_OK
        || id.len != sizeof(after->bytes))
    {
        ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST,
                            "the argument \"after\" is not a cursor that "
                            "was given in \"next\"");
        return NGX_ERROR;
    }

    ngx_memcpy(after->bytes, id.data, sizeof(after->bytes));

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_page_sort(ngx_commerce_call_t *call, ngx_commerce_page_t *page)
{
    ngx_int_t  rc;
    ngx_str_t  value;

    rc = ngx_commerce_argument(call, "sort", &value);

    if (rc == NGX_DECLINED) {
        return NGX_OK;
    }

    if (rc != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    if (value.len == sizeof("-created") - 1
        && ngx_strncmp(value.data, "-created", value.len) == 0)
    {
        page->newest = 1;
        return NGX_OK;
    }

    if (value.len == sizeof("created") - 1
        && ngx_strncmp(value.data, "created", value.len) == 0)
    {
        return NGX_OK;
    }

    ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST,
                        "the argument \"sort\" must be \"created\" or "
                        "\"-created\"");

    return NGX_ERROR;
}


ngx_int_t
ngx_commerce_page_text(ngx_commerce_call_t *call, const char *name, size_t max,
    ngx_str_t *value, const char *wrong)
{
    ngx_int_t  rc;

    rc = ngx_commerce_argument(call, name, value);

    if (rc == NGX_DECLINED) {
        return NGX_OK;
    }

    if (rc != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    if (value->len == 0) {
        value->data = NULL;
        return NGX_OK;
    }

    /* what is no text of the database would be an error there */

    if (value->len > max || !commerce_json_text_valid(value->data, value->len))
    {
        ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST, wrong);
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_commerce_page_query(ngx_commerce_pg_op_t *op, ngx_commerce_trade_t *trade,
    ngx_uint_t statement, ngx_commerce_page_t *page)
{
    u_char                   *p, *pattern;
    size_t                    i;
    ngx_commerce_pg_query_t  *q;

    q = ngx_commerce_pg_query(op, statement, 6);
    if (q == NULL) {
        return NGX_ERROR;
    }

    /* one more than asked for tells whether there are more */
    ngx_commerce_pg_int4(q, 1, (int32_t) page->limit + 1);

    if (page->has_after) {
        ngx_commerce_pg_uuid(q, 2, &page->after);
    }

    if (page->category.data) {
        ngx_commerce_pg_text(q, 3, page->category.data, page->category.len);
    }

    if (page->q.data) {

        pattern = ngx_pnalloc(op->pool, 2 * page->q.len + 2);
        if (pattern == NULL) {
            return NGX_ERROR;
        }

        p = pattern;
        *p++ = '%';

        for (i = 0; i < page->q.len; i++) {

            if (page->q.data[i] == '%' || page->q.data[i] == '_'
                || page->q.data[i] == '\\')
            {
                *p++ = '\\';
            }

            *p++ = page->q.data[i];
        }

        *p++ = '%';

        ngx_commerce_pg_text(q, 4, pattern, (size_t) (p - pattern));
    }

    ngx_commerce_pg_bool(q, 5, page->newest);
    ngx_commerce_pg_int8(q, 6, ngx_commerce_zone_instance(trade->zone));

    return NGX_OK;
}


void
ngx_commerce_page_open(commerce_json_writer_t *w)
{
    commerce_json_object_open(w);
    commerce_json_key(w, "data");
    commerce_json_array_open(w);
}


void
ngx_commerce_page_close(commerce_json_writer_t *w,
    ngx_commerce_products_t *products)
{
    ngx_commerce_page_end(w, products->more ? &products->last : NULL);
}


void
ngx_commerce_page_end(commerce_json_writer_t *w, const commerce_uuid_t *last)
{
    u_char     text[ngx_base64_encoded_length(sizeof(commerce_uuid_t))];
    ngx_str_t  cursor, id;

    commerce_json_array_close(w);

    commerce_json_key(w, "has_more");
    commerce_json_boolean(w, last != NULL);
    commerce_json_key(w, "next");

    if (last) {
        id.data = (u_char *) last->bytes;
        id.len = sizeof(last->bytes);
        cursor.data = text;

        ngx_encode_base64url(&cursor, &id);

        commerce_json_string(w, cursor.data, cursor.len);

    } else {
        commerce_json_null(w);
    }

    commerce_json_object_close(w);
}
