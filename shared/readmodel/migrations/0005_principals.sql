-- GET /stats/principals: who has changed how much in a span of time; most events are the system's own.
create index events_by_people on book.events (at, actor)
where actor not in ('timer', 'executor', 'projector', 'daybook', '');
