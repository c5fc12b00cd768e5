"""Finished folds are never lost nor repeated, and never taken for something else."""

import errno
import json
import os
import pathlib
import random
import sys
import time

import lives
import numpy as np
import pandas as pd
import pytest

from neurosig.core.errors import StorageError, UsageError
from neurosig.core.files import atomic_write
from neurosig.evaluation.benchmark import benchmark
from neurosig.evaluation.results import Results
from neurosig.evaluation.store import FoldStore

MODULE = '''
import os, signal, zlib
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

class Counting(ClassifierMixin, BaseEstimator):
    """Writes one line a fit: which training set, to a file. With more than FITS lines there, a fit never ends."""
    def __init__(self, log, shrinkage=0.1):
        self.log, self.shrinkage = log, shrinkage
    def _features(self, X):
        return np.log(np.var(X, axis=-1))
    def fit(self, X, y):
        with open(self.log, "a") as stream:
            stream.write(f"{self.shrinkage} {zlib.crc32(X.tobytes())}\\n")
        with open(self.log) as stream:
            while len(stream.readlines()) > int(os.environ.get("FITS", 1000)):
                signal.pause()
        self.lda_ = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=self.shrinkage).fit(self._features(X), y)
        self.classes_ = self.lda_.classes_
        return self
    def decision_function(self, X):
        return self.lda_.decision_function(self._features(X))
    def predict(self, X):
        return self.lda_.predict(self._features(X))

def life(out, n_jobs):
    """A run as a user's script makes it."""
    import pandas as pd
    from neurosig import SignalDataset, SignalSpec, benchmark
    stored = np.load("toy.npz")
    metadata = pd.DataFrame(stored["rows"], columns=["subject", "session", "run"])
    info = SignalSpec("eeg", ("E0", "E1", "E2"), sfreq=20.0, unit="V")
    signals = SignalDataset(stored["X"], stored["y"], metadata, info, name="toy")
    given = {f"s{s}": Counting("fits.log", s) for s in (0.1, 0.5, 0.9)}
    results = benchmark(given, signals, out=out, n_jobs=n_jobs, progress=False)
    results.report(out + "/report.html")
'''
TIMES = ["time", "seconds_fit", "seconds_score", "peak_memory_mb"]


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """The module `counting` with its class, importable here and in child processes."""
    (tmp_path / "counting.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    import neurosig.evaluation.identity as identity

    identity._source_digest.cache_clear()
    sys.modules.pop("counting", None)
    import counting

    yield counting
    sys.modules.pop("counting", None)
    identity._source_digest.cache_clear()


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def same(left, right):
    pd.testing.assert_frame_equal(
        left.drop(columns=TIMES), right.drop(columns=TIMES), check_dtype=False, check_exact=True
    )


class Lives:
    """One and the same run again and again, in processes of their own."""

    def __init__(self, counting, folder, signals, n_jobs):
        rows = signals.metadata[["subject", "session", "run"]].to_numpy(str)
        np.savez(folder / "toy.npz", X=signals.X, y=signals.y, rows=rows)
        self.work, self.folder, self.n_jobs = counting.life, folder, n_jobs
        self.log, self.n_killed = folder / "fits.log", 0
        assert lives.ended(self.begin("undisturbed"))
        self.n_folds, self.n_events = len(lines(self.log)), lives.n_events(folder)
        assert self.n_folds == 3 * 3 * 3
        self.log.unlink()

    def begin(self, out="killed", **how):
        return lives.begin(self.folder, self.work, str(self.folder / out), self.n_jobs, **how)

    def check_whole(self):
        """What lies there after a kill is whole: folds; tables that fit together, or none; a report, or none."""
        self.n_killed += 1
        out = self.folder / "killed"
        for path in (out / "store").glob("*.json"):
            json.loads(path.read_text())
        if (out / "results.json").exists():
            assert len(Results.load(out).table) == 9
        if (out / "report.html").exists():
            assert (out / "report.html").read_text().rstrip().endswith("</html>")

    def check_end(self):
        assert lives.ended(self.begin())
        fits = lines(self.log)
        assert len(set(fits)) == self.n_folds  # none is lost
        assert len(fits) - self.n_folds <= self.n_killed * self.n_jobs  # none is repeated but those in flight
        undisturbed, resumed = (Results.load(self.folder / out) for out in ("undisturbed", "killed"))
        same(undisturbed.table, resumed.table)
        same(undisturbed.folds, resumed.folds)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(("n_kills", "n_jobs"), [(10, 1), pytest.param(4, 2, marks=pytest.mark.slow)])
def test_kills_at_random_moments(counting, toy, tmp_path, n_kills, n_jobs):
    """Each life may end none, one or two fits; the next one stands still until the kill, wherever that finds it."""
    generator = random.Random(n_jobs)
    run = Lives(counting, tmp_path, toy(n_subjects=3), n_jobs)
    for _ in range(n_kills):
        before = len(lines(run.log))
        process = run.begin(FITS=str(before + generator.randrange(3)))
        while len(lines(run.log)) == before and process.is_alive():
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.05))
        assert lives.kill(process)
        run.check_whole()
    run.check_end()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(("n_kills", "n_jobs"), [(8, 1), pytest.param(4, 2, marks=pytest.mark.slow)])
def test_kills_over_the_whole_life_of_a_run(counting, toy, tmp_path, n_kills, n_jobs):
    """Reading, folds, tables and report: where a life was over before the kill, the next is killed sooner."""
    generator = random.Random(n_jobs)
    run = Lives(counting, tmp_path, toy(n_subjects=3), n_jobs)
    parts = [generator.uniform(k / n_kills, (k + 1) / n_kills) for k in range(n_kills)]
    generator.shuffle(parts)
    for part in parts:
        moment = 1 + int(part * run.n_events)
        while lives.ended(run.begin(kill_at=moment)):
            for name in ("results.json", "report.html"):  # once all folds are stored, the tables are made again
                (tmp_path / "killed" / name).unlink()
            moment = (moment + 1) // 2
        run.check_whole()
    run.check_end()


def test_nothing_is_fitted_twice(counting, toy, tmp_path):
    log = tmp_path / "fits.log"
    given = {"a": counting.Counting(str(log)), "b": counting.Counting(str(log), 0.5)}
    signals = toy()
    first = benchmark(given, signals, out=tmp_path / "out")
    assert len(lines(log)) == 2 * 2 * 3
    again = benchmark(given, signals, out=tmp_path / "out")
    assert len(lines(log)) == 12
    pd.testing.assert_frame_equal(first.table, again.table, check_dtype=False, check_exact=True)
    (tmp_path / "out" / "results.json").unlink()  # as if killed before the tables were written
    rebuilt = benchmark(given, signals, out=tmp_path / "out")
    assert len(lines(log)) == 12
    pd.testing.assert_frame_equal(first.table, rebuilt.table, check_dtype=False, check_exact=True)


def test_a_longer_benchmark_takes_what_it_shares_from_the_store(counting, toy, tmp_path):
    log = tmp_path / "fits.log"
    signals = toy()
    benchmark({"a": counting.Counting(str(log))}, signals, out=tmp_path / "out", subjects=["1"])
    assert len(lines(log)) == 3
    both = {"renamed": counting.Counting(str(log)), "new": counting.Counting(str(log), 0.7)}
    results = benchmark(both, signals, out=tmp_path / "out")
    assert set(results.table["pipeline"]) == {"renamed", "new"}
    fitted = [line.split()[0] for line in lines(log)[3:]]
    assert fitted.count("0.7") == 6
    assert fitted.count("0.1") == 3  # subject 1 is there, under whatever name


def test_other_data_parameters_options_or_source_miss_the_store(counting, toy, tmp_path):
    log, out = tmp_path / "fits.log", tmp_path / "out"

    def fits(signals, **options):
        before = len(lines(log))
        pipeline = {"a": sys.modules["counting"].Counting(str(log), options.pop("shrinkage", 0.1))}
        benchmark(pipeline, signals, out=out, **options)
        return len(lines(log)) - before

    signals = toy()
    assert fits(signals) == 6
    assert fits(signals) == 0
    changed = toy()
    changed.X[0, 0, 0] += 1e-7
    assert fits(changed) == 6
    assert fits(signals, shrinkage=0.2) == 6
    assert fits(signals, folds="shuffled") == 10
    assert fits(signals, folds="shuffled", random_state=1) == 10
    assert fits(signals, metric="accuracy") == 6
    assert fits(signals, overwrite=True) == 6
    source = tmp_path / "counting.py"
    source.write_text(source.read_text().replace("np.log(", "np.sqrt("))
    import neurosig.evaluation.identity as identity

    identity._source_digest.cache_clear()  # a new process, in a user's life
    assert fits(signals) == 6
    assert fits(signals) == 0


def test_failures_are_tried_again_and_successes_are_not(counting, toy, tmp_path):
    from sklearn.base import BaseEstimator, ClassifierMixin

    log = tmp_path / "fits.log"
    signals = toy()
    marker = tmp_path / "mended"

    class Broken(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            if not marker.exists():
                raise RuntimeError("no convergence\n  after 3 steps")
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return np.repeat(self.classes_[:1], len(X))

        def predict_proba(self, X):
            return np.tile([0.5, 0.5], (len(X), 1))

    given = {"fine": counting.Counting(str(log)), "broken": Broken()}
    first = benchmark(given, signals, out=tmp_path / "out")
    assert first.failed["pipeline"].unique().tolist() == ["broken"]
    assert first.failed["error"].iloc[0] == "RuntimeError: no convergence after 3 steps"
    assert first.table.loc[first.table["pipeline"] == "fine", "score"].notna().all()
    marker.touch()
    second = benchmark(given, signals, out=tmp_path / "out")
    assert second.failed.empty
    assert len(lines(log)) == 6


def test_a_damaged_store_or_table_is_made_again(counting, toy, tmp_path):
    log, out = tmp_path / "fits.log", tmp_path / "out"
    given, signals = {"a": counting.Counting(str(log))}, toy()
    first = benchmark(given, signals, out=out)
    record = sorted((out / "store").glob("*.json"))[0]
    record.write_text(record.read_text()[:50])
    (out / "results.csv").write_text("score\n0.99\n")
    second = benchmark(given, signals, out=out)
    assert len(lines(log)) == 6 + 1
    same(first.table, second.table)


def test_two_jobs_give_the_scores_of_one(toy, log_variance_lda):
    signals = toy(n_subjects=4, n_times=3000)  # larger than joblib's limit, so that workers map it
    one, two = (benchmark({"a": log_variance_lda}, signals, n_jobs=jobs) for jobs in (1, 2))
    same(one.table, two.table)
    same(one.folds, two.folds)


def test_the_store_sweeps_up_what_a_killed_writer_left(tmp_path):
    old, young = tmp_path / ".a.json.x.partial", tmp_path / ".b.json.y.partial"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (1, 1))
    store = FoldStore(tmp_path).open()
    assert not old.exists() and young.exists()
    store.put({"key": "k", "error": None, "score": float("nan")})
    assert store.get("k")["score"] is None and len(store) == 1
    atomic_write(tmp_path / "other.json", json.dumps({"key": "k"}))
    assert store.get("other") is None  # a file under a wrong name


@pytest.mark.parametrize(("number", "reason"), [
    (errno.ENOSPC, "the disk is full: free space or choose another folder"),
    (errno.EROFS, "the file system is read-only: choose another folder"),
    (errno.EACCES, "no permission to write there: choose another folder"),
])  # fmt: skip
def test_a_disk_that_fills_up_keeps_what_is_finished(counting, toy, tmp_path, monkeypatch, number, reason):
    log, out = tmp_path / "fits.log", tmp_path / "out"
    given, signals = {"a": counting.Counting(str(log))}, toy()
    with monkeypatch.context() as patch:
        disk_fails_after(patch, 2, number)
        with pytest.raises(StorageError, match=rf"^cannot write .*\.json: {reason}$"):
            benchmark(given, signals, out=out)
    stored = list((out / "store").iterdir())
    assert len(stored) == 2 and all(path.suffix == ".json" and json.loads(path.read_text()) for path in stored)
    assert [path.name for path in out.iterdir()] == ["store"]
    log.unlink()
    assert benchmark(given, signals, out=out).failed.empty
    assert len(lines(log)) == 4  # of six folds


def disk_fails_after(patch, n_files, number):
    """Let `n_files` be written, then every file only half."""
    written = 0

    def failing(write):
        def half(self, data, *args, **kwargs):
            nonlocal written
            written += ".json" in self.name
            if written > n_files and ".json" in self.name:
                write(self, data[: len(data) // 2], *args, **kwargs)
                raise OSError(number, os.strerror(number))
            return write(self, data, *args, **kwargs)

        return half

    patch.setattr(pathlib.Path, "write_text", failing(pathlib.Path.write_text))
    patch.setattr(pathlib.Path, "write_bytes", failing(pathlib.Path.write_bytes))


def test_dask_without_a_client_says_what_to_make(toy, log_variance_lda):
    pytest.importorskip("distributed", reason="dask is not installed: pip install 'neurosig[dask]'")
    with pytest.raises(UsageError, match=r"there is no Client: make one first, client = dask.distributed.Client"):
        benchmark({"a": log_variance_lda}, toy(), backend="dask")


@pytest.fixture(scope="module")
def two_workers():
    """A dask Client of two processes."""
    distributed = pytest.importorskip("distributed", reason="dask is not installed: pip install 'neurosig[dask]'")
    settings = {"dashboard_address": None, "threads_per_worker": 1}
    with distributed.LocalCluster(2, **settings) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
def test_dask_gives_the_scores_of_one_process_and_resumes(two_workers, toy, log_variance_lda, tmp_path):
    given, signals, store = {"a": log_variance_lda}, toy(n_subjects=4), tmp_path / "out" / "store"
    serial = benchmark(given, signals)
    first = benchmark(given, signals, out=tmp_path / "out", subjects=["1", "2"], backend="dask")
    assert first.failed.empty
    stamps = {path: path.stat().st_mtime_ns for path in store.glob("*.json")}
    both = benchmark(given, signals, out=tmp_path / "out", backend="dask")
    assert len(stamps) == 6 and len(list(store.iterdir())) == 12
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())  # not computed again
    same(serial.table, both.table)
    same(serial.folds, both.folds)
