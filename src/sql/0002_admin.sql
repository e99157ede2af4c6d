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
        created := true;
        INSERT INTO commerce.product AS p
            (id, slug, title, description, category, published)
        VALUES (commerce.uuid_v7(), doc->>'slug', doc->>'title',
            coalesce(doc->>'description', ''), doc->>'category',
            coalesce((doc->>'published')::boolean, true))
        RETURNING * INTO was;
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
        -- titles and "published" reach the order lines
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
            INSERT INTO commerce.price SELECT old.id, p.key, p.value::bigint
            FROM jsonb_each_text(v.prices) p;
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


-- Makes the variant's prices exactly "prices"; returns how many rows changed.
CREATE FUNCTION commerce.put_prices(which uuid, prices jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    gone    integer;
    put     integer;
BEGIN
    DELETE FROM commerce.price p WHERE p.variant_id = which
        AND NOT prices ? p.currency;
    GET DIAGNOSTICS gone = ROW_COUNT;
    INSERT INTO commerce.price AS p
    SELECT which, n.key, n.value::bigint FROM jsonb_each_text(prices) n
    ON CONFLICT (variant_id, currency) DO UPDATE SET amount = EXCLUDED.amount
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


-- delta, or set with the expected number of units that can be sold (free and
-- leased).  Leased units cannot be taken away: 'leased' says to recall first.
-- A key that was used gives the first answer again ("replayed").
CREATE FUNCTION commerce.adjust_stock(which text, delta integer,
    set_to integer, expected integer, reason text, actor text, idem uuid,
    fingerprint uuid)
RETURNS TABLE (status text, id uuid, problem text, answer jsonb)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was     commerce.idempotency;
    v       uuid;
    units   bigint;
    now_    record;
    change  bigint;
BEGIN
    SELECT x.id INTO v FROM commerce.variant x WHERE x.sku = which;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'error', NULL::uuid, 'not_found', NULL::jsonb;
        RETURN;
    END IF;
    SELECT s.free INTO units FROM commerce.stock s
    WHERE s.variant_id = v AND s.location_id = 1 FOR NO KEY UPDATE;

    IF idem IS NOT NULL THEN
        SELECT * INTO was FROM commerce.idempotency i
        WHERE i.idem = adjust_stock.idem;
        IF FOUND THEN
            RETURN QUERY SELECT CASE WHEN was.fingerprint
                = adjust_stock.fingerprint THEN 'replayed' ELSE 'error' END,
                v, CASE WHEN was.fingerprint = adjust_stock.fingerprint
                THEN '' ELSE 'idempotency_key_reused' END, was.answer;
            RETURN;
        END IF;
    END IF;

    SELECT * INTO now_ FROM commerce.stock_of(v);
    IF set_to IS NULL THEN
        change := delta;
    ELSIF expected IS NOT NULL AND now_.free + now_.leased <> expected THEN
        RETURN QUERY SELECT 'error', v, 'conflict', jsonb_build_object(
            'sku', which, 'free', now_.free, 'leased', now_.leased,
            'held', now_.held, 'sold', now_.sold);
        RETURN;
    ELSE
        change := set_to - (now_.free + now_.leased);
    END IF;

    IF units + change < 0 OR units + change > 2147483647 THEN
        RETURN QUERY SELECT 'error', v, CASE WHEN now_.leased > 0
            AND units + now_.leased + change >= 0
            THEN 'leased' ELSE 'conflict' END,
            jsonb_build_object('sku', which, 'free', now_.free,
            'leased', now_.leased, 'held', now_.held, 'sold', now_.sold);
        RETURN;
    END IF;

    IF change <> 0 THEN
        INSERT INTO commerce.stock_movement
            (variant_id, location_id, delta, reason, actor)
        VALUES (v, 1, change, adjust_stock.reason, adjust_stock.actor);
        UPDATE commerce.stock s SET free = s.free + change
        WHERE s.variant_id = v AND s.location_id = 1;
        IF change > 0 THEN
            PERFORM commerce.news('v', v);
        END IF;
    END IF;

    was.answer := jsonb_build_object('sku', which,
        'free', now_.free + change, 'leased', now_.leased,
        'held', now_.held, 'sold', now_.sold);
    IF idem IS NOT NULL THEN
        INSERT INTO commerce.idempotency VALUES (adjust_stock.idem,
            adjust_stock.fingerprint, was.answer);
    END IF;
    RETURN QUERY SELECT CASE WHEN change = 0 THEN 'unchanged'
        ELSE 'updated' END, v, '', was.answer;
END
$$;
