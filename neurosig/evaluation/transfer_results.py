"""What a transfer study found: a tidy table, what follows from it, and how to get it again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import StorageError
from neurosig.core.files import atomic_write
from neurosig.evaluation import transfer_tables as tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from neurosig.evaluation.ranking import Ranking

__all__ = ["TransferResults", "is_transfer"]

_FORMAT = 1
_TABLE, _STATISTICS, _RANKING, _META = "results.csv", "statistics.csv", "ranking.csv", "results.json"
_REPORT = "report.html"
_FEW_SUBJECTS, _FEW_SEEDS = 10, 3


class TransferResults:
    """Scores of pipelines learned within people, transferred and fine-tuned.

    Parameters
    ----------
    table : DataFrame
        One row a subject, fold, pipeline, seed and condition: ``dataset, subject, group`` (who was left out together),
        ``fold, n_folds, pipeline, kind`` ("network", "classical" or "chance", a dummy), ``seed, condition, metric,
        score`` (of trials),
        ``score_windows`` (of single windows, NaN without), ``chance, chance_upper`` (of the fold), ``n_train, n_test,
        n_windows, test_counts`` (JSON), ``pretrained_on`` (people), ``seconds_fit, seconds_pretraining, n_epochs,
        best_epoch, n_parameters, error``. A failed row has a NaN score.
    meta : dict
        JSON-like: ``dataset, pipelines, protocol, command, versions, created, seconds, warnings``.
    """

    def __init__(self, table: pd.DataFrame, meta: Mapping[str, Any]):
        self.table = table
        self.meta = dict(meta)

    def __repr__(self) -> str:
        numbers = [(self.table[name].nunique(), name) for name in ("pipeline", "condition", "subject", "seed")]
        told = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for n, name in numbers)
        failed = int(self.table["score"].isna().sum())
        return f"<TransferResults: {told}{f', {failed} rows failed' if failed else ''}>"

    def _repr_html_(self) -> str:
        import html

        summary = self.summary().to_html(index=False, float_format="{:.3f}".format, border=0)
        return f"<p>{html.escape(repr(self))}</p>{summary}"

    @property
    def failed(self) -> pd.DataFrame:
        """The rows without a score: subject, fold, pipeline, seed, condition and error."""
        names = ["dataset", "subject", "fold", "pipeline", "seed", "condition", "error"]
        return self.table.loc[self.table["score"].isna(), names]

    @property
    def has_windows(self) -> bool:
        """Whether trials were cut into windows, so that there are scores of single ones."""
        return bool(self.table["n_windows"].any())

    @property
    def warnings(self) -> list[str]:
        """What to keep in mind when reading the scores, from the run and from the table."""
        lines = list(self.meta.get("warnings", ()))
        n_subjects, n_seeds = self.table["subject"].nunique(), self.table["seed"].nunique()
        if n_subjects < _FEW_SUBJECTS:
            lines.append(
                f"few subjects (n = {n_subjects}), so intervals are wide, and no paired test over them gives a p below "
                f"{2 / 2**n_subjects:.2g}"
            )
        networks = bool((self.table["kind"] == "network").any())
        if networks and n_seeds < _FEW_SEEDS:
            lines.append(
                f"{'one seed' if n_seeds == 1 else f'{n_seeds} seeds'}: how much scores depend on the random start of "
                "a network is not known; use three or more"
            )
        protocol = self.meta.get("protocol", {})
        groups = protocol.get("groups") or []
        fewest = min((n_subjects - len(group) for group in groups), default=0)
        if networks and groups and fewest < 5:
            lines.append(f"some networks are pretrained on {fewest} {'person' if fewest == 1 else 'people'} only")
        if (limit := protocol.get("max_epochs")) is not None:
            epochs = self.table["n_epochs"].dropna()
            stopped = int((epochs >= limit).sum())
            if stopped:
                lines.append(
                    f"a quick look: epochs were limited to {limit} (max_epochs), which {stopped} of {len(epochs)} rows "
                    "of networks reached; their scores say little about these networks"
                )
        if protocol.get("faster_both"):
            lines += _unmoved(self.table)
        for name, rows in self.failed.groupby("pipeline", sort=False):
            total = int((self.table["pipeline"] == name).sum())
            lines.append(f"{name} failed in {len(rows)} of {total} rows: {rows['error'].iloc[0]}")
        return lines

    def summary(self, level: str = "trial") -> pd.DataFrame:
        """Mean, spreads, chance and improvement over it; see `transfer_tables.summarize_conditions`."""
        return tables.summarize_conditions(self.table, level)

    def effects(self, level: str = "trial", correction: str = "holm") -> pd.DataFrame:
        """Effect of transfer for each pipeline and condition; see `transfer_tables.effects`."""
        return tables.effects(self.table, level, correction)

    def person_effects(self, level: str = "trial") -> pd.DataFrame:
        """Effect of transfer for each person; see `transfer_tables.person_effects`."""
        return tables.person_effects(self.table, level)

    def compare(self, level: str = "trial", correction: str = "holm") -> pd.DataFrame:
        """All pairs of pipelines within each condition; see `transfer_tables.compare_pipelines`."""
        return tables.compare_pipelines(self.table, level, correction)

    def rankings(self, level: str = "trial") -> dict[str, Ranking]:
        """Ranks of the pipelines by condition; see `transfer_tables.rankings`."""
        return tables.rankings(self.table, level)

    def ranking_table(self, level: str = "trial") -> pd.DataFrame:
        """The ranks as a table.

        Returns
        -------
        DataFrame
            ``condition, pipeline, mean_rank, n, friedman_statistic, friedman_p, critical_difference``.
        """
        import pandas as pd

        rows = [
            {
                "condition": condition, "pipeline": name, "mean_rank": rank, "n": found.n,
                "friedman_statistic": found.statistic, "friedman_p": found.p,
                "critical_difference": found.critical_difference,
            }
            for condition, found in self.rankings(level).items() for name, rank in found.mean_ranks.items()
        ]  # fmt: skip
        names = ["condition", "pipeline", "mean_rank", "n", "friedman_statistic", "friedman_p", "critical_difference"]
        return pd.DataFrame(rows, columns=names)

    def plot(self, kind: str = "ranking") -> Figure:
        """One of the figures of the report.

        Parameters
        ----------
        kind : {"ranking", "effects"}
            Mean scores with intervals, a panel a condition; or each person within against transferred.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from neurosig.reports.transfer_figures import plot_conditions, plot_effects

        if kind == "effects":
            return plot_effects(self.person_effects(), metric=self.table["metric"].iloc[0])
        return plot_conditions(self.summary(), metric=self.table["metric"].iloc[0])

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
        from neurosig.reports.transfer import write_transfer_report

        return write_transfer_report(self, path)

    def statistics(self) -> pd.DataFrame:
        """All paired tests in one table.

        ``test`` names the family that p values are corrected for: pairs of "pipelines" and pipelines against "chance"
        (dummies), both by condition, and "transfer", conditions against within.
        """
        import pandas as pd

        pairs = self.compare().rename(columns={"family": "test", "pipeline_a": "a", "pipeline_b": "b"})
        conditions = tables.compare_conditions(self.table).assign(test="transfer", b="within")
        conditions = conditions.assign(a=conditions["condition"]).rename(
            columns={"mean_condition": "mean_a", "mean_within": "mean_b"}
        )
        names = [
            "test", "dataset", "condition", "pipeline", "a", "b", "n", "mean_a", "mean_b", "difference", "ci_low",
            "ci_high", "p_wilcoxon", "p_wilcoxon_corrected", "p", "p_corrected", "p_minimum", "effect_size",
            "rank_biserial", "note",
        ]  # fmt: skip
        known = [frame.reindex(columns=names).astype(object) for frame in (pairs, conditions) if len(frame)]
        return pd.concat(known, ignore_index=True) if known else pd.DataFrame(columns=names)

    def save(self, folder: str | os.PathLike) -> Path:
        """Write ``results.csv``, ``statistics.csv``, ``ranking.csv`` and ``results.json``; each in one step.

        A report of other results that lies there is removed.

        Raises
        ------
        StorageError
            If the place cannot be written.
        """
        folder = Path(folder)
        text = _csv(self.table)
        checksum = hashlib.sha256(text.encode()).hexdigest()
        previous = _read_meta(folder)
        if previous is None or previous["sha256"] != checksum:
            (folder / _REPORT).unlink(missing_ok=True)
        atomic_write(folder / _TABLE, text)
        scored = bool(self.table["score"].notna().any())
        if scored:
            atomic_write(folder / _STATISTICS, _csv(self.statistics()))
            atomic_write(folder / _RANKING, _csv(self.ranking_table()))
        stored = {
            "format": _FORMAT, "kind": "transfer", "sha256": checksum, "meta": self.meta,
            "summary": _records(self.summary()) if scored else [],
            "effects": _records(self.effects()) if scored else [],
        }  # fmt: skip
        atomic_write(folder / _META, json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False))
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike) -> TransferResults:
        """Read what `save` wrote.

        Raises
        ------
        StorageError
            If the folder holds no results of a transfer study, or they are damaged.
        """
        from neurosig.evaluation.results import read_table

        folder = Path(folder)
        stored = _read_meta(folder)
        if stored is None:
            raise StorageError(f"{folder} holds no results of a transfer study: expected {_META}")
        return cls(read_table(folder / _TABLE, stored["sha256"]), stored["meta"])


def _unmoved(table: pd.DataFrame) -> list[str]:
    """Pipelines for which cleaning in the folds made no difference at all."""
    scores = table.set_index(["dataset", "subject", "fold", "seed", "condition"])
    names = set(table["pipeline"])
    parts = {name: scores.loc[scores["pipeline"] == name, ["score", "score_windows"]].sort_index() for name in names}
    same = [
        name
        for name in table["pipeline"].unique()
        if f"{name} (FASTER)" in names and parts[name].equals(parts[f"{name} (FASTER)"])
    ]
    if not same:
        return []
    return [
        f"FASTER changed no score of {', '.join(same)}: nothing stood out far enough in these trials; with fewer than "
        "a dozen channels hardly anything can"
    ]


def is_transfer(folder: str | os.PathLike) -> bool:
    """Whether a folder holds results of a transfer study."""
    return _read_meta(Path(folder)) is not None


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n")


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON holds them: no not-a-number, numbers of Python."""
    from neurosig.evaluation.store import without_nan

    rows = [
        {str(name): value.item() if hasattr(value, "item") else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]
    return [without_nan(row) for row in rows]


def _read_meta(folder: Path) -> dict[str, Any] | None:
    try:
        stored = json.loads((folder / _META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    usable = isinstance(stored, dict) and stored.get("kind") == "transfer" and stored.get("format") == _FORMAT
    return stored if usable and isinstance(stored.get("meta"), dict) else None
