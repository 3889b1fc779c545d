"""`chatlab doctor`: looks at everything the app needs, and says in plain words what to do."""

from chatlab.doctor.doctor import Doctor
from chatlab.doctor.finding import Finding, as_text

__all__ = ["Doctor", "Finding", "as_text"]
