"""Attributions against closed forms, against captum, and against what a network was made to use."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from torch import nn

from neurosig.core.errors import ChannelError, InputError, StorageError, UsageError
from neurosig.core.signals import SignalSpec
from neurosig.models.attribution import integrated_gradients, occlude, occlusion_regions, selected_outputs
from neurosig.models.explain import Explanation, explain
from neurosig.models.trial_network import TrialNetwork


class Fitted(BaseEstimator):
    """What `explain` reads off a fitted estimator."""

    def __init__(self, module, shape, classes=None, scale=1.0, spec=None, random_state=0):
        self.module_, self.scale_, self.spec_ = module.eval(), scale, spec
        self.n_features_in_, self.n_times_ = shape
        self.random_state = random_state
        if classes is not None:
            self.classes_ = np.asarray(list(classes))

    def __repr__(self):  # the parameters are not kept
        return "Fitted()"

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        with torch.no_grad():
            out = self.module_(torch.as_tensor(np.asarray(X) / self.scale_, dtype=torch.float32)).numpy()
        return self.classes_[out.argmax(axis=1)] if hasattr(self, "classes_") else out[:, 0]


@pytest.fixture
def trials():
    return np.random.default_rng(0).standard_normal((5, 3, 20)).astype(np.float32)


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 2))


@pytest.fixture
def convolutional():
    torch.manual_seed(1)
    layers = [nn.Conv1d(3, 6, 5), nn.BatchNorm1d(6), nn.ELU(), nn.AvgPool1d(2), nn.Dropout(0.5), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(48, 3)).eval()


SPEC = SignalSpec("eeg", ("C3", "Cz", "C4"), sfreq=100.0, tmin=-0.5)


@pytest.mark.parametrize(
    "options",
    [
        {"n_steps": 1},
        {"n_steps": 7, "quadrature": "midpoint"},
        {"method": "occlusion", "by": "channel"},
        {"method": "occlusion", "by": "time", "window": 0.05},
        {"method": "occlusion", "by": "channel_time", "window": 0.06},
    ],
)
@pytest.mark.parametrize("baseline", [0.0, "mean", "array"])
def test_a_linear_network_is_its_weights(linear, trials, options, baseline):
    scale = 2.5e-5
    X = trials * scale
    base = {"mean": X.mean(axis=0), "array": X[0] / 3}.get(baseline, np.zeros((3, 20)))
    estimator = Fitted(linear, (3, 20), ["left", "right"], scale, SPEC)
    given = base if baseline == "array" else baseline
    found = explain(estimator, X, target="right", baseline=given, **options)
    weight, bias = linear[1].weight[1].detach().numpy().reshape(3, 20), linear[1].bias[1].item()
    exact = weight * (X - base) / scale
    if options.get("method") == "occlusion":  # exact up to the region: its mean stands for each of its samples
        width, axes = {"channel": (20, 2), "time": (5, (1, 2)), "channel_time": (6, 2)}[options["by"]]
        for start in range(0, 20, width):
            exact[..., start : start + width] = exact[..., start : start + width].mean(axis=axes, keepdims=True)
    np.testing.assert_allclose(found.attributions, exact, rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(found.residuals, 0, atol=1e-5)
    np.testing.assert_allclose(found.baseline_outputs, bias + (weight * base / scale).sum(), atol=1e-5)


class Cube(nn.Module):
    """Third power of the sum of all samples."""

    def forward(self, x):
        return x.sum(dim=(1, 2))[:, None] ** 3


def test_quadratures_against_the_integral(trials):
    X = torch.as_tensor(trials, dtype=torch.float64)
    target, zero = torch.zeros(len(X), dtype=torch.long), torch.zeros(1, dtype=torch.float64)
    exact = X * X.sum(dim=(1, 2), keepdim=True) ** 2
    # two Gauss-Legendre points integrate cubics exactly; n midpoints give a² up to the factor 1 - 1 / (4 n²)
    found = integrated_gradients(Cube(), X, target, zero, n_steps=2)
    torch.testing.assert_close(found, exact)
    for n in (1, 4, 30):
        found = integrated_gradients(Cube(), X, target, zero, n_steps=n, quadrature="midpoint")
        torch.testing.assert_close(found, exact * (1 - 1 / (4 * n**2)))


@pytest.mark.parametrize(("ours", "theirs"), [("gauss_legendre", "gausslegendre"), ("midpoint", "riemann_middle")])
def test_integrated_gradients_are_those_of_captum(convolutional, trials, ours, theirs):
    captum = pytest.importorskip("captum.attr")
    X, target = torch.as_tensor(trials), torch.tensor([0, 1, 2, 0, 1])
    baseline = torch.as_tensor(trials[:1] * 0.3)
    expected = captum.IntegratedGradients(convolutional).attribute(
        X, baseline.expand_as(X), target=target, n_steps=20, method=theirs
    )
    for batch_size in (1, 3, 64, 1000):
        found = integrated_gradients(
            convolutional, X, target, baseline, n_steps=20, quadrature=ours, batch_size=batch_size
        )
        torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("by", ["channel", "time", "channel_time"])
@pytest.mark.parametrize("step", [4, 2])
def test_occlusion_is_that_of_captum(convolutional, trials, by, step):
    captum = pytest.importorskip("captum.attr")
    X, target = torch.as_tensor(trials), torch.tensor([0, 1, 2, 0, 1])
    size = (1 if by != "time" else 3, 20 if by == "channel" else 4)
    expected = captum.Occlusion(convolutional).attribute(
        X, size, strides=(1, 20 if by == "channel" else step), target=target, baselines=0.1
    )
    regions = occlusion_regions(3, 20, by=by, window=None if by == "channel" else 4, step=step)
    baseline = torch.full((1,), 0.1)
    for batch_size in (1, 7, 64):
        found = occlude(convolutional, X, target, baseline, regions, batch_size=batch_size)
        # captum gives every sample the whole fall of its region
        torch.testing.assert_close(found * size[0] * size[1], expected.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n_times", "window", "step"), [(10, 4, None), (11, 4, 2), (5, 5, None), (7, 3, 1), (9, 4, 3)])
def test_regions_cover_a_trial_without_a_gap(n_times, window, step):
    for by, each in (("channel", None), ("time", 2), ("channel_time", 1)):
        cover = np.zeros((2, n_times), int)
        for region in occlusion_regions(2, n_times, by=by, window=window, step=step):
            cover[region] += 1
            assert cover[region].size and (by == "channel" or cover[region].shape[1] <= window)
            assert each is None or cover[region].shape[0] == each
        assert cover.min() >= 1
        if step is None or by == "channel":
            assert cover.max() == 1


def test_completeness_of_a_network_with_the_default_steps(convolutional, trials):
    estimator = Fitted(convolutional, (3, 20), "abc")
    found = explain(estimator, trials)
    assert np.abs(found.residuals).max() < 1e-4 < np.abs(found.outputs - found.baseline_outputs).max()
    with torch.no_grad():
        outputs = convolutional(torch.as_tensor(trials)).numpy()
    np.testing.assert_allclose(found.outputs, outputs.max(axis=1), rtol=1e-5)
    probability = explain(estimator, trials, output="probability", n_steps=200)
    assert np.abs(probability.residuals).max() < 1e-4
    softmax = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probability.outputs, softmax.max(axis=1), rtol=1e-5)


def test_which_output_is_explained(convolutional, trials):
    estimator = Fitted(convolutional, (3, 20), ["x", "y", "z"])
    labels = np.array(["z", "z", "x", "y", "x"])
    with torch.no_grad():
        outputs = convolutional(torch.as_tensor(trials)).numpy()
    by_class = {name: explain(estimator, trials, target=name, n_steps=5) for name in "xyz"}
    for i, name in enumerate("xyz"):
        np.testing.assert_allclose(by_class[name].outputs, outputs[:, i], rtol=1e-5)
    for found, wanted in (
        (explain(estimator, trials, n_steps=5), estimator.predict(trials)),
        (explain(estimator, trials, labels, n_steps=5), labels),
        (explain(estimator, trials, labels, target=labels[::-1], n_steps=5), labels[::-1]),
    ):
        assert found.targets.tolist() == wanted.tolist()
        for i, name in enumerate(wanted):
            np.testing.assert_array_equal(found.attributions[i], by_class[name].attributions[i])
    assert explain(estimator, trials, labels, n_steps=1).labels.tolist() == labels.tolist()


def test_a_regression_is_explained(trials):
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(60, 1))
    found = explain(Fitted(linear, (3, 20)), trials, n_steps=1)
    exact = linear[1].weight.detach().numpy().reshape(3, 20) * trials
    np.testing.assert_allclose(found.attributions, exact, rtol=1e-5, atol=1e-6)
    assert found.is_regression and found.targets.tolist() == [0] * 5
    with pytest.raises(UsageError, match="no probabilities"):
        explain(Fitted(linear, (3, 20)), trials, output="probability")
    assert explain(Fitted(linear, (3, 20)), trials, n_steps=1, target=0).targets.tolist() == [0] * 5
    for wrong in (1, -1, "up", [0, 1, 0, 0, 0], 0.5):
        with pytest.raises(UsageError, match=r"a regression has one output.*leave target out"):
            explain(Fitted(linear, (3, 20)), trials, n_steps=1, target=wrong)


def test_windows_of_a_trial_are_averaged_where_they_lie():
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    network = TrialNetwork(linear, 2.0, window=4, step=3)
    X = torch.randn(3, 2, 11)
    found = integrated_gradients(network, X, torch.ones(3, dtype=torch.long), torch.zeros(1), n_steps=1)
    weight, exact = linear[1].weight[1].detach().reshape(2, 4), torch.zeros_like(X)
    for start in (0, 3, 6):  # the last sample lies in no window
        exact[..., start : start + 4] += weight * X[..., start : start + 4] / 2 / 3
    torch.testing.assert_close(found, exact)
    assert not found[..., 10].any()
    windows = torch.stack([X[..., start : start + 4] / 2 for start in (0, 3, 6)])
    probabilities = torch.stack([linear(window) for window in windows]).softmax(dim=-1).mean(dim=0)
    voted = TrialNetwork(linear, 2.0, window=4, step=3, vote="mean")(X).softmax(dim=-1)
    torch.testing.assert_close(voted, probabilities)


def test_recurrent_networks_have_gradients(trials):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.cell(x.transpose(1, 2))[0][:, -1])

    torch.manual_seed(0)
    assert np.abs(explain(Fitted(Recurrent(), (3, 20), "ab"), trials).residuals).max() < 1e-5


def test_methods_of_captum(convolutional, trials):
    pytest.importorskip("captum")
    estimator = Fitted(convolutional, (3, 20), "abc")
    X = torch.as_tensor(trials).requires_grad_(True)
    target = [list("abc").index(name) for name in estimator.predict(trials)]
    convolutional(X)[range(5), target].sum().backward()
    saliency = explain(estimator, trials, method="captum:Saliency", batch_size=2)
    np.testing.assert_allclose(saliency.attributions, X.grad.abs(), rtol=1e-5, atol=1e-7)
    deep = explain(estimator, trials, method="captum:DeepLift", baseline="mean")
    assert np.abs(deep.residuals).max() < 1e-4
    same = explain(estimator, trials, method="captum:IntegratedGradients", n_steps=30)
    ours = explain(estimator, trials, n_steps=30)
    np.testing.assert_allclose(same.attributions, ours.attributions, rtol=1e-4, atol=1e-6)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    options = {"n_samples": 3, "stdevs": 0.1}
    drawn = [explain(estimator, trials, method="captum:GradientShap", options=options) for _ in range(2)]
    np.testing.assert_array_equal(drawn[0].attributions, drawn[1].attributions)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    for method, words in (
        ("captum:Nothing", "has no method 'Nothing' that needs a network only; it has .*DeepLift"),
        ("captum:LayerConductance", "has no method 'LayerConductance'"),
        ("captum:Occlusion", "captum:Occlusion cannot explain this network: .*sliding_window_shapes"),
    ):
        with pytest.raises(UsageError, match=words):
            explain(estimator, trials, method=method)
    with pytest.raises(UsageError, match="takes no 'steps'; it takes"):
        explain(estimator, trials, method="captum:Saliency", options={"steps": 3})


def test_without_captum_the_extra_is_named(convolutional, trials, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(UsageError, match=r"captum:Saliency needs captum.*pip install 'neurosig\[explain\]'"):
        explain(Fitted(convolutional, (3, 20), "abc"), trials, method="captum:Saliency")


def test_sums_and_table(linear, trials):
    found = explain(Fitted(linear, (3, 20), ["left", "right"], spec=SPEC), trials, ["left"] * 5, n_steps=1)
    table = found.to_frame()
    assert list(table.columns) == ["trial", "target", "predicted", "label", "channel", "contribution", "importance"]
    assert table["channel"].tolist() == ["C3", "Cz", "C4"] * 5 and set(table["target"]) == {"left"}
    sums = table.groupby("trial")[["contribution", "importance"]].sum()
    np.testing.assert_allclose(sums["contribution"], found.outputs - found.baseline_outputs, atol=1e-5)
    np.testing.assert_allclose(sums["importance"], 1)
    np.testing.assert_allclose(found.time_contributions.sum(axis=1), sums["contribution"])
    np.testing.assert_allclose(found.times[[0, -1]], [-0.5, -0.31])
    silent = explain(Fitted(linear, (3, 20), "ab"), trials * 0, n_steps=1)
    assert not silent.channel_importances.any() and silent.ch_names == ("0", "1", "2")


def test_stored_and_read_back(linear, trials, tmp_path):
    estimator = Fitted(linear, (3, 20), [1, 2], spec=SPEC)
    found = explain(estimator, trials, [1, 2, 1, 1, 2], baseline=np.float32(0.5))
    again = Explanation.load(found.save(tmp_path / "why"))
    np.testing.assert_array_equal(again.attributions, found.attributions)
    for name in ("outputs", "baseline_outputs", "targets", "predicted", "labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert again.info == SPEC and again.parameters == found.parameters and again.method == "integrated_gradients"
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == [
        "attributions.safetensors",
        "explanation.json",
    ]
    explain(estimator, trials, n_steps=1).save(tmp_path / "why")  # its own folder is replaced
    assert Explanation.load(tmp_path / "why").labels is None

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    with pytest.raises(StorageError, match="something else"):
        found.save(tmp_path / "mine")
    (tmp_path / "why" / "attributions.safetensors").write_bytes(b"damaged")
    for folder in (tmp_path / "why", tmp_path / "mine", tmp_path / "nowhere"):
        with pytest.raises(StorageError, match="cannot read"):
            Explanation.load(folder)


class Dense(nn.Module):
    def forward(self, x):
        return x


class Blind(nn.Module):
    def forward(self, x):
        return torch.zeros(len(x), 2)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"method": "lime"}, UsageError, "method must be 'integrated_gradients', 'occlusion' or 'captum:'"),
        ({"method": "ig"}, UsageError, r"name of a method \((.*DeepLift.*Saliency|captum is not).*\), got 'ig'"),
        ({"target": "up"}, UsageError, "does not know the class up; it knows left, right"),
        ({"y": ["left"]}, InputError, "one label for each of 5 trials"),
        ({"target": ["left", "right"]}, UsageError, "one target, or one for each of 5 trials"),
        ({"output": "odds"}, UsageError, "'logit' or 'probability', got 'odds'"),
        ({"baseline": "zero"}, UsageError, "a number, an array or 'mean', got 'zero'"),
        ({"baseline": np.zeros(7)}, InputError, r"baseline of shape \(7,\) does not broadcast"),
        ({"baseline": np.nan}, InputError, "finite baseline"),
        ({"n_steps": 0}, UsageError, "n_steps must be a whole number from 1, got 0"),
        ({"n_steps": 2.5}, UsageError, "n_steps must be a whole number from 1, got 2.5"),
        ({"quadrature": "simpson"}, UsageError, "gauss_legendre, midpoint, got 'simpson'"),
        ({"method": "occlusion", "by": "time"}, UsageError, "pass window=... in seconds"),
        ({"method": "occlusion", "by": "hour"}, UsageError, "by must be 'channel'"),
        ({"method": "occlusion", "by": "time", "window": 3.0}, UsageError, "1 to 20 samples to cover, got 300"),
        ({"method": "occlusion", "by": "time", "window": 0.1, "window_step": 0.15}, UsageError, "leave no gap, got 15"),
        ({"X": np.zeros((5, 4, 20))}, ChannelError, "expected 3 channels.* got 4"),
        ({"X": np.zeros((5, 3, 21))}, InputError, "expected trials of 20 samples.* got 21"),
        ({"X": np.full((5, 3, 20), np.nan)}, InputError, "finite signals"),
    ],
)
def test_wrong_calls_are_told(linear, trials, options, kind, words):
    estimator = Fitted(linear, (3, 20), ["left", "right"], spec=SPEC)
    with pytest.raises(kind, match=words):
        explain(estimator, **{"X": trials, **options})


def test_networks_that_cannot_be_explained_are_told(linear, trials):
    with pytest.raises(UsageError, match="answers for every moment"):
        selected_outputs(Dense(), torch.as_tensor(trials), torch.zeros(5, dtype=torch.long))
    with pytest.raises(UsageError, match="no gradient"):
        explain(Fitted(Blind(), (3, 20), "ab"), trials)
    with pytest.raises(UsageError, match="the sampling rate is not known; fit the estimator with sfreq"):
        explain(Fitted(linear, (3, 20), "ab"), trials, method="occlusion", by="time", window=0.1)
