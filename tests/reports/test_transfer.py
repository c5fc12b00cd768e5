"""The page of a transfer study: its structure, its numbers, and that poor or hostile results do not break it."""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from outline import Outline
from statsmodels.stats.proportion import proportion_confint

from neurosig.core.errors import StorageError
from neurosig.evaluation.transfer_results import TransferResults
from neurosig.reports.transfer import write_transfer_report

CONDITIONS = {
    "within": "Within person",
    "transfer_all": "Transfer, all layers",
    "transfer_head": "Transfer, last layer",
    "direct": "Direct transfer",
}
STRENGTH = {"ShallowConvNet": 0.68, "EEGNet": 0.63, "TS+LR": 0.72, "Chance": 0.5}


SETTINGS = {"module": "ShallowConvNet", "module_params": None, "max_epochs": 100, "batch_size": 16, "lr": 0.001,
            "optimizer": "AdamW", "validation": 0.2, "stopping": "comparison", "patience": 15,
            "window": None}  # fmt: skip


def kind_of(name):
    return "network" if "Net" in name else "chance" if name == "Chance" else "classical"


def make_results(n_people=8, n_seeds=3, strength=None, windows=0, name="EEGMMIDB"):
    rng = np.random.default_rng(11)
    rows = []
    talent = rng.normal(0, 0.05, n_people)
    for (pipeline, level), (c, condition) in itertools.product((strength or STRENGTH).items(), enumerate(CONDITIONS)):
        network = "Net" in pipeline
        if not network and condition.startswith("transfer"):
            continue
        for person, seed, fold in itertools.product(range(n_people), range(n_seeds if network else 1), range(3)):
            value = np.nan if level is None else np.clip(level + 0.02 * c + talent[person] + rng.normal(0, 0.03), 0, 1)
            rows.append({
                "dataset": name, "subject": str(person + 1), "group": person // 4, "fold": fold, "n_folds": 3,
                "pipeline": pipeline, "kind": kind_of(pipeline), "seed": seed,
                "condition": condition, "metric": "accuracy", "score": value, "score_windows": value - 0.05,
                "chance": 0.5, "chance_upper": 0.73, "n_train": 30, "n_test": 15, "n_windows": windows,
                "test_counts": json.dumps({"left_hand": 8, "right_hand": 7}),
                "pretrained_on": np.nan if condition == "within" else n_people - 4, "seconds_fit": 1.0,
                "seconds_pretraining": 3.0, "n_epochs": 40, "best_epoch": 20, "n_parameters": 1474,
                "error": "" if level is not None else "ValueError: <b>no</b>",
            })  # fmt: skip
    meta = {
        "dataset": {"name": name, "title": "EEG motor movement", "subjects": n_people, "folds": "run", "channels": 21,
                    "classes": {"left_hand": 180, "right_hand": 180}, "doi": "10.13026/C28G6P", "citation": "Schalk"},
        "pipelines": [{"name": key, "steps": ["NetClassifier()"], "kind": kind_of(key),
                       "settings": SETTINGS if "Net" in key else None} for key in strength or STRENGTH],
        "protocol": {"folds": "run", "groups": [["1", "2", "3", "4"], ["5", "6", "7", "8"]],
                     "seeds": list(range(n_seeds)), "fine_tune": ["all", "head"], "direct": True,
                     "window": 2.0 if windows else None, "window_step": None, "faster": None},
        "command": "neurosig benchmark --protocol transfer --dataset eegmmidb", "versions": {"neurosig": "0.1.0"},
        "created": "2026-01-01", "seconds": 12.4, "seconds_fits": 3720.0, "n_fits": 420, "n_fits_kept": 400,
        "n_jobs": 1, "warnings": ["toy: something to keep in mind"],
    }  # fmt: skip
    return TransferResults(pd.DataFrame(rows), meta)


@pytest.fixture(scope="module")
def results():
    return make_results()


@pytest.fixture(scope="module")
def text(results, tmp_path_factory):
    return write_transfer_report(results, tmp_path_factory.mktemp("page") / "report.html").read_text(encoding="utf-8")


def test_page_is_well_formed_and_asks_for_nothing(text):
    page = Outline(text)
    assert page.unordered == [] and page.stack == []
    assert len(page.ids) == len(set(page.ids))
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    figures = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(figures) == 4 and all(attrs["role"] == "img" and attrs["aria-label"] for attrs in figures)
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
    assert not re.search(r"@import|url\((?!#)", text)
    assert len(text) < 600_000


def test_rankings_are_the_summary(text, results):
    tables = Outline(text).tables
    summary = results.summary()
    for table, condition in zip(tables[:4], CONDITIONS, strict=True):
        rows = summary[summary["condition"] == condition]
        assert [row[0] for row in table[1:]] == list(rows["pipeline"])
        for cells, row in zip(table[1:], rows.itertuples(), strict=True):
            assert cells[1] == f"{row.mean:.3f}"
            assert cells[2] == f"{row.ci_low:.3f} to {row.ci_high:.3f}"
            assert cells[3] == str(row.n) == "8"
            assert cells[4] == f"{row.chance:.3f} ({row.chance_upper:.3f})"
            assert cells[5] == f"{row.n_above} of 8"
            assert cells[6] == f"{row.sd_subjects:.3f}"
            seeds = row.sd_seeds  # what no seed changes has no spread over seeds
            assert cells[7] == (f"{seeds:.3f}" if "Net" in row.pipeline else "–") and (seeds == seeds) is (
                "Net" in row.pipeline)  # fmt: skip


def test_improvement_from_chance_is_explained_and_follows_from_the_means(text, results):
    page = Outline(text)
    table = page.tables[4]
    assert table[0] == ["Pipeline", "Condition", "Relative", "95 % CI of relative", "Absolute", "Normalised", "u",
                        "n"]  # fmt: skip
    means = results.summary().set_index(["pipeline", "condition"])
    assert len(table) == 1 + len(means)
    for cells in table[1:]:
        row = means.loc[cells[0], {words: name for name, words in CONDITIONS.items()}[cells[1]]]
        ends = [2 * row[end] - 1 for end in ("ci_low", "ci_high")]
        numbers = [2 * row["mean"] - 1, row["mean"] - 0.5, 2 * row["mean"] - 1]  # two classes
        expected = [signed(numbers[0]), " to ".join(map(signed, ends)), signed(numbers[1]), signed(numbers[2])]
        assert cells[2:6] == expected and cells[6:] == ["0.500", "8"]
    words = " ".join(page.words.split())
    for part in ("Accuracy improvement from chance", "relative: (score − u) / u.",
                 "absolute: score − u,", "normalised: (score − u) / (1 − u)."):  # fmt: skip
        assert part in words


def signed(number):
    return f"{number:+.3f}".replace("-", "−")


def test_effects_are_the_table_s(text, results):
    table = Outline(text).tables[5]
    effects = results.effects()
    assert len(table) == 1 + len(effects) == 1 + 2 * 3 + 1  # a dummy has none
    for cells, row in zip(table[1:], effects.itertuples(), strict=True):
        assert cells[:2] == [row.pipeline, CONDITIONS[row.condition]]
        assert cells[2] == signed(row.effect) and cells[5] == "8"
        assert cells[6] == f"{100 * row.share_improved:.0f} %"
        assert cells[8] == ("–" if row.sd_seeds != row.sd_seeds else f"{row.sd_seeds:.3f}")
        assert cells[10] == f"{row.within:.3f} → {row.transfer:.3f}"


def test_guessing_is_compared_apart(text, results):
    page = Outline(text)
    pairs = [table for table in page.tables if table[0][0] == "Pair"]
    found = results.compare()
    assert [len(table) - 1 for table in pairs] == [3, 1, 1, 3, 3, 3]  # 3 pipelines or 2 networks; then each and Chance
    for table, (_, rows) in zip(pairs[4:], found[found["family"] == "chance"].groupby("condition", sort=False),
                                strict=True):  # fmt: skip
        assert [cells[0] for cells in table[1:]] == [f"{r.pipeline_a} minus {r.pipeline_b}" for r in rows.itertuples()]
        assert all("Chance" in cells[0] for cells in table[1:])
        assert [cells[3] for cells in table[1:]] == [f"{p:.3f}" for p in rows["p_wilcoxon_corrected"]]
    words = " ".join(page.words.split())
    for part in ("Within person, against guessing (3 pairs)", "Chance ignores the signals and is not ranked",
                 "Dummies learn from nobody and are left out", "are in the second family only"):  # fmt: skip
        assert part in words


def test_networks_show_how_they_were_trained_and_all_calls_count(text):
    page = Outline(text)
    (table,) = [table for table in page.tables if table[0][0] == "Pipeline" and "Training" in table[0]]
    assert [cells[0] for cells in table[1:]] == ["ShallowConvNet", "EEGNet"]
    assert table[1][1:] == ["ShallowConvNet", "1 474".replace(" ", "\N{NARROW NO-BREAK SPACE}"),
                            "at most 100 epochs, batch 16, AdamW 0.001",
                            "as the comparison, patience 15; 0.2 of the trials validate",
                            "whole trials", "40", "40", "40", "40"]  # fmt: skip
    words = " ".join(page.words.split())
    assert "1 h 02 min for 420 fits in all calls" in words
    assert "begun 2026-01-01, took 12 s; 400 of 420 fits were finished before" in words


def test_page_says_how_it_was_done_and_what_to_doubt(text):
    words = " ".join(Outline(text).words.split())
    for part in (
        "Every condition is tested on the same trials",
        "1, 2, 3, 4 | 5, 6, 7, 8",
        "8 subjects and 3 seeds",
        "something to keep in mind",
        "Pretraining saw 4 other people",
        "neurosig benchmark --protocol transfer --dataset eegmmidb",
        "few subjects (n = 8)",
        "Friedman",
        "What not to conclude",
    ):
        assert part in words, part


def test_single_people_are_the_means_of_the_table(text, results):
    (table,) = [table for table in Outline(text).tables if table[0][0] == "Subject"][:1]
    part = results.table[results.table["pipeline"] == "ShallowConvNet"]
    means = part.groupby(["subject", "condition"])["score"].mean()
    for cells in table[1:]:
        for cell, condition in zip(cells[1:5], CONDITIONS, strict=True):
            mean = means[cells[0], condition]
            low, high = proportion_confint(mean * 45, 45, method="wilson")
            assert cell.split() == [f"{mean:.3f}", f"{low:.3f}", "to", f"{high:.3f}"]
        assert cells[5] == "45"


def test_windows_have_a_column_where_there_are_some(tmp_path):
    page = Outline(write_transfer_report(make_results(windows=60), tmp_path / "r.html").read_text())
    trials, windows = page.tables[:2]
    assert "of single windows" in page.words and trials[0] == windows[0]
    for one, other in zip(trials[1:], windows[1:], strict=True):
        assert one[0] == other[0] and float(one[1]) - float(other[1]) == pytest.approx(0.05, abs=2e-3)
        assert one[4] == other[4]  # windows of one trial are one look: the bound is that of trials


def test_failures_and_hostile_names_are_shown_as_text(tmp_path):
    strength = {"<script>alert(1)</script>Net": 0.7, "Broken & Net": None}
    text = write_transfer_report(make_results(strength=strength, name="<img src=x>"), tmp_path / "r.html").read_text()
    page = Outline(text)
    assert page.unordered == [] and page.stack == []
    assert sum(tag == "script" for tag, _ in page.tags) == 1 and not any(tag == "img" for tag, _ in page.tags)
    assert "ValueError: <b>no</b>" in page.words and "What failed" in page.words
    assert [row[1] for row in page.tables[0][1:]][-1] == "failed"


def test_nothing_scored_one_person_and_one_seed(tmp_path):
    text = write_transfer_report(make_results(strength={"Net": None}), tmp_path / "r.html").read_text()
    assert "Nothing could be scored" in text
    page = Outline(write_transfer_report(make_results(n_people=2, n_seeds=1), tmp_path / "s.html").read_text())
    assert page.unordered == [] and "one seed" in page.words and "–" in page.words


def test_equal_results_give_an_equal_file_and_a_bad_place_is_told(results, text, tmp_path):
    assert write_transfer_report(results, tmp_path / "again.html").read_text(encoding="utf-8") == text
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        results.report(tmp_path / "file" / "report.html")


def test_figures_stand_alone(results):
    for kind in ("ranking", "effects"):
        figure = results.plot(kind)
        assert len({ax.get_xlim() for ax in figure.axes}) == 1  # what is compared has one scale
        assert [ax.get_title(loc="left") for ax in figure.axes] == [
            name for name in CONDITIONS.values() if kind == "ranking" or name != "Within person"
        ]


def finding(**strength):
    page = make_results(strength=strength)
    from neurosig.reports.transfer import _findings

    dummies = {name for name in strength if kind_of(name) == "chance"}
    return _findings(page.summary(), page.effects(), "accuracy", dummies)[0]


def test_nobody_leads_where_nobody_competes_or_guessing_does_as_well():
    both = finding(EEGNet=0.7, ShallowConvNet=0.8, Chance=0.5)
    assert "ShallowConvNet leads with accuracy" in both and "its whole interval is above it" in both
    alone = finding(EEGNet=0.7, Chance=0.5)
    assert "EEGNet, the only pipeline beside guessing, reaches accuracy" in alone and "leads" not in alone
    assert "EEGNet, the only pipeline, reaches accuracy" in finding(EEGNet=0.7)
    guessing = finding(EEGNet=0.5, ShallowConvNet=0.46, Chance=0.9)
    assert "EEGNet has the highest mean, accuracy" in guessing and "Chance" not in guessing
    assert "it is above chance, but its interval reaches it" in guessing or "it is not above chance" in guessing
    assert "first" not in both + alone + guessing


def test_words_that_were_misread_are_plain(text):
    words = " ".join(Outline(text).words.split())
    assert "3 (numbers 0, 1, 2)" in words and "No tested trial, nor any window of one, is ever learned from" in words
    short = make_results(n_seeds=1)
    short.meta["protocol"] |= {"seeds": [0], "max_epochs": 40}
    assert any("epochs were limited to 40 (max_epochs)" in line for line in short.warnings)
    short.meta["protocol"] |= {"max_epochs": 41}
    assert not any("limited" in line for line in short.warnings)
    from neurosig.reports.transfer_parts import protocol_facts

    assert dict(protocol_facts(short.meta))["Seeds"] == "1 (number 0)"
