/*
 * The body of an order or of a cart's checkout: what the client asks, checked,
 * into the checkout.
 */

#include "ngx_commerce_checkout.h"


typedef struct {
    commerce_str_t      currency;
    commerce_json_t    *lines;
    commerce_str_t      email;
    commerce_json_t    *shipping;
    int64_t             expected_total;
} ngx_commerce_checkout_body_t;

typedef struct {
    commerce_str_t      sku;
    commerce_str_t      variant_id;
    int64_t             quantity;
} ngx_commerce_checkout_asked_t;

typedef struct {
    commerce_json_t    *address;
    commerce_str_t      method;
} ngx_commerce_checkout_shipping_t;

typedef struct {
    commerce_str_t      part[9];
} ngx_commerce_checkout_address_t;


enum {
    NGX_COMMERCE_ADDRESS_REGION = 5,
    NGX_COMMERCE_ADDRESS_COUNTRY = 7
};


static ngx_int_t ngx_commerce_checkout_parse_body(
    ngx_commerce_checkout_t *co, const commerce_json_field_t *fields,
    ngx_commerce_checkout_to_t *to);
static ngx_uint_t ngx_commerce_checkout_email(commerce_str_t *email);
static void ngx_commerce_checkout_parse_lines(ngx_commerce_checkout_t *co,
    commerce_json_t *lines, commerce_json_errors_t *errors);
static void ngx_commerce_checkout_parse_shipping(ngx_commerce_checkout_t *co,
    commerce_json_t *shipping, ngx_commerce_checkout_to_t *to,
    commerce_json_errors_t *errors);
static void ngx_commerce_checkout_place(ngx_commerce_checkout_t *co,
    ngx_commerce_checkout_address_t *address, ngx_commerce_checkout_to_t *to,
    commerce_json_errors_t *errors);


#define ngx_commerce_checkout_common                                          \
    { "email", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,                  \
      offsetof(ngx_commerce_checkout_body_t, email), 3, 254 },                \
    { "shipping", COMMERCE_JSON_OBJECT, COMMERCE_JSON_NULLABLE,               \
      offsetof(ngx_commerce_checkout_body_t, shipping), 0, 2 },               \
    { "expected_total", COMMERCE_JSON_INTEGER, COMMERCE_JSON_NULLABLE,        \
      offsetof(ngx_commerce_checkout_body_t, expected_total), 0,              \
      COMMERCE_MONEY_MAX }

static const commerce_json_field_t  ngx_commerce_checkout_cart_fields[] = {

    ngx_commerce_checkout_common,
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

static const commerce_json_field_t  ngx_commerce_checkout_fields[] = {

    { "currency", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_checkout_body_t, currency), 3, 3 },
    { "lines", COMMERCE_JSON_ARRAY, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_checkout_body_t, lines), 1,
      COMMERCE_LINES_LIMIT },
    ngx_commerce_checkout_common,
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

static const commerce_json_field_t  ngx_commerce_checkout_line_fields[] = {

    { "sku", COMMERCE_JSON_STRING, 0,
      offsetof(ngx_commerce_checkout_asked_t, sku), 1, COMMERCE_SKU_MAX },
    { "variant_id", COMMERCE_JSON_STRING, 0,
      offsetof(ngx_commerce_checkout_asked_t, variant_id),
      COMMERCE_UUID_TEXT, COMMERCE_UUID_TEXT },
    { "quantity", COMMERCE_JSON_INTEGER, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_checkout_asked_t, quantity), 1,
      NGX_COMMERCE_QUANTITY_MAX },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

static const commerce_json_field_t  ngx_commerce_checkout_shipping_fields[] = {

    { "address", COMMERCE_JSON_OBJECT, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_checkout_shipping_t, address), 0, 16 },
    { "method", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_checkout_shipping_t, method), 1, 64 },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

#define ngx_commerce_checkout_part(name, n, max)                              \
    { name, COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,                     \
      offsetof(ngx_commerce_checkout_address_t, part[n]), 1, max }

static const commerce_json_field_t  ngx_commerce_checkout_address_fields[] = {

    ngx_commerce_checkout_part("name", 0, 255),
    ngx_commerce_checkout_part("company", 1, 255),
    ngx_commerce_checkout_part("line1", 2, 255),
    ngx_commerce_checkout_part("line2", 3, 255),
    ngx_commerce_checkout_part("city", 4, 255),
    ngx_commerce_checkout_part("region", 5, 255),
    ngx_commerce_checkout_part("postal_code", 6, 32),
    ngx_commerce_checkout_part("country", 7, 2),
    ngx_commerce_checkout_part("phone", 8, 64),
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


ngx_int_t
ngx_commerce_checkout_parse(ngx_commerce_checkout_t *co)
{
    return ngx_commerce_checkout_parse_body(co, ngx_commerce_checkout_fields,
                                            &co->to);
}


/* The body may be left out. */

ngx_int_t
ngx_commerce_checkout_parse_cart(ngx_commerce_checkout_t *co)
{
    if (co->call->json == NULL) {
        return NGX_OK;
    }

    return ngx_commerce_checkout_parse_body(co,
                                            ngx_commerce_checkout_cart_fields,
                                            &co->said);
}


static ngx_int_t
ngx_commerce_checkout_parse_body(ngx_commerce_checkout_t *co,
    const commerce_json_field_t *fields, ngx_commerce_checkout_to_t *to)
{
    commerce_str_t                 name;
    ngx_commerce_call_t           *call;
    commerce_json_errors_t        *errors;
    ngx_commerce_checkout_body_t   body;

    call = co->call;

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&body, sizeof(ngx_commerce_checkout_body_t));
    body.expected_total = -1;

    (void) commerce_json_bind(call->json, fields, &body, "", errors);

    if (body.currency.len
        && !commerce_currency_valid(body.currency.data, body.currency.len))
    {
        name.data = (u_char *) "currency";
        name.len = sizeof("currency") - 1;
        commerce_json_error_add(errors, "", &name, "invalid_value",
                                "must be three capital letters (ISO 4217)");
    }

    if (body.email.len && !ngx_commerce_checkout_email(&body.email)) {
        name.data = (u_char *) "email";
        name.len = sizeof("email") - 1;
        commerce_json_error_add(errors, "", &name, "invalid_value",
                                "must be an e-mail address");
    }

    if (body.lines) {
        ngx_commerce_checkout_parse_lines(co, body.lines, errors);
    }

    if (body.shipping) {
        ngx_commerce_checkout_parse_shipping(co, body.shipping, to, errors);
    }

    if (errors->failed || call->answered) {
        if (!call->answered) {
            ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        }
        return NGX_ERROR;
    }

    if (errors->n) {
        ngx_commerce_call_invalid(call, errors);
        return NGX_ERROR;
    }

    if (body.currency.len) {
        ngx_memcpy(co->currency, body.currency.data, COMMERCE_CURRENCY_LEN);
    }

    to->email.len = body.email.len;
    to->email.data = body.email.data;
    co->expected_total = body.expected_total;

    return NGX_OK;
}


/* Shape only: something, one "@", something, no blanks.  What is right, only
   a mail can tell. */

static ngx_uint_t
ngx_commerce_checkout_email(commerce_str_t *email)
{
    size_t      i;
    ngx_uint_t  at;

    at = 0;

    for (i = 0; i < email->len; i++) {
        if (email->data[i] <= ' ') {
            return 0;
        }

        if (email->data[i] == '@') {
            if (at || i == 0 || i == email->len - 1) {
                return 0;
            }
            at = i;
        }
    }

    return at != 0;
}


static void
ngx_commerce_checkout_parse_lines(ngx_commerce_checkout_t *co,
    commerce_json_t *lines, commerce_json_errors_t *errors)
{
    size_t                          n;
    const char                     *path;
    commerce_str_t                  name;
    commerce_json_t                *v;
    ngx_commerce_checkout_line_t   *line;
    ngx_commerce_checkout_asked_t   asked;

    if (lines->count > co->trade->conf->max_lines) {
        name.data = (u_char *) "lines";
        name.len = sizeof("lines") - 1;
        commerce_json_error_add(errors, "", &name, "too_many",
                                "more lines than this shop takes at once");
        return;
    }

    co->lines = ngx_pcalloc(co->call->pool,
                            lines->count
                            * sizeof(ngx_commerce_checkout_line_t));
    if (co->lines == NULL) {
        errors->failed = 1;
        return;
    }

    name.data = NULL;
    name.len = 0;
    n = 0;

    for (v = lines->child; v; v = v->next, n++) {

        ngx_memzero(&asked, sizeof(ngx_commerce_checkout_asked_t));
        path = commerce_json_path(errors, "", "lines", n);

        if (commerce_json_bind(v, ngx_commerce_checkout_line_fields, &asked,
                               path, errors)
            != COMMERCE_OK)
        {
            continue;
        }

        line = &co->lines[co->nlines];

        if ((asked.sku.len == 0) == (asked.variant_id.len == 0)) {
            commerce_json_error_add(errors, path, NULL, "invalid_value",
                                    "needs either sku or variant_id");
            continue;
        }

        if (asked.variant_id.len
            && commerce_uuid_parse(&line->item.id, asked.variant_id.data,
                                   asked.variant_id.len)
               != COMMERCE_OK)
        {
            name.data = (u_char *) "variant_id";
            name.len = sizeof("variant_id") - 1;
            commerce_json_error_add(errors, path, &name, "invalid_value",
                                    "must be a UUID");
            continue;
        }

        line->sku.len = asked.sku.len;
        line->sku.data = asked.sku.data;
        line->quantity = asked.quantity;
        line->asked = n;
        co->nlines++;
    }
}


static void
ngx_commerce_checkout_parse_shipping(ngx_commerce_checkout_t *co,
    commerce_json_t *shipping, ngx_commerce_checkout_to_t *to,
    commerce_json_errors_t *errors)
{
    commerce_json_writer_t             w;
    ngx_commerce_checkout_address_t    address;
    ngx_commerce_checkout_shipping_t   body;

    ngx_memzero(&body, sizeof(ngx_commerce_checkout_shipping_t));

    if (commerce_json_bind(shipping, ngx_commerce_checkout_shipping_fields,
                           &body, "/shipping", errors)
        != COMMERCE_OK)
    {
        return;
    }

    to->method.len = body.method.len;
    to->method.data = body.method.data;

    if (body.address) {
        ngx_memzero(&address, sizeof(ngx_commerce_checkout_address_t));

        if (commerce_json_bind(body.address,
                               ngx_commerce_checkout_address_fields, &address,
                               "/shipping/address", errors)
            != COMMERCE_OK)
        {
            return;
        }

        ngx_commerce_checkout_place(co, &address, to, errors);
    }

    commerce_json_writer_init(&w, 256, ngx_commerce_palloc, co->call->pool);
    commerce_json_tree(&w, shipping);

    if (w.failed) {
        errors->failed = 1;
        return;
    }

    to->delivery.data = w.start;
    to->delivery.len = w.last - w.start;
}


/* Taxes and shipping go by these; a country is a code of ISO 3166. */

static void
ngx_commerce_checkout_place(ngx_commerce_checkout_t *co,
    ngx_commerce_checkout_address_t *address, ngx_commerce_checkout_to_t *to,
    commerce_json_errors_t *errors)
{
    u_char          *p;
    ngx_uint_t       i;
    commerce_str_t   name, *country;

    country = &address->part[NGX_COMMERCE_ADDRESS_COUNTRY];

    if (country->len == 0) {
        return;
    }

    p = ngx_pnalloc(co->call->pool, country->len);
    if (p == NULL) {
        errors->failed = 1;
        return;
    }

    for (i = 0; i < country->len; i++) {
        p[i] = ngx_toupper(country->data[i]);
    }

    if (country->len != 2 || p[0] < 'A' || p[0] > 'Z' || p[1] < 'A'
        || p[1] > 'Z')
    {
        name.data = (u_char *) "country";
        name.len = sizeof("country") - 1;
        commerce_json_error_add(errors, "/shipping/address", &name,
                                "invalid_value",
                                "must be two letters (ISO 3166)");
        return;
    }

    to->country.data = p;
    to->country.len = 2;
    to->region.data = address->part[NGX_COMMERCE_ADDRESS_REGION].data;
    to->region.len = address->part[NGX_COMMERCE_ADDRESS_REGION].len;
}
