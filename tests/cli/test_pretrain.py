"""``neurosig pretrain`` as a shell sees it."""

import json
import re

import mne
import numpy as np
import pytest

from neurosig.cli.pretrain import _set
from neurosig.cli.pretrain import command as pretrain
from neurosig.core.errors import UsageError
from neurosig.models import TFMEmbedder
from neurosig.models.pretraining import EMBEDDERS
from neurosig.tokenizers import TFMTokenizer, load_tokenizer
from neurosig.tokenizers.pretraining import SYSTEMS

TINY = [
    "--size", "small", "--window", "2", "--epochs", "2", "--batch", "8", "--device", "cpu", "--set", "n_codes=16",
    "--set", "emb_size=16", "--set", "decoder_depth=1",
]  # fmt: skip


def record(path, seed=0, sfreq=200.0, ch_names=("C3", "Cz", "C4")):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((len(ch_names), round(10 * sfreq))).cumsum(axis=1)
    X = 1e-5 * (X - X.mean(axis=1, keepdims=True)) / X.std()
    info = mne.create_info(list(ch_names), sfreq, "eeg", verbose="error")
    mne.io.RawArray(X, info, verbose="error").save(path, verbose="error")


@pytest.fixture
def recordings(tmp_path):
    place = tmp_path / "recordings"
    place.mkdir()
    for subject in (1, 2, 3):
        record(place / f"sub-{subject}_raw.fif", subject)
    return place


def test_a_tokenizer_is_learned_stored_and_told_of(cli, recordings, tmp_path):
    record(tmp_path / "sub-9_raw.fif", 9, 128.0, ["Pz", "Oz"])
    done = cli("pretrain", "tfm", recordings, tmp_path / "sub-9_raw.fif", "--out", "out", "--validation", "0.34", *TINY)
    assert done.returncode == 0, done.stderr
    assert "learned from 20 windows of 2 s" in done.stdout
    assert "15 windows, 3 channels, 3 recordings of 3 subjects" in done.stdout
    assert "5 windows, 2 channels, 1 recordings of 1 subject" in done.stdout
    (held,) = re.findall(r"held back to judge it: subjects? (.+)\n", done.stdout)
    assert set(held.split(", ")) < {"1", "2", "3", "9"}
    assert re.search(r"epoch +train_loss +valid_loss", done.stdout) and "kept" in done.stdout
    assert re.search(r"level +codes used +perplexity", done.stdout) and "of 16" in done.stdout
    assert re.search(r"delta +\d\.\d{3} +-?\d\.\d{3}", done.stdout)
    assert "next: neurosig tokenize RECORDINGS --tokenizer out --out tokens/" in done.stderr
    stored = {item.name for item in (tmp_path / "out").iterdir()}
    assert stored == {"README.md", "config.json", "model.safetensors", "trained_on.json"}
    told = json.loads((tmp_path / "out" / "trained_on.json").read_text())["before"]
    assert [(layer["dataset"], layer["subjects"]) for layer in told] == [
        ("recordings", ["1", "2", "3"]), ("sub-9-raw", ["9"]),
    ]  # fmt: skip
    tokenizer = load_tokenizer(tmp_path / "out")
    assert isinstance(tokenizer, TFMTokenizer) and tokenizer.n_codes == 16 and tokenizer.validation == 0.34
    again = cli("pretrain", "tfm", recordings, "--out", "out", *TINY)
    assert again.returncode == 1 and "holds a tokenizer already (TFMTokenizer): --overwrite" in again.stderr
    assert not again.stdout


def test_json_is_one_object_alone_on_stdout(cli, recordings, tmp_path):
    call = ["pretrain", "tfm", recordings, "--subjects", "1,3", "--validation", "0", "--seed", "5", *TINY]
    done = cli(*call, "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["estimator"], answer["n_windows"], answer["seed"], answer["window"]) == ("TFMTokenizer", 10, 5, 2.0)
    assert answer["collections"] == [{"channels": 3, "windows": 10, "recordings": 2, "subjects": 2}]
    assert [row["epoch"] for row in answer["history"]] == [1, 2] and "valid_loss" not in answer["history"][0]
    assert answer["usage"][0]["n_codes"] == 16 and answer["bands"][0]["band"] == "delta"


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (
            ["nothing", "x", "-o", "out"],
            2,
            "no system 'nothing' to pretrain; there are tfm, neurorvq, neurorvq-embedder, tfm-encoder",
        ),
        (["tfm", "x", "-o", "out", "--window", "0.3"], 2, "a token takes 1 s; give --window 1 or more"),
        (["tfm", "x", "-o", "out", "--size", "huge"], 2, "tfm has no size 'huge'"),
        (["tfm", "x", "-o", "out", "-t", "tok"], 2, "tfm is a tokenizer itself: leave --tokenizer out"),
        (["tfm-encoder", "x", "-o", "out"], 2, "say which, --tokenizer FOLDER"),
        (["tfm-encoder", "x", "-o", "out", "-t", "tok"], 1, "tok"),
        (["tfm", "x", "-o", "out", "--set", "lr"], 2, "--set takes NAME=VALUE"),
        (["tfm", "x", "-o", "out", "--set", "size=3"], 2, "has no parameter 'size'"),
        (["tfm", "x.edf", "-o", "out"], 2, "no such file or folder"),
        (["tfm", "-o", "out"], 2, "Missing argument"),
    ],
)
def test_wrong_use_is_told_in_a_line(cli, tmp_path, given, code, message):
    done = cli("pretrain", *given)
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_network_on_tokens_is_learned_from_the_same_recordings(cli, recordings, tmp_path):
    tiny = {"n_codes": 16, "emb_size": 16, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2}
    X = np.random.default_rng(0).standard_normal((8, 3, 400))
    TFMTokenizer(max_epochs=1, any_channels=True, sfreq=200.0, device="cpu", **tiny).fit(X).save_pretrained(
        tmp_path / "tok", trained_on=["x"]
    )
    call = ["pretrain", "tfm-encoder", recordings, "--tokenizer", "tok", "--out", "enc"]
    options = ["--size", "small", "--epochs", "2", "--batch", "8", "--device", "cpu", "--validation", "0.34"]
    done = cli(*call, *options)
    assert done.returncode == 0, done.stderr
    assert "learned from 15 windows of 2 s" in done.stdout  # as long as those of the tokenizer
    assert re.search(r"epoch +train_loss.* +valid_loss", done.stdout) and "kept" in done.stdout
    assert "next: neurosig.models.TFMClassifier(pretrained='enc')" in done.stderr
    told = json.loads((tmp_path / "enc" / "trained_on.json").read_text())
    assert told["subjects"] == ["1", "2", "3"] and told["before"][0]["subjects"] == ["x"]
    learned = TFMEmbedder.from_pretrained(tmp_path / "enc", device="cpu")
    assert learned.transform(X).shape == (8, 16) and learned.module_.encoder.max_chans == 16
    again = cli(*call, *options)
    assert again.returncode == 1 and "holds a network already (TFMEmbedder)" in again.stderr and not again.stdout
    other = cli("pretrain", "neurorvq-embedder", recordings, "-t", "tok", "-o", "other")
    assert other.returncode == 2 and "tokens of a NeuroRVQTokenizer, got a TFMTokenizer" in other.stderr
    assert not (tmp_path / "other").exists()


def test_values_of_parameters_are_read_as_what_they_are():
    given = ["lr=1e-4", "betas=(0.9, 0.95)", "kmeans_init=true", "restart_dead_codes=none", "precision=bfloat16"]
    assert _set(given) == {
        "lr": 1e-4, "betas": (0.9, 0.95), "kmeans_init": True, "restart_dead_codes": None, "precision": "bfloat16",
    }  # fmt: skip
    for wrong in ("lr", "=3", "lr=", "a b=3"):
        with pytest.raises(UsageError, match="--set takes NAME=VALUE"):
            _set([wrong])


def test_the_help_names_every_system_and_size():
    for system in (SYSTEMS | EMBEDDERS).values():
        assert re.search(rf"^  {system.name} .*sizes {', '.join(system.sizes)}", pretrain.__doc__, re.MULTILINE)
