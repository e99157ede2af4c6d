/*
 * A connection: sends one request at a time, again when it must, and judges
 * what comes back.
 */

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"


#define LOAD_READ        16384


static void load_connect(load_conn_t *c);
static void load_send(load_conn_t *c);
static void load_answer(load_conn_t *c, load_response_t *response);
static void load_again(load_conn_t *c, unsigned msec);
static void load_lost(load_conn_t *c);
static void load_refused(load_conn_t *c);


static void
load_watch(load_conn_t *c, int op, int writable)
{
    struct epoll_event  event;

    memset(&event, 0, sizeof(event));
    event.events = EPOLLIN | (writable ? EPOLLOUT : 0);
    event.data.ptr = c;
    c->writable = writable ? 1 : 0;

    if (epoll_ctl(load.epoll, op, c->fd, &event) != 0) {
        load_die("epoll_ctl: %s", strerror(errno));
    }
}


static void
load_close(load_conn_t *c)
{
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
}


static void
load_connect(load_conn_t *c)
{
    int  one;

    load_close(c);

    c->fd = socket(load.address->ai_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) {
        load_die("socket: %s", strerror(errno));
    }

    one = 1;
    (void) setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

    c->state = LOAD_CONNECTING;
    c->sent = 0;
    c->in.len = 0;
    c->due = load.now + (uint64_t) (load.conf.timeout * 1e6);

    if (connect(c->fd, load.address->ai_addr, load.address->ai_addrlen) != 0
        && errno != EINPROGRESS)
    {
        load_refused(c);
        return;
    }

    load_watch(c, EPOLL_CTL_ADD, 1);
}


/* The next request of a connection, or its end. */

void
load_next(load_conn_t *c)
{
    c->tries = 0;
    c->confirming = 0;
    c->id[0] = '\0';

    if (load.stop || !load_request_next(&load.conf, &c->request)) {
        c->state = LOAD_IDLE;
        load.active--;
        load_close(c);
        return;
    }

    c->started = load.now;

    if (c->fd < 0) {
        load_connect(c);
        return;
    }

    load_send(c);
}


static void
load_send(load_conn_t *c)
{
    c->sent = 0;
    c->in.len = 0;
    c->state = LOAD_RUNNING;
    c->due = load.now + (uint64_t) (load.conf.timeout * 1e6);

    for ( ;; ) {
        ssize_t      n;
        load_buf_t  *text;

        text = &c->request.text;
        n = send(c->fd, text->data + c->sent, text->len - c->sent,
                 MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }

        if (n < 0 && errno != EAGAIN) {
            /* the answer may be there still: reading decides */
            c->sent = text->len;
            break;
        }

        if (n < 0) {
            break;
        }

        c->sent += (size_t) n;

        if (c->sent == text->len) {
            break;
        }
    }

    if (c->writable != (c->sent < c->request.text.len)) {
        load_watch(c, EPOLL_CTL_MOD, c->sent < c->request.text.len);
    }
}


static void
load_send_more(load_conn_t *c)
{
    ssize_t      n;
    load_buf_t  *text;

    text = &c->request.text;
    n = send(c->fd, text->data + c->sent, text->len - c->sent, MSG_NOSIGNAL);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }

    c->sent = (n < 0) ? text->len : c->sent + (size_t) n;

    if (c->sent == text->len) {
        load_watch(c, EPOLL_CTL_MOD, 0);
    }
}


static void
load_receive(load_conn_t *c)
{
    int              rc, eof;
    ssize_t          n;
    load_response_t  response;

    load_room(&c->in, LOAD_READ);

    n = recv(c->fd, c->in.data + c->in.len, c->in.size - c->in.len, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }

    eof = (n <= 0);

    if (n > 0) {
        c->in.len += (size_t) n;
    }

    if (eof && c->in.len == 0) {
        load_lost(c);
        return;
    }

    rc = load_response_parse(&c->in, eof, &response);

    if (rc == 0) {
        return;
    }

    if (rc < 0) {
        if (!eof) {
            load.stats.protocol++;
        }

        load_lost(c);
        return;
    }

    load_answer(c, &response);
}


/* Sends the same request again after a while. */

static void
load_again(load_conn_t *c, unsigned msec)
{
    c->state = LOAD_WAITING;
    c->due = load.now + (uint64_t) msec * 1000;
    load.waiting++;
}


static void
load_lost(load_conn_t *c)
{
    load_close(c);
    load.stats.lost++;
    load.stats.reconnects++;

    /* a GET is always sent again; what may have been done, when told to */
    if ((load.conf.retry || load.conf.mode == LOAD_GET)
        && ++c->tries < LOAD_TRIES_MAX)
    {
        load.stats.retried++;
        load_again(c, 10);
        return;
    }

    load.stats.abandoned++;
    load_next(c);
}


/* Nothing was sent: the request can always be tried again. */

static void
load_refused(load_conn_t *c)
{
    load_close(c);

    if (++c->tries < LOAD_TRIES_MAX) {
        load_again(c, 100);
        return;
    }

    if (!load.stop) {
        fprintf(stderr, "load: cannot connect to %s:%s\n", load.conf.host,
                load.conf.port);
        load.stop = 1;
        load.deadline = load.now;
    }

    load.stats.abandoned++;
    load_next(c);
}


static void
load_acknowledged(load_conn_t *c, load_response_t *response)
{
    char  token[LOAD_TOKEN_MAX];

    load.stats.acknowledged++;

    if (load.conf.accept && load.stats.acknowledged == load.conf.accept) {
        load.stats.last_accept = load.now;
        load.deadline = load.now + (uint64_t) (load.conf.after * 1e6);
    }

    if (load.conf.log == NULL) {
        return;
    }

    (void) load_json_member(response->body, response->body_len, "token",
                            token, sizeof(token));

    fprintf(load.conf.log, "%s\t%s\t%s\n", c->request.key, c->id, token);
}


/*
 * Compares the id of a repeated request with the one that is known; 1: the
 * request is to be sent once more, to see whether its id stays.
 */

static int
load_compare(load_conn_t *c, load_response_t *response)
{
    char  id[LOAD_ID_MAX];

    (void) load_json_member(response->body, response->body_len, "id", id,
                            sizeof(id));

    if (c->request.expected[0]) {
        memcpy(c->id, c->request.expected, LOAD_ID_MAX);
        c->confirming = 1;
    }

    if (!c->confirming) {
        memcpy(c->id, id, LOAD_ID_MAX);
        c->confirming = (c->tries > 0);

        return c->confirming;
    }

    if (id[0] && strcmp(id, c->id) == 0) {
        load.stats.confirmed++;

    } else {
        load.stats.mismatched++;
        fprintf(stderr, "load: key %s: %s, then %s\n", c->request.key, c->id,
                id[0] ? id : "no id");
    }

    return 0;
}


static void
load_answer(load_conn_t *c, load_response_t *response)
{
    int   ok, more, confirmed;
    char  code[LOAD_CODE_MAX];

    ok = (response->status >= 200 && response->status < 300);
    code[0] = '\0';

    if (response->close) {
        load_close(c);
        load.stats.reconnects++;
    }

    if (!ok && response->body_len) {
        (void) load_json_member(response->body, response->body_len, "code",
                                code, sizeof(code));
    }

    if (response->replayed) {
        load.stats.replayed++;
    }

    if (load.conf.retry && c->tries < LOAD_TRIES_MAX
        && (response->status == 503
            || (response->status == 409 && strcmp(code, "in_progress") == 0)))
    {
        c->tries++;
        load.stats.retried++;
        load_again(c, response->retry_after ? 1000 : 100);
        return;
    }

    confirmed = c->confirming;
    more = 0;

    if (load.conf.mode != LOAD_GET && (ok || confirmed
                                       || c->request.expected[0]))
    {
        more = load_compare(c, response);
    }

    if (!confirmed && !load.stop) {
        load_stats_answer(&load.stats, response->status, code,
                          load.now - c->started,
                          response->head + response->body_len);
    }

    if (!confirmed && ok) {
        load_acknowledged(c, response);
    }

    if (more) {
        load_again(c, 0);
        return;
    }

    load_next(c);
}


void
load_event(load_conn_t *c, uint32_t events)
{
    int        error;
    socklen_t  len;

    switch (c->state) {

    case LOAD_CONNECTING:
        error = 0;
        len = sizeof(error);

        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0
            || error != 0)
        {
            load_refused(c);
            return;
        }

        if (events & EPOLLOUT) {
            load_send(c);
        }

        return;

    case LOAD_RUNNING:
        if ((events & EPOLLOUT) && c->sent < c->request.text.len) {
            load_send_more(c);
        }

        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
            load_receive(c);
        }

        return;

    case LOAD_WAITING:
        /* the server closes a connection that is not in use */
        load_close(c);
        return;

    case LOAD_IDLE:
        return;
    }
}


/* A request's time has come: it is sent again, or given up. */

void
load_timer(load_conn_t *c)
{
    if (c->state == LOAD_IDLE || c->due > load.now) {
        return;
    }

    if (c->state != LOAD_WAITING) {
        load_lost(c);
        return;
    }

    load.waiting--;

    if (c->fd < 0) {
        load_connect(c);

    } else {
        load_send(c);
    }
}
