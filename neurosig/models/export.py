"""A fitted network as a file that runs without neurosig: a torch.export program or an ONNX model."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import json
import logging
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from neurosig._version import __version__
from neurosig.core.errors import ExportError, StorageError, UsageError
from neurosig.core.files import atomic_path, atomic_write, sha256_file
from neurosig.models.trial_network import TrialNetwork, trial_network

if TYPE_CHECKING:
    import os

__all__ = ["export_network"]

FORMAT = "neurosig-export"
FORMAT_VERSION = 1
INPUT, OUTPUT = "signals", "outputs"
_BATCHES = (1, 2, 7)
_FORMATS = {".pt2": "torch", ".onnx": "onnx"}
_TOLERANCE = 1e-4  # of the largest output; single precision sums in another order

_FOR_AUTHORS = re.compile(r"\bissues?\b|\bgithub\b|\bPR\b|pull request|^## ", re.IGNORECASE)

Program = Callable[[np.ndarray], np.ndarray]


def export_network(
    estimator: Any,
    path: str | os.PathLike,
    *,
    format: str | None = None,
    check: bool = True,
    dynamic_batch: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write a fitted network as a program for trials in the unit it was trained on; the scaling is part of it.

    Parameters
    ----------
    estimator : NetClassifier or NetRegressor
        Fitted.
    path : path-like
        The file, ending in ``.pt2`` or ``.onnx``. A description is written beside it, of the same name with ``.json``
        after it: what goes in (shape, unit, sampling rate, channels), what comes out (classes), versions, and the
        result of the check.
    format : {"torch", "onnx"}, optional
        "torch": a program for ``torch.export.load`` (``.pt2``). "onnx": for onnxruntime and everything else that reads
        ONNX (``.onnx``; needs the extra ``export``). What the ending of the path says, if not given.
    check : bool
        Whether to read the file back, run it on random trials, and compare with the estimator's own answers.
    dynamic_batch : bool
        Whether the program takes any number of trials at a time, or always one.
    overwrite : bool
        Whether to replace an export that is there.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UsageError
        If the format or the ending is unknown, or one contradicts the other; or the packages that the format needs are
        not installed.
    ExportError
        If the network cannot be exported, or the program's answers are not the estimator's. Nothing is written then.
    StorageError
        If the file cannot be written, or it or its description is there and `overwrite` is not given.

    Notes
    -----
    The program takes one float32 input, "signals" of shape (n_trials, n_channels, n_times), and gives "outputs" of
    shape (n_trials, n_outputs), computed in single precision. Of a classifier, the softmax of the outputs is
    `predict_proba`, also where the estimator cuts windows; of a regression they are the predictions. Nothing maps
    channels or units there: signals must come as the description says.
    """
    target = Path(path)
    description_file = target.with_name(target.name + ".json")
    format = _format(target, format)
    if format == "onnx":
        _require("onnx", "onnxscript", "onnxruntime")
    if not overwrite and (there := [file for file in (target, description_file) if file.exists()]):
        raise StorageError(f"{there[0]} is there already; choose another name or pass overwrite=True to replace it")
    network = _clean_copy(trial_network(estimator, voting=True))
    shape = (int(estimator.n_features_in_), int(estimator.n_times_))
    with atomic_path(target) as temporary:
        (_write_torch if format == "torch" else _write_onnx)(network, shape, temporary, dynamic_batch)
        parity = None
        if check:
            program = (_read_torch if format == "torch" else _read_onnx)(temporary)
            parity = _compare(program, network, estimator, shape, _BATCHES if dynamic_batch else (1,))
        description = _describe(estimator, network, target, temporary, format, shape, dynamic_batch, parity)
    atomic_write(description_file, json.dumps(description, indent=2) + "\n")
    return target


def _format(path: Path, format: str | None) -> str:
    """The format that the ending of the path and the option agree on."""
    if format is not None and format not in _FORMATS.values():
        raise UsageError(f"format must be 'torch' or 'onnx', got {format!r}")
    implied = _FORMATS.get(path.suffix.lower())
    if implied is None:
        raise UsageError(f"expected a path that ends in .pt2 (torch) or .onnx (ONNX), got {path.name!r}")
    if format not in (None, implied):
        raise UsageError(
            f"a path that ends in {path.suffix} is of format {implied!r}, got format={format!r} for {path.name!r}; "
            "leave format out or change the ending"
        )
    return implied


def _clean_copy(network: TrialNetwork) -> TrialNetwork:
    """A copy on the CPU in single precision, in evaluation mode, that computes no gradients and takes no short cuts."""
    network = copy.deepcopy(network).to(device="cpu", dtype=torch.float32).eval()
    for part in network.modules():
        if hasattr(part, "fused"):
            part.fused = False  # type: ignore[assignment]  # the order of the paper: plain layers, which every runtime knows
    return network.requires_grad_(False)


def _trace(network: nn.Module, shape: tuple[int, int], dynamic_batch: bool) -> Any:
    # two trials: torch takes a size of one for a constant
    example = torch.zeros(2 if dynamic_batch else 1, *shape)
    sizes = ({0: torch.export.Dim("batch", min=1)},) if dynamic_batch else None
    with _quiet(), torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=sizes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names the folders of this machine
    return program


def _write_torch(network: nn.Module, shape: tuple[int, int], path: Path, dynamic_batch: bool) -> None:
    with _failing_as("cannot export the network by torch.export"), _quiet():
        buffer = io.BytesIO()  # given a path, torch has its own mind about endings
        torch.export.save(_trace(network, shape, dynamic_batch), buffer)
    path.write_bytes(buffer.getvalue())


def _read_torch(path: Path) -> Program:
    with _failing_as("cannot read back what torch.export wrote"), _quiet():
        module = torch.export.load(io.BytesIO(path.read_bytes())).module()

    def run(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(x)).numpy()

    return run


def _write_onnx(network: nn.Module, shape: tuple[int, int], path: Path, dynamic_batch: bool) -> None:
    with _failing_as("cannot export the network to ONNX"), _quiet():
        program = torch.onnx.export(
            _trace(network, shape, dynamic_batch),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
        if program is None:
            raise ExportError("torch.onnx gave no program")
        program.save(path, external_data=False)


def _read_onnx(path: Path) -> Program:
    import onnxruntime

    with _failing_as("onnxruntime cannot read the model"):
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda x: session.run([OUTPUT], {INPUT: x})[0]


def _compare(
    program: Program, network: TrialNetwork, estimator: Any, shape: tuple[int, int], batches: tuple[int, ...]
) -> dict[str, Any]:
    """Largest difference between the program, the network, and the estimator's own answers on random trials."""
    rng = np.random.default_rng(0)
    largest = 0.0
    for n in batches:
        x = (rng.standard_normal((n, *shape)) * network.scale).astype(np.float32)
        with _failing_as(f"the exported program fails on {n} trials"):
            found = program(x)
        with torch.no_grad():
            expected = network(torch.from_numpy(x)).numpy()
        largest = max(largest, _difference(found, expected, f"the network's, for {n} trials"))
        # predictions in half precision differ by more than the program may
        if hasattr(estimator, "predict_proba") and getattr(estimator, "precision", "float32") == "float32":
            odds = np.exp(found - found.max(axis=1, keepdims=True))
            probabilities = odds / odds.sum(axis=1, keepdims=True)
            largest = max(largest, _difference(probabilities, estimator.predict_proba(x), "the estimator's"))
    return {"trials": list(batches), "largest_difference": largest, "tolerance": _TOLERANCE}


def _difference(found: np.ndarray, expected: np.ndarray, whose: str) -> float:
    if found.shape != expected.shape:
        raise ExportError(f"the exported program's answers have shape {found.shape}, {whose} {expected.shape}")
    difference = float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))
    if not difference <= _TOLERANCE:
        raise ExportError(
            f"the exported program's answers differ from {whose} by {difference:.2g} of the largest, more than "
            f"{_TOLERANCE:g}; nothing was written"
        )
    return difference


def _describe(
    estimator: Any,
    network: TrialNetwork,
    target: Path,
    written: Path,
    format: str,
    shape: tuple[int, int],
    dynamic_batch: bool,
    parity: dict[str, Any] | None,
) -> dict[str, Any]:
    spec = getattr(estimator, "spec_", None)
    classes = getattr(estimator, "classes_", None)
    with torch.no_grad():
        n_outputs = network(torch.zeros(1, *shape)).shape[1]
    batch = "batch" if dynamic_batch else 1
    meaning = "predictions" if classes is None else "softmax gives the probabilities of the classes, in their order"
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "program": {"kind": format, "file": target.name, "sha256": sha256_file(written)},
        "network": f"{type(network.module).__module__}.{type(network.module).__qualname__}",
        "input": {
            "name": INPUT,
            "shape": [batch, *shape],
            "axes": ["trials", "channels", "times"],
            "dtype": "float32",
            "unit": None if spec is None else spec.unit,
            "sfreq": getattr(estimator, "sfreq_", None) if spec is None else spec.sfreq,
            "ch_names": None if spec is None else list(spec.ch_names),
            "divided_inside_by": network.scale,
        },
        "output": {"name": OUTPUT, "shape": [batch, n_outputs], "dtype": "float32", "meaning": meaning},
        "classes": None if classes is None else np.asarray(classes).tolist(),
        "spec": None if spec is None else spec.to_dict(),
        "parity": parity,
        "versions": {"neurosig": __version__, **_versions(format)},
    }


def _versions(format: str) -> dict[str, str]:
    names = ("torch",) if format == "torch" else ("torch", "onnx", "onnxscript", "onnxruntime")
    return {name: metadata.version(name) for name in names}


def _require(*packages: str) -> None:
    missing = []
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise UsageError(
            f"export to ONNX needs {', '.join(missing)}, which cannot be imported; pip install 'neurosig[export]'"
        )


@contextlib.contextmanager
def _failing_as(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, MemoryError, ExportError):
        raise
    except Exception as error:  # the exporters raise whatever they like
        raise ExportError(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What an exporter says went wrong, without its advice to write to its authors."""
    said = re.sub(r"<!?\[?https?://\S+|https?://\S+", "", " ".join(str(error).split()))
    parts = re.split(r"(?<=[.!?:])\s+|\s+(?=##|- )", said)
    kept = " ".join(part for part in parts if not _FOR_AUTHORS.search(part))
    return textwrap.shorten(kept, 300, placeholder=" …") or type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' progress on the standard output and their remarks on their own workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
