"""Every architecture with every head is cut the same way, and no copy loses or gains a parameter in silence."""

import pytest
import torch
from tiny_models import HEADS, SPECIAL_IDS, VARIANTS, class_of, padded_batch, tiny_model

from bistill_hub.errors import InputError
from bistill_hub.student import build_student
from bistill_hub.student.backbones import BACKBONES, backbone_for
from bistill_hub.student.build import config_of_size, cut_config, cut_model, cut_state_dict, trim_vocabulary

ROWS = 77
TOKEN_MAP = torch.tensor([0, 1, 2, *range(3, ROWS, 2)])

every_variant = pytest.mark.parametrize("variant", VARIANTS)
every_model = pytest.mark.parametrize(
    ("variant", "head"),
    [(variant, head) for variant in VARIANTS for head in (HEADS if variant in BACKBONES else HEADS[:2])],
)
each_backbone = pytest.mark.parametrize("backbone", BACKBONES)


def teacher_of(variant, head="Model", **options):
    model_type, fields = VARIANTS[variant]
    return tiny_model(class_of(model_type, head), ROWS, **{**fields, **options})


def folded(backbone, name):
    """Whether a parameter of a new first layer takes over what a norm did that has no place there."""
    first = backbone.first_layer
    return first is not None and f"{backbone.layer_prefix}0.{first.absorbed_by}." in name


def test_the_tests_know_every_supported_architecture():
    assert {model_type for model_type, _ in VARIANTS.values()} == set(BACKBONES)


# No copy leaves a missing or an unexpected key


@every_model
def test_every_parameter_is_the_teachers_of_the_mapped_layer_and_tokens(variant, head):
    teacher = teacher_of(variant, head)
    for layer_map in ((1, 3), (0, 2), (2,), (1, 2, 3), None):
        check_copy(teacher, layer_map)


def check_copy(teacher, layer_map):
    """Compare a copy with the teacher parameter by parameter, and account for every one of the teacher's."""
    backbone = backbone_for(teacher.config)
    student = cut_model(teacher, TOKEN_MAP, layer_map)
    source, copied = teacher.state_dict(), student.state_dict()
    kept = layer_map or range(4)
    used = set()
    for name, tensor in copied.items():
        layer = backbone.layer_of(name)
        original = name if layer is None else backbone.in_layer(name, kept[layer])
        used.add(original)
        expected = source[original]
        if expected.shape[0] == ROWS:
            expected = expected[TOKEN_MAP]
        if layer == 0 and kept[0] > 0 and folded(backbone, name):
            assert not torch.equal(tensor, expected), name
        else:
            assert torch.equal(tensor, expected), name
    unused = {name for name in source if backbone.layer_of(name) is None or backbone.layer_of(name) in kept} - used
    declared = f"{backbone.layer_prefix}{kept[0]}.{backbone.first_layer.lacks}." if backbone.first_layer else None
    lost = {name for name in source if declared and kept[0] > 0 and declared in name}
    assert unused == lost
    assert type(student) is type(teacher)
    assert {parameter.requires_grad for parameter in student.parameters()} == {True}


@every_model
def test_a_saved_copy_loads_through_the_architectures_own_class_as_it_is(variant, head, tmp_path):
    student = cut_model(teacher_of(variant, head), TOKEN_MAP, (1, 2), dropout=0.0)
    student.save_pretrained(tmp_path)
    loaded, report = type(student).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert loaded.state_dict().keys() == student.state_dict().keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, student.state_dict()[name]), name
    batch = padded_batch(len(TOKEN_MAP))
    with torch.no_grad():
        for one, other in zip(student(**batch).to_tuple(), loaded(**batch).to_tuple(), strict=True):
            assert torch.equal(one, other)


@each_backbone
def test_a_parameter_too_many_or_too_few_is_refused(backbone):
    extra = teacher_of(backbone)
    extra.get_input_embeddings().extra = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(InputError, match="unexpected"):
        cut_model(extra, TOKEN_MAP, (1, 3))
    layer = BACKBONES[backbone].layer_prefix.strip(".")
    lacking = teacher_of(backbone)
    norm = next(
        module for module in lacking.get_submodule(f"{layer}.3").modules() if isinstance(module, torch.nn.LayerNorm)
    )
    norm.weight = None
    with pytest.raises(InputError, match="missing"):
        cut_model(lacking, TOKEN_MAP, (1, 3))


# The outputs


@every_model
def test_with_all_layers_the_outputs_are_the_teachers_bit_for_bit(variant, head):
    teacher = teacher_of(variant, head)
    trimmed = trim_vocabulary(teacher, TOKEN_MAP)
    batch = padded_batch(len(TOKEN_MAP))
    with torch.no_grad():
        before = teacher(**{**batch, "input_ids": TOKEN_MAP[batch["input_ids"]]}, output_hidden_states=True)
        after = trimmed(**batch, output_hidden_states=True)
    assert before.keys() == after.keys()
    assert len(after.hidden_states) == len(before.hidden_states) == 5
    for name in before.keys() - {"hidden_states"}:
        expected = before[name][..., TOKEN_MAP] if before[name].shape[-1] == ROWS else before[name]
        assert torch.equal(after[name], expected), name
    for one, other in zip(after.hidden_states, before.hidden_states, strict=True):
        assert torch.equal(one, other)


@every_variant
@pytest.mark.parametrize("kept", [1, 2, 3])
def test_the_bottom_layers_compute_what_they_do_in_the_teacher(variant, kept):
    teacher = teacher_of(variant)
    student = cut_model(teacher, None, range(kept))
    batch = padded_batch(ROWS)
    with torch.no_grad():
        before = teacher(**batch, output_hidden_states=True).hidden_states
        after = student(**batch, output_hidden_states=True).hidden_states
        norm = backbone_for(teacher.config).final_norm
        last = teacher.get_submodule(norm)(before[kept]) if norm else before[kept]
    assert all(torch.equal(one, other) for one, other in zip(after[:-1], before, strict=False))
    assert torch.equal(after[-1], last)


# The config


@every_model
def test_no_dropout_is_left_in_a_student(variant, head, monkeypatch):
    probabilities = set()

    def recorded(values, p=0.5, training=True, inplace=False):
        probabilities.add(p if training else 0.0)
        return values

    backbone = BACKBONES[VARIANTS[variant][0]]
    teacher = teacher_of(variant, head)
    given = {field: 0.25 for field in (*backbone.dropout_fields, "cls_dropout") if hasattr(teacher.config, field)}
    teacher = teacher_of(variant, head, **given, **({"cls_dropout": 0.25} if "deberta" in variant else {}))
    monkeypatch.setattr(torch.nn.functional, "dropout", recorded)
    for model in (cut_model(teacher, TOKEN_MAP, (1, 3), dropout=0.0), trim_vocabulary(teacher, TOKEN_MAP)):
        probabilities.clear()
        model.set_attn_implementation("eager")
        model.train()(**padded_batch(len(TOKEN_MAP)))
        assert probabilities == ({0.0} if model.config.num_hidden_layers == 2 else {0.25})


@every_variant
def test_the_config_says_what_was_cut_under_its_own_names(variant):
    config = teacher_of(variant).config
    cut = cut_config(config, TOKEN_MAP, (1, 3))
    assert (cut.num_hidden_layers, cut.vocab_size) == (2, len(TOKEN_MAP))
    assert (config.num_hidden_layers, config.vocab_size) == (4, ROWS)
    changed = {name for name in cut.to_dict() if cut.to_dict()[name] != config.to_dict()[name]}
    names = {config.attribute_map.get("num_hidden_layers", "num_hidden_layers"), "vocab_size"}
    assert changed == names | ({"layer_types"} if config.model_type == "modernbert" else set())


def test_fields_that_an_architecture_does_not_have_are_not_made_up():
    config = cut_config(teacher_of("distilbert").config, dropout=0.0)
    assert (config.dropout, config.attention_dropout, config.qa_dropout, config.seq_classif_dropout) == (0, 0, 0, 0)
    assert not hasattr(config, "hidden_dropout_prob")
    assert not hasattr(cut_config(teacher_of("deberta-v2").config, dropout=0.0), "cls_dropout")


@pytest.mark.parametrize(
    ("variant", "last"),
    # XLM-R counts positions from its padding id, which has to be one of the first.
    [(variant, last) for variant in VARIANTS for last in (False, True) if variant != "xlm-roberta" or not last],
)
def test_a_model_can_be_made_whose_tokens_are_not_chosen_yet(variant, last):
    ids = {name: ROWS - 1 - value for name, value in SPECIAL_IDS.items()}
    backwards = {**ids, "eos_token_id": [ids["eos_token_id"]]}
    config = teacher_of(variant, special_ids=backwards if last else SPECIAL_IDS).config
    cut = config_of_size(config, 20, (1, 3), dropout=0.0)
    model = class_of(config.model_type)(cut)
    assert len(model.get_input_embeddings().weight) == cut.vocab_size == 20
    assert cut.num_hidden_layers == 2
    assert cut.pad_token_id == (18 if last else 1)
    assert cut.eos_token_id == ([17] if last else 2)
    with torch.no_grad():
        assert model.eval()(**padded_batch(20)).last_hidden_state.isfinite().all()


@pytest.mark.parametrize(("layer_map", "kinds"), [((1, 3), "lg"), ((2,), "l"), ((0, 3), "gg"), ((0, 1, 2, 3), "gllg")])
def test_each_kept_layer_keeps_its_local_or_global_kind(layer_map, kinds):
    names = {"l": "sliding_attention", "g": "full_attention"}
    teacher = teacher_of("modernbert")
    student = cut_model(teacher, None, layer_map)
    assert student.config.layer_types == [names[kind] for kind in kinds]
    assert [layer.attention_type for layer in student.layers] == student.config.layer_types
    # A rule of the whole teacher would contradict the list for whoever computes the kinds from it.
    assert teacher.config.global_attn_every_n_layers == 3
    assert not hasattr(student.config, "global_attn_every_n_layers")
    half = teacher.config.local_attention // 2
    with torch.no_grad():
        student.set_attn_implementation("eager")
        seen = student(input_ids=torch.arange(3, 33)[None], output_attentions=True).attentions
    positions = torch.arange(30)
    near = (positions[:, None] - positions[None, :]).abs() <= half
    for kind, attention in zip(kinds, seen, strict=True):
        assert torch.equal((attention[0] > 0).all(dim=0), near if kind == "l" else torch.ones(30, 30, dtype=torch.bool))


# A layer that becomes the first of an architecture whose first layer has no norm


def spread_out(model, seed=0):
    """Scales of norms far from 1 and from one another, and word embeddings of unequal length, as trained ones are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if backbone_for(model.config).is_layer_norm(name):
                values = 0.6 * torch.randn(parameter.shape, generator=generator)
                parameter.copy_(values.exp() if name.endswith("weight") else values)
        words = model.get_input_embeddings().weight
        words.mul_(torch.exp(0.5 * torch.randn(len(words), 1, generator=generator)))
        words.add_(0.3)  # so that taking the mean off matters
    return model


def normed_first(teacher, layer, ids):
    """What a layer of the teacher computes on the embeddings' output, with its own norm."""
    hidden = teacher.embeddings(ids)
    block = teacher.layers[layer]
    position = teacher.rotary_emb(hidden, torch.arange(ids.shape[1])[None], block.attention_type)
    distance = (torch.arange(ids.shape[1])[:, None] - torch.arange(ids.shape[1])[None, :]).abs()
    mask = torch.where(distance <= 4, 0.0, torch.finfo(torch.float32).min)[None, None]
    return block(
        hidden, attention_mask=mask if "sliding" in block.attention_type else None, position_embeddings=position
    )


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("biases", [False, True], ids=["without biases", "with biases"])
def test_a_layer_moved_to_the_front_stays_near_to_what_it_computed_with_its_norm(layer, biases):
    teacher = spread_out(teacher_of("modernbert with biases" if biases else "modernbert"))
    ids = torch.randint(3, ROWS, (6, 24), generator=torch.Generator().manual_seed(1))
    plain = type(teacher)(cut_config(teacher.config, None, (layer,))).eval()
    plain.load_state_dict(cut_state_dict(teacher.state_dict(), backbone_for(teacher.config), None, (layer,)))
    with torch.no_grad():
        exact = normed_first(teacher, layer, ids)
        before = teacher.embeddings(ids)

        def distance(student):
            student.final_norm = torch.nn.Identity()
            return float((student(input_ids=ids).last_hidden_state - exact).norm() / (exact - before).norm())

        without, absorbed = distance(plain), distance(cut_model(teacher, None, (layer,)))
    assert without > 0.3
    assert absorbed < 0.4 * without


@pytest.mark.parametrize("variant", ["modernbert", "modernbert with biases"])
def test_where_the_embeddings_are_of_equal_spread_nothing_is_lost(variant):
    teacher = spread_out(teacher_of(variant))
    with torch.no_grad():
        teacher.embeddings.norm.weight.fill_(1.7)
        if teacher.embeddings.norm.bias is not None:
            teacher.embeddings.norm.bias.fill_(0.4)
        teacher.embeddings.tok_embeddings.weight.mul_(100)  # so that the norm's epsilon does not count
    ids = torch.randint(3, ROWS, (4, 24), generator=torch.Generator().manual_seed(1))
    student = cut_model(teacher, None, (2,))
    student.final_norm = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(student(input_ids=ids).last_hidden_state, normed_first(teacher, 2, ids))


def test_the_scale_is_that_of_the_students_own_tokens():
    teacher = spread_out(teacher_of("modernbert"))
    name = "layers.0.attn.Wqkv.weight"
    whole, some = (cut_model(teacher, rows, (1, 3)).state_dict()[name] for rows in (None, TOKEN_MAP))
    ratio = (some / whole).flatten()
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-3, atol=0)
    with torch.no_grad():
        read = teacher.embeddings(TOKEN_MAP[None])[0]
    deviation = (read - read.mean(dim=1, keepdim=True)).square().mean(dim=1).sqrt()
    scaled = teacher.layers[1].attn.Wqkv.weight * teacher.layers[1].attn_norm.weight
    centring = torch.eye(32) - torch.full((32, 32), 1 / 32)
    torch.testing.assert_close(
        some, deviation.sum() / deviation.square().sum() * scaled @ centring, rtol=1e-3, atol=1e-5
    )


def test_a_norm_whose_bias_nothing_can_hold_is_refused():
    teacher = teacher_of("modernbert", norm_bias=True)
    with pytest.raises(InputError, match=r"layer_map = 1: .*attn_norm has a bias.*layer 0 as the first"):
        cut_model(teacher, None, (1, 3))
    assert cut_model(teacher, None, (0, 3)).config.num_hidden_layers == 2


def test_tokens_beyond_the_embedding_are_refused_before_the_norm_is_absorbed():
    with pytest.raises(InputError, match="token_map"):
        cut_model(teacher_of("modernbert"), torch.tensor([0, 1, 2, ROWS]), (1, 3))


# From text to student


@each_backbone
def test_a_student_of_chosen_layers_is_built_from_text(backbone, unigram, make_teacher, text):
    teacher = make_teacher(class_of(backbone, "ForMaskedLM"), unigram, num_layers=5, extra_rows=3)
    corpora = {language: text[language] for language in ("en", "sw")}
    student, tokenizer, token_map, layer_map = build_student(
        teacher, unigram, corpora, layers=2, layer_choice="top", min_token_probability=1e-4
    )
    assert layer_map == (3, 4)
    assert student.config.vocab_size == len(tokenizer) == len(token_map) == len(student.get_input_embeddings().weight)
    assert student.config.pad_token_id == tokenizer.pad_token_id
    batch = tokenizer(text["sw"], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert student(**batch).logits.isfinite().all()


@pytest.mark.parametrize(("backbone", "types"), [("bert", True), ("distilbert", False)])
def test_a_tokenizer_gives_what_its_model_reads(backbone, types, wordpiece, make_teacher, text):
    teacher = make_teacher(class_of(backbone), wordpiece)
    parts = build_student(
        teacher,
        wordpiece,
        {language: text[language] for language in ("en", "sw")},
        vocabulary_size=300,
        vocabulary_multiple_of=64,
        must_keep=["Дети"],
    )
    assert "token_type_ids" in wordpiece.model_input_names
    assert ("token_type_ids" in parts.tokenizer.model_input_names) == types
    assert ("token_type_ids" in parts.tokenizer("Maji ni uhai", "Water is life")) == types
    assert parts.tokenizer.unk_token_id not in parts.tokenizer("Дети")["input_ids"]
    assert len(parts.tokenizer) == parts.model.config.vocab_size == 320
