"""Backups, cold copies and retention."""

from .guard import Guard, integration

GUARDS = (
    Guard(
        name="fixed-types",
        protects="a type of a database's own is asked of that database",
        file="shared/readmodel/database.py",
        text="if max(asked) < FIXED_OIDS:",
        instead="if True:",
        tests=integration(
            "test_readmodel", "test_what_is_the_same_on_every_server_is_asked_once_and_what_is_not_of_each"
        ),
    ),
    Guard(
        name="backup-links",
        protects="a link in a backup can't lead out of the directory it is restored to",
        file="shared/backup/unpacking.py",
        text="            if not self._outside_links and leads_out(",
        instead="            if False and leads_out(",
        tests=integration("test_backup_files", "test_links_that_lead_out_are_refused"),
    ),
    Guard(
        name="backup-plain-seal",
        protects="a flipped byte of a backup that isn't encrypted is refused",
        file="shared/backup/sealing.py",
        text="        if not hmac.compare_digest(chunk[-self.size :], self._over(number, data, last)):",
        instead="        if False:",
        tests=integration("test_backup_files", "test_a_flipped_byte_is_refused_and_nothing_is_restored"),
    ),
    Guard(
        name="backup-names",
        protects="a name in a backup can't lead out of the directory it is restored to",
        file="shared/backup/unpacking.py",
        text='    if any(part in {"", ".", ".."} or "\\0" in part for part in parts):',
        instead="    if False:",
        tests=integration("test_backup_files", "test_names_that_lead_out_are_refused"),
    ),
    Guard(
        name="backup-keep-last",
        protects="only older backups of the same job go",
        file="shared/backup/names.py",
        text="    return (one.job_id, one.backup_type) == (another.job_id, another.backup_type)",
        instead="    return True",
        tests=integration("test_backup_runs", "test_older_ones_of_the_job_go_and_nobody_elses"),
    ),
    Guard(
        name="backup-live-draft",
        protects="what somebody is writing is not taken for a killed attempt's",
        file="shared/backup/local_store.py",
        text="            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        instead="            pass",
        tests=integration("test_backup_runs", "test_a_live_writers_draft_is_left_alone_and_a_dead_ones_goes"),
    ),
    Guard(
        name="cold-copy",
        protects="nothing leaves the archive that no cold copy holds, unless somebody says so",
        file="services/executor/handlers/cleanup_task_archive.py",
        text=" if task.require_cold_copy else None",
        instead=" if None else None",
        tests=integration("test_retention_archive", "test_without_a_cold_copy_nothing_goes"),
    ),
    Guard(
        name="cold-copy-chain",
        protects="a cold copy of another archive, or of another history, holds nothing of this one",
        file="services/executor/handlers/statements/cleanup_cold_copies.sql",
        text=" and events.chain = copies.chain",
        instead="",
        tests=integration(
            "test_retention_archive", "test_a_cold_copy_counts_only_if_it_holds_everything_of_this_archive"
        ),
    ),
    Guard(
        name="cold-copy-broken",
        protects="a cold copy's segment with broken links lets no month go",
        file="services/executor/handlers/backup_task_copies.py",
        text=" if not segment.broken]",
        instead="]",
        tests=integration(
            "test_backup_retention",
            "test_what_follows_a_cut_is_no_cold_copy_if_it_does_not_follow_from_it",
            "test_a_copy_that_keep_last_deletes_is_struck_out_and_keeps_its_month",
        ),
    ),
    Guard(
        name="cold-copy-found",
        protects="a copy that an attempt had written before it was killed is entered by the next one",
        file="services/executor/handlers/backup_task.py",
        text="            checked = self._found(store) or self._written(store)\n            self._enter(checked)\n",
        instead=(
            "            if not (checked := self._found(store)):\n"
            "                checked = self._written(store)\n"
            "                self._enter(checked)\n"
        ),
        tests=integration(
            "test_backup_retention",
            "test_a_crash_before_a_copy_was_entered_is_made_good_by_the_next_attempt",
        ),
    ),
    Guard(
        name="cold-copy-struck",
        protects="a copy that keep_last deletes lets no month go any more",
        file="shared/readmodel/cold_copies.py",
        text="        await strike(connection, name)\n        return None\n",
        instead="        return None\n",
        tests=integration(
            "test_backup_retention",
            "test_a_copy_that_keep_last_deletes_is_struck_out_and_keeps_its_month",
        ),
    ),
    Guard(
        name="cold-copy-stays",
        protects="a copy that can't be struck out stays",
        file="services/executor/handlers/backup_task.py",
        text="        is_of_the_log = isinstance(self._task, LogBackup)\n",
        instead="        store.delete(name)\n        is_of_the_log = True\n",
        tests=integration("test_backup_retention", "test_a_copy_that_cannot_be_struck_out_stays"),
    ),
    Guard(
        name="cold-copy-sole",
        protects="keep_last deletes no copy that alone holds events which have left the archive",
        file="shared/readmodel/cold_copies.py",
        text="        if row is not None:\n            return Range(*row)\n",
        instead="",
        tests=integration(
            "test_backup_retention", "test_the_only_copy_of_a_month_that_was_dropped_outlives_keep_last"
        ),
    ),
    Guard(
        name="cold-copy-named",
        protects="a copy is struck out by its name, whichever way its place was written",
        file="shared/readmodel/statements/strike_cold_copy.sql",
        text=" or right(place, length($1) + 1) = '/' || $1",
        instead="",
        tests=integration("test_backup_retention", "test_a_copy_is_struck_out_whatever_its_place_was_called"),
    ),
    Guard(
        name="cold-copy-anew",
        protects="a copy that was found damaged lets no month go until it was written anew",
        file="services/executor/handlers/backup_task.py",
        text="        self._strike(str(self._name))",
        instead="        pass",
        tests=integration(
            "test_backup_retention",
            "test_a_copy_that_is_damaged_counts_for_nothing_until_it_was_written_anew",
        ),
    ),
    Guard(
        name="cold-copy-still",
        protects="no month goes between a copy's snapshot and its read",
        file="shared/readmodel/cold/exporting.py",
        text="        await cuts.hold_still(connection)\n",
        instead="",
        tests=integration("test_backup_retention", "test_no_month_is_dropped_while_the_archive_is_copied"),
    ),
    Guard(
        name="cold-copy-cut",
        protects="a copy of what is left goes on from the link of the cut",
        file="shared/readmodel/cold/exporting.py",
        text="return None if cut is None else cut.chain",
        instead="return None",
        tests=integration(
            "test_backup_retention",
            "test_what_was_backed_up_is_dropped_and_what_is_left_is_backed_up_from_the_cut",
            "test_what_follows_a_cut_is_no_cold_copy_if_it_does_not_follow_from_it",
        ),
    ),
    Guard(
        name="cold-copy-read-cut",
        protects="who reads a copy back proves its first event by the link that the manifest says",
        file="shared/readmodel/cold/segments.py",
        text=" + (link(bytes.fromhex(before), event) != link_)",
        instead="",
        tests=integration(
            "test_backup_retention", "test_what_follows_a_cut_is_no_cold_copy_if_it_does_not_follow_from_it"
        ),
    ),
    Guard(
        name="cut-snapshots",
        protects="a month stays while a job has no snapshot beyond it",
        file="services/executor/handlers/cleanup_task_archive.py",
        text='        if behind := await connection.fetchval(statement("behind"), refs, at):',
        instead="        if behind := None:",
        tests=integration("test_retention_archive", "test_a_month_stays_that_something_still_needs"),
    ),
    Guard(
        name="cut-chain",
        protects="a month whose events are not what they were is evidence, and stays",
        file="services/executor/handlers/cleanup_task_archive.py",
        text="        if link(self.chain, _linked(event)) != chain:",
        instead="        if False:",
        tests=integration("test_retention_archive", "test_a_month_stays_that_something_still_needs"),
    ),
    Guard(
        name="cut-refused",
        protects="a month stays while a ledger has refused what it tells",
        file="services/executor/handlers/cleanup_task_archive.py",
        text='    if refused := await connection.fetchval(statement("refused"), reading.partition, reading.at.pos):',
        instead="    if refused := 0:",
        tests=integration("test_retention_archive", "test_a_month_stays_that_something_still_needs"),
    ),
    Guard(
        name="brought-forward",
        protects="what had begun before the archive does is recovered from what was brought forward",
        file="services/executor/handlers/cleanup_task_archive.py",
        text="            await _bring_forward(connection, reading)\n",
        instead="",
        tests=integration(
            "test_retention_archive",
            "test_what_is_made_anew_equals_what_was_wiped_though_the_months_are_gone",
        ),
    ),
    Guard(
        name="cut-dry-run",
        protects="a dry run drops nothing",
        file="services/executor/handlers/cleanup_task_archive.py",
        text="    if not retention.retained.dry_run:\n        await _drop(",
        instead="    if True:\n        await _drop(",
        tests=integration("test_retention_archive", "test_a_dry_run_changes_nothing_and_says_what_would_go"),
    ),
    Guard(
        name="cut-lock",
        protects="of two retentions at once one does nothing",
        file="services/executor/handlers/cleanup_task_retention.py",
        text='        if not await connection.fetchval("select pg_try_advisory_lock($1)", RETENTION_LOCK):',
        instead="        if False:",
        tests=integration("test_retention_archive", "test_two_at_once_are_one"),
    ),
    Guard(
        name="cut-present",
        protects="the present month and the one before it are never dropped",
        file="services/executor/handlers/cleanup_task_retention.py",
        text="        last = min(before, _month_before(self.now))",
        instead="        last = before",
        tests=integration("test_retention_archive", "test_the_present_month_and_the_one_before_stay"),
    ),
    Guard(
        name="runs-alive",
        protects="the month of a run that has not ended stays",
        file="services/executor/handlers/statements/cleanup_runs_standing.sql",
        text="    count(*) filter (where finished_at is null) as live,",
        instead="    0 as live,",
        tests=integration(
            "test_retention_runs",
            "test_a_month_goes_whole_and_of_the_next_what_has_ended_goes_row_by_row",
        ),
    ),
    Guard(
        name="runs-retried",
        protects="a run that was retried is no dead letter again",
        file="services/executor/handlers/statements/cleanup_runs_page.sql",
        text="where original.id = page.of::uuid",
        instead="where false and original.id = page.of::uuid",
        tests=integration("test_retention_runs", "test_a_retry_stays_as_long_as_the_run_that_it_repeats"),
    ),
)
