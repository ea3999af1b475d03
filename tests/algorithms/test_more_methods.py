"""Methods against simulators written in their own words: no code of ours but times.

Each simulator plays workers, server and iterates by itself, in NumPy, and asks the
package for nothing but how long each job takes.
"""

import dataclasses
import heapq
import itertools

import numpy as np
import pytest

import asgrad_jax as ag

N, D, A, GAMMA = 5, 4, 90, 0.03
PROBLEM = ag.quadratic(N, D, heterogeneity=1.0, seed=4)
algorithms = ag.algorithms
CLOCKS = {
    "fixed": ag.compute_times.fixed([1.0, 1.7, 2.3, 4.1, 9.7]),
    "exponential": ag.compute_times.exponential([1.0, 1.0, 2.0, 3.0, 8.0]),
    "pareto": ag.compute_times.pareto([1.0, 2.0, 3.0, 4.0, 5.0], alpha=1.5),
}


def gradient(i, x):
    return PROBLEM.hessian[i] @ x - PROBLEM.linear[i]


class Workers:
    """Jobs given to workers and the order in which they are done."""

    def __init__(self, clock, seed=3):
        self.durations = [clock.durations(i, seed, 0, 4 * A) for i in range(N)]
        self.count = [0] * N
        self.given = 0
        self.free = [0.0] * N
        self.heap = []

    def give(self, i, now, note):
        end = now + self.durations[i][self.count[i]]
        self.count[i] += 1
        heapq.heappush(self.heap, (end, self.given, i, note))
        self.given += 1

    def queue(self, i, now, note):
        """The same behind the jobs that the worker has."""
        self.give(i, max(now, self.free[i]), note)
        self.free[i] = max(end for end, _, j, _ in self.heap if j == i)

    def wait(self):
        end, _, i, note = heapq.heappop(self.heap)
        return end, i, note


def pure(clock, arrive, x):
    """Pure asynchronous SGD; `arrive(x, t, g, r, x_r)` returns the next iterate."""
    workers = Workers(clock)
    for i in range(N):
        workers.give(i, 0.0, (0, x))
    for t in range(A):
        now, i, (r, x_r) = workers.wait()
        x = arrive(x, t, gradient(i, x_r), r, x_r)
        workers.give(i, now, (t + 1, x))
    return x


def check(algorithm, clock, expected, **options):
    schedule = ag.simulate(algorithm, CLOCKS[clock], num_gradients=A, seed=3)
    compare(schedule, expected, waves=clock == "fixed", **options)
    return schedule


def compare(schedule, expected, problem=PROBLEM, waves=False, **options):
    # Waves on one of the compute times: each width and length is another program.
    for width in (1, 4) if waves else (1,):
        got = ag.run(
            problem,
            schedule,
            **dict(step_size=GAMMA) | options,
            record_every=A,
            precision="float64",
            width=width,
        )
        np.testing.assert_allclose(got.params, expected, rtol=1e-10, atol=1e-14)


@pytest.fixture(params=CLOCKS)
def clock(request):
    return request.param


START = np.zeros(D)


def weighted(weight):
    """Pure with gradients weighted by weight(t, tau, earlier weights)."""

    def play(clock):
        given = []

        def arrive(x, t, g, r, x_r):
            given.append(weight(t, t - r, given))
            return x - GAMMA * given[-1] * g

        return pure(clock, arrive, START)

    return play


def budget_2(t, tau, given):
    room = 1 - sum(given[t - tau : t])
    return 1 / (tau + 1) if 1 / (tau + 1) <= room + 1e-12 else 0.0


STEPS = {
    "wu_adaptive_1": weighted(
        lambda t, tau, given: 0.9 * max(1 - sum(given[t - tau : t]), 0)
    ),
    "wu_adaptive_2": weighted(budget_2),
    "adadelay": weighted(lambda t, tau, given: 1 / (1 + 0.1 * (t + 1 + tau) ** 0.5)),
    "inverse_delay": weighted(lambda t, tau, given: 1 / max(tau, 1)),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_from_delays(name, clock):
    check(name, clock, STEPS[name](CLOCKS[clock]))


def test_naive_momentum(clock):
    u = np.zeros(D)

    def arrive(x, t, g, r, x_r):
        nonlocal u
        u = 0.9 * u + g
        return x - GAMMA * u

    check("async_momentum", clock, pure(CLOCKS[clock], arrive, START))


def test_ordered_momentum(clock):
    """Every gradient's way is that of SGD with momentum that had it in its bucket."""
    beta, found = 0.8, []

    def arrive(x, t, g, r, x_r):
        found.append((-(-r // N), g))
        now = -(-t // N)
        ways = [sum(beta**j for j in range(now - b + 1)) * g for b, g in found]
        return START - GAMMA * np.sum(ways, axis=0)

    check(algorithms.ormo(beta), clock, pure(CLOCKS[clock], arrive, START))


@pytest.mark.parametrize(("block", "c"), [("all", 0.0), (3, 0.2), (1, 0.5)])
def test_delayed_nesterov(clock, block, c):
    beta, size = 0.9, N if block == "all" else block
    total, m = np.zeros(D), np.zeros(D)

    def arrive(x, t, g, r, x_r):
        nonlocal total, m
        total = total + g
        if (t + 1) % size:
            return x - GAMMA * (c * beta * m + g / size)
        m, total = beta * m + total / size, np.zeros(D)
        return x - GAMMA * ((1 - c * size + c) * beta * m + g / size)

    expected = pure(CLOCKS[clock], arrive, START)
    check(algorithms.delayed_nesterov(beta, c, block), clock, expected)


def test_constant_delay(clock):
    """Workers that get jobs in turn; their gradients are four steps old."""
    in_turn = algorithms.Algorithm(name="in_turn", order="cyclic")
    workers, history, times = Workers(CLOCKS[clock]), [START], []
    for i in range(N):
        workers.queue(i, 0.0, None)
    for t in range(A):
        now, i, _ = workers.wait()
        times.append(now)
        history.append(history[-1] - GAMMA * gradient(i, history[max(t - 4, 0)]))
        workers.queue(t % N, now, None)
    schedule = check(algorithms.constant_delay(4, in_turn), clock, history[-1])
    np.testing.assert_allclose(schedule.time, times, rtol=1e-12)
    # Left to itself it has the workers of random asynchronous SGD.
    options = dict(compute_times=CLOCKS[clock], num_gradients=A, seed=3)
    own = ag.simulate(algorithms.constant_delay(4), **options)
    inner = ag.simulate("random_async", **options)
    assert own.worker.tolist() == inner.worker.tolist()
    assert own.time.tolist() == inner.time.tolist()


def test_stale_synchronous(clock):
    workers, clocks, idle, x = Workers(CLOCKS[clock]), [0] * N, [], START
    for i in range(N):
        workers.give(i, 0.0, x)
    ahead = 0
    for _ in range(A):
        now, i, x_r = workers.wait()
        x = x - GAMMA * gradient(i, x_r)
        clocks[i] += 1
        idle.append(i)
        for j in list(idle):
            if clocks[j] - min(clocks) <= 2:
                idle.remove(j)
                workers.give(j, now, x)
        ahead = max(ahead, max(clocks) - min(clocks))
    assert ahead == 3
    check(algorithms.stale_synchronous(2), clock, x)


def buffered(clock, full):
    """Steps with the mean of a buffer once `full(buffer, now)` says so."""
    workers, buffer, x = Workers(CLOCKS[clock]), [], START
    for i in range(N):
        workers.give(i, 0.0, x)
    for _ in range(A):
        now, i, x_r = workers.wait()
        buffer.append((i, gradient(i, x_r)))
        if full(buffer):
            x = x - GAMMA * np.mean([g for _, g in buffer], axis=0)
            buffer = []
        workers.give(i, now, x)
    return x


def test_quorum(clock):
    expected = buffered(clock, lambda buffer: len({i for i, _ in buffer}) == 4)
    check(algorithms.quorum(4), clock, expected)


def test_k_batch_async(clock):
    expected = buffered(clock, lambda buffer: len(buffer) == 3)
    check(algorithms.k_batch_async(3), clock, expected)


def test_k_async(clock):
    workers, idle, x = Workers(CLOCKS[clock]), [], START
    for i in range(N):
        workers.give(i, 0.0, x)
    for _ in range(A):
        now, i, x_r = workers.wait()
        idle.append((i, gradient(i, x_r)))
        if len(idle) == 3:
            x = x - GAMMA * np.mean([g for _, g in idle], axis=0)
            for j, _ in idle:
                workers.give(j, now, x)
            idle = []
    check(algorithms.k_async(3), clock, x)


def played_once_shuffled(clock, permutation, size):
    """Returns who arrived and the last iterate, with one permutation for all jobs."""
    workers, x, arrived = Workers(clock), START, []
    order = itertools.cycle(permutation)
    now = 0.0
    while len(arrived) < A:
        for _ in range(size):
            workers.give(next(order), now, x)
        found = [workers.wait() for _ in range(size)]
        arrived += [i for _, i, _ in found]
        x = x - GAMMA * np.mean([gradient(i, x_r) for _, i, x_r in found], axis=0)
        now = found[-1][0]
    return arrived, x


def test_minibatch_shuffle_once(clock):
    """One of the permutations, and one alone, gives our arrivals."""
    algorithm = algorithms.minibatch_shuffle_once(3)
    schedule = ag.simulate(algorithm, CLOCKS[clock], num_gradients=A, seed=3)
    permutations = itertools.permutations(range(N))
    played = [played_once_shuffled(CLOCKS[clock], p, 3) for p in permutations]
    matching = [x for arrived, x in played if arrived == schedule.worker.tolist()]
    assert len(matching) == 1
    compare(schedule, matching[0])


def test_deadline(clock):
    """A server that looks at its watch: all arrivals up to a deadline, then a step."""
    period, workers, buffer, x = 2.5, Workers(CLOCKS[clock]), [], START
    for i in range(N):
        workers.give(i, 0.0, x)
    end, times = period, []
    for _ in range(A + 1):
        now, i, x_r = workers.wait()
        while now > end:
            if buffer:
                x = x - GAMMA * np.mean(buffer, axis=0)
                times.append(end)
                buffer = []
            end += period
        if _ == A:
            break
        buffer.append(gradient(i, x_r))
        workers.give(i, now, x)
    schedule = check(algorithms.deadline(period), clock, x)
    np.testing.assert_allclose(schedule.time[schedule.step], times)


def dc(x, t, g, r, x_r):
    return x - GAMMA * (g + 0.3 * g * g * (x - x_r))


def dc_adaptive():
    mean = np.zeros(D)

    def arrive(x, t, g, r, x_r):
        nonlocal mean
        mean = 0.95 * mean + 0.05 * g**2
        return x - GAMMA * (g + 2 / np.sqrt(mean + 1e-7) * g * g * (x - x_r))

    return arrive


def gap():
    mean = np.zeros(D)

    def arrive(x, t, g, r, x_r):
        nonlocal mean
        mean = 0.999 * mean + 0.001 * g**2
        size = GAMMA * (np.sqrt(mean / (1 - 0.999 ** (t + 1))) + 1e-8)
        return x - GAMMA * g / (1 + np.abs(x - x_r) / size)

    return arrive


def mixed(x, t, g, r, x_r):
    alpha = 0.6 / (1 + t - r) ** 0.5
    return (1 - alpha) * x + alpha * (x_r - GAMMA * g)


def polyak(x, t, g, r, x_r):
    loss = x_r @ PROBLEM.mean_hessian @ x_r / 2 - PROBLEM.mean_linear @ x_r
    return x - min(GAMMA, max(loss + 0.05, 0) / (g @ g)) * g


SERVERS = {
    "delayed_polyak": (algorithms.delayed_polyak(-0.05), lambda: polyak),
    "dc_asgd": (algorithms.dc_asgd(0.3), lambda: dc),
    "dc_asgd_adaptive": (algorithms.dc_asgd_adaptive(), dc_adaptive),
    "gap_aware": (algorithms.gap_aware(), gap),
    "fedasync": (algorithms.fedasync(), lambda: mixed),
}


@pytest.mark.parametrize("name", SERVERS)
def test_servers_of_methods(name, clock):
    algorithm, arrive = SERVERS[name]
    check(algorithm, clock, pure(CLOCKS[clock], arrive(), START))


def ringmaster(clock, threshold, arrive, x):
    """Pure, but gradients of a delay of threshold(v) and more do nothing."""
    workers, v, done = Workers(CLOCKS[clock]), 0, 0
    for i in range(N):
        workers.give(i, 0.0, (0, x))
    while done < A:
        now, i, (r, x_r) = workers.wait()
        if v - r < threshold(v):
            x = arrive(x, v, gradient(i, x_r))
            v, done = v + 1, done + 1
        workers.give(i, now, (v, x))
    return x


def averaged(alpha_of, scale_of):
    m = np.zeros(D)

    def arrive(x, v, g):
        nonlocal m
        m = alpha_of(v) * g + (1 - alpha_of(v)) * m
        return x - GAMMA * scale_of(v) * m / (np.linalg.norm(m) + 1e-10)

    return arrive


@pytest.mark.parametrize("name", ["ringmaster_normalised", "ringmaster_muon"])
def test_ringmaster_with_momentum(name, clock):
    arrive = averaged(lambda v: 0.3, lambda v: 1)
    expected = ringmaster(clock, lambda v: 4, arrive, START)
    check(getattr(algorithms, name)(4, alpha=0.3), clock, expected)


def test_ringmaster_without_parameters(clock):
    arrive = averaged(lambda v: max(v, 1) ** -0.5, lambda v: (v + 1) ** -0.75)
    expected = ringmaster(clock, lambda v: max(1, int(v**0.5)), arrive, START)
    check("ringmaster_agnostic", clock, expected)


@pytest.mark.parametrize("adaptive", [False, True])
def test_fadas(clock, adaptive):
    """Workers in turn instead of drawn ones; FedBuff's buffer is played here."""
    name = "fadas_delay_adaptive" if adaptive else "fadas"
    step, size = 0.4, 3
    algorithm = dataclasses.replace(getattr(algorithms, name)(size), order="cyclic")
    workers, buffer, x, steps = Workers(CLOCKS[clock]), [], START, 0
    m, v, most = 0.0, 0.0, 0.0
    for i in range(N):
        workers.queue(i, 0.0, (0, x))
    for t in range(A):
        now, i, (r, x_r) = workers.wait()
        buffer.append((steps - r, gradient(i, x_r)))
        if len(buffer) == size:
            mean = np.mean([g for _, g in buffer], axis=0)
            m, v = 0.9 * m + 0.1 * mean, 0.99 * v + 0.01 * mean**2
            most = np.maximum(most, v)
            oldest = max(delay for delay, _ in buffer)
            late = adaptive and oldest > 1
            eta = min(step, 1 / oldest) if late else step
            x = x - eta * m / (np.sqrt(most) + 1e-8)
            steps, buffer = steps + 1, []
        workers.queue(t % N, now, (steps, x))
    check(algorithm, clock, x, step_size=step)
    # Left to itself it has FedBuff's rows.
    options = dict(compute_times=CLOCKS[clock], num_gradients=A, seed=3)
    own = ag.simulate(getattr(algorithms, name)(size), **options)
    inner = ag.simulate(algorithms.fedbuff(size), **options)
    for key in ("worker", "job", "read", "step", "time", "weight"):
        assert getattr(own, key).tolist() == getattr(inner, key).tolist(), key


def test_async_local(clock):
    """Three local steps as in the server's own, under a threshold of three."""
    times = ag.compute_times.repeated(CLOCKS[clock], 3)
    workers, x, v, done = Workers(times), START, 0, 0
    for i in range(N):
        workers.give(i, 0.0, (0, x))
    while done < A:
        now, i, (r, y) = workers.wait()
        if v - r < 3:
            total = np.zeros(D)
            for _ in range(3):
                g = gradient(i, y)
                y, total = y - GAMMA * g, total + g
            x, v, done = x - GAMMA * total, v + 1, done + 1
        workers.give(i, now, (v, x))
    algorithm = algorithms.async_local(3)
    schedule = ag.simulate(algorithm, times, num_gradients=A, seed=3)
    compare(schedule, x, problem=ag.local_steps(PROBLEM, 3, GAMMA))
