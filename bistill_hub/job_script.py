"""Writes the script that distils a recipe on another machine: one file for `uv run`, which names all that it needs.

The script is a recipe like those of `recipes/`: `bistill plan` reads it too. It holds the recipe's values, so that no
file of this machine is needed where it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata

from .errors import InputError
from .pipeline.portable import public_name
from .recipe import Recipe
from .version import __version__

DISTRIBUTION = "bistill-hub"
TOKEN_SECRET = "HF_TOKEN"
MOUNT = "/bistill-runs"
"""Where a job sees the bucket that keeps runs."""

_REQUIREMENT = re.compile(r"bistill[-_.]hub\s*(==|>=|~=|<|@)\s*[^\s\"]+", re.IGNORECASE)
_TO_THE_HUB = "put the data on the Hub and name them by id and revision, with --set where the recipe is not yours"


@dataclass(frozen=True, kw_only=True)
class Push:
    """Where the finished pair goes.

    Attributes:
        repo_id: The repository, as ORG/NAME.
        create_pr: Open a pull request in any case.
        private: Only its owners see the repository, if it is made.
    """

    repo_id: str
    create_pr: bool = False
    private: bool = False

    @property
    def words(self) -> list[str]:
        """What `bistill push` is given beside the folder."""
        options = {"--create-pr": self.create_pr, "--private": self.private}
        return [self.repo_id, *(option for option, wanted in options.items() if wanted)]


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a script is to do, and what it needs.

    Attributes:
        recipe: The recipe.
        requirement: How this package is installed, as a dependency (PEP 508).
        constraints: Versions of further libraries, as `name==version`.
        processes: How many processes train.
        push: Where the pair goes; None publishes nothing.
        flavor: Hardware, for `hf jobs uv run`, which reads it in the script.
        timeout: Time after which a job ends, likewise.
        bucket: The bucket that keeps the run's folder, as OWNER/NAME; likewise. None leaves it to who runs the script.
        mount: Folder in which the script finds that bucket; where there is no such folder, no copy is kept.
    """

    recipe: Recipe
    requirement: str
    constraints: Sequence[str] = ()
    processes: int = 1
    push: Push | None = None
    flavor: str | None = None
    timeout: str | None = None
    bucket: str | None = None
    mount: str = MOUNT

    @property
    def text(self) -> str:
        """The script."""
        recipe = json.dumps(self.recipe.model_dump(mode="json"), indent=2)
        then = ", checks it" + (f", and publishes it as {self.push.repo_id}" if self.push else "")
        return _TEMPLATE.format(
            header="\n".join(f"# {line}".rstrip() for line in self._metadata()),
            name=self.recipe.name,
            then=then,
            version=__version__,
            recipe=recipe,  # JSON has no three quotation marks in a row
            processes=self.processes,
            push=_list(self.push.words if self.push else []),
            mount=json.dumps(self.mount),
        )

    def _metadata(self) -> Iterator[str]:
        """The lines of the script's TOML table (PEP 723): what uv and `hf jobs uv run` read."""
        yield 'requires-python = ">=3.11"'
        yield f"dependencies = [{json.dumps(self.requirement)}]"
        yield from ("", "[tool.uv]", "constraint-dependencies = [")
        yield from (f"    {json.dumps(constraint)}," for constraint in self.constraints)
        yield from ("]", "", "[tool.hf-jobs]")
        yield f"name = {json.dumps(self.recipe.name)}"
        for key in ("flavor", "timeout"):
            if value := getattr(self, key):
                yield f"{key} = {json.dumps(value)}"
        yield f"secrets = [{json.dumps(TOKEN_SECRET)}]"
        if self.bucket:
            yield f"volumes = [{json.dumps(f'hf://buckets/{self.bucket}:{self.mount}')}]"


def _list(words: Sequence[str]) -> str:
    return json.dumps(list(words))


_TEMPLATE = '''\
# /// script
{header}
# ///
"""Distils {name}{then}.

Here: `uv run FILE`; on Hugging Face Jobs: `hf jobs uv run FILE`. Words after FILE are given to `bistill run`.
Written by `bistill submit` of bistill-hub {version}.
"""

import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

from bistill_hub.mirror import mirrored
from bistill_hub.recipe import Recipe

RECIPE = Recipe.make(
    json.loads(
        r"""
{recipe}
"""
    )
)
PROCESSES = {processes}
PUSH = {push}
MOUNT = Path({mount})


def main():
    """Run, check, publish; on a job, work on its own disk and keep a copy in the bucket that is mounted."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    kept = MOUNT / RECIPE.name if MOUNT.is_dir() else None
    folder = Path(tempfile.gettempdir() if kept else ".") / "runs" / RECIPE.name
    launcher = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", str(PROCESSES), "--num_machines", "1"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m"]
    with mirrored(folder, kept):
        pair = folder / "package" / "repository"
        give(*(launcher if PROCESSES > 1 else []), "bistill_hub", "run", __file__, "--output", folder, *sys.argv[1:])
        give("bistill_hub", "check", pair)
        if PUSH:
            give("bistill_hub", "push", pair, *PUSH)


def give(*words):
    """Run a module with arguments; end with its exit status if it fails."""
    status = subprocess.run([sys.executable, "-m", *map(str, words)]).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
'''


def check_portable(recipe: Recipe) -> None:
    """Refuse a recipe that names files or folders of this machine.

    Raises:
        InputError: it does; all such fields are named.
    """
    if local := dict(_local_fields(recipe)):
        shown = ", ".join(f"{field} ({value})" for field, value in local.items())
        several = len(local) > 1
        raise InputError(
            f"{'these fields name' if several else 'this field names'} files of this machine, which a job does not "
            f"have: {shown}",
            field="RECIPE",
            value=recipe.name,
            remedy=_TO_THE_HUB,
        )


def _local_fields(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Each field that names a file or folder here, as `--set` writes it, with its value."""
    texts = [("source.text", recipe.source.text), ("target.text", recipe.target.text)]
    texts += [(f"further_languages.{each.name}.text", each.text) for each in recipe.further_languages]
    labels = [(f"tasks.{task.name}.{name}", source) for task in recipe.tasks for name, source in task.sources.items()]
    for field, source in [*texts, *labels]:
        if source.path is not None:
            yield f"{field}.path", source.path
    models: list[tuple[str, str | None]] = [("teacher.model", recipe.teacher.model)]
    models += [(f"teacher.language_deltas.{code}", name) for code, name in recipe.teacher.language_deltas.items()]
    for task in recipe.tasks:
        models += [(f"tasks.{task.name}.teacher.{name}", getattr(task.teacher, name)) for name in ("model", "delta")]
    for field, model in models:
        if model is not None and public_name(model) is None:
            yield field, model


def installed_requirement() -> str:
    """How another machine installs the version of this package that runs here.

    Returns:
        A dependency (PEP 508): the released version, or the commit that it was installed from.

    Raises:
        InputError: it was installed from a folder, which another machine does not have.
    """
    origin = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    if origin is None:
        return f"{DISTRIBUTION}=={__version__}"
    described = json.loads(origin)
    if "vcs_info" in described:
        vcs = described["vcs_info"]
        return f"{DISTRIBUTION} @ {vcs['vcs']}+{described['url']}@{vcs['commit_id']}"
    if described["url"].startswith("https://"):
        return f"{DISTRIBUTION} @ {described['url']}"
    raise InputError(
        "this package was installed from a folder, and a job cannot install it from there",
        field="package",
        value=described["url"],
        remedy=f"name what the job installs, as {DISTRIBUTION}==VERSION or git+https://ADDRESS@COMMIT",
    )


def requirement(package: str | None) -> str:
    """Return the dependency that `--package` means; what is installed here where it was not given.

    Raises:
        InputError: it is neither a requirement of this package nor an address that installers know.
    """
    if package is None:
        return installed_requirement()
    text = f"{DISTRIBUTION} @ {package}" if package.startswith(("git+https://", "https://")) else package
    if not _REQUIREMENT.fullmatch(text):
        raise InputError(
            "not a requirement of this package",
            field="package",
            value=package,
            remedy=f"write it as {DISTRIBUTION}=={__version__} or git+https://ADDRESS@COMMIT",
        )
    return text


def constraints() -> tuple[str, ...]:
    """The versions of the libraries that this package asks for, as they are installed here, as `name==version`.

    With the same versions a job goes on where an earlier one stopped: another version of what computes a stage would
    begin it anew.
    """
    found = []
    for text in metadata.requires(DISTRIBUTION) or ():
        name, extra = re.split(r"[^\w.-]", text, maxsplit=1)[0], ";" in text
        if not extra:
            found.append(f"{name}=={metadata.version(name).partition('+')[0]}")  # a local label names no release
    return tuple(sorted(found, key=str.lower))
