"""The YAML block at the top of a card, written from facts by the Hub's rules; `metadata_check` checks it by them.

The Hub's rules are those of its card specification (https://github.com/huggingface/hub-docs, modelcard.md): `language`
takes ISO 639-1, 639-2 or 639-3 codes alone, tags with subtags (BCP 47) belong into `language_bcp47`.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import InputError
from ..evaluation.results import Result
from .facts import CardFacts

LIBRARY = "transformers"

PIPELINE_TAGS = {
    "masked-lm": "fill-mask",
    "token-classification": "token-classification",
    "sequence-classification": "text-classification",
    "question-answering": "question-answering",
}
"""The Hub's name of the task that each head is for. An encoder without a head is for feature extraction."""

SMOKE_TAG = "smoke-run"
"""The only tag of a smoke run: by those of a pair it would be listed among the pairs."""

SUBTAGGED = re.compile(r"([a-z]{2,3})(?:-[A-Za-z0-9]{2,8})+")
"""A language code with subtags."""

_LOCAL = re.compile(
    r"\s*(?:[/\\~]|\.{1,2}(?:[/\\]|\s*$)|[A-Za-z]:[\\/])"  # begins like a path
    r"|.*(?:\bfile:/|(?:^|[/\\])\.\.[/\\]|(?<![\w./:-])/(?:home|Users|root|tmp|mnt|var|private)/)",
    re.DOTALL,
)
_LOCAL_FILE = "local file"


def card_metadata(
    facts: CardFacts, *, license_name: str | None = None, license_link: str | None = None
) -> dict[str, Any]:
    """Build what stands in a card's YAML block, in its order.

    Each of the student's results becomes an entry of `model-index`, but for those of a smoke run, which say nothing of
    the pair. Entries are not merged: huggingface_hub merges those that differ in nothing but the data set's name or
    arguments, and keeps the first one's.

    Args:
        facts: What the card states.
        license_name: Name of a licence that the Hub has no identifier for.
        license_link: Its file in the repository, or its address.

    Returns:
        Strings, numbers, lists and mappings; nothing is None, and no folder of this machine is named.

    Raises:
        InputError: a result is of a task that the facts do not list, or of a head that the Hub has no task for.
    """
    from huggingface_hub import ModelCardData

    codes = (facts.source[0], facts.target[0])
    values: dict[str, Any] = {
        **language_fields(codes),
        "license": facts.license,
        "license_name": license_name,
        "license_link": license_link,
        "library_name": LIBRARY,
        "pipeline_tag": "fill-mask" if facts.language_modelling_head else "feature-extraction",
        "tags": [SMOKE_TAG] if facts.smoke else _tags(facts),
    }
    if datasets := list(dict.fromkeys(name for name in facts.datasets if is_hub_id(name))):
        values["datasets"] = datasets
    if facts.teacher is not None and is_hub_id(facts.teacher):
        values["base_model"] = facts.teacher
        values["base_model_relation"] = "finetune"
    metadata: dict[str, Any] = ModelCardData(**values).to_dict()
    results = [] if facts.smoke else [result for result in facts.results if result.model == "student"]
    if entries := [_model_index_entry(result, facts) for result in results]:
        metadata["model-index"] = [{"name": public_text(facts.name), "results": entries}]
    return metadata


def _tags(facts: CardFacts) -> list[str]:
    what = "distillation" if facts.taught or facts.tasks else "vocabulary-trimming"
    return ["bistill", "bilingual", what, f"pair:{facts.source[0]}-{facts.target[0]}"]


def language_fields(codes: tuple[str, str]) -> dict[str, list[str]]:
    """Write a pair's codes as the Hub wants them: subtags go into a field of their own."""
    if any(SUBTAGGED.fullmatch(code) for code in codes):
        return {"language": list(dict.fromkeys(map(hub_language, codes))), "language_bcp47": list(codes)}
    return {"language": list(codes)}


def is_hub_id(text: str) -> bool:
    """Whether huggingface_hub takes a text for the id of a repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def looks_local(text: str) -> bool:
    """Whether a text looks like a path of somebody's machine, or holds one."""
    return _LOCAL.match(text) is not None


def public_text(text: str) -> str:
    """Return a text, or the last part of a path of somebody's machine."""
    if not looks_local(text):
        return text
    name = re.split(r"[/\\]", text)[-1].lstrip("~ ")
    return _LOCAL_FILE if not name.strip() or looks_local(name) else name


def hub_language(code: str) -> str:
    """Return the code that the Hub lists a language by: the one without subtags."""
    tag = SUBTAGGED.fullmatch(code)
    return tag[1] if tag else code


def _model_index_entry(result: Result, facts: CardFacts) -> dict[str, Any]:
    """One result in the shape that huggingface_hub gives it."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    head = facts.tasks.get(result.task, {}).get("head")
    if head not in PIPELINE_TAGS:
        raise InputError(
            f"the Hub has a task for {', '.join(PIPELINE_TAGS)} alone",
            file=facts.name,
            field=f"tasks.{result.task}.head",
            value=head,
            remedy="list each task that has results, with its head",
        )
    on_hub = is_hub_id(result.dataset) and not (result.revision or "").startswith("sha256:")
    name = public_text(result.dataset)
    entry = EvalResult(
        task_type=PIPELINE_TAGS[head],
        task_name=public_text(result.task),
        dataset_type=name if on_hub else _slug(name),
        dataset_name=name,
        dataset_config=_optional(result.dataset_config),
        dataset_split=_optional(result.split),
        dataset_revision=_optional(result.read_revision),
        dataset_args=_arguments(result),
        metric_type=result.metric,
        metric_value=result.score,
    )
    converted: dict[str, Any] = eval_results_to_model_index(facts.name, [entry])[0]["results"][0]
    return converted


def _arguments(result: Result) -> dict[str, Any]:
    """What else tells one test set from another."""
    arguments: dict[str, Any] = {"language": result.language}
    if subset := _optional(result.subset):
        arguments["subset"] = subset
    if result.synthetic:
        arguments["synthetic"] = True
    return arguments


def _optional(text: str | None) -> str | None:
    return text if text and not looks_local(text) else None


def _slug(name: str) -> str:
    """A name of a data set that has no Hub id, such that nobody takes it for a path."""
    return "-".join(re.findall("[a-z0-9]+", name.lower()))[:96].strip("-") or "local-file"
