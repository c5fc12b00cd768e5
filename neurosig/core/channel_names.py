"""One spelling for each channel, and matching of channel lists by it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from neurosig.core.errors import ChannelError

__all__ = ["ChannelMatch", "canonical_name", "listed", "match_channels"]

# Electrodes whose name changed between the 10-20 system and the 10-10 system, at one and the same place
_OLD_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}

# What may follow the dash without making a bipolar pair: words for a common reference, earlobes and mastoids
_REFERENCE_WORDS = {"REF", "REFERENCE", "AVG", "AVE", "AV", "AR", "CAR"}
_REFERENCE_SITES = {"A1", "A2", "A1A2", "A1+A2", "A12", "M1", "M2", "M1M2", "M1+M2", "LE", "LER", "LM"}

_PREFIX = re.compile(r"^(?:EEG|SEEG|IEEG|ECOG|POL)[\s:_.-]+(?=[A-Z])")
_DASHES = re.compile(r"\s*[-\u2010-\u2015\u2212]\s*")
_PRIMES = re.compile(r"[\u2018\u2019\u2032`\u00b4]")
_SITE = re.compile(
    r"^(N|A?FP|AFF?|FFT|FFC|FTT|FCC|FT|FC|F|TTP|TPP|TP|T|CCP|CPP|CP|C|PPO|POO|PO|P|OI|O|I)(Z|\d{1,2})(H?)$"
)
_CONTACT = re.compile(r"^(.*?[A-Z])('?)0*(\d+)('?)$")

_SHOWN = 8  # names listed in a message before "and 5 more"


def canonical_name(name: str, modality: str = "eeg") -> str:
    """The one spelling that all spellings of a channel share.

    Parameters
    ----------
    name : str
        A channel name as some file wrote it.
    modality : {"eeg", "meg", "seeg", "fmri"}
        Decides which rules hold: old 10-20 names and earlobe or mastoid references exist on the scalp only (on a depth
        electrode T3 and T7 are two contacts of one shaft), CTF's serial numbers in MEG only.

    Returns
    -------
    str
        For known scalp sites the 10-05 spelling ("Fp1", "FCz", "FFT7h"), else the name in capitals without blanks.

    Notes
    -----
    Treated as one: case ("CZ", "Cz"), dots at the end ("Fc5.", "C3.."), blanks, the prefixes "EEG", "SEEG", "IEEG",
    "ECOG" and "POL", leading zeros ("A01", "A1"), the place of the prime of left-hemisphere shafts ("A'1", "A1'"), a
    common-reference suffix ("C3-REF", "C3-AVG", "C3-LE", "C3-A1", "C3-M2"), and T3/T7, T4/T8, T5/P7, T6/P8.

    Kept apart: a bipolar pair and its first electrode ("F7-T3" is "F7-T7", never "F7"), the two orders of a pair, and
    everything that is only roughly the same place: A1 and M1 (earlobe and mastoid), T1 and FT9, I1 and O9. The suffixes
    A1, A2, M1, M2 and LE mean a reference because montages of real bipolar pairs do not end there, except for the pair
    of the two references itself ("A1-A2"), which stays a pair.
    """
    text = unicodedata.normalize("NFKC", str(name)).strip().upper()
    if modality == "fmri":
        return " ".join(text.replace("_", " ").split())
    text = _DASHES.sub("-", _PRIMES.sub("'", _PREFIX.sub("", text))).rstrip(". ")
    parts = ["".join(part.split()).rstrip(".") for part in text.split("-")]
    if len(parts) > 1 and parts[0]:
        parts = _without_reference(parts, modality)
    if modality == "seeg" and len(parts) == 2 and parts[1].isdigit() and (contact := _CONTACT.match(parts[0])):
        parts[1] = "".join(contact.group(1, 2)) + parts[1]  # "LA1-2" is short for "LA1-LA2"
    return "-".join(_canonical_site(part, modality) for part in parts)


def _without_reference(parts: list[str], modality: str) -> list[str]:
    last = parts[-1]
    if last in _REFERENCE_WORDS:
        return parts[:-1]
    if modality == "eeg" and last in _REFERENCE_SITES and parts[0] not in _REFERENCE_SITES:
        return parts[:-1]
    if modality == "meg" and len(parts) == 2 and re.fullmatch(r"\d{4}", last):
        return parts[:-1]  # CTF appends the number of the gradiometer system: "MLC11-1609"
    return parts


def _canonical_site(text: str, modality: str) -> str:
    if contact := _CONTACT.match(text):
        stem, before, number, after = contact.groups()
        text = f"{stem}{before or after}{number}"
    if modality != "eeg":
        return text
    text = _OLD_NAMES.get(text, text)
    if site := _SITE.match(text):
        row, place, half = site.groups()
        return row.replace("FP", "Fp") + place.lower() + half.lower()
    return text


@dataclass(frozen=True)
class ChannelMatch:
    """Which of the channels at hand is which of the wanted ones.

    Parameters
    ----------
    index : tuple of int or None
        For each wanted channel its position in the data, None where it is missing.
    missing : tuple of str
        Wanted channels that the data lack.
    extra : tuple of str
        Channels of the data that nobody wants.
    renamed : dict of str to str
        The data's name to the wanted name, where the two are spelled differently.
    """

    index: tuple[int | None, ...]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)


def match_channels(have: Sequence[str], want: Sequence[str], *, modality: str = "eeg") -> ChannelMatch:
    """Match channel names by `canonical_name`.

    Parameters
    ----------
    have, want : sequence of str
        Names in the data, and names wanted in that order.
    modality : {"eeg", "meg", "seeg", "fmri"}
        See `canonical_name`.

    Returns
    -------
    ChannelMatch
        Positions, and what is missing, extra or renamed.

    Raises
    ------
    ChannelError
        If two channels of the data, or two wanted ones, are one channel under different spellings, so that the choice
        would be a guess. Two such names that occur literally on both sides are no guess and are matched as they are.
    """
    have, want = [str(name) for name in have], [str(name) for name in want]
    literal = set(have) & set(want)
    wanted = _by_canonical(want, modality)
    held = _by_canonical(have, modality)
    for canonical, names in wanted.items():
        candidates = held.get(canonical, [])
        for side, found in (("the data", candidates), ("the wanted channels", names)):
            if len(found) > 1 and candidates and not literal.issuperset(found):
                raise ChannelError(
                    f"expected one channel {canonical} in {side}, got {len(found)} spellings of it: {listed(found)}; "
                    "rename or drop all but one"
                )
    position = {name: i for i, name in enumerate(have)}
    index: list[int | None] = []
    for name in want:
        candidates = [name] if name in position else held.get(canonical_name(name, modality), [])
        index.append(position[candidates[0]] if candidates else None)
    used = {i for i in index if i is not None}
    return ChannelMatch(
        index=tuple(index),
        missing=tuple(name for name, i in zip(want, index, strict=True) if i is None),
        extra=tuple(name for i, name in enumerate(have) if i not in used),
        renamed={have[i]: name for name, i in zip(want, index, strict=True) if i is not None and have[i] != name},
    )


def _by_canonical(names: Iterable[str], modality: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(canonical_name(name, modality), []).append(name)
    return groups


def listed(names: Iterable[str], shown: int = _SHOWN) -> str:
    """Names for a message of one line: the first eight, or as many as said, and how many more."""
    names = list(names)
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
