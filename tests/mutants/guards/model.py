"""Rules of the domain that nobody but the model looks at in every order."""

from .guard import Guard, unit

_MODEL = unit("test_model", "test_the_domain_decides_as_its_model_whatever_is_done_in_whatever_order")

GUARDS = (
    Guard(
        name="counted-range",
        protects="a range of skipped occurrences counts all of them",
        file="shared/domain/settling.py",
        text="            count=len(due),",
        instead="            count=min(len(due), 2),",
        tests=_MODEL,
    ),
    Guard(
        name="skipped-by-hand",
        protects="an occurrence is skipped by hand until it is decided, and no longer",
        file="shared/domain/job.py",
        text="skipped=tuple(skip for skip in job.skipped if skip.scheduled_for > to) if job.skipped else (),",
        instead="skipped=job.skipped,",
        tests=_MODEL,
    ),
    Guard(
        name="pause-outlasts-schedule",
        protects="a pause is ended by nothing but its end: not by an edit after the last occurrence has passed in it",
        file="shared/domain/settling.py",
        text='goes_on = job.status is Status.PENDING and job.spec.schedule.kind != "none"',
        instead='goes_on = job.spec.schedule.kind != "none"',
        tests=unit("test_pauses", "test_an_edit_ends_no_pause_in_which_the_last_occurrence_has_passed"),
    ),
)
