#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit_json.h"


static void test_limits(void);
static void test_limit(commerce_json_limits_t limits, const char *text,
    commerce_json_status_e wanted, const char *name);
static void test_duplicates(void);
static void test_duplicate_of(int n, int twice);
static void test_many_keys(void);
static void *test_bump(void *data, size_t size);


void
unit_json_limited(void)
{
    test_limits();
    test_duplicates();
    test_many_keys();
}


static void
test_limits(void)
{
    commerce_json_limits_t  limits;

    limits = unit_json_limits;
    limits.max_bytes = 10;
    test_limit(limits, "[1,2,3,45]", COMMERCE_JSON_GOOD, "bytes: all");
    test_limit(limits, "[1,2,3,456]", COMMERCE_JSON_BYTES, "bytes: 1 more");
    test_limit(limits, "[1]        ", COMMERCE_JSON_BYTES, "blanks count");
    limits.max_bytes = 0;
    test_limit(limits, "1", COMMERCE_JSON_BYTES, "no bytes at all");
    test_limit(limits, "", COMMERCE_JSON_MALFORMED, "no text is no JSON");

    limits = unit_json_limits;
    limits.max_depth = 3;
    test_limit(limits, "[[{}]]", COMMERCE_JSON_GOOD, "depth: all");
    test_limit(limits, "[[[],[],{}]]", COMMERCE_JSON_GOOD, "depth: neighbours");
    test_limit(limits, "[[[[]]]]", COMMERCE_JSON_LIMIT, "depth: 1 more");
    test_limit(limits, "[[[[", COMMERCE_JSON_LIMIT, "depth: before the end");
    test_limit(limits, "{\"a\":{\"a\":{\"a\":{}}}}", COMMERCE_JSON_LIMIT,
               "depth: objects");
    limits.max_depth = 0;
    test_limit(limits, "1", COMMERCE_JSON_GOOD, "no depth: a scalar");
    test_limit(limits, "[]", COMMERCE_JSON_LIMIT, "no depth: an array");
    limits.max_depth = SIZE_MAX;
    test_limit(limits, "[[[[]]]]", COMMERCE_JSON_GOOD, "depth is bounded");

    limits = unit_json_limits;
    limits.max_values = 4;
    test_limit(limits, "[1,{\"a\":2}]", COMMERCE_JSON_GOOD, "values: all");
    test_limit(limits, "[1,{\"a\":2},3]", COMMERCE_JSON_LIMIT,
               "values: 1 more");
    test_limit(limits, "{\"a\":1,\"b\":2,\"c\":3,\"d\":4}",
               COMMERCE_JSON_LIMIT, "values: members");
    limits.max_values = 0;
    test_limit(limits, "1", COMMERCE_JSON_LIMIT, "no values");

    limits = unit_json_limits;
    limits.max_string = 4;
    test_limit(limits, "[\"1234\",{\"1234\":\"\"}]", COMMERCE_JSON_GOOD,
               "string: all");
    test_limit(limits, "[\"12345\"]", COMMERCE_JSON_LIMIT, "string: 1 more");
    test_limit(limits, "{\"12345\":1}", COMMERCE_JSON_LIMIT, "a key");
    test_limit(limits, "\"\\u0031\\u0032\\u0033\\u0034\"",
               COMMERCE_JSON_GOOD, "string: as decoded");
    test_limit(limits, "\"\\u20ac\\u20ac\"", COMMERCE_JSON_LIMIT,
               "string: bytes, not characters");
    test_limit(limits, "123456", COMMERCE_JSON_GOOD, "an integer is free");
    test_limit(limits, "1.25", COMMERCE_JSON_GOOD, "a fraction");
    test_limit(limits, "1.250", COMMERCE_JSON_LIMIT, "a long fraction");
}


static void
test_limit(commerce_json_limits_t limits, const char *text,
    commerce_json_status_e wanted, const char *name)
{
    size_t                   i;
    unit_memory_t            memory;
    commerce_json_t         *root;
    commerce_json_status_e   status;
    commerce_json_reader_t  *reader;

    unit_memory_init(&memory);

    reader = commerce_json_reader_create(&limits, unit_memory_alloc, &memory);

    for (i = 0; i < strlen(text); i++) {
        commerce_json_reader_feed(reader, (const unsigned char *) text + i,
                                  1);
    }

    status = commerce_json_reader_finish(reader, &root);
    commerce_json_reader_free(reader);

    unit_integer(status, wanted, name);

    unit_memory_free(&memory);
}


static void
test_duplicates(void)
{
    int  n, twice;

    for (n = 2; n < 40; n++) {
        test_duplicate_of(n, -1);

        for (twice = 0; twice < n - 1; twice += 5) {
            test_duplicate_of(n, twice);
        }
    }
}


/* n keys of two lengths; the last one is key "twice" again, unless below 0. */

static void
test_duplicate_of(int n, int twice)
{
    int                     i;
    char                    text[1024], *p;
    unit_memory_t           memory;
    commerce_json_t        *root;
    commerce_json_status_e  status;

    p = text;

    for (i = 0; i < n; i++) {
        p += sprintf(p, "%c\"key%d\":%d", i ? ',' : '{',
                     i == n - 1 && twice >= 0 ? twice : i, i);
    }

    sprintf(p, "}");

    unit_memory_init(&memory);
    status = unit_json_read(&memory, text, &root);
    unit_memory_free(&memory);

    unit_ok(status == (twice < 0 ? COMMERCE_JSON_GOOD
                                 : COMMERCE_JSON_MALFORMED),
            "%d keys, number %d twice", n, twice);
}


/* The work for the largest object must stay far from its square. */

static void
test_many_keys(void)
{
    int                      i;
    char                    *text, *p;
    char                    *heap, *start;
    const char              *error;
    commerce_json_t         *root;
    commerce_json_limits_t   limits;
    commerce_json_status_e   status;

    limits.max_bytes = 8 * 1024 * 1024;
    limits.max_depth = 4;
    limits.max_values = 200001;
    limits.max_string = 64;

    text = malloc(limits.max_bytes);
    start = heap = malloc(64 * 1024 * 1024);

    if (text == NULL || heap == NULL) {
        unit_ok(0, "memory for a large object");
        free(text);
        free(start);
        return;
    }

    p = text;

    for (i = 0; i < 200000; i++) {
        p += sprintf(p, "%c\"aaaaaaaaaaaaaaaa%06d\":0", i ? ',' : '{', i);
    }

    *p++ = '}';

    status = commerce_json_read(&limits, test_bump, &heap,
                                (unsigned char *) text, (size_t) (p - text),
                                &root, &error);

    unit_integer(status, COMMERCE_JSON_GOOD, "200000 keys of one length");
    unit_integer((int64_t) root->count, 200000, "are counted");

    free(start);
    free(text);
}


/* One block for all: a large tree has more nodes than unit_memory_t keeps. */

static void *
test_bump(void *data, size_t size)
{
    char  **heap, *block;

    heap = data;
    block = *heap;
    *heap += (size + 15) & ~(size_t) 15;

    return block;
}
