/*
 * POST /v1/admin/orders/{id}/fulfilments: units go to their buyer.
 */

#include "ngx_commerce_step.h"


typedef struct {
    const commerce_json_t      *lines;
    commerce_str_t              carrier;
    commerce_str_t              tracking;
} ngx_commerce_fulfil_body_t;


static void ngx_commerce_fulfil_check(const commerce_json_t *doc,
    commerce_json_errors_t *errors);


static const commerce_json_field_t  ngx_commerce_fulfil_fields[] = {

    { "lines", COMMERCE_JSON_ARRAY, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_fulfil_body_t, lines), 1, COMMERCE_LINES_LIMIT },
    { "carrier", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_fulfil_body_t, carrier), 1, 64 },
    { "tracking", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_fulfil_body_t, tracking), 1, 255 },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

static const ngx_commerce_step_kind_t  ngx_commerce_fulfil_kind = {
    "fulfil",
    NGX_COMMERCE_SQL_FULFIL,
    0,
    ngx_commerce_fulfil_check,
    "only a paid order with units that were not sent yet can be fulfilled"
};


void
ngx_commerce_admin_fulfilment_create(ngx_commerce_call_t *call)
{
    ngx_commerce_step(call, &ngx_commerce_fulfil_kind);
}


static void
ngx_commerce_fulfil_check(const commerce_json_t *doc,
    commerce_json_errors_t *errors)
{
    ngx_commerce_fulfil_body_t  body;

    ngx_memzero(&body, sizeof(ngx_commerce_fulfil_body_t));

    (void) commerce_json_bind(doc, ngx_commerce_fulfil_fields, &body, "",
                              errors);

    if (body.lines) {
        ngx_commerce_step_lines(body.lines, 0, errors);
    }
}
