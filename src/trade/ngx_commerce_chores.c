/*
 * The leader's chores: registration and heartbeat, expiry, the search for
 * instances to settle, the audit of limbo, retention.
 */

#include "ngx_commerce_background.h"


#define NGX_COMMERCE_EXPIRE_AT_ONCE  500    /* orders in one transaction */
#define NGX_COMMERCE_CLOSE_SLOW      250    /* msec */
#define NGX_COMMERCE_SWEEP_AT_ONCE   500    /* carts in one transaction */


static ngx_int_t ngx_commerce_chore_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_chore_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_chore_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_background_registered(ngx_commerce_background_t *bg);
static void ngx_commerce_background_beaten(ngx_commerce_background_t *bg);
static ngx_uint_t ngx_commerce_background_judges(
    ngx_commerce_background_t *bg);
static void ngx_commerce_background_settle(ngx_commerce_background_t *bg);
static void ngx_commerce_background_settled(void *data, ngx_int_t rc);
static void ngx_commerce_background_expired(ngx_commerce_background_t *bg,
    PGresult *res);
static void ngx_commerce_background_closed(ngx_commerce_background_t *bg);
static void ngx_commerce_background_limbo(ngx_commerce_background_t *bg);


void
ngx_commerce_chore(ngx_commerce_background_t *bg, ngx_commerce_chore_t *chore,
    ngx_commerce_pg_pool_t *pool)
{
    if (chore->busy || !ngx_commerce_pg_is_ready(pool)
        || (ngx_msec_int_t) (chore->next - ngx_current_msec) > 0)
    {
        return;
    }

    chore->next = ngx_current_msec + chore->every;
    chore->began = ngx_current_msec;
    chore->bg = bg;

    ngx_memzero(&chore->op, sizeof(ngx_commerce_pg_op_t));
    chore->op.build = ngx_commerce_chore_build;
    chore->op.result = ngx_commerce_chore_result;
    chore->op.done = ngx_commerce_chore_done;
    chore->op.data = chore;
    chore->op.deadline = ngx_current_msec + 2000;

    if (ngx_commerce_pg_submit(pool, &chore->op) == NGX_OK) {
        chore->busy = 1;
    }
}


static ngx_int_t
ngx_commerce_chore_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    int64_t                     instance;
    ngx_commerce_chore_t       *chore;
    ngx_commerce_conf_t        *conf;
    ngx_commerce_pg_query_t    *q;
    ngx_commerce_background_t  *bg;

    (void) conn;

    chore = op->data;
    bg = chore->bg;
    conf = bg->trade->conf;

    if (chore == &bg->events) {
        return ngx_commerce_events_build(op);
    }

    instance = ngx_commerce_zone_instance(bg->trade->zone);
    q = NULL;

    if (chore == &bg->registration) {

        /* the same id again until it is known to be stored */

        if (bg->new_id == 0) {
            if (ngx_commerce_random((u_char *) &bg->new_id, sizeof(int64_t))
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            bg->new_id &= INT64_MAX;
        }

        q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_REGISTER, 3);
        if (q) {
            ngx_commerce_pg_int8(q, 1, bg->new_id);
            ngx_commerce_pg_int8(q, 2, bg->old_id);
            ngx_commerce_pg_int8(q, 3, bg->trade->master);
        }

    } else if (chore == &bg->beat) {
        bg->alive = 0;
        bg->beat_id = instance;
        q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_HEARTBEAT, 1);
        if (q) {
            ngx_commerce_pg_int8(q, 1, instance);
        }

    } else if (chore == &bg->expiry) {
        bg->expired = 0;
        q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_EXPIRE, 1);
        if (q) {
            ngx_commerce_pg_int4(q, 1, NGX_COMMERCE_EXPIRE_AT_ONCE);
        }

    } else if (chore == &bg->search) {
        bg->ncandidates = 0;
        q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_SETTLE_CANDIDATES, 3);
        if (q) {
            ngx_commerce_pg_int8(q, 1, instance);
            ngx_commerce_pg_int4(q, 2, (int32_t) conf->lease_ttl);
            ngx_commerce_pg_bool(q, 3, ngx_commerce_background_judges(bg));
        }

    } else if (chore == &bg->limbo) {
        bg->activity = ngx_commerce_zone_activity(bg->trade->zone);
        q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_UNUSED, 1);
        if (q) {
            ngx_commerce_pg_int8(q, 1, instance);
        }

    } else if (chore == &bg->closing) {
        bg->looked_at = 0;
        q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_CLOSE_REPLACED, 3);
        if (q) {
            ngx_commerce_pg_int8(q, 1, instance);
            ngx_commerce_pg_int8(q, 2, bg->closed_to);
            ngx_commerce_pg_int4(q, 3, (int32_t) bg->step);
        }

    } else if (chore == &bg->retention) {
        q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_RETENTION, 1);
        if (q) {
            ngx_commerce_pg_int4(q, 1, (int32_t) conf->idempotency_retention);
        }

    } else if (chore == &bg->carts) {
        bg->swept = 0;
        q = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_CART_SWEEP, 1);
        if (q) {
            ngx_commerce_pg_int4(q, 1, NGX_COMMERCE_SWEEP_AT_ONCE);
        }
    }

    return q && !q->failed ? NGX_OK : NGX_ERROR;
}


static void
ngx_commerce_chore_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    int                         row;
    ngx_commerce_zone_t        *zone;
    ngx_commerce_chore_t       *chore;
    ngx_commerce_background_t  *bg;

    chore = op->data;
    bg = chore->bg;
    zone = bg->trade->zone;

    if (chore == &bg->events) {
        ngx_commerce_events_result(bg, query, res);

    } else if (chore == &bg->beat && PQntuples(res)) {
        bg->alive = ngx_commerce_pg_get_bool(res, 0, 0) ? 1 : 0;
        ngx_commerce_zone_set_live(zone, ngx_commerce_pg_get_int8(res, 0, 1));
        ngx_commerce_set_gauge(zone, NGX_COMMERCE_G_SYNC_REPLICATION,
                               ngx_commerce_pg_get_bool(res, 0, 2));

    } else if (chore == &bg->expiry) {
        ngx_commerce_background_expired(bg, res);

    } else if (chore == &bg->search) {
        for (row = 0; row < PQntuples(res) && row < NGX_COMMERCE_CANDIDATES;
             row++)
        {
            bg->candidates[row] = ngx_commerce_pg_get_int8(res, row, 0);
            bg->stale[row] = !ngx_commerce_pg_get_bool(res, row, 1);
            bg->ncandidates = row + 1;
        }

    } else if (chore == &bg->limbo && PQntuples(res)) {
        bg->unused = ngx_commerce_pg_get_int8(res, 0, 0);

    } else if (chore == &bg->closing && PQntuples(res)) {
        bg->looked_at = ngx_commerce_pg_get_int4(res, 0, 1);

        if (bg->looked_at) {
            bg->closed_to = ngx_commerce_pg_get_int8(res, 0, 0);
        }

    } else if (chore == &bg->carts && PQntuples(res)) {
        bg->swept = ngx_commerce_pg_get_int8(res, 0, 0);
    }
}


static void
ngx_commerce_chore_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_chore_t       *chore;
    ngx_commerce_background_t  *bg;

    chore = op->data;
    bg = chore->bg;
    chore->busy = 0;

    if (outcome == NGX_COMMERCE_PG_FAILED) {
        ngx_log_error(NGX_LOG_ERR, bg->trade->log, 0,
                      "commerce: background work was refused by the "
                      "database, SQLSTATE %s", sqlstate);
    }

    if (outcome != NGX_COMMERCE_PG_COMMITTED && chore == &bg->closing) {
        bg->step = ngx_max(bg->step / 2, 1);
    }

    if (outcome != NGX_COMMERCE_PG_COMMITTED || !bg->leader) {
        return;
    }

    if (chore == &bg->registration) {
        ngx_commerce_background_registered(bg);

    } else if (chore == &bg->beat) {
        ngx_commerce_background_beaten(bg);

    } else if (chore == &bg->expiry) {
        if (bg->expired == NGX_COMMERCE_EXPIRE_AT_ONCE) {
            chore->next = ngx_current_msec;
            ngx_commerce_chore(bg, chore, bg->sweeps);
        }

    } else if (chore == &bg->search) {
        ngx_commerce_background_settle(bg);

    } else if (chore == &bg->limbo) {
        ngx_commerce_background_limbo(bg);

    } else if (chore == &bg->closing) {
        ngx_commerce_background_closed(bg);

    } else if (chore == &bg->carts) {
        if (bg->swept == NGX_COMMERCE_SWEEP_AT_ONCE) {
            chore->next = ngx_current_msec;
            ngx_commerce_chore(bg, chore, bg->sweeps);
        }

    } else if (chore == &bg->events) {
        ngx_commerce_events_done(bg);
    }
}


static void
ngx_commerce_background_registered(ngx_commerce_background_t *bg)
{
    ngx_commerce_instance_e  state;

    (void) ngx_commerce_zone_identity(bg->trade->zone, &state);

    /* where another leader was faster, this id dies of its missing beats */

    if (state != NGX_COMMERCE_INSTANCE_LIVE) {
        ngx_commerce_zone_adopt(bg->trade->zone, bg->new_id);
        ngx_log_error(NGX_LOG_NOTICE, bg->trade->log, 0,
                      "commerce: this is instance %L now", bg->new_id);
    }

    bg->new_id = 0;
    bg->limbos = 0;

    /* the units of the old id are wanted now */
    bg->search.next = ngx_current_msec;
}


static void
ngx_commerce_background_beaten(ngx_commerce_background_t *bg)
{
    if (!bg->alive) {
        if (bg->beat_id) {
            ngx_commerce_zone_doubt(bg->trade->zone, bg->beat_id,
                                    "its row is not live any more");
        }

        bg->beating = 0;
        return;
    }

    if (!bg->beating
        || ngx_current_msec - bg->last_beat > bg->trade->conf->lease_ttl / 2)
    {
        bg->beating = 1;
        bg->steady = ngx_current_msec;
    }

    bg->last_beat = ngx_current_msec;
    ngx_commerce_set_gauge(bg->trade->zone, NGX_COMMERCE_G_LAST_BEAT,
                           ngx_time());
}


/*
 * Only one whose own beats were uninterrupted for a ttl may judge others:
 * after an outage of the database every heartbeat is stale.
 */

static ngx_uint_t
ngx_commerce_background_judges(ngx_commerce_background_t *bg)
{
    ngx_msec_t  ttl;

    ttl = bg->trade->conf->lease_ttl;

    return bg->beating && ngx_current_msec - bg->steady >= ttl
           && ngx_current_msec - bg->last_beat <= ttl / 2;
}


static void
ngx_commerce_background_settle(ngx_commerce_background_t *bg)
{
    ngx_uint_t  n;

    if (bg->ncandidates == 0 || bg->settling || !bg->leader) {
        return;
    }

    n = --bg->ncandidates;

    bg->settling = 1;

    if (ngx_commerce_settle(bg->trade, bg->sweeps, bg->candidates[n],
                            bg->stale[n] ? bg->trade->conf->lease_ttl : 0,
                            ngx_commerce_background_settled, bg)
        != NGX_OK)
    {
        bg->settling = 0;
    }
}


static void
ngx_commerce_background_settled(void *data, ngx_int_t rc)
{
    ngx_commerce_background_t  *bg = data;

    (void) rc;

    bg->settling = 0;
    ngx_commerce_background_settle(bg);
}


static void
ngx_commerce_background_expired(ngx_commerce_background_t *bg, PGresult *res)
{
    int                   row;
    commerce_uuid_t       id;
    ngx_commerce_zone_t  *zone;

    zone = bg->trade->zone;

    for (row = 0; row < PQntuples(res); row++) {
        ngx_commerce_pg_get_uuid(res, row, 1, &id);

        if (ngx_commerce_pg_get_bool(res, row, 0)) {
            bg->expired++;
            ngx_commerce_replay_forget(zone, &id);
            continue;
        }

        ngx_commerce_stock_set_free(zone, &id,
                                    ngx_commerce_pg_get_int4(res, row, 2));
        ngx_commerce_stock_news(zone, &id);
    }

    ngx_commerce_count(zone, NGX_COMMERCE_C_EXPIRED, bg->expired);
}


/* All open leases by turns, in steps that leave the sweeps their time. */

static void
ngx_commerce_background_closed(ngx_commerce_background_t *bg)
{
    ngx_msec_t  took;

    if (bg->looked_at < bg->step) {
        bg->closed_to = 0;
    }

    took = ngx_current_msec - bg->closing.began;

    if (took > NGX_COMMERCE_CLOSE_SLOW) {
        bg->step = ngx_max(bg->step / 2, 1);

    } else {
        bg->step = ngx_min(2 * bg->step, NGX_COMMERCE_CLOSE_STEP);
    }
}


/*
 * Units that the rows call unused and no pool has: believed only when nothing
 * moved between the question and the answer, acted upon when seen twice.
 */

static void
ngx_commerce_background_limbo(ngx_commerce_background_t *bg)
{
    int64_t                      limbo;
    ngx_commerce_zone_t         *zone;
    ngx_commerce_stock_stats_t   stats;

    zone = bg->trade->zone;

    /* at most a twentieth of the sweeps' time */
    bg->limbo.next = ngx_max(bg->limbo.next,
                             ngx_current_msec
                             + 20 * (ngx_current_msec - bg->limbo.began));

    ngx_commerce_set_gauge(zone, NGX_COMMERCE_G_LEASED_UNUSED,
                           bg->unused > 0 ? bg->unused : 0);

    ngx_commerce_stock_stats(zone, &stats);

    if (stats.refilling || ngx_commerce_zone_in_hand(zone)
        || ngx_commerce_zone_activity(zone) != bg->activity)
    {
        return;
    }

    limbo = bg->unused - (int64_t) stats.units;
    ngx_commerce_set_gauge(zone, NGX_COMMERCE_G_LIMBO_UNITS,
                           limbo > 0 ? limbo : 0);

    bg->limbos = limbo > 0 ? bg->limbos + 1 : 0;

    if (bg->limbos == 2) {
        bg->limbos = 0;
        ngx_commerce_zone_doubt(zone, 0, "units stay in limbo");
    }
}
