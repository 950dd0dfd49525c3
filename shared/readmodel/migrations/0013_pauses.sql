-- A pause tells what its end is to catch up, and which switch has paused the job together with others (null: none).
-- What a switch has paused is found by it when the switch is thrown back.

update ledger.jobs set paused = '{"catch_up": "skip", "switch": null}'::jsonb || paused where paused is not null;

create index jobs_by_switch on ledger.jobs ((paused ->> 'switch'), id) where paused ->> 'switch' is not null;
