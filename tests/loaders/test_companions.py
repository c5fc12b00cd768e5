"""What a recording is made of: all that reading it depends on, each change of it seen in the dataset's identity."""

import mne
import numpy as np
import pytest

from neurosig.core.errors import InputError
from neurosig.loaders.content import companions
from neurosig.loaders.manifest import open_dataset


def names(*paths):
    return [path.name for path in companions(paths)]


def touch(folder, *files):
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_files_that_a_brainvision_header_names(tmp_path):
    touch(tmp_path, "samples of a.eeg", "other.vmrk", "b.eeg", "unused.eeg")
    (tmp_path / "a.vhdr").write_text("[Common Infos]\r\nDataFile=samples of a.eeg\r\nMarkerFile = other.vmrk\r\n")
    assert names(tmp_path / "a.vhdr") == ["a.vhdr", "other.vmrk", "samples of a.eeg"]
    (tmp_path / "b.vhdr").write_text("[Common Infos]\nDataFile=$b.eeg\nMarkerFile=missing.vmrk\n")
    assert names(tmp_path / "b.vhdr") == ["b.eeg", "b.vhdr"]


def test_samples_of_eeglab_and_persyst(tmp_path):
    touch(tmp_path, "a.set", "renamed.fdt", "b.dat")
    (tmp_path / "a.lay").write_text("[FileInfo]\nFile=b.dat\n")
    assert names(tmp_path / "a.set") == ["a.lay", "a.set", "renamed.fdt"]
    assert "b.dat" in names(tmp_path / "a.lay")


@pytest.mark.parametrize("naming", ["neuromag", "bids"])
def test_parts_of_a_split_fif_are_those_that_mne_reads(tmp_path, naming):
    info = mne.create_info(4, 100.0, "eeg")
    raw = mne.io.RawArray(np.zeros((4, 150_000)), info, verbose=False)
    path = tmp_path / ("x_raw.fif" if naming == "neuromag" else "sub-1_task-x_meg.fif")
    raw.save(path, split_size="1.2MB", split_naming=naming, verbose=False)
    first = min(tmp_path.glob("*.fif"), key=lambda item: (len(item.name), item.name))
    read = mne.io.read_raw_fif(first, verbose="error").filenames
    assert len(read) > 1
    assert set(read) <= set(companions([first]))
    renamed = tmp_path / "renamed_raw.fif"
    first.rename(renamed)
    assert set(read[1:]) <= set(companions([renamed]))


def test_bids_sidecars_from_the_root_down(tmp_path):
    apply = [
        "task-mi_events.tsv",
        "task-mi_events.json",
        "eeg.json",
        "sub-1/sub-1_channels.tsv",
        "sub-1/ses-a/eeg/sub-1_ses-a_space-CapTrak_electrodes.tsv",
        "sub-1/ses-a/eeg/sub-1_ses-a_task-mi_run-1_events.tsv",
        "sub-1/ses-a/eeg/sub-1_ses-a_task-mi_run-1_eeg.vmrk",
    ]
    others = [
        "dataset_description.json",
        "participants.tsv",
        "task-rest_events.tsv",
        "sub-1/sub-1_ses-b_events.tsv",
        "sub-1/ses-a/eeg/sub-1_ses-a_task-mi_run-10_events.tsv",
        "sub-1/ses-a/eeg/sub-1_ses-a_task-mi_run-2_eeg.vhdr",
        "sub-2/sub-2_channels.tsv",
    ]
    touch(tmp_path, *apply, *others, recording := "sub-1/ses-a/eeg/sub-1_ses-a_task-mi_run-1_eeg.vhdr")
    found = {path.relative_to(tmp_path).as_posix() for path in companions([tmp_path / recording])}
    assert found == {*apply, recording}
    (tmp_path / "dataset_description.json").unlink()
    assert len(companions([tmp_path / recording])) == 4


def test_sidecars_of_recordings_that_are_folders(tmp_path):
    touch(tmp_path, "dataset_description.json", "task-x_events.tsv", "sub-1/meg/sub-1_task-x_meg.ds/a.meg4")
    assert names(tmp_path / "sub-1/meg/sub-1_task-x_meg.ds") == ["sub-1_task-x_meg.ds", "task-x_events.tsv"]


def test_the_work_grows_with_the_number_of_recordings_and_not_with_its_square(tmp_path, n_calls):
    def calls(n):
        files = [f"sub-{k:04d}_task-x_{kind}" for k in range(n) for kind in ("eeg.edf", "events.tsv")]
        touch(tmp_path / str(n), *files)
        paths = [tmp_path / str(n) / name for name in files[::2]]
        assert len(companions(paths)) == 2 * n
        return n_calls(companions, paths)

    assert calls(400) < 4.8 * calls(100)


def test_unreadable_header_is_one_line(tmp_path, monkeypatch):
    touch(tmp_path, "a.vhdr")

    def refuse(self, *args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "open", refuse)
    with pytest.raises(InputError, match=r"cannot read .*a\.vhdr: Permission denied"):
        companions([tmp_path / "a.vhdr"])


# ---------------------------------------------------------------------------- identity


def brainvision(folder, stem, data="samples.eeg", seed=0):
    """A BrainVision recording of two channels whose samples lie in a file of another stem."""
    rng = np.random.default_rng(seed)
    (folder / data).write_bytes(rng.integers(-99, 99, (1000, 2)).astype("<i2").tobytes())
    (folder / f"{stem}.vhdr").write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\n"
        f"DataFile={data}\nMarkerFile=marks.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        "NumberOfChannels=2\nSamplingInterval=10000\n[Binary Infos]\nBinaryFormat=INT_16\n"
        "[Channel Infos]\nCh1=C3,,0.1,µV\nCh2=C4,,0.1,µV\n",
        encoding="utf-8",
    )
    marks = "".join(f"Mk{n}=Stimulus,S  {n % 2 + 1},{n * 90},1,0\n" for n in range(1, 9))
    head = "Brain Vision Data Exchange Marker File Version 1.0\n[Common Infos]\n"
    (folder / "marks.vmrk").write_text(f"{head}DataFile={data}\n[Marker Infos]\n{marks}")


def test_identity_follows_samples_and_marks_of_another_stem(tmp_path):
    brainvision(tmp_path, "a")
    path = tmp_path / "a.vhdr"
    first = open_dataset(path).identity()
    assert open_dataset(path).identity() == first
    brainvision(tmp_path, "a", seed=1)
    second = open_dataset(path).identity()
    marks = tmp_path / "marks.vmrk"
    marks.write_text(marks.read_text().replace("S  1", "S  9").replace("S  2", "S  1").replace("S  9", "S  2"))
    assert len({first, second, open_dataset(path).identity()}) == 3


def test_identity_follows_inherited_bids_events(tmp_path):
    folder = tmp_path / "sub-1" / "eeg"
    folder.mkdir(parents=True)
    brainvision(folder, "sub-1_task-mi_eeg")
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    events = tmp_path / "task-mi_events.tsv"
    rows = "".join(f"{n}\t0.5\t{name}\n" for n, name in enumerate(["left", "right"] * 4, 1))
    events.write_text(f"onset\tduration\ttrial_type\n{rows}")
    dataset = open_dataset(folder / "sub-1_task-mi_eeg.vhdr", events={"left": "left", "right": "right"})
    first = dataset.identity()
    events.write_text(events.read_text().replace("left", "l").replace("right", "left").replace("l\n", "right\n"))
    assert dataset.identity() != first
