from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.domain.model_spec import ModelSpec

SOURCE = "pypi://package==1.0/model"


def spec(**fields: Any) -> ModelSpec:
    return ModelSpec.model_validate({"id": "m", "source": SOURCE, **fields})


def test_all_but_the_id_has_a_default():
    assert ModelSpec(id="m", engine="scripted") == ModelSpec.model_validate({"id": "m", "engine": "scripted"})
    with pytest.raises(ValidationError, match="id"):
        ModelSpec.model_validate({"engine": "scripted"})


def test_a_model_chats_by_default_on_one_cpu_and_one_replica():
    model = spec()
    assert model.engine == "vllm"
    assert model.capabilities == ["chat", "completions"]
    assert (model.autoscaling.min_replicas, model.autoscaling.max_replicas) == (1, 1)
    assert (model.resources.num_cpus, model.resources.num_gpus) == (1, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"colour": "grey"},
        {"autoscaling": {"replicas": 1}},
        {"resources": {"gpu": 1}},
        {"limits": {"max_tokens": 1}},
        {"engine": "tgi"},
        {"capabilities": []},
        {"capabilities": ["images"]},
        {"limits": {"max_output_tokens": 0}},
        {"limits": {"max_output_tokens": 8, "default_output_tokens": 9}},
        {"limits": {"request_timeout_s": 0}},
        {"autoscaling": {"min_replicas": -1}},
        {"autoscaling": {"max_replicas": 0}},
        {"resources": {"env": {"A": 1}}},
        {"aliases": ["not a name"]},
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any]):
    with pytest.raises(ValidationError):
        spec(**fields)


@pytest.mark.parametrize("id_", ["m", "org/model", "smollm2-135m-instruct", "A.b_c-1", "a" * 96])
def test_ids_may_hold_one_slash(id_: str):
    assert spec(id=id_).id == id_


@pytest.mark.parametrize("id_", ["", "/", "/m", "m/", "a/b/c", "..", "../m", "a b", "m\n", "ü", "-m", "a" * 97, "a?b"])
def test_other_ids_are_refused(id_: str):
    with pytest.raises(ValidationError):
        spec(id=id_)


def test_vllm_needs_weights_and_the_scripted_engine_none():
    with pytest.raises(ValidationError, match="source"):
        ModelSpec(id="m")
    assert ModelSpec(id="m", engine="scripted").source is None


def test_aliases_differ_from_the_id_and_from_each_other():
    for aliases in (["m"], ["a", "a"]):
        with pytest.raises(ValidationError, match="aliases"):
            spec(aliases=aliases)


def test_the_least_number_of_replicas_is_not_above_the_greatest():
    with pytest.raises(ValidationError, match=r"min_replicas \(3\) is above max_replicas \(2\)"):
        spec(autoscaling={"min_replicas": 3, "max_replicas": 2})


def test_a_spec_cannot_be_changed():
    with pytest.raises(ValidationError):
        spec().id = "other"  # type: ignore[misc]


def test_a_spec_survives_the_way_to_another_process():
    model = spec(engine_args={"a": {1: "x", "b": [1.5, None]}}, aliases=["n"])
    again = ModelSpec.model_validate(model.model_dump(mode="json"))
    assert again.digest == model.digest
    assert again.app_name == model.app_name


@pytest.mark.parametrize("fields", [{"aliases": ["n"]}, {"owned_by": "somebody"}, {"routing": "round_robin"}])
def test_the_digest_ignores_what_no_replica_runs_by(fields: dict[str, Any]):
    assert spec(**fields).digest == spec().digest


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "n"},
        {"source": "/elsewhere"},
        {"engine": "scripted"},
        {"engine_args": {"dtype": "float32"}},
        {"autoscaling": {"max_replicas": 2}},
        {"resources": {"num_gpus": 1}},
        {"resources": {"env": {"A": "1"}}},
        {"limits": {"max_ongoing_requests": 8}},
    ],
)
def test_the_digest_changes_with_what_a_replica_runs_by(fields: dict[str, Any]):
    assert spec(**fields).digest != spec().digest


def test_the_digest_does_not_depend_on_the_order_of_keys():
    one, other = spec(engine_args={"a": 1, "b": {"c": 1, "d": 2}}), spec(engine_args={"b": {"d": 2, "c": 1}, "a": 1})
    assert one.digest == other.digest
    assert one.deployment_name == f"replica-{one.digest}"


def test_application_names_hold_no_slash():
    assert "/" not in spec(id="org/model").app_name
    assert spec(id="model").app_name == "model-model"


def test_models_with_different_ids_have_different_applications():
    ids = ["a/b", "a--b", "a-b", "a.b", "a_b", "a__b"]
    assert len({spec(id=id_).app_name for id_ in ids}) == len(ids)
