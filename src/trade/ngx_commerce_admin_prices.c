/*
 * Prices as the staff writes them: an amount for each currency, or an object
 * with an amount and the tiers above it.
 */

#include "ngx_commerce_admin_fields.h"


typedef struct {
    int64_t                 amount;
    const commerce_json_t  *tiers;
} ngx_commerce_tiered_fields_t;


typedef struct {
    int64_t                 quantity;
    int64_t                 amount;
} ngx_commerce_tier_fields_t;


static ngx_uint_t ngx_commerce_price_value_check(const commerce_json_t *p,
    const char *path, commerce_json_errors_t *errors);
static ngx_uint_t ngx_commerce_tiered_check(const commerce_json_t *p,
    const char *path, commerce_json_errors_t *errors);
static void ngx_commerce_tiers_check(const commerce_json_t *tiers,
    const char *path, commerce_json_errors_t *errors);


static const commerce_json_field_t  ngx_commerce_tiered_table[] = {

    { "amount", COMMERCE_JSON_INTEGER, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_tiered_fields_t, amount), 0, COMMERCE_MONEY_MAX },

    { "tiers", COMMERCE_JSON_ARRAY, 0,
      offsetof(ngx_commerce_tiered_fields_t, tiers), 0, COMMERCE_TIERS_MAX },

    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


static const commerce_json_field_t  ngx_commerce_tier_table[] = {

    { "quantity", COMMERCE_JSON_INTEGER, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_tier_fields_t, quantity),
      2, COMMERCE_QUANTITY_MAX },

    { "amount", COMMERCE_JSON_INTEGER, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_tier_fields_t, amount), 0, COMMERCE_MONEY_MAX },

    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


void
ngx_commerce_prices_check(const commerce_json_t *prices, const char *path,
    commerce_json_errors_t *errors)
{
    ngx_uint_t              amounts;
    const commerce_json_t  *p;

    amounts = 0;

    for (p = prices->child; p; p = p->next) {

        if (errors->n == COMMERCE_JSON_ERRORS_MAX) {
            return;
        }

        if (!commerce_currency_valid(p->key.data, p->key.len)) {
            commerce_json_error_add(errors, path, &p->key, "invalid",
                                    "is no currency: three upper-case "
                                    "letters");
            continue;
        }

        amounts += ngx_commerce_price_value_check(p, path, errors);
    }

    if (amounts > COMMERCE_AMOUNTS_MAX) {
        commerce_json_error_add(errors, path, NULL, "too_many",
                                "has more than 32 amounts, tiers included");
    }
}


/* Returns how many amounts it has. */

static ngx_uint_t
ngx_commerce_price_value_check(const commerce_json_t *p, const char *path,
    commerce_json_errors_t *errors)
{
    if (p->type == COMMERCE_JSON_OBJECT) {
        return ngx_commerce_tiered_check(p, path, errors);
    }

    if (p->type != COMMERCE_JSON_INTEGER) {
        commerce_json_error_add(errors, path, &p->key, "wrong_type",
                                "must be an integer of minor units, or an "
                                "object with \"amount\" and \"tiers\"");

    } else if (p->integer < 0 || p->integer > COMMERCE_MONEY_MAX) {
        commerce_json_error_add(errors, path, &p->key, "out_of_range",
                                "is not in the range of allowed values");
    }

    return 1;
}


static ngx_uint_t
ngx_commerce_tiered_check(const commerce_json_t *p, const char *path,
    commerce_json_errors_t *errors)
{
    char                           currency[COMMERCE_CURRENCY_LEN + 1];
    ngx_commerce_tiered_fields_t   fields;

    ngx_memcpy(currency, p->key.data, COMMERCE_CURRENCY_LEN);
    currency[COMMERCE_CURRENCY_LEN] = '\0';

    path = ngx_commerce_below(errors, path, currency);

    ngx_memzero(&fields, sizeof(ngx_commerce_tiered_fields_t));

    commerce_json_bind(p, ngx_commerce_tiered_table, &fields, path, errors);

    if (fields.tiers == NULL) {
        return 1;
    }

    ngx_commerce_tiers_check(fields.tiers, path, errors);

    return 1 + fields.tiers->count;
}


static void
ngx_commerce_tiers_check(const commerce_json_t *tiers, const char *path,
    commerce_json_errors_t *errors)
{
    size_t                       i;
    int64_t                      last;
    const char                  *below;
    commerce_str_t               name;
    const commerce_json_t       *t;
    ngx_commerce_tier_fields_t   fields;

    name.data = (u_char *) "quantity";
    name.len = sizeof("quantity") - 1;
    last = 0;

    for (i = 0, t = tiers->child; t; i++, t = t->next) {

        if (errors->n == COMMERCE_JSON_ERRORS_MAX) {
            return;
        }

        ngx_memzero(&fields, sizeof(ngx_commerce_tier_fields_t));

        below = commerce_json_path(errors, path, "tiers", i);

        if (commerce_json_bind(t, ngx_commerce_tier_table, &fields, below,
                               errors)
            != COMMERCE_OK)
        {
            continue;
        }

        if (fields.quantity <= last) {
            commerce_json_error_add(errors, below, &name, "invalid",
                                    "must be more than that of the tier "
                                    "before it");
        }

        last = fields.quantity;
    }
}
