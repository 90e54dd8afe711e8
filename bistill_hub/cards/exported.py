"""The small card of an exported checkpoint: what it is, how to use it, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..evaluation.results import Result, retention
from .front_matter import write_yaml
from .metadata import LIBRARY, PIPELINE_TAGS, SMOKE_TAG
from .rendering import percent, template
from .tables import NOTHING_TO_KEEP, dataset_name


@dataclass(frozen=True, kw_only=True)
class ExportedFacts:
    """Everything that the card of an exported checkpoint states.

    Attributes:
        name: What its snippets load: the checkpoint's Hub id, or the name of its folder.
        pair: Hub id of the pair that it was exported from, or the pair's name where it is not on the Hub.
        pair_url: Where the pair can be seen; None if it is not on the Hub.
        commit: The pair's commit; None if it is not on the Hub.
        backbone: Type of the native model: "bert", "xlm-roberta", ...
        architecture: Name of the native class.
        layers: Transformer layers.
        vocabulary: Tokens.
        task: The task; None for the encoder.
        head: The head that it has, as `HEADS` names it; None for the encoder alone.
        labels: Label names of the head.
        languages: Source and target language: code and English name.
        license: Licence identifier of the Hub; None if the pair's card names none.
        license_name: Name of a licence that the Hub has no identifier for.
        license_link: Address of its text.
        results: The pair's scores for the task; those of baselines are not shown.
        limits: The contributor's own words on limits and biases; None where the pair's card has no such section.
        synthetic: Whether the pair was made of generated data, which the first line then says.
        smoke: Whether the pair is a smoke run's, which the first line then says.
    """

    name: str
    pair: str
    backbone: str
    architecture: str
    layers: int
    vocabulary: int
    languages: tuple[tuple[str, str], tuple[str, str]]
    pair_url: str | None = None
    commit: str | None = None
    task: str | None = None
    head: str | None = None
    labels: tuple[str, ...] = ()
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    results: tuple[Result, ...] = ()
    limits: str | None = None
    synthetic: bool = False
    smoke: bool = False

    @property
    def title(self) -> str:
        """The checkpoint's name without its owner."""
        return self.name.rpartition("/")[2]

    @property
    def chunked(self) -> bool:
        """Whether the labels mark beginnings of chunks, as those of names do."""
        return any(label.startswith("B-") for label in self.labels)


def render_exported_card(facts: ExportedFacts) -> str:
    """Render the card of an exported checkpoint: equal facts give equal bytes, and nothing is looked up.

    Args:
        facts: What it states.

    Returns:
        Markdown with the Hub's metadata block.
    """
    return template("task.md.j2").render(
        facts=facts, rows=_rows(facts.results), metadata=write_yaml(exported_metadata(facts))
    )


def exported_metadata(facts: ExportedFacts) -> dict[str, Any]:
    """Build what stands in the card's YAML block, in its order; nothing is None."""
    codes = [code for code, _ in facts.languages]
    values: dict[str, Any] = {
        "language": list(dict.fromkeys(code.partition("-")[0] for code in codes)),
        "license": facts.license,
        "license_name": facts.license_name,
        "license_link": facts.license_link,
        "library_name": LIBRARY,
        "pipeline_tag": PIPELINE_TAGS[facts.head] if facts.head else "feature-extraction",
        "tags": [SMOKE_TAG] if facts.smoke else ["bistill", "bilingual", f"pair:{codes[0]}-{codes[1]}"],
    }
    if facts.pair_url:
        values |= {"base_model": facts.pair, "base_model_relation": "finetune"}
    if any("-" in code for code in codes):
        values["language_bcp47"] = codes
    return {name: value for name, value in values.items() if value is not None}


def _rows(results: tuple[Result, ...]) -> list[dict[str, Any]]:
    """One row a language and model, student and teacher only."""
    teachers = {result.language: result for result in results if result.model == "teacher"}
    return [
        {
            "result": result,
            "dataset": dataset_name(result),
            "retention": _kept(result, teachers.get(result.language)),
        }
        for result in results
        if result.model in ("student", "teacher")
    ]


def _kept(result: Result, teacher: Result | None) -> str:
    if teacher is None or result.model == "teacher":
        return ""
    share = retention(result, teacher)
    return NOTHING_TO_KEEP if share is None else percent(share)
