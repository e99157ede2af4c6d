/*
 * What the staff may write: the same checks for the admin endpoints and for
 * the rows of an import.
 */

#ifndef NGX_COMMERCE_ADMIN_FIELDS_H
#define NGX_COMMERCE_ADMIN_FIELDS_H

#include "ngx_commerce_engine.h"


#define NGX_COMMERCE_SLUG_MAX      128
#define NGX_COMMERCE_VARIANTS_MAX  250
#define NGX_COMMERCE_OPTIONS_MAX   16
#define NGX_COMMERCE_UNITS_MAX     2147483647


typedef struct {
    commerce_str_t              type;       /* of an import row */
    commerce_str_t              slug;
    commerce_str_t              title;
    commerce_str_t              description;
    commerce_str_t              category;
    int                         published;
    const commerce_json_t      *variants;
} ngx_commerce_product_fields_t;


typedef struct {
    commerce_str_t              title;      /* data NULL: as it was */
    const commerce_json_t      *options;
    const commerce_json_t      *prices;
    int                         archived;   /* -1: as it was */
} ngx_commerce_variant_fields_t;


typedef struct {
    commerce_str_t              type;       /* of an import row */
    commerce_str_t              sku;        /* of an import row */
    int64_t                     delta;
    int64_t                     set;
    int64_t                     expected;
    commerce_str_t              reason;
    unsigned                    has_delta:1;
    unsigned                    has_set:1;
    unsigned                    has_expected:1;
} ngx_commerce_stock_fields_t;


typedef struct {
    commerce_str_t              type;       /* of an import row */
    commerce_str_t              sku;        /* of an import row */
    const commerce_json_t      *prices;
} ngx_commerce_price_fields_t;


/* 1..128 of a-z 0-9 . _ - and not the form of an id. */
ngx_uint_t ngx_commerce_slug_valid(const u_char *text, size_t len);

/* 1..64 bytes of printable UTF-8: what may stand in a path. */
ngx_uint_t ngx_commerce_sku_valid(const u_char *text, size_t len);

/*
 * Each returns NGX_OK, or NGX_ERROR with what is wrong added to *errors.
 * "row": the document is an import row: has "type" and, where the path would
 * have named it, "sku".
 */
ngx_int_t ngx_commerce_product_check(const commerce_json_t *doc,
    ngx_uint_t row, ngx_commerce_product_fields_t *fields,
    commerce_json_errors_t *errors);
ngx_int_t ngx_commerce_variant_check(const commerce_json_t *doc,
    ngx_commerce_variant_fields_t *fields, commerce_json_errors_t *errors);
ngx_int_t ngx_commerce_stock_check(const commerce_json_t *doc,
    ngx_uint_t row, ngx_commerce_stock_fields_t *fields,
    commerce_json_errors_t *errors);
ngx_int_t ngx_commerce_price_check(const commerce_json_t *doc,
    ngx_uint_t row, ngx_commerce_price_fields_t *fields,
    commerce_json_errors_t *errors);

/* "prices" as they stand at "path": {"USD": 1999}, or with tiers. */
void ngx_commerce_prices_check(const commerce_json_t *prices,
    const char *path, commerce_json_errors_t *errors);

/* path + "/" + name, in the errors' memory; "" when out of memory. */
const char *ngx_commerce_below(commerce_json_errors_t *errors,
    const char *path, const char *name);

/* The tree as text; NGX_ERROR: no memory. */
ngx_int_t ngx_commerce_doc_text(ngx_pool_t *pool, const commerce_json_t *doc,
    size_t size, ngx_str_t *text);


/* What a row of PUT_* or *_STOCK says: the columns are the same. */
typedef enum {
    NGX_COMMERCE_PUT_ERROR = 0,
    NGX_COMMERCE_PUT_CREATED,
    NGX_COMMERCE_PUT_UPDATED,
    NGX_COMMERCE_PUT_UNCHANGED,
    NGX_COMMERCE_PUT_REPLAYED
} ngx_commerce_put_e;

typedef struct {
    int32_t                     n;          /* the row's number, from 1 */
    ngx_commerce_put_e          status;
    commerce_uuid_t             id;
    int32_t                     version;    /* of stock: units that are free */
    commerce_problem_e          problem;
    unsigned                    leased:1;   /* a conflict that a return of
                                               leased units may end */
    unsigned                    too_many:1; /* the limit of units */
    ngx_str_t                   pointer;    /* in the caller's pool */
} ngx_commerce_put_t;

/* NGX_ERROR: no memory. */
ngx_int_t ngx_commerce_put_row(ngx_pool_t *pool, PGresult *res, int row,
    ngx_commerce_put_t *put);

/* The refusal in words, and its pointer noted; for a PUT_ERROR. */
const char *ngx_commerce_put_detail(ngx_commerce_put_t *put,
    commerce_json_errors_t *errors);


/* The body's errors list; NULL: refused, there is no body or no memory. */
commerce_json_errors_t *ngx_commerce_admin_errors(ngx_commerce_call_t *call);

/* If-Match of a write; NGX_ERROR: refused with 428 or 412. */
ngx_int_t ngx_commerce_if_match(ngx_commerce_call_t *call, int32_t *version);

/* call->etag = "version"; NGX_ERROR: no memory. */
ngx_int_t ngx_commerce_etag(ngx_commerce_call_t *call, int32_t version);

/* Ends the call for an admin write or read that was not committed. */
void ngx_commerce_admin_failed(ngx_commerce_call_t *call,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);

/* Refuses what the database refused. */
void ngx_commerce_put_refuse(ngx_commerce_call_t *call,
    ngx_commerce_put_t *put);


#endif
