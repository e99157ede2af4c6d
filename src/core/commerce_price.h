/*
 * What an order costs: prices, discount, shipping and tax into totals, in
 * integers only.
 *
 * The one rounding rule: a product or quotient is rounded half up to the minor
 * unit, once for each line (and once for shipping), never on a sum.  A discount
 * is allocated over the lines in proportion to their totals, down, and the
 * units that are left go one each to the largest remainders, the first line
 * first: the shares sum exactly.  A percentage off is one product, of the
 * subtotal, and then allocated like any other discount.
 */

#ifndef COMMERCE_PRICE_H
#define COMMERCE_PRICE_H

#include "commerce_types.h"


#define COMMERCE_RATE_ONE  1000000      /* a rate is in millionths */


typedef enum {
    COMMERCE_DISCOUNT_NONE = 0,
    COMMERCE_DISCOUNT_PERCENT,          /* value: millionths of the subtotal,
                                           at most ONE */
    COMMERCE_DISCOUNT_FIXED,            /* value: minor units, at most the
                                           subtotal */
    COMMERCE_DISCOUNT_FREE_SHIPPING
} commerce_discount_e;


typedef struct {
    /* in */
    int64_t     unit_price;             /* minor units */
    int64_t     quantity;               /* 1 or more */
    int32_t     tax_rate;               /* millionths, 0 .. 10 * ONE */
    unsigned    tax_included:1;         /* unit_price contains the tax */
    /* out */
    int64_t     total;                  /* unit_price * quantity */
    int64_t     discount;               /* share of the order's discount */
    int64_t     tax;                    /* on total - discount */
} commerce_price_line_t;


typedef struct {
    /* in */
    commerce_discount_e  discount_kind;
    int64_t     discount_value;
    int64_t     shipping_price;         /* before a discount; 0: none */
    int64_t     free_over;              /* shipping is 0 when subtotal -
                                           discount reaches it; -1: never */
    int32_t     shipping_tax_rate;
    unsigned    shipping_tax_included:1;
    /* out */
    int64_t     subtotal;               /* sum of the lines' totals */
    int64_t     discount;               /* sum of the lines' shares */
    int64_t     shipping;
    int64_t     shipping_tax;           /* part of tax */
    int64_t     tax;                    /* all tax, contained or on top */
    int64_t     tax_included;           /* the part that prices contain */
    int64_t     total;                  /* subtotal - discount + shipping
                                           + tax - tax_included */
} commerce_price_t;


/*
 * Fills every "out".  COMMERCE_ERROR, and nothing is to be used: more than
 * COMMERCE_LINES_LIMIT lines, a quantity below 1, a negative amount, a rate
 * outside its bounds, or an amount or a result above COMMERCE_MONEY_MAX.
 */
int commerce_price(commerce_price_t *price, commerce_price_line_t *lines,
    size_t n);

/*
 * Shares of "amount" in proportion to weights (none negative), by the rule
 * above; all to zero when every weight is.  shares may be weights.  An error
 * as for commerce_price(): the weights sum to money too.
 */
int commerce_price_allocate(int64_t amount, const int64_t *weights,
    int64_t *shares, size_t n);

/* FNV-1a of a category's name, by which taxes are matched; 0: no category. */
uint64_t commerce_price_category(const unsigned char *name, size_t len);

/*
 * What "quantity" of the line's units cost their buyer, tax on top included,
 * when "before" of them were refunded already: portions of one line sum
 * exactly to the whole.  The first k of q units of a line that cost c are
 * (2 * c * k + q) / (2 * q), down; a portion is the difference of two such.
 */
int commerce_price_portion(const commerce_price_line_t *line, int64_t before,
    int64_t quantity, int64_t *amount);


#endif
