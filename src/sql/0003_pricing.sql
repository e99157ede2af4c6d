-- What prices depend on besides the catalogue: tax rates, shipping methods,
-- coupons.

-- Moves with every write of a rate or a method.  A worker has a copy of all of
-- them and knows by it how old the copy is.
CREATE TABLE commerce.pricing_rules (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    version     bigint NOT NULL DEFAULT 1 CHECK (version > 0)
);
INSERT INTO commerce.pricing_rules DEFAULT VALUES;

-- The rate of a line is that of the first row there is for (country, region,
-- category), (country, region, -), (country, -, category), (country, -, -).
CREATE TABLE commerce.tax_rate (
    id          uuid PRIMARY KEY,
    country     text COLLATE "C" NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    region      text COLLATE "C" CHECK (region <> ''),      -- NULL: any
    category    text COLLATE "C" CHECK (category <> ''),    -- NULL: any
    rate        integer NOT NULL CHECK (rate BETWEEN 0 AND 10000000),
    included    boolean NOT NULL DEFAULT false,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
-- under "C", lower() is for ASCII only, as a worker compares
CREATE UNIQUE INDEX tax_rate_place ON commerce.tax_rate
    (country, coalesce(lower(region), ''), coalesce(category, ''));

CREATE TABLE commerce.shipping_method (
    id          uuid PRIMARY KEY,
    code        text COLLATE "C" NOT NULL UNIQUE,
    title       text NOT NULL,
    countries   text[] CHECK (cardinality(countries) > 0),  -- NULL: any
    prices      jsonb NOT NULL,         -- {"USD": 500}
    free_over   jsonb,                  -- {"USD": 5000}: of what is ordered
    active      boolean NOT NULL DEFAULT true,
    position    integer NOT NULL DEFAULT 0,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- "used" moves with orders and leaves the version alone; rows of one sale are
-- updated all the time, so that they must find room on their page.
CREATE TABLE commerce.coupon (
    id          uuid PRIMARY KEY,
    code        text COLLATE "C" NOT NULL CHECK (code <> ''),
    kind        text NOT NULL
                CHECK (kind IN ('percent', 'fixed', 'free_shipping')),
    percent     integer CHECK (percent BETWEEN 1 AND 1000000),
    amounts     jsonb,                  -- {"USD": 500}
    minimum     jsonb,                  -- {"USD": 1000}: of the subtotal
    starts_at   timestamptz,
    ends_at     timestamptz CHECK (ends_at > starts_at),
    limit_total bigint CHECK (limit_total > 0),
    limit_per_customer integer CHECK (limit_per_customer > 0),
    used        bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    active      boolean NOT NULL DEFAULT true,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'percent') = (percent IS NOT NULL)),
    CHECK ((kind = 'fixed') = (amounts IS NOT NULL))
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX coupon_code ON commerce.coupon (lower(code));

-- One row for each unit of coupon.used: who writes or deletes here holds the
-- coupon's row.
CREATE TABLE commerce.coupon_use (
    coupon_id   uuid NOT NULL,
    order_id    uuid PRIMARY KEY,
    -- lower(e-mail), or 'c:' and the customer's id; '' when nobody knows
    who         text COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX coupon_use_who ON commerce.coupon_use (coupon_id, who);


-- Gives back the uses of orders that left pending_payment without a payment;
-- returns how many.  Twice for one order gives back once.  The caller holds
-- the orders' rows and no row of stock yet.
CREATE FUNCTION commerce.coupon_release(orders uuid[]) RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    released    integer;
BEGIN
    PERFORM FROM commerce.coupon c WHERE c.id IN (
        SELECT u.coupon_id FROM commerce.coupon_use u
        WHERE u.order_id = ANY (orders))
    ORDER BY c.id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;

    WITH gone AS (
        DELETE FROM commerce.coupon_use u WHERE u.order_id = ANY (orders)
        RETURNING u.coupon_id
    ), n AS (
        SELECT g.coupon_id, count(*)::integer AS n FROM gone g GROUP BY 1
    ), less AS (
        UPDATE commerce.coupon c SET used = c.used - n.n FROM n
        WHERE c.id = n.coupon_id
    )
    SELECT coalesce(sum(n.n), 0) INTO released FROM n;
    RETURN released;
END
$$;


-- What the admin API does.  doc is validated by the worker: types, lengths,
-- no unknown members.  "expected" is the version that is replaced or deleted;
-- NULL makes a new row of that id.  Writers of rates and methods queue up at
-- the row of pricing_rules, so none sees half of another's work.

CREATE FUNCTION commerce.rules_lock() RETURNS void
LANGUAGE sql VOLATILE AS $$
    SELECT FROM commerce.pricing_rules FOR NO KEY UPDATE
$$;

CREATE FUNCTION commerce.rules_changed(id uuid) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE commerce.pricing_rules SET version = version + 1;
    SELECT FROM commerce.news('t', id)
$$;


CREATE FUNCTION commerce.put_tax_rate(doc jsonb, target uuid,
    expected integer)
RETURNS TABLE (status text, id uuid, version integer, problem text,
    pointer text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was     commerce.tax_rate;
    new     commerce.tax_rate;
BEGIN
    PERFORM commerce.rules_lock();
    id := target;
    version := 0;
    problem := '';
    pointer := '';

    SELECT * INTO was FROM commerce.tax_rate t WHERE t.id = target;
    new.country := doc->>'country';
    new.region := doc->>'region';
    new.category := doc->>'category';
    new.rate := (doc->>'rate')::integer;
    new.included := coalesce((doc->>'included')::boolean, false);

    IF expected IS NOT NULL AND was.id IS NULL THEN
        problem := 'not_found';
    ELSIF was.version <> expected THEN
        problem := 'version_conflict';
    ELSIF EXISTS (SELECT FROM commerce.tax_rate t WHERE t.id <> target
        AND (t.country, coalesce(lower(t.region), ''),
             coalesce(t.category, ''))
            = (new.country, coalesce(lower(new.region COLLATE "C"), ''),
               coalesce(new.category, '')))
    THEN
        problem := 'conflict';
        pointer := '/country';
    ELSIF expected IS NULL
        AND (SELECT count(*) >= 10000 FROM commerce.tax_rate)
    THEN
        problem := 'too_many';
    END IF;
    IF problem <> '' THEN
        status := 'error';
        RETURN NEXT;
        RETURN;
    END IF;

    IF was.id IS NULL THEN
        status := 'created';
        INSERT INTO commerce.tax_rate
            (id, country, region, category, rate, included)
        VALUES (target, new.country, new.region, new.category, new.rate,
            new.included)
        RETURNING tax_rate.version INTO version;
    ELSIF (was.country, was.region, was.category, was.rate, was.included)
        IS NOT DISTINCT FROM (new.country, new.region, new.category,
            new.rate, new.included)
    THEN
        status := 'unchanged';
        version := was.version;
    ELSE
        status := 'updated';
        UPDATE commerce.tax_rate t SET country = new.country,
            region = new.region, category = new.category, rate = new.rate,
            included = new.included, version = t.version + 1,
            updated_at = now()
        WHERE t.id = target RETURNING t.version INTO version;
    END IF;
    IF status <> 'unchanged' THEN
        PERFORM commerce.rules_changed(target);
    END IF;
    RETURN NEXT;
END
$$;


CREATE FUNCTION commerce.put_shipping_method(doc jsonb, target uuid,
    expected integer)
RETURNS TABLE (status text, id uuid, version integer, problem text,
    pointer text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was     commerce.shipping_method;
    new     commerce.shipping_method;
BEGIN
    PERFORM commerce.rules_lock();
    id := target;
    version := 0;
    problem := '';
    pointer := '';

    SELECT * INTO was FROM commerce.shipping_method m WHERE m.id = target;
    new.code := doc->>'code';
    new.title := doc->>'title';
    new.countries := (SELECT array_agg(c.c ORDER BY c.c)
        FROM (SELECT DISTINCT jsonb_array_elements_text(
            nullif(doc->'countries', 'null')) COLLATE "C" AS c) c);
    new.prices := doc->'prices';
    new.free_over := nullif(doc->'free_over', 'null');
    new.active := coalesce((doc->>'active')::boolean, true);
    new.position := coalesce((doc->>'position')::integer, 0);

    IF expected IS NOT NULL AND was.id IS NULL THEN
        problem := 'not_found';
    ELSIF was.version <> expected THEN
        problem := 'version_conflict';
    ELSIF EXISTS (SELECT FROM commerce.shipping_method m
        WHERE m.code = new.code AND m.id <> target)
    THEN
        problem := 'conflict';
        pointer := '/code';
    ELSIF expected IS NULL
        AND (SELECT count(*) >= 250 FROM commerce.shipping_method)
    THEN
        problem := 'too_many';
    END IF;
    IF problem <> '' THEN
        status := 'error';
        RETURN NEXT;
        RETURN;
    END IF;

    IF was.id IS NULL THEN
        status := 'created';
        INSERT INTO commerce.shipping_method (id, code, title, countries,
            prices, free_over, active, position)
        VALUES (target, new.code, new.title, new.countries, new.prices,
            new.free_over, new.active, new.position)
        RETURNING shipping_method.version INTO version;
    ELSIF (was.code, was.title, was.countries, was.prices, was.free_over,
           was.active, was.position)
        IS NOT DISTINCT FROM (new.code, new.title, new.countries, new.prices,
            new.free_over, new.active, new.position)
    THEN
        status := 'unchanged';
        version := was.version;
    ELSE
        status := 'updated';
        UPDATE commerce.shipping_method m SET code = new.code,
            title = new.title, countries = new.countries,
            prices = new.prices, free_over = new.free_over,
            active = new.active, position = new.position,
            version = m.version + 1, updated_at = now()
        WHERE m.id = target RETURNING m.version INTO version;
    END IF;
    IF status <> 'unchanged' THEN
        PERFORM commerce.rules_changed(target);
    END IF;
    RETURN NEXT;
END
$$;


CREATE FUNCTION commerce.put_coupon(doc jsonb, target uuid,
    expected integer)
RETURNS TABLE (status text, id uuid, version integer, problem text,
    pointer text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was     commerce.coupon;
    new     commerce.coupon;
BEGIN
    id := target;
    version := 0;
    problem := '';
    pointer := '';

    SELECT * INTO was FROM commerce.coupon c WHERE c.id = target
    FOR NO KEY UPDATE;
    new := jsonb_populate_record(NULL::commerce.coupon,
        doc - '{id,used,version,created_at,updated_at}'::text[]);
    new.amounts := nullif(doc->'amounts', 'null');
    new.minimum := nullif(doc->'minimum', 'null');
    new.active := coalesce(new.active, true);

    IF expected IS NOT NULL AND was.id IS NULL THEN
        problem := 'not_found';
    ELSIF was.version <> expected THEN
        problem := 'version_conflict';
    ELSIF EXISTS (SELECT FROM commerce.coupon c
        WHERE lower(c.code) = lower(new.code) AND c.id <> target)
    THEN
        problem := 'conflict';
        pointer := '/code';
    END IF;
    IF problem <> '' THEN
        status := 'error';
        RETURN NEXT;
        RETURN;
    END IF;

    IF was.id IS NULL THEN
        status := 'created';
        INSERT INTO commerce.coupon (id, code, kind, percent, amounts,
            minimum, starts_at, ends_at, limit_total, limit_per_customer,
            active)
        VALUES (target, new.code, new.kind, new.percent, new.amounts,
            new.minimum, new.starts_at, new.ends_at, new.limit_total,
            new.limit_per_customer, new.active)
        RETURNING coupon.version INTO version;
    ELSIF (was.code, was.kind, was.percent, was.amounts, was.minimum,
           was.starts_at, was.ends_at, was.limit_total,
           was.limit_per_customer, was.active)
        IS NOT DISTINCT FROM (new.code, new.kind, new.percent, new.amounts,
            new.minimum, new.starts_at, new.ends_at, new.limit_total,
            new.limit_per_customer, new.active)
    THEN
        status := 'unchanged';
        version := was.version;
    ELSE
        status := 'updated';
        UPDATE commerce.coupon c SET code = new.code, kind = new.kind,
            percent = new.percent, amounts = new.amounts,
            minimum = new.minimum, starts_at = new.starts_at,
            ends_at = new.ends_at, limit_total = new.limit_total,
            limit_per_customer = new.limit_per_customer,
            active = new.active, version = c.version + 1, updated_at = now()
        WHERE c.id = target RETURNING c.version INTO version;
    END IF;
    RETURN NEXT;
END
$$;


CREATE FUNCTION commerce.delete_tax_rate(target uuid, expected integer)
RETURNS TABLE (status text, id uuid, version integer, problem text,
    pointer text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    found_  integer;
BEGIN
    PERFORM commerce.rules_lock();
    SELECT t.version INTO found_ FROM commerce.tax_rate t
    WHERE t.id = target;
    IF found_ = expected THEN
        DELETE FROM commerce.tax_rate t WHERE t.id = target;
        PERFORM commerce.rules_changed(target);
    END IF;
    RETURN QUERY SELECT * FROM commerce.deleted(target, found_, expected);
END
$$;


CREATE FUNCTION commerce.delete_shipping_method(target uuid,
    expected integer)
RETURNS TABLE (status text, id uuid, version integer, problem text,
    pointer text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    found_  integer;
BEGIN
    PERFORM commerce.rules_lock();
    SELECT m.version INTO found_ FROM commerce.shipping_method m
    WHERE m.id = target;
    IF found_ = expected THEN
        DELETE FROM commerce.shipping_method m WHERE m.id = target;
        PERFORM commerce.rules_changed(target);
    END IF;
    RETURN QUERY SELECT * FROM commerce.deleted(target, found_, expected);
END
$$;


-- Only one that no order has: its uses are what its limits are counted by.
CREATE FUNCTION commerce.delete_coupon(target uuid, expected integer)
RETURNS TABLE (status text, id uuid, version integer, problem text,
    pointer text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was     commerce.coupon;
BEGIN
    SELECT * INTO was FROM commerce.coupon c WHERE c.id = target FOR UPDATE;
    IF was.version = expected AND was.used > 0 THEN
        RETURN QUERY SELECT 'error', target, was.version, 'conflict', '';
        RETURN;
    END IF;
    DELETE FROM commerce.coupon c
    WHERE c.id = target AND c.version = expected;
    RETURN QUERY SELECT * FROM commerce.deleted(target, was.version,
        expected);
END
$$;


CREATE FUNCTION commerce.deleted(target uuid, had integer, expected integer)
RETURNS TABLE (status text, id uuid, version integer, problem text,
    pointer text)
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN had = expected THEN 'updated' ELSE 'error' END, target,
           coalesce(had, 0), CASE WHEN had IS NULL THEN 'not_found'
           WHEN had <> expected THEN 'version_conflict' ELSE '' END, ''
$$;
