"""`bistill export`: a pair, or one of its tasks, as a plain checkpoint, in a folder or on the Hub."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import InputError

_EXPORT_EXAMPLE = """\b
Examples, for a tagger:
  bistill export runs/mine/package/repository --task ner --to exported
  bistill export org/bistill-en-sw --task ner --push org/bistill-en-sw-ner
"""


@click.command("export", short_help="Write PAIR as a plain checkpoint.", epilog=_EXPORT_EXAMPLE)
@click.argument("pair")
@click.option(
    "--to",
    "output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="An empty folder. With --push it may be left out.",
)
@click.option("--task", help="The task to include, with its head.  [default: the encoder and its language model]")
@click.option("--revision", help="Branch, tag or commit of the pair on the Hub.")
@click.option("--push", "repo_id", metavar="ORG/NAME", help="Put the checkpoint on the Hub, under this id.")
@click.option("--private", is_flag=True, help="With --push: if the repository is made, only its owners see it.")
@click.option("--create-pr", is_flag=True, help="With --push: open a pull request, whoever the repository belongs to.")
@click.option("--endpoint", metavar="URL", help="With --push: where to.  [default: that of HF_ENDPOINT, or the Hub]")
def export_command(
    pair: str,
    output: Path | None,
    task: str | None,
    revision: str | None,
    repo_id: str | None,
    private: bool,
    create_pr: bool,
    endpoint: str | None,
) -> None:
    """Write PAIR as a plain checkpoint of its backbone, for everything that does not know pairs.

    PAIR is a Hub id or a folder that a run packaged. What is written is loaded by transformers alone, without this
    package and without remote code, and by whatever reads such checkpoints (serving, ONNX). It is loaded back and
    compared with the pair before it appears. It has a small card that names the pair.

    With --push it is put on the Hub in one commit, or as a pull request by those who may not write there. An unchanged
    checkpoint makes no commit; after a failure the same command can be given again.
    """
    from ..hub.export import export_model, push_export

    if repo_id is None:
        for option, value in (("--private", private), ("--create-pr", create_pr), ("--endpoint", endpoint)):
            if value:
                raise InputError(
                    "nothing is pushed", field=option, value=value, remedy="give --push ORG/NAME too, or leave this out"
                )
        if output is None:
            raise click.UsageError("Missing option '--to', or '--push'.")
        click.echo(f"The checkpoint is in {export_model(pair, output, task=task, revision=revision)}")
        return
    published = push_export(
        pair,
        repo_id,
        output_dir=output,
        task=task,
        revision=revision,
        private=private,
        create_pr=create_pr,
        endpoint=endpoint,
    )
    if output is not None:
        click.echo(f"The checkpoint is in {output}")
    if published.pull_request is not None:
        click.echo(f"The checkpoint is proposed in {published.pull_request}")
    elif published.commit is None:
        click.echo(f"The checkpoint is at {published.url} already: nothing changed")
    else:
        click.echo(f"The checkpoint is at {published.url}, commit {published.commit}")
