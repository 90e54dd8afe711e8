"""What every test may ask for: the miniature world as text and labels, and teachers pre-trained on it."""

from __future__ import annotations

import gc
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import miniature
import pytest
from filelock import FileLock

# torch and the Hugging Face libraries read these when they are imported, which the tests do after this file.
os.environ.update(
    OMP_NUM_THREADS="1",  # models this small only wait for each other on two threads
    MKL_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    TRANSFORMERS_VERBOSITY="error",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    # Some tests fork a process that has imported pyarrow, and a process that is forked should have one thread.
    JE_ARROW_MALLOC_CONF="background_thread:false",
)

_LONGEST = (
    "tests/recipes/test_every_recipe_runs.py",
    "tests/site/test_notebook.py",
    "tests/demo/test_demo.py",
    "tests/student/test_real_text.py",
    "tests/test_backbone_matrix.py",
    "tests/pipeline/test_killed.py",
    "tests/pipeline/test_processes_of_a_run.py",
)
"""Begun first, so that no process is left with one of them when the others have finished."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; pytest-xdist keeps the tests of a file together (`--dist=loadfile`)."""
    items.sort(key=lambda item: _LONGEST.index(item.location[0]) if item.location[0] in _LONGEST else len(_LONGEST))


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Take what has been imported out of the garbage collections that each training asks for: a third of its time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def _snippets_that_are_claimed_are_executed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ask a module whether it has executed the snippets of documentation that it claims, if all of its tests passed."""
    yield
    pages = sys.modules.get("doc_pages")
    only_some = request.config.option.keyword or any("::" in each for each in request.config.args)
    if pages and not only_some and not request.session.testsfailed:
        wrong = pages.left_out(request.module.__name__)
        assert not wrong, "\n".join(wrong)


class BuiltOnce:
    """Things that take long to make and are made by one process of pytest-xdist for all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, build: Callable[[Path], Any]) -> Any:
        """Return what `build` made of a folder of that name, in this process or, pickled, in another one."""
        folder = self.folder / name
        folder.parent.mkdir(exist_ok=True)
        finished = folder.with_suffix(".pickle")
        with FileLock(folder.with_suffix(".lock")):
            if not finished.is_file():
                finished.write_bytes(pickle.dumps(build(folder)))
            return pickle.loads(finished.read_bytes())


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> BuiltOnce:
    """Calls a function that writes a folder, unless another process has done so."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built-once"
    folder.mkdir(exist_ok=True)
    return BuiltOnce(folder)


_NOT_BY = {"bert": (), "xlm-roberta": ("XLMRobertaTokenizer",)}

_LINES = 400
_SPLITS = {"train": 200, "dev": 50, "test": 50}


@pytest.fixture(scope="session")
def world_lines() -> Mapping[str, list[str]]:
    """Sentences of the miniature world as plain text, by language."""
    return {
        language: [miniature.text(sentence) for sentence in miniature.sentences(language, _LINES)]
        for language in miniature.LANGUAGES
    }


@pytest.fixture(scope="session")
def text_files(world_lines: Mapping[str, list[str]], built_once: BuiltOnce) -> Mapping[str, Path]:
    """`world_lines` as files, a sentence a line, by language."""

    def write(folder: Path) -> Mapping[str, Path]:
        return {
            language: miniature.write_lines(folder / f"{language}.txt", lines)
            for language, lines in world_lines.items()
        }

    return built_once("text", write)


@pytest.fixture(scope="session")
def ner_files(built_once: BuiltOnce) -> Mapping[str, Mapping[str, Path]]:
    """CoNLL files (`token<TAB>tag`) by language and split; no sentence is in two splits."""

    def write(folder: Path) -> Mapping[str, Mapping[str, Path]]:
        files: dict[str, dict[str, Path]] = {}
        for language in miniature.LANGUAGES:
            tagged = iter(miniature.sentences(language, sum(_SPLITS.values()), seed=1))
            files[language] = {
                split: miniature.write_conll(folder / language / f"{split}.conll", [next(tagged) for _ in range(count)])
                for split, count in _SPLITS.items()
            }
        return files

    return built_once("ner", write)


@pytest.fixture(scope="session")
def tiny_teacher_dirs(text_files: Mapping[str, Path], built_once: BuiltOnce) -> Mapping[str, Path]:
    """Pre-trained checkpoints by backbone: 6 layers of width 32, 4 heads, up to 128 tokens. Do not write into them."""
    from bistill_hub.pretraining import PretrainingSettings, pretrain
    from bistill_hub.sources import TextSource

    sources = {language: TextSource(path=str(file)) for language, file in text_files.items()}

    def train(folder: Path) -> Path:
        settings = PretrainingSettings(
            backbone=folder.name,
            vocab_size=400,
            hidden_size=32,
            num_hidden_layers=6,
            num_attention_heads=4,
            intermediate_size=64,
            max_length=128,
            steps=30,
            batch_size=8,
            learning_rate=5e-3,
            seed=1,
        )
        return pretrain(sources, folder, settings, progress=False)

    return {backbone: built_once(f"teachers/{backbone}", train) for backbone in ("bert", "xlm-roberta")}


@pytest.fixture(scope="session")
def tiny_teachers_not_by() -> Mapping[str, tuple[str, ...]]:
    """By backbone of `tiny_teacher_dirs`, what a recipe says in `teacher.tokenizer_not_by`."""
    return _NOT_BY


def _small_recipe(backbone: str, teachers: Mapping[str, Path], text: Mapping[str, Path], ner: Mapping[str, Any]) -> Any:
    """Every stage for real, each with a handful of steps."""
    from bistill_hub.recipe import Recipe

    return Recipe.make(
        {
            "name": f"bistill-en-sw-{backbone}",
            "source": {"code": "en", "name": "English", "text": str(text["en"])},
            "target": {"code": "sw", "name": "Swahili", "text": str(text["sw"])},
            "teacher": {"model": str(teachers[backbone]), "tokenizer_not_by": _NOT_BY[backbone]},
            "license": "apache-2.0",
            "limits": "Made of a miniature world, for tests.",
            "student": {"layer_reduction_factor": 2, "min_token_probability": 3e-3},
            "bilingual": {"steps": 12, "block_size": 48, "learning_rate": 1e-3, "evaluation_every": 6},
            "speed": {"seconds": 0.1, "length": 32, "batch_size": 4},
            "baselines": ["trimmed_teacher", "no_phase_1", "random_teacher"],
            "tasks": [
                {
                    "name": "ner",
                    "train": str(ner["en"]["train"]),
                    "validation": str(ner["en"]["dev"]),
                    "test_source": str(ner["en"]["test"]),
                    "test_target": str(ner["sw"]["test"]),
                    "max_length": 64,
                    "teacher": {"epochs": 6, "learning_rate": 5e-3},
                    "distillation": {"dense_epochs": 1, "sparse_epochs": 2, "learning_rate": 5e-3},
                }
            ],
        }
    )


@pytest.fixture(scope="session")
def small_recipes(
    tiny_teacher_dirs: Mapping[str, Path], text_files: Mapping[str, Path], ner_files: Mapping[str, Mapping[str, Path]]
) -> Mapping[str, Any]:
    """A recipe by backbone, on the miniature world."""
    return {name: _small_recipe(name, tiny_teacher_dirs, text_files, ner_files) for name in tiny_teacher_dirs}


@pytest.fixture(scope="session")
def runs(small_recipes: Mapping[str, Any], built_once: BuiltOnce) -> Mapping[str, Any]:
    """The result of a whole run by backbone. Do not write into its folders."""
    from bistill_hub import run

    return {
        name: built_once(f"runs/{name}", lambda folder: run(small_recipes[folder.name], folder, progress=False))
        for name in small_recipes
    }


@dataclass(frozen=True)
class DemoRun:
    """What `bistill demo` did: its result, and what it printed."""

    run: Any
    loaded: Any
    answers: Any
    printed: str


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """`bistill demo`, run once. Do not write into its folder."""
    from click.testing import CliRunner

    from bistill_hub import cli
    from bistill_hub.demo import demo as module

    folder = tmp_path_factory.mktemp("demo") / "out"
    shown: list[Any] = []
    real = module.run_demo

    def watched(*args: Any, **kwargs: Any) -> Any:
        shown.append(real(*args, **kwargs))
        return shown[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_demo", watched)
        result = CliRunner().invoke(cli.main, ["demo", "--output", str(folder), "--quiet"])
    assert result.exit_code == 0, result.output
    return DemoRun(shown[0].run, shown[0].loaded, shown[0].answers, result.output)


@pytest.fixture(scope="session")
def five_heads(runs: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair with a task for each head, and the language-modelling head; nothing of it is trained but `ner`."""
    import torch
    from safetensors.torch import load_file
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForQuestionAnswering,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    from bistill_hub import SparseDelta
    from bistill_hub.hub.repository import PairModel, write_model

    packaged = runs["bert"].repository
    deltas = {"ner": SparseDelta.load(packaged / "tasks/ner/delta.safetensors")}
    start = load_file(packaged / "model.safetensors")
    for task, auto, labels in (
        ("nli", AutoModelForSequenceClassification, ["entailment", "neutral", "contradiction"]),
        ("qa", AutoModelForQuestionAnswering, []),
    ):
        torch.manual_seed(1)
        model = auto.from_pretrained(packaged, task=None, num_labels=max(2, len(labels)))
        name = "bert.encoder.layer.0.output.dense.weight"
        tuned = dict(model.named_parameters())
        with torch.no_grad():
            tuned[name][0] += 0.1
        head = "sequence-classification" if labels else "question-answering"
        deltas[task] = SparseDelta.from_models(
            {each: tensor for each, tensor in start.items() if each in tuned},
            tuned,
            metadata={"head": head, "labels": labels, "density": 0.1},
        )
    config = AutoConfig.from_pretrained(packaged)
    described = PairModel(
        config=AutoModel.from_pretrained(packaged).config,
        source_language="en",
        target_language="sw",
        layer_map=tuple(config.layer_map),
        vocabulary=config.vocabulary,
    )
    folder = tmp_path_factory.mktemp("five") / "pair"
    write_model(folder, described, start, AutoTokenizer.from_pretrained(packaged), deltas)
    return folder
