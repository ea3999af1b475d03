"""Real and synthetic data sets: features [N, d] with labels, and pieces of text."""

import hashlib
import http.client
import itertools
import os
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import (
    check_bool,
    check_count,
    check_number,
    check_numbers,
    check_path,
    check_seed,
)
from asgrad_jax._util.files import atomic_path
from asgrad_jax._util.images import load_images as load_images
from asgrad_jax._util.libsvm import line_of_row, read_libsvm
from asgrad_jax._util.packed import open_unpacked
from asgrad_jax._util.sizes import check_workers
from asgrad_jax._util.texts import generated_text as generated_text
from asgrad_jax._util.texts import text_windows as text_windows

__all__ = [
    "DATA_VARIABLE",
    "breast_cancer",
    "digits",
    "digits_binary",
    "generated_text",
    "labels_to_signs",
    "load_images",
    "load_libsvm",
    "names",
    "synthetic",
    "text_windows",
]

# scikit-learn is imported where it is used: it doubles the import time of the package.

_SITE = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary"
_MOST = 10_000_000_000  # numbers of synthetic data
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
    path_or_name: str | os.PathLike,
    *,
    num_features: int | None = None,
    zero_based: bool = False,
    classes: ArrayLike | None = None,
) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    """Reads a two-class data set in LIBSVM format.

    An existing file is read as it is, its name notwithstanding. Otherwise the argument
    must be one of `names()` (an ending `.txt` is ignored), and the file NAME, NAME.txt,
    or either with `.bz2`, `.xz` or `.gz`, is looked for in the folder named by the
    environment variable ASGRAD_DATA, then in the cache folder
    ($XDG_CACHE_HOME/asgrad_jax or ~/.cache/asgrad_jax); if it is in neither, it is
    downloaded into the cache. Files found by name must have the SHA-256 checksum known
    for it. Only `phishing` and `w7a` have one; the others are taken as they come,
    *not verified*.

    `w7a` is the file of the AsGrad experiments, with 25,057 rows; the LIBSVM site lists
    that one as `w7a.t` and another, with 24,692 rows, as `w7a`.

    Where a data set has several files (train and test, one per worker), give
    `num_features`, `zero_based` and `classes` alike for all of them: what one file says
    of itself may differ from what another does.

    Args:
        path_or_name: a file, plain or packed as gzip, bz2, xz or zip, whatever its
            ending; or a known name.
        num_features: d, where the file may not mention the last columns. Known names
            bring their own; otherwise it is the largest index of this file.
        zero_based: whether columns are counted from 0. LIBSVM counts from 1, and so
            does this function: it never guesses. A file that counts from 0 and has no
            entry in its first column cannot be told from one that counts from 1.
        classes: the two labels that become -1 and +1, in this order; other labels are
            refused, and a file may have rows of one class only. Where left out, the
            file must have two labels, of which the smaller becomes -1.

    Returns:
        features: SciPy CSR matrix [N, d], float64.
        labels: float64 [N] in {-1, +1}.

    Raises:
        FileNotFoundError: if there is no such file or name, or a known file is missing
            and cannot be downloaded; the message says what to put where.
        TypeError: if an argument is of another type.
        ValueError: if the file is damaged, not in LIBSVM format, empty, not finite, has
            another checksum than it must, has an index 0 though columns are counted
            from 1, has more than `num_features` columns, or has labels other than two
            classes; the message names the file and the line.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "tiny.txt"
        >>> _ = path.write_text("+1 1:0.5 3:2\\n-1 2:1\\n")
        >>> features, labels = load_libsvm(path)
        >>> features.toarray().tolist(), labels.tolist()
        ([[0.5, 0.0, 2.0], [0.0, 1.0, 0.0]], [1.0, -1.0])
        >>> features, _ = load_libsvm(path, zero_based=True)
        >>> features.toarray().tolist()
        [[0.0, 0.5, 0.0, 2.0], [0.0, 0.0, 1.0, 0.0]]
    """
    if num_features is not None:
        check_count("num_features", num_features, maximum=2**31 - 1, other=" or None")
    check_bool("zero_based", zero_based)
    if classes is not None:
        classes = _two_classes(classes)
    path = check_path("path_or_name", path_or_name)
    if not path.is_file():
        name = os.fspath(path_or_name).removesuffix(".txt")
        if name not in _KNOWN:
            raise FileNotFoundError(
                f"the data set must be a file or one of {', '.join(names())}, got "
                f"{os.fspath(path_or_name)!r}"
            )
        if zero_based:
            raise ValueError(
                f"zero_based must be False for {name!r}, whose columns are counted "
                "from 1, got True"
            )
        path = _find(name)
        if num_features is None:
            num_features = _KNOWN[name].num_features
    features, labels = read_libsvm(
        path, num_features=num_features, zero_based=zero_based
    )
    return features, _signs_of_file(path, labels, classes)


def _signs_of_file(
    path: Path, labels: np.ndarray, classes: np.ndarray | None
) -> np.ndarray:
    found = np.unique(labels)
    if classes is None and len(found) == 2:
        classes = found
    try:
        return labels_to_signs(labels, classes=classes)
    except ValueError as error:
        where = ""
        if classes is not None:
            row = int(np.argmax(~np.isin(labels, classes)))
            where = f", line {line_of_row(path, row)}"
        raise ValueError(f"{path}{where}: {error}") from error


def _find(name: str) -> Path:
    """The checked file of a known data set, downloaded if need be."""
    known = _KNOWN[name]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = cache / "asgrad_jax"
    given = os.environ.get(DATA_VARIABLE)
    for folder in [Path(given), cache] if given else [cache]:
        packings = ("", ".bz2", ".xz", ".gz")
        for packing, text in itertools.product(packings, ("", ".txt")):
            path = folder / f"{name}{text}{packing}"
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
    digest = hashlib.sha256()
    try:
        with open_unpacked(path) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except ValueError as error:
        raise ValueError(f"{source or path} must be replaced: {error}") from error
    found = digest.hexdigest()
    if found != expected:
        raise ValueError(
            f"{source or path} must be the file of {name!r} with SHA-256 {expected}, "
            f"got {found}; remove or replace it, or pass its path to read it as it is"
        )


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits, all ten classes, shipped with scikit-learn.

    Pixels (8 x 8, values 0 to 16) are divided by 16; a last column of ones is the
    intercept. `features[:, :-1].reshape(-1, 8, 8)` are the pictures.

    Returns:
        features: float64 [1797, 65] in [0, 1].
        labels: int64 [1797], 0..9.

    Example:
        >>> features, labels = digits()
        >>> features.shape, labels[:3].tolist()
        ((1797, 65), [0, 1, 2])
    """
    from sklearn.datasets import load_digits

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    return _with_intercept(pixels / 16), labels


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
        TypeError, ValueError: if a group is empty, the groups share a digit, or a value
            is not a digit.

    Example:
        >>> features, labels = digits_binary()
        >>> features.shape, float(labels.sum())
        ((1797, 65), -5.0)
    """
    below, above = _digits("negative", negative), _digits("positive", positive)
    if not below or not above or below & above or not below | above <= set(range(10)):
        raise ValueError(
            "negative and positive must be two disjoint groups of digits 0..9, got "
            f"{sorted(below)} and {sorted(above)}"
        )
    features, labels = digits()
    used = np.isin(labels, list(below | above))
    return features[used], np.where(np.isin(labels[used], list(above)), 1.0, -1.0)


def _digits(name: str, group: Iterable[int]) -> set[int]:
    """The digits of a group; a generator or a set is as good as a list."""
    if isinstance(group, str | bytes) or not isinstance(group, Iterable):
        raise TypeError(f"{name} must be digits, such as [3, 8], got {group!r}")
    return {check_count(f"a digit of {name}", d, minimum=0, maximum=9) for d in group}


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
    num_workers = check_workers(num_workers)
    rows_per_worker = check_count("rows_per_worker", rows_per_worker)
    num_features = check_count("num_features", num_features)
    size = num_workers * rows_per_worker * num_features
    check_count("num_workers * rows_per_worker * num_features", size, maximum=_MOST)
    alpha = check_number("alpha", alpha, minimum=0)
    beta = check_number("beta", beta, minimum=0)
    check_bool("iid", iid)
    rng = np.random.default_rng(check_seed(seed))
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


def labels_to_signs(
    labels: ArrayLike, *, classes: ArrayLike | None = None
) -> np.ndarray:
    """Two-class labels as -1 and +1.

    Args:
        labels: [N] numbers.
        classes: the two labels that become -1 and +1, in this order; labels of one
            class only are allowed then. Where left out, labels must be written as
            {-1, +1}, {0, 1} or {1, 2}, both of them there.

    Returns:
        float64 [N]: -1 for the first class, +1 for the second; without `classes` for
        the smaller and the larger label.

    Raises:
        TypeError: if the labels are no real numbers, as texts.
        ValueError: if the labels are not a vector of finite numbers of these classes;
            the classes found are listed.

    Example:
        >>> labels_to_signs([0, 1, 1])
        array([-1.,  1.,  1.])
        >>> labels_to_signs([4, 4, 2], classes=(2, 4))
        array([ 1.,  1., -1.])
    """
    values = check_numbers("labels", labels, ndim=1, finite=True, bools=True)
    found = np.unique(values)
    if classes is not None:
        low, high = _two_classes(classes)
        if strangers := sorted({*found.tolist()} - {low, high}):
            raise ValueError(
                f"labels must be of the classes {low:g} and {high:g}, got "
                f"{_classes_in_words(strangers)} too"
            )
        return np.where(values == high, 1.0, -1.0)
    if found.tolist() not in ([-1.0, 1.0], [0.0, 1.0], [1.0, 2.0]):
        raise ValueError(
            "labels must be of two classes, written as {-1, +1}, {0, 1} or {1, 2}, got "
            f"{len(found)} class(es): {_classes_in_words(found.tolist())}; name the "
            "two with classes=(low, high) of `datasets.load_libsvm` or "
            "`datasets.labels_to_signs`, map them first, or take "
            "`problems.multinomial_logistic` for all of them"
        )
    return np.where(values == found[1], 1.0, -1.0)


def _two_classes(classes: ArrayLike) -> np.ndarray:
    found = check_numbers("classes", classes, ndim=1, finite=True)
    if len(found) != 2 or found[0] == found[1]:
        raise ValueError(
            f"classes must be two different labels, such as (2, 4), got {classes!r}"
        )
    return found


def _classes_in_words(classes: list[float]) -> str:
    shown = ", ".join(f"{value:g}" for value in classes[:10])
    return shown + (", ..." if len(classes) > 10 else "")


def __dir__() -> list[str]:
    """What is offered by completion: not what this file imports."""
    return sorted(__all__)
