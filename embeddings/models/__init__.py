"""Networks: packs, weights and where they come from, graphs prepared for the runtimes, and the runtimes."""
