"""Exported programs, run by other programs, answer as the estimator does."""

import hashlib
import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from neurosig.core.errors import ExportError, StorageError, UsageError
from neurosig.models import NetClassifier, NetRegressor, export
from neurosig.models.export import export_network

SFREQ, N_TIMES = 64.0, 160
NAMES = ["C3", "Cz", "C4", "Pz"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = np.array(["left", "right", "rest"])[np.arange(18) % 3]
    return (rng.standard_normal((18, 4, N_TIMES)) * 2e-5).astype(np.float32), y


def fitted(data, module, **options):
    options = {"max_epochs": 1, "batch_size": 9, "validation": None, "patience": None, "stopping": None, **options}
    X, y = data
    return NetClassifier(module, sfreq=SFREQ, ch_names=NAMES, device="cpu", random_state=0, **options).fit(X, y)


def run(path, X):
    """Answers of the file, by its own runtime."""
    if path.suffix == ".pt2":
        with torch.no_grad():
            return torch.export.load(path).module()(torch.as_tensor(X)).numpy()
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"signals": X})[0]


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


NETWORKS = [
    ("LinearNet", {}),
    ("EEGNet", {}),
    ("ShallowConvNet", {}),
    ("DeepConvNet", {"variant": "arl"}),
    ("EEGNetFusion", {}),
    ("MIEEGNet", {}),
]


@pytest.mark.parametrize("format", ["torch", "onnx"])
@pytest.mark.parametrize(("name", "params"), NETWORKS, ids=[name for name, _ in NETWORKS])
def test_our_networks(data, tmp_path, name, params, format):
    estimator = fitted(data, name, module_params=params)
    path = export_network(estimator, tmp_path / f"net{'.pt2' if format == 'torch' else '.onnx'}", format=format)
    X = np.random.default_rng(1).standard_normal((5, 4, N_TIMES)).astype(np.float32) * 2e-5
    for n in (1, 5):
        np.testing.assert_allclose(softmax(run(path, X[:n])), estimator.predict_proba(X[:n]), atol=1e-5)
    described = json.loads((tmp_path / f"{path.name}.json").read_text())
    assert described["parity"]["largest_difference"] < 1e-5 and described["parity"]["trials"] == [1, 2, 7]


@pytest.mark.parametrize("format", ["torch", "onnx"])
def test_a_network_of_braindecode(data, tmp_path, format):
    from neurosig.core.compat import import_braindecode

    estimator = fitted(data, import_braindecode("braindecode.models").EEGNet)
    path = export_network(estimator, tmp_path / f"net{'.pt2' if format == 'torch' else '.onnx'}", format=format)
    np.testing.assert_allclose(softmax(run(path, data[0])), estimator.predict_proba(data[0]), atol=1e-5)


@pytest.mark.parametrize("format", ["torch", "onnx"])
def test_windows_are_averaged_inside_the_program(data, tmp_path, format):
    estimator = fitted(data, "LinearNet", window=1.0, window_step=0.5)
    path = export_network(estimator, tmp_path / f"net{'.pt2' if format == 'torch' else '.onnx'}", format=format)
    np.testing.assert_allclose(softmax(run(path, data[0])), estimator.predict_proba(data[0]), atol=1e-5)


def test_a_regression(data, tmp_path):
    X, y = data[0], np.arange(18.0)
    estimator = NetRegressor("LinearNet", max_epochs=1, validation=None, device="cpu", random_state=0).fit(X, y)
    path = export_network(estimator, tmp_path / "net.pt2")
    np.testing.assert_allclose(run(path, X)[:, 0], estimator.predict(X), rtol=1e-4, atol=1e-5)
    described = json.loads((tmp_path / "net.pt2.json").read_text())
    assert described["classes"] is None and described["output"]["meaning"] == "predictions"


def test_one_trial_at_a_time(data, tmp_path):
    estimator = fitted(data, "LinearNet")
    path = export_network(estimator, tmp_path / "net.onnx", format="onnx", dynamic_batch=False)
    np.testing.assert_allclose(softmax(run(path, data[0][:1])), estimator.predict_proba(data[0][:1]), atol=1e-5)
    with pytest.raises(Exception, match=r"(?i)dimension|shape"):
        run(path, data[0][:2])
    described = json.loads((tmp_path / "net.onnx.json").read_text())
    assert described["input"]["shape"] == [1, 4, N_TIMES] and described["parity"]["trials"] == [1]


def test_the_description_says_what_goes_in_and_out(data, tmp_path):
    estimator = fitted(data, "EEGNet")
    before = {name: value.clone() for name, value in estimator.module_.state_dict().items()}
    path = estimator.export(tmp_path / "net.pt2")
    described = json.loads((tmp_path / "net.pt2.json").read_text())
    assert described["program"] == {
        "kind": "torch", "file": "net.pt2", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()
    }  # fmt: skip
    assert described["input"]["shape"] == ["batch", 4, N_TIMES] and described["input"]["sfreq"] == SFREQ
    assert described["input"]["ch_names"] == NAMES and described["input"]["dtype"] == "float32"
    assert described["input"]["divided_inside_by"] == pytest.approx(data[0].std(), rel=1e-3)
    assert described["classes"] == ["left", "rest", "right"] and described["output"]["shape"] == ["batch", 3]
    assert described["versions"]["torch"] == torch.__version__ and described["network"].startswith("neurosig.models.")
    # the estimator is as it was
    assert not estimator.module_.training and all(p.requires_grad for p in estimator.module_.parameters())
    assert all(torch.equal(value, before[name]) for name, value in estimator.module_.state_dict().items())
    # nothing tells of the machine that wrote it
    for file in tmp_path.iterdir():
        assert b"site-packages" not in file.read_bytes() and b"/neurosig/" not in file.read_bytes()


def test_written_twice_it_is_replaced_when_asked_and_an_unchecked_one_says_so(data, tmp_path):
    estimator = fitted(data, "LinearNet")
    for check in (True, False):
        export_network(estimator, tmp_path / "net.pt2", check=check, overwrite=not check)
        described = json.loads((tmp_path / "net.pt2.json").read_text())
        assert (described["parity"] is not None) == check
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pt2", "net.pt2.json"]


def test_what_is_there_is_kept(data, tmp_path):
    estimator = fitted(data, "LinearNet")
    path = estimator.export(tmp_path / "net.pt2", check=False)
    kept = path.read_bytes()
    with pytest.raises(StorageError, match=r"net\.pt2 is there already; .*overwrite=True"):
        estimator.export(path)
    assert path.read_bytes() == kept
    path.unlink()  # the description alone is not lost either
    with pytest.raises(StorageError, match=r"net\.pt2\.json is there already"):
        estimator.export(path)
    assert estimator.export(path, overwrite=True).exists()


def test_the_ending_tells_the_format(data, tmp_path):
    estimator = fitted(data, "LinearNet")
    for name, kind in (("net.pt2", "torch"), ("net.ONNX", "onnx")):
        if kind == "onnx":
            pytest.importorskip("onnxscript")
        path = estimator.export(tmp_path / name)
        assert json.loads((tmp_path / f"{name}.json").read_text())["program"]["kind"] == kind
        np.testing.assert_allclose(softmax(run(path, data[0])), estimator.predict_proba(data[0]), atol=1e-5)
    written = sorted(tmp_path.iterdir())
    for name in ("eegnet.foo", "eegnet.pt", "eegnet", "eegnet.onnx.zip"):
        for format in (None, "torch", "onnx"):
            with pytest.raises(UsageError, match=r"ends in \.pt2 \(torch\) or \.onnx \(ONNX\), got 'eegnet"):
                estimator.export(tmp_path / name, format=format)
    for name, format, other in (("a.onnx", "torch", "onnx"), ("a.pt2", "onnx", "torch")):
        with pytest.raises(UsageError, match=f"is of format '{other}', got format='{format}'"):
            estimator.export(tmp_path / name, format=format)
    assert sorted(tmp_path.iterdir()) == written


class Lottery(nn.Module):
    """Answers differently each time it is traced."""

    calls = 0

    def __init__(self, n_chans, n_outputs, n_times, **_):
        super().__init__()
        self.linear = nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, x):
        return self.linear(x.flatten(1)) + (3.0 * torch.arange(3.0) if torch.compiler.is_exporting() else 0.0)


class Undecided(Lottery):
    def forward(self, x):
        return self.linear(x.flatten(1)) if x.sum() > 0 else self.linear(-x.flatten(1))


@pytest.mark.parametrize("format", ["torch", "onnx"])
def test_another_answer_is_an_error_and_leaves_nothing(data, tmp_path, format):
    path = tmp_path / f"net{'.pt2' if format == 'torch' else '.onnx'}"
    with pytest.raises(ExportError, match=r"differ from the network's, for 1 trials by .* nothing was written"):
        export_network(fitted(data, Lottery), path, format=format)
    with pytest.raises(ExportError, match="cannot export the network"):
        export_network(fitted(data, Undecided), path, format=format)
    assert not list(tmp_path.iterdir())


def test_an_estimator_that_says_something_else_is_found_out(data, tmp_path, monkeypatch):
    estimator = fitted(data, "LinearNet")
    monkeypatch.setattr(NetClassifier, "predict_proba", lambda self, X: np.full((len(X), 3), 1 / 3))
    with pytest.raises(ExportError, match="differ from the estimator's by"):
        export_network(estimator, tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())


def test_wrong_calls_are_told(data, tmp_path, monkeypatch):
    import sys

    estimator = fitted(data, "LinearNet")
    with pytest.raises(UsageError, match="format must be 'torch' or 'onnx', got 'tflite'"):
        export_network(estimator, tmp_path / "net.tflite", format="tflite")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        export_network(estimator, tmp_path / "file" / "net.pt2")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"needs onnxscript.*pip install 'neurosig\[export\]'"):
        export_network(estimator, tmp_path / "net.onnx", format="onnx")
    assert export_network(estimator, tmp_path / "net.pt2").exists()
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        export_network(NetClassifier("LinearNet"), tmp_path / "other.pt2")
    assert export.__all__ == ["export_network"]


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("Could not guard on x[0]. Please file an issue on github: https://github.com/x/y", "Could not guard on x[0]."),
        (
            "Failed. ## Next steps - Create an issue in the PyTorch GitHub repository. - Debug it and submit a PR",
            "Failed.",
        ),
        ("Please file an issue on GitHub", "RuntimeError"),
    ],
)
def test_what_exporters_say_is_told_without_their_advice_to_authors(said, left):
    with pytest.raises(ExportError, match=f"^cannot do it: {re.escape(left)}$"), export._failing_as("cannot do it"):
        raise RuntimeError(said)
