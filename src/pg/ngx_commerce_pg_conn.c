/*
 * One connection: in line for its turn, resolve, connect, set up, ready, lost,
 * back-off.
 */

#include "ngx_commerce_pg_conn.h"


#define NGX_COMMERCE_PG_BACKOFF_MIN  50
#define NGX_COMMERCE_PG_BACKOFF_MAX  2000


static void ngx_commerce_pg_turn_post(void);
static void ngx_commerce_pg_turn_handler(ngx_event_t *ev);
static void ngx_commerce_pg_turn_over(ngx_commerce_pg_link_t *link);
static void ngx_commerce_pg_link_connect(ngx_commerce_pg_link_t *link);
static void ngx_commerce_pg_link_resolved(ngx_commerce_pg_server_t *server);
static void ngx_commerce_pg_link_start(ngx_commerce_pg_link_t *link);
static void ngx_commerce_pg_link_setup(ngx_commerce_pg_link_t *link);
static void ngx_commerce_pg_link_timer_handler(ngx_event_t *ev);
static void ngx_commerce_pg_link_drop(ngx_commerce_pg_link_t *link);
static void ngx_commerce_pg_link_backoff(ngx_commerce_pg_link_t *link);
static void ngx_commerce_pg_link_log(ngx_commerce_pg_link_t *link,
    const char *reason);


/*
 * One connection of the worker connects at a time: TLS and SCRAM cost time of
 * the event loop, and a server that starts is not to be stormed.
 */

static ngx_queue_t              ngx_commerce_pg_line;
static ngx_commerce_pg_link_t  *ngx_commerce_pg_current;
static ngx_event_t              ngx_commerce_pg_turn_event;
static ngx_connection_t         ngx_commerce_pg_dummy;


void
ngx_commerce_pg_link_open(ngx_commerce_pg_link_t *link)
{
    if (ngx_commerce_pg_line.next == NULL) {
        ngx_queue_init(&ngx_commerce_pg_line);

        ngx_commerce_pg_dummy.fd = (ngx_socket_t) -1;
        ngx_commerce_pg_turn_event.data = &ngx_commerce_pg_dummy;
        ngx_commerce_pg_turn_event.handler = ngx_commerce_pg_turn_handler;
    }

    link->timer.data = link;
    link->timer.handler = ngx_commerce_pg_link_timer_handler;
    link->timer.log = link->pool->log;

    link->state = ngx_commerce_pg_turn;
    link->attempts = 0;

    ngx_queue_insert_tail(&ngx_commerce_pg_line, &link->queue);
    ngx_commerce_pg_turn_post();
}


static void
ngx_commerce_pg_turn_post(void)
{
    ngx_commerce_pg_turn_event.log = ngx_cycle->log;

    if (ngx_commerce_pg_current == NULL
        && !ngx_queue_empty(&ngx_commerce_pg_line))
    {
        /* ngx_posted_events would sleep when posted from init_process */
        ngx_post_event(&ngx_commerce_pg_turn_event, &ngx_posted_next_events);
    }
}


static void
ngx_commerce_pg_turn_handler(ngx_event_t *ev)
{
    ngx_queue_t             *q;
    ngx_commerce_pg_link_t  *link;
    ngx_commerce_pg_pool_t  *pool;

    (void) ev;

    if (ngx_commerce_pg_current || ngx_queue_empty(&ngx_commerce_pg_line)) {
        return;
    }

    q = ngx_queue_head(&ngx_commerce_pg_line);
    ngx_queue_remove(q);

    link = ngx_queue_data(q, ngx_commerce_pg_link_t, queue);
    pool = link->pool;

    if (ngx_exiting && !ngx_commerce_pg_pool_wanted(pool)) {
        link->state = ngx_commerce_pg_closed;
        ngx_commerce_pg_turn_post();
        return;
    }

    ngx_commerce_pg_enter(pool);
    ngx_commerce_pg_current = link;
    ngx_commerce_pg_link_connect(link);
    ngx_commerce_pg_leave(pool);
}


static void
ngx_commerce_pg_turn_over(ngx_commerce_pg_link_t *link)
{
    if (link->state == ngx_commerce_pg_turn) {
        ngx_queue_remove(&link->queue);
    }

    if (ngx_commerce_pg_current == link) {
        ngx_commerce_pg_current = NULL;
    }

    ngx_commerce_pg_turn_post();
}


static void
ngx_commerce_pg_link_connect(ngx_commerce_pg_link_t *link)
{
    ngx_int_t    rc;
    const char  *err;

    err = NULL;

    link->state = ngx_commerce_pg_resolving;

    link->timer.cancelable = 1;
    ngx_add_timer(&link->timer, link->pool->server->connect_timeout);

    rc = ngx_commerce_pg_resolve(link->pool->server,
                                 ngx_commerce_pg_link_resolved, &err);

    if (rc == NGX_ERROR) {
        ngx_commerce_pg_link_fail(link, err);
        return;
    }

    if (rc == NGX_OK) {
        ngx_commerce_pg_link_start(link);
    }
}


static void
ngx_commerce_pg_link_resolved(ngx_commerce_pg_server_t *server)
{
    ngx_commerce_pg_link_t  *link;
    ngx_commerce_pg_pool_t  *pool;

    link = ngx_commerce_pg_current;

    if (link == NULL || link->state != ngx_commerce_pg_resolving
        || link->pool->server->remote != server->remote)
    {
        return;
    }

    pool = link->pool;

    ngx_commerce_pg_enter(pool);
    ngx_commerce_pg_link_start(link);
    ngx_commerce_pg_leave(pool);
}


static void
ngx_commerce_pg_link_start(ngx_commerce_pg_link_t *link)
{
    const char              *err;
    ngx_commerce_pg_pool_t  *pool;

    pool = link->pool;
    link->attempts++;
    link->conn.tag = 0;
    link->conn.session++;

    link->pg = ngx_commerce_pg_start(pool->server, &pool->purpose.name,
                                     pool->log, &err);
    if (link->pg == NULL) {
        ngx_commerce_pg_link_fail(link, err);
        return;
    }

    link->state = ngx_commerce_pg_connecting;

    if (PQstatus(link->pg) == CONNECTION_BAD) {
        ngx_commerce_pg_link_broken(link);
        return;
    }

    if (ngx_commerce_pg_link_watch(link, 0, 1) != NGX_OK) {
        ngx_commerce_pg_link_fail(link, "the socket cannot be watched");
    }
}


/*
 * libpq may close the socket and open another with the same number, which
 * epoll would not tell apart: nothing is watched while it works.
 */

void
ngx_commerce_pg_link_poll(ngx_commerce_pg_link_t *link)
{
    ngx_int_t                  rc;
    PostgresPollingStatusType  status;

    ngx_commerce_pg_link_unwatch(link);

    status = PQconnectPoll(link->pg);

    switch (status) {

    case PGRES_POLLING_READING:
        rc = ngx_commerce_pg_link_watch(link, 1, 0);
        break;

    case PGRES_POLLING_WRITING:
        rc = ngx_commerce_pg_link_watch(link, 0, 1);
        break;

    case PGRES_POLLING_OK:
        ngx_commerce_pg_link_setup(link);
        return;

    default:
        ngx_commerce_pg_link_broken(link);
        return;
    }

    if (rc != NGX_OK) {
        ngx_commerce_pg_link_fail(link, "the socket cannot be watched");
    }
}


static void
ngx_commerce_pg_link_setup(ngx_commerce_pg_link_t *link)
{
    link->state = ngx_commerce_pg_setup;
    link->nulls = 0;

    if (PQsetnonblocking(link->pg, 1) != 0
        || !PQenterPipelineMode(link->pg)
        || ngx_commerce_pg_setup_send(link) != NGX_OK)
    {
        ngx_commerce_pg_link_broken(link);
        return;
    }

    if (ngx_commerce_pg_link_watch(link, 1, 0) != NGX_OK) {
        ngx_commerce_pg_link_fail(link, "the socket cannot be watched");
        return;
    }

    (void) ngx_commerce_pg_link_flush(link);
}


void
ngx_commerce_pg_link_up(ngx_commerce_pg_link_t *link)
{
    ngx_del_timer(&link->timer);

    link->state = ngx_commerce_pg_ready;
    link->failures = 0;
    link->attempts = 0;

    ngx_commerce_pg_turn_over(link);
    ngx_commerce_pg_pool_up(link->pool);
}


/*
 * The clock of an op runs from when it was sent or from when the op before it
 * ended.  It holds a graceful exit; a connect or a back-off does not.
 */

void
ngx_commerce_pg_link_watch_op(ngx_commerce_pg_link_t *link)
{
    if (ngx_queue_empty(&link->ops)) {
        if (link->timer.timer_set) {
            ngx_del_timer(&link->timer);
        }

        return;
    }

    link->timer.cancelable = 0;

    /* usually nginx leaves a timer that is near enough where it is */
    ngx_add_timer(&link->timer, link->pool->server->timeout);
}


static void
ngx_commerce_pg_link_timer_handler(ngx_event_t *ev)
{
    ngx_msec_int_t           left;
    ngx_commerce_pg_link_t  *link;
    ngx_commerce_pg_pool_t  *pool;

    link = ev->data;
    pool = link->pool;

    ngx_commerce_pg_enter(pool);

    switch (link->state) {

    case ngx_commerce_pg_backoff:
        ngx_commerce_pg_link_open(link);
        break;

    case ngx_commerce_pg_ready:
        left = (ngx_msec_int_t) (link->progress + pool->server->timeout
                                 - ngx_current_msec);
        if (left > 0) {
            ngx_add_timer(ev, (ngx_msec_t) left);
            break;
        }

        ngx_commerce_pg_link_lost(link, "no answer in time");
        break;

    default:
        ngx_commerce_pg_link_fail(link, "connect timed out");
        break;
    }

    ngx_commerce_pg_leave(pool);
}


/* libpq knows why: its message's first line, without what may follow. */

void
ngx_commerce_pg_link_broken(ngx_commerce_pg_link_t *link)
{
    char    reason[NGX_COMMERCE_PG_REASON];
    size_t  len;

    ngx_cpystrn((u_char *) reason, (u_char *) PQerrorMessage(link->pg),
                sizeof(reason));

    len = strcspn(reason, "\r\n");
    reason[len] = '\0';

    ngx_commerce_pg_link_fail(link, len ? reason : "the connection is lost");
}


void
ngx_commerce_pg_link_fail(ngx_commerce_pg_link_t *link, const char *reason)
{
    if (link->state == ngx_commerce_pg_ready) {
        ngx_commerce_pg_link_lost(link, reason);
        return;
    }

    ngx_commerce_pg_link_log(link, reason);
    ngx_commerce_pg_link_drop(link);

    ngx_commerce_pg_next_address(link->pool->server);

    if (link->attempts
        && link->attempts < ngx_commerce_pg_addresses(link->pool->server))
    {
        link->state = ngx_commerce_pg_turn;
        ngx_queue_insert_head(&ngx_commerce_pg_line, &link->queue);
        ngx_commerce_pg_turn_post();
        return;
    }

    ngx_commerce_pg_link_backoff(link);
}


void
ngx_commerce_pg_link_lost(ngx_commerce_pg_link_t *link, const char *reason)
{
    ngx_commerce_pg_pool_t  *pool;

    pool = link->pool;

    ngx_commerce_pg_link_log(link, reason);
    ngx_commerce_pg_link_drop(link);
    ngx_commerce_pg_link_backoff(link);

    ngx_commerce_pg_pool_down(pool);
    ngx_commerce_pg_op_orphans(link);
}


void
ngx_commerce_pg_link_close(ngx_commerce_pg_link_t *link)
{
    ngx_uint_t               ready;
    ngx_commerce_pg_pool_t  *pool;

    pool = link->pool;
    ready = (link->state == ngx_commerce_pg_ready);

    ngx_commerce_pg_link_drop(link);

    if (ready) {
        ngx_commerce_pg_pool_down(pool);
    }

    ngx_commerce_pg_op_orphans(link);
}


static void
ngx_commerce_pg_link_drop(ngx_commerce_pg_link_t *link)
{
    if (link->timer.timer_set) {
        ngx_del_timer(&link->timer);
    }

    if (link->c) {
        ngx_commerce_pg_link_unwatch(link);
        ngx_close_connection(link->c);
        link->c = NULL;
    }

    if (link->pg) {
        PQfinish(link->pg);
        link->pg = NULL;
    }

    if (ngx_commerce_pg_line.next) {
        ngx_commerce_pg_turn_over(link);
    }

    link->unflushed = 0;
    link->state = ngx_commerce_pg_closed;
}


static void
ngx_commerce_pg_link_backoff(ngx_commerce_pg_link_t *link)
{
    ngx_msec_t  delay;

    delay = NGX_COMMERCE_PG_BACKOFF_MIN << ngx_min(link->failures, 6);
    delay = ngx_min(delay, NGX_COMMERCE_PG_BACKOFF_MAX);
    delay = delay / 2 + (ngx_msec_t) ngx_random() % (delay / 2);

    link->failures++;
    link->state = ngx_commerce_pg_backoff;

    link->timer.cancelable = 1;
    ngx_add_timer(&link->timer, delay);
}


static void
ngx_commerce_pg_link_log(ngx_commerce_pg_link_t *link, const char *reason)
{
    link->pool->troubled = 1;

    if (!ngx_commerce_pg_pool_may_log(link->pool)) {
        return;
    }

    ngx_log_error(NGX_LOG_ERR, link->pool->log, 0,
                  "commerce: database connection \"%V\": %s",
                  &link->pool->purpose.name, reason);
}
