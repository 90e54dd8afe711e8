"""A pair's configuration is its backbone's, flat: what goes in comes out, and what cannot be read is refused."""

import json

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoConfig

import bistill_hub
from bistill_hub import BistillConfig
from bistill_hub.model.configuration_bistill import FORMAT_VERSION

# For each backbone values that are not its defaults, under its own names.
BACKBONES = {
    "bert": {
        "vocab_size": 99,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "hidden_dropout_prob": 0.0,
        "layer_norm_eps": 1e-6,
        "classifier_dropout": 0.25,
        "pad_token_id": 3,
        "dtype": torch.bfloat16,
    },
    "xlm-roberta": {
        "vocab_size": 99,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "pad_token_id": 7,
        "bos_token_id": None,
        "eos_token_id": 8,
    },
    "distilbert": {
        "vocab_size": 99,
        "dim": 32,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 48,
        "dropout": 0.0,
        "activation": "relu",
        "qa_dropout": 0.3,
        "sinusoidal_pos_embds": True,
        "tie_word_embeddings": False,
    },
    "deberta-v2": {  # as mDeBERTa-v3 has them
        "vocab_size": 99,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_buckets": 16,
        "max_relative_positions": -1,
        "conv_kernel_size": 3,
        "legacy": False,
    },
    "modernbert": {
        "vocab_size": 99,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        "local_attention": 16,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "rope_parameters": {
            "full_attention": {"rope_theta": 10_000.0, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 500.0, "rope_type": "default"},
        },
    },
}
PAIR = {
    "source_language": "en",
    "target_language": "sw",
    "teacher": "google-bert/bert-base-multilingual-cased",
    "teacher_revision": "3f076fdb1ab68d5b2880cb87a0886f315b8146f8",
    "layer_map": [1, 3, 5],
    "vocabulary": {"teacher_size": 119_547, "size": 99, "min_token_probability": 1e-6},
    "tasks": {
        "pos": {"head": "token-classification", "labels": ["NOUN", "VERB"]},
        "ner": {"head": "token-classification", "labels": ["O", "B-PER", "I-PER"]},
        "qa": {"head": "question-answering", "labels": []},
    },
    "default_tasks": {"token-classification": "ner"},
    "language_modelling_head": True,
    "base_sha256": "0" * 64,
    "written_by": bistill_hub.__version__,
}
each_backbone = pytest.mark.parametrize("backbone", BACKBONES)


def native_and_pair(backbone, changed=True):
    native = AutoConfig.for_model(backbone, **(BACKBONES[backbone] if changed else {}))
    return native, BistillConfig.from_backbone(native, **PAIR)


def reloaded(config, folder):
    config.save_pretrained(folder)
    return AutoConfig.from_pretrained(folder)


def assert_same(found, native):
    """Every field equal and of the same kind, but for the folder that a configuration was read from."""
    assert type(found) is type(native)
    found.name_or_path = native.name_or_path
    assert found.__dict__ == native.__dict__
    assert found == native


@each_backbone
@pytest.mark.parametrize("changed", [True, False], ids=["own values", "defaults"])
def test_the_backbones_configuration_comes_out_as_it_went_in(backbone, changed, tmp_path):
    native, config = native_and_pair(backbone, changed)
    assert_same(config.backbone_config(), native)
    assert_same(reloaded(config, tmp_path).backbone_config(), native)


@each_backbone
def test_what_is_left_out_of_config_json_has_the_backbones_default(backbone, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bistill", "backbone_type": backbone}))
    assert_same(AutoConfig.from_pretrained(tmp_path).backbone_config(), CONFIG_MAPPING[backbone]())


@each_backbone
def test_the_pairs_own_fields_survive_the_disk(backbone, tmp_path):
    _, config = native_and_pair(backbone)
    loaded = reloaded(config, tmp_path)
    assert type(loaded) is BistillConfig
    for name, value in {**PAIR, "backbone_type": backbone, "format_version": FORMAT_VERSION}.items():
        assert getattr(loaded, name) == value, name
    loaded.name_or_path = config.name_or_path
    assert loaded.to_dict() == config.to_dict()
    assert loaded.tasks_of("token-classification") == ["ner", "pos"]
    assert loaded.tasks_of("sequence-classification") == []


@each_backbone
def test_fields_answer_to_the_common_names_and_to_the_backbones_own(backbone, tmp_path):
    native, config = native_and_pair(backbone)
    for each in (config, reloaded(config, tmp_path)):
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
            assert getattr(each, name) == getattr(native, name), name
        for common, own in native.attribute_map.items():
            assert getattr(each, common) == getattr(each, own) == getattr(native, own)


@pytest.mark.parametrize(
    ("backbone", "fields", "follows"),
    [
        ("deberta-v2", {"hidden_size": 32}, {"pooler_hidden_size": 32}),
        ("deberta-v2", {"pos_att_type": "p2c|c2p"}, {"pos_att_type": ["p2c", "c2p"]}),
        (
            "modernbert",
            {"num_hidden_layers": 3, "global_attn_every_n_layers": 2},
            {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
        ),
    ],
)
def test_a_default_that_follows_from_another_field_follows_here_too(backbone, fields, follows, tmp_path):
    content = {"model_type": "bistill", "backbone_type": backbone, **fields}
    (tmp_path / "config.json").write_text(json.dumps(content))
    native = AutoConfig.from_pretrained(tmp_path).backbone_config()
    assert_same(native, CONFIG_MAPPING[backbone](**fields))
    for name, value in follows.items():
        assert getattr(native, name) == value


def test_a_common_name_in_config_json_counts_as_the_backbones_own(tmp_path):
    content = {"model_type": "bistill", "backbone_type": "distilbert", "hidden_size": 24, "num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps(content))
    native = AutoConfig.from_pretrained(tmp_path).backbone_config()
    assert (native.dim, native.n_layers) == (24, 2)


@each_backbone
def test_what_is_written_has_no_attribute_map_no_path_and_the_pairs_model_type(backbone, tmp_path):
    _, config = native_and_pair(backbone)
    reloaded(config, tmp_path / "here").save_pretrained(tmp_path)
    written = (tmp_path / "config.json").read_text()
    for fields in (config.to_dict(), json.loads(written)):
        assert "attribute_map" not in fields
        assert fields["model_type"] == "bistill"
        assert BACKBONES[backbone].keys() <= fields.keys()
    assert str(tmp_path) not in written


def test_the_dictionary_is_a_copy():
    _, config = native_and_pair("bert")
    config.to_dict()["tasks"]["ner"]["labels"].append("B-LOC")
    assert config.tasks == PAIR["tasks"]


def test_one_backbones_names_do_not_leak_into_anothers():
    native_and_pair("distilbert")
    _, bert = native_and_pair("bert")
    assert bert.attribute_map == CONFIG_MAPPING["bert"].attribute_map
    assert BistillConfig().attribute_map == {}


@each_backbone
def test_a_tasks_labels_go_into_the_native_configuration_alone(backbone):
    native, config = native_and_pair(backbone)
    tagger = config.backbone_config(["O", "B-PER", "I-PER"])
    assert tagger.id2label == {0: "O", 1: "B-PER", 2: "I-PER"}
    assert tagger.label2id == {"O": 0, "B-PER": 1, "I-PER": 2}
    assert tagger.num_labels == 3
    assert tagger.model_type == backbone
    assert config.num_labels == 2
    assert_same(config.backbone_config(), native)


def test_a_task_models_labels_do_not_become_the_bases():
    native = AutoConfig.for_model("bert", id2label={0: "O", 1: "B-PER", 2: "I-PER"})
    assert BistillConfig.from_backbone(native).backbone_config().num_labels == 2


def test_the_native_configuration_knows_nothing_of_the_pair():
    native = native_and_pair("bert")[1].backbone_config()
    assert not {name for name in PAIR if hasattr(native, name)}
    assert "bistill" not in native.to_json_string()


def test_a_newer_layout_is_refused_with_the_version_that_reads_it(tmp_path):
    content = {"model_type": "bistill", "backbone_type": "bert", "format_version": FORMAT_VERSION + 1}
    (tmp_path / "config.json").write_text(json.dumps({**content, "written_by": "7.8.9"}))
    with pytest.raises(
        ValueError, match=rf"format_version = {FORMAT_VERSION + 1}.*Install bistill-hub 7\.8\.9 or newer"
    ):
        AutoConfig.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="Install bistill-hub, newer than the one at hand"):
        AutoConfig.from_pretrained(tmp_path)


def test_a_newer_layout_is_refused_even_if_its_backbone_is_unknown_here():
    with pytest.raises(ValueError, match="format_version"):
        BistillConfig(backbone_type="bert-2040", format_version=FORMAT_VERSION + 1)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ValueError, match=r"backbone_type = 'bert-2040'.*Upgrade transformers"):
        BistillConfig(backbone_type="bert-2040")
