"""A shipped recipe of each teacher runs unchanged but for its size, on stand-ins of all that it names on the Hub.

The stand-ins lie in the working folder under their Hub ids, which is where the libraries look before they ask the Hub:
data sets in the Hub's schemas, random teachers with trained tokenizers, SFTs in their authors' pickled format.
"""

import json
from dataclasses import dataclass, field

import miniature
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from tiny_models import SPECIAL_IDS, class_of, tiny_model
from tokenizer_kinds import KINDS
from transformers import AutoConfig

from bistill_hub import run
from bistill_hub.families import NEVER_RUN
from bistill_hub.recipe import Recipe, load_recipe

LINES = 120
COUNTS = {"train": 8, "validation": 4, "test": 4}
TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
LABELS = ["entailment", "neutral", "contradiction"]
TEXT, TEXTS = Value("string"), List(Value("string"))
SIZE = {
    "bilingual.steps": 2,
    "bilingual.block_size": 48,
    "bilingual.evaluation_every": 2,
    "speed.seconds": 0,
    "speed.length": 16,
    "speed.batch_size": 2,
}
TASK_SIZE = {"max_length": 96, "teacher.epochs": 1, "distillation.dense_epochs": 1, "distillation.sparse_epochs": 1}


def ner_rows(language, split, further=("B-DATE", "I-DATE")):
    names = [*TAGS, *further]
    tagged = sentences(language, split)
    rows = {
        "id": [str(number) for number in range(len(tagged))],
        "tokens": [[token for token, _ in sentence] for sentence in tagged],
        "ner_tags": [[names.index(tag) for _, tag in sentence] for sentence in tagged],
    }
    rows["ner_tags"][0][-1] = len(names) - 2 if further else 0  # a full stop: a kind of entity that must not count
    features = {"id": TEXT, "tokens": TEXTS, "ner_tags": List(ClassLabel(names=names))}
    return Dataset.from_dict(rows, features=Features(features))


def nli_rows(language, split):
    tagged = sentences(language, split)
    rows = {
        "premise": [miniature.text(sentence) for sentence in tagged],
        "hypothesis": [miniature.text(sentence[:3]) for sentence in tagged],
        "label": [number % len(LABELS) for number in range(len(tagged))],
    }
    return Dataset.from_dict(
        rows, features=Features({"premise": TEXT, "hypothesis": TEXT, "label": ClassLabel(names=LABELS)})
    )


def qa_rows(language, split):
    rows = {"id": [], "context": [], "question": [], "answers": []}
    for number, sentence in enumerate(sentences(language, split)):
        context = miniature.text(sentence)
        name = next(token for token, tag in sentence if tag.startswith("B"))
        rows["id"].append(f"q{number}")
        rows["context"].append(context)
        rows["question"].append("Who or where?")
        rows["answers"].append({"text": [name], "answer_start": [context.index(name)]})
    answers = {"text": TEXTS, "answer_start": List(Value("int32"))}
    return Dataset.from_dict(
        rows, features=Features({"id": TEXT, "context": TEXT, "question": TEXT, "answers": answers})
    )


def sentences(language, split):
    return miniature.sentences(language, COUNTS[split], seed=list(COUNTS).index(split))


def wikipedia_rows(language):
    lines = [miniature.text(sentence) for sentence in miniature.sentences(language, LINES)]
    articles = ["\n\n".join(lines[start : start + 5]) for start in range(0, LINES, 5)]
    return Dataset.from_dict({"id": list(map(str, range(len(articles)))), "title": articles, "text": articles})


def configured(folder, parts):
    """A data set whose README names the file of each configuration and split; parts by (configuration, split)."""
    listed = {}
    for (config, split), rows in parts.items():
        (folder / config).mkdir(parents=True, exist_ok=True)
        rows.to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
        listed.setdefault(config, []).append(f"  - split: {split}\n    path: {config}/{split}-00000-of-00001.parquet\n")
    blocks = [f"- config_name: {config}\n  data_files:\n{''.join(files)}" for config, files in listed.items()]
    (folder / "README.md").write_text(f"---\nconfigs:\n{''.join(blocks)}---\n", encoding="utf-8")


def converted(folder, parts):
    """The branch of Parquet files that the Hub makes: a folder for each configuration, in it one for each split."""
    for (config, split), rows in parts.items():
        (folder / config / split).mkdir(parents=True)
        rows.to_parquet(folder / config / split / "0000.parquet")


def of_splits(config, make, language="en", splits=COUNTS):
    return {(config, split): make(language, split) for split in splits}


def legacy(folder, changed, dense=()):
    """An SFT in the authors' format: some entries of matrices, and whole parameters of a head."""
    encodings = {}
    for name, tensor in changed.items():
        steps = [np.int64(0), *[int(tensor.shape[0]) + 1] * 3]  # column by column, as they count
        encodings[name] = {"size": tensor.shape, "index_steps": steps, "values": torch.full((4,), 0.25)}
    folder.mkdir(parents=True)
    torch.save({"diffs": encodings, "abs": dict(dense)}, folder / "pytorch_diff.bin")


def language_sfts(folder, teacher, names):
    """Language SFTs that change embeddings and attention."""
    chosen = [
        name
        for name in teacher.state_dict()
        if name.endswith(("embeddings.word_embeddings.weight", "layer.1.attention.self.query.weight"))
    ]
    assert len(chosen) == 2
    for name in names:
        legacy(folder / "cambridgeltl" / name, {each: teacher.state_dict()[each] for each in chosen})


def task_sft(folder, teacher, backbone, head, name, labels):
    """A task SFT that changes one matrix and brings a head, with a row for each label."""
    tuned = tiny_model(class_of(backbone, head), teacher.config.vocab_size, seed=1, num_labels=labels).state_dict()
    query = next(each for each in tuned if each.endswith("layer.0.attention.self.query.weight"))
    of_head = {each: tensor for each, tensor in tuned.items() if each.startswith("classifier.")}
    legacy(folder / "cambridgeltl" / name, {query: tuned[query]}, of_head)


def ner_data(folder):
    converted(
        folder / "eriktks/conll2003",
        of_splits("conll2003", lambda *where: ner_rows(*where, further=("B-MISC", "I-MISC"))),
    )


def mbert(folder, teacher):
    ner_data(folder)
    converted(folder / "masakhane/masakhaner", {("yor", "test"): ner_rows("sw", "test")})
    language_sfts(folder, teacher, ["mbert-lang-sft-en-small", "mbert-lang-sft-yor-small"])
    task_sft(folder, teacher, "bert", "ForTokenClassification", "mbert-task-sft-masakhaner", len(TAGS))


def xlm_r(folder, teacher):
    configured(folder / "facebook/xnli", of_splits("en", nli_rows))
    configured(folder / "nala-cub/americas_nli", {("bzd", "test"): nli_rows("sw", "test")})
    lines = [miniature.text(sentence) for sentence in miniature.sentences("sw", LINES)]
    miniature.write_lines(folder / "bzd.txt", lines)
    language_sfts(folder, teacher, ["xlmr-lang-sft-en-small", "xlmr-lang-sft-bzd-small"])
    task_sft(folder, teacher, "xlm-roberta", "ForSequenceClassification", "xlmr-task-sft-nli", len(LABELS))


def mdeberta(folder, _):
    squad = of_splits("plain_text", qa_rows, splits=("train", "validation"))
    configured(folder / "rajpurkar/squad", squad)
    xquad = {("xquad.en", "validation"): qa_rows("en", "test"), ("xquad.de", "validation"): qa_rows("sw", "test")}
    configured(folder / "google/xquad", xquad)


def mmbert(folder, _):
    configured(folder / "BramVanroy/universal_ner", of_splits("en_ewt", lambda *where: ner_rows(*where, further=())))
    converted(folder / "masakhane/masakhaner2", {("yor", "test"): ner_rows("sw", "test")})


PAIRS = {
    "en_yo": ("bert", "wordpiece", mbert),
    "en_bzd": ("xlm-roberta", "unigram", xlm_r),
    "en_de_xquad": ("deberta-v2", "deberta unigram", mdeberta),
    "en_yo_mmbert": ("modernbert", "byte-fallback bpe", mmbert),
}
"""A recipe of each teacher: backbone and tokenizer of the stand-in, and what lays out the rest."""


@dataclass
class Done:
    recipe: Recipe
    result: object
    stages: dict = field(init=False)

    def __post_init__(self):
        self.stages = {record.name: record for record in self.result.stages}

    @property
    def task(self):
        return self.recipe.tasks[0]


@pytest.fixture(scope="module", params=PAIRS)
def done(request, tmp_path_factory):
    backbone, kind, lay_out = PAIRS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    recipe = load_recipe(request.param)
    task_size = {f"tasks.{task.name}.{name}": value for task in recipe.tasks for name, value in TASK_SIZE.items()}
    lines = [miniature.text(each) for language in ("en", "sw") for each in miniature.sentences(language, LINES)]
    tokenizer = KINDS[kind](lines, 1024 if "byte" in kind else 500)
    special = {name: getattr(tokenizer, name) for name in SPECIAL_IDS}
    teacher = tiny_model(class_of(backbone, "ForMaskedLM"), len(tokenizer), special_ids=special)
    for part in (teacher, tokenizer):
        part.save_pretrained(folder / recipe.teacher.model)
    texts = {
        language.text.config: wikipedia_rows(miniature_language)
        for language, miniature_language in zip(recipe.languages, ("en", "sw"), strict=True)
        if language.text.config
    }
    configured(folder / "wikimedia/wikipedia", {(config, "train"): rows for config, rows in texts.items()})
    lay_out(folder, teacher)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        changed = recipe.replace({**SIZE, **task_size})
        return Done(changed, run(changed, folder / "run", progress=False))


def test_every_stage_is_done_and_the_package_is_of_the_teachers_backbone(done):
    task = done.task.name
    assert list(done.stages) == [
        "student", "phase 1", f"{task} teacher", f"{task} phase 2", f"{task} evaluation", "speed", "package",
    ]  # fmt: skip
    config = AutoConfig.from_pretrained(done.result.repository)
    assert config.model_type == "bistill"
    assert config.backbone_type in {backbone for backbone, _, _ in PAIRS.values()}
    assert (config.source_language, config.target_language) == (done.recipe.source.code, done.recipe.target.code)
    assert done.stages["student"].facts["layer_map"] == [1, 3]
    assert done.stages["student"].facts["student"]["vocabulary"] % done.recipe.student.vocabulary_multiple_of == 0


def test_teacher_and_student_are_scored_in_both_languages_on_the_sets_that_the_recipe_names(done):
    scored = {(result.model, result.language, result.dataset, result.n) for result in done.result.results}
    tests = zip(done.recipe.languages, (done.task.test_source, done.task.test_target), strict=True)
    assert scored == {
        (model, language.code, source.dataset, COUNTS["test"])
        for language, source in tests
        for model in ("teacher", "student")
    }


def test_the_package_holds_the_recipe_with_its_unverified_facts(done):
    kept = json.loads((done.result.repository / "recipe.json").read_text(encoding="utf-8"))
    assert tuple(kept["unverified"]) == done.recipe.unverified
    told = [fact for fact in done.recipe.unverified if fact != NEVER_RUN]
    assert len(told) == len(done.recipe.unverified) - 1
    facts = json.loads((done.result.repository / "card.json").read_text(encoding="utf-8"))
    assert facts["training"]["unverified"] == told
    card = (done.result.repository / "README.md").read_text(encoding="utf-8")
    assert "| marked as unverified in the recipe |\n|---|\n| " in card
    assert done.recipe.teacher.model.endswith(f"/{kept['teacher']['model']}"), "the stand-in is a folder here"


def test_the_task_delta_has_the_papers_density_and_phase_1_learns_by_its_two_terms(done):
    assert done.stages[f"{done.task.name} phase 2"].facts["density"] == pytest.approx(0.08, rel=0.02)
    settings = done.stages["phase 1"].facts["settings"]
    assert (settings["attention_weight"], settings["hidden_weight"], settings["logits_weight"]) == (1.0, 1.0, 0.0)


def test_published_sfts_are_worn_and_a_published_task_sft_takes_the_place_of_fine_tuning(done):
    facts = done.stages[f"{done.task.name} teacher"].facts
    english = done.recipe.teacher.language_deltas.get("en")
    assert ("language_delta" in facts) == (english is not None)
    if english is not None:
        assert facts["language_delta"].endswith(english.rpartition("/")[2])
    assert (facts["curve"] == []) == (done.task.teacher.delta is not None)
