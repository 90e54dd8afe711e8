"""`bistill submit`: a recipe on Hugging Face Jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import check_output_file, not_writable
from .recipe_options import load

if TYPE_CHECKING:
    from huggingface_hub import JobInfo

    from ..job_script import Script
    from ..jobs import Job

_EXAMPLE = """\b
Examples:
  bistill submit en_sw --flavor a10g-large --timeout 2d --dry-run
  bistill submit en_sw --tasks ner --flavor a10g-largex4 --push-to my-org/bistill-en-sw --create-pr
  bistill submit en_sw --flavor a10g-large --write-script en_sw_job.py --dry-run
"""


@click.command("submit", short_help="Distil a pair on Hugging Face Jobs.", epilog=_EXAMPLE)
@click.argument("recipe")
@click.option("--tasks", metavar="NAMES", help="Do these tasks of the recipe alone, such as ner,qa; none: no task.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Replace a field; may be repeated.")
@click.option(
    "--set-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A TOML file of fields to replace. --set goes on top of it.",
)
@click.option("--flavor", required=True, help="Hardware, such as a10g-large; `hf jobs hardware` lists it.")
@click.option("--timeout", default="12h", show_default=True, help="Time after which the job ends: 90m, 12h, 2d.")
@click.option("--processes", type=click.IntRange(min=1), help="Processes that train.  [default: one a GPU]")
@click.option("--namespace", metavar="ORG", help="Whose job it is.  [default: your own]")
@click.option("--bucket", metavar="ORG/NAME", help="Bucket that keeps the run.  [default: bistill-runs of ORG]")
@click.option("--push-to", metavar="ORG/NAME", help="Publish the checked pair there.")
@click.option("--create-pr", is_flag=True, help="Publish as a pull request, also where you could write.")
@click.option("--private", is_flag=True, help="If the repository is made: only its owners see it.")
@click.option(
    "--package",
    metavar="REQUIREMENT",
    help="How the job installs this package: bistill-hub==VERSION, or git+https://ADDRESS@COMMIT.  [default: as here]",
)
@click.option("--write-script", type=click.Path(path_type=Path), metavar="FILE", help="Write the script there too.")
@click.option("--dry-run", is_flag=True, help="Print what would be submitted, and submit nothing.")
@click.option("--yes", is_flag=True, help="Submit without asking.")
@click.option(
    "--follow/--detach", default=False, help="Show the log until the job ends, or leave it.  [default: leave]"
)
def submit_command(
    recipe: str,
    tasks: str | None,
    assignments: tuple[str, ...],
    set_file: Path | None,
    flavor: str,
    timeout: str,
    processes: int | None,
    namespace: str | None,
    bucket: str | None,
    push_to: str | None,
    create_pr: bool,
    private: bool,
    package: str | None,
    write_script: Path | None,
    dry_run: bool,
    yes: bool,
    follow: bool,
) -> None:
    """Distil a pair on Hugging Face Jobs: `bistill run`, `bistill check`, and with --push-to `bistill push`.

    RECIPE is as for `bistill run`. It is read here, and its values go into the job's script. Files of this machine
    cannot: text, labels and models have to be on the Hub. Jobs are paid for; what a job costs at most is printed before
    you are asked.

    Your token goes along as a secret of the job, HF_TOKEN: log in with one that may start jobs, and write to the
    repository if there is one to publish to.

    The job works on its own disk, and every ten minutes copies the run's folder into a private bucket, in a folder
    called by the pair's name. If it is ended by the time-out, or by whatever, the same command goes on from that copy.
    Two jobs of the same pair at a time would spoil each other's copy.
    """
    _check_options(push_to, create_pr, private, write_script)
    loaded = load(recipe, tasks, assignments, set_file)

    from ..job_script import Push, Script, constraints, requirement
    from ..jobs import make_job, submit

    unchanged = not (assignments or set_file or tasks is not None)
    script = Script(
        recipe=loaded,
        requirement=requirement(package),
        constraints=constraints(),
        push=None if push_to is None else Push(repo_id=push_to, create_pr=create_pr, private=private),
    )
    job = make_job(
        script,
        # A job has no spaces in its files' names.
        file_name=f"{Path(recipe).stem.replace(' ', '_') if unchanged else loaded.name}.py",
        flavor=flavor,
        timeout=timeout,
        processes=processes,
        namespace=namespace,
        bucket=bucket,
        asked=not dry_run,
    )
    if write_script is not None:
        _write(write_script, job.script)
    _print_job(job)
    if dry_run:
        click.echo("Nothing was submitted.")
        return
    if not yes:
        click.confirm("Submit it?", abort=True)
    started = submit(job)
    click.echo(f"The job is at {started.url}")
    if follow:
        _follow(started)
    else:
        click.echo(f"Its log: hf jobs logs {started.owner.name}/{started.id}")
    click.echo(f"The pair: {_fetching(job)}")


def _check_options(push_to: str | None, create_pr: bool, private: bool, write_script: Path | None) -> None:
    """Refuse options that contradict each other or the Hub's names."""
    from ..errors import InputError
    from ..hub.remote import check_destination

    if push_to is not None:
        check_destination(push_to, create_pr=create_pr)
    for name, given in (("create-pr", create_pr), ("private", private)):
        if given and push_to is None:
            raise InputError("there is nothing to publish", field=name, value=True, remedy="add --push-to ORG/NAME")
    if write_script is not None:
        check_output_file("--write-script", write_script)


def _write(file: Path, script: Script) -> None:
    try:
        file.write_text(script.text, encoding="utf-8")
    except OSError as error:
        raise not_writable("--write-script", file, error) from error
    click.echo(f"The script is in {file}")


def _print_job(job: Job) -> None:
    """Print what would be submitted; of secrets the names alone."""
    from ..job_script import TOKEN_SECRET
    from ..jobs import BUCKET, ENVIRONMENT

    script = job.script
    mode = " (as a pull request)" if script.push and script.push.create_pr else ""
    owner = job.namespace or "your account"
    processes = f"{script.processes} process{'' if script.processes == 1 else 'es'}"
    lines = {
        "Pair": script.recipe.name,
        "Owner": owner,
        "Hardware": f"{script.flavor}, {processes}",
        "Time-out": script.timeout,
        "Image": job.image,
        "Command": f"uv run {job.path}",
        "Dependencies": script.requirement,
        "Constraints": ", ".join(script.constraints),
        "Environment": ", ".join(ENVIRONMENT),
        "Secrets": TOKEN_SECRET,
        "Kept in": f"{script.bucket or f'{BUCKET} of {owner}'}, in the folder {script.recipe.name}",
        "Published as": f"{script.push.repo_id}{mode}" if script.push else "not at all",
        "Updates": ", ".join(_updates(script)),
        "Time": "not known beforehand: `bistill plan` measures on the machine that it runs on",
        "Cost": _cost(job),
    }
    for name, value in lines.items():
        click.echo(f"{name}: {value}")


def _updates(script: Script) -> list[str]:
    """What is known of each stage's updates; nothing is downloaded."""
    from ..pipeline.plan import plan

    stages = plan(script.recipe, Path(script.mount) / script.recipe.name, trial=False).stages
    shown = [(stage.slug, "unknown" if stage.updates is None else f"{stage.updates:,}") for stage in stages]
    return [f"{name} {updates}" for name, updates in shown if updates != "0"]


def _cost(job: Job) -> str:
    if job.price is None:
        return f"not known, for {job.note}"
    each = f"{job.price.dollars:g} US dollars per {job.price.unit}"
    return each if job.cost is None else f"{each}, at most {job.cost:,.2f} until the time-out"


def _fetching(job: Job) -> str:
    """The command that fetches the packaged pair from the bucket."""
    script = job.script
    return f"hf buckets sync hf://buckets/{script.bucket}/{script.recipe.name}/package/repository FOLDER"


def _follow(started: JobInfo) -> None:
    from ..jobs import follow, goes_on
    from .group import INTERRUPTED

    try:
        for line in follow(started):
            click.echo(line)
    except KeyboardInterrupt:  # ends the following alone
        click.echo(goes_on(started), err=True)
        raise SystemExit(INTERRUPTED) from None
