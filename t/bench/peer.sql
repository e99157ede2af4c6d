-- What the benchmark compares with, in the schema of the shop.

CREATE SCHEMA bench;

CREATE FUNCTION bench.variant(n bigint) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid
$$;


-- One order in one transaction, the way a shop without batches does it: the
-- key decides, every line takes its units from its row.  Rows are locked in
-- one order, so that nothing deadlocks.  The catalogue is not even read: the
-- caller is taken to know ids, titles and prices, as nginx does.

CREATE FUNCTION bench.place(key uuid, lines integer, a bigint, b bigint,
    c bigint) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    this    uuid := commerce.uuid_v7();
    item    uuid;
    pick    bigint[];
BEGIN
    pick := CASE lines WHEN 1 THEN ARRAY[a]
        WHEN 2 THEN ARRAY[least(a, b), greatest(a, b)]
        ELSE ARRAY[least(a, b, c), a + b + c - least(a, b, c)
                   - greatest(a, b, c), greatest(a, b, c)] END;

    INSERT INTO commerce.orders (id, idem, fingerprint, instance_id, currency,
        subtotal, total, expires_at)
    VALUES (this, key, key, 1, 'USD', 1999 * lines, 1999 * lines,
        now() + interval '15 minutes')
    ON CONFLICT (idem) DO NOTHING;

    IF NOT FOUND THEN
        RETURN (SELECT o.id FROM commerce.orders o WHERE o.idem = key);
    END IF;

    FOR i IN 1 .. lines LOOP
        item := bench.variant(pick[i]);

        UPDATE commerce.stock s SET free = s.free - 1
        WHERE s.variant_id = item AND s.location_id = 1 AND s.free >= 1;

        IF NOT FOUND THEN
            RAISE EXCEPTION 'out of stock';
        END IF;

        INSERT INTO commerce.order_line (order_id, line_no, variant_id,
            lease_id, quantity, unit_price, sku, title)
        VALUES (this, i, item, 0, 1, 1999, 'sku-00000', 'The sku 00000');
    END LOOP;

    RETURN this;
END
$$;


-- One article into a cart, the way a shop without batches does it.  The price
-- is taken to be known, and the commit need not be on disk.

CREATE FUNCTION bench.add_line(cart bigint, item bigint)
RETURNS SETOF commerce.cart_line
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    this    uuid := bench.variant(cart);
    new     integer;
BEGIN
    UPDATE commerce.cart c SET version = c.version + 1, updated_at = now()
    WHERE c.id = this AND c.state = 'open' RETURNING c.version INTO new;

    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such cart';
    END IF;

    INSERT INTO commerce.cart_line AS l (cart_id, variant_id, quantity,
        seen_price, position)
    VALUES (this, bench.variant(item), 1, 1999, new)
    ON CONFLICT (cart_id, variant_id) DO UPDATE
    SET quantity = l.quantity + 1, seen_price = EXCLUDED.seen_price;

    RETURN QUERY SELECT l.* FROM commerce.cart_line l WHERE l.cart_id = this
        ORDER BY l.position;
END
$$;
