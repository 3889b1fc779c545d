"""Talking: conversations, the prompt that is asked, replies as they grow, tools and documents in them."""
