-- Events are listed by what they are, by who was behind them, and by when: newest or oldest first, in all partitions.

-- What timer and executor write is nearly all there is: whoever asks for it finds it soon by walking the primary key.
-- The rest is found by two small indexes. services/api/queries/events_chosen.sql repeats their conditions.
create index events_rare on book.events (partition, pos, type)
where type not in ('RunRequested', 'RunQueued', 'RunStarted', 'RunSucceeded', 'RunOutput', 'OccurrencesSkipped');

create index events_of_actor on book.events (actor, partition, pos) where actor not in ('timer', 'executor');

-- The pos of the last event of a partition before `moment`; 0 if there is none. Commit times never fall in a partition,
-- so that halving finds it: an index by time would cost every event something. What has left the archive is before.
create function book.pos_before(of_partition integer, moment timestamptz) returns bigint
language plpgsql stable as $$
declare
    low bigint := 0;
    high bigint := coalesce((select pos from book.checkpoints where partition = of_partition), 0) + 1;
    middle bigint;
    found timestamptz;
begin
    while high - low > 1 loop
        middle := (low + high) / 2;
        found := (select at from book.events where partition = of_partition and pos = middle);
        if found is null or found < moment then
            low := middle;
        else
            high := middle;
        end if;
    end loop;
    return low;
end
$$;
