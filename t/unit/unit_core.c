#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commerce_money.h"
#include "commerce_order.h"
#include "commerce_problem.h"
#include "commerce_time.h"
#include "commerce_uuid.h"
#include "unit.h"


#define MAX  COMMERCE_MONEY_MAX
#define DAY  INT64_C(86400000000)


static void test_money(void);
static void test_money_refused(void);
static void test_currency(void);
static void test_uuid_v7(void);
static void test_uuid_order(void);
static void test_uuid_parse(void);
static void test_time(void);
static void test_time_days(void);
static void test_time_parse(void);
static void test_time_parse_refused(void);
static void test_order_states(void);
static void test_order_steps(void);
static void test_problems(void);


int
main(void)
{
    test_money();
    test_money_refused();
    test_currency();
    test_uuid_v7();
    test_uuid_order();
    test_uuid_parse();
    test_time();
    test_time_days();
    test_time_parse();
    test_time_parse_refused();
    test_order_states();
    test_order_steps();
    test_problems();

    return unit_done();
}


static void
test_money(void)
{
    int64_t  r;

    r = -7;
    unit_integer(commerce_money_add(&r, 0, 0), COMMERCE_OK, "0 + 0");
    unit_integer(r, 0, "is 0");
    unit_integer(commerce_money_add(&r, MAX - 1, 1), COMMERCE_OK,
                 "up to the maximum");
    unit_integer(r, MAX, "is the maximum");
    unit_integer(commerce_money_multiply(&r, 1999, 3), COMMERCE_OK, "1999*3");
    unit_integer(r, 5997, "is 5997");
    unit_integer(commerce_money_multiply(&r, MAX, 1), COMMERCE_OK, "MAX*1");
    unit_integer(r, MAX, "is MAX");
    unit_integer(commerce_money_multiply(&r, 1, MAX), COMMERCE_OK, "1*MAX");
    unit_integer(r, MAX, "is MAX too");
    unit_integer(commerce_money_multiply(&r, MAX, 0), COMMERCE_OK, "MAX*0");
    unit_integer(r, 0, "is nothing");
    unit_integer(commerce_money_multiply(&r, 0, INT64_MAX), COMMERCE_OK,
                 "nothing, very often");
    unit_integer(r, 0, "is nothing too");

    r = 5;
    unit_integer(commerce_money_add(&r, r, r), COMMERCE_OK, "into itself");
    unit_integer(r, 10, "is 10");
}


static void
test_money_refused(void)
{
    size_t   i;
    int64_t  r;

    static const int64_t  sums[][2] = {
        { MAX, 1 }, { 1, MAX }, { MAX, MAX }, { -1, 1 }, { 1, -1 },
        { INT64_MAX, 1 }, { 1, INT64_MAX }, { INT64_MAX, INT64_MAX },
        { INT64_MIN, INT64_MIN }, { INT64_MIN, 0 }, { 0, INT64_MIN },
        { MAX + 1, 0 }, { 0, MAX + 1 }
    };

    static const int64_t  products[][2] = {
        { MAX, 2 }, { 2, MAX }, { MAX / 2 + 1, 2 }, { MAX + 1, 1 },
        { 1, MAX + 1 }, { -1, 1 }, { 1, -1 }, { -1, -1 }, { -1, 0 },
        { 0, -1 }, { INT64_MIN, -1 }, { -1, INT64_MIN },
        { INT64_MAX, INT64_MAX }, { INT64_C(1) << 32, INT64_C(1) << 32 },
        { 94906266, 94906266 }, { 0, INT64_MIN }
    };

    for (i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
        r = 42;
        unit_ok(commerce_money_add(&r, sums[i][0], sums[i][1])
                == COMMERCE_ERROR && r == 42, "sum %zu is refused", i);
    }

    for (i = 0; i < sizeof(products) / sizeof(products[0]); i++) {
        r = 42;
        unit_ok(commerce_money_multiply(&r, products[i][0], products[i][1])
                == COMMERCE_ERROR && r == 42, "product %zu is refused", i);
    }
}


static void
test_currency(void)
{
    size_t  i;

    static const char *const  bad[] = {
        "", "U", "US", "USDX", "usd", "US1", "U D", "USd", "@SD", "[SD",
        "US\xc3"
    };

    unit_ok(commerce_currency_valid((unsigned char *) "USD", 3), "USD");
    unit_ok(commerce_currency_valid((unsigned char *) "AZZ", 3), "AZZ");
    unit_ok(!commerce_currency_valid((unsigned char *) "US\0", 3), "NUL");

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        unit_ok(!commerce_currency_valid((const unsigned char *) bad[i],
                                         strlen(bad[i])),
                "no currency: case %zu", i);
    }
}


static void
test_uuid_v7(void)
{
    unsigned char    text[COMMERCE_UUID_TEXT], random[10];
    commerce_uuid_t  id;

    memset(random, 0xff, 10);
    commerce_uuid_v7(&id, 0x017f22e279b0, random);
    unit_ok(commerce_uuid_format(text, &id) == text + 36, "end of the text");
    unit_text(text, 36, "017f22e2-79b0-7fff-bfff-ffffffffffff",
              "all random bits set");

    memset(random, 0, 10);
    commerce_uuid_v7(&id, 0x017f22e279b0, random);
    commerce_uuid_format(text, &id);
    unit_text(text, 36, "017f22e2-79b0-7000-8000-000000000000", "none set");

    memcpy(random, "\x0c\xc3\x18\xc4\xdc\x0c\x0c\x07\x39\x8f", 10);
    commerce_uuid_v7(&id, 0x017f22e279b0, random);
    commerce_uuid_format(text, &id);
    unit_text(text, 36, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
              "the example of RFC 9562");

    commerce_uuid_v7(&id, UINT64_MAX, random);
    commerce_uuid_format(text, &id);
    unit_text(text, 36, "ffffffff-ffff-7cc3-98c4-dc0c0c07398f",
              "only 48 bits of the time");
}


static void
test_uuid_order(void)
{
    int              i, good;
    uint64_t         now;
    unsigned char    random[10], a_text[36], b_text[36];
    commerce_uuid_t  a, b;

    good = 1;
    now = UINT64_C(1767225600000);

    memset(random, 0xff, 10);
    commerce_uuid_v7(&a, now, random);

    for (i = 0; i < 10000 && good; i++) {
        now += 1 + unit_random() % 100000;
        memset(random, (int) (unit_random() & 0xff), 10);
        commerce_uuid_v7(&b, now, random);

        commerce_uuid_format(a_text, &a);
        commerce_uuid_format(b_text, &b);

        good = commerce_uuid_compare(&a, &b) < 0
               && commerce_uuid_compare(&b, &a) > 0
               && commerce_uuid_compare(&a, &a) == 0
               && memcmp(a_text, b_text, 36) < 0;
        a = b;
    }

    unit_ok(good, "a later UUIDv7 sorts behind, as bytes and as text");
}


static void
test_uuid_parse(void)
{
    size_t           i, n;
    unsigned char    text[36], back[36];
    commerce_uuid_t  id, kept;

    static const char  sample[] = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
    static const char  upper[] = "017F22E2-79B0-7CC3-98C4-DC0C0C07398F";
    static const char  bad[] = "/:@G`g- !&\x01\x06\x10\x00\x80\xc1\xff";

    unit_ok(commerce_uuid_parse(&id, (unsigned char *) upper, 36)
            == COMMERCE_OK, "upper case is read");
    commerce_uuid_format(back, &id);
    unit_text(back, 36, sample, "and written in lower case");

    unit_ok(commerce_uuid_parse(&id, (unsigned char *)
                                "00000000-0000-0000-0000-000000000000", 36)
            == COMMERCE_OK, "any version");

    memset(&id, 0x5a, sizeof(id));
    kept = id;

    unit_ok(commerce_uuid_parse(&id, (unsigned char *) sample, 35)
            == COMMERCE_ERROR, "too short");
    unit_ok(commerce_uuid_parse(&id, (unsigned char *) sample, 37)
            == COMMERCE_ERROR, "too long");
    unit_ok(commerce_uuid_parse(&id, (unsigned char *) sample, 0)
            == COMMERCE_ERROR, "empty");

    for (i = 0; i < 36; i++) {
        for (n = 0; n < sizeof(bad) - 1; n++) {

            if (bad[n] == sample[i]) {
                continue;
            }

            memcpy(text, sample, 36);
            text[i] = (unsigned char) bad[n];

            if (commerce_uuid_parse(&id, text, 36) != COMMERCE_ERROR) {
                unit_ok(0, "byte %d at %zu is accepted", bad[n], i);
            }
        }

        memcpy(text, sample, 36);

        if (text[i] == '-') {
            text[i] = '0';
            unit_ok(commerce_uuid_parse(&id, text, 36) == COMMERCE_ERROR,
                    "no dash at %zu", i);
        }
    }

    unit_ok(commerce_uuid_compare(&id, &kept) == 0, "refusals touch nothing");

    for (i = 0; i < 1000; i++) {
        for (n = 0; n < 16; n++) {
            kept.bytes[n] = (unsigned char) unit_random();
        }

        commerce_uuid_format(text, &kept);

        if (commerce_uuid_parse(&id, text, 36) != COMMERCE_OK
            || commerce_uuid_compare(&id, &kept) != 0)
        {
            break;
        }
    }

    unit_ok(i == 1000, "what is written is read back");
}


static void
test_time(void)
{
    size_t         i;
    unsigned char  text[COMMERCE_TIME_TEXT + 1];

    static const struct {
        int64_t      usec;
        const char  *text;
    } times[] = {
        { 0, "2000-01-01T00:00:00.000000Z" },
        { 1, "2000-01-01T00:00:00.000001Z" },
        { -1, "1999-12-31T23:59:59.999999Z" },
        { -DAY, "1999-12-31T00:00:00.000000Z" },
        { 59 * DAY, "2000-02-29T00:00:00.000000Z" },
        { 60 * DAY - 1, "2000-02-29T23:59:59.999999Z" },
        { 60 * DAY, "2000-03-01T00:00:00.000000Z" },
        { 366 * DAY, "2001-01-01T00:00:00.000000Z" },
        { -COMMERCE_TIME_PG_EPOCH * 1000000, "1970-01-01T00:00:00.000000Z" },
        { -COMMERCE_TIME_PG_EPOCH * 1000000 - 1,
          "1969-12-31T23:59:59.999999Z" },
        { INT64_C(848673810123456), "2026-11-22T14:43:30.123456Z" },
        { INT64_C(762480000000000), "2024-02-29T00:00:00.000000Z" },
        { INT64_C(3160857600000000), "2100-03-01T00:00:00.000000Z" },
        { INT64_C(3160857599999999), "2100-02-28T23:59:59.999999Z" },
        { INT64_C(-3150590400000000), "1900-02-28T20:00:00.000000Z" },
        { INT64_C(-3150576000000000), "1900-03-01T00:00:00.000000Z" },
        { INT64_C(-50522659200000000), "0399-01-01T00:00:00.000000Z" },
        { INT64_C(252455615999999999), "9999-12-31T23:59:59.999999Z" },
        { INT64_C(252455616000000000), "9999-12-31T23:59:59.999999Z" },
        { INT64_MAX, "9999-12-31T23:59:59.999999Z" },
        { INT64_C(-63082281600000000), "0001-01-01T00:00:00.000000Z" },
        { INT64_C(-63082281600000001), "0001-01-01T00:00:00.000000Z" },
        { INT64_MIN, "0001-01-01T00:00:00.000000Z" }
    };

    for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        text[COMMERCE_TIME_TEXT] = '#';

        unit_ok(commerce_time_format(text, times[i].usec)
                == text + COMMERCE_TIME_TEXT
                && text[COMMERCE_TIME_TEXT] == '#', "length");
        unit_text(text, COMMERCE_TIME_TEXT, times[i].text, times[i].text);
    }
}


/* Every day of 800 years, against a calendar that only counts. */

static void
test_time_days(void)
{
    int            year, month, day, days, leap, good;
    char           wanted[64];
    int64_t        n, usec;
    unsigned char  text[COMMERCE_TIME_TEXT];

    static const int  lengths[] =
        { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

    good = 1;
    n = -146097;        /* 1600-01-01 */

    for (year = 1600; year < 2400; year++) {
        leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

        for (month = 1; month <= 12; month++) {
            days = lengths[month - 1] + (month == 2 && leap);

            for (day = 1; day <= days; day++) {
                snprintf(wanted, sizeof(wanted),
                         "%04d-%02d-%02dT23:59:59.999999Z", year, month, day);
                n++;
                commerce_time_format(text, n * DAY - 1);

                if (memcmp(text, wanted, COMMERCE_TIME_TEXT) != 0
                    || commerce_time_parse(&usec, text, COMMERCE_TIME_TEXT)
                       != COMMERCE_OK
                    || usec != n * DAY - 1)
                {
                    good = 0;
                }
            }
        }
    }

    unit_ok(good && n == 146097, "every day from 1600 to 2399, both ways");
}


static void
test_time_parse(void)
{
    size_t   i;
    int64_t  usec;

    static const struct {
        const char  *text;
        int64_t      usec;
    } times[] = {
        { "2000-01-01T00:00:00Z", 0 },
        { "2000-01-01t00:00:00z", 0 },
        { "2000-01-01T00:00:00.0Z", 0 },
        { "2000-01-01T00:00:00.000001Z", 1 },
        { "2000-01-01T00:00:00.1Z", 100000 },
        { "2000-01-01T01:00:00+01:00", 0 },
        { "1999-12-31T18:30:00-05:30", 0 },
        { "2000-01-01T00:00:00-00:00", 0 },
        { "2000-01-01T15:59:00+15:59", 0 },
        { "2000-02-29T00:00:00Z", 59 * DAY },
        { "2001-01-01T00:00:00Z", 366 * DAY },
        { "1970-01-01T00:00:00Z", -COMMERCE_TIME_PG_EPOCH * 1000000 },
        { "2026-11-22T14:43:30.123456Z", INT64_C(848673810123456) },
        { "0001-01-01T00:00:00Z", INT64_C(-63082281600000000) },
        { "9999-12-31T23:59:59.999999Z", INT64_C(252455615999999999) }
    };

    for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        usec = -7;

        unit_integer(commerce_time_parse(&usec,
                                     (const unsigned char *) times[i].text,
                                     strlen(times[i].text)),
                     COMMERCE_OK, times[i].text);
        unit_integer(usec, times[i].usec, times[i].text);
    }
}


static void
test_time_parse_refused(void)
{
    size_t          i, len;
    int64_t         usec;
    unsigned char  *text;

    static const char *const  bad[] = {
        "", "2026", "2026-11-22", "2026-11-22T14:43Z", "2026-11-22T14:43:30",
        "2026-11-22 14:43:30Z", "2026-11-22T14:43:30 Z",
        "2026-11-22T14:43:30ZZ", "2026-11-22T14:43:30.Z",
        "2026-11-22T14:43:30.1234567Z", "2026-11-22T14:43:30.1",
        "2026-11-22T14:43:30,1Z", "2026-11-22T14:43:30+1:00",
        "2026-11-22T14:43:30+01", "2026-11-22T14:43:30+0100",
        "2026-11-22T14:43:30+16:00", "2026-11-22T14:43:30+01:60",
        "2026-11-22T24:00:00Z", "2026-11-22T23:60:00Z",
        "2026-11-22T23:59:60Z", "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z", "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
        "0000-12-31T00:00:00Z", "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01", "-026-11-22T14:43:30Z",
        "2026-1-022T14:43:30Z", "infinity", "2026-11-22T1a:43:30Z"
    };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {

        /* of its own, so that a look behind its end is found */
        len = strlen(bad[i]);
        text = malloc(len ? len : 1);

        if (text == NULL) {
            return;
        }

        memcpy(text, bad[i], len);
        usec = -7;

        unit_ok(commerce_time_parse(&usec, text, len) == COMMERCE_ERROR
                && usec == -7, "\"%s\" is refused", bad[i]);

        free(text);
    }
}


static void
test_order_states(void)
{
    size_t                  i;
    const char             *name;
    commerce_order_state_e  state;

    static const char *const  names[] = {
        "pending_payment", "paid", "fulfilled", "cancelled", "expired",
        "partially_refunded", "refunded"
    };

    static const char *const  bad[] = {
        "", "pai", "paidx", "PAID", "canceled", "pending", "refunded "
    };

    for (i = 0; i < COMMERCE_ORDER_STATES; i++) {
        name = commerce_order_state_name((commerce_order_state_e) i);
        unit_text(name, strlen(name), names[i], names[i]);

        state = COMMERCE_ORDER_STATES;
        unit_ok(commerce_order_state_parse(&state,
                                           (const unsigned char *) names[i],
                                           strlen(names[i])) == COMMERCE_OK
                && state == (commerce_order_state_e) i, "and back");
    }

    unit_text("", strlen(commerce_order_state_name(COMMERCE_ORDER_STATES)),
              "", "no name behind the last");
    unit_integer((int64_t) strlen(commerce_order_state_name(
                     (commerce_order_state_e) -1)), 0, "none below the first");

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        unit_ok(commerce_order_state_parse(&state,
                                           (const unsigned char *) bad[i],
                                           strlen(bad[i])) == COMMERCE_ERROR,
                "\"%s\" is no state", bad[i]);
    }
}


static void
test_order_steps(void)
{
    int  from, to;

    /* rows: from; columns: pending paid fulfil cancel expire part refund */
    static const char *const  table[] = {
        ".p.ce..",
        "..fc.rR",
        ".....rR",
        ".......",
        ".p.....",
        "...c.rR",
        "......."
    };

    for (from = 0; from < COMMERCE_ORDER_STATES; from++) {
        for (to = 0; to < COMMERCE_ORDER_STATES; to++) {
            unit_ok(commerce_order_may_become((commerce_order_state_e) from,
                                              (commerce_order_state_e) to)
                    == (table[from][to] != '.'), "%s -> %s",
                    commerce_order_state_name((commerce_order_state_e) from),
                    commerce_order_state_name((commerce_order_state_e) to));
        }
    }

    unit_ok(!commerce_order_may_become(COMMERCE_ORDER_STATES,
                                       COMMERCE_ORDER_PAID), "from nowhere");
    unit_ok(!commerce_order_may_become(COMMERCE_ORDER_PAID,
                                       COMMERCE_ORDER_STATES), "to nowhere");
    unit_ok(!commerce_order_may_become((commerce_order_state_e) -1,
                                       (commerce_order_state_e) -1),
            "below the first");
}


static void
test_problems(void)
{
    int                        i, j, good;
    const commerce_problem_t  *a, *b;

    static const struct {
        commerce_problem_e  problem;
        int                 status;
        const char         *code;
    } known[] = {
        { COMMERCE_MALFORMED_JSON, 400, "malformed_json" },
        { COMMERCE_BAD_REQUEST, 400, "bad_request" },
        { COMMERCE_IDEMPOTENCY_KEY_MISSING, 400, "idempotency_key_missing" },
        { COMMERCE_IDEMPOTENCY_KEY_INVALID, 400, "idempotency_key_invalid" },
        { COMMERCE_UNAUTHENTICATED, 401, "unauthenticated" },
        { COMMERCE_FORBIDDEN, 403, "forbidden" },
        { COMMERCE_NOT_FOUND, 404, "not_found" },
        { COMMERCE_METHOD_NOT_ALLOWED, 405, "method_not_allowed" },
        { COMMERCE_IN_PROGRESS, 409, "in_progress" },
        { COMMERCE_OUT_OF_STOCK, 409, "out_of_stock" },
        { COMMERCE_PRICE_CHANGED, 409, "price_changed" },
        { COMMERCE_ILLEGAL_TRANSITION, 409, "illegal_transition" },
        { COMMERCE_CONFLICT, 409, "conflict" },
        { COMMERCE_VERSION_CONFLICT, 412, "version_conflict" },
        { COMMERCE_TOO_LARGE, 413, "too_large" },
        { COMMERCE_UNSUPPORTED_MEDIA_TYPE, 415, "unsupported_media_type" },
        { COMMERCE_INVALID_REQUEST, 422, "invalid_request" },
        { COMMERCE_IDEMPOTENCY_KEY_REUSED, 422, "idempotency_key_reused" },
        { COMMERCE_PRECONDITION_REQUIRED, 428, "precondition_required" },
        { COMMERCE_TOO_MANY_REQUESTS, 429, "too_many_requests" },
        { COMMERCE_INTERNAL, 500, "internal" },
        { COMMERCE_UNAVAILABLE, 503, "unavailable" },
        { COMMERCE_OVERLOADED, 503, "overloaded" },
        { COMMERCE_OUTCOME_UNKNOWN, 503, "outcome_unknown" },
        { COMMERCE_ZONE_FULL, 503, "zone_full" }
    };

    unit_integer(sizeof(known) / sizeof(known[0]), COMMERCE_PROBLEMS - 1,
                 "all problems are listed here");

    for (i = 0; i < COMMERCE_PROBLEMS - 1; i++) {
        a = commerce_problem(known[i].problem);
        unit_ok(a->status == known[i].status
                && strcmp(a->code, known[i].code) == 0
                && a->title != NULL && a->title[0] != '\0',
                "%d %s", known[i].status, known[i].code);
    }

    good = 1;

    for (i = 1; i < COMMERCE_PROBLEMS; i++) {
        for (j = 1; j < i; j++) {
            a = commerce_problem((commerce_problem_e) i);
            b = commerce_problem((commerce_problem_e) j);
            good = good && strcmp(a->code, b->code) != 0
                   && strcmp(a->title, b->title) != 0;
        }
    }

    unit_ok(good, "codes and titles are unique");

    a = commerce_problem(COMMERCE_INTERNAL);
    unit_ok(commerce_problem(COMMERCE_PROBLEMS) == a, "behind the last");
    unit_ok(commerce_problem((commerce_problem_e) -1) == a, "below the first");
    unit_integer(commerce_problem(COMMERCE_NO_PROBLEM)->status, 500,
                 "no problem is no answer");
}
