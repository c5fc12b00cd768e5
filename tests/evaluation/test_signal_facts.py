"""What is known about the signals reaches the steps that ask, as far as it holds, and nobody else."""

import mne
import numpy as np
import pytest
from mne.decoding import Scaler
from moabb.datasets.base import BaseDataset
from moabb.paradigms import LeftRightImagery
from moabb.pipelines.features import LogVariance, Resampler_Epoch
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neurosig import SignalSpec, TransferStudy, simulate_eeg, train
from neurosig.core.channels import montage_name
from neurosig.core.errors import UsageError
from neurosig.core.persistence import load_pipeline, save_pipeline
from neurosig.core.signals import Processing
from neurosig.evaluation.benchmark import benchmark
from neurosig.evaluation.moabb import MoabbRunner
from neurosig.evaluation.pseudo_online import pseudo_online
from neurosig.evaluation.signal_facts import common_facts, facts_digest, with_signal_facts
from neurosig.loaders.simulated import simulate_recordings
from neurosig.models import NetClassifier
from neurosig.preprocessing.alignment import Recentering
from neurosig.preprocessing.augmented_covariance import AugmentedCovariances
from neurosig.preprocessing.faster import FASTER
from neurosig.preprocessing.scaling import ClipScale
from neurosig.preprocessing.spatial_reduction import SpatialReduction

pytestmark = [
    pytest.mark.filterwarnings("ignore:Creating a dataset without passing data or dtype"),
    pytest.mark.filterwarnings("ignore:.*subject_list.*:UserWarning"),
]
NAMES = ("F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4")
SEEN: list = []


def spec(names=NAMES, **fields):
    montage = mne.channels.make_standard_montage(montage_name("standard_1005"))
    info = mne.create_info(list(names), 160.0, "eeg", verbose=False).set_montage(montage)
    return SignalSpec.from_mne(info, **{"unit": "uV", "n_times": 320, "tmin": 0.5, **fields})


class Asking(ClassifierMixin, BaseEstimator):
    """A user's own class that wants to be told, and says so."""

    takes_signal_facts = True

    def __init__(self, sfreq=None, ch_names=None, info=None, shrinkage=0.1):
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.info = info
        self.shrinkage = shrinkage

    def fit(self, X, y):
        SEEN.append((np.shape(X), self.sfreq, self.ch_names, self.info))
        self.lda_ = LinearDiscriminantAnalysis().fit(self._features(X), y)
        self.classes_ = self.lda_.classes_
        return self

    def _features(self, X):
        return np.log(np.var(np.asarray(X), axis=2) + 1e-30)

    def decision_function(self, X):
        return self.lda_.decision_function(self._features(X))

    def predict(self, X):
        return self.lda_.predict(self._features(X))


class Foreign(TransformerMixin, BaseEstimator):
    """Somebody else's class, whose parameters of these names mean something else."""

    def __init__(self, sfreq=None, ch_names=None, info=None):
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.info = info

    def fit(self, X, y=None):
        assert self.sfreq is self.ch_names is self.info is None
        self.fitted_ = True
        return self

    def transform(self, X):
        return X


class Careful(Foreign):
    """One that says what it leaves as it was."""

    keeps_signal_facts = ("sfreq", "channels", "unit")


class Kept(FASTER):
    """FASTER that can be looked at after a fold."""

    keeps_signal_facts = ("sfreq", "channels", "unit")

    def fit(self, X, y=None):
        SEEN.append((super().fit(X, y), X))
        return self


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()


def told(estimator):
    return estimator.sfreq, estimator.ch_names, estimator.info


def test_what_is_none_is_filled_and_the_pipeline_is_not_changed():
    pipeline = make_pipeline(FASTER(), NetClassifier(module="EEGNet"))
    filled = with_signal_facts(pipeline, spec())
    bare = spec(n_times=None, tmin=None)
    for step in (filled[0], filled[-1]):
        assert told(step)[:2] == (160.0, list(NAMES))
    assert filled[0].info == bare
    assert filled[-1].info == bare.replace(reference=None, highpass=None, lowpass=None)  # FASTER may change these
    assert told(pipeline[0]) == told(pipeline[-1]) == (None, None, None)


def test_what_a_user_set_stays_and_is_not_contradicted():
    own = spec(("O1", "O2"))
    assert told(with_signal_facts(FASTER(info=own), spec())) == (None, None, own)
    assert told(with_signal_facts(FASTER(sfreq=100.0), spec())) == (100.0, list(NAMES), None)
    renamed = [name.lower() for name in NAMES]
    assert told(with_signal_facts(FASTER(ch_names=renamed), spec())) == (160.0, renamed, None)
    agreeing = with_signal_facts(FASTER(sfreq=160.0, ch_names=NAMES), spec())
    assert agreeing.ch_names == NAMES
    assert agreeing.info.positions == spec().positions
    assert with_signal_facts(AugmentedCovariances(sfreq=50.0), spec()).sfreq == 50.0


def test_estimators_of_others_are_let_alone():
    filled = with_signal_facts(make_pipeline(Careful(), Scaler(scalings="mean"), Asking()), spec())
    assert told(filled[0]) == (None, None, None)
    assert filled[1].info is None  # mne's wants an mne.Info
    assert told(filled[2])[:2] == (160.0, list(NAMES))
    assert filled[2].info.unit == "a.u."


@pytest.mark.parametrize(
    ("step", "rate", "channels"),
    [
        ("passthrough", 160.0, True),
        (FASTER(), 160.0, True),
        (ClipScale(), 160.0, True),
        (make_pipeline(FASTER(), ClipScale()), 160.0, True),
        (Careful(), 160.0, True),
        (SpatialReduction(), 160.0, False),
        (Recentering(), 160.0, False),
        (LogVariance(), 160.0, False),
        (make_pipeline(FASTER(), SpatialReduction()), 160.0, False),
        (Resampler_Epoch(64), None, False),
        (FunctionTransformer(), None, False),
        (Foreign(), None, False),
    ],
)
def test_only_what_still_holds_is_told(step, rate, channels):
    pipeline = Pipeline([("step", step), ("net", NetClassifier(module="EEGNet"))])
    last = with_signal_facts(pipeline, spec())[-1]
    assert last.sfreq == rate
    assert (last.ch_names, last.info is not None) == ((list(NAMES), True) if channels else (None, False))


def test_nested_estimators():
    ask = Asking()
    inner = make_pipeline(ClipScale(), ask)
    facts = (160.0, list(NAMES))
    assert told(with_signal_facts(GridSearchCV(inner, {"asking__shrinkage": [0.1]}), spec()).estimator[-1])[:2] == facts
    assert told(with_signal_facts(GridSearchCV(GridSearchCV(ask, {}), {}), spec()).estimator.estimator)[:2] == facts
    assert told(with_signal_facts(CalibratedClassifierCV(ask), spec()).estimator)[:2] == facts
    voting = with_signal_facts(VotingClassifier([("a", inner), ("b", SpatialReduction()), ("c", "drop")]), spec())
    assert told(voting.estimators[0][1][-1])[:2] == facts
    stacking = with_signal_facts(StackingClassifier([("a", ask)], final_estimator=Asking()), spec())
    assert told(stacking.estimators[0][1])[:2] == facts
    assert told(stacking.final_estimator)[0] is None
    union = with_signal_facts(make_pipeline(FeatureUnion([("f", FASTER()), ("a", Careful())]), Asking()), spec())
    assert told(union[0].transformer_list[0][1])[:2] == facts
    assert told(union[-1]) == (160.0, None, None)  # channels of both, one after the other
    columns = with_signal_facts(ColumnTransformer([("f", FASTER(), [0, 1])]), spec())
    assert told(columns.transformers[0][1]) == (160.0, None, None)  # two of the channels
    frozen = FrozenEstimator(FASTER())
    assert told(with_signal_facts(make_pipeline(frozen, Asking()), spec())[0].estimator) == (None, None, None)


def test_a_rate_alone_or_nothing_at_all():
    pipeline = make_pipeline(FASTER(), NetClassifier(module="EEGNet"))
    filled = with_signal_facts(pipeline, 250.0)
    assert told(filled[0]) == told(filled[1]) == (250.0, None, None)
    assert told(with_signal_facts(pipeline, None)[0]) == (None, None, None)
    without_rate = with_signal_facts(pipeline, spec(sfreq=None))
    assert told(without_rate[0])[:2] == (None, list(NAMES))


def test_digest_is_of_what_is_told():
    pipeline = make_pipeline(AugmentedCovariances(), LogisticRegression())
    assert facts_digest(LogisticRegression(), spec()) is None
    assert facts_digest(FASTER(), None) is None
    assert facts_digest(pipeline, spec()) == facts_digest(pipeline, spec(NAMES[::-1]))  # it takes the rate only
    assert facts_digest(pipeline, spec()) != facts_digest(pipeline, spec(sfreq=80.0))
    assert facts_digest(FASTER(), spec()) != facts_digest(FASTER(), spec(NAMES[::-1]))
    assert facts_digest(FASTER(), spec()) == facts_digest(FASTER(), spec(n_times=9, tmin=3.0))


def test_facts_common_to_recordings():
    moved = spec(positions=tuple((x, y, z + 0.01) for x, y, z in spec().positions))
    assert common_facts([spec(), spec(n_times=9)]) == spec(n_times=None, tmin=None)
    assert common_facts([spec(), moved, spec()]) == spec(n_times=None, tmin=None, positions=None)
    assert common_facts([spec(), spec(NAMES[::-1])]) is None
    assert common_facts([spec(), spec(sfreq=80.0)]) is None
    assert common_facts([]) is None


def test_info_of_faster_has_one_meaning():
    X = np.random.default_rng(0).standard_normal((12, 9, 320))
    ours, theirs = FASTER(info=spec(), few="ignore").fit(X), FASTER(info=spec().to_mne(), few="ignore").fit(X)
    np.testing.assert_array_equal(ours.positions_, theirs.positions_)
    np.testing.assert_array_equal(ours.transform(X), theirs.transform(X))
    placed = FASTER(info=spec(sfreq=None), few="ignore").fit(X)
    assert placed.sfreq_ is None
    assert "drift" in placed.report_["steps"]["channels"]["skipped"]
    assert FASTER(info=spec(sfreq=None), sfreq=160.0, few="ignore").fit(X).sfreq_ == 160.0
    with pytest.raises(UsageError, match="sfreq is 100 Hz, but the signals' info says 160 Hz"):
        FASTER(info=spec(), sfreq=100.0).fit(X)


def test_filters_survive_the_way_through_mne():
    info = spec(highpass=8.0, lowpass=32.0).to_mne()
    assert (info["highpass"], info["lowpass"]) == (8.0, 32.0)
    assert (spec(highpass=None, lowpass=None).to_mne()["lowpass"], spec(lowpass=500.0).to_mne()["lowpass"]) == (80, 80)


# ------------------------------------------------------------------------------------------------- in evaluations


class Nine(BaseDataset):
    """Imagery on nine channels of the 10-20 system."""

    def __init__(self, n_subjects=1, names=lambda subject: NAMES, places=True):
        events = {"left_hand": 1, "right_hand": 2}
        super().__init__(list(range(1, n_subjects + 1)), 1, events, "Nine", [0, 1], "imagery")
        self.names, self.places = names, places

    def _get_single_subject_data(self, subject):
        rng = np.random.default_rng(subject)
        data = rng.standard_normal((9, 160 * 34)) * 1e-5
        labels = np.arange(16) % 2
        onsets = 1.0 + 2.0 * np.arange(16)
        info = mne.create_info(list(self.names(subject)), 160.0, "eeg", verbose=False)
        raw = mne.io.RawArray(data, info, verbose=False)
        if self.places:
            raw.set_montage(montage_name("standard_1005"))
        raw.set_annotations(mne.Annotations(onsets, 1.0, [list(self.event_id)[label] for label in labels]))
        return {"0": {"0": raw}}

    def data_path(self, subject, path=None, force_update=False, update_path=None, verbose=None):
        return []


def test_what_moabb_hands_over_is_what_is_told():
    chosen = ["C4", "Cz", "C3", "Pz", "Fz"]
    paradigm = LeftRightImagery(fmin=8, fmax=32, resample=80, channels=chosen)
    runner = MoabbRunner(Nine(), paradigm, "within_session", "chronological", n_splits=2)
    X = runner.load([1], {})[0]
    signals = runner.signals()
    epochs = paradigm.get_data(Nine(), [1], return_epochs=True)[0]
    assert signals.ch_names == tuple(epochs.ch_names)
    assert X.shape[1] == len(chosen)
    assert (signals.sfreq, signals.unit, signals.highpass, signals.lowpass) == (80.0, "uV", 8.0, 32.0)
    np.testing.assert_array_equal(signals.positions, [channel["loc"][:3] for channel in epochs.info["chs"]])
    np.testing.assert_allclose(X, epochs.get_data() * 1e6)


def faster(**options):
    steps = ["channels", "epochs", "components"]
    return Kept(steps=steps, few="ignore", eog_proxy=["F3"], output_reference=None, **options)


def features(X):
    return np.log(np.var(X, axis=2))


def test_faster_in_a_fold_does_all_that_it_does_with_epochs():
    signals = simulate_eeg(n_subjects=1, n_sessions=1, n_runs=1, n_trials=24, sfreq=128, random_state=0)
    pipeline = make_pipeline(faster(), LogVariance(), LinearDiscriminantAnalysis())
    benchmark({"FASTER": pipeline}, signals, n_splits=2)
    epochs = signals.to_epochs()
    first = len(SEEN[0][1])
    for (fitted, X), part in zip(SEEN, (slice(first, None), slice(first)), strict=True):
        their = epochs[part]
        np.testing.assert_allclose(X, their.get_data() * 1e6)
        alone = FASTER(**{**fitted.get_params(), "info": None, "ch_names": None, "sfreq": None}).fit(their)
        assert not any(step["skipped"] for step in fitted.report_["steps"].values())
        assert {"drift"} <= set(fitted.metrics_["channels"]["scores"])
        assert {"spectral_slope", "eog_correlation"} <= set(fitted.metrics_["components"]["scores"])
        assert fitted.bad_channels_ == alone.bad_channels_
        np.testing.assert_array_equal(fitted.bad_components_, alone.bad_components_)
        np.testing.assert_array_equal(fitted.positions_, alone.positions_)
        assert fitted.sfreq_ == alone.sfreq_ == 128.0
        for step, found in alone.metrics_.items():
            for metric, values in found["z"].items():
                np.testing.assert_allclose(fitted.metrics_[step]["z"][metric], values, rtol=1e-6, atol=1e-8)


def test_moabb_alone_still_runs_such_pipelines():
    paradigm = LeftRightImagery()
    X, y, _ = paradigm.get_data(Nine(), [1])
    pipeline = make_pipeline(FASTER(few="ignore", interpolation="mean"), LogVariance(), LinearDiscriminantAnalysis())
    assert len(pipeline.fit(X, y).predict(X)) == len(y)


def test_networks_take_seconds():
    pytest.importorskip("torch")
    net = NetClassifier(
        module="EEGNet", module_params={"kernel_length": 0.5}, window=0.5, window_step=0.25, max_epochs=1, device="cpu"
    )
    signals = simulate_eeg(n_subjects=1, n_sessions=1, n_runs=1, n_trials=12, sfreq=128, random_state=0)
    with pytest.raises(UsageError, match="sampling rate"):
        net.fit(np.asarray(signals.X), signals.y)
    table = benchmark({"net": make_pipeline(ClipScale(), net)}, signals, n_splits=2).table
    assert np.isfinite(table["score"]).all()
    trained = train(signals, net, folds=None).pipeline
    assert (trained.sfreq_, trained.spec_.ch_names) == (128.0, signals.info.ch_names)
    assert trained.module_.conv_temporal.kernel_size[-1] == 64


def test_a_search_in_the_fold_is_told(toy):
    signals = toy(n_subjects=1)
    benchmark({"search": GridSearchCV(Asking(), {"shrinkage": [0.1, 0.2]}, cv=2)}, signals, n_splits=2)
    benchmark({"grid": make_pipeline(Asking())}, signals, n_splits=2, param_grid={"grid": {"asking__shrinkage": [0.1]}})
    assert len(SEEN) > 8
    assert {(rate, tuple(names), info.unit) for _, rate, names, info in SEEN} == {(20.0, signals.info.ch_names, "uV")}


def test_stored_folds_are_those_of_the_same_facts(tmp_path):
    given = {"asks": Asking(), "LogVar": make_pipeline(LogVariance(), LinearDiscriminantAnalysis())}

    def fits(names, places=True):
        SEEN.clear()
        dataset = Nine(names=lambda subject: names, places=places)
        benchmark(given, dataset, n_splits=2, out=tmp_path)
        return len(SEEN), len(list((tmp_path / "store").glob("*.json")))

    assert fits(NAMES) == (2, 4)
    assert fits(NAMES) == (0, 4)
    assert fits(NAMES[::-1]) == (2, 6)  # the same numbers under other names: another fit of what is told names only
    assert fits(NAMES[::-1], places=False) == (2, 8)
    assert fits(NAMES) == (0, 8)


def test_names_that_differ_between_people_are_told_to_nobody():
    dataset = Nine(2, names=lambda subject: NAMES if subject == 1 else NAMES[::-1])
    benchmark({"asks": Asking()}, dataset, "cross_subject")
    assert {seen[1:] for seen in SEEN} == {(None, None, None)}


def test_training_transfer_and_pseudo_online_tell_too(tmp_path):
    signals = simulate_eeg(n_subjects=2, n_sessions=1, n_runs=2, n_trials=10, random_state=0)
    facts = (128.0, signals.info.ch_names, "uV", signals.info.positions)
    shared = Pipeline([("faster", FASTER(few="ignore", steps=["channels"], output_reference=None)), ("ask", Asking())])

    def seen():
        found = {(rate, tuple(names), info.unit, info.positions) for _, rate, names, info in SEEN}
        SEEN.clear()
        return found

    trained = train(signals, shared, folds="run")
    assert seen() == {facts}
    assert trained.pipeline[0].report_["steps"]["channels"]["skipped"] == {}
    cleaning = {"few": "ignore", "steps": ["channels"], "output_reference": None}
    TransferStudy({"asks": Asking()}, out=tmp_path, faster=cleaning, n_splits=2, seeds=[0]).run(signals)
    assert seen() == {facts}
    task = Processing(tmin=0.0, tmax=2.0, fmin=8.0, fmax=32.0, resample=64.0, picks=("C3", "C4", "Cz"))
    recordings = simulate_recordings(n_subjects=1, n_sessions=1, n_runs=2, n_trials=10, random_state=0)
    pseudo_online({"asks": Asking()}, recordings, window=1.0, step=1.0, processing=task)
    ((rate, names, unit, positions),) = seen()
    assert (rate, names, unit, len(positions)) == (64.0, task.picks, "uV", 3)


def test_what_was_told_is_stored_with_the_pipeline(tmp_path):
    signals = simulate_eeg(n_subjects=1, n_sessions=1, n_runs=1, n_trials=12, random_state=0)
    fitted = with_signal_facts(make_pipeline(FASTER(few="ignore")), signals.info).fit(signals.X)
    save_pipeline(fitted, tmp_path / "pipeline")
    loaded = load_pipeline(tmp_path / "pipeline")
    assert loaded[0].info == fitted[0].info
    np.testing.assert_array_equal(loaded.transform(signals.X), fitted.transform(signals.X))
    assert told(clone(loaded)[0]) == told(fitted[0])
