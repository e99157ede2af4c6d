/*
 * load: a closed-loop HTTP/1.1 load generator in one thread, so that it takes
 * little of the machine it shares with the server.
 *
 *   load [options] --mode MODE HOST:PORT
 *
 *   get     GET the paths of --paths FILE, uniformly or with --zipf (1.0; the
 *           first line is asked for most)
 *   order   POST /v1/orders, --lines 1-3 different SKUs of --skus FILE
 *   hot     the same with one line of --sku
 *   pay     pays (provider "test") each order of --orders LOG
 *   script  POST the lines KEY TAB BODY of --script FILE to --path, started
 *           in their order
 *   checkout  makes an order of each of the carts of --carts
 *   cart    adds one of ten SKUs of --skus to one of the carts of --carts
 *           FILE (ID TAB TOKEN), without a key
 *
 * -c N connections, each with one request at a time.  It ends after -n N
 * requests, after -t SECONDS, when its file ends, or --after SECONDS after
 * the --accept Nth 2xx; requests that run then are waited for.  --warmup
 * SECONDS are not measured.  --seed makes runs equal, --prefix begins the
 * Idempotency-Keys.  --log FILE gets KEY TAB ID TAB TOKEN of each 2xx once it
 * is there.
 *
 * --retry sends a request again, under its key, when its connection is lost
 * or it is answered 503 or 409 in_progress, and then once more when it
 * succeeded: the id must be the same.  --check LOG (order, hot; with the seed
 * and the SKUs of the run that wrote it) sends its requests again, -n a
 * sample of them, and compares the ids.
 *
 * Prints one JSON object.  Exit code: 0, 1 an id differed or a request has no
 * answer, 2 it could not run.
 */

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "load.h"


#define LOAD_EVENTS      256


load_t  load;


void
load_die(const char *format, ...)
{
    va_list  args;

    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);

    exit(2);
}


void *
load_alloc(size_t size)
{
    void  *p;

    p = calloc(1, size);
    if (p == NULL) {
        load_die("out of memory");
    }

    return p;
}


void
load_room(load_buf_t *buf, size_t more)
{
    char    *data;
    size_t   size;

    if (buf->size - buf->len >= more) {
        return;
    }

    size = (buf->size == 0) ? 1024 : buf->size;

    while (size - buf->len < more) {
        size *= 2;
    }

    data = realloc(buf->data, size);
    if (data == NULL) {
        load_die("out of memory");
    }

    buf->data = data;
    buf->size = size;
}


void
load_append(load_buf_t *buf, const char *data, size_t len)
{
    load_room(buf, len);
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
}


void
load_append_text(load_buf_t *buf, const char *text)
{
    load_append(buf, text, strlen(text));
}


static uint64_t
load_clock(void)
{
    struct timespec  now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}


static void
load_run(void)
{
    int                 n, i, warm;
    uint64_t            look, grace;
    struct epoll_event  events[LOAD_EVENTS];

    load.now = load_clock();
    load.started = load.now;
    load.measured = load.now;
    warm = (load.conf.warmup > 0);
    look = load.now;
    load.deadline = UINT64_MAX;

    if (load.conf.seconds > 0) {
        load.deadline = load.now
                        + (uint64_t) ((load.conf.warmup + load.conf.seconds)
                                      * 1e6);
    }

    load.active = load.conf.connections;

    for (i = 0; i < (int) load.conf.connections; i++) {
        load_next(&load.conns[i]);
    }

    grace = (uint64_t) (load.conf.timeout * 1e6);

    while (load.active) {
        n = epoll_wait(load.epoll, events, LOAD_EVENTS,
                       load.waiting ? 2 : 100);

        if (n < 0 && errno != EINTR) {
            load_die("epoll_wait: %s", strerror(errno));
        }

        load.now = load_clock();

        if (warm && load.now >= load.started
                                + (uint64_t) (load.conf.warmup * 1e6))
        {
            warm = 0;
            load_stats_clear(&load.stats);
            load.measured = load.now;
        }

        if (!load.stop && load.now >= load.deadline) {
            load.stop = 1;
            load.stats.seconds = (double) (load.now - load.measured) / 1e6;
        }

        for (i = 0; i < n; i++) {
            load_event(events[i].data.ptr, events[i].events);
        }

        if (load.now >= look) {
            for (i = 0; i < (int) load.conf.connections; i++) {
                load_timer(&load.conns[i]);
            }

            look = load.now + (load.waiting ? 2000 : 100000);

        } else if (load.waiting && look > load.now + 2000) {
            look = load.now + 2000;
        }

        if (load.stop && load.now > load.deadline + grace) {
            break;
        }
    }

    load.stats.abandoned += load.active;

    if (!load.stop) {
        load.stats.seconds = (double) (load.now - load.measured) / 1e6;
    }
}


int
main(int argc, char **argv)
{
    unsigned         i;
    struct addrinfo  hints;

    load_read_options(&load.conf, argc, argv);

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;

    if (getaddrinfo(load.conf.host, load.conf.port, &hints, &load.address)
        != 0)
    {
        load_die("cannot resolve %s", load.conf.host);
    }

    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load.epoll < 0) {
        load_die("epoll_create1: %s", strerror(errno));
    }

    load.conns = load_alloc(load.conf.connections * sizeof(load_conn_t));

    for (i = 0; i < load.conf.connections; i++) {
        load.conns[i].fd = -1;
    }

    load_stats_init(&load.stats);
    load_request_init(&load.conf);
    load_run();

    if (load.conf.log && fclose(load.conf.log) != 0) {
        load_die("cannot write the log: %s", strerror(errno));
    }

    load_stats_print(&load.stats, &load.conf, load.started);

    return (load.stats.mismatched || load.stats.abandoned) ? 1 : 0;
}
