"""Other tools' training configs: read into this project's records, and written from them. Mappings are data."""
