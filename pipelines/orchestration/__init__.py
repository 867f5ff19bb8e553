"""The night as Dagster runs it: resources, assets, checks, automation, definitions. Nothing else knows Dagster."""
