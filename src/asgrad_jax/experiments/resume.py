"""Runs the lanes of a sweep that its folder does not have yet."""

from collections.abc import Callable, Sequence

import numpy as np

from asgrad_jax.experiments.execute import RunGroup, execute
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.experiments.folder import (
    Manifest,
    Store,
    as_config_keys,
    lane_config_keys,
    schedule_key,
)
from asgrad_jax.schedules.schedule import Schedule


def execute_missing(
    experiment: Experiment,
    schedules: Sequence[Schedule],
    seeds: Sequence[int],
    hyper: dict[str, np.ndarray],
    *,
    store: Store | None,
    on_progress: Callable[[int], None],
    run_group: RunGroup | None = None,
) -> list[dict[str, np.ndarray]]:
    """Runs what is missing and returns everything.

    Args:
        experiment, schedules, seeds, hyper, on_progress, run_group: as for `execute`.
        store: the run's folder, or None.

    Returns:
        Per schedule, name -> [R + 1, S] metrics, `finite` among them.
    """
    if store is None:
        outcomes = execute(
            experiment,
            schedules,
            seeds,
            hyper,
            on_progress=on_progress,
            run_group=run_group,
        )
        return [
            {**outcomes[k].metrics, "finite": outcomes[k].finite}
            for k in range(len(schedules))
        ]
    config_keys = as_config_keys(lane_config_keys(hyper))
    keys = [
        schedule_key(s.content_hash, seed)
        for s, seed in zip(schedules, seeds, strict=True)
    ]

    def unfinished() -> list[tuple[int, ...]]:
        """Returns the lanes that each schedule lacks."""
        there = map(store.finished_points, keys)
        return [
            tuple(i for i, point in enumerate(config_keys) if point not in points)
            for points in there
        ]

    def run(manifest: Manifest, lacking: list[tuple[int, ...]]) -> None:
        """Runs what is lacking of a manifest, in the calls that it was planned with."""
        lanes = [config_keys.index(point) for point in manifest.lanes]
        missing = np.zeros((len(keys), len(lanes)), bool)
        for k, key in enumerate(keys):
            if key in manifest.wanted:
                missing[k] = np.isin(lanes, lacking[k])
        if missing.any():
            execute(
                experiment,
                schedules,
                seeds,
                {name: values[lanes] for name, values in hyper.items()},
                store=store,
                missing=missing,
                on_progress=on_progress,
                run_group=run_group,
            )
        store.close(manifest)

    lacking = unfinished()
    for schedule, missing in zip(schedules, lacking, strict=True):
        if done := len(config_keys) - len(missing):
            on_progress(done * len(schedule))
    # What was begun goes on as it was planned; the same calls give the same bits.
    for manifest in store.manifests():
        if manifest.schedules == keys and set(manifest.lanes) <= set(config_keys):
            run(manifest, lacking)
            lacking = unfinished()
    # Schedules that lack the same lanes go through together.
    groups: dict[tuple[int, ...], list[str]] = {}
    for key, missing in zip(keys, lacking, strict=True):
        groups.setdefault(missing, []).append(key)
    for missing, wanted in groups.items():
        if missing:
            lanes = [config_keys[i] for i in missing]
            run(store.manifest(keys, lanes, wanted), lacking)
    store.tidy()
    return [
        {
            name: np.stack([there[point][name] for point in config_keys], axis=1)
            for name in there[config_keys[0]]
        }
        for there in map(store.finished, keys)
    ]
