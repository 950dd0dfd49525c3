"""The log, its opening and healing, the domain; timer, executor and projector."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="version",
        protects="trace 2: a unit is written only over the state that it was decided from",
        file="shared/eventlog/commit.lua",
        text="if version ~= expected then",
        instead="if false then",
        tests=integration("test_commit", "test_a_failed_guard_writes_nothing_and_answers_with_the_state"),
    ),
    Guard(
        name="woken",
        protects="trace 17: a run whose lease was extended since it was read is not lost",
        file="shared/eventlog/commit.lua",
        text="if score ~= tonumber(expected) or score > now then",
        instead="if false then",
        tests=integration("test_commit", "test_a_beat_between_reading_and_committing_saves_the_run"),
    ),
    Guard(
        name="woken-score",
        protects="trace 17: the due entry must be the one that was read, not just any that is due",
        file="shared/eventlog/commit.lua",
        text="if score ~= tonumber(expected) or",
        instead="if not score or",
        tests=integration("test_commit", "test_a_due_entry_that_has_moved_or_is_not_yet_due_wakes_nobody"),
    ),
    Guard(
        name="incarnation",
        protects="trace 3: a server that is not the one that was opened takes nothing",
        file="shared/eventlog/commit.lua",
        text=" or opened[1] ~= incarnation",
        instead="",
        tests=integration(
            "test_traces_failover",
            "test_a_master_that_comes_back_with_its_scripts_and_without_the_tail_takes_nothing",
        ),
    ),
    Guard(
        name="exact-repeat",
        protects="trace 7: a batch sent again after a lost reply applies once, whoever wrote in between",
        file="shared/eventlog/commit.lua",
        text="if last_seq == seq then",
        instead="if false then",
        tests=integration(
            "test_traces_log",
            "test_a_trigger_sent_again_makes_no_second_run_though_the_first_has_come_and_gone",
        ),
    ),
    Guard(
        name="still-loading",
        protects="a server that is loading again is waited for by those with a line of their own, too",
        file="shared/eventlog/wire.py",
        text='    "LOADING": BusyLoadingError,\n',
        instead="",
        tests=integration("test_wire", "test_a_server_that_is_not_ready_yet_is_waited_for"),
    ),
    Guard(
        name="reset-write",
        protects="a connection that is reset just before it is written to ends no service",
        file="shared/eventlog/connection.py",
        text="isinstance(error, OSError | RuntimeError)",
        instead="isinstance(error, OSError)",
        tests=integration(
            "test_resets", "test_a_command_on_a_connection_that_was_just_reset_is_broken_infrastructure"
        ),
    ),
    Guard(
        name="expected-tail",
        protects="trace 3c: a log that changed after it was compared is not opened",
        file="shared/eventlog/open.lua",
        text="if tail ~= ARGV[1] then",
        instead="if false then",
        tests=integration(
            "test_traces_opening", "test_a_log_set_back_between_comparison_and_opening_is_compared_again"
        ),
    ),
    Guard(
        name="rebuilt-token",
        protects="a server that has lost what was made anew is not opened on it",
        file="shared/eventlog/open.lua",
        text=" or redis.call('HGET', meta, 'rebuilding') ~= incarnation .. ' ' .. token",
        instead="",
        tests=integration("test_heal", "test_a_server_that_loses_what_was_made_anew_is_not_opened_on_it"),
    ),
    Guard(
        name="rebuilding-ours",
        protects="an opener that was stopped writes nothing over what another has opened",
        file="shared/recovery/rebuild.lua",
        text="'rebuilding') ~= incarnation .. ' ' .. ARGV[1]",
        instead="'pos') == 'never'",
        tests=integration(
            "test_heal", "test_an_opener_that_was_stopped_writes_nothing_over_what_another_has_opened"
        ),
    ),
    Guard(
        name="archived-in-doubt",
        protects="trace 7: what was archived before its reply was lost is not done twice after a heal",
        file="shared/eventlog/writer.py",
        text='if in_doubt and finding == [b"CLOSED"]:',
        instead="if False:",
        tests=integration("test_heal", "test_what_was_archived_before_its_reply_was_lost_is_not_done_twice"),
    ),
    Guard(
        name="work-goes-first",
        protects="a heal never shows a work entry without its run, which an executor would drop",
        file="shared/recovery/rebuilding.py",
        text='not (name == "due" or name.startswith("work:"))',
        instead='name == "due" or name.startswith("work:")',
        tests=integration(
            "test_heal", "test_whoever_claims_or_wakes_meanwhile_finds_all_of_a_run_or_nothing_of_it"
        ),
    ),
    Guard(
        name="nowhere-meanwhile",
        protects="a run whose log is being healed is not said to be nowhere",
        file="shared/eventlog/log.py",
        text="if not (await opening.look(self.redis, self._keys[partition])).is_open:",
        instead="if False:",
        tests=integration("test_heal", "test_a_run_that_is_not_in_a_wiped_log_is_not_said_to_be_nowhere"),
    ),
    Guard(
        name="whole-units",
        protects="the archive never ends within a unit, so that none is healed by half",
        file="services/projector/units.py",
        text="return events[:end] if end else events",
        instead="return events",
        tests=integration("test_heal", "test_the_archive_never_ends_within_a_unit_so_none_is_healed_by_half"),
    ),
    Guard(
        name="quiet-log",
        protects="a log that is wiped while nobody commits is healed all the same",
        file="services/projector/partition.py",
        text="await self._watch()",
        instead="pass",
        tests=integration(
            "test_heal", "test_a_log_that_is_wiped_while_all_is_quiet_is_healed_by_its_projector"
        ),
    ),
    Guard(
        name="closed-beat",
        protects="a worker is not told that its run has moved by a log that is being healed",
        file="services/executor/beat.lua",
        text="if moved[1] or cancelled[1] then",
        instead="if false then",
        tests=integration(
            "test_heal", "test_no_worker_is_told_that_a_run_has_moved_by_a_log_that_is_not_open"
        ),
    ),
    Guard(
        name="fresh-lease",
        protects="trace 15: an outage longer than the lease loses no run whose worker lives",
        file="shared/eventlog/open.lua",
        text="redis.call('ZADD', due, 'XX', 'GT',",
        instead="redis.call('ZADD', due, 'NX',",
        tests=integration(
            "test_traces_timer", "test_an_outage_longer_than_the_lease_loses_no_run_whose_worker_lives"
        ),
    ),
    Guard(
        name="memory-flavours",
        protects="trace 28: what ends work is written when Redis is out of memory",
        file="shared/eventlog/writer.py",
        text="#!lua flags=allow-oom",
        instead="#!lua",
        tests=integration(
            "test_traces_log", "test_what_ends_work_goes_through_a_full_redis_beside_what_adds_some"
        ),
    ),
    Guard(
        name="checkpoint",
        protects="traces 4, 11: of two projectors one moves the checkpoint",
        file="services/projector/statements/move_checkpoint.sql",
        text="and epoch = $4 and pos = $5",
        instead="and ($4::bigint, $5::bigint) is not null",
        tests=integration(
            "test_traces_projector",
            "test_the_key_of_the_archive_is_not_what_keeps_an_event_from_standing_there_twice",
        ),
    ),
    Guard(
        name="checkpoint-fence",
        protects="trace 4: a projector that read the log before it was opened anew writes nothing",
        file="services/projector/statements/move_checkpoint.sql",
        text="fence = $2 and",
        instead="$2::bigint is not null and",
        tests=integration(
            "test_traces_projector",
            "test_a_projector_in_flight_adds_nothing_after_the_log_was_opened_without_its_events",
        ),
    ),
    Guard(
        name="fence-first",
        protects="trace 4: the archive's tail is read after the fence was raised, not before",
        file="shared/recovery/opener.py",
        text="found = await compare(connection, redis, keys, state, now)",
        instead="found = await compare(connection, redis, keys, state, before or now)",
        tests=integration(
            "test_recovery", "test_opening_waits_for_a_projector_that_is_writing_and_sees_what_it_wrote"
        ),
    ),
    Guard(
        name="hole",
        protects="trace 5: nobody reads past a hole in the log",
        file="shared/eventlog/reader.py",
        text="raise Hole(partition, after, entry.position)",
        instead="pass",
        tests=integration("test_projector", "test_events_missing_between_archive_and_log_stop_the_projector"),
    ),
    Guard(
        name="previous",
        protects="trace 5: an opening is passed only by who stands at the event before it",
        file="shared/eventlog/reader.py",
        text="return opened.previous == previous",
        instead="return True",
        tests=integration("test_reader", "test_an_opening_that_follows_another_event_is_not_passed"),
    ),
    Guard(
        name="settle-first",
        protects="trace 9: an edit, pause or delete decides what is due before it",
        file="shared/domain/deciding.py",
        text="    due.settle()\n    if not due.settled:",
        instead="    if wake := isinstance(command, Wake):\n        due.settle()\n    if wake and not due.settled:",
        tests=integration("test_commit", "test_an_edit_at_the_due_moment_swallows_nothing"),
    ),
    Guard(
        name="run-fence",
        protects="trace 2: a result of a start that lost its run is refused",
        file="shared/domain/run.py",
        text=" or command.fence != fence",
        instead="",
        tests=integration(
            "test_traces_log", "test_the_owner_of_a_run_after_a_rollback_is_told_from_the_one_before"
        ),
    ),
    Guard(
        name="newer-shape",
        protects="trace 26: a snapshot written by a newer version is left to the newer version",
        file="shared/eventlog/snapshot.py",
        text="if int(found[1]) > SHAPES[kind]:",
        instead="if False:",
        tests=integration("test_traces_log", "test_a_snapshot_of_a_newer_version_is_left_as_it_is"),
    ),
    Guard(
        name="poison-alone",
        protects="trace 18: one job that can't be decided doesn't stop the others",
        file="services/timer/service.py",
        text="await self._set_aside(entry, error)",
        instead="raise",
        tests=integration(
            "test_timer",
            "test_a_job_that_cannot_be_decided_does_not_stop_the_others_and_is_paused_in_the_end",
        ),
    ),
    Guard(
        name="own-clock",
        protects="trace 14: the timer sleeps until the head of `due`, whatever rings or times out",
        file="services/timer/service.py",
        text="await self._sleep_until(sight.head_ms)",
        instead="await self._sleep_until(None)",
        tests=integration(
            "test_traces_timer",
            "test_an_occurrence_is_on_time_though_no_bell_rings_and_no_blocking_read_ends",
        ),
    ),
    Guard(
        name="ring-again",
        protects="trace 21: whoever leaves work rings for the next",
        file="services/executor/claim.lua",
        text="left[(at - 1) % queues + 1] = true",
        instead="left[(at - 1) % queues + 1] = nil",
        tests=integration("test_executor_claims", "test_whoever_leaves_runs_rings_for_the_next"),
    ),
    Guard(
        name="revision",
        protects="an edit made up from an older revision is refused also when the newer one comes in between",
        file="shared/domain/deciding.py",
        text="if command.if_revision is not None and job.revision not in command.if_revision:",
        instead="if False:",
        tests=integration("test_api_concurrency", "test_the_revision_is_compared_where_it_is_decided"),
    ),
    Guard(
        name="key-rebuilt",
        protects="a log made anew from the archive knows the keys of the last day",
        file="shared/eventlog/once.py",
        text="if kind == _CAUSE and event.type not in _FOLLOWS:",
        instead="if False:",
        tests=integration("test_api_idempotency", "test_keys_of_the_last_day_survive_redis"),
    ),
    Guard(
        name="auth-revoked",
        protects="a revoked key opens nothing from the next request on",
        file="shared/domain/apikey.py",
        text="return self.revoked is None and (",
        instead="return (",
        tests=integration(
            "test_api_auth", "test_a_key_is_shown_once_and_opens_until_the_request_after_its_revocation"
        ),
    ),
    Guard(
        name="slow-heads",
        protects="a head that comes too slowly is given up",
        file="shared/serving.py",
        text="config.keep_alive_timeout = idle_s",
        instead="config.keep_alive_timeout = 60",
        tests=integration("test_api_sockets", "test_a_head_that_comes_too_slowly_is_given_up"),
    ),
    Guard(
        name="tenant-write",
        protects="nobody commands another tenant's job",
        file="shared/eventlog/decider.py",
        text='if getattr(whose, "tenant", None) != tenant:',
        instead="if False:",
        tests=integration("test_api_auth", "test_what_is_another_tenants_is_not_there"),
    ),
    Guard(
        name="tenant-run",
        protects="nobody commands another tenant's run",
        file="shared/eventlog/decider.py",
        text='if isinstance(state, Run):\n            ref = f"job:{state.job_id}"',
        instead='if isinstance(state, Run):\n            return\n            ref = f"job:{state.job_id}"',
        tests=integration("test_api_auth", "test_what_is_another_tenants_is_not_there"),
    ),
    Guard(
        name="keys-rebuilt",
        protects="a healed log has its keys",
        file="shared/recovery/rebuilding.py",
        text="self._runs(), self._others(), self._answers()",
        instead="self._runs(), self._answers()",
        tests=integration("test_api_auth", "test_keys_come_back_with_a_rebuilt_log_and_revoked_ones_do_not"),
    ),
    Guard(
        name="audit-keys",
        protects="the audit compares API keys with their events",
        file="services/projector/audit/write_side.py",
        text="if kind in _KINDS:",
        instead='if kind in {"job", "run"}:',
        tests=integration("test_audit_violations", "test_a_violation_is_seen_by_its_own_line"),
    ),
    Guard(
        name="operation-names",
        protects="nobody's handler takes the place of an operation of ours",
        file="services/executor/plugins.py",
        text="            if name not in OPERATIONS\n",
        instead="",
        tests=integration(
            "test_executor", "test_a_handler_called_like_an_operation_of_ours_does_not_take_its_place"
        ),
    ),
    Guard(
        name="trimmed-log",
        protects="a log that was trimmed to nothing is open",
        file="shared/eventlog/opening.py",
        text="self.opened == self.incarnation and self.is_there",
        instead="self.opened == self.incarnation and self.tail is not None",
        tests=integration("test_recovery", "test_a_log_that_was_trimmed_to_nothing_is_open_and_goes_on"),
    ),
    Guard(
        name="compare-from-the-cut",
        protects="the last event common to log and archive is looked for where both have some",
        file="shared/recovery/comparing.py",
        text="        low = max(low, cut.pos)",
        instead="        pass",
        tests=integration(
            "test_retention_archive", "test_a_log_that_lost_its_tail_is_compared_with_what_is_left"
        ),
    ),
    Guard(
        name="compare-outlived",
        protects="a log that ends before the archive begins is not taken for its beginning",
        file="shared/recovery/comparing.py",
        text="    if cut is not None and state.tail_at.pos < cut.pos:",
        instead="    if False:",
        tests=integration(
            "test_retention_archive", "test_a_log_that_ends_before_the_archive_begins_is_not_guessed_about"
        ),
    ),
    Guard(
        name="runs-missing",
        protects="the audit misses rows that nobody meant to delete",
        file="services/projector/audit/ledgers.py",
        text="row.finished_at < before",
        instead="row.finished_at < row.finished_at.replace(year=9999)",
        tests=integration(
            "test_retention_runs",
            "test_the_audit_misses_nothing_that_was_to_go_and_everything_that_was_not",
        ),
    ),
    Guard(
        name="migrated",
        protects="a service touches no schema that has not been migrated to its version",
        file="services/__main__.py",
        text="        await assert_migrated(connection)\n",
        instead="",
        tests=integration(
            "test_starting", "test_a_service_waits_until_the_database_is_migrated_to_its_version"
        ),
    ),
    Guard(
        name="trace-in-envelope",
        protects="what follows from an event goes on in its trace",
        file="shared/eventlog/traced.py",
        text="replace(context, trace=traceparent(span) or context.trace)",
        instead="context",
        tests=integration(
            "test_tracing",
            "test_a_job_that_fires_once_is_one_trace_from_its_request_to_the_archive_of_its_end",
        ),
    ),
    Guard(
        name="span-masked",
        protects="no span leaves a process unmasked",
        file="shared/tracing/spans.py",
        text="self._exporter.export([_masked(span) for span in spans])",
        instead="self._exporter.export(spans)",
        tests=integration("test_tracing", "test_what_a_span_says_is_masked_as_lines_are"),
    ),
    Guard(
        name="cluster-half",
        protects="no unit is written while a Cluster has moved a part of its partition",
        file="shared/eventlog/writer.py",
        text="keys.timer_bell, keys.never]",
        instead="keys.timer_bell]",
        tests=integration(
            "test_cluster",
            "test_nothing_is_written_by_half_while_a_partition_moves_and_it_is_opened_where_it_goes",
        ),
    ),
    Guard(
        name="cluster-unknown",
        protects="a promoted replica knows no script; what other servers have done by then is not done twice or lost",
        file="shared/eventlog/script.py",
        text="again = await wire.call(*[commands[at] for at in unknown])",
        instead="replies = await wire.call(*commands); again = [replies[at] for at in unknown]",
        tests=integration(
            "test_cluster",
            "test_claims_of_one_server_are_not_lost_because_another_is_away_or_knows_no_script",
        ),
    ),
    Guard(
        name="cluster-some",
        protects="one server that is away takes nothing from the others' partitions",
        file="shared/eventlog/script.py",
        text="if len(errors) == len(replies) or not is_broken(error):",
        instead="if errors:",
        tests=integration(
            "test_cluster",
            "test_claims_of_one_server_are_not_lost_because_another_is_away_or_knows_no_script",
        ),
    ),
    Guard(
        name="cluster-beats",
        protects="a server that is away costs no lease of a run on another",
        file="services/executor/heartbeat.py",
        text="                troubles[server] = error\n",
        instead="                raise\n",
        tests=integration("test_cluster", "test_leases_of_runs_are_extended_where_they_can_be"),
    ),
    Guard(
        name="cluster-shares",
        protects="a server that is away costs no partition on another",
        file="shared/lease.py",
        text="            self.silent.add(server)",
        instead="            raise",
        tests=integration("test_cluster", "test_partitions_of_other_servers_are_kept_while_one_is_away"),
    ),
    Guard(
        name="cluster-beside",
        protects="the fence is that of the very server which has the partition",
        file="shared/eventlog/cluster.py",
        text="return [first if key is None else key for key in keys]",
        instead='return ["nobody" if key is None else key for key in keys]',
        tests=integration(
            "test_cluster", "test_questions_about_a_server_are_answered_by_that_of_the_keys_beside_them"
        ),
    ),
    Guard(
        name="cluster-address",
        protects="a node of a Cluster isn't taken for the whole",
        file="shared/deployment.py",
        text='if not isinstance(redis, Cluster) and (await redis.info("cluster")).get("cluster_enabled"):',
        instead="if False:",
        tests=integration(
            "test_cluster", "test_an_address_that_is_not_what_it_says_is_refused_with_the_right_one"
        ),
    ),
    Guard(
        name="cluster-replicas",
        protects="a replica may be a master soon, so it is checked too",
        file="shared/deployment.py",
        text="if server not in written:",
        instead="if False:",
        tests=integration(
            "test_cluster",
            "test_a_replica_that_could_lose_what_it_is_given_is_refused_before_it_is_a_master",
        ),
    ),
    Guard(
        name="cluster-moved",
        protects="who is told that a slot has moved goes there",
        file="shared/eventlog/cluster_wire.py",
        text="if isinstance(reply, MovedError):",
        instead="if False:",
        tests=integration("test_cluster", "test_a_command_whose_key_has_moved_is_carried_out_once"),
    ),
    Guard(
        name="hash-drawn-once",
        protects="an H in a cron expression is a number of the job's for ever, and an edit that says the same is none",
        file="shared/domain/deciding.py",
        text="if (spec := spec.pinned(job.id)) != job.spec:",
        instead="if spec != job.spec:",
        tests=unit(
            "test_job", "test_an_h_is_drawn_by_the_job_when_it_is_made_and_an_edit_that_says_the_same_is_none"
        ),
    ),
    Guard(
        name="catch-up-bound",
        protects="a job that catches up runs at most a thousand late occurrences in a row",
        file="shared/domain/settling.py",
        text="CATCH_UP_MAX - self.job.late_runs",
        instead="CATCH_UP_MAX",
        tests=unit("test_job", "test_misfire_all_runs_at_most_a_thousand_in_a_row_and_records_the_others"),
    ),
    Guard(
        name="max-runs",
        protects="a job ends with the last of its runs, however many are due at once",
        file="shared/domain/settling.py",
        text="is_last = self.job.spec.schedule.is_used_up(self.job.runs + 1)",
        instead="is_last = False",
        tests=unit("test_job", "test_a_job_is_completed_by_the_last_of_its_runs_whatever_was_skipped_before"),
    ),
    Guard(
        name="clock-long-span",
        protects="what a change of the clocks dropped is told also where half a year lies between occurrences",
        file="shared/domain/schedule.py",
        text="if last - after < _QUIET and",
        instead="if",
        tests=unit("test_schedule", "test_half_a_year_between_occurrences_hides_no_change_of_the_clocks"),
    ),
    Guard(
        name="clock-filter",
        protects="a job tells of no change of the clocks that lies before its own time",
        file="shared/domain/walk.py",
        text=" if after < note.at <= until",
        instead="",
        tests=unit(
            "test_schedule",
            "test_what_was_done_is_told_alike_whatever_was_asked_before_and_of_several_occurrences_at_once",
            "test_a_policy_is_followed_and_what_it_did_is_told",
        ),
    ),
    Guard(
        name="permit-late",
        protects="never one too many: who comes late doesn't give back the permit of a later start",
        file="shared/eventlog/permits.lua",
        text="if holder and not is_later(holder, entry) then drop(run) end",
        instead="if holder then drop(run) end",
        tests=integration(
            "test_permits", "test_who_comes_late_neither_takes_over_nor_gives_back_what_a_later_start_has"
        ),
    ),
    Guard(
        name="permit-unseen",
        protects="never one too many: a permit that nobody shows stays as long as the log has its run at work",
        file="shared/eventlog/handover.py",
        text="            await self._permits.keep(of, unseen)\n            return\n",
        instead="            pass\n",
        tests=integration(
            "test_concurrency", "test_a_permit_that_nobody_shows_stays_as_long_as_its_run_is_at_work"
        ),
    ),
    Guard(
        name="permit-opening",
        protects="never one too many: after an opening nothing is granted until runs at work have shown their permits",
        file="shared/eventlog/open.lua",
        text="if tail ~= '' or token then redis.call('HSET', meta, 'granting_ms'",
        instead="if false then redis.call('HSET', meta, 'granting_ms'",
        tests=integration(
            "test_permits",
            "test_after_an_opening_nothing_is_granted_for_a_lease_and_who_is_at_work_puts_its_permit_back",
        ),
    ),
    Guard(
        name="permit-handed-on",
        protects="nobody in line is forgotten: one that is over makes room for the next",
        file="shared/eventlog/handover.py",
        text="if not await self._comes(run_id):",
        instead="if await self._comes(run_id) is None:",
        tests=integration(
            "test_concurrency",
            "test_one_in_line_that_is_over_though_nobody_said_so_makes_room_for_the_next",
        ),
    ),
)
