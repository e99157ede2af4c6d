/* What admin writes have in common: versions, outcomes, refusals. */

#include "ngx_commerce_admin_fields.h"


typedef struct {
    ngx_str_t   word;
    ngx_uint_t  value;
} ngx_commerce_word_t;


static ngx_uint_t ngx_commerce_word(const ngx_commerce_word_t *words,
    ngx_str_t *text, ngx_uint_t dflt);


static const ngx_commerce_word_t  ngx_commerce_put_words[] = {
    { ngx_string("created"), NGX_COMMERCE_PUT_CREATED },
    { ngx_string("updated"), NGX_COMMERCE_PUT_UPDATED },
    { ngx_string("unchanged"), NGX_COMMERCE_PUT_UNCHANGED },
    { ngx_string("replayed"), NGX_COMMERCE_PUT_REPLAYED },
    { ngx_null_string, 0 }
};


static const ngx_commerce_word_t  ngx_commerce_put_problems[] = {
    { ngx_string("not_found"), COMMERCE_NOT_FOUND },
    { ngx_string("conflict"), COMMERCE_CONFLICT },
    { ngx_string("leased"), COMMERCE_CONFLICT },
    { ngx_string("too_many"), COMMERCE_CONFLICT },
    { ngx_string("version_conflict"), COMMERCE_VERSION_CONFLICT },
    { ngx_string("idempotency_key_reused"), COMMERCE_IDEMPOTENCY_KEY_REUSED },
    { ngx_null_string, 0 }
};


static ngx_uint_t
ngx_commerce_word(const ngx_commerce_word_t *words, ngx_str_t *text,
    ngx_uint_t dflt)
{
    for ( /* void */ ; words->word.len; words++) {
        if (words->word.len == text->len
            && ngx_strncmp(words->word.data, text->data, text->len) == 0)
        {
            return words->value;
        }
    }

    return dflt;
}


ngx_int_t
ngx_commerce_put_row(ngx_pool_t *pool, PGresult *res, int row,
    ngx_commerce_put_t *put)
{
    ngx_str_t  text;

    ngx_memzero(put, sizeof(ngx_commerce_put_t));

    put->n = ngx_commerce_pg_get_int4(res, row, 0);

    text = ngx_commerce_pg_get_text(res, row, 1);
    put->status = ngx_commerce_word(ngx_commerce_put_words, &text,
                                    NGX_COMMERCE_PUT_ERROR);

    ngx_commerce_pg_get_uuid(res, row, 2, &put->id);
    put->version = ngx_commerce_pg_get_int4(res, row, 3);

    if (put->status != NGX_COMMERCE_PUT_ERROR) {
        return NGX_OK;
    }

    text = ngx_commerce_pg_get_text(res, row, 4);
    put->problem = ngx_commerce_word(ngx_commerce_put_problems, &text,
                                     COMMERCE_INTERNAL);
    put->leased = text.len == sizeof("leased") - 1
                  && ngx_strncmp(text.data, "leased", text.len) == 0;
    put->too_many = text.len == sizeof("too_many") - 1
                    && ngx_strncmp(text.data, "too_many", text.len) == 0;

    text = ngx_commerce_pg_get_text(res, row, 5);

    if (text.len) {
        put->pointer.len = text.len;
        put->pointer.data = ngx_pnalloc(pool, text.len + 1);
        if (put->pointer.data == NULL) {
            return NGX_ERROR;
        }

        *ngx_cpymem(put->pointer.data, text.data, text.len) = '\0';
    }

    return NGX_OK;
}


const char *
ngx_commerce_put_detail(ngx_commerce_put_t *put,
    commerce_json_errors_t *errors)
{
    if (put->problem == COMMERCE_VERSION_CONFLICT) {
        return "somebody else has changed it since it was read";
    }

    if (put->problem != COMMERCE_CONFLICT) {
        return NULL;
    }

    if (put->leased) {
        return "units that a running shop has leased cannot be taken away";
    }

    if (put->too_many) {
        return "a variant can have 2147483647 units that are not sold";
    }

    if (put->pointer.len == 0) {
        return "the stock is not what it would have to be";
    }

    commerce_json_error_add(errors, (char *) put->pointer.data, NULL,
                            "conflict", "belongs to another product");

    return "a value that must be unique is taken";
}


void
ngx_commerce_put_refuse(ngx_commerce_call_t *call, ngx_commerce_put_t *put)
{
    const char              *detail;
    commerce_json_errors_t  *errors;

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return;
    }

    detail = ngx_commerce_put_detail(put, errors);

    if (errors->n) {
        call->errors = errors;
    }

    ngx_commerce_refuse(call, put->problem, detail);
}


commerce_json_errors_t *
ngx_commerce_admin_errors(ngx_commerce_call_t *call)
{
    if (call->json == NULL) {
        ngx_commerce_refuse(call, COMMERCE_MALFORMED_JSON,
                            "the request has no body");
        return NULL;
    }

    return ngx_commerce_call_errors(call);
}


ngx_int_t
ngx_commerce_if_match(ngx_commerce_call_t *call, int32_t *version)
{
    size_t      len;
    u_char     *p;
    ngx_int_t   n;

    p = call->if_match.data;
    len = call->if_match.len;

    if (p == NULL || len == 0) {
        ngx_commerce_refuse(call, COMMERCE_PRECONDITION_REQUIRED,
                            "If-Match must name the version that is "
                            "changed");
        return NGX_ERROR;
    }

    if (len > 2 && p[0] == '"' && p[len - 1] == '"') {
        p++;
        len -= 2;
    }

    n = ngx_atoi(p, len);

    if (n < 1 || n > 2147483647) {
        ngx_commerce_refuse(call, COMMERCE_VERSION_CONFLICT,
                            "If-Match is no version");
        return NGX_ERROR;
    }

    *version = (int32_t) n;

    return NGX_OK;
}


ngx_int_t
ngx_commerce_etag(ngx_commerce_call_t *call, int32_t version)
{
    u_char  *p;

    p = ngx_pnalloc(call->pool, NGX_INT32_LEN + 2);
    if (p == NULL) {
        return NGX_ERROR;
    }

    call->etag.data = p;
    p = ngx_sprintf(p, "\"%D\"", version);
    call->etag.len = (size_t) (p - call->etag.data);

    return NGX_OK;
}


void
ngx_commerce_admin_failed(ngx_commerce_call_t *call,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    if (outcome != NGX_COMMERCE_PG_FAILED) {
        ngx_commerce_call_failed(call, outcome);
        return;
    }

    /* two writers made the same new name at once: the other one has it */

    if (ngx_strcmp(sqlstate, "23505") == 0) {
        ngx_commerce_refuse(call, COMMERCE_CONFLICT,
                            "a value that must be unique is taken");
        return;
    }

    if (ngx_strncmp(sqlstate, "22", 2) == 0
        || ngx_strncmp(sqlstate, "23", 2) == 0
        || ngx_strncmp(sqlstate, "42", 2) == 0)
    {
        ngx_log_error(NGX_LOG_ERR, call->log, 0,
                      "commerce: an admin statement failed, SQLSTATE %s",
                      sqlstate);
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    /* deadlock, lock_timeout, shutdown: nothing was stored, try again */

    ngx_commerce_refuse(call, COMMERCE_UNAVAILABLE, NULL);
}
