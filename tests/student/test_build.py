import copy

import pytest
import torch
from transformers import (
    BertForMaskedLM,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertModel,
    XLMRobertaForMaskedLM,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)

from bistill_hub.errors import InputError
from bistill_hub.student import build_student
from bistill_hub.student.backbones import BACKBONES
from bistill_hub.student.build import cut_config, cut_model, cut_state_dict, trim_vocabulary
from bistill_hub.student.token_counts import count_tokens
from bistill_hub.student.vocabulary import select_tokens

BERT = [BertModel, BertForMaskedLM, BertForPreTraining, BertForTokenClassification, BertForQuestionAnswering]
XLM_R = [XLMRobertaModel, XLMRobertaForMaskedLM, XLMRobertaForSequenceClassification]
every_model = pytest.mark.parametrize("model_class", BERT + XLM_R)
masked_lm = pytest.mark.parametrize("model_class", [BertForMaskedLM, XLMRobertaForMaskedLM])
encoder = pytest.mark.parametrize("model_class", [BertModel, XLMRobertaModel])


@pytest.fixture
def tokenizer(model_class, request):
    return request.getfixturevalue("wordpiece" if model_class in BERT else "unigram")


@pytest.fixture
def teacher(model_class, tokenizer, make_teacher):
    return make_teacher(model_class, tokenizer)


@pytest.fixture
def corpora(text):
    return {"en": text["en"], "sw": text["sw"]}


@pytest.fixture
def token_map(tokenizer, corpora):
    return select_tokens(tokenizer, {language: count_tokens(tokenizer, lines) for language, lines in corpora.items()})


def outputs_on_the_same_text(teacher, tokenizer, student, student_tokenizer, lines):
    """Outputs of both on one padded batch of text, each with its own tokenizer's ids."""
    with torch.no_grad():
        before = teacher(**tokenizer(lines, padding=True, return_tensors="pt"), output_hidden_states=True)
        after = student(**student_tokenizer(lines, padding=True, return_tensors="pt"), output_hidden_states=True)
    return before, after


def test_the_readme_name_is_the_function_of_build():
    import bistill_hub.student
    from bistill_hub.student.build import StudentParts

    assert bistill_hub.student.StudentParts is StudentParts
    with pytest.raises(AttributeError, match="nothing"):
        _ = bistill_hub.student.nothing


# Factor 1: the teacher with a smaller vocabulary


@every_model
def test_a_factor_of_one_gives_the_teachers_outputs_bit_for_bit(teacher, tokenizer, corpora):
    student, student_tokenizer, token_map, _ = build_student(teacher, tokenizer, corpora, layer_reduction_factor=1)
    assert len(token_map) < len(tokenizer)
    for lines in corpora.values():
        before, after = outputs_on_the_same_text(teacher, tokenizer, student, student_tokenizer, lines)
        assert len(after.hidden_states) == len(before.hidden_states) == teacher.config.num_hidden_layers + 1
        for hidden_before, hidden_after in zip(before.hidden_states, after.hidden_states, strict=True):
            assert torch.equal(hidden_before, hidden_after)
        assert before.keys() == after.keys()
        for name in before.keys() - {"hidden_states"}:
            expected = before[name]
            if expected.shape[-1] == len(tokenizer):  # logits over the vocabulary
                expected = expected[..., token_map]
            assert torch.equal(expected, after[name]), name


@masked_lm
def test_a_trimmed_teacher_keeps_class_mode_and_dropout_and_gives_the_kept_logits(teacher, tokenizer, token_map):
    trimmed = trim_vocabulary(teacher, token_map)
    assert type(trimmed) is type(teacher)
    assert not trimmed.training
    assert trimmed.config.hidden_dropout_prob == teacher.config.hidden_dropout_prob == 0.1
    ids = torch.randint(len(token_map), (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(trimmed(input_ids=ids).logits, teacher(input_ids=token_map[ids]).logits[..., token_map])


# Fewer layers


@every_model
def test_each_student_parameter_is_the_teachers_of_the_mapped_layer_and_tokens(teacher, tokenizer, corpora):
    student, student_tokenizer, token_map, layer_map = build_student(teacher, tokenizer, corpora)
    assert layer_map == (1, 3)
    assert type(student) is type(teacher)
    assert student.config.num_hidden_layers == 2
    assert student.config.vocab_size == len(student_tokenizer) == len(token_map)
    source = teacher.state_dict()
    for name, tensor in student.state_dict().items():
        original = source[name.replace("layer.1.", "layer.3.").replace("layer.0.", "layer.1.")]
        if original.shape[0] == len(tokenizer):
            original = original[token_map]
        assert torch.equal(tensor, original), name
    assert len(student.state_dict()) < len(source)


@encoder
def test_an_explicit_layer_map_wins(teacher, tokenizer, corpora):
    parts = build_student(teacher, tokenizer, corpora, layer_reduction_factor=2, layer_map=[0, 2, 3])
    assert parts.layer_map == (0, 2, 3)
    assert parts.model.config.num_hidden_layers == 3
    name = "encoder.layer.1.output.dense.weight"
    assert torch.equal(parts.model.state_dict()[name], teacher.state_dict()["encoder.layer.2.output.dense.weight"])


@every_model
def test_the_student_has_no_dropout_and_the_teacher_keeps_its_own(teacher, tokenizer, corpora):
    student = build_student(teacher, tokenizer, corpora).model
    assert {module.p for module in student.modules() if isinstance(module, torch.nn.Dropout)} == {0.0}
    assert student.config.hidden_dropout_prob == student.config.attention_probs_dropout_prob == 0.0
    assert student.config.classifier_dropout == 0.0
    assert {module.p for module in teacher.modules() if isinstance(module, torch.nn.Dropout)} == {0.1}
    assert (teacher.config.num_hidden_layers, teacher.config.vocab_size) == (4, len(tokenizer))


@encoder
def test_special_ids_of_the_config_are_those_of_the_new_tokenizer(teacher, tokenizer, corpora):
    teacher.config.sep_token_id = tokenizer.sep_token_id
    teacher.config.eos_token_id = [tokenizer.sep_token_id, tokenizer.mask_token_id]
    student, new, _, _ = build_student(teacher, tokenizer, corpora)
    assert student.config.pad_token_id == new.pad_token_id == student.embeddings.word_embeddings.padding_idx
    assert student.config.sep_token_id == new.sep_token_id
    assert student.config.eos_token_id == [new.sep_token_id, new.mask_token_id]
    assert new.mask_token_id != tokenizer.mask_token_id
    assert student.config.bos_token_id == new.bos_token_id


# Copies


@every_model
def test_no_storage_is_shared_with_the_teacher(teacher, token_map):
    for copied in (trim_vocabulary(teacher, token_map), cut_model(teacher, None, (1, 3)), cut_model(teacher)):
        theirs = {tensor.untyped_storage().data_ptr() for tensor in teacher.state_dict().values()}
        assert theirs.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in copied.state_dict().values())


@pytest.mark.parametrize("model_class", [BertForMaskedLM, BertForPreTraining, XLMRobertaForMaskedLM])
@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_are_tied_where_the_teachers_are(model_class, tokenizer, token_map, make_teacher, tied):
    teacher = make_teacher(model_class, tokenizer, tie_word_embeddings=tied)
    trimmed = trim_vocabulary(teacher, token_map)
    for model in (teacher, trimmed):
        assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
    assert len(list(trimmed.parameters())) == len(list(teacher.parameters()))
    assert trimmed.get_output_embeddings().weight.shape[0] == len(token_map)
    if not tied:
        expected = teacher.get_output_embeddings().weight[token_map]
        assert torch.equal(trimmed.get_output_embeddings().weight, expected)


@every_model
def test_a_saved_student_loads_without_missing_or_unexpected_weights(teacher, tokenizer, corpora, tmp_path):
    student = build_student(teacher, tokenizer, corpora).model
    student.save_pretrained(tmp_path)
    loaded, report = type(student).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, student.state_dict()[name]), name


@encoder
def test_a_base_model_without_a_pooler_stays_without_one(model_class, tokenizer, make_teacher, token_map):
    teacher = make_teacher(model_class, tokenizer)
    headless = model_class(teacher.config, add_pooling_layer=False).eval()
    assert trim_vocabulary(headless, token_map).pooler is None
    assert trim_vocabulary(teacher, token_map).pooler is not None


@masked_lm
def test_dtypes_attention_and_mode_are_the_teachers(model_class, tokenizer, make_teacher, token_map):
    teacher = make_teacher(model_class, tokenizer, attn_implementation="eager").to(torch.bfloat16).train()
    teacher.base_model.embeddings.LayerNorm.float()
    teacher.requires_grad_(False)
    copied = cut_model(teacher, token_map, (0, 1))
    assert {name: tensor.dtype for name, tensor in copied.state_dict().items()} == {
        name: tensor.dtype for name, tensor in teacher.state_dict().items() if name in copied.state_dict()
    }
    assert copied.config._attn_implementation == "eager"
    assert copied.training
    assert all(parameter.requires_grad for parameter in copied.parameters())


@encoder
def test_cutting_draws_no_random_numbers_and_leaves_the_teacher_as_it_was(teacher, tokenizer, corpora):
    before = copy.deepcopy(teacher.state_dict())
    state = torch.get_rng_state()
    build_student(teacher, tokenizer, corpora)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


@encoder
def test_a_trained_student_leaves_its_teacher_alone(teacher, tokenizer, corpora, text):
    before = copy.deepcopy(teacher.state_dict())
    student, new, _, _ = build_student(teacher, tokenizer, corpora, layer_reduction_factor=4)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    student.train()(**new(text["sw"], padding=True, return_tensors="pt")).last_hidden_state.square().mean().backward()
    optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_a_state_dict_is_cut_with_and_without_the_prefix_and_keeps_everything_else(wordpiece, make_teacher, prefix):
    state = {prefix + name: tensor for name, tensor in make_teacher(BertModel, wordpiece).state_dict().items()}
    state["classifier.weight"] = torch.ones(3, 32)
    cut = cut_state_dict(state, BACKBONES["bert"], torch.tensor([0, 5, 9]), (2,))
    assert cut[f"{prefix}embeddings.word_embeddings.weight"].shape == (3, 32)
    kept = f"{prefix}encoder.layer.0.attention.self.key.weight"
    assert torch.equal(cut[kept], state[kept.replace("layer.0.", "layer.2.")])
    assert not any("layer.1." in name for name in cut)
    assert torch.equal(cut["classifier.weight"], state["classifier.weight"])
    assert cut_state_dict(state, BACKBONES["bert"]).keys() == state.keys()


# Vocabularies of another size than the embedding


@masked_lm
def test_padded_embedding_rows_are_dropped(model_class, tokenizer, corpora, make_teacher):
    teacher = make_teacher(model_class, tokenizer, extra_rows=12)
    student, _, token_map, _ = build_student(teacher, tokenizer, corpora, min_token_probability=0.0)
    assert student.config.vocab_size == len(tokenizer) == len(token_map)
    assert student.get_output_embeddings().bias.shape == (len(tokenizer),)


@masked_lm
def test_a_tokenizer_larger_than_the_embedding_is_refused(model_class, tokenizer, corpora, make_teacher, token_map):
    teacher = make_teacher(model_class, tokenizer, extra_rows=-2)
    with pytest.raises(InputError, match=f"only {len(tokenizer) - 2} embedding rows"):
        build_student(teacher, tokenizer, corpora)
    with pytest.raises(InputError, match="token_map"):
        trim_vocabulary(teacher, torch.cat([token_map[token_map < len(tokenizer) - 1], torch.tensor([len(tokenizer)])]))


# What is refused


@encoder
def test_a_corpus_that_can_be_read_only_once_is_refused_by_its_language(teacher, tokenizer, text):
    with pytest.raises(InputError, match=r"corpora\['sw'\].*only once"):
        build_student(teacher, tokenizer, {"en": text["en"], "sw": iter(text["sw"])})
    with pytest.raises(InputError, match="no corpus"):
        build_student(teacher, tokenizer, {})
    with pytest.raises(InputError, match="corpus of sw holds no token"):
        build_student(teacher, tokenizer, {"en": text["en"], "sw": []})


@encoder
def test_layers_that_cannot_be_chosen_so_are_refused(teacher, tokenizer, corpora):
    with pytest.raises(InputError, match=r"4 layers.*\[1, 2, 4\]"):
        build_student(teacher, tokenizer, corpora, layer_reduction_factor=3)
    with pytest.raises(InputError, match="layer_map"):
        cut_model(teacher, None, (1, 4))


@encoder
def test_missing_unexpected_and_misshapen_weights_are_refused(teacher, token_map):
    unexpected = copy.deepcopy(teacher)
    unexpected.embeddings.extra = torch.nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"embeddings\.extra\.weight.*unexpected"):
        trim_vocabulary(unexpected, token_map)
    missing = copy.deepcopy(teacher)
    missing.encoder.layer[3].output.dense.bias = None
    with pytest.raises(InputError, match="missing"):
        trim_vocabulary(missing, token_map)
    misshapen = copy.deepcopy(teacher)
    misshapen.config.intermediate_size = 24
    with pytest.raises(InputError, match="misshapen"):
        trim_vocabulary(misshapen, token_map)


@masked_lm
def test_weights_that_the_config_ties_but_that_differ_are_refused(teacher, token_map):
    output = teacher.get_output_embeddings()
    output.weight = torch.nn.Parameter(output.weight.detach() + 1)
    with pytest.raises(InputError, match=r"decoder\.weight.*tied to another"):
        trim_vocabulary(teacher, token_map)


@encoder
def test_a_special_id_of_the_config_that_is_not_kept_is_refused_by_its_field(teacher, token_map):
    dropped = next(identifier for identifier in range(teacher.config.vocab_size) if identifier not in token_map)
    teacher.config.eos_token_id = dropped
    with pytest.raises(InputError, match=f"eos_token_id = {dropped}"):
        cut_config(teacher.config, token_map)


def test_a_padding_id_that_would_move_is_refused_where_positions_are_counted_from_it(unigram, make_teacher):
    config = make_teacher(XLMRobertaModel, unigram).config
    config.bos_token_id = None
    with pytest.raises(InputError, match="every position would move"):
        cut_config(config, torch.tensor([config.pad_token_id, *range(2, 50)]), None)
