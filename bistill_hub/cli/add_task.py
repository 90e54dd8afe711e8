"""`bistill add-task`: a new task for a published pair, proposed as a pull request."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError

if TYPE_CHECKING:
    from ..hub.add_task import AddedTask

_ADD_EXAMPLE = """\b
Example:
  bistill add-task my-org/bistill-en-sw --task pos \\
    --data train=train.conllu --data validation=dev.conllu \\
    --data test_source=test.en.conllu --data test_target=test.sw.conllu
"""


@click.command("add-task", short_help="Train a task for PAIR and propose it.", epilog=_ADD_EXAMPLE)
@click.argument("pair")
@click.option("--task", required=True, help="Its name, such as ner, nli, pos or qa.")
@click.option(
    "--data",
    multiple=True,
    metavar="NAME=FILE",
    help="The file for train, validation, test_source or test_target. For a data set of the Hub leave it out, and "
    "give --set NAME.dataset=ID --set NAME.split=SPLIT.",
)
@click.option("--teacher", metavar="DIR_OR_ID", help="The pair's multilingual teacher.  [default: the one it names]")
@click.option(
    "--target-text",
    metavar="FILE",
    help="Text of the target language, for --set distillation.target_share=SHARE.  [default: the one the pair names]",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="A field of the task's recipe, such as teacher.epochs=3 or distillation.density=0.05. May be repeated.",
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Folder for everything written.  [default: runs/add-TASK]"
)
@click.option("--replace", is_flag=True, help="Train a task anew that the pair has.")
@click.option("--no-push", is_flag=True, help="Open no pull request, and print what it would change.")
@click.option("--revision", help="Branch of the pair, to which the pull request is opened.  [default: the main branch]")
@click.option(
    "--endpoint",
    metavar="URL",
    help="The Hub's address, to which your token is sent.  [default: that of HF_ENDPOINT, or the Hub]",
)
@click.option("--quiet", is_flag=True, help="No progress bars.")
def add_task_command(
    pair: str,
    task: str,
    data: tuple[str, ...],
    teacher: str | None,
    target_text: str | None,
    assignments: tuple[str, ...],
    output: Path | None,
    replace: bool,
    no_push: bool,
    revision: str | None,
    endpoint: str | None,
    quiet: bool,
) -> None:
    """Train a task for PAIR, score it, and open a pull request that adds it.

    PAIR is the Hub id of a published pair, or a folder that a run packaged; of a folder nothing is published. Its base
    and its other tasks stay as they are: the pull request holds the folder of the task, and the card with its scores.
    Log in first with `hf auth login`, or set HF_TOKEN; the right to write to the repository is not needed.

    The task is loaded by its name, from_pretrained(PAIR, task=TASK), because config.json does not list it.

    Pair, teacher and data are checked before anything is trained. A command that was interrupted goes on where it
    stopped when it is given again. If the pull request conflicts because the repository has moved meanwhile, the same
    command makes a new one without training again.
    """
    sources = _by_name(data)

    from ..hub.add_task import add_task
    from ..recipe_changes import parse_changes

    added = add_task(
        pair,
        task,
        sources,
        output_dir=output or Path("runs") / f"add-{task}",
        teacher=teacher,
        target_text=target_text,
        settings=parse_changes(assignments),
        revision=revision,
        endpoint=endpoint,
        replace=replace,
        dry_run=no_push,
        progress=not quiet,
    )
    _show(added, pair)


def _by_name(words: Iterable[str]) -> dict[str, str]:
    """Split the words of `--data`.

    Raises:
        InputError: a word has no name or no file, or a name is given twice.
    """
    files: dict[str, str] = {}
    for word in words:
        name, equals, file = word.partition("=")
        if not equals or not name or not file:
            raise InputError(
                "not of the form NAME=FILE", field="--data", value=word, remedy="write it as train=train.conll"
            )
        if name in files:
            raise InputError("given twice", field="--data", value=name, remedy="name one file for it")
        files[name] = file
    return files


def _show(added: AddedTask, pair: str) -> None:
    """Print the scores, where the pair with the task is, and the pull request or what it would change."""
    from rich.filesize import decimal

    from .printing import print_table
    from .tables import score_table

    print_table(score_table(added.results))
    click.echo(f"The pair with the task is in {added.folder}")
    if added.published is not None:
        what = "is open already with the same files" if added.published.commit is None else "adds the task"
        click.echo(f"The pull request {added.published.pull_request} {what}.")
    elif added.changes:
        click.echo(f"A pull request to {pair} would")
        for change in added.changes:
            click.echo(f"  {change.kind} {change.path} ({decimal(change.size or change.remote_size or 0)})")
        click.echo("Nothing was published.")
