#include <string.h>

#include "unit_json.h"


const commerce_json_limits_t  unit_json_limits = { 65536, 8, 1000, 4096 };


int
main(void)
{
    unit_json_reader();
    unit_json_limited();
    unit_json_bind();
    unit_json_writer();

    return unit_done();
}


commerce_json_status_e
unit_json_read(unit_memory_t *memory, const char *text,
    commerce_json_t **root)
{
    const char  *error;

    *root = NULL;

    return commerce_json_read(&unit_json_limits, unit_memory_alloc, memory,
                              (const unsigned char *) text, strlen(text),
                              root, &error);
}


commerce_str_t
unit_json_text(unit_memory_t *memory, const commerce_json_t *root)
{
    commerce_str_t          text;
    commerce_json_writer_t  w;

    commerce_json_writer_init(&w, 16, unit_memory_alloc, memory);
    commerce_json_tree(&w, root);

    text.data = w.start;
    text.len = (size_t) (w.last - w.start);

    return text;
}
