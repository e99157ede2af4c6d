/*
 * An event of a payment provider on its way into the database.
 */

#ifndef NGX_COMMERCE_WEBHOOK_H
#define NGX_COMMERCE_WEBHOOK_H

#include "ngx_commerce_payment.h"


typedef struct {
    ngx_commerce_pg_item_t       item;      /* must stay first */
    ngx_event_t                  timer;     /* units are on their way back */
    ngx_commerce_call_t         *call;
    ngx_commerce_provider_t     *provider;

    /* what it says; a text without data is SQL's NULL */
    ngx_str_t                    id;
    ngx_str_t                    type;
    ngx_str_t                    reference; /* payment_id, as it is spelled */
    ngx_str_t                    currency;
    int64_t                      amount;    /* -1: not given */
    commerce_uuid_t              order_id;
    commerce_uuid_t              payment_id;

    /* what became of it */
    ngx_str_t                    status;
    ngx_str_t                    reason;
    ngx_str_t                    order_state;
    ngx_str_t                    payment_state;
    ngx_str_t                    effect;
    commerce_uuid_t              order_idem;
    commerce_uuid_t              its_order;
    commerce_uuid_t              its_payment;

    ngx_uint_t                   asked;     /* times units were leased */
    unsigned                     has_order:1;
    unsigned                     has_payment:1;
    unsigned                     has_its_order:1;
    unsigned                     has_its_payment:1;
    unsigned                     answered:1;    /* by a row */
    unsigned                     failed:1;  /* no memory for a row */
} ngx_commerce_webhook_t;


/* ngx_commerce_webhook.c: answers with what became of it. */
void ngx_commerce_webhook_answer(ngx_commerce_webhook_t *hook);

/* ngx_commerce_webhook_batch.c */
void ngx_commerce_webhook_send(ngx_commerce_webhook_t *hook);

/* Counts an event by its status, and its payment. */
void ngx_commerce_webhook_count(ngx_commerce_trade_t *trade,
    ngx_str_t *status, ngx_str_t *effect);


#endif
