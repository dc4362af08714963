"""Usage is what the engine gave out, to the token, while clients leave, replicas, gateways and the database fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx
import psutil
import pytest
import yaml

from scripts.bench.audit import Ledger
from scripts.bench.faults import REPLICA, Faults, spread
from scripts.bench.ledger import GATEWAYS, LIMITS, MODEL, REPLICAS, free_after, spec
from scripts.bench.passers_by import ask_all, questions
from scripts.bench.processes import GATEWAY
from tests.support.live import Live
from tests.support.ports import free_port

pytestmark = pytest.mark.live

REQUESTS = 400
CALLERS = 24
SETTLED_S = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, limits, the engine's books and the service's state."""
    return tmp_path_factory.mktemp("ledger")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Live]:
    """Two gateways, a model of two replicas that keeps books, and a limit on requests under way."""
    models, limits = folder / "models", folder / "limits.yaml"
    models.mkdir()
    (models / "counted.yaml").write_text(yaml.safe_dump(spec(folder / "books").model_dump(mode="json")))
    limits.write_text(yaml.safe_dump(LIMITS))
    settings = {
        "MANTA_GATEWAY_REPLICAS": str(GATEWAYS),
        "MANTA_LIMITS": str(limits),
        "MANTA_USAGE_GRACE_S": "10",
    }
    service = Live(f"http://127.0.0.1:{free_port()}", folder / "state", (models,), {}, settings)
    service.start()
    yield service
    service.stop()


def limited(service: Live) -> dict[str, str]:
    """What somebody new has to send, whom limits hold."""
    with httpx.Client(base_url=f"{service.openai_url}/admin", headers=service.auth) as admin:
        user = admin.post("/users", json={"name": "passer-by"}).raise_for_status().json()["id"]
        key = admin.post("/api-keys", json={"owner": user, "name": "key"}).raise_for_status().json()["key"]
    return {"authorization": f"Bearer {key}"}


async def load(service: Live, headers: dict[str, str], faults: Faults) -> Counter[str]:
    """Ask, while each fault happens once."""
    plan = spread(REQUESTS, replicas=1, gateways=1, both=1, pause_s=3)
    asked = questions(MODEL, REQUESTS, Random(7), leavers=0.3)
    failing = asyncio.create_task(faults.run(plan, print))
    ends = await ask_all(int(service.url.rpartition(":")[2]), headers, asked, CALLERS, faults.progress)
    await failing
    await faults.whole()
    return ends


def test_usage_is_what_the_engine_gave_out_whatever_dies(service: Live, folder: Path) -> None:
    """One event for every request that an engine began; nothing stays taken."""
    headers = limited(service)
    processes = psutil.Process(service.pid)
    faults = Faults(lambda: processes.children(recursive=True), {REPLICA: REPLICAS, GATEWAY: GATEWAYS}, Random(7))
    ends = asyncio.run(load(service, headers, faults))
    assert ends["answered"] > REQUESTS / 4, ends
    assert ends["left"] > REQUESTS / 10, ends
    assert free_after(service.url, headers) is not None, "places of requests that are over are still taken"
    found = Ledger(service.state_dir, folder / "books").settled(SETTLED_S)
    assert found.faults == {}
    assert found.begun > REQUESTS / 2
    assert found.lost == (0, 0), "a gateway and a replica died at once, and one who lives knows what the replica did"
    least, most = found.emitted
    assert 0 < least <= found.told <= most
    assert faults.done.total() == 4
