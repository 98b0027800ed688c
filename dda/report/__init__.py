"""What people look at: figures, tables of the terminal and the report of an evaluation."""
