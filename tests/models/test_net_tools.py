"""Network estimators inside other tools: MOABB, YAML, searches, progress bars, torch.compile, skops, the Hub."""

import itertools
import shutil
import subprocess
import sys

import mne
import numpy as np
import pytest
import sklearn
import torch
from moabb.datasets.fake import FakeDataset
from moabb.evaluations import WithinSessionEvaluation
from moabb.paradigms import LeftRightImagery
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from torch import nn

from neurosig.core.errors import InputError, StorageError, UsageError
from neurosig.core.persistence import load_pipeline, save_pipeline
from neurosig.core.progress_lines import ProgressLines
from neurosig.evaluation.pipelines import load_pipelines
from neurosig.models import NetClassifier, NetRegressor, net_base
from neurosig.training import callbacks
from neurosig.training.callbacks import Progress

pytestmark = pytest.mark.filterwarnings("ignore::neurosig.core.compat.CompatibilityWarning")

RNG = np.random.default_rng(3)
Y = np.tile([0, 1], 20)
X = RNG.standard_normal((40, 4, 64))
X[Y == 1, 0] += 0.5


def linear(module="LinearNet", **options):
    return NetClassifier(module, **{"max_epochs": 4, "lr": 0.01, "random_state": 0, "device": "cpu", **options})


def eegnet(**options):
    return NetClassifier("EEGNet", {"kernel_length": 15},
                         **{"max_epochs": 2, "random_state": 0, "device": "cpu", "sfreq": 64, **options})  # fmt: skip


def same_weights(first, second):
    a, b = first.module_.state_dict(), second.module_.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


YAML = """
name: {name}
paradigms: [LeftRightImagery]
pipeline:
  - name: NetClassifier
    from: neurosig.models
    parameters: {{module: {name}, max_epochs: 2, random_state: 0, device: cpu}}
"""


@pytest.mark.filterwarnings("ignore")
def test_moabb_runs_networks_from_yaml(tmp_path):
    for name in ("LinearNet", "EEGNet"):
        (tmp_path / f"{name}.yml").write_text(YAML.format(name=name))
    given = load_pipelines(tmp_path)
    dataset = FakeDataset(["left_hand", "right_hand"], n_sessions=1, n_runs=1, n_subjects=1, n_events=12, duration=30)
    evaluation = WithinSessionEvaluation(
        paradigm=LeftRightImagery(resample=64, tmax=1), datasets=[dataset], random_state=0, hdf5_path=str(tmp_path)
    )
    scores = evaluation.process(given)
    assert sorted(scores["pipeline"]) == ["EEGNet", "LinearNet"]
    assert scores["score"].between(0, 1).all()


class Eavesdropper(TransformerMixin, BaseEstimator):
    """Writes down the names of the trials that each fit sees."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y=None):
        self.seen.append(set(X[:, 0, 0]))
        return self

    def transform(self, X):
        return X


def test_windows_and_groups_in_scikit_learns_tools():
    groups = np.arange(40) // 4
    net = linear(sfreq=64, window=0.5, window_step=0.25)
    search = GridSearchCV(net, {"window": [0.25, 0.5], "vote": ["mean", "majority"]}, cv=GroupKFold(2))
    search.fit(X, Y, groups=groups)
    assert search.best_score_ > 0.5
    assert search.best_estimator_.window_ in (16, 32)
    Eavesdropper.seen.clear()
    pipeline = make_pipeline(Eavesdropper(), net)
    result = cross_validate(pipeline, X, Y, groups=groups, cv=GroupKFold(5), return_estimator=True)
    assert len(result["test_score"]) == len(Eavesdropper.seen) == 5
    for fitted, (train, _) in zip(result["estimator"], GroupKFold(5).split(X, Y, groups), strict=True):
        # whole trials go in and one answer a trial comes out, however many windows there are
        assert Eavesdropper.seen.pop(0) == set(X[train, 0, 0])
        assert fitted.predict_proba(X).shape == (40, 2)
        assert fitted[-1].window_ == 32


def test_weights_of_trials_are_repetitions():
    weight = np.arange(40) % 3
    options = {"validation": None, "batch_size": 512, "optimizer": "SGD", "lr": 0.1}
    weighted = linear(**options).fit(X, Y, sample_weight=weight)
    repeated = linear(**options).fit(X.repeat(weight, axis=0), Y.repeat(weight))
    assert weighted.scale_ == pytest.approx(repeated.scale_, rel=1e-6)
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-4)
    # one of weight zero plays no part, not even in batch norm's statistics
    louder = X.copy()
    louder[weight == 0] *= 1e6
    zero = (weight > 0).astype(float)
    assert same_weights(eegnet().fit(X, Y, sample_weight=zero), eegnet().fit(louder, Y, sample_weight=zero))
    with pytest.raises(ValueError, match=r"at least one non-zero number|zeros only"):
        linear().fit(X, Y, sample_weight=np.zeros(40))
    with pytest.raises(UsageError, match="mix trials"):
        linear(augmentation=["Mixup"]).fit(X, Y, sample_weight=weight)


def test_one_trial_like_many():
    fitted = eegnet().fit(X, Y)
    many = fitted.predict_proba(X)
    one = np.concatenate([fitted.predict_proba(X[i : i + 1]) for i in range(40)])
    # float32: the order of sums goes with the size of the batch
    np.testing.assert_allclose(one, many, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(fitted.set_params(batch_size=7).predict(X), many.argmax(1))


def test_pretrained_on_other_classes(tmp_path):
    four = np.arange(40) % 4
    folder = eegnet().fit(X, four).save_pretrained(tmp_path / "four")
    source = NetClassifier.from_pretrained(folder)
    tuned = eegnet(pretrained=folder, trainable="head").fit(X, np.where(Y, "b", "a"))
    assert tuned.predict_proba(X).shape == (40, 2)
    head = set(map(id, tuned.module_.head_parameters()))
    before, after = source.module_.state_dict(), tuned.module_.state_dict()
    trained = {name for name, parameter in tuned.module_.named_parameters() if id(parameter) in head}
    assert trained
    assert all(torch.equal(before[name], after[name]) for name in before if name not in trained)
    kept = tuned.save_pretrained(tmp_path / "two")
    shutil.rmtree(folder)  # what was tuned stands on its own
    np.testing.assert_array_equal(NetClassifier.from_pretrained(kept).predict_proba(X), tuned.predict_proba(X))


def test_progress_is_shown_where_asked(monkeypatch):
    import tqdm.auto

    bars = []

    class Bar:
        def __init__(self, **options):
            self.options, self.steps, self.shown, self.closed = options, 0, {}, False
            bars.append(self)

        def set_postfix(self, values):
            self.shown = values

        def update(self):
            self.steps += 1

        def close(self):
            self.closed = True

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    monkeypatch.setattr(callbacks, "wants_lines", lambda show: False)  # as on a terminal
    for verbose in ("ERROR", "WARNING", False):
        linear(verbose=verbose).fit(X, Y)
    assert not bars
    fitted = linear(verbose="INFO").fit(X, Y)
    (bar,) = bars
    assert (bar.options["total"], bar.steps, bar.closed) == (4, 4, True)
    assert bar.options["disable"] is None  # tqdm's word for: only where someone can see it
    assert bar.shown["valid_loss"] == f"{fitted.history_[-1]['valid_loss']:.4f}"
    monkeypatch.setattr(Progress, "on_epoch_end", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        linear(verbose="INFO").fit(X, Y)
    assert bars[-1].closed


def test_without_a_terminal_progress_is_a_line_of_losses_now_and_then(capsys, monkeypatch, tmp_path):
    seconds = itertools.count(0, 4)  # an epoch takes four, by this clock

    def lines(name, unit):
        return ProgressLines(name, unit, lambda: next(seconds))

    monkeypatch.setattr(callbacks, "ProgressLines", lines)
    for verbose in (None, "WARNING", False):
        linear(verbose=verbose).fit(X, Y)
    assert capsys.readouterr().err == ""
    fitted = linear(verbose=True, validation=0.5).fit(X, Y)
    told = [
        ", ".join(f"{name} {row[name]:.4f}" for name in ("train_loss", "valid_loss", "valid_accuracy"))
        for row in fitted.history_
    ]
    assert capsys.readouterr().err.splitlines() == [
        f"training: 1 of 4 epochs, 4.0 s; {told[0]}", f"training: 4 of 4 epochs, 16 s; {told[3]}",
    ]  # fmt: skip
    folder = {"checkpoint": tmp_path, "verbose": "INFO", "validation": None}
    write = callbacks.Progress.on_epoch_end

    def write_and_stop(self, net, **kwargs):
        write(self, net, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_epoch_end", write_and_stop)
    with pytest.raises(KeyboardInterrupt):
        linear(**folder).fit(X, Y)
    monkeypatch.setattr(Progress, "on_epoch_end", write)
    capsys.readouterr()
    linear(**folder).fit(X, Y)  # goes on
    assert "training: 2 of 4 epochs, 4.0 s; train_loss " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.skipif(shutil.which("gcc") is None and shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="torch.compile is tried on Linux")
def test_compiled_network_learns_the_same():
    plain, compiled = linear(Foreign).fit(X, Y), linear(Foreign, compile=True).fit(X, Y)
    np.testing.assert_allclose(
        [row["train_loss"] for row in compiled.history_], [row["train_loss"] for row in plain.history_], rtol=1e-3
    )
    assert type(compiled.module_) is Foreign
    assert list(compiled.module_.state_dict()) == list(plain.module_.state_dict())
    np.testing.assert_allclose(compiled.predict_proba(X), plain.predict_proba(X), rtol=1e-3)


def test_failing_compiler_is_said(monkeypatch):
    class Compiled(nn.Module):
        def __init__(self, module, **options):
            super().__init__()
            self.module = module

        def forward(self, x):
            raise torch._dynamo.exc.TorchDynamoException("no working C++ compiler found")

    monkeypatch.setattr(torch, "compile", Compiled)
    with pytest.raises(UsageError, match=r"torch.compile cannot compile LinearNet here.*C\+\+ compiler.*compile=False"):
        linear(compile=True).fit(X, Y)


ACCELERATED = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from test_net_tools import X, Y, linear, same_weights

shared, alone = linear(device="accelerate").fit(X, Y), linear().fit(X, Y)
assert same_weights(shared, alone)
np.testing.assert_array_equal(shared.predict(X), alone.predict(X))
"""


@pytest.mark.slow
def test_accelerate_with_one_process_changes_nothing():
    pytest.importorskip("accelerate")
    # in a process of its own: accelerate keeps what it found for as long as the process lives
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ACCELERATED, __file__.rpartition("/")[0]],
        env={"ACCELERATE_USE_CPU": "true", "PATH": "", "OMP_NUM_THREADS": "1", "HOME": "/tmp"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


class Foreign(nn.Module):
    """A network from elsewhere."""

    def __init__(self, n_chans=None, n_outputs=None, n_times=None):
        super().__init__()
        self.last = nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, x):
        return self.last(x.flatten(1))


def test_skops_keeps_networks_by_name_and_refuses_foreign_code(tmp_path):
    fitted = eegnet().fit(X, Y)
    loaded = load_pipeline(save_pipeline(make_pipeline(fitted), tmp_path / "by-name"))
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    assert same_weights(loaded[-1], fitted)
    foreign = linear(module=Foreign).fit(X, Y)
    with pytest.raises(InputError, match=r"types that are not trusted: .*Foreign"):
        save_pipeline(make_pipeline(foreign), tmp_path / "by-class")
    # what does keep it: the class is given again when it is read
    folder = foreign.save_pretrained(tmp_path / "network")
    with pytest.raises(UsageError, match=r"weights of .*Foreign.*code is not stored.*module=Foreign"):
        NetClassifier.from_pretrained(folder)
    again = NetClassifier.from_pretrained(folder, module=Foreign)
    np.testing.assert_array_equal(again.predict_proba(X), foreign.predict_proba(X))


def test_names_on_the_hub(tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    fitted = eegnet().fit(X, Y)
    kept = fitted.save_pretrained(tmp_path / "cache", licence="cc-by-4.0")
    asked = []

    def download(name, *, revision, allow_patterns):
        asked.append((name, revision, sorted(allow_patterns)))
        if name != "someone/eegnet":
            raise huggingface_hub.errors.LocalEntryNotFoundError("outgoing traffic has been disabled")
        return str(kept)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    read = NetClassifier.from_pretrained("someone/eegnet", revision="v1", device="cpu")
    np.testing.assert_array_equal(read.predict_proba(X), fitted.predict_proba(X))
    assert asked == [("someone/eegnet", "v1", ["README.md", "config.json", "model.safetensors", "trained_on.json"])]
    tuned = eegnet(pretrained="someone/eegnet", trainable="head").fit(X, Y)
    assert tuned.n_parameters_ == fitted.n_parameters_
    with pytest.raises(StorageError, match=r"no folder 'no/where' here.*cannot be fetched.*has been disabled"):
        NetClassifier.from_pretrained("no/where")
    (tmp_path / "no").mkdir()
    shutil.copytree(kept, tmp_path / "no/where")
    np.testing.assert_array_equal(NetClassifier.from_pretrained("no/where").predict(X), fitted.predict(X))
    with pytest.raises(UsageError, match="revision='v1' goes with a model on the Hub"):
        NetClassifier.from_pretrained("no/where", revision="v1")
    n_asked = len(asked)
    for folder in ("nowhere", "./a/b", "a/b/c"):
        with pytest.raises(StorageError, match=r"no config\.json"):
            NetClassifier.from_pretrained(folder)
    assert len(asked) == n_asked
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'neurosig\[hub\]'"):
        NetClassifier.from_pretrained("someone/eegnet")


def test_card_says_the_licence(tmp_path):
    fitted = linear().fit(X, Y)
    card = (fitted.save_pretrained(tmp_path / "a", licence="cc-by-4.0") / "README.md").read_text()
    assert "\nlicense: cc-by-4.0\n" in card
    assert "## Licence\n\ncc-by-4.0\n" in card
    card = (fitted.save_pretrained(tmp_path / "b") / "README.md").read_text()
    assert "\nlicense: unknown\n" in card
    assert "Not stated" in card


def test_epochs_in_a_pipeline_for_numbers():
    info = mne.create_info(["C3", "Cz", "C4", "Pz"], 64.0, "eeg")
    epochs = mne.EpochsArray(X, info, verbose=False)
    target = X[:, 0].mean(axis=1)
    net = NetRegressor("LinearNet", window=0.5, max_epochs=20, lr=0.01, random_state=0, device="cpu")
    fitted = clone(net).fit(epochs, target)
    np.testing.assert_allclose(fitted.predict(epochs), fitted.predict(X), rtol=1e-5)
    assert clone(net).set_params(pretrained=FrozenEstimator(fitted)).fit(epochs, target).spec_.sfreq == 64


def test_groups_reach_the_validation_part_where_they_are_passed_on(monkeypatch):
    seen = []
    original = net_base.validation_split

    def split(y, index, groups, *args, **kwargs):
        seen.append(groups)
        return original(y, index, groups, *args, **kwargs)

    monkeypatch.setattr(net_base, "validation_split", split)
    groups = np.arange(40) // 4
    net, folds = linear(validation=0.2), GroupKFold(2)
    cross_validate(net, X, Y, groups=groups, cv=folds)
    assert seen == [None, None]
    seen.clear()
    cross_validate(net, X, Y, groups=groups, params={"groups": groups}, cv=folds)
    for given, (train, _) in zip(seen, folds.split(X, Y, groups), strict=True):
        np.testing.assert_array_equal(given, groups[train])
    seen.clear()
    with sklearn.config_context(enable_metadata_routing=True):
        cross_validate(net.set_fit_request(groups=True), X, Y, params={"groups": groups}, cv=folds)
    for given, (train, _) in zip(seen, folds.split(X, Y, groups), strict=True):
        np.testing.assert_array_equal(given, groups[train])
