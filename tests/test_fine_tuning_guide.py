"""The snippet of docs/fine_tuning.md trains a fresh head on a published pair."""

import torch
from doc_pages import claimed, printed
from transformers import AutoModelForSequenceClassification, AutoTokenizer

(CODE,) = claimed(__name__, "docs/fine_tuning.md")
GOOD, BAD = "Juma lives in Nairobi .", "Asha does not live in Nairobi ."


def test_the_snippet_learns_and_leaves_a_plain_checkpoint(runs, tmp_path):
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "bistill-en-sw").symlink_to(runs["bert"].repository)
    for split in ("train", "test"):
        rows = "".join(f'"{text}",{label}\n' for text, label in ((GOOD, 1), (BAD, 0)) for _ in range(16))
        (tmp_path / f"{split}.csv").write_text(f"text,label\n{rows}")
    # The tiny student is far from what these are meant for.
    settings = "num_train_epochs=3, learning_rate=5e-5"
    printed(CODE, tmp_path, instead={settings: "num_train_epochs=15, learning_rate=3e-3, use_cpu=True"})
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "mine" / "final")
    assert type(model).__name__ == "BertForSequenceClassification"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "mine" / "final")
    with torch.inference_mode():
        found = model.eval()(**tokenizer([GOOD, BAD], padding=True, return_tensors="pt")).logits.argmax(-1)
    assert [model.config.id2label[label] for label in found.tolist()] == ["positive", "negative"]
