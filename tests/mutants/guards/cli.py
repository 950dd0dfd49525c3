"""The command line."""

from .guard import Guard, integration

GUARDS = (
    Guard(
        name="cli-if-match",
        protects="an edit on the command line overwrites nobody's",
        file="services/cli/editing.py",
        text="if_match=etag",
        instead="if_match=None",
        tests=integration(
            "test_cli", "test_what_somebody_else_has_edited_is_not_overwritten_and_the_text_is_kept"
        ),
    ),
    Guard(
        name="cli-key",
        protects="a POST that the command line sends again is done once",
        file="services/cli/client.py",
        text='{"Idempotency-Key": secrets.token_hex(16)}',
        instead="{}",
        tests=integration("test_cli", "test_a_post_whose_answer_was_lost_is_sent_again_and_done_once"),
    ),
    Guard(
        name="cli-control",
        protects="control characters in names are told, not obeyed",
        file="services/cli/show.py",
        text="return Text(printable(text), style",
        instead="return Text(text, style",
        tests=integration("test_cli", "test_control_characters_in_names_are_told_not_obeyed"),
    ),
    Guard(
        name="cli-last-id",
        protects="a stream that was cut off goes on after the last event",
        file="services/cli/sse.py",
        text='{"Last-Event-ID": after} if after else {}',
        instead="{}",
        tests=integration(
            "test_events_cli", "test_a_broken_stream_goes_on_after_the_last_event_without_gap_or_repeat"
        ),
    ),
)
