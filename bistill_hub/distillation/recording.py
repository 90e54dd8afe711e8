"""What a training tells while it runs: a log for the card without what depends on the clock, and a bar to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ..power_cuts import put_in_place
from .finite import StopWhereNotFinite

LOG_FILE = "log.json"
"""In a training's output folder."""

_FIELDS = ("step", "epoch", "loss")


class LogRecorder(TrainerCallback):
    """Writes `log.json` into the output folder when a training ends.

    A training of several stages (`SparseTaskDistillationTrainer`) leaves one in the folder of each, so that the log of
    the first is there even if a later process goes on with the second.
    """

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write what the Trainer has logged, earlier processes of the same training included."""
        if not state.is_world_process_zero:
            return
        file = Path(str(args.output_dir)) / LOG_FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(_timeless(state.log_history)) + "\n", encoding="utf-8")
        put_in_place(unfinished, file)


class LossOnBar(ProgressCallback):
    """The Trainer's progress bar, with the latest loss on it instead of a printed line for each."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the loss, and the loss on held-out data where there is one."""
        shown = {name: f"{logs[name]:.4g}" for name in ("loss", "eval_loss") if logs and name in logs}
        if self.training_bar is not None and shown:
            self.training_bar.set_postfix(shown, refresh=False)


def calm(trainer: Trainer) -> Trainer:
    """Have a trainer print no line for each log; a bar, where it shows one, has the loss on it.

    As nobody need look at the losses, the training ends with a `NotFiniteError` where one is not finite.
    """
    if not any(isinstance(callback, StopWhereNotFinite) for callback in trainer.callback_handler.callbacks):
        trainer.add_callback(StopWhereNotFinite())
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(LossOnBar())
    return trainer


def read_log(folder: Path) -> list[dict[str, float]]:
    """Read what `LogRecorder` has written.

    Args:
        folder: The training's output folder.

    Returns:
        Entries in order: `step`, `epoch`, the loss and its terms (means since the entry before), or `eval_...`. Empty
        where nothing was recorded.
    """
    file = folder / LOG_FILE
    if not file.is_file():
        return []
    entries: list[dict[str, float]] = json.loads(file.read_text(encoding="utf-8"))
    return entries


def _timeless(history: list[dict[str, Any]]) -> list[dict[str, float]]:
    return [
        {
            name: value
            for name, value in entry.items()
            if name in _FIELDS
            or name.endswith("_loss")
            or (name.startswith("eval_") and not name.endswith(("_runtime", "_per_second")))
        }
        for entry in history
        if "train_runtime" not in entry
    ]
