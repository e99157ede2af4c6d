/*
 * What one worker of the instance does for all, and who it is: every worker
 * ticks, the elected one works (ngx_commerce_chores.c).
 */

#include "ngx_commerce_background.h"
#include "ngx_commerce_quote.h"


#define NGX_COMMERCE_TICK            100    /* msec */
#define NGX_COMMERCE_PATIENCE        2000   /* msec until the lead is taken */
#define NGX_COMMERCE_EXPIRE_EVERY    250
#define NGX_COMMERCE_SETTLE_EVERY    500
#define NGX_COMMERCE_IDLE_EVERY      2000
#define NGX_COMMERCE_LIMBO_EVERY     5000
#define NGX_COMMERCE_LIMBO_LATE      60000
#define NGX_COMMERCE_QUIET_TICKS     10
#define NGX_COMMERCE_CLOSE_EVERY     1000
#define NGX_COMMERCE_RETAIN_EVERY    60000
#define NGX_COMMERCE_CARTS_EVERY     5000
#define NGX_COMMERCE_EVENTS_EVERY    1000


static void ngx_commerce_background_tick(ngx_event_t *ev);
static ngx_int_t ngx_commerce_background_lead(ngx_commerce_background_t *bg);
static void ngx_commerce_background_step_down(ngx_commerce_background_t *bg);
static void ngx_commerce_background_work(ngx_commerce_background_t *bg);
static ngx_commerce_pg_pool_t *ngx_commerce_background_pool(
    ngx_commerce_background_t *bg, ngx_commerce_pg_server_t *server,
    const char *name, const ngx_uint_t *statements, ngx_uint_t n,
    ngx_uint_t listen);
static void ngx_commerce_background_notify(void *data, const char *channel,
    const char *payload);
static void ngx_commerce_background_listening(void *data, ngx_uint_t ready);
static void ngx_commerce_background_came_free(ngx_commerce_background_t *bg,
    const char *payload);
static void ngx_commerce_background_read(ngx_commerce_background_t *bg);
static void ngx_commerce_background_was_read(ngx_commerce_variants_t *variants,
    ngx_int_t rc);


static const ngx_uint_t  ngx_commerce_beat_statements[] = {
    NGX_COMMERCE_SQL_REGISTER,
    NGX_COMMERCE_SQL_HEARTBEAT
};

static const ngx_uint_t  ngx_commerce_sweep_statements[] = {
    NGX_COMMERCE_SQL_EXPIRE,
    NGX_COMMERCE_SQL_SETTLE_CANDIDATES,
    NGX_COMMERCE_SQL_SETTLE_DYING,
    NGX_COMMERCE_SQL_SETTLE_TERMINATE,
    NGX_COMMERCE_SQL_SETTLE_LOCK,
    NGX_COMMERCE_SQL_SETTLE_LOCK_FENCES,
    NGX_COMMERCE_SQL_SETTLE,
    NGX_COMMERCE_SQL_SETTLE_DEAD,
    NGX_COMMERCE_SQL_UNUSED,
    NGX_COMMERCE_SQL_CLOSE_REPLACED,
    NGX_COMMERCE_SQL_RETENTION,
    NGX_COMMERCE_SQL_CART_SWEEP,
    NGX_COMMERCE_SQL_RETRY_EVENTS,
    NGX_COMMERCE_SQL_WAITING_EVENTS,
    NGX_COMMERCE_SQL_OLD_EVENTS
};


ngx_int_t
ngx_commerce_background_start(ngx_commerce_trade_t *trade)
{
    ngx_commerce_background_t  *bg;

    bg = ngx_pcalloc(trade->cycle->pool, sizeof(ngx_commerce_background_t));
    if (bg == NULL) {
        return NGX_ERROR;
    }

    bg->trade = trade;
    trade->background = bg;

    /* five beats in a ttl */
    bg->beat.every = trade->conf->lease_ttl / 5;
    bg->expiry.every = NGX_COMMERCE_EXPIRE_EVERY;
    bg->search.every = NGX_COMMERCE_SETTLE_EVERY;
    bg->limbo.every = NGX_COMMERCE_LIMBO_EVERY;
    bg->closing.every = NGX_COMMERCE_CLOSE_EVERY;
    bg->step = NGX_COMMERCE_CLOSE_STEP;
    bg->retention.every = NGX_COMMERCE_RETAIN_EVERY;
    bg->carts.every = NGX_COMMERCE_CARTS_EVERY;
    bg->events.every = NGX_COMMERCE_EVENTS_EVERY;

    bg->tick.handler = ngx_commerce_background_tick;
    bg->tick.data = bg;
    bg->tick.log = trade->log;
    bg->tick.cancelable = 1;

    ngx_add_timer(&bg->tick, 1);

    return NGX_OK;
}


/* At exit, and again from exit_process. */

void
ngx_commerce_background_stop(ngx_commerce_trade_t *trade)
{
    ngx_commerce_background_t  *bg;

    bg = trade->background;

    if (bg->stopped) {
        return;
    }

    bg->stopped = 1;

    if (bg->tick.timer_set) {
        ngx_del_timer(&bg->tick);
    }

    ngx_commerce_background_step_down(bg);
}


void
ngx_commerce_background_hold(ngx_commerce_trade_t *trade)
{
    ngx_commerce_background_t  *bg;

    bg = trade->background;

    if (bg->leader) {
        ngx_commerce_pg_pool_hold(bg->beats, 1);
        ngx_commerce_pg_pool_hold(bg->listen, 1);
        ngx_commerce_pg_pool_hold(bg->sweeps, 1);
    }
}


static void
ngx_commerce_background_tick(ngx_event_t *ev)
{
    ngx_uint_t                  leads;
    ngx_commerce_trade_t       *trade;
    ngx_commerce_background_t  *bg;

    bg = ev->data;
    trade = bg->trade;

    if (bg->stopped || ngx_terminate) {
        return;
    }

    ngx_commerce_zone_bury(trade->zone);

    leads = !ngx_commerce_zone_outdated(trade->zone)
            && ngx_commerce_zone_lead(trade->zone, NGX_COMMERCE_PATIENCE);

    if (leads && !bg->leader) {
        if (ngx_commerce_background_lead(bg) != NGX_OK) {
            ngx_commerce_background_step_down(bg);
        }

    } else if (!leads && bg->leader) {
        ngx_commerce_background_step_down(bg);
    }

    if (bg->leader) {
        ngx_commerce_background_work(bg);
    }

    ngx_commerce_trade_gauges(trade);

    ngx_add_timer(ev, NGX_COMMERCE_TICK + ngx_random() % 10);
}


/*
 * A heartbeat that gets no answer is tried on another connection while it can
 * still be in time.
 */

static ngx_int_t
ngx_commerce_background_lead(ngx_commerce_background_t *bg)
{
    ngx_commerce_conf_t  *conf;

    conf = bg->trade->conf;
    bg->leader = 1;

    bg->server = conf->server;
    bg->server.timeout = ngx_min(conf->server.timeout, conf->lease_ttl / 3);

    bg->beats = ngx_commerce_background_pool(bg, &bg->server, "heartbeat",
                    ngx_commerce_beat_statements,
                    sizeof(ngx_commerce_beat_statements) / sizeof(ngx_uint_t),
                    0);

    bg->listen = ngx_commerce_background_pool(bg, &conf->server, "listen",
                                              NULL, 0, 1);

    bg->sweeps = ngx_commerce_background_pool(bg, &conf->server, "sweep",
                    ngx_commerce_sweep_statements,
                    sizeof(ngx_commerce_sweep_statements)
                    / sizeof(ngx_uint_t), 0);

    if (bg->beats == NULL || bg->listen == NULL || bg->sweeps == NULL) {
        return NGX_ERROR;
    }

    /* whoever led may have left first */

    if (bg->trade->exiting) {
        ngx_commerce_background_hold(bg->trade);
    }

    return NGX_OK;
}


static void
ngx_commerce_background_step_down(ngx_commerce_background_t *bg)
{
    ngx_commerce_pg_pool_t  *beats, *listen, *sweeps;

    if (!bg->leader) {
        return;
    }

    bg->leader = 0;
    bg->beating = 0;
    bg->ncandidates = 0;
    ngx_commerce_zone_resign(bg->trade->zone);

    beats = bg->beats;
    listen = bg->listen;
    sweeps = bg->sweeps;
    bg->beats = NULL;
    bg->listen = NULL;
    bg->sweeps = NULL;

    if (beats) {
        ngx_commerce_pg_pool_destroy(beats);
    }

    if (listen) {
        ngx_commerce_pg_pool_destroy(listen);
    }

    if (sweeps) {
        ngx_commerce_pg_pool_destroy(sweeps);
    }
}


static ngx_commerce_pg_pool_t *
ngx_commerce_background_pool(ngx_commerce_background_t *bg,
    ngx_commerce_pg_server_t *server, const char *name,
    const ngx_uint_t *statements, ngx_uint_t n, ngx_uint_t listen)
{
    ngx_commerce_pg_purpose_t  purpose;

    ngx_memzero(&purpose, sizeof(ngx_commerce_pg_purpose_t));

    purpose.name.data = (u_char *) name;
    purpose.name.len = ngx_strlen(name);
    purpose.connections = 1;
    purpose.depth = 1;
    purpose.max_queue = 64;
    purpose.statements = statements;
    purpose.nstatements = n;
    purpose.settings = "enable_seqscan=off,jit=off,lock_timeout=2s,"
                       "statement_timeout=30s";
    purpose.data = bg;

    if (listen) {
        purpose.listen = "commerce_news";
        purpose.notify = ngx_commerce_background_notify;
        purpose.ready = ngx_commerce_background_listening;
    }

    return ngx_commerce_pg_pool_create(bg->trade->cycle, server, &purpose);
}


static void
ngx_commerce_background_notify(void *data, const char *channel,
    const char *payload)
{
    ngx_commerce_background_t  *bg = data;

    (void) channel;

    if (payload[0] == 'r') {
        ngx_commerce_lease_asked(bg->trade, payload);
        return;
    }

    if (payload[0] == 't') {
        ngx_commerce_rules_forget(bg->trade);
        return;
    }

    ngx_commerce_catalogue_news(bg->trade, payload);

    if (payload[0] == 'v' && payload[1] == ' ') {
        ngx_commerce_background_came_free(bg, payload);
    }
}


/* News may have been missed: forget what it would have changed. */

static void
ngx_commerce_background_listening(void *data, ngx_uint_t ready)
{
    ngx_commerce_background_t  *bg = data;

    if (ready) {
        ngx_commerce_catalogue_forget(bg->trade);
        ngx_commerce_stock_news(bg->trade->zone, NULL);
        ngx_commerce_rules_forget(bg->trade);
    }
}


/*
 * "v <variant>" clears the flag, so that the variant is sold; but what the
 * catalogue says of it are the units that this zone saw last.
 */

static void
ngx_commerce_background_came_free(ngx_commerce_background_t *bg,
    const char *payload)
{
    ngx_uint_t                    i;
    commerce_uuid_t               id;
    ngx_commerce_availability_e   availability;

    if (commerce_uuid_parse(&id, (u_char *) payload + 2,
                            ngx_strlen(payload + 2))
        != COMMERCE_OK
        || ngx_commerce_stock_availability(bg->trade->zone, &id, 0,
                                           &availability)
           != NGX_OK)
    {
        return;
    }

    for (i = 0; i < bg->ncame_free; i++) {
        if (commerce_uuid_compare(&bg->came_free[i], &id) == 0) {
            return;
        }
    }

    if (bg->ncame_free == NGX_COMMERCE_CAME_FREE) {
        /* too many to read them all: there is at least one */
        ngx_commerce_stock_set_free(bg->trade->zone, &id, 1);
        return;
    }

    bg->came_free[bg->ncame_free++] = id;

    if (!bg->reading) {
        ngx_commerce_background_read(bg);
    }
}


static void
ngx_commerce_background_read(ngx_commerce_background_t *bg)
{
    ngx_uint_t                i;
    ngx_pool_t               *pool;
    commerce_uuid_t          *id;
    ngx_commerce_variants_t  *variants;

    pool = ngx_create_pool(4096, bg->trade->log);
    if (pool == NULL) {
        return;
    }

    variants = ngx_palloc(pool, sizeof(ngx_commerce_variants_t));

    if (variants == NULL
        || ngx_commerce_variants_init(variants, bg->trade, pool) != NGX_OK)
    {
        goto failed;
    }

    variants->done = ngx_commerce_background_was_read;
    variants->data = bg;

    for (i = 0; i < bg->ncame_free; i++) {
        id = ngx_array_push(&variants->ids);
        if (id == NULL) {
            goto failed;
        }

        *id = bg->came_free[i];
    }

    if (ngx_commerce_variants_load(variants) != NGX_OK) {
        goto failed;
    }

    bg->ncame_free = 0;
    bg->reading = 1;

    return;

failed:

    ngx_destroy_pool(pool);
}


static void
ngx_commerce_background_was_read(ngx_commerce_variants_t *variants,
    ngx_int_t rc)
{
    ngx_commerce_background_t  *bg = variants->data;

    (void) rc;

    ngx_destroy_pool(variants->pool);

    bg->reading = 0;

    if (bg->ncame_free && !bg->stopped) {
        ngx_commerce_background_read(bg);
    }
}


static void
ngx_commerce_background_work(ngx_commerce_background_t *bg)
{
    ngx_atomic_uint_t         activity;
    ngx_commerce_trade_t     *trade;
    ngx_commerce_instance_e   state;

    trade = bg->trade;

    bg->old_id = ngx_commerce_zone_identity(trade->zone, &state);

    if (state != NGX_COMMERCE_INSTANCE_LIVE) {
        ngx_commerce_chore(bg, &bg->registration, bg->beats);
        return;
    }

    ngx_commerce_chore(bg, &bg->beat, bg->beats);
    ngx_commerce_chore(bg, &bg->expiry, bg->sweeps);
    ngx_commerce_chore(bg, &bg->closing, bg->sweeps);
    ngx_commerce_chore(bg, &bg->retention, bg->sweeps);
    ngx_commerce_chore(bg, &bg->carts, bg->sweeps);
    ngx_commerce_chore(bg, &bg->events, bg->sweeps);

    /* a long sum over the rows, void unless the zone stays quiet; a shop
       that never is for long gets its chance, too */

    activity = ngx_commerce_zone_activity(trade->zone);

    if (activity != bg->last_activity
        || ngx_commerce_zone_in_hand(trade->zone) != 0)
    {
        bg->quiet = 0;

    } else if (++bg->quiet > NGX_COMMERCE_QUIET_TICKS
               || ngx_current_msec - bg->limbo.began > NGX_COMMERCE_LIMBO_LATE)
    {
        ngx_commerce_chore(bg, &bg->limbo, bg->sweeps);
    }

    bg->last_activity = activity;

    if (!bg->settling) {
        ngx_commerce_chore(bg, &bg->search, bg->sweeps);
    }

    if ((ngx_msec_int_t) (bg->next_idle - ngx_current_msec) <= 0) {
        bg->next_idle = ngx_current_msec + NGX_COMMERCE_IDLE_EVERY;
        ngx_commerce_lease_return_idle(trade);
    }
}
