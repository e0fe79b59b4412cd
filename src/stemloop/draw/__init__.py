"""Pictures of secondary structures as SVG: drawings (`draw`) and arc diagrams (`draw_arcs`)."""

from stemloop.draw.arcs import draw_arcs
from stemloop.draw.paper import printable
from stemloop.draw.structure import draw

__all__ = ["draw", "draw_arcs", "printable"]
