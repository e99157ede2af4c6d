#ifndef FAKE_NGX_CORE_H
#define FAKE_NGX_CORE_H

#include "ngx_config.h"


#define NGX_OK          0
#define NGX_ERROR      -1
#define NGX_BUSY       -3
#define NGX_DECLINED   -5

#define NGX_PROCESS_SINGLE  0
#define NGX_PROCESS_MASTER  1
#define NGX_PROCESS_WORKER  3

#define NGX_LOG_EMERG   1
#define NGX_LOG_WARN    5

#define ngx_errno       errno
#define NGX_ESRCH       ESRCH

#define ngx_min(a, b)   (((a) > (b)) ? (b) : (a))
#define ngx_max(a, b)   (((a) < (b)) ? (b) : (a))

#define ngx_memzero(p, n)       memset(p, 0, n)
#define ngx_memcpy(d, s, n)     (void) memcpy(d, s, n)
#define ngx_cpymem(d, s, n)     (((u_char *) memcpy(d, s, n)) + (n))
#define ngx_memcmp(a, b, n)     memcmp(a, b, n)

typedef struct {
    size_t              len;
    u_char             *data;
} ngx_str_t;

typedef struct {
    int                 unused;
} ngx_log_t;

typedef struct {
    ngx_log_t          *log;
} ngx_cycle_t;

/* one block at a time is enough here */
typedef struct {
    void               *block;
} ngx_pool_t;

typedef struct {
    pthread_mutex_t     lock;
} ngx_shmtx_t;

typedef struct {
    ngx_shmtx_t         mutex;
    size_t              pfree;
    u_char             *next;
    void               *data;
    u_char             *log_ctx;
    unsigned            log_nomem:1;
} ngx_slab_pool_t;

typedef struct {
    u_char             *addr;
    size_t              size;
    ngx_str_t           name;
    ngx_log_t          *log;
    ngx_uint_t          exists;
} ngx_shm_t;

typedef struct {
    void               *data;
    ngx_shm_t           shm;
} ngx_shm_zone_t;


extern ngx_uint_t            ngx_pagesize;
extern ngx_uint_t            ngx_process;
extern ngx_cycle_t          *ngx_cycle;
extern __thread ngx_int_t    ngx_process_slot;
extern __thread ngx_pid_t    ngx_pid;

extern ngx_uint_t            fake_logged;
extern uint64_t              fake_msec;

/* the clock stands still until the test moves it */
#define ngx_current_msec                                                      \
    ((ngx_msec_t) __atomic_load_n(&fake_msec, __ATOMIC_RELAXED))
#define ngx_time()          ((time_t) (1700000000 + ngx_current_msec / 1000))

#define ngx_log_error(level, log, err, ...)  fake_log_error(log, __VA_ARGS__)
#define ngx_sprintf(buf, ...)                (void) (buf)


void *ngx_slab_alloc(ngx_slab_pool_t *pool, size_t size);
void *ngx_slab_calloc(ngx_slab_pool_t *pool, size_t size);
void *ngx_pnalloc(ngx_pool_t *pool, size_t size);
void ngx_shmtx_lock(ngx_shmtx_t *mtx);
void ngx_shmtx_unlock(ngx_shmtx_t *mtx);
uint32_t ngx_murmur_hash2(u_char *data, size_t len);
void fake_log_error(ngx_log_t *log, const char *format, ...);


#endif
