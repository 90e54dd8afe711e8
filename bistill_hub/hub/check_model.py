"""Checks of what is loaded: the tokenizer, and the promises of every way of loading a pair."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..cards.computed_with import tokenizer_sha256
from ..model.configuration_bistill import HEADS
from ..model.modeling_bistill import BASE_FILE
from ..model.sparse_delta import SparseDelta, state_sha256
from ..sources import file_sha256
from ..student.backbones import backbone_for
from .pair_folder import CONFIG_FILE, PairFolder
from .report import Findings
from .repository import TOKENIZER_FILE

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
_RESTORE_TOKENIZER = "restore the tokenizer that was packaged"
_RESTORE_CONFIG = "restore the packaged configuration"
_RESTORE_WEIGHTS = "restore the file that was packaged"
_NECESSARY_TOKENS = ("pad_token", "unk_token", "cls_token", "sep_token")
_IN_CONFIG = ("pad_token", "bos_token", "eos_token", "unk_token", "cls_token", "sep_token", "mask_token")
_WORDS = 200
"""As many of the vocabulary's words, or up to twice as many, are encoded and decoded."""

_WORD_BEGINS = "\u2581"
"""SentencePiece's mark of a space."""


def check_tokenizer(pair: PairFolder, findings: Findings) -> None:
    """Load the tokenizer, and see that it fits the weights and gives text back."""
    from transformers import AutoTokenizer

    if not {TOKENIZER_FILE, TOKENIZER_CONFIG_FILE} <= set(pair.files):
        return
    written = pair.read_json(TOKENIZER_FILE)
    for name in ("padding", "truncation"):
        if written.get(name) is not None:
            findings.add(TOKENIZER_FILE, f"{name} is set, which every call would obey", "save it without")
    with findings.within(TOKENIZER_FILE, "the tokenizer cannot be loaded", _RESTORE_TOKENIZER):
        if "auto_map" in pair.read_json(TOKENIZER_CONFIG_FILE):
            return
        tokenizer = AutoTokenizer.from_pretrained(pair.models, trust_remote_code=False, local_files_only=True)
        if not tokenizer.is_fast:
            findings.add(TOKENIZER_CONFIG_FILE, f"{type(tokenizer).__name__} is not a fast one", _RESTORE_TOKENIZER)
            return
        _check_vocabulary(pair, tokenizer, findings)
        _check_special_tokens(pair, tokenizer, findings)
        _check_inputs(pair, tokenizer, findings)
        _check_round_trip(tokenizer, findings)


def _check_vocabulary(pair: PairFolder, tokenizer: PreTrainedTokenizerBase, findings: Findings) -> None:
    """The tokenizer is that of its file, and has as many entries as the embeddings have rows."""
    from tokenizers import Tokenizer

    recorded = (pair.fields.get("vocabulary") or {}).get("tokenizer_sha256")
    if file_sha256(pair.models / TOKENIZER_FILE) != recorded:
        problem = f"its SHA-256 is not {recorded}, which {CONFIG_FILE} records"
        findings.add(TOKENIZER_FILE, problem, _RESTORE_TOKENIZER)
    ids = tokenizer.get_vocab()
    if len(set(ids.values())) != len(ids):
        findings.add(TOKENIZER_FILE, "two tokens have the same id", _RESTORE_TOKENIZER)
        return
    own = Tokenizer.from_file(str(pair.models / TOKENIZER_FILE))
    if json.loads(tokenizer.backend_tokenizer.to_str()) != json.loads(own.to_str()):
        findings.add(
            TOKENIZER_CONFIG_FILE,
            f"{type(tokenizer).__name__} does not take {TOKENIZER_FILE} as it is",
            "set tokenizer_class to TokenizersBackend",
        )
    size = pair.fields.get("vocab_size")
    if len(tokenizer) != size:
        findings.add(
            TOKENIZER_FILE,
            f"it has {len(tokenizer)} tokens, {CONFIG_FILE} says vocab_size = {size}",
            _RESTORE_TOKENIZER,
        )
    if not pair.base_shapes:
        return
    rows = _vocabulary_rows(pair)
    beyond = sorted(token for token, index in ids.items() if index >= rows)
    if beyond:
        findings.add(
            TOKENIZER_FILE,
            f"the id of {beyond[0]!r} is {ids[beyond[0]]}, and the embeddings have {rows} rows",
            _RESTORE_TOKENIZER,
        )
    if rows != size:
        findings.add(CONFIG_FILE, f"vocab_size = {size}: the embeddings have {rows} rows", _RESTORE_CONFIG)


def _vocabulary_rows(pair: PairFolder) -> int:
    """The fewest rows of the parameters that have one for each token."""
    assert pair.config is not None
    backbone = backbone_for(pair.config.backbone_config())
    return min(shape[0] for name, shape in pair.base_shapes.items() if backbone.has_vocabulary_rows(name))


def _check_special_tokens(pair: PairFolder, tokenizer: PreTrainedTokenizerBase, findings: Findings) -> None:
    vocabulary = tokenizer.get_vocab()
    necessary = [*_NECESSARY_TOKENS, *(["mask_token"] if pair.fields.get("language_modelling_head") else [])]
    for name in _IN_CONFIG:
        token = getattr(tokenizer, name, None)
        if token is None and name in necessary:
            findings.add(TOKENIZER_CONFIG_FILE, f"{name} is missing", _RESTORE_TOKENIZER)
        if token is not None and token not in vocabulary:
            findings.add(TOKENIZER_CONFIG_FILE, f"{name} = {token!r}: no token of the vocabulary", _RESTORE_TOKENIZER)
        stated = pair.fields.get(f"{name}_id")
        if stated is not None and stated != vocabulary.get(token):
            findings.add(
                CONFIG_FILE,
                f"{name}_id = {stated}: the tokenizer's {name} is {token!r} with the id {vocabulary.get(token)}",
                "restore the packaged configuration and tokenizer",
            )


def _check_inputs(pair: PairFolder, tokenizer: PreTrainedTokenizerBase, findings: Findings) -> None:
    assert pair.config is not None
    native = pair.config.backbone_config()
    # Some encoders have types of tokens that their tokenizer does not tell apart.
    told_apart = any(tokenizer("a", "b", return_token_type_ids=True)["token_type_ids"])
    wanted = set(backbone_for(native).model_inputs(native)) - (set() if told_apart else {"token_type_ids"})
    if set(tokenizer.model_input_names) != wanted:
        findings.add(
            TOKENIZER_CONFIG_FILE,
            f"model_input_names = {tokenizer.model_input_names}: the model reads {', '.join(sorted(wanted))}",
            _RESTORE_TOKENIZER,
        )
    room = backbone_for(native).longest_input(native)
    if tokenizer.model_max_length > room:
        findings.add(
            TOKENIZER_CONFIG_FILE,
            f"model_max_length = {tokenizer.model_max_length}: the model reads at most {room} tokens",
            _RESTORE_TOKENIZER,
        )
    _check_settings(pair, tokenizer, room, findings)


def _check_settings(pair: PairFolder, tokenizer: PreTrainedTokenizerBase, room: int, findings: Findings) -> None:
    """Its settings are those that the scores were computed with; where nobody knows these, the usual ones."""
    found = tokenizer_sha256(pair.read_json(TOKENIZER_CONFIG_FILE))
    if pair.computed_with is not None:
        recorded = pair.computed_with.get("tokenizer")
        if found == recorded:
            return  # whatever they are: some teachers' tokenizers cut what their models could read
        problem = f"its settings have the hash {found}, the scores were computed with {recorded}"
        findings.add(TOKENIZER_CONFIG_FILE, problem, _RESTORE_TOKENIZER)
    if tokenizer.model_max_length < room:
        problem = f"model_max_length = {tokenizer.model_max_length}: less than the {room} tokens that the model reads"
        findings.add(TOKENIZER_CONFIG_FILE, problem, _RESTORE_TOKENIZER)
    for name in ("padding_side", "truncation_side"):
        if (side := getattr(tokenizer, name)) != "right":
            findings.add(TOKENIZER_CONFIG_FILE, f"{name} = {side!r}: encoders have it on the right", _RESTORE_TOKENIZER)


def _check_round_trip(tokenizer: PreTrainedTokenizerBase, findings: Findings) -> None:
    """Words that are tokens come back as they were, but for letters beyond ASCII that Unicode normalises to others."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    words = []
    for token in sorted(tokenizer.get_vocab()):
        word = token.lstrip(_WORD_BEGINS)
        stays = word.isascii() or normalizer is None or normalizer.normalize_str(word).lstrip(_WORD_BEGINS) == word
        if word.isalpha() and stays:
            words.append(word)
    words = words[:: max(1, len(words) // _WORDS)]
    read = tokenizer(words, add_special_tokens=False)["input_ids"]
    lost = [word for word, ids in zip(words, read, strict=True) if tokenizer.decode(ids).strip() != word]
    if lost or not words:
        said = f"{lost[0]!r} does not come back when it is encoded and decoded" if words else "it has no words"
        findings.add(TOKENIZER_FILE, said, _RESTORE_TOKENIZER)


def check_loading(pair: PairFolder, findings: Findings) -> None:
    """Load encoder, language model and each task as users do, and compare what they compute."""
    assert pair.config is not None
    if BASE_FILE not in pair.files:
        return
    _check_shapes(pair, findings)
    inputs = _inputs(pair)
    names = ["AutoModel", *(["AutoModelForMaskedLM"] if pair.config.language_modelling_head else [])]
    for name in names:
        with findings.within(BASE_FILE, f"{name} does not load the pair", _RESTORE_WEIGHTS):
            _check_native(pair, name, inputs, findings)
    for task, file in pair.delta_files.items():
        with findings.within(file, f"the task {task} does not load", _RESTORE_WEIGHTS):
            _check_task(pair, task, inputs, findings)
    _check_without_name(pair, findings)


def _check_shapes(pair: PairFolder, findings: Findings) -> None:
    """The configuration tells of the layers and the language-modelling head that the weights have."""
    assert pair.config is not None
    native = pair.config.backbone_config()
    backbone = backbone_for(native)
    if not pair.base_shapes:
        return
    layers = len({backbone.layer_of(name) for name in pair.base_shapes} - {None})
    if native.num_hidden_layers != layers:
        problem = f"num_hidden_layers = {native.num_hidden_layers}: {BASE_FILE} has {layers} layers"
        findings.add(CONFIG_FILE, problem, _RESTORE_CONFIG)
    if len(pair.config.layer_map) != layers:
        problem = f"layer_map = {pair.config.layer_map}: {BASE_FILE} has {layers} layers"
        findings.add(CONFIG_FILE, problem, _RESTORE_CONFIG)
    has_head = any(not name.startswith(f"{backbone.base_model_prefix}.") for name in pair.base_shapes)
    if pair.config.language_modelling_head is not has_head:
        problem = (
            f"language_modelling_head = {pair.config.language_modelling_head!r}: {BASE_FILE} holds "
            f"{'one' if has_head else 'none'}"
        )
        findings.add(CONFIG_FILE, problem, _RESTORE_CONFIG)


def _check_without_name(pair: PairFolder, findings: Findings) -> None:
    """Where no task is named, each head loads its only task, or the one that the configuration makes the default."""
    from transformers.models.auto import modeling_auto

    assert pair.config is not None
    listed = {name: task.get("head") for name, task in pair.listed_tasks.items()}
    defaults = {}
    for head, task in (pair.config.default_tasks or {}).items():
        if head in HEADS and isinstance(task, str) and listed.get(task) == head:
            defaults[head] = task
            continue
        known = isinstance(task, str) and task in listed
        said = f"this task has the head {listed[task]!r}" if known else "no such task is listed"
        findings.add(CONFIG_FILE, f"default_tasks.{head} = {task!r}: {said}", _RESTORE_CONFIG)
    for head in sorted({*listed.values()} & set(HEADS)):
        candidates = [name for name, other in listed.items() if other == head]
        chosen = candidates[0] if len(candidates) == 1 else defaults.get(head)
        if chosen is None or chosen not in pair.weights:
            continue  # without a default it has to be named; one that does not load by its name was found above
        with findings.within(CONFIG_FILE, f"{HEADS[head]} does not load without a task's name", _RESTORE_CONFIG):
            model = getattr(modeling_auto, HEADS[head]).from_pretrained(
                pair.models, trust_remote_code=False, local_files_only=True
            )
            if state_sha256(model.state_dict()) != pair.weights_sha256(chosen):
                problem = f"{HEADS[head]} does not load {chosen} where no task is named"
                findings.add(CONFIG_FILE, problem, _RESTORE_CONFIG)


def _inputs(pair: PairFolder) -> dict[str, Tensor]:
    """Random tokens [4, length], two of the rows padded."""
    import torch

    assert pair.config is not None
    native = pair.config.backbone_config()
    length = min(24, backbone_for(native).longest_input(native))
    ids = torch.randint(native.vocab_size, (4, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, length // 2 :] = mask[3, length // 4 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _computed(model: PreTrainedModel, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    import torch

    with torch.inference_mode():
        outputs: tuple[Tensor, ...] = model.eval()(**inputs).to_tuple()
    return outputs


def _is_finite(outputs: tuple[Tensor, ...]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in outputs)


def _equal(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    import torch

    return len(one) == len(other) and all(map(torch.equal, one, other))


def _check_native(pair: PairFolder, name: str, inputs: dict[str, Tensor], findings: Findings) -> None:
    """The Auto class gives what the backbone's own class does."""
    from transformers.models.auto import modeling_auto

    from ..model import auto as _registered  # noqa: F401

    options = {"trust_remote_code": False, "local_files_only": True}
    model = getattr(modeling_auto, name).from_pretrained(pair.models, **options)
    native = type(model).from_pretrained(pair.models, local_files_only=True)
    outputs = _computed(model, inputs)
    if not _is_finite(outputs):
        findings.add(BASE_FILE, f"{name} computes values that are not finite", _RESTORE_WEIGHTS)
    elif not _equal(outputs, _computed(native, inputs)):
        findings.add(BASE_FILE, f"{name} and {type(model).__name__} compute something else", _RESTORE_WEIGHTS)


def _check_task(pair: PairFolder, task: str, inputs: dict[str, Tensor], findings: Findings) -> None:
    file = pair.delta_files[task]
    delta = SparseDelta.load(pair.models / file)
    model = pair.load_task(task)
    _check_altered(pair, file, delta, model, findings)
    labels = list(delta.metadata.get("labels") or ())
    head = {index: label for index, label in enumerate(labels)}
    outputs = _computed(model, inputs)
    if labels and (model.config.id2label != head or outputs[0].shape[-1] != len(labels)):
        findings.add(
            file, f"the model has the labels {list(model.config.id2label.values())}, not {labels}", _RESTORE_WEIGHTS
        )
    if not _is_finite(outputs):
        findings.add(file, "the model computes values that are not finite", _RESTORE_WEIGHTS)
    elif not _equal(outputs, _computed(pair.load_task(task), inputs)):
        findings.add(file, "two loads compute something else", _RESTORE_WEIGHTS)


def _check_altered(pair: PairFolder, file: str, delta: SparseDelta, model: PreTrainedModel, findings: Findings) -> None:
    """The model differs from the base where the delta says so, and nowhere else."""
    import torch
    from safetensors.torch import load_file

    base = load_file(pair.models / BASE_FILE)
    found = model.state_dict()
    wrong = []
    for name in sorted(set(found) & {*base, *delta.dense}):
        expected = delta.dense[name] if name in delta.dense else base[name]
        if name in delta.sparse and name not in delta.dense:
            update = delta.sparse[name]
            flat = expected.float().flatten().clone()  # summed in float32, and rounded once
            flat[update.indices] += update.values.float()
            expected = flat.view(expected.shape)
        if not torch.equal(found[name], expected.to(found[name].dtype)):
            wrong.append(name)
    if wrong:
        findings.add(file, f"the loaded model's {wrong[0]} is not the base's with the delta added", _RESTORE_WEIGHTS)
    if delta.sparse and not any(bool(update.values.any()) for update in delta.sparse.values()):
        findings.add(file, "all of its changes are by nothing", "train the task again")
