"""Stages that overlap, against a simulator of links and processors of its own.

The simulator knows three machines per worker (download link, processor, upload link)
with a first-in, first-out queue before each, and handles one event at a time: a machine
has done its part of a job. The event loops know a recursion for the end of a job.
"""

import heapq
import itertools
from collections import deque

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax import compute_times as ct
from asgrad_jax.algorithms.protocol import Decision

N = 4
ROWS = 400
STAGES = {
    "fixed": {
        "download": ct.fixed([0.5, 1.0, 0.25, 2.0]),
        "compute": ct.fixed([1.0, 1.75, 3.0, 0.5]),
        "upload": ct.fixed([2.0, 0.75, 1.0, 1.25]),
    },
    "exponential": {
        "download": ct.exponential([0.3, 0.1, 2.0, 1.0]),
        "compute": ct.lognormal([1.0, 2.0, 1.0, 4.0]),
        "upload": ct.exponential([1.0, 2.5, 0.5, 4.0]),
    },
    "heavy tail, no download": {
        "compute": ct.pareto([1.0, 1.5, 2.0, 2.5], alpha=1.5),
        "upload": ct.empirical([[0.1, 3.0], [1.0, 1.5], [0.2], [4.0, 0.5]]),
    },
    "links of links": {
        "download": ct.stages(upload=ct.gamma([0.2] * N), compute=ct.fixed([0.1] * N)),
        "compute": ct.half_normal([1.0, 2.0, 3.0, 4.0]),
    },
}


def parts(stages, worker, seed, size):
    """Returns [size, 3] seconds: what each stage adds to the sums of the stages so far.

    A stage draws the same numbers whatever stages come after it.
    """
    out, before, taken = np.zeros((size, 3)), np.zeros(size), {}
    for place, name in enumerate(("download", "compute", "upload")):
        if name in stages:
            taken[name] = stages[name]
            total = ct.stages(**taken).durations(worker, seed, 0, size)
            out[:, place] = total - before
            before = total
    return out


class Machines:
    """Three machines per worker, with queues."""

    def __init__(self, seconds):
        self.seconds = seconds  # [n] of [jobs, 3]
        self.queues = [[deque() for _ in range(3)] for _ in seconds]
        self.busy = [[False] * 3 for _ in seconds]
        self.events = []
        self.count = itertools.count()

    def put(self, time, worker, stage, job):
        self.queues[worker][stage].append(job)
        self.begin(time, worker, stage)

    def begin(self, time, worker, stage):
        if self.queues[worker][stage] and not self.busy[worker][stage]:
            self.busy[worker][stage] = True
            job = self.queues[worker][stage].popleft()
            end = time + self.seconds[worker][job["index"], stage]
            heapq.heappush(self.events, (end, next(self.count), worker, stage, job))

    def next_arrival(self):
        while True:
            time, _, worker, stage, job = heapq.heappop(self.events)
            self.busy[worker][stage] = False
            self.begin(time, worker, stage)
            if stage == 2:
                return time, worker, job
            self.put(time, worker, stage + 1, job)


def run_machines(stages, first, next_worker, seed, gradients_per_step=1):
    """Returns rows (worker, job, read, time) of a server that steps every b."""
    machines = Machines([parts(stages, i, seed, ROWS + 50) for i in range(N)])
    given, version, rows = [0] * N, 0, []

    def assign(time, worker):
        job = {"index": given[worker], "read": version}
        given[worker] += 1
        machines.put(time, worker, 0, job)

    for worker in first:
        assign(0.0, worker)
    while len(rows) < ROWS:
        time, worker, job = machines.next_arrival()
        rows.append((worker, job["index"], job["read"], time))
        version = len(rows) // gradients_per_step
        assign(time, next_worker(worker))
    return rows


def two_jobs():
    start = tuple(range(N)) * 2
    return ag.Algorithm(name="two_jobs", start=start), start, lambda: lambda i: i


def in_turn(jobs, gradients_per_step=1):
    def follower():
        turn = itertools.islice(itertools.cycle(range(N)), jobs % N, None)
        return lambda _: next(turn)

    algorithm = ag.Algorithm(
        name="in_turn",
        order="cyclic",
        start="order",
        concurrency=jobs,
        gradients_per_step=gradients_per_step,
    )
    first = tuple(i % N for i in range(jobs))
    return algorithm, first, follower


ALGORITHMS = {
    "two jobs per worker": (two_jobs(), 1),
    "in turn, 7 jobs": (in_turn(7), 1),
    "in turn, 10 jobs, buffer of 3": (in_turn(10, 3), 3),
}


@pytest.mark.parametrize("engine", ["python", "compiled"])
@pytest.mark.parametrize("times", STAGES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_against_machines_with_queues(name, times, engine):
    (algorithm, first, follower), b = ALGORITHMS[name]
    schedule = ag.simulate(
        algorithm,
        ct.stages(**STAGES[times], overlap=True),
        num_gradients=ROWS,
        seed=3,
        engine=engine,
    )
    rows = run_machines(STAGES[times], first, follower(), 3, b)
    worker, job, read, time = zip(*rows, strict=True)
    if times == "fixed":  # simultaneous arrivals: their order is our own rule
        np.testing.assert_allclose(np.sort(time), schedule.time, rtol=1e-12)
        return
    np.testing.assert_array_equal(schedule.worker, worker)
    np.testing.assert_array_equal(schedule.job, job)
    np.testing.assert_array_equal(schedule.read, read)
    np.testing.assert_allclose(schedule.time, time, rtol=1e-10)


def test_by_hand():
    # One worker, two jobs in flight: download 1, compute 3, upload 2.
    # Job 0: link 0-1, processor 1-4, upload 4-6. Job 1: 1-2, 4-7, 7-9.
    # Job 2, given at 6: 6-7, 7-10, 10-12. Job 3, given at 9: 9-10, 10-13, 13-15.
    times = ct.stages(
        download=ct.fixed([1.0]),
        compute=ct.fixed([3.0]),
        upload=ct.fixed([2.0]),
        overlap=True,
    )
    algorithm = ag.Algorithm(name="two_jobs", start=(0, 0))
    for engine in ("python", "compiled"):
        schedule = ag.simulate(algorithm, times, num_gradients=4, engine=engine)
        assert schedule.time.tolist() == [6.0, 9.0, 12.0, 15.0]
        assert schedule.read.tolist() == [0, 0, 1, 2]
    apart = ct.get(**(times.config() | {"overlap": False}))
    assert ag.simulate(algorithm, apart, num_gradients=4).time.tolist() == [
        6.0,
        12.0,
        18.0,
        24.0,
    ]


class TestOneJobPerWorker:
    @pytest.mark.parametrize("name", ["rennala_restart", "malenia", "ringmaster_stops"])
    def test_rounds_have_equal_bits(self, name):
        for engine in ("python", "compiled"):
            one, two = (
                ag.simulate(
                    name,
                    ct.stages(**STAGES["exponential"], overlap=overlap),
                    num_gradients=100,
                    engine=engine,
                )
                for overlap in (False, True)
            )
            np.testing.assert_array_equal(one.worker, two.worker)
            np.testing.assert_array_equal(one.time, two.time)

    def test_pure_async_is_the_same_up_to_rounding(self):
        one, two = (
            ag.simulate(
                "pure_async",
                ct.stages(**STAGES["exponential"], overlap=overlap),
                num_gradients=300,
            )
            for overlap in (False, True)
        )
        np.testing.assert_array_equal(one.worker, two.worker)
        np.testing.assert_array_equal(one.read, two.read)
        np.testing.assert_allclose(one.time, two.time, rtol=1e-12)


class StopsAll:
    """Two jobs for everybody, which a step after three gradients abandons."""

    name = "stops_all"

    def start(self, server):
        self.gradients = 0
        return [*range(server.num_workers)] * 2

    def arrive(self, server, job):
        self.gradients += 1
        if self.gradients % 3:
            return Decision(step=False, assign=[job.worker])
        everybody = [*range(server.num_workers)]
        return Decision(stop=everybody, assign=everybody * 2)


def test_jobs_that_are_stopped_free_the_links():
    # After a stop nothing that a worker did before delays its next job: the first
    # arrival since then comes as if the worker had been idle for ever.
    stages = STAGES["exponential"]
    schedule = ag.simulate(
        StopsAll(), ct.stages(**stages, overlap=True), num_gradients=150, seed=1
    )
    seconds = [parts(stages, i, 1, 400).sum(1) for i in range(N)]
    steps = schedule.time[schedule.step]
    for row in range(len(schedule)):
        read, worker = int(schedule.read[row]), int(schedule.worker[row])
        before = schedule.worker[:row][schedule.read[:row] == read]
        if read and worker not in before:
            assert schedule.time[row] == pytest.approx(
                steps[read - 1] + seconds[worker][schedule.job[row]], rel=1e-12
            )


class GivesUp(StopsAll):
    """Two jobs per worker; the oldest one is given up after its limit."""

    name = "gives_up"
    limits = (1.0, 3.0, 1.0, 4.0)

    def arrive(self, server, job):
        return Decision(
            weight=1.0 if job.finished else None,
            step=job.finished,
            assign=[job.worker],
        )


def test_a_job_that_is_given_up_frees_the_stage_it_was_in():
    # Download 0.5, compute 1, upload 2, limit 2.5: job 0 is given up at 2.5, in its
    # upload. Job 1 was downloaded 0.5-1 and computed 1.5-2.5, and is uploaded 2.5-4.5.
    times = ct.stages(
        download=ct.fixed([0.5]),
        compute=ct.fixed([1.0]),
        upload=ct.fixed([2.0]),
        overlap=True,
    )
    algorithm = GivesUp()
    algorithm.limits = (2.5,)
    schedule = ag.simulate(algorithm, times, num_gradients=3)
    # Job 2, given at 2.5: 2.5-3, 3-4, 4.5-6.5; job 3, at 4.5: 4.5-5, 5-6, 6.5-8.5.
    assert schedule.job.tolist() == [1, 2, 3]
    assert schedule.time.tolist() == [4.5, 6.5, 8.5]


def test_what_is_refused():
    times = ct.stages(**STAGES["fixed"], overlap=True)
    for make in (
        lambda: ct.concatenate([times]),
        lambda: ct.repeated(times, 2),
        lambda: ct.stages(compute=times),
        lambda: ct.universal(times, [0, 3], [1.0, 0.5]),
    ):
        with pytest.raises(ValueError, match="stages that overlap"):
            make()
    with pytest.raises(TypeError, match="overlap must be True or False, got 1"):
        ct.stages(**STAGES["fixed"], overlap=1)


def test_the_config_says_it():
    times = ct.stages(**STAGES["exponential"], overlap=True)
    copy = ct.get(**times.config())
    one, two = (ag.simulate("random_async", t, num_gradients=50) for t in (times, copy))
    np.testing.assert_array_equal(one.time, two.time)
    assert "overlap" not in ct.stages(**STAGES["exponential"]).config()
    # The same draws: a run is comparable with and without.
    plain = ct.stages(**STAGES["exponential"])
    np.testing.assert_array_equal(
        plain.durations(1, 5, 0, 9), times.durations(1, 5, 0, 9)
    )


def test_a_queue_is_shorter_where_stages_overlap():
    ends = [
        ag.simulate(
            "random_async",
            ct.stages(**STAGES["exponential"], overlap=overlap),
            num_gradients=2000,
        ).time[-1]
        for overlap in (False, True)
    ]
    assert ends[1] < 0.9 * ends[0]
