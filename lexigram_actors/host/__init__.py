"""Where runs live: the seam through which one kind runs another, hosts, and runs as actors.

| | |
| --- | --- |
| `open_host(store)` | the home of durable instances |
| `WorkflowHandle` | one instance: its outcome, signals, answers, cancellation |
| `Operator(store)` | what can be done to instances without their definitions |
| `Runnable`, `RunContext` | the door between kinds |
| `run_supervised`, `run_actor` | a run as an actor, without a store |

Its names are imported from its modules: a kind needs the seam, and nothing of what runs hosts.
"""
