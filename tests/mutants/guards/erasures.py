"""Erasures: the key goes with the event, and without it nothing is read, worked on or repeated."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="erasure-by-itself",
        protects="a batch with an erasure isn't written in a group, which destroys no key",
        file="services/projector/partition.py",
        text="folded.calendars or folded.erased",
        instead="folded.calendars",
        tests=integration(
            "test_erasures", "test_when_it_answers_200_the_key_is_nowhere_and_the_job_is_deleted"
        ),
    ),
    Guard(
        name="erasure-once",
        protects="an erasure that is asked for again writes nothing, and the first stands",
        file="shared/domain/erasing.py",
        text="    if job.erased is not None:\n        return []\n",
        instead="",
        tests=unit("test_erasing", "test_twice_changes_nothing_and_the_first_stands"),
    ),
    Guard(
        name="sealed-report",
        protects="what a run with personal data says is sealed before it is recorded",
        file="services/executor/attempt.py",
        text="            report = started.seal.report(report)\n",
        instead="            pass\n",
        tests=integration("test_run_personal", "test_what_is_personal_stands_nowhere_in_the_clear"),
    ),
    Guard(
        name="import-destroys",
        protects="a cold copy that tells of an erasure destroys the key in the database that it is brought into",
        file="services/projector/batch.py",
        text="            await destroy(connection, sorted(batch.folded.erased))\n",
        instead="            pass\n",
        tests=integration(
            "test_erasures", "test_an_older_backup_of_the_database_destroys_the_key_as_it_catches_up"
        ),
    ),
)
