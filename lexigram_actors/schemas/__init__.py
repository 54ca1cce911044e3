"""Answers and messages made into the type that is asked for; needs `cattrs` once there is one.

`structured("approval", Approval, answer)` in `answers`, which says what each type takes.
"""

from lexigram_actors.schemas.answers import check_schema, structured

__all__ = ["check_schema", "structured"]
