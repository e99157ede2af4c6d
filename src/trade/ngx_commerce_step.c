/*
 * What shipments and refunds have in common: a body that names lines, one
 * statement that decides under the order's lock, and its verdict.
 */

#include "ngx_commerce_step.h"
#include "ngx_commerce_admin_fields.h"


typedef struct {
    ngx_commerce_pg_op_t             op;
    ngx_commerce_call_t             *call;
    const ngx_commerce_step_kind_t  *kind;
    ngx_str_t                        doc;
    commerce_uuid_t                  id;
    commerce_uuid_t                  idem;
    commerce_uuid_t                  fingerprint;

    /* the verdict */
    commerce_uuid_t                  order_idem;
    commerce_problem_e               problem;
    const char                      *code;
    ngx_str_t                        pointer;
    int64_t                          remains;
    ngx_str_t                        answer;
    ngx_array_t                      freed;     /* ngx_commerce_freed_t */
    unsigned                         has_remains:1;
    unsigned                         replayed:1;
    unsigned                         failed:1;
} ngx_commerce_step_t;


typedef struct {
    commerce_str_t                   variant_id;
    commerce_str_t                   sku;
    int64_t                          quantity;
    int                              restock;
} ngx_commerce_step_line_t;


static ngx_int_t ngx_commerce_step_body(ngx_commerce_step_t *step);
static ngx_int_t ngx_commerce_step_keys(ngx_commerce_step_t *step,
    ngx_uint_t keyed);
static ngx_int_t ngx_commerce_step_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn);
static void ngx_commerce_step_result(ngx_commerce_pg_op_t *op,
    ngx_uint_t query, PGresult *res);
static void ngx_commerce_step_refused(ngx_commerce_step_t *step,
    PGresult *res);
static ngx_int_t ngx_commerce_step_copy(ngx_commerce_step_t *step,
    PGresult *res, int col, ngx_str_t *to);
static ngx_uint_t ngx_commerce_step_is(PGresult *res, int col,
    const char *word);
static void ngx_commerce_step_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate);
static void ngx_commerce_step_refuse(ngx_commerce_step_t *step);


/* columns of NGX_COMMERCE_SQL_STEP() */
enum {
    NGX_COMMERCE_STEP_STATUS = 0,
    NGX_COMMERCE_STEP_PROBLEM,
    NGX_COMMERCE_STEP_CODE,
    NGX_COMMERCE_STEP_POINTER,
    NGX_COMMERCE_STEP_REMAINS,
    NGX_COMMERCE_STEP_ORDER_IDEM,
    NGX_COMMERCE_STEP_ANSWER,
    NGX_COMMERCE_STEP_VARIANT
};


static const struct {
    const char          *word;
    commerce_problem_e   problem;
} ngx_commerce_step_problems[] = {
    { "not_found", COMMERCE_NOT_FOUND },
    { "conflict", COMMERCE_CONFLICT },
    { "illegal_transition", COMMERCE_ILLEGAL_TRANSITION },
    { "invalid_request", COMMERCE_INVALID_REQUEST },
    { "idempotency_key_reused", COMMERCE_IDEMPOTENCY_KEY_REUSED },
};


static const struct {
    const char          *code;
    const char          *message;
} ngx_commerce_step_codes[] = {
    { "unknown_line", "is no line of the order" },
    { "too_many", "is more than the line has left" },
    { "too_much", "is more than is left to be refunded" },
    { "not_paid", "no payment has that much left" },
};

#define ngx_commerce_step_n(a)  (sizeof(a) / sizeof(a[0]))


/* "restock" stands first, so that it can be left out. */

static const commerce_json_field_t  ngx_commerce_step_line_fields[] = {

    { "restock", COMMERCE_JSON_BOOLEAN, COMMERCE_JSON_NULLABLE,
      offsetof(ngx_commerce_step_line_t, restock), 0, 0 },
    { "variant_id", COMMERCE_JSON_STRING, 0,
      offsetof(ngx_commerce_step_line_t, variant_id),
      COMMERCE_UUID_TEXT, COMMERCE_UUID_TEXT },
    { "sku", COMMERCE_JSON_STRING, 0,
      offsetof(ngx_commerce_step_line_t, sku), 1, COMMERCE_SKU_MAX },
    { "quantity", COMMERCE_JSON_INTEGER, COMMERCE_JSON_REQUIRED,
      offsetof(ngx_commerce_step_line_t, quantity), 1,
      NGX_COMMERCE_UNITS_MAX },
    { NULL, COMMERCE_JSON_NULL, 0, 0, 0, 0 }
};


void
ngx_commerce_step(ngx_commerce_call_t *call,
    const ngx_commerce_step_kind_t *kind)
{
    ngx_int_t             rc;
    ngx_commerce_step_t  *step;

    if (ngx_commerce_order_named(call) != NGX_OK) {
        return;
    }

    rc = ngx_commerce_call_key_check(call, 1, kind->keyed);
    if (rc == NGX_ERROR) {
        return;
    }

    step = ngx_pcalloc(call->pool, sizeof(ngx_commerce_step_t));
    if (step == NULL
        || ngx_array_init(&step->freed, call->pool, 4,
                          sizeof(ngx_commerce_freed_t))
           != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    step->call = call;
    step->kind = kind;

    if (ngx_commerce_step_body(step) != NGX_OK) {
        return;
    }

    if (ngx_commerce_step_keys(step, rc == NGX_OK) != NGX_OK) {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return;
    }

    step->op.data = step;
    step->op.build = ngx_commerce_step_build;
    step->op.result = ngx_commerce_step_result;
    step->op.done = ngx_commerce_step_done;

    ngx_commerce_call_write(call, &step->op);
}


static ngx_int_t
ngx_commerce_step_body(ngx_commerce_step_t *step)
{
    ngx_commerce_call_t     *call;
    commerce_json_errors_t  *errors;

    call = step->call;

    if (call->json == NULL) {
        ngx_str_set(&step->doc, "{}");
        return NGX_OK;
    }

    errors = ngx_commerce_call_errors(call);
    if (errors == NULL) {
        return NGX_ERROR;
    }

    step->kind->check(call->json, errors);

    if (errors->n || errors->failed) {
        ngx_commerce_call_invalid(call, errors);
        return NGX_ERROR;
    }

    if (ngx_commerce_doc_text(call->pool, call->json, call->body.len,
                              &step->doc)
        != NGX_OK)
    {
        ngx_commerce_refuse(call, COMMERCE_INTERNAL, NULL);
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_commerce_step_lines(const commerce_json_t *lines, ngx_uint_t restock,
    commerce_json_errors_t *errors)
{
    size_t                     n;
    const char                *path;
    commerce_str_t             name;
    commerce_uuid_t            id;
    const commerce_json_t     *v;
    ngx_commerce_step_line_t   line;

    for (v = lines->child, n = 0; v; v = v->next, n++) {

        ngx_memzero(&line, sizeof(ngx_commerce_step_line_t));
        path = commerce_json_path(errors, "", "lines", n);

        if (commerce_json_bind(v, restock ? ngx_commerce_step_line_fields
                                          : ngx_commerce_step_line_fields + 1,
                               &line, path, errors)
            != COMMERCE_OK)
        {
            continue;
        }

        if ((line.sku.len == 0) == (line.variant_id.len == 0)) {
            commerce_json_error_add(errors, path, NULL, "invalid_value",
                                    "needs either sku or variant_id");
            continue;
        }

        if (line.variant_id.len
            && commerce_uuid_parse(&id, line.variant_id.data,
                                   line.variant_id.len)
               != COMMERCE_OK)
        {
            name.data = (u_char *) "variant_id";
            name.len = sizeof("variant_id") - 1;
            commerce_json_error_add(errors, path, &name, "invalid_value",
                                    "must be a UUID");
        }
    }
}


/* Without a key the step is itself. */

static ngx_int_t
ngx_commerce_step_keys(ngx_commerce_step_t *step, ngx_uint_t keyed)
{
    if (ngx_commerce_call_uuid(&step->id) != NGX_OK
        || ngx_commerce_order_key(step->call, step->kind->name, &step->idem,
                                  &step->fingerprint)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!keyed) {
        step->idem = step->id;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_commerce_step_build(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_conn_t *conn)
{
    ngx_commerce_call_t      *call;
    ngx_commerce_step_t      *step;
    ngx_commerce_pg_query_t  *q;

    (void) conn;

    step = op->data;
    call = step->call;

    q = ngx_commerce_pg_query(op, step->kind->statement, 6);
    if (q == NULL) {
        return NGX_ERROR;
    }

    ngx_commerce_pg_uuid(q, 1, &call->order_id);
    ngx_commerce_pg_text(q, 2, step->doc.data, step->doc.len);
    ngx_commerce_pg_text(q, 3, call->actor.data, call->actor.len);
    ngx_commerce_pg_uuid(q, 4, &step->id);
    ngx_commerce_pg_uuid(q, 5, &step->idem);
    ngx_commerce_pg_uuid(q, 6, &step->fingerprint);

    return q->failed ? NGX_ERROR : NGX_OK;
}


static void
ngx_commerce_step_result(ngx_commerce_pg_op_t *op, ngx_uint_t query,
    PGresult *res)
{
    ngx_commerce_step_t  *step;

    (void) query;

    step = op->data;

    if (PQntuples(res) == 0) {
        step->failed = 1;
        return;
    }

    ngx_commerce_pg_get_uuid(res, 0, NGX_COMMERCE_STEP_ORDER_IDEM,
                             &step->order_idem);

    if (ngx_commerce_step_is(res, NGX_COMMERCE_STEP_STATUS, "error")) {
        ngx_commerce_step_refused(step, res);
        return;
    }

    step->replayed = ngx_commerce_step_is(res, NGX_COMMERCE_STEP_STATUS,
                                          "replayed");
    ngx_commerce_freed_rows(&step->freed, res, NGX_COMMERCE_STEP_VARIANT);

    if (ngx_commerce_step_copy(step, res, NGX_COMMERCE_STEP_ANSWER,
                               &step->answer)
        != NGX_OK)
    {
        step->failed = 1;
    }
}


static void
ngx_commerce_step_refused(ngx_commerce_step_t *step, PGresult *res)
{
    ngx_uint_t  i;

    step->problem = COMMERCE_INTERNAL;

    for (i = 0; i < ngx_commerce_step_n(ngx_commerce_step_problems); i++) {
        if (ngx_commerce_step_is(res, NGX_COMMERCE_STEP_PROBLEM,
                                 ngx_commerce_step_problems[i].word))
        {
            step->problem = ngx_commerce_step_problems[i].problem;
        }
    }

    for (i = 0; i < ngx_commerce_step_n(ngx_commerce_step_codes); i++) {
        if (ngx_commerce_step_is(res, NGX_COMMERCE_STEP_CODE,
                                 ngx_commerce_step_codes[i].code))
        {
            step->code = ngx_commerce_step_codes[i].code;
        }
    }

    step->has_remains = !ngx_commerce_pg_is_null(res, 0,
                                                 NGX_COMMERCE_STEP_REMAINS);
    step->remains = ngx_commerce_pg_get_int8(res, 0,
                                             NGX_COMMERCE_STEP_REMAINS);

    if (ngx_commerce_step_copy(step, res, NGX_COMMERCE_STEP_POINTER,
                               &step->pointer)
        != NGX_OK)
    {
        step->failed = 1;
    }
}


static ngx_int_t
ngx_commerce_step_copy(ngx_commerce_step_t *step, PGresult *res, int col,
    ngx_str_t *to)
{
    ngx_str_t  text;

    text = ngx_commerce_pg_get_text(res, 0, col);

    to->len = text.len;
    to->data = ngx_pnalloc(step->call->pool, text.len + 1);

    if (to->data == NULL) {
        return NGX_ERROR;
    }

    *ngx_cpymem(to->data, text.data, text.len) = '\0';

    return NGX_OK;
}


static ngx_uint_t
ngx_commerce_step_is(PGresult *res, int col, const char *word)
{
    ngx_str_t  text;

    text = ngx_commerce_pg_get_text(res, 0, col);

    return text.len == ngx_strlen(word)
           && ngx_strncmp(text.data, word, text.len) == 0;
}


static void
ngx_commerce_step_done(ngx_commerce_pg_op_t *op,
    ngx_commerce_pg_outcome_e outcome, const char *sqlstate)
{
    ngx_commerce_call_t  *call;
    ngx_commerce_step_t  *step;

    step = op->data;
    call = step->call;

    ngx_commerce_call_db_time(call, op);

    if (outcome != NGX_COMMERCE_PG_COMMITTED) {
        ngx_commerce_admin_failed(call, outcome, sqlstate);
        return;
    }

    if (step->problem != COMMERCE_NO_PROBLEM) {
        ngx_commerce_step_refuse(step);
        return;
    }

    ngx_commerce_replay_forget(call->trade->zone, &step->order_idem);
    ngx_commerce_freed_tell(call->trade->zone, &step->freed);

    if (step->failed) {
        ngx_commerce_refuse(call, COMMERCE_OUTCOME_UNKNOWN, NULL);
        return;
    }

    call->replayed = step->replayed;

    /* it is seen in its order */
    ngx_commerce_order_created(call, &call->order_id);
    ngx_commerce_answer(call, 201, &step->answer);
}


static void
ngx_commerce_step_refuse(ngx_commerce_step_t *step)
{
    u_char                  *p;
    ngx_uint_t               i;
    const char              *detail;
    ngx_commerce_call_t     *call;
    commerce_json_errors_t  *errors;

    call = step->call;
    detail = NULL;

    if (step->problem == COMMERCE_ILLEGAL_TRANSITION) {
        detail = step->kind->illegal;
    }

    if (step->code && !step->failed) {

        errors = ngx_commerce_call_errors(call);
        if (errors == NULL) {
            return;
        }

        for (i = 0; ngx_commerce_step_codes[i].code != step->code; i++) {
            /* void */
        }

        commerce_json_error_add(errors, (char *) step->pointer.data, NULL,
                                step->code,
                                ngx_commerce_step_codes[i].message);
        call->errors = errors;
    }

    if (step->has_remains) {

        p = ngx_pnalloc(call->pool, sizeof("\"remains\":") + NGX_INT64_LEN);
        if (p) {
            call->extra.data = p;
            call->extra.len = ngx_sprintf(p, "\"remains\":%L", step->remains)
                              - p;
        }
    }

    ngx_commerce_refuse(call, step->problem, detail);
}
