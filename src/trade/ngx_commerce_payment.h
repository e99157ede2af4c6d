/*
 * A payment on its way into the database.
 */

#ifndef NGX_COMMERCE_PAYMENT_H
#define NGX_COMMERCE_PAYMENT_H

#include "ngx_commerce_order.h"


/* Codes of the statements "pay" and "pay_late". */
typedef enum {
    NGX_COMMERCE_PAY_STORED = 0,
    NGX_COMMERCE_PAY_KEY_EXISTS = 4,
    NGX_COMMERCE_PAY_NO_ORDER = 5,
    NGX_COMMERCE_PAY_AGAIN = 6,
    NGX_COMMERCE_PAY_ILLEGAL = 7,
    NGX_COMMERCE_PAY_LATE = 8,
    NGX_COMMERCE_PAY_LEASED = 9
} ngx_commerce_pay_verdict_e;


typedef struct {
    ngx_commerce_pg_item_t       item;      /* must stay first */
    ngx_commerce_pg_op_t         op;        /* the lookup, the late payment */
    ngx_event_t                  timer;     /* units are on their way back */
    ngx_commerce_call_t         *call;
    ngx_commerce_provider_t     *provider;
    ngx_str_t                    actor;
    commerce_uuid_t              order_id;
    commerce_uuid_t              id;
    commerce_uuid_t              idem;
    commerce_uuid_t              fingerprint;
    commerce_uuid_t              order_idem;
    ngx_commerce_pay_verdict_e   verdict;
    /* as it is to be; then as it is */
    ngx_str_t                    state;
    ngx_str_t                    reason;    /* of refund_due */
    int64_t                      amount;
    int64_t                      created_at;
    u_char                       currency[COMMERCE_CURRENCY_LEN];
    ngx_uint_t                   again;
    ngx_uint_t                   asked;     /* times units were leased */
    unsigned                     keyed:1;
    unsigned                     late:1;
    unsigned                     found:1;
    unsigned                     reused:1;
    unsigned                     failed:1;  /* no memory for a row */
} ngx_commerce_payment_t;


/* Times that instances are asked for units that a late payment needs, and how
   long it waits for them, in msec. */
#define NGX_COMMERCE_LATE_ASKS   3
#define NGX_COMMERCE_LATE_WAIT   150


/* ngx_commerce_payment.c */

/* Answers with the payment. */
void ngx_commerce_payment_answer(ngx_commerce_payment_t *pay);

/* 1 when text is the word. */
ngx_uint_t ngx_commerce_payment_is(ngx_str_t *text, const char *word);


/* ngx_commerce_payment_batch.c */

void ngx_commerce_payment_send(ngx_commerce_payment_t *pay);

/* A row of "pay" or "pay_late", from the column of its code. */
void ngx_commerce_payment_row(ngx_commerce_payment_t *pay, PGresult *res,
    int row);

/* What the code of a committed run means. */
void ngx_commerce_payment_verdict(ngx_commerce_payment_t *pay);

/* Whether a run was stored that may have been. */
void ngx_commerce_payment_lookup(ngx_commerce_payment_t *pay);


/* ngx_commerce_payment_late.c */

void ngx_commerce_payment_late(ngx_commerce_payment_t *pay);

/* What is free of a variant now. */
void ngx_commerce_payment_freed(ngx_commerce_trade_t *trade, PGresult *res,
    int row, int id, int free);


#endif
