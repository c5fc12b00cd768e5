"""The table of the runs: whose they are, what is known of the people, and which label each has."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import UsageError
from neurosig.loaders.fmri_bids import participants
from neurosig.loaders.fmri_files import RunFile
from neurosig.loaders.fmri_people import labels_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["column_of", "labelled", "run_labels", "run_table", "with_columns"]


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
    else:
        values = list(labels)
        if len(values) != len(table):
            raise UsageError(f"labels must be one for each of {len(table)} runs, got {len(values)}")
    return labels_of(pd.DataFrame({"label": values}), "label", "labels")


def labelled(y: np.ndarray, table: pd.DataFrame) -> list[int]:
    """Positions of the runs that have a label; a warning names the others."""
    keep = [i for i, label in enumerate(y) if label is not None and label == label]
    if len(keep) < len(y):
        who = sorted({str(table["subject"].iloc[i]) for i in set(range(len(y))) - set(keep)})
        warnings.warn(
            f"{len(y) - len(keep)} of {len(y)} runs have no label and are left out: subjects {listed(who)}",
            stacklevel=3,
        )
    return keep


def column_of(values: list[Any]) -> Any:
    """Values as a column; tuples stay what they are."""
    import pandas as pd

    if any(isinstance(value, tuple) for value in values) or all(value is None for value in values):
        return pd.Series(values, dtype=object)
    return pd.Series(values)
