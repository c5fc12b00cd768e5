"""Tables of people beside their recordings: phenotypes by subject, and which column of them is to be decoded."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["labels_of", "read_people"]

_OF_RUNS = ("file", "t_r", "n_volumes", "kept", "onset", "duration")  # columns that nobody decodes
_FEW = 10  # whole numbers of at most so many values are names of classes


def read_people(path: str | Path, key: str, missing: Sequence[Any] = ()) -> pd.DataFrame:
    """Read a table of people.

    Parameters
    ----------
    path : path-like
        CSV or TSV with a row a person.
    key : str
        Column of their names; a leading ``sub-`` is left out.
    missing : sequence
        Values that stand for missing ones, beside ``n/a`` and empty cells.

    Returns
    -------
    DataFrame
        Indexed by the names, as text; the key column is not among its columns.

    Raises
    ------
    InputError
        If it cannot be read, has no such column, or a person twice.
    """
    import pandas as pd

    path = Path(path)
    try:
        separator = "\t" if ".tsv" in path.name else ","
        unknown = ["n/a", *map(str, missing)]
        table = pd.read_csv(path, sep=separator, na_values=unknown, dtype={key: str}, encoding="utf-8-sig")
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a table of people: {' '.join(str(error).split())}") from error
    if key not in table:
        raise InputError(
            f"{path.name}: expected a column {key!r} with the names of the subjects; it has "
            f"{listed(map(str, table.columns), 12)}"
        )
    names = table[key].astype(str).str.removeprefix("sub-")
    if names.duplicated().any():
        raise InputError(f"{path.name}: {names[names.duplicated()].iloc[0]} stands there twice; keep one row a person")
    return table.drop(columns=key).set_index(names.to_numpy())


def labels_of(table: pd.DataFrame, column: str, source: str) -> np.ndarray:
    """A column as labels.

    Parameters
    ----------
    table : DataFrame
        A row a run.
    column : str
        Its name.
    source : str
        What the table is called, for messages.

    Returns
    -------
    array of shape (n_rows,)
        Of float where the column holds numbers with fractions, or whole numbers of more than ten values; else of
        object, class names as text. Missing labels are NaN, or None.

    Raises
    ------
    UsageError
        If there is no such column, or nothing in it.
    """
    import numpy as np
    import pandas as pd

    if column not in table:
        there = [str(name) for name in table.columns if name not in _OF_RUNS]
        near = get_close_matches(column, there, 1, 0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"{source} has no column {column!r}: {hint}it has {listed(there, 20) or 'none of people'}")
    values = table[column]
    there = values.notna().to_numpy()
    if not there.any():
        raise UsageError(f"{source}: the column {column!r} is empty for all of these runs; choose another")
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=float)
        whole = bool((numbers[there] == np.round(numbers[there])).all())
        if not whole or len(np.unique(numbers[there])) > _FEW:
            return numbers
        texts = [f"{value:.0f}" if known else None for value, known in zip(numbers, there, strict=True)]
    else:
        texts = [str(value) if known else None for value, known in zip(values.tolist(), there, strict=True)]
    return np.array(texts, dtype=object)
