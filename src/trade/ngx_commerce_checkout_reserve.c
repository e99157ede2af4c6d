/*
 * Units for an order: from the pools, after a wait for the database, or not.
 */

#include "ngx_commerce_checkout.h"


#define NGX_COMMERCE_REFILL_PAUSE  50       /* msec, at most */


static void ngx_commerce_checkout_short(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_woken(ngx_commerce_waiter_t *waiter);
static void ngx_commerce_checkout_sold_out(ngx_commerce_checkout_t *co);


/* All lines or none; nothing is taken where one look shows that it is short. */

void
ngx_commerce_checkout_reserve(ngx_commerce_checkout_t *co)
{
    ngx_int_t                      rc;
    ngx_uint_t                     i;
    ngx_commerce_zone_t           *zone;
    ngx_commerce_stock_view_t      view;
    ngx_commerce_checkout_line_t  *line;

    zone = co->trade->zone;

    for (i = 0; co->nlines > 1 && i < co->nlines; i++) {
        line = &co->lines[i];

        if (ngx_commerce_stock_look(zone, &line->item.ref, &view) == NGX_OK
            && (int64_t) view.units < line->quantity)
        {
            ngx_commerce_checkout_short(co);
            return;
        }
    }

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        /* one order, one instance: its fence is what the statement checks */
        rc = ngx_commerce_stock_take(zone, &line->item.ref,
                                     (uint32_t) line->quantity, &line->hold);

        if (rc == NGX_OK && line->hold.instance == co->lines[0].hold.instance)
        {
            continue;
        }

        if (rc != NGX_OK) {
            line->hold.units = 0;
        }

        ngx_commerce_checkout_put_back(co);

        if (rc == NGX_ERROR) {
            ngx_commerce_checkout_resolve(co);
            return;
        }

        ngx_commerce_checkout_short(co);
        return;
    }

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        if (ngx_commerce_stock_is_low(zone, &line->item.ref,
                                      co->trade->conf->lease_low_water))
        {
            ngx_commerce_lease_refill(co->trade, &line->item.ref);
        }
    }

    co->wants = NULL;
    ngx_commerce_checkout_send(co);
}


/*
 * Not enough in the pools: sold out for sure, or wait for a refill.
 *
 * Only the rows can say "sold out", as a refill saw them that began after this
 * request did: units that are in hand of others, or on their way back to the
 * database, are unused by the rows until their fate is committed.
 */

static void
ngx_commerce_checkout_short(ngx_commerce_checkout_t *co)
{
    ngx_uint_t                     i, lacks;
    ngx_commerce_want_t           *want;
    ngx_commerce_stock_view_t      view;
    ngx_commerce_checkout_line_t  *line;

    if (co->wants == NULL) {
        co->wants = ngx_pcalloc(co->call->pool,
                                co->nlines * sizeof(ngx_commerce_want_t));
        if (co->wants == NULL) {
            ngx_commerce_checkout_refuse(co, COMMERCE_INTERNAL, NULL);
            return;
        }
    }

    lacks = 0;

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];
        want = &co->wants[i];

        if (ngx_commerce_stock_look(co->trade->zone, &line->item.ref, &view)
            != NGX_OK)
        {
            ngx_commerce_checkout_resolve(co);
            return;
        }

        if ((int64_t) view.units >= line->quantity) {
            want->units = 0;
            continue;
        }

        want->probe = want->probe
                      || (view.sold_out && view.probe_due
                          && ngx_commerce_stock_probe(co->trade->zone,
                                                      &line->item.ref));

        if (view.sold_out && !want->probe) {
            ngx_commerce_checkout_sold_out(co);
            return;
        }

        if (want->units && (int32_t) (view.ended - want->target) >= 0) {

            lacks |= view.free + view.own < line->quantity;

            if (view.free + view.own < line->quantity && !view.others) {
                ngx_commerce_checkout_sold_out(co);
                return;
            }

            if (view.others) {
                ngx_commerce_lease_recall(co->trade, &line->item.id);
            }

            want->pause = ngx_min(2 * want->pause + 1,
                                  NGX_COMMERCE_REFILL_PAUSE);
            want->not_before = ngx_current_msec + want->pause;
        }

        want->ref = line->item.ref;
        want->id = line->item.id;
        want->units = (uint32_t) line->quantity;
    }

    if ((ngx_msec_int_t) (co->deadline - ngx_current_msec) <= 0) {

        if (lacks && ngx_commerce_zone_instance(co->trade->zone)) {
            ngx_commerce_checkout_sold_out(co);
            return;
        }

        ngx_commerce_checkout_refuse(co, COMMERCE_OVERLOADED,
                                     "no units came in time");
        return;
    }

    co->waiter.wants = co->wants;
    co->waiter.n = co->nlines;      /* entries without units are skipped */
    co->waiter.deadline = co->deadline;
    co->waiter.wake = ngx_commerce_checkout_woken;
    co->waiter.data = co;

    ngx_commerce_lease_wait(co->trade, &co->waiter);
}


static void
ngx_commerce_checkout_woken(ngx_commerce_waiter_t *waiter)
{
    ngx_commerce_checkout_reserve(waiter->data);
}


static void
ngx_commerce_checkout_sold_out(ngx_commerce_checkout_t *co)
{
    int64_t                        available;
    ngx_uint_t                     i;
    commerce_json_writer_t         w;
    ngx_commerce_stock_view_t      view;
    ngx_commerce_checkout_line_t  *line;

    commerce_json_writer_init(&w, 128 + 192 * co->nlines, ngx_commerce_palloc,
                              co->call->pool);
    commerce_json_key(&w, "lines");
    commerce_json_array_open(&w);

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];
        available = 0;

        if (ngx_commerce_stock_look(co->trade->zone, &line->item.ref, &view)
            == NGX_OK)
        {
            available = view.sold_out ? 0 : view.free + view.own;
        }

        commerce_json_object_open(&w);
        commerce_json_key(&w, "variant_id");
        commerce_json_uuid(&w, &line->item.id);
        commerce_json_key(&w, "sku");
        commerce_json_string(&w, line->item.sku, line->item.sku_len);
        commerce_json_key(&w, "requested");
        commerce_json_integer(&w, line->quantity);
        commerce_json_key(&w, "available");
        commerce_json_integer(&w, available);
        commerce_json_object_close(&w);
    }

    commerce_json_array_close(&w);

    if (!w.failed) {
        co->call->extra.data = w.start;
        co->call->extra.len = w.last - w.start;
    }

    ngx_commerce_checkout_deny(co, COMMERCE_OUT_OF_STOCK,
                               "not enough units for every line");
}


void
ngx_commerce_checkout_put_back(ngx_commerce_checkout_t *co)
{
    ngx_uint_t                     i;
    ngx_commerce_checkout_line_t  *line;

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        if (line->hold.units == 0) {
            continue;
        }

        if (ngx_commerce_stock_put_back(co->trade->zone, &line->item.ref,
                                        &line->hold)
            != NGX_OK)
        {
            ngx_commerce_lease_return(co->trade, &line->item.id, &line->hold);
        }

        line->hold.units = 0;
    }
}


void
ngx_commerce_checkout_let_go(ngx_commerce_checkout_t *co)
{
    ngx_uint_t                     i;
    ngx_commerce_checkout_line_t  *line;

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        if (line->hold.units) {
            ngx_commerce_stock_sold(co->trade->zone, &line->hold);
            line->hold.units = 0;
        }
    }

    if (co->marked) {
        ngx_commerce_replay_drop(co->trade->zone, &co->idem);
        co->marked = 0;
    }
}
