/*
 * The worker's copy of tax rates and shipping methods.  It is read anew when
 * the zone's counter says that something changed: by a write on this instance
 * at once, by one elsewhere when its news arrives.
 */

#include "ngx_commerce_rules.h"


#define NGX_COMMERCE_RULES_POOL  4096


enum {
    NGX_COMMERCE_RULES_VERSION = 0,
    NGX_COMMERCE_RULES_RATES,
    NGX_COMMERCE_RULES_METHODS
};


struct ngx_commerce_rules_s {
    ngx_commerce_pg_op_t        op;
    ngx_commerce_trade_t       *trade;
    ngx_commerce_rules_copy_t  *copy;
    ngx_commerce_rules_copy_t  *next;       /* being read */
    ngx_queue_t                 waits;
    unsigned                    loading:1;
    unsigned                    failed:1;
};


static ngx_int_t ngx_commerce_rules_load(ngx_commerce_rules_t *rules);
static ngx_int_t ngx_commerce_rules_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_rules_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_rules_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_rules_wake(ngx_commerce_rules_t *rules,
    ngx_int_t rc);
static ngx_int_t ngx_commerce_rules_take_rates(
    ngx_commerce_rules_copy_t *copy, PGresult *res);
static ngx_int_t ngx_commerce_rules_take_methods(
    ngx_commerce_rules_copy_t *copy, PGresult *res);
static ngx_int_t ngx_commerce_rules_text(ngx_pool_t *pool, ngx_str_t *src,
    ngx_str_t *dst);
static int ngx_libc_cdecl ngx_commerce_rules_compare(const void *one,
    const void *two);
static ngx_int_t ngx_commerce_rules_order(const ngx_str_t *lower,
    const ngx_str_t *text);


ngx_int_t
ngx_commerce_rules_start(ngx_commerce_trade_t *trade)
{
    ngx_commerce_rules_t  *rules;

    rules = ngx_pcalloc(trade->cycle->pool, sizeof(ngx_commerce_rules_t));
    if (rules == NULL) {
        return NGX_ERROR;
    }

    rules->trade = trade;
    rules->op.build = ngx_commerce_rules_build;
    rules->op.result = ngx_commerce_rules_result;
    rules->op.done = ngx_commerce_rules_done;
    rules->op.data = rules;
    ngx_queue_init(&rules->waits);

    trade->rules = rules;

    return NGX_OK;
}


const ngx_commerce_rules_copy_t *
ngx_commerce_rules_copy(ngx_commerce_trade_t *trade)
{
    return trade->rules->copy;
}


void
ngx_commerce_rules_forget(ngx_commerce_trade_t *trade)
{
    ngx_commerce_zone_rules_moved(trade->zone);
}


ngx_int_t
ngx_commerce_rules_current(ngx_commerce_trade_t *trade,
    ngx_commerce_rules_wait_t *wait)
{
    uint64_t               stamp;
    ngx_commerce_rules_t  *rules;

    rules = trade->rules;
    stamp = ngx_commerce_zone_rules(trade->zone);

    if (rules->copy && rules->copy->stamp >= stamp) {
        return NGX_OK;
    }

    if (!rules->loading && ngx_commerce_rules_load(rules) != NGX_OK) {
        return NGX_ERROR;
    }

    wait->stamp = stamp;
    ngx_queue_insert_tail(&rules->waits, &wait->queue);

    return NGX_AGAIN;
}


static ngx_int_t
ngx_commerce_rules_load(ngx_commerce_rules_t *rules)
{
    ngx_commerce_trade_t  *trade;

    trade = rules->trade;

    rules->failed = 0;
    rules->op.deadline = ngx_current_msec + trade->conf->queue_timeout;

    /* 0 is no deadline */
    if (rules->op.deadline == 0) {
        rules->op.deadline = 1;
    }

    if (ngx_commerce_pg_submit(trade->reads, &rules->op) != NGX_OK) {
        return NGX_ERROR;
    }

    rules->loading = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_rules_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_pool_t                 *pool;
    ngx_commerce_rules_t       *rules;
    ngx_commerce_rules_copy_t  *copy;

    rules = op->data;

    pool = ngx_create_pool(NGX_COMMERCE_RULES_POOL, rules->trade->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    copy = ngx_pcalloc(pool, sizeof(ngx_commerce_rules_copy_t));
    if (copy == NULL) {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    copy->pool = pool;

    /* what changes from here on makes this reading stale */
    copy->stamp = ngx_commerce_zone_rules(rules->trade->zone);

    rules->next = copy;

    return ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_RULES, 0)
           && ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_RULES_RATES, 0)
           && ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_RULES_METHODS, 0)
           ? NGX_OK : NGX_ERROR;
}


static void
ngx_commerce_rules_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_int_t              rc;
    ngx_commerce_rules_t  *rules;

    rules = op->data;

    switch (query) {

    case NGX_COMMERCE_RULES_VERSION:
        rc = PQntuples(res) == 1 ? NGX_OK : NGX_ERROR;

        if (rc == NGX_OK) {
            rules->next->version = ngx_commerce_pg_get_int8(res, 0, 0);
        }

        break;

    case NGX_COMMERCE_RULES_RATES:
        rc = ngx_commerce_rules_take_rates(rules->next, res);
        break;

    default:    /* NGX_COMMERCE_RULES_METHODS */
        rc = ngx_commerce_rules_take_methods(rules->next, res);
    }

    if (rc != NGX_OK) {
        rules->failed = 1;
    }
}


static void
ngx_commerce_rules_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_int_t                   rc;
    ngx_commerce_rules_t       *rules;
    ngx_commerce_rules_copy_t  *gone;

    rules = op->data;
    rules->loading = 0;

    gone = rules->next;
    rc = NGX_ERROR;

    if (outcome == NGX_COMMERCE_PG_COMMITTED && !rules->failed) {
        gone = rules->copy;
        rules->copy = rules->next;
        rc = NGX_OK;
    }

    rules->next = NULL;

    if (gone) {
        ngx_destroy_pool(gone->pool);
    }

    ngx_commerce_rules_wake(rules, rc);
}


/*
 * Who came after the counter had moved on waits for one more reading.  Those
 * who are told may ask again at once.
 */

static void
ngx_commerce_rules_wake(ngx_commerce_rules_t *rules, ngx_int_t rc)
{
    uint64_t                    stamp;
    ngx_queue_t                *q, waits;
    ngx_commerce_rules_wait_t  *wait;

    if (ngx_queue_empty(&rules->waits)) {
        return;
    }

    ngx_queue_init(&waits);
    ngx_queue_add(&waits, &rules->waits);
    ngx_queue_init(&rules->waits);

    stamp = rules->copy ? rules->copy->stamp : 0;

    while (!ngx_queue_empty(&waits)) {

        q = ngx_queue_head(&waits);
        ngx_queue_remove(q);
        wait = ngx_queue_data(q, ngx_commerce_rules_wait_t, queue);

        if (rc == NGX_OK && wait->stamp > stamp) {
            ngx_queue_insert_tail(&rules->waits, q);
            continue;
        }

        wait->ready(wait, rc);
    }

    if (!ngx_queue_empty(&rules->waits) && !rules->loading
        && ngx_commerce_rules_load(rules) != NGX_OK)
    {
        ngx_commerce_rules_wake(rules, NGX_ERROR);
    }
}


/* Rows of one place stand together; within it rates are sorted here, as the
   database does not know the categories' numbers. */

static ngx_int_t
ngx_commerce_rules_take_rates(ngx_commerce_rules_copy_t *copy, PGresult *res)
{
    int                    row, rows;
    ngx_str_t              country, region, category;
    ngx_uint_t             i;
    ngx_commerce_rate_t   *rate;
    ngx_commerce_place_t  *place;

    rows = PQntuples(res);

    copy->places = ngx_palloc(copy->pool,
                              (rows + 1) * sizeof(ngx_commerce_place_t));
    copy->rates = ngx_palloc(copy->pool,
                             (rows + 1) * sizeof(ngx_commerce_rate_t));

    if (copy->places == NULL || copy->rates == NULL) {
        return NGX_ERROR;
    }

    place = NULL;

    for (row = 0; row < rows; row++) {

        country = ngx_commerce_pg_get_text(res, row, 0);
        region = ngx_commerce_pg_get_text(res, row, 1);
        category = ngx_commerce_pg_get_text(res, row, 2);

        if (place == NULL
            || ngx_commerce_rules_order(&place->country, &country) != 0
            || ngx_commerce_rules_order(&place->region, &region) != 0)
        {
            place = &copy->places[copy->nplaces++];

            if (ngx_commerce_rules_text(copy->pool, &country, &place->country)
                != NGX_OK
                || ngx_commerce_rules_text(copy->pool, &region,
                                           &place->region)
                   != NGX_OK)
            {
                return NGX_ERROR;
            }

            ngx_strlow(place->country.data, place->country.data,
                       place->country.len);

            place->rates = &copy->rates[row];
            place->nrates = 0;
        }

        rate = &place->rates[place->nrates++];

        rate->category = ngx_commerce_rules_category(&category);
        rate->rate = ngx_commerce_pg_get_int4(res, row, 3);
        rate->included = ngx_commerce_pg_get_bool(res, row, 4) ? 1 : 0;
    }

    for (i = 0; i < copy->nplaces; i++) {
        place = &copy->places[i];

        ngx_qsort(place->rates, place->nrates, sizeof(ngx_commerce_rate_t),
                  ngx_commerce_rules_compare);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_rules_take_methods(ngx_commerce_rules_copy_t *copy,
    PGresult *res)
{
    int                     row, col, rows;
    ngx_str_t               text;
    ngx_commerce_method_t  *method;

    rows = PQntuples(res);

    copy->methods = ngx_pcalloc(copy->pool,
                                (rows + 1) * sizeof(ngx_commerce_method_t));
    if (copy->methods == NULL) {
        return NGX_ERROR;
    }

    for (row = 0; row < rows; row++) {

        method = &copy->methods[copy->nmethods++];

        ngx_str_t  *members[] = { &method->code, &method->title,
                                  &method->countries, &method->prices,
                                  &method->free_over };

        for (col = 0; col < 5; col++) {
            text = ngx_commerce_pg_get_text(res, row, col);

            if (ngx_commerce_rules_text(copy->pool, &text, members[col])
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_rules_text(ngx_pool_t *pool, ngx_str_t *src, ngx_str_t *dst)
{
    dst->len = src->len;
    dst->data = ngx_pnalloc(pool, src->len + 1);

    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, src->data, src->len);

    return NGX_OK;
}


static int ngx_libc_cdecl
ngx_commerce_rules_compare(const void *one, const void *two)
{
    uint64_t  a, b;

    a = ((const ngx_commerce_rate_t *) one)->category;
    b = ((const ngx_commerce_rate_t *) two)->category;

    return a < b ? -1 : a > b;
}


uint64_t
ngx_commerce_rules_category(const ngx_str_t *category)
{
    return commerce_price_category(category->data, category->len);
}


/* The order of the collation "C" after ASCII's capitals became small. */

static ngx_int_t
ngx_commerce_rules_order(const ngx_str_t *lower, const ngx_str_t *text)
{
    u_char  c;
    size_t  i;

    for (i = 0; i < lower->len && i < text->len; i++) {

        c = ngx_tolower(text->data[i]);

        if (lower->data[i] != c) {
            return lower->data[i] < c ? -1 : 1;
        }
    }

    return lower->len == text->len ? 0 : lower->len < text->len ? -1 : 1;
}


const ngx_commerce_place_t *
ngx_commerce_rules_place(const ngx_commerce_rules_copy_t *copy,
    const ngx_str_t *country, const ngx_str_t *region)
{
    ngx_int_t                    order;
    ngx_uint_t                   low, high, middle;
    const ngx_commerce_place_t  *place;

    low = 0;
    high = copy->nplaces;

    while (low < high) {

        middle = low + (high - low) / 2;
        place = &copy->places[middle];

        order = ngx_commerce_rules_order(&place->country, country);

        if (order == 0) {
            order = ngx_commerce_rules_order(&place->region, region);
        }

        if (order == 0) {
            return place;
        }

        if (order < 0) {
            low = middle + 1;

        } else {
            high = middle;
        }
    }

    return NULL;
}


const ngx_commerce_rate_t *
ngx_commerce_rules_rate(const ngx_commerce_place_t *place, uint64_t category)
{
    ngx_uint_t                  low, high, middle;
    const ngx_commerce_rate_t  *rate;

    if (place == NULL) {
        return NULL;
    }

    low = 0;
    high = place->nrates;

    while (low < high) {

        middle = low + (high - low) / 2;
        rate = &place->rates[middle];

        if (rate->category == category) {
            return rate;
        }

        if (rate->category < category) {
            low = middle + 1;

        } else {
            high = middle;
        }
    }

    return NULL;
}


ngx_uint_t
ngx_commerce_rules_serves(const ngx_commerce_method_t *method,
    const ngx_str_t *country)
{
    size_t  i;

    if (country->len != 2) {
        return 0;
    }

    if (method->countries.len == 0) {
        return 1;
    }

    for (i = 0; i + 2 <= method->countries.len; i += 3) {
        if (ngx_strncasecmp(method->countries.data + i, country->data, 2)
            == 0)
        {
            return 1;
        }
    }

    return 0;
}


int64_t
ngx_commerce_rules_amount(const ngx_str_t *list, const u_char *currency)
{
    u_char   *p, *end;
    int64_t   amount;

    p = list->data;
    end = p + list->len;

    while (end - p > COMMERCE_CURRENCY_LEN + 1) {

        if (ngx_memcmp(p, currency, COMMERCE_CURRENCY_LEN) == 0) {

            amount = 0;

            /* checked when it was written: far below an overflow */

            for (p += COMMERCE_CURRENCY_LEN + 1; p < end && *p != ','; p++) {
                amount = amount * 10 + (*p - '0');
            }

            return amount;
        }

        while (p < end && *p++ != ',') { /* void */ }
    }

    return -1;
}
