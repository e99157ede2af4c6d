#include <stdarg.h>

#include <openssl/evp.h>

#include "commerce_tool.h"


static void tool_notice(void *arg, const PGresult *res);


const char  *tool_name;


/* Prints the message as one line: libpq's own end with and hold newlines. */

void
tool_die(int code, const char *fmt, ...)
{
    char     buf[2048], *p;
    size_t   len;
    va_list  args;

    va_start(args, fmt);
    vsnprintf(buf, sizeof(buf), fmt, args);
    va_end(args);

    len = strlen(buf);

    while (len && (buf[len - 1] == '\n' || buf[len - 1] == ' ')) {
        buf[--len] = '\0';
    }

    for (p = buf; *p; p++) {
        if (*p == '\n' || *p == '\r' || *p == '\t') {
            *p = ' ';
        }
    }

    fprintf(stderr, "%s: %s\n", tool_name, buf);
    exit(code);
}


static void
tool_notice(void *arg, const PGresult *res)
{
    const char  *severity;

    (void) arg;

    severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);

    if (severity && strcmp(severity, "WARNING") == 0) {
        fprintf(stderr, "%s: warning: %s\n", tool_name,
                PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY));
    }
}


PGconn *
tool_connect(const char *conninfo)
{
    PGconn      *conn;
    const char  *keys[] = { "connect_timeout", "application_name", "dbname",
                            NULL };
    const char  *values[] = { "10", tool_name, conninfo, NULL };

    /* a later keyword wins, so the conninfo may set its own timeout */

    conn = PQconnectdbParams(keys, values, 1);

    if (conn == NULL) {
        tool_die(TOOL_FAILED, "out of memory");
    }

    if (PQstatus(conn) != CONNECTION_OK) {
        tool_die(TOOL_DATABASE, "cannot connect to the database: %s",
                 PQerrorMessage(conn));
    }

    PQsetNoticeReceiver(conn, tool_notice, NULL);

    return conn;
}


PGresult *
tool_query(PGconn *conn, const char *sql, int n, const char *const *params)
{
    PGresult        *res;
    ExecStatusType   status;

    if (n) {
        res = PQexecParams(conn, sql, n, NULL, params, NULL, NULL, 0);

    } else {
        /* the simple protocol takes several statements, as migrations have */
        res = PQexec(conn, sql);
    }

    status = PQresultStatus(res);

    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        tool_die(PQstatus(conn) == CONNECTION_OK ? TOOL_FAILED : TOOL_DATABASE,
                 "%s", PQerrorMessage(conn));
    }

    return res;
}


void
tool_exec(PGconn *conn, const char *sql)
{
    PQclear(tool_query(conn, sql, 0, NULL));
}


void
tool_sha256(const void *data, size_t len, unsigned char *out)
{
    unsigned int  n;

    n = TOOL_SHA256;

    if (EVP_Digest(data, len, out, &n, EVP_sha256(), NULL) != 1) {
        tool_die(TOOL_FAILED, "SHA-256 failed");
    }
}


void
tool_sha256_hex(const void *data, size_t len, char *hex)
{
    unsigned int   i;
    unsigned char  hash[TOOL_SHA256];

    tool_sha256(data, len, hash);

    for (i = 0; i < TOOL_SHA256; i++) {
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    }
}
