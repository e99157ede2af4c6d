/*
 * POST /v1/orders ("buy now"), from the key to the answer: parse (.._parse.c),
 * look for a replay, find and price the lines (.._price.c), take the units
 * (.._reserve.c), commit (.._batch.c), answer.
 */

#include "ngx_commerce_checkout.h"
#include "commerce_time.h"


#define NGX_COMMERCE_LOADS_MAX     4


static void ngx_commerce_checkout_loaded(ngx_commerce_variants_t *variants,
    ngx_int_t rc);
static ngx_int_t ngx_commerce_checkout_find(ngx_commerce_checkout_t *co,
    ngx_commerce_checkout_line_t *line);
static ngx_commerce_order_line_t *ngx_commerce_checkout_view_lines(
    ngx_commerce_checkout_t *co, ngx_uint_t *units);


void
ngx_commerce_guard_checkout(ngx_commerce_call_t *call)
{
    if (!call->trade->conf->guest_checkout) {
        ngx_commerce_refuse(call, COMMERCE_UNAUTHENTICATED,
                            "guest checkout is off");
        return;
    }

    call->proceed(call);
}


void
ngx_commerce_order_create(ngx_commerce_call_t *call)
{
    ngx_str_t                 scope;
    ngx_commerce_checkout_t  *co;

    co = ngx_commerce_checkout_create(call);

    if (co == NULL || ngx_commerce_checkout_parse(co) != NGX_OK) {
        return;
    }

    /* a guest has no scope but the key itself: hence its minimal length */
    ngx_str_set(&scope, "order:guest");

    if (ngx_commerce_checkout_replay(co, &scope) != NGX_OK) {
        return;
    }

    ngx_commerce_checkout_resolve(co);
}


/* NULL: the call is answered. */

ngx_commerce_checkout_t *
ngx_commerce_checkout_create(ngx_commerce_call_t *call)
{
    ngx_commerce_checkout_t  *co;

    if (ngx_commerce_call_key_check(call, 16, 1) != NGX_OK) {
        return NULL;
    }

    co = ngx_pcalloc(call->pool, sizeof(ngx_commerce_checkout_t));
    if (co == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NULL;
    }

    co->call = call;
    co->trade = call->trade;
    co->expected_total = -1;
    co->deadline = ngx_current_msec + co->trade->conf->queue_timeout;

    return co;
}


ngx_int_t
ngx_commerce_checkout_replay(ngx_commerce_checkout_t *co, ngx_str_t *scope)
{
    ngx_str_t               body;
    ngx_uint_t              status;
    commerce_uuid_t         id;
    ngx_commerce_call_t    *call;
    ngx_commerce_replay_e   replay;

    call = co->call;

    if (ngx_commerce_call_key(call, scope, &co->idem) != NGX_OK
        || ngx_commerce_call_fingerprint(call, &co->fingerprint) != NGX_OK
        || ngx_commerce_call_uuid(&co->id) != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    replay = ngx_commerce_replay_begin(co->trade->zone, &co->idem,
                                       &co->fingerprint, call->pool, &id,
                                       &status, &body);
    switch (replay) {

    case NGX_COMMERCE_REPLAY_NEW:
    case NGX_COMMERCE_REPLAY_UNMARKED:
        co->marked = replay == NGX_COMMERCE_REPLAY_NEW;

        if (co->trade->closed || ngx_commerce_trade_away(co->trade)) {
            ngx_commerce_checkout_refuse(co, COMMERCE_UNAVAILABLE,
                                         "the database is away");
            return NGX_ERROR;
        }

        return NGX_OK;

    case NGX_COMMERCE_REPLAY_IN_PROGRESS:
        ngx_commerce_refuse(call, COMMERCE_IN_PROGRESS,
                            "the first request with this key still runs");
        return NGX_ERROR;

    case NGX_COMMERCE_REPLAY_REUSED:
        ngx_commerce_refuse(call, COMMERCE_IDEMPOTENCY_KEY_REUSED,
                            "this key came with another request before");
        return NGX_ERROR;

    default: /* NGX_COMMERCE_REPLAY_DONE */
        break;
    }

    call->replayed = 1;
    ngx_commerce_count(co->trade->zone, NGX_COMMERCE_C_REPLAYS, 1);

    /* another instance may have changed the state since: read the row */
    if (ngx_commerce_zone_live(co->trade->zone) > 1) {
        ngx_commerce_order_show(call, &id, status);
        return NGX_ERROR;
    }

    ngx_commerce_order_created(call, &id);
    ngx_commerce_answer(call, status, &body);

    return NGX_ERROR;
}


/* Every line to its variant; what the zone does not know is loaded. */

void
ngx_commerce_checkout_resolve(ngx_commerce_checkout_t *co)
{
    ngx_str_t                     *sku;
    ngx_uint_t                     i, missing;
    commerce_uuid_t               *id;
    ngx_commerce_checkout_line_t  *line;

    missing = 0;
    co->wants = NULL;

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        line->loading = (ngx_commerce_checkout_find(co, line) != NGX_OK);

        if (!line->loading) {
            continue;
        }

        if (missing++ == 0
            && ngx_commerce_variants_init(&co->variants, co->trade,
                                          co->call->pool)
               != NGX_OK)
        {
            goto failed;
        }

        if (line->sku.len) {
            sku = ngx_array_push(&co->variants.skus);
            if (sku == NULL) {
                goto failed;
            }
            *sku = line->sku;

        } else {
            id = ngx_array_push(&co->variants.ids);
            if (id == NULL) {
                goto failed;
            }
            *id = line->item.id;
        }
    }

    if (missing == 0) {
        ngx_commerce_checkout_price(co);
        return;
    }

    if (co->loads++ == NGX_COMMERCE_LOADS_MAX) {
        ngx_commerce_checkout_refuse(co, COMMERCE_UNAVAILABLE,
                                     "the catalogue changes too fast, or the "
                                     "zone is too small");
        return;
    }

    co->variants.done = ngx_commerce_checkout_loaded;
    co->variants.data = co;

    if (ngx_commerce_variants_load(&co->variants) == NGX_OK) {
        return;
    }

failed:

    ngx_commerce_checkout_refuse(co, COMMERCE_INTERNAL, NULL);
}


static ngx_int_t
ngx_commerce_checkout_find(ngx_commerce_checkout_t *co,
    ngx_commerce_checkout_line_t *line)
{
    commerce_uuid_t  id;

    if (line->sku.len) {
        return ngx_commerce_stock_find_sku(co->trade->zone, line->sku.data,
                                           line->sku.len, co->currency,
                                           &line->item);
    }

    id = line->item.id;

    return ngx_commerce_stock_find_id(co->trade->zone, &id, co->currency,
                                      &line->item);
}


commerce_json_errors_t *
ngx_commerce_checkout_errors(ngx_commerce_checkout_t *co)
{
    commerce_json_errors_t  *errors;

    errors = ngx_palloc(co->call->pool, sizeof(commerce_json_errors_t));
    if (errors == NULL) {
        ngx_commerce_checkout_refuse(co, COMMERCE_INTERNAL, NULL);
        return NULL;
    }

    commerce_json_errors_init(errors, ngx_commerce_palloc, co->call->pool);

    return errors;
}


static void
ngx_commerce_checkout_loaded(ngx_commerce_variants_t *variants, ngx_int_t rc)
{
    ngx_uint_t                     i, j;
    const char                    *path;
    commerce_str_t                 name;
    ngx_commerce_variant_t        *v;
    commerce_json_errors_t        *errors;
    ngx_commerce_checkout_t       *co;
    ngx_commerce_checkout_line_t  *line;

    co = variants->data;

    if (rc != NGX_OK) {
        ngx_commerce_checkout_refuse(co, rc == NGX_BUSY ? COMMERCE_OVERLOADED
                                                        : COMMERCE_UNAVAILABLE,
                                     NULL);
        return;
    }

    if (variants->zone_full) {
        ngx_commerce_checkout_refuse(co, COMMERCE_ZONE_FULL, NULL);
        return;
    }

    errors = ngx_commerce_checkout_errors(co);
    if (errors == NULL) {
        return;
    }

    v = variants->found.elts;

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        if (!line->loading
            || ngx_commerce_checkout_find(co, line) == NGX_OK)
        {
            /* in a full zone one load can push out what another one put */
            continue;
        }

        /* found, but invalidated again meanwhile: not unknown */

        for (j = 0; j < variants->found.nelts; j++) {
            if (line->sku.len
                ? (line->sku.len == v[j].sku_len
                   && ngx_memcmp(line->sku.data, v[j].sku, v[j].sku_len) == 0)
                : commerce_uuid_compare(&line->item.id, &v[j].id) == 0)
            {
                break;
            }
        }

        if (j == variants->found.nelts) {
            path = commerce_json_path(errors, "", "lines", line->asked);
            name.data = (u_char *) (line->sku.len ? "sku" : "variant_id");
            name.len = ngx_strlen(name.data);
            commerce_json_error_add(errors, path, &name, "unknown_variant",
                                    "this shop does not sell it");
        }
    }

    if (errors->n) {
        co->call->errors = errors;
        ngx_commerce_checkout_deny(co, COMMERCE_INVALID_REQUEST, NULL);
        return;
    }

    ngx_commerce_checkout_resolve(co);
}


/*
 * Ends the order without one; what is in hand is left to settlement.  Whatever
 * the reason, the client of an order that may still commit hears just that.
 */

void
ngx_commerce_checkout_refuse(ngx_commerce_checkout_t *co,
    commerce_problem_e problem, const char *detail)
{
    ngx_commerce_checkout_let_go(co);

    if (co->uncertain) {
        problem = COMMERCE_OUTCOME_UNKNOWN;
        detail = "the order may be stored: send the same key again";
        co->call->errors = NULL;
        ngx_str_null(&co->call->extra);
    }

    ngx_commerce_refuse(co->call, problem, detail);
}


void
ngx_commerce_checkout_stored(ngx_commerce_checkout_t *co)
{
    ngx_str_t                   body;
    ngx_uint_t                  units;
    ngx_commerce_call_t        *call;
    ngx_commerce_zone_t        *zone;
    ngx_commerce_order_view_t   view;

    call = co->call;
    zone = co->trade->zone;

    ngx_memzero(&view, sizeof(ngx_commerce_order_view_t));

    view.lines = ngx_commerce_checkout_view_lines(co, &units);
    if (view.lines == NULL) {
        goto failed;
    }

    view.nlines = co->nlines;
    view.id = co->id;
    ngx_str_set(&view.state, "pending_payment");
    view.currency.data = co->currency;
    view.currency.len = COMMERCE_CURRENCY_LEN;
    view.email = co->to.email;
    view.delivery = co->to.delivery.text;
    view.totals.subtotal = co->quote.price.subtotal;
    view.totals.discount = co->quote.price.discount;
    view.totals.tax = co->quote.price.tax;
    view.totals.shipping = co->quote.price.shipping;
    view.totals.total = co->quote.price.total;
    view.tax_included = co->quote.price.tax_included;
    view.version = 1;
    view.created_at = co->created_at;
    view.expires_at = co->expires_at;

    if (co->quote.coupon) {
        view.coupon = co->quote.coupon->code;
    }

    if (ngx_commerce_order_json(call, &view, &body) != NGX_OK) {
        goto failed;
    }

    ngx_commerce_order_created(call, &co->id);

    ngx_commerce_replay_finish(zone, &co->idem, &co->fingerprint, &co->id,
                               201, &body,
                               ngx_time() + co->trade->conf->hold_time - 1);
    co->marked = 0;

    ngx_commerce_count(zone, NGX_COMMERCE_C_ORDERS, 1);
    ngx_commerce_count(zone, NGX_COMMERCE_C_UNITS_SOLD, units);
    ngx_commerce_observe_order(zone,
                               ngx_commerce_clock() - call->started);

    ngx_commerce_answer(call, 201, &body);
    return;

failed:

    /* it is stored: a retry of the key finds it */

    ngx_commerce_checkout_refuse(co, COMMERCE_OUTCOME_UNKNOWN, NULL);
}


static ngx_commerce_order_line_t *
ngx_commerce_checkout_view_lines(ngx_commerce_checkout_t *co,
    ngx_uint_t *units)
{
    ngx_uint_t                     i;
    commerce_price_line_t         *priced;
    ngx_commerce_order_line_t     *lines;
    ngx_commerce_checkout_line_t  *line;

    *units = 0;

    lines = ngx_pcalloc(co->call->pool,
                        co->nlines * sizeof(ngx_commerce_order_line_t));
    if (lines == NULL) {
        return NULL;
    }

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];
        priced = &co->quote.lines[i];

        lines[i].variant_id = line->item.id;
        lines[i].sku.data = line->item.sku;
        lines[i].sku.len = line->item.sku_len;
        lines[i].title.data = line->item.title;
        lines[i].title.len = line->item.title_len;
        lines[i].quantity = (int32_t) line->quantity;
        lines[i].unit_price = priced->unit_price;
        lines[i].discount = priced->discount;
        lines[i].tax = priced->tax;
        *units += line->quantity;
    }

    return lines;
}
