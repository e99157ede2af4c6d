/*
 * Inside of the import: ngx_http_commerce_import.c cuts and gives rows,
 * ngx_http_commerce_import_send.c sends their answers.
 */

#ifndef NGX_HTTP_COMMERCE_IMPORT_H
#define NGX_HTTP_COMMERCE_IMPORT_H

#include "ngx_http_commerce.h"


struct ngx_http_commerce_import_s {
    ngx_commerce_import_t     import;
    ngx_http_commerce_ctx_t  *ctx;      /* with the request */
    ngx_event_t               event;

    u_char                   *row;
    size_t                    len;
    size_t                    size;

    ngx_chain_t              *out;
    ngx_chain_t             **last_out;
    ngx_chain_t              *free;
    ngx_chain_t              *busy;

    unsigned                  whole:1;      /* the row waits to be taken */
    unsigned                  too_long:1;
    unsigned                  blocked:1;    /* trade/ has no room */
    unsigned                  writing:1;    /* the client does not read */
    unsigned                  over:1;       /* no more rows */
    unsigned                  ended:1;      /* every row is answered */
    unsigned                  header:1;
};


/* ngx_http_commerce_import.c: the client takes its answers again. */
void ngx_http_commerce_import_write(ngx_http_request_t *r);


/* ngx_http_commerce_import_send.c */

/* NGX_AGAIN: more will come; NGX_OK: all is handed over; NGX_ERROR. */
ngx_int_t ngx_http_commerce_import_flush(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp);

/* A buffer that waits to be sent and has room for "len" bytes. */
ngx_buf_t *ngx_http_commerce_import_buf(ngx_http_request_t *r,
    ngx_http_commerce_import_t *imp, size_t len);


#endif
