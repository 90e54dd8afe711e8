"""What recipes share: for each teacher of the method's paper, and for a modern one, everything but the pair.

A family is a function that makes a `Recipe` of a pair's own facts: languages, text, test set, licence, limits. The
settings are those of the paper's scripts; what the scripts leave open, what nobody has tried, and what nobody has
looked at on the Hub is among the recipe's unverified facts. Nothing is read and nothing is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from .evaluation.benchmarks import BENCHMARKS, benchmark
from .recipe import (
    BilingualSettings,
    Language,
    Recipe,
    SparseSettings,
    StudentSettings,
    TaskRecipe,
    TaskTeacher,
    Teacher,
)
from .sources import LabelledSource, TextSource

WIKIPEDIA_REVISION = "b04c8d1ceb2f5cd4588862100d08de323dccfbaa"

MBERT = Teacher(model="google-bert/bert-base-multilingual-cased", revision="3f076fdb1ab68d5b2880cb87a0886f315b8146f8")
XLM_R = Teacher(model="FacebookAI/xlm-roberta-base", revision="e73636d4f797dec63c3081bb6ed5c7b0bb3f2089")
MDEBERTA = Teacher(model="microsoft/mdeberta-v3-base", revision="a0484667b22365f84929a935b5e50a51f71f159d")
MMBERT = Teacher(model="jhu-clsp/mmBERT-base", revision="c5955035435e2bf121cde7f3c8863ef52ff35d82")

PICKLED_TEACHERS = (MDEBERTA.model, MMBERT.model)
"""Teachers whose pages list pickled weights and no safetensors at these revisions: `bistill convert-teacher` first."""

STUDENT = StudentSettings(layer_reduction_factor=2)
BILINGUAL = BilingualSettings(steps=200_000, batch_size=8, learning_rate=1e-4, evaluation_every=5_000)

TAGGING_TEACHER = TaskTeacher(epochs=3, batch_size=32, learning_rate=5e-5)
TAGGING = SparseSettings(density=0.08, dense_epochs=3, sparse_epochs=10, batch_size=8)
NLI_TEACHER = TaskTeacher(epochs=3, batch_size=32, learning_rate=3e-5)
NLI = SparseSettings(density=0.08, dense_epochs=5, sparse_epochs=5, batch_size=8)
QA_TEACHER = TaskTeacher(epochs=2, batch_size=32, learning_rate=3e-5)
QA = SparseSettings(density=0.08, dense_epochs=2, sparse_epochs=2, batch_size=8, freeze_layer_norms=False)

NLI_LENGTH = 128
QA_LENGTH = 384

NEVER_RUN = "recipe: nobody has run it as it stands"
"""Among the unverified facts of a recipe until somebody has; `bistill recipes` goes by it."""

_MBERT_NER = TaskTeacher(
    delta="legacy:cambridgeltl/mbert-task-sft-masakhaner",
    delta_labels=("B-LOC", "B-ORG", "B-PER", "I-LOC", "I-ORG", "I-PER", "O"),  # its authors' script sorts the tags
)
_XLM_R_NLI = TaskTeacher(delta="legacy:cambridgeltl/xlmr-task-sft-nli")
_BF16 = {"precision": "bf16", "teacher_precision": "bf16"}

_CONVERT = (
    "; its page lists pickled weights alone, which `bistill convert-teacher` makes safetensors of: "
    "name the folder by --set teacher.model=FOLDER"
)
_LICENSE = "license: it is the teacher's; what the terms of text and labels ask of weights was not examined"
_COMMIT = re.compile("[0-9a-f]{40}")


def wikipedia(code: str, *, revision: str | None = WIKIPEDIA_REVISION) -> TextSource:
    """Name a language's Wikipedia of November 2023.

    Args:
        code: What the Wikipedia is called, mostly a language code.
        revision: Branch, tag or commit of the data set.
    """
    return TextSource(dataset="wikimedia/wikipedia", config=f"20231101.{code}", split="train", revision=revision)


def conll_2003(split: str) -> LabelledSource:
    """Name a split of CoNLL 2003, English newswire; miscellaneous names have no counterpart in MasakhaNER.

    Args:
        split: "train", "validation" or "test".
    """
    return LabelledSource(
        dataset="eriktks/conll2003", revision="refs/convert/parquet", split=split, label_map={"MISC": "O"}
    )


def masakhaner(
    *,
    name: str,
    target: Language,
    language_delta: str,
    test: LabelledSource,
    license: str,
    limits: str,
    unverified: Sequence[str] = (),
) -> Recipe:
    """Make the paper's recipe for names: mBERT as teacher, with the task SFT for names, tested on MasakhaNER.

    Args:
        name: The pair's name.
        target: The target language and its text.
        language_delta: Its language SFT for mBERT.
        test: Its test set.
        license: Licence of the weights.
        limits: The contributor's words on limits and biases.
        unverified: Facts of this pair that nobody has checked.
    """
    task = TaskRecipe(
        name="ner",
        train=conll_2003("train"),
        validation=conll_2003("validation"),
        test_source=conll_2003("test"),
        test_target=test,
        teacher=_MBERT_NER,
        distillation=TAGGING,
    )
    teacher = _speaking(MBERT, "legacy:cambridgeltl/mbert-lang-sft-en-small", target, language_delta)
    return Recipe(
        name=name,
        source=ENGLISH,
        target=target,
        teacher=teacher,
        license=license,
        limits=limits,
        student=STUDENT,
        bilingual=BILINGUAL,
        tasks=(task,),
        unverified=(*hub_facts(teacher, target, [task]), *unverified),
    )


def xnli(
    *,
    name: str,
    target: Language,
    language_delta: str,
    test: LabelledSource,
    license: str,
    limits: str,
    unverified: Sequence[str] = (),
) -> Recipe:
    """Make the paper's recipe for inference: XLM-R base as teacher, trained on MultiNLI, tested on XNLI or AmericasNLI.

    Args:
        name: The pair's name.
        target: The target language and its text.
        language_delta: Its language SFT for XLM-R base.
        test: Its test set.
        license: Licence of the weights.
        limits: The contributor's words on limits and biases.
        unverified: Facts of this pair that nobody has checked.
    """
    task = TaskRecipe(
        name="nli",
        train=benchmark("xnli", "en", "train"),
        validation=benchmark("xnli", "en", "dev"),
        test_source=benchmark("xnli", "en", "test"),
        test_target=test,
        max_length=NLI_LENGTH,
        teacher=_XLM_R_NLI,
        distillation=NLI,
    )
    teacher = _speaking(XLM_R, "legacy:cambridgeltl/xlmr-lang-sft-en-small", target, language_delta)
    return Recipe(
        name=name,
        source=ENGLISH,
        target=target,
        teacher=teacher,
        license=license,
        limits=limits,
        student=STUDENT,
        bilingual=BILINGUAL,
        tasks=(task,),
        unverified=(
            *hub_facts(teacher, target, [task]),
            "tasks.nli.distillation: the paper's scripts leave epochs, batch size and learning rate open",
            *unverified,
        ),
    )


def xquad(
    *,
    name: str,
    target: Language,
    test: LabelledSource,
    license: str,
    limits: str,
    unverified: Sequence[str] = (),
) -> Recipe:
    """Make the paper's recipe for questions: mDeBERTa-v3 base as teacher, trained on SQuAD, tested on XQuAD.

    The paper's scripts use no language SFTs with this teacher, and their authors list none for it.

    Args:
        name: The pair's name.
        target: The target language and its text.
        test: Its test set.
        license: Licence of the weights.
        limits: The contributor's words on limits and biases.
        unverified: Facts of this pair that nobody has checked.
    """
    task = TaskRecipe(
        name="qa",
        train=benchmark("squad", "en", "train"),
        validation=benchmark("squad", "en", "dev"),
        test_source=benchmark("xquad", "en", "test"),
        test_target=test,
        max_length=QA_LENGTH,
        teacher=QA_TEACHER,
        distillation=QA,
    )
    return Recipe(
        name=name,
        source=ENGLISH,
        target=target,
        teacher=MDEBERTA,
        license=license,
        limits=limits,
        student=STUDENT,
        bilingual=BILINGUAL,
        tasks=(task,),
        unverified=(
            *hub_facts(MDEBERTA, target, [task]),
            "tasks.qa.teacher: the paper's is a sparse fine-tuning that was not published; this one is fine-tuned as a "
            "whole, with settings that are not the paper's",
            "tasks.qa.distillation: the paper's scripts leave batch size and learning rate open",
            *unverified,
        ),
    )


def mmbert(
    *,
    name: str,
    target: Language,
    tests: Mapping[str, LabelledSource],
    license: str,
    limits: str,
    unverified: Sequence[str] = (),
) -> Recipe:
    """Make a recipe of the modern set: mmBERT base as teacher, for one task or several.

    What differs from the paper's families, and why:

    - mmBERT was trained on 1,811 languages, XLM-R and mDeBERTa on 100; no language SFTs are known for it.
    - It has 22 layers, and the student 11; 64 divides the student's vocabulary, which suits GPUs. Of its 307 million
      parameters 197 million are the vocabulary's, so that the cut is most of what makes the student small.
    - Both phases compute in bf16 and keep the teacher in it: on GPUs and CPUs that have it, the fastest.
    - English training data are ones whose licences are open: Universal NER in place of CoNLL 2003, which is Reuters'
      text, and MultiNLI itself in place of XNLI's copy. Names are tested on MasakhaNER 2.0, the larger successor.

    Args:
        name: The pair's name.
        target: The target language and its text.
        tests: Its test set for each task that is learnt: "ner", "nli", "qa".
        license: Licence of the weights.
        limits: The contributor's words on limits and biases.
        unverified: Facts of this pair that nobody has checked.
    """
    tasks = tuple(_modern_task(task, test) for task, test in tests.items())
    return Recipe(
        name=name,
        source=ENGLISH,
        target=target,
        teacher=MMBERT,
        license=license,
        limits=limits,
        student=STUDENT.model_copy(update={"vocabulary_multiple_of": 64}),
        bilingual=BILINGUAL.model_copy(update=_BF16),
        tasks=tasks,
        unverified=(
            *hub_facts(MMBERT, target, tasks),
            "teacher.model: its languages, layers and parameters are those that others report",
            "bilingual, tasks.*: the paper's hyperparameters, found with other teachers; not tried with this one",
            *unverified,
        ),
    )


def hub_facts(teacher: Teacher, target: Language, tasks: Sequence[TaskRecipe]) -> tuple[str, ...]:
    """Say of all that a recipe from English names on the Hub what nobody has looked at there, and what is not pinned.

    Args:
        teacher: The teacher, with the language SFTs that it carries.
        target: The target language and its text.
        tasks: The tasks: their labels, and the task SFTs of their teachers.

    Returns:
        The facts, the first of them that the recipe was never run.
    """
    converted = _CONVERT if teacher.model in PICKLED_TEACHERS else ""
    texts = {"source.text": ENGLISH.text, "target.text": target.text}
    from_hub = {field: text for field, text in texts.items() if text.dataset is not None}
    worn = list(teacher.language_deltas.values())
    return (
        NEVER_RUN,
        f"teacher.model: revision and licence of {teacher.model} are those that others report; not loaded "
        f"here{converted}",
        f"{', '.join(from_hub)}: configurations, sizes and licence of {_listed(_data_sets(from_hub.values()))} are "
        "those that others report",
        *([f"teacher.language_deltas: {_of_sfts(worn, 'as their authors name them')}"] if worn else []),
        *(fact for task in tasks for fact in _task_facts(task)),
        _LICENSE,
    )


ENGLISH = Language(code="en", name="English", text=wikipedia("en"))

_MODERN_SETTINGS = {
    "ner": (TAGGING_TEACHER, TAGGING),
    "nli": (NLI_TEACHER, NLI),
    "qa": (QA_TEACHER, QA),
}
_MODERN_TRAINING = {"ner": "universal_ner", "nli": "multinli", "qa": "squad"}


def _modern_task(task: str, test: LabelledSource) -> TaskRecipe:
    teacher, distillation = _MODERN_SETTINGS[task]
    training = _MODERN_TRAINING[task]
    lengths = {"nli": {"max_length": NLI_LENGTH}, "qa": {"max_length": QA_LENGTH}}
    return TaskRecipe(
        name=task,
        train=benchmark(training, "en", "train"),
        validation=benchmark(training, "en", "dev"),
        test_source=_english_test(test, training),
        test_target=test,
        teacher=teacher.model_copy(update={"precision": "bf16"}),
        distillation=distillation.model_copy(update=_BF16),
        **lengths.get(task, {}),
    )


def _english_test(test: LabelledSource, training: str) -> LabelledSource:
    """Return the English part of the data set that a test set is of, or else that of the training data."""
    own = [each for each in BENCHMARKS.values() if each.dataset == test.dataset and "en" in each.languages]
    return benchmark((*own, BENCHMARKS[training])[0].name, "en", "test")


def _speaking(teacher: Teacher, english_delta: str, target: Language, target_delta: str) -> Teacher:
    deltas = {ENGLISH.code: english_delta, target.code: target_delta}
    return Teacher(model=teacher.model, revision=teacher.revision, language_deltas=deltas)


def _task_facts(task: TaskRecipe) -> list[str]:
    field, sources = f"tasks.{task.name}", task.sources.values()
    named = _data_sets(sources)
    loose = _data_sets(source for source in sources if not _COMMIT.fullmatch(source.revision or ""))
    what = f"layout, columns, labels and licence of {_listed(named)} were not looked at on the Hub"
    facts = [f"{field}: {what}{_not_pinned(loose, named)}"]
    if (delta := task.teacher.delta) is not None:
        order = f" ({', '.join(task.teacher.delta_labels)})" if task.teacher.delta_labels else ""
        known = f"taken to order its labels as its authors' training script does{order}"
        facts.append(f"{field}.teacher.delta: {_of_sfts([delta], known)}")
    return facts


def _of_sfts(deltas: Sequence[str], known: str) -> str:
    places = [delta.removeprefix("legacy:").partition("@") for delta in deltas]
    named = [name for name, _, _ in places]
    loose = [name for name, _, revision in places if not _COMMIT.fullmatch(revision)]
    return f"{_listed(named)}, {known}; not downloaded here, no licence is known{_not_pinned(loose, named)}"


def _not_pinned(loose: Sequence[str], named: Sequence[str]) -> str:
    if not loose:
        return ""
    meant = _listed(loose) if loose != named else "them" if len(named) > 1 else "it"
    return f", and no commit pins {meant}"


def _data_sets(sources: Iterable[LabelledSource | TextSource]) -> list[str]:
    """The Hub ids of data sets, each once."""
    return list(dict.fromkeys(source.dataset for source in sources if source.dataset is not None))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
