"""Cold copies, signed checkpoints, golden histories."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="import-joint",
        protects="a copy of another history is not imported behind an archive",
        file="services/projector/importing.py",
        text="    if part.pos and link != archived.chain:",
        instead="    if False:",
        tests=integration(
            "test_archive_cli", "test_a_copy_that_contradicts_is_refused_and_nothing_is_written"
        ),
    ),
    Guard(
        name="import-proved",
        protects="of a copy that isn't whole nothing is written",
        file="services/projector/importing.py",
        text="    if proof.wrong:",
        instead="    if False:",
        tests=integration("test_archive_cli", "test_a_damaged_copy_is_not_imported_not_even_its_beginning"),
    ),
    Guard(
        name="import-epoch",
        protects="what a log was opened for since is not overwritten by an older copy",
        file="services/projector/importing.py",
        text="    if last.last[0] < archived.fence:",
        instead="    if False:",
        tests=integration(
            "test_archive_cli",
            "test_an_archive_whose_log_was_opened_since_takes_nothing_behind_its_back",
        ),
    ),
    Guard(
        name="export-continued",
        protects="a copy is not continued by another history",
        file="shared/readmodel/cold/exporting.py",
        text="after.chain is not None and after.chain != found",
        instead="False",
        tests=integration("test_archive_cli", "test_a_copy_is_not_continued_by_another_history"),
    ),
    Guard(
        name="copy-to-the-byte",
        protects="a copy that was changed without changing an event is found",
        file="shared/readmodel/cold/proving.py",
        text="if len(proof.wrong) == found_before and found != segment:",
        instead="if False:",
        tests=unit(
            "test_cold_copy", "test_a_flipped_bit_in_any_byte_of_any_file_is_found_and_its_place_named"
        ),
    ),
    Guard(
        name="signed-head",
        protects="a history that was linked anew isn't the one that was signed",
        file="shared/readmodel/cold/heads.py",
        text="if (event[1], event[3], link.hex()) != (head.epoch, head.id, head.chain):",
        instead="if False:",
        tests=integration(
            "test_signed_checkpoints",
            "test_a_history_that_was_written_anew_with_good_links_is_none_that_was_signed",
        ),
    ),
    Guard(
        name="signature",
        protects="a checkpoint is what its signer signed",
        file="shared/readmodel/signing.py",
        text="        public_key.verify(signature, _canonical(checkpoint))",
        instead="        pass",
        tests=integration(
            "test_signed_checkpoints", "test_a_checkpoint_of_which_anything_was_changed_is_refused"
        ),
    ),
    Guard(
        name="upcasters-stay",
        protects="what older builds wrote is read for ever",
        file="shared/eventlog/upcast.py",
        text='    ("RunRequested", 2): _placed,\n',
        instead="",
        tests=unit("test_histories", "test_a_history_is_read_folded_and_projected_as_when_it_was_kept"),
    ),
)
