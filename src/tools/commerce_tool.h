/*
 * What the command line tools share: one clear line for an error, and libpq
 * calls that end the program when they fail.  The tools have no event loop,
 * so blocking libpq is right here; the module never uses it.
 */

#ifndef COMMERCE_TOOL_H
#define COMMERCE_TOOL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>


#define TOOL_OK        0
#define TOOL_FAILED    1
#define TOOL_USAGE     2
#define TOOL_DATABASE  3

#define TOOL_SHA256       32
#define TOOL_SHA256_HEX   (2 * TOOL_SHA256 + 1)


extern const char  *tool_name;


void tool_die(int code, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 2, 3)));
PGconn *tool_connect(const char *conninfo);
PGresult *tool_query(PGconn *conn, const char *sql, int n,
    const char *const *params);
void tool_exec(PGconn *conn, const char *sql);
void tool_sha256(const void *data, size_t len, unsigned char *out);
void tool_sha256_hex(const void *data, size_t len, char *hex);


#endif
