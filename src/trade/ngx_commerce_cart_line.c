/*
 * Lines of a cart: add, set, remove.
 */

#include "ngx_commerce_cart_op.h"


typedef struct {
    commerce_str_t      sku;
    commerce_str_t      variant_id;
    int64_t             quantity;
} ngx_commerce_cart_asked_t;


static ngx_int_t ngx_commerce_cart_line_parse(ngx_commerce_cart_op_t *op);
static ngx_int_t ngx_commerce_cart_line_find(ngx_commerce_cart_op_t *op,
    ngx_commerce_stock_item_t *item);
static ngx_int_t ngx_commerce_cart_line_want(ngx_commerce_cart_op_t *op);
static void ngx_commerce_cart_line_loaded(ngx_commerce_variants_t *variants,
    ngx_int_t rc);
static void ngx_commerce_cart_line_known(ngx_commerce_cart_op_t *op,
    ngx_uint_t for_sale);
static ngx_int_t ngx_commerce_cart_line_named(ngx_commerce_cart_op_t *op);


static const commerce_json_field_t  ngx_commerce_cart_line_fields[] = {

    { "sku", COMMERCE_JSON_STRING, 0,
      offsetof(ngx_commerce_cart_asked_t, sku), 1, COMMERCE_SKU_MAX },
    { "variant_id", COMMERCE_JSON_STRING, 0,
      offsetof(ngx_commerce_cart_asked_t, variant_id),
      COMMERCE_UUID_TEXT, COMMERCE_UUID_TEXT },
    { "quantity", COMMERCE_JSON_INTEGER, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_cart_asked_t, quantity), 1,
      NGX_COMMERCE_CART_UNITS_MAX },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

static const commerce_json_field_t  ngx_commerce_cart_set_fields[] = {

    { "quantity", COMMERCE_JSON_INTEGER, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_cart_asked_t, quantity), 1,
      NGX_COMMERCE_CART_UNITS_MAX },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


void
ngx_commerce_cart_line_add(ngx_commerce_call_t *call)
{
    ngx_commerce_cart_op_t     *op;
    ngx_commerce_stock_item_t   item;

    op = ngx_commerce_cart_op(call, NGX_COMMERCE_CART_ADD);

    if (op == NULL || ngx_commerce_cart_line_parse(op) != NGX_OK) {
        return;
    }

    if (ngx_commerce_cart_line_find(op, &item) == NGX_OK) {
        ngx_commerce_cart_line_known(op, item.for_sale);
        return;
    }

    if (ngx_commerce_variants_init(&op->variants, call->trade, call->pool)
        != NGX_OK
        || ngx_commerce_cart_line_want(op) != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    op->variants.done = ngx_commerce_cart_line_loaded;
    op->variants.data = op;

    if (ngx_commerce_variants_load(&op->variants) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
    }
}


static ngx_int_t
ngx_commerce_cart_line_parse(ngx_commerce_cart_op_t *op)
{
    commerce_str_t              name;
    ngx_commerce_call_t        *call;
    commerce_json_errors_t     *errors;
    ngx_commerce_cart_asked_t   asked;

    call = op->call;

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&asked, sizeof(ngx_commerce_cart_asked_t));

    if (commerce_json_bind(call->json, ngx_commerce_cart_line_fields, &asked,
                           "", errors)
        != COMMERCE_OK)
    {
        ngx_commerce_call_invalid(call, errors);
        return NGX_ERROR;
    }

    if ((asked.sku.len == 0) == (asked.variant_id.len == 0)) {
        commerce_json_error_add(errors, "", NULL, "invalid_value",
                                "needs either sku or variant_id");

    } else if (asked.variant_id.len
               && commerce_uuid_parse(&op->variant_id, asked.variant_id.data,
                                      asked.variant_id.len)
                  != COMMERCE_OK)
    {
        name.data = (u_char *) "variant_id";
        name.len = sizeof("variant_id") - 1;
        commerce_json_error_add(errors, "", &name, "invalid_value",
                                "must be a UUID");
    }

    if (errors->n || errors->failed) {
        ngx_commerce_call_invalid(call, errors);
        return NGX_ERROR;
    }

    op->sku.data = asked.sku.data;
    op->sku.len = asked.sku.len;
    op->quantity = (int32_t) asked.quantity;

    return NGX_OK;
}


/* The variant in the zone; which currency the cart has is not known here. */

static ngx_int_t
ngx_commerce_cart_line_find(ngx_commerce_cart_op_t *op,
    ngx_commerce_stock_item_t *item)
{
    ngx_int_t             rc;
    ngx_commerce_zone_t  *zone;

    zone = op->call->trade->zone;

    if (op->sku.len == 0) {
        return ngx_commerce_stock_find_id(zone, &op->variant_id, NULL, item);
    }

    rc = ngx_commerce_stock_find_sku(zone, op->sku.data, op->sku.len, NULL,
                                     item);
    if (rc == NGX_OK) {
        op->variant_id = item->id;
    }

    return rc;
}


static ngx_int_t
ngx_commerce_cart_line_want(ngx_commerce_cart_op_t *op)
{
    ngx_str_t        *sku;
    commerce_uuid_t  *id;

    if (op->sku.len) {
        sku = ngx_array_push(&op->variants.skus);
        if (sku == NULL) {
            return NGX_ERROR;
        }

        *sku = op->sku;
        return NGX_OK;
    }

    id = ngx_array_push(&op->variants.ids);
    if (id == NULL) {
        return NGX_ERROR;
    }

    *id = op->variant_id;

    return NGX_OK;
}


static void
ngx_commerce_cart_line_loaded(ngx_commerce_variants_t *variants, ngx_int_t rc)
{
    ngx_commerce_variant_t  *found;
    ngx_commerce_cart_op_t  *op;

    op = variants->data;

    if (rc != NGX_OK) {
        ngx_commerce_refuse(op->call, rc == NGX_BUSY ? COMMERCE_OVERLOADED
                                                     : COMMERCE_UNAVAILABLE,
                            NULL);
        return;
    }

    /* the row itself: the zone may be full, or have forgotten it again */

    if (variants->found.nelts == 0) {
        ngx_commerce_cart_line_known(op, 0);
        return;
    }

    found = variants->found.elts;
    op->variant_id = found->id;
    ngx_commerce_cart_line_known(op, found->for_sale);
}


static void
ngx_commerce_cart_line_known(ngx_commerce_cart_op_t *op, ngx_uint_t for_sale)
{
    if (!for_sale) {
        ngx_commerce_cart_invalid(op, ngx_commerce_cart_named(op),
                                  "unknown_variant",
                                  "this shop does not sell it");
        return;
    }

    ngx_commerce_cart_send(op);
}


void
ngx_commerce_cart_line_set(ngx_commerce_call_t *call)
{
    commerce_json_errors_t     *errors;
    ngx_commerce_cart_op_t     *op;
    ngx_commerce_cart_asked_t   asked;

    op = ngx_commerce_cart_op(call, NGX_COMMERCE_CART_SET);

    if (op == NULL || ngx_commerce_cart_line_named(op) != NGX_OK) {
        return;
    }

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return;
    }

    ngx_memzero(&asked, sizeof(ngx_commerce_cart_asked_t));

    if (commerce_json_bind(call->json, ngx_commerce_cart_set_fields, &asked,
                           "", errors)
        != COMMERCE_OK)
    {
        ngx_commerce_call_invalid(call, errors);
        return;
    }

    op->quantity = (int32_t) asked.quantity;

    ngx_commerce_cart_send(op);
}


void
ngx_commerce_cart_line_remove(ngx_commerce_call_t *call)
{
    ngx_commerce_cart_op_t  *op;

    op = ngx_commerce_cart_op(call, NGX_COMMERCE_CART_REMOVE);

    if (op == NULL || ngx_commerce_cart_line_named(op) != NGX_OK) {
        return;
    }

    ngx_commerce_cart_send(op);
}


/* The line by its variant's id in the path. */

static ngx_int_t
ngx_commerce_cart_line_named(ngx_commerce_cart_op_t *op)
{
    ngx_str_t  *sub;

    sub = &op->call->sub;

    if (commerce_uuid_parse(&op->variant_id, sub->data, sub->len)
        != COMMERCE_OK)
    {
        ngx_commerce_refuse(op->call, COMMERCE_NOT_FOUND, NULL);
        return NGX_ERROR;
    }

    return NGX_OK;
}
