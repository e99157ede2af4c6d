/*
 * The command line.
 */

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "load.h"


#define LOAD_CONN_MAX    4096


static double load_number(const char *text, double min, double max);
static load_mode_e load_mode(const char *name);
static void load_option(load_conf_t *conf, int option, const char *value);
static void load_check_options(load_conf_t *conf);


enum {
    LOAD_OPT_MODE = 256, LOAD_OPT_PATHS, LOAD_OPT_ZIPF, LOAD_OPT_SKUS,
    LOAD_OPT_SKU, LOAD_OPT_LINES, LOAD_OPT_QUANTITY, LOAD_OPT_CURRENCY,
    LOAD_OPT_ORDERS, LOAD_OPT_SCRIPT, LOAD_OPT_PATH, LOAD_OPT_LOG,
    LOAD_OPT_CHECK, LOAD_OPT_RETRY, LOAD_OPT_SEED, LOAD_OPT_PREFIX,
    LOAD_OPT_WARMUP, LOAD_OPT_TIMEOUT, LOAD_OPT_ACCEPT, LOAD_OPT_AFTER,
    LOAD_OPT_HEADER, LOAD_OPT_CARTS
};


static const struct option  load_options[] = {
    { "mode", required_argument, NULL, LOAD_OPT_MODE },
    { "connections", required_argument, NULL, 'c' },
    { "requests", required_argument, NULL, 'n' },
    { "seconds", required_argument, NULL, 't' },
    { "paths", required_argument, NULL, LOAD_OPT_PATHS },
    { "zipf", no_argument, NULL, LOAD_OPT_ZIPF },
    { "skus", required_argument, NULL, LOAD_OPT_SKUS },
    { "sku", required_argument, NULL, LOAD_OPT_SKU },
    { "lines", required_argument, NULL, LOAD_OPT_LINES },
    { "quantity", required_argument, NULL, LOAD_OPT_QUANTITY },
    { "currency", required_argument, NULL, LOAD_OPT_CURRENCY },
    { "orders", required_argument, NULL, LOAD_OPT_ORDERS },
    { "script", required_argument, NULL, LOAD_OPT_SCRIPT },
    { "path", required_argument, NULL, LOAD_OPT_PATH },
    { "log", required_argument, NULL, LOAD_OPT_LOG },
    { "check", required_argument, NULL, LOAD_OPT_CHECK },
    { "retry", no_argument, NULL, LOAD_OPT_RETRY },
    { "seed", required_argument, NULL, LOAD_OPT_SEED },
    { "prefix", required_argument, NULL, LOAD_OPT_PREFIX },
    { "warmup", required_argument, NULL, LOAD_OPT_WARMUP },
    { "timeout", required_argument, NULL, LOAD_OPT_TIMEOUT },
    { "accept", required_argument, NULL, LOAD_OPT_ACCEPT },
    { "after", required_argument, NULL, LOAD_OPT_AFTER },
    { "header", required_argument, NULL, LOAD_OPT_HEADER },
    { "carts", required_argument, NULL, LOAD_OPT_CARTS },
    { NULL, 0, NULL, 0 }
};


static double
load_number(const char *text, double min, double max)
{
    char    *end;
    double   value;

    value = strtod(text, &end);

    if (end == text || *end != '\0' || value < min || value > max) {
        load_die("wrong number \"%s\"", text);
    }

    return value;
}


static load_mode_e
load_mode(const char *name)
{
    unsigned            i;
    static const char  *names[] = { "get", "order", "hot", "pay", "script",
                                    "cart", "checkout" };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            return (load_mode_e) i;
        }
    }

    load_die("unknown mode \"%s\"", name);
}


static void
load_option(load_conf_t *conf, int option, const char *value)
{
    char  *end;

    switch (option) {

    case 'c':
        conf->connections = (unsigned) load_number(value, 1, LOAD_CONN_MAX);
        break;

    case 'n':
        conf->requests = (uint64_t) load_number(value, 1, 1e15);
        break;

    case 't':
        conf->seconds = load_number(value, 0.001, 1e6);
        break;

    case LOAD_OPT_MODE:
        conf->mode = load_mode(value);
        break;

    case LOAD_OPT_PATHS:
        load_read_lines(&conf->paths, value);
        break;

    case LOAD_OPT_ZIPF:
        conf->zipf = 1;
        break;

    case LOAD_OPT_SKUS:
        load_read_lines(&conf->skus, value);
        break;

    case LOAD_OPT_SKU:
        conf->sku = value;
        break;

    case LOAD_OPT_LINES:
        conf->lines_min = (unsigned) strtoul(value, &end, 10);
        conf->lines_max = (*end == '-') ? (unsigned) strtoul(end + 1, &end, 10)
                                        : conf->lines_min;

        if (*end != '\0' || conf->lines_min == 0 || conf->lines_max > 16
            || conf->lines_min > conf->lines_max)
        {
            load_die("wrong lines \"%s\"", value);
        }
        break;

    case LOAD_OPT_QUANTITY:
        conf->quantity_max = (unsigned) load_number(value, 1, 1e6);
        break;

    case LOAD_OPT_CURRENCY:
        conf->currency = value;
        break;

    case LOAD_OPT_CHECK:
        conf->check = 1;
        /* fall through */

    case LOAD_OPT_ORDERS:
        load_read_lines(&conf->orders, value);
        break;

    case LOAD_OPT_SCRIPT:
        load_read_lines(&conf->script, value);
        break;

    case LOAD_OPT_CARTS:
        load_read_lines(&conf->carts, value);
        break;

    case LOAD_OPT_PATH:
        conf->path = value;
        break;

    case LOAD_OPT_LOG:
        conf->log = fopen(value, "w");
        if (conf->log == NULL) {
            load_die("cannot write %s: %s", value, strerror(errno));
        }
        break;

    case LOAD_OPT_RETRY:
        conf->retry = 1;
        break;

    case LOAD_OPT_SEED:
        conf->seed = strtoull(value, NULL, 10);
        break;

    case LOAD_OPT_PREFIX:
        conf->prefix = value;
        break;

    case LOAD_OPT_WARMUP:
        conf->warmup = load_number(value, 0, 1e6);
        break;

    case LOAD_OPT_TIMEOUT:
        conf->timeout = load_number(value, 0.1, 1e6);
        break;

    case LOAD_OPT_ACCEPT:
        conf->accept = (uint64_t) load_number(value, 1, 1e15);
        break;

    case LOAD_OPT_AFTER:
        conf->after = load_number(value, 0, 1e6);
        break;

    case LOAD_OPT_HEADER:
        load_append_text(&conf->headers, value);
        load_append_text(&conf->headers, "\r\n");
        break;

    default:
        exit(2);
    }
}


static void
load_check_options(load_conf_t *conf)
{
    static char  prefix[40];

    if (conf->prefix == NULL) {
        snprintf(prefix, sizeof(prefix), "load-%llx-%x",
                 (unsigned long long) time(NULL), (unsigned) getpid());
        conf->prefix = prefix;
    }

    if (strlen(conf->prefix) > LOAD_KEY_MAX - 24) {
        load_die("the prefix is too long");
    }

    if (conf->mode == LOAD_HOT && conf->sku) {
        conf->skus.line = load_alloc(sizeof(char *));
        conf->skus.line[0] = strdup(conf->sku);
        conf->skus.n = 1;
    }

    if ((conf->mode == LOAD_GET && conf->paths.n == 0)
        || ((conf->mode == LOAD_ORDER || conf->mode == LOAD_HOT
             || conf->mode == LOAD_CART)
            && conf->skus.n == 0)
        || (conf->mode >= LOAD_CART && conf->carts.n == 0)
        || (conf->mode == LOAD_PAY && conf->orders.n == 0)
        || (conf->mode == LOAD_SCRIPT && conf->script.n == 0))
    {
        load_die("this mode needs a file: --paths, --skus, --sku, --orders,"
                 " --script or --carts");
    }

    if (conf->mode == LOAD_ORDER && conf->skus.n < conf->lines_max) {
        load_die("there are fewer SKUs than lines");
    }

    if (conf->requests == 0 && conf->seconds == 0 && !conf->check
        && conf->mode != LOAD_PAY && conf->mode != LOAD_SCRIPT)
    {
        load_die("-n or -t is needed");
    }
}


void
load_read_options(load_conf_t *conf, int argc, char **argv)
{
    int    option;
    char  *colon;

    conf->connections = 64;
    conf->timeout = 30;
    conf->lines_min = 1;
    conf->lines_max = 3;
    conf->quantity_max = 1;
    conf->currency = "USD";
    conf->path = "/v1/orders";
    conf->seed = 1;

    while ((option = getopt_long(argc, argv, "c:n:t:", load_options, NULL))
           != -1)
    {
        load_option(conf, option, optarg);
    }

    if (optind != argc - 1 || (colon = strrchr(argv[optind], ':')) == NULL) {
        load_die("usage: load [options] --mode MODE HOST:PORT");
    }

    *colon = '\0';
    conf->host = argv[optind];
    conf->port = colon + 1;

    load_check_options(conf);
}
