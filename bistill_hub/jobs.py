"""Runs a recipe on Hugging Face Jobs: what is asked for, what it costs at most, and the asking.

Documented calls of huggingface_hub alone are used. The token travels as a secret of the job: it is in no script, no
argument and no text that is printed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from .errors import BistillError, InputError
from .hub.refusals import LOGIN, explained, offline
from .job_script import TOKEN_SECRET, Script, check_portable
from .pipeline.run import check_division

if TYPE_CHECKING:
    from huggingface_hub import HfApi, JobHardwareInfo, JobInfo

ENVIRONMENT = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONUNBUFFERED": "1"}
"""Variables of a job: its log is read as lines."""

BUCKET = "bistill-runs"
"""Name of the bucket that keeps runs, where none is named."""

_JOBS = "Jobs"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNITS = {"second": 1, "minute": 60, "hour": 3600}
_TIMEOUT = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_SEVERAL = re.compile(r"x(\d+)$")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


class _NoSuchHardware(InputError):
    """The Hub has said what there is, and this is not of it."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What hardware costs.

    Attributes:
        dollars: US dollars per unit of time.
        unit: That unit, such as "minute".
    """

    dollars: float
    unit: str

    def at_most(self, seconds: float) -> float | None:
        """Return the cost of a job of so many seconds in US dollars; None where the unit is not known."""
        unit = _UNITS.get(self.unit)
        return None if unit is None else self.dollars * seconds / unit


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that could be submitted.

    Attributes:
        script: What it does; its flavour, time-out and bucket are the job's.
        file_name: Name of the script's file, which a card gives as the recipe's.
        namespace: Whose job it is; None where that is not known.
        image: The container's image.
        price: What the hardware costs; None where that is not known.
        note: Why it is not known; empty otherwise.
    """

    script: Script
    file_name: str
    namespace: str | None
    image: str
    price: Price | None
    note: str

    @property
    def seconds(self) -> float:
        """Time after which the job ends, in seconds."""
        return timeout_seconds(self.script.timeout or "")

    @property
    def cost(self) -> float | None:
        """What it costs at most, in US dollars; None where the price is not known."""
        return None if self.price is None else self.price.at_most(self.seconds)

    @property
    def path(self) -> str:
        """Where the job finds the script."""
        from huggingface_hub.constants import HF_JOBS_ARTIFACTS_MOUNT_PATH

        return f"{HF_JOBS_ARTIFACTS_MOUNT_PATH}/{self.file_name}"


def timeout_seconds(timeout: str) -> float:
    """Read a time such as 90m, 12h or 2d; a number alone is of seconds.

    Raises:
        InputError: it is none, or 0.
    """
    match = _TIMEOUT.fullmatch(timeout)
    seconds = float(match[1]) * _SECONDS[match[2] or "s"] if match else 0.0
    if not seconds:
        raise InputError("not a time", field="timeout", value=timeout, remedy="write it as 90m, 12h or 2d")
    return seconds


def make_job(
    script: Script,
    *,
    file_name: str,
    flavor: str,
    timeout: str,
    processes: int | None = None,
    namespace: str | None = None,
    bucket: str | None = None,
    asked: bool = True,
) -> Job:
    """Make a job of a script, and refuse what would fail there.

    Args:
        script: What to do.
        file_name: Name of the script's file.
        flavor: Hardware, as the Hub calls it.
        timeout: Time after which the job ends, such as 12h.
        processes: How many processes train; None for one a GPU.
        namespace: User or organisation that the job belongs to; None for who is logged in.
        bucket: Bucket that keeps the run's folder, as OWNER/NAME; None for `BUCKET` of the namespace.
        asked: Whether the Hub has to say what hardware there is, what it costs, and who is logged in. Otherwise it is
            asked too, but need not answer: the number of GPUs is then read from the flavour's name.

    Raises:
        InputError: the recipe names files of this machine, there is no such hardware, too many processes would train,
            or nobody is logged in.
        BistillError: the Hub did not answer as it should.
    """
    from huggingface_hub import HfApi
    from huggingface_hub._jobs_api import DEFAULT_UV_IMAGE

    check_portable(script.recipe)
    timeout_seconds(timeout)
    for field, name, parts in (("namespace", namespace, 1), ("bucket", bucket, 2)):
        _check_name(field, name, parts)
    hardware, note = None, ""
    try:
        with _asking():
            hardware = _hardware(HfApi(), flavor)
            namespace = namespace or _user(HfApi(), asked)
    except _NoSuchHardware:
        raise
    except BistillError as error:
        if asked:
            raise
        note = str(error)
    processes = processes or _gpus(flavor, hardware)
    check_division(script.recipe, processes)
    if bucket is None and namespace is not None:
        bucket = f"{namespace}/{BUCKET}"
    return Job(
        script=replace(script, processes=processes, flavor=flavor, timeout=timeout, bucket=bucket),
        file_name=file_name,
        namespace=namespace,
        image=DEFAULT_UV_IMAGE,
        price=Price(dollars=hardware.unit_cost_usd, unit=hardware.unit_label) if hardware else None,
        note=note,
    )


def submit(job: Job) -> JobInfo:
    """Submit a job: make the bucket if it is missing, and start the script there.

    Raises:
        InputError: nobody is logged in, or the account may not do this.
        BistillError: the Hub did not answer as it should.
    """
    from huggingface_hub import HfApi, Volume, get_token

    token = get_token()
    if token is None:
        raise InputError("nobody is logged in", file=_JOBS, remedy=LOGIN)
    api = HfApi()
    script = job.script
    assert script.bucket is not None
    with _asking(), TemporaryDirectory(prefix="bistill-submit-") as place, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*run_uv_job", category=UserWarning)  # that it may yet change
        file = Path(place) / job.file_name
        file.write_text(script.text, encoding="utf-8")
        api.create_bucket(script.bucket, private=True, exist_ok=True)
        return api.run_uv_job(
            str(file),
            image=job.image,
            env=dict(ENVIRONMENT),
            secrets={TOKEN_SECRET: token},
            flavor=script.flavor,
            timeout=script.timeout,
            name=script.recipe.name,
            volumes=[Volume(type="bucket", source=script.bucket, mount_path=script.mount)],
            namespace=job.namespace,
        )


def follow(job: JobInfo) -> Iterator[str]:
    """Yield the lines of a job's log as they come, until it ends.

    Raises:
        BistillError: it failed, or was ended by somebody or by the time-out; or its log broke off, and it goes on.
    """
    from huggingface_hub import HfApi

    api, owner = HfApi(), job.owner.name
    try:
        with _asking():
            yield from api.fetch_job_logs(job_id=job.id, namespace=owner, follow=True)
            status = api.wait_for_job(job.id, namespace=owner).status
    except BistillError as error:  # of which the remedy is to give the command again
        reason = getattr(error, "reason", None) or getattr(error, "problem", None)
        said = f" ({reason})" if reason else ""
        raise BistillError(f"{job.url}: the log broke off{said}. {goes_on(job)}") from error
    if status.stage != "COMPLETED":
        said = f" ({status.message})" if status.message else ""
        raise BistillError(
            f"{job.url}: the job ended as {status.stage}{said}. Its log says why. What is finished is kept in the "
            "bucket: the same command goes on from there."
        )


def goes_on(job: JobInfo) -> str:
    """Say of a job that is followed no longer that it has not ended, and what can be done about it."""
    place = f"{job.owner.name}/{job.id}"
    return (
        f"The job goes on: `hf jobs logs {place}` shows its log, `hf jobs cancel {place}` ends it. "
        "Do not submit it again meanwhile."
    )


def _asking() -> Any:
    """Say the Hub's errors in one sentence, and refuse to ask it in offline mode."""
    from huggingface_hub import is_offline_mode

    if is_offline_mode():
        raise offline(_JOBS)
    return explained(_JOBS)


def _check_name(field: str, name: str | None, parts: int) -> None:
    if name is not None and (name.count("/") != parts - 1 or not all(map(_NAME.fullmatch, name.split("/")))):
        shown = "OWNER/NAME" if parts > 1 else "a user's or organisation's name"
        raise InputError("not a name on the Hub", field=field, value=name, remedy=f"write it as {shown}")


def _hardware(api: HfApi, flavor: str) -> JobHardwareInfo:
    there = {each.name: each for each in api.list_jobs_hardware()}
    if flavor not in there:
        raise _NoSuchHardware(
            "Jobs has no such hardware", field="flavor", value=flavor, remedy=f"choose one of {', '.join(there)}"
        )
    return there[flavor]


def _user(api: HfApi, asked: bool) -> str | None:
    """Who is logged in; None where nobody is and nobody has to be."""
    from huggingface_hub import get_token

    if get_token() is not None:
        return str(api.whoami()["name"])
    if asked:
        raise InputError("nobody is logged in", file=_JOBS, remedy=LOGIN)
    return None


def _gpus(flavor: str, hardware: JobHardwareInfo | None) -> int:
    """Count the GPUs: as the Hub says, or by the end of the flavour's name."""
    if hardware is not None:
        count = hardware.accelerator.quantity if hardware.accelerator else "1"
        with suppress(ValueError):
            return max(1, int(count))
    match = _SEVERAL.search(flavor)
    return int(match[1]) if match else 1
