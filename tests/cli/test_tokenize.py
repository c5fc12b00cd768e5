"""``neurosig tokenize`` as a shell sees it."""

import json

import mne
import numpy as np
import pytest

from neurosig.tokenizers import TFMTokenizer, TokenStore

CHANNELS = ["C3", "Cz", "C4"]


def recording(seconds=10.0, seed=0):
    rng = np.random.default_rng(seed)
    X = 1e-5 * rng.standard_normal((3, round(seconds * 200)))
    return mne.io.RawArray(X, mne.create_info(CHANNELS, 200.0, "eeg", verbose="error"), verbose="error")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A stored tokenizer, learned from windows of two seconds."""
    tiny = {"freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2, "max_epochs": 1, "device": "cpu"}
    made = TFMTokenizer(n_codes=16, emb_size=16, sfreq=200.0, any_channels=True, random_state=0, **tiny)
    made.fit(recording(40.0).get_data().reshape(3, 20, 400).swapaxes(0, 1))
    return made.save_pretrained(tmp_path_factory.mktemp("tokenizer") / "tokenizer")


@pytest.fixture
def recordings(tmp_path):
    place = tmp_path / "recordings"
    place.mkdir()
    for subject in (1, 2):
        recording(10.5, subject).save(place / f"sub-{subject}_raw.fif", verbose="error")
    return place


def test_a_first_and_a_second_call(cli, tokenizer, recordings, tmp_path):
    call = ("tokenize", recordings, "--tokenizer", tokenizer, "--out", "tokens")
    done = cli(*call)
    assert done.returncode == 0, done.stderr
    assert "2 recordings: 2 tokenized" in done.stdout
    assert "store: tokens (2 recordings; tokens of 16 codes, axes window, channel, frame, windows of 2 s" in done.stdout
    assert "TokenStore('tokens').tokens(\"sub-1_ses-0_run-0\")" in done.stderr
    store = TokenStore(tmp_path / "tokens")
    assert store.tokens("sub-1_ses-0_run-0").shape == (5, 3, 3)
    expected = TFMTokenizer.from_pretrained(tokenizer).transform(
        mne.io.read_raw_fif(recordings / "sub-2_raw.fif", verbose="error")
        .get_data()[:, :2000].reshape(3, 5, 400).swapaxes(0, 1)
    )  # fmt: skip
    np.testing.assert_array_equal(store.tokens("sub-2_ses-0_run-0"), expected)
    again = cli(*call, "--json")
    assert again.returncode == 0, again.stderr
    answer = json.loads(again.stdout)
    assert [(row["name"], row["state"]) for row in answer["recordings"]] == [
        ("sub-1_ses-0_run-0", "skipped"), ("sub-2_ses-0_run-0", "skipped"),
    ]  # fmt: skip
    assert answer["recordings"][0]["channels"] == CHANNELS and answer["recordings"][0]["seconds_left"] == 0.5
    other = cli(*call, "--window", "4")
    assert other.returncode == 2 and "tokens of another window (2.0, this is 4.0)" in other.stderr


def test_one_failure_is_exit_1_and_the_others_are_done(cli, tokenizer, recordings, tmp_path):
    (recordings / "sub-3_raw.fif").write_bytes(b"no recording at all")
    done = cli(
        "tokenize", recordings, "-t", tokenizer, "-o", "tokens", "--picks", "Cz,C3", "--window", "3", "--step", "1"
    )
    assert done.returncode == 1
    assert "3 recordings: 2 tokenized, 1 failed" in done.stdout
    assert "warning: failed: sub-3_ses-0_run-0: " in done.stderr and "Traceback" not in done.stderr
    store = TokenStore(tmp_path / "tokens")
    assert store.recordings == ["sub-1_ses-0_run-0", "sub-2_ses-0_run-0"]
    assert store.info("sub-1_ses-0_run-0").ch_names == ("Cz", "C3")
    assert store.starts("sub-1_ses-0_run-0").tolist() == [float(second) for second in range(8)]


def test_a_dataset_by_name(cli, tokenizer, tmp_path):
    done = cli("tokenize", "simulated-imagery", "--subjects", "1", "-t", tokenizer, "-o", "tokens", "--window", "5")
    assert done.returncode == 0, done.stderr
    store = TokenStore(tmp_path / "tokens")
    assert store.recordings[0] == "simulated-imagery_sub-1_ses-0_run-0"
    assert store.info(store.recordings[0]).subject == "1"


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (["nowhere.edf", "-o", "out"], 2, "no such file or folder"),
        (["recordings", "-o", "recordings"], 2, "choose a folder of its own for the tokens"),
        (["recordings/sub-1_raw.fif", "-o", "notes"], 1, "holds other files, not a token store"),
        (["recordings", "-o", "out", "--on-unknown", "drop"], 2, "--on-unknown means nothing to a TFMTokenizer"),
        (["recordings", "-o", "out", "--batch", "0"], 2, "--batch must be 1 or more"),
        (["recordings", "-o", "out", "--jobs", "0"], 2, "n_jobs must be"),
        (["recordings", "-o", "out", "--window", "0.3"], 2, "a token takes 1 s; give --window 1 or more"),
        (["recordings", "-o", "out", "--step", "-1"], 2, "step must be a time above 0 in seconds"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(cli, tokenizer, recordings, given, code, message):
    (recordings.parent / "notes").mkdir()
    (recordings.parent / "notes" / "notes.txt").write_text("mine")
    done = cli("tokenize", *given, "-t", tokenizer)
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr


def test_a_folder_that_is_no_tokenizer(cli, recordings):
    done = cli("tokenize", recordings, "-t", recordings, "-o", "out")
    assert done.returncode == 1 and "not a saved tokenizer" in done.stderr


def test_a_page_on_a_sample(cli, tokenizer, recordings, tmp_path):
    done = cli("tokenize", recordings, "-t", tokenizer, "-o", "tokens", "--report", "tokens.html", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["report"] == "tokens.html"
    page = (tmp_path / "tokens.html").read_text()
    assert "Tokens of 2 recordings" in page and "10 windows of 2 people" in page
    assert "A sample: 10 of 10 windows." in page
    refused = cli("tokenize", recordings, "-t", tokenizer, "-o", "tokens", "--report", tmp_path)
    assert refused.returncode == 2 and "--report names the HTML file to write" in refused.stderr
