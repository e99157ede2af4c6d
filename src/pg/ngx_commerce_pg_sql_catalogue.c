#include "ngx_commerce_pg_statements.h"


/*
 * The columns of a variant, as ngx_commerce_variant_row() reads them: "s" is
 * its stock row; leases of "instance" are in the zone that asks already.
 */
#define NGX_COMMERCE_SQL_VARIANT(instance)                                    \
    "v.id, v.product_id, v.sku, v.title, v.version, "                         \
    "p.published AND NOT v.archived, "                                        \
    "coalesce((SELECT string_agg(c.currency || ':' || c.min_quantity "        \
        "|| ':' || c.amount, ',' ORDER BY c.currency, c.min_quantity) "       \
        "FROM commerce.price c WHERE c.variant_id = v.id), ''), "             \
    "least(coalesce(s.free, 0), 2147483647)::integer, "                       \
    "least(greatest(coalesce((SELECT sum(l.granted - l.returned "             \
        "- coalesce((SELECT sum(n.quantity) FROM commerce.order_line n "      \
                    "WHERE n.lease_id = l.id), 0)) "                          \
        "FROM commerce.lease l WHERE l.variant_id = v.id "                    \
        "AND l.closed_at IS NULL AND l.instance_id <> " instance "), 0), 0), " \
        "2147483647)::integer, p.category"

#define NGX_COMMERCE_SQL_STOCK_ROW                                            \
    "LEFT JOIN commerce.stock s ON s.variant_id = v.id AND s.location_id = 1 "

/*
 * A row for each variant, with its product; a product without variants has
 * one row without.  The description, which may be long, comes once.
 */
#define NGX_COMMERCE_SQL_PRODUCT(instance)                                    \
    NGX_COMMERCE_SQL_VARIANT(instance) ", "                                   \
    "v.options::text, v.archived, v.own_title, "                              \
    "p.id, p.slug, p.title, "                                                 \
    "CASE WHEN row_number() OVER "                                            \
        "(PARTITION BY p.id ORDER BY v.position, v.id) = 1 "                  \
        "THEN p.description END, "                                            \
    "p.category, p.published, p.version, p.created_at, p.updated_at "

#define NGX_COMMERCE_SQL_PRODUCT_JOIN(all)                                    \
    "LEFT JOIN commerce.variant v ON v.product_id = p.id "                    \
        "AND (" all " OR NOT v.archived) "                                    \
    NGX_COMMERCE_SQL_STOCK_ROW

/*
 * One way to the products of a page, by id or by category and id.  Of the four
 * ways three have a filter that is false at once: one plan serves all.
 */
#define NGX_COMMERCE_SQL_PAGE_WAY(which, shown, than, border, order)          \
    "(SELECT p.* FROM commerce.product p WHERE " which " AND " shown " "      \
        "AND p.id " than " coalesce($2::uuid, '" border "') "                 \
        "AND ($4::text IS NULL OR p.title ILIKE $4::text) "                   \
        "ORDER BY p.id " order " LIMIT $1::integer)"

#define NGX_COMMERCE_SQL_PAGE_WAYS(which, shown)                              \
    NGX_COMMERCE_SQL_PAGE_WAY(which " AND NOT $5::boolean", shown, ">",       \
        "00000000-0000-0000-0000-000000000000", "ASC")                        \
    " UNION ALL "                                                             \
    NGX_COMMERCE_SQL_PAGE_WAY(which " AND $5::boolean", shown, "<",           \
        "ffffffff-ffff-ffff-ffff-ffffffffffff", "DESC")

/*
 * $1 products at most, $2 after this id or NULL, $3 category or NULL,
 * $4 pattern of the title or NULL, $5 newest first, $6 own instance
 */
#define NGX_COMMERCE_SQL_PAGE(shown, all)                                     \
    "WITH p AS ("                                                             \
    NGX_COMMERCE_SQL_PAGE_WAYS("$3::text IS NULL", shown)                     \
    " UNION ALL "                                                             \
    NGX_COMMERCE_SQL_PAGE_WAYS("p.category = $3::text", shown)                \
    ") SELECT " NGX_COMMERCE_SQL_PRODUCT("$6::bigint")                        \
    "FROM p " NGX_COMMERCE_SQL_PRODUCT_JOIN(all)                              \
    "ORDER BY CASE WHEN $5::boolean THEN NULL ELSE p.id END, "                \
        "p.id DESC, v.position, v.id"


#define NGX_COMMERCE_SQL_ENTRY(n)  [n - NGX_COMMERCE_SQL_CATALOGUE]


const ngx_commerce_pg_statement_t  ngx_commerce_pg_sql_catalogue[
    NGX_COMMERCE_SQL_CATALOGUE_END - NGX_COMMERCE_SQL_CATALOGUE] =
{
    /* $1 skus, $2 ids, $3 own instance */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_VARIANTS) = {
        "variants",
        "SELECT " NGX_COMMERCE_SQL_VARIANT("$3::bigint") " "
        "FROM commerce.variant v "
        "JOIN commerce.product p ON p.id = v.product_id "
        NGX_COMMERCE_SQL_STOCK_ROW
        "WHERE v.sku = ANY ($1::text[]) OR v.id = ANY ($2::uuid[])"
    },

    /* $1 id, $2 unpublished and archived too, $3 own instance */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_PRODUCT_BY_ID) = {
        "product_by_id",
        "SELECT " NGX_COMMERCE_SQL_PRODUCT("$3::bigint")
        "FROM commerce.product p "
        NGX_COMMERCE_SQL_PRODUCT_JOIN("$2::boolean")
        "WHERE p.id = $1::uuid AND ($2::boolean OR p.published) "
        "ORDER BY v.position, v.id"
    },

    /* $1 slug, else as above */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_PRODUCT_BY_SLUG) = {
        "product_by_slug",
        "SELECT " NGX_COMMERCE_SQL_PRODUCT("$3::bigint")
        "FROM commerce.product p "
        NGX_COMMERCE_SQL_PRODUCT_JOIN("$2::boolean")
        "WHERE p.slug = $1::text AND ($2::boolean OR p.published) "
        "ORDER BY v.position, v.id"
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_PRODUCT_PAGE) = {
        "product_page",
        NGX_COMMERCE_SQL_PAGE("p.published", "false")
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_ADMIN_PRODUCT_PAGE) = {
        "admin_product_page",
        NGX_COMMERCE_SQL_PAGE("true", "true")
    },

    /* $1 documents, $2 actors, $3 mode, $4 target, $5 expected version;
       rows run in their order, each sees what those before it did */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_PUT_PRODUCTS) = {
        "put_products",
        "SELECT r.n::integer, x.status, x.id, x.version, x.problem, "
            "x.pointer "
        "FROM unnest($1::text[], $2::text[]) "
            "WITH ORDINALITY r(doc, actor, n), "
        "LATERAL commerce.put_product(r.doc::jsonb, $3::text, $4::uuid, "
            "$5::integer, r.actor) x "
        "ORDER BY r.n"
    },

    /* $1 sku, $2 expected version, $3 title, $4 options, $5 prices,
       $6 archived; NULL: as it was */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_PUT_VARIANT) = {
        "put_variant",
        "SELECT 1, x.status, x.id, x.version, x.problem, x.pointer "
        "FROM commerce.put_variant($1::text, $2::integer, $3::text, "
            "($4::text)::jsonb, ($5::text)::jsonb, $6::boolean) x"
    },

    /* $1 skus, $2 deltas or NULL, $3 sets or NULL, $4 reasons, $5 actors */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_IMPORT_STOCK) = {
        "import_stock",
        "SELECT x.n, x.status, x.id, "
            "least(x.free, 2147483647)::integer, x.problem, '' "
        "FROM commerce.import_stock($1::text[], $2::integer[], "
            "$3::integer[], $4::text[], $5::text[]) x"
    },

    /* $1 skus, $2 prices */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_IMPORT_PRICES) = {
        "import_prices",
        "SELECT r.n::integer, x.status, x.id, x.version, x.problem, "
            "x.pointer "
        "FROM unnest($1::text[], $2::text[]) "
            "WITH ORDINALITY r(sku, prices, n), "
        "LATERAL commerce.put_variant(r.sku, NULL, NULL, NULL, "
            "r.prices::jsonb, NULL) x "
        "ORDER BY r.n"
    },

    /* $1 sku, $2 delta or NULL, $3 set, $4 expected, $5 reason, $6 actor,
       $7 idem, $8 fingerprint */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_ADJUST_STOCK) = {
        "adjust_stock",
        "SELECT 1, x.status, x.id, "
            "least((x.answer->>'free')::bigint, 2147483647)::integer, "
            "x.problem, '', x.answer::text "
        "FROM commerce.adjust_stock($1::text, $2::integer, $3::integer, "
            "$4::integer, $5::text, $6::text, $7::uuid, $8::uuid) x"
    },

    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_STOCK_OF) = {
        "stock_of",
        "SELECT v.sku, x.free, x.leased, x.held, x.sold "
        "FROM commerce.variant v, LATERAL commerce.stock_of(v.id) x "
        "WHERE v.sku = $1::text"
    },

    /* $1 sku, $2 own instance */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_VARIANT_BY_SKU) = {
        "variant_by_sku",
        "SELECT " NGX_COMMERCE_SQL_VARIANT("$2::bigint") ", "
            "v.options::text, v.archived, v.own_title "
        "FROM commerce.variant v "
        "JOIN commerce.product p ON p.id = v.product_id "
        NGX_COMMERCE_SQL_STOCK_ROW
        "WHERE v.sku = $1::text"
    },

    /* $1 SHA-256 of the key */
    NGX_COMMERCE_SQL_ENTRY(NGX_COMMERCE_SQL_API_KEY) = {
        "api_key",
        "SELECT k.id, k.name, array_to_string(k.scopes, E'\\n') "
        "FROM commerce.api_key k "
        "WHERE k.hash = $1::bytea AND k.revoked_at IS NULL "
            "AND (k.expires_at IS NULL OR k.expires_at > now())"
    },
};
