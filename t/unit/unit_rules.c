/*
 * The rules that the database has too, as rows for a comparison with it: each
 * step that an order may take.
 */

#include <stdio.h>

#include "commerce_order.h"


int
main(void)
{
    commerce_order_state_e  from, to;

    for (from = 0; from < COMMERCE_ORDER_STATES; from++) {
        for (to = 0; to < COMMERCE_ORDER_STATES; to++) {
            printf("%s %s %d\n", commerce_order_state_name(from),
                   commerce_order_state_name(to),
                   commerce_order_may_become(from, to));
        }
    }

    return 0;
}
