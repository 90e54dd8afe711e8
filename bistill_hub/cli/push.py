"""`bistill push`: a packaged pair onto the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from ..hub.remote import Change

_PUSH_EXAMPLE = """\b
Examples:
  bistill push runs/mine/package/repository my-org/bistill-en-sw --dry-run
  bistill push runs/mine/package/repository my-org/bistill-en-sw --tag v1
"""


@click.command("push", short_help="Publish the pair in DIR on the Hub.", epilog=_PUSH_EXAMPLE)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("repo_id", metavar="ORG/NAME")
@click.option("--create-pr", is_flag=True, help="Open a pull request, also where you could write.")
@click.option("--private", is_flag=True, help="If the repository is made: only its owners see it.")
@click.option("--revision", help="Branch, or refs/pr/N to add to that pull request.  [default: the main branch]")
@click.option("--tag", help="A tag to set at the commit, such as v1.")
@click.option("--dry-run", is_flag=True, help="Check DIR, print what would be done to which file, and do nothing.")
@click.option(
    "--replace",
    is_flag=True,
    help="Overwrite what is otherwise spared: another model or pair, tasks that others may have contributed, text of "
    "the card that was edited there and here.",
)
@click.option("--smoke", is_flag=True, help="Publish a smoke run, which is refused otherwise; its card says so.")
@click.option(
    "--endpoint",
    metavar="URL",
    help="The Hub's address, to which your token is sent.  [default: that of HF_ENDPOINT, or the Hub]",
)
def push_command(
    folder: Path,
    repo_id: str,
    create_pr: bool,
    private: bool,
    revision: str | None,
    tag: str | None,
    dry_run: bool,
    replace: bool,
    smoke: bool,
    endpoint: str | None,
) -> None:
    """Publish the pair in DIR as the repository ORG/NAME on the Hub.

    DIR is the repository that a run packaged. ORG is your user name or an organisation; the repository is made if it is
    missing. Log in first with `hf auth login`, or set HF_TOKEN to a token that allows writing.

    The pair is checked before anything is sent, as `bistill check` does it. Then all of it goes into one commit: new
    and changed files, and deletions of a pair's files that DIR no longer has. If nothing differs, no commit is made. If
    you may not write to the repository, the commit becomes a pull request. If the upload fails, the repository is as it
    was, and the same command again finishes the job.

    With --dry-run the check comes first as well, and needs no network: findings are listed, or it is said that DIR is
    fit to be published. What would be done to which file only the Hub can tell; where it cannot be asked, that is said,
    with exit code 2.

    The card that is published calls the pair ORG/NAME; the files in DIR stay as they are. Large files go through Xet
    where hf_xet is installed, which this package's tests do not cover; HF_HUB_DISABLE_XET=1 turns it off.
    """
    from ..hub.push import plan_push, push_pair_to_hub
    from ..hub.remote import check_destination

    if dry_run:
        check_destination(repo_id, create_pr=create_pr, tag=tag, endpoint=endpoint, online=False)
        changes = plan_push(
            folder,
            repo_id,
            revision=revision,
            replace=replace,
            smoke=smoke,
            endpoint=endpoint,
            when_fit=partial(_print_fit, folder),
        )
        _print_plan(changes, repo_id)
        return
    done = push_pair_to_hub(
        folder,
        repo_id,
        create_pr=create_pr,
        private=private,
        revision=revision,
        tag=tag,
        replace=replace,
        smoke=smoke,
        endpoint=endpoint,
    )
    if done.pull_request is not None:
        what = "is open already with the same files" if done.commit is None else "holds the pair"
        click.echo(f"The pull request {done.pull_request} {what}.")
    elif done.commit is None:
        click.echo(f"Nothing differs from {done.url}: no commit was made.")
    else:
        click.echo(f"The pair is at {done.url}")
    if done.commit is not None:
        click.echo(f"Commit: {done.commit}")
    if done.tag is not None:
        click.echo(f"Tag: {done.tag}")
    elif tag is not None:
        click.echo(f"The tag {tag} was not set: a pull request has none. Set it when it is merged.")


def _print_fit(folder: Path, files: Sequence[Path]) -> None:
    """Say that the check, for which no network is needed, has found nothing."""
    from rich.filesize import decimal

    size = decimal(sum((folder / file).stat().st_size for file in files))
    click.echo(f"{folder} was checked, and is fit to be published: {len(files)} files, {size}.")


def _print_plan(changes: Sequence[Change], repo_id: str) -> None:
    from rich.filesize import decimal

    from .printing import print_table

    print_table(_table(changes, repo_id))
    sent = [change.size or 0 for change in changes if change.kind in ("add", "change")]
    deleted = sum(change.kind == "delete" for change in changes)
    if sent or deleted:
        click.echo(f"To be sent: {len(sent)} files, {decimal(sum(sent))}. To be deleted: {deleted}. Nothing was done.")
    else:
        click.echo("Nothing differs: no commit would be made.")


def _table(changes: Sequence[Change], repo_id: str) -> Table:
    """Lay out a row for each file."""
    from rich.filesize import decimal
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"What a push does to {escape(repo_id)}")
    for name in ("path", "what", "size", "size on the Hub"):
        table.add_column(name, justify="right" if "size" in name else "left", overflow="fold")
    for change in changes:
        sizes = ("" if size is None else decimal(size) for size in (change.size, change.remote_size))
        table.add_row(escape(change.path), change.kind, *sizes)
    return table
