#ifndef COMMERCE_TIME_H
#define COMMERCE_TIME_H

#include "commerce_types.h"


/* PostgreSQL's binary timestamptz: microseconds since 2000-01-01 UTC. */
#define COMMERCE_TIME_PG_EPOCH  INT64_C(946684800)

#define COMMERCE_TIME_TEXT  27      /* 2026-11-22T14:43:30.123456Z */

/*
 * Writes COMMERCE_TIME_TEXT characters of RFC 3339 UTC; returns the end.  What
 * lies outside of the years 1 to 9999 (infinity too) gives their border.
 */
unsigned char *commerce_time_format(unsigned char *out, int64_t pg_usec);

/*
 * Reads RFC 3339 with its offset, such as 2026-11-22T14:43:30+01:00: at most
 * six digits of a second's fraction, years 1 to 9999, offsets below 16 hours
 * (PostgreSQL's limit), no leap second.  COMMERCE_ERROR leaves *pg_usec
 * untouched.
 */
int commerce_time_parse(int64_t *pg_usec, const unsigned char *text,
    size_t len);


#endif
