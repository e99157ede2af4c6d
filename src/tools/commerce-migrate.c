/*
 * commerce-migrate: brings the schema of a database forward.
 *
 * Applies DIR/NNNN_name.sql in order, each in a transaction of its own that
 * also records it, under an advisory lock, so that any number of replicas may
 * start it at once.  There is no way back: a migration expands, a later one
 * contracts.
 */

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <sys/stat.h>

#include "commerce_tool.h"


#define MIGRATE_LOCK     "7161126913"
#define MIGRATE_MAX      9999
#define MIGRATE_SIZE     (4 * 1024 * 1024)


typedef struct {
    int     version;
    char   *name;
    char   *sql;
    char    checksum[TOOL_SHA256_HEX];
} migration_t;


typedef struct {
    const char   *database;
    const char   *directory;
    const char   *role;
    int           check;

    migration_t  *files;
    size_t        n;
} migrate_t;


static void migrate_options(migrate_t *m, int argc, char **argv);
static void migrate_usage(FILE *out);
static void migrate_read_directory(migrate_t *m);
static int migrate_parse_name(const char *name);
static char *migrate_read_file(const char *directory, const char *name,
    size_t *len);
static int migrate_compare(const void *one, const void *two);
static void migrate_check(migrate_t *m, PGconn *conn);
static void migrate_forward(migrate_t *m, PGconn *conn);
static void migrate_prepare(PGconn *conn);
static size_t migrate_applied(migrate_t *m, PGconn *conn);
static void migrate_apply(PGconn *conn, migration_t *file);
static void migrate_grant(PGconn *conn, const char *role);


static const char  migrate_grants[] =
    "GRANT USAGE ON SCHEMA commerce TO %1$s;"
    "GRANT SELECT, INSERT, UPDATE, DELETE"
    " ON ALL TABLES IN SCHEMA commerce TO %1$s;"
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA commerce TO %1$s;"
    "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA commerce TO %1$s;"
    "REVOKE INSERT, UPDATE, DELETE ON commerce.schema_migration FROM %1$s;";


int
main(int argc, char **argv)
{
    size_t     i;
    PGconn    *conn;
    migrate_t  m;

    tool_name = "commerce-migrate";

    migrate_options(&m, argc, argv);
    migrate_read_directory(&m);

    conn = tool_connect(m.database);

    if (m.check) {
        migrate_check(&m, conn);

    } else {
        migrate_forward(&m, conn);
    }

    PQfinish(conn);

    for (i = 0; i < m.n; i++) {
        free(m.files[i].name);
        free(m.files[i].sql);
    }

    free(m.files);

    return TOOL_OK;
}


static void
migrate_options(migrate_t *m, int argc, char **argv)
{
    int  c;

    static const struct option  options[] = {
        { "database", required_argument, NULL, 'd' },
        { "directory", required_argument, NULL, 'D' },
        { "role", required_argument, NULL, 'r' },
        { "check", no_argument, NULL, 'c' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };

    memset(m, 0, sizeof(migrate_t));

    m->directory = "/usr/share/nginx-commerce/sql";

    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (c) {

        case 'd':
            m->database = optarg;
            break;

        case 'D':
            m->directory = optarg;
            break;

        case 'r':
            m->role = optarg;
            break;

        case 'c':
            m->check = 1;
            break;

        case 'h':
            migrate_usage(stdout);
            exit(TOOL_OK);

        default:
            migrate_usage(stderr);
            exit(TOOL_USAGE);
        }
    }

    if (optind < argc || m->database == NULL) {
        migrate_usage(stderr);
        exit(TOOL_USAGE);
    }
}


static void
migrate_usage(FILE *out)
{
    fputs("Usage: commerce-migrate --database CONNINFO [options]\n"
          "\n"
          "  --directory DIR   where NNNN_*.sql are, "
          "/usr/share/nginx-commerce/sql unless given\n"
          "  --role ROLE       grants ROLE what the module needs: "
          "SELECT, INSERT, UPDATE, DELETE\n"
          "  --check           changes nothing, "
          "fails when a migration is not applied\n"
          "\n"
          "Exit codes: 0 done, 1 refused or failed, 2 usage, "
          "3 no connection\n", out);
}


static void
migrate_read_directory(migrate_t *m)
{
    DIR            *dir;
    int             version;
    size_t          i, len;
    migration_t    *file;
    struct dirent  *entry;

    dir = opendir(m->directory);

    if (dir == NULL) {
        tool_die(TOOL_FAILED, "cannot read directory %s: %s", m->directory,
                 strerror(errno));
    }

    m->files = calloc(MIGRATE_MAX, sizeof(migration_t));

    if (m->files == NULL) {
        tool_die(TOOL_FAILED, "out of memory");
    }

    for ( ;; ) {
        entry = readdir(dir);

        if (entry == NULL) {
            break;
        }

        len = strlen(entry->d_name);

        if (len < 4 || strcmp(entry->d_name + len - 4, ".sql") != 0) {
            continue;
        }

        version = migrate_parse_name(entry->d_name);

        if (version <= 0) {
            tool_die(TOOL_FAILED, "%s/%s: not a name like 0001_what.sql",
                     m->directory, entry->d_name);
        }

        if (m->n == MIGRATE_MAX) {
            tool_die(TOOL_FAILED, "too many files in %s", m->directory);
        }

        file = &m->files[m->n++];
        file->version = version;
        file->name = strdup(entry->d_name);

        if (file->name == NULL) {
            tool_die(TOOL_FAILED, "out of memory");
        }

        file->sql = migrate_read_file(m->directory, file->name, &len);
        tool_sha256_hex(file->sql, len, file->checksum);
    }

    closedir(dir);

    if (m->n == 0) {
        tool_die(TOOL_FAILED, "no migration in %s", m->directory);
    }

    qsort(m->files, m->n, sizeof(migration_t), migrate_compare);

    for (i = 0; i < m->n; i++) {
        if (m->files[i].version != (int) i + 1) {
            tool_die(TOOL_FAILED, "%s/%s: expected number %04zu here",
                     m->directory, m->files[i].name, i + 1);
        }
    }
}


/* "0001_what.sql": the number, or -1 */

static int
migrate_parse_name(const char *name)
{
    int  i, version;

    version = 0;

    for (i = 0; i < 4; i++) {
        if (name[i] < '0' || name[i] > '9') {
            return -1;
        }

        version = version * 10 + (name[i] - '0');
    }

    return name[4] == '_' ? version : -1;
}


static char *
migrate_read_file(const char *directory, const char *name, size_t *len)
{
    FILE         *in;
    char          path[4096], *text;
    struct stat   st;

    if (snprintf(path, sizeof(path), "%s/%s", directory, name)
        >= (int) sizeof(path))
    {
        tool_die(TOOL_FAILED, "path too long: %s/%s", directory, name);
    }

    in = fopen(path, "rb");

    if (in == NULL || fstat(fileno(in), &st) != 0) {
        tool_die(TOOL_FAILED, "cannot read %s: %s", path, strerror(errno));
    }

    if (!S_ISREG(st.st_mode) || st.st_size == 0
        || st.st_size > MIGRATE_SIZE)
    {
        tool_die(TOOL_FAILED, "%s: not a file of 1 to %d bytes", path,
                 MIGRATE_SIZE);
    }

    text = malloc((size_t) st.st_size + 1);

    if (text == NULL) {
        tool_die(TOOL_FAILED, "out of memory");
    }

    *len = fread(text, 1, (size_t) st.st_size, in);
    text[*len] = '\0';

    if (*len != (size_t) st.st_size || strlen(text) != *len) {
        tool_die(TOOL_FAILED, "cannot read %s as a whole", path);
    }

    fclose(in);

    return text;
}


static int
migrate_compare(const void *one, const void *two)
{
    const migration_t  *first = one;
    const migration_t  *second = two;

    return first->version - second->version;
}


static void
migrate_check(migrate_t *m, PGconn *conn)
{
    size_t  done;

    done = migrate_applied(m, conn);

    if (done < m->n) {
        tool_die(TOOL_FAILED, "%zu of %zu migrations are not applied, "
                 "the first is %s", m->n - done, m->n, m->files[done].name);
    }

    printf("up to date at %s\n", m->files[m->n - 1].name);
}


static void
migrate_forward(migrate_t *m, PGconn *conn)
{
    size_t  i, done;

    /* held until the session ends, by whatever way it ends */
    tool_exec(conn, "SELECT pg_advisory_lock(" MIGRATE_LOCK ")");

    migrate_prepare(conn);
    done = migrate_applied(m, conn);

    for (i = done; i < m->n; i++) {
        migrate_apply(conn, &m->files[i]);
        printf("applied %s\n", m->files[i].name);
        fflush(stdout);
    }

    if (done == m->n) {
        printf("up to date at %s\n", m->files[m->n - 1].name);
    }

    if (m->role) {
        migrate_grant(conn, m->role);
    }
}


static void
migrate_prepare(PGconn *conn)
{
    tool_exec(conn, "CREATE SCHEMA IF NOT EXISTS commerce;"
                    "CREATE TABLE IF NOT EXISTS commerce.schema_migration ("
                    " version integer PRIMARY KEY,"
                    " name text NOT NULL,"
                    " checksum text NOT NULL,"
                    " applied_at timestamptz NOT NULL DEFAULT now())");
}


/*
 * Compares what the database has with the files and returns how many are
 * applied.  A database may be ahead of the files: that is a rollback of the
 * program, which expand/contract allows.
 */

static size_t
migrate_applied(migrate_t *m, PGconn *conn)
{
    int         row, rows, version;
    size_t      done;
    PGresult   *res;

    res = tool_query(conn, "SELECT to_regclass('commerce.schema_migration')"
                           " IS NOT NULL", 0, NULL);
    rows = PQgetvalue(res, 0, 0)[0] == 't';
    PQclear(res);

    if (!rows) {
        return 0;
    }

    res = tool_query(conn, "SELECT version, name, checksum"
                           " FROM commerce.schema_migration ORDER BY version",
                     0, NULL);
    rows = PQntuples(res);
    done = 0;

    for (row = 0; row < rows; row++) {
        version = (int) strtol(PQgetvalue(res, row, 0), NULL, 10);

        if (version != row + 1) {
            tool_die(TOOL_FAILED, "the database has migration %d but not %d",
                     version, row + 1);
        }

        if ((size_t) version > m->n) {
            fprintf(stderr, "%s: the database is ahead of these files: %s\n",
                    tool_name, PQgetvalue(res, row, 1));
            continue;
        }

        if (strcmp(PQgetvalue(res, row, 2), m->files[row].checksum) != 0) {
            tool_die(TOOL_FAILED, "%s was changed after it had been applied "
                     "(as %s): write a new migration instead",
                     m->files[row].name, PQgetvalue(res, row, 1));
        }

        done++;
    }

    PQclear(res);

    return done;
}


static void
migrate_apply(PGconn *conn, migration_t *file)
{
    char         version[16];
    const char  *params[3];
    PGresult    *res;

    snprintf(version, sizeof(version), "%d", file->version);
    params[0] = version;
    params[1] = file->name;
    params[2] = file->checksum;

    tool_exec(conn, "BEGIN");

    res = PQexec(conn, file->sql);

    if (PQresultStatus(res) != PGRES_COMMAND_OK
        && PQresultStatus(res) != PGRES_TUPLES_OK)
    {
        tool_die(TOOL_FAILED, "%s: %s", file->name, PQerrorMessage(conn));
    }

    PQclear(res);

    if (PQtransactionStatus(conn) != PQTRANS_INTRANS) {
        tool_die(TOOL_FAILED, "%s ends the transaction it runs in",
                 file->name);
    }

    PQclear(tool_query(conn, "INSERT INTO commerce.schema_migration"
                             " (version, name, checksum) VALUES ($1, $2, $3)",
                       3, params));
    tool_exec(conn, "COMMIT");
}


static void
migrate_grant(PGconn *conn, const char *role)
{
    char  *name, *sql;
    int    size;

    name = PQescapeIdentifier(conn, role, strlen(role));

    if (name == NULL) {
        tool_die(TOOL_USAGE, "bad role name");
    }

    size = (int) (sizeof(migrate_grants) + 6 * strlen(name));
    sql = malloc((size_t) size);

    if (sql == NULL) {
        tool_die(TOOL_FAILED, "out of memory");
    }

    snprintf(sql, (size_t) size, migrate_grants, name);
    tool_exec(conn, sql);

    free(sql);
    PQfreemem(name);
}
