"""Time: how a workload runs on a machine, cycle by cycle, and where each cycle went."""
