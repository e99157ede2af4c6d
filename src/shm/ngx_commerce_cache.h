/*
 * Read-through cache of rendered catalogue answers.  Nothing in it is worth
 * keeping: any doubt empties it.
 */

#ifndef NGX_COMMERCE_CACHE_H
#define NGX_COMMERCE_CACHE_H

#include "ngx_commerce_zone.h"


#define NGX_COMMERCE_CACHE_KEY_MAX   512        /* bytes; longer: not cached */
#define NGX_COMMERCE_CACHE_BODY_MAX  262144     /* bytes; longer: not cached */


/*
 * NGX_OK with *body (allocated from pool) and *tag; NGX_DECLINED: a miss.
 * Counts hits and misses.
 */
ngx_int_t ngx_commerce_cache_get(ngx_commerce_zone_t *zone, ngx_str_t *key,
    ngx_pool_t *pool, ngx_str_t *body, uint64_t *tag);

/* Read before the database is asked; see put(). */
ngx_atomic_uint_t ngx_commerce_cache_stamp(ngx_commerce_zone_t *zone);

/*
 * Stores unless something was forgotten since "stamp".  Least recently used
 * entries make room.  "tag" is the caller's (a version).
 */
void ngx_commerce_cache_put(ngx_commerce_zone_t *zone, ngx_str_t *key,
    ngx_str_t *body, uint64_t tag, ngx_atomic_uint_t stamp);

/* Forgets every entry (one counter moves: entries of older stamps miss). */
void ngx_commerce_cache_forget_all(ngx_commerce_zone_t *zone);

typedef struct {
    ngx_uint_t      entries;
    ngx_uint_t      bytes;          /* in use */
    ngx_uint_t      capacity;       /* bytes */
} ngx_commerce_cache_stats_t;

void ngx_commerce_cache_stats(ngx_commerce_zone_t *zone,
    ngx_commerce_cache_stats_t *stats);


#endif
