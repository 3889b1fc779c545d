"""What a model can delegate: arithmetic, counting, a program, the time, a look into the person's documents."""

from chatlab.tools.toolbox import Toolbox, ToolImpl, ToolResult

__all__ = ["ToolImpl", "ToolResult", "Toolbox"]
