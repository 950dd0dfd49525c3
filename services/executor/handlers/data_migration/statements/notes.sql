-- Makes the notes of data_migration in a destination: how far each job has copied each table. Run under NOTES_LOCK.
-- `fence`: {epoch, number} of the start that copies.  `last_key`: the primary key, as texts, of the last row that was
-- copied; {} for a table without one that was copied as a whole; null: nothing yet.
-- `rows_read`: since copying began at the first row.  `rows_copied`: by run `run_id`, in all its attempts.
create schema if not exists daybook_migration;

create table if not exists daybook_migration.watermarks (
    job_id text not null,
    source text not null,
    table_name text not null,
    run_id text not null,
    fence bigint[] not null,
    last_key text[],
    rows_read bigint not null default 0,
    rows_copied bigint not null default 0,
    finished boolean not null default false,
    at timestamptz not null default now(),
    primary key (job_id, source, table_name)
);
