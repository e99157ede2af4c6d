/*
 * nginx-commerce: the module as nginx sees it.  A reader starts here.
 *
 * Directives fill ngx_commerce_conf_t (ngx_http_commerce_conf.c reads their
 * words); a location's directive chooses which handler serves it:
 * ngx_http_commerce_request.c for the API, ngx_http_commerce_metrics.c for
 * metrics and health.  Each worker runs one engine of trade/.
 */

#include "ngx_http_commerce.h"


static void *ngx_http_commerce_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_commerce_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_commerce_create_loc_conf(ngx_conf_t *cf);
static ngx_int_t ngx_http_commerce_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_commerce_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_commerce_init_process(ngx_cycle_t *cycle);
static void ngx_http_commerce_exit_process(ngx_cycle_t *cycle);


static ngx_conf_enum_t  ngx_http_commerce_audiences[] = {
    { ngx_string("storefront"), NGX_HTTP_COMMERCE_STOREFRONT },
    { ngx_string("admin"), NGX_HTTP_COMMERCE_ADMIN },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_commerce_probes[] = {
    { ngx_string("live"), NGX_HTTP_COMMERCE_LIVE },
    { ngx_string("ready"), NGX_HTTP_COMMERCE_READY },
    { ngx_null_string, 0 }
};


static ngx_http_commerce_bounds_t  ngx_http_commerce_connections_bounds =
    { NGX_HTTP_COMMERCE_NUMBER, 1, NGX_COMMERCE_ORDER_CONNECTIONS };
static ngx_http_commerce_bounds_t  ngx_http_commerce_reads_bounds =
    { NGX_HTTP_COMMERCE_NUMBER, 1, 64 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_depth_bounds =
    { NGX_HTTP_COMMERCE_NUMBER, 1, 64 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_batch_bounds =
    { NGX_HTTP_COMMERCE_NUMBER, 1, 1024 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_block_bounds =
    { NGX_HTTP_COMMERCE_NUMBER, 1, 1000000 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_ttl_bounds =
    { NGX_HTTP_COMMERCE_MSEC, 5 * 1000, 3600 * 1000 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_percent_bounds =
    { NGX_HTTP_COMMERCE_NUMBER, 1, 99 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_idle_bounds =
    { NGX_HTTP_COMMERCE_MSEC, 1000, 24 * 3600 * 1000 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_hold_bounds =
    { NGX_HTTP_COMMERCE_SEC, 1, 30 * 24 * 3600 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_lines_bounds =
    { NGX_HTTP_COMMERCE_NUMBER, 1, COMMERCE_LINES_LIMIT };
static ngx_http_commerce_bounds_t  ngx_http_commerce_carts_bounds =
    { NGX_HTTP_COMMERCE_NUMBER, 1, 8 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_lifetime_bounds =
    { NGX_HTTP_COMMERCE_SEC, 1, 365 * 24 * 3600 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_json_bounds =
    { NGX_HTTP_COMMERCE_NUMBER, 1, 64 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_low_stock_bounds =
    { NGX_HTTP_COMMERCE_NUMBER, 0, 1000000 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_retention_bounds =
    { NGX_HTTP_COMMERCE_SEC, 1, 365 * 24 * 3600 };
static ngx_http_commerce_bounds_t  ngx_http_commerce_timeout_bounds =
    { NGX_HTTP_COMMERCE_MSEC, 100, 600 * 1000 };


#define ngx_http_commerce_value(name, member, bounds)                         \
    { ngx_string(name),                                                       \
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,                                      \
      ngx_http_commerce_set_value,                                            \
      NGX_HTTP_MAIN_CONF_OFFSET,                                              \
      offsetof(ngx_http_commerce_main_conf_t, commerce.member),               \
      &bounds }


static ngx_command_t  ngx_http_commerce_commands[] = {

    { ngx_string("commerce"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_commerce_location,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      ngx_http_commerce_audiences },

    { ngx_string("commerce_health"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_commerce_location,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      ngx_http_commerce_probes },

    { ngx_string("commerce_metrics"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_commerce_location,
      NGX_HTTP_LOC_CONF_OFFSET,
      NGX_HTTP_COMMERCE_METRICS,
      NULL },

    { ngx_string("commerce_drain"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_commerce_location,
      NGX_HTTP_LOC_CONF_OFFSET,
      NGX_HTTP_COMMERCE_DRAIN,
      NULL },

    { ngx_string("commerce_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_commerce_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("commerce_database"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_commerce_database,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("commerce_database_password_file"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_commerce_password_file,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("commerce_token_key_file"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_commerce_token_key_file,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("commerce_queue"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_commerce_queue,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("commerce_payment_provider"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_commerce_provider,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("commerce_guest_checkout"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_commerce_main_conf_t, commerce.guest_checkout),
      NULL },

    ngx_http_commerce_value("commerce_connections", connections,
                            ngx_http_commerce_connections_bounds),

    ngx_http_commerce_value("commerce_read_connections", read_connections,
                            ngx_http_commerce_reads_bounds),

    ngx_http_commerce_value("commerce_pipeline_depth", pipeline_depth,
                            ngx_http_commerce_depth_bounds),

    ngx_http_commerce_value("commerce_batch", batch,
                            ngx_http_commerce_batch_bounds),

    ngx_http_commerce_value("commerce_lease_block", lease_block,
                            ngx_http_commerce_block_bounds),

    ngx_http_commerce_value("commerce_lease_ttl", lease_ttl,
                            ngx_http_commerce_ttl_bounds),

    ngx_http_commerce_value("commerce_lease_low_water", lease_low_water,
                            ngx_http_commerce_percent_bounds),

    ngx_http_commerce_value("commerce_lease_idle", lease_idle,
                            ngx_http_commerce_idle_bounds),

    ngx_http_commerce_value("commerce_hold_time", hold_time,
                            ngx_http_commerce_hold_bounds),

    ngx_http_commerce_value("commerce_max_lines", max_lines,
                            ngx_http_commerce_lines_bounds),

    ngx_http_commerce_value("commerce_cart_connections", cart_connections,
                            ngx_http_commerce_carts_bounds),

    ngx_http_commerce_value("commerce_cart_lifetime", cart_lifetime,
                            ngx_http_commerce_lifetime_bounds),

    ngx_http_commerce_value("commerce_json_depth", json_depth,
                            ngx_http_commerce_json_bounds),

    ngx_http_commerce_value("commerce_low_stock", low_stock,
                            ngx_http_commerce_low_stock_bounds),

    ngx_http_commerce_value("commerce_idempotency_retention",
                            idempotency_retention,
                            ngx_http_commerce_retention_bounds),

    ngx_http_commerce_value("commerce_database_connect_timeout",
                            server.connect_timeout,
                            ngx_http_commerce_timeout_bounds),

    ngx_http_commerce_value("commerce_database_timeout", server.timeout,
                            ngx_http_commerce_timeout_bounds),

      ngx_null_command
};


static ngx_http_module_t  ngx_http_commerce_module_ctx = {
    ngx_http_commerce_add_variables,       /* preconfiguration */
    ngx_http_commerce_postconfiguration,   /* postconfiguration */

    ngx_http_commerce_create_main_conf,    /* create main configuration */
    ngx_http_commerce_init_main_conf,      /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_commerce_create_loc_conf,     /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_commerce_module = {
    NGX_MODULE_V1,
    &ngx_http_commerce_module_ctx,         /* module context */
    ngx_http_commerce_commands,            /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_commerce_init_module,         /* init module */
    ngx_http_commerce_init_process,        /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_commerce_exit_process,        /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_commerce_trade_t  *ngx_http_commerce_trade;


static void *
ngx_http_commerce_create_main_conf(ngx_conf_t *cf)
{
    ngx_commerce_conf_t            *ccf;
    ngx_http_commerce_main_conf_t  *mcf;

    /*
     * set by ngx_pcalloc():
     *
     *     mcf->roles = 0;
     *     mcf->commerce.zone = NULL;
     *     mcf->commerce.server = all zeroes;
     */

    mcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_commerce_main_conf_t));
    if (mcf == NULL) {
        return NULL;
    }

    ccf = &mcf->commerce;

    ccf->token_keys = ngx_array_create(cf->pool, 2, sizeof(ngx_str_t));
    if (ccf->token_keys == NULL) {
        return NULL;
    }

    ccf->providers = ngx_array_create(cf->pool, 2,
                                      sizeof(ngx_commerce_provider_t));
    if (ccf->providers == NULL) {
        return NULL;
    }

    ccf->server.connect_timeout = NGX_CONF_UNSET_MSEC;
    ccf->server.timeout = NGX_CONF_UNSET_MSEC;
    ccf->connections = NGX_CONF_UNSET_UINT;
    ccf->read_connections = NGX_CONF_UNSET_UINT;
    ccf->pipeline_depth = NGX_CONF_UNSET_UINT;
    ccf->batch = NGX_CONF_UNSET_UINT;
    ccf->queue = NGX_CONF_UNSET_UINT;
    ccf->queue_timeout = NGX_CONF_UNSET_MSEC;
    ccf->lease_block = NGX_CONF_UNSET_UINT;
    ccf->lease_ttl = NGX_CONF_UNSET_MSEC;
    ccf->lease_low_water = NGX_CONF_UNSET_UINT;
    ccf->lease_idle = NGX_CONF_UNSET_MSEC;
    ccf->hold_time = NGX_CONF_UNSET;
    ccf->max_lines = NGX_CONF_UNSET_UINT;
    ccf->cart_connections = NGX_CONF_UNSET_UINT;
    ccf->cart_lifetime = NGX_CONF_UNSET;
    ccf->json_depth = NGX_CONF_UNSET_UINT;
    ccf->low_stock = NGX_CONF_UNSET_UINT;
    ccf->guest_checkout = NGX_CONF_UNSET;
    ccf->idempotency_retention = NGX_CONF_UNSET;

    return mcf;
}


static char *
ngx_http_commerce_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_commerce_main_conf_t *mcf = conf;

    const char           *missing, *wrong;
    ngx_uint_t            api, engine;
    ngx_commerce_conf_t  *ccf;

    ccf = &mcf->commerce;

    ngx_conf_init_msec_value(ccf->server.connect_timeout, 5000);
    ngx_conf_init_msec_value(ccf->server.timeout, 10000);
    ngx_conf_init_uint_value(ccf->connections, 1);
    ngx_conf_init_uint_value(ccf->read_connections, 2);
    ngx_conf_init_uint_value(ccf->pipeline_depth, 8);
    ngx_conf_init_uint_value(ccf->batch, 128);
    ngx_conf_init_uint_value(ccf->queue, 4096);
    ngx_conf_init_msec_value(ccf->queue_timeout, 2000);
    ngx_conf_init_uint_value(ccf->lease_block, 64);
    ngx_conf_init_msec_value(ccf->lease_ttl, 10000);
    ngx_conf_init_uint_value(ccf->lease_low_water, 25);
    ngx_conf_init_msec_value(ccf->lease_idle, 60000);
    ngx_conf_init_value(ccf->hold_time, 15 * 60);
    ngx_conf_init_uint_value(ccf->max_lines, 100);
    ngx_conf_init_uint_value(ccf->cart_connections, 1);
    ngx_conf_init_value(ccf->cart_lifetime, 30 * 24 * 3600);
    ngx_conf_init_uint_value(ccf->json_depth, 8);
    ngx_conf_init_uint_value(ccf->low_stock, 5);
    ngx_conf_init_value(ccf->guest_checkout, 1);
    ngx_conf_init_value(ccf->idempotency_retention, 24 * 3600);

    api = mcf->roles & (1 << NGX_HTTP_COMMERCE_STOREFRONT
                        | 1 << NGX_HTTP_COMMERCE_ADMIN);
    engine = mcf->roles & ~(1 << NGX_HTTP_COMMERCE_LIVE);

    missing = NULL;

    if (engine && ccf->zone == NULL) {
        missing = "commerce_zone";

    } else if ((engine || ccf->zone != NULL)
               && ccf->server.conninfo.len == 0)
    {
        missing = "commerce_database";

    } else if (api && ccf->token_keys->nelts == 0) {
        missing = "commerce_token_key_file";
    }

    if (missing != NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "no \"%s\" is defined in the \"http\" block, but "
                      "\"commerce\" directives need it", missing);
        return NGX_CONF_ERROR;
    }

    if (ccf->zone == NULL) {
        return NGX_CONF_OK;
    }

    ccf->zone->database = ccf->server.conninfo;

    wrong = ngx_commerce_pg_server_check(cf->pool, &ccf->server);

    if (wrong == NULL) {
        wrong = ngx_commerce_pg_server_init(cf, &ccf->server);
    }

    if (wrong != NULL) {
        /* never with the conninfo: it may hold a password */
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "invalid value of \"commerce_database\": %s", wrong);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_commerce_create_loc_conf(ngx_conf_t *cf)
{
    /* a handler is not inherited, and neither is the role: no merge */
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_commerce_loc_conf_t));
}


static ngx_int_t
ngx_http_commerce_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_handler_pt            *h;
    ngx_http_core_main_conf_t      *cmcf;
    ngx_http_commerce_main_conf_t  *mcf;

    static ngx_str_t  request_id = ngx_string("request_id");

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_commerce_module);

    if (mcf->roles == 0) {
        return NGX_OK;
    }

    mcf->request_id = ngx_http_get_variable_index(cf, &request_id);
    if (mcf->request_id == NGX_ERROR) {
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_commerce_log_handler;

    ngx_http_commerce_filter_install();

    return NGX_OK;
}


static ngx_int_t
ngx_http_commerce_init_module(ngx_cycle_t *cycle)
{
    ngx_http_commerce_main_conf_t  *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_commerce_module);

    if (mcf != NULL && mcf->commerce.zone != NULL) {
        ngx_commerce_zone_new_generation(mcf->commerce.zone);
    }

    return NGX_OK;
}


/*
 * Never NGX_ERROR: the master does not start a worker anew that exits for
 * that.  A worker without its engine answers 503.
 */

static ngx_int_t
ngx_http_commerce_init_process(ngx_cycle_t *cycle)
{
    ngx_http_commerce_main_conf_t  *mcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_commerce_module);

    if (mcf == NULL || mcf->commerce.zone == NULL) {
        return NGX_OK;
    }

    ngx_http_commerce_trade = ngx_commerce_trade_start(cycle, &mcf->commerce);

    if (ngx_http_commerce_trade == NULL) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0,
                      "commerce: the worker's engine could not be started");
    }

    return NGX_OK;
}


static void
ngx_http_commerce_exit_process(ngx_cycle_t *cycle)
{
    (void) cycle;

    if (ngx_http_commerce_trade != NULL) {
        ngx_commerce_trade_stop(ngx_http_commerce_trade);
        ngx_http_commerce_trade = NULL;
    }
}
