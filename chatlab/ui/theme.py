"""Colours, type and space. What Gradio's theme cannot say is in `assets/*.css`."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

ASSETS = Path(__file__).resolve().parent / "assets"
SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """The system's own letters, nothing fetched; one accent, everything else grey."""
    look = gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.gray,
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
        font=list(SANS),
        font_mono=list(MONO),
    )
    return look.set(
        body_background_fill="#fbfbfa",
        body_background_fill_dark="#16171a",
        body_text_color="#1d1f23",
        body_text_color_dark="#e6e7ea",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1d1f23",
        block_border_width="0px",
        block_shadow="none",
        block_label_background_fill="transparent",
        input_background_fill="#ffffff",
        input_background_fill_dark="#24262b",
        input_border_color="#dcdde1",
        input_border_color_dark="#363941",
        input_border_width="1px",
        button_primary_background_fill="#2158d6",
        button_primary_background_fill_hover="#1a49b5",
        button_primary_background_fill_dark="#3b72ee",
        button_primary_background_fill_hover_dark="#5687f4",
        button_primary_text_color="#ffffff",
        button_large_padding="8px 16px",
        button_large_text_size="*text_md",
        button_large_text_weight="550",
        slider_color="#2158d6",
        slider_color_dark="#6d9bff",
    )


def tab_sheets() -> list[Path]:
    """Style sheets of single tabs. Gradio keeps these to what is inside its page; `page.css` also dresses the body."""
    return sorted(path for path in ASSETS.glob("*.css") if path.name != "page.css")
