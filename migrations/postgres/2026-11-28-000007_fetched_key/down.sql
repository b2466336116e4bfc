DROP TABLE fetched_key;
