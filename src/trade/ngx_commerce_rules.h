/*
 * The worker's copy of tax rates and shipping methods, as those who compute
 * with it see it.  It may be replaced whenever the event loop runs: look
 * things up, do not keep them.
 */

#ifndef NGX_COMMERCE_RULES_H
#define NGX_COMMERCE_RULES_H

#include "ngx_commerce_quote.h"


typedef struct {
    uint64_t                    category;   /* 0: any */
    int32_t                     rate;       /* millionths */
    unsigned                    included:1; /* prices contain it */
} ngx_commerce_rate_t;


/* The rates of a country or of a region in it, by category. */
typedef struct {
    ngx_str_t                   country;    /* both in small letters */
    ngx_str_t                   region;     /* empty: any */
    ngx_commerce_rate_t        *rates;
    ngx_uint_t                  nrates;
} ngx_commerce_place_t;


typedef struct {
    ngx_str_t                   code;
    ngx_str_t                   title;
    ngx_str_t                   countries;  /* "AT,DE"; empty: any */
    ngx_str_t                   prices;     /* "EUR:450,USD:500" */
    ngx_str_t                   free_over;  /* likewise; may be empty */
} ngx_commerce_method_t;


typedef struct {
    ngx_pool_t                 *pool;
    int64_t                     version;
    uint64_t                    stamp;
    ngx_commerce_place_t       *places;     /* by country and region */
    ngx_uint_t                  nplaces;
    ngx_commerce_rate_t        *rates;
    ngx_commerce_method_t      *methods;    /* active ones, in their order */
    ngx_uint_t                  nmethods;
} ngx_commerce_rules_copy_t;


/* NULL: none was read yet. */
const ngx_commerce_rules_copy_t *ngx_commerce_rules_copy(
    ngx_commerce_trade_t *trade);

/* A place's rates, or NULL; whatever case the texts have. */
const ngx_commerce_place_t *ngx_commerce_rules_place(
    const ngx_commerce_rules_copy_t *copy, const ngx_str_t *country,
    const ngx_str_t *region);

/* What a category is to a rate; 0: none. */
uint64_t ngx_commerce_rules_category(const ngx_str_t *category);

/* The rate of exactly that category, or NULL.  "place" may be NULL. */
const ngx_commerce_rate_t *ngx_commerce_rules_rate(
    const ngx_commerce_place_t *place, uint64_t category);

/* 1 when the method serves the country. */
ngx_uint_t ngx_commerce_rules_serves(const ngx_commerce_method_t *method,
    const ngx_str_t *country);

/* The amount in a currency of "EUR:450,USD:500"; -1: there is none. */
int64_t ngx_commerce_rules_amount(const ngx_str_t *list,
    const u_char *currency);


#endif
