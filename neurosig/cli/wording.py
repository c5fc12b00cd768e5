"""Advice in messages as it is typed on the command line: messages are written for Python, ``t_r=2``, ``folds="site"``.

Errors pass through here once, in `neurosig.cli.app`, and warnings in `neurosig.cli.console`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["as_typed", "speak_to"]

# what messages advise and commands take under the same name
_SAME = ("atlas", "confounds", "folds", "labels", "n_splits", "on_missing", "orientation", "t_r")
# and those that --fmri takes, without words such as missing and task, which other things are called as well
_FMRI = (
    "detrend", "events_table", "high_pass", "low_pass", "min_coverage", "orientation", "regions", "smoothing_fwhm",
    "space", "standardize",
)  # fmt: skip
# and under another: only where the command has the option
_OTHER = (
    (r"on_sfreq=['\"]resample['\"]", "--resample", "--resample"),
    (r"confounds=None", "--confounds none", "--confounds"),
    (r"Atlas\.from_mask\(\.\.\.\)", "--atlas voxels", "--atlas"),
    (r"t_r=(seconds|\.\.\. \(seconds\))", "--t-r SECONDS", "--t-r"),
    (r"SignalDataset\(y=\.\.\.\)", "--labels COLUMN", "--labels"),
    (r"signals\.subset\((\.\.\.|\w+)\)", "--subjects NAMES", "--subjects"),
)
_VALUE = r"'([^'\s]*)'|\"([^\"\s]*)\"|(\.\.\.|[A-Za-z0-9_/\-]+(?:\.[A-Za-z0-9]+)*)|(?=[;,)]|$)"
_AFTER = r"(?!\w|\.\w| (?:s|Hz)\b)"  # what is stated with its unit is no advice
# neither options of the command line nor arguments of a call
_BEFORE = r"(?<!--fmri )(?<!--set )(?<!\w\()(?<![\w.\-])"
_NAMES = "|".join(sorted({*_SAME, *_FMRI}, key=len, reverse=True))

_options: set[str] = set()  # of the command that was called


def speak_to(options: Collection[str]) -> None:
    """Take note of the options of the command that was called, such as ``{"--t-r", "--fmri"}``."""
    _options.clear()
    _options.update(options)


def as_typed(text: str) -> str:
    """A message with its advice as the command that was called takes it; what it does not take is left as it is.

    Parameters
    ----------
    text : str
        As it is for Python.

    Returns
    -------
    str

    Examples
    --------
    >>> from neurosig.cli.wording import as_typed, speak_to
    >>> speak_to({"--t-r", "--fmri"})
    >>> as_typed("is it transposed? Say orientation='rows_are_regions', or pass t_r=seconds")
    'is it transposed? Say --fmri orientation=rows_are_regions, or pass --t-r SECONDS'
    >>> speak_to(())
    """
    if not _options:
        return text
    for pattern, typed, option in _OTHER:
        if option in _options:
            text = re.sub(rf"(?<![\w.]){pattern}", typed, text)

    def option_of(match: re.Match) -> str:
        value = next((group for group in match.groups()[1:] if group is not None), "")
        return _typed(match[1], value) or match[0]

    def bare(match: re.Match) -> str:
        typed = _typed(match[1], "")
        return f"({typed})" if typed else match[0]

    text = re.sub(rf"{_BEFORE}({_NAMES})=(?:{_VALUE}){_AFTER}", option_of, text)
    return re.sub(rf"(?<!\w)\(({_NAMES})\)", bare, text)


def _typed(name: str, value: str) -> str | None:
    """A value as the command takes it: by an option of that name, or by ``--fmri``."""
    option = f"--{name.replace('_', '-')}"
    if option in _options:
        return f"{option} {value}".rstrip()
    return f"--fmri {name}={value or '...'}" if name in _FMRI and "--fmri" in _options else None
