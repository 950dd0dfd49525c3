"""Calendars, and zone tables that change."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="calendar-asked",
        protects="what a calendar excludes doesn't run",
        file="shared/domain/settling.py",
        text="        by = self._calendars.by(at)\n",
        instead="        by = None\n",
        tests=unit(
            "test_calendars", "test_what_runs_is_what_the_schedule_has_without_what_calendars_exclude"
        ),
    ),
    Guard(
        name="calendar-zone",
        protects="a calendar's days are those of its own zone, if it has one",
        file="shared/domain/calendars.py",
        text="return zone_named(calendar.timezone or timezone)",
        instead="return zone_named(timezone)",
        tests=unit("test_calendars", "test_days_are_those_of_the_calendars_zone_else_of_the_jobs"),
    ),
    Guard(
        name="calendar-away",
        protects="a calendar on a server that is down keeps no other job from running",
        file="services/timer/service.py",
        text="        except Unseen as error:  # the rest",
        instead="        except ZeroDivisionError as error:  # the rest",
        tests=integration(
            "test_calendars", "test_where_a_calendar_can_not_be_reached_the_wake_waits_and_others_go_on"
        ),
    ),
    Guard(
        name="calendar-revision",
        protects="an edit of a calendar that was made up from an older one is refused, also after a deletion",
        file="shared/domain/calendar.py",
        text="if command.if_revision is not None and revision not in command.if_revision:",
        instead="if False:",
        tests=unit("test_calendar", "test_an_edit_is_for_what_it_was_made_up_from"),
    ),
    Guard(
        name="calendar-tenant",
        protects="events of a calendar are seen by its tenant only",
        file="services/api/queries/events_chosen.sql",
        text="starts_with(subject, 'calendar/' || $10 || ':')",
        instead="false",
        tests=integration("test_api_calendars", "test_calendars_are_their_tenants"),
    ),
    Guard(
        name="replan-newer-wins",
        protects="a timer with older zone tables plans nothing by them",
        file="services/timer/replanning.py",
        text="if self._replan.is_older(planned):",
        instead="if False:",
        tests=integration("test_replanning", "test_an_old_timer_and_a_new_one_do_not_plan_to_and_fro"),
    ),
    Guard(
        name="replan-whole",
        protects="a walk over the jobs that was broken off is done again",
        file="services/timer/replanning.py",
        text=" or not planned.walked:",
        instead=":",
        tests=integration("test_replanning", "test_a_walk_of_yesterday_that_was_broken_off_is_done_again"),
    ),
    Guard(
        name="replan-not-what-is-due",
        protects="what was announced and is due is decided as it was announced",
        file="shared/domain/replanning.py",
        text="job.next_for is None or job.next_for <= now or",
        instead="job.next_for is None or",
        tests=unit("test_replanning", "test_what_fell_due_in_a_pause_is_left_to_its_end"),
    ),
    Guard(
        name="replan-decided",
        protects="an occurrence that was decided isn't decided again, at another time",
        file="shared/domain/replanning.py",
        text="since = job.anchor_at if job.decided_to is None else max(job.anchor_at, job.decided_to)",
        instead="since = job.anchor_at",
        tests=unit("test_replanning", "test_nothing_that_was_decided_is_decided_again"),
    ),
    Guard(
        name="newest-of-the-others",
        protects="of misfires one runs, though more than a unit looks at is excluded after it",
        file="shared/domain/settling.py",
        text="not self._has_newer(afters[-1])",
        instead="not self._is_due(afters[-1])",
        tests=unit(
            "test_calendars",
            "test_the_newest_that_is_not_excluded_runs_however_many_units_of_excluded_ones_come_after_it",
        ),
    ),
)
