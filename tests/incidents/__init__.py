"""Real incidents, each replayed: the store is built, recorded, broken and asked about (see ``registry``)."""
