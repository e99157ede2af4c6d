/*
 * The hub of a pool lets its lanes take turns.  A lane has batches to run
 * again, which go first, and items that were never sent.
 */

#include "ngx_commerce_pg_lane.h"


static ngx_commerce_pg_hub_t *ngx_commerce_pg_hub(ngx_commerce_pg_pool_t *pool);
static void ngx_commerce_pg_hub_idle(void *data);
static void ngx_commerce_pg_hub_post_handler(ngx_event_t *ev);
static ngx_commerce_pg_batch_t *ngx_commerce_pg_hub_next(
    ngx_commerce_pg_hub_t *hub);
static ngx_commerce_pg_batch_t *ngx_commerce_pg_lane_take(
    ngx_commerce_pg_lane_t *lane);
static ngx_uint_t ngx_commerce_pg_lane_fit(ngx_commerce_pg_lane_t *lane,
    int64_t *group);
static void ngx_commerce_pg_hub_timer_handler(ngx_event_t *ev);
static void ngx_commerce_pg_lane_expire(ngx_commerce_pg_lane_t *lane,
    ngx_queue_t *items, ngx_queue_t *batches);
static void ngx_commerce_pg_hub_closed(void *data);


ngx_commerce_pg_lane_t *
ngx_commerce_pg_lane_create(ngx_cycle_t *cycle, ngx_commerce_pg_pool_t *pool,
    const ngx_commerce_pg_kind_t *kind, ngx_uint_t max, void *data)
{
    ngx_commerce_pg_hub_t   *hub;
    ngx_commerce_pg_lane_t  *lane;

    (void) cycle;

    hub = ngx_commerce_pg_hub(pool);
    if (hub == NULL) {
        return NULL;
    }

    lane = ngx_pcalloc(pool->mem, sizeof(ngx_commerce_pg_lane_t));
    if (lane == NULL) {
        return NULL;
    }

    lane->hub = hub;
    lane->kind = kind;
    lane->max = max;
    lane->data = data;

    ngx_queue_init(&lane->again);
    ngx_queue_init(&lane->items);
    ngx_queue_insert_tail(&hub->lanes, &lane->queue);

    return lane;
}


static ngx_commerce_pg_hub_t *
ngx_commerce_pg_hub(ngx_commerce_pg_pool_t *pool)
{
    ngx_commerce_pg_hub_t  *hub;

    if (pool->hub) {
        return pool->hub;
    }

    hub = ngx_pcalloc(pool->mem, sizeof(ngx_commerce_pg_hub_t));
    if (hub == NULL) {
        return NULL;
    }

    hub->pool = pool;
    ngx_queue_init(&hub->lanes);

    hub->post.data = hub;
    hub->post.handler = ngx_commerce_pg_hub_post_handler;
    hub->post.log = pool->log;

    hub->timer.data = hub;
    hub->timer.handler = ngx_commerce_pg_hub_timer_handler;
    hub->timer.log = pool->log;

    pool->hub = hub;
    pool->hub_closed = ngx_commerce_pg_hub_closed;
    pool->purpose.idle = ngx_commerce_pg_hub_idle;

    return hub;
}


void *
ngx_commerce_pg_lane_data(ngx_commerce_pg_lane_t *lane)
{
    return lane->data;
}


ngx_uint_t
ngx_commerce_pg_lane_load(ngx_commerce_pg_lane_t *lane)
{
    return lane->load;
}


ngx_int_t
ngx_commerce_pg_enqueue(ngx_commerce_pg_lane_t *lane,
    ngx_commerce_pg_item_t *item)
{
    ngx_commerce_pg_hub_t  *hub;

    hub = lane->hub;

    if (hub->pool->closed || lane->load >= lane->max) {
        return NGX_BUSY;
    }

    item->tries = 0;

    ngx_queue_insert_tail(&lane->items, &item->queue);
    lane->load++;
    hub->pool->items++;

    if (item->deadline) {
        ngx_commerce_pg_hub_deadline(hub, item->deadline);
    }

    if (ngx_exiting) {
        /* connections that were closed for the exit open again */
        ngx_post_event(&hub->pool->post, &ngx_posted_events);
    }

    ngx_post_event(&hub->post, &ngx_posted_events);

    return NGX_OK;
}


void
ngx_commerce_pg_hub_deadline(ngx_commerce_pg_hub_t *hub, ngx_msec_t deadline)
{
    ngx_msec_int_t  left;

    if (hub->timer.timer_set) {
        if ((ngx_msec_int_t) (hub->timer.timer.key - deadline) <= 0) {
            return;
        }

        ngx_del_timer(&hub->timer);
    }

    left = (ngx_msec_int_t) (deadline - ngx_current_msec);

    ngx_add_timer(&hub->timer, left > 0 ? (ngx_msec_t) left : 0);
}


/*
 * Only posted: items that done() enqueues in this turn join the batch, and so
 * do the requests that have come in while the last batch was answered: they
 * are read first.  That doubles the batches of a busy worker; it sleeps no
 * moment for it.
 */

static void
ngx_commerce_pg_hub_idle(void *data)
{
    ngx_commerce_pg_hub_t  *hub = data;

    if (hub->pool->items) {
        ngx_post_event(&hub->post, &ngx_posted_next_events);
    }
}


static void
ngx_commerce_pg_hub_post_handler(ngx_event_t *ev)
{
    ngx_commerce_pg_hub_t    *hub;
    ngx_commerce_pg_pool_t   *pool;
    ngx_commerce_pg_batch_t  *batch;

    hub = ev->data;
    pool = hub->pool;

    ngx_commerce_pg_enter(pool);

    while (!pool->closed && ngx_commerce_pg_has_room(pool)) {

        batch = ngx_commerce_pg_hub_next(hub);
        if (batch == NULL) {
            break;
        }

        if (ngx_commerce_pg_submit(pool, &batch->op) != NGX_OK) {
            ngx_commerce_pg_lane_unsent(batch->lane, batch);
            break;
        }
    }

    if (pool->items == 0 && hub->timer.timer_set) {
        ngx_del_timer(&hub->timer);
    }

    ngx_commerce_pg_leave(pool);
}


/* The next lane with something to send goes to the end of the line. */

static ngx_commerce_pg_batch_t *
ngx_commerce_pg_hub_next(ngx_commerce_pg_hub_t *hub)
{
    ngx_queue_t              *q;
    ngx_commerce_pg_lane_t   *lane;
    ngx_commerce_pg_batch_t  *batch;

    for (q = ngx_queue_head(&hub->lanes);
         q != ngx_queue_sentinel(&hub->lanes);
         q = ngx_queue_next(q))
    {
        lane = ngx_queue_data(q, ngx_commerce_pg_lane_t, queue);

        batch = ngx_commerce_pg_lane_take(lane);

        if (batch) {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&hub->lanes, q);
            return batch;
        }
    }

    return NULL;
}


static ngx_commerce_pg_batch_t *
ngx_commerce_pg_lane_take(ngx_commerce_pg_lane_t *lane)
{
    int64_t                   group;
    ngx_uint_t                n;
    ngx_queue_t              *q;
    ngx_commerce_pg_item_t   *item;
    ngx_commerce_pg_batch_t  *batch;

    if (!ngx_queue_empty(&lane->again)) {
        q = ngx_queue_head(&lane->again);
        ngx_queue_remove(q);

        batch = ngx_queue_data(q, ngx_commerce_pg_batch_t, op.queue);
        lane->hub->pool->items -= batch->n;

        return batch;
    }

    n = ngx_commerce_pg_lane_fit(lane, &group);
    if (n == 0) {
        return NULL;
    }

    batch = ngx_commerce_pg_batch_create(lane, n);
    if (batch == NULL) {
        /* the items wait for more memory or for their deadline */
        return NULL;
    }

    batch->group = group;

    while (batch->n < n) {
        q = ngx_queue_head(&lane->items);
        ngx_queue_remove(q);

        item = ngx_queue_data(q, ngx_commerce_pg_item_t, queue);
        ngx_commerce_pg_batch_add(batch, item);
    }

    lane->hub->pool->items -= n;

    return batch;
}


/* How many items from the first on can go together. */

static ngx_uint_t
ngx_commerce_pg_lane_fit(ngx_commerce_pg_lane_t *lane, int64_t *group)
{
    ngx_uint_t               n, weight;
    ngx_queue_t             *q;
    ngx_commerce_pg_item_t  *item;

    n = 0;
    weight = 0;
    *group = 0;

    for (q = ngx_queue_head(&lane->items);
         q != ngx_queue_sentinel(&lane->items);
         q = ngx_queue_next(q))
    {
        item = ngx_queue_data(q, ngx_commerce_pg_item_t, queue);

        if (n == 0) {
            *group = item->group;

        } else if (n == lane->kind->max_items
                   || item->group != *group
                   || item->weight > lane->kind->max_weight
                   || weight > lane->kind->max_weight - item->weight)
        {
            break;
        }

        weight += item->weight;
        n++;
    }

    return n;
}


/*
 * Items and batches past their deadline end, also when they wait for a lock
 * that another holds or for a database that is away.
 */

static void
ngx_commerce_pg_hub_timer_handler(ngx_event_t *ev)
{
    ngx_queue_t               items, batches, *q;
    ngx_commerce_pg_hub_t    *hub;
    ngx_commerce_pg_item_t   *item;
    ngx_commerce_pg_lane_t   *lane;
    ngx_commerce_pg_pool_t   *pool;
    ngx_commerce_pg_batch_t  *batch;

    hub = ev->data;
    pool = hub->pool;

    ngx_commerce_pg_enter(pool);

    for (q = ngx_queue_head(&hub->lanes);
         q != ngx_queue_sentinel(&hub->lanes) && !pool->closed;
         q = ngx_queue_next(q))
    {
        lane = ngx_queue_data(q, ngx_commerce_pg_lane_t, queue);

        ngx_queue_init(&items);
        ngx_queue_init(&batches);

        ngx_commerce_pg_lane_expire(lane, &items, &batches);

        while (!ngx_queue_empty(&items)) {
            item = ngx_queue_data(ngx_queue_head(&items),
                                  ngx_commerce_pg_item_t, queue);
            ngx_queue_remove(&item->queue);

            ngx_commerce_pg_item_done(lane, item, NGX_COMMERCE_PG_NOT_SENT,
                                      "");
        }

        while (!ngx_queue_empty(&batches)) {
            batch = ngx_queue_data(ngx_queue_head(&batches),
                                   ngx_commerce_pg_batch_t, op.queue);
            ngx_queue_remove(&batch->op.queue);

            ngx_commerce_pg_batch_finish(batch, NGX_COMMERCE_PG_NOT_SENT, "");
        }
    }

    ngx_commerce_pg_leave(pool);
}


/* Moves what is late to the two queues and arms the timer for the rest. */

static void
ngx_commerce_pg_lane_expire(ngx_commerce_pg_lane_t *lane, ngx_queue_t *items,
    ngx_queue_t *batches)
{
    ngx_queue_t              *q, *next;
    ngx_commerce_pg_item_t   *item;
    ngx_commerce_pg_batch_t  *batch;

    for (q = ngx_queue_head(&lane->items);
         q != ngx_queue_sentinel(&lane->items);
         q = next)
    {
        next = ngx_queue_next(q);
        item = ngx_queue_data(q, ngx_commerce_pg_item_t, queue);

        if (ngx_commerce_pg_expired(item->deadline)) {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(items, q);
            lane->hub->pool->items--;

        } else if (item->deadline) {
            ngx_commerce_pg_hub_deadline(lane->hub, item->deadline);
        }
    }

    for (q = ngx_queue_head(&lane->again);
         q != ngx_queue_sentinel(&lane->again);
         q = next)
    {
        next = ngx_queue_next(q);
        batch = ngx_queue_data(q, ngx_commerce_pg_batch_t, op.queue);

        if (ngx_commerce_pg_expired(batch->op.deadline)) {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(batches, q);
            lane->hub->pool->items -= batch->n;

        } else {
            ngx_commerce_pg_hub_deadline(lane->hub, batch->op.deadline);
        }
    }
}


static void
ngx_commerce_pg_hub_closed(void *data)
{
    ngx_commerce_pg_hub_t *hub = data;

    ngx_queue_t              *q;
    ngx_commerce_pg_item_t   *item;
    ngx_commerce_pg_lane_t   *lane;
    ngx_commerce_pg_batch_t  *batch;

    for (q = ngx_queue_head(&hub->lanes);
         q != ngx_queue_sentinel(&hub->lanes);
         q = ngx_queue_next(q))
    {
        lane = ngx_queue_data(q, ngx_commerce_pg_lane_t, queue);

        while (!ngx_queue_empty(&lane->again)) {
            batch = ngx_queue_data(ngx_queue_head(&lane->again),
                                   ngx_commerce_pg_batch_t, op.queue);
            ngx_queue_remove(&batch->op.queue);
            hub->pool->items -= batch->n;

            ngx_commerce_pg_batch_finish(batch, NGX_COMMERCE_PG_NOT_SENT, "");
        }

        while (!ngx_queue_empty(&lane->items)) {
            item = ngx_queue_data(ngx_queue_head(&lane->items),
                                  ngx_commerce_pg_item_t, queue);
            ngx_queue_remove(&item->queue);
            hub->pool->items--;

            ngx_commerce_pg_item_done(lane, item, NGX_COMMERCE_PG_NOT_SENT,
                                      "");
        }
    }

    if (hub->timer.timer_set) {
        ngx_del_timer(&hub->timer);
    }

    if (hub->post.posted) {
        ngx_delete_posted_event(&hub->post);
    }
}


void
ngx_commerce_pg_lane_unsent(ngx_commerce_pg_lane_t *lane,
    ngx_commerce_pg_batch_t *batch)
{
    ngx_uint_t               i;
    ngx_queue_t              late;
    ngx_commerce_pg_hub_t   *hub;
    ngx_commerce_pg_item_t  *item;

    hub = lane->hub;
    ngx_queue_init(&late);

    for (i = batch->n; i-- > 0; /* void */ ) {
        item = batch->items[i];

        if (ngx_commerce_pg_expired(item->deadline)) {
            ngx_queue_insert_head(&late, &item->queue);
            continue;
        }

        ngx_queue_insert_head(&lane->items, &item->queue);
        hub->pool->items++;

        if (item->deadline) {
            ngx_commerce_pg_hub_deadline(hub, item->deadline);
        }
    }

    ngx_free(batch);

    while (!ngx_queue_empty(&late)) {
        item = ngx_queue_data(ngx_queue_head(&late), ngx_commerce_pg_item_t,
                              queue);
        ngx_queue_remove(&item->queue);

        ngx_commerce_pg_item_done(lane, item, NGX_COMMERCE_PG_NOT_SENT, "");
    }

    if (hub->pool->items) {
        ngx_post_event(&hub->post, &ngx_posted_events);
    }
}


void
ngx_commerce_pg_item_done(ngx_commerce_pg_lane_t *lane,
    ngx_commerce_pg_item_t *item, ngx_commerce_pg_outcome_e outcome,
    const char *sqlstate)
{
    lane->load--;
    lane->kind->done(item, outcome, sqlstate);
}
