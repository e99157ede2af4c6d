/*
 * Layouts of the shared memory, private to this room.
 *
 * Everything is carved from the slab pool when the zone is created; later
 * there is no slab call.  Links between entries are indexes plus one, so that
 * zeroed memory is an empty table.  Entries are not touched before they are
 * first used: a zone that is larger than the catalogue costs no memory.
 *
 * Two kinds of words: those that are only read and written under the mutex,
 * and those that are atomic always, through the helpers below.
 */

#ifndef NGX_COMMERCE_ZONE_SH_H
#define NGX_COMMERCE_ZONE_SH_H

#include "ngx_commerce_zone.h"
#include "ngx_commerce_stock.h"
#include "ngx_commerce_counters.h"


#define NGX_COMMERCE_LINE        64     /* bytes of a cache line */
#define NGX_COMMERCE_STRIPES     64
#define NGX_COMMERCE_RING        16     /* seconds of order counts kept */
#define NGX_COMMERCE_FORGOTTEN   4096   /* a power of two */

#define NGX_COMMERCE_CACHE_CHUNK    1024    /* over the longest key */
#define NGX_COMMERCE_REPLAY_WAYS    8

#define ngx_commerce_pool_units(pool)       ((uint32_t) (pool))
#define ngx_commerce_pool_generation(pool)  ((uint32_t) ((pool) >> 32))
#define ngx_commerce_pool_word(gen, units)                                    \
    ((uint64_t) (uint32_t) (gen) << 32 | (uint32_t) (units))

#define ngx_commerce_aligned  __attribute__((aligned(NGX_COMMERCE_LINE)))

#define ngx_commerce_load(p)      __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define ngx_commerce_peek(p)      __atomic_load_n(p, __ATOMIC_RELAXED)
#define ngx_commerce_store(p, v)  __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define ngx_commerce_poke(p, v)   __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define ngx_commerce_add(p, n)    __atomic_add_fetch(p, n, __ATOMIC_ACQ_REL)
#define ngx_commerce_sub(p, n)    __atomic_sub_fetch(p, n, __ATOMIC_ACQ_REL)


/*
 * Names a worker: its slot plus one, and above 16 bits which start of that
 * slot.  0 is nobody.  It holds as long as the slot still carries it.
 */
typedef uint64_t  ngx_commerce_mark_t;


typedef struct {
    ngx_commerce_mark_t         mark;       /* 0: nobody works here */
    uint64_t                    starts;
    uint64_t                    generation;
    int64_t                     pid;

    uint64_t                    in_hand;
    uint64_t                    activity;
    uint64_t                    gauges[NGX_COMMERCE_WORKER_GAUGES];
} ngx_commerce_aligned ngx_commerce_worker_t;


typedef struct {
    int64_t                     id;
    int64_t                     instance;
} ngx_commerce_lease_t;


/*
 * What requests touch of a variant.  "pool" is changed by compare-and-swap of
 * anybody; its generation and the leases change under the mutex only.
 */
typedef struct {
    uint64_t                    pool;       /* generation << 32 | units */
    ngx_commerce_lease_t        lease[2];   /* by the generation's low bit */
    uint64_t                    last_take;  /* msec */
    uint32_t                    serial;     /* moves when the slot is reused */
    int32_t                     want;
    uint32_t                    referenced; /* since the clock hand was here */
    uint32_t                    last_grant;

    ngx_commerce_mark_t         refill;
    uint64_t                    sold_out;   /* msec when it was so; 0: no */
    uint64_t                    refill_ended;   /* msec */
    int64_t                     own;        /* by the rows, see the view */
    uint32_t                    news;
    uint32_t                    started;
    uint32_t                    ended;
    int32_t                     free;
    uint32_t                    elsewhere;  /* units of others, as a row said */
    uint32_t                    others;
} ngx_commerce_aligned ngx_commerce_slot_t;


/* What the database said of it; under the mutex. */
typedef struct {
    uint64_t                    stamp;
    uint32_t                    sku_next;
    uint32_t                    id_next;
    uint32_t                    sku_hash;
    uint32_t                    id_hash;
    ngx_uint_t                  valid;
    ngx_commerce_variant_t      variant;
} ngx_commerce_row_t;


typedef struct {
    ngx_commerce_slot_t        *slots;
    ngx_commerce_row_t         *rows;
    uint32_t                   *sku_heads;
    uint32_t                   *id_heads;
    uint32_t                    mask;
    uint32_t                    n;
    uint32_t                    used;
    uint32_t                    carved;     /* used at its highest: never
                                               falls, serials live on */
    uint32_t                    hand;
    uint64_t                    full;
    uint64_t                    full_at;    /* msec of the last full scan */

    uint64_t                    stamp ngx_commerce_aligned;
    uint64_t                    all_forgotten;
    uint64_t                    forgotten[NGX_COMMERCE_FORGOTTEN];
} ngx_commerce_variants_t;


typedef struct {
    uint64_t                    tag;
    uint64_t                    stamp;
    uint32_t                    hash;
    uint32_t                    next;       /* of the hash chain or free list */
    uint32_t                    newer;
    uint32_t                    older;
    uint32_t                    first;      /* chunks: key, then body */
    uint32_t                    last;
    uint32_t                    chunks;
    uint32_t                    body_len;
    uint32_t                    key_len;
    uint32_t                    used_at;    /* seconds */
} ngx_commerce_entry_t;


typedef struct {
    u_char                     *chunks;
    uint32_t                   *chunk_next;
    ngx_commerce_entry_t       *entries;
    uint32_t                   *heads;
    uint32_t                    mask;
    uint32_t                    nchunks;
    uint32_t                    nentries;

    uint64_t                    stamp ngx_commerce_aligned;

    uint32_t                    carved_chunks ngx_commerce_aligned;
    uint32_t                    carved_entries;
    uint32_t                    free_chunk;
    uint32_t                    free_chunks;    /* in that list */
    uint32_t                    free_entry;
    uint32_t                    newest;
    uint32_t                    oldest;
    uint32_t                    used_entries;
} ngx_commerce_cache_t;


typedef struct {
    commerce_uuid_t             idem;
    commerce_uuid_t             fingerprint;
    commerce_uuid_t             id;
    ngx_commerce_mark_t         mark;       /* in progress; 0: an answer */
    uint64_t                    epoch;
    uint64_t                    sequence;   /* order of answers */
    int64_t                     until;
    uint16_t                    status;
    uint16_t                    body_len;
    uint16_t                    used;
    uint16_t                    stale;      /* forgotten while in progress */
} ngx_commerce_answer_t;


typedef struct {
    ngx_commerce_answer_t      *answers;
    u_char                     *bodies;
    uint32_t                    sets;
    uint64_t                    sequence;
    uint64_t                    epoch;
} ngx_commerce_replays_t;


typedef struct {
    uint64_t                    counters[NGX_COMMERCE_COUNTERS];
    uint64_t                    requests[NGX_COMMERCE_OPS][COMMERCE_PROBLEMS];
    uint64_t                    latency[NGX_COMMERCE_LATENCY_BUCKETS];
    uint64_t                    latency_sum;
    uint64_t                    ring[NGX_COMMERCE_RING];    /* second << 32
                                                               | orders */
} ngx_commerce_aligned ngx_commerce_stripe_t;


struct ngx_commerce_zone_sh_s {
    uint64_t                    magic;
    uint64_t                    layout;
    u_char                      database[16];   /* digest of the conninfo */

    /* seldom written */
    uint64_t                    live;       /* id of the live instance, or 0 */
    uint64_t                    identity;
    uint64_t                    generation;
    uint64_t                    instances;
    uint64_t                    top;        /* worker slots ever used */
    uint64_t                    draining;
    uint64_t                    master;
    uint64_t                    torn;       /* a reset to be told in the log */
    uint64_t                    rules;
    uint64_t                    gauges[NGX_COMMERCE_GAUGES];

    ngx_commerce_mark_t         leader ngx_commerce_aligned;
    uint64_t                    leader_beat;

    uint64_t                    dirty ngx_commerce_aligned;

    ngx_commerce_variants_t     variants ngx_commerce_aligned;
    ngx_commerce_cache_t        cache ngx_commerce_aligned;
    ngx_commerce_replays_t      replays ngx_commerce_aligned;

    ngx_commerce_worker_t       workers[NGX_MAX_PROCESSES];
    ngx_commerce_stripe_t       stripes[NGX_COMMERCE_STRIPES];
};


/* Carve a table from "size" bytes; NGX_ERROR: too small. */
ngx_int_t ngx_commerce_variants_create(ngx_commerce_variants_t *variants,
    u_char *start, size_t size);
ngx_int_t ngx_commerce_cache_create(ngx_commerce_cache_t *cache, u_char *start,
    size_t size);
ngx_int_t ngx_commerce_replay_create(ngx_commerce_replays_t *replays,
    u_char *start, size_t size);

/* Empty a table whatever state it is in; under the mutex. */
void ngx_commerce_variants_reset(ngx_commerce_variants_t *variants);
void ngx_commerce_cache_reset(ngx_commerce_cache_t *cache);
void ngx_commerce_replay_reset(ngx_commerce_replays_t *replays);

/* Everything, and the instance is in doubt; under the mutex. */
void ngx_commerce_zone_reset(ngx_commerce_zone_t *zone);

/* A new generation without units; under the mutex.  What it had is lost. */
void ngx_commerce_stock_void(ngx_commerce_slot_t *slot);
void ngx_commerce_stock_adopt(ngx_commerce_zone_t *zone);
void ngx_commerce_replay_adopt(ngx_commerce_zone_t *zone);

/* The slot of a variant, or NULL; under the mutex. */
ngx_commerce_slot_t *ngx_commerce_variants_slot(
    ngx_commerce_variants_t *variants, const commerce_uuid_t *id);


static ngx_inline ngx_uint_t
ngx_commerce_cas(uint64_t *word, uint64_t old, uint64_t new)
{
    return __atomic_compare_exchange_n(word, &old, new, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}


static ngx_inline ngx_commerce_worker_t *
ngx_commerce_zone_me(ngx_commerce_zone_t *zone)
{
    return &zone->sh->workers[zone->slot];
}


/* Like "in_hand" it has one writer: no locked instruction is needed. */
static ngx_inline void
ngx_commerce_stock_moved(ngx_commerce_zone_t *zone)
{
    ngx_commerce_worker_t  *worker;

    worker = ngx_commerce_zone_me(zone);

    ngx_commerce_store(&worker->activity,
                       ngx_commerce_peek(&worker->activity) + 1);
}


/* The clock of another process may be ahead: the difference has a sign. */
static ngx_inline ngx_msec_int_t
ngx_commerce_stock_since(uint64_t *msec)
{
    return (ngx_msec_int_t) (ngx_current_msec - ngx_commerce_peek(msec));
}


static ngx_inline ngx_uint_t
ngx_commerce_mark_holds(ngx_commerce_zone_t *zone, ngx_commerce_mark_t mark)
{
    uint64_t  slot;

    slot = mark & 0xffff;

    return slot != 0 && slot <= NGX_MAX_PROCESSES
           && ngx_commerce_load(&zone->sh->workers[slot - 1].mark) == mark;
}


static ngx_inline void
ngx_commerce_zone_lock(ngx_commerce_zone_t *zone)
{
    ngx_shmtx_lock(&zone->shpool->mutex);

    if (zone->sh->dirty) {
        ngx_commerce_zone_reset(zone);
    }
}


/* Before the first write to a chain, a list or a queue. */
static ngx_inline void
ngx_commerce_zone_write(ngx_commerce_zone_t *zone)
{
    ngx_commerce_store(&zone->sh->dirty, (uint64_t) ngx_pid);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}


static ngx_inline void
ngx_commerce_zone_unlock(ngx_commerce_zone_t *zone)
{
    if (zone->sh->dirty) {
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        ngx_commerce_store(&zone->sh->dirty, 0);
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


#endif
