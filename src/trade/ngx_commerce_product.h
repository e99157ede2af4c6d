/*
 * Rows of products and variants from the database: into the zone and into
 * JSON, for the storefront and for the staff.
 */

#ifndef NGX_COMMERCE_PRODUCT_H
#define NGX_COMMERCE_PRODUCT_H

#include "ngx_commerce_engine.h"


/*
 * Where an availability stands in a template: this byte, which JSON never
 * holds, and the 16 bytes of the variant's id, inside the quotes.  Every word
 * is shorter, so a template is expanded in place.
 */
#define NGX_COMMERCE_PRODUCT_MARK      0x01
#define NGX_COMMERCE_PRODUCT_MARK_LEN  17


/* What the database said, for variants that the zone has no room for. */
typedef struct {
    commerce_uuid_t             id;
    int64_t                     units;
} ngx_commerce_product_units_t;


typedef struct {
    ngx_commerce_trade_t       *trade;
    commerce_json_writer_t     *writer;
    ngx_uint_t                  limit;      /* products to write at most */
    unsigned                    staff:1;    /* else a template; rows are put
                                               into the zone */
    ngx_atomic_uint_t           stamp;      /* of the zone's rows */
    ngx_array_t                *units;      /* ngx_commerce_product_units_t */

    /* set by ngx_commerce_products_write() */
    ngx_uint_t                  n;
    unsigned                    more:1;     /* there were more than "limit" */
    commerce_uuid_t             last;
    int32_t                     version;    /* of the last one */
} ngx_commerce_products_t;


/* A row of VARIANTS, or of another statement that begins with its columns. */
void ngx_commerce_variant_row(PGresult *res, int row,
    ngx_commerce_variant_t *variant);

/* Rows of PRODUCT_*: each product one value. NGX_ERROR: no memory. */
ngx_int_t ngx_commerce_products_write(ngx_commerce_products_t *products,
    PGresult *res);

/* A row of VARIANT_BY_SKU, as the staff sees it. */
void ngx_commerce_variant_write(commerce_json_writer_t *w, PGresult *res,
    int row, ngx_commerce_variant_t *variant);


/* limit, after, sort, category and q of the query string. */
typedef struct {
    ngx_uint_t                  limit;
    commerce_uuid_t             after;
    ngx_str_t                   category;   /* data NULL: any */
    ngx_str_t                   q;          /* data NULL: any */
    unsigned                    has_after:1;
    unsigned                    newest:1;   /* sort=-created */
} ngx_commerce_page_t;

/* NGX_ERROR: refused. */
ngx_int_t ngx_commerce_page_parse(ngx_commerce_call_t *call,
    ngx_commerce_page_t *page);

/* Adds the query PRODUCT_PAGE or ADMIN_PRODUCT_PAGE. */
ngx_int_t ngx_commerce_page_query(ngx_commerce_pg_op_t *op,
    ngx_commerce_trade_t *trade, ngx_uint_t statement,
    ngx_commerce_page_t *page);

/* The page's frame around ngx_commerce_products_write(). */
void ngx_commerce_page_open(commerce_json_writer_t *w);
void ngx_commerce_page_close(commerce_json_writer_t *w,
    ngx_commerce_products_t *products);

/*
 * Parts of any page.  "after": NGX_DECLINED when it is not given, NGX_ERROR
 * refused.  A text that is not given has no data, one that is no text or too
 * long is refused as "wrong".  "last": the cursor; NULL: there is no more.
 */
ngx_int_t ngx_commerce_page_after(ngx_commerce_call_t *call,
    commerce_uuid_t *after);
ngx_int_t ngx_commerce_page_text(ngx_commerce_call_t *call, const char *name,
    size_t max, ngx_str_t *value, const char *wrong);
void ngx_commerce_page_end(commerce_json_writer_t *w,
    const commerce_uuid_t *last);


/* ngx_commerce_catalogue.c: a write to the product was committed here. */
void ngx_commerce_catalogue_changed(ngx_commerce_trade_t *trade,
    const commerce_uuid_t *product_id);


#endif
