"""Every network of the installed braindecode: it takes a training step here, or it stands below with the reason."""

import mne
import numpy as np
import pytest
import torch

from neurosig.core.channels import montage_name
from neurosig.core.compat import import_braindecode
from neurosig.core.errors import InputError, UsageError
from neurosig.models import NetClassifier
from neurosig.models.net_module import _CHANNELS_LAST, build_module

pytestmark = pytest.mark.filterwarnings("ignore::neurosig.core.compat.CompatibilityWarning")

CHANNELS = "Fp1 Fz F3 F4 F7 F8 FC1 FC2 FC5 FC6 C3 Cz C4 T7 T8 CP1 CP2 P3 Pz P4 O1 O2"
N_TIMES, SFREQ = 375, 125.0

NO_DECISION = "expected one row of 2 outputs a window"
# Class -> (error, what its message says), with 22 channels of 3 s at 125 Hz and the network's own defaults
REFUSED = {
    "ATCNet": (InputError, "windows of at least 616 samples, got 375"),  # braindecode would shrink its kernels
    "AttnSleep": (UsageError, "d_model is 80 but the feature extractor returns 13"),
    "BENDR": (UsageError, "BENDR requires chs_info to match"),
    "CBraMod": (InputError, "windows of at least 3000 samples, got 375"),
    "DANCE": (UsageError, NO_DECISION),
    "EEGDINO": (UsageError, "must not exceed n_channel_embeddings"),
    "EMG2QwertyNet": (UsageError, "expects n_chans == num_bands"),
    "HybridNet": (InputError, "windows of at least 522 samples"),
    "Deep4Net": (InputError, "windows of at least 441 samples, got 375"),  # braindecode would shrink its kernels
    "InterpolatedLaBraM": (UsageError, "cannot be built for 22 channels, 375 samples"),  # whole patches of 200 only
    "InterpolatedSignalJEPA": (UsageError, NO_DECISION),
    "LUNA": (InputError, "windows of at least 3000 samples"),
    "Labram": (UsageError, "cannot be built for 22 channels, 375 samples"),
    "MetaNeuromotorHand": (UsageError, "at least one FFT bin"),
    "NeuroPose": (UsageError, NO_DECISION),
    "SensingDynamics": (UsageError, "16-channel"),
    "SignalJEPA": (UsageError, NO_DECISION),
    "SleepStagerBlanco2020": (InputError, "windows of at least 450 samples"),
    "TCN": (UsageError, NO_DECISION),
    "VEMG2Pose": (InputError, "windows of at least 1791 samples"),
    "ZUNA": (UsageError, "not divisible by patch_size"),
}
NOT_TRIED = {
    "InterpolatedBENDR": "157 million weights",
    "InterpolatedEEGPT": "EEGPT once more, and 25 million weights",
    "REVE": "fetches electrode positions when it is built",
    "STEEGFormer": "fetches its list of channels when it is built",
}


def trials():
    info = mne.create_info(CHANNELS.split(), SFREQ, "eeg")
    info.set_montage(montage_name("standard_1020"))
    return np.random.default_rng(0).standard_normal((8, 22, N_TIMES)).astype("float32"), np.arange(8) % 2, info


def models():
    """Classes by name; in CI an older or newer braindecode may have others."""
    package = import_braindecode("braindecode.models")
    found = {name: getattr(package, name) for name in package.__all__}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, torch.nn.Module)}


@pytest.mark.slow
def test_all_of_braindecodes_networks_train_or_say_why_not():
    X, y, info = trials()
    problems = []
    tried = 0
    for name, cls in sorted(models().items()):
        if name in NOT_TRIED:
            continue
        net = NetClassifier(
            cls, max_epochs=1, validation=None, optimizer="SGD", random_state=0, device="cpu", info=info
        )
        error, said = REFUSED.get(name, (None, ""))
        try:
            fitted = net.fit(X, y)
        except Exception as found:
            if error is None or type(found) is not error or said not in str(found):
                problems.append(f"{name}: {type(found).__name__}: {found}")
            continue
        tried += 1
        probabilities = fitted.predict_proba(X)
        if error is not None:
            problems.append(f"{name} trains by now: take it off the list of those refused")
        elif probabilities.shape != (8, 2) or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-5):
            problems.append(f"{name} gives no probabilities")
    assert not problems, "\n".join(problems)
    assert tried >= 40


@pytest.mark.filterwarnings("ignore")  # braindecode's own: of short windows, of options that get other names
@pytest.mark.parametrize("name", sorted(_CHANNELS_LAST))
def test_order_of_weights_in_memory_changes_no_result(name):
    cls = models()[name]
    n_times = 500  # at which all of them keep their kernels
    X = torch.from_numpy(np.random.default_rng(0).standard_normal((8, 22, n_times)))  # float64: no rounding to speak of
    sizes = {"n_chans": 22, "n_outputs": 2, "n_times": n_times, "sfreq": SFREQ}
    torch.manual_seed(0)
    plain = cls(**sizes, input_window_seconds=n_times / SFREQ)
    built = build_module(cls, None, **sizes)
    built.load_state_dict(plain.state_dict())
    strides = [[weight.stride() for weight in module.parameters()] for module in (plain, built)]
    assert strides[0] != strides[1]
    gradients = []
    for module in (plain.double().eval(), built.double().eval()):  # dropout would draw by the order in memory
        loss = torch.nn.functional.cross_entropy(module(X), torch.arange(8) % 2)
        loss.backward()
        gradients.append({key: value.grad for key, value in module.named_parameters()})
    with torch.no_grad():
        torch.testing.assert_close(built(X), plain(X), rtol=1e-9, atol=1e-12)
    for key, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], expected, rtol=1e-7, atol=1e-10)
