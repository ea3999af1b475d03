"""What the theorem guarantees each algorithm, beside what was tuned and measured."""

import dataclasses
from typing import Any

from asgrad_jax.report.axes import num_parameters
from asgrad_jax.simulation.simulate import simulate
from asgrad_jax.theory.certificate import Certificate, certificate
from asgrad_jax.theory.constants import Constants

RULE = "asgrad_jax theorem"
_MOST_JOBS = 500  # of a run that is replayed in float64, with all workers' gradients
_MOST_NUMBERS = 1e8  # in these gradients


@dataclasses.dataclass(frozen=True)
class Certified:
    """An algorithm at the largest step size that the theorem certifies for its run.

    Attributes:
        best: the tuned step size.
        largest: the certified one.
        found: the theorem on the beginning of the run at that one.
    """

    best: float
    largest: float
    found: Certificate

    def row(self, name: str) -> dict[str, str]:
        """What a table says of it."""
        measured = self.found.measured.grad_sq
        return {
            "algorithm": name,
            "tuned best": f"{self.best:.4g}",
            "largest certified": f"{self.largest:.3g}",
            "best / certified": f"{self.best / self.largest:.3g}",
            "jobs": f"{self.found.num_jobs}",
            "bound there": f"{self.found.bound:.3g}",
            "measured there": f"{measured:.3g}",
        }


def certified(
    problem: Any,
    algorithm: Any,
    compute_times: Any,
    known: Constants,
    *,
    best: float,
    largest: float,
    num_gradients: int,
    seed: int,
) -> Certified:
    """Asks the theorem about the first gradients of a run, at most 500 of them.

    Args:
        problem, algorithm, compute_times, seed: of the run.
        known: the problem's constants.
        best: its tuned step size.
        largest: the largest one that the theorem certifies for the whole run.
        num_gradients: of the whole run.

    Raises:
        ValueError: where the theorem does not cover the run, or it is too large to be
            replayed.
    """
    rows = min(num_gradients, _MOST_JOBS)
    numbers = num_parameters(problem) * problem.num_workers * rows
    if numbers > _MOST_NUMBERS:
        raise ValueError(
            f"all workers' gradients along the run must be at most {_MOST_NUMBERS:,.0f}"
            f" numbers, got {numbers:,}"
        )
    schedule = simulate(algorithm, compute_times, num_gradients=rows, seed=seed)
    found = certificate(problem, schedule, largest, constants=known, seeds=(seed,))
    return Certified(best, largest, found)
