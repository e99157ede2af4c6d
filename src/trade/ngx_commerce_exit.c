/*
 * The end of a worker, and GET /drain.
 *
 * A worker that nginx asks to leave finishes its calls first.  One of an older
 * configuration then leaves silently, since the zone lives on; the last one of
 * the current configuration settles the instance, so that nothing that it held
 * has to wait for the ttl.
 */

#include "ngx_commerce_engine.h"


#define NGX_COMMERCE_EXIT_TICK   20         /* msec */
#define NGX_COMMERCE_EXIT_MAX    30000      /* msec for the calls to end */
#define NGX_COMMERCE_EXIT_LINGER  1000      /* msec for clients to ask */
#define NGX_COMMERCE_DRAIN_TICK  50
#define NGX_COMMERCE_DRAIN_MAX   25000


struct ngx_commerce_exit_s {
    ngx_commerce_trade_t  *trade;
    ngx_connection_t      *watcher;
    ngx_event_t            tick;
    ngx_msec_t             deadline;
    ngx_msec_t             linger;
    unsigned               stopped:1;
    unsigned               settling:1;
};


/* It may outlive its call: returns wait for the database, the call does not. */
typedef struct {
    ngx_commerce_call_t   *call;        /* NULL: answered */
    ngx_commerce_trade_t  *trade;
    ngx_event_t            tick;
    ngx_msec_t             deadline;
    ngx_uint_t             empty;       /* looks in a row */
    unsigned               returning:1;
} ngx_commerce_drain_t;


static void ngx_commerce_exit_begin(ngx_event_t *ev);
static void ngx_commerce_exit_tick(ngx_event_t *ev);
static ngx_uint_t ngx_commerce_exit_clients(void);
static ngx_uint_t ngx_commerce_exit_units(ngx_commerce_trade_t *trade);
static void ngx_commerce_exit_settled(void *data, ngx_int_t rc);
static void ngx_commerce_exit_release(ngx_commerce_trade_t *trade);
static void ngx_commerce_drain_tick(ngx_event_t *ev);
static ngx_uint_t ngx_commerce_drain_done(ngx_commerce_drain_t *d);
static void ngx_commerce_drain_returned(void *data, ngx_int_t rc);
static void ngx_commerce_drain_end(ngx_commerce_drain_t *d,
    const char *refused);


ngx_int_t
ngx_commerce_exit_start(ngx_commerce_trade_t *trade)
{
    ngx_commerce_exit_t  *e;

    e = ngx_pcalloc(trade->cycle->pool, sizeof(ngx_commerce_exit_t));
    if (e == NULL) {
        return NGX_ERROR;
    }

    e->trade = trade;
    e->tick.handler = ngx_commerce_exit_tick;
    e->tick.data = e;
    e->tick.log = trade->log;

    /*
     * nginx tells of a graceful exit only by closing idle connections: this
     * one stands for no socket, it is there to be told.
     */

    e->watcher = ngx_get_connection(0, trade->log);
    if (e->watcher == NULL) {
        return NGX_ERROR;
    }

    e->watcher->fd = (ngx_socket_t) -2;
    e->watcher->idle = 1;
    e->watcher->data = e;
    e->watcher->read->handler = ngx_commerce_exit_begin;
    e->watcher->read->log = trade->log;

    trade->exit = e;

    return NGX_OK;
}


void
ngx_commerce_exit_stop(ngx_commerce_trade_t *trade)
{
    ngx_commerce_exit_t  *e;

    e = trade->exit;

    if (e->watcher) {
        ngx_free_connection(e->watcher);
        e->watcher->fd = (ngx_socket_t) -1;
        e->watcher = NULL;
    }

    if (e->tick.timer_set) {
        ngx_del_timer(&e->tick);
    }

    /*
     * A fast stop ends whatever was in hand; so the instance is left to
     * settlement like a dead one.  A worker stops cleanly only through
     * ngx_commerce_exit_tick().
     */
}


static void
ngx_commerce_exit_begin(ngx_event_t *ev)
{
    ngx_connection_t      *c;
    ngx_commerce_exit_t   *e;
    ngx_commerce_trade_t  *trade;

    c = ev->data;
    e = c->data;
    trade = e->trade;

    if (!ngx_exiting || trade->exiting) {
        return;
    }

    trade->exiting = 1;
    c->idle = 0;

    ngx_commerce_pg_pool_hold(trade->orders, 1);
    ngx_commerce_pg_pool_hold(trade->leases, 1);
    ngx_commerce_pg_pool_hold(trade->reads, 1);
    ngx_commerce_pg_pool_hold(trade->writes, 1);
    ngx_commerce_pg_pool_hold(trade->carts, 1);

    e->deadline = ngx_current_msec + NGX_COMMERCE_EXIT_MAX;

    if (ngx_commerce_zone_outdated(trade->zone)) {
        ngx_commerce_background_stop(trade);
        e->linger = e->deadline;

    } else {
        /* what the instance holds is wanted elsewhere */
        ngx_commerce_background_hold(trade);
        e->linger = ngx_current_msec + NGX_COMMERCE_EXIT_LINGER;
    }

    ngx_add_timer(&e->tick, NGX_COMMERCE_EXIT_TICK);
}


static void
ngx_commerce_exit_tick(ngx_event_t *ev)
{
    ngx_uint_t                left;
    ngx_commerce_exit_t      *e;
    ngx_commerce_trade_t     *trade;
    ngx_commerce_instance_e   state;

    e = ev->data;
    trade = e->trade;

    if (e->settling) {
        ngx_add_timer(ev, NGX_COMMERCE_EXIT_TICK);
        return;
    }

    if ((trade->calls || ngx_commerce_exit_units(trade))
        && (ngx_msec_int_t) (e->deadline - ngx_current_msec) > 0)
    {
        ngx_add_timer(ev, NGX_COMMERCE_EXIT_TICK);
        return;
    }

    if ((ngx_msec_int_t) (e->linger - ngx_current_msec) > 0
        && ngx_commerce_exit_clients())
    {
        ngx_add_timer(ev, NGX_COMMERCE_EXIT_TICK);
        return;
    }

    /* slow clients do not make an exit unclean, units in hand do */

    trade->closed = 1;

    if (ngx_commerce_exit_units(trade)) {
        ngx_commerce_exit_release(trade);
        return;
    }

    left = ngx_commerce_zone_worker_stop(trade->zone);

    if (left != 0 || ngx_commerce_zone_outdated(trade->zone)
        || ngx_commerce_zone_identity(trade->zone, &state) == 0)
    {
        ngx_commerce_exit_release(trade);
        return;
    }

    ngx_commerce_background_stop(trade);

    e->settling = 1;

    if (ngx_commerce_settle(trade, trade->leases,
                            ngx_commerce_zone_identity(trade->zone, &state),
                            0, ngx_commerce_exit_settled, e)
        != NGX_OK)
    {
        ngx_commerce_exit_release(trade);
        return;
    }

    if (e->settling) {
        ngx_add_timer(ev, NGX_COMMERCE_EXIT_TICK);
    }
}


/*
 * nginx has closed the connections between two requests: who is connected may
 * have sent a request that was not read yet, and nginx will take it.
 */

static ngx_uint_t
ngx_commerce_exit_clients(void)
{
    ngx_uint_t         i;
    ngx_connection_t  *c;

    for (i = 0; i < ngx_cycle->connection_n; i++) {
        c = &ngx_cycle->connections[i];

        if (c->fd != (ngx_socket_t) -1 && c->listening && !c->read->accept) {
            return 1;
        }
    }

    return 0;
}


/* In hand, or granted by an answer that has yet to come. */

static ngx_uint_t
ngx_commerce_exit_units(ngx_commerce_trade_t *trade)
{
    return ngx_commerce_lease_leave(trade)
           || ngx_commerce_zone_own_hand(trade->zone);
}


static void
ngx_commerce_exit_settled(void *data, ngx_int_t rc)
{
    ngx_commerce_exit_t  *e = data;

    e->settling = 0;

    if (rc != NGX_OK) {
        ngx_log_error(NGX_LOG_WARN, e->trade->log, 0,
                      "commerce: the instance could not be settled at exit, "
                      "its units come back after the ttl");
    }

    if (e->tick.timer_set) {
        ngx_del_timer(&e->tick);
    }

    ngx_commerce_exit_release(e->trade);
}


static void
ngx_commerce_exit_release(ngx_commerce_trade_t *trade)
{
    ngx_commerce_background_stop(trade);

    ngx_commerce_pg_pool_hold(trade->orders, 0);
    ngx_commerce_pg_pool_hold(trade->leases, 0);
    ngx_commerce_pg_pool_hold(trade->reads, 0);
    ngx_commerce_pg_pool_hold(trade->writes, 0);
    ngx_commerce_pg_pool_hold(trade->carts, 0);
}


void
ngx_commerce_trade_enter(ngx_commerce_trade_t *trade)
{
    if (trade) {
        trade->calls++;
    }
}


void
ngx_commerce_trade_leave(ngx_commerce_trade_t *trade)
{
    if (trade) {
        trade->calls--;
    }
}


/* Drain */

void
ngx_commerce_trade_drain(ngx_commerce_call_t *call)
{
    ngx_commerce_drain_t  *d;

    d = ngx_calloc(sizeof(ngx_commerce_drain_t), call->log);
    if (d == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    d->call = call;
    d->trade = call->trade;
    d->deadline = ngx_current_msec + NGX_COMMERCE_DRAIN_MAX;
    d->tick.handler = ngx_commerce_drain_tick;
    d->tick.data = d;
    d->tick.log = call->log;

    ngx_commerce_zone_drain(call->trade->zone);

    ngx_add_timer(&d->tick, 1);
}


static void
ngx_commerce_drain_tick(ngx_event_t *ev)
{
    ngx_commerce_drain_t  *d;

    d = ev->data;

    if ((ngx_msec_int_t) (d->deadline - ngx_current_msec) <= 0) {
        ngx_commerce_drain_end(d, "units are still held");
        return;
    }

    if (!ngx_commerce_zone_draining(d->trade->zone)) {
        ngx_commerce_drain_end(d, "a reload has ended the drain");
        return;
    }

    if (!d->returning && ngx_commerce_drain_done(d)) {
        ngx_commerce_drain_end(d, NULL);
        return;
    }

    ngx_add_timer(ev, NGX_COMMERCE_DRAIN_TICK);
}


/* Units that move from one place to another may be missed by one look. */

static ngx_uint_t
ngx_commerce_drain_done(ngx_commerce_drain_t *d)
{
    ngx_commerce_stock_stats_t  stats;

    ngx_commerce_stock_stats(d->trade->zone, &stats);

    if (stats.units == 0 && stats.refilling == 0
        && ngx_commerce_zone_in_hand(d->trade->zone) == 0)
    {
        return ++d->empty == 2;
    }

    d->empty = 0;

    if (stats.units
        && ngx_commerce_lease_give_back(d->trade, NULL,
                                        ngx_commerce_drain_returned, d)
           == NGX_OK)
    {
        d->returning = 1;
    }

    return 0;
}


static void
ngx_commerce_drain_returned(void *data, ngx_int_t rc)
{
    ngx_commerce_drain_t  *d = data;

    (void) rc;

    d->returning = 0;

    if (d->call == NULL) {
        ngx_free(d);
    }
}


static void
ngx_commerce_drain_end(ngx_commerce_drain_t *d, const char *refused)
{
    ngx_str_t             body;
    ngx_commerce_call_t  *call;

    call = d->call;
    d->call = NULL;

    if (!d->returning) {
        ngx_free(d);
    }

    if (refused) {
        ngx_commerce_refuse(call, COMMERCE_UNAVAILABLE, refused);
        return;
    }

    ngx_str_set(&body, "{\"drained\":true}");
    ngx_commerce_answer(call, 200, &body);
}
