#ifndef FAKE_NGX_MD5_H
#define FAKE_NGX_MD5_H

#include "ngx_core.h"


/* two sums are enough to tell strings apart */
typedef struct {
    uint64_t            sum[2];
} ngx_md5_t;

void ngx_md5_init(ngx_md5_t *md5);
void ngx_md5_update(ngx_md5_t *md5, const void *data, size_t size);
void ngx_md5_final(u_char result[16], ngx_md5_t *md5);


#endif
