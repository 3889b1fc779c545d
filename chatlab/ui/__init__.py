"""The web page: one builder per tab, handlers as plain methods. The only room that knows gradio."""
