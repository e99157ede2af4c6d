/*
 * Variables for the access log, and the count of every request.
 */

#include "ngx_http_commerce.h"

#include "commerce_uuid.h"


static ngx_int_t ngx_http_commerce_operation_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_commerce_order_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_commerce_outcome_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_commerce_db_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_commerce_customer_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static void ngx_http_commerce_set_text(ngx_http_variable_value_t *v,
    const char *text);


static ngx_http_variable_t  ngx_http_commerce_variables[] = {

    { ngx_string("commerce_operation"), NULL,
      ngx_http_commerce_operation_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("commerce_order_id"), NULL,
      ngx_http_commerce_order_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("commerce_outcome"), NULL,
      ngx_http_commerce_outcome_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("commerce_db_time"), NULL,
      ngx_http_commerce_db_time_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("commerce_customer_id"), NULL,
      ngx_http_commerce_customer_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


/* In the order of ngx_commerce_operation_e. */
const char *const  ngx_http_commerce_operations[NGX_COMMERCE_OPS] = {
    [NGX_COMMERCE_OP_NONE] = "none",
    [NGX_COMMERCE_OP_PRODUCT_LIST] = "product_list",
    [NGX_COMMERCE_OP_PRODUCT_GET] = "product_get",
    [NGX_COMMERCE_OP_ORDER_CREATE] = "order_create",
    [NGX_COMMERCE_OP_ORDER_GET] = "order_get",
    [NGX_COMMERCE_OP_ORDER_CANCEL] = "order_cancel",
    [NGX_COMMERCE_OP_PAYMENT_CREATE] = "payment_create",
    [NGX_COMMERCE_OP_CART_CREATE] = "cart_create",
    [NGX_COMMERCE_OP_CART_GET] = "cart_get",
    [NGX_COMMERCE_OP_CART_LINE_ADD] = "cart_line_add",
    [NGX_COMMERCE_OP_CART_LINE_SET] = "cart_line_set",
    [NGX_COMMERCE_OP_CART_LINE_REMOVE] = "cart_line_remove",
    [NGX_COMMERCE_OP_CART_COUPON] = "cart_coupon",
    [NGX_COMMERCE_OP_CART_SHIPPING] = "cart_shipping",
    [NGX_COMMERCE_OP_CART_EMAIL] = "cart_email",
    [NGX_COMMERCE_OP_CART_CHECKOUT] = "cart_checkout",
    [NGX_COMMERCE_OP_SHIPPING_LIST] = "shipping_list",
    [NGX_COMMERCE_OP_WEBHOOK] = "webhook",
    [NGX_COMMERCE_OP_ADMIN_PRODUCT] = "admin_product",
    [NGX_COMMERCE_OP_ADMIN_VARIANT] = "admin_variant",
    [NGX_COMMERCE_OP_ADMIN_PRICE] = "admin_price",
    [NGX_COMMERCE_OP_ADMIN_STOCK] = "admin_stock",
    [NGX_COMMERCE_OP_ADMIN_ORDER] = "admin_order",
    [NGX_COMMERCE_OP_ADMIN_IMPORT] = "admin_import",
    [NGX_COMMERCE_OP_ADMIN_TAX_RATE] = "admin_tax_rate",
    [NGX_COMMERCE_OP_ADMIN_SHIPPING] = "admin_shipping",
    [NGX_COMMERCE_OP_ADMIN_COUPON] = "admin_coupon",
    [NGX_COMMERCE_OP_OTHER] = "other"
};


ngx_int_t
ngx_http_commerce_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_commerce_variables; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_commerce_operation_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_commerce_ctx_t  *ctx;

    (void) data;

    ctx = ngx_http_get_module_ctx(r, ngx_http_commerce_module);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_http_commerce_set_text(v,
                            ngx_http_commerce_operations[ctx->operation]);

    return NGX_OK;
}


static ngx_int_t
ngx_http_commerce_order_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                   *p;
    ngx_http_commerce_ctx_t  *ctx;

    (void) data;

    ctx = ngx_http_get_module_ctx(r, ngx_http_commerce_module);

    if (ctx == NULL || !ctx->has_order_id) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, COMMERCE_UUID_TEXT);
    if (p == NULL) {
        return NGX_ERROR;
    }

    (void) commerce_uuid_format(p, &ctx->order_id);

    v->data = p;
    v->len = COMMERCE_UUID_TEXT;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/* "ok", "replayed", "client_left", or the problem's code. */

static ngx_int_t
ngx_http_commerce_outcome_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    commerce_problem_e        problem;
    ngx_http_commerce_ctx_t  *ctx;

    (void) data;

    ctx = ngx_http_get_module_ctx(r, ngx_http_commerce_module);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    problem = ctx->problem;

    if (!ctx->answered) {
        problem = ngx_http_commerce_status_problem(r->headers_out.status);

        if (problem == COMMERCE_NO_PROBLEM) {
            ngx_http_commerce_set_text(v, "client_left");
            return NGX_OK;
        }
    }

    if (problem != COMMERCE_NO_PROBLEM) {
        ngx_http_commerce_set_text(v, commerce_problem(problem)->code);
        return NGX_OK;
    }

    ngx_http_commerce_set_text(v, ctx->replayed ? "replayed" : "ok");

    return NGX_OK;
}


/* Seconds with milliseconds, as $request_time. */

static ngx_int_t
ngx_http_commerce_db_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                   *p;
    uint64_t                  msec;
    ngx_http_commerce_ctx_t  *ctx;

    (void) data;

    ctx = ngx_http_get_module_ctx(r, ngx_http_commerce_module);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    msec = (ctx->db_usec + 500) / 1000;

    v->len = ngx_sprintf(p, "%uL.%03uL", msec / 1000, msec % 1000) - p;
    v->data = p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/* Guests have none. */

static ngx_int_t
ngx_http_commerce_customer_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    (void) r;
    (void) data;

    v->not_found = 1;

    return NGX_OK;
}


static void
ngx_http_commerce_set_text(ngx_http_variable_value_t *v, const char *text)
{
    v->data = (u_char *) text;
    v->len = ngx_strlen(text);
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
}


/*
 * Runs for every end of a request, also for hang-ups and timeouts.  A call
 * that was left to trade/ is counted when it ends.
 */

ngx_int_t
ngx_http_commerce_log_handler(ngx_http_request_t *r)
{
    commerce_problem_e              problem;
    ngx_commerce_operation_e        operation;
    ngx_http_commerce_ctx_t        *ctx;
    ngx_http_commerce_loc_conf_t   *lcf;
    ngx_http_commerce_main_conf_t  *mcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_commerce_module);

    if (lcf->role != NGX_HTTP_COMMERCE_STOREFRONT
        && lcf->role != NGX_HTTP_COMMERCE_ADMIN)
    {
        return NGX_OK;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_commerce_module);
    ctx = ngx_http_get_module_ctx(r, ngx_http_commerce_module);

    operation = NGX_COMMERCE_OP_OTHER;

    if (ctx != NULL) {
        if (ctx->left) {
            return NGX_OK;
        }

        operation = ctx->operation;
    }

    if (ctx != NULL && ctx->answered) {
        problem = ctx->problem;

    } else {
        problem = ngx_http_commerce_status_problem(r->headers_out.status);

        if (problem == COMMERCE_NO_PROBLEM) {
            /* ended before its answer */
            problem = COMMERCE_BAD_REQUEST;
        }
    }

    ngx_commerce_count_request(mcf->commerce.zone, operation, problem);

    return NGX_OK;
}
