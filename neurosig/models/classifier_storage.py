"""How classifiers are kept that put something before a network: pickled, in a folder of their own, and read back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from neurosig.core.errors import StorageError
from neurosig.core.hub import local_folder
from neurosig.core.plain_specs import PlainSpecs
from neurosig.core.pretrained import PretrainedFormat, check_params
from neurosig.core.signals import SignalSpec
from neurosig.core.trained_on import read_trained_on
from neurosig.models.net_classifier import NetClassifier
from neurosig.models.net_storage import model_card
from neurosig.nn.state_dicts import weight_arrays
from neurosig.tokenizers.learned_storage import LearnedStorage

__all__ = ["ClassifierStorage"]

_NETWORK = "network"


class ClassifierStorage(PlainSpecs):
    """The storing half of a classifier: its network ``net_``, and other fitted parts, in one folder."""

    _format: ClassVar[PretrainedFormat]
    #: Estimators before the network that were fitted too: names, with "_" those of attributes, to their classes.
    _parts: ClassVar[Mapping[str, type[LearnedStorage]]] = {}
    #: What a fitted estimator knows beside its parts and its spec, in JSON-like types.
    _plain: ClassVar[tuple[str, ...]]

    net_: NetClassifier
    classes_: np.ndarray
    spec_: SignalSpec | None
    trained_on_: dict[str, Any]

    # -- what each estimator gives ------------------------------------------------------------------------------------

    def _storable_params(self) -> dict[str, Any]:
        """Parameters as they are kept on disk, JSON-like."""
        params = self.get_params(deep=False)  # type: ignore[attr-defined]
        params |= {"pretrained": None, "info": None, "ch_names": None}  # the last two stand in the spec
        if not isinstance(params["random_state"], int | None):
            params["random_state"] = None
        return {name: _plain_paths(value) for name, value in params.items()}

    def _card(self, config: Mapping[str, Any]) -> str:
        """The model card, Markdown: that of the network, in the name of the classifier."""
        network = model_card(config[_NETWORK])
        return network.replace("neurosig.models.NetClassifier", f"neurosig.models.{type(self).__name__}")

    def __sklearn_is_fitted__(self) -> bool:
        return "net_" in vars(self)

    # -- on disk ------------------------------------------------------------------------------------------------------

    def save_pretrained(
        self, folder: str | os.PathLike, *, card: str | None = None, scores: Any = None, licence: str | None = None,
        trained_on: Any = None,
    ) -> Path:  # fmt: skip
        """Store all that was fitted: ``config.json``, ``model.safetensors`` and a model card, ``README.md``.

        Parameters
        ----------
        folder : path-like
            Where; a folder that this method wrote before is replaced.
        card : str, optional
            The model card, Markdown; by default one is written from what is known.
        scores : dict, optional
            Name of a score to its value, for the card.
        licence : str, optional
            Licence of the weights, for the card.
        trained_on : dict or sequence of str, optional
            Whom it has seen, as in `NetClassifier.save_pretrained`; by default ``trained_on_``.

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
        parts = {name: getattr(self, f"{name}_")._stored() for name in self._parts}
        weights = weight_arrays(self.net_.module_)
        state = vars(self)
        fitted = {name: state[name] for name in self._plain if name in state}
        config = {
            "estimator": type(self).__name__,
            "params": self._storable_params(),
            **{name: part for name, (part, _) in parts.items()},
            _NETWORK: self.net_._config(scores, licence),
            "fitted": json.loads(json.dumps(fitted, default=lambda value: value.item())),
            "spec": None if self.spec_ is None else self.spec_.to_dict(),
        }
        arrays = {f"{name}.{key}": value for name, (_, held) in parts.items() for key, value in held.items()}
        arrays |= {f"{_NETWORK}.{name}": value for name, value in weights.items()}
        seen = getattr(self, "trained_on_", None) if trained_on is None else trained_on
        return self._format.write(folder, config, arrays, self._card(config) if card is None else card, seen)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, *, revision: str | None = None, **params: Any) -> Self:
        """Read back what `save_pretrained` stored; no code is run that the folder brings along.

        Parameters
        ----------
        folder : path-like
            The folder; or "owner/name", where there is no such folder: a model on the Hugging Face Hub.
        revision : str, optional
            Branch, tag or commit on the Hub.
        **params
            Parameters to set otherwise than they were stored (``device="cpu"``).

        Returns
        -------
        classifier
            Fitted. ``trained_on_`` tells whom it has seen, where the folder does.

        Raises
        ------
        StorageError
            If the folder is not there, is something else, or is damaged; if the Hub cannot be reached.
        ChecksumError
            If the weights are not those that were stored.
        UsageError
            If there is no such parameter; if huggingface_hub, which the Hub needs, is not installed; or `revision` is
            given for a folder.
        """
        check_params(cls, params)
        place = local_folder(folder, revision)
        config = cls._format.read_config(place)
        cls._format.check_estimator(place, config, cls.__name__)
        arrays = cls._format.read_arrays(place)
        shared = {"device": params["device"]} if "device" in params else {}
        try:
            model = cls(**{**config["params"], **params})
            vars(model).update({name: config["fitted"][name] for name in cls._plain})
            model.spec_ = None if config["spec"] is None else SignalSpec.from_dict(config["spec"])
            parts = {name: (config[name], _under(arrays, name)) for name in (*cls._parts, _NETWORK)}
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{place / 'config.json'} is damaged or of another version: {error}") from error
        model.net_ = NetClassifier._restored(*parts.pop(_NETWORK), place, **shared)
        for name, held in parts.items():
            setattr(model, f"{name}_", cls._parts[name]._restored(*held, place, **shared))
        model.classes_ = model.net_.classes_
        if (seen := read_trained_on(place)) is not None:
            model.trained_on_ = seen
        return model


def _under(arrays: Mapping[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """Those arrays whose name begins with that of a part, by their names in it."""
    return {name.removeprefix(f"{part}."): value for name, value in arrays.items() if name.startswith(f"{part}.")}


def _plain_paths(value: Any) -> Any:
    """Paths as text, those in dictionaries too."""
    if isinstance(value, Mapping):
        return {name: _plain_paths(item) for name, item in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else value
