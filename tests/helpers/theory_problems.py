"""Random problems, schedules and step sizes on which the theorem must hold."""

from dataclasses import dataclass, replace

import numpy as np

from asgrad_jax.theory import measures
from asgrad_jax.theory.assignment import Assignment, assignment_order
from asgrad_jax.theory.bounds import own_theorem as theorem
from asgrad_jax.theory.bounds.own_proof import proof_inequalities
from helpers.theory_cases import HandSchedule, simulate, speeds


@dataclass
class Case:
    """Quadratics f_i = x'H_i x/2 - b_i'x, a schedule, and how to run it."""

    hessians: np.ndarray  # [n, d, d]
    linear: np.ndarray  # [n, d]
    start: np.ndarray  # [d]
    noise: float  # sigma
    schedule: HandSchedule
    jobs: Assignment  # the first T' of the schedule
    chunk_length: int
    step_fraction: float  # of the largest step size the theorem allows
    label: str

    @property
    def smoothness(self):
        return float(np.abs(np.linalg.eigvalsh(self.hessians)).max())

    @property
    def gap(self):
        mean, b = self.hessians.mean(0), self.linear.mean(0)
        x = self.start - np.linalg.lstsq(mean, b, rcond=None)[0]
        return max(float(x @ mean @ x) / 2, 0.0)

    @property
    def step_size(self):
        return self.step_fraction * theorem.largest_step_size(
            self.smoothness,
            concurrency=self.jobs.concurrency,
            flight_max=self.jobs.flight_max,
            chunk_length=self.chunk_length,
        )

    def local_gradients(self, points):
        return np.einsum("nij,pj->pni", self.hessians, points) - self.linear

    def run(self, seed):
        """One run; the measures of its first T' jobs."""
        s, rng = self.schedule, np.random.default_rng(seed)
        d = self.start.size
        rows = len(s.worker)
        x, pending = self.start.copy(), np.zeros(d)
        versions, gradients = [x], np.empty((rows + len(s.in_flight_worker), d))
        scale = self.noise / np.sqrt(d)
        worker = np.append(s.worker, s.in_flight_worker)
        read = np.append(s.read, s.in_flight_read)
        noise = rng.normal(size=gradients.shape) * scale
        for a in range(len(worker)):
            g = self.hessians[worker[a]] @ versions[read[a]] - self.linear[worker[a]]
            gradients[a] = g + noise[a]
            if a < rows:
                pending = pending + gradients[a]
                if s.step[a]:
                    x = x - self.step_size * pending
                    versions.append(x)
                    pending = np.zeros(d)
        with np.errstate(over="ignore", invalid="ignore"):  # wrong constants diverge
            return measures.measure(
                self.jobs,
                gradients[self.jobs.row],
                self.start,
                step_size=self.step_size,
                chunk_length=self.chunk_length,
                local_gradients=self.local_gradients,
            )

    def measured(self, replicates):
        count = replicates if self.noise else 1
        return measures.average([self.run(seed) for seed in range(count)])

    def bound(self, found):
        return theorem.theorem_bound(
            self.step_size,
            self.jobs.num_jobs,
            smoothness=self.smoothness,
            gap=self.gap,
            noise_sq=self.noise**2,
            chunk_length=self.chunk_length,
            chunk_sq=found.chunk_sq,
            partial_sq=found.partial_sq,
            in_flight_sq=found.in_flight_sq,
        )

    def holds(self, found):
        """Whether the theorem's inequality is true; a diverged run breaks it."""
        if not np.isfinite(found.grad_sq + found.partial_sq + found.in_flight_sq):
            return False
        return found.grad_sq <= self.bound(found).total * (1 + 1e-12) + 1e-18

    def inequalities(self, found):
        return proof_inequalities(
            found,
            step_size=self.step_size,
            smoothness=self.smoothness,
            gap=self.gap,
            noise_sq=self.noise**2,
            chunk_length=self.chunk_length,
            num_jobs=self.jobs.num_jobs,
            concurrency=self.jobs.concurrency,
            flight_max=self.jobs.flight_max,
        )


def random_case(seed):
    """A case drawn from everything the theorem should cover."""
    rng = np.random.default_rng([seed, 2024])
    special = (adversarial_case, delayed_case, sequential_case, biased_case, noisy_case)
    kind = seed % 16
    return special[kind](rng) if kind < len(special) else ordinary_case(rng)


def ordinary_case(rng):
    n, d = int(rng.integers(2, 13)), int(rng.integers(1, 9))
    hessian_kind = rng.choice(["convex", "indefinite", "equal", "ill"])
    speed_kind = rng.choice(["equal", "linear", "sqrt", "straggler", "geometric"])
    law = rng.choice(["fixed", "exponential", "half_normal", "pareto", "uniform"])
    method = rng.choice(["pure", "random", "shuffled", "cyclic"])
    b = int(rng.choice([1, 1, 1, 2, n]))
    rows = int(rng.integers(2, 400))
    schedule = simulate(
        method,
        speeds(speed_kind, n, rng),
        rows,
        law=law,
        gradients_per_step=min(b, n),
        seed=rng,
    )
    hessians = random_hessians(hessian_kind, n, d, rng)
    linear = rng.normal(size=(n, d)) * 10 ** rng.uniform(-2, 1)
    if rng.random() < 0.3:  # nothing but heterogeneity: start at the optimum
        distance = 0.0
    else:
        distance = 10 ** rng.uniform(-2, 1)
    optimum = np.linalg.solve(hessians.mean(0), linear.mean(0))
    start = optimum + distance * rng.normal(size=d)
    jobs = assignment_order(schedule)
    total = jobs.num_jobs
    chunk_length = int(
        rng.choice([total, max(1, total // 2), min(n, total), 1, min(3 * n, total)])
    )
    return Case(
        hessians=hessians,
        linear=linear,
        start=start,
        noise=float(rng.choice([0.0, 0.0, 0.0, 0.1, 1.0])),
        schedule=schedule,
        jobs=jobs.first(total // chunk_length * chunk_length),
        chunk_length=chunk_length,
        step_fraction=float(rng.choice([1.0, 0.5, 0.1, 0.01])),
        label=f"{method}/{law}/{speed_kind}/b {b}/{hessian_kind}/n {n}/d {d}",
    )


def random_hessians(kind, n, d, rng):
    def spd(low, high):
        q = np.linalg.qr(rng.normal(size=(d, d)))[0]
        return (q * 10 ** rng.uniform(low, high, d)) @ q.T

    if kind == "equal":
        return np.repeat(spd(-1, 0)[None], n, axis=0)
    if kind == "ill":
        return np.stack([spd(-4, 0) for _ in range(n)])
    if kind == "convex":
        return np.stack([spd(-1, 0) for _ in range(n)])
    tilt = rng.normal(size=(n, d, d))
    tilt = tilt + tilt.transpose(0, 2, 1)
    return spd(-1, 0) + tilt - tilt.mean(axis=0)  # indefinite, their mean is not


def adversarial_case(rng):
    """Starts at the optimum and is driven away by the order alone.

    Four groups of `a` jobs: 2a push up and arrive at once, a push down and stay in
    flight nearly to the end, idle jobs (zero gradient at the optimum) fill the run,
    then the last a push down. All sums over the one chunk cancel, so C = 0, while the
    iterate sits 2a steps away from the optimum for most of the run: the bound has
    nothing but 71 L^2 gamma^2 (S^2 + nu^2) to hold with.
    """
    a = int(rng.integers(1, 4))
    idle = int(rng.integers(60, 200)) * a
    # Assignment order: a down (late), 2a up, idle, a down; job j reads the version
    # current then, and every row steps.
    rows = [(1, v) for v in range(2 * a)]  # up: worker 1
    version = 2 * a
    rows += [(2, version + k) for k in range(idle)]
    version += idle
    rows += [(0, version + k) for k in range(a)]
    rows += [(0, 0)] * a  # the late ones, assigned first
    worker, read = np.array(rows, np.int32).T
    schedule = HandSchedule(
        worker=worker,
        read=read,
        step=np.ones(len(rows), bool),
        weight=np.ones(len(rows)),
        in_flight_worker=np.zeros(0, np.int32),
        in_flight_read=np.zeros(0, np.int32),
        num_workers=3,
    )
    jobs = assignment_order(schedule)
    scale = 10 ** rng.uniform(-1, 1)
    return Case(
        hessians=np.ones((3, 1, 1)),
        linear=scale * np.array([[-1.0], [1.0], [0.0]]),
        start=np.zeros(1),
        noise=0.0,
        schedule=schedule,
        jobs=jobs,
        chunk_length=jobs.num_jobs,
        step_fraction=1.0,
        label=f"adversarial, a {a}, idle {idle}",
    )


def delayed_case(rng):
    """Many equal workers and one objective: too large a step times delay diverges."""
    n = int(rng.integers(20, 50))
    schedule = simulate("pure", np.ones(n), 10 * n, seed=rng)
    jobs = assignment_order(schedule)
    return Case(
        hessians=np.ones((n, 1, 1)),
        linear=np.zeros((n, 1)),
        start=np.ones(1),
        noise=0.0,
        schedule=schedule,
        jobs=jobs,
        chunk_length=1,
        step_fraction=float(rng.choice([1.0, 0.5])),
        label=f"delayed, n {n}",
    )


def biased_case(rng):
    """One of two workers does all the work, and the run starts at its optimum."""
    rows = int(rng.integers(1500, 2500))
    schedule = sequential_schedule(np.zeros(rows, np.int32), 2)
    linear = 10 ** rng.uniform(-1, 1) * np.array([[1.0], [-1.0]])
    return Case(
        hessians=np.ones((2, 1, 1)),
        linear=linear,
        start=linear[0],
        noise=0.0,
        schedule=schedule,
        jobs=assignment_order(schedule),
        chunk_length=1,
        step_fraction=0.1,
        label="biased",
    )


def noisy_case(rng):
    """Starts at the optimum: only the noise drives it."""
    rows = int(rng.integers(300, 600))
    schedule = sequential_schedule(np.zeros(rows, np.int32), 1)
    return Case(
        hessians=np.ones((1, 1, 1)),
        linear=np.zeros((1, 1)),
        start=np.zeros(1),
        noise=10 ** rng.uniform(-1, 1),
        schedule=schedule,
        jobs=assignment_order(schedule),
        chunk_length=1,
        step_fraction=1.0,
        label="noisy",
    )


def sequential_case(rng):
    """An ordinary problem without delays and with the largest step size."""
    case = ordinary_case(rng)
    schedule = sequential_schedule(case.schedule.worker, len(case.linear))
    jobs = assignment_order(schedule)
    return replace(
        case, schedule=schedule, jobs=jobs, chunk_length=1, step_fraction=1.0
    )


def sequential_schedule(worker, num_workers):
    rows = len(worker)
    return HandSchedule(
        worker=worker,
        read=np.arange(rows, dtype=np.int32),
        step=np.ones(rows, bool),
        weight=np.ones(rows),
        in_flight_worker=np.zeros(0, np.int32),
        in_flight_read=np.zeros(0, np.int32),
        num_workers=num_workers,
    )
