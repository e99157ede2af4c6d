/* How a directive is read: its words, its bounds, and what nginx -t says. */

#include "ngx_http_commerce.h"


#define NGX_HTTP_COMMERCE_SECRET  16        /* bytes of a secret, at least */


static ngx_uint_t ngx_http_commerce_provider_name(ngx_str_t *name);
static ngx_int_t ngx_http_commerce_parse(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *value, const ngx_http_commerce_bounds_t *bounds,
    ngx_int_t *result);


static const ngx_http_commerce_bounds_t  ngx_http_commerce_queue_bounds =
    { NGX_HTTP_COMMERCE_NUMBER, 1, 1048576 };
static const ngx_http_commerce_bounds_t  ngx_http_commerce_wait_bounds =
    { NGX_HTTP_COMMERCE_MSEC, 1, 60 * 1000 };


char *
ngx_http_commerce_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_commerce_main_conf_t *mcf = conf;

    u_char               *p;
    ssize_t               size;
    ngx_str_t            *value, name, s;
    ngx_shm_zone_t       *shm_zone;
    ngx_commerce_zone_t  *zone;

    (void) cmd;

    if (mcf->commerce.zone != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    p = (u_char *) ngx_strchr(value[1].data, ':');

    if (p == NULL || p == value[1].data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone \"%V\", it must be name:size",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    name.data = value[1].data;
    name.len = p - value[1].data;

    s.data = p + 1;
    s.len = value[1].data + value[1].len - s.data;

    size = ngx_parse_size(&s);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid size of zone \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (size < NGX_COMMERCE_ZONE_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is too small, it must be at least %uzm",
                           &value[1],
                           (size_t) NGX_COMMERCE_ZONE_MIN / 1024 / 1024);
        return NGX_CONF_ERROR;
    }

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_commerce_zone_t));
    if (zone == NULL) {
        return NGX_CONF_ERROR;
    }

    shm_zone = ngx_shared_memory_add(cf, &name, size,
                                     &ngx_http_commerce_module);
    if (shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    zone->shm_zone = shm_zone;

    shm_zone->init = ngx_commerce_zone_init;
    shm_zone->data = zone;

    mcf->commerce.zone = zone;

    return NGX_CONF_OK;
}


char *
ngx_http_commerce_database(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_commerce_main_conf_t *mcf = conf;

    ngx_str_t  *value;

    (void) cmd;

    if (mcf->commerce.server.conninfo.data != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "must not be empty";
    }

    /* a word of the configuration is zero-ended */
    mcf->commerce.server.conninfo = value[1];

    return NGX_CONF_OK;
}


char *
ngx_http_commerce_password_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_commerce_main_conf_t *mcf = conf;

    ngx_str_t        *value;
    ngx_file_info_t   fi;

    (void) cmd;

    if (mcf->commerce.server.password_file.data != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_conf_full_name(cf->cycle, &value[1], 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_file_info(value[1].data, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "password file \"%V\" cannot be used", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (!ngx_is_file(&fi)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "password file \"%V\" is not a regular file",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    mcf->commerce.server.password_file = value[1];

    return NGX_CONF_OK;
}


char *
ngx_http_commerce_token_key_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_commerce_main_conf_t *mcf = conf;

    ngx_str_t  *value;

    (void) cmd;

    value = cf->args->elts;

    if (ngx_commerce_token_key_load(cf, mcf->commerce.token_keys, &value[1])
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_commerce_queue(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_commerce_main_conf_t *mcf = conf;

    ngx_int_t   n;
    ngx_str_t  *value, s;

    if (mcf->commerce.queue != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_commerce_parse(cf, &cmd->name, &value[1],
                                &ngx_http_commerce_queue_bounds, &n)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    mcf->commerce.queue = n;

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[2].data, "timeout=", 8) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    s.data = value[2].data + 8;
    s.len = value[2].len - 8;

    if (ngx_http_commerce_parse(cf, &cmd->name, &s,
                                &ngx_http_commerce_wait_bounds, &n)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    mcf->commerce.queue_timeout = n;

    return NGX_CONF_OK;
}


/* A name, and secret_file=... for each secret of its webhooks. */

char *
ngx_http_commerce_provider(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_commerce_main_conf_t *mcf = conf;

    ngx_str_t                *value, file;
    ngx_uint_t                i;
    ngx_commerce_provider_t  *provider;

    (void) cmd;

    value = cf->args->elts;

    if (!ngx_http_commerce_provider_name(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name of a payment provider \"%V\", it "
                           "must be 1 to 64 of a-z 0-9 _ -", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_commerce_provider(&mcf->commerce, value[1].data, value[1].len)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate payment provider \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    provider = ngx_array_push(mcf->commerce.providers);
    if (provider == NULL
        || ngx_array_init(&provider->secrets, cf->pool, 2, sizeof(ngx_str_t))
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    provider->name = value[1];

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "secret_file=", 12) != 0
            || value[i].len == 12)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        file.data = value[i].data + 12;
        file.len = value[i].len - 12;

        if (ngx_commerce_secret_load(cf, &provider->secrets, &file,
                                     "secret file", NGX_HTTP_COMMERCE_SECRET)
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    if (provider->secrets.nelts == 0 && ngx_strcmp(value[1].data, "test") != 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "payment provider \"%V\" needs a \"secret_file\", "
                           "only \"test\" settles without webhooks",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_commerce_provider_name(ngx_str_t *name)
{
    size_t  i;
    u_char  c;

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_'
            && c != '-')
        {
            return 0;
        }
    }

    return name->len >= 1 && name->len <= 64;
}


char *
ngx_http_commerce_set_value(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    void                        *field;
    ngx_int_t                    n;
    ngx_str_t                   *value;
    ngx_http_commerce_bounds_t  *bounds;

    field = p + cmd->offset;
    value = cf->args->elts;
    bounds = cmd->post;

    if (bounds->unit == NGX_HTTP_COMMERCE_SEC) {
        if (*(time_t *) field != NGX_CONF_UNSET) {
            return "is duplicate";
        }

    } else if (*(ngx_uint_t *) field != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    if (ngx_http_commerce_parse(cf, &cmd->name, &value[1], bounds, &n)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (bounds->unit == NGX_HTTP_COMMERCE_SEC) {
        *(time_t *) field = n;

    } else {
        *(ngx_uint_t *) field = n;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_commerce_parse(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *value,
    const ngx_http_commerce_bounds_t *bounds, ngx_int_t *result)
{
    ngx_int_t    n;
    const char  *what, *unit;

    switch (bounds->unit) {

    case NGX_HTTP_COMMERCE_MSEC:
        n = ngx_parse_time(value, 0);
        what = "time";
        unit = "ms";
        break;

    case NGX_HTTP_COMMERCE_SEC:
        n = ngx_parse_time(value, 1);
        what = "time";
        unit = "s";
        break;

    default: /* NGX_HTTP_COMMERCE_NUMBER */
        n = ngx_atoi(value->data, value->len);
        what = "number";
        unit = "";
    }

    if (n == NGX_ERROR || n < bounds->low || n > bounds->high) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" of \"%V\", it must be a %s "
                           "between %i%s and %i%s", value, name, what,
                           bounds->low, unit, bounds->high, unit);
        return NGX_ERROR;
    }

    *result = n;

    return NGX_OK;
}


/* commerce, commerce_health, commerce_metrics, commerce_drain */

char *
ngx_http_commerce_location(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_commerce_loc_conf_t *lcf = conf;

    ngx_str_t                      *value;
    ngx_uint_t                      role;
    ngx_conf_enum_t                *e;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_commerce_main_conf_t  *mcf;

    if (lcf->role != NGX_HTTP_COMMERCE_NONE) {
        return "is duplicate";
    }

    role = cmd->offset;

    if (cmd->post != NULL) {
        value = cf->args->elts;

        for (e = cmd->post; e->name.len != 0; e++) {
            if (e->name.len == value[1].len
                && ngx_strcmp(e->name.data, value[1].data) == 0)
            {
                role = e->value;
                break;
            }
        }

        if (e->name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\" in \"%V\" directive",
                               &value[1], &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    lcf->role = role;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_commerce_module);
    mcf->roles |= 1 << role;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    switch (role) {

    case NGX_HTTP_COMMERCE_METRICS:
        clcf->handler = ngx_http_commerce_metrics_handler;
        break;

    case NGX_HTTP_COMMERCE_LIVE:
    case NGX_HTTP_COMMERCE_READY:
        clcf->handler = ngx_http_commerce_health_handler;
        break;

    default:
        clcf->handler = ngx_http_commerce_handler;
    }

    return NGX_CONF_OK;
}
