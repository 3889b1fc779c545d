"""How rows are packed into a file: JSON lines and lists, tables, Parquet."""
