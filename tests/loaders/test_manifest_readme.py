"""The page on writing manifests: its examples are manifests, and no field is left out."""

import re

import pytest
import yaml

from neurosig.core.files import resource_dir
from neurosig.core.signals import Processing
from neurosig.loaders import manifest_schema as schema
from neurosig.loaders.manifest import read_manifest

PAGE = (resource_dir("data_manifests") / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
MODELS = (
    schema.ManifestFields,
    schema.FilesSource,
    schema.FileEntry,
    schema.FilePattern,
    schema.Archive,
    schema.MoabbSource,
    schema.SimulatedSource,
    schema.Simulation,
    schema.ReadFields,
    schema.FmriFields,
)


def test_the_examples_are_manifests(tmp_path):
    minimal, full, windows, fmri = EXAMPLES
    merged = yaml.safe_dump({**yaml.safe_load(minimal), **yaml.safe_load(windows)})
    found = []
    for number, text in enumerate((minimal, full, merged, fmri)):
        path = tmp_path / f"{number}.yml"
        path.write_text(text, encoding="utf-8")
        found.append(read_manifest(path))
    assert found[0].event_names == ["left_hand", "right_hand"]
    paths = [entry.path for entry in found[1].entries]
    assert (len(paths), paths[0], paths[-1]) == (66, "sub01/day1_run1.csv", "sub12/day2_run3.csv")
    assert [entry.label for entry in found[2].entries] == ["rest", "task"]
    assert found[2].read.window == (2.0, 1.0)
    assert (found[3].modality, found[3].processing, found[3].fmri.labels) == ("fmri", None, "group")
    assert found[3].event_names == ["control", "patient"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_on_the_page(model):
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert set(model.model_fields) - named == set()


def test_every_processing_field_is_on_the_page():
    assert {name for name in Processing.__dataclass_fields__ if f"`{name}`" not in PAGE} == set()
    assert len(PAGE.splitlines()) <= 160
