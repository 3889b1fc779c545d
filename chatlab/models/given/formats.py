"""Chat templates written here, for bases that bring none: each with the turn marks that a vocabulary needs for it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """One way to write a conversation."""

    name: str
    marks: tuple[str, ...]
    """Tokens of the vocabulary that it is written with."""
    source: str
    """The template, Jinja."""


CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

SYSTEM_IN_FIRST_TURN = """\
{{- bos_token }}
{%- set first = '' %}{%- set turns = messages %}
{%- if messages[0]['role'] == 'system' %}
{%- set first = messages[0]['content'] + '\\n\\n' %}{%- set turns = messages[1:] %}
{%- endif %}
"""
"""The system message, `first`, is written before the first of the `turns`: these models have no turn of its own."""

GEMMA = (
    SYSTEM_IN_FIRST_TURN
    + """\
{%- for message in turns %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<start_of_turn>' + role + '\\n' + (first if loop.first else '') + message['content'] + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}"""
)

LLAMA_3 = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

MISTRAL = (
    SYSTEM_IN_FIRST_TURN
    + """\
{%- for message in turns %}
{%- if message['role'] == 'assistant' %}
{{- ' ' + message['content'] + eos_token }}
{%- else %}
{{- '[INST] ' + (first if loop.first else '') + message['content'] + ' [/INST]' }}
{%- endif %}
{%- endfor %}"""
)

PHI_3 = """\
{%- for message in messages %}
{{- '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- endif %}"""

PLAIN = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] == 'assistant' %}
{{- 'Assistant: ' + message['content'] + eos_token + '\\n' }}
{%- else %}
{{- message['role'].capitalize() + ': ' + message['content'] + '\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'Assistant: ' }}{%- endif %}"""

FORMATS = (
    ChatFormat(name="ChatML", marks=("<|im_start|>", "<|im_end|>"), source=CHATML),
    ChatFormat(name="Gemma", marks=("<start_of_turn>", "<end_of_turn>"), source=GEMMA),
    ChatFormat(name="Llama 3", marks=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), source=LLAMA_3),
    ChatFormat(name="Mistral", marks=("[INST]", "[/INST]"), source=MISTRAL),
    ChatFormat(name="Phi-3", marks=("<|user|>", "<|assistant|>", "<|end|>"), source=PHI_3),
    ChatFormat(name="Plain text", marks=(), source=PLAIN),
)
"""The one without marks fits every vocabulary, and comes last: its turns are words that anybody can type."""


def fitting(vocabulary: Collection[str]) -> list[ChatFormat]:
    """Those whose marks are all tokens of a vocabulary."""
    return [one for one in FORMATS if all(mark in vocabulary for mark in one.marks)]
