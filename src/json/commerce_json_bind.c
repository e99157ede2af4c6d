#include <stdio.h>
#include <string.h>

#include "commerce_json_reader.h"
#include "commerce_json_text.h"


typedef struct {
    const char  *code;
    const char  *message;
} commerce_json_fault_t;


static const commerce_json_field_t *commerce_json_field(
    const commerce_json_field_t *fields, const commerce_str_t *name);
static const commerce_json_fault_t *commerce_json_bind_value(
    const commerce_json_t *value, const commerce_json_field_t *field,
    void *target);
static const commerce_json_fault_t *commerce_json_bind_integer(
    const commerce_json_t *value, const commerce_json_field_t *field,
    void *target);
static const commerce_json_fault_t *commerce_json_bind_string(
    const commerce_json_t *value, const commerce_json_field_t *field,
    void *target);
static const commerce_json_fault_t *commerce_json_bind_members(
    const commerce_json_t *value, const commerce_json_field_t *field,
    void *target);
static int commerce_json_bind_required(const commerce_json_t *object,
    const commerce_json_field_t *fields, const char *path,
    commerce_json_errors_t *errors);
static int commerce_json_printable(const commerce_str_t *text, int multiline);
static int commerce_json_digits(const commerce_str_t *text);

static unsigned char *commerce_json_pointer(commerce_json_errors_t *errors,
    const char *path, const commerce_str_t *name, size_t extra, size_t *len);
static size_t commerce_json_pointer_escape(unsigned char *out,
    const commerce_str_t *name);


static const commerce_json_fault_t  commerce_json_unknown =
    { "unknown_member", "is not a member that is known here" };
static const commerce_json_fault_t  commerce_json_required =
    { "required", "is required" };
static const commerce_json_fault_t  commerce_json_not_integer =
    { "wrong_type", "must be an integer" };
static const commerce_json_fault_t  commerce_json_not_string =
    { "wrong_type", "must be a string" };
static const commerce_json_fault_t  commerce_json_not_boolean =
    { "wrong_type", "must be true or false" };
static const commerce_json_fault_t  commerce_json_not_array =
    { "wrong_type", "must be an array" };
static const commerce_json_fault_t  commerce_json_not_object =
    { "wrong_type", "must be an object" };
static const commerce_json_fault_t  commerce_json_out_of_range =
    { "out_of_range", "is not in the range of allowed values" };
static const commerce_json_fault_t  commerce_json_too_short =
    { "too_short", "is too short" };
static const commerce_json_fault_t  commerce_json_too_long =
    { "too_long", "is too long" };
static const commerce_json_fault_t  commerce_json_not_printable =
    { "not_printable", "has a control character" };
static const commerce_json_fault_t  commerce_json_too_few =
    { "too_few", "has too few members" };
static const commerce_json_fault_t  commerce_json_too_many =
    { "too_many", "has too many members" };


commerce_json_t *
commerce_json_member(const commerce_json_t *object, const char *name)
{
    size_t            len;
    commerce_json_t  *member;

    if (object->type != COMMERCE_JSON_OBJECT) {
        return NULL;
    }

    len = strlen(name);

    for (member = object->child; member; member = member->next) {
        if (member->key.len == len
            && memcmp(member->key.data, name, len) == 0)
        {
            return member;
        }
    }

    return NULL;
}


void
commerce_json_errors_init(commerce_json_errors_t *errors,
    commerce_json_alloc_pt alloc, void *data)
{
    errors->n = 0;
    errors->alloc = alloc;
    errors->data = data;
    errors->failed = 0;
}


int
commerce_json_bind(const commerce_json_t *object,
    const commerce_json_field_t *fields, void *target, const char *path,
    commerce_json_errors_t *errors)
{
    int                           rc;
    const commerce_json_t        *member;
    const commerce_json_fault_t  *fault;
    const commerce_json_field_t  *field;

    if (object->type != COMMERCE_JSON_OBJECT) {
        fault = &commerce_json_not_object;
        commerce_json_error_add(errors, path, NULL, fault->code,
                                fault->message);
        return COMMERCE_ERROR;
    }

    rc = COMMERCE_OK;

    for (member = object->child; member; member = member->next) {

        field = commerce_json_field(fields, &member->key);

        fault = field ? commerce_json_bind_value(member, field, target)
                      : &commerce_json_unknown;

        if (fault == NULL) {
            continue;
        }

        rc = COMMERCE_ERROR;

        if (errors->n == COMMERCE_JSON_ERRORS_MAX || errors->failed) {
            return rc;
        }

        commerce_json_error_add(errors, path, &member->key, fault->code,
                                fault->message);
    }

    if (commerce_json_bind_required(object, fields, path, errors)
        != COMMERCE_OK)
    {
        rc = COMMERCE_ERROR;
    }

    return rc;
}


static const commerce_json_field_t *
commerce_json_field(const commerce_json_field_t *fields,
    const commerce_str_t *name)
{
    const commerce_json_field_t  *field;

    for (field = fields; field->name; field++) {

        /* a key has no NUL: strncmp() never looks behind the name's end */
        if (strncmp(field->name, (const char *) name->data, name->len) == 0
            && field->name[name->len] == '\0')
        {
            return field;
        }
    }

    return NULL;
}


static const commerce_json_fault_t *
commerce_json_bind_value(const commerce_json_t *value,
    const commerce_json_field_t *field, void *target)
{
    int  *boolean;

    if (value->type == COMMERCE_JSON_NULL
        && (field->flags & COMMERCE_JSON_NULLABLE))
    {
        return NULL;
    }

    switch (field->type) {

    case COMMERCE_JSON_INTEGER:
        return commerce_json_bind_integer(value, field, target);

    case COMMERCE_JSON_STRING:
        return commerce_json_bind_string(value, field, target);

    case COMMERCE_JSON_BOOLEAN:
        if (value->type != COMMERCE_JSON_BOOLEAN) {
            return &commerce_json_not_boolean;
        }

        boolean = (int *) ((char *) target + field->offset);
        *boolean = (int) value->integer;

        return NULL;

    default:
        return commerce_json_bind_members(value, field, target);
    }
}


static const commerce_json_fault_t *
commerce_json_bind_integer(const commerce_json_t *value,
    const commerce_json_field_t *field, void *target)
{
    int64_t  *integer;

    if (value->type == COMMERCE_JSON_NUMBER
        && commerce_json_digits(&value->string))
    {
        return &commerce_json_out_of_range;
    }

    if (value->type != COMMERCE_JSON_INTEGER) {
        return &commerce_json_not_integer;
    }

    if (value->integer < field->min || value->integer > field->max) {
        return &commerce_json_out_of_range;
    }

    integer = (int64_t *) ((char *) target + field->offset);
    *integer = value->integer;

    return NULL;
}


static const commerce_json_fault_t *
commerce_json_bind_string(const commerce_json_t *value,
    const commerce_json_field_t *field, void *target)
{
    commerce_str_t  *string;

    if (value->type != COMMERCE_JSON_STRING) {
        return &commerce_json_not_string;
    }

    if ((int64_t) value->string.len < field->min) {
        return &commerce_json_too_short;
    }

    if ((int64_t) value->string.len > field->max) {
        return &commerce_json_too_long;
    }

    if (!commerce_json_printable(&value->string,
                                 field->flags & COMMERCE_JSON_TEXT))
    {
        return &commerce_json_not_printable;
    }

    string = (commerce_str_t *) ((char *) target + field->offset);
    *string = value->string;

    return NULL;
}


static const commerce_json_fault_t *
commerce_json_bind_members(const commerce_json_t *value,
    const commerce_json_field_t *field, void *target)
{
    const commerce_json_t  **members;

    if (value->type != field->type) {
        return field->type == COMMERCE_JSON_ARRAY ? &commerce_json_not_array
                                                  : &commerce_json_not_object;
    }

    if ((int64_t) value->count < field->min) {
        return &commerce_json_too_few;
    }

    if ((int64_t) value->count > field->max) {
        return &commerce_json_too_many;
    }

    members = (const commerce_json_t **) ((char *) target + field->offset);
    *members = value;

    return NULL;
}


static int
commerce_json_bind_required(const commerce_json_t *object,
    const commerce_json_field_t *fields, const char *path,
    commerce_json_errors_t *errors)
{
    int                           rc;
    commerce_str_t                name;
    const commerce_json_t        *member;
    const commerce_json_field_t  *field;

    rc = COMMERCE_OK;

    for (field = fields; field->name; field++) {

        if (!(field->flags & COMMERCE_JSON_REQUIRED)) {
            continue;
        }

        member = commerce_json_member(object, field->name);

        /* a null that is not allowed is a wrong type and noted already */

        if (member
            && (member->type != COMMERCE_JSON_NULL
                || !(field->flags & COMMERCE_JSON_NULLABLE)))
        {
            continue;
        }

        name.data = (unsigned char *) field->name;
        name.len = strlen(field->name);

        commerce_json_error_add(errors, path, &name,
                                commerce_json_required.code,
                                commerce_json_required.message);
        rc = COMMERCE_ERROR;
    }

    return rc;
}


/* The text is valid UTF-8: C1 is C2 80 to C2 9F. */

static int
commerce_json_printable(const commerce_str_t *text, int multiline)
{
    unsigned char         c;
    const unsigned char  *p, *end;

    p = text->data;
    end = p + text->len;

    while (p < end) {
        c = *p++;

        if (c >= 0x20 && c < 0x7f) {
            continue;
        }

        if (c < 0x20) {
            if (multiline && (c == '\t' || c == '\n')) {
                continue;
            }

            return 0;
        }

        if (c == 0x7f || (c == 0xc2 && p < end && *p < 0xa0)) {
            return 0;
        }
    }

    return 1;
}


static int
commerce_json_digits(const commerce_str_t *text)
{
    size_t  i;

    for (i = 0; i < text->len; i++) {
        if (text->data[i] == '.' || text->data[i] == 'e'
            || text->data[i] == 'E')
        {
            return 0;
        }
    }

    return 1;
}


void
commerce_json_error_add(commerce_json_errors_t *errors, const char *path,
    const commerce_str_t *name, const char *code, const char *message)
{
    commerce_json_error_t  *error;

    if (errors->n == COMMERCE_JSON_ERRORS_MAX) {
        return;
    }

    error = &errors->errors[errors->n];

    error->pointer.data = commerce_json_pointer(errors, path, name, 0,
                                                &error->pointer.len);
    if (error->pointer.data == NULL) {
        return;
    }

    error->code = code;
    error->message = message;

    errors->n++;
}


const char *
commerce_json_path(commerce_json_errors_t *errors, const char *path,
    const char *name, size_t index)
{
    size_t           len;
    char             number[24];
    commerce_str_t   str;
    unsigned char   *pointer;

    str.data = (unsigned char *) name;
    str.len = name ? strlen(name) : 0;

    pointer = commerce_json_pointer(errors, path, name ? &str : NULL,
                                    sizeof(number), &len);
    if (pointer == NULL) {
        return "";
    }

    snprintf(number, sizeof(number), "/%zu", index);
    memcpy(pointer + len, number, strlen(number) + 1);

    return (const char *) pointer;
}


/* path, "/" and the escaped name, with room for "extra" bytes behind. */

static unsigned char *
commerce_json_pointer(commerce_json_errors_t *errors, const char *path,
    const commerce_str_t *name, size_t extra, size_t *len)
{
    size_t          n, size;
    unsigned char  *out;

    n = strlen(path);
    size = n + extra;

    if (name) {
        size += 1 + commerce_json_pointer_escape(NULL, name);
    }

    out = errors->alloc(errors->data, size ? size : 1);

    if (out == NULL) {
        errors->failed = 1;
        return NULL;
    }

    memcpy(out, path, n);

    if (name) {
        out[n++] = '/';
        n += commerce_json_pointer_escape(out + n, name);
    }

    *len = n;

    return out;
}


/* Returns the length; writes nothing when "out" is NULL. */

static size_t
commerce_json_pointer_escape(unsigned char *out, const commerce_str_t *name)
{
    size_t         i, n;
    unsigned char  c;

    n = 0;

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if (c != '~' && c != '/') {
            if (out) {
                out[n] = c;
            }

            n++;
            continue;
        }

        if (out) {
            out[n] = '~';
            out[n + 1] = c == '~' ? '0' : '1';
        }

        n += 2;
    }

    return n;
}
