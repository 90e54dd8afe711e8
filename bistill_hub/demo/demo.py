"""The demo: English and Swahili of the miniature world, out of the teacher that the package carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import InputError
from ..folders import check_writable
from ..pipeline.processes import started_processes
from ..pipeline.run import RunResult, run
from ..recipe import (
    BilingualSettings,
    Language,
    Recipe,
    SparseSettings,
    SpeedSettings,
    StudentSettings,
    TaskRecipe,
    TaskTeacher,
    Teacher,
)
from ..sources import LabelledSource, TextSource
from .showcase import Answer, Loaded, answer_examples, load_everything
from .teacher import TEACHER_DIR
from .world import Sizes, write_world

WORLD_FOLDER = "world"
"""In the output folder: the text and the labelled data."""

SIZES = Sizes(text=4000, train=(("ner", 1200), ("pos", 800), ("nli", 5000), ("qa", 1600)), validation=150, test=300)

PHASE_1 = BilingualSettings(
    steps=300, batch_size=16, block_size=64, learning_rate=3e-3, evaluation_every=150, evaluation_share=0.02
)

TASKS: dict[str, tuple[TaskTeacher, SparseSettings]] = {
    "ner": (
        TaskTeacher(epochs=3, batch_size=32, learning_rate=6e-4),
        SparseSettings(dense_epochs=2, sparse_epochs=4, batch_size=32, learning_rate=1e-3),
    ),
    "pos": (
        TaskTeacher(epochs=3, batch_size=32, learning_rate=4e-4),
        SparseSettings(dense_epochs=2, sparse_epochs=4, batch_size=32, learning_rate=1e-3),
    ),
    "nli": (
        TaskTeacher(epochs=2, batch_size=32, learning_rate=2e-4),
        SparseSettings(dense_epochs=2, sparse_epochs=3, batch_size=32, learning_rate=2e-3),
    ),
    "qa": (
        TaskTeacher(epochs=3, batch_size=32, learning_rate=4e-4),
        SparseSettings(dense_epochs=1, sparse_epochs=3, batch_size=32, learning_rate=1e-3),
    ),
}
"""How each task's teacher is tuned, and how the student learns from it."""


def demo_recipe(data_dir: Path, teacher_dir: Path = TEACHER_DIR, *, seed: int = 0) -> Recipe:
    """Make the demo's recipe.

    Args:
        data_dir: Where `write_world` wrote the pair's data, with its default languages and `SIZES`.
        teacher_dir: The teacher.
        seed: Of the training.
    """

    def text(language: str) -> TextSource:
        return TextSource(path=str(data_dir / f"text.{language}.txt"))

    def labelled(task: str, part: str) -> LabelledSource:
        suffix = {"nli": ".tsv", "qa": ".json"}.get(task, ".conll")
        return LabelledSource(path=str(data_dir / task / f"{part}{suffix}"))

    return Recipe(
        name="bistill-demo-en-sw",
        source=Language(code="en", name="English", text=text("en")),
        target=Language(code="sw", name="Swahili", text=text("sw")),
        teacher=Teacher(model=str(teacher_dir)),
        license="apache-2.0",
        limits=(
            "A demonstration: teacher, text and labels are of a miniature world of some hundred words with made-up "
            "names. It is of no use on any other text."
        ),
        student=StudentSettings(layer_reduction_factor=2),
        seed=seed,
        synthetic=True,
        speed=SpeedSettings(seconds=4),
        bilingual=PHASE_1,
        tasks=tuple(
            TaskRecipe(
                name=task,
                train=labelled(task, "train"),
                validation=labelled(task, "validation"),
                test_source=labelled(task, "test.en"),
                test_target=labelled(task, "test.sw"),
                max_length=160,
                teacher=teacher,
                distillation=distillation,
            )
            for task, (teacher, distillation) in TASKS.items()
        ),
    )


@dataclass(frozen=True)
class Demo:
    """What the demo leaves.

    Attributes:
        run: The run and its scores.
        repository: The packaged pair.
        loaded: What each Auto class made of the package.
        answers: The student's answers to test examples in both languages.
    """

    run: RunResult
    repository: Path
    loaded: list[Loaded]
    answers: list[Answer]


def run_demo(output_dir: str | Path, *, seed: int = 0, fresh: bool = False, progress: bool = True) -> Demo:
    """Go the whole way on the miniature world: write it, run the recipe, load the pair, let it answer.

    torch is held to two threads meanwhile, or to what it was told: models this small gain nothing from more.

    Args:
        output_dir: Where everything is written; a demo that was interrupted goes on there.
        seed: Of the world and of the training.
        fresh: Do every stage again, whatever is finished.
        progress: Show progress bars.

    Raises:
        InputError: nothing can be written there, another run is writing there, or several processes were started.
    """
    if (processes := started_processes()) > 1:
        raise InputError(
            "the demo is one process's work",
            field="WORLD_SIZE",
            value=processes,
            remedy="start it without torchrun or accelerate launch",
        )
    folder = Path(output_dir)
    check_writable(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, 2))
    try:
        write_world(folder / WORLD_FOLDER, seed=seed, sizes=SIZES)
        recipe = demo_recipe(folder / WORLD_FOLDER, seed=seed)
        done = run(recipe, folder, fresh=fresh, progress=progress, command=f"bistill demo --seed {seed}")
        if done.repository is None:
            raise RuntimeError("the run ended without a package")
        loaded, models = load_everything(done.repository)
        return Demo(done, done.repository, loaded, answer_examples(recipe, done.repository, models))
    finally:
        torch.set_num_threads(threads)
