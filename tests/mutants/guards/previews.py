"""What is to come: previews and forecasts, told to whoever may know, at a bounded cost."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="simulate-lateness",
        protects="an outage of the timer stays one in a simulation",
        file="shared/domain/happened.py",
        text="            return woken",
        instead="            return due",
        tests=unit("test_simulation", "test_an_outage_of_the_timer_stays_one_whatever_the_misfire_policy"),
    ),
    Guard(
        name="simulate-ends",
        protects="a run that goes as it went ends when it did",
        file="shared/domain/underway.py",
        text="            return  # it ends when the real one did",
        instead="            pass",
        tests=unit("test_simulation", "test_a_run_that_somebody_cancelled_was_active_until_then"),
    ),
    Guard(
        name="forecast-tenant",
        protects="a forecast counts the jobs of one's own tenant only",
        file="services/api/queries/forecast.sql",
        text="and ($4::text is null or tenant = $4)",
        instead="and ($4::text is null or true)",
        tests=integration("test_api_forecast", "test_a_tenant_is_told_of_its_own_jobs_only"),
    ),
    Guard(
        name="slices-turn",
        protects="however many calculate, a round of the event loop has one slice",
        file="services/api/slices.py",
        text="                await asyncio.sleep(0)  # still in turn",
        instead="            await asyncio.sleep(0)  # out of turn",
        tests=unit("test_slices", "test_a_round_of_the_loop_has_one_slice_whoever_calculates"),
    ),
    Guard(
        name="forecast-cost",
        protects="a forecast costs no more than it may",
        file="shared/domain/forecast.py",
        text="        if self._cost > COST_MAX:",
        instead="        if False:",
        tests=unit("test_forecast", "test_what_would_cost_too_much_is_refused_after_as_much_as_may_be_spent"),
    ),
    Guard(
        name="gap-shown",
        protects="a preview shows what was left out where the clock is put forward",
        file="shared/domain/preview.py",
        text='        if note.rule == "gap_skip":',
        instead='        if note.rule == "":',
        tests=unit("test_preview", "test_what_becomes_of_an_occurrence_where_clocks_change_is_shown"),
    ),
    Guard(
        name="one-search",
        protects="a hundred thousand jobs at midnight cost one search",
        file="shared/domain/walk.py",
        text="            if place % 2 == 0:",
        instead="            if place % 2 == 0 or second % 2 == 0:",
        tests=unit("test_schedule_cost", "test_a_hundred_thousand_wakes_at_midnight_cost_one_search"),
    ),
)
