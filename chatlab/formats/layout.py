"""What the columns of a data set mean: its layout, and which column plays which part in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from chatlab.formats.conversations.reasoning import COLUMNS

LayoutName = Literal[
    "conversation",
    "turns",
    "exchanges",
    "answer",
    "preference",
    "comparison",
    "ranked",
    "thumb",
    "tasks",
    "prompts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing that a row says."""

    name: str
    label: str
    needed: bool = False
    names: tuple[str, ...] = ()
    """What columns that play it are often called, likeliest first."""
    unless: tuple[str, ...] = ()
    """Parts that say the same together, so that it is not needed beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What rows of one kind are made of."""

    name: LayoutName
    label: str
    becomes: str
    parts: tuple[Part, ...]


_PROMPTS = (
    *("prompt", "instruction", "question", "query", "user", "human", "input", "problem", "request", "ask"),
    *("inputs", "instructions", "user_prompt", "user_message", "user_input", "frage", "pregunta", "问题"),
    *("text",),
)
_ANSWERS = (
    *("completion", "response", "output", "answer", "reply", "assistant", "gpt", "target", "solution"),
    *("ideal", "targets", "generation", "canonical_solution", "antwort", "respuesta", "réponse", "回答"),
    *("answers", "label"),
)
TURNS = (
    *("messages", "conversations", "conversation", "dialog", "dialogue", "turns", "chat", "contents"),
    *("chat_messages", "mapping", "utterances"),
)
_CHOSEN = (
    *("chosen", "accepted", "preferred", "winner", "preferred_output", "chosen_messages", "chosen_response"),
    *("response_j", "winning", "y_w", "better"),
)
_REJECTED = (
    *("rejected", "dispreferred", "loser", "non_preferred_output", "rejected_messages", "rejected_response"),
    *("response_k", "losing", "y_l", "worse"),
)
_LIKED = (
    *("liked", "kto_tag", "desirable", "thumb", "thumbs", "thumbs_up", "feedback", "rating", "stars", "upvoted"),
    *("is_liked", "is_good", "is_correct", "is_accepted", "is_helpful", "is_approved", "approved", "overall_rating"),
)
WORDED = (
    *("accepted", "correct", "good", "helpful", "passed", "quality", "status", "verdict", "vote", "outcome", "review"),
    *("sentiment", "weight", "loss_weight", "sample_weight"),
)
"""Columns that say whether an answer was liked only where all that stands in them says so."""
_BETTER = (
    *("winner", "better_response_id", "better", "better_response", "preferred", "preference"),
    *("overall_preference", "choice", "verdict", "vote", "label", "labels", "chosen", "selected", "best"),
)
_KEY = Part(
    name="conversation",
    label="Conversation that a row belongs to",
    needed=True,
    names=(
        *("conversation_id", "conv_id", "convo_id", "message_tree_id", "tree_id", "dialog_id", "dialogue_id"),
        *("thread_id", "session_id", "chat_id", "conversationid", "dialogueid", "threadid", "sessionid", "chatid"),
        *("conversation_hash", "conversation", "dialogue", "dialog", "thread", "session", "chat", "conv"),
    ),
    unless=("id", "parent"),
)
_TURN = Part(
    name="turn",
    label="Number of the turn",
    names=(
        *("turn", "turn_id", "turn_number", "turn_index", "turn_idx", "turn_no", "turn_num", "message_index"),
        *("message_number", "message_idx", "message_no", "msg_idx", "utterance_idx", "utterance_id", "position"),
        *("order", "step", "seq", "sequence"),
    ),
)
_SYSTEM = Part(
    name="system",
    label="System message",
    names=("system", "system_prompt", "system_message", "systeminstruction", "system_instruction"),
)
_TOOLS = Part(name="tools", label="Tools", names=("tools", "functions", "toolconfig", "tool_config"))
_TAGS = Part(name="tags", label="Tags", names=("tags", "tag", "category"))
_PROMPT = Part(name="prompt", label="Prompt", needed=True, names=_PROMPTS)
_ANSWER = Part(name="answer", label="Answer", needed=True, names=_ANSWERS)
_THOUGHT = Part(name="thought", label="Thinking before the answer", names=COLUMNS)


def _marks(side: str) -> Iterator[str]:
    for name in ("score", "rating", "reward"):
        yield from (f"{side}_{name}", f"{name}_{side}", f"{side}-{name}", f"{name}-{side}")


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="conversation",
        label="Conversations",
        becomes="demonstrations",
        parts=(
            Part(name="turns", label="Turns", needed=True, names=TURNS),
            _SYSTEM,
            _TOOLS,
            Part(name="liked", label="Liked", names=(*_LIKED, *WORDED, "label", "score")),
            _TAGS,
        ),
    ),
    Layout(
        name="turns",
        label="A turn in each row",
        becomes="demonstrations",
        parts=(
            _KEY,
            _TURN,
            Part(
                name="role",
                label="Who speaks",
                needed=True,
                names=("role", "from", "speaker", "sender", "author", "who", "message_role", "author_role", "party"),
            ),
            Part(
                name="text",
                label="What is said",
                needed=True,
                names=("content", "text", "value", "message", "utterance", "body", "msg", "message_text", "said"),
            ),
            Part(name="id", label="Id of the message", names=("message_id", "msg_id", "node_id", "uuid", "id")),
            Part(
                name="parent",
                label="Id of the message that it answers",
                names=("parent_id", "parent_message_id", "reply_to", "in_reply_to", "parent", "parent_uuid"),
            ),
        ),
    ),
    Layout(
        name="exchanges",
        label="A prompt and its answer in each row, several to a conversation",
        becomes="demonstrations",
        parts=(_KEY, replace(_TURN, needed=True), _PROMPT, _ANSWER),
    ),
    Layout(
        name="answer",
        label="Prompts and answers",
        becomes="demonstrations",
        parts=(
            _PROMPT,
            Part(name="context", label="Text to work on", names=("input", "context", "passage", "document")),
            _ANSWER,
            _THOUGHT,
            _SYSTEM,
            Part(name="history", label="Earlier turns", names=("history",)),
            _TOOLS,
            _TAGS,
        ),
    ),
    Layout(
        name="preference",
        label="Pairs: chosen and rejected",
        becomes="preferences",
        parts=(
            Part(name="prompt", label="Prompt", names=(*_PROMPTS, *TURNS, "context")),
            Part(name="chosen", label="Chosen answer", needed=True, names=_CHOSEN),
            Part(name="rejected", label="Rejected answer", needed=True, names=_REJECTED),
            *(
                Part(name=f"{side}_mark", label=f"Mark of the {side} answer", names=tuple(_marks(side)))
                for side in ("chosen", "rejected")
            ),
            _SYSTEM,
            _TOOLS,
        ),
    ),
    Layout(
        name="comparison",
        label="Two answers, and which is better",
        becomes="preferences",
        parts=(
            Part(name="prompt", label="Prompt", names=(*_PROMPTS, *TURNS, "context", "history")),
            Part(name="first", label="First answer", needed=True),
            Part(name="second", label="Second answer", needed=True),
            Part(name="better", label="Which is better", needed=True, names=_BETTER),
            _SYSTEM,
        ),
    ),
    Layout(
        name="ranked",
        label="Answers with marks: the best against the worst",
        becomes="preferences",
        parts=(
            Part(name="prompt", label="Prompt", needed=True, names=(*_PROMPTS, *TURNS)),
            Part(
                name="answers",
                label="Answers",
                needed=True,
                names=(
                    *("completions", "responses", "answers", "candidates", "outputs", "generations", "replies"),
                    *("generated_responses", "candidate_responses", "model_outputs", "options", "choices"),
                ),
            ),
            Part(
                name="marks",
                label="Their marks, where they stand apart",
                names=(
                    *("scores", "ratings", "rewards", "overall_scores", "marks", "ranks", "rankings", "rank", "votes"),
                    *("reward_scores", "quality_scores", "grades", "all_rm_scores"),
                ),
            ),
            _SYSTEM,
        ),
    ),
    Layout(
        name="thumb",
        label="Thumbs: liked or not",
        becomes="demonstrations",
        parts=(
            _PROMPT,
            _ANSWER,
            Part(name="liked", label="Liked", needed=True, names=("label", *_LIKED, *WORDED, "score")),
            _THOUGHT,
            _SYSTEM,
            _TAGS,
        ),
    ),
    Layout(
        name="tasks",
        label="Tasks with instances",
        becomes="demonstrations",
        parts=(_PROMPT, Part(name="instances", label="Instances", needed=True, names=("instances",)), _TAGS),
    ),
    Layout(
        name="prompts",
        label="Prompts without answers",
        becomes="unseen prompts",
        parts=(Part(name="prompt", label="Prompt", needed=True, names=(*_PROMPTS, *TURNS)),),
    ),
)

_BY_ROW = ("turns", "exchanges", "ranked")
KNOWN = frozenset(n for one in LAYOUTS if one.name not in _BY_ROW for part in one.parts for n in part.names) - {
    "text",
    *WORDED,
}
"""Names of columns that say what a row is about."""
HEADINGS = KNOWN | {"role", "speaker", "sender", "author", "id", "uuid", *(n for n in _KEY.names if "_" in n)}
"""Names that tell a header from a first row."""

TESTING = frozenset(
    ["test", "validation", "valid", "val", "dev", "eval", "evaluation", "heldout", "held_out", "test_data", "eval_data"]
)
"""Names of lists that are kept for testing, where others stand beside them."""


def layout(name: LayoutName) -> Layout:
    return next(one for one in LAYOUTS if one.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column plays which part. A part that none plays is not in `of`."""

    layout: LayoutName
    of: Mapping[str, str] = field(default_factory=dict)
    """Part -> column."""
    best: float = 1.0
    """The best mark, where answers were liked by marks on a scale."""

    def missing(self) -> tuple[str, ...]:
        """Labels of the parts that a row cannot do without, and no column plays."""
        return tuple(
            part.label
            for part in layout(self.layout).parts
            if part.needed
            and not self.of.get(part.name)
            and not (part.unless and all(self.of.get(name) for name in part.unless))
        )
