"""The commands for instances of workflows and their options. What they do stands in `instances`,
`hosting` and `doctor`.
"""

from typing import Annotated

from cyclopts import App, Parameter

from lexigram_actors.cli.console import Terminal
from lexigram_actors.cli.options import check_folder
from lexigram_actors.cli.stores import STORE_VARIABLE
from lexigram_actors.storage.instances import InstanceStatus

StoreUrl = Annotated[str, Parameter(env_var=STORE_VARIABLE)]
Json = Annotated[bool, Parameter(name="--json", negative="")]
# What a program made up, and an operator copies, may begin with a hyphen.
Text = Annotated[str, Parameter(allow_leading_hyphen=True)]
OptionalText = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
Statuses = Annotated[list[InstanceStatus] | None, Parameter(negative="")]


def add_instance_commands(app: App, terminal: Terminal) -> None:
    """Give the application the commands for instances."""
    _add_running(app, terminal)
    _add_looking(app, terminal)
    _add_posting(app, terminal)
    _add_changing(app, terminal)


def _add_running(app: App, terminal: Terminal) -> None:
    @app.command
    async def run(
        target: str,
        input: OptionalText = None,
        /,
        *,
        store: StoreUrl,
        id: OptionalText = None,
        as_json: Json = False,
    ) -> int:
        """Run a workflow until it ends, and print what it returned.

        Everything it does is recorded in the store. After Ctrl-C, a crash or a power cut the same
        command goes on where it stopped; other runs of TARGET that the store has unfinished go on
        beside it, for as long as it takes. What it asks a person is shown, and answered from
        another terminal.

        Args:
            target: What to run: module:name or path/file.py:name, where the name is a `@workflow`
                function, a pipeline, a graph, or whatever else a host can run.
            input: What it works on, as JSON or as text.
            store: Where it is recorded: sqlite:///flows.db; made if it is not there.
            id: The name of this run; the same id is the same run. Made up if not given.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.hosting import run_instance

        check_folder()
        return await run_instance(target, input, store, id, terminal)

    @app.command
    async def doctor(*, store: StoreUrl, as_json: Json = False) -> int:
        """Check a store, and say what to look after. It changes nothing.

        The file is read whole and checked, then the instances that have not ended. Exit code 0:
        all is well; 1: something wants looking after; 3: the store is damaged, or cannot be read.

        Args:
            store: The store that the hosts use.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.doctor import run_doctor

        return await run_doctor(store, terminal)


def _add_looking(app: App, terminal: Terminal) -> None:
    @app.command
    async def ls(
        *,
        store: StoreUrl,
        status: Statuses = None,
        name: OptionalText = None,
        limit: int = 20,
        as_json: Json = False,
    ) -> int:
        """List instances, the newest first.

        Args:
            store: The store that the hosts use.
            status: Only those in this state; may be given several times.
            name: Only those of the definition of this name.
            limit: At most so many.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_ls

        return await run_ls(store, status, name, limit, terminal)

    @app.command
    async def show(id: Text, /, *, store: StoreUrl, limit: int = 50, as_json: Json = False) -> int:
        """Show one instance: its state, input, outcome, open questions and journal.

        Args:
            id: The instance.
            store: The store that the hosts use.
            limit: At most so many entries of the journal, the last ones.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_show

        return await run_show(store, id, limit, terminal)

    @app.command
    async def tree(
        id: OptionalText = None, /, *, store: StoreUrl, limit: int = 100, as_json: Json = False
    ) -> int:
        """Show an instance with those that it began, and those that they began.

        Args:
            id: The instance; all, the newest first, if not given.
            store: The store that the hosts use.
            limit: Without an id: look at so many instances.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_tree

        return await run_tree(store, id, limit, terminal)


def _add_posting(app: App, terminal: Terminal) -> None:
    @app.command
    async def signal(
        id: Text,
        name: Text,
        payload: OptionalText = None,
        /,
        *,
        store: StoreUrl,
        key: OptionalText = None,
        as_json: Json = False,
    ) -> int:
        """Send a signal to an instance. It is kept until the instance waits for it.

        Args:
            id: The instance.
            name: The signal.
            payload: What comes with it, as JSON or as text.
            store: The store that the hosts use.
            key: Two signals with one key are one: safe to send again.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_signal

        return await run_signal(store, id, name, payload, key, terminal)

    @app.command
    async def answer(
        id: Text,
        value: Text,
        /,
        *,
        store: StoreUrl,
        question: OptionalText = None,
        as_json: Json = False,
    ) -> int:
        """Answer what an instance asks. An answer that does not fit leaves the question open.

        Args:
            id: The instance.
            value: The answer, as JSON or as text.
            store: The store that the hosts use.
            question: Which question, where several are open; `show` lists them.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_answer

        return await run_answer(store, id, value, question, terminal)

    @app.command
    async def cancel(
        id: Text,
        /,
        *,
        store: StoreUrl,
        reason: Text = "cancelled",
        grace: float = 5.0,
        wait: float | None = None,
        as_json: Json = False,
    ) -> int:
        """Ask an instance to end.

        Args:
            id: The instance.
            store: The store that the hosts use.
            reason: Why; recorded with the outcome.
            grace: Seconds for which it may go on.
            wait: Wait so many seconds for the end; exit code 3 when it has not ended by then.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_cancel

        return await run_cancel(store, id, reason, grace, wait, terminal)

    @app.command
    async def pause(id: Text, /, *, store: StoreUrl, as_json: Json = False) -> int:
        """Let an instance begin nothing new until `resume`. What is at work ends.

        Args:
            id: The instance.
            store: The store that the hosts use.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_pause

        return await run_pause(store, id, terminal)

    @app.command
    async def resume(id: Text, /, *, store: StoreUrl, as_json: Json = False) -> int:
        """Let a paused instance go on.

        Args:
            id: The instance.
            store: The store that the hosts use.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_resume

        return await run_resume(store, id, terminal)


def _add_changing(app: App, terminal: Terminal) -> None:
    @app.command
    async def retry(id: Text, /, *, store: StoreUrl, as_json: Json = False) -> int:
        """Let a failed instance go on from where it failed. What succeeded does not run again.

        Undos that are stuck are tried again, also those that are not safe to run twice.

        Args:
            id: The instance.
            store: The store that the hosts use.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_retry

        return await run_retry(store, id, terminal)

    @app.command
    async def skip(id: Text, step: Text, /, *, store: StoreUrl, as_json: Json = False) -> int:
        """Give up on undoing a step of an instance that is `compensation_stuck`.

        What the step did stays done. The decision is recorded on return, and cannot be taken back.
        The next host that sees it ends the instance, or leaves it stuck where another step is: that
        one is decided on then. Exit code 3: no such step waits for a decision now.

        Args:
            id: The instance.
            step: The step, as `show` names it.
            store: The store that the hosts use.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_skip

        return await run_skip(store, id, step, terminal)

    @app.command
    async def force(id: Text, step: Text, /, *, store: StoreUrl, as_json: Json = False) -> int:
        """Say that a step of an instance that is `compensation_stuck` was undone by hand.

        Nothing is called for it: undo the step first. As `skip` otherwise.

        Args:
            id: The instance.
            step: The step, as `show` names it.
            store: The store that the hosts use.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_force

        return await run_force(store, id, step, terminal)

    @app.command
    async def fork(
        id: Text,
        /,
        *,
        store: StoreUrl,
        step: OptionalText = None,
        new_id: OptionalText = None,
        as_json: Json = False,
    ) -> int:
        """Begin a new instance with the input of another and a part of what it did.

        Args:
            id: The instance.
            store: The store that the hosts use.
            step: The path of a step in its journal: what was recorded before it is kept, and the
                new instance goes on from there. From the start if not given.
            new_id: The id of the new instance; made up if not given.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_fork

        return await run_fork(store, id, new_id, step, terminal)

    @app.command
    async def delete(id: Text, /, *, store: StoreUrl, as_json: Json = False) -> int:
        """Remove an instance that has ended, with all that is recorded of it.

        Args:
            id: The instance.
            store: The store that the hosts use.
            as_json: Print one JSON object, and nothing else, to standard output.
        """
        from lexigram_actors.cli.instances import run_delete

        return await run_delete(store, id, terminal)
