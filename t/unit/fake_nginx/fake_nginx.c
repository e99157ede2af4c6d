#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_md5.h>


static ngx_log_t             fake_log;
static ngx_cycle_t           fake_cycle = { &fake_log };

ngx_uint_t                   ngx_pagesize = 4096;
ngx_uint_t                   ngx_process = NGX_PROCESS_WORKER;
ngx_cycle_t                 *ngx_cycle = &fake_cycle;
__thread ngx_int_t           ngx_process_slot;
__thread ngx_pid_t           ngx_pid;

ngx_uint_t                   fake_logged;
uint64_t                     fake_msec = 100000;


void *
ngx_slab_alloc(ngx_slab_pool_t *pool, size_t size)
{
    size_t   pages;
    u_char  *p;

    pages = (size + ngx_pagesize - 1) / ngx_pagesize;

    if (pages > pool->pfree) {
        return NULL;
    }

    p = pool->next;
    pool->next += pages * ngx_pagesize;
    pool->pfree -= pages;

    /* nothing may rely on zeroed pages */

    memset(p, 0xa5, pages * ngx_pagesize);

    return p;
}


void *
ngx_slab_calloc(ngx_slab_pool_t *pool, size_t size)
{
    void  *p;

    p = ngx_slab_alloc(pool, size);

    if (p) {
        ngx_memzero(p, size);
    }

    return p;
}


void *
ngx_pnalloc(ngx_pool_t *pool, size_t size)
{
    free(pool->block);
    pool->block = malloc(size);

    return pool->block;
}


void
ngx_shmtx_lock(ngx_shmtx_t *mtx)
{
    pthread_mutex_lock(&mtx->lock);
}


void
ngx_shmtx_unlock(ngx_shmtx_t *mtx)
{
    pthread_mutex_unlock(&mtx->lock);
}


uint32_t
ngx_murmur_hash2(u_char *data, size_t len)
{
    uint32_t  hash;

    for (hash = 2166136261; len; len--) {
        hash = (hash ^ *data++) * 16777619;
    }

    return hash ^ hash >> 15;
}


void
ngx_md5_init(ngx_md5_t *md5)
{
    md5->sum[0] = 5381;
    md5->sum[1] = 0;
}


void
ngx_md5_update(ngx_md5_t *md5, const void *data, size_t size)
{
    const u_char  *p;

    for (p = data; size; size--) {
        md5->sum[0] = md5->sum[0] * 33 + *p;
        md5->sum[1] = md5->sum[1] * 65599 + *p++;
    }
}


void
ngx_md5_final(u_char result[16], ngx_md5_t *md5)
{
    memcpy(result, md5->sum, 16);
}


void
fake_log_error(ngx_log_t *log, const char *format, ...)
{
    (void) log;
    (void) format;

    __atomic_add_fetch(&fake_logged, 1, __ATOMIC_RELAXED);
}
