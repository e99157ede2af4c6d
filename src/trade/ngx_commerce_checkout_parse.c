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


static ngx_int_t ngx_commerce_checkout_parse_body(
    ngx_commerce_checkout_t *co, const commerce_json_field_t *fields,
    ngx_commerce_checkout_to_t *to);
static void ngx_commerce_checkout_parse_lines(ngx_commerce_checkout_t *co,
    commerce_json_t *lines, commerce_json_errors_t *errors);


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

    if (body.email.len && !ngx_commerce_email_valid(&body.email)) {
        name.data = (u_char *) "email";
        name.len = sizeof("email") - 1;
        commerce_json_error_add(errors, "", &name, "invalid_value",
                                "must be an e-mail address");
    }

    if (body.lines) {
        ngx_commerce_checkout_parse_lines(co, body.lines, errors);
    }

    if (body.shipping) {
        ngx_commerce_delivery_parse(call->pool, body.shipping, "/shipping",
                                    &to->delivery, errors);
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
