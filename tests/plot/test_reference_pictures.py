"""Figures look as they did: small pictures, light and dark, compared with tolerance.

After a wanted change `python tests/plot/test_reference_pictures.py` draws them anew;
look at each of them in tests/plot/pictures.
"""

import io
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import style as styles
from matplotlib.image import imread

import asgrad_jax as ag

PICTURES = Path(__file__).with_name("pictures")
# Root mean square of the difference, 0..1, after blocks of 8 x 8 pixels were averaged.
# Letters that are 3% larger give up to 0.009, a curve that is gone 0.018 and more.
TOLERANCE = 0.012
DPI = 60
LOOKS = {"light": "default", "dark": "dark_background"}
TIMES = ag.compute_times.fixed([1.0, 2.0, 4.0])
pytestmark = pytest.mark.filterwarnings("ignore:the best hyper-parameters")


def swept():
    """A sweep that is the same everywhere: no noise, fixed times."""
    return ag.sweep(
        ag.quadratic(num_workers=3, num_features=3, seed=1),
        algorithms=["pure_async", "shuffled_async", "minibatch"],
        compute_times=TIMES,
        step_sizes=2.0 ** -np.arange(2, 8),
        seeds=range(3),
        num_gradients=200,
        record_every=10,
        precision="float64",
    )


def figures(result):
    """Name -> function that draws it."""
    problem = ag.quadratic(num_workers=3, num_features=3, seed=1)
    schedules = {
        name: ag.simulate(name, TIMES, num_gradients=200)
        for name in ("pure_async", "shuffled_async")
    }
    schedule = schedules["shuffled_async"]
    advice = {"shuffled_async": ag.theory.step_sizes(problem, schedule)}
    return {
        "convergence": lambda: ag.plot.convergence(result, title="A quadratic"),
        "schedule": lambda: ag.plot.schedule(schedule),
        "step_sizes": lambda: ag.plot.step_sizes(result),
        "correlation_profile": lambda: ag.plot.correlation_profile(schedules, problem),
        "certificate": lambda: ag.plot.certificate(
            ag.theory.certificate(problem, schedule, 1e-3)
        ),
        "step_size_advice": lambda: ag.plot.step_size_advice(result, advice),
        "split": lambda: ag.plot.split(
            ag.splits.dirichlet(np.arange(200) % 5, 6, alpha=0.3, seed=0)
        ),
    }


NAMES = list(figures(None))


@pytest.fixture(scope="module")
def drawn():
    return figures(swept())


def picture(draw, look):
    """The PNG of a figure in a style, in bytes."""
    with styles.context([LOOKS[look], {"savefig.facecolor": "auto"}]):
        buffer = io.BytesIO()
        draw().savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def blocks(png):
    """Colours of blocks of 8 x 8 pixels, float[h, w, 3] in [0, 1]."""
    pixels = imread(io.BytesIO(png))[..., :3]
    height, width = (8 * (size // 8) for size in pixels.shape[:2])
    parts = pixels[:height, :width].reshape(height // 8, 8, width // 8, 8, 3)
    return parts.mean((1, 3))


def difference(one, other):
    """Root mean square of the difference of two pictures."""
    first, second = blocks(one), blocks(other)
    if any(abs(a - b) > 1 for a, b in zip(first.shape, second.shape, strict=True)):
        return 1.0
    height, width, _ = np.minimum(first.shape, second.shape)
    apart = first[:height, :width] - second[:height, :width]
    return float(np.sqrt(np.mean(apart**2)))


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", NAMES)
def test_it_looks_as_it_did(name, look, drawn, tmp_path):
    png = picture(drawn[name], look)
    found = difference(png, (PICTURES / f"{name}-{look}.png").read_bytes())
    if found > TOLERANCE:
        (tmp_path / "now.png").write_bytes(png)
    assert found < TOLERANCE, f"{name}, {look}: see {tmp_path / 'now.png'}"


def test_a_change_would_be_seen(drawn):
    whole, other = drawn["convergence"](), drawn["convergence"]()
    before = picture(lambda: whole, "light")
    assert difference(before, picture(lambda: whole, "light")) < TOLERANCE / 10
    for line in whole.axes[0].get_lines()[:2]:
        line.remove()
    assert difference(before, picture(lambda: whole, "light")) > TOLERANCE
    for axes in other.axes:
        for line in axes.get_lines():
            line.set_color("red")
    assert difference(before, picture(lambda: other, "light")) > TOLERANCE
    light = (PICTURES / "schedule-light.png").read_bytes()
    dark = (PICTURES / "schedule-dark.png").read_bytes()
    assert difference(light, dark) > 10 * TOLERANCE


def test_they_are_small():
    files = [*PICTURES.glob("*.png")]
    assert {path.stem for path in files} == {f"{n}-{k}" for n in NAMES for k in LOOKS}
    assert sum(path.stat().st_size for path in files) < 400_000


if __name__ == "__main__":
    matplotlib.use("agg")
    PICTURES.mkdir(exist_ok=True)
    for name, draw in figures(swept()).items():
        for look in LOOKS:
            (PICTURES / f"{name}-{look}.png").write_bytes(picture(draw, look))
    sys.exit()
