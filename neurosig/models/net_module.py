"""From a network's class or name, and what is known of the signals, to the module: found, built, tried, explained."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from neurosig.core.compat import import_braindecode
from neurosig.core.errors import InputError, UsageError
from neurosig.core.near_names import find_name, near_names

__all__ = [
    "braindecode_models", "build_module", "check_module_params", "head_of", "module_names", "module_options",
    "module_path", "normalisation_layers", "own_names", "resolve_module",
]  # fmt: skip

_SIGNATURE = ("n_chans", "n_outputs", "n_times", "sfreq", "chs_info", "input_window_seconds")
# Options of networks that a window may have to be long enough for, and how many of them are tried
_LENGTHS, _TRIED = re.compile("kernel|pool|patch|length"), 8
_LONGEST = 1 << 15  # samples; beyond, no shortest window is looked for
# Networks of braindecode whose step on a processor takes 0.5 to 0.85 of the time with weights stored channels-last; for
# others it makes no difference, or they take twice as long (ATCNet, EEGTCNet) or refuse it (SCCNet)
_CHANNELS_LAST = frozenset({"CTNet", "Deep4Net", "EEGConformer", "EEGITNet", "EEGNet"})


def module_names() -> list[str]:
    """Names that `resolve_module` takes: networks of ours, then braindecode's, sorted."""
    return sorted({*own_names(), *braindecode_models()})


def resolve_module(module: Any) -> type[nn.Module]:
    """The class of a network.

    Parameters
    ----------
    module : type or str
        The class, or its name: ours are looked up first, then braindecode's. Capitals and hyphens do not matter where
        one name only reads so ("eegnet", "MI-EEGNet"). A full path ("package.file.Class") is what `module_path` gives
        for a class from elsewhere; only ours and braindecode's are imported.

    Returns
    -------
    type
        Subclass of `torch.nn.Module`.

    Raises
    ------
    UsageError
        If it is neither, or no such name is known; the message lists near ones.
    """
    if isinstance(module, type) and issubclass(module, nn.Module):
        return module
    if not isinstance(module, str):
        raise UsageError(
            f"module must be the class of a network or its name, got {type(module).__name__}; a built network has its "
            "sizes fixed: give the class, and its options as module_params"
        )
    found = _own(module) or braindecode_models().get(module)
    if found is None and (known := find_name(module, module_names())) is not None:
        found = _own(known) or braindecode_models().get(known)
    if found is None:
        near = near_names(module, module_names(), n=4, cutoff=0.5)
        raise UsageError(
            f"no network is called {module!r}; "
            + (f"did you mean {', '.join(near)}? " if near else "")
            + "neurosig.models.list_networks() and `neurosig networks` list them"
        )
    return found


def module_path(cls: type[nn.Module]) -> str:
    """The name by which `resolve_module` finds a class again, else its full path."""
    known = _own(cls.__name__) or braindecode_models().get(cls.__name__)
    return cls.__name__ if known is cls else f"{cls.__module__}.{cls.__qualname__}"


def module_options(cls: type[nn.Module]) -> dict[str, Any] | None:
    """A network's own options and their defaults (None where one must be given); None if it takes any."""
    accepted = inspect.signature(cls).parameters
    if any(entry.kind is inspect.Parameter.VAR_KEYWORD for entry in accepted.values()):
        return None
    return {
        name: None if entry.default is inspect.Parameter.empty else entry.default
        for name, entry in accepted.items()
        if name not in _SIGNATURE and entry.kind is not inspect.Parameter.VAR_POSITIONAL
    }


def build_module(
    cls: type[nn.Module],
    params: Mapping[str, Any] | None,
    *,
    n_chans: int,
    n_outputs: int,
    n_times: int,
    sfreq: float | None = None,
    chs_info: Any = None,
    device: torch.device | None = None,
) -> nn.Module:
    """Build a network for signals of this form, and prove on one window that it takes them.

    Parameters
    ----------
    cls : type
        The network.
    params : dict or None
        Its own options.
    n_chans, n_outputs, n_times : int
        Channels, outputs, samples of a window.
    sfreq : float, optional
        Sampling rate in Hz.
    chs_info : list of dict, optional
        mne's description of the channels.
    device : torch.device, optional
        Where it is going to run. For the processor, which is the default, some of braindecode's networks get their
        weights stored in the order that is quicker there (`torch.channels_last`); shapes and values are the same.

    Returns
    -------
    nn.Module
        In evaluation mode, still on the processor.

    Raises
    ------
    UsageError
        If an option is unknown or refused, or the network needs something that is not known.
    InputError
        If the window is too short; the message says what the shortest is, and what else helps: in the network's own
        words, else in those of its attribute ``advice``, else by the options that let it take shorter ones.
    """
    params = dict(params or {})
    known: dict[str, Any] = {"n_chans": n_chans, "n_outputs": n_outputs, "n_times": n_times}
    if sfreq is not None:
        known.update(sfreq=sfreq, input_window_seconds=n_times / sfreq)
    if chs_info is not None:
        known["chs_info"] = chs_info
    accepted = inspect.signature(cls).parameters
    check_module_params(cls, params)
    known = {name: value for name, value in known.items() if name in accepted}
    missing = [name for name in _SIGNATURE if name in accepted and name not in known
               and accepted[name].default is inspect.Parameter.empty and name not in params]  # fmt: skip
    if missing:
        raise _needs(cls, missing[0], None)
    shortest = _declared_shortest(cls, {**known, **params})
    if shortest is not None and n_times < shortest:
        raise _own_refusal(cls, {**known, **params}) or _too_short(cls, n_times, shortest, known, params)
    try:
        module = _try(cls, {**known, **params}, n_chans, n_outputs, n_times)
    except _ShrunkError as shrunk:
        raise _too_short(cls, n_times, shrunk.shortest, known, params) from None
    except UsageError:
        raise
    except Exception as error:  # networks raise whatever they like
        reason = textwrap.shorten(str(error), 200, placeholder=" …") or type(error).__name__
        for name in ("sfreq", "chs_info"):
            if name not in known and name in accepted and (name in reason or _repaired_by(cls, name, known, params)):
                raise _needs(cls, name, error) from error
        shortest = _shortest(cls, known, params)
        if shortest is not None and shortest > n_times:
            raise _too_short(cls, n_times, shortest, known, params) from error
        raise UsageError(
            f"{cls.__name__} cannot be built for {n_chans} channels, {n_times} samples and {n_outputs} outputs with "
            f"{params or 'its defaults'}: {reason}"
        ) from error
    if (device is None or device.type == "cpu") and _is_quicker_channels_last(cls):
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def head_of(module: nn.Module) -> list[nn.Parameter]:
    """Parameters of the last layer.

    What ``head_parameters()`` gives; else all of ``final_layer``, as braindecode calls it; else those of the last
    submodule that has any, with what parametrizes it, if that is linear or a convolution.

    Raises
    ------
    UsageError
        If none of these says which layer is the last.
    """
    if hasattr(module, "head_parameters"):
        return list(module.head_parameters())  # type: ignore[operator]
    named = getattr(module, "final_layer", None)
    if isinstance(named, nn.Module) and (found := list(named.parameters())):
        return found
    owners = {id(part): layer for layer in module.modules() if hasattr(layer, "parametrizations")
              for part in layer.parametrizations.modules()}  # type: ignore[union-attr]  # fmt: skip
    layers = [layer for layer in module.modules() if next(layer.parameters(recurse=False), None) is not None]
    last = owners.get(id(layers[-1]), layers[-1]) if layers else None
    if not isinstance(last, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        raise UsageError(
            f"which layer of {type(module).__name__} is the last is not certain; give the class a method "
            "head_parameters(), or train all layers for the same number of outputs"
        )
    return list(last.parameters())


def normalisation_layers(module: nn.Module, head: list[nn.Parameter]) -> Iterator[nn.Module]:
    """Layers that keep running statistics and do not belong to the head."""
    own = set(map(id, head))
    for layer in module.modules():
        keeps = getattr(layer, "track_running_stats", False) and hasattr(layer, "running_mean")
        if keeps and not own & {id(parameter) for parameter in layer.parameters(recurse=False)}:
            yield layer


class _ShrunkError(Exception):
    """A network that made itself smaller because the window is short."""

    def __init__(self, shortest: int):
        super().__init__(shortest)
        self.shortest = shortest


def _try(cls: type[nn.Module], options: dict[str, Any], n_chans: int, n_outputs: int, n_times: int) -> nn.Module:
    # networks warn of convolutions padded unevenly, of arguments that they ignore: nothing that a user could mend
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        module = cls(**options).eval()
        weight = next((p for p in module.parameters()), None)
        device = torch.device("cpu") if weight is None else weight.device
        with torch.no_grad():
            output = module(torch.zeros(2, n_chans, n_times, device=device))
    for warning in told:  # some of braindecode's shrink their kernels to fit: another network than the one asked for
        if found := re.search(r"is smaller than the minimum required \((\d+)", str(warning.message)):
            raise _ShrunkError(int(found[1]))
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != (2, n_outputs):
        raise UsageError(
            f"expected one row of {n_outputs} outputs a window from {cls.__name__}, got {shape} for 2 windows; "
            "networks that give something else than a decision a window cannot be trained here"
        )
    return module


def check_module_params(cls: type[nn.Module], params: Mapping[str, Any]) -> None:
    """Refuse options that a network does not have.

    Raises
    ------
    UsageError
        Naming the first, and what resembles it.
    """
    own = module_options(cls)
    if own is None:
        return
    if unknown := sorted(set(params) - set(inspect.signature(cls).parameters)):
        near = near_names(unknown[0], own, cutoff=0.5) or own
        raise UsageError(
            f"{cls.__name__} has no option {unknown[0]!r} (in module_params); it has {', '.join(near) or 'none'}"
        )


def _needs(cls: type[nn.Module], name: str, error: Exception | None) -> UsageError:
    what, pass_ = {
        "sfreq": ("the sampling rate", "sfreq=... (Hz) to the estimator, or fit on mne.Epochs"),
        "input_window_seconds": ("the sampling rate", "sfreq=... (Hz) to the estimator, or fit on mne.Epochs"),
        "chs_info": ("the channels' names and positions", "info=... (SignalSpec or mne.Info), or fit on mne.Epochs"),
    }.get(name, (name, f"module_params={{{name!r}: ...}}"))
    return UsageError(f"{cls.__name__} needs {what}; pass {pass_}")


def _too_short(
    cls: type[nn.Module], n_times: int, shortest: int, known: dict[str, Any], params: dict[str, Any]
) -> InputError:
    advice = getattr(cls, "advice", None)
    if advice is None:
        lower = _shortening(cls, known, params, shortest - 1)
        advice = "give longer windows" + (f", or a smaller {' or '.join(lower)} in module_params" if lower else "")
    return InputError(
        f"{cls.__name__} with these options takes windows of at least {shortest} samples, got {n_times}; {advice}"
    )


def _shortening(cls: type[nn.Module], known: dict[str, Any], params: dict[str, Any], n_times: int) -> list[str]:
    """Lengths among a network's options of which each, when halved, lets it take a window of so many samples."""
    accepted = inspect.signature(cls).parameters
    values = {name: params.get(name, entry.default) for name, entry in accepted.items() if _LENGTHS.search(name)}
    lengths = [(name, value) for name, value in values.items() if type(value) is int and value > 1][:_TRIED]
    return [name for name, value in lengths if _works(cls, known, {**params, name: value // 2}, n_times)]


def _own_refusal(cls: type[nn.Module], options: dict[str, Any]) -> InputError | None:
    """What a network itself says of a window that is too short, as it knows which of its options help."""
    try:
        cls(**options)
    except InputError as refusal:
        return refusal
    except Exception:  # networks raise whatever they like
        return None
    return None


def _repaired_by(cls: type[nn.Module], name: str, known: dict[str, Any], params: dict[str, Any]) -> bool:
    """Whether the network would build if only the sampling rate were known."""
    if name != "sfreq":
        return False
    return _works(cls, {**known, "sfreq": 100.0}, params, known["n_times"]) if "n_times" in known else False


def _declared_shortest(cls: type[nn.Module], options: dict[str, Any]) -> int | None:
    """What the network itself says: ``minimum_n_times(**options)``, or the number ``min_n_times``."""
    function = getattr(cls, "minimum_n_times", None)
    if function is None:
        declared = getattr(cls, "min_n_times", None)
        return declared if isinstance(declared, int) else None
    accepted = inspect.signature(function).parameters
    if not any(entry.kind is inspect.Parameter.VAR_KEYWORD for entry in accepted.values()):
        options = {name: value for name, value in options.items() if name in accepted}
    try:
        return int(function(**options))
    except (TypeError, ValueError):
        return None


def _shortest(cls: type[nn.Module], known: dict[str, Any], params: dict[str, Any]) -> int | None:
    """The shortest window that works, by trying on torch's meta device, where nothing is computed."""
    n_times = known.get("n_times")
    if n_times is None:
        return None
    low, high = n_times, 2 * n_times
    while not _works(cls, known, params, high):
        low, high = high, 2 * high
        if high > _LONGEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _works(cls, known, params, middle) else (middle, high)
    return high


def _works(cls: type[nn.Module], known: dict[str, Any], params: dict[str, Any], n_times: int) -> bool:
    options = {**known, "n_times": n_times}
    if "sfreq" in known and "input_window_seconds" in known:
        options["input_window_seconds"] = n_times / known["sfreq"]
    try:
        with torch.device("meta"):
            _try(cls, {**options, **params}, known["n_chans"], known["n_outputs"], n_times)
    except UsageError:
        return True  # it ran; what came out is another matter
    except Exception:
        return False
    return True


def _is_quicker_channels_last(cls: type[nn.Module]) -> bool:
    return cls.__name__ in _CHANNELS_LAST and cls.__module__.startswith("braindecode.")


def _own(name: str) -> type[nn.Module] | None:
    import neurosig.models

    place = neurosig.models._NAMES.get(name)
    if place is None or importlib.util.find_spec(place) is None:
        return None
    found = getattr(importlib.import_module(place), name, None)
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None


def own_names() -> list[str]:
    """Names of our networks."""
    import neurosig.models

    return [name for name in neurosig.models._NAMES if _own(name) is not None]


def braindecode_models() -> dict[str, type[nn.Module]]:
    """Networks of the installed braindecode, by name."""
    package = import_braindecode("braindecode.models")
    found = {name: getattr(package, name, None) for name in package.__all__}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, nn.Module)}
