"""What the networks of the EEGNet family have in common: max-norms, least windows, published weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import nn

from neurosig.core.errors import InputError, UsageError
from neurosig.models.keras_weights import Entry, fill, group_layers, named_arrays, spell, swap_axes
from neurosig.nn.max_norm import constrain, project
from neurosig.nn.state_dicts import weight_arrays

__all__ = ["MAX_NORMS", "FamilyNetwork", "check_window", "chosen", "samples", "shortest", "signal_sizes"]

MAX_NORMS = ("projection", "forward", "off")
_SIGNAL = ("n_chans", "n_outputs", "n_times", "chs_info", "input_window_seconds", "sfreq")


class FamilyNetwork:
    """Mixin, before a class with `braindecode.models.base.EEGModuleMixin`: max-norm, head, published weights.

    A subclass calls `_limit_norms` at the end of its ``__init__`` and describes its Keras weights in `_keras_entries`
    and `_keras_config`.
    """

    get_submodule: Any  # of the torch.nn.Module that this is mixed into
    load_state_dict: Any
    state_dict: Any
    n_chans: Any
    n_times: Any
    _limits: tuple[tuple[str, float], ...] = ()  # layers and the bound of their filters, for the projection
    _head: ClassVar[str] = "final_layer"
    _fixed_length: ClassVar[bool] = False  # whether longer windows than those it was built for are refused

    # -- construction -------------------------------------------------------------------------------------------------

    def _construct(
        self, signal: Mapping[str, Any], n_times: int, advice: str, sizes: Mapping[str, Any], **options: Any
    ) -> None:
        """Refuse windows that are too short, then call the constructor of the class that comes after this mixin.

        Parameters
        ----------
        signal : dict
            n_chans and the like, as they were given.
        n_times : int
            Samples of a window, as `signal_sizes` completed them.
        advice : str
            What the message says to do about short windows.
        sizes : dict
            Lengths in samples that `minimum_n_times` goes by.
        **options
            Further arguments of that constructor.
        """
        minimum = self.minimum_n_times(**sizes)
        check_window(type(self).__name__, n_times, minimum, advice)
        given = self.__dict__.get("_braindecode_init_kwargs")  # braindecode's own constructor would note its own
        super().__init__(**signal, **options)
        if given is not None:
            self._braindecode_init_kwargs = given
        self.min_n_times = minimum

    # -- max-norm ---------------------------------------------------------------------------------------------------

    def _limit_norms(self, limits: Mapping[str, float | None], how: str) -> None:
        """Bound the filters of layers: by `project_` after each step, or in each forward pass."""
        if how not in MAX_NORMS:
            raise UsageError(f"max_norm is one of {', '.join(map(repr, MAX_NORMS))}; got {how!r}")
        wanted = {name: limit for name, limit in limits.items() if limit is not None}
        self._limits = tuple(wanted.items()) if how == "projection" else ()
        for name in limits:
            constrain(self.get_submodule(name), wanted.get(name) if how == "forward" else None)

    def project_(self) -> None:
        """Bring every filter that has a max-norm back within it, in place; to be called after each step.

        With ``max_norm="projection"`` this is Keras' constraint. Otherwise it does nothing.
        """
        project((self.get_submodule(name).weight, limit) for name, limit in self._limits)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the last layer, the only ones trained when a pretrained network is fine-tuned by its head."""
        return self.get_submodule(self._head).parameters()

    # -- sizes ------------------------------------------------------------------------------------------------------

    @classmethod
    def head_length(cls, n_times: int, **options: Any) -> int:
        """How many samples of a window reach the head; below 1 where the window is too short."""
        raise NotImplementedError

    @classmethod
    def minimum_n_times(cls, **options: Any) -> int:
        """Shortest window, in samples, that a network with these options takes.

        Parameters
        ----------
        **options
            Of the class; n_chans and the like may be among them.
        """
        return shortest(
            cls, sfreq=options.get("sfreq"), **{key: value for key, value in options.items() if key not in _SIGNAL}
        )

    def _check_input(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, n_chans, n_times) from that, or from braindecode's (batch, n_chans, n_times, 1)."""
        if x.dim() == 4 and x.shape[-1] == 1:
            x = x.squeeze(-1)
        fits = x.dim() == 3 and x.shape[1] == self.n_chans
        if not fits or x.shape[2] < self.n_times or (x.shape[2] > self.n_times and self._fixed_length):
            raise InputError(
                f"{type(self).__name__} was built for windows of shape (batch, {self.n_chans}, {self.n_times}); "
                f"got {tuple(x.shape)}"
            )
        return x

    # -- published weights ------------------------------------------------------------------------------------------

    @classmethod
    def from_reference(cls, weights: Mapping[str, Any], *, layout: str = "keras", **config: Any) -> Any:
        """Build the network that published weights belong to, and load them.

        Parameters
        ----------
        weights : mapping of str to array or Tensor
            Name to array, as Keras or braindecode name them; or an archive with ``weight_names`` and, in that order,
            ``w000``, ``w001``, ... Values are read, never unpickled.
        layout : {"keras", "braindecode"}
            "keras": the names and axes of the published Keras code, maps as (space, time) or (time, space), which is
            read off the shapes. "braindecode": a state dict of braindecode's class, where there is one.
        **config
            What cannot be read off the shapes (the pooling, the padding of other code than the published), and
            `n_times`. Without `n_times` it is the shortest window that gives such a head.

        Returns
        -------
        FamilyNetwork
            In eval mode.

        Raises
        ------
        InputError
            If layers are missing or left over or a shape does not fit: weights of another architecture.
        """
        arrays = named_arrays(weights)
        if layout == "keras":
            layers = group_layers(arrays)
            first = layers.get("conv2d", [{}])[0].get("kernel")
            if first is None or first.ndim != 4:
                raise InputError(f"{cls.__name__} begins with a convolution; these weights hold {sorted(layers)}")
            if first.shape[1] == 1 and first.shape[0] > 1:
                layers = swap_axes(layers)
            module = _build(cls, cls._keras_config(layers), config)
            fill(module, module._keras_entries(), layers)
        elif layout == "braindecode":
            module = _build(cls, cls._braindecode_config(arrays), config)
            state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
            missing, unexpected = module.load_state_dict(state, strict=False)
            missing = [name for name in missing if not name.endswith("num_batches_tracked")]
            if missing or unexpected:
                raise InputError(f"not a state dict of {cls.__name__}: missing {missing}, left over {unexpected}")
        else:
            raise UsageError(f"layout is 'keras' or 'braindecode'; got {layout!r}")
        return module.eval()

    def to_reference(self, *, layout: str = "keras") -> dict[str, np.ndarray]:
        """The weights under published names and in published axes: what `from_reference` reads.

        Parameters
        ----------
        layout : {"keras", "keras_time_first", "braindecode"}
            "keras_time_first": of a network whose maps are (time, space). "braindecode": the state dict.

        Returns
        -------
        dict of str to ndarray
        """
        if layout == "braindecode":
            type(self)._braindecode_config({})  # says so where braindecode has no such network
            return weight_arrays(cast(nn.Module, self))
        if layout not in ("keras", "keras_time_first"):
            raise UsageError(f"layout is 'keras', 'keras_time_first' or 'braindecode'; got {layout!r}")
        named = spell(cast(nn.Module, self), self._keras_entries())
        if layout == "keras":
            return named
        return {name: value.swapaxes(0, 1) if value.ndim == 4 else value for name, value in named.items()}

    def _keras_entries(self) -> Sequence[Entry]:
        raise NotImplementedError

    @classmethod
    def _keras_config(cls, layers: dict[str, list[dict[str, np.ndarray]]]) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def _braindecode_config(cls, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        raise UsageError(f"braindecode has no {cls.__name__}; its layout is 'keras'")


def _build(cls: type, read: dict[str, Any], given: dict[str, Any]) -> Any:
    """The network of a configuration read off the weights, which what the user gives completes or overrules."""
    if "length" in read:  # samples that reach the head
        length = read.pop("length")
        if "n_times" not in given and not {"input_window_seconds", "sfreq"} <= set(given):
            options = {key: value for key, value in {**read, **given}.items() if key not in _SIGNAL}
            read["n_times"] = shortest(cls, length, sfreq=given.get("sfreq"), **options)
    return cls(**{**read, **given})


def shortest(cls: Any, length: int = 1, **options: Any) -> int:
    """Shortest window of which at least `length` samples reach the head of a network with these options."""
    low, high = 0, 1
    while cls.head_length(high, **options) < length:
        low, high = high, 2 * high
        if high > 1 << 40:
            raise InputError(f"no window leaves {length} samples before the head of {cls.__name__} with {options}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if cls.head_length(middle, **options) >= length else (middle, high)
    return high


def signal_sizes(
    name: str,
    *,
    n_chans: int | None,
    n_outputs: int | None,
    n_times: int | None,
    chs_info: Sequence[Any] | None,
    input_window_seconds: float | None,
    sfreq: float | None,
) -> tuple[int, int, int, float | None]:
    """n_chans, n_outputs, n_times and sfreq, completed from each other as braindecode does.

    Raises
    ------
    UsageError
        If one cannot be found; the message names what to pass.
    """
    if n_chans is None and chs_info is not None:
        n_chans = len(chs_info)
    if n_times is None and input_window_seconds is not None and sfreq is not None:
        n_times = round(input_window_seconds * sfreq)
    if sfreq is None and input_window_seconds is not None and n_times is not None:
        sfreq = n_times / input_window_seconds
    found = {"n_chans (or chs_info)": n_chans, "n_outputs": n_outputs}
    found["n_times (or input_window_seconds and sfreq)"] = n_times
    lacking = [key for key, value in found.items() if value is None]
    if lacking:
        raise UsageError(f"{name} needs {', '.join(lacking)}")
    channels, outputs, times = (int(value) for value in found.values() if value is not None)
    return channels, outputs, times, sfreq


def samples(length: float, sfreq: float | None, name: str = "kernel_length") -> int:
    """A length in samples, from an integer number of samples or a float of seconds.

    Parameters
    ----------
    length : int or float
        An int is samples, a float is seconds, cut to whole samples: 0.5 at 125 Hz is 62 (windows in
        seconds are rounded to the nearest sample instead).
    sfreq : float or None
        Sampling rate, in Hz.
    name : str
        For the message.
    """
    if isinstance(length, bool) or not isinstance(length, (int, float, np.integer, np.floating)):
        raise UsageError(f"{name} is an integer of samples or a float of seconds; got {length!r}")
    if isinstance(length, (int, np.integer)):
        count = int(length)
    elif sfreq is None:
        raise UsageError(f"{name}={length!r} is in seconds, which needs sfreq; pass sfreq, or an integer of samples")
    else:
        count = int(length * sfreq + 1e-9)
    if count < 1:
        raise UsageError(f"{name} is at least one sample; got {length!r}")
    return count


def chosen(name: str, variants: Mapping[str, Mapping[str, Any]], variant: str, **options: Any) -> dict[str, Any]:
    """Options of a published variant, overruled by those that the user gave (that are not None)."""
    if variant not in variants:
        raise UsageError(f"{name} has the variants {', '.join(map(repr, variants))}; got {variant!r}")
    return {key: variants[variant].get(key) if value is None else value for key, value in options.items()}


def check_window(name: str, n_times: int, minimum: int, advice: str) -> None:
    """Refuse windows that leave nothing at the head.

    Raises
    ------
    InputError
        With the minimum and what to change.
    """
    if n_times < minimum:
        raise InputError(f"{name} needs windows of at least {minimum} samples here; got {n_times}. {advice}")
