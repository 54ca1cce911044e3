"""Wrong options are refused before anything is opened."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from lexigram_actors.cli.errors import OptionError
from lexigram_actors.cli.options import BulkOptions, parse_rate

GOOD: dict[str, Any] = {"target": "m:f", "items": "items.jsonl", "out": Path("out.jsonl")}


def test_the_least_that_must_be_said_is_enough() -> None:
    assert BulkOptions(**GOOD).timeout == math.inf


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"concurrency": 0}, "--concurrency is 0; it is a number from 1 on"),
        ({"batch_size": -3}, "--batch-size is -3"),
        ({"batch_size": 10**9}, "1000000 is the most"),
        ({"retries": -1}, "--retries is -1; it is a number from 0 on"),
        ({"failure_limit": -1}, "--failure-limit is -1"),
        ({"timeout": 0.0}, "--timeout is 0; it is seconds, more than 0"),
        ({"timeout": math.nan}, "--timeout is nan"),
        ({"retry_delay": -1.0}, "--retry-delay is -1"),
        ({"retry_delay": math.inf}, "--retry-delay is inf"),
        ({"checkpoint": Path("jobs.db")}, "--checkpoint needs --id"),
        ({"job": "x"}, "--id needs --checkpoint"),
        ({"checkpoint": Path("jobs.db"), "job": "a b"}, "is not a job name"),
        ({"checkpoint": Path("jobs.db"), "job": "../x"}, "is not a job name"),
        ({"checkpoint": Path("jobs.db"), "job": ""}, "is not a job name"),
        ({"items": ""}, "--items is empty"),
        ({"errors": Path("out.jsonl")}, "--out and --errors are both"),
        ({"items": "./out.jsonl"}, "--items and --out are both"),
        ({"checkpoint": Path("x/../out.jsonl"), "job": "x"}, "--out and --checkpoint are both"),
    ],
)
def test_a_wrong_option_is_named_with_what_it_may_be(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError) as caught:
        BulkOptions(**{**GOOD, **wrong})
    assert says in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "rate"),
    [("50/s", 50.0), ("50", 50.0), ("0.5/s", 0.5), (".5", 0.5), ("30/m", 0.5), (" 2/s ", 2.0)],
)
def test_a_rate_is_per_second_or_minute(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "0/s", "-1", "5/h", "fast", "nan", "inf", "1e3", "5/"])
def test_what_is_no_rate_shows_what_is(text: str) -> None:
    with pytest.raises(OptionError, match="is not a rate above 0") as caught:
        parse_rate(text)
    assert "50/s" in str(caught.value.hint)
