"""What modelers meet: the Feast definitions and the stores that enforce consent."""
