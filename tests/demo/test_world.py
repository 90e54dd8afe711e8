"""The miniature world says what its scenes mean, in correct Swahili too, and gives nothing away by shortcuts."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import math
import os
import subprocess
import sys
from collections import Counter

import pytest

from bistill_hub.demo.grammar import headline, join, say
from bistill_hub.demo.lexicon import ADJECTIVES, COMPANY_WORDS, LANGUAGES, NOUNS, THINGS, TIMES, VERBS, names
from bistill_hub.demo.meaning import Fact, Fragment, Name, Question, Reply, Role, Scene, Statement
from bistill_hub.demo.world import LABELS, SLOTS, Sizes, World, find_answer, relation, tagged, text, write_world
from bistill_hub.sources import LabelledSource
from bistill_hub.tasks import get_task
from bistill_hub.tasks.ner import entities

SMALL = Sizes(text=300, train=(("ner", 60), ("pos", 60), ("nli", 60), ("qa", 60)), validation=30, test=30)
TASKS = ("ner", "pos", "nli", "qa")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"), seed=5, sizes=SMALL)


AMINA, TOWN, FIRM = Name("PER", "Amina"), Name("LOC", "Kisumu"), Name("ORG", "Umoja Bank")


def scene(agent=AMINA, verb="buy", thing="book", **details):
    return Scene(agent=agent, verb=verb, thing=thing, **details)


HAND_WRITTEN = [
    (Statement(scene(quality="red", count=2, place=TOWN)), "Amina alinunua vitabu vyekundu viwili katika Kisumu."),
    (
        Statement(scene(Role("teacher", plural=True), "wash", "goat", quality="big", count=3, tense="future")),
        "Walimu wataosha mbuzi wakubwa watatu.",
    ),
    (Statement(scene(verb="sell", negative=True)), "Amina hakuuza kitabu."),
    (Statement(scene(verb="sell", tense="present", negative=True)), "Amina hauzi kitabu."),
    (Statement(scene(Role("doctor", plural=True), "send", "letter", negative=True)), "Madaktari hawakutuma barua."),
    (Statement(scene(FIRM, "steal", "car", quality="new")), "Umoja Bank iliiba gari jipya."),
    (Statement(scene(Name("ORG", "Mlima"), tense="present")), "Kampuni ya Mlima inanunua kitabu."),
    (
        Statement(scene(thing="car", quality="black", count=4), passive=True),
        "Magari meusi manne yalinunuliwa na Amina.",
    ),
    (
        Statement(scene(verb="pull", thing="door", quality="long", time="yesterday"), passive=True, time_first=True),
        "Jana mlango mrefu ulivutwa na Amina.",
    ),
    (
        Statement(scene(verb="show", thing="letter", count=2, tense="present", negative=True), passive=True),
        "Barua mbili hazionyeshwi na Amina.",
    ),
    (Statement(scene(verb="push", thing="cow", tense="future"), passive=True), "Ng'ombe atasukumwa na Amina."),
    (Question(scene(place="market"), "agent"), "Nani alinunua kitabu sokoni?"),
    (Question(scene(tense="future"), "thing"), "Amina atanunua nini?"),
    (Question(scene(Role("nurse", plural=True)), "place"), "Wauguzi walinunua kitabu wapi?"),
    (Question(scene(), None), "Je, Amina alinunua kitabu?"),
    (Question(scene(negative=True), None, plain=True), "Amina hakununua kitabu?"),
    (Reply(False, plain=True), "Sivyo."),
    (Reply(None), "Labda."),
    (Fragment(scene(place=TOWN), "place"), "Katika Kisumu."),
    (Fragment(scene(FIRM), "agent"), "Umoja Bank."),
    (Reply(False, Statement(scene(negative=True))), "Hapana, Amina hakununua kitabu."),
    (Fact("quality", "orange", "light", owner=AMINA, count=5), "Machungwa matano ya Amina ni mepesi."),
    (Fact("quality", "knife", "white", owner=AMINA), "Kisu cha Amina ni cheupe."),
    (Fact("at", "bag", "hospital", count=2), "Mifuko miwili iko hospitalini."),
    (Fact("at", "dog", TOWN), "Mbwa yuko katika Kisumu."),
    (Fact("travelled", AMINA, TOWN, Name("LOC", "Tanga")), "Amina alisafiri kutoka Tanga kwenda Kisumu."),
    (Fact("works", AMINA, FIRM), "Amina anafanya kazi Umoja Bank."),
]


@pytest.mark.parametrize(("clause", "expected"), HAND_WRITTEN, ids=[expected for _, expected in HAND_WRITTEN])
def test_swahili_says_it_as_a_person_wrote_it(clause, expected):
    assert join(say(clause, "sw")) == expected


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "The farmers are not buying an orange at the market."),
        ("es", "Los agricultores no compran una naranja en el mercado."),
        ("id", "Para petani tidak sedang membeli jeruk di pasar."),
        ("sw", "Wakulima hawanunui chungwa sokoni."),
    ],
)
def test_one_meaning_in_four_languages(language, expected):
    meaning = scene(Role("farmer", plural=True), thing="orange", tense="present", place="market", negative=True)
    assert join(say(Statement(meaning), language)) == expected


# A table of its own: what the verb's subject begins with after each noun, and "big" and "black" beside it.
AGREEMENT = {
    "kitabu": ("ki", "kikubwa", "cheusi"), "vitabu": ("vi", "vikubwa", "vyeusi"),
    "kiti": ("ki", "kikubwa", "cheusi"), "viti": ("vi", "vikubwa", "vyeusi"),
    "kisu": ("ki", "kikubwa", "cheusi"), "visu": ("vi", "vikubwa", "vyeusi"),
    "kitu": ("ki", "kikubwa", "cheusi"), "vitu": ("vi", "vikubwa", "vyeusi"),
    "gari": ("li", "kubwa", "jeusi"), "magari": ("ya", "makubwa", "meusi"),
    "embe": ("li", "kubwa", "jeusi"), "maembe": ("ya", "makubwa", "meusi"),
    "tunda": ("li", "kubwa", "jeusi"), "matunda": ("ya", "makubwa", "meusi"),
    "jembe": ("li", "kubwa", "jeusi"), "majembe": ("ya", "makubwa", "meusi"),
    "mfuko": ("u", "mkubwa", "mweusi"), "mifuko": ("i", "mikubwa", "myeusi"),
    "mlango": ("u", "mkubwa", "mweusi"), "milango": ("i", "mikubwa", "myeusi"),
    "mnyama": ("a", "mkubwa", "mweusi"), "wanyama": ("wa", "wakubwa", "weusi"),
}  # fmt: skip


@pytest.mark.parametrize("thing", [name for name, noun in THINGS.items() if noun.sw[0] in AGREEMENT])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("tense", "marker"), [("past", "li"), ("present", "na"), ("future", "ta")])
def test_swahili_agrees_with_the_noun_class(thing, count, tense, marker):
    surface = NOUNS[thing].sw[count > 1]
    prefix, big, black = AGREEMENT[surface]
    for quality, adjective in (("big", big), ("black", black)):
        meaning = scene(verb="carry", thing=thing, count=count, quality=quality, tense=tense)
        said = join(say(Statement(meaning, passive=True), "sw")).split()
        assert said[0].lower() == surface
        assert said[1] == adjective
        assert said[-3] == f"{prefix}{marker}bebwa"
        denied = join(say(Statement(Scene(**{**vars(meaning), "negative": True}), passive=True), "sw")).split()[-3]
        start = "ha" if prefix == "a" else f"ha{prefix}"
        assert denied == {"past": f"{start}kubebwa", "present": f"{start}bebwi", "future": f"{start}tabebwa"}[tense]


def _truths(told, world):
    """Whether a scene holds in a world that settles everything."""
    agent = told.agent
    right_agent = agent == world["agent"] or (
        isinstance(agent, Role)
        and isinstance(world["agent"], Role)
        and agent.noun == "person"
        and agent.plural == world["agent"].plural
    )
    right_thing = told.thing in (world["thing"], THINGS[world["thing"]].general)
    place = "town" if isinstance(told.place, Name) else "site"
    holds = (
        right_agent
        and right_thing
        and all(getattr(told, slot) == world[slot] for slot in ("verb", "count", "tense"))
        and (told.quality is None or world[ADJECTIVES[told.quality].scale] == told.quality)
        and told.place in (None, world[place])
        and told.time in (None, world["time"])
    )
    return holds != told.negative


def _worlds(one, other):
    """Every way in which what two scenes mention could have been, and one more value for each thing."""
    both = (one, other)
    domains = {
        "agent": {one.agent, other.agent, Name("PER", "Somebody Else")},
        "verb": {one.verb, other.verb},
        "tense": {one.tense},
        "count": {one.count, other.count},
        "town": {told.place for told in both if isinstance(told.place, Name)} | {"another"},
        "site": {told.place for told in both if isinstance(told.place, str)} | {"another"},
        "time": {told.time for told in both if told.time} | {"another"},
    }
    things = {told.thing for told in both}
    domains["thing"] = {
        name for name, noun in THINGS.items() if name != noun.general and (name in things or noun.general in things)
    }
    for told in both:
        if told.quality:
            domains.setdefault(ADJECTIVES[told.quality].scale, {"another"}).add(told.quality)
    return (dict(zip(domains, values, strict=True)) for values in itertools.product(*domains.values()))


def test_labels_of_inference_are_true_in_every_possible_world():
    world = World("labels")
    for number in range(240):
        pair = world.inference(LABELS[number % 3])
        premise, hypothesis = pair.premise.scene, pair.hypothesis.scene
        outcomes = {_truths(hypothesis, each) for each in _worlds(premise, hypothesis) if _truths(premise, each)}
        expected = "neutral" if len(outcomes) == 2 else "entailment" if outcomes == {True} else "contradiction"
        assert outcomes
        assert pair.label == expected == LABELS[number % 3], text([pair.premise, pair.hypothesis], "en")


def test_relation_of_hand_made_pairs():
    told = scene(quality="big", place=TOWN, time="yesterday")
    assert relation(told, scene(thing="thing")) == "entailment"
    assert relation(scene(thing="thing"), scene()) == "neutral"
    assert relation(told, scene(place=Name("LOC", "Tanga"))) == "contradiction"
    assert relation(told, scene(place="market")) == "neutral"
    assert relation(told, scene(quality="small")) == "contradiction"
    assert relation(told, scene(quality="red")) == "neutral"
    assert relation(told, scene(negative=True)) == "contradiction"
    assert relation(told, scene(verb="sell", negative=True)) == "entailment"
    assert relation(scene(negative=True), scene(place=TOWN, negative=True)) == "entailment"
    assert relation(scene(place=TOWN, negative=True), scene()) == "neutral"


def _written(file):
    with file.open(encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows, delimiter="\t"))


def test_labels_cannot_be_guessed_from_the_hypothesis(tmp_path):
    sizes = Sizes(text=1, train=(("ner", 1), ("pos", 1), ("nli", 1800), ("qa", 1)), validation=1, test=600)
    made = write_world(tmp_path, seed=3, sizes=sizes)
    train, test = _written(made["nli.train"]), _written(made["nli.test.en"])

    def accuracy(column):
        """Naive Bayes on the words of one column."""
        counts = {label: Counter() for label in LABELS}
        for row in train:
            counts[row["label"]].update(set(row[column].rstrip(".").lower().split()))
        each = {label: sum(row["label"] == label for row in train) for label in LABELS}
        known = set().union(*counts.values())

        def best(row):
            present = set(row[column].rstrip(".").lower().split()) & known
            return max(
                LABELS, key=lambda label: sum(math.log((counts[label][w] + 1) / (each[label] + 2)) for w in present)
            )

        return sum(best(row) == row["label"] for row in test) / len(test)

    assert 0.27 < accuracy("hypothesis") < 0.40
    assert accuracy("premise") < 0.50
    assert Counter(row["label"] for row in test) == dict.fromkeys(LABELS, 200)


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_stand_where_the_data_say(language):
    world = World("answers")
    asked = Counter()
    for _ in range(200):
        quiz = world.quiz()
        context, answer, start = find_answer(quiz, language)
        assert context[start : start + len(answer)] == answer
        sentence = join(say(quiz.passage[quiz.answering], language))
        before = sum(len(join(say(clause, language))) + 1 for clause in quiz.passage[: quiz.answering])
        assert before <= start
        assert start + len(answer) <= before + len(sentence)
        told = quiz.passage[quiz.answering].scene
        expected = getattr(told, quiz.question.asked)
        asked[quiz.question.asked] += 1
        if isinstance(expected, Name):
            assert answer == expected.text
        elif quiz.question.asked == "time":
            assert answer.lower() == " ".join(word for word, _ in TIMES[expected].words[language])
        elif quiz.question.asked == "thing" and language in ("en", "sw"):
            noun = getattr(NOUNS[expected], language)[told.count > 1]
            assert noun in answer.lower().split()
    assert min(asked[slot] for slot in SLOTS) > 20


def test_a_question_fits_one_event_alone_and_not_by_its_position():
    world = World("positions")
    positions, events = Counter(), Counter()
    for _ in range(600):
        quiz = world.quiz(3)
        known, slot = quiz.question.scene, quiz.question.asked
        keys = [key for key in ("agent", "thing") if key != slot]
        fitting = [
            place
            for place, told in enumerate(quiz.passage)
            if isinstance(told, Statement) and all(getattr(told.scene, key) == getattr(known, key) for key in keys)
        ]
        assert fitting == [quiz.answering]
        answers = [getattr(told.scene, slot) for told in quiz.passage if isinstance(told, Statement)]
        assert None not in answers
        assert len(set(answers)) == len(answers), "every event holds another answer of the same kind"
        positions[quiz.answering] += 1
        events[len(answers)] += 1
    assert all(150 < positions[place] < 250 for place in range(3))
    assert all(events[count] > 50 for count in (1, 2, 3)), "the other sentences are facts and events"


def test_names_of_validation_and_test_are_in_no_text_or_training_data(files):
    def seen(pattern):
        return {
            word.strip('.,?":').removesuffix("'s")
            for key, file in files.items()
            if pattern(key)
            for word in file.read_text(encoding="utf-8").split()
        }

    trained = seen(lambda key: key.startswith("text.") or key.endswith(".train"))
    held_out = seen(lambda key: ".validation" in key or ".test." in key)
    new = {
        word
        for split in ("validation", "test")
        for kind in ("PER", "LOC", "ORG")
        for entity in names(kind, split)
        for word in entity.split()
    } - set(COMPANY_WORDS)
    assert not new & trained
    assert len(new & held_out) > 100


def test_a_name_is_of_one_kind_and_split():
    where = {}
    for split in ("train", "validation", "test"):
        for kind in ("PER", "LOC", "ORG"):
            for word in {word for entity in names(kind, split) for word in entity.split()} - set(COMPANY_WORDS):
                assert where.setdefault(word, (kind, split)) == (kind, split)
    words = {form.lower() for noun in NOUNS.values() for form in (*noun.en, *noun.sw, *noun.es, noun.id)}
    words |= {form.lower() for verb in VERBS.values() for form in (*verb.en, *verb.sw, *verb.es, *verb.id)}
    assert not {word.lower() for word in where} & words
    words = {word.lower() for time in TIMES.values() for said in time.words.values() for word, _ in said}
    assert not {word.lower() for word, (_, split) in where.items() if split != "train"} & words


@pytest.mark.parametrize(
    ("language", "negation"),
    [("en", (" not ",)), ("sw", (" haku", " hawaku", " hata", " hawata", " hai", " haziku")), ("es", (" no ",))],
)
def test_unlabelled_text_asks_and_denies(language, negation):
    world = World("text")
    lines = [text(world.passage(), language) for _ in range(400)]
    assert sum("?" in line for line in lines) > 100
    assert sum(any(word in line for word in negation) for line in lines) > 20
    assert len(set(lines)) > 390


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_order(files, tmp_path):
    script = (
        "import sys, hashlib; from pathlib import Path; from bistill_hub.demo.world import Sizes, write_world\n"
        f"files = write_world(Path(sys.argv[1]), seed=5, sizes={SMALL!r})\n"
        "print(*(hashlib.sha256(file.read_bytes()).hexdigest() for file in files.values()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files.values()]
    other = write_world(tmp_path / "other", seed=6, sizes=SMALL)
    assert all(other[key].read_bytes() != files[key].read_bytes() for key in files)


def test_test_sets_say_the_same_in_both_languages(files):
    english, swahili = (_written(files[f"nli.test.{language}"]) for language in ("en", "sw"))
    assert [row["label"] for row in english] == [row["label"] for row in swahili]
    assert english[0]["premise"] != swahili[0]["premise"]


@pytest.mark.parametrize("task", TASKS)
def test_the_packages_tasks_read_every_file(files, task):
    parts = {key: file for key, file in files.items() if key.startswith(f"{task}.")}
    assert len(parts) == 4
    reader = get_task(task)
    training = reader.read(LabelledSource(path=str(files[f"{task}.train"])))
    assert len(training) == 60
    for file in parts.values():
        dataset = reader.read(LabelledSource(path=str(file)))
        assert len(dataset) in (30, 60)
        reader.check_labels(dataset, reader.labels(training), str(file))


def test_answers_in_the_file_are_found(files):
    for key in ("qa.train", "qa.test.en", "qa.test.sw"):
        for paragraph in json.loads(files[key].read_text(encoding="utf-8"))["data"][0]["paragraphs"]:
            for entry in paragraph["qas"]:
                for answer in entry["answers"]:
                    start = answer["answer_start"]
                    assert paragraph["context"][start : start + len(answer["text"])] == answer["text"]


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "Nurse bought book in Kisumu."),
        ("sw", "Muuguzi alinunua kitabu katika Kisumu."),
        ("es", "Enfermero compró libro en Kisumu."),
        ("id", "Perawat itu telah membeli buku di Kisumu."),
    ],
)
def test_headlines_do_without_articles(language, expected):
    assert join(headline(Statement(scene(Role("nurse"), place=TOWN)), language)) == expected


def test_english_nouns_to_be_tagged_stand_with_articles_and_without(files):
    lines = files["ner.train"].read_text(encoding="utf-8").split("\n\n")
    firsts = [line.split("\t")[0] for line in lines if line.strip()]
    roles = {noun.en[0].capitalize() for noun in NOUNS.values()}
    assert any(first in roles for first in firsts)
    assert firsts.count("The") > 5


def test_tags_cover_the_names_of_the_scene_in_every_language():
    world = World("tags")
    for _ in range(100):
        told = world.statement(world.scene())
        named = [told.scene.agent, told.scene.place]
        expected = sorted((each.kind, each.text) for each in named if isinstance(each, Name))
        for language in LANGUAGES:
            sentence = tagged(told, language, "entity")
            tokens = [token for token, _ in sentence]
            found = sorted(
                (kind, " ".join(tokens[first:last])) for kind, first, last in entities([tag for _, tag in sentence])
            )
            assert found == expected
            parts = dict(tagged(told, language, "pos"))
            assert all(parts[word] == "PROPN" for _, entity in found for word in entity.split())
