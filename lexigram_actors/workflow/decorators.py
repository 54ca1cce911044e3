"""`@workflow`: an async function as a definition that can be run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from lexigram_actors.checks import given, number, require, text, whole
from lexigram_actors.errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])


@overload
def workflow(name: F, /) -> F: ...
@overload
def workflow(
    name: str | None = None,
    *,
    timeout: float | None = None,
    retries: int = 0,
    version: int = 1,
) -> Callable[[F], F]: ...
def workflow(
    name: Any = None,
    *,
    timeout: float | None = None,
    retries: int = 0,
    version: int = 1,
) -> Any:
    """Mark an async function as a workflow, and return it, as it is.

        @workflow(name="onboarding", timeout=300.0, retries=1)
        async def onboarding_workflow(ctx: WorkflowContext, user: str) -> str:
            await ctx.step(send_welcome, user)
            ...

    The function has `__runnable__` then, which a host registers and runs, and which every place
    takes that takes a `Runnable`; and `__workflow__`, `__workflow_name__`, `__workflow_timeout__`,
    `__workflow_retries__`, `__workflow_version__`. Written without brackets it means the same.

    Args:
        name: Of the workflow; the function's when None.
        timeout: Seconds for a whole run, time that the process is down included; then all below it
            is cancelled, and the outcome is `Err(WorkflowTimeoutError)`. None: no limit.
        retries: How often the function is called again after it has failed. What had succeeded
            before the failure is not done again; what the function did after it, to handle it, is
            done again where it comes there again, and a signal that it took then is there again.
        version: Rises when instances that were begun before could not go on.

    Raises:
        ConfigurationError: It is no async function of one or two arguments, or a number is out of
            its range.
    """
    if callable(name):
        return decorated(name, None, None, 0, 1)

    def decorate(fn: F) -> F:
        return decorated(fn, name, timeout, retries, version)

    if name is not None:
        require("name", name, text())
    if timeout is not None:
        require("timeout", timeout, number(above=0))
    require("retries", retries, whole(least=0))
    require("version", version, whole(least=1))
    return decorate


def decorated(fn: F, name: str | None, timeout: float | None, retries: int, version: int) -> F:
    """Return the function with its description."""
    if not inspect.iscoroutinefunction(fn):
        raise ConfigurationError(
            f"@workflow goes above an async function, not {given(fn)}",
            hint="async def order(ctx: WorkflowContext, input: str) -> str: ...",
        )
    # Here, since the package itself imports the decorator, whatever is asked of it.
    from lexigram_actors.workflow.function import DurableFunction

    known_as = fn.__name__ if name is None else name
    marked: Any = fn
    marked.__workflow__ = True
    marked.__workflow_name__ = known_as
    marked.__workflow_timeout__ = timeout
    marked.__workflow_retries__ = retries
    marked.__workflow_version__ = version
    marked.__runnable__ = DurableFunction(
        fn=fn,
        name=known_as,
        version=version,
        takes_input=takes_input(fn),
        timeout=timeout,
        retries=retries,
    )
    return fn


def takes_input(fn: Callable[..., Any]) -> bool:
    """Say whether a function takes an input besides the context.

    Raises:
        ConfigurationError: It can be called neither with one argument nor with two.
    """
    signature = inspect.signature(fn)
    for arguments in (("context", "input"), ("context",)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return len(arguments) == 2
    raise ConfigurationError(
        f"a workflow takes a context, and may take an input; {fn.__name__}{signature} does not",
        hint="async def order(ctx: WorkflowContext, input: str) -> str: ...",
    )
