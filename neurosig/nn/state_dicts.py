"""Published weights: their names and shapes, the way to ours and back, and what does not fit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, StorageError, UsageError
from neurosig.core.persistence import load_arrays

__all__ = [
    "Entry", "check_state", "from_published", "read_checkpoint", "read_state", "shape_of", "to_published",
    "weight_arrays", "weights_digest",
]  # fmt: skip

_INSIDE = ("model", "state_dict", "model_state_dict")  # where training scripts put the weights beside other things


class Entry(NamedTuple):
    """One published tensor.

    ``published`` and ``ours`` are names. ``part`` says that it is the i-th of n equal parts of ours, along the first
    axis. ``kernel`` is the length of a convolution (out, in, kernel) that is a linear layer (out, kernel * in) here.
    ``trailing`` are axes of length one that the published tensor has more, at the end.
    """

    published: str
    ours: str
    part: tuple[int, int] | None = None
    kernel: int | None = None
    trailing: tuple[int, ...] = ()


def read_checkpoint(source: str | os.PathLike | Mapping[str, Any]) -> Mapping[str, Any]:
    """Weights as they are published: a file of torch, safetensors or numpy. No code that a file holds is run.

    Parameters
    ----------
    source : path-like, or mapping of str to tensor or array
        File that ends in ``.safetensors`` or ``.npz``, or in anything else where `torch.save` wrote it; a mapping is
        given back as it is. Of a training's state, what stands under "model", "state_dict" or "model_state_dict" is
        taken.

    Returns
    -------
    mapping of str to tensor or array
        What `read_state` takes.

    Raises
    ------
    StorageError
        If the file is not there, is damaged, or holds anything but tensors, numbers and text: such files can run
        whatever they like when they are read.
    """
    if not isinstance(source, str | os.PathLike):
        return source
    path = Path(source)
    if not path.is_file():
        raise StorageError(f"there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_arrays(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except StorageError:
        raise
    except Exception as error:  # a damaged or hostile file makes the readers raise anything
        reason = " ".join(str(error).split())
        if "weights_only" in reason or "Unsupported" in reason or "allow_pickle" in reason:
            raise StorageError(
                f"{path} holds Python objects beside tensors, which can run code, and is not read; have its owner "
                "save the state dict alone"
            ) from error
        raise StorageError(f"cannot read weights from {path}: {reason[:200] or type(error).__name__}") from error
    inside = [found[name] for name in _INSIDE if isinstance(found, Mapping) and isinstance(found.get(name), Mapping)]
    found = inside[0] if inside else found
    if not isinstance(found, Mapping):
        raise StorageError(f"{path} holds no names and tensors, but {type(found).__name__}")
    return found


def read_state(state_dict: Mapping[str, Any], name: str) -> dict[str, torch.Tensor]:
    """Named tensors, from tensors or arrays.

    Parameters
    ----------
    state_dict : mapping of str to tensor or array
        Copied. Where every name begins with "module.", as in a state of ``DistributedDataParallel``, that is left out.
    name : str
        Whose weights they are, for messages.

    Returns
    -------
    dict of str to tensor
        On the CPU.

    Raises
    ------
    UsageError
        If it is no mapping.
    InputError
        If a value is no array of numbers.
    """
    if not isinstance(state_dict, Mapping) and not hasattr(state_dict, "files"):
        raise UsageError(f"the weights of {name} map names to arrays or tensors, got {type(state_dict).__name__}")
    found = {}
    for key, value in dict(state_dict).items():
        if isinstance(value, torch.Tensor):
            found[str(key)] = value.detach().cpu().clone()
            continue
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise InputError(f"the weights of {name} are arrays of numbers, {key} is {type(value).__name__}")
        found[str(key)] = torch.from_numpy(np.array(array))
    if found and all(key.startswith("module.") for key in found):
        found = {key.removeprefix("module."): value for key, value in found.items()}
    return found


def check_state(
    given: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], name: str, optional: Iterable[str] = ()
) -> None:
    """Compare names and shapes.

    Parameters
    ----------
    given, expected : mapping of str to tensor
        What came, and what a module of that kind and size has.
    name : str
        Of the module.
    optional : iterable of str
        Names that may be missing.

    Raises
    ------
    InputError
        Naming the tensors that are missing, left over, of another shape, or not finite.
    """
    missing = sorted(set(expected) - set(given) - set(optional))
    extra = sorted(set(given) - set(expected))
    shared = [key for key in given if key in expected]
    shapes = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in shared
        if given[key].shape != expected[key].shape
    ]
    broken = [key for key in shared if given[key].is_floating_point() and not given[key].isfinite().all()]
    problems = [
        f"{what}: {listed(keys)}"
        for what, keys in (("missing", missing), ("left over", extra), ("shapes", shapes), ("not finite", broken))
        if keys
    ]
    if problems:
        raise InputError(f"these are not the weights of a {name}; {'; '.join(problems)}")


def shape_of(state: Mapping[str, torch.Tensor], key: str, rank: int | None, name: str) -> tuple[int, ...]:
    """Shape of a tensor that sizes are read off.

    Parameters
    ----------
    state : mapping of str to tensor
        Of `read_state`.
    key : str
        Which.
    rank : int or None
        Axes that it must have; None takes any number.
    name : str
        Whose weights they are, for messages.

    Returns
    -------
    tuple of int

    Raises
    ------
    InputError
        If there is none of that name and rank.
    """
    if key not in state:
        raise InputError(f"these are not the weights of a {name}; missing: {key}")
    if rank is not None and state[key].ndim != rank:
        raise InputError(f"these are not the weights of a {name}; {key} has shape {tuple(state[key].shape)}")
    return tuple(state[key].shape)


def weight_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """Copies of a module's weights and buffers, by name, in memory: what is stored of it."""
    return {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of the names, types, shapes and values of a module's weights and buffers."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        array = np.ascontiguousarray(value.detach().cpu().numpy())
        found.update(f"{name}:{array.dtype}:{array.shape};".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def from_published(given: Mapping[str, torch.Tensor], entries: Iterable[Entry]) -> dict[str, torch.Tensor]:
    """Our state from a published one whose names are known to be there.

    Parameters
    ----------
    given : mapping of str to tensor
        The published state.
    entries : iterable of Entry
        The parts of a tensor in their order.

    Returns
    -------
    dict of str to tensor
        By our names.
    """
    found: dict[str, list[torch.Tensor]] = {}
    for entry in entries:
        value = given[entry.published]
        value = value.reshape(value.shape[: value.ndim - len(entry.trailing)])
        if entry.kernel is not None:
            value = value.permute(0, 2, 1).flatten(1)
        found.setdefault(entry.ours, []).append(value)
    return {name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in found.items()}


def to_published(state: Mapping[str, torch.Tensor], entries: Iterable[Entry]) -> dict[str, torch.Tensor]:
    """The published state that `from_published` reads.

    Parameters
    ----------
    state : mapping of str to tensor
        Ours; or gradients by our names.
    entries : iterable of Entry
        As for `from_published`.

    Returns
    -------
    dict of str to tensor
        Copies, by published names.
    """
    found = {}
    for entry in entries:
        value = state[entry.ours].detach()
        if entry.part is not None:
            index, count = entry.part
            value = value.chunk(count)[index]
        if entry.kernel is not None:
            value = value.unflatten(1, (entry.kernel, -1)).permute(0, 2, 1)
        value = value.reshape(*value.shape, *entry.trailing)
        found[entry.published] = value.clone(memory_format=torch.contiguous_format)
    return found
