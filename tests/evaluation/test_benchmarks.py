"""Benchmarks are read as the Hub has them, from repositories laid out here in their schemas, by the real `datasets`."""

import json

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from bistill_hub.errors import InputError
from bistill_hub.evaluation.benchmarks import BENCHMARKS, benchmark
from bistill_hub.metrics.span_answers import LANGUAGES
from bistill_hub.tasks import available_tasks, get_task

LABELS = ["entailment", "neutral", "contradiction"]
TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
DATES = ["B-DATE", "I-DATE"]
TEXT, TEXTS = Value("string"), List(Value("string"))
ANSWERS = {"text": TEXTS, "answer_start": List(Value("int32"))}
CONTEXT = "Juma aliishi Dodoma."


def nli_rows(**further):
    rows = {"premise": ["Mvua inanyesha."] * 3, "hypothesis": ["a", "b", "c"], "label": [2, 0, 1]}
    features = {"premise": TEXT, "hypothesis": TEXT, "label": ClassLabel(names=LABELS)}
    for name, values in further.items():
        rows[name] = values
        features[name] = Value("int32" if isinstance(values[0], int) else "string")
    return Dataset.from_dict(rows, features=Features(features))


def ner_rows(names, **further):
    rows = {"tokens": [["Juma", "Ali", "aliishi", "Dodoma", "1999"]], "ner_tags": [[1, 2, 0, 5, len(names) - 2]]}
    features = {"tokens": TEXTS, "ner_tags": List(ClassLabel(names=names))}
    if len(names) == len(TAGS):
        rows["ner_tags"][0][-1] = 0
    for name, value in further.items():
        rows[name] = [value]
        features[name] = TEXTS if isinstance(value, list) else TEXT
    return Dataset.from_dict(rows, features=Features(features))


def qa_rows(ids=("a", "b"), **further):
    answers = {"text": ["Dodoma", "Dodoma."], "answer_start": [13, 13]}
    rows = {
        "id": list(ids), "question": ["Wapi?"] * len(ids),
        "context": [CONTEXT] * len(ids), "answers": [answers] * len(ids),
    }  # fmt: skip
    features = {"id": TEXT, "question": TEXT, "context": TEXT, "answers": ANSWERS}
    for name, value in further.items():
        rows[name], features[name] = [value] * len(ids), TEXT
    return Dataset.from_dict(rows, features=Features(features))


def configured(folder, config, split, rows):
    """A repository whose README names the files of each configuration, as most data sets of the Hub do."""
    place = f"{config}/{split}-00000-of-00001.parquet"
    (folder / config).mkdir(parents=True)
    rows.to_parquet(folder / place)
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {config}\n  data_files:\n  - split: {split}\n    path: {place}\n---\n"
    )


def converted(folder, part, split, rows):
    """The branch of Parquet files that the Hub makes: a folder a configuration, within it one a split."""
    (folder / part / split).mkdir(parents=True)
    rows.to_parquet(folder / part / split / "0000.parquet")


TYDI = ("swahili--1-0", "english-2-1", "swahili-3-0")
HUB = {
    "xnli": ("sw", "test", configured, "sw", "test", nli_rows()),
    "americas_nli": ("quy", "dev", configured, "quy", "validation", nli_rows()),
    "multinli": (
        "eng", "dev", configured, "default", "validation_matched",
        nli_rows(promptID=[1, 2, 3], pairID=["1e", "2n", "3c"], genre=["fiction"] * 3),
    ),
    "masakhaner": ("sw", "test", converted, "swa", "test", ner_rows([*TAGS, *DATES], id="0")),
    "masakhaner2": ("sw", "test", converted, "swa", "test", ner_rows([*TAGS, *DATES], id="0")),
    "wikiann": ("swa", "dev", configured, "sw", "validation", ner_rows(TAGS, langs=["sw"] * 5, spans=["PER: Juma"])),
    "universal_ner": (
        "en", "test", configured, "en_ewt", "test",
        ner_rows(TAGS, idx="weblog-1", text="Juma Ali aliishi Dodoma 1999", annotator=["a"]),
    ),
    "universal_ner_test_only": (
        "de", "test", configured, "de_pud", "test", ner_rows(TAGS, idx="n-1", text="x", annotator=["a"]),
    ),
    "xquad": ("es", "test", configured, "xquad.es", "validation", qa_rows()),
    "tydiqa": ("swa", "test", configured, "secondary_task", "validation", qa_rows(TYDI, title="Juma")),
    "mlqa": ("de", "test", converted, "mlqa.de.de", "test", qa_rows()),
    "squad": ("en", "dev", configured, "plain_text", "validation", qa_rows(title="Juma")),
}  # fmt: skip


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_read_in_the_schema_of_the_hub(name, tmp_path, monkeypatch):
    language, split, lay_out, part, hub_split, rows = HUB[name]
    source = benchmark(name, language, split)
    # A relative folder of the Hub id's name is what `load_dataset` takes before it asks the Hub.
    lay_out(tmp_path / source.dataset, part, hub_split, rows)
    monkeypatch.chdir(tmp_path)
    assert source.split == hub_split
    task = get_task(BENCHMARKS[name].task)
    dataset = task.read(source)
    if task.name == "nli":
        assert dataset["label"] == ["contradiction", "entailment", "neutral"]
    elif task.name == "ner":
        assert dataset["tokens"] == [["Juma", "Ali", "aliishi", "Dodoma", "1999"]]
        assert dataset["tags"] == [["B-PER", "I-PER", "O", "B-LOC", "O"]], "dates are no entities of the source"
        assert task.labels(dataset) == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    else:
        kept = [TYDI[0], TYDI[2]] if name == "tydiqa" else ["a", "b"]
        assert dataset["id"] == kept
        assert dataset["answers"][0] == {"text": ["Dodoma", "Dodoma."], "answer_start": [13, 13]}
        assert task.score(dataset, ["Dodoma", "Juma"])["f1"] == 0.5


def test_a_local_copy_is_read_with_the_benchmark_s_labels_and_rules(tmp_path):
    nli = tmp_path / "xnli.jsonl"  # numbers without names
    nli.write_text("".join(json.dumps(row) + "\n" for row in nli_rows().to_list()))
    read = get_task("nli").read(benchmark("xnli", "sw", "test", file=nli))
    assert read["label"] == ["contradiction", "entailment", "neutral"]

    conll = tmp_path / "swa.txt"
    conll.write_text("Juma B-PER\nleo B-DATE\nasubuhi I-DATE\n\n")
    read = get_task("ner").read(benchmark("masakhaner2", "swa", "test", file=conll))
    assert read["tags"] == [["B-PER", "O", "O"]]
    numbers = tmp_path / "swa.jsonl"
    numbers.write_text(json.dumps({"tokens": ["Juma", "leo", "asubuhi"], "ner_tags": [1, 7, 8]}) + "\n")
    read = get_task("ner").read(benchmark("masakhaner2", "swa", "test", file=numbers))
    assert read["tags"] == [["B-PER", "O", "O"]]


def squad_file(place, *identifiers):
    questions = [
        {"id": each, "question": "Wapi?", "answers": [{"text": "Dodoma", "answer_start": 13}]} for each in identifiers
    ]
    place.write_text(json.dumps({"version": "1.0", "data": [{"paragraphs": [{"context": CONTEXT, "qas": questions}]}]}))
    return place


def test_only_mlqa_compares_answers_by_the_rules_of_their_language(tmp_path):
    file = squad_file(tmp_path / "test-context-de-question-de.json", "swahili-1")
    task = get_task("qa")
    # "das" is an article in German alone.
    german = task.read(benchmark("mlqa", "de", "test", file=file))
    assert task.score(german, ["das Dodoma"])["exact_match"] == 1.0
    assert task.statistics(german, ["das Dodoma"]).tolist() == [[1.0, 1.0]]
    for name, language, split in (("xquad", "de", "test"), ("squad", "en", "dev"), ("tydiqa", "sw", "test")):
        read = task.read(benchmark(name, language, split, file=file))
        assert task.score(read, ["das Dodoma"]) == {"f1": pytest.approx(2 / 3), "exact_match": 0.0, "number": 1.0}
        assert task.statistics(read, ["das Dodoma"]).tolist() == [[pytest.approx(2 / 3), 1.0]]
        assert "answer_language" not in read.column_names


def test_questions_of_another_language_are_left_out_of_a_local_copy(tmp_path):
    file = squad_file(tmp_path / "tydiqa.json", *TYDI)
    assert get_task("qa").read(benchmark("tydiqa", "en", "train", file=file))["id"] == [TYDI[1]]


@pytest.mark.parametrize("task", ["ner", "nli", "qa"])
def test_a_language_that_no_answers_are_compared_in_is_refused(task, tmp_path):
    file = squad_file(tmp_path / "qa.json", "a")
    source = benchmark("squad", "en", "dev", file=file).model_copy(update={"answer_language": "sw"})
    problem = "has no rules for this language" if task == "qa" else "only answers of the task qa"
    with pytest.raises(InputError, match=rf"qa\.json: answer_language = 'sw': .*{problem}"):
        get_task(task).read(source)


@pytest.mark.parametrize(
    ("name", "code", "part"),
    [
        ("masakhaner2", "sw", "swa"),
        ("masakhaner2", "swa", "swa"),
        ("masakhaner2", "pcm", "pcm"),
        ("xnli", "swa", "sw"),
        ("xnli", "zho", "zh"),
        ("americas_nli", "ay", "aym"),
        ("americas_nli", "grn", "gn"),
        ("wikiann", "yor", "yo"),
    ],
)
def test_a_language_may_be_named_by_either_of_its_codes(name, code, part):
    source = benchmark(name, code, "test")
    assert (source.config or source.data_dir) == part


def test_a_split_may_be_named_as_the_hub_does_and_a_revision_be_given():
    by_name = benchmark("xquad", "el", "test", revision="abc")
    assert by_name == benchmark("xquad", "ell", "validation", revision="abc")
    assert by_name.name == "google/xquad/xquad.el/validation@abc"
    assert benchmark("mlqa", "hi", "dev").revision == "refs/convert/parquet"
    assert benchmark("mlqa", "hi", "dev", revision="abc").revision == "abc"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("xnlu", "sw", "test"), r"benchmark = 'xnlu': there is no such benchmark\. Choose one of xnli, americas_nli,"),
        (("xnli", "yo", "test"), r"language = 'yo': xnli has no such language\. Choose one of ar, bg, de,"),
        (("xquad", "en", "train"), r"split = 'train': xquad has no such split\. Choose one of test\."),
        (("squad", "en", "test"), r"split = 'test': squad has no such split\. Choose one of train, dev\."),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(words, said):
    with pytest.raises(InputError, match=said):
        benchmark(*words)


def test_every_entry_holds_together():
    assert set(HUB) == set(BENCHMARKS)
    for name, entry in BENCHMARKS.items():
        assert entry.name == name
        assert entry.task in available_tasks()
        assert set(entry.unverified) <= set(vars(entry))
        for language in entry.languages:
            for split in entry.splits:
                source = benchmark(name, language, split)
                assert source.name.startswith(f"{entry.dataset}/")
                assert source.answer_language in ((language,) if entry.answers_by_language else (None,))
        if entry.answers_by_language:
            assert set(entry.languages) <= set(LANGUAGES)
