from __future__ import annotations

import json

from app.domain.model_state import ModelState


def test_a_model_that_nobody_spoke_of_is_cold():
    assert ModelState() == ModelState("cold", replicas=0)


def test_a_state_crosses_a_process_boundary():
    state = ModelState("starting", "loading", 0.5, "3 of 6 files", start_s=1.5)
    assert ModelState(**json.loads(json.dumps(state.to_dict()))) == state
