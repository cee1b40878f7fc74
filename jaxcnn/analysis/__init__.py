"""What a network is and what it looks at: its table, its receptive fields."""
