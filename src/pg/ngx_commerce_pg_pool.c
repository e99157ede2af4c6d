/*
 * The connections of one purpose and the ops that wait for them.
 */

#include "ngx_commerce_pg_conn.h"


static void ngx_commerce_pg_pool_links(ngx_commerce_pg_pool_t *pool);
static void ngx_commerce_pg_pool_deadline(ngx_commerce_pg_pool_t *pool,
    ngx_msec_t deadline);
static void ngx_commerce_pg_pool_timer_handler(ngx_event_t *ev);
static void ngx_commerce_pg_pool_post_handler(ngx_event_t *ev);
static ngx_commerce_pg_link_t *ngx_commerce_pg_pool_link(
    ngx_commerce_pg_pool_t *pool);
static ngx_commerce_pg_op_t *ngx_commerce_pg_pool_shift(
    ngx_commerce_pg_pool_t *pool);
static void ngx_commerce_pg_pool_dispatch(ngx_commerce_pg_pool_t *pool);
static void ngx_commerce_pg_pool_end(ngx_commerce_pg_pool_t *pool);


ngx_commerce_pg_pool_t *
ngx_commerce_pg_pool_create(ngx_cycle_t *cycle,
    ngx_commerce_pg_server_t *server, ngx_commerce_pg_purpose_t *purpose)
{
    size_t                   size;
    ngx_uint_t               i;
    ngx_pool_t              *mem;
    ngx_commerce_pg_link_t  *link;
    ngx_commerce_pg_pool_t  *pool;

    mem = ngx_create_pool(4096, cycle->log);
    if (mem == NULL) {
        return NULL;
    }

    pool = ngx_pcalloc(mem, sizeof(ngx_commerce_pg_pool_t));
    if (pool == NULL) {
        goto failed;
    }

    pool->mem = mem;
    pool->log = cycle->log;
    pool->server = server;
    pool->purpose = *purpose;

    pool->purpose.connections = ngx_max(purpose->connections, 1);
    pool->purpose.depth = ngx_max(purpose->depth, 1);
    pool->purpose.max_queue = ngx_max(purpose->max_queue, 1);

    ngx_queue_init(&pool->waiting);

    pool->post.data = pool;
    pool->post.handler = ngx_commerce_pg_pool_post_handler;
    pool->post.log = pool->log;

    pool->timer.data = pool;
    pool->timer.handler = ngx_commerce_pg_pool_timer_handler;
    pool->timer.log = pool->log;

    size = pool->purpose.connections * sizeof(ngx_commerce_pg_link_t);

    pool->links = ngx_pcalloc(mem, size);
    if (pool->links == NULL
        || ngx_commerce_pg_setup_prepare(pool) != NGX_OK)
    {
        goto failed;
    }

    for (i = 0; i < pool->purpose.connections; i++) {
        link = &pool->links[i];

        link->pool = pool;
        link->conn.slot = purpose->first_slot + i;
        ngx_queue_init(&link->ops);
    }

    ngx_commerce_pg_pool_links(pool);

    return pool;

failed:

    ngx_destroy_pool(mem);

    return NULL;
}


static void
ngx_commerce_pg_pool_links(ngx_commerce_pg_pool_t *pool)
{
    ngx_uint_t  i;

    for (i = 0; i < pool->purpose.connections; i++) {
        if (pool->links[i].state == ngx_commerce_pg_closed) {
            ngx_commerce_pg_link_open(&pool->links[i]);
        }
    }
}


/* The memory of a pool that a callback destroys lives until here. */

void
ngx_commerce_pg_enter(ngx_commerce_pg_pool_t *pool)
{
    pool->active++;
}


void
ngx_commerce_pg_leave(ngx_commerce_pg_pool_t *pool)
{
    pool->active--;

    if (pool->destroyed && pool->active == 0) {
        ngx_destroy_pool(pool->mem);
    }
}


ngx_int_t
ngx_commerce_pg_submit(ngx_commerce_pg_pool_t *pool, ngx_commerce_pg_op_t *op)
{
    if (pool->closed || pool->nwaiting >= pool->purpose.max_queue) {
        return NGX_BUSY;
    }

    op->pool = NULL;
    op->conn = NULL;
    op->nqueries = 0;
    op->answered = 0;
    op->sqlstate[0] = '\0';
    op->sent = 0;
    op->failed = 0;

    ngx_queue_insert_tail(&pool->waiting, &op->queue);
    pool->nwaiting++;

    if (op->deadline) {
        ngx_commerce_pg_pool_deadline(pool, op->deadline);
    }

    ngx_post_event(&pool->post, &ngx_posted_events);

    return NGX_OK;
}


/* Arms the timer unless an earlier deadline has; it holds a graceful exit. */

static void
ngx_commerce_pg_pool_deadline(ngx_commerce_pg_pool_t *pool,
    ngx_msec_t deadline)
{
    ngx_msec_int_t  left;

    if (pool->timer.timer_set) {
        if ((ngx_msec_int_t) (pool->timer.timer.key - deadline) <= 0) {
            return;
        }

        /* ngx_add_timer() leaves a timer that is a little late */
        ngx_del_timer(&pool->timer);
    }

    left = (ngx_msec_int_t) (deadline - ngx_current_msec);

    ngx_add_timer(&pool->timer, left > 0 ? (ngx_msec_t) left : 0);
}


static void
ngx_commerce_pg_pool_timer_handler(ngx_event_t *ev)
{
    ngx_queue_t             *q, *next, expired;
    ngx_commerce_pg_op_t    *op;
    ngx_commerce_pg_pool_t  *pool;

    pool = ev->data;

    ngx_queue_init(&expired);

    for (q = ngx_queue_head(&pool->waiting);
         q != ngx_queue_sentinel(&pool->waiting);
         q = next)
    {
        next = ngx_queue_next(q);
        op = ngx_queue_data(q, ngx_commerce_pg_op_t, queue);

        if (ngx_commerce_pg_expired(op->deadline)) {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&expired, q);
            pool->nwaiting--;

        } else if (op->deadline) {
            ngx_commerce_pg_pool_deadline(pool, op->deadline);
        }
    }

    ngx_commerce_pg_enter(pool);

    while (!ngx_queue_empty(&expired)) {
        q = ngx_queue_head(&expired);
        ngx_queue_remove(q);

        op = ngx_queue_data(q, ngx_commerce_pg_op_t, queue);
        ngx_commerce_pg_op_done(op, NGX_COMMERCE_PG_NOT_SENT, "");
    }

    ngx_commerce_pg_leave(pool);
}


static void
ngx_commerce_pg_pool_post_handler(ngx_event_t *ev)
{
    ngx_commerce_pg_pool_t  *pool;

    pool = ev->data;

    ngx_commerce_pg_enter(pool);
    ngx_commerce_pg_pool_run(pool);
    ngx_commerce_pg_leave(pool);
}


void
ngx_commerce_pg_pool_run(ngx_commerce_pg_pool_t *pool)
{
    ngx_uint_t  i;

    if (pool->closed) {
        return;
    }

    ngx_commerce_pg_pool_dispatch(pool);

    if (pool->purpose.idle && !pool->closed
        && pool->nwaiting == 0 && ngx_commerce_pg_has_room(pool))
    {
        pool->purpose.idle(pool->hub ? pool->hub : pool->purpose.data);
    }

    if (!ngx_exiting || pool->closed) {
        return;
    }

    if (ngx_commerce_pg_pool_wanted(pool)) {
        ngx_commerce_pg_pool_links(pool);
        return;
    }

    for (i = 0; i < pool->purpose.connections; i++) {
        if (pool->links[i].in_flight == 0
            && pool->links[i].state != ngx_commerce_pg_closed)
        {
            ngx_commerce_pg_link_close(&pool->links[i]);
        }
    }
}


ngx_uint_t
ngx_commerce_pg_pool_wanted(ngx_commerce_pg_pool_t *pool)
{
    return pool->hold || pool->nwaiting || pool->items;
}


/* The ready connection with the fewest ops, if it has room. */

static ngx_commerce_pg_link_t *
ngx_commerce_pg_pool_link(ngx_commerce_pg_pool_t *pool)
{
    ngx_uint_t               i;
    ngx_commerce_pg_link_t  *link, *best;

    best = NULL;

    for (i = 0; i < pool->purpose.connections; i++) {
        link = &pool->links[i];

        if (link->state == ngx_commerce_pg_ready
            && link->in_flight < pool->purpose.depth
            && (best == NULL || link->in_flight < best->in_flight))
        {
            best = link;
        }
    }

    return best;
}


static ngx_commerce_pg_op_t *
ngx_commerce_pg_pool_shift(ngx_commerce_pg_pool_t *pool)
{
    ngx_queue_t  *q;

    q = ngx_queue_head(&pool->waiting);
    ngx_queue_remove(q);
    pool->nwaiting--;

    if (pool->nwaiting == 0 && pool->timer.timer_set) {
        ngx_del_timer(&pool->timer);
    }

    return ngx_queue_data(q, ngx_commerce_pg_op_t, queue);
}


static void
ngx_commerce_pg_pool_dispatch(ngx_commerce_pg_pool_t *pool)
{
    ngx_uint_t               i;
    ngx_commerce_pg_op_t    *op;
    ngx_commerce_pg_link_t  *link;

    while (pool->nwaiting) {

        link = ngx_commerce_pg_pool_link(pool);
        if (link == NULL) {
            break;
        }

        op = ngx_commerce_pg_pool_shift(pool);

        if (ngx_commerce_pg_expired(op->deadline)) {
            ngx_commerce_pg_op_done(op, NGX_COMMERCE_PG_NOT_SENT, "");
            continue;
        }

        ngx_commerce_pg_op_send(link, op);
    }

    for (i = 0; i < pool->purpose.connections; i++) {
        if (pool->links[i].unflushed) {
            (void) ngx_commerce_pg_link_flush(&pool->links[i]);
        }
    }
}


void
ngx_commerce_pg_pool_up(ngx_commerce_pg_pool_t *pool)
{
    if (pool->troubled) {
        pool->troubled = 0;
        ngx_log_error(NGX_LOG_NOTICE, pool->log, 0,
                      "commerce: database connection \"%V\" is ready",
                      &pool->purpose.name);
    }

    if (pool->nready++ == 0 && pool->purpose.ready) {
        pool->purpose.ready(pool->purpose.data, 1);
    }
}


void
ngx_commerce_pg_pool_down(ngx_commerce_pg_pool_t *pool)
{
    if (--pool->nready == 0 && pool->purpose.ready && !pool->closed) {
        pool->purpose.ready(pool->purpose.data, 0);
    }
}


ngx_uint_t
ngx_commerce_pg_pool_may_log(ngx_commerce_pg_pool_t *pool)
{
    if (pool->log_set
        && ngx_current_msec - pool->logged < NGX_COMMERCE_PG_LOG_EVERY)
    {
        return 0;
    }

    pool->log_set = 1;
    pool->logged = ngx_current_msec;

    return 1;
}


ngx_uint_t
ngx_commerce_pg_has_room(ngx_commerce_pg_pool_t *pool)
{
    ngx_uint_t               i, room;
    ngx_commerce_pg_link_t  *link;

    room = 0;

    for (i = 0; i < pool->purpose.connections; i++) {
        link = &pool->links[i];

        if (link->state == ngx_commerce_pg_ready
            && link->in_flight < pool->purpose.depth)
        {
            room += pool->purpose.depth - link->in_flight;
        }
    }

    return room > pool->nwaiting;
}


ngx_uint_t
ngx_commerce_pg_is_ready(ngx_commerce_pg_pool_t *pool)
{
    return pool->nready != 0;
}


void
ngx_commerce_pg_stats(ngx_commerce_pg_pool_t *pool,
    ngx_commerce_pg_stats_t *stats)
{
    ngx_uint_t               i;
    ngx_commerce_pg_link_t  *link;

    ngx_memzero(stats, sizeof(ngx_commerce_pg_stats_t));

    stats->waiting = pool->nwaiting;

    for (i = 0; i < pool->purpose.connections; i++) {
        link = &pool->links[i];

        stats->in_flight += link->in_flight;

        switch (link->state) {

        case ngx_commerce_pg_ready:
            stats->ready++;
            break;

        case ngx_commerce_pg_resolving:
        case ngx_commerce_pg_connecting:
        case ngx_commerce_pg_setup:
            stats->connecting++;
            break;

        default:
            stats->down++;
            break;
        }
    }
}


void
ngx_commerce_pg_pool_hold(ngx_commerce_pg_pool_t *pool, ngx_uint_t on)
{
    pool->hold = on ? 1 : 0;

    if (!on && ngx_exiting) {
        ngx_post_event(&pool->post, &ngx_posted_next_events);
    }
}


void
ngx_commerce_pg_pool_abort(ngx_commerce_pg_pool_t *pool)
{
    ngx_commerce_pg_pool_end(pool);
}


void
ngx_commerce_pg_pool_destroy(ngx_commerce_pg_pool_t *pool)
{
    if (pool->destroyed) {
        return;
    }

    ngx_commerce_pg_enter(pool);

    pool->destroyed = 1;
    ngx_commerce_pg_pool_end(pool);

    ngx_commerce_pg_leave(pool);
}


static void
ngx_commerce_pg_pool_end(ngx_commerce_pg_pool_t *pool)
{
    ngx_uint_t             i;
    ngx_commerce_pg_op_t  *op;

    pool->closed = 1;
    pool->hold = 0;

    for (i = 0; i < pool->purpose.connections; i++) {
        ngx_commerce_pg_link_close(&pool->links[i]);
    }

    while (pool->nwaiting) {
        op = ngx_commerce_pg_pool_shift(pool);
        ngx_commerce_pg_op_done(op, NGX_COMMERCE_PG_NOT_SENT, "");
    }

    if (pool->hub) {
        pool->hub_closed(pool->hub);
    }

    if (pool->timer.timer_set) {
        ngx_del_timer(&pool->timer);
    }

    if (pool->post.posted) {
        ngx_delete_posted_event(&pool->post);
    }
}
