"""Sweeps: every point of a space is priced once, whatever is killed on the way."""

from .run import Progress, Shard, Status, merge, resume, retry, rows, status, sweep

__all__ = ["Progress", "Shard", "Status", "merge", "resume", "retry", "rows", "status", "sweep"]
