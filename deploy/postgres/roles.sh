#!/bin/sh
# Run once, by the image, over a new database: the services' role, which owns its database and nothing else, and the
# exporter's, which only looks. (Later changes of a password: ALTER ROLE, then the file.)
set -eu

password() { cat "/secrets/postgres/$1_password"; }

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
    --set daybook="$(password daybook)" --set exporter="$(password exporter)" <<'SQL'
CREATE ROLE daybook LOGIN PASSWORD :'daybook';
CREATE DATABASE daybook OWNER daybook;
REVOKE ALL ON DATABASE daybook FROM PUBLIC;
CREATE ROLE exporter LOGIN PASSWORD :'exporter' CONNECTION LIMIT 5;
GRANT pg_monitor TO exporter;
GRANT CONNECT ON DATABASE daybook TO exporter;
SQL
