/*
 * What became of a key: asked when a run ended nobody knows how, when the key
 * exists, and before a refusal on the merits is believed.
 */

#include "ngx_commerce_checkout.h"


static ngx_int_t ngx_commerce_lookup_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_lookup_result(ngx_commerce_pg_batch_t *batch,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_lookup_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_lookup_found(ngx_commerce_checkout_t *co);
static void ngx_commerce_lookup_absent(ngx_commerce_checkout_t *co);
static void ngx_commerce_lookup_denied(ngx_commerce_checkout_t *co);


enum {
    NGX_COMMERCE_LOOKUP_KEYS = 0,
    NGX_COMMERCE_LOOKUP_RULES
};


#define ngx_commerce_lookup_checkout(item)                                    \
    ((ngx_commerce_checkout_t *) ((u_char *) item                             \
                            - offsetof(ngx_commerce_checkout_t, lookup)))


const ngx_commerce_pg_kind_t  ngx_commerce_lookup_kind = {
    "lookup",
    256,
    256,
    ngx_commerce_lookup_build,
    ngx_commerce_lookup_result,
    ngx_commerce_lookup_done,
    NULL
};


void
ngx_commerce_checkout_lookup(ngx_commerce_checkout_t *co)
{
    co->found = 0;
    co->found_rules = 0;
    co->lookup.weight = 1;

    if (co->lookup.deadline == 0) {
        co->lookup.deadline = ngx_current_msec + NGX_COMMERCE_UNCERTAIN;
    }

    if ((ngx_msec_int_t) (co->lookup.deadline - ngx_current_msec) <= 0
        || ngx_commerce_pg_enqueue(co->trade->lookups, &co->lookup) != NGX_OK)
    {
        ngx_commerce_checkout_unknown(co);
    }
}


void
ngx_commerce_checkout_deny(ngx_commerce_checkout_t *co,
    commerce_problem_e problem, const char *detail)
{
    co->denied = problem;
    co->denied_detail = detail;

    if (co->lookup.deadline == 0) {
        co->lookup.deadline = ngx_current_msec
                              + co->trade->conf->queue_timeout;
    }

    ngx_commerce_checkout_lookup(co);
}


static ngx_int_t
ngx_commerce_lookup_build(ngx_commerce_pg_batch_t *batch,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_uint_t                i, rules;
    ngx_commerce_pg_array_t   idem;
    ngx_commerce_pg_query_t  *q;
    ngx_commerce_checkout_t  *co;

    (void) conn;

    q = ngx_commerce_pg_query(&batch->op, NGX_COMMERCE_SQL_ORDER_BY_KEY, 1);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_array(&idem, batch->op.pool, NGX_COMMERCE_PG_UUID,
                          batch->n);

    rules = 0;

    for (i = 0; i < batch->n; i++) {
        co = ngx_commerce_lookup_checkout(batch->items[i]);
        ngx_commerce_pg_push_uuid(&idem, &co->idem);

        rules |= (co->denied && co->quote.rules);
    }

    ngx_commerce_pg_array_param(q, 1, &idem);

    if (q->failed) {
        return NGX_ERROR;
    }

    return !rules || ngx_commerce_pg_query(&batch->op,
                                           NGX_COMMERCE_SQL_RULES, 0)
           ? NGX_OK : NGX_ERROR;
}


static void
ngx_commerce_lookup_result(ngx_commerce_pg_batch_t *batch, ngx_uint_t query,
    PGresult *res)
{
    int                       row;
    int32_t                   n;
    ngx_uint_t                i;
    ngx_commerce_checkout_t  *co;

    if (query == NGX_COMMERCE_LOOKUP_RULES) {

        for (i = 0; i < batch->n && PQntuples(res) == 1; i++) {
            co = ngx_commerce_lookup_checkout(batch->items[i]);
            co->found_rules = ngx_commerce_pg_get_int8(res, 0, 0);
        }

        return;
    }

    for (row = 0; row < PQntuples(res); row++) {
        n = ngx_commerce_pg_get_int4(res, row, 0);

        if (n < 1 || (ngx_uint_t) n > batch->n) {
            continue;
        }

        co = ngx_commerce_lookup_checkout(batch->items[n - 1]);
        co->found = 1;

        ngx_commerce_pg_get_uuid(res, row, 1, &co->found_id);
        ngx_commerce_pg_get_uuid(res, row, 2, &co->found_fingerprint);
        co->found_lease = ngx_commerce_pg_get_int8(res, row, 3);
    }
}


static void
ngx_commerce_lookup_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_checkout_t  *co;

    (void) sqlstate;

    co = ngx_commerce_lookup_checkout(item);

    switch (outcome) {

    case NGX_COMMERCE_PG_COMMITTED:
        if (co->found) {
            ngx_commerce_lookup_found(co);
        } else {
            ngx_commerce_lookup_absent(co);
        }
        return;

    case NGX_COMMERCE_PG_UNKNOWN:
        ngx_commerce_checkout_lookup(co);
        return;

    default:
        ngx_commerce_checkout_unknown(co);
        return;
    }
}


static void
ngx_commerce_lookup_found(ngx_commerce_checkout_t *co)
{
    ngx_uint_t  i;

    if (commerce_uuid_compare(&co->found_id, &co->id) == 0) {

        /*
         * Ours.  All lines of a run are of the leases it held, so the first
         * line tells whether the units in hand are those that were sold.
         */

        if (co->lines[0].hold.units
            && co->found_lease != co->lines[0].hold.lease)
        {
            ngx_commerce_checkout_put_back(co);
        }

        for (i = 0; i < co->nlines; i++) {
            if (co->lines[i].hold.units) {
                ngx_commerce_stock_sold(co->trade->zone, &co->lines[i].hold);
                co->lines[i].hold.units = 0;
            }
        }

        /* a run before may have had other prices: the rows are right */

        ngx_commerce_checkout_let_go(co);
        ngx_commerce_count(co->trade->zone, NGX_COMMERCE_C_ORDERS, 1);
        ngx_commerce_order_show(co->call, &co->id, 201);
        return;
    }

    /* the key is another order's: no run of ours can commit any more */

    ngx_commerce_checkout_put_back(co);
    ngx_commerce_checkout_let_go(co);

    if (ngx_memcmp(&co->found_fingerprint, &co->fingerprint,
                   sizeof(commerce_uuid_t))
        != 0)
    {
        co->call->errors = NULL;
        ngx_str_null(&co->call->extra);
        ngx_commerce_refuse(co->call, COMMERCE_IDEMPOTENCY_KEY_REUSED,
                            "this key came with another request before");
        return;
    }

    ngx_commerce_count(co->trade->zone, NGX_COMMERCE_C_REPLAYS, 1);
    co->call->replayed = 1;
    ngx_commerce_order_show(co->call, &co->found_id, 201);
}


static void
ngx_commerce_lookup_absent(ngx_commerce_checkout_t *co)
{
    if (co->ordered) {

        /* a run of ours that may still commit needs the cart: it is not to be
           had any more */

        ngx_commerce_checkout_put_back(co);
        ngx_commerce_checkout_let_go(co);
        ngx_commerce_checkout_show_ordered(co);
        return;
    }

    if (co->denied && !co->uncertain) {
        ngx_commerce_lookup_denied(co);
        return;
    }

    if (co->denied) {

        /* no INSERT was tried since the run that may still commit */

        ngx_commerce_checkout_unknown(co);
        return;
    }

    if (++co->refusals > NGX_COMMERCE_REFUSALS_MAX) {
        ngx_commerce_checkout_unknown(co);
        return;
    }

    if (co->verdict == NGX_COMMERCE_CART_MOVED) {

        /* its version does not come back: no run of ours can commit */

        co->uncertain = 0;
        co->deadline = co->lookup.deadline;
        ngx_commerce_checkout_put_back(co);
        ngx_commerce_checkout_reload(co);
        return;
    }

    if (co->verdict == NGX_COMMERCE_STALE
        || co->verdict == NGX_COMMERCE_COUPON_REFUSED
        || co->verdict == NGX_COMMERCE_RULES_MOVED)
    {
        /* a run at the old price may still commit */

        ngx_commerce_checkout_unknown(co);
        return;
    }

    if (co->verdict == NGX_COMMERCE_NOT_LIVE
        || co->verdict == NGX_COMMERCE_LEASE_GONE
        || co->lines[0].hold.instance
           != ngx_commerce_zone_instance(co->trade->zone))
    {
        co->deadline = co->lookup.deadline;
        ngx_commerce_checkout_anew(co);
        return;
    }

    ngx_commerce_checkout_send(co);
}


/* Who was refused by rules that are no more is judged by those of now. */

static void
ngx_commerce_lookup_denied(ngx_commerce_checkout_t *co)
{
    if (co->quote.rules == 0 || co->found_rules == 0
        || co->found_rules == co->quote.rules
        || ++co->refusals > NGX_COMMERCE_REFUSALS_MAX)
    {
        ngx_commerce_checkout_refuse(co, co->denied, co->denied_detail);
        return;
    }

    co->denied = COMMERCE_NO_PROBLEM;
    co->lookup.deadline = 0;
    co->call->errors = NULL;
    ngx_str_null(&co->call->extra);

    ngx_commerce_rules_forget(co->trade);
    ngx_commerce_checkout_resolve(co);
}


void
ngx_commerce_checkout_unknown(ngx_commerce_checkout_t *co)
{
    co->call->errors = NULL;
    ngx_str_null(&co->call->extra);

    if (!co->uncertain) {
        ngx_commerce_checkout_put_back(co);
    }

    ngx_commerce_checkout_refuse(co, COMMERCE_UNAVAILABLE,
                                 "the database did not answer in time");
}
