"""Runs the lanes of a sweep that its folder does not have yet."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from asgrad_jax.experiments.execute import execute
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.experiments.folder import (
    Manifest,
    Store,
    as_config_keys,
    lane_config_keys,
    schedule_key,
)
from asgrad_jax.experiments.hosts import Heartbeat, share
from asgrad_jax.schedules.schedule import Schedule


def execute_missing(
    experiment: Experiment,
    schedules: Sequence[Schedule],
    seeds: Sequence[int],
    hyper: dict[str, np.ndarray],
    *,
    store: Store | None,
    on_progress: Callable[[int], None],
    patience: float = 60.0,
) -> list[dict[str, np.ndarray]]:
    """Runs what is missing and returns everything.

    Args:
        experiment, schedules, seeds, hyper, on_progress: as for `execute`.
        store: the run's folder, or None. With several processes it is the same folder
            for all, each runs its share, and all wait for all.
        patience: seconds without a sign of life after which a process counts as dead.

    Returns:
        Per schedule, name -> [R + 1, S] metrics, `finite` among them.

    Raises:
        ValueError: for several processes without a folder.
        RuntimeError: if another process died, or runs another sweep.
    """
    if store is None and jax.process_count() > 1:
        raise ValueError(
            "several processes share their results through a folder: give "
            "sweep(..., directory=...) one that all hosts see"
        )
    if store is None:
        outcomes = execute(experiment, schedules, seeds, hyper, on_progress=on_progress)
        return [
            {**outcomes[k].metrics, "finite": outcomes[k].finite}
            for k in range(len(schedules))
        ]
    config_keys = as_config_keys(lane_config_keys(hyper))
    keys = [
        schedule_key(s.content_hash, seed)
        for s, seed in zip(schedules, seeds, strict=True)
    ]

    def unfinished(k: int) -> tuple[int, ...]:
        there = store.finished_points(keys[k])
        return tuple(i for i, point in enumerate(config_keys) if point not in there)

    mine = share(range(len(keys)))
    own = [keys[k] for k in mine]

    def run(manifest: Manifest, lacking: dict[int, tuple[int, ...]]) -> None:
        """Runs what is lacking of a manifest, in the calls that it was planned with."""
        lanes = [config_keys.index(point) for point in manifest.lanes]
        missing = np.zeros((len(mine), len(lanes)), bool)
        for place, k in enumerate(mine):
            if keys[k] in manifest.wanted:
                missing[place] = np.isin(lanes, lacking[k])
        if missing.any():
            execute(
                experiment,
                [schedules[k] for k in mine],
                [seeds[k] for k in mine],
                {name: values[lanes] for name, values in hyper.items()},
                store=store,
                missing=missing,
                on_progress=on_progress,
            )
        store.close(manifest)

    with Heartbeat(store.folder, store.asked, patience=patience) as heartbeat:
        lacking = {k: unfinished(k) for k in mine}
        for k in mine:
            if done := len(config_keys) - len(lacking[k]):
                on_progress(done * len(schedules[k]))
        # What was begun goes on as it was planned; the same calls give the same bits.
        for manifest in store.manifests():
            if manifest.schedules == own and set(manifest.lanes) <= set(config_keys):
                run(manifest, lacking)
                lacking = {k: unfinished(k) for k in mine}
        # Schedules that lack the same lanes go through together.
        groups: dict[tuple[int, ...], list[str]] = {}
        for k in mine:
            groups.setdefault(lacking[k], []).append(keys[k])
        for missing, wanted in groups.items():
            if missing:
                lanes = [config_keys[i] for i in missing]
                run(store.manifest(own, lanes, wanted), lacking)
        pending = set(range(len(keys))) - set(mine)

        def late() -> list[int]:
            """Returns the processes that lanes are still missing of."""
            pending.difference_update([k for k in pending if not unfinished(k)])
            return sorted({k % jax.process_count() for k in pending})

        heartbeat.wait(late)
    store.tidy()
    return [
        {
            name: np.stack([there[point][name] for point in config_keys], axis=1)
            for name in there[config_keys[0]]
        }
        for there in map(store.finished, keys)
    ]
