/*
 * Every route: method, role, path, what it is, who may.
 */

#include "ngx_http_commerce.h"


#define NGX_HTTP_COMMERCE_ID_BODY                                             \
    (NGX_HTTP_COMMERCE_ID|NGX_HTTP_COMMERCE_BODY)

#define NGX_HTTP_COMMERCE_ID_OPTIONAL                                         \
    (NGX_HTTP_COMMERCE_ID_BODY|NGX_HTTP_COMMERCE_OPTIONAL)


const ngx_http_commerce_route_t  ngx_http_commerce_routes[] = {

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/products/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_PRODUCT_GET, ngx_null_string,
      ngx_commerce_guard_none, ngx_commerce_product_get },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/products"), ngx_null_string,
      0,
      NGX_COMMERCE_OP_PRODUCT_LIST, ngx_null_string,
      ngx_commerce_guard_none, ngx_commerce_product_list },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/carts/"), ngx_string("/checkout"),
      NGX_HTTP_COMMERCE_ID_OPTIONAL,
      NGX_COMMERCE_OP_CART_CHECKOUT, ngx_null_string,
      ngx_commerce_guard_cart_checkout, ngx_commerce_cart_checkout },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/orders"), ngx_null_string,
      NGX_HTTP_COMMERCE_BODY,
      NGX_COMMERCE_OP_ORDER_CREATE, ngx_null_string,
      ngx_commerce_guard_checkout, ngx_commerce_order_create },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/orders/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ORDER_GET, ngx_null_string,
      ngx_commerce_guard_order, ngx_commerce_order_get },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/orders/"), ngx_string("/cancel"),
      NGX_HTTP_COMMERCE_ID_OPTIONAL,
      NGX_COMMERCE_OP_ORDER_CANCEL, ngx_null_string,
      ngx_commerce_guard_order, ngx_commerce_order_cancel },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/orders/"), ngx_string("/payments"),
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_PAYMENT_CREATE, ngx_null_string,
      ngx_commerce_guard_order, ngx_commerce_payment_create },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/carts"), ngx_null_string,
      NGX_HTTP_COMMERCE_BODY,
      NGX_COMMERCE_OP_CART_CREATE, ngx_null_string,
      ngx_commerce_guard_none, ngx_commerce_cart_create },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/carts/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_CART_GET, ngx_null_string,
      ngx_commerce_guard_cart, ngx_commerce_cart_get },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/carts/"), ngx_string("/lines"),
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_CART_LINE_ADD, ngx_null_string,
      ngx_commerce_guard_cart, ngx_commerce_cart_line_add },

    { NGX_HTTP_PATCH, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/carts/"), ngx_string("/lines/"),
      NGX_HTTP_COMMERCE_ID_BODY|NGX_HTTP_COMMERCE_SUB,
      NGX_COMMERCE_OP_CART_LINE_SET, ngx_null_string,
      ngx_commerce_guard_cart, ngx_commerce_cart_line_set },

    { NGX_HTTP_DELETE, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/carts/"), ngx_string("/lines/"),
      NGX_HTTP_COMMERCE_ID|NGX_HTTP_COMMERCE_SUB,
      NGX_COMMERCE_OP_CART_LINE_REMOVE, ngx_null_string,
      ngx_commerce_guard_cart, ngx_commerce_cart_line_remove },

    { NGX_HTTP_PUT, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/carts/"), ngx_string("/coupon"),
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_CART_COUPON, ngx_null_string,
      ngx_commerce_guard_cart, ngx_commerce_cart_coupon_put },

    { NGX_HTTP_DELETE, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/carts/"), ngx_string("/coupon"),
      NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_CART_COUPON, ngx_null_string,
      ngx_commerce_guard_cart, ngx_commerce_cart_coupon_remove },

    { NGX_HTTP_PUT, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/carts/"), ngx_string("/shipping"),
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_CART_SHIPPING, ngx_null_string,
      ngx_commerce_guard_cart, ngx_commerce_cart_shipping_put },

    { NGX_HTTP_PUT, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/carts/"), ngx_string("/email"),
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_CART_EMAIL, ngx_null_string,
      ngx_commerce_guard_cart, ngx_commerce_cart_email_put },
    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/webhooks/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID|NGX_HTTP_COMMERCE_RAW,
      NGX_COMMERCE_OP_WEBHOOK, ngx_null_string,
      ngx_commerce_guard_webhook, ngx_commerce_webhook_take },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/products"), ngx_null_string,
      0,
      NGX_COMMERCE_OP_ADMIN_PRODUCT, ngx_string("products:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_product_list },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/products"), ngx_null_string,
      NGX_HTTP_COMMERCE_BODY,
      NGX_COMMERCE_OP_ADMIN_PRODUCT, ngx_string("products:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_product_create },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/products/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ADMIN_PRODUCT, ngx_string("products:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_product_get },

    { NGX_HTTP_PUT, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/products/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_ADMIN_PRODUCT, ngx_string("products:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_product_replace },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/variants/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ADMIN_VARIANT, ngx_string("products:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_variant_get },

    { NGX_HTTP_PATCH, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/variants/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_ADMIN_VARIANT, ngx_string("products:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_variant_update },

    { NGX_HTTP_PUT, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/prices/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_ADMIN_PRICE, ngx_string("products:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_prices_put },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/stock/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ADMIN_STOCK, ngx_string("stock:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_stock_get },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/stock/"), ngx_string("/adjustments"),
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_ADMIN_STOCK, ngx_string("stock:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_stock_adjust },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/orders/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ADMIN_ORDER, ngx_string("orders:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_order_get },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/orders"), ngx_null_string,
      0,
      NGX_COMMERCE_OP_ADMIN_ORDER, ngx_string("orders:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_order_list },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/orders/"), ngx_string("/events"),
      NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ADMIN_ORDER, ngx_string("orders:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_order_events },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/orders/"), ngx_string("/cancel"),
      NGX_HTTP_COMMERCE_ID_OPTIONAL,
      NGX_COMMERCE_OP_ADMIN_ORDER, ngx_string("orders:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_order_cancel },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/orders/"), ngx_string("/fulfilments"),
      NGX_HTTP_COMMERCE_ID_OPTIONAL,
      NGX_COMMERCE_OP_ADMIN_ORDER, ngx_string("orders:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_fulfilment_create },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/orders/"), ngx_string("/refunds"),
      NGX_HTTP_COMMERCE_ID_OPTIONAL,
      NGX_COMMERCE_OP_ADMIN_ORDER, ngx_string("orders:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_refund_create },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/import"), ngx_null_string,
      NGX_HTTP_COMMERCE_NDJSON,
      NGX_COMMERCE_OP_ADMIN_IMPORT, ngx_string("products:write"),
      ngx_commerce_guard_staff, NULL },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_STOREFRONT,
      ngx_string("/v1/shipping-methods"), ngx_null_string, 0,
      NGX_COMMERCE_OP_SHIPPING_LIST, ngx_null_string,
      ngx_commerce_guard_none, ngx_commerce_shipping_method_list },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/tax-rates"), ngx_null_string, 0,
      NGX_COMMERCE_OP_ADMIN_TAX_RATE, ngx_string("pricing:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_list },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/tax-rates"), ngx_null_string,
      NGX_HTTP_COMMERCE_BODY,
      NGX_COMMERCE_OP_ADMIN_TAX_RATE, ngx_string("pricing:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_create },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/tax-rates/"), ngx_null_string, NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ADMIN_TAX_RATE, ngx_string("pricing:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_get },

    { NGX_HTTP_PUT, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/tax-rates/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_ADMIN_TAX_RATE, ngx_string("pricing:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_replace },

    { NGX_HTTP_DELETE, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/tax-rates/"), ngx_null_string, NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ADMIN_TAX_RATE, ngx_string("pricing:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_delete },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/shipping-methods"), ngx_null_string, 0,
      NGX_COMMERCE_OP_ADMIN_SHIPPING, ngx_string("pricing:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_list },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/shipping-methods"), ngx_null_string,
      NGX_HTTP_COMMERCE_BODY,
      NGX_COMMERCE_OP_ADMIN_SHIPPING, ngx_string("pricing:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_create },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/shipping-methods/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ADMIN_SHIPPING, ngx_string("pricing:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_get },

    { NGX_HTTP_PUT, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/shipping-methods/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_ADMIN_SHIPPING, ngx_string("pricing:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_replace },

    { NGX_HTTP_DELETE, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/shipping-methods/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ADMIN_SHIPPING, ngx_string("pricing:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_delete },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/coupons"), ngx_null_string, 0,
      NGX_COMMERCE_OP_ADMIN_COUPON, ngx_string("pricing:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_list },

    { NGX_HTTP_POST, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/coupons"), ngx_null_string, NGX_HTTP_COMMERCE_BODY,
      NGX_COMMERCE_OP_ADMIN_COUPON, ngx_string("pricing:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_create },

    { NGX_HTTP_GET, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/coupons/"), ngx_null_string, NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ADMIN_COUPON, ngx_string("pricing:read"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_get },

    { NGX_HTTP_PUT, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/coupons/"), ngx_null_string,
      NGX_HTTP_COMMERCE_ID_BODY,
      NGX_COMMERCE_OP_ADMIN_COUPON, ngx_string("pricing:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_replace },

    { NGX_HTTP_DELETE, NGX_HTTP_COMMERCE_ADMIN,
      ngx_string("/v1/admin/coupons/"), ngx_null_string, NGX_HTTP_COMMERCE_ID,
      NGX_COMMERCE_OP_ADMIN_COUPON, ngx_string("pricing:write"),
      ngx_commerce_guard_staff, ngx_commerce_admin_pricing_delete },

    { 0, NGX_HTTP_COMMERCE_NONE, ngx_null_string, ngx_null_string, 0,
      NGX_COMMERCE_OP_NONE, ngx_null_string, NULL, NULL }
};
