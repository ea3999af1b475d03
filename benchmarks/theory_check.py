"""The theorem of asgrad_jax on thousands of random problems, schedules and noises.

`tests/theory/test_theorem.py` runs a few hundred of the same cases. Here the number of
violations must be zero, and the looseness (bound over truth) is reported.

    python -m benchmarks.theory_check [cases]
"""

import math
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.theory_problems import random_case

NOISE_REPLICATES = 16


def check(cases: int) -> list[dict]:
    """Runs cases 0..cases-1 and counts what does not hold.

    Args:
        cases: how many.

    Returns:
        Rows with keys `case`, `value`, `unit`.
    """
    began = time.perf_counter()
    broken, broken_steps, noisy = 0, 0, 0
    looseness: dict[str, list[float]] = {}
    sharpest: dict[str, float] = {}
    for seed in range(cases):
        case = random_case(seed)
        found = case.measured(NOISE_REPLICATES)
        broken += not case.holds(found)
        noisy += case.noise > 0
        rounding = 1e-20 * (1 + np.sum(case.linear**2))
        if found.grad_sq > rounding:
            kind = case.label.split("/")[0].split(",")[0]
            ratio = case.bound(found).total / found.grad_sq
            looseness.setdefault(kind, []).append(ratio)
        # With noise the inequalities hold in expectation, the replicates only nearly.
        slack = 1e-9 if case.noise == 0 else 0.3
        for name, left, right in case.inequalities(found):
            broken_steps += left > right * (1 + slack) + rounding
            if case.noise == 0 and left > 1e6 * rounding:
                sharpest[name] = min(sharpest.get(name, math.inf), right / left)
    every = np.concatenate(list(looseness.values()))
    rows = [
        {"case": "theorem: cases", "value": cases, "unit": "cases"},
        {"case": "theorem: cases with noise", "value": int(noisy), "unit": "cases"},
        {"case": "theorem: violations", "value": int(broken), "unit": "cases"},
        {
            "case": "proof inequalities: violations",
            "value": int(broken_steps),
            "unit": f"of {5 * cases}",
        },
        {"case": "looseness, smallest", "value": every.min(), "unit": "bound/truth"},
        {"case": "looseness, median", "value": np.median(every), "unit": "bound/truth"},
    ]
    rows += [
        {"case": f"looseness, {kind}, median", "value": np.median(v), "unit": "x"}
        for kind, v in sorted(looseness.items())
    ]
    rows += [
        {"case": f"sharpest, {name}", "value": ratio, "unit": "right/left"}
        for name, ratio in sharpest.items()
    ]
    seconds = time.perf_counter() - began
    return [*rows, {"case": "theorem: time", "value": seconds, "unit": "s"}]


def run() -> list[dict]:
    """The full check, 2000 cases."""
    return check(2000)


if __name__ == "__main__":
    found = check(int(sys.argv[1])) if len(sys.argv) > 1 else run()
    for row in found:
        print(f"{row['case']:<60}{row['value']:>12.4g} {row['unit']}")
    sys.exit(any(r["value"] for r in found if r["case"].endswith("violations")))
