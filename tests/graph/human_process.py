"""The parts of a run in processes of their own: `python human_process.py start|answer FILE ...`.

`start FILE` runs to the first pause and writes the checkpoint to the file; `answer FILE RESPONSE
[NODE]` goes on from it. What happened is printed as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import trio

from lexigram_actors.errors import HumanInputRequiredError
from lexigram_actors.graph.builder import WorkflowBuilder
from lexigram_actors.graph.nodes.human import HumanNode

ran: list[str] = []


def step(name: str) -> Any:
    def run(state: dict[str, Any]) -> dict[str, Any]:
        ran.append(name)
        return {"trail": [name]}

    return run


def build() -> Any:
    made = WorkflowBuilder("across processes")
    for name in ("a", "b", "c", "d"):
        made.add_node(name, node=step(name))
    for name in ("one", "two"):
        made.add_node(name, node=HumanNode(name, prompt=f"{name}?", output_key=name))
    made.add_edge("a", "one").add_edge("one", "b").add_edge("b", "d")
    made.add_edge("a", "two").add_edge("two", "c").add_edge("c", "d")
    made.add_reducer("trail", lambda earlier, later: [*earlier, *later])
    return made.set_entry("a").set_terminal("d").build()


async def main(command: str, file: str, *answer: str) -> dict[str, Any]:
    checkpoint = Path(file)
    try:
        if command == "start":
            result = await build().execute("in", run_id="r", state={"deep": {"x": [1, None]}})
        else:
            response, *node = answer
            state = json.loads(checkpoint.read_text("utf-8"))
            result = await build().resume(state, response, node=node[0] if node else None)
    except HumanInputRequiredError as error:
        checkpoint.write_text(json.dumps(error.state), "utf-8")
        return {"open": [question.checkpoint_id for question in error.pending], "ran": ran}
    done = result.unwrap()
    final = {key: value for key, value in done.final_state.items() if not key.startswith("_")}
    nodes = [node.node_name for node in done.node_results]
    return {"final": final, "nodes": nodes, "iterations": done.iterations, "ran": ran}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(trio.run(main, *sys.argv[1:])))
