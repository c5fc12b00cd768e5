"""Augmentation: braindecode's transforms by name, applied to whole batches of the training part.

Signals reach the transforms as the network sees them, scaled; labels stay class numbers, or become a `MixedTarget`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neurosig.core.channel_names import canonical_name, listed
from neurosig.core.compat import import_braindecode
from neurosig.core.errors import UsageError
from neurosig.core.near_names import did_you_mean, find_name

if TYPE_CHECKING:
    import torch

__all__ = ["Augmentation", "MixedTarget", "augmentation_names", "check_augmentation", "make_augmentation", "mixed_loss"]

# What braindecode asks of the user although the data know it
_FROM_DATA = ("sfreq", "ordered_ch_names", "sensors_positions_matrix")
_NOT_TRANSFORMS = frozenset({"Transform", "Compose"})
_DEFAULTS = {"probability": 0.5, "alpha": 0.2}  # braindecode has none; 0.2 is what the mixup paper uses


class MixedTarget(NamedTuple):
    """Targets of trials that are mixtures of two; braindecode's Mixup gives the same three in a tuple.

    Parameters
    ----------
    first, second : tensor of shape (n_trials,)
        Targets of the two trials that were mixed.
    weight : tensor of shape (n_trials,)
        Share of the first.
    """

    first: torch.Tensor
    second: torch.Tensor
    weight: torch.Tensor


def mixed_loss(loss: Callable[..., torch.Tensor], output: torch.Tensor, target: Any) -> torch.Tensor:
    """Loss of each trial, for plain targets and for mixed ones.

    Parameters
    ----------
    loss : callable
        From outputs and targets to one loss a trial (``reduction="none"``).
    output : tensor of shape (n_trials, ...)
        What the network says.
    target : tensor of shape (n_trials,), or MixedTarget
        What is right.

    Returns
    -------
    tensor of shape (n_trials,)
        ``weight * loss(output, first) + (1 - weight) * loss(output, second)`` where the target is mixed.
    """
    if not isinstance(target, tuple):
        return loss(output, target)
    first, second, weight = target
    return weight * loss(output, first) + (1 - weight) * loss(output, second)


class Augmentation:
    """Several transforms, one after the other; made by `make_augmentation`.

    Parameters
    ----------
    transforms : list of braindecode.augmentation.Transform
        In the order in which they are applied.

    Notes
    -----
    All draws come from the transforms' own generators, so that neither numpy's nor torch's global state is read or
    changed. `state_dict` keeps them, for trainings that are stopped and resumed.
    """

    def __init__(self, transforms: Sequence[Any]):
        self.transforms = list(transforms)

    def __call__(self, X: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | MixedTarget]:
        """Augment a batch of the training part.

        Parameters
        ----------
        X : tensor of shape (n_trials, n_channels, n_times)
            Signals as the network gets them; never written to.
        y : tensor of shape (n_trials,)
            Targets.

        Returns
        -------
        X : tensor of shape (n_trials, n_channels, n_times)
            Augmented signals, float32 on the device of X.
        y : tensor of shape (n_trials,), or MixedTarget
            Their targets: those that came in, so that weights of trials stay right.

        Raises
        ------
        UsageError
            If a transform cannot take signals of this shape.
        """
        target: Any = y
        for transform in self.transforms:
            try:
                augmented, found = transform(X, target)
            except (AssertionError, ValueError) as error:  # braindecode on batches that do not suit the parameters
                reason = " ".join(str(error).split())
                name = type(transform).__name__
                raise UsageError(
                    f"the augmentation {name} cannot take signals of shape {tuple(X.shape)}: {reason}"
                ) from error
            X, target = _in_place(augmented, found, target)
        return X, MixedTarget(*target) if isinstance(target, tuple) else target

    def __repr__(self) -> str:
        return f"Augmentation({', '.join(type(transform).__name__ for transform in self.transforms)})"

    def state_dict(self) -> list[dict[str, Any]]:
        """State of every transform's generator, in types that ``torch.load(weights_only=True)`` reads."""
        import torch

        states = []
        for transform in self.transforms:
            _, key, position, has_gauss, gauss = transform.rng.get_state()
            states.append(
                {
                    "key": torch.from_numpy(key.astype(np.int64)),
                    "position": int(position),
                    "has_gauss": int(has_gauss),
                    "gauss": float(gauss),
                }
            )
        return states

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on where `state_dict` was taken.

        Raises
        ------
        UsageError
            If the states are of another number of transforms.
        """
        if len(states) != len(self.transforms):
            raise UsageError(f"expected the states of {len(self.transforms)} transforms, got {len(states)}")
        for transform, state in zip(self.transforms, states, strict=True):
            key = np.asarray(state["key"]).astype(np.uint32)
            transform.rng.set_state(("MT19937", key, state["position"], state["has_gauss"], state["gauss"]))


def augmentation_names() -> list[str]:
    """Names that `make_augmentation` takes: the transforms of the installed braindecode, sorted."""
    return sorted(_transforms())


def make_augmentation(
    augmentation: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]],
    *,
    sfreq: float | None = None,
    ch_names: Sequence[str] | None = None,
    positions: Any = None,
    n_times: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Augmentation:
    """Build transforms of `braindecode.augmentation` by name.

    Parameters
    ----------
    augmentation : str, dict, or list of these
        Names of transforms ("TimeReverse"; capitals do not matter), or dictionaries with a ``"name"`` and the
        transform's own parameters (``{"name": "FTSurrogate", "probability": 0.5, "phase_noise_magnitude": 0.5}``), in
        the order in which they are applied. ``probability`` is 0.5 and Mixup's ``alpha`` 0.2 where not given.
    sfreq : float, optional
        Sampling rate in Hz, for BandstopFilter and FrequencyShift.
    ch_names : sequence of str, optional
        Channel names, for ChannelsSymmetry and rotations about an axis.
    positions : array of shape (n_channels, 3), optional
        Sensor positions in metres, for SensorsRotation.
    n_times : int, optional
        Samples in a trial: lengths among the parameters are checked against it.
    random_state : int, RandomState or None
        Seeds every transform, each with its own draw.

    Returns
    -------
    Augmentation
        A callable: ``augment(X, y) -> (X, y)``.

    Raises
    ------
    UsageError
        If a name or a parameter is unknown, its value refused, Mixup is not the last, or something that a transform
        needs (sampling rate, names, positions) is not given.

    Notes
    -----
    The signals arrive scaled (standard deviation one where the estimator's ``scale`` is "std"): GaussianNoise's ``std``
    is in that unit. ChannelsSymmetry exchanges the hemispheres and leaves the label: where the label is a side (left or
    right hand) it teaches nothing.
    """
    from sklearn.utils import check_random_state

    entries = _entries(augmentation)
    data = {
        "sfreq": sfreq,
        "ordered_ch_names": None if ch_names is None else [canonical_name(str(name)) for name in ch_names],
        "sensors_positions_matrix": None if positions is None else np.asarray(positions, dtype=float).T,
    }
    rng = check_random_state(random_state)
    transforms = [_build(entry, data, n_times, int(rng.randint(np.iinfo(np.int32).max))) for entry in entries]
    if any(type(transform).__name__ == "Mixup" for transform in transforms[:-1]):
        raise UsageError("Mixup gives mixed targets, which no other augmentation takes; put it last, and once")
    return Augmentation(transforms)


def _in_place(X: torch.Tensor, found: Any, target: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """SegmentationReconstruction shuffles its new trials: put each where a trial of its label was."""
    if isinstance(found, tuple) or bool((found == target).all()):
        return X, found
    ordered = X.new_empty(X.shape)
    ordered[target.argsort(stable=True)] = X[found.argsort(stable=True)]
    return ordered, target


def check_augmentation(augmentation: Any) -> None:
    """Refuse unknown names and parameters of `make_augmentation`, before there are any signals.

    Raises
    ------
    UsageError
        Naming the first.
    """
    known = _transforms()
    for entry in _entries(augmentation):
        _read(entry, known)


def _entries(augmentation: Any) -> list[Any]:
    entries = list(augmentation) if isinstance(augmentation, list | tuple) else [augmentation]
    if not entries:
        raise UsageError("expected at least one augmentation, got an empty list; give None for no augmentation")
    return entries


def _read(entry: Any, known: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Name, given parameters and possible ones of a transform, from its name or dictionary."""
    if isinstance(entry, str):
        asked, given = entry, {}
    elif isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
        asked, given = entry["name"], {key: value for key, value in entry.items() if key != "name"}
    else:
        raise UsageError(f"expected an augmentation's name or a dictionary with a 'name', got {entry!r}")
    name = find_name(asked, known)
    if name is None:
        near = did_you_mean(asked, known)
        raise UsageError(f"no augmentation is called {asked!r}; braindecode has {', '.join(sorted(known))}{near}")
    accepted = [key for key in inspect.signature(known[name].__init__).parameters if key not in ("self", "kwargs")]
    options = [key for key in accepted if key != "random_state"]
    if unknown := sorted(set(given) - set(options)):
        near = did_you_mean(unknown[0], options)
        raise UsageError(f"{name} has no parameter {', '.join(map(repr, unknown))}; it has {', '.join(options)}{near}")
    return name, given, options


def _build(entry: Any, data: Mapping[str, Any], n_times: int | None, seed: int) -> Any:
    """One transform from its name or dictionary."""
    known = _transforms()
    name, given, options = _read(entry, known)
    filled = {key: value for key, value in _DEFAULTS.items() if key in options}
    for key in options:
        if key in _FROM_DATA and key not in given:
            filled[key] = _from_data(name, key, data)
    filled.update(given)
    if name == "BandstopFilter" and filled.get("max_freq") is None:
        filled["max_freq"] = filled["sfreq"] / 2  # braindecode falls back to it with a warning
    _check(name, filled, n_times)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Montage name", FutureWarning)  # braindecode asks mne for an old name
            return known[name](**filled, random_state=seed)
    except (AssertionError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"cannot build the augmentation {name} from {_shown(given)}: {reason}") from error


def _from_data(name: str, key: str, data: Mapping[str, Any]) -> Any:
    if data[key] is not None:
        return data[key]
    needed, pass_ = {
        "sfreq": ("the sampling rate", "sfreq=... (Hz)"),
        "ordered_ch_names": ("channel names", "ch_names=[...]"),
        "sensors_positions_matrix": ("sensor positions", "info=... with positions"),
    }[key]
    raise UsageError(f"the augmentation {name} needs {needed}; pass {pass_} to the estimator, or fit on mne.Epochs")


def _check(name: str, options: Mapping[str, Any], n_times: int | None) -> None:
    """Refuse what braindecode would take and then do something else with."""
    names = options.get("ordered_ch_names")
    if names is not None:
        strangers = [site for site in names if site not in _sites()]
        if strangers:
            raise UsageError(
                f"the augmentation {name} goes by 10-05 electrode names, which these are not: {listed(strangers)}"
            )
    if n_times is None:
        return
    length = options.get("mask_len_samples")
    if length is not None and length >= n_times:
        raise UsageError(
            f"{name} would mask {length} samples of trials of {n_times}; give a mask_len_samples below {n_times}"
        )
    parts = options.get("n_segments")
    if name == "SegmentationReconstruction" and parts is not None and n_times % parts:
        # braindecode would leave zeros after the last whole segment
        raise UsageError(
            f"SegmentationReconstruction cuts trials into equal parts, and {parts} does not divide {n_times} samples; "
            "give n_segments=None or a divisor"
        )


def _transforms() -> dict[str, Any]:
    module = import_braindecode("braindecode.augmentation")
    found = {name: getattr(module, name) for name in module.__all__}
    return {
        name: kind
        for name, kind in found.items()
        if isinstance(kind, type) and issubclass(kind, module.Transform) and name not in _NOT_TRANSFORMS
    }


def _sites() -> frozenset[str]:
    import mne

    from neurosig.core.channels import montage_name

    montage = mne.channels.make_standard_montage(montage_name("standard_1005"))
    return frozenset(canonical_name(name) for name in montage.ch_names)


def _shown(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in given.items()) or "its defaults"
