/*
 * Worker slots: who works in the zone, who has died in it, and who leads.
 */

#include "ngx_commerce_zone_sh.h"


static ngx_uint_t ngx_commerce_zone_count(ngx_commerce_zone_t *zone,
    uint64_t generation);
static void ngx_commerce_zone_clear_worker(ngx_commerce_worker_t *worker);


void
ngx_commerce_zone_new_generation(ngx_commerce_zone_t *zone)
{
    ngx_commerce_worker_t  *worker;

    zone->generation = ngx_commerce_add(&zone->sh->generation, 1);

    /* who reloads after a drain wants to go on */
    ngx_commerce_store(&zone->sh->draining, 0);

    if (ngx_process != NGX_PROCESS_SINGLE) {
        return;
    }

    /* a single process takes a new configuration without a new start */

    zone->slot = ngx_process_slot;
    worker = ngx_commerce_zone_me(zone);

    if (worker->mark && worker->pid == ngx_pid) {
        ngx_commerce_store(&worker->generation, zone->generation);
    }
}


void
ngx_commerce_zone_worker_start(ngx_commerce_zone_t *zone)
{
    ngx_uint_t               died;
    ngx_commerce_worker_t   *worker;
    ngx_commerce_zone_sh_t  *sh;

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return;
    }

    sh = zone->sh;
    zone->slot = ngx_process_slot;

    if (zone->generation == 0) {
        zone->generation = ngx_commerce_load(&sh->generation);
    }

    worker = ngx_commerce_zone_me(zone);

    ngx_commerce_zone_lock(zone);

    died = (worker->mark != 0);

    ngx_commerce_zone_clear_worker(worker);

    ngx_commerce_poke(&worker->pid, (int64_t) ngx_pid);
    worker->starts++;
    ngx_commerce_store(&worker->generation, zone->generation);
    ngx_commerce_store(&worker->mark, worker->starts << 16 | (zone->slot + 1));

    if (sh->top <= zone->slot) {
        ngx_commerce_store(&sh->top, zone->slot + 1);
    }

    ngx_commerce_zone_unlock(zone);

    if (died) {
        ngx_commerce_zone_doubt(zone, 0, "a worker died");
    }
}


ngx_uint_t
ngx_commerce_zone_worker_stop(ngx_commerce_zone_t *zone)
{
    ngx_uint_t              left;
    ngx_commerce_worker_t  *worker;

    worker = ngx_commerce_zone_me(zone);

    if (ngx_commerce_peek(&worker->mark) == 0 || worker->pid != ngx_pid) {
        return ngx_commerce_zone_workers(zone);
    }

    ngx_commerce_zone_resign(zone);

    /* under the mutex, so that exactly one is the last */

    ngx_commerce_zone_lock(zone);

    ngx_commerce_zone_clear_worker(worker);
    left = ngx_commerce_zone_count(zone, zone->generation);

    ngx_commerce_zone_unlock(zone);

    return left;
}


static void
ngx_commerce_zone_clear_worker(ngx_commerce_worker_t *worker)
{
    ngx_uint_t  i;

    ngx_commerce_store(&worker->mark, 0);
    ngx_commerce_poke(&worker->in_hand, 0);

    for (i = 0; i < NGX_COMMERCE_WORKER_GAUGES; i++) {
        ngx_commerce_poke(&worker->gauges[i], 0);
    }
}


ngx_uint_t
ngx_commerce_zone_outdated(ngx_commerce_zone_t *zone)
{
    return zone->generation != ngx_commerce_load(&zone->sh->generation);
}


ngx_uint_t
ngx_commerce_zone_workers(ngx_commerce_zone_t *zone)
{
    return ngx_commerce_zone_count(zone,
                                   ngx_commerce_load(&zone->sh->generation));
}


static ngx_uint_t
ngx_commerce_zone_count(ngx_commerce_zone_t *zone, uint64_t generation)
{
    ngx_uint_t               i, n, top;
    ngx_commerce_zone_sh_t  *sh;

    sh = zone->sh;
    top = ngx_commerce_load(&sh->top);
    n = 0;

    for (i = 0; i < top; i++) {
        if (ngx_commerce_load(&sh->workers[i].mark)
            && ngx_commerce_load(&sh->workers[i].generation) == generation)
        {
            n++;
        }
    }

    return n;
}


void
ngx_commerce_zone_bury(ngx_commerce_zone_t *zone)
{
    ngx_pid_t                pid;
    ngx_uint_t               i, top, buried;
    ngx_commerce_mark_t      mark;
    ngx_commerce_worker_t   *worker;
    ngx_commerce_zone_sh_t  *sh;

    sh = zone->sh;
    top = ngx_commerce_load(&sh->top);

    for (i = 0; i < top; i++) {

        worker = &sh->workers[i];
        mark = ngx_commerce_load(&worker->mark);

        if (mark == 0 || i == zone->slot) {
            continue;
        }

        pid = (ngx_pid_t) ngx_commerce_peek(&worker->pid);

        if (kill(pid, 0) == 0 || ngx_errno != NGX_ESRCH) {
            continue;
        }

        ngx_commerce_zone_lock(zone);

        buried = (worker->mark == mark);

        if (buried) {
            ngx_commerce_zone_clear_worker(worker);
        }

        ngx_commerce_zone_unlock(zone);

        if (buried) {
            ngx_commerce_zone_doubt(zone, 0, "a worker is gone");
        }
    }

    if (ngx_commerce_peek(&sh->torn)
        && ngx_commerce_cas(&sh->torn, 1, 0))
    {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "commerce: a worker died while it wrote to the zone, "
                      "the zone was emptied");
    }
}


ngx_uint_t
ngx_commerce_zone_lead(ngx_commerce_zone_t *zone, ngx_msec_t patience)
{
    ngx_msec_int_t           silent;
    ngx_commerce_mark_t      me, leader;
    ngx_commerce_zone_sh_t  *sh;

    sh = zone->sh;
    me = ngx_commerce_load(&ngx_commerce_zone_me(zone)->mark);

    if (me == 0 || ngx_commerce_zone_outdated(zone)) {
        ngx_commerce_zone_resign(zone);
        return 0;
    }

    leader = ngx_commerce_load(&sh->leader);

    if (leader == me) {
        ngx_commerce_store(&sh->leader_beat, (uint64_t) ngx_current_msec);
        return 1;
    }

    if (ngx_commerce_mark_holds(zone, leader)) {
        silent = (ngx_msec_int_t)
                     (ngx_current_msec - ngx_commerce_load(&sh->leader_beat));

        if (silent < (ngx_msec_int_t) patience) {
            return 0;
        }
    }

    /* the stamp goes first: a new leader must not look silent */

    ngx_commerce_store(&sh->leader_beat, (uint64_t) ngx_current_msec);

    return ngx_commerce_cas(&sh->leader, leader, me);
}


void
ngx_commerce_zone_resign(ngx_commerce_zone_t *zone)
{
    ngx_commerce_mark_t  me;

    me = ngx_commerce_load(&ngx_commerce_zone_me(zone)->mark);

    if (me) {
        (void) ngx_commerce_cas(&zone->sh->leader, me, 0);
    }
}


ngx_uint_t
ngx_commerce_zone_in_hand(ngx_commerce_zone_t *zone)
{
    ngx_uint_t               i, n, top;
    ngx_commerce_zone_sh_t  *sh;

    sh = zone->sh;
    top = ngx_commerce_load(&sh->top);
    n = 0;

    for (i = 0; i < top; i++) {
        if (ngx_commerce_load(&sh->workers[i].mark)) {
            n += ngx_commerce_load(&sh->workers[i].in_hand);
        }
    }

    return n;
}


ngx_atomic_uint_t
ngx_commerce_zone_activity(ngx_commerce_zone_t *zone)
{
    ngx_uint_t               i, top;
    ngx_atomic_uint_t        n;
    ngx_commerce_zone_sh_t  *sh;

    sh = zone->sh;
    top = ngx_commerce_load(&sh->top);
    n = 0;

    for (i = 0; i < top; i++) {
        n += ngx_commerce_load(&sh->workers[i].activity);
    }

    return n;
}
