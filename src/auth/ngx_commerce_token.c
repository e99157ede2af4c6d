#include "ngx_commerce_token.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>


#define NGX_COMMERCE_TOKEN_KEY_MIN  32      /* bytes */
#define NGX_COMMERCE_SECRET_MAX     4096
#define NGX_COMMERCE_RANDOM_BUFFER  1024


static ngx_int_t ngx_commerce_secret_read(ngx_conf_t *cf, ngx_fd_t fd,
    ngx_str_t *file, const char *what, size_t min, ngx_str_t *key);
static void ngx_commerce_secret_wipe(void *data);
static ngx_int_t ngx_commerce_token_hmac(ngx_str_t *key, const char *kind,
    const commerce_uuid_t *id, u_char token[NGX_COMMERCE_TOKEN_LEN]);
static EVP_MAC_CTX *ngx_commerce_hmac_create(void);


ngx_int_t
ngx_commerce_token_key_load(ngx_conf_t *cf, ngx_commerce_token_keys_t *keys,
    ngx_str_t *file)
{
    return ngx_commerce_secret_load(cf, keys, file, "token key file",
                                    NGX_COMMERCE_TOKEN_KEY_MIN);
}


ngx_int_t
ngx_commerce_secret_load(ngx_conf_t *cf, ngx_commerce_token_keys_t *keys,
    ngx_str_t *file, const char *what, size_t min)
{
    ngx_fd_t    fd;
    ngx_int_t   rc;
    ngx_str_t   name, key, *slot;

    name = *file;

    if (ngx_conf_full_name(cf->cycle, &name, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    /* non-blocking: the open of a pipe must not wait for its writer */
    fd = ngx_open_file(name.data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "%s \"%V\" cannot be opened", what, &name);
        return NGX_ERROR;
    }

    rc = ngx_commerce_secret_read(cf, fd, &name, what, min, &key);

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", &name);
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    slot = ngx_array_push(keys);
    if (slot == NULL) {
        return NGX_ERROR;
    }

    *slot = key;

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_secret_read(ngx_conf_t *cf, ngx_fd_t fd, ngx_str_t *file,
    const char *what, size_t min, ngx_str_t *key)
{
    size_t               size;
    ssize_t              n;
    ngx_str_t           *secret;
    ngx_file_info_t      fi;
    ngx_pool_cleanup_t  *cln;

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "%s \"%V\" cannot be used", what, file);
        return NGX_ERROR;
    }

    if (!ngx_is_file(&fi)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%s \"%V\" is not a regular file", what, file);
        return NGX_ERROR;
    }

    if (ngx_file_size(&fi) > NGX_COMMERCE_SECRET_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%s \"%V\" is too large, it must have at most "
                           "%d bytes", what, file, NGX_COMMERCE_SECRET_MAX);
        return NGX_ERROR;
    }

    size = (size_t) ngx_file_size(&fi);

    key->len = 0;
    key->data = NULL;

    if (size != 0) {
        cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_str_t));
        if (cln == NULL) {
            return NGX_ERROR;
        }

        key->data = ngx_pcalloc(cf->pool, size);
        if (key->data == NULL) {
            return NGX_ERROR;
        }

        secret = cln->data;
        secret->len = size;
        secret->data = key->data;

        cln->handler = ngx_commerce_secret_wipe;
    }

    while (key->len < size) {
        n = read(fd, key->data + key->len, size - key->len);

        if (n == -1) {
            if (ngx_errno == NGX_EINTR) {
                continue;
            }

            ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                               "%s \"%V\" cannot be read", what, file);
            return NGX_ERROR;
        }

        if (n == 0) {
            break;
        }

        key->len += n;
    }

    if (key->len && key->data[key->len - 1] == LF) {
        key->len--;

        if (key->len && key->data[key->len - 1] == CR) {
            key->len--;
        }
    }

    if (key->len < min) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%s \"%V\" is too short, it must have at least "
                           "%uz bytes", what, file, min);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_commerce_secret_wipe(void *data)
{
    ngx_str_t *secret = data;

    OPENSSL_cleanse(secret->data, secret->len);
}


ngx_int_t
ngx_commerce_token_sign(ngx_commerce_token_keys_t *keys, const char *kind,
    const commerce_uuid_t *id, u_char token[NGX_COMMERCE_TOKEN_LEN])
{
    if (keys->nelts == 0) {
        return NGX_ERROR;
    }

    return ngx_commerce_token_hmac(keys->elts, kind, id, token);
}


/*
 * The texts are compared, not the bytes that they decode to: the same token
 * has no second spelling.  Every key is tried, whichever matches.
 */

ngx_uint_t
ngx_commerce_token_verify(ngx_commerce_token_keys_t *keys, const char *kind,
    const commerce_uuid_t *id, ngx_str_t *token)
{
    u_char       expected[NGX_COMMERCE_TOKEN_LEN];
    ngx_str_t   *key;
    ngx_uint_t   i, good;

    if (token->len != NGX_COMMERCE_TOKEN_LEN) {
        return 0;
    }

    key = keys->elts;
    good = 0;

    for (i = 0; i < keys->nelts; i++) {

        if (ngx_commerce_token_hmac(&key[i], kind, id, expected) != NGX_OK) {
            continue;
        }

        good |= (CRYPTO_memcmp(expected, token->data, NGX_COMMERCE_TOKEN_LEN)
                 == 0);
    }

    OPENSSL_cleanse(expected, sizeof(expected));

    return good;
}


static ngx_int_t
ngx_commerce_token_hmac(ngx_str_t *key, const char *kind,
    const commerce_uuid_t *id, u_char token[NGX_COMMERCE_TOKEN_LEN])
{
    u_char     mac[NGX_COMMERCE_DIGEST_LEN];
    ngx_str_t  parts[2], src, dst;

    /* with its zero byte */
    parts[0].data = (u_char *) kind;
    parts[0].len = ngx_strlen(kind) + 1;
    parts[1].data = (u_char *) id->bytes;
    parts[1].len = sizeof(id->bytes);

    if (ngx_commerce_hmac(mac, key, parts, 2) != NGX_OK) {
        return NGX_ERROR;
    }

    src.len = sizeof(mac);
    src.data = mac;

    dst.data = token;

    ngx_encode_base64url(&dst, &src);

    return dst.len == NGX_COMMERCE_TOKEN_LEN ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_commerce_hmac(u_char mac[NGX_COMMERCE_DIGEST_LEN], ngx_str_t *key,
    ngx_str_t *parts, ngx_uint_t n)
{
    static EVP_MAC_CTX  *ctx;

    size_t      len;
    ngx_uint_t  i;

    if (ctx == NULL) {
        ctx = ngx_commerce_hmac_create();
        if (ctx == NULL) {
            return NGX_ERROR;
        }
    }

    if (EVP_MAC_init(ctx, key->data, key->len, NULL) != 1) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        if (parts[i].len != 0
            && EVP_MAC_update(ctx, parts[i].data, parts[i].len) != 1)
        {
            return NGX_ERROR;
        }
    }

    if (EVP_MAC_final(ctx, mac, &len, NGX_COMMERCE_DIGEST_LEN) != 1
        || len != NGX_COMMERCE_DIGEST_LEN)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Once per process; it is keyed at each use.  To fetch the algorithms costs
 * more than the HMAC: the digest is kept with the context, too.
 */

static EVP_MAC_CTX *
ngx_commerce_hmac_create(void)
{
    EVP_MAC      *hmac;
    OSSL_PARAM    params[2];
    EVP_MAC_CTX  *ctx;

    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (hmac == NULL) {
        return NULL;
    }

    ctx = EVP_MAC_CTX_new(hmac);

    /* the context has a reference of its own */
    EVP_MAC_free(hmac);

    if (ctx == NULL) {
        return NULL;
    }

    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                                 (char *) "SHA256", 0);
    params[1] = OSSL_PARAM_construct_end();

    if (EVP_MAC_CTX_set_params(ctx, params) != 1) {
        EVP_MAC_CTX_free(ctx);
        return NULL;
    }

    return ctx;
}


ngx_int_t
ngx_commerce_digest(u_char digest[NGX_COMMERCE_DIGEST_LEN], ngx_str_t *parts,
    ngx_uint_t n)
{
    static EVP_MD      *md;
    static EVP_MD_CTX  *ctx;

    ngx_uint_t    i;
    unsigned int  len;

    if (md == NULL) {
        md = EVP_MD_fetch(NULL, "SHA256", NULL);
        if (md == NULL) {
            return NGX_ERROR;
        }
    }

    if (ctx == NULL) {
        ctx = EVP_MD_CTX_new();
        if (ctx == NULL) {
            return NGX_ERROR;
        }
    }

    if (EVP_DigestInit_ex(ctx, md, NULL) != 1) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {

        if (i != 0 && EVP_DigestUpdate(ctx, "\0", 1) != 1) {
            return NGX_ERROR;
        }

        if (parts[i].len != 0
            && EVP_DigestUpdate(ctx, parts[i].data, parts[i].len) != 1)
        {
            return NGX_ERROR;
        }
    }

    if (EVP_DigestFinal_ex(ctx, digest, &len) != 1) {
        return NGX_ERROR;
    }

    return len == NGX_COMMERCE_DIGEST_LEN ? NGX_OK : NGX_ERROR;
}


ngx_uint_t
ngx_commerce_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}


void
ngx_commerce_wipe(void *p, size_t n)
{
    OPENSSL_cleanse(p, n);
}


ngx_int_t
ngx_commerce_random(u_char *bytes, size_t n)
{
    static u_char     buffer[NGX_COMMERCE_RANDOM_BUFFER];
    static size_t     left;
    static ngx_pid_t  owner;

    u_char  *p;

    if (n > NGX_COMMERCE_RANDOM_BUFFER / 4) {
        return RAND_bytes(bytes, n) == 1 ? NGX_OK : NGX_ERROR;
    }

    /* a child must not hand out what its parent has */
    if (left < n || owner != ngx_pid) {

        left = 0;

        if (RAND_bytes(buffer, sizeof(buffer)) != 1) {
            return NGX_ERROR;
        }

        left = sizeof(buffer);
        owner = ngx_pid;
    }

    left -= n;
    p = buffer + left;

    ngx_memcpy(bytes, p, n);
    OPENSSL_cleanse(p, n);

    return NGX_OK;
}


/* RFC 6750: Bearer, spaces, b64token. */

ngx_int_t
ngx_commerce_bearer(ngx_str_t *header, ngx_str_t *token)
{
    u_char  *p, *last, *start;

    if (header->len < sizeof("Bearer x") - 1
        || ngx_strncasecmp(header->data, (u_char *) "Bearer ", 7) != 0)
    {
        return NGX_DECLINED;
    }

    p = header->data + 7;
    last = header->data + header->len;

    while (p < last && *p == ' ') {
        p++;
    }

    start = p;

    while (p < last
           && ((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z')
               || (*p >= '0' && *p <= '9') || *p == '-' || *p == '.'
               || *p == '_' || *p == '~' || *p == '+' || *p == '/'))
    {
        p++;
    }

    if (p == start) {
        return NGX_DECLINED;
    }

    while (p < last && *p == '=') {
        p++;
    }

    if (p != last) {
        return NGX_DECLINED;
    }

    token->data = start;
    token->len = last - start;

    return NGX_OK;
}
