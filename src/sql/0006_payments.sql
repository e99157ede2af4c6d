-- Payments: intents, money that came late, and what providers tell.
-- Locks are taken in one order: orders, coupons, stock; each kind sorted.

-- What a provider calls it, where it did not begin with an intent.
ALTER TABLE commerce.payment ADD COLUMN reference text;
-- Of refund_due: order_cancelled, already_paid, amount_differs,
-- out_of_stock, coupon_used_up.
ALTER TABLE commerce.payment ADD COLUMN reason text;
CREATE INDEX payment_refund_due ON commerce.payment (order_id)
    WHERE state = 'refund_due';

-- One row for each event, in the transaction of its effect: an event that
-- comes again meets its row.
CREATE TABLE commerce.webhook_event (
    provider    text COLLATE "C" NOT NULL,
    event_id    text COLLATE "C" NOT NULL,
    type        text NOT NULL,
    -- as the event names them; NULL: not at all, or no id of ours
    order_id    uuid,
    payment_id  uuid,
    reference   text,
    amount      bigint,
    currency    text,
    body        jsonb NOT NULL,
    -- stored: waits for what it is about, and is tried again
    state       text NOT NULL CHECK (state IN ('applied', 'ignored',
                                               'stored', 'given_up')),
    reason      text,
    attempts    integer NOT NULL DEFAULT 0,
    next_try    timestamptz,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, event_id)
);
CREATE INDEX webhook_event_due ON commerce.webhook_event (next_try)
    WHERE state = 'stored';
CREATE INDEX webhook_event_done ON commerce.webhook_event (received_at)
    WHERE state IN ('applied', 'ignored');


-- The key of a payment that began at its provider.
CREATE FUNCTION commerce.payment_idem(provider text, reference text)
RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT left(encode(sha256(convert_to(
        'reference' || chr(10) || provider || chr(10) || reference,
        'UTF8')), 'hex'), 32)::uuid
$$;

-- The payment that an event is about: our intent, or what the provider calls
-- so.  A provider has no say in another one's payments.
CREATE FUNCTION commerce.payment_of(e commerce.webhook_event)
RETURNS SETOF commerce.payment
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT p.* FROM commerce.payment p
    WHERE p.id = e.payment_id AND p.provider = e.provider
    UNION ALL
    SELECT p.* FROM commerce.payment p
    WHERE p.idem = commerce.payment_idem(e.provider, e.reference)
    LIMIT 1
$$;


-- Locks what late payments of these orders may take: coupons, then stock.
-- The caller holds the orders.
CREATE FUNCTION commerce.lock_late(which uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    late    uuid[];
BEGIN
    SELECT array_agg(o.id) INTO late FROM commerce.orders o
    WHERE o.id = ANY (which) AND o.state = 'expired';
    IF late IS NULL THEN
        RETURN;
    END IF;

    PERFORM FROM commerce.coupon c WHERE lower(c.code) IN (
        SELECT lower(o.coupon_code COLLATE "C") FROM commerce.orders o
        WHERE o.id = ANY (late))
    ORDER BY c.id FOR NO KEY UPDATE;

    PERFORM FROM commerce.stock s WHERE (s.variant_id, s.location_id) IN (
        SELECT l.variant_id, x.location_id FROM commerce.order_line l
        JOIN commerce.lease x ON x.id = l.lease_id
        WHERE l.order_id = ANY (late))
    ORDER BY s.variant_id, s.location_id FOR NO KEY UPDATE;
END
$$;


-- Takes the units of an expired order from stock.free, all or none: '' when
-- they are taken, else 'out_of_stock', or 'leased': instances have them and
-- were asked for them, try again; never with "last".
CREATE FUNCTION commerce.take_units(which uuid, last boolean) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    short   uuid[];
    gone    boolean;
BEGIN
    SELECT array_agg(n.variant_id ORDER BY n.variant_id),
           bool_or(coalesce(s.free, 0) + commerce.leased_of(n.variant_id)
                   < n.units)
    INTO short, gone
    FROM (SELECT l.variant_id, x.location_id, sum(l.quantity) AS units
          FROM commerce.order_line l
          JOIN commerce.lease x ON x.id = l.lease_id
          WHERE l.order_id = which GROUP BY 1, 2) n
    LEFT JOIN commerce.stock s USING (variant_id, location_id)
    WHERE coalesce(s.free, 0) < n.units;

    IF short IS NULL THEN
        UPDATE commerce.stock s SET free = s.free - n.units
        FROM (SELECT l.variant_id, x.location_id, sum(l.quantity) AS units
              FROM commerce.order_line l
              JOIN commerce.lease x ON x.id = l.lease_id
              WHERE l.order_id = which GROUP BY 1, 2) n
        WHERE s.variant_id = n.variant_id AND s.location_id = n.location_id;
        RETURN '';
    END IF;

    IF last OR gone THEN
        RETURN 'out_of_stock';
    END IF;

    -- instance 0 is none: all of them give back what their pools have
    PERFORM pg_notify('commerce_news', 'r ' || v || ' 0')
    FROM unnest(short) v;
    RETURN 'leased';
END
$$;


-- Uses the coupon of an expired order anew; false when it is used up.
CREATE FUNCTION commerce.use_coupon_again(o commerce.orders)
RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    c       commerce.coupon;
    who_    text;
BEGIN
    SELECT * INTO c FROM commerce.coupon x
    WHERE lower(x.code) = lower(o.coupon_code COLLATE "C");
    IF NOT FOUND OR EXISTS (SELECT FROM commerce.coupon_use u
        WHERE u.order_id = o.id)
    THEN
        RETURN true;
    END IF;

    who_ := coalesce('c:' || o.customer_id, lower(o.email COLLATE "C"), '');
    IF c.used >= c.limit_total OR c.limit_per_customer <= (SELECT count(*)
        FROM commerce.coupon_use u
        WHERE u.coupon_id = c.id AND u.who = who_)
    THEN
        RETURN false;
    END IF;

    INSERT INTO commerce.coupon_use (coupon_id, order_id, who)
    VALUES (c.id, o.id, who_);
    UPDATE commerce.coupon x SET used = x.used + 1 WHERE x.id = c.id;
    RETURN true;
END
$$;


-- Money has come: it pays the order, or is due back, and why.  The caller
-- holds the order and what lock_late() locks.  p is new, or the intent;
-- its state and reason are set.  state 'leased': nothing was done, see
-- take_units().
CREATE FUNCTION commerce.receive_payment(p commerce.payment, actor text,
    last boolean)
RETURNS commerce.payment
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    o       commerce.orders;
    late    boolean;
BEGIN
    SELECT * INTO o FROM commerce.orders x WHERE x.id = p.order_id;
    late := o.state = 'expired';
    p.reason := CASE
        WHEN o.state = 'cancelled' THEN 'order_cancelled'
        WHEN o.state NOT IN ('pending_payment', 'expired')
            THEN 'already_paid'
        WHEN p.amount <> o.total OR p.currency <> o.currency
            THEN 'amount_differs' END;

    IF late AND p.reason IS NULL THEN
        p.reason := CASE WHEN commerce.use_coupon_again(o)
            THEN nullif(commerce.take_units(o.id, last), '')
            ELSE 'coupon_used_up' END;
        IF p.reason IN ('leased', 'out_of_stock') THEN
            PERFORM commerce.coupon_release(ARRAY[o.id]);
        END IF;
        IF p.reason = 'leased' THEN
            p.state := 'leased';
            RETURN p;
        END IF;
    END IF;

    p.state := CASE WHEN p.reason IS NULL THEN 'succeeded'
                    ELSE 'refund_due' END;

    UPDATE commerce.payment x SET state = p.state, reason = p.reason,
        amount = p.amount, currency = p.currency, reference = p.reference
    WHERE x.id = p.id;
    IF NOT FOUND THEN
        p.created_at := now();
        INSERT INTO commerce.payment (id, order_id, idem, fingerprint,
            provider, reference, state, reason, amount, currency, created_at)
        VALUES (p.id, p.order_id, p.idem, p.fingerprint, p.provider,
            p.reference, p.state, p.reason, p.amount, p.currency,
            p.created_at);
    END IF;

    PERFORM commerce.order_step(o,
        CASE WHEN p.reason IS NULL THEN 'paid' ELSE o.state END,
        CASE WHEN p.reason IS NULL THEN 'paid' ELSE 'payment_refund_due' END,
        actor, jsonb_strip_nulls(jsonb_build_object(
            'payment_id', p.id, 'provider', p.provider, 'amount', p.amount,
            'currency', p.currency, 'reason', p.reason,
            'late', CASE WHEN late THEN true END)));
    RETURN p;
END
$$;


-- A payment of provider "test" for an expired order.  Codes as of the
-- statement "pay", and 9: leased, try again.  Rows of n = 0: variants with
-- what is free of them now.
CREATE FUNCTION commerce.pay_late(which uuid, id uuid, idem uuid,
    fingerprint uuid, provider text, actor text, last boolean)
RETURNS TABLE (n integer, code integer, subject uuid, amount bigint,
    currency text, created_at timestamptz, state text, reason text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    o       commerce.orders;
    p       commerce.payment;
BEGIN
    n := 1;
    SELECT * INTO o FROM commerce.orders x WHERE x.id = which
    FOR NO KEY UPDATE;
    subject := o.idem;
    code := CASE
        WHEN o.id IS NULL THEN 5
        WHEN EXISTS (SELECT FROM commerce.payment x
            WHERE x.idem = pay_late.idem) THEN 4
        WHEN o.state <> 'expired' THEN 7 ELSE 0 END;
    IF code <> 0 THEN
        RETURN NEXT;
        RETURN;
    END IF;

    PERFORM commerce.lock_late(ARRAY[which]);
    p.id := pay_late.id;
    p.order_id := which;
    p.idem := pay_late.idem;
    p.fingerprint := pay_late.fingerprint;
    p.provider := pay_late.provider;
    p.amount := o.total;
    p.currency := o.currency;
    p := commerce.receive_payment(p, actor, last);

    code := CASE WHEN p.state = 'leased' THEN 9 ELSE 0 END;
    amount := p.amount;
    currency := p.currency;
    created_at := p.created_at;
    state := p.state;
    reason := p.reason;
    RETURN NEXT;

    IF p.state = 'succeeded' THEN
        RETURN QUERY SELECT 0, 0, f.id, f.free, NULL::text,
            NULL::timestamptz, NULL::text, NULL::text
        FROM commerce.free_of(ARRAY[which]) f;
    END IF;
END
$$;

-- The variants of these orders and what is free of them.
CREATE FUNCTION commerce.free_of(which uuid[])
RETURNS TABLE (id uuid, free bigint)
LANGUAGE sql STABLE AS $$
    SELECT s.variant_id, least(sum(s.free), 2147483647)::bigint
    FROM commerce.stock s
    WHERE s.location_id = 1 AND s.variant_id IN (SELECT l.variant_id
        FROM commerce.order_line l WHERE l.order_id = ANY (which))
    GROUP BY 1
$$;


-- Does what an event says.  The caller holds its order and what lock_late()
-- locks.  status: applied; ignored, and why; stored: what it is about is not
-- there yet; leased: nothing was done, see take_units().  effect: paid;
-- paid_late: with units from stock.free; refund_due; or NULL.
CREATE FUNCTION commerce.apply_event(e commerce.webhook_event, last boolean,
    OUT status text, OUT reason text, OUT order_id uuid,
    OUT order_state text, OUT order_idem uuid, OUT payment_id uuid,
    OUT payment_state text, OUT effect text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    o       commerce.orders;
    p       commerce.payment;
    actor   text := 'provider:' || e.provider;
    fresh   boolean;
BEGIN
    IF e.type NOT IN ('payment.succeeded', 'payment.failed',
        'refund.succeeded')
    THEN
        status := 'ignored';
        reason := 'unknown_type';
        RETURN;
    END IF;

    SELECT * INTO p FROM commerce.payment_of(e);
    fresh := p.id IS NULL;
    SELECT * INTO o FROM commerce.orders x
    WHERE x.id = coalesce(p.order_id, e.order_id);
    IF o.id IS NULL OR (fresh AND e.type = 'refund.succeeded') THEN
        status := 'stored';
        reason := CASE WHEN o.id IS NULL THEN 'unknown_order'
                       ELSE 'unknown_payment' END;
        RETURN;
    END IF;

    IF fresh THEN
        p.id := commerce.uuid_v7();
        p.order_id := o.id;
        p.idem := commerce.payment_idem(e.provider,
            coalesce(e.reference, 'event ' || e.event_id));
        p.fingerprint := p.idem;
        p.provider := e.provider;
    END IF;
    p.reference := coalesce(p.reference, nullif(e.reference, p.id::text));
    status := 'applied';

    IF e.type = 'refund.succeeded' AND p.state IN ('pending', 'declined') THEN
        status := 'stored';
        reason := 'payment_not_settled';
    ELSIF e.type = 'refund.succeeded' THEN
        reason := CASE WHEN e.currency <> p.currency THEN 'amount_differs'
            WHEN (SELECT r.verdict FROM commerce.refund_settled(p.id,
                e.amount) r) IN ('settled', 'recorded') THEN NULL
            ELSE 'over_refund' END;
        IF reason <> '' THEN
            status := 'ignored';
        END IF;
    ELSIF NOT fresh AND p.state <> 'pending'
        AND (e.type = 'payment.failed' OR p.state <> 'declined')
    THEN
        status := 'ignored';
        reason := 'already_settled';
    ELSIF e.type = 'payment.succeeded' THEN
        p.amount := e.amount;
        p.currency := e.currency;
        p := commerce.receive_payment(p, actor, last);
        reason := p.reason;
        IF p.state = 'leased' THEN
            status := 'leased';
        END IF;
        effect := CASE
            WHEN p.state <> 'succeeded' THEN nullif(p.state, 'leased')
            WHEN o.state = 'expired' THEN 'paid_late' ELSE 'paid' END;
    ELSE
        p.state := 'declined';
        IF fresh THEN
            INSERT INTO commerce.payment (id, order_id, idem, fingerprint,
                provider, reference, state, amount, currency)
            VALUES (p.id, o.id, p.idem, p.fingerprint, p.provider,
                p.reference, p.state, coalesce(e.amount, o.total),
                coalesce(e.currency, o.currency));
        ELSE
            UPDATE commerce.payment x SET state = p.state,
                reference = p.reference WHERE x.id = p.id;
        END IF;
    END IF;

    SELECT x.state INTO order_state FROM commerce.orders x
    WHERE x.id = o.id;
    order_id := o.id;
    order_idem := o.idem;
    payment_id := p.id;
    payment_state := p.state;
END
$$;


-- Events as they come in, each stored with its effect.  Rows by n, from 1;
-- status as of apply_event(), or duplicate.  Rows of n = 0: variants with
-- what is free of them now.
CREATE FUNCTION commerce.take_events(providers text[], ids text[],
    types text[], order_ids uuid[], payment_ids uuid[], refs text[],
    amounts bigint[], currencies text[], bodies text[], lasts boolean[])
RETURNS TABLE (n integer, status text, reason text, order_id uuid,
    order_state text, order_idem uuid, payment_id uuid, payment_state text,
    free bigint, effect text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    all_    commerce.webhook_event[];
    e       commerce.webhook_event;
    done    record;
    taken   uuid[] := '{}';
BEGIN
    SELECT array_agg(ROW(a.provider, a.id, a.type, a.order_id, a.payment_id,
        a.ref, a.amount, a.currency, a.body::jsonb, 'applied', NULL, 0,
        NULL, now())::commerce.webhook_event ORDER BY a.n) INTO all_
    FROM unnest(providers, ids, types, order_ids, payment_ids, refs, amounts,
        currencies, bodies) WITH ORDINALITY a(provider, id, type, order_id,
        payment_id, ref, amount, currency, body, n);
    PERFORM commerce.lock_events(all_);

    FOR n IN
        SELECT a.n FROM unnest(providers, ids) WITH ORDINALITY
            a(provider, id, n)
        ORDER BY a.provider COLLATE "C", a.id COLLATE "C", a.n
    LOOP
        e := all_[n];
        INSERT INTO commerce.webhook_event SELECT (e).*
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN QUERY SELECT n, 'duplicate', w.reason, w.order_id,
                o.state, o.idem, w.payment_id, NULL::text, NULL::bigint,
                NULL::text
            FROM commerce.webhook_event w
            LEFT JOIN commerce.orders o ON o.id = w.order_id
            WHERE w.provider = e.provider AND w.event_id = e.event_id;
            CONTINUE;
        END IF;

        SELECT * INTO done FROM commerce.apply_event(e, lasts[n]);
        IF done.status = 'leased' THEN
            DELETE FROM commerce.webhook_event w
            WHERE w.provider = e.provider AND w.event_id = e.event_id;
        ELSIF done.status <> 'applied' OR done.reason <> '' THEN
            UPDATE commerce.webhook_event w SET state = done.status,
                reason = done.reason, next_try = CASE
                    WHEN done.status = 'stored'
                    THEN now() + interval '1 s' END
            WHERE w.provider = e.provider AND w.event_id = e.event_id;
        END IF;

        IF done.effect = 'paid_late' THEN
            taken := taken || done.order_id;
        END IF;
        RETURN QUERY SELECT n, done.status, done.reason, done.order_id,
            done.order_state, done.order_idem, done.payment_id,
            done.payment_state, NULL::bigint, done.effect;
    END LOOP;

    RETURN QUERY SELECT 0, '', NULL::text, f.id, NULL::text, NULL::uuid,
        NULL::uuid, NULL::text, f.free, NULL::text
    FROM commerce.free_of(taken) f;
END
$$;

-- Locks what these events may change.
CREATE FUNCTION commerce.lock_events(events commerce.webhook_event[])
RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    which   uuid[];
BEGIN
    SELECT array_agg(coalesce((SELECT p.order_id
        FROM commerce.payment_of(e) p), e.order_id)) INTO which
    FROM unnest(events) e;
    PERFORM FROM commerce.orders o WHERE o.id = ANY (which)
    ORDER BY o.id FOR NO KEY UPDATE;
    PERFORM commerce.lock_late(which);
END
$$;


-- Tries stored events again that are due: after 1, 2, 4, ... seconds, at
-- least once an hour, for three days.  Rows as of take_events().
CREATE FUNCTION commerce.retry_events(most integer)
RETURNS TABLE (n integer, status text, reason text, order_id uuid,
    order_state text, order_idem uuid, payment_id uuid, payment_state text,
    free bigint, effect text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    due     commerce.webhook_event[];
    e       commerce.webhook_event;
    done    record;
    taken   uuid[] := '{}';
BEGIN
    SELECT array_agg(ROW(w.*)::commerce.webhook_event) INTO due FROM (
        SELECT * FROM commerce.webhook_event x
        WHERE x.state = 'stored' AND x.next_try <= now()
        ORDER BY x.next_try LIMIT most FOR UPDATE SKIP LOCKED) w;
    IF due IS NULL THEN
        RETURN;
    END IF;
    PERFORM commerce.lock_events(due);

    FOR n IN 1 .. cardinality(due) LOOP
        e := due[n];
        e.attempts := e.attempts + 1;
        -- one that fails is not to stop the others
        BEGIN
            SELECT * INTO done FROM commerce.apply_event(e, e.attempts > 2);
        EXCEPTION WHEN OTHERS THEN
            SELECT 'stored' AS status, 'sqlstate_' || SQLSTATE AS reason,
                NULL::uuid AS order_id, NULL::text AS order_state,
                NULL::uuid AS order_idem, NULL::uuid AS payment_id,
                NULL::text AS payment_state, NULL::text AS effect INTO done;
        END;
        e.state := CASE WHEN done.status NOT IN ('stored', 'leased')
                            THEN done.status
                        WHEN e.received_at < now() - interval '3 days'
                            THEN 'given_up'
                        ELSE 'stored' END;
        UPDATE commerce.webhook_event w SET state = e.state,
            reason = done.reason, attempts = e.attempts,
            next_try = now() + least(2 ^ least(e.attempts, 20), 3600)
                               * interval '1 s'
        WHERE w.provider = e.provider AND w.event_id = e.event_id;

        IF done.effect = 'paid_late' THEN
            taken := taken || done.order_id;
        END IF;
        RETURN QUERY SELECT n, e.state, done.reason, done.order_id,
            done.order_state, done.order_idem, done.payment_id,
            done.payment_state, NULL::bigint, done.effect;
    END LOOP;

    RETURN QUERY SELECT 0, '', NULL::text, f.id, NULL::text, NULL::uuid,
        NULL::uuid, NULL::text, f.free, NULL::text
    FROM commerce.free_of(taken) f;
END
$$;


-- With what the staff has to know of money that came late.
CREATE OR REPLACE FUNCTION commerce.payments_of(which uuid) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT json_strip_nulls(json_agg(json_build_object('id', p.id,
        'provider', p.provider, 'reference', p.reference, 'state', p.state,
        'reason', p.reason, 'amount', p.amount, 'refunded', p.refunded,
        'currency', p.currency,
        'created_at', commerce.api_time(p.created_at))
        ORDER BY p.created_at, p.id))::text
    FROM commerce.payment p WHERE p.order_id = which
$$;
