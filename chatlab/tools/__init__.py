"""Tools that a model can call: arithmetic, counting, short programs, the time, a search in the person's documents."""

from chatlab.tools.toolbox import Toolbox, ToolImpl, ToolResult

__all__ = ["ToolImpl", "ToolResult", "Toolbox"]
