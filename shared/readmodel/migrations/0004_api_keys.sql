-- API keys, for lists and for finding the hash of one by its id; whether a key opens anything is asked of Redis.

create table ledger.api_keys (
    hash text primary key, -- SHA-256 of the key, hex; the key itself is nowhere
    partition integer not null,
    id uuid not null,
    prefix text not null,
    name text not null,
    role text not null,
    tenant text not null,
    owner text not null,
    issued_by text not null,
    issued_at timestamptz not null,
    expires_at timestamptz, -- null: never
    revoked_by text,
    revoked_at timestamptz,
    epoch bigint not null,
    pos bigint not null
);

create unique index api_keys_id on ledger.api_keys (id);

-- What a rebuilding of the write side folds keys from.
create index events_of_api_keys on book.events (partition, pos) where type in ('ApiKeyIssued', 'ApiKeyRevoked');
