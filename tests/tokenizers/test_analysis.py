"""What the analysis of tokens finds, on tokens whose truth is known."""

import itertools

import numpy as np
import pandas as pd
import pytest
from peak_tokenizer import HOP, LENGTH, PeakTokenizer, rhythms
from scipy.spatial.distance import jensenshannon
from scipy.stats import permutation_test
from statsmodels.stats.multitest import multipletests

from neurosig.core.errors import InputError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.tokenizers.analysis import (
    analyse_tokens,
    codebook_name,
    distinctive_tokens,
    motifs,
    split_codebooks,
    take_codebook,
    token_consistency,
    token_histogram,
)
from neurosig.tokenizers.consistency import similarity
from neurosig.tokenizers.distinctive import log_odds

N_CODES = 12


def design(n_people=8, n_windows=12, classes=("rest", "task")):
    y = np.tile(classes, n_people * n_windows // len(classes))
    return y, np.repeat([f"p{i}" for i in range(n_people)], n_windows)


def noise(y, seed=0, shape=(2, 9), n_codes=N_CODES):
    return np.random.default_rng(seed).integers(0, n_codes, (len(y), *shape))


# -- axes -------------------------------------------------------------------------------------------------------------


def test_a_codebook_is_taken_by_the_names_of_its_axes():
    tokens = np.random.default_rng(0).integers(0, 51, (2, 4, 8, 3, 5))
    np.testing.assert_array_equal(take_codebook(tokens, scale=1, level=6), tokens[:, 1, 6])
    np.testing.assert_array_equal(take_codebook(tokens[:, :1], level=6), tokens[:, 0, 6])
    np.testing.assert_array_equal(take_codebook(tokens[:, 0, 0]), tokens[:, 0, 0])
    named = take_codebook(tokens[:, :, 0, 0], ("window", "layer", "frame"), layer=2)
    np.testing.assert_array_equal(named, tokens[:, 2, 0, :1])
    books = list(split_codebooks(tokens))
    assert [name for name, _ in books] == [{"scale": s, "level": v} for s in range(4) for v in range(8)]
    np.testing.assert_array_equal(books[-1][1], tokens[:, 3, 7])
    assert [name for name, _ in split_codebooks(tokens[:, 0, 0], PeakTokenizer())] == [{}]
    assert codebook_name({"scale": 1, "level": 0}) == "scale 1, level 0"


@pytest.mark.parametrize(
    ("tokens", "chosen", "error", "message"),
    [
        (np.zeros((2, 4, 8, 3, 5), int), {"scale": 0}, UsageError, "of 8 codebooks along 'level': choose one"),
        (np.zeros((2, 4, 8, 3, 5), int), {"scale": 4, "level": 0}, UsageError, "scale must lie between 0 and 3"),
        (np.zeros((2, 3, 5), int), {"scale": 0}, UsageError, "no axis 'scale'"),
        (np.zeros((2, 3, 5)), {}, InputError, "tokens as integers, got float64"),
        (np.zeros((2, 3), int), {}, InputError, "three or five axes"),
    ],
)
def test_wrong_codebooks_are_refused(tokens, chosen, error, message):
    with pytest.raises(error, match=message):
        take_codebook(tokens, **chosen)


def test_all_levels_together_are_refused_with_advice():
    with pytest.raises(InputError, match="take_codebook"):
        token_histogram(np.zeros((2, 4, 8, 3, 5), int))


# -- histogram --------------------------------------------------------------------------------------------------------


def test_histogram_counts_by_class():
    y, _ = design()
    tokens = noise(y)
    table = token_histogram(tokens, y)
    for name in ("rest", "task"):
        counted = np.bincount(tokens[y == name].ravel(), minlength=N_CODES)
        np.testing.assert_array_equal(table[name].sort_index(), counted)
    assert (np.diff(table.sum(axis=1)) <= 0).all()
    assert token_histogram(tokens)["all"].sum() == tokens.size
    np.testing.assert_allclose(token_histogram(tokens, y, normalize=True).sum(), 1)


def test_shares_of_people_count_the_same():
    tokens = np.array([[[0] * 8], [[0] * 8], [[0] * 8], [[1] * 8]])
    shares = token_histogram(tokens, groups=["a", "a", "a", "b"], normalize=True)["all"]
    assert shares.to_dict() == {0: 0.5, 1: 0.5}


@pytest.mark.parametrize(("y", "message"), [([1, 2], "one value of y a window"), ([1, 2, None], "y has missing")])
def test_labels_must_fit(y, message):
    with pytest.raises(InputError, match=message):
        token_histogram(np.zeros((3, 1, 4), int), y)


# -- distinctive tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("correction", ["max", "fdr", "holm"])
def test_a_planted_token_is_found(correction):
    y, people = design(n_people=10)
    tokens = noise(y)
    tokens[y == "task", :, :2] = 4
    table = distinctive_tokens(tokens, y, groups=people, correction=correction)
    first = table.iloc[0]
    assert (first["code"], first["class"], first["n_agree"], bool(first["distinctive"])) == (4, "task", 10, True)
    assert first["log_odds"] > 0.5 and first["share"] > first["share_rest"] + 0.15
    assert first["p"] == 2 / 2**10  # all people agree: only the mirror image is as extreme
    assert table.attrs["design"] == "within" and table.attrs["n_units"] == 10 and table.attrs["unit"] == "groups"
    # shares add up to one: what else is supported is rarer in the task
    assert set(table.loc[table["distinctive"] & (table["code"] != 4), "class"]) <= {"rest"}


def test_in_three_classes_the_planted_one_is_named():
    y, people = design(classes=("a", "b", "c"))
    tokens = noise(y)
    tokens[y == "b", :, :3] = 4
    table = distinctive_tokens(tokens, y, groups=people)
    first = table.iloc[0]
    assert (first["code"], first["class"]) == (4, "b") and first["distinctive"] and first["difference"] > 0
    assert len(table) == 3 * N_CODES == table.attrs["n_tests"]


def test_p_values_within_people_are_those_of_an_exact_permutation_test():
    y, people = design(n_people=6)
    tokens = noise(y, seed=3)
    table = distinctive_tokens(tokens, y, groups=people, min_count=1)
    names = np.unique(people)

    def share(code, name):
        return np.array([(tokens[(people == one) & (y == name)] == code).mean() for one in names])

    def statistic(a, b, axis):
        return np.abs((a - b).mean(axis=axis))

    for code in table["code"]:
        exact = permutation_test(
            (share(code, "rest"), share(code, "task")), statistic, permutation_type="samples", vectorized=True,
            n_resamples=np.inf, alternative="greater",
        )  # fmt: skip
        np.testing.assert_allclose(table.set_index("code")["p"][code], exact.pvalue, err_msg=str(code))


def test_p_values_between_people_are_those_of_an_exact_permutation_test():
    _, people = design()
    y = np.where(np.isin(people, ["p0", "p2", "p5"]), "ill", "well")
    tokens = noise(y, seed=5)
    table = distinctive_tokens(tokens, y, groups=people, min_count=1)
    assert table.attrs["design"] == "between" and table.attrs["n_units"] == 8
    assert table["n_agree"].isna().all()

    def share(code, name):
        return [(tokens[people == one] == code).mean() for one in np.unique(people[y == name])]

    def statistic(a, b, axis):
        return np.abs(a.mean(axis=axis) - b.mean(axis=axis))

    for code in table["code"]:
        exact = permutation_test(
            (share(code, "ill"), share(code, "well")), statistic, vectorized=True, n_resamples=np.inf,
            alternative="greater",
        )  # fmt: skip
        np.testing.assert_allclose(table.set_index("code")["p"][code], exact.pvalue, err_msg=str(code))


def test_the_correction_by_the_maximum_by_hand():
    y, people = design(n_people=5)
    tokens = noise(y, seed=1, n_codes=4)
    table = distinctive_tokens(tokens, y, groups=people, min_count=1).set_index("code")
    difference = np.array([
        [(mine[own == "rest"] == code).mean() - (mine[own == "task"] == code).mean() for code in range(4)]
        for mine, own in ((tokens[people == one], y[people == one]) for one in np.unique(people))
    ])  # fmt: skip
    observed = np.abs(difference.sum(axis=0)) / np.sqrt((difference**2).sum(axis=0))
    largest = [
        (np.abs(np.array(signs) @ difference) / np.sqrt((difference**2).sum(axis=0))).max()
        for signs in itertools.product([1, -1], repeat=5)
    ]
    for code in range(4):
        assert table["p_corrected"][code] == np.mean(np.array(largest) >= observed[code] - 1e-9)


@pytest.mark.parametrize(("correction", "oracle"), [("fdr", "fdr_bh"), ("holm", "holm")])
def test_corrections_agree_with_statsmodels(correction, oracle):
    y, people = design()
    tokens = noise(y, seed=2)
    tokens[y == "task", :, :1] = 3
    table = distinctive_tokens(tokens, y, groups=people, correction=correction)
    np.testing.assert_allclose(table["p_corrected"], multipletests(table["p"], method=oracle)[1])
    three = distinctive_tokens(tokens, np.roll(np.tile(["a", "b", "c"], 32), 1), groups=people, correction=correction)
    np.testing.assert_allclose(three["p_corrected"], multipletests(three["p"], method=oracle)[1])


@pytest.mark.parametrize("classes", [("rest", "task"), ("a", "b", "c")])
def test_without_effect_false_tokens_are_as_rare_as_promised(classes):
    y, people = design(n_people=6, classes=classes)
    found, p = [], []
    for seed in range(60):
        table = distinctive_tokens(noise(y, seed, n_codes=6), y, groups=people, n_permutations=200)
        found.append(table["distinctive"].any())
        p += table["p"].tolist()
    assert np.sum(found) <= 8  # more has a probability below 0.01 if one in twenty is promised
    for level in (0.1, 0.25, 0.5, 0.75):
        assert abs(np.mean(np.array(p) <= level) - level) < 0.07


def test_tokens_of_single_people_are_no_finding_over_people():
    """Each person has tokens of his own: over windows that looks like a difference between ill and well."""
    rng = np.random.default_rng(0)
    _, people = design(n_people=8, n_windows=30)
    y = np.where(np.isin(people, ["p0", "p1", "p2", "p3"]), "ill", "well")
    own = {one: rng.dirichlet(np.full(N_CODES, 0.7)) for one in np.unique(people)}
    tokens = np.stack([rng.choice(N_CODES, (2, 9), p=own[one]) for one in people])
    assert distinctive_tokens(tokens, y, n_permutations=200)["distinctive"].sum() > N_CODES / 2
    assert distinctive_tokens(tokens, y, groups=people)["distinctive"].sum() == 0


def test_too_few_people_get_no_p_value():
    y, people = design(n_people=1)
    tokens = noise(y)
    tokens[y == "task"] = 4
    table = distinctive_tokens(tokens, y, groups=people)
    assert table["p"].isna().all() and not table["distinctive"].any() and table.attrs["n_units"] == 1
    assert table.iloc[0][["code", "class"]].tolist() == [4, "task"]  # what differs most still comes first
    y, people = design(n_people=4)
    tokens = noise(y)
    tokens[y == "task"] = 4
    table = distinctive_tokens(tokens, y, groups=people)
    assert table.attrs["p_smallest"] == 0.125 == table["p"].min() and not table["distinctive"].any()


def test_people_without_all_classes_are_left_out_and_counted():
    y, people = design(n_people=6)
    y[people == "p5"] = "rest"
    table = distinctive_tokens(noise(y), y, groups=people)
    assert (table.attrs["n_units"], table.attrs["n_left_out"]) == (5, 1)
    assert table["count"].sum() + table["count_rest"].sum() == 60 * 18
    three = np.where(np.arange(len(y)) % 2, "a", np.where(people < "p3", "b", "c"))
    with pytest.raises(InputError, match="all classes, or of one class each"):
        distinctive_tokens(noise(y), three, groups=people)


def test_log_odds_are_those_of_the_formula():
    count, rest = np.array([30, 5, 0, 65]), np.array([10, 5, 4, 181])
    before = 4 * (count + rest) / 300
    odds, z = log_odds(count, rest)
    for w in range(4):
        a = (count[w] + before[w]) / (100 + 4 - count[w] - before[w])
        b = (rest[w] + before[w]) / (200 + 4 - rest[w] - before[w])
        assert odds[w] == pytest.approx(np.log(a / b))
        assert z[w] == pytest.approx(np.log(a / b) / np.sqrt(1 / (count[w] + before[w]) + 1 / (rest[w] + before[w])))
    assert abs(log_odds(count, rest, prior=1e6)[0]).max() < 0.01  # a prior that knows everything


def test_rare_tokens_are_not_tested():
    y, people = design()
    tokens = noise(y)
    tokens[0, 0, 0] = 50
    table = distinctive_tokens(tokens, y, groups=people)
    assert 50 not in table["code"].tolist() and table.attrs["n_not_tested"] == 1
    nothing = distinctive_tokens(tokens, y, groups=people, min_count=10**6)
    assert len(nothing) == 0 == nothing.attrs["n_tests"]


@pytest.mark.parametrize("options", [{"correction": "bonferoni"}, {"alpha": 0}, {"n_permutations": 0}, {"prior": -1.0},
                                     {"min_count": 0}])  # fmt: skip
def test_wrong_options_are_refused(options):
    y, people = design()
    with pytest.raises(UsageError, match=next(iter(options))):
        distinctive_tokens(noise(y), y, groups=people, **options)


def test_one_class_is_refused():
    with pytest.raises(InputError, match="at least two classes, got rest"):
        distinctive_tokens(noise(np.zeros(6)), ["rest"] * 6)
    with pytest.raises(InputError, match="class of each window as y, got None"):
        distinctive_tokens(noise(np.zeros(6)), None)


def test_many_windows_and_one_token_do_no_harm():
    y = np.tile(["a", "b"], 400)
    table = distinctive_tokens(np.zeros((800, 1, 2), int), y, n_permutations=50)
    assert table["p"].tolist() == [1.0] and table["log_odds"].tolist() == [0.0]


# -- consistency ------------------------------------------------------------------------------------------------------


def test_similarity_is_one_minus_jensen_shannon_divergence():
    rng = np.random.default_rng(0)
    counts, others = rng.integers(0, 9, (3, 7)), rng.integers(0, 9, (2, 7))
    expected = [[1 - jensenshannon(a, b, base=2) ** 2 for b in others] for a in counts]
    np.testing.assert_allclose(similarity(counts, others), expected, atol=1e-12)
    np.testing.assert_allclose(similarity(np.array([[3, 1, 0, 0], [6, 2, 0, 0], [0, 0, 5, 2]])),
                               [[1, 1, 0], [1, 1, 0], [0, 0, 1]], atol=1e-12)  # fmt: skip


def test_equal_channels_are_consistent_and_shuffled_ones_at_chance():
    y, people = design()
    tokens = noise(y, shape=(4, 9))
    row = token_consistency(tokens, people, n_permutations=50).table.loc["same token across channels"]
    assert row["chance_low"] <= row["value"] <= row["chance_high"] and abs(row["above_chance"]) < 0.02
    # by chance: the products of the channels' own shares
    shares = np.stack([np.bincount(tokens[:, c].ravel(), minlength=N_CODES) / tokens[:, c].size for c in range(4)])
    expected = np.mean([shares[a] @ shares[b] for a, b in itertools.combinations(range(4), 2)])
    assert row["chance"] == pytest.approx(expected, abs=0.003)
    pairs = [(tokens[:, a] == tokens[:, b]).mean() for a, b in itertools.combinations(range(4), 2)]
    assert row["value"] == pytest.approx(np.mean(pairs)) and row["n"] == 6
    tokens[:] = tokens[:, :1]
    row = token_consistency(tokens, people, n_permutations=50).table.loc["same token across channels"]
    assert row["value"] == 1 and row["above_chance"] == pytest.approx(1) and row["p"] == pytest.approx(1 / 51)


def test_neighbours_in_time():
    y, _ = design()
    table = token_consistency(noise(y), n_permutations=50).table
    row = table.loc["same token in next frame"]
    assert abs(row["above_chance"]) < 0.03 and row["n"] == len(y) * 2 * 8
    assert "within subjects" not in table.index
    runs = np.repeat(noise(y, shape=(2, 3)), 3, axis=-1)
    row = token_consistency(runs, n_permutations=50).table.loc["same token in next frame"]
    assert row["value"] == pytest.approx(6 / 8 + (runs[..., 3:7:3] == runs[..., 2:6:3]).mean() * 2 / 8)
    assert row["value"] > row["chance_high"] and row["p"] == pytest.approx(1 / 51)


def test_people_with_tokens_of_their_own_are_told_apart():
    rng = np.random.default_rng(0)
    y, people = design()
    own = {one: rng.dirichlet(np.full(N_CODES, 0.3)) for one in np.unique(people)}
    tokens = np.stack([rng.choice(N_CODES, (2, 9), p=own[one]) for one in people])
    found = token_consistency(tokens, people, n_permutations=60)
    table = found.table
    assert table.loc["within subjects", "value"] > 0.9 > table.loc["between subjects", "value"] + 0.2
    assert table.loc["within minus between", "p"] == pytest.approx(1 / 61)
    own_half = np.diag(found.subjects).mean()
    assert own_half == pytest.approx(table.loc["within subjects", "value"])
    alike = token_consistency(noise(y), people, n_permutations=60).table.loc["within minus between"]
    assert alike["chance_low"] <= alike["value"] <= alike["chance_high"]


def test_alternating_conditions_do_not_split_a_person():
    y, people = design(n_windows=40)
    tokens = noise(y)
    tokens[y == "task"] += N_CODES
    table = token_consistency(tokens, people, n_permutations=20).table
    assert table.loc["within subjects", "value"] > 0.9


def test_names_of_channels_and_refusals():
    y, _ = design()
    found = token_consistency(noise(y), ch_names=["C3", "C4"], n_permutations=2)
    assert found.channels.columns.tolist() == ["C3", "C4"] and found.subjects is None
    with pytest.raises(InputError, match="one name a channel"):
        token_consistency(noise(y), ch_names=["C3"])
    with pytest.raises(InputError, match="at least two windows a person"):
        token_consistency(noise(y), np.arange(len(y)))
    with pytest.raises(UsageError, match="n_permutations"):
        token_consistency(noise(y), n_permutations=0)


# -- motifs -----------------------------------------------------------------------------------------------------------


def recordings():
    """Five people; over the first channel 10 Hz at rest and 40 Hz in the task, over the second always 80 Hz."""
    y, people = design(n_people=5, n_windows=4)
    frequencies = np.column_stack([np.where(y == "task", 40, 10), np.full(len(y), 80)])
    return rhythms(frequencies), y, people


def test_motifs_show_the_pieces_that_got_a_token():
    X, y, people = recordings()
    tokenizer = PeakTokenizer()
    tokens = tokenizer.transform(X)
    found = motifs(tokenizer, X, [5, 20, 40], n_examples=6, y=y, groups=people)
    assert [motif.code for motif in found] == [5, 20, 40]
    for motif, hz in zip(found, (10, 40, 80), strict=True):
        assert motif.count == (tokens == motif.code).sum() == sum(motif.by_group.values()) == motif.by_channel.sum()
        assert motif.freqs[motif.spectrum.argmax()] == hz
        assert motif.spectrogram.shape == (len(motif.spectrogram_freqs), len(motif.spectrogram_times))
        near = np.abs(motif.spectrogram_freqs - hz) <= 4
        # a token with a quarter of the pieces, and all of a frequency, has four times what the mean piece has of it
        over = 10 * np.log10(tokens.size / motif.count)
        assert motif.spectrogram[near].mean(axis=1).max() == pytest.approx(over, abs=0.7)
        assert motif.examples.shape == (6, LENGTH) and len(motif.times) == LENGTH
        for place, piece in zip(motif.places.itertuples(), motif.examples, strict=True):
            assert tokens[place.window, place.channel, place.frame] == motif.code
            signal = X[place.window, place.channel]
            expected = (signal / signal.std())[place.frame * HOP :][:LENGTH]
            np.testing.assert_allclose(piece, expected, rtol=1e-5, atol=1e-5)
        # people in turn: five of them in six examples
        assert set(people[motif.places["window"][:5]]) == set(people)
    assert found[0].by_class == {"rest": found[0].count, "task": 0} and found[2].by_channel[0] == 0
    assert found[0].by_group == dict.fromkeys(np.unique(people), 2 * tokens.shape[2])


def test_the_most_frequent_tokens_are_taken_and_draws_are_seeded():
    X, _, _ = recordings()
    found = motifs(PeakTokenizer(), X, n=2)
    assert found[0].code == 40 and len(found) == 2 and found[0].by_group == {}
    again = motifs(PeakTokenizer(), X, n=2, tokens=PeakTokenizer().transform(X))
    np.testing.assert_array_equal(found[1].examples, again[1].examples)
    other = motifs(PeakTokenizer(), X, n=2, random_state=1)
    assert not np.array_equal(found[1].examples, other[1].examples)


def test_motifs_refuse_what_is_not_there():
    X, _, _ = recordings()
    with pytest.raises(InputError, match="token 50 does not occur"):
        motifs(PeakTokenizer(), X, [5, 50])
    with pytest.raises(InputError, match="tokens of 20 and 3 windows"):
        motifs(PeakTokenizer(), X[:3], tokens=PeakTokenizer().transform(X))
    with pytest.raises(UsageError, match="no axis 'level'"):
        motifs(PeakTokenizer(), X, codebook={"level": 0})


@pytest.mark.parametrize("kind", ["TFM", "NeuroRVQ"])
def test_motifs_of_both_tokenizers(kind):
    """Their pieces are the samples that the network sees."""
    from neurosig.tokenizers import NeuroRVQTokenizer, TFMTokenizer

    X = rhythms(np.tile([[10, 20], [20, 10]], (4, 1)))
    if kind == "TFM":
        tokenizer = TFMTokenizer(**TFMTokenizer._get_test_params()).set_params(sfreq=200.0, batch_size=3).fit(X)
        length, hop, codebook = 200, 100, {}
    else:
        tokenizer = NeuroRVQTokenizer(
            unit="uV", sfreq=200.0, ch_names=["C3", "C4"], patch_size=40, n_codes=8, code_dim=4, n_levels=2, depth=1,
            decoder_depth=1, max_epochs=1, batch_size=3, random_state=0, device="cpu",
        ).fit(X)  # fmt: skip
        length, hop, codebook = 40, 40, {"scale": 3, "level": 1}
    tokens = take_codebook(tokenizer.transform(X), tokenizer, **codebook)
    for motif in motifs(tokenizer, X, n=2, codebook=codebook):
        assert motif.codebook == codebook and motif.count == (tokens == motif.code).sum() and motif.sfreq == 200
        for place, piece in zip(motif.places.itertuples(), motif.examples, strict=True):
            assert tokens[place.window, place.channel, place.frame] == motif.code
            signal = X[place.window, place.channel]
            expected = (signal / signal.std())[place.frame * hop :][:length]
            np.testing.assert_allclose(piece, expected, rtol=1e-4, atol=1e-4)


# -- all together -----------------------------------------------------------------------------------------------------


def test_an_analysis_of_a_dataset_takes_its_classes_and_people():
    X, y, people = recordings()
    metadata = pd.DataFrame({"subject": people, "session": "0", "run": "0"})
    data = SignalDataset(X, y, metadata, SignalSpec("eeg", ("C3", "C4"), sfreq=200.0, unit="uV"))

    class OfDatasets(PeakTokenizer):
        def _run(self, X):
            yield from super()._run(getattr(X, "X", X))

        def spectra(self, X):
            return super().spectra(getattr(X, "X", X))

    found = analyse_tokens(OfDatasets(), data, n_motifs=3)
    assert found.about["classes"] == {"rest": 10, "task": 10} and found.about["n_people"] == 5
    assert found.distinctive.attrs["n_units"] == 5 and found.about["frame"] == 0.5 and found.about["hop"] == 0.25
    assert found.histogram.index.tolist() == found.shares.index.tolist() == [40, 5, 20]
    np.testing.assert_allclose(found.shares["task"][[40, 20, 5]], [0.5, 0.5, 0.0])
    assert found.reconstruction.loc["alpha", "nmse"] == pytest.approx(0.25)
    assert [motif.code for motif in found.motifs] == [40, 5, 20]
    plain = analyse_tokens(PeakTokenizer(), X)
    assert plain.distinctive is None and plain.about["n_people"] is None
    assert plain.consistency.subjects is None


def test_tokens_outside_the_vocabulary_are_refused():
    X = rhythms(np.full((4, 2), 10.0))
    right = PeakTokenizer().transform(X)
    for wrong in (right + 600, right - 600):
        with pytest.raises(InputError, match="expected tokens from 0 to 50"):
            motifs(PeakTokenizer(), X, tokens=wrong)
    with pytest.raises(InputError, match="expected tokens from 0 to 50, got 6"):
        take_codebook(right + 600, PeakTokenizer())
    for analysis in (token_histogram, token_consistency, lambda t: distinctive_tokens(t, [0, 1, 0, 1])):
        with pytest.raises(InputError, match="expected tokens from 0 on, got -"):
            analysis(right - 600)


def test_a_motif_is_shown_in_a_line():
    (one,) = motifs(PeakTokenizer(), rhythms(np.full((4, 2), 10.0)), n=1)
    assert repr(one) == f"<Motif: token 5, {one.count} times in 4 windows>"
