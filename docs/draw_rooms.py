"""Draws the rooms of the package and who imports whom, from the imports themselves.

`python docs/draw_rooms.py` writes docs/images/rooms.png. An arrow leads from a room to
one that it imports; one that follows from other arrows is left out, and so is `_util`,
which everybody may use.
"""

import ast
import graphlib
import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "asgrad_jax"
LEFT_OUT = {"_util", "__init__", "__main__"}


def rooms_of(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Returns the rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        room = path.relative_to(package).with_suffix("").parts[0]
        if room in LEFT_OUT:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    names = f"{node.module}.{alias.name}".split(".")
                    if names[0] == "asgrad_jax":
                        found.setdefault(room, set()).add(names[1])
        found.setdefault(room, set())
    return {room: found[room] & found.keys() - {room} for room in sorted(found)}


def floors(rooms: dict[str, set[str]]) -> list[list[str]]:
    """Returns the rooms floor by floor: each right below the lowest that imports it."""
    order = list(graphlib.TopologicalSorter(rooms).static_order())
    height: dict[str, int] = {}
    for room in order:
        height[room] = 1 + max((height[below] for below in rooms[room]), default=-1)
    for room in reversed(order):
        above = [height[r] for r, some in rooms.items() if room in some]
        height[room] = min(above, default=max(height.values()) + 1) - 1
    found = [
        [r for r in rooms if height[r] == h] for h in range(max(height.values()) + 1)
    ]
    # Each stands above the middle of what it imports, so that fewer arrows cross.
    place: dict[str, float] = {}
    for floor in found:
        below = {r: [place[o] for o in rooms[r] if o in place] or [0.5] for r in floor}
        floor.sort(key=lambda r: sum(below[r]) / len(below[r]))
        place |= {r: (i + 0.5) / len(floor) for i, r in enumerate(floor)}
    return found


def direct(rooms: dict[str, set[str]]) -> dict[str, set[str]]:
    """Returns the arrows that do not follow from others."""

    def below(room: str) -> set[str]:
        return rooms[room].union(*(below(other) for other in rooms[room]))

    return {
        room: {o for o in some if not any(o in below(p) for p in some - {o})}
        for room, some in rooms.items()
    }


def draw(path: Path) -> None:
    """Writes the picture."""
    rooms = rooms_of()
    house = floors(rooms)
    figure = Figure(figsize=(7, 0.8 * len(house) + 0.4), layout="constrained")
    axes = figure.subplots()
    box = dict(boxstyle="round,pad=0.35", facecolor="#e8eef7", edgecolor="#33558b")
    texts = {
        room: axes.text(
            (i + 0.5) / len(floor),
            h,
            room,
            ha="center",
            va="center",
            bbox=box,
            zorder=3,
        )
        for h, floor in enumerate(house)
        for i, room in enumerate(floor)
    }
    for room, others in direct(rooms).items():
        for other in others:
            arrow = FancyArrowPatch(
                texts[room].get_position(),
                texts[other].get_position(),
                arrowstyle="-|>",
                mutation_scale=11,
                color="0.5",
                patchB=texts[other].get_bbox_patch(),
                shrinkB=2,
            )
            axes.add_patch(arrow)
    axes.set(xlim=(0, 1), ylim=(-0.5, len(house) - 0.5))
    axes.axis("off")
    figure.draw_without_rendering()  # so that the boxes have their places
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "images" / "rooms.png")
