"""Everything that a person sees: records in, tables and live displays out."""
