"""What people say: of hits, singly or in bulk, and undone again; of messages that are held; and looks at pictures."""
