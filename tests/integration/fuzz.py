"""Requests that are wrong, by the thousand: every operation, each with one thing that no reading makes right.

A seed makes the same requests again. What is random is how each thing is wrong; that it is wrong is not.
"""

import base64
import json
import random
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from services.api.openapi_examples import EXAMPLES
from services.api.operations import OPERATIONS

JSON = "application/json"
STRANGE = "\x01\x7f\x85\xa0\u202e\u2028\ufeff\ufffd\U0001f600\U000e0001éŁ\"'\\<>%{}[]&=;#?/ \t"
NOT_TIMES = (
    "10000-01-01T00:00:00Z", "2016-12-31T23:59:60Z", "0000-01-01T00:00:00Z", "2026-02-30T00:00:00Z",
    "2026-11-27T24:00:01Z", "2026-11-27T10:00:00", "2026-11-27", "-1", "1e9", "now", "2026-11-27T10:00:00+99:99",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "\uff12026-11-27T10:00:00Z", "\x00", "",
)  # fmt: skip
WRONG = {
    "string": (None, 5, 1.5, True, [], {}, ["x"], {"x": "y"}),
    "integer": ("5", 1.5, True, [], {}, -1, 10**30, 1e300, "\x00", "NaN"),
    "number": ("5", True, [], {}, -1, 1e300, "\ufeff"),
    "boolean": ("true", 1, 0, [], {}, "no"),
    "array": ("x", 5, {}, True, [None], [5], [[]], [{}]),
    "object": ("x", 5, [], True, [{}]),
}
"""Type of a field → values that it isn't; None is one only where it isn't a type of its own."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A request to be refused.

    Attributes:
        how: what is wrong with it.
        points: whether the answer must say where.
    """

    how: str
    method: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    points: bool = False


class Fuzzer:
    """Makes wrong requests to what the `document` describes; `ids`, by the parameter's name, are there."""

    def __init__(self, seed: int, document: dict[str, Any], ids: dict[str, str]) -> None:
        self._chance = random.Random(seed)
        self._schemas = document["components"]["schemas"]
        self._ids = ids | {"number": "1", "name": "swagger-ui.css"}
        asked = [each for each in OPERATIONS if each.tag != "system"]
        self._with_body = [each for each in asked if each.body is not None]
        self._with_id = [each for each in asked if "_id}" in each.path]
        self._with_name = [each for each in asked if "{name}" in each.path]
        self._told = {each.name: document["paths"][each.path][each.method] for each in asked}
        self._asked = asked
        self._ways = (
            self._garbage, self._cut, self._field, self._field, self._field, self._extra, self._place,
            self._type, self._parameter, self._parameter, self._unknown, self._twice, self._id, self._id,
            self._name, self._header, self._method, self._large,
        )  # fmt: skip

    def __call__(self) -> Wrong:
        """Another one."""
        while (made := self._chance.choice(self._ways)()) is None:
            pass
        return made

    def _request(self, operation, how, *, body=..., headers=None, **more) -> Wrong:
        path = re.sub(r"{(\w+)}", lambda found: self._ids[found[1]], operation.path)
        headers = dict(headers or {})
        if operation.body is not None and body is ...:
            body = self._example(operation)
        if operation.body is not None:
            headers.setdefault("Content-Type", JSON)
        raw = b"" if body is ... else body if isinstance(body, bytes) else json.dumps(body).encode()
        query = more.pop("query", None) or self._required(operation)
        fields = {"path": path, "headers": headers, "query": query} | more
        return Wrong(f"{operation.name}: {how}", operation.method.upper(), body=raw, **fields)

    def _required(self, operation) -> list[tuple[str, str]]:
        return [
            (each["name"], "1")
            for each in self._told[operation.name]["parameters"]
            if each["in"] == "query" and each.get("required")
        ]

    def _example(self, operation) -> dict[str, Any]:
        return json.loads(json.dumps(self._chance.choice(EXAMPLES[operation.body.__name__])))

    def _text(self, most: int = 40) -> str:
        letters = (
            lambda: chr(self._chance.randrange(0x20, 0x7F)),
            lambda: self._chance.choice(STRANGE),
            lambda: chr(self._chance.randrange(0xA0, 0xD800)),
            lambda: chr(self._chance.randrange(0xE000, 0x110000)),
        )
        return "".join(self._chance.choice(letters)() for _ in range(self._chance.randrange(1, most)))

    # Bodies.

    def _garbage(self) -> Wrong:
        bodies = (
            lambda: b"\xff" + self._chance.randbytes(self._chance.randrange(200)),
            lambda: b"{" + self._text().encode(),
            lambda: b'{"name":' + self._chance.choice((b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b"+1")) + b"}",
            lambda: b'{"name":"\\ud' + self._chance.choice((b"800", b"bff", b"c00", b"fff")) + b'"}',
            lambda: b'{"name":"\x00"}',
            lambda: b'{"a":1,"a":2}',
            lambda: self._chance.choice((b"[", b'{"a":', b'[{"a":')) * 10_000,
            lambda: b"\xef\xbb\xbf{}\x00",
        )  # fmt: skip
        return self._request(
            self._chance.choice(self._with_body), "garbage", body=self._chance.choice(bodies)()
        )

    def _cut(self) -> Wrong:
        operation = self._chance.choice(self._with_body)
        whole = json.dumps(self._example(operation)).encode()
        return self._request(operation, "cut off", body=whole[: self._chance.randrange(1, len(whole))])

    def _field(self) -> Wrong | None:
        """One field has a value that is not of its type, or no time."""
        operation = self._chance.choice(self._with_body)
        named = self._schemas[operation.body.__name__].get("properties", {})
        if not named:
            return None
        name = self._chance.choice(sorted(named))
        kinds = set(self._kinds(named[name]))
        if "time" in kinds:
            value = self._chance.choice(NOT_TIMES)
        else:
            values = [each for kind in kinds for each in WRONG.get(kind, ())]
            fitting = [each for each in values if not self._may_be(each, kinds)]
            if operation.name == "bulk_jobs":  # each operation is refused by itself
                fitting = [each for each in fitting if each != [{}]]
            if not fitting:
                return None
            value = self._chance.choice(fitting)
        body = self._example(operation) | {name: value}
        return self._request(operation, f"{name} is {value!r}", body=body, points=True)

    def _kinds(self, schema):
        """Types that a value may have."""
        if "$ref" in schema:
            yield from self._kinds(self._schemas[schema["$ref"].rpartition("/")[2]])
        elif schema.get("format") == "date-time":
            yield "time"
        elif "enum" in schema or "const" in schema:
            yield "string"
        elif "type" in schema:
            yield schema["type"]
        for each in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
            yield from self._kinds(each)

    @staticmethod
    def _may_be(value, kinds) -> bool:
        """Whether a field of these kinds could take the value, by its type alone."""
        if value is None:
            return "null" in kinds
        if isinstance(value, bool):
            return "boolean" in kinds
        if isinstance(value, int | float):
            return ("number" in kinds and value == 5) or ("integer" in kinds and value in {0, 1, 5})
        if isinstance(value, str):
            return "string" in kinds
        return bool((kinds & {"array"} and value == []) or (kinds & {"object"} and isinstance(value, dict)))

    def _extra(self) -> Wrong:
        operation = self._chance.choice(self._with_body)
        body = self._example(operation) | {f"x{self._text()}": self._chance.choice((None, 1, "x", [], {}))}
        return self._request(operation, "an unknown field", body=body, points=True)

    def _place(self) -> Wrong:
        """A text that no store could keep, or too deep, somewhere inside."""
        operation = self._chance.choice(self._with_body)
        deep: Any = "x"
        for _ in range(self._chance.randrange(101, 190)):
            deep = [deep] if self._chance.random() < 0.5 else {"a": deep}
        inside = self._chance.choice(("a\x00b", {"\x00": 1}, 1e308 * 10, deep))
        body = json.dumps(self._example(operation) | {"x": inside}).replace("Infinity", "1e400")
        return self._request(operation, "what can't be kept", body=body.encode(), points=True)

    def _large(self) -> Wrong:
        operation = self._chance.choice(self._with_body)
        size = self._chance.choice((256, 300, 500)) * 1024 if self._chance.random() < 0.95 else 10_000_000
        return self._request(operation, "too large", body={"name": "x" * size})

    def _type(self) -> Wrong:
        operation = self._chance.choice(self._with_body)
        told = self._chance.choice(
            ("text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
             "application/json; charset=utf-16", "json", "*/*", "application/jsonx", ";", "é"),
        )  # fmt: skip
        headers = {"Content-Type": told}
        if self._chance.random() < 0.3:
            headers = {"Content-Type": JSON, "Content-Encoding": self._chance.choice(("gzip", "br", "x"))}
        return self._request(operation, f"type {headers}", headers=headers)

    # Queries, ids, headers.

    def _parameter(self) -> Wrong | None:
        operation = self._chance.choice(self._asked)
        told = [each for each in self._told[operation.name]["parameters"] if each["in"] == "query"]
        if not told:
            return None
        parameter = self._chance.choice(told)
        value = self._not(parameter["name"], parameter["schema"])
        if value is None:
            return None
        query = [pair for pair in self._required(operation) if pair[0] != parameter["name"]]
        how = f"?{parameter['name']}={value[:60]!r}"
        return self._request(operation, how, query=[*query, (parameter["name"], value)], points=True)

    def _not(self, name, schema) -> str | None:
        """A text that the parameter can't be."""
        if schema.get("type") == "integer":
            return self._chance.choice(
                ("0", "-1", "1.5", "1e3", " 1", "٣", "", "x", "9" * 30, "0x10", "+1", "1\x00")
            )
        if schema.get("format") == "date-time":
            return self._chance.choice(NOT_TIMES)
        if name == "bucket":
            return self._chance.choice(
                ("", "0", "-1", "1.5h", "1w", "h", "1 h", "٣m", "9" * 30, "367d", "1h\x00")
            )
        if (
            name in {"cursor", "min_position", "job_id", "run_id", "backfill", "error_fingerprint"}
            or "enum" in schema
        ):
            return self._chance.choice(
                (self._text(), "", "\x00", base64.urlsafe_b64encode(self._chance.randbytes(40)).decode(), "0:1-1,0:1-2",
                 "9999:1-1", "0:99999999999999999-1", "a" * 3_000, "../..", "'; drop table ledger.jobs; --"),
            )  # fmt: skip
        return None

    def _unknown(self) -> Wrong:
        operation = self._chance.choice(self._asked)
        name = self._chance.choice(
            ("x" + self._text(), "page]", "created_at[x]", "PAGE", "a" * 500, "page\x00")
        )
        query = [*self._required(operation), (name, self._text())]
        return self._request(operation, f"?{name[:60]!r}", query=query, points=True)

    def _twice(self) -> Wrong | None:
        operation = self._chance.choice(self._asked)
        named = {each["name"] for each in self._told[operation.name]["parameters"] if each["in"] == "query"}
        once = sorted(
            named & {"page", "per_page", "limit", "cursor", "q", "sort", "from", "count", "min_position"}
        )
        if not once:
            return None
        name = self._chance.choice(once)
        return self._request(operation, f"?{name} twice", query=[(name, "1"), (name, "1")], points=True)

    def _id(self) -> Wrong:
        operation = self._chance.choice(self._with_id)
        name = re.findall(r"{(\w+)}", operation.path)[0]
        good = self._ids[name]
        ids = (
            self._text, good.upper, lambda: good[:-1], lambda: good + "0",
            lambda: good.replace("-", ""), lambda: "{" + good + "}", lambda: good[:14] + "4" + good[15:],
            lambda: good[:15] + "fff" + good[18:], lambda: "a" * 5_000, lambda: "\x00", lambda: "..%2f..",
            lambda: good[:-2] + "\u0661\u0661",
        )  # fmt: skip
        bad = self._chance.choice(ids)()
        path = operation.path.replace(f"{{{name}}}", quote(bad, safe=""))
        path = re.sub(r"{(\w+)}", lambda found: self._ids[found[1]], path)
        return self._request(operation, f"id {bad[:60]!r}", path=path)

    def _name(self) -> Wrong:
        """What nothing may be called."""
        operation = self._chance.choice(self._with_name)
        bad = self._chance.choice(
            ("-a", ".a", "a b", "ü", "\x00", "a:b", "a%2fb", "x" * 101, "{name}", "bulk")
        )
        path = operation.path.replace("{name}", quote(bad, safe=""))
        return self._request(operation, f"name {bad[:60]!r}", path=path)

    def _header(self) -> Wrong | None:
        operation = self._chance.choice(self._asked)
        taken = {each["name"] for each in self._told[operation.name]["parameters"] if each["in"] == "header"}
        name, values = self._chance.choice(
            (
                ("Idempotency-Key", ("", "a b", '"', "x" * 256, "é", '"x', "\x7f")),
                ("If-Match", ("1", '"1', "W/", '"a" "b"', "é", "*, *")),
                ("Daybook-Position", ("x", "0:", "0:1", "0:1-", "9999:1-1", "0:1-1,0:1-1", "-1:1-1")),
            )
        )
        if (name == "Daybook-Position") is (operation.method != "get"):
            return None  # a read has no use for the others, and passes them over
        value = self._chance.choice(values) if name in taken or name == "Daybook-Position" else "x"
        return self._request(operation, f"{name}: {value[:60]!r}", headers={name: value}, points=True)

    def _method(self) -> Wrong:
        operation = self._chance.choice(self._asked)
        path = re.sub(r"{(\w+)}", lambda found: self._ids[found[1]], operation.path)
        method = self._chance.choice(("TRACE", "OPTIONS", "PROPFIND", "X" * 30))
        return Wrong(f"{operation.name}: {method}", method, path)
