"""What is submitted to Hugging Face Jobs: the very requests that the client sends, to a server that notes them down."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx2
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import close_session

from bistill_hub import BistillError, InputError
from bistill_hub.job_script import Push, Script
from bistill_hub.jobs import follow, make_job, submit, timeout_seconds
from bistill_hub.recipe import load_recipe

TOKEN = "hf_" + "secret" * 6
HARDWARE = [
    {"name": "cpu-basic", "cost": 0.000167, "accelerator": None},
    {"name": "a10g-large", "cost": 0.025, "accelerator": "1"},
    {"name": "a10g-largex4", "cost": 0.083, "accelerator": "4"},
]
JOB = {"id": "0123456789abcdef", "owner": {"id": "1", "name": "alice", "type": "user"}, "status": {"stage": "RUNNING"}}


def described(hardware):
    gpu = {"type": "gpu", "model": "A10G", "vram": "24 GB", "manufacturer": "Nvidia"}
    return {
        "name": hardware["name"],
        "prettyName": hardware["name"],
        "cpu": "12 vCPU",
        "ram": "46 GB",
        "accelerator": hardware["accelerator"] and {**gpu, "quantity": hardware["accelerator"]},
        "unitCostMicroUSD": round(hardware["cost"] * 1e6),
        "unitCostUSD": hardware["cost"],
        "unitLabel": "minute",
    }


class Jobs(BaseHTTPRequestHandler):
    """Answers as the Hub does, and notes what it was asked."""

    def do_GET(self):
        place = self.path.partition("?")[0]
        if place == "/api/jobs/hardware":
            return self.answer([described(each) for each in HARDWARE])
        if place == "/api/whoami-v2":
            return self.answer({"name": "alice", "type": "user"})
        if place.endswith("/logs"):
            lines = ["===== Job started at 12:00 =====", "Stage 1 of 7: student", "Stage 2 of 7: phase 1"]
            events = [{"timestamp": "2026-11-23T12:00:00.000Z", "data": line} for line in lines]
            return self.send("".join(f"data: {json.dumps(event)}\n\n" for event in events), "text/event-stream")
        return self.answer({**JOB, "status": self.server.ending})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        if self.path in self.server.refused:
            return self.answer({"error": "not for you"}, self.server.refused[self.path])
        if self.path.startswith("/api/buckets/"):
            return self.answer({"url": f"https://huggingface.co/buckets/{self.path.removeprefix('/api/buckets/')}"})
        return self.answer(JOB)

    def answer(self, content, status=200):
        self.send(json.dumps(content), "application/json", status)

    def send(self, text, kind, status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The server; what is uploaded to buckets goes by another protocol, and is kept in `uploads`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Jobs)
    server.asked, server.uploads, server.refused, server.ending = [], {}, {}, {"stage": "COMPLETED"}
    Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def upload(api, bucket_id, *, add, token=None):
        server.uploads |= {(bucket_id, path.partition("/")[2]): source.read_text() for source, path in add}

    monkeypatch.setattr(HfApi, "batch_bucket_files", upload)
    close_session()
    yield server
    server.shutdown()
    server.server_close()
    close_session()


@pytest.fixture
def script():
    recipe = load_recipe("en_sw").only(["ner"])
    push = Push(repo_id="org/bistill-en-sw", create_pr=True)
    return Script(recipe=recipe, requirement="bistill-hub==0.1.0", constraints=("torch==2.13.0",), push=push)


def test_the_request_asks_for_the_script_the_hardware_the_bucket_and_the_secret(hub, script, capsys):
    job = make_job(script, file_name="en_sw.py", flavor="a10g-largex4", timeout="1.5h", namespace="org")
    started = submit(job)
    assert started.url == f"{constants.ENDPOINT}/jobs/alice/{JOB['id']}"
    (own, *_), (artifacts, *_), (place, authorization, body) = hub.asked
    assert (own, artifacts) == ("/api/buckets/org/bistill-runs", "/api/buckets/org/jobs-artifacts")
    assert [asked[2] for asked in hub.asked[:2]] == 2 * [{"visibility": "private"}]
    assert (place, authorization) == ("/api/jobs/org", f"Bearer {TOKEN}")
    (folder,) = (volume.pop("path") for volume in body["volumes"] if "path" in volume)
    assert folder
    assert body == {
        "command": ["uv", "run", "/data/en_sw.py"],
        "arguments": [],
        "environment": {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONUNBUFFERED": "1"},
        "secrets": {"HF_TOKEN": TOKEN},
        "flavor": "a10g-largex4",
        "timeoutSeconds": 5400,
        "labels": {"name": "bistill-en-sw"},
        "volumes": [
            {"type": "bucket", "source": "org/bistill-runs", "mountPath": "/bistill-runs"},
            {"type": "bucket", "source": "org/jobs-artifacts", "mountPath": "/data", "readOnly": False},
        ],
        "dockerImage": "ghcr.io/astral-sh/uv:python3.12-bookworm",
    }
    assert hub.uploads == {("org/jobs-artifacts", "en_sw.py"): job.script.text}
    assert job.path == body["command"][-1]


def test_the_token_is_in_the_secret_alone(hub, script, capsys):
    job = make_job(script, file_name="en_sw.py", flavor="a10g-large", timeout="12h")
    submit(job)
    body = hub.asked[-1][2]
    assert body.pop("secrets") == {"HF_TOKEN": TOKEN}
    for text in (json.dumps(body), *hub.uploads.values(), repr(job), *capsys.readouterr()):
        assert TOKEN not in text


@pytest.mark.parametrize(("flavor", "gpus"), [("cpu-basic", 1), ("a10g-large", 1), ("a10g-largex4", 4)])
def test_one_process_a_gpu_trains(hub, script, flavor, gpus):
    job = make_job(script, file_name="a.py", flavor=flavor, timeout="1h")
    assert job.script.processes == gpus
    assert f"PROCESSES = {gpus}\n" in job.script.text
    assert make_job(script, file_name="a.py", flavor=flavor, timeout="1h", processes=2).script.processes == 2


def test_the_cost_is_the_hubs_price_until_the_time_out(hub, script):
    job = make_job(script, file_name="a.py", flavor="a10g-large", timeout="90m")
    assert job.cost == pytest.approx(90 * 0.025)
    assert job.namespace == "alice"
    assert job.script.bucket == "alice/bistill-runs"


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("12h", 43200), ("2d", 172800)])
def test_times_are_read_as_the_client_reads_them(text, seconds):
    from huggingface_hub._jobs_api import _create_job_spec

    spec = _create_job_spec(image="i", command=[], env=None, secrets=None, flavor=None, timeout=text)
    assert timeout_seconds(text) == spec["timeoutSeconds"] == seconds


@pytest.mark.parametrize(
    ("wrong", "parts"),
    [
        ({"timeout": "soon"}, ["timeout = 'soon'", "12h"]),
        ({"timeout": "0h"}, ["timeout = '0h'"]),
        ({"flavor": "z99"}, ["flavor = 'z99'", "a10g-largex4"]),
        ({"namespace": "a/b"}, ["namespace = 'a/b'"]),
        ({"bucket": "runs"}, ["bucket = 'runs'", "OWNER/NAME"]),
        ({"processes": 99}, ["bilingual.batch_size", "99 processes"]),
    ],
)
def test_what_would_fail_there_is_refused_before_anything_is_made(hub, script, wrong, parts):
    with pytest.raises(InputError) as refused:
        make_job(script, **{"file_name": "a.py", "flavor": "a10g-large", "timeout": "1h", **wrong})
    for part in parts:
        assert part in str(refused.value)
    assert hub.asked == []


def test_without_a_login_nothing_is_made(hub, script, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="nobody is logged in"):
        make_job(script, file_name="a.py", flavor="a10g-large", timeout="1h")
    unasked = make_job(script, file_name="a.py", flavor="a10g-large", timeout="1h", asked=False)
    assert (unasked.namespace, unasked.script.bucket) == (None, None)
    with pytest.raises(InputError, match="nobody is logged in"):
        submit(unasked)
    assert hub.asked == []


def test_a_dry_run_does_without_the_hub(hub, script, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    job = make_job(script, file_name="a.py", flavor="l40sx8", timeout="1h", asked=False)
    assert (job.script.processes, job.price, job.cost) == (8, None, None)
    assert "offline" in job.note
    with pytest.raises(InputError, match="offline"):
        make_job(script, file_name="a.py", flavor="a10g-large", timeout="1h")


@pytest.mark.parametrize(("status", "said"), [(402, "pay"), (403, "may not do this"), (500, "fault of its own")])
def test_a_refusal_is_said_without_the_token(hub, script, status, said):
    hub.refused["/api/jobs/alice"] = status
    job = make_job(script, file_name="a.py", flavor="a10g-large", timeout="1h")
    with pytest.raises(BistillError, match=said) as refused:
        submit(job)
    assert TOKEN not in str(refused.value)


def test_the_log_is_followed_to_the_end(hub, script):
    started = submit(make_job(script, file_name="a.py", flavor="a10g-large", timeout="1h"))
    assert list(follow(started)) == ["Stage 1 of 7: student", "Stage 2 of 7: phase 1"]


@pytest.mark.parametrize("status", [404, 503])
def test_a_log_that_breaks_off_is_no_reason_to_submit_the_job_again(hub, script, monkeypatch, status):
    started = submit(make_job(script, file_name="a.py", flavor="a10g-large", timeout="1h"))

    def broken(api, **options):
        yield "Stage 1 of 7: student"
        response = httpx2.Response(status, request=httpx2.Request("GET", "http://hub"))
        raise HfHubHTTPError("because of the test", response=response)

    monkeypatch.setattr(HfApi, "fetch_job_logs", broken)
    lines = follow(started)
    assert next(lines) == "Stage 1 of 7: student"
    with pytest.raises(BistillError, match=f"{JOB['id']}: the log broke off") as ended:
        next(lines)
    assert f"The job goes on: `hf jobs logs alice/{JOB['id']}`" in str(ended.value)
    assert "again" not in str(ended.value).replace("Do not submit it again", "")


def test_a_job_that_failed_is_an_error_with_its_address(hub, script):
    started = submit(make_job(script, file_name="a.py", flavor="a10g-large", timeout="1h"))
    hub.ending = {"stage": "ERROR", "message": "Job timeout"}
    with pytest.raises(BistillError, match=rf"{JOB['id']}: the job ended as ERROR \(Job timeout\)"):
        list(follow(started))
