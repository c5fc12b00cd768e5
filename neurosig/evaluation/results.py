"""What a benchmark found: a tidy table, its folds, and how to get them again."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError, StorageError
from neurosig.core.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Results", "read_table", "stored_run_key"]

_FORMAT = 1
_TABLE, _FOLDS, _META, _REPORT = "results.csv", "folds.csv", "results.json", "report.html"
_TEXT = (
    "subject",
    "session",
    "dataset",
    "pipeline",
    "evaluation",
    "condition",
    "kind",
    "paradigm",
    "folds",
    "metric",
    "error",
    "version",
    "test_counts",
    "chosen",
    "tested",
)


class Results:
    """Scores of pipelines on datasets.

    Parameters
    ----------
    table : DataFrame
        One row a subject, session and pipeline. MOABB's columns ``score, time, samples, samples_test, n_classes,
        subject, session, channels, n_sessions, dataset, pipeline``, and ``evaluation, paradigm, folds, metric, chance,
        chance_upper, score_sd`` (over folds), ``n_folds, seconds_fit, seconds_score, peak_memory_mb, n_parameters,
        error, seed, version, tested, n_subjects``. A failed row has a NaN score and its reason in ``error``. Where
        ``tested`` is "fold" or "site" and not "subject", a row is the score of several people together: ``subject``
        names the fold or site, ``n_subjects`` counts the people.
    folds : DataFrame
        One row a fold and scored session.
    meta : dict
        JSON-like: cards of ``datasets`` and ``pipelines``, ``command``, ``versions``, ``seed``, ``evaluation``,
        ``folds`` and ``warnings``.
    """

    def __init__(self, table: pd.DataFrame, folds: pd.DataFrame, meta: Mapping[str, Any]):
        self.table = table
        self.folds = folds
        self.meta = dict(meta)

    def __repr__(self) -> str:
        def number(column: str) -> str:
            n = self.table[column].nunique()
            return f"{n} {column}{'' if n == 1 else 's'}"

        failed = f", {int(self.table['score'].isna().sum())} rows failed" if self.table["score"].isna().any() else ""
        people = number("subject")
        if "tested" in self.table and len(kinds := set(self.table["tested"]) - {"subject"}) == 1:
            units = self.table["subject"].nunique()
            people = f"{units} {kinds.pop()}{'' if units == 1 else 's'} of several people"
        return f"<Results: {number('pipeline')}, {number('dataset')}, {people}{failed}>"

    def _repr_html_(self) -> str:
        import html

        ranking = self.summary()
        return f"<p>{html.escape(repr(self))}</p>{ranking.to_html(index=False, float_format='{:.3f}'.format, border=0)}"

    @property
    def failed(self) -> pd.DataFrame:
        """The rows without a score: dataset, subject, session, pipeline and error."""
        return self.table.loc[self.table["score"].isna(), ["dataset", "subject", "session", "pipeline", "error"]]

    @property
    def warnings(self) -> list[str]:
        """What to keep in mind when reading the scores, from the run (``meta["warnings"]``) and from the table."""
        from neurosig.evaluation.cautions import cautions

        return [*self.meta.get("warnings", ()), *cautions(self.table, self.meta)]

    def summary(self) -> pd.DataFrame:
        """Mean, spread and 95 % interval over subjects, a row a dataset and pipeline, best first.

        Returns
        -------
        DataFrame
            See `neurosig.evaluation.statistics.summarize`.
        """
        from neurosig.evaluation.statistics import summarize

        return summarize(self.table)

    def compare(self) -> pd.DataFrame:
        """All pairs of pipelines, compared across the subjects that both have scores for.

        Returns
        -------
        DataFrame
            See `neurosig.evaluation.statistics.compare`. Pipelines that end in a dummy of scikit-learn are in a family
            of tests of their own, and make no comparison of the others harder.
        """
        from neurosig.evaluation.cards import dummies_of
        from neurosig.evaluation.statistics import compare

        return compare(self.table, dummies=dummies_of(self.meta))

    def plot(self) -> Figure:
        """Every subject's score with every pipeline, best pipeline first, beside chance; a panel a dataset.

        Returns
        -------
        matplotlib.figure.Figure
            The figure that the report shows too, see `neurosig.reports.figures.plot_subjects`.

        Raises
        ------
        InputError
            If there is no score to draw.
        """
        from neurosig.reports.figures import plot_subjects

        if self.table["score"].isna().all():
            raise InputError(f"no score to draw: all {len(self.table)} rows failed; see Results.failed")
        metrics = self.table["metric"].unique()
        order = list(dict.fromkeys(self.summary()["pipeline"]))
        return plot_subjects(self.table, order=order, metric=metrics[0] if len(metrics) == 1 else None)

    def report(self, path: str | os.PathLike) -> Path:
        """Write the self-contained HTML report.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        Path
            The same.

        Raises
        ------
        StorageError
            If the place cannot be written.
        """
        from neurosig.reports.benchmark import write_benchmark_report

        return write_benchmark_report(self, path)

    def save(self, folder: str | os.PathLike) -> Path:
        """Write ``results.csv``, ``folds.csv`` and ``results.json`` into a folder.

        A report of other results that lies there is removed.

        Parameters
        ----------
        folder : path
            Created if need be.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        StorageError
            If the place cannot be written.
        """
        folder = Path(folder)
        previous = _read_meta(folder)
        sums = {}
        for name, frame in ((_TABLE, self.table), (_FOLDS, self.folds)):
            text = frame.to_csv(index=False, lineterminator="\n")
            sums[name] = hashlib.sha256(text.encode()).hexdigest()
            atomic_write(folder / name, text)
        stored = {"format": _FORMAT, "files": sums, "meta": self.meta}
        if previous is None or previous["files"].get(_TABLE) != sums[_TABLE]:
            (folder / _REPORT).unlink(missing_ok=True)
        atomic_write(folder / _META, json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False))
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Results:
        """Read what `save` wrote.

        Parameters
        ----------
        folder : path
            The ``--out`` of ``neurosig benchmark``, or where `save` wrote.

        Returns
        -------
        Results
            As they were saved.

        Raises
        ------
        StorageError
            If the folder holds no results, or they are damaged or incomplete.
        """
        folder = Path(folder)
        stored = _read_meta(folder)
        if stored is None:
            raise StorageError(
                f"{folder} holds no results: expected {_META}, written by neurosig benchmark --out {folder}"
            )
        frames = [read_table(folder / name, stored["files"].get(name)) for name in (_TABLE, _FOLDS)]
        return cls(frames[0], frames[1], stored["meta"])


def stored_run_key(folder: str | os.PathLike) -> str | None:
    """Key of the complete results in a folder; None where there are none. Nothing heavy is imported."""
    stored = _read_meta(Path(folder))
    return None if stored is None else stored["meta"].get("run_key")


def _read_meta(folder: Path) -> dict[str, Any] | None:
    try:
        stored = json.loads((folder / _META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    usable = isinstance(stored, dict) and stored.get("format") == _FORMAT
    usable = usable and isinstance(stored.get("meta"), dict) and isinstance(stored.get("files"), dict)
    return stored if usable else None


def read_table(path: Path, expected: str | None) -> pd.DataFrame:
    """A table that was stored with the checksum `expected`, with the numbers that were written."""
    import pandas as pd

    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}; run the benchmark again") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise StorageError(
            f"{path} is not the file that {_META} beside it describes; run the benchmark again to restore it"
        )
    frame = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    for name in frame.columns.difference(list(_TEXT), sort=False):
        frame[name] = _numbers(frame[name])
    return frame


def _numbers(texts: Iterable[str]) -> list[float] | list[int]:
    # Python reads back exactly what was written; the parsers of pandas did so only from some version on
    values = [float(text) if text else math.nan for text in texts]
    whole = all(text.lstrip("-").isdecimal() for text in texts)
    return [int(value) for value in values] if whole else values
