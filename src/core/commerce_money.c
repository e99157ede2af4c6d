#include "commerce_money.h"


int
commerce_money_add(int64_t *result, int64_t a, int64_t b)
{
    if (a < 0 || b < 0 || a > COMMERCE_MONEY_MAX
        || b > COMMERCE_MONEY_MAX - a)
    {
        return COMMERCE_ERROR;
    }

    *result = a + b;

    return COMMERCE_OK;
}


int
commerce_money_multiply(int64_t *result, int64_t amount, int64_t quantity)
{
    if (amount < 0 || quantity < 0 || amount > COMMERCE_MONEY_MAX) {
        return COMMERCE_ERROR;
    }

    if (quantity != 0 && amount > COMMERCE_MONEY_MAX / quantity) {
        return COMMERCE_ERROR;
    }

    *result = amount * quantity;

    return COMMERCE_OK;
}


int
commerce_currency_valid(const unsigned char *text, size_t len)
{
    size_t  i;

    if (len != COMMERCE_CURRENCY_LEN) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if (text[i] < 'A' || text[i] > 'Z') {
            return 0;
        }
    }

    return 1;
}
