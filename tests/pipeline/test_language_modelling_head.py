"""A language-modelling head that is kept guesses what the teacher's does; one that is left out is not there."""

import pytest
import torch
from miniature import write_lines
from safetensors.torch import load_file
from tiny_models import VARIANTS
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, pipeline
from untrained import TOKENIZERS, untrained

from bistill_hub.pipeline.packaging import lay_out
from bistill_hub.pipeline.phase_0 import cut_student
from bistill_hub.recipe import Recipe
from bistill_hub.student.backbones import BACKBONES

each_backbone = pytest.mark.parametrize("teacher", BACKBONES, indirect=True)


@pytest.fixture(scope="module")
def texts(world_lines, tmp_path_factory):
    """A little text of each language as a file."""
    folder = tmp_path_factory.mktemp("texts")
    return {code: str(write_lines(folder / f"{code}.txt", lines[:60])) for code, lines in world_lines.items()}


@pytest.fixture(scope="module", params=VARIANTS)
def teacher(request, tmp_path_factory):
    """The folder of a language model with a head of random numbers."""
    backbone, fields = VARIANTS[request.param]
    return untrained(backbone, tmp_path_factory.mktemp("teacher") / "teacher", **fields)


def package(teacher, texts, folder, *, factor=1, **student):
    """Cut a pair out of the teacher and package it: its folder, the token map and the facts."""
    recipe = Recipe.make(
        {
            "name": "pair",
            "source": {"code": "en", "name": "English", "text": texts["en"]},
            "target": {"code": "sw", "name": "Swahili", "text": texts["sw"]},
            "teacher": {"model": str(teacher)},
            "license": "mit",
            "limits": "For tests.",
            "student": {"layer_reduction_factor": factor, "min_token_probability": 2e-3, **student},
            "bilingual": {"steps": 0},
        }
    )
    (folder / "student").mkdir()
    facts = cut_student(recipe, folder / "student", progress=False)
    lay_out(recipe, folder / "pair", folder / "student", {})
    return folder / "pair", load_file(folder / "student" / "token_map.safetensors")["token_map"], facts


@pytest.fixture(scope="module")
def trimmed(teacher, texts, tmp_path_factory):
    return package(teacher, texts, tmp_path_factory.mktemp("trimmed"))


def kept_lines(teacher, token_map, lines):
    """Lines all of whose pieces are kept, with the last piece that begins a word masked."""
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    kept = set(token_map.tolist())
    found = [line for line in lines if set(tokenizer(line)["input_ids"]) <= kept]
    return [" ".join([*line.split()[:-1], f"{tokenizer.mask_token}."]) for line in found]


def logits(place, lines, model=None):
    """Ids and logits of each line, which has no padding."""
    model = model or AutoModelForMaskedLM.from_pretrained(place).eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    found = []
    for line in lines:
        inputs = tokenizer(line, return_tensors="pt")
        with torch.no_grad():
            found.append((inputs["input_ids"][0], model(**inputs).logits[0]))
    return found


def test_every_backbone_has_a_tokenizer_here():
    assert set(TOKENIZERS) == set(BACKBONES)


def test_a_kept_head_gives_the_teacher_s_logits_at_the_kept_tokens(teacher, trimmed, world_lines):
    pair, token_map, facts = trimmed
    assert facts["language_modelling_head"] is True
    lines = kept_lines(teacher, token_map, world_lines["en"] + world_lines["sw"])[:10]
    assert len(lines) == 10
    model = AutoModelForMaskedLM.from_pretrained(pair).eval()
    assert len(token_map) < AutoModelForMaskedLM.from_pretrained(teacher).config.vocab_size
    rows = {each.data_ptr() for each in model.parameters() if each.ndim == 2 and len(each) == len(token_map)}
    assert len(rows) == (1 if model.config.tie_word_embeddings else 2)
    for (ids, found), (old_ids, expected) in zip(logits(pair, lines, model), logits(teacher, lines), strict=True):
        assert torch.equal(token_map[ids], old_ids)
        torch.testing.assert_close(found, expected[:, token_map], atol=1e-5, rtol=1e-5)


def test_the_pipeline_fills_masks_with_the_teacher_s_best_kept_tokens(teacher, trimmed, world_lines):
    pair, token_map, _ = trimmed
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    fill = pipeline("fill-mask", model=str(pair), device="cpu")
    for line in kept_lines(teacher, token_map, world_lines["sw"])[:3]:
        ((ids, expected),) = logits(teacher, [line])
        place = (ids == tokenizer.mask_token_id).nonzero().item()
        best = expected[place, token_map].softmax(-1).topk(5)
        guesses = fill(line)
        assert token_map[[guess["token"] for guess in guesses]].tolist() == token_map[best.indices].tolist()
        assert [guess["token_str"] for guess in guesses] == [
            tokenizer.decode([identifier]) for identifier in token_map[best.indices].tolist()
        ]
        assert [guess["score"] for guess in guesses] == pytest.approx(best.values.tolist(), rel=1e-4)


@each_backbone
def test_fewer_layers_keep_the_head_whole(teacher, texts, tmp_path):
    pair, token_map, _ = package(teacher, texts, tmp_path, factor=2)
    model, info = AutoModelForMaskedLM.from_pretrained(pair, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    whole = AutoModelForMaskedLM.from_pretrained(teacher)
    prefix = f"{whole.base_model_prefix}."
    rows = whole.config.vocab_size
    for name, tensor in whole.state_dict().items():
        if not name.startswith(prefix):
            expected = tensor[token_map] if tensor.shape[0] == rows else tensor
            assert torch.equal(model.state_dict()[name], expected), name


@each_backbone
def test_a_head_that_is_left_out_is_not_there(teacher, texts, tmp_path):
    pair, _, facts = package(teacher, texts, tmp_path, keep_language_modelling_head=False)
    assert facts["language_modelling_head"] is False
    prefix = AutoModel.from_pretrained(pair).base_model_prefix
    assert {name.partition(".")[0] for name in load_file(pair / "model.safetensors")} == {prefix}
    with pytest.raises(ValueError, match=r"no language-modelling head was published\. There is: the encoder"):
        AutoModelForMaskedLM.from_pretrained(pair)
    with pytest.raises(ValueError, match="no language-modelling head was published"):
        pipeline("fill-mask", model=str(pair))
