/*
 * Where an order goes and who hears of it: the same checks for carts and
 * orders.
 */

#ifndef NGX_COMMERCE_DELIVERY_H
#define NGX_COMMERCE_DELIVERY_H

#include "ngx_commerce_engine.h"


typedef struct {
    ngx_str_t                   text;       /* JSON as given; or empty */
    ngx_str_t                   country;    /* two letters; or empty */
    ngx_str_t                   region;
    ngx_str_t                   method;
} ngx_commerce_delivery_t;


/*
 * {address?, method?}, whose pointer is "path".  What is wrong is added to
 * *errors; an object without either is no delivery at all.
 */
void ngx_commerce_delivery_parse(ngx_pool_t *pool,
    const commerce_json_t *object, const char *path,
    ngx_commerce_delivery_t *delivery, commerce_json_errors_t *errors);

/* Shape only: something, one "@", something, no blanks.  What is right, only
   a mail can tell. */
ngx_uint_t ngx_commerce_email_valid(const commerce_str_t *email);


#endif
