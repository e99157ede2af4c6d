-- Carts: any instance serves any cart.

CREATE TABLE commerce.cart (
    id          uuid PRIMARY KEY,       -- UUIDv7, chosen by the worker
    customer_id uuid,
    state       text NOT NULL DEFAULT 'open'
                CHECK (state IN ('open', 'ordered')),
    version     integer NOT NULL DEFAULT 1,
    currency    text NOT NULL,
    email       text,
    coupon_code text,
    delivery    jsonb,                  -- address and method as given
    order_id    uuid,
    -- rows of cart_line: every writer holds this row's lock
    lines       integer NOT NULL DEFAULT 0 CHECK (lines >= 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    -- moves in steps, so that most updates touch no index
    expires_at  timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX cart_due ON commerce.cart (expires_at);

CREATE TABLE commerce.cart_line (
    cart_id     uuid NOT NULL,
    variant_id  uuid NOT NULL,
    quantity    integer NOT NULL CHECK (quantity > 0),
    seen_price  bigint NOT NULL,        -- of a unit, when the line was put
    position    integer NOT NULL,       -- the cart's version when it was new
    PRIMARY KEY (cart_id, variant_id)
) WITH (fillfactor = 80);
