#include <string.h>

#include "commerce_order.h"


#define commerce_order_bit(state)  (1u << COMMERCE_ORDER_##state)


typedef struct {
    const char  *name;
    unsigned     next;      /* bit set of the states it may become */
} commerce_order_step_t;


static const commerce_order_step_t  commerce_order_steps[] = {

    /* COMMERCE_ORDER_PENDING_PAYMENT */
    { "pending_payment",
      commerce_order_bit(PAID)
      | commerce_order_bit(CANCELLED)
      | commerce_order_bit(EXPIRED) },

    /* COMMERCE_ORDER_PAID: cancelled by a full refund with all units back */
    { "paid",
      commerce_order_bit(FULFILLED)
      | commerce_order_bit(CANCELLED)
      | commerce_order_bit(PARTIALLY_REFUNDED)
      | commerce_order_bit(REFUNDED) },

    /* COMMERCE_ORDER_FULFILLED */
    { "fulfilled",
      commerce_order_bit(PARTIALLY_REFUNDED)
      | commerce_order_bit(REFUNDED) },

    /* COMMERCE_ORDER_CANCELLED */
    { "cancelled", 0 },

    /* COMMERCE_ORDER_EXPIRED: a late payment that finds free units */
    { "expired",
      commerce_order_bit(PAID) },

    /* COMMERCE_ORDER_PARTIALLY_REFUNDED: one more partial refund stays */
    { "partially_refunded",
      commerce_order_bit(CANCELLED)
      | commerce_order_bit(PARTIALLY_REFUNDED)
      | commerce_order_bit(REFUNDED) },

    /* COMMERCE_ORDER_REFUNDED */
    { "refunded", 0 }
};


_Static_assert(sizeof(commerce_order_steps) / sizeof(commerce_order_steps[0])
               == COMMERCE_ORDER_STATES, "one entry for each state");


const char *
commerce_order_state_name(commerce_order_state_e state)
{
    if ((unsigned) state >= COMMERCE_ORDER_STATES) {
        return "";
    }

    return commerce_order_steps[state].name;
}


int
commerce_order_state_parse(commerce_order_state_e *state,
    const unsigned char *text, size_t len)
{
    unsigned     i;
    const char  *name;

    for (i = 0; i < COMMERCE_ORDER_STATES; i++) {
        name = commerce_order_steps[i].name;

        if (strlen(name) == len && memcmp(name, text, len) == 0) {
            *state = (commerce_order_state_e) i;
            return COMMERCE_OK;
        }
    }

    return COMMERCE_ERROR;
}


int
commerce_order_may_become(commerce_order_state_e from,
    commerce_order_state_e to)
{
    if ((unsigned) from >= COMMERCE_ORDER_STATES
        || (unsigned) to >= COMMERCE_ORDER_STATES)
    {
        return 0;
    }

    return (commerce_order_steps[from].next >> to) & 1;
}
