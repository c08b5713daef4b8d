"""The DAG of the updates as a graph for Graphviz: ``fietsupdate graph --format dot | dot -Tsvg``."""

from __future__ import annotations

import json

from fietsupdate.cli.render.diagram import Drawing
from fietsupdate.model import Update

STYLES = {
    "applied": 'style=filled fillcolor="#cfe8cf" color="#2e7d32"',
    "pending": 'style=dashed color="#777777"',
    "unseen": 'color="#777777"',
    "unknown": 'style=filled fillcolor="#f6d5d5" color="#b71c1c"',
}


def dot(drawing: Drawing) -> str:
    """Return a digraph with the oldest updates on top; each folder is a cluster where there are several."""
    graph = drawing.graph
    lines = ["digraph updates {", '    node [shape=box fontname="sans-serif"];']
    several = len(graph.folders) > 1
    for number, folder in enumerate(graph.folders):
        nodes = [_node(drawing, update) for update in graph.ordered if update.folder == folder]
        if several and nodes:
            lines += [f"    subgraph cluster_{number} {{", f"        label={_quoted(folder)};"]
            lines += [*(f"    {node}" for node in nodes), "    }"]
        else:
            lines += nodes
    lines += [f"    {_quoted(one)} [{STYLES['unknown']}];" for one in drawing.unknown]
    for update in graph.ordered:
        lines += [f"    {_quoted(previous)} -> {_quoted(update.update_id)};" for previous in update.previous]
    return "\n".join([*lines, "}"])


def _node(drawing: Drawing, update: Update) -> str:
    current = " (current)" if update.update_id in drawing.current else ""
    label = f"{update.update_id}{current}" + (f"\n{update.summary}" if update.summary else "")
    return f"    {_quoted(update.update_id)} [label={_quoted(label)} {STYLES[drawing.mark(update.update_id)]}];"


def _quoted(text: str) -> str:
    """Quote a text for DOT, in which a backslash begins an escape sequence, as in JSON (graphviz.org, "Node names")."""
    return json.dumps(text, ensure_ascii=False)
