"""Modules of this library in an application of lexigram.

lexigram takes any object for a provider that looks like one, but knows modules and the results of
health checks by their classes. So a module is handed over as one of its own, and each provider
inside one that passes every call on.

    Application(...).add_module(for_lexigram(WorkflowModule.configure()))

lexigram runs on asyncio: there, what providers bind can be resolved, settings and pipelines be
looked at, and databases of asyncio be used by its own parts. Whatever runs workflows needs Trio.
"""

from __future__ import annotations

from typing import Any

from lexigram_actors.checks import given
from lexigram_actors.errors import MissingExtraError
from lexigram_actors.module.values import DynamicModule


def for_lexigram(module: DynamicModule) -> Any:
    """Return a module as one of lexigram's, for `add_module` and `@module(imports=[...])`.

    Its providers are the same objects, so what an application resolves is what they hold.

    Raises:
        MissingExtraError: lexigram is not installed.
        TypeError: The module is no `DynamicModule` of ours.
    """
    if not isinstance(module, DynamicModule):
        raise TypeError(f"module must be a DynamicModule, and is {given(module)}")
    try:
        from lexigram.di.module import DynamicModule as Theirs

        from lexigram_actors.module.lexigram_provider import LexigramProvider
    except ImportError as error:
        raise MissingExtraError("lexigram", "lexigram", cause=error) from error
    return Theirs(
        module=module.module,
        providers=[LexigramProvider(each) for each in module.providers],
        exports=list(module.exports),
    )
