/*
 * load: a closed-loop HTTP/1.1 load generator, one thread, epoll.
 */

#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>


#define LOAD_KEY_MAX     80
#define LOAD_ID_MAX      40
#define LOAD_TOKEN_MAX   256
#define LOAD_CODE_MAX    40
#define LOAD_TRIES_MAX   100


typedef struct {
    char               *data;
    size_t              len;
    size_t              size;
} load_buf_t;


/* Lines of a file; each ends with '\0'. */
typedef struct {
    char              **line;
    size_t              n;
    char               *text;
} load_lines_t;


typedef enum {
    LOAD_GET = 0,       /* GET of paths from a file */
    LOAD_ORDER,         /* POST /v1/orders over a file of SKUs */
    LOAD_HOT,           /* the same, one SKU */
    LOAD_PAY,           /* POST .../payments for each line of a log */
    LOAD_SCRIPT,        /* POST of prepared bodies, in their order */
    LOAD_CART,          /* POST .../lines of carts from a file */
    LOAD_CHECKOUT       /* POST .../checkout of each of them, once */
} load_mode_e;


typedef struct {
    const char         *host;
    const char         *port;
    load_mode_e         mode;
    unsigned            connections;
    uint64_t            requests;       /* 0: no limit */
    double              seconds;        /* 0: no limit */
    double              warmup;
    double              timeout;
    uint64_t            seed;
    uint64_t            accept;         /* stop some time after so many 2xx */
    double              after;
    unsigned            lines_min;
    unsigned            lines_max;
    unsigned            quantity_max;
    unsigned            zipf:1;
    unsigned            retry:1;
    const char         *currency;
    const char         *prefix;
    const char         *path;
    const char         *sku;
    load_buf_t          headers;        /* whole lines with CRLF */
    load_lines_t        paths;
    load_lines_t        skus;
    load_lines_t        script;
    load_lines_t        carts;          /* id TAB token */
    load_lines_t        orders;         /* of a log: to pay or to check */
    unsigned            check:1;
    FILE               *log;
} load_conf_t;


/* What to ask next: built by load_request_next(). */
typedef struct {
    uint64_t            index;
    char                key[LOAD_KEY_MAX];
    char                expected[LOAD_ID_MAX];  /* id of an earlier answer */
    load_buf_t          text;                   /* head and body */
} load_request_t;


typedef struct {
    int                 status;
    size_t              head;           /* bytes of the head */
    int64_t             length;         /* -1: none given */
    unsigned            chunked:1;
    unsigned            close:1;
    unsigned            replayed:1;
    unsigned            retry_after;    /* seconds */
    const char         *body;
    size_t              body_len;
} load_response_t;


typedef struct {
    uint64_t            count;
    uint64_t            max;            /* microseconds */
    uint64_t           *bucket;
} load_histogram_t;


typedef struct {
    char                code[LOAD_CODE_MAX];
    uint64_t            count;
} load_problem_t;


#define LOAD_PROBLEMS    64

typedef struct {
    uint64_t            requests;       /* answers, all and 2xx */
    uint64_t            ok;
    uint64_t            status[600];
    load_problem_t      problem[LOAD_PROBLEMS];
    unsigned            problems;
    uint64_t            bytes;
    load_histogram_t    all;
    load_histogram_t    accepted;
    load_histogram_t    refused;

    /* of the whole run, the warm-up too */
    uint64_t            acknowledged;
    uint64_t            reconnects;
    uint64_t            lost;           /* connections lost under a request */
    uint64_t            abandoned;      /* requests without a final answer */
    uint64_t            retried;
    uint64_t            replayed;
    uint64_t            confirmed;      /* repeats that gave the same id */
    uint64_t            mismatched;     /* repeats that gave another one */
    uint64_t            protocol;       /* answers that are no HTTP */
    uint64_t            last_accept;    /* time of the accept-th 2xx */
    double              seconds;
} load_stats_t;


typedef enum {
    LOAD_IDLE = 0,          /* nothing more to ask for */
    LOAD_CONNECTING,
    LOAD_RUNNING,
    LOAD_WAITING            /* for its time to try again */
} load_state_e;


typedef struct {
    int                 fd;
    load_state_e        state;
    unsigned            writable:1;     /* epoll tells when it is */
    unsigned            confirming:1;
    unsigned            tries;
    size_t              sent;
    uint64_t            started;        /* of the request's first try */
    uint64_t            due;            /* WAITING: when; else: too late */
    load_buf_t          in;
    load_request_t      request;
    char                id[LOAD_ID_MAX];
} load_conn_t;


typedef struct {
    load_conf_t         conf;
    load_stats_t        stats;
    load_conn_t        *conns;
    unsigned            active;         /* connections with a request */
    unsigned            waiting;
    int                 epoll;
    int                 stop;           /* no new requests */
    uint64_t            now;            /* microseconds */
    uint64_t            started;
    uint64_t            measured;       /* when the warm-up was over */
    uint64_t            deadline;
    struct addrinfo    *address;
} load_t;

extern load_t  load;


/* load.c */
void load_die(const char *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));
void *load_alloc(size_t size);
void load_room(load_buf_t *buf, size_t more);
void load_append(load_buf_t *buf, const char *data, size_t len);
void load_append_text(load_buf_t *buf, const char *text);

/* load_conn.c */
void load_next(load_conn_t *c);
void load_event(load_conn_t *c, uint32_t events);
void load_timer(load_conn_t *c);

/* load_options.c */
void load_read_options(load_conf_t *conf, int argc, char **argv);

/* load_request.c */
void load_read_lines(load_lines_t *lines, const char *path);
void load_request_init(load_conf_t *conf);
/* 0: there are no more requests */
int load_request_next(load_conf_t *conf, load_request_t *request);

/* load_http.c */
/* 1: whole, 0: more is to come, -1: no HTTP.  May move the body in "in". */
int load_response_parse(load_buf_t *in, int eof, load_response_t *response);
/* Text of a string member of the outermost object; its length, 0: none. */
size_t load_json_member(const char *text, size_t len, const char *name,
    char *value, size_t size);

/* load_stats.c */
void load_stats_init(load_stats_t *stats);
void load_stats_clear(load_stats_t *stats);
void load_stats_answer(load_stats_t *stats, int status, const char *code,
    uint64_t usec, size_t bytes);
void load_stats_print(load_stats_t *stats, load_conf_t *conf,
    uint64_t started);


#endif
