"""Every backbone takes every stage, loads in every way and keeps every promise of its tokenizer: the table in the docs.

Each cell of the tables in docs/backbones.md is a test here. The last test compares the tables with what was found; with
BISTILL_UPDATE_DOCS=1 it writes them.
"""

import json
import os

import miniature
import pytest
import tiny_tasks
import torch
import transformers
from doc_pages import ROOT, claimed, executed
from fresh import run_fresh
from safetensors.torch import load_file
from tiny_models import HEADS, SPECIAL_IDS, class_of, tiny_model
from tokenizer_kinds import KINDS
from transformers import AutoConfig, AutoModel

from bistill_hub import Recipe, export_model, run
from bistill_hub.model.sparse_delta import state_sha256
from bistill_hub.pipeline.plan import plan
from bistill_hub.student.backbones import BACKBONES
from bistill_hub.student.token_counts import count_tokens
from bistill_hub.student.tokenizer_loading import check_ways_of_loading
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer

DOCS = ROOT / "docs" / "backbones.md"
SNIPPETS = claimed(__name__, "docs/backbones.md")
FOREIGN = [
    "Дети утром пошли к реке и вернулись до полудня.",
    "孩子们早上走到河边，中午之前回来。",
    "Les élèves écoutaient la maîtresse, malgré le bruit de la rue.",
]
READS = {
    "bert": "wordpiece",
    "xlm-roberta": "unigram",
    "distilbert": "uncased wordpiece",
    "deberta-v2": "deberta unigram",
    "modernbert": "byte-fallback bpe",
}
"""The tokenizer that each backbone's teacher has here in the stages."""

TOKENIZERS_OF = {
    "bert": ("wordpiece", "uncased wordpiece"),
    "xlm-roberta": ("unigram",),
    "distilbert": ("wordpiece", "uncased wordpiece"),
    "deberta-v2": ("deberta unigram",),
    "modernbert": ("byte-level bpe", "newer byte-level bpe", "byte-fallback bpe"),
}
TASKS = {"ner": HEADS[2], "pos": HEADS[2], "nli": HEADS[3], "qa": HEADS[4]}
AUTO = {head: "AutoModel" if head == "Model" else f"AutoModel{head}" for head in HEADS}
LAYERS = [1, 3]
STAGES = ("plan", "student cut", "phase 1", *(f"phase 2 {task}" for task in TASKS), "packaging", "export")
WAYS = tuple(AUTO.values())
PROMISES = (
    "same pieces where all are kept",
    "nothing newly unknown",
    "ids from 0, one row each",
    "special tokens in place",
    "every way of loading",
)

PROBE = """
import json, sys
sys.modules["bistill_hub"] = None  # not installed
import transformers
found = {}
for backbone, folder in PAIRS:
    for name in CLASSES:
        task = {"task": "ner"} if name.endswith("TokenClassification") else {}
        model = getattr(transformers, name).from_pretrained(folder, trust_remote_code=True, **task)
        kind = f"{type(model).__module__}.{type(model).__name__}"
        found[f"{backbone} {name}"] = [kind, sum(float(p.detach().double().abs().sum()) for p in model.parameters())]
print(json.dumps(found))
"""

planned = {}
"""By backbone, what `plan` said of its run."""

outcomes: dict[tuple[str, str], bool] = {}
"""What was seen: True for a row and a column whose test has passed."""


def texts():
    return {language: [miniature.text(s) for s in miniature.sentences(language, 120)] for language in ("en", "sw")}


@pytest.fixture(scope="module")
def train():
    """A function that trains a tokenizer of a kind, once."""
    lines = [line for language in texts().values() for line in language] + 5 * FOREIGN
    made = {}

    def trained(kind):
        if kind not in made:
            made[kind] = KINDS[kind](lines, 900 if "byte" in kind else 500)
        return made[kind]

    return trained


@pytest.fixture(scope="module")
def pairs(train, tmp_path_factory):
    """A function that makes a backbone's teacher and runs a whole recipe on it, once."""
    home = tmp_path_factory.mktemp("matrix")
    corpora = {code: str(miniature.write_lines(home / f"{code}.txt", lines)) for code, lines in texts().items()}
    data = tiny_tasks.write_tasks(home / "tasks")
    made = {}

    def finished(backbone):
        if backbone not in made:
            tokenizer, folder = train(READS[backbone]), home / f"{backbone}-teacher"
            special = {name: getattr(tokenizer, name) for name in SPECIAL_IDS}
            tiny_model(class_of(backbone, "ForMaskedLM"), len(tokenizer), special_ids=special).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            recipe = _recipe(backbone, folder, corpora, data)
            planned[backbone] = plan(recipe, home / backbone)
            made[backbone] = run(recipe, home / backbone, progress=False)
        return made[backbone]

    return finished


def _recipe(backbone, teacher, corpora, data):
    one_epoch = {
        "max_length": 96,
        "teacher": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3},
        "distillation": {"dense_epochs": 1, "sparse_epochs": 1, "batch_size": 8, "learning_rate": 1e-3},
    }
    return Recipe.make(
        {
            "name": f"bistill-en-sw-{backbone}",
            "source": {"code": "en", "name": "English", "text": corpora["en"]},
            "target": {"code": "sw", "name": "Swahili", "text": corpora["sw"]},
            "teacher": {"model": str(teacher)},
            "license": "apache-2.0",
            "limits": "Made of a miniature world, for tests.",
            "bilingual": {"steps": 2, "block_size": 48, "learning_rate": 1e-3, "evaluation_every": 2},
            "speed": {"seconds": 0, "length": 16, "batch_size": 2},
            "tasks": [{"name": task, **data[task], **one_epoch} for task in TASKS],
            "synthetic": True,
        }
    )


def stage(finished, name):
    return next(record for record in finished.stages if record.name == name)


def as_folder(finished, name):
    return stage(finished, name).folder


def plan_ahead(finished, backbone):
    told = {stage.name: stage.seconds for stage in planned[backbone].stages}
    assert list(told) == [record.name for record in finished.stages]
    assert {name for name, seconds in told.items() if seconds is None} <= {"package"}


def student_cut(finished, _):
    facts = stage(finished, "student").facts
    assert facts["layer_map"] == LAYERS
    assert facts["student"]["vocabulary"] < facts["teacher"]["vocabulary"]
    assert facts["language_modelling_head"]


def phase_1(finished, _):
    before, after = (load_file(as_folder(finished, name) / "model.safetensors") for name in ("student", "phase 1"))
    assert before.keys() == after.keys()
    config = AutoConfig.from_pretrained(as_folder(finished, "phase 1"))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert {0, 1} <= {BACKBONES[config.model_type].layer_of(name) for name in changed}
    assert stage(finished, "phase 1").facts["loss"] > 0


def phase_2(task):
    def check(finished, _):
        facts = stage(finished, f"{task} phase 2").facts
        assert facts["density"] == pytest.approx(0.08, rel=1e-3)
        assert facts["loss"] > 0
        assert facts["dense_curve"]
        assert stage(finished, f"{task} evaluation").facts is not None

    return check


def packaging(finished, backbone):
    config = AutoConfig.from_pretrained(finished.repository)
    assert (config.model_type, config.backbone_type) == ("bistill", backbone)
    assert sorted(config.tasks) == sorted(TASKS)
    own = class_of(backbone).from_pretrained(finished.repository)  # without the package: the phase-1 student
    found = AutoModel.from_pretrained(finished.repository)
    assert state_sha256(own.state_dict()) == state_sha256(found.state_dict())


def export(finished, backbone):
    for task, head in TASKS.items():
        folder = finished.repository.parent / f"export-{task}"
        export_model(finished.repository, folder, task=task)
        plain = json.loads((folder / "config.json").read_text())
        assert (plain["model_type"], plain["architectures"]) == (backbone, [class_of(backbone, head).__name__])
        exported, info = class_of(backbone, head).from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"] | info["unexpected_keys"]
        loaded = getattr(transformers, AUTO[head]).from_pretrained(finished.repository, task=task)
        assert state_sha256(exported.state_dict()) == state_sha256(loaded.state_dict())


CHECKS = {
    "plan": plan_ahead,
    "student cut": student_cut,
    "phase 1": phase_1,
    **{f"phase 2 {task}": phase_2(task) for task in TASKS},
    "packaging": packaging,
    "export": export,
}


@pytest.mark.parametrize("column", STAGES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_stage(pairs, backbone, column):
    CHECKS[column](pairs(backbone), backbone)
    outcomes[backbone, column] = True


@pytest.fixture(scope="module")
def remote(pairs, tmp_path_factory):
    """What a process without the package gets of every pair through every Auto class, with trust_remote_code."""
    home = tmp_path_factory.mktemp("remote")
    folders = [(backbone, str(pairs(backbone).repository)) for backbone in BACKBONES]
    code = f"PAIRS = {folders!r}\nCLASSES = {list(AUTO.values())!r}\n{PROBE}"
    done = run_fresh(code, env={**os.environ, "HF_MODULES_CACHE": str(home)}, cwd=home)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_auto_class_gives_the_native_model_with_the_package_and_by_remote_code(pairs, remote, backbone, head):
    task = {"task": "ner"} if head == "ForTokenClassification" else {}
    model = getattr(transformers, AUTO[head]).from_pretrained(pairs(backbone).repository, **task)
    assert type(model) is class_of(backbone, head)
    with torch.no_grad():
        assert torch.isfinite(model(input_ids=torch.arange(5, 20)[None])[0]).all()
    kind, total = remote[f"{backbone} {AUTO[head]}"]
    assert kind == f"{type(model).__module__}.{type(model).__name__}"
    assert total == sum(float(parameter.detach().double().abs().sum()) for parameter in model.parameters())
    outcomes[backbone, AUTO[head]] = True


def trimmed(teacher):
    corpora = texts()
    counts = {code: count_tokens(teacher, lines) for code, lines in corpora.items()}
    token_map = select_tokens(teacher, counts, 3e-3)
    return token_map, trim_tokenizer(teacher, token_map)


def pieces(tokenizer, line):
    return tokenizer.convert_ids_to_tokens(tokenizer(line, add_special_tokens=False)["input_ids"])


def promise(name, backbone, teacher, folder):
    token_map, student = trimmed(teacher)
    kept = set(token_map.tolist())
    lines = [line for language in texts().values() for line in language]
    if name == "same pieces where all are kept":
        whole = [line for line in lines if set(teacher(line, add_special_tokens=False)["input_ids"]) <= kept]
        assert 10 < len(whole) < len(lines)
        assert all(pieces(student, line) == pieces(teacher, line) for line in whole)
    elif name == "nothing newly unknown":
        known = [line for line in lines if teacher.unk_token_id not in teacher(line)["input_ids"]]
        assert known
        assert not any(student.unk_token_id in student(line)["input_ids"] for line in known)
    elif name == "ids from 0, one row each":
        assert sorted(student.get_vocab().values()) == list(range(len(token_map))) == list(range(len(student)))
        assert len(student) < len(teacher)
    elif name == "special tokens in place":
        assert student.special_tokens_map == teacher.special_tokens_map
        assert student("a").keys() == teacher("a").keys()
        if BACKBONES[backbone].positions_start_at_padding:
            assert student.pad_token_id == teacher.pad_token_id
    else:
        student.save_pretrained(folder)
        model = tiny_model(class_of(backbone), len(student))
        model.config.save_pretrained(folder)
        assert len(check_ways_of_loading(folder, lines[:20])) >= 2


@pytest.mark.parametrize("name", PROMISES)
@pytest.mark.parametrize(
    ("backbone", "kind"), [(each, kind) for each, kinds in TOKENIZERS_OF.items() for kind in kinds]
)
def test_a_promise_of_the_tokenizer(train, tmp_path, backbone, kind, name):
    promise(name, backbone, train(kind), tmp_path)
    outcomes[f"{backbone}, {kind}", name] = True


def test_the_choices_of_layers_in_the_docs_are_those_that_are_made():
    code, naming, update = SNIPPETS
    assert code.count("assert ") == 5
    executed(code)
    assert executed(naming)["teacher"].tokenizer_not_by == ("XLMRobertaTokenizer",)
    (command,) = update.commands
    assert (ROOT / command[-1]).samefile(__file__)
    assert set(command.variables) == {"BISTILL_UPDATE_DOCS"}


def test_the_tables_in_the_docs_say_what_was_found_and_have_no_hole():
    rows = {f"{backbone}, {kind}": PROMISES for backbone, kinds in TOKENIZERS_OF.items() for kind in kinds}
    assert set(TOKENIZERS_OF) == set(BACKBONES) == set(READS)
    tables = {
        "stages": _table("backbone", STAGES, BACKBONES),
        "auto": _table("backbone", WAYS, BACKBONES),
        "tokenizers": _table("backbone, tokenizer", PROMISES, rows),
    }
    text = DOCS.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name}: written by tests/test_backbone_matrix.py -->\n\n", f"\n<!-- end of {name} -->\n"
        before, _, rest = text.partition(begin)
        written, _, after = rest.partition(end)
        if os.environ.get("BISTILL_UPDATE_DOCS"):
            text = f"{before}{begin}{table}{end}{after}"
        else:
            assert written == table
        assert "no" not in {cell.strip() for cell in table.split("|")}
    if os.environ.get("BISTILL_UPDATE_DOCS"):
        DOCS.write_text(text, encoding="utf-8")


def _table(corner, columns, rows):
    lines = [f"| {corner} | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for row in rows:
        cells = ["yes" if outcomes.get((row, column)) else "no" for column in columns]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
