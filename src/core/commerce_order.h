#ifndef COMMERCE_ORDER_H
#define COMMERCE_ORDER_H

#include "commerce_types.h"


typedef enum {
    COMMERCE_ORDER_PENDING_PAYMENT = 0,
    COMMERCE_ORDER_PAID,
    COMMERCE_ORDER_FULFILLED,
    COMMERCE_ORDER_CANCELLED,
    COMMERCE_ORDER_EXPIRED,
    COMMERCE_ORDER_PARTIALLY_REFUNDED,
    COMMERCE_ORDER_REFUNDED,
    COMMERCE_ORDER_STATES
} commerce_order_state_e;


typedef struct {
    int64_t     subtotal;       /* what it came to: see commerce_price.h */
    int64_t     discount;
    int64_t     tax;
    int64_t     shipping;
    int64_t     total;
} commerce_order_totals_t;


/* The API's and the database's word; "" for a value out of range. */
const char *commerce_order_state_name(commerce_order_state_e state);

/* COMMERCE_ERROR for a word that is no state. */
int commerce_order_state_parse(commerce_order_state_e *state,
    const unsigned char *text, size_t len);

/*
 * 1 when the table of transitions has the step, else 0.  A full refund may be
 * one step; a further partial refund is a step from the state to itself.  The
 * database has the same table: commerce.order_may_become().
 */
int commerce_order_may_become(commerce_order_state_e from,
    commerce_order_state_e to);


#endif
