"""A crowd of jobs, and clients that go on writing whatever happens to the services."""

import asyncio
import itertools
import time
from dataclasses import dataclass

import httpx

ACKNOWLEDGED = (200, 201, 202, 204)
OVERLAPS = ["skip", "queue_one", "queue_all", "replace", "allow", "allow"]
REFUSED = (404, 409)  # a job that another writer has deleted; a trigger of a run that overlaps
AWAY = (503,)
PACE_S = 0.05
FOREVER_S = 86_400  # an interval of which no occurrence comes within the test


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """An answer that promised something: at `place` stands what was asked for.

    It was asked for at `began` and answered at `ended`, by the machine's clock; `shown` is the status that the job
    or execution had in the answer.
    """

    what: str
    job_id: str
    place: str
    said: str
    request_id: str
    status: int
    began: float
    ended: float
    shown: str


def job_body(rng, name):
    """An interval job, as a client writes it."""
    sleeps = {"operation": "sleep", "parameters": {"seconds": 0.05}}
    echoes = {"operation": "echo", "parameters": {"from": name}}
    return {
        "name": name,
        "job_type": "custom",
        "job_data": rng.choice([sleeps, echoes]),
        "interval_seconds": rng.randint(1, 4),
        "overlap_policy": rng.choice(OVERLAPS),
        "priority": rng.randint(1, 10),
    }


class Clients:
    """What clients do and are told. `acks` holds each acknowledgement; answers that never came are nobody's."""

    def __init__(self, http, rng, *, body=job_body):
        self._http, self._rng, self._body = http, rng, body
        self._numbers = itertools.count(1)
        self.acks, self.bodies = [], {}
        self.unanswered = 0

    async def create(self):
        """Return the new job's id; None if no answer came."""
        body = self._body(self._rng, f"job {next(self._numbers)}")
        answer = await self._send("create", "POST", "", said=body["name"], json=body)
        if answer is None:
            return None
        self.bodies[answer["id"]] = body
        return answer["id"]

    async def update(self, job_id, **changes):
        """PUT the job with a description of its own."""
        body = self.bodies[job_id] | {"description": f"edit {next(self._numbers)}"} | changes
        if await self._send("update", "PUT", f"/{job_id}", said=body["description"], json=body):
            self.bodies[job_id] = body
            return True
        return False

    async def pause(self, job_id):
        return await self._send("pause", "POST", f"/{job_id}/pause")

    async def resume(self, job_id):
        return await self._send("resume", "POST", f"/{job_id}/resume")

    async def trigger(self, job_id):
        policy = self._rng.choice([{}, {"overlap_policy": "allow"}])
        return await self._send("trigger", "POST", f"/{job_id}/trigger", json=policy)

    async def delete(self, job_id):
        return await self._send("delete", "DELETE", f"/{job_id}")

    async def erase(self, job_id):
        reason = {"reason": "ticket 4711"}
        return await self._send("erase", "POST", f"/{job_id}/erase", said=job_id, json=reason)

    async def cancel(self, run_id):
        return await self._send("cancel", "POST", f"/{run_id}/cancel", about="executions")

    async def retry(self, run_id):
        return await self._send("retry", "POST", f"/{run_id}/retry", about="executions")

    async def write_until(self, stop):
        """Change what there is, at random, until `stop` is set."""
        often = [self.pause, self.resume, self.trigger, self.trigger, self.update]
        while not stop.is_set():
            await asyncio.sleep(self._rng.uniform(0, 2 * PACE_S))  # a client's pace, not a wait
            job_id = self._rng.choice(list(self.bodies))
            if self._rng.random() < 0.2:
                job_id = await self.create() or job_id
                await self._rng.choice([self.delete, self.update, self.trigger])(job_id)
            else:
                change = {"interval_seconds": self._rng.randint(1, 4)} if self._rng.random() < 0.3 else {}
                does = self._rng.choice(often)
                await (does(job_id, **change) if does == self.update else does(job_id))

    async def find_all(self):
        """Ids of all jobs there are: a create may have been done though its answer never came."""
        found = []
        for page in itertools.count(1):
            answer = await self._http.get("/api/v1/jobs", params={"per_page": 200, "page": page})
            assert answer.status_code == 200, answer.text
            found += [job["id"] for job in answer.json()["items"]]
            if len(found) >= answer.json()["total"]:
                break
        return found

    async def calm(self, at_a_time=8):
        """Leave a third of the jobs paused, a third deleted, and a third with an interval of a day."""
        known = list(self.bodies)
        strangers = set(await self.find_all()) - set(known)
        shares = [
            (self.pause, known[0::3]),
            (self.delete, [*known[1::3], *strangers]),
            (self._slow_down, known[2::3]),
        ]
        work = iter([(way, job_id) for way, share in shares for job_id in share])

        async def end():
            for way, job_id in work:
                await self.insist(way, job_id)

        await asyncio.gather(*(end() for _ in range(at_a_time)))

    async def _slow_down(self, job_id):
        return await self.update(job_id, interval_seconds=FOREVER_S)

    async def insist(self, does, *args, **kwargs):
        """Do it again until it is acknowledged, or there is no such job."""
        while not (done := await does(*args, **kwargs)):
            pass
        return done

    async def _send(self, what, method, path, *, about="jobs", said="", **kwargs):
        """Return the answer's body (True if it has none) if it was acknowledged; note it."""
        request_id = f"{what}-{next(self._numbers)}"
        began = time.time()
        try:
            response = await self._http.request(
                method, f"/api/v1/{about}{path}", headers={"X-Request-ID": request_id}, **kwargs
            )
        except httpx.TransportError:  # the API was killed before it answered: done or not, nobody was told
            self.unanswered += 1
            return None
        status = response.status_code
        if status in AWAY:
            self.unanswered += 1
            return None
        if status in REFUSED:
            return {"refused": status} if status == 404 else None
        assert status in ACKNOWLEDGED, f"{method} {path}: {status} {response.text}"
        body = response.json() if response.content else {"id": path[1:37]}
        self.acks.append(
            Ack(
                what=what,
                job_id=body.get("job_id") or body["id"],
                place=response.headers["Daybook-Position"],
                said=said or body["id"],
                request_id=request_id,
                status=status,
                began=began,
                ended=time.time(),
                shown=body.get("status", ""),
            )
        )
        return body
