"""Who may use the pages: accounts, their roles and second factors, sessions, and what each person prefers."""
