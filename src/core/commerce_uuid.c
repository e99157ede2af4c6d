#include <string.h>

#include "commerce_uuid.h"


static int commerce_uuid_hex(unsigned char c);


static const char  commerce_uuid_digits[] = "0123456789abcdef";


void
commerce_uuid_v7(commerce_uuid_t *uuid, uint64_t unix_msec,
    const unsigned char random[10])
{
    int             i;
    unsigned char  *p;

    p = uuid->bytes;

    for (i = 5; i >= 0; i--) {
        p[i] = (unsigned char) (unix_msec & 0xff);
        unix_msec >>= 8;
    }

    memcpy(p + 6, random, 10);

    p[6] = (unsigned char) ((p[6] & 0x0f) | 0x70);
    p[8] = (unsigned char) ((p[8] & 0x3f) | 0x80);
}


int
commerce_uuid_parse(commerce_uuid_t *uuid, const unsigned char *text,
    size_t len)
{
    int              high, low;
    size_t           i, n;
    commerce_uuid_t  value;

    if (len != COMMERCE_UUID_TEXT) {
        return COMMERCE_ERROR;
    }

    i = 0;
    n = 0;

    /* clang does not see that the loop fills it */
    memset(&value, 0, sizeof(value));

    while (n < sizeof(value.bytes)) {

        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i++] != '-') {
                return COMMERCE_ERROR;
            }
        }

        high = commerce_uuid_hex(text[i++]);
        low = commerce_uuid_hex(text[i++]);

        if (high < 0 || low < 0) {
            return COMMERCE_ERROR;
        }

        value.bytes[n++] = (unsigned char) (high << 4 | low);
    }

    *uuid = value;

    return COMMERCE_OK;
}


static int
commerce_uuid_hex(unsigned char c)
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


unsigned char *
commerce_uuid_format(unsigned char *out, const commerce_uuid_t *uuid)
{
    size_t  n;

    for (n = 0; n < sizeof(uuid->bytes); n++) {

        if (n == 4 || n == 6 || n == 8 || n == 10) {
            *out++ = '-';
        }

        *out++ = (unsigned char) commerce_uuid_digits[uuid->bytes[n] >> 4];
        *out++ = (unsigned char) commerce_uuid_digits[uuid->bytes[n] & 0x0f];
    }

    return out;
}


int
commerce_uuid_compare(const commerce_uuid_t *a, const commerce_uuid_t *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}
