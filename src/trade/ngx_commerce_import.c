/*
 * The import: rows are checked as they come and gathered in groups.  While a
 * group is with the database the next one is gathered, so memory is bounded by
 * two.  Rows of one type that follow each other go to their lane together;
 * where the type changes the database has to answer first, since a stock row
 * may name a product of the row before it.
 */

#include "ngx_commerce_import.h"


#define NGX_COMMERCE_IMPORT_ROWS    64          /* of a group */
#define NGX_COMMERCE_IMPORT_BYTES   262144      /* of a group; one row more */
#define NGX_COMMERCE_IMPORT_VALUES  20000       /* of a row's tree */
#define NGX_COMMERCE_IMPORT_POOL    16384


typedef struct {
    ngx_pool_t                     *pool;
    ngx_uint_t                      n;
    size_t                          bytes;
    ngx_uint_t                      next;       /* the first not sent */
    ngx_uint_t                      pending;    /* in their lane */
    ngx_commerce_import_item_t     *rows[NGX_COMMERCE_IMPORT_ROWS];
} ngx_commerce_import_group_t;


typedef struct {
    ngx_commerce_import_t          *import;
    ngx_commerce_trade_t           *trade;
    ngx_commerce_import_group_t    *gather;     /* rows come in here */
    ngx_commerce_import_group_t    *flight;     /* with the database */
    int64_t                         n;          /* rows so far */
    ngx_event_t                     event;
    unsigned                        blocked:1;  /* a row was told to wait */
    unsigned                        no_more:1;
    unsigned                        ended:1;
} ngx_commerce_import_state_t;


static ngx_commerce_import_group_t *ngx_commerce_import_group(
    ngx_commerce_import_state_t *state);
static void ngx_commerce_import_read(ngx_commerce_import_state_t *state,
    ngx_commerce_import_group_t *group, ngx_commerce_import_item_t *item,
    const u_char *row, size_t len);
static void ngx_commerce_import_turn(ngx_event_t *ev);
static void ngx_commerce_import_post(ngx_commerce_import_state_t *state);
static void ngx_commerce_import_send(ngx_commerce_import_state_t *state,
    ngx_commerce_import_group_t *group);
static void ngx_commerce_import_finish(ngx_commerce_import_state_t *state,
    ngx_commerce_import_group_t *group);
static void ngx_commerce_import_line(commerce_json_writer_t *w,
    ngx_commerce_import_item_t *item);
static void ngx_commerce_import_problem(commerce_json_writer_t *w,
    ngx_commerce_import_item_t *item);


static const char  *ngx_commerce_import_words[] = {
    [NGX_COMMERCE_PUT_ERROR] = "error",
    [NGX_COMMERCE_PUT_CREATED] = "created",
    [NGX_COMMERCE_PUT_UPDATED] = "updated",
    [NGX_COMMERCE_PUT_UNCHANGED] = "unchanged",
    [NGX_COMMERCE_PUT_REPLAYED] = "unchanged"
};


ngx_int_t
ngx_commerce_import_start(ngx_commerce_import_t *import)
{
    ngx_commerce_call_t          *call;
    ngx_commerce_import_state_t  *state;

    call = import->call;

    state = ngx_pcalloc(call->pool, sizeof(ngx_commerce_import_state_t));
    if (state == NULL) {
        return NGX_ERROR;
    }

    state->import = import;
    state->trade = call->trade;

    state->event.handler = ngx_commerce_import_turn;
    state->event.data = state;
    state->event.log = call->log;

    import->data = state;

    return NGX_OK;
}


ngx_int_t
ngx_commerce_import_row(ngx_commerce_import_t *import, const u_char *row,
    size_t len)
{
    ngx_commerce_import_item_t   *item;
    ngx_commerce_import_group_t  *group;
    ngx_commerce_import_state_t  *state;

    state = import->data;
    group = state->gather;

    if (group && (group->n == NGX_COMMERCE_IMPORT_ROWS
                  || group->bytes >= NGX_COMMERCE_IMPORT_BYTES))
    {
        state->blocked = 1;
        return NGX_AGAIN;
    }

    if (group == NULL) {
        group = ngx_commerce_import_group(state);
    }

    item = group ? ngx_pcalloc(group->pool, sizeof(ngx_commerce_import_item_t))
                 : NULL;

    if (item == NULL) {
        return NGX_ERROR;
    }

    item->n = ++state->n;
    item->trade = state->trade;
    item->state = state;
    item->group = group;
    item->actor = import->call->actor;
    item->may_stock = import->call->may_stock;

    group->rows[group->n++] = item;

    if (row) {
        group->bytes += len;
        ngx_commerce_import_read(state, group, item, row, len);

    } else {
        ngx_commerce_import_refuse(item, COMMERCE_TOO_LARGE, NULL);
    }

    ngx_commerce_import_post(state);

    return NGX_OK;
}


void
ngx_commerce_import_end(ngx_commerce_import_t *import)
{
    ngx_commerce_import_state_t  *state;

    state = import->data;

    state->no_more = 1;
    state->blocked = 0;

    ngx_commerce_import_post(state);
}


static ngx_commerce_import_group_t *
ngx_commerce_import_group(ngx_commerce_import_state_t *state)
{
    ngx_pool_t                   *pool;
    ngx_commerce_import_group_t  *group;

    pool = ngx_create_pool(NGX_COMMERCE_IMPORT_POOL, state->trade->log);
    if (pool == NULL) {
        return NULL;
    }

    group = ngx_pcalloc(pool, sizeof(ngx_commerce_import_group_t));

    if (group == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    group->pool = pool;
    state->gather = group;

    return group;
}


/* The tree of a row is many times its text: it goes as soon as it is checked */

static void
ngx_commerce_import_read(ngx_commerce_import_state_t *state,
    ngx_commerce_import_group_t *group, ngx_commerce_import_item_t *item,
    const u_char *row, size_t len)
{
    ngx_pool_t              *pool;
    const char              *error;
    commerce_json_t         *root;
    commerce_json_limits_t   limits;
    commerce_json_status_e   status;

    pool = ngx_create_pool(NGX_COMMERCE_IMPORT_POOL, state->trade->log);

    if (pool == NULL) {
        ngx_commerce_import_refuse(item, COMMERCE_INTERNAL, NULL);
        return;
    }

    limits.max_bytes = NGX_COMMERCE_IMPORT_ROW_MAX;
    limits.max_depth = state->trade->conf->json_depth;
    limits.max_values = NGX_COMMERCE_IMPORT_VALUES;
    limits.max_string = NGX_COMMERCE_IMPORT_ROW_MAX;

    status = commerce_json_read(&limits, ngx_commerce_palloc, pool, row, len,
                                &root, &error);

    switch (status) {

    case COMMERCE_JSON_GOOD:
        ngx_commerce_import_check(item, group->pool, root, len);
        break;

    case COMMERCE_JSON_BYTES:
        ngx_commerce_import_refuse(item, COMMERCE_TOO_LARGE, NULL);
        break;

    case COMMERCE_JSON_NO_MEMORY:
        ngx_commerce_import_refuse(item, COMMERCE_INTERNAL, NULL);
        break;

    case COMMERCE_JSON_LIMIT:
        ngx_commerce_import_refuse(item, COMMERCE_INVALID_REQUEST,
                                   "the row has too many or too deep values");
        break;

    default:
        ngx_commerce_import_refuse(item, COMMERCE_MALFORMED_JSON, NULL);
    }

    ngx_destroy_pool(pool);
}


void
ngx_commerce_import_refuse(ngx_commerce_import_item_t *item,
    commerce_problem_e problem, const char *detail)
{
    item->done = 1;
    item->put.status = NGX_COMMERCE_PUT_ERROR;
    item->put.problem = problem;
    item->detail = detail;
}


/* From a lane: the item's fate is known. */

void
ngx_commerce_import_settled(ngx_commerce_import_item_t *item)
{
    ngx_commerce_import_group_t  *group;

    group = item->group;
    item->done = 1;

    if (--group->pending == 0) {
        ngx_commerce_import_post(item->state);
    }
}


ngx_uint_t
ngx_commerce_import_is_last(ngx_commerce_import_item_t *item)
{
    ngx_uint_t                    i;
    ngx_commerce_import_item_t   *other;
    ngx_commerce_import_group_t  *group;

    group = item->group;

    for (i = group->n; i > 0; i--) {

        other = group->rows[i - 1];

        if (other == item) {
            return 1;
        }

        if (other->type == item->type && other->sku.len == item->sku.len
            && ngx_memcmp(other->sku.data, item->sku.data, item->sku.len) == 0)
        {
            return 0;
        }
    }

    return 1;
}


/*
 * Everything moves in a turn of its own: rows that arrive together then share
 * a group, and nobody is called back from inside of his own call.
 */

static void
ngx_commerce_import_post(ngx_commerce_import_state_t *state)
{
    ngx_post_event(&state->event, &ngx_posted_events);
}


static void
ngx_commerce_import_turn(ngx_event_t *ev)
{
    ngx_commerce_import_t        *import;
    ngx_commerce_import_state_t  *state;

    state = ev->data;
    import = state->import;

    if (state->flight && state->flight->pending == 0) {
        ngx_commerce_import_send(state, state->flight);
    }

    if (state->flight == NULL && state->gather) {
        state->flight = state->gather;
        state->gather = NULL;

        ngx_commerce_import_send(state, state->flight);

        /* may give the next rows at once */

        if (state->blocked) {
            state->blocked = 0;
            import->room(import);
        }
    }

    if (state->no_more && !state->ended
        && state->flight == NULL && state->gather == NULL)
    {
        state->ended = 1;

        /* ended() may free what the event lives in */

        if (state->event.posted) {
            ngx_delete_posted_event(&state->event);
        }

        import->ended(import);
    }
}


/* The next rows of one type; when there are none the group is answered. */

static void
ngx_commerce_import_send(ngx_commerce_import_state_t *state,
    ngx_commerce_import_group_t *group)
{
    ngx_uint_t                   first;
    ngx_commerce_import_item_t  *item;

    first = group->n;

    while (group->next < group->n) {

        item = group->rows[group->next];

        if (item->done) {
            group->next++;
            continue;
        }

        if (first == group->n) {
            first = group->next;

        } else if (item->type != group->rows[first]->type) {
            break;
        }

        group->next++;

        if (ngx_commerce_import_enqueue(state->trade, item) == NGX_OK) {
            group->pending++;

        } else {
            ngx_commerce_import_refuse(item, COMMERCE_OVERLOADED, NULL);
        }
    }

    if (group->pending) {
        return;
    }

    if (group->next < group->n) {
        ngx_commerce_import_post(state);
        return;
    }

    ngx_commerce_import_finish(state, group);
}


static void
ngx_commerce_import_finish(ngx_commerce_import_state_t *state,
    ngx_commerce_import_group_t *group)
{
    ngx_uint_t               i;
    ngx_commerce_import_t   *import;
    commerce_json_writer_t   w;

    import = state->import;

    for (i = 0; i < group->n; i++) {

        commerce_json_writer_init(&w, 128, ngx_commerce_palloc, group->pool);

        ngx_commerce_import_line(&w, group->rows[i]);
        commerce_json_bytes(&w, "\n", 1);

        if (!w.failed) {
            import->emit(import, w.start, (size_t) (w.last - w.start));
        }
    }

    ngx_destroy_pool(group->pool);
    state->flight = NULL;

    if (state->gather || state->no_more) {
        ngx_commerce_import_post(state);
    }
}


static void
ngx_commerce_import_line(commerce_json_writer_t *w,
    ngx_commerce_import_item_t *item)
{
    commerce_json_object_open(w);

    commerce_json_key(w, "row");
    commerce_json_integer(w, item->n);
    commerce_json_key(w, "status");
    commerce_json_cstring(w, ngx_commerce_import_words[item->put.status]);

    if (item->put.status != NGX_COMMERCE_PUT_ERROR) {
        commerce_json_key(w, "id");
        commerce_json_uuid(w, &item->put.id);

    } else {
        ngx_commerce_import_problem(w, item);
    }

    commerce_json_object_close(w);
}


static void
ngx_commerce_import_problem(commerce_json_writer_t *w,
    ngx_commerce_import_item_t *item)
{
    size_t                       i;
    const commerce_problem_t    *problem;
    const commerce_json_error_t *error;

    problem = commerce_problem(item->put.problem);

    commerce_json_key(w, "problem");
    commerce_json_object_open(w);

    commerce_json_key(w, "code");
    commerce_json_cstring(w, problem->code);
    commerce_json_key(w, "title");
    commerce_json_cstring(w, problem->title);
    commerce_json_key(w, "status");
    commerce_json_integer(w, problem->status);

    if (item->detail) {
        commerce_json_key(w, "detail");
        commerce_json_cstring(w, item->detail);
    }

    if (item->errors && item->errors->n) {

        commerce_json_key(w, "errors");
        commerce_json_array_open(w);

        for (i = 0; i < item->errors->n; i++) {

            error = &item->errors->errors[i];

            commerce_json_object_open(w);
            commerce_json_key(w, "pointer");
            commerce_json_string(w, error->pointer.data, error->pointer.len);
            commerce_json_key(w, "code");
            commerce_json_cstring(w, error->code);
            commerce_json_key(w, "message");
            commerce_json_cstring(w, error->message);
            commerce_json_object_close(w);
        }

        commerce_json_array_close(w);
    }

    commerce_json_object_close(w);
}
