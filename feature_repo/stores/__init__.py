"""The Feast stores that enforce consent. Every read and write of a feature value ends in one of them."""
