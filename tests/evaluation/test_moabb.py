"""Scores are MOABB's, to the last digit."""

import mne
import numpy as np
import pytest
from moabb.datasets.base import BaseDataset
from moabb.evaluations import CrossSessionEvaluation, CrossSubjectEvaluation, WithinSessionEvaluation
from moabb.evaluations.protocols import CrossSubjectMode
from moabb.paradigms import P300, SSVEP, FilterBankSSVEP, LeftRightImagery, MotorImagery
from moabb.pipelines.features import LogVariance
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosig.core.errors import InputError, UsageError
from neurosig.evaluation import paradigms as ours
from neurosig.evaluation.benchmark import benchmark
from neurosig.evaluation.moabb import MoabbRunner, cross_subject_modes
from neurosig.evaluation.request import CS_MODES
from neurosig.evaluation.splits import RunFolds

pytestmark = [
    pytest.mark.filterwarnings("ignore:Creating a dataset without passing data or dtype"),
    pytest.mark.filterwarnings("ignore:.*subject_list.*:UserWarning"),
]
KEYS = ["pipeline", "subject", "session"]


class Toy(BaseDataset):
    """Two-class imagery whose classes differ in power on C3."""

    def __init__(self, n_subjects=3, n_sessions=2, n_runs=2, paradigm="imagery", events=("left_hand", "right_hand")):
        names = {name: place + 1 for place, name in enumerate(events)}
        super().__init__(list(range(1, n_subjects + 1)), n_sessions, names, "Toy", [0, 1], paradigm)
        self.n_runs = n_runs

    def _get_single_subject_data(self, subject):
        return {
            str(session): {
                str(run): self._run(100 * subject + 10 * session + run, gain=subject) for run in range(self.n_runs)
            }
            for session in range(self.n_sessions)
        }

    def _run(self, seed, gain, n_trials=12, sfreq=80):
        rng = np.random.default_rng(seed)
        data = rng.standard_normal((3, int(sfreq * (2 * n_trials + 2)))) * 1e-5 * gain
        labels = rng.permutation(np.arange(n_trials) % len(self.event_id))
        onsets = 1.0 + 2.0 * np.arange(n_trials)
        for onset, label in zip(onsets, labels, strict=True):
            data[0, int(onset * sfreq) : int((onset + 1) * sfreq)] *= 1.0 + 0.15 * label
        raw = mne.io.RawArray(data, mne.create_info(["C3", "Cz", "C4"], sfreq, "eeg"), verbose=False)
        names = list(self.event_id)
        raw.set_annotations(mne.Annotations(onsets, 1.0, [names[label] for label in labels]))
        return raw

    def data_path(self, subject, path=None, force_update=False, update_path=None, verbose=None):
        return []


class LogPower(TransformerMixin, BaseEstimator):
    """Log variance of each channel; fitted, as steps before a calibration slice must be."""

    def fit(self, X, y=None):
        self.n_channels_ = X.shape[1]
        return self

    def transform(self, X):
        return np.log(np.var(X, axis=2))


class Shift(TransformerMixin, BaseEstimator):
    """Centres training trials on their mean, others on the test subject's unlabelled trials if it gets any."""

    def fit(self, X, y=None, X_target_unlabeled=None):
        self.mean_ = np.mean(X if X_target_unlabeled is None else X_target_unlabeled, axis=0)
        return self

    def fit_transform(self, X, y=None, X_target_unlabeled=None):
        self.fit(X, y, X_target_unlabeled)
        return X - np.mean(X, axis=0)

    def transform(self, X):
        return X - self.mean_


def pipelines():
    return {
        "LogVar+LDA": make_pipeline(LogVariance(), LinearDiscriminantAnalysis()),
        "LogVar+LR": make_pipeline(LogVariance(), StandardScaler(), LogisticRegression(C=0.3)),
    }


def moabb_scores(evaluation, paradigm, dataset, given, tmp_path, param_grid=None, **options):
    """Rows of MOABB's `process` before its HDF5 file rounds them to 32 bits, and that rounded table."""
    direct = evaluation(paradigm=paradigm, datasets=[dataset], random_state=42, hdf5_path=str(tmp_path), **options)
    rows = []
    push = direct._push_results_batch
    direct._push_results_batch = lambda results, *args: (rows.extend(results), push(results, *args))
    rounded = direct.process(given, param_grid)
    exact = {(row["pipeline"], str(row["subject"]), str(row["session"])): row for row in rows}
    return exact, rounded


def assert_equal(results, exact, rounded):
    table = results.table
    assert len(table) == len(exact) == len(rounded) > 0
    for row in table.to_dict("records"):
        theirs = exact[row["pipeline"], row["subject"], row["session"]]
        assert row["score"] == theirs["score"]
        for ours_name, name in (
            ("samples", "n_samples"),
            ("samples_test", "n_samples_test"),
            ("n_classes", "n_classes"),
        ):
            assert row[ours_name] == theirs[name]
    left, right = (frame.sort_values(KEYS).reset_index(drop=True) for frame in (table, rounded))
    assert (left["score"].astype(np.float32) == right["score"]).all()
    assert (left["channels"] == right["channels"]).all() and (left["n_sessions"] == right["n_sessions"]).all()


@pytest.mark.parametrize(("name", "evaluation", "folds"), [
    ("within_session", WithinSessionEvaluation, "shuffled"),
    ("cross_session", CrossSessionEvaluation, "auto"),
    ("cross_subject", CrossSubjectEvaluation, "auto"),
])  # fmt: skip
def test_scores_equal_those_of_moabb(name, evaluation, folds, tmp_path):
    dataset, given = Toy(), pipelines()
    exact, rounded = moabb_scores(evaluation, LeftRightImagery(), dataset, given, tmp_path)
    assert_equal(benchmark(given, dataset, name, folds=folds), exact, rounded)
    assert len({row["score"] for row in exact.values()}) > 3  # the scores do differ, so that equality says something


def test_run_wise_folds_equal_moabb_with_our_splitter(tmp_path):
    dataset, given = Toy(n_runs=3), pipelines()
    options = {"cv_class": RunFolds, "groups": "run"}
    exact, rounded = moabb_scores(WithinSessionEvaluation, LeftRightImagery(), dataset, given, tmp_path, **options)
    results = benchmark(given, dataset)
    assert set(results.table["folds"]) == {"run"}
    assert_equal(results, exact, rounded)


def test_a_grid_search_equals_moabb(tmp_path):
    dataset, given = Toy(n_subjects=2), pipelines()
    grid = {"LogVar+LR": {"logisticregression__C": [0.001, 0.1, 10.0]}}
    exact, rounded = moabb_scores(WithinSessionEvaluation, LeftRightImagery(), dataset, given, tmp_path, grid)
    results = benchmark(given, dataset, folds="shuffled", param_grid=grid)
    assert_equal(results, exact, rounded)
    assert results.folds.groupby("pipeline")["n_parameters"].first()["LogVar+LR"] > 0


@pytest.mark.parametrize("mode", [mode.value for mode in CrossSubjectMode])
def test_target_access_modes_equal_moabb_and_reach_the_step_that_asks(mode, tmp_path):
    def pipeline(asks):
        with config_context(enable_metadata_routing=True):
            shift = Shift().set_fit_request(X_target_unlabeled=asks)
        steps = [("power", LogPower()), ("shift", shift), ("lda", LinearDiscriminantAnalysis())]
        return {"shifted": Pipeline(steps, transform_input=["X_target_unlabeled"])}

    dataset, given = Toy(n_subjects=3, n_sessions=1), pipeline(True)
    paradigm = LeftRightImagery(scorer="accuracy")
    exact, rounded = moabb_scores(CrossSubjectEvaluation, paradigm, dataset, given, tmp_path, cs_mode=mode)
    results = benchmark(given, dataset, "cross_subject", cs_mode=mode, metric="accuracy")
    assert results.failed.empty
    assert_equal(results, exact, rounded)
    deaf = benchmark(pipeline(False), dataset, "cross_subject", cs_mode=mode, metric="accuracy")
    assert (results.table["score"].tolist() != deaf.table["score"].tolist()) is ("unlabeled" in mode)


def test_a_signal_dataset_gives_the_scores_of_the_moabb_dataset_it_was_cut_from(tmp_path):
    from neurosig.core.signals import SignalDataset, SignalSpec

    dataset, given = Toy(n_subjects=2), pipelines()
    X, y, metadata = LeftRightImagery().get_data(dataset)
    info = SignalSpec("eeg", ("C3", "Cz", "C4"), sfreq=80.0, unit="uV", n_times=X.shape[-1])
    signals = SignalDataset(X, y, metadata.astype(str), info, name="Toy")
    for evaluation in ("within_session", "cross_session", "cross_subject"):
        left = benchmark(given, dataset, evaluation).table
        right = benchmark(given, signals, evaluation).table
        assert (left["score"] == right["score"]).all()


def test_modes_are_those_of_the_installed_moabb():
    assert tuple(cross_subject_modes()) == CS_MODES


@pytest.mark.parametrize(("kind", "events", "expected"), [
    ("imagery", ("left_hand", "right_hand"), LeftRightImagery),
    ("imagery", ("left_hand", "feet", "tongue"), MotorImagery),
    ("p300", ("Target", "NonTarget"), P300),
    ("p300", ("face", "house"), P300),
    ("ssvep", ("13", "17"), SSVEP),
    ("rstate", ("open", "closed"), ours.Classification),
])  # fmt: skip
def test_the_paradigm_follows_the_dataset(kind, events, expected):
    dataset = Toy(paradigm=kind, events=events)
    paradigm = ours.make_paradigm(dataset, fmin=2.0, fmax=20.0, tmin=0.25, tmax=1.0)
    assert type(paradigm) is expected
    assert paradigm.is_valid(dataset)
    X, y, _ = paradigm.get_data(dataset, [1])
    assert X.shape[2] == int(0.75 * 80) + 1
    assert set(y) == set(events)
    assert paradigm.scoring == ("roc_auc" if len(events) == 2 else "accuracy")


def test_what_cannot_be_evaluated_is_said_in_one_line():
    with pytest.raises(
        InputError, match=r"cross_session needs at least two sessions of each subject, Toy has 1; use within_session"
    ):
        benchmark(pipelines(), Toy(n_sessions=1), "cross_session")
    with pytest.raises(InputError, match=r"cross_subject needs at least two subjects, Toy gives 1; use within_session"):
        benchmark(pipelines(), Toy(), "cross_subject", subjects=["2"])
    with pytest.raises(InputError, match=r"9 folds need as many subjects, Toy gives 3; use fewer folds"):
        benchmark(pipelines(), Toy(), "cross_subject", n_splits=9)
    with pytest.raises(UsageError, match=r"Toy has no subject '9'; it has 1, 2, 3"):
        benchmark(pipelines(), Toy(), subjects=[9])
    with pytest.raises(UsageError, match=r"Toy has no event 'tongue'; it has left_hand, right_hand"):
        ours.make_paradigm(Toy(), events=["tongue"])


@pytest.mark.parametrize("evaluation", ["within_session", "cross_subject"])
def test_onsets_are_heard_while_moabb_cuts(evaluation):
    dataset = Toy(n_subjects=2)
    paradigm = LeftRightImagery(resample=40)
    runner = MoabbRunner(dataset, paradigm, evaluation, "shuffled" if evaluation == "within_session" else "subject")
    for unit in runner.units:
        X, y, metadata = runner.load(unit, pipelines())
        plain_X, plain_y, plain = LeftRightImagery(resample=40).get_data(dataset, unit)
        np.testing.assert_array_equal(X, plain_X)
        assert (y == plain_y).all() and metadata.drop(columns="onset").equals(plain)
        for _, onsets in metadata.groupby(["subject", "session", "run"])["onset"]:
            np.testing.assert_allclose(onsets, 1.0 + 2.0 * np.arange(12), atol=1 / 80)


def test_onsets_skip_what_moabb_leaves_out():
    class Gappy(Toy):
        def _run(self, seed, gain, n_trials=12, sfreq=80):
            raw = super()._run(seed, gain, n_trials, sfreq)
            if seed % 10 == 0:
                raw.annotations.append(5.2, 0.2, "BAD_movement")  # spoils the trial at 5 s
            return raw

    X, _, metadata = MoabbRunner(Gappy(n_subjects=1), LeftRightImagery(), "within_session", "run").load([1], {})
    first = metadata[(metadata["session"] == "0") & (metadata["run"] == "0")]["onset"].tolist()
    assert first == [1.0, 3.0, *np.arange(7.0, 24.0, 2.0)]
    assert len(X) == len(metadata) == 2 * (11 + 12)


def test_overlapping_trials_of_a_moabb_dataset_keep_a_gap():
    dataset = Toy(n_subjects=1, n_sessions=1, n_runs=1)
    paradigm_span = {"tmin": 0.0, "tmax": 3.0}  # trials of 3 s every 2 s
    results = benchmark(pipelines(), dataset, folds="chronological", n_splits=2, **paradigm_span)
    assert any(line.startswith("Toy: trials of 3 s overlap, so 1 trial on each side") for line in results.warnings)
    apart = benchmark(pipelines(), dataset, folds="chronological", n_splits=2)
    assert not any("overlap" in line for line in apart.warnings)
    shuffled = benchmark(pipelines(), dataset, folds="shuffled", n_splits=3, **paradigm_span)
    assert any(line.startswith("shuffled folds, asked for by name: test trial") for line in shuffled.warnings)


def test_filter_bank_pipelines_stand_beside_the_others(tmp_path):
    from sklearn.model_selection import cross_val_score

    from neurosig.evaluation.pipelines import load_pipelines

    dataset = Toy(n_subjects=2, n_sessions=1, n_runs=3, paradigm="ssvep", events=("10", "15"))
    bank = tmp_path / "bank.yml"
    bank.write_text(
        "name: Bank\nparadigms: [FilterBankSSVEP]\npipeline:\n"
        "  - {name: ExtendedSSVEPSignal, from: moabb.pipelines.features}\n"
        "  - {name: Covariances, from: pyriemann.estimation, parameters: {estimator: oas}}\n"
        "  - {name: MDM, from: pyriemann.classification}\n"
    )
    plain = tmp_path / "plain.yml"
    plain.write_text(
        "name: Plain\nparadigms: [SSVEP, FilterBankSSVEP]\npipeline:\n"
        "  - {name: Covariances, from: pyriemann.estimation, parameters: {estimator: oas}}\n"
        "  - {name: MDM, from: pyriemann.classification}\n"
    )
    results = benchmark([bank, plain], dataset, fmin=7, fmax=30)
    assert "Bank: the bands are those of FilterBankSSVEP, not fmin and fmax" in results.warnings
    table = results.table.set_index(["pipeline", "subject"])
    assert table["paradigm"].groupby("pipeline").first().to_dict() == {"Bank": "FilterBankSSVEP", "Plain": "SSVEP"}
    assert len(results.meta["datasets"]) == 1 and len(results.meta["pipelines"]) == 2
    for name, paradigm in (
        ("Bank", FilterBankSSVEP(events=["10", "15"], n_classes=2)),
        ("Plain", SSVEP(7, 30, events=["10", "15"], n_classes=2)),
    ):
        X, y, metadata = paradigm.get_data(dataset, [1])
        assert X.shape[3:] == ((2,) if name == "Bank" else ())
        pipeline = load_pipelines(tmp_path, names=name)[name]
        scores = cross_val_score(pipeline, X, y == "15", groups=metadata["run"], cv=RunFolds(), scoring="roc_auc")
        ours_folds = results.folds.query("pipeline == @name and subject == '1'")
        assert ours_folds["score"].tolist() == scores.tolist()
    with pytest.raises(UsageError, match=r"its events \(left, right\) are not named by them; name the events by their"):
        benchmark([bank], Toy(paradigm="ssvep", events=("left", "right")))


def test_two_bands_on_real_flicker(data_dir):
    from sklearn.model_selection import cross_val_score

    from neurosig.evaluation.pipelines import load_pipelines
    from neurosig.loaders.manifest import open_dataset

    results = benchmark(["SSVEP TS+LR", "Chance"], "muse-ssvep", data=data_dir)
    assert results.table.set_index("pipeline")["paradigm"].to_dict() == {
        "SSVEP TS+LR": "FilterBankSSVEP",
        "Chance": "SSVEP",
    }
    dataset = open_dataset("muse-ssvep", data=data_dir).as_moabb()
    X, y, metadata = FilterBankSSVEP(events=["20", "30"], n_classes=2).get_data(dataset)
    pipeline = load_pipelines(names="SSVEP TS+LR")["SSVEP TS+LR"]
    direct = cross_val_score(pipeline, X, y == "30", groups=metadata["run"], cv=RunFolds(), scoring="roc_auc")
    found = results.folds[results.folds["pipeline"] == "SSVEP TS+LR"]["score"]
    assert found.tolist() == direct.tolist() and direct.mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("name", "evaluation"), [
    ("within_session", WithinSessionEvaluation),
    ("cross_subject", CrossSubjectEvaluation),
])  # fmt: skip
def test_shipped_files_on_real_recordings_equal_moabb(data_dir, name, evaluation, tmp_path):
    from moabb.pipelines.utils import create_pipeline_from_config
    from yaml import safe_load

    from neurosig.core.files import resource_dir
    from neurosig.loaders.manifest import open_dataset

    files = [resource_dir("pipelines") / f"{stem}.yml" for stem in ("csp_lda", "ts_lr", "mdm")]
    contents = [safe_load(file.read_text()) for file in files]
    given = {content["name"]: create_pipeline_from_config(content["pipeline"]) for content in contents}
    manifest = open_dataset("eegmmidb-trials", data=data_dir)
    subjects = manifest.subject_list[:2]
    cut = manifest.processing
    # MOABB counts tmin from the start of the dataset's interval, which is the manifest's window: 0 to None is that
    paradigm = LeftRightImagery(fmin=cut.fmin, fmax=cut.fmax, resample=cut.resample)
    exact, rounded = moabb_scores(evaluation, paradigm, manifest.as_moabb(subjects=subjects), given, tmp_path)
    folds = "shuffled" if name == "within_session" else "auto"
    results = benchmark(files, manifest, name, folds=folds, subjects=subjects)
    assert_equal(results, exact, rounded)
    assert len({row["score"] for row in exact.values()}) > 3
