"""Spaces of designs: what may vary, what must hold, the points drawn from it, a point's metrics."""
