#include "commerce_time.h"


#define COMMERCE_TIME_USEC       INT64_C(1000000)
#define COMMERCE_TIME_DAY        INT64_C(86400)
#define COMMERCE_TIME_DAY_USEC   (COMMERCE_TIME_DAY * COMMERCE_TIME_USEC)

/* 0001-01-01T00:00:00.000000Z and 9999-12-31T23:59:59.999999Z */
#define COMMERCE_TIME_MIN        INT64_C(-63082281600000000)
#define COMMERCE_TIME_MAX        INT64_C(252455615999999999)

/* from 0000-03-01 to 2000-01-01: the day count below starts years in March */
#define COMMERCE_TIME_EPOCH_DAY  INT64_C(730425)
#define COMMERCE_TIME_ERA        INT64_C(146097)     /* days of 400 years */


typedef struct {
    int64_t     year;
    int64_t     month;
    int64_t     day;
} commerce_time_date_t;


static void commerce_time_date(commerce_time_date_t *date, int64_t pg_day);
static unsigned char *commerce_time_digits(unsigned char *out, int64_t value,
    int width);


unsigned char *
commerce_time_format(unsigned char *out, int64_t pg_usec)
{
    int64_t               day, sec, usec;
    commerce_time_date_t  date;

    if (pg_usec < COMMERCE_TIME_MIN) {
        pg_usec = COMMERCE_TIME_MIN;
    }

    if (pg_usec > COMMERCE_TIME_MAX) {
        pg_usec = COMMERCE_TIME_MAX;
    }

    day = pg_usec / COMMERCE_TIME_DAY_USEC;
    usec = pg_usec % COMMERCE_TIME_DAY_USEC;

    if (usec < 0) {
        usec += COMMERCE_TIME_DAY_USEC;
        day--;
    }

    sec = usec / COMMERCE_TIME_USEC;
    usec %= COMMERCE_TIME_USEC;

    commerce_time_date(&date, day);

    out = commerce_time_digits(out, date.year, 4);
    *out++ = '-';
    out = commerce_time_digits(out, date.month, 2);
    *out++ = '-';
    out = commerce_time_digits(out, date.day, 2);
    *out++ = 'T';
    out = commerce_time_digits(out, sec / 3600, 2);
    *out++ = ':';
    out = commerce_time_digits(out, sec / 60 % 60, 2);
    *out++ = ':';
    out = commerce_time_digits(out, sec % 60, 2);
    *out++ = '.';
    out = commerce_time_digits(out, usec, 6);
    *out++ = 'Z';

    return out;
}


/* A year that begins in March has its leap day last. */

static void
commerce_time_date(commerce_time_date_t *date, int64_t pg_day)
{
    int64_t  era, day, year, month;

    day = pg_day + COMMERCE_TIME_EPOCH_DAY;

    /* COMMERCE_TIME_MIN lies behind 0000-03-01: never negative */
    era = day / COMMERCE_TIME_ERA;
    day %= COMMERCE_TIME_ERA;

    year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= 365 * year + year / 4 - year / 100;

    month = (5 * day + 2) / 153;

    date->day = day - (153 * month + 2) / 5 + 1;
    date->month = month < 10 ? month + 3 : month - 9;
    date->year = year + era * 400 + (date->month <= 2);
}


static unsigned char *
commerce_time_digits(unsigned char *out, int64_t value, int width)
{
    int  i;

    for (i = width - 1; i >= 0; i--) {
        out[i] = (unsigned char) ('0' + value % 10);
        value /= 10;
    }

    return out + width;
}
