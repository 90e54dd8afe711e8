"""What goes over the wire: requests, answers, refusals, and the table of endpoints that modules enter themselves into.

Everything is strict: a query parameter or a field of a body that an endpoint does not name is refused with status 400,
so that a client which sends something else than its source says is noticed at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from .accounts import Identity


@dataclass(frozen=True)
class Answer:
    """A response: status, headers and body."""

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """A response whose body is JSON."""
        sent = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
        return cls(status, json.dumps(content, ensure_ascii=False).encode(), sent)


class Refusal(Exception):
    """A request that is answered with an error.

    The client reads three headers before it reads the body (`huggingface_hub.utils.hf_raise_for_status`):
    `X-Error-Code` decides the class of its exception (RepoNotFound, RevisionNotFound, EntryNotFound, GatedRepo),
    `X-Error-Message` is put in its text, as is `X-Request-Id`, which the server adds to every answer.

    Args:
        status: The HTTP status.
        message: What is wrong; goes into `X-Error-Message` and into the body's `error`.
        code: The value of `X-Error-Code`, if there is one.
        headers: More headers.
        fields: More fields of the body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.fields = dict(fields or {})

    def answer(self) -> Answer:
        """The response that says so."""
        headers = {"X-Error-Message": self.message.replace("\n", " ").encode("ascii", "replace").decode()}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        return Answer.json({"error": self.message, **self.fields}, status=self.status, headers=headers | self.headers)


Kinds = Mapping[str, type | tuple[type, ...]]
"""The fields that a record may have, with the types of their values."""


def check_fields(record: Any, where: str, required: Kinds, optional: Kinds | None = None) -> dict[str, Any]:
    """Return a record of JSON if it has the required fields, no unknown ones, and values of the right types.

    Raises:
        Refusal: 400, naming the field.
    """
    if not isinstance(record, dict):
        raise Refusal(400, f"{where} must be an object")
    kinds = {**required, **(optional or {})}
    for name in required:
        if name not in record:
            raise Refusal(400, f'{where} lacks the field "{name}"')
    for name, value in record.items():
        if name not in kinds:
            raise Refusal(400, f'{where} has the unknown field "{name}"')
        kind = kinds[name]
        # True is an int to Python, but not to JSON.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise Refusal(400, f'{where} has the field "{name}" with a value of the wrong type')
    return record


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request, read and with its sender known.

    Attributes:
        method: GET, POST, ...
        path: The path as it was sent, still percent-encoded.
        query: Name and value of each query parameter, in order.
        headers: By lower-case name.
        body: The body, which is empty where none was sent.
        sender: Whose token came with it; None for somebody without a token.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    sender: Identity | None = None

    def values(self, name: str) -> list[str]:
        """All values of a query parameter."""
        return [value for key, value in self.query if key == name]

    def value(self, name: str) -> str | None:
        """The value of a query parameter that is given once or not at all."""
        values = self.values(name)
        if len(values) > 1:
            raise Refusal(400, f'the query parameter "{name}" is given more than once')
        return values[0] if values else None

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a whole number of at least 0."""
        value = self.value(name)
        if value is None:
            return default
        if not value.isdecimal():
            raise Refusal(400, f'the query parameter "{name}" must be a whole number')
        return int(value)

    def flag(self, name: str) -> bool:
        """A query parameter that is true or false, absent meaning false."""
        return _truth(self.value(name) or "false", f'the query parameter "{name}"')

    def json(self, required: Kinds, optional: Kinds | None = None) -> dict[str, Any]:
        """The body, which must be a JSON object with these fields."""
        return check_fields(parse_json(self.body, "the body"), "the body", required, optional)

    def form(self, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, list[str]]:
        """The body, which must be a form with these fields; each may be repeated."""
        if self.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
            raise Refusal(400, "the body must be a form")
        fields: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.body.decode(errors="replace"), keep_blank_values=True):
            fields.setdefault(name, []).append(value)
        check_fields(fields, "the form", dict.fromkeys(required, list), dict.fromkeys(optional, list))
        return fields

    def form_flag(self, form: Mapping[str, list[str]], name: str) -> bool:
        """A field of a form that is true or false, absent meaning false."""
        return _truth(form.get(name, ["false"])[-1], f'the form\'s field "{name}"')


def parse_json(text: bytes, where: str) -> Any:
    """Read JSON, or refuse."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise Refusal(400, f"{where} is not JSON") from error


def _truth(value: str, where: str) -> bool:
    if value.lower() not in ("true", "1", "false", "0"):
        raise Refusal(400, f"{where} must be true or false")
    return value.lower() in ("true", "1")


Handler = Callable[..., Answer]
"""Called with the hub, the request, and the parts of the path that are named in the endpoint's template."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An entry of the table."""

    method: str
    template: str
    query: frozenset[str]
    takes_body: bool
    handler: Handler

    def parts(self, path: str) -> dict[str, str] | None:
        """The named parts of a path that fits the template, decoded; None if it does not fit."""
        pattern = re.sub(r"\{(\w+)\}", lambda m: f"(?P<{m[1]}>{'.+' if m[1] == 'path' else '[^/]+'})", self.template)
        match = re.fullmatch(pattern, path)
        return {name: unquote(part) for name, part in match.groupdict().items()} if match else None


ENDPOINTS: list[Endpoint] = []
"""All that this server answers, in the order in which a path is tried against them."""


def endpoint(*methods: str, path: str, query: Iterable[str] = (), body: bool = False) -> Callable[[Handler], Handler]:
    """Enter a function into the table.

    A template's `{name}` stands for one part of the path between slashes, `{path}` for all the rest. Parts are
    separated before they are decoded: the client quotes a revision such as `refs/pr/1` as one part.

    Args:
        methods: HTTP methods.
        path: The template; where it has dots they stand for themselves.
        query: Query parameters that are allowed.
        body: Whether a body is allowed.
    """

    def enter(handler: Handler) -> Handler:
        template = path.replace(".", r"\.")
        for method in methods:
            ENDPOINTS.append(
                Endpoint(method=method, template=template, query=frozenset(query), takes_body=body, handler=handler)
            )
        return handler

    return enter


def dispatch(hub: Any, request: Request) -> Answer | None:
    """Answer a request by the first endpoint that fits; None if there is no such endpoint.

    Raises:
        Refusal: What the endpoint says, or 400 for a query parameter or a body that it does not take.
    """
    for entry in ENDPOINTS:
        parts = entry.parts(request.path) if entry.method == request.method else None
        if parts is None:
            continue
        for name, _ in request.query:
            if name not in entry.query:
                raise Refusal(400, f'unknown query parameter "{name}"')
        if request.body and not entry.takes_body:
            raise Refusal(400, f"{request.method} {request.path} takes no body")
        return entry.handler(hub, request, **parts)
    return None
