/*
 * POST /v1/orders ("buy now"), from the key to the answer: parse (.._parse.c),
 * look for a replay, find and price the lines, take the units (.._reserve.c),
 * commit (.._batch.c), answer.
 */

#include "ngx_commerce_checkout.h"
#include "commerce_time.h"


#define NGX_COMMERCE_LOADS_MAX     4


static ngx_int_t ngx_commerce_checkout_replay(ngx_commerce_checkout_t *co);
static commerce_json_errors_t *ngx_commerce_checkout_errors(
    ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_loaded(ngx_commerce_variants_t *variants,
    ngx_int_t rc);
static ngx_int_t ngx_commerce_checkout_known(ngx_commerce_checkout_t *co,
    ngx_commerce_checkout_line_t *line);
static void ngx_commerce_checkout_price(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_merge(ngx_commerce_checkout_t *co);


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
    ngx_commerce_checkout_t  *co;

    if (ngx_commerce_call_key_check(call, 16, 1) != NGX_OK) {
        return;
    }

    co = ngx_pcalloc(call->pool, sizeof(ngx_commerce_checkout_t));
    if (co == NULL) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    co->call = call;
    co->trade = call->trade;
    co->expected_total = -1;
    co->deadline = ngx_current_msec + co->trade->conf->queue_timeout;

    if (ngx_commerce_checkout_parse(co) != NGX_OK
        || ngx_commerce_checkout_replay(co) != NGX_OK)
    {
        return;
    }

    if (co->trade->closed || ngx_commerce_trade_away(co->trade)) {
        ngx_commerce_checkout_refuse(co, COMMERCE_UNAVAILABLE,
                                     "the database is away");
        return;
    }

    ngx_commerce_checkout_resolve(co);
}


/* NGX_OK: the key is ours to work on.  NGX_ERROR: the call is answered. */

static ngx_int_t
ngx_commerce_checkout_replay(ngx_commerce_checkout_t *co)
{
    ngx_str_t               scope, body;
    ngx_uint_t              status;
    commerce_uuid_t         id;
    ngx_commerce_call_t    *call;
    ngx_commerce_replay_e   replay;

    call = co->call;

    /* a guest has no scope but the key itself: hence its minimal length */
    ngx_str_set(&scope, "order:guest");

    if (ngx_commerce_call_key(call, &scope, &co->idem) != NGX_OK
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
        co->marked = 1;
        return NGX_OK;

    case NGX_COMMERCE_REPLAY_UNMARKED:
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

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        if (ngx_commerce_checkout_known(co, line) == NGX_OK) {
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
                                     "the catalogue changes too fast");
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
ngx_commerce_checkout_known(ngx_commerce_checkout_t *co,
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


/* Unlike ngx_commerce_call_errors(), lets go of the key before it refuses. */

static commerce_json_errors_t *
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

        if (ngx_commerce_checkout_known(co, line) == NGX_OK) {
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


/* Lines of one variant become one: demand is summed before any check. */

static int ngx_libc_cdecl
ngx_commerce_checkout_cmp_lines(const void *one, const void *two)
{
    const ngx_commerce_checkout_line_t  *a = one;
    const ngx_commerce_checkout_line_t  *b = two;

    return commerce_uuid_compare(&a->item.id, &b->item.id);
}


static int ngx_libc_cdecl
ngx_commerce_checkout_cmp_asked(const void *one, const void *two)
{
    const ngx_commerce_checkout_line_t  *a = one;
    const ngx_commerce_checkout_line_t  *b = two;

    return (a->asked > b->asked) - (a->asked < b->asked);
}


static void
ngx_commerce_checkout_merge(ngx_commerce_checkout_t *co)
{
    ngx_uint_t                     i, n;
    ngx_commerce_checkout_line_t  *lines;

    if (co->nlines == 1) {
        return;
    }

    lines = co->lines;

    ngx_qsort(lines, co->nlines, sizeof(ngx_commerce_checkout_line_t),
              ngx_commerce_checkout_cmp_lines);

    for (n = 0, i = 1; i < co->nlines; i++) {

        if (commerce_uuid_compare(&lines[n].item.id, &lines[i].item.id) == 0) {
            lines[n].quantity += lines[i].quantity;
            lines[n].asked = ngx_min(lines[n].asked, lines[i].asked);
            continue;
        }

        if (++n != i) {
            lines[n] = lines[i];
        }
    }

    co->nlines = n + 1;

    ngx_qsort(lines, co->nlines, sizeof(ngx_commerce_checkout_line_t),
              ngx_commerce_checkout_cmp_asked);
}


static void
ngx_commerce_checkout_price(ngx_commerce_checkout_t *co)
{
    u_char                        *p;
    ngx_uint_t                     i;
    const char                    *path;
    commerce_json_errors_t        *errors;
    ngx_commerce_checkout_line_t  *line;

    ngx_commerce_checkout_merge(co);

    errors = ngx_commerce_checkout_errors(co);
    if (errors == NULL) {
        return;
    }

    if (co->sums == NULL) {
        co->sums = ngx_pcalloc(co->call->pool,
                               co->nlines * sizeof(commerce_order_sum_t));
        if (co->sums == NULL) {
            ngx_commerce_checkout_refuse(co, COMMERCE_INTERNAL, NULL);
            return;
        }
    }

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];
        path = NULL;

        if (!line->item.for_sale || line->item.unit_price < 0
            || line->quantity > NGX_COMMERCE_QUANTITY_MAX)
        {
            path = commerce_json_path(errors, "", "lines", line->asked);
        }

        if (!line->item.for_sale) {
            commerce_json_error_add(errors, path, NULL, "unknown_variant",
                                    "this shop does not sell it");

        } else if (line->item.unit_price < 0) {
            commerce_json_error_add(errors, path, NULL, "no_price",
                                    "it has no price in this currency");

        } else if (line->quantity > NGX_COMMERCE_QUANTITY_MAX) {
            commerce_json_error_add(errors, path, NULL, "out_of_range",
                                    "more units than one line can hold");
        }

        co->sums[i].unit_price = line->item.unit_price;
        co->sums[i].quantity = line->quantity;
    }

    if (errors->n) {
        co->call->errors = errors;
        ngx_commerce_checkout_deny(co, COMMERCE_INVALID_REQUEST, NULL);
        return;
    }

    ngx_memzero(&co->totals, sizeof(commerce_order_totals_t));

    if (commerce_order_totals(&co->totals, co->sums, co->nlines)
        != COMMERCE_OK)
    {
        commerce_json_error_add(errors, "/lines", NULL, "out_of_range",
                                "the total is more than an amount can be");
        co->call->errors = errors;
        ngx_commerce_checkout_deny(co, COMMERCE_INVALID_REQUEST, NULL);
        return;
    }

    if (co->expected_total >= 0 && co->expected_total != co->totals.total) {
        p = ngx_pnalloc(co->call->pool, sizeof("\"total\":,\"currency\":\"\"")
                        + NGX_INT64_LEN + COMMERCE_CURRENCY_LEN);
        if (p) {
            co->call->extra.data = p;
            co->call->extra.len = ngx_sprintf(p,
                                      "\"total\":%L,\"currency\":\"%s\"",
                                      co->totals.total, co->currency)
                                  - p;
        }

        ngx_commerce_checkout_deny(co, COMMERCE_PRICE_CHANGED,
                                   "the total is not what was expected");
        return;
    }

    ngx_commerce_checkout_reserve(co);
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
    ngx_str_t                      body;
    ngx_uint_t                     i, units;
    ngx_commerce_call_t           *call;
    ngx_commerce_zone_t           *zone;
    ngx_commerce_order_line_t     *lines;
    ngx_commerce_order_view_t      view;

    call = co->call;
    zone = co->trade->zone;
    units = 0;

    ngx_memzero(&view, sizeof(ngx_commerce_order_view_t));

    lines = ngx_palloc(call->pool,
                       co->nlines * sizeof(ngx_commerce_order_line_t));
    if (lines == NULL) {
        goto failed;
    }

    for (i = 0; i < co->nlines; i++) {
        lines[i].variant_id = co->lines[i].item.id;
        lines[i].sku.data = co->lines[i].item.sku;
        lines[i].sku.len = co->lines[i].item.sku_len;
        lines[i].title.data = co->lines[i].item.title;
        lines[i].title.len = co->lines[i].item.title_len;
        lines[i].quantity = (int32_t) co->lines[i].quantity;
        lines[i].unit_price = co->lines[i].item.unit_price;
        units += co->lines[i].quantity;
    }

    view.id = co->id;
    ngx_str_set(&view.state, "pending_payment");
    view.currency.data = co->currency;
    view.currency.len = COMMERCE_CURRENCY_LEN;
    view.email = co->email;
    view.delivery = co->delivery;
    view.totals = co->totals;
    view.version = 1;
    view.created_at = co->created_at;
    view.expires_at = co->expires_at;
    view.lines = lines;
    view.nlines = co->nlines;

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
