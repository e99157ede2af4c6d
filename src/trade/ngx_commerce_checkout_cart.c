/*
 * POST /v1/carts/{id}/checkout.  The cart is read, priced and its units taken
 * like those of any order; the commit claims it at the version that was read.
 * Whoever comes second, with whatever key, gets the order that came first.
 */

#include "ngx_commerce_checkout.h"


static void ngx_commerce_checkout_cart_loaded(ngx_commerce_cart_load_t *load,
    ngx_int_t rc);
static ngx_int_t ngx_commerce_checkout_cart_lines(
    ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_cart_to(ngx_commerce_checkout_t *co);


void
ngx_commerce_guard_cart_checkout(ngx_commerce_call_t *call)
{
    if (!call->trade->conf->guest_checkout) {
        ngx_commerce_refuse(call, COMMERCE_UNAUTHENTICATED,
                            "guest checkout is off");
        return;
    }

    ngx_commerce_guard_cart(call);
}


void
ngx_commerce_cart_checkout(ngx_commerce_call_t *call)
{
    u_char                    text[sizeof("cart:") - 1 + COMMERCE_UUID_TEXT];
    ngx_str_t                 scope;
    ngx_commerce_checkout_t  *co;

    co = ngx_commerce_checkout_create(call);

    if (co == NULL || ngx_commerce_checkout_parse_cart(co) != NGX_OK) {
        return;
    }

    (void) commerce_uuid_format(ngx_cpymem(text, "cart:", sizeof("cart:") - 1),
                                &call->cart_id);
    scope.data = text;
    scope.len = sizeof(text);

    if (ngx_commerce_checkout_replay(co, &scope) != NGX_OK) {
        return;
    }

    ngx_commerce_checkout_reload(co);
}


void
ngx_commerce_checkout_reload(ngx_commerce_checkout_t *co)
{
    ngx_commerce_cart_load_t  *load;

    load = ngx_pcalloc(co->call->pool, sizeof(ngx_commerce_cart_load_t));
    if (load == NULL) {
        ngx_commerce_checkout_refuse(co, COMMERCE_INTERNAL, NULL);
        return;
    }

    load->call = co->call;
    load->id = co->call->cart_id;
    load->done = ngx_commerce_checkout_cart_loaded;
    load->data = co;

    ngx_commerce_cart_read(load);
}


static void
ngx_commerce_checkout_cart_loaded(ngx_commerce_cart_load_t *load,
    ngx_int_t rc)
{
    ngx_commerce_checkout_t  *co;

    co = load->data;

    if (rc != NGX_OK) {
        ngx_commerce_checkout_refuse(co, load->problem, NULL);
        return;
    }

    if (!load->found || load->cart.state == NGX_COMMERCE_CART_EXPIRED) {
        ngx_commerce_checkout_refuse(co, COMMERCE_NOT_FOUND, NULL);
        return;
    }

    co->cart = load;

    if (load->cart.has_order) {

        /* perhaps by this very key */

        co->ordered = 1;

        if (co->lookup.deadline == 0) {
            co->lookup.deadline = co->deadline;
        }

        ngx_commerce_checkout_lookup(co);
        return;
    }

    if (load->cart.nlines == 0) {
        ngx_commerce_checkout_refuse(co, COMMERCE_CONFLICT,
                                     "the cart is empty");
        return;
    }

    if (ngx_commerce_checkout_cart_lines(co) != NGX_OK) {
        ngx_commerce_checkout_refuse(co, COMMERCE_INTERNAL, NULL);
        return;
    }

    ngx_commerce_checkout_cart_to(co);
    ngx_commerce_checkout_resolve(co);
}


static ngx_int_t
ngx_commerce_checkout_cart_lines(ngx_commerce_checkout_t *co)
{
    ngx_uint_t                     i;
    ngx_commerce_cart_t           *cart;
    ngx_commerce_checkout_line_t  *line;

    cart = &co->cart->cart;

    line = ngx_pcalloc(co->call->pool,
                       cart->nlines * sizeof(ngx_commerce_checkout_line_t));
    if (line == NULL) {
        return NGX_ERROR;
    }

    co->lines = line;
    co->nlines = cart->nlines;

    for (i = 0; i < cart->nlines; i++, line++) {
        line->item.id = cart->lines[i].variant_id;
        line->quantity = cart->lines[i].quantity;
        line->asked = i;
    }

    ngx_memcpy(co->currency, cart->currency, sizeof(co->currency));

    return NGX_OK;
}


/* What the body says goes before what the cart says. */

static void
ngx_commerce_checkout_cart_to(ngx_commerce_checkout_t *co)
{
    ngx_commerce_cart_t  *cart;

    cart = &co->cart->cart;
    co->to = co->said;

    if (co->said.email.len == 0) {
        co->to.email = cart->email;
    }

    if (co->said.delivery.text.len == 0) {
        co->to.delivery.text = cart->delivery;
        co->to.delivery.country = cart->country;
        co->to.delivery.region = cart->region;
        co->to.delivery.method = cart->method;
    }
}


void
ngx_commerce_checkout_show_ordered(ngx_commerce_checkout_t *co)
{
    ngx_commerce_order_show(co->call, &co->cart->cart.order_id, 200);
}
