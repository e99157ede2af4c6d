/*
 * POST /v1/orders ("buy now"): parse, price, take the units, hand over to the
 * commit (ngx_commerce_checkout_batch.c), answer.
 */

#include "ngx_commerce_checkout.h"
#include "commerce_time.h"


#define NGX_COMMERCE_QUANTITY_MAX  1000000000
#define NGX_COMMERCE_LOADS_MAX     4
#define NGX_COMMERCE_REFILL_PAUSE  50           /* msec, at most */


typedef struct {
    commerce_str_t      currency;
    commerce_json_t    *lines;
    commerce_str_t      email;
    commerce_json_t    *shipping;
    int64_t             expected_total;
} ngx_commerce_checkout_body_t;

typedef struct {
    commerce_str_t      sku;
    commerce_str_t      variant_id;
    int64_t             quantity;
} ngx_commerce_checkout_asked_t;

typedef struct {
    commerce_json_t    *address;
    commerce_str_t      method;
} ngx_commerce_checkout_shipping_t;

typedef struct {
    commerce_str_t      part[9];
} ngx_commerce_checkout_address_t;


static ngx_int_t ngx_commerce_checkout_parse(ngx_commerce_checkout_t *co);
static ngx_uint_t ngx_commerce_checkout_email(commerce_str_t *email);
static void ngx_commerce_checkout_parse_lines(ngx_commerce_checkout_t *co,
    commerce_json_t *lines, commerce_json_errors_t *errors);
static void ngx_commerce_checkout_parse_shipping(ngx_commerce_checkout_t *co,
    commerce_json_t *shipping, commerce_json_errors_t *errors);
static ngx_int_t ngx_commerce_checkout_replay(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_loaded(ngx_commerce_variants_t *variants,
    ngx_int_t rc);
static ngx_int_t ngx_commerce_checkout_known(ngx_commerce_checkout_t *co,
    ngx_commerce_checkout_line_t *line);
static void ngx_commerce_checkout_price(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_merge(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_short(ngx_commerce_checkout_t *co);
static void ngx_commerce_checkout_woken(ngx_commerce_waiter_t *waiter);
static void ngx_commerce_checkout_sold_out(ngx_commerce_checkout_t *co);


static const commerce_json_field_t  ngx_commerce_checkout_fields[] = {

    { "currency", COMMERCE_JSON_STRING, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_checkout_body_t, currency), 3, 3 },
    { "lines", COMMERCE_JSON_ARRAY, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_checkout_body_t, lines), 1,
      COMMERCE_LINES_LIMIT },
    { "email", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_checkout_body_t, email), 3, 254 },
    { "shipping", COMMERCE_JSON_OBJECT, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_checkout_body_t, shipping), 0, 2 },
    { "expected_total", COMMERCE_JSON_INTEGER, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_checkout_body_t, expected_total), 0,
      COMMERCE_MONEY_MAX },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

static const commerce_json_field_t  ngx_commerce_checkout_line_fields[] = {

    { "sku", COMMERCE_JSON_STRING, 0,
      offsetof(ngx_commerce_checkout_asked_t, sku), 1, COMMERCE_SKU_MAX },
    { "variant_id", COMMERCE_JSON_STRING, 0,
      offsetof(ngx_commerce_checkout_asked_t, variant_id),
      COMMERCE_UUID_TEXT, COMMERCE_UUID_TEXT },
    { "quantity", COMMERCE_JSON_INTEGER, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_checkout_asked_t, quantity), 1,
      NGX_COMMERCE_QUANTITY_MAX },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

static const commerce_json_field_t  ngx_commerce_checkout_shipping_fields[] = {

    { "address", COMMERCE_JSON_OBJECT, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_checkout_shipping_t, address), 0, 16 },
    { "method", COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_checkout_shipping_t, method), 1, 64 },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};

#define ngx_commerce_checkout_part(name, n, max)                              \
    { name, COMMERCE_JSON_STRING, COMMERCE_JSON_NULLABLE,                     \
      offsetof(ngx_commerce_checkout_address_t, part[n]), 1, max }

static const commerce_json_field_t  ngx_commerce_checkout_address_fields[] = {

    ngx_commerce_checkout_part("name", 0, 255),
    ngx_commerce_checkout_part("company", 1, 255),
    ngx_commerce_checkout_part("line1", 2, 255),
    ngx_commerce_checkout_part("line2", 3, 255),
    ngx_commerce_checkout_part("city", 4, 255),
    ngx_commerce_checkout_part("region", 5, 255),
    ngx_commerce_checkout_part("postal_code", 6, 32),
    ngx_commerce_checkout_part("country", 7, 2),
    ngx_commerce_checkout_part("phone", 8, 64),
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


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

    if (ngx_commerce_trade_away(co->trade)) {
        ngx_commerce_checkout_refuse(co, COMMERCE_UNAVAILABLE,
                                     "the database is away");
        return;
    }

    ngx_commerce_checkout_resolve(co);
}


static ngx_int_t
ngx_commerce_checkout_parse(ngx_commerce_checkout_t *co)
{
    commerce_str_t                 name;
    ngx_commerce_call_t           *call;
    commerce_json_errors_t        *errors;
    ngx_commerce_checkout_body_t   body;

    call = co->call;

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&body, sizeof(ngx_commerce_checkout_body_t));
    body.expected_total = -1;

    (void) commerce_json_bind(call->json, ngx_commerce_checkout_fields, &body,
                              "", errors);

    if (body.currency.len
        && !commerce_currency_valid(body.currency.data, body.currency.len))
    {
        name.data = (u_char *) "currency";
        name.len = sizeof("currency") - 1;
        commerce_json_error_add(errors, "", &name, "invalid_value",
                                "must be three capital letters (ISO 4217)");
    }

    if (body.email.len && !ngx_commerce_checkout_email(&body.email)) {
        name.data = (u_char *) "email";
        name.len = sizeof("email") - 1;
        commerce_json_error_add(errors, "", &name, "invalid_value",
                                "must be an e-mail address");
    }

    if (body.lines) {
        ngx_commerce_checkout_parse_lines(co, body.lines, errors);
    }

    if (body.shipping) {
        ngx_commerce_checkout_parse_shipping(co, body.shipping, errors);
    }

    if (errors->failed || call->answered) {
        if (!call->answered) {
            ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        }
        return NGX_ERROR;
    }

    if (errors->n) {
        ngx_commerce_call_invalid(call, errors);
        return NGX_ERROR;
    }

    ngx_memcpy(co->currency, body.currency.data, COMMERCE_CURRENCY_LEN);
    co->email.len = body.email.len;
    co->email.data = body.email.data;
    co->expected_total = body.expected_total;

    return NGX_OK;
}


/* Shape only: something, one "@", something, no blanks.  What is right, only
   a mail can tell. */

static ngx_uint_t
ngx_commerce_checkout_email(commerce_str_t *email)
{
    size_t      i;
    ngx_uint_t  at;

    at = 0;

    for (i = 0; i < email->len; i++) {
        if (email->data[i] <= ' ') {
            return 0;
        }

        if (email->data[i] == '@') {
            if (at || i == 0 || i == email->len - 1) {
                return 0;
            }
            at = i;
        }
    }

    return at != 0;
}


static void
ngx_commerce_checkout_parse_lines(ngx_commerce_checkout_t *co,
    commerce_json_t *lines, commerce_json_errors_t *errors)
{
    size_t                          n;
    const char                     *path;
    commerce_str_t                  name;
    commerce_json_t                *v;
    ngx_commerce_checkout_line_t   *line;
    ngx_commerce_checkout_asked_t   asked;

    if (lines->count > co->trade->conf->max_lines) {
        name.data = (u_char *) "lines";
        name.len = sizeof("lines") - 1;
        commerce_json_error_add(errors, "", &name, "too_many",
                                "more lines than this shop takes at once");
        return;
    }

    co->lines = ngx_pcalloc(co->call->pool,
                            lines->count
                            * sizeof(ngx_commerce_checkout_line_t));
    if (co->lines == NULL) {
        errors->failed = 1;
        return;
    }

    name.data = NULL;
    name.len = 0;
    n = 0;

    for (v = lines->child; v; v = v->next, n++) {

        ngx_memzero(&asked, sizeof(ngx_commerce_checkout_asked_t));
        path = commerce_json_path(errors, "", "lines", n);

        if (commerce_json_bind(v, ngx_commerce_checkout_line_fields, &asked,
                               path, errors)
            != COMMERCE_OK)
        {
            continue;
        }

        line = &co->lines[co->nlines];

        if ((asked.sku.len == 0) == (asked.variant_id.len == 0)) {
            commerce_json_error_add(errors, path, NULL, "invalid_value",
                                    "needs either sku or variant_id");
            continue;
        }

        if (asked.variant_id.len
            && commerce_uuid_parse(&line->item.id, asked.variant_id.data,
                                   asked.variant_id.len)
               != COMMERCE_OK)
        {
            name.data = (u_char *) "variant_id";
            name.len = sizeof("variant_id") - 1;
            commerce_json_error_add(errors, path, &name, "invalid_value",
                                    "must be a UUID");
            continue;
        }

        line->sku.len = asked.sku.len;
        line->sku.data = asked.sku.data;
        line->quantity = asked.quantity;
        line->asked = n;
        co->nlines++;
    }
}


static void
ngx_commerce_checkout_parse_shipping(ngx_commerce_checkout_t *co,
    commerce_json_t *shipping, commerce_json_errors_t *errors)
{
    commerce_str_t                     name;
    commerce_json_writer_t             w;
    ngx_commerce_checkout_address_t    address;
    ngx_commerce_checkout_shipping_t   body;

    ngx_memzero(&body, sizeof(ngx_commerce_checkout_shipping_t));

    if (commerce_json_bind(shipping, ngx_commerce_checkout_shipping_fields,
                           &body, "/shipping", errors)
        != COMMERCE_OK)
    {
        return;
    }

    if (body.method.len) {
        name.data = (u_char *) "method";
        name.len = sizeof("method") - 1;
        commerce_json_error_add(errors, "/shipping", &name, "unknown_method",
                                "this shop has no such shipping method");
        return;
    }

    if (body.address) {
        ngx_memzero(&address, sizeof(ngx_commerce_checkout_address_t));

        if (commerce_json_bind(body.address,
                               ngx_commerce_checkout_address_fields, &address,
                               "/shipping/address", errors)
            != COMMERCE_OK)
        {
            return;
        }
    }

    commerce_json_writer_init(&w, 256, ngx_commerce_palloc, co->call->pool);
    commerce_json_tree(&w, shipping);

    if (w.failed) {
        errors->failed = 1;
        return;
    }

    co->delivery.data = w.start;
    co->delivery.len = w.last - w.start;
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

    errors = ngx_commerce_call_errors(co->call);
    if (errors == NULL) {
        ngx_commerce_checkout_let_go(co);
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

    errors = ngx_commerce_call_errors(co->call);
    if (errors == NULL) {
        ngx_commerce_checkout_let_go(co);
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


/* All lines or none; nothing is taken where one look shows that it is short. */

void
ngx_commerce_checkout_reserve(ngx_commerce_checkout_t *co)
{
    ngx_int_t                      rc;
    ngx_uint_t                     i;
    ngx_commerce_zone_t           *zone;
    ngx_commerce_stock_view_t      view;
    ngx_commerce_checkout_line_t  *line;

    zone = co->trade->zone;

    for (i = 0; co->nlines > 1 && i < co->nlines; i++) {
        line = &co->lines[i];

        if (ngx_commerce_stock_look(zone, &line->item.ref, &view) == NGX_OK
            && (int64_t) view.units < line->quantity)
        {
            ngx_commerce_checkout_short(co);
            return;
        }
    }

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        rc = ngx_commerce_stock_take(zone, &line->item.ref,
                                     (uint32_t) line->quantity, &line->hold);

        if (rc == NGX_OK && line->hold.instance == co->lines[0].hold.instance)
        {
            continue;
        }

        if (rc != NGX_OK) {
            line->hold.units = 0;
        }

        ngx_commerce_checkout_put_back(co);

        if (rc == NGX_ERROR) {
            ngx_commerce_checkout_resolve(co);
            return;
        }

        ngx_commerce_checkout_short(co);
        return;
    }

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        if (ngx_commerce_stock_is_low(zone, &line->item.ref,
                                      co->trade->conf->lease_low_water))
        {
            ngx_commerce_lease_refill(co->trade, &line->item.ref);
        }
    }

    ngx_commerce_checkout_send(co);
}


/*
 * Not enough in the pools: sold out for sure, or wait for a refill.
 *
 * Only the rows can say "sold out", as a refill saw them that began after this
 * request did: units that are in hand of others, or on their way back to the
 * database, are unused by the rows until their fate is committed.
 */

static void
ngx_commerce_checkout_short(ngx_commerce_checkout_t *co)
{
    ngx_uint_t                     i, lacks;
    ngx_commerce_want_t           *want;
    ngx_commerce_stock_view_t      view;
    ngx_commerce_checkout_line_t  *line;

    if (co->wants == NULL) {
        co->wants = ngx_pcalloc(co->call->pool,
                                co->nlines * sizeof(ngx_commerce_want_t));
        if (co->wants == NULL) {
            ngx_commerce_checkout_refuse(co, COMMERCE_INTERNAL, NULL);
            return;
        }
    }

    lacks = 0;

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];
        want = &co->wants[i];

        if (ngx_commerce_stock_look(co->trade->zone, &line->item.ref, &view)
            != NGX_OK)
        {
            ngx_commerce_checkout_resolve(co);
            return;
        }

        if ((int64_t) view.units >= line->quantity) {
            want->units = 0;
            continue;
        }

        if (view.sold_out) {
            ngx_commerce_checkout_sold_out(co);
            return;
        }

        if (want->units && (int32_t) (view.ended - want->target) >= 0) {

            lacks |= view.free + view.own < line->quantity;

            if (view.free + view.own < line->quantity && !view.others) {
                ngx_commerce_checkout_sold_out(co);
                return;
            }

            if (view.others) {
                ngx_commerce_lease_recall(co->trade, &line->item.id);
            }

            want->pause = ngx_min(2 * want->pause + 1,
                                  NGX_COMMERCE_REFILL_PAUSE);
            want->not_before = ngx_current_msec + want->pause;
        }

        want->ref = line->item.ref;
        want->id = line->item.id;
        want->units = (uint32_t) line->quantity;
    }

    if ((ngx_msec_int_t) (co->deadline - ngx_current_msec) <= 0) {

        if (lacks && ngx_commerce_zone_instance(co->trade->zone)) {
            ngx_commerce_checkout_sold_out(co);
            return;
        }

        ngx_commerce_checkout_refuse(co, COMMERCE_OVERLOADED,
                                     "no units came in time");
        return;
    }

    co->waiter.wants = co->wants;
    co->waiter.n = co->nlines;      /* entries without units are skipped */
    co->waiter.deadline = co->deadline;
    co->waiter.wake = ngx_commerce_checkout_woken;
    co->waiter.data = co;

    ngx_commerce_lease_wait(co->trade, &co->waiter);
}


static void
ngx_commerce_checkout_woken(ngx_commerce_waiter_t *waiter)
{
    ngx_commerce_checkout_reserve(waiter->data);
}


static void
ngx_commerce_checkout_sold_out(ngx_commerce_checkout_t *co)
{
    int64_t                        available;
    ngx_uint_t                     i;
    commerce_json_writer_t         w;
    ngx_commerce_stock_view_t      view;
    ngx_commerce_checkout_line_t  *line;

    commerce_json_writer_init(&w, 128 + 192 * co->nlines, ngx_commerce_palloc,
                              co->call->pool);
    commerce_json_key(&w, "lines");
    commerce_json_array_open(&w);

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];
        available = 0;

        if (ngx_commerce_stock_look(co->trade->zone, &line->item.ref, &view)
            == NGX_OK)
        {
            available = view.sold_out ? 0 : view.free + view.own;
        }

        commerce_json_object_open(&w);
        commerce_json_key(&w, "variant_id");
        commerce_json_uuid(&w, &line->item.id);
        commerce_json_key(&w, "sku");
        commerce_json_string(&w, line->item.sku, line->item.sku_len);
        commerce_json_key(&w, "requested");
        commerce_json_integer(&w, line->quantity);
        commerce_json_key(&w, "available");
        commerce_json_integer(&w, available);
        commerce_json_object_close(&w);
    }

    commerce_json_array_close(&w);

    if (!w.failed) {
        co->call->extra.data = w.start;
        co->call->extra.len = w.last - w.start;
    }

    ngx_commerce_checkout_deny(co, COMMERCE_OUT_OF_STOCK,
                               "not enough units for every line");
}


void
ngx_commerce_checkout_put_back(ngx_commerce_checkout_t *co)
{
    ngx_uint_t                     i;
    ngx_commerce_checkout_line_t  *line;

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        if (line->hold.units == 0) {
            continue;
        }

        if (ngx_commerce_stock_put_back(co->trade->zone, &line->item.ref,
                                        &line->hold)
            != NGX_OK)
        {
            ngx_commerce_lease_return(co->trade, &line->item.id, &line->hold);
        }

        line->hold.units = 0;
    }
}


void
ngx_commerce_checkout_let_go(ngx_commerce_checkout_t *co)
{
    ngx_uint_t                     i;
    ngx_commerce_checkout_line_t  *line;

    for (i = 0; i < co->nlines; i++) {
        line = &co->lines[i];

        if (line->hold.units) {
            ngx_commerce_stock_sold(co->trade->zone, &line->hold);
            line->hold.units = 0;
        }
    }

    if (co->marked) {
        ngx_commerce_replay_drop(co->trade->zone, &co->idem);
        co->marked = 0;
    }
}


/* Ends the order without one; what is in hand is left to settlement. */

void
ngx_commerce_checkout_refuse(ngx_commerce_checkout_t *co,
    commerce_problem_e problem, const char *detail)
{
    ngx_commerce_checkout_let_go(co);
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
    if (co->state.len) {
        view.state = co->state;
    }
    view.currency.data = co->currency;
    view.currency.len = COMMERCE_CURRENCY_LEN;
    view.email = co->email;
    view.delivery = co->delivery;
    view.totals = co->totals;
    view.version = co->version ? co->version : 1;
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
