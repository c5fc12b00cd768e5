"""Manifests: what they may say, what is refused, and that the recordings behind them are the right ones."""

import gzip
import hashlib
import json

import mne
import numpy as np
import pytest

from neurosig.core.errors import InputError, ManifestError, UsageError
from neurosig.loaders import content
from neurosig.loaders.eeg import load_eeg
from neurosig.loaders.manifest import Manifest, list_manifests, open_dataset, read_manifest
from neurosig.loaders.manifest_schema import ReadFields, safe_join
from neurosig.loaders.recordings import ReadOptions

MINIMAL = """\
name: lab
title: Two hands
paradigm: imagery
source:
  files:
    - {path: a.npz, subject: 1}
    - {path: b.npz, subject: 2}
events: [left_hand, right_hand]
processing: {tmin: 0.0, tmax: 0.9}
"""


def write_trials(path, seed, n_runs=2):
    rng = np.random.default_rng(seed)
    run = np.repeat(np.arange(n_runs), 8)
    np.savez(
        path,
        X=rng.standard_normal((len(run), 3, 100)).astype("float32") * 10,
        y=np.tile([0, 1], len(run) // 2),
        run=run,
        ch_names=np.array(["C3", "Cz", "C4"]),
        sfreq=100.0,
        tmin=0.0,
        class_names=np.array(["left_hand", "right_hand"]),
        unit_uV=1.0,
    )


@pytest.fixture
def lab(tmp_path):
    """A manifest of two subjects with two runs of eight trials each."""
    write_trials(tmp_path / "a.npz", 1)
    write_trials(tmp_path / "b.npz", 2)
    (tmp_path / "lab.yml").write_text(MINIMAL)
    return tmp_path


def in_band(X):
    """Each trial on its own in the band of imagery, which a manifest that states none means; by mne itself."""
    return mne.filter.filter_data(X.astype(float), 100.0, 8.0, 32.0, method="iir", verbose="error")


def refused(tmp_path, text):
    """The message that a malformed manifest is refused with: always one line that names the file."""
    path = tmp_path / "bad.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "bad.yml" in message
    return message


# ---------------------------------------------------------------------------- the manifests that travel with neurosig


@pytest.mark.parametrize("name", list_manifests())
def test_shipped_manifest_is_complete(name):
    manifest = read_manifest(name)
    assert manifest.name == name
    assert manifest.title
    assert manifest.licence
    assert manifest.event_names or name == "fmri-story"  # nobody labelled what all heard alike
    assert manifest.subject_list or manifest.subjects
    assert manifest.doi is None or manifest.doi.startswith("10.")
    assert name in manifest.describe()


def test_shipped_names():
    assert {
        "eegmmidb",
        "eegmmidb-trials",
        "eegmat",
        "eegmat-edf",
        "muse-p300",
        "muse-n170",
        "muse-ssvep",
        "muse-auditory-p300",
        "muse-ssaep",
        "bci2-selfpaced",
        "simulated-fmri",
        "simulated-imagery",
        "simulated-p300",
        "simulated-ssvep",
        "BNCI2014_001",
        "Cho2017",
        "BI2013a",
        "Wang2016",
    } <= set(list_manifests())


def test_moabb_manifests_agree_with_moabb():
    """Subjects, events, paradigm and interval stated in our files are those of the installed classes."""
    checked = 0
    for name in list_manifests():
        manifest = read_manifest(name)
        if manifest.kind != "moabb":
            continue
        dataset = manifest.as_moabb()
        assert [str(subject) for subject in dataset.subject_list] == manifest.subject_list, name
        assert set(dataset.event_id) == set(manifest.event_names), name
        assert dataset.paradigm == manifest.paradigm, name
        assert [manifest.processing.tmin, manifest.processing.tmax] == pytest.approx(list(dataset.interval)), name
        checked += 1
    assert checked > 30


def test_shipped_sums_are_those_of_the_files(data_dir):
    """Every sum in our manifests against the list that came with the recordings (uncompressed, where gzipped)."""
    listed = {item["path"]: item["sha256"] for item in json.loads((data_dir / "manifest.json").read_text())["files"]}
    checked = 0
    for name in list_manifests():
        manifest = read_manifest(name, data=data_dir)
        for entry in manifest.entries if manifest.kind == "files" else ():
            plain = f"{manifest.source.local}/{entry.path}"
            if entry.sha256 is None:
                continue
            if plain in listed:
                assert entry.sha256 == listed[plain], plain
            else:
                found = gzip.decompress((data_dir / f"{plain}.gz").read_bytes())
                assert entry.sha256 == hashlib.sha256(found).hexdigest(), plain
                assert entry.size == len(found)
            checked += 1
    assert checked >= 6 + 12 + 1 + 3 + 30 + 1


def test_folds_are_shuffled_only_by_who_evaluates(tmp_path):
    assert {read_manifest(name).folds for name in list_manifests()} == {"auto", "run", "subject"}
    for name in ("Cho2017", "bci2-selfpaced"):
        assert read_manifest(name).folds == "auto"
        assert "by run where there are several" in " ".join(read_manifest(name).describe().split())
    assert read_manifest("BNCI2014_001").folds == "run"
    assert "line 10: folds: Input should be 'auto', 'run'" in refused(tmp_path, MINIMAL + "folds: shuffled\n")


def test_looking_for_absent_files_opens_none(monkeypatch):
    monkeypatch.delenv("NEUROSIG_DATA", raising=False)
    manifest = read_manifest("eegmmidb")
    monkeypatch.setattr(content, "_sum", lambda path: pytest.fail("a file was read"))
    assert not manifest.present


def test_read_fields_are_read_options():
    elsewhere = {"events", "montage", "line_freq", "label"}
    assert set(ReadFields.model_fields) == set(ReadOptions.__dataclass_fields__) - elsewhere


# ---------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("name: lab", "nmae: lab"), "line 1: nmae: unknown field; did you mean name? known here are name, title"),
        (("title: Two hands\n", ""), "title: this field is required; fields and examples: data_manifests/README.md"),
        (("name: lab\ntitle: Two hands\n", ""), "this field is required; missing are name, title;"),
        (("tmin: 0.0, tmax: 0.9", "tmin: 0.0"), "processing.tmax: this field is required"),
        (("tmax: 0.9", "tmax: 0.9, fmaks: 30"), "processing.fmaks: unknown field; did you mean fmax? known here are"),
        (("events: [", "event: ["), "line 8: event: unknown field; did you mean events?"),
        (("tmin: 0.0", "tmin: soon"), "line 9: processing.tmin: Input should be a valid number"),
        (("tmax: 0.9", "tmax: -1"), "tmax must lie after tmin"),
        (("paradigm: imagery", "paradigm: magic"), "line 3: paradigm: Input should be 'imagery', 'p300' or 'ssvep'"),
        (
            ("subject: 1}", "subjct: 1}"),
            "line 6: source.files.0.subjct: unknown field; did you mean subject? known here are path, url",
        ),
        (("path: b.npz", "path: a.npz"), "'a.npz' is named twice"),
        (("path: a.npz", "path: ../a.npz"), "line 6: source.files.0.path: must not contain '..'"),
        (("path: a.npz", "path: x/../../a.npz"), "must not contain '..'"),
        (("path: a.npz", "path: /etc/passwd"), "must be a path inside the dataset's folder"),
        (("path: a.npz", "path: 'C:/a.npz'"), "must be a path inside the dataset's folder"),
        (("path: a.npz", "path: '..\\a.npz'"), "must be a path inside the dataset's folder"),
        (("path: a.npz", "path: '~/a.npz'"), "must be a path inside the dataset's folder"),
        (("path: a.npz", "path: a.npz, url: 'file:///etc/passwd'"), "must be an http or https address"),
        (("path: a.npz", "path: a.npz, sha256: 12ab"), "line 6: source.files.0.sha256"),
        (("paradigm: imagery", "paradigm: p300"), "names its events Target and NonTarget"),
        (("paradigm: imagery", "paradigm: ssvep"), "names its events by frequency"),
        (("name: lab", "name: ../lab"), "line 1: name"),
        (("title: Two hands", "title: Two hands\ntitle: Three"), "line 3: the key 'title' stands twice"),
    ],
)
def test_malformed_field_is_named_with_its_line(tmp_path, change, expected):
    assert MINIMAL.count(change[0]) == 1
    assert expected in refused(tmp_path, MINIMAL.replace(*change))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        ("- a\n- b\n", "expected a mapping"),
        ("name: [", "line 1"),
        ("name: x\n  bad: y\n", "line 2"),
        ("x: !!python/object/apply:os.system ['true']", "line 1: YAML tags that make Python objects are not allowed"),
        ("x: !!python/name:os.system", "not allowed; write plain values"),
        ("x: !custom 1", "not allowed; write plain values"),
        ("x: &x [*x]", "an alias refers to itself"),
        ("x: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        (b"name: \xff\xfe\x00", "is not UTF-8 text"),
        ("name: 2001-99-99", "malformed YAML (month must be"),
        ("a: " + "b" * 1_000_001, "expected at most 1,000,000 bytes"),
    ],
    ids=["empty", "list", "unclosed", "indent", "apply", "name", "custom", "cycle", "deep", "bytes", "date", "large"],
)
def test_hostile_yaml_is_refused(tmp_path, text, expected):
    assert expected in refused(tmp_path, text)


def test_billion_laughs_is_refused_before_it_is_written_out(tmp_path, n_calls):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "more than 100,000 values once aliases are written out" in refused(tmp_path, "\n".join(lines))
    assert n_calls(refused, tmp_path, "\n".join(lines)) < 1_000_000  # of 9 ** 12 values


PATTERN = """\
    - {path: a.npz, subject: 1}
  patterns:
    - {path: '%s', subjects: %s, sessions: %s}
"""


@pytest.mark.parametrize(
    ("path", "subjects", "sessions", "expected"),
    [
        ("{subject}-{session}", "0-99999", "0-99999", "names 10,000,000,000 files, expected 100,000 at most"),
        ("{subject}-{session}", "0-49999", "0-1", "names 100,001 files"),
        ("{subject}", "[0-99999, 0-99999]", "0", "names more than 100,000"),
        ("{subject:0900000000d}", "1-9", "0", "expected {subject} or a width such as {subject:03d}"),
        ("{subject:>900}", "1-9", "0", "or a width such as"),
        ("{subject!r}", "1-9", "0", "or a width such as"),
        ("{subject:{session}d}", "1-9", "0", "or a width such as"),
        ("{subject.real}", "1-9", "0", "not {subject.real}"),
        ("{subject}" * 10, "1-9", "0", "has 10 fields, expected 9 at most"),
        ("x" * 1001 + "{subject}", "1-9", "0", "at most 1000 characters"),
        ("{subject", "1-9", "0", "line 8: source.patterns.0"),
    ],
)
def test_bombs_of_patterns_are_refused_before_they_go_off(tmp_path, n_calls, path, subjects, sessions, expected):
    old = MINIMAL[MINIMAL.index("    - {path: a") : MINIMAL.index("events:")]
    text = MINIMAL.replace(old, PATTERN % (path, subjects, sessions))
    assert expected in refused(tmp_path, text)
    assert n_calls(refused, tmp_path, text) < 2_000_000  # with a list of subjects, and with none of files


def test_many_keys_are_read_in_linear_time(tmp_path, n_calls):
    def calls(n):
        text = "".join(f"k{k}: 1\n" for k in range(n))
        assert "unknown field" in refused(tmp_path, text)
        return n_calls(refused, tmp_path, text)

    assert calls(2000) < 4.8 * calls(500)  # comparing every key with every other: 16 times


def test_number_of_subjects_is_bounded(tmp_path):
    assert "line 10: subjects: expected a number from 1 to 100,000" in refused(
        tmp_path, MINIMAL + "subjects: 1000000\n"
    )


def test_missing_manifest_and_unknown_names(tmp_path):
    with pytest.raises(ManifestError, match=r"none\.yml: cannot be read \(No such file"):
        read_manifest(tmp_path / "none.yml")
    with pytest.raises(UsageError, match="did you mean eegmmidb"):
        read_manifest("eegmmdb")
    with pytest.raises(UsageError, match="no such folder"):
        read_manifest("eegmmidb", data=tmp_path / "none")
    with pytest.raises(UsageError, match="no such file or folder"):
        open_dataset(tmp_path / "none.edf")


def test_link_out_of_the_folder_is_refused(lab, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    write_trials(outside / "a.npz", 3)
    (lab / "a.npz").unlink()
    (lab / "a.npz").symlink_to(outside / "a.npz")
    with pytest.raises(ManifestError, match="is a link that leads out of"):
        read_manifest(lab / "lab.yml", data=lab).recordings()
    assert safe_join(lab, "b.npz") == lab / "b.npz"


# ---------------------------------------------------------------------------- recordings and trials


def test_recordings_and_load(lab):
    manifest = read_manifest(lab / "lab.yml", data=lab)
    assert manifest.subject_list == ["1", "2"]
    assert [(item.subject, item.run) for item in manifest.recordings()] == [
        ("1", "0"),
        ("1", "1"),
        ("2", "0"),
        ("2", "1"),
    ]
    dataset = manifest.load(["2"])
    assert len(dataset) == 16
    stored = np.load(lab / "b.npz")
    np.testing.assert_allclose(dataset.X * 1e6, in_band(stored["X"])[:, :, :91], rtol=1e-6, atol=1e-5)
    assert (dataset.y == np.array(["left_hand", "right_hand"])[stored["y"]]).all()


def test_changes_are_checked(lab):
    manifest = read_manifest(lab / "lab.yml", data=lab)
    assert manifest.replace(tmax=0.5).processing.tmax == 0.5
    assert manifest.processing.tmax == 0.9
    with pytest.raises(UsageError, match="unknown option 'tmx'"):
        manifest.replace(tmx=0.5)
    with pytest.raises(UsageError, match="lab has no subject '7'; it has 1, 2"):
        manifest.load([7])
    with pytest.raises(UsageError, match="lab has no event 'feet'"):
        manifest.replace(events=["feet"])


def test_no_file_there_says_what_to_do(tmp_path):
    (tmp_path / "lab.yml").write_text(MINIMAL)
    with pytest.raises(InputError, match=r"no file of lab is in .*expected a.npz, b.npz.*pass --data FOLDER"):
        read_manifest(tmp_path / "lab.yml", data=tmp_path).recordings()


def test_copied_subject_is_refused(lab):
    (lab / "b.npz").write_bytes((lab / "a.npz").read_bytes())
    with pytest.raises(InputError, match=r"a.npz and b.npz have the same content.*not two subjects \(1 and 2\)"):
        read_manifest(lab / "lab.yml", data=lab).recordings()


def test_partial_folder_has_the_subjects_that_are_there(lab):
    (lab / "b.npz").unlink()
    manifest = read_manifest(lab / "lab.yml", data=lab)
    assert manifest.subject_list == ["1"]
    assert [(row.path, row.status) for row in manifest.verify()] == [("a.npz", "unverified"), ("b.npz", "missing")]


def test_identity_follows_options_and_content(lab):
    path = lab / "lab.yml"

    def identity(**changes):
        return read_manifest(path, data=lab).replace(**changes).identity()

    first = identity()
    assert identity() == first
    others = [identity(tmax=0.8), identity(fmin=4, fmax=30), identity(subjects=["1"]), identity(events=["left_hand"])]
    path.write_text(MINIMAL.replace("Two hands", "A title says nothing about the trials"))
    assert identity() == first
    write_trials(lab / "b.npz", 3)
    others.append(identity())
    path.write_text(MINIMAL.replace("events:", "montage: standard_1005\nevents:"))
    others.append(identity())
    assert len({first, *others}) == 7


def test_identity_reads_no_file_once_known(data_dir, monkeypatch):
    known = read_manifest("eegmmidb-trials", data=data_dir).identity()
    monkeypatch.setattr(content, "_sum", lambda path: pytest.fail("a file was read"))
    assert read_manifest("eegmmidb-trials", data=data_dir).identity() == known


def test_sums_survive_a_new_process_and_a_damaged_store(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROSIG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x").write_bytes(b"abc")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert content.content_sums([tmp_path / "x"]) == [expected]
    monkeypatch.setattr(content, "_MEMORY", {})
    monkeypatch.setattr(content, "_LOADED", set())
    monkeypatch.setattr(content, "_sum", lambda path: pytest.fail("the sum was stored"))
    assert content.content_sums([tmp_path / "x"]) == [expected]
    monkeypatch.undo()
    monkeypatch.setenv("NEUROSIG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "sums.json").write_text("{broken")
    monkeypatch.setattr(content, "_MEMORY", {})
    monkeypatch.setattr(content, "_LOADED", set())
    assert content.content_sums([tmp_path / "x"]) == [expected]


def test_gzip_has_the_content_of_what_is_inside(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"1,2\n")
    (tmp_path / "y.csv.gz").write_bytes(gzip.compress(b"1,2\n"))
    assert len(set(content.content_sums([tmp_path / "x.csv", tmp_path / "y.csv.gz"]))) == 1
    (tmp_path / "z.csv.gz").write_bytes(gzip.compress(b"1,2\n" * 1000)[:20])
    with pytest.raises(InputError, match="cannot read"):
        content.content_sums([tmp_path / "z.csv.gz"])


def test_companions_share_the_stem(tmp_path):
    for name in (
        "a.vhdr",
        "a.eeg",
        "a.vmrk",
        "ab.vhdr",
        "sub-1_run-1_eeg.edf",
        "sub-1_run-1_events.tsv",
        "sub-1_run-10_eeg.edf",
    ):
        (tmp_path / name).write_text(name)
    assert [path.name for path in content.companions([tmp_path / "a.vhdr"])] == ["a.eeg", "a.vhdr", "a.vmrk"]
    found = content.companions([tmp_path / "sub-1_run-1_eeg.edf"])
    assert [path.name for path in found] == ["sub-1_run-1_eeg.edf", "sub-1_run-1_events.tsv"]


# ---------------------------------------------------------------------------- open_dataset


def test_open_trial_file_and_folder(lab):
    one = open_dataset(lab / "a.npz")
    assert (one.event_names, one.processing.tmin, one.processing.tmax) == (["left_hand", "right_hand"], 0.0, 0.99)
    assert len(one.load()) == 16
    assert one.folds == "run"
    write_trials(lab / "single.npz", 4, n_runs=1)
    assert open_dataset(lab / "single.npz").folds == "auto"
    folder = lab / "recordings"
    folder.mkdir()
    (lab / "a.npz").rename(folder / "subject1_run1.npz")
    (lab / "b.npz").rename(folder / "subject2_run1.npz")
    both = open_dataset(folder, tmax=0.5, events=["left_hand"])
    assert both.subject_list == ["1", "2"]
    assert both.processing.tmax == 0.5
    assert both.event_names == ["left_hand"]
    with pytest.raises(UsageError, match="has no event 'feet'; it has left_hand, right_hand"):
        open_dataset(folder, events=["feet"])


def test_unknown_folder_says_whose_files_are_whose(lab, caplog):
    folder = lab / "recordings"
    folder.mkdir()
    (lab / "a.npz").rename(folder / "proband001.npz")
    (lab / "b.npz").rename(folder / "proband002.npz")
    with caplog.at_level("WARNING", logger="neurosig"):
        assert open_dataset(folder).subject_list == ["1", "2"]
    assert "recordings: 2 files taken as 2 subjects, 2 runs each" in caplog.text


def test_codes_that_are_not_there_are_named(data_dir):
    folder = data_dir / "eegmmidb" / "edf"
    expected = r"no annotation 'T9' \(event right_hand\) in S001R04.edf; there are T0, T1, T2"
    events = {"left_hand": "T1", "right_hand": "T9"}
    with pytest.raises(InputError, match=expected):
        open_dataset(folder / "S001R04.edf", events=events)
    with pytest.raises(InputError, match=expected):
        load_eeg(folder / "S001R04.edf", events=events, tmin=0, tmax=1)
    with pytest.raises(InputError, match=r"no annotation 'T9' .* in S001R04.edf, S001R08.edf, S001R12.edf or the oth"):
        open_dataset(folder, events=events).load()


def test_open_stored_dataset(lab, tmp_path):
    dataset = read_manifest(lab / "lab.yml", data=lab).load()
    path = dataset.to_zarr(tmp_path / "stored.zarr")
    again = open_dataset(path)
    assert again.subject_list == ["1", "2"]
    loaded = again.load()
    np.testing.assert_allclose(loaded.X, in_band(dataset.X), rtol=1e-6, atol=1e-15)
    assert (loaded.y == dataset.y).all()


def test_links_to_known_recordings_are_followed(data_dir, tmp_path, caplog):
    """A folder of one's own, of links: the files are known by their content."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("S001R04.edf", "S001R08.edf"):
        (folder / name).symlink_to(data_dir / "eegmmidb" / "edf" / name)
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, tmp_path / "link"):
        caplog.clear()
        manifest = open_dataset(place).replace(subjects=["1"])
        assert f"{place}: recognised as eegmmidb: 2 of 2 files match" in caplog.text
        assert [item.path.name for item in manifest.recordings()] == ["S001R04.edf", "S001R08.edf"]


def test_known_folder_is_recognised(data_dir, caplog):
    caplog.set_level("INFO", logger="neurosig")
    manifest = open_dataset(data_dir / "eegmmidb" / "edf")
    assert manifest.name == "eegmmidb"
    assert "recognised as eegmmidb: 6 of 6 files match" in caplog.text
    assert "recognised as eegmmidb: uses 6 of 9 files (runs 4, 8, 12)" in caplog.text
    assert manifest.subject_list == ["1", "2"]
    assert open_dataset(data_dir / "eegmat").name == "eegmat"
    with pytest.raises(UsageError, match=r"several datasets \(muse-auditory-p300, .*muse-ssvep\); name one of them"):
        open_dataset(data_dir / "muse")


def test_changed_files_are_not_taken_for_the_known_dataset(data_dir, tmp_path, caplog):
    source = (data_dir / "eegmmidb" / "epochs" / "S001_mi.npz").read_bytes()
    (tmp_path / "S001_mi.npz").write_bytes(source)
    assert open_dataset(tmp_path).name == "eegmmidb-trials"
    write_trials(tmp_path / "S001_mi.npz", 0)
    with caplog.at_level("WARNING", logger="neurosig"):
        assert open_dataset(tmp_path).name != "eegmmidb-trials"
    assert "content of S001_mi.npz is another" in caplog.text


@pytest.mark.parametrize(
    ("name", "n_subjects", "counts"),
    [
        ("eegmmidb-trials", 12, None),
        ("eegmat", 16, {"rest": 480, "arithmetic": 480}),
        ("muse-n170", 1, {"NonTarget": 394, "Target": 372}),
        ("muse-auditory-p300", 1, {"NonTarget": 563, "Target": 207}),
        ("muse-ssaep", 1, {"45": 60, "40": 68}),
    ],
)
def test_event_counts_on_real_recordings(data_dir, name, n_subjects, counts):
    """Numbers of events as published beside the recordings, before any artifact rejection."""
    manifest = read_manifest(name, data=data_dir)
    assert len(manifest.subject_list) == n_subjects
    if counts is None:
        return
    found = {}
    for *_, raw in manifest.raws(preload=False):
        for text in raw.annotations.description:
            found[str(text)] = found.get(str(text), 0) + 1
    # the published counts leave out the few trials that were rejected or cut off at the end of a run
    assert {name: found[name] for name in counts} == pytest.approx(counts, rel=0.12)


def test_simulated_manifest_loads_in_order():
    manifest = read_manifest("simulated-imagery").replace(subjects=["2"])
    assert manifest.subject_list == ["2"]
    dataset = manifest.load()
    trials = dataset.truth["trials"]
    assert (trials["label"] == dataset.y).all()
    np.testing.assert_allclose(trials["onset"], dataset.metadata["onset"], atol=0.01)
    assert {key[0] for key in dataset.truth["recordings"]} == {"2"}
    left = manifest.replace(events=["left_hand"]).load()
    assert (left.truth["trials"]["label"] == "left_hand").all()
    assert len(left.truth["trials"]) == len(left)
    with pytest.raises(UsageError, match="eegmat is not simulated"):
        read_manifest("eegmat").simulations()
    assert set(dataset.metadata["subject"]) == {"2"}
    assert sorted(set(dataset.y)) == ["left_hand", "right_hand"]
    with pytest.raises(UsageError, match="has no recording files"):
        manifest.recordings()
    assert isinstance(manifest, Manifest)


@pytest.mark.parametrize("paradigm, band", [("imagery", (8.0, 32.0)), ("p300", (1.0, 24.0)), ("ssvep", (7.0, 45.0))])
def test_no_band_means_the_paradigms(tmp_path, paradigm, band):
    """One band for all that is done with a manifest: MOABB's own default, written down."""
    events = {"imagery": "[a, b]", "p300": "[Target, NonTarget]", "ssvep": '["10.0", "12.0"]'}[paradigm]
    text = f"""
name: own
title: own
paradigm: {paradigm}
source: {{simulated: {{kind: {paradigm}}}}}
events: {events}
processing: {{tmin: 0, tmax: 1}}
"""
    (tmp_path / "own.yml").write_text(text)
    processing = read_manifest(tmp_path / "own.yml").processing
    assert (processing.fmin, processing.fmax) == band
    import moabb.paradigms

    names = {"imagery": "LeftRightImagery", "p300": "P300", "ssvep": "SSVEP"}
    assert [tuple(edges) for edges in getattr(moabb.paradigms, names[paradigm])().filters] == [band]
