"""Schedules of the methods written by hand, with a comment per row.

Rows: worker, job, read, step, time, computed, weight. "w1 d2 r3 ->7" is job 2 of
worker 1, given at version 3, which ends at time 7.
"""

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax._util import counter_rng
from asgrad_jax.simulation.reference import worker_order
from helpers.schedule_makers import Listed

algorithms = ag.algorithms
HALF, THIRD, FOURTH = 1 / 2, 1 / 3, 1 / 4


def fixed(*mean):
    return ag.compute_times.fixed(mean)


# R = 2. Start: w0 d0 r0 ->1, w1 d0 r0 ->1.5.
RINGMASTER_STOPS = [
    (0, 0, 0, 1, 1.0, 1, 1),  # version 1, w1 has delay 1; w0 d1 r1 ->2
    (1, 0, 0, 1, 1.5, 2, 1),  # version 2, w0 has delay 1; w1 d1 r2 ->3
    (0, 1, 1, 1, 2.0, 3, 1),  # version 3, w1 has delay 1; w0 d2 r3 ->3
    (1, 1, 2, 1, 3.0, 4, 1),  # tie, assigned first; version 4; w1 d2 r4 ->4.5
    (0, 2, 3, 1, 3.0, 5, 1),  # version 5, w1 has delay 1; w0 d3 r5 ->4
    (0, 3, 5, 1, 4.0, 6, 1),  # version 6, w1 reaches 2: stop; w0 d4 ->5, w1 d3 ->5.5
    (0, 4, 6, 1, 5.0, 7, 1),  # version 7; w0 d5 r7 ->6
    (1, 3, 6, 1, 5.5, 8, 1),  # delay 1; version 8; w1 d4 r8 ->7
    (0, 5, 7, 1, 6.0, 9, 1),  # delay 1; version 9; w0 d6 r9 ->7
    (1, 4, 8, 1, 7.0, 10, 1),  # tie, assigned first; version 10; w1 d5 r10
]

# sigma^2 / eps = 3 and tau = 10, 2, 1: m = 1, 2, 3 cost 4, 10/3, 15/4, so w1 and w2.
NAIVE_OPTIMAL = [
    (2, 0, 0, 1, 1.0, 1, 1),  # version 1; w2 d1 r1 ->2
    (1, 0, 0, 1, 2.0, 2, 1),  # tie, assigned first; version 2; w1 d1 r2 ->4
    (2, 1, 1, 1, 2.0, 3, 1),  # version 3; w2 d2 r3 ->3
    (2, 2, 3, 1, 3.0, 4, 1),  # version 4; w2 d3 r4 ->4
    (1, 1, 2, 1, 4.0, 5, 1),  # tie, assigned first; version 5; w1 d2 r5 ->6
    (2, 3, 4, 1, 4.0, 6, 1),  # version 6; w2 d4 r6 ->5
    (2, 4, 6, 1, 5.0, 7, 1),  # version 7; w2 d5 r7 ->6
    (1, 2, 5, 1, 6.0, 8, 1),  # tie, assigned first; version 8; w0 never works
]

# Pure at 1 and 3 seconds: p = 3/4, 1/4, so w_0 = 2/3 and w_1 = 2.
RESCALED = [
    (0, 0, 0, 1, 1.0, 1, 2 / 3),
    (0, 1, 1, 1, 2.0, 2, 2 / 3),
    (1, 0, 0, 1, 3.0, 3, 2),  # tie, assigned first
    (0, 2, 2, 1, 3.0, 4, 2 / 3),
    (0, 3, 4, 1, 4.0, 5, 2 / 3),
    (0, 4, 5, 1, 5.0, 6, 2 / 3),
    (1, 1, 3, 1, 6.0, 7, 2),  # tie, assigned first
    (0, 5, 6, 1, 6.0, 8, 2 / 3),
]

# The same with t / (2 c_i).
MEASURED = [
    (*row[:6], weight)
    for row, weight in zip(
        RESCALED,
        [
            1 / 2,  # first of 1
            2 / 4,  # second of 2
            3 / 2,  # w1's first of 3
            4 / 6,  # w0's third of 4
            5 / 8,
            6 / 10,
            7 / 4,  # w1's second of 7
            8 / 12,
        ],
        strict=True,
    )
]

# p = 1/4, 3/4, m = 3; picks 0, 1, 1 to start: w0 d0 ->1, w1 d0 ->2, w1 d1 queue; then
# 1, 0, 1, 1, 0, 1, 1, 1. Weights 1 / (2 p): 2 and 2/3.
ROUTED = [
    (0, 0, 0, 1, 1.0, 1, 2),  # version 1; pick 1: w1 d2 r1 queue; w0 idles
    (1, 0, 0, 1, 2.0, 2, 2 / 3),  # version 2; d1 starts ->4; pick 0: w0 d1 r2 ->3
    (0, 1, 2, 1, 3.0, 3, 2),  # version 3; pick 1: w1 d3 r3 queue
    (1, 1, 0, 1, 4.0, 4, 2 / 3),  # delay 3; d2 ->6; pick 1: w1 d4 r4 queue
    (1, 2, 1, 1, 6.0, 5, 2 / 3),  # delay 3; d3 ->8; pick 0: w0 d2 r5 ->7
    (0, 2, 5, 1, 7.0, 6, 2),  # version 6; pick 1: w1 d5 r6 queue
    (1, 3, 3, 1, 8.0, 7, 2 / 3),  # delay 3; d4 ->10; pick 1: w1 d6 r7 queue
    (1, 4, 4, 1, 10.0, 8, 2 / 3),  # delay 3; version 8; pick 1: w1 d7 r8 queue
]

# B = 3. Start: w0 d0 ->1, w1 d0 ->1.5.
RENNALA_RESTART = [
    (0, 0, 0, 0, 1.0, 1, THIRD),  # w0 d1 r0 ->2
    (1, 0, 0, 0, 1.5, 2, THIRD),  # w1 d1 r0 ->3
    (0, 1, 0, 1, 2.0, 3, THIRD),  # step to 1; w1 d1 stopped; w0 d2 ->3, w1 d2 ->3.5
    (0, 2, 1, 0, 3.0, 4, THIRD),  # w0 d3 r1 ->4
    (1, 2, 1, 0, 3.5, 5, THIRD),  # w1 d3 r1 ->5
    (0, 3, 1, 1, 4.0, 6, THIRD),  # step to 2; w1 d3 stopped; w0 d4 ->5, w1 d4 ->5.5
    (0, 4, 2, 0, 5.0, 7, THIRD),
    (1, 4, 2, 0, 5.5, 8, THIRD),
    (0, 5, 2, 1, 6.0, 9, THIRD),  # step to 3; w1 d5 stopped; w0 d6 ->7, w1 d6 ->7.5
    (0, 6, 3, 0, 7.0, 10, THIRD),  # w0 d7 r3; the last round stays incomplete
]

# Median delay 2 of 0, 2, 2, 3 gives B = 2 / (1/2) = 4. Start: w0 ->1, w1 ->1.5.
ASYNC_MINIBATCH = [
    (0, 0, 0, 0, 1.0, 1, FOURTH),  # w0 d1 r0 ->2
    (1, 0, 0, 0, 1.5, 2, FOURTH),  # w1 d1 r0 ->3
    (0, 1, 0, 0, 2.0, 3, FOURTH),  # w0 d2 r0 ->3
    (1, 1, 0, 1, 3.0, 4, FOURTH),  # tie, assigned first; step to 1; w1 d2 r1 ->4.5
    # time 3: w0 d2 is stale, discarded; w0 d3 r1 ->4
    (0, 3, 1, 0, 4.0, 6, FOURTH),  # w0 d4 r1 ->5
    (1, 2, 1, 0, 4.5, 7, FOURTH),  # w1 d3 r1 ->6
    (0, 4, 1, 0, 5.0, 8, FOURTH),  # w0 d5 r1 ->6
    (1, 3, 1, 1, 6.0, 9, FOURTH),  # tie, assigned first; step to 2; w1 d4 r2 ->7.5
    # time 6: w0 d5 is stale, discarded; w0 d6 r2 ->7
    (0, 6, 2, 0, 7.0, 11, FOURTH),
    (1, 4, 2, 0, 7.5, 12, FOURTH),
]

# S = 4: the harmonic mean of B_0, B_1 has to reach 2. Start: w0 ->1, w1 ->2.5.
MALENIA = [
    (0, 0, 0, 0, 1.0, 1, 1 / 8),  # B = 1, 0
    (0, 1, 0, 0, 2.0, 2, 1 / 8),  # 2, 0
    (1, 0, 0, 0, 2.5, 3, 1 / 4),  # 2, 1: 4/3
    (0, 2, 0, 0, 3.0, 4, 1 / 8),  # 3, 1: 3/2
    (0, 3, 0, 0, 4.0, 5, 1 / 8),  # 4, 1: 8/5; w0 d4 ->5
    (1, 1, 0, 1, 5.0, 6, 1 / 4),  # tie, assigned first; 4, 2: 8/3; w0 d4 stopped
    (0, 5, 1, 0, 6.0, 7, 1 / 6),  # a round that stays incomplete: 3, 1 at its end
    (0, 6, 1, 0, 7.0, 8, 1 / 6),
    (1, 2, 1, 0, 7.5, 9, 1 / 2),
    (0, 7, 1, 0, 8.0, 10, 1 / 6),
]

# The same without stops: w0 d4 goes on at time 5 and is discarded.
MALENIA_IGNORING = [
    *MALENIA[:6],  # w1 d2 r1 ->7.5
    # time 5: w0 d4 is stale, discarded; w0 d5 r1 ->6
    (0, 5, 1, 0, 6.0, 8, 1 / 6),
    (0, 6, 1, 0, 7.0, 9, 1 / 6),
    (1, 2, 1, 0, 7.5, 10, 1 / 2),
    (0, 7, 1, 0, 8.0, 11, 1 / 6),
]

# m = 2 of 3.
M_SYNCHRONOUS = [
    (0, 0, 0, 0, 1.0, 1, HALF),  # w0 waits
    (1, 0, 0, 1, 2.0, 2, HALF),  # step to 1; w2 d0 stopped; ->5, ->3, ->4
    (1, 1, 1, 0, 3.0, 3, HALF),  # w1 waits
    (2, 1, 1, 1, 4.0, 4, HALF),  # step to 2; w0 d1 stopped; ->5, ->8, ->5
    (0, 2, 2, 0, 5.0, 5, HALF),  # tie, assigned first
    (2, 2, 2, 1, 5.0, 6, HALF),  # step to 3; w1 d2 stopped; all ->7
    (0, 3, 3, 0, 7.0, 7, HALF),
    (1, 3, 3, 1, 7.0, 8, HALF),  # step to 4; w2 d3 stopped at its end
]
M_TIMES = Listed([1, 3, 1, 2], [2, 1, 4, 2], [5, 2, 1, 2])

# Two trials for w0, one for w1, of at most 2 seconds; B = 2 * 0.5 + 0.8 = 1.8.
TRIALS = [
    # w0 d0 ->1, w1 d0 ->1.5; w0 d1 is given up at 3, which ends the round
    (0, 0, 0, 0, 1.0, 1),  # w0 d1 r0 (3 s) given up at 3
    (1, 0, 0, 1, 3.0, 2),  # arrived at 1.5, taken in at 3; step to 1
    # w0 d2 (5 s) given up at 5, w1 d1 (4 s) given up at 5; w0 d3 ->6
    (0, 3, 1, 1, 6.0, 3),  # step to 2
    # w0 d4 (9 s) given up at 8; w0 d5 ->10; w1 d2 takes just the 2 s
    (1, 2, 2, 0, 8.0, 4),
    (0, 5, 2, 1, 10.0, 5),  # just 2 s too; step to 3
    # w0 d6, d7 (3 s each) given up at 12 and 14, w1 d3 (5 s) at 12: nothing, no step
    (0, 8, 3, 0, 15.0, 6),  # version 3 still; w0 d9 ->16
    (1, 4, 3, 0, 15.0, 7),
    (0, 9, 3, 1, 16.0, 8),  # step to 4
]
TRIAL_TIMES = Listed([1, 3, 5, 1, 9, 2, 3, 3, 1, 1], [1.5, 4, 2, 5, 1])
TRIAL_ARGUMENTS = dict(trials=(2, 1), limit=2.0, success=(0.5, 0.8))
MINDFLAYER = [(*row, 1 / 1.8) for row in TRIALS]
VECNA = [(*row, (1 / 2, 1 / 1.6)[row[0]]) for row in TRIALS]

# B = 4 at 1 and 3 seconds: the loads 1, 2, then 3 (w1, who has none), then 3 (w0).
OFTA = [
    (0, 0, 0, 0, 1.0, 1, FOURTH),
    (0, 1, 0, 0, 2.0, 2, FOURTH),
    (1, 0, 0, 0, 3.0, 3, FOURTH),  # tie, assigned first
    (0, 2, 0, 1, 3.0, 4, FOURTH),  # step to 1
    (0, 3, 1, 0, 4.0, 5, FOURTH),
    (0, 4, 1, 0, 5.0, 6, FOURTH),
    (1, 1, 1, 0, 6.0, 7, FOURTH),
    (0, 5, 1, 1, 6.0, 8, FOURTH),
]

# The same speeds, measured; the first round knows nothing and shares evenly.
ATA = [
    (0, 0, 0, 0, 1.0, 1, FOURTH),
    (0, 1, 0, 0, 2.0, 2, FOURTH),  # w0 waits
    (1, 0, 0, 0, 3.0, 3, FOURTH),
    (1, 1, 0, 1, 6.0, 4, FOURTH),  # step to 1; means 1 and 3: shares 3 and 1
    (0, 2, 1, 0, 7.0, 5, FOURTH),
    (0, 3, 1, 0, 8.0, 6, FOURTH),
    (1, 2, 1, 0, 9.0, 7, FOURTH),  # tie, assigned first
    (0, 4, 1, 1, 9.0, 8, FOURTH),  # step to 2
    (0, 5, 2, 0, 10.0, 9, FOURTH),
    (0, 6, 2, 0, 11.0, 10, FOURTH),
]

# q = 4. Start: w0 ->1, w1 ->3.5.
THROTTLE = [
    (0, 0, 0, 1, 1.0, 1, HALF),  # first in this round: 1/n
    (0, 1, 1, 1, 2.0, 2, 1 / 4),  # repeat 1
    (0, 2, 2, 1, 3.0, 3, 1 / 16),  # repeat 2; w0 d3 r3 ->4
    (1, 0, 0, 1, 3.5, 4, HALF),  # all have returned: w0 d3 stopped, both at version 4
    (0, 4, 4, 1, 4.5, 5, HALF),
    (0, 5, 5, 1, 5.5, 6, 1 / 4),
    (0, 6, 6, 1, 6.5, 7, 1 / 16),
    (1, 1, 4, 1, 7.0, 8, HALF),  # w0 d7 stopped
    (0, 8, 8, 1, 8.0, 9, HALF),
    (0, 9, 9, 1, 9.0, 10, 1 / 4),
]

# The timing is that of pure. Start: w0 ->1, w1 ->2.5.
IA2SGD = [
    (0, 0, 0, 0, 1.0, 1, 1),  # w0 d1 at x_0
    (0, 1, 0, 0, 2.0, 2, 1),  # w0 d2 at x_0
    (1, 0, 0, 0, 2.5, 3, 1),  # the table is full, no step; w1 d1 at x_0 ->5
    (0, 2, 0, 1, 3.0, 4, 1),  # the first step, to 1; w0 d3 r1 ->4
    (0, 3, 1, 1, 4.0, 5, 1),  # version 2; w0 d4 r2 ->5
    (1, 1, 0, 1, 5.0, 6, 1),  # tie, assigned first; version 3; w1 d2 r3 ->7.5
    (0, 4, 2, 1, 5.0, 7, 1),  # version 4
    (0, 5, 4, 1, 6.0, 8, 1),  # version 5
    (0, 6, 5, 1, 7.0, 9, 1),  # version 6
    (1, 2, 3, 1, 7.5, 10, 1),  # delay 3
]

# B = 4, alpha = 0.01, so 4 e alpha = 0.1087; w0 takes 1 s, w1 3.5 s.
# Round 1: nothing is known, two each. It ends k = 1, K = 2, 2 and ln 2 = 0.693:
# both bounds are 0.1087 (0.589 + 0.347) = 0.102 below the mean, s = 0.898, 3.398.
# Round 2: w0 gets jobs until 4 s_0 = 3.593 > s_1, so 3 and 1. (With the ln 8 of k = 2
# it would be 4 s_0 = 3.104 < s_1 = 3.276, 4 and 0.)
# Then k = 2, K = 5, 3 and ln 8 = 2.079: s = 1 - 0.115, 3.5 - 0.166, and 3 and 1 again.
ATA_OVER = [
    (0, 0, 0, 0, 1.0, 1, FOURTH),
    (0, 1, 0, 0, 2.0, 2, FOURTH),
    (1, 0, 0, 0, 3.5, 3, FOURTH),
    (1, 1, 0, 1, 7.0, 4, FOURTH),  # version 1
    (0, 2, 1, 0, 8.0, 5, FOURTH),
    (0, 3, 1, 0, 9.0, 6, FOURTH),
    (0, 4, 1, 0, 10.0, 7, FOURTH),
    (1, 2, 1, 1, 10.5, 8, FOURTH),  # version 2
    (0, 5, 2, 0, 11.5, 9, FOURTH),
    (0, 6, 2, 0, 12.5, 10, FOURTH),
    (0, 7, 2, 0, 13.5, 11, FOURTH),
    (1, 3, 2, 1, 14.0, 12, FOURTH),  # version 3
]

# B = 3 over w0 (1 s) and w1 (3 s), the one left over to w1, w0, w1.
UTA_DRAWN = [
    (0, 0, 0, 0, 1.0, 1, THIRD),
    (1, 0, 0, 0, 3.0, 2, THIRD),
    (1, 1, 0, 1, 6.0, 3, THIRD),  # version 1
    (0, 1, 1, 0, 7.0, 4, THIRD),
    (0, 2, 1, 0, 8.0, 5, THIRD),
    (1, 2, 1, 1, 9.0, 6, THIRD),  # version 2
    (0, 3, 2, 0, 10.0, 7, THIRD),
    (1, 3, 2, 0, 12.0, 8, THIRD),
    (1, 4, 2, 1, 15.0, 9, THIRD),  # version 3
]

# Three workers. Start: w0 ->1, w1 ->2, w2 ->4.5. [k]: a mean of round k.
RINGLEADER = [
    (0, 0, 0, 0, 1.0, 1, 1),  # [0] w0; w0 d1 r0 ->2
    (1, 0, 0, 0, 2.0, 2, 1),  # tie, assigned first; [0] w1; w1 d1 r0 ->4
    (0, 1, 0, 0, 2.0, 3, 1),  # [0] w0, the second; w0 d2 r0 ->3
    (0, 2, 0, 0, 3.0, 4, 1),  # [0] w0, the third; w0 d3 r0 ->4
    (1, 1, 0, 0, 4.0, 5, 1),  # tie, assigned first; [0] w1, the second; w1 d2 r0 ->6
    (0, 3, 0, 0, 4.0, 6, 1),  # [0] w0, the fourth; w0 d4 r0 ->5
    (2, 0, 0, 1, 4.5, 7, 1),  # [0] complete: step to 1; S = {w0, w1}; w2 d1 r1 ->9
    (0, 4, 0, 1, 5.0, 8, 1),  # [0] w0 in S: step to 2; S = {w1}; w0 d5 r2 ->6
    (1, 2, 0, 1, 6.0, 9, 1),  # tie, assigned first; [0] w1 in S: step to 3, the round
    #                           is over, delay 2; w1 d3 r3 ->8
    (0, 5, 2, 0, 6.0, 10, 1),  # [1] w0; w0 d6 r3 ->7
]
# With w1 slower, w0 comes again while w1 is in S.
RINGLEADER_NEXT = [
    (0, 0, 0, 0, 1.0, 1, 1),  # [0] w0; w0 d1 r0 ->2
    (2, 0, 0, 0, 1.5, 2, 1),  # [0] w2; w2 d1 r0 ->3
    (0, 1, 0, 0, 2.0, 3, 1),  # [0] w0, the second; w0 d2 r0 ->3
    (1, 0, 0, 1, 2.5, 4, 1),  # [0] complete: step to 1; S = {w0, w2}; w1 d1 r1 ->5
    (2, 1, 0, 1, 3.0, 5, 1),  # tie, assigned first; w2 in S: step to 2; w2 d2 ->4.5
    (0, 2, 0, 1, 3.0, 6, 1),  # w0 in S: step to 3, the round is over; w0 d3 r3 ->4
    (0, 3, 3, 0, 4.0, 7, 1),  # [1] w0; w0 d4 r3 ->5
    (2, 2, 2, 0, 4.5, 8, 1),  # [1] w2; w2 d3 r3 ->6
    (1, 1, 1, 1, 5.0, 9, 1),  # tie, assigned first; [1] complete: step to 4;
    #                           S = {w0, w2}; w1 d2 r4 ->7.5
    (0, 4, 3, 1, 5.0, 10, 1),  # w0 in S: step to 5; S = {w2}; w0 d5 r5 ->6
    (2, 3, 3, 1, 6.0, 11, 1),  # tie, assigned first; w2 in S: step to 6, over
    (0, 5, 5, 0, 6.0, 12, 1),  # [2] w0; w0 d6 r6 ->7
]

# s = 1: who is two ahead waits.
STALE_SYNCHRONOUS = [
    (0, 0, 0, 1, 1.0, 1, 1),  # counts 1, 0; w0 d1 r1 ->2
    (0, 1, 1, 1, 2.0, 2, 1),  # counts 2, 0: w0 waits
    (1, 0, 0, 1, 2.5, 3, 1),  # counts 2, 1: version 3; w0 d2 r3 ->3.5; w1 d1 r3 ->5
    (0, 2, 3, 1, 3.5, 4, 1),  # counts 3, 1: w0 waits
    (1, 1, 3, 1, 5.0, 5, 1),  # counts 3, 2: version 5; w0 d3 r5 ->6; w1 d2 r5 ->7.5
]

# Steps once both were heard.
QUORUM = [
    (0, 0, 0, 0, 1.0, 1, THIRD),  # w0 d1 r0 ->2
    (0, 1, 0, 0, 2.0, 2, THIRD),  # w0 d2 r0 ->3
    (1, 0, 0, 1, 2.5, 3, THIRD),  # version 1; w1 d1 r1 ->5
    (0, 2, 0, 0, 3.0, 4, THIRD),  # w0 d3 r1 ->4
    (0, 3, 1, 0, 4.0, 5, THIRD),  # w0 d4 r1 ->5
    (1, 1, 1, 1, 5.0, 6, THIRD),  # tie, assigned first; version 2; w1 d2 r2 ->7.5
    (0, 4, 1, 0, 5.0, 7, 1),  # w0 d5 r2 ->6
]

# Deadlines at 2, 4, 6.
DEADLINE = [
    (0, 0, 0, 0, 1.0, 1, HALF),  # w0 d1 r0 ->2
    (0, 1, 0, 1, 2.0, 2, HALF),  # at the deadline: in it; w0 d2 r0 ->3; version 1
    (1, 0, 0, 0, 2.5, 3, THIRD),  # w1 d1 r1 ->5
    (0, 2, 0, 0, 3.0, 4, THIRD),  # w0 d3 r1 ->4
    (0, 3, 1, 1, 4.0, 5, THIRD),  # w0 d4 r1 ->5; version 2
    (1, 1, 1, 0, 5.0, 6, HALF),  # tie, assigned first; w1 d2 r2 ->7.5
    (0, 4, 1, 0, 5.0, 7, HALF),  # w0 d5 r2 ->6, which will be in this step
]

# tau = 1 over the arrivals of pure.
CONSTANT_DELAY = [
    (0, 0, 0, 1, 1.0, 1, 1),
    (0, 1, 0, 1, 2.0, 2, 1),
    (1, 0, 1, 1, 2.5, 3, 1),
    (0, 2, 2, 1, 3.0, 4, 1),
]

# K = 2 of 3. Start: w0 d0 r0 ->1, w1 d0 r0 ->2, w2 d0 r0 ->5.
K_ASYNC = [
    (0, 0, 0, 0, 1.0, 1, HALF),  # w0 waits
    (1, 0, 0, 1, 2.0, 2, HALF),  # version 1; w0 d1 r1 ->3; w1 d1 r1 ->4
    (0, 1, 1, 0, 3.0, 3, HALF),  # w0 waits
    (1, 1, 1, 1, 4.0, 4, HALF),  # version 2; w0 d2 r2 ->5; w1 d2 r2 ->6
    (2, 0, 0, 0, 5.0, 5, HALF),  # tie, assigned first; w2 waits
    (0, 2, 2, 1, 5.0, 6, HALF),  # version 3; w2 d1 r3 ->10; w0 d3 r3 ->6
    (1, 2, 2, 0, 6.0, 7, HALF),  # tie, assigned first; w1 waits
    (0, 3, 3, 1, 6.0, 8, HALF),  # version 4; w1 d3 r4 ->8; w0 d4 r4 ->7
]

# K = 2. Start: w0 d0 r0 ->1, w1 d0 r0 ->2.5.
K_BATCH_ASYNC = [
    (0, 0, 0, 0, 1.0, 1, HALF),  # w0 d1 r0 ->2
    (0, 1, 0, 1, 2.0, 2, HALF),  # version 1; w0 d2 r1 ->3
    (1, 0, 0, 0, 2.5, 3, HALF),  # w1 d1 r1 ->5
    (0, 2, 1, 1, 3.0, 4, HALF),  # version 2; w0 d3 r2 ->4
    (0, 3, 2, 0, 4.0, 5, HALF),  # w0 d4 r2 ->5
    (1, 1, 1, 1, 5.0, 6, HALF),  # tie, assigned first; version 3; w1 d2 r3 ->7.5
    (0, 4, 2, 0, 5.0, 7, HALF),  # w0 d5 r3 ->6
]

# b = 2, permutation 1, 2, 0 round and round. Start: w1 d0 r0 ->2, w2 d0 r0 ->4.
SHUFFLED_ONCE = [
    (1, 0, 0, 0, 2.0, 1, HALF),
    (2, 0, 0, 1, 4.0, 2, HALF),  # version 1; w0 d0 r1 ->5, w1 d1 r1 ->6
    (0, 0, 1, 0, 5.0, 3, HALF),
    (1, 1, 1, 1, 6.0, 4, HALF),  # version 2; w2 d1 r2 ->10, w0 d1 r2 ->7
    (0, 1, 2, 0, 7.0, 5, HALF),
    (2, 1, 2, 1, 10.0, 6, HALF),  # version 3; w1 d2 r3, w2 d2 r3
]

# R = 1, then 2 from version 4 on. Start: w0 d0 r0 ->1, w1 d0 r0 ->2.5.
GROWING = [
    (0, 0, 0, 1, 1.0, 1, 1),  # version 1; w0 d1 r1 ->2
    (0, 1, 1, 1, 2.0, 2, 1),  # version 2; w0 d2 r2 ->3
    # time 2.5: w1 has delay 2, discarded; w1 d1 r2 ->5
    (0, 2, 2, 1, 3.0, 4, 1),  # version 3; w0 d3 r3 ->4
    (0, 3, 3, 1, 4.0, 5, 1),  # version 4; w0 d4 r4 ->5
    # time 5: w1, assigned first, has delay 2, discarded; w1 d2 r4 ->7.5
    (0, 4, 4, 1, 5.0, 7, 1),  # version 5; w0 d5 r5 ->6
    (0, 5, 5, 1, 6.0, 8, 1),  # version 6; w0 d6 r6 ->7
    (0, 6, 6, 1, 7.0, 9, 1),  # version 7; w0 d7 r7 ->8
    # time 7.5: w1 has delay 3, discarded; w1 d3 r7 ->10
    (0, 7, 7, 1, 8.0, 11, 1),  # version 8; w0 d8 r8 ->9
    (0, 8, 8, 1, 9.0, 12, 1),  # version 9; w0 d9 r9 ->10
    (1, 3, 7, 1, 10.0, 13, 1),  # R = 3 > delay 2; version 10; w1 d4 r10 ->12.5
    (0, 9, 9, 1, 10.0, 14, 1),  # version 11; w0 d10 r11
]

# name: algorithm, times, rows, in flight (worker, read), discarded.
BY_HAND = {
    "k_async": (
        algorithms.k_async(2),
        fixed(1, 2, 5),
        K_ASYNC,
        [(2, 3), (1, 4), (0, 4)],
        0,
    ),
    "k_batch_async": (
        algorithms.k_batch_async(2),
        fixed(1, 2.5),
        K_BATCH_ASYNC,
        [(1, 3), (0, 3)],
        0,
    ),
    "ringmaster_stops": (
        algorithms.ringmaster_stops(2),
        fixed(1, 1.5),
        RINGMASTER_STOPS,
        [(0, 9), (1, 10)],
        0,
    ),
    "naive_optimal": (
        algorithms.naive_optimal([10, 2, 1], noise_ratio=3.0),
        fixed(10, 2, 1),
        NAIVE_OPTIMAL,
        [(2, 7), (1, 8)],
        0,
    ),
    "rescaled": (
        algorithms.rescaled([1, 3]),
        fixed(1, 3),
        RESCALED,
        [(1, 7), (0, 8)],
        0,
    ),
    "rescaled, measured": (
        algorithms.rescaled(),
        fixed(1, 3),
        MEASURED,
        [(1, 7), (0, 8)],
        0,
    ),
    "rennala_restart": (
        algorithms.rennala_restart(3),
        fixed(1, 1.5),
        RENNALA_RESTART,
        [(1, 3), (0, 3)],
        0,
    ),
    "gta": (
        algorithms.gta(3),
        fixed(1, 1.5),
        RENNALA_RESTART,
        [(1, 3), (0, 3)],
        0,
    ),
    "async_minibatch": (
        algorithms.async_minibatch([0, 2, 2, 3], quantile=0.5),
        fixed(1, 1.5),
        ASYNC_MINIBATCH,
        [(0, 2), (1, 2)],
        2,
    ),
    "malenia": (
        algorithms.malenia(4),
        fixed(1, 2.5),
        MALENIA,
        [(1, 1), (0, 1)],
        0,
    ),
    "malenia, ignoring": (
        algorithms.malenia(4, restart=False),
        fixed(1, 2.5),
        MALENIA_IGNORING,
        [(1, 1), (0, 1)],
        1,
    ),
    "m_synchronous": (
        algorithms.m_synchronous(2),
        M_TIMES,
        M_SYNCHRONOUS,
        [(0, 4), (1, 4), (2, 4)],
        0,
    ),
    "mindflayer": (
        algorithms.mindflayer(**TRIAL_ARGUMENTS),
        TRIAL_TIMES,
        MINDFLAYER,
        [(0, 4), (1, 4)],
        0,
    ),
    "vecna": (
        algorithms.vecna(**TRIAL_ARGUMENTS),
        TRIAL_TIMES,
        VECNA,
        [(0, 4), (1, 4)],
        0,
    ),
    "ofta": (algorithms.ofta(4, [1, 3]), fixed(1, 3), OFTA, [(0, 2), (1, 2)], 0),
    "ata": (
        algorithms.ata(4, alpha=1e-9),
        fixed(1, 3),
        ATA,
        [(1, 2), (0, 2)],
        0,
    ),
    "throttle": (
        algorithms.throttle(4.0),
        fixed(1, 3.5),
        THROTTLE,
        [(1, 8), (0, 10)],
        0,
    ),
    "ia2sgd": (
        algorithms.ia2sgd(),
        fixed(1, 2.5),
        IA2SGD,
        [(0, 6), (1, 7)],
        0,
    ),
    "ata, rounds that are over": (
        algorithms.ata(4, alpha=0.01),
        fixed(1, 3.5),
        ATA_OVER,
        [(0, 3), (1, 3)],
        0,
    ),
    "ringleader": (
        algorithms.ringleader(),
        fixed(1, 2, 4.5),
        RINGLEADER,
        [(2, 1), (1, 3), (0, 3)],
        0,
    ),
    "ringleader, next round": (
        algorithms.ringleader(),
        fixed(1, 2.5, 1.5),
        RINGLEADER_NEXT,
        [(1, 4), (2, 6), (0, 6)],
        0,
    ),
}


EVENTS = {
    "stale_synchronous": (
        algorithms.stale_synchronous(1),
        fixed(1, 2.5),
        STALE_SYNCHRONOUS,
        [(0, 5), (1, 5)],
        0,
    ),
    "quorum": (algorithms.quorum(2), fixed(1, 2.5), QUORUM, [(1, 2), (0, 2)], 0),
    "deadline": (algorithms.deadline(2), fixed(1, 2.5), DEADLINE, [(1, 2), (0, 2)], 0),
    "ringmaster_agnostic": (
        algorithms.ringmaster_agnostic(),
        fixed(1, 2.5),
        GROWING,
        [(1, 10), (0, 11)],
        3,
    ),
    "constant_delay": (
        algorithms.constant_delay(1, algorithms.pure_async()),
        fixed(1, 2.5),
        CONSTANT_DELAY,
        [(1, 3), (0, 4)],
        0,
    ),
}


@pytest.mark.parametrize("name", EVENTS)
def test_event_methods_by_hand(name):
    algorithm, times, rows, in_flight, discarded = EVENTS[name]
    schedule = ag.simulate(algorithm, times, num_gradients=len(rows))
    check(schedule, rows, in_flight, discarded)


def seed_with_picks(num_workers, picks, routing):
    """Returns a seed whose draws start with these picks."""
    for seed in range(100_000):
        order = worker_order("random", num_workers, seed, routing=routing)
        if all(a == b for a, b in zip(picks, order, strict=False)):
            return seed
    raise AssertionError(f"no seed gives {picks}")


def check(schedule, rows, in_flight, discarded):
    keys = ("worker", "job", "read", "step", "time", "computed")
    columns = list(zip(*rows, strict=True))
    for key, column in zip(keys, columns[:6], strict=True):
        assert getattr(schedule, key).tolist() == list(column), key
    np.testing.assert_allclose(schedule.weight, columns[6], rtol=1e-15)
    pairs = zip(schedule.in_flight_worker, schedule.in_flight_read, strict=True)
    assert list(pairs) == in_flight
    assert schedule.discarded == discarded


@pytest.mark.parametrize("engine", ["python", "compiled"])
@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name, engine):
    algorithm, times, rows, in_flight, discarded = BY_HAND[name]
    schedule = ag.simulate(algorithm, times, num_gradients=len(rows), engine=engine)
    check(schedule, rows, in_flight, discarded)


@pytest.mark.parametrize("engine", ["python", "compiled"])
def test_left_over_jobs_by_hand(engine):
    """Round k draws with number k of the order's stream."""

    def left_over(seed):
        key = counter_rng.stream_key(seed, counter_rng.ORDER_STREAM)
        keys = [np.uint64(counter_rng.bits(key, k)) for k in (1, 2, 3)]
        return [counter_rng.uniform_int(key, 0, 2) for key in keys]

    seed = next(seed for seed in range(1000) if left_over(seed) == [1, 0, 1])
    options = dict(num_gradients=len(UTA_DRAWN), seed=seed, engine=engine)
    for make in (algorithms.uta, algorithms.ofta):
        schedule = ag.simulate(make(3), fixed(1, 3), **options)
        check(schedule, UTA_DRAWN, [(0, 3), (1, 3)], 0)


@pytest.mark.parametrize("engine", ["python", "compiled"])
def test_routing_by_hand(engine):
    p = (0.25, 0.75)
    seed = seed_with_picks(2, [0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1], p)
    algorithm = algorithms.generalized_async(p, concurrency=3)
    schedule = ag.simulate(
        algorithm, fixed(1, 2), num_gradients=len(ROUTED), seed=seed, engine=engine
    )
    check(schedule, ROUTED, [(1, 6), (1, 7), (1, 8)], 0)


@pytest.mark.parametrize("engine", ["python", "compiled"])
def test_one_permutation_by_hand(engine):
    def begins(seed, picks=(1, 2, 0)):
        order = worker_order("shuffle_once", 3, seed)
        return all(a == b for a, b in zip(picks, order, strict=False))

    seed = next(seed for seed in range(1000) if begins(seed))
    schedule = ag.simulate(
        algorithms.minibatch_shuffle_once(2),
        fixed(1, 2, 4),
        num_gradients=len(SHUFFLED_ONCE),
        seed=seed,
        engine=engine,
    )
    check(schedule, SHUFFLED_ONCE, [(1, 3), (2, 3)], 0)


# Weights and columns over the rows of pure at 1 and 2.5 seconds: delays and all.
PURE_DELAYS = [0, 0, 2, 1, 0, 2, 1, 0, 0, 3]


@pytest.mark.parametrize(
    ("algorithm", "factor"),
    [
        (algorithms.inverse_delay(), {0: 1, 1: 1, 2: 1 / 2, 3: 1 / 3}),
        # n = 2: full weight up to a delay of 2, then 2/3, 1/3, 0 at a delay of 3.
        (algorithms.delay_adaptive(), {0: 1, 1: 1, 2: 1, 3: 2 / 3}),
        (algorithms.delay_adaptive("inverse"), {0: 1, 1: 1, 2: 1, 3: 1 / 3}),
        (algorithms.delay_adaptive("drop"), {0: 1, 1: 1, 2: 1, 3: 0}),
        (
            algorithms.staleness_aware(algorithms.pure_async(), a=1.0),
            {0: 1, 1: 1 / 2, 2: 1 / 3, 3: 1 / 4},
        ),
        (
            algorithms.staleness_aware(
                algorithms.pure_async(), kind="hinge", a=2.0, b=1.0
            ),
            {0: 1, 1: 1, 2: 1 / 3, 3: 1 / 5},
        ),
    ],
)
def test_weights_by_delay(algorithm, factor):
    schedule = ag.simulate(algorithm, fixed(1, 2.5), num_gradients=10)
    assert schedule.delay.tolist() == PURE_DELAYS
    expected = [factor[tau] for tau in PURE_DELAYS]
    np.testing.assert_allclose(schedule.weight, expected, rtol=1e-15)


def test_columns_of_rules_about_values():
    times = fixed(1, 3.5)
    pure = ag.simulate("pure_async", times, num_gradients=10)
    clipped = ag.simulate(algorithms.clipped(0.5), times, num_gradients=10)
    picky = ag.simulate(algorithms.picky(0.25), times, num_gradients=10)
    for schedule in (clipped, picky):
        np.testing.assert_array_equal(schedule.read, pure.read)
    assert clipped.clip.tolist() == [0.5] * 10 and clipped.accept is None
    assert picky.accept.tolist() == [0.25] * 10 and picky.clip is None
    # THROTTLE clips repeats alone; the rows are those above.
    repeats = ag.simulate(algorithms.throttle(4.0, radius=0.5), times, num_gradients=10)
    assert repeats.clip.tolist() == [
        0.5 if row[6] < HALF else np.inf for row in THROTTLE
    ]
    # Who clips what is clipped already does not undo that.
    both = algorithms.clipped(1.0, algorithms.throttle(4.0, radius=0.5))
    assert ag.simulate(both, times, num_gradients=10).clip.tolist() == [
        0.5 if row[6] < HALF else 1.0 for row in THROTTLE
    ]


@pytest.mark.parametrize("name", ["ia2sgd", "ca2fl", "ringleader", "aced"])
def test_weights_by_delay_need_weights_that_count(name):
    over = algorithms.staleness_aware(algorithms.get(name))
    with pytest.raises(ValueError, match="remembers gradients"):
        ag.simulate(over, fixed(1, 2.5, 3), num_gradients=10)


def test_steps_that_delays_leave_room_for():
    """Factors of the last tau steps, at delays 0 0 2 1 0 2 1 0 0 3."""
    one = ag.simulate(algorithms.wu_adaptive_1(0.5), fixed(1, 2.5), num_gradients=6)
    # Left: 1, 1, 1 - 1/2 - 1/2, 1 - 0, 1, 1 - 1/2 - 1/2.
    assert one.weight.tolist() == [0.5, 0.5, 0.0, 0.5, 0.5, 0.0]
    two = ag.simulate("wu_adaptive_2", fixed(1, 2.5), num_gradients=6)
    # 1; 1; 1/3 is more than 1 - 2; 1/2 is not more than 1 - 0; 1; more than 1 - 3/2.
    assert two.weight.tolist() == [1.0, 1.0, 0.0, 0.5, 1.0, 0.0]
    decay = ag.simulate(algorithms.adadelay(1.0), fixed(1, 2.5), num_gradients=3)
    expected = [1 / 2, 1 / (1 + 2**0.5), 1 / (1 + 5**0.5)]
    np.testing.assert_allclose(decay.weight, expected, rtol=1e-15)


def test_coefficients_of_ordered_momentum():
    """K = 2: steps 0 1 2 3 4 are in groups 0 1 1 2 2."""
    schedule = ag.simulate(algorithms.ormo(0.5), fixed(1, 2.5), num_gradients=5)
    assert schedule.read.tolist() == [0, 1, 0, 2, 4]
    # Groups of the reads: 0 1 0 1 2, so e = 0 0 1 1 0.
    assert schedule.table.gain[:, 1].tolist() == [1.0, 1.0, 0.5, 0.5, 1.0]
    assert schedule.table.gain[:, 0].tolist() == [1.0, 1.0, 1.5, 1.5, 1.0]
    # The momentum decays before steps 1 and 3, so after 0, 2 and 4.
    decays = [[[0.0, 0.5], [0.0, 0.5]], [[0.0, 0.0], [0.0, 1.0]]]
    assert schedule.table.mix.tolist() == [decays[t % 2] for t in range(5)]
