"""Runs the lanes of a sweep that its folder does not have yet."""

from collections.abc import Callable, Sequence

import numpy as np

from asgrad_jax.plan.schedule import Schedule
from asgrad_jax.run.execute import Experiment, execute
from asgrad_jax.run.store import Store, schedule_key


def execute_missing(
    experiment: Experiment,
    schedules: Sequence[Schedule],
    seeds: Sequence[int],
    hyper: dict[str, np.ndarray],
    *,
    store: Store | None,
    on_progress: Callable[[int], None],
) -> list[dict[str, np.ndarray]]:
    """Runs what is missing and returns everything.

    Args:
        experiment, schedules, seeds, hyper, on_progress: as for `execute`.
        store: the run's folder, or None.

    Returns:
        Per schedule, name -> [R + 1, S] metrics, `finite` among them.
    """
    if store is None:
        outcomes = execute(experiment, schedules, seeds, hyper, on_progress=on_progress)
        return [
            {**outcomes[k].metrics, "finite": outcomes[k].finite}
            for k in range(len(schedules))
        ]
    points = [tuple(p) for p in np.stack([hyper[n] for n in sorted(hyper)]).T.tolist()]

    def finished() -> list[dict]:
        keys = [
            schedule_key(s.content_hash, seed)
            for s, seed in zip(schedules, seeds, strict=True)
        ]
        return [store.finished(key) for key in keys]

    # Schedules that lack the same lanes go through together.
    groups: dict[tuple[int, ...], list[int]] = {}
    for k, there in enumerate(finished()):
        missing = tuple(i for i, point in enumerate(points) if point not in there)
        groups.setdefault(missing, []).append(k)
        on_progress((len(points) - len(missing)) * len(schedules[k]))
    for missing, chosen in groups.items():
        if missing:
            execute(
                experiment,
                schedules,
                seeds,
                {name: values[list(missing)] for name, values in hyper.items()},
                store=store,
                only=chosen,
                on_progress=on_progress,
            )
    return [
        {
            name: np.stack([there[point][name] for point in points], axis=1)
            for name in there[points[0]]
        }
        for there in finished()
    ]
