r"""Users' text on its way to figures, tables, files and terminals."""

import csv
import io

import matplotlib
import pytest
from matplotlib.figure import Figure

import asgrad_jax as ag
from asgrad_jax._util import text
from asgrad_jax.cli import cli
from asgrad_jax.report import files as report

pytestmark = [
    pytest.mark.filterwarnings("ignore:the best hyper-parameters"),
    pytest.mark.filterwarnings("ignore:Glyph .* missing from"),
]

TEXTS = [
    r"$\frac{$",
    r"$\nosuchcommand$ a",
    "$$",
    "$a$ $",
    r"$x^{2$ and $y}$",
    r"\$5 $\alpha$",
    "two\nlines",
    "a\r\nb\tc",
    "\x1b[31mred",
    "bell\x07 back\x08",
    "a|b",
    r"a\|b",
    "<b>bold</b> & `code`",
    "=1+1",
    'a,"b"',
    "\u202eright to left",
    "line\u2028separator",
    "\x85next",
    "../../etc/passwd",
    "CON",
    " blanks ",
    "very long " * 300,
    "x" * 5_000,
    "{braces} %s %d {0}",
    "\N{GREEK SMALL LETTER BETA} = 0.9, \N{SNOWMAN}",
]


@pytest.fixture(scope="module")
def labelled():
    """A result in which all texts are labels, and the first also the times'."""
    return ag.sweep(
        ag.quadratic(num_workers=2, num_features=2),
        algorithms=dict.fromkeys(TEXTS, "pure_async"),
        compute_times={r"$\frac{$ |\n\x1b[1m": ag.compute_times.fixed([1, 2])},
        step_sizes=[0.05, 0.25],
        num_gradients=20,
    )


def is_drawn(figure):
    figure.savefig(io.BytesIO(), format="svg")
    width, height = figure.get_size_inches()
    assert width < 50 and height < 100


@pytest.mark.parametrize("words", TEXTS)
def test_titles(words):
    schedule = ag.simulate("pure_async", ag.compute_times.fixed([1]), num_gradients=9)
    is_drawn(ag.plot.schedule(schedule, title=words + "\0\ud800"))


def test_labels_in_figures(labelled):
    is_drawn(ag.plot.convergence(labelled))
    is_drawn(ag.plot.step_sizes(labelled, axes=Figure().subplots()))
    problem = ag.quadratic(num_workers=2, num_features=2)
    schedule = ag.simulate(
        "pure_async", ag.compute_times.fixed([1, 2]), num_gradients=60
    )
    is_drawn(ag.plot.correlation_profile(dict.fromkeys(TEXTS[:9], schedule), problem))
    found = ag.theory.certificate(problem, schedule, 0.01)
    is_drawn(ag.plot.certificate(dict.fromkeys(TEXTS, found)))


def test_labels_in_tables_and_files(labelled, tmp_path):
    labelled = labelled.assign_attrs(title=r"$\frac{$")
    written = report.write_results(labelled, tmp_path)
    assert all(path.parent == tmp_path and path.stat().st_size for path in written)
    table = (tmp_path / "table.md").read_text().split("\n\n")[0].split("\n")
    assert len(table) == 2 + len(TEXTS)
    plain = [row.replace(r"\\", "").replace(r"\|", "") for row in table]
    assert {row.count("|") for row in plain} == {plain[0].count("|")}
    assert all(
        row.isprintable() and "<b" not in row.replace(r"\<", "") for row in table
    )
    with open(tmp_path / "table.csv", newline="") as file:
        names = [row["algorithm"] for row in csv.DictReader(file)]
    assert sorted(names) == sorted(TEXTS)
    assert set(ag.load(tmp_path / "results.nc")["algorithm"].values) == set(TEXTS)


def test_labels_in_terminals(labelled, tmp_path, capsys):
    cli._tell(labelled, [tmp_path / "a\x1b[31m"])
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize("words", TEXTS)
def test_every_target_shows_one_line(words):
    for escape in (text.one_line, text.in_markdown, text.in_figure):
        shown = escape(words)
        assert shown.isprintable() and 0 < len(shown) <= 2 * text.LONGEST


def test_figures_that_latex_sets():
    with matplotlib.rc_context({"text.usetex": True}):
        assert text.in_figure("5 % of a_b & {c}^2 \\x") == (
            r"5 \% of a\_b \& \{c\}\textasciicircum{}2 \textbackslash{}x"
        )
        assert text.in_figure(r"$\gamma_1$") == r"$\gamma_1$"


def test_warnings_show_one_line():
    with pytest.warns(UserWarning, match=r"step_size of two lines \\x1b\[31m; a wider"):
        ag.best(
            ag.sweep(
                ag.quadratic(num_workers=2, num_features=2),
                algorithms={"two\nlines \x1b[31m": "pure_async"},
                compute_times=ag.compute_times.fixed([1, 2]),
                step_sizes=[0.05, 0.1],
                num_gradients=20,
            )
        )


def test_what_is_harmless_stays():
    for words in (
        "pure_async",
        "$\\gamma = 2^{-3}$",
        "β = 0.9",
        "a (b) [c] {d}",
        "5 %",
    ):
        assert text.one_line(words) == text.in_figure(words) == words
        assert text.in_terminal(words) == words
    assert text.in_markdown("pure_async, b=5") == "pure_async, b=5"
    assert text.in_terminal("a\n\tb") == "a\n\tb"
