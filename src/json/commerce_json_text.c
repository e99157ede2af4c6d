#include <string.h>

#include "commerce_json_text.h"


#define COMMERCE_JSON_ONES   UINT64_C(0x0101010101010101)
#define COMMERCE_JSON_HIGHS  UINT64_C(0x8080808080808080)


static size_t commerce_json_scan_blanks(const unsigned char *text,
    size_t len);
static int commerce_json_scan_digit(commerce_json_scan_t *scan,
    unsigned char c);
static int commerce_json_hex(unsigned char c);


size_t
commerce_json_scan(commerce_json_scan_t *scan, const unsigned char *text,
    size_t len)
{
    const unsigned char  *p, *end;

    len = commerce_json_scan_blanks(text, len);

    p = text;
    end = text + len;

    while (p < end) {

        if (scan->digits) {
            if (!commerce_json_scan_digit(scan, *p)) {
                break;
            }

            p++;
            continue;
        }

        if (scan->escape) {
            if (*p == 'u') {
                scan->digits = 4;
                scan->code = 0;

            } else if (scan->high) {
                break;
            }

            scan->escape = 0;
            p++;
            continue;
        }

        if (scan->high) {
            if (*p != '\\') {
                break;
            }

        } else {
            p = memchr(p, '\\', (size_t) (end - p));
            if (p == NULL) {
                return len;
            }
        }

        scan->escape = 1;
        p++;
    }

    return (size_t) (p - text);
}


/* Neither may stand anywhere in JSON, so no lexer state is needed. */

static size_t
commerce_json_scan_blanks(const unsigned char *text, size_t len)
{
    const unsigned char  *p;

    p = memchr(text, '\v', len);
    if (p) {
        len = (size_t) (p - text);
    }

    p = memchr(text, '\f', len);
    if (p) {
        len = (size_t) (p - text);
    }

    return len;
}


static int
commerce_json_scan_digit(commerce_json_scan_t *scan, unsigned char c)
{
    int  digit;

    digit = commerce_json_hex(c);

    if (digit < 0) {
        return 0;
    }

    scan->code = scan->code << 4 | (unsigned) digit;
    scan->digits--;

    if (scan->digits) {
        return 1;
    }

    if (scan->high) {
        scan->high = 0;
        return scan->code >= 0xdc00 && scan->code <= 0xdfff;
    }

    if (scan->code >= 0xd800 && scan->code <= 0xdbff) {
        scan->high = 1;
        return 1;
    }

    return scan->code < 0xdc00 || scan->code > 0xdfff;
}


static int
commerce_json_hex(unsigned char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }

    return -1;
}


/* The table of well-formed sequences of the Unicode standard (3.9, D92). */

size_t
commerce_json_sequence(const unsigned char *text, const unsigned char *end)
{
    size_t         i, len;
    unsigned char  low, high;

    if (text >= end) {
        return 0;
    }

    if (text[0] < 0x80) {
        return 1;
    }

    low = 0x80;
    high = 0xbf;

    if (text[0] >= 0xc2 && text[0] <= 0xdf) {
        len = 2;

    } else if (text[0] >= 0xe0 && text[0] <= 0xef) {
        len = 3;
        low = text[0] == 0xe0 ? 0xa0 : low;
        high = text[0] == 0xed ? 0x9f : high;

    } else if (text[0] >= 0xf0 && text[0] <= 0xf4) {
        len = 4;
        low = text[0] == 0xf0 ? 0x90 : low;
        high = text[0] == 0xf4 ? 0x8f : high;

    } else {
        return 0;
    }

    if ((size_t) (end - text) < len || text[1] < low || text[1] > high) {
        return 0;
    }

    for (i = 2; i < len; i++) {
        if (text[i] < 0x80 || text[i] > 0xbf) {
            return 0;
        }
    }

    return len;
}


int
commerce_json_text_valid(const unsigned char *text, size_t len)
{
    size_t                n;
    uint64_t              word;
    const unsigned char  *end;

    end = text + len;

    while (text < end) {

        while (end - text >= 8) {
            memcpy(&word, text, 8);

            /* eight bytes of ASCII, none of them zero */
            if ((word | (word - COMMERCE_JSON_ONES)) & COMMERCE_JSON_HIGHS) {
                break;
            }

            text += 8;
        }

        while (text < end && *text < 0x80) {
            if (*text++ == '\0') {
                return 0;
            }
        }

        if (text == end) {
            break;
        }

        n = commerce_json_sequence(text, end);

        if (n == 0) {
            return 0;
        }

        text += n;
    }

    return 1;
}


int
commerce_json_integer_parse(int64_t *value, const unsigned char *text,
    size_t len)
{
    size_t    i;
    int64_t   digit;
    int64_t   result;
    unsigned  minus;

    minus = len > 0 && text[0] == '-';
    result = 0;

    if (len == minus) {
        return 0;
    }

    /* summed below zero, where there is room for one value more */

    for (i = minus; i < len; i++) {

        if (text[i] < '0' || text[i] > '9') {
            return 0;
        }

        digit = text[i] - '0';

        if (result < (INT64_MIN + digit) / 10) {
            return 0;
        }

        result = result * 10 - digit;
    }

    if (!minus) {
        if (result == INT64_MIN) {
            return 0;
        }

        result = -result;
    }

    *value = result;

    return 1;
}
