"""A card states what the records hold and nothing else, and no name in them can break its Markdown or its metadata.

`golden` holds whole cards: one that has everything, one that lacks everything that may be missing, one of made-up data
with a teacher not above the trivial baseline, and one of which every name from outside tries to break out. After a
wanted change of the template, write them anew and read the difference:
`BISTILL_UPDATE_GOLDEN=1 python -m pytest tests/cards/test_card.py`.
"""

import os
import re
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest.mock import ANY

import pytest
import yaml
from example_card import FACTS, FULL, REPORT, RESULTS, TEACHER_TARGET
from markdown_it import MarkdownIt

from bistill_hub.cards.card import render_card
from bistill_hub.errors import InputError

GOLDEN = Path(__file__).parent / "golden"

NOTHING_EVALUATED = replace(FACTS, tasks={}, results=())

HOSTILE = "a|b\n---\n# c `d` <script>x</script> & *e* __f__ [g](http://h) ~~i~~ \\| ${j} 'k' \"l\": {m} ```"
ONE_LINE = re.sub(r"\s+", " ", HOSTILE)
ALL_HOSTILE = replace(
    FULL,
    name=HOSTILE,
    source=(HOSTILE, HOSTILE),
    target=(HOSTILE, HOSTILE),
    license=HOSTILE,
    tasks={HOSTILE: FACTS.tasks["ner"]},
    results=tuple(
        replace(r, task=HOSTILE, language=HOSTILE, role=HOSTILE, dataset=HOSTILE, split=HOSTILE, metric=HOSTILE)
        for r in FULL.results
    ),
    vocabulary={"languages": {HOSTILE: REPORT}},
    training={
        "stages": [{"name": HOSTILE, "settings": HOSTILE, "loss": HOSTILE, "seconds": 60}],
        "machines": [HOSTILE],
        "language_deltas": {HOSTILE: HOSTILE},
        "labelled": {HOSTILE: {"train": HOSTILE, "validation": HOSTILE}},
        "unverified": [HOSTILE],
    },
    corpora={HOSTILE: {"name": HOSTILE, "lines": 1, "tokens": 2}},
    versions={HOSTILE: HOSTILE},
    command=f"bistill run x --set {HOSTILE}\n```\n# not a heading",
    contributors=(HOSTILE,),
)
CARDS = {
    "full": FULL,
    "bare": replace(NOTHING_EVALUATED, teacher=None, datasets=()),
    "nothing_to_keep": replace(
        FACTS, synthetic=True, results=tuple(replace(result, trivial=0.95) for result in FACTS.results)
    ),
    "hostile": ALL_HOSTILE,
}


def split(card):
    """The metadata's text and the body, cut where the Hub cuts them."""
    found = re.match(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))", card)
    assert found, card
    return found[2], card[found.end() :]


def metadata(card):
    return yaml.safe_load(split(card)[0])


def parsed(card):
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(split(card)[1])


def plain(inline):
    """The text of an inline token; markup other than code spans and the card's pictures is an error here."""
    kinds = {child.type for child in inline.children}
    if "image" in kinds:
        (picture,) = inline.children
        assert re.fullmatch(r"assets/[a-z]+\.png", picture.attrs["src"])
        return plain(picture)
    assert kinds <= {"text", "text_special", "code_inline"}, kinds
    return "".join(child.content for child in inline.children)


def tables(card):
    """Every table as rows of cell texts, the header first."""
    found = []
    tokens = parsed(card)
    for place, token in enumerate(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            found[-1][-1].append(plain(tokens[place + 1]))
    return found


def headings(card):
    tokens = parsed(card)
    return [(t.tag, tokens[place + 1].content) for place, t in enumerate(tokens) if t.type == "heading_open"]


def section(card, title):
    """The text under a heading."""
    return re.split(r"(?m)^## ", split(card)[1].partition(f"## {title}\n")[2])[0].strip()


@pytest.mark.parametrize("name", CARDS)
def test_the_card_is_the_one_that_was_read_and_approved(name):
    card, golden = render_card(CARDS[name]), GOLDEN / f"{name}.md"
    if os.environ.get("BISTILL_UPDATE_GOLDEN") == "1":
        golden.write_text(card, encoding="utf-8")
    assert card == golden.read_text(encoding="utf-8")


class TestShape:
    def test_equal_facts_give_equal_bytes_in_whatever_order_they_are_kept(self):
        turned = replace(
            FACTS,
            versions=dict(reversed(FACTS.versions.items())),
            corpora=dict(reversed(FACTS.corpora.items())),
            vocabulary={**FACTS.vocabulary, "languages": dict(reversed(FACTS.vocabulary["languages"].items()))},
        )
        assert render_card(turned) == render_card(FACTS)

    @pytest.mark.parametrize("facts", CARDS.values(), ids=CARDS)
    def test_it_is_tidy(self, facts):
        card = render_card(facts)
        assert card.endswith("\n")
        assert not card.endswith("\n\n")
        for line in card.splitlines():
            assert line == line.rstrip()
        assert "\n\n\n" not in card
        for word in ("None", "TODO", "{{", "}}", "{%", "nan"):
            assert word not in card

    def test_its_sections_come_in_the_order_that_readers_need(self):
        assert headings(render_card(FACTS)) == [
            ("h1", "bistill-en-sw"),
            *(
                ("h2", title)
                for title in (
                    "At a glance", "Use", "Intended use", "Evaluation", "Tokenizer", "Training", "Limits and biases",
                    "Reproduce", "Citation",
                )
            ),
        ]  # fmt: skip


class TestMetadata:
    def test_it_says_what_the_hub_asks_for(self):
        assert metadata(render_card(FACTS)) == {
            "language": ["en", "sw"],
            "license": "apache-2.0",
            "library_name": "transformers",
            "pipeline_tag": "fill-mask",
            "tags": ["bistill", "bilingual", "distillation", "pair:en-sw"],
            "datasets": ["some/ner", "some/text"],
            "base_model": "google-bert/bert-base-multilingual-cased",
            "base_model_relation": "finetune",
            "model-index": ANY,
        }

    def test_each_of_the_student_s_results_is_in_the_model_index(self):
        (model,) = metadata(render_card(FACTS))["model-index"]
        found = [(e["dataset"]["args"]["language"], e["metrics"][0]["value"]) for e in model["results"]]
        assert found == [(r.language, r.score) for r in RESULTS if r.model == "student"]

    def test_a_student_that_was_drawn_is_not_said_to_be_the_teachers(self):
        card = render_card(replace(FACTS, drawn=True))
        assert "trained from random weights in the shape of a part of" in card
        assert "was copied from" not in card
        nothing = render_card(replace(FACTS, drawn=True, taught=False, tasks={}, results=()))
        assert "Nothing was trained: its encoder is random." in nothing

    def test_where_nothing_was_trained_the_machine_is_not_said_to_have_trained_it(self):
        machines = "; ".join(FACTS.training["machines"])
        assert f"Trained on {machines}." in render_card(FACTS)
        assert f"Trained on {machines}." in render_card(replace(FACTS, taught=False))
        nothing = render_card(replace(FACTS, taught=False, tasks={}, results=()))
        assert f"Made on {machines}." in nothing
        assert "Trained" not in nothing

    def test_masks_are_filled_only_where_a_language_modelling_head_ships(self):
        card = render_card(replace(FACTS, language_modelling_head=False))
        assert metadata(card)["pipeline_tag"] == "feature-extraction"

    @pytest.mark.parametrize("name", ["license", "limits"])
    @pytest.mark.parametrize("text", ["", " \n"])
    def test_licence_and_limits_are_required(self, name, text):
        with pytest.raises(InputError, match=rf"bistill-en-sw: {name} = .*cannot do without it\. Write it"):
            render_card(replace(FACTS, **{name: text}))

    @pytest.mark.parametrize("teacher", [None, "/home/me/teacher", "../teacher", "~/teacher", "a/b/c", "C:\\teacher"])
    def test_a_teacher_without_a_hub_id_is_no_base_model_and_is_not_named(self, teacher):
        card = render_card(replace(FACTS, teacher=teacher))
        assert not {"base_model", "base_model_relation"} & set(metadata(card))
        assert "distilled from a multilingual teacher without a public name" in card
        assert teacher is None or teacher not in card

    def test_data_sets_are_hub_ids_or_left_out(self):
        card = render_card(replace(FACTS, datasets=("/home/me/data", "some/text", "./data")))
        assert metadata(card)["datasets"] == ["some/text"]
        assert "datasets" not in metadata(render_card(replace(FACTS, datasets=("/home/me/data",))))
        assert "datasets" not in metadata(render_card(replace(FACTS, datasets=())))

    def test_no_entry_is_null(self):
        bare = replace(NOTHING_EVALUATED, teacher=None, datasets=())
        for facts in (FACTS, bare):
            found = metadata(render_card(facts))
            assert all(value not in (None, [], "") for value in found.values())
            assert "null" not in split(render_card(facts))[0]

    @pytest.mark.parametrize("code", ["no", "on", "y", "nan"])
    def test_language_codes_that_yaml_takes_for_something_else_stay_codes(self, code):
        card = render_card(replace(FACTS, target=(code, "Norwegian")))
        assert metadata(card)["language"] == ["en", code]


class TestEvaluation:
    def test_each_task_and_language_is_a_row(self):
        header, *rows = tables(render_card(FULL))[1]
        assert header == [
            "task", "language", "metric", "teacher", "student", "difference", "retention %", "trivial", "no phase 1",
            "n", "data set", "seed",
        ]  # fmt: skip
        assert rows == [
            [
                "ner", "en (source)", "f1", "90.0 (88.0 to 92.0)", "85.5 (84.0 to 87.0)", "-4.5 (-6.0 to -4.0)",
                "95.0 (88.0 to 92.0)", "0.0", "", "1,283", "test.en.conll@abababababab", "0",
            ],
            [
                "ner", "sw (target)", "f1", "71.2 (69.0 to 73.1)", "62.3 (60.0 to 65.0)", "-8.9 (-6.0 to -4.0)",
                "87.5", "0.0", "31.0 (29.0 to 33.0)", "1,283", "some/ner/swa/test@0123456789ab", "0",
            ],
        ]  # fmt: skip

    def test_further_metrics_and_labels_have_a_table_of_their_own(self):
        header, *rows = tables(render_card(FULL))[2]
        assert header == ["language", "model", "precision", "recall", "F1 PER"]
        assert rows == [
            [language, model, "80.0", "70.0", "75.0 (321)"]
            for language in ("en", "sw")
            for model in ("teacher", "student")
        ]

    def test_retention_is_said_not_to_exist_where_the_teacher_is_not_above_the_trivial_baseline(self):
        results = tuple(replace(result, trivial=0.69) for result in RESULTS if result.language == "sw")
        _, row = tables(render_card(replace(FACTS, results=results)))[1]
        assert row[6] == "teacher not above the trivial baseline"

    def test_without_a_teacher_s_score_there_is_no_retention(self):
        _, row = tables(render_card(replace(FACTS, results=(RESULTS[3],))))[1]
        assert (row[3], row[5], row[6]) == ("", "", "")

    def test_a_task_that_was_not_evaluated_is_named(self):
        card = render_card(replace(FACTS, tasks={**FACTS.tasks, "pos": FACTS.tasks["ner"]}))
        assert "Not evaluated, for want of a run of that stage: pos." in section(card, "Evaluation")

    def test_without_results_there_is_no_number_and_no_talk_of_scores(self):
        card = render_card(NOTHING_EVALUATED)
        assert section(card, "Evaluation") == "No task was evaluated: this repository holds the encoder alone."
        assert "zero-shot" not in card
        assert "labels" not in section(card, "At a glance") + card.partition("## At a glance")[0]

    def test_every_number_of_the_evaluation_comes_from_the_results(self):
        text = section(render_card(FACTS), "Evaluation")
        known = {"95"}  # the interval's coverage
        for result in RESULTS:
            known |= {f"{100 * value:.1f}" for value in (result.score, result.low, result.high, result.trivial)}
            known |= {f"{result.n:,}", str(result.seed)}
        known |= {"95.0", "87.5", "-4.5", "-8.9"}  # retention and differences
        table = re.sub(r"@[0-9a-f]{12}|\bf1\b|phase 1", "", text)
        assert set(re.findall(r"-?\d[\d.,]*\d|\d", table)) == known

    @pytest.mark.parametrize(
        ("revision", "shown"),
        [
            ("refs/convert/parquet", "@refs/convert/parquet"),
            ("release-2024-01-31", "@release-2024-01-31"),
            ("f" * 40, f"@{'f' * 12}"),
            (f"sha256:{'e' * 64}", f"@{'e' * 12}"),
            (None, "@main"),
        ],
    )
    def test_commits_and_hashes_are_cut_and_names_of_revisions_are_not(self, revision, shown):
        results = (replace(TEACHER_TARGET, revision=revision),)
        _, row = tables(render_card(replace(FACTS, results=results)))[1]
        assert row[-2] == f"some/ner/swa/test{shown}"

    @pytest.mark.parametrize("revision", ["refs/convert/parquet", "main", None])
    def test_the_commit_that_was_read_stands_in_place_of_the_branch(self, revision):
        results = (replace(TEACHER_TARGET, revision=revision, commit="0123456789abcdef" * 2 + "01234567"),)
        _, row = tables(render_card(replace(FACTS, results=results)))[1]
        assert row[-2] == "some/ner/swa/test@0123456789ab"

    def test_a_data_set_s_folder_is_not_shown(self):
        results = (replace(TEACHER_TARGET, dataset="/home/me/data/mine"),)
        assert "/home/me" not in render_card(replace(FACTS, results=results))


def test_text_that_a_task_was_learnt_from_without_labels_stands_beside_its_labels():
    assert "without labels" not in render_card(FACTS)
    read = {"train": "train.conll", "validation": "dev.conll", "unlabelled": "12,543 inputs of Swahili text, sw.txt"}
    card = render_card(replace(FACTS, training={**FACTS.training, "labelled": {"ner": read}}))
    assert "| ner | train.conll; without labels: 12,543 inputs of Swahili text, sw.txt | dev.conll |" in card
    hostile = {"ner": {"train": HOSTILE, "validation": HOSTILE, "unlabelled": HOSTILE}}
    labelled = tables(render_card(replace(FACTS, training={**FACTS.training, "labelled": hostile})))[-2]
    assert labelled[-1] == ["ner", f"{ONE_LINE}; without labels: {ONE_LINE}", ONE_LINE]


def test_made_up_data_are_labelled_before_anything_else():
    card = render_card(replace(FACTS, synthetic=True))
    first = split(card)[1].strip().splitlines()[0]
    assert first.startswith("**Synthetic demonstration")
    assert "Synthetic" not in render_card(FACTS)


def test_what_nobody_has_verified_stands_with_the_training_and_older_facts_go_without():
    table = [["marked as unverified in the recipe"], *([fact] for fact in FULL.training["unverified"])]
    assert table in tables(render_card(FULL))
    assert "| marked as unverified in the recipe |" in section(render_card(FULL), "Training")
    assert "unverified" not in FACTS.training
    without = replace(FACTS, training={**FACTS.training, "unverified": []})
    assert render_card(without) == render_card(FACTS)
    assert "unverified" not in render_card(FACTS)


def test_the_contributor_s_own_words_keep_their_markdown():
    kept = f"<!-- bistill:keep limits -->\n{FACTS.limits}\n<!-- bistill:end limits -->"
    assert section(render_card(FACTS), "Limits and biases") == kept


def test_each_snippet_is_python_that_names_pair_and_task():
    blocks = [token.content for token in parsed(render_card(FACTS)) if token.type == "fence" and token.info == "python"]
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "card", "exec")
        assert 'from_pretrained("bistill-en-sw"' in block
    assert 'task="ner"' in blocks[1]


class TestHostileValues:
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls):
        return render_card(ALL_HOSTILE)

    def test_the_metadata_hold_them_as_they_are(self, card):
        found = metadata(card)
        assert found["license"] == HOSTILE
        assert found["language"] == [HOSTILE, HOSTILE]
        assert found["tags"][-1] == f"pair:{HOSTILE}-{HOSTILE}"
        assert set(found) == set(metadata(render_card(FACTS)))

    def test_the_tables_hold_them_as_they_are(self, card):
        shapes = [[len(row) for row in table] for table in tables(render_card(FULL))]
        glance, scores, _, tokenizer, corpora, labelled, stages, unverified = tables(card)
        assert [len(row) for row in glance] == shapes[0]
        assert {len(row) for row in scores} == set(shapes[1])
        assert {len(row) for row in (*tokenizer, *corpora, *labelled, *stages)} == {8, 4, 3}
        for row in scores[1:]:
            assert (row[0], row[1], row[2]) == (ONE_LINE, f"{ONE_LINE} ({ONE_LINE})", ONE_LINE)
        assert tokenizer[1][0] == corpora[1][0] == corpora[1][1] == ONE_LINE
        assert labelled[1] == [ONE_LINE] * 3
        assert stages[1][:3] == [ONE_LINE, ONE_LINE, f"{ONE_LINE} (last one logged)"]
        assert unverified[1] == [ONE_LINE]

    def test_no_heading_markup_or_html_comes_out_of_them(self, card):
        tokens = parsed(card)
        expected = headings(render_card(FULL))
        assert [tag for tag, _ in headings(card)] == [tag for tag, _ in expected]
        assert headings(card)[1:] == expected[1:]
        html = [token.content.strip() for token in tokens if token.type.startswith("html")]
        assert html == ["<!-- bistill:keep limits -->", "<!-- bistill:end limits -->"]
        limits = FACTS.limits.splitlines()
        for token in tokens:
            own = token.type != "inline" or any(token.content in line for line in limits)
            assert own or plain(token) is not None

    def test_the_text_says_them_as_they_are(self, card):
        texts = [plain(t) for t in parsed(card) if t.type == "inline" and "newspapers" not in t.content
                 and "biased" not in t.content]  # fmt: skip
        assert texts[0] == ONE_LINE, "the title"
        assert sum(ONE_LINE in text for text in texts) > 15
        assert texts[1].startswith(f"A small encoder for {ONE_LINE} and {ONE_LINE}, distilled from google-bert/")
        assert f"Versions: {ONE_LINE} {ONE_LINE}." in texts

    def test_the_command_stays_in_its_block_as_it_is(self, card):
        export, block = [token for token in parsed(card) if token.type == "fence" and token.info == "bash"]
        assert shlex.split(export.content)[2] == HOSTILE
        assert block.content == f"bistill run x --set {HOSTILE}\n```\n# not a heading\n"

    def test_the_snippets_are_still_python_with_their_names_in_strings(self, card):
        blocks = [token.content for token in parsed(card) if token.type == "fence" and token.info == "python"]
        assert len(blocks) == 2
        for block in blocks:
            strings = [
                constant
                for code in (compile(block, "card", "exec"),)
                for constant in code.co_consts
                if isinstance(constant, str)
            ]
            assert HOSTILE in strings


def test_times_that_grew_with_the_threads_are_said_to_be_of_a_busy_machine():
    said = "read the ratios, not the times"
    assert said not in render_card(FULL)
    found = FULL.size_and_speed
    *first, last = found.speeds
    for factor, expected in ((7.9, False), (17.0, True)):  # eight threads took an eighth of the time
        teacher = replace(last.teacher, milliseconds=replace(last.teacher.milliseconds, median=80.0 * 32 * factor / 8))
        crowded = replace(found, speeds=(*first, replace(last, teacher=teacher)))
        assert (said in render_card(replace(FULL, size_and_speed=crowded))) == expected


def test_a_card_without_pictures_has_a_blank_line_before_each_heading():
    card = render_card(replace(FULL, size_and_speed=None, curves=(), results=(), tasks={}))
    assert "## At a glance" in card
    assert all(before == "" for before, line in pairwise(split(card)[1].splitlines()) if line.startswith("## "))
