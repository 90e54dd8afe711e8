"""A language delta is trained by one command, goes on where it was interrupted, and fits what takes it."""

import json
import shutil

import pytest
import torch
from click.testing import CliRunner
from datasets import Dataset
from miniature import write_lines
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer
from untrained import untrained

from bistill_hub import InputError, LanguageDeltaSettings, SparseDelta, cli, train_language_delta
from bistill_hub.batches import PaddingCollator
from bistill_hub.corpora import pack_blocks
from bistill_hub.distillation.exact_averaging import ExactAveragingTrainer
from bistill_hub.distillation.language_modelling import MaskedLanguageCollator
from bistill_hub.distillation.masking import TokenChooser
from bistill_hub.pipeline import language_delta
from bistill_hub.pipeline.preflight import check_model_file
from bistill_hub.sources import TextSource
from bistill_hub.student.backbones import backbone_for
from bistill_hub.student.build import trim_vocabulary
from bistill_hub.student.deltas import trim_delta
from bistill_hub.teacher import load_delta

SETTINGS = LanguageDeltaSettings(
    dense_steps=12, sparse_steps=12, batch_size=4, block_size=32, learning_rate=1e-2, held_out_blocks=6, density=0.1
)
WORDS = [
    *("--dense-steps", "12", "--sparse-steps", "12", "--batch-size", "4", "--block-size", "32"),
    *("--learning-rate", "1e-2", "--held-out-blocks", "6", "--density", "0.1", "--quiet"),
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return untrained("bert", tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def text(world_lines, tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("text") / "sw.txt", world_lines["sw"])


def bistill(*words):
    return CliRunner().invoke(cli.main, ["train-language-delta", *map(str, words)])


@pytest.fixture(scope="module")
def trained(teacher, text, tmp_path_factory):
    """The folder that the command leaves, and what it printed."""
    folder = tmp_path_factory.mktemp("deltas") / "sw"
    result = bistill(teacher, "--language", "sw", "--text", text, "-o", folder, *WORDS)
    assert result.exit_code == 0, result.output
    return folder, result.stdout


def train(teacher, text, folder, *, checkpoint_every=5, **changes):
    settings = SETTINGS.model_copy(update=changes)
    source = text if isinstance(text, TextSource) else TextSource(path=str(text))
    return train_language_delta(
        str(teacher),
        source,
        folder,
        language="sw",
        settings=settings,
        checkpoint_every=checkpoint_every,
        progress=False,
    )


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_the_held_out_loss_falls_and_is_that_of_the_teacher_with_the_delta(trained, teacher, text, world_lines):
    folder, printed = trained
    record = json.loads((folder / "language_delta.json").read_text())
    assert record["loss_after"] < record["loss_before"] - 0.1
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    blocks = [ids.tolist() for some in pack_blocks(world_lines["sw"], tokenizer, 32) for ids in some]
    assert record["text"] == {
        "name": "sw.txt",
        "sha256": record["text"]["sha256"],
        "blocks": len(blocks),
        "held_out_blocks": 6,
        "lines": len(world_lines["sw"]),
        "tokens": sum(len(ids) for ids in tokenizer(world_lines["sw"], add_special_tokens=False)["input_ids"]),
    }
    choose = TokenChooser(special_ids=tokenizer.all_special_ids, probability=0.15)
    hide = MaskedLanguageCollator(
        PaddingCollator(tokenizer.pad_token_id),
        choose,
        mask_token_id=tokenizer.mask_token_id,
        vocabulary=len(tokenizer),
    )
    model = AutoModelForMaskedLM.from_pretrained(teacher).eval()
    held_out = blocks[-6:]
    for moment in ("loss_before", "loss_after"):
        if moment == "loss_after":
            SparseDelta.load(folder / "delta.safetensors").apply(model)
        total = count = 0
        for rows in (held_out[:4], held_out[4:]):
            batch = hide([{"input_ids": ids} for ids in rows])
            labels = batch.pop("labels")
            with torch.no_grad():
                logits = model(**batch).logits
            total += float(cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum"))
            count += int((labels != -100).sum())
        assert record[moment] == pytest.approx(total / count, rel=1e-5)
    for shown in (f"{record['loss_before']:.4f}", f"{record['loss_after']:.4f}", f"{record['entries']:,}", "10.00 %"):
        assert shown in printed


def test_the_delta_fits_a_recipe_an_encoder_without_a_head_and_the_trimmed_teacher(trained, teacher):
    folder, _ = trained
    for name in (folder, folder / "delta.safetensors"):
        check_model_file(str(name), "teacher.language_deltas.sw")
    delta, of_file = load_delta(str(folder)), load_delta(str(folder / "delta.safetensors"))
    assert delta.metadata == of_file.metadata
    assert (delta.metadata["language"], delta.density) == ("sw", pytest.approx(0.1, abs=1e-4))

    encoder = AutoModel.from_pretrained(teacher, add_pooling_layer=False)
    start = weights(encoder)
    delta.apply(encoder)  # strict: there is a place for every entry
    for name, parameter in encoder.named_parameters():
        update = delta.sparse.get(f"bert.{name}")
        outside = torch.ones(parameter.numel(), dtype=torch.bool)
        if update is not None:
            outside[update.indices] = False
        assert torch.equal(parameter.detach().flatten()[outside], start[name].flatten()[outside])
    delta.revert(encoder)

    kept = torch.arange(0, len(AutoTokenizer.from_pretrained(teacher)), 3)
    kept = torch.unique(torch.cat([torch.arange(8), kept]))
    trimmed_first = trim_delta(delta, backbone_for(encoder.config), kept).apply(trim_vocabulary(encoder, kept))
    applied_first = trim_vocabulary(delta.apply(encoder), kept)
    found, expected = weights(trimmed_first), weights(applied_first)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("stage", ["dense", "sparse"])
def test_an_interrupted_training_ends_with_the_same_bytes(trained, teacher, text, tmp_path, monkeypatch, stage):
    step = ExactAveragingTrainer.training_step

    def interrupted(self, *args, **kwargs):
        if str(self.args.output_dir).endswith(stage) and self.state.global_step == 8:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ExactAveragingTrainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(teacher, text, tmp_path)
    assert not (tmp_path / "delta.safetensors").exists()
    with pytest.raises(InputError, match="was interrupted there that was begun with other settings"):
        train(teacher, text, tmp_path, seed=1)
    steps = []

    def counted(self, *args, **kwargs):
        steps.append(str(self.args.output_dir).rpartition("/")[2])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ExactAveragingTrainer, "training_step", counted)
    train(teacher, text, tmp_path)
    assert steps == (["dense"] * 7 + ["sparse"] * 12 if stage == "dense" else ["sparse"] * 7)
    for name in ("delta.safetensors", "language_delta.json"):
        assert (tmp_path / name).read_bytes() == (trained[0] / name).read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir() if not file.name.startswith(".")) == [
        "delta.safetensors",
        "language_delta.json",
    ]


def test_a_full_disk_is_told_in_one_sentence_after_which_the_same_command_goes_on(
    trained, teacher, text, tmp_path, monkeypatch
):
    def full(*_args, **_options):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    words = [teacher, "--language", "sw", "--text", text, "-o", tmp_path, *WORDS]
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        result = bistill(*words)
    assert result.exit_code == 2
    assert f"Error: {tmp_path}: the language delta could not be written: no room is left (" in result.stderr
    assert result.stderr.endswith("What is finished is kept: the same command goes on from there.\n")
    assert bistill(*words).exit_code == 0
    assert (tmp_path / "delta.safetensors").read_bytes() == (trained[0] / "delta.safetensors").read_bytes()


def test_a_training_that_is_not_finite_leaves_nothing_that_a_lower_rate_is_refused_for(
    trained, teacher, text, tmp_path, monkeypatch
):
    compute = ExactAveragingTrainer.compute_loss
    with monkeypatch.context() as patch:
        patch.setattr(
            ExactAveragingTrainer, "compute_loss", lambda *args, **kwargs: compute(*args, **kwargs) * float("nan")
        )
        with pytest.raises(InputError, match="not finite"):
            train(teacher, text, tmp_path, learning_rate=2e-2)
    train(teacher, text, tmp_path)
    assert (tmp_path / "delta.safetensors").read_bytes() == (trained[0] / "delta.safetensors").read_bytes()


def test_a_folder_of_the_work_folder_s_name_that_is_somebody_s_own_is_left_alone(teacher, text, tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "sw.txt").write_text("Habari")
    with pytest.raises(InputError, match=r"this is from elsewhere.* move it away"):
        train(teacher, text, tmp_path)
    assert (tmp_path / "training" / "sw.txt").read_text() == "Habari"


def test_a_finished_delta_is_taken_as_it_is_and_nothing_else_is_overwritten(trained, teacher, text, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "sw")
    before = (folder / "delta.safetensors").stat().st_mtime_ns
    record = train(teacher, text, folder)
    assert record == json.loads((folder / "language_delta.json").read_text())
    assert (folder / "delta.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="a delta that was made of something else is there"):
        train(teacher, text, folder, density=0.2)
    (tmp_path / "other").mkdir()
    shutil.copy(folder / "delta.safetensors", tmp_path / "other")
    with pytest.raises(InputError, match="from elsewhere"):
        train(teacher, text, tmp_path / "other")


def test_several_gpus_are_refused_but_for_a_delta_that_is_there(trained, teacher, text, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    folder = shutil.copytree(trained[0], tmp_path / "done")
    train(teacher, text, folder)
    with pytest.raises(InputError, match=r"CUDA_VISIBLE_DEVICES = '2 GPUs': a language delta .* Show it a single one"):
        train(teacher, text, tmp_path / "new")
    assert not (tmp_path / "new" / "training").exists()


def test_text_comes_from_a_table_and_a_training_in_bf16_leaves_the_precision_that_is_asked_for(
    teacher, world_lines, tmp_path
):
    Dataset.from_dict({"line": world_lines["sw"]}).to_parquet(tmp_path / "sw.parquet")
    source = TextSource(path=str(tmp_path / "sw.parquet"), column="line", limit=100)
    short = {"dense_steps": 1, "sparse_steps": 2, "precision": "bf16"}
    deltas = {}
    for kept in ("fp32", "fp16"):
        record = train(teacher, source, tmp_path / kept, delta_precision=kept, **short)
        assert record["text"]["lines"] == 100
        deltas[kept] = SparseDelta.load(tmp_path / kept / "delta.safetensors").sparse
    assert {update.values.dtype for update in deltas["fp32"].values()} == {torch.float32}
    assert any(bool(update.values.any()) for update in deltas["fp32"].values())
    for name, update in deltas["fp32"].items():
        assert torch.equal(update.indices, deltas["fp16"][name].indices)
        assert torch.equal(update.values.half(), deltas["fp16"][name].values)


@pytest.mark.parametrize(
    ("words", "naming"),
    [
        (["--density", "0"], "density = 0.0"),
        (["--density", "1.5"], "density = 1.5"),
        (["--dense-steps", "0"], "dense_steps = 0"),
        (["--block-size", "200"], "block_size = 200: the teacher reads at most"),
        (["--precision", "fp16"], "precision = 'fp16'"),
        (["--text", "/nowhere/sw.txt"], "--text = '/nowhere/sw.txt': there is no such file"),
        (["--text", "{'path': 1}"], "--text = \"{'path': 1}\": not JSON"),
        (["--text", '{"paths": "x"}'], "--text.paths"),
    ],
)
def test_bad_input_is_refused_before_anything_is_loaded(teacher, text, tmp_path, monkeypatch, words, naming):
    if "fp16" in words and torch.accelerator.is_available():
        words, naming = ["--seed", "-1"], "seed = -1"
    monkeypatch.setattr(language_delta, "load_language_model", None)
    given = ["--language", "sw", "--text", text, "-o", tmp_path / "out", *WORDS, *words]
    result = bistill(teacher, *given)
    assert result.exit_code == 2
    assert naming in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_text_that_is_none_or_too_little_and_a_teacher_without_a_head_are_refused(teacher, text, tmp_path):
    blank = write_lines(tmp_path / "blank.txt", ["", " "])
    with pytest.raises(InputError, match="there is no text in it"):
        train(teacher, blank, tmp_path / "one")
    short = write_lines(tmp_path / "short.txt", ["Juma"])
    with pytest.raises(InputError, match="too little text to hold any out"):
        train(teacher, short, tmp_path / "two")
    headless = shutil.copytree(teacher, tmp_path / "headless")
    AutoModel.from_pretrained(teacher).save_pretrained(headless)
    assert not any("cls." in name for name in load_file(headless / "model.safetensors"))
    with pytest.raises(InputError, match="no language-modelling head"):
        train(headless, text, tmp_path / "three")
