"""What the libraries behind the commands may print, and how long they may try to reach the Hub.

They print neither what the commands say themselves, nor noise.

Importing this imports none of them. Each is told as soon as it is imported, or at once where that has happened.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from typing import Any

import wrapt

_VERBOSITY = "TRANSFORMERS_VERBOSITY"


def hold_back(*, quiet: bool) -> None:
    """Keep transformers from reporting on each model that it loads, and with `quiet` all libraries from drawing bars.

    A head that a checkpoint has and an encoder does not want, or the other way round, is expected here; what must be in
    a checkpoint is seen to by `bistill_hub.teacher`. Who sets TRANSFORMERS_VERBOSITY gets what it asks for.

    Args:
        quiet: Whether the command was told to show no progress.
    """
    if quiet:
        for module in ("huggingface_hub.utils.tqdm", "datasets.utils.tqdm"):
            wrapt.when_imported(module)(_no_bars)
    wrapt.when_imported("transformers.utils.logging")(_no_reports)


@cache
def give_up_early_without_network() -> None:
    """Have huggingface_hub try the first connection once, and not for half a minute; see `first_contact`."""
    wrapt.when_imported("huggingface_hub.utils._http")(_one_try)


def _no_bars(bars: Any) -> None:
    """Switch a library's bars off; that an environment variable forbids it is no news to who has set it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bars.disable_progress_bars()


def _one_try(_http: Any) -> None:
    from ..first_contact import give_up_early

    give_up_early()


def _no_reports(logging: Any) -> None:
    """Switch off transformers' warnings and bars, but not the bars of downloads, which it takes for its own."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars

    of_downloads = not are_progress_bars_disabled()
    if _VERBOSITY not in os.environ:
        logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable_progress_bar()
    if of_downloads:
        enable_progress_bars()
