#include "ngx_commerce_delivery.h"


typedef struct {
    commerce_json_t    *address;
    commerce_str_t      method;
} ngx_commerce_delivery_body_t;

typedef struct {
    commerce_str_t      region;
    commerce_str_t      country;
    commerce_str_t      other[7];
} ngx_commerce_address_t;


static void ngx_commerce_delivery_address(const commerce_json_t *object,
    const char *path, ngx_commerce_delivery_t *delivery,
    commerce_json_errors_t *errors);
static void ngx_commerce_delivery_text(ngx_pool_t *pool,
    const commerce_json_t *object, ngx_str_t *text,
    commerce_json_errors_t *errors);


static const commerce_json_field_t  ngx_commerce_delivery_fields[] = {

    { "address", COMMERCE_JSON_OBJECT, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_delivery_body_t, address), 0, 16 },
    { "method", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_delivery_body_t, method), 1, 64 },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

#define ngx_commerce_address_part(name, member, max)                          \
    { name, COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,                     \
      offsetof(ngx_commerce_address_t, member), 1, max }

static const commerce_json_field_t  ngx_commerce_address_fields[] = {

    ngx_commerce_address_part("name", other[0], 255),
    ngx_commerce_address_part("company", other[1], 255),
    ngx_commerce_address_part("line1", other[2], 255),
    ngx_commerce_address_part("line2", other[3], 255),
    ngx_commerce_address_part("city", other[4], 255),
    ngx_commerce_address_part("region", region, 255),
    ngx_commerce_address_part("postal_code", other[5], 32),
    ngx_commerce_address_part("country", country, 2),
    ngx_commerce_address_part("phone", other[6], 64),
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


void
ngx_commerce_delivery_parse(ngx_pool_t *pool, const commerce_json_t *object,
    const char *path, ngx_commerce_delivery_t *delivery,
    commerce_json_errors_t *errors)
{
    commerce_str_t                 name;
    ngx_commerce_delivery_body_t   body;

    ngx_memzero(delivery, sizeof(ngx_commerce_delivery_t));
    ngx_memzero(&body, sizeof(ngx_commerce_delivery_body_t));

    if (commerce_json_bind(object, ngx_commerce_delivery_fields, &body, path,
                           errors)
        != COMMERCE_OK)
    {
        return;
    }

    if (body.address) {
        ngx_commerce_delivery_address(body.address, path, delivery, errors);
    }

    delivery->method.len = body.method.len;
    delivery->method.data = body.method.data;

    /* methods are those of a country */

    if (body.method.len && delivery->country.len == 0 && errors->n == 0) {
        name.data = (u_char *) "address";
        name.len = sizeof("address") - 1;
        commerce_json_error_add(errors, path, &name, "required",
                                "a method needs an address with a country");
    }

    if (errors->n == 0 && (body.address || body.method.len)) {
        ngx_commerce_delivery_text(pool, object, &delivery->text, errors);
    }
}


static void
ngx_commerce_delivery_address(const commerce_json_t *object,
    const char *path, ngx_commerce_delivery_t *delivery,
    commerce_json_errors_t *errors)
{
    u_char                   c;
    size_t                   i;
    char                     pointer[64];
    commerce_str_t           name;
    ngx_commerce_address_t   address;

    ngx_memzero(&address, sizeof(ngx_commerce_address_t));

    (void) ngx_snprintf((u_char *) pointer, sizeof(pointer), "%s/address%Z",
                        path);
    pointer[sizeof(pointer) - 1] = '\0';

    if (commerce_json_bind(object, ngx_commerce_address_fields, &address,
                           pointer, errors)
        != COMMERCE_OK)
    {
        return;
    }

    for (i = 0; i < address.country.len; i++) {
        c = (u_char) (address.country.data[i] | 0x20);

        if (c < 'a' || c > 'z' || address.country.len != 2) {
            name.data = (u_char *) "country";
            name.len = sizeof("country") - 1;
            commerce_json_error_add(errors, pointer, &name, "invalid_value",
                                    "must be two letters (ISO 3166)");
            return;
        }
    }

    delivery->country.len = address.country.len;
    delivery->country.data = address.country.data;
    delivery->region.len = address.region.len;
    delivery->region.data = address.region.data;
}


static void
ngx_commerce_delivery_text(ngx_pool_t *pool, const commerce_json_t *object,
    ngx_str_t *text, commerce_json_errors_t *errors)
{
    commerce_json_writer_t  w;

    commerce_json_writer_init(&w, 256, ngx_commerce_palloc, pool);
    commerce_json_tree(&w, object);

    if (w.failed) {
        errors->failed = 1;
        return;
    }

    text->data = w.start;
    text->len = w.last - w.start;
}


ngx_uint_t
ngx_commerce_email_valid(const commerce_str_t *email)
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
