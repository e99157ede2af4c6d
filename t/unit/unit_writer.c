#include <stdio.h>
#include <string.h>

#include "commerce_uuid.h"
#include "unit_json.h"


static void test_shapes(void);
static void test_strings(void);
static void test_escapes(void);
static void test_integers(void);
static void test_others(void);
static void test_growth(void);
static void test_failures(void);
static void test_round_trip(void);
static void test_random_value(commerce_json_writer_t *w, int depth);
static void test_is(commerce_json_writer_t *w, const char *wanted,
    const char *name);


static unit_memory_t  memory;


void
unit_json_writer(void)
{
    test_shapes();
    test_strings();
    test_escapes();
    test_integers();
    test_others();
    test_growth();
    test_failures();
    test_round_trip();
}


static void
test_is(commerce_json_writer_t *w, const char *wanted, const char *name)
{
    unit_ok(!w->failed && w->last <= w->end, "room for %s", name);
    unit_text(w->start, (size_t) (w->last - w->start), wanted, name);
    unit_memory_free(&memory);
}


static void
test_shapes(void)
{
    commerce_json_writer_t  w;

    unit_memory_init(&memory);
    commerce_json_writer_init(&w, 0, unit_memory_alloc, &memory);
    commerce_json_object_open(&w);
    commerce_json_object_close(&w);
    test_is(&w, "{}", "an empty object");

    commerce_json_writer_init(&w, 1, unit_memory_alloc, &memory);
    commerce_json_object_open(&w);
    commerce_json_key(&w, "a");
    commerce_json_array_open(&w);
    commerce_json_array_open(&w);
    commerce_json_array_close(&w);
    commerce_json_object_open(&w);
    commerce_json_key(&w, "x");
    commerce_json_integer(&w, 1);
    commerce_json_key(&w, "y");
    commerce_json_null(&w);
    commerce_json_object_close(&w);
    commerce_json_boolean(&w, 2);
    commerce_json_boolean(&w, 0);
    commerce_json_array_close(&w);
    commerce_json_key(&w, "b");
    commerce_json_cstring(&w, "");
    commerce_json_key_str(&w, (const unsigned char *) "q\"\n", 3);
    commerce_json_cstring(&w, "c");
    commerce_json_object_close(&w);
    test_is(&w, "{\"a\":[[],{\"x\":1,\"y\":null},true,false],\"b\":\"\","
                "\"q\\\"\\n\":\"c\"}", "commas");

    commerce_json_writer_init(&w, 8, unit_memory_alloc, &memory);
    commerce_json_integer(&w, 1);
    commerce_json_bytes(&w, "\n", 1);
    commerce_json_bytes(&w, NULL, 0);
    w.comma = 0;
    commerce_json_integer(&w, 2);
    test_is(&w, "1\n2", "bytes have no commas");
}


static void
test_strings(void)
{
    size_t                  i;
    commerce_json_writer_t  w;

    static const char *const  strings[][2] = {
        { "", "\"\"" },
        { "plain", "\"plain\"" },
        { "\"", "\"\\\"\"" },
        { "a\\b/c", "\"a\\\\b/c\"" },
        { "\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\"" },
        { "\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\"" },
        { "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
          "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"" },
        { "\xff", "\"\xef\xbf\xbd\"" },
        { "a\x80z", "\"a\xef\xbf\xbdz\"" },
        { "a\xc3", "\"a\xef\xbf\xbd\"" },
        { "\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "\xed\xa0\x80",
          "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "\xe2\x82\"", "\"\xef\xbf\xbd\xef\xbf\xbd\\\"\"" },
        { "\xf4\x90\x80\x80",
          "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" }
    };

    for (i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        unit_memory_init(&memory);
        commerce_json_writer_init(&w, 1, unit_memory_alloc, &memory);
        commerce_json_cstring(&w, strings[i][0]);
        test_is(&w, strings[i][1], "a string");
    }

    commerce_json_writer_init(&w, 1, unit_memory_alloc, &memory);
    commerce_json_string(&w, (const unsigned char *) "a\0b", 3);
    test_is(&w, "\"a\\u0000b\"", "a NUL");

    commerce_json_writer_init(&w, 1, unit_memory_alloc, &memory);
    commerce_json_string(&w, NULL, 0);
    test_is(&w, "\"\"", "an ngx_str_t that was never set");
}


/* What is written must be read as the same bytes, at any buffer's end. */

static void
test_escapes(void)
{
    int                     good;
    size_t                  i, n, size;
    const char             *error;
    unsigned char           text[300];
    unit_memory_t           heap;
    commerce_json_t        *root;
    commerce_json_writer_t  w;

    good = 1;

    for (size = 1; size < 300; size++) {
        unit_memory_init(&heap);

        for (i = 0, n = 1 + unit_random() % 250; i < n; i++) {
            text[i] = (unsigned char) (1 + unit_random() % 0x7f);
        }

        commerce_json_writer_init(&w, size, unit_memory_alloc, &heap);
        commerce_json_string(&w, text, n);

        good = good && commerce_json_read(&unit_json_limits,
                                          unit_memory_alloc, &heap, w.start,
                                          (size_t) (w.last - w.start), &root,
                                          &error) == COMMERCE_JSON_GOOD
               && root->string.len == n
               && memcmp(root->string.data, text, n) == 0;

        unit_memory_free(&heap);
    }

    unit_ok(good, "escapes are read back");
}


static void
test_integers(void)
{
    size_t                  i;
    char                    wanted[32];
    commerce_json_writer_t  w;

    static const int64_t  integers[] = {
        0, 1, -1, 9, 10, 99, 100, -100, COMMERCE_MONEY_MAX, INT64_MAX,
        INT64_MIN, INT64_MIN + 1
    };

    for (i = 0; i < sizeof(integers) / sizeof(integers[0]); i++) {
        unit_memory_init(&memory);
        snprintf(wanted, sizeof(wanted), "%lld", (long long) integers[i]);
        commerce_json_writer_init(&w, 1, unit_memory_alloc, &memory);
        commerce_json_integer(&w, integers[i]);
        test_is(&w, wanted, wanted);
    }
}


static void
test_others(void)
{
    commerce_uuid_t         id;
    commerce_json_writer_t  w;

    unit_memory_init(&memory);

    commerce_uuid_parse(&id, (const unsigned char *)
                        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f", 36);

    commerce_json_writer_init(&w, 1, unit_memory_alloc, &memory);
    commerce_json_array_open(&w);
    commerce_json_uuid(&w, &id);
    commerce_json_time(&w, INT64_C(848673810123456));
    commerce_json_raw(&w, (const unsigned char *) "{\"a\": 1}", 8);
    commerce_json_raw(&w, NULL, 0);
    commerce_json_array_close(&w);

    test_is(&w, "[\"017f22e2-79b0-7cc3-98c4-dc0c0c07398f\","
                "\"2026-11-22T14:43:30.123456Z\",{\"a\": 1},null]",
            "uuid, time and raw");
}


static void
test_growth(void)
{
    int                     i;
    char                    wanted[4096], *p;
    size_t                  size;
    commerce_json_writer_t  w;

    for (size = 0; size < 200; size += 13) {
        unit_memory_init(&memory);
        commerce_json_writer_init(&w, size, unit_memory_alloc, &memory);

        p = wanted;
        *p++ = '[';
        commerce_json_array_open(&w);

        for (i = 0; i < 500; i++) {
            p += sprintf(p, "%s%d", i ? "," : "", i);
            commerce_json_integer(&w, i);
        }

        sprintf(p, "]");
        commerce_json_array_close(&w);

        unit_ok(memory.n < 10, "grown %zu times from %zu", memory.n, size);
        test_is(&w, wanted, "a long array");
    }

    commerce_json_writer_init(&w, 16, unit_memory_alloc, &memory);
    memset(wanted, 'x', sizeof(wanted) - 1);
    wanted[0] = wanted[sizeof(wanted) - 2] = '"';
    wanted[sizeof(wanted) - 1] = '\0';
    commerce_json_string(&w, (unsigned char *) wanted + 1,
                         sizeof(wanted) - 3);
    test_is(&w, wanted, "a string larger than twice the buffer");
}


static void
test_failures(void)
{
    size_t                  n;
    commerce_uuid_t         id;
    commerce_json_t        *root;
    commerce_json_writer_t  w;

    memset(&id, 0, sizeof(id));
    unit_memory_init(&memory);
    unit_json_read(&memory, "{\"a\":[1,1.5,\"x\",true,null,{}]}", &root);

    for (n = 0; ; n++) {
        memory.allowed = n;
        commerce_json_writer_init(&w, 1, unit_memory_alloc, &memory);
        commerce_json_array_open(&w);
        commerce_json_tree(&w, root);
        commerce_json_uuid(&w, &id);
        commerce_json_time(&w, 0);
        commerce_json_cstring(&w, "\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0e");
        commerce_json_key(&w, "key");
        commerce_json_key_str(&w, (const unsigned char *) "\"\"\"\"", 4);
        commerce_json_raw(&w, (const unsigned char *) "12345678", 8);
        commerce_json_integer(&w, INT64_MIN);
        commerce_json_array_close(&w);
        commerce_json_bytes(&w, "\n", 1);

        if (!w.failed) {
            break;
        }

        unit_ok(w.last <= w.end, "allocation %zu fails", n);
    }

    unit_ok(n > 1, "failed before it succeeded");

    memory.allowed = SIZE_MAX;
    commerce_json_writer_init(&w, 64, unit_memory_alloc, &memory);
    commerce_json_bytes(&w, "x", SIZE_MAX);
    unit_ok(w.failed, "a length that overflows");
    commerce_json_writer_init(&w, 64, unit_memory_alloc, &memory);
    commerce_json_string(&w, (const unsigned char *) "x", SIZE_MAX - 1);
    unit_ok(w.failed, "a string that overflows");
    commerce_json_writer_init(&w, 64, unit_memory_alloc, &memory);
    commerce_json_raw(&w, (const unsigned char *) "x", SIZE_MAX - 1);
    unit_ok(w.failed, "a raw value that overflows");
    commerce_json_writer_init(&w, SIZE_MAX, unit_memory_alloc, &memory);
    unit_ok(w.failed, "a first size that overflows");
    commerce_json_object_open(&w);
    commerce_json_cstring(&w, "x");
    unit_ok(w.failed && w.start == NULL, "and stays so");

    unit_memory_free(&memory);
}


static void
test_round_trip(void)
{
    int                     i, good;
    commerce_str_t          text;
    const char             *error;
    commerce_json_t        *root;
    commerce_json_writer_t  w;

    good = 1;

    for (i = 0; i < 500 && good; i++) {
        unit_memory_init(&memory);
        commerce_json_writer_init(&w, 32, unit_memory_alloc, &memory);
        test_random_value(&w, 0);

        good = !w.failed
               && commerce_json_read(&unit_json_limits, unit_memory_alloc,
                                     &memory, w.start,
                                     (size_t) (w.last - w.start), &root,
                                     &error) == COMMERCE_JSON_GOOD;
        if (good) {
            text = unit_json_text(&memory, root);
            good = text.len == (size_t) (w.last - w.start)
                   && memcmp(text.data, w.start, text.len) == 0;
        }

        unit_memory_free(&memory);
    }

    unit_ok(good, "random trees are written, read and written again");
}


static void
test_random_value(commerce_json_writer_t *w, int depth)
{
    int            i, n;
    char           key[16];
    unsigned char  text[16];

    switch (unit_random() % (depth < 4 ? 6 : 4)) {

    case 0:
        commerce_json_integer(w, (int64_t) unit_random());
        break;

    case 1:
        commerce_json_boolean(w, (int) (unit_random() & 1));
        break;

    case 2:
        commerce_json_null(w);
        break;

    case 3:
        n = (int) (unit_random() % sizeof(text));

        for (i = 0; i < n; i++) {
            text[i] = (unsigned char) (1 + unit_random() % 127);
        }

        commerce_json_string(w, text, (size_t) n);
        break;

    case 4:
        commerce_json_array_open(w);

        for (i = (int) (unit_random() % 4); i > 0; i--) {
            test_random_value(w, depth + 1);
        }

        commerce_json_array_close(w);
        break;

    default:
        commerce_json_object_open(w);

        for (i = (int) (unit_random() % 4); i > 0; i--) {
            snprintf(key, sizeof(key), "k\"%d\n", i);
            commerce_json_key_str(w, (unsigned char *) key, strlen(key));
            test_random_value(w, depth + 1);
        }

        commerce_json_object_close(w);
    }
}
