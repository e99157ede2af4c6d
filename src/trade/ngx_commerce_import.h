/* Inside of the import: a row, its check and its way to the database. */

#ifndef NGX_COMMERCE_IMPORT_H
#define NGX_COMMERCE_IMPORT_H

#include "ngx_commerce_product.h"
#include "ngx_commerce_admin_fields.h"


/* also the index in trade->imports */
typedef enum {
    NGX_COMMERCE_IMPORT_PRODUCT = 0,
    NGX_COMMERCE_IMPORT_STOCK,
    NGX_COMMERCE_IMPORT_PRICE
} ngx_commerce_import_e;


/* Lives in its group's pool until the group is answered. */
typedef struct {
    ngx_commerce_pg_item_t      item;       /* must stay first */
    int64_t                     n;          /* the row's number */
    ngx_commerce_trade_t       *trade;
    void                       *state;
    void                       *group;
    ngx_pool_t                 *pool;       /* the group's */
    ngx_commerce_import_e       type;
    ngx_str_t                   actor;

    ngx_str_t                   doc;        /* a product, or prices */
    ngx_str_t                   sku;
    ngx_str_t                   reason;
    int32_t                     units;      /* delta or set */
    unsigned                    set:1;
    unsigned                    may_stock:1;    /* the key has the scope */
    unsigned                    asked:1;    /* for leased units back */

    unsigned                    done:1;
    ngx_commerce_put_t          put;
    const char                 *detail;
    commerce_json_errors_t     *errors;
} ngx_commerce_import_item_t;


/* ngx_commerce_import.c */
void ngx_commerce_import_refuse(ngx_commerce_import_item_t *item,
    commerce_problem_e problem, const char *detail);
void ngx_commerce_import_settled(ngx_commerce_import_item_t *item);

/* 1 when no later row of the group is about the same sku. */
ngx_uint_t ngx_commerce_import_is_last(ngx_commerce_import_item_t *item);

/*
 * ngx_commerce_import_lanes.c.  check() takes what it needs from the tree
 * ("size" bytes of text) into the pool, or refuses the item.
 */
void ngx_commerce_import_check(ngx_commerce_import_item_t *item,
    ngx_pool_t *pool, commerce_json_t *root, size_t size);
ngx_int_t ngx_commerce_import_enqueue(ngx_commerce_trade_t *trade,
    ngx_commerce_import_item_t *item);


#endif
