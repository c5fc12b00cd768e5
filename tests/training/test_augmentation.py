"""Augmentations are braindecode's transforms: built by name, seeded, checked against what each is defined to do."""

import numpy as np
import pytest
import torch

from neurosig.core.errors import UsageError
from neurosig.training.augmentation import MixedTarget, augmentation_names, make_augmentation, mixed_loss

NAMES = ["Fz", "C3", "Cz", "C4", "P3", "P4", "O1", "O2", "Oz"]
ALWAYS = {"probability": 1.0}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, len(NAMES), 120, generator=generator), torch.arange(12) % 3


def test_each_does_what_its_name_says(batch):
    X, y = batch

    def augment(entry, **data):
        return make_augmentation(entry, random_state=0, **data)(X, y)[0]

    torch.testing.assert_close(augment({"name": "TimeReverse", **ALWAYS}), X.flip(-1), rtol=0, atol=0)
    torch.testing.assert_close(augment({"name": "SignFlip", **ALWAYS}), -X, rtol=0, atol=0)
    mirrored = augment({"name": "ChannelsSymmetry", **ALWAYS}, ch_names=NAMES)
    torch.testing.assert_close(mirrored, X[:, [0, 3, 2, 1, 5, 4, 7, 6, 8]], rtol=0, atol=0)
    surrogate = augment({"name": "FTSurrogate", **ALWAYS})
    torch.testing.assert_close(torch.fft.rfft(surrogate).abs(), torch.fft.rfft(X).abs(), rtol=1e-3, atol=1e-3)
    assert (surrogate - X).abs().mean() > 0.5
    masked = augment({"name": "SmoothTimeMask", "mask_len_samples": 40, **ALWAYS})
    silent = (masked.abs().amax(dim=1) < 1e-3).sum(dim=-1)
    assert ((silent >= 30) & (silent <= 41)).all()


def test_channel_names_are_understood_in_any_spelling(batch):
    entry = {"name": "ChannelsSymmetry", **ALWAYS}
    spelled = [f"EEG {name.upper()}-REF" for name in NAMES]
    results = [make_augmentation(entry, ch_names=names)(*batch)[0] for names in (NAMES, spelled)]
    assert torch.equal(*results)


def test_a_line_is_taken_out_of_the_spectrum():
    times = torch.arange(1024) / 128
    X = (torch.sin(2 * np.pi * 20 * times) + torch.sin(2 * np.pi * 5 * times)).expand(64, 2, -1)
    entry = {"name": "BandstopFilter", "probability": 1.0, "bandwidth": 4, "max_freq": 30}
    filtered = make_augmentation(entry, sfreq=128, random_state=0)(X, torch.zeros(64))[0]
    kept = torch.fft.rfft(filtered[:, 0]).abs()[:, 160] / torch.fft.rfft(X[:, 0]).abs()[:, 160]
    # the centre is drawn between about 3 and 27 Hz: the line at 20 Hz is hit in some trials, and in most it is not
    assert 2 <= (kept < 0.5).sum() <= 32 and (kept > 0.9).sum() >= 24


def test_probability_is_that_of_each_trial(batch):
    X, y = torch.ones(4000, 1, 4), torch.zeros(4000)
    for probability in (0.2, 0.7):
        changed = make_augmentation({"name": "SignFlip", "probability": probability}, random_state=1)(X, y)[0][:, 0, 0]
        share = (changed < 0).double().mean()
        assert abs(share - probability) < 4 * np.sqrt(probability * (1 - probability) / 4000)
    assert 0 < (make_augmentation("SignFlip", random_state=0)(*batch)[0] != batch[0]).any(dim=(1, 2)).sum() < 12


def test_order_is_kept(batch):
    flip, reverse = {"name": "TimeReverse", **ALWAYS}, {"name": "SmoothTimeMask", "mask_len_samples": 30, **ALWAYS}
    one = make_augmentation([reverse, flip], random_state=0)
    alone = make_augmentation(reverse, random_state=0)
    torch.testing.assert_close(one(*batch)[0], alone(*batch)[0].flip(-1))


def test_mixup_mixes_signals_and_loss(batch):
    X, y = batch
    mixed, target = make_augmentation(["SignFlip", {"name": "Mixup", "alpha": 1.0}], random_state=0)(X.clone(), y)
    assert isinstance(target, MixedTarget) and torch.equal(target.first, y)
    assert 0 < target.weight[0] < 1 and (target.weight == target.weight[0]).all()
    mixed, target = make_augmentation({"name": "Mixup", "alpha": 1.0, "beta_per_sample": True}, random_state=3)(X, y)
    weight = target.weight[:, None, None]
    # which trial was mixed in is not told: it is the one that is left when the first is taken out
    partner = (mixed - weight * X) / (1 - weight)
    distances = torch.cdist(partner.flatten(1), X.flatten(1))
    assert (distances.amin(dim=1) < 1e-2).all()
    assert torch.equal(y[distances.argmin(dim=1)], target.second)

    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    onehot = torch.nn.functional.one_hot
    soft = target.weight[:, None] * onehot(y, 3) + (1 - target.weight[:, None]) * onehot(target.second, 3)
    torch.testing.assert_close(mixed_loss(loss, logits, target), loss(logits, soft))
    torch.testing.assert_close(mixed_loss(loss, logits, y), loss(logits, y))


def test_recombined_trials_are_of_their_class_and_stay_in_its_place():
    y = torch.tensor([2, 0, 1, 0, 2, 1, 0, 2])
    X = (10 * y[:, None, None] + torch.arange(8)[:, None, None] / 100).expand(-1, 2, 12)
    mixed, target = make_augmentation(
        {"name": "SegmentationReconstruction", "n_segments": 4, **ALWAYS}, n_times=12, random_state=0
    )(X, y)
    assert torch.equal(target, y)
    # every segment comes from one trial of the same class, at the same time
    parts = mixed.unflatten(-1, (4, 3))
    assert torch.equal((parts[..., 0] / 10).floor().long(), y[:, None, None].expand(-1, 2, 4))
    assert (parts == parts[:, :1, :, :1]).all() and (parts[:, 0, :, 0] != X[:, 0, :4]).any()


def _all(**fields):
    skipped = ("BandRotation",)  # electrodes on a ring around a limb
    entries = [{"name": name} for name in augmentation_names() if name not in ("Mixup", *skipped)]
    positions = np.random.default_rng(0).standard_normal((len(NAMES), 3))
    data = {"sfreq": 100.0, "ch_names": NAMES, "positions": positions, "n_times": 120, **fields}
    return make_augmentation([*entries, {"name": "Mixup"}], **data)


@pytest.mark.filterwarnings("ignore:filter_length:RuntimeWarning")
def test_a_seed_gives_the_same_bits_and_global_generators_are_left_alone(batch):
    X, y = batch
    kept = X.clone()
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the state that others use
    first, again, other = (_all(random_state=seed)(X, y)[0] for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(X, kept) and first.shape == X.shape and first.dtype == torch.float32
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.filterwarnings("ignore:filter_length:RuntimeWarning")
def test_resumed_draws_are_those_of_an_unbroken_run(batch, tmp_path):
    whole = _all(random_state=0)
    whole(*batch)
    torch.save(whole.state_dict(), tmp_path / "state.pt")
    expected = whole(*batch)[0]
    resumed = _all(random_state=99)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(resumed(*batch)[0], expected)
    with pytest.raises(UsageError, match="states of 1 transforms, got"):
        make_augmentation("SignFlip").load_state_dict(whole.state_dict())


@pytest.mark.parametrize(
    ("entry", "data", "words"),
    [
        ("Reverse", {}, "no augmentation is called 'Reverse'; braindecode has AmplitudeScale, "),
        ("Compose", {}, "no augmentation is called 'Compose'"),
        ([], {}, "at least one augmentation"),
        ({"probability": 0.5}, {}, "dictionary with a 'name'"),
        (3, {}, "dictionary with a 'name', got 3"),
        ([3], {}, "dictionary with a 'name', got 3"),
        ({"name": "SignFlip", "p": 0.5}, {}, "SignFlip has no parameter 'p'; it has probability"),
        ({"name": "SignFlip", "probability": 2.0}, {}, "between 0 and 1"),
        ("BandstopFilter", {}, "BandstopFilter needs the sampling rate; pass sfreq"),
        ("FrequencyShift", {}, "FrequencyShift needs the sampling rate"),
        ("ChannelsSymmetry", {}, "ChannelsSymmetry needs channel names; pass ch_names"),
        ("ChannelsSymmetry", {"ch_names": ["MEG 1", "MEG 2"]}, "10-05 electrode names, which these are not: MEG"),
        ("SensorsRotation", {}, "SensorsRotation needs sensor positions"),
        (["Mixup", "SignFlip"], {}, "put it last"),
        ({"name": "SmoothTimeMask", "mask_len_samples": 200}, {"n_times": 120}, "mask 200 samples of trials of 120"),
        ({"name": "SegmentationReconstruction", "n_segments": 7}, {"n_times": 120}, "7 does not divide 120"),
    ],
)
def test_what_cannot_be_built_is_said_before_training(entry, data, words):
    with pytest.raises(UsageError, match=words):
        make_augmentation(entry, **data)


def test_signals_that_do_not_suit_are_said(batch):
    with pytest.raises(UsageError, match=r"BandRotation cannot take signals of shape \(12, 9, 120\)"):
        make_augmentation({"name": "BandRotation", **ALWAYS})(*batch)
