"""Whether the Hub would take a card's YAML block, by its rules and without a network."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from ..errors import InputError
from .front_matter import FRONT_MATTER, parse_yaml
from .metadata import LIBRARY, PIPELINE_TAGS, SUBTAGGED, hub_language, is_hub_id, language_fields, looks_local

_TASK_TYPES = frozenset({*PIPELINE_TAGS.values(), "feature-extraction"})
_RELATIONS = frozenset({"adapter", "finetune", "merge", "quantized"})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why the Hub, or a reader, would not take a card's metadata.

    Attributes:
        file: The card's file, if it is known.
        field: The field, with its place in lists and mappings: `model-index[0].results[1].task.type`.
        value: What stands there; None where there is nothing.
        problem: What is wrong, as one clause.
        remedy: What to do about it, as one clause.
    """

    file: str | None
    field: str
    value: Any
    problem: str
    remedy: str

    def __str__(self) -> str:
        """Say it as one line."""
        return str(self.error())

    def error(self) -> InputError:
        """Return it as the error to raise."""
        shown = {} if self.value is None else {"value": self.value}
        return InputError(self.problem, file=self.file, field=self.field, remedy=self.remedy, **shown)


def check_identity(
    name: str, codes: tuple[str, str], license: str, license_name: str | None, license_link: str | None
) -> None:
    """Refuse languages and a licence that the Hub would not take, before there is a card that states them.

    Args:
        name: The pair's name, for the message.
        codes: Of the source and the target language.
        license: Identifier of the licence.
        license_name: Its name, where the Hub has no identifier for it.
        license_link: Address of its text, where the Hub has no identifier for it.

    Raises:
        InputError: the first problem that was found.
    """
    for field, code in zip(("source.code", "target.code"), codes, strict=True):
        if not (_is_language(code) or SUBTAGGED.fullmatch(code)):
            raise InputError(
                "no ISO 639 code",
                file=name,
                field=field,
                value=code,
                remedy="give one, such as yo, with subtags behind a hyphen if any",
            )
    given = {"license": license, "license_name": license_name, "license_link": license_link}
    stated = {**language_fields(codes), **{field: value for field, value in given.items() if value is not None}}
    checker = _Checker(name)
    checker.check_values(stated, "")
    checker.check_languages(stated)
    checker.check_license(stated)
    if checker.problems:
        raise checker.problems[0].error()


def check_metadata(card: str, *, file: str | Path | None = None) -> list[Problem]:
    """Check a card's YAML block by the Hub's rules, and for what a pair's card must say.

    Args:
        card: The card's whole text.
        file: Its file, for the messages.

    Returns:
        Every problem, in the block's order; empty if there is none.
    """
    checker = _Checker(None if file is None else str(file))
    block = FRONT_MATTER.match(card)
    if block is None:
        checker.add("metadata", None, "the card has no YAML block", "begin the card with `---`, the metadata and `---`")
        return checker.problems
    try:
        metadata = parse_yaml(block[2], file=file, field="metadata")
    except InputError as error:
        checker.add("metadata", error.value, error.problem, error.remedy)
        return checker.problems
    if not isinstance(metadata, dict):
        checker.add("metadata", metadata, "not a mapping", "write `name: value` lines")
        return checker.problems
    checker.check_values(metadata, "")
    checker.check(metadata)
    return checker.problems


@cache
def _identifiers(kind: str) -> frozenset[str]:
    listed = json.loads((Path(__file__).parent / "hub_identifiers.json").read_text(encoding="utf-8"))
    return frozenset(listed[kind]["identifiers"])


class _Checker:
    """Collects what is wrong with one card's metadata."""

    def __init__(self, file: str | None) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def add(self, field: str, value: Any, problem: str, remedy: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(file=self.file, field=field, value=value, problem=problem, remedy=remedy))

    def check(self, metadata: dict[Any, Any]) -> None:
        """Check each field that the Hub reads."""
        self.check_languages(metadata)
        self.check_license(metadata)
        self._check_choice(metadata.get("library_name"), "library_name", {LIBRARY})
        self._check_choice(metadata.get("pipeline_tag"), "pipeline_tag", _TASK_TYPES)
        self._check_ids(metadata, "base_model")
        self._check_ids(metadata, "datasets")
        if "base_model_relation" in metadata:
            self._check_choice(metadata["base_model_relation"], "base_model_relation", _RELATIONS)
        tags = metadata.get("tags")
        if not isinstance(tags, list) or not tags:
            self.add("tags", tags, "not a list of tags", "list at least `bistill`")
        else:
            for place, tag in enumerate(tags):
                self._text(tag, f"tags[{place}]")
        if "model-index" in metadata:
            self._check_model_index(metadata["model-index"])

    def check_values(self, value: Any, field: str) -> None:
        """Find nulls, paths and keys that are no text, wherever they are."""
        if value is None:
            self.add(field, None, "empty", "give it a value, or remove the field")
        elif isinstance(value, str):
            if looks_local(value):
                self.add(field, value, "a path on somebody's machine", "name the data set or file without its folder")
        elif isinstance(value, float) and not math.isfinite(value):
            self.add(field, value, "not a finite number", "give the number, or remove the entry")
        elif isinstance(value, dict):
            for key, inner in value.items():
                place = f"{field}.{key}" if field else str(key)
                if not isinstance(key, str):
                    self.add(place, key, "YAML reads this name as something else than text", "put it in quotes")
                self.check_values(inner, place)
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self.check_values(inner, f"{field}[{index}]")

    def _text(self, value: Any, field: str) -> bool:
        """Whether a value is a text that says something; None has been found before."""
        if isinstance(value, str) and value.strip():
            return True
        if value is not None:
            self.add(field, value, "not a text", "write a text, in quotes where YAML takes it for something else")
        return False

    def _check_choice(self, value: Any, field: str, choices: frozenset[str] | set[str]) -> None:
        if not isinstance(value, str) or value not in choices:
            self.add(field, value, "not a value that fits a pair", f"choose among {', '.join(sorted(choices))}")

    def check_languages(self, metadata: dict[Any, Any]) -> None:
        """Check the pair's codes."""
        codes, tags = metadata.get("language"), metadata.get("language_bcp47")
        if not isinstance(codes, list) or not codes:
            self.add("language", codes, "not a list of codes", "list the codes of both languages")
            return
        for place, code in enumerate(codes):
            field = f"language[{place}]"
            if self._text(code, field) and not _is_language(code):
                self.add(field, code, "no ISO 639 code", "give one, such as yo; subtags go into language_bcp47")
        if tags is not None:
            self._check_subtagged(codes, tags)
        elif len(codes) != 2 or codes[0] == codes[1]:
            self.add("language", codes, "a pair has two languages", "list both, each once")

    def _check_subtagged(self, codes: list[Any], tags: Any) -> None:
        """The pair's two tags, of which `language` holds what stands before the subtags."""
        fits = isinstance(tags, list) and len(tags) == 2 and tags[0] != tags[1]
        fits = fits and all(isinstance(tag, str) and (_is_language(tag) or SUBTAGGED.fullmatch(tag)) for tag in tags)
        if not fits:
            self.add("language_bcp47", tags, "not two BCP 47 tags", "list the tags of both languages, such as zh-Hant")
        elif codes != list(dict.fromkeys(hub_language(tag) for tag in tags)):
            self.add("language", codes, f"language_bcp47 is {tags}", "list the same languages without subtags")

    def check_license(self, metadata: dict[Any, Any]) -> None:
        """Check the licence."""
        value = metadata.get("license")
        if not isinstance(value, str) or value not in _identifiers("licenses"):
            self.add("license", value, "no licence identifier of the Hub", "choose one, or `other` with name and link")
        elif value == "other":
            for field in ("license_name", "license_link"):
                if field not in metadata:
                    self.add(field, None, "a licence that the Hub does not know has no name or text here", "give it")
                else:
                    self._text(metadata[field], field)

    def _check_ids(self, metadata: dict[Any, Any], field: str) -> None:
        if field not in metadata:
            return
        given = metadata[field]
        listed = given if isinstance(given, list) else [given]
        if not listed:
            self.add(field, given, "an empty list", "remove the field")
        for place, value in enumerate(listed):
            name = f"{field}[{place}]" if isinstance(given, list) else field
            if self._text(value, name) and not is_hub_id(value):
                self.add(name, value, "not an id on the Hub", "give `owner/name`, or remove it")

    def _check_model_index(self, index: Any) -> None:
        if not isinstance(index, list) or not index:
            self.add("model-index", index, "not a list of models", "list one model with `name` and `results`")
            return
        for place, model in enumerate(index):
            field = f"model-index[{place}]"
            if not isinstance(model, dict):
                self.add(field, model, "not a mapping", "give `name` and `results`")
                continue
            self._need(model, field, ("name",))
            for number, result in enumerate(self._list(model, "results", field)):
                self._check_result(result, f"{field}.results[{number}]")

    def _check_result(self, result: Any, field: str) -> None:
        if not isinstance(result, dict):
            self.add(field, result, "not a mapping", "give `task`, `dataset` and `metrics`")
            return
        task, dataset = result.get("task"), result.get("dataset")
        if self._need(task, f"{field}.task", ("type",)):
            self._check_choice(task["type"], f"{field}.task.type", _TASK_TYPES)
        if self._need(dataset, f"{field}.dataset", ("type", "name"), ("config", "split", "revision")) and not is_hub_id(
            dataset["type"]
        ):
            self.add(f"{field}.dataset.type", dataset["type"], "not an id on the Hub or like one", "give `owner/name`")
        for number, metric in enumerate(self._list(result, "metrics", field)):
            place = f"{field}.metrics[{number}]"
            self._need(metric, place, ("type",))
            value = metric.get("value") if isinstance(metric, dict) else None
            if not isinstance(value, int | float) or isinstance(value, bool):
                self.add(f"{place}.value", value, "not a number", "give the score as a number")
            if isinstance(metric, dict) and "verified" in metric:
                self.add(f"{place}.verified", metric["verified"], "the Hub alone sets it", "remove it")

    def _need(
        self, value: Any, field: str, required: Sequence[str], optional: Sequence[str] = ()
    ) -> TypeGuard[dict[str, Any]]:
        """Whether a value is a mapping with these texts."""
        if not isinstance(value, dict):
            self.add(field, value, "not a mapping", f"give {', '.join(f'`{name}`' for name in required)}")
            return False
        complete = True
        for name in (*required, *optional):
            if name in value:
                complete &= self._text(value[name], f"{field}.{name}")
            elif name in required:
                self.add(f"{field}.{name}", None, "missing", "give it a text")
                complete = False
        return complete

    def _list(self, value: Any, name: str, field: str) -> list[Any]:
        found = value.get(name)
        if isinstance(found, list) and found:
            return found
        self.add(f"{field}.{name}", found, "not a list, or empty", "list at least one")
        return []


def _is_language(code: str) -> bool:
    if len(code) == 2:
        return code in _identifiers("languages")
    return re.fullmatch("[a-z]{3}", code) is not None
