"""Mini-batches as functions of (key, worker, job) alone.

Rows without repetition come from a keyed bijection of 0..count-1, evaluated only at the
positions that a batch needs. `jax.random.permutation` or `choice` would sort the whole
shard for every batch, which costs some fifty times more inside a scan.
"""

import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax._util.checks import check_choice, check_count
from asgrad_jax._util.settings import draws
from asgrad_jax.problems.problem import GradientCost, SampledProblem, num_params

Sampling = Literal["without_replacement", "with_replacement", "reshuffled"]

# After r rounds a pair of positions is distributed uniformly up to about 2^-r.
_ROUNDS = 16

# Numbers that are sampled ahead in a call, at most; and arrivals that are sampled
# together, which bounds the room for intermediate results.
_MOST_PRESAMPLED, _SAMPLED_TOGETHER = 2**21, 4096


def minibatch_key(seed: int) -> np.ndarray:
    """Returns the threefry key of a run's noise, for `jax.random.wrap_key_data`.

    Args:
        seed: non-negative integer of any size.

    Example:
        >>> minibatch_key(0).shape, minibatch_key(0).dtype
        ((2,), dtype('uint32'))
    """
    # The first word keeps the noise apart from the compute times of the same seed.
    return np.random.SeedSequence([0x6E6F6973, seed]).generate_state(2, np.uint32)


def check_batch(batch_size: int | None, counts, *, how: str) -> int | None:
    """Returns `batch_size` as Python's int or None (full local gradients); or raises.

    A shard may have fewer rows than a batch: without replacement and in epochs its
    batches are all of its rows, see `batch_indices`.

    Args:
        batch_size: rows per mini-batch, or None.
        counts: integers [n], rows of each shard.
        how: name of the sampling rule.

    Example:
        >>> check_batch(5, [10, 4], how="reshuffled")
        5
    """
    check_choice("sampling", how, get_args(Sampling))
    if batch_size is None:
        return None
    full = " or None (full local gradients)"
    batch_size = check_count("batch_size", batch_size, other=full)
    most, all_rows = int(max(counts)), int(np.sum(counts, dtype=np.int64))
    if batch_size > all_rows:
        raise ValueError(
            f"batch_size must be at most {all_rows}, the rows of all workers, or None "
            f"(full local gradients), got {batch_size}"
        )
    if how == "reshuffled" and min(batch_size, most) * most >= 2**31:
        raise ValueError(
            f"batch_size times the rows of the largest shard ({most}) must be below "
            f"2**31 for sampling='reshuffled', got batch_size={batch_size}"
        )
    return batch_size


def batch_indices(
    key: jax.Array,
    worker: jax.Array,
    job: jax.Array,
    *,
    batch_size: int,
    count: jax.Array,
    how: Sampling,
) -> jax.Array:
    """Row numbers of one mini-batch within its worker's shard.

    `with_replacement`: independent uniform rows. `without_replacement`: a uniform
    subset, fresh for every job. `reshuffled`: job k takes positions kb..kb+b-1 of an
    endless sequence of epochs; every epoch is a fresh permutation of the shard, so each
    row is used exactly once per epoch (a batch may straddle two epochs).

    A shard with m_i < b rows has only so many to give without repetition: for the last
    two rules the first min(b, m_i) entries are the batch, and those behind them repeat
    its last row and do not count.

    The permutation is a swap-or-not shuffle (Hoang, Morris, Rogaway, CRYPTO 2012): in
    each round position x is exchanged with K - x mod count, or not, by one hashed bit
    that both partners share. It is a bijection for every count, needs no rejection loop
    (so it stays cheap under `vmap` and on a GPU) and costs the same for every shard.
    The rows are int32 [b], the same in float32 and float64 runs.

    Args:
        key: random key of the run. Not consumed: folded with worker and job (epoch).
        worker: int32 scalar.
        job: int32 scalar >= 0, the worker's job number.
        batch_size: b, static.
        count: int32 scalar m_i, rows of the worker's shard; may be traced.
        how: the rule, static.

    Example:
        >>> import jax
        >>> rows = batch_indices(jax.random.key(0), 3, 0, batch_size=5, count=5,
        ...                      how="without_replacement")
        >>> sorted(rows.tolist())
        [0, 1, 2, 3, 4]
    """
    key = jax.random.fold_in(key, worker)
    # The barrier hides a constant count from XLA: its CPU compiler fails on count = 1.
    count = jax.lax.optimization_barrier(jnp.asarray(count, jnp.int32))
    if how == "with_replacement":
        return _below(_words(jax.random.fold_in(key, job), batch_size), count)
    size = jnp.minimum(batch_size, count)
    position = jnp.minimum(jnp.arange(batch_size, dtype=jnp.int32), size - 1)
    if how == "without_replacement":
        return _permute(position, count, _words(jax.random.fold_in(key, job)))
    # job = q * count + r, so that job * size is never formed: it would overflow.
    job = jnp.asarray(job, jnp.int32)
    position = (job % count) * size + position
    epoch = (job // count) * size + position // count
    first = epoch[0]
    words = jax.vmap(lambda e: _words(jax.random.fold_in(key, e)), out_axes=1)(
        jnp.stack([first, first + 1])
    )
    later = epoch - first  # 0 or 1, because size <= count
    return _permute(position % count, count, words[:, later])


class MiniBatches(SampledProblem):
    """Base for problems whose samples are rows of the worker's own shard.

    A subclass has `batch_size`, b or None for full gradients, `sampling`, a rule of
    `batch_indices`, and what `split_rows` found: `counts`, `row_weight`, `row_starts`,
    `scale` and `shard_rows`, see `RowSplit`.
    """

    @property
    def weights(self: Any) -> np.ndarray | jax.Array | None:
        """The w_i of f = sum_i w_i f_i, [n]; None where all are 1/n."""
        return None if self.scale is None else self.scale / self.num_workers

    @property
    def independent_noise(self: Any) -> bool:
        """Whether a worker's batches are independent: those of an epoch are not."""
        return self.batch_size is None or self.sampling != "reshuffled"

    def cost(self: Any, lanes: int) -> GradientCost:
        """What a gradient takes that multiplies its rows with all parameters."""
        shard = np.size(self.row_weight) / self.num_workers
        rows = min(self.batch_size or shard, shard)
        numbers = sum(map(np.size, jax.tree.leaves(self))) / self.num_workers
        data = numbers * rows / shard
        return GradientCost(
            multiplications=lanes * max(data, rows * num_params(self)),
            data=data,
            rows=math.ceil(rows),
            scattered=self.batch_size is not None,
        )

    def sample(
        self: Any, worker: jax.Array, job: jax.Array, key: jax.Array
    ) -> jax.Array | None:
        """The rows of a mini-batch, int32 [b]; None for full gradients."""
        if self.batch_size is None:
            return None
        return batch_indices(
            key,
            worker,
            job,
            batch_size=self.picks,
            count=jnp.asarray(self.counts)[worker],
            how=self.sampling,
        )

    @property
    def picks(self: Any) -> int:
        """Entries of a sample: b, or what the largest shard has without repetition."""
        if self.sampling == "with_replacement":
            return self.batch_size
        return min(self.batch_size, self.shard_rows)

    def num_counted(self: Any, worker: jax.Array) -> jax.Array | None:
        """How many entries of a sample count, int32; None where always all of them."""
        if self.batch_size is None or not self.short_batches:
            return None
        return jnp.minimum(self.picks, jnp.asarray(self.counts)[worker])


def _permute(position: jax.Array, count: jax.Array, words: jax.Array) -> jax.Array:
    """Images of `position` int32 [b] under the permutation of 0..count-1 that `words`
    uint32 [2 * rounds] (or [2 * rounds, b]: one for each position) name."""
    swaps = _below(words[:_ROUNDS], count)
    for swap, word in zip(swaps, words[_ROUNDS:], strict=True):
        partner = swap - position
        partner = jnp.where(partner < 0, partner + count, partner)
        shared = jnp.maximum(position, partner).astype(jnp.uint32)
        position = jnp.where(_mix(shared ^ word) >> 31 != 0, partner, position)
    return position


def _below(bits: jax.Array, count: jax.Array) -> jax.Array:
    """Uniform integers in 0..count-1 from 32 random bits each.

    The remainder favours small numbers by a factor of at most 1 + count / 2^32, which
    no run can see; `jax.random.randint` avoids it at several times the cost.
    """
    return (bits % count.astype(jnp.uint32)).astype(jnp.int32)


def _words(key: jax.Array, size: int = 2 * _ROUNDS) -> jax.Array:
    """Random uint32 [size]: hashed counters, seeded with one block of the key's stream.

    Measured inside a scan, drawing every word from the key costs twice as much.
    """
    with draws():
        seed = jax.random.bits(key, (2,), dtype=jnp.uint32)
    counter = jnp.arange(size, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)
    return _mix(_mix(counter + seed[0]) ^ seed[1])


def _mix(value: jax.Array) -> jax.Array:
    """A 32-bit integer hash: xor-shifts and odd multipliers, a bijection of uint32."""
    value = (value ^ (value >> 16)) * jnp.uint32(0x21F0AAAD)
    value = (value ^ (value >> 15)) * jnp.uint32(0xD35A2D97)
    return value ^ (value >> 15)


def waves_presampled(
    problem: Any, key: jax.Array, worker: jax.Array, job: jax.Array, *, schedules: int
) -> int:
    """Returns how many waves can be sampled together, in equal parts of all waves.

    It is a divisor of N; N if all fit, or if nothing is random.

    Args:
        problem: any problem.
        key: the run's random key.
        worker, job: int32 [N, W], whose data and their job numbers.
        schedules: of the call, which share the room.

    Example:
        >>> import numpy as np
        >>> from asgrad_jax.problems.logistic import logistic_regression
        >>> problem = logistic_regression(np.eye(4), [1, -1, 1, -1], 2, batch_size=2)
        >>> columns = np.zeros((2**21, 1), np.int32), np.ones((2**21, 1), np.int32)
        >>> waves_presampled(problem, jax.random.key(0), *columns, schedules=1)
        1048576
    """
    waves, width = worker.shape
    each = _sample_size(problem, key, worker, job) * width * schedules
    if each * waves <= _MOST_PRESAMPLED:
        return waves
    fit = max(1, _MOST_PRESAMPLED // each)
    return next(part for part in range(fit, 0, -1) if waves % part == 0)


def _sample_size(problem: Any, key, worker, job) -> int:
    """Returns how many numbers the sample of one arrival has."""
    one = (jax.ShapeDtypeStruct((), x.dtype) for x in (worker, job))
    shapes = jax.eval_shape(problem.sample, *one, key)
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def presample(
    problem: Any, key: jax.Array, worker: jax.Array, job: jax.Array, *, schedules: int
) -> Any:
    """The samples of these arrivals, leaves [..., *], if there is room for them.

    None if nothing is random, or if it is too much; fewer arrivals may fit. Arguments
    are those of `waves_presampled`, worker and job int32 [...].

    Example:
        >>> import numpy as np
        >>> from asgrad_jax.problems.logistic import logistic_regression
        >>> problem = logistic_regression(np.eye(4), [1, -1, 1, -1], 2, batch_size=1)
        >>> columns = jax.numpy.zeros((2, 5, 3), int), jax.numpy.ones((2, 5, 3), int)
        >>> presample(problem, jax.random.key(0), *columns, schedules=1).shape
        (2, 5, 3, 1)
    """
    each = _sample_size(problem, key, worker, job)
    if not 0 < each * worker.size * schedules <= _MOST_PRESAMPLED:
        return None

    def one(arrival):
        return problem.sample(*arrival, key)

    arrivals = worker.reshape(-1), job.reshape(-1)
    if worker.size <= _SAMPLED_TOGETHER:
        samples = jax.vmap(one)(arrivals)
    else:
        samples = jax.lax.map(one, arrivals, batch_size=_SAMPLED_TOGETHER)
    return jax.tree.map(lambda x: x.reshape(*worker.shape, *x.shape[1:]), samples)
