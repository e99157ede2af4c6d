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


#endif
