"""Line drawings for the page's buttons, 24 units square."""

from __future__ import annotations

PATHS = {
    "left": "M15 6l-6 6 6 6",
    "right": "M9 6l6 6-6 6",
    "up": "M7 11v9H4v-9zm0 0l4-8a2 2 0 0 1 3 2l-1 5h5.5a2 2 0 0 1 2 2.4l-1.3 6A2 2 0 0 1 17.2 20H7",
    "down": "M17 13V4h3v9zm0 0l-4 8a2 2 0 0 1-3-2l1-5H5.5a2 2 0 0 1-2-2.4l1.3-6A2 2 0 0 1 6.8 4H17",
    "pencil": "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
    "copy": "M9 9h11v11H9zM5 15H4V4h11v1",
    "retry": "M20 11a8 8 0 1 0-2 6M20 4v7h-7",
    "keep": "M6 3h12v18l-6-5-6 5z",
    "menu": "M4 6h16M4 12h16M4 18h16",
    "dials": "M4 7h9M17 7h3M13 4.5v5M4 17h3M11 17h9M7 14.5v5",
    "plus": "M12 5v14M5 12h14",
    "hidden": "M3 12s3-6 9-6 9 6 9 6-3 6-9 6-9-6-9-6zM4 4l16 16",
    "bin": "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
    "moon": "M20 14a8 8 0 1 1-9-10 6.5 6.5 0 0 0 9 10z",
    "close": "M6 6l12 12M18 6L6 18",
}


def icon(name: str) -> str:
    """An inline drawing in the colour of the text around it."""
    return (
        '<svg viewBox="0 0 24 24" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.8" '
        f'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="{PATHS[name]}"/></svg>'
    )
