"""From a YAML file to a machine or a device: by name or path, with errors that say what to do."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final, cast

from . import packing
from .accelerator import Accelerator
from .array import ComputeArray, SystolicArray, UnrolledArray
from .build import build
from .device import Device
from .document import Document, Key, MachineError, read_document
from .energy import EnergyTable
from .explain import got
from .gpu import Gpu
from .gpu_own import own_calibrations
from .packing import PACKINGS
from .scaling import Derivation, Rule, derived

_MACHINES: Final = Path(__file__).resolve().parent / "machines"
_ENERGY_TABLES: Final = Path(__file__).resolve().parent / "energy_tables"
_DEVICES: Final = Path(__file__).resolve().parent / "devices"
_KINDS: Final[dict[str, type[Accelerator | Gpu]]] = {"accelerator": Accelerator, "gpu": Gpu}
_ARRAYS: Final[dict[str, type[ComputeArray]]] = {
    "systolic": SystolicArray,
    "unrolled": UnrolledArray,
}


def machine_names() -> tuple[str, ...]:
    """Return the names of the machines that come with Tilewise, sorted."""
    return _names(_MACHINES)


def load_machine(name_or_path: str | Path) -> Accelerator | Gpu:
    """Return the machine of this name, or the one described by a YAML file.

    >>> load_machine("edge-32x32").array.pes
    1024

    Args:
        name_or_path: one of `machine_names()`; or a path, which is anything that ends in
            `.yaml` or `.yml` or has a folder in it.

    Raises:
        MachineError: if there is no such machine, or its file is wrong; one line that names
            file, line, key, what was wanted, what was got, and the nearest key or name.
    """
    document = read_document(_find(name_or_path, _MACHINES, "machine"))
    fields = dict(document.values)
    kind = fields.pop("kind", None)
    if "kind" not in document.values:
        document.fail((), "kind: missing key, wanted accelerator or gpu")
    if not isinstance(kind, str) or kind not in _KINDS:
        document.fail(("kind",), f"wanted accelerator or gpu, got {got(kind, _KINDS)}")
    if kind == "accelerator" and not isinstance(fields.get("energy", {}), dict):
        fields["energy"] = _table(_energy(document))
    if kind == "accelerator" and "array" in fields:
        fields["array"] = _array(document)
    if kind == "gpu" and "calibrations" in fields:
        fields["calibrations"] = own_calibrations(document)
    return build(_KINDS[kind], fields, document)


def energy_table(name_or_path: str | Path, node_nm: float | None = None) -> EnergyTable:
    """Return the energy table of this name, or the one described by a YAML file.

    A file that says `derived: {from: horowitz-45nm, node_nm: 16}` in place of numbers is that
    table brought to 16 nm, by the rule of `tilewise.arch.scaling`.

    >>> energy_table("horowitz-45nm").mac_j("int8", "int8")
    3e-13

    Args:
        name_or_path: one of the tables that come with Tilewise; or a path, as for `load_machine`.
        node_nm: the node it is brought to; its own if None.

    Raises:
        MachineError: as `load_machine`.
        ValueError: if the rule does not reach `node_nm`.
    """
    table = _table(read_document(_find(name_or_path, _ENERGY_TABLES, "energy table")))
    return table if node_nm is None else derived(table, Derivation(node_nm=node_nm), _rule())


def device_names() -> tuple[str, ...]:
    """Return the names of the FPGAs that come with Tilewise, sorted."""
    return _names(_DEVICES)


def load_device(name_or_path: str | Path) -> Device:
    """Return the FPGA of this name, or the one described by a YAML file.

    >>> load_device("zcu102").resources.dsp
    2520

    Raises:
        MachineError: as `load_machine`.
    """
    document = read_document(_find(name_or_path, _DEVICES, "device"))
    return build(Device, document.values, document)


def sources(name_or_path: str | Path) -> dict[str, str]:
    """Return where each number of a machine comes from, by dotted key, its energy table included.

    An assumed number says `assumed: ` and why; a number without a source is not listed.

    >>> sources("edge-32x32")["dram.setup_cycles"]
    'assumed: a descriptor of a few words written, decoded and issued'

    Raises:
        MachineError: as `load_machine`.
    """
    load_machine(name_or_path)
    document = read_document(_find(name_or_path, _MACHINES, "machine"))
    found = dict(document.sources)
    if isinstance(document.values.get("energy"), str):
        found |= {f"energy.{key}": text for key, text in _table_sources(_energy(document)).items()}
    return found


@functools.cache
def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def _find(name_or_path: str | Path, folder: Path, what: str) -> Path:
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    names = _names(folder)
    if name_or_path not in names:
        raise MachineError(
            f"{what}: wanted one of {', '.join(names)}, or a path ending in .yaml; "
            f"got {got(name_or_path, names)}"
        )
    return folder / f"{name_or_path}.yaml"


def _energy(document: Document) -> Document:
    """Read the energy table a machine names; a path counts from the machine's own folder."""
    return _named_table(document, document.values["energy"], ("energy",))


def _named_table(document: Document, named: object, key: Key) -> Document:
    """Read the energy table that a document names at a key."""
    if not isinstance(named, str):
        document.fail(key, f"wanted the name of an energy table, got {got(named)}")
    try:
        path = _find(named, _ENERGY_TABLES, "energy table")
    except MachineError as error:
        document.fail(key, str(error).removeprefix("energy table: "))
    path = Path(document.file).parent / path
    if not path.exists():
        document.fail(key, f"wanted an energy table, got no such file as {path}")
    return read_document(path)


def _table(document: Document) -> EnergyTable:
    """Build the energy table that a document holds, or derives from another's."""
    if "derived" not in document.values:
        return build(EnergyTable, document.values, document)
    table = build(EnergyTable, (base := _base(document)).values, base)
    for key in document.values.keys() - {"name", "description", "derived"}:
        document.fail((key,), f"wanted nothing beside derived, got {got(document.values[key])}")
    how = {key: value for key, value in document.values["derived"].items() if key != "from"}
    change = build(Derivation, how, document, at=("derived",))
    try:
        table = derived(table, change, _rule())
    except ValueError as error:
        document.fail(("derived", "node_nm"), str(error).removeprefix("node_nm: "))
    names = {key: document.values.get(key, "") for key in ("name", "description")}
    return build(EnergyTable, {**dict(table), **names}, document)


def _base(document: Document) -> Document:
    """Read the table that another is derived from."""
    described = document.values["derived"]
    if not isinstance(described, dict):
        document.fail(("derived",), f"wanted a mapping, got {got(described)}")
    if "from" not in (fields := cast("dict[str, Any]", described)):
        document.fail(("derived",), "from: missing key, wanted the name of an energy table")
    base = _named_table(document, fields["from"], ("derived", "from"))
    if "derived" in base.values:
        document.fail(("derived", "from"), "wanted a table with numbers, got a derived one")
    return base


@functools.cache
def _rule() -> Rule:
    return Rule(older=energy_table("horowitz-45nm"), newer=energy_table("jouppi-7nm"))


def _table_sources(document: Document) -> dict[str, str]:
    """Where each number of a table comes from; of one that is derived, what was done to it."""
    if "derived" not in document.values:
        return dict(document.sources)
    change = document.values["derived"]
    done, why = f"brought to {change['node_nm']:g} nm", document.sources.get("derived.node_nm", "")
    if "times" in change:
        done += f", times {change['times']:g}"
        why += f"; times {change['times']:g}: {document.sources.get('derived.times', 'not stated')}"
    found = {
        key: text if key.startswith("dram_") else f"{text}; {done}"
        for key, text in _base(document).sources.items()
    }
    return {**found, "node_nm": why.removeprefix("; ") or "not stated"}


def _array(document: Document) -> ComputeArray:
    """Build the array that a machine describes; one that names no kind is systolic."""
    described = document.values["array"]
    if not isinstance(described, dict):
        document.fail(("array",), f"wanted a mapping, got {got(described)}")
    fields = dict(cast("dict[str, Any]", described))
    kind = fields.pop("kind", "systolic")
    if not isinstance(kind, str) or kind not in _ARRAYS:
        document.fail(("array", "kind"), f"wanted {' or '.join(_ARRAYS)}, got {got(kind, _ARRAYS)}")
    rates = fields.get("macs_per_pe_cycle")
    if isinstance(rates, str):
        if rates not in PACKINGS:
            document.fail(
                ("array", "macs_per_pe_cycle"),
                f"wanted MACs by format or {' or '.join(PACKINGS)}, got {got(rates, PACKINGS)}",
            )
        fields["macs_per_pe_cycle"] = packing.rates(rates)
    return build(_ARRAYS[kind], fields, document, at=("array",))
