"""What Chatlab stores: pure values, frozen. Identity (ids, files) is the business of `store` and `adapters`."""

from chatlab.records.adapters import BEARABLE, GOOD, PREFERENCE_FIELDS, AdapterCard, TrainSettings
from chatlab.records.demonstrations import Demonstration, Preset, Source, Status, UnseenSet
from chatlab.records.feedback import Annotation, Preference, Rating, Reason, Verdict, Vote
from chatlab.records.messages import BASE, Message, Provenance, Role, StopReason, digest

__all__ = [
    "BASE",
    "BEARABLE",
    "GOOD",
    "PREFERENCE_FIELDS",
    "AdapterCard",
    "Annotation",
    "Demonstration",
    "Message",
    "Preference",
    "Preset",
    "Provenance",
    "Rating",
    "Reason",
    "Role",
    "Source",
    "Status",
    "StopReason",
    "TrainSettings",
    "UnseenSet",
    "Verdict",
    "Vote",
    "digest",
]
