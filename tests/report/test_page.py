"""The page: all there, nothing loaded, what users typed escaped, the same numbers."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import asgrad_jax as ag
from asgrad_jax.algorithms.registry import REGISTRY
from asgrad_jax.cli import cli, config, pages, presets
from asgrad_jax.plot.style import result_styles
from asgrad_jax.report import axes, files, page, panels
from asgrad_jax.report.certificates import certified
from asgrad_jax.report.citations import bibtex, references
from asgrad_jax.report.index import write_index

pytest.importorskip("jinja2", reason="the extra `report` is not installed")
pytest.importorskip("plotly", reason="the extra `report` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:the best hyper-parameters")

EVIL = "<script>alert('x')</script>"
CONFIG = f"""
title = "a < b & {EVIL}"
algorithms = ["pure_async", {{ name = "minibatch", label = "{EVIL}" }}]
step_sizes = [0.02, 0.1]
num_gradients = 200
seeds = 8
tuning_seeds = 2
extend = 0

[problem]
data = "breast_cancer"
num_workers = 4
partition = "sorted"
drop_last = true
strength = 0.01

[compute_times]
name = "exponential"
mean = [1.0, 2.0, 3.0, 4.0]

[about]
summary = "What {EVIL} says."
sources = ["asgrad"]
deviations = ["none & all"]
[about.numbers]
"4 <workers>" = "chosen"

[[claims]]
text = "mini-batch {EVIL} ends below pure"
lower = "{EVIL}"
upper = "pure_async"

[scales.other]
seeds = 9
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run's folder, as `asgrad sweep` leaves it, with its page."""
    folder = tmp_path_factory.mktemp("run")
    path = folder / "config.toml"
    path.write_text(CONFIG)
    result = config.run_config(config.load_config(path), directory=folder / "lanes")
    pages.write_everything(result, folder)
    return folder


@pytest.fixture(scope="module")
def html(folder):
    return (folder / page.PAGE).read_text()


def test_all_parts_are_there(html, folder):
    for part in (
        *("run", "verdicts", "settings", "figures", "play", "schedules", "theory"),
        *("reproduce", "config", "bibtex", "data"),
    ):
        assert f'id="{part}"' in html, part
    assert html.count("data:image/svg+xml;base64,") >= 5
    assert "@inproceedings{asgrad," in html
    names = {p.name for p in folder.iterdir()}
    assert names >= {"results.nc", "table.csv", "table.md", "table.tex", "report.html"}
    assert names >= {"verdicts.csv", "verdicts.tex"}
    drawn = {p.name for p in (folder / "figures").iterdir()}
    assert drawn >= {"schedule-pure_async.pdf", "correlation-profile.pdf"}
    assert drawn >= {"step-sizes.pdf", "certificates.pdf", "time-to-accuracy.pdf"}
    assert r"\toprule" in (folder / "table.tex").read_text()


def test_certificates_stand_beside_the_tuned_step_sizes(html, folder):
    """Bounds are above what was measured, at step sizes that theory allows."""
    table = html[html.index("Certificates: ") :].partition("</table>")[0]
    rows = re.findall(r"<tr>(<td.*?)</tr>", table)
    assert len(rows) == 2
    best = ag.best(ag.load(folder / files.RESULTS))["step_size"].values.ravel()
    for row, tuned in zip(rows, best, strict=True):
        keys = re.findall('data-key="([^"]*)"', row)
        own, largest, ratio, jobs, bound, measured = map(float, keys[1:])
        assert own == pytest.approx(tuned, rel=1e-3)
        assert ratio == pytest.approx(tuned / largest, rel=0.02)
        assert jobs > 100 and bound > measured > 0


def test_another_server_is_named_and_not_set_beside_theory(tmp_path, capsys):
    path = tmp_path / "config.toml"
    text = CONFIG.replace("seeds = 8", "seeds = 2")
    path.write_text(text.replace("[problem]", 'server = "adam"\n[problem]'))
    result = config.run_config(config.load_config(path))
    pages.write_everything(result, tmp_path)
    html = (tmp_path / page.PAGE).read_text()
    assert "in place of plain SGD" in html
    assert "this run has a server of its own" in html
    assert not (tmp_path / "figures" / "certificates.pdf").exists()
    cli.app(["theory", str(path)], standalone_mode=False)
    assert capsys.readouterr().out.startswith("Theory is of plain SGD steps")


def test_a_run_that_is_too_large_for_a_certificate_is_refused():
    centres = np.zeros((500, 500))
    problem = ag.problems.Quadratic.from_arrays(np.ones((1, 500)), centres)
    times, known = ag.compute_times.fixed(range(1, 501)), None
    given = dict(best=0.1, largest=0.1, num_gradients=10_000, seed=0)
    with pytest.raises(ValueError, match="must be at most 100,000,000 numbers"):
        certified(problem, "pure_async", times, known, **given)


def test_nothing_is_loaded_from_elsewhere(html):
    without_plotly = html.replace(_plotly(), "")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", without_plotly)
    assert "default-src 'none'" in html
    assert "@import" not in without_plotly and "url(" not in without_plotly


def _plotly():
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def test_what_users_typed_is_escaped(html):
    rest = html.replace(_plotly(), "")
    assert "<script>alert" not in rest
    assert "&lt;script&gt;alert" in rest
    assert rest.count("<script") == 3  # Plotly, the data, ours


def test_the_numbers_of_the_figure_are_those_of_the_result(html, folder):
    text = re.search(r'id="data">(.*?)</script>', html, re.S)[1]
    data = json.loads(text)
    result = ag.load(folder / "results.nc")
    fresh = result.isel(seed=~result["tuning"].values)

    def unpack(packed):
        import base64

        flat = np.frombuffer(base64.b64decode(packed["data"]), "<f4")
        return flat.reshape(packed["shape"])

    single = unpack(data["curves"]["grad_norm"]["single"])  # [c, a, lane, seed, record]
    wanted = fresh["grad_norm"].transpose(
        "compute_times", "algorithm", "step_size", "seed", "record"
    )
    assert np.array_equal(single, wanted.values)
    band = unpack(data["curves"]["grad_norm"]["bands"]["gradients"]["y"])
    median = wanted.median("seed").values
    np.testing.assert_allclose(band[..., 1, :], median, rtol=1e-6)
    best = ag.best(result).isel(compute_times=0)
    for a, lane in enumerate(data["best"][0]):
        assert result["step_size"][lane] == best["step_size"][a]
    assert [name for name, _ in data["axes"]][:2] == ["gradients", "server_steps"]
    epochs = unpack(data["x"]["epochs"])
    assert epochs.max() == pytest.approx(50)  # 200 gradients of a quarter each
    assert [name for name, _ in data["axes"]][-1] == "bits"
    # 200 uploads and 204 downloads of 31 floats: four workers are busy at the end.
    bits = unpack(data["x"]["bits"])[0, 0]
    assert bits[:, 0] == pytest.approx(4 * 31 * 32)
    assert bits[:, -1] == pytest.approx(404 * 31 * 32)


def test_epochs_of_mini_batches():
    features, labels = ag.datasets.breast_cancer()
    problem = ag.logistic_regression(features[:560], labels[:560], 4, batch_size=7)
    result = ag.sweep(
        problem,
        algorithms="pure_async",
        compute_times=ag.compute_times.fixed([1, 1, 1, 1]),
        step_sizes=[0.1],
        num_gradients=160,
    )
    epochs = axes.with_epochs(result, problem)["epochs"]
    assert float(epochs[-1]) == pytest.approx(160 * 7 / 560)


def test_bits_of_runs_up_to_a_time_and_as_the_config_says(tmp_path):
    """Each seed is counted as far as it went, with the config's sizes."""
    text = CONFIG.replace("num_gradients = 200", "until = 40.0\nbits_down = 0.0")
    path = tmp_path / "config.toml"
    path.write_text(text.replace("seeds = 8", "bits_up = 5.0\nseeds = 2"))
    result = config.run_config(config.load_config(path))
    bits = axes.with_bits(result, pages.setting_of(path))["bits"]
    assert np.array_equal(bits.values, 5.0 * result["gradients"].values)
    assert len(np.unique(bits.isel(algorithm=0, record=-1))) > 1
    path.write_text(text.replace("bits_down = 0.0", "bits_down = -1.0"))
    with pytest.raises(ValueError, match="bits_down must be a finite number >= 0"):
        config.load_config(path)


def test_the_verdict_is_on_the_page_and_from_the_fresh_seeds(html, folder):
    setting = pages.setting_of(folder / "config.toml")
    [verdict] = files_verdicts(folder, setting)
    assert verdict.seeds == 8
    assert f">{verdict.answer}</b>" in html
    assert f"{verdict.ratio:.3g}" in html
    [row] = pd.read_csv(folder / "verdicts.csv").to_dict("records")
    assert row["answer"] == verdict.answer
    assert row["ratio"] == pytest.approx(verdict.ratio)


def files_verdicts(folder, setting):
    from asgrad_jax.report.verdicts import verdicts

    return verdicts(ag.load(folder / files.RESULTS), list(setting.claims))


def test_a_folder_without_config_has_a_page_too(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "results.nc").write_bytes((folder / "results.nc").read_bytes())
    monkeypatch.setattr("sys.argv", ["asgrad", "report", str(tmp_path)])
    cli.app(["report", str(tmp_path)], standalone_mode=False)
    text = (tmp_path / page.PAGE).read_text()
    assert 'id="settings"' in text and 'id="schedules"' not in text
    assert '"num_gradients": 200' in text.replace("&#34;", '"')
    assert "report.html" in capsys.readouterr().out


def test_data_that_are_gone_cost_only_their_panels(folder, tmp_path, capsys):
    for name in ("results.nc", "config.toml"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config_path = tmp_path / "config.toml"
    config_path.write_text(CONFIG.replace("breast_cancer", "gone.libsvm"))
    cli.app(["report", str(tmp_path)], standalone_mode=False)
    assert "gone.libsvm" in capsys.readouterr().err
    assert 'id="settings"' in (tmp_path / page.PAGE).read_text()


def test_the_config_of_a_preset_gives_the_same_numbers_again(tmp_path, monkeypatch):
    """The page's config, saved and swept, and the folder of `reproduce`."""
    # Drawing schedules and theory takes longest, and the module's page has them.
    monkeypatch.setattr(page, "_panels", lambda *_: {"schedules": [], "theory": None})
    title, _ = presets.run_preset("koloskova-straggler", "ci", tmp_path / "run")
    text = (tmp_path / "run" / page.PAGE).read_text()
    import html as entities

    shown = re.search(r'<pre id="config">(.*?)</pre>', text, re.S)[1]
    again = tmp_path / "again.toml"
    again.write_text(entities.unescape(shown))
    result = config.run_config(config.load_config(again))
    first = ag.load(tmp_path / "run" / "results.nc")
    assert result["grad_norm"].equals(first["grad_norm"])
    assert result["schedule_hash"].equals(first["schedule_hash"])
    assert title in text
    index = write_index(tmp_path, [("run", title, [])], {"other": "no <data>"})
    shown = index.read_text()
    assert "run/report.html" in shown and "data:image/png;base64," in shown
    assert "no &lt;data&gt;" in shown


def test_without_the_libraries_the_rest_is_written(folder, monkeypatch, capsys):
    def missing():
        raise ImportError("the page needs Jinja2")

    monkeypatch.setattr(page, "check_libraries", missing)
    (folder / "table.md").unlink()
    cli.app(["report", str(folder)], standalone_mode=False)
    assert (folder / "table.md").exists()
    assert "no report.html" in capsys.readouterr().err
    with pytest.raises(ImportError, match="Jinja2"):
        cli.app(["reproduce", "asgrad-offline"], standalone_mode=False)


def test_citations():
    known = references()
    assert all(entry.count("{") == entry.count("}") for entry in known.values())
    text = bibtex(["asgrad", "asgrad"], ["pure_async", "unknown"])
    assert text.count("@inproceedings{asgrad,") == 1 and "{jax," in text
    with pytest.raises(ValueError, match="'asgard' must be one of"):
        bibtex(["asgard"], [])


def test_an_algorithm_has_its_paper():
    from asgrad_jax.report.citations import _ALGORITHMS

    assert {*_ALGORITHMS.values()} <= {*references()}
    assert {*_ALGORITHMS} <= {*ag.algorithms.names()}


def test_citation_of_a_result():
    ag.algorithms.register("homogeneous")(mine)
    try:
        result = ag.sweep(
            ag.quadratic(num_workers=2, num_features=2),
            algorithms={"a": "rennala", "b": "ace", "c": ag.algorithms.get("mine")},
            compute_times=ag.compute_times.fixed([1, 2]),
            step_sizes=[0.1],
            num_gradients=40,
        )
    finally:
        REGISTRY.remove("mine")
    text = ag.citation(result)
    assert "% ace: recalled from reviews" in text
    assert "% mine: a method of your own" in text
    keys = [line for line in text.splitlines() if line.startswith("@")]
    assert keys == ["@inproceedings{rennala,", "@misc{asgrad_jax,", "@misc{jax,"]
    with pytest.raises(TypeError, match="result must be the dataset of a sweep, got 3"):
        ag.citation(3)


def mine():
    """Every second gradient."""
    return ag.Algorithm(name="mine", gradients_per_step=2)


def test_methods_keep_their_colours_where_one_is_left_out(folder):
    """A schedule that is too long for theory does not repaint those of the others."""
    result = ag.load(folder / files.RESULTS)
    setting = pages.setting_of(folder / "config.toml")
    [(times, by_name)] = panels.schedules_of(result, setting).items()
    last = {EVIL: by_name[EVIL]}
    drawn = panels.theory_panel(result, setting, {times: last}).figures
    [profile] = [figure for name, _, figure in drawn if name == "correlation-profile"]
    [entry] = profile.axes[0].get_legend().legend_handles
    assert entry.get_color() == result_styles(result)[EVIL].color
    assert entry.get_color() != result_styles(result)["pure_async"].color
