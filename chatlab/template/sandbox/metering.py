"""A template's source read such that nothing in it computes unseen: every operation becomes a call of the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.visitor import NodeTransformer

from chatlab.template.sandbox.meter import check_number

TOKENS = 20_000
"""Tokens of Jinja's lexer in one template, fixed text counted as one. The longest known template has 5,000."""
REFUSED = (
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Extends,
    nodes.Block,
    nodes.EvalContextModifier,
)
"""What no chat template needs: other files, and changes of how the rest is read."""


class Generation(Extension):
    """`{% generation %}` marks what the model writes. The renderer finds that itself; the tag lets its body through.

    Also counts what the lexer reads, so that compiling costs little whatever the source says.
    """

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for number, token in enumerate(stream):
            if number > TOKENS:
                raise TemplateSyntaxError(f"it has more than {TOKENS:,} tokens", token.lineno)
            yield token


class Metered(NodeTransformer):
    """Puts calls of the environment's methods into a parsed template. Raises SecurityError for what is refused."""

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        if isinstance(node, REFUSED):
            raise SecurityError(f"it uses {type(node).__name__.lower()}, which a chat template has no need of")
        return super().visit(node, *args, **kwargs)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        return self._ticking(node)

    visit_Macro = visit_CallBlock = visit_For

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        check_number(node.value)
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return _call("weigh", self.generic_visit(node))

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _call("weigh", node) if node.ctx == "load" else node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """A slice is a copy."""
        self.generic_visit(node)
        return _call("weigh", node) if isinstance(node.arg, nodes.Slice) else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call("concatenate", *node.nodes)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        pairs = [part for operand in node.ops for part in (nodes.Const(operand.op), operand.expr)]
        return _call("compare", node.expr, *pairs)

    def _ticking(self, node: Any) -> nodes.Node:
        """The node with a tick at the start of its body, which also pays for the fixed text in it."""
        self.generic_visit(node)
        size = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.body.insert(0, nodes.Output([_call("tick", nodes.Const(size))]).set_lineno(node.lineno))
        return cast(nodes.Node, node)


def _call(name: str, *arguments: nodes.Node) -> nodes.Expr:
    """A call that a template cannot shadow with a variable of its own."""
    call = nodes.Call(nodes.EnvironmentAttribute(name), list(arguments), [], None, None)
    call.set_lineno(next((argument.lineno for argument in arguments if argument.lineno), 1))
    return call
