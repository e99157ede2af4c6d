/*
 * JSON text into a small tree, and the tree into C structs by tables.
 *
 * The reader sits on yajl's SAX interface (yajl_tree leaks on malformed
 * input), takes the text in any chunks and enforces its limits while it reads.
 * All memory comes from the caller's allocator, so it dies with the caller's
 * pool.  Numbers must be integers that fit int64_t: money and quantities have
 * no fraction.  Strings are valid UTF-8 without NUL, not zero-terminated.
 */

#ifndef COMMERCE_JSON_READER_H
#define COMMERCE_JSON_READER_H

#include "commerce_types.h"


typedef enum {
    COMMERCE_JSON_NULL = 0,
    COMMERCE_JSON_BOOLEAN,
    COMMERCE_JSON_INTEGER,
    COMMERCE_JSON_NUMBER,       /* fraction, exponent or out of int64 range */
    COMMERCE_JSON_STRING,
    COMMERCE_JSON_ARRAY,
    COMMERCE_JSON_OBJECT
} commerce_json_type_e;


typedef struct commerce_json_s  commerce_json_t;

struct commerce_json_s {
    commerce_json_type_e  type;
    commerce_str_t        key;      /* name within its object, else empty */
    commerce_str_t        string;   /* text of a string, digits of a NUMBER */
    int64_t               integer;  /* value of an integer or boolean */
    size_t                count;    /* members of an array or object */
    commerce_json_t      *child;    /* first member */
    commerce_json_t      *next;     /* next member of the same parent */
};


/* Zeroed memory is not needed.  NULL means out of memory. */
typedef void *(*commerce_json_alloc_pt)(void *data, size_t size);


/* A larger max_depth counts as this one: trees are written recursively. */
#define COMMERCE_JSON_DEPTH_MAX  512

typedef struct {
    size_t      max_bytes;      /* of the whole text */
    size_t      max_depth;      /* arrays and objects inside each other */
    size_t      max_values;     /* nodes of the tree */
    size_t      max_string;     /* bytes of one string or key */
} commerce_json_limits_t;


typedef enum {
    COMMERCE_JSON_GOOD = 0,
    COMMERCE_JSON_MALFORMED,    /* not JSON, not UTF-8, duplicate key, NUL */
    COMMERCE_JSON_LIMIT,        /* a limit above, but max_bytes */
    COMMERCE_JSON_BYTES,        /* more than max_bytes */
    COMMERCE_JSON_NO_MEMORY
} commerce_json_status_e;


typedef struct commerce_json_reader_s  commerce_json_reader_t;

/*
 * NULL when out of memory.  The reader must be ended with
 * commerce_json_reader_free(); the tree, the reader and its error stay in the
 * caller's memory, which has to be aligned as malloc()'s or ngx_palloc()'s is.
 */
commerce_json_reader_t *commerce_json_reader_create(
    const commerce_json_limits_t *limits, commerce_json_alloc_pt alloc,
    void *data);

/* Anything but COMMERCE_JSON_GOOD is final. */
commerce_json_status_e commerce_json_reader_feed(
    commerce_json_reader_t *reader, const unsigned char *text, size_t len);

/* *root is set only with COMMERCE_JSON_GOOD. */
commerce_json_status_e commerce_json_reader_finish(
    commerce_json_reader_t *reader, commerce_json_t **root);

/* What was wrong, in words for a client; never NULL, never the input. */
const char *commerce_json_reader_error(commerce_json_reader_t *reader);

void commerce_json_reader_free(commerce_json_reader_t *reader);


/* The whole of one text at once: create, feed, finish, free. */
commerce_json_status_e commerce_json_read(const commerce_json_limits_t *limits,
    commerce_json_alloc_pt alloc, void *data, const unsigned char *text,
    size_t len, commerce_json_t **root, const char **error);


/* NULL when there is none of that name. */
commerce_json_t *commerce_json_member(const commerce_json_t *object,
    const char *name);


/*
 * Binding: a table says which members an object may have and where their
 * values go.  Errors are gathered, so that a client sees all of them at once.
 */

#define COMMERCE_JSON_ERRORS_MAX  16

typedef struct {
    commerce_str_t  pointer;    /* RFC 6901, e.g. /lines/3/quantity */
    const char     *code;       /* required, unknown_member, wrong_type, ... */
    const char     *message;
} commerce_json_error_t;


typedef struct {
    size_t                  n;          /* entries used */
    commerce_json_error_t   errors[COMMERCE_JSON_ERRORS_MAX];
    commerce_json_alloc_pt  alloc;
    void                   *data;
    unsigned                failed:1;   /* out of memory while noting */
} commerce_json_errors_t;


#define COMMERCE_JSON_REQUIRED  0x01
#define COMMERCE_JSON_NULLABLE  0x02    /* null counts as absent */

/*
 * What "offset" names in the struct:
 *   INTEGER  int64_t                 min..max
 *   STRING   commerce_str_t          min..max bytes; printable (no C0/C1
 *                                    controls) unless COMMERCE_JSON_TEXT
 *   BOOLEAN  int  (0 or 1; preset it to the default)
 *   ARRAY, OBJECT  commerce_json_t * min..max members; bound by the caller
 * An absent optional member leaves the struct as it is.
 */
#define COMMERCE_JSON_TEXT      0x04    /* tab and newline allowed */

typedef struct {
    const char            *name;
    commerce_json_type_e   type;
    unsigned               flags;
    size_t                 offset;
    int64_t                min;
    int64_t                max;
} commerce_json_field_t;


void commerce_json_errors_init(commerce_json_errors_t *errors,
    commerce_json_alloc_pt alloc, void *data);

/*
 * "fields" ends with a NULL name.  "path" is the pointer of "object" ("" for
 * the root).  Returns COMMERCE_OK when nothing was added to *errors.
 */
int commerce_json_bind(const commerce_json_t *object,
    const commerce_json_field_t *fields, void *target, const char *path,
    commerce_json_errors_t *errors);

/*
 * Adds one error.  The name is escaped (RFC 6901) and joined to the path with
 * "/"; NULL for the name points at the path itself.
 */
void commerce_json_error_add(commerce_json_errors_t *errors, const char *path,
    const commerce_str_t *name, const char *code, const char *message);

/*
 * path + "/" + name + "/" + index (NULL for the name: path + "/" + index), in
 * the errors' memory; "" when out of memory.
 */
const char *commerce_json_path(commerce_json_errors_t *errors,
    const char *path, const char *name, size_t index);


#endif
