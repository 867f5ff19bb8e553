"""The running system: sources, registry, stages, policy, delivery, command line and Dagster.

Everything here but ``resources``, ``assets``, ``checks``, ``automation`` and ``definitions`` is free of Dagster.
"""
