#ifndef COMMERCE_MONEY_H
#define COMMERCE_MONEY_H

#include "commerce_types.h"


/*
 * Money is an int64_t of minor units (cents) of one currency.  No amount that
 * leaves this project is above COMMERCE_MONEY_MAX: it fits a double exactly,
 * so a JavaScript client reads what was meant.
 */
#define COMMERCE_MONEY_MAX  INT64_C(9007199254740991)

/* COMMERCE_ERROR when a negative operand or a result above the maximum. */
int commerce_money_add(int64_t *result, int64_t a, int64_t b);
int commerce_money_multiply(int64_t *result, int64_t amount,
    int64_t quantity);

/* ISO 4217 shape: three upper-case ASCII letters. */
int commerce_currency_valid(const unsigned char *text, size_t len);


#endif
