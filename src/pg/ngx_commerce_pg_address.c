/*
 * The addresses of the database, resolved in a thread when it has a name, and
 * the start of a connection to one of them.
 */

#include "ngx_commerce_pg_server.h"

#include <netdb.h>


#define NGX_COMMERCE_PG_SECRET  4096
#define NGX_COMMERCE_PG_FRESH   5000        /* ms that an address is believed */


static void ngx_commerce_pg_lookup_name(ngx_commerce_pg_remote_t *remote,
    ngx_uint_t n, ngx_commerce_pg_book_t *book);
static void ngx_commerce_pg_adopt(ngx_commerce_pg_remote_t *remote,
    ngx_commerce_pg_book_t *book);
static ngx_int_t ngx_commerce_pg_password(ngx_commerce_pg_server_t *server,
    char *secret, ngx_log_t *log);
static void ngx_commerce_pg_notice(void *data, const PGresult *res);


ngx_int_t
ngx_commerce_pg_resolve(ngx_commerce_pg_server_t *server,
    void (*ready)(ngx_commerce_pg_server_t *server), const char **err)
{
    ngx_commerce_pg_remote_t  *remote;

    remote = server->remote;

    if (remote->names == 0
        || (remote->book.n
            && ngx_current_msec - remote->resolved < NGX_COMMERCE_PG_FRESH))
    {
        return NGX_OK;
    }

#if (NGX_THREADS)

    if (remote->threads) {
        remote->ready = ready;

        if (remote->resolving) {
            return NGX_AGAIN;
        }

        if (ngx_thread_task_post(remote->threads, remote->task) == NGX_OK) {
            remote->resolving = 1;
            return NGX_AGAIN;
        }
    }

#else

    (void) ready;

#endif

    *err = "the host cannot be resolved: no thread";

    return remote->book.n ? NGX_OK : NGX_ERROR;
}


#if (NGX_THREADS)

/* In a thread: reads what is constant, writes its own book only. */

void
ngx_commerce_pg_lookup_task(void *data, ngx_log_t *log)
{
    ngx_commerce_pg_task_t  *task = data;

    (void) log;

    ngx_commerce_pg_lookup(task->server->remote, &task->book);
}


void
ngx_commerce_pg_lookup_done(ngx_event_t *ev)
{
    ngx_commerce_pg_task_t    *task;
    ngx_commerce_pg_remote_t  *remote;

    task = ev->data;
    remote = task->server->remote;

    remote->resolving = 0;
    remote->resolved = ngx_current_msec;

    remote->error = task->book.error;

    /* an old address may still be right, none never is */

    if (task->book.n) {
        ngx_commerce_pg_adopt(remote, &task->book);
    }

    if (remote->ready) {
        remote->ready(task->server);
    }
}

#endif


void
ngx_commerce_pg_lookup(ngx_commerce_pg_remote_t *remote,
    ngx_commerce_pg_book_t *book)
{
    size_t                      len;
    ngx_uint_t                  i;
    ngx_commerce_pg_target_t   *t;
    ngx_commerce_pg_address_t  *a;

    book->n = 0;
    book->error = 0;

    for (i = 0; i < remote->ntargets; i++) {
        t = &remote->targets[i];

        if (t->name) {
            ngx_commerce_pg_lookup_name(remote, i, book);
            continue;
        }

        if (book->n == NGX_COMMERCE_PG_ADDRESSES) {
            break;
        }

        a = &book->list[book->n++];
        a->target = i;

        len = t->hostaddr ? ngx_strlen(t->hostaddr) : 0;
        ngx_memcpy(a->text, t->hostaddr ? t->hostaddr : "", len);
        a->text[len] = '\0';
    }
}


static void
ngx_commerce_pg_lookup_name(ngx_commerce_pg_remote_t *remote, ngx_uint_t n,
    ngx_commerce_pg_book_t *book)
{
    int                         rc;
    struct addrinfo             hints, *list, *ai;
    ngx_commerce_pg_address_t  *a;

    ngx_memzero(&hints, sizeof(struct addrinfo));
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG;

    rc = getaddrinfo(remote->targets[n].host, NULL, &hints, &list);
    if (rc != 0) {
        book->error = rc;
        return;
    }

    for (ai = list; ai && book->n < NGX_COMMERCE_PG_ADDRESSES;
         ai = ai->ai_next)
    {
        a = &book->list[book->n];
        a->target = n;

        if (getnameinfo(ai->ai_addr, ai->ai_addrlen, a->text,
                        sizeof(a->text), NULL, 0, NI_NUMERICHOST) == 0)
        {
            book->n++;
        }
    }

    freeaddrinfo(list);
}


/* The address that was used stays the first to be tried. */

static void
ngx_commerce_pg_adopt(ngx_commerce_pg_remote_t *remote,
    ngx_commerce_pg_book_t *book)
{
    ngx_uint_t                 i, current;
    ngx_commerce_pg_address_t  used;

    current = 0;

    if (remote->book.n) {
        used = remote->book.list[remote->current % remote->book.n];

        for (i = 0; i < book->n; i++) {
            if (book->list[i].target == used.target
                && ngx_strcmp(book->list[i].text, used.text) == 0)
            {
                current = i;
                break;
            }
        }
    }

    remote->book = *book;
    remote->current = current;
}


ngx_uint_t
ngx_commerce_pg_addresses(ngx_commerce_pg_server_t *server)
{
    return server->remote->book.n;
}


void
ngx_commerce_pg_next_address(ngx_commerce_pg_server_t *server)
{
    ngx_commerce_pg_remote_t  *remote;

    remote = server->remote;

    if (remote->book.n) {
        remote->current = (remote->current + 1) % remote->book.n;
    }
}


PGconn *
ngx_commerce_pg_start(ngx_commerce_pg_server_t *server, ngx_str_t *purpose,
    ngx_log_t *log, const char **err)
{
    char                        name[64], secret[NGX_COMMERCE_PG_SECRET];
    PGconn                     *pg;
    int64_t                     instance;
    const char                 *keys[NGX_COMMERCE_PG_OPTIONS];
    const char                 *values[NGX_COMMERCE_PG_OPTIONS];
    ngx_uint_t                  n;
    ngx_commerce_pg_remote_t   *remote;
    ngx_commerce_pg_target_t   *target;
    ngx_commerce_pg_address_t  *address;
    static ngx_uint_t           initialized;

    remote = server->remote;

    if (remote->book.n == 0) {
        *err = remote->error ? gai_strerror(remote->error)
                             : "the host has no address";
        return NULL;
    }

    if (!initialized) {
        /* nginx has set OpenSSL up */
        PQinitOpenSSL(0, 0);
        initialized = 1;
    }

    address = &remote->book.list[remote->current % remote->book.n];
    target = &remote->targets[address->target];

    instance = server->instance ? server->instance(server->data) : 0;

    ngx_snprintf((u_char *) name, sizeof(name) - 1, "commerce/%L/%V%Z",
                 instance, purpose);
    name[sizeof(name) - 1] = '\0';

    n = remote->noptions;
    ngx_memcpy(keys, remote->keys, n * sizeof(char *));
    ngx_memcpy(values, remote->values, n * sizeof(char *));

#define ngx_commerce_pg_set_option(key, value)                                \
    keys[n] = key;                                                            \
    values[n++] = value

    ngx_commerce_pg_set_option("application_name", name);
    ngx_commerce_pg_set_option("client_encoding", "UTF8");
    ngx_commerce_pg_set_option("gssencmode", "disable");

    if (target->host) {
        ngx_commerce_pg_set_option("host", target->host);
    }

    if (address->text[0]) {
        ngx_commerce_pg_set_option("hostaddr", address->text);
    }

    if (target->port) {
        ngx_commerce_pg_set_option("port", target->port);
    }

    if (server->password_file.len) {
        if (ngx_commerce_pg_password(server, secret, log) != NGX_OK) {
            *err = "the password file cannot be read";
            return NULL;
        }

        ngx_commerce_pg_set_option("password", secret);
    }

    keys[n] = NULL;
    values[n] = NULL;

    pg = PQconnectStartParams(keys, values, 0);

    if (server->password_file.len) {
        ngx_explicit_memzero(secret, sizeof(secret));
    }

    if (pg == NULL) {
        *err = "no memory";
        return NULL;
    }

    PQsetNoticeReceiver(pg, ngx_commerce_pg_notice, log);

    return pg;
}


/* The file's first line. */

static ngx_int_t
ngx_commerce_pg_password(ngx_commerce_pg_server_t *server, char *secret,
    ngx_log_t *log)
{
    ssize_t          n;
    ngx_fd_t         fd;
    ngx_file_info_t  fi;

    fd = ngx_open_file(server->password_file.data,
                       NGX_FILE_RDONLY|NGX_FILE_NONBLOCK, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_log_error(NGX_LOG_INFO, log, ngx_errno,
                      ngx_open_file_n " \"%V\" failed",
                      &server->password_file);
        return NGX_ERROR;
    }

    n = -1;

    if (ngx_fd_info(fd, &fi) != NGX_FILE_ERROR && ngx_is_file(&fi)) {
        n = ngx_read_fd(fd, secret, NGX_COMMERCE_PG_SECRET - 1);
    }

    (void) ngx_close_file(fd);

    if (n < 0) {
        return NGX_ERROR;
    }

    secret[n] = '\0';
    secret[strcspn(secret, "\r\n")] = '\0';

    return NGX_OK;
}


/* Neither detail nor context: they can quote rows. */

static void
ngx_commerce_pg_notice(void *data, const PGresult *res)
{
    const char  *severity, *state, *message;

    severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
    state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    ngx_log_error(NGX_LOG_INFO, (ngx_log_t *) data, 0,
                  "commerce: database says %s %s: %s",
                  severity ? severity : "", state ? state : "",
                  message ? message : "");
}
