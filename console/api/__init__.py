"""The consent API: what a lender's app tells and asks over HTTP."""
