"""Whether a saved tokenizer is the same one in every way that people load it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from ..errors import InputError, first_line

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "config.json"

SAMPLE_TEXTS = (
    "Watoto WALITEMBEA hadi mtoni asubuhi; She said: 'it's 12 km!'",
    "ÀÉÎÕÜ àéîõü e\u0301 o\u0308 ñ ǅ İstanbul Größe ﬁne ｗｉｄｅ ½ ①",
    "孩子们早上走到河边 日本語 한국어 ไทย हिन्दी አማርኛ",
    "مرحبا بالعالم \u05e9\u05dc\u05d5\u05dd \u202eabc\u202c",
    "👩\u200d👩\u200d👧 🇰🇪 ☃ \U0001f9ff \u200b\u200d\ufeff \u0000\u0007\u0085 a\u00adb",
    "  two  spaces\tand\ttabs\r\nand lines\u00a0and\u3000others ",
    "",
)
"""Upper case, accents, scripts, emoji, signs without width, control characters, white space."""

_OWN_CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"distilbert": ("DistilBertTokenizer",)}  # beside what transformers itself would take
)
_GENERIC_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast", "PythonBackend")
_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


def check_ways_of_loading(
    folder: Path,
    texts: Iterable[str] = (),
    *,
    own_class: str | None = None,
    model_type: str | None = None,
    without: Collection[str] = (),
) -> tuple[str, ...]:
    """Load a saved tokenizer in every way and see that it stays what tokenizer.json says.

    The ways are `AutoTokenizer`, the backbone's own class, `PreTrainedTokenizerFast`, and each of these saved and
    loaded again, by itself and by `AutoTokenizer`. In each the vocabulary, the special tokens, the pieces and all
    inputs of the model must be equal, for single texts, for pairs and for a padded batch.

    Args:
        folder: Where tokenizer.json and tokenizer_config.json are, and the model's config.json if there is one.
        texts: What to compare on, beside `SAMPLE_TEXTS` and special tokens within text.
        own_class: Name of the class that the teacher's tokenizer is of, if the backbone's name does not say it (as for
            a BERT that reads XLM-RoBERTa's pieces).
        model_type: The backbone, if config.json does not say it.
        without: Names of classes that are left out, see `classes_that_rebuild`.

    Returns:
        The names of the ways.

    Raises:
        InputError: a way fails or gives another tokenizer. The error names the way, the text, what differs and why.
    """
    from transformers import PreTrainedTokenizerFast

    expected = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    samples = [*SAMPLE_TEXTS, *_special_tokens_in_text(expected), *texts]
    written = json.loads((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
    ways = []
    own_classes = _own_classes(folder, written, own_class, model_type)
    tried = [each for each in own_classes if each.__name__ not in without]
    for way, place, tokenizer_class in _ways(folder, tried):
        try:
            tokenizer = tokenizer_class.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # each class fails in a way of its own on files that it cannot read
            raise InputError(
                f"{way} cannot load it ({first_line(error)})",
                file=folder / TOKENIZER_FILE,
                remedy="choose a teacher whose tokenizer its own class can load",
            ) from error
        difference = _difference(expected, tokenizer, samples)
        if difference is not None:
            problem, text = difference
            raise InputError(
                f"{way} {problem}{_why(written, tokenizer)}",
                file=folder / TOKENIZER_FILE,
                remedy="give the teacher a tokenizer that its own class builds as it is, or choose another teacher; a "
                "class that builds another one of the teacher's files too may be named in teacher.tokenizer_not_by",
                **({} if text is None else {"field": "text", "value": text}),
            )
        ways.append(way)
    return tuple(ways)


def classes_that_rebuild(
    tokenizer: Any, model_type: str, texts: Iterable[str] = (), *, without: Collection[str] = ()
) -> dict[str, str]:
    """Find the classes named after a backbone that make another tokenizer out of a tokenizer's own files.

    The class that a tokenizer is of is none of them: `AutoTokenizer` loads it by that class.

    Args:
        tokenizer: The tokenizer (fast).
        model_type: The backbone.
        texts: What to compare on, beside `SAMPLE_TEXTS` and special tokens within text.
        without: Names of classes that are left out.

    Returns:
        By each such class's name what it does otherwise; none where the tokenizer can be loaded in every way.
    """
    found: dict[str, str] = {}
    own_classes = other_classes(tokenizer, model_type, without=without)
    if not own_classes:
        return found
    with TemporaryDirectory() as place:
        folder = Path(place)
        tokenizer.save_pretrained(folder)
        expected = type(tokenizer).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        samples = [*SAMPLE_TEXTS, *_special_tokens_in_text(expected), *texts]
        written = json.loads((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
        for own_class in own_classes:
            try:
                rebuilt = own_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            except Exception as error:  # in a way of its own, as above
                found[own_class.__name__] = f"{own_class.__name__} cannot load it ({first_line(error)})"
                continue
            difference = _difference(expected, rebuilt, samples)
            if difference is not None:
                problem, text = difference
                given = "" if text is None else f", given {text!r},"
                found[own_class.__name__] = f"{own_class.__name__}{given} {problem}{_why(written, rebuilt)}"
    return found


def other_classes(tokenizer: Any, model_type: str, *, without: Collection[str] = ()) -> tuple[Any, ...]:
    """Name the classes that `classes_that_rebuild` tries: those after a backbone but for the tokenizer's own.

    Args:
        tokenizer: The tokenizer (fast).
        model_type: The backbone.
        without: Names of classes that are left out.
    """
    kind = type(tokenizer.backend_tokenizer.model).__name__
    classes = _classes_for(model_type, kind, None)
    return tuple(each for each in classes if each is not type(tokenizer) and each.__name__ not in without)


def _own_classes(
    folder: Path, written: Mapping[str, Any], own_class: str | None, model_type: str | None
) -> tuple[Any, ...]:
    """Find the tokenizer classes named after the backbone of the model beside a saved tokenizer."""
    config_file = folder / CONFIG_FILE
    config = json.loads(config_file.read_text(encoding="utf-8")) if config_file.is_file() else {}
    backbone = model_type or config.get("backbone_type") or config.get("model_type") or ""
    return _classes_for(backbone, written["model"]["type"], own_class)


def _classes_for(backbone: str, kind: str, own_class: str | None) -> tuple[Any, ...]:
    """Find the tokenizer classes named after a backbone, as far as they are for this kind of tokenizer's model."""
    import transformers
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

    names = dict.fromkeys([TOKENIZER_MAPPING_NAMES.get(backbone), *_OWN_CLASSES.get(backbone, ()), own_class])
    classes = []
    for name in names:
        found = name and (tokenizer_class_from_name(name) or getattr(transformers, name, None))
        if name and found is None:
            raise InputError(
                "transformers has no tokenizer class of this name",
                field="own_class",
                value=name,
                remedy="name a class such as XLMRobertaTokenizer, or leave it out",
            )
        if not found or found.__name__ in _GENERIC_CLASSES:
            continue
        model = getattr(found, "model", None)
        if model is not None and model.__name__ == kind:
            classes.append(found)
    return tuple(dict.fromkeys(classes))


def _ways(folder: Path, own_classes: Sequence[Any]) -> Iterator[tuple[str, Path, Any]]:
    """Give each way's name, the folder to load from and the class to load with."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    for loader in (AutoTokenizer, *own_classes, PreTrainedTokenizerFast):
        name = "PreTrainedTokenizerFast" if loader is PreTrainedTokenizerFast else loader.__name__
        yield name, folder, loader
        with TemporaryDirectory() as again:
            loader.from_pretrained(folder, local_files_only=True, trust_remote_code=False).save_pretrained(again)
            if (folder / CONFIG_FILE).is_file():
                shutil.copy(folder / CONFIG_FILE, again)
            for second in dict.fromkeys((loader, AutoTokenizer)):
                by = name if second is loader else "AutoTokenizer"
                yield f"{by} after {name}.save_pretrained", Path(again), second


def _special_tokens_in_text(tokenizer: Any) -> Iterator[str]:
    for token in dict.fromkeys(tokenizer.all_special_tokens):
        yield f"a{token}b {token} c  {token}"


def _difference(expected: Any, found: Any, samples: Sequence[str]) -> tuple[str, str | None] | None:
    """Say what a loaded tokenizer does that the expected one does not, and on which text; None if there is nothing."""
    if found.get_vocab() != expected.get_vocab():
        return f"has another vocabulary, of {len(found)} tokens instead of {len(expected)}", None
    for name, token in expected.special_tokens_map.items():
        if getattr(found, name, token) != token:
            return f"has the {name} {getattr(found, name)!r} instead of {token!r}", None
    if found.model_max_length != expected.model_max_length:
        return f"has model_max_length = {found.model_max_length} instead of {expected.model_max_length}", None
    pairs = zip(samples, [*samples[1:], samples[0]], strict=True)
    for arguments in (*((text,) for text in samples), *pairs):
        difference = _compared(expected(*arguments, verbose=False), found(*arguments, verbose=False))
        if difference:
            return difference, arguments[0]
    batch = [text for text in samples if text]
    options = {"padding": True, "verbose": False}
    difference = _compared(expected(batch, batch[::-1], **options), found(batch, batch[::-1], **options))
    return (f"{difference} (in a padded batch)", None) if difference else None


def _compared(expected: Any, found: Any) -> str | None:
    if expected.keys() != found.keys():
        return f"gives the inputs {', '.join(found)} instead of {', '.join(expected)}"
    if expected["input_ids"] != found["input_ids"]:
        return f"splits it into {_first_difference(expected, found)}"
    for name in expected:
        if expected[name] != found[name]:
            return f"gives the {name} {found[name]} instead of {expected[name]}"
    return None


def _first_difference(expected: Any, found: Any) -> str:
    for one, other in zip(expected.encodings, found.encodings, strict=True):
        for place, (piece, instead) in enumerate(zip([*one.tokens, None], [*other.tokens, None], strict=False)):
            if piece != instead or one.ids[place : place + 1] != other.ids[place : place + 1]:
                rest = slice(place, place + 5)
                return f"{other.tokens[rest]} instead of {one.tokens[rest]}, from piece {place} on"
    return "other ids"


def _why(written: Mapping[str, Any], tokenizer: Any) -> str:
    """Name the parts of the pipeline that a way of loading has changed."""
    loaded = json.loads(tokenizer.backend_tokenizer.to_str())
    changed = [
        f"{part.replace('_', '-')} {_named(written[part])}, of which it makes {_named(loaded[part])}"
        for part in _PARTS
        if written[part] != loaded[part]
    ]
    settings = [
        f"{name} = {value!r}, of which it makes {loaded['model'].get(name)!r}"
        for name, value in written["model"].items()
        if name not in ("vocab", "merges", "type") and loaded["model"].get(name) != value
    ]
    if not changed and not settings:
        return ""
    return f": it builds the tokenizer anew, and the file has the {'; the '.join([*changed, *settings])}"


def _named(part: Mapping[str, Any] | None) -> str:
    """Shorten the JSON of a part of the pipeline to the names of its parts and their short settings."""
    if part is None:
        return "none"
    for name in ("normalizers", "pretokenizers", "processors", "decoders"):
        if name in part:
            return f"[{', '.join(_named(inner) for inner in part[name])}]"
    settings = [
        f"{name}={value}" for name, value in part.items() if name != "type" and isinstance(value, bool | int | float)
    ]
    return f"{part['type']}({', '.join(settings)})" if settings else str(part["type"])
