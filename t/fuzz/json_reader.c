/*
 * Fuzz target of src/json.  The first byte is the size of the chunks (0: all
 * at once), the rest is the text.  What has to hold for every text:
 *
 *   - it is taken when it is JSON, as a second and simpler parser sees it
 *   - it has the same outcome in chunks and as a whole
 *   - a good one, written and read again, is the same tree and the same text
 *   - the errors of binding it can be written as JSON
 *
 * Built with libFuzzer, or with -DREPLAY_MAIN as a program that runs the files
 * of its command line.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commerce_json_reader.h"
#include "commerce_json_writer.h"
#include "json_grammar.h"


#define FUZZ_BLOCKS  20000

#define fuzz_check(what)                                                     \
    if (!(what)) {                                                           \
        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);           \
        abort();                                                             \
    }


typedef struct {
    void    *blocks[FUZZ_BLOCKS];
    size_t   n;
} fuzz_memory_t;


typedef struct {
    int64_t           expected_total;
    commerce_str_t    currency;
    commerce_str_t    note;
    int               gift;
    commerce_json_t  *lines;
    commerce_json_t  *shipping;
} fuzz_order_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *fuzz_alloc(void *data, size_t size);
static commerce_json_status_e fuzz_read(const uint8_t *text, size_t len,
    size_t chunk, commerce_json_t **root);
static void fuzz_write(const commerce_json_t *root, commerce_str_t *text);
static int fuzz_same(const commerce_json_t *a, const commerce_json_t *b);
static int fuzz_same_text(const commerce_str_t *a, const commerce_str_t *b);
static void fuzz_bind(const commerce_json_t *root);


static fuzz_memory_t  fuzz_memory;
static char           fuzz_error[256];

static const commerce_json_limits_t  fuzz_limits = { 65536, 12, 2000, 2048 };

static const commerce_json_field_t  fuzz_fields[] = {
    { "currency", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(fuzz_order_t, currency), 3, 3 },
    { "lines", COMMERCE_JSON_ARRAY, COMMERCE_JSON_REQUIRED,
      offsetof(fuzz_order_t, lines), 1, 100 },
    { "note", COMMERCE_JSON_STRING, COMMERCE_JSON_TEXT,
      offsetof(fuzz_order_t, note), 0, 1000 },
    { "gift", COMMERCE_JSON_BOOLEAN, 0,
      offsetof(fuzz_order_t, gift), 0, 0 },
    { "shipping", COMMERCE_JSON_OBJECT, COMMERCE_JSON_NULLABLE,
      offsetof(fuzz_order_t, shipping), 0, 10 },
    { "expected_total", COMMERCE_JSON_INTEGER, 0,
      offsetof(fuzz_order_t, expected_total), 0, COMMERCE_MONEY_MAX },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                  chunk;
    commerce_str_t          text, again;
    commerce_json_t        *whole, *parts, *copy;
    commerce_json_status_e  status;

    if (size == 0) {
        return 0;
    }

    chunk = data[0];
    data++;
    size--;

    status = fuzz_read(data, size, 0, &whole);

    if (status == COMMERCE_JSON_GOOD) {
        fuzz_check(fuzz_is_json(data, size));

    } else if (status == COMMERCE_JSON_MALFORMED) {
        fuzz_check(strstr(fuzz_error, "twice") || !fuzz_is_json(data, size));
    }

    if (chunk && size <= fuzz_limits.max_bytes) {
        fuzz_check(fuzz_read(data, size, chunk, &parts) == status);

        if (status == COMMERCE_JSON_GOOD) {
            fuzz_check(fuzz_same(whole, parts));
        }
    }

    if (status == COMMERCE_JSON_GOOD) {
        fuzz_write(whole, &text);

        /* an escape of a control may make it longer than it was */
        if (text.len <= fuzz_limits.max_bytes) {
            fuzz_check(fuzz_read(text.data, text.len, chunk, &copy)
                       == COMMERCE_JSON_GOOD);
            fuzz_check(fuzz_same(whole, copy));

            fuzz_write(copy, &again);
            fuzz_check(fuzz_same_text(&text, &again));
        }

        fuzz_bind(whole);
    }

    while (fuzz_memory.n) {
        free(fuzz_memory.blocks[--fuzz_memory.n]);
    }

    return 0;
}


static void *
fuzz_alloc(void *data, size_t size)
{
    void           *block;
    fuzz_memory_t  *memory;

    memory = data;

    if (memory->n == FUZZ_BLOCKS) {
        abort();
    }

    block = malloc(size);

    if (block == NULL) {
        abort();
    }

    memset(block, 0xa5, size);
    memory->blocks[memory->n++] = block;

    return block;
}


static commerce_json_status_e
fuzz_read(const uint8_t *text, size_t len, size_t chunk,
    commerce_json_t **root)
{
    size_t                   n;
    uint8_t                 *copy;
    commerce_json_status_e   status;
    commerce_json_reader_t  *reader;

    reader = commerce_json_reader_create(&fuzz_limits, fuzz_alloc,
                                         &fuzz_memory);
    fuzz_check(reader != NULL);

    while (len) {
        n = chunk == 0 || chunk > len ? len : chunk;

        /* a block of its own: a byte too far is seen, an old one too */
        copy = malloc(n);
        fuzz_check(copy != NULL);
        memcpy(copy, text, n);

        commerce_json_reader_feed(reader, copy, n);

        free(copy);
        text += n;
        len -= n;
    }

    *root = NULL;
    status = commerce_json_reader_finish(reader, root);

    fuzz_check((*root != NULL) == (status == COMMERCE_JSON_GOOD));
    fuzz_check(status != COMMERCE_JSON_NO_MEMORY);
    fuzz_check((commerce_json_reader_error(reader)[0] == '\0')
               == (status == COMMERCE_JSON_GOOD));

    snprintf(fuzz_error, sizeof(fuzz_error), "%s",
             commerce_json_reader_error(reader));

    commerce_json_reader_free(reader);

    return status;
}


static void
fuzz_write(const commerce_json_t *root, commerce_str_t *text)
{
    commerce_json_writer_t  w;

    commerce_json_writer_init(&w, 1, fuzz_alloc, &fuzz_memory);
    commerce_json_tree(&w, root);

    fuzz_check(!w.failed);

    text->data = w.start;
    text->len = (size_t) (w.last - w.start);
}


static int
fuzz_same(const commerce_json_t *a, const commerce_json_t *b)
{
    size_t                  n;
    const commerce_json_t  *child;

    if (a->type != b->type || a->integer != b->integer
        || a->count != b->count || !fuzz_same_text(&a->key, &b->key)
        || !fuzz_same_text(&a->string, &b->string))
    {
        return 0;
    }

    n = a->count;

    for (a = a->child, child = b->child; a && child;
         a = a->next, child = child->next)
    {
        if (!fuzz_same(a, child)) {
            return 0;
        }

        n--;
    }

    return a == NULL && child == NULL && n == 0;
}


static int
fuzz_same_text(const commerce_str_t *a, const commerce_str_t *b)
{
    return a->len == b->len
           && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}


static void
fuzz_bind(const commerce_json_t *root)
{
    int                     rc;
    size_t                  i;
    fuzz_order_t            order;
    const char             *error;
    commerce_json_t        *list;
    commerce_json_error_t  *e;
    commerce_json_errors_t  errors;
    commerce_json_limits_t  limits;
    commerce_json_writer_t  w;

    commerce_json_errors_init(&errors, fuzz_alloc, &fuzz_memory);
    memset(&order, 0, sizeof(order));

    rc = commerce_json_bind(root, fuzz_fields, &order, "", &errors);

    fuzz_check((rc == COMMERCE_OK) == (errors.n == 0));
    fuzz_check(!errors.failed);

    if (rc == COMMERCE_OK) {
        fuzz_check(order.currency.len == 3);
        fuzz_check(order.lines->count >= 1 && order.lines->count <= 100);
        fuzz_check(order.expected_total >= 0);
    }

    commerce_json_writer_init(&w, 64, fuzz_alloc, &fuzz_memory);
    commerce_json_array_open(&w);

    for (i = 0; i < errors.n; i++) {
        e = &errors.errors[i];
        fuzz_check(e->pointer.len == 0 || e->pointer.data[0] == '/');

        commerce_json_object_open(&w);
        commerce_json_key(&w, "pointer");
        commerce_json_string(&w, e->pointer.data, e->pointer.len);
        commerce_json_key(&w, "code");
        commerce_json_cstring(&w, e->code);
        commerce_json_object_close(&w);
    }

    commerce_json_array_close(&w);
    fuzz_check(!w.failed);

    limits = fuzz_limits;
    limits.max_bytes = 1024 * 1024;
    limits.max_string = 65536;

    fuzz_check(commerce_json_read(&limits, fuzz_alloc, &fuzz_memory, w.start,
                                  (size_t) (w.last - w.start), &list, &error)
               == COMMERCE_JSON_GOOD);
    fuzz_check(list->count == errors.n);
}


#ifdef REPLAY_MAIN

int
main(int argc, char **argv)
{
    int              i;
    FILE            *file;
    size_t           len;
    unsigned char   *data;
    static uint8_t   buffer[1024 * 1024];

    for (i = 1; i < argc; i++) {
        file = fopen(argv[i], "rb");

        if (file == NULL) {
            perror(argv[i]);
            return 1;
        }

        len = fread(buffer, 1, sizeof(buffer), file);
        fclose(file);

        data = malloc(len ? len : 1);

        if (data == NULL) {
            return 1;
        }

        memcpy(data, buffer, len);
        LLVMFuzzerTestOneInput(data, len);
        free(data);

        printf("ok %d - %s\n", i, argv[i]);
        fflush(stdout);
    }

    printf("1..%d\n", argc - 1);

    return 0;
}

#endif
