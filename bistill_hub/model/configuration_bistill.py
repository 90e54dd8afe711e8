"""Configuration of a published Bistill pair: a backbone's own fields, flat, and what makes it a bilingual student.

This file travels with every published repository and imports nothing of the package it comes from.
"""

from __future__ import annotations

import copy
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

FORMAT_VERSION = 1
"""Version of the repository layout that this code writes, and the newest that it reads."""

HEADS = {
    "masked-lm": "AutoModelForMaskedLM",
    "token-classification": "AutoModelForTokenClassification",
    "sequence-classification": "AutoModelForSequenceClassification",
    "question-answering": "AutoModelForQuestionAnswering",
}
"""The heads a student can be loaded with, and the Auto class that asks for each."""

# Written to config.json by this class alone; everything else there belongs to the backbone.
_OWN_FIELDS = (
    "backbone_type",
    "source_language",
    "target_language",
    "teacher",
    "teacher_revision",
    "layer_map",
    "vocabulary",
    "tasks",
    "default_tasks",
    "language_modelling_head",
    "base_sha256",
    "format_version",
    "written_by",
)
_LABEL_ARGUMENTS = ("num_labels", "id2label", "label2id")
_ASKED_FOR = "_labels_asked_for"
_NOT_THE_BACKBONES = ("model_type", "architectures", "auto_map", "transformers_version")


class BistillConfig(PreTrainedConfig):
    """Configuration of a bilingual student and of the sparse task deltas published with it.

    The fields of the backbone's own configuration (`hidden_size`, `num_hidden_layers`, ...) stand beside these and keep
    the backbone's defaults.

    Args:
        backbone_type: The `model_type` of the native architecture, such as "xlm-roberta".
        source_language: Code of the language that the task labels were in, such as "en".
        target_language: Code of the language that the student transfers to.
        teacher: Hub id of the multilingual encoder that the student was cut out of; None if it has no public name.
        teacher_revision: Commit of the teacher.
        layer_map: For each student layer the 0-based teacher layer that it was copied from and taught by.
        vocabulary: Provenance of the vocabulary: `teacher_size`, `size`, `min_token_probability`, and
            `tokenizer_sha256`, the hash of tokenizer.json.
        tasks: For each task with a delta in `tasks/<name>/`: its `head` (a key of `HEADS`) and its `labels` in order.
        default_tasks: For a head that several tasks share, the task that is loaded when none is named.
        language_modelling_head: Whether `model.safetensors` holds the masked-language-modelling head.
        base_sha256: Hash of the base weights (see `state_sha256`), which every delta must name.
        format_version: Version of the repository layout.
        written_by: Version of bistill-hub that wrote the repository and so can read it.

    Raises:
        ValueError: the backbone is unknown to transformers, or the layout is newer than this code.
    """

    model_type = "bistill"

    backbone_type: str = ""
    source_language: str = ""
    target_language: str = ""
    teacher: str | None = None
    teacher_revision: str | None = None
    layer_map: list[int] | tuple[int, ...] = ()
    vocabulary: dict[str, Any] | None = None
    tasks: dict[str, Any] | None = None
    default_tasks: dict[str, str] | None = None
    language_modelling_head: bool = False
    base_sha256: str | None = None
    format_version: int = FORMAT_VERSION
    written_by: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.format_version > FORMAT_VERSION:
            writer = f" {self.written_by} or newer" if self.written_by else ", newer than the one at hand,"
            raise ValueError(
                f"config.json: format_version = {self.format_version}: this code reads layouts up to {FORMAT_VERSION}. "
                f"Install bistill-hub{writer}, which reads it."
            )
        self.layer_map = list(self.layer_map)
        self.vocabulary = dict(self.vocabulary or {})
        self.tasks = dict(self.tasks or {})
        self.default_tasks = dict(self.default_tasks or {})
        if self.backbone_type:
            if self.backbone_type not in CONFIG_MAPPING:
                raise ValueError(
                    f"config.json: backbone_type = {self.backbone_type!r}: the installed transformers has no such "
                    "architecture. Upgrade transformers."
                )
            native = CONFIG_MAPPING[self.backbone_type]
            # Instance attributes shadow the class's: each backbone has names of its own for the common ones.
            object.__setattr__(self, "attribute_map", dict(native.attribute_map))
            given = set(kwargs) | {native.attribute_map.get(name, name) for name in kwargs}
            ours = set(PreTrainedConfig().__dict__) | set(_OWN_FIELDS)
            # Some defaults follow from other fields: they are those of a configuration with the given ones.
            theirs = {name: value for name, value in kwargs.items() if name not in {*ours, *_NOT_THE_BACKBONES}}
            for name, value in native(**copy.deepcopy(theirs)).to_dict().items():
                if name not in given and name not in ours and name not in _NOT_THE_BACKBONES:
                    kwargs[name] = value
            for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
                kwargs.setdefault(name, getattr(native(), name, None))
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers. Which labels somebody asks for is remembered, since a default of two looks like two."""
        asked_for = tuple(name for name in _LABEL_ARGUMENTS if kwargs.get(name) is not None)
        found = super().from_dict(config_dict, **kwargs)
        config = found[0] if isinstance(found, tuple) else found  # with return_unused_kwargs=True
        object.__setattr__(config, _ASKED_FOR, asked_for)
        return found

    @property
    def labels_asked_for(self) -> tuple[str, ...]:
        """Which of `num_labels`, `id2label` and `label2id` were given when this was loaded."""
        asked_for: tuple[str, ...] = getattr(self, _ASKED_FOR, ())
        return asked_for

    @classmethod
    def from_backbone(cls, config: PreTrainedConfig, **fields: Any) -> BistillConfig:
        """Wrap a native configuration.

        Args:
            config: Configuration of the student as the backbone's own class knows it.
            fields: This class's own fields.
        """
        native = {
            name: value
            for name, value in config.to_dict().items()
            if name not in _NOT_THE_BACKBONES and not name.startswith("_")
        }
        for name in ("id2label", "label2id"):  # labels belong to the tasks, not to the base
            native.pop(name, None)
        return cls(**{**native, **fields, "backbone_type": config.model_type})

    def backbone_config(self, labels: list[str] | tuple[str, ...] | None = None) -> PreTrainedConfig:
        """Return the native configuration that the backbone's own classes are built from.

        Args:
            labels: Label names of a task head in order; None keeps this configuration's labels.

        Returns:
            A new configuration of the backbone's own class, which knows nothing of Bistill.
        """
        skip = {*_OWN_FIELDS, *_NOT_THE_BACKBONES}
        fields = {name: value for name, value in self.to_dict().items() if name not in skip}
        if labels is not None:
            fields["id2label"] = dict(enumerate(labels))
            fields["label2id"] = {label: index for index, label in enumerate(labels)}
        native = CONFIG_MAPPING[self.backbone_type].from_dict(fields)
        native._attn_implementation = self._attn_implementation
        native.name_or_path = self.name_or_path
        return native

    def tasks_of(self, head: str) -> list[str]:
        """Names of the published tasks that use a head, sorted."""
        return sorted(name for name, task in (self.tasks or {}).items() if task["head"] == head)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as it is written to config.json."""
        fields = super().to_dict()
        for name in ("attribute_map", _ASKED_FOR):
            fields.pop(name, None)
        return copy.deepcopy(fields)
