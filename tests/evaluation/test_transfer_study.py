"""Transfer studies of real networks: cleaning side by side, epochs, what a repeated call gives, cards, and bad data."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import InputError, UsageError
from neurosig.evaluation import transfer_cards
from neurosig.evaluation.transfer import FASTER_OPTIONS, TransferStudy
from neurosig.evaluation.transfer_data import clean
from neurosig.evaluation.transfer_results import TransferResults
from neurosig.loaders import simulate_eeg
from neurosig.models import NetClassifier, TFMClassifier
from neurosig.models.net_base import NetEstimator
from neurosig.preprocessing.faster import FASTER

CHANNELS = ["F3", "Fz", "F4", "FC1", "FC2", "C3", "Cz", "C4", "P3", "Pz", "P4", "O1"]
KEYS = ["subject", "fold", "seed", "condition"]


def network(**changes):
    options = {"max_epochs": 1, "batch_size": 32, "lr": 0.01, "validation": None, "stopping": None, **changes}
    return NetClassifier("LinearNet", **options)


@pytest.fixture(scope="module")
def people():
    """Three people, two runs of ten trials: twelve channels, of which the last is loud in one trial of each person."""
    data = simulate_eeg("imagery", 3, 1, n_runs=2, n_trials=10, ch_names=CHANNELS, sfreq=100, random_state=0)
    data.X[::20, -1] *= 40
    return data


@pytest.fixture(scope="module")
def both(people):
    """Network and dummy, with and without cleaning, on windows."""
    pipelines = {"Linear": network(), "Chance": DummyClassifier()}
    study = TransferStudy(pipelines, leave_subjects=1, seeds=1, faster="both", window=1.0, window_step=0.5,
                          fine_tune="head")  # fmt: skip
    return study.run(people)


def rows_of(table, name):
    part = table[table["pipeline"] == name].sort_values(KEYS)
    return part[[*KEYS, "score", "score_windows", "n_windows"]].reset_index(drop=True)


def test_cleaning_and_head_only_stand_side_by_side(both, people, tmp_path):
    table = both.table
    assert not table["error"].any() and list(table["pipeline"].unique()) == ["Linear", "Linear (FASTER)", "Chance"]
    assert list(table["condition"].unique()) == ["within", "transfer_head", "direct"]
    plain, cleaned = rows_of(table, "Linear"), rows_of(table, "Linear (FASTER)")
    pd.testing.assert_frame_equal(plain[KEYS], cleaned[KEYS])
    assert (plain["score_windows"] != cleaned["score_windows"]).any()
    options = {"leave_subjects": 1, "seeds": 1, "window": 1.0, "window_step": 0.5, "fine_tune": (), "direct": False}
    for faster, expected in ((False, plain), (True, cleaned)):
        alone = rows_of(TransferStudy({"Linear": network()}, faster=faster, **options).run(people).table, "Linear")
        expected = expected[expected["condition"] == "within"].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, expected, check_exact=True)
    page = both.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Transfer, last layer" in page and "Linear (FASTER)" in page and "without, and fitted in the folds" in page
    assert both.meta["protocol"]["faster_both"] and both.meta["protocol"]["faster"]["variant"] == "mended"
    cards = {card["name"]: card for card in both.meta["pipelines"]}
    assert cards["Linear"]["cleaned"] is None and "FASTER" in cards["Linear (FASTER)"]["cleaned"]
    assert cards["Chance"]["kind"] == "chance" and cards["Chance"]["settings"] is None


def test_bad_channels_become_splines_where_positions_are_known_and_the_mean_elsewhere_with_a_word(people):
    mine = people.metadata["subject"] == "1"
    X = people.X[mine].copy()
    X[:, 3] = 20 * X.std() * np.random.default_rng(0).standard_normal(X[:, 3].shape)  # bad in every trial
    found = {}
    for names in ("told", "strange"):
        spec = people.info if names == "told" else people.info.replace(
            ch_names=tuple(f"E{i}" for i in range(12)), positions=None, montage=None
        )  # fmt: skip
        person = SimpleNamespace(X=X, y=people.y[mine], folds=(), signals=spec, identity=names)
        options = {**FASTER_OPTIONS, "steps": ("channels",)}
        if names == "strange":
            with pytest.warns(UserWarning, match="no positions for eeg channels, so bad ones become the mean"):
                found[names] = clean(person, np.arange(5), None, options)
        else:
            found[names] = clean(person, np.arange(5), None, options)
        for method in ("spline", "mean"):
            if (names, method) != ("strange", "spline"):
                faster = FASTER(**{**options, "interpolation": method}, info=spec)
                found[names, method] = faster.fit(X).transform(X[:5])
                assert faster.bad_channels_ == [spec.ch_names[3]]
    np.testing.assert_array_equal(found["told"], found["told", "spline"])
    assert not np.allclose(found["told"][:, 3], found["told", "mean"][:, 3])
    np.testing.assert_array_equal(found["strange"], found["strange", "mean"])


def test_all_windows_of_an_epoch_are_in_one_fold(both):
    counts = both.table.groupby("pipeline")[["n_test", "n_windows"]].first()
    assert (both.table["n_test"] == 10).all() and (both.table["n_windows"] % 10 == 0).all()
    assert counts["n_windows"].nunique() == 1 and counts["n_windows"].iloc[0] > 10


def test_networks_get_their_windows_without_copies_of_all(people, monkeypatch):
    given = []

    def noting(self, X, *args, **kwargs):
        given.append(type(X).__name__)
        return NetEstimator._signals(self, X, *args, **kwargs)

    monkeypatch.setattr(NetClassifier, "_signals", noting, raising=False)
    pipelines = {"alone": network(), "behind a step": make_pipeline("passthrough", network())}
    study = TransferStudy(pipelines, leave_subjects=2, seeds=1, window=1.0, window_step=0.5, fine_tune=())
    table = study.run(people).table
    assert not table["error"].any() and given.count("CutTrials") == given.count("ndarray") == len(given) / 2 > 0
    pd.testing.assert_frame_equal(rows_of(table, "alone"), rows_of(table, "behind a step"), check_exact=True)


def test_epochs_can_be_limited_for_every_network(people):
    study = TransferStudy({"Linear": network(max_epochs=50), "lda": flat_lda()}, leave_subjects=1, seeds=1,
                          max_epochs=2, fine_tune=(), direct=False)  # fmt: skip
    results = study.run(people)
    networks = results.table["pipeline"] == "Linear"
    assert (results.table.loc[networks, "n_epochs"] == 2).all()
    settings = results.meta["pipelines"][0]["settings"]
    assert (settings["max_epochs"], settings["batch_size"], settings["lr"]) == (2, 32, 0.01)
    assert study.pipelines["Linear"].max_epochs == 50  # what was given is left as it was


def test_classifiers_of_tokens_are_networks_that_are_not_trained_on(people):
    tiny = {"n_codes": 8, "emb_size": 8, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2,
            "max_epochs": 1}  # fmt: skip
    tokens = TFMClassifier(tokenizer_params=tiny, encoder_params={"depth": 1, "n_heads": 2}, device="cpu")
    results = TransferStudy({"TFM": tokens}, leave_subjects=1, seeds=1, max_epochs=2).run(people)
    table = results.table
    assert not table["error"].any() and set(table["condition"]) == {"within", "direct"}
    assert (table["kind"] == "network").all() and (table["n_epochs"] == 2).all() and (table["n_parameters"] > 0).all()
    assert results.meta["pipelines"][0]["settings"]["max_epochs"] == 2


def test_a_repeated_study_gives_the_same_tables(people, tmp_path):
    def study():
        return TransferStudy({"Linear": network(), "lda": flat_lda()}, leave_subjects=1, seeds=1, fine_tune="head",
                             out=tmp_path)  # fmt: skip

    first = study().run(people)
    names = ("results.csv", "statistics.csv", "ranking.csv")
    written = {name: (tmp_path / name).read_bytes() for name in names}
    cards = {path: path.read_bytes() for path in (tmp_path / "pretrained").rglob("README.md")}
    again = study().run(people)
    assert {name: (tmp_path / name).read_bytes() for name in names} == written
    assert {path: path.read_bytes() for path in (tmp_path / "pretrained").rglob("README.md")} == cards
    for found in (again, TransferResults.load(tmp_path)):
        for frame, expected in zip(frames(found), frames(first), strict=True):
            pd.testing.assert_frame_equal(frame, expected, check_exact=True, check_dtype=False)
    # the time is that of all fits, whenever they were made, not that of the call that found them finished
    n_fits = (3 * 2 + 3 + 3 + 3 * 2) + (3 * 2 + 3)
    assert first.meta["n_fits"] == again.meta["n_fits"] == n_fits
    assert (first.meta["n_fits_kept"], again.meta["n_fits_kept"]) == (0, n_fits)
    stored = [json.loads(path.read_text())["seconds_all"] for path in (tmp_path / "store").glob("*.json")]
    assert again.meta["seconds_fits"] == first.meta["seconds_fits"] == round(sum(stored), 1) and len(stored) == n_fits
    words = again.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{n_fits} of {n_fits} fits were finished before" in words
    assert again.meta["pretrained"] == first.meta["pretrained"]


def frames(results):
    return [results.table, results.summary(), results.effects(), results.compare(), results.ranking_table()]


def test_pretrained_networks_have_cards_that_say_whom_they_saw(people, tmp_path):
    results = TransferStudy({"Linear": network()}, leave_subjects=2, seeds=1, out=tmp_path).run(people)
    (one, other) = results.meta["pretrained"]
    assert (one["subjects"], one["left_out"]) == (["3"], ["1", "2"])
    assert (other["subjects"], other["left_out"], other["n"], other["sd"]) == (["1", "2"], ["3"], 1, None)
    direct = results.table[(results.table["condition"] == "direct") & results.table["subject"].isin(["1", "2"])]
    means = direct.groupby("subject")["score"].mean()
    assert one["n"] == 2 and one["mean"] == pytest.approx(means.mean()) and one["sd"] == pytest.approx(means.std())
    assert set(one["scores"]) == {"direct", "transfer_all", "transfer_head"} and one["chance"] == 0.5
    for network_of in (one, other):
        folder = tmp_path / "pretrained" / network_of["folder"]
        card, own = ((folder / name).read_text(encoding="utf-8") for name in ("README.md", "network/README.md"))
        line = f"accuracy {network_of['mean']:.3f}"
        for text in ("Learned from all trials of: " + ", ".join(network_of["subjects"]),
                     "Has not seen: " + ", ".join(network_of["left_out"]), line, "chance 0.500", "seed: 0",
                     "Classes: 0 (left_hand), 1 (right_hand)",
                     "labels = [['left_hand', 'right_hand'][number] for number in numbers]"):  # fmt: skip
            assert text in card, text
        assert line in own and "None were given" not in own and "## Licence" in own
        if "- classes: " in own:
            assert "- classes: 0 (left_hand), 1 (right_hand)\n" in own
    page = results.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Pretrained networks (2)" in page and one["folder"] in page


# bad data -------------------------------------------------------------------------------------------------------------


def flat_lda():
    from moabb.pipelines.features import LogVariance

    return make_pipeline(LogVariance(), LinearDiscriminantAnalysis())


def left_out(data, **options):
    results = TransferStudy({"lda": flat_lda()}, **{"leave_subjects": 1, "seeds": 1, **options}).run(data)
    return set(results.table["subject"]), " ".join(line for line in results.warnings if line.startswith("left out"))


def of(data, subject, run=None):
    where = (data.metadata["subject"] == subject).to_numpy()
    return where if run is None else where & (data.metadata["run"] == run).to_numpy()


@pytest.fixture
def four(toy):
    return toy(n_subjects=4, n_runs=2, n_trials=10)


def test_a_fold_with_one_class_leaves_the_person_out_and_says_who(four):
    run = four.metadata["run"].iloc[0]
    four.y[of(four, "2", run)] = "left_hand"
    subjects, told = left_out(four, folds="run")
    assert subjects == {"1", "3", "4"}
    for text in ("subject 2", f"run {run} has no trial of class right_hand", 'use folds="chronological"'):
        assert text in told


@pytest.mark.parametrize("folds", ["shuffled", "chronological"])
def test_a_person_with_too_few_trials_is_left_out_and_named(four, folds):
    few = np.flatnonzero(of(four, "3"))
    kept = np.setdiff1d(np.arange(len(four.y)), few[4:])
    subjects, told = left_out(four.subset(kept), folds=folds, n_splits=5)
    assert subjects == {"1", "2", "4"}
    assert "subject 3" in told and "5 folds need at least 5 trials, got 4; use fewer folds" in told


def test_more_left_out_than_there_are(four):
    for size in (4, 9):
        message = f"leaving out {size} of 4 subjects at a time leaves no one to pretrain on; use leave_subjects of at m"
        with pytest.raises(InputError, match=message):
            TransferStudy({"lda": flat_lda()}, leave_subjects=size).run(four)


def test_nobody_is_left(four):
    four.y[~of(four, "1")] = "left_hand"
    with pytest.raises(InputError, match=r"at least two people with folds.*subject 2 has no trial of class right_hand"):
        TransferStudy({"lda": flat_lda()}, leave_subjects=1).run(four)


@pytest.mark.parametrize(("changes", "message"), [
    ({"faster": "yes"}, 'faster must be True, False, "both" or a dictionary'),
    ({"max_epochs": 0}, "max_epochs must be a whole number, 1 or more, got 0"),
    ({"max_epochs": True}, "max_epochs must be a whole number"),
])  # fmt: skip
def test_wrong_options_are_told_at_once(changes, message):
    with pytest.raises(UsageError, match=message):
        TransferStudy({"lda": flat_lda()}, **changes)


def test_a_name_that_both_would_take_twice(four):
    study = TransferStudy({"lda": flat_lda(), "lda (FASTER)": flat_lda()}, leave_subjects=1, faster="both")
    with pytest.raises(UsageError, match=r'names a pipeline "lda \(FASTER\)", but there is one'):
        study.run(four)


def test_a_network_s_own_card_says_labels_and_terms():
    own = "- classes: 0, 1\n\n## Licence\n\nNot stated: add that of the training data.\n"
    data = {"classes": {"left": 3, "right": 4}, "licence": "CC BY 4.0"}
    told = transfer_cards._with_facts(own, data)
    assert told == ("- classes: 0 (left), 1 (right)\n\n## Licence\n\nBound by that of the training data: CC BY 4.0\n")
    assert transfer_cards._with_facts(told, data) == told


@pytest.mark.parametrize(
    ("score", "told"),
    [
        ({"mean": 0.60, "sd": 0.01, "n": 9, "chance": 0.5, "chance_upper": 0.62}, "not above what guessing reaches"),
        ({"mean": 0.70, "sd": 0.01, "n": 9, "chance": 0.5, "chance_upper": 0.62}, "above what guessing reaches"),
        # 0.70 - 2.306 * 0.3 / 3 = 0.47
        ({"mean": 0.70, "sd": 0.30, "n": 9, "chance": 0.5, "chance_upper": 0.62}, "over people reaches chance"),
        ({"mean": 0.70, "sd": None, "n": 1, "chance": 0.5, "chance_upper": 0.62}, "in one person"),
    ],
)
def test_what_a_score_is_worth_is_said_as_far_as_it_goes(score, told):
    assert transfer_cards._verdict(score).endswith(told)
