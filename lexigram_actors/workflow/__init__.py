"""Durable functions: plain async code that survives crashes, step by step.

| | |
| --- | --- |
| `@workflow` | marks a function |
| `WorkflowContext` | what it acts through; see there for every command |
| `current_step()` | which step is running, for the body of a step |
| `WorkflowDefinition`, `WorkflowInstance` | descriptions, and the check of versions |

Its names are imported from its modules, or from the package itself: whoever imports the package for
something else pays nothing for this.
"""
