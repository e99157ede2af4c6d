/*
 * Entries of a hash table with their text in chained chunks, in a queue from
 * the newest to the oldest use.  The text starts with the key, which a chunk
 * always holds whole, then comes the body.
 */

#include "ngx_commerce_zone_sh.h"
#include "ngx_commerce_cache.h"


#define NGX_COMMERCE_CACHE_PEEKS  32    /* steps along a chain unlocked */

#define ngx_commerce_cache_chunk(cache, index)                                \
    ((cache)->chunks + (size_t) ((index) - 1) * NGX_COMMERCE_CACHE_CHUNK)


static ngx_commerce_entry_t *ngx_commerce_cache_find(
    ngx_commerce_cache_t *cache, ngx_str_t *key, uint32_t hash);
static ngx_int_t ngx_commerce_cache_peek(ngx_commerce_cache_t *cache,
    uint32_t hash, size_t *len);
static void ngx_commerce_cache_read(ngx_commerce_cache_t *cache,
    ngx_commerce_entry_t *entry, u_char *dst);
static void ngx_commerce_cache_write(ngx_commerce_cache_t *cache,
    ngx_commerce_entry_t *entry, ngx_str_t *key, ngx_str_t *body);
static ngx_commerce_entry_t *ngx_commerce_cache_new(
    ngx_commerce_cache_t *cache, uint32_t chunks);
static uint32_t ngx_commerce_cache_take_chunk(ngx_commerce_cache_t *cache);
static void ngx_commerce_cache_delete(ngx_commerce_cache_t *cache,
    ngx_commerce_entry_t *entry);
static void ngx_commerce_cache_enqueue(ngx_commerce_cache_t *cache,
    ngx_commerce_entry_t *entry);
static void ngx_commerce_cache_dequeue(ngx_commerce_cache_t *cache,
    ngx_commerce_entry_t *entry);


ngx_int_t
ngx_commerce_cache_create(ngx_commerce_cache_t *cache, u_char *start,
    size_t size)
{
    size_t    n;
    uint32_t  heads;

    /* an entry has one chunk at least: as many of both */

    n = size / (NGX_COMMERCE_CACHE_CHUNK + sizeof(ngx_commerce_entry_t)
                + 3 * sizeof(uint32_t));

    if (n < 64 || n > 0x3fffffff) {
        return NGX_ERROR;
    }

    for (heads = 64; heads < n; heads *= 2) { /* void */ }

    cache->nchunks = n;
    cache->nentries = n;
    cache->mask = heads - 1;

    cache->chunks = start;
    cache->entries = (ngx_commerce_entry_t *)
                         (start + n * NGX_COMMERCE_CACHE_CHUNK);
    cache->chunk_next = (uint32_t *) (cache->entries + n);
    cache->heads = cache->chunk_next + n;

    ngx_commerce_cache_reset(cache);

    return NGX_OK;
}


void
ngx_commerce_cache_reset(ngx_commerce_cache_t *cache)
{
    uint32_t  i;

    for (i = 0; i <= cache->mask; i++) {
        ngx_commerce_poke(&cache->heads[i], 0);
    }

    cache->carved_chunks = 0;
    cache->carved_entries = 0;
    cache->free_chunk = 0;
    cache->free_chunks = 0;
    cache->free_entry = 0;
    cache->newest = 0;
    cache->oldest = 0;
    cache->used_entries = 0;
}


ngx_int_t
ngx_commerce_cache_get(ngx_commerce_zone_t *zone, ngx_str_t *key,
    ngx_pool_t *pool, ngx_str_t *body, uint64_t *tag)
{
    size_t                 len;
    u_char                *data;
    uint32_t               hash;
    ngx_int_t              rc;
    ngx_commerce_cache_t  *cache;
    ngx_commerce_entry_t  *entry;

    cache = &zone->sh->cache;
    hash = ngx_murmur_hash2(key->data, key->len);

    /*
     * The length is looked up without the mutex, where a wrong answer costs a
     * miss, so that the memory is there before the mutex is taken.
     */

    if (key->len > NGX_COMMERCE_CACHE_KEY_MAX
        || ngx_commerce_cache_peek(cache, hash, &len) != NGX_OK)
    {
        ngx_commerce_count(zone, NGX_COMMERCE_C_CACHE_MISSES, 1);
        return NGX_DECLINED;
    }

    data = ngx_pnalloc(pool, len ? len : 1);
    if (data == NULL) {
        return NGX_DECLINED;
    }

    rc = NGX_DECLINED;

    ngx_commerce_zone_lock(zone);

    entry = ngx_commerce_cache_find(cache, key, hash);

    if (entry
        && entry->stamp == ngx_commerce_load(&cache->stamp)
        && entry->body_len <= len)
    {
        ngx_commerce_cache_read(cache, entry, data);

        body->len = entry->body_len;
        body->data = data;
        *tag = entry->tag;
        rc = NGX_OK;

        if (entry->used_at != (uint32_t) ngx_time()) {
            ngx_commerce_zone_write(zone);

            entry->used_at = (uint32_t) ngx_time();
            ngx_commerce_cache_dequeue(cache, entry);
            ngx_commerce_cache_enqueue(cache, entry);
        }
    }

    ngx_commerce_zone_unlock(zone);

    ngx_commerce_count(zone, rc == NGX_OK ? NGX_COMMERCE_C_CACHE_HITS
                                          : NGX_COMMERCE_C_CACHE_MISSES, 1);
    return rc;
}


/* Of several entries with that hash, the longest body. */

static ngx_int_t
ngx_commerce_cache_peek(ngx_commerce_cache_t *cache, uint32_t hash,
    size_t *len)
{
    uint32_t               next, n, body_len;
    uint64_t               stamp;
    ngx_int_t              rc;
    ngx_commerce_entry_t  *entry;

    rc = NGX_DECLINED;
    *len = 0;

    stamp = ngx_commerce_load(&cache->stamp);
    next = ngx_commerce_peek(&cache->heads[hash & cache->mask]);

    for (n = 0; next && n < NGX_COMMERCE_CACHE_PEEKS; n++) {

        if (next > cache->nentries) {
            break;
        }

        entry = &cache->entries[next - 1];

        if (ngx_commerce_peek(&entry->hash) == hash
            && ngx_commerce_peek(&entry->stamp) == stamp)
        {
            body_len = ngx_commerce_peek(&entry->body_len);

            if (body_len <= NGX_COMMERCE_CACHE_BODY_MAX) {
                *len = ngx_max(*len, body_len);
                rc = NGX_OK;
            }
        }

        next = ngx_commerce_peek(&entry->next);
    }

    return rc;
}


/* Whatever its stamp: a key has one entry, and put() replaces it. */

static ngx_commerce_entry_t *
ngx_commerce_cache_find(ngx_commerce_cache_t *cache, ngx_str_t *key,
    uint32_t hash)
{
    uint32_t               next;
    ngx_commerce_entry_t  *entry;

    for (next = cache->heads[hash & cache->mask]; next; next = entry->next) {

        entry = &cache->entries[next - 1];

        if (entry->hash == hash
            && entry->key_len == key->len
            && ngx_memcmp(ngx_commerce_cache_chunk(cache, entry->first),
                          key->data, key->len)
               == 0)
        {
            return entry;
        }
    }

    return NULL;
}


ngx_atomic_uint_t
ngx_commerce_cache_stamp(ngx_commerce_zone_t *zone)
{
    return ngx_commerce_load(&zone->sh->cache.stamp);
}


void
ngx_commerce_cache_forget_all(ngx_commerce_zone_t *zone)
{
    (void) ngx_commerce_add(&zone->sh->cache.stamp, 1);
}


void
ngx_commerce_cache_put(ngx_commerce_zone_t *zone, ngx_str_t *key,
    ngx_str_t *body, uint64_t tag, ngx_atomic_uint_t stamp)
{
    size_t                 size;
    uint32_t               hash, chunks, *head;
    ngx_commerce_cache_t  *cache;
    ngx_commerce_entry_t  *entry;

    cache = &zone->sh->cache;

    if (key->len > NGX_COMMERCE_CACHE_KEY_MAX
        || body->len > NGX_COMMERCE_CACHE_BODY_MAX)
    {
        return;
    }

    size = key->len + body->len;
    chunks = size ? (size + NGX_COMMERCE_CACHE_CHUNK - 1)
                    / NGX_COMMERCE_CACHE_CHUNK
                  : 1;

    /* one answer does not drive out all the others */

    if (chunks > cache->nchunks / 4) {
        return;
    }

    hash = ngx_murmur_hash2(key->data, key->len);

    ngx_commerce_zone_lock(zone);

    if (ngx_commerce_load(&cache->stamp) != stamp) {
        ngx_commerce_zone_unlock(zone);
        return;
    }

    ngx_commerce_zone_write(zone);

    entry = ngx_commerce_cache_find(cache, key, hash);

    if (entry) {
        ngx_commerce_cache_delete(cache, entry);
    }

    entry = ngx_commerce_cache_new(cache, chunks);

    entry->tag = tag;
    entry->key_len = key->len;
    entry->used_at = (uint32_t) ngx_time();

    ngx_commerce_poke(&entry->stamp, stamp);
    ngx_commerce_poke(&entry->hash, hash);
    ngx_commerce_poke(&entry->body_len, body->len);

    ngx_commerce_cache_write(cache, entry, key, body);

    head = &cache->heads[hash & cache->mask];

    ngx_commerce_poke(&entry->next, *head);
    ngx_commerce_store(head, entry - cache->entries + 1);

    ngx_commerce_cache_enqueue(cache, entry);
    cache->used_entries++;

    ngx_commerce_zone_unlock(zone);
}


void
ngx_commerce_cache_stats(ngx_commerce_zone_t *zone,
    ngx_commerce_cache_stats_t *stats)
{
    ngx_commerce_cache_t  *cache;

    cache = &zone->sh->cache;

    ngx_commerce_zone_lock(zone);

    stats->entries = cache->used_entries;
    stats->bytes = (ngx_uint_t) (cache->carved_chunks - cache->free_chunks)
                   * NGX_COMMERCE_CACHE_CHUNK;

    ngx_commerce_zone_unlock(zone);

    stats->capacity = (ngx_uint_t) cache->nchunks * NGX_COMMERCE_CACHE_CHUNK;
}


static void
ngx_commerce_cache_read(ngx_commerce_cache_t *cache,
    ngx_commerce_entry_t *entry, u_char *dst)
{
    size_t    left, skip, n;
    uint32_t  chunk;

    left = entry->body_len;
    skip = entry->key_len;

    for (chunk = entry->first; left; chunk = cache->chunk_next[chunk - 1]) {

        n = ngx_min(left, NGX_COMMERCE_CACHE_CHUNK - skip);

        dst = ngx_cpymem(dst, ngx_commerce_cache_chunk(cache, chunk) + skip,
                         n);
        left -= n;
        skip = 0;
    }
}


static void
ngx_commerce_cache_write(ngx_commerce_cache_t *cache,
    ngx_commerce_entry_t *entry, ngx_str_t *key, ngx_str_t *body)
{
    size_t    left, skip, n;
    u_char   *src;
    uint32_t  chunk;

    ngx_memcpy(ngx_commerce_cache_chunk(cache, entry->first), key->data,
               key->len);

    src = body->data;
    left = body->len;
    skip = key->len;

    for (chunk = entry->first; left; chunk = cache->chunk_next[chunk - 1]) {

        n = ngx_min(left, NGX_COMMERCE_CACHE_CHUNK - skip);

        ngx_memcpy(ngx_commerce_cache_chunk(cache, chunk) + skip, src, n);

        src += n;
        left -= n;
        skip = 0;
    }
}


/*
 * Entry and chunks, from the oldest entries where nothing is free.  There are
 * as many entries as chunks, so free chunks mean a free entry.
 */

static ngx_commerce_entry_t *
ngx_commerce_cache_new(ngx_commerce_cache_t *cache, uint32_t chunks)
{
    uint32_t               i, index, chunk;
    ngx_commerce_entry_t  *entry;

    while (cache->free_chunks + (cache->nchunks - cache->carved_chunks)
           < chunks)
    {
        ngx_commerce_cache_delete(cache, &cache->entries[cache->oldest - 1]);
    }

    if (cache->free_entry) {
        index = cache->free_entry;
        entry = &cache->entries[index - 1];
        cache->free_entry = entry->first;

    } else {
        index = ++cache->carved_entries;
        entry = &cache->entries[index - 1];
    }

    entry->chunks = chunks;
    entry->first = ngx_commerce_cache_take_chunk(cache);
    entry->last = entry->first;

    for (i = 1; i < chunks; i++) {
        chunk = ngx_commerce_cache_take_chunk(cache);
        cache->chunk_next[entry->last - 1] = chunk;
        entry->last = chunk;
    }

    return entry;
}


static uint32_t
ngx_commerce_cache_take_chunk(ngx_commerce_cache_t *cache)
{
    uint32_t  chunk;

    if (cache->free_chunk == 0) {
        return ++cache->carved_chunks;
    }

    chunk = cache->free_chunk;
    cache->free_chunk = cache->chunk_next[chunk - 1];
    cache->free_chunks--;

    return chunk;
}


static void
ngx_commerce_cache_delete(ngx_commerce_cache_t *cache,
    ngx_commerce_entry_t *entry)
{
    uint32_t  *next, index;

    index = entry - cache->entries + 1;
    next = &cache->heads[entry->hash & cache->mask];

    while (*next && *next != index) {
        next = &cache->entries[*next - 1].next;
    }

    if (*next) {
        ngx_commerce_poke(next, entry->next);
    }

    ngx_commerce_cache_dequeue(cache, entry);

    cache->chunk_next[entry->last - 1] = cache->free_chunk;
    cache->free_chunk = entry->first;
    cache->free_chunks += entry->chunks;

    /* "next" stays: somebody may be walking here without the mutex */

    entry->first = cache->free_entry;
    cache->free_entry = index;
    cache->used_entries--;
}


static void
ngx_commerce_cache_enqueue(ngx_commerce_cache_t *cache,
    ngx_commerce_entry_t *entry)
{
    uint32_t  index;

    index = entry - cache->entries + 1;

    entry->newer = 0;
    entry->older = cache->newest;

    if (cache->newest) {
        cache->entries[cache->newest - 1].newer = index;

    } else {
        cache->oldest = index;
    }

    cache->newest = index;
}


static void
ngx_commerce_cache_dequeue(ngx_commerce_cache_t *cache,
    ngx_commerce_entry_t *entry)
{
    if (entry->newer) {
        cache->entries[entry->newer - 1].older = entry->older;

    } else {
        cache->newest = entry->older;
    }

    if (entry->older) {
        cache->entries[entry->older - 1].newer = entry->newer;

    } else {
        cache->oldest = entry->newer;
    }
}
