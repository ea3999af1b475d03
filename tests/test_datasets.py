"""Readers, shipped data and synthetic data."""

import bz2
import gzip
import hashlib
import io
import lzma
import zipfile

import numpy as np
import pytest
import scipy.sparse

from asgrad_jax import datasets

TINY = "+1 1:0.5 3:2\n-1 2:1\n"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Empty data folder, cache and web site, so that no test touches the real ones."""
    given, cache, site = tmp_path / "given", tmp_path / "cache", tmp_path / "site"
    given.mkdir()
    site.mkdir()
    monkeypatch.setenv("ASGRAD_DATA", str(given))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(datasets, "_SITE", site.as_uri())
    monkeypatch.chdir(tmp_path)
    return given, cache / "asgrad_jax", site


@pytest.mark.parametrize("suffix", [".txt", ".bz2"])
def test_reads_a_file(tmp_path, suffix):
    path = tmp_path / f"tiny{suffix}"
    content = TINY.encode()
    path.write_bytes(bz2.compress(content) if suffix == ".bz2" else content)
    features, labels = datasets.load_libsvm(path, num_features=5)
    assert scipy.sparse.issparse(features) and features.format == "csr"
    assert features.dtype == np.float64 and labels.dtype == np.float64
    np.testing.assert_array_equal(
        features.toarray(), [[0.5, 0, 2, 0, 0], [0, 1, 0, 0, 0]]
    )
    np.testing.assert_array_equal(labels, [1, -1])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "must have at least one row|cannot be read"),
        (b"+1 1:0.5 oops\n-1 2:1\n", "LIBSVM"),
        (b"1,2,3\n4,5,6\n", "LIBSVM"),
        (b"+1 3:1 2:1\n-1 1:1\n", "LIBSVM"),
        (b"+1 1:nan\n-1 1:1\n", "NaN"),
        (b"+1 1:1\n-1 1:inf\n", "NaN or infinite"),
        (b"1 1:1\n2 1:1\n3 1:2\n", r"3 class\(es\): 1, 2, 3"),
        (b"+1 1:1 9:1\n-1 1:1\n", "LIBSVM"),  # more columns than num_features
        (b"+1 1:1 2147483648:1\n-1 1:1\n", "LIBSVM"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, words):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        datasets.load_libsvm(path, num_features=8)
    assert "bad.txt" in str(caught.value)


def zipped(content):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", content)
    return packed.getvalue()


PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped,
    "": bytes,
}


class TestGuessedFromOneFileAlone:
    """What is read from a file must not depend on what else is in that file."""

    FIRST, SECOND = "+1 0:10 1:11 2:12\n-1 1:21\n", "+1 1:11 2:12\n-1 2:22\n"

    def files(self, folder, *texts):
        paths = [folder / f"part-{k}" for k in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return paths

    def test_where_columns_begin(self, tmp_path):
        first, second = self.files(tmp_path, self.FIRST, self.SECOND)
        said = dict(num_features=3, zero_based=True)
        found = [datasets.load_libsvm(p, **said)[0].toarray() for p in (first, second)]
        np.testing.assert_array_equal(found[0], [[10, 11, 12], [0, 21, 0]])
        np.testing.assert_array_equal(found[1], [[0, 11, 12], [0, 0, 22]])
        with pytest.raises(ValueError, match=r"part-0, line 1: .*give zero_based=True"):
            datasets.load_libsvm(first, num_features=3)
        found = datasets.load_libsvm(second, num_features=3)[0].toarray()
        np.testing.assert_array_equal(found, [[11, 12, 0], [0, 22, 0]])

    def test_an_index_zero_is_found_wherever_it_is(self, tmp_path):
        [path] = self.files(tmp_path, "# head\n\n+1 1:1 # 0:3\n-1 0:2 1:1\n")
        with pytest.raises(ValueError, match="line 4: an index must be at least 1"):
            datasets.load_libsvm(path)

    @pytest.mark.parametrize("value", ["auto", None, 1, 0])
    def test_nothing_else_says_it(self, tmp_path, value):
        [path] = self.files(tmp_path, self.SECOND)
        with pytest.raises(TypeError, match="zero_based must be True or False, got"):
            datasets.load_libsvm(path, zero_based=value)

    def test_known_names_count_from_one(self, folders):
        (folders[0] / "a9a").write_text(TINY)
        with pytest.raises(ValueError, match="zero_based must be False for 'a9a'"):
            datasets.load_libsvm("a9a", zero_based=True)

    def test_classes(self, tmp_path):
        texts = ("2 1:1\n4 1:2\n", "4 1:1\n4 1:2\n", "4 1:1\n7 1:2\n")
        both, one, other = self.files(tmp_path, *texts)
        assert datasets.load_libsvm(both)[1].tolist() == [-1, 1]
        assert datasets.load_libsvm(one, classes=(2, 4))[1].tolist() == [1, 1]
        assert datasets.load_libsvm(both, classes=(4, 2))[1].tolist() == [1, -1]
        with pytest.raises(ValueError, match=r"part-1: .* 1 class.*classes=\(low"):
            datasets.load_libsvm(one)
        with pytest.raises(
            ValueError, match=r"part-2, line 2: .* classes 2 and 4, got 7"
        ):
            datasets.load_libsvm(other, classes=(2, 4))

    @pytest.mark.parametrize("classes", [2, (2,), (2, 2), (1, 2, 3), "24", (1, np.nan)])
    def test_classes_are_two(self, tmp_path, classes):
        [path] = self.files(tmp_path, self.SECOND)
        with pytest.raises((TypeError, ValueError), match=r"^classes(\[1\])? must "):
            datasets.load_libsvm(path, classes=classes)


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("ending", ["", ".txt", ".gz", ".bz2", ".xz"])
def test_packed_files_are_known_by_their_content(tmp_path, packing, ending):
    path = tmp_path / f"data{ending}"
    path.write_bytes(PACKERS[packing](TINY.encode()))
    assert datasets.load_libsvm(path)[0].toarray().tolist() == [[0.5, 0, 2], [0, 1, 0]]


@pytest.mark.parametrize(
    "magic", [b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"\x1f\x9d"]
)
def test_other_packings_are_named(tmp_path, magic):
    path = tmp_path / "data.txt"
    path.write_bytes(magic + b"\x00\xff" * 20)
    with pytest.raises(
        ValueError, match=r"must be plain or packed .*; unpack it first"
    ):
        datasets.load_libsvm(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("oops 1:1", "the label must be a finite number, got 'oops'"),
        ("nan 1:1", "the label must be a finite number, got 'nan'"),
        ("+1 1:1 x", "an entry must be index:value, got 'x'"),
        ("+1 1:one", "an entry must be index:value, got '1:one'"),
        ("+1 1:inf", "a value must be finite, got '1:inf'"),
        ("+1 2:1 2:1", "indices must increase, got 2 after 2"),
        ("+1 -1:1", "an index must be in "),
        ("+1 4294967296:1", "an index must be in "),
        ("+1 9:1", "an index must be at most 8, for num_features=8, got 9"),
        ("\x00\x01\ufffd 1:1", r"the label must be .*, got '.x00"),
    ],
)
def test_errors_of_readers_name_the_line(tmp_path, line, words):
    path = tmp_path / "bad.txt"
    path.write_bytes(gzip.compress(f"{TINY}# a remark\n\n{line}\n".encode()))
    with pytest.raises(ValueError, match=f"bad.txt, line 5: {words}"):
        datasets.load_libsvm(path, num_features=8)


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zip"])
def test_whatever_unpacking_raises_is_a_value_error(tmp_path, packing):
    whole = PACKERS[packing](("+1 1:0.5 3:2\n-1 2:1.25\n" * 30).encode())
    path = tmp_path / "data.gz"
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(200):
        damaged = bytearray(whole)
        if trial % 4 == 0:
            damaged = damaged[: rng.integers(1, len(whole))]
        else:
            damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            datasets.load_libsvm(path)
        except ValueError as error:
            assert "data.gz" in str(error) and str(error).isprintable()
            refused += 1
    assert refused > 100


def test_a_cut_off_archive_is_refused(tmp_path):
    path = tmp_path / "cut.bz2"
    path.write_bytes(bz2.compress(TINY.encode() * 100)[:-20])
    with pytest.raises(ValueError, match=r"cut\.bz2 must be a whole file"):
        datasets.load_libsvm(path)


@pytest.mark.parametrize("file", ["a9a", "a9a.txt", "a9a.bz2", "a9a.txt.bz2"])
@pytest.mark.parametrize("where", [0, 1])
def test_known_names_are_found_in_the_given_folder_and_the_cache(folders, file, where):
    folder = folders[where]
    folder.mkdir(parents=True, exist_ok=True)
    content = TINY.encode()
    (folder / file).write_bytes(bz2.compress(content) if "bz2" in file else content)
    for name in ("a9a", "a9a.txt"):
        features, _ = datasets.load_libsvm(name)
        assert features.shape == (2, 123)


def test_known_names_are_downloaded_once(folders):
    _, cache, site = folders
    (site / "ijcnn1.bz2").write_bytes(bz2.compress(TINY.encode()))
    assert datasets.load_libsvm("ijcnn1")[0].shape == (2, 22)
    assert [path.name for path in cache.iterdir()] == ["ijcnn1.bz2"]
    (site / "ijcnn1.bz2").unlink()
    assert datasets.load_libsvm("ijcnn1")[0].shape == (2, 22)


def test_without_network_the_error_says_what_to_put_where(folders):
    given, cache, site = folders
    with pytest.raises(FileNotFoundError) as caught:
        datasets.load_libsvm("a9a")
    for words in (str(given), str(cache / "a9a.txt"), f"{site.as_uri()}/a9a"):
        assert words in str(caught.value)
    assert not cache.exists() or not list(cache.iterdir())


def test_unknown_names_list_the_known_ones(folders):
    with pytest.raises(
        FileNotFoundError, match=r"a file or one of a1a, .*w8a, got 'no"
    ):
        datasets.load_libsvm("no-such-set")
    assert set(datasets.names()) >= {"a1a", "gisette", "phishing", "w7a", "w8a"}


def test_checksums_guard_downloads_and_found_files(folders, monkeypatch):
    given, cache, site = folders
    right = hashlib.sha256(TINY.encode()).hexdigest()
    known = datasets._KNOWN["w7a"]._replace(sha256=right)
    monkeypatch.setitem(datasets._KNOWN, "w7a", known)
    (site / "w7a.t").write_text(TINY + "+1 1:1\n")
    with pytest.raises(ValueError, match=f"SHA-256 {right}, got "):
        datasets.load_libsvm("w7a")
    assert not list(cache.iterdir())  # nothing is left behind
    (site / "w7a.t").write_text(TINY)
    assert datasets.load_libsvm("w7a")[0].shape == (2, 300)
    (given / "w7a.bz2").write_bytes(bz2.compress(TINY.encode()))
    assert datasets.load_libsvm("w7a")[0].shape == (2, 300)
    (given / "w7a.txt").write_text(TINY + "+1 1:1\n")
    with pytest.raises(ValueError, match=r"given/w7a\.txt must be the file of"):
        datasets.load_libsvm("w7a")


@pytest.mark.parametrize(
    "damaged",
    [bz2.compress(b"1 1:1")[:-9], b"BZh no archive"],
    ids=["cut off", "not one"],
)
def test_damaged_archives_with_a_checksum_are_named(folders, damaged):
    (folders[0] / "w7a.bz2").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"given/w7a\.bz2 must be replaced: "):
        datasets.load_libsvm("w7a")


def test_the_real_files_have_their_shapes(shared, monkeypatch):
    monkeypatch.setenv("ASGRAD_DATA", str(shared / "data"))
    features, labels = datasets.load_libsvm("w7a")
    assert features.shape == (25_057, 300)
    positive = np.flatnonzero(labels > 0)
    assert (positive.size, positive[0], positive[-1]) == (739, 382, 1120)
    features, labels = datasets.load_libsvm("phishing")
    assert features.shape == (11_055, 68) and set(labels) == {-1.0, 1.0}


@pytest.mark.parametrize("classes", [(-1, 1), (0, 1), (1, 2)])
def test_two_classes_become_signs(classes):
    low, high = classes
    signs = datasets.labels_to_signs([high, low, low])
    assert signs.dtype == np.float64
    np.testing.assert_array_equal(signs, [1, -1, -1])
    np.testing.assert_array_equal(datasets.labels_to_signs([True, False]), [1, -1])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, 2], r"3 class\(es\): 0, 1, 2"),
        ([3, 8, 8], "3, 8"),
        ([1, 1, 1], r"1 class\(es\): 1"),
        (np.arange(30), r"30 class\(es\): .*, \.\.\."),
        ([1, np.nan], r"labels\[1\] must be a finite number, got nan"),
        ([[1, -1]], r"labels must be a flat list .* got shape \(1, 2\)"),
    ],
)
def test_other_labels_are_refused(labels, words):
    with pytest.raises(ValueError, match=words):
        datasets.labels_to_signs(labels)


def test_digits():
    features, labels = datasets.digits_binary()
    assert features.shape == (1797, 65) and (labels > 0).sum() == 896
    assert features.min() == 0 and features.max() == 1
    np.testing.assert_array_equal(features[:, -1], 1)
    three, eight = datasets.digits_binary([3], [8])
    assert three.shape == (357, 65)  # 183 threes and 174 eights
    assert (eight > 0).sum() == 174
    for groups in ([], [3]), ([3], [3, 4]):
        with pytest.raises(ValueError, match="disjoint groups"):
            datasets.digits_binary(*groups)
    with pytest.raises(ValueError, match=r"of positive must be .* 0\.\.9, got 10"):
        datasets.digits_binary([1], [10])


def test_breast_cancer():
    features, labels = datasets.breast_cancer()
    assert features.shape == (569, 31) and (labels > 0).sum() == 357
    np.testing.assert_allclose(features[:, :-1].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(features[:, :-1].std(axis=0), 1)


def make(alpha, beta, **changes):
    sizes = dict(num_workers=300, rows_per_worker=20, num_features=6)
    return datasets.synthetic(alpha, beta, **(sizes | changes))


def test_synthetic_spread_between_workers_follows_beta():
    # Worker means of the features: variance beta^2 + 1 + j^-1.2 / rows, any coordinate.
    for beta in (0.0, 2.0):
        means = make(0.0, beta)[0].reshape(300, 20, 6).mean(axis=1)
        expected = beta**2 + 1 + np.arange(1, 7) ** -1.2 / 20
        error = expected * np.sqrt(2 / 299)
        assert (np.abs(means.var(axis=0, ddof=1) - expected) < 4.5 * error).all()


def test_synthetic_rows_have_the_stated_covariance():
    rows = make(1.0, 1.0)[0].reshape(300, 20, 6)
    spread = rows.var(axis=1, ddof=1).mean(axis=0)
    expected = np.arange(1, 7) ** -1.2
    error = expected * np.sqrt(2 / 19 / 300)
    assert (np.abs(spread - expected) < 4.5 * error).all()


def test_synthetic_labels_follow_a_logistic_model():
    # iid and one worker: fit W, c by Newton's method on many rows; the residual of each
    # coordinate of the score must vanish and the fit must separate the labels.
    features, labels = make(
        0.0, 0.0, num_workers=1, rows_per_worker=40_000, iid=True, seed=4
    )
    design = np.column_stack([features, np.ones(len(features))])
    weights = np.zeros(7)
    for _ in range(20):
        p = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ ((labels > 0) - p)
        weights += np.linalg.solve((design.T * (p * (1 - p))) @ design, gradient)
    # Calibration: in each tenth of the predicted probabilities the share of +1 agrees.
    order = np.argsort(p).reshape(10, -1)
    share = (labels[order] > 0).mean(axis=1)
    predicted = p[order].mean(axis=1)
    error = np.sqrt(predicted * (1 - predicted) / 4000)
    assert (np.abs(share - predicted) < 4.5 * error + 1e-3).all()
    assert predicted[-1] - predicted[0] > 0.5
    # The same generator made W: the usual sign, not the published code's.
    rng = np.random.default_rng(4)
    centre = rng.normal(0, 0.0, (1, 1))
    true = rng.normal(centre, 1, (1, 6))[0]
    assert np.corrcoef(true, weights[:-1])[0, 1] > 0.99


def test_synthetic_iid_workers_share_one_law():
    def share_of_positive(iid):
        labels = make(3.0, 0.0, iid=iid, rows_per_worker=200)[1]
        return (labels.reshape(300, 200) > 0).mean(axis=1).std()

    assert share_of_positive(True) < 0.05 < 0.3 < share_of_positive(False)


def test_synthetic_depends_on_the_seed_alone():
    np.testing.assert_array_equal(make(1, 1, seed=3)[0], make(1, 1, seed=3)[0])
    assert not np.array_equal(make(1, 1, seed=3)[0], make(1, 1, seed=4)[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(alpha=-1.0, beta=0.0), "alpha must be a finite number >= 0, got -1.0"),
        (dict(alpha=0.0, beta=np.inf), "beta must be a finite number >= 0, got inf"),
        (dict(alpha=0.0, beta=0.0, num_workers=0), "num_workers must be .* got 0"),
        (dict(alpha=0.0, beta=0.0, num_features=0), "num_features must be .* got 0"),
    ],
)
def test_synthetic_refuses_bad_numbers(arguments, words):
    with pytest.raises(ValueError, match=words):
        make(**arguments)
