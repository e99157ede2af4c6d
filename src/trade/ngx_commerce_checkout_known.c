/*
 * Leases and versions that a connection has found: they need no look-up again.
 *
 * It holds for one session of one connection: a connection stays with one
 * server, which forgets nothing that it has shown.  After a failover, where
 * the new primary may lack a lease, all connections are new.
 *
 * A table without chains: of two leases with one place the later stands, and
 * the other is looked up as if it had never been found.
 */

#include "ngx_commerce_checkout.h"


static void ngx_commerce_known_forget(ngx_commerce_known_t *known);
static ngx_commerce_known_line_t *ngx_commerce_known_place(
    ngx_commerce_known_t *known, int64_t lease);


ngx_commerce_known_t *
ngx_commerce_known(ngx_commerce_pg_conn_t *conn, ngx_cycle_t *cycle)
{
    ngx_commerce_known_t  *known;

    known = conn->data;

    if (known == NULL) {
        known = ngx_pcalloc(cycle->pool, sizeof(ngx_commerce_known_t));
        if (known == NULL) {
            return NULL;
        }

        conn->data = known;
    }

    if (known->session != conn->session) {
        known->session = conn->session;
        known->epoch = 0;
        ngx_commerce_known_forget(known);
    }

    return known;
}


ngx_uint_t
ngx_commerce_known_line(ngx_commerce_known_t *known,
    ngx_commerce_checkout_line_t *line)
{
    ngx_commerce_known_line_t  *place;

    if (known == NULL) {
        return 0;
    }

    place = ngx_commerce_known_place(known, line->hold.lease);

    return place->serial == known->serial
           && place->lease == line->hold.lease
           && place->version == line->item.version;
}


void
ngx_commerce_known_epoch(ngx_commerce_known_t *known, int64_t epoch)
{
    if (known && known->epoch != epoch) {
        known->epoch = epoch;
        ngx_commerce_known_forget(known);
    }
}


void
ngx_commerce_known_order(ngx_commerce_known_t *known,
    ngx_commerce_checkout_t *co)
{
    ngx_uint_t                  i;
    ngx_commerce_known_line_t  *place;

    if (known == NULL) {
        return;
    }

    for (i = 0; i < co->nlines; i++) {
        place = ngx_commerce_known_place(known, co->lines[i].hold.lease);

        place->lease = co->lines[i].hold.lease;
        place->version = co->lines[i].item.version;
        place->serial = known->serial;
    }
}


static void
ngx_commerce_known_forget(ngx_commerce_known_t *known)
{
    if (++known->serial == 0) {
        ngx_memzero(known->lines, sizeof(known->lines));
        known->serial = 1;
    }
}


/* Ids of leases are random. */

static ngx_commerce_known_line_t *
ngx_commerce_known_place(ngx_commerce_known_t *known, int64_t lease)
{
    return &known->lines[(uint64_t) lease % NGX_COMMERCE_KNOWN_LINES];
}
