/*
 * Bytes of JSON into one growing buffer of the caller's memory.  A failed
 * allocation is remembered: write on, and look at "failed" once at the end.
 */

#ifndef COMMERCE_JSON_WRITER_H
#define COMMERCE_JSON_WRITER_H

#include "commerce_json_reader.h"
#include "commerce_money.h"


typedef struct {
    unsigned char          *start;
    unsigned char          *last;
    unsigned char          *end;
    commerce_json_alloc_pt  alloc;
    void                   *data;
    unsigned                comma:1;    /* a value stands before: needs "," */
    unsigned                failed:1;   /* out of memory; output is void */
} commerce_json_writer_t;


/* "size" bytes to begin with; it doubles as needed. */
void commerce_json_writer_init(commerce_json_writer_t *w, size_t size,
    commerce_json_alloc_pt alloc, void *data);

void commerce_json_object_open(commerce_json_writer_t *w);
void commerce_json_object_close(commerce_json_writer_t *w);
void commerce_json_array_open(commerce_json_writer_t *w);
void commerce_json_array_close(commerce_json_writer_t *w);

/* "name" is a C identifier of this project: written as it is. */
void commerce_json_key(commerce_json_writer_t *w, const char *name);

/* A key from outside: escaped. */
void commerce_json_key_str(commerce_json_writer_t *w,
    const unsigned char *text, size_t len);

/* What is no UTF-8 is written as U+FFFD. */
void commerce_json_string(commerce_json_writer_t *w,
    const unsigned char *text, size_t len);
void commerce_json_cstring(commerce_json_writer_t *w, const char *text);
void commerce_json_integer(commerce_json_writer_t *w, int64_t value);
void commerce_json_boolean(commerce_json_writer_t *w, int value);
void commerce_json_null(commerce_json_writer_t *w);
void commerce_json_uuid(commerce_json_writer_t *w, const commerce_uuid_t *id);

/* RFC 3339 of PostgreSQL's microseconds since 2000. */
void commerce_json_time(commerce_json_writer_t *w, int64_t pg_usec);

/* A value that is JSON already (from the database), copied; "" gives null. */
void commerce_json_raw(commerce_json_writer_t *w, const unsigned char *text,
    size_t len);

/* The tree back into text, compact. */
void commerce_json_tree(commerce_json_writer_t *w, const commerce_json_t *v);

/* Bytes that are no value: no comma logic. */
void commerce_json_bytes(commerce_json_writer_t *w, const void *bytes,
    size_t len);


#endif
