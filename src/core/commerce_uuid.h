#ifndef COMMERCE_UUID_H
#define COMMERCE_UUID_H

#include "commerce_types.h"


/*
 * UUIDv7 (RFC 9562 section 5.7): 48 bits of Unix time in milliseconds, then
 * version, variant and the 74 random bits of "random" (10 bytes, the caller's).
 */
void commerce_uuid_v7(commerce_uuid_t *uuid, uint64_t unix_msec,
    const unsigned char random[10]);

/*
 * Reads the 36-character form, either case.  COMMERCE_ERROR leaves *uuid
 * untouched.  Any version is accepted: the database decides what exists.
 */
int commerce_uuid_parse(commerce_uuid_t *uuid, const unsigned char *text,
    size_t len);

/* Writes COMMERCE_UUID_TEXT lower-case characters; returns the end. */
unsigned char *commerce_uuid_format(unsigned char *out,
    const commerce_uuid_t *uuid);

int commerce_uuid_compare(const commerce_uuid_t *a, const commerce_uuid_t *b);


#endif
