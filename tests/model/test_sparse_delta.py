"""A sparse delta survives the disk, goes on and off a model exactly, and refuses what it was not made for."""

import inspect
import json
import os
import struct
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from bistill_hub.model import sparse_delta
from bistill_hub.model.sparse_delta import DELTA_FORMAT_VERSION, SparseDelta, SparseUpdate, state_sha256

# Every example may write over what the one before it left in `tmp_path`.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Encoder(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.embeddings = nn.Embedding(11, width)
        self.layer = nn.Linear(width, width)


class Tagger(nn.Module):
    """An encoder under a prefix, as in the native head models, and a head beside it."""

    def __init__(self, width=6, labels=3):
        super().__init__()
        self.bert = Encoder(width)
        self.classifier = nn.Linear(width, labels)


def seeded(build, seed=0, dtype=torch.float32, **kwargs):
    torch.manual_seed(seed)
    return build(**kwargs).to(dtype)


def snapshot(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def identical(one, other):
    """Equal bit for bit: minus zero is not zero, and a NaN is itself."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and torch.equal(one[name].flatten().view(torch.uint8), other[name].flatten().view(torch.uint8))
        for name in one
    )


def same_delta(one, other):
    assert one.sparse.keys() == other.sparse.keys()
    for name, update in one.sparse.items():
        assert update.shape == other.sparse[name].shape
        assert torch.equal(update.indices, other.sparse[name].indices)
        assert identical({"": update.values}, {"": other.sparse[name].values})
    assert identical(one.dense, other.dense)
    assert one.metadata == other.metadata


def random_delta(model, seed, share=0.4, scale=3.0, dense=()):
    """A delta that changes a random share of each parameter of a model."""
    generator = torch.Generator().manual_seed(seed)
    sparse, whole = {}, {}
    for name, parameter in model.named_parameters():
        if name in dense:
            whole[name] = torch.randn(parameter.shape, generator=generator)
            continue
        indices = (torch.rand(parameter.numel(), generator=generator) < share).nonzero().flatten()
        values = scale * torch.randn(len(indices), generator=generator)
        sparse[name] = SparseUpdate(tuple(parameter.shape), indices, values)
    return SparseDelta(sparse, whole)


@st.composite
def updates(draw):
    """Updates of parameters up to billions of entries large, whose gaps lie on both sides of 16 bits."""
    gap = st.one_of(
        st.integers(0, 20),
        st.integers(65_530, 65_540),
        st.integers(131_065, 131_075),
        st.integers(0, 40_000_000),
    )
    gaps = draw(st.lists(gap, max_size=12))
    indices = torch.cumsum(torch.tensor([g + 1 for g in gaps], dtype=torch.int64), 0) - 1
    tail = draw(gap)
    size = (int(indices[-1]) + 1 if gaps else 0) + tail
    shape = draw(st.sampled_from([(size,), (1, size), (size, 1)]))
    dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
    value = st.floats(width=16, allow_nan=False)
    values = torch.tensor(draw(st.lists(value, min_size=len(gaps), max_size=len(gaps))), dtype=dtype)
    return SparseUpdate(shape, indices, values)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
DENSE = st.lists(st.integers(0, 3), max_size=3).map(
    lambda shape: torch.arange(float(torch.Size(shape).numel())).view(shape)
)
METADATA = st.dictionaries(
    NAMES.filter(lambda name: name not in ("format_version", "shapes")),
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])) | st.lists(NAMES),
    max_size=3,
)


@given(st.dictionaries(NAMES, updates(), max_size=3), st.dictionaries(NAMES, DENSE, max_size=2), METADATA)
@settings(PATIENT, max_examples=60)
def test_what_is_saved_is_what_is_loaded(tmp_path, sparse, dense, metadata):
    delta = SparseDelta(sparse, dense, metadata)
    delta.save(tmp_path / "delta.safetensors")
    same_delta(SparseDelta.load(tmp_path / "delta.safetensors"), delta)
    assert os.listdir(tmp_path) == ["delta.safetensors"]


@pytest.mark.parametrize("first", [0, 65_534, 65_535, 65_536, 131_070, 10 * 65_535, 3_000_000_000])
def test_a_single_entry_far_into_a_parameter_survives(tmp_path, first):
    update = SparseUpdate((first + 1,), torch.tensor([first]), torch.tensor([0.5]))
    SparseDelta({"w": update}).save(tmp_path / "d")
    assert SparseDelta.load(tmp_path / "d").sparse["w"].indices.tolist() == [first]


@given(st.dictionaries(NAMES, updates(), max_size=3), st.dictionaries(NAMES, DENSE, max_size=2), METADATA)
@settings(PATIENT, max_examples=30)
def test_equal_deltas_give_equal_bytes_whatever_the_order_of_their_entries(tmp_path, sparse, dense, metadata):
    def backwards(mapping):
        return dict(reversed(mapping.items()))

    SparseDelta(sparse, dense, metadata).save(tmp_path / "one")
    SparseDelta(backwards(sparse), backwards(dense), backwards(metadata)).save(tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def write_a_delta(path, torch, module):
    names = {"b.weight", "a.weight", "c", "d.bias", "e.bias"}  # a set: its order changes with the hash seed
    update = module.SparseUpdate((200_000,), torch.tensor([3, 150_000]), torch.tensor([1.5, -2.0]))
    dense = {f"head.{name}": torch.ones(2) for name in names}
    module.SparseDelta({name: update for name in names}, dense, {name: name for name in names}).save(path)


def test_equal_deltas_give_equal_bytes_in_a_process_with_another_hash_seed(tmp_path):
    write_a_delta(tmp_path / "here", torch, sparse_delta)
    # The module is imported by itself, as it travels: not as a part of the package.
    code = f"import sparse_delta, torch\n{inspect.getsource(write_a_delta)}\n"
    code += f"write_a_delta({str(tmp_path / 'there')!r}, torch, sparse_delta)"
    home = os.path.dirname(sparse_delta.__file__)
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": home}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    values = torch.ones(4)
    update = SparseUpdate((4,), torch.arange(2), values[:2])
    delta = SparseDelta({"a": update, "b": update}, {"head": values, "tied": values, "turned": values.view(2, 2).T})
    delta.save(tmp_path / "d")
    same_delta(SparseDelta.load(tmp_path / "d"), delta)


@pytest.mark.parametrize(("changed", "room"), [(32_000, 3.0), (4_000, 3.1), (400, 4.0), (40, 4.0)])
def test_a_changed_entry_costs_at_most_four_bytes_in_fp16_and_three_where_entries_lie_close(tmp_path, changed, room):
    size = 400_000
    indices = torch.randperm(size, generator=torch.Generator().manual_seed(0))[:changed].sort().values
    SparseDelta({"w": SparseUpdate((size,), indices, torch.ones(len(indices)).half())}).save(tmp_path / "d")
    content = (tmp_path / "d").read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    assert header < 1000, "the header does not grow with the entries"
    assert len(content) - header <= room * len(indices)


def gaps_one_by_one(indices, long, kind):
    """Encode positions as the format says, one by one."""
    gaps, last = [], -1
    for index in indices:
        skipped, last = index - last - 1, index
        while skipped >= long:
            gaps.append(long)
            skipped -= long
        gaps.append(skipped)
    return torch.tensor(gaps, dtype=kind)


GAPS = st.lists(
    st.one_of(st.integers(0, 20), st.integers(250, 260), st.integers(505, 515), st.integers(65_530, 65_540)),
    min_size=1,
    max_size=12,
)


@given(GAPS)
@settings(PATIENT, max_examples=60)
def test_gaps_are_stored_in_the_narrower_of_two_types_and_read_in_either_and_in_the_first_version(tmp_path, gaps):
    indices = (torch.cumsum(torch.tensor(gaps) + 1, 0) - 1).tolist()
    update = SparseUpdate((indices[-1] + 3,), torch.tensor(indices), torch.arange(len(indices)).half())
    file = tmp_path / "d"
    SparseDelta({"w": update}, metadata={"task": "ner"}).save(file)
    encodings = [gaps_one_by_one(indices, 255, torch.uint8), gaps_one_by_one(indices, 65535, torch.uint16)]
    stored = load_file(file)["gaps/w"]
    expected = min(encodings, key=lambda encoding: encoding.numel() * encoding.element_size())
    assert stored.dtype == expected.dtype
    assert torch.equal(stored.long(), expected.long())
    for version, encoding in ((2, encodings[0]), (2, encodings[1]), (1, encodings[1])):
        description = {"task": "ner", "format_version": version, "shapes": {"w": list(update.shape)}}
        tensors = {"gaps/w": encoding, "values/w": update.values}
        save_file(tensors, file, {"bistill": json.dumps(description)})
        same_delta(SparseDelta.load(file), SparseDelta({"w": update}, metadata={"task": "ner"}))


def tune(start, generator, share=0.3):
    """Change a share of the entries of some parameters; the others stay."""
    tuned = snapshot(start) if isinstance(start, nn.Module) else {name: t.clone() for name, t in start.items()}
    for number, parameter in enumerate(tuned.values()):
        if number % 3 != 2:
            chosen = torch.rand(parameter.shape, generator=generator) < share
            parameter[chosen] += torch.randn(int(chosen.sum()), generator=generator).to(parameter.dtype)
    return tuned


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.1, 1.0]))
@settings(PATIENT, max_examples=30)
def test_a_delta_of_two_models_holds_exactly_the_entries_that_differ(seed, share):
    start = snapshot(seeded(Tagger, seed=seed))
    tuned = tune(start, torch.Generator().manual_seed(seed), share)
    delta = SparseDelta.from_models(start, tuned)
    for name, new in tuned.items():
        expected = (start[name] != new).flatten().nonzero().flatten()
        if not len(expected):
            assert name not in delta.sparse
            continue
        update = delta.sparse[name]
        assert torch.equal(update.indices, expected)
        assert torch.equal(update.values, (new - start[name]).flatten()[expected])
    assert not delta.dense
    total = sum(t.numel() for t in start.values())
    assert delta.metadata["eligible_parameters"] == total
    assert delta.density == delta.entries / total


def test_a_delta_against_a_headless_model_keeps_the_head_whole_and_needs_no_prefix():
    tagger = seeded(Tagger, seed=1)
    start = seeded(Encoder, seed=2)
    start.load_state_dict(tagger.bert.state_dict())
    with torch.no_grad():
        tagger.bert.layer.bias[2] += 1
    delta = SparseDelta.from_models(start, tagger, metadata={"task": "ner"})
    assert list(delta.sparse) == ["bert.layer.bias"]
    assert delta.sparse["bert.layer.bias"].indices.tolist() == [2]
    assert set(delta.dense) == {"classifier.weight", "classifier.bias"}
    assert delta.metadata == {"task": "ner", "eligible_parameters": sum(p.numel() for p in start.parameters())}
    with torch.no_grad():
        tagger.classifier.bias.zero_()
    assert delta.dense["classifier.bias"].abs().sum() > 0, "a copy, not the model's own memory"


def test_a_rewound_head_is_kept_whole_when_asked():
    start = seeded(Tagger)
    delta = SparseDelta.from_models(start, start, dense=["classifier.weight", "classifier.bias"])
    assert set(delta.dense) == {"classifier.weight", "classifier.bias"}
    assert delta.entries == 0
    assert delta.density == 0


def test_a_mask_records_its_entries_with_and_without_a_difference():
    start = snapshot(seeded(Tagger))
    tuned = {name: tensor.clone() for name, tensor in start.items()}
    tuned["bert.layer.weight"][1, 2] += 1
    mask = {name: torch.zeros(start[name].shape, dtype=torch.bool) for name in ("bert.layer.weight", "bert.layer.bias")}
    mask["bert.layer.weight"][1, 2] = mask["bert.layer.weight"][0, 0] = True
    delta = SparseDelta.from_models(start, tuned, mask)
    assert {name: update.indices.tolist() for name, update in delta.sparse.items()} == {"bert.layer.weight": [0, 8]}
    assert delta.sparse["bert.layer.weight"].values[0] == 0
    assert delta.metadata["eligible_parameters"] == 36 + 6, "those that the mask is about"
    assert delta.density == 2 / 42


def test_a_change_outside_the_mask_is_refused():
    start = snapshot(seeded(Tagger))
    mask = {"bert.layer.weight": torch.zeros(6, 6, dtype=torch.bool)}
    for name in ("bert.layer.weight", "bert.layer.bias"):
        tuned = {n: tensor.clone() for n, tensor in start.items()}
        tuned[name].view(-1)[3] += 1e-3
        with pytest.raises(ValueError, match=rf"{name} changed at entries that the mask does not allow"):
            SparseDelta.from_models(start, tuned, mask)


def test_models_and_masks_that_do_not_fit_are_refused():
    start, wider = snapshot(seeded(Tagger)), snapshot(seeded(Tagger, labels=4))
    with pytest.raises(ValueError, match=r"classifier.weight: shapes \(3, 6\) and \(4, 6\) differ"):
        SparseDelta.from_models(start, wider)
    with pytest.raises(ValueError, match=r"mask names parameters.*decoder"):
        SparseDelta.from_models(start, start, {"decoder": torch.ones(1)})
    with pytest.raises(ValueError, match=r"bert.layer.weight: the mask's shape \(1, 6\)"):
        SparseDelta.from_models(start, start, {"bert.layer.weight": torch.ones(1, 6, dtype=torch.bool)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(choices=st.lists(st.sampled_from(["en", "sw", "task"]), min_size=1, max_size=40), seed=st.integers(0, 1000))
@settings(PATIENT, max_examples=15)
def test_a_model_is_itself_again_after_any_number_of_swaps(dtype, choices, seed):
    model = seeded(Tagger, seed=seed, dtype=dtype)
    with torch.no_grad():
        model.bert.layer.weight[0] = torch.tensor([-0.0, 0.0, torch.inf, torch.nan, 1e-38, 65504.0])
    deltas = {
        name: random_delta(model, seed + number, scale=10.0**number, dense=["classifier.bias"] if number == 2 else [])
        for number, name in enumerate(("en", "sw", "task"))
    }
    start = snapshot(model)
    worn = []
    for name in choices:  # put on what is not worn; for what is, take off down to it
        if name not in worn:
            deltas[name].apply(model)
            worn.append(name)
            continue
        while name in worn:
            deltas[worn.pop()].revert(model)
    while worn:
        deltas[worn.pop()].revert(model)
    assert identical(snapshot(model), start)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_thousand_swaps_leave_no_trace(dtype):
    model = seeded(Tagger, dtype=dtype)
    start = snapshot(model)
    english, swahili = random_delta(model, 1), random_delta(model, 2)
    for _ in range(500):
        for delta in (english, swahili):
            delta.apply(model)
            delta.revert(model)
    assert identical(snapshot(model), start)


def test_sums_are_formed_in_float32_and_rounded_once():
    model = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    with torch.no_grad():
        model.weight.fill_(256.0)
    # Rounded to bfloat16 first, 1.01 would be 1.0078 and the sum a tie; in float32 it is above the tie.
    SparseDelta({"weight": SparseUpdate((1, 1), torch.tensor([0]), torch.tensor([1.001]))}).apply(model)
    assert model.weight.item() == 258.0


def test_deltas_come_off_in_reverse_order_only():
    model = seeded(Tagger)
    start = snapshot(model)
    language, task = random_delta(model, 1), random_delta(model, 2)
    language.apply(model)
    task.apply(model)
    both = snapshot(model)
    with pytest.raises(ValueError, match="another delta was applied on top of this one"):
        language.revert(model)
    assert identical(snapshot(model), both)
    task.revert(model)
    language.revert(model)
    assert identical(snapshot(model), start)
    with pytest.raises(ValueError, match="not on the model"):
        language.revert(model)


def test_a_delta_goes_on_a_model_once_but_on_several_models():
    one, other = seeded(Tagger), seeded(Tagger)
    delta = random_delta(one, 1)
    assert delta.apply(one) is one
    once = snapshot(one)
    with pytest.raises(ValueError, match="on the model already"):
        delta.apply(one)
    assert identical(snapshot(one), once)
    delta.apply(other)
    delta.revert(one)
    assert identical(snapshot(other), once)


class Tied(nn.Module):
    """One parameter under two names."""

    def __init__(self):
        super().__init__()
        self.embeddings = nn.Linear(4, 6, bias=False)
        self.decoder = nn.Linear(4, 6, bias=False)
        self.decoder.weight = self.embeddings.weight


def test_equal_updates_under_both_names_of_a_tied_parameter_are_applied_once():
    torch.manual_seed(0)
    model = Tied()
    names = ("embeddings.weight", "decoder.weight")
    start = model.embeddings.weight.detach().clone()
    update = SparseUpdate((6, 4), torch.tensor([1, 7]), torch.tensor([0.5, -1.0]))
    again = SparseUpdate((6, 4), torch.tensor([1, 7]), torch.tensor([0.5, -1.0]))
    whole = torch.arange(24.0).view(6, 4)
    both = SparseDelta(dict(zip(names, (update, again), strict=True)))
    both.apply(model)
    expected = start.flatten().clone()
    expected[update.indices] += update.values
    assert torch.equal(model.embeddings.weight.flatten(), expected)
    assert model.decoder.weight is model.embeddings.weight
    both.revert(model)
    assert torch.equal(model.embeddings.weight, start)
    SparseDelta({}, {name: whole.clone() for name in names}).apply(model).zero_grad()
    assert torch.equal(model.decoder.weight, whole)


def test_unequal_updates_of_a_tied_parameter_are_refused():
    model = Tied()
    start = model.embeddings.weight.detach().clone()
    update = SparseUpdate((6, 4), torch.tensor([1, 7]), torch.tensor([0.5, -1.0]))
    elsewhere = SparseUpdate((6, 4), torch.tensor([1, 8]), torch.tensor([0.5, -1.0]))
    otherwise = SparseUpdate((6, 4), torch.tensor([1, 7]), torch.tensor([0.5, 1.0]))
    whole = torch.arange(24.0).view(6, 4)
    for delta in (
        SparseDelta({"embeddings.weight": update, "decoder.weight": elsewhere}),
        SparseDelta({"embeddings.weight": update, "decoder.weight": otherwise}),
        SparseDelta({"embeddings.weight": update}, {"decoder.weight": whole}),
        SparseDelta({}, {"embeddings.weight": whole, "decoder.weight": -whole}),
    ):
        with pytest.raises(ValueError, match=r"are one parameter of the model, and changed differently"):
            delta.apply(model)
        assert torch.equal(model.embeddings.weight, start)


def test_a_failed_apply_leaves_the_model_unchanged_and_free():
    model = seeded(Tagger)
    start = snapshot(model)
    good = random_delta(model, 1)

    def with_last(name, shape):
        return SparseDelta({**good.sparse, name: SparseUpdate(shape, torch.tensor([0]), torch.ones(1))})

    for delta, problem in (
        (with_last("decoder.weight", (6,)), "no parameter decoder.weight"),
        (with_last("classifier.bias", (4,)), r"classifier.bias: the model's shape is \(3,\), the delta's \(4,\)"),
        (SparseDelta(good.sparse, {"classifier.bias": torch.ones(2)}), "classifier.bias: the model's shape"),
        (with_last("layer.bias", (6,)), r"bert.layer.bias and layer.bias are one parameter"),
    ):
        with pytest.raises(ValueError, match=problem):
            delta.apply(model)
        assert identical(snapshot(model), start)
        with pytest.raises(ValueError, match="not on the model"):
            delta.revert(model)
    model.classifier.weight.data = model.classifier.weight.data.T.contiguous().T
    with pytest.raises(ValueError, match=r"classifier.weight is not contiguous"):
        good.apply(model)
    assert identical(snapshot(model), start)


def test_names_match_with_and_without_the_base_models_prefix():
    tagger, encoder = seeded(Tagger), seeded(Encoder)
    encoder.load_state_dict(tagger.bert.state_dict())
    start = snapshot(encoder)
    from_tagger = random_delta(tagger, 1, dense=["classifier.weight", "classifier.bias"])
    from_encoder = SparseDelta({name.removeprefix("bert."): u for name, u in from_tagger.sparse.items()})
    from_tagger.apply(tagger)
    expected = snapshot(tagger.bert)
    with pytest.raises(ValueError, match="no parameter classifier"):
        from_tagger.apply(encoder)
    for delta, strict in ((from_tagger, False), (from_encoder, True)):
        delta.apply(encoder, strict=strict)
        assert identical(snapshot(encoder), expected)
        delta.revert(encoder)
        assert identical(snapshot(encoder), start)
    from_tagger.revert(tagger)
    from_encoder.apply(tagger)
    assert identical(snapshot(tagger.bert), expected)


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta"])
def test_an_embedding_that_a_language_model_ties_goes_by_the_encoders_name(model_type):
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

    config = AutoConfig.for_model(
        model_type, vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    start = AutoModelForMaskedLM.from_config(config)
    tuned = AutoModelForMaskedLM.from_config(config)
    tuned.load_state_dict(start.state_dict())
    with torch.no_grad():
        tuned.get_input_embeddings().weight[7] += 1
    delta = SparseDelta.from_models(start, tuned)
    (name,) = delta.sparse
    assert name == f"{start.base_model_prefix}.embeddings.word_embeddings.weight"
    encoder = AutoModel.from_config(config)
    before = encoder.get_input_embeddings().weight.detach().clone()
    delta.apply(encoder)
    torch.testing.assert_close(encoder.get_input_embeddings().weight[7], before[7] + 1)


def test_a_name_that_two_parts_of_a_model_share_matches_neither():
    model = nn.ModuleDict({"encoder": nn.Linear(2, 2), "decoder": nn.Linear(2, 2)})
    delta = SparseDelta({"weight": SparseUpdate((2, 2), torch.tensor([0]), torch.ones(1))})
    with pytest.raises(ValueError, match="no parameter weight"):
        delta.apply(model)


def test_passing_over_a_missing_head_does_not_pass_over_a_wrong_shape():
    wider = seeded(Encoder, width=8)
    with pytest.raises(ValueError, match=r"bert.embeddings.weight"):
        random_delta(seeded(Tagger), 1).apply(wider, strict=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@given(seed=st.integers(0, 2**31))
@settings(PATIENT, max_examples=15)
def test_a_state_dict_with_the_delta_equals_a_model_with_the_delta(dtype, seed):
    model = seeded(Tagger, seed=seed, dtype=dtype)
    delta = random_delta(model, seed, dense=["classifier.weight"])
    state = snapshot(model)
    before = {name: tensor.clone() for name, tensor in state.items()}
    result = delta.applied_to(state)
    assert identical(state, before)
    delta.apply(model)
    assert all(result[name].dtype == torch.float32 for name in delta.sparse)
    assert identical({name: tensor.to(dtype) for name, tensor in result.items()}, snapshot(model))


def test_a_state_dict_gets_the_head_that_it_lacks_but_must_hold_the_rest():
    model = seeded(Tagger)
    delta = random_delta(model, 1, dense=["classifier.weight", "classifier.bias"])
    headless = {name: tensor for name, tensor in snapshot(model).items() if name.startswith("bert.")}
    assert torch.equal(delta.applied_to(headless)["classifier.bias"], delta.dense["classifier.bias"])
    with pytest.raises(ValueError, match=r"bert.layer.bias: the base's parameter is not there"):
        delta.applied_to({name: tensor for name, tensor in headless.items() if name != "bert.layer.bias"})
    with pytest.raises(ValueError, match=r"bert.layer.bias: the base's parameter is \(7,\), the delta's \(6,\)"):
        delta.applied_to({**headless, "bert.layer.bias": torch.zeros(7)})
    with pytest.raises(ValueError, match=r"classifier.bias: the base's parameter is \(4,\)"):
        delta.applied_to({**headless, "classifier.bias": torch.zeros(4)})


def test_density_is_known_with_and_without_the_number_of_free_entries():
    update = SparseUpdate((4, 5), torch.tensor([1, 7, 19]), torch.ones(3))
    assert SparseDelta({"w": update}).density == 3 / 20
    assert SparseDelta({"w": update}, metadata={"eligible_parameters": 300}).density == 3 / 300
    assert SparseDelta({}).density == 0


@pytest.mark.parametrize(
    ("indices", "values", "problem"),
    [
        ([3, 2], [1.0, 1.0], "ascend"),
        ([2, 2], [1.0, 1.0], "ascend"),
        ([-1, 2], [1.0, 1.0], "ascend"),
        ([2, 20], [1.0, 1.0], "ascend within 0 to 19"),
        ([2], [1.0, 1.0], "vectors of one size"),
        ([[2]], [[1.0]], "vectors of one size"),
        ([2.0], [1.0], "must be int64"),
        ([2], [1], "floating point"),
    ],
)
def test_an_update_that_leaves_its_parameter_is_refused(indices, values, problem):
    with pytest.raises(ValueError, match=problem):
        SparseUpdate((4, 5), torch.tensor(indices), torch.tensor(values))


@pytest.fixture
def saved(tmp_path):
    """A delta file of two updates and a head."""
    file = tmp_path / "delta.safetensors"
    delta = SparseDelta(
        {
            "a": SparseUpdate((300_000,), torch.tensor([5, 290_000]), torch.tensor([1.0, 2.0])),
            "b": SparseUpdate((3, 3), torch.tensor([0, 8]), torch.tensor([1.0, 2.0])),
        },
        {"head": torch.ones(3)},
        {"task": "ner"},
    )
    delta.save(file)
    return file


def refused(file):
    """Load a file that must be refused by name, and return the message."""
    with pytest.raises(ValueError, match=r"delta.safetensors") as caught:
        SparseDelta.load(file)
    return str(caught.value)


@given(share=st.floats(0, 0.999))
@settings(PATIENT, max_examples=40)
def test_a_truncated_file_is_refused_by_name(saved, share):
    content = saved.read_bytes()
    try:
        saved.write_bytes(content[: int(share * len(content))])
        refused(saved)
    finally:
        saved.write_bytes(content)


@given(place=st.integers(0, 10**6), byte=st.integers(0, 255))
@settings(PATIENT, max_examples=150)
def test_a_damaged_file_is_refused_by_name_or_still_a_delta(saved, place, byte):
    whole = saved.read_bytes()
    content = bytearray(whole)
    content[place % len(content)] = byte
    saved.write_bytes(content)
    try:
        complaint = None
        SparseDelta.load(saved)
    except ValueError as error:
        complaint = str(error)
    finally:
        saved.write_bytes(whole)
    assert complaint is None or "delta.safetensors" in complaint


def test_files_of_others_are_refused_by_name(tmp_path):
    file = tmp_path / "delta.safetensors"
    for content in (b"", b"no tensors here", b"{}" * 100, b"\x80\x04N."):
        file.write_bytes(content)
        assert "not a sparse delta" in refused(file)
    for metadata in (None, {"format": "pt"}, {"bistill": "[1]"}, {"bistill": "no JSON"}, {"bistill": "{}"}):
        save_file({"weight": torch.ones(2)}, file, metadata)
        assert "not a sparse delta" in refused(file)


def rewritten(file, change):
    """Save a delta file again with its tensors and its description changed."""
    header = json.loads(file.read_bytes()[8 : 8 + struct.unpack("<Q", file.read_bytes()[:8])[0]])
    tensors, description = load_file(file), json.loads(header["__metadata__"]["bistill"])
    change(tensors, description)
    save_file(tensors, file, {"bistill": json.dumps(description)})
    return file


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, _: tensors.pop("gaps/a"),
        lambda tensors, _: tensors.pop("values/b"),
        lambda tensors, _: tensors.update(stray=torch.ones(1)),
        lambda tensors, _: tensors.update({"gaps/b": torch.zeros(2)}),
        lambda tensors, _: tensors.update({"gaps/b": torch.zeros(1, 2, dtype=torch.uint16)}),
        lambda tensors, _: tensors.update({"gaps/b": torch.zeros(3, dtype=torch.uint16)}),
        lambda tensors, _: tensors.update({"gaps/b": torch.full((2,), 9, dtype=torch.uint16)}),
        lambda tensors, _: tensors.update({"values/b": torch.ones(2, dtype=torch.int32)}),
        lambda _, description: description.pop("shapes"),
        lambda _, description: description.update(shapes=["a", "b"]),
        lambda _, description: description["shapes"].pop("a"),
        lambda _, description: description["shapes"].update(a=7),
        lambda _, description: description["shapes"].update(a=["x"]),
        lambda _, description: description["shapes"].update(a=[-300_000, -1]),
        lambda _, description: description["shapes"].update(a=[100_000]),
    ],
)
def test_a_file_whose_parts_do_not_belong_together_is_refused_by_name(saved, change):
    refused(rewritten(saved, change))


def test_a_newer_format_is_refused_by_name_with_the_way_out(saved):
    newer = DELTA_FORMAT_VERSION + 1
    message = refused(rewritten(saved, lambda _, description: description.update(format_version=newer)))
    assert f"format_version = {newer}" in message
    assert "Upgrade bistill-hub" in message


def test_a_missing_file_is_told_as_such(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        SparseDelta.load(tmp_path / "nowhere.safetensors")


def test_the_hash_of_a_state_depends_on_names_types_shapes_and_bytes_alone():
    state = {"b": torch.arange(6.0).view(2, 3), "a": torch.zeros(0), "c": torch.tensor(True)}
    known = state_sha256(state)
    assert len(known) == 64
    assert state_sha256(dict(reversed(state.items()))) == known
    assert state_sha256({**state, "b": state["b"].T.contiguous().T}) == known, "memory layout is not content"
    assert state_sha256({**state, "b": nn.Parameter(state["b"])}) == known
    changed = [
        {("z" if name == "b" else name): tensor for name, tensor in state.items()},
        {**state, "b": state["b"].view(3, 2)},
        {**state, "b": state["b"].view(torch.int32)},
        {**state, "b": state["b"] * torch.tensor([1.0, 1.0, 1.0000001])},
        {**state, "b": torch.where(state["b"] == 0, -0.0, state["b"])},
        {**state, "a": torch.zeros(0, 1)},
        {**state, "d": torch.zeros(0)},
        {name: tensor for name, tensor in state.items() if name != "a"},
        {**state, "c": torch.tensor(1, dtype=torch.uint8)},
    ]
    hashes = {state_sha256(other) for other in changed}
    assert known not in hashes
    assert len(hashes) == len(changed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_the_hash_of_a_state_is_the_same_after_a_way_through_the_disk(tmp_path, dtype):
    state = {"w": torch.tensor([[0, 1], [1, 0]]).to(dtype), "x": torch.ones(()).to(dtype)}
    save_file(state, tmp_path / "state")
    assert state_sha256(load_file(tmp_path / "state")) == state_sha256(state)
