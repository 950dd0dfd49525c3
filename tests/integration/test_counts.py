"""What is counted where no executor sees it: ends that the timer decides."""

from datetime import timedelta

from shared.clock import SystemClock
from shared.domain import ids
from shared.domain.commands import StartRun, TriggerJob
from shared.domain.spec import LOST_MAX
from shared.eventlog.decider import Decider
from shared.testing import TESTER, chance, wait_until

from .test_timer import Running, a_job


async def test_a_run_that_lost_too_many_workers_is_counted_as_failed(bench, valkey):
    made = await a_job(bench)
    run = f"run:{ids.chance_id(bench.log.now(), 0, chance())}"
    trigger = TriggerJob(run_id=run.removeprefix("run:"), correlation_id="c")
    await bench.decider.decide(made.ref, trigger, TESTER)
    short = Decider(bench.log, lease=timedelta(milliseconds=50), chance=chance)

    async def status():
        return (await bench.log.load(run))[run].state.status

    def counted(name, **labels):
        return bench.metrics.registry.get_sample_value(f"daybook_{name}", labels)

    async with Running(bench, valkey.endpoint.url, "timer-1", SystemClock()):
        for worker in range(LOST_MAX):
            assert counted("runs_finished_total", job_type="custom", outcome="failed") is None
            await short.decide(run, StartRun(worker=f"worker-{worker}"), TESTER)
            expected = "failed" if worker + 1 == LOST_MAX else "queued"

            async def as_expected(expected=expected):
                return await status() == expected

            await wait_until(as_expected, f"the run is {expected}")
    assert counted("runs_finished_total", job_type="custom", outcome="failed") == 1
    assert counted("leases_lost_total") == LOST_MAX
