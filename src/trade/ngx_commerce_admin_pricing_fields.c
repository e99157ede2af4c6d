#include "ngx_commerce_admin_pricing.h"
#include "commerce_price.h"
#include "commerce_time.h"


#define NGX_COMMERCE_COUNTRIES_MAX   250
#define NGX_COMMERCE_CODE_MAX        64
#define NGX_COMMERCE_POSITION_MAX    1000000


typedef struct {
    commerce_str_t              country;
    commerce_str_t              region;
    commerce_str_t              category;
    int64_t                     rate;
    int                         included;
} ngx_commerce_tax_rate_fields_t;


typedef struct {
    commerce_str_t              code;
    commerce_str_t              title;
    const commerce_json_t      *countries;
    const commerce_json_t      *prices;
    const commerce_json_t      *free_over;
    int                         active;
    int64_t                     position;
} ngx_commerce_shipping_method_fields_t;


typedef struct {
    commerce_str_t              code;
    commerce_str_t              kind;
    int64_t                     percent;
    const commerce_json_t      *amounts;
    const commerce_json_t      *minimum;
    commerce_str_t              starts_at;
    commerce_str_t              ends_at;
    int64_t                     limit_total;
    int64_t                     limit_per_customer;
    int                         active;
} ngx_commerce_coupon_fields_t;


static ngx_uint_t ngx_commerce_country_valid(const commerce_str_t *text);
static ngx_uint_t ngx_commerce_code_valid(const commerce_str_t *text);
static void ngx_commerce_countries_check(const commerce_json_t *list,
    commerce_json_errors_t *errors);
static void ngx_commerce_amounts_check(const commerce_json_t *amounts,
    const char *path, commerce_json_errors_t *errors);
static void ngx_commerce_coupon_kind_check(const commerce_json_t *doc,
    const commerce_str_t *kind, commerce_json_errors_t *errors);
static void ngx_commerce_coupon_member_check(const commerce_json_t *doc,
    const char *name, ngx_uint_t wanted, commerce_json_errors_t *errors);
static void ngx_commerce_coupon_times_check(
    const ngx_commerce_coupon_fields_t *fields,
    commerce_json_errors_t *errors);
static ngx_uint_t ngx_commerce_str_is(const commerce_str_t *str,
    const char *text);
static void ngx_commerce_wrong(commerce_json_errors_t *errors,
    const char *name, const char *code, const char *message);
static void ngx_commerce_member_text(commerce_json_writer_t *w,
    const char *name, PGresult *res, int row, int col);
static void ngx_commerce_member_json(commerce_json_writer_t *w,
    const char *name, PGresult *res, int row, int col);
static void ngx_commerce_member_int4(commerce_json_writer_t *w,
    const char *name, PGresult *res, int row, int col);
static void ngx_commerce_member_int8(commerce_json_writer_t *w,
    const char *name, PGresult *res, int row, int col);
static void ngx_commerce_member_bool(commerce_json_writer_t *w,
    const char *name, PGresult *res, int row, int col);
static void ngx_commerce_member_time(commerce_json_writer_t *w,
    const char *name, PGresult *res, int row, int col);


static const commerce_json_field_t  ngx_commerce_tax_rate_table[] = {

    { "country", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_tax_rate_fields_t, country), 2, 2 },

    { "region", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_tax_rate_fields_t, region), 1, 255 },

    { "category", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_tax_rate_fields_t, category),
      1, NGX_COMMERCE_SLUG_MAX },

    { "rate", COMMERCE_JSON_INTEGER, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_tax_rate_fields_t, rate),
      0, 10 * COMMERCE_RATE_ONE },

    { "included", COMMERCE_JSON_BOOLEAN, 0,
      offsetof(ngx_commerce_tax_rate_fields_t, included), 0, 0 },

    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


static const commerce_json_field_t  ngx_commerce_shipping_method_table[] = {

    { "code", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_shipping_method_fields_t, code),
      1, NGX_COMMERCE_CODE_MAX },

    { "title", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_shipping_method_fields_t, title),
      1, COMMERCE_TITLE_MAX },

    { "countries", COMMERCE_JSON_ARRAY, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_shipping_method_fields_t, countries),
      1, NGX_COMMERCE_COUNTRIES_MAX },

    { "prices", COMMERCE_JSON_OBJECT, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_shipping_method_fields_t, prices),
      1, COMMERCE_PRICES_MAX },

    { "free_over", COMMERCE_JSON_OBJECT, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_shipping_method_fields_t, free_over),
      1, COMMERCE_PRICES_MAX },

    { "active", COMMERCE_JSON_BOOLEAN, 0,
      offsetof(ngx_commerce_shipping_method_fields_t, active), 0, 0 },

    { "position", COMMERCE_JSON_INTEGER, 0,
      offsetof(ngx_commerce_shipping_method_fields_t, position),
      0, NGX_COMMERCE_POSITION_MAX },

    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


static const commerce_json_field_t  ngx_commerce_coupon_table[] = {

    { "code", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_coupon_fields_t, code),
      1, NGX_COMMERCE_CODE_MAX },

    { "kind", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_coupon_fields_t, kind), 1, 16 },

    { "percent", COMMERCE_JSON_INTEGER, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_coupon_fields_t, percent),
      1, COMMERCE_RATE_ONE },

    { "amounts", COMMERCE_JSON_OBJECT, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_coupon_fields_t, amounts),
      1, COMMERCE_PRICES_MAX },

    { "minimum", COMMERCE_JSON_OBJECT, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_coupon_fields_t, minimum),
      1, COMMERCE_PRICES_MAX },

    { "starts_at", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_coupon_fields_t, starts_at), 1, 64 },

    { "ends_at", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_coupon_fields_t, ends_at), 1, 64 },

    { "limit_total", COMMERCE_JSON_INTEGER, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_coupon_fields_t, limit_total),
      1, COMMERCE_MONEY_MAX },

    { "limit_per_customer", COMMERCE_JSON_INTEGER, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_coupon_fields_t, limit_per_customer),
      1, 2147483647 },

    { "active", COMMERCE_JSON_BOOLEAN, 0,
      offsetof(ngx_commerce_coupon_fields_t, active), 0, 0 },

    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


void
ngx_commerce_tax_rate_check(const commerce_json_t *doc,
    commerce_json_errors_t *errors)
{
    ngx_commerce_tax_rate_fields_t  fields;

    ngx_memzero(&fields, sizeof(ngx_commerce_tax_rate_fields_t));

    commerce_json_bind(doc, ngx_commerce_tax_rate_table, &fields, "", errors);

    if (fields.country.data && !ngx_commerce_country_valid(&fields.country)) {
        ngx_commerce_wrong(errors, "country", "invalid",
                           "must be two capital letters (ISO 3166)");
    }
}


void
ngx_commerce_shipping_method_check(const commerce_json_t *doc,
    commerce_json_errors_t *errors)
{
    ngx_commerce_shipping_method_fields_t  fields;

    ngx_memzero(&fields, sizeof(ngx_commerce_shipping_method_fields_t));

    commerce_json_bind(doc, ngx_commerce_shipping_method_table, &fields, "",
                       errors);

    if (fields.code.data && !ngx_commerce_code_valid(&fields.code)) {
        ngx_commerce_wrong(errors, "code", "invalid",
                           "must be of printable ASCII without blanks");
    }

    if (fields.countries) {
        ngx_commerce_countries_check(fields.countries, errors);
    }

    if (fields.prices) {
        ngx_commerce_amounts_check(fields.prices, "/prices", errors);
    }

    if (fields.free_over) {
        ngx_commerce_amounts_check(fields.free_over, "/free_over", errors);
    }
}


void
ngx_commerce_coupon_check(const commerce_json_t *doc,
    commerce_json_errors_t *errors)
{
    ngx_commerce_coupon_fields_t  fields;

    ngx_memzero(&fields, sizeof(ngx_commerce_coupon_fields_t));

    commerce_json_bind(doc, ngx_commerce_coupon_table, &fields, "", errors);

    if (fields.code.data && !ngx_commerce_code_valid(&fields.code)) {
        ngx_commerce_wrong(errors, "code", "invalid",
                           "must be of printable ASCII without blanks");
    }

    if (fields.kind.data) {
        ngx_commerce_coupon_kind_check(doc, &fields.kind, errors);
    }

    if (fields.amounts) {
        ngx_commerce_amounts_check(fields.amounts, "/amounts", errors);
    }

    if (fields.minimum) {
        ngx_commerce_amounts_check(fields.minimum, "/minimum", errors);
    }

    ngx_commerce_coupon_times_check(&fields, errors);
}


static ngx_uint_t
ngx_commerce_country_valid(const commerce_str_t *text)
{
    return text->len == 2
           && text->data[0] >= 'A' && text->data[0] <= 'Z'
           && text->data[1] >= 'A' && text->data[1] <= 'Z';
}


static ngx_uint_t
ngx_commerce_code_valid(const commerce_str_t *text)
{
    size_t  i;

    for (i = 0; i < text->len; i++) {
        if (text->data[i] <= ' ' || text->data[i] > '~') {
            return 0;
        }
    }

    return 1;
}


static void
ngx_commerce_countries_check(const commerce_json_t *list,
    commerce_json_errors_t *errors)
{
    size_t                  i;
    const char             *path;
    const commerce_json_t  *v;

    for (i = 0, v = list->child; v; i++, v = v->next) {

        if (errors->n == COMMERCE_JSON_ERRORS_MAX) {
            return;
        }

        if (v->type == COMMERCE_JSON_STRING
            && ngx_commerce_country_valid(&v->string))
        {
            continue;
        }

        path = commerce_json_path(errors, "", "countries", i);

        commerce_json_error_add(errors, path, NULL, "invalid",
                                "must be two capital letters (ISO 3166)");
    }
}


static void
ngx_commerce_amounts_check(const commerce_json_t *amounts, const char *path,
    commerce_json_errors_t *errors)
{
    const commerce_json_t  *a;

    for (a = amounts->child; a; a = a->next) {

        if (errors->n == COMMERCE_JSON_ERRORS_MAX) {
            return;
        }

        if (!commerce_currency_valid(a->key.data, a->key.len)) {
            commerce_json_error_add(errors, path, &a->key, "invalid",
                                    "is no currency: three upper-case "
                                    "letters");

        } else if (a->type != COMMERCE_JSON_INTEGER) {
            commerce_json_error_add(errors, path, &a->key, "wrong_type",
                                    "must be an integer of minor units");

        } else if (a->integer < 0 || a->integer > COMMERCE_MONEY_MAX) {
            commerce_json_error_add(errors, path, &a->key, "out_of_range",
                                    "is not in the range of allowed values");
        }
    }
}


static void
ngx_commerce_coupon_kind_check(const commerce_json_t *doc,
    const commerce_str_t *kind, commerce_json_errors_t *errors)
{
    ngx_uint_t  percent, fixed;

    percent = ngx_commerce_str_is(kind, "percent");
    fixed = ngx_commerce_str_is(kind, "fixed");

    if (!percent && !fixed && !ngx_commerce_str_is(kind, "free_shipping")) {
        ngx_commerce_wrong(errors, "kind", "invalid",
                           "must be \"percent\", \"fixed\" or "
                           "\"free_shipping\"");
        return;
    }

    ngx_commerce_coupon_member_check(doc, "percent", percent, errors);
    ngx_commerce_coupon_member_check(doc, "amounts", fixed, errors);
}


static void
ngx_commerce_coupon_member_check(const commerce_json_t *doc,
    const char *name, ngx_uint_t wanted, commerce_json_errors_t *errors)
{
    ngx_uint_t              given;
    const commerce_json_t  *member;

    member = commerce_json_member(doc, name);
    given = member && member->type != COMMERCE_JSON_NULL;

    if (wanted && !given) {
        ngx_commerce_wrong(errors, name, "required",
                           "is required for this kind");

    } else if (!wanted && given) {
        ngx_commerce_wrong(errors, name, "invalid",
                           "does not belong to this kind");
    }
}


static void
ngx_commerce_coupon_times_check(const ngx_commerce_coupon_fields_t *fields,
    commerce_json_errors_t *errors)
{
    int64_t     starts, ends;
    ngx_uint_t  i, good;

    static const char  *wrong = "must be a time such as "
                                "2026-11-22T14:43:30Z (RFC 3339)";

    const struct {
        const char            *name;
        const commerce_str_t  *text;
        int64_t               *time;
    } times[] = {
        { "starts_at", &fields->starts_at, &starts },
        { "ends_at", &fields->ends_at, &ends }
    };

    good = 0;

    for (i = 0; i < 2; i++) {

        if (times[i].text->data == NULL) {
            continue;
        }

        if (commerce_time_parse(times[i].time, times[i].text->data,
                                times[i].text->len)
            == COMMERCE_OK)
        {
            good++;

        } else {
            ngx_commerce_wrong(errors, times[i].name, "invalid", wrong);
        }
    }

    if (good == 2 && ends <= starts) {
        ngx_commerce_wrong(errors, "ends_at", "invalid",
                           "must be after starts_at");
    }
}


static ngx_uint_t
ngx_commerce_str_is(const commerce_str_t *str, const char *text)
{
    return str->len == ngx_strlen(text)
           && ngx_memcmp(str->data, text, str->len) == 0;
}


static void
ngx_commerce_wrong(commerce_json_errors_t *errors, const char *name,
    const char *code, const char *message)
{
    commerce_str_t  str;

    str.data = (u_char *) name;
    str.len = ngx_strlen(name);

    commerce_json_error_add(errors, "", &str, code, message);
}


void
ngx_commerce_tax_rate_write(commerce_json_writer_t *w, PGresult *res, int row)
{
    int  col;

    col = NGX_COMMERCE_PRICING_FIRST;

    ngx_commerce_member_text(w, "country", res, row, col);
    ngx_commerce_member_text(w, "region", res, row, col + 1);
    ngx_commerce_member_text(w, "category", res, row, col + 2);
    ngx_commerce_member_int4(w, "rate", res, row, col + 3);
    ngx_commerce_member_bool(w, "included", res, row, col + 4);
}


void
ngx_commerce_shipping_method_write(commerce_json_writer_t *w, PGresult *res,
    int row)
{
    int  col;

    col = NGX_COMMERCE_PRICING_FIRST;

    ngx_commerce_member_text(w, "code", res, row, col);
    ngx_commerce_member_text(w, "title", res, row, col + 1);
    ngx_commerce_member_json(w, "countries", res, row, col + 2);
    ngx_commerce_member_json(w, "prices", res, row, col + 3);
    ngx_commerce_member_json(w, "free_over", res, row, col + 4);
    ngx_commerce_member_bool(w, "active", res, row, col + 5);
    ngx_commerce_member_int4(w, "position", res, row, col + 6);
}


void
ngx_commerce_coupon_write(commerce_json_writer_t *w, PGresult *res, int row)
{
    int  col;

    col = NGX_COMMERCE_PRICING_FIRST;

    ngx_commerce_member_text(w, "code", res, row, col);
    ngx_commerce_member_text(w, "kind", res, row, col + 1);
    ngx_commerce_member_int4(w, "percent", res, row, col + 2);
    ngx_commerce_member_json(w, "amounts", res, row, col + 3);
    ngx_commerce_member_json(w, "minimum", res, row, col + 4);
    ngx_commerce_member_time(w, "starts_at", res, row, col + 5);
    ngx_commerce_member_time(w, "ends_at", res, row, col + 6);
    ngx_commerce_member_int8(w, "limit_total", res, row, col + 7);
    ngx_commerce_member_int4(w, "limit_per_customer", res, row, col + 8);
    ngx_commerce_member_int8(w, "used", res, row, col + 9);
    ngx_commerce_member_bool(w, "active", res, row, col + 10);
}


static void
ngx_commerce_member_text(commerce_json_writer_t *w, const char *name,
    PGresult *res, int row, int col)
{
    ngx_str_t  text;

    commerce_json_key(w, name);

    if (ngx_commerce_pg_is_null(res, row, col)) {
        commerce_json_null(w);
        return;
    }

    text = ngx_commerce_pg_get_text(res, row, col);
    commerce_json_string(w, text.data, text.len);
}


static void
ngx_commerce_member_json(commerce_json_writer_t *w, const char *name,
    PGresult *res, int row, int col)
{
    ngx_str_t  text;

    text = ngx_commerce_pg_get_text(res, row, col);

    commerce_json_key(w, name);
    commerce_json_raw(w, text.data, text.len);
}


static void
ngx_commerce_member_int4(commerce_json_writer_t *w, const char *name,
    PGresult *res, int row, int col)
{
    commerce_json_key(w, name);

    if (ngx_commerce_pg_is_null(res, row, col)) {
        commerce_json_null(w);
        return;
    }

    commerce_json_integer(w, ngx_commerce_pg_get_int4(res, row, col));
}


static void
ngx_commerce_member_int8(commerce_json_writer_t *w, const char *name,
    PGresult *res, int row, int col)
{
    commerce_json_key(w, name);

    if (ngx_commerce_pg_is_null(res, row, col)) {
        commerce_json_null(w);
        return;
    }

    commerce_json_integer(w, ngx_commerce_pg_get_int8(res, row, col));
}


static void
ngx_commerce_member_bool(commerce_json_writer_t *w, const char *name,
    PGresult *res, int row, int col)
{
    commerce_json_key(w, name);
    commerce_json_boolean(w, ngx_commerce_pg_get_bool(res, row, col));
}


static void
ngx_commerce_member_time(commerce_json_writer_t *w, const char *name,
    PGresult *res, int row, int col)
{
    commerce_json_key(w, name);

    if (ngx_commerce_pg_is_null(res, row, col)) {
        commerce_json_null(w);
        return;
    }

    commerce_json_time(w, ngx_commerce_pg_get_int8(res, row, col));
}
