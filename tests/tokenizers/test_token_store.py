"""The token store: what goes in comes out, whole or not at all, and what is damaged says so."""

import json

import lives
import numpy as np
import pytest
import zarr

from neurosig.core.errors import InputError, StorageError, UsageError
from neurosig.tokenizers.token_store import RecordingFacts, StoreFacts, TokenStore

FACTS = StoreFacts("TFMTokenizer", "ab12", 8192, ("window", "channel", "frame"), 5.0, 2.5)
RECORDING = RecordingFacts("1", "0", "2", ("C3", "C4"), 128.0, {"file": "a.edf", "size": 7, "digest": "cd"}, "key")


def tokens(n, seed=0, vocabulary=8192):
    return np.random.default_rng(seed).integers(vocabulary, size=(n, 2, 9))


def write(store, name, given, blocks=3, facts=RECORDING, labels=None):
    with store.write(name, facts, len(given)) as writer:
        for rows in np.array_split(np.arange(len(given)), blocks):
            writer.append(given[rows], 2.5 * rows, None if labels is None else labels[rows])


@pytest.fixture
def store(tmp_path):
    return TokenStore.create(tmp_path / "store", FACTS)


def test_what_goes_in_comes_out(store):
    labels = np.array(["left", "right", "", "left", "", "", "right"], dtype=object)
    given = tokens(7)
    write(store, "sub-10_run-1", given, labels=labels)
    write(store, "sub-9_run-1", tokens(2, seed=1))
    again = TokenStore(store.path)
    assert again.facts == FACTS and again.recordings == ["sub-9_run-1", "sub-10_run-1"] == list(again)
    assert len(again) == 2 and "sub-9_run-1" in again and "sub-1" not in again
    found = again.tokens("sub-10_run-1")
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, given)
    np.testing.assert_array_equal(again.tokens("sub-10_run-1", slice(2, 5)), given[2:5])
    np.testing.assert_array_equal(again.starts("sub-10_run-1"), 2.5 * np.arange(7))
    assert again.labels("sub-10_run-1").tolist() == labels.tolist()
    assert again.labels("sub-9_run-1") is None
    facts = again.info("sub-10_run-1")
    assert (facts.ch_names, facts.sfreq, facts.source["file"], facts.n_windows) == (("C3", "C4"), 128.0, "a.edf", 7)
    table = again.to_frame()
    assert table["recording"].tolist() == ["sub-9_run-1"] * 2 + ["sub-10_run-1"] * 7
    assert table["label"].tolist() == [None] * 2 + ["left", "right", None, "left", None, None, "right"]
    assert (table["stop"] - table["start"] == 5.0).all() and table["run"].eq("2").all()
    assert len(again.to_frame(["sub-9_run-1"])) == 2


def test_zarr_reads_it_without_us(store):
    given = tokens(5)
    write(store, "a", given)
    group = zarr.open_group(store.path, mode="r")
    assert [name for name, _ in group.groups()] == ["a"]
    array = group["a"]["tokens"]
    assert array.dtype == np.int16 and array.metadata.dimension_names == FACTS.token_axes
    np.testing.assert_array_equal(array[:], given)
    assert group.attrs["neurosig"]["vocabulary_size"] == 8192


@pytest.mark.parametrize(("vocabulary", "dtype"), [(2**15, np.int16), (2**15 + 1, np.int32)])
def test_the_smallest_type_that_holds_the_vocabulary(tmp_path, vocabulary, dtype):
    facts = StoreFacts("X", "1", vocabulary, FACTS.token_axes, 1.0, 1.0)
    store = TokenStore.create(tmp_path / "store", facts)
    given = np.full((1, 2, 9), vocabulary - 1)
    write(store, "a", given, blocks=1)
    assert zarr.open_array(store.path / "a" / "tokens", mode="r").dtype == dtype
    np.testing.assert_array_equal(store.tokens("a"), given)


def test_chunks_are_of_windows_and_written_once(tmp_path):
    facts = StoreFacts("X", "1", 16, ("window", "patch"), 1.0, 1.0)
    store = TokenStore.create(tmp_path / "store", facts)
    given = np.random.default_rng(0).integers(16, size=(1000, 1024))
    with store.write("a", RECORDING, 1200) as writer:  # fewer come than were told of
        for rows in np.array_split(np.arange(1000), 37):
            writer.append(given[rows], rows)
            assert sum(map(len, writer._waiting)) < 256 + 28  # less than a chunk waits for more
    array = zarr.open_array(store.path / "a" / "tokens", mode="r")
    assert array.chunks == (256, 1024) and array.shape == (1000, 1024)
    assert len(list((store.path / "a" / "tokens" / "c").iterdir())) == 4
    np.testing.assert_array_equal(store.tokens("a"), given)


def test_a_failure_leaves_nothing_behind(store):
    write(store, "a", tokens(3))
    with pytest.raises(RuntimeError), store.write("a", RECORDING, 4) as writer:
        writer.append(tokens(2, seed=5), [0.0, 1.0])
        raise RuntimeError
    with pytest.raises(InputError, match="no window was left"), store.write("b", RECORDING, 4):
        pass
    np.testing.assert_array_equal(store.tokens("a"), tokens(3))  # the old one is there still
    assert sorted(item.name for item in store.path.iterdir()) == ["a", "zarr.json"]


def _two(folder):
    made = TokenStore.create(f"{folder}/store", FACTS)
    made.sweep()
    for number, name in enumerate("ab"):
        if not made.has(name, "key"):
            write(made, name, tokens(4, seed=number))


def test_killed_at_any_file_event_it_holds_whole_recordings_only(tmp_path):
    (tmp_path / "whole").mkdir()
    assert lives.ended(lives.begin(tmp_path / "whole", _two, str(tmp_path / "whole")))
    n_events = lives.n_events(tmp_path / "whole")
    assert n_events > 20
    for kill_at in np.linspace(2, n_events - 1, 5).astype(int):
        place = tmp_path / str(kill_at)
        place.mkdir()
        assert not lives.ended(lives.begin(place, _two, str(place), kill_at=int(kill_at)))
        if (place / "store" / "zarr.json").exists():
            there = TokenStore(place / "store")
            for name in there:  # those that are there are whole
                np.testing.assert_array_equal(there.tokens(name), tokens(4, seed="ab".index(name)))
        _two(place)
        again = TokenStore(place / "store")
        assert again.recordings == ["a", "b"]
        np.testing.assert_array_equal(again.tokens("b"), tokens(4, seed=1))
        assert not list((place / "store").glob(".[ab].*"))  # what the kill left is swept


def test_other_tokens_do_not_mix(store):
    for name, other in (("tokenizer", "Other"), ("digest", "cc"), ("window", 4.0), ("step", 5.0)):
        changed = StoreFacts(**{**FACTS.__dict__, name: other})
        with pytest.raises(UsageError, match=f"another {name if name in ('window', 'step') else 'tokenizer'}.*{other}"):
            TokenStore.create(store.path, changed)
    assert TokenStore.create(store.path, FACTS).facts == FACTS


def test_foreign_folders_are_refused_and_left_alone(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for make in (lambda path: TokenStore.create(path, FACTS), TokenStore):
        with pytest.raises(StorageError, match=r"other files|no zarr\.json"):
            make(tmp_path / "other")
    assert [item.name for item in (tmp_path / "other").iterdir()] == ["notes.txt"]
    zarr.open_group(tmp_path / "zarr", mode="w")
    with pytest.raises(StorageError, match="written by something else"):
        TokenStore.create(tmp_path / "zarr", FACTS)
    with pytest.raises(StorageError, match="is not there"):
        TokenStore(tmp_path / "nothing")
    with pytest.raises(StorageError, match="is a file"):
        TokenStore(tmp_path / "other" / "notes.txt")


def test_another_version_is_refused(store):
    head = json.loads((store.path / "zarr.json").read_text())
    head["attributes"]["neurosig"]["version"] = 2
    (store.path / "zarr.json").write_text(json.dumps(head))
    with pytest.raises(StorageError, match="of version 2, this neurosig"):
        TokenStore(store.path)


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [_cut, _flip, lambda path: path.unlink()], ids=["cut", "flipped", "gone"])
@pytest.mark.parametrize("part", ["tokens/c/0/0/0", "starts/c/0", "labels/c/0", "tokens/zarr.json", "zarr.json"])
def test_damage_is_told(store, part, harm):
    write(store, "a", tokens(6), labels=np.array(["x", "y"] * 3, dtype=object))
    if part.endswith("zarr.json") and harm is _flip:
        harm = _cut
    harm(store.path / "a" / part)
    with pytest.raises(StorageError, match=r"damaged|not a token store"):
        _ = store.tokens("a"), store.starts("a"), store.labels("a")
    assert store.recordings == ["a"]


def test_tokens_that_are_none_are_refused(store):
    wrong = (np.full((1, 2, 9), 8192), np.full((1, 2, 9), -1), np.zeros((1, 9), dtype=int), np.zeros((2, 2, 9), int))
    for given in wrong:
        with pytest.raises(InputError, match="expected tokens"), store.write("a", RECORDING, 2) as writer:
            writer.append(given, [0.0])
    with pytest.raises(InputError, match="of shape"), store.write("a", RECORDING, 2) as writer:
        writer.append(tokens(1), [0.0])
        writer.append(tokens(1)[:, :, :5], [1.0])
    with pytest.raises(UsageError, match="names of recordings"), store.write("../a", RECORDING, 2):
        pass
    with pytest.raises(UsageError, match="has no recording 'b'"):
        store.tokens("b")
    assert store.to_frame().empty


@pytest.mark.parametrize("noted", [True, False], ids=["sizes noted", "a store of before"])
@pytest.mark.parametrize("part", ["tokens/c/0/0/0", "starts/c/0", "labels/c/0"])
def test_what_is_damaged_is_not_finished(store, part, noted):
    write(store, "a", tokens(3), labels=np.array(["x", "y", ""], dtype=object))
    write(store, "whole", tokens(3))
    if not noted:
        head = store.path / "a" / "zarr.json"
        told = json.loads(head.read_text())
        assert part in told["attributes"]["neurosig"].pop("files")
        head.write_text(json.dumps(told))
    assert store.has("a", "key") and store.damage("a") is None
    chunk = store.path / "a" / part
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-1] if noted else b"")
    assert not store.has("a", "key") and f"{part} has {len(whole) - 1 if noted else 0} bytes" in store.damage("a")
    chunk.unlink()
    assert not store.has("a", "key") and store.damage("a") == f"{part} is gone"
    assert store.has("whole", "key")


def test_stores_of_before_named_the_first_axis_otherwise():
    old = StoreFacts("NeuroRVQTokenizer", "1", 16, ("n", "scale", "level", "channel", "patch"), 1.0, 1.0)
    assert old.token_axes == ("window", "scale", "level", "channel", "patch")
