"""Tables and figures from the JSON of a run, put into README.md between its markers.

python -m benchmarks.report [JSON] [FOLDER]
"""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from asgrad_jax._util.files import atomic_path
from benchmarks import figures

FOLDER = Path(__file__).parent


def write(source: Path, folder: Path) -> None:
    """Writes the section of README.md for the run's backend, and its figures.

    Args:
        source: JSON that pytest-benchmark wrote.
        folder: has or gets README.md and figures/.
    """
    run = json.loads(source.read_text())
    backend = run["machine_info"]["asgrad"]["backend"]
    (folder / "figures").mkdir(exist_ok=True)
    drawn = [
        figures.scaling(run["benchmarks"], folder / "figures" / f"{backend}-scaling"),
        figures.waves(folder / "figures" / "waves"),
        figures.all_waves(folder / "figures" / "waves-all"),
    ]
    pictures = [f"![{p.stem}](figures/{p.name})" for p in drawn if p]
    text = "\n\n".join([_machine(run), *_sections(run["benchmarks"]), *pictures])
    readme = folder / "README.md"
    page = readme.read_text() if readme.exists() else ""
    begin, end = f"<!-- {backend}: begin -->", f"<!-- {backend}: end -->"
    if begin not in page:
        page = f"{page.rstrip()}\n\n{begin}\n{end}\n".lstrip()
    before, rest = page.split(begin, 1)
    after = rest.split(end, 1)[1]
    with atomic_path(readme) as temporary:
        temporary.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def _machine(run: dict[str, Any]) -> str:
    info = run["machine_info"]
    ours = info["asgrad"]
    versions = ", ".join(f"{k} {v}" for k, v in ours["versions"].items())
    quick = (
        " **Quick mode: sizes too small to mean anything.**" if ours["quick"] else ""
    )
    return (
        f"## {ours['device']}\n\n"
        f"{info['cpu'].get('brand_raw', 'CPU unknown')}, {info['cpu']['count']} cores; "
        f"{versions}; commit {ours['commit'][:10]}"
        f"{'+' * ours['commit'].endswith('+')}; {run['datetime'][:10]}.{quick}"
    )


def _sections(benchmarks: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Yields one section per file, in the order in which they ran."""
    files: dict[str, list[dict[str, Any]]] = {}
    for entry in benchmarks:
        files.setdefault(entry["extra_info"]["section"], []).append(entry)
    kinds = (
        (_comparisons, ["case", "against", "ours", "theirs", "ratio", "target"]),
        (_values, ["case", "what", "figure", "target"]),
        (_rate, ["case", "rate"]),
    )
    for title, entries in files.items():
        tables = []
        for kind, head in kinds:
            rows = [row for entry in entries for row in kind(entry)]
            if rows:
                tables.append(_table(head, _without_repeats(rows)))
        tables += _waves([e for e in entries if "waves" in e["extra_info"]])
        yield "\n\n".join([f"### {title.rstrip('.')}", *tables])


def _without_repeats(rows: Sequence[list[str]]) -> Iterable[list[str]]:
    """Yields the rows; a case is named in the first of its rows only."""
    before = None
    for case, *others in rows:
        yield ["" if case == before else case, *others]
        before = case


def _label(entry: dict[str, Any]) -> str:
    about = entry["extra_info"]["about"].rstrip(".")
    params = ", ".join(f"{k} {v}" for k, v in (entry["params"] or {}).items())
    return f"{about} ({params})" if params else about


def _comparisons(entry: dict[str, Any]) -> Iterable[list[str]]:
    ours, *others = entry["extra_info"].get("comparisons", [None])
    for other in others:
        yield [
            _label(entry),
            other["name"],
            f"{_number(ours['rate'])} {ours['unit']}",
            _number(other["rate"]),
            f"{other['ratio']:.2f}",
            _target(other["target"], other["ratio"], at_least=True),
        ]


def _values(entry: dict[str, Any]) -> Iterable[list[str]]:
    for value in entry["extra_info"].get("values", []):
        yield [
            _label(entry),
            value["name"],
            f"{_number(value['value'])} {value['unit']}",
            _target(value["target"], value["value"], at_least=False),
        ]


def _rate(entry: dict[str, Any]) -> Iterable[list[str]]:
    info = entry["extra_info"]
    if "rate" in info:
        yield [_label(entry), f"{_number(info['rate'])} {info['unit']}"]


def _waves(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Gains over W = 1 by width; the largest in bold, the width in use marked."""
    if not entries:
        return []
    # A width may be in a few rows only: the chosen one is measured where it is new.
    widths = sorted({w["width"] for e in entries for w in e["extra_info"]["waves"]})
    head = ["n", "times", "gradient", "lanes", "W=1, gradients/s"]
    head += [f"W={w} (fill)" for w in widths[1:]]
    rows = []
    for entry in entries:
        params, chosen = entry["params"], entry["extra_info"]["chosen"]
        waves = {wave["width"]: wave for wave in entry["extra_info"]["waves"]}
        best = max(wave["gain"] for wave in waves.values())
        row = [str(params[k]) for k in ("n", "clock", "kind", "lanes")]
        row.append(f"{_number(waves[1]['rate'])}{' chosen' if chosen == 1 else ''}")
        for width in widths[1:]:
            if width not in waves:
                row.append("")
                continue
            wave = waves[width]
            bold = "**" if wave["gain"] == best else ""
            mark = " chosen" if width == chosen else ""
            row.append(f"{bold}{wave['gain']:.2f}{bold} ({wave['fill']:.2f}){mark}")
        rows.append(row)
    return [_table(head, rows)]


def _target(target: float | None, found: float, *, at_least: bool) -> str:
    if target is None:
        return ""
    met = found >= target if at_least else found <= target
    sign = "≥" if at_least else "≤"
    return f"{sign} {_number(target)}{'' if met else ' **missed**'}"


def _number(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}" if value < 1000 else f"{value:,.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    write(
        *given, *[FOLDER.parent / ".benchmarks" / "latest.json", FOLDER][len(given) :]
    )
