"""An energy table at another node: each action falls as it did between two tables that are cited.

The tables are Horowitz's at 45 nm (ISSCC 2014) and its update to 7 nm (Jouppi et al., TPUv4i, ISCA
2021, table 2).  An action that costs E45 in one and E7 in the other goes with the node's p-th
power,

    p = ln(E45 / E7) / ln(45 / 7)

which is a straight line in log node and log energy.  Arithmetic has a p of 0.5 to 0.6, SRAM one of
0.16 at 8 KiB, where a small array hardly gains, to 1.06 at 1 MiB, where it gained most.  DRAM stays
what it is: its energy goes with its kind, not with the node of the logic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .energy import EnergyTable, SramPoint
from .formats import FormatError, PerProduct
from .value import Positive, Value, exact

__all__ = ["Derivation", "Rule", "derived"]


class Derivation(Value, frozen=True):
    """What is done to a table to get another: its node changed, its energies on chip multiplied.

    `times` is for what the rule does not know of, such as an FPGA's fabric.
    """

    node_nm: Positive
    times: Positive = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Two tables between whose nodes energies are interpolated, the older one first."""

    older: EnergyTable
    newer: EnergyTable

    def factor(self, before: float, after: float, from_nm: float, to_nm: float) -> float:
        """What a move between two nodes multiplies an action by.

        Args:
            before: Its energy in the older table.
            after: Its energy in the newer one.
            from_nm: The node it is known at.
            to_nm: The node it is wanted at.

        Raises:
            ValueError: if a node lies outside those of the two tables.
        """
        least, most = self.newer.node_nm, self.older.node_nm
        for node_nm in (from_nm, to_nm):
            if not least <= node_nm <= most:
                raise ValueError(f"node_nm: wanted {least:g} to {most:g}, got {node_nm:g}")
        return float((to_nm / from_nm) ** (math.log(before / after) / math.log(most / least)))


def derived(table: EnergyTable, change: Derivation, rule: Rule) -> EnergyTable:
    """Return a table brought to another node.

    A pair of formats that one of the rule's tables lacks falls as one that holds it.  SRAM falls
    as one of its capacity does, or as the smallest or largest that both of the rule's tables have.

    Raises:
        ValueError: if a node lies outside those of the rule's tables.
        FormatError: if they know no format that holds one of the table's.
    """
    older, newer = rule.older, rule.newer

    def scaled(energy: float, before: float, after: float) -> float:
        factor = rule.factor(before, after, table.node_nm, change.node_nm)
        return energy * factor * change.times

    def point(at: SramPoint) -> SramPoint:
        least = max(older.sram[0].capacity_bytes, newer.sram[0].capacity_bytes)
        most = min(older.sram[-1].capacity_bytes, newer.sram[-1].capacity_bytes)
        size = min(max(at.capacity_bytes, least), most)
        reads = older.sram_read_j_per_byte(size), newer.sram_read_j_per_byte(size)
        writes = older.sram_write_j_per_byte(size), newer.sram_write_j_per_byte(size)
        write = at.write_pj_per_byte
        return SramPoint(
            capacity_bytes=at.capacity_bytes,
            read_pj_per_byte=scaled(at.read_pj_per_byte, *reads),
            write_pj_per_byte=None if write is None else scaled(write, *writes),
        )

    macs = {
        name: exact(scaled(float(table.mac_pj.get(name)), *_mac_pj(rule, *pair)))
        for name, pair in zip(table.mac_pj.names, table.mac_pj.pairs, strict=True)
    }
    return table.replace(
        name=f"{table.name} at {change.node_nm:g} nm",
        node_nm=change.node_nm,
        mac_pj=PerProduct.model_validate(macs),
        vector_op_pj=scaled(table.vector_op_pj, older.vector_op_pj, newer.vector_op_pj),
        register_pj_per_byte=scaled(
            table.register_pj_per_byte, older.register_pj_per_byte, newer.register_pj_per_byte
        ),
        sram=tuple(map(point, table.sram)),
    )


def _mac_pj(rule: Rule, weights: str, activations: str) -> tuple[float, float]:
    """What both tables say of a MAC, in formats that both have."""
    older, newer = rule.older.mac_pj, rule.newer.mac_pj
    shared = [name for name in older.names if name in newer]
    try:
        before, after = (
            PerProduct.model_validate({name: table.get(name) for name in shared})
            for table in (older, newer)
        )
        return float(before.least(weights, activations)), float(after.least(weights, activations))
    except FormatError as error:
        raise FormatError(f"mac_pj: {error}") from None
