/*
 * Signatures of webhooks: "t=<seconds>,v1=<hex>[,v1=<hex>...]", where v1 is
 * HMAC-SHA-256 over "<seconds>.<body>".  A provider that changes its secret
 * sends one v1 for each; a shop that does so has several secrets.
 */

#ifndef NGX_COMMERCE_SIGNATURE_H
#define NGX_COMMERCE_SIGNATURE_H

#include "ngx_commerce_token.h"


#define NGX_COMMERCE_SIGNATURE_WINDOW  300      /* seconds, to either side */
#define NGX_COMMERCE_SIGNATURES        16       /* v1 of one header */


typedef enum {
    NGX_COMMERCE_SIGNATURE_GOOD = 0,
    NGX_COMMERCE_SIGNATURE_MALFORMED,
    NGX_COMMERCE_SIGNATURE_OLD,             /* or from the future */
    NGX_COMMERCE_SIGNATURE_WRONG,
    NGX_COMMERCE_SIGNATURE_ERROR            /* OpenSSL failed */
} ngx_commerce_signature_e;


/* Every secret is tried with every v1; constant time in their bytes. */
ngx_commerce_signature_e ngx_commerce_signature_verify(
    ngx_commerce_token_keys_t *secrets, ngx_str_t *header, ngx_str_t *body,
    time_t now);


#endif
