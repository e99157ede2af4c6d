/*
 * TAP for plain C, and memory whose every block is malloc'ed on its own, so
 * that the address sanitizer sees a byte too far.
 */

#ifndef UNIT_H
#define UNIT_H

#include <stddef.h>
#include <stdint.h>


#define UNIT_BLOCKS  4096


typedef struct {
    void    *blocks[UNIT_BLOCKS];
    size_t   n;
    size_t   bytes;
    size_t   allowed;       /* allocations until the first failure */
} unit_memory_t;


void unit_ok(int good, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void unit_integer(int64_t got, int64_t wanted, const char *name);
void unit_text(const void *got, size_t len, const char *wanted,
    const char *name);
int unit_done(void);

/* Deterministic: the same numbers in every run. */
uint64_t unit_random(void);

void unit_memory_init(unit_memory_t *memory);
void *unit_memory_alloc(void *data, size_t size);
void unit_memory_free(unit_memory_t *memory);


#endif
