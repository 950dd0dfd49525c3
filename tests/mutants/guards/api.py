"""The REST API: who may, what is done once, lists and streams."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="own-epoch",
        protects="trace 1: a write is not acknowledged by another history that got its numbers",
        file="services/api/archived.py",
        text="if mark.epoch == position.epoch:",
        instead="if mark:",
        tests=integration(
            "test_traces_api",
            "test_a_write_that_was_rolled_back_is_not_acknowledged_by_those_that_got_its_numbers",
        ),
    ),
    Guard(
        name="key-in-commit",
        protects="trace 12: of two requests under one key one is written",
        file="services/api/idempotency.py",
        text="(key.once(answer),)",
        instead="()",
        tests=integration(
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
        tests=integration(
            "test_api_idempotency", "test_a_replay_waits_for_the_archive_like_the_first_answer"
        ),
    ),
    Guard(
        name="auth-role",
        protects="a route is closed to roles below its own",
        file="services/api/auth.py",
        text="if not allows(principal.role, least):",
        instead="if False:",
        tests=integration(
            "test_api_roles", "test_a_route_is_open_to_its_role_and_closed_to_those_below_and_to_nobody"
        ),
    ),
    Guard(
        name="auth-forgotten",
        protects="a route that is not in the table needs an admin",
        file="services/api/auth.py",
        text='_NEEDED.get(endpoint or "", "admin")',
        instead='_NEEDED.get(endpoint or "")',
        tests=integration(
            "test_api_roles", "test_every_route_has_a_role_and_one_that_is_forgotten_needs_an_admin"
        ),
    ),
    Guard(
        name="auth-token-of-key",
        protects="a token ends with the key that it was given for",
        file="services/api/auth.py",
        text="        if claims.key:\n",
        instead="        if False:\n",
        tests=integration("test_api_auth", "test_a_key_is_exchanged_for_a_token_that_ends_with_it"),
    ),
    Guard(
        name="limit-shared",
        protects="two API processes grant one limit between them",
        file="shared/eventlog/limit.lua",
        text="redis.call('GET', KEYS[1]) or now",
        instead="now",
        tests=integration("test_api_limits", "test_two_processes_grant_one_limit_between_them"),
    ),
    Guard(
        name="limit-proxies",
        protects="nobody says by a header that they are somebody else",
        file="services/api/clients.py",
        text="if trusted and _is_in(address, trusted):",
        instead="if trusted:",
        tests=integration(
            "test_api_limits", "test_an_address_is_limited_whoever_sends_from_it_and_proxies_speak_for_theirs"
        ),
    ),
    Guard(
        name="limit-full-redis",
        protects="requests are counted where Redis is out of memory",
        file="shared/eventlog/limit.lua",
        text="#!lua flags=allow-oom",
        instead="#!lua",
        tests=integration("test_api_limits", "test_a_full_redis_still_counts"),
    ),
    Guard(
        name="limit-blind",
        protects="reads go on while Redis can't count them",
        file="services/api/limits.py",
        text="if not (is_broken(error) or isinstance(error, RedisError)):",
        instead="if True:",
        tests=integration("test_api_limits", "test_requests_pass_uncounted_while_redis_is_away"),
    ),
    Guard(
        name="pressure",
        protects="new work is refused before Redis refuses it",
        file="services/api/pressure.py",
        text="if self.room is not None and endpoint in _ADDING:",
        instead="if False:",
        tests=integration("test_api_pressure", "test_new_work_is_refused_before_redis_refuses_it"),
    ),
    Guard(
        name="pressure-backlog",
        protects="new work waits for an archive that is far behind",
        file="services/api/pressure.py",
        text='"backlog" if await self._is_behind() else None',
        instead="None",
        tests=integration("test_api_pressure", "test_new_work_waits_for_an_archive_that_is_far_behind"),
    ),
    Guard(
        name="large-bodies",
        protects="who sends too much hears why before the connection ends",
        file="services/api/large_bodies.py",
        text="if is_last and not self._over.is_set():",
        instead="if False:",
        tests=integration(
            "test_api_sockets", "test_a_body_that_is_too_large_is_refused_in_words_to_whoever_sends_it_all"
        ),
    ),
    Guard(
        name="cors",
        protects="pages of other origins may not call",
        file="services/api/browsers.py",
        text='return request.headers.get("Origin", "") in self._origins',
        instead="return True",
        tests=integration(
            "test_api_browsers", "test_pages_of_the_origins_that_are_set_may_call_and_no_others"
        ),
    ),
    Guard(
        name="tenant-principals",
        protects="nobody sees what another tenant's principals do",
        file="services/api/usage.py",
        text="if tenant in {None, of_tenant}:",
        instead="if True:",
        tests=integration(
            "test_api_principals", "test_requests_and_changes_are_counted_by_actor_of_the_own_tenant"
        ),
    ),
    Guard(
        name="tenant-lists",
        protects="lists tell of the own tenant only",
        file="services/api/ledger.py",
        text="        elif tenant is not None:\n",
        instead="        elif False:\n",
        tests=integration("test_api_auth", "test_what_is_another_tenants_is_not_there"),
    ),
    Guard(
        name="quota",
        protects="a named principal has so many jobs and no more",
        file="services/api/jobs.py",
        text="if await self._quota.left(principal) == 0:",
        instead="if False:",
        tests=integration("test_api_auth", "test_a_named_principal_has_so_many_jobs_and_no_more"),
    ),
    Guard(
        name="token-expiry",
        protects="a token that has expired is not believed",
        file="services/api/tokens.py",
        text='if now_s >= _seconds(told, "exp") + LEEWAY_S:',
        instead="if False:",
        tests=unit("test_tokens", "test_what_a_token_says_must_be_whole_and_for_us"),
    ),
    Guard(
        name="tenant-before-412",
        protects="nobody learns the revision of another tenant's job",
        file="services/api/held.py",
        text="    await write.refuse_foreign(held)",
        instead="",
        tests=integration("test_api_auth", "test_what_is_another_tenants_is_not_there"),
    ),
    Guard(
        name="tenant-revision",
        protects="a revision is told to its job's tenant only",
        file="services/api/ledger.py",
        text='self._ask_within("revision", f"job/{job_id}", number)',
        instead='self._ask("revision", f"job/{job_id}", number, None)',
        tests=integration("test_api_auth", "test_what_is_another_tenants_is_not_there"),
    ),
    Guard(
        name="key-of-tenant",
        protects="an Idempotency-Key is of a tenant, too: another's principal of the same name has another key",
        file="services/api/idempotency.py",
        text="key_of(principal.tenant, principal.id, route,",
        instead="key_of(principal.id, route,",
        tests=integration("test_api_auth", "test_an_idempotency_key_is_of_a_principal_and_its_tenant"),
    ),
    Guard(
        name="key-of-principal",
        protects="an Idempotency-Key is its principal's",
        file="services/api/idempotency.py",
        text="key_of(principal.tenant, principal.id, route,",
        instead="key_of(principal.tenant, route,",
        tests=integration("test_api_auth", "test_an_idempotency_key_is_of_a_principal_and_its_tenant"),
    ),
    Guard(
        name="bulk-once",
        protects="an operation under a key is done once, also when the request is sent again after a crash",
        file="services/api/bulk.py",
        text="(order.key.once(order.answer),)",
        instead="()",
        tests=integration(
            "test_api_bulk", "test_what_a_crash_cut_off_is_finished_by_the_next_and_not_done_again"
        ),
    ),
    Guard(
        name="bulk-lasting",
        protects="an answer that failed of the server is not kept",
        file="services/api/idempotency.py",
        text="if told.lasting:",
        instead="if True:",
        tests=integration("test_api_bulk", "test_an_answer_that_failed_of_the_server_is_not_kept"),
    ),
    Guard(
        name="bulk-tenant",
        protects="nobody learns by a bulk request what another tenant's job is like",
        file="services/api/bulk.py",
        text="            await self._write.refuse_foreign(held)\n",
        instead="",
        tests=integration("test_api_bulk", "test_tenants_quotas_and_required_revisions_hold"),
    ),
    Guard(
        name="bulk-quota",
        protects="many creates in one request keep to the quota",
        file="services/api/bulk.py",
        text="if batch.left <= 0:",
        instead="if False:",
        tests=integration("test_api_bulk", "test_tenants_quotas_and_required_revisions_hold"),
    ),
    Guard(
        name="bulk-quota-second",
        protects="a retry of a bulk request isn't refused for the places that the first has taken",
        file="services/api/bulk.py",
        text="if (had := await self._had(order, problem)) is not None:",
        instead="if (had := None) is not None:",
        tests=integration(
            "test_api_bulk", "test_a_retry_under_a_key_is_not_refused_for_the_places_the_first_has_taken"
        ),
    ),
    Guard(
        name="apply-turn",
        protects="of two files applied at once one is what there is",
        file="services/api/apply.py",
        text="if not await lock.acquire():",
        instead="if False:",
        tests=integration("test_api_apply", "test_of_two_files_at_once_one_is_what_there_is"),
    ),
    Guard(
        name="apply-level",
        protects="what is to be pruned is looked for when the archive has the last apply",
        file="services/api/apply.py",
        text="if await self._deps.archive.fate(partition, position, None, wait_s) is Fate.LATE:",
        instead="if False:",
        tests=integration("test_api_apply", "test_prune_waits_for_what_the_last_apply_has_made"),
    ),
    Guard(
        name="apply-revision",
        protects="a job that was edited meanwhile is compared anew",
        file="services/api/apply.py",
        text="UpdateJob(spec=spec, if_revision=(job.revision,))",
        instead="UpdateJob(spec=spec)",
        tests=integration(
            "test_api_apply", "test_what_is_edited_created_or_deleted_meanwhile_is_compared_anew"
        ),
    ),
    Guard(
        name="apply-whole",
        protects="nothing is written if one job of a file can't be",
        file="services/api/apply.py",
        text="        return faults or await self._refused(wish)\n",
        instead="        return faults\n",
        tests=integration("test_api_apply", "test_one_wrong_job_leaves_all_as_it_was_and_is_pointed_to"),
    ),
    Guard(
        name="apply-own",
        protects="prune deletes what was applied, not what was made by hand",
        file="services/api/queries/jobs_applied.sql",
        text="and id < $3::uuid",
        instead="and ($3::uuid is null or true)",
        tests=integration("test_api_apply", "test_prune_deletes_what_was_applied_and_nothing_else"),
    ),
    Guard(
        name="apply-owner",
        protects="prune deletes the own jobs only",
        file="services/api/queries/jobs_applied.sql",
        text="owner = $1 and",
        instead="($1::text is null or true) and",
        tests=integration("test_api_apply", "test_files_are_their_owners_and_the_quota_holds"),
    ),
    Guard(
        name="quota-second",
        protects="of two under one key the second isn't refused for the place that the first has taken",
        file="services/api/idempotency.py",
        text="if problem.status >= _FAULT_HERE or (again := await self.again(key, partition)) is None:",
        instead="if (again := None) is None:",
        tests=integration(
            "test_api_auth",
            "test_the_second_of_two_gets_the_first_ones_answer_where_that_has_filled_the_quota",
        ),
    ),
    Guard(
        name="stream-archived",
        protects="a stream shows what is archived, and nothing else",
        file="services/api/feed.py",
        text='f"({after}", str(mark), "COUNT"',
        instead='f"({after}", "+", "COUNT"',
        tests=integration("test_api_stream", "test_of_two_events_in_the_log_only_the_archived_one_is_shown"),
    ),
    Guard(
        name="stream-hole",
        protects="what left the log before it was read isn't passed over",
        file="services/api/feed.py",
        text="            check_order(partition, after, after_id, events)\n",
        instead="",
        tests=integration(
            "test_api_stream", "test_what_left_the_log_before_it_was_read_is_read_from_the_archive"
        ),
    ),
    Guard(
        name="stream-repeat",
        protects="who stands before the reader of the log isn't told again",
        file="services/api/listener.py",
        text="each.event.position.pos > begin and self._wants",
        instead="self._wants",
        tests=integration(
            "test_api_stream", "test_a_client_that_stands_before_the_reader_of_the_log_is_not_told_again"
        ),
    ),
    Guard(
        name="stream-seam",
        protects="nothing falls between the last page of the archive and the queue",
        file="services/api/stream.py",
        text="joined_at, is_level = self._deps.feed.join(listener, self._at), False",
        instead="joined_at, is_level = self._deps.feed.join(listener, self._at), True",
        tests=integration("test_api_stream", "test_nothing_is_missed_between_the_archive_and_the_log"),
    ),
    Guard(
        name="stream-queue",
        protects="a client that reads too slowly costs no more than its queue",
        file="services/api/listener.py",
        text="if len(self._queue) > QUEUE_MAX or self._bytes > QUEUE_BYTES_MAX:",
        instead="if False:",
        tests=integration(
            "test_api_stream", "test_a_client_that_reads_too_slowly_is_told_to_come_again_and_misses_nothing"
        ),
    ),
    Guard(
        name="stream-memory",
        protects="the same, in a process",
        file="services/api/listener.py",
        text="if len(self._queue) > QUEUE_MAX or self._bytes > QUEUE_BYTES_MAX:",
        instead="if len(self._queue) > 10**9:",
        tests=integration(
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
        tests=integration("test_api_stream", "test_a_client_that_takes_not_even_its_reset_leaves_its_seat"),
    ),
    Guard(
        name="stream-drain",
        protects="streams end when the process is to end",
        file="services/api/service.py",
        text="        self._deps.feed.end()\n",
        instead="",
        tests=integration(
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
        tests=integration("test_api_stream", "test_a_client_that_is_gone_leaves_nothing"),
    ),
    Guard(
        name="stream-revoked",
        protects="a stream ends with the key that opened it",
        file="services/api/stream.py",
        text="        return opens\n",
        instead="        return True\n",
        tests=integration(
            "test_api_stream", "test_the_stream_of_a_revoked_key_and_of_a_token_that_was_given_for_it_ends"
        ),
    ),
    Guard(
        name="stream-place",
        protects="a place of another history is refused",
        file="services/api/vectors.py",
        text="    for number in sorted(asked.keys() - found):\n",
        instead="    for number in ():\n",
        tests=integration("test_api_stream", "test_a_place_that_is_none_is_refused"),
    ),
    Guard(
        name="stream-seats",
        protects="there are only so many streams",
        file="services/api/streams.py",
        text="if self.taken.total() >= settings.streams_max:",
        instead="if False:",
        tests=integration("test_api_stream", "test_there_are_only_so_many_streams"),
    ),
    Guard(
        name="stream-tenant",
        protects="a stream shows its own tenant's events",
        file="services/api/event_filter.py",
        text="return tenant == self.tenant and (self.keys or",
        instead="return (self.keys or",
        tests=integration("test_api_stream", "test_a_stream_shows_what_is_its_tenants_only"),
    ),
    Guard(
        name="stream-keys",
        protects="API keys are for admins to hear of",
        file="services/api/event_filter.py",
        text="(self.keys or not event.subject.startswith(_KEY))",
        instead="True",
        tests=integration("test_api_stream", "test_a_stream_shows_what_is_its_tenants_only"),
    ),
    Guard(
        name="events-tenant",
        protects="a list of events is its own tenant's",
        file="services/api/queries/events_chosen.sql",
        text="            $10::text is null\n            or exists",
        instead="            true or $10::text is null\n            or exists",
        tests=integration("test_api_events", "test_a_principal_is_told_of_its_tenant_only"),
    ),
    Guard(
        name="events-halving",
        protects="a time is turned into positions",
        file="services/api/events.py",
        text="        below.append(horizon.before_until + 1)\n",
        instead="        pass\n",
        tests=integration("test_api_events", "test_no_filter_reads_the_whole_archive"),
    ),
    Guard(
        name="history-gone",
        protects="who stands before the archive's beginning is told so, and not that nothing was there",
        file="services/api/vectors.py",
        text="        if position.pos < cuts.get(number, START).pos:",
        instead="        if False:",
        tests=integration(
            "test_retention_api",
            "test_a_place_before_the_archives_beginning_is_gone_and_the_answer_says_where_to_begin",
        ),
    ),
    Guard(
        name="as-of-archived",
        protects="what was a moment ago is told once the archive has it, and not as it was before",
        file="services/api/moments.py",
        text="    if late:\n",
        instead="    if False:\n",
        tests=integration(
            "test_api_past", "test_what_was_just_now_is_told_once_it_is_archived_and_not_before"
        ),
    ),
    Guard(
        name="as-of-cut",
        protects="a time before the archive's beginning is gone, and not that of what was brought forward",
        file="services/api/moments.py",
        text="and at < cut_at:",
        instead="and False:",
        tests=integration(
            "test_api_past", "test_what_retention_has_dropped_is_gone_and_what_came_after_is_told"
        ),
    ),
    Guard(
        name="as-of-tenant",
        protects="a list of the past has the jobs of the asker's tenant alone",
        file="services/api/queries/past_jobs.sql",
        text="and ($9::text is null or tenant = $9)",
        instead="and ($9::text is null or true)",
        tests=integration("test_api_past", "test_of_another_tenants_past_nothing_is_told"),
    ),
    Guard(
        name="waypoint-after-cut",
        protects="no waypoint from before a cut is folded on from, nor kept",
        file="services/executor/handlers/statements/cleanup_waypoints.sql",
        text="pos < $2",
        instead="pos < 0 * $2",
        tests=integration(
            "test_looking_back",
            "test_what_a_job_was_after_a_cut_is_folded_onto_what_was_brought_forward",
        ),
    ),
    Guard(
        name="missed-until",
        protects="an archive that lags makes nothing missing",
        file="services/api/missed.py",
        text="states[partition].tail_at <= mark:",
        instead="True:",
        tests=integration(
            "test_api_missed", "test_a_decision_that_is_not_archived_yet_makes_nothing_missing"
        ),
    ),
    Guard(
        name="stream-gone",
        protects="a stream that a cut overtakes passes nothing over",
        file="services/api/stream.py",
        text="            if any(each.above < cuts.get(each.partition, START).pos for each in bounds):",
        instead="            if False:",
        tests=integration(
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
        tests=integration("test_retention_api", "test_retention_is_for_admins_of_the_deployments_own_tenant"),
    ),
    Guard(
        name="apply-refused",
        protects="a job that apply may not make is not passed over, as if it had been left out: prune deletes those",
        file="services/api/apply.py",
        text="                if not problem.errors:",
        instead="                if False:",
        tests=integration(
            "test_retention_api", "test_nobody_else_makes_retention_of_what_they_may_change_or_trigger"
        ),
    ),
)
