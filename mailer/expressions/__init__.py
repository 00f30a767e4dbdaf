"""Floor 1: expressions: parsing, scopes, filters, evaluation, and escaping for where a value stands."""
