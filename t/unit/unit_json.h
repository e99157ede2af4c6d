/* The parts of the JSON unit tests, and what they share. */

#ifndef UNIT_JSON_H
#define UNIT_JSON_H

#include "commerce_json_reader.h"
#include "commerce_json_writer.h"
#include "unit.h"


void unit_json_reader(void);
void unit_json_limited(void);
void unit_json_bind(void);
void unit_json_writer(void);

extern const commerce_json_limits_t  unit_json_limits;

commerce_json_status_e unit_json_read(unit_memory_t *memory, const char *text,
    commerce_json_t **root);

/* The whole tree as text, without a terminating zero. */
commerce_str_t unit_json_text(unit_memory_t *memory,
    const commerce_json_t *root);


#endif
