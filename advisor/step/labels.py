"""The label that no loss counts; torch's and transformers' convention. No torch here."""

IGNORED = -100
