/*
 * What the staff may write of tax rates, shipping methods and coupons, and
 * what it reads of them.
 */

#ifndef NGX_COMMERCE_ADMIN_PRICING_H
#define NGX_COMMERCE_ADMIN_PRICING_H

#include "ngx_commerce_admin_fields.h"
#include "ngx_commerce_product.h"


/* Columns that every row begins with. */
enum {
    NGX_COMMERCE_PRICING_ID = 0,
    NGX_COMMERCE_PRICING_VERSION,
    NGX_COMMERCE_PRICING_CREATED,
    NGX_COMMERCE_PRICING_UPDATED,
    NGX_COMMERCE_PRICING_FIRST
};


typedef struct {
    const char                 *path;       /* of one, before its id */
    const char                 *filter;     /* argument of the list */
    ngx_uint_t                  page;       /* statements */
    ngx_uint_t                  row;
    ngx_uint_t                  put;
    ngx_uint_t                  delete;
    void                      (*check)(const commerce_json_t *doc,
                                       commerce_json_errors_t *errors);
    void                      (*write)(commerce_json_writer_t *w,
                                       PGresult *res, int row);
    unsigned                    rules:1;    /* workers have copies of it */
} ngx_commerce_pricing_kind_t;


typedef struct {
    ngx_commerce_pg_op_t                op;
    const ngx_commerce_pricing_kind_t  *kind;
    commerce_uuid_t                     id;
    int32_t                             expected;   /* 0: a new one */
    ngx_str_t                           doc;
    ngx_commerce_page_t                 page;
    ngx_str_t                           filter;
    ngx_commerce_put_t                  put;
    commerce_json_writer_t              writer;
    int32_t                             version;
    unsigned                            found:1;
    unsigned                            failed:1;
} ngx_commerce_pricing_t;


/* NULL: refused. */
ngx_commerce_pricing_t *ngx_commerce_pricing_call(ngx_commerce_call_t *call);

/* The id of the path, and what If-Match asks of a write; NGX_ERROR: refused. */
ngx_int_t ngx_commerce_pricing_target(ngx_commerce_call_t *call,
    ngx_commerce_pricing_t *pricing, ngx_uint_t write);

/* Adds the query for the row of pricing->id, and writes what came of it. */
ngx_int_t ngx_commerce_pricing_get_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
void ngx_commerce_pricing_get_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);

/* What the writer has. */
void ngx_commerce_pricing_send(ngx_commerce_call_t *call,
    ngx_commerce_pricing_t *pricing, ngx_uint_t status);


/* Each adds what is wrong to *errors. */
void ngx_commerce_tax_rate_check(const commerce_json_t *doc,
    commerce_json_errors_t *errors);
void ngx_commerce_shipping_method_check(const commerce_json_t *doc,
    commerce_json_errors_t *errors);
void ngx_commerce_coupon_check(const commerce_json_t *doc,
    commerce_json_errors_t *errors);

/* The members of a row that are its kind's own. */
void ngx_commerce_tax_rate_write(commerce_json_writer_t *w, PGresult *res,
    int row);
void ngx_commerce_shipping_method_write(commerce_json_writer_t *w,
    PGresult *res, int row);
void ngx_commerce_coupon_write(commerce_json_writer_t *w, PGresult *res,
    int row);


#endif
