"""The authors' pickled fine-tunings are read exactly, and nothing else that a pickle can hold is let in."""

import collections
import io
import os
import pickle
import zipfile
from itertools import accumulate, product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from bistill_hub import InputError, SparseDelta, from_legacy
from bistill_hub.model.legacy import LEGACY_FILE

REFERENCE = Path(__file__).parent.parent / "reference" / "legacy_sft"
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder, diffs=None, whole=None):
    """Save a file as the authors do; returns the folder that holds it."""
    torch.save({"diffs": diffs or {}, "abs": whole or {}}, folder / LEGACY_FILE)
    return folder


def encoding(size=(2, 3), steps=(1, 2), values=(0.5, -1.5), first=np.int64):
    steps = list(steps)
    if steps:
        steps[0] = first(steps[0])
    return {"size": torch.Size(size), "index_steps": steps, "values": torch.tensor(values)}


def dense(update):
    flat = torch.zeros(torch.Size(update.shape).numel(), dtype=update.values.dtype)
    flat[update.indices] = update.values
    return flat.view(update.shape)


def decoded_by_hand(entry):
    """Decode with the column-major formula alone: flat = sum of coordinate k times the product of sizes before k."""
    size = tuple(entry["size"])
    values = dict(zip(accumulate(int(step) for step in entry["index_steps"]), entry["values"].tolist(), strict=True))
    result = torch.zeros(size)
    for coordinates in product(*map(range, size)):
        flat, stride = 0, 1
        for coordinate, extent in zip(coordinates, size, strict=True):
            flat += coordinate * stride
            stride *= extent
        result[coordinates] = values.get(flat, 0.0)
    return result


def test_the_authors_file_equals_its_expected_tensors():
    expected = load_file(REFERENCE / "expected_dense.safetensors")
    delta = from_legacy(REFERENCE)
    found = {f"diff.{name}": dense(update) for name, update in delta.sparse.items()}
    found |= {f"abs.{name}": tensor for name, tensor in delta.dense.items()}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_the_authors_file_on_zeros_gives_its_expected_tensors():
    expected = load_file(REFERENCE / "expected_dense.safetensors")
    model = torch.nn.Module()
    for key, tensor in expected.items():
        *path, last = key.partition(".")[2].split(".")
        module = model
        for part in path:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module._modules[part]
        module.register_parameter(last, torch.nn.Parameter(torch.zeros_like(tensor)))
    delta = from_legacy(REFERENCE / LEGACY_FILE)
    delta.apply(model)
    for name, parameter in model.named_parameters():
        kind = "abs" if name in delta.dense else "diff"
        assert torch.equal(parameter, expected[f"{kind}.{name}"]), name
    delta.revert(model)
    assert all(not parameter.any() for parameter in model.parameters())


def test_the_authors_file_survives_being_saved_as_a_delta(tmp_path):
    delta = from_legacy(REFERENCE)
    delta.save(tmp_path / "delta.safetensors")
    loaded = SparseDelta.load(tmp_path / "delta.safetensors")
    assert delta.metadata == loaded.metadata == {"source_format": "legacy"}
    for name, update in delta.sparse.items():
        assert torch.equal(update.indices, loaded.sparse[name].indices)
        assert torch.equal(update.values, loaded.sparse[name].values)


@st.composite
def encodings(draw):
    size = tuple(draw(st.lists(st.integers(1, 5), max_size=4)))
    total = torch.Size(size).numel()
    indices = sorted(draw(st.sets(st.integers(0, total - 1))))
    steps = [index - before for before, index in zip([0, *indices], indices, strict=False)]
    values = draw(st.lists(st.floats(width=32, allow_nan=False), min_size=len(indices), max_size=len(indices)))
    first = draw(st.sampled_from([int, np.int64, np.int32, np.uint8, np.uint64]))
    return encoding(size, steps, values, first)


@given(entry=encodings())
@settings(PATIENT, max_examples=80)
def test_indices_are_column_major_in_both_parts_of_the_file(tmp_path, entry):
    delta = from_legacy(write(tmp_path, {"w": entry}, {"head": entry}))
    expected = decoded_by_hand(entry)
    assert delta.sparse["w"].shape == tuple(entry["size"])
    assert torch.equal(dense(delta.sparse["w"]), expected)
    assert torch.equal(delta.dense["head"], expected)


def test_whole_tensors_may_stand_in_both_parts(tmp_path):
    tensor = torch.arange(6.0).view(2, 3)
    delta = from_legacy(write(tmp_path, {"w": tensor.T, "p": torch.nn.Parameter(tensor)}, {"head": tensor}))
    assert torch.equal(dense(delta.sparse["w"]), tensor.T)
    assert torch.equal(dense(delta.sparse["p"]), tensor)
    assert torch.equal(delta.dense["head"], tensor)
    assert not delta.sparse["p"].values.requires_grad


def test_a_step_over_all_entries_but_the_last_is_read(tmp_path):
    delta = from_legacy(write(tmp_path, {"w": encoding((50_000, 40_000), [1_999_999_999], [2.0])}))
    assert delta.sparse["w"].indices.tolist() == [1_999_999_999]


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_scalars_pickled_by_numpy_1_and_2_are_read(tmp_path, module):
    write(tmp_path, {"w": encoding()})
    file = tmp_path / LEGACY_FILE
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as written, zipfile.ZipFile(file, "w") as rewritten:
        for name in written.namelist():
            content = written.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core.multiarray\nscalar" in content
                content = content.replace(b"numpy._core.multiarray", module)
            rewritten.writestr(name, content)
    assert module in file.read_bytes()
    assert from_legacy(tmp_path).sparse["w"].values.tolist() == [0.5, -1.5]


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


class Harmless:
    pass


def save_raw_pickle(content, file):
    file.write_bytes(pickle.dumps(content))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, save_raw_pickle])
@pytest.mark.parametrize("nested", [False, True])
def test_a_command_in_the_pickle_is_refused_and_not_run(tmp_path, save, nested):
    witness = tmp_path / "witness"
    attack = Attack(os.system, f"touch {witness}")
    content = {"diffs": {"w": {**encoding(), "size": attack}}, "abs": {}} if nested else attack
    file = tmp_path / LEGACY_FILE
    save(content, file)
    with pytest.raises(InputError, match="no plain sparse fine-tuning") as caught:
        from_legacy(file)
    assert caught.value.file == str(file)
    assert not witness.exists()
    torch.load(file, weights_only=False) if save is torch.save else pickle.loads(file.read_bytes())
    assert witness.exists(), "the attack was a real one"


@pytest.mark.parametrize(
    "stranger",
    [
        {1, 2},
        Harmless(),
        Harmless,
        len,
        Attack(eval, "1"),
        Attack(np.frombuffer, b"12345678"),
        b"bytes",
        None,
        1j,
        np.dtype("int64"),
        np.ones(2),
        torch.float32,
        torch.device("cpu"),
        torch.ones(2).to_sparse(),
        torch.empty(2, device="meta"),
        torch.ones(1).expand(10**12),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("part", ["diffs", "abs", "values", "key"])
def test_what_is_no_tensor_number_or_list_is_refused_by_file(tmp_path, stranger, part):
    if part == "values":
        content = {"diffs": {"w": {**encoding(), "values": stranger}}, "abs": {}}
    elif part == "key":
        try:
            content = {"diffs": {}, "abs": {stranger: torch.ones(1)}}
        except TypeError:  # nothing that can be a key
            content = {"diffs": stranger, "abs": {}}
    else:
        content = {"diffs": {}, "abs": {}, part: {"w": stranger}}
    torch.save(content, tmp_path / LEGACY_FILE)
    with pytest.raises(InputError, match=LEGACY_FILE):
        from_legacy(tmp_path)


def test_a_missing_file_is_refused_with_the_name_that_was_expected(tmp_path):
    with pytest.raises(InputError, match=rf"{LEGACY_FILE}: there is no such file\. Name a folder that holds"):
        from_legacy(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        from_legacy(tmp_path / "nowhere")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "content", [b"", b"plain text, not a pickle\n", b"\x80\x04.", b"PK\x03\x04 half a zip", b"(", b"\x80\x02}."]
)
def test_a_file_that_is_no_such_pickle_is_refused(tmp_path, content):
    (tmp_path / LEGACY_FILE).write_bytes(content)
    with pytest.raises(InputError, match=LEGACY_FILE):
        from_legacy(tmp_path)


@given(share=st.floats(0, 0.999))
@settings(PATIENT, max_examples=30)
def test_a_truncated_file_is_refused(tmp_path, share):
    content = (REFERENCE / LEGACY_FILE).read_bytes()
    (tmp_path / LEGACY_FILE).write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="no plain sparse fine-tuning"):
        from_legacy(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"diffs": {}},
        {"abs": {}},
        {"diffs": [], "abs": {}},
        {"diffs": {}, "abs": torch.ones(1)},
        {"diffs": {7: torch.ones(1)}, "abs": {}},
        [],
        torch.ones(2),
    ],
)
def test_a_file_without_the_two_parts_is_refused(tmp_path, content):
    torch.save(content, tmp_path / LEGACY_FILE)
    with pytest.raises(InputError, match="expected the entries `diffs` and `abs`"):
        from_legacy(tmp_path)


ASCEND = "do not ascend within the 6 entries"
MALFORMED = {
    "no size": ({k: v for k, v in encoding().items() if k != "size"}, "expected `size`, `index_steps` and `values`"),
    "an entry too many": ({**encoding(), "more": 1}, "expected `size`, `index_steps` and `values`"),
    "a number": (3, "expected `size`, `index_steps` and `values`"),
    "too few values": (encoding(values=[1.0]), "2 indices but values of shape"),
    "too many values": (encoding(values=[1.0, 2.0, 3.0]), "2 indices but values of shape"),
    "values in two dimensions": (encoding(values=[[1.0, 2.0]]), "2 indices but values of shape"),
    "whole numbers as values": (encoding(values=[1, 2]), "floating point"),
    "words as values": ({**encoding(), "values": ["a", "b"]}, "too many dimensions"),
    "an index beyond the end": (encoding(steps=[1, 5]), "out of bounds"),
    "a first index beyond the end": (encoding(steps=[6], values=[1.0]), "out of bounds"),
    "a step beyond the end": (encoding(steps=[1, 7]), ASCEND),
    "steps whose sum wraps around": (encoding(steps=[1, 2**63 - 1, 2**63 - 1, 3], values=[1.0] * 4), ASCEND),
    "a step beyond 64 bits": (encoding(steps=[1, 2**64]), "too large"),
    "a negative start": (encoding(steps=[-1, 2]), ASCEND),
    "a negative step": (encoding(steps=[5, -2]), ASCEND),
    "a negative step back to the start": (encoding(steps=[5, -5]), ASCEND),
    "an index twice": (encoding(steps=[2, 0]), ASCEND),
    "steps that are fractions": (encoding(steps=[1, 1.5]), "whole numbers"),
    "steps that are words": (encoding(steps=[1, "2"]), "whole numbers"),
    "steps in lists": ({**encoding(), "index_steps": [[1], [2]]}, "whole numbers"),
    "steps in a tensor": ({**encoding(), "index_steps": torch.tensor([1, 2])}, "must be lists"),
    "a negative size": ({**encoding(), "size": (-2, 3)}, "not the size of a parameter"),
    "a size negative twice": ({**encoding(), "size": (-2, -3)}, "not the size of a parameter"),
    "a huge size": ({**encoding(), "size": (2**20, 2**20)}, "not the size of a parameter"),
    "a size beyond 64 bits": ({**encoding(), "size": (2**40, 2**40)}, "not the size of a parameter"),
    "an extent beyond 64 bits": ({**encoding(), "size": (2**70,)}, "too large"),
    "a size of nothing": ({**encoding(), "size": (0, 2**60)}, "do not ascend within the 0 entries"),
    "a size that is a number": ({**encoding(), "size": 6}, "must be lists"),
    "a size that is a word": ({**encoding(), "size": "23"}, "must be lists"),
}


@pytest.mark.parametrize("part", ["diffs", "abs"])
@pytest.mark.parametrize(("entry", "problem"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_encoding_is_refused_by_file_and_parameter(tmp_path, part, entry, problem):
    write(tmp_path, **{"diffs" if part == "diffs" else "whole": {"bert.w": entry}})
    with pytest.raises(InputError, match=problem) as caught:
        from_legacy(tmp_path)
    assert (caught.value.file, caught.value.field) == (str(tmp_path / LEGACY_FILE), "bert.w")


def test_a_third_part_may_be_there_but_must_be_empty(tmp_path):
    content = {"diffs": {"w": encoding()}, "abs": {}, "block_sparses": {}}
    torch.save(content, tmp_path / LEGACY_FILE)
    assert from_legacy(tmp_path).entries == 2
    content["block_sparses"]["v"] = encoding()
    torch.save(content, tmp_path / LEGACY_FILE)
    with pytest.raises(InputError, match="holds block_sparses besides `diffs` and `abs`"):
        from_legacy(tmp_path)


def test_an_update_of_nothing_is_read(tmp_path):
    delta = from_legacy(write(tmp_path, {"w": encoding(steps=[], values=[])}, {"head": encoding(steps=[], values=[])}))
    assert delta.entries == 0
    assert torch.equal(delta.dense["head"], torch.zeros(2, 3))


def test_ordered_dicts_are_dicts(tmp_path):
    content = collections.OrderedDict(diffs=collections.OrderedDict(w=encoding()), abs=collections.OrderedDict())
    torch.save(content, tmp_path / LEGACY_FILE)
    assert from_legacy(tmp_path).sparse["w"].values.tolist() == [0.5, -1.5]
