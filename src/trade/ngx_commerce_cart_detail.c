/*
 * What an order of the cart will need besides its lines: e-mail, coupon,
 * address and shipping method.  A coupon and a method are looked at before
 * they are written: the cart is read first, since they depend on its currency.
 */

#include "ngx_commerce_cart_op.h"
#include "ngx_commerce_delivery.h"


typedef struct {
    ngx_commerce_cart_op_t     *op;
    ngx_commerce_cart_load_t    load;
    ngx_commerce_rules_wait_t   wait;
    ngx_commerce_delivery_t     delivery;
} ngx_commerce_cart_check_t;

typedef struct {
    commerce_str_t      email;
} ngx_commerce_cart_email_t;

typedef struct {
    commerce_str_t      code;
} ngx_commerce_cart_code_t;


static ngx_commerce_cart_check_t *ngx_commerce_cart_check(
    ngx_commerce_cart_op_t *op);
static void ngx_commerce_cart_checked_coupon(ngx_commerce_cart_load_t *load,
    ngx_int_t rc);
static void ngx_commerce_cart_checked_shipping(
    ngx_commerce_cart_load_t *load, ngx_int_t rc);
static ngx_int_t ngx_commerce_cart_checked(ngx_commerce_cart_check_t *check,
    ngx_int_t rc);
static void ngx_commerce_cart_rules(ngx_commerce_rules_wait_t *wait,
    ngx_int_t rc);


static const commerce_json_field_t  ngx_commerce_cart_email_fields[] = {

    { "email", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_cart_email_t, email), 3, 254 },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

static const commerce_json_field_t  ngx_commerce_cart_code_fields[] = {

    { "code", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_cart_code_t, code), 1, 64 },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


/* null: none any more */

void
ngx_commerce_cart_email_put(ngx_commerce_call_t *call)
{
    commerce_json_errors_t     *errors;
    ngx_commerce_cart_op_t     *op;
    ngx_commerce_cart_email_t   body;

    op = ngx_commerce_cart_op(call, NGX_COMMERCE_CART_EMAIL);
    if (op == NULL) {
        return;
    }

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return;
    }

    ngx_memzero(&body, sizeof(ngx_commerce_cart_email_t));

    if (commerce_json_bind(call->json, ngx_commerce_cart_email_fields, &body,
                           "", errors)
        != COMMERCE_OK)
    {
        ngx_commerce_call_invalid(call, errors);
        return;
    }

    /* to the fields null is as good as nothing */

    if (commerce_json_member(call->json, "email") == NULL) {
        ngx_commerce_cart_invalid(op, "email", "required", "is required");
        return;
    }

    if (body.email.len && !ngx_commerce_email_valid(&body.email)) {
        ngx_commerce_cart_invalid(op, "email", "invalid_value",
                                  "must be an e-mail address");
        return;
    }

    op->text.len = body.email.len;
    op->text.data = body.email.data;

    ngx_commerce_cart_send(op);
}


void
ngx_commerce_cart_coupon_put(ngx_commerce_call_t *call)
{
    commerce_json_errors_t     *errors;
    ngx_commerce_cart_op_t     *op;
    ngx_commerce_cart_code_t    body;
    ngx_commerce_cart_check_t  *check;

    op = ngx_commerce_cart_op(call, NGX_COMMERCE_CART_COUPON);
    if (op == NULL) {
        return;
    }

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return;
    }

    ngx_memzero(&body, sizeof(ngx_commerce_cart_code_t));

    if (commerce_json_bind(call->json, ngx_commerce_cart_code_fields, &body,
                           "", errors)
        != COMMERCE_OK)
    {
        ngx_commerce_call_invalid(call, errors);
        return;
    }

    check = ngx_commerce_cart_check(op);
    if (check == NULL) {
        return;
    }

    check->load.code.data = body.code.data;
    check->load.code.len = body.code.len;
    check->load.done = ngx_commerce_cart_checked_coupon;

    ngx_commerce_cart_read(&check->load);
}


void
ngx_commerce_cart_coupon_remove(ngx_commerce_call_t *call)
{
    ngx_commerce_cart_op_t  *op;

    op = ngx_commerce_cart_op(call, NGX_COMMERCE_CART_COUPON);

    if (op) {
        ngx_commerce_cart_send(op);
    }
}


void
ngx_commerce_cart_shipping_put(ngx_commerce_call_t *call)
{
    commerce_json_errors_t     *errors;
    ngx_commerce_cart_op_t     *op;
    ngx_commerce_cart_check_t  *check;

    op = ngx_commerce_cart_op(call, NGX_COMMERCE_CART_DELIVERY);
    if (op == NULL) {
        return;
    }

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return;
    }

    check = ngx_commerce_cart_check(op);
    if (check == NULL) {
        return;
    }

    ngx_commerce_delivery_parse(call->pool, call->json, "", &check->delivery,
                                errors);

    if (errors->n || errors->failed) {
        ngx_commerce_call_invalid(call, errors);
        return;
    }

    op->text = check->delivery.text;

    if (check->delivery.method.len == 0) {
        ngx_commerce_cart_send(op);
        return;
    }

    check->load.done = ngx_commerce_cart_checked_shipping;

    ngx_commerce_cart_read(&check->load);
}


/* NULL: refused. */

static ngx_commerce_cart_check_t *
ngx_commerce_cart_check(ngx_commerce_cart_op_t *op)
{
    ngx_commerce_cart_check_t  *check;

    check = ngx_pcalloc(op->call->pool, sizeof(ngx_commerce_cart_check_t));
    if (check == NULL) {
        ngx_commerce_refuse(op->call, COMMERCE_INTERNAL, NULL);
        return NULL;
    }

    check->op = op;
    check->load.call = op->call;
    check->load.id = op->id;
    check->load.data = check;

    return check;
}


/* NGX_ERROR: refused, or what was read does not matter any more. */

static ngx_int_t
ngx_commerce_cart_checked(ngx_commerce_cart_check_t *check, ngx_int_t rc)
{
    ngx_commerce_cart_load_t  *load;

    load = &check->load;

    if (rc != NGX_OK) {
        ngx_commerce_refuse(load->call, load->problem, NULL);
        return NGX_ERROR;
    }

    /* why it is not to be written, the write says: it looks at the key first */

    if (!load->found || load->cart.state != NGX_COMMERCE_CART_OPEN) {
        ngx_commerce_cart_send(check->op);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* The sum that a coupon may need can still be reached: that is a warning. */

static void
ngx_commerce_cart_checked_coupon(ngx_commerce_cart_load_t *load, ngx_int_t rc)
{
    ngx_commerce_quote_t        quote;
    ngx_commerce_cart_op_t     *op;
    ngx_commerce_cart_check_t  *check;

    check = load->data;
    op = check->op;

    if (ngx_commerce_cart_checked(check, rc) != NGX_OK) {
        return;
    }

    if (!load->cart.has_coupon) {
        ngx_commerce_cart_invalid(op, "code", "unknown_coupon",
                                  "there is no such coupon");
        return;
    }

    ngx_memzero(&quote, sizeof(ngx_commerce_quote_t));
    quote.currency = load->cart.currency;
    quote.coupon = &load->cart.coupon;

    (void) ngx_commerce_quote(op->call->trade, &quote);

    if (quote.coupon_reason
        && ngx_strcmp(quote.coupon_reason, "coupon_minimum") != 0)
    {
        ngx_commerce_cart_invalid(op, "code", quote.coupon_reason,
                                  "the coupon cannot be used");
        return;
    }

    op->text = load->cart.coupon.code;

    ngx_commerce_cart_send(op);
}


static void
ngx_commerce_cart_checked_shipping(ngx_commerce_cart_load_t *load,
    ngx_int_t rc)
{
    ngx_commerce_cart_check_t  *check;

    check = load->data;

    if (ngx_commerce_cart_checked(check, rc) != NGX_OK) {
        return;
    }

    check->wait.ready = ngx_commerce_cart_rules;
    check->wait.data = check;

    rc = ngx_commerce_rules_current(load->call->trade, &check->wait);

    if (rc != NGX_AGAIN) {
        ngx_commerce_cart_rules(&check->wait, rc);
    }
}


static void
ngx_commerce_cart_rules(ngx_commerce_rules_wait_t *wait, ngx_int_t rc)
{
    ngx_commerce_quote_t        quote;
    ngx_commerce_cart_op_t     *op;
    ngx_commerce_cart_check_t  *check;

    check = wait->data;
    op = check->op;

    if (rc != NGX_OK) {
        ngx_commerce_refuse(op->call, COMMERCE_UNAVAILABLE, NULL);
        return;
    }

    ngx_memzero(&quote, sizeof(ngx_commerce_quote_t));
    quote.currency = check->load.cart.currency;
    quote.country = check->delivery.country;
    quote.region = check->delivery.region;
    quote.method = check->delivery.method;

    if (ngx_commerce_quote(op->call->trade, &quote)
        == NGX_COMMERCE_QUOTE_METHOD)
    {
        ngx_commerce_cart_invalid(op, "method", quote.reason,
                                  "there is no such method for that country "
                                  "and currency");
        return;
    }

    ngx_commerce_cart_send(op);
}
