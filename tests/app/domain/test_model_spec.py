from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.domain.model_spec import ModelSpec, model_of
from app.domain.usage import FREE, Price, Usage

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


@pytest.mark.parametrize(
    "fields",
    [
        {"aliases": ["n"]},
        {"owned_by": "somebody"},
        {"autoscaling": {"min_replicas": 0, "downscale_delay_s": 1}},
        {"routing": "round_robin"},
        {"price": {"input_per_million": 0.5}},
        {"limits": {"max_queued_requests": 1, "cold_start_timeout_s": 1, "max_queue_wait_s": 1}},
    ],
)
def test_the_digest_ignores_what_no_replica_runs_by(fields: dict[str, Any]):
    assert spec(**fields).digest == spec().digest
    assert spec(**fields).full_digest != spec().full_digest


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


@pytest.mark.parametrize("id_", ["model", "org/model", "a-b", "a.b_c"])
def test_an_applications_name_tells_model_and_digest(id_: str):
    model = spec(id=id_)
    assert "/" not in model.app_name
    assert model_of(model.app_name) == (id_, model.digest)


@pytest.mark.parametrize("name", ["gateway", "model-", "model-of-somebody-else", "other@0123456789ab"])
def test_other_applications_are_no_models(name: str):
    assert model_of(name) is None


def test_models_with_different_ids_have_different_applications():
    ids = ["a/b", "a--b", "a-b", "a.b", "a_b", "a__b"]
    assert len({spec(id=id_).app_name for id_ in ids}) == len(ids)


@pytest.mark.parametrize("name", ["start", "org/stop", "download/x", "pull", "a/logs"])
def test_words_of_the_apis_paths_are_no_names(name: str):
    for fields in ({"id": name}, {"id": "m", "aliases": [name]}):
        with pytest.raises(ValidationError, match="a word of the API's paths"):
            ModelSpec(engine="scripted", **fields)


def test_a_share_of_a_gpu_is_below_one():
    for share in (0, 0.25, 1, 8):
        assert spec(resources={"num_gpus": share}).resources.num_gpus == share
    with pytest.raises(ValidationError, match="above that only whole ones"):
        spec(resources={"num_gpus": 1.5})


def test_each_rank_on_gpus_has_one():
    ranks = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}
    assert spec(engine_args=ranks, resources={"num_gpus": 4}).ranks == 4
    assert spec(engine_args=ranks).ranks == 4
    with pytest.raises(ValidationError, match=r"num_gpus is 1, but .* make 4 ranks"):
        spec(engine_args=ranks, resources={"num_gpus": 1})


@pytest.mark.parametrize("binding", ["0-3", "0,2,4", "0-3|4-7", "auto", "nobind"])
def test_cores_can_be_named(binding: str):
    assert spec(resources={"cpu_binding": binding}).resources.cpu_binding == binding


@pytest.mark.parametrize("binding", ["", "all", "0-", "0-3;rm", "a"])
def test_what_names_no_cores_is_refused(binding: str):
    with pytest.raises(ValidationError, match="cpu_binding"):
        spec(resources={"cpu_binding": binding})


def test_a_model_costs_nothing_that_does_not_say_so():
    assert spec().price.per_token() == FREE


def test_a_token_costs_a_whole_number_of_billionths():
    price = spec(price={"input_per_million": 0.15, "cached_input_per_million": 0.037, "output_per_million": 2}).price
    assert price.per_token() == Price(input_nano=150, output_nano=2000, cached_nano=37)
    million = Usage(input_tokens=10**6, output_tokens=10**6, cached_tokens=0)
    assert price.per_token().of(million) == 2_150_000_000, "2.15 units, to the last billionth"


def test_cached_input_costs_what_input_does_unless_it_is_said():
    assert spec(price={"input_per_million": 3}).price.per_token() == Price(input_nano=3000, cached_nano=3000)
    assert spec(price={"input_per_million": 3, "cached_input_per_million": 0}).price.per_token().cached_nano == 0


@pytest.mark.parametrize("thousandths", [*range(0, 2000, 7), 999_999_999, 1_000_000_000])
def test_no_price_is_off_by_a_rounding(thousandths: int):
    written = float(f"{thousandths // 1000}.{thousandths % 1000:03}")
    assert spec(price={"output_per_million": written}).price.per_token().output_nano == thousandths


@pytest.mark.parametrize(
    ("price", "problem"),
    [
        ({"input_per_million": -0.001}, "greater than or equal to 0"),
        ({"input_per_million": 0.0001}, "at most three decimals"),
        ({"output_per_million": 1.2345}, "at most three decimals"),
        ({"output_per_million": 1e-300}, "at most three decimals"),
        ({"output_per_million": 1_000_001}, "less than or equal to 1000000"),
        ({"input_per_million": float("nan")}, "finite number"),
        ({"input_per_million": float("inf")}, "finite number"),
        ({"input_per_million": "0.15"}, "valid number"),
        ({"input_per_million": True}, "valid number"),
        ({"input_per_million": None}, "valid number"),
        ({"input_per_million": 10**400}, "input_per_million"),
        ({"input_per_million": 1, "cached_input_per_million": 2}, r"cached_input_per_million \(2\) is above"),
        ({"cached_input_per_million": 2}, r"is above input_per_million \(0\)"),
        ({"per_token": 1}, "per_token"),
    ],
)
def test_a_price_that_cannot_be_meant_is_refused(price: dict[str, Any], problem: str):
    with pytest.raises(ValidationError, match=problem):
        spec(price=price)


@pytest.mark.parametrize(
    ("engine_args", "limits", "sent"),
    [
        ({}, {}, 64),
        ({"max_num_seqs": 8}, {}, 8),
        ({"max_num_seqs": 256}, {"max_queued_requests": 9}, 256),
        ({"max_num_seqs": 8, "data_parallel_size": 2}, {}, 16),
        ({"max_num_seqs": 8}, {"max_ongoing_requests": 12}, 12),
        ({"max_num_seqs": "many"}, {}, 64),
        ({"max_num_seqs": 0}, {}, 64),
    ],
)
def test_an_engine_is_sent_as_many_as_it_runs_at_once(engine_args: dict[str, Any], limits: dict[str, Any], sent: int):
    spec = ModelSpec.model_validate({"id": "m", "engine": "scripted", "engine_args": engine_args, "limits": limits})
    assert spec.limits.max_ongoing_requests == sent
    said = spec.model_dump(mode="json", exclude_unset=True)
    assert said.get("limits", {}) == limits, "it follows the engine's number when that is changed"
    assert ModelSpec.model_validate(said) == spec
