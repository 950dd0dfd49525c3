"""Personal data: sealed wherever it is kept, shown to whom it may be, and gone with its key."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="key-held",
        protects="a key that is being destroyed isn't copied back to Redis by who makes it",
        file="shared/personal/statements/held.sql",
        text=" order by job for share",
        instead="",
        tests=integration("test_personal_keys", "test_an_erasure_waits_for_who_copies"),
    ),
    Guard(
        name="sealed-is-whole",
        protects="what differs between sealed values is shown in plain, not as pieces of what is sealed",
        file="services/api/json_patch.py",
        text=" and not (is_sealed(old) or is_sealed(new))",
        instead="",
        tests=integration(
            "test_api_personal",
            "test_what_is_personal_is_shown_and_stands_nowhere_by_whichever_way_it_came",
        ),
    ),
    Guard(
        name="sealed-in-apply",
        protects="what is applied for the first time is sealed before it is decided",
        file="services/api/apply.py",
        text="await self._sealed(wish.command),",
        instead="wish.command,",
        tests=integration(
            "test_api_personal",
            "test_what_is_personal_is_shown_and_stands_nowhere_by_whichever_way_it_came",
        ),
    ),
    Guard(
        name="key-of-its-tenant",
        protects="a sealed value that was carried to another tenant opens for nobody there",
        file="services/api/personal.py",
        text="tenant=wall())",
        instead="tenant=None)",
        tests=integration("test_api_personal_keys", "test_a_sealed_value_opens_for_nobody_of_another_tenant"),
    ),
    Guard(
        name="keyed-fingerprint",
        protects="a guess at a request can't be held against its fingerprint in the log",
        file="shared/eventlog/once.py",
        text="fingerprint = hmac.new(secret.encode(), asked.encode(), hashlib.sha256).hexdigest()",
        instead="fingerprint = _sha256(asked)",
        tests=integration(
            "test_api_personal_keys", "test_the_fingerprint_of_a_request_tells_nothing_to_who_has_not_its_key"
        ),
    ),
    Guard(
        name="keys-level-at-opening",
        protects="a Redis that was emptied has the copies of keys again when its log is open",
        file="shared/recovery/opener.py",
        text="await level(self._connection, self._redis, self._keys)",
        instead="pass",
        tests=integration(
            "test_api_personal_keys", "test_a_redis_that_was_emptied_gets_its_copies_back_with_its_log"
        ),
    ),
    Guard(
        name="copies-never-the-last",
        protects="a copy of a key is taken away only where Postgres has the key",
        file="shared/personal/sweeping.py",
        text='rows = await self._pool.fetch(statement("resting"), left)',
        instead='rows = [{"job": job} for job in left]',
        tests=integration("test_personal_copies", "test_a_copy_that_postgres_lacks_stays"),
    ),
    Guard(
        name="marks-under-every-name",
        protects="a marked value is sealed under whichever of its field's names it is kept",
        file="shared/personal/marks.py",
        text="product(_MODES, (True, False))",
        instead="product(_MODES[:1], (True,))",
        tests=unit("test_marks", "test_a_value_is_sealed_under_whichever_name_it_is_kept"),
    ),
    Guard(
        name="keys-of-an-older-database",
        protects="keys that a database has lost come back from Redis though the log stays open",
        file="services/projector/partition.py",
        text="await level(connection, self._redis, self._keys)",
        instead="pass",
        tests=integration(
            "test_erasures",
            "test_keys_that_an_older_backup_of_the_database_has_not_come_back_though_the_log_stays_open",
        ),
    ),
    Guard(
        name="spans-hushed-in-their-task",
        protects="what a handler is told of somebody leaves with none of its spans",
        file="shared/tracing/spans.py",
        text="_masked(span) if logs.is_hushed() else span",
        instead="span",
        tests=unit("test_spans", "test_what_a_handler_is_told_of_somebody_stands_in_no_span_of_it"),
    ),
)
