#include <stdio.h>
#include <string.h>

#include "commerce_money.h"
#include "commerce_price.h"
#include "unit.h"


#define MAX    COMMERCE_MONEY_MAX
#define ONE    COMMERCE_RATE_ONE
#define LINES  COMMERCE_LINES_LIMIT


__extension__ typedef __int128  wide_t;


static void test_plain(void);
static void test_empty(void);
static void test_tax_on_top(void);
static void test_tax_contained(void);
static void test_tax_half_up(void);
static void test_tax_mixed(void);
static void test_percent(void);
static void test_fixed(void);
static void test_shipping(void);
static void test_allocate(void);
static void test_allocate_refused(void);
static void test_allocate_in_place(void);
static void test_portion(void);
static void test_portion_refused(void);
static void test_refused(void);
static void test_limits(void);
static void test_category(void);
static void test_price_property(void);
static void test_allocate_property(void);
static void test_portion_property(void);


static commerce_price_line_t  line_of(int64_t unit_price, int64_t quantity,
    int32_t tax_rate, unsigned tax_included);
static void price_of(commerce_price_t *price);
static int run(commerce_price_t *price, commerce_price_line_t *lines,
    size_t n, const char *name);
static int refused(commerce_price_t price, commerce_price_line_t line);
static int64_t half_up(wide_t numerator, wide_t denominator);
static void naive_allocate(int64_t amount, const int64_t *weights,
    int64_t *shares, size_t n);
static int naive_price(commerce_price_t *price,
    commerce_price_line_t *lines, size_t n);
static int64_t random_amount(void);


int
main(void)
{
    test_plain();
    test_empty();
    test_tax_on_top();
    test_tax_contained();
    test_tax_half_up();
    test_tax_mixed();
    test_percent();
    test_fixed();
    test_shipping();
    test_allocate();
    test_allocate_refused();
    test_allocate_in_place();
    test_portion();
    test_portion_refused();
    test_refused();
    test_limits();
    test_category();
    test_price_property();
    test_allocate_property();
    test_portion_property();

    return unit_done();
}


static commerce_price_line_t
line_of(int64_t unit_price, int64_t quantity, int32_t tax_rate,
    unsigned tax_included)
{
    commerce_price_line_t  line;

    /* what is "out" must not be read */
    memset(&line, 0x5a, sizeof(line));

    line.unit_price = unit_price;
    line.quantity = quantity;
    line.tax_rate = tax_rate;
    line.tax_included = tax_included;

    return line;
}


static void
price_of(commerce_price_t *price)
{
    memset(price, 0x5a, sizeof(*price));

    price->discount_kind = COMMERCE_DISCOUNT_NONE;
    price->discount_value = 0;
    price->shipping_price = 0;
    price->free_over = -1;
    price->shipping_tax_rate = 0;
    price->shipping_tax_included = 0;
}


static int
run(commerce_price_t *price, commerce_price_line_t *lines, size_t n,
    const char *name)
{
    int  rc;

    rc = commerce_price(price, lines, n);
    unit_integer(rc, COMMERCE_OK, name);

    return rc == COMMERCE_OK;
}


static int
refused(commerce_price_t price, commerce_price_line_t line)
{
    commerce_price_line_t  lines[3];

    lines[0] = line_of(100, 1, 0, 0);
    lines[1] = line;
    lines[2] = line_of(100, 1, 0, 0);

    return commerce_price(&price, lines, 3) == COMMERCE_ERROR;
}


static void
test_plain(void)
{
    commerce_price_t       price;
    commerce_price_line_t  lines[2];

    price_of(&price);
    lines[0] = line_of(1999, 3, 0, 0);
    lines[1] = line_of(0, 5, 0, 1);

    if (!run(&price, lines, 2, "no discount, no tax, no shipping")) {
        return;
    }

    unit_integer(lines[0].total, 5997, "a line is unit price * quantity");
    unit_integer(lines[0].discount, 0, "without a discount");
    unit_integer(lines[0].tax, 0, "without a tax");
    unit_integer(lines[1].total, 0, "a gift costs nothing");
    unit_integer(price.subtotal, 5997, "subtotal");
    unit_integer(price.discount, 0, "discount");
    unit_integer(price.shipping, 0, "shipping");
    unit_integer(price.shipping_tax, 0, "shipping tax");
    unit_integer(price.tax, 0, "tax");
    unit_integer(price.tax_included, 0, "tax included");
    unit_integer(price.total, 5997, "total");
}


static void
test_empty(void)
{
    int64_t           share;
    commerce_price_t  price;

    price_of(&price);
    price.discount_kind = COMMERCE_DISCOUNT_FIXED;
    price.discount_value = 500;
    price.shipping_price = 490;

    if (run(&price, NULL, 0, "no lines")) {
        unit_integer(price.subtotal, 0, "an empty cart costs nothing");
        unit_integer(price.discount, 0, "and nothing is taken off it");
        unit_integer(price.total, 490, "but what its shipping costs");
    }

    unit_integer(commerce_price_allocate(7, &share, &share, 0), COMMERCE_OK,
                 "a discount of no line");
}


static void
test_tax_on_top(void)
{
    commerce_price_t       price;
    commerce_price_line_t  lines[1];

    price_of(&price);
    lines[0] = line_of(10000, 2, 190000, 0);
    price.shipping_price = 500;
    price.shipping_tax_rate = 70000;

    if (!run(&price, lines, 1, "tax on top")) {
        return;
    }

    unit_integer(lines[0].tax, 3800, "19 % of the line");
    unit_integer(price.shipping_tax, 35, "7 % of the shipping");
    unit_integer(price.tax, 3835, "tax is the sum of both");
    unit_integer(price.tax_included, 0, "none of it is contained");
    unit_integer(price.total, 20000 + 500 + 3835, "the buyer pays it");
}


static void
test_tax_contained(void)
{
    commerce_price_t       price;
    commerce_price_line_t  lines[1];

    price_of(&price);
    lines[0] = line_of(11900, 1, 190000, 1);
    price.shipping_price = 595;
    price.shipping_tax_rate = 190000;
    price.shipping_tax_included = 1;

    if (!run(&price, lines, 1, "tax contained")) {
        return;
    }

    unit_integer(lines[0].tax, 1900, "19 % are 19 of 119 parts");
    unit_integer(price.shipping_tax, 95, "of the shipping too");
    unit_integer(price.tax, 1995, "tax is told");
    unit_integer(price.tax_included, 1995, "as contained");
    unit_integer(price.total, 11900 + 595, "and not paid twice");
}


static void
test_tax_half_up(void)
{
    size_t                 i;
    commerce_price_t       price;
    commerce_price_line_t  line;

    static const struct {
        int64_t     amount;
        int32_t     rate;
        unsigned    included;
        int64_t     tax;
    } known[] = {
        { 50, 10000, 0, 1 },            /* 0.5 */
        { 49, 10000, 0, 0 },            /* 0.49 */
        { 150, 10000, 0, 2 },           /* 1.5: up, and not to the even 2 */
        { 250, 10000, 0, 3 },           /* 2.5: up, and not to the even 2 */
        { 1, 500000, 0, 1 },            /* 0.5 */
        { 1, 499999, 0, 0 },
        { 3, ONE, 1, 2 },               /* 3 / 2 = 1.5 */
        { 5, ONE, 1, 3 },               /* 5 / 2 = 2.5 */
        { 1, 10 * ONE, 1, 1 },          /* 10/11 */
        { 1, 10 * ONE, 0, 10 },
        { 999, 1, 0, 0 },
        { 499999, 1, 0, 0 },            /* 0.499999 */
        { 500000, 1, 0, 1 },            /* 0.5 */
        { 1999, 0, 1, 0 },
        { 107, 70000, 1, 7 },
        { MAX, ONE, 1, MAX / 2 + 1 },   /* odd: half up */
        { MAX, 10 * ONE, 1, 8188362958855446 },
        { MAX / 2, 1, 0, 4503599627 },
        { MAX / 11, 10 * ONE, 0, MAX / 11 * 10 }
    };

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        price_of(&price);
        line = line_of(known[i].amount, 1, known[i].rate, known[i].included);

        unit_ok(commerce_price(&price, &line, 1) == COMMERCE_OK
                && line.tax == known[i].tax
                && price.tax == known[i].tax,
                "tax of a line is rounded half up: case %zu", i);

        price_of(&price);
        price.shipping_price = known[i].amount;
        price.shipping_tax_rate = known[i].rate;
        price.shipping_tax_included = known[i].included;

        unit_ok(commerce_price(&price, NULL, 0) == COMMERCE_OK
                && price.shipping_tax == known[i].tax
                && price.tax == known[i].tax,
                "and that of the shipping: case %zu", i);
    }
}


static void
test_tax_mixed(void)
{
    size_t                 i;
    commerce_price_t       price;
    commerce_price_line_t  lines[3];

    price_of(&price);
    price.discount_kind = COMMERCE_DISCOUNT_FIXED;
    price.discount_value = 600;

    for (i = 0; i < 3; i++) {
        lines[i] = line_of(1000, 1, i == 1 ? 70000 : 190000, i != 2);
    }

    if (!run(&price, lines, 3, "some taxes contained, some on top")) {
        return;
    }

    unit_integer(lines[0].discount, 200, "a third each");
    unit_integer(lines[0].tax, 128, "800 contain 127.73");
    unit_integer(lines[1].tax, 52, "or 52.34");
    unit_integer(lines[2].tax, 152, "and 152 go on top");
    unit_integer(price.tax, 332, "332 in all");
    unit_integer(price.tax_included, 180, "180 contained");
    unit_integer(price.total, 3000 - 600 + 152, "total");
}


static void
test_percent(void)
{
    commerce_price_t       price;
    commerce_price_line_t  lines[3];

    price_of(&price);
    price.discount_kind = COMMERCE_DISCOUNT_PERCENT;
    price.discount_value = 100000;
    lines[0] = line_of(333, 1, 0, 0);
    lines[1] = line_of(333, 1, 0, 0);
    lines[2] = line_of(339, 1, 0, 0);

    if (run(&price, lines, 3, "10 % off")) {
        unit_integer(price.discount, 101, "100.5 of 1005 is 101");
        unit_integer(lines[2].discount, 34, "34.07: down to 34");
        unit_integer(lines[0].discount, 34, "33.47 twice, one is left: first");
        unit_integer(lines[1].discount, 33, "not the second");
        unit_integer(price.total, 904, "total");
    }

    price.discount_value = ONE;

    if (run(&price, lines, 3, "100 % off")) {
        unit_integer(price.discount, 1005, "everything");
        unit_integer(price.total, 0, "is free");
        unit_integer(lines[2].discount, 339, "each line whole");
    }

    price.discount_value = 0;

    if (run(&price, lines, 3, "0 % off")) {
        unit_integer(price.total, 1005, "is the whole price");
    }
}


static void
test_fixed(void)
{
    commerce_price_t       price;
    commerce_price_line_t  lines[2];

    price_of(&price);
    price.discount_kind = COMMERCE_DISCOUNT_FIXED;
    price.discount_value = 500;
    lines[0] = line_of(300, 1, 0, 0);
    lines[1] = line_of(100, 1, 0, 0);

    if (run(&price, lines, 2, "5.00 off 4.00")) {
        unit_integer(price.discount, 400, "at most the subtotal");
        unit_integer(lines[0].discount, 300, "at most the line");
        unit_integer(price.total, 0, "nothing is given out");
    }

    price.discount_value = 399;

    if (run(&price, lines, 2, "3.99 off 4.00")) {
        unit_integer(lines[0].discount, 299, "299.25 of the first");
        unit_integer(lines[1].discount, 100, "99.75 of the second: up");
        unit_integer(price.total, 1, "one is left");
    }
}


static void
test_shipping(void)
{
    commerce_price_t       price;
    commerce_price_line_t  line;

    price_of(&price);
    price.shipping_price = 490;
    price.shipping_tax_rate = 190000;
    line = line_of(5000, 1, 0, 0);

    price.free_over = 5001;
    run(&price, &line, 1, "free over more than it is");
    unit_integer(price.shipping, 490, "shipping is paid");

    price.free_over = 5000;
    run(&price, &line, 1, "free over what it is");
    unit_integer(price.shipping, 0, "shipping is free");
    unit_integer(price.shipping_tax, 0, "and its tax");
    unit_integer(price.total, 5000, "and so the total");

    price.discount_kind = COMMERCE_DISCOUNT_FIXED;
    price.discount_value = 1;
    run(&price, &line, 1, "with a discount the border is missed");
    unit_integer(price.shipping, 490, "shipping is paid again");

    price.discount_kind = COMMERCE_DISCOUNT_FREE_SHIPPING;
    run(&price, &line, 1, "a coupon of free shipping");
    unit_integer(price.shipping, 0, "makes it free");
    unit_integer(price.discount, 0, "and is no discount");
    unit_integer(price.total, 5000, "of the lines");

    price.discount_kind = COMMERCE_DISCOUNT_NONE;
    price.free_over = 0;
    run(&price, NULL, 0, "free from the first");
    unit_integer(price.shipping, 0, "even with nothing in it");
}


static void
test_allocate(void)
{
    size_t   i;
    int64_t  shares[4];

    static const struct {
        int64_t  amount;
        int64_t  weights[4];
        int64_t  shares[4];
    } known[] = {
        { 0, { 1, 2, 3, 4 }, { 0, 0, 0, 0 } },
        { 9, { 0, 0, 0, 0 }, { 0, 0, 0, 0 } },
        { 1, { 1, 1, 1, 1 }, { 1, 0, 0, 0 } },
        { 3, { 1, 1, 1, 1 }, { 1, 1, 1, 0 } },
        { 4, { 1, 1, 1, 1 }, { 1, 1, 1, 1 } },
        { 10, { 1, 1, 1, 0 }, { 4, 3, 3, 0 } },
        { 10, { 0, 1, 1, 1 }, { 0, 4, 3, 3 } },
        { 100, { 1, 2, 3, 0 }, { 17, 33, 50, 0 } },
        { 2, { 1, 5, 5, 5 }, { 0, 1, 1, 0 } },
        { 7, { 1, 2, 4, 0 }, { 1, 2, 4, 0 } },
        { 1, { 1, 2, 2, 1 }, { 0, 1, 0, 0 } },
        { MAX, { 1, 1, 1, 1 },
          { MAX / 4 + 1, MAX / 4 + 1, MAX / 4 + 1, MAX / 4 } },
        { MAX, { MAX, 0, 0, 0 }, { MAX, 0, 0, 0 } },
        { MAX - 1, { MAX - 1, 1, 0, 0 }, { MAX - 2, 1, 0, 0 } },
        { 1, { MAX - 1, 1, 0, 0 }, { 1, 0, 0, 0 } }
    };

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        memset(shares, 0x5a, sizeof(shares));

        unit_ok(commerce_price_allocate(known[i].amount, known[i].weights,
                                        shares, 4)
                == COMMERCE_OK
                && memcmp(shares, known[i].shares, sizeof(shares)) == 0,
                "shares: case %zu", i);
    }
}


static void
test_allocate_refused(void)
{
    size_t          i;
    int64_t         shares[2];
    static int64_t  many[LINES + 1];

    static const struct {
        int64_t  amount;
        int64_t  weights[2];
    } bad[] = {
        { -1, { 1, 1 } }, { 1, { -1, 2 } }, { 1, { 2, -1 } },
        { MAX + 1, { 1, 1 } }, { 1, { MAX, 1 } }, { 1, { MAX + 1, 0 } },
        { INT64_MIN, { 1, 1 } }, { INT64_MAX, { 1, 1 } },
        { 1, { INT64_MAX, INT64_MAX } }, { 0, { INT64_MIN, INT64_MIN } }
    };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        unit_integer(commerce_price_allocate(bad[i].amount, bad[i].weights,
                                             shares, 2),
                     COMMERCE_ERROR, "no shares of nonsense");
    }

    unit_integer(commerce_price_allocate(1, many, many, LINES), COMMERCE_OK,
                 "as many shares as an order may have lines");
    unit_integer(commerce_price_allocate(1, many, many, LINES + 1),
                 COMMERCE_ERROR, "and no more");
}


static void
test_allocate_in_place(void)
{
    int64_t  shares[3] = { 50, 30, 20 };

    unit_integer(commerce_price_allocate(99, shares, shares, 3), COMMERCE_OK,
                 "shares in the place of weights");
    unit_integer(shares[0], 49, "49.5: the third takes the one that is left");
    unit_integer(shares[1], 30, "29.7");
    unit_integer(shares[2], 20, "19.8");
}


static void
test_portion(void)
{
    int64_t                amount;
    commerce_price_line_t  line;

    line = line_of(10, 3, 0, 0);
    line.total = 30;
    line.discount = 20;
    line.tax = 0;

    commerce_price_portion(&line, 0, 1, &amount);
    unit_integer(amount, 3, "the first of three for 10: 3.33");
    commerce_price_portion(&line, 1, 1, &amount);
    unit_integer(amount, 4, "the second: up to 6.67");
    commerce_price_portion(&line, 2, 1, &amount);
    unit_integer(amount, 3, "the third: what is left");
    commerce_price_portion(&line, 1, 2, &amount);
    unit_integer(amount, 7, "two at once: what they were alone");
    commerce_price_portion(&line, 0, 3, &amount);
    unit_integer(amount, 10, "all of them: the whole");
    commerce_price_portion(&line, 3, 0, &amount);
    unit_integer(amount, 0, "none when none is left");

    line.tax = 5;
    commerce_price_portion(&line, 0, 3, &amount);
    unit_integer(amount, 15, "tax on top comes back too");

    line.tax_included = 1;
    commerce_price_portion(&line, 0, 3, &amount);
    unit_integer(amount, 10, "contained tax is in the price");

    line = line_of(0, INT64_MAX, 0, 0);
    line.total = 0;
    line.discount = 0;
    line.tax = MAX;
    unit_integer(commerce_price_portion(&line, INT64_MAX - 1, 1, &amount),
                 COMMERCE_OK, "one of as many as there can be");
    unit_integer(commerce_price_portion(&line, 0, INT64_MAX, &amount),
                 COMMERCE_OK, "all of as many as there can be");
    unit_integer(amount, MAX, "the whole");
}


static void
test_portion_refused(void)
{
    size_t                 i;
    int64_t                amount;
    commerce_price_line_t  line, bad;

    static const int64_t  parts[][2] = {
        { -1, 1 }, { 0, -1 }, { 0, 4 }, { 1, 3 }, { 3, 1 }, { 4, 0 },
        { INT64_MAX, 1 }, { 1, INT64_MAX }, { INT64_MAX, INT64_MAX },
        { INT64_MIN, 1 }, { 0, INT64_MIN }, { INT64_MIN, INT64_MAX }
    };

    line = line_of(10, 3, 0, 0);
    line.total = 30;
    line.discount = 10;
    line.tax = 2;
    amount = 42;

    for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        unit_ok(commerce_price_portion(&line, parts[i][0], parts[i][1],
                                       &amount)
                == COMMERCE_ERROR && amount == 42,
                "no portion of more than there is: case %zu", i);
    }

    bad = line;
    bad.quantity = 0;
    unit_integer(commerce_price_portion(&bad, 0, 0, &amount), COMMERCE_ERROR,
                 "no portion of nothing");
    bad = line;
    bad.discount = 31;
    unit_integer(commerce_price_portion(&bad, 0, 1, &amount), COMMERCE_ERROR,
                 "of a discount above the line");
    bad.discount = -1;
    unit_integer(commerce_price_portion(&bad, 0, 1, &amount), COMMERCE_ERROR,
                 "of a discount below 0");
    bad = line;
    bad.tax = -1;
    unit_integer(commerce_price_portion(&bad, 0, 1, &amount), COMMERCE_ERROR,
                 "of a tax below 0");
    bad = line;
    bad.total = MAX + 1;
    unit_integer(commerce_price_portion(&bad, 0, 1, &amount), COMMERCE_ERROR,
                 "of too much money");
    bad = line;
    bad.total = MAX;
    bad.discount = 0;
    unit_integer(commerce_price_portion(&bad, 0, 1, &amount), COMMERCE_ERROR,
                 "of too much money with its tax");
    unit_integer(amount, 42, "and nothing was answered");
}


static void
test_refused(void)
{
    commerce_price_t       price;
    commerce_price_line_t  good;

    good = line_of(100, 1, 0, 0);

#define REFUSED(member, value)                                                \
    price_of(&price);                                                         \
    price.member = (value);                                                   \
    unit_ok(refused(price, good), #member " " #value " is refused")

    price_of(&price);
    unit_ok(!refused(price, good), "a good line is not refused");

    unit_ok(refused(price, line_of(100, 0, 0, 0)), "no quantity");
    unit_ok(refused(price, line_of(100, -1, 0, 0)), "quantity below 0");
    unit_ok(refused(price, line_of(100, INT64_MIN, 0, 0)), "far below");
    unit_ok(refused(price, line_of(-1, 1, 0, 0)), "unit price below 0");
    unit_ok(refused(price, line_of(MAX + 1, 1, 0, 0)), "too dear");
    unit_ok(refused(price, line_of(INT64_MAX, INT64_MAX, 0, 0)), "too much");
    unit_ok(refused(price, line_of(1, MAX + 1, 0, 0)), "too many");
    unit_ok(refused(price, line_of(100, 1, -1, 0)), "tax rate below 0");
    unit_ok(refused(price, line_of(100, 1, INT32_MIN, 1)), "far below");
    unit_ok(refused(price, line_of(100, 1, 10 * ONE + 1, 0)), "above");
    unit_ok(refused(price, line_of(100, 1, INT32_MAX, 1)), "far above");

    REFUSED(discount_kind, (commerce_discount_e) 4);
    REFUSED(discount_kind, (commerce_discount_e) -1);
    REFUSED(shipping_price, -1);
    REFUSED(shipping_price, MAX + 1);
    REFUSED(shipping_price, INT64_MIN);
    REFUSED(free_over, -2);
    REFUSED(free_over, INT64_MIN);
    REFUSED(free_over, MAX + 1);
    REFUSED(shipping_tax_rate, -1);
    REFUSED(shipping_tax_rate, 10 * ONE + 1);

#undef REFUSED

    price.shipping_tax_rate = 0;
    price.discount_kind = COMMERCE_DISCOUNT_PERCENT;
    price.discount_value = -1;
    unit_ok(refused(price, good), "percentage below 0");
    price.discount_value = ONE + 1;
    unit_ok(refused(price, good), "percentage above 100");
    price.discount_kind = COMMERCE_DISCOUNT_FIXED;
    unit_ok(!refused(price, good), "which is a good amount");
    price.discount_value = -1;
    unit_ok(refused(price, good), "amount below 0");
    price.discount_value = MAX + 1;
    unit_ok(refused(price, good), "amount too large");
}


static void
test_limits(void)
{
    int64_t                       discount;
    size_t                        i;
    commerce_price_t              price;
    commerce_price_line_t         line;
    static commerce_price_line_t  lines[LINES + 1];

    for (i = 0; i <= LINES; i++) {
        lines[i] = line_of(MAX / LINES, 1, 10 * ONE, 1);
    }

    price_of(&price);
    price.discount_kind = COMMERCE_DISCOUNT_FIXED;
    price.discount_value = MAX / 2;

    if (run(&price, lines, LINES, "as many lines as an order may have")) {

        for (i = 0, discount = 0; i < LINES; i++) {
            discount += lines[i].discount;
        }

        unit_integer(discount, MAX / 2, "the discount is shared exactly");
        unit_ok(lines[0].discount - lines[LINES - 1].discount == 1,
                "the first lines took what was left");
    }

    price_of(&price);
    lines[0].unit_price = 0;
    lines[1].unit_price = 0;
    unit_integer(commerce_price(&price, lines, LINES), COMMERCE_OK,
                 "the same without a discount");
    unit_integer(commerce_price(&price, lines, LINES + 1), COMMERCE_ERROR,
                 "one line more is refused");

    line = line_of(MAX, 1, 0, 0);
    unit_integer(commerce_price(&price, &line, 1), COMMERCE_OK,
                 "as much money as there is");
    unit_integer(price.total, MAX, "is the total");

    price.shipping_price = 1;
    unit_integer(commerce_price(&price, &line, 1), COMMERCE_ERROR,
                 "one more for the shipping is refused");

    price.shipping_price = 0;
    line.tax_rate = 1;
    unit_integer(commerce_price(&price, &line, 1), COMMERCE_ERROR,
                 "so is a tax on top");

    line.tax_included = 1;
    unit_integer(commerce_price(&price, &line, 1), COMMERCE_OK,
                 "a contained one is not");

    line.tax_rate = 10 * ONE;
    line.tax_included = 0;
    unit_integer(commerce_price(&price, &line, 1), COMMERCE_ERROR,
                 "nor fits ten times the price as tax");

    lines[0] = line_of(MAX, 1, 0, 0);
    lines[1] = line_of(1, 1, 0, 0);
    unit_integer(commerce_price(&price, lines, 2), COMMERCE_ERROR,
                 "nor a second line");

    lines[0] = line_of(MAX - 1, 1, 0, 0);
    price.discount_kind = COMMERCE_DISCOUNT_PERCENT;
    price.discount_value = ONE - 1;
    unit_integer(commerce_price(&price, lines, 2), COMMERCE_OK,
                 "a discount of that much");
    unit_integer(price.discount, MAX - 9007199255, "99.9999 %");
}


static void
test_category(void)
{
    unit_ok(commerce_price_category(NULL, 0) == 0, "no category: 0");
    unit_ok(commerce_price_category((unsigned char *) "a", 1)
            == UINT64_C(0xaf63dc4c8601ec8c), "FNV-1a of \"a\"");
    unit_ok(commerce_price_category((unsigned char *) "foobar", 6)
            == UINT64_C(0x85944171f73967e8), "and of \"foobar\"");
    unit_ok(commerce_price_category((unsigned char *) "\xd5k\xb9S\x42\x87"
                                    "\x08\x36", 8) != 0,
            "a name whose hash is 0 is a category too");
}


/* Numbers of all sizes, often equal ones and zeroes. */
static int64_t
random_amount(void)
{
    uint64_t  r;

    r = unit_random();

    switch (r % 8) {

    case 0:
        return 0;

    case 1:
        return 1000;

    case 2:
        return (int64_t) (unit_random() % 3);

    default:
        return (int64_t) (unit_random() >> (13 + unit_random() % 51));
    }
}


static int64_t
half_up(wide_t numerator, wide_t denominator)
{
    wide_t  whole, rest;

    whole = numerator / denominator;
    rest = numerator - whole * denominator;

    return (int64_t) (whole + (rest + rest >= denominator));
}


/* The rule as it reads: one unit at a time, to the largest, the first first. */
static void
naive_allocate(int64_t amount, const int64_t *weights, int64_t *shares,
    size_t n)
{
    size_t   i, best;
    wide_t   sum, product;
    wide_t   rest[LINES];
    int64_t  left;

    for (i = 0, sum = 0; i < n; i++) {
        sum += weights[i];
        shares[i] = 0;
    }

    if (sum == 0) {
        return;
    }

    left = amount;

    for (i = 0; i < n; i++) {
        product = (wide_t) amount * weights[i];
        shares[i] = (int64_t) (product / sum);
        rest[i] = product - (wide_t) shares[i] * sum;
        left -= shares[i];
    }

    while (left--) {
        best = 0;

        for (i = 1; i < n; i++) {
            if (rest[i] > rest[best]) {
                best = i;
            }
        }

        shares[best]++;
        rest[best] = -1;
    }
}


/* Another way to the same numbers; 0: they are not money. */
static int
naive_price(commerce_price_t *price, commerce_price_line_t *lines, size_t n)
{
    size_t   i;
    wide_t   subtotal, discount, shipping, tax, included, shipping_tax;
    int64_t  totals[LINES], shares[LINES];

    for (i = 0, subtotal = 0; i < n; i++) {
        subtotal += (wide_t) lines[i].unit_price * lines[i].quantity;

        if (subtotal > MAX) {
            return 0;
        }

        totals[i] = lines[i].unit_price * lines[i].quantity;
    }

    discount = 0;

    if (price->discount_kind == COMMERCE_DISCOUNT_PERCENT) {
        discount = half_up(subtotal * price->discount_value, ONE);
    }

    if (price->discount_kind == COMMERCE_DISCOUNT_FIXED) {
        discount = price->discount_value;
        discount = discount > subtotal ? subtotal : discount;
    }

    naive_allocate((int64_t) discount, totals, shares, n);

    shipping = price->shipping_price;

    if (price->discount_kind == COMMERCE_DISCOUNT_FREE_SHIPPING
        || (price->free_over >= 0
            && subtotal - discount >= price->free_over))
    {
        shipping = 0;
    }

    tax = 0;
    included = 0;

    for (i = 0; i < n; i++) {
        lines[i].total = totals[i];
        lines[i].discount = shares[i];
        lines[i].tax = half_up((wide_t) (totals[i] - shares[i])
                               * lines[i].tax_rate,
                               lines[i].tax_included
                               ? ONE + lines[i].tax_rate : ONE);
        tax += lines[i].tax;
        included += lines[i].tax_included ? lines[i].tax : 0;
    }

    shipping_tax = half_up(shipping * price->shipping_tax_rate,
                           price->shipping_tax_included
                           ? ONE + price->shipping_tax_rate : ONE);
    tax += shipping_tax;
    included += price->shipping_tax_included ? shipping_tax : 0;

    if (tax > MAX || subtotal - discount + shipping + tax - included > MAX) {
        return 0;
    }

    price->subtotal = (int64_t) subtotal;
    price->discount = (int64_t) discount;
    price->shipping = (int64_t) shipping;
    price->shipping_tax = (int64_t) shipping_tax;
    price->tax = (int64_t) tax;
    price->tax_included = (int64_t) included;
    price->total = (int64_t) (subtotal - discount + shipping + tax
                              - included);

    return 1;
}


static void
test_price_property(void)
{
    int                    i, rc, good, refusals;
    size_t                 n, j;
    int64_t                discount, tax;
    commerce_price_t       price, naive;
    commerce_price_line_t  lines[24], copies[24];

    static const int32_t  rates[] = {
        0, 1, 70000, 81000, 190000, 200000, 255000, 333333, ONE, 10 * ONE
    };

    good = 1;
    refusals = 0;

    for (i = 0; i < 40000 && good; i++) {
        n = unit_random() % 25;
        price_of(&price);

        for (j = 0; j < n; j++) {
            lines[j] = line_of(random_amount(),
                               1 + (int64_t) (unit_random() % 20),
                               rates[unit_random() % 10],
                               unit_random() & 1);
        }

        price.discount_kind = (commerce_discount_e) (unit_random() % 4);
        price.discount_value = price.discount_kind
                               == COMMERCE_DISCOUNT_PERCENT
                               ? (int64_t) (unit_random() % (ONE + 1))
                               : random_amount();
        price.shipping_price = random_amount();
        price.free_over = unit_random() & 1 ? -1 : random_amount();
        price.shipping_tax_rate = rates[unit_random() % 10];
        price.shipping_tax_included = unit_random() & 1;

        naive = price;
        memcpy(copies, lines, sizeof(lines));

        rc = commerce_price(&price, lines, n);

        if (!naive_price(&naive, copies, n)) {
            refusals++;
            good = rc == COMMERCE_ERROR;
            continue;
        }

        good = rc == COMMERCE_OK
               && price.subtotal == naive.subtotal
               && price.discount == naive.discount
               && price.shipping == naive.shipping
               && price.shipping_tax == naive.shipping_tax
               && price.tax == naive.tax
               && price.tax_included == naive.tax_included
               && price.total == naive.total
               && price.total == price.subtotal - price.discount
                                 + price.shipping + price.tax
                                 - price.tax_included;

        discount = 0;
        tax = price.shipping_tax;

        for (j = 0; j < n && good; j++) {
            discount += lines[j].discount;
            tax += lines[j].tax;
            good = lines[j].total == copies[j].total
                   && lines[j].discount == copies[j].discount
                   && lines[j].tax == copies[j].tax
                   && lines[j].discount >= 0
                   && lines[j].discount <= lines[j].total;
        }

        good = good && discount == price.discount && tax == price.tax;
    }

    unit_ok(good, "%d prices are those of another way to count", i);
    unit_ok(refusals > 100 && refusals < i / 2,
            "%d of them refused: too much money", refusals);
}


static void
test_allocate_property(void)
{
    int             i, good;
    size_t          n, j;
    wide_t          total;
    int64_t         amount, sum;
    static int64_t  weights[LINES], shares[LINES], naive[LINES];

    good = 1;

    for (i = 0; i < 3000 && good; i++) {
        n = 1 + unit_random() % (i % 100 ? 40 : 900);

        for (j = 0, total = 0; j < n; j++) {
            weights[j] = random_amount();
            total += weights[j];
        }

        amount = i & 1 && total <= MAX ? (int64_t) (unit_random()
                                         % ((uint64_t) total + 1))
                                       : random_amount();

        if (total > MAX) {
            good = commerce_price_allocate(amount, weights, shares, n)
                   == COMMERCE_ERROR;
            continue;
        }

        good = commerce_price_allocate(amount, weights, shares, n)
               == COMMERCE_OK;

        naive_allocate(amount, weights, naive, n);

        for (j = 0, sum = 0; j < n && good; j++) {
            sum += shares[j];
            good = shares[j] == naive[j]
                   && (amount > total || shares[j] <= weights[j])
                   && (weights[j] != 0 || shares[j] == 0);
        }

        good = good && sum == (total ? amount : 0);
    }

    unit_ok(good, "%d allocations: exact, proportional, by the rule", i);
}


static void
test_portion_property(void)
{
    int                    i, good;
    int64_t                before, part, amount, sum, cost, least, most;
    commerce_price_line_t  line;

    good = 1;

    for (i = 0; i < 20000 && good; i++) {
        line = line_of(0, 1 + (int64_t) (unit_random() % 60), 0,
                       unit_random() & 1);
        line.total = random_amount();
        line.discount = (int64_t) (unit_random()
                                   % ((uint64_t) line.total + 1));
        line.tax = random_amount() / 2;

        cost = line.total - line.discount
               + (line.tax_included ? 0 : line.tax);

        if (line.total > MAX || cost > MAX) {
            good = line.tax_included
                   || commerce_price_portion(&line, 0, 1, &amount)
                      == COMMERCE_ERROR;
            continue;
        }

        least = cost / line.quantity;
        most = least + (cost % line.quantity != 0);

        for (before = 0, sum = 0; before < line.quantity && good;
             before += part)
        {
            part = 1 + (int64_t) (unit_random()
                                  % (uint64_t) (line.quantity - before));

            good = commerce_price_portion(&line, before, part, &amount)
                   == COMMERCE_OK
                   && amount >= least * part && amount <= most * part;

            sum += amount;
        }

        good = good && sum == cost;
    }

    unit_ok(good, "%d lines refunded in pieces: the whole came back", i);
}
