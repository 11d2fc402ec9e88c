"""The PKDD'99 bank data as a lender's files: consents, spending, loans."""
