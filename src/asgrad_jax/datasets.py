"""Real and synthetic data sets, all as (features [N, d], labels [N] in {-1, +1})."""

import bz2
import hashlib
import http.client
import os
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_count, check_number, check_numbers
from asgrad_jax._util.files import atomic_path

# scikit-learn is imported where it is used: it doubles the import time of the package.

_SITE = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary"
DATA_VARIABLE = "ASGRAD_DATA"


class _Known(NamedTuple):
    file: str  # on the LIBSVM site
    num_features: int
    sha256: str | None = None


_KNOWN = {
    "a1a": _Known("a1a", 123),
    "a9a": _Known("a9a", 123),
    "australian": _Known("australian", 14),
    "colon-cancer": _Known("colon-cancer.bz2", 2000),
    "covtype.binary": _Known("covtype.libsvm.binary.scale.bz2", 54),
    "german.numer": _Known("german.numer", 24),
    "gisette": _Known("gisette_scale.bz2", 5000),
    "ijcnn1": _Known("ijcnn1.bz2", 22),
    # The 38 training rows; the AsGrad experiments joined them with leu.t to 72.
    "leukemia": _Known("leu.bz2", 7129),
    "madelon": _Known("madelon", 500),
    "mushrooms": _Known("mushrooms", 112),
    "phishing": _Known(
        "phishing",
        68,
        "48bcea643233b42db820c601781db2a32e720e01f7e23be5e9b7326f32dc6503",
    ),
    "real-sim": _Known("real-sim.bz2", 20958),
    "w7a": _Known(
        "w7a.t", 300, "8d8441243c081b67b2da7a3fd169b664be2535e245c9b951eb90d22c438dc1e8"
    ),
    "w8a": _Known("w8a", 300),
}


def names() -> tuple[str, ...]:
    """Names that `load_libsvm` knows, in alphabetical order.

    `digits_binary`, `breast_cancer` and `synthetic` need no file and are functions of
    their own.

    Example:
        >>> "w7a" in names()
        True
    """
    return tuple(sorted(_KNOWN))


def load_libsvm(
    path_or_name: str | os.PathLike, *, num_features: int | None = None
) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    """Reads a two-class data set in LIBSVM format.

    An existing file is read as it is, its name notwithstanding. Otherwise the argument
    must be one of `names()` (an ending `.txt` is ignored), and the file NAME, NAME.txt,
    or either with `.bz2`, is looked for in the folder named by the environment variable
    ASGRAD_DATA, then in the cache folder ($XDG_CACHE_HOME/asgrad_jax or
    ~/.cache/asgrad_jax); if it is in neither, it is downloaded into the cache. Files
    found by name must have the SHA-256 checksum known for it. Only `phishing` and `w7a`
    have one; the others are taken as they come, *not verified*.

    `w7a` is the file of the AsGrad experiments, with 25,057 rows; the LIBSVM site lists
    that one as `w7a.t` and another, with 24,692 rows, as `w7a`.

    Args:
        path_or_name: a file (plain, .gz or .bz2) or a known name.
        num_features: d, where the file may not mention the last columns. Known names
            bring their own.

    Returns:
        features: SciPy CSR matrix [N, d], float64.
        labels: float64 [N] in {-1, +1}.

    Raises:
        FileNotFoundError: if there is no such file or name, or a known file is missing
            and cannot be downloaded; the message says what to put where.
        ValueError: if the file is damaged, not in LIBSVM format, empty, not finite, has
            another checksum than it must, has more than `num_features` columns, or has
            labels other than two classes.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "tiny.txt"
        >>> _ = path.write_text("+1 1:0.5 3:2\\n-1 2:1\\n")
        >>> features, labels = load_libsvm(path)
        >>> features.toarray().tolist(), labels.tolist()
        ([[0.5, 0.0, 2.0], [0.0, 1.0, 0.0]], [1.0, -1.0])
    """
    if num_features is not None:
        check_count("num_features", num_features)
    path = Path(path_or_name)
    if not path.is_file():
        name = os.fspath(path_or_name).removesuffix(".txt")
        if name not in _KNOWN:
            raise FileNotFoundError(
                f"the data set must be a file or one of {', '.join(names())}, got "
                f"{os.fspath(path_or_name)!r}"
            )
        path = _find(name)
        if num_features is None:
            num_features = _KNOWN[name].num_features
    return _read(path, num_features)


def _read(
    path: Path, num_features: int | None
) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    from sklearn.datasets import load_svmlight_file

    try:
        loaded: Any = load_svmlight_file(os.fspath(path), n_features=num_features)
    except (ValueError, OverflowError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as a LIBSVM file (lines of `label index:value ...`"
            f", indices increasing): {error}"
        ) from error
    features, labels = loaded
    if features.shape[0] == 0:
        raise ValueError(f"{path} must have at least one row, got none")
    if not np.isfinite(features.data).all():
        raise ValueError(
            f"{path} must have finite values, got NaN or infinite ones; remove or fill "
            "in those rows"
        )
    try:
        return features, labels_to_signs(labels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _find(name: str) -> Path:
    """The checked file of a known data set, downloaded if need be."""
    known = _KNOWN[name]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = cache / "asgrad_jax"
    given = os.environ.get(DATA_VARIABLE)
    for folder in [Path(given), cache] if given else [cache]:
        for suffix in ("", ".txt", ".bz2", ".txt.bz2"):
            path = folder / f"{name}{suffix}"
            if path.is_file():
                _check_sum(name, path)
                return path

    url = f"{_SITE}/{known.file}"
    target = cache / (name + (".bz2" if known.file.endswith(".bz2") else ".txt"))
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            content = response.read()  # whole, or it raises
    except (OSError, http.client.HTTPException) as error:
        where = f"{DATA_VARIABLE}={given}" if given else f"{DATA_VARIABLE} (not set)"
        raise FileNotFoundError(
            f"data set {name!r} is not in the folder of {where}, not in {cache}, and "
            f"could not be downloaded ({error}). Download {url} elsewhere and save it "
            f"as {target}, or as {target.name} in a folder named by {DATA_VARIABLE}"
        ) from None  # its trace is urllib's, five times as long as what matters
    cache.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
        _check_sum(name, temporary, source=url)
    return target


def _check_sum(name: str, path: Path, *, source: str | None = None) -> None:
    """Compares the unpacked content with the known checksum, where there is one."""
    expected = _KNOWN[name].sha256
    if expected is None:
        return
    content = path.read_bytes()
    if path.suffix == ".bz2":
        try:
            content = bz2.decompress(content)
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(
                f"{source or path} is not a whole bz2 archive ({error}); remove or "
                "replace it"
            ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(
            f"{source or path} must be the file of {name!r} with SHA-256 {expected}, "
            f"got {found}; remove or replace it, or pass its path to read it as it is"
        )


def digits_binary(
    negative: Iterable[int] = range(5), positive: Iterable[int] = range(5, 10)
) -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits as a two-class problem, shipped with scikit-learn.

    Pixels (8 x 8, values 0 to 16) are divided by 16; a last column of ones is the
    intercept. All ten digits: 1,797 rows, about 180 of each digit, in mixed order.

    Args:
        negative: digits labelled -1.
        positive: digits labelled +1. Digits in neither group are left out.

    Returns:
        features: float64 [N, 65] in [0, 1].
        labels: float64 [N] in {-1, +1}.

    Raises:
        ValueError: if a group is empty, the groups share a digit, or a value is not a
            digit.

    Example:
        >>> features, labels = digits_binary()
        >>> features.shape, float(labels.sum())
        ((1797, 65), -5.0)
    """
    from sklearn.datasets import load_digits

    below, above = set(negative), set(positive)
    if not below or not above or below & above or not below | above <= set(range(10)):
        raise ValueError(
            "negative and positive must be two disjoint groups of digits 0..9, got "
            f"{sorted(below)} and {sorted(above)}"
        )
    pixels, digits = load_digits(return_X_y=True)
    used = np.isin(digits, list(below | above))
    features = _with_intercept(pixels[used] / 16)
    return features, np.where(np.isin(digits[used], list(above)), 1.0, -1.0)


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """The Wisconsin breast-cancer data, shipped with scikit-learn.

    Every column is shifted and scaled to mean 0 and standard deviation 1; a last column
    of ones is the intercept.

    Returns:
        features: float64 [569, 31].
        labels: float64 [569]: -1 malignant (212 rows), +1 benign (357 rows).

    Example:
        >>> features, labels = breast_cancer()
        >>> features.shape, float(labels.sum())
        ((569, 31), 145.0)
    """
    from sklearn.datasets import load_breast_cancer

    values, benign = load_breast_cancer(return_X_y=True)
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    return _with_intercept(scaled), np.where(benign == 1, 1.0, -1.0)


def _with_intercept(features: np.ndarray) -> np.ndarray:
    return np.column_stack([features, np.ones(len(features))])


def synthetic(
    alpha: float,
    beta: float,
    *,
    num_workers: int,
    rows_per_worker: int,
    num_features: int,
    iid: bool = False,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Synthetic(alpha, beta): two-class data distributed differently on every worker.

    For worker i: u_i ~ N(0, alpha^2), model W_i ~ N(u_i, 1) in each of d coordinates,
    intercept c_i ~ N(u_i, 1), B_i ~ N(0, beta^2), mean v_i ~ N(B_i, 1) in each
    coordinate, rows a ~ N(v_i, diag(j^-1.2)), and b = +1 with probability
    sigmoid(a^T W_i + c_i). So alpha says how much the models differ, beta how much the
    features do. With `iid`, one W and one c serve all workers and v_i = (B_i, ...,
    B_i): the workers have one distribution if beta is 0 as well.

    The authors' published code has the signs the other way round (b = -1 with that
    probability). Since W_i and c_i are symmetric about 0, the distribution of the data
    is the same; this function takes the usual sign.

    Args:
        alpha: standard deviation of the models' centres, >= 0.
        beta: standard deviation of the features' centres, >= 0.
        num_workers: n.
        rows_per_worker: m.
        num_features: d.
        iid: share one model, see above.
        seed: seed of the generator.

    Returns:
        features: float64 [n * m, d], ordered by worker: use partition="contiguous".
        labels: float64 [n * m] in {-1, +1}.

    Raises:
        TypeError, ValueError: for sizes that are no integers >= 1, and for negative or
            infinite alpha, beta.

    Example:
        >>> features, labels = synthetic(
        ...     1, 1, num_workers=3, rows_per_worker=4, num_features=5)
        >>> features.shape, labels.shape
        ((12, 5), (12,))
    """
    num_workers = check_count("num_workers", num_workers)
    rows_per_worker = check_count("rows_per_worker", rows_per_worker)
    num_features = check_count("num_features", num_features)
    alpha = check_number("alpha", alpha, minimum=0)
    beta = check_number("beta", beta, minimum=0)
    rng = np.random.default_rng(seed)
    models = 1 if iid else num_workers
    centre = rng.normal(0, alpha, (models, 1))
    weights = rng.normal(centre, 1, (models, num_features))
    intercept = rng.normal(centre, 1)
    means = rng.normal(0, beta, (num_workers, 1)) * np.ones(num_features)
    if not iid:
        means = rng.normal(means, 1)
    spread = np.arange(1, num_features + 1) ** -0.6  # square root of j^-1.2
    shape = (num_workers, rows_per_worker, num_features)
    features = rng.normal(means[:, None], spread, shape)
    logits = np.einsum("imd,id->im", features, np.broadcast_to(weights, means.shape))
    # P(logit + logistic noise > 0) = sigmoid(logit), without forming the sigmoid.
    positive = logits + intercept + rng.logistic(size=logits.shape) > 0
    return features.reshape(-1, num_features), np.where(positive, 1.0, -1.0).reshape(-1)


def labels_to_signs(labels: ArrayLike) -> np.ndarray:
    """Two-class labels as -1 and +1.

    Args:
        labels: [N] numbers out of {-1, +1}, {0, 1} or {1, 2}.

    Returns:
        float64 [N]: -1 for the smaller label, +1 for the larger.

    Raises:
        TypeError: if the labels are no real numbers, as texts.
        ValueError: if the labels are not a vector of finite numbers of one of these
            pairs; the classes found are listed.

    Example:
        >>> labels_to_signs([0, 1, 1])
        array([-1.,  1.,  1.])
    """
    values = check_numbers("labels", labels, ndim=1, finite=True, bools=True)
    classes = np.unique(values).tolist()
    if classes not in ([-1.0, 1.0], [0.0, 1.0], [1.0, 2.0]):
        shown = ", ".join(f"{value:g}" for value in classes[:10])
        shown += ", ..." if len(classes) > 10 else ""
        raise ValueError(
            "labels must be of two classes, written as {-1, +1}, {0, 1} or {1, 2}, got "
            f"{len(classes)} class(es): {shown}; choose and map them first"
        )
    return np.where(values == classes[1], 1.0, -1.0)
