/*
 * The rules that the database has too, as rows for a comparison with it:
 * "steps" that an order may take, "portions" of what a line cost.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "commerce_money.h"
#include "commerce_order.h"
#include "commerce_price.h"


static void rules_steps(void);
static void rules_portions(void);
static int64_t rules_random(int64_t below);


int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "steps") == 0) {
        rules_steps();
        return 0;
    }

    if (argc == 2 && strcmp(argv[1], "portions") == 0) {
        rules_portions();
        return 0;
    }

    return 2;
}


static void
rules_steps(void)
{
    commerce_order_state_e  from, to;

    for (from = 0; from < COMMERCE_ORDER_STATES; from++) {
        for (to = 0; to < COMMERCE_ORDER_STATES; to++) {
            printf("%s %s %d\n", commerce_order_state_name(from),
                   commerce_order_state_name(to),
                   commerce_order_may_become(from, to));
        }
    }
}


/* cost, quantity, before, units, amount: small ones and the largest */

static void
rules_portions(void)
{
    int                    i;
    int64_t                before, units, amount;
    commerce_price_line_t  line;

    for (i = 0; i < 4000; i++) {
        memset(&line, 0, sizeof(commerce_price_line_t));

        line.quantity = 1 + rules_random(i % 2 ? 12 : 1000000000);
        line.total = rules_random(i % 3 ? 5000 : COMMERCE_MONEY_MAX);
        line.discount = rules_random(line.total + 1);
        line.tax_included = i % 5 == 0;
        line.tax = rules_random(line.discount + 1);
        before = rules_random(line.quantity + 1);
        units = rules_random(line.quantity - before + 1);

        if (commerce_price_portion(&line, before, units, &amount)
            != COMMERCE_OK)
        {
            continue;
        }

        printf("%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64
               "\n", line.total - line.discount
                     + (line.tax_included ? 0 : line.tax),
               line.quantity, before, units, amount);
    }
}


static int64_t
rules_random(int64_t below)
{
    static uint64_t  state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;

    return (int64_t) (state % (uint64_t) below);
}
