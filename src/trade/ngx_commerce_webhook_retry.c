/*
 * Events that were stored because what they are about was not there: the
 * leader tries them again, and drops old ones that were done with.
 */

#include "ngx_commerce_webhook.h"
#include "ngx_commerce_background.h"


#define NGX_COMMERCE_RETRY_AT_ONCE  100
#define NGX_COMMERCE_EVENTS_DAYS    30


ngx_int_t
ngx_commerce_events_build(ngx_commerce_pg_op_t *op)
{
    ngx_commerce_pg_query_t  *retry, *waiting, *old;

    retry = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_RETRY_EVENTS, 1);
    waiting = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_WAITING_EVENTS, 0);
    old = ngx_commerce_pg_query(op, NGX_COMMERCE_SQL_OLD_EVENTS, 1);

    if (retry == NULL || waiting == NULL || old == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_int4(retry, 1, NGX_COMMERCE_RETRY_AT_ONCE);
    ngx_commerce_pg_int4(old, 1, NGX_COMMERCE_EVENTS_DAYS);

    return retry->failed || old->failed ? NGX_ERROR : NGX_OK;
}


void
ngx_commerce_events_result(ngx_commerce_background_t *bg, ngx_uint_t query,
    PGresult *res)
{
    int              row;
    ngx_str_t        status, effect;
    commerce_uuid_t  idem;

    if (query == 1 && PQntuples(res)) {
        bg->waiting = ngx_commerce_pg_get_int8(res, 0, 0);
        return;
    }

    if (query != 0) {
        return;
    }

    bg->retried = PQntuples(res);
    bg->given_up = 0;

    for (row = 0; row < PQntuples(res); row++) {

        if (ngx_commerce_pg_get_int4(res, row, 0) == 0) {
            ngx_commerce_payment_freed(bg->trade, res, row, 3, 8);
            continue;
        }

        status = ngx_commerce_pg_get_text(res, row, 1);
        effect = ngx_commerce_pg_get_text(res, row, 9);

        /* it has been counted as stored when it came */

        if (ngx_commerce_payment_is(&status, "stored")) {
            continue;
        }

        if (!ngx_commerce_pg_is_null(res, row, 5)) {
            ngx_commerce_pg_get_uuid(res, row, 5, &idem);
            ngx_commerce_replay_forget(bg->trade->zone, &idem);
        }

        ngx_commerce_webhook_count(bg->trade, &status, &effect);
        bg->given_up += ngx_commerce_payment_is(&status, "given_up");
    }
}


void
ngx_commerce_events_done(ngx_commerce_background_t *bg)
{
    ngx_commerce_set_gauge(bg->trade->zone, NGX_COMMERCE_G_EVENTS_WAITING,
                           bg->waiting > 0 ? bg->waiting : 0);

    if (bg->given_up) {
        ngx_log_error(NGX_LOG_ERR, bg->trade->log, 0,
                      "commerce: %ui events of payment providers were given "
                      "up, see commerce.webhook_event", bg->given_up);
    }

    if (bg->retried >= NGX_COMMERCE_RETRY_AT_ONCE) {
        bg->events.next = ngx_current_msec;
    }
}
