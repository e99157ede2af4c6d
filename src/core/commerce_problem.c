#include "commerce_problem.h"


static const commerce_problem_t  commerce_problems[] = {

    /* never sent: a caller that asks for it has lost its reason */
    [COMMERCE_NO_PROBLEM] =
        { "internal", 500, "Internal error" },

    [COMMERCE_MALFORMED_JSON] =
        { "malformed_json", 400, "The body is not valid JSON" },

    [COMMERCE_BAD_REQUEST] =
        { "bad_request", 400, "The request is malformed" },

    [COMMERCE_IDEMPOTENCY_KEY_MISSING] =
        { "idempotency_key_missing", 400, "Idempotency-Key is required" },

    [COMMERCE_IDEMPOTENCY_KEY_INVALID] =
        { "idempotency_key_invalid", 400, "Idempotency-Key is not valid" },

    [COMMERCE_UNAUTHENTICATED] =
        { "unauthenticated", 401, "Authentication is required" },

    [COMMERCE_FORBIDDEN] =
        { "forbidden", 403, "Not allowed" },

    [COMMERCE_NOT_FOUND] =
        { "not_found", 404, "Not found" },

    [COMMERCE_METHOD_NOT_ALLOWED] =
        { "method_not_allowed", 405, "Method not allowed" },

    [COMMERCE_IN_PROGRESS] =
        { "in_progress", 409,
          "A request with this Idempotency-Key is still running" },

    [COMMERCE_OUT_OF_STOCK] =
        { "out_of_stock", 409, "Not enough units in stock" },

    [COMMERCE_PRICE_CHANGED] =
        { "price_changed", 409, "The price has changed" },

    [COMMERCE_ILLEGAL_TRANSITION] =
        { "illegal_transition", 409,
          "The current state does not allow this" },

    [COMMERCE_CONFLICT] =
        { "conflict", 409, "In conflict with the current state" },

    [COMMERCE_VERSION_CONFLICT] =
        { "version_conflict", 412, "The version is not the current one" },

    [COMMERCE_TOO_LARGE] =
        { "too_large", 413, "The request is too large" },

    [COMMERCE_UNSUPPORTED_MEDIA_TYPE] =
        { "unsupported_media_type", 415, "Unsupported media type" },

    [COMMERCE_INVALID_REQUEST] =
        { "invalid_request", 422, "The request is not valid" },

    [COMMERCE_IDEMPOTENCY_KEY_REUSED] =
        { "idempotency_key_reused", 422,
          "Idempotency-Key was used with another request" },

    [COMMERCE_PRECONDITION_REQUIRED] =
        { "precondition_required", 428, "If-Match is required" },

    [COMMERCE_TOO_MANY_REQUESTS] =
        { "too_many_requests", 429, "Too many requests" },

    [COMMERCE_INTERNAL] =
        { "internal", 500, "Internal error" },

    [COMMERCE_UNAVAILABLE] =
        { "unavailable", 503, "Temporarily unavailable" },

    [COMMERCE_OVERLOADED] =
        { "overloaded", 503, "Too many requests are waiting" },

    [COMMERCE_OUTCOME_UNKNOWN] =
        { "outcome_unknown", 503,
          "Whether the request was done is not known yet" },

    [COMMERCE_ZONE_FULL] =
        { "zone_full", 503, "No room for more articles in memory" }
};


_Static_assert(sizeof(commerce_problems) / sizeof(commerce_problems[0])
               == COMMERCE_PROBLEMS, "one entry for each problem");


const commerce_problem_t *
commerce_problem(commerce_problem_e problem)
{
    if ((unsigned) problem >= COMMERCE_PROBLEMS) {
        problem = COMMERCE_INTERNAL;
    }

    return &commerce_problems[problem];
}
