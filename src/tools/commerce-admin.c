/*
 * commerce-admin: what an operator does beside the API.
 *
 *     api-key create|list|revoke      keys of staff programs
 *     audit                           the rows of commerce.stock_audit and
 *                                     commerce.order_audit
 *
 * The first key has to come from somewhere; all others may be made through
 * /v1/admin/api-keys.
 */

#include <getopt.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "commerce_tool.h"


#define ADMIN_KEY_PREFIX  "nck_"
#define ADMIN_KEY_BYTES   32
#define ADMIN_KEY_CHARS   43
#define ADMIN_KEY_LEN     (sizeof(ADMIN_KEY_PREFIX) - 1 + ADMIN_KEY_CHARS)
#define ADMIN_SCOPES_MAX  64
#define ADMIN_SCOPE_LEN   64
#define ADMIN_NAME_LEN    255


typedef struct {
    const char   *database;
    const char   *name;
    const char   *expires;
    const char   *scopes[ADMIN_SCOPES_MAX];
    size_t        n;
} admin_t;


static void admin_options(admin_t *a, int *argc, char ***argv);
static void admin_usage(FILE *out);
static int admin_key_create(admin_t *a, PGconn *conn);
static int admin_key_list(PGconn *conn);
static int admin_key_revoke(PGconn *conn, const char *id);
static int admin_audit(PGconn *conn);
static void admin_new_key(char *key);
static void admin_scope_array(admin_t *a, char *out, size_t size);
static void admin_print_rows(PGresult *res);


int
main(int argc, char **argv)
{
    int       rc;
    PGconn   *conn;
    admin_t   a;

    tool_name = "commerce-admin";

    admin_options(&a, &argc, &argv);

    if (argc == 2 && strcmp(argv[0], "api-key") == 0
        && strcmp(argv[1], "create") == 0)
    {
        if (a.name == NULL || a.n == 0) {
            tool_die(TOOL_USAGE, "api-key create needs --name and --scope");
        }

        conn = tool_connect(a.database);
        rc = admin_key_create(&a, conn);

    } else if (argc == 2 && strcmp(argv[0], "api-key") == 0
               && strcmp(argv[1], "list") == 0)
    {
        conn = tool_connect(a.database);
        rc = admin_key_list(conn);

    } else if (argc == 3 && strcmp(argv[0], "api-key") == 0
               && strcmp(argv[1], "revoke") == 0)
    {
        conn = tool_connect(a.database);
        rc = admin_key_revoke(conn, argv[2]);

    } else if (argc == 1 && strcmp(argv[0], "audit") == 0) {
        conn = tool_connect(a.database);
        rc = admin_audit(conn);

    } else {
        admin_usage(stderr);
        return TOOL_USAGE;
    }

    PQfinish(conn);

    if (fflush(stdout) != 0) {
        tool_die(TOOL_FAILED, "cannot write the answer");
    }

    return rc;
}


static void
admin_options(admin_t *a, int *argc, char ***argv)
{
    int     c;
    size_t  len;

    static const struct option  options[] = {
        { "database", required_argument, NULL, 'd' },
        { "name", required_argument, NULL, 'n' },
        { "scope", required_argument, NULL, 's' },
        { "expires", required_argument, NULL, 'e' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };

    memset(a, 0, sizeof(admin_t));

    while ((c = getopt_long(*argc, *argv, "h", options, NULL)) != -1) {
        switch (c) {

        case 'd':
            a->database = optarg;
            break;

        case 'n':
            len = strlen(optarg);

            if (len == 0 || len > ADMIN_NAME_LEN) {
                tool_die(TOOL_USAGE, "--name has 1 to %d characters",
                         ADMIN_NAME_LEN);
            }

            a->name = optarg;
            break;

        case 's':
            len = strspn(optarg, "abcdefghijklmnopqrstuvwxyz_-.:*");

            if (a->n == ADMIN_SCOPES_MAX || len == 0 || len > ADMIN_SCOPE_LEN
                || optarg[len] != '\0')
            {
                tool_die(TOOL_USAGE, "--scope \"%.80s\" is not valid", optarg);
            }

            a->scopes[a->n++] = optarg;
            break;

        case 'e':
            a->expires = optarg;
            break;

        case 'h':
            admin_usage(stdout);
            exit(TOOL_OK);

        default:
            admin_usage(stderr);
            exit(TOOL_USAGE);
        }
    }

    *argc -= optind;
    *argv += optind;

    if (a->database == NULL || *argc == 0) {
        admin_usage(stderr);
        exit(TOOL_USAGE);
    }
}


static void
admin_usage(FILE *out)
{
    fputs("Usage: commerce-admin --database CONNINFO command\n"
          "\n"
          "  api-key create --name NAME --scope SCOPE... [--expires TIME]\n"
          "                      prints a new key, once; SCOPE * is all, "
          "TIME as PostgreSQL reads it\n"
          "  api-key list        id, name, scopes, created, expires, revoked\n"
          "  api-key revoke ID\n"
          "  audit               rows of commerce.stock_audit and "
          "commerce.order_audit,\n"
          "                      fails when there are any\n"
          "\n"
          "Exit codes: 0 done, 1 refused or failed, 2 usage, "
          "3 no connection\n", out);
}


static int
admin_key_create(admin_t *a, PGconn *conn)
{
    char            key[ADMIN_KEY_LEN + 1];
    char            scopes[ADMIN_SCOPES_MAX * (ADMIN_SCOPE_LEN + 3) + 3];
    PGresult       *res;
    const char     *values[4];
    unsigned char   hash[TOOL_SHA256];

    const int       lengths[4] = { 0, TOOL_SHA256, 0, 0 };
    const int       formats[4] = { 0, 1, 0, 0 };

    admin_new_key(key);
    admin_scope_array(a, scopes, sizeof(scopes));
    tool_sha256(key, ADMIN_KEY_LEN, hash);

    values[0] = a->name;
    values[1] = (const char *) hash;
    values[2] = scopes;
    values[3] = a->expires;

    res = PQexecParams(conn, "INSERT INTO commerce.api_key"
                       " (id, name, hash, scopes, created_at, expires_at)"
                       " VALUES (gen_random_uuid(), $1, $2, $3::text[],"
                       " now(), $4::timestamptz)",
                       4, NULL, values, lengths, formats, 0);

    if (PQresultStatus(res) != PGRES_COMMAND_OK) {
        tool_die(TOOL_FAILED, "%s", PQerrorMessage(conn));
    }

    PQclear(res);

    printf("%s\n", key);
    OPENSSL_cleanse(key, sizeof(key));

    return TOOL_OK;
}


static int
admin_key_list(PGconn *conn)
{
    PGresult  *res;

    res = tool_query(conn, "SELECT id, name, scopes, created_at, expires_at,"
                           " revoked_at FROM commerce.api_key"
                           " ORDER BY created_at, id", 0, NULL);
    admin_print_rows(res);
    PQclear(res);

    return TOOL_OK;
}


static int
admin_key_revoke(PGconn *conn, const char *id)
{
    PGresult  *res;

    res = tool_query(conn, "UPDATE commerce.api_key SET revoked_at = now()"
                           " WHERE id::text = lower($1)"
                           " AND revoked_at IS NULL", 1, &id);

    if (strcmp(PQcmdTuples(res), "1") != 0) {
        tool_die(TOOL_FAILED, "no key in force has the id \"%.64s\"", id);
    }

    PQclear(res);
    printf("revoked %s\n", id);

    return TOOL_OK;
}


static int
admin_audit(PGconn *conn)
{
    int        i, rows;
    PGresult  *res;

    static const char *const  views[] = {
        "SELECT * FROM commerce.stock_audit",
        "SELECT * FROM commerce.order_audit"
    };

    rows = 0;

    for (i = 0; i < 2; i++) {
        res = tool_query(conn, views[i], 0, NULL);
        rows += PQntuples(res);

        if (PQntuples(res)) {
            admin_print_rows(res);
        }

        PQclear(res);
    }

    return rows ? TOOL_FAILED : TOOL_OK;
}


static void
admin_new_key(char *key)
{
    size_t         i, n;
    unsigned int   bits, have;
    unsigned char  random[ADMIN_KEY_BYTES];

    static const char  base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "abcdefghijklmnopqrstuvwxyz"
                                     "0123456789-_";

    if (RAND_bytes(random, sizeof(random)) != 1) {
        tool_die(TOOL_FAILED, "no random bytes");
    }

    memcpy(key, ADMIN_KEY_PREFIX, sizeof(ADMIN_KEY_PREFIX) - 1);
    n = sizeof(ADMIN_KEY_PREFIX) - 1;

    bits = 0;
    have = 0;

    for (i = 0; i < sizeof(random); i++) {
        bits = (bits << 8 | random[i]) & 0xffff;
        have += 8;

        while (have >= 6) {
            have -= 6;
            key[n++] = base64url[bits >> have & 0x3f];
        }
    }

    key[n++] = base64url[bits << (6 - have) & 0x3f];
    key[n] = '\0';

    OPENSSL_cleanse(random, sizeof(random));
}


/* admin_options() let through only characters that need no escape */

static void
admin_scope_array(admin_t *a, char *out, size_t size)
{
    size_t  i, len;

    len = 0;

    for (i = 0; i < a->n; i++) {
        len += (size_t) snprintf(out + len, size - len, "%c\"%s\"",
                                 i ? ',' : '{', a->scopes[i]);
    }

    snprintf(out + len, size - len, "}");
}


static void
admin_print_rows(PGresult *res)
{
    int  row, column;

    for (column = 0; column < PQnfields(res); column++) {
        printf("%s%s", column ? "\t" : "", PQfname(res, column));
    }

    printf("\n");

    for (row = 0; row < PQntuples(res); row++) {
        for (column = 0; column < PQnfields(res); column++) {
            printf("%s%s", column ? "\t" : "", PQgetvalue(res, row, column));
        }

        printf("\n");
    }
}
