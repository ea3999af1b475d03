"""Wrong configs and what is said of them: the whole texts, in wrong_configs.txt.

After a change of an error's words: `python tests/cli/test_wrong_configs.py` writes the
file anew; read what it says.
"""

import re
import tempfile
import warnings
from pathlib import Path

import pytest

from asgrad_jax.cli import config as configs
from asgrad_jax.experiments.grid import Grid

GOLDEN = Path(__file__).with_name("wrong_configs.txt")
CONFIG = """\
title = "A small quadratic"
algorithms = [
  "pure_async",
  { name = "fedbuff", gradients_per_step = 2, label = "buffered" },
]
step_sizes = { first = -5, last = -2 }
num_gradients = 200
seeds = 2
server = { name = "adam", b1 = 0.8 }

[problem]
kind = "quadratic"
num_workers = 3
num_features = 2

[[compute_times]]
name = "gamma"
mean = { first = 1, last = 3 }
shape = 3.0

[[compute_times]]
name = "fixed"
label = "equal"
mean = [1, 1, 1]
"""
# What is replaced, by what, and the line that the answer names (0: none).
CASES = {
    "a key with a slip": ("seeds = 2", "sedes = 2", 8),
    "a key of the problem": ("num_features", "num_featurs", 14),
    "a parameter of an algorithm": ("gradients_per_step", "gradient_per_step", 4),
    "a parameter of compute times": ("shape", "shpe", 19),
    "a key of the step sizes": ("first = -5", "frist = -5", 6),
    "an unknown algorithm": ('"pure_async"', '"pure_asinc"', 3),
    "an unknown algorithm in a table": ('"fedbuff"', '"fedbuf"', 4),
    "unknown compute times": ('"gamma"', '"gama"', 17),
    "an unknown problem": ('"quadratic"', '"quadratics"', 12),
    "an unknown optimizer": ('"adam"', '"adamm"', 9),
    "a parameter of the optimizer": ("b1 = 0.8", "beta1 = 0.8", 9),
    "a learning rate of the server": ("b1 = 0.8", "learning_rate = 0.1", 9),
    "a text for a number": ("num_gradients = 200", 'num_gradients = "200"', 7),
    "a number for a text": ('title = "A small quadratic"', "title = 3", 1),
    "a negative number of seeds": ("seeds = 2", "seeds = -2", 8),
    "too many workers": ("num_workers = 3", "num_workers = 4", 0),
    "true for a number": ("num_workers = 3", "num_workers = true", 13),
    "a time below zero": ("mean = [1, 1, 1]", "mean = [1, -1, 1]", 24),
    "a range that runs backwards": ("first = -5", "first = 5", 6),
    "a budget twice": ("seeds = 2", "seeds = 2\nuntil = 9.0", 7),
    "a budget missing": ("num_gradients = 200\n", "", 0),
    "two entries of one name": ('label = "equal"', 'label = "gamma"', 23),
    "no TOML": ("seeds = 2", "seeds = ", 8),
    "an unknown metric": ("seeds = 2", "seeds = 2\nmetric = 'los'", 9),
    "a metric that names no code": (
        "seeds = 2",
        "seeds = 2\nmetrics = { far = 'distance' }",
        9,
    ),
    "code in a file that is not there": ('"pure_async"', '"mine.py:Mine"', 3),
    "code that its module has not": ('"pure_async"', '"math:sqroot"', 3),
    "an option of a network": (
        'kind = "quadratic"\nnum_workers = 3\nnum_features = 2',
        'kind = "mlp"\nnum_workers = 3\nhiden = [8]',
        14,
    ),
    "a held-out share above one": (
        'kind = "quadratic"\nnum_workers = 3\nnum_features = 2',
        'kind = "mlp"\nnum_workers = 3\nheld_out = 20',
        14,
    ),
}


def answer(name, folder):
    """What is said of a case."""
    old, new, _ = CASES[name]
    assert CONFIG.count(old) == 1
    path = folder / "wrong.toml"
    path.write_text(CONFIG.replace(old, new))
    try:
        asked = configs.load_config(path)
        with configs.named_file(path):
            Grid(**configs.sweep_arguments(asked))
    except ValueError as error:
        return str(error).replace(str(path), "wrong.toml")
    raise AssertionError(f"{name} is accepted")


def golden():
    """Name -> text of the golden file."""
    parts = GOLDEN.read_text("utf-8").split("== ")[1:]
    return {name: text.strip() for name, _, text in (p.partition("\n") for p in parts)}


def test_there_are_twenty():
    assert len(CASES) >= 20
    assert list(golden()) == list(CASES)


def test_the_config_is_right_before(tmp_path):
    path = tmp_path / "right.toml"
    path.write_text(CONFIG)
    Grid(**configs.sweep_arguments(configs.load_config(path)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_what_is_said(name, tmp_path):
    words = answer(name, tmp_path)
    # The lists of known names grow with the registries.
    assert shortened(words) == shortened(golden()[name])
    line = CASES[name][2]
    assert re.findall(r"line (\d+)", words) == ([str(line)] if line else [])
    assert "\n" not in words


def shortened(words):
    """The words without the list of known names."""
    words = re.sub(r"known: .*?( \(line \d+\)|$)", r"known: ...\1", words)
    return re.sub(r"lists the \d+ known", "lists the N known", words)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        texts = [f"== {n}\n{shortened(answer(n, Path(folder)))}\n" for n in CASES]
    GOLDEN.write_text("\n".join(texts), encoding="utf-8")
