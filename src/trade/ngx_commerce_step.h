/*
 * A step that the staff makes with a paid order: a shipment, a refund.
 */

#ifndef NGX_COMMERCE_STEP_H
#define NGX_COMMERCE_STEP_H

#include "ngx_commerce_order.h"


typedef struct {
    const char                 *name;       /* scope of the Idempotency-Key */
    ngx_uint_t                  statement;  /* of NGX_COMMERCE_SQL_STEP() */
    ngx_uint_t                  keyed;      /* the key is required */
    /* looks at call->json, which may be NULL; adds what is wrong */
    void                      (*check)(const commerce_json_t *doc,
                                       commerce_json_errors_t *errors);
    const char                 *illegal;    /* detail of illegal_transition */
} ngx_commerce_step_kind_t;


/* Checks, runs and answers it. */
void ngx_commerce_step(ngx_commerce_call_t *call,
    const ngx_commerce_step_kind_t *kind);

/* "lines" of the body: [{sku or variant_id, quantity, restock?}]. */
void ngx_commerce_step_lines(const commerce_json_t *lines, ngx_uint_t restock,
    commerce_json_errors_t *errors);


#endif
