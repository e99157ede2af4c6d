/*
 * The answers: just enough HTTP/1.1 and JSON for a client that sends one
 * request at a time.
 */

#define _GNU_SOURCE

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "load.h"


static int load_parse_head(load_buf_t *in, load_response_t *response);
static void load_parse_header(const char *name, size_t name_len,
    const char *value, size_t len, load_response_t *response);
static int load_parse_chunks(load_buf_t *in, load_response_t *response);


int
load_response_parse(load_buf_t *in, int eof, load_response_t *response)
{
    int     rc;
    size_t  have;

    for ( ;; ) {
        rc = load_parse_head(in, response);

        if (rc != 1) {
            return (rc == 0 && eof) ? -1 : rc;
        }

        if (response->status >= 200) {
            break;
        }

        /* 100 Continue and the like: the answer follows */
        memmove(in->data, in->data + response->head,
                in->len - response->head);
        in->len -= response->head;
    }

    have = in->len - response->head;
    response->body = in->data + response->head;

    if (response->status == 204 || response->status == 304) {
        response->body_len = 0;
        return (have == 0) ? 1 : -1;
    }

    if (response->chunked) {
        rc = load_parse_chunks(in, response);
        return (rc == 0 && eof) ? -1 : rc;
    }

    if (response->length < 0) {
        response->body_len = have;
        response->close = 1;
        return eof ? 1 : 0;
    }

    if (have < (size_t) response->length) {
        return eof ? -1 : 0;
    }

    response->body_len = (size_t) response->length;

    /* nothing was asked for beyond this answer */
    return (have == response->body_len) ? 1 : -1;
}


static int
load_parse_head(load_buf_t *in, load_response_t *response)
{
    const char  *p, *end, *colon, *eol, *value;

    memset(response, 0, sizeof(load_response_t));
    response->length = -1;

    if (in->len < sizeof("HTTP/1.1 200\r\n\r\n") - 1) {
        return 0;
    }

    if (memcmp(in->data, "HTTP/1.", 7) != 0 || in->data[8] != ' ') {
        return -1;
    }

    end = memmem(in->data, in->len, "\r\n\r\n", 4);
    if (end == NULL) {
        return (in->len > 65536) ? -1 : 0;
    }

    response->head = (size_t) (end - in->data) + 4;
    response->status = atoi(in->data + 9);
    response->close = (in->data[7] == '0');

    if (response->status < 100 || response->status > 599) {
        return -1;
    }

    end += 2;
    p = (const char *) memchr(in->data, '\n', response->head) + 1;

    while (p < end) {
        eol = memchr(p, '\r', (size_t) (end - p));
        colon = (eol == NULL) ? NULL : memchr(p, ':', (size_t) (eol - p));

        if (colon == NULL) {
            return -1;
        }

        value = colon + 1;

        while (value < eol && *value == ' ') {
            value++;
        }

        load_parse_header(p, (size_t) (colon - p), value,
                          (size_t) (eol - value), response);
        p = eol + 2;
    }

    return 1;
}


static void
load_parse_header(const char *name, size_t name_len, const char *value,
    size_t len, load_response_t *response)
{
#define load_is(text)                                                         \
    (name_len == sizeof(text) - 1                                             \
     && strncasecmp(name, text, sizeof(text) - 1) == 0)

    switch (name_len) {

    case sizeof("Connection") - 1:
        if (load_is("Connection") && len == 5
            && strncasecmp(value, "close", 5) == 0)
        {
            response->close = 1;
        }
        break;

    case sizeof("Retry-After") - 1:
        if (load_is("Retry-After")) {
            response->retry_after = (unsigned) atoi(value);
        }
        break;

    case sizeof("Content-Length") - 1:
        if (load_is("Content-Length")) {
            response->length = atoll(value);
        }
        break;

    case sizeof("Transfer-Encoding") - 1:
        if (load_is("Transfer-Encoding") && len >= 7
            && strncasecmp(value, "chunked", 7) == 0)
        {
            response->chunked = 1;
        }
        break;

    case sizeof("Idempotent-Replayed") - 1:
        if (load_is("Idempotent-Replayed") && len == 4
            && strncasecmp(value, "true", 4) == 0)
        {
            response->replayed = 1;
        }
        break;
    }

#undef load_is
}


/*
 * First walks over the chunks, and only when the last one is there moves their
 * data together: a part of an answer is left as it came.
 */

static int
load_parse_chunks(load_buf_t *in, load_response_t *response)
{
    char           *p, *end, *to, *eol, *stop;
    int             pass;
    unsigned long   size;

    end = in->data + in->len;

    for (pass = 0; pass < 2; pass++) {
        p = in->data + response->head;
        to = p;

        for ( ;; ) {
            eol = memmem(p, (size_t) (end - p), "\r\n", 2);
            if (eol == NULL) {
                return 0;
            }

            size = strtoul(p, &stop, 16);
            if (!isxdigit((unsigned char) *p)
                || (stop != eol && *stop != ';'))
            {
                return -1;
            }

            p = eol + 2;

            if (size > (1UL << 30)) {
                return -1;
            }

            if ((size_t) (end - p) < size + 2) {
                return 0;
            }

            if (memcmp(p + size, "\r\n", 2) != 0) {
                return -1;
            }

            if (pass == 1) {
                memmove(to, p, size);
                to += size;
            }

            p += size + 2;

            if (size == 0) {
                break;
            }
        }

        if (p != end) {
            return -1;
        }
    }

    response->body_len = (size_t) (to - response->body);

    return 1;
}


size_t
load_json_member(const char *text, size_t len, const char *name, char *value,
    size_t size)
{
    int          depth, is_name, found;
    size_t       n, name_len;
    const char  *p, *end, *start;

    depth = 0;
    is_name = 0;
    found = 0;
    name_len = strlen(name);
    end = text + len;
    value[0] = '\0';

    for (p = text; p < end; p++) {

        switch (*p) {

        case '{':
        case '[':
            depth++;
            is_name = (depth == 1);
            found = 0;
            break;

        case '}':
        case ']':
            depth--;
            break;

        case ',':
            is_name = (depth == 1);
            found = 0;
            break;

        case ':':
            is_name = 0;
            break;

        case '"':
            start = p + 1;

            for (p = start; p < end && *p != '"'; p++) {
                if (*p == '\\') {
                    p++;
                }
            }

            if (p >= end) {
                return 0;
            }

            n = (size_t) (p - start);

            if (is_name) {
                found = (n == name_len && memcmp(start, name, n) == 0);
                break;
            }

            if (found && depth == 1) {
                if (n >= size) {
                    return 0;
                }

                memcpy(value, start, n);
                value[n] = '\0';
                return n;
            }

            break;
        }
    }

    return 0;
}
