"""Dials between speed and data; measured times from files."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from asgrad_jax import compute_times as ct
from asgrad_jax.compute_times.traces import (
    column_durations,
    trace,
    trace_durations,
)
from asgrad_jax.schedules.traces import schedule_from_trace

JOBS = [(0, 0.0, 1.0), (1, 0.0, 2.0), (0, 1.0, 3.5)]
FRAME = pd.DataFrame(JOBS, columns=["worker", "start", "end"])


class TestCorrelation:
    @pytest.mark.parametrize("rho", [-0.9, -0.4, 0.0, 0.5, 0.8])
    def test_of_a_gaussian_copula(self, rho):
        n = 1000
        hard = np.random.default_rng(0).gamma(0.5, size=n)
        mean = np.arange(1.0, n + 1) ** 2
        dealt = ct.correlated_means(mean, hard, rho, seed=5)
        np.testing.assert_array_equal(np.sort(dealt), mean)
        spearman = 6 / np.pi * np.arcsin(rho / 2)
        found = scipy.stats.spearmanr(dealt, hard).statistic
        assert abs(found - spearman) < 0.03
        # The normal scores have rho itself.
        scores = [
            scipy.stats.norm.ppf((scipy.stats.rankdata(x) - 0.5) / n)
            for x in (dealt, hard)
        ]
        assert abs(np.corrcoef(scores)[0, 1] - rho) < 0.01

    def test_of_few_workers_over_seeds(self):
        hard = [3.0, 1.0, 2.0, 9.0, 5.0, 4.0, 7.0, 8.0, 0.0, 6.0]
        found = [
            scipy.stats.spearmanr(
                ct.correlated_means(range(1, 11), hard, 0.6, seed=seed), hard
            ).statistic
            for seed in range(200)
        ]
        # e is orthogonal to z; a plain e would spread by about 0.23.
        assert abs(np.mean(found) - 0.58) < 0.04 and np.std(found) < 0.12
        assert len(set(np.round(found, 6))) > 10

    def test_ends_of_the_dial(self):
        hard = [0.5, 0.1, 0.9, 0.1]
        mean = [4, 3, 2, 1]
        assert ct.correlated_means(mean, hard, 1.0, seed=9).tolist() == [3, 1, 4, 2]
        reverse = ct.correlated_means(mean, hard, -1.0, seed=9)
        assert reverse.tolist() == [2, 4, 1, 3]
        assert ct.adversarial_means(mean, hard).tolist() == [3, 1, 4, 2]
        for seed in range(5):
            one = ct.correlated_means(mean, hard, 0.3, seed=seed)
            two = ct.correlated_means(mean, hard, 0.3, seed=seed)
            np.testing.assert_array_equal(one, two)
        for n in (1, 2):
            dealt = ct.correlated_means(range(1, n + 1), range(n), 0.5)
            assert sorted(dealt) == list(range(1, n + 1))
        many = [ct.correlated_means([1, 2], [0, 1], 0.5, seed=s)[0] for s in range(400)]
        # Two normal numbers of correlation 1/2 agree in order with probability 2/3.
        assert abs(np.mean(np.equal(many, 1)) - 2 / 3) < 4 * np.sqrt(2 / 9 / 400)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (([1, 2], [1], 0.5), ValueError, "difficulty must .* the 2 workers, got 1"),
            (([1, 2], [1, np.nan], 0.5), ValueError, r"difficulty\[1\] .*finite.* nan"),
            (
                ([1, 2], [1, 2], 1.5),
                ValueError,
                "rho must be .* >= -1 and <= 1, got",
            ),
            (([1, 2], [1, 2], np.nan), ValueError, "rho must be .* <= 1, got nan"),
            (
                ([1, 2], [1, 2], "1"),
                TypeError,
                "rho must be a finite .* got '1'",
            ),
            (([1, 0], [1, 2], 0.0), ValueError, r"mean\[1\] must be .* > 0, got 0.0"),
        ],
    )
    def test_bad_input(self, arguments, error, message):
        with pytest.raises(error, match=message):
            ct.correlated_means(*arguments)


class TestFiles:
    def test_json_and_parquet_are_the_same_trace(self, tmp_path, monkeypatch):
        expected = schedule_from_trace(JOBS)
        records = FRAME.to_dict("records")
        (tmp_path / "rows.json").write_text(json.dumps(records))
        (tmp_path / "lists.json").write_text(json.dumps(FRAME.to_dict("list")))
        assert schedule_from_trace(tmp_path / "rows.json") == expected
        assert schedule_from_trace(tmp_path / "lists.json") == expected
        path = tmp_path / "jobs.parquet"
        path.write_bytes(b"PAR1")
        monkeypatch.setattr(pd, "read_parquet", lambda path: FRAME)
        assert schedule_from_trace(path) == expected

    def test_real_parquet(self, tmp_path):
        pytest.importorskip("pyarrow", reason="no Parquet reader is installed")
        path = tmp_path / "jobs.parquet"
        FRAME.to_parquet(path)
        assert schedule_from_trace(path) == schedule_from_trace(JOBS)

    def test_parquet_without_a_reader(self, tmp_path, monkeypatch):
        def missing(path):
            raise ImportError("no pyarrow")

        monkeypatch.setattr(pd, "read_parquet", missing)
        path = tmp_path / "jobs.parquet"
        path.write_bytes(b"PAR1")
        with pytest.raises(ImportError, match="pip install pyarrow"):
            trace_durations(path)

    def test_pickles_are_never_loaded(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (print, ("loaded",))

        for protocol in (2, 3, 4, 5):
            path = tmp_path / "trace.csv"
            path.write_bytes(pickle.dumps(Evil(), protocol=protocol))
            with pytest.raises(ValueError, match="is a pickle, and loading one runs"):
                trace(path)
        for name in ("trace.pkl", "trace.pickle"):
            path = tmp_path / name
            path.write_bytes(pickle.dumps([1, 2], protocol=0))
            with pytest.raises(ValueError, match="turn it into CSV or JSON"):
                column_durations(path)

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("t.json", "{", "is not a JSON trace"),
            ("t.json", '"text"', "is not a JSON trace"),
            (
                "t.json",
                '[{"worker": 0, "start": 0}]',
                "must have the columns .*, without 'end'",
            ),
            (
                "t.json",
                '[{"worker": 0, "start": 0, "end": "x"}]',
                "row 0: end .* got 'x'; give times as numbers",
            ),
            ("t.json", '[{"worker": 0, "worker": 1}]', "2 columns are called 'worker'"),
            ("t.json.gz", "anything", r"t\.json\.gz is not a JSON trace"),
            ("t.json", "[" * 100_000, "is not a JSON trace"),
        ],
    )
    def test_bad_files(self, tmp_path, name, text, message):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            schedule_from_trace(tmp_path / name)


class TestColumns:
    def test_a_column_per_worker(self, tmp_path):
        path = tmp_path / "delays.csv"
        path.write_text("fast,slow,middle\n1,4.5,2\n1.25,,2.5\n0.5,,\n")
        found = column_durations(path)
        assert [row.tolist() for row in found] == [[1, 1.25, 0.5], [4.5], [2, 2.5]]
        clock = trace(path, layout="columns")
        assert clock.num_workers == 3 and clock.name == "empirical"
        assert set(clock.durations(2, 0, 0, 100)) == {2.0, 2.5}
        (tmp_path / "numbered.csv").write_text("0,1\n3,4\n")
        assert [
            row.tolist() for row in column_durations(tmp_path / "numbered.csv")
        ] == [
            [3.0],
            [4.0],
        ]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a,b\n", "the table must have at least one row, got none"),
            ("a,b\n1,\n2,\n", "column 'b' must have at least one entry"),
            ("a,b\n1,1\n,2\n3,3\n", "column 'a', row 1: .* number >= 0, got nan"),
            ("a,b\n1,x\n", "column 'b', row 0: .* number >= 0, got 'x'"),
            ("a,b\n1,-1\n", "column 'b', row 0: .* number >= 0, got '-1'"),
            ("a,b\n1,inf\n", "a duration must be a finite number >= 0, got 'inf'"),
            (
                "1.5,2.5\n1,2\n",
                "the first line must name the workers, got numbers",
            ),
            ("a,a\n1,2\n", "2 columns are called 'a'"),
            (",a\n0,1\n", "the first column must have a name, got none"),
        ],
    )
    def test_bad_tables(self, tmp_path, text, message):
        path = tmp_path / "delays.csv"
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            column_durations(path)

    def test_bad_layouts(self):
        with pytest.raises(ValueError, match="must be 'jobs' or 'columns', got 'rows'"):
            trace(JOBS, "rows")
        with pytest.raises(ValueError, match=r"num_workers must be left out .* got 2"):
            trace(FRAME, "columns", num_workers=2)
        with pytest.raises(TypeError, match="must be a file or a data frame"):
            trace(JOBS, "columns")
        assert trace(JOBS).mean_durations.tolist() == [1.75, 2.0]
