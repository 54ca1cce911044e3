"""One run of `bulk`: what was asked for, and what has come of it so far."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from attrs import define, evolve, field

from lexigram_actors.cli.console import Terminal
from lexigram_actors.cli.counters import Counters
from lexigram_actors.cli.distinct import DATABASE_ENDINGS, check_distinct
from lexigram_actors.cli.items import ItemSource, open_items
from lexigram_actors.cli.options import BulkOptions, Executor
from lexigram_actors.cli.output import Output, Places, beside, find_places
from lexigram_actors.cli.ownership import new_token
from lexigram_actors.cli.running import (
    Checkpoint,
    Setup,
    choose_executor,
    default_batch_size,
    default_concurrency,
    run_items,
)
from lexigram_actors.cli.target import Target, load_target, parse_target
from lexigram_actors.retry import RetryPolicy


@define(eq=False)
class Session:
    """The parts of one run of the command."""

    options: BulkOptions
    target: Target
    executor: Executor
    places: Places
    terminal: Terminal
    counters: Counters = field(factory=Counters)
    began: bool = False
    """Whether items were started on. Before that nothing was written."""
    already_complete: bool = False
    """The job was through before this run."""
    output: Output | None = None

    @classmethod
    def prepare(cls, options: BulkOptions, terminal: Terminal) -> "Session":
        """Load TARGET and find the places to write, without touching any.

        Raises:
            CommandError: one of them is wrong.
        """
        target = load_target(parse_target(options.target, os.getcwd()))
        if options.each is not None:
            target = evolve(target, shape=evolve(target.shape, each=options.each, guessed=False))
        executor = choose_executor(target, options.executor)
        places = find_places(options.out, options.errors)
        check_distinct(options, target.name, places)
        return cls(options, target, executor, places, terminal)

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint file, links followed."""
        given = self.options.checkpoint
        return None if given is None else Path(os.path.realpath(given))

    @property
    def batch_size(self) -> int:
        """Items in a call, where nothing is recorded that says otherwise."""
        return self.options.batch_size or default_batch_size(self.executor, self.target)

    def setup(self, batch_size: int) -> Setup:
        """Return how to run, with every choice made."""
        options = self.options
        return Setup(
            target=self.target,
            executor=self.executor,
            concurrency=options.concurrency or default_concurrency(self.executor),
            batch_size=batch_size,
            retry=RetryPolicy(retries=options.retries, delay=options.retry_delay),
            rate=options.rate,
            timeout=options.timeout,
            failure_limit=options.failure_limit,
        )

    async def open_items(self, helpers: trio.Nursery) -> ItemSource:
        """Open the items; on a terminal, find out beside the work how many there are about."""
        own = self.places.all
        if self.checkpoint is not None:
            own += [beside(self.checkpoint, end) for end in DATABASE_ENDINGS]
        source = await trio.to_thread.run_sync(
            open_items, self.options.items, own, abandon_on_cancel=True
        )
        self.counters.total = source.total()
        if self.terminal.is_live and self.counters.total is None:
            helpers.start_soon(self._estimate, source)
        return source

    async def _estimate(self, source: ItemSource) -> None:
        estimate = await trio.to_thread.run_sync(source.estimate, abandon_on_cancel=True)
        if self.counters.total is None:
            self.counters.total = estimate

    async def run_to_output(
        self,
        source: ItemSource,
        setup: Setup,
        *,
        checkpoint: Checkpoint | None = None,
        token: str | None = None,
        at_end: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """Run all items and write what becomes of them, to files marked with `token`.

        When this returns, the files are on the disk under their names. When it raises or is
        cancelled, they are closed, and hold what was done.
        """
        self.began = True
        self.output = Output(self.places, is_job=checkpoint is not None, token=token or new_token())
        try:
            await run_items(
                setup, source, self.output, self.counters, checkpoint=checkpoint, at_end=at_end
            )
            await trio.to_thread.run_sync(self.output.finish)
        finally:
            self.output.abandon()
