"""The table of the runs: whose they are, what is known of the people, and which label each has."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import UsageError
from neurosig.loaders.fmri_bids import participants
from neurosig.loaders.fmri_clean import check_t_r, settled_t_r
from neurosig.loaders.fmri_files import RunFile
from neurosig.loaders.fmri_people import labels_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["column_of", "labelled", "run_labels", "run_table", "run_times", "times_among", "with_columns"]

_TIMES = ("t_r", "tr", "TR", "RepetitionTime", "repetition_time")  # what columns of repetition times are called


def run_table(found: Sequence[RunFile]) -> pd.DataFrame:
    """Subject, session, run and (where names tell it) task of each run."""
    import pandas as pd

    table = pd.DataFrame({key: [getattr(item, key) for item in found] for key in ("subject", "session", "run")})
    if any(item.task for item in found):
        table["task"] = [item.task for item in found]
    return table


def with_columns(table: pd.DataFrame, metadata: Any, root: Path | None) -> pd.DataFrame:
    """Metadata with the columns that were passed, and those of participants.tsv."""
    import pandas as pd

    if metadata is not None:
        given = pd.DataFrame(metadata).reset_index(drop=True)
        if len(given) != len(table):
            raise UsageError(f"metadata must have one row for each of {len(table)} runs, got {len(given)}")
        for column in given:
            values = given[column]
            known = str(column) in ("subject", "session", "run")
            table[str(column)] = values.astype(str).to_numpy() if known else values.to_numpy()
        if (same := table.duplicated(["subject", "session", "run"], keep=False)).any():
            # one run a person is the usual table of people: number those that are more
            table.loc[same, "run"] = table[same].groupby(["subject", "session"]).cumcount().astype(str)
    people = participants(root) if root is not None else None
    if people is not None:
        found = people.reindex(table["subject"])
        if absent := sorted(set(table["subject"]) - set(people.index)):
            warnings.warn(f"participants.tsv does not name the subjects {listed(absent)}", stacklevel=3)
        for column in people.columns:
            if str(column) not in table:
                table[str(column)] = found[column].to_numpy()
    return table


def times_among(table: pd.DataFrame, source: str) -> list[float | None] | None:
    """Repetition times that a column of a table states.

    Parameters
    ----------
    table : DataFrame
        A row a run.
    source : str
        What the table is called, for messages.

    Returns
    -------
    list of float or None, or None
        Seconds, None where a cell is empty; None where there is no such column.

    Raises
    ------
    UsageError
        A value that is no repetition time in seconds.
    """
    column = next((name for name in _TIMES if name in table), None)
    if column is None:
        return None
    return [_seconds(value, f"column {column!r} of {source}") for value in table[column].tolist()]


def run_times(t_r: Any, table: pd.DataFrame, files: Sequence[str]) -> list[float | None]:
    """The repetition time that each run is told: by the caller, or by a column of the runs' table.

    Parameters
    ----------
    t_r : float, sequence of float, or None
        For all runs, or one a run.
    table : DataFrame
        Metadata of the runs; a column ``t_r`` (``tr``, ``RepetitionTime``) holds seconds.
    files : sequence of str
        What the runs are called.

    Returns
    -------
    list of float or None
        Seconds; None where only the file may say it. Where caller and column differ, the caller's holds, and a warning
        tells so.

    Raises
    ------
    UsageError
        Not one a run, or no repetition time in seconds.
    """
    column = times_among(table, "the runs' table (participants.tsv, metadata)") or [None] * len(files)
    if t_r is None:
        return column
    if not hasattr(t_r, "__len__") or isinstance(t_r, str):
        given: list[float | None] = [check_t_r(t_r, "t_r")] * len(files)
    elif len(t_r) != len(files):
        raise UsageError(f"t_r must be one number, or one for each of {len(files)} runs, got {len(t_r)}")
    else:
        given = [_seconds(value, f"t_r of {name}") for value, name in zip(t_r, files, strict=True)]
    return [
        settled_t_r(one, told, name, "the runs' table") for one, told, name in zip(given, column, files, strict=True)
    ]


def _seconds(value: Any, source: str) -> float | None:
    return None if value is None or value != value else check_t_r(value, source)


def run_labels(labels: Any, table: pd.DataFrame) -> np.ndarray:
    """One label a run; None or NaN where there is none."""
    import pandas as pd

    if isinstance(labels, str):
        if labels in ("subject", "session", "run", "task") and labels in table:
            return table[labels].astype(str).to_numpy(dtype=object)
        return labels_of(table, labels, "the table of the runs (participants.tsv, metadata)")
    if isinstance(labels, pd.Series) and set(map(str, labels.index)) >= set(table["subject"]):
        labels = {str(key): value for key, value in labels.items()}
    if isinstance(labels, Mapping):
        known = {str(key).removeprefix("sub-"): value for key, value in labels.items()}
        values = [known.get(subject) for subject in table["subject"]]
        if all(value is None for value in values):
            who = listed(sorted(set(table["subject"])), 6)
            raise UsageError(
                f"labels name {listed(list(known), 6)}, the subjects of these runs are {who}: name these, or say whose "
                "the runs are, metadata={'subject': [...]}"
            )
    else:
        values = list(labels)
        if len(values) != len(table):
            raise UsageError(f"labels must be one for each of {len(table)} runs, got {len(values)}")
    return labels_of(pd.DataFrame({"label": values}), "label", "labels")


def labelled(y: np.ndarray, table: pd.DataFrame) -> list[int]:
    """Positions of the runs that have a label; a warning names the others."""
    keep = [i for i, label in enumerate(y) if label is not None and label == label]
    if len(keep) < len(y):
        left = sorted(set(range(len(y))) - set(keep))
        who = list(dict.fromkeys(str(table["subject"].iloc[i]) for i in left))
        files = f" ({listed([str(table['file'].iloc[i]) for i in left], 3)})" if "file" in table else ""
        warnings.warn(
            f"{len(left)} of {len(y)} runs have no label and are left out: subjects {listed(who)}{files}",
            stacklevel=3,
        )
    return keep


def column_of(values: list[Any]) -> Any:
    """Values as a column; tuples stay what they are."""
    import pandas as pd

    if any(isinstance(value, tuple) for value in values) or all(value is None for value in values):
        return pd.Series(values, dtype=object)
    return pd.Series(values)
