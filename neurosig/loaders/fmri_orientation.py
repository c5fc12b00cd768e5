"""Which way a table of region series lies, by its numbers alone: time is smooth, the order of regions is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from neurosig.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ORIENTATIONS", "OpenedTable", "Smoothness", "is_connectivity", "oriented", "smoothness"]

ORIENTATIONS = ("rows_are_volumes", "rows_are_regions")

_FEWEST = 10  # rows and columns, below which chance alone makes an axis look smooth
_SMOOTH = 0.1  # likeness of neighbours along an axis that may be time
_APART = 0.2  # by how much it must exceed that along the other axis


class OpenedTable(Protocol):
    """What a file held: ``values`` of two axes, ``names`` of its columns or None, ``notes`` on how it was taken."""

    values: np.ndarray
    names: list[str] | None
    notes: dict[str, Any]


@dataclass(frozen=True)
class Smoothness:
    """How alike neighbours are along each axis of a table.

    Parameters
    ----------
    down, across : float
        Likeness of one row to the next, and of one column to the next: the lower quartile of their correlations.
    """

    down: float
    across: float

    @property
    def orientation(self) -> str | None:
        """Where the numbers tell it clearly, "rows_are_volumes" or "rows_are_regions"; else None."""
        if max(self.down, self.across) < _SMOOTH or abs(self.down - self.across) < _APART:
            return None
        return "rows_are_volumes" if self.down > self.across else "rows_are_regions"

    def words(self) -> str:
        """The finding, for a message."""
        return f"neighbouring rows are alike to {self.down:.2f}, neighbouring columns to {self.across:.2f}"


def smoothness(values: np.ndarray) -> Smoothness | None:
    """Measure how alike neighbours are along both axes of a table.

    Along time every volume resembles the next. Regions resemble each other too, in patches and in pairs (left and
    right, say), but not everywhere along their order: so the lower quartile is compared, not the mean. Rows and columns
    are centred first, so that neither a signal common to all regions nor the regions' own levels count.

    Parameters
    ----------
    values : array of shape (n_rows, n_columns)
        The table; NaN stands for missing values.

    Returns
    -------
    Smoothness or None
        None where the table has too few rows or columns that vary.
    """
    import numpy as np

    there = np.isfinite(values)
    values = np.where(there, values, np.nan)[there.any(axis=1)][:, there.any(axis=0)].astype(float)
    if min(values.shape) < _FEWEST:
        return None
    values = _centred(np.nan_to_num(_centred(values)))
    for axis in (0, 1, 0, 1):  # no region and no volume, noisy or moved, outweighs the others
        size = np.sqrt((values**2).mean(axis=axis, keepdims=True))
        values = values / np.where(size > 0, size, 1.0)
    values = _centred(values)
    found = [_likeness(values), _likeness(values.T)]
    return None if None in found else Smoothness(*found)  # type: ignore[arg-type]


def _centred(values: np.ndarray) -> np.ndarray:
    import numpy as np

    values = values - np.nanmean(values, axis=0, keepdims=True)
    return values - np.nanmean(values, axis=1, keepdims=True)


def _likeness(rows: np.ndarray) -> float | None:
    """Lower quartile of the correlations of each row with the next."""
    import numpy as np

    length = np.sqrt((rows**2).sum(axis=1))
    rows = rows[length > 1e-9 * length.max(initial=0)]
    if len(rows) < _FEWEST:
        return None
    rows = rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return float(np.percentile((rows[1:] * rows[:-1]).sum(axis=1), 25))


def oriented(
    table: OpenedTable, label: str, names: list[str] | None, orientation: str | None
) -> tuple[np.ndarray, list[str] | None]:
    """Turn a table so that regions come first.

    Parameters
    ----------
    table : OpenedTable
        Its ``notes`` are told where smoothness decided, or speaks against what was said.
    label : str
        What it is called, for messages.
    names : list of str, or None
        Region names, by the caller.
    orientation : {"rows_are_volumes", "rows_are_regions"}, or None
        By the caller.

    Returns
    -------
    series : array of shape (n_regions, n_volumes)
    names : list of str, or None

    Raises
    ------
    InputError
        It may lie either way, is connectivity by its look, or names do not fit.
    """
    rows, columns = table.values.shape
    if orientation is None and is_connectivity(table.values):
        raise InputError(
            f"{label} holds a symmetric matrix of {rows} × {columns}, connectivity by its look; the series that it was "
            "made of are expected. If these are series, say orientation='rows_are_volumes'"
        )
    told, by = (orientation, "as you said") if orientation else (_told_by_names(table, label, names), "by their names")
    found = smoothness(table.values)
    seen = None if found is None else found.orientation
    usual = told
    if told is None:
        usual = "rows_are_volumes" if rows > columns else None
        told, by = (usual, "as there are more rows") if seen is None else (seen, "by their smoothness")
        if told is None:
            raise InputError(
                f"{label} has {rows} rows and {columns} columns, no more volumes than regions if rows are volumes: is "
                "it transposed? Say orientation='rows_are_volumes' or orientation='rows_are_regions'"
            )
    if seen is not None and seen != usual:
        table.notes["orientation"] = _orientation_note(told, by, found, table)
    series = table.values if told == "rows_are_regions" else table.values.T
    if names is None and table.names is not None and len(table.names) == len(series):
        names = table.names
    if names is not None and len(names) != len(series):
        raise InputError(f"{label}: expected one name for each of {len(series)} regions, got {len(names)}")
    return series, names


def _orientation_note(taken: str, by: str, found: Any, table: OpenedTable) -> dict[str, Any]:
    """What is told of a table that lies otherwise than its shape, its names or its owner say."""
    other = next(one for one in ORIENTATIONS if one != taken)
    rows, columns = table.values.shape
    told = taken.replace("_", " ")
    if taken == found.orientation:
        text = f"{rows} × {columns} without names: {told} by their smoothness ({found.words()}); "
        text += f"if not, say orientation='{other}'"
    else:
        text = f"{told} {by}, but the other axis is the smooth one, as time is ({found.words()}): is it transposed? "
        text += f"Then say orientation='{other}'"
    against = taken != found.orientation or (taken == "rows_are_regions" and rows > columns)
    return {
        "taken": taken, "against": against, "down": round(found.down, 3), "across": round(found.across, 3),
        "told": text,
    }  # fmt: skip


def _told_by_names(table: OpenedTable, label: str, names: list[str] | None) -> str | None:
    """Which way the table lies as names tell: a header stands over regions, given names count them."""
    rows, columns = table.values.shape
    for count in (None if names is None else len(names), None if table.names is None else len(table.names)):
        if count is None or rows == columns == count:
            continue
        if count == columns:
            return "rows_are_volumes"
        if count == rows:
            raise InputError(
                f"{label} has {rows} rows and {columns} columns, and there are {count} region names: it is transposed; "
                "say orientation='rows_are_regions'"
            )
    return None


def is_connectivity(values: np.ndarray) -> bool:
    """Whether a table is a symmetric matrix."""
    import numpy as np

    rows, columns = values.shape
    return rows == columns > 1 and bool(np.allclose(values, values.T, equal_nan=True))
