#include "commerce_price.h"
#include "commerce_money.h"


#define COMMERCE_RATE_MAX  (10 * COMMERCE_RATE_ONE)


/* an amount times an amount: 106 bits */
__extension__ typedef unsigned __int128  commerce_price_wide_t;


static int commerce_price_lines(commerce_price_t *price,
    commerce_price_line_t *lines, size_t n);
static int commerce_price_discount(commerce_price_t *price,
    commerce_price_line_t *lines, size_t n);
static int commerce_price_discount_amount(const commerce_price_t *price,
    int64_t *amount);
static int commerce_price_shipping(commerce_price_t *price);
static int commerce_price_tax(commerce_price_t *price,
    commerce_price_line_t *lines, size_t n);
static int commerce_price_tax_add(commerce_price_t *price, int64_t tax,
    unsigned included);
static int commerce_price_total(commerce_price_t *price);
static int64_t commerce_price_tax_of(int64_t base, int32_t rate,
    unsigned included);
static int64_t commerce_price_rate(int64_t amount, int64_t rate, int64_t one);
static int commerce_price_weigh(const int64_t *weights, size_t n,
    int64_t *sum);
static void commerce_price_spread(const int64_t *remainders, int64_t *shares,
    size_t n, int64_t sum, size_t left);
static size_t commerce_price_reach(const int64_t *remainders, size_t n,
    int64_t least);
static int64_t commerce_price_upto(int64_t cost, int64_t quantity,
    int64_t whole);
static int commerce_price_money(int64_t amount);
static int commerce_price_rate_valid(int32_t rate);


int
commerce_price(commerce_price_t *price, commerce_price_line_t *lines,
    size_t n)
{
    if (n > COMMERCE_LINES_LIMIT
        || commerce_price_lines(price, lines, n) != COMMERCE_OK
        || commerce_price_discount(price, lines, n) != COMMERCE_OK
        || commerce_price_shipping(price) != COMMERCE_OK
        || commerce_price_tax(price, lines, n) != COMMERCE_OK)
    {
        return COMMERCE_ERROR;
    }

    return commerce_price_total(price);
}


static int
commerce_price_lines(commerce_price_t *price, commerce_price_line_t *lines,
    size_t n)
{
    size_t  i;

    price->subtotal = 0;

    for (i = 0; i < n; i++) {

        if (lines[i].quantity < 1
            || !commerce_price_rate_valid(lines[i].tax_rate)
            || commerce_money_multiply(&lines[i].total, lines[i].unit_price,
                                       lines[i].quantity)
               != COMMERCE_OK
            || commerce_money_add(&price->subtotal, price->subtotal,
                                  lines[i].total)
               != COMMERCE_OK)
        {
            return COMMERCE_ERROR;
        }

        lines[i].discount = 0;
    }

    return COMMERCE_OK;
}


static int
commerce_price_discount(commerce_price_t *price,
    commerce_price_line_t *lines, size_t n)
{
    size_t   i;
    int64_t  shares[COMMERCE_LINES_LIMIT];

    if (commerce_price_discount_amount(price, &price->discount)
        != COMMERCE_OK)
    {
        return COMMERCE_ERROR;
    }

    if (n == 0 || price->discount == 0) {
        return COMMERCE_OK;
    }

    for (i = 0; i < n; i++) {
        shares[i] = lines[i].total;
    }

    if (commerce_price_allocate(price->discount, shares, shares, n)
        != COMMERCE_OK)
    {
        return COMMERCE_ERROR;
    }

    for (i = 0; i < n; i++) {
        lines[i].discount = shares[i];
    }

    return COMMERCE_OK;
}


static int
commerce_price_discount_amount(const commerce_price_t *price,
    int64_t *amount)
{
    int64_t  value;

    value = price->discount_value;

    switch (price->discount_kind) {

    case COMMERCE_DISCOUNT_NONE:
    case COMMERCE_DISCOUNT_FREE_SHIPPING:
        *amount = 0;
        return COMMERCE_OK;

    case COMMERCE_DISCOUNT_PERCENT:
        if (value < 0 || value > COMMERCE_RATE_ONE) {
            return COMMERCE_ERROR;
        }

        *amount = commerce_price_rate(price->subtotal, value,
                                      COMMERCE_RATE_ONE);
        return COMMERCE_OK;

    case COMMERCE_DISCOUNT_FIXED:
        if (!commerce_price_money(value)) {
            return COMMERCE_ERROR;
        }

        *amount = value < price->subtotal ? value : price->subtotal;
        return COMMERCE_OK;
    }

    return COMMERCE_ERROR;
}


static int
commerce_price_shipping(commerce_price_t *price)
{
    if (!commerce_price_money(price->shipping_price)
        || !commerce_price_rate_valid(price->shipping_tax_rate)
        || (price->free_over != -1
            && !commerce_price_money(price->free_over)))
    {
        return COMMERCE_ERROR;
    }

    price->shipping = price->shipping_price;

    if (price->discount_kind == COMMERCE_DISCOUNT_FREE_SHIPPING
        || (price->free_over != -1
            && price->subtotal - price->discount >= price->free_over))
    {
        price->shipping = 0;
    }

    return COMMERCE_OK;
}


static int
commerce_price_tax(commerce_price_t *price, commerce_price_line_t *lines,
    size_t n)
{
    size_t                  i;
    commerce_price_line_t  *line;

    price->tax = 0;
    price->tax_included = 0;

    for (i = 0; i < n; i++) {
        line = &lines[i];

        line->tax = commerce_price_tax_of(line->total - line->discount,
                                          line->tax_rate,
                                          line->tax_included);

        if (commerce_price_tax_add(price, line->tax, line->tax_included)
            != COMMERCE_OK)
        {
            return COMMERCE_ERROR;
        }
    }

    price->shipping_tax = commerce_price_tax_of(price->shipping,
                                                price->shipping_tax_rate,
                                                price->shipping_tax_included);

    return commerce_price_tax_add(price, price->shipping_tax,
                                  price->shipping_tax_included);
}


static int
commerce_price_tax_add(commerce_price_t *price, int64_t tax,
    unsigned included)
{
    if (commerce_money_add(&price->tax, price->tax, tax) != COMMERCE_OK) {
        return COMMERCE_ERROR;
    }

    if (included) {
        /* a part of price->tax, which was checked */
        price->tax_included += tax;
    }

    return COMMERCE_OK;
}


static int
commerce_price_total(commerce_price_t *price)
{
    if (commerce_money_add(&price->total, price->subtotal - price->discount,
                           price->shipping)
        != COMMERCE_OK)
    {
        return COMMERCE_ERROR;
    }

    return commerce_money_add(&price->total, price->total,
                              price->tax - price->tax_included);
}


static int64_t
commerce_price_tax_of(int64_t base, int32_t rate, unsigned included)
{
    return commerce_price_rate(base, rate,
                               included ? COMMERCE_RATE_ONE + rate
                                        : COMMERCE_RATE_ONE);
}


/*
 * amount * rate / one, half up; amount is money, rate at most ten times one
 * and one at most eleven million.  The whole ones of the amount go apart, so
 * that 64 bits are enough: 2^53 / 10^6 * 10^7 and 1.1 * 10^7 * 10^7 * 2.
 */
static int64_t
commerce_price_rate(int64_t amount, int64_t rate, int64_t one)
{
    return amount / one * rate
           + (2 * (amount % one) * rate + one) / (2 * one);
}


int
commerce_price_allocate(int64_t amount, const int64_t *weights,
    int64_t *shares, size_t n)
{
    size_t                 i;
    int64_t                left, sum;
    int64_t                remainders[COMMERCE_LINES_LIMIT];
    commerce_price_wide_t  product;

    if (n > COMMERCE_LINES_LIMIT
        || !commerce_price_money(amount)
        || commerce_price_weigh(weights, n, &sum) != COMMERCE_OK)
    {
        return COMMERCE_ERROR;
    }

    if (sum == 0) {
        for (i = 0; i < n; i++) {
            shares[i] = 0;
        }

        return COMMERCE_OK;
    }

    left = amount;

    for (i = 0; i < n; i++) {
        product = (commerce_price_wide_t) amount * (uint64_t) weights[i];

        shares[i] = (int64_t) (product / (uint64_t) sum);
        remainders[i] = (int64_t) (product % (uint64_t) sum);

        left -= shares[i];
    }

    if (left) {
        commerce_price_spread(remainders, shares, n, sum, (size_t) left);
    }

    return COMMERCE_OK;
}


static int
commerce_price_weigh(const int64_t *weights, size_t n, int64_t *sum)
{
    size_t  i;

    *sum = 0;

    for (i = 0; i < n; i++) {
        if (commerce_money_add(sum, *sum, weights[i]) != COMMERCE_OK) {
            return COMMERCE_ERROR;
        }
    }

    return COMMERCE_OK;
}


/*
 * "left" is less than the number of remainders that are not zero: they add up
 * to left * sum and each is below sum.  So a bound of 1 is reached by enough
 * of them, one of sum by none, and what lies between is halved: no sorting,
 * and no memory for it.
 */
static void
commerce_price_spread(const int64_t *remainders, int64_t *shares, size_t n,
    int64_t sum, size_t left)
{
    size_t   i;
    int64_t  least, most, middle;

    least = 1;
    most = sum;

    while (most - least > 1) {
        middle = least + (most - least) / 2;

        if (commerce_price_reach(remainders, n, middle) >= left) {
            least = middle;

        } else {
            most = middle;
        }
    }

    left -= commerce_price_reach(remainders, n, least + 1);

    for (i = 0; i < n; i++) {

        if (remainders[i] > least) {
            shares[i]++;

        } else if (remainders[i] == least && left) {
            shares[i]++;
            left--;
        }
    }
}


static size_t
commerce_price_reach(const int64_t *remainders, size_t n, int64_t least)
{
    size_t  i, reached;

    reached = 0;

    for (i = 0; i < n; i++) {
        reached += remainders[i] >= least;
    }

    return reached;
}


int
commerce_price_portion(const commerce_price_line_t *line, int64_t before,
    int64_t quantity, int64_t *amount)
{
    int64_t  cost;

    if (line->quantity < 1
        || before < 0
        || before > line->quantity
        || quantity < 0
        || quantity > line->quantity - before
        || !commerce_price_money(line->total)
        || !commerce_price_money(line->tax)
        || line->discount < 0
        || line->discount > line->total)
    {
        return COMMERCE_ERROR;
    }

    cost = line->total - line->discount;

    if (!line->tax_included
        && commerce_money_add(&cost, cost, line->tax) != COMMERCE_OK)
    {
        return COMMERCE_ERROR;
    }

    *amount = commerce_price_upto(cost, before + quantity, line->quantity)
              - commerce_price_upto(cost, before, line->quantity);

    return COMMERCE_OK;
}


/* What the first "quantity" units of "whole" cost together, half up. */
static int64_t
commerce_price_upto(int64_t cost, int64_t quantity, int64_t whole)
{
    commerce_price_wide_t  product;

    product = (commerce_price_wide_t) cost * (uint64_t) quantity;

    return (int64_t) ((2 * product + (uint64_t) whole)
                      / (2 * (commerce_price_wide_t) whole));
}


uint64_t
commerce_price_category(const unsigned char *name, size_t len)
{
    size_t    i;
    uint64_t  hash;

    if (len == 0) {
        return 0;
    }

    hash = UINT64_C(0xcbf29ce484222325);

    for (i = 0; i < len; i++) {
        hash = (hash ^ name[i]) * UINT64_C(0x100000001b3);
    }

    return hash ? hash : 1;
}


static int
commerce_price_money(int64_t amount)
{
    return amount >= 0 && amount <= COMMERCE_MONEY_MAX;
}


static int
commerce_price_rate_valid(int32_t rate)
{
    return rate >= 0 && rate <= COMMERCE_RATE_MAX;
}
