/*
 * What yajl lets through and JSON does not: yajl takes vertical tabs and form
 * feeds for white space, UTF-8 that is overlong, a surrogate or out of range,
 * and it turns a surrogate escape without its other half into some other
 * character.  Money paths want one meaning per text, so these are refused.
 */

#ifndef COMMERCE_JSON_TEXT_H
#define COMMERCE_JSON_TEXT_H

#include "commerce_types.h"


typedef struct {
    unsigned    escape;     /* right behind a backslash */
    unsigned    digits;     /* of \uXXXX still to come */
    unsigned    code;       /* digits so far */
    unsigned    high;       /* a high surrogate waits for its low one */
} commerce_json_scan_t;


/*
 * Looks at the raw text, chunk by chunk (*scan begins zeroed).  Returns how
 * many bytes may be parsed: less than "len" when a fault stands there.
 */
size_t commerce_json_scan(commerce_json_scan_t *scan,
    const unsigned char *text, size_t len);

/* Length of the valid UTF-8 sequence at "text", 0 when there is none. */
size_t commerce_json_sequence(const unsigned char *text,
    const unsigned char *end);

/* 1 when all of it is valid UTF-8 without NUL. */
int commerce_json_text_valid(const unsigned char *text, size_t len);

/* 1 when the digits are an integer that fits, which *value then is. */
int commerce_json_integer_parse(int64_t *value, const unsigned char *text,
    size_t len);


#endif
