"""What people decide: on hits, singly or in bulk, and undone again; on held messages; and looks at pictures."""
