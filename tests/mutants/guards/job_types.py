"""What handlers are given, and what the job types do."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="migration-fence",
        protects="an older start of a migration copies nothing more",
        file="services/executor/handlers/data_migration/statements/hold.sql",
        text=" and fence = $4\n",
        instead=" and $4::bigint[] is not null\n",
        tests=integration(
            "test_data_migration", "test_an_older_start_that_is_still_alive_copies_nothing_more"
        ),
    ),
    Guard(
        name="migration-mark",
        protects="a start goes on where the last one has stopped",
        file="services/executor/handlers/data_migration/statements/begin.sql",
        text=" then null else w.last_key end",
        instead=" then null end",
        tests=integration("test_data_migration", "test_an_attempt_goes_on_where_a_cancelled_one_stopped"),
    ),
    Guard(
        name="migration-order",
        protects="keys are compared by the operators of their own type, so that batches stay small",
        file="services/executor/handlers/data_migration/copying.py",
        text="        await self._search(column.at for column in table.key)\n",
        instead="",
        tests=integration(
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
        tests=integration(
            "test_data_migration", "test_a_table_of_the_destination_that_cant_take_the_rows_is_refused"
        ),
    ),
    Guard(
        name="migration-whole",
        protects="a table without a key goes only where no rows are",
        file="services/executor/handlers/data_migration/copying.py",
        text='            if await self._to.fetchval(statement("any", table=table.sql)):\n',
        instead="            if False:\n",
        tests=integration("test_data_migration", "test_it_is_refused_where_rows_are_already"),
    ),
    Guard(
        name="migration-names",
        protects="names of tables and columns are quoted",
        file="services/executor/handlers/data_migration/sql.py",
        text="""'"' + name.replace('"', '""') + '"'""",
        instead="""'"' + name + '"'""",
        tests=integration("test_data_migration", "test_names_that_need_quotes_are_names_and_nothing_else"),
    ),
    Guard(
        name="migration-snapshot",
        protects="a migration reads one snapshot",
        file="services/executor/handlers/data_migration/__init__.py",
        text="isolation level repeatable read read only",
        instead="read only",
        tests=integration(
            "test_data_migration", "test_rows_that_come_and_go_at_the_source_meanwhile_are_not_seen"
        ),
    ),
    Guard(
        name="web-judged",
        protects="no request goes to an address that is not public",
        file="services/executor/web_guard.py",
        text="        if inward:\n",
        instead="        if False:\n",
        tests=integration(
            "test_http_guards", "test_a_name_that_leads_inward_is_refused_after_it_was_looked_up"
        ),
    ),
    Guard(
        name="web-all",
        protects="a name that has one inward address is not asked at all",
        file="services/executor/web_guard.py",
        text="        if inward:\n",
        instead="        if len(inward) == len(found):\n",
        tests=integration("test_http_guards", "test_one_inward_address_among_public_ones_spoils_all"),
    ),
    Guard(
        name="web-pinned",
        protects="the connection goes to the address that was judged, not to the name",
        file="services/executor/web_guard.py",
        text="connect_tcp(str(last), port",
        instead="connect_tcp(host, port",
        tests=integration("test_http_guards", "test_a_resolver_that_changes_its_answer_leads_nowhere"),
    ),
    Guard(
        name="web-origin",
        protects="credentials stay with their server when a redirect leads to another",
        file="services/executor/handlers/http_request_question.py",
        text="    return replace(onward, headers=_for_others(onward.headers))\n",
        instead="    return onward\n",
        tests=integration(
            "test_http_guards", "test_nothing_secret_goes_to_another_server_nor_comes_back_from_it"
        ),
    ),
    Guard(
        name="web-body",
        protects="a body that holds a secret stays with its server",
        file="services/executor/handlers/http_request_question.py",
        text="if onward.content and _holds_secrets(",
        instead="if False and _holds_secrets(",
        tests=integration("test_http_guards", "test_a_body_with_a_secret_stays_with_its_server"),
    ),
    Guard(
        name="web-downgrade",
        protects="a redirect does not lead from TLS to plain HTTP",
        file="services/executor/handlers/http_request_question.py",
        text='if question.address.scheme == "https" and address.scheme == "http":',
        instead="if False:",
        tests=integration("test_http_guards", "test_a_redirect_does_not_lead_from_tls_to_plain_http"),
    ),
    Guard(
        name="web-bomb",
        protects="an answer's gzip is unpacked to a limit",
        file="services/executor/web.py",
        text="gzip.decompress(chunk, READ_MAX + 1 - self._size)",
        instead="gzip.decompress(chunk)",
        tests=integration("test_http_request", "test_a_gzip_bomb_is_not_unpacked"),
    ),
    Guard(
        name="web-endless",
        protects="an answer is read to a limit",
        file="services/executor/web.py",
        text="if len(chunk) > room or unpack.full:",
        instead="if False:",
        tests=integration("test_http_request", "test_an_endless_answer_is_read_to_a_limit"),
    ),
    Guard(
        name="web-cut-secret",
        protects="secrets are masked before an answer is cut",
        file="services/executor/handlers/http_request_answer.py",
        text="    masked = mask.text(text)\n",
        instead="    masked = text\n",
        tests=unit("test_http_request", "test_half_a_secret_does_not_stand_at_the_cut"),
    ),
    Guard(
        name="web-header",
        protects="a secret's value breaks no header",
        file="services/executor/handlers/http_request_question.py",
        text="        if fault := value_fault(value):",
        instead="        if fault := None:",
        tests=integration(
            "test_http_request", "test_a_secret_that_would_break_a_header_is_given_up_and_not_shown"
        ),
    ),
    Guard(
        name="data-access",
        protects="a job's SQL reads nothing but its dataset",
        file="services/executor/datasets.py",
        text='"enable_external_access": False',
        instead='"enable_external_access": True',
        tests=integration(
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
        tests=integration("test_data_processing_hostile", "test_what_is_read_can_not_be_written_over"),
    ),
    Guard(
        name="data-descriptor",
        protects="what is read is what was opened",
        file="services/executor/dataset_files.py",
        text='return f"/dev/fd/{descriptor}"',
        instead='return str(Path(f"/dev/fd/{descriptor}").readlink())',
        tests=integration(
            "test_data_processing_hostile", "test_a_file_swapped_after_it_was_opened_is_not_what_is_read"
        ),
    ),
    Guard(
        name="data-select",
        protects="a job's SQL is a single SELECT",
        file="services/executor/handlers/data_processing.py",
        text="if [each.type for each in statements] != [duckdb.StatementType.SELECT]:",
        instead="if not statements:",
        tests=integration("test_data_processing_hostile", "test_only_a_single_select_is_taken"),
    ),
    Guard(
        name="data-sql-allowed",
        protects="SQL is allowed by the executor's own operator",
        file="services/executor/handlers/data_processing.py",
        text="if isinstance(work, Sql) and not resources.catalog.allow_sql:",
        instead="if False:",
        tests=integration(
            "test_data_processing_hostile", "test_sql_is_refused_by_an_executor_that_doesnt_allow_it"
        ),
    ),
    Guard(
        name="data-quoting",
        protects="a column's name is no SQL",
        file="services/executor/staging.py",
        text="name.replace('\"', '\"\"')",
        instead="name",
        tests=integration("test_data_processing_hostile", "test_names_that_look_like_sql_are_names"),
    ),
    Guard(
        name="data-unpacked",
        protects="a packed file unpacks to so much, no more",
        file="services/executor/staging.py",
        text="if self._left < 0:",
        instead="if False:",
        tests=integration("test_data_processing_hostile", "test_a_file_that_unpacks_to_too_much_is_given_up"),
    ),
    Guard(
        name="data-width",
        protects="a line of a million columns is not planned for",
        file="services/executor/dataset_files.py",
        text="            _check_head(file, limits)\n",
        instead="            pass\n",
        tests=integration(
            "test_data_processing_hostile", "test_a_file_of_too_many_columns_is_given_up_at_once"
        ),
    ),
    Guard(
        name="data-value",
        protects="one enormous value is not allocated",
        file="services/executor/datasets.py",
        text="memory_bounded(limits.memory + UNCOUNTED)",
        instead="contextlib.nullcontext()",
        tests=integration("test_data_processing_hostile", "test_one_enormous_value_is_not_allocated"),
    ),
    Guard(
        name="data-output",
        protects="an output grows to so much, no more",
        file="services/executor/handlers/data_processing.py",
        text="with files_bounded(OUTPUT_BYTES_MAX):",
        instead="if True:",
        tests=integration(
            "test_data_processing_hostile", "test_an_output_that_grows_beyond_its_limit_is_not_left"
        ),
    ),
    Guard(
        name="data-sweep",
        protects="a scratch directory in use stays",
        file="services/executor/scratch.py",
        text="fcntl.LOCK_EX | fcntl.LOCK_NB",
        instead="fcntl.LOCK_SH",
        tests=integration(
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
        tests=integration(
            "test_data_processing_postgres", "test_a_view_that_writes_is_stopped_by_the_read_only_transaction"
        ),
    ),
)
