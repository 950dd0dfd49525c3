"""Recovery: what comes back, and what is refused."""

from .guard import Guard, integration

GUARDS = (
    Guard(
        name="empty-database-unfenced",
        protects="a database that was lost is not fenced before its cold copies are in",
        file="shared/recovery/opener.py",
        text="before or archive.nothing_of(keys.partition))",
        instead="before) if before else None",
        tests=integration(
            "test_recovery", "test_an_empty_database_that_meets_a_trimmed_log_takes_a_cold_copy_afterwards"
        ),
    ),
    Guard(
        name="stale-keys-away",
        protects="what of an older Redis isn't so any more goes when it is healed",
        file="shared/recovery/rebuilding.py",
        text="        await self._take_away()\n",
        instead="",
        tests=integration("test_drills", "test_redis_set_back"),
    ),
    Guard(
        name="answers-again",
        protects="a wiped log still knows what was answered once",
        file="shared/recovery/rebuilding.py",
        text="self._others(), self._answers(), self._work()",
        instead="self._others(), self._work()",
        tests=integration("test_drills", "test_redis_emptied"),
    ),
)
