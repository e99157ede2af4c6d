#include <stdlib.h>
#include <string.h>

#include "json_grammar.h"


typedef struct {
    const uint8_t  *next;
    const uint8_t  *end;
} fuzz_text_t;


static int fuzz_value(fuzz_text_t *t);
static int fuzz_members(fuzz_text_t *t, int close);
static int fuzz_number(fuzz_text_t *t);
static int fuzz_digits(fuzz_text_t *t);
static int fuzz_string(fuzz_text_t *t);
static int fuzz_escape(fuzz_text_t *t);
static long fuzz_hex(fuzz_text_t *t);
static int fuzz_sequence(fuzz_text_t *t);
static int fuzz_next(fuzz_text_t *t);
static int fuzz_take(fuzz_text_t *t, const char *text);
static void fuzz_blanks(fuzz_text_t *t);


int
fuzz_is_json(const uint8_t *text, size_t len)
{
    fuzz_text_t  t;

    t.next = text;
    t.end = text + len;

    if (!fuzz_value(&t)) {
        return 0;
    }

    fuzz_blanks(&t);

    return t.next == t.end;
}


static int
fuzz_value(fuzz_text_t *t)
{
    fuzz_blanks(t);

    switch (fuzz_next(t)) {

    case '{':
        return fuzz_members(t, '}');

    case '[':
        return fuzz_members(t, ']');

    case '"':
        return fuzz_string(t);

    case 'n':
        return fuzz_take(t, "null");

    case 't':
        return fuzz_take(t, "true");

    case 'f':
        return fuzz_take(t, "false");

    default:
        return fuzz_number(t);
    }
}


static int
fuzz_members(fuzz_text_t *t, int close)
{
    t->next++;
    fuzz_blanks(t);

    if (fuzz_next(t) == close) {
        t->next++;
        return 1;
    }

    for ( ;; ) {

        if (close == '}') {
            fuzz_blanks(t);

            if (!fuzz_string(t)) {
                return 0;
            }

            fuzz_blanks(t);

            if (!fuzz_take(t, ":")) {
                return 0;
            }
        }

        if (!fuzz_value(t)) {
            return 0;
        }

        fuzz_blanks(t);

        if (fuzz_next(t) == close) {
            t->next++;
            return 1;
        }

        if (!fuzz_take(t, ",")) {
            return 0;
        }
    }
}


static int
fuzz_number(fuzz_text_t *t)
{
    (void) fuzz_take(t, "-");

    if (!fuzz_take(t, "0") && !fuzz_digits(t)) {
        return 0;
    }

    if (fuzz_take(t, ".") && !fuzz_digits(t)) {
        return 0;
    }

    if (fuzz_take(t, "e") || fuzz_take(t, "E")) {
        if (!fuzz_take(t, "+")) {
            (void) fuzz_take(t, "-");
        }

        return fuzz_digits(t);
    }

    return 1;
}


static int
fuzz_digits(fuzz_text_t *t)
{
    const uint8_t  *start;

    for (start = t->next; fuzz_next(t) >= '0' && fuzz_next(t) <= '9'; ) {
        t->next++;
    }

    return t->next > start;
}


static int
fuzz_string(fuzz_text_t *t)
{
    int  c;

    if (!fuzz_take(t, "\"")) {
        return 0;
    }

    for ( ;; ) {
        c = fuzz_next(t);

        if (c == '"') {
            t->next++;
            return 1;
        }

        if (c < 0x20) {
            return 0;
        }

        if (!(c == '\\' ? fuzz_escape(t) : fuzz_sequence(t))) {
            return 0;
        }
    }
}


static int
fuzz_escape(fuzz_text_t *t)
{
    int   c;
    long  code, low;

    t->next++;
    c = fuzz_next(t);

    if (c < 0) {
        return 0;
    }

    if (c != 'u') {
        t->next++;
        return c != 0 && strchr("\"\\/bfnrt", c) != NULL;
    }

    code = fuzz_hex(t);

    if (code >= 0xd800 && code < 0xdc00) {
        if (!fuzz_take(t, "\\")) {
            return 0;
        }

        low = fuzz_hex(t);

        return low >= 0xdc00 && low < 0xe000;
    }

    return code > 0 && (code < 0xd800 || code >= 0xe000);
}


/* "u" and four digits; -1 when they are not there. */

static long
fuzz_hex(fuzz_text_t *t)
{
    int   i, c;
    char  digits[5];

    if (!fuzz_take(t, "u")) {
        return -1;
    }

    for (i = 0; i < 4; i++) {
        c = fuzz_next(t);

        if (c <= 0 || strchr("0123456789abcdefABCDEF", c) == NULL) {
            return -1;
        }

        digits[i] = (char) c;
        t->next++;
    }

    digits[4] = '\0';

    return strtol(digits, NULL, 16);
}


/* Decodes a character, and asks whether this was its only spelling. */

static int
fuzz_sequence(fuzz_text_t *t)
{
    int   i, c, more;
    long  code;

    static const long  smallest[] = { 0, 0x80, 0x800, 0x10000 };

    c = fuzz_next(t);
    t->next++;

    more = c < 0x80 ? 0 : c < 0xc0 ? 4 : c < 0xe0 ? 1 : c < 0xf0 ? 2
                    : c < 0xf8 ? 3 : 4;
    if (more == 4) {
        return 0;
    }

    code = more ? c & (0x3f >> more) : c;

    for (i = 0; i < more; i++) {
        c = fuzz_next(t);

        if (c < 0 || (c & 0xc0) != 0x80) {
            return 0;
        }

        code = code << 6 | (c & 0x3f);
        t->next++;
    }

    return code >= smallest[more] && code <= 0x10ffff
           && (code < 0xd800 || code > 0xdfff);
}


static int
fuzz_next(fuzz_text_t *t)
{
    return t->next < t->end ? *t->next : -1;
}


static int
fuzz_take(fuzz_text_t *t, const char *text)
{
    size_t  len;

    len = strlen(text);

    if ((size_t) (t->end - t->next) < len || memcmp(t->next, text, len)) {
        return 0;
    }

    t->next += len;

    return 1;
}


static void
fuzz_blanks(fuzz_text_t *t)
{
    int  c;

    for ( ;; ) {
        c = fuzz_next(t);

        if (c != ' ' && c != '\t' && c != '\r' && c != '\n') {
            return;
        }

        t->next++;
    }
}
