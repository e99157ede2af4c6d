/*
 * The commit of orders: the verdicts of the checkout statement, and what is
 * done after each.
 *
 * Units go back to a pool only while no run of the order may still commit
 * ("uncertain" is not set), or when its key is known to be another order's.
 */

#include "ngx_commerce_checkout.h"


static void ngx_commerce_checkout_result(ngx_commerce_pg_batch_t *batch,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_checkout_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_checkout_committed(ngx_commerce_pg_batch_t *batch);
static void ngx_commerce_checkout_verdict(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_again(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_enqueue(ngx_commerce_checkout_t *co);


static ngx_commerce_pg_kind_t  ngx_commerce_checkout_kind = {
    "checkout",
    128,                                    /* items: from commerce_batch */
    8192,                                   /* lines */
    ngx_commerce_checkout_build,
    ngx_commerce_checkout_result,
    ngx_commerce_checkout_done,
    ngx_commerce_checkout_committed
};


ngx_int_t
ngx_commerce_checkout_start(ngx_commerce_trade_t *trade)
{
    ngx_commerce_checkout_kind.max_items = trade->conf->batch;

    trade->checkouts = ngx_commerce_pg_lane_create(trade->cycle,
                           trade->orders, &ngx_commerce_checkout_kind,
                           trade->conf->queue, trade);

    trade->lookups = ngx_commerce_pg_lane_create(trade->cycle, trade->orders,
                         &ngx_commerce_lookup_kind, trade->conf->queue, trade);

    return trade->checkouts && trade->lookups ? NGX_OK : NGX_ERROR;
}


void
ngx_commerce_checkout_send(ngx_commerce_checkout_t *co)
{
    co->item.deadline = co->uncertain
                        ? ngx_current_msec + NGX_COMMERCE_UNCERTAIN
                        : co->deadline;
    ngx_commerce_checkout_enqueue(co);
}


static void
ngx_commerce_checkout_enqueue(ngx_commerce_checkout_t *co)
{
    co->item.group = co->lines[0].hold.instance;
    co->item.weight = co->nlines;

    if (ngx_commerce_pg_enqueue(co->trade->checkouts, &co->item) == NGX_OK) {
        return;
    }

    if (co->uncertain) {
        ngx_commerce_checkout_unknown(co);
        return;
    }

    ngx_commerce_checkout_put_back(co);
    ngx_commerce_checkout_refuse(co, COMMERCE_OVERLOADED,
                                 "the queue of orders is full");
}


static void
ngx_commerce_checkout_result(ngx_commerce_pg_batch_t *batch, ngx_uint_t query,
    PGresult *res)
{
    int                       row;
    int32_t                   n;
    int64_t                   created_at, expires_at, epoch;
    ngx_uint_t                i;
    ngx_commerce_known_t     *known;
    ngx_commerce_checkout_t  *co;

    switch (batch->op.queries[query].statement) {

    case NGX_COMMERCE_SQL_CHECKOUT:
    case NGX_COMMERCE_SQL_CHECKOUT_WHOLE:
        break;

    case NGX_COMMERCE_SQL_FENCE:
        batch->op.conn->tag = batch->group;
        return;

    default:
        return;
    }

    created_at = 0;
    expires_at = 0;
    epoch = 0;

    for (row = 0; row < PQntuples(res); row++) {
        n = ngx_commerce_pg_get_int4(res, row, 0);

        if (n == 0) {
            created_at = ngx_commerce_pg_get_int8(res, row, 2);
            expires_at = ngx_commerce_pg_get_int8(res, row, 3);
            epoch = ngx_commerce_pg_get_int8(res, row, 4);
            continue;
        }

        if (n > 0 && (ngx_uint_t) n <= batch->n) {
            co = (ngx_commerce_checkout_t *) batch->items[n - 1];
            co->verdict = ngx_commerce_pg_get_int4(res, row, 1);
        }
    }

    known = batch->op.conn->data;
    ngx_commerce_known_epoch(known, epoch);

    for (i = 0; i < batch->n; i++) {
        co = (ngx_commerce_checkout_t *) batch->items[i];
        co->created_at = created_at;
        co->expires_at = expires_at;

        if (co->verdict == NGX_COMMERCE_STORED) {
            ngx_commerce_known_order(known, co);
        }
    }
}


static void
ngx_commerce_checkout_committed(ngx_commerce_pg_batch_t *batch)
{
    ngx_commerce_trade_t     *trade;
    ngx_commerce_checkout_t  *co;

    trade = ngx_commerce_pg_lane_data(batch->lane);
    co = (ngx_commerce_checkout_t *) batch->items[0];

    ngx_commerce_count(trade->zone, NGX_COMMERCE_C_ORDER_BATCHES, 1);
    ngx_commerce_count(trade->zone, NGX_COMMERCE_C_DB_USEC,
                       ngx_commerce_clock() - co->sent);
}


static void
ngx_commerce_checkout_done(ngx_commerce_pg_item_t *item,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_checkout_t  *co;

    co = (ngx_commerce_checkout_t *) item;

    if (outcome != NGX_COMMERCE_PG_NOT_SENT) {
        co->call->db_usec += ngx_commerce_clock() - co->sent;
    }

    switch (outcome) {

    case NGX_COMMERCE_PG_COMMITTED:
        ngx_commerce_checkout_verdict(co);
        return;

    case NGX_COMMERCE_PG_UNKNOWN:
        if (!co->uncertain) {
            co->uncertain = 1;
            ngx_commerce_count(co->trade->zone, NGX_COMMERCE_C_UNKNOWN, 1);
        }
        ngx_commerce_checkout_lookup(co);
        return;

    case NGX_COMMERCE_PG_NOT_SENT:
        if (co->uncertain) {
            ngx_commerce_checkout_unknown(co);
            return;
        }

        ngx_commerce_checkout_put_back(co);
        ngx_commerce_checkout_refuse(co,
            ngx_commerce_pg_is_ready(co->trade->orders)
            ? COMMERCE_OVERLOADED : COMMERCE_UNAVAILABLE,
            "the order was not sent to the database in time");
        return;

    case NGX_COMMERCE_PG_FAILED:
        ngx_log_error(NGX_LOG_ERR, co->call->log, 0,
                      "commerce: an order was refused by the database, "
                      "SQLSTATE %s, request %V", sqlstate,
                      &co->call->request_id);

        if (co->uncertain) {
            ngx_commerce_checkout_lookup(co);
            return;
        }

        ngx_commerce_checkout_put_back(co);
        ngx_commerce_checkout_refuse(co,
            ngx_commerce_call_error(sqlstate) == NGX_COMMERCE_PG_FAILED
            ? COMMERCE_INTERNAL : COMMERCE_UNAVAILABLE, NULL);
        return;
    }
}


static void
ngx_commerce_checkout_verdict(ngx_commerce_checkout_t *co)
{
    ngx_uint_t  i;

    if (co->verdict == NGX_COMMERCE_STORED) {
        for (i = 0; i < co->nlines; i++) {
            ngx_commerce_stock_sold(co->trade->zone, &co->lines[i].hold);
            co->lines[i].hold.units = 0;
        }

        ngx_commerce_checkout_stored(co);
        return;
    }

    /* a refusal of a re-run says nothing of the run before: look it up */

    if (co->uncertain || co->verdict == NGX_COMMERCE_KEY_EXISTS) {
        ngx_commerce_checkout_lookup(co);
        return;
    }

    if (++co->refusals > NGX_COMMERCE_REFUSALS_MAX) {
        ngx_commerce_checkout_put_back(co);
        ngx_commerce_checkout_refuse(co, COMMERCE_UNAVAILABLE,
                                     "refused too often, try again");
        return;
    }

    ngx_commerce_checkout_again(co);
}


/* What was refused for something that moved meanwhile. */

static void
ngx_commerce_checkout_again(ngx_commerce_checkout_t *co)
{
    ngx_uint_t  i;

    switch (co->verdict) {

    case NGX_COMMERCE_STALE:
        ngx_commerce_checkout_put_back(co);

        for (i = 0; i < co->nlines; i++) {
            ngx_commerce_stock_forget(co->trade->zone, &co->lines[i].item.id);
        }

        ngx_commerce_checkout_resolve(co);
        return;

    case NGX_COMMERCE_COUPON_REFUSED:
        co->coupon_version = co->quote.coupon->version;
        co->cart_version = co->cart->cart.version;
        /* fall through */

    case NGX_COMMERCE_CART_MOVED:
        ngx_commerce_checkout_put_back(co);
        ngx_commerce_checkout_reload(co);
        return;

    case NGX_COMMERCE_RULES_MOVED:
        ngx_commerce_checkout_put_back(co);
        ngx_commerce_rules_forget(co->trade);
        ngx_commerce_checkout_resolve(co);
        return;

    default:
        ngx_commerce_checkout_anew(co);
        return;
    }
}


/* The lease or its instance is no more: other units, the same order. */

void
ngx_commerce_checkout_anew(ngx_commerce_checkout_t *co)
{
    ngx_uint_t  i;

    ngx_commerce_zone_doubt(co->trade->zone, co->lines[0].hold.instance,
                            co->verdict == NGX_COMMERCE_NOT_LIVE
                            ? "an order met the fence"
                            : "an order's lease is gone");

    for (i = 0; i < co->nlines; i++) {
        ngx_commerce_stock_sold(co->trade->zone, &co->lines[i].hold);
        co->lines[i].hold.units = 0;
    }

    ngx_commerce_checkout_reserve(co);
}
