"""What a notebook shows of a schedule."""

from typing import Any

import numpy as np

from asgrad_jax._util.html import bars, card, dots

_SHOWN = 200  # arrivals in the picture
_LINES = 40  # workers in the picture


def schedule_html(schedule: Any) -> str | None:
    """Returns numbers, arrivals and shares as HTML; None where it is traced."""
    worker = schedule.worker
    if not isinstance(worker, np.ndarray) or not len(worker):
        return None
    n, delay = schedule.num_workers, schedule.delay
    first = np.flatnonzero(worker < _LINES)[:_SHOWN]
    pictures = []
    if len(first):
        what = f"the first {len(first):,} arrivals"
        of = f" of workers 0 to {_LINES - 1}" if n > _LINES else ""
        places = schedule.time[first], worker[first], min(n, _LINES)
        pictures = [dots(*places, f"{what}{of}: workers over virtual time")]
    share = np.bincount(worker, minlength=n) / len(worker)
    return card(
        f"Schedule {schedule.name}".strip(),
        [
            ("arrivals", schedule.num_gradients),
            ("server steps", schedule.num_steps),
            ("workers", n),
            ("delay", f"mean {delay.mean():.1f}, max {delay.max():,}"),
            ("hash", schedule.content_hash[:8]),
        ],
        *pictures,
        bars(share, "share of each worker in the gradients"),
    )
