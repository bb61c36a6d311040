"""Kernels: schedules, plans, templates, Programs; know no IR."""
