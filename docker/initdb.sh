#!/bin/sh
# initdb.sh: the role of the engine, with the password of the file
# COMMERCE_PASSWORD_FILE.  For /docker-entrypoint-initdb.d of a PostgreSQL
# image: it runs once, on an empty data directory.
set -eu

psql -Xq -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" \
     -v role="${COMMERCE_ROLE:-commerce}" \
     -v password="$(cat "$COMMERCE_PASSWORD_FILE")" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
SQL
