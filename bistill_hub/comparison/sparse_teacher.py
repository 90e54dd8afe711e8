"""The whole teacher, tuned as sparsely as the student: it speaks the language of its data, as the task teacher does.

While it is tuned it carries the source's language SFT, and on target data the target's in place of that (Ansell et al.
2023, section 4). Base, language SFT and task delta are added anew for each language, so that nothing is taken off.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file
from transformers import AutoConfig

from ..model.modeling_bistill import BASE_FILE
from ..model.sparse_delta import SparseDelta
from ..pipeline.given_teacher import label_fields
from ..pipeline.order import PHASE_1, STUDENT, Stage
from ..pipeline.portable import shown_name
from ..pipeline.stage_files import DELTA_FILE, STUDENT_FILE, TOKEN_MAP_FILE, prefixed, write_student
from ..recipe import Recipe
from ..sentence_encoders import carry_modules
from ..student.backbones import backbone_for
from ..student.deltas import trim_delta
from ..teacher import load_delta, load_encoder, load_task_model, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from ..pipeline.preflight import TaskData


def speaking_stage(recipe: Recipe, phase_1: Stage) -> Stage:
    """Return what stands in phase 1's place, and puts the source's language SFT on the whole teacher.

    Args:
        recipe: The recipe of the sparsely tuned teacher; it has no steps in phase 1.
        phase_1: Its phase 1, which is returned where the source has no language SFT.
    """
    code = recipe.source.code
    if code not in recipe.teacher.language_deltas:
        return phase_1
    return Stage(
        PHASE_1,
        (STUDENT,),
        {"language_delta": phase_1.settings["deltas"][code]},
        lambda place, done: put_on(recipe, place, done[STUDENT].folder, code),
    )


def put_on(recipe: Recipe, folder: Path, student: Path, language: str) -> dict[str, Any]:
    """Write a student's folder again, with a language's SFT on the encoder.

    Args:
        recipe: The recipe, which names an SFT of the language.
        folder: The stage's folder.
        student: The folder that phase 0 left.
        language: The language's code.
    """
    encoder = load_encoder(str(student))
    _speak(encoder, recipe, student, language)
    state = load_file(student / BASE_FILE)
    state |= {name: tensor for name, tensor in prefixed(encoder).items() if name in state}
    write_student(folder, state, AutoConfig.from_pretrained(student), load_tokenizer(str(student)))
    carry_modules(str(student), folder)
    for name in (STUDENT_FILE, TOKEN_MAP_FILE):
        (folder / name).write_bytes((student / name).read_bytes())
    return {"language_delta": shown_name(recipe.teacher.language_deltas[language])}


def load_sparse_teacher(
    recipe: Recipe, task: TaskData, student: Path, phase_2: Path, *, language: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load the sparsely tuned teacher as it reads data of a language, and its tokenizer.

    Args:
        recipe: Its recipe.
        task: The task's data.
        student: The folder that phase 0 left.
        phase_2: The folder of its task delta.
        language: Code of the data's language; one without an SFT gets none.
    """
    model = load_task_model(task.task.head, str(student), **label_fields(task.labels))
    _speak(model, recipe, student, language)
    SparseDelta.load(phase_2 / DELTA_FILE).apply(model)
    return model, load_tokenizer(str(student))


def _speak(model: PreTrainedModel, recipe: Recipe, student: Path, language: str) -> None:
    """Put a language's SFT, sliced to the student's vocabulary, on a model that carries none."""
    name = recipe.teacher.language_deltas.get(language)
    if name is not None:
        token_map = load_file(student / TOKEN_MAP_FILE)["token_map"]
        trim_delta(load_delta(name), backbone_for(model.config), token_map).apply(model, strict=False)
