"""A training leaves its log for the card and prints no line for each loss."""

import json

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from bistill_hub.distillation.recording import LOG_FILE, LogRecorder, calm, read_log


class Slope(nn.Module):
    """A line through the origin, and its squared error."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))

    def forward(self, x, labels):
        return {"loss": ((self.slope * x - labels) ** 2).mean()}


def trained(folder, *, progress, resume=False, steps=6):
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=2,
        logging_steps=2,
        save_steps=3,
        learning_rate=0.1,
        lr_scheduler_type="constant",
        report_to="none",
        disable_tqdm=not progress,
        use_cpu=True,
    )
    rows = [{"x": torch.tensor([float(x)]), "labels": torch.tensor([2.0 * x])} for x in range(1, 9)]
    trainer = calm(Trainer(Slope(), args, train_dataset=rows, callbacks=[LogRecorder()]))
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_the_log_is_what_the_trainer_logged_without_what_depends_on_the_clock(tmp_path):
    trainer = trained(tmp_path, progress=False)
    log = read_log(tmp_path)
    assert [entry["step"] for entry in log] == [2, 4, 6]
    assert [entry["loss"] for entry in log] == [e["loss"] for e in trainer.state.log_history if "loss" in e]
    assert {name for entry in log for name in entry} == {"step", "epoch", "loss"}
    assert json.loads((tmp_path / LOG_FILE).read_text()) == log


def test_a_training_that_goes_on_leaves_the_log_of_all_of_it(tmp_path):
    trained(tmp_path / "whole", progress=False)
    trained(tmp_path / "parts", progress=False, steps=3)
    trained(tmp_path / "parts", progress=False, resume=True)
    whole, parts = (read_log(tmp_path / name) for name in ("whole", "parts"))
    assert [entry["step"] for entry in parts] == [entry["step"] for entry in whole]
    assert parts[-1]["loss"] == pytest.approx(whole[-1]["loss"])


def test_where_nothing_was_recorded_the_log_is_empty(tmp_path):
    assert read_log(tmp_path) == []


@pytest.mark.parametrize("progress", [True, False])
def test_no_line_is_printed_for_a_loss_and_the_bar_shows_it(tmp_path, capfd, progress):
    trained(tmp_path, progress=progress)
    printed = capfd.readouterr()
    assert "loss" not in printed.out
    assert ("6/6" in printed.err and "loss=" in printed.err) is progress
