"""Which networks there are by name, and which of them `NetClassifier` can build for signals of a given form."""

from __future__ import annotations

import io
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from neurosig.core.signals import SignalSpec

__all__ = ["NetworkRow", "list_networks", "network_rows", "signals_like", "without_place"]

# What a network is tried on where nobody says otherwise: positions of the 10-20 system, 4 s at 250 Hz
CHANNELS = (
    "Fp1", "Fz", "F3", "F4", "F7", "F8", "FC1", "FC2", "FC5", "FC6", "C3", "Cz", "C4", "T7", "T8", "CP1", "CP2", "P3",
    "Pz", "P4", "O1", "O2",
)  # fmt: skip
SFREQ, N_TIMES = 250.0, 1000
# braindecode's networks that fetch a file from the internet as soon as they are built
_FETCHING = {"REVE": "electrode positions", "STEEGFormer": "a list of channels"}


@dataclass(frozen=True)
class NetworkRow:
    """One network.

    Parameters
    ----------
    name : str
        What ``module=`` takes.
    package : str
        "neurosig" or "braindecode".
    summary : str
        First line of its docstring.
    builds : bool or None
        Whether it was built for signals of the given form with its own defaults; None where that was not tried.
    n_parameters : int or None
        Weights, where it was built.
    note : str
        Why it was not built, or not tried, and what would help.
    """

    name: str
    package: str
    summary: str
    builds: bool | None = None
    n_parameters: int | None = None
    note: str = ""


def list_networks(
    info: SignalSpec | None = None, *, n_times: int | None = None, n_outputs: int = 2, build: bool = True
) -> pd.DataFrame:
    """List every network that `NetClassifier` and `NetRegressor` know by name, and whether they can build it.

    Parameters
    ----------
    info : SignalSpec, optional
        The signals: channel names, positions, sampling rate, ``n_times``. By default 22 channels of the 10-20 system
        and windows of 4 s at 250 Hz.
    n_times : int, optional
        Samples of a window, where `info` does not say.
    n_outputs : int
        Classes.
    build : bool
        Whether each is built and tried on an empty window, which takes about a minute for all; else they are only
        named.

    Returns
    -------
    DataFrame
        A row a network, ours first: ``name, package, summary, builds, n_parameters, note``; see `NetworkRow`.

    Raises
    ------
    UsageError
        If it is not known how long windows are.

    Examples
    --------
    >>> from neurosig.models import list_networks
    >>> networks = list_networks(build=False).set_index("name")
    >>> networks.loc[["EEGNet", "ATCNet"], "package"].tolist()
    ['neurosig', 'braindecode']
    """
    import pandas as pd

    return pd.DataFrame([asdict(row) for row in network_rows(info, n_times=n_times, n_outputs=n_outputs, build=build)])


def network_rows(
    info: SignalSpec | None = None, *, n_times: int | None = None, n_outputs: int = 2, build: bool = True
) -> Iterator[NetworkRow]:
    """Give the rows of `list_networks` one by one, as they are found."""
    from neurosig.models.net_module import braindecode_models, own_names, resolve_module

    signals = _signals(info, n_times) if build else None
    own = sorted(own_names())
    for name in [*own, *sorted(set(braindecode_models()) - set(own))]:
        cls = resolve_module(name)
        row = NetworkRow(name, "neurosig" if name in own else "braindecode", _summary(cls))
        if signals is None:
            yield row
        elif row.package == "braindecode" and name in _FETCHING:
            yield _with(row, note=f"not tried: fetches {_FETCHING[name]} from the internet when it is built")
        else:
            yield _tried(row, cls, signals, n_outputs)


def without_place(info: SignalSpec) -> list[str]:
    """Channels of `signals_like` that the 10-05 system does not know."""
    import mne

    from neurosig.core.channel_names import canonical_name
    from neurosig.core.channels import montage_name

    known = mne.channels.make_standard_montage(montage_name("standard_1005")).ch_names
    sites = {canonical_name(name) for name in known}
    return [name for name in info.ch_names if canonical_name(name) not in sites]


def signals_like(ch_names: Sequence[str], sfreq: float) -> SignalSpec:
    """EEG of these channels, at the positions of the 10-05 system where it knows the names."""
    import mne

    from neurosig.core.channels import montage_name
    from neurosig.core.signals import SignalSpec

    known = mne.create_info(list(ch_names), sfreq, "eeg", verbose=False)
    known.set_montage(montage_name("standard_1005"), match_case=False, on_missing="ignore", verbose=False)
    return SignalSpec.from_mne(known)


def _signals(info: SignalSpec | None, n_times: int | None) -> dict[str, Any]:
    """What networks are built from."""
    if info is None:
        info, n_times = signals_like(CHANNELS, SFREQ), n_times or N_TIMES
    n_times = n_times or info.n_times
    if n_times is None:
        raise UsageError("how long windows are is not known: pass n_times=... (samples), or an info that says it")
    chs_info = None if info.sfreq is None else info.to_mne()["chs"]
    return {"n_chans": info.n_channels, "sfreq": info.sfreq, "n_times": n_times, "chs_info": chs_info}


def _tried(row: NetworkRow, cls: Any, signals: dict[str, Any], n_outputs: int) -> NetworkRow:
    from neurosig.core.errors import NeurosigError
    from neurosig.models.net_module import build_module
    from neurosig.training.device import seeded

    try:
        with seeded(0), _quiet():
            module = build_module(cls, None, n_outputs=n_outputs, **signals)
    except NeurosigError as error:
        return _with(row, builds=False, note=str(error))
    return _with(row, builds=True, n_parameters=sum(parameter.numel() for parameter in module.parameters()))


def _with(row: NetworkRow, **found: Any) -> NetworkRow:
    return NetworkRow(**{**asdict(row), **found})


def _summary(cls: type) -> str:
    """First line of a docstring, without markup."""
    import inspect
    import re

    line = (inspect.getdoc(cls) or "").strip().split("\n")[0]
    line = re.sub(r":[\w:]+:`~?(?:[\w.]+\.)?([^`]*)`", r"\1", line)  # roles
    line = line.replace("\\ ", "")  # bold letters within a word
    line = re.sub(r"\s*\[[^\]]*\]_?|`+|\*+|\|", "", line)
    return re.sub(r"\s*\bfrom(?=,|$)", "", " ".join(line.split())).strip().rstrip(".")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what networks print about themselves while they are built."""
    import mne

    with mne.utils.use_log_level("ERROR"), redirect_stdout(io.StringIO()):
        yield
