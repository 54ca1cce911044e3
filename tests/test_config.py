"""Configuration: defaults, checks, and the three loaders."""

from __future__ import annotations

import json
import math
import pickle
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from lexigram_actors.breaker import CircuitBreakerConfig
from lexigram_actors.checks import require, rules_of, whole
from lexigram_actors.config import BulkOperationConfig, ConfigIssue, Environment, GraphConfig
from lexigram_actors.errors import ConfigurationError
from lexigram_actors.retry import RetryPolicy

CONFIGS: list[Any] = [BulkOperationConfig, GraphConfig]
BREAKER = "LEX_WORKFLOW__CIRCUIT_BREAKER_CONFIG"


def by_pickle(thing: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(thing, protocol))


def refusal(make: Any, *args: Any, **kwargs: Any) -> str:
    """Return what the refusal says."""
    with pytest.raises(ConfigurationError) as caught:
        make(*args, **kwargs)
    return str(caught.value)


# --- values --------------------------------------------------------------------------------------


def test_bulk_defaults() -> None:
    assert attrs.asdict(BulkOperationConfig()) == {
        "batch_size": 10,
        "max_concurrency": 5,
        "timeout": 300.0,
        "retry_attempts": 3,
        "retry_delay": 1.0,
        "enable_progress_tracking": True,
        "circuit_breaker_config": None,
        "pipeline_timeout": 60.0,
        "ordered": False,
        "on_poison": "fail",
        "failure_limit": None,
        "jitter": 0.0,
        "rate_limit": None,
        "adaptive": False,
    }


def test_graph_defaults() -> None:
    assert attrs.asdict(GraphConfig()) == {
        "enabled": True,
        "max_iterations": 25,
        "node_timeout": 120.0,
        "total_timeout": 0.0,
        "checkpoint_enabled": False,
        "parallel_branches": True,
        "max_parallel_branches": 0,
        "on_conflict": "last",
    }


def test_the_references_settings_may_be_positional() -> None:
    assert BulkOperationConfig(20, 2).max_concurrency == 2
    assert GraphConfig(False, 5).max_iterations == 5


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_is_a_value(kind: Any) -> None:
    assert kind() == kind()
    assert hash(kind()) == hash(kind())
    assert by_pickle(kind()) == kind()
    assert not hasattr(kind(), "__dict__")
    with pytest.raises(AttributeError):
        kind().timeout = 1


def test_changed_copies_are_checked_too() -> None:
    with pytest.raises(ConfigurationError):
        attrs.evolve(BulkOperationConfig(), batch_size=0)


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_setting_is_documented(kind: Any) -> None:
    for name in rules_of(kind):
        assert f"{name}:" in kind.__doc__


GOOD: list[dict[str, Any]] = [
    {"batch_size": 1},
    {"timeout": 1},
    {"timeout": math.inf},
    {"pipeline_timeout": math.inf},
    {"retry_attempts": 0},
    {"retry_delay": 0},
    {"failure_limit": 0},
    {"failure_limit": 7},
    {"failure_limit": 0.0},
    {"failure_limit": 1.0},
    {"jitter": 1},
    {"rate_limit": 0.5},
    {"on_poison": "bisect"},
    {"circuit_breaker_config": CircuitBreakerConfig()},
]


@pytest.mark.parametrize("settings", GOOD)
def test_sensible_values_are_taken_as_they_are(settings: dict[str, Any]) -> None:
    config = BulkOperationConfig(**settings)
    for name, value in settings.items():
        assert getattr(config, name) is value


BAD: list[tuple[Any, str, Any, str]] = [
    (BulkOperationConfig, "batch_size", 0, "a whole number of at least 1"),
    (BulkOperationConfig, "batch_size", True, "a whole number"),
    (BulkOperationConfig, "batch_size", "10", "a whole number"),
    (BulkOperationConfig, "batch_size", 10.0, "a whole number"),
    (BulkOperationConfig, "batch_size", None, "a whole number"),
    (BulkOperationConfig, "max_concurrency", -1, "of at least 1"),
    (BulkOperationConfig, "timeout", 0, "a number above 0"),
    (BulkOperationConfig, "timeout", math.nan, "a number above 0"),
    (BulkOperationConfig, "timeout", Decimal(1), "a number above 0"),
    (BulkOperationConfig, "timeout", None, "inf: no limit"),
    (BulkOperationConfig, "retry_attempts", -1, "of at least 0"),
    (BulkOperationConfig, "retry_attempts", math.inf, "a whole number"),
    (BulkOperationConfig, "retry_delay", -0.5, "a number of at least 0"),
    (BulkOperationConfig, "retry_delay", math.inf, "a number of at least 0"),
    (BulkOperationConfig, "enable_progress_tracking", 1, "True or False"),
    (BulkOperationConfig, "circuit_breaker_config", {}, "a CircuitBreakerConfig, or None"),
    (BulkOperationConfig, "pipeline_timeout", -1, "above 0"),
    (BulkOperationConfig, "on_poison", "explode", "'fail' or 'bisect'"),
    (BulkOperationConfig, "on_poison", ["fail"], "'fail' or 'bisect'"),
    (BulkOperationConfig, "failure_limit", -1, "a count"),
    (BulkOperationConfig, "failure_limit", 1.5, "a fraction"),
    (BulkOperationConfig, "failure_limit", math.nan, "a fraction"),
    (BulkOperationConfig, "failure_limit", True, "or None"),
    (BulkOperationConfig, "jitter", 1.01, "from 0 to 1"),
    (BulkOperationConfig, "rate_limit", 0, "above 0, or None"),
    (BulkOperationConfig, "rate_limit", math.inf, "above 0, or None"),
    (BulkOperationConfig, "adaptive", None, "True or False"),
    (GraphConfig, "max_iterations", 0, "of at least 1"),
    (GraphConfig, "node_timeout", -1, "of at least 0"),
    (GraphConfig, "total_timeout", math.nan, "of at least 0"),
    (GraphConfig, "max_parallel_branches", -1, "of at least 0"),
    (GraphConfig, "on_conflict", "first", "'last' or 'error'"),
    (CircuitBreakerConfig, "name", 3, "a string"),
]


@pytest.mark.parametrize(("kind", "name", "value", "allowed"), BAD)
def test_a_wrong_value_is_refused_by_name_with_what_is_allowed(
    kind: Any, name: str, value: Any, allowed: str
) -> None:
    said = refusal(kind, **{name: value})
    assert kind.__name__ in said
    assert f"{name}: {value!r} was given" in said
    assert allowed in said


def test_all_wrong_values_are_listed_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        BulkOperationConfig(batch_size=0, timeout=-1, jitter=9)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "batch_size",
        "timeout",
        "jitter",
    ]


def test_a_refusal_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        BulkOperationConfig(batch_size=0)


def test_one_argument_can_be_required_to_fit() -> None:
    require("bound", 1, whole(least=1))
    assert refusal(require, "bound", 0, whole(least=1)).startswith("bound: 0 was given")


# --- from a dict ---------------------------------------------------------------------------------


def test_a_dict_names_settings_and_the_rest_are_defaults() -> None:
    assert BulkOperationConfig.from_dict({"batch_size": 50}) == BulkOperationConfig(batch_size=50)
    assert GraphConfig.from_dict({}) == GraphConfig()


def test_a_nested_breaker_may_be_a_mapping_a_config_or_none() -> None:
    breaker = CircuitBreakerConfig(failure_threshold=2)
    for given_value in ({"failure_threshold": 2}, breaker):
        config = BulkOperationConfig.from_dict({"circuit_breaker_config": given_value})
        assert config.circuit_breaker_config == breaker
    config = BulkOperationConfig.from_dict({"circuit_breaker_config": None})
    assert config.circuit_breaker_config is None


def test_a_misspelt_name_is_refused_with_the_nearest_one() -> None:
    assert "did you mean 'batch_size'?" in refusal(BulkOperationConfig.from_dict, {"batch_sise": 1})
    assert "did you mean 'batch_size'?" in refusal(BulkOperationConfig.from_dict, {"Batch-Size": 1})


def test_a_name_like_no_other_is_refused_with_all_there_are() -> None:
    said = refusal(GraphConfig.from_dict, {"zzz": 1, 3: 4})
    assert "zzz: there is no such setting; there are checkpoint_enabled, enabled," in said
    assert "3: there is no such setting" in said


def test_what_is_wrong_inside_a_nested_config_is_named_with_its_path() -> None:
    said = refusal(
        BulkOperationConfig.from_dict,
        {"circuit_breaker_config": {"failure_treshold": 1, "recovery_timeout": -1}, "jitter": 2},
    )
    assert "circuit_breaker_config.failure_treshold: there is no such setting" in said
    assert "did you mean 'failure_threshold'?" in said
    assert "circuit_breaker_config.recovery_timeout: -1 was given" in said
    assert "jitter: 2 was given" in said


def test_strings_are_not_turned_into_numbers() -> None:
    assert "'5' was given" in refusal(BulkOperationConfig.from_dict, {"batch_size": "5"})


@pytest.mark.parametrize("given_value", [None, [("batch_size", 1)], "batch_size"])
def test_from_dict_takes_mappings_only(given_value: Any) -> None:
    assert "takes a mapping" in refusal(BulkOperationConfig.from_dict, given_value)


# --- numbers beyond all measure ------------------------------------------------------------------

HUGE = 10**400  # no float holds it
UNPRINTABLE = 10**5000  # nor does Python write it out

BEYOND: list[tuple[Any, str, int, str]] = [
    (BulkOperationConfig, "timeout", HUGE, "e+308 at most"),
    (BulkOperationConfig, "pipeline_timeout", UNPRINTABLE, "e+308 at most"),
    (BulkOperationConfig, "batch_size", 2**70, f"{sys.maxsize} at most"),
    (BulkOperationConfig, "batch_size", UNPRINTABLE, f"{sys.maxsize} at most"),
    (BulkOperationConfig, "batch_size", -UNPRINTABLE, "a whole number of at least 1"),
    (BulkOperationConfig, "rate_limit", HUGE, "or None, 1.7"),
    (BulkOperationConfig, "failure_limit", sys.maxsize + 1, f"{sys.maxsize} at most"),
    (BulkOperationConfig, "retry_delay", -HUGE, "a number of at least 0"),
    (BulkOperationConfig, "ordered", UNPRINTABLE, "True or False"),
    (GraphConfig, "node_timeout", HUGE, "e+308 at most"),
    (CircuitBreakerConfig, "recovery_timeout", HUGE, "e+308 at most"),
    (CircuitBreakerConfig, "failure_threshold", HUGE, f"{sys.maxsize} at most"),
    (RetryPolicy, "delay", HUGE, "e+308 at most"),
    (RetryPolicy, "factor", HUGE, "e+308 at most"),
    (RetryPolicy, "max_delay", HUGE, "e+308 at most"),
]


@pytest.mark.parametrize(("kind", "name", "value", "allowed"), BEYOND, ids=range(len(BEYOND)))
def test_a_number_that_cannot_be_worked_with_is_refused_shortly(
    kind: Any, name: str, value: int, allowed: str
) -> None:
    said = refusal(kind, **{name: value})
    assert f"{name}: " in said
    assert allowed in said
    assert len(said) < 500


def test_the_largest_numbers_that_can_be_worked_with_are_taken() -> None:
    assert BulkOperationConfig(batch_size=sys.maxsize).batch_size == sys.maxsize
    assert BulkOperationConfig(failure_limit=sys.maxsize).failure_limit == sys.maxsize
    assert BulkOperationConfig(timeout=10**308).timeout == 10**308


def test_a_dict_of_names_and_values_beyond_all_measure_is_refused() -> None:
    wrong: Any = {"batch_size": -UNPRINTABLE, UNPRINTABLE: 1}
    said = refusal(BulkOperationConfig.from_dict, wrong)
    assert "batch_size: " in said
    assert "there is no such setting" in said
    assert "takes a mapping" in refusal(BulkOperationConfig.from_dict, UNPRINTABLE)


def test_an_environment_beyond_all_measure_is_refused() -> None:
    assert "unknown environment" in refusal(GraphConfig().validate_for_environment, UNPRINTABLE)


def test_of_a_long_value_only_the_beginning_is_shown() -> None:
    said = refusal(BulkOperationConfig, batch_size="x" * 10_000)
    assert "... (10002 characters) was given" in said
    assert len(said) < 500


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("name", ["TIMEOUT", "BATCH_SIZE", "FAILURE_LIMIT", "RATE_LIMIT"])
def test_a_variable_with_more_digits_than_a_float_holds_is_refused(name: str, digits: int) -> None:
    said = refusal(bulk_from, **{name: "9" * digits})
    assert f"LEX_WORKFLOW__{name}: " in said
    assert len(said) < 600


@pytest.mark.parametrize("word", ["inf", "Infinity", "+INF"])
def test_no_limit_is_said_in_a_variable_by_its_name(word: str) -> None:
    assert bulk_from(TIMEOUT=word).timeout == math.inf


# --- from the environment ------------------------------------------------------------------------


def bulk_from(**variables: str) -> BulkOperationConfig:
    return BulkOperationConfig.from_env({f"LEX_WORKFLOW__{k}": v for k, v in variables.items()})


def test_variables_are_read_by_kind() -> None:
    config = bulk_from(
        BATCH_SIZE=" 50 ",
        TIMEOUT="inf",
        ORDERED="yes",
        ENABLE_PROGRESS_TRACKING="Off",
        ON_POISON="bisect",
        RATE_LIMIT="none",
        RETRY_DELAY="0.5",
    )
    assert config == BulkOperationConfig(
        batch_size=50,
        timeout=math.inf,
        ordered=True,
        enable_progress_tracking=False,
        on_poison="bisect",
        retry_delay=0.5,
    )


@pytest.mark.parametrize(
    ("word", "flag"),
    [("true", True), ("1", True), ("ON", True), ("false", False), ("0", False), ("No", False)],
)
def test_words_for_flags(word: str, flag: bool) -> None:
    assert bulk_from(ADAPTIVE=word).adaptive is flag


def test_a_failure_limit_is_a_count_or_a_fraction_as_written() -> None:
    assert repr(bulk_from(FAILURE_LIMIT="1").failure_limit) == "1"
    assert repr(bulk_from(FAILURE_LIMIT="1.0").failure_limit) == "1.0"


def test_an_empty_variable_counts_as_not_set() -> None:
    assert bulk_from(BATCH_SIZE="", TIMEOUT="  ") == BulkOperationConfig()


def test_a_nested_breaker_from_variables() -> None:
    config = bulk_from(CIRCUIT_BREAKER_CONFIG__FAILURE_THRESHOLD="7")
    assert config.circuit_breaker_config == CircuitBreakerConfig(failure_threshold=7)


def test_none_switches_a_nested_breaker_off() -> None:
    config = bulk_from(
        CIRCUIT_BREAKER_CONFIG="none",
        CIRCUIT_BREAKER_CONFIG__FAILURE_THRESHOLD="7",
    )
    assert config.circuit_breaker_config is None


def test_a_breaker_as_one_word_is_refused() -> None:
    assert f"{BREAKER}: 'on' was given" in refusal(bulk_from, CIRCUIT_BREAKER_CONFIG="on")


def test_wrong_variables_are_named_all_at_once() -> None:
    said = refusal(
        bulk_from,
        BATCH_SIZ="1",
        BATCH_SIZE__DEEP="1",
        ZZZ="",
        TIMEOUT="soon",
        ORDERED="maybe",
        FAILURE_LIMIT="some",
        CIRCUIT_BREAKER_CONFIG__FAILURE_THRESHOLD="0",
        CIRCUIT_BREAKER_CONFIG__NAMED="x",
    )
    assert "LEX_WORKFLOW__BATCH_SIZ: there is no such setting; did you mean " in said
    assert "did you mean LEX_WORKFLOW__BATCH_SIZE?" in said
    assert "LEX_WORKFLOW__ZZZ: there is no such setting\n" in said
    assert "LEX_WORKFLOW__TIMEOUT: 'soon' was given" in said
    assert "LEX_WORKFLOW__ORDERED: 'maybe' was given, it must be True or False" in said
    assert "LEX_WORKFLOW__FAILURE_LIMIT: 'some' was given" in said
    assert f"{BREAKER}__FAILURE_THRESHOLD: 0 was given" in said
    assert f"did you mean {BREAKER}__NAME?" in said


def test_names_in_lower_case_are_refused_with_the_right_one() -> None:
    assert "did you mean LEX_WORKFLOW__BATCH_SIZE?" in refusal(bulk_from, batch_size="1")


def test_a_variable_of_a_config_that_does_not_exist_is_unknown() -> None:
    said = refusal(bulk_from, RUNTIME__ANYTHING="x")
    assert "LEX_WORKFLOW__RUNTIME__ANYTHING: there is no such setting" in said


def test_variables_of_graphs_belong_to_the_other_config() -> None:
    environ = {
        "LEX_WORKFLOW__GRAPH__MAX_ITERATIONS": "7",
        "LEX_WORKFLOW__BATCH_SIZE": "3",
        "LEX_OTHER": "x",
        "PATH": "/bin",
    }
    assert BulkOperationConfig.from_env(environ) == BulkOperationConfig(batch_size=3)
    assert GraphConfig.from_env(environ) == GraphConfig(max_iterations=7)


def test_the_process_environment_is_read_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEX_WORKFLOW__GRAPH__NODE_TIMEOUT", "9")
    assert GraphConfig.from_env().node_timeout == 9.0
    assert GraphConfig().node_timeout == 120.0


# --- from TOML -----------------------------------------------------------------------------------

TOML = """
[other]
batch_size = "not ours"

[workflow]
batch_size = 20
timeout = inf
[workflow.circuit_breaker_config]
failure_threshold = 2
[workflow.graph]
max_iterations = 9
"""


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "app.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_each_config_reads_its_own_table(toml: Any) -> None:
    path = toml(TOML)
    bulk = BulkOperationConfig.from_toml(path)
    assert (bulk.batch_size, bulk.timeout) == (20, math.inf)
    assert bulk.circuit_breaker_config == CircuitBreakerConfig(failure_threshold=2)
    assert GraphConfig.from_toml(str(path)) == GraphConfig(max_iterations=9)


def test_without_a_graph_table_graphs_have_defaults(toml: Any) -> None:
    assert GraphConfig.from_toml(toml("[workflow]\nbatch_size = 1")) == GraphConfig()


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no table [workflow]"),
        ("batch_size = 1", "has no table [workflow]"),
        ("[workflows]\nbatch_size = 1", "did you mean it by 'workflows'?"),
        ("workflow = 3", "[workflow] must be a table, it is 3"),
        ("[workflow", "is not valid TOML"),
        (b"[workflow]\nname = '\xff'", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_name(
    kind: Any, text: str | bytes, said: str, toml: Any
) -> None:
    path = toml(text)
    message = refusal(kind.from_toml, path)
    assert said in message
    assert str(path) in message


def test_a_wrong_or_misspelt_graph_table_is_refused(toml: Any) -> None:
    assert "[workflow.graph] must be a table" in refusal(
        GraphConfig.from_toml, toml("[workflow]\ngraph = true")
    )
    path = toml("[workflow.graf]\nmax_iterations = 1")
    assert "did you mean it by 'graf'?" in refusal(GraphConfig.from_toml, path)
    assert "graf: there is no such setting" in refusal(BulkOperationConfig.from_toml, path)


def test_a_table_of_a_config_that_does_not_exist_is_unknown(toml: Any) -> None:
    path = toml("[workflow.runtime]\nanything = true")
    assert "runtime: there is no such setting" in refusal(BulkOperationConfig.from_toml, path)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_file_nested_beyond_all_measure_is_refused_by_name(kind: Any, toml: Any) -> None:
    path = toml(f"[workflow]\nx = {'[' * 3000}{']' * 3000}")
    message = refusal(kind.from_toml, path)
    assert "nested too deeply" in message
    assert str(path) in message


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_in_a_file_that_no_float_can_hold_is_refused(digits: int, toml: Any) -> None:
    path = toml(f"[workflow]\ntimeout = 1{'0' * digits}")
    assert str(path) in refusal(BulkOperationConfig.from_toml, path)


def test_wrong_settings_are_named_with_file_and_table(toml: Any) -> None:
    path = toml(
        "[workflow]\nbatch_sise = 1\ntimeout = 'soon'\nretry_delay = 1979-05-27\n"
        "[workflow.circuit_breaker_config]\nname = 3"
    )
    said = refusal(BulkOperationConfig.from_toml, path)
    assert f"{path}, table [workflow]" in said
    assert "batch_sise: there is no such setting; did you mean 'batch_size'?" in said
    assert "timeout: 'soon' was given" in said
    assert "retry_delay: datetime.date(1979, 5, 27) was given" in said
    assert "circuit_breaker_config.name: 3 was given" in said


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    with pytest.raises(ConfigurationError, match="No such file") as caught:
        BulkOperationConfig.from_toml(missing)
    assert str(missing) in str(caught.value)
    assert isinstance(caught.value.cause, FileNotFoundError)
    assert "directory" in refusal(BulkOperationConfig.from_toml, tmp_path)


# --- advice --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("env", [None, *Environment])
def test_the_defaults_are_fine_everywhere(kind: Any, env: Environment | None) -> None:
    assert kind().validate_for_environment(env) == []


UNWISE: list[tuple[Any, str]] = [
    (BulkOperationConfig(timeout=math.inf), "timeout"),
    (BulkOperationConfig(retry_delay=0), "retry_delay"),
    (BulkOperationConfig(batch_size=10**6, max_concurrency=2), "batch_size"),
    (GraphConfig(node_timeout=0), "node_timeout"),
    (GraphConfig(node_timeout=math.inf, total_timeout=math.inf), "node_timeout"),
    (GraphConfig(max_iterations=10**6), "max_iterations"),
]


@pytest.mark.parametrize(("config", "name"), UNWISE)
def test_what_is_unwise_in_production_is_an_issue_there_only(config: Any, name: str) -> None:
    for env in (Environment.STAGING, Environment.PRODUCTION):
        (issue,) = config.validate_for_environment(env)
        assert (issue.field, issue.severity) == (name, "warning")
        assert issue.message
    for other in (None, Environment.DEVELOPMENT, Environment.TESTING):
        assert config.validate_for_environment(other) == []


def test_wise_neighbours_of_unwise_settings_are_no_issue() -> None:
    for config in (
        BulkOperationConfig(retry_delay=0, retry_attempts=0),
        GraphConfig(node_timeout=0, total_timeout=60),
    ):
        assert config.validate_for_environment(Environment.PRODUCTION) == []


def test_an_environment_may_be_given_by_its_name() -> None:
    config = GraphConfig(node_timeout=0)
    assert config.validate_for_environment("production")  # type: ignore[arg-type]
    assert "development, testing, staging, production" in refusal(
        config.validate_for_environment, "prod"
    )


def test_an_issue_is_an_error_unless_it_says_otherwise() -> None:
    assert ConfigIssue("a", "b").severity == "error"


def test_environments_are_words() -> None:
    assert json.dumps(list(Environment)) == ('["development", "testing", "staging", "production"]')
