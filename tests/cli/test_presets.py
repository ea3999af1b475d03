"""Presets: every file is whole at every scale, and can be copied and run."""

import os
import tomllib

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax import datasets
from asgrad_jax.algorithms.public_code import public_code
from asgrad_jax.cli import cli, config, presets, problem_kinds
from asgrad_jax.report.citations import references

NAMES = presets.names()
SCALES = {
    name: ["full", *tomllib.loads(presets.text_of(name, "full"))["scales"]]
    for name in NAMES
}
_FILES = ("a9a", "phishing", "w7a")


@pytest.fixture
def data_folder(shared, monkeypatch):
    monkeypatch.setenv(datasets.DATA_VARIABLE, str(shared / "data"))
    return shared / "data"


def test_the_asked_ones_are_there():
    asked = "w7a phishing a9a synthetic offline public-code".split()
    assert {f"asgrad-{name}" for name in asked} <= {*NAMES}
    asked = """mishchenko-quadratic koloskova-1000 koloskova-straggler
        ringmaster-quadratic ringmaster-mlp ringleader-mlp rescaled-quadratic
        mindflayer-heavy-tail ata-quadratic clipped-two-speed generalized-routing"""
    assert {*asked.split()} <= {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_scale_is_a_config(name, tmp_path):
    assert {"ci", "laptop", "full"} <= {*SCALES[name]}
    path = tmp_path / "config.toml"
    for scale in SCALES[name]:
        path.write_text(presets.text_of(name, scale))
        asked = config.load_config(path)
        assert asked.scale == scale and asked.title
        labels = {*config.named_algorithms(asked)}
        times = config.named_compute_times(asked)
        workers = {model.num_workers for model in times.values()}
        assert workers == {asked.problem["num_workers"]}
        assert {*asked.about.sources} <= {*references()} and asked.about.sources
        assert asked.about.numbers and asked.about.deviations and asked.claims
        for claim in asked.claims:
            assert scale == "ci" or {claim.lower, claim.upper} <= labels
            assert scale == "ci" or claim.compute_times in {None, *times}


@pytest.mark.parametrize("name", NAMES)
def test_the_problem_of_the_smallest_scale_can_be_made(name, tmp_path, request):
    path = tmp_path / "config.toml"
    path.write_text(presets.text_of(name, "ci"))
    asked = config.load_config(path)
    if asked.problem.get("data") in _FILES:
        folder = request.getfixturevalue("data_folder")
        if not (folder / f"{asked.problem['data']}.txt").is_file():
            pytest.skip(f"no {asked.problem['data']} in {folder}")
    problem = config.build_problem(asked.problem)
    assert problem.num_workers == asked.problem["num_workers"]


def test_networks_run_on_the_users_mnist_or_on_digits(tmp_path, monkeypatch):
    """Which images they were is told, and files that were changed are refused."""
    monkeypatch.delenv(datasets.DATA_VARIABLE, raising=False)
    problem = problem_kinds.images_mlp(
        20, hidden=4, batch_size=4, partition="dirichlet", alpha=0.1, balanced=True
    )
    assert problem.counts.tolist() == [89] * 20
    assert problem.init_params()["layer_1"]["weight"].shape == (64, 4)
    assert "digits" in problem_kinds.mnist_or_digits().words
    shared = problem_kinds.images_mlp(3, hidden=4, num_rows=100, shared=True)
    assert shared.num_workers == 3 and shared.counts.tolist() == [100]
    monkeypatch.setenv(datasets.DATA_VARIABLE, str(tmp_path))
    assert "no MNIST in its folder" in problem_kinds.mnist_or_digits().words
    (tmp_path / "mnist").mkdir()
    head = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28])
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(head + bytes(2 * 784))
    labels = tmp_path / "mnist" / "train-labels-idx1-ubyte"
    labels.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 1]))
    found = problem_kinds.mnist_or_digits()
    assert found.features.shape == (2, 784) and found.labels.tolist() == [7, 1]
    assert "MNIST, 2 images (train-images-idx3-ubyte: SHA-256 " in found.words
    (tmp_path / "mnist.npz").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"mnist\.npz"):
        problem_kinds.mnist_or_digits()
    np.savez(tmp_path / "mnist.npz", x_train=np.zeros((2, 28, 28)), y_train=[7, 1])
    with pytest.raises(ValueError, match=r"mnist\.npz must have the SHA-256 731c5ac"):
        problem_kinds.mnist_or_digits()


def test_a_copy_is_a_config_with_its_scale(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = lambda *words: cli.app([*words], standalone_mode=False)  # noqa: E731
    run("presets")
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES)
    run("presets", "copy", "asgrad-offline", "--scale", "ci")
    asked = config.load_config("asgrad-offline.toml")
    assert asked.num_gradients == 1000 and asked.scale == "ci"
    with pytest.raises(ValueError, match="must not exist"):
        run("presets", "copy", "asgrad-offline")
    with pytest.raises(ValueError, match="did you mean 'asgrad-offline'"):
        run("presets", "copy", "asgrad-ofline", "x.toml")
    assert not os.path.exists("x.toml")


def test_unknown_scale(tmp_path):
    with pytest.raises(ValueError, match="unknown scale 'huge'"):
        presets.run_preset("asgrad-offline", "huge", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("until = 3.0\nnum_gradients = 10", "either num_gradients or until"),
        ("until = 3.0", "until needs tuning_seeds"),
        ("num_gradients = 5\nextend = 2", "extend needs tuning_seeds"),
        ("tuning_seeds = 2", "num_gradients is missing"),
        ('num_gradients = 5\nscale = "ci"', "unknown scale 'ci'"),
    ],
)
def test_errors_of_the_keys(keys, words, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        f'algorithms = ["pure_async"]\nstep_sizes = [1.0]\n{keys}\n'
        '[problem]\nkind = "quadratic"\n[compute_times]\nname = "fixed"\n'
    )
    with pytest.raises(ValueError, match=words):
        config.load_config(path)


def test_a_plan_counts_tuning_seeds_and_needs_gradients(tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text(presets.text_of("koloskova-straggler", "ci"))
    cli.app(["plan", str(path)], standalone_mode=False)
    # 3 algorithms x 2 models x (2 + 1 seeds), 2 step sizes
    assert "18 schedules x 2 lanes" in capsys.readouterr().out
    path.write_text(presets.text_of("rescaled-quadratic", "ci"))
    for command in ("plan", "theory"):
        with pytest.raises(ValueError, match=r"num_gradients must be .* until = 200"):
            cli.app([command, str(path)], standalone_mode=False)


def test_a_folder_of_another_run_is_refused(tmp_path):
    (tmp_path / "config.toml").write_text("title = 'mine'")
    with pytest.raises(ValueError, match="must be a new folder"):
        presets.run_preset("asgrad-offline", "ci", tmp_path)
    assert (tmp_path / "config.toml").read_text() == "title = 'mine'"


# The published code ---------------------------------------------------------------


def test_others_data_is_what_the_published_runs_show(shared):
    """The data of a job are those of the worker that finished when it was given out."""
    for path in sorted((shared / "golden").glob("*_[rs]*_seed1.npz")):
        with np.load(path) as golden:
            done, read = golden["exec_worker"], golden["read"]
            giver = np.where(read > 0, done[np.maximum(read - 1, 0)], done)
            assert np.array_equal(giver, golden["data_worker"]), path.name


def test_pure_on_ticks_is_the_published_run_row_by_row(shared):
    times = ag.compute_times.tick(range(1, 11), "fixed")
    schedule = ag.simulate("pure_async", times, num_gradients=500)
    with np.load(shared / "golden" / "w7a_n10_pure_fixed_g0.5_seed1.npz") as golden:
        assert np.array_equal(schedule.worker, golden["data_worker"])
        assert np.array_equal(schedule.read, golden["read"])


def test_queues_stall_as_in_the_published_runs(shared):
    """So few workers compute after a hundred gradients, and delays are as long."""
    with np.load(shared / "golden" / "phishing_n10_random_fixed_g1_seed1.npz") as file:
        active, read = file["n_active"], file["read"]
    published = np.arange(500) - read
    times = ag.compute_times.tick(range(1, 11), "fixed")
    code = public_code("random", others_data=False)
    ours = [ag.simulate(code, times, num_gradients=500, seed=s) for s in range(8)]
    assert active[99] <= 2 and active[0] == 9
    # As many jobs are assigned as in the written algorithm, so that the average delay
    # is the same; the time that a gradient takes is that of one or two workers.
    for schedule in ours:
        late = np.diff(schedule.time[100:]).mean()
        assert late > 2.5  # five or so with one worker of mean 5.5, 0.34 with ten
        assert abs(schedule.delay.mean() - published.mean()) < 1.0
    largest = [s.delay.max() for s in ours]
    assert min(largest) / 2 < published.max() < 2 * max(largest)


@pytest.mark.parametrize("order", ["random", "shuffled"])
def test_without_quirks_it_is_the_written_algorithm(order):
    times = ag.compute_times.tick(range(1, 6), "normal")
    plain = public_code(order, others_data=False, stalled_queues=False)
    one = ag.simulate(plain, times, num_gradients=100, seed=3)
    other = ag.simulate(f"{order}_async", times, num_gradients=100, seed=3)
    assert np.array_equal(one.worker, other.worker)
    assert np.array_equal(one.read, other.read)
