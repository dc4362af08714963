"""Serve's own way to choose a replica, but that it never sends a lost request again by itself.

Serve sends a request whose replica died before it said that it has it to the next replica, and the next, without a
word to its caller. A payload that kills at once would take down replica after replica that way: whoever sent it has to
hear of each death (see ``deployments.quarantine``).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

# Serve loads this module a second time: what others compare with has to come from elsewhere.
from deployments.reply import ReplicaLost

REMEMBERED = 256


class CandidRouter(PowerOfTwoChoicesRequestRouter):
    """Raises ``ReplicaLost`` where Serve's router would try again in silence.

    A replica that is full sends its request back, and Serve asks for another one: that goes on as it did.
    """

    def initialize_state(self, **kwargs: Any) -> None:
        """Serve's hook for a router's own fields."""
        super().initialize_state(**kwargs)
        self._lost: OrderedDict[ReplicaID, float] = OrderedDict()

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """Serve's hook: the replica is dead."""
        self._note_lost(replica_id)
        super().on_replica_actor_died(replica_id)

    def on_replica_actor_unavailable(self, replica_id: ReplicaID) -> None:
        """Serve's hook: the replica is dead, or cannot be reached for now."""
        self._note_lost(replica_id)
        super().on_replica_actor_unavailable(replica_id)

    async def _choose_replica_for_request(
        self, pending_request: PendingRequest, *, is_retry: bool = False
    ) -> RunningReplica:
        # On the request itself, so that what is noted ends with it.
        notes = pending_request.__dict__
        if is_retry and (sent := notes.get("manta_sent")) is not None:
            replica, when = sent
            if self._lost.get(replica.replica_id, 0.0) >= when:
                raise ReplicaLost(replica.actor_id.hex())
        replica = await super()._choose_replica_for_request(pending_request, is_retry=is_retry)
        notes["manta_sent"] = (replica, time.monotonic())
        return replica

    def _note_lost(self, replica_id: ReplicaID) -> None:
        self._lost[replica_id] = time.monotonic()
        self._lost.move_to_end(replica_id)
        if len(self._lost) > REMEMBERED:
            self._lost.popitem(last=False)
