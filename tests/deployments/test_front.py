"""HAProxy itself, started as Serve starts it, with Serve's own configuration."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deployments import front
from deployments.front import UnknownConfiguration, amended, error_files
from tests.support.ports import free_port

PATIENCE_S = 15.0


def serves_configuration(folder: Path, host: str, port: int, backend_port: int) -> Path:
    """What Ray Serve writes for one gateway replica."""
    from ray.serve._private import haproxy
    from ray.serve.config import HTTPOptions

    config = haproxy.HAProxyConfig(
        http_options=HTTPOptions(host=host, port=port),
        socket_path=str(folder / "admin.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "server-state"),
        metrics_port=free_port(),
        stats_port=free_port(),
        has_received_routes=True,
        has_received_servers=True,
        is_head=True,
    )
    (folder / "server-state").touch()
    server = haproxy.ServerConfig(name="gateway-1", host="127.0.0.1", port=backend_port)
    backend = haproxy.BackendConfig(name="gateway", path_prefix="/", app_name="gateway", servers=[server])
    path = folder / "haproxy.cfg"
    made = haproxy.HAProxyApi(config, {"gateway": backend}, str(path))
    made._generate_config_file_internal()  # pyright: ignore[reportPrivateUsage]
    return path


@dataclass
class Front:
    """A running HAProxy, with nobody behind it."""

    url: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]


@pytest.fixture
def haproxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    port = free_port()
    path = serves_configuration(tmp_path, "127.0.0.1", port, free_port())
    command = [sys.executable, "-P", front.__file__, "-db", "-f", str(path)]
    # Serve names the program that runs this in the environment of what it starts.
    environment = {**os.environ, "RAY_SERVE_HAPROXY_BINARY_PATH": "/nowhere"}
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    deadline = time.monotonic() + PATIENCE_S
    while not _listens(port):
        assert process.poll() is None, (tmp_path / "output").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield Front(f"http://127.0.0.1:{port}", port, tmp_path, process)
    process.terminate()
    process.wait(PATIENCE_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_becomes_haproxy(haproxy: Front):
    assert psutil.Process(haproxy.process.pid).name() == "haproxy"


def test_with_nobody_behind_it_an_error_has_our_shape(haproxy: Front):
    response = httpx.get(f"{haproxy.url}/v1/models")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["retry-after"]) > 0
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_nothing_listens_but_on_loopback(haproxy: Front):
    listening = psutil.Process(haproxy.process.pid).net_connections("inet")
    addresses = {each.laddr.ip for each in listening if each.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_its_admin_socket_is_its_owners(haproxy: Front):
    assert stat.S_IMODE((haproxy.folder / "admin.sock").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n",
    ],
    ids=["headers", "body"],
)
def test_a_client_that_never_ends_its_request_is_told_and_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
):
    monkeypatch.setattr(front, "HEADERS_S", 1)
    port = free_port()
    path = serves_configuration(tmp_path, "127.0.0.1", port, free_port())
    path.write_text(amended(path.read_text(), error_files(tmp_path)))
    with subprocess.Popen([front.real_haproxy(), "-db", "-f", str(path)], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not _listens(port):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            answer = _dribbled(port, begun, deadline)
        finally:
            process.terminate()
    assert answer.startswith(b"HTTP/1.1 408 ")


def _dribbled(port: int, begun: bytes, deadline: float) -> bytes:
    """The answer to a request that comes a byte at a time, and never to its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.1) as slow:
        slow.sendall(begun)
        while time.monotonic() < deadline:
            try:
                if answer := slow.recv(4096):
                    return answer
            except TimeoutError:
                slow.sendall(b"x")
    return b""


@pytest.mark.parametrize("size", [100, 30_000, 200_000])
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "body apart"])
async def test_a_client_that_leaves_before_its_answer_is_noticed(tmp_path: Path, size: int, *, apart: bool):
    left = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            await reader.readexactly(size)
            asked.set()
            with contextlib.suppress(ConnectionError):
                await reader.read(1)
            left.set()
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess")
        writer.close()

    asked = asyncio.Event()
    gateway = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = free_port()
    path = serves_configuration(tmp_path, "127.0.0.1", port, gateway.sockets[0].getsockname()[1])
    path.write_text(amended(path.read_text(), error_files(tmp_path)))
    process = await asyncio.create_subprocess_exec(
        front.real_haproxy(),
        "-db",
        "-f",
        str(path),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not _listens(port):
                await asyncio.sleep(0.05)
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
            if apart:
                await writer.drain()
                await asyncio.sleep(0.1)
            writer.write(b"x" * size)
            await asked.wait()
            writer.close()
            await left.wait()
    finally:
        process.terminate()
        await process.wait()
        gateway.close()


@contextlib.asynccontextmanager
async def before(folder: Path, asked: list[str]) -> AsyncGenerator[str]:
    """HAProxy before a gateway that answers, but dies over what is asked of it first at ``/dies``."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                method, target, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
                asked.append(f"{method} {target}")
                if target == "/dies" and asked.count(f"{method} {target}") == 1:
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess")
        writer.close()

    gateway = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = free_port()
    path = serves_configuration(folder, "127.0.0.1", port, gateway.sockets[0].getsockname()[1])
    path.write_text(amended(path.read_text(), error_files(folder)))
    command = [front.real_haproxy(), "-db", "-f", str(path)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not _listens(port):
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()
        gateway.close()


async def test_whoever_has_a_gateway_die_over_a_request_is_told_so(tmp_path: Path):
    asked: list[str] = []
    async with before(tmp_path, asked) as url, httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(f"{url}/dies")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "gateway_crashed")
    assert int(response.headers["retry-after"]) > 0
    assert asked.count("POST /dies") == 1


async def test_over_a_connection_that_was_used_before_it_is_the_clients_to_try_again(tmp_path: Path):
    asked: list[str] = []
    async with before(tmp_path, asked) as url, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{url}/lives")).text == "success"
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(f"{url}/dies")
    assert asked.count("POST /dies") == 1


async def test_what_changes_nothing_is_asked_again_when_a_gateway_dies_over_it(tmp_path: Path):
    asked: list[str] = []
    async with before(tmp_path, asked) as url, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{url}/dies")).text == "success"
    assert asked.count("GET /dies") == 2


def forwarded_for(folder: Path, *trusted: str) -> bytes:
    """What the gateway is told of a client that says that it is 8.8.8.8."""
    with socket.create_server(("127.0.0.1", 0)) as gateway:
        gateway.settimeout(PATIENCE_S)
        port = free_port()
        path = serves_configuration(folder, "127.0.0.1", port, gateway.getsockname()[1])
        path.write_text(amended(path.read_text(), error_files(folder), trusted))
        with subprocess.Popen([front.real_haproxy(), "-db", "-f", str(path)], stderr=subprocess.DEVNULL) as process:
            try:
                while not _listens(port):
                    time.sleep(0.05)
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
                    client.sendall(b"GET /mine HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 8.8.8.8\r\n\r\n")
                    asked = b""
                    while b"/mine" not in asked:  # HAProxy asks how it is, in between
                        connection, _ = gateway.accept()
                        with connection:
                            asked = connection.recv(65536)
                            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            finally:
                process.terminate()
    return asked.lower()


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8", "2001:db8::/32")])
def test_a_client_cannot_say_where_it_comes_from(tmp_path: Path, trusted: tuple[str, ...]):
    asked = forwarded_for(tmp_path, *trusted)
    assert b"8.8.8.8" not in asked
    assert b"x-forwarded-for: 127.0.0.1" in asked


def test_a_proxy_that_the_operator_named_can_say_where_its_clients_come_from(tmp_path: Path):
    asked = forwarded_for(tmp_path, "10.0.0.0/8", "127.0.0.0/8")
    assert asked.index(b"x-forwarded-for: 8.8.8.8") < asked.index(b"x-forwarded-for: 127.0.0.1")


@pytest.mark.parametrize("setting", ["", "nonsense", "[1.5]", '["1.2.3.4/99"]', "5"])
def test_a_setting_that_says_nothing_names_no_proxy(setting: str):
    assert front.trusted_proxies(setting) == []


def test_named_proxies_are_networks():
    assert front.trusted_proxies('["10.0.0.0/8", "::1/128"]') == ["10.0.0.0/8", "::1/128"]


def test_on_all_addresses_the_metrics_stay_reachable_and_the_page_does_not(tmp_path: Path):
    path = serves_configuration(tmp_path, "0.0.0.0", free_port(), free_port())
    text = amended(path.read_text(), error_files(tmp_path))
    lines = [line.split()[1] for line in text.splitlines() if line.strip().startswith("bind ")]
    metrics, gateway, page = lines
    assert metrics.startswith(":")
    assert gateway.startswith("*:")
    assert page.startswith("127.0.0.1:")


def test_what_was_amended_stays_as_it_is(tmp_path: Path):
    path = serves_configuration(tmp_path, "127.0.0.1", free_port(), free_port())
    once = amended(path.read_text(), error_files(tmp_path))
    assert amended(once, error_files(tmp_path)) == once


@pytest.mark.parametrize(
    "missing", ["stats socket", "listen stats", "defaults\n", "retry-on", "frontend http_frontend"]
)
def test_a_configuration_of_another_serve_is_refused(tmp_path: Path, missing: str):
    path = serves_configuration(tmp_path, "127.0.0.1", free_port(), free_port())
    other: Any = path.read_text().replace(missing, "something else ")
    with pytest.raises(UnknownConfiguration):
        amended(other, error_files(tmp_path))
