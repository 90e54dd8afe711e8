"""`bistill eval`: scores of a published or packaged pair, and of its teacher beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from .options import by_language, check_output_file, not_writable

if TYPE_CHECKING:
    from ..sources import LabelledSource

USUAL_LENGTH = 256


_EVAL_EXAMPLE = """\b
Example, with a file and a data set of the Hub:
  bistill eval runs/mine/package/repository --task ner --test en=test.en.conll \\
    --test 'sw={"dataset": "masakhane/masakhaner2", "revision": "refs/convert/parquet",
      "data_dir": "swa", "split": "test", "label_map": {"DATE": "O"}}'
"""


@click.command("eval", epilog=_EVAL_EXAMPLE)
@click.argument("pair")
@click.option("--task", required=True, help="One of the pair's tasks, such as ner.")
@click.option(
    "--test",
    "tests",
    multiple=True,
    required=True,
    metavar="CODE=FILE",
    help="Labelled data of one of the pair's languages: a file, or a source's fields as JSON. May be repeated.",
)
@click.option("--teacher", help="A model tuned for the task, Hub id or folder, to be scored by the same code.")
@click.option("--revision", help="Branch, tag or commit of the pair on the Hub.")
@click.option(
    "--max-length",
    type=click.IntRange(min=5),
    help="Sub-words that a model input may have.  [default: 256, or what the pair can read]",
)
@click.option(
    "--json",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the scores there too, in the form of a pair's results.json.",
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Keep the predictions there, one file a model and language. After an interruption the same command goes on.",
)
@click.option("--quiet", is_flag=True, help="No progress bars.")
def eval_command(
    pair: str,
    task: str,
    tests: tuple[str, ...],
    teacher: str | None,
    revision: str | None,
    max_length: int | None,
    file: Path | None,
    predictions: Path | None,
    quiet: bool,
) -> None:
    """Score PAIR on a task, in one of its languages or in both.

    PAIR is a Hub id or a folder that a run packaged. A test set is a file, or the fields of a source as JSON: `path` or
    `dataset`, and `config`, `split`, `revision`, `data_dir`, `columns`, `label_map`, `where`,
    `limit`, `answer_language`. `bistill score` scores kept predictions again.
    """
    sources = _sources(tests)
    if file is not None:
        check_output_file("--json", file)
    if predictions is not None:
        _check_folder(predictions)
    room = _check_pair(pair, task, sources, revision)
    if max_length is not None and max_length > room:
        raise InputError(
            f"the pair reads at most {room} tokens",
            field="--max-length",
            value=max_length,
            remedy=f"set it to {room} or less",
        )

    from ..evaluation.evaluate import evaluate_pair
    from ..evaluation.results import write_results
    from ..pipeline.manifest import versions
    from .printing import print_table
    from .tables import score_table

    results = evaluate_pair(
        pair,
        task,
        sources,
        teacher=teacher,
        revision=revision,
        max_length=max_length or min(USUAL_LENGTH, room),
        progress=not quiet,
        predictions_dir=predictions,
    )
    print_table(score_table(results))
    if file is not None:
        try:
            write_results(file, results, versions())
        except OSError as error:
            raise not_writable("--json", file, error) from error
        click.echo(f"The scores are in {file}")


def _sources(words: Sequence[str]) -> dict[str, LabelledSource]:
    """Test set by language; local files are checked to be there.

    Raises:
        InputError: a word is not of the right form, a language is given twice, or a file is missing or empty.
    """
    found = by_language("--test", words, example="sw=test.conll")
    return {code: labelled_source(f"--test {code}", value) for code, value in found.items()}


def labelled_source(option: str, value: str) -> LabelledSource:
    """Read what an option says of labelled data, a file or a source's fields as JSON; a file is checked to be there.

    Args:
        option: The option, named in errors.
        value: What was given to it.

    Raises:
        InputError: it is not of the right form, or the file is missing or empty.
    """
    from pydantic import ValidationError

    from ..sources import LabelledSource

    fields: object = value
    if value.lstrip().startswith("{"):
        try:
            fields = json.loads(value)
        except json.JSONDecodeError as error:
            raise InputError(
                f"not JSON ({error})", field=option, value=value, remedy="correct it, or name a file"
            ) from error
    try:
        source = LabelledSource.model_validate(fields)
    except ValidationError as error:
        raise InputError.from_validation(error, within=option) from error
    source.check(option)
    return source


def _check_folder(folder: Path) -> None:
    """Make the folder for predictions, and refuse one that cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable("--predictions", folder, error) from error


def _check_pair(pair: str, task: str, sources: Mapping[str, LabelledSource], revision: str | None) -> int:
    """Refuse what the pair does not have, and test sets that cannot be scored, before any weights are loaded.

    Returns:
        How many tokens the pair reads at most.
    """
    from ..hub.export import load_pair_config, published_tasks
    from ..student.backbones import backbone_for
    from ..tasks import get_task
    from ..tasks.task import source_file

    config = load_pair_config(pair, revision)
    languages = (config.source_language, config.target_language)
    for code in sources:
        if code not in languages:
            raise InputError(
                "not a language of the pair", field="--test", value=code, remedy=f"use {' or '.join(languages)}"
            )
    published = config.tasks or {}
    # A task that was added to a repository later need not be listed there, which only a folder can tell.
    if Path(pair).is_dir() and task not in (names := published_tasks(config, pair)):
        raise InputError(
            "the pair has no such task",
            file=pair,
            field="--task",
            value=task,
            remedy=f"choose one of {', '.join(names)}" if names else "fine-tune it for a task first",
        )
    kind = get_task(task)
    for source in sources.values():
        dataset = kind.read(source)
        if task in published:
            kind.check_labels(dataset, tuple(published[task]["labels"]), source_file(source))
    native = config.backbone_config()
    return backbone_for(native).longest_input(native)
