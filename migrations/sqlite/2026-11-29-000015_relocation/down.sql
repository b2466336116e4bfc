DROP TABLE relocation;
