/*
 * The requests of each mode.  A request is a function of the seed and its
 * number, so that it can be sent again later from nothing but its key.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "load.h"


#define LOAD_ORDER_LINES  16
#define LOAD_CART_SKUS    10        /* that its buyer thinks of */


static void load_order(load_conf_t *conf, load_request_t *request);
static uint64_t load_next_index(load_conf_t *conf);


static uint64_t  load_sent;             /* requests built so far */
static double   *load_zipf;             /* cumulative weights of the paths */
static uint64_t  load_get_state;


static uint64_t
load_random(uint64_t *state)
{
    uint64_t  z;

    z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;

    return z ^ (z >> 31);
}


static uint64_t
load_below(uint64_t *state, uint64_t n)
{
    return (uint64_t) (((unsigned __int128) load_random(state) * n) >> 64);
}


void
load_read_lines(load_lines_t *lines, const char *path)
{
    char         *p, *end, *eol;
    FILE         *file;
    size_t        n, size;
    struct stat   st;

    file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &st) != 0) {
        load_die("cannot open %s: %s", path, strerror(errno));
    }

    size = S_ISREG(st.st_mode) ? (size_t) st.st_size : 0;
    lines->text = load_alloc(size + 1);

    if (fread(lines->text, 1, size, file) != size) {
        load_die("cannot read %s", path);
    }

    fclose(file);
    lines->text[size] = '\0';
    end = lines->text + size;

    n = 0;

    for (p = lines->text; p < end; p++) {
        n += (*p == '\n');
    }

    lines->line = load_alloc((n + 1) * sizeof(char *));
    lines->n = 0;

    for (p = lines->text; p < end; p = eol + 1) {
        eol = memchr(p, '\n', (size_t) (end - p));
        eol = (eol == NULL) ? end : eol;
        *eol = '\0';

        if (eol > p) {
            lines->line[lines->n++] = p;
        }
    }

    if (lines->n == 0) {
        load_die("%s is empty", path);
    }
}


void
load_request_init(load_conf_t *conf)
{
    double  sum;
    size_t  i;

    load_get_state = conf->seed;

    if (!conf->zipf || conf->mode != LOAD_GET) {
        return;
    }

    load_zipf = load_alloc(conf->paths.n * sizeof(double));
    sum = 0;

    for (i = 0; i < conf->paths.n; i++) {
        sum += 1.0 / (double) (i + 1);
        load_zipf[i] = sum;
    }
}


static size_t
load_pick_path(load_conf_t *conf)
{
    double  x;
    size_t  low, high, middle;

    if (load_zipf == NULL) {
        return load_below(&load_get_state, conf->paths.n);
    }

    x = (double) (load_random(&load_get_state) >> 11) / 9007199254740992.0
        * load_zipf[conf->paths.n - 1];

    low = 0;
    high = conf->paths.n - 1;

    while (low < high) {
        middle = (low + high) / 2;

        if (load_zipf[middle] > x) {
            high = middle;

        } else {
            low = middle + 1;
        }
    }

    return low;
}


static void
load_head(load_conf_t *conf, load_buf_t *text, const char *method,
    const char *path)
{
    text->len = 0;
    load_append_text(text, method);
    load_append_text(text, path);
    load_append_text(text, " HTTP/1.1\r\nHost: ");
    load_append_text(text, conf->host);
    load_append_text(text, "\r\n");

    if (conf->headers.len) {
        load_append(text, conf->headers.data, conf->headers.len);
    }
}


static void
load_body(load_request_t *request, const char *body, size_t len)
{
    int   n;
    char  head[LOAD_KEY_MAX + 128];

    n = snprintf(head, sizeof(head), "Content-Type: application/json\r\n"
                 "%s%s%sContent-Length: %zu\r\n\r\n",
                 request->key[0] ? "Idempotency-Key: " : "", request->key,
                 request->key[0] ? "\r\n" : "", len);

    load_append(&request->text, head, (size_t) n);
    load_append(&request->text, body, len);
}


/* Copies the text before a tab, or the end; returns what follows it. */

static const char *
load_field(const char *from, char *to, size_t size)
{
    size_t  n;

    n = strcspn(from, "\t");

    if (n >= size) {
        load_die("a field is too long: %s", from);
    }

    memcpy(to, from, n);
    to[n] = '\0';

    return (from[n] == '\t') ? from + n + 1 : from + n;
}


/* One more order of the seed, or those of a log once more. */

static uint64_t
load_next_index(load_conf_t *conf)
{
    size_t  n;

    if (!conf->check) {
        return load_sent;
    }

    n = load_sent;

    /* a sample is spread over the whole log */
    if (conf->requests && conf->requests < conf->orders.n) {
        n = (size_t) ((double) n * (double) conf->orders.n
                      / (double) conf->requests);
    }

    return (n < conf->orders.n) ? n : UINT64_MAX;
}


static void
load_order(load_conf_t *conf, load_request_t *request)
{
    int        len;
    char       body[LOAD_ORDER_LINES * 192 + 64];
    size_t     n, i, j, lines, pick[LOAD_ORDER_LINES];
    uint64_t   state;

    state = conf->seed + request->index * 0xd1342543de82ef95ULL;

    lines = 1;

    if (conf->mode == LOAD_ORDER) {
        lines = conf->lines_min
                + load_below(&state, conf->lines_max - conf->lines_min + 1);
    }

    n = (size_t) snprintf(body, sizeof(body),
                          "{\"currency\":\"%s\",\"lines\":[", conf->currency);

    for (i = 0; i < lines; i++) {

        do {
            pick[i] = load_below(&state, conf->skus.n);

            for (j = 0; j < i && pick[j] != pick[i]; j++) { /* void */ }

        } while (j < i);

        len = snprintf(body + n, sizeof(body) - n,
                       "%s{\"sku\":\"%s\",\"quantity\":%u}",
                       i ? "," : "", conf->skus.line[pick[i]],
                       1 + (unsigned) load_below(&state, conf->quantity_max));

        if (len < 0 || (size_t) len >= sizeof(body) - n - 2) {
            load_die("a sku is too long");
        }

        n += (size_t) len;
    }

    memcpy(body + n, "]}", 2);

    load_head(conf, &request->text, "POST ", conf->path);
    load_body(request, body, n + 2);
}


static void
load_pay(load_conf_t *conf, load_request_t *request, const char *line)
{
    char               path[LOAD_ID_MAX + 32], id[LOAD_ID_MAX];
    char               key[LOAD_KEY_MAX], token[LOAD_TOKEN_MAX];
    static const char  body[] = "{\"provider\":\"test\","
                                "\"outcome\":\"succeed\"}";

    line = load_field(line, key, sizeof(key));
    line = load_field(line, id, sizeof(id));
    (void) load_field(line, token, sizeof(token));

    snprintf(path, sizeof(path), "/v1/orders/%s/payments", id);
    snprintf(request->key, sizeof(request->key), "pay-%s", id);

    load_head(conf, &request->text, "POST ", path);

    if (token[0]) {
        load_append_text(&request->text, "X-Order-Token: ");
        load_append_text(&request->text, token);
        load_append_text(&request->text, "\r\n");
    }

    load_body(request, body, sizeof(body) - 1);
}


static void
load_cart(load_conf_t *conf, load_request_t *request)
{
    int          len;
    char         path[LOAD_ID_MAX + 32], id[LOAD_ID_MAX];
    char         token[LOAD_TOKEN_MAX], body[192];
    size_t       cart, sku;
    uint64_t     state;
    const char  *line;

    state = conf->seed + request->index * 0xd1342543de82ef95ULL;

    cart = load_below(&state, conf->carts.n);
    sku = (cart * LOAD_CART_SKUS + load_below(&state, LOAD_CART_SKUS))
          % conf->skus.n;

    line = load_field(conf->carts.line[cart], id, sizeof(id));
    (void) load_field(line, token, sizeof(token));

    snprintf(path, sizeof(path), "/v1/carts/%s/lines", id);
    len = snprintf(body, sizeof(body), "{\"sku\":\"%s\",\"quantity\":1}",
                   conf->skus.line[sku]);

    if (len < 0 || (size_t) len >= sizeof(body)) {
        load_die("a sku is too long");
    }

    load_head(conf, &request->text, "POST ", path);
    load_append_text(&request->text, "X-Cart-Token: ");
    load_append_text(&request->text, token);
    load_append_text(&request->text, "\r\n");
    load_body(request, body, (size_t) len);
}


static void
load_checkout(load_conf_t *conf, load_request_t *request, const char *line)
{
    char  path[LOAD_ID_MAX + 32], id[LOAD_ID_MAX], token[LOAD_TOKEN_MAX];

    line = load_field(line, id, sizeof(id));
    (void) load_field(line, token, sizeof(token));

    snprintf(path, sizeof(path), "/v1/carts/%s/checkout", id);
    snprintf(request->key, sizeof(request->key), "checkout-%s", id);

    load_head(conf, &request->text, "POST ", path);
    load_append_text(&request->text, "X-Cart-Token: ");
    load_append_text(&request->text, token);
    load_append_text(&request->text, "\r\n");
    load_body(request, "{}", sizeof("{}") - 1);
}


/* The number at the end of a key that load_request_next() made. */

static uint64_t
load_index_of(const char *key)
{
    const char  *dash;

    dash = strrchr(key, '-');

    return (dash == NULL) ? 0 : strtoull(dash + 1, NULL, 10);
}


int
load_request_next(load_conf_t *conf, load_request_t *request)
{
    uint64_t     n;
    const char  *body;

    if (conf->requests && load_sent >= conf->requests) {
        return 0;
    }

    request->index = load_sent;
    request->key[0] = '\0';
    request->expected[0] = '\0';

    switch (conf->mode) {

    case LOAD_GET:
        load_head(conf, &request->text, "GET ",
                  conf->paths.line[load_pick_path(conf)]);
        load_append_text(&request->text, "\r\n");
        break;

    case LOAD_ORDER:
    case LOAD_HOT:
        n = load_next_index(conf);
        if (n == UINT64_MAX) {
            return 0;
        }

        if (conf->check) {
            body = load_field(conf->orders.line[n], request->key,
                              sizeof(request->key));
            (void) load_field(body, request->expected,
                              sizeof(request->expected));
            request->index = load_index_of(request->key);

        } else {
            snprintf(request->key, sizeof(request->key), "%s-%012llu",
                     conf->prefix, (unsigned long long) n);
        }

        load_order(conf, request);
        break;

    case LOAD_PAY:
        if (load_sent >= conf->orders.n) {
            return 0;
        }

        load_pay(conf, request, conf->orders.line[load_sent]);
        break;

    case LOAD_CART:
        load_cart(conf, request);
        break;

    case LOAD_CHECKOUT:
        if (load_sent >= conf->carts.n) {
            return 0;
        }

        load_checkout(conf, request, conf->carts.line[load_sent]);
        break;

    case LOAD_SCRIPT:
        if (load_sent >= conf->script.n) {
            return 0;
        }

        body = load_field(conf->script.line[load_sent], request->key,
                          sizeof(request->key));
        load_head(conf, &request->text, "POST ", conf->path);
        load_body(request, body, strlen(body));
        break;
    }

    load_sent++;

    return 1;
}
