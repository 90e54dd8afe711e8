"""Size and speed of a student beside its teacher, measured side by side on the machine at hand."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import count, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError, first_line
from ..processor import processor
from ..versioned import read_versioned
from .size import Size, check_lengths, evaluating, random_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SIZE_AND_SPEED_VERSION = 1
SIZE_AND_SPEED_FILE = "size_and_speed.json"


@dataclass(frozen=True)
class Hardware:
    """What a model ran on.

    Attributes:
        cpu: Model of the CPU.
        logical_cores: Of the whole machine.
        gpu: Name of the GPU; None where the model ran on the CPU.
    """

    cpu: str
    logical_cores: int
    gpu: str | None


@dataclass(frozen=True)
class Quartiles:
    """Median and quartiles over rounds, by linear interpolation between neighbours.

    Attributes:
        low: The first quartile.
        median: The second.
        high: The third.
    """

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class ModelSpeed:
    """How fast one model is.

    Attributes:
        milliseconds: Time of a batch; with a single text in it, the latency.
        tokens_per_second: Throughput in the model's own tokens, the special ones included.
        texts_per_second: Throughput in texts.
    """

    milliseconds: Quartiles
    tokens_per_second: Quartiles
    texts_per_second: Quartiles


@dataclass(frozen=True)
class Speed:
    """Teacher and student under the same conditions.

    Attributes:
        hardware: What they ran on.
        device: "cpu" or "cuda".
        threads: Threads within an operation; None on a GPU.
        batch: Texts in a batch.
        length: Tokens in a text; none of them is padding.
        dtype: Type of the weights, such as "float32".
        torch: Version of torch.
        rounds: How many times each of them was timed.
        teacher: The teacher's speed.
        student: The student's speed.
        ratio: The teacher's time divided by the student's of the same round: how many times faster the student is.
    """

    hardware: Hardware
    device: str
    threads: int | None
    batch: int
    length: int
    dtype: str
    torch: str
    rounds: int
    teacher: ModelSpeed
    student: ModelSpeed
    ratio: Quartiles


@dataclass(frozen=True)
class SizeAndSpeed:
    """Everything that `size_and_speed.json` holds.

    Attributes:
        teacher: The teacher's size.
        student: The student's size.
        speeds: One entry for each condition.
    """

    teacher: Size
    student: Size
    speeds: tuple[Speed, ...]


def measure_speed(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    *,
    lengths: Sequence[int] = (128,),
    batch_size: int = 32,
    threads: Sequence[int] | None = None,
    rounds: int | None = None,
    seconds: float | None = None,
    warm_up: int = 2,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    progress: bool = False,
) -> tuple[Speed, ...]:
    """Time the encoders of teacher and student in turns, so that whatever else the machine does slows down both.

    In each round each of them runs once on one batch; they take turns in going first. The texts are random token ids,
    drawn by a seeded generator from all of the model's own vocabulary but the padding token, each of full length.
    Threads are those within an operation (`torch.set_num_threads`); those between operations are left alone. Number of
    threads, gradient mode, training mode and devices are afterwards what they were before, after an error too.

    Args:
        teacher: A model with or without head.
        student: Another one, with weights of the same type.
        lengths: Tokens of a text; each is measured.
        batch_size: Texts in a batch for throughput, measured beside a single text for latency.
        threads: Numbers of threads on the CPU; by default one, and one for each core that this process may use.
        rounds: Timed rounds for each condition. Either this or `seconds` has to be given.
        seconds: Time for all conditions together. Each gets an equal share and at least two rounds, and stops after an
            even number of them; it overruns where these take longer.
        warm_up: Rounds before, not timed, for each condition.
        seed: Determines the texts.
        clock: Tells the time in seconds.
        progress: Show a progress bar.

    Returns:
        Latency and then throughput, for each length, for each number of threads on the CPU, and then for the first CUDA
        device where there is one.

    Raises:
        InputError: a number is out of range, the weights differ in type, the architecture is not supported, or a model
            cannot read so many tokens.
    """
    from tqdm.auto import tqdm

    encoders = (teacher.base_model, student.base_model)
    counts = tuple(dict.fromkeys((1, _usable_cores()) if threads is None else threads))
    _check_speed(encoders, lengths, batch_size, counts, rounds, seconds, warm_up)
    places: list[tuple[str, int | None]] = [("cpu", number) for number in counts]
    if torch.cuda.is_available():
        places.append(("cuda", None))
    conditions = list(product(places, dict.fromkeys(lengths), dict.fromkeys((1, batch_size))))
    speeds = []
    with ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(
                total=None if rounds is None else rounds * len(conditions),
                desc="speed",
                disable=not progress,
                unit="rounds",
            )
        )
        stack.enter_context(_threads_kept())
        for encoder in encoders:
            stack.enter_context(evaluating(encoder))
        begun = clock()
        for number, ((device, thread_count), length, batch) in enumerate(conditions, start=1):
            end = None if seconds is None else begun + seconds * number / len(conditions)
            if thread_count is not None:
                torch.set_num_threads(thread_count)
            runs = []
            for encoder in encoders:
                inputs = random_inputs(encoder, batch, length, seed)
                encoder.to(device)
                runs.append((encoder, {name: tensor.to(device) for name, tensor in inputs.items()}))
            times = _time_rounds(runs, device, warm_up, rounds, end, clock, bar)
            speeds.append(
                Speed(
                    hardware=hardware(device),
                    device=device,
                    threads=thread_count,
                    batch=batch,
                    length=length,
                    dtype=_dtype(encoders[0]),
                    torch=torch.__version__,
                    rounds=len(times),
                    teacher=_model_speed(times[:, 0], batch, length),
                    student=_model_speed(times[:, 1], batch, length),
                    ratio=_quartiles(times[:, 0] / times[:, 1]),
                )
            )
    return tuple(speeds)


def hardware(device: str) -> Hardware:
    """Name the machine.

    Args:
        device: "cpu" or "cuda".
    """
    return Hardware(
        cpu=str(processor()),
        logical_cores=os.cpu_count() or 1,
        gpu=torch.cuda.get_device_name(device) if device == "cuda" else None,
    )


def write_size_and_speed(file: Path, found: SizeAndSpeed) -> None:
    """Write `size_and_speed.json`: equal facts give equal bytes.

    Args:
        file: The file to write.
        found: What was measured.
    """
    content = {"size_and_speed_version": SIZE_AND_SPEED_VERSION, **asdict(found)}
    file.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_size_and_speed(file: Path) -> SizeAndSpeed:
    """Read what `write_size_and_speed` wrote.

    Raises:
        InputError: the file is not there, is damaged, or has another version.
    """
    content = read_versioned(file, "size_and_speed_version", SIZE_AND_SPEED_VERSION, remedy="measure again")
    try:
        return SizeAndSpeed(
            teacher=Size(**content["teacher"]),
            student=Size(**content["student"]),
            speeds=tuple(_speed_from(values) for values in content["speeds"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"a field is missing or one too many ({first_line(error)})", file=file, remedy="measure again"
        ) from error


def _speed_from(values: Mapping[str, Any]) -> Speed:
    nested: dict[str, Any] = {
        name: ModelSpeed(**{measure: Quartiles(**quartiles) for measure, quartiles in values[name].items()})
        for name in ("teacher", "student")
    }
    nested |= {"hardware": Hardware(**values["hardware"]), "ratio": Quartiles(**values["ratio"])}
    return Speed(**{**values, **nested})


@contextmanager
def _threads_kept() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _time_rounds(
    runs: Sequence[tuple[Any, Mapping[str, Tensor]]],
    device: str,
    warm_up: int,
    rounds: int | None,
    end: float | None,
    clock: Callable[[], float],
    bar: Any,
) -> NDArray[np.float64]:
    """Return seconds, [rounds, models]."""
    times: list[list[float]] = []
    with torch.inference_mode():
        for turn in count(-warm_up):
            if turn == rounds or (end is not None and turn >= 2 and turn % 2 == 0 and clock() >= end):
                break
            taken = [0.0] * len(runs)
            order = range(len(runs)) if turn % 2 == 0 else reversed(range(len(runs)))
            for index in order:
                encoder, inputs = runs[index]
                _finish(device)
                begun = clock()
                encoder(**inputs)
                _finish(device)
                taken[index] = clock() - begun
            if turn >= 0:
                times.append(taken)
                bar.update()
    return np.array(times)


def _finish(device: str) -> None:
    """Wait for what was handed to a GPU, which works on while Python goes on."""
    if device == "cuda":
        torch.cuda.synchronize(device)


def _model_speed(times: NDArray[np.float64], batch: int, length: int) -> ModelSpeed:
    return ModelSpeed(
        milliseconds=_quartiles(times * 1e3),
        tokens_per_second=_quartiles(batch * length / times),
        texts_per_second=_quartiles(batch / times),
    )


def _quartiles(values: NDArray[np.float64]) -> Quartiles:
    return Quartiles(*(float(value) for value in np.quantile(values, [0.25, 0.5, 0.75])))


def _dtype(encoder: PreTrainedModel) -> str:
    return str(encoder.dtype).removeprefix("torch.")


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_speed(
    encoders: Sequence[PreTrainedModel],
    lengths: Sequence[int],
    batch_size: int,
    threads: Sequence[int],
    rounds: int | None,
    seconds: float | None,
    warm_up: int,
) -> None:
    if (rounds is None) == (seconds is None):
        raise InputError(
            "either `rounds` or `seconds` says when to stop, and not both",
            field="rounds",
            value=rounds,
            remedy="give one of them, such as rounds=20",
        )
    for field, values, least in (
        ("lengths", lengths, 1),
        ("batch_size", [batch_size], 1),
        ("threads", threads, 1),
        ("rounds", [1 if rounds is None else rounds], 1),
        ("seconds", [0 if seconds is None else seconds], 0),
        ("warm_up", [warm_up], 0),
    ):
        if not values:
            raise InputError("there is none", field=field, remedy="name at least one")
        for value in values:
            if not value >= least:
                raise InputError("too small", field=field, value=value, remedy=f"choose {least} or more")
    check_lengths(encoders, lengths, "lengths")
    teacher, student = encoders
    if teacher.dtype != student.dtype:
        raise InputError(
            f"the teacher's weights are {_dtype(teacher)}, so that the ratio would not tell of the cut",
            field="student.dtype",
            value=_dtype(student),
            remedy="load both in the same type",
        )
