/*
 * Inside of the lease code: what ngx_commerce_lease.c notes,
 * ngx_commerce_lease_build.c writes and ngx_commerce_lease_op.c sends.
 *
 * One lease op is in flight per worker; what comes up meanwhile goes together
 * in the next.  All of it can be run again: the ids of grants and returns are
 * chosen before the first try.
 */

#ifndef NGX_COMMERCE_LEASE_H
#define NGX_COMMERCE_LEASE_H

#include "ngx_commerce_engine.h"


#define NGX_COMMERCE_LEASE_OP        1024   /* refills or returns in one op */

#define NGX_COMMERCE_RECALLS         256    /* a power of two */
#define NGX_COMMERCE_RECALL_WAIT     300    /* msec for others to give back */
#define NGX_COMMERCE_RECALL_AGAIN    1000   /* msec until they are asked anew */
#define NGX_COMMERCE_ASKED           256


typedef struct {
    ngx_queue_t                  queue;
    ngx_commerce_stock_refill_t  refill;
    int64_t                      lease;
    ngx_uint_t                   empty;     /* requests wait for it */
    /* set when it is sent */
    uint32_t                     least;
    ngx_uint_t                   recalled;  /* others have had their time */
    /* the database's answer */
    uint32_t                     granted;
    int32_t                      free;
    int64_t                      own;
    unsigned                     others:1;
    unsigned                     alive:1;
    unsigned                     tried:1;   /* the database may have it */
} ngx_commerce_refill_t;


typedef struct {
    ngx_uint_t                   left;      /* returns still on their way */
    ngx_int_t                    rc;
    ngx_event_t                  event;
    ngx_event_t                  wait;      /* for what others give back */
    void                       (*done)(void *data, ngx_int_t rc);
    void                        *data;
} ngx_commerce_give_back_t;


typedef struct {
    ngx_queue_t                  queue;
    int64_t                      id;
    commerce_uuid_t              variant;
    ngx_commerce_stock_hold_t    hold;
    ngx_commerce_give_back_t    *owner;     /* may be NULL */
    unsigned                     rest:1;    /* of a lease that was replaced */
} ngx_commerce_return_t;


/* The others were asked for what they have of a variant; ngx_current_msec. */
typedef struct {
    commerce_uuid_t              variant;
    ngx_msec_t                   noted;     /* 0: the entry is free */
    ngx_msec_t                   sent;      /* committed; 0: not yet */
} ngx_commerce_recall_t;


/* This instance was asked, and a refill was in flight. */
typedef struct {
    commerce_uuid_t              variant;
    ngx_msec_t                   until;
} ngx_commerce_asked_t;


struct ngx_commerce_lease_s {
    ngx_commerce_trade_t        *trade;
    ngx_queue_t                  waiters;
    ngx_queue_t                  refills;   /* to be sent */
    ngx_queue_t                  returns;
    ngx_queue_t                  sent_refills;
    ngx_queue_t                  sent_returns;
    int64_t                      instance;  /* of what is sent */
    ngx_event_t                  tick;
    ngx_event_t                  flush;     /* posted */
    ngx_event_t                  gather;    /* a flush of what can wait */
    ngx_event_t                  pause;
    ngx_commerce_pg_op_t         op;
    ngx_uint_t                   most;      /* entries in an op; 0: any */
    ngx_commerce_recall_t        recalls[NGX_COMMERCE_RECALLS];
    ngx_commerce_asked_t         asked[NGX_COMMERCE_ASKED];
    ngx_uint_t                   nasked;
    ngx_event_t                  asked_tick;
    unsigned                     busy:1;
    unsigned                     hurried:1; /* some of it cannot wait */
    unsigned                     refills_first:1;
};


/* ngx_commerce_lease.c */
void ngx_commerce_lease_wake(ngx_commerce_lease_t *lease);
/* Notes a return and sends it now. */
void ngx_commerce_lease_add_return(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant, ngx_commerce_stock_hold_t *hold,
    ngx_commerce_give_back_t *owner);
/* The same of what a replaced lease has left; it needs a flush. */
void ngx_commerce_lease_add_rest(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant, ngx_commerce_stock_hold_t *hold);
/* Sends what is noted: in this turn of the event loop, or else soon, together
   with what comes up until then. */
void ngx_commerce_lease_flush(ngx_commerce_lease_t *lease, ngx_uint_t now);
void ngx_commerce_return_free(ngx_commerce_lease_t *lease,
    ngx_commerce_return_t *ret, ngx_int_t rc);

/* ngx_commerce_lease_op.c */
void ngx_commerce_lease_flush_handler(ngx_event_t *ev);
/* Asks the others now, whenever they were asked last. */
ngx_int_t ngx_commerce_lease_ask(ngx_commerce_trade_t *trade,
    const commerce_uuid_t *variant);
/* 1: the others were asked, and had their time to give back. */
ngx_uint_t ngx_commerce_lease_recalled(ngx_commerce_lease_t *lease,
    const commerce_uuid_t *variant);
void ngx_commerce_lease_drop(ngx_commerce_lease_t *lease);
void ngx_commerce_refill_free(ngx_commerce_lease_t *lease,
    ngx_commerce_refill_t *r);

/* ngx_commerce_lease_build.c */
ngx_int_t ngx_commerce_lease_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);


#endif
