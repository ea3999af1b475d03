"""From a job's start and its work to its end, for workers whose speed is not constant.

A job carries an amount of work, in seconds at power 1. How long it takes depends on the
speed of its worker: steady (the work is the duration), whole ticks (the server looks at
its workers once per tick), or a power v_i(t) >= 0 that is constant piece by piece.
"""

import numpy as np

from asgrad_jax._util.jit import njit

STEADY = 0
TICKS = 1
VARYING = 2


@njit
def end_time(speed, period, pieces, piece_offset, worker, start, work):
    """Returns when a job of `worker` that starts at `start` has done its `work`.

    The earliest t, in seconds, with int_start^t v_i(s) ds >= work; inf if never.

    Args:
        speed: one of the constants above.
        period: seconds after which the powers repeat; inf: the last one stays.
        pieces: float64 [P, 2], time from which a power holds, and that power; the first
            time of every worker is 0.
        piece_offset: int64 [n + 1], bounds of a worker's pieces.
        worker: 0..n-1.
        start: seconds, >= 0.
        work: seconds at power 1, >= 0; inf never ends.
    """
    if speed == STEADY:
        return start + work
    if speed == TICKS:
        return np.ceil(start) + work
    if not (work > 0.0 and work < np.inf):
        return start + work
    first, last = piece_offset[worker], piece_offset[worker + 1]
    base = 0.0  # start of the current period
    if period < np.inf:
        base = np.floor(start / period) * period
    # The last piece that has begun by the start.
    low, high = first, last
    while high - low > 1:
        middle = (low + high) // 2
        if base + pieces[middle, 0] <= start:
            low = middle
        else:
            high = middle
    piece, now, left = low, start, work
    skipped = False
    while True:
        power = pieces[piece, 1]
        until = base + period if piece + 1 == last else base + pieces[piece + 1, 0]
        done = power * max(until - now, 0.0) if power > 0.0 else 0.0
        if power > 0.0 and left <= done:
            return now + left / power
        if until == np.inf:
            return np.inf
        left -= done
        now = max(now, until)
        piece += 1
        if piece == last:
            piece = first
            base += period
            if not skipped:
                # Whole periods at once; one is kept, so that rounding cannot overshoot.
                skipped = True
                total = 0.0
                for j in range(first, last):
                    end = period if j + 1 == last else pieces[j + 1, 0]
                    total += pieces[j, 1] * (end - pieces[j, 0])
                if not total > 0.0:
                    return np.inf
                periods = np.floor(left / total) - 1.0
                if periods > 0.0:
                    left -= periods * total
                    base += periods * period
                    now = base
