"""Write the generated parts of README.md, or check that they are up to date (``--check``).

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def estimators() -> str:
    """The catalogue of estimators, from the registry."""
    from neurosig.core.registry import catalogue

    lines = ["| estimator | kind | what it does | module |", "|---|---|---|---|"]
    lines += [f"| `{row.name}` | {row.kind} | {row.summary} | `{row.module}` |" for row in catalogue()]
    return "\n".join(lines)


def pipelines() -> str:
    """The pipelines that travel with neurosig, from their files."""
    from neurosig.evaluation.pipelines import read_pipeline_specs

    lines = ["| pipeline | group | for | what it is |", "|---|---|---|---|"]
    lines += [
        f"| {spec.name} | {spec.group} | {', '.join(spec.paradigms)} | {spec.description} |"
        for spec in read_pipeline_specs()
    ]
    return "\n".join(lines)


def fmri_pipelines() -> str:
    """The pipelines for runs of fMRI, from their files."""
    from neurosig.evaluation.pipelines import FMRI, read_pipeline_specs

    lines = ["| pipeline | group | what it is |", "|---|---|---|"]
    lines += [
        f"| {spec.name} | {spec.group} | {spec.description} |"
        for spec in read_pipeline_specs(groups=["baseline", "fmri", "brainmae"], paradigm=FMRI)
    ]
    return "\n".join(lines)


def datasets() -> str:
    """The datasets that neurosig knows, from their manifests."""
    from neurosig.loaders.manifest import list_manifests, read_manifest

    lines = ["| dataset | paradigm | what it is |", "|---|---|---|"]
    for name in list_manifests():
        manifest = read_manifest(name)
        if manifest.kind != "moabb":
            lines.append(f"| `{name}` | {manifest.paradigm or manifest.modality} | {manifest.title} |")
    return "\n".join(lines)


def fill(text: str) -> str:
    """README text with every generated part made anew."""
    for part in (estimators, pipelines, fmri_pipelines, datasets):
        name = part.__name__
        pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no place for the generated part {name!r}")
        text = pattern.sub(lambda match, part=part: f"{match[1]}{part()}\n{match[2]}", text)
    return text


def main() -> None:
    """Rewrite README.md, or with ``--check`` only compare."""
    old = README.read_text(encoding="utf-8")
    new = fill(old)
    if "--check" in sys.argv:
        if new != old:
            raise SystemExit("README.md is not up to date: run `make readme`")
        return
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
