"""What a student is compared with: each contender is a recipe derived from the pair's, run by the ordinary stages.

All students have the same steps, batches, block size, learning rates and layers as the pair's own, and the same phase
2, unless a contender is about just that; `differences` lists what is not the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError
from ..recipe import Recipe
from .changes import (
    DISTILBERT,
    MINILM,
    NO_PHASE_1,
    RELATIONS,
    SCRATCH,
    WHOLE_VOCABULARY,
    Changes,
    every_nth_layer,
    fine_tuned,
    fixed,
    from_labels,
    is_tuned_in_full,
    lt_sft,
    of_tasks,
    on_target_text,
    published,
    tuned_in_full,
    without_term,
)

Group = Literal["pair", "teacher", "trimming", "multilingual", "scratch", "ablation", "extension", "published"]
Scored = Literal["teacher", "trimmed_teacher", "sparse_teacher", "student"]
"""Which model of a recipe's stages is scored: the task teacher, the same with the student's vocabulary, the whole
teacher after phase 2, or the student after phase 2."""

OF_TASK_TEACHER: tuple[Scored, ...] = ("teacher", "trimmed_teacher")
"""Those of the recipe's task teacher, for which no student is taught."""

TEACHER, TEACHER_FULL, STUDENT_NAME = "teacher", "teacher_full", "student"
ALWAYS = (TEACHER, STUDENT_NAME)

_BASELINE_GROUPS = ("teacher", "trimming", "multilingual", "scratch")
WORDS: Mapping[str, tuple[str, ...]] = {
    "baselines": _BASELINE_GROUPS,
    "ablations": ("ablation",),
    "extensions": ("extension",),
    "all": (*_BASELINE_GROUPS, "ablation", "extension"),
}
"""Words that stand for all contenders of some groups."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model that the student is compared with.

    Attributes:
        name: Its name on the command line.
        label: What tables and figures call it.
        group: What it is for.
        source: Where the idea comes from.
        scored: Which model of its stages is scored.
        multilingual: It reads the recipe's further languages.
        unverified: It starts from published weights that nobody has tried with this package; run where asked for by its
            name alone.
        changes: What its recipe changes of the pair's.
    """

    name: str
    label: str
    group: Group
    source: str
    scored: Scored = "student"
    multilingual: bool = False
    unverified: bool = False
    changes: Callable[[Recipe], Changes] = lambda recipe: {}

    def recipe(self, pair: Recipe) -> Recipe:
        """Derive the contender's recipe from the pair's.

        Raises:
            InputError: the contender needs further languages and the recipe names none, or it is the teacher or the
                student itself.
        """
        own = own_recipe(pair)
        if self.name in ALWAYS or self.scored == "trimmed_teacher":
            return own
        if self.multilingual and not pair.further_languages:
            raise InputError(
                f"{self.name} is a student of several languages, and the recipe names none beside the pair's",
                field="further_languages",
                value=[],
                remedy="give them in the recipe, or by --set-file, each with code, name and text",
            )
        further: Changes = {"further_languages": pair.further_languages} if self.multilingual else {}
        derived = own.replace({**self.changes(own), **further})
        if derived == own:
            same = "teacher" if self.scored == "teacher" else "student"
            raise InputError(
                f"{self.name} would be the {same} itself: the recipe has nothing of what it leaves out or changes",
                field="against",
                value=self.name,
                remedy="leave it out",
            )
        if self.name == TEACHER_FULL:
            return derived.only([task.name for task in own.tasks if not is_tuned_in_full(task)])
        return derived


def own_recipe(pair: Recipe) -> Recipe:
    """The recipe of the pair's own student: it reads no further languages, and other models are scored beside it."""
    return pair.replace({"further_languages": (), "baselines": ()})


def differences(derived: Recipe, own: Recipe) -> dict[str, Any]:
    """What of a recipe, for its own tasks, is not as in another one: dotted path to value, None for what it lacks."""
    ours, theirs = _flat(_plain(derived)), _flat(_plain(own.only([task.name for task in derived.tasks])))
    changed = {path: value for path, value in ours.items() if path not in theirs or theirs[path] != value}
    return changed | dict.fromkeys(path for path in theirs if path not in ours)


def chosen(pair: Recipe, against: Sequence[str], layers: int | None, *, alone: bool = False) -> tuple[Contender, ...]:
    """Return the contenders that words name, with teacher and student, in the registry's order.

    A word for a group leaves out what would be teacher or student themselves, what the teacher cannot be cut to, and
    ablations for which the recipe has no further languages.

    Args:
        pair: The pair's recipe.
        against: Names of contenders and groups.
        layers: How many the pair's teacher has; None where that is not known.
        alone: Teacher and student are among them only where they are named.

    Raises:
        InputError: there is no such contender, one that is named cannot be derived from the recipe, or none is named
            though they are asked for alone.
    """
    if alone and not against:
        raise InputError(
            "nobody is named who could be done alone",
            field="against",
            value=list(against),
            remedy=f"choose from {', '.join((*WORDS, *CONTENDERS))}",
        )
    names = set() if alone else set(ALWAYS)
    for word in against:
        if word in WORDS:
            of_group = [each for each in CONTENDERS.values() if each.group in WORDS[word]]
            names |= {each.name for each in of_group if _fits(each, pair, layers) and _differs(each, pair)}
        elif word in CONTENDERS:
            names.add(word)
        else:
            raise InputError(
                "there is no such contender",
                field="against",
                value=word,
                remedy=f"choose from {', '.join((*WORDS, *CONTENDERS))}",
            )
    found = tuple(contender for name, contender in CONTENDERS.items() if name in names)
    for contender in found:
        contender.recipe(pair)
    return found


def _differs(contender: Contender, pair: Recipe) -> bool:
    """Whether a contender is another model than the pair's teacher and student."""
    own = own_recipe(pair)
    always = contender.name in ALWAYS or contender.scored == "trimmed_teacher" or contender.multilingual
    return always or own.replace(contender.changes(own)) != own


def _fits(contender: Contender, pair: Recipe, layers: int | None) -> bool:
    """Whether a teacher of so many layers can be cut as a contender asks, and read what it asks.

    An ablation that reads further languages does not fit a recipe that names none; baselines that do are asked for.
    """
    if contender.multilingual and contender.group == "ablation" and not pair.further_languages:
        return False
    own = own_recipe(pair)
    try:
        student = own.replace(contender.changes(own)).student  # refuses target text where teachers wear language SFTs
        if layers is not None:
            student.layer_map_for(layers)
    except InputError:
        return False
    return True


def _plain(recipe: Recipe) -> dict[str, Any]:
    fields = recipe.model_dump(mode="json")
    fields["further_languages"] = [language.code for language in recipe.further_languages]
    fields["tasks"] = {task["name"]: task for task in fields["tasks"]}
    return fields


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, Any] = {}
    for name, each in value.items():
        found |= _flat(each, f"{path}.{name}" if path else name)
    return found


_ANSELL = "Ansell et al. 2023"
_DEVLIN = "Devlin et al. 2019"
_LT_SFT = "Ansell et al. 2022"
_SANH = "Sanh et al. 2019"
_WANG = "Wang et al. 2021"
_WU = "Wu et al. 2020"

CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender(name=TEACHER, label="teacher", group="teacher", source="the recipe", scored="teacher"),
        Contender(
            name=TEACHER_FULL,
            label="teacher, tuned in full",
            group="teacher",
            source=_DEVLIN,
            scored="teacher",
            changes=lambda recipe: tuned_in_full(task for task in recipe.tasks if not is_tuned_in_full(task)),
        ),
        Contender(
            name="teacher_sft",
            label="teacher, LT-SFT on labels",
            group="teacher",
            source=_LT_SFT,
            scored="sparse_teacher",
            changes=lt_sft,
        ),
        Contender(
            name="trimmed_teacher",
            label="teacher, vocabulary trimmed",
            group="trimming",
            source="Abdaoui et al. 2020",
            scored="trimmed_teacher",
        ),
        Contender(name=STUDENT_NAME, label="bilingual student", group="pair", source=_ANSELL),
        Contender(
            name="student_fine_tuned",
            label="student, fine-tuned",
            group="ablation",
            source=_ANSELL,
            changes=fine_tuned,
        ),
        Contender(
            name="student_sft",
            label="student, LT-SFT on labels",
            group="ablation",
            source=_LT_SFT,
            changes=from_labels,
        ),
        Contender(
            name="student_relations",
            label="student by relations + phase 2",
            group="ablation",
            source=_WANG,
            changes=fixed(RELATIONS),
        ),
        Contender(
            name="distilbert_style",
            label="DistilBERT-style + phase 2",
            group="multilingual",
            source=_SANH,
            multilingual=True,
            changes=fixed(DISTILBERT),
        ),
        Contender(
            name="distilbert_style_fine_tuned",
            label="DistilBERT-style, fine-tuned",
            group="multilingual",
            source=_SANH,
            multilingual=True,
            changes=fixed(DISTILBERT, on_labels=True),
        ),
        Contender(
            name="minilmv2_style",
            label="MiniLMv2-style + phase 2",
            group="multilingual",
            source=_WANG,
            multilingual=True,
            changes=fixed(MINILM),
        ),
        Contender(
            name="minilmv2_style_fine_tuned",
            label="MiniLMv2-style, fine-tuned",
            group="multilingual",
            source=_WANG,
            multilingual=True,
            changes=fixed(MINILM, on_labels=True),
        ),
        Contender(
            name="from_scratch",
            label="bilingual from scratch + phase 2",
            group="scratch",
            source=_DEVLIN,
            changes=fixed(SCRATCH),
        ),
        Contender(
            name="from_scratch_fine_tuned",
            label="bilingual from scratch, fine-tuned",
            group="scratch",
            source=_DEVLIN,
            changes=fixed(SCRATCH, on_labels=True),
        ),
        Contender(name="no_phase_1", label="no phase 1", group="ablation", source=_ANSELL, changes=fixed(NO_PHASE_1)),
        Contender(
            name="no_attention_loss",
            label="no attention loss",
            group="ablation",
            source=_ANSELL,
            changes=without_term(("attention", "divergence"), "attention"),
        ),
        Contender(
            name="no_hidden_loss",
            label="no hidden loss",
            group="ablation",
            source=_ANSELL,
            changes=without_term(("hidden",), "hidden"),
        ),
        Contender(
            name="dense_phase_2",
            label="dense phase 2",
            group="ablation",
            source=_ANSELL,
            changes=lambda recipe: of_tasks(recipe, {"density": 1.0, "iterations": 1}),
        ),
        Contender(
            name="whole_vocabulary",
            label="whole vocabulary",
            group="ablation",
            source=_ANSELL,
            changes=fixed(WHOLE_VOCABULARY),
        ),
        Contender(
            name="all_languages",
            label="all languages",
            group="ablation",
            source=_ANSELL,
            multilingual=True,
            changes=fixed(WHOLE_VOCABULARY),
        ),
        Contender(
            name="lrf_2", label="LRF 2", group="ablation", source=_ANSELL, changes=lambda recipe: every_nth_layer(2)
        ),
        Contender(
            name="lrf_3", label="LRF 3", group="ablation", source=_ANSELL, changes=lambda recipe: every_nth_layer(3)
        ),
        Contender(
            name="target_text",
            label="student + target text",
            group="extension",
            source=_WU,
            changes=on_target_text,
        ),
        Contender(
            name="lrf_3_target_text",
            label="LRF 3 + target text",
            group="extension",
            source=_WU,
            changes=lambda recipe: {**every_nth_layer(3), **on_target_text(recipe)},
        ),
        Contender(
            name="minilmv2_style_target_text",
            label="MiniLMv2-style + target text",
            group="extension",
            source=_WU,
            multilingual=True,
            changes=lambda recipe: {**MINILM, **on_target_text(recipe)},
        ),
        Contender(
            name="trimmed_teacher_target_text",
            label="trimmed teacher + target text",
            group="extension",
            source=_WU,
            changes=lambda recipe: {**every_nth_layer(1), **NO_PHASE_1, **on_target_text(recipe)},
        ),
        Contender(
            name="distilmbert",
            label="DistilmBERT (published)",
            group="published",
            source=_SANH,
            scored="teacher",
            unverified=True,
            changes=published("distilbert/distilbert-base-multilingual-cased"),
        ),
        Contender(
            name="multilingual_minilmv2",
            label="multilingual MiniLMv2 (published)",
            group="published",
            source=_WANG,
            scored="teacher",
            unverified=True,
            changes=published("nreimers/mMiniLMv2-L6-H384-distilled-from-XLMR-Large"),
        ),
    )
}
"""Every contender by name, in the order of tables."""
