"""A user's own problem, regulariser, bound and step-size rule, outside the package."""

import ast
import dataclasses
import importlib
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax import theory
from asgrad_jax.problems import regularizers
from asgrad_jax.problems.flat_arrays import flat_params, flat_rows, loss_at
from asgrad_jax.theory.bounds import Argument, registry
from asgrad_jax.theory.noise import monte_carlo_noise
from helpers.own_problem import LeastSquares, least_squares

TIMES = ag.compute_times.fixed(mean=range(1, 7))


def _schedule(algorithm="shuffled_async", num_gradients=240):
    return ag.simulate(algorithm, TIMES, num_gradients=num_gradients)


def test_an_own_problem_tells_its_constants():
    problem = least_squares(batch=2)
    found = theory.constants(problem)
    assert found.smooth.certainty == "exact" and found.noise.exact and found.gap_exact
    with jax.enable_x64(True):

        def gradients(flat):
            return flat_rows(problem.local_gradients({"c": flat[0], "w": flat[1:]}))

        hessians = np.asarray(jax.jacobian(gradients)(flat_params(problem)))
    norms = np.linalg.norm(hessians, 2, axis=(1, 2))
    assert found.smooth.per_worker == pytest.approx(norms, rel=1e-10)
    assert found.smoothness == pytest.approx(np.linalg.norm(hessians.mean(0), 2))
    assert found.strong_convexity == pytest.approx(
        np.linalg.eigvalsh(hessians.mean(0))[0]
    )
    gradient = gradients(flat_params(problem)).mean(axis=0)
    best = flat_params(problem) - np.linalg.solve(hessians.mean(0), gradient)
    optimum = loss_at(problem, {"c": best[0], "w": best[1:]})
    assert found.gap == pytest.approx(loss_at(problem) - optimum)
    drawn = monte_carlo_noise(problem, draws=500)
    off = np.abs(found.noise.per_worker - drawn.per_worker)
    assert np.all(off < 4 * drawn.standard_error) and np.all(drawn.per_worker > 0.1)
    # At a point of the user's own, through the pytree.
    point = {"c": np.array(0.5), "w": np.array([1.0, -2.0, 0.0])}
    exact, drawn = (
        f(problem, point) for f in (theory.noise_variance, monte_carlo_noise)
    )
    off = np.abs(exact.per_worker - drawn.per_worker)
    assert exact.exact and np.all(off < 4 * drawn.standard_error)


@pytest.mark.parametrize("batch", [None, 2])
def test_an_own_problem_gets_certificates_rules_and_a_page(batch):
    problem, schedule = least_squares(batch), _schedule()
    limit = theory.step_sizes(problem, schedule)["asgrad_jax theorem"].step_size
    assert limit == pytest.approx(
        theory.bounds.get("largest_step_size")(
            theory.smoothness(problem).largest,
            concurrency=theory.assignment_order(schedule).concurrency,
            flight_max=theory.assignment_order(schedule).flight_max,
            chunk_length=6,
        )
    )
    found = theory.certificate(problem, schedule, limit, seeds=range(4))
    assert found.valid and 0 < found.measured.grad_sq <= found.bound < np.inf
    assert (found.noise_sq > 0) == (batch is not None)
    assert not any("Monte Carlo" in caveat for caveat in found.caveats)
    page = str(theory.report(problem, schedule, compute_times=TIMES, step_size=limit))
    assert "f* exact" in page and "Certificate at step size" in page
    assert "exact at x" in page and "Time to eps" in page


def test_noise_is_the_largest_along_the_run():
    def noise_variance(self, params, worker):
        assert params["w"].shape == (len(worker), 3)
        assert params["c"].shape == worker.shape
        return np.arange(len(worker)) / 100

    problem = _problem(noise_variance=noise_variance)
    found = theory.certificate(
        problem, _schedule(num_gradients=60), 1e-5, chunk_length=7
    )
    assert found.num_jobs == 63  # 60 arrivals and 6 in flight, in chunks of 7
    assert found.noise_sq == pytest.approx(0.62)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Silent(LeastSquares):
    """Knows nothing of itself."""

    smoothness = None
    noise_variance = None

    def lower_bound(self):
        return None


def test_what_a_problem_does_not_know_is_measured_or_missing():
    found = theory.constants(least_squares(2, Silent), lower_bound=0.0)
    true = theory.constants(least_squares(2))
    assert found.smooth.certainty == "lower estimate" and not found.noise.exact
    assert 0.9 * true.smoothness < found.smoothness <= true.smoothness * (1 + 1e-9)
    assert not found.gap_exact and found.gap > true.gap
    assert np.isnan(theory.constants(least_squares(2, Silent)).gap)
    with pytest.raises(ValueError, match="no lower bound"):
        theory.certificate(least_squares(2, Silent), _schedule(), 0.01)


def _problem(**attributes):
    kind = type("Wrong", (LeastSquares,), attributes)
    return least_squares(2, jax.tree_util.register_dataclass(kind))


def _smoothness(**wrong):
    good = theory.smoothness(least_squares())
    return {"smoothness": lambda self, params: good._replace(**wrong)}


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({"smoothness": 2.0}, TypeError, r"Wrong.smoothness must be a function of"),
        ({"smoothness": lambda self: None}, TypeError, r"smoothness must take \(param"),
        (
            {"smoothness": lambda self, params: 2.0},
            TypeError,
            "smoothness must return a problems.constants.Smoothness or None, got",
        ),
        (_smoothness(per_worker=np.ones(5)), ValueError, "each of the 6 workers"),
        (_smoothness(per_worker=-np.ones(6)), ValueError, r"per_worker of .*\[0\]"),
        (_smoothness(of_f=np.nan), ValueError, "of_f of Wrong.smoothness must be"),
        (_smoothness(certainty="sure"), ValueError, "certainty of .* must be 'exact'"),
        (
            {"noise_variance": lambda self, params, worker: np.ones(5)},
            ValueError,
            "each of the 6 points, got 5",
        ),
        (
            {"noise_variance": lambda self, params, worker: -np.ones(6)},
            ValueError,
            "must be a finite number >= 0, got -1",
        ),
        (
            {"lower_bound": lambda self: 0.0},
            TypeError,
            r"lower_bound must return a problems.constants.LowerBound",
        ),
        (
            {"lower_bound": lambda self: ag.problems.LowerBound(np.inf)},
            ValueError,
            "value of Wrong.lower_bound must be a finite number",
        ),
        (
            {"lower_bound": lambda self: ag.problems.LowerBound(1e9)},
            ValueError,
            r"lower_bound must be at most f\(x_0\)",
        ),
        (
            {"gradient_bias": "jobs return the sign of a gradient"},
            ValueError,
            "the sign of a gradient; this theory is for jobs",
        ),
    ],
)
def test_wrong_constants_are_named(attributes, error, message):
    with pytest.raises(error, match=message):
        theory.constants(_problem(**attributes))


def test_theory_knows_no_class_of_problems():
    """It asks problems, and never meets their modules."""
    allowed = {"problem", "constants", "flat_arrays", "sampling"}
    for path in Path(theory.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                _, _, module = (node.module or "").partition("asgrad_jax.problems.")
                assert not module or module in allowed, path
                assert node.module != "asgrad_jax.problems", path


def test_dependent_noise_is_not_certified():
    problem = _problem(independent_noise=False)
    assert not theory.constants(problem).independent_noise
    found = theory.certificate(problem, _schedule(num_gradients=60), 1e-4)
    assert [c.name for c in found.conditions if not c.holds] == [
        "noise has mean zero given the past"
    ]


COSINE = ag.problems.Regularizer(
    "cosine",
    value=lambda x: jnp.sum(1 - jnp.cos(x), axis=-1),
    gradient=jnp.sin,
    smoothness=1.0,
    convexity=-1.0,
    lower_bound=0.0,
)


def _logistic(regularizer, **options):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60, 4))
    labels = np.sign(features[:, 0] + 0.3 * rng.normal(size=60))
    return ag.logistic_regression(
        features, labels, 6, regularizer=regularizer, strength=0.3, **options
    )


def test_an_own_regularizer_is_one_record(monkeypatch):
    monkeypatch.setattr(regularizers, "_REGISTERED", {})
    assert ag.problems.register_regularizer(COSINE) is COSINE
    problem, plain = _logistic("cosine"), _logistic(None)
    x = jnp.array([[0.3, -1.0, 2.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    with_it, without = problem.metrics(x), plain.metrics(x)
    added = 0.3 * np.sum(1 - np.cos(x), axis=1)
    assert with_it["loss"] - without["loss"] == pytest.approx(added, abs=1e-6)
    tables = [np.asarray(p.local_gradients(x[0])) for p in (problem, plain)]
    assert tables[0] - tables[1] == pytest.approx(
        np.tile(0.3 * np.sin(x[0]), (6, 1)), abs=1e-6
    )
    found, bare = theory.constants(problem), theory.constants(plain)
    assert found.smooth.per_worker == pytest.approx(bare.smooth.per_worker + 0.3)
    assert found.smooth.certainty == "upper bound" and found.strong_convexity == 0
    schedule = _schedule()
    step = theory.step_sizes(problem, schedule)["asgrad_jax theorem"].step_size
    assert theory.certificate(problem, schedule, step).valid
    # Passed as it is, it is the same problem; a saved config tells it from others.
    same = _logistic(COSINE)
    assert jax.tree.structure(same) == jax.tree.structure(problem)
    other = dataclasses.replace(COSINE, value=lambda x: jnp.sum(x * 0, axis=-1))
    kept = [
        ag.sweep_config(
            ag.sweep(
                given,
                algorithms=["pure_async"],
                compute_times=TIMES,
                step_sizes=[0.1],
                num_gradients=12,
            )
        )["problem"]["regularizer"]
        for given in (problem, _logistic(other))
    ]
    assert kept[0]["name"] == kept[1]["name"] == "cosine" and kept[0] != kept[1]
    assert (plain.regularizer, _logistic("l2").regularizer) == (None, "l2")


def test_unknown_constants_of_a_regularizer_are_unknown():
    sharp = ag.problems.Regularizer(
        "sharp",
        value=lambda x: jnp.sum(x**4, axis=-1),
        gradient=lambda x: 4 * x**3,
        smoothness=None,
        convexity=0.0,
        lower_bound=None,
    )
    found = theory.constants(_logistic(sharp))
    assert found.smooth.certainty == "lower estimate" and np.isnan(found.gap)


def test_bad_regularizers(monkeypatch):
    monkeypatch.setattr(regularizers, "_REGISTERED", {})
    good = dict(
        value=jnp.sum, gradient=jnp.sign, smoothness=1.0, convexity=0.0, lower_bound=0.0
    )
    for wrong, error, message in [
        ({"gradient": 1.0}, TypeError, "gradient must be a function"),
        ({"smoothness": -1.0}, ValueError, "smoothness must be a finite number >= 0"),
        ({"convexity": -2.0}, ValueError, "smoothness must be a finite number >= 2"),
        ({"lower_bound": np.nan}, ValueError, "lower_bound must be a finite number"),
    ]:
        with pytest.raises(error, match=message):
            ag.problems.Regularizer("mine", **{**good, **wrong})
    for name in ("l2", "none"):
        with pytest.raises(ValueError, match="must not be one of the package's"):
            ag.problems.register_regularizer(ag.problems.Regularizer(name, **good))
    with pytest.raises(TypeError, match="must be a Regularizer, got str"):
        ag.problems.register_regularizer("l2")
    with pytest.raises(ValueError, match=r"regularizer must be .* got 'cosine'"):
        _logistic("cosine")
    ag.problems.register_regularizer(COSINE)
    with pytest.raises(ValueError, match=r"'cosine'.* got 'cosin'.*did you mean"):
        _logistic("cosin")


def _restart_order(eps: float, *, smoothness: float, rho: float) -> float:
    """Order of restarts of a method of mine.

    Example:
        >>> _restart_order(0.5, smoothness=1.0, rho=0.5)
        4.0
    """
    return smoothness / (eps * rho)


def _register(**changes):
    given = {
        "formula": "L/(eps rho)",
        "gives": "restarts",
        "goal": theory.bounds.GRADIENT_SQ,
        "data": "any",
        "constants": "hidden",
        "source": "my notes",
        "tag": "D",
        "arguments": {"rho": Argument("rho, in (0, 1].", _check_rho)},
        **changes,
    }
    return theory.bounds.bound(**given)(_restart_order)


def _check_rho(name, value):
    if not 0 < value <= 1:
        raise ValueError(f"{name} must lie in (0, 1], got {value}")
    return float(value)


def test_an_own_bound_is_in_the_registry(monkeypatch):
    monkeypatch.setattr(registry._REGISTRY, "_known", {**registry._REGISTRY._known})
    before = theory.bounds.names()
    mine = _register()
    assert theory.bounds.names() == [*before, "_restart_order"]
    record = theory.bounds.get("_restart_order")
    assert record(0.5, smoothness=2.0, rho=0.5) == 8.0
    assert mine(0.5, smoothness=2.0, rho=0.5) == 8.0
    # Checks and texts come from the tables.
    with pytest.raises(ValueError, match=r"^eps must be a finite number > 0, got 0"):
        mine(0.0, smoothness=1.0, rho=0.5)
    with pytest.raises(ValueError, match=r"^rho must lie in \(0, 1\], got 2"):
        mine(0.5, smoothness=1.0, rho=2)
    with pytest.raises(TypeError, match=r"_restart_order\(\) missing 1 required"):
        mine(0.5, smoothness=1.0)
    for text in (
        "    L/(eps rho)\n",
        "eps: goal for the squared gradient norm",
        "smoothness: L of f, > 0.",
        "rho: rho, in (0, 1].",
        "Restarts, hidden constant one.",
        ">>> _restart_order(0.5",
        "Source: my notes [D].",
    ):
        assert text in mine.__doc__
    assert "### _restart_order" in theory.bounds.page(["_restart_order"])
    assert "_restart_order" not in theory.bounds.page()
    _register()  # the cell of a notebook, run again


def test_a_bound_of_no_module(monkeypatch):
    """What `exec` defines has none."""
    monkeypatch.setattr(registry._REGISTRY, "_known", {**registry._REGISTRY._known})
    monkeypatch.setattr(_restart_order, "__module__", None)
    _register()
    assert "_restart_order" not in theory.bounds.page()
    assert theory.bounds.get("_restart_order")(1.0, smoothness=1.0, rho=0.5) == 2.0


def test_bad_bounds(monkeypatch):
    monkeypatch.setattr(registry._REGISTRY, "_known", {**registry._REGISTRY._known})
    for changes, error, message in [
        ({"tag": "X"}, ValueError, "tag must be 'V'"),
        ({"data": "hom"}, ValueError, "data must be 'homogeneous'"),
        ({"constants": "one"}, ValueError, "constants must be 'included'"),
        ({"goal": ""}, ValueError, "goal must say what eps of _restart_order bounds"),
        ({"arguments": {}}, TypeError, "argument 'rho' of _restart_order must be"),
    ]:
        with pytest.raises(error, match=message):
            _register(**changes)
    options = {"formula": "0", "gives": "0", "data": "any", "source": "", "tag": "D"}
    with pytest.raises(ValueError, match="silent must have a docstring"):

        @theory.bounds.bound(**options)
        def silent() -> float:
            return 0.0

    with pytest.raises(ValueError, match="'minibatch_order', which asgrad_jax"):

        @theory.bounds.bound(**options)
        def minibatch_order() -> float:
            """Nothing."""
            return 0.0

    with pytest.raises(ValueError, match=r"got 'minibatch_ordre'.*did you mean"):
        theory.bounds.get("minibatch_ordre")


def test_an_own_rule_is_asked(monkeypatch):
    # The module, which `theory` hides behind its function.
    module = importlib.import_module("asgrad_jax.theory.step_sizes")
    monkeypatch.setattr(module, "_RULES", dict(module._RULES))

    @theory.step_size_rule("mine", "my notes [D]")
    def mine(inputs):
        if inputs.eps is None:
            raise theory.NotApplicable("needs the goal: eps=...")
        return inputs.eps / inputs.smoothness, f"eps/L, {len(inputs.distance)} rows"

    problem, schedule = least_squares(), _schedule()
    found = theory.step_sizes(problem, schedule, eps=0.5)["mine"]
    assert found.step_size == pytest.approx(0.5 / theory.smoothness(problem).of_f)
    assert (found.reason, found.source) == ("eps/L, 240 rows", "my notes [D]")
    refused = theory.step_sizes(problem, schedule)["mine"]
    assert (refused.step_size, refused.reason) == (None, "needs the goal: eps=...")
    below = theory.step_sizes(least_squares(kind=Silent), schedule, eps=0.5)["mine"]
    assert below.step_size is None and "estimated from below" in below.reason
    assert "my notes [D]" in str(theory.report(problem, schedule, eps=0.5))
    with pytest.raises(TypeError, match=r"the rule 'wrong' must take \(inputs\)"):
        theory.step_size_rule("wrong", "")(lambda: 1.0)
