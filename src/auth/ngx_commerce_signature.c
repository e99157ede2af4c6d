#include "ngx_commerce_signature.h"


#define NGX_COMMERCE_SIGNATURE_HEX   (2 * NGX_COMMERCE_DIGEST_LEN)


typedef struct {
    ngx_str_t    time;          /* as it was sent: the text is what is signed */
    time_t       seconds;
    u_char       v1[NGX_COMMERCE_SIGNATURES][NGX_COMMERCE_DIGEST_LEN];
    ngx_uint_t   n;
} ngx_commerce_signature_t;


static ngx_int_t ngx_commerce_signature_parse(ngx_commerce_signature_t *sig,
    ngx_str_t *header);
static ngx_int_t ngx_commerce_signature_part(ngx_commerce_signature_t *sig,
    u_char *p, size_t len);
static ngx_int_t ngx_commerce_signature_hex(u_char *to, u_char *hex);


ngx_commerce_signature_e
ngx_commerce_signature_verify(ngx_commerce_token_keys_t *secrets,
    ngx_str_t *header, ngx_str_t *body, time_t now)
{
    u_char                     mac[NGX_COMMERCE_DIGEST_LEN];
    ngx_str_t                 *secret, parts[3];
    ngx_uint_t                 i, k, good;
    ngx_commerce_signature_t   sig;

    ngx_memzero(&sig, sizeof(ngx_commerce_signature_t));

    if (ngx_commerce_signature_parse(&sig, header) != NGX_OK) {
        return NGX_COMMERCE_SIGNATURE_MALFORMED;
    }

    parts[0] = sig.time;
    ngx_str_set(&parts[1], ".");
    parts[2] = *body;

    secret = secrets->elts;
    good = 0;

    for (i = 0; i < secrets->nelts; i++) {

        if (ngx_commerce_hmac(mac, &secret[i], parts, 3) != NGX_OK) {
            return NGX_COMMERCE_SIGNATURE_ERROR;
        }

        for (k = 0; k < sig.n; k++) {
            good |= ngx_commerce_equal(mac, sig.v1[k], sizeof(mac));
        }
    }

    ngx_commerce_wipe(mac, sizeof(mac));

    if (!good) {
        return NGX_COMMERCE_SIGNATURE_WRONG;
    }

    if (sig.seconds < now - NGX_COMMERCE_SIGNATURE_WINDOW
        || sig.seconds > now + NGX_COMMERCE_SIGNATURE_WINDOW)
    {
        return NGX_COMMERCE_SIGNATURE_OLD;
    }

    return NGX_COMMERCE_SIGNATURE_GOOD;
}


/* One t, at least one v1; other schemes are skipped. */

static ngx_int_t
ngx_commerce_signature_parse(ngx_commerce_signature_t *sig, ngx_str_t *header)
{
    u_char  *p, *last, *next;

    p = header->data;
    last = p + header->len;

    while (p < last) {
        next = ngx_strlchr(p, last, ',');

        if (next == NULL) {
            next = last;
        }

        while (p < next && *p == ' ') {
            p++;
        }

        if (ngx_commerce_signature_part(sig, p, next - p) != NGX_OK) {
            return NGX_ERROR;
        }

        p = next + 1;
    }

    return sig->time.len != 0 && sig->n != 0 ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_commerce_signature_part(ngx_commerce_signature_t *sig, u_char *p,
    size_t len)
{
    if (len > 2 && p[0] == 't' && p[1] == '=') {

        if (sig->time.len != 0) {
            return NGX_ERROR;
        }

        sig->time.data = p + 2;
        sig->time.len = len - 2;
        sig->seconds = ngx_atotm(sig->time.data, sig->time.len);

        return sig->seconds == NGX_ERROR ? NGX_ERROR : NGX_OK;
    }

    if (len < 3 || ngx_strncmp(p, "v1=", 3) != 0) {
        return NGX_OK;
    }

    if (len != 3 + NGX_COMMERCE_SIGNATURE_HEX
        || sig->n == NGX_COMMERCE_SIGNATURES)
    {
        return NGX_ERROR;
    }

    return ngx_commerce_signature_hex(sig->v1[sig->n++], p + 3);
}


static ngx_int_t
ngx_commerce_signature_hex(u_char *to, u_char *hex)
{
    ngx_int_t   byte;
    ngx_uint_t  i;

    for (i = 0; i < NGX_COMMERCE_DIGEST_LEN; i++) {
        byte = ngx_hextoi(hex + 2 * i, 2);

        if (byte == NGX_ERROR) {
            return NGX_ERROR;
        }

        to[i] = (u_char) byte;
    }

    return NGX_OK;
}
