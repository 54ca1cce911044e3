"""The error tree: one root, codes, fields, and errors that travel."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

import pytest

from lexigram_actors import errors
from lexigram_actors.errors import ForeignError, LexigramError, describe
from lexigram_actors.result import Err, Ok

CODES = {
    "PipelineExecutionError": "LEX_ERR_PIPE_001",
    "PipelineStepError": "LEX_ERR_PIPE_002",
    "WorkflowError": "LEX_ERR_WF_003",
    "WorkflowNotFoundError": "LEX_ERR_WF_004",
    "WorkflowStateError": "LEX_ERR_WF_005",
    "WorkflowStepError": "LEX_ERR_WF_006",
    "WorkflowTimeoutError": "LEX_ERR_WF_007",
    "WorkflowCompensationError": "LEX_ERR_WF_008",
    "SagaVersionMismatchError": "LEX_ERR_WF_009",
    "WorkflowVersionMismatchError": "LEX_ERR_WF_010",
    "GraphExecutionError": "LEX_ERR_WF_011",
    "NodeExecutionError": "LEX_ERR_WF_012",
    "CycleDetectedError": "LEX_ERR_WF_013",
    "GraphTimeoutError": "LEX_ERR_WF_014",
    "GraphValidationError": "LEX_ERR_WF_015",
    "HumanInputRequiredError": "LEX_ERR_WF_016",
    "StateError": "LEX_ERR_WF_017",
    "StateConcurrencyError": "LEX_ERR_WF_018",
    "SagaError": "LEX_ERR_WF_019",
    "BulkOperationError": "LEX_ERR_WF_020",
    "BulkOperationTimeoutError": "LEX_ERR_WF_021",
    "BulkOperationCancelledError": "LEX_ERR_WF_022",
    "SagaStepError": "LEX_ERR_WF_023",
}

# One of each class, with every argument that says something.
CAUSE = KeyError("total")
EXAMPLES: dict[str, Callable[[], LexigramError]] = {
    "LexigramError": lambda: LexigramError(
        "it broke", code="MY_1", details={"a": [1]}, hint="mend it", cause=CAUSE
    ),
    "ForeignError": lambda: ForeignError("KeyError", "total"),
    "ConfigurationError": lambda: errors.ConfigurationError("wrong", problems=["a: 1", "b: 2"]),
    "MissingExtraError": lambda: errors.MissingExtraError("rich", "cli", cause=CAUSE),
    "CircuitOpenError": lambda: errors.CircuitOpenError("db", 2.5),
    "UnwrapError": lambda: errors.UnwrapError(Err("no"), "an order"),
    "ActorError": lambda: errors.ActorError("bad", cause=CAUSE),
    "MailboxFull": lambda: errors.MailboxFull("counter", 64),
    "ActorStopped": lambda: errors.ActorStopped("counter", "shutdown"),
    "ActorFailed": lambda: errors.ActorFailed("counter", CAUSE),
    "AskTimeout": lambda: errors.AskTimeout("counter", 1.5),
    "RestartIntensityExceeded": lambda: errors.RestartIntensityExceeded("root", 3, 5.0, CAUSE),
    "ActorUnresponsive": lambda: errors.ActorUnresponsive("counter", 5.0, "File ..."),
    "ActorNameTaken": lambda: errors.ActorNameTaken("counter"),
    "ChildError": lambda: errors.ChildError("root", "a", "not_found"),
    "StoreError": lambda: errors.StoreError("locked", cause=CAUSE),
    "StoreCorruptedError": lambda: errors.StoreCorruptedError("row 3", hint="restore"),
    "StoreVersionError": lambda: errors.StoreVersionError(details={"version": 9}),
    "LeaseLost": errors.LeaseLost,
    "NotStorableError": lambda: errors.NotStorableError("a set", path="$.a[1]"),
    "PipelineExecutionError": lambda: errors.PipelineExecutionError("load", CAUSE, {"a": 1}),
    "PipelineStepError": lambda: errors.PipelineStepError("no", cause=CAUSE),
    "WorkflowError": lambda: errors.WorkflowError("bad", step_name="a", error=CAUSE),
    "WorkflowNotFoundError": lambda: errors.WorkflowNotFoundError("order-42"),
    "WorkflowStateError": lambda: errors.WorkflowStateError("not now"),
    "WorkflowStepError": lambda: errors.WorkflowStepError("charge", "declined", error=CAUSE),
    "WorkflowTimeoutError": lambda: errors.WorkflowTimeoutError("too long"),
    "WorkflowCompensationError": lambda: errors.WorkflowCompensationError("half"),
    "WorkflowVersionMismatchError": lambda: errors.WorkflowVersionMismatchError("order", 1, 2),
    "NonDeterminismError": lambda: errors.NonDeterminismError("a/b/0", "charge", "refund"),
    "GraphExecutionError": lambda: errors.GraphExecutionError("no", node="a", node_results=[1]),
    "NodeExecutionError": lambda: errors.NodeExecutionError("no", node="a", cause=CAUSE),
    "CycleDetectedError": lambda: errors.CycleDetectedError(25, node="a"),
    "GraphTimeoutError": lambda: errors.GraphTimeoutError(30.0),
    "GraphValidationError": lambda: errors.GraphValidationError("no entry"),
    "HumanInputRequiredError": lambda: errors.HumanInputRequiredError(
        "ok?", node="ask", checkpoint_id="ask", pending=[("ask", "ok?", "ask", int)], state={"a": 1}
    ),
    "StateConflictError": lambda: errors.StateConflictError("total", ["a", "b"], node="join"),
    "AnswerInvalidError": lambda: errors.AnswerInvalidError("ask", "not a number", cause=CAUSE),
    "WorkflowCancelledError": lambda: errors.WorkflowCancelledError("no longer wanted"),
    "WorkflowFailedError": lambda: errors.WorkflowFailedError(
        "CardError", "declined", details={"code": "MY_1"}
    ),
    "SagaError": lambda: errors.SagaError(
        "charge", "no money", compensation_errors={"book": CAUSE}, uncompensated=["book"]
    ),
    "SagaStepError": lambda: errors.SagaStepError("charge", "declined", CAUSE),
    "SagaVersionMismatchError": lambda: errors.SagaVersionMismatchError("s1", 2, 1),
    "StateError": lambda: errors.StateError("pay", "draft"),
    "StateConcurrencyError": lambda: errors.StateConcurrencyError("pay", "draft", 1, 2),
    "BulkOperationError": lambda: errors.BulkOperationError("bad", cause=CAUSE),
    "BulkOperationTimeoutError": errors.BulkOperationTimeoutError,
    "BulkOperationCancelledError": errors.BulkOperationCancelledError,
}
CLASSES: dict[str, Any] = {
    name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)
}


def by_pickle(thing: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(thing, protocol))


def facts(error: LexigramError) -> dict[str, Any]:
    """Return all that an error says, in a form that compares by content."""
    told = {k: repr(v) for k, v in vars(error).items()}
    extra = (error.args, str(error), repr(error.__cause__), error.__suppress_context__)
    return {**told, "extra": repr(extra), "dict": error.to_dict()}


@pytest.fixture(params=sorted(EXAMPLES))
def error(request: pytest.FixtureRequest) -> LexigramError:
    return EXAMPLES[request.param]()


def test_every_class_has_an_example() -> None:
    assert set(CLASSES) == set(EXAMPLES)


def test_every_error_is_under_one_root_and_public() -> None:
    assert all(issubclass(kind, LexigramError) for kind in CLASSES.values())
    assert set(CLASSES) <= set(errors.__all__)


def test_codes_are_the_references_and_none_is_used_twice() -> None:
    codes = {name: kind.code for name, kind in CLASSES.items()}
    assert {name: codes[name] for name in CODES} == CODES
    assert len(set(codes.values())) == len(codes)


def test_the_tree_drawn_in_the_docstring_is_the_tree() -> None:
    drawn = [line.strip() for line in (errors.__doc__ or "").splitlines() if "LEX_ERR" in line]
    depth_of = {}
    for line in (errors.__doc__ or "").splitlines():
        if "LEX_ERR" in line:
            bare = line.replace("├── ", "    ").replace("└── ", "    ").replace("│", " ")
            name = bare.split()[0]
            depth_of[name] = (len(bare) - len(bare.lstrip())) // 4 - 1
            assert bare.split()[-1] == CLASSES[name].code
    ours = {
        name: sum(issubclass(base, LexigramError) for base in kind.__mro__) - 1
        for name, kind in CLASSES.items()
    }
    assert len(drawn) == len(CLASSES)
    assert depth_of == ours


@pytest.mark.parametrize(
    "name",
    ["WorkflowTimeoutError", "GraphTimeoutError", "BulkOperationTimeoutError", "AskTimeout"],
)
def test_timeouts_are_timeout_errors(name: str) -> None:
    assert issubclass(CLASSES[name], TimeoutError)


def test_those_that_stand_for_a_builtin_are_that_builtin() -> None:
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.AnswerInvalidError, ValueError)
    assert issubclass(errors.NotStorableError, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)


def test_kinship_that_callers_rely_on() -> None:
    assert issubclass(errors.WorkflowError, errors.PipelineExecutionError)
    assert issubclass(errors.SagaVersionMismatchError, errors.SagaError)
    assert issubclass(errors.StateConflictError, errors.GraphExecutionError)
    assert issubclass(errors.LeaseLost, errors.StoreError)


def test_every_class_says_what_it_means() -> None:
    assert all(kind.__doc__ for kind in CLASSES.values())


# --- what an error says ------------------------------------------------------------------------


def test_the_root_alone_says_something() -> None:
    error = LexigramError()
    assert error.message
    assert str(error) == error.message
    assert error.to_dict() == {
        "code": "LEX_ERR_CORE_001",
        "message": error.message,
        "details": {},
    }


def test_a_hint_is_shown_below_the_message() -> None:
    assert str(LexigramError("no", hint="do it")) == "no\n  hint: do it"


def test_details_are_copied() -> None:
    given = {"a": 1}
    error = LexigramError("no", details=given)
    given["a"] = 2
    assert error.details == {"a": 1}


def test_to_dict_has_everything_that_was_given() -> None:
    assert EXAMPLES["LexigramError"]().to_dict() == {
        "code": "MY_1",
        "message": "it broke",
        "details": {"a": [1]},
        "hint": "mend it",
        "cause": {"type": "KeyError", "message": "'total'"},
    }


def test_to_dict_is_strict_json_for_every_error(error: LexigramError) -> None:
    assert json.loads(json.dumps(error.to_dict(), allow_nan=False))["code"] == error.code


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class Name(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "lie"


def test_to_dict_shows_what_json_cannot_hold_as_its_repr() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = "end"
    for _ in range(2000):
        deep = [deep]
    details: dict[Any, Any] = {
        "set": {1},
        "nan": float("nan"),
        "huge": 2**70,
        "flag": True,
        "number": 1.5,
        "name": Name("x"),
        "surrogate": "a\ud800",
        "tuple": (1, None),
        3: "key",
        "unprintable": Unprintable(),
        "loop": loop,
        "deep": deep,
    }
    shown = LexigramError("no", details=details).to_dict()["details"]
    assert shown["set"] == "{1}"
    assert shown["nan"] == "nan"
    assert shown["huge"] == str(2**70)
    assert shown["flag"] is True
    assert shown["number"] == 1.5
    assert shown["name"] == "x"
    assert shown["surrogate"] == "a\\ud800"
    assert shown["tuple"] == [1, None]
    assert shown["3"] == "key"
    assert shown["unprintable"] == "<Unprintable that cannot be shown>"
    json.dumps(shown, allow_nan=False).encode()


def test_details_whose_keys_look_alike_in_json_are_all_there() -> None:
    odd: dict[Any, Any] = {1: "a", "1": "b", "1 (2)": "c", 2: {None: "d", "None": "e"}}
    assert LexigramError(details=odd).to_dict()["details"] == {
        "1": "a",
        "1 (2)": "b",
        "1 (2) (2)": "c",
        "2": {"None": "d", "None (2)": "e"},
    }


def test_describe_names_a_foreign_class_and_not_one_of_ours() -> None:
    assert describe(KeyError("total")) == "KeyError: 'total'"
    assert describe(ValueError()) == "ValueError"
    assert describe(Exception("just this")) == "just this"
    assert describe(LexigramError("ours", hint="h")) == "ours"
    assert describe("text") == "text"
    assert describe(Unprintable()) == "<Unprintable that cannot be shown>"


# --- causes --------------------------------------------------------------------------------------


def test_a_cause_given_is_the_python_cause() -> None:
    cause = ValueError("x")
    error = LexigramError("no", cause=cause)
    assert error.cause is cause
    assert error.__cause__ is cause


def test_raise_from_is_seen_as_cause() -> None:
    cause = ValueError("x")
    with pytest.raises(LexigramError) as caught:
        raise LexigramError("no") from cause
    assert caught.value.cause is cause
    assert caught.value.to_dict()["cause"] == {"type": "ValueError", "message": "x"}


def test_raise_from_none_hides_the_cause_from_the_traceback_only() -> None:
    cause = ValueError("x")
    with pytest.raises(LexigramError) as caught:
        raise LexigramError("no", cause=cause) from None
    assert caught.value.__cause__ is None
    assert caught.value.cause is cause


def test_a_cause_can_be_set_later() -> None:
    error, cause = LexigramError("no"), ValueError("x")
    error.cause = cause
    assert error.__cause__ is cause


# --- constructors --------------------------------------------------------------------------------


def test_a_failed_step_is_the_cause_of_a_failed_pipeline() -> None:
    cause = ValueError("x")
    error = errors.PipelineExecutionError("load", cause, {"a": 1})
    assert (error.step_name, error.error, error.details) == ("load", cause, {"a": 1})
    assert error.cause is cause
    assert "'load'" in str(error)
    assert "ValueError: x" in str(error)


def test_another_cause_may_be_given_to_a_failed_pipeline() -> None:
    group = ExceptionGroup("several", [ValueError("x")])
    error = errors.PipelineExecutionError("load", group.exceptions[0], cause=group)
    assert error.cause is group


def test_a_step_may_fail_with_something_that_is_no_exception() -> None:
    error = errors.PipelineExecutionError("load", "no stock")  # type: ignore[arg-type]
    assert str(error) == "step 'load' failed: no stock"
    assert error.cause is None


def test_a_workflow_error_makes_up_its_error_and_no_cause() -> None:
    error = errors.WorkflowError("bad")
    assert error.step_name == "workflow"
    assert repr(error.error) == "Exception('bad')"
    assert error.cause is None
    assert error.message == "bad"
    assert errors.WorkflowError().message == "Workflow error"


def test_a_workflow_error_takes_everything_by_keyword() -> None:
    failed, cause = ValueError("x"), OSError("y")
    error = errors.WorkflowError(
        "bad", step_name="a", error=failed, details={"k": 1}, hint="h", cause=cause, code="C"
    )
    assert (error.step_name, error.error, error.cause) == ("a", failed, cause)
    assert (error.details, error.hint, error.code) == ({"k": 1}, "h", "C")
    assert errors.WorkflowError("bad", error=failed).cause is failed


def test_facts_are_fields() -> None:
    step = errors.WorkflowStepError("charge", "declined")
    assert (step.step_name, step.reason) == ("charge", "declined")
    version = errors.WorkflowVersionMismatchError("order", 1, 2)
    assert (version.workflow_name, version.expected_version, version.actual_version) == (
        "order",
        1,
        2,
    )
    assert errors.WorkflowNotFoundError("x").workflow_id == "x"
    assert errors.GraphTimeoutError(3).timeout == 3
    cycle = errors.CycleDetectedError(25, node="a")
    assert (cycle.iterations, cycle.node, cycle.node_results) == (25, "a", [])
    assert errors.CycleDetectedError(25).node is None
    human = errors.HumanInputRequiredError("ok?", node="ask", checkpoint_id="c")
    assert (human.prompt, human.node, human.checkpoint_id) == ("ok?", "ask", "c")
    assert (human.pending, human.state) == ([], {})
    node = errors.NodeExecutionError("no", node="a", cause=CAUSE)
    assert (node.node, node.cause) == ("a", CAUSE)
    state = errors.StateConcurrencyError("pay", "draft", 1, 2)
    assert (state.event, state.current_state) == ("pay", "draft")
    assert (state.expected_version, state.actual_version) == (1, 2)


def test_a_conflict_without_writers_is_still_a_sentence() -> None:
    assert errors.StateConflictError("total").message.endswith("was written side by side")


def test_bulk_errors_say_something_by_themselves() -> None:
    assert errors.BulkOperationError().message == "Bulk operation error"
    assert errors.BulkOperationTimeoutError().message == "Bulk operation timed out"
    assert errors.BulkOperationCancelledError().message == "Bulk operation cancelled"


def test_a_saga_may_fail_with_any_value() -> None:
    error = errors.SagaError("charge", "no money", uncompensated=["book"])
    assert error.cause == "no money"
    assert error.__cause__ is None
    assert "no money" in error.message
    assert "'book'" in error.message
    assert error.to_dict()["cause"] == {"type": "str", "message": "no money"}
    assert errors.SagaError("charge").message == "saga step 'charge' failed"


def test_a_saga_that_failed_with_an_exception_chains_it() -> None:
    cause = ValueError("x")
    error = errors.SagaError("charge", cause, compensation_errors={"book": cause})
    assert error.__cause__ is cause
    assert error.compensation_errors == {"book": cause}


def test_a_saga_step_says_its_detail_or_else_its_cause() -> None:
    assert errors.SagaStepError("charge", "declined").message.endswith("declined")
    assert errors.SagaStepError("charge", cause=ValueError("x")).message.endswith("ValueError: x")


def test_details_of_an_actors_error_can_be_given() -> None:
    assert errors.MailboxFull("a", 3).details == {"actor": "a", "bound": 3}
    assert errors.MailboxFull("a", 3, details={"k": 1}).details == {"k": 1}


def test_a_child_error_explains_its_problem() -> None:
    for problem, words in errors.CHILD_PROBLEMS.items():
        assert words in errors.ChildError("root", "a", problem).message
    assert "odd" in errors.ChildError("root", "a", "odd").message


def test_failures_of_actors_name_the_cause_if_there_is_one() -> None:
    assert errors.ActorFailed("a").message == "actor 'a' failed"
    assert "KeyError" in errors.ActorFailed("a", CAUSE).message
    assert "last failure" not in errors.RestartIntensityExceeded("root", 1, 5.0).message
    assert "KeyError" in errors.RestartIntensityExceeded("root", 1, 5.0, CAUSE).message


def test_an_open_breaker_says_when_to_come_back_if_that_is_known() -> None:
    assert "2.5 s" in errors.CircuitOpenError("db", 2.5).message
    assert "'db'" in errors.CircuitOpenError("db").message
    assert errors.CircuitOpenError().retry_after is None


def test_a_missing_extra_says_what_to_install() -> None:
    error = errors.MissingExtraError("rich", "cli")
    assert "pip install 'lexigram-actors[cli]'" in str(error)
    assert (error.package, error.extra, error.name) == ("rich", "cli", "rich")


def test_configuration_problems_are_one_line_or_a_list() -> None:
    assert str(errors.ConfigurationError("wrong", problems=["a: 1"])) == "wrong: a: 1"
    assert str(errors.ConfigurationError("wrong", problems=["a", "b"])) == "wrong:\n  - a\n  - b"
    assert errors.ConfigurationError("wrong").problems == ()
    assert str(errors.ConfigurationError()) == "wrong configuration"


# --- travelling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_survives_pickle(error: LexigramError, protocol: int) -> None:
    error.add_note("seen by the night shift")
    arrived = by_pickle(error, protocol)
    assert type(arrived) is type(error)
    assert facts(arrived) == facts(error)
    assert arrived.__notes__ == ["seen by the night shift"]


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_every_error_survives_copy(
    error: LexigramError, copier: Callable[[LexigramError], LexigramError]
) -> None:
    error.add_note("a note")
    twin = copier(error)
    assert twin is not error
    assert type(twin) is type(error)
    assert facts(twin) == facts(error)


def test_copies_have_details_of_their_own() -> None:
    error = LexigramError("no", details={"a": [1]})
    copy.copy(error).details["b"] = 2
    copy.deepcopy(error).details["a"].append(2)
    assert error.details == {"a": [1]}


def test_a_copy_keeps_the_very_same_cause() -> None:
    cause = Stubborn("a", "b")
    assert copy.copy(LexigramError("no", cause=cause)).cause is cause


class OrderError(LexigramError):
    """A user's error with a constructor of its own."""

    def __init__(self, order: int, *, customer: str) -> None:
        self.order = order
        self.customer = customer
        super().__init__(f"order {order}", details={"customer": customer})


class OddArgs(LexigramError):
    """A user's error that never calls the root's constructor with a message."""

    def __new__(cls, *args: object) -> Self:
        return super().__new__(cls, *args)

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.args = (first, second)


class Stubborn(Exception):
    """A foreign exception that pickle cannot rebuild: its constructor wants two arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class Holder(Exception):
    """A foreign exception that holds whatever it is given."""


class Slotted(LexigramError):
    __slots__ = ("__hidden", "order", "unset")

    def __init__(self, order: Any) -> None:
        self.order = order
        self.__hidden = "s"
        super().__init__("slotted")

    def hidden(self) -> str:
        return self.__hidden


class SlottedFurther(Slotted):
    __slots__ = "item"

    def __init__(self, order: Any, item: Any) -> None:
        self.item = item
        super().__init__(order)


@pytest.mark.parametrize("journey", [by_pickle, copy.copy, copy.deepcopy])
def test_what_subclasses_keep_in_slots_survives(journey: Callable[[Any], Any]) -> None:
    arrived = journey(SlottedFurther([7], threading.Lock))
    assert (arrived.order, arrived.item, arrived.hidden()) == ([7], threading.Lock, "s")
    assert (arrived.message, arrived.details) == ("slotted", {})
    assert not hasattr(arrived, "unset")


def test_what_cannot_travel_in_a_slot_is_described() -> None:
    assert "lock" in by_pickle(Slotted(threading.Lock())).order


def test_a_users_error_with_its_own_constructor_survives() -> None:
    for error in (OrderError(7, customer="Ann"), OddArgs(1, 2)):
        for twin in (by_pickle(error), copy.copy(error), copy.deepcopy(error)):
            assert facts(twin) == facts(error)


def test_a_missing_extra_is_still_a_good_import_error_after_the_journey() -> None:
    arrived = by_pickle(errors.MissingExtraError("rich", "cli"))
    assert arrived.name == "rich"
    assert arrived.msg == arrived.message


def test_a_cause_that_cannot_travel_is_described() -> None:
    error = LexigramError("no", cause=Stubborn("a", "b"))
    for twin in (by_pickle(error), copy.deepcopy(error)):
        assert isinstance(twin.cause, ForeignError)
        assert twin.cause is twin.__cause__ or str(twin.cause) == str(twin.__cause__)
        assert (twin.cause.type_name, twin.cause.text) == ("Stubborn", "a and b")


def test_a_cause_that_can_travel_arrives_as_it_was() -> None:
    arrived = by_pickle(LexigramError("no", cause=KeyError("total")))
    assert type(arrived.cause) is KeyError
    assert arrived.cause.args == ("total",)


def test_a_cause_with_containers_inside_arrives_as_it_was() -> None:
    cause = ValueError([1, (2, {"a": b"x"})], {"b": [None]})
    arrived = by_pickle(LexigramError("no", cause=cause))
    assert type(arrived.cause) is ValueError
    assert arrived.cause.args == cause.args


class Several(ExceptionGroup[Exception]):
    """A group of a class of its own."""

    def derive(self, excs: Sequence[Exception]) -> Several:  # type: ignore[override]
        return Several(self.message, excs)


def test_a_group_that_can_travel_arrives_as_it_was() -> None:
    group = Several("several", [KeyError("a"), ExceptionGroup("inner", [LexigramError("b")])])
    arrived = by_pickle(LexigramError("no", cause=group))
    assert type(arrived.cause) is Several
    assert repr(arrived.cause) == repr(group)


def test_a_chain_of_our_own_errors_arrives_whole() -> None:
    inner = errors.ActorFailed("a", Stubborn("a", "b"))
    outer = errors.RestartIntensityExceeded("root", 1, 5.0, inner)
    arrived = by_pickle(outer)
    assert isinstance(arrived.cause, errors.ActorFailed)
    assert isinstance(arrived.cause.cause, ForeignError)


def test_members_of_a_group_travel_one_by_one() -> None:
    group = ExceptionGroup("several", [Stubborn("a", "b"), KeyError("k")])
    arrived = by_pickle(LexigramError("no", cause=group))
    kinds = [type(member) for member in arrived.cause.exceptions]
    assert (arrived.cause.message, kinds) == ("several", [ForeignError, KeyError])


def test_details_that_cannot_travel_are_described() -> None:
    class Local:
        pass

    details = {
        "lock": threading.Lock(),
        "function": lambda: None,
        "builtin": len,
        "class": Local,
        "instance": Local(),
        "errors": {"a": Stubborn("a", "b"), "b": Holder(threading.Lock())},
        "list": [1, (2, threading.Lock())],
        "keys": {len: 1, threading.Lock(): 2},
        "result": Ok(1),
    }
    arrived = by_pickle(LexigramError("no", details=details)).details
    assert "lock" in arrived["lock"]
    assert "lambda" in arrived["function"]
    assert arrived["builtin"] is len
    assert "Local" in arrived["class"]
    assert "Local" in arrived["instance"]
    assert [type(e) for e in arrived["errors"].values()] == [ForeignError, ForeignError]
    assert arrived["list"][:1] == [1]
    assert [type(key) for key in arrived["keys"]] == [type(len), str]
    assert "lock" in arrived["list"][1][1]
    assert arrived["result"] == Ok(1)


def test_what_is_nested_too_deeply_is_not_taken_apart() -> None:
    deep: Any = threading.Lock()
    for _ in range(100):
        deep = [deep]
    arrived = by_pickle(LexigramError("no", details={"deep": deep}))
    assert "lock" in repr(arrived.details)


def test_an_error_that_is_its_own_cause_arrives() -> None:
    error = LexigramError("no")
    error.cause = error
    arrived = by_pickle(error)
    assert arrived.cause is arrived


def test_a_foreign_error_without_text_is_its_name() -> None:
    assert str(ForeignError("Boom")) == "Boom"
