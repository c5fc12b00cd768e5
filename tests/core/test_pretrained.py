"""Folders of what was trained: sums of weights, whom they have seen, parameters that do not exist."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from neurosig.core.errors import ChecksumError, StorageError, UsageError
from neurosig.core.pretrained import PretrainedFormat, check_params
from neurosig.core.trained_on import as_trained_on, layers_of, read_trained_on, trained_further

FORMAT = PretrainedFormat("test-format", 1, "test")
ARRAYS = {"weight": np.arange(12, dtype=np.float32).reshape(3, 4)}


def written(folder, **options):
    return FORMAT.write(folder, {"estimator": "Test"}, ARRAYS, "# card", **options)


def test_the_sum_is_that_of_the_file(tmp_path):
    folder = written(tmp_path / "kept")
    config = FORMAT.read_config(folder)
    assert config["sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    np.testing.assert_array_equal(FORMAT.read_arrays(folder)["weight"], ARRAYS["weight"])


def test_one_flipped_bit_is_refused(tmp_path):
    folder = written(tmp_path / "kept")
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the last bytes are numbers: safetensors itself reads them as they are
    path.write_bytes(content)
    with pytest.raises(ChecksumError, match=r"model\.safetensors was altered or damaged"):
        FORMAT.read_arrays(folder)


def test_folders_of_before_have_no_sum_and_are_read(tmp_path):
    folder = written(tmp_path / "kept")
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    earlier = dataclasses.replace(FORMAT, unsummed=True)
    np.testing.assert_array_equal(earlier.read_arrays(folder)["weight"], ARRAYS["weight"])
    with pytest.raises(ChecksumError, match="does not say the SHA-256"):
        FORMAT.read_arrays(folder)


def test_whom_weights_have_seen_lies_beside_them(tmp_path):
    assert read_trained_on(written(tmp_path / "unknown")) is None
    folder = written(tmp_path / "known", trained_on=["S1", 2])
    assert read_trained_on(folder) == {"subjects": ["S1", "2"], "data": [], "before": [], "dataset": None}
    again = written(folder, trained_on={"subjects": ["3"], "dataset": "toy", "before": [["S1"], None], "seed": 4})
    told = read_trained_on(again)
    assert told["seed"] == 4
    assert [None if layer is None else layer["subjects"] for layer in layers_of(told)] == [["3"], ["S1"], None]


def test_a_study_keeps_it_beside_the_network(tmp_path):
    (tmp_path / "trained_on.json").write_text('{"subjects": ["S1"]}')
    assert read_trained_on(written(tmp_path / "network"))["subjects"] == ["S1"]
    assert read_trained_on(written(tmp_path / "another")) is None


def test_what_cannot_be_understood_is_refused(tmp_path):
    for wrong in ("S1", 3, {"subjects": "S1"}, {"subjects": [], "more": {1, 2}}):
        with pytest.raises(UsageError, match="trained_on must"):
            as_trained_on(wrong)
    folder = written(tmp_path / "kept")
    for content in ("{", "[]", '{"subjects": "S1"}'):
        (folder / "trained_on.json").write_text(content)
        with pytest.raises(StorageError, match="not known whom the weights have seen"):
            read_trained_on(folder)


def test_unknown_parameters_are_named():
    check_params(Ridge, {"alpha": 1.0})
    with pytest.raises(UsageError, match="Ridge has no parameter 'alhpa'; did you mean alpha"):
        check_params(Ridge, {"alhpa": 1.0})
    with pytest.raises(UsageError, match=r"Ridge has no parameter 'zzz'; it has alpha, .*tol"):
        check_params(Ridge, {"zzz": 1.0})


def test_what_was_trained_further_has_seen_those_before_too():
    ann, bob = ({"subjects": [name], "dataset": "lab"} for name in ("ann", "bob"))
    assert [layer["subjects"] for layer in layers_of(trained_further(ann, [bob]))] == [["ann"], ["bob"]]
    unknown, *rest = trained_further(None, [bob])["before"]
    assert unknown is None and [layer["subjects"] for layer in rest] == [["bob"]]
    assert trained_further(None, [None]) is None
    assert trained_further(ann, [None])["before"] == [None]


def test_a_folder_of_another_kind_says_what_it_holds(tmp_path):
    other = PretrainedFormat("test-embedder", 1, "embedder")
    folder = other.write(tmp_path / "kept", {"estimator": "ToyEmbedder"}, ARRAYS, "# card")
    with pytest.raises(StorageError, match=r"it holds a ToyEmbedder; read it by ToyEmbedder.from_pretrained, or start"):
        FORMAT.read_config(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(StorageError, match=r"not a saved test: its config.json was written by something else"):
        FORMAT.read_config(folder)
