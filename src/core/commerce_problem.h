/*
 * Every error that the API knows, as one table: machine-readable code, HTTP
 * status and the title of RFC 9457.
 */

#ifndef COMMERCE_PROBLEM_H
#define COMMERCE_PROBLEM_H

#include "commerce_types.h"


typedef enum {
    COMMERCE_NO_PROBLEM = 0,
    COMMERCE_MALFORMED_JSON,            /* 400 malformed_json */
    COMMERCE_BAD_REQUEST,               /* 400 bad_request */
    COMMERCE_IDEMPOTENCY_KEY_MISSING,   /* 400 idempotency_key_missing */
    COMMERCE_IDEMPOTENCY_KEY_INVALID,   /* 400 idempotency_key_invalid */
    COMMERCE_UNAUTHENTICATED,           /* 401 unauthenticated */
    COMMERCE_FORBIDDEN,                 /* 403 forbidden */
    COMMERCE_NOT_FOUND,                 /* 404 not_found */
    COMMERCE_METHOD_NOT_ALLOWED,        /* 405 method_not_allowed */
    COMMERCE_IN_PROGRESS,               /* 409 in_progress */
    COMMERCE_OUT_OF_STOCK,              /* 409 out_of_stock */
    COMMERCE_PRICE_CHANGED,             /* 409 price_changed */
    COMMERCE_ILLEGAL_TRANSITION,        /* 409 illegal_transition */
    COMMERCE_CONFLICT,                  /* 409 conflict */
    COMMERCE_VERSION_CONFLICT,          /* 412 version_conflict */
    COMMERCE_TOO_LARGE,                 /* 413 too_large */
    COMMERCE_UNSUPPORTED_MEDIA_TYPE,    /* 415 unsupported_media_type */
    COMMERCE_INVALID_REQUEST,           /* 422 invalid_request */
    COMMERCE_IDEMPOTENCY_KEY_REUSED,    /* 422 idempotency_key_reused */
    COMMERCE_PRECONDITION_REQUIRED,     /* 428 precondition_required */
    COMMERCE_TOO_MANY_REQUESTS,         /* 429 too_many_requests */
    COMMERCE_INTERNAL,                  /* 500 internal */
    COMMERCE_UNAVAILABLE,               /* 503 unavailable */
    COMMERCE_OVERLOADED,                /* 503 overloaded */
    COMMERCE_OUTCOME_UNKNOWN,           /* 503 outcome_unknown */
    COMMERCE_ZONE_FULL,                 /* 503 zone_full */
    COMMERCE_PROBLEMS
} commerce_problem_e;


typedef struct {
    const char *code;
    int         status;
    const char *title;
} commerce_problem_t;


/* Never NULL: an unknown value gets the entry of COMMERCE_INTERNAL. */
const commerce_problem_t *commerce_problem(commerce_problem_e problem);


#endif
