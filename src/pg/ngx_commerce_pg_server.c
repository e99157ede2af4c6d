/*
 * Where the database is: the conninfo taken apart and checked.  libpq resolves
 * names in the calling thread and never leaves a host that does not answer,
 * so it will be given one address per attempt, and no name without its address.
 */

#include "ngx_commerce_pg_server.h"

#include <netdb.h>


/* in the order of ngx_commerce_pg_targets() */
enum {
    NGX_COMMERCE_PG_HOST = 0,
    NGX_COMMERCE_PG_HOSTADDR,
    NGX_COMMERCE_PG_PORT,
    NGX_COMMERCE_PG_PLACES
};


static ngx_int_t ngx_commerce_pg_sslmode(const char *value);
static ngx_int_t ngx_commerce_pg_ports(const char *value);
static const char *ngx_commerce_pg_option(ngx_pool_t *pool,
    ngx_commerce_pg_remote_t *remote, PQconninfoOption *option,
    PQconninfoOption **places);
static const char *ngx_commerce_pg_targets(ngx_pool_t *pool,
    ngx_commerce_pg_remote_t *remote, PQconninfoOption **places);
static char *ngx_commerce_pg_element(ngx_pool_t *pool, const char *list,
    ngx_uint_t n);
static ngx_uint_t ngx_commerce_pg_count(const char *list);
static ngx_uint_t ngx_commerce_pg_is_address(const char *host);
static char *ngx_commerce_pg_copy(ngx_pool_t *pool, const char *s, size_t len);


/* What ngx_commerce_pg_start() sets, whatever the conninfo says. */
static const char  *ngx_commerce_pg_own[] = {
    "application_name", "fallback_application_name", "client_encoding",
    "connect_timeout", "gssencmode", "load_balance_hosts",
    "target_session_attrs", NULL
};


/* What a conninfo may change. */
static const char  *ngx_commerce_pg_defaults[][2] = {
    { "keepalives", "1" },
    { "keepalives_idle", "10" },
    { "keepalives_interval", "5" },
    { "keepalives_count", "3" },
    { "tcp_user_timeout", "15000" },
    { NULL, NULL }
};


const char *
ngx_commerce_pg_server_check(ngx_pool_t *pool,
    ngx_commerce_pg_server_t *server)
{
    char                      *message;
    const char                *err;
    ngx_uint_t                 i;
    PQconninfoOption          *options, *option;
    PQconninfoOption          *places[NGX_COMMERCE_PG_PLACES];
    ngx_commerce_pg_remote_t  *remote;

    remote = ngx_pcalloc(pool, sizeof(ngx_commerce_pg_remote_t));
    if (remote == NULL) {
        return "no memory";
    }

    for (i = 0; ngx_commerce_pg_defaults[i][0]; i++) {
        remote->keys[i] = ngx_commerce_pg_defaults[i][0];
        remote->values[i] = ngx_commerce_pg_defaults[i][1];
    }

    remote->noptions = i;

    ngx_memzero(places, sizeof(places));

    options = PQconninfoParse((char *) server->conninfo.data, &message);

    if (options == NULL) {
        /* libpq's message can quote a piece of a password */
        PQfreemem(message);
        return "it is not a connection string of libpq";
    }

    err = NULL;

    for (option = options; option->keyword && err == NULL; option++) {
        if (option->val && option->val[0]) {
            err = ngx_commerce_pg_option(pool, remote, option, places);
        }
    }

    if (err == NULL) {
        err = ngx_commerce_pg_targets(pool, remote, places);
    }

    PQconninfoFree(options);

    if (err == NULL) {
        server->remote = remote;
    }

    return err;
}


static ngx_int_t
ngx_commerce_pg_sslmode(const char *value)
{
    ngx_uint_t          i;
    static const char  *modes[] = {
        "disable", "allow", "prefer", "require", "verify-ca", "verify-full"
    };

    for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (ngx_strcmp(value, modes[i]) == 0) {
            return NGX_OK;
        }
    }

    return NGX_ERROR;
}


/* One for each host, or one for all; empty is the default. */

static ngx_int_t
ngx_commerce_pg_ports(const char *value)
{
    ngx_int_t    port;
    const char  *end;

    for ( ;; ) {
        end = ngx_strchr(value, ',');

        if (end == NULL) {
            end = value + ngx_strlen(value);
        }

        if (end != value) {
            port = ngx_atoi((u_char *) value, end - value);

            if (port < 1 || port > 65535) {
                return NGX_ERROR;
            }
        }

        if (*end == '\0') {
            return NGX_OK;
        }

        value = end + 1;
    }
}


static const char *
ngx_commerce_pg_option(ngx_pool_t *pool, ngx_commerce_pg_remote_t *remote,
    PQconninfoOption *option, PQconninfoOption **places)
{
    char        *value;
    const char  *key;
    ngx_uint_t   i;

    key = option->keyword;

    if (ngx_strcmp(key, "service") == 0) {
        return "a service file is not supported";
    }

    if (ngx_strcmp(key, "replication") == 0) {
        return "\"replication\" is not supported";
    }

    if (ngx_strcmp(key, "gssencmode") == 0
        && ngx_strcmp(option->val, "disable") != 0)
    {
        return "\"gssencmode\" other than \"disable\" is not supported";
    }

    if (ngx_strcmp(key, "client_encoding") == 0
        && ngx_strcasecmp((u_char *) option->val, (u_char *) "utf8") != 0
        && ngx_strcasecmp((u_char *) option->val, (u_char *) "utf-8") != 0)
    {
        return "\"client_encoding\" other than \"UTF8\" is not supported";
    }

    if (ngx_strcmp(key, "target_session_attrs") == 0
        && ngx_strcmp(option->val, "any") != 0
        && ngx_strcmp(option->val, "primary") != 0
        && ngx_strcmp(option->val, "read-write") != 0)
    {
        return "\"target_session_attrs\" must let a primary be used";
    }

    if (ngx_strcmp(key, "host") == 0) {
        places[NGX_COMMERCE_PG_HOST] = option;
        return NULL;
    }

    if (ngx_strcmp(key, "hostaddr") == 0) {
        places[NGX_COMMERCE_PG_HOSTADDR] = option;
        return NULL;
    }

    if (ngx_strcmp(key, "sslmode") == 0
        && ngx_commerce_pg_sslmode(option->val) != NGX_OK)
    {
        return "\"sslmode\" is not one that libpq has";
    }

    if (ngx_strcmp(key, "port") == 0) {
        if (ngx_commerce_pg_ports(option->val) != NGX_OK) {
            return "\"port\" must be a number from 1 to 65535";
        }

        places[NGX_COMMERCE_PG_PORT] = option;
        return NULL;
    }

    for (i = 0; ngx_commerce_pg_own[i]; i++) {
        if (ngx_strcmp(key, ngx_commerce_pg_own[i]) == 0) {
            return NULL;
        }
    }

    value = ngx_commerce_pg_copy(pool, option->val, ngx_strlen(option->val));
    key = ngx_commerce_pg_copy(pool, key, ngx_strlen(key));

    if (value == NULL || key == NULL) {
        return "no memory";
    }

    for (i = 0; i < remote->noptions; i++) {
        if (ngx_strcmp(remote->keys[i], key) == 0) {
            remote->values[i] = value;
            return NULL;
        }
    }

    /* the rest is for ngx_commerce_pg_start() */

    if (i == NGX_COMMERCE_PG_OPTIONS - 10) {
        return "it has too many options";
    }

    remote->keys[i] = key;
    remote->values[i] = value;
    remote->noptions++;

    return NULL;
}


static const char *
ngx_commerce_pg_targets(ngx_pool_t *pool, ngx_commerce_pg_remote_t *remote,
    PQconninfoOption **places)
{
    char                      *value[NGX_COMMERCE_PG_PLACES];
    ngx_uint_t                 i, k, n[NGX_COMMERCE_PG_PLACES], count;
    ngx_commerce_pg_target_t  *t;

    for (k = 0; k < NGX_COMMERCE_PG_PLACES; k++) {
        n[k] = places[k] ? ngx_commerce_pg_count(places[k]->val) : 0;
    }

    count = ngx_max(n[NGX_COMMERCE_PG_HOST], n[NGX_COMMERCE_PG_HOSTADDR]);
    count = ngx_max(count, 1);

    if (count > NGX_COMMERCE_PG_TARGETS) {
        return "it has too many hosts";
    }

    if ((n[NGX_COMMERCE_PG_HOST] && n[NGX_COMMERCE_PG_HOST] != count)
        || (n[NGX_COMMERCE_PG_HOSTADDR]
            && n[NGX_COMMERCE_PG_HOSTADDR] != count)
        || (n[NGX_COMMERCE_PG_PORT] > 1 && n[NGX_COMMERCE_PG_PORT] != count))
    {
        return "its hosts, addresses and ports do not match in number";
    }

    for (i = 0; i < count; i++) {

        for (k = 0; k < NGX_COMMERCE_PG_PLACES; k++) {
            value[k] = NULL;

            if (n[k]) {
                value[k] = ngx_commerce_pg_element(pool, places[k]->val,
                                                   n[k] == 1 ? 0 : i);
                if (value[k] == NULL) {
                    return "no memory";
                }

                if (value[k][0] == '\0') {
                    value[k] = NULL;
                }
            }
        }

        t = &remote->targets[i];
        t->host = value[NGX_COMMERCE_PG_HOST];
        t->hostaddr = value[NGX_COMMERCE_PG_HOSTADDR];
        t->port = value[NGX_COMMERCE_PG_PORT];

        if (t->hostaddr) {
            if (!ngx_commerce_pg_is_address(t->hostaddr)) {
                return "\"hostaddr\" is not an address";
            }

            continue;
        }

        if (t->host == NULL || t->host[0] == '/' || t->host[0] == '@') {
            continue;
        }

        if (ngx_commerce_pg_is_address(t->host)) {
            t->hostaddr = t->host;
            continue;
        }

        t->name = 1;
        remote->names++;
    }

    remote->ntargets = count;

    if (remote->names == 0) {
        ngx_commerce_pg_lookup(remote, &remote->book);
    }

    return NULL;
}


static char *
ngx_commerce_pg_element(ngx_pool_t *pool, const char *list, ngx_uint_t n)
{
    size_t  len;

    for ( ;; ) {
        len = strcspn(list, ",");

        if (n-- == 0 || list[len] == '\0') {
            return ngx_commerce_pg_copy(pool, list, len);
        }

        list += len + 1;
    }
}


static ngx_uint_t
ngx_commerce_pg_count(const char *list)
{
    ngx_uint_t  n;

    for (n = 1; *list; list++) {
        if (*list == ',') {
            n++;
        }
    }

    return n;
}


static ngx_uint_t
ngx_commerce_pg_is_address(const char *host)
{
    struct addrinfo   hints, *list;

    if (ngx_strlen(host) >= NGX_COMMERCE_PG_ADDR_LEN) {
        return 0;
    }

    ngx_memzero(&hints, sizeof(struct addrinfo));
    hints.ai_flags = AI_NUMERICHOST;
    hints.ai_socktype = SOCK_STREAM;

    if (getaddrinfo(host, NULL, &hints, &list) != 0) {
        return 0;
    }

    freeaddrinfo(list);

    return 1;
}


static char *
ngx_commerce_pg_copy(ngx_pool_t *pool, const char *s, size_t len)
{
    char  *p;

    p = ngx_pnalloc(pool, len + 1);
    if (p) {
        ngx_memcpy(p, s, len);
        p[len] = '\0';
    }

    return p;
}


const char *
ngx_commerce_pg_server_init(ngx_conf_t *cf, ngx_commerce_pg_server_t *server)
{
#if (NGX_THREADS)

    ngx_commerce_pg_task_t    *task;
    ngx_commerce_pg_remote_t  *remote;

    remote = server->remote;

    if (remote->names == 0) {
        return NULL;
    }

    remote->threads = ngx_thread_pool_add(cf, NULL);
    if (remote->threads == NULL) {
        return "no thread pool \"default\"";
    }

    remote->task = ngx_thread_task_alloc(cf->pool,
                                         sizeof(ngx_commerce_pg_task_t));
    if (remote->task == NULL) {
        return "no memory";
    }

    task = remote->task->ctx;
    task->server = server;

    remote->task->handler = ngx_commerce_pg_lookup_task;
    remote->task->event.handler = ngx_commerce_pg_lookup_done;
    remote->task->event.data = task;

    return NULL;

#else

    (void) cf;

    return server->remote->names
           ? "a host must be an address or a socket: nginx has no threads"
           : NULL;

#endif
}
