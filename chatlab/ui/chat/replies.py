"""Replies under way. Each is written by a thread of its own, so a page that closes or reloads stops nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from chatlab.errors import ChatlabError, InputError
from chatlab.lab.chat.reply_stream import ReplyStream

log = logging.getLogger("chatlab.ui")

REDRAW = 0.1
"""Seconds between two looks at a growing reply. A browser that redraws for every token falls behind."""


class Reply:
    """One answer as it grows. Any number of pages may watch it; any of them may stop it."""

    def __init__(self, prompt: int, stream: ReplyStream) -> None:
        """`prompt` is the turn that is answered. Writing begins with `start`."""
        self.prompt = prompt
        self.stream = stream
        self.error: ChatlabError | None = None
        self.done = False
        self._chunks = 0
        """How many have come."""
        self._stop = threading.Event()
        self._changed = threading.Condition()

    def start(self) -> Reply:
        threading.Thread(target=self._write, name="reply", daemon=True).start()
        return self

    def stop(self) -> None:
        """End it at the next token; what was generated is kept."""
        self._stop.set()

    def watch(self) -> Iterator[ReplyStream]:
        """The stream at once when there is text, then as it grows, at most ten times a second."""
        seen = 0
        while not self.done:
            with self._changed:
                while not self.done and self._chunks == seen:
                    self._changed.wait()
                seen = self._chunks
            if not self.done:
                yield self.stream
            if self.stream.text:
                with self._changed:
                    self._changed.wait_for(lambda: self.done, REDRAW)

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is done; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.done, timeout)

    def _write(self) -> None:
        try:
            for _ in self.stream:
                with self._changed:
                    self._chunks += 1
                    self._changed.notify_all()
                if self._stop.is_set():
                    break
        except ChatlabError as error:
            self.error = error
        except Exception:
            log.exception("A reply failed")
            self.error = ChatlabError("Something went wrong inside Chatlab.", "Try again; the log has details.")
        finally:
            self._end()

    def _end(self) -> None:
        """Close the stream, which keeps what was generated, before anybody is notified that it is over."""
        try:
            self.stream.close()
        except ChatlabError as error:
            self.error = error
        finally:
            with self._changed:
                self.done = True
                self._changed.notify_all()


class Replies:
    """The replies under way, one for each conversation at most."""

    def __init__(self) -> None:
        self._running: dict[int, Reply] = {}
        self._lock = threading.Lock()

    def start(self, conversation: int, prompt: int, stream: ReplyStream) -> Reply:
        with self._lock:
            self._running = {id: reply for id, reply in self._running.items() if not reply.done}
            self._running[conversation] = Reply(prompt, stream).start()
            return self._running[conversation]

    def running(self, conversation: int | None) -> Reply | None:
        """The reply being written in a conversation."""
        reply = self._running.get(conversation) if conversation is not None else None
        return None if reply is None or reply.done else reply

    def check_idle(self, conversation: int | None) -> None:
        """Raises InputError while an answer is being written there."""
        if self.running(conversation) is not None:
            raise InputError("The model is still answering.", "Stop it, or wait.")

    def last(self, conversation: int | None) -> Reply | None:
        """The last one, running or done."""
        return self._running.get(conversation) if conversation is not None else None

    def end(self, conversation: int) -> None:
        """Stop the one being written, if any, and drop it."""
        reply = self.running(conversation)
        if reply is not None:
            reply.stop()
            reply.wait(2)
        with self._lock:
            self._running.pop(conversation, None)

    def ids(self) -> frozenset[int]:
        """Conversations in which an answer is being written."""
        return frozenset(id for id, reply in self._running.items() if not reply.done)

    def close(self) -> None:
        """Stop all and wait until they are kept."""
        for reply in list(self._running.values()):
            reply.stop()
            reply.wait(2)
