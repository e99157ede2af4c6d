/*
 * The tree of a text, built from yajl's events: the half of the reader that
 * knows limits and nodes, where the other half knows yajl and bytes.
 */

#ifndef COMMERCE_JSON_BUILD_H
#define COMMERCE_JSON_BUILD_H

#include <yajl/yajl_parse.h>

#include "commerce_json_reader.h"


typedef struct {
    commerce_json_t         *node;      /* an open array or object */
    commerce_json_t        **tail;      /* where its next member goes */
} commerce_json_level_t;


typedef struct {
    commerce_json_limits_t   limits;
    commerce_json_alloc_pt   alloc;
    void                    *data;

    size_t                   values;
    size_t                   depth;
    commerce_json_level_t   *levels;    /* [depth]: the innermost open one */
    commerce_json_t         *member;    /* has its key, waits for a value */
    commerce_json_t         *root;

    commerce_json_status_e   status;
    const char              *error;
} commerce_json_build_t;


/* Their context is a commerce_json_build_t. */
extern const yajl_callbacks  commerce_json_build_callbacks;


/* "levels" has room for limits->max_depth + 1. */
void commerce_json_build_init(commerce_json_build_t *build,
    const commerce_json_limits_t *limits, commerce_json_alloc_pt alloc,
    void *data, commerce_json_level_t *levels);

/* Remembers why it ended; always 0, with which a callback stops yajl. */
int commerce_json_stop(commerce_json_build_t *build,
    commerce_json_status_e status, const char *error);


#endif
