"""Explanations: nobody else's, and no more than the log tells."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="explain-tenant",
        protects="of another tenant's job no reason is told",
        file="services/api/explanations.py",
        text="        if not await self._deps.ledger.job_exists(job_id):",
        instead="        if False:",
        tests=integration("test_api_explain", "test_of_another_tenant_nothing_is_told"),
    ),
    Guard(
        name="explain-others-events",
        protects="what other tenants run in a shared queue is counted, and not shown",
        file="services/api/queries/explain_queue.sql",
        text="and ($6::text is null or tenant = $6)",
        instead="and ($6::text is null or true)",
        tests=integration(
            "test_api_explain", "test_a_queue_is_shared_and_what_others_run_in_it_is_counted_and_not_shown"
        ),
    ),
    Guard(
        name="explain-known-until",
        protects="what the archive doesn't know yet is not said to be missing",
        file="services/api/explanations.py",
        text="        return ids.from_ms(state.now_ms) if fate is Fate.ARCHIVED else None",
        instead="        return ids.from_ms(state.now_ms)",
        tests=integration(
            "test_explain_occurrences",
            "test_what_is_decided_and_not_archived_yet_is_not_said_to_be_missing",
        ),
    ),
    Guard(
        name="explain-no-timer",
        protects="a timer that was at work is not said to have been away",
        file="services/api/explaining/silence.py",
        text="        heard = self.after or self.decided",
        instead="        heard = None",
        tests=unit("test_explaining", "test_a_timer_that_was_at_work_is_not_said_to_have_been_away"),
    ),
    Guard(
        name="explain-sealed",
        protects="a sealed message of an error isn't told as if it was one",
        file="services/api/explaining/steps.py",
        text="    is_told = error.message and not _SEALED.search(error.message)",
        instead="    is_told = error.message",
        tests=unit("test_explaining", "test_a_message_that_is_sealed_is_not_told"),
    ),
    Guard(
        name="explain-forgotten-runs",
        protects="of runs that retention has deleted it is not said that nobody was at work",
        file="services/api/queries/explain_queue.sql",
        text="    or exists(select from known where run is null) as is_capped",
        instead="    or false as is_capped",
        tests=integration(
            "test_explain_runs", "test_of_runs_that_retention_has_deleted_it_is_not_said_that_there_were_none"
        ),
    ),
    Guard(
        name="explain-bounded-wait",
        protects="what happened beside a waiting run is read up to a bound",
        file="services/api/queries/explain_queue.sql",
        text="least(spans.upto, spans.since + $8)",
        instead="greatest(spans.upto, least(0, $8))",
        tests=integration("test_explain_runs", "test_of_what_happened_meanwhile_only_the_beginning_is_read"),
    ),
)
