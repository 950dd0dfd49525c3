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
        name="caught-up",
        protects="what fell due in a pause is decided by what its end said, what fell due later is not",
        file="shared/domain/settling.py",
        text="return self.now if catching is None else catching.to",
        instead="return self.now",
        tests=_MODEL,
    ),
)
