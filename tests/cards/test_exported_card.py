"""The card of an exported checkpoint says what it is and where it is from, and its snippets run without this package.

`golden/task.md` is the card of `FACTS`. After a wanted change of the template, write it anew and read the difference:
`BISTILL_UPDATE_GOLDEN=1 python -m pytest tests/cards/test_exported_card.py`.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from example_card import COMMIT, RESULTS
from markdown_it import MarkdownIt
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    BertTokenizer,
)

from bistill_hub.cards.exported import ExportedFacts, render_exported_card
from bistill_hub.cards.metadata_check import check_metadata

GOLDEN = Path(__file__).parent / "golden" / "task.md"
HOSTILE = 'a|b\n---\n# c `d` <script>x</script> & *e* [g](http://h) "l": {m} ```'

FACTS = ExportedFacts(
    name="lab/bistill-en-sw-ner",
    pair="lab/bistill-en-sw",
    pair_url="https://huggingface.co/lab/bistill-en-sw",
    commit=COMMIT,
    backbone="bert",
    architecture="BertForTokenClassification",
    layers=6,
    vocabulary=29_876,
    languages=(("en", "English"), ("sw", "Swahili")),
    task="ner",
    head="token-classification",
    labels=("O", "B-PER", "I-PER"),
    license="apache-2.0",
    results=RESULTS,
    limits="Only *newspapers* were read.\n\n- Names of people are **biased**.",
)
ENCODER = replace(FACTS, name="plain", task=None, head="masked-lm", architecture="BertForMaskedLM", results=())
LOCAL = replace(FACTS, pair="bistill-en-sw", pair_url=None, commit=None)


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


def parsed(card):
    return MarkdownIt("commonmark").enable("table").parse(card.split("---\n", 2)[2])


def snippets(card):
    return [token.content for token in parsed(card) if token.type == "fence" and token.info == "python"]


def section(card, title):
    """The text under a heading."""
    return re.split(r"(?m)^## ", card.partition(f"## {title}\n")[2])[0].strip()


def test_the_card_is_the_one_that_was_read_and_approved():
    card = render_exported_card(FACTS)
    if os.environ.get("BISTILL_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(card, encoding="utf-8")
    assert card == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "facts",
    [FACTS, ENCODER, LOCAL, replace(FACTS, results=(), limits=None, license=None), replace(ENCODER, head=None)],
    ids=["task", "encoder", "of a folder", "bare", "no language model"],
)
def test_it_is_tidy(facts):
    card = render_exported_card(facts)
    assert card.endswith("\n")
    assert not card.endswith("\n\n")
    for line in card.splitlines():
        assert line == line.rstrip()
    assert "\n\n\n" not in card
    for word in ("None", "TODO", "{{", "}}", "{%", "nan"):
        assert word not in card
    assert check_metadata(card) == [] or facts.license is None


def test_its_metadata_name_the_pair_as_what_it_was_made_of():
    assert metadata(render_exported_card(FACTS)) == {
        "language": ["en", "sw"],
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "token-classification",
        "tags": ["bistill", "bilingual", "pair:en-sw"],
        "base_model": "lab/bistill-en-sw",
        "base_model_relation": "finetune",
    }


def test_a_pair_that_is_a_folder_is_named_without_a_link():
    card = render_exported_card(LOCAL)
    assert not {"base_model", "base_model_relation"} & set(metadata(card))
    assert "the task ner of the pair bistill-en-sw, a small" in card
    assert "](http" not in card.partition("## Use")[0]
    assert f"[lab/bistill-en-sw]({FACTS.pair_url}) at commit `{COMMIT}`" in render_exported_card(FACTS)


@pytest.mark.parametrize(
    ("head", "tag"),
    [
        ("masked-lm", "fill-mask"),
        ("token-classification", "token-classification"),
        ("sequence-classification", "text-classification"),
        ("question-answering", "question-answering"),
        (None, "feature-extraction"),
    ],
)
def test_the_hub_is_told_what_its_head_is_for(head, tag):
    assert metadata(render_exported_card(replace(FACTS, head=head)))["pipeline_tag"] == tag


def test_a_code_with_subtags_and_a_licence_of_its_own_are_told_as_the_hub_wants_them():
    facts = replace(
        FACTS,
        languages=(("en", "English"), ("zh-Hant", "Chinese")),
        license="other",
        license_name="our own",
        license_link="https://huggingface.co/lab/bistill-en-sw/blob/main/LICENSE",
    )
    card = render_exported_card(facts)
    assert check_metadata(card) == []
    found = metadata(card)
    assert (found["language"], found["language_bcp47"]) == (["en", "zh"], ["en", "zh-Hant"])
    assert found["tags"][-1] == "pair:en-zh-Hant"
    assert section(card, "Licence") == f"That of the pair: our own ([text]({facts.license_link}))."


def test_the_scores_are_those_of_student_and_teacher():
    rows = section(render_exported_card(FACTS), "Evaluation").splitlines()
    lines = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("|")]
    assert [(line[0], line[4], line[5], line[8]) for line in lines[2:]] == [
        ("en (source)", "teacher", "90.0", ""),
        ("en (source)", "student", "85.5", "95.0"),
        ("sw (target)", "teacher", "71.2", ""),
        ("sw (target)", "student", "62.3", "87.5"),
    ]


def test_made_up_data_are_labelled_before_anything_else_and_beside_each_score():
    results = tuple(replace(result, synthetic=True) for result in RESULTS)
    card = render_exported_card(replace(FACTS, results=results, synthetic=True))
    assert card.split("---\n", 2)[2].strip().startswith("**Synthetic demonstration")
    assert section(card, "Evaluation").count("(synthetic)") == 4
    assert "ynthetic" not in render_exported_card(FACTS)


def test_what_the_pair_does_not_say_is_said_to_be_missing():
    card = render_exported_card(replace(FACTS, results=(), limits=None, license=None))
    assert section(card, "Evaluation") == "The pair holds no scores of this task that could be read."
    assert section(card, "Limits and biases") == "They are those of the pair: see its card."
    assert section(card, "Licence") == "The card of the pair names none."
    assert "license" not in metadata(card)


def test_the_contributor_s_own_words_keep_their_markdown():
    assert section(render_exported_card(FACTS), "Limits and biases") == FACTS.limits


def test_no_name_breaks_out_of_its_place():
    results = tuple(replace(result, dataset=HOSTILE, metric=HOSTILE, language=HOSTILE) for result in RESULTS)
    facts = replace(
        FACTS,
        name=f"lab/{HOSTILE}",
        pair=HOSTILE,
        task=HOSTILE,
        languages=(("en", HOSTILE), ("sw", HOSTILE)),
        license=HOSTILE,
        results=results,
    )
    card, usual = render_exported_card(facts), render_exported_card(FACTS)
    kinds = [token.type for token in parsed(card)]
    assert kinds == [token.type for token in parsed(usual)]
    assert "html_block" not in kinds
    assert metadata(card)["license"] == metadata(card)["base_model"] == HOSTILE
    (code,) = snippets(card)
    assert f"lab/{HOSTILE}" in [constant for constant in compile(code, "card", "exec").co_consts if constant]


@pytest.mark.parametrize(
    ("head", "model", "results"),
    [
        (None, BertModel, {"vectors"}),
        ("masked-lm", BertForMaskedLM, {"vectors", "fill"}),
        ("token-classification", BertForTokenClassification, {"tag"}),
        ("sequence-classification", BertForSequenceClassification, {"logits"}),
        ("question-answering", BertForQuestionAnswering, {"first", "last"}),
    ],
)
def test_each_snippet_runs_beside_the_checkpoint(tmp_path, monkeypatch, capsys, head, model, results):
    letters = [*"abcdefghijklmnopqrstuvwxyz.?"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)})
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    labels = 2 if head == "question-answering" else 3
    model(BertConfig(**shape, vocab_size=len(pieces), num_labels=labels)).save_pretrained(tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    monkeypatch.chdir(tmp_path)
    task = None if head in (None, "masked-lm") else "some-task"
    card = render_exported_card(replace(ENCODER, task=task, head=head, labels=("O", "B-PER")))
    names = {}
    for code in snippets(card):
        assert "bistill" not in code
        exec(compile(code, "card", "exec"), names)
    assert results <= set(names)
    if head == "question-answering":
        shown = capsys.readouterr().out.strip()
        assert shown
        assert shown in names["text"]
        # The best of all spans within the text, found by trying each.
        inside = [place for place, part in enumerate(names["inputs"].sequence_ids(0)) if part == 1]
        starts, ends = names["output"].start_logits[0], names["output"].end_logits[0]
        best = max((float(starts[i] + ends[j]), i, j) for i in inside for j in inside if i <= j)
        assert best[1:] == (names["first"], names["last"])
