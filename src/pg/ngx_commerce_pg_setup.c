/*
 * The first segment of a connection: settings, the proof that this is a
 * primary, the prepared statements, LISTEN.  It is one transaction: either
 * all of it holds or the connection is given up.
 */

#include "ngx_commerce_pg_conn.h"
#include "ngx_commerce_pg_statements.h"


#define NGX_COMMERCE_PG_SETUP_HEAD                                            \
    "SELECT pg_catalog.pg_is_in_recovery()"

/*
 * What has been answered must survive a crash, whatever a role's or a
 * database's default says.
 */
#define NGX_COMMERCE_PG_SETUP_COMMIT                                          \
    ", CASE WHEN pg_catalog.current_setting('synchronous_commit')"            \
    " IN ('off', 'local')"                                                    \
    " THEN pg_catalog.set_config('synchronous_commit', 'on', false) END"

#define NGX_COMMERCE_PG_SETUP_ONE                                             \
    ", pg_catalog.set_config($%d::text, $%d::text, false)"


static ngx_int_t ngx_commerce_pg_setup_split(ngx_commerce_pg_pool_t *pool,
    ngx_uint_t *commit);
static ngx_int_t ngx_commerce_pg_setup_listen(ngx_commerce_pg_link_t *link);
static void ngx_commerce_pg_setup_error(ngx_commerce_pg_link_t *link,
    PGresult *res, char *err, size_t size);


ngx_int_t
ngx_commerce_pg_setup_prepare(ngx_commerce_pg_pool_t *pool)
{
    int          i;
    size_t       size;
    u_char      *p, *last;
    ngx_uint_t   n, commit;

    for (n = 0; n < pool->purpose.nstatements; n++) {
        if (ngx_commerce_pg_statement(pool->purpose.statements[n]) == NULL) {
            return NGX_ERROR;
        }
    }

    if (ngx_commerce_pg_setup_split(pool, &commit) != NGX_OK) {
        return NGX_ERROR;
    }

    size = sizeof(NGX_COMMERCE_PG_SETUP_HEAD)
           + sizeof(NGX_COMMERCE_PG_SETUP_COMMIT)
           + pool->nsettings * (sizeof(NGX_COMMERCE_PG_SETUP_ONE) + 8);

    pool->setup = ngx_pnalloc(pool->mem, size);
    if (pool->setup == NULL) {
        return NGX_ERROR;
    }

    p = (u_char *) pool->setup;
    last = p + size - 1;

    p = ngx_slprintf(p, last, "%s", NGX_COMMERCE_PG_SETUP_HEAD);

    if (!commit) {
        p = ngx_slprintf(p, last, "%s", NGX_COMMERCE_PG_SETUP_COMMIT);
    }

    for (i = 0; i < pool->nsettings; i++) {
        p = ngx_slprintf(p, last, NGX_COMMERCE_PG_SETUP_ONE,
                         2 * i + 1, 2 * i + 2);
    }

    *p = '\0';

    return NGX_OK;
}


/* "name=value,name=value" */

static ngx_int_t
ngx_commerce_pg_setup_split(ngx_commerce_pg_pool_t *pool, ngx_uint_t *commit)
{
    char    *p, *name, *value;
    size_t   len;

    *commit = 0;

    if (pool->purpose.settings == NULL) {
        return NGX_OK;
    }

    len = ngx_strlen(pool->purpose.settings);

    p = ngx_pnalloc(pool->mem, len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, pool->purpose.settings, len + 1);

    while (*p) {
        name = p;

        value = strchr(name, '=');
        p = strchr(name, ',');

        if (value == NULL || (p && value > p)
            || pool->nsettings == NGX_COMMERCE_PG_SETTINGS)
        {
            ngx_log_error(NGX_LOG_ERR, pool->log, 0,
                          "commerce: bad settings \"%s\" of database "
                          "connections \"%V\"",
                          pool->purpose.settings, &pool->purpose.name);
            return NGX_ERROR;
        }

        *value++ = '\0';

        if (p) {
            *p++ = '\0';

        } else {
            p = value + ngx_strlen(value);
        }

        if (ngx_strcmp(name, "synchronous_commit") == 0) {
            *commit = 1;
        }

        pool->settings[2 * pool->nsettings] = name;
        pool->settings[2 * pool->nsettings + 1] = value;
        pool->nsettings++;
    }

    return NGX_OK;
}


ngx_int_t
ngx_commerce_pg_setup_send(ngx_commerce_pg_link_t *link)
{
    ngx_uint_t                         i;
    ngx_commerce_pg_pool_t            *pool;
    ngx_commerce_pg_purpose_t         *purpose;
    const ngx_commerce_pg_statement_t *statement;

    pool = link->pool;
    purpose = &pool->purpose;
    link->step = 0;

    if (!PQsendQueryParams(link->pg, pool->setup, 2 * pool->nsettings, NULL,
                           pool->settings, NULL, NULL, 0))
    {
        return NGX_ERROR;
    }

    for (i = 0; i < purpose->nstatements; i++) {
        statement = ngx_commerce_pg_statement(purpose->statements[i]);

        if (!PQsendPrepare(link->pg, statement->name, statement->sql, 0,
                           NULL))
        {
            return NGX_ERROR;
        }
    }

    if (purpose->listen && ngx_commerce_pg_setup_listen(link) != NGX_OK) {
        return NGX_ERROR;
    }

    return PQpipelineSync(link->pg) ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_commerce_pg_setup_listen(ngx_commerce_pg_link_t *link)
{
    int          rc;
    char        *channel;
    u_char       sql[256], *p;
    const char  *listen;

    listen = link->pool->purpose.listen;

    channel = PQescapeIdentifier(link->pg, listen, ngx_strlen(listen));
    if (channel == NULL) {
        return NGX_ERROR;
    }

    p = ngx_snprintf(sql, sizeof(sql), "LISTEN %s%Z", channel);
    PQfreemem(channel);

    if (p == sql + sizeof(sql) && p[-1] != '\0') {
        return NGX_ERROR;
    }

    rc = PQsendQueryParams(link->pg, (char *) sql, 0, NULL, NULL, NULL, NULL,
                           0);

    return rc ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_commerce_pg_setup_result(ngx_commerce_pg_link_t *link, PGresult *res,
    char *err, size_t size)
{
    if (res == NULL) {
        link->step++;
        return NGX_AGAIN;
    }

    switch (PQresultStatus(res)) {

    case PGRES_PIPELINE_SYNC:
        return NGX_DONE;

    case PGRES_COMMAND_OK:
        return NGX_AGAIN;

    case PGRES_TUPLES_OK:

        if (link->step == 0 && *PQgetvalue(res, 0, 0) != 'f') {
            ngx_snprintf((u_char *) err, size,
                         "the server is a standby%Z");
            return NGX_ERROR;
        }

        return NGX_AGAIN;

    default:
        ngx_commerce_pg_setup_error(link, res, err, size);
        return NGX_ERROR;
    }
}


static void
ngx_commerce_pg_setup_error(ngx_commerce_pg_link_t *link, PGresult *res,
    char *err, size_t size)
{
    const char                 *what, *state, *message;
    ngx_commerce_pg_purpose_t  *purpose;

    purpose = &link->pool->purpose;

    if (link->step == 0) {
        what = "settings";

    } else if (link->step <= purpose->nstatements) {
        what = ngx_commerce_pg_statement(
                   purpose->statements[link->step - 1])->name;

    } else {
        what = "LISTEN";
    }

    state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    ngx_snprintf((u_char *) err, size - 1, "set-up failed at \"%s\": %s %s%Z",
                 what, state ? state : "", message ? message : "no answer");
    err[size - 1] = '\0';
}
