"""Readings of results: tables, comparisons, traces and HTML; nothing here simulates."""
