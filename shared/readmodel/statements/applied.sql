-- Which migrations this database has had. Run before each migration, under its lock (database.py).
create schema if not exists book;

create table if not exists book.migrations (
    name text primary key,
    sha256 text not null,
    applied_at timestamptz not null default now()
);
