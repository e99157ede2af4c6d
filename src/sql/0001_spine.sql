-- The spine: catalogue, stock with its leases, orders and payments.
-- Rules behind the stock tables: docs/architecture.md.

CREATE SCHEMA IF NOT EXISTS commerce;

CREATE TABLE commerce.database_identity (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    id          uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO commerce.database_identity DEFAULT VALUES;

-- RFC 9562 section 5.7: a random uuid whose first 48 bits are milliseconds.
CREATE FUNCTION commerce.uuid_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send(
            (extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
        FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$;


-- Catalogue

CREATE TABLE commerce.product (
    id          uuid PRIMARY KEY,
    slug        text COLLATE "C" NOT NULL UNIQUE,
    title       text NOT NULL,
    description text NOT NULL DEFAULT '',
    category    text COLLATE "C",
    published   boolean NOT NULL DEFAULT true,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX product_category ON commerce.product (category, id);

CREATE TABLE commerce.variant (
    id          uuid PRIMARY KEY,
    product_id  uuid NOT NULL REFERENCES commerce.product,
    sku         text COLLATE "C" NOT NULL UNIQUE,
    title       text NOT NULL,          -- the product's where none was given
    own_title   boolean NOT NULL DEFAULT false,
    options     jsonb NOT NULL DEFAULT '{}',
    position    integer NOT NULL DEFAULT 0,
    archived    boolean NOT NULL DEFAULT false,
    -- moves with everything that an order line or its price depends on: the
    -- checkout statement compares it, so a stale cache cannot sell
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX variant_product ON commerce.variant (product_id, position);

-- Moves in every transaction that changes a variant, at its end: while it
-- stands, so does every version that was read with it, and the checkout
-- statement need not read versions again.
CREATE TABLE commerce.catalogue_epoch (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch       bigint NOT NULL DEFAULT 1 CHECK (epoch > 0)
) WITH (fillfactor = 20);
INSERT INTO commerce.catalogue_epoch DEFAULT VALUES;

CREATE FUNCTION commerce.move_catalogue_epoch() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    -- once in a transaction; a savepoint that is rolled back takes both back
    IF current_setting('commerce.epoch_moved', true) IS DISTINCT FROM 'yes' THEN
        UPDATE commerce.catalogue_epoch SET epoch = epoch + 1;
        PERFORM set_config('commerce.epoch_moved', 'yes', true);
    END IF;
    RETURN NULL;
END
$$;

-- Deferred: its row is the last one that a transaction locks.
CREATE CONSTRAINT TRIGGER variant_moved AFTER UPDATE OR DELETE
    ON commerce.variant DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION commerce.move_catalogue_epoch();
CREATE TRIGGER variant_truncated AFTER TRUNCATE ON commerce.variant
    FOR EACH STATEMENT EXECUTE FUNCTION commerce.move_catalogue_epoch();

-- Also for what a restore or a subscription writes.
ALTER TABLE commerce.variant ENABLE ALWAYS TRIGGER variant_moved;
ALTER TABLE commerce.variant ENABLE ALWAYS TRIGGER variant_truncated;

-- A unit's price from that quantity of a line on.
CREATE TABLE commerce.price (
    variant_id  uuid NOT NULL REFERENCES commerce.variant,
    currency    text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    min_quantity integer NOT NULL DEFAULT 1
                CHECK (min_quantity BETWEEN 1 AND 1000000000),
    amount      bigint NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
    PRIMARY KEY (variant_id, currency, min_quantity)
);


-- Stock: stock.free holds the units that nobody has

CREATE TABLE commerce.location (
    id          integer PRIMARY KEY,
    code        text NOT NULL UNIQUE
);
INSERT INTO commerce.location VALUES (1, 'default');

CREATE TABLE commerce.stock (
    variant_id  uuid NOT NULL,
    location_id integer NOT NULL,
    -- wide: units come back to it from everywhere, and must never not fit
    free        bigint NOT NULL CHECK (free >= 0),
    PRIMARY KEY (variant_id, location_id)
) WITH (fillfactor = 50);

-- The ledger: what was received and adjusted, never what was sold.
CREATE TABLE commerce.stock_movement (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    variant_id  uuid NOT NULL,
    location_id integer NOT NULL,
    delta       bigint NOT NULL CHECK (delta <> 0),
    reason      text NOT NULL,
    actor       text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX stock_movement_variant
    ON commerce.stock_movement (variant_id, location_id);

-- One nginx master with its zone.  Ids are random: a sequence goes back when
-- an asynchronous standby is promoted.
CREATE TABLE commerce.instance (
    id          bigint PRIMARY KEY,
    -- an nginx master; its backends are named commerce/<master>/<purpose>
    master      bigint NOT NULL,
    state       text NOT NULL DEFAULT 'live'
                CHECK (state IN ('live', 'dying', 'dead')),
    started_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz
);
CREATE INDEX instance_not_dead ON commerce.instance (state)
    WHERE state <> 'dead';

-- A row of its own, so that no batch walks over its updates.
CREATE TABLE commerce.heartbeat (
    instance_id bigint PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);

-- One row for each write connection: a connection locks only its own, so no
-- multixacts arise.
CREATE TABLE commerce.fence (
    instance_id bigint NOT NULL,
    slot        integer NOT NULL,
    state       text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'dead')),
    PRIMARY KEY (instance_id, slot)
);

-- An immutable grant of units of one variant to one instance; only "returned"
-- grows and "closed_at" is set once.
CREATE TABLE commerce.lease (
    id          bigint PRIMARY KEY,
    instance_id bigint NOT NULL,
    variant_id  uuid NOT NULL,
    location_id integer NOT NULL,
    granted     integer NOT NULL CHECK (granted > 0),
    returned    integer NOT NULL DEFAULT 0 CHECK (returned >= 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    closed_at   timestamptz
) WITH (fillfactor = 80);
CREATE INDEX lease_open_instance ON commerce.lease (instance_id, id)
    WHERE closed_at IS NULL;
CREATE INDEX lease_open_variant ON commerce.lease (variant_id)
    WHERE closed_at IS NULL;
CREATE INDEX lease_closed_variant ON commerce.lease (variant_id)
    WHERE closed_at IS NOT NULL;

-- Each return has an id of its own, chosen before its first try: it can be run
-- again, and several may come for one lease.
CREATE TABLE commerce.lease_return (
    id          bigint PRIMARY KEY,
    lease_id    bigint NOT NULL,
    units       integer NOT NULL CHECK (units > 0)
);


-- Orders.  Append tables have no foreign keys: the checkout statement joins
-- the lines to the orders that it inserted.

CREATE TABLE commerce.orders (
    id          uuid PRIMARY KEY,       -- UUIDv7, chosen by the worker
    idem        uuid NOT NULL,          -- SHA-256(scope, key), 16 bytes
    fingerprint uuid NOT NULL,          -- SHA-256(request), 16 bytes
    instance_id bigint NOT NULL,
    customer_id uuid,
    state       text NOT NULL DEFAULT 'pending_payment'
                CHECK (state IN ('pending_payment', 'paid', 'fulfilled',
                                 'cancelled', 'expired',
                                 'partially_refunded', 'refunded')),
    version     integer NOT NULL DEFAULT 1,
    currency    text NOT NULL,
    subtotal    bigint NOT NULL,
    discount    bigint NOT NULL DEFAULT 0,
    tax         bigint NOT NULL DEFAULT 0,
    shipping    bigint NOT NULL DEFAULT 0,
    total       bigint NOT NULL,
    -- the part of "tax" that prices contain: total = subtotal - discount
    -- + shipping + tax - tax_included
    tax_included bigint NOT NULL DEFAULT 0,
    refunded    bigint NOT NULL DEFAULT 0,
    email       text,
    delivery    jsonb,                  -- address and method as given
    cart_id     uuid,
    coupon_code text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX orders_idem ON commerce.orders (idem);
CREATE INDEX orders_due ON commerce.orders (expires_at)
    WHERE state = 'pending_payment';

CREATE TABLE commerce.order_line (
    order_id    uuid NOT NULL,
    line_no     smallint NOT NULL,
    variant_id  uuid NOT NULL,
    lease_id    bigint NOT NULL,
    quantity    integer NOT NULL CHECK (quantity > 0),
    restocked   integer NOT NULL DEFAULT 0
                CHECK (restocked BETWEEN 0 AND quantity),
    fulfilled   integer NOT NULL DEFAULT 0
                CHECK (fulfilled BETWEEN 0 AND quantity),
    refunded    integer NOT NULL DEFAULT 0
                CHECK (refunded BETWEEN 0 AND quantity),
    unit_price  bigint NOT NULL,
    -- shares of the order's discount and tax
    discount    bigint NOT NULL DEFAULT 0,
    tax         bigint NOT NULL DEFAULT 0,
    tax_included boolean NOT NULL DEFAULT false,
    sku         text COLLATE "C" NOT NULL,
    title       text NOT NULL,
    PRIMARY KEY (order_id, line_no)
);
CREATE INDEX order_line_lease ON commerce.order_line (lease_id);

CREATE TABLE commerce.payment (
    id          uuid PRIMARY KEY,
    order_id    uuid NOT NULL,
    idem        uuid NOT NULL UNIQUE,
    fingerprint uuid NOT NULL,
    provider    text NOT NULL,
    -- refund_due: the money came when the order could not take it any more
    state       text NOT NULL CHECK (state IN ('pending', 'succeeded',
                                               'declined', 'refund_due')),
    amount      bigint NOT NULL,
    refunded    bigint NOT NULL DEFAULT 0
                CHECK (refunded BETWEEN 0 AND amount),
    currency    text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX payment_order ON commerce.payment (order_id);


-- Access and keys of writes other than orders

CREATE TABLE commerce.api_key (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    hash        bytea NOT NULL UNIQUE,  -- SHA-256 of the whole key
    scopes      text[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    revoked_at  timestamptz
);

CREATE TABLE commerce.idempotency (
    idem        uuid PRIMARY KEY,
    fingerprint uuid NOT NULL,
    answer      jsonb NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_age ON commerce.idempotency (created_at);


-- Invariant 1.  Empty when all is well.

CREATE VIEW commerce.stock_audit AS
WITH line AS (
    SELECT l.order_id, l.lease_id, l.variant_id, l.quantity,
           CASE WHEN o.state IN ('cancelled', 'expired') THEN 0
                ELSE l.quantity - l.restocked END AS holding,
           o.id IS NULL AS orphan
    FROM commerce.order_line l LEFT JOIN commerce.orders o ON o.id = l.order_id
), used AS (
    SELECT lease_id, sum(quantity) AS units, sum(holding) AS holding
    FROM line GROUP BY lease_id
), lease AS (
    SELECT x.*, coalesce(u.units, 0) AS units,
           coalesce(u.holding, 0) AS holding
    FROM commerce.lease x LEFT JOIN used u ON u.lease_id = x.id
), balance AS (
    SELECT variant_id, location_id, free AS units FROM commerce.stock
    UNION ALL
    SELECT variant_id, location_id,
           CASE WHEN closed_at IS NULL THEN granted - returned - units
                ELSE 0 END + holding
    FROM lease
), total AS (
    SELECT variant_id, location_id, sum(units) AS units
    FROM balance GROUP BY variant_id, location_id
), ledger AS (
    SELECT variant_id, location_id, sum(delta) AS units
    FROM commerce.stock_movement GROUP BY variant_id, location_id
)
SELECT 'ledger_differs'::text AS finding, variant_id, location_id,
       NULL::bigint AS lease_id, NULL::uuid AS order_id,
       coalesce(l.units, 0)::bigint AS expected,
       coalesce(t.units, 0)::bigint AS found
FROM total t FULL JOIN ledger l USING (variant_id, location_id)
WHERE coalesce(l.units, 0) <> coalesce(t.units, 0)
UNION ALL
SELECT CASE WHEN closed_at IS NULL THEN 'lease_below_zero'
            ELSE 'closed_lease_not_exact' END,
       variant_id, location_id, id, NULL, granted - returned, units
FROM lease
WHERE (closed_at IS NULL AND granted - returned < units)
   OR (closed_at IS NOT NULL AND granted - returned <> units)
UNION ALL
SELECT CASE WHEN n.orphan THEN 'line_without_order'
            ELSE 'line_without_lease' END,
       n.variant_id, x.location_id, n.lease_id, n.order_id, n.quantity, 0
FROM line n LEFT JOIN commerce.lease x
       ON x.id = n.lease_id AND x.variant_id = n.variant_id
WHERE n.orphan OR x.id IS NULL;


-- Where the units of one variant are, for the admin API.  It reads all that
-- was ever sold: never call it with the variant's stock locked.

CREATE FUNCTION commerce.stock_of(which uuid)
RETURNS TABLE (free bigint, leased bigint, held bigint, sold bigint)
LANGUAGE sql STABLE AS $$
    WITH x AS (
        SELECT x.id, x.granted, x.returned, x.closed_at
        FROM commerce.lease x
        WHERE x.variant_id = which AND x.closed_at IS NULL
        UNION ALL
        SELECT x.id, x.granted, x.returned, x.closed_at
        FROM commerce.lease x
        WHERE x.variant_id = which AND x.closed_at IS NOT NULL
    ), n AS (
        SELECT l.lease_id, l.quantity, l.restocked, o.state
        FROM x JOIN commerce.order_line l ON l.lease_id = x.id
        JOIN commerce.orders o ON o.id = l.order_id
    )
    SELECT (SELECT coalesce(sum(s.free), 0) FROM commerce.stock s
            WHERE s.variant_id = which)::bigint,
           (SELECT coalesce(sum(x.granted - x.returned), 0) FROM x
            WHERE x.closed_at IS NULL)::bigint
           - (SELECT coalesce(sum(n.quantity), 0) FROM n JOIN x
              ON x.id = n.lease_id WHERE x.closed_at IS NULL)::bigint,
           (SELECT coalesce(sum(n.quantity), 0) FROM n
            WHERE n.state = 'pending_payment')::bigint,
           (SELECT coalesce(sum(n.quantity - n.restocked), 0) FROM n
            WHERE n.state IN ('paid', 'fulfilled', 'partially_refunded',
                              'refunded'))::bigint
$$;


-- News goes out from rare transactions only: NOTIFY serialises commits.
--   p <uuid>  the product or its variants changed
--   v <uuid>  units of the variant came free

CREATE FUNCTION commerce.news(kind text, id uuid) RETURNS integer
LANGUAGE sql VOLATILE AS $$
    SELECT 1 FROM pg_notify('commerce_news', kind || ' ' || id)
$$;
