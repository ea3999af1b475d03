"""`python -m benchmarks [pytest arguments]`: runs the benchmarks, then reports.

BENCH_QUICK=1 runs small sizes once each, to see that all works; its figures mean
nothing and go to .benchmarks/quick. A run with arguments is a part of the suite: its
tables go to .benchmarks/part, and those of the last whole run stay.
"""

import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.timing import QUICK

FOLDER = Path(__file__).parent


def main() -> int:
    """Returns pytest's exit status; the report is written even if a case failed."""
    storage = FOLDER.parent / ".benchmarks"
    target = FOLDER
    if QUICK or sys.argv[1:]:
        target = storage / ("quick" if QUICK else "part")
    for folder in (storage, target):
        folder.mkdir(parents=True, exist_ok=True)
    json = (storage if target == FOLDER else target) / "latest.json"
    status = pytest.main(
        [
            *sys.argv[1:],
            "--override-ini=addopts=-q",
            "--override-ini=testpaths=benchmarks",
            "--benchmark-quiet",
            "--benchmark-warmup=off",
            f"--benchmark-storage={storage}",
            f"--benchmark-json={json}",
            *([] if QUICK else ["--benchmark-autosave"]),
        ]
    )
    report.write(json, target)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
