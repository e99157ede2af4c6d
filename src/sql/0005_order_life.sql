-- The life of an order after it was placed: events, shipments, refunds.
-- Append tables have no foreign keys: who writes them holds the order's row.


-- One row for each step, written in the transaction that makes it.  seq is the
-- order's version after the step, so a gap shows.  "placed" (1) is not stored:
-- a row of its own would cost each checkout a seventh (view order_events).
CREATE TABLE commerce.order_event (
    order_id    uuid NOT NULL,
    seq         integer NOT NULL CHECK (seq > 1),
    type        text NOT NULL,          -- paid, fulfilled, refunded, ...
    state       text NOT NULL,          -- the order's, after it
    actor       text NOT NULL,          -- guest, system, key:<name>, ...
    data        jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, seq)
);

CREATE VIEW commerce.order_events AS
SELECT o.id AS order_id, 1 AS seq, 'placed'::text AS type,
       'pending_payment'::text AS state,
       CASE WHEN o.customer_id IS NULL THEN 'guest'
            ELSE 'customer:' || o.customer_id END AS actor,
       jsonb_build_object('total', o.total, 'currency', o.currency) AS data,
       o.created_at
FROM commerce.orders o
UNION ALL
SELECT order_id, seq, type, state, actor, data, created_at
FROM commerce.order_event;


-- Lists by the staff.  None of these has an order that a guest has just made,
-- unless it came with an address: the checkout does not pay for them.
CREATE INDEX orders_state ON commerce.orders (state, id)
    WHERE state <> 'pending_payment';
CREATE INDEX orders_customer ON commerce.orders (customer_id, id)
    WHERE customer_id IS NOT NULL;
CREATE INDEX orders_email ON commerce.orders (lower(email), id)
    WHERE email IS NOT NULL;


-- The mirror of commerce_order_may_become(): a test compares them.
CREATE FUNCTION commerce.order_may_become(was text, becomes text)
RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (was, becomes) IN (
        ('pending_payment', 'paid'),
        ('pending_payment', 'cancelled'),
        ('pending_payment', 'expired'),
        ('paid', 'fulfilled'),
        ('paid', 'cancelled'),
        ('paid', 'partially_refunded'),
        ('paid', 'refunded'),
        ('fulfilled', 'partially_refunded'),
        ('fulfilled', 'refunded'),
        ('expired', 'paid'),
        ('partially_refunded', 'cancelled'),
        ('partially_refunded', 'partially_refunded'),
        ('partially_refunded', 'refunded'))
$$;


-- Shipments

CREATE TABLE commerce.shipment (
    id          uuid PRIMARY KEY,
    order_id    uuid NOT NULL,
    idem        uuid NOT NULL UNIQUE,   -- its own id where no key was given
    fingerprint uuid NOT NULL,
    carrier     text,
    tracking    text,
    actor       text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX shipment_order ON commerce.shipment (order_id);

CREATE TABLE commerce.shipment_line (
    shipment_id uuid NOT NULL,
    line_no     smallint NOT NULL,
    quantity    integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (shipment_id, line_no)
);


-- Refunds.  An order's "refunded" and a payment's count from the request on,
-- pending ones too: nothing can be given back twice while a provider thinks.

CREATE TABLE commerce.refund (
    id          uuid PRIMARY KEY,
    order_id    uuid NOT NULL,
    payment_id  uuid,                   -- NULL: nothing was paid
    idem        uuid NOT NULL UNIQUE,
    fingerprint uuid NOT NULL,
    state       text NOT NULL CHECK (state IN ('pending', 'succeeded')),
    amount      bigint NOT NULL CHECK (amount >= 0),
    shipping    bigint NOT NULL DEFAULT 0   -- the part of it
                CHECK (shipping BETWEEN 0 AND amount),
    reason      text,
    actor       text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    settled_at  timestamptz
);
CREATE INDEX refund_order ON commerce.refund (order_id);
CREATE INDEX refund_pending ON commerce.refund (payment_id)
    WHERE state = 'pending';

CREATE TABLE commerce.refund_line (
    refund_id   uuid NOT NULL,
    line_no     smallint NOT NULL,
    quantity    integer NOT NULL CHECK (quantity > 0),
    -- units of it that were not shipped, and never will be
    withdrawn   integer NOT NULL DEFAULT 0
                CHECK (withdrawn BETWEEN 0 AND quantity),
    restocked   integer NOT NULL DEFAULT 0
                CHECK (restocked BETWEEN 0 AND quantity),
    amount      bigint NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (refund_id, line_no)
);


-- What the API shows of them: compact JSON in the members' order, NULL where
-- there is none.

CREATE FUNCTION commerce.api_time(at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

CREATE FUNCTION commerce.shipment_json(s commerce.shipment) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT json_build_object('id', s.id, 'order_id', s.order_id,
        'carrier', s.carrier, 'tracking', s.tracking,
        'lines', (SELECT json_agg(json_build_object(
                'variant_id', l.variant_id, 'sku', l.sku,
                'quantity', n.quantity) ORDER BY n.line_no)
            FROM commerce.shipment_line n JOIN commerce.order_line l
            ON l.order_id = s.order_id AND l.line_no = n.line_no
            WHERE n.shipment_id = s.id),
        'created_at', commerce.api_time(s.created_at))
$$;

-- The reason is between the staff.
CREATE FUNCTION commerce.refund_json(r commerce.refund, staff boolean)
RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT json_build_object('id', r.id, 'order_id', r.order_id,
        'payment_id', CASE WHEN staff THEN r.payment_id END,
        'state', r.state, 'amount', r.amount,
        'currency', (SELECT o.currency FROM commerce.orders o
                     WHERE o.id = r.order_id),
        'shipping', nullif(r.shipping, 0),
        'reason', CASE WHEN staff THEN r.reason END,
        'lines', (SELECT json_agg(json_build_object(
                'variant_id', l.variant_id, 'sku', l.sku,
                'quantity', n.quantity, 'restocked', n.restocked,
                'amount', n.amount) ORDER BY n.line_no)
            FROM commerce.refund_line n JOIN commerce.order_line l
            ON l.order_id = r.order_id AND l.line_no = n.line_no
            WHERE n.refund_id = r.id),
        'created_at', commerce.api_time(r.created_at),
        'settled_at', commerce.api_time(r.settled_at))
$$;

CREATE FUNCTION commerce.shipments_of(which uuid) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT json_strip_nulls(json_agg(commerce.shipment_json(s)
        ORDER BY s.created_at, s.id))::text
    FROM commerce.shipment s WHERE s.order_id = which
$$;

CREATE FUNCTION commerce.refunds_of(which uuid, staff boolean) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT json_strip_nulls(json_agg(commerce.refund_json(r, staff)
        ORDER BY r.created_at, r.id))::text
    FROM commerce.refund r WHERE r.order_id = which
$$;

CREATE FUNCTION commerce.payments_of(which uuid) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT json_strip_nulls(json_agg(json_build_object('id', p.id,
        'provider', p.provider, 'state', p.state, 'amount', p.amount,
        'refunded', p.refunded, 'currency', p.currency,
        'created_at', commerce.api_time(p.created_at))
        ORDER BY p.created_at, p.id))::text
    FROM commerce.payment p WHERE p.order_id = which
$$;


-- What one line has been through.  "cost" is what its buyer paid for it:
-- shares of the discount off, tax that the price does not contain on top.
CREATE FUNCTION commerce.order_units(which uuid)
RETURNS TABLE (line_no smallint, quantity bigint, fulfilled bigint,
    refunded bigint, withdrawn bigint, cost bigint)
LANGUAGE sql STABLE AS $$
    WITH w AS (
        SELECT n.line_no, sum(n.withdrawn) AS units
        FROM commerce.refund r JOIN commerce.refund_line n
            ON n.refund_id = r.id
        WHERE r.order_id = which GROUP BY 1
    )
    SELECT l.line_no, l.quantity, l.fulfilled, l.refunded,
           coalesce(w.units, 0), l.unit_price * l.quantity - l.discount
           + CASE WHEN l.tax_included THEN 0 ELSE l.tax END
    FROM commerce.order_line l LEFT JOIN w USING (line_no)
    WHERE l.order_id = which
$$;

-- The lines that a shipment or a refund is about, with units, those of them
-- that go back to the stock, and how many there can be at most.  lines: as in
-- the request, summed for each line of the order; entry is the first that
-- names it, from 0, and line_no is NULL for those that name none.  Without
-- lines it is all that is left.
CREATE FUNCTION commerce.order_chosen(which uuid, lines jsonb,
    refund boolean, restock boolean)
RETURNS TABLE (line_no smallint, units bigint, back bigint, most bigint,
    entry bigint)
LANGUAGE sql STABLE AS $$
    WITH u AS MATERIALIZED (
        SELECT x.line_no, CASE WHEN refund THEN x.quantity - x.refunded
            ELSE x.quantity - x.fulfilled - x.withdrawn END AS most
        FROM commerce.order_units(which) x
    ), asked AS MATERIALIZED (
        SELECT coalesce(a.line_no, b.line_no) AS line_no,
               sum((e.doc->>'quantity')::bigint) AS units,
               sum((e.doc->>'quantity')::bigint) FILTER (WHERE
                   coalesce((e.doc->>'restock')::boolean, restock)) AS back,
               min(e.n) - 1 AS entry
        FROM jsonb_array_elements(CASE WHEN jsonb_typeof(lines) = 'array'
            THEN lines END) WITH ORDINALITY e(doc, n)
        LEFT JOIN commerce.order_line a
            ON a.order_id = which AND a.sku = e.doc->>'sku'
        LEFT JOIN commerce.order_line b ON b.order_id = which
            AND b.variant_id = (e.doc->>'variant_id')::uuid
        GROUP BY 1
    )
    SELECT k.line_no, k.units, coalesce(k.back, 0), u.most, k.entry
    FROM asked k LEFT JOIN u USING (line_no)
    UNION ALL
    SELECT u.line_no, u.most, CASE WHEN restock THEN u.most ELSE 0 END,
           u.most, NULL
    FROM u WHERE u.most > 0 AND jsonb_typeof(lines) IS DISTINCT FROM 'array'
$$;

-- commerce_price_portion(): a test compares them.
CREATE FUNCTION commerce.price_portion(cost bigint, quantity bigint,
    before bigint, units bigint)
RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (div(2 * cost::numeric * (before + units) + quantity,
                2 * quantity::numeric)
            - div(2 * cost::numeric * before + quantity,
                  2 * quantity::numeric))::bigint
$$;


-- The order takes a step, or only tells of something where "becomes" is its
-- state; its row is locked.  An illegal step is a defect of the caller.
CREATE FUNCTION commerce.order_step(o commerce.orders, becomes text,
    type text, actor text, data jsonb)
RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF becomes <> o.state AND NOT commerce.order_may_become(o.state, becomes)
    THEN
        RAISE EXCEPTION 'an order that is % cannot become %', o.state,
            becomes USING ERRCODE = 'check_violation';
    END IF;

    UPDATE commerce.orders x SET state = becomes, version = o.version + 1
    WHERE x.id = o.id;
    INSERT INTO commerce.order_event (order_id, seq, type, state, actor, data)
    VALUES (o.id, o.version + 1, order_step.type, becomes, order_step.actor,
        order_step.data);
END
$$;


-- Both functions below answer a row with what came of it, and refund_order()
-- one more for each variant that got units back.  doc is checked by the
-- worker: types, bounds, no unknown members.  remains: how much there is where
-- more was asked for.

-- Some units, or all that are left, go to their buyer.
CREATE FUNCTION commerce.fulfil_order(which uuid, doc jsonb, actor text,
    new_id uuid, idem uuid, fingerprint uuid)
RETURNS TABLE (status text, problem text, code text, pointer text,
    remains bigint, order_idem uuid, answer text, variant uuid, free integer)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    o           commerce.orders;
    s           commerce.shipment;
    numbers     smallint[];
    units       bigint[];
    unknown     bigint;
    too_many    bigint;
BEGIN
    status := 'error';
    SELECT * INTO o FROM commerce.orders x WHERE x.id = which
    FOR NO KEY UPDATE;
    order_idem := o.idem;
    SELECT * INTO s FROM commerce.shipment x
    WHERE x.idem = fulfil_order.idem;

    IF s.fingerprint = fulfil_order.fingerprint THEN
        status := 'replayed';
        answer := json_strip_nulls(commerce.shipment_json(s))::text;
        RETURN NEXT;
        RETURN;
    END IF;
    problem := CASE WHEN o.id IS NULL THEN 'not_found'
        WHEN s.id IS NOT NULL THEN 'idempotency_key_reused'
        WHEN o.state NOT IN ('paid', 'partially_refunded')
        THEN 'illegal_transition' END;
    IF problem IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;

    SELECT array_agg(c.line_no), array_agg(c.units),
           min(c.entry) FILTER (WHERE c.line_no IS NULL),
           min(c.entry) FILTER (WHERE c.units > c.most),
           (array_agg(c.most ORDER BY c.entry)
               FILTER (WHERE c.units > c.most))[1]
    INTO numbers, units, unknown, too_many, remains
    FROM commerce.order_chosen(which, doc->'lines', false, false) c;

    IF unknown IS NOT NULL THEN
        problem := 'invalid_request';
        code := 'unknown_line';
        pointer := '/lines/' || unknown;
    ELSIF too_many IS NOT NULL THEN
        problem := 'conflict';
        code := 'too_many';
        pointer := '/lines/' || too_many || '/quantity';
    ELSIF numbers IS NULL THEN
        problem := 'illegal_transition';
    END IF;
    IF problem IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;

    INSERT INTO commerce.shipment AS x (id, order_id, idem, fingerprint,
        carrier, tracking, actor)
    VALUES (new_id, which, fulfil_order.idem, fulfil_order.fingerprint,
        doc->>'carrier', doc->>'tracking', fulfil_order.actor)
    RETURNING * INTO s;
    INSERT INTO commerce.shipment_line (shipment_id, line_no, quantity)
    SELECT new_id, a.line_no, a.units
    FROM unnest(numbers, units) a(line_no, units);
    UPDATE commerce.order_line l SET fulfilled = l.fulfilled + a.units
    FROM unnest(numbers, units) a(line_no, units)
    WHERE l.order_id = which AND l.line_no = a.line_no;

    -- after a refund the state tells of the money for good
    PERFORM commerce.order_step(o, CASE WHEN o.state = 'paid' AND NOT EXISTS (
            SELECT FROM commerce.order_line l
            WHERE l.order_id = which AND l.fulfilled < l.quantity)
        THEN 'fulfilled' ELSE o.state END, 'fulfilled', fulfil_order.actor,
        jsonb_strip_nulls(jsonb_build_object('shipment_id', new_id,
            'carrier', s.carrier, 'tracking', s.tracking,
            'units', (SELECT sum(n) FROM unnest(units) n))));

    status := 'created';
    answer := json_strip_nulls(commerce.shipment_json(s))::text;
    RETURN NEXT;
END
$$;


-- Money goes back: an amount, what units or the shipping cost, or all that is
-- left.  Units may go back to the stock.  Where some of a line were shipped
-- and some not, those that were not are refunded first.
CREATE FUNCTION commerce.refund_order(which uuid, doc jsonb, actor text,
    new_id uuid, idem uuid, fingerprint uuid)
RETURNS TABLE (status text, problem text, code text, pointer text,
    remains bigint, order_idem uuid, answer text, variant uuid, free integer)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    o           commerce.orders;
    p           commerce.payment;
    r           commerce.refund;
    v           record;
    by_line     boolean;
    everything  boolean;
    restock     boolean := coalesce((doc->>'restock')::boolean, false);
    money       bigint := (doc->>'amount')::bigint;
    postage     bigint := (doc->>'shipping')::bigint;
    numbers     smallint[];
    units       bigint[];
    backs       bigint[];
    unknown     bigint;
    too_many    bigint;
    cost        bigint;
    postage_left bigint;
    becomes     text;
BEGIN
    status := 'error';
    SELECT * INTO o FROM commerce.orders x WHERE x.id = which
    FOR NO KEY UPDATE;
    order_idem := o.idem;
    SELECT * INTO r FROM commerce.refund x WHERE x.idem = refund_order.idem;

    IF r.fingerprint = refund_order.fingerprint THEN
        status := 'replayed';
        answer := json_strip_nulls(commerce.refund_json(r, true))::text;
        RETURN NEXT;
        RETURN;
    END IF;
    problem := CASE WHEN o.id IS NULL THEN 'not_found'
        WHEN r.id IS NOT NULL THEN 'idempotency_key_reused'
        WHEN NOT commerce.order_may_become(o.state, 'refunded')
        THEN 'illegal_transition' END;
    IF problem IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;

    by_line := coalesce(jsonb_typeof(doc->'lines') = 'array', false);
    everything := NOT by_line AND money IS NULL AND postage IS NULL;

    IF by_line OR everything THEN
        SELECT array_agg(c.line_no), array_agg(c.units), array_agg(c.back),
               min(c.entry) FILTER (WHERE c.line_no IS NULL),
               min(c.entry) FILTER (WHERE c.units > c.most),
               (array_agg(c.most ORDER BY c.entry)
                   FILTER (WHERE c.units > c.most))[1]
        INTO numbers, units, backs, unknown, too_many, remains
        FROM commerce.order_chosen(which, doc->'lines', true, restock) c;
    END IF;

    SELECT o.total - sum(u.cost) - (SELECT coalesce(sum(x.shipping), 0)
               FROM commerce.refund x WHERE x.order_id = which),
           -- what is refused below for its units must not overflow here
           coalesce(sum(commerce.price_portion(u.cost, u.quantity,
               u.refunded, least(a.units, u.quantity - u.refunded)))
               FILTER (WHERE a.units IS NOT NULL), 0)
    INTO postage_left, cost
    FROM commerce.order_units(which) u
    LEFT JOIN unnest(numbers, units) a(line_no, units)
        ON a.line_no = u.line_no;

    IF unknown IS NOT NULL THEN
        problem := 'invalid_request';
        code := 'unknown_line';
        pointer := '/lines/' || unknown;
    ELSIF too_many IS NOT NULL THEN
        problem := 'conflict';
        code := 'too_many';
        pointer := '/lines/' || too_many || '/quantity';
    ELSIF postage > postage_left THEN
        problem := 'conflict';
        code := 'too_much';
        pointer := '/shipping';
        remains := postage_left;
    ELSIF everything THEN
        money := o.total - o.refunded;
        postage := greatest(least(postage_left, money - cost), 0);
    ELSE
        pointer := CASE WHEN money IS NULL THEN '' ELSE '/amount' END;
        money := coalesce(money, cost + coalesce(postage, 0));
        IF money > o.total - o.refunded THEN
            problem := 'conflict';
            code := 'too_much';
            remains := o.total - o.refunded;
        END IF;
    END IF;

    IF problem IS NULL AND money > 0 THEN
        SELECT * INTO p FROM commerce.payment x
        WHERE x.order_id = which AND x.state = 'succeeded'
          AND x.amount - x.refunded >= money
        ORDER BY x.created_at, x.id LIMIT 1 FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            problem := 'conflict';
            code := 'not_paid';
        END IF;
    END IF;
    IF problem IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;

    -- all is well: the rows

    INSERT INTO commerce.refund_line (refund_id, line_no, quantity,
        withdrawn, restocked, amount)
    SELECT new_id, a.line_no, a.units, least(a.units,
               u.quantity - u.fulfilled - u.withdrawn), a.back,
           commerce.price_portion(u.cost, u.quantity, u.refunded, a.units)
    FROM unnest(numbers, units, backs) a(line_no, units, back)
    JOIN commerce.order_units(which) u ON u.line_no = a.line_no;
    UPDATE commerce.order_line l SET refunded = l.refunded + a.units,
        restocked = l.restocked + a.back
    FROM unnest(numbers, units, backs) a(line_no, units, back)
    WHERE l.order_id = which AND l.line_no = a.line_no;

    -- a provider other than "test" tells when it has paid
    INSERT INTO commerce.refund AS x (id, order_id, payment_id, idem,
        fingerprint, state, amount, shipping, reason, actor, settled_at)
    SELECT new_id, which, p.id, refund_order.idem, refund_order.fingerprint,
        CASE WHEN t.now THEN 'succeeded' ELSE 'pending' END,
        money, coalesce(postage, 0),
        doc->>'reason', refund_order.actor, CASE WHEN t.now THEN now() END
    FROM (SELECT coalesce(p.provider, 'test') = 'test' AS now) t
    RETURNING * INTO r;
    UPDATE commerce.payment x SET refunded = x.refunded + r.amount
    WHERE x.id = p.id;
    UPDATE commerce.orders x SET refunded = x.refunded + r.amount
    WHERE x.id = which;

    SELECT CASE WHEN o.refunded + r.amount < o.total
               OR o.total = 0 AND sum(l.quantity - l.refunded) > 0
           THEN 'partially_refunded'
           WHEN sum(l.fulfilled) = 0 AND sum(l.quantity - l.restocked) = 0
           THEN 'cancelled'
           ELSE 'refunded' END
    INTO becomes FROM commerce.order_line l WHERE l.order_id = which;

    PERFORM commerce.order_step(o, becomes, 'refunded', refund_order.actor,
        jsonb_strip_nulls(jsonb_build_object('refund_id', r.id,
            'state', r.state, 'amount', r.amount,
            'units', (SELECT sum(n) FROM unnest(units) n),
            'restocked', (SELECT nullif(sum(n), 0) FROM unnest(backs) n),
            'reason', r.reason)));

    status := 'created';
    answer := json_strip_nulls(commerce.refund_json(r, true))::text;
    RETURN NEXT;

    -- the rows of stock last, sorted

    FOR v IN
        SELECT l.variant_id, x.location_id, sum(a.back) AS units
        FROM unnest(numbers, backs) a(line_no, back)
        JOIN commerce.order_line l
            ON l.order_id = which AND l.line_no = a.line_no
        JOIN commerce.lease x ON x.id = l.lease_id
        WHERE a.back > 0 GROUP BY 1, 2 ORDER BY 1, 2
    LOOP
        UPDATE commerce.stock s SET free = s.free + v.units
        WHERE s.variant_id = v.variant_id AND s.location_id = v.location_id
        RETURNING s.variant_id, least(s.free, 2147483647)
        INTO variant, free;
        IF free = v.units THEN
            PERFORM commerce.news('v', variant);
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;


-- A provider has given money back.  settled: a refund that waited for it, or
-- a payment that came too late; recorded: nobody had asked for it here, but it
-- fits; refused: it does not, and nothing was changed.
CREATE FUNCTION commerce.refund_settled(payment uuid, amount bigint)
RETURNS TABLE (verdict text, order_id uuid, order_idem uuid)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    o       commerce.orders;
    p       commerce.payment;
    ids     uuid[];
    new_id  uuid;
BEGIN
    SELECT x.order_id INTO order_id FROM commerce.payment x
    WHERE x.id = payment;
    SELECT * INTO o FROM commerce.orders x
    WHERE x.id = refund_settled.order_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        verdict := 'unknown';
        RETURN NEXT;
        RETURN;
    END IF;
    order_idem := o.idem;
    SELECT * INTO p FROM commerce.payment x WHERE x.id = payment
    FOR NO KEY UPDATE;

    -- one of that amount, else all of them together
    SELECT ARRAY[x.id] INTO ids FROM commerce.refund x
    WHERE x.payment_id = payment AND x.state = 'pending'
      AND x.amount = refund_settled.amount
    ORDER BY x.created_at, x.id LIMIT 1;
    IF NOT FOUND THEN
        SELECT array_agg(x.id) INTO ids FROM commerce.refund x
        WHERE x.payment_id = payment AND x.state = 'pending'
        HAVING sum(x.amount) = refund_settled.amount;
    END IF;

    IF ids IS NOT NULL THEN
        UPDATE commerce.refund x SET state = 'succeeded', settled_at = now()
        WHERE x.id = ANY (ids);
        verdict := 'settled';
    ELSIF amount BETWEEN 1 AND p.amount - p.refunded
          AND p.state = 'refund_due'
    THEN
        verdict := 'settled';
    ELSIF amount BETWEEN 1 AND least(p.amount - p.refunded,
              o.total - o.refunded)
          AND p.state = 'succeeded'
          AND commerce.order_may_become(o.state, 'refunded')
    THEN
        new_id := commerce.uuid_v7();
        INSERT INTO commerce.refund (id, order_id, payment_id, idem,
            fingerprint, state, amount, actor, settled_at)
        VALUES (new_id, o.id, p.id, new_id, new_id, 'succeeded',
            refund_settled.amount, 'provider:' || p.provider, now());
        UPDATE commerce.orders x SET refunded = x.refunded
            + refund_settled.amount WHERE x.id = o.id;
        verdict := 'recorded';
    ELSE
        verdict := 'refused';
        RETURN NEXT;
        RETURN;
    END IF;

    IF ids IS NULL THEN
        UPDATE commerce.payment x SET refunded = x.refunded
            + refund_settled.amount WHERE x.id = p.id;
    END IF;

    PERFORM commerce.order_step(o, CASE WHEN verdict = 'settled' THEN o.state
            WHEN o.refunded + refund_settled.amount = o.total THEN 'refunded'
            ELSE 'partially_refunded' END,
        CASE WHEN verdict = 'settled' THEN 'refund_settled'
            ELSE 'refunded' END, 'provider:' || p.provider,
        jsonb_strip_nulls(jsonb_build_object('payment_id', p.id,
            'amount', refund_settled.amount, 'refund_id',
            coalesce(ids[1], new_id))));
    RETURN NEXT;
END
$$;


-- What events, shipments, refunds and payments say of an order against what
-- the order says of itself.  Empty when all is well.
CREATE VIEW commerce.order_audit AS
WITH step AS (
    SELECT order_id, seq, state,
           lag(seq, 1, 0) OVER w AS seq_before,
           lag(state) OVER w AS state_before,
           lead(seq) OVER w IS NULL AS last
    FROM commerce.order_events
    WINDOW w AS (PARTITION BY order_id ORDER BY seq)
), refund AS (
    SELECT order_id, sum(amount) AS amount
    FROM commerce.refund GROUP BY 1
), paid_back AS (
    SELECT payment_id, sum(amount) AS amount
    FROM commerce.refund GROUP BY 1
), shipped AS (
    SELECT s.order_id, n.line_no, sum(n.quantity) AS units
    FROM commerce.shipment s JOIN commerce.shipment_line n
        ON n.shipment_id = s.id
    GROUP BY 1, 2
), returned AS (
    SELECT r.order_id, n.line_no, sum(n.quantity) AS units,
           sum(n.withdrawn) AS withdrawn, sum(n.restocked) AS restocked
    FROM commerce.refund r JOIN commerce.refund_line n
        ON n.refund_id = r.id
    GROUP BY 1, 2
)
SELECT 'event_missing'::text AS finding, s.order_id,
       (s.seq_before + 1)::text AS expected, s.seq::text AS found
FROM step s WHERE s.seq <> s.seq_before + 1
UNION ALL
SELECT 'step_illegal', s.order_id, s.state_before, s.state
FROM step s WHERE s.state <> s.state_before
    AND NOT commerce.order_may_become(s.state_before, s.state)
UNION ALL
SELECT 'last_event_differs', o.id, o.version || ' ' || o.state,
       s.seq || ' ' || s.state
FROM commerce.orders o LEFT JOIN step s ON s.order_id = o.id AND s.last
WHERE (s.seq, s.state) IS DISTINCT FROM (o.version, o.state)
UNION ALL
SELECT 'refunded_differs', o.id, coalesce(r.amount, 0)::text,
       o.refunded::text
FROM commerce.orders o LEFT JOIN refund r ON r.order_id = o.id
WHERE o.refunded <> coalesce(r.amount, 0)
UNION ALL
SELECT 'refunded_too_much', o.id, o.total::text, o.refunded::text
FROM commerce.orders o WHERE o.refunded > o.total
UNION ALL
SELECT 'payment_differs', p.order_id, coalesce(b.amount, 0)::text,
       p.refunded::text
FROM commerce.payment p LEFT JOIN paid_back b ON b.payment_id = p.id
WHERE p.state = 'succeeded' AND p.refunded <> coalesce(b.amount, 0)
UNION ALL
SELECT 'line_differs', l.order_id,
       concat_ws(' ', coalesce(s.units, 0), coalesce(r.units, 0),
                 coalesce(r.restocked, 0)),
       concat_ws(' ', l.fulfilled, l.refunded, l.restocked)
FROM commerce.order_line l
LEFT JOIN shipped s USING (order_id, line_no)
LEFT JOIN returned r USING (order_id, line_no)
WHERE (l.fulfilled, l.refunded, l.restocked) IS DISTINCT FROM
      (coalesce(s.units, 0), coalesce(r.units, 0), coalesce(r.restocked, 0))
   OR l.fulfilled + coalesce(r.withdrawn, 0) > l.quantity;
