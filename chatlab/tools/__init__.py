"""What a model can delegate: arithmetic, counting, a program, the time, a look into the person's documents."""

from chatlab.tools.toolbox import Done, Instrument, Toolbox

__all__ = ["Done", "Instrument", "Toolbox"]
