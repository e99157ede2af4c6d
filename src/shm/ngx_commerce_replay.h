/*
 * Idempotency keys that this instance has seen lately: one that is being
 * worked on, or the answer it got.  The database is the authority (unique
 * orders.idem); this only saves statements.
 */

#ifndef NGX_COMMERCE_REPLAY_H
#define NGX_COMMERCE_REPLAY_H

#include "ngx_commerce_zone.h"


#define NGX_COMMERCE_REPLAY_BODY_MAX  1536      /* bytes of a kept answer */


typedef enum {
    NGX_COMMERCE_REPLAY_NEW = 0,    /* marked: finish() or drop() must follow */
    NGX_COMMERCE_REPLAY_UNMARKED,   /* no room for a mark: go on without */
    NGX_COMMERCE_REPLAY_IN_PROGRESS,
    NGX_COMMERCE_REPLAY_REUSED,     /* the same key, another fingerprint */
    NGX_COMMERCE_REPLAY_DONE        /* *body is the answer */
} ngx_commerce_replay_e;


/*
 * DONE fills *id, *status and *body (from pool).  A mark whose worker slot is
 * gone counts as absent, as does an answer whose "until" has passed.
 */
ngx_commerce_replay_e ngx_commerce_replay_begin(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *idem, const commerce_uuid_t *fingerprint,
    ngx_pool_t *pool, commerce_uuid_t *id, ngx_uint_t *status,
    ngx_str_t *body);

/*
 * Turns the mark into an answer, or, where there is none, adds it.  A body
 * that is too long drops the mark.  "until" is ngx_time() seconds.
 */
void ngx_commerce_replay_finish(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *idem, const commerce_uuid_t *fingerprint,
    const commerce_uuid_t *id, ngx_uint_t status, ngx_str_t *body,
    time_t until);

/* Drops the mark: only 2xx binds a key. */
void ngx_commerce_replay_drop(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *idem);

/* The object changed: its kept answer would not be today's. */
void ngx_commerce_replay_forget(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *idem);
void ngx_commerce_replay_forget_all(ngx_commerce_zone_t *zone);


#endif
