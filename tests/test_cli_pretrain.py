"""`bistill pretrain` makes a model that loads, and answers bad input with one sentence and exit code 2."""

import pytest
from click.testing import CliRunner
from transformers import AutoModelForMaskedLM, AutoTokenizer

from bistill_hub.cli import main
from bistill_hub.masked_training import MaskedTrainer

SMALL = [
    *("--vocab-size", "300", "--hidden-size", "16", "--layers", "2", "--heads", "2", "--intermediate-size", "32"),
    *("--max-length", "32", "--steps", "2", "--batch-size", "4", "--quiet"),
]


@pytest.fixture
def bistill():
    """Run the command with some words and see what comes of it."""
    runner = CliRunner()
    return lambda *words: runner.invoke(main, ["pretrain", *map(str, words)])


@pytest.fixture
def text(text_files):
    return [f"--text=en={text_files['en']}", f"--text=sw={text_files['sw']}"]


@pytest.mark.parametrize("backbone", ["bert", "xlm-roberta"])
def test_a_few_steps_make_a_model_that_loads(bistill, text, tmp_path, backbone):
    result = bistill(*text, "-o", tmp_path / "model", "--backbone", backbone, *SMALL)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"The model is in {tmp_path / 'model'}"
    model, loading = AutoModelForMaskedLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(loading.values())
    config = model.config
    shape = (config.num_hidden_layers, config.num_attention_heads, config.hidden_size, config.intermediate_size)
    assert (config.model_type, *shape) == (backbone, 2, 2, 16, 32)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "model")) == config.vocab_size <= 300


def test_after_ctrl_c_the_same_command_goes_on_as_it_says(bistill, text, tmp_path, monkeypatch):
    step, made = MaskedTrainer.training_step, []

    def training_step(self, *args, **kwargs):
        if len(made) == 3:
            made.append("Ctrl-C")
            raise KeyboardInterrupt
        made.append(self.state.global_step)
        return step(self, *args, **kwargs)

    words = [*text, *SMALL, "--steps", "6", "--checkpoint-every", "2"]
    assert bistill(*words, "-o", tmp_path / "whole").exit_code == 0
    monkeypatch.setattr(MaskedTrainer, "training_step", training_step)
    result = bistill(*words, "-o", tmp_path / "model")
    assert result.exit_code == 130
    assert result.stderr.endswith("Interrupted. What is finished is kept: the same command goes on from there.\n")
    assert bistill(*words, "-o", tmp_path / "model").exit_code == 0
    assert made == [0, 1, 2, "Ctrl-C", 2, 3, 4, 5]
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "model" / file.name).read_bytes() == file.read_bytes()


def refused(result, *, naming, remedy):
    """The error's one line on standard error."""
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert line.endswith(".")
    assert naming in line
    assert remedy in line
    assert "Traceback" not in line
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("word", ["en.txt", "=en.txt", "en=", "="])
def test_text_without_language_or_file_is_refused(bistill, tmp_path, word):
    result = bistill("--text", word, "-o", tmp_path / "model", *SMALL)
    refused(result, naming=f"--text = {word!r}: not of the form CODE=FILE", remedy="Write it as en=en.txt")


def test_a_language_given_twice_is_refused(bistill, text, tmp_path):
    result = bistill(*text, text[0], "-o", tmp_path / "model", *SMALL)
    refused(result, naming="--text = 'en': given twice", remedy="Name each language once")


def test_a_missing_file_is_refused(bistill, text, tmp_path):
    absent = tmp_path / "absent.txt"
    result = bistill(text[0], f"--text=sw={absent}", "-o", tmp_path / "model", *SMALL)
    refused(result, naming=f"sources.sw = '{absent}': there is no such file", remedy="Correct the path")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"", "Name a file that holds data"),
        (b" \n\n", "Name a source that holds text"),
        (b"\xff\xfe\n", "Convert the file to UTF-8"),
    ],
    ids=["empty", "blank", "not UTF-8"],
)
def test_a_file_without_text_is_refused(bistill, tmp_path, content, remedy):
    file = tmp_path / "bad.txt"
    file.write_bytes(content)
    refused(bistill(f"--text=en={file}", "-o", tmp_path / "model", *SMALL), naming="bad.txt", remedy=remedy)


@pytest.mark.parametrize(
    ("option", "value", "naming"),
    [
        ("--layers", "0", "num_hidden_layers = 0: "),
        ("--hidden-size", "3", "hidden_size = 3: "),
        ("--heads", "3", "hidden_size 16 is not a multiple of num_attention_heads 3"),
        ("--max-length", "-1", "max_length = -1: "),
        ("--steps", "-1", "steps = -1: "),
        ("--learning-rate", "0", "learning_rate = 0.0: "),
        ("--vocab-size", "20", "vocab_size = 20: "),
    ],
)
def test_sizes_out_of_range_are_refused(bistill, text, tmp_path, option, value, naming):
    result = bistill(*text, "-o", tmp_path / "model", *SMALL, option, value)
    refused(result, naming=naming, remedy="et it to" if option == "--vocab-size" else "Correct the value")
    assert "{" not in result.stderr, "not all the settings at once"


@pytest.mark.parametrize("words", [["--layers", "many"], ["--backbone", "gpt2"], ["--no-such-option"]])
def test_words_that_are_no_options_are_refused_with_the_usage(bistill, text, tmp_path, words):
    result = bistill(*text, "-o", tmp_path / "model", *words)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert words[0] in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("missing", ["--text", "--output"])
def test_text_and_output_must_be_given(bistill, text, tmp_path, missing):
    result = bistill(*(["-o", tmp_path / "model"] if missing == "--text" else text))
    assert result.exit_code == 2
    assert f"Missing option '{missing}'" in result.stderr


def test_a_folder_that_holds_a_model_is_left_alone(bistill, text, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"mine")
    refused(bistill(*text, "-o", tmp_path, *SMALL), naming="already holds a model", remedy="Choose another folder")
    assert (tmp_path / "model.safetensors").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_output_that_is_a_file_is_refused(bistill, text, tmp_path):
    (tmp_path / "model").write_text("mine", encoding="utf-8")
    refused(
        bistill(*text, "-o", tmp_path / "model", *SMALL),
        naming="nothing can be written there",
        remedy="Choose a folder",
    )
