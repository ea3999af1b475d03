"""Five minutes with asgrad_jax: a sweep, its figure, one schedule looked at closely.

Run it with `python examples/quickstart.py`; files go to asgrad-quickstart-run/.
"""

import argparse
from pathlib import Path

import numpy as np

import asgrad_jax as ag


def main(num_gradients: int, out: Path) -> None:
    # Handwritten digits, 0-4 against 5-9. Sorted by label, so that the fast workers
    # hold one class and the slow ones the other.
    features, labels = ag.datasets.digits_binary()
    problem = ag.logistic_regression(
        features,
        labels,
        num_workers=10,
        partition="sorted",
        strength=0.01,
        drop_last=True,
    )

    # Worker i's jobs take Poisson(i) seconds, i = 1..10.
    times = ag.compute_times.poisson(range(1, 11))

    # Every algorithm x seed x step size in one compiled program.
    result = ag.sweep(
        problem,
        algorithms=["pure_async", "random_async", "shuffled_async"],
        compute_times=times,
        step_sizes=2.0 ** np.arange(-10, 0),
        seeds=range(3),
        num_gradients=num_gradients,
    )
    best = ag.best(result)
    print(best[["step_size", "value"]].to_dataframe())

    out.mkdir(parents=True, exist_ok=True)
    ag.save(result, out / "results.nc")
    ag.plot.save(ag.plot.convergence(result, title="Digits"), out / "convergence")

    # One schedule: who computed when, and how stale the gradients were.
    schedule = ag.simulate("shuffled_async", times, num_gradients=num_gradients)
    print(schedule.stats())
    ag.plot.save(ag.plot.schedule(schedule), out / "schedule")

    # The same schedule in float64, with the norm at every single gradient.
    step_size = best["step_size"].sel(algorithm="shuffled_async").item()
    trajectory = ag.run(problem, schedule, step_size=step_size, precision="float64")
    norm = trajectory.metrics["grad_norm"]
    print(f"gradient norm {norm[0]:.3g} -> {norm[-1]:.3g}, status {trajectory.status}")
    print(f"files are in {out}/")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-gradients", type=int, default=5_000)
    parser.add_argument("--out", type=Path, default=Path("asgrad-quickstart-run"))
    arguments = parser.parse_args()
    main(arguments.num_gradients, arguments.out)
