"""A run that was interrupted between checkpoints and started again leaves what an uninterrupted one leaves."""

import pytest

from bistill_hub import BilingualDistillationTrainer, SparseTaskDistillationTrainer, run
from bistill_hub.distillation.fine_tuning import TaskFineTuningTrainer

LEFT = ("phase-1/model.safetensors", "ner-teacher/model.safetensors", "ner-phase-2/delta.safetensors")


@pytest.mark.parametrize("backbone", ["bert", "xlm-roberta"])
@pytest.mark.parametrize(
    ("trainer", "after"),
    [
        (BilingualDistillationTrainer, 9),  # of 12 updates, with a checkpoint at 6
        (TaskFineTuningTrainer, 30),  # in the third of 6 epochs
        (SparseTaskDistillationTrainer, 20),  # in the dense stage
        (SparseTaskDistillationTrainer, 60),  # in the second epoch of the sparse stage
    ],
)
def test_an_interrupted_stage_ends_as_if_it_had_not_been(
    runs, small_recipes, tmp_path, monkeypatch, backbone, trainer, after
):
    recipe = small_recipes[backbone].replace({"baselines": []})
    steps = []
    real = trainer.training_step

    def stopping(self, *args, **kwargs):
        steps.append(1)
        if len(steps) > after:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "training_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path, progress=False)
    run(recipe, tmp_path, progress=False)
    whole = runs[backbone].repository.parent.parent
    for name in LEFT:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name
