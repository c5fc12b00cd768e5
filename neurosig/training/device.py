"""Where a network is computed, and random numbers that leave everybody else's alone."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from neurosig.core.errors import UsageError

__all__ = [
    "available_devices", "device_in_use", "draw_seed", "random_states", "resolve_device", "seeded", "set_random_states",
]  # fmt: skip


def available_devices() -> list[str]:
    """Names of the devices of this machine: "cpu", and "mps", "cuda", "cuda:0", ... where there are such."""
    names = ["cpu"]
    if torch.backends.mps.is_available():
        names.append("mps")
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return names


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device of a name.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:<n>", "mps"} or torch.device
        "auto" takes a CUDA device where there is one, then Apple's, then the processor.

    Returns
    -------
    torch.device
        The device.

    Raises
    ------
    UsageError
        If there is no such device here; the message lists those there are.
    """
    known = available_devices()
    if device == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if name in known))
    if str(device) not in known:
        raise UsageError(
            f"device {str(device)!r} is not on this machine, which has {', '.join(known)}; choose one of them or 'auto'"
        )
    return torch.device(device)


def device_in_use(device: str, current: torch.device | None = None) -> torch.device:
    """The device that a fitted network is computed on: the one that is asked for, if it is there.

    Parameters
    ----------
    device : str
        See `resolve_device`; "auto" and "accelerate" leave a network where it is.
    current : torch.device, optional
        Where the network is.

    Returns
    -------
    torch.device
        The device.

    Warns
    -----
    UserWarning
        If the device is not on this machine: a network that was trained on a better one stays usable.
    """
    if str(device) in ("auto", "accelerate"):
        return resolve_device("auto") if current is None else current
    try:
        wanted = torch.device(device)
        if current is not None and wanted.type == current.type and wanted.index in (None, current.index):
            return current
        return resolve_device(device)
    except (UsageError, RuntimeError) as error:  # torch's word for a name that is none
        place = torch.device("cpu") if current is None else current
        reason = error if isinstance(error, UsageError) else f"there is no device {device!r}"
        warnings.warn(f"the network runs on {place}: {reason}", UserWarning, stacklevel=1)
        return place


def draw_seed(random_state: Any) -> int:
    """A seed for one training, drawn as scikit-learn draws: an int gives the same one each time."""
    from sklearn.utils import check_random_state

    return int(check_random_state(random_state).randint(2**31 - 1))


@contextlib.contextmanager
def seeded(random_state: Any = None, device: torch.device | None = None) -> Iterator[int]:
    """Seed torch inside, and leave its random state outside as it was.

    Parameters
    ----------
    random_state : int, RandomState or None
        As in scikit-learn.
    device : torch.device, optional
        Where a network is computed; that device's random state is treated likewise.

    Yields
    ------
    int
        The seed.
    """
    seed = draw_seed(random_state)
    place = torch.device("cpu") if device is None else device
    # cudnn's quickest kernels add in any order: two runs would differ in their last bits
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    before = random_states(place)
    try:
        torch.random.default_generator.manual_seed(seed)
        if place.type == "cuda":
            with torch.cuda.device(place):
                torch.cuda.manual_seed(seed)
        elif place.type == "mps":
            torch.mps.manual_seed(seed)
        with exact if place.type == "cuda" else contextlib.nullcontext():
            yield seed
    finally:
        set_random_states(before, place)


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """States of the generators that a training on this device draws from, the processor's always among them."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_states(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Put back what `random_states` gave; a generator that it tells nothing of stays as it is."""
    torch.set_rng_state(states["cpu"])
    if device.type not in states:
        return
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states["mps"])
