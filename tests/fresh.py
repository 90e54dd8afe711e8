"""Runs code in fresh processes that need not import torch: they fork from one that has imported it, and little else.

Of Hugging Face's libraries and of this package nothing is imported: their settings come from the environment, and the
order of imports is that of the code, as in any new process.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

_COMMON = ("torch._dynamo", "torch.distributed.tensor", "sklearn.metrics", "pandas", "pyarrow.dataset", "PIL.Image")
"""What an import of transformers' models brings with it, and takes seven eighths of its time."""

PATIENCE = 480
"""Seconds after which a process is taken to be stuck; less than pytest gives a test, so that its words are told."""

_ABSENT = ("bistill_hub", "transformers", "huggingface_hub", "datasets", "evaluate", "accelerate", "tokenizers")


def run_fresh(code: str, *, env: dict[str, str] | None = None, cwd: str | Path | None = None) -> Any:
    """Run code as `python -c` does.

    Args:
        code: Python's source.
        env: The whole environment; as here if None. PYTHONPATH and what else the interpreter or torch reads at its
            start is as it was when the first test asked.
        cwd: The working directory; as here if None.

    Returns:
        A `subprocess.CompletedProcess` with exit status, output and errors (as text).

    Raises:
        AssertionError: it did not end in `PATIENCE`.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        wanted = {"code": code, "env": env or dict(os.environ), "cwd": str(cwd or os.getcwd())}
        server = _server()
        server.stdin.write(json.dumps({**wanted, "out": str(out), "err": str(err)}) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], PATIENCE)[0]:
            os.killpg(server.pid, signal.SIGKILL)
            _server.cache_clear()
            raise AssertionError(f"it is stuck, and has said {out.read_text()!r} and {err.read_text()!r}: {code}")
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(["-c", code], status, out.read_text(), err.read_text())


@cache
def _server() -> Any:
    """The process to fork from; it ends with this one, whose end closes its input."""
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # A session of its own, which is ended as a whole: the server, and what it has forked.
    return subprocess.Popen([sys.executable, __file__], **ends, text=True, start_new_session=True)


def _serve() -> None:
    import gc
    import importlib

    for name in _COMMON:
        importlib.import_module(name)
    assert not {name.partition(".")[0] for name in sys.modules} & set(_ABSENT)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(**json.loads(line))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


def _become(code: str, env: dict[str, str], cwd: str, out: str, err: str) -> None:
    """Be a new interpreter that runs the code."""
    import traceback

    for stream, place in ((0, os.devnull), (1, out), (2, err)):
        os.dup2(os.open(place, os.O_RDWR | os.O_CREAT), stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv, sys.path[0] = ["-c"], ""
    status = 0
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve()
