#!/bin/sh
# As the official image's for who runs it as `postgres`: a new PGDATA is made with the password of
# POSTGRES_PASSWORD_FILE, and what lies in /docker-entrypoint-initdb.d is run over it, by the socket alone.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    # shellcheck disable=SC2086 - several options, as in the official image
    initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" ${POSTGRES_INITDB_ARGS:-}
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="-c listen_addresses=''" start
    for each in /docker-entrypoint-initdb.d/*.sh; do
        PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")" sh "$each"
    done
    pg_ctl --wait --mode=fast stop
fi
exec "$@"
