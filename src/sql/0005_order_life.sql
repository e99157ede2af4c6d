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
        'payment_id', r.payment_id, 'state', r.state, 'amount', r.amount,
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
