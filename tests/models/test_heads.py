"""The last layer of every network of braindecode that can be built here: all of it that goes with the classes."""

import contextlib
import warnings

import mne
import pytest
import torch

from neurosig.core.channels import montage_name
from neurosig.core.errors import UsageError
from neurosig.models.net_catalogue import CHANNELS
from neurosig.models.net_module import braindecode_models, head_of
from neurosig.models.net_pretrained import Start, copy_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # braindecode's own

# No decision a window: NetClassifier refuses them
NO_DECISION = {"DANCE", "HybridNet", "InterpolatedSignalJEPA", "NeuroPose", "SignalJEPA", "TCN"}
# Networks that weigh more than a test may, or fetch files when they are built
NOT_TRIED = {"InterpolatedBENDR", "InterpolatedEEGPT", "REVE", "STEEGFormer"}
SIDE_CLASSIFIERS = {"MSVTNet"}  # one a branch, which only its own training script uses
UNCERTAIN = {"SSTDPN"}  # classifies by distances to prototypes: no layer is the last


def names():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sorted(set(braindecode_models()) - NOT_TRIED - NO_DECISION)


@pytest.fixture(scope="module")
def signals():
    info = mne.create_info(list(CHANNELS), 250.0, "eeg")
    info.set_montage(montage_name("standard_1020"))
    return {"n_chans": 22, "n_times": 1000, "sfreq": 250.0, "input_window_seconds": 4.0, "chs_info": info["chs"]}


def built(cls, n_outputs, signals):
    """On torch's meta device, where nothing is computed; networks that cannot be built there are built in memory."""
    with contextlib.suppress(Exception), torch.device("meta"):
        module = cls(n_outputs=n_outputs, **signals)
        if {value.device.type for value in module.state_dict().values()} == {"meta"}:
            return module
    return cls(n_outputs=n_outputs, **signals)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_head_holds_all_that_goes_with_the_classes(name, signals):
    cls = braindecode_models()[name]
    try:
        two, three = (built(cls, n_outputs, signals) for n_outputs in (2, 3))
    except Exception as error:  # networks raise whatever they like
        pytest.skip(f"cannot be built for 22 channels and 4 s, see test_net_braindecode: {type(error).__name__}")
    if name in UNCERTAIN:
        with pytest.raises(UsageError, match="give the class a method head_parameters"):
            head_of(two)
        return
    head = {id(parameter) for parameter in head_of(two)}
    shapes = {key: value.shape for key, value in three.named_parameters()}
    owned = {key for key, value in two.named_parameters() if id(value) in head}
    differing = {key for key, value in two.named_parameters() if shapes.get(key) != value.shape}
    assert owned & differing  # the head is where the number of classes shows
    assert differing <= owned or name in SIDE_CLASSIFIERS
    assert len(owned) < len(shapes)  # and not the whole network
    copy_weights(three, Start(two, 1.0, ["a", "b"], None, "the network"), ["a", "b", "c"])  # fits, but for the head
