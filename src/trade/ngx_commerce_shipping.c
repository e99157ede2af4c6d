/* The shipping methods that a buyer may choose from. */

#include "ngx_commerce_rules.h"


#define NGX_COMMERCE_WRITER_SIZE  1024


typedef struct {
    ngx_commerce_rules_wait_t   wait;
    ngx_str_t                   country;
    ngx_str_t                   currency;
} ngx_commerce_shipping_t;


static ngx_int_t ngx_commerce_shipping_argument(ngx_commerce_call_t *call,
    const char *name, size_t len, ngx_str_t *value);
static void ngx_commerce_shipping_ready(ngx_commerce_rules_wait_t *wait,
    ngx_int_t rc);
static void ngx_commerce_shipping_send(ngx_commerce_call_t *call,
    ngx_commerce_shipping_t *shipping);
static void ngx_commerce_shipping_write(commerce_json_writer_t *w,
    const ngx_commerce_method_t *method, int64_t price, int64_t free_over);


void
ngx_commerce_shipping_method_list(ngx_commerce_call_t *call)
{
    ngx_commerce_shipping_t  *shipping;

    shipping = ngx_pcalloc(call->pool, sizeof(ngx_commerce_shipping_t));

    if (shipping == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    if (ngx_commerce_shipping_argument(call, "country", 2, &shipping->country)
        != NGX_OK
        || ngx_commerce_shipping_argument(call, "currency",
                                          COMMERCE_CURRENCY_LEN,
                                          &shipping->currency)
           != NGX_OK)
    {
        return;
    }

    shipping->wait.ready = ngx_commerce_shipping_ready;
    shipping->wait.data = call;

    call->data = shipping;

    switch (ngx_commerce_rules_current(call->trade, &shipping->wait)) {

    case NGX_OK:
        ngx_commerce_shipping_send(call, shipping);
        return;

    case NGX_AGAIN:
        return;

    default:
        ngx_commerce_refuse(call, COMMERCE_UNAVAILABLE, NULL);
    }
}


/* Letters of whatever case; NGX_ERROR: refused. */

static ngx_int_t
ngx_commerce_shipping_argument(ngx_commerce_call_t *call, const char *name,
    size_t len, ngx_str_t *value)
{
    size_t     i;
    ngx_int_t  rc;

    rc = ngx_commerce_argument(call, name, value);

    if (rc == NGX_ERROR) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    if (rc != NGX_OK || value->len != len) {
        goto invalid;
    }

    for (i = 0; i < len; i++) {

        value->data[i] = ngx_toupper(value->data[i]);

        if (value->data[i] < 'A' || value->data[i] > 'Z') {
            goto invalid;
        }
    }

    return NGX_OK;

invalid:

    ngx_commerce_refuse(call, COMMERCE_INVALID_REQUEST,
                        "the arguments \"country\" (two letters) and "
                        "\"currency\" (three) are required");

    return NGX_ERROR;
}


static void
ngx_commerce_shipping_ready(ngx_commerce_rules_wait_t *wait, ngx_int_t rc)
{
    ngx_commerce_call_t  *call;

    call = wait->data;

    if (rc != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_UNAVAILABLE, NULL);
        return;
    }

    ngx_commerce_shipping_send(call, call->data);
}


static void
ngx_commerce_shipping_send(ngx_commerce_call_t *call,
    ngx_commerce_shipping_t *shipping)
{
    int64_t                           price;
    ngx_str_t                         body;
    ngx_uint_t                        i;
    commerce_json_writer_t            w;
    const ngx_commerce_method_t      *method;
    const ngx_commerce_rules_copy_t  *copy;

    copy = ngx_commerce_rules_copy(call->trade);

    commerce_json_writer_init(&w, NGX_COMMERCE_WRITER_SIZE,
                              ngx_commerce_palloc, call->pool);

    commerce_json_object_open(&w);
    commerce_json_key(&w, "data");
    commerce_json_array_open(&w);

    for (i = 0; i < copy->nmethods; i++) {

        method = &copy->methods[i];
        price = ngx_commerce_rules_amount(&method->prices,
                                          shipping->currency.data);

        if (price < 0
            || !ngx_commerce_rules_serves(method, &shipping->country))
        {
            continue;
        }

        ngx_commerce_shipping_write(&w, method, price,
                     ngx_commerce_rules_amount(&method->free_over,
                                               shipping->currency.data));
    }

    commerce_json_array_close(&w);
    commerce_json_key(&w, "has_more");
    commerce_json_boolean(&w, 0);
    commerce_json_key(&w, "next");
    commerce_json_null(&w);
    commerce_json_object_close(&w);

    if (w.failed) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    body.data = w.start;
    body.len = (size_t) (w.last - w.start);

    call->cacheable = 1;
    ngx_commerce_answer(call, 200, &body);
}


static void
ngx_commerce_shipping_write(commerce_json_writer_t *w,
    const ngx_commerce_method_t *method, int64_t price, int64_t free_over)
{
    commerce_json_object_open(w);
    commerce_json_key(w, "code");
    commerce_json_string(w, method->code.data, method->code.len);
    commerce_json_key(w, "title");
    commerce_json_string(w, method->title.data, method->title.len);
    commerce_json_key(w, "price");
    commerce_json_integer(w, price);
    commerce_json_key(w, "free_over");

    if (free_over >= 0) {
        commerce_json_integer(w, free_over);

    } else {
        commerce_json_null(w);
    }

    commerce_json_object_close(w);
}
