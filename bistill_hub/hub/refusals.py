"""What the Hub answers when it does not do what it is asked, as one sentence with the remedy, without any token."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from json import JSONDecodeError
from typing import TYPE_CHECKING

from ..errors import BistillError, InputError, first_line

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
MOVED = "the branch moved while uploading; give the command again"
_TOKEN = re.compile(r"(hf_|Bearer\s+)[\w.~+/=-]+")


class OfflineError(InputError):
    """huggingface_hub is told to stay offline."""


class NoAnswerError(BistillError):
    """The Hub did not answer: there is no connection, or it broke.

    Args:
        repo_id: The repository that was asked for.
        reason: What the client says of it.
    """

    def __init__(self, repo_id: str, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{repo_id}: the connection to the Hub broke, or there is none, or its answer cannot be read ({reason}). "
            "See to the network and give the same command again: it goes on from what the Hub has."
        )


@contextmanager
def explained(repo_id: str) -> Iterator[None]:
    """Say the Hub's errors in one sentence with the remedy; no token is ever in it.

    Args:
        repo_id: The repository that is asked for.

    Raises:
        InputError: other arguments, or another login, are needed.
        BistillError: the Hub did not answer as it should.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except BistillError:
        raise
    except OfflineModeIsEnabled as error:
        raise _unasked(repo_id, error) from error
    except HFValidationError as error:
        raise bad_name(repo_id) from error
    except LocalTokenNotFoundError as error:
        raise InputError("nobody is logged in", file=repo_id, remedy=LOGIN) from error
    except HfHubHTTPError as error:
        raise _refused(repo_id, error) from error
    except httpx2.HTTPError as error:
        raise _broken_off(repo_id, error) from error
    except RuntimeError as error:  # around what went wrong while a large file was uploaded
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError):
            raise _refused(repo_id, cause) from error
        raise _broken_off(repo_id, cause or error) from error
    except JSONDecodeError as error:
        raise _broken_off(repo_id, error) from error
    except ValueError as error:
        if not str(error).startswith("Invalid metadata"):
            raise
        reasons = "; ".join(line.removeprefix("- ") for line in str(error).splitlines()[1:])
        raise InputError(
            f"the Hub does not take the card's metadata ({_public(reasons)})", file="README.md", remedy="correct them"
        ) from error


def bad_name(repo_id: str) -> InputError:
    """Say that a text names no repository."""
    return InputError(
        "not the name of a repository",
        field="repo_id",
        value=repo_id,
        remedy="write it as ORG/NAME, of letters, digits, '-', '_' and '.'",
    )


def offline(repo_id: str) -> OfflineError:
    """Say that huggingface_hub is told to stay offline."""
    return OfflineError(
        "the Hub cannot be asked in offline mode",
        file=repo_id,
        remedy="unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, and give the command again",
    )


def _unasked(repo_id: str, error: OfflineModeIsEnabled) -> BistillError:
    """Tell offline mode, and a network that there is not, apart."""
    from ..first_contact import NoConnectionError

    return _broken_off(repo_id, error) if isinstance(error, NoConnectionError) else offline(repo_id)


def _broken_off(repo_id: str, error: BaseException) -> NoAnswerError:
    return NoAnswerError(repo_id, _public(first_line(error)) if isinstance(error, Exception) else type(error).__name__)


_REFUSALS = {
    400: ("the Hub does not take it", "correct what it names"),
    401: ("the Hub does not accept the token, or there is none", f"{LOGIN} to a valid token"),
    402: ("the Hub wants this account to pay for it", "see the account's plan and storage on the Hub"),
    403: (
        "this account or its token may not do this",
        "use a token that allows writing, and ask the repository's owners for the right",
    ),
    404: ("the Hub has nothing of this name", "correct the names of repository and revision"),
    413: ("this is more than the Hub takes at once", "publish fewer or smaller files"),
}


def _refused(repo_id: str, error: HfHubHTTPError) -> BistillError:
    """Explain an answer that is an error."""
    from huggingface_hub.errors import DisabledRepoError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    status = error.response.status_code
    said = _public(error.server_message or "").strip().partition("\n")[0]
    reason = f"{status}: {said}" if said else f"{status}"
    if isinstance(error, GatedRepoError):
        problem, remedy = "the repository is gated, and this account has no access", "ask for access on its page"
    elif isinstance(error, DisabledRepoError):
        problem, remedy = "the repository is disabled", "ask its owners, or name another one"
    elif isinstance(error, RevisionNotFoundError):
        problem, remedy = "the repository has no such revision", "name a branch that it has, or leave it out"
    elif isinstance(error, RepositoryNotFoundError):
        problem = "there is no such repository, or this account may not see it"
        remedy = f"correct the name, or {LOGIN} of an account that may see it"
    elif status in (409, 412):
        return BistillError(f"{repo_id}: {MOVED} ({reason}).")
    elif status == 429:
        return BistillError(f"{repo_id}: the Hub has had too many requests ({status}). {_wait(error.response.headers)}")
    elif status in _REFUSALS:
        problem, remedy = _REFUSALS[status]
    else:
        return BistillError(f"{repo_id}: the Hub has a fault of its own ({reason}). Give the same command again later.")
    return InputError(f"{problem} ({reason})", file=repo_id, remedy=remedy)


def _wait(headers: Mapping[str, str]) -> str:
    """How long to wait, as the Hub says it: `Retry-After`, or its own `RateLimit`, in seconds."""
    limit = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    seconds = headers.get("Retry-After", limit[1] if limit else "")
    if not seconds.isdecimal():
        return "Wait some minutes, and give the same command again."
    return f"Wait {seconds} seconds, and give the same command again."


def _public(text: str) -> str:
    """Return a text without anything that looks like a token."""
    return _TOKEN.sub(r"\1...", text)
