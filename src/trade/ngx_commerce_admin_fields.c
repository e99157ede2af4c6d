#include "ngx_commerce_admin_fields.h"
#include "commerce_json_text.h"


typedef struct {
    commerce_str_t              sku;
    commerce_str_t              title;
    const commerce_json_t      *options;
    const commerce_json_t      *prices;
    int64_t                     stock;
} ngx_commerce_product_variant_t;


static ngx_uint_t ngx_commerce_name_valid(const u_char *text, size_t len);
static void ngx_commerce_product_variants_check(const commerce_json_t *list,
    commerce_json_errors_t *errors);
static ngx_uint_t ngx_commerce_sku_repeats(const commerce_json_t *list,
    const commerce_json_t *last, const commerce_str_t *sku);
static void ngx_commerce_options_check(const commerce_json_t *options,
    const char *path, commerce_json_errors_t *errors);
static void ngx_commerce_fault(commerce_json_errors_t *errors,
    const char *path, const char *name, const char *code,
    const char *message);
static ngx_uint_t ngx_commerce_given(const commerce_json_t *doc,
    const char *name);


/* In each table "type" (and "sku") stand first, so that they can be left out:
   an admin endpoint has them in its path. */

static const commerce_json_field_t  ngx_commerce_product_table[] = {

    { "type", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_product_fields_t, type), 1, 16 },

    { "slug", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_product_fields_t, slug),
      1, NGX_COMMERCE_SLUG_MAX },

    { "title", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_product_fields_t, title),
      1, COMMERCE_TITLE_MAX },

    { "description", COMMERCE_JSON_STRING,
      COMMERCE_JSON_NULLABLE | COMMERCE_JSON_TEXT,
      offsetof(ngx_commerce_product_fields_t, description), 0, 16384 },

    { "category", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_product_fields_t, category),
      1, NGX_COMMERCE_SLUG_MAX },

    { "published", COMMERCE_JSON_BOOLEAN, 0,
      offsetof(ngx_commerce_product_fields_t, published), 0, 0 },

    { "variants", COMMERCE_JSON_ARRAY, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_product_fields_t, variants),
      1, NGX_COMMERCE_VARIANTS_MAX },

    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


static const commerce_json_field_t  ngx_commerce_product_variant_table[] = {

    { "sku", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_product_variant_t, sku), 1, COMMERCE_SKU_MAX },

    { "title", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_product_variant_t, title),
      1, COMMERCE_TITLE_MAX },

    { "options", COMMERCE_JSON_OBJECT, 0,
      offsetof(ngx_commerce_product_variant_t, options),
      0, NGX_COMMERCE_OPTIONS_MAX },

    { "prices", COMMERCE_JSON_OBJECT, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_product_variant_t, prices),
      1, COMMERCE_PRICES_MAX },

    { "stock", COMMERCE_JSON_INTEGER, 0,
      offsetof(ngx_commerce_product_variant_t, stock),
      0, NGX_COMMERCE_UNITS_MAX },

    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


static const commerce_json_field_t  ngx_commerce_variant_table[] = {

    { "title", COMMERCE_JSON_STRING, 0,
      offsetof(ngx_commerce_variant_fields_t, title), 1, COMMERCE_TITLE_MAX },

    { "options", COMMERCE_JSON_OBJECT, 0,
      offsetof(ngx_commerce_variant_fields_t, options),
      0, NGX_COMMERCE_OPTIONS_MAX },

    { "prices", COMMERCE_JSON_OBJECT, 0,
      offsetof(ngx_commerce_variant_fields_t, prices),
      1, COMMERCE_PRICES_MAX },

    { "archived", COMMERCE_JSON_BOOLEAN, 0,
      offsetof(ngx_commerce_variant_fields_t, archived), 0, 0 },

    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


static const commerce_json_field_t  ngx_commerce_stock_table[] = {

    { "type", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_stock_fields_t, type), 1, 16 },

    { "sku", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_stock_fields_t, sku), 1, COMMERCE_SKU_MAX },

    { "delta", COMMERCE_JSON_INTEGER, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_stock_fields_t, delta),
      -NGX_COMMERCE_UNITS_MAX, NGX_COMMERCE_UNITS_MAX },

    { "set", COMMERCE_JSON_INTEGER, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_stock_fields_t, set),
      0, NGX_COMMERCE_UNITS_MAX },

    { "expected", COMMERCE_JSON_INTEGER, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_stock_fields_t, expected),
      0, NGX_COMMERCE_UNITS_MAX },

    { "reason", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_stock_fields_t, reason), 1, 255 },

    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


static const commerce_json_field_t  ngx_commerce_price_table[] = {

    { "type", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_price_fields_t, type), 1, 16 },

    { "sku", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_price_fields_t, sku), 1, COMMERCE_SKU_MAX },

    { "prices", COMMERCE_JSON_OBJECT, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_price_fields_t, prices),
      1, COMMERCE_PRICES_MAX },

    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


static ngx_uint_t
ngx_commerce_name_valid(const u_char *text, size_t len)
{
    size_t  i;
    u_char  c;

    if (len == 0 || len > NGX_COMMERCE_SLUG_MAX) {
        return 0;
    }

    for (i = 0; i < len; i++) {

        c = text[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
              || c == '-' || c == '_' || c == '.'))
        {
            return 0;
        }
    }

    return 1;
}


ngx_uint_t
ngx_commerce_slug_valid(const u_char *text, size_t len)
{
    commerce_uuid_t  id;

    return ngx_commerce_name_valid(text, len)
           && commerce_uuid_parse(&id, text, len) != COMMERCE_OK;
}


ngx_uint_t
ngx_commerce_sku_valid(const u_char *text, size_t len)
{
    size_t  i;

    if (len == 0 || len > COMMERCE_SKU_MAX
        || !commerce_json_text_valid(text, len))
    {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if (text[i] < 0x20 || text[i] == 0x7f) {
            return 0;
        }
    }

    return 1;
}


ngx_int_t
ngx_commerce_product_check(const commerce_json_t *doc, ngx_uint_t row,
    ngx_commerce_product_fields_t *fields, commerce_json_errors_t *errors)
{
    size_t  before;

    ngx_memzero(fields, sizeof(ngx_commerce_product_fields_t));

    before = errors->n;

    commerce_json_bind(doc, row ? ngx_commerce_product_table
                                : ngx_commerce_product_table + 1,
                       fields, "", errors);

    if (fields->slug.data
        && !ngx_commerce_slug_valid(fields->slug.data, fields->slug.len))
    {
        ngx_commerce_fault(errors, "", "slug", "invalid",
                           "must be of a-z, 0-9, \".\", \"_\" and \"-\", "
                           "and not look like an id");
    }

    if (fields->variants) {
        ngx_commerce_product_variants_check(fields->variants, errors);
    }

    return errors->n == before && !errors->failed ? NGX_OK : NGX_ERROR;
}


static void
ngx_commerce_product_variants_check(const commerce_json_t *list,
    commerce_json_errors_t *errors)
{
    size_t                           i;
    const char                      *path;
    const commerce_json_t           *v;
    ngx_commerce_product_variant_t   fields;

    for (i = 0, v = list->child; v; i++, v = v->next) {

        if (errors->n == COMMERCE_JSON_ERRORS_MAX) {
            return;
        }

        ngx_memzero(&fields, sizeof(ngx_commerce_product_variant_t));

        path = commerce_json_path(errors, "", "variants", i);

        commerce_json_bind(v, ngx_commerce_product_variant_table, &fields,
                           path, errors);

        if (fields.sku.data && ngx_commerce_sku_repeats(list, v, &fields.sku))
        {
            ngx_commerce_fault(errors, path, "sku", "duplicate",
                               "is the sku of another variant above");
        }

        if (fields.options) {
            ngx_commerce_options_check(fields.options,
                         ngx_commerce_below(errors, path, "options"), errors);
        }

        if (fields.prices) {
            ngx_commerce_prices_check(fields.prices,
                         ngx_commerce_below(errors, path, "prices"), errors);
        }
    }
}


static ngx_uint_t
ngx_commerce_sku_repeats(const commerce_json_t *list,
    const commerce_json_t *last, const commerce_str_t *sku)
{
    const commerce_json_t  *v, *other;

    for (v = list->child; v != last; v = v->next) {

        other = commerce_json_member(v, "sku");

        if (other && other->type == COMMERCE_JSON_STRING
            && other->string.len == sku->len
            && ngx_memcmp(other->string.data, sku->data, sku->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static void
ngx_commerce_options_check(const commerce_json_t *options, const char *path,
    commerce_json_errors_t *errors)
{
    const commerce_json_t  *o;

    for (o = options->child; o; o = o->next) {

        if (errors->n == COMMERCE_JSON_ERRORS_MAX) {
            return;
        }

        if (!ngx_commerce_sku_valid(o->key.data, o->key.len)) {
            commerce_json_error_add(errors, path, &o->key, "invalid",
                                    "is no name of an option: 1 to 64 bytes, "
                                    "printable");
            continue;
        }

        if (o->type != COMMERCE_JSON_STRING) {
            commerce_json_error_add(errors, path, &o->key, "wrong_type",
                                    "must be a string");

        } else if (o->string.len > 255) {
            commerce_json_error_add(errors, path, &o->key, "too_long",
                                    "is too long");
        }
    }
}


ngx_int_t
ngx_commerce_variant_check(const commerce_json_t *doc,
    ngx_commerce_variant_fields_t *fields, commerce_json_errors_t *errors)
{
    ngx_memzero(fields, sizeof(ngx_commerce_variant_fields_t));

    fields->archived = -1;

    commerce_json_bind(doc, ngx_commerce_variant_table, fields, "", errors);

    if (fields->options) {
        ngx_commerce_options_check(fields->options, "/options", errors);
    }

    if (fields->prices) {
        ngx_commerce_prices_check(fields->prices, "/prices", errors);
    }

    return errors->n == 0 && !errors->failed ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_commerce_stock_check(const commerce_json_t *doc, ngx_uint_t row,
    ngx_commerce_stock_fields_t *fields, commerce_json_errors_t *errors)
{
    size_t  before;

    ngx_memzero(fields, sizeof(ngx_commerce_stock_fields_t));

    before = errors->n;

    commerce_json_bind(doc, row ? ngx_commerce_stock_table
                                : ngx_commerce_stock_table + 2,
                       fields, "", errors);

    fields->has_delta = ngx_commerce_given(doc, "delta");
    fields->has_set = ngx_commerce_given(doc, "set");
    fields->has_expected = ngx_commerce_given(doc, "expected");

    if (doc->type != COMMERCE_JSON_OBJECT) {
        return NGX_ERROR;
    }

    if (!fields->has_delta && !fields->has_set) {
        ngx_commerce_fault(errors, "", "delta", "required",
                           "is required, or \"set\" in its place");

    } else if (fields->has_delta && fields->has_set) {
        ngx_commerce_fault(errors, "", "set", "invalid",
                           "cannot stand beside \"delta\"");

    } else if (fields->has_delta && fields->has_expected) {
        ngx_commerce_fault(errors, "", "expected", "invalid",
                           "belongs to \"set\"");

    } else if (fields->has_set && !fields->has_expected && !row) {
        ngx_commerce_fault(errors, "", "expected", "required",
                           "is required beside \"set\"");
    }

    return errors->n == before && !errors->failed ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_commerce_price_check(const commerce_json_t *doc, ngx_uint_t row,
    ngx_commerce_price_fields_t *fields, commerce_json_errors_t *errors)
{
    size_t  before;

    ngx_memzero(fields, sizeof(ngx_commerce_price_fields_t));

    before = errors->n;

    commerce_json_bind(doc, row ? ngx_commerce_price_table
                                : ngx_commerce_price_table + 2,
                       fields, "", errors);

    if (fields->prices) {
        ngx_commerce_prices_check(fields->prices, "/prices", errors);
    }

    return errors->n == before && !errors->failed ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_commerce_doc_text(ngx_pool_t *pool, const commerce_json_t *doc,
    size_t size, ngx_str_t *text)
{
    commerce_json_writer_t  w;

    commerce_json_writer_init(&w, size, ngx_commerce_palloc, pool);
    commerce_json_tree(&w, doc);

    text->data = w.start;
    text->len = (size_t) (w.last - w.start);

    return w.failed ? NGX_ERROR : NGX_OK;
}


const char *
ngx_commerce_below(commerce_json_errors_t *errors, const char *path,
    const char *name)
{
    size_t   len, tail;
    char    *below;

    len = ngx_strlen(path);
    tail = ngx_strlen(name) + 1;

    below = errors->alloc(errors->data, len + tail + 1);

    if (below == NULL) {
        errors->failed = 1;
        return "";
    }

    ngx_memcpy(below, path, len);
    below[len] = '/';
    ngx_memcpy(below + len + 1, name, tail);

    return below;
}


static void
ngx_commerce_fault(commerce_json_errors_t *errors, const char *path,
    const char *name, const char *code, const char *message)
{
    commerce_str_t  str;

    str.data = (u_char *) name;
    str.len = ngx_strlen(name);

    commerce_json_error_add(errors, path, &str, code, message);
}


static ngx_uint_t
ngx_commerce_given(const commerce_json_t *doc, const char *name)
{
    const commerce_json_t  *member;

    member = commerce_json_member(doc, name);

    return member && member->type != COMMERCE_JSON_NULL;
}
