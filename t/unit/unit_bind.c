#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "unit_json.h"


typedef struct {
    int64_t           number;
    commerce_str_t    word;
    commerce_str_t    note;
    int               flag;
    commerce_json_t  *list;
    commerce_json_t  *part;
} unit_target_t;


static void test_bind(void);
static void test_bind_errors(void);
static void test_bind_error(const char *text, const char *pointer,
    const char *code);
static void test_bind_all(void);
static void test_bind_many(void);
static void test_printable(void);
static void test_pointers(void);
static void test_memory(void);
static void test_target(unit_target_t *target);


static const commerce_json_field_t  fields[] = {
    { "number", COMMERCE_JSON_INTEGER, COMMERCE_JSON_REQUIRED,
      offsetof(unit_target_t, number), -5, 100 },
    { "word", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(unit_target_t, word), 1, 4 },
    { "note", COMMERCE_JSON_STRING, COMMERCE_JSON_TEXT,
      offsetof(unit_target_t, note), 0, 100 },
    { "flag", COMMERCE_JSON_BOOLEAN, 0,
      offsetof(unit_target_t, flag), 0, 0 },
    { "list", COMMERCE_JSON_ARRAY, 0,
      offsetof(unit_target_t, list), 1, 2 },
    { "part", COMMERCE_JSON_OBJECT,
      COMMERCE_JSON_REQUIRED|COMMERCE_JSON_NULLABLE,
      offsetof(unit_target_t, part), 0, 1 },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


void
unit_json_bind(void)
{
    test_bind();
    test_bind_errors();
    test_bind_all();
    test_bind_many();
    test_printable();
    test_pointers();
    test_memory();
}


static void
test_target(unit_target_t *target)
{
    memset(target, 0, sizeof(*target));
    target->number = -42;
    target->flag = 7;
}


static void
test_bind(void)
{
    unit_memory_t           memory;
    unit_target_t           target;
    commerce_json_t        *root;
    commerce_json_errors_t  errors;

    unit_memory_init(&memory);
    commerce_json_errors_init(&errors, unit_memory_alloc, &memory);

    test_target(&target);
    unit_json_read(&memory, "{\"flag\":true,\"number\":100,\"word\":\"abcd\","
                   "\"note\":\"a\\n\\tb\",\"list\":[1,2],\"part\":{}}", &root);

    unit_integer(commerce_json_bind(root, fields, &target, "", &errors),
                 COMMERCE_OK, "everything binds");
    unit_integer((int64_t) errors.n, 0, "without errors");
    unit_integer(target.number, 100, "integer");
    unit_text(target.word.data, target.word.len, "abcd", "string");
    unit_text(target.note.data, target.note.len, "a\n\tb", "text");
    unit_integer(target.flag, 1, "boolean");
    unit_ok(target.list == commerce_json_member(root, "list"), "array");
    unit_ok(target.part == commerce_json_member(root, "part"), "object");

    test_target(&target);
    unit_json_read(&memory, "{\"number\":-5,\"part\":{\"x\":1},"
                   "\"word\":null}", &root);

    unit_integer(commerce_json_bind(root, fields, &target, "", &errors),
                 COMMERCE_OK, "what is optional may be absent");
    unit_integer(target.number, -5, "the smallest");
    unit_integer(target.flag, 7, "the default stays");
    unit_ok(target.word.data == NULL, "null counts as absent");
    unit_ok(target.list == NULL, "no array");

    unit_memory_free(&memory);
}


static void
test_bind_errors(void)
{
    size_t  i;

    static const struct {
        const char  *text;
        const char  *pointer;
        const char  *code;
    } cases[] = {
        { "[]", "/base", "wrong_type" },
        { "\"x\"", "/base", "wrong_type" },
        { "null", "/base", "wrong_type" },
        { "{\"part\":{}}", "/base/number", "required" },
        { "{\"number\":1}", "/base/part", "required" },
        { "{\"number\":1,\"part\":null}", "/base/part", "required" },
        { "{\"number\":null,\"part\":{}}", "/base/number", "wrong_type" },
        { "{\"number\":1,\"part\":{},\"numbe\":1}", "/base/numbe",
          "unknown_member" },
        { "{\"number\":1,\"part\":{},\"numbers\":1}", "/base/numbers",
          "unknown_member" },
        { "{\"number\":1,\"part\":{},\"\":1}", "/base/", "unknown_member" },
        { "{\"number\":1,\"part\":{},\"a~b/c\":1}", "/base/a~0b~1c",
          "unknown_member" },
        { "{\"number\":1,\"part\":{},\"~1\":1}", "/base/~01",
          "unknown_member" },
        { "{\"number\":101,\"part\":{}}", "/base/number", "out_of_range" },
        { "{\"number\":-6,\"part\":{}}", "/base/number", "out_of_range" },
        { "{\"number\":99999999999999999999,\"part\":{}}", "/base/number",
          "out_of_range" },
        { "{\"number\":-99999999999999999999,\"part\":{}}", "/base/number",
          "out_of_range" },
        { "{\"number\":1.0,\"part\":{}}", "/base/number", "wrong_type" },
        { "{\"number\":1e1,\"part\":{}}", "/base/number", "wrong_type" },
        { "{\"number\":1E1,\"part\":{}}", "/base/number", "wrong_type" },
        { "{\"number\":\"1\",\"part\":{}}", "/base/number", "wrong_type" },
        { "{\"number\":true,\"part\":{}}", "/base/number", "wrong_type" },
        { "{\"number\":1,\"part\":[]}", "/base/part", "wrong_type" },
        { "{\"number\":1,\"part\":{\"a\":1,\"b\":2}}", "/base/part",
          "too_many" },
        { "{\"number\":1,\"part\":{},\"word\":\"\"}", "/base/word",
          "too_short" },
        { "{\"number\":1,\"part\":{},\"word\":\"abcde\"}", "/base/word",
          "too_long" },
        { "{\"number\":1,\"part\":{},\"word\":1}", "/base/word",
          "wrong_type" },
        { "{\"number\":1,\"part\":{},\"word\":\"a\\nb\"}", "/base/word",
          "not_printable" },
        { "{\"number\":1,\"part\":{},\"note\":null}", "/base/note",
          "wrong_type" },
        { "{\"number\":1,\"part\":{},\"flag\":1}", "/base/flag",
          "wrong_type" },
        { "{\"number\":1,\"part\":{},\"flag\":null}", "/base/flag",
          "wrong_type" },
        { "{\"number\":1,\"part\":{},\"list\":{}}", "/base/list",
          "wrong_type" },
        { "{\"number\":1,\"part\":{},\"list\":[]}", "/base/list",
          "too_few" },
        { "{\"number\":1,\"part\":{},\"list\":[1,2,3]}", "/base/list",
          "too_many" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        test_bind_error(cases[i].text, cases[i].pointer, cases[i].code);
    }
}


static void
test_bind_error(const char *text, const char *pointer, const char *code)
{
    unit_memory_t           memory;
    unit_target_t           target;
    commerce_json_t        *root;
    commerce_json_error_t  *error;
    commerce_json_errors_t  errors;

    unit_memory_init(&memory);
    commerce_json_errors_init(&errors, unit_memory_alloc, &memory);
    unit_json_read(&memory, text, &root);
    test_target(&target);

    unit_ok(commerce_json_bind(root, fields, &target, "/base", &errors)
            == COMMERCE_ERROR && errors.n == 1 && !errors.failed,
            "one error in %s", text);

    error = &errors.errors[0];
    unit_text(error->pointer.data, error->pointer.len, pointer, pointer);
    unit_text(error->code, strlen(error->code), code, code);
    unit_ok(error->message && error->message[0], "and in words");

    unit_memory_free(&memory);
}


static void
test_bind_all(void)
{
    size_t                  i;
    unit_memory_t           memory;
    unit_target_t           target;
    commerce_json_t        *root;
    commerce_json_errors_t  errors;

    static const char *const  pointers[] = {
        "/lines/3/word", "/lines/3/x", "/lines/3/flag", "/lines/3/number",
        "/lines/3/part"
    };

    unit_memory_init(&memory);
    commerce_json_errors_init(&errors, unit_memory_alloc, &memory);
    test_target(&target);

    unit_json_read(&memory, "{\"word\":1,\"x\":0,\"flag\":\"y\"}", &root);
    unit_integer(commerce_json_bind(root, fields, &target, "/lines/3",
                                    &errors),
                 COMMERCE_ERROR, "all errors at once");
    unit_integer((int64_t) errors.n, 5, "five of them");

    for (i = 0; i < errors.n; i++) {
        unit_text(errors.errors[i].pointer.data,
                  errors.errors[i].pointer.len, pointers[i], pointers[i]);
    }

    unit_json_read(&memory, "{\"number\":1,\"part\":{}}", &root);
    unit_integer(commerce_json_bind(root, fields, &target, "", &errors),
                 COMMERCE_OK, "older errors are not this object's");
    unit_integer((int64_t) errors.n, 5, "and stay");

    unit_memory_free(&memory);
}


static void
test_bind_many(void)
{
    int                     i;
    char                    text[2048], *p;
    unit_memory_t           memory;
    unit_target_t           target;
    commerce_json_t        *root;
    commerce_json_errors_t  errors;

    p = text;

    for (i = 0; i < 40; i++) {
        p += sprintf(p, "%c\"u%d\":0", i ? ',' : '{', i);
    }

    sprintf(p, "}");

    unit_memory_init(&memory);
    commerce_json_errors_init(&errors, unit_memory_alloc, &memory);
    test_target(&target);

    unit_json_read(&memory, text, &root);
    unit_integer(commerce_json_bind(root, fields, &target, "", &errors),
                 COMMERCE_ERROR, "forty errors");
    unit_integer((int64_t) errors.n, COMMERCE_JSON_ERRORS_MAX,
                 "as many as there is room for");
    unit_integer(commerce_json_bind(root, fields, &target, "", &errors),
                 COMMERCE_ERROR, "an error also when the list is full");

    unit_json_read(&memory, "{}", &root);
    unit_integer(commerce_json_bind(root, fields, &target, "", &errors),
                 COMMERCE_ERROR, "and for what is missing");
    unit_json_read(&memory, "[]", &root);
    unit_integer(commerce_json_bind(root, fields, &target, "", &errors),
                 COMMERCE_ERROR, "and for no object");
    unit_integer((int64_t) errors.n, COMMERCE_JSON_ERRORS_MAX, "still full");

    unit_memory_free(&memory);
}


static void
test_printable(void)
{
    int                     i, code, good;
    char                    text[64];
    unit_memory_t           memory;
    unit_target_t           target;
    commerce_json_t        *root;
    commerce_json_errors_t  errors;

    static const commerce_json_field_t  words[] = {
        { "word", COMMERCE_JSON_STRING, 0,
          offsetof(unit_target_t, word), 0, 8 },
        { "note", COMMERCE_JSON_STRING, COMMERCE_JSON_TEXT,
          offsetof(unit_target_t, note), 0, 8 },
        { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
    };

    for (i = 0; i < 2; i++) {
        good = 1;

        for (code = 1; code < 0x800; code++) {
            snprintf(text, sizeof(text), "{\"%s\":\"a\\u%04xb\"}",
                     i ? "note" : "word", code);

            unit_memory_init(&memory);
            commerce_json_errors_init(&errors, unit_memory_alloc, &memory);
            unit_json_read(&memory, text, &root);

            if ((commerce_json_bind(root, words, &target, "", &errors)
                 == COMMERCE_OK)
                != ((code >= 0x20 && code < 0x7f) || code >= 0xa0
                    || (i && (code == '\t' || code == '\n'))))
            {
                printf("# U+%04X\n", code);
                good = 0;
            }

            unit_memory_free(&memory);
        }

        unit_ok(good, "controls in a %s", i ? "text" : "word");
    }
}


static void
test_pointers(void)
{
    size_t                  i;
    const char             *path;
    commerce_str_t          name;
    unit_memory_t           memory;
    commerce_json_errors_t  errors;

    unit_memory_init(&memory);
    commerce_json_errors_init(&errors, unit_memory_alloc, &memory);

    path = commerce_json_path(&errors, "", "lines", 0);
    unit_text(path, strlen(path), "/lines/0", "/lines/0");
    path = commerce_json_path(&errors, path, "a/~b", SIZE_MAX);
    unit_text(path, strlen(path), "/lines/0/a~1~0b/18446744073709551615",
              "names are escaped");
    path = commerce_json_path(&errors, "/lines", NULL, 12);
    unit_text(path, strlen(path), "/lines/12", "no name");

    name.data = (unsigned char *) "~/";
    name.len = 2;
    commerce_json_error_add(&errors, path, &name, "c", "m");
    unit_text(errors.errors[0].pointer.data, errors.errors[0].pointer.len,
              "/lines/12/~0~1", "an escaped pointer");
    commerce_json_error_add(&errors, "", NULL, "c", "m");
    unit_integer((int64_t) errors.errors[1].pointer.len, 0, "the root");

    for (i = 0; i < 100; i++) {
        commerce_json_error_add(&errors, "", &name, "c", "m");
    }

    unit_integer((int64_t) errors.n, COMMERCE_JSON_ERRORS_MAX, "full");
    unit_ok(!errors.failed, "which is no failure");

    unit_memory_free(&memory);
}


static void
test_memory(void)
{
    const char             *path;
    unit_memory_t           memory;
    unit_target_t           target;
    commerce_json_t        *root;
    commerce_json_errors_t  errors;

    unit_memory_init(&memory);
    unit_json_read(&memory, "{\"x\":1}", &root);
    memory.allowed = 1;

    commerce_json_errors_init(&errors, unit_memory_alloc, &memory);
    unit_integer(commerce_json_bind(root, fields, &target, "", &errors),
                 COMMERCE_ERROR, "out of memory while binding");
    unit_integer((int64_t) errors.n, 1, "the first error was noted");
    unit_ok(errors.failed, "the failure is remembered");

    path = commerce_json_path(&errors, "/a", "b", 1);
    unit_integer((int64_t) strlen(path), 0, "no path then");

    unit_memory_free(&memory);
}
