"""`answer` finds what a model points at, in a context of any length."""

import pytest
import torch
from transformers import AutoTokenizer

from bistill_hub import InputError, answer
from bistill_hub.tasks import get_task
from bistill_hub.teacher import load_task_model


class Pointing(torch.nn.Module):
    """Puts all its weight on one token, wherever it stands."""

    def __init__(self, model, token):
        super().__init__()
        self.model, self.token, self.config, self.device = model, token, model.config, model.device

    def forward(self, input_ids, **kwargs):
        outputs = self.model(input_ids=input_ids, **kwargs)
        outputs.start_logits = outputs.end_logits = (input_ids == self.token).float()
        return outputs


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def reader(request, tiny_teacher_dirs):
    place = str(tiny_teacher_dirs[request.param])
    return load_task_model("question-answering", place), AutoTokenizer.from_pretrained(place)


def test_the_answer_is_found_far_behind_the_first_window(reader):
    model, tokenizer = reader
    (token,) = tokenizer("Kampala", add_special_tokens=False)["input_ids"][-1:]
    context = "The farmer saw the big house. " * 60 + "Kampala" + " The farmer saw the big house." * 60
    found = answer(Pointing(model, token), tokenizer, ["Where?", "Who?"], [context, context])
    assert found[0] == found[1]
    assert found[0]
    assert found[0] in "Kampala"


def test_answers_are_pieces_of_their_contexts(reader):
    contexts = ["The farmer saw the big house.", "Amina Hassan travelled to Kampala today."]
    found = answer(*reader, ["Who?", "Where to?"], contexts)
    assert all(piece and piece in context for piece, context in zip(found, contexts, strict=True))
    assert answer(*reader, [], []) == []
    assert get_task("qa").head == "question-answering"


def test_what_cannot_be_answered_is_refused(reader):
    with pytest.raises(InputError, match="2 questions and 1 contexts"):
        answer(*reader, ["Who?", "Where?"], ["Here."])
    with pytest.raises(InputError, match=r"contexts\[1\]"):
        answer(*reader, ["Who?", "Where?"], ["Here.", "  "])
