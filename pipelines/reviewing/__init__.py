"""What waits for a person, as cases: their order, who has claimed which, what is shown of one, and answering it."""
