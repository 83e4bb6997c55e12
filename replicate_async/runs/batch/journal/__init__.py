"""The journal of a batch: one SQLite file that says how far each input has come."""

from __future__ import annotations

from replicate_async.runs.batch.journal.entry import FORMAT, Entry, JournalHeader, State
from replicate_async.runs.batch.journal.journal import Journal

__all__ = ["FORMAT", "Entry", "Journal", "JournalHeader", "State"]
