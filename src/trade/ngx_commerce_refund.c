/*
 * POST /v1/admin/orders/{id}/refunds: money goes back, and perhaps units.
 */

#include "ngx_commerce_step.h"


typedef struct {
    int64_t                     amount;     /* -1: as the rest says */
    const commerce_json_t      *lines;
    int64_t                     shipping;   /* -1: none */
    int                         restock;
    commerce_str_t              reason;
} ngx_commerce_refund_body_t;


static void ngx_commerce_refund_check(const commerce_json_t *doc,
    commerce_json_errors_t *errors);


static const commerce_json_field_t  ngx_commerce_refund_fields[] = {

    { "amount", COMMERCE_JSON_INTEGER, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_refund_body_t, amount), 0, COMMERCE_MONEY_MAX },
    { "lines", COMMERCE_JSON_ARRAY, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_refund_body_t, lines), 1, COMMERCE_LINES_LIMIT },
    { "shipping", COMMERCE_JSON_INTEGER, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_refund_body_t, shipping), 1, COMMERCE_MONEY_MAX },
    { "restock", COMMERCE_JSON_BOOLEAN, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_refund_body_t, restock), 0, 0 },
    { "reason", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_refund_body_t, reason), 1, 255 },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

static const ngx_commerce_step_kind_t  ngx_commerce_refund_kind = {
    "refund",
    NGX_COMMERCE_SQL_REFUND,
    1,
    ngx_commerce_refund_check,
    "only an order that is paid, and not refunded yet, can be refunded"
};


void
ngx_commerce_admin_refund_create(ngx_commerce_call_t *call)
{
    ngx_commerce_step(call, &ngx_commerce_refund_kind);
}


static void
ngx_commerce_refund_check(const commerce_json_t *doc,
    commerce_json_errors_t *errors)
{
    ngx_commerce_refund_body_t  body;

    ngx_memzero(&body, sizeof(ngx_commerce_refund_body_t));
    body.amount = -1;
    body.shipping = -1;

    if (commerce_json_bind(doc, ngx_commerce_refund_fields, &body, "", errors)
        != COMMERCE_OK)
    {
        return;
    }

    if (body.lines) {
        ngx_commerce_step_lines(body.lines, 1, errors);
    }

    if (body.amount != -1 && body.shipping != -1) {
        commerce_json_error_add(errors, "/shipping", NULL, "invalid",
                                "cannot stand beside \"amount\", which is "
                                "all the money");
    }

    if (body.amount == 0 && body.lines == NULL) {
        commerce_json_error_add(errors, "/amount", NULL, "out_of_range",
                                "must be more than nothing");
    }

    if (body.restock && body.lines == NULL
        && (body.amount != -1 || body.shipping != -1))
    {
        commerce_json_error_add(errors, "/restock", NULL, "invalid",
                                "needs lines, or everything");
    }
}
