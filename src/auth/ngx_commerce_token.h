/*
 * Secrets: token keys, owners' tokens, API keys, digests.
 */

#ifndef NGX_COMMERCE_TOKEN_H
#define NGX_COMMERCE_TOKEN_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "commerce_types.h"


#define NGX_COMMERCE_TOKEN_LEN    43    /* base64url of 32 bytes, no padding */
#define NGX_COMMERCE_DIGEST_LEN   32
#define NGX_COMMERCE_API_KEY_MAX  128


/* Secret bytes; the first signs, all verify. Array of ngx_str_t. */
typedef ngx_array_t  ngx_commerce_token_keys_t;


/*
 * Configuration time: reads one key file (32 to 4096 bytes, regular, trailing
 * newline dropped) and appends it. Logs what is wrong, naming the file.  The
 * bytes are wiped when the configuration's pool is destroyed.
 */
ngx_int_t ngx_commerce_token_key_load(ngx_conf_t *cf,
    ngx_commerce_token_keys_t *keys, ngx_str_t *file);

/* The same for another secret: "what" it is, for the log, and its least size
   in bytes. */
ngx_int_t ngx_commerce_secret_load(ngx_conf_t *cf,
    ngx_commerce_token_keys_t *keys, ngx_str_t *file, const char *what,
    size_t min);

/*
 * The owner's token of a guest's object: base64url(HMAC-SHA256(first key,
 * kind || 0 || id)).  "kind" is "order" or "cart".  NGX_ERROR: OpenSSL failed.
 */
ngx_int_t ngx_commerce_token_sign(ngx_commerce_token_keys_t *keys,
    const char *kind, const commerce_uuid_t *id,
    u_char token[NGX_COMMERCE_TOKEN_LEN]);

/* 1 when any key made it; constant time in the token's bytes; one spelling. */
ngx_uint_t ngx_commerce_token_verify(ngx_commerce_token_keys_t *keys,
    const char *kind, const commerce_uuid_t *id, ngx_str_t *token);

/* SHA-256 of the parts, each followed by a zero byte but the last. */
ngx_int_t ngx_commerce_digest(u_char digest[NGX_COMMERCE_DIGEST_LEN],
    ngx_str_t *parts, ngx_uint_t n);

/* HMAC-SHA-256 of the parts, one right after the other. */
ngx_int_t ngx_commerce_hmac(u_char mac[NGX_COMMERCE_DIGEST_LEN],
    ngx_str_t *key, ngx_str_t *parts, ngx_uint_t n);

/* 1 when n bytes are the same; constant time. */
ngx_uint_t ngx_commerce_equal(const void *a, const void *b, size_t n);

/* Zeroes a secret; no compiler leaves it out. */
void ngx_commerce_wipe(void *p, size_t n);

/* Cryptographic randomness (RAND_bytes); buffered: cheap for ids. */
ngx_int_t ngx_commerce_random(u_char *bytes, size_t n);

/*
 * "Bearer <token>" of an Authorization header: NGX_OK with *token,
 * NGX_DECLINED when it is another scheme or malformed.
 */
ngx_int_t ngx_commerce_bearer(ngx_str_t *header, ngx_str_t *token);


#endif
