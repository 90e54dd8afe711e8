"""Contenders are the pair's recipe with what they are about changed, and nothing else."""

import pytest

from bistill_hub import InputError, Recipe
from bistill_hub.comparison.contenders import CONTENDERS, chosen, differences, own_recipe
from bistill_hub.recipe import TaskTeacher, load_recipe

FURTHER = {"code": "fr", "name": "French", "text": "fr.txt"}
SOURCES = {name: f"{name}.conll" for name in ("train", "validation", "test_source", "test_target")}
PAIR = Recipe.make(
    {
        "name": "pair",
        "source": {"code": "en", "name": "English", "text": "en.txt"},
        "target": {"code": "sw", "name": "Swahili", "text": "sw.txt"},
        "teacher": {"model": "some/teacher", "revision": "abc"},
        "license": "mit",
        "limits": "none",
        "further_languages": [FURTHER],
        "baselines": ["random_teacher"],
        "tasks": [
            {"name": "ner", **SOURCES, "teacher": {"learning_rate": 4e-4}, "distillation": {"sparse_epochs": 7}},
            {"name": "pos", **SOURCES, "teacher": {"learning_rate": 2e-4}, "distillation": {"batch_size": 4}},
        ],
    }
)
SPEAKING = PAIR.replace(
    {
        "teacher.language_deltas": {"en": "some/en-sft", "sw": "some/sw-sft"},
        "tasks.ner.teacher.delta": "some/ner-sft",
    }
)
"""The same with a language SFT for either language, and one task whose teacher is given."""

TASKS = ("ner", "pos")
RATES = {"ner": 4e-4, "pos": 2e-4}
DISTILBERT = {
    "student.vocabulary": "whole",
    "further_languages": ["fr"],
    "bilingual.attention_weight": 0.0,
    "bilingual.hidden_weight": 0.0,
    "bilingual.logits_weight": 5.0,
    "bilingual.masked_lm_weight": 2.0,
    "bilingual.cosine_weight": 1.0,
    "bilingual.masked_share": 0.15,
}
RELATIONS = {
    "bilingual.attention_weight": 0.0,
    "bilingual.hidden_weight": 0.0,
    "bilingual.relations_weight": 1.0,
}
MINILM = {**RELATIONS, "student.vocabulary": "whole", "further_languages": ["fr"]}
SCRATCH = {
    "student.initialisation": "random",
    "bilingual.attention_weight": 0.0,
    "bilingual.hidden_weight": 0.0,
    "bilingual.masked_lm_weight": 1.0,
    "bilingual.masked_share": 0.15,
}


def of_tasks(**fields):
    return {f"tasks.{task}.distillation.{name}": value for task in TASKS for name, value in fields.items()}


FINE_TUNED = {
    **of_tasks(learns_from="labels", density=1.0, freeze_layer_norms=False),
    **{f"tasks.{task}.distillation.learning_rate": rate for task, rate in RATES.items()},
}
EXPECTED = {
    "teacher": {},
    "student": {},
    "trimmed_teacher": {},
    "teacher_sft": {
        "student.layer_reduction_factor": 1,
        "student.vocabulary": "whole",
        "bilingual.steps": 0,
        **of_tasks(learns_from="labels"),
    },
    "student_fine_tuned": FINE_TUNED,
    "student_sft": of_tasks(learns_from="labels"),
    "student_relations": RELATIONS,
    "distilbert_style": DISTILBERT,
    "distilbert_style_fine_tuned": {**DISTILBERT, **FINE_TUNED},
    "minilmv2_style": MINILM,
    "minilmv2_style_fine_tuned": {**MINILM, **FINE_TUNED},
    "from_scratch": SCRATCH,
    "from_scratch_fine_tuned": {**SCRATCH, **FINE_TUNED},
    "no_phase_1": {"bilingual.steps": 0},
    "no_attention_loss": {"bilingual.attention_weight": 0.0, **of_tasks(attention_weight=0.0)},
    "no_hidden_loss": {"bilingual.hidden_weight": 0.0, **of_tasks(hidden_weight=0.0)},
    "dense_phase_2": of_tasks(density=1.0),
    "whole_vocabulary": {"student.vocabulary": "whole"},
    "all_languages": {"student.vocabulary": "whole", "further_languages": ["fr"]},
    "lrf_3": {"student.layer_reduction_factor": 3},
}
ON_TARGET_TEXT = {
    "tasks.ner.distillation.target_share": 0.5,
    "tasks.ner.distillation.dense_epochs": 1.5,
    "tasks.ner.distillation.sparse_epochs": 3.5,
    "tasks.pos.distillation.target_share": 0.5,
    "tasks.pos.distillation.dense_epochs": 1.5,
    "tasks.pos.distillation.sparse_epochs": 5.0,
}
EXTENSIONS = {
    "target_text": ON_TARGET_TEXT,
    "trimmed_teacher_target_text": {"student.layer_reduction_factor": 1, "bilingual.steps": 0, **ON_TARGET_TEXT},
    "lrf_3_target_text": {"student.layer_reduction_factor": 3, **ON_TARGET_TEXT},
    "minilmv2_style_target_text": {**MINILM, **ON_TARGET_TEXT},
}
NOT_OF_THIS_PAIR = ("lrf_2", "teacher_full")
"""What would be the student or the teacher itself."""

PUBLISHED = {
    "distilmbert": "distilbert/distilbert-base-multilingual-cased",
    "multilingual_minilmv2": "nreimers/mMiniLMv2-L6-H384-distilled-from-XLMR-Large",
}


@pytest.mark.parametrize("pair", [PAIR, SPEAKING], ids=["bare", "with SFTs"])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_contender_differs_from_the_student_in_what_it_is_about_alone(name, pair):
    recipe = CONTENDERS[name].recipe(pair)
    assert differences(recipe, own_recipe(pair)) == EXPECTED[name]
    assert recipe.teacher == pair.teacher


@pytest.mark.parametrize("name", EXTENSIONS)
def test_phase_2_on_target_text_has_half_the_passes_over_twice_the_inputs(name):
    assert differences(CONTENDERS[name].recipe(PAIR), own_recipe(PAIR)) == EXTENSIONS[name]
    with pytest.raises(InputError, match="wears the source language's SFT"):
        CONTENDERS[name].recipe(SPEAKING)
    assert not names(SPEAKING, "all") & set(EXTENSIONS)


@pytest.mark.parametrize("given", ["delta", "model"])
def test_the_teacher_tuned_in_full_is_that_of_the_tasks_whose_teacher_is_given(given):
    pair = PAIR.replace({"tasks.ner.teacher": {"epochs": 2, given: "some/tuned"}})
    recipe = CONTENDERS["teacher_full"].recipe(pair)
    assert [task.name for task in recipe.tasks] == ["ner"]
    assert differences(recipe, own_recipe(pair)) == {f"tasks.ner.teacher.{given}": None}
    assert recipe.tasks[0].teacher == TaskTeacher(epochs=2)
    assert "teacher_full" in names(pair, "baselines") & names(pair, "all")
    assert "teacher_full" not in names(pair, "ablations") | names(PAIR, "all")
    assert "teacher_full" not in names(pair.only(["pos"]), "baselines")


def test_a_shipped_recipe_with_a_published_task_sft_gets_the_teacher_tuned_in_full_as_a_baseline():
    pair = load_recipe("en_sw_xnli").replace({"further_languages": [FURTHER]})
    assert pair.tasks[0].teacher.delta is not None
    assert {"teacher_full", "teacher_sft"} <= names(pair, "baselines", layers=12)
    tuned_here = load_recipe("en_de_xquad").replace({"further_languages": [FURTHER]})
    assert "teacher_full" not in names(tuned_here, "baselines", layers=12)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_student_stands_in_the_teachers_place_with_the_budget_of_the_others(name):
    assert differences(CONTENDERS[name].recipe(PAIR), own_recipe(PAIR)) == {
        "teacher.model": PUBLISHED[name],
        "teacher.revision": None,
        "tasks.ner.teacher.epochs": 7.0,
        "tasks.ner.teacher.batch_size": 8,
        "tasks.pos.teacher.epochs": 10.0,
        "tasks.pos.teacher.batch_size": 4,
    }
    assert CONTENDERS[name].unverified
    speaking = differences(CONTENDERS[name].recipe(SPEAKING), own_recipe(SPEAKING))
    lost = ("teacher.language_deltas.en", "teacher.language_deltas.sw", "tasks.ner.teacher.delta")
    assert {path for path, value in speaking.items() if value is None} == {"teacher.revision", *lost}


def test_every_contender_is_accounted_for():
    assert {*EXPECTED, *EXTENSIONS, *PUBLISHED, *NOT_OF_THIS_PAIR} == set(CONTENDERS)


def test_the_pairs_own_student_reads_no_further_language():
    own = own_recipe(PAIR)
    assert own.further_languages == own.baselines == ()
    assert differences(PAIR, own) == {"further_languages": ["fr"], "baselines": ["random_teacher"]}


def names(pair, *words, layers=6):
    return {contender.name for contender in chosen(pair, words, layers)}


def test_words_stand_for_groups_and_leave_out_what_would_be_the_student():
    ablations = {name for name, each in CONTENDERS.items() if each.group == "ablation"} - {"lrf_2"}
    baselines = {name for name in EXPECTED if CONTENDERS[name].group not in ("ablation", "pair")} | {"student"}
    assert names(PAIR) == {"teacher", "student"}
    assert names(PAIR, "ablations") == {"teacher", "student", *ablations}
    assert names(PAIR, "baselines") == baselines
    assert names(PAIR, "extensions") == {"teacher", "student", *EXTENSIONS}
    assert names(PAIR, "all") == baselines | ablations | set(EXTENSIONS)
    assert names(PAIR, "distilmbert") == {"teacher", "student", "distilmbert"}
    bare = PAIR.replace({"bilingual.steps": 0, "student.layer_reduction_factor": 3})
    assert names(bare, "ablations") == {"teacher", "student", "lrf_2", *ablations} - {"no_phase_1", "lrf_3"}


@pytest.mark.parametrize("choice", ["bottom", "top"])
def test_every_third_layer_is_that_wherever_the_recipe_takes_its_layers_from(choice):
    pair = PAIR.replace({"student.layer_choice": choice})
    for name in ("lrf_2", "lrf_3", "lrf_3_target_text"):
        factor = int(name[4])
        assert CONTENDERS[name].recipe(pair).student.layer_map_for(12) == tuple(range(factor - 1, 12, factor))
    assert CONTENDERS["teacher_sft"].recipe(pair).student.layer_map_for(12) == tuple(range(12))


def test_a_word_leaves_out_an_ablation_of_languages_that_the_recipe_does_not_name():
    alone = PAIR.replace({"further_languages": []})
    assert names(PAIR, "ablations") - names(alone, "ablations") == {"all_languages"}
    with pytest.raises(InputError, match="the recipe names none beside the pair's"):
        names(alone, "all_languages")


def test_a_word_leaves_out_what_the_teacher_cannot_be_cut_to():
    assert "lrf_3" in names(PAIR, "ablations", layers=6)
    assert "lrf_3" not in names(PAIR, "ablations", layers=4)
    assert "lrf_3" in names(PAIR, "ablations", layers=None)


def test_layers_of_a_map_give_way_to_a_factor():
    mapped = PAIR.replace({"student.layer_map": [0, 5]})
    assert CONTENDERS["lrf_3"].recipe(mapped).student.layer_map_for(6) == (2, 5)
    assert CONTENDERS["teacher_sft"].recipe(mapped).student.layer_map_for(3) == (0, 1, 2)


@pytest.mark.parametrize(
    ("pair", "word", "said"),
    [
        (PAIR, "tortoise", "choose from baselines, ablations, extensions, all, teacher"),
        (PAIR, "lrf_2", "would be the student itself"),
        (PAIR, "teacher_full", "would be the teacher itself"),
        (PAIR.replace({"bilingual.steps": 0}), "no_phase_1", "would be the student itself"),
        (PAIR.replace({"further_languages": []}), "minilmv2_style", "each with code, name and text"),
        (PAIR.replace({"further_languages": []}), "baselines", "each with code, name and text"),
    ],
)
def test_what_cannot_be_made_of_the_recipe_is_refused_with_a_remedy(pair, word, said):
    with pytest.raises(InputError) as caught:
        chosen(pair, [word], 6)
    assert said.lower() in str(caught.value).lower()
