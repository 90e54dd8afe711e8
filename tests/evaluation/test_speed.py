"""Teacher and student are timed in turns under named conditions, on a clock that can be replaced by one made up."""

import json
import math
import os
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification, BertModel, XLMRobertaConfig, XLMRobertaModel

from bistill_hub.errors import InputError
from bistill_hub.evaluation import speed
from bistill_hub.evaluation.size import measure_size
from bistill_hub.evaluation.speed import (
    SIZE_AND_SPEED_FILE,
    SIZE_AND_SPEED_VERSION,
    Quartiles,
    SizeAndSpeed,
    measure_speed,
    read_size_and_speed,
    write_size_and_speed,
)

SHAPE = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "vocab_size": 30,
    "max_position_embeddings": 34,
}


def bert(layers):
    return BertModel(BertConfig(**SHAPE, num_hidden_layers=layers))


@pytest.fixture
def teacher():
    return bert(2)


@pytest.fixture
def student():
    return bert(1)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


class Stage:
    """A clock that only moves while a model runs, and a record of every run."""

    def __init__(self):
        self.now = 100.0
        self.calls = []

    def clock(self):
        return self.now

    def perform(self, name, model, seconds):
        """Let a model's forward pass take the time that `seconds` says of how often it has run before."""
        taken = (seconds(number) for number in range(10**6)) if callable(seconds) else iter(seconds)
        forward = model.base_model.forward

        def timed(**inputs):
            self.calls.append(
                {
                    "name": name,
                    "shape": tuple(inputs["input_ids"].shape),
                    "threads": torch.get_num_threads(),
                    "training": model.base_model.training,
                    "grad": torch.is_grad_enabled(),
                }
            )
            self.now += next(taken)
            return forward(**inputs)

        model.base_model.forward = timed

    def order(self):
        return "".join(call["name"] for call in self.calls)


def quantile(values, share):
    """The quantile by linear interpolation between order statistics, in plain Python."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def quartiles(values):
    return Quartiles(*(pytest.approx(quantile(values, share), rel=1e-9) for share in (0.25, 0.5, 0.75)))


class TestNumbers:
    def test_medians_and_quartiles_are_those_of_the_rounds(self, teacher, student):
        stage = Stage()
        times = {"t": [0.5, 0.25, 2.0, 0.75, 1.0], "s": [0.25, 0.125, 0.5, 0.5, 0.125]}
        stage.perform("t", teacher, 2 * times["t"])
        stage.perform("s", student, 2 * times["s"])
        latency, throughput = measure_speed(
            teacher, student, lengths=[8], batch_size=4, threads=[1], rounds=5, warm_up=0, clock=stage.clock
        )
        assert (latency.batch, throughput.batch) == (1, 4)
        for found in (latency, throughput):
            for model, name in ((found.teacher, "t"), (found.student, "s")):
                assert model.milliseconds == quartiles([1000 * taken for taken in times[name]])
                assert model.texts_per_second == quartiles([found.batch / taken for taken in times[name]])
                assert model.tokens_per_second == quartiles([8 * found.batch / taken for taken in times[name]])
            assert found.rounds == 5
        # By hand: the ratios of the rounds are 2, 2, 4, 1.5 and 8.
        assert latency.ratio == throughput.ratio == Quartiles(2.0, 2.0, 4.0)
        assert latency.teacher.milliseconds == Quartiles(500.0, 750.0, 1000.0)

    def test_a_machine_that_gets_slower_and_slower_does_not_change_the_ratio(self, teacher, student):
        stage = Stage()
        stage.perform("t", teacher, lambda number: 3.0 * 2.0**number)
        stage.perform("s", student, lambda number: 1.0 * 2.0**number)
        found, _ = measure_speed(teacher, student, lengths=[4], threads=[1], rounds=7, clock=stage.clock)
        assert found.ratio == Quartiles(3.0, 3.0, 3.0)
        assert found.teacher.milliseconds.low < found.teacher.milliseconds.high

    def test_warm_up_rounds_are_not_counted(self, teacher, student):
        stage = Stage()
        stage.perform("t", teacher, lambda number: 1000.0 if number % 5 < 2 else 2.0)
        stage.perform("s", student, lambda number: 1000.0 if number % 5 < 2 else 0.5)
        for found in measure_speed(teacher, student, lengths=[4], threads=[1], rounds=3, warm_up=2, clock=stage.clock):
            assert found.teacher.milliseconds == Quartiles(2000.0, 2000.0, 2000.0)
            assert found.ratio == Quartiles(4.0, 4.0, 4.0)

    def test_a_real_clock_gives_positive_times(self, teacher, student):
        for found in measure_speed(teacher, student, lengths=[4, 34], batch_size=2, threads=[1], rounds=3):
            for model in (found.teacher, found.student):
                assert 0 < model.milliseconds.low <= model.milliseconds.median <= model.milliseconds.high
                assert 0 < model.tokens_per_second.low <= model.tokens_per_second.high
            assert 0 < found.ratio.low <= found.ratio.median <= found.ratio.high


class TestTurns:
    @pytest.mark.parametrize(
        ("warm_up", "rounds", "order"),
        [
            (0, 1, "ts"),
            (0, 4, "ts st ts st"),
            (2, 3, "ts st ts st ts"),
            (3, 2, "st ts st ts st"),
        ],
    )
    def test_they_run_in_turns_and_take_turns_in_going_first(self, teacher, student, warm_up, rounds, order):
        stage = Stage()
        stage.perform("t", teacher, lambda _: 1.0)
        stage.perform("s", student, lambda _: 1.0)
        measure_speed(teacher, student, lengths=[4], threads=[1], rounds=rounds, warm_up=warm_up, clock=stage.clock)
        assert stage.order() == 2 * order.replace(" ", ""), "once for latency, once for throughput"

    def test_every_condition_is_measured_and_named(self, teacher, student):
        stage = Stage()
        stage.perform("t", teacher, lambda _: 1.0)
        stage.perform("s", student, lambda _: 1.0)
        found = measure_speed(
            teacher, student, lengths=[4, 9], batch_size=3, threads=[1, 2], rounds=1, warm_up=0, clock=stage.clock
        )
        expected = [(threads, length, batch) for threads in (1, 2) for length in (4, 9) for batch in (1, 3)]
        assert [(entry.threads, entry.length, entry.batch) for entry in found] == expected
        ran = [(call["threads"], call["shape"][1], call["shape"][0]) for call in stage.calls]
        assert ran == [condition for condition in expected for _ in "ts"]
        assert {entry.device for entry in found} == {"cpu"}

    def test_models_run_as_in_use(self, teacher, student):
        stage = Stage()
        stage.perform("t", teacher.train(), lambda _: 1.0)
        stage.perform("s", student.train(), lambda _: 1.0)
        measure_speed(teacher, student, lengths=[4], threads=[1], rounds=2, clock=stage.clock)
        assert {(call["training"], call["grad"]) for call in stage.calls} == {(False, False)}

    def test_repeated_conditions_are_measured_once(self, teacher, student):
        found = measure_speed(teacher, student, lengths=[4, 4], batch_size=1, threads=[1, 1], rounds=1)
        assert [(entry.threads, entry.length, entry.batch) for entry in found] == [(1, 4, 1)]

    @pytest.mark.parametrize(("cores", "expected"), [({0}, [1]), ({0, 3}, [1, 2])])
    def test_one_thread_and_all_cores_that_may_be_used_are_the_default(
        self, teacher, student, monkeypatch, cores, expected
    ):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
        found = measure_speed(teacher, student, lengths=[4], batch_size=1, rounds=1)
        assert [entry.threads for entry in found] == expected

    def test_only_the_encoder_runs(self, student):
        tagger = BertForTokenClassification(BertConfig(**SHAPE, num_hidden_layers=2))
        tagger.classifier.forward = tagger.forward = lambda *_, **__: pytest.fail("the head ran")
        assert measure_speed(tagger, student, lengths=[4], threads=[1], rounds=1)

    def test_a_model_can_be_timed_against_itself(self, teacher):
        stage = Stage()
        stage.perform("t", teacher.train(), lambda _: 1.0)
        found, _ = measure_speed(teacher, teacher, lengths=[4], threads=[1], rounds=3, clock=stage.clock)
        assert found.ratio == Quartiles(1.0, 1.0, 1.0)
        assert all(module.training for module in teacher.modules())

    def test_a_student_of_another_vocabulary_and_architecture_reads_its_own_tokens(self, teacher):
        student = XLMRobertaModel(XLMRobertaConfig(**{**SHAPE, "vocab_size": 7}, num_hidden_layers=1))
        assert measure_speed(teacher, student, lengths=[32], batch_size=8, threads=[1], rounds=1)


class TestBudget:
    def test_time_is_shared_and_rounds_come_in_pairs(self, teacher, student):
        stage = Stage()
        stage.perform("t", teacher, lambda _: 0.75)
        stage.perform("s", student, lambda _: 0.25)
        found = measure_speed(teacher, student, lengths=[4], threads=[1], seconds=15, warm_up=1, clock=stage.clock)
        # A round takes a second. Latency: one to warm up, then 8 to get beyond 7.5 in pairs. Throughput: 6 are left.
        assert [entry.rounds for entry in found] == [8, 6]

    @pytest.mark.parametrize("seconds", [0, 1e-9, 50.0])
    def test_each_condition_gets_two_rounds_however_slow(self, teacher, student, seconds):
        stage = Stage()
        stage.perform("t", teacher, lambda _: 75.0)
        stage.perform("s", student, lambda _: 25.0)
        found = measure_speed(
            teacher, student, lengths=[4, 5], threads=[1], seconds=seconds, warm_up=0, clock=stage.clock
        )
        assert [entry.rounds for entry in found] == [2, 2, 2, 2]
        assert stage.order() == 4 * "tsst"


class TestAfterwards:
    @pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
    @pytest.mark.parametrize("grad", [True, False])
    def test_everything_is_as_it_was(self, teacher, student, error, grad):
        def forward(number):
            if error is not None and number == 5:
                raise error
            return 1.0

        stage = Stage()
        stage.perform("t", teacher, lambda _: 1.0)
        stage.perform("s", student, forward)
        teacher.train()
        teacher.encoder.layer[0].eval()
        student.eval()
        modes = [module.training for model in (teacher, student) for module in model.modules()]
        threads = torch.get_num_threads()
        arguments = {"lengths": [4], "threads": [threads + 1], "rounds": 4, "clock": stage.clock}
        with torch.set_grad_enabled(grad):
            if error is None:
                measure_speed(teacher, student, **arguments)
            else:
                with pytest.raises(error):
                    measure_speed(teacher, student, **arguments)
            assert torch.is_grad_enabled() == grad
            assert not torch.is_inference_mode_enabled()
        assert {call["threads"] for call in stage.calls} == {threads + 1}
        assert torch.get_num_threads() == threads
        assert [module.training for model in (teacher, student) for module in model.modules()] == modes
        assert {model.device.type for model in (teacher, student)} == {"cpu"}

    def test_models_can_still_be_trained(self, teacher, student):
        measure_speed(teacher, student, lengths=[4], threads=[1], rounds=1)
        student(input_ids=torch.ones(1, 4, dtype=torch.int64)).last_hidden_state.sum().backward()
        assert student.encoder.layer[0].output.dense.weight.grad is not None


class OnTheWay:
    """Stands for a tensor: says where it is sent."""

    def __init__(self, sent):
        self.sent = sent

    def to(self, device):
        self.sent.append(device)
        return self


def test_on_a_gpu_the_clock_waits_for_it_before_and_after_each_run(teacher, student, monkeypatch):
    events, sent = [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Made-up 9000")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: events.append("wait"))
    monkeypatch.setattr(speed, "random_inputs", lambda *_: {"input_ids": OnTheWay(sent)})
    places = {}
    for name, model in (("teacher", teacher), ("student", student)):
        places[name] = []
        model.to = places[name].append
        model.forward = lambda name=name, **_: events.append(name)

    def clock():
        events.append("clock")
        return float(len(events))

    on_cpu, on_gpu = measure_speed(
        teacher, student, lengths=[4], batch_size=1, threads=[1], rounds=2, warm_up=0, clock=clock
    )
    begun, cpu_runs = 1, 4
    timed = events[begun + 3 * cpu_runs :]
    order = ("teacher", "student", "student", "teacher")
    assert timed == [event for name in order for event in ("wait", "clock", name, "wait", "clock")]
    assert "wait" not in events[: begun + 3 * cpu_runs]
    assert (on_cpu.device, on_cpu.threads, on_cpu.hardware.gpu) == ("cpu", 1, None)
    assert (on_gpu.device, on_gpu.threads, on_gpu.hardware.gpu) == ("cuda", None, "Made-up 9000")
    assert sent == ["cpu", "cpu", "cuda", "cuda"]
    assert places["teacher"] == places["student"] == ["cpu", "cuda", torch.device("cpu")], "and back where it was"


class TestNames:
    def test_hardware_weights_and_torch_are_named(self, teacher, student):
        for model in (teacher, student):
            model.to(torch.bfloat16)
        found, _ = measure_speed(teacher, student, lengths=[4], threads=[1], rounds=1)
        assert found.dtype == "bfloat16"
        assert found.torch == torch.__version__
        assert found.hardware.logical_cores == os.cpu_count()
        assert found.hardware.gpu is None


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "rounds = None: either `rounds` or `seconds`"),
            ({"rounds": 1, "seconds": 1}, "rounds = 1: either `rounds` or `seconds`"),
            ({"rounds": 0}, "rounds = 0: too small. Choose 1"),
            ({"seconds": -1}, "seconds = -1: too small. Choose 0"),
            ({"seconds": math.nan}, "seconds = nan: too small"),
            ({"rounds": 1, "warm_up": -1}, "warm_up = -1: too small"),
            ({"rounds": 1, "batch_size": 0}, "batch_size = 0: too small"),
            ({"rounds": 1, "threads": [1, 0]}, "threads = 0: too small"),
            ({"rounds": 1, "threads": []}, "threads: there is none"),
            ({"rounds": 1, "lengths": []}, "lengths: there is none"),
            ({"rounds": 1, "lengths": [4, 0]}, "lengths = 0: too small"),
            ({"rounds": 1, "lengths": [4, 35]}, "lengths = 35: the model reads texts of 1 to 34 tokens"),
        ],
    )
    def test_numbers_out_of_range_before_anything_runs(self, teacher, student, arguments, message):
        teacher.forward = lambda **_: pytest.fail("it ran")
        with pytest.raises(InputError, match=message):
            measure_speed(teacher, student, **arguments)

    def test_weights_of_two_types(self, teacher, student):
        with pytest.raises(InputError, match=r"student\.dtype = 'bfloat16': the teacher's weights are float32"):
            measure_speed(teacher, student.to(torch.bfloat16), rounds=1, lengths=[4])


@pytest.mark.parametrize("progress", [False, True])
def test_a_progress_bar_shows_when_asked_for(teacher, student, capsys, progress):
    measure_speed(teacher, student, lengths=[4], batch_size=1, threads=[1], rounds=3, progress=progress)
    shown = capsys.readouterr().err
    assert ("speed" in shown and "3/3" in shown) if progress else shown == ""


@pytest.fixture(scope="module")
def found():
    teacher, student = bert(2), bert(1)
    return SizeAndSpeed(
        teacher=measure_size(teacher, length=4),
        student=measure_size(student, length=4),
        speeds=measure_speed(teacher, student, lengths=[4], threads=[1], rounds=3),
    )


class TestFile:
    def test_what_is_written_is_read_back_to_the_last_bit(self, found, tmp_path):
        write_size_and_speed(tmp_path / SIZE_AND_SPEED_FILE, found)
        again = read_size_and_speed(tmp_path / SIZE_AND_SPEED_FILE)
        assert again == found
        assert again.teacher.megabytes == found.teacher.megabytes

    def test_sizes_alone_are_a_file_too(self, found, tmp_path):
        sizes = replace(found, speeds=())
        write_size_and_speed(tmp_path / SIZE_AND_SPEED_FILE, sizes)
        assert read_size_and_speed(tmp_path / SIZE_AND_SPEED_FILE) == sizes

    def test_equal_facts_give_equal_bytes(self, found, tmp_path):
        write_size_and_speed(tmp_path / "one.json", found)
        write_size_and_speed(tmp_path / "other.json", read_size_and_speed(tmp_path / "one.json"))
        written = (tmp_path / "one.json").read_bytes()
        assert written == (tmp_path / "other.json").read_bytes()
        assert written.endswith(b"}\n")
        assert json.loads(written)["size_and_speed_version"] == SIZE_AND_SPEED_VERSION

    @pytest.mark.parametrize("version", [SIZE_AND_SPEED_VERSION + 1, None])
    def test_another_version_is_refused_with_what_to_do(self, tmp_path, version):
        file = tmp_path / SIZE_AND_SPEED_FILE
        file.write_text(json.dumps({"size_and_speed_version": version}), encoding="utf-8")
        with pytest.raises(InputError, match=rf"size_and_speed_version = {version}: .*\. Install the version"):
            read_size_and_speed(file)

    def test_a_record_cannot_be_changed(self, found):
        with pytest.raises(FrozenInstanceError):
            found.speeds[0].rounds = 1
