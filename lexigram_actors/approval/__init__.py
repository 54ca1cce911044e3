"""Approval chains: people who decide, level by level."""

from lexigram_actors.approval.chain import ApprovalChain
from lexigram_actors.approval.levels import ApprovalLevel
from lexigram_actors.approval.models import (
    ApprovalDecision,
    ApprovalOutcome,
    ApprovalPolicy,
    ApprovalQuestion,
    ApprovalStatus,
    LevelOutcome,
    OnExpiry,
    SeatOutcome,
    Verdict,
)

__all__ = [
    "ApprovalChain",
    "ApprovalDecision",
    "ApprovalLevel",
    "ApprovalOutcome",
    "ApprovalPolicy",
    "ApprovalQuestion",
    "ApprovalStatus",
    "LevelOutcome",
    "OnExpiry",
    "SeatOutcome",
    "Verdict",
]
