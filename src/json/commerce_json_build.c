#include <stdlib.h>
#include <string.h>

#include "commerce_json_build.h"
#include "commerce_json_text.h"


/* Objects up to this size are compared pair by pair, larger ones sorted. */
#define COMMERCE_JSON_PAIRS  16


static int commerce_json_on_null(void *ctx);
static int commerce_json_on_boolean(void *ctx, int value);
static int commerce_json_on_number(void *ctx, const char *text, size_t len);
static int commerce_json_on_string(void *ctx, const unsigned char *text,
    size_t len);
static int commerce_json_on_key(void *ctx, const unsigned char *text,
    size_t len);
static int commerce_json_on_object(void *ctx);
static int commerce_json_on_object_end(void *ctx);
static int commerce_json_on_array(void *ctx);
static int commerce_json_on_array_end(void *ctx);

static int commerce_json_text(commerce_json_build_t *build,
    const unsigned char *text, size_t len);
static commerce_json_t *commerce_json_value(commerce_json_build_t *build,
    commerce_json_type_e type, const void *text, size_t len);
static commerce_json_t *commerce_json_node(commerce_json_build_t *build,
    size_t extra);
static int commerce_json_open(commerce_json_build_t *build,
    commerce_json_type_e type);
static int commerce_json_unique(commerce_json_build_t *build,
    const commerce_json_t *object);
static int commerce_json_unique_sorted(commerce_json_build_t *build,
    const commerce_json_t *object);
static int commerce_json_compare(const void *one, const void *two);


const yajl_callbacks  commerce_json_build_callbacks = {
    commerce_json_on_null,
    commerce_json_on_boolean,
    NULL,                           /* integer: number is used instead */
    NULL,                           /* double: likewise */
    commerce_json_on_number,
    commerce_json_on_string,
    commerce_json_on_object,
    commerce_json_on_key,
    commerce_json_on_object_end,
    commerce_json_on_array,
    commerce_json_on_array_end
};


void
commerce_json_build_init(commerce_json_build_t *build,
    const commerce_json_limits_t *limits, commerce_json_alloc_pt alloc,
    void *data, commerce_json_level_t *levels)
{
    build->limits = *limits;
    build->alloc = alloc;
    build->data = data;

    build->values = 0;
    build->depth = 0;
    build->levels = levels;
    build->member = NULL;
    build->root = NULL;

    build->status = COMMERCE_JSON_GOOD;
    build->error = "";

    levels[0].node = NULL;
    levels[0].tail = &build->root;
}


int
commerce_json_stop(commerce_json_build_t *build,
    commerce_json_status_e status, const char *error)
{
    build->status = status;
    build->error = error;

    return 0;
}


static int
commerce_json_on_null(void *ctx)
{
    return commerce_json_value(ctx, COMMERCE_JSON_NULL, NULL, 0) != NULL;
}


static int
commerce_json_on_boolean(void *ctx, int value)
{
    commerce_json_t  *node;

    node = commerce_json_value(ctx, COMMERCE_JSON_BOOLEAN, NULL, 0);

    if (node == NULL) {
        return 0;
    }

    node->integer = value != 0;

    return 1;
}


static int
commerce_json_on_number(void *ctx, const char *text, size_t len)
{
    int64_t                 value;
    commerce_json_t        *node;
    commerce_json_build_t  *build;

    build = ctx;

    if (commerce_json_integer_parse(&value, (const unsigned char *) text,
                                    len))
    {
        node = commerce_json_value(build, COMMERCE_JSON_INTEGER, NULL, 0);

        if (node == NULL) {
            return 0;
        }

        node->integer = value;

        return 1;
    }

    if (len > build->limits.max_string) {
        return commerce_json_stop(build, COMMERCE_JSON_LIMIT,
                                  "a number is too long");
    }

    return commerce_json_value(build, COMMERCE_JSON_NUMBER, text, len)
           != NULL;
}


static int
commerce_json_on_string(void *ctx, const unsigned char *text, size_t len)
{
    commerce_json_build_t  *build;

    build = ctx;

    if (!commerce_json_text(build, text, len)) {
        return 0;
    }

    return commerce_json_value(build, COMMERCE_JSON_STRING, text, len)
           != NULL;
}


static int
commerce_json_on_key(void *ctx, const unsigned char *text, size_t len)
{
    commerce_json_t        *node;
    commerce_json_build_t  *build;

    build = ctx;

    if (!commerce_json_text(build, text, len)) {
        return 0;
    }

    node = commerce_json_node(build, len);

    if (node == NULL) {
        return 0;
    }

    node->key.len = len;
    node->key.data = (unsigned char *) (node + 1);
    memcpy(node->key.data, text, len);

    build->member = node;

    return 1;
}


static int
commerce_json_on_object(void *ctx)
{
    return commerce_json_open(ctx, COMMERCE_JSON_OBJECT);
}


static int
commerce_json_on_object_end(void *ctx)
{
    commerce_json_build_t  *build;

    build = ctx;

    if (!commerce_json_unique(build, build->levels[build->depth].node)) {
        return 0;
    }

    build->depth--;

    return 1;
}


static int
commerce_json_on_array(void *ctx)
{
    return commerce_json_open(ctx, COMMERCE_JSON_ARRAY);
}


static int
commerce_json_on_array_end(void *ctx)
{
    commerce_json_build_t  *build;

    build = ctx;
    build->depth--;

    return 1;
}


static int
commerce_json_text(commerce_json_build_t *build, const unsigned char *text,
    size_t len)
{
    if (len > build->limits.max_string) {
        return commerce_json_stop(build, COMMERCE_JSON_LIMIT,
                                  "a string is too long");
    }

    if (!commerce_json_text_valid(text, len)) {
        return commerce_json_stop(build, COMMERCE_JSON_MALFORMED,
                                  "a string has a NUL or is not UTF-8");
    }

    return 1;
}


static commerce_json_t *
commerce_json_value(commerce_json_build_t *build, commerce_json_type_e type,
    const void *text, size_t len)
{
    unsigned char          *copy;
    commerce_json_t        *node;
    commerce_json_level_t  *level;

    node = build->member;
    build->member = NULL;

    if (node == NULL) {
        node = commerce_json_node(build, len);

        if (node == NULL) {
            return NULL;
        }

        copy = (unsigned char *) (node + 1);

    } else if (len == 0) {
        copy = node->key.data;

    } else {
        copy = build->alloc(build->data, len);

        if (copy == NULL) {
            commerce_json_stop(build, COMMERCE_JSON_NO_MEMORY,
                               "out of memory");
            return NULL;
        }
    }

    node->type = type;

    if (text) {
        memcpy(copy, text, len);
        node->string.data = copy;
        node->string.len = len;
    }

    level = &build->levels[build->depth];

    *level->tail = node;
    level->tail = &node->next;

    if (level->node) {
        level->node->count++;
    }

    return node;
}


/* "extra" bytes behind the node save an allocation for its text. */

static commerce_json_t *
commerce_json_node(commerce_json_build_t *build, size_t extra)
{
    commerce_json_t  *node;

    if (build->values >= build->limits.max_values) {
        commerce_json_stop(build, COMMERCE_JSON_LIMIT, "too many values");
        return NULL;
    }

    node = build->alloc(build->data, sizeof(commerce_json_t) + extra);

    if (node == NULL) {
        commerce_json_stop(build, COMMERCE_JSON_NO_MEMORY, "out of memory");
        return NULL;
    }

    memset(node, 0, sizeof(commerce_json_t));

    build->values++;

    return node;
}


static int
commerce_json_open(commerce_json_build_t *build, commerce_json_type_e type)
{
    commerce_json_t        *node;
    commerce_json_level_t  *level;

    if (build->depth >= build->limits.max_depth) {
        return commerce_json_stop(build, COMMERCE_JSON_LIMIT,
                                  "arrays and objects are nested too deep");
    }

    node = commerce_json_value(build, type, NULL, 0);

    if (node == NULL) {
        return 0;
    }

    level = &build->levels[++build->depth];

    level->node = node;
    level->tail = &node->child;

    return 1;
}


static int
commerce_json_unique(commerce_json_build_t *build,
    const commerce_json_t *object)
{
    const commerce_json_t  *a, *b;

    if (object->count > COMMERCE_JSON_PAIRS) {
        return commerce_json_unique_sorted(build, object);
    }

    for (a = object->child; a; a = a->next) {
        for (b = a->next; b; b = b->next) {

            if (a->key.len == b->key.len
                && memcmp(a->key.data, b->key.data, a->key.len) == 0)
            {
                return commerce_json_stop(build, COMMERCE_JSON_MALFORMED,
                                          "an object has a key twice");
            }
        }
    }

    return 1;
}


/* No hashing: there is no set of keys that makes sorting slow. */

static int
commerce_json_unique_sorted(commerce_json_build_t *build,
    const commerce_json_t *object)
{
    size_t                  i;
    const commerce_json_t  *node, **nodes;

    nodes = build->alloc(build->data, object->count * sizeof(*nodes));

    if (nodes == NULL) {
        return commerce_json_stop(build, COMMERCE_JSON_NO_MEMORY,
                                  "out of memory");
    }

    i = 0;

    for (node = object->child; node; node = node->next) {
        nodes[i++] = node;
    }

    qsort(nodes, i, sizeof(*nodes), commerce_json_compare);

    while (i-- > 1) {
        if (commerce_json_compare(&nodes[i - 1], &nodes[i]) == 0) {
            return commerce_json_stop(build, COMMERCE_JSON_MALFORMED,
                                      "an object has a key twice");
        }
    }

    return 1;
}


static int
commerce_json_compare(const void *one, const void *two)
{
    const commerce_str_t  *a, *b;

    a = &(*(const commerce_json_t *const *) one)->key;
    b = &(*(const commerce_json_t *const *) two)->key;

    if (a->len != b->len) {
        return a->len < b->len ? -1 : 1;
    }

    return memcmp(a->data, b->data, a->len);
}
