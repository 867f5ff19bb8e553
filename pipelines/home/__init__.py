"""The opened home folder: workspace, key, seal over the state, audit chain, clock, engines, isolated processes."""
