"""Names and options of a training: found as people type them, checked before there are signals, told apart by class."""

import mne
import numpy as np
import pytest

from neurosig.core.errors import ChannelError, InputError, ManifestError, UsageError
from neurosig.core.signals import SignalSpec
from neurosig.evaluation.pipelines import load_pipelines
from neurosig.models import EEGNet, MIEEGNet, NetClassifier, NetRegressor
from neurosig.models.net_module import resolve_module
from neurosig.training.augmentation import make_augmentation
from neurosig.training.settings import TrainingSettings

pytestmark = pytest.mark.filterwarnings("ignore::neurosig.core.compat.CompatibilityWarning")

NAMES = ["C3", "Cz", "C4"]
RNG = np.random.default_rng(0)
Y = np.tile([0, 1], 10)
X = 1e-5 * RNG.standard_normal((20, 3, 50))
X[Y == 1, 0] += 1e-5
QUICK = {"max_epochs": 2, "validation": None, "random_state": 0, "device": "cpu"}


def test_networks_are_found_whatever_their_capitals_and_hyphens():
    assert resolve_module("eegnet") is EEGNet and resolve_module("MI-EEGNet") is MIEEGNet
    assert resolve_module("atcnet").__name__ == "ATCNet"
    with pytest.raises(UsageError, match=r"did you mean EEGNet"):
        resolve_module("eegnett")
    assert NetClassifier("linear_net", **QUICK).fit(X, Y).get_params()["module"] == "linear_net"


def test_optimizers_and_augmentations_too():
    assert TrainingSettings(optimizer="adamw").optimizer == "AdamW"
    with pytest.raises(UsageError, match="got 'adamm'; did you mean Adam"):
        TrainingSettings(optimizer="adamm")
    with pytest.raises(UsageError, match="got 'cosin'; did you mean cosine"):
        TrainingSettings(schedule="cosin")
    assert type(make_augmentation("time-reverse").transforms[0]).__name__ == "TimeReverse"
    with pytest.raises(UsageError, match=r"called 'TimeRevers'; braindecode has .*; did you mean TimeReverse"):
        make_augmentation("TimeRevers")
    with pytest.raises(UsageError, match=r"no parameter 'probabilty'; it has probability.*; did you mean probability"):
        make_augmentation({"name": "TimeReverse", "probabilty": 0.3})


PIPELINE = """name: Mine
paradigms: [LeftRightImagery]
pipeline:
  - name: NetClassifier
    from: neurosig.models
    parameters:
      module: {module}
      module_params: {params}
      {more}
"""


@pytest.mark.parametrize(
    ("values", "line", "told"),
    [
        ({"module": "EEGNeet"}, 7, "no network is called 'EEGNeet'; did you mean EEGNet"),
        ({"params": "{F11: 4}"}, 8, "EEGNet has no option 'F11'"),
        ({"more": "schedule: cosin"}, 9, "did you mean cosine"),
        ({"more": "optimizer_: Adam"}, 9, "no parameter 'optimizer_'"),
        ({"more": "augmentation: [TimeRevers]"}, 9, "did you mean TimeReverse"),
        ({"more": "augmentation: [{name: TimeReverse, probabilty: 1}]"}, 9, "did you mean probability"),
        ({"more": "max_epochs: 0"}, 4, "max_epochs must be a whole number above 0"),
        ({"more": "trainable: heads"}, 9, "'all' or 'head', got 'heads'"),
        ({"more": "vote: all"}, 9, "'mean' or 'majority'"),
        ({"more": "class_weight: balance"}, 9, "'balanced' or a dict"),
    ],
)
def test_wrong_names_are_found_when_a_pipeline_is_read(tmp_path, values, line, told):
    file = tmp_path / "mine.yml"
    file.write_text(PIPELINE.format(**{"module": "EEGNet", "params": "{}", "more": "lr: 0.01", **values}))
    with pytest.raises(ManifestError, match=told) as error:
        load_pipelines(file)
    assert f"line {line}" in str(error.value)


def test_right_names_are_taken(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text(PIPELINE.format(module="eegnet", params="{F1: 4}", more="augmentation: [TimeReverse]"))
    (network,) = (step for _, step in load_pipelines(file)["Mine"].steps)
    network.check_options()
    assert network.module == "eegnet"


def test_an_unknown_parameter_names_the_class():
    for kind in (NetClassifier, NetRegressor):
        with pytest.raises(TypeError, match=rf"{kind.__name__}\.__init__\(\) got an unexpected .*'nothing'"):
            kind(nothing=1)
    with pytest.raises(TypeError, match=r"NetRegressor\.__init__\(\).*'class_weight'"):
        NetRegressor(class_weight="balanced")


def test_one_trial_without_its_axis_is_told_apart_from_other_channels():
    fitted = NetClassifier("LinearNet", **QUICK).fit(X, Y)
    with pytest.raises(InputError, match=r"got shape \(3, 50\).*one trial is X\[None\]"):
        fitted.predict(X[0])
    assert fitted.predict(X[0][None]).shape == (1,)


def test_what_is_known_of_signals_is_one_line():
    spec = SignalSpec("eeg", [f"E{i}" for i in range(64)], sfreq=250.0, unit="uV", positions=np.zeros((64, 3)))
    assert repr(spec) == "<SignalSpec: eeg, 64 channels (E0, E1, E2, …) at 250 Hz in uV>"
    assert repr(SignalSpec("eeg", NAMES, n_times=9)) == "<SignalSpec: eeg, 3 channels (C3, Cz, C4) in V, 9 samples>"
    assert len(repr(NetClassifier(info=spec))) < 150


def test_epochs_are_converted_to_the_unit_of_the_fit():
    spec = SignalSpec("eeg", NAMES, sfreq=100.0, unit="uV")
    fitted = NetClassifier("LinearNet", info=spec, **QUICK).fit(X * 1e6, Y)

    def epochs(names=NAMES, sfreq=100.0):
        return mne.EpochsArray(X, mne.create_info(names, sfreq, "eeg"), verbose="error")

    np.testing.assert_allclose(fitted.predict_proba(epochs()), fitted.predict_proba(X * 1e6), rtol=1e-5)
    with pytest.raises(ChannelError, match="the same in another order"):
        fitted.predict(epochs(NAMES[::-1]))
    with pytest.raises(ChannelError, match="at 100 Hz"):
        fitted.predict(epochs(sfreq=50.0))
    magnets = SignalSpec("meg", NAMES, sfreq=100.0, unit="T")
    of_magnets = NetClassifier("LinearNet", info=magnets, **QUICK).fit(X, Y)
    with pytest.raises(ChannelError, match=r"in T, .* got V; convert them"):
        of_magnets.predict(epochs())
