"""The state of a training after each epoch, so that a killed one goes on and ends in the same bits."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import nn

from neurosig._version import __version__
from neurosig.core.errors import StorageError
from neurosig.core.files import atomic_path, digest
from neurosig.core.log import logger
from neurosig.core.source import source_digest
from neurosig.training.batches import Batches, SeveralBatches
from neurosig.training.callbacks import BestWeights, Schedule, WeightAverage
from neurosig.training.device import random_states, set_random_states

__all__ = ["Checkpoint", "checkpoint_seed", "software"]

FILE = "training.pt"
FORMAT = 1


class Checkpoint(Callback):
    """Writes ``training.pt`` in a folder after each epoch, in one step, and reads it back.

    Parameters
    ----------
    folder : path-like
        The folder of this one training.
    identity : dict
        What makes this training the one that it is (parameters, architecture, digest of the data), JSON-like.
    rows : list of dict
        The history.
    train : Batches or SeveralBatches
        Their order and augmentation are part of the state.
    best, schedule, average : callbacks or None
        Part of the state.
    process : SingleProcess
        Only the main process writes.

    Notes
    -----
    The file holds tensors, numbers and text only and is read with ``weights_only=True``: it runs no code.

    A training that was begun on another kind of device goes on, its generator there as the training's seed left it; the
    log says that the bits are then not those of a training on one device.
    """

    def __init__(
        self,
        folder: Any,
        identity: dict[str, Any],
        rows: list[dict[str, Any]],
        train: Batches | SeveralBatches,
        best: BestWeights | None,
        schedule: Schedule | None,
        average: WeightAverage | None,
        process: Any,
    ):
        self.folder = Path(folder)
        self.identity = identity
        self.rows = rows
        self.train = train
        self.parts = {"best": best, "schedule": schedule}
        self.average = average
        self.process = process

    def on_epoch_end(self, net, **kwargs):
        """Write."""
        if not self.process.is_main:
            return
        state = {
            "format": FORMAT,
            "identity": json.dumps(self.identity),
            "digest": digest(self.identity),
            "rows": json.dumps(self.rows),
            "module": dict(net.raw.state_dict()),
            "optimizer": net.optimizer_.state_dict(),
            "scaler": net.scaler_.state_dict(),
            "average": None if self.average is None else dict(self.average.model.state_dict()),
            "parts": {name: part.state_dict() for name, part in self.parts.items() if part is not None},
            "random": random_states(torch.device(net.device)),
            "order": None if self.train.generator is None else self.train.generator.get_state(),
            "augment": None if self.train.augment is None else self.train.augment.state_dict(),
        }
        with atomic_path(self.folder / FILE) as temporary:
            torch.save(state, temporary)

    def resume(self, net: Any) -> None:
        """Take up the state of the folder, if there is one.

        Raises
        ------
        StorageError
            If it belongs to another training, or is damaged.
        """
        state = _read(self.folder)
        if state is None:
            return
        self._check(json.loads(state["identity"]))
        try:
            net.raw.load_state_dict(state["module"])
            net.optimizer_.load_state_dict(state["optimizer"])
            net.scaler_.load_state_dict(state["scaler"])
            if self.average is not None:
                self.average.model.load_state_dict(state["average"])
            for name, part in self.parts.items():
                if part is not None:
                    part.load_state_dict(state["parts"][name])
            if self.train.generator is not None:
                self.train.generator.set_state(state["order"])
            if self.train.augment is not None:
                self.train.augment.load_state_dict(state["augment"])
            device = torch.device(net.device)
            set_random_states(state["random"], device)
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise StorageError(f"{self.folder / FILE} does not fit this network: {_short(error)}") from error
        before = next((kind for kind in state["random"] if kind != "cpu"), "cpu")
        if before != device.type:
            logger.warning(
                "%s was begun on %s and goes on on %s: it will not end in the bits of a training on one device; "
                "pass device=%r for those", self.folder, before, device.type, before,
            )  # fmt: skip
        self.rows.extend(json.loads(state["rows"]))
        # a warning, as it is not what the call alone would lead one to expect
        logger.warning("going on after epoch %d from the checkpoint in %s, not anew", len(self.rows), self.folder)

    def _check(self, stored: dict[str, Any]) -> None:
        identity = json.loads(json.dumps(self.identity))
        if stored == identity:
            return
        changed = sorted(key for key in {*stored, *identity} if stored.get(key) != identity.get(key))
        said = "; ".join(f"{key} was {_short(stored.get(key))}, is {_short(identity.get(key))}" for key in changed)
        raise StorageError(
            f"{self.folder} holds the checkpoint of another training ({said}): give another folder, or remove this one"
        )


def software(module: type[nn.Module]) -> dict[str, str]:
    """What code a training of this network runs, for its identity: neurosig's, torch's, and the network's own.

    Parameters
    ----------
    module : type
        The network's class. Its source counts, and that of the classes it is derived from; of a class that has none to
        be read (typed into a session), what its functions were compiled to.

    Returns
    -------
    dict
        Versions and digests.
    """
    own = [_source(cls) for cls in module.__mro__ if cls.__module__.partition(".")[0] not in ("builtins", "torch")]
    return {
        "neurosig": source_digest("neurosig") or __version__,
        "torch": str(torch.__version__),
        "module": digest(own),
    }


def _source(cls: type) -> list[str]:
    try:
        return [inspect.getsource(cls)]
    except (OSError, TypeError):
        functions = [value for value in vars(cls).values() if inspect.isfunction(value)]
        return [f"{f.__qualname__} {f.__code__.co_code.hex()} {f.__code__.co_names}" for f in functions]


def checkpoint_seed(folder: Any) -> int | None:
    """The seed of the training whose checkpoint lies in a folder; None if there is none."""
    state = _read(Path(folder))
    return None if state is None else json.loads(state["identity"]).get("seed")


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        fine = isinstance(state, dict) and state.get("format") == FORMAT
    except Exception as error:  # a damaged file makes the reader raise anything
        raise StorageError(f"cannot read the checkpoint {path}: {_short(error)}; remove it to start anew") from error
    if not fine:
        raise StorageError(f"{path} was written by another version of neurosig; remove it to start anew")
    return state


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:80]
