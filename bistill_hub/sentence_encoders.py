"""Sentence encoders in the folder format of sentence-transformers: what follows the encoder goes to the student too.

Such a model is an encoder and modules that make one vector of its states: pooling, a dense layer, a norm. They know
nothing of vocabulary or layers, so those of the teacher serve a student of its width as they are. They are carried
over as JSON and safetensors, and only in kinds that run no code of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint_files import checkpoint_file, checkpoint_files, pickled_files, pickled_refused
from .errors import InputError

MODULES_FILE = "modules.json"
SETTINGS_FILE = "config_sentence_transformers.json"
ENCODER_FILE = "sentence_bert_config.json"

MODULE_PATHS = (
    r"modules\.json",
    r"config_sentence_transformers\.json",
    r"sentence_bert_config\.json",
    r"[1-9]_(Pooling|Dense|Normalize)/config\.json",
    r"[1-9]_Dense/model\.safetensors",
)
"""Regular expressions of the files that `carry_modules` writes, relative to the folder."""

_TYPE = re.compile(r"sentence_transformers(?:\.[a-z_]+)*\.([A-Z]\w*)")
_ENCODER_FILES = re.compile(r"sentence_(bert|roberta|distilbert|xlm-roberta)_config\.json")
_ENCODER_FIELDS = (
    "max_seq_length",
    "do_lower_case",
    "transformer_task",
    "modality_config",
    "module_output_name",
    "processing_kwargs",
    "unpad_inputs",
)
_SETTINGS = ("__version__", "model_type", "prompts", "default_prompt_name", "similarity_fn_name")


@dataclass(frozen=True)
class _Kind:
    """A kind of module.

    Attributes:
        fields: What its configuration may say.
        shapes: From its configuration, the shapes of its parameters.
    """

    fields: tuple[str, ...]
    shapes: Callable[[Mapping[str, Any]], dict[str, tuple[Any, ...]]]


def _dense_parameters(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    width, size = config.get("in_features"), config.get("out_features")
    shapes: dict[str, tuple[Any, ...]] = {"linear.weight": (size, width)}
    if config.get("bias", True):
        shapes["linear.bias"] = (size,)
    if config.get("use_residual") and width != size:
        shapes["residual.weight"] = (size, width)
    return shapes


_KINDS: Mapping[str, _Kind] = {
    "Pooling": _Kind(
        (
            "word_embedding_dimension",
            "embedding_dimension",
            "pooling_mode",
            "pooling_mode_cls_token",
            "pooling_mode_max_tokens",
            "pooling_mode_mean_tokens",
            "pooling_mode_mean_sqrt_len_tokens",
            "pooling_mode_weightedmean_tokens",
            "pooling_mode_lasttoken",
            "include_prompt",
        ),
        lambda _: {},
    ),
    "Dense": _Kind(
        (
            "in_features",
            "out_features",
            "bias",
            "activation_function",
            "module_input_name",
            "module_output_name",
            "use_residual",
        ),
        _dense_parameters,
    ),
    "Normalize": _Kind(("module_input_name", "module_output_name"), lambda _: {}),
}


@dataclass(frozen=True)
class _Checkpoint:
    """A sentence encoder's files, wherever they are."""

    model: str
    revision: str | None
    files: tuple[str, ...]

    def file(self, name: str) -> Path:
        return checkpoint_file(self.model, name, self.revision)

    def read(self, name: str) -> Any:
        """The content of a JSON file; None where there is no such file."""
        if name not in self.files:
            return None
        try:
            return json.loads(self.file(name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise self.refused(name, None, "not JSON", "choose a model whose files are whole") from error

    def refused(self, name: str, field: str | None, problem: str, remedy: str, **value: Any) -> InputError:
        return InputError(problem, file=f"{self.model}/{name}", field=field, remedy=remedy, **value)


def is_sentence_encoder(model: str, revision: str | None = None) -> bool:
    """Tell whether a model has modules of sentence-transformers after its encoder.

    Args:
        model: Hub id or folder.
        revision: Branch, tag or commit on the Hub.
    """
    return MODULES_FILE in (checkpoint_files(model, revision) or ())


def prompts_of(model: str, revision: str | None = None) -> tuple[str, ...]:
    """List the texts that a sentence encoder puts before its input, such as "query: ", in alphabetical order.

    They are read with every input, however rare they are in the corpora: pass them to `select_tokens` as tokens that
    must stay.

    Args:
        model: Hub id or folder.
        revision: Branch, tag or commit on the Hub.
    """
    checkpoint = _Checkpoint(model, revision, checkpoint_files(model, revision) or ())
    prompts = (checkpoint.read(SETTINGS_FILE) or {}).get("prompts") or {}
    return tuple(sorted({text for text in prompts.values() if isinstance(text, str) and text.strip()}))


def check_modules(model: str, revision: str | None = None) -> None:
    """Refuse a sentence encoder whose modules cannot be carried over; one without modules has nothing to refuse.

    Args:
        model: Hub id or folder.
        revision: Branch, tag or commit on the Hub.

    Raises:
        InputError: see `carry_modules`.
    """
    _read_modules(model, revision)


def carry_modules(teacher: str, folder: str | Path, *, revision: str | None = None) -> tuple[str, ...]:
    """Give a student the modules of the sentence encoder that it was cut out of.

    Args:
        teacher: Hub id or folder, of the teacher or of a student that has the modules already.
        folder: The student's folder, with its config.json.
        revision: Branch, tag or commit of the teacher on the Hub.

    Returns:
        The files that were written, relative to the folder; none if the teacher is no sentence encoder.

    Raises:
        InputError: a module is of another kind than pooling, dense layer and normalisation, needs code of its own, has
            pickled or unfitting weights, or is for states of another width than the student's.
    """
    from safetensors.torch import save_file

    texts, weights = _read_modules(teacher, revision)
    target = Path(folder)
    if texts:
        _check_width(target, texts)
    for name, content in texts.items():
        (target / name).parent.mkdir(exist_ok=True)
        text = json.dumps(content, indent=2, sort_keys=name != MODULES_FILE, ensure_ascii=False)
        (target / name).write_text(text + "\n", encoding="utf-8")
    for name, state in weights.items():
        save_file(state, target / name, metadata={"format": "pt"})
    return tuple(sorted([*texts, *weights]))


def _read_modules(model: str, revision: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read and check everything, before anything is written.

    Returns:
        Content of each JSON file and tensors of each weight file, by the path that it gets in the student's folder.
    """
    files = checkpoint_files(model, revision) or ()
    if MODULES_FILE not in files:
        return {}, {}
    checkpoint = _Checkpoint(model, revision, files)
    entries = checkpoint.read(MODULES_FILE)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not entries:
        raise checkpoint.refused(MODULES_FILE, None, "not a list of modules", "choose a model whose files are whole")
    kinds = [_kind_of(checkpoint, entry, index) for index, entry in enumerate(entries)]
    texts: dict[str, Any] = {ENCODER_FILE: _encoder_settings(checkpoint), SETTINGS_FILE: _settings(checkpoint)}
    weights: dict[str, Any] = {}
    listed = []
    for index, (kind, entry) in enumerate(zip(kinds, entries, strict=True)):
        path = f"{index}_{kind}" if index else ""
        listed.append({"idx": index, "name": str(index), "path": path, "type": entry["type"]})
        if not index:
            continue
        config = _module_config(checkpoint, str(entry["path"]), kind)
        texts[f"{path}/config.json"] = config
        if shapes := _KINDS[kind].shapes(config):
            weights[f"{path}/model.safetensors"] = _module_weights(checkpoint, str(entry["path"]), shapes)
    return {MODULES_FILE: listed, **texts}, weights


def _kind_of(checkpoint: _Checkpoint, entry: Mapping[str, Any], index: int) -> str:
    """The class of a module, if it may stand at this place."""
    named = _TYPE.fullmatch(str(entry.get("type")))
    kind = str(named[1]) if named else ""
    path = entry.get("path")
    if index == 0 and kind == "Transformer" and path == "":
        return kind
    if index and kind in _KINDS and isinstance(path, str) and re.fullmatch(r"[\w-]+", path):
        return kind
    problem = "this cannot be the first module" if index == 0 else "modules of this kind cannot be carried over"
    raise checkpoint.refused(
        MODULES_FILE,
        f"[{index}].type",
        problem,
        f"choose a sentence encoder of a Transformer in the root folder, followed by {', '.join(_KINDS)}",
        value=entry.get("type"),
    )


def _known(checkpoint: _Checkpoint, name: str, fields: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """A configuration, if all of it is known: what is not could change what the module computes."""
    if not isinstance(fields, dict) or set(fields) - set(known):
        unknown = sorted(set(fields) - set(known)) if isinstance(fields, dict) else fields
        raise checkpoint.refused(
            name, None, f"this has fields that cannot be carried over: {unknown}", "choose a model without them"
        )
    return fields


def _encoder_settings(checkpoint: _Checkpoint) -> dict[str, Any]:
    name = next((file for file in checkpoint.files if _ENCODER_FILES.fullmatch(file)), ENCODER_FILE)
    fields = _known(checkpoint, name, checkpoint.read(name) or {}, _ENCODER_FIELDS)
    if fields.get("do_lower_case"):
        raise checkpoint.refused(
            name,
            "do_lower_case",
            "this sentence encoder lower-cases its input before the tokenizer sees it, which counting does not",
            "put the lower-casing into tokenizer.json as a normalizer",
            value=True,
        )
    expected = {"method": "forward", "method_output_name": "last_hidden_state"}
    for field, usual in (("transformer_task", "feature-extraction"), ("modality_config", {"text": expected})):
        if fields.get(field, usual) != usual:
            raise checkpoint.refused(
                name,
                field,
                "the encoder is not read for its last hidden states",
                "choose a sentence encoder of text",
                value=fields[field],
            )
    return fields


def _settings(checkpoint: _Checkpoint) -> dict[str, Any]:
    found = checkpoint.read(SETTINGS_FILE) or {}
    if found.get("model_type", "SentenceTransformer") != "SentenceTransformer":
        raise checkpoint.refused(
            SETTINGS_FILE, "model_type", "not a sentence encoder", "choose one", value=found["model_type"]
        )
    return {name: found[name] for name in _SETTINGS if name in found}


def _module_config(checkpoint: _Checkpoint, path: str, kind: str) -> dict[str, Any]:
    name = f"{path}/config.json"
    config = _known(checkpoint, name, checkpoint.read(name) or {}, _KINDS[kind].fields)
    if kind == "Dense" and not re.fullmatch(
        r"torch\.nn(\.[a-z_]+)*\.\w+", config.get("activation_function", "torch.nn.Tanh")
    ):
        raise checkpoint.refused(
            name,
            "activation_function",
            "this needs code of its own",
            "choose a model with an activation of torch.nn",
            value=config["activation_function"],
        )
    return config


def _module_weights(checkpoint: _Checkpoint, path: str, shapes: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    name = f"{path}/model.safetensors"
    if name not in checkpoint.files:
        within = [file.removeprefix(f"{path}/") for file in checkpoint.files if file.startswith(f"{path}/")]
        if pickled := pickled_files(within):
            raise pickled_refused(checkpoint.model, checkpoint.revision, [f"{path}/{file}" for file in pickled])
        raise checkpoint.refused(name, None, "there are no such weights", "choose a model whose files are whole")
    try:
        state = load_file(checkpoint.file(name))
    except (OSError, SafetensorError) as error:
        raise checkpoint.refused(name, None, "damaged", "choose a model whose files are whole") from error
    found = {parameter: tuple(tensor.shape) for parameter, tensor in state.items()}
    if found != dict(shapes):
        raise checkpoint.refused(
            name, None, f"holds {found} where config.json asks for {dict(shapes)}", "choose a model that is whole"
        )
    return state


def _check_width(folder: Path, texts: Mapping[str, Any]) -> None:
    """Refuse a pooling of states of another width than the student's."""
    from transformers import AutoConfig

    width = AutoConfig.from_pretrained(folder).hidden_size
    for name, config in texts.items():
        if re.fullmatch(r"\d+_Pooling/config\.json", name):
            pooled = config.get("embedding_dimension", config.get("word_embedding_dimension"))
            if pooled != width:
                raise InputError(
                    f"the sentence encoder pools states of width {pooled}, the student's are of width {width}",
                    file=folder / "config.json",
                    field="hidden_size",
                    value=width,
                    remedy="carry over the modules of the student's own teacher",
                )
