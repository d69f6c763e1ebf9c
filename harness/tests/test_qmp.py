# SPDX-License-Identifier: GPL-2.0-or-later
"""The QMP client, against a QEMU that has no guest to run."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from gigalock_harness.qmp import QmpClient, QmpClosed, QmpError


@pytest.fixture
def qmp() -> Iterator[QmpClient]:
    here, there = socket.socketpair()
    with there:
        process = subprocess.Popen(
            [
                "setpriv",
                "--pdeathsig",
                "KILL",
                "--",
                "qemu-system-x86_64",
                "-M",
                "none",
                "-nodefaults",
                "-display",
                "none",
                "-chardev",
                f"socket,id=q,fd={there.fileno()}",
                "-mon",
                "chardev=q,mode=control",
            ],
            pass_fds=[there.fileno()],
        )
    client = QmpClient(here)
    yield client
    client.close()
    process.terminate()
    process.wait(timeout=10)


def test_answer(qmp: QmpClient) -> None:
    assert qmp.execute("query-version", timeout=30)["qemu"]["major"] >= 7
    assert qmp.execute("query-status")["status"] == "running"


def test_refused(qmp: QmpClient) -> None:
    with pytest.raises(QmpError, match="no-such-command") as caught:
        qmp.execute("no-such-command", timeout=30)
    assert caught.value.klass == "CommandNotFound"
    with pytest.raises(QmpError, match="nowhere"):
        qmp.execute("qom-get", {"path": "/nowhere", "property": "x"})
    assert qmp.execute("query-status")["running"] is True


def test_events(qmp: QmpClient) -> None:
    qmp.execute("stop", timeout=30)
    qmp.execute("cont")
    assert qmp.wait_event("STOP", 5) is not None
    assert qmp.wait_event("RESUME", 5) is not None
    start = time.monotonic()
    assert qmp.wait_event("STOP", 0.3) is None
    assert 0.2 < time.monotonic() - start < 3


def test_qemu_gone(qmp: QmpClient) -> None:
    qmp.execute("quit", timeout=30)
    qmp.drain(5)
    assert [e["event"] for e in qmp.events] == ["SHUTDOWN"]
    with pytest.raises(QmpClosed):
        qmp.execute("query-status")


def test_no_answer() -> None:
    here, there = socket.socketpair()
    with there:
        client = QmpClient(here)
        with pytest.raises(TimeoutError, match=r"within 0\.2 s"):
            client.execute("query-status", timeout=0.2)
        client.close()
