"""Actors and supervisors on Trio: a lower layer that knows nothing of workflows."""

from lexigram_actors.kernel.actor import Actor, ActorContext
from lexigram_actors.kernel.refs import ActorRef, SupervisorRef
from lexigram_actors.kernel.specs import (
    ActorNode,
    ActorRestarted,
    AutoShutdown,
    Backoff,
    ChildCounts,
    ChildInfo,
    ChildSpec,
    DeadLetter,
    Exit,
    Mailbox,
    MailboxStatistics,
    Overflow,
    Restart,
    Strategy,
)
from lexigram_actors.kernel.supervisor import DynamicSupervisor, Supervisor
from lexigram_actors.kernel.system import ActorSystem, open_system
from lexigram_actors.kernel.timers import Timer

__all__ = [
    "Actor",
    "ActorContext",
    "ActorNode",
    "ActorRef",
    "ActorRestarted",
    "ActorSystem",
    "AutoShutdown",
    "Backoff",
    "ChildCounts",
    "ChildInfo",
    "ChildSpec",
    "DeadLetter",
    "DynamicSupervisor",
    "Exit",
    "Mailbox",
    "MailboxStatistics",
    "Overflow",
    "Restart",
    "Strategy",
    "Supervisor",
    "SupervisorRef",
    "Timer",
    "open_system",
]
