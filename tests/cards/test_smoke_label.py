"""What comes of a smoke run says so, and its scores are in no place where they would be taken for a pair's."""

from dataclasses import replace

import pytest
from example_card import FACTS, RESULT

from bistill_hub.cards.card import pictures_of, read_facts, render_card, write_card
from bistill_hub.cards.eval_results import Benchmark, eval_results_files
from bistill_hub.cards.exported import ExportedFacts, render_exported_card
from bistill_hub.cards.front_matter import FRONT_MATTER, parse_yaml
from bistill_hub.cards.metadata_check import check_metadata
from bistill_hub.evaluation.results import read_results, write_results

SMOKE = replace(FACTS, smoke=True, results=tuple(replace(result, smoke=True) for result in FACTS.results))
LABEL = "**Smoke run: a sample of the data and few steps; its scores say nothing about the pair.**"


def metadata(card):
    return parse_yaml(FRONT_MATTER.match(card)[2])


def test_the_card_begins_with_the_label():
    card = render_card(SMOKE)
    assert card[FRONT_MATTER.match(card).end() :].lstrip().splitlines()[0] == LABEL
    assert "smoke" not in render_card(FACTS).lower()


def test_its_metadata_have_no_scores_and_no_tag_of_a_pair():
    found = metadata(render_card(SMOKE))
    assert "model-index" not in found
    assert found["tags"] == ["smoke-run"]
    assert check_metadata(render_card(SMOKE)) == []
    pair = metadata(render_card(FACTS))
    assert {name: pair[name] for name in found if name != "tags"} == {
        name: found[name] for name in found if name != "tags"
    }
    assert len(pair["model-index"][0]["results"]) == 2


def test_the_table_of_scores_is_labelled_too():
    evaluation = render_card(SMOKE).partition("## Evaluation")[2].partition("##")[0]
    assert evaluation.index("scores of a smoke run") < evaluation.index("| ner |")


def test_no_picture_shows_what_the_student_keeps():
    assert [picture.name for picture in pictures_of(FACTS)][:1] == ["retention.png"]
    assert "retention.png" not in [picture.name for picture in pictures_of(SMOKE)]


def test_facts_and_scores_keep_the_label(tmp_path):
    write_card(tmp_path, replace(SMOKE, vocabulary={"languages": {}}))
    assert read_facts(tmp_path).smoke
    write_results(tmp_path / "results.json", SMOKE.results, {})
    assert all(result.smoke for result in read_results(tmp_path / "results.json"))


def test_a_sample_is_no_score_of_a_registered_benchmark():
    registered = Benchmark(dataset="some/ner", task_id="ner", config="swa", split="test", metric="f1")
    sample = replace(RESULT, smoke=True, subset="the first 100")
    assert eval_results_files([RESULT], benchmarks=[registered])
    assert eval_results_files([sample], benchmarks=[registered]) == {}


@pytest.mark.parametrize("smoke", [True, False])
def test_an_exported_checkpoint_is_labelled(smoke):
    facts = ExportedFacts(
        name="org/en-sw-ner",
        pair="org/en-sw",
        backbone="bert",
        architecture="BertModel",
        layers=6,
        vocabulary=100,
        languages=(("en", "English"), ("sw", "Swahili")),
        license="apache-2.0",
        smoke=smoke,
    )
    card = render_exported_card(facts)
    assert (LABEL in card.splitlines()) == smoke
    assert (metadata(card)["tags"] == ["smoke-run"]) == smoke
