"""A check finds what was altered in a pair, names the file, and never runs the pair's own code."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from example_card import RESULT
from hubserver.visitor import serving
from safetensors.torch import load_file, save_file

from bistill_hub import InputError, SparseDelta
from bistill_hub.cards.card import rendered_card
from bistill_hub.cards.facts import read_facts, write_facts
from bistill_hub.evaluation.digests import prediction_digests
from bistill_hub.evaluation.evaluate import labels_of, predict
from bistill_hub.evaluation.results import read_results, write_results
from bistill_hub.hub import check, check_card, released
from bistill_hub.hub.check import check_pair
from bistill_hub.hub.pair_folder import PairFolder
from bistill_hub.hub.released import present_hashes, write_hashes, written_hashes
from bistill_hub.hub.rerun import Again
from bistill_hub.model import modeling_bistill
from bistill_hub.model.sparse_delta import state_sha256
from bistill_hub.sources import LabelledSource, file_sha256
from bistill_hub.tasks import get_task
from bistill_hub.version import __version__

ALWAYS = ("files", "hashes", "code", "tokenizer", "loading", "results", "card")
DELTA, RESULTS = "tasks/ner/delta.safetensors", "tasks/ner/results.json"
BASE, CONFIG, CARD, FACTS = "model.safetensors", "config.json", "README.md", "card.json"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
CODE = "modeling_bistill.py"


@pytest.fixture
def copy(runs, tmp_path):
    return Path(shutil.copytree(runs["bert"].repository, tmp_path / "copy"))


def found(report):
    return {(finding.check, finding.file) for finding in report.findings}


def edit_json(name, change):
    """Alter a JSON file by a function of what stands in it."""

    def edit(folder):
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return edit


def edit_text(name, old, new):
    def edit(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return edit


def write_files(*names):
    def edit(folder):
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"\x80\x04N.")

    return edit


def remove(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def edit_delta(**metadata):
    def edit(folder):
        delta = SparseDelta.load(folder / DELTA)
        SparseDelta(delta.sparse, delta.dense, {**delta.metadata, **metadata}).save(folder / DELTA)

    return edit


def flip_in_delta(folder):
    """Flip a bit of the first value that the delta adds."""
    content = bytearray((folder / DELTA).read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    name = next(name for name in sorted(header) if name.startswith("values/"))
    assert header[name]["dtype"] == "F32"
    content[start + header[name]["data_offsets"][0] + 2] ^= 0x40
    (folder / DELTA).write_bytes(content)


def flip_in_base(folder, value=None):
    state = load_file(folder / BASE)
    entry = state["bert.embeddings.word_embeddings.weight"][7]
    entry[3] = -entry[3] if value is None else value
    save_file(state, folder / BASE, metadata={"format": "pt"})


def not_finite_in_base(folder):
    """Weights of which even the recorded hash is right."""
    flip_in_base(folder, float("nan"))
    edit_json(CONFIG, lambda config: config.update(base_sha256=state_sha256(load_file(folder / BASE))))(folder)
    edit_delta(base_sha256=state_sha256(load_file(folder / BASE)))(folder)


def empty_delta(folder):
    delta = SparseDelta.load(folder / DELTA)
    sparse = {name: replace(update, values=torch.zeros_like(update.values)) for name, update in delta.sparse.items()}
    SparseDelta(sparse, delta.dense, delta.metadata).save(folder / DELTA)


def cut_delta(folder):
    (folder / DELTA).write_bytes((folder / DELTA).read_bytes()[:-5])


def student(change):
    """Alter the student's first result."""
    return edit_json(RESULTS, lambda c: change(next(one for one in c["results"] if one["model"] == "student")))


def alter_score(folder):
    """Write another score of the student into the card's table."""
    text = (folder / CARD).read_text()
    row = next(line for line in text.split("\n") if line.startswith("| ner | sw"))
    cells = row.split("|")
    cells[7] = " 98.7 (98.0 to 99.0) "
    (folder / CARD).write_text(text.replace(row, "|".join(cells)))


def add_token(tokenizer):
    tokenizer["model"]["vocab"]["zzz"] = len(tokenizer["model"]["vocab"])


def swap_tokens(tokenizer):
    vocabulary = tokenizer["model"]["vocab"]
    one, other = sorted(vocabulary, key=vocabulary.get)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


def repeat_id(tokenizer):
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.get)] -= 1


def other_map(auto, value):
    return edit_json(CONFIG, lambda config: config["auto_map"].update({auto: value}))


def set_in(name, **fields):
    return edit_json(name, lambda content: content.update(fields))


LIMITS = "Made of a miniature world, for tests."
TAMPERING = {
    "a delta of other weights": (
        edit_delta(base_sha256="0" * 64),
        {("hashes", DELTA), ("loading", DELTA), ("results", RESULTS)},
    ),
    "a delta with other labels": (
        edit_delta(labels=["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "I-PER", "B-PER"]),
        {("hashes", DELTA), ("results", DELTA), ("card", FACTS)},
    ),
    "a delta of another folder": (edit_delta(task="pos"), {("hashes", DELTA)}),
    "a delta without a head": (
        edit_delta(head="none"),
        {("hashes", DELTA), ("loading", DELTA), ("results", RESULTS), ("card", FACTS)},
    ),
    "a delta of zeros": (empty_delta, {("loading", DELTA), ("results", RESULTS)}),
    "a recipe that is no JSON": (write_files("recipe.json"), {("files", "recipe.json"), ("card", "recipe.json")}),
    "another recipe": (
        edit_json("recipe.json", lambda recipe: recipe["bilingual"].update(steps=10**6)),
        {("hashes", "recipe.json")},
    ),
    "the recipe of another card": (set_in("recipe.json", sha256="0" * 64), {("hashes", "recipe.json")}),
    "the card of another recipe": (set_in(FACTS, recipe_sha256="0" * 64), {("hashes", FACTS), ("card", CARD)}),
    "two tokens of one id": (edit_json(TOKENIZER, repeat_id), {("tokenizer", TOKENIZER)}),
    "another vocabulary size": (
        edit_json(CONFIG, lambda config: config.update(vocab_size=config["vocab_size"] - 1)),
        {
            ("tokenizer", TOKENIZER),
            ("tokenizer", CONFIG),
            ("loading", BASE),
            ("loading", DELTA),
            ("results", RESULTS),
            ("results", CONFIG),
            ("card", FACTS),
        },
    ),
    "a result of another role": (
        student(lambda one: one.update(role="target")),
        {("results", RESULTS)},
    ),
    "a delta of a newer format": (
        lambda folder: (folder / DELTA).write_bytes(
            (folder / DELTA).read_bytes().replace(b'\\"format_version\\": 2', b'\\"format_version\\": 7')
        ),
        {("hashes", DELTA), ("loading", DELTA), ("results", RESULTS)},
    ),
    "a flipped bit in a delta": (flip_in_delta, {("results", RESULTS)}),
    "half a delta": (cut_delta, {("hashes", DELTA), ("loading", DELTA), ("results", RESULTS)}),
    "a flipped weight": (flip_in_base, {("hashes", BASE), ("hashes", DELTA), ("results", RESULTS)}),
    "a weight that is no number": (
        not_finite_in_base,
        {("hashes", BASE), ("loading", BASE), ("loading", DELTA), ("results", RESULTS)},
    ),
    "a newer layout": (set_in(CONFIG, format_version=99), {("hashes", CONFIG)}),
    "changed code": (lambda folder: (folder / CODE).open("a").write("# a word\n"), {("code", CODE)}),
    "code of another repository": (
        other_map("AutoModel", "other/repo--modeling_bistill.BistillModel"),
        {("code", CONFIG)},
    ),
    "code for the tokenizer": (
        set_in(TOKENIZER_CONFIG, auto_map={"AutoTokenizer": ["a.B", None]}),
        {("code", TOKENIZER_CONFIG)},
    ),
    "a kernel from elsewhere": (set_in(CONFIG, attn_implementation="other/kernel"), {("code", CONFIG)}),
    "files that no pair has": (
        write_files("setup.py", "tasks/ner/state.pkl", "pytorch_model.bin", "adapter_config.json"),
        {("files", name) for name in ("setup.py", "tasks/ner/state.pkl", "pytorch_model.bin", "adapter_config.json")},
    ),
    "a picture that is none": (write_files("assets/other.png"), {("files", "assets/other.png")}),
    "missing files": (
        remove(TOKENIZER, "recipe.json", CODE, "assets/losses.png"),
        {("files", TOKENIZER), ("files", "recipe.json"), ("files", CODE), ("card", "assets/losses.png")},
    ),
    "no delta": (remove(DELTA), {("files", DELTA), ("results", RESULTS)}),
    "no results": (remove(RESULTS), {("card", RESULTS), ("card", CARD)}),
    "no weights": (remove(BASE), {("files", BASE)}),
    "two tokens swapped": (edit_json(TOKENIZER, swap_tokens), {("tokenizer", TOKENIZER)}),
    "another token": (edit_json(TOKENIZER, add_token), {("tokenizer", TOKENIZER)}),
    "a tokenizer that cuts": (
        set_in(TOKENIZER, truncation={"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}),
        {("tokenizer", TOKENIZER)},
    ),
    "a tokenizer without types": (
        set_in(TOKENIZER_CONFIG, model_input_names=["input_ids", "attention_mask"]),
        {("tokenizer", TOKENIZER_CONFIG)},
    ),
    "a tokenizer that is built anew": (
        set_in(TOKENIZER_CONFIG, tokenizer_class="BertTokenizer", do_lower_case=True),
        {("tokenizer", TOKENIZER_CONFIG), ("tokenizer", TOKENIZER)},
    ),
    "a tokenizer that lower-cases": (
        edit_json(TOKENIZER, lambda tokenizer: tokenizer["normalizer"].update(lowercase=True)),
        {("tokenizer", TOKENIZER)},
    ),
    "a tokenizer that reads too much": (
        set_in(TOKENIZER_CONFIG, model_max_length=4096),
        {("tokenizer", TOKENIZER_CONFIG)},
    ),
    "a special token less": (
        edit_json(TOKENIZER_CONFIG, lambda tokenizer: tokenizer.pop("mask_token")),
        {("tokenizer", TOKENIZER_CONFIG)},
    ),
    "another special id": (set_in(CONFIG, pad_token_id=4), {("tokenizer", CONFIG), ("results", CONFIG)}),
    "another score in the card": (alter_score, {("card", CARD)}),
    "another score in the results": (
        student(lambda one: one.update(score=0.5)),
        {("results", RESULTS), ("card", CARD)},
    ),
    "a score that is no number": (
        student(lambda one: one.update(score=float("nan"))),
        {("results", RESULTS), ("card", CARD)},
    ),
    "results of other weights": (student(lambda one: one.update(weights_sha256="0" * 64)), {("results", RESULTS)}),
    "a result of another task": (student(lambda one: one.update(task="pos")), {("results", RESULTS), ("card", CARD)}),
    "no licence": (edit_text(CARD, "license: apache-2.0\n", ""), {("card", CARD)}),
    "no limits": (edit_text(CARD, LIMITS, " "), {("card", CARD)}),
    "another teacher": (set_in(CONFIG, teacher="some/teacher"), {("card", CARD), ("card", FACTS)}),
    "an entry of no result": (write_files(".eval_results/some.yaml"), {("card", ".eval_results/some.yaml")}),
    "a path in the facts": (
        set_in(FACTS, command="bistill run /home/ann/recipe.json"),
        {("card", FACTS), ("card", CARD)},
    ),
}


@pytest.mark.parametrize("backbone", ["bert", "xlm-roberta"])
def test_in_a_good_pair_nothing_is_found(runs, backbone):
    report = check_pair(runs[backbone].repository)
    assert report.findings == ()
    assert report.checks == ALWAYS
    assert (report.pair, report.commit, report.notes) == (str(runs[backbone].repository), None, ())


TOGETHER = (
    ("a delta of other weights", "no limits"),
    ("a delta with other labels", "another score in the card"),
    ("a delta of a newer format", "files that no pair has", "a picture that is none"),
    ("a flipped bit in a delta", "changed code", "a tokenizer that lower-cases"),
    ("half a delta", "another recipe"),
    ("a flipped weight", "code of another repository"),
    ("a weight that is no number", "a tokenizer that cuts"),
    ("a newer layout", "a path in the facts"),
    ("code for the tokenizer", "another score in the results"),
    ("a kernel from elsewhere", "missing files"),
    ("no delta", "another token"),
    ("no results", "a tokenizer without types", "two tokens swapped"),
    ("no weights", "an entry of no result"),
    ("a tokenizer that is built anew", "results of other weights"),
    ("another special id", "a score that is no number"),
    ("a result of another task", "a tokenizer that reads too much"),
    ("another teacher", "a special token less"),
    ("a delta of another folder", "a result of another role", "two tokens of one id"),
    ("a delta of zeros", "a recipe that is no JSON"),
    ("a delta without a head", "the recipe of another card"),
    ("another vocabulary size", "the card of another recipe"),
    ("no licence",),
)
"""Each once; what is altered together is found by other checks or in other files."""


SAID = {
    "another recipe": "its fields have the hash",
    "the recipe of another card": "it records 0000",
    "the card of another recipe": "the card was written for the recipe 0000",
    "another token": "the id of 'zzz' is",
    "two tokens swapped": "its SHA-256 is not",
    "two tokens of one id": "two tokens have the same id",
    "a delta of another folder": "it lies in the folder of ner",
    "a delta of zeros": "all of its changes are by nothing",
    "a delta without a head": "there is no such head",
    "a weight that is no number": "AutoModelForMaskedLM computes values that are not finite",
    "a score that is no number": "score = nan: not a fraction",
    "another score in the results": "score = 0.5: outside its interval",
    "a result of another role": "role = 'target'",
}
"""Words of a finding, where another one could stand for it."""


def test_every_alteration_is_tried():
    assert sorted(what for together in TOGETHER for what in together) == sorted(TAMPERING)


@pytest.mark.parametrize("together", TOGETHER, ids=", ".join)
def test_everything_that_was_altered_is_found_in_its_file(copy, together):
    for what in together:
        TAMPERING[what][0](copy)
    report = check_pair(copy)
    assert found(report) == set().union(*(TAMPERING[what][1] for what in together)), report.findings
    for what in together:
        assert any(SAID.get(what, "") in finding.problem for finding in report.findings), what
    for finding in report.findings:
        assert finding.problem
        assert finding.remedy
        assert not finding.problem.endswith(".")
        assert "/bistill-check-" not in finding.problem


def test_what_people_write_in_the_card_and_what_git_keeps_beside_it_is_no_finding(copy):
    edit_text(CARD, LIMITS, "Only **newspapers** were read.\n\nNames are biased.")(copy)
    write_files(".gitattributes", ".git/config")(copy)
    (copy / ".cache/huggingface").mkdir(parents=True)
    (copy / ".cache/huggingface/README.md.metadata").write_text("x")
    assert check_pair(copy).findings == ()


def test_a_card_with_facts_that_nobody_has_verified_is_as_good(copy):
    facts = read_facts(copy)
    facts = replace(facts, training={**facts.training, "unverified": ["target.text: its licence"]})
    write_facts(copy, facts)
    (copy / CARD).write_text(rendered_card(copy))
    assert "| target.text: its licence |" in (copy / CARD).read_text()
    assert check_pair(copy).findings == ()


PUBLISHED = "a folder or file on the publisher's machine"


def test_what_no_check_can_verify_is_listed_with_its_values_and_is_no_finding(copy):
    claims = {claim.what: claim for claim in check_pair(copy).to_read}
    assert next(iter(claims)) == "license"
    assert list(claims)[-1] == "limits"
    assert claims["limits"].value == LIMITS.strip()
    assert claims["teacher.model"].value.endswith(PUBLISHED)
    assert "unverified" not in claims
    assert {"source.text", "target.text", "tasks.ner.train", "tasks.ner.test_target"} <= set(claims)

    def of_the_hub(recipe):
        recipe["teacher"] |= {"model": "some/teacher", "language_deltas": {"en": "legacy:some/sft", "sw": "sft"}}
        test = recipe["tasks"][0]["test_target"]
        test |= {"path": None, "dataset": "masakhane/masakhaner2"}
        test.pop("sha256")
        recipe["source"]["text"] |= {"path": None, "dataset": "some/text"}
        recipe["unverified"] = ["license: not examined", "target.text: its origin"]

    edit_json("recipe.json", of_the_hub)(copy)
    edit_json(CONFIG, lambda config: config.update(teacher="some/teacher"))(copy)
    report = check_pair(copy)
    said = [(claim.what, claim.value) for claim in report.to_read]
    unknown = "not recorded in the pair, nor known to this package; see its page on the Hub"
    for what in ("licence of the teacher some/teacher", "licence of some/sft", "licence of some/text"):
        assert (what, unknown) in said
    assert ("teacher.language_deltas.sw", f"sft, {PUBLISHED}") in said
    assert any(
        what == "licence of masakhane/masakhaner2" and "as this package knows it" in value for what, value in said
    )
    assert [value for what, value in said if what == "unverified"] == [
        "license: not examined",
        "target.text: its origin",
    ]


@pytest.mark.parametrize("content", ["{", "[]", '{"teacher": 3, "tasks": {"a": 1}, "source": [[1]], "unverified": 5}'])
def test_what_cannot_be_read_claims_nothing(copy, content):
    for name in ("recipe.json", FACTS, CARD):
        (copy / name).write_text(content)
    report = check_pair(copy)
    assert report.findings
    assert report.to_read == ()


def test_data_of_a_task_that_was_added_are_listed_too(copy):
    source = {"path": "pos.conll", "dataset": None, "sha256": "ab" * 32}
    edit_json(FACTS, lambda facts: facts["tasks"]["ner"].update(added={"recipe": {"train": source}, "command": "x"}))(
        copy
    )
    claims = {(claim.file, claim.what): claim.value for claim in check_pair(copy).to_read}
    assert claims[FACTS, "tasks.ner.train"] == "pos.conll, a file on the publisher's machine, SHA-256 abababababab"


def test_what_does_not_load_as_promised_is_found(runs, monkeypatch):
    real = modeling_bistill._base_state

    def other(base_file, delta_file, native_class, config, *rest):
        """Each load is another one, and a task's labels are called something else."""
        state = real(base_file, delta_file, native_class, config, *rest)
        name = next(name for name in sorted(state) if name.endswith("output.dense.weight"))
        state[name] = state[name] + torch.rand(state[name].shape)
        if delta_file is not None:
            config.id2label = {index: f"L{index}" for index in config.id2label}
        return state

    monkeypatch.setattr(modeling_bistill, "_base_state", other)
    findings = [finding for finding in check_pair(runs["bert"].repository).findings if finding.check == "loading"]
    parts = [
        (BASE, "AutoModel and BertModel compute something else"),
        (BASE, "AutoModelForMaskedLM and BertForMaskedLM compute something else"),
        (DELTA, "is not the base's with the delta added"),
        (DELTA, "the model has the labels ['L0',"),
        (DELTA, "two loads compute something else"),
        (CONFIG, "AutoModelForTokenClassification does not load ner where no task is named"),
    ]
    assert len(findings) == len(parts)
    for finding, (file, part) in zip(findings, parts, strict=True):
        assert (finding.file, part in finding.problem) == (file, True), finding


def test_a_pair_without_tasks_is_as_good(copy):
    shutil.rmtree(copy / "tasks")
    set_in(CONFIG, tasks={})(copy)
    write_facts(copy, replace(read_facts(copy), tasks={}))
    (copy / CARD).write_text(rendered_card(copy))
    report = check_pair(copy)
    assert (report.findings, report.checks) == ((), ALWAYS)


def test_the_repositorys_code_is_never_run(copy, tmp_path):
    marker = tmp_path / "marker"
    for name in (CODE, "configuration_bistill.py", "evil.py"):
        (copy / name).write_text(f"open({str(marker)!r}, 'w').write({name!r})\n")
    for auto in ("AutoConfig", "AutoModel", "AutoModelForTokenClassification", "AutoTokenizer"):
        other_map(auto, "evil.Anything")(copy)
    set_in(TOKENIZER_CONFIG, auto_map={"AutoTokenizer": ["evil.Anything", None]}, tokenizer_class="Anything")(copy)
    assert {("files", "evil.py"), ("code", CODE), ("code", CONFIG), ("code", TOKENIZER_CONFIG)} <= found(
        check_pair(copy)
    )
    assert not marker.exists()


def test_code_of_an_earlier_version_is_accepted_and_a_mixture_is_not(copy, monkeypatch):
    (copy / CODE).write_text("# as it once was\n")
    earlier = {**present_hashes(), CODE: released.file_sha256(copy / CODE), "sparse_delta.py": "0" * 64}
    monkeypatch.setattr(check, "released_code", lambda: {"0.0.1": earlier, __version__: present_hashes()})
    (finding,) = check_pair(copy).findings
    assert (finding.check, finding.file) == ("code", None)
    assert "different versions" in finding.problem
    earlier["sparse_delta.py"] = present_hashes()["sparse_delta.py"]
    assert check_pair(copy).findings == ()


def test_the_hashes_that_ship_with_the_package_are_those_of_its_files():
    assert written_hashes()[__version__] == present_hashes(), "give `python -m bistill_hub.hub.released`"


def test_the_hashes_of_other_versions_stay_when_those_of_this_one_are_written(tmp_path):
    file = tmp_path / "released_code.json"
    file.write_text(json.dumps({"0.0.1": {CODE: "ab"}}))
    assert write_hashes(file)
    assert written_hashes(file) == {"0.0.1": {CODE: "ab"}, __version__: present_hashes()}
    assert not write_hashes(file)


def test_the_card_of_another_release_need_have_its_scores_alone(copy, monkeypatch):
    known = {"0.0.1": present_hashes(), __version__: present_hashes()}
    monkeypatch.setattr(check_card, "released_code", lambda: known)
    set_in(CONFIG, written_by="0.0.1")(copy)
    edit_text(CARD, "## At a glance", "## In short")(copy)
    report = check_pair(copy)
    assert report.findings == ()
    assert "its text was not" in report.notes[0]
    edit_text(CARD, "      value: 0.0", "      value: 0.5")(copy)
    assert found(check_pair(copy)) == {("card", CARD)}


def test_of_a_run_s_folder_is_said_where_its_pair_is(runs, tmp_path):
    repository = runs["bert"].repository
    for folder in (repository.parent, repository.parent.parent):
        with pytest.raises(InputError, match="there is neither config") as refused:
            check_pair(folder)
        assert refused.value.remedy == f"the pair is in a folder below this one, name that: {repository}"
    unfinished = tmp_path / "a run"
    for name in ("recipe.json", "student/manifest.json"):
        (unfinished / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copyfile(repository.parent.parent / name, unfinished / name)
    with pytest.raises(InputError, match="there is neither config") as refused:
        check_pair(unfinished)
    assert "`bistill run` command again" in refused.value.remedy
    assert f"`bistill package '{unfinished}' --to FOLDER`" in refused.value.remedy


def test_what_is_no_pair_cannot_be_checked(runs, tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / CONFIG).write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="another kind of model"):
        check_pair(tmp_path / "bert")
    with pytest.raises(InputError, match="there is neither config"):
        check_pair(tmp_path)
    with pytest.raises(InputError, match="neither a folder nor a Hub id"):
        check_pair(tmp_path / "absent")
    with pytest.raises(InputError, match="offline mode"):
        check_pair("alice/pair")
    with pytest.raises(InputError, match="a folder has no revisions"):
        check_pair(runs["bert"].repository, revision="main")
    with pytest.raises(InputError, match=r"test data.*--rerun"):
        check_pair(runs["bert"].repository, tests={"en": "x"})


# By Hub id.


@pytest.fixture
def hub(runs, monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path / "home") as server:
        server.create("alice/pair", runs["bert"].repository)
        yield server


def altered(folder, alter):
    """The files that a change makes different, by path."""
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    alter(folder)
    after = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return {
        file.relative_to(folder).as_posix(): after.get(file)
        for file in {*before, *after}
        if before.get(file) != after.get(file)
    }


def test_a_published_pair_is_checked_at_one_commit(hub, copy):
    good = hub.commits("alice/pair")[0].oid
    files = altered(copy, alter_score) | altered(copy, flip_in_delta)
    bad = hub.commit("alice/pair", files | {CODE: b"import os\n", "pytorch_model.bin": b"\x80\x04N."})
    report = check_pair("alice/pair", revision=good)
    assert (report.pair, report.commit, report.findings) == ("alice/pair", good, ())
    report = check_pair("alice/pair")
    assert report.commit == bad
    assert found(report) == {("files", "pytorch_model.bin"), ("code", CODE), ("results", RESULTS), ("card", CARD)}


def test_files_that_no_pair_has_are_not_fetched(hub, copy, tmp_path):
    hub.commit("alice/pair", altered(copy, edit_json(TOKENIZER, add_token)) | {"pytorch_model.bin": b"\x80\x04N."})
    assert found(check_pair("alice/pair")) == {("files", "pytorch_model.bin"), ("tokenizer", TOKENIZER)}
    fetched = {path.name for path in (tmp_path / "home").rglob("*")}
    assert TOKENIZER in fetched
    assert "pytorch_model.bin" not in fetched


def test_a_repository_or_revision_that_is_not_there_cannot_be_checked(hub):
    with pytest.raises(InputError, match="alice/other"):
        check_pair("alice/other")
    with pytest.raises(InputError, match="no such revision"):
        check_pair("alice/pair", revision="v9")


# Evaluated again.


@pytest.fixture(scope="module")
def scored(runs, ner_files, tmp_path_factory):
    """A pair whose tagger says this and that: results, predictions and test files of both languages."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    from bistill_hub import evaluate_pair

    home = tmp_path_factory.mktemp("scored")
    folder = Path(shutil.copytree(runs["bert"].repository, home / "pair"))
    delta = SparseDelta.load(folder / DELTA)
    head = torch.randn(delta.dense["classifier.weight"].shape, generator=torch.Generator().manual_seed(3))
    SparseDelta(delta.sparse, {**delta.dense, "classifier.weight": head}, delta.metadata).save(folder / DELTA)
    tests = {code: ner_files[code]["test"] for code in ("en", "sw")}
    sources = {code: LabelledSource(path=str(file)) for code, file in tests.items()}
    results = evaluate_pair(folder, "ner", sources, max_length=64, progress=False)
    write_results(folder / RESULTS, results, {})
    model = AutoModelForTokenClassification.from_pretrained(folder, task="ner")
    tokenizer, task = AutoTokenizer.from_pretrained(folder), get_task("ner")
    said = {}
    for code, source in sources.items():
        said[code] = predict(model, tokenizer, task, task.read(source), labels_of(model), max_length=64)
        assert len({tag for tags in said[code] for tag in tags}) > 3
    return folder, tests, said


def of_rerun(report):
    assert report.checks == (*ALWAYS, "rerun")
    return [finding for finding in report.findings if finding.check == "rerun"]


def test_evaluated_again_scores_and_predictions_are_those_recorded(scored):
    folder, tests, _ = scored
    report = check_pair(folder, rerun="ner", tests=tests)
    assert of_rerun(report) == []
    assert report.notes == tuple(f"student on {code}: 50 of 50 predictions are those recorded." for code in tests)


def test_evaluated_again_other_scores_and_predictions_are_found(scored, tmp_path):
    folder, tests, predictions = scored
    folder = Path(shutil.copytree(folder, tmp_path / "pair"))
    english, swahili = read_results(folder / RESULTS)
    others = [*predictions["en"]]
    others[7] = ["B-PER"] * 40
    results = [
        replace(english, score=english.score + 0.0019, prediction_digests=prediction_digests(others)),
        replace(swahili, score=swahili.score + 0.0021),
    ]
    write_results(folder / RESULTS, results, {})
    said, scores = of_rerun(check_pair(folder, rerun="ner", tests=tests))
    assert scores.file == said.file == RESULTS
    assert f"student on sw: f1 = {100 * results[1].score:.2f}" in scores.problem
    assert f"it is {100 * swahili.score:.2f}" in scores.problem
    assert "student on en: 49 of 50 predictions" in said.problem


@pytest.mark.parametrize(
    ("digests", "problem"),
    [(None, "nothing is recorded of the predictions"), ("no base64!", "not base64"), ("", "0 of 50 predictions")],
)
def test_evaluated_again_predictions_that_were_not_recorded_are_found(scored, tmp_path, digests, problem):
    folder, tests, _ = scored
    folder = Path(shutil.copytree(folder, tmp_path / "pair"))
    results = [replace(one, prediction_digests=digests) for one in read_results(folder / RESULTS)]
    write_results(folder / RESULTS, results[:1], {})
    (found,) = of_rerun(check_pair(folder, rerun="ner", tests={"en": tests["en"]}))
    assert problem in found.problem


@pytest.mark.parametrize(
    "said", [{"revision": "ab" * 20}, {"revision": "refs/convert/parquet", "commit": "ab" * 20}], ids=["asked", "read"]
)
def test_data_of_the_hub_are_those_that_the_result_names(scored, tmp_path, monkeypatch, said):
    from bistill_hub import sources

    folder, tests, _ = scored
    folder = Path(shutil.copytree(folder, tmp_path / "pair"))
    where = {"dataset": "some/ner", "dataset_config": "swa", "split": "test", "subset": None, **said}
    results = [one for one in read_results(folder / RESULTS) if one.language == "sw"]
    write_results(folder / RESULTS, [replace(one, **where) for one in results], {})
    table = get_task("ner").read(LabelledSource(path=str(tests["sw"]))).rename_column("tags", "ner_tags")
    asked = []
    monkeypatch.setattr(sources, "_load_dataset", lambda *args, **options: asked.append((args, options)) or table)
    assert of_rerun(check_pair(folder, rerun="ner")) == []
    ((_, _, dataset, config), options), *_ = asked
    assert (dataset, config, options["split"], options["revision"]) == ("some/ner", "swa", "test", "ab" * 20)


def test_data_that_are_missing_or_others_are_refused(scored, ner_files, tmp_path):
    folder, tests, _ = scored
    with pytest.raises(InputError, match=r"language = 'en'.*test\.conll.*--test en=FILE"):
        check_pair(folder, rerun="ner")
    with pytest.raises(InputError, match=r"--test sw = .*train\.conll.*the file's hash is sha256:"):
        check_pair(folder, rerun="ner", tests={**tests, "sw": ner_files["sw"]["train"]})
    with pytest.raises(InputError, match=r"--test de = .*there is no such file"):
        check_pair(folder, rerun="ner", tests={"de": tmp_path / "absent"})
    with pytest.raises(InputError, match="--test = 'de': there is no score in this language"):
        check_pair(folder, rerun="ner", tests={**tests, "de": tests["sw"]})
    with pytest.raises(InputError, match=r"--rerun = 'pos'.*Choose one of ner"):
        check_pair(folder, rerun="pos", tests=tests)
    with pytest.raises(InputError, match="there is no such task"):
        check_pair(folder, rerun="haiku", tests=tests)


@pytest.mark.parametrize(
    ("task", "result", "said"),
    [
        ({"max_length": "long"}, {}, "recipe.json: tasks.ner.max_length = 'long': not a number of sub-words"),
        ({"max_length": None}, {}, "recipe.json: tasks.ner.max_length = None: not a number of sub-words"),
        ({"test_target": {"limit": "few"}}, {}, "recipe.json: tasks.ner.test_target.limit = 'few': "),
        ({"test_target": "a file"}, {"n": "many"}, "results of student: n = 'many': not a value that can"),
        ({}, {"language": ["sw"]}, r"results of student: language = \['sw'\]: not a value that can"),
        ({}, {"revision": 1}, "results of student: revision = 1: not a value that can"),
    ],
)
def test_damaged_files_are_no_reason_to_fail_before_evaluating_again(tmp_path, ner_files, task, result, said):
    test = ner_files["sw"]["test"]
    scored = {"model": "student", "language": "sw", "role": "target", "revision": f"sha256:{file_sha256(test)}"}
    (tmp_path / "tasks" / "ner").mkdir(parents=True)
    write_results(tmp_path / RESULTS, [replace(RESULT, **{**scored, **result})], {})
    (tmp_path / "recipe.json").write_text(json.dumps({"tasks": [{"name": "ner", **task}]}), encoding="utf-8")
    pair = PairFolder(tmp_path, (RESULTS, DELTA, "recipe.json"), tmp_path)
    with pytest.raises(InputError, match=said):
        Again(task="ner", tests={"sw": test}).prepare(pair)
