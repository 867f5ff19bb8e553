"""The home folder opened: workspace, key, seal over the state, audit chain, clock, engines, processes of their own."""
