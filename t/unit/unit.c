#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"


static unsigned  unit_tests;
static unsigned  unit_failures;
static uint64_t  unit_state = 88172645463325252u;


void
unit_ok(int good, const char *format, ...)
{
    va_list  args;

    unit_tests++;

    if (!good) {
        unit_failures++;
    }

    printf("%sok %u - ", good ? "" : "not ", unit_tests);

    va_start(args, format);
    vprintf(format, args);
    va_end(args);

    printf("\n");
    fflush(stdout);
}


void
unit_integer(int64_t got, int64_t wanted, const char *name)
{
    unit_ok(got == wanted, "%s", name);

    if (got != wanted) {
        printf("# got %" PRId64 ", wanted %" PRId64 "\n", got, wanted);
    }
}


void
unit_text(const void *got, size_t len, const char *wanted, const char *name)
{
    int  good;

    good = len == strlen(wanted) && (len == 0 || !memcmp(got, wanted, len));

    unit_ok(good, "%s", name);

    if (!good) {
        printf("# got \"%.*s\"\n# wanted \"%s\"\n", (int) len,
               len ? (const char *) got : "", wanted);
    }
}


int
unit_done(void)
{
    printf("1..%u\n", unit_tests);

    return unit_failures ? 1 : 0;
}


uint64_t
unit_random(void)
{
    unit_state ^= unit_state << 13;
    unit_state ^= unit_state >> 7;
    unit_state ^= unit_state << 17;

    return unit_state;
}


void
unit_memory_init(unit_memory_t *memory)
{
    memory->n = 0;
    memory->bytes = 0;
    memory->allowed = SIZE_MAX;
}


void *
unit_memory_alloc(void *data, size_t size)
{
    void           *block;
    unit_memory_t  *memory;

    memory = data;

    if (memory->allowed == 0 || memory->n == UNIT_BLOCKS) {
        return NULL;
    }

    memory->allowed--;

    block = malloc(size);

    if (block) {
        /* not zero: nobody may count on that */
        memset(block, 0xa5, size);
        memory->blocks[memory->n++] = block;
        memory->bytes += size;
    }

    return block;
}


void
unit_memory_free(unit_memory_t *memory)
{
    while (memory->n) {
        free(memory->blocks[--memory->n]);
    }
}
