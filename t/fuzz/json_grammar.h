#ifndef JSON_GRAMMAR_H
#define JSON_GRAMMAR_H

#include <stddef.h>
#include <stdint.h>


/*
 * 1 when the text is one JSON value as RFC 8259 and the reader's contract have
 * it: valid UTF-8, no NUL, surrogates in pairs.  It has no tree, no limits and
 * no eye for duplicate keys, and shares no code with what it judges.
 */
int fuzz_is_json(const uint8_t *text, size_t len);


#endif
