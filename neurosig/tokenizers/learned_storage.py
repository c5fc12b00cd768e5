"""How estimators that learn without labels are kept: pickled, in a folder of their own, and read back."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig._version import __version__
from neurosig.core.channel_names import listed
from neurosig.core.errors import StorageError
from neurosig.core.hub import local_folder
from neurosig.core.plain_specs import PlainSpecs
from neurosig.core.pretrained import PretrainedFormat, check_params
from neurosig.core.signals import SignalSpec
from neurosig.core.trained_on import as_trained_on, layers_of, read_trained_on
from neurosig.nn.state_dicts import weight_arrays
from neurosig.training.device import device_in_use, seeded
from neurosig.training.trial_data import known_spec

__all__ = ["LearnedStorage", "learned_card"]

# what a fitted estimator knows, beside its weights, in JSON-like types
_PLAIN = (
    "n_features_in_", "n_times_", "sfreq_", "history_", "best_epoch_", "stopped_", "seconds_", "n_parameters_",
    "n_windows_", "seed_", "_config",
)  # fmt: skip


class LearnedStorage(PlainSpecs):
    """The storing half of an estimator that learns without labels."""

    #: How it is kept on disk.
    _format: ClassVar[PretrainedFormat]

    history_: list[dict[str, Any]]
    spec_: SignalSpec | None
    sfreq_: float | None
    seed_: int
    trained_on_: dict[str, Any] | None
    sfreq: float | None
    ch_names: Any
    info: Any
    device: str
    _weights: dict[str, np.ndarray]
    _config: dict[str, Any]

    # -- what each estimator gives ------------------------------------------------------------------------------------

    def _build(self, config: Mapping[str, Any]) -> nn.Module:
        """The module of this configuration."""
        raise NotImplementedError

    def _card(self, config: Mapping[str, Any]) -> str:
        """The model card, Markdown."""
        raise NotImplementedError

    def _storable_params(self) -> dict[str, Any]:
        """Parameters as they are kept on disk, JSON-like."""
        params = self.get_params(deep=False)  # type: ignore[attr-defined]
        params |= {"info": None, "ch_names": None, "sfreq": None}  # they stand in the spec
        if self.spec_ is None:
            params["sfreq"] = self.sfreq
        if isinstance(params["checkpoint"], PathLike):
            params["checkpoint"] = fspath(params["checkpoint"])
        if not isinstance(params["random_state"], int | None):
            params["random_state"] = None
        return params

    def _stored_facts(self) -> dict[str, Any]:
        """What else stands in the configuration on disk, for its readers."""
        return {}

    # -- the module ---------------------------------------------------------------------------------------------------

    def _keep(self, module: nn.Module, config: dict[str, Any], device: torch.device) -> None:
        """Take over a module, frozen."""
        module.freeze()  # type: ignore[operator]
        for parameter in module.parameters():
            parameter.grad = None
        self._module, self._config, self._device, self._asked = module, config, device, self.device
        self.n_parameters_ = sum(parameter.numel() for parameter in module.parameters())
        self.__dict__.pop("_weights", None)

    def _take(self, module: nn.Module, config: dict[str, Any]) -> Self:
        """Become the fitted estimator of a module that was trained elsewhere."""
        device = device_in_use(self.device)
        self._keep(module.to(device), config, device)
        self.spec_, self.sfreq_ = known_spec(None, self.info, self.ch_names, self.sfreq)
        self.history_, self.best_epoch_, self.stopped_ = [], 0, "trained elsewhere"
        self.seconds_, self.n_windows_, self.seed_ = 0.0, 0, 0
        return self

    @property
    def module_(self) -> Any:
        """The trained module, frozen; built anew from its weights after reading from disk."""
        state = vars(self)
        if "_module" not in state:
            if "_weights" not in state:
                raise AttributeError(f"this {type(self).__name__} is not fitted: it has no module_ yet")
            device = device_in_use(self.device)
            with seeded(state["seed_"]):
                module = self._build(self._config)
            weights = {name: torch.from_numpy(np.array(value)) for name, value in state["_weights"].items()}
            try:
                module.load_state_dict(weights)
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:300]
                raise StorageError(f"the stored weights do not fit {type(module).__name__}: {reason}") from error
            self._module, self._device = module.to(device), device
            module.freeze()  # type: ignore[operator]
        elif state.get("_asked") != self.device:  # it may have been set otherwise since
            device = device_in_use(self.device, self._device)
            if device != self._device:
                self._module, self._device = self._module.to(device), device
        self._asked = self.device  # what is not there is told once
        return self._module

    def __sklearn_is_fitted__(self) -> bool:
        return "_module" in vars(self) or "_weights" in vars(self)

    # -- on disk ------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        module = state.pop("_module", None)
        for name in ("_device", "_asked"):
            state.pop(name, None)
        if module is not None:
            state["_weights"] = weight_arrays(module)
        return state

    def save_pretrained(
        self, folder: str | PathLike, *, card: str | None = None, scores: Any = None, licence: str | None = None,
        trained_on: Any = None,
    ) -> Path:  # fmt: skip
        """Store what was fitted: ``config.json``, ``model.safetensors`` and a model card, ``README.md``.

        Parameters
        ----------
        folder : path-like
            Where; a folder that this method wrote before is replaced.
        card : str, optional
            The model card, Markdown; by default one is written from what is known.
        scores : dict, optional
            Name of a score to its value (or to text: mean ± spread), for the card.
        licence : str, optional
            Licence of the weights, for the card, an SPDX name in small letters.
        trained_on : dict or sequence of str, optional
            Whose signals it has seen, as in `NetClassifier.save_pretrained`: nobody of them is then tested by what
            starts from it. By default ``trained_on_``, which a training on `SignalDataset` knows.

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
        config, arrays = self._stored(scores, licence)
        seen = getattr(self, "trained_on_", None) if trained_on is None else trained_on
        told = self._card({**config, "trained_on": as_trained_on(seen)}) if card is None else card
        return self._format.write(folder, config, arrays, told, seen)

    def _stored(self, scores: Any = None, licence: str | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Configuration and weights, as `_restored` takes them."""
        check_is_fitted(self)
        state = vars(self)
        fitted = {name: state[name] for name in _PLAIN if name in state}
        config = {
            "estimator": type(self).__name__,
            "params": self._storable_params(),
            "fitted": json.loads(json.dumps(fitted, default=lambda value: value.item())),
            "spec": None if self.spec_ is None else self.spec_.to_dict(),
            **self._stored_facts(),
            **({"held_back": [str(who) for who in held]} if (held := state.get("_held_back")) else {}),
            "scores": scores,
            "licence": licence,
            "versions": {"neurosig": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }
        return config, weight_arrays(self.module_)

    @classmethod
    def from_pretrained(cls, folder: str | PathLike, *, revision: str | None = None, **params: Any) -> Self:
        """Read back what `save_pretrained` stored; no code is run that the folder brings along.

        Parameters
        ----------
        folder : path-like
            The folder; or "owner/name", where there is no such folder: a model on the Hugging Face Hub (the extra
            ``hub``).
        revision : str, optional
            Branch, tag or commit on the Hub.
        **params
            Parameters to set otherwise than they were stored (``device="cpu"``).

        Returns
        -------
        estimator
            Fitted.

        Raises
        ------
        StorageError
            If the folder is not there, is something else, or is damaged; if the Hub cannot be reached or has no such
            model.
        UsageError
            If huggingface_hub, which the Hub needs, is not installed; or `revision` is given for a folder.
        """
        check_params(cls, params)
        place = local_folder(folder, revision)
        config = cls._format.read_config(place)
        cls._format.check_estimator(place, config, cls.__name__)
        estimator = cls._restored(config, cls._format.read_arrays(place), place, **params)
        if (seen := read_trained_on(place)) is not None:
            estimator.trained_on_ = seen
        return estimator

    @classmethod
    def _restored(cls, config: Mapping[str, Any], arrays: dict[str, np.ndarray], place: Path, **params: Any) -> Self:
        """The fitted estimator of what `_stored` gave and `place` held."""
        try:
            estimator = cls(**{**config["params"], **params})
            estimator.spec_ = None if config["spec"] is None else SignalSpec.from_dict(config["spec"])
            estimator.__dict__.update({name: config["fitted"][name] for name in _PLAIN if name in config["fitted"]})
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{place / 'config.json'} is damaged or of another version: {error}") from error
        estimator._weights = arrays
        _ = estimator.module_  # now, so that what does not fit is said now
        return estimator


def learned_card(config: Mapping[str, Any], package: str, tag: str, about: Sequence[str]) -> str:
    """The model card of what was learned without labels, Markdown.

    Parameters
    ----------
    config : dict
        What stands in ``config.json``; and whom it has seen, under ``trained_on``.
    package : str
        Where the class is imported from.
    tag : str
        Added to the card's tags.
    about : sequence of str
        Lines on what comes out.

    Returns
    -------
    str
        The card.
    """
    params, fitted, spec = config["params"], config["fitted"], config["spec"]
    licence, name = config.get("licence"), config["estimator"]
    lines = [
        "---", "library_name: neurosig", f"license: {licence or 'unknown'}", f"tags: [eeg, {tag}, neurosig]", "---",
        "", f"# {name}, trained with neurosig", "",
        f"{fitted['n_parameters_']:,} parameters. Reads with `{package}.{name}.from_pretrained`.",
        "", *about, "", "## Signals", "",
        f"- channels: {', '.join(spec['ch_names']) if spec else 'not stated, or several collections'}",
        f"- sampling rate: {spec['sfreq']:g} Hz" if spec and spec["sfreq"] else "- sampling rate: not stated",
        f"- unit: {spec['unit'] if spec else 'not stated'}",
        "", "## Training", "",
    ]  # fmt: skip
    if fitted["best_epoch_"]:
        last = fitted["history_"][fitted["best_epoch_"] - 1]
        lines += [
            f"- {fitted['n_windows_']} windows, {len(fitted['history_'])} epochs of batches of {params['batch_size']}, "
            f"lr {params['lr']:g}; weights of epoch {fitted['best_epoch_']}; {fitted['stopped_']}",
            f"- seed {fitted['seed_']} (random_state {params['random_state']})",
            *(f"- {key} {value:.4g}" for key, value in last.items() if key.startswith(("train_", "valid_"))),
        ]
    else:
        lines.append(f"- {fitted['stopped_']}")
    lines += _people(config.get("trained_on"))
    scores = config["scores"]
    lines += ["", "## Scores", ""]
    lines += [f"- {key}: {value}" for key, value in scores.items()] if scores else ["None were given."]
    versions = ", ".join(f"{key} {version}" for key, version in config["versions"].items())
    terms = licence or "Not stated: add that of the training data."
    return "\n".join([*lines, "", "## Licence", "", terms, "", f"Written with {versions}.", ""])


def _people(trained_on: Mapping[str, Any] | None) -> list[str]:
    """Lines on whose signals it has seen, a dataset each."""
    if trained_on is None:
        return ["- people: not known"]
    lines = []
    for layer in layers_of(trained_on):
        if layer is None:
            lines.append("- people: some of whom nothing is known")
        elif layer["subjects"]:
            people = f"{len(layer['subjects'])} ({listed(layer['subjects'])})"
            lines.append(f"- people: {people} of {layer['dataset'] or 'recordings of no named dataset'}")
    return lines
