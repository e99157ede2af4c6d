#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit_json.h"


typedef struct {
    const char  *text;
    const char  *wanted;        /* NULL: the same as the text */
} unit_sample_t;


static void test_good(void);
static void test_malformed(void);
static void test_bytes(void);
static void test_tree(void);
static void test_numbers(void);
static void test_chunks(const unsigned char *text, size_t len,
    commerce_json_status_e wanted);
static commerce_json_status_e test_feed(unit_memory_t *memory,
    const unsigned char *text, size_t len, size_t first, size_t second,
    commerce_json_t **root);
static void test_states(void);
static void test_memory(void);


static const char  sample[] =
    " {\"currency\":\"USD\",\"lines\":[{\"sku\":\"M-\\u00e9\\ud83d\\ude00"
    "\",\"quantity\":2},{\"sku\":\"\xc3\xa4\\\\\\\"\",\"quantity\":-10}],\r\n"
    "\t\"a\\/b\":[],\"e\":{},\"n\":[null,true,false,1.5e3,0] } ";


void
unit_json_reader(void)
{
    test_good();
    test_malformed();
    test_bytes();
    test_tree();
    test_numbers();
    test_states();
    test_memory();
}


static void
test_good(void)
{
    size_t            i;
    commerce_str_t    text;
    unit_memory_t     memory;
    commerce_json_t  *root;

    static const unit_sample_t  samples[] = {
        { "null", NULL }, { "true", NULL }, { "false", NULL }, { "0", NULL },
        { "\"\"", NULL }, { "[]", NULL }, { "{}", NULL },
        { " \t\r\n[ ] \n", "[]" },
        { "{\"\":\"\"}", NULL },
        { "[[],{},[[]],\"\",0]", NULL },
        { "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}", NULL },
        { "\"\\u0041\\n\\/\\u00e9\\u20ac\"", "\"A\\n/\xc3\xa9\xe2\x82\xac\"" },
        { "\"\\uD83D\\uDE00\"", "\"\xf0\x9f\x98\x80\"" },
        { "\"\\ud800\\udc00\\udbff\\udfff\"",
          "\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"" },
        { "\"\\ud7ff\\ue000\\uffff\"",
          "\"\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\"" },
        { "\"\\\\ud800\"", NULL },
        { "\"\\\\\\\\u\"", NULL },
        { "\"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf\"",
          NULL },
        { "\"\\u0001\\u001f\"", NULL },
        { "[-0,1.0,1e2,1E+2,1.5e-7,99999999999999999999]",
          "[0,1.0,1e2,1E+2,1.5e-7,99999999999999999999]" }
    };

    for (i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        unit_memory_init(&memory);

        unit_integer(unit_json_read(&memory, samples[i].text, &root),
                     COMMERCE_JSON_GOOD, "is JSON");

        text.len = 0;

        if (root) {
            text = unit_json_text(&memory, root);
        }

        unit_text(text.data, text.len, samples[i].wanted ? samples[i].wanted
                                                         : samples[i].text,
                  samples[i].text);

        unit_memory_free(&memory);

        test_chunks((const unsigned char *) samples[i].text,
                    strlen(samples[i].text), COMMERCE_JSON_GOOD);
    }

    test_chunks((const unsigned char *) sample, sizeof(sample) - 1,
                COMMERCE_JSON_GOOD);
}


static void
test_malformed(void)
{
    size_t  i;

    static const char *const  samples[] = {
        "", " ", "{", "[", "\"", "\"a", "tru", "truE", "nul", "-", "+1",
        "1.", ".5", "1e", "1e+", "01", "-01", "0x10", "NaN", "Infinity",
        "{]", "[}", "[1,]", "[,1]", "[1 2]", "[1,,2]", "]", "}", ",", ":",
        "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,\"a\":1}", "{a:1}", "{1:1}",
        "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{'a':1}", "[\"a]", "{}{}", "[] []",
        "1 2", "{} x", "[]]", "{}}", "null null", "nullnull", "[1]/**/",
        "{}\"", "[] \"a", "\"a\"\"", "1 \"a\\", "{}\"\\u12", "1 nul", "1 -",
        "{} \"\\\"", "[]\"\xc3",
        "/**/[1]", "//\n1", "\xef\xbb\xbf{}",
        "{\"a\":1,\"a\":2}", "{\"a\":{\"b\":1,\"c\":2,\"b\":3}}",
        "{\"a\":1,\"\\u0061\":2}", "{\"\":1,\"\":2}",
        "\"\\u0000\"", "{\"\\u0000\":1}", "\"a\\u0000b\"", "\"\\x41\"",
        "\"\\u12\"", "\"\\u12g4\"", "\"\\u\"", "\"\\\"", "\"\n\"", "\"\t\"",
        "\"\x01\"", "\"\x1f\"",
        "\"\\ud800\"", "\"\\ud800a\"", "\"\\ud800\\n\"", "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\\udc00\"", "\"\\udc00\"", "\"\\udfff\\ud800\"",
        "\"\\udbff", "\"\\udbff\\", "\"\\ud83d\\ude0\"", "{\"\\ud800\":1}",
        "\"\xff\"", "\"\x80\"", "\"\xc3\"", "\"\xc3(\"", "\"\xc0\xaf\"",
        "\"\xc1\xbf\"", "\"\xe0\x9f\xbf\"", "\"\xed\xa0\x80\"",
        "\"\xed\xbf\xbf\"", "\"\xe2\x82\"", "\"\xe2(\xa1\"",
        "\"\xf0\x8f\xbf\xbf\"", "\"\xf4\x90\x80\x80\"",
        "\"\xf5\x80\x80\x80\"", "\"\xf0\x9f\x98\"", "\"\xf0\x9f\x98(\"",
        "\"\xfe\"", "{\"\xff\":1}", "\"12345678\xff\"",
        "\xff", "[\x80]", "\v1", "[1,\f2]", "1\v", "\"\f\"", "\\u0031",
        "[\\ud800]", "{\"a\":\\n1}"
    };

    for (i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        test_chunks((const unsigned char *) samples[i], strlen(samples[i]),
                    COMMERCE_JSON_MALFORMED);
    }

    test_chunks((const unsigned char *) "\"a\0b\"", 5,
                COMMERCE_JSON_MALFORMED);
    test_chunks((const unsigned char *) "[1]\0", 4, COMMERCE_JSON_MALFORMED);
    test_chunks((const unsigned char *) "\0", 1, COMMERCE_JSON_MALFORMED);
}


/* Every single byte and every pair, as a text and as a string's inside. */

static void
test_bytes(void)
{
    int                     a, b, good, wanted;
    unsigned char           text[4];
    const char             *error;
    unit_memory_t           memory;
    commerce_json_t        *root;
    commerce_json_status_e  status;

    good = 1;

    for (a = 0; a < 256; a++) {
        for (b = 0; b < 256; b++) {
            text[0] = '"';
            text[1] = (unsigned char) a;
            text[2] = (unsigned char) b;
            text[3] = '"';

            if (a == '\\') {
                wanted = b && strchr("\"\\/bfnrt", b) != NULL;

            } else if (a >= 0xc2 && a <= 0xdf) {
                wanted = b >= 0x80 && b <= 0xbf;

            } else {
                wanted = a >= 0x20 && a < 0x80 && a != '"' && b >= 0x20
                         && b < 0x80 && b != '"' && b != '\\';
            }

            unit_memory_init(&memory);
            status = commerce_json_read(&unit_json_limits, unit_memory_alloc,
                                        &memory, text, 4, &root, &error);
            unit_memory_free(&memory);

            if ((status == COMMERCE_JSON_GOOD) != wanted) {
                printf("# %02x %02x gave %d\n", a, b, status);
                good = 0;
            }
        }
    }

    unit_ok(good, "every pair of bytes in a string");

    good = 1;

    for (a = 0; a < 256; a++) {
        text[0] = '[';
        text[1] = (unsigned char) a;
        text[2] = ']';

        wanted = (a >= '0' && a <= '9')
                 || (a && strchr(" \t\r\n", a) != NULL);

        unit_memory_init(&memory);
        status = commerce_json_read(&unit_json_limits, unit_memory_alloc,
                                    &memory, text, 3, &root, &error);
        unit_memory_free(&memory);

        good = good && (status == COMMERCE_JSON_GOOD) == wanted;
    }

    unit_ok(good, "every byte outside of a string");
}


static void
test_tree(void)
{
    unit_memory_t     memory;
    commerce_json_t  *root, *lines, *line, *n;

    unit_memory_init(&memory);

    unit_integer(unit_json_read(&memory, sample, &root), COMMERCE_JSON_GOOD,
                 "the sample is good");
    unit_integer(root->type, COMMERCE_JSON_OBJECT, "the root is an object");
    unit_integer((int64_t) root->count, 5, "of five members");
    unit_integer((int64_t) root->key.len, 0, "the root has no key");
    unit_ok(root->next == NULL, "nor a neighbour");

    unit_text(root->child->key.data, root->child->key.len, "currency",
              "first key");
    unit_text(root->child->string.data, root->child->string.len, "USD",
              "first value");

    lines = commerce_json_member(root, "lines");
    unit_ok(lines && lines->type == COMMERCE_JSON_ARRAY && lines->count == 2,
            "an array of two");

    line = lines->child;
    unit_integer((int64_t) line->key.len, 0, "an element has no key");
    unit_text(line->child->string.data, line->child->string.len,
              "M-\xc3\xa9\xf0\x9f\x98\x80", "escapes are decoded");
    unit_integer(commerce_json_member(line, "quantity")->integer, 2,
                 "an integer");
    unit_integer(commerce_json_member(line->next, "quantity")->integer, -10,
                 "a negative one");
    unit_ok(line->next->next == NULL, "the end of the array");

    n = commerce_json_member(root, "a/b");
    unit_ok(n && n->count == 0 && n->child == NULL, "an empty array");

    n = commerce_json_member(root, "n");
    unit_integer((int64_t) n->count, 5, "an array of five");
    n = n->child;
    unit_integer(n->type, COMMERCE_JSON_NULL, "null");
    n = n->next;
    unit_ok(n->type == COMMERCE_JSON_BOOLEAN && n->integer == 1, "true");
    n = n->next;
    unit_ok(n->type == COMMERCE_JSON_BOOLEAN && n->integer == 0, "false");
    n = n->next;
    unit_integer(n->type, COMMERCE_JSON_NUMBER, "a fraction");
    unit_text(n->string.data, n->string.len, "1.5e3", "keeps its digits");
    n = n->next;
    unit_ok(n->type == COMMERCE_JSON_INTEGER && n->integer == 0, "zero");

    unit_ok(commerce_json_member(root, "line") == NULL, "no prefix matches");
    unit_ok(commerce_json_member(root, "linesx") == NULL, "nor a longer name");
    unit_ok(commerce_json_member(lines, "sku") == NULL, "an array has none");
    unit_ok(commerce_json_member(root->child, "x") == NULL,
            "a string has none");

    unit_memory_free(&memory);
}


static void
test_numbers(void)
{
    size_t            i;
    unit_memory_t     memory;
    commerce_json_t  *root;

    static const struct {
        const char  *text;
        int          integer;
        int64_t      value;
    } numbers[] = {
        { "0", 1, 0 }, { "-0", 1, 0 }, { "7", 1, 7 }, { "-7", 1, -7 },
        { "9007199254740991", 1, INT64_C(9007199254740991) },
        { "9007199254740993", 1, INT64_C(9007199254740993) },
        { "9223372036854775806", 1, INT64_MAX - 1 },
        { "9223372036854775807", 1, INT64_MAX },
        { "9223372036854775808", 0, 0 },
        { "9223372036854775810", 0, 0 },
        { "18446744073709551617", 0, 0 },
        { "-9223372036854775807", 1, -INT64_MAX },
        { "-9223372036854775808", 1, INT64_MIN },
        { "-9223372036854775809", 0, 0 },
        { "-92233720368547758080", 0, 0 },
        { "1.0", 0, 0 }, { "1e0", 0, 0 }, { "0.0", 0, 0 }, { "1E2", 0, 0 }
    };

    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        unit_memory_init(&memory);
        root = NULL;

        unit_ok(unit_json_read(&memory, numbers[i].text, &root)
                == COMMERCE_JSON_GOOD && root
                && root->type == (numbers[i].integer ? COMMERCE_JSON_INTEGER
                                                     : COMMERCE_JSON_NUMBER),
                "%s is a number", numbers[i].text);

        if (numbers[i].integer) {
            unit_integer(root->integer, numbers[i].value, numbers[i].text);

        } else {
            unit_text(root->string.data, root->string.len, numbers[i].text,
                      numbers[i].text);
        }

        unit_memory_free(&memory);
    }
}


/* Every way to cut the text into three, each piece in a block of its own. */

static void
test_chunks(const unsigned char *text, size_t len,
    commerce_json_status_e wanted)
{
    int                     good;
    size_t                  first, second;
    commerce_str_t          whole, part;
    unit_memory_t           memory;
    commerce_json_t        *root;
    commerce_json_status_e  status;

    good = 1;

    for (first = 0; first <= len && good; first++) {
        for (second = first; second <= len && good; second++) {
            unit_memory_init(&memory);

            status = test_feed(&memory, text, len, len, len, &root);
            whole.len = 0;

            if (status == COMMERCE_JSON_GOOD) {
                whole = unit_json_text(&memory, root);
            }

            good = status == wanted
                   && test_feed(&memory, text, len, first, second, &root)
                      == wanted;

            if (good && wanted == COMMERCE_JSON_GOOD) {
                part = unit_json_text(&memory, root);
                good = part.len == whole.len
                       && memcmp(part.data, whole.data, part.len) == 0;
            }

            unit_memory_free(&memory);

            if (!good) {
                printf("# cut at %zu and %zu: %d instead of %d\n", first,
                       second, status, wanted);
            }

            /* the quadratic part only where it stays small */
            if (len > 80 && second > first) {
                second += len / 16;
            }
        }
    }

    unit_ok(good, "%s in any chunks (%zu bytes)",
            wanted == COMMERCE_JSON_GOOD ? "good" : "malformed", len);
}


static commerce_json_status_e
test_feed(unit_memory_t *memory, const unsigned char *text, size_t len,
    size_t first, size_t second, commerce_json_t **root)
{
    size_t                   i, cuts[4];
    unsigned char           *chunk;
    commerce_json_status_e   status;
    commerce_json_reader_t  *reader;

    cuts[0] = 0;
    cuts[1] = first;
    cuts[2] = second;
    cuts[3] = len;

    *root = NULL;

    reader = commerce_json_reader_create(&unit_json_limits,
                                         unit_memory_alloc, memory);
    if (reader == NULL) {
        return COMMERCE_JSON_NO_MEMORY;
    }

    for (i = 0; i < 3; i++) {
        chunk = malloc(cuts[i + 1] - cuts[i] + 1);

        if (chunk == NULL) {
            return COMMERCE_JSON_NO_MEMORY;
        }

        memcpy(chunk + 1, text + cuts[i], cuts[i + 1] - cuts[i]);
        commerce_json_reader_feed(reader, chunk + 1, cuts[i + 1] - cuts[i]);
        free(chunk);
    }

    status = commerce_json_reader_finish(reader, root);

    if ((*root != NULL) != (status == COMMERCE_JSON_GOOD)
        || (commerce_json_reader_error(reader)[0] == '\0')
           != (status == COMMERCE_JSON_GOOD))
    {
        unit_ok(0, "a root when good, an error when not");
    }

    commerce_json_reader_free(reader);

    return status;
}


static void
test_states(void)
{
    const char              *error;
    unit_memory_t            memory;
    commerce_json_t         *root;
    commerce_json_reader_t  *reader;

    unit_memory_init(&memory);

    reader = commerce_json_reader_create(&unit_json_limits,
                                         unit_memory_alloc, &memory);

    unit_text("", strlen(commerce_json_reader_error(reader)), "",
              "no error yet");
    commerce_json_reader_feed(reader, (const unsigned char *) "[1]", 3);
    unit_integer(commerce_json_reader_feed(reader, NULL, 0),
                 COMMERCE_JSON_GOOD, "an empty chunk");
    unit_integer(commerce_json_reader_finish(reader, &root),
                 COMMERCE_JSON_GOOD, "finished");
    unit_integer(commerce_json_reader_finish(reader, &root),
                 COMMERCE_JSON_GOOD, "twice");
    unit_integer(commerce_json_reader_feed(reader, (unsigned char *) " ", 1),
                 COMMERCE_JSON_MALFORMED, "nothing may follow");
    commerce_json_reader_free(reader);
    commerce_json_reader_free(reader);

    reader = commerce_json_reader_create(&unit_json_limits,
                                         unit_memory_alloc, &memory);
    root = NULL;
    unit_integer(commerce_json_reader_feed(reader, (unsigned char *) "]", 1),
                 COMMERCE_JSON_MALFORMED, "a fault");
    unit_integer(commerce_json_reader_feed(reader, (unsigned char *) "[]", 2),
                 COMMERCE_JSON_MALFORMED, "is final");
    unit_integer(commerce_json_reader_finish(reader, &root),
                 COMMERCE_JSON_MALFORMED, "for the end too");
    unit_ok(root == NULL, "and gives no root");
    commerce_json_reader_free(reader);

    error = NULL;
    commerce_json_read(&unit_json_limits, unit_memory_alloc, &memory,
                       (const unsigned char *) "{\"secret\":hunter2}", 18,
                       &root, &error);
    unit_ok(error && strstr(error, "hunter") == NULL
            && strstr(error, "secret") == NULL && strchr(error, '\n') == NULL,
            "the error does not quote the text: %s", error);

    unit_memory_free(&memory);
}


/* One more allocation succeeds each time, until all of them do. */

static void
test_memory(void)
{
    int                     good;
    char                    text[8192], *p;
    size_t                  n, i;
    const char             *error;
    unit_memory_t           memory;
    commerce_json_t        *root;
    commerce_json_reader_t *reader;
    commerce_json_status_e  status;

    /* a long escaped string makes yajl's buffers grow */
    p = text;
    p += sprintf(p, "{\"k\":\"");

    for (i = 0; i < 3000; i++) {
        p += sprintf(p, "\\n");
    }

    p += sprintf(p, "\",\"m\":{");

    for (i = 0; i < 20; i++) {
        p += sprintf(p, "%s\"k%zu\":[\"x\"]", i ? "," : "", i);
    }

    p += sprintf(p, "}}");

    good = 1;

    for (n = 0; ; n++) {
        unit_memory_init(&memory);
        memory.allowed = n;
        root = NULL;

        status = commerce_json_read(&unit_json_limits, unit_memory_alloc,
                                    &memory, (unsigned char *) text,
                                    (size_t) (p - text), &root, &error);
        unit_memory_free(&memory);

        if (status == COMMERCE_JSON_GOOD) {
            break;
        }

        good = good && status == COMMERCE_JSON_NO_MEMORY && root == NULL
               && strcmp(error, "out of memory") == 0;
    }

    unit_ok(good && n > 40, "read: each of %zu allocations may fail", n);

    good = 1;

    for (n = 0; n < 1000; n++) {
        unit_memory_init(&memory);
        memory.allowed = n;
        status = COMMERCE_JSON_NO_MEMORY;

        reader = commerce_json_reader_create(&unit_json_limits,
                                             unit_memory_alloc, &memory);
        if (reader) {
            for (i = 0; i < (size_t) (p - text); i += 700) {
                commerce_json_reader_feed(reader, (unsigned char *) text + i,
                                          (size_t) (p - text) - i < 700
                                          ? (size_t) (p - text) - i : 700);
            }

            status = commerce_json_reader_finish(reader, &root);
            commerce_json_reader_free(reader);
        }

        unit_memory_free(&memory);

        if (status == COMMERCE_JSON_GOOD) {
            break;
        }

        good = good && status == COMMERCE_JSON_NO_MEMORY;
    }

    unit_ok(good && n > 40 && n < 1000,
            "chunks: each of %zu allocations may fail", n);

    good = 1;

    for (n = 0; n < 100; n++) {
        unit_memory_init(&memory);
        memory.allowed = n;
        status = unit_json_read(&memory, "[1,2,x]", &root);
        unit_memory_free(&memory);

        if (status == COMMERCE_JSON_MALFORMED) {
            break;
        }

        good = good && status == COMMERCE_JSON_NO_MEMORY;
    }

    unit_ok(good && n > 3 && n < 100, "also while the error is described");
}
