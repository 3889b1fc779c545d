"""`python app.py`: settings -> Lab -> the web app."""

from __future__ import annotations

import sys

from chatlab.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
