-- Calendars, for lists and for whoever looks at one; what excludes a job's occurrences is asked of Redis.

create table ledger.calendars (
    tenant text not null,
    name text not null,
    partition integer not null,
    revision integer not null,
    description text not null,
    dates text not null, -- JSON: [{"from": date, "to": date}, …]
    weekdays text not null, -- JSON: ["sat", …]
    timezone text, -- null: each job's
    created_at timestamptz not null,
    updated_at timestamptz not null,
    updated_by text not null,
    deleted boolean not null,
    epoch bigint not null,
    pos bigint not null,
    primary key (tenant, name)
);

-- Which jobs name a calendar.
create index jobs_by_calendar on ledger.jobs using gin ((spec -> 'schedule' -> 'exclude_calendars'))
where status <> 'deleted' and spec -> 'schedule' -> 'exclude_calendars' <> '[]'::jsonb;
