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
static int commerce_time_date_parse(int64_t *day, const unsigned char *text);
static int commerce_time_clock_parse(int64_t *sec, const unsigned char *text);
static int commerce_time_fraction_parse(int64_t *usec,
    const unsigned char **text, const unsigned char *end);
static int commerce_time_offset_parse(int64_t *sec, const unsigned char *text,
    size_t len);
static int commerce_time_number(int64_t *value, const unsigned char *text,
    int width, int64_t min, int64_t max);


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


int
commerce_time_parse(int64_t *pg_usec, const unsigned char *text, size_t len)
{
    int64_t               day, sec, usec, offset, value;
    const unsigned char  *p, *end;

    /* the shortest: 2026-11-22T14:43:30Z */

    if (len < 20
        || commerce_time_date_parse(&day, text) != COMMERCE_OK
        || (text[10] != 'T' && text[10] != 't')
        || commerce_time_clock_parse(&sec, text + 11) != COMMERCE_OK)
    {
        return COMMERCE_ERROR;
    }

    p = text + 19;
    end = text + len;

    if (commerce_time_fraction_parse(&usec, &p, end) != COMMERCE_OK
        || commerce_time_offset_parse(&offset, p, (size_t) (end - p))
           != COMMERCE_OK)
    {
        return COMMERCE_ERROR;
    }

    value = (day * COMMERCE_TIME_DAY + sec - offset) * COMMERCE_TIME_USEC
            + usec;

    if (value < COMMERCE_TIME_MIN || value > COMMERCE_TIME_MAX) {
        return COMMERCE_ERROR;
    }

    *pg_usec = value;

    return COMMERCE_OK;
}


/* YYYY-MM-DD as days from 2000-01-01; there is no day that differs from what
   its own number gives back. */

static int
commerce_time_date_parse(int64_t *day, const unsigned char *text)
{
    int64_t               year, month, n, y, m;
    commerce_time_date_t  date;

    if (commerce_time_number(&year, text, 4, 1, 9999) != COMMERCE_OK
        || text[4] != '-'
        || commerce_time_number(&month, text + 5, 2, 1, 12) != COMMERCE_OK
        || text[7] != '-'
        || commerce_time_number(&n, text + 8, 2, 1, 31) != COMMERCE_OK)
    {
        return COMMERCE_ERROR;
    }

    y = month > 2 ? year : year - 1;
    m = month > 2 ? month - 3 : month + 9;

    *day = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + n - 1
           - COMMERCE_TIME_EPOCH_DAY;

    commerce_time_date(&date, *day);

    return date.day == n && date.month == month ? COMMERCE_OK
                                                : COMMERCE_ERROR;
}


static int
commerce_time_clock_parse(int64_t *sec, const unsigned char *text)
{
    int64_t  hour, minute, second;

    if (commerce_time_number(&hour, text, 2, 0, 23) != COMMERCE_OK
        || text[2] != ':'
        || commerce_time_number(&minute, text + 3, 2, 0, 59) != COMMERCE_OK
        || text[5] != ':'
        || commerce_time_number(&second, text + 6, 2, 0, 59) != COMMERCE_OK)
    {
        return COMMERCE_ERROR;
    }

    *sec = hour * 3600 + minute * 60 + second;

    return COMMERCE_OK;
}


static int
commerce_time_fraction_parse(int64_t *usec, const unsigned char **text,
    const unsigned char *end)
{
    int                   digits;
    const unsigned char  *p;

    *usec = 0;
    p = *text;

    if (p == end || *p != '.') {
        return COMMERCE_OK;
    }

    p++;

    for (digits = 0; p < end && *p >= '0' && *p <= '9'; digits++, p++) {
        *usec = *usec * 10 + (*p - '0');

        if (digits == 6) {
            return COMMERCE_ERROR;
        }
    }

    if (digits == 0) {
        return COMMERCE_ERROR;
    }

    for ( /* void */ ; digits < 6; digits++) {
        *usec *= 10;
    }

    *text = p;

    return COMMERCE_OK;
}


static int
commerce_time_offset_parse(int64_t *sec, const unsigned char *text,
    size_t len)
{
    int64_t  hour, minute;

    if (len == 1 && (text[0] == 'Z' || text[0] == 'z')) {
        *sec = 0;
        return COMMERCE_OK;
    }

    if (len != 6 || (text[0] != '+' && text[0] != '-')
        || commerce_time_number(&hour, text + 1, 2, 0, 15) != COMMERCE_OK
        || text[3] != ':'
        || commerce_time_number(&minute, text + 4, 2, 0, 59) != COMMERCE_OK)
    {
        return COMMERCE_ERROR;
    }

    *sec = hour * 3600 + minute * 60;

    if (text[0] == '-') {
        *sec = -*sec;
    }

    return COMMERCE_OK;
}


static int
commerce_time_number(int64_t *value, const unsigned char *text, int width,
    int64_t min, int64_t max)
{
    int  i;

    *value = 0;

    for (i = 0; i < width; i++) {

        if (text[i] < '0' || text[i] > '9') {
            return COMMERCE_ERROR;
        }

        *value = *value * 10 + (text[i] - '0');
    }

    return *value >= min && *value <= max ? COMMERCE_OK : COMMERCE_ERROR;
}
