/*
 * The shared memory of one instance (one nginx master): header, worker slots,
 * the instance's identity, and the tables of the other files of this room.
 *
 * Locking: only shpool->mutex (the master releases it when a worker dies) or
 * atomics.  Writers of tables set zone->sh->dirty under the mutex before the
 * first write and clear it after the last; whoever takes the mutex and finds
 * it set resets every table and puts the instance in doubt.
 */

#ifndef NGX_COMMERCE_ZONE_H
#define NGX_COMMERCE_ZONE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "commerce_types.h"


#define NGX_COMMERCE_ZONE_MIN  (8 * 1024 * 1024)    /* bytes */

typedef struct ngx_commerce_zone_sh_s  ngx_commerce_zone_sh_t;


/* One per process and configuration; shm_zone->data. */
typedef struct {
    ngx_commerce_zone_sh_t     *sh;
    ngx_slab_pool_t            *shpool;
    ngx_shm_zone_t             *shm_zone;
    ngx_str_t                   database;   /* conninfo the zone is bound to */
    ngx_uint_t                  generation; /* of this worker's configuration */
    ngx_uint_t                  slot;       /* worker slot: ngx_process_slot */
} ngx_commerce_zone_t;


typedef enum {
    NGX_COMMERCE_INSTANCE_NONE = 0,     /* not registered yet */
    NGX_COMMERCE_INSTANCE_LIVE,
    NGX_COMMERCE_INSTANCE_DOUBT         /* to be left for a new one */
} ngx_commerce_instance_e;


/*
 * ngx_shm_zone_t.init: creates the tables once, adopts them after a reload.
 * Refuses (log, NGX_ERROR) the same zone with another database or another
 * layout.
 */
ngx_int_t ngx_commerce_zone_init(ngx_shm_zone_t *shm_zone, void *old);

/* Master, once per configuration that took effect (init_module). */
void ngx_commerce_zone_new_generation(ngx_commerce_zone_t *zone);

/*
 * Worker start and clean end.  start() puts the instance in doubt when the
 * slot's last owner died without stop().  stop() returns how many workers of
 * this worker's generation are left: exactly one of them gets 0.
 */
void ngx_commerce_zone_worker_start(ngx_commerce_zone_t *zone);
ngx_uint_t ngx_commerce_zone_worker_stop(ngx_commerce_zone_t *zone);

/* 1 when a newer configuration runs: this worker leaves silently. */
ngx_uint_t ngx_commerce_zone_outdated(ngx_commerce_zone_t *zone);

/* Workers of the current generation that have not stopped, this one too. */
ngx_uint_t ngx_commerce_zone_workers(ngx_commerce_zone_t *zone);

/* Every worker, on a tick: frees the slots of dead pids and doubts. */
void ngx_commerce_zone_bury(ngx_commerce_zone_t *zone);

/*
 * Election by compare-and-swap: 1 when this worker leads (and renews its
 * stamp).  Taken over when the leader's pid is gone or it missed "patience"
 * milliseconds.  Workers that exit resign; outdated ones never lead.
 */
ngx_uint_t ngx_commerce_zone_lead(ngx_commerce_zone_t *zone,
    ngx_msec_t patience);
void ngx_commerce_zone_resign(ngx_commerce_zone_t *zone);

/* The live instance's id; 0 while there is none or it is in doubt. */
int64_t ngx_commerce_zone_instance(ngx_commerce_zone_t *zone);

/* The id whatever its state; *state tells it. */
int64_t ngx_commerce_zone_identity(ngx_commerce_zone_t *zone,
    ngx_commerce_instance_e *state);

/* Puts "instance" in doubt if it is still the zone's; 0 doubts any. */
void ngx_commerce_zone_doubt(ngx_commerce_zone_t *zone, int64_t instance,
    const char *why);

/*
 * The leader, after the new instance's row is committed: empties every pool,
 * drops every mark and takes the new id into use.
 */
void ngx_commerce_zone_adopt(ngx_commerce_zone_t *zone, int64_t instance);

/* Live instances on the database as the last heartbeat saw it (0: unknown). */
void ngx_commerce_zone_set_live(ngx_commerce_zone_t *zone, ngx_uint_t n);
ngx_uint_t ngx_commerce_zone_live(ngx_commerce_zone_t *zone);

/* Names this zone's nginx master: the first proposal that is not 0 stays. */
int64_t ngx_commerce_zone_master(ngx_commerce_zone_t *zone, int64_t proposal);

/* Nobody stocks up any more: grants are for need only, until a reload. */
void ngx_commerce_zone_drain(ngx_commerce_zone_t *zone);
ngx_uint_t ngx_commerce_zone_draining(ngx_commerce_zone_t *zone);

/* Moves when tax rates or shipping methods may have changed: what a worker
   read before is old. */
uint64_t ngx_commerce_zone_rules(ngx_commerce_zone_t *zone);
void ngx_commerce_zone_rules_moved(ngx_commerce_zone_t *zone);

/* Units that workers have taken from pools and not given an end yet, and
   those on their way back to the database. */
ngx_uint_t ngx_commerce_zone_in_hand(ngx_commerce_zone_t *zone);

/* Those of this worker. */
ngx_uint_t ngx_commerce_zone_own_hand(ngx_commerce_zone_t *zone);

/* Moves at every take, put-back, sale and refill: nothing happened if equal. */
ngx_atomic_uint_t ngx_commerce_zone_activity(ngx_commerce_zone_t *zone);


#endif
