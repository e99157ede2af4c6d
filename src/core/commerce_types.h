/*
 * Plain C types that every room shares.  No nginx header here: core/ and
 * json/ are unit-tested and fuzzed as plain C.
 */

#ifndef COMMERCE_TYPES_H
#define COMMERCE_TYPES_H

#include <stddef.h>
#include <stdint.h>


/* Same members in the same order as ngx_str_t. */
typedef struct {
    size_t          len;
    unsigned char  *data;
} commerce_str_t;


typedef struct {
    unsigned char   bytes[16];
} commerce_uuid_t;


#define COMMERCE_OK        0
#define COMMERCE_ERROR    -1


/* sizes in bytes, without a terminating zero */
#define COMMERCE_UUID_TEXT      36
#define COMMERCE_CURRENCY_LEN   3
#define COMMERCE_SKU_MAX        64
#define COMMERCE_TITLE_MAX      255

/* prices of a variant: currencies, tiers of one, and amounts of all together */
#define COMMERCE_PRICES_MAX     16
#define COMMERCE_TIERS_MAX      8
#define COMMERCE_AMOUNTS_MAX    32

/* units of a line */
#define COMMERCE_QUANTITY_MAX   1000000000

#define COMMERCE_LINES_LIMIT    5000


#endif
