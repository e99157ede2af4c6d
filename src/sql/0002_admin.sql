-- What the admin API and the import do to one row, as functions: refusals are
-- values (problem, pointer), so that one bad row never fails its neighbours.

-- doc is validated by the worker: types, lengths, no unknown members.
-- mode: create (slug must be new), replace (product "target" at version
-- "expected"), upsert (by slug).  Variants that doc leaves out are archived.
CREATE FUNCTION commerce.put_product(doc jsonb, mode text, target uuid,
    expected integer, actor text)
RETURNS TABLE (status text, id uuid, version integer, problem text,
    pointer text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was         commerce.product;
    taken       integer;
    changed     boolean := false;
    created     boolean := false;
    v           record;
    old         commerce.variant;
    touched     integer;
BEGIN
    IF mode = 'replace' THEN
        SELECT * INTO was FROM commerce.product p
        WHERE p.id = target FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN QUERY SELECT 'error', target, 0, 'not_found', '';
            RETURN;
        END IF;
        IF was.version <> expected THEN
            RETURN QUERY SELECT 'error', target, was.version,
                'version_conflict', '';
            RETURN;
        END IF;
        PERFORM FROM commerce.product p
        WHERE p.slug = doc->>'slug' AND p.id <> target;
        IF FOUND THEN
            RETURN QUERY SELECT 'error', target, was.version, 'conflict',
                '/slug';
            RETURN;
        END IF;
    ELSE
        SELECT * INTO was FROM commerce.product p
        WHERE p.slug = doc->>'slug' FOR NO KEY UPDATE;
        IF FOUND AND mode = 'create' THEN
            RETURN QUERY SELECT 'error', was.id, was.version, 'conflict',
                '/slug';
            RETURN;
        END IF;
    END IF;

    SELECT (d.n - 1)::integer INTO taken
    FROM jsonb_array_elements(doc->'variants') WITH ORDINALITY d(doc, n)
    JOIN commerce.variant x ON x.sku = d.doc->>'sku'
    WHERE x.product_id IS DISTINCT FROM was.id
    ORDER BY d.n LIMIT 1;
    IF FOUND THEN
        RETURN QUERY SELECT 'error', was.id, was.version, 'conflict',
            '/variants/' || taken || '/sku';
        RETURN;
    END IF;

    IF was.id IS NULL THEN
        INSERT INTO commerce.product AS p
            (id, slug, title, description, category, published)
        VALUES (commerce.uuid_v7(), doc->>'slug', doc->>'title',
            coalesce(doc->>'description', ''), doc->>'category',
            coalesce((doc->>'published')::boolean, true))
        ON CONFLICT (slug) DO NOTHING
        RETURNING * INTO was;
        IF NOT FOUND THEN
            -- somebody made it meanwhile: now it is seen
            RETURN QUERY SELECT * FROM commerce.put_product(doc, mode,
                target, expected, put_product.actor);
            RETURN;
        END IF;
        created := true;
    ELSIF (was.slug, was.title, was.description, was.published)
          IS DISTINCT FROM (doc->>'slug', doc->>'title',
              coalesce(doc->>'description', ''),
              coalesce((doc->>'published')::boolean, true))
          OR was.category IS DISTINCT FROM doc->>'category'
    THEN
        changed := true;
        UPDATE commerce.product p SET
            slug = doc->>'slug', title = doc->>'title',
            description = coalesce(doc->>'description', ''),
            category = doc->>'category',
            published = coalesce((doc->>'published')::boolean, true)
        WHERE p.id = was.id;
        -- titles, "published" and taxes (by the category) reach the orders
        UPDATE commerce.variant x SET version = x.version + 1,
            title = CASE WHEN x.own_title THEN x.title
                         ELSE doc->>'title' END
        WHERE x.product_id = was.id;
    END IF;

    FOR v IN
        SELECT d.doc->>'sku' AS sku, d.doc->>'title' AS title,
               coalesce(d.doc->'options', '{}') AS options,
               coalesce(d.doc->'prices', '{}') AS prices,
               (d.doc->>'stock')::integer AS units, d.n::integer AS n
        FROM jsonb_array_elements(doc->'variants') WITH ORDINALITY d(doc, n)
        ORDER BY d.doc->>'sku' COLLATE "C"
    LOOP
        SELECT * INTO old FROM commerce.variant x WHERE x.sku = v.sku
        FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            changed := true;
            INSERT INTO commerce.variant AS x (id, product_id, sku, title,
                own_title, options, position)
            VALUES (commerce.uuid_v7(), was.id, v.sku,
                coalesce(v.title, doc->>'title'), v.title IS NOT NULL,
                v.options, v.n)
            RETURNING * INTO old;
            INSERT INTO commerce.price
                (variant_id, currency, min_quantity, amount)
            SELECT old.id, n.* FROM commerce.price_rows(v.prices) n;
            INSERT INTO commerce.stock VALUES (old.id, 1,
                coalesce(v.units, 0));
            INSERT INTO commerce.stock_movement
                (variant_id, location_id, delta, reason, actor)
            SELECT old.id, 1, v.units, 'receipt', put_product.actor
            WHERE v.units > 0;
        ELSE
            touched := commerce.put_prices(old.id, v.prices);
            IF touched > 0 OR old.archived
               OR (old.title, old.own_title, old.options, old.position)
                  IS DISTINCT FROM (coalesce(v.title, doc->>'title'),
                      v.title IS NOT NULL, v.options, v.n)
            THEN
                changed := true;
                UPDATE commerce.variant x SET
                    title = coalesce(v.title, doc->>'title'),
                    own_title = v.title IS NOT NULL, options = v.options,
                    position = v.n, archived = false,
                    version = x.version + 1, updated_at = now()
                WHERE x.id = old.id;
            END IF;
        END IF;
    END LOOP;

    IF NOT created THEN
        UPDATE commerce.variant x SET archived = true,
            version = x.version + 1, updated_at = now()
        WHERE x.product_id = was.id AND NOT x.archived
          AND x.sku NOT IN (SELECT d.doc->>'sku'
              FROM jsonb_array_elements(doc->'variants') d(doc));
        changed := changed OR FOUND;
    END IF;

    IF changed AND NOT created THEN
        UPDATE commerce.product p SET version = p.version + 1,
            updated_at = now()
        WHERE p.id = was.id RETURNING * INTO was;
    END IF;
    IF created OR changed THEN
        PERFORM commerce.news('p', was.id);
    END IF;

    RETURN QUERY SELECT CASE WHEN created THEN 'created'
        WHEN changed THEN 'updated' ELSE 'unchanged' END,
        was.id, was.version, ''::text, ''::text;
END
$$;


-- {"USD": 1999, "EUR": {"amount": 1799, "tiers": [{"quantity": 10,
-- "amount": 1599}]}} as rows of commerce.price.
CREATE FUNCTION commerce.price_rows(prices jsonb)
RETURNS TABLE (currency text, min_quantity integer, amount bigint)
LANGUAGE sql IMMUTABLE AS $$
    SELECT p.key, 1, coalesce(p.value->>'amount', p.value #>> '{}')::bigint
    FROM jsonb_each(prices) p
    UNION ALL
    SELECT p.key, (t.value->>'quantity')::integer,
           (t.value->>'amount')::bigint
    FROM jsonb_each(prices) p, jsonb_array_elements(p.value->'tiers') t
$$;


-- Makes the variant's prices exactly "prices"; returns how many rows changed.
CREATE FUNCTION commerce.put_prices(which uuid, prices jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    gone    integer;
    put     integer;
BEGIN
    DELETE FROM commerce.price p WHERE p.variant_id = which
        AND NOT EXISTS (SELECT FROM commerce.price_rows(prices) n
            WHERE n.currency = p.currency
            AND n.min_quantity = p.min_quantity);
    GET DIAGNOSTICS gone = ROW_COUNT;
    INSERT INTO commerce.price AS p
        (variant_id, currency, min_quantity, amount)
    SELECT which, n.* FROM commerce.price_rows(prices) n
    ON CONFLICT (variant_id, currency, min_quantity)
        DO UPDATE SET amount = EXCLUDED.amount
        WHERE p.amount <> EXCLUDED.amount;
    GET DIAGNOSTICS put = ROW_COUNT;
    RETURN gone + put;
END
$$;


-- Changes one variant in place.  NULL leaves a part as it is; "expected" is
-- its version, NULL asks for none.
CREATE FUNCTION commerce.put_variant(which text, expected integer,
    new_title text, new_options jsonb, new_prices jsonb, new_archived boolean)
RETURNS TABLE (status text, id uuid, version integer, problem text,
    pointer text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was     commerce.variant;
    touched boolean;
BEGIN
    -- the product's row first, as put_product() does: one lock order
    PERFORM FROM commerce.product p WHERE p.id = (SELECT x.product_id
        FROM commerce.variant x WHERE x.sku = which) FOR NO KEY UPDATE;
    SELECT * INTO was FROM commerce.variant x WHERE x.sku = which
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'error', NULL::uuid, 0, 'not_found', '/sku';
        RETURN;
    END IF;
    IF was.version <> coalesce(expected, was.version) THEN
        RETURN QUERY SELECT 'error', was.id, was.version,
            'version_conflict', '';
        RETURN;
    END IF;

    touched := new_prices IS NOT NULL
        AND commerce.put_prices(was.id, new_prices) > 0;
    IF NOT touched AND (was.title, was.options, was.archived)
       IS NOT DISTINCT FROM (coalesce(new_title, was.title),
           coalesce(new_options, was.options),
           coalesce(new_archived, was.archived))
    THEN
        RETURN QUERY SELECT 'unchanged', was.id, was.version, '', '';
        RETURN;
    END IF;

    UPDATE commerce.variant x SET title = coalesce(new_title, x.title),
        own_title = x.own_title OR new_title IS NOT NULL,
        options = coalesce(new_options, x.options),
        archived = coalesce(new_archived, x.archived),
        version = x.version + 1, updated_at = now()
    WHERE x.id = was.id RETURNING * INTO was;
    UPDATE commerce.product p SET version = p.version + 1, updated_at = now()
    WHERE p.id = was.product_id;
    PERFORM commerce.news('p', was.product_id);
    RETURN QUERY SELECT 'updated', was.id, was.version, '', '';
END
$$;


-- Units of the variant that open leases still have.  Leases that are used up
-- are closed soon, so these rows are few whatever was sold.
CREATE FUNCTION commerce.leased_of(which uuid) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(x.granted - x.returned - (SELECT
        coalesce(sum(l.quantity), 0) FROM commerce.order_line l
        WHERE l.lease_id = x.id)), 0)::bigint
    FROM commerce.lease x
    WHERE x.variant_id = which AND x.closed_at IS NULL
$$;


-- Locks the row of stock that every grant and return of the variant needs, to
-- the end of the transaction: nothing in here may read its sales.  delta, or
-- set_to and perhaps the expected number of units that can be sold (free and
-- leased).  Leased units cannot be taken away: 'leased' says to recall first.
-- "held" was counted before, so the limit may be missed by what was ordered
-- meanwhile; nothing depends on it, it keeps numbers within what can be read.
CREATE FUNCTION commerce.change_stock(which uuid, delta integer,
    set_to integer, expected integer, held bigint, reason text, actor text)
RETURNS TABLE (status text, problem text, free bigint, leased bigint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    change  bigint;
BEGIN
    SELECT s.free INTO free FROM commerce.stock s
    WHERE s.variant_id = which AND s.location_id = 1 FOR NO KEY UPDATE;
    -- a later statement: its snapshot has what the lock waited for
    leased := commerce.leased_of(which);
    change := coalesce(delta, set_to - (free + leased));

    IF set_to IS NOT NULL AND free + leased <> expected THEN
        problem := 'conflict';
    ELSIF free + change < 0 THEN
        problem := CASE WHEN leased > 0 AND free + leased + change >= 0
            THEN 'leased' ELSE 'conflict' END;
    ELSIF change > 0 AND free + leased + held + change > 2147483647 THEN
        problem := 'too_many';
    ELSE
        problem := '';
    END IF;

    IF problem <> '' THEN
        status := 'error';
    ELSIF change = 0 THEN
        status := 'unchanged';
    ELSE
        status := 'updated';
        free := free + change;
        INSERT INTO commerce.stock_movement
            (variant_id, location_id, delta, reason, actor)
        VALUES (which, 1, change, change_stock.reason, change_stock.actor);
        UPDATE commerce.stock s SET free = change_stock.free
        WHERE s.variant_id = which AND s.location_id = 1;
        IF change > 0 THEN
            PERFORM commerce.news('v', which);
        END IF;
    END IF;
    RETURN NEXT;
END
$$;


-- The first answer to a key: a row where it was used already.
CREATE FUNCTION commerce.adjusted(idem uuid, fingerprint uuid, which uuid)
RETURNS TABLE (status text, id uuid, problem text, answer jsonb)
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN i.fingerprint = adjusted.fingerprint
               THEN 'replayed' ELSE 'error' END, which,
           CASE WHEN i.fingerprint = adjusted.fingerprint
               THEN '' ELSE 'idempotency_key_reused' END, i.answer
    FROM commerce.idempotency i WHERE i.idem = adjusted.idem
$$;


-- change_stock() for the staff.  A key that was used gives the first answer
-- again ("replayed") and locks nothing.  held and sold take a walk over all
-- sales, so they are of the moment before the lock.
CREATE FUNCTION commerce.adjust_stock(which text, delta integer,
    set_to integer, expected integer, reason text, actor text, idem uuid,
    fingerprint uuid)
RETURNS TABLE (status text, id uuid, problem text, answer jsonb)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v       uuid;
    was     record;
    done    record;
BEGIN
    SELECT x.id INTO v FROM commerce.variant x WHERE x.sku = which;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'error', NULL::uuid, 'not_found', NULL::jsonb;
        RETURN;
    END IF;
    RETURN QUERY SELECT * FROM commerce.adjusted(idem, fingerprint, v);
    IF FOUND THEN
        RETURN;
    END IF;

    SELECT * INTO was FROM commerce.stock_of(v);

    PERFORM FROM commerce.stock s
    WHERE s.variant_id = v AND s.location_id = 1 FOR NO KEY UPDATE;
    -- the lock may have waited for a request with the same key
    RETURN QUERY SELECT * FROM commerce.adjusted(idem, fingerprint, v);
    IF FOUND THEN
        RETURN;
    END IF;

    SELECT * INTO done FROM commerce.change_stock(v, delta, set_to, expected,
        was.held, reason, actor);
    answer := jsonb_build_object('sku', which, 'free', done.free,
        'leased', done.leased, 'held', was.held, 'sold', was.sold);
    IF idem IS NOT NULL AND done.status <> 'error' THEN
        INSERT INTO commerce.idempotency VALUES (adjust_stock.idem,
            adjust_stock.fingerprint, answer);
    END IF;
    RETURN QUERY SELECT done.status, v, done.problem, answer;
END
$$;


-- change_stock() for the rows of an import, in their order; n counts from 1.
-- All rows of stock are locked first, sorted as everybody sorts them: rows
-- come in any order, and two imports, or an import and a grant, would wait
-- for one another.
CREATE FUNCTION commerce.import_stock(skus text[], deltas integer[],
    sets integer[], reasons text[], actors text[])
RETURNS TABLE (n integer, status text, id uuid, free bigint, problem text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ids     uuid[];
    held    bigint[];
    done    record;
BEGIN
    -- what is held matters to the limit of giants only, and is counted for
    -- them before the lock
    SELECT array_agg(x.id ORDER BY r.n), array_agg(CASE
        WHEN s.free + coalesce(r.delta, r.set_to) > 1000000000
        THEN (SELECT o.held FROM commerce.stock_of(x.id) o)
        ELSE 0 END ORDER BY r.n) INTO ids, held
    FROM unnest(skus, deltas, sets) WITH ORDINALITY r(sku, delta, set_to, n)
    LEFT JOIN commerce.variant x ON x.sku = r.sku
    LEFT JOIN commerce.stock s ON s.variant_id = x.id AND s.location_id = 1;

    PERFORM FROM commerce.stock s
    WHERE s.variant_id = ANY (ids) AND s.location_id = 1
    ORDER BY s.variant_id, s.location_id FOR NO KEY UPDATE;

    FOR i IN 1 .. cardinality(skus) LOOP
        n := i;
        id := ids[i];
        IF id IS NULL THEN
            status := 'error';
            free := 0;
            problem := 'not_found';
        ELSE
            SELECT * INTO done FROM commerce.change_stock(id, deltas[i],
                sets[i], NULL, held[i], reasons[i], actors[i]);
            status := done.status;
            free := done.free;
            problem := done.problem;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
