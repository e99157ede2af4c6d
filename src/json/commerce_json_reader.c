#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "commerce_json_build.h"
#include "commerce_json_text.h"


#define COMMERCE_JSON_WORDS  160


struct commerce_json_reader_s {
    commerce_json_build_t    build;

    yajl_handle              yajl;
    jmp_buf                  no_memory;
    commerce_json_scan_t     scan;

    size_t                   bytes;     /* given to yajl */
    unsigned                 finished:1;
    char                     words[COMMERCE_JSON_WORDS];
};


/* yajl asks realloc() to know the old size. */
typedef union {
    size_t                   size;
    void                    *align;
    int64_t                  align_integer;
} commerce_json_block_t;


static void commerce_json_start(commerce_json_reader_t *reader);
static commerce_json_status_e commerce_json_parse(
    commerce_json_reader_t *reader, const unsigned char *text, size_t len);
static void commerce_json_describe(commerce_json_reader_t *reader);
static void *commerce_json_yajl_malloc(void *ctx, size_t size);
static void *commerce_json_yajl_realloc(void *ctx, void *old, size_t size);
static void commerce_json_yajl_free(void *ctx, void *block);


commerce_json_reader_t *
commerce_json_reader_create(const commerce_json_limits_t *limits,
    commerce_json_alloc_pt alloc, void *data)
{
    size_t                   depth;
    commerce_json_reader_t  *reader;

    depth = limits->max_depth;

    if (depth > COMMERCE_JSON_DEPTH_MAX) {
        depth = COMMERCE_JSON_DEPTH_MAX;
    }

    reader = alloc(data, sizeof(commerce_json_reader_t)
                         + (depth + 1) * sizeof(commerce_json_level_t));
    if (reader == NULL) {
        return NULL;
    }

    memset(reader, 0, sizeof(commerce_json_reader_t));

    commerce_json_build_init(&reader->build, limits, alloc, data,
                             (commerce_json_level_t *) (reader + 1));

    reader->build.limits.max_depth = depth;

    commerce_json_start(reader);

    return reader->yajl ? reader : NULL;
}


static void
commerce_json_start(commerce_json_reader_t *reader)
{
    yajl_alloc_funcs  memory;

    memory.malloc = commerce_json_yajl_malloc;
    memory.realloc = commerce_json_yajl_realloc;
    memory.free = commerce_json_yajl_free;
    memory.ctx = reader;

    if (setjmp(reader->no_memory) != 0) {
        return;
    }

    reader->yajl = yajl_alloc(&commerce_json_build_callbacks, &memory,
                              &reader->build);

    if (reader->yajl) {
        /* commerce_json_text_valid() is stricter, and sees keys too */
        yajl_config(reader->yajl, yajl_dont_validate_strings, 1);
    }
}


commerce_json_status_e
commerce_json_reader_feed(commerce_json_reader_t *reader,
    const unsigned char *text, size_t len)
{
    size_t  good;

    if (reader->build.status != COMMERCE_JSON_GOOD || len == 0) {
        return reader->build.status;
    }

    if (reader->finished) {
        commerce_json_stop(&reader->build, COMMERCE_JSON_MALFORMED,
                           "text behind the end");
        return reader->build.status;
    }

    if (len > reader->build.limits.max_bytes - reader->bytes) {
        commerce_json_stop(&reader->build, COMMERCE_JSON_BYTES,
                           "text is too long");
        return reader->build.status;
    }

    good = commerce_json_scan(&reader->scan, text, len);

    if (good > 0
        && commerce_json_parse(reader, text, good) != COMMERCE_JSON_GOOD)
    {
        return reader->build.status;
    }

    if (good < len) {
        snprintf(reader->words, COMMERCE_JSON_WORDS,
                 "invalid byte or escape near byte %zu", reader->bytes);

        commerce_json_stop(&reader->build, COMMERCE_JSON_MALFORMED,
                           reader->words);
    }

    return reader->build.status;
}


commerce_json_status_e
commerce_json_reader_finish(commerce_json_reader_t *reader,
    commerce_json_t **root)
{
    if (reader->build.status == COMMERCE_JSON_GOOD && !reader->finished) {
        reader->finished = 1;
        commerce_json_parse(reader, NULL, 0);
    }

    if (reader->build.status == COMMERCE_JSON_GOOD) {
        *root = reader->build.root;
    }

    return reader->build.status;
}


/*
 * yajl does not check its allocations, so ours leave it by longjmp().  NULL
 * for "text" is the end of all text.
 */

static commerce_json_status_e
commerce_json_parse(commerce_json_reader_t *reader, const unsigned char *text,
    size_t len)
{
    yajl_status  rc;

    if (setjmp(reader->no_memory) != 0) {
        commerce_json_stop(&reader->build, COMMERCE_JSON_NO_MEMORY,
                           "out of memory");
        return reader->build.status;
    }

    if (text) {
        rc = yajl_parse(reader->yajl, text, len);

    } else {
        rc = yajl_complete_parse(reader->yajl);

        /*
         * An open string behind the end of the text is no trailing garbage
         * to yajl.  A line feed is: white space elsewhere, a fault in there.
         */

        if (rc == yajl_status_ok) {
            rc = yajl_parse(reader->yajl, (const unsigned char *) "\n", 1);
        }
    }

    if (rc == yajl_status_ok) {
        reader->bytes += len;

    } else if (reader->build.status == COMMERCE_JSON_GOOD) {
        reader->bytes += text ? yajl_get_bytes_consumed(reader->yajl) : 0;
        commerce_json_describe(reader);
    }

    return reader->build.status;
}


/* Not verbose: yajl then says a fixed text without any of the input. */

static void
commerce_json_describe(commerce_json_reader_t *reader)
{
    int             len;
    unsigned char  *words;

    words = yajl_get_error(reader->yajl, 0, NULL, 0);
    len = (int) strcspn((char *) words, "\r\n");

    if (len > 0 && words[len - 1] == '.') {
        len--;
    }

    snprintf(reader->words, COMMERCE_JSON_WORDS, "%.*s near byte %zu",
             len < 120 ? len : 120, (char *) words, reader->bytes);

    yajl_free_error(reader->yajl, words);

    commerce_json_stop(&reader->build, COMMERCE_JSON_MALFORMED,
                       reader->words);
}


const char *
commerce_json_reader_error(commerce_json_reader_t *reader)
{
    return reader->build.error;
}


void
commerce_json_reader_free(commerce_json_reader_t *reader)
{
    if (reader->yajl) {
        yajl_free(reader->yajl);
        reader->yajl = NULL;
    }

    reader->finished = 1;
}


commerce_json_status_e
commerce_json_read(const commerce_json_limits_t *limits,
    commerce_json_alloc_pt alloc, void *data, const unsigned char *text,
    size_t len, commerce_json_t **root, const char **error)
{
    commerce_json_status_e   status;
    commerce_json_reader_t  *reader;

    reader = commerce_json_reader_create(limits, alloc, data);

    if (reader == NULL) {
        *error = "out of memory";
        return COMMERCE_JSON_NO_MEMORY;
    }

    (void) commerce_json_reader_feed(reader, text, len);

    status = commerce_json_reader_finish(reader, root);
    *error = reader->build.error;

    commerce_json_reader_free(reader);

    return status;
}


static void *
commerce_json_yajl_malloc(void *ctx, size_t size)
{
    commerce_json_block_t   *block;
    commerce_json_reader_t  *reader;

    reader = ctx;
    block = NULL;

    if (size <= SIZE_MAX - sizeof(commerce_json_block_t)) {
        block = reader->build.alloc(reader->build.data,
                                    sizeof(commerce_json_block_t) + size);
    }

    if (block == NULL) {
        longjmp(reader->no_memory, 1);
    }

    block->size = size;

    return block + 1;
}


static void *
commerce_json_yajl_realloc(void *ctx, void *old, size_t size)
{
    void                   *grown;
    commerce_json_block_t  *block;

    if (old == NULL) {
        return commerce_json_yajl_malloc(ctx, size);
    }

    block = (commerce_json_block_t *) old - 1;

    if (size <= block->size) {
        return old;
    }

    grown = commerce_json_yajl_malloc(ctx, size);
    memcpy(grown, old, block->size);

    return grown;
}


/* The caller's memory dies as a whole. */

static void
commerce_json_yajl_free(void *ctx, void *block)
{
    (void) ctx;
    (void) block;
}
