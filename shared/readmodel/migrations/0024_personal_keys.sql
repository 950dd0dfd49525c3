-- The keys of jobs whose data has personal parts: they stand sealed wherever they are written, and open by this key alone.
-- A row is written before the first event that needs it. An erasure takes the key and leaves the row, so that no copy of
-- the key that turns up later (a log that was set back, a file of keys) is taken in again.
create table book.personal_keys (
    job text primary key, -- its id
    partition integer not null,
    tenant text not null, -- of the job; '' where an erasure found no key
    key bytea, -- 32 random bytes; null: the job's personal data was erased
    made_at timestamptz not null default now(),
    erased_at timestamptz,
    check (octet_length(key) = 32),
    check ((key is null) = (erased_at is not null))
);

create index personal_keys_of on book.personal_keys (partition, job);

create index personal_keys_erased on book.personal_keys (partition) where key is null;
