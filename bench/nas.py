"""Search spaces: how long a table takes, how far its sums are off, candidates a second.

Wall times depend on the machine, so nothing is asserted.
"""

import time

import tilewise
from tilewise.sim.nas import search_space

BUILT = (
    ("quasar-vit", "zcu102-quasar"),
    ("quasar-vit", "zcu102-heatvit"),
    ("quasar-vit", "edge-128x128"),
    ("heatvit-deit-small", "zcu102-heatvit"),
    ("heatvit-deit-small", "edge-128x128"),
    ("vit-blocks", "zcu102-quasar"),
)


def nas_rate(candidates: int = 1_000_000, goal_s: float = 10.0) -> str:
    """Latencies of Quasar-ViT candidates on one core."""
    space = search_space("quasar-vit", tilewise.machine("zcu102-quasar"))
    genes = space.random(candidates, seed=1)
    start = time.perf_counter()
    space.latency_s(genes)
    wall_s = time.perf_counter() - start
    return (
        f"{wall_s:6.2f} s   {wall_s / goal_s:4.2f} of {goal_s:g} s   {candidates:,} candidates "
        f"{candidates / wall_s:9,.0f}/s   {space.name} on {space.table.machine}"
    )


def nas_tables() -> list[str]:
    """Each table built anew, and its additivity bias."""
    lines: list[str] = []
    for name, machine in BUILT:
        start = time.perf_counter()
        space = search_space(name, tilewise.machine(machine), cache=False)
        wall_s = time.perf_counter() - start
        entries = f"{len(space.table):5,} entries"
        lines.append(f"{wall_s:6.1f} s   {entries}   {name} on {machine}: {space.bias}")
    return lines


def main() -> None:
    """Prints both."""
    print("Search: candidates of Quasar-ViT's space, one core")
    print(nas_rate(), flush=True)
    print("\nSearch: tables by the engine, and sums of entries against whole networks")
    print("\n".join(nas_tables()))


if __name__ == "__main__":
    main()
