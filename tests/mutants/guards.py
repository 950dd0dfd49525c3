"""The guards that `make mutants` takes out of the code, one at a time, and the tests that must miss each.

A guard is an exact text that stands once in its file. Where that text changes, `tests/integration/test_mutants.py`
fails until it is adapted here: a mutant that can't be made would catch nothing, in silence.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A guard, and how it is taken out.

    `text` in `file` is replaced by `instead`; then one of `tests` must fail. `protects` names the trace.
    """

    name: str
    protects: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]

    def fault(self, root: Path) -> str | None:
        """Why it can't be taken out of the tree at `root`, or None."""
        file = root / self.file
        found = file.read_text().count(self.text) if file.exists() else 0
        if found == 1:
            return None
        return (
            f"{self.name}: the guard's text has changed: adapt tests/mutants/guards.py "
            f"({self.text!r} stands {found} times in {self.file}, not once)"
        )

    def take_out(self, root: Path) -> None:
        """Change the tree at `root`.

        Raises:
            ValueError: its text doesn't stand there once.
        """
        if fault := self.fault(root):
            raise ValueError(fault)
        file = root / self.file
        file.write_text(file.read_text().replace(self.text, self.instead))


def _in(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/integration/{file}.py::{name}" for name in names)


def _unit(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/unit/{file}.py::{name}" for name in names)


GUARDS = (
    Guard(
        name="version",
        protects="trace 2: a unit is written only over the state that it was decided from",
        file="shared/eventlog/commit.lua",
        text="if version ~= expected then",
        instead="if false then",
        tests=_in("test_commit", "test_a_failed_guard_writes_nothing_and_answers_with_the_state"),
    ),
    Guard(
        name="woken",
        protects="trace 17: a run whose lease was extended since it was read is not lost",
        file="shared/eventlog/commit.lua",
        text="if score ~= tonumber(expected) or score > now then",
        instead="if false then",
        tests=_in("test_commit", "test_a_beat_between_reading_and_committing_saves_the_run"),
    ),
    Guard(
        name="woken-score",
        protects="trace 17: the due entry must be the one that was read, not just any that is due",
        file="shared/eventlog/commit.lua",
        text="if score ~= tonumber(expected) or",
        instead="if not score or",
        tests=_in("test_commit", "test_a_due_entry_that_has_moved_or_is_not_yet_due_wakes_nobody"),
    ),
    Guard(
        name="incarnation",
        protects="trace 3: a server that is not the one that was opened takes nothing",
        file="shared/eventlog/commit.lua",
        text=" or opened[1] ~= incarnation",
        instead="",
        tests=_in(
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
        tests=_in(
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
        tests=_in("test_wire", "test_a_server_that_is_not_ready_yet_is_waited_for"),
    ),
    Guard(
        name="reset-write",
        protects="a connection that is reset just before it is written to ends no service",
        file="shared/eventlog/connection.py",
        text="isinstance(error, OSError | RuntimeError)",
        instead="isinstance(error, OSError)",
        tests=_in(
            "test_resets", "test_a_command_on_a_connection_that_was_just_reset_is_broken_infrastructure"
        ),
    ),
    Guard(
        name="expected-tail",
        protects="trace 3c: a log that changed after it was compared is not opened",
        file="shared/eventlog/open.lua",
        text="if tail ~= ARGV[1] then",
        instead="if false then",
        tests=_in(
            "test_traces_opening", "test_a_log_set_back_between_comparison_and_opening_is_compared_again"
        ),
    ),
    Guard(
        name="rebuilt-token",
        protects="a server that has lost what was made anew is not opened on it",
        file="shared/eventlog/open.lua",
        text=" or redis.call('HGET', meta, 'rebuilding') ~= incarnation .. ' ' .. token",
        instead="",
        tests=_in("test_heal", "test_a_server_that_loses_what_was_made_anew_is_not_opened_on_it"),
    ),
    Guard(
        name="rebuilding-ours",
        protects="an opener that was stopped writes nothing over what another has opened",
        file="shared/recovery/rebuild.lua",
        text="'rebuilding') ~= incarnation .. ' ' .. ARGV[1]",
        instead="'pos') == 'never'",
        tests=_in("test_heal", "test_an_opener_that_was_stopped_writes_nothing_over_what_another_has_opened"),
    ),
    Guard(
        name="archived-in-doubt",
        protects="trace 7: what was archived before its reply was lost is not done twice after a heal",
        file="shared/eventlog/writer.py",
        text='if in_doubt and finding == [b"CLOSED"]:',
        instead="if False:",
        tests=_in("test_heal", "test_what_was_archived_before_its_reply_was_lost_is_not_done_twice"),
    ),
    Guard(
        name="work-goes-first",
        protects="a heal never shows a work entry without its run, which an executor would drop",
        file="shared/recovery/rebuilding.py",
        text='not (name == "due" or name.startswith("work:"))',
        instead='name == "due" or name.startswith("work:")',
        tests=_in("test_heal", "test_whoever_claims_or_wakes_meanwhile_finds_all_of_a_run_or_nothing_of_it"),
    ),
    Guard(
        name="nowhere-meanwhile",
        protects="a run whose log is being healed is not said to be nowhere",
        file="shared/eventlog/log.py",
        text="if not (await opening.look(self.redis, self._keys[partition])).is_open:",
        instead="if False:",
        tests=_in("test_heal", "test_a_run_that_is_not_in_a_wiped_log_is_not_said_to_be_nowhere"),
    ),
    Guard(
        name="whole-units",
        protects="the archive never ends within a unit, so that none is healed by half",
        file="services/projector/partition.py",
        text="return events[:end] if end else events",
        instead="return events",
        tests=_in("test_heal", "test_the_archive_never_ends_within_a_unit_so_none_is_healed_by_half"),
    ),
    Guard(
        name="quiet-log",
        protects="a log that is wiped while nobody commits is healed all the same",
        file="services/projector/partition.py",
        text="await self._watch()",
        instead="pass",
        tests=_in("test_heal", "test_a_log_that_is_wiped_while_all_is_quiet_is_healed_by_its_projector"),
    ),
    Guard(
        name="closed-beat",
        protects="a worker is not told that its run has moved by a log that is being healed",
        file="services/executor/beat.lua",
        text="if moved[1] or cancelled[1] then",
        instead="if false then",
        tests=_in("test_heal", "test_no_worker_is_told_that_a_run_has_moved_by_a_log_that_is_not_open"),
    ),
    Guard(
        name="fresh-lease",
        protects="trace 15: an outage longer than the lease loses no run whose worker lives",
        file="shared/eventlog/open.lua",
        text="redis.call('ZADD', due, 'XX', 'GT',",
        instead="redis.call('ZADD', due, 'NX',",
        tests=_in(
            "test_traces_timer", "test_an_outage_longer_than_the_lease_loses_no_run_whose_worker_lives"
        ),
    ),
    Guard(
        name="memory-flavours",
        protects="trace 28: what ends work is written when Redis is out of memory",
        file="shared/eventlog/writer.py",
        text="#!lua flags=allow-oom",
        instead="#!lua",
        tests=_in("test_traces_log", "test_what_ends_work_goes_through_a_full_redis_beside_what_adds_some"),
    ),
    Guard(
        name="checkpoint",
        protects="traces 4, 11: of two projectors one moves the checkpoint",
        file="services/projector/statements/move_checkpoint.sql",
        text="and epoch = $3 and pos = $4",
        instead="and ($3::bigint, $4::bigint) is not null",
        tests=_in(
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
        tests=_in(
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
        tests=_in(
            "test_recovery", "test_opening_waits_for_a_projector_that_is_writing_and_sees_what_it_wrote"
        ),
    ),
    Guard(
        name="hole",
        protects="trace 5: nobody reads past a hole in the log",
        file="shared/eventlog/reader.py",
        text="raise Hole(partition, after, entry.position)",
        instead="pass",
        tests=_in("test_projector", "test_events_missing_between_archive_and_log_stop_the_projector"),
    ),
    Guard(
        name="previous",
        protects="trace 5: an opening is passed only by who stands at the event before it",
        file="shared/eventlog/reader.py",
        text="return opened.previous == previous",
        instead="return True",
        tests=_in("test_reader", "test_an_opening_that_follows_another_event_is_not_passed"),
    ),
    Guard(
        name="settle-first",
        protects="trace 9: an edit, pause or delete decides what is due before it",
        file="shared/domain/job.py",
        text="    due.settle()\n    if not due.settled:",
        instead="    if wake := isinstance(command, Wake):\n        due.settle()\n    if wake and not due.settled:",
        tests=_in("test_commit", "test_an_edit_at_the_due_moment_swallows_nothing"),
    ),
    Guard(
        name="run-fence",
        protects="trace 2: a result of a start that lost its run is refused",
        file="shared/domain/run.py",
        text=" or command.fence != fence",
        instead="",
        tests=_in("test_traces_log", "test_the_owner_of_a_run_after_a_rollback_is_told_from_the_one_before"),
    ),
    Guard(
        name="newer-shape",
        protects="trace 26: a snapshot written by a newer version is left to the newer version",
        file="shared/eventlog/snapshot.py",
        text="if int(found[1]) > SHAPES[kind]:",
        instead="if False:",
        tests=_in("test_traces_log", "test_a_snapshot_of_a_newer_version_is_left_as_it_is"),
    ),
    Guard(
        name="own-epoch",
        protects="trace 1: a write is not acknowledged by another history that got its numbers",
        file="services/api/archived.py",
        text="if mark.epoch == position.epoch:",
        instead="if mark:",
        tests=_in(
            "test_traces_api",
            "test_a_write_that_was_rolled_back_is_not_acknowledged_by_those_that_got_its_numbers",
        ),
    ),
    Guard(
        name="poison-alone",
        protects="trace 18: one job that can't be decided doesn't stop the others",
        file="services/timer/service.py",
        text="await self._set_aside(entry, error)",
        instead="raise",
        tests=_in(
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
        tests=_in(
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
        tests=_in("test_executor", "test_whoever_leaves_runs_rings_for_the_next"),
    ),
    Guard(
        name="revision",
        protects="an edit made up from an older revision is refused also when the newer one comes in between",
        file="shared/domain/job.py",
        text="if command.if_revision is not None and job.revision not in command.if_revision:",
        instead="if False:",
        tests=_in("test_api_concurrency", "test_the_revision_is_compared_where_it_is_decided"),
    ),
    Guard(
        name="key-in-commit",
        protects="trace 12: of two requests under one key one is written",
        file="services/api/idempotency.py",
        text="(key.once(answer),)",
        instead="()",
        tests=_in(
            "test_api_idempotency",
            "test_of_two_at_once_on_two_processes_one_does_it_and_both_get_its_answer",
        ),
    ),
    Guard(
        name="key-waits",
        protects="trace 16: a replay waits for the archive like the first answer",
        file="services/api/idempotency.py",
        text="fates.add(await deps.archive.fate(partition, position, None, left_s))",
        instead="pass",
        tests=_in("test_api_idempotency", "test_a_replay_waits_for_the_archive_like_the_first_answer"),
    ),
    Guard(
        name="key-rebuilt",
        protects="a log made anew from the archive knows the keys of the last day",
        file="shared/eventlog/once.py",
        text="if kind == _CAUSE:",
        instead="if False:",
        tests=_in("test_api_idempotency", "test_keys_of_the_last_day_survive_redis"),
    ),
    Guard(
        name="auth-revoked",
        protects="a revoked key opens nothing from the next request on",
        file="shared/domain/apikey.py",
        text="return self.revoked is None and (",
        instead="return (",
        tests=_in(
            "test_api_auth", "test_a_key_is_shown_once_and_opens_until_the_request_after_its_revocation"
        ),
    ),
    Guard(
        name="auth-role",
        protects="a route is closed to roles below its own",
        file="services/api/auth.py",
        text="if not allows(principal.role, least):",
        instead="if False:",
        tests=_in(
            "test_api_auth", "test_a_route_is_open_to_its_role_and_closed_to_those_below_and_to_nobody"
        ),
    ),
    Guard(
        name="auth-forgotten",
        protects="a route that is not in the table needs an admin",
        file="services/api/auth.py",
        text='_NEEDED.get(endpoint or "", "admin")',
        instead='_NEEDED.get(endpoint or "")',
        tests=_in("test_api_auth", "test_every_route_has_a_role_and_one_that_is_forgotten_needs_an_admin"),
    ),
    Guard(
        name="auth-token-of-key",
        protects="a token ends with the key that it was given for",
        file="services/api/auth.py",
        text="        if claims.key:\n",
        instead="        if False:\n",
        tests=_in("test_api_auth", "test_a_key_is_exchanged_for_a_token_that_ends_with_it"),
    ),
    Guard(
        name="limit-shared",
        protects="two API processes grant one limit between them",
        file="services/api/gcra.lua",
        text="redis.call('GET', KEYS[1]) or now",
        instead="now",
        tests=_in("test_api_limits", "test_two_processes_grant_one_limit_between_them"),
    ),
    Guard(
        name="limit-proxies",
        protects="nobody says by a header that they are somebody else",
        file="services/api/clients.py",
        text="if trusted and _is_in(address, trusted):",
        instead="if trusted:",
        tests=_in(
            "test_api_limits", "test_an_address_is_limited_whoever_sends_from_it_and_proxies_speak_for_theirs"
        ),
    ),
    Guard(
        name="limit-full-redis",
        protects="requests are counted where Redis is out of memory",
        file="services/api/gcra.lua",
        text="#!lua flags=allow-oom",
        instead="#!lua",
        tests=_in("test_api_limits", "test_a_full_redis_still_counts"),
    ),
    Guard(
        name="limit-blind",
        protects="reads go on while Redis can't count them",
        file="services/api/limits.py",
        text="if not (is_broken(error) or isinstance(error, RedisError)):",
        instead="if True:",
        tests=_in("test_api_limits", "test_requests_pass_uncounted_while_redis_is_away"),
    ),
    Guard(
        name="pressure",
        protects="new work is refused before Redis refuses it",
        file="services/api/pressure.py",
        text="if self.room is not None and endpoint in _ADDING:",
        instead="if False:",
        tests=_in("test_api_pressure", "test_new_work_is_refused_before_redis_refuses_it"),
    ),
    Guard(
        name="pressure-backlog",
        protects="new work waits for an archive that is far behind",
        file="services/api/pressure.py",
        text='"backlog" if await self._is_behind() else None',
        instead="None",
        tests=_in("test_api_pressure", "test_new_work_waits_for_an_archive_that_is_far_behind"),
    ),
    Guard(
        name="large-bodies",
        protects="who sends too much hears why before the connection ends",
        file="services/api/large_bodies.py",
        text="if is_last and not self._over.is_set():",
        instead="if False:",
        tests=_in(
            "test_api_sockets", "test_a_body_that_is_too_large_is_refused_in_words_to_whoever_sends_it_all"
        ),
    ),
    Guard(
        name="slow-heads",
        protects="a head that comes too slowly is given up",
        file="shared/serving.py",
        text="config.keep_alive_timeout = idle_s",
        instead="config.keep_alive_timeout = 60",
        tests=_in("test_api_sockets", "test_a_head_that_comes_too_slowly_is_given_up"),
    ),
    Guard(
        name="cors",
        protects="pages of other origins may not call",
        file="services/api/browsers.py",
        text='return request.headers.get("Origin", "") in self._origins',
        instead="return True",
        tests=_in("test_api_browsers", "test_pages_of_the_origins_that_are_set_may_call_and_no_others"),
    ),
    Guard(
        name="tenant-principals",
        protects="nobody sees what another tenant's principals do",
        file="services/api/usage.py",
        text="if tenant in {None, of_tenant}:",
        instead="if True:",
        tests=_in("test_api_principals", "test_requests_and_changes_are_counted_by_actor_of_the_own_tenant"),
    ),
    Guard(
        name="tenant-write",
        protects="nobody commands another tenant's job",
        file="shared/eventlog/decider.py",
        text="if isinstance(state, Job) and state.tenant != tenant:",
        instead="if False:",
        tests=_in("test_api_auth", "test_what_is_another_tenants_is_not_there"),
    ),
    Guard(
        name="tenant-run",
        protects="nobody commands another tenant's run",
        file="shared/eventlog/decider.py",
        text="if not isinstance(its, Job) or its.tenant != tenant:",
        instead="if False:",
        tests=_in("test_api_auth", "test_what_is_another_tenants_is_not_there"),
    ),
    Guard(
        name="tenant-lists",
        protects="lists tell of the own tenant only",
        file="services/api/ledger.py",
        text="        elif tenant is not None:\n",
        instead="        elif False:\n",
        tests=_in("test_api_auth", "test_what_is_another_tenants_is_not_there"),
    ),
    Guard(
        name="quota",
        protects="a named principal has so many jobs and no more",
        file="services/api/jobs.py",
        text="if await self._quota.left(principal) == 0:",
        instead="if False:",
        tests=_in("test_api_auth", "test_a_named_principal_has_so_many_jobs_and_no_more"),
    ),
    Guard(
        name="keys-rebuilt",
        protects="a healed log has its keys",
        file="shared/recovery/rebuilding.py",
        text="self._runs(), self._api_keys(), self._answers()",
        instead="self._runs(), self._answers()",
        tests=_in("test_api_auth", "test_keys_come_back_with_a_rebuilt_log_and_revoked_ones_do_not"),
    ),
    Guard(
        name="token-expiry",
        protects="a token that has expired is not believed",
        file="services/api/tokens.py",
        text='if now_s >= _seconds(told, "exp") + LEEWAY_S:',
        instead="if False:",
        tests=_unit("test_tokens", "test_what_a_token_says_must_be_whole_and_for_us"),
    ),
    Guard(
        name="tenant-before-412",
        protects="nobody learns the revision of another tenant's job",
        file="services/api/jobs.py",
        text="""        await self._write.refuse_foreign(held)
        if not isinstance(held.state, Job) or""",
        instead="        if not isinstance(held.state, Job) or",
        tests=_in("test_api_auth", "test_what_is_another_tenants_is_not_there"),
    ),
    Guard(
        name="tenant-revision",
        protects="a revision is told to its job's tenant only",
        file="services/api/ledger.py",
        text='self._ask_within("revision", f"job/{job_id}", number)',
        instead='self._ask("revision", f"job/{job_id}", number, None)',
        tests=_in("test_api_auth", "test_what_is_another_tenants_is_not_there"),
    ),
    Guard(
        name="key-of-tenant",
        protects="an Idempotency-Key is of a tenant, too: another's principal of the same name has another key",
        file="services/api/idempotency.py",
        text="key_of(principal.tenant, principal.id, route,",
        instead="key_of(principal.id, route,",
        tests=_in("test_api_auth", "test_an_idempotency_key_is_of_a_principal_and_its_tenant"),
    ),
    Guard(
        name="key-of-principal",
        protects="an Idempotency-Key is its principal's",
        file="services/api/idempotency.py",
        text="key_of(principal.tenant, principal.id, route,",
        instead="key_of(principal.tenant, route,",
        tests=_in("test_api_auth", "test_an_idempotency_key_is_of_a_principal_and_its_tenant"),
    ),
    Guard(
        name="bulk-once",
        protects="an operation under a key is done once, also when the request is sent again after a crash",
        file="services/api/bulk.py",
        text="(order.key.once(order.answer),)",
        instead="()",
        tests=_in("test_api_bulk", "test_what_a_crash_cut_off_is_finished_by_the_next_and_not_done_again"),
    ),
    Guard(
        name="bulk-lasting",
        protects="an answer that failed of the server is not kept",
        file="services/api/idempotency.py",
        text="if told.lasting:",
        instead="if True:",
        tests=_in("test_api_bulk", "test_an_answer_that_failed_of_the_server_is_not_kept"),
    ),
    Guard(
        name="bulk-tenant",
        protects="nobody learns by a bulk request what another tenant's job is like",
        file="services/api/bulk.py",
        text="            await self._write.refuse_foreign(held)\n",
        instead="",
        tests=_in("test_api_bulk", "test_tenants_quotas_and_required_revisions_hold"),
    ),
    Guard(
        name="bulk-quota",
        protects="many creates in one request keep to the quota",
        file="services/api/bulk.py",
        text="if batch.left <= 0:",
        instead="if False:",
        tests=_in("test_api_bulk", "test_tenants_quotas_and_required_revisions_hold"),
    ),
    Guard(
        name="bulk-quota-second",
        protects="a retry of a bulk request isn't refused for the places that the first has taken",
        file="services/api/bulk.py",
        text="if (had := await self._had(order, problem)) is not None:",
        instead="if (had := None) is not None:",
        tests=_in(
            "test_api_bulk", "test_a_retry_under_a_key_is_not_refused_for_the_places_the_first_has_taken"
        ),
    ),
    Guard(
        name="apply-turn",
        protects="of two files applied at once one is what there is",
        file="services/api/apply.py",
        text="if not await lock.acquire():",
        instead="if False:",
        tests=_in("test_api_apply", "test_of_two_files_at_once_one_is_what_there_is"),
    ),
    Guard(
        name="apply-level",
        protects="what is to be pruned is looked for when the archive has the last apply",
        file="services/api/apply.py",
        text="if await self._deps.archive.fate(partition, position, None, wait_s) is Fate.LATE:",
        instead="if False:",
        tests=_in("test_api_apply", "test_prune_waits_for_what_the_last_apply_has_made"),
    ),
    Guard(
        name="apply-revision",
        protects="a job that was edited meanwhile is compared anew",
        file="services/api/apply.py",
        text="UpdateJob(spec=spec, if_revision=(job.revision,))",
        instead="UpdateJob(spec=spec)",
        tests=_in("test_api_apply", "test_what_is_edited_created_or_deleted_meanwhile_is_compared_anew"),
    ),
    Guard(
        name="apply-whole",
        protects="nothing is written if one job of a file can't be",
        file="services/api/apply.py",
        text="        return self._refused(wish)\n",
        instead="        return []\n",
        tests=_in("test_api_apply", "test_one_wrong_job_leaves_all_as_it_was_and_is_pointed_to"),
    ),
    Guard(
        name="apply-own",
        protects="prune deletes what was applied, not what was made by hand",
        file="services/api/queries/jobs_applied.sql",
        text="and id < $3::uuid",
        instead="and ($3::uuid is null or true)",
        tests=_in("test_api_apply", "test_prune_deletes_what_was_applied_and_nothing_else"),
    ),
    Guard(
        name="apply-owner",
        protects="prune deletes the own jobs only",
        file="services/api/queries/jobs_applied.sql",
        text="owner = $1 and",
        instead="($1::text is null or true) and",
        tests=_in("test_api_apply", "test_files_are_their_owners_and_the_quota_holds"),
    ),
    Guard(
        name="cli-if-match",
        protects="an edit on the command line overwrites nobody's",
        file="services/cli/editing.py",
        text="if_match=etag",
        instead="if_match=None",
        tests=_in("test_cli", "test_what_somebody_else_has_edited_is_not_overwritten_and_the_text_is_kept"),
    ),
    Guard(
        name="cli-key",
        protects="a POST that the command line sends again is done once",
        file="services/cli/client.py",
        text='{"Idempotency-Key": secrets.token_hex(16)}',
        instead="{}",
        tests=_in("test_cli", "test_a_post_whose_answer_was_lost_is_sent_again_and_done_once"),
    ),
    Guard(
        name="cli-control",
        protects="control characters in names are told, not obeyed",
        file="services/cli/show.py",
        text="return Text(printable(text), style",
        instead="return Text(text, style",
        tests=_in("test_cli", "test_control_characters_in_names_are_told_not_obeyed"),
    ),
    Guard(
        name="cli-last-id",
        protects="a stream that was cut off goes on after the last event",
        file="services/cli/sse.py",
        text='{"Last-Event-ID": after} if after else {}',
        instead="{}",
        tests=_in(
            "test_events_cli", "test_a_broken_stream_goes_on_after_the_last_event_without_gap_or_repeat"
        ),
    ),
    Guard(
        name="quota-second",
        protects="of two under one key the second isn't refused for the place that the first has taken",
        file="services/api/idempotency.py",
        text="if problem.status >= _FAULT_HERE or (again := await self.again(key, partition)) is None:",
        instead="if (again := None) is None:",
        tests=_in(
            "test_api_auth",
            "test_the_second_of_two_gets_the_first_ones_answer_where_that_has_filled_the_quota",
        ),
    ),
    Guard(
        name="audit-keys",
        protects="the audit compares API keys with their events",
        file="services/projector/audit/write_side.py",
        text='if kind in {"job", "run", "apikey"}:',
        instead='if kind in {"job", "run"}:',
        tests=_in("test_audit", "test_a_violation_is_seen_by_its_own_line"),
    ),
    Guard(
        name="stream-archived",
        protects="a stream shows what is archived, and nothing else",
        file="services/api/feed.py",
        text='f"({after}", str(mark), "COUNT"',
        instead='f"({after}", "+", "COUNT"',
        tests=_in("test_api_stream", "test_of_two_events_in_the_log_only_the_archived_one_is_shown"),
    ),
    Guard(
        name="stream-hole",
        protects="what left the log before it was read isn't passed over",
        file="services/api/feed.py",
        text="            check_order(partition, after, after_id, events)\n",
        instead="",
        tests=_in("test_api_stream", "test_what_left_the_log_before_it_was_read_is_read_from_the_archive"),
    ),
    Guard(
        name="stream-repeat",
        protects="who stands before the reader of the log isn't told again",
        file="services/api/listener.py",
        text="each.event.position.pos > begin and self._wants",
        instead="self._wants",
        tests=_in(
            "test_api_stream", "test_a_client_that_stands_before_the_reader_of_the_log_is_not_told_again"
        ),
    ),
    Guard(
        name="stream-seam",
        protects="nothing falls between the last page of the archive and the queue",
        file="services/api/stream.py",
        text="joined_at, is_level = self._deps.feed.join(listener, self._at), False",
        instead="joined_at, is_level = self._deps.feed.join(listener, self._at), True",
        tests=_in("test_api_stream", "test_nothing_is_missed_between_the_archive_and_the_log"),
    ),
    Guard(
        name="stream-queue",
        protects="a client that reads too slowly costs no more than its queue",
        file="services/api/listener.py",
        text="if len(self._queue) > QUEUE_MAX or self._bytes > QUEUE_BYTES_MAX:",
        instead="if False:",
        tests=_in(
            "test_api_stream", "test_a_client_that_reads_too_slowly_is_told_to_come_again_and_misses_nothing"
        ),
    ),
    Guard(
        name="stream-memory",
        protects="the same, in a process",
        file="services/api/listener.py",
        text="if len(self._queue) > QUEUE_MAX or self._bytes > QUEUE_BYTES_MAX:",
        instead="if len(self._queue) > 10**9:",
        tests=_in(
            "test_api_stream_process",
            "test_a_client_that_takes_nothing_costs_little_and_is_told_where_it_stood",
        ),
    ),
    Guard(
        name="stream-cut",
        protects="a client that takes nothing more, not even its reset, leaves its seat",
        file="services/api/listener.py",
        text="self._end = asyncio.get_running_loop().call_later(LINGER_S, self._task.cancel)",
        instead="self._end = None",
        tests=_in("test_api_stream", "test_a_client_that_takes_not_even_its_reset_leaves_its_seat"),
    ),
    Guard(
        name="stream-drain",
        protects="streams end when the process is to end",
        file="services/api/service.py",
        text="        self._deps.feed.end()\n",
        instead="",
        tests=_in(
            "test_api_stream_process",
            "test_clients_that_hang_up_leave_their_seats_and_the_others_end_with_the_process",
        ),
    ),
    Guard(
        name="stream-leave",
        protects="who is gone isn't kept for",
        file="services/api/stream.py",
        text="            feed.leave(listener)\n",
        instead="",
        tests=_in("test_api_stream", "test_a_client_that_is_gone_leaves_nothing"),
    ),
    Guard(
        name="stream-revoked",
        protects="a stream ends with the key that opened it",
        file="services/api/stream.py",
        text="        return opens\n",
        instead="        return True\n",
        tests=_in(
            "test_api_stream", "test_the_stream_of_a_revoked_key_and_of_a_token_that_was_given_for_it_ends"
        ),
    ),
    Guard(
        name="migration-fence",
        protects="an older start of a migration copies nothing more",
        file="services/executor/handlers/data_migration/statements/hold.sql",
        text=" and fence = $4\n",
        instead=" and $4::bigint[] is not null\n",
        tests=_in("test_data_migration", "test_an_older_start_that_is_still_alive_copies_nothing_more"),
    ),
    Guard(
        name="migration-mark",
        protects="a start goes on where the last one has stopped",
        file="services/executor/handlers/data_migration/statements/begin.sql",
        text=" then null else w.last_key end",
        instead=" then null end",
        tests=_in("test_data_migration", "test_an_attempt_goes_on_where_a_cancelled_one_stopped"),
    ),
    Guard(
        name="migration-order",
        protects="keys are compared by the operators of their own type, so that batches stay small",
        file="services/executor/handlers/data_migration/copying.py",
        text="        await self._search(column.at for column in table.key)\n",
        instead="",
        tests=_in(
            "test_data_migration",
            "test_keys_are_followed_in_the_order_of_the_source_whatever_its_operators_are",
        ),
    ),
    Guard(
        name="migration-keys",
        protects="rows go only where the same row can't come in twice",
        file="services/executor/handlers/data_migration/making.py",
        text="    if key and not any(",
        instead="    if False and not any(",
        tests=_in(
            "test_data_migration", "test_a_table_of_the_destination_that_cant_take_the_rows_is_refused"
        ),
    ),
    Guard(
        name="migration-whole",
        protects="a table without a key goes only where no rows are",
        file="services/executor/handlers/data_migration/copying.py",
        text='            if await self._to.fetchval(statement("any", table=table.sql)):\n',
        instead="            if False:\n",
        tests=_in("test_data_migration", "test_it_is_refused_where_rows_are_already"),
    ),
    Guard(
        name="migration-names",
        protects="names of tables and columns are quoted",
        file="services/executor/handlers/data_migration/sql.py",
        text="""'"' + name.replace('"', '""') + '"'""",
        instead="""'"' + name + '"'""",
        tests=_in("test_data_migration", "test_names_that_need_quotes_are_names_and_nothing_else"),
    ),
    Guard(
        name="migration-snapshot",
        protects="a migration reads one snapshot",
        file="services/executor/handlers/data_migration/__init__.py",
        text="isolation level repeatable read read only",
        instead="read only",
        tests=_in("test_data_migration", "test_rows_that_come_and_go_at_the_source_meanwhile_are_not_seen"),
    ),
    Guard(
        name="operation-names",
        protects="nobody's handler takes the place of an operation of ours",
        file="services/executor/plugins.py",
        text="            if name not in OPERATIONS\n",
        instead="",
        tests=_in("test_executor", "test_a_handler_called_like_an_operation_of_ours_does_not_take_its_place"),
    ),
    Guard(
        name="stream-place",
        protects="a place of another history is refused",
        file="services/api/vectors.py",
        text="    for number in sorted(asked.keys() - found):\n",
        instead="    for number in ():\n",
        tests=_in("test_api_stream", "test_a_place_that_is_none_is_refused"),
    ),
    Guard(
        name="stream-seats",
        protects="there are only so many streams",
        file="services/api/streams.py",
        text="if self.taken.total() >= settings.streams_max:",
        instead="if False:",
        tests=_in("test_api_stream", "test_there_are_only_so_many_streams"),
    ),
    Guard(
        name="stream-tenant",
        protects="a stream shows its own tenant's events",
        file="services/api/event_filter.py",
        text="return tenant == self.tenant and (self.keys or",
        instead="return (self.keys or",
        tests=_in("test_api_stream", "test_a_stream_shows_what_is_its_tenants_only"),
    ),
    Guard(
        name="stream-keys",
        protects="API keys are for admins to hear of",
        file="services/api/event_filter.py",
        text="(self.keys or not event.subject.startswith(_KEY))",
        instead="True",
        tests=_in("test_api_stream", "test_a_stream_shows_what_is_its_tenants_only"),
    ),
    Guard(
        name="events-tenant",
        protects="a list of events is its own tenant's",
        file="services/api/queries/events_chosen.sql",
        text="            $10::text is null\n            or exists",
        instead="            true or $10::text is null\n            or exists",
        tests=_in("test_api_events", "test_a_principal_is_told_of_its_tenant_only"),
    ),
    Guard(
        name="events-halving",
        protects="a time is turned into positions",
        file="services/api/events.py",
        text="        below.append(horizon.before_until + 1)\n",
        instead="        pass\n",
        tests=_in("test_api_events", "test_no_filter_reads_the_whole_archive"),
    ),
    Guard(
        name="trimmed-log",
        protects="a log that was trimmed to nothing is open",
        file="shared/eventlog/opening.py",
        text="self.opened == self.incarnation and self.is_there",
        instead="self.opened == self.incarnation and self.tail is not None",
        tests=_in("test_recovery", "test_a_log_that_was_trimmed_to_nothing_is_open_and_goes_on"),
    ),
    Guard(
        name="web-judged",
        protects="no request goes to an address that is not public",
        file="services/executor/web_guard.py",
        text="        if inward:\n",
        instead="        if False:\n",
        tests=_in("test_http_guards", "test_a_name_that_leads_inward_is_refused_after_it_was_looked_up"),
    ),
    Guard(
        name="web-all",
        protects="a name that has one inward address is not asked at all",
        file="services/executor/web_guard.py",
        text="        if inward:\n",
        instead="        if len(inward) == len(found):\n",
        tests=_in("test_http_guards", "test_one_inward_address_among_public_ones_spoils_all"),
    ),
    Guard(
        name="web-pinned",
        protects="the connection goes to the address that was judged, not to the name",
        file="services/executor/web_guard.py",
        text="connect_tcp(str(last), port",
        instead="connect_tcp(host, port",
        tests=_in("test_http_guards", "test_a_resolver_that_changes_its_answer_leads_nowhere"),
    ),
    Guard(
        name="web-origin",
        protects="credentials stay with their server when a redirect leads to another",
        file="services/executor/handlers/http_request_question.py",
        text="    return replace(onward, headers=_for_others(onward.headers))\n",
        instead="    return onward\n",
        tests=_in("test_http_guards", "test_nothing_secret_goes_to_another_server_nor_comes_back_from_it"),
    ),
    Guard(
        name="web-body",
        protects="a body that holds a secret stays with its server",
        file="services/executor/handlers/http_request_question.py",
        text="if onward.content and _holds_secrets(",
        instead="if False and _holds_secrets(",
        tests=_in("test_http_guards", "test_a_body_with_a_secret_stays_with_its_server"),
    ),
    Guard(
        name="web-downgrade",
        protects="a redirect does not lead from TLS to plain HTTP",
        file="services/executor/handlers/http_request_question.py",
        text='if question.address.scheme == "https" and address.scheme == "http":',
        instead="if False:",
        tests=_in("test_http_guards", "test_a_redirect_does_not_lead_from_tls_to_plain_http"),
    ),
    Guard(
        name="web-bomb",
        protects="an answer's gzip is unpacked to a limit",
        file="services/executor/web.py",
        text="gzip.decompress(chunk, READ_MAX + 1 - self._size)",
        instead="gzip.decompress(chunk)",
        tests=_in("test_http_request", "test_a_gzip_bomb_is_not_unpacked"),
    ),
    Guard(
        name="web-endless",
        protects="an answer is read to a limit",
        file="services/executor/web.py",
        text="if len(chunk) > room or unpack.full:",
        instead="if False:",
        tests=_in("test_http_request", "test_an_endless_answer_is_read_to_a_limit"),
    ),
    Guard(
        name="web-cut-secret",
        protects="secrets are masked before an answer is cut",
        file="services/executor/handlers/http_request_answer.py",
        text="    masked = mask.text(text)\n",
        instead="    masked = text\n",
        tests=_unit("test_http_request", "test_half_a_secret_does_not_stand_at_the_cut"),
    ),
    Guard(
        name="web-header",
        protects="a secret's value breaks no header",
        file="services/executor/handlers/http_request_question.py",
        text="        if fault := value_fault(value):",
        instead="        if fault := None:",
        tests=_in("test_http_request", "test_a_secret_that_would_break_a_header_is_given_up_and_not_shown"),
    ),
    Guard(
        name="data-access",
        protects="a job's SQL reads nothing but its dataset",
        file="services/executor/datasets.py",
        text='"enable_external_access": False',
        instead='"enable_external_access": True',
        tests=_in(
            "test_data_processing_hostile",
            "test_a_query_reaches_nothing_but_its_dataset",
            "test_variables_of_python_are_no_tables",
        ),
    ),
    Guard(
        name="data-lock",
        protects="what is shut stays shut",
        file="services/executor/datasets.py",
        text='"lock_configuration": True',
        instead='"lock_configuration": False',
        tests=_in("test_data_processing_hostile", "test_what_is_read_can_not_be_written_over"),
    ),
    Guard(
        name="data-descriptor",
        protects="what is read is what was opened",
        file="services/executor/dataset_files.py",
        text='return f"/dev/fd/{descriptor}"',
        instead='return str(Path(f"/dev/fd/{descriptor}").readlink())',
        tests=_in(
            "test_data_processing_hostile", "test_a_file_swapped_after_it_was_opened_is_not_what_is_read"
        ),
    ),
    Guard(
        name="data-select",
        protects="a job's SQL is a single SELECT",
        file="services/executor/handlers/data_processing.py",
        text="if [each.type for each in statements] != [duckdb.StatementType.SELECT]:",
        instead="if not statements:",
        tests=_in("test_data_processing_hostile", "test_only_a_single_select_is_taken"),
    ),
    Guard(
        name="data-sql-allowed",
        protects="SQL is allowed by the executor's own operator",
        file="services/executor/handlers/data_processing.py",
        text="if isinstance(work, Sql) and not resources.catalog.allow_sql:",
        instead="if False:",
        tests=_in("test_data_processing_hostile", "test_sql_is_refused_by_an_executor_that_doesnt_allow_it"),
    ),
    Guard(
        name="data-quoting",
        protects="a column's name is no SQL",
        file="services/executor/staging.py",
        text="name.replace('\"', '\"\"')",
        instead="name",
        tests=_in("test_data_processing_hostile", "test_names_that_look_like_sql_are_names"),
    ),
    Guard(
        name="data-unpacked",
        protects="a packed file unpacks to so much, no more",
        file="services/executor/staging.py",
        text="if self._left < 0:",
        instead="if False:",
        tests=_in("test_data_processing_hostile", "test_a_file_that_unpacks_to_too_much_is_given_up"),
    ),
    Guard(
        name="data-width",
        protects="a line of a million columns is not planned for",
        file="services/executor/dataset_files.py",
        text="            _check_head(file, limits)\n",
        instead="            pass\n",
        tests=_in("test_data_processing_hostile", "test_a_file_of_too_many_columns_is_given_up_at_once"),
    ),
    Guard(
        name="data-value",
        protects="one enormous value is not allocated",
        file="services/executor/datasets.py",
        text="memory_bounded(limits.memory + UNCOUNTED)",
        instead="contextlib.nullcontext()",
        tests=_in("test_data_processing_hostile", "test_one_enormous_value_is_not_allocated"),
    ),
    Guard(
        name="data-output",
        protects="an output grows to so much, no more",
        file="services/executor/handlers/data_processing.py",
        text="with files_bounded(OUTPUT_BYTES_MAX):",
        instead="if True:",
        tests=_in("test_data_processing_hostile", "test_an_output_that_grows_beyond_its_limit_is_not_left"),
    ),
    Guard(
        name="data-sweep",
        protects="a scratch directory in use stays",
        file="services/executor/scratch.py",
        text="fcntl.LOCK_EX | fcntl.LOCK_NB",
        instead="fcntl.LOCK_SH",
        tests=_in(
            "test_data_processing_hostile",
            "test_what_a_killed_process_left_is_swept_by_the_next_and_nothing_else",
        ),
    ),
    Guard(
        name="data-readonly",
        protects="reading a table writes nothing",
        file="services/executor/staging.py",
        text='isolation="repeatable_read", readonly=True',
        instead='isolation="repeatable_read"',
        tests=_in(
            "test_data_processing_postgres", "test_a_view_that_writes_is_stopped_by_the_read_only_transaction"
        ),
    ),
    Guard(
        name="backup-links",
        protects="a link in a backup can't lead out of the directory it is restored to",
        file="shared/backup/unpacking.py",
        text="            if not self._outside_links and leads_out(",
        instead="            if False and leads_out(",
        tests=_in("test_backup_files", "test_links_that_lead_out_are_refused"),
    ),
    Guard(
        name="backup-plain-seal",
        protects="a flipped byte of a backup that isn't encrypted is refused",
        file="shared/backup/sealing.py",
        text="        if not hmac.compare_digest(chunk[-self.size :], self._over(number, data, last)):",
        instead="        if False:",
        tests=_in("test_backup_files", "test_a_flipped_byte_is_refused_and_nothing_is_restored"),
    ),
    Guard(
        name="backup-names",
        protects="a name in a backup can't lead out of the directory it is restored to",
        file="shared/backup/unpacking.py",
        text='    if any(part in {"", ".", ".."} or "\\0" in part for part in parts):',
        instead="    if False:",
        tests=_in("test_backup_files", "test_names_that_lead_out_are_refused"),
    ),
    Guard(
        name="backup-keep-last",
        protects="only older backups of the same job go",
        file="shared/backup/names.py",
        text="    return (one.job_id, one.backup_type) == (another.job_id, another.backup_type)",
        instead="    return True",
        tests=_in("test_backup_runs", "test_older_ones_of_the_job_go_and_nobody_elses"),
    ),
    Guard(
        name="backup-live-draft",
        protects="what somebody is writing is not taken for a killed attempt's",
        file="shared/backup/local_store.py",
        text="            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        instead="            pass",
        tests=_in("test_backup_runs", "test_a_live_writers_draft_is_left_alone_and_a_dead_ones_goes"),
    ),
    Guard(
        name="cold-copy",
        protects="nothing leaves the archive that no cold copy holds, unless somebody says so",
        file="services/executor/handlers/cleanup_task_archive.py",
        text=" if task.require_cold_copy else None",
        instead=" if None else None",
        tests=_in("test_retention_archive", "test_without_a_cold_copy_nothing_goes"),
    ),
    Guard(
        name="cold-copy-chain",
        protects="a cold copy of another archive, or of another history, holds nothing of this one",
        file="services/executor/handlers/statements/cleanup_cold_copies.sql",
        text=" and events.chain = copies.chain",
        instead="",
        tests=_in(
            "test_retention_archive", "test_a_cold_copy_counts_only_if_it_holds_everything_of_this_archive"
        ),
    ),
    Guard(
        name="cold-copy-broken",
        protects="a cold copy's segment with broken links lets no month go",
        file="services/executor/handlers/backup_task_copies.py",
        text=" if not segment.broken]",
        instead="]",
        tests=_in(
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
        tests=_in(
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
        tests=_in(
            "test_backup_retention",
            "test_a_copy_that_keep_last_deletes_is_struck_out_and_keeps_its_month",
        ),
    ),
    Guard(
        name="cold-copy-stays",
        protects="a copy that can't be struck out stays",
        file="services/executor/handlers/backup_task.py",
        text="        is_of_the_log = isinstance",
        instead="        store.delete(name)\n        is_of_the_log = isinstance",
        tests=_in("test_backup_retention", "test_a_copy_that_cannot_be_struck_out_stays"),
    ),
    Guard(
        name="cold-copy-sole",
        protects="keep_last deletes no copy that alone holds events which have left the archive",
        file="shared/readmodel/cold_copies.py",
        text="        if row is not None:\n            return Range(*row)\n",
        instead="",
        tests=_in(
            "test_backup_retention", "test_the_only_copy_of_a_month_that_was_dropped_outlives_keep_last"
        ),
    ),
    Guard(
        name="cold-copy-named",
        protects="a copy is struck out by its name, whichever way its place was written",
        file="shared/readmodel/statements/strike_cold_copy.sql",
        text=" or right(place, length($1) + 1) = '/' || $1",
        instead="",
        tests=_in("test_backup_retention", "test_a_copy_is_struck_out_whatever_its_place_was_called"),
    ),
    Guard(
        name="cold-copy-anew",
        protects="a copy that was found damaged lets no month go until it was written anew",
        file="services/executor/handlers/backup_task.py",
        text="        self._strike(str(self._name))",
        instead="        pass",
        tests=_in(
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
        tests=_in("test_backup_retention", "test_no_month_is_dropped_while_the_archive_is_copied"),
    ),
    Guard(
        name="cold-copy-cut",
        protects="a copy of what is left goes on from the link of the cut",
        file="shared/readmodel/cold/exporting.py",
        text="Chain(None if cut is None else cut.chain)",
        instead="Chain(None)",
        tests=_in(
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
        tests=_in(
            "test_backup_retention", "test_what_follows_a_cut_is_no_cold_copy_if_it_does_not_follow_from_it"
        ),
    ),
    Guard(
        name="cut-snapshots",
        protects="a month stays while a job has no snapshot beyond it",
        file="services/executor/handlers/cleanup_task_archive.py",
        text='        if behind := await connection.fetchval(statement("behind"), refs, at):',
        instead="        if behind := None:",
        tests=_in("test_retention_archive", "test_a_month_stays_that_something_still_needs"),
    ),
    Guard(
        name="cut-chain",
        protects="a month whose events are not what they were is evidence, and stays",
        file="services/executor/handlers/cleanup_task_archive.py",
        text="        if link(self.chain, _linked(event)) != chain:",
        instead="        if False:",
        tests=_in("test_retention_archive", "test_a_month_stays_that_something_still_needs"),
    ),
    Guard(
        name="cut-refused",
        protects="a month stays while a ledger has refused what it tells",
        file="services/executor/handlers/cleanup_task_archive.py",
        text='    if refused := await connection.fetchval(statement("refused"), reading.partition, reading.at.pos):',
        instead="    if refused := 0:",
        tests=_in("test_retention_archive", "test_a_month_stays_that_something_still_needs"),
    ),
    Guard(
        name="brought-forward",
        protects="what had begun before the archive does is recovered from what was brought forward",
        file="services/executor/handlers/cleanup_task_archive.py",
        text="            await _bring_forward(connection, reading)\n",
        instead="",
        tests=_in(
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
        tests=_in("test_retention_archive", "test_a_dry_run_changes_nothing_and_says_what_would_go"),
    ),
    Guard(
        name="cut-lock",
        protects="of two retentions at once one does nothing",
        file="services/executor/handlers/cleanup_task_retention.py",
        text='        if not await connection.fetchval("select pg_try_advisory_lock($1)", RETENTION_LOCK):',
        instead="        if False:",
        tests=_in("test_retention_archive", "test_two_at_once_are_one"),
    ),
    Guard(
        name="cut-present",
        protects="the present month and the one before it are never dropped",
        file="services/executor/handlers/cleanup_task_retention.py",
        text="        last = min(before, _month_before(self.now))",
        instead="        last = before",
        tests=_in("test_retention_archive", "test_the_present_month_and_the_one_before_stay"),
    ),
    Guard(
        name="compare-from-the-cut",
        protects="the last event common to log and archive is looked for where both have some",
        file="shared/recovery/comparing.py",
        text="        low = max(low, cut.pos)",
        instead="        pass",
        tests=_in("test_retention_archive", "test_a_log_that_lost_its_tail_is_compared_with_what_is_left"),
    ),
    Guard(
        name="compare-outlived",
        protects="a log that ends before the archive begins is not taken for its beginning",
        file="shared/recovery/comparing.py",
        text="    if cut is not None and state.tail_at.pos < cut.pos:",
        instead="    if False:",
        tests=_in(
            "test_retention_archive", "test_a_log_that_ends_before_the_archive_begins_is_not_guessed_about"
        ),
    ),
    Guard(
        name="history-gone",
        protects="who stands before the archive's beginning is told so, and not that nothing was there",
        file="services/api/vectors.py",
        text="        if position.pos < cuts.get(number, START).pos:",
        instead="        if False:",
        tests=_in(
            "test_retention_api",
            "test_a_place_before_the_archives_beginning_is_gone_and_the_answer_says_where_to_begin",
        ),
    ),
    Guard(
        name="stream-gone",
        protects="a stream that a cut overtakes passes nothing over",
        file="services/api/stream.py",
        text="            if any(each.above < cuts.get(each.partition, START).pos for each in bounds):",
        instead="            if False:",
        tests=_in(
            "test_retention_api",
            "test_a_stream_that_is_overtaken_by_a_cut_is_reset_and_passes_nothing_over",
        ),
    ),
    Guard(
        name="retention-role",
        protects="retention, which is about all tenants, is for admins of the deployment's own",
        file="services/api/principal.py",
        text='    return principal.tenant == DEPLOYMENT and allows(principal.role, "admin")',
        instead='    return allows(principal.role, "editor")',
        tests=_in("test_retention_api", "test_retention_is_for_admins_of_the_deployments_own_tenant"),
    ),
    Guard(
        name="apply-refused",
        protects="a job that apply may not make is not passed over, as if it had been left out: prune deletes those",
        file="services/api/apply.py",
        text="                if not problem.errors:",
        instead="                if False:",
        tests=_in(
            "test_retention_api", "test_nobody_else_makes_retention_of_what_they_may_change_or_trigger"
        ),
    ),
    Guard(
        name="runs-alive",
        protects="the month of a run that has not ended stays",
        file="services/executor/handlers/statements/cleanup_runs_standing.sql",
        text="    count(*) filter (where finished_at is null) as live,",
        instead="    0 as live,",
        tests=_in(
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
        tests=_in("test_retention_runs", "test_a_retry_stays_as_long_as_the_run_that_it_repeats"),
    ),
    Guard(
        name="runs-missing",
        protects="the audit misses rows that nobody meant to delete",
        file="services/projector/audit/ledgers.py",
        text="row.finished_at < before",
        instead="row.finished_at < row.finished_at.replace(year=9999)",
        tests=_in(
            "test_retention_runs",
            "test_the_audit_misses_nothing_that_was_to_go_and_everything_that_was_not",
        ),
    ),
)
