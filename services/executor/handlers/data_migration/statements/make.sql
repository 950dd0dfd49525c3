-- Makes a table as the source has it. Filled by making.py: quoted names, and types as the source spells them.
create table {table} ({columns})
