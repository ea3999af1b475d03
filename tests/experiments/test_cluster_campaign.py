"""A cluster whose workers are killed over and over; what it costs to use one."""

import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest
import xarray as xr

import asgrad_jax as ag

pytestmark = [
    pytest.mark.slow,
    pytest.mark.campaign,
    pytest.mark.filterwarnings("ignore"),
]
KILLS = 30


def grid(seeds, arrivals):
    return dict(
        algorithms=["pure_async", "shuffled_async", "fedbuff"],
        compute_times=ag.compute_times.exponential(range(1, 11)),
        num_gradients=arrivals,
        record_every=100,
        seeds=range(seeds),
        step_sizes=np.linspace(0.001, 0.03, 32),
    )


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(2000, 60)), rng.integers(0, 2, 2000)
    return ag.logistic_regression(rows, labels, 10, storage="dense")


def local(workers):
    distributed = pytest.importorskip("distributed")
    made = distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=None
    )
    return made, distributed.Client(made)


def test_workers_are_killed(problem, tmp_path, capsys):
    """At 30 random moments; as many come again: no lane lost, no bit another."""
    rng = np.random.default_rng(1)
    killed, over = [], threading.Event()

    def kill(client):
        while len(killed) < KILLS and not over.wait(rng.uniform(2, 12)):
            found = client.run(os.getpid, on_error="ignore").values()
            processes = [number for number in found if isinstance(number, int)]
            if processes:
                killed.append(int(rng.choice(processes)))
                os.kill(killed[-1], signal.SIGKILL)

    asked = grid(seeds=4, arrivals=60_000)
    alone = ag.sweep(problem, **asked)
    made, client = local(4)
    with made, client:
        rounds, start = 0, time.perf_counter()
        while len(killed) < KILLS:
            over.clear()
            thread = threading.Thread(target=kill, args=(client,))
            thread.start()
            try:
                result = ag.sweep(
                    problem, **asked, client=client, directory=tmp_path / f"{rounds}"
                )
            finally:
                over.set()
                thread.join()
            xr.testing.assert_identical(result.drop_attrs(), alone.drop_attrs())
            rounds += 1
    with capsys.disabled():
        seconds = time.perf_counter() - start
        print(f"\n{len(killed)} kills in {rounds} sweeps, {seconds:.0f} s: equal bits")


def cpu_seconds():
    """Those of this process and its children."""
    own = psutil.Process()
    times = [p.cpu_times() for p in (own, *own.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def test_what_it_costs(problem, capsys):
    """This process, one worker, two workers; shown, not judged.

    The CPU's seconds say what the engine costs also on a machine with other work.
    """
    asked = ag.Grid(problem, **grid(seeds=2, arrivals=60_000))
    shown = {}

    def measured(name, **options):
        ag.sweep(asked, **options)  # compiles
        start, used = time.perf_counter(), cpu_seconds()
        ag.sweep(asked, **options)
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - used
        shown[name] = f"{seconds:.1f} s, {cpu:.1f} s of CPU"

    measured("this process")
    for workers in (1, 2):
        made, client = local(workers)
        with made, client:
            client.wait_for_workers(workers)
            measured(f"{workers} workers", client=client)
    with capsys.disabled():
        print("\n", shown)
