import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, processors
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from bistill_hub.errors import InputError
from bistill_hub.student.token_counts import TokenCounts, count_tokens
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer


@pytest.fixture
def counts(tokenizer, text):
    return {language: count_tokens(tokenizer, text[language]) for language in ("en", "sw")}


@pytest.fixture
def token_map(tokenizer, counts):
    return select_tokens(tokenizer, counts)


@pytest.fixture
def trimmed(tokenizer, token_map):
    return trim_tokenizer(tokenizer, token_map)


def definition_of(tokenizer):
    return json.loads(tokenizer.backend_tokenizer.to_str())


def without_ids(definition):
    model = {name: value for name, value in definition["model"].items() if name not in ("vocab", "unk_id")}
    added = [{name: value for name, value in token.items() if name != "id"} for token in definition["added_tokens"]]
    return {**definition, "model": model, "added_tokens": added, "post_processor": None}


# Selection


def test_a_token_stays_when_it_is_frequent_enough_in_either_corpus(tokenizer):
    rows = len(tokenizer)
    rare, frequent, other = rows - 10, rows - 9, rows - 8
    one, two = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    one[[rare, frequent]] = 1, 2
    two[other] = 2
    counts = {
        "en": TokenCounts(one, 1_000_000, frozenset(), 1),
        "sw": TokenCounts(two, 1_000_000, frozenset(), 1),
    }
    assert {rare, frequent, other} <= set(select_tokens(tokenizer, counts).tolist())  # 1e-6 itself is enough
    kept = set(select_tokens(tokenizer, counts, 2e-6).tolist())
    assert {frequent, other} <= kept
    assert rare not in kept


def test_every_seen_token_stays_at_the_default_threshold_in_a_small_corpus(token_map, counts):
    seen = np.flatnonzero(sum(counted.counts for counted in counts.values()))
    assert set(seen.tolist()) <= set(token_map.tolist())


def test_the_map_is_int64_and_in_the_old_order(token_map):
    assert token_map.dtype == torch.int64
    assert bool((token_map[1:] > token_map[:-1]).all())


def test_special_and_added_tokens_stay_without_being_seen(tokenizer, token_map):
    kept = set(token_map.tolist())
    assert set(tokenizer.all_special_ids) <= kept
    assert set(tokenizer.added_tokens_decoder) <= kept


def test_tokens_of_other_languages_go(tokenizer, token_map):
    vocabulary = tokenizer.get_vocab()
    assert len(token_map) < len(vocabulary)
    kept = set(token_map.tolist())
    assert not {identifier for piece, identifier in vocabulary.items() if "孩" in piece or "ш" in piece} & kept


@pytest.mark.parametrize(
    ("name", "pieces"), [("wordpiece", ["z", "##z", "é", "##é"]), ("unigram", ["z", "▁z", "é", "▁é", "▁"])]
)
def test_single_character_pieces_of_a_seen_character_stay_word_initial_and_continuing(request, name, pieces):
    tokenizer = request.getfixturevalue(name)
    counts = {"en": TokenCounts(np.zeros(len(tokenizer), np.int64), 1, frozenset("zé"), 1)}
    kept = {tokenizer.convert_ids_to_tokens(identifier) for identifier in select_tokens(tokenizer, counts).tolist()}
    present = tokenizer.get_vocab().keys() & set(pieces)
    assert present
    assert kept - set(tokenizer.added_tokens_encoder) == present


def test_no_text_of_the_pair_becomes_unknown(tokenizer, text, counts):
    trimmed = trim_tokenizer(tokenizer, select_tokens(tokenizer, counts, 0.02))  # hardly more than the characters
    for line in text["en"] + text["sw"]:
        assert trimmed.unk_token_id not in trimmed(line)["input_ids"]


def test_threshold_zero_keeps_the_whole_vocabulary(tokenizer, counts):
    assert select_tokens(tokenizer, counts, 0.0).tolist() == list(range(len(tokenizer)))


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(tokenizer, counts, probability):
    with pytest.raises(InputError, match="min_token_probability"):
        select_tokens(tokenizer, counts, probability)


def test_counts_of_another_tokenizer_are_refused(wordpiece, unigram, text):
    with pytest.raises(InputError, match="the tokenizer that is trimmed"):
        select_tokens(wordpiece, {"en": count_tokens(unigram, text["en"])})
    with pytest.raises(InputError, match="no token counts"):
        select_tokens(wordpiece, {})


# Trimming


def test_ids_are_contiguous_and_in_the_old_order(tokenizer, token_map, trimmed):
    assert len(trimmed) == len(token_map)
    pieces = trimmed.convert_ids_to_tokens(list(range(len(trimmed))))
    assert pieces == tokenizer.convert_ids_to_tokens(token_map.tolist())


def test_everything_else_in_the_json_is_untouched(tokenizer, trimmed):
    assert without_ids(definition_of(trimmed)) == without_ids(definition_of(tokenizer))


def test_the_teachers_own_tokenizer_is_left_as_it_was(tokenizer, token_map):
    before = tokenizer.backend_tokenizer.to_str()
    trim_tokenizer(tokenizer, token_map)
    assert tokenizer.backend_tokenizer.to_str() == before


def test_settings_and_roles_are_the_teachers(tokenizer, trimmed):
    assert trimmed.special_tokens_map == tokenizer.special_tokens_map
    for name in ("model_max_length", "model_input_names", "padding_side", "truncation_side"):
        assert getattr(trimmed, name) == getattr(tokenizer, name), name
    assert trimmed.clean_up_tokenization_spaces == tokenizer.clean_up_tokenization_spaces
    assert trimmed.all_special_tokens == tokenizer.all_special_tokens


def test_settings_that_differ_from_the_defaults_are_kept(wordpiece, text, tmp_path):
    teacher = BertTokenizer(
        vocab=wordpiece.get_vocab(),
        do_lower_case=False,
        padding_side="left",
        truncation_side="left",
        clean_up_tokenization_spaces=True,
        extra_special_tokens=["[unused1]"],
    )
    trimmed = trim_tokenizer(teacher, select_tokens(teacher, {"en": count_tokens(teacher, text["en"])}))
    trimmed.save_pretrained(tmp_path)
    for tokenizer in (trimmed, AutoTokenizer.from_pretrained(tmp_path)):
        assert (tokenizer.padding_side, tokenizer.truncation_side) == ("left", "left")
        assert tokenizer.clean_up_tokenization_spaces
        assert tokenizer.extra_special_tokens == ["[unused1]"]
        assert tokenizer.model_max_length == teacher.model_max_length


def test_single_and_paired_inputs_get_the_same_special_tokens_and_types(tokenizer, token_map, trimmed, text):
    for arguments in ((text["en"][0],), (text["en"][1], text["sw"][1])):
        before, after = tokenizer(*arguments), trimmed(*arguments)
        assert before.keys() == after.keys()
        assert token_map[torch.tensor(after["input_ids"])].tolist() == before["input_ids"]
        for name in before.keys() - {"input_ids"}:
            assert after[name] == before[name]


def test_bert_keeps_its_token_type_ids(wordpiece, text):
    trimmed = trim_tokenizer(wordpiece, select_tokens(wordpiece, {"en": count_tokens(wordpiece, text["en"])}))
    assert 1 in trimmed(text["en"][0], text["en"][1])["token_type_ids"]


def test_saving_and_loading_gives_the_same_tokenizer_to_the_letter(tokenizer, trimmed, text, tmp_path):
    trimmed.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert definition_of(loaded) == definition_of(trimmed)
    assert json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8")) == definition_of(trimmed)
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    assert loaded.model_input_names == tokenizer.model_input_names
    assert loaded.model_max_length == tokenizer.model_max_length
    assert len(loaded) == len(trimmed)
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    assert loaded(text["sw"], text["en"], padding=True) == trimmed(text["sw"], text["en"], padding=True)


def test_loading_beside_the_backbones_own_config_does_not_rebuild_it(tokenizer, trimmed, tmp_path):
    model_type = "bert" if isinstance(tokenizer, BertTokenizer) else "xlm-roberta"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    trimmed.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Replace("w", "v")])
    trimmed.save_pretrained(tmp_path)
    assert definition_of(AutoTokenizer.from_pretrained(tmp_path)) == definition_of(trimmed)


def test_a_padding_set_up_in_the_teachers_tokenizer_gets_the_new_id(train_wordpiece, text):
    teacher = train_wordpiece(text["en"] + text["other"], 300)
    mask = teacher.mask_token_id
    teacher.backend_tokenizer.enable_padding(pad_id=mask, pad_token="[MASK]", length=32)
    trimmed = trim_tokenizer(teacher, select_tokens(teacher, {"en": count_tokens(teacher, text["en"])}))
    assert trimmed.backend_tokenizer.padding["pad_id"] == trimmed.mask_token_id != mask
    assert trimmed.backend_tokenizer.padding["length"] == 32


@pytest.mark.parametrize("kind", ["BertProcessing", "RobertaProcessing", "Sequence"])
def test_older_post_processors_get_the_new_ids(wordpiece, text, kind):
    backend = Tokenizer.from_str(wordpiece.backend_tokenizer.to_str())
    pair = ("[SEP]", wordpiece.sep_token_id), ("[CLS]", wordpiece.cls_token_id)
    single = processors.RobertaProcessing(*pair) if kind == "RobertaProcessing" else processors.BertProcessing(*pair)
    backend.post_processor = processors.Sequence([processors.ByteLevel(), single]) if kind == "Sequence" else single
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    teacher = PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **names)
    token_map = select_tokens(teacher, {"en": count_tokens(teacher, text["en"])})
    trimmed = trim_tokenizer(teacher, token_map)
    assert trimmed.cls_token_id != teacher.cls_token_id
    before, after = teacher(text["en"][0], text["en"][1]), trimmed(text["en"][0], text["en"][1])
    assert token_map[torch.tensor(after["input_ids"])].tolist() == before["input_ids"]


def test_tokens_added_behind_the_vocabulary_stay_behind_it(train_wordpiece, text):
    teacher = train_wordpiece(text["en"] + text["other"], 300)
    teacher.add_tokens(["Nairobi"])
    trimmed = trim_tokenizer(teacher, select_tokens(teacher, {"en": count_tokens(teacher, text["en"])}))
    assert trimmed.convert_ids_to_tokens(len(trimmed) - 1) == "Nairobi"
    assert trimmed.tokenize("to Nairobi") == teacher.tokenize("to Nairobi")


def test_a_map_without_a_special_token_is_refused_by_its_name(tokenizer, token_map):
    token_map = token_map[token_map != tokenizer.sep_token_id]
    with pytest.raises(InputError, match="cannot do without") as caught:
        trim_tokenizer(tokenizer, token_map)
    assert tokenizer.sep_token in str(caught.value)


@pytest.mark.parametrize(
    "spoil", [lambda ids: ids.flip(0), lambda ids: ids.int(), lambda ids: torch.cat([ids, ids[-1:] + 10_000])]
)
def test_a_map_that_is_no_increasing_choice_of_ids_is_refused(tokenizer, token_map, spoil):
    with pytest.raises(InputError, match="token_map"):
        trim_tokenizer(tokenizer, spoil(token_map))


def test_other_kinds_of_tokenizers_are_refused_with_the_list_of_those_supported(token_map):
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(InputError, match=r"'WordLevel'.*\['BPE', 'Unigram', 'WordPiece'\]"):
        trim_tokenizer(words, token_map)
    with pytest.raises(InputError, match="fast tokenizer"):
        trim_tokenizer(SimpleNamespace(is_fast=False), token_map)


def test_a_unigram_model_without_an_unknown_piece_is_refused(token_map):
    no_unknown = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram([("a", -1.0)])))
    with pytest.raises(InputError, match="no unknown piece"):
        select_tokens(no_unknown, {"en": count_tokens(no_unknown, ["a"])})


def test_byte_pieces_stay_where_the_model_falls_back_on_bytes():
    pieces = [("<unk>", 0.0), ("x", -5.0), *((f"<0x{byte:02X}>", -9.0) for byte in range(256)), ("a", -1.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    teacher = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    trimmed = trim_tokenizer(teacher, select_tokens(teacher, {"en": count_tokens(teacher, ["aaa"])}))
    assert trimmed.tokenize("aé") == teacher.tokenize("aé") == ["a", "<0xC3>", "<0xA9>"]
    assert len(trimmed) == 258


# The promise: text whose pieces are all kept is split as before


def assert_split_as_before(teacher, lines, extra):
    """Keep what `lines` need and, beside it, a random part of the vocabulary."""
    encodings = [teacher(line)["input_ids"] for line in lines]
    known = [(line, ids) for line, ids in zip(lines, encodings, strict=True) if teacher.unk_token_id not in ids]
    kept = {identifier for _, ids in known for identifier in ids} | set(teacher.added_tokens_decoder) | extra
    token_map = torch.tensor(sorted(kept))
    trimmed = trim_tokenizer(teacher, token_map)
    for line, ids in known:
        assert token_map[torch.tensor(trimmed(line)["input_ids"])].tolist() == ids, line
    return len(known)


@pytest.mark.parametrize("name", ["wordpiece", "unigram"])
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_over_random_vocabularies_text_of_kept_pieces_is_split_as_before(request, text, name, data):
    teacher = request.getfixturevalue(name)
    all_lines = [line for lines in text.values() for line in lines]
    word = st.sampled_from(sorted({word for line in all_lines for word in line.split()}))
    invented = st.text(alphabet=sorted(set("".join(all_lines))), min_size=1, max_size=12)
    line = st.lists(word | invented, min_size=1, max_size=8).map(" ".join)
    lines = data.draw(st.lists(line, min_size=1, max_size=6), label="lines")
    share = data.draw(st.sampled_from([0.0, 0.05, 0.3, 0.8]), label="share of the other tokens that is kept")
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    extra = set(np.flatnonzero(generator.random(len(teacher)) < share).tolist())
    assert_split_as_before(teacher, lines, extra)


def test_dropping_the_lowest_unigram_piece_changes_no_split():
    # "b" is dropped. With <unk> left at 0 the lowest score would rise from -30 to -12 and an unknown character would
    # cost 22 (the lowest minus 10), so that "a", unknown, "cdef" (-23) would beat the kept pieces "abc", "def" (-24).
    pieces = [("<unk>", 0.0), ("a", -0.5), ("b", -30.0), ("abc", -12.0), ("cdef", -0.5), ("def", -12.0)]
    teacher = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram(pieces, unk_id=0)), unk_token="<unk>")
    trimmed = trim_tokenizer(teacher, torch.tensor([0, 1, 3, 4, 5]))
    assert trimmed.tokenize("abcdef") == teacher.tokenize("abcdef") == ["abc", "def"]


def test_unigram_scores_are_the_teachers_to_the_last_bit():
    generator = np.random.default_rng(0)
    pieces = [("<unk>", 0.0), *((chr(0x4E00 + number), -30 * generator.random()) for number in range(2000))]
    teacher = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram(pieces, unk_id=0)), unk_token="<unk>")
    trimmed = trim_tokenizer(teacher, torch.arange(0, 2001, 2))
    assert definition_of(trimmed)["model"]["vocab"][1:] == definition_of(teacher)["model"]["vocab"][2::2]
