-- States of jobs as they once stood, here and there in their histories: what a job was at a place is folded from the last of
-- them before it, and not from its beginning (`?as_of=`). The projector writes them; without one, folding takes longer.

create table book.waypoints (
    job text not null, -- its id
    pos bigint not null, -- of the event that the state is after
    partition integer not null,
    epoch bigint not null, -- of that event
    shape integer not null,
    state text not null,
    active_runs integer not null, -- runs without a terminal event by then
    last_run_id uuid, -- the run that had ended last
    last_run_status text,
    last_run_finished_at timestamptz,
    primary key (job, pos)
);
