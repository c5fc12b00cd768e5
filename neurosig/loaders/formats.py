"""Files that mne reads: check that a file is what its name says, open it lazily, and turn failures into one line."""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError
from neurosig.loaders.recordings import Opened, ReadOptions, Recording

if TYPE_CHECKING:
    import mne

__all__ = ["OF_FMRI", "SUFFIXES", "check_content", "collect_notes", "open_mne", "reading", "sniff"]

# said where no recording is found, which may be meant for fMRI
OF_FMRI = (
    "of fMRI images (.nii, .nii.gz, .gii) or tables of region series (.1D, .tsv, .npy; .csv, .npz and others where t_r "
    "or another option of fMRI is given)"
)

# what mne.io.read_raw opens by name, without the suffixes that half of the world's text files carry
SUFFIXES = (
    ".edf",
    ".bdf",
    ".gdf",
    ".vhdr",
    ".ahdr",
    ".fif",
    ".fif.gz",
    ".set",
    ".cnt",
    ".mff",
    ".sqd",
    ".con",
    ".ds",
    ".mefd",
    ".nxe",
    ".snirf",
    ".cdt",
    ".nedf",
    ".lay",
    ".ns3",
    ".npz",
    ".csv",
    ".csv.gz",
    ".xdf",
    ".xdfz",
)

_KINDS = {  # format: (suffixes it may carry, how its first bytes look)
    "EDF": ((".edf", ".rec"), re.compile(rb"0       ")),
    "BDF": ((".bdf",), re.compile(rb"\xffBIOSEMI")),
    "GDF": ((".gdf",), re.compile(rb"GDF ")),
    "FIF": ((".fif",), re.compile(rb"\x00\x00\x00\x64\x00\x00\x00\x1f")),
    "BrainVision": ((".vhdr", ".ahdr"), re.compile(rb"(\xef\xbb\xbf)?Brain ?Vision", re.IGNORECASE)),
    "EEGLAB": ((".set",), re.compile(rb"MATLAB 5\.0|\x89HDF\r\n|MATLAB 7\.3")),
    "XDF": ((".xdf",), re.compile(rb"XDF:")),
    "gzip": ((".fif.gz", ".csv.gz", ".xdfz"), re.compile(rb"\x1f\x8b")),
    "zip (npz)": ((".npz",), re.compile(rb"PK\x03\x04")),
}

# readers quote the participant's columns and dates in their warnings; those are nobody's business here
_PERSONAL = re.compile(
    r"Unable to map the following column|participant|birthday|\b(age|sex)\b|meas\w*[_ ]date", re.IGNORECASE
)


def sniff(path: Path) -> str | None:
    """The format that the file's first bytes belong to, or None where they tell nothing."""
    with path.open("rb") as stream:
        head = stream.read(64)
    return next((kind for kind, (_, magic) in _KINDS.items() if magic.match(head)), None)


@contextlib.contextmanager
def collect_notes(notes: list[str]) -> Iterator[None]:
    """Turn what readers warn of, or tell mne's log, into notes: one line each, each once, nothing about persons."""

    def add(text: str) -> None:
        line = " ".join(text.split()).split(" The search strings were")[0]
        if line not in notes and not _PERSONAL.search(line):
            notes.append(line)

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            add(record.getMessage())
        return False

    handlers = list(logging.getLogger("mne").handlers)  # mne repeats its warnings on standard output through these
    for handler in handlers:
        handler.addFilter(keep)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(keep)
    for warning in caught:
        if issubclass(warning.category, UserWarning | RuntimeWarning):
            add(str(warning.message))


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a reader raises on a broken file into one `InputError`."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # readers fail on broken files with everything from KeyError to struct.error
        reason = " ".join(f"{error}".split())[:200].rstrip(".") or type(error).__name__
        raise InputError(
            f"cannot read {path} as {what}: {reason}; the file is damaged, truncated or of another format, "
            "fetch or export it again"
        ) from error


def open_mne(recording: Recording) -> Opened:
    """Open a file of any format that mne reads, without loading its data."""
    path, options = recording.path, recording.options
    check_content(path)
    _check_suffix(path)
    import mne  # noqa: F401  (its log handlers must exist before they are listened to)

    notes: list[str] = []
    warned: list[str] = []
    if recording.bids_root is not None:
        what, reader = "BIDS", lambda: _read_bids(recording)
    else:
        what, reader = _reader(path, options)
    with collect_notes(warned), reading(path, what):
        raw = reader()
    if what in ("EDF", "BDF", "BIDS") and path.suffix.lower() in (".edf", ".bdf"):
        _check_edf_length(path)
    if path.suffix.lower() == ".vhdr":
        _check_brainvision_length(path, raw)
    if options.unit not in (None, "V") and what not in ("EDF", "BDF"):
        raw.load_data(verbose="error")
        raw.apply_function(lambda x: x * options.volts("V"), picks="data", channel_wise=False, verbose="error")
        notes.append(f"numbers taken as {options.unit}, as the options say")
    return Opened(raw, what, tuple(notes), tuple(warned))


def check_content(path: Path) -> None:
    """Refuse a file whose first bytes are of another format than its name says."""
    name = path.name.lower()
    kind = sniff(path) if path.is_file() else None
    if kind is not None and kind != "gzip" and not name.endswith(_KINDS[kind][0]):
        if name.endswith(".mat") and kind == "EEGLAB":
            return
        raise InputError(
            f"{path.name} holds {kind} data, its name says {path.suffix or 'nothing'}: rename it to "
            f"{_KINDS[kind][0][0]}"
        )
    expected = [(known, magic) for known, (suffixes, magic) in _KINDS.items() if name.endswith(suffixes)]
    if path.is_file() and expected and kind is None:
        with path.open("rb") as stream:
            head = stream.read(24)
        raise InputError(
            f"{path.name} is not {expected[0][0]}: its first bytes are {head!r}; it was renamed, damaged, or saved by "
            "another program as text"
        )


def _check_suffix(path: Path) -> None:
    """Refuse a name that no reader of mne takes, with the file to give instead where that is known."""
    from mne.io._read_raw import split_name_ext

    name = path.name.lower()
    if name.endswith((".vmrk", ".eeg", ".amrk")) and (header := path.with_suffix(".vhdr")).exists():
        raise InputError(f"{path.name} is a part of a BrainVision recording: give its header {header.name} instead")
    if name.endswith(".fdt"):
        raise InputError(f"{path.name} holds the samples of an EEGLAB recording: give its .set file instead")
    if split_name_ext(path)[1] is None and _bti_files(path) is None:
        raise InputError(
            f"{path.name}: no reader takes this kind of file; expected one of {', '.join(SUFFIXES)}, or a folder of "
            f"them; {OF_FMRI}"
        )


def _reader(path: Path, options: ReadOptions) -> tuple[str, Callable[[], mne.io.BaseRaw]]:
    """The format's name, and a call that opens the file lazily."""
    import mne
    from mne.io._read_raw import _get_readers, split_name_ext

    if (bti := _bti_files(path)) is not None:
        return "BTi/4D", lambda: mne.io.read_raw_bti(path, rename_channels=False, **bti, verbose="warning")
    readers = _get_readers()[split_name_ext(path)[1]]
    keywords: dict[str, Any] = {}
    functions = list(readers.values())
    if len(functions) == 1:
        accepted = inspect.signature(functions[0]).parameters
        if "infer_types" in accepted:
            keywords["infer_types"] = True  # "EEG Fp1" is Fp1 of type eeg, "ECG" is not an electrode on the head
        if "units" in accepted and options.unit is not None:
            keywords["units"] = {"µV": "uV"}.get(options.unit, options.unit)
        if functions[0] is mne.io.read_raw_kit:
            keywords.update(_kit_files(path))
    what = {"brainvision": "BrainVision", "NihonKoden": "Nihon Kohden"}.get(next(iter(readers)), " or ".join(readers))
    return what, lambda: mne.io.read_raw(path, preload=False, verbose="warning", **keywords)


def _bti_files(path: Path) -> dict[str, Path | None] | None:
    """Companions of a BTi/4D recording, which has no suffix: its config file and, where it is there, the head shape."""
    if path.suffix or not path.is_file() or not re.search(r"(^|_)pdf(_|$)|^[ce],rf", path.name):
        return None
    config = path.with_name(path.name.replace("pdf", "config") if "pdf" in path.name else "config")
    shape = path.with_name(path.name.replace("pdf", "hs") if "pdf" in path.name else "hs_file")
    if not config.is_file():
        return None
    return {"config_fname": config, "head_shape_fname": shape if shape.is_file() else None}


def _kit_files(path: Path) -> dict[str, Path]:
    """Marker, electrode and head shape files that carry the recording's name; mne takes them together or not at all."""
    files = {
        "mrk": path.with_name(f"{path.stem}_mrk.sqd"),
        "elp": path.with_suffix(".elp"),
        "hsp": path.with_suffix(".hsp"),
    }
    return files if all(file.is_file() for file in files.values()) else {}


def _read_bids(recording: Recording) -> mne.io.BaseRaw:
    import mne_bids

    place = mne_bids.get_bids_path_from_fname(recording.path, check=False)
    place.update(root=recording.bids_root)
    return mne_bids.read_raw_bids(place, verbose="warning")


def _check_edf_length(path: Path) -> None:
    """Refuse an EDF or BDF file that is shorter than its own header promises; mne would read what is left."""
    width = 3 if path.suffix.lower() == ".bdf" else 2
    with path.open("rb") as stream:
        fixed = stream.read(256)
        header, records, channels = int(fixed[184:192]), int(fixed[236:244]), int(fixed[252:256])
        stream.seek(256 + 216 * channels)
        samples = sum(int(stream.read(8)) for _ in range(channels))
    expected, size = header + records * samples * width, path.stat().st_size
    if records >= 0 and size < expected:  # -1 records: the recorder was not stopped, the file ends where it ends
        raise InputError(
            f"{path.name} is truncated: its header promises {expected} bytes ({records} records), the file has {size}; "
            "fetch or copy it again"
        )


def _check_brainvision_length(path: Path, raw: mne.io.BaseRaw) -> None:
    """Refuse samples that end within a frame, or more than a second before the last marker; mne reads what is left."""
    header = path.read_bytes().decode("latin-1")  # only ASCII keys and numbers are looked for
    fields = {key: re.search(rf"^{key}=(.*?)\s*$", header, re.MULTILINE) for key in ("BinaryFormat", "MarkerFile")}
    width = {"INT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}.get(
        fields["BinaryFormat"][1] if fields["BinaryFormat"] else ""
    )
    samples = Path(raw.filenames[0])
    if width is not None and (left := samples.stat().st_size % (width * len(raw.ch_names))):
        raise InputError(
            f"{samples.name} is truncated: its last sample has {left} of {width * len(raw.ch_names)} bytes; copy it "
            "again"
        )
    marker = path.with_name(fields["MarkerFile"][1].replace("$b", path.stem)) if fields["MarkerFile"] else path
    if marker == path or not marker.is_file():
        return
    places = re.findall(r"^Mk\d+=[^,\r\n]*,[^,\r\n]*,(\d+)", marker.read_bytes().decode("latin-1"), re.MULTILINE)
    last = max(map(int, places), default=0)
    if last > raw.n_times + raw.info["sfreq"]:  # a recorder's closing marker may lie just behind the last sample
        raise InputError(
            f"{samples.name} is truncated: it ends after {raw.n_times} samples, {marker.name} has a marker at sample "
            f"{last}; copy it again"
        )
