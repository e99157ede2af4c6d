#include <string.h>

#include "commerce_json_text.h"
#include "commerce_json_writer.h"
#include "commerce_time.h"
#include "commerce_uuid.h"


#define COMMERCE_JSON_WRITER_MIN  64

/* -9223372036854775808 */
#define COMMERCE_JSON_DIGITS      20

/* U+FFFD, what a byte that is no UTF-8 turns into */
#define COMMERCE_JSON_REPLACEMENT "\xef\xbf\xbd"


static unsigned char *commerce_json_reserve(commerce_json_writer_t *w,
    size_t size);
static int commerce_json_grow(commerce_json_writer_t *w, size_t size);
static unsigned char *commerce_json_item(commerce_json_writer_t *w,
    size_t size);
static void commerce_json_open(commerce_json_writer_t *w, unsigned char c);
static void commerce_json_close(commerce_json_writer_t *w, unsigned char c);
static void commerce_json_quote(commerce_json_writer_t *w,
    const unsigned char *text, size_t len);
static const unsigned char *commerce_json_escape(commerce_json_writer_t *w,
    const unsigned char *p, const unsigned char *end);


static const char  commerce_json_hex_digits[] = "0123456789abcdef";


void
commerce_json_writer_init(commerce_json_writer_t *w, size_t size,
    commerce_json_alloc_pt alloc, void *data)
{
    w->start = NULL;
    w->last = NULL;
    w->end = NULL;
    w->alloc = alloc;
    w->data = data;
    w->comma = 0;
    w->failed = 0;

    (void) commerce_json_grow(w, size);
}


/* Room for "size" bytes at w->last, or NULL. */

static unsigned char *
commerce_json_reserve(commerce_json_writer_t *w, size_t size)
{
    if (size > (size_t) (w->end - w->last)
        && commerce_json_grow(w, size) != COMMERCE_OK)
    {
        return NULL;
    }

    return w->last;
}


static int
commerce_json_grow(commerce_json_writer_t *w, size_t size)
{
    size_t          used, room;
    unsigned char  *start;

    if (w->failed) {
        return COMMERCE_ERROR;
    }

    used = (size_t) (w->last - w->start);
    room = (size_t) (w->end - w->start);

    if (size > SIZE_MAX / 4 - used) {
        w->failed = 1;
        return COMMERCE_ERROR;
    }

    if (room == 0) {
        room = size > COMMERCE_JSON_WRITER_MIN ? size
                                               : COMMERCE_JSON_WRITER_MIN;
    }

    while (room < used + size) {
        room *= 2;
    }

    start = w->alloc(w->data, room);

    if (start == NULL) {
        w->failed = 1;
        return COMMERCE_ERROR;
    }

    if (used) {
        memcpy(start, w->start, used);
    }

    w->start = start;
    w->last = start + used;
    w->end = start + room;

    return COMMERCE_OK;
}


/* The comma of a value or key, and room for "size" bytes of it. */

static unsigned char *
commerce_json_item(commerce_json_writer_t *w, size_t size)
{
    unsigned char  *p;

    p = commerce_json_reserve(w, size + 1);

    if (p == NULL) {
        return NULL;
    }

    if (w->comma) {
        *p++ = ',';
        w->last = p;
    }

    w->comma = 1;

    return p;
}


void
commerce_json_object_open(commerce_json_writer_t *w)
{
    commerce_json_open(w, '{');
}


void
commerce_json_object_close(commerce_json_writer_t *w)
{
    commerce_json_close(w, '}');
}


void
commerce_json_array_open(commerce_json_writer_t *w)
{
    commerce_json_open(w, '[');
}


void
commerce_json_array_close(commerce_json_writer_t *w)
{
    commerce_json_close(w, ']');
}


static void
commerce_json_open(commerce_json_writer_t *w, unsigned char c)
{
    unsigned char  *p;

    p = commerce_json_item(w, 1);

    if (p) {
        *p++ = c;
        w->last = p;
        w->comma = 0;
    }
}


static void
commerce_json_close(commerce_json_writer_t *w, unsigned char c)
{
    unsigned char  *p;

    p = commerce_json_reserve(w, 1);

    if (p) {
        *p++ = c;
        w->last = p;
        w->comma = 1;
    }
}


void
commerce_json_key(commerce_json_writer_t *w, const char *name)
{
    size_t          len;
    unsigned char  *p;

    len = strlen(name);
    p = commerce_json_item(w, len + 3);

    if (p) {
        *p++ = '"';
        memcpy(p, name, len);
        p += len;
        *p++ = '"';
        *p++ = ':';

        w->last = p;
        w->comma = 0;
    }
}


void
commerce_json_key_str(commerce_json_writer_t *w, const unsigned char *text,
    size_t len)
{
    commerce_json_quote(w, text, len);
    commerce_json_bytes(w, ":", 1);

    w->comma = 0;
}


void
commerce_json_string(commerce_json_writer_t *w, const unsigned char *text,
    size_t len)
{
    commerce_json_quote(w, text, len);
}


void
commerce_json_cstring(commerce_json_writer_t *w, const char *text)
{
    commerce_json_quote(w, (const unsigned char *) text, strlen(text));
}


static void
commerce_json_quote(commerce_json_writer_t *w, const unsigned char *text,
    size_t len)
{
    unsigned char        *p;
    const unsigned char  *end, *run;

    if (len > SIZE_MAX / 4) {
        w->failed = 1;
        return;
    }

    /* enough for most strings: few have anything to escape */
    p = commerce_json_item(w, len + 2);

    if (p == NULL) {
        return;
    }

    *p++ = '"';
    w->last = p;

    end = len ? text + len : text;      /* NULL is the empty text too */

    while (text < end) {

        run = text;

        while (text < end && *text >= 0x20 && *text < 0x80
               && *text != '"' && *text != '\\')
        {
            text++;
        }

        if (text > run) {
            commerce_json_bytes(w, run, (size_t) (text - run));
        }

        if (text < end) {
            text = commerce_json_escape(w, text, end);
        }
    }

    commerce_json_bytes(w, "\"", 1);
}


static const unsigned char *
commerce_json_escape(commerce_json_writer_t *w, const unsigned char *p,
    const unsigned char *end)
{
    size_t  len;
    char    text[6];

    if (*p >= 0x80) {
        len = commerce_json_sequence(p, end);

        if (len) {
            commerce_json_bytes(w, p, len);
            return p + len;
        }

        commerce_json_bytes(w, COMMERCE_JSON_REPLACEMENT, 3);
        return p + 1;
    }

    text[0] = '\\';
    len = 2;

    switch (*p) {

    case '"':
    case '\\':
        text[1] = (char) *p;
        break;

    case '\b':
        text[1] = 'b';
        break;

    case '\f':
        text[1] = 'f';
        break;

    case '\n':
        text[1] = 'n';
        break;

    case '\r':
        text[1] = 'r';
        break;

    case '\t':
        text[1] = 't';
        break;

    default:
        text[1] = 'u';
        text[2] = '0';
        text[3] = '0';
        text[4] = commerce_json_hex_digits[*p >> 4];
        text[5] = commerce_json_hex_digits[*p & 0x0f];
        len = 6;
    }

    commerce_json_bytes(w, text, len);

    return p + 1;
}


void
commerce_json_integer(commerce_json_writer_t *w, int64_t value)
{
    size_t          len;
    uint64_t        rest;
    unsigned char  *p, *digit, digits[COMMERCE_JSON_DIGITS];

    rest = value < 0 ? 0 - (uint64_t) value : (uint64_t) value;
    digit = digits + sizeof(digits);

    do {
        *--digit = (unsigned char) ('0' + rest % 10);
        rest /= 10;
    } while (rest);

    if (value < 0) {
        *--digit = '-';
    }

    len = (size_t) (digits + sizeof(digits) - digit);
    p = commerce_json_item(w, len);

    if (p) {
        memcpy(p, digit, len);
        w->last = p + len;
    }
}


void
commerce_json_boolean(commerce_json_writer_t *w, int value)
{
    if (value) {
        commerce_json_raw(w, (const unsigned char *) "true", 4);

    } else {
        commerce_json_raw(w, (const unsigned char *) "false", 5);
    }
}


void
commerce_json_null(commerce_json_writer_t *w)
{
    commerce_json_raw(w, (const unsigned char *) "null", 4);
}


void
commerce_json_uuid(commerce_json_writer_t *w, const commerce_uuid_t *id)
{
    unsigned char  *p;

    p = commerce_json_item(w, COMMERCE_UUID_TEXT + 2);

    if (p) {
        *p++ = '"';
        p = commerce_uuid_format(p, id);
        *p++ = '"';
        w->last = p;
    }
}


void
commerce_json_time(commerce_json_writer_t *w, int64_t pg_usec)
{
    unsigned char  *p;

    p = commerce_json_item(w, COMMERCE_TIME_TEXT + 2);

    if (p) {
        *p++ = '"';
        p = commerce_time_format(p, pg_usec);
        *p++ = '"';
        w->last = p;
    }
}


void
commerce_json_raw(commerce_json_writer_t *w, const unsigned char *text,
    size_t len)
{
    unsigned char  *p;

    if (len == 0) {
        /* an empty column: no text would break what stands around it */
        commerce_json_null(w);
        return;
    }

    if (len > SIZE_MAX / 4) {
        w->failed = 1;
        return;
    }

    p = commerce_json_item(w, len);

    if (p) {
        memcpy(p, text, len);
        w->last = p + len;
    }
}


/* Recursive: the reader allows COMMERCE_JSON_DEPTH_MAX levels at most. */

void
commerce_json_tree(commerce_json_writer_t *w, const commerce_json_t *v)
{
    const commerce_json_t  *member;

    switch (v->type) {

    case COMMERCE_JSON_NULL:
        commerce_json_null(w);
        break;

    case COMMERCE_JSON_BOOLEAN:
        commerce_json_boolean(w, v->integer != 0);
        break;

    case COMMERCE_JSON_INTEGER:
        commerce_json_integer(w, v->integer);
        break;

    case COMMERCE_JSON_NUMBER:
        commerce_json_raw(w, v->string.data, v->string.len);
        break;

    case COMMERCE_JSON_STRING:
        commerce_json_string(w, v->string.data, v->string.len);
        break;

    case COMMERCE_JSON_ARRAY:
        commerce_json_array_open(w);

        for (member = v->child; member; member = member->next) {
            commerce_json_tree(w, member);
        }

        commerce_json_array_close(w);
        break;

    case COMMERCE_JSON_OBJECT:
        commerce_json_object_open(w);

        for (member = v->child; member; member = member->next) {
            commerce_json_key_str(w, member->key.data, member->key.len);
            commerce_json_tree(w, member);
        }

        commerce_json_object_close(w);
        break;
    }
}


void
commerce_json_bytes(commerce_json_writer_t *w, const void *bytes, size_t len)
{
    unsigned char  *p;

    if (len == 0) {
        return;
    }

    p = commerce_json_reserve(w, len);

    if (p) {
        memcpy(p, bytes, len);
        w->last = p + len;
    }
}
