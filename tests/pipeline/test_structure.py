from __future__ import annotations

import pytest

from lexigram_actors import ConfigurationError
from lexigram_actors.pipeline import (
    ConditionalStep,
    FunctionStep,
    ParallelStep,
    Pipeline,
    PipelineProtocol,
    PipelineStep,
    parallel,
    pipeline_step,
    step,
    tree,
)


def nothing(context: object) -> None:
    pass


def named(name: str, *dependencies: str) -> FunctionStep:
    return FunctionStep(name, nothing, list(dependencies))


def test_every_problem_of_a_structure_is_told_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        Pipeline(
            "p", [named("a"), named("a"), named("b", "ghost"), named("c", "d"), named("d", "c")]
        )
    said = str(caught.value)
    assert "2 steps have the name 'a'" in said
    assert "'b' depends on 'ghost'" in said
    assert "'c' -> 'd' -> 'c'" in said


def test_a_step_that_waits_for_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' -> 'a'"):
        Pipeline("p", [named("a", "a")])


def test_names_inside_steps_meet_names_outside() -> None:
    with pytest.raises(ValueError, match="2 steps have the name 'a'"):
        Pipeline("p", [named("a"), ParallelStep("par", [named("a")])])
    with pytest.raises(ValueError, match="2 steps have the name 'par'"):
        ParallelStep("par", [named("par")])


def test_the_two_branches_of_a_conditional_step_may_share_a_name() -> None:
    choice = ConditionalStep("c", lambda _: True, named("send"), named("send"))
    assert len(Pipeline("p", [choice]).steps) == 1


def test_steps_inside_may_depend_on_each_other_and_on_what_ended_before() -> None:
    inner = [named("x", "a"), named("y", "x")]
    Pipeline("p", [named("a"), named("b", "a"), ParallelStep("par", inner, ["b"])])
    with pytest.raises(ValueError, match="'x', inside 'par', depends on 'a'"):
        Pipeline("p", [named("a"), ParallelStep("par", inner)])
    with pytest.raises(ValueError, match="wait for each other"):
        Pipeline("p", [ParallelStep("par", [named("x", "y"), named("y", "x")])])


def test_a_refused_step_leaves_the_pipeline_as_it_was() -> None:
    pipeline = Pipeline("p", [named("a")])
    for bad in (named("a"), named("b", "ghost"), named("c", "c")):
        with pytest.raises(ValueError):
            pipeline.add_step(bad)
    with pytest.raises(TypeError):
        pipeline.add_step("no step")
    assert [each.name for each in pipeline.steps] == ["a"]
    pipeline.add_step(named("b", "a"))
    assert [each.name for each in pipeline.steps] == ["a", "b"]


def test_the_list_of_steps_is_a_copy() -> None:
    given = [named("a")]
    pipeline = Pipeline("p", given)
    given.append(named("b"))
    pipeline.steps.append(named("c"))
    assert len(pipeline.steps) == 1


@pytest.mark.parametrize(
    "options",
    [{"version": 0}, {"max_concurrency": 0}, {"cleanup_timeout": -1}, {"max_concurrency": 1.5}],
)
def test_settings_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Pipeline("p", [], **options)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
def test_a_timeout_is_a_number_of_at_least_zero(timeout: object) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        step("a", nothing, timeout=timeout)


def test_what_is_no_step_no_function_and_no_list_of_names_is_refused() -> None:
    with pytest.raises(TypeError, match=r"write step\(name"):
        Pipeline("p", [nothing])
    with pytest.raises(TypeError, match="func"):
        FunctionStep("a", 3)
    with pytest.raises(TypeError, match="condition"):
        ConditionalStep("a", 3, named("b"))
    with pytest.raises(TypeError, match="list of names"):
        FunctionStep("a", nothing, "b")
    with pytest.raises(TypeError, match="a store or a cache, not"):
        Pipeline("p", [], object())


def test_the_decorator_makes_a_step_of_the_functions_name() -> None:
    @pipeline_step(["first"])
    def second(context: object) -> None:
        pass

    assert isinstance(second, FunctionStep)
    assert (second.name, second.dependencies) == ("second", ["first"])
    with pytest.raises(TypeError, match="brackets"):
        pipeline_step(nothing)


def test_a_pipeline_fits_its_protocol() -> None:
    assert isinstance(Pipeline("p", []), PipelineProtocol)


def test_diagrams_show_dependencies_and_what_is_inside() -> None:
    pipeline = Pipeline(
        'a "name"',
        [
            named("load"),
            parallel("both", [named("left"), named("right", "left")], ["load"]),
            ConditionalStep("choose", lambda _: True, named("yes"), named("no"), ["both"]),
        ],
    )
    dot = pipeline.to_dot()
    assert dot.startswith('digraph "a \\"name\\"" {')
    for arrow in (
        '"load" -> "both"',
        '"left" -> "right"',
        '"both" -> "left"',
        '"both" -> "choose"',
    ):
        assert arrow in dot
    assert '"choose" -> "yes" [style=dashed, label="true"]' in dot
    assert '"choose" -> "no" [style=dashed, label="false"]' in dot
    assert pipeline.to_mermaid().count("-.->") == 4


def test_adding_a_step_looks_at_that_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline("p", [named("s0")])
    seen: list[str] = []
    of = tree.outline_of
    monkeypatch.setattr(
        tree, "outline_of", lambda each, depth=0: seen.append(each.name) or of(each, depth)
    )
    monkeypatch.setattr(tree, "problems_of", lambda *_: pytest.fail("all were looked at again"))
    for number in range(1, 100):
        pipeline.add_step(named(f"s{number}", f"s{number - 1}"))
    assert seen == [f"s{number}" for number in range(1, 100)]


def test_a_step_that_does_not_fit_is_refused_and_leaves_the_pipeline_as_it_was() -> None:
    pipeline = Pipeline("p", [named("a"), ParallelStep("par", [named("x")])])
    for step_that_fails in (
        named("a"),
        named("x"),
        named("b", "b"),
        named("b", "x"),
        ParallelStep("b", [named("a")]),
        ParallelStep("b", [named("y", "a")]),
        ParallelStep("b", [named("y", "z"), named("z", "y")], ["a"]),
    ):
        with pytest.raises(ConfigurationError):
            pipeline.add_step(step_that_fails)
        assert [each.name for each in pipeline.steps] == ["a", "par"]
    pipeline.add_step(ParallelStep("b", [named("y", "a"), named("z", "y")], ["a"]))
    pipeline.add_step(named("y2", "b"))
    with pytest.raises(ConfigurationError, match="2 steps have the name 'z'"):
        pipeline.add_step(named("z"))


def nested(depth: int) -> PipelineStep:
    inner: PipelineStep = named("x")
    for number in range(depth):
        inner = ParallelStep(f"par{number}", [inner])
    return inner


async def test_steps_inside_each_other_as_deep_as_allowed_run() -> None:
    assert (await Pipeline("p", [nested(tree.MAX_DEPTH)]).execute()).is_ok()


def test_steps_inside_each_other_too_deeply_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'x' stands inside more than 32 others"):
        nested(tree.MAX_DEPTH + 1)
    endless = ParallelStep("endless", [])
    endless.steps.append(endless)
    with pytest.raises(ConfigurationError, match="'endless' stands inside"):
        Pipeline("p", [endless])
