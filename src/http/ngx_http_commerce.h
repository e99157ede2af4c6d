/*
 * Inside of http/: what its files share.
 *
 * The way of a request: ngx_http_commerce_request.c takes it from nginx, the
 * router finds its route, a guard of trade/ decides who may go on, the body is
 * read and parsed, a handler of trade/ answers, and
 * ngx_http_commerce_response.c writes that answer.
 */

#ifndef NGX_HTTP_COMMERCE_H
#define NGX_HTTP_COMMERCE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_commerce_trade.h"


/* What a location serves. */
typedef enum {
    NGX_HTTP_COMMERCE_NONE = 0,
    NGX_HTTP_COMMERCE_STOREFRONT,
    NGX_HTTP_COMMERCE_ADMIN,
    NGX_HTTP_COMMERCE_METRICS,
    NGX_HTTP_COMMERCE_LIVE,
    NGX_HTTP_COMMERCE_READY,
    NGX_HTTP_COMMERCE_DRAIN
} ngx_http_commerce_role_e;


typedef struct {
    ngx_commerce_conf_t         commerce;
    ngx_uint_t                  roles;      /* bits: 1 << role in use */
    ngx_int_t                   request_id; /* index of $request_id */
} ngx_http_commerce_main_conf_t;


typedef struct {
    ngx_uint_t                  role;
} ngx_http_commerce_loc_conf_t;


typedef enum {
    NGX_HTTP_COMMERCE_NUMBER = 0,
    NGX_HTTP_COMMERCE_MSEC,
    NGX_HTTP_COMMERCE_SEC
} ngx_http_commerce_unit_e;


/* msec and sec: bounds in that unit */
typedef struct {
    ngx_http_commerce_unit_e    unit;
    ngx_int_t                   low;
    ngx_int_t                   high;
} ngx_http_commerce_bounds_t;


#define NGX_HTTP_COMMERCE_ID        0x01    /* {id} between prefix and suffix */
#define NGX_HTTP_COMMERCE_BODY      0x02    /* JSON */
#define NGX_HTTP_COMMERCE_OPTIONAL  0x04    /* the body may be empty */
#define NGX_HTTP_COMMERCE_NDJSON    0x08    /* rows: the import */
#define NGX_HTTP_COMMERCE_SUB       0x10    /* {sub} after the suffix */
#define NGX_HTTP_COMMERCE_RAW       0x20    /* bytes: the handler parses them */


typedef struct {
    ngx_uint_t                  method;
    ngx_http_commerce_role_e    role;
    ngx_str_t                   prefix;
    ngx_str_t                   suffix;
    ngx_uint_t                  flags;
    ngx_commerce_operation_e    operation;
    ngx_str_t                   scope;
    ngx_commerce_handler_pt     guard;
    ngx_commerce_handler_pt     handler;
} ngx_http_commerce_route_t;


/* ngx_http_commerce_routes.c; the last has no prefix */
extern const ngx_http_commerce_route_t  ngx_http_commerce_routes[];


typedef enum {
    NGX_HTTP_COMMERCE_ROUTE = 0,
    NGX_HTTP_COMMERCE_GUARD,
    NGX_HTTP_COMMERCE_OPEN_BODY,
    NGX_HTTP_COMMERCE_READ_BODY,
    NGX_HTTP_COMMERCE_HANDLE,
    NGX_HTTP_COMMERCE_WAIT                  /* trade/ or the import has it */
} ngx_http_commerce_step_e;


typedef struct ngx_http_commerce_import_s  ngx_http_commerce_import_t;


/* Of a request; lives in r->pool. */
typedef struct {
    ngx_commerce_call_t              *call; /* NULL: left to trade/ */
    const ngx_http_commerce_route_t  *route;
    ngx_http_commerce_import_t       *import;
    ngx_http_commerce_step_e          step;
    ngx_str_t                         request_id;
    ngx_str_t                         allow;    /* methods, for 405 */
    size_t                            body_size;    /* room in call->body */
    ngx_buf_t                        *window;   /* of a body in a file */
    ngx_str_t                         error;    /* of nginx's, as a problem */

    /* what variables and the log phase need when the call is gone */
    ngx_commerce_operation_e          operation;
    commerce_problem_e                problem;
    commerce_uuid_t                   order_id;
    uint64_t                          db_usec;

    unsigned                          running:1;    /* inside advance() */
    unsigned                          held:1;       /* has a count of r's */
    unsigned                          in_trade:1;   /* it will call back */
    unsigned                          proceeded:1;
    unsigned                          body_open:1;
    unsigned                          answered:1;
    unsigned                          left:1;       /* request went first */
    unsigned                          replayed:1;
    unsigned                          has_order_id:1;
} ngx_http_commerce_ctx_t;


extern ngx_module_t           ngx_http_commerce_module;

/* This worker's engine; NULL: it could not be started. */
extern ngx_commerce_trade_t  *ngx_http_commerce_trade;


/* ngx_http_commerce_conf.c: the "set" of directives */

char *ngx_http_commerce_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_commerce_database(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_commerce_password_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_commerce_token_key_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_commerce_queue(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_commerce_provider(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* One number or time; cmd->post has its bounds. */
char *ngx_http_commerce_set_value(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* What a location serves; cmd->post has the words, or cmd->offset the role. */
char *ngx_http_commerce_location(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* ngx_http_commerce_request.c */

ngx_int_t ngx_http_commerce_handler(ngx_http_request_t *r);

/* From an event: goes on with the request, which may be gone afterwards. */
void ngx_http_commerce_resume(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx);

/* Counts the outcome of a call whose request is gone, and frees it. */
void ngx_http_commerce_call_end(ngx_commerce_call_t *call);

/* Copies into the ctx what outlives the call. */
void ngx_http_commerce_note(ngx_http_commerce_ctx_t *ctx,
    ngx_commerce_call_t *call);

ngx_str_t ngx_http_commerce_request_id(ngx_http_request_t *r);


/* ngx_http_commerce_body.c: two steps of ngx_http_commerce_advance() */

ngx_int_t ngx_http_commerce_open_body(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx);
ngx_int_t ngx_http_commerce_read_body(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx);
void ngx_http_commerce_body_handler(ngx_http_request_t *r);

/*
 * The next bytes of the body that are in memory: NGX_OK with *piece,
 * NGX_DONE: all that has arrived was used, NGX_ERROR.
 */
ngx_int_t ngx_http_commerce_body_piece(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx, ngx_str_t *piece);
void ngx_http_commerce_body_used(ngx_http_request_t *r, size_t n);


/* ngx_http_commerce_router.c */

/* Sets ctx->route and call->id, or refuses the call. */
void ngx_http_commerce_route(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx, ngx_uint_t role);


/* ngx_http_commerce_response.c */

ngx_int_t ngx_http_commerce_send(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx);
ngx_int_t ngx_http_commerce_send_text(ngx_http_request_t *r,
    ngx_uint_t status, const char *type, ngx_str_t *body);

/* Value: a zero-ended constant, or bytes that live as long as r. */
ngx_int_t ngx_http_commerce_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value);
ngx_int_t ngx_http_commerce_header_text(ngx_http_request_t *r,
    const char *name, const char *value);


/* ngx_http_commerce_filter.c */

void ngx_http_commerce_filter_install(void);

/* The code that stands for a status that nginx chose. */
commerce_problem_e ngx_http_commerce_status_problem(ngx_uint_t status);


/* ngx_http_commerce_import.c */

/* NGX_AGAIN: it runs and will finalize r; NGX_OK: the call is refused. */
ngx_int_t ngx_http_commerce_import_begin(ngx_http_request_t *r,
    ngx_http_commerce_ctx_t *ctx);

/* The request goes before the import has ended. */
void ngx_http_commerce_import_abandon(ngx_http_commerce_ctx_t *ctx);


/* ngx_http_commerce_metrics.c */

ngx_int_t ngx_http_commerce_metrics_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_commerce_health_handler(ngx_http_request_t *r);


/* ngx_http_commerce_variables.c */

extern const char *const  ngx_http_commerce_operations[NGX_COMMERCE_OPS];

ngx_int_t ngx_http_commerce_add_variables(ngx_conf_t *cf);
ngx_int_t ngx_http_commerce_log_handler(ngx_http_request_t *r);


#endif
