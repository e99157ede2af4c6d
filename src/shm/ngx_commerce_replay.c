/*
 * Seen idempotency keys, set-associative: a key hashes to one set and may be
 * in any of its ways.  A full set gives up its oldest answer, never a mark of
 * a worker that lives.
 */

#include "ngx_commerce_zone_sh.h"
#include "ngx_commerce_replay.h"


static ngx_commerce_answer_t *ngx_commerce_replay_set(
    ngx_commerce_replays_t *replays, const commerce_uuid_t *idem);
static ngx_commerce_answer_t *ngx_commerce_replay_find(
    ngx_commerce_zone_t *zone, const commerce_uuid_t *idem);
static ngx_uint_t ngx_commerce_replay_counts(ngx_commerce_zone_t *zone,
    ngx_commerce_answer_t *answer);
static ngx_commerce_answer_t *ngx_commerce_replay_room(
    ngx_commerce_zone_t *zone, const commerce_uuid_t *idem);
static u_char *ngx_commerce_replay_body(ngx_commerce_replays_t *replays,
    ngx_commerce_answer_t *answer);


ngx_int_t
ngx_commerce_replay_create(ngx_commerce_replays_t *replays, u_char *start,
    size_t size)
{
    size_t  sets;

    sets = size / (NGX_COMMERCE_REPLAY_WAYS
                   * (sizeof(ngx_commerce_answer_t)
                      + NGX_COMMERCE_REPLAY_BODY_MAX));

    if (sets < 8 || sets > 0xfffffff) {
        return NGX_ERROR;
    }

    replays->sets = sets;
    replays->answers = (ngx_commerce_answer_t *) start;
    replays->bodies = (u_char *)
                      (replays->answers + sets * NGX_COMMERCE_REPLAY_WAYS);

    ngx_commerce_replay_reset(replays);

    return NGX_OK;
}


void
ngx_commerce_replay_reset(ngx_commerce_replays_t *replays)
{
    ngx_memzero(replays->answers,
                (size_t) replays->sets * NGX_COMMERCE_REPLAY_WAYS
                * sizeof(ngx_commerce_answer_t));
}


ngx_commerce_replay_e
ngx_commerce_replay_begin(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *idem, const commerce_uuid_t *fingerprint,
    ngx_pool_t *pool, commerce_uuid_t *id, ngx_uint_t *status,
    ngx_str_t *body)
{
    size_t                  len;
    u_char                  copy[NGX_COMMERCE_REPLAY_BODY_MAX];
    ngx_commerce_mark_t     me;
    ngx_commerce_replay_e   found;
    ngx_commerce_answer_t  *answer;

    len = 0;
    me = ngx_commerce_load(&ngx_commerce_zone_me(zone)->mark);

    ngx_commerce_zone_lock(zone);

    answer = ngx_commerce_replay_find(zone, idem);

    if (answer) {

        if (ngx_memcmp(&answer->fingerprint, fingerprint,
                       sizeof(commerce_uuid_t))
            != 0)
        {
            found = NGX_COMMERCE_REPLAY_REUSED;

        } else if (answer->mark) {
            found = NGX_COMMERCE_REPLAY_IN_PROGRESS;

        } else {
            found = NGX_COMMERCE_REPLAY_DONE;

            *id = answer->id;
            *status = answer->status;
            len = answer->body_len;
            ngx_memcpy(copy, ngx_commerce_replay_body(&zone->sh->replays,
                                                      answer),
                       len);
        }

    } else if (me && (answer = ngx_commerce_replay_room(zone, idem)) != NULL) {

        ngx_commerce_zone_write(zone);

        found = NGX_COMMERCE_REPLAY_NEW;

        answer->idem = *idem;
        answer->fingerprint = *fingerprint;
        answer->mark = me;
        answer->stale = 0;
        answer->used = 1;

    } else {
        found = NGX_COMMERCE_REPLAY_UNMARKED;
    }

    ngx_commerce_zone_unlock(zone);

    if (found != NGX_COMMERCE_REPLAY_DONE) {
        return found;
    }

    body->data = ngx_pnalloc(pool, len ? len : 1);

    if (body->data == NULL) {
        /* the database knows it as well */
        return NGX_COMMERCE_REPLAY_UNMARKED;
    }

    body->len = len;
    ngx_memcpy(body->data, copy, len);

    return NGX_COMMERCE_REPLAY_DONE;
}


void
ngx_commerce_replay_finish(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *idem, const commerce_uuid_t *fingerprint,
    const commerce_uuid_t *id, ngx_uint_t status, ngx_str_t *body,
    time_t until)
{
    ngx_commerce_answer_t   *answer;
    ngx_commerce_replays_t  *replays;

    replays = &zone->sh->replays;

    ngx_commerce_zone_lock(zone);

    answer = ngx_commerce_replay_find(zone, idem);

    if (body->len > NGX_COMMERCE_REPLAY_BODY_MAX
        || (answer && answer->mark
            && (answer->stale
                || answer->epoch != ngx_commerce_load(&replays->epoch))))
    {
        if (answer) {
            ngx_commerce_zone_write(zone);
            answer->used = 0;
        }

        goto done;
    }

    ngx_commerce_zone_write(zone);

    if (answer == NULL) {
        answer = ngx_commerce_replay_room(zone, idem);

        if (answer == NULL) {
            goto done;
        }
    }

    answer->idem = *idem;
    answer->fingerprint = *fingerprint;
    answer->id = *id;
    answer->mark = 0;
    answer->stale = 0;
    answer->epoch = ngx_commerce_load(&replays->epoch);
    answer->sequence = ++replays->sequence;
    answer->until = until;
    answer->status = status;
    answer->body_len = body->len;
    ngx_memcpy(ngx_commerce_replay_body(replays, answer), body->data,
               body->len);
    answer->used = 1;

done:

    ngx_commerce_zone_unlock(zone);
}


void
ngx_commerce_replay_drop(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *idem)
{
    ngx_commerce_mark_t     me;
    ngx_commerce_answer_t  *answer;

    me = ngx_commerce_load(&ngx_commerce_zone_me(zone)->mark);

    ngx_commerce_zone_lock(zone);

    answer = ngx_commerce_replay_find(zone, idem);

    if (answer && answer->mark && answer->mark == me) {
        answer->used = 0;
    }

    ngx_commerce_zone_unlock(zone);
}


/* A mark stays, but what its worker is about to keep is not today's either. */

void
ngx_commerce_replay_forget(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *idem)
{
    ngx_commerce_answer_t  *answer;

    ngx_commerce_zone_lock(zone);

    answer = ngx_commerce_replay_find(zone, idem);

    if (answer && answer->mark) {
        answer->stale = 1;

    } else if (answer) {
        answer->used = 0;
    }

    ngx_commerce_zone_unlock(zone);
}


void
ngx_commerce_replay_forget_all(ngx_commerce_zone_t *zone)
{
    (void) ngx_commerce_add(&zone->sh->replays.epoch, 1);
}


/* Marks of workers that are gone fall; those that live work on. */

void
ngx_commerce_replay_adopt(ngx_commerce_zone_t *zone)
{
    size_t                   i, n;
    ngx_commerce_answer_t   *answer;
    ngx_commerce_replays_t  *replays;

    replays = &zone->sh->replays;
    n = (size_t) replays->sets * NGX_COMMERCE_REPLAY_WAYS;

    for (i = 0; i < n; i++) {
        answer = &replays->answers[i];

        if (answer->used && answer->mark
            && !ngx_commerce_mark_holds(zone, answer->mark))
        {
            answer->used = 0;
        }
    }
}


static ngx_commerce_answer_t *
ngx_commerce_replay_set(ngx_commerce_replays_t *replays,
    const commerce_uuid_t *idem)
{
    uint32_t  hash;

    hash = ngx_murmur_hash2((u_char *) idem, sizeof(commerce_uuid_t));

    return replays->answers
           + (size_t) (hash % replays->sets) * NGX_COMMERCE_REPLAY_WAYS;
}


static ngx_commerce_answer_t *
ngx_commerce_replay_find(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *idem)
{
    ngx_uint_t              i;
    ngx_commerce_answer_t  *answer;

    answer = ngx_commerce_replay_set(&zone->sh->replays, idem);

    for (i = 0; i < NGX_COMMERCE_REPLAY_WAYS; i++, answer++) {

        if (answer->used
            && ngx_memcmp(&answer->idem, idem, sizeof(commerce_uuid_t)) == 0)
        {
            if (ngx_commerce_replay_counts(zone, answer)) {
                return answer;
            }

            answer->used = 0;
        }
    }

    return NULL;
}


static ngx_uint_t
ngx_commerce_replay_counts(ngx_commerce_zone_t *zone,
    ngx_commerce_answer_t *answer)
{
    if (answer->mark) {
        return ngx_commerce_mark_holds(zone, answer->mark);
    }

    return answer->until >= (int64_t) ngx_time()
           && answer->epoch == ngx_commerce_load(&zone->sh->replays.epoch);
}


static ngx_commerce_answer_t *
ngx_commerce_replay_room(ngx_commerce_zone_t *zone,
    const commerce_uuid_t *idem)
{
    ngx_uint_t              i;
    ngx_commerce_answer_t  *answer, *oldest;

    oldest = NULL;
    answer = ngx_commerce_replay_set(&zone->sh->replays, idem);

    for (i = 0; i < NGX_COMMERCE_REPLAY_WAYS; i++, answer++) {

        if (!answer->used || !ngx_commerce_replay_counts(zone, answer)) {
            oldest = answer;
            break;
        }

        if (answer->mark == 0
            && (oldest == NULL || answer->sequence < oldest->sequence))
        {
            oldest = answer;
        }
    }

    if (oldest) {
        oldest->used = 0;
        oldest->epoch = ngx_commerce_load(&zone->sh->replays.epoch);
    }

    return oldest;
}


static u_char *
ngx_commerce_replay_body(ngx_commerce_replays_t *replays,
    ngx_commerce_answer_t *answer)
{
    return replays->bodies + (size_t) (answer - replays->answers)
                             * NGX_COMMERCE_REPLAY_BODY_MAX;
}
