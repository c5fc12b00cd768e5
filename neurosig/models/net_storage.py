"""How a fitted network is kept: pickles and skops as plain arrays, `save_pretrained` as config, safetensors, card."""

from __future__ import annotations

import copy
import json
import os
import platform
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig._version import __version__
from neurosig.core.errors import StorageError, UsageError
from neurosig.core.hub import local_folder
from neurosig.core.plain_specs import PlainSpecs
from neurosig.core.pretrained import PretrainedFormat, check_params
from neurosig.core.signals import SignalSpec
from neurosig.core.trained_on import read_trained_on
from neurosig.models.net_chance import is_chance
from neurosig.models.net_module import build_module, module_path, resolve_module
from neurosig.nn.state_dicts import weight_arrays
from neurosig.training.device import device_in_use, seeded

__all__ = ["FORMAT", "NetStorage", "stored_module"]

FORMAT = PretrainedFormat("neurosig-network", 1, "network", unsummed=True)

# What a fitted estimator knows, beside the weights, in JSON-like types
_PLAIN = (
    "n_features_in_", "n_times_", "scale_", "signal_sd_", "window_", "window_step_", "sfreq_", "history_",
    "best_epoch_", "stopped_", "seconds_", "n_parameters_", "seed_", "target_mean_", "target_sd_", "_n_outputs",
    "guessing_loss_",
)  # fmt: skip


class NetStorage(PlainSpecs):
    """The storing half of a network estimator."""

    _specs = ("_spec", "spec_")

    module: Any
    module_params: Any
    device: str
    classes_: np.ndarray
    spec_: SignalSpec | None
    _weights: dict[str, np.ndarray]
    _built: dict[str, Any]
    trained_on_: dict[str, Any]

    @property
    def module_(self) -> nn.Module:
        """The trained network, in evaluation mode; built anew from its weights after reading from disk."""
        state = vars(self)
        if "_network" not in state:
            if "_weights" not in state:
                raise AttributeError(f"this {type(self).__name__} is not fitted: it has no module_ yet")
            self._network, self._device = self._rebuild(state["_weights"])
        elif "_device" in state and state.get("_asked") != self.device:  # it may have been set otherwise since
            device = device_in_use(self.device, self._device)
            if device != self._device:
                self._network, self._device = self._network.to(device), device
        self._asked = self.device  # what is not there is told once
        return self._network

    def _rebuild(self, weights: dict[str, np.ndarray]) -> tuple[nn.Module, torch.device]:
        state = vars(self)
        device = device_in_use(self.device)
        spec = state["spec_"]
        # of the fit: the parameters may have been set otherwise since
        built = state.get("_built") or {"module": self.module, "module_params": self.module_params}
        with seeded(state["seed_"]):
            module = build_module(
                resolve_module(built["module"]),
                built["module_params"],
                n_chans=state["n_features_in_"],
                n_outputs=state["_n_outputs"],
                n_times=state["window_"] or state["n_times_"],
                sfreq=state["sfreq_"],
                chs_info=None if spec is None or spec.sfreq is None else spec.to_mne()["chs"],
                device=device,
            )
        try:
            module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise StorageError(f"the stored weights do not fit {type(module).__name__}: {reason}") from error
        return module.to(device).eval(), device

    def __sklearn_is_fitted__(self) -> bool:
        return "_network" in vars(self) or "_weights" in vars(self)

    def _note_built(self) -> None:
        """Keep what the network is built from; whom it has seen is not known of arrays."""
        vars(self).pop("trained_on_", None)
        self._asked = self.device
        self._built = {"module": self.module, "module_params": copy.deepcopy(self.module_params)}

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        network = state.pop("_network", None)
        for name in ("_device", "_asked"):
            state.pop(name, None)
        if network is not None:
            state["_weights"] = weight_arrays(network)
        return state

    def save_pretrained(
        self, folder: str | os.PathLike, *, card: str | None = None, scores: Any = None, licence: str | None = None,
        trained_on: Any = None,
    ) -> Path:  # fmt: skip
        """Store the fitted network: ``config.json``, ``model.safetensors`` and a model card, ``README.md``.

        Parameters
        ----------
        folder : path-like
            Where; a folder that this method wrote before is replaced.
        card : str, optional
            The model card, Markdown; by default one is written from what is known.
        scores : dict, optional
            Name of a score to its value (or to text: mean ± spread), for the card.
        licence : str, optional
            Licence of the weights, for the card: an SPDX name in small letters ("cc-by-4.0") is what Hugging Face
            understands. Weights are as a rule bound by the terms of the data that they were trained on.
        trained_on : dict or sequence of str, optional
            Whom the network has seen: names of subjects, or a dict with ``subjects``, ``dataset`` (its name) and
            ``data`` (digests of what was recorded). Kept in ``trained_on.json``: `neurosig.benchmark` and
            ``neurosig train`` then refuse to test what starts from this network on these people; where neither
            ``dataset`` nor ``data`` is said, they warn of people of the same name. By default what
            `from_pretrained` or `neurosig.evaluation.trained.train` found out, if anything.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        StorageError
            If the folder holds something else, or cannot be written.
        UsageError
            If a parameter cannot be written as JSON.
        """
        check_is_fitted(self)
        config = self._config(scores, licence)
        seen = getattr(self, "trained_on_", None) if trained_on is None else trained_on
        return FORMAT.write(
            folder, config, weight_arrays(self.module_), model_card(config) if card is None else card, seen
        )

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike,
        *,
        module: type[nn.Module] | None = None,
        revision: str | None = None,
        **params: Any,
    ) -> Self:
        """Read back what `save_pretrained` stored; no code is run that the folder brings along.

        Parameters
        ----------
        folder : path-like
            The folder; or "owner/name", where there is no such folder: a model on the Hugging Face Hub (the extra
            ``hub``), of which those three files are fetched once and kept in huggingface_hub's own cache.
        module : type, optional
            The network's class, where it is neither ours nor braindecode's.
        revision : str, optional
            Branch, tag or commit on the Hub; a commit is the only one that never changes.
        **params
            Parameters to set otherwise than they were stored (``device="cpu"``).

        Returns
        -------
        estimator
            Fitted. ``trained_on_`` tells whom the network has seen, where the folder does.

        Raises
        ------
        StorageError
            If the folder is not there, is something else, or is damaged; if the Hub cannot be reached or has no such
            model.
        ChecksumError
            If the weights are not those that were stored.
        UsageError
            If there is no such parameter; if the network's class is not known here; if huggingface_hub, which the Hub
            needs, is not installed; or `revision` is given for a folder.

        Warns
        -----
        UserWarning
            If the device is not on this machine.
        """
        check_params(cls, params)
        place = local_folder(folder, revision)
        config = FORMAT.read_config(place)
        FORMAT.check_estimator(place, config, cls.__name__)
        estimator = cls._restored(config, FORMAT.read_arrays(place), place, module, **params)
        if (seen := read_trained_on(place)) is not None:
            estimator.trained_on_ = seen
        return estimator

    @classmethod
    def _restored(
        cls, config: dict[str, Any], arrays: dict[str, np.ndarray], place: Path, module: Any = None, **params: Any
    ) -> Self:
        """The fitted estimator of a configuration and weights that `place` held."""
        try:
            stored = {**config["params"], **params}
            if module is not None:
                stored["module"] = module
            _check_known(stored["module"], place)
            estimator = cls(**stored)
            estimator._note_built()
            fitted = dict(config["fitted"])
            classes = fitted.pop("classes", None)
            if classes is not None:
                estimator.classes_ = np.array(classes["values"], dtype=np.dtype(classes["dtype"]))
            estimator.spec_ = None if config["spec"] is None else SignalSpec.from_dict(config["spec"])
            vars(estimator).update({name: fitted[name] for name in _PLAIN if name in fitted})
        except UsageError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{place / 'config.json'} is damaged or of another version: {error}") from error
        estimator._weights = arrays
        _ = estimator.module_  # now, so that what does not fit is said now
        return estimator

    def _config(self, scores: Any, licence: str | None) -> dict[str, Any]:
        params = self.get_params(deep=False)  # type: ignore[attr-defined]
        params["module"] = module_path(type(self.module_))
        params["module_params"] = self._built["module_params"] if "_built" in vars(self) else self.module_params
        params["info"] = params["ch_names"] = None  # they stand in the spec
        if params["pretrained"] is not None:
            params.update(pretrained=None, trainable="all")
        if isinstance(params["checkpoint"], os.PathLike):
            params["checkpoint"] = os.fspath(params["checkpoint"])
        if not isinstance(params["random_state"], int | None):
            params["random_state"] = None
        state = vars(self)
        fitted = {name: state[name] for name in _PLAIN if name in state}
        classes = state.get("classes_")
        if classes is not None:
            fitted["classes"] = {"values": classes.tolist(), "dtype": classes.dtype.str}
        return {
            "estimator": type(self).__name__,
            "params": params,
            "fitted": json.loads(json.dumps(fitted, default=_number)),
            "spec": None if state["spec_"] is None else state["spec_"].to_dict(),
            "scores": scores,
            "licence": licence,
            "versions": {"neurosig": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }


def model_card(config: dict[str, Any]) -> str:
    """The model card of a stored network, Markdown.

    Parameters
    ----------
    config : dict
        What stands in ``config.json``.

    Returns
    -------
    str
        The card.
    """
    params, fitted, spec = config["params"], config["fitted"], config["spec"]
    classes = fitted.get("classes")
    licence = config.get("licence")
    lines = [
        "---", "library_name: neurosig", f"license: {licence or 'unknown'}", "tags: [eeg, neurosig]", "---", "",
        f"# {params['module']}, trained with neurosig", "",
        f"{fitted['n_parameters_']:,} parameters. Reads with `neurosig.models.{config['estimator']}.from_pretrained`.",
        "",
        "## Signals", "",
        f"- {fitted['n_features_in_']} channels, {fitted['n_times_']} samples"
        + (f" at {fitted['sfreq_']:g} Hz" if fitted.get("sfreq_") else ", sampling rate not stated"),
        f"- channels: {', '.join(spec['ch_names']) if spec else 'not stated'}",
        f"- unit: {spec['unit'] if spec else 'not stated'}",
        f"- divided by {fitted['scale_']:g} before the network",
    ]  # fmt: skip
    if classes is not None:
        lines.append(f"- classes: {', '.join(map(str, classes['values']))}")
    last = fitted["history_"][fitted["best_epoch_"] - 1] if fitted["best_epoch_"] else {}
    guess = fitted.get("guessing_loss_")
    lines += [
        "", "## Training", "",
        f"- {params['optimizer']}, lr {params['lr']:g}, batch {params['batch_size']}, "
        f"{len(fitted['history_'])} epochs, weights of epoch {fitted['best_epoch_']}; {fitted['stopped_']}",
        f"- seed {fitted['seed_']} (random_state {params['random_state']})",
        *(f"- {name} {last[name]:.4g}" for name in ("train_loss", "valid_loss", "valid_accuracy") if name in last),
        *([f"- loss of guessing on the validation trials {guess:.4g}"] if guess else []),
        *(["- **no better than guessing**: this network has learned nothing that carries over"]
          if guess and is_chance(last, guess) else []),
        "", "## Scores", "",
    ]  # fmt: skip
    scores = config["scores"]
    lines += [f"- {name}: {value}" for name, value in scores.items()] if scores else ["None were given."]
    versions = ", ".join(f"{name} {version}" for name, version in config["versions"].items())
    terms = licence or "Not stated: add that of the training data."
    lines += ["", "## Licence", "", terms, "", f"Written with {versions}.", ""]
    return "\n".join(lines)


def stored_module(folder: str | os.PathLike) -> str:
    """The network that a folder of `save_pretrained` says it holds, as `module_path` gives it."""
    return str(FORMAT.read_config(folder).get("params", {}).get("module"))


def _check_known(module: Any, place: Path) -> None:
    """Say what to do about a network of the user's own, whose code no folder holds."""
    try:
        resolve_module(module)
    except UsageError as error:
        if not isinstance(module, str) or "." not in module:
            raise
        name = module.rpartition(".")[2]
        raise UsageError(
            f"{place} holds the weights of {module}, which is neither neurosig's nor braindecode's, and code is not "
            f"stored: import the class and pass it, from_pretrained(..., module={name})"
        ) from error


def _number(value: Any) -> Any:
    return value.item()
