/*
 * Counts and latencies, printed as one JSON object.
 */

#include <stdlib.h>
#include <string.h>

#include "load.h"


/*
 * Latency buckets: 128 linear steps for each power of two of microseconds, so
 * that a bucket is at most 1/128 wider than its value.
 */
#define LOAD_STEPS    128
#define LOAD_BUCKETS  (LOAD_STEPS * 34)


static unsigned load_bucket_of(uint64_t usec);
static double load_bucket_value(unsigned n);
static void load_print_latency(const char *name, load_histogram_t *h);


void
load_stats_init(load_stats_t *stats)
{
    memset(stats, 0, sizeof(load_stats_t));

    stats->all.bucket = load_alloc(LOAD_BUCKETS * sizeof(uint64_t));
    stats->accepted.bucket = load_alloc(LOAD_BUCKETS * sizeof(uint64_t));
    stats->refused.bucket = load_alloc(LOAD_BUCKETS * sizeof(uint64_t));

    load_stats_clear(stats);
}


/* Forgets what was measured, not what was acknowledged. */

void
load_stats_clear(load_stats_t *stats)
{
    unsigned           i;
    load_histogram_t  *h[3];

    h[0] = &stats->all;
    h[1] = &stats->accepted;
    h[2] = &stats->refused;

    for (i = 0; i < 3; i++) {
        memset(h[i]->bucket, 0, LOAD_BUCKETS * sizeof(uint64_t));
        h[i]->count = 0;
        h[i]->max = 0;
    }

    memset(stats->status, 0, sizeof(stats->status));
    stats->requests = 0;
    stats->ok = 0;
    stats->problems = 0;
    stats->bytes = 0;
}


static unsigned
load_bucket_of(uint64_t usec)
{
    unsigned  shift;

    if (usec < LOAD_STEPS) {
        return (unsigned) usec;
    }

    /* usec >> shift lies in LOAD_STEPS .. 2 * LOAD_STEPS - 1 */
    shift = 63 - (unsigned) __builtin_clzll(usec) - 7;

    if (shift > 32) {
        return LOAD_BUCKETS - 1;
    }

    return (shift + 1) * LOAD_STEPS + (unsigned) (usec >> shift) - LOAD_STEPS;
}


/* The middle of a bucket, in microseconds. */

static double
load_bucket_value(unsigned n)
{
    unsigned  shift;

    if (n < LOAD_STEPS) {
        return n;
    }

    shift = n / LOAD_STEPS - 1;

    return ((double) (n % LOAD_STEPS + LOAD_STEPS) + 0.5)
           * (double) (1ULL << shift);
}


static void
load_histogram_add(load_histogram_t *h, uint64_t usec)
{
    h->bucket[load_bucket_of(usec)]++;
    h->count++;

    if (usec > h->max) {
        h->max = usec;
    }
}


void
load_stats_answer(load_stats_t *stats, int status, const char *code,
    uint64_t usec, size_t bytes)
{
    unsigned         i;
    load_problem_t  *problem;

    stats->requests++;
    stats->status[status]++;
    stats->bytes += bytes;

    load_histogram_add(&stats->all, usec);

    if (status >= 200 && status < 300) {
        stats->ok++;
        load_histogram_add(&stats->accepted, usec);
        return;
    }

    load_histogram_add(&stats->refused, usec);

    if (*code == '\0') {
        return;
    }

    for (i = 0; i < stats->problems; i++) {
        if (strcmp(stats->problem[i].code, code) == 0) {
            stats->problem[i].count++;
            return;
        }
    }

    if (i == LOAD_PROBLEMS) {
        return;
    }

    problem = &stats->problem[stats->problems++];
    problem->count = 1;
    memcpy(problem->code, code, LOAD_CODE_MAX);
}


static double
load_percentile(load_histogram_t *h, double part)
{
    double    value;
    unsigned  i;
    uint64_t  rank, seen;

    if (h->count == 0) {
        return 0;
    }

    rank = (uint64_t) (part * (double) h->count + 0.5);
    rank = (rank == 0) ? 1 : rank;

    seen = 0;

    for (i = 0; i < LOAD_BUCKETS - 1; i++) {
        seen += h->bucket[i];

        if (seen >= rank) {
            break;
        }
    }

    value = load_bucket_value(i);

    return ((value < (double) h->max) ? value : (double) h->max) / 1000.0;
}


static void
load_print_latency(const char *name, load_histogram_t *h)
{
    printf(" \"%s\": {\"count\": %llu, \"p50\": %.3f, \"p90\": %.3f,"
           " \"p99\": %.3f, \"p99.9\": %.3f, \"max\": %.3f},\n", name,
           (unsigned long long) h->count, load_percentile(h, 0.5),
           load_percentile(h, 0.9), load_percentile(h, 0.99),
           load_percentile(h, 0.999), (double) h->max / 1000.0);
}


static void
load_print_count(const char *name, uint64_t count)
{
    printf(" \"%s\": %llu,\n", name, (unsigned long long) count);
}


void
load_stats_print(load_stats_t *stats, load_conf_t *conf, uint64_t started)
{
    int          i;
    double       seconds;
    const char  *comma;

    seconds = (stats->seconds > 0) ? stats->seconds : 1e-6;

    printf("{\"connections\": %u, \"seconds\": %.6f,\n", conf->connections,
           stats->seconds);

    load_print_count("requests", stats->requests);
    load_print_count("ok", stats->ok);
    printf(" \"rate\": %.1f, \"ok_rate\": %.1f, \"bytes\": %llu,\n",
           (double) stats->requests / seconds, (double) stats->ok / seconds,
           (unsigned long long) stats->bytes);

    printf(" \"status\": {");
    comma = "";

    for (i = 0; i < 600; i++) {
        if (stats->status[i]) {
            printf("%s\"%d\": %llu", comma, i,
                   (unsigned long long) stats->status[i]);
            comma = ", ";
        }
    }

    printf("},\n \"problems\": {");
    comma = "";

    for (i = 0; i < (int) stats->problems; i++) {
        printf("%s\"%s\": %llu", comma, stats->problem[i].code,
               (unsigned long long) stats->problem[i].count);
        comma = ", ";
    }

    printf("},\n");

    load_print_latency("latency_ms", &stats->all);
    load_print_latency("ok_latency_ms", &stats->accepted);
    load_print_latency("refused_latency_ms", &stats->refused);

    load_print_count("acknowledged", stats->acknowledged);
    load_print_count("reconnects", stats->reconnects);
    load_print_count("lost", stats->lost);
    load_print_count("abandoned", stats->abandoned);
    load_print_count("retried", stats->retried);
    load_print_count("replayed", stats->replayed);
    load_print_count("confirmed", stats->confirmed);
    load_print_count("mismatched", stats->mismatched);
    load_print_count("protocol_errors", stats->protocol);

    if (stats->last_accept) {
        printf(" \"accept_seconds\": %.6f}\n",
               (double) (stats->last_accept - started) / 1e6);

    } else {
        printf(" \"accept_seconds\": null}\n");
    }
}
