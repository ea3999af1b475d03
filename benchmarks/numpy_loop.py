"""The strongest NumPy baseline: what a careful researcher writes today."""

import heapq
import itertools
from collections import deque

import numpy as np


def numpy_event_loop(
    features,
    labels,
    durations,
    *,
    step_sizes,
    num_gradients,
    order="same",
    seed=0,
    strength=0.1,
    log=None,
):
    """Asynchronous SGD as a tight NumPy loop: a heap of jobs, gradients at arrival.

    What a careful researcher writes today, and the baseline of the benchmarks. All
    step sizes go through one loop, as rows of X.

    Args:
        features: [n, m, d], the shards.
        labels: [n, m] in {-1, +1}.
        durations: [n, J] seconds, the k-th job of worker i lasts durations[i, k % J].
        step_sizes: [S].
        num_gradients: arrivals.
        order: "same", "random" or "shuffled".
        seed: of the order.
        strength: of the nonconvex regulariser.
        log: a list that gets a (worker, read version) pair per arrival.

    Returns:
        The last iterates [S, d].
    """
    n, m, d = features.shape
    shards = [np.ascontiguousarray(shard) for shard in features]
    transposed = [np.ascontiguousarray(shard.T) for shard in features]
    signs = list(labels)
    scaled = [-sign / features.dtype.type(m) for sign in labels]
    seconds = durations.tolist()
    period = len(seconds[0])
    rng = np.random.default_rng(seed)
    steps = np.asarray(step_sizes, features.dtype)[:, None]
    two = features.dtype.type(2 * strength)

    if order == "random":
        picks = iter(rng.integers(0, n, num_gradients).tolist())
    elif order == "shuffled":
        blocks = -(-num_gradients // n)
        picks = itertools.chain.from_iterable(
            rng.permutation(n).tolist() for _ in range(blocks)
        )
    else:
        picks = None

    x = np.ones((len(steps), d), features.dtype)
    heap = [(seconds[i][0], i, i, x, 0) for i in range(n)]
    heapq.heapify(heap)
    done = [0] * n
    queues = [deque() for _ in range(n)]
    busy = [True] * n
    for a in range(num_gradients):
        now, _, i, read, version = heapq.heappop(heap)
        if log is not None:
            log.append((i, version))
        z = read @ transposed[i]
        z *= signs[i]
        np.exp(z, out=z)
        z += 1
        np.divide(scaled[i], z, out=z)
        g = z @ shards[i]
        # 2 x / (1 + x^2)^2, in place: temporaries cost as much as the arithmetic here.
        q = read * read
        q += 1
        q *= q
        np.divide(read, q, out=q)
        q *= two
        g += q
        g *= steps
        x = x - g
        done[i] += 1
        busy[i] = False
        if queues[i]:
            job = queues[i].popleft()
            heapq.heappush(heap, (now + seconds[i][done[i] % period], *job))
            busy[i] = True
        j = i if picks is None else next(picks)
        if busy[j]:
            queues[j].append((n + a, j, x, a + 1))
        else:
            heapq.heappush(
                heap, (now + seconds[j][done[j] % period], n + a, j, x, a + 1)
            )
            busy[j] = True
    return x
