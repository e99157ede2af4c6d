/*
 * The zone as a whole: its creation and adoption, and which instance it is.
 */

#include "ngx_commerce_zone_sh.h"

#include <ngx_md5.h>


#define NGX_COMMERCE_MAGIC   0x3145524f54534d43ULL
#define NGX_COMMERCE_LAYOUT  1

/* shares of what the header leaves, in percent; the rest is slack */
#define NGX_COMMERCE_SHARE_VARIANTS  42
#define NGX_COMMERCE_SHARE_CACHE     36
#define NGX_COMMERCE_SHARE_REPLAY    21


static ngx_int_t ngx_commerce_zone_check(ngx_shm_zone_t *shm_zone,
    ngx_commerce_zone_sh_t *sh);
static ngx_int_t ngx_commerce_zone_create(ngx_commerce_zone_t *zone,
    ngx_shm_zone_t *shm_zone);
static ngx_int_t ngx_commerce_zone_carve(ngx_commerce_zone_t *zone);
static ngx_int_t ngx_commerce_zone_log_ctx(ngx_commerce_zone_t *zone,
    ngx_shm_zone_t *shm_zone);
static uint64_t ngx_commerce_zone_layout(void);
static void ngx_commerce_zone_digest(ngx_str_t *database, u_char digest[16]);
static ngx_uint_t ngx_commerce_zone_doubt_quietly(ngx_commerce_zone_t *zone,
    int64_t instance, int64_t *doubted);


ngx_int_t
ngx_commerce_zone_init(ngx_shm_zone_t *shm_zone, void *old)
{
    ngx_commerce_zone_t  *zone, *prev;

    zone = shm_zone->data;
    prev = old;

    if (prev) {
        if (ngx_commerce_zone_check(shm_zone, prev->sh) != NGX_OK) {
            return NGX_ERROR;
        }

        zone->sh = prev->sh;
        zone->shpool = prev->shpool;

        return NGX_OK;
    }

    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (shm_zone->shm.exists) {
        if (ngx_commerce_zone_check(shm_zone, zone->shpool->data) != NGX_OK) {
            return NGX_ERROR;
        }

        zone->sh = zone->shpool->data;

        return NGX_OK;
    }

    return ngx_commerce_zone_create(zone, shm_zone);
}


static ngx_int_t
ngx_commerce_zone_check(ngx_shm_zone_t *shm_zone, ngx_commerce_zone_sh_t *sh)
{
    u_char                digest[16];
    ngx_commerce_zone_t  *zone;

    zone = shm_zone->data;

    if (sh == NULL
        || sh->magic != NGX_COMMERCE_MAGIC
        || sh->layout != ngx_commerce_zone_layout())
    {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "commerce_zone \"%V\" was made by another version of "
                      "the module, a restart is needed", &shm_zone->shm.name);
        return NGX_ERROR;
    }

    ngx_commerce_zone_digest(&zone->database, digest);

    /* the conninfo itself is not logged: it may hold a password */

    if (ngx_memcmp(digest, sh->database, sizeof(digest)) != 0) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "commerce_zone \"%V\" is in use with another "
                      "\"commerce_database\", name a new zone or restart",
                      &shm_zone->shm.name);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_zone_create(ngx_commerce_zone_t *zone, ngx_shm_zone_t *shm_zone)
{
    ngx_commerce_zone_sh_t  *sh;

    zone->shpool->log_nomem = 0;

    if (ngx_commerce_zone_log_ctx(zone, shm_zone) != NGX_OK) {
        goto small;
    }

    sh = ngx_slab_calloc(zone->shpool, sizeof(ngx_commerce_zone_sh_t));
    if (sh == NULL) {
        goto small;
    }

    zone->sh = sh;

    if (ngx_commerce_zone_carve(zone) != NGX_OK) {
        goto small;
    }

    sh->layout = ngx_commerce_zone_layout();
    ngx_commerce_zone_digest(&zone->database, sh->database);
    sh->magic = NGX_COMMERCE_MAGIC;

    zone->shpool->data = sh;

    return NGX_OK;

small:

    ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                  "commerce_zone \"%V\" is too small, %uz bytes",
                  &shm_zone->shm.name, shm_zone->shm.size);

    return NGX_ERROR;
}


/*
 * A fresh slab pool is one run of pages, so each table is one allocation.
 */

static ngx_int_t
ngx_commerce_zone_carve(ngx_commerce_zone_t *zone)
{
    size_t                   left, size;
    u_char                  *start;
    ngx_uint_t               i;
    ngx_commerce_zone_sh_t  *sh;

    static const size_t  shares[] = {
        NGX_COMMERCE_SHARE_VARIANTS,
        NGX_COMMERCE_SHARE_CACHE,
        NGX_COMMERCE_SHARE_REPLAY
    };

    sh = zone->sh;
    left = zone->shpool->pfree * ngx_pagesize;

    for (i = 0; i < 3; i++) {

        size = left / 100 * shares[i] / ngx_pagesize * ngx_pagesize;

        if (size == 0) {
            return NGX_ERROR;
        }

        start = ngx_slab_alloc(zone->shpool, size);
        if (start == NULL) {
            return NGX_ERROR;
        }

        if ((i == 0
             && ngx_commerce_variants_create(&sh->variants, start, size)
                != NGX_OK)
            || (i == 1
                && ngx_commerce_cache_create(&sh->cache, start, size)
                   != NGX_OK)
            || (i == 2
                && ngx_commerce_replay_create(&sh->replays, start, size)
                   != NGX_OK))
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_zone_log_ctx(ngx_commerce_zone_t *zone, ngx_shm_zone_t *shm_zone)
{
    size_t  len;

    len = sizeof(" in commerce_zone \"\"") + shm_zone->shm.name.len;

    zone->shpool->log_ctx = ngx_slab_alloc(zone->shpool, len);
    if (zone->shpool->log_ctx == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(zone->shpool->log_ctx, " in commerce_zone \"%V\"%Z",
                &shm_zone->shm.name);

    return NGX_OK;
}


static uint64_t
ngx_commerce_zone_layout(void)
{
    return (uint64_t) NGX_COMMERCE_LAYOUT << 56
           | (uint64_t) sizeof(ngx_commerce_zone_sh_t) << 24
           | (uint64_t) (sizeof(ngx_commerce_slot_t)
                         + sizeof(ngx_commerce_row_t)
                         + sizeof(ngx_commerce_entry_t)
                         + sizeof(ngx_commerce_answer_t));
}


static void
ngx_commerce_zone_digest(ngx_str_t *database, u_char digest[16])
{
    ngx_md5_t  md5;

    ngx_md5_init(&md5);
    ngx_md5_update(&md5, database->data, database->len);
    ngx_md5_final(digest, &md5);
}


int64_t
ngx_commerce_zone_instance(ngx_commerce_zone_t *zone)
{
    return (int64_t) ngx_commerce_load(&zone->sh->live);
}


int64_t
ngx_commerce_zone_identity(ngx_commerce_zone_t *zone,
    ngx_commerce_instance_e *state)
{
    int64_t  live, identity;

    live = (int64_t) ngx_commerce_load(&zone->sh->live);

    if (live) {
        *state = NGX_COMMERCE_INSTANCE_LIVE;
        return live;
    }

    identity = (int64_t) ngx_commerce_load(&zone->sh->identity);

    *state = identity ? NGX_COMMERCE_INSTANCE_DOUBT
                      : NGX_COMMERCE_INSTANCE_NONE;

    return identity;
}


void
ngx_commerce_zone_doubt(ngx_commerce_zone_t *zone, int64_t instance,
    const char *why)
{
    int64_t  doubted;

    if (ngx_commerce_zone_doubt_quietly(zone, instance, &doubted)) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "commerce: instance %L is in doubt: %s", doubted, why);
    }
}


static ngx_uint_t
ngx_commerce_zone_doubt_quietly(ngx_commerce_zone_t *zone, int64_t instance,
    int64_t *doubted)
{
    uint64_t  live;

    do {
        live = ngx_commerce_load(&zone->sh->live);

        if (live == 0 || (instance && (int64_t) live != instance)) {
            return 0;
        }

    } while (!ngx_commerce_cas(&zone->sh->live, live, 0));

    *doubted = (int64_t) live;
    ngx_commerce_count(zone, NGX_COMMERCE_C_ROTATIONS, 1);

    return 1;
}


void
ngx_commerce_zone_adopt(ngx_commerce_zone_t *zone, int64_t instance)
{
    ngx_commerce_zone_sh_t  *sh;

    sh = zone->sh;

    ngx_commerce_zone_lock(zone);

    /* nobody takes, refills or installs until the new id is there */

    ngx_commerce_store(&sh->live, 0);

    ngx_commerce_stock_adopt(zone);
    ngx_commerce_replay_adopt(zone);

    ngx_commerce_store(&sh->identity, (uint64_t) instance);
    ngx_commerce_store(&sh->live, (uint64_t) instance);

    ngx_commerce_zone_unlock(zone);
}


void
ngx_commerce_zone_reset(ngx_commerce_zone_t *zone)
{
    int64_t                  doubted;
    ngx_commerce_zone_sh_t  *sh;

    sh = zone->sh;

    /* its death on the way leaves the word set: the next one starts over */

    ngx_commerce_zone_write(zone);

    (void) ngx_commerce_zone_doubt_quietly(zone, 0, &doubted);

    ngx_commerce_variants_reset(&sh->variants);
    ngx_commerce_cache_reset(&sh->cache);
    ngx_commerce_replay_reset(&sh->replays);

    ngx_commerce_store(&sh->torn, 1);

    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    ngx_commerce_store(&sh->dirty, 0);
}


void
ngx_commerce_zone_set_live(ngx_commerce_zone_t *zone, ngx_uint_t n)
{
    ngx_commerce_store(&zone->sh->instances, (uint64_t) n);
}


ngx_uint_t
ngx_commerce_zone_live(ngx_commerce_zone_t *zone)
{
    return ngx_commerce_load(&zone->sh->instances);
}


void
ngx_commerce_zone_drain(ngx_commerce_zone_t *zone)
{
    ngx_commerce_store(&zone->sh->draining, 1);
}


ngx_uint_t
ngx_commerce_zone_draining(ngx_commerce_zone_t *zone)
{
    return ngx_commerce_load(&zone->sh->draining);
}


int64_t
ngx_commerce_zone_master(ngx_commerce_zone_t *zone, int64_t proposal)
{
    (void) ngx_commerce_cas(&zone->sh->master, 0, (uint64_t) proposal);

    return (int64_t) ngx_commerce_load(&zone->sh->master);
}


uint64_t
ngx_commerce_zone_rules(ngx_commerce_zone_t *zone)
{
    return ngx_commerce_load(&zone->sh->rules);
}


void
ngx_commerce_zone_rules_moved(ngx_commerce_zone_t *zone)
{
    (void) ngx_commerce_add(&zone->sh->rules, 1);
}


ngx_uint_t
ngx_commerce_zone_own_hand(ngx_commerce_zone_t *zone)
{
    return ngx_commerce_load(&ngx_commerce_zone_me(zone)->in_hand);
}
