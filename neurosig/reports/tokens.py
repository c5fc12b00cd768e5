"""The report of tokens: what they are worth, in words that say no more than was measured."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.reports import tokens_figures as figures
from neurosig.reports.cleaning_words import count
from neurosig.reports.findings import Notice
from neurosig.reports.page import figure_svg, format_number, format_p, write_page

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.tokenizers.analysis import TokenAnalysis

__all__ = ["token_report", "write_token_report"]

_ROWS_SHOWN = 20
_FEW_PEOPLE = 10
_DOMINATED = 0.5  # of the tokens that are one code


def token_report(
    tokenizer: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    path: str | os.PathLike = "tokens.html",
    title: str | None = None,
    n_there: int | None = None,
    **options: Any,
) -> Path:
    """Analyse the tokens of windows and write the page.

    Parameters
    ----------
    tokenizer : Tokenizer
        Fitted.
    X : array of shape (n, n_channels, n_times), mne.Epochs or SignalDataset
        Windows, best such as the tokenizer was not fitted on.
    y : array of shape (n,), optional
        Classes; of a `SignalDataset` its own, if not given.
    groups : array of shape (n,), optional
        People; of a `SignalDataset` its subjects, if not given and there are several.
    path : path-like
        The HTML file.
    title : str, optional
        What the page is of.
    n_there : int, optional
        Windows that there are, where X is a sample of them.
    **options
        Handed to `neurosig.tokenizers.analysis.analyse_tokens`: `codebook`, `n_motifs`, `n_permutations`,
        `random_state`.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError, UsageError
        As there.
    StorageError
        If the place cannot be written.
    """
    from neurosig.tokenizers.analysis import analyse_tokens

    return write_token_report(
        analyse_tokens(tokenizer, X, y, groups=groups, **options), path, title=title, n_there=n_there
    )


def write_token_report(
    analysis: TokenAnalysis, path: str | os.PathLike, *, title: str | None = None, n_there: int | None = None
) -> Path:
    """Write the page of an analysis that is there already.

    Parameters
    ----------
    analysis : TokenAnalysis
        What `neurosig.tokenizers.analysis.analyse_tokens` found.
    path : path-like
        The HTML file.
    title : str, optional
        What the page is of.
    n_there : int, optional
        Windows that there are, where those analysed are a sample of them.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    StorageError
        If the place cannot be written.
    """
    about = analysis.about
    classes = ", ".join(f"{n} × {name}" for name, n in about["classes"].items())
    people = (
        "" if about["n_people"] is None else f" of {count(about['n_people'], 'person').replace('persons', 'people')}"
    )
    return write_page(
        path,
        "tokens.html.j2",
        kind="Tokens",
        title=title or f"Tokens of {about['tokenizer']}",
        lede=f"{count(about['n_windows'], 'window')}{people}, {count(about['n_channels'], 'channel')}, "
        f"{count(about['n_frames'], 'token')} a channel{f'; {classes}' if classes else ''}."
        + ("" if n_there is None else f" A sample: {about['n_windows']} of {n_there} windows."),
        finding=_finding(analysis),
        support=_support(analysis),
        caveats=_caveats(analysis),
        notices=_notices(analysis),
        pictures=_pictures(analysis),
        motifs=_motifs(analysis),
        distinctive=_distinctive(analysis),
        consistency=[{"name": name, **row} for name, row in analysis.consistency.table.to_dict("index").items()],
        usage=analysis.usage.to_dict("records"),
        usage_names=list(analysis.usage.columns[: analysis.usage.columns.get_loc("n_codes")]),
        bands=[{"band": name, **row} for name, row in analysis.reconstruction.to_dict("index").items()],
        facts=_facts(about),
        glossary=_GLOSSARY,
        json=json.dumps(_record(analysis), indent=1, ensure_ascii=False),
    )


def _finding(analysis: TokenAnalysis) -> str:
    used = len(analysis.histogram)
    text = f"{used} of {analysis.about['n_codes']} tokens occur in these windows{_of_book(analysis)}"
    table = analysis.distinctive
    if table is None:
        return f"{text}; without classes, nothing was compared."
    told = table.attrs
    tested, who = _tested(told["n_tests"], analysis), _units(told)
    if not told["n_tests"]:
        return f"{text}; none of them is frequent enough to be compared between classes."
    if table["p"].isna().all():
        return f"{text}; there are too few {who} to test whether any tells the classes apart."
    found = table.loc[table["distinctive"], "code"].nunique()
    if not found:
        return f"{text}; no token out of {tested} is shown to differ between the classes over {told['n_units']} {who}."
    differ = "differs" if found == 1 else "differ"
    return (
        f"{text}; {count(found, 'token')} out of {tested} {differ} in frequency between the classes over "
        f"{told['n_units']} {who} (corrected p ≤ {told['alpha']:g})."
    )


def _tested(n_tests: int, analysis: TokenAnalysis) -> int:
    n_classes = len(analysis.about["classes"])
    return n_tests if n_classes == 2 else n_tests // n_classes


def _of_book(analysis: TokenAnalysis) -> str:
    from neurosig.tokenizers.analysis import codebook_name

    name = codebook_name(analysis.about["codebook"])
    return f" (codebook {name})" if name else ""


def _units(told: Mapping[str, Any]) -> str:
    return "people" if told["unit"] == "groups" else "windows"


def _support(analysis: TokenAnalysis) -> list[str]:
    row = analysis.usage.iloc[0] if len(analysis.usage) == 1 else None
    lines = []
    if row is not None:
        lines.append(
            f"Their frequencies are as uneven as if {row['perplexity']:.0f} tokens were used alike (perplexity)."
        )
    if "all" in analysis.reconstruction.index:
        error = analysis.reconstruction.loc["all", "nmse"]
        lines.append(
            f"The squared error of spectra rebuilt from tokens is {format_number(error, 2)} of their power (0 is "
            "perfect, 1 as bad as silence); by band below."
        )
    table = analysis.consistency.table
    if "within minus between" in table.index:
        difference = table.loc["within minus between"]
        verdict = "more alike" if difference["value"] > difference["chance_high"] else "not detectably more alike"
        lines.append(
            f"Two halves of one person's windows are {verdict} in their use of tokens than halves of two people "
            f"({format_number(table.loc['within subjects', 'value'])} against "
            f"{format_number(table.loc['between subjects', 'value'])} of 1, p {_equals(difference['p'])})."
        )
    return lines


def _caveats(analysis: TokenAnalysis) -> list[str]:
    lines = [
        "A token that differs in frequency between classes is no decoder: how well classes are told apart on new "
        "people takes a cross-validated score.",
        "Tokens are named by number; what a motif shows is an average of where it occurs, not its cause.",
    ]
    if analysis.distinctive is not None:
        lines.append(
            "Shares add up to one: where one token is more frequent, others must be rarer, so distinctive tokens are "
            "not independent findings."
        )
        told = analysis.distinctive.attrs
        if told["n_units"] > 1 and not analysis.distinctive["distinctive"].any():
            lines.append("That no difference is shown does not mean that there is none.")
    if analysis.about["n_trained_on"]:
        lines.append(
            f"The tokenizer was fitted on {analysis.about['n_trained_on']} windows; if these are among them, "
            "reconstruction and usage look better than on new recordings."
        )
    return lines


def _notices(analysis: TokenAnalysis) -> list[Notice]:
    found = []
    table = analysis.distinctive
    if table is not None and len(table):
        told = table.attrs
        if told["unit"] == "windows":
            found.append(Notice("distinctive", "warning", "Windows were taken for independent.", "It is not known whom "
                                "they belong to; windows of one person are alike, and p values then come out too "
                                "small. Pass groups."))  # fmt: skip
        elif told["p_smallest"] > told["alpha"]:
            found.append(Notice("distinctive", "warning", f"Too few people (n = {told['n_units']}).", "The smallest p "
                                f"that they allow is {told['p_smallest']:.3f}: no difference could be supported, "
                                "however large."))  # fmt: skip
        elif told["n_units"] < _FEW_PEOPLE:
            found.append(Notice("distinctive", "note", f"Few people (n = {told['n_units']}).", "Only large differences "
                                "that all of them share can be detected."))  # fmt: skip
        if told["n_left_out"]:
            found.append(Notice("distinctive", "note", "Some people were left out.", f"{told['n_left_out']} have no "
                                "windows of some class."))  # fmt: skip
    total = analysis.histogram.to_numpy().sum(axis=1)
    if total[0] > _DOMINATED * total.sum():
        share = f"Token {analysis.histogram.index[0]} is {100 * total[0] / total.sum():.0f} % of all"
        found.append(
            Notice("usage", "warning", "One token stands for most.", f"{share}: the codebook tells little apart.")
        )
    return found


def _pictures(analysis: TokenAnalysis) -> dict[str, tuple[Any, str]]:
    told = analysis.about
    found = {
        "histogram": (
            figure_svg(figures.plot_histogram(analysis.shares), name="histogram",
                       description="Shares of the most frequent tokens by class; the counts are in the JSON file."),
            "The most frequent tokens"
            + ("; each person counts the same." if told["n_people"] else "."),
        ),
        "motifs": (
            figure_svg(figures.plot_motifs(analysis.motifs), name="motifs",
                       description="Pieces of signal, spectrum and spectrogram of tokens: "
                       + ", ".join(str(motif.code) for motif in analysis.motifs) + "."),
            f"Left: pieces of {told['frame']:g} s that got the token, drawn at random, from as many people as there "
            "are; each channel of a window divided by its standard deviation. Middle: their mean spectrum (blue) and "
            "that of pieces of any token (grey). Right: their mean spectrogram over that of any token.",
        ),
        "consistency": (
            figure_svg(figures.plot_consistency(analysis.consistency.table), name="consistency",
                       description="Similarity and agreement of tokens against shuffled tokens; see the table."),
            "1 is the same use of tokens, or the same token always.",
        ),
        "reconstruction": (
            figure_svg(figures.plot_reconstruction(analysis.reconstruction), name="reconstruction",
                       description="Error of reconstruction by band; see the table."),
            "Of spectra, as the tokenizer rebuilds them. Vermilion: no better than silence." + _told(analysis),
        ),
    }  # fmt: skip
    if analysis.distinctive is not None and len(analysis.distinctive):
        found["distinctive"] = (
            figure_svg(figures.plot_distinctive(analysis.distinctive), name="distinctive",
                       description="Log odds ratios of the tokens that differ most clearly; see the table."),
            "The clearest first, whether supported or not.",
        )  # fmt: skip
    if len(analysis.usage) > 1:
        found["usage"] = (
            figure_svg(figures.plot_usage(analysis.usage), name="usage",
                       description="Perplexity of each codebook; see the table."),
            "The number of codes that, used alike, would be as uneven.",
        )  # fmt: skip
    return found


def _told(analysis: TokenAnalysis) -> str:
    """What the reconstruction knows beside tokens."""
    beside = analysis.reconstruction.attrs.get("beside_tokens")
    return "" if beside is None else f" It was told of each window, which its tokens do not say, {beside}."


def _motifs(analysis: TokenAnalysis) -> list[dict[str, Any]]:
    rows = []
    for motif in analysis.motifs:
        known = {who: n for who, n in motif.by_group.items() if n}
        most = max(known.values(), default=0)
        rows.append({
            "code": motif.code, "count": motif.count, "windows": motif.n_windows,
            "people": f"{len(known)} of {len(motif.by_group)}" if motif.by_group else "–",
            "most": most / motif.count if known else None,
            "classes": ", ".join(f"{n} × {name}" for name, n in motif.by_class.items()) or "–",
            "peak": "{:.0f} Hz ({} dB)".format(*_peak(motif)),
        })  # fmt: skip
    return rows


def _peak(motif: Any) -> tuple[float, str]:
    """Frequency at which it has most power over any token, and how much."""
    inside = motif.freqs <= max(60.0, motif.freqs[0])
    over = motif.spectrum[inside].clip(1e-12) / motif.reference[inside].clip(1e-12)
    return float(motif.freqs[inside][over.argmax()]), format_number(10 * math.log10(over.max()), 0, sign=True)


def _distinctive(analysis: TokenAnalysis) -> dict[str, Any] | None:
    table = analysis.distinctive
    if table is None:
        return None
    told = table.attrs
    design = {
        "within": "All of them have all classes; labels were exchanged within people.",
        "between": "Each has one class; labels were exchanged between them.",
    }[told["design"]]
    correction = {
        "max": "for all tests together by the largest statistic under permutation (family-wise)",
        "fdr": "as a false discovery rate (Benjamini-Hochberg)",
        "holm": "by Holm's method (family-wise)",
    }[told["correction"]]
    rare = f" {count(told['n_not_tested'], 'token')} too rare to be tested." if told["n_not_tested"] else ""
    shown = "All rows" if len(table) <= _ROWS_SHOWN else f"The first {_ROWS_SHOWN} of {len(table)} rows"
    return {
        "caption": f"{shown}; all numbers are in the JSON file.",
        "rows": table.head(_ROWS_SHOWN).to_dict("records"),
        "within": told["design"] == "within",
        "n": told["n_units"],
        "how": f"Tested over {told['n_units']} {_units(told)}. {design if told['unit'] == 'groups' else ''} p values "
        f"are corrected {correction}.{rare}",
    }


def _facts(about: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("Tokenizer", about["tokenizer"]),
        ("Vocabulary", f"{about['n_codes']} codes"),
        *((axis.capitalize(), f"{number} (of histogram, tests, motifs, consistency)")
          for axis, number in about["codebook"].items()),
        ("A token stands for", f"{about['frame']:g} s, every {about['hop']:g} s"),
        ("Fitted on", f"{about['n_trained_on']} windows" if about["n_trained_on"] else "not known (trained elsewhere)"),
    ]  # fmt: skip


def _record(analysis: TokenAnalysis) -> dict[str, Any]:
    """All numbers, JSON-like."""

    def table(frame: pd.DataFrame | None) -> Any:
        return None if frame is None else json.loads(frame.reset_index().to_json(orient="records"))

    people = analysis.consistency.subjects
    return {
        "about": {**analysis.about, "classes": {str(name): int(n) for name, n in analysis.about["classes"].items()}},
        "histogram": table(analysis.histogram),
        "distinctive": table(analysis.distinctive),
        "tested": None if analysis.distinctive is None else dict(analysis.distinctive.attrs),
        "consistency": table(analysis.consistency.table),
        "similarity_of_people": None if people is None else people.round(4).to_numpy().tolist(),
        "usage": table(analysis.usage),
        "reconstruction": table(analysis.reconstruction),
        "reconstruction_told_beside_tokens": analysis.reconstruction.attrs.get("beside_tokens"),
    }


def _equals(p: float) -> str:
    text = format_p(p)
    return text if text.startswith("<") else f"= {text}"


_GLOSSARY = [
    ("Token", "the number of the code that a tokenizer gives to a piece of a channel's signal"),
    ("Codebook", "all codes of a tokenizer; systems with several levels have one for each"),
    ("Perplexity", "how many tokens, used alike, would be as hard to guess as these"),
    ("Log odds", "how much more often a token occurs in a class than in the others, as a logarithm; 0 is equally "
                 "often, 0.7 about twice. Rare tokens are drawn to 0"),
    ("Corrected p", "probability of a difference this clear for any token if classes did not matter"),
    ("n", "people where these are known: windows of one person are not independent, so they do not add to it"),
    ("Similarity", "one minus the Jensen-Shannon divergence of how often tokens are used: 1 is equal, 0 has none in "
                   "common"),
    ("Shuffled", "the same tokens in another order; what they give is what would be expected by chance"),
    ("Error", "squared error of the rebuilt spectrum over the power of the band; 0 is perfect, 1 as bad as silence"),
]  # fmt: skip
